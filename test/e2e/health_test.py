"""Health checks: what a container asks for, what the daemon finds, and where it tells."""
import json
import signal
import subprocess
import unittest

from harness import OURS, DaemonCase, eventually

FAST = ("--health-interval", "100ms", "--health-retries", "2")


@unittest.skipUnless(OURS, "containerd has no health checks")
class HealthTest(DaemonCase):
    def checked(self, name, command, *flags):
        self.detached(name, "sleep", "1000", flags=("--health-cmd", command, *FAST, *flags))

    def health(self, name):
        return self.inspect(name).get("health", {})

    def status(self, name):
        return self.health(name).get("Status")

    def test_a_check_follows_what_happens_in_the_container(self):
        self.checked("c", "echo looked; test -e /tmp/good", "--tmpfs", "/tmp")
        eventually("it is unhealthy", lambda: self.status("c") == "unhealthy")
        self.assertIn("(unhealthy)", self.run_ok("ps"))
        health = self.health("c")
        self.assertGreaterEqual(health["FailingStreak"], 2)
        self.assertEqual((health["Log"][-1]["ExitCode"], health["Log"][-1]["Output"]), (1, "looked\n"))
        self.run_ok("exec", "c", "touch", "/tmp/good")
        eventually("it is healthy", lambda: self.status("c") == "healthy")
        self.assertEqual(self.health("c")["FailingStreak"], 0)
        self.assertIn("(healthy)", self.run_ok("ps"))
        row = json.loads(self.run_ok("--format", "json", "ps"))
        self.assertEqual(row["health"], "healthy")

    def test_a_check_that_takes_too_long_is_killed(self):
        self.checked("c", "echo begun; sleep 1000", "--health-timeout", "2s")
        eventually("it is unhealthy", lambda: self.status("c") == "unhealthy")
        last = self.health("c")["Log"][-1]
        self.assertEqual(last["ExitCode"], -1)
        self.assertIn("longer than 2s", last["Output"])
        self.assertIn("begun", last["Output"])
        self.run_ok("stop", "-t", "1", "c")

    def test_failures_in_the_start_period_do_not_count(self):
        self.checked("c", "false", "--health-start-period", "1h", "--health-start-interval", "50ms")
        self.assertRaises(AssertionError, eventually, "a change", lambda: self.status("c") != "starting", 1)

    def test_much_output_is_cut(self):
        self.checked("c", "seq 1 100000; exit 1")
        eventually("it is unhealthy", lambda: self.status("c") == "unhealthy")
        self.assertEqual(len(self.health("c")["Log"][-1]["Output"]), 4096)

    def test_a_program_that_is_not_there_is_a_failure(self):
        self.checked("c", "/no/such")
        eventually("it is unhealthy", lambda: self.status("c") == "unhealthy")
        self.assertIn("/no/such", self.health("c")["Log"][-1]["Output"])

    def test_a_new_daemon_goes_on_checking(self):
        self.checked("c", "true")
        eventually("it is healthy", lambda: self.status("c") == "healthy")
        self.daemon.restart(signal.SIGKILL)
        self.run_ok("exec", "c", "true")
        eventually("it is checked again", lambda: self.status("c") == "healthy")

    def test_results_are_events(self):
        watcher = subprocess.Popen(self.gantry_command("events"), env=self.env, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        try:
            self.checked("c", "true")
            for line in watcher.stdout:
                if "/gantry/health" in line:
                    break
            else:
                self.fail("no event came")
        finally:
            watcher.kill()
            watcher.wait()
            watcher.stdout.close()

    def test_bad_flags_are_named(self):
        for flags, word in ((("--health-interval", "soon"), "--health-interval"),
                            (("--health-retries", "-1"), "--health-retries"),
                            (("--no-healthcheck",), "--no-healthcheck")):
            result = self.gantry("run", "--rm", "--health-cmd", "true", *flags, "busybox", "true")
            self.assertNotEqual(result.code, 0)
            self.assertIn(word, result.err)


if __name__ == "__main__":
    unittest.main()
