"""podman as an ordinary user on gantry-oci, with ids of its own from newuidmap."""
import os

import image
import users
from harness import eventually
from podman import PodmanCase
from users import FIRST_SUB, IMAGE, SIZE, USER_UID, status_of


class RootlessTest(PodmanCase):
    programs = ("podman", "conmon", "newuidmap")
    rootless = True

    def test_run_passes_output_input_and_exit_codes_on(self):
        out = self.podman("run", "--rm", "-i", IMAGE, "sh", "-c", "cat; id -u; exit 7", stdin="text\n")
        self.assertEqual((out.code, out.out, out.err), (7, "text\n0\n", ""))
        self.assertEqual(self.podman("run", "--rm", IMAGE, "/no/such/program").code, 127)

    def test_root_inside_is_the_user_outside_and_others_are_its_own(self):
        name = self.up()
        pid = self.pid(name)
        self.assertEqual(os.stat(f"/proc/{pid}").st_uid, USER_UID)
        with open(f"/proc/{pid}/uid_map") as f:
            lines = [line.split() for line in f]
        self.assertEqual(lines, [["0", str(USER_UID), "1"], ["1", str(FIRST_SUB), str(users.SUBS)]])
        other = self.up("--user", "33:4")
        self.assertEqual(status_of(self.pid(other), "Uid").split()[0], str(FIRST_SUB + 32))

    def test_life_logs_exec_pause_stop_and_rm(self):
        name = self.up(command=("sh", "-c", "trap 'exit 6' TERM; echo one; while :; do sleep 0.05; done"))
        eventually("the log", lambda: self.podman("logs", name).out == "one\n")
        ran = self.podman("exec", "-u", "33", "-e", "A=b", name, "sh", "-c", "id -u; echo $A; exit 9")
        self.assertEqual((ran.code, ran.out), (9, "33\nb\n"))
        self.assertIn("sh", self.do("top", name, "comm"))
        self.do("stop", "-t", "5", name)
        self.assertEqual(self.inspect(name)["State"]["ExitCode"], 6)
        self.do("start", name)
        self.assertEqual(self.do("exec", name, "echo", "again"), "again\n")

    def test_a_terminal_for_run_and_exec(self):
        shell = self.terminal("run", "--rm", "-it", IMAGE, "sh")
        shell.send(SIZE + "; tty; exit 4\n")
        shell.expect(r"33 101\s+/dev/(pts/0|console)")
        self.assertEqual(shell.wait(), 4)
        name = self.up()
        inner = self.terminal("exec", "-it", name, "sh")
        inner.send(SIZE + "; exit 5\n")
        inner.expect("33 101")
        self.assertEqual(inner.wait(), 5)

    def test_networks_none_and_host(self):
        none, host = self.up("--network", "none"), self.up("--network", "host")
        self.assertEqual(self.do("exec", none, "ls", "/sys/class/net").split(), ["lo"])
        here = os.readlink("/proc/self/ns/net")
        self.assertEqual([os.readlink(f"/proc/{self.pid(name)}/ns/net") == here for name in (none, host)], [False, True])

    def test_mounts_volumes_tmpfs_and_read_only(self):
        bound = self.home + "/bound"
        os.mkdir(bound)
        os.chown(bound, USER_UID, USER_UID)
        out = self.inside("--read-only", "--tmpfs", "/t:size=1m", "-v", bound + ":/b", "-v", "vol:/v", IMAGE, "sh", "-c",
                          "touch /t/a /b/b /v/c && stat -c %u /b /b/b; touch /etc/x 2>/dev/null || echo refused")
        self.assertEqual(out, "0\n0\nrefused\n")
        self.assertEqual(os.stat(bound + "/b").st_uid, USER_UID)
        self.assertEqual(self.inside("-v", bound + ":/b:ro", IMAGE, "sh", "-c", "touch /b/x 2>&1 | grep -c Read-only; true"), "1\n")

    def test_privileges(self):
        name = self.up("--cap-drop", "all", "--security-opt", "no-new-privileges")
        pid = self.pid(name)
        self.assertEqual([status_of(pid, field) for field in ("CapBnd", "NoNewPrivs", "Seccomp")], ["0" * 16, "1", "2"])
        wide = self.up("--privileged")
        self.assertEqual(status_of(self.pid(wide), "Seccomp"), "0")
        self.do("exec", wide, "sh", "-c", "mkdir /m && mount -t tmpfs none /m")

    def test_user_namespaces(self):
        keep = self.inside("--userns=keep-id", IMAGE, "sh", "-c", "id -u; touch /tmp/x")
        self.assertEqual(keep, f"{USER_UID}\n")
        self.assertEqual(self.inside("--userns=nomap", IMAGE, "id", "-u"), "0\n")
        self.assertEqual(self.inside("--uidmap", "0:1:1000", IMAGE, "sh", "-c", "awk '{print $2}' /proc/self/uid_map"), "1\n")
        self.assertEqual(self.inside("--userns=auto:size=1024", IMAGE, "id", "-u"), "0\n")

    def test_pods(self):
        path = self.folder + "/pause.tar"
        image.Image([(image.tar_of(image.busybox_files()), True)], name="pause:latest",
                    config={"Entrypoint": ["/bin/sleep", "100000"], "Env": ["PATH=/bin"]}).write(path)
        self.do("load", "-q", "-i", path)
        self.do("pod", "create", "--name", "shared", "--infra-image", "localhost/pause:latest", "--share", "net,ipc,uts,pid")
        self.addCleanup(self.podman, "pod", "rm", "-f", "-t", "0", "shared")
        one, two = (self.pid(self.up("--pod", "shared")) for _ in range(2))
        for kind in ("net", "ipc", "uts", "pid"):
            self.assertEqual(os.readlink(f"/proc/{one}/ns/{kind}"), os.readlink(f"/proc/{two}/ns/{kind}"))


class VfsTest(PodmanCase):
    """With copies in place of overlays: the root file system is a plain directory."""
    programs = RootlessTest.programs
    rootless = True
    driver = "vfs"
    test_run_passes_output_input_and_exit_codes_on = RootlessTest.test_run_passes_output_input_and_exit_codes_on
    test_mounts_volumes_tmpfs_and_read_only = RootlessTest.test_mounts_volumes_tmpfs_and_read_only
    test_user_namespaces = RootlessTest.test_user_namespaces


class SingleIdTest(PodmanCase):
    """A user without subordinate ids: only its own is mapped, and there is no newuidmap."""
    rootless = True
    driver = "vfs"

    @classmethod
    def start(cls):
        for name in ("subuid", "subgid"):
            with open("/run/etc/" + name) as f:
                lines = f.read()
            cls.addClassCleanup(cls.rewrite, name, lines)
            cls.rewrite(name, "")
        super().start()

    @classmethod
    def rewrite(cls, name, text):
        with open("/run/etc/" + name, "w") as f:
            f.write(text)

    def test_it_runs(self):
        out = self.inside(IMAGE, "sh", "-c", "id -u; wc -l </proc/self/uid_map")
        self.assertEqual(out, "0\n1\n")


if __name__ == "__main__":
    users.main()
