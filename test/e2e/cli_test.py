"""The admin CLI gantry: what each flag does, seen from inside; tables, JSON, prefixes, exit codes."""
import json
import os
import pty
import select
import signal
import subprocess
import time
import unittest

from harness import OURS, DaemonCase, eventually

FROZEN = ("run", "--rm", "busybox")


class RunTest(DaemonCase):
    def inside(self, *flags, script):
        """Standard output of a shell script in a new container."""
        return self.run_ok("run", "--rm", *flags, "busybox", "sh", "-c", script)

    def test_streams_are_kept_apart_and_the_container_goes(self):
        result = self.gantry(*FROZEN, "sh", "-c", "echo out; echo err >&2")
        self.assertEqual((result.code, result.out, result.err), (0, "out\n", "err\n"))
        self.assertEqual(self.run_ok("ps", "-aq"), "")

    def test_standard_input_reaches_the_container(self):
        text = "".join(f"line {i}\n" for i in range(20000))
        self.assertEqual(self.run_ok("run", "--rm", "-i", "busybox", "cat", stdin=text), text)
        self.assertEqual(self.run_ok("run", "--rm", "busybox", "cat", stdin="not connected"), "")

    def test_exit_codes_are_dockers(self):
        self.assertEqual(self.gantry(*FROZEN, "/opt/exit", "3").code, 3)
        self.assertEqual(self.gantry(*FROZEN, "sh", "-c", "kill -9 $$; sleep 9").code in (0, 137), True)
        self.assert_failure(self.gantry(*FROZEN, "/no/such/program"), 127, "cannot run image", "")
        self.assert_failure(self.gantry(*FROZEN, "no-such-program"), 127, "cannot run image", "")
        self.assert_failure(self.gantry(*FROZEN, "/opt/not-executable"), 126, "cannot run image", "")
        self.assert_failure(self.gantry(*FROZEN, "/etc"), 126, "cannot run image", "")
        self.assertEqual(self.run_ok("ps", "-aq"), "", "a failed run leaves no container")

    def test_a_signal_gives_128_and_its_number(self):
        self.detached("killed", "sleep", "1000")
        self.run_ok("kill", "killed")
        self.assertEqual(self.run_ok("wait", "killed").strip(), "137")

    def test_environment(self):
        path = self.folder + "/env"
        with open(path, "w") as f:
            f.write("# comment\nFROM_FILE=1\nBOTH=file\n")
        out = self.inside("-e", "A=b c", "-e", "BOTH=flag", "--env-file", path, "--hostname", "box", script="env")
        for line in ("A=b c", "FROM_FILE=1", "BOTH=flag", "PATH=/bin", "HOSTNAME=box", "HOME=/root"):
            self.assertIn(line + "\n", out)

    def test_user_workdir_and_entrypoint(self):
        self.assertEqual(self.inside("-u", "web", script="id; pwd; echo $HOME"),
                         "uid=33(web) gid=33(web) groups=4(adm),33(web)\n/\n/var/www\n")
        self.assertEqual(self.inside("-u", "5:6", "-w", "/tmp", script="id -u; id -g; pwd"), "5\n6\n/tmp\n")
        self.assertEqual(self.run_ok("run", "--rm", "--entrypoint", "echo", "busybox", "a", "-b"), "a -b\n")

    def test_memory_and_processor_limits_as_the_kernel_reports_them(self):
        script = ("cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes; "
                  "cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us")
        memory, cpu = self.inside("-m", "64m", "--cpus", "1.5", script=script).split("\n")[:2]
        self.assertEqual(memory, str(64 << 20))
        self.assertEqual(cpu.split()[0], "150000")

    def test_mounts(self):
        os.makedirs(self.folder + "/shared", exist_ok=True)
        with open(self.folder + "/shared/file", "w") as f:
            f.write("from the host\n")
        out = self.inside("-v", self.folder + "/shared:/a", "--mount", f"type=bind,src={self.folder}/shared,dst=/b,ro",
                          "--tmpfs", "/c:size=1m", script="cat /a/file; echo new >/a/new; touch /b/x || echo read-only; df -k /c | tail -n 1")
        self.assertIn("from the host\nread-only\n", out)
        self.assertIn(" 1024 ", out)
        self.assertTrue(os.path.exists(self.folder + "/shared/new"))

    def test_read_only_root(self):
        self.assertEqual(self.inside("--read-only", script="touch /x 2>/dev/null || echo no; touch /dev/shm/y && echo yes"),
                         "no\nyes\n")

    def test_network_none_has_a_loopback_alone_and_host_has_the_hosts(self):
        self.assertEqual(self.inside(script="ls /sys/class/net").split(), ["lo"])
        self.assertEqual(set(self.inside("--network", "host", script="cut -d: -f1 /proc/net/dev | tail -n +3").split()),
                         set(os.listdir("/sys/class/net")) - {"bonding_masters"})

    def test_capabilities(self):
        self.assertIn("CapEff:\t0000000000000000", self.inside("--cap-drop", "all", script="grep CapEff /proc/self/status"))

    def test_labels_and_names(self):
        self.detached("named.1", "sleep", "1000", flags=("--label", "tier=front"))
        self.assertEqual(self.inspect("named.1")["labels"]["tier"], "front")
        self.assertEqual(self.inspect("named.1")["spec"]["hostname"], "named.1")
        self.assert_failure(self.gantry("run", "-d", "--name", "named.1", "busybox"), 125, "cannot run image",
                            "is in use by another container", "gantry rm")

    def test_a_detached_container_with_rm_is_removed_when_it_ends(self):
        name = self.run_ok("run", "-d", "--rm", "busybox", "sleep", "0.3").strip()
        self.assertEqual(len(name), 12)
        eventually("it is removed", lambda: name not in self.run_ok("ps", "-aq").split())
        self.assertFalse(os.path.exists(f"{self.folder}/logs/{self.ns}/{name}.log"))

    def test_signals_reach_the_container(self):
        client = subprocess.Popen(
            self.gantry_command(*FROZEN, "sh", "-c", "trap 'echo got it; exit 4' TERM; echo ready; while :; do sleep 0.05; done"),
            env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.assertEqual(client.stdout.readline(), "ready\n")
        client.send_signal(signal.SIGTERM)
        self.assertEqual(client.stdout.readline(), "got it\n")
        self.assertEqual(client.wait(60), 4)
        client.stdout.close()

    def test_a_megabyte_each_way_is_not_cut(self):
        out = self.inside(script="head -c 3000000 /dev/zero | tr '\\0' x")
        self.assertEqual(len(out), 3000000)


class TerminalTest(DaemonCase):
    def talk(self, *args):
        pid, fd = pty.fork()
        if pid == 0:
            os.execve(self.gantry_command(*args)[0], self.gantry_command(*args), self.env)
        return pid, fd

    def read_until(self, fd, needle):
        text, end = b"", time.monotonic() + 60
        while needle not in text and time.monotonic() < end:
            if select.select([fd], [], [], 0.2)[0]:
                try:
                    text += os.read(fd, 65536)
                except OSError:
                    break
        self.assertIn(needle, text)
        return text

    def test_a_shell_in_a_terminal(self):
        import fcntl
        import struct
        import termios
        pid, fd = self.talk("run", "--rm", "-it", "--name", "shell", "busybox", "sh")
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
        self.read_until(fd, b"# ")
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 122, 0, 0))
        os.kill(pid, signal.SIGWINCH)
        time.sleep(0.3)
        os.write(fd, b"tty; stty size; echo $((40 + 2))\n")
        text = self.read_until(fd, b"42\r\n")
        self.assertIn(b"44 122", text)
        os.write(fd, b"exit 6\n")
        self.read_until(fd, b"exit 6")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 6)
        os.close(fd)

    def test_the_keys_detach(self):
        self.addCleanup(self.gantry, "rm", "-f", "left")
        pid, fd = self.talk("run", "-it", "--name", "left", "busybox", "sh")
        self.read_until(fd, b"# ")
        os.write(fd, b"\x10\x11")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        os.close(fd)
        self.assertEqual(self.inspect("left")["state"], "running")

    def test_exec_in_a_terminal(self):
        self.detached("host", "sleep", "1000")
        pid, fd = self.talk("exec", "-it", "host", "sh", "-c", "tty; echo done")
        self.assertIn(b"/dev/pts/", self.read_until(fd, b"done"))
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        os.close(fd)

    def test_a_terminal_without_one_is_refused(self):
        self.assert_failure(self.gantry("run", "--rm", "-it", "busybox", "sh"), 125, "cannot run image",
                            "standard input is none")

    def test_tables_fit_the_terminal(self):
        import fcntl
        import struct
        import termios
        self.detached("wide", "sh", "-c", "sleep 1000; : " + "x" * 300)
        pid, fd = pty.fork()
        if pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 70, 0, 0))
            os.execve(self.gantry_command("ps")[0], self.gantry_command("ps"), self.env)
        text = self.read_until(fd, b"wide").decode()
        os.waitpid(pid, 0)
        os.close(fd)
        self.assertIn("…", text)
        self.assertTrue(all(len(line) <= 70 for line in text.replace("\r", "").split("\n")), text)


