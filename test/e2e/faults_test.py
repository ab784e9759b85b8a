"""Full disks, too few descriptors and damaged blobs: clear errors, nothing half made, and on it goes."""
import concurrent.futures
import ctypes
import glob
import os
import re
import signal
import unittest

import image
from harness import RUNTIME, DaemonCase, eventually, run

MIB = 1 << 20
FULL = "(?i)no space left"
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 16384, 1 << 18


def own_mounts():
    """What this program mounts shows nowhere else, and goes with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(b"", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise unittest.SkipTest("a mount namespace is needed: " + os.strerror(ctypes.get_errno()))


class SmallDiskCase(DaemonCase):
    """The daemon's root is an ext4 of 48 MiB."""

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("only root may mount a disk")
        own_mounts()
        super().setUpClass()
        cls.disk = cls.folder + "/disk"
        os.makedirs(cls.disk)
        with open(cls.disk + ".img", "wb") as f:
            f.truncate(48 * MIB)
        for command in (["mkfs.ext4", "-q", "-F", "-m", "0", cls.disk + ".img"],
                        ["mount", "-o", "loop", cls.disk + ".img", cls.disk]):
            done = run(command)
            if done.code != 0:
                raise unittest.SkipTest(f"no small disk here: {done.err}")
        cls.daemon.stop()
        cls.daemon.root = cls.disk + "/root"
        cls.daemon.start()

    def free(self):
        fs = os.statvfs(self.disk)
        return fs.f_bavail * fs.f_frsize

    def fill(self, leave):
        with open(self.disk + "/filler", "ab") as f:
            try:
                while self.free() > leave:
                    size = min(MIB, max(4096, self.free() - leave))
                    os.posix_fallocate(f.fileno(), os.fstat(f.fileno()).st_size, size)
            except OSError:
                pass

    def make_space(self):
        if os.path.exists(self.disk + "/filler"):
            os.unlink(self.disk + "/filler")

    def setUp(self):
        self.addCleanup(self.make_space)

    @classmethod
    def clean_up(cls):
        cls.daemon.stop()
        run(["umount", cls.folder + "/disk"])
        super().clean_up()

    def noise(self, name, size):
        """An archive of an image that nothing can compress."""
        made = image.Image([(image.tar_of({"noise": os.urandom(size)}), False)], name=name)
        return made.write(f"{self.folder}/{name.split(':')[0]}.tar")


class FullDiskTest(SmallDiskCase):
    def test_growth_is_refused_reads_and_removals_go_on_and_space_heals(self):
        self.run_ok("image", "import", self.archive.path)
        small, big = self.noise("small:1", MIB), self.noise("big:1", 8 * MIB)
        self.run_ok("image", "import", small.path)
        self.fill(2 * MIB)
        refused = self.gantry("image", "import", big.path)
        self.assertNotEqual(refused.code, 0)
        self.assertRegex(refused.err, FULL)
        self.fill(0)
        for i in range(3):  # what has its blocks already may still be written
            self.ctr("images", "tag", "busybox:latest", f"example/tag:{i}")
        self.assertIn("small:1", self.run_ok("images", "-q").split())
        self.run_ok("image", "rm", "small:1")
        self.assertNotIn("small:1", self.run_ok("images", "-q").split())
        self.assertIsNone(self.daemon.process.poll(), self.daemon.log_text()[-2000:])
        self.make_space()
        self.run_ok("image", "import", big.path)
        self.run_ok("run", "--rm", "busybox", "true")
        self.run_ok("image", "rm", "big:1")

    def test_killed_on_a_full_disk_it_starts_on_it_and_has_everything(self):
        self.run_ok("image", "import", self.archive.path)
        self.detached("kept", "sleep", "1000")
        pid = self.inspect("kept")["pid"]
        self.fill(0)
        self.daemon.restart(signal.SIGKILL)
        self.assertEqual(self.inspect("kept")["pid"], pid)
        self.assertIn("busybox:latest", self.run_ok("images", "-q").split())
        self.run_ok("rm", "-f", "kept")
        self.make_space()
        self.run_ok("run", "--rm", "busybox", "true")


class FewDescriptorsTest(DaemonCase):
    def test_with_64_descriptors_calls_fail_or_succeed_and_nothing_is_left(self):
        self.daemon.stop()
        command = self.daemon.command()
        # UBSan asks a pipe of its own whether an object is there, and takes the lack of a descriptor for a no.
        unasked = self.folder + "/ubsan.supp"
        with open(unasked, "w") as f:
            f.write("vptr_check:*\n")
        options = f"{os.environ.get('UBSAN_OPTIONS', '')}:suppressions={unasked}".lstrip(":")
        self.daemon.command = lambda: ["env", "UBSAN_OPTIONS=" + options, "prlimit", "--nofile=64:64", *command]
        try:
            self.daemon.start()
            before = self.descriptors()
            with concurrent.futures.ThreadPoolExecutor(24) as pool:
                results = list(pool.map(lambda i: self.gantry("run", "--rm", "busybox", "true"), range(48)))
            self.assertIsNone(self.daemon.process.poll(), self.daemon.log_text()[-2000:])
            self.assertTrue(any(result.code == 0 for result in results), results[0])
            for result in results:
                self.assertTrue(result.code == 0 or result.err.strip(), "failed without a word")
            eventually("one more runs", lambda: self.gantry("run", "--rm", "busybox", "true").code == 0)
            eventually("what failed is gone", lambda: not self.gantry("ps", "-aq").out.split())
            eventually("the descriptors are closed", lambda: self.descriptors() <= before + 4)
        finally:
            del self.daemon.command
            self.daemon.restart(signal.SIGTERM)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))


class DamagedBlobTest(DaemonCase):
    def damage(self, how):
        """Imports an image, damages its layer on disk, runs it, imports it anew, runs it."""
        made = image.Image([(image.tar_of(dict(image.busybox_files(), mark=how.encode())), True)], name=f"{how}:1")
        made.write(f"{self.folder}/{how}.tar")
        self.ok(self.ctr("images", "import", "--no-unpack", made.path))
        digest = made.layers[0]["digest"]
        path, = glob.glob(f"{self.daemon.root}/**/blobs/sha256/{digest.split(':')[1]}", recursive=True)
        os.chmod(path, 0o600)
        with open(path, "r+b") as f:
            if how == "flipped":
                f.seek(1000)
                byte = f.read(1)[0]
                f.seek(1000)
                f.write(bytes([byte ^ 0x10]))
            else:
                f.truncate(1000)
        name = f"{how}:1"
        broken = self.ctr("run", "--rm", "--runtime", RUNTIME, name, how, "cat", "/mark")
        self.assertNotEqual(broken.code, 0, broken)
        self.assertRegex(broken.err, "(?i)digest|damaged|corrupt|short|size|ends|sha256")
        self.assertEqual(re.findall(r"\bActive\b", self.ok(self.ctr("snapshots", "ls"))), [])
        self.ok(self.ctr("images", "rm", "--sync", name))
        self.ok(self.ctr("images", "import", made.path))
        self.assertEqual(self.ok(self.ctr("run", "--rm", "--runtime", RUNTIME, name, how, "cat", "/mark")), how)

    def test_a_flipped_byte_is_detected_and_repaired_by_importing_again(self):
        self.damage("flipped")

    def test_a_short_blob_is_detected_and_repaired_by_importing_again(self):
        self.damage("shortened")


if __name__ == "__main__":
    unittest.main()
