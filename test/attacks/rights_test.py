"""Rights that a container gets although nobody gave them: devices, capabilities, users, groups, settings of the kernel."""
import os
import unittest

from bundle import CAPABILITIES, AttackCase, is_ours

ALL_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


class Devices(AttackCase):
    """GHSA-g54h-m393-cpwq: devices are open to a container whose configuration does not deny them."""

    def denied(self):
        # A device of the host that no rule allows: the kernel's log (1:11), and the first disk, whatever that is.
        result = self.run_container("mknod /tmp/kmsg c 1 11 && mknod /tmp/disk b 8 0 && mknod /tmp/mem c 1 1 || exit 9",
                                    "for d in kmsg disk mem; do probe open /tmp/$d; done", "probe open /dev/null")
        self.assertEqual(self.ok(result), "EPERM\nEPERM\nEPERM\nok\n")

    def test_GHSA_g54h_no_resources(self):
        del self.config["linux"]["resources"]
        self.denied()

    def test_GHSA_g54h_no_rules(self):
        self.config["linux"]["resources"] = {}
        self.denied()

    def test_GHSA_g54h_an_empty_list(self):
        self.config["linux"]["resources"] = {"devices": []}
        self.denied()

    def test_GHSA_g54h_only_rules_that_allow(self):
        self.config["linux"]["resources"] = {"devices": [{"allow": True, "type": "c", "major": 10, "minor": 229,
                                                          "access": "rwm"}]}
        self.denied()

    def test_GHSA_g54h_after_an_update(self):
        self.config["linux"]["resources"] = {"pids": {"limit": 100}}
        self.detached("/bin/sleep", "100")
        self.ok(self.runtime("update", "--pids-limit", "50", self.id))
        result = self.exec("/bin/sh", "-c", "mknod /tmp/kmsg c 1 11; probe open /tmp/kmsg")
        self.assertEqual(self.ok(result), "EPERM\n")


class CapabilitySets(AttackCase):
    """CVE-2022-24769, CVE-2022-29162, CVE-2022-27650, CVE-2022-27652: inheritable or ambient capabilities that nobody
    asked for."""

    SHOW = "grep -E '^Cap(Inh|Amb)' /proc/self/status"
    NONE = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n"

    def test_CVE_2022_24769_the_first_process_has_none(self):
        self.assertEqual(self.ok(self.run_container(self.SHOW)), self.NONE)

    def test_CVE_2022_29162_a_process_of_exec_has_none(self):
        self.detached("/bin/sleep", "100")
        self.assertEqual(self.ok(self.exec("/bin/sh", "-c", self.SHOW)), self.NONE)
        self.assertEqual(self.ok(self.exec("/bin/sh", "-c", self.SHOW, options=("--user", "1000:1000"))), self.NONE)

    def test_CVE_2022_27652_a_capability_added_to_exec_is_not_inherited(self):
        self.detached("/bin/sleep", "100")
        result = self.exec("/bin/sh", "-c", "grep ^CapInh /proc/self/status", options=("--cap", "CAP_NET_ADMIN"))
        self.assertEqual(self.ok(result), "CapInh:\t0000000000000000\n")

    def test_CVE_2022_27650_spec_writes_none(self):
        if not is_ours():
            self.skipTest("the configuration that gantry-oci writes")
        os.mkdir(self.dir + "/new")
        self.ok(self.runtime("spec", "--bundle", self.dir + "/new"))
        with open(self.dir + "/new/config.json") as f:
            text = f.read()
        self.assertNotIn("inheritable", text)
        self.assertNotIn("ambient", text)

    def test_CVE_2022_24769_an_unprivileged_user_gains_nothing_by_a_file(self):
        # The attack: an ordinary user executes a file with inheritable file capabilities, and has them. With empty
        # sets the program below has none at all.
        self.config["process"]["user"] = {"uid": 1000, "gid": 1000}
        result = self.run_container("grep -E '^Cap(Prm|Eff|Inh|Amb)' /proc/self/status")
        self.assertEqual(set(line.split()[1] for line in self.ok(result).splitlines()), {"0" * 16})

    def test_all_sets_are_exactly_what_was_asked_for(self):
        self.config["process"]["capabilities"] = {
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"], "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]}
        self.config["process"]["user"] = {"uid": 1000, "gid": 1000}
        result = self.run_container("grep ^Cap /proc/self/status")
        found = {line.split(":")[0]: int(line.split()[1], 16) for line in self.ok(result).splitlines()}
        kill, net_raw, chown = 1 << 5, 1 << 13, 1 << 0
        # An ordinary user's execve keeps the ambient set alone.
        self.assertEqual(found, {"CapInh": kill, "CapPrm": kill, "CapEff": kill, "CapBnd": kill | net_raw | chown,
                                 "CapAmb": kill})


