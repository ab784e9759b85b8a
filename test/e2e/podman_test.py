"""podman as root on gantry-oci: what its users do from run to rm."""
import json
import os
import subprocess

import users
from harness import alive, eventually
from podman import PodmanCase
from users import IMAGE, SIZE


class PodmanTest(PodmanCase):
    def test_run_passes_output_input_and_exit_codes_on(self):
        out = self.podman("run", "--rm", "-i", IMAGE, "sh", "-c", "cat; echo err >&2; exit 7", stdin="some text\n")
        self.assertEqual((out.code, out.out, out.err), (7, "some text\n", "err\n"))
        self.assertEqual(self.podman("run", "--rm", IMAGE, "sh", "-c", "sh -c 'kill -9 $$'; exit $?").code, 137)

    def test_run_tells_a_missing_program_from_one_that_cannot_run(self):
        missing = self.podman("run", "--rm", IMAGE, "/no/such/program")
        self.assertEqual(missing.code, 127, missing)
        self.assertIn("/no/such/program", missing.err)
        self.assertEqual(self.podman("run", "--rm", IMAGE, "/opt/not-executable").code, 126)

    def test_detached_container_is_listed_inspected_logged_and_ends(self):
        name = self.up("--name", "worker", command=("sh", "-c", "echo one; echo two >&2; exec sleep 1000"))
        self.assertIn("worker", self.do("ps", "--format", "{{.Names}}"))
        state = self.inspect("worker")["State"]
        self.assertEqual(state["Status"], "running")
        with open(f"/proc/{state['Pid']}/cmdline") as f:
            self.assertIn("sleep\x001000", eventually("the program", f.read))
        eventually("the log", lambda: self.podman("logs", name).out == "one\n")
        self.assertEqual(self.podman("logs", name).err, "two\n")
        self.do("stop", "-t", "1", "worker")
        self.assertFalse(alive(state["Pid"]))
        self.assertEqual(self.inspect("worker")["State"]["ExitCode"], 137)
        self.do("start", "worker")
        self.assertTrue(alive(self.pid("worker")))
        self.do("rm", "-f", "-t", "0", "worker")
        self.assertNotEqual(self.podman("inspect", "worker").code, 0)

    def test_kill_and_wait_give_the_programs_own_exit_code(self):
        name = self.up(command=("sh", "-c", "trap 'exit 5' USR1; echo ready; while :; do sleep 0.05; done"))
        eventually("the trap", lambda: self.podman("logs", name).out)
        self.do("kill", "-s", "USR1", name)
        self.assertEqual(self.do("wait", name), "5\n")
        self.assertNotEqual(self.podman("kill", name).code, 0, "nothing is left to kill")

    def test_exec_has_its_own_user_environment_directory_and_exit_code(self):
        name = self.up("-e", "A=run")
        ran = self.podman("exec", "-e", "B=exec", "-w", "/etc", "-u", "33:4", name, "sh", "-c",
                          "echo $A $B $(pwd) $(id -u) $(id -g); echo err >&2; exit 9")
        self.assertEqual((ran.code, ran.out, ran.err), (9, "run exec /etc 33 4\n", "err\n"))
        self.assertEqual(self.do("exec", "-i", name, "cat", stdin="to cat"), "to cat")
        self.assertEqual(self.podman("exec", name, "/no/such/program").code, 127)
        self.do("exec", "-d", name, "sh", "-c", "echo done >/marker")
        eventually("the detached exec", lambda: self.podman("exec", name, "cat", "/marker").out == "done\n")
        self.assertIn("web", self.do("exec", "--user", "web", name, "id"))
        privileged = self.do("exec", "--privileged", name, "grep", "CapEff", "/proc/self/status")
        plain = self.do("exec", name, "grep", "CapEff", "/proc/self/status")
        self.assertGreater(int(privileged.split()[1], 16), int(plain.split()[1], 16))

    def test_exec_with_preserved_descriptors(self):
        name = self.up()
        read, write = os.pipe()
        os.set_inheritable(write, True)
        # The runtime gets it as descriptor 3, whatever its number is here.
        done = subprocess.run(["sh", "-c", f'exec "$@" 3>&{write}', "sh",
                               *self.command("exec", "--preserve-fds", "1", name, "sh", "-c", "echo through >&3")],
                              env=self.env, pass_fds=[write], capture_output=True, text=True)
        os.close(write)
        with os.fdopen(read) as f:
            self.assertEqual(f.read(), "through\n", done)

    def test_a_terminal_for_run_exec_and_attach(self):
        shell = self.terminal("run", "--rm", "-it", IMAGE, "sh")
        shell.expect(r"[#$] ")
        shell.send(SIZE + "; tty; echo a$((6*7))\n")
        shell.expect(r"33 101\s+/dev/(pts/0|console)\s+a42")
        shell.send("exit 4\n")
        self.assertEqual(shell.wait(), 4)
        name = self.up("-it", command=("sh",))
        inner = self.terminal("exec", "-it", name, "sh")
        inner.send(SIZE + "; tty; exit 6\n")
        inner.expect(r"33 101\s+/dev/pts/\d")
        self.assertEqual(inner.wait(), 6)
        outer = self.terminal("attach", name)
        outer.send("echo b$((7*7))\n")
        outer.expect("b49")
        outer.send("exit 3\n")
        outer.wait()
        self.assertEqual(self.do("wait", name), "3\n")

    def test_pause_stops_all_and_unpause_lets_go_on(self):
        name = self.up(command=("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >/count; sleep 0.02; done"))
        self.do("pause", name)
        self.assertEqual(self.inspect(name)["State"]["Status"], "paused")
        count = self.inspect(name)["GraphDriver"]["Data"]["UpperDir"] + "/count"
        with open(count) as f:
            before = f.read()
        self.assertNotEqual(self.podman("exec", name, "true").code, 0)
        with open(count) as f:
            self.assertEqual(f.read(), before)
        self.do("unpause", name)
        eventually("it counts on", lambda: self.podman("exec", name, "cat", "/count").out not in ("", before))

    def test_top_and_stats_of_a_running_container(self):
        name = self.up("-m", "64m", command=("sh", "-c", "sleep 998 & sleep 999 & wait"))
        eventually("three processes", lambda: len(self.do("top", name, "pid", "args").splitlines()) == 4)
        self.assertIn("sleep 998", self.do("top", name, "hpid", "args"))
        stats = json.loads(self.do("stats", "--no-stream", "--format", "json", name))[0]
        self.assertIn("67.11MB", stats["mem_usage"])
        self.assertEqual(stats["pids"], "3")

    def test_init_reaps_and_passes_signals_on(self):
        tini = "/usr/bin/tini-static"
        self.only_on(os.path.exists(tini), "there is no " + tini)
        name = self.up("--init", "--init-path", tini, command=("sh", "-c", "trap 'exit 8' TERM; while :; do sleep 0.05; done"))
        self.assertRegex(self.do("exec", name, "cat", "/proc/1/cmdline"), r"podman-init|catatonit|tini")
        self.do("stop", "-t", "10", name)
        self.assertIn(self.inspect(name)["State"]["ExitCode"], (8, 143))

    def test_a_health_check_runs_and_tells(self):
        name = self.up("--health-cmd", "test -e /healthy", "--health-interval", "disable", "--health-retries", "1")
        self.assertEqual(self.podman("healthcheck", "run", name).code, 1)
        self.assertEqual(self.inspect(name)["State"]["Health"]["Status"], "unhealthy")
        self.do("exec", name, "touch", "/healthy")
        self.do("healthcheck", "run", name)
        self.assertEqual(self.inspect(name)["State"]["Health"]["Status"], "healthy")

    def test_restart_policy_starts_it_again(self):
        name = self.up("--restart", "on-failure:2", "-v", self.folder + ":/host",
                       command=("sh", "-c", "echo . >>/host/starts; exit 1"))
        def starts():
            try:
                with open(self.folder + "/starts") as f:
                    return len(f.read().split())
            except OSError:
                return 0
        eventually("the third start", lambda: starts() == 3)
        eventually("the end", lambda: self.inspect(name)["State"]["Status"] == "exited")
        self.assertEqual(starts(), 3)

    def test_files_are_copied_changed_committed_and_run_again(self):
        name = self.up(command=("sh", "-c", "echo made >/made; sleep 1000"))
        with open(self.folder + "/in", "w") as f:
            f.write("copied")
        self.do("cp", self.folder + "/in", name + ":/in")
        self.assertEqual(self.do("exec", name, "cat", "/in"), "copied")
        eventually("the file", lambda: "A /made" in self.do("diff", name))
        self.do("commit", "-q", name, "localhost/changed")
        self.assertEqual(self.inside("localhost/changed", "cat", "/made", "/in"), "made\ncopied")
        self.do("rmi", "-f", "localhost/changed")


if __name__ == "__main__":
    users.main()
