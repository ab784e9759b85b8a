"""The attacks on the daemon and its shims: their sockets and directories, and images made to reach the host."""
import glob
import io
import os
import stat
import sys
import subprocess
import tarfile
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))

import image  # noqa: E402
from harness import BUILD, IMAGE, DaemonCase  # noqa: E402

PROBE = os.path.join(os.path.abspath(BUILD), "test", "attack_probe")


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def tar_with(*entries):
    """A tar of TarInfos, each alone or with its data, as they are: names are not cleaned."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            info, data = entry if isinstance(entry, tuple) else (entry, b"")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def entry(name, kind=tarfile.REGTYPE, link="", permissions=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, permissions
    return info


class Reach(DaemonCase):
    """CVE-2020-15257, CVE-2021-41103, CVE-2024-25621: who may talk to a shim, and look into a container's files."""

    def test_CVE_2020_15257_no_abstract_sockets_and_those_of_root_alone(self):
        self.detached("sockets", "sleep", "100")
        with open("/proc/net/unix") as f:
            abstract = [line.split()[-1] for line in f if len(line.split()) > 7 and line.split()[-1].startswith("@")]
        self.assertEqual([name for name in abstract if self.token in name or "containerd" in name or "gantry" in name], [])
        with open("/proc/net/unix") as f:
            ours = {line.split()[-1] for line in f if self.folder in line or "/run/containerd/s/" in line}
        daemons = (self.daemon.socket, self.daemon.socket + ".ttrpc")  # these may be opened to a group
        shims = [path for path in ours if path.startswith("/") and os.path.exists(path) and path not in daemons]
        self.assertTrue(shims, "no socket of a shim was found")
        for path in shims:
            self.assertEqual(mode(path) & 0o177, 0, f"{path} is open to others: {mode(path):o}")
            self.assertEqual(os.lstat(path).st_uid, 0)

    def test_CVE_2021_41103_directories_are_closed_to_other_users(self):
        self.detached("modes", "sleep", "100")
        self.assertEqual(mode(self.daemon.root), 0o700)
        self.assertIn(mode(self.daemon.state), (0o700, 0o711))
        bundles = glob.glob(f"{self.daemon.state}/io.containerd.runtime.v2.task/{self.ns}/*")
        self.assertTrue(bundles)
        for bundle in bundles:
            self.assertEqual(mode(bundle) & 0o077, mode(bundle) & 0o010 if os.lstat(bundle).st_gid else 0,
                             f"{bundle}: {mode(bundle):o}")

    def test_CVE_2024_25621_nothing_below_the_root_is_open_to_others_who_come_past_it(self):
        # Were the top directory opened by mistake, blobs, records and snapshots must still be closed.
        for path in glob.glob(self.daemon.root + "/*"):
            if os.path.isdir(path):
                self.assertEqual(mode(path) & 0o022, 0, f"{path} can be written by others: {mode(path):o}")
        self.assertEqual(mode(self.daemon.socket) & 0o117, 0)