class Users(AttackCase):
    """CVE-2016-3697, CVE-2024-40635, CVE-2026-46680, CVE-2026-30892: users that are no numbers, or too large ones, and
    end as root."""

    WRONG = (-1, 2**32, 2**32 - 1, 2**31 + 2**32, 2**63, 2**64, 1.5, "1000", "root", None, [0])

    def test_CVE_2024_40635_users_that_are_none_are_refused(self):
        for member in ("uid", "gid"):
            for value in self.WRONG:
                if value is None and member == "uid":
                    continue  # absent, as Go reads it: root was never denied
                self.config["process"]["user"] = {"uid": 1000, "gid": 1000, member: value}
                result = self.run_container("id -u; id -g")
                if value is None:
                    continue
                self.refused(result, "user." + member)

    def test_CVE_2024_40635_large_users_are_themselves(self):
        for value in (2**31 - 1, 2**31, 2**32 - 2):
            self.config["process"]["user"] = {"uid": value, "gid": value}
            self.assertEqual(self.ok(self.run_container("grep -E '^[UG]id' /proc/self/status")),
                             "".join(f"{what}:\t" + "\t".join([str(value)] * 4) + "\n" for what in ("Uid", "Gid")))

    def test_CVE_2026_46680_supplementary_groups_that_are_none_are_refused(self):
        for value in (-1, 2**32 - 1, 2**32, "wheel"):
            self.config["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [value]}
            self.refused(self.run_container("id -G"), "user.additionalGids")

    def test_CVE_2016_3697_users_of_exec(self):
        self.detached("/bin/sleep", "100")
        self.write(self.root + "/etc/passwd", "1000:x:0:0:a numeric name for root:/:/bin/sh\nroot:x:0:0:root:/:/bin/sh\n")
        for value in ("-1", "4294967295", "4294967296", "2147483648x", "0x0", "1e3", "+5", " 5", "5:", ":5", "5:-1",
                      "5:4294967296", "1000;0", "nobody"):
            result = self.exec("/bin/sh", "-c", "id -u", options=("--user", value))
            self.assertNotEqual(result.code, 0, f"--user {value!r}: {result}")
            self.assertNotIn("0\n", result.out)
        # A name that looks like a number is a number.
        self.assertEqual(self.ok(self.exec("/bin/sh", "-c", "id -u", options=("--user", "1000"))), "1000\n")

    def test_CVE_2021_43784_mappings_that_overflow_are_refused(self):
        self.config["linux"]["namespaces"].append({"type": "user"})
        good = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        wrong = [{"containerID": 0, "hostID": 2**32 - 1, "size": 2}, {"containerID": 2**32 - 1, "hostID": 0, "size": 2},
                 {"containerID": 0, "hostID": 1000, "size": 2**32}, {"containerID": 0, "hostID": -1, "size": 1},
                 {"containerID": 0, "hostID": 1000, "size": 0}, {"containerID": 0, "hostID": 2**32, "size": 1}]
        for mapping in wrong:
            for member in ("uidMappings", "gidMappings"):
                self.config["linux"].update(uidMappings=good, gidMappings=good)
                self.config["linux"][member] = [mapping]
                self.refused(self.run_container("id -u"), "linux." + member)
        # More than a page of the kernel's file, and more than any netlink attribute of 64 KiB could hold.
        self.config["linux"]["gidMappings"] = good
        self.config["linux"]["uidMappings"] = [{"containerID": n, "hostID": 100000 + n, "size": 1} for n in range(70000)]
        self.refused(self.run_container("id -u"))


class Groups(AttackCase):
    """CVE-2022-2995, CVE-2022-36109, CVE-2023-25173: supplementary groups of the caller, or none where some are asked
    for."""

    SHOW = "grep ^Groups /proc/self/status"

    def groups(self, result):
        return [int(word) for word in self.ok(result).split()[1:]]

    def setUp(self):
        super().setUp()
        # The caller has groups of its own, which must not come along.
        before = os.getgroups()
        self.addCleanup(os.setgroups, before)
        os.setgroups([0, 4242, 4343])

    def test_CVE_2022_36109_the_callers_groups_do_not_come_along(self):
        self.config["process"]["user"] = {"uid": 1000, "gid": 1000}
        self.assertEqual(self.groups(self.run_container(self.SHOW)), [])

    def test_CVE_2022_2995_the_groups_are_those_of_the_configuration(self):
        self.config["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [10, 20, 4294967294]}
        self.assertEqual(self.groups(self.run_container(self.SHOW)), [10, 20, 4294967294])

    def test_CVE_2023_25173_exec_has_its_own_groups(self):
        self.config["process"]["user"] = {"uid": 0, "gid": 0, "additionalGids": [10]}
        self.detached("/bin/sleep", "100")
        self.assertEqual(self.groups(self.exec("/bin/sh", "-c", self.SHOW, options=("--user", "1000:1000"))) or [10], [10])
        result = self.exec("/bin/sh", "-c", self.SHOW, options=("--user", "1000:1000", "--additional-gids", "77"))
        self.assertNotIn(4242, self.groups(result))
        self.assertIn(77, self.groups(result))


class Passwd(AttackCase):
    """CVE-2025-4437, CVE-2026-47262, CVE-2024-9676: the image's passwd has no end, or is no file."""

    def setUp(self):
        super().setUp()
        self.passwd = self.root + "/etc/passwd"
        self.config["process"]["env"] = ["PATH=/bin"]  # no HOME: it is looked up

    def bounded(self):
        usage_before = os.times()
        result = self.run_container("echo $HOME", timeout=10)
        self.assertIn(result.out, ("/\n", ""), result)
        used = os.times()
        self.assertLess(used.children_user + used.children_system - usage_before.children_user -
                        usage_before.children_system, 3)

    def test_CVE_2025_4437_passwd_of_a_hundred_gigabytes(self):
        with open(self.passwd, "wb") as f:
            f.truncate(100 << 30)
        self.bounded()

    def test_CVE_2024_9676_passwd_is_one_line_without_an_end(self):
        with open(self.passwd, "wb") as f:
            f.write(b"root:x:0:0:" + b"x" * (20 << 20))
        self.bounded()

    def test_CVE_2026_47262_passwd_is_a_fifo(self):
        os.mkfifo(self.passwd)
        self.bounded()

    def test_CVE_2024_9676_passwd_is_a_device(self):
        os.mknod(self.passwd, 0o020666, os.makedev(1, 5))  # /dev/zero
        self.bounded()

    def test_CVE_2024_9676_passwd_is_a_symlink_to_a_device(self):
        os.symlink("/dev/zero", self.passwd)
        self.bounded()

    def test_CVE_2024_9676_passwd_is_a_directory(self):
        os.mkdir(self.passwd)
        self.bounded()


class Injected(AttackCase):
    """CVE-2022-0811, CVE-2022-0532, CVE-2023-6476, CVE-2024-3154: settings that carry others along."""

    def refuses(self, **linux):
        self.config["linux"].update(linux)
        self.refused(self.run_container("true"))
        for name in linux:
            del self.config["linux"][name]

    @staticmethod
    def core_pattern():
        with open("/proc/sys/kernel/core_pattern") as f:
            return f.read()

    def test_CVE_2022_0811_sysctls_that_carry_another(self):
        before = self.core_pattern()
        self.addCleanup(lambda: self.assertEqual(self.core_pattern(), before))
        for key, value in {
                "kernel.shm_rmid_forced": "1+kernel.core_pattern=|/x #", "kernel.core_pattern": "|/x",
                "kernel/core_pattern": "|/x", "kernel.shm_rmid_forced\nkernel.core_pattern": "1",
                "net.ipv4/../../kernel/core_pattern": "|/x", "net/../kernel/core_pattern": "|/x",
                "net.ipv4.ip_forward\0": "1", "net...kernel.core_pattern": "|/x", "/proc/sys/kernel/core_pattern": "|/x",
                "net./../../kernel/core_pattern": "|/x", "": "1", "net": "1"}.items():
            if key == "kernel.shm_rmid_forced":
                self.config["linux"]["sysctl"] = {key: value}
                self.assertNotEqual(self.run_container("true").code, 0, "the kernel takes the number only")
                del self.config["linux"]["sysctl"]
            else:
                self.refuses(sysctl={key: value})

    def test_CVE_2022_0532_sysctls_of_namespaces_that_are_not_its_own(self):
        for kind, key in (("ipc", "kernel.shmmax"), ("network", "net.ipv4.ip_forward"), ("ipc", "fs.mqueue.msg_max")):
            kept = self.config["linux"]["namespaces"]
            self.config["linux"]["namespaces"] = [entry for entry in kept if entry["type"] != kind]
            self.refuses(sysctl={key: "1"})
            # The host's own namespace by its path is the host's, too.
            file = {"ipc": "ipc", "network": "net"}[kind]
            self.config["linux"]["namespaces"].append({"type": kind, "path": "/proc/self/ns/" + file})
            self.refuses(sysctl={key: "1"})
            self.config["linux"]["namespaces"] = kept

    def test_CVE_2024_3154_cgroup_files_outside_of_the_cgroup(self):
        for name in ("../cgroup.procs", "../../memory.max", "/etc/passwd", "memory.max/../../x", "a/b", "..", ".", "",
                     "cgroup.procs", "memory.max\nx"):
            self.refuses(resources={"unified": {name: "1"}})

    def test_CVE_2023_6476_annotations_change_nothing(self):
        self.config["annotations"] = {
            "org.systemd.property.DevicePolicy": "'auto'", "org.systemd.property.ExecStart": "'/x'",
            "io.kubernetes.cri-o.UnifiedCgroup.x": "memory.max=max", "run.oci.keep_original_groups": "1",
            "run.oci.hooks.stdout": self.dir + "/written", "run.oci.handler": "krun", "org.criu.config": self.dir + "/c",
            "run.oci.systemd.subgroup": "x", "run.oci.mount_context_type": "context"}
        result = self.run_container("mknod /tmp/kmsg c 1 11; probe open /tmp/kmsg")
        self.assertEqual(self.ok(result), "EPERM\n")
        self.assertFalse(os.path.exists(self.dir + "/written"))

    def test_CVE_2024_3154_a_cgroup_path_that_climbs_stays_inside(self):
        for path in ("/../../../" + self.id, f"/{self.id}/../../../../{self.id}", "../../" + self.id):
            self.config["linux"]["cgroupsPath"] = path
            result = self.run_container("true")
            self.assertFalse(os.path.exists("/sys/" + self.id))
            self.assertFalse(os.path.exists("/" + self.id), result)


class ReleaseAgent(AttackCase):
    """CVE-2022-0492: root of a container mounts a cgroup hierarchy and has the host run a program."""

    def test_CVE_2022_0492_release_agent_is_out_of_reach(self):
        os.symlink("busybox", self.root + "/bin/mount")
        os.symlink("busybox", self.root + "/bin/mkdir")
        result = self.run_container("mkdir /tmp/c; mount -t cgroup -o rdma cgroup /tmp/c && echo MOUNTED",
                                    "mount -t cgroup -o memory cgroup /tmp/c && echo MOUNTED",
                                    "echo x > /sys/fs/cgroup/memory/release_agent && echo WRITTEN; true")
        self.assertEqual(self.ok(result), "")


if __name__ == "__main__":
    unittest.main()
