"""What the programs are linked to."""
import os
import re
import unittest

from harness import BIN, run

SANITIZED = os.environ.get("GANTRY_SANITIZE", "") != ""


class BinariesTest(unittest.TestCase):
    @unittest.skipIf(SANITIZED, "a sanitizer's runtime is a shared object")
    def test_the_shim_and_the_runtime_are_static(self):
        for program in ("containerd-shim-gantry-v2", "gantry-oci", "gantry"):
            result = run(["ldd", os.path.join(BIN, program)])
            self.assertIn("not a dynamic executable", result.out + result.err, program)

    def test_the_shim_and_the_runtime_hold_no_grpc_and_no_rocksdb(self):
        for program in ("containerd-shim-gantry-v2", "gantry-oci"):
            names = run(["nm", "-C", os.path.join(BIN, program)]).out.lower()
            self.assertGreater(len(names), 1000, "the program's symbols can be read")
            # A field of a message may be called containerd_grpc_address; gRPC's own names begin with it.
            self.assertEqual(re.findall(r"\b(?:grpc|rocksdb)(?:::|_)\w*", names)[:5], [], program)


if __name__ == "__main__":
    unittest.main()
