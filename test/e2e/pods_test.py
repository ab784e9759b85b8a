"""Containers that share a shim: groups by annotation, with our shim and with Debian's, and sandboxes."""
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest

from harness import BUILD, HERE, IMAGE, OURS, RUNTIME, DaemonCase, alive, eventually, own_processes

sys.path.insert(0, os.path.join(HERE, "..", "client"))
from agent import NOT_FOUND, Agent, RpcError  # noqa: E402

AGENT = os.path.join(os.path.abspath(BUILD), "test", "rpc-agent")
FOREIGN = "/usr/bin/containerd-shim-runc-v2"
GROUP = "io.containerd.runc.v2.group"


def parent(pid):
    with open(f"/proc/{pid}/stat") as f:
        return int(f.read().rsplit(")", 1)[1].split()[1])


class PodCase(DaemonCase):
    def up(self, name, group="", runtime=RUNTIME):
        """A container that runs; its pid."""
        self.addCleanup(self.ctr, "containers", "rm", name)
        self.addCleanup(self.ctr, "tasks", "rm", "-f", name)
        flags = ["--annotation", f"{GROUP}={group}"] if group else []
        self.ok(self.ctr("run", "-d", "--runtime", runtime, *flags, IMAGE, name, "sleep", "1000"))
        return self.pid(name)

    def pid(self, name):
        for line in self.ok(self.ctr("tasks", "ls")).splitlines()[1:]:
            if line.split()[0] == name:
                return int(line.split()[1])
        return 0

    def down(self, name):
        self.ok(self.ctr("tasks", "rm", "-f", name))

    def assert_nothing_is_left(self, what, *others):
        known = {self.daemon.process.pid, *others}
        eventually(f"{what}: nothing runs but the daemon",
                   lambda: not set(own_processes(self.token, self.folder)) - known, 15)
        # The daemon hears of a shim's end after its end.
        eventually(f"{what}: no sockets", lambda: os.listdir(self.daemon.state + "/s") == [], 15)

    def bundle(self, name, folder="io.containerd.runtime.v2.task"):
        return f"{self.daemon.state}/{folder}/{self.ns}/{name}"


