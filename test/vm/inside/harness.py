"""What the tests in the machine stand on: bundles with busybox for a root, and gantry-oci on them."""
import json
import os
import shutil
import subprocess
import time
import unittest

BIN = "/payload/bin"
OCI = f"{BIN}/gantry-oci"
CGROUP = "/sys/fs/cgroup"
PATIENCE = 120  # seconds; emulation on a busy machine is slow, and only a failure waits


class Done:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit {self.code}\nstdout: {self.out}\nstderr: {self.err}"


def run(*command, env=None, **more):
    """A command to its end; its output goes through files, which a container that lives on may keep open."""
    with open("/run/out", "w+", encoding="utf-8") as out, open("/run/err", "w+", encoding="utf-8") as err:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=PATIENCE, check=False,
                              env=env, **more)
        out.seek(0)
        err.seek(0)
        return Done(done.returncode, out.read(), err.read())


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read().strip()


def eventually(what, condition):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited in vain: {what}")


def show(unit, *properties, user=None):
    """What systemd says of a unit."""
    prefix = as_user(user) if user else []
    text = run(*prefix, "systemctl", *(["--user"] if user else []), "show", unit, "-p", ",".join(properties)).out
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def as_user(uid):
    return ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "env", f"XDG_RUNTIME_DIR=/run/user/{uid}",
            "HOME=/home/tester", "PATH=/usr/sbin:/usr/bin"]


class ContainerTest(unittest.TestCase):
    """Each test has a bundle of its own; its containers are gone when it ends, and so are their cgroups."""
    systemd = False
    uid = 0
    count = 0

    def setUp(self):
        ContainerTest.count += 1
        self.id = f"c{ContainerTest.count}"
        self.bundle = f"/mnt/{self.id}"
        self.root = f"/run/oci-{self.uid}"
        for name in ("bin", "proc", "dev", "sys", "tmp"):
            os.makedirs(f"{self.bundle}/rootfs/{name}")
        shutil.copy(f"{BIN}/busybox", f"{self.bundle}/rootfs/bin/busybox")
        os.symlink("busybox", f"{self.bundle}/rootfs/bin/sh")
        if self.uid:
            os.makedirs(self.root, exist_ok=True)
            os.chown(self.root, self.uid, self.uid)
            run("chown", "-R", f"{self.uid}:{self.uid}", self.bundle)
        self.addCleanup(self.clean)

    def clean(self):
        self.oci("delete", "--force", self.id)
        self.assertFalse(self.leftovers(), "cgroups of the container are left")
        shutil.rmtree(self.bundle)

    def leftovers(self):
        return [path for path, _, _ in os.walk(CGROUP) if path.endswith((f"/{self.id}", f"-{self.id}.scope"))]

    @property
    def cgroups_path(self):
        return f"machine-test.slice:vm:{self.id}" if self.systemd else f"/vm/{self.id}"

    @property
    def cgroup(self):
        if self.systemd:
            return f"{CGROUP}/machine.slice/machine-test.slice/vm-{self.id}.scope"
        return f"{CGROUP}/vm/{self.id}"

    def config(self, *args, resources=None, namespaces=("pid", "mount", "ipc", "uts", "cgroup"), **members):
        caps = ["CAP_MKNOD", "CAP_KILL", "CAP_CHOWN"]
        config = {
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {"args": ["/bin/busybox", *args], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
                        "capabilities": {name: caps for name in ("bounding", "effective", "permitted")}},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid"]}],
            "linux": {"cgroupsPath": self.cgroups_path, "namespaces": [{"type": name} for name in namespaces],
                      "resources": resources or {}},
        }
        config["linux"].update(members.pop("linux", {}))
        config.update(members)
        with open(f"{self.bundle}/config.json", "w", encoding="utf-8") as f:
            json.dump(config, f)

    def oci(self, *arguments):
        command = [OCI, "--root", self.root] + (["--systemd-cgroup"] if self.systemd else []) + list(arguments)
        return run(*(as_user(self.uid) if self.uid else []), *command)

    def must(self, *arguments):
        done = self.oci(*arguments)
        self.assertEqual(done.code, 0, f"{' '.join(arguments)}: {done}")
        return done.out

    def start(self, *args, **config):
        """A container that runs; without `args`, one that sleeps."""
        self.config(*(args or ("sleep", "1000")), **config)
        self.must("run", "--detach", "--bundle", self.bundle, self.id)

    def output(self, script, **config):
        """What a container prints that runs `script` to its end."""
        self.config("sh", "-c", script, **config)
        done = self.oci("run", "--bundle", self.bundle, self.id)
        return done.out + done.err

    def value(self, file):
        return read(f"{self.cgroup}/{file}")

    def state(self):
        return json.loads(self.must("state", self.id))
