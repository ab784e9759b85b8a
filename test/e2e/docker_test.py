"""dockerd on gantry-oci, its added runtime: what its users do from run to rm."""
import json
import os

import users
from docker import IMAGE, DockerCase
from harness import PATIENCE, alive, eventually
from users import OCI, SIZE, cgroup_value


class LifeTest(DockerCase):
    def test_the_runtime_is_known_and_used(self):
        info = json.loads(self.do("info", "--format", "{{json .}}"))
        self.assertEqual((info["DefaultRuntime"], info["Runtimes"]["gantry"]["path"]), ("gantry", OCI))
        self.assertEqual(self.inspect(self.up())["HostConfig"]["Runtime"], "gantry")

    def test_run_passes_output_input_and_exit_codes_on(self):
        done = self.docker("run", "--rm", "-i", IMAGE, "sh", "-c", "cat; echo err >&2; exit 7", stdin="text\n")
        self.assertEqual((done.code, done.out, done.err), (7, "text\n", "err\n"))
        missing = self.docker("run", "--rm", IMAGE, "/no/such/program")
        self.assertEqual(missing.code, 127, missing)
        self.assertEqual(self.docker("run", "--rm", IMAGE, "/opt/not-executable").code, 126)

    def test_detached_logs_stop_start_and_rm(self):
        name = self.up(command=("sh", "-c", "trap 'exit 3' TERM; echo one; echo two >&2; while :; do sleep 0.05; done"))
        eventually("the log", lambda: self.docker("logs", name).out == "one\n")
        self.assertEqual(self.docker("logs", name).err, "two\n")
        pid = self.pid(name)
        self.assertTrue(alive(pid))
        self.do("stop", name)
        self.assertEqual(self.state(name)["ExitCode"], 3)
        self.assertFalse(alive(pid))
        self.do("start", name)
        self.assertNotEqual(self.docker("rm", name).code, 0)
        self.do("restart", "-t", "1", name)
        self.do("kill", name)
        self.assertEqual(self.do("wait", name), "137\n")
        self.do("rm", name)

    def test_exec_has_its_own_user_environment_directory_and_exit_code(self):
        name = self.up("-e", "A=run")
        ran = self.docker("exec", "-e", "B=exec", "-w", "/etc", "-u", "33:4", name, "sh", "-c",
                          "echo $A $B $(pwd) $(id -u) $(id -g); echo err >&2; exit 9")
        self.assertEqual((ran.code, ran.out, ran.err), (9, "run exec /etc 33 4\n", "err\n"))
        self.assertEqual(self.do("exec", "-i", name, "cat", stdin="to cat"), "to cat")
        self.assertIn(self.docker("exec", name, "/no/such/program").code, (126, 127))
        self.do("exec", "-d", name, "sh", "-c", "echo done >/marker")
        eventually("the detached exec", lambda: self.docker("exec", name, "cat", "/marker").out == "done\n")
        wide = self.do("exec", "--privileged", name, "grep", "CapEff", "/proc/self/status")
        plain = self.do("exec", name, "grep", "CapEff", "/proc/self/status")
        self.assertGreater(int(wide.split()[1], 16), int(plain.split()[1], 16))

    def test_a_terminal_for_run_exec_and_attach(self):
        shell = self.terminal("run", "--rm", "-it", IMAGE, "sh")
        shell.expect(r"[#$] ")
        shell.send(SIZE + "; tty; echo a$((6*7))\n")
        shell.expect(r"33 101\s+/dev/(pts/0|console)\s+a42")
        shell.send("exit 4\n")
        self.assertEqual(shell.wait(), 4)
        name = self.up("-it", command=("sh",))
        inner = self.terminal("exec", "-it", name, "sh")
        inner.expect(r"[#$] ")
        inner.send(SIZE + "; tty; exit 6\n")
        inner.expect(r"33 101\s+/dev/pts/\d")
        self.assertEqual(inner.wait(), 6)
        outer = self.terminal("attach", name)
        outer.send("echo b$((7*7))\n")
        outer.expect("b49")
        outer.send("exit 3\n")
        self.assertEqual(outer.wait(), 3)

    def test_pause_stops_all_and_unpause_lets_go_on(self):
        name = self.up()
        self.do("pause", name)
        self.assertEqual(self.state(name)["Status"], "paused")
        self.assertNotEqual(self.docker("exec", name, "true").code, 0)
        self.do("unpause", name)
        self.assertEqual(self.do("exec", name, "echo", "on"), "on\n")

    def test_top_and_stats(self):
        name = self.up("-m", "64m", command=("sh", "-c", "sleep 998 & sleep 999 & wait"))
        eventually("three processes", lambda: len(self.do("top", name).splitlines()) == 4)
        self.assertIn("sleep 998", self.do("top", name, "-o", "pid,args"))
        stats = json.loads(self.do("stats", "--no-stream", "--format", "{{json .}}", name))
        self.assertIn("/ 64MiB", stats["MemUsage"])
        self.assertEqual(stats["PIDs"], "3")

    def test_update_changes_limits(self):
        name = self.up("-m", "64m", "--memory-swap", "64m", "--pids-limit", "50", "--cpus", "0.5")
        pid = self.pid(name)
        self.assertEqual(cgroup_value(pid, "memory", "memory.limit_in_bytes", "memory.max"), str(64 << 20))
        self.assertEqual(cgroup_value(pid, "pids", "pids.max", "pids.max"), "50")
        self.assertIn(cgroup_value(pid, "cpu", "cpu.cfs_quota_us", "cpu.max"), ("50000", "50000 100000"))
        self.do("update", "-m", "96m", "--memory-swap", "96m", "--pids-limit", "60", "--cpus", "0.7", name)
        self.assertEqual(cgroup_value(pid, "memory", "memory.limit_in_bytes", "memory.max"), str(96 << 20))
        self.assertEqual(cgroup_value(pid, "pids", "pids.max", "pids.max"), "60")
        self.assertIn(cgroup_value(pid, "cpu", "cpu.cfs_quota_us", "cpu.max"), ("70000", "70000 100000"))

    def test_a_kill_for_memory_is_told(self):
        # dockerd's own shim begins to watch after the start.
        hungry = f"sleep {PATIENCE / 20}; exec tail /dev/zero"
        name = self.up("-m", "16m", "--memory-swap", "16m", command=("sh", "-c", hungry))
        self.assertEqual(self.do("wait", name), "137\n")
        self.assertTrue(self.state(name)["OOMKilled"])

    def test_init_health_and_restart_policy(self):
        name = self.up("--init", command=("sh", "-c", "sleep 1000"))
        self.assertIn("docker-init", self.do("exec", name, "cat", "/proc/1/cmdline"))
        sick = self.up("--health-cmd", "test -e /healthy", "--health-interval", "200ms", "--health-retries", "1")
        eventually("unhealthy", lambda: self.state(sick)["Health"]["Status"] == "unhealthy")
        self.do("exec", sick, "touch", "/healthy")
        eventually("healthy", lambda: self.state(sick)["Health"]["Status"] == "healthy")
        again = self.up("--restart", "on-failure:2", command=("sh", "-c", "exit 1"))
        eventually("two restarts", lambda: self.inspect(again)["RestartCount"] == 2)

    def test_files_are_copied_changed_committed_and_run_again(self):
        name = self.up(command=("sh", "-c", "echo made >/made; sleep 1000"))
        with open(self.home + "/in", "w") as f:
            f.write("copied")
        self.do("cp", self.home + "/in", name + ":/in")
        self.assertEqual(self.do("exec", name, "cat", "/in"), "copied")
        eventually("the file", lambda: "A /made" in self.do("diff", name))
        self.do("commit", name, "changed")
        self.assertEqual(self.inside("changed", "cat", "/made", "/in"), "made\ncopied")
        self.do("rmi", "-f", "changed")

    def test_a_dockerfile_is_built(self):
        os.makedirs(self.home + "/context")
        with open(self.home + "/context/Dockerfile", "w") as f:
            f.write(f"FROM {IMAGE}\nRUN id -u >/built\nUSER 33\nRUN id -u >/tmp/mine\nCMD cat /built /tmp/mine\n")
        self.do("build", "-q", "--network", "none", "-t", "built", self.home + "/context")
        self.assertEqual(self.inside("built"), "0\n33\n")


if __name__ == "__main__":
    users.main()