class ManageTest(DaemonCase):
    def test_ps_shows_what_runs_and_with_all_the_rest(self):
        pid = self.detached("runs", "sleep", "1000")
        self.detached("ended", "/opt/exit", "3")
        eventually("it ends", lambda: self.inspect("ended")["state"] == "exited")
        table = self.run_ok("ps")
        self.assertIn("CONTAINER", table.split("\n")[0])
        self.assertIn("runs", table)
        self.assertNotIn("ended", table)
        self.assertIn("Exited (3)", self.run_ok("ps", "-a"))
        rows = [json.loads(line) for line in self.run_ok("ps", "-a", "--format", "json").splitlines()]
        by_id = {row["id"]: row for row in rows}
        self.assertEqual((by_id["runs"]["state"], by_id["runs"]["pid"]), ("running", pid))
        self.assertEqual(by_id["ended"]["exit_code"], 3)
        self.assertEqual(by_id["runs"]["command"], "sleep 1000")

    def test_unique_prefixes_name_containers_and_ambiguous_ones_the_candidates(self):
        self.detached("twin-a", "sleep", "1000")
        self.detached("twin-b", "sleep", "1000")
        self.assertEqual(self.inspect("twin-a")["id"], "twin-a")
        self.assertEqual(self.run_ok("exec", "twin-a", "hostname"), "twin-a\n")
        failure = self.gantry("stop", "twin")
        self.assert_failure(failure, 125, "cannot stop container twin", "several containers")
        self.assertIn("twin-a", failure.err)
        self.assertIn("twin-b", failure.err)

    def test_exec(self):
        self.detached("home", "sleep", "1000", flags=("-e", "OUTER=1"))
        self.assertEqual(self.run_ok("exec", "-e", "INNER=2", "-w", "/tmp", "-u", "web", "home", "sh", "-c",
                                     "echo $OUTER $INNER $(pwd) $(id -un)"), "1 2 /tmp web\n")
        self.assertEqual(self.run_ok("exec", "-i", "home", "cat", stdin="piped"), "piped")
        self.assertEqual(self.gantry("exec", "home", "/opt/exit", "8").code, 8)
        self.assert_failure(self.gantry("exec", "home", "no-such-program"), 127, "cannot run no-such-program", "")
        self.assert_failure(self.gantry("exec", "home", "/opt/not-executable"), 126, "cannot run", "")
        self.run_ok("exec", "-d", "home", "touch", "/tmp/by-detached")
        eventually("the file appears", lambda: self.gantry("exec", "home", "test", "-e", "/tmp/by-detached").code == 0)

    def test_stop_asks_first_and_then_forces(self):
        self.detached("polite", "sh", "-c", "trap 'exit 9' USR1; while :; do sleep 0.05; done", flags=("--stop-signal", "USR1"))
        self.run_ok("exec", "polite", "true")
        self.run_ok("stop", "polite")
        self.assertEqual(self.run_ok("wait", "polite").strip(), "9")
        self.detached("stubborn", "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
        self.run_ok("stop", "-t", "1", "stubborn")
        self.assertEqual(self.run_ok("wait", "stubborn").strip(), "137")
        self.run_ok("stop", "stubborn")  # stopped already: what was asked for

    def test_rm_refuses_what_runs_unless_forced(self):
        pid = self.detached("busy", "sleep", "1000")
        self.assert_failure(self.gantry("rm", "busy"), 125, "cannot remove container busy", "is running", "gantry stop")
        self.assertTrue(os.path.exists(f"/proc/{pid}"))
        self.run_ok("rm", "-f", "busy")
        self.assertNotIn("busy", self.run_ok("ps", "-aq").split())
        self.assertNotIn("busy", self.ok(self.ctr("snapshots", "ls")))

    def test_logs_are_kept_and_followed(self):
        self.detached("talks", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done; echo last >&2")
        self.assertEqual(self.run_ok("logs", "-f", "talks"), "1\n2\n3\nlast\n")
        self.assertEqual(self.run_ok("logs", "talks"), "1\n2\n3\nlast\n")

    def test_kill_sends_the_signal_that_was_named(self):
        self.detached("asked", "sh", "-c", "trap 'exit 5' HUP; while :; do sleep 0.05; done")
        self.run_ok("exec", "asked", "true")
        self.run_ok("kill", "-s", "HUP", "asked")
        self.assertEqual(self.run_ok("wait", "asked").strip(), "5")
        self.assert_failure(self.gantry("kill", "asked"), 125, "cannot kill container asked", "is not running")

    def test_images_are_listed_inspected_and_removed(self):
        self.run_ok("image", "import", "--name", "extra:1", self.archive.path)
        rows = {row["name"]: row for row in map(json.loads, self.run_ok("images", "--format", "json").splitlines())}
        self.assertEqual(rows["extra:1"]["digest"], self.archive.manifest["digest"])
        self.assertGreater(rows["extra:1"]["size_bytes"], 100000)
        self.assertIn("extra:1", self.run_ok("image", "ls"))
        facts = json.loads(self.run_ok("inspect", "extra:1"))[0]
        self.assertEqual(facts["config"]["config"]["Cmd"], ["sh"])
        self.detached("user", "true")
        self.assert_failure(self.gantry("image", "rm", "busybox"), 125, "cannot remove image busybox", "was made from it")
        self.run_ok("image", "rm", "extra:1")
        self.assertNotIn("extra:1", self.run_ok("images", "-q").split())

    def test_an_image_is_found_by_its_digests_beginning(self):
        short = self.archive.manifest["digest"].split(":")[1][:12]
        self.assertEqual(self.run_ok("run", "--rm", short, "echo", "found"), "found\n")

    def test_events_are_printed_as_json(self):
        path = self.folder + "/events"
        with open(path, "w") as out:
            watcher = subprocess.Popen(self.gantry_command("--format", "json", "events"), stdout=out, env=self.env)
        try:
            def seen():
                with open(path) as f:
                    return [json.loads(line) for line in f if line.endswith("\n")]
            eventually("the subscription stands", lambda: self.gantry("run", "--rm", "busybox", "true") and seen())
            self.gantry("run", "--rm", "--name", "told", "busybox", "/opt/exit", "2")
            exits = eventually("the exit", lambda: [e for e in seen() if e["topic"] == "/tasks/exit"
                                                    and e["event"].get("container_id") == "told"])
            self.assertEqual((exits[0]["namespace"], exits[0]["event"]["exit_status"]), (self.ns, 2))
        finally:
            watcher.kill()
            watcher.wait()

    def test_version(self):
        self.assertIn("Server:", self.run_ok("version"))
        answer = json.loads(self.run_ok("version", "--format", "json"))
        self.assertTrue(answer["server"]["version"])

    def test_a_wrong_command_line_is_one_of_gantrys_own_failures(self):
        for args in (("frobnicate",), ("ps", "--nope"), ("run",), ("exec", "x"), ("stop",), ("--format", "xml", "ps")):
            result = self.gantry(*args)
            self.assertEqual(result.code, 125, (args, result))
            self.assertEqual(len(result.err.rstrip("\n").split("\n")), 3, result)


class NoDaemonTest(unittest.TestCase):
    def test_no_daemon_is_said_in_three_lines(self):
        from harness import BIN, run
        result = run([BIN + "/gantry", "-a", "/tmp/gantry-no-such.sock", "ps"])
        self.assertEqual(result.code, 125)
        self.assertIn("there is no socket /tmp/gantry-no-such.sock", result.err)
        self.assertEqual(len(result.err.rstrip("\n").split("\n")), 3)


if __name__ == "__main__":
    unittest.main()
