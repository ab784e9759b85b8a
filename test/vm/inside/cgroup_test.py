"""Control groups of version 2, made by gantry-oci itself, on a kernel that has every controller."""
import json
import os
import subprocess
import unittest

from harness import CGROUP, OCI, ContainerTest, eventually, read, run

MIB = 1 << 20
LIMITS = {
    "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 16 * MIB},
    "cpu": {"shares": 2048, "quota": 30000, "period": 60000, "burst": 1000, "cpus": "1", "mems": "0"},
    "pids": {"limit": 20},
    "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": 10 * MIB}],
                "throttleWriteIOPSDevice": [{"major": 254, "minor": 0, "rate": 100}]},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}],
    "unified": {"memory.high": str(60 * MIB), "memory.oom.group": "1"},
}


class LimitsTest(ContainerTest):
    def test_every_controller_limits(self):
        self.start(resources=LIMITS)
        self.assertEqual(set(self.value("cgroup.controllers").split()),
                         {"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"})
        expected = {"memory.max": 64 * MIB, "memory.swap.max": 32 * MIB, "memory.low": 16 * MIB,
                    "memory.high": 60 * MIB, "memory.oom.group": 1, "cpu.max": "30000 60000", "cpu.max.burst": 1000,
                    "cpuset.cpus": 1, "cpuset.mems": 0, "pids.max": 20, "hugetlb.2MB.max": 4 * MIB}
        for file, value in expected.items():
            self.assertEqual(self.value(file), str(value), file)
        self.assertNotEqual(self.value("cpu.weight"), "100")
        self.assertIn("default", self.value("io.weight"))
        self.assertNotIn("default 100", self.value("io.weight").splitlines()[0] + ".")
        self.assertEqual(self.value("io.max"), f"254:0 rbps={10 * MIB} wbps=max riops=max wiops=100")

    def test_update_changes_what_is_asked(self):
        self.start(resources=LIMITS)
        self.must("update", "--memory", str(128 * MIB), "--memory-swap", str(256 * MIB), "--pids-limit", "30",
                  "--cpu-quota", "50000", "--cpuset-cpus", "0-1", "--cpu-share", "512", self.id)
        for file, value in {"memory.max": 128 * MIB, "memory.swap.max": 128 * MIB, "pids.max": 30, "cpuset.cpus": "0-1",
                            "memory.low": 16 * MIB, "cpu.max": "50000 60000"}.items():
            self.assertEqual(self.value(file), str(value), file)
        with open(f"{self.bundle}/update.json", "w", encoding="utf-8") as f:
            json.dump({"memory": {"limit": -1, "swap": -1}, "unified": {"memory.high": "max"}, "cpu": {"idle": 1}}, f)
        self.must("update", "-r", f"{self.bundle}/update.json", self.id)
        self.assertEqual((self.value("memory.max"), self.value("memory.swap.max"), self.value("cpu.idle")),
                         ("max", "max", "1"))

    def test_a_limit_below_the_use_is_refused_when_checked_before(self):
        self.start("sh", "-c", "dd if=/dev/zero of=/dev/fill bs=1M count=20 2>/dev/null; sleep 1000")
        eventually("20 MiB in use", lambda: int(self.value("memory.current")) > 20 * MIB)
        with open(f"{self.bundle}/update.json", "w", encoding="utf-8") as f:
            json.dump({"memory": {"limit": MIB, "checkBeforeUpdate": True}}, f)
        done = self.oci("update", "-r", f"{self.bundle}/update.json", self.id)
        self.assertNotEqual(done.code, 0)
        self.assertIn("memory.limit", done.err)
        self.assertEqual(self.state()["status"], "running")

    def test_a_refused_value_names_its_setting_and_leaves_nothing(self):
        for resources, name in (({"cpu": {"cpus": "77"}}, "cpu.cpus"), ({"unified": {"memory.max": "x"}}, "memory.max"),
                                ({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, "hugepageLimits"),
                                ({"unified": {"no.such": "1"}}, "no.such")):
            self.config("true", resources=resources)
            done = self.oci("run", "--bundle", self.bundle, self.id)
            self.assertNotEqual(done.code, 0, name)
            self.assertIn(name, done.err)
            self.assertFalse(self.leftovers())


class ProcessesTest(ContainerTest):
    def test_init_and_exec_are_born_in_the_cgroup(self):
        self.start()
        pid = self.state()["pid"]
        self.assertEqual(read(f"/proc/{pid}/cgroup"), f"0::/vm/{self.id}")
        self.assertEqual(self.must("exec", self.id, "/bin/busybox", "cat", "/proc/self/cgroup").strip(), "0::/")
        self.assertEqual(self.value("cgroup.procs"), str(pid))

    def test_the_container_sees_only_its_own_cgroup(self):
        out = self.output("cat /proc/self/cgroup; cat /sys/fs/cgroup/memory.max; ls /sys/fs/cgroup/vm; "
                          "echo 5 > /sys/fs/cgroup/pids.max", resources={"memory": {"limit": 64 * MIB}})
        self.assertIn("0::/\n", out)
        self.assertIn(f"{64 * MIB}\n", out)
        self.assertIn("No such file", out)
        self.assertIn("Read-only file system", out)

    def test_pause_freezes_and_resume_goes_on(self):
        self.start("sh", "-c", "while :; do echo >> /tmp/ticks; sleep 0.05; done")
        ticks = lambda: os.path.getsize(f"{self.bundle}/rootfs/tmp/ticks")
        eventually("ticks", lambda: os.path.exists(f"{self.bundle}/rootfs/tmp/ticks"))
        self.must("pause", self.id)
        self.assertEqual((self.value("cgroup.freeze"), self.state()["status"]), ("1", "paused"))
        self.assertIn("frozen 1", self.value("cgroup.events"))
        before = ticks()
        run("sleep", "0.3")
        self.assertEqual(ticks(), before)
        self.must("resume", self.id)
        eventually("ticks go on", lambda: ticks() > before)
        self.assertEqual(self.state()["status"], "running")

    def test_a_paused_container_is_killed(self):
        self.start()
        self.must("pause", self.id)
        self.must("kill", self.id, "KILL")
        eventually("stopped", lambda: self.state()["status"] == "stopped")

    def test_kill_all_reaches_all_without_a_pid_namespace(self):
        self.start("sh", "-c", "(sleep 1000 & sleep 1000 &) ; exec sleep 1000",
                   namespaces=("mount", "ipc", "uts", "cgroup"))
        eventually("three processes", lambda: len(self.value("cgroup.procs").split()) == 3)
        self.assertEqual(len(json.loads(self.must("ps", "--format", "json", self.id))), 3)
        self.must("kill", "--all", self.id, "KILL")
        eventually("nobody", lambda: self.value("cgroup.procs") == "")

    def test_delete_removes_cgroups_that_the_container_made(self):
        self.start("sh", "-c", "mkdir -p /cg/a/b; sleep 1000", mounts=[
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/cg", "type": "cgroup", "source": "cgroup"}])
        eventually("an inner cgroup", lambda: os.path.isdir(f"{self.cgroup}/a/b"))
        self.must("delete", "--force", self.id)
        self.assertFalse(self.leftovers())

    def test_a_forbidden_fork_counts(self):
        out = self.output("for i in 1 2 3 4 5 6; do sleep 1 & done; wait", resources={"pids": {"limit": 3}})
        self.assertRegex(out, "can't fork|Resource temporarily unavailable")


class DevicesTest(ContainerTest):
    PROBE = "mknod /tmp/d b 254 16; dd if=/tmp/d of=/dev/null count=1 && echo opened; echo x > /dev/null && echo null"

    def test_a_device_that_no_rule_allows_is_denied(self):
        out = self.output(self.PROBE)
        self.assertIn("Operation not permitted", out)
        self.assertNotIn("opened", out)
        self.assertIn("null", out)

    def test_an_allowed_device_opens_as_far_as_allowed(self):
        rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "b", "major": 254, "minor": 16, "access": "r"}]
        out = self.output(self.PROBE + "; echo x > /tmp/d && echo written", resources={"devices": rules})
        self.assertIn("opened", out)
        self.assertNotIn("written", out)

    def test_update_changes_the_rules_of_a_running_container(self):
        self.start()
        probe = ("exec", self.id, "/bin/sh", "-c", "[ -e /tmp/d ] || mknod /tmp/d b 254 16; dd if=/tmp/d of=/dev/null count=1")
        self.assertNotEqual(self.oci(*probe).code, 0)
        for allow in (True, False):
            with open(f"{self.bundle}/update.json", "w", encoding="utf-8") as f:
                json.dump({"devices": [{"allow": allow, "type": "b", "major": 254, "minor": 16, "access": "r"}]}, f)
            self.must("update", "-r", f"{self.bundle}/update.json", self.id)
            self.assertEqual(self.oci(*probe).code == 0, allow)


class EventsTest(ContainerTest):
    def test_stats_count(self):
        self.start("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000", resources=LIMITS)
        eventually("some time used", lambda: "usage_usec 0" not in self.value("cpu.stat"))
        data = json.loads(self.must("events", "--stats", self.id))["data"]
        self.assertGreater(data["cpu"]["usage"]["total"], 0)
        self.assertGreater(data["memory"]["usage"]["usage"], 0)
        self.assertEqual(data["memory"]["usage"]["limit"], 64 * MIB)
        self.assertEqual(data["pids"]["limit"], 20)
        self.assertIn("2MB", data["hugetlb"])

    def test_an_out_of_memory_kill_is_an_event(self):
        limits = {"memory": {"limit": 16 * MIB, "swap": 16 * MIB}}
        # The child is killed, init lives on.
        self.config("sh", "-c", "sh -c 'tail /dev/zero'; sleep 1000", resources=limits)
        self.must("create", "--bundle", self.bundle, self.id)
        with subprocess.Popen([OCI, "--root", self.root, "events", self.id], stdout=subprocess.PIPE, text=True) as events:
            try:
                self.assertIn('"stats"', events.stdout.readline())
                self.must("start", self.id)
                while '"oom"' not in (line := events.stdout.readline()):
                    self.assertTrue(line, "events ended without an OOM")
            finally:
                events.kill()
        self.assertRegex(self.value("memory.events"), "oom_kill [1-9]")


class UnitTest(unittest.TestCase):
    """The C++ tests that the development machine, with its hybrid cgroups, skips parts of."""

    def test_cgroup(self):
        done = run("/payload/unit/cgroup_test", env={"LD_LIBRARY_PATH": "/payload/lib", "PATH": "/usr/bin"})
        self.assertEqual(done.code, 0, done.out[-6000:])

    def test_it_is_version_two_alone(self):
        self.assertEqual(len(read("/proc/self/cgroup").splitlines()), 1)
        self.assertTrue(os.path.exists(f"{CGROUP}/cgroup.controllers"))