class Layers(DaemonCase):
    """CVE-2021-32760, CVE-2023-25153: layers that reach outside of the image, or never end."""

    def setUp(self):
        self.outside = tempfile.mkdtemp(prefix="outside-", dir=self.folder)
        with open(self.outside + "/file", "w") as f:
            f.write("as it was\n")
        os.chmod(self.outside + "/file", 0o600)

    def tearDown(self):
        self.assertEqual(os.listdir(self.outside), ["file"])
        self.assertEqual(mode(self.outside + "/file"), 0o600)
        with open(self.outside + "/file") as f:
            self.assertEqual(f.read(), "as it was\n")

    def imported(self, *layers, name, **kwargs):
        bad = image.Image([(image.tar_of(image.busybox_files()), True), *[(layer, False) for layer in layers]],
                          name=name, **kwargs)
        return self.gantry("image", "import", bad.write(f"{self.folder}/{name.split(':')[0]}.tar").path)

    def test_CVE_2021_32760_layers_do_not_reach_outside(self):
        up = "../" * 16 + self.outside.lstrip("/")
        attacks = {
            "name": [(entry(up + "/new"), b"x")],
            "absolute": [(entry(self.outside + "/new"), b"x")],
            "symlink": [entry("l", tarfile.SYMTYPE, self.outside), (entry("l/new"), b"x")],
            "symlinkfile": [entry("l", tarfile.SYMTYPE, self.outside + "/file"), (entry("l"), b"x")],
            "chmod": [entry("l", tarfile.SYMTYPE, self.outside + "/file"), entry("h", tarfile.LNKTYPE, "l", 0o4777)],
            "hardlink": [entry("h", tarfile.LNKTYPE, up + "/file", 0o777), (entry("h"), b"x")],
            "absolutelink": [entry("h", tarfile.LNKTYPE, self.outside + "/file", 0o777)],
            "whiteout": [entry("l", tarfile.SYMTYPE, self.outside), entry("l/.wh.file")],
            "opaque": [entry("l", tarfile.SYMTYPE, self.outside), entry("l/.wh..wh..opq")],
            "whiteoutup": [entry("d/.wh..")], "whiteoutname": [entry(up + "/.wh.file")],
            "device": [entry("l", tarfile.SYMTYPE, self.outside), entry("l/dev", tarfile.CHRTYPE)],
        }
        for name, entries in attacks.items():
            with self.subTest(name):
                self.imported(tar_with(*entries), name=f"bad-{name}:latest")  # refused or contained
                self.tearDown()

    def test_CVE_2021_32760_layers_one_after_the_other_do_not_reach_outside(self):
        self.imported(tar_with(entry("l", tarfile.SYMTYPE, self.outside)), tar_with((entry("l/new"), b"x")),
                      tar_with(entry("l/.wh.file")), tar_with(entry("l/file", permissions=0o4777)), name="bad-stack:latest")

    def test_CVE_2023_25153_a_layer_that_grows_takes_no_memory(self):
        # A gigabyte of zeros is a megabyte of gzip, and is written as it comes.
        info = entry("zeros")
        info.size = 1 << 29
        header = info.tobuf(tarfile.PAX_FORMAT)
        data = header + bytes(info.size) + bytes(1024)
        bomb = image.Image([(data, True)], name="bomb:latest")
        archive = bomb.write(self.folder + "/bomb.tar").path
        del data, bomb
        peak = []
        pid = self.daemon.process.pid

        def resident():
            with open(f"/proc/{pid}/status") as f:
                return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

        before = resident()
        done = self.gantry("image", "import", archive)
        peak.append(resident())
        self.gantry("image", "rm", "bomb:latest")
        self.assertLess(max(peak) - before, 200 * 1024, done)

    def test_CVE_2023_25153_documents_that_are_too_large(self):
        bad = image.Image([(image.tar_of(image.busybox_files()), True)], name="huge:latest",
                          config={"Env": ["A=" + "x" * (20 << 20)]})
        done = self.gantry("image", "import", bad.write(self.folder + "/huge.tar").path)
        self.assertNotEqual(done.code, 0)
        self.assertEqual(self.gantry("version").code, 0, "the daemon lives")

    def test_CVE_2026_53488_reserved_labels_of_an_image_are_not_the_containers(self):
        labels = {"containerd.io/gc.root": "1", "containerd.io/restart.status": "running",
                  "io.cri-containerd.kind": "sandbox", "ordinary": "yes"}
        done = self.imported(name="labels:latest", config={"Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": labels})
        self.assertEqual(done.code, 0, done)
        self.addCleanup(self.gantry, "rm", "-f", "labelled")
        self.run_ok("run", "-d", "--name", "labelled", "labels:latest", "sleep", "100")
        found = self.ok(self.ctr("containers", "info", "labelled"))
        self.assertNotIn("restart.status", found)
        self.assertNotIn("io.cri-containerd.kind", found)
        self.assertNotIn("containerd.io/gc.root", found)
        self.assertIn("ordinary", found)


class DefaultProfile(DaemonCase):
    """CVE-2026-31431: sockets that reach past the network namespace."""

    AF_INET, AF_ALG, AF_VSOCK = 2, 38, 40

    def test_CVE_2026_31431_alg_and_vsock_are_denied_by_default(self):
        probe = ("-v", PROBE + ":/probe:ro")
        for family in (self.AF_ALG, self.AF_VSOCK):
            out = self.run_ok("run", "--rm", *probe, IMAGE, "/probe", "socket", str(family))
            self.assertEqual(out, "EPERM\n", f"family {family}")
            # What the kernel itself says without the filter, so that the answer above is the filter's.
            bare = subprocess.run([PROBE, "socket", str(family)], capture_output=True, text=True, check=False)
            self.assertNotEqual(bare.stdout, "EPERM\n", f"family {family}")


if __name__ == "__main__":
    unittest.main()
