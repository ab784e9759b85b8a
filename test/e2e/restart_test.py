"""Containers outlive the daemon: SIGKILL, exits while it is down, and what a new daemon finds."""
import os
import signal
import time
import unittest

from harness import OURS, DaemonCase, alive, eventually, run

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

    def test_a_shim_that_is_killed_is_reported(self):
        if not OURS:
            self.skipTest("containerd reports it otherwise")
        pid = self.detached("orphan", "sleep", "1000")
        with open(f"/proc/{pid}/stat") as f:
            shim = int(f.read().rsplit(")", 1)[1].split()[1])
        os.kill(shim, signal.SIGKILL)
        eventually("the exit is reported", lambda: self.inspect("orphan")["state"] in ("exited", "created"), 10)
        eventually("the container is gone", lambda: not alive(pid), 10)
        self.run_ok("rm", "-f", "orphan")

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
