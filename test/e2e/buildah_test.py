"""Debian's buildah on gantry-oci: run, and the RUN steps of a Dockerfile."""
import os
import subprocess

import users
from harness import PATIENCE, Result
from users import IMAGE, OCI, USER_UID, Terminal, UserCase


class BuildahTest(UserCase):
    programs = ("buildah",)
    rootless = False

    @classmethod
    def start(cls):
        home = cls.home = cls.folder + "/home"
        for name in ("", "/run", "/tmp"):
            os.mkdir(home + name, 0o700)
        with open(home + "/storage.conf", "w") as f:
            f.write(f'[storage]\ndriver = "vfs"\nrunroot = "{home}/runroot"\ngraphroot = "{home}/root"\n')
        with open(home + "/containers.conf", "w") as f:
            f.write('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n')
        with open(home + "/policy.json", "w") as f:
            f.write('{"default": [{"type": "insecureAcceptAnything"}]}')
        os.mkdir(home + "/context")
        with open(home + "/context/Dockerfile", "w") as f:
            f.write(f"FROM {IMAGE}\nARG WHO=nobody\nENV WHO=$WHO\nRUN echo built by $WHO >/built && id -u >>/built\n"
                    "USER 33:4\nWORKDIR /tmp\nRUN id -u >mine; pwd >>mine\nCOPY note /note\n"
                    "RUN --mount=type=tmpfs,target=/scratch df /scratch | tail -1 >>mine\nCMD cat /built mine /note\n")
        with open(home + "/context/note", "w") as f:
            f.write("a note\n")
        if cls.rootless:
            for path, folders, files in os.walk(home):
                for name in ["."] + files:
                    os.chown(os.path.join(path, name), USER_UID, USER_UID)
        cls.env = {"PATH": os.environ["PATH"], "HOME": home, "TMPDIR": home + "/tmp", "XDG_RUNTIME_DIR": home + "/run",
                   "CONTAINERS_CONF": home + "/containers.conf", "CONTAINERS_STORAGE_CONF": home + "/storage.conf",
                   "BUILDAH_RUNTIME": OCI, "BUILDAH_ISOLATION": "oci", "TERM": "xterm", "LANG": "C.UTF-8"}
        pulled = cls.buildah("pull", "-q", "--policy", "always", "docker-archive:" + cls.docker_archive())
        if pulled.code != 0:
            raise AssertionError(f"the image could not be loaded: {pulled}")

    @classmethod
    def docker_archive(cls):
        path = cls.folder + "/docker.tar"
        subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", f"oci-archive:{cls.archive.path}:busybox:latest",
                        f"docker-archive:{path}:{IMAGE}"], check=True)
        return path

    @classmethod
    def stop(cls):
        cls.buildah("rm", "-a")
        if cls.rootless:
            cls.buildah("unshare", "rm", "-rf", cls.home + "/root", cls.home + "/runroot")

    @classmethod
    def process(cls):
        user = {"user": USER_UID, "group": USER_UID, "extra_groups": []} if cls.rootless else {}
        return {"cwd": cls.home, "env": cls.env, **user}

    @classmethod
    def command(cls, *args):
        if args[0] in ("from", "bud") and not cls.rootless:
            args = (args[0], "--cgroup-parent", "/" + cls.token, *args[1:])
        if args[0] == "run" and "--network" not in args:
            args = ("run", "--network", "none", *args[1:])
        return ["buildah", "--root", cls.home + "/root", "--runroot", cls.home + "/runroot", "--storage-driver", "vfs",
                *args]

    @classmethod
    def buildah(cls, *args, stdin=None):
        feed = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(cls.command(*args), capture_output=True, timeout=PATIENCE * 2, text=True, errors="replace",
                              **feed, **cls.process())
        return Result(done.returncode, done.stdout, done.stderr)

    def do(self, *args, **kwargs):
        return self.ok(self.buildah(*args, **kwargs))

    def container(self, *flags):
        name = self.do("from", "-q", "--pull-never", *flags, IMAGE).strip()
        self.addCleanup(self.buildah, "rm", name)
        return name

    def test_run_passes_output_input_and_exit_codes_on(self):
        name = self.container()
        done = self.buildah("run", name, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
        self.assertEqual((done.code, done.out), (7, "out\n"), done)
        self.assertTrue(done.err.startswith("err\n"), done)
        self.assertEqual(self.do("run", name, "--", "cat", stdin="some text\n"), "some text\n")
        self.assertNotEqual(self.buildah("run", name, "--", "/no/such/program").code, 0)

    def test_run_on_a_terminal(self):
        name = self.container()
        shell = Terminal(self.command("run", "-t", name, "--", "sh"), **self.process())
        shell.expect(r"[#$] ")
        shell.send("tty; exit 4\n")
        shell.expect("/dev/(pts/0|console)")
        self.assertEqual(shell.wait(), 4)

    def test_user_directory_environment_hostname_and_capabilities(self):
        name = self.container()
        self.do("config", "--user", "33", "--workingdir", "/tmp", "--env", "A=b", name)
        self.assertEqual(self.do("run", "--hostname", "named", name, "--", "sh", "-c", "id -u; pwd; echo $A; hostname"),
                         "33\n/tmp\nb\nnamed\n")
        bounds = [int(self.do("run", *flags, name, "--", "grep", "CapBnd", "/proc/self/status").split()[1], 16)
                  for flags in ((), ("--cap-add", "CAP_NET_ADMIN"), ("--cap-drop", "CAP_CHOWN"))]
        self.assertEqual(bounds[1:], [bounds[0] | 1 << 12, bounds[0] & ~1])

    def test_volumes_and_namespaces_of_the_host(self):
        name = self.container()
        os.makedirs(self.home + "/bound", exist_ok=True)
        with open(self.home + "/bound/file", "w") as f:
            f.write("here\n")
        self.assertEqual(self.do("run", "-v", self.home + "/bound:/b:ro", name, "--", "sh", "-c",
                                 "cat /b/file; touch /b/x 2>/dev/null || echo refused"), "here\nrefused\n")
        kinds = {"net": ("--network", "host"), "uts": ("--uts", "host"), "ipc": ("--ipc", "host")}
        if not os.path.isdir("/dev/mqueue"):  # of which buildah binds the host's
            del kinds["ipc"]
        there = self.do("run", *sum(kinds.values(), ()), name, "--", "sh", "-c",
                        "for kind in $0 $@; do readlink /proc/self/ns/$kind; done", *kinds)
        self.assertEqual(there.split(), [os.readlink("/proc/self/ns/" + kind) for kind in kinds])

    def test_a_dockerfile_is_built(self):
        self.do("bud", "-q", "--network", "host", "--build-arg", "WHO=us", "-t", "localhost/built", self.home + "/context")
        name = self.do("from", "-q", "--pull-never", "localhost/built").strip()
        self.addCleanup(self.buildah, "rm", name)
        lines = self.do("run", name, "--", "cat", "/built", "/tmp/mine", "/note").splitlines()
        self.assertEqual(lines[:4] + lines[-1:], ["built by us", "0", "33", "/tmp", "a note"])
        self.assertIn("tmpfs", lines[4])

    def test_a_failing_step_ends_the_build_with_its_exit_code(self):
        with open(self.home + "/context/Failing", "w") as f:
            f.write(f"FROM {IMAGE}\nRUN exit 9\n")
        failed = self.buildah("bud", "--network", "host", "-f", self.home + "/context/Failing", self.home + "/context")
        self.assertIn("exit status 9", failed.err)
        self.assertNotEqual(failed.code, 0)


class RootlessTest(BuildahTest):
    programs = ("buildah", "newuidmap")
    rootless = True


if __name__ == "__main__":
    users.main()
