"""Debian's dockerd with its own containerd in a private directory, and gantry-oci as its runtime."""
import json
import os
import subprocess

from harness import PATIENCE, Result, eventually
from users import OCI, Terminal, UserCase

IMAGE = "busybox:latest"


class DockerCase(UserCase):
    programs = ("dockerd", "docker", "containerd")
    flags = ()

    @classmethod
    def start(cls):
        home = cls.home = cls.folder + "/home"
        os.makedirs(home + "/cli")
        config = {"runtimes": {"gantry": {"path": OCI}}, "default-runtime": "gantry"}
        with open(home + "/daemon.json", "w") as f:
            json.dump(config, f)
        cls.env = {"PATH": os.environ["PATH"], "HOME": home, "DOCKER_CONFIG": home + "/cli", "TERM": "xterm",
                   "DOCKER_HOST": f"unix://{home}/d.sock", "LANG": "C.UTF-8", "DOCKER_BUILDKIT": "0"}
        cls.log = open(home + "/log", "w")
        cls.addClassCleanup(cls.log.close)
        cls.daemon = None
        cls.bring_up()
        loaded = cls.docker("load", "-q", "-i", cls.docker_archive())
        if loaded.code != 0:
            raise AssertionError(f"the image could not be loaded: {loaded}")

    @classmethod
    def bring_up(cls):
        home = cls.home
        cls.daemon = subprocess.Popen(
            ["dockerd", "--config-file", home + "/daemon.json", "--data-root", home + "/data", "--exec-root", home + "/x",
             "--pidfile", home + "/pid", "-H", f"unix://{home}/d.sock", "--bridge=none", "--iptables=false",
             "--ip6tables=false", "--ip-masq=false", "--ip-forward=false", "--userland-proxy=false",
             "--storage-driver=overlay2", "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent",
             "/" + cls.token, *cls.flags], stdin=subprocess.DEVNULL, stdout=cls.log, stderr=cls.log, cwd=home, env=cls.env)
        def ready():
            if cls.daemon.poll() is not None:
                with open(home + "/log") as f:
                    raise AssertionError("dockerd ended:\n" + f.read()[-3000:])
            return cls.docker("version").code == 0
        eventually("dockerd answers", ready)

    @classmethod
    def docker_archive(cls):
        """The image as `docker save` writes it, with one layer."""
        path = cls.folder + "/docker.tar"
        subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", f"oci-archive:{cls.archive.path}:busybox:latest",
                        f"docker-archive:{path}:{IMAGE}"], check=True)
        return path

    @classmethod
    def stop(cls):
        if cls.daemon.poll() is None:
            names = cls.docker("ps", "-aq").out.split()
            if names:
                cls.docker("rm", "-f", "-v", *names)
            cls.daemon.terminate()
            cls.daemon.wait(PATIENCE)

    @classmethod
    def command(cls, *args):
        if args[0] in ("run", "create"):
            args = (args[0], "--network", "none", *args[1:]) if "--network" not in args else args
        return ["docker", *args]

    @classmethod
    def docker(cls, *args, stdin=None):
        feed = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(cls.command(*args), capture_output=True, timeout=PATIENCE * 2, env=cls.env, cwd=cls.home,
                              text=True, errors="replace", **feed)
        return Result(done.returncode, done.stdout, done.stderr)

    def terminal(self, *args):
        return Terminal(self.command(*args), self.env, cwd=self.home)

    def do(self, *args, **kwargs):
        return self.ok(self.docker(*args, **kwargs))

    def inside(self, *args):
        return self.do("run", "--rm", *args)

    def up(self, *args, command=("sleep", "1000")):
        name = self.do("run", "-d", *args, IMAGE, *command).strip()
        self.addCleanup(self.docker, "rm", "-f", "-v", name)
        return name

    def inspect(self, name):
        return json.loads(self.do("inspect", name))[0]

    def state(self, name):
        return self.inspect(name)["State"]

    def pid(self, name):
        return self.state(name)["Pid"]
