"""Debian's containerd and its runc shim, told to run gantry-oci: `ctr run --runc-binary`."""
import os
import shutil
import signal
import subprocess

import users
from harness import PATIENCE, alive, eventually, run
from users import OCI, SIZE, Terminal, UserCase, cgroup_value, status_of

IMAGE = "busybox:latest"


class ContainerdTest(UserCase):
    programs = ("containerd", "ctr", "containerd-shim-runc-v2")

    @classmethod
    def start(cls):
        cls.socket = cls.folder + "/c.sock"
        config = cls.folder + "/config.toml"
        with open(config, "w") as f:
            f.write('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
                    f'[ttrpc]\naddress = "{cls.folder}/t.sock"\n')
        cls.log = open(cls.folder + "/log", "w")
        cls.addClassCleanup(cls.log.close)
        cls.daemon = subprocess.Popen(["containerd", "--config", config, "--root", cls.folder + "/root", "--state",
                                       cls.folder + "/state", "--address", cls.socket], stdin=subprocess.DEVNULL,
                                      stdout=cls.log, stderr=cls.log)
        eventually("containerd answers", lambda: cls.ctr("version").code == 0)
        imported = cls.ctr("images", "import", cls.archive.path)
        if imported.code != 0:
            raise AssertionError(f"the image could not be imported: {imported}")

    @classmethod
    def stop(cls):
        for name in cls.ctr("tasks", "ls", "-q").out.split():
            cls.ctr("tasks", "rm", "-f", name)
        for name in cls.ctr("containers", "ls", "-q").out.split():
            cls.ctr("containers", "rm", name)
        cls.daemon.terminate()
        cls.daemon.wait(PATIENCE)

    @classmethod
    def left(cls):
        return [what for what in super().left() if not what.endswith("/" + cls.token)]

    @classmethod
    def ctr_command(cls, *args):
        command = ["ctr", "--address", cls.socket, "--namespace", cls.token]
        if args[0] == "run":
            args = ("run", "--runc-binary", OCI, "--runc-root", cls.folder + "/runc", *args[1:])
        return command + list(args)

    @classmethod
    def ctr(cls, *args, stdin=None):
        return run(cls.ctr_command(*args), stdin=stdin)

    def do(self, *args, **kwargs):
        return self.ok(self.ctr(*args, **kwargs))

    def up(self, name, *command, flags=()):
        """A detached container; its pid."""
        self.addCleanup(self.ctr, "containers", "rm", name)
        self.addCleanup(self.ctr, "tasks", "rm", "-f", name)
        self.do("run", "-d", *flags, IMAGE, name, *(command or ("sleep", "1000")))
        return self.task(name)[1]

    def task(self, name):
        """Its status and pid."""
        for line in self.do("tasks", "ls").splitlines()[1:]:
            words = line.split()
            if words[0] == name:
                return words[2], int(words[1])
        return "", 0

    def test_run_passes_output_input_and_exit_codes_on(self):
        done = self.ctr("run", "--rm", IMAGE, "one", "sh", "-c", "echo out; echo err >&2; exit 7")
        self.assertEqual((done.code, done.out, done.err.splitlines()[0]), (7, "out\n", "err"))
        # ctr 1.6 may miss the end of its input: cat would wait for it.
        self.assertEqual(self.do("run", "--rm", IMAGE, "two", "head", "-n1", stdin="some text\n"), "some text\n")
        missing = self.ctr("run", "--rm", IMAGE, "three", "/no/such/program")
        self.assertNotEqual(missing.code, 0)
        self.assertIn("/no/such/program", missing.err)
        self.assertEqual(self.do("containers", "ls", "-q"), "")

    def test_run_and_exec_on_a_terminal(self):
        shell = Terminal(self.ctr_command("run", "--rm", "-t", IMAGE, "tty", "sh"), None)
        shell.expect(r"[#$] ")
        shell.send(SIZE + "; tty\n")
        shell.expect(r"33 101\s+/dev/(pts/0|console)")
        shell.send("exit 4\n")
        self.assertEqual(shell.wait(), 4)
        self.up("host")
        inner = Terminal(self.ctr_command("tasks", "exec", "-t", "--exec-id", "e", "host", "sh"), None)
        inner.expect(r"[#$] ")
        inner.send(SIZE + "; exit 5\n")
        inner.expect("33 101")
        self.assertEqual(inner.wait(), 5)

    def test_a_detached_container_is_entered_signalled_and_deleted(self):
        pid = self.up("long", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done")
        self.assertEqual(self.task("long")[0], "RUNNING")
        entered = self.ctr("tasks", "exec", "--exec-id", "e1", "--user", "33:4", "--cwd", "/etc", "long", "sh", "-c",
                           "id -u; pwd; exit 5")
        self.assertEqual((entered.code, entered.out), (5, "33\n/etc\n"))
        self.assertIn(str(pid), self.do("tasks", "ps", "long"))
        self.assertNotEqual(self.ctr("tasks", "delete", "long").code, 0, "a running task must not be deleted")
        self.do("tasks", "kill", "-s", "SIGTERM", "long")
        eventually("the task stops", lambda: self.task("long")[0] == "STOPPED")
        deleted = self.ctr("tasks", "delete", "long")
        self.assertIn("exit code 3", deleted.err)
        self.assertFalse(alive(pid))

    def test_kill_all_reaches_every_process(self):
        self.up("many", "sh", "-c", "sleep 997 & sleep 998 & wait")
        eventually("three processes", lambda: len(self.do("tasks", "ps", "many").splitlines()) == 4)
        self.do("tasks", "kill", "-a", "-s", "SIGKILL", "many")
        eventually("the end", lambda: self.task("many")[0] == "STOPPED")

    def test_pause_resume_and_metrics(self):
        pid = self.up("still")
        self.do("tasks", "pause", "still")
        self.assertEqual(self.task("still")[0], "PAUSED")
        self.assertEqual(cgroup_value(pid, "freezer", "freezer.state", "cgroup.freeze"), "1" if users.V2 else "FROZEN")
        self.do("tasks", "resume", "still")
        self.assertEqual(self.task("still")[0], "RUNNING")
        self.assertIn("memory", self.do("tasks", "metrics", "still"))

    def test_limits_user_capabilities_and_mounts(self):
        with open(self.folder + "/file", "w") as f:
            f.write("here\n")
        pid = self.up("bound", flags=("--memory-limit", str(64 << 20), "--cpus", "0.5", "--cap-add", "CAP_NET_ADMIN",
                                      "--cap-drop", "CAP_CHOWN", "--read-only", "--seccomp",
                                      "--mount", f"type=bind,src={self.folder}/file,dst=/etc/file,options=rbind:ro",
                                      "--env", "A=b", "--cwd", "/tmp", "--pid-file", self.folder + "/pid",
                                      "--device", "/dev/loop-control", "--label", "a=b"))
        with open(self.folder + "/pid") as f:
            self.assertEqual(int(f.read()), pid)
        self.assertEqual(cgroup_value(pid, "memory", "memory.limit_in_bytes", "memory.max"), str(64 << 20))
        self.assertIn(cgroup_value(pid, "cpu", "cpu.cfs_quota_us", "cpu.max"), ("50000", "50000 100000"))
        effective = int(status_of(pid, "CapEff"), 16)
        self.assertEqual((effective >> 12 & 1, effective & 1), (1, 0))
        self.assertEqual((status_of(pid, "Seccomp"), status_of(pid, "NoNewPrivs")), ("2", "1"))
        seen = self.do("tasks", "exec", "--exec-id", "e", "bound", "sh", "-c",
                       "cat /etc/file; pwd; echo $A; test -c /dev/loop-control && echo device; "
                       "touch /x 2>/dev/null || echo readonly")
        self.assertEqual(seen.split(), ["here", "/tmp", "b", "device", "readonly"])

    def test_privileged_and_namespaces_of_the_host_and_by_path(self):
        pid = self.up("wide", flags=("--privileged", "--net-host"))
        self.assertEqual(status_of(pid, "CapBnd"), status_of("self", "CapBnd"))
        self.assertEqual(os.readlink(f"/proc/{pid}/ns/net"), os.readlink("/proc/self/ns/net"))
        joined = self.up("joined", flags=("--with-ns", f"ipc:/proc/{pid}/ns/ipc", "--with-ns", f"pid:/proc/{pid}/ns/pid"))
        for kind in ("ipc", "pid"):
            self.assertEqual(os.readlink(f"/proc/{joined}/ns/{kind}"), os.readlink(f"/proc/{pid}/ns/{kind}"))

    def test_a_user_namespace(self):
        pid = self.up("mapped", flags=("--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000"))
        self.assertEqual(os.stat(f"/proc/{pid}").st_uid, 100000)
        self.assertEqual(self.do("tasks", "exec", "--exec-id", "e", "mapped", "id", "-u"), "0\n")

    def test_a_plain_root_directory(self):
        os.makedirs(self.folder + "/rootfs/bin")
        shutil.copy("/bin/busybox", self.folder + "/rootfs/bin/sh")
        out = self.do("run", "--rm", "--rootfs", self.folder + "/rootfs", "plain", "/bin/sh", "-c", "echo from a directory")
        self.assertEqual(out, "from a directory\n")

    def test_containers_survive_their_daemon(self):
        pid = self.up("kept", "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done")
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()
        self.assertTrue(alive(pid))
        type(self).daemon = subprocess.Popen(self.daemon.args, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        eventually("containerd answers", lambda: self.ctr("version").code == 0)
        self.assertEqual(self.task("kept"), ("RUNNING", pid))
        self.assertEqual(self.do("tasks", "exec", "--exec-id", "e", "kept", "echo", "in"), "in\n")
        self.do("tasks", "kill", "kept")
        eventually("the end", lambda: self.task("kept")[0] == "STOPPED")

    def test_events_tell_of_a_kill_for_memory(self):
        log = self.folder + "/events"
        with open(log, "w") as out:
            watcher = subprocess.Popen(self.ctr_command("events"), stdout=out)
        try:
            def topics():
                with open(log) as f:
                    return f.read()
            def settled():
                self.ctr("namespaces", "label", self.token, "probe=" + str(os.getpid()))
                return topics()
            self.ctr("namespaces", "create", self.token)
            eventually("the subscription stands", settled)
            # containerd's shim begins to watch after the start.
            self.ctr("run", "--rm", "--memory-limit", str(16 << 20), IMAGE, "hungry", "sh", "-c",
                     f"sleep {PATIENCE / 20}; exec tail /dev/zero")
            eventually("the event", lambda: "/tasks/oom" in topics() and '"hungry"' in topics())
        finally:
            watcher.kill()
            watcher.wait()


if __name__ == "__main__":
    users.main()
