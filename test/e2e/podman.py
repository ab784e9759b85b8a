"""Debian's podman in a private directory, as root or as an ordinary user."""
import json
import os
import subprocess

from harness import PATIENCE, Result
from users import IMAGE, OCI, USER_UID, Terminal, UserCase


class PodmanCase(UserCase):
    programs = ("podman", "conmon")
    rootless = False
    driver = "overlay"

    @classmethod
    def start(cls):
        home = cls.home = cls.folder + "/home"
        for name in ("", "/run", "/tmp"):
            os.mkdir(home + name, 0o700)
        with open(home + "/containers.conf", "w") as f:
            # The limits that podman asks for by default are beyond what this machine's root may hand out.
            f.write('[containers]\nnetns = "none"\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
                    f'[engine]\nlock_type = "file"\nvolume_path = "{home}/volumes"\n')
        with open(home + "/storage.conf", "w") as f:
            f.write(f'[storage]\ndriver = "{cls.driver}"\nrunroot = "{home}/runroot"\ngraphroot = "{home}/root"\n')
        if cls.rootless:
            for path, folders, files in os.walk(home):
                for name in ["."] + files:
                    os.chown(os.path.join(path, name), USER_UID, USER_UID)
        cls.env = {"PATH": os.environ["PATH"], "HOME": home, "TMPDIR": home + "/tmp", "XDG_RUNTIME_DIR": home + "/run",
                   "CONTAINERS_CONF": home + "/containers.conf", "CONTAINERS_STORAGE_CONF": home + "/storage.conf",
                   "TERM": "xterm", "LANG": "C.UTF-8"}
        loaded = cls.podman("load", "-q", "-i", cls.archive.path)
        if loaded.code != 0:
            raise AssertionError(f"the image could not be loaded: {loaded}")

    @classmethod
    def stop(cls):
        cls.podman("pod", "rm", "-fa", "-t", "0")
        cls.podman("rm", "-fa", "-t", "0")
        if cls.rootless:
            cls.podman("unshare", "rm", "-rf", cls.home + "/root", cls.home + "/runroot")
            for name in ("run/libpod/tmp/pause.pid", "ptmp/pause.pid"):
                path = os.path.join(cls.home, name)
                if os.path.exists(path):
                    with open(path) as f:
                        os.kill(int(f.read()), 9)

    @classmethod
    def command(cls, *args):
        home = cls.home
        command = ["podman", "--root", home + "/root", "--runroot", home + "/runroot", "--tmpdir", home + "/ptmp",
                   "--storage-driver", cls.driver, "--cgroup-manager=cgroupfs", "--events-backend=file",
                   "--runtime", OCI]
        if args[0] in ("run", "create") and not cls.rootless and "--pod" not in args:
            args = (args[0], "--cgroup-parent", "/" + cls.token, *args[1:])
        return command + list(args)

    @classmethod
    def process(cls):
        user = {"user": USER_UID, "group": USER_UID, "extra_groups": []} if cls.rootless else {}
        return {"cwd": cls.home, **user}

    @classmethod
    def podman(cls, *args, stdin=None):
        feed = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(cls.command(*args), capture_output=True, timeout=PATIENCE * 2, env=cls.env, text=True,
                              errors="replace", **feed, **cls.process())
        return Result(done.returncode, done.stdout, done.stderr)

    def terminal(self, *args):
        return Terminal(self.command(*args), self.env, **self.process())

    def do(self, *args, **kwargs):
        """The output of a podman command that must succeed."""
        return self.ok(self.podman(*args, **kwargs))

    def inside(self, *args):
        """The output of `podman run --rm` with these flags and command."""
        return self.do("run", "--rm", *args)

    def up(self, *args, command=("sleep", "1000")):
        """A detached container; its id."""
        name = self.do("run", "-d", *args, IMAGE, *command).strip()
        self.addCleanup(self.podman, "rm", "-f", "-t", "0", name)
        return name

    def inspect(self, name):
        return json.loads(self.do("inspect", name))[0]

    def pid(self, name):
        return self.inspect(name)["State"]["Pid"]
