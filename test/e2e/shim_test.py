"""What Debian's ctr asks of our shim beyond running a container: other runtimes' programs, checkpoints."""
import os
import re
import subprocess
import unittest

from harness import BUILD, IMAGE, OURS, DaemonCase, alive, eventually, run

STAND_IN = os.path.join(os.path.abspath(BUILD), "test", "container_test")  # is criu when it is started as that
RUNC = "/usr/sbin/runc"


@unittest.skipUnless(OURS, "these are features of our daemon and shim together")
class ShimTest(DaemonCase):
    @classmethod
    def setUpClass(cls):
        # criu itself works on few kernels; the daemon finds the stand-in first.
        folder = "/tmp/gantry-criu-" + str(os.getpid())
        os.mkdir(folder)
        cls.addClassCleanup(subprocess.run, ["rm", "-rf", folder])
        os.symlink(STAND_IN, folder + "/criu")
        path = os.environ["PATH"]
        os.environ["PATH"] = folder + ":" + path
        cls.addClassCleanup(os.environ.__setitem__, "PATH", path)
        super().setUpClass()

    def up(self, name, *flags, command=("sleep", "1000")):
        self.addCleanup(self.ctr, "containers", "rm", name)
        self.addCleanup(self.ctr, "tasks", "rm", "-f", name)
        self.ok(self.ctr("run", "-d", *flags, IMAGE, name, *command))

    def pid(self, name):
        return int(re.search(rf"^{name} +(\d+)", self.ok(self.ctr("tasks", "ls")), re.M)[1])

    @unittest.skipUnless(os.access(RUNC, os.X_OK), "needs runc")
    def test_a_runtimes_program_is_driven(self):
        root = self.folder + "/runc"
        self.up("r", "--runtime", "io.containerd.runc.v2", "--runc-binary", RUNC, "--runc-root", root)
        self.assertIn("r", self.ok(run([RUNC, "--root", f"{root}/{self.ns}", "list", "-q"])).split())
        self.assertEqual(self.ok(self.ctr("tasks", "exec", "--exec-id", "e", "r", "echo", "inside")), "inside\n")
        self.ok(self.ctr("tasks", "pause", "r"))
        self.assertIn("PAUSED", self.ok(self.ctr("tasks", "ls")))
        self.ok(self.ctr("tasks", "resume", "r"))
        self.assertIn("memory", self.ok(self.ctr("tasks", "metrics", "r")))
        with open("/proc/self/mountinfo") as f:
            self.assertNotIn(self.folder + "/state", f.read())
        pid = self.pid("r")
        self.ok(self.ctr("tasks", "kill", "-s", "SIGKILL", "r"))
        eventually("it ends", lambda: not alive(pid))
        self.assertIn(self.ctr("tasks", "rm", "r").code, (0, 137))
        self.assertEqual(self.ok(run([RUNC, "--root", f"{root}/{self.ns}", "list", "-q"])), "")

    @unittest.skipUnless(os.path.exists(STAND_IN), "the stand-in for criu is not built")
    def test_a_checkpoint_goes_to_a_directory_and_comes_back(self):
        self.up("d", "--runtime", "io.containerd.runc.v2")  # ctr has options for no other name
        images = self.folder + "/images"
        self.ok(self.ctr("tasks", "checkpoint", "--image-path", images, "d"))
        self.assertIn("descriptors.json", os.listdir(images))
        self.assertTrue(alive(self.pid("d")))

    @unittest.skipUnless(os.path.exists(STAND_IN), "the stand-in for criu is not built")
    def test_a_checkpoint_is_an_image_and_runs_again(self):
        self.up("c", "--runtime", "io.containerd.gantry.v2")
        pid = self.pid("c")
        self.ok(self.ctr("containers", "checkpoint", "--task", "--image", "c", "checkpoint:c"))
        self.assertIn("checkpoint:c", self.ok(self.ctr("images", "ls", "-q")))
        self.assertTrue(alive(pid))
        self.assertEqual(os.listdir(self.daemon.root + "/checkpoints"), [])
        self.addCleanup(self.ctr, "images", "rm", "checkpoint:c")
        self.ok(self.ctr("tasks", "rm", "-f", "c"))
        self.ok(self.ctr("containers", "rm", "c"))
        client = subprocess.Popen(["ctr", "--address", self.daemon.socket, "--namespace", self.ns, "containers",
                                   "restore", "--live", "c", "checkpoint:c"], env=self.env, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, text=True)
        try:
            self.assertEqual(client.stdout.readline(), "restored\n")
            eventually("it has a pid", lambda: alive(self.pid("c")))
            self.ok(self.ctr("tasks", "kill", "-s", "SIGKILL", "c"))
        finally:
            client.wait(30)
            client.stdout.close()


if __name__ == "__main__":
    unittest.main()
