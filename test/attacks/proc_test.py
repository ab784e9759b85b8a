"""Files that the image, or a container beside this one, puts where the runtime expects the kernel's: /dev/null,
/dev/console, /proc."""
import os
import unittest

from bundle import DEV, PROC, PTS, AttackCase


class DevNull(AttackCase):
    """CVE-2025-31133: the runtime covers masked paths with the container's /dev/null, whatever that is."""

    def setUp(self):
        super().setUp()
        # /dev is a directory of the image.
        self.config["mounts"] = [dict(PROC)]
        self.config["linux"]["maskedPaths"] = ["/proc/kcore", "/data/masked", "/data/folder"]
        self.write(self.root + "/data/masked", "to be masked\n")
        self.write(self.root + "/data/folder/file", "to be masked\n")
        self.write(self.root + "/data/bait", "bait\n", 0o666)

    def masks_hold(self):
        result = self.run_container("echo begin; cat /data/masked /data/folder/file; head -c 10 /proc/kcore; echo end")
        if result.code != 0 and "begin" not in result.out:
            self.refused(result)
        else:
            self.assertEqual(result.out, "begin\nend\n", "a masked file shows something")

    def test_CVE_2025_31133_dev_null_is_a_symlink_to_a_file(self):
        os.symlink("/data/bait", self.root + "/dev/null")
        self.masks_hold()

    def test_CVE_2025_31133_dev_null_is_a_symlink_into_proc(self):
        os.symlink("/proc/self/environ", self.root + "/dev/null")
        self.masks_hold()

    def test_CVE_2025_31133_dev_null_is_a_regular_file(self):
        self.write(self.root + "/dev/null", "bait\n", 0o666)
        self.masks_hold()

    def test_CVE_2025_31133_dev_null_is_another_device(self):
        os.mknod(self.root + "/dev/null", 0o020666, os.makedev(1, 5))  # /dev/zero
        self.masks_hold()

    def test_CVE_2025_31133_dev_null_is_missing(self):
        self.masks_hold()

    def test_CVE_2025_31133_dev_null_is_swapped_all_the_time(self):
        self.write(self.root + "/dev/bait", "bait\n", 0o666)
        os.mknod(self.root + "/dev/null", 0o020666, os.makedev(1, 3))
        self.swapping(self.root + "/dev/bait", self.root + "/dev/null")
        for _ in range(20):
            self.masks_hold()


