"""Where the real users of gantry-oci run: Debian's podman, buildah, dockerd and containerd, each test program in mount,
pid and network namespaces of its own.

So the machine's /run, /dev/shm, /etc/subuid and containers' directories stay as they are, every process that is left
can be seen, and none outlives the program. GANTRY_E2E_OCI puts another runtime (/usr/bin/crun) in gantry-oci's place:
what fails there too is a fault of the test, or of the machine.
"""
import os
import pty
import re
import secrets
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest
from fcntl import ioctl

import image
from harness import BIN, PATIENCE, alive, cgroups, describe, eventually, mounts

OCI = os.environ.get("GANTRY_E2E_OCI", os.path.join(BIN, "gantry-oci"))
PEER = not OCI.endswith("gantry-oci")
IMAGE = "localhost/busybox:latest"
# The user that rootless programs run as, and the ids that are its to map.
USER, USER_UID, FIRST_SUB, SUBS = "e2euser", 4242, 500000, 65536
# For a shell on a Terminal: says "33 101" once the size has reached it, which some clients send only after the start.
SIZE = "until stty size 2>/dev/null | grep '33 101'; do sleep 0.05; done"
V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def main():
    """unittest.main() in new namespaces; this program is their first process, and reaps."""
    if os.geteuid() != 0:
        print("skipped: only root may make namespaces, mounts and cgroups")
        return
    if os.environ.get("GANTRY_E2E_INSIDE") != "1":
        os.environ["GANTRY_E2E_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc",
                              sys.executable, "-B", *sys.argv])
    arrange()
    child = os.fork()
    if child == 0:
        unittest.main()
    while True:
        pid, status = os.wait()
        if pid == child:
            sys.exit(os.waitstatus_to_exitcode(status) or 0)


def arrange():
    """Private directories and users in place of the machine's."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # As a booted machine has it; nothing gets out, as these are peers of each other only.
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    for path, options in (("/run", "mode=755"), ("/dev/shm", "mode=1777"), ("/var/lib/cni", "mode=755")):
        os.makedirs(path, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "gantry-e2e", path], check=True)
    os.mkdir("/run/lock", 0o1777)
    os.mkdir("/run/etc")
    for name, line in (("passwd", f"{USER}:x:{USER_UID}:{USER_UID}::/run/home:/bin/sh"),
                       ("group", f"{USER}:x:{USER_UID}:"), ("subuid", f"{USER}:{FIRST_SUB}:{SUBS}\ncontainers:700000:{SUBS}"),
                       ("subgid", f"{USER}:{FIRST_SUB}:{SUBS}\ncontainers:700000:{SUBS}")):
        old = ""
        if os.path.exists("/etc/" + name):
            with open("/etc/" + name) as f:
                old = f.read()
        else:
            continue
        with open("/run/etc/" + name, "w") as f:
            f.write(old + line + "\n")
        subprocess.run(["mount", "--bind", "/run/etc/" + name, "/etc/" + name], check=True)


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            raise unittest.SkipTest(f"there is no {program}: cmd/setup test installs it")


class Terminal:
    """A command on a pseudo terminal."""

    def __init__(self, command, env, **kwargs):
        self.master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True,
                                        preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0), **kwargs)
        os.close(slave)
        self.seen = ""

    def expect(self, pattern):
        """Reads until the pattern has come; the match."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end():]
                return found
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.master, 65536).decode(errors="replace")
                except OSError:
                    break
        raise AssertionError(f"waited in vain for {pattern!r} on the terminal; it shows {self.seen!r}")

    def send(self, text):
        os.write(self.master, text.encode())

    def wait(self):
        code = self.process.wait(PATIENCE)
        os.close(self.master)
        return code


class UserCase(unittest.TestCase):
    """A class of tests with a folder, and a look afterwards at what is left in these namespaces."""
    programs = ()

    @classmethod
    def setUpClass(cls):
        need("/bin/busybox", *cls.programs)
        cls.token = "e2e-" + secrets.token_hex(4)
        cls.folder = tempfile.mkdtemp(prefix="gantry-e2e-")
        os.chmod(cls.folder, 0o755)
        cls.before = cls.processes()
        cls.addClassCleanup(cls.clean_up)
        cls.archive = image.two_layers(name="busybox:latest").write(cls.folder + "/busybox.tar")
        cls.start()

    @classmethod
    def start(cls):
        """Brings the program under test up; told by each subclass."""

    @classmethod
    def stop(cls):
        """Ends it in order."""

    @classmethod
    def processes(cls):
        return {int(pid) for pid in os.listdir("/proc") if pid.isdigit() and alive(pid)}

    @classmethod
    def left(cls):
        found = [describe(pid) for pid in cls.processes() - cls.before]
        # containers/storage and dockerd mount their own directories on themselves, dockerd its network namespace, and leave that so.
        found += ["mount " + path for path in mounts(cls.folder) if not re.search(r"/(overlay|vfs|data|root|netns/default)$", path)]
        # podman leaves its own cgroup, conmon's and those of its pods, whatever the runtime.
        found += ["cgroup " + path for path in cgroups(cls.token)
                  if not re.search(f"/{cls.token}(/conmon|/[0-9a-f]{{64}})?$", path)]
        return found

    @classmethod
    def clean_up(cls):
        cls.stop()
        problem = None
        try:
            eventually("nothing is left", lambda: not cls.left(), 10)
        except AssertionError:
            problem = cls.left()
        for pid in cls.processes() - cls.before:
            os.kill(pid, signal.SIGKILL)
        for path in sorted(mounts(cls.folder), reverse=True):
            subprocess.run(["umount", "-l", path])
        for path in sorted(cgroups(cls.token), reverse=True):
            try:
                os.rmdir(path)
            except OSError:
                pass
        if os.environ.get("GANTRY_E2E_KEEP") != "1":
            shutil.rmtree(cls.folder, ignore_errors=True)
        if problem:
            raise AssertionError("left behind: " + "; ".join(problem))

    def ok(self, result):
        self.assertEqual(result.code, 0, result)
        return result.out

    def only_on(self, condition, what):
        if not condition:
            self.skipTest(what)


def cgroup_value(pid, controller, v1_name, v2_name):
    """What a file of the process's cgroup says, in whichever version has the controller."""
    with open(f"/proc/{pid}/cgroup") as f:
        lines = [line.rstrip("\n").split(":", 2) for line in f]
    for _, names, path in lines:
        if controller in names.split(","):
            base, name = "/sys/fs/cgroup/" + names, v1_name
            break
    else:
        path, base, name = next(line[2] for line in lines if line[0] == "0"), "/sys/fs/cgroup", v2_name
    with open(base + path + "/" + name) as f:
        return f.read().strip()


def status_of(pid, field):
    with open(f"/proc/{pid}/status") as f:
        return next(line.split(":", 1)[1].strip() for line in f if line.startswith(field + ":"))
