"""Containers outlive the daemon: SIGKILL, exits while it is down, and what a new daemon finds."""
import os
import signal
import time
import unittest

from harness import OURS, DaemonCase, alive, eventually, run

KEEPS_EXITS = tuple(int(n) for n in os.uname().release.split(".")[:2]) >= (6, 15)
COUNT = "trap 'exit 7' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"


class RestartTest(DaemonCase):
    def last_number(self, name):
        with open(f"{self.folder}/logs/{self.ns}/{name}.log") as f:
            numbers = f.read().split()
        return int(numbers[-1]) if numbers else 0

    def test_a_container_counts_on_while_the_daemon_is_killed(self):
        pid = self.detached("counter", "sh", "-c", COUNT)
        eventually("it counts", lambda: self.last_number("counter") > 2)
        self.daemon.stop(signal.SIGKILL)
        before = self.last_number("counter")
        eventually("it counts on without a daemon", lambda: self.last_number("counter") > before + 3)
        self.daemon.start()
        state = self.inspect("counter")
        self.assertEqual((state["state"], state["pid"]), ("running", pid))
        self.assertEqual(self.run_ok("exec", "counter", "echo", "inside"), "inside\n")
        self.run_ok("stop", "counter")
        self.assertEqual(self.run_ok("wait", "counter").strip(), "7")
        self.assertFalse(alive(pid))

    def test_an_exit_while_the_daemon_is_down_is_reported_with_its_code(self):
        pid = self.detached("brief", "sh", "-c", "sleep 0.5; exit 42")
        self.daemon.stop(signal.SIGKILL)
        eventually("it ends", lambda: not alive(pid))
        time.sleep(0.2)
        self.daemon.start()
        self.assertEqual(self.run_ok("wait", "brief").strip(), "42")
        self.assertEqual(self.inspect("brief")["state"], "exited")

    def test_a_daemon_that_ends_in_order_leaves_containers_running(self):
        pid = self.detached("kept", "sleep", "1000")
        self.daemon.restart(signal.SIGTERM)
        self.assertTrue(alive(pid))
        self.assertEqual(self.inspect("kept")["pid"], pid)

    def test_images_and_records_survive(self):
        self.detached("record", "true")
        self.daemon.restart()
        self.assertIn("busybox:latest", self.run_ok("images", "-q").split())
        self.assertIn("record", self.run_ok("ps", "-aq").split())
        self.run_ok("run", "--rm", "busybox", "true")

    def kill_shim(self, pid):
        """Kills the shim of the only container there is."""
        self.assertTrue(alive(pid))
        shims = [p for p in filter(str.isdigit, os.listdir("/proc")) if self.is_shim(p)]
        self.assertEqual(len(shims), 1)
        os.kill(int(shims[0]), signal.SIGKILL)
        eventually("the shim ends", lambda: not alive(int(shims[0])))

    def is_shim(self, pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            return False
        return words[0].endswith(b"containerd-shim-gantry-v2") and self.ns.encode() in words and alive(int(pid))

    @unittest.skipUnless(OURS, "containerd has no successors of shims")
    @unittest.skipUnless(KEEPS_EXITS, "needs Linux 6.15: PIDFD_INFO_EXIT")
    def test_a_container_goes_on_when_its_shim_is_killed(self):
        pid = self.detached("counter", "sh", "-c", COUNT)
        eventually("it counts", lambda: self.last_number("counter") > 2)
        self.kill_shim(pid)
        before = self.last_number("counter")
        eventually("it counts on", lambda: self.last_number("counter") > before + 3)
        eventually("it has a shim again", lambda: self.inspect("counter")["state"] == "running", 10)
        self.assertEqual(self.inspect("counter")["pid"], pid)
        self.assertEqual(self.run_ok("exec", "counter", "echo", "inside"), "inside\n")
        # Now together with the daemon.
        self.daemon.stop(signal.SIGKILL)
        self.kill_shim(pid)
        self.daemon.start()
        eventually("it has a shim again", lambda: self.inspect("counter")["state"] == "running", 10)
        self.assertTrue(alive(pid))
        self.run_ok("stop", "counter")
        self.assertEqual(self.run_ok("wait", "counter").strip(), "7")
        self.assertFalse(alive(pid))

    @unittest.skipUnless(OURS, "containerd has no successors of shims")
    @unittest.skipUnless(KEEPS_EXITS, "needs Linux 6.15: PIDFD_INFO_EXIT")
    def test_a_container_is_never_absent_while_its_shim_is_replaced(self):
        pid = self.detached("counter", "sh", "-c", COUNT)
        for _ in range(5):
            self.kill_shim(pid)
            self.assertEqual(self.run_ok("ps", "-q").split(), ["counter"])
            state = self.inspect("counter")
            self.assertEqual((state["state"], state["pid"]), ("running", pid))
            self.daemon.stop(signal.SIGKILL)
            self.kill_shim(pid)
            self.daemon.start()
            self.assertEqual(self.run_ok("ps", "-q").split(), ["counter"])
        self.run_ok("stop", "counter")
        self.assertEqual(self.run_ok("wait", "counter").strip(), "7")

    @unittest.skipUnless(OURS, "the mark is ours")
    def test_a_task_that_was_being_ended_is_ended_by_the_next_daemon(self):
        pid = self.detached("doomed", "sleep", "1000")
        self.daemon.stop(signal.SIGKILL)
        bundle = f"{self.daemon.state}/io.containerd.runtime.v2.task/{self.ns}/doomed"
        with open(bundle + "/ending", "w"):
            pass
        self.daemon.start()
        self.assertEqual(self.run_ok("ps", "-q"), "")
        eventually("its process ends", lambda: not alive(pid))
        eventually("its bundle goes", lambda: not os.path.exists(bundle))
        eventually("its shim ends", lambda: not [p for p in filter(str.isdigit, os.listdir("/proc")) if self.is_shim(p)])

    @unittest.skipUnless(OURS, "containerd has no successors of shims")
    @unittest.skipUnless(KEEPS_EXITS, "needs Linux 6.15: PIDFD_INFO_EXIT")
    def test_an_exit_right_after_its_shim_was_killed_has_its_code(self):
        pid = self.detached("brief", "sh", "-c", "trap 'exit 42' TERM; while :; do sleep 0.02; done")
        time.sleep(0.3)
        self.kill_shim(pid)
        os.kill(pid, signal.SIGTERM)
        self.assertEqual(self.run_ok("wait", "brief").strip(), "42")

    def test_an_attached_client_waits_for_the_daemon(self):
        import subprocess
        client = subprocess.Popen(self.gantry_command("run", "--rm", "busybox", "sh", "-c", "sleep 2; exit 5"),
                                  env=self.env, stdin=subprocess.DEVNULL)
        eventually("it runs", lambda: self.run_ok("ps", "-q").strip())
        time.sleep(0.3)
        self.daemon.restart()
        self.assertEqual(client.wait(60), 5)


class LockTest(DaemonCase):
    """What is owned by a live daemon is not taken by another one."""

    def second(self, **changes):
        command = self.daemon.command()
        for flag, value in changes.items():
            command[command.index("--" + flag) + 1] = value
        return run(command)

    @unittest.skipUnless(OURS, "containerd takes a socket from a live daemon")
    def test_a_socket_of_a_live_daemon_is_not_taken(self):
        result = self.second(root=self.folder + "/root2", state=self.folder + "/state2")
        self.assertNotEqual(result.code, 0)
        self.assertIn(self.daemon.socket, result.err)
        self.run_ok("version")

    @unittest.skipUnless(OURS, "containerd waits for the lock for ever")
    def test_a_root_of_a_live_daemon_is_locked(self):
        result = self.second(address=self.folder + "/other.sock", state=self.folder + "/state3")
        self.assertNotEqual(result.code, 0)
        self.assertIn(self.daemon.root, result.err)
        self.run_ok("version")

    def test_a_socket_that_a_killed_daemon_left_is_taken_over(self):
        self.daemon.restart(signal.SIGKILL)
        self.run_ok("version")


if __name__ == "__main__":
    unittest.main()
