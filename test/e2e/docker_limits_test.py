"""dockerd on gantry-oci: users, capabilities, system call filters, mounts, namespaces, and a daemon that goes away."""
import json
import os
import signal
import subprocess

import users
from docker import IMAGE, DockerCase
from harness import alive, eventually
from users import cgroup_value, status_of


class PrivilegesTest(DockerCase):
    def caps(self, *flags):
        lines = self.inside(*flags, IMAGE, "grep", "Cap", "/proc/self/status").splitlines()
        return {name[3:-1]: int(value, 16) for name, value in (line.split() for line in lines)}

    def test_user_and_groups(self):
        self.assertRegex(self.inside("--user", "web", "--group-add", "tty", IMAGE, "id"),
                         r"uid=33\(web\) gid=33\(web\) groups=.*4\(adm\).*5\(tty\)")
        self.assertEqual(self.inside("--user", "7:8", IMAGE, "sh", "-c", "id -u; id -g; umask"), "7\n8\n0022\n")

    def test_capabilities_are_dropped_added_and_all_given(self):
        plain = self.caps()
        self.assertEqual(self.caps("--cap-drop", "all")["Bnd"], 0)
        only = self.caps("--cap-drop", "all", "--cap-add", "NET_ADMIN")
        self.assertEqual((only["Eff"], only["Bnd"]), (1 << 12,) * 2)
        self.assertEqual(self.caps("--cap-add", "NET_ADMIN")["Eff"], plain["Eff"] | 1 << 12)
        self.assertEqual(self.caps("--user", "33")["Eff"], 0)

    def test_privileged_has_every_capability_device_and_no_filter(self):
        name = self.up("--privileged")
        pid = self.pid(name)
        # dockerd 20.10 knows the capabilities up to number 37.
        bounding = [int(status_of(who, "CapBnd"), 16) & (1 << 38) - 1 for who in (pid, "self")]
        self.assertEqual(bounding[0], bounding[1])
        self.assertEqual((status_of(pid, "Seccomp"), status_of(pid, "NoNewPrivs")), ("0", "0"))
        self.assertIn("loop-control", self.do("exec", name, "ls", "/dev").split())
        self.do("exec", name, "sh", "-c", "mkdir /m && mount -t tmpfs none /m && touch /m/x")

    def test_no_new_privileges_and_the_default_filter(self):
        name = self.up("--security-opt", "no-new-privileges")
        pid = self.pid(name)
        self.assertEqual((status_of(pid, "Seccomp"), status_of(pid, "NoNewPrivs")), ("2", "1"))
        self.assertIn("not permitted", self.docker("exec", name, "unshare", "-U", "true").err)
        self.inside("--security-opt", "seccomp=unconfined", IMAGE, "grep", "Seccomp:\t0", "/proc/self/status")

    def test_a_filter_of_the_users_own(self):
        profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["uname"], "action": "SCMP_ACT_KILL_PROCESS"}]}
        with open(self.home + "/profile.json", "w") as f:
            json.dump(profile, f)
        option = "seccomp=" + self.home + "/profile.json"
        refused = self.docker("run", "--rm", "--security-opt", option, IMAGE, "mkdir", "/x")
        self.assertIn("not permitted", refused.err)
        killed = self.docker("run", "--rm", "--security-opt", option, IMAGE, "sh", "-c", "uname; exit $?")
        self.assertEqual(killed.code, 128 + 31)

    def test_read_only_root_tmpfs_and_volumes(self):
        out = self.docker("run", "--rm", "--read-only", "--tmpfs", "/scratch:size=1m,mode=1777", IMAGE, "sh", "-c",
                          "touch /scratch/c && ls /scratch; touch /etc/x")
        self.assertEqual(out.out, "c\n")
        self.assertIn("Read-only file system", out.err)
        os.makedirs(self.home + "/bound/deep")
        with open(self.home + "/bound/file", "w") as f:
            f.write("here\n")
        bound = self.home + "/bound"
        self.assertEqual(self.inside("-v", bound + ":/a/b:ro", "-v", bound + "/file:/etc/file", IMAGE, "sh", "-c",
                                     "cat /a/b/file /etc/file; touch /a/b/x 2>/dev/null || echo refused"),
                         "here\nhere\nrefused\n")
        self.inside("-v", "data:/data", IMAGE, "sh", "-c", "echo kept >/data/f")
        self.assertEqual(self.inside("-v", "data:/data:ro", IMAGE, "cat", "/data/f"), "kept\n")
        name = self.up("--mount", f"type=bind,src={bound},dst=/m,bind-propagation=rslave")
        subprocess.run(["mount", "-t", "tmpfs", "gantry-e2e", bound + "/deep"], check=True)
        self.addCleanup(subprocess.run, ["umount", bound + "/deep"])
        self.assertIn(" /m/deep ", self.do("exec", name, "cat", "/proc/mounts"))
        self.do("volume", "rm", "data")

    def test_limits_devices_hostname_sysctls_and_shm(self):
        name = self.up("--device", "/dev/loop-control:/dev/lc:r", "--add-host", "other:10.0.0.1", "--hostname", "named",
                       "--sysctl", "kernel.shm_rmid_forced=1", "--shm-size", "2m", "--workdir", "/tmp", "--ulimit",
                       "nofile=100:200", "--oom-score-adj", "500", "--cpuset-cpus", "0", "--cpu-shares", "512",
                       "--memory-reservation", "32m", "--device-cgroup-rule", "c 1:9 r")
        shown = self.do("exec", name, "sh", "-c", "hostname; cat /proc/sys/kernel/shm_rmid_forced; pwd; "
                        "df -k /dev/shm | tail -1 | awk '{print $2}'; ls /dev/lc; ulimit -n; ulimit -Hn; "
                        "cat /proc/1/oom_score_adj")
        self.assertEqual(shown.split(), ["named", "1", "/tmp", "2048", "/dev/lc", "100", "200", "500"])
        pid = self.pid(name)
        self.assertEqual(cgroup_value(pid, "memory", "memory.soft_limit_in_bytes", "memory.low"), str(32 << 20))
        self.assertEqual(cgroup_value(pid, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0")
        self.assertIn(cgroup_value(pid, "cpu", "cpu.shares", "cpu.weight"), ("512", "20"))

    def test_namespaces_of_the_host_and_of_another_container(self):
        def same(one, two):
            return {kind for kind in ("pid", "net", "ipc", "uts", "mnt")
                    if os.readlink(f"/proc/{one}/ns/{kind}") == os.readlink(f"/proc/{two}/ns/{kind}")}
        host = self.up("--network", "host", "--pid=host", "--ipc=host", "--uts=host")
        self.assertEqual(same(self.pid(host), "self"), {"pid", "net", "ipc", "uts"})
        first = self.up("--ipc=shareable")
        second = self.up("--network", "container:" + first, "--pid", "container:" + first, "--ipc", "container:" + first)
        self.assertEqual(same(self.pid(first), self.pid(second)), {"pid", "net", "ipc"})
        self.do("rm", "-f", second)
        self.assertTrue(alive(self.pid(first)))

    def test_a_container_without_a_pid_namespace_ends_with_all_its_processes(self):
        name = self.up("--pid=host", command=("sh", "-c", "sleep 4711 & echo $!; wait"))
        child = int(eventually("the child's pid", lambda: self.docker("logs", name).out))
        self.assertTrue(alive(child))
        self.do("rm", "-f", name)
        eventually("the child's end", lambda: not alive(child))


class LiveRestoreTest(DockerCase):
    flags = ("--live-restore",)

    def test_containers_survive_their_daemon(self):
        name = self.up(command=("sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done"))
        pid = self.pid(name)
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait()
        self.assertTrue(alive(pid))
        self.bring_up()
        self.assertEqual(self.pid(name), pid)
        self.assertEqual(self.do("exec", name, "echo", "in"), "in\n")
        self.do("stop", name)
        self.assertEqual(self.state(name)["ExitCode"], 9)


class RemappedTest(DockerCase):
    """With ids of a user's own for every container."""
    flags = ("--userns-remap", f"{users.USER}")

    def test_root_inside_is_a_subordinate_id_outside(self):
        name = self.up("-v", "vol:/vol", "--tmpfs", "/t")
        pid = self.pid(name)
        self.assertEqual(os.stat(f"/proc/{pid}").st_uid, users.FIRST_SUB)
        self.assertEqual(self.do("exec", name, "sh", "-c", "id -u; touch /vol/x /t/y; stat -c %u /vol/x"), "0\n0\n")
        self.assertEqual(self.do("exec", "-u", "33", name, "id", "-u"), "33\n")
        self.assertEqual(status_of(self.pid(self.up("--userns=host")), "Uid").split()[0], "0")


if __name__ == "__main__":
    users.main()
