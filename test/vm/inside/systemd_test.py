"""The systemd driver, on a real systemd."""
from harness import CGROUP, ContainerTest, eventually, read, run, show

MIB = 1 << 20


class ScopeTest(ContainerTest):
    systemd = True

    @property
    def unit(self):
        return f"vm-{self.id}.scope"

    def clean(self):
        super().clean()
        self.assertEqual(show(self.unit, "LoadState")["LoadState"], "not-found")

    def test_the_scope_has_the_limits(self):
        self.start(resources={"memory": {"limit": 64 * MIB, "swap": 96 * MIB}, "pids": {"limit": 20},
                              "cpu": {"shares": 2048, "quota": 30000, "period": 60000, "cpus": "0-1"},
                              "hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]})
        pid = self.state()["pid"]
        self.assertEqual(f"0::{self.cgroup[len(CGROUP):]}", read(f"/proc/{pid}/cgroup"))
        told = show(self.unit, "MemoryMax", "MemorySwapMax", "TasksMax", "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec",
                    "AllowedCPUs", "Slice", "Delegate", "DevicePolicy", "ActiveState")
        self.assertEqual(told, {"MemoryMax": str(64 * MIB), "MemorySwapMax": str(32 * MIB), "TasksMax": "20",
                                "CPUQuotaPerSecUSec": "500ms", "CPUQuotaPeriodUSec": "60ms", "AllowedCPUs": "0-1",
                                "Slice": "machine-test.slice", "Delegate": "yes", "DevicePolicy": "strict",
                                "ActiveState": "active"})
        for file, value in {"memory.max": 64 * MIB, "memory.swap.max": 32 * MIB, "pids.max": 20,
                            "cpu.max": "30000 60000", "hugetlb.2MB.max": 4 * MIB}.items():
            self.assertEqual(self.value(file), str(value), file)
        # Only init is in it: who held the scope open is gone.
        self.assertEqual(self.value("cgroup.procs"), str(pid))

    def test_systemd_reloads_and_all_stays(self):
        self.start(resources={"memory": {"limit": 64 * MIB}, "cpu": {"quota": 12345, "period": 100000}})
        run("systemctl", "daemon-reload")
        self.assertEqual(self.value("memory.max"), str(64 * MIB))
        done = self.oci("exec", self.id, "/bin/sh", "-c", "mknod /tmp/d b 254 16; dd if=/tmp/d of=/dev/null count=1; echo > /dev/null && echo ok")
        self.assertIn("Operation not permitted", done.err)
        self.assertIn("ok", done.out)

    def test_update_tells_systemd(self):
        self.start()
        self.must("update", "--memory", str(32 * MIB), "--pids-limit", "7", "--cpu-quota", "20000", self.id)
        told = show(self.unit, "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec")
        self.assertEqual(told, {"MemoryMax": str(32 * MIB), "TasksMax": "7", "CPUQuotaPerSecUSec": "200ms"})
        self.assertEqual((self.value("memory.max"), self.value("pids.max")), (str(32 * MIB), "7"))

    def test_devices_are_denied_and_allowed(self):
        rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "b", "major": 254, "minor": 16, "access": "r"}]
        probe = "mknod /tmp/d b 254 16; dd if=/tmp/d of=/dev/null count=1 && echo opened; mknod /tmp/e c 1 4; dd if=/tmp/e count=0"
        out = self.output(probe, resources={"devices": rules})
        self.assertIn("opened", out)
        self.assertIn("Operation not permitted", out)

    def test_one_process_is_enough(self):
        self.start("sleep", "1000", resources={"pids": {"limit": 1}})
        self.assertEqual(self.value("pids.max"), "1")

    def test_a_container_that_ends_leaves_no_unit_and_its_name_is_free(self):
        for _ in range(2):
            self.assertIn("hello", self.output("echo hello"))
            self.assertFalse(self.leftovers())

    def test_a_container_out_of_memory_leaves_no_failed_unit(self):
        self.config("tail", "/dev/zero", resources={"memory": {"limit": 16 * MIB, "swap": 16 * MIB}})
        self.assertNotEqual(self.oci("run", "--bundle", self.bundle, self.id).code, 0)
        self.assertNotIn(self.unit, run("systemctl", "list-units", "--failed", "--plain").out)

    def test_a_failed_creation_leaves_no_unit(self):
        for config in ({"resources": {"cpu": {"cpus": "77"}}}, {"process": {"args": ["/no"], "cwd": "/", "user": {}}}):
            self.config("true", **config)
            self.assertNotEqual(self.oci("run", "--bundle", self.bundle, self.id).code, 0)
            self.assertFalse(self.leftovers())

    def test_a_unit_of_the_name_that_lives_is_an_error(self):
        self.start()
        self.config("true")
        done = self.oci("--root", "/run/other", "run", "--bundle", self.bundle, self.id + "x")
        self.assertNotEqual(done.code, 0)
        self.assertIn("UnitExists", done.err)
        self.assertEqual(self.state()["status"], "running")

    def test_systemd_may_stop_it(self):
        # An init that does not care for SIGTERM is killed after that.
        self.start(annotations={"org.systemd.property.TimeoutStopSec": "1"})
        run("systemctl", "stop", self.unit)
        eventually("stopped", lambda: self.state()["status"] == "stopped")

    def test_pause_and_kill(self):
        self.start()
        self.must("pause", self.id)
        self.assertEqual(self.state()["status"], "paused")
        self.must("resume", self.id)
        self.must("kill", "--all", self.id, "KILL")
        eventually("stopped", lambda: self.state()["status"] == "stopped")

    # CVE-2024-3154.
    def test_annotations_set_harmless_properties_only(self):
        self.config("true", annotations={"org.systemd.property.SuccessAction": "'poweroff-force'"})
        done = self.oci("run", "--bundle", self.bundle, self.id)
        self.assertNotEqual(done.code, 0)
        self.assertIn("org.systemd.property.SuccessAction", done.err)
        self.start(annotations={"org.systemd.property.TimeoutStopSec": "7"})
        self.assertEqual(show(self.unit, "TimeoutStopUSec"), {"TimeoutStopUSec": "7s"})

    def test_a_path_of_the_other_driver_is_an_error(self):
        self.config("true", linux={"cgroupsPath": "/a/b"})
        self.assertIn("slice:prefix:name", self.oci("run", "--bundle", self.bundle, self.id).err)