class DevConsole(AttackCase):
    """CVE-2025-52565: the terminal is mounted on /dev/console before masks are in force, where that leads."""

    def test_CVE_2025_52565_dev_console_is_a_symlink(self):
        self.config["mounts"] = [dict(PROC), dict(PTS)]
        os.mkdir(self.root + "/dev/pts")
        for target in ("/data/target", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger"):
            self.write(self.root + "/data/target", "as it was\n")
            if os.path.lexists(self.root + "/dev/console"):
                os.unlink(self.root + "/dev/console")
            os.symlink(target, self.root + "/dev/console")
            text = self.run_with_terminal("grep -F devpts /proc/self/mountinfo", "echo covered", "cat /data/target")
            if text is not None:
                self.assertNotIn(target, text, "the terminal is mounted there")
                self.assertIn("as it was", text)

    def test_CVE_2025_52565_dev_pts_is_a_directory_of_the_image(self):
        self.config["mounts"] = [dict(PROC)]
        for number in range(4):
            self.write(f"{self.root}/dev/pts/{number}", "bait\n", 0o666)
        self.write(self.root + "/dev/ptmx", "bait\n", 0o666)
        self.write(self.root + "/dev/pts/ptmx", "bait\n", 0o666)
        text = self.run_with_terminal("cat /dev/console </dev/null & sleep 0.2")
        self.assertIsNone(text, "a terminal was taken from where no devpts is")

    def test_CVE_2025_52565_dev_console_is_swapped_all_the_time(self):
        self.config["mounts"] = [dict(PROC), dict(PTS)]
        os.mkdir(self.root + "/dev/pts")
        self.write(self.root + "/data/target", "as it was\n")
        os.symlink("/data/target", self.root + "/dev/link")
        self.write(self.root + "/dev/console", "")
        self.swapping(self.root + "/dev/link", self.root + "/dev/console")
        for _ in range(10):
            text = self.run_with_terminal("grep ' /data/target ' /proc/self/mountinfo; echo looked")
            if text is not None:
                self.assertEqual(text, "looked\r\n")


class FakeProc(AttackCase):
    """CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-52881: what the runtime writes to /proc
    goes where the image wants."""

    FILES = ("sys/net/ipv4/ip_forward", "sys/kernel/shm_rmid_forced", "self/oom_score_adj", "self/attr/exec",
             "self/attr/apparmor/exec", "self/setgroups", "self/uid_map", "thread-self/attr/exec", "sysrq-trigger")

    def setUp(self):
        super().setUp()
        self.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
        self.config["process"]["oomScoreAdj"] = 500

    def fake(self, path):
        for name in self.FILES:
            self.write(f"{path}/{name}", "bait\n", 0o666)

    def intact(self, path):
        for name in self.FILES:
            with open(f"{path}/{name}") as f:
                self.assertEqual(f.read(), "bait\n", f"the runtime wrote to the false {name}")

    def test_CVE_2025_52881_the_image_has_a_proc_and_none_is_mounted(self):
        self.config["mounts"] = [dict(DEV), dict(PTS)]
        self.config["linux"]["maskedPaths"] = self.config["linux"]["readonlyPaths"] = []
        self.fake(self.root + "/proc")
        self.run_container("true")
        self.intact(self.root + "/proc")

    def test_CVE_2019_16884_a_volume_is_mounted_over_proc(self):
        self.fake(self.dir + "/volume")
        self.config["mounts"].append({"destination": "/proc", "type": "bind", "source": self.dir + "/volume",
                                      "options": ["rbind"]})
        self.run_container("true")
        self.intact(self.dir + "/volume")

    def test_CVE_2019_19921_volumes_are_mounted_below_proc(self):
        self.fake(self.dir + "/volume")
        for below in ("sys", "self", "thread-self", "sys/net"):
            self.config["mounts"] = [dict(PROC), dict(DEV), dict(PTS),
                                     {"destination": "/proc/" + below, "type": "bind",
                                      "source": f"{self.dir}/volume/{below}", "options": ["rbind"]}]
            self.run_container("true")
            self.intact(self.dir + "/volume")

    def linked_proc(self, target):
        os.rmdir(self.root + "/proc")
        os.symlink(target, self.root + "/proc")
        self.fake(self.root + "/data/proc")
        self.config["linux"]["maskedPaths"] = ["/proc/version"]
        result = self.run_container("echo begin; cat /proc/version; echo end")
        self.intact(self.root + "/data/proc")
        if result.code == 0:
            self.assertEqual(result.out, "begin\nend\n", "a mask does not hold")

    def test_CVE_2023_27561_proc_is_a_symlink_of_the_image(self):
        self.linked_proc("/data/proc")

    def test_CVE_2023_28642_proc_is_a_relative_symlink_of_the_image(self):
        self.linked_proc("data/proc")

    def test_CVE_2025_52881_writes_are_not_led_to_another_file_of_proc(self):
        # By a volume that a second container changes: sys/net/ipv4/ip_forward is a link to sysrq-trigger.
        folder = self.dir + "/volume/sys/net/ipv4"
        os.makedirs(folder)
        os.symlink("/data/written", folder + "/ip_forward")
        self.write(self.root + "/data/written", "bait\n", 0o666)
        self.config["mounts"].append({"destination": "/proc/sys", "type": "bind", "source": self.dir + "/volume/sys",
                                      "options": ["rbind"]})
        self.run_container("true")
        with open(self.root + "/data/written") as f:
            self.assertEqual(f.read(), "bait\n")

    def test_CVE_2025_52881_proc_is_swapped_all_the_time(self):
        self.fake(self.root + "/data/proc")
        os.symlink("/data/proc", self.root + "/link")
        self.swapping(self.root + "/link", self.root + "/proc")
        self.config["linux"]["maskedPaths"] = ["/proc/version"]
        for _ in range(20):
            result = self.run_container("echo begin; cat /proc/version; echo end")
            if result.code == 0:
                self.assertNotIn("Linux", result.out, "a mask does not hold")
        for name in self.FILES:
            for place in ("/data/proc", "/proc", "/link"):
                path = f"{self.root}{place}/{name}"
                if os.path.exists(path):
                    with open(path) as f:
                        self.assertEqual(f.read(), "bait\n")


if __name__ == "__main__":
    unittest.main()