class GroupTest(PodCase):
    def share(self, runtime):
        a, b = self.up("a", "g", runtime), self.up("b", "g", runtime)
        other = self.up("other", "h", runtime)
        shim = parent(a)
        self.assertEqual(parent(b), shim)
        self.assertNotEqual(parent(other), shim)
        self.down("a")
        self.assertFalse(alive(a))
        time.sleep(0.3)
        self.assertTrue(alive(b) and alive(shim))
        a = self.up("a2", "g", runtime)
        self.assertEqual(parent(a), shim)
        self.daemon.restart()
        self.assertEqual((self.pid("a2"), self.pid("b"), self.pid("other")), (a, b, other))
        self.down("b")
        self.assertTrue(alive(a))
        self.down("a2")
        eventually("the shim ends with the last one", lambda: not alive(shim))
        self.assertNotEqual(parent(self.up("a3", "g", runtime)), shim)

    def die(self, runtime):
        a, b = self.up("a", "g", runtime), self.up("b", "g", runtime)
        self.assertEqual(parent(a), parent(b))
        os.kill(parent(a), signal.SIGKILL)
        return a, b

    def test_containers_of_a_group_share_a_shim(self):
        self.share(RUNTIME)

    @unittest.skipUnless(OURS and os.access(FOREIGN, os.X_OK), "needs containerd-shim-runc-v2")
    def test_a_foreign_shim_groups_too(self):
        self.share(FOREIGN)

    def test_containers_of_a_killed_shim_are_cleaned_each(self):
        a, b = self.die(RUNTIME)
        # ctr's containers have no streams here: where the kernel keeps exits, ours go on, each under a shim of its own.
        eventually("both are settled", lambda: self.settled(a, "a") and self.settled(b, "b"))
        self.down("a") if self.pid("a") else None
        self.down("b") if self.pid("b") else None
        eventually("both end", lambda: not alive(a) and not alive(b))
        for name in "ab":
            eventually("the bundle goes", lambda: not os.path.exists(self.bundle(name)))

    def settled(self, pid, name):
        if not self.pid(name):
            return not alive(pid)
        return alive(pid) and self.ctr("tasks", "ps", name).code == 0

    @unittest.skipUnless(OURS and os.access(FOREIGN, os.X_OK), "needs containerd-shim-runc-v2")
    def test_containers_of_a_killed_foreign_shim_are_cleaned_each(self):
        a, b = self.die(FOREIGN)
        eventually("both end", lambda: not alive(a) and not alive(b))
        eventually("both ids are free", lambda: not self.pid("a") and not self.pid("b"))

    def test_many_at_once(self):
        names = [f"m{i}" for i in range(6)]
        for name in names:
            self.addCleanup(self.ctr, "containers", "rm", name)
            self.ok(self.ctr("containers", "create", "--runtime", RUNTIME, "--annotation", f"{GROUP}=many", IMAGE, name,
                             "sleep", "1000"))
        starts = [subprocess.Popen(["ctr", "-a", self.daemon.socket, "-n", self.ns, "tasks", "start", "-d", name],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for name in names]
        for start in starts:
            _, err = start.communicate(timeout=60)
            self.assertEqual(start.returncode, 0, err)
        pids = [self.pid(name) for name in names]
        self.assertEqual(len({parent(pid) for pid in pids}), 1)
        shim = parent(pids[0])
        for name in names:
            self.down(name)
        eventually("the shim ends", lambda: not alive(shim))

    @unittest.skipUnless(OURS, "containerd leaves shims behind")
    def test_a_daemon_killed_while_a_group_begins_leaves_nothing(self):
        chance = random.Random(1)
        for turn in range(3):
            names = [f"k{turn}-{i}" for i in range(3)]
            runs = [subprocess.Popen(["ctr", "-a", self.daemon.socket, "-n", self.ns, "run", "-d", "--runtime", RUNTIME,
                                      "--annotation", f"{GROUP}=killed", IMAGE, name, "sleep", "1000"],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for name in names]
            time.sleep(chance.uniform(0.05, 0.5))
            self.daemon.stop(signal.SIGKILL)
            for one in runs:
                one.wait(60)
            self.daemon.start()
            for name in names:
                self.ctr("tasks", "rm", "-f", name)
                self.ctr("containers", "rm", name)
            self.assert_nothing_is_left(f"turn {turn}")


@unittest.skipUnless(OURS, "Debian's containerd has no sandboxes")
class SandboxTest(PodCase):
    SANDBOXES = "io.containerd.sandbox.controller.v1.shim"

    def setUp(self):
        self.agent = Agent([AGENT, self.daemon.socket, self.ns, RUNTIME])
        self.addCleanup(lambda: self.agent.close())

    def again(self):
        """The daemon is killed, and another one is there."""
        self.agent.close()
        self.daemon.restart()
        self.agent = Agent([AGENT, self.daemon.socket, self.ns, RUNTIME])

    def sandbox(self, name):
        self.addCleanup(self.gone, "sandbox", "shutdown", name)
        self.agent.call("sandbox", "create", name)
        return int(self.agent.call("sandbox", "start", name)[0])

    def join(self, sandbox, name):
        self.agent.call("prepare", name, self.chain())
        self.addCleanup(self.gone, "unprepare", name)
        self.agent.call("join", sandbox, name, "sleep", "1000")
        self.addCleanup(self.gone, "unrecord", name)
        self.agent.call("create", name, "")
        return int(self.agent.call("start", name, "")[2])

    def gone(self, *call):
        try:
            self.agent.call(*call)
        except RpcError as e:
            self.assertEqual(e.code, NOT_FOUND)

    def chain(self):
        """The topmost layer of the image."""
        rows = [line.split() for line in self.ok(self.ctr("snapshots", "ls")).splitlines()[1:]]
        layers = [row for row in rows if row[-1] == "Committed"]
        parents = {row[1] for row in layers if len(row) > 2}
        return next(row[0] for row in layers if row[0] not in parents)

    def remove(self, name):
        self.agent.call("sandbox", "stop", name)
        self.agent.call("sandbox", "shutdown", name)
        self.agent.call("sandbox", "delete", name)
        self.assertNotIn(name, self.agent.names("sandboxes"))

    def test_a_sandbox_lives_across_daemons(self):
        shim = self.sandbox("pod")
        self.assertEqual(self.agent.call("sandbox", "state", "pod"), [str(shim), "SANDBOX_READY"])
        inside = self.join("pod", "inside")
        self.assertEqual(parent(inside), shim)
        self.again()
        self.assertIn("pod", self.agent.names("sandboxes"))
        self.assertEqual(self.agent.call("sandbox", "state", "pod"), [str(shim), "SANDBOX_READY"])
        second = self.join("pod", "second")
        self.assertEqual(parent(second), shim)
        self.agent.call("kill", "inside", "", "9")
        self.assertEqual(self.agent.call("wait", "inside", "")[4], "137")
        self.agent.call("delete", "inside", "")
        self.assertTrue(alive(second) and alive(shim))
        self.agent.call("sandbox", "stop", "pod")
        self.assertFalse(alive(second))
        self.assertEqual(self.agent.call("sandbox", "wait", "pod")[0], "0")
        self.assertEqual(self.agent.call("wait", "second", "")[4], "137")
        self.agent.call("delete", "second", "")
        self.remove("pod")
        eventually("the shim ends", lambda: not alive(shim))
        self.assertFalse(os.path.exists(self.bundle("pod", self.SANDBOXES)))

    def test_a_killed_shim_takes_its_containers_along(self):
        shim = self.sandbox("doomed")
        inside = self.join("doomed", "victim")
        os.kill(shim, signal.SIGKILL)
        eventually("the container ends", lambda: not alive(inside))
        eventually("its id is free", lambda: "victim" not in self.agent.tasks())
        eventually("it is not ready", lambda: self.agent.call("sandbox", "state", "doomed")[1] == "SANDBOX_NOTREADY")
        eventually("its bundle goes", lambda: not os.path.exists(self.bundle("doomed", self.SANDBOXES)))
        self.agent.call("sandbox", "delete", "doomed")

    def test_a_shim_that_dies_without_a_daemon_is_cleaned_up_after(self):
        shim = self.sandbox("lonely")
        self.agent.close()
        self.daemon.stop(signal.SIGKILL)
        os.kill(shim, signal.SIGKILL)
        self.daemon.start()
        self.agent = Agent([AGENT, self.daemon.socket, self.ns, RUNTIME])
        eventually("its bundle goes", lambda: not os.path.exists(self.bundle("lonely", self.SANDBOXES)))
        self.assertIn("lonely", self.agent.names("sandboxes"), "the record is the client's")
        self.agent.call("sandbox", "delete", "lonely")

    def test_a_daemon_killed_at_any_time_of_a_sandbox_leaves_nothing(self):
        chance = random.Random(1)
        for turn in range(8):
            name = f"k{turn}"
            life = threading.Thread(target=self.live_and_end, args=(name,))
            life.start()
            time.sleep(chance.uniform(0, 0.12))
            self.daemon.stop(signal.SIGKILL)
            life.join()
            self.again()
            for step in ("stop", "shutdown", "delete"):
                self.gone("sandbox", step, name)
            self.assert_nothing_is_left(f"turn {turn}", self.agent.process.pid)
            folder = os.path.dirname(self.bundle(name, self.SANDBOXES))
            eventually(f"turn {turn}: no bundles", lambda: not os.path.exists(folder) or not os.listdir(folder), 15)

    def live_and_end(self, name):
        try:
            for step in ("create", "start", "stop", "shutdown"):
                self.agent.call("sandbox", step, name)
        except RpcError:
            pass  # the daemon was killed

    def test_a_container_of_a_sandbox_that_does_not_run_is_refused(self):
        self.sandbox("stopped")
        self.agent.call("sandbox", "shutdown", "stopped")
        with self.assertRaises(RpcError) as refused:
            self.join("stopped", "late")
        self.assertEqual(refused.exception.code, NOT_FOUND)
        self.agent.call("sandbox", "delete", "stopped")


if __name__ == "__main__":
    unittest.main()
