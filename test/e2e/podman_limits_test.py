"""podman as root on gantry-oci: limits that the kernel shows, mounts, users, capabilities, system call filters."""
import json
import os
import subprocess

import users
from podman import PodmanCase
from users import IMAGE, cgroup_value, status_of


class LimitsTest(PodmanCase):
    def test_limits_reach_the_kernel_and_update_changes_them(self):
        name = self.up("-m", "64m", "--memory-reservation", "32m", "--pids-limit", "77", "--cpus", "0.5",
                       "--cpuset-cpus", "0", "--cpu-shares", "512", "--ulimit", "nofile=100:200", "--oom-score-adj", "500")
        pid = self.pid(name)
        self.assertEqual(cgroup_value(pid, "memory", "memory.limit_in_bytes", "memory.max"), str(64 << 20))
        self.assertEqual(cgroup_value(pid, "memory", "memory.soft_limit_in_bytes", "memory.low"), str(32 << 20))
        self.assertEqual(cgroup_value(pid, "pids", "pids.max", "pids.max"), "77")
        self.assertIn(cgroup_value(pid, "cpu", "cpu.cfs_quota_us", "cpu.max"), ("50000", "50000 100000"))
        self.assertEqual(cgroup_value(pid, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0")
        self.assertIn(cgroup_value(pid, "cpu", "cpu.shares", "cpu.weight"), ("512", "20"))
        self.assertEqual(self.do("exec", name, "sh", "-c", "ulimit -n; ulimit -Hn; cat /proc/1/oom_score_adj").split(),
                         ["100", "200", "500"])
        # podman 4.3 knows no update: what it will call is the runtime's own.
        state = self.runtime_root(name)
        done = subprocess.run([users.OCI, "--root", state, "update", "--memory", str(96 << 20), "--pids-limit", "55", name],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(cgroup_value(pid, "memory", "memory.limit_in_bytes", "memory.max"), str(96 << 20))
        self.assertEqual(cgroup_value(pid, "pids", "pids.max", "pids.max"), "55")

    def runtime_root(self, name):
        """The --root that podman and conmon gave the runtime, from conmon's command line."""
        conmon = self.inspect(name)["State"]["ConmonPid"]
        with open(f"/proc/{conmon}/cmdline") as f:
            words = f.read().split("\0")
        roots = [words[i + 1][len("--root="):] for i, word in enumerate(words)
                 if word == "--runtime-arg" and words[i + 1].startswith("--root=")]
        return roots[0] if roots else "/run/" + os.path.basename(users.OCI)

    def test_memory_beyond_the_limit_is_an_oom_kill(self):
        name = self.up("-m", "16m", "--memory-swap", "16m", command=("sh", "-c", "tail /dev/zero"))
        self.assertEqual(self.do("wait", name), "137\n")
        # conmon tells podman by a file, in its own directory: podman 4.3 looks for it elsewhere.
        told = self.inspect(name)["State"]["OOMKilled"] or os.path.exists(self.home + "/oom")
        self.assertTrue(told)

    def test_user_and_groups(self):
        self.assertEqual(self.inside("--user", "web", "--group-add", "adm", IMAGE, "id"),
                         "uid=33(web) gid=33(web) groups=4(adm),33(web)\n")
        self.assertEqual(self.inside("--user", "7:8", IMAGE, "sh", "-c", "id -u; id -g; umask"), "7\n8\n0022\n")
        self.assertEqual(self.inside("--umask", "0077", IMAGE, "sh", "-c", "umask"), "0077\n")

    def caps(self, *flags):
        lines = self.inside(*flags, IMAGE, "grep", "Cap", "/proc/self/status").splitlines()
        return {name[3:-1]: int(value, 16) for name, value in (line.split() for line in lines)}

    def test_capabilities_are_dropped_added_and_all_given(self):
        plain = self.caps()
        self.assertEqual(self.caps("--cap-drop", "all")["Bnd"], 0)
        only = self.caps("--cap-drop", "all", "--cap-add", "NET_ADMIN,sys_time")
        self.assertEqual((only["Eff"], only["Bnd"]), (1 << 12 | 1 << 25,) * 2)
        self.assertEqual(self.caps("--cap-add", "NET_ADMIN")["Eff"], plain["Eff"] | 1 << 12)
        user = self.caps("--user", "33", "--cap-add", "NET_ADMIN")
        self.assertEqual((user["Eff"], user["Amb"]), (1 << 12,) * 2)
        self.assertEqual(self.caps("--user", "33")["Eff"], 0)

    def test_privileged_has_every_capability_device_and_no_filter(self):
        def bounding(pid):
            return int(status_of(pid, "CapBnd"), 16)
        name = self.up("--privileged", "-v", "/dev/shm:/mnt")
        pid = self.pid(name)
        self.assertEqual(bounding(pid), bounding("self"))
        self.assertEqual((status_of(pid, "Seccomp"), status_of(pid, "NoNewPrivs")), ("0", "0"))
        devices = self.do("exec", name, "ls", "/dev").split()
        for device in ("kmsg", "loop-control", "fuse"):
            if os.path.exists("/dev/" + device):
                self.assertIn(device, devices)
        self.do("exec", name, "sh", "-c", "mkdir /m && mount -t tmpfs none /m && touch /sys/kernel/uevent_seqnum /m/x")

    def test_no_new_privileges_and_the_default_filter(self):
        name = self.up("--security-opt", "no-new-privileges")
        pid = self.pid(name)
        self.assertEqual((status_of(pid, "Seccomp"), status_of(pid, "NoNewPrivs")), ("2", "1"))
        self.assertIn("NoNewPrivs:\t1", self.do("exec", name, "grep", "NoNewPrivs", "/proc/self/status"))
        self.inside("--security-opt", "seccomp=unconfined", IMAGE, "grep", "Seccomp:\t0", "/proc/self/status")

    def test_a_filter_of_the_users_own(self):
        profile = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
                   "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
                                {"names": ["uname"], "action": "SCMP_ACT_KILL_PROCESS"}]}
        path = self.folder + "/profile.json"
        with open(path, "w") as f:
            json.dump(profile, f)
        refused = self.podman("run", "--rm", "--security-opt", "seccomp=" + path, IMAGE, "mkdir", "/x")
        self.assertIn("No space left", refused.err)
        killed = self.podman("run", "--rm", "--security-opt", "seccomp=" + path, IMAGE, "sh", "-c", "uname; exit $?")
        self.assertEqual(killed.code, 128 + 31)

    def test_read_only_root_with_writable_tmp_and_tmpfs(self):
        out = self.podman("run", "--rm", "--read-only", "--tmpfs", "/scratch:rw,size=1m,mode=1777", IMAGE, "sh", "-c",
                          "touch /tmp/a /run/b /scratch/c && ls -d /scratch/c; touch /etc/x")
        self.assertNotEqual(out.code, 0)
        self.assertEqual(out.out, "/scratch/c\n")
        self.assertIn("Read-only file system", out.err)
        self.assertRegex(self.inside("--tmpfs", "/s:size=1m,noexec", IMAGE, "grep", " /s ", "/proc/mounts"),
                         r"tmpfs /s tmpfs rw,nosuid,nodev,noexec,\S*size=1024k")
        self.assertNotEqual(self.podman("run", "--rm", "--read-only", "--read-only-tmpfs=false", IMAGE, "touch",
                                        "/tmp/a").code, 0)

    def test_volumes_named_bound_read_only_and_shared(self):
        os.makedirs(self.folder + "/bound/deep", exist_ok=True)
        with open(self.folder + "/bound/file", "w") as f:
            f.write("here\n")
        bound = self.folder + "/bound"
        self.assertEqual(self.inside("-v", bound + ":/a/b:ro", "-v", bound + "/file:/etc/file", IMAGE, "sh", "-c",
                                     "cat /a/b/file /etc/file; touch /a/b/x 2>/dev/null || echo refused"),
                         "here\nhere\nrefused\n")
        self.inside("-v", "data:/data", IMAGE, "sh", "-c", "echo kept >/data/f")
        self.assertEqual(self.inside("-v", "data:/data:ro,noexec", IMAGE, "cat", "/data/f"), "kept\n")
        # A new volume gets what the image has at its place.
        self.assertIn("passwd", self.inside("-v", "etc:/etc", IMAGE, "ls", "/etc"))
        name = self.up("--mount", f"type=bind,src={bound},dst=/m,bind-propagation=rslave")
        subprocess.run(["mount", "-t", "tmpfs", "gantry-e2e", bound + "/deep"], check=True)
        self.addCleanup(subprocess.run, ["umount", bound + "/deep"])
        self.assertIn(" /m/deep ", self.do("exec", name, "cat", "/proc/mounts"))
        second = self.up("--volumes-from", name)
        self.assertEqual(self.do("exec", second, "cat", "/m/file"), "here\n")
        self.do("volume", "rm", "data", "etc")

    def test_devices_hosts_hostname_sysctls_and_shm(self):
        name = self.up("--device", "/dev/loop-control:/dev/lc:r", "--add-host", "other:10.0.0.1", "--hostname", "named",
                       "--sysctl", "kernel.shm_rmid_forced=1", "--shm-size", "2m", "--env", "X=1", "--workdir", "/tmp",
                       "--device-cgroup-rule", "c 1:9 r")
        shown = self.do("exec", name, "sh", "-c", "hostname; cat /proc/sys/kernel/shm_rmid_forced; echo $X; pwd; "
                        "grep -c other /etc/hosts; df -k /dev/shm | tail -1 | awk '{print $2}'; ls /dev/lc")
        self.assertEqual(shown.split(), ["named", "1", "1", "/tmp", "1", "2048", "/dev/lc"])
        rules = cgroup_value(self.pid(name), "devices", "devices.list", "cgroup.type")
        if "c 1:3" in rules:
            self.assertRegex(rules, r"c 10:237 r\b")

    def test_namespaces_of_the_host(self):
        def namespaces(*flags):
            name = self.up(*flags)
            return {kind for kind in ("pid", "net", "ipc", "uts", "cgroup", "mnt")
                    if os.readlink(f"/proc/{self.pid(name)}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")}
        self.assertEqual(namespaces("--cgroupns", "private"), set())
        self.assertEqual(namespaces("--pid=host", "--net=host", "--ipc=host", "--uts=host", "--cgroupns=host"),
                         {"pid", "net", "ipc", "uts", "cgroup"})

    def test_namespaces_of_another_container_and_by_path(self):
        first = self.up("--ipc=shareable", "--hostname", "one")
        pid = self.pid(first)
        second = self.up("--pid", "container:" + first, "--ipc", "container:" + first, "--net", "container:" + first,
                         "--uts", "container:" + first)
        for kind in ("pid", "ipc", "net", "uts"):
            self.assertEqual(os.readlink(f"/proc/{self.pid(second)}/ns/{kind}"), os.readlink(f"/proc/{pid}/ns/{kind}"))
        self.assertEqual(self.do("exec", second, "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '"), "sleep 1000 ")
        third = self.up("--net", f"ns:/proc/{pid}/ns/net")
        self.assertEqual(os.readlink(f"/proc/{self.pid(third)}/ns/net"), os.readlink(f"/proc/{pid}/ns/net"))


if __name__ == "__main__":
    users.main()
