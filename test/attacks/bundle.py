"""What every attack on the OCI runtime stands on: a bundle in a directory of its own, a host file that must stay as it
is, and a check that nothing is left behind.

GANTRY_BUILD names the build directory. GANTRY_ATTACKS_KERNEL=old has the runtime see an older kernel. GANTRY_ATTACKS_RUNTIME puts another runtime (runc, crun) in gantry-oci's place: a
test that none of them fails may be unable to fail.
"""
import array
import hashlib
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("GANTRY_BUILD", os.path.join(HERE, "..", "..", "build")))
RUNTIME = os.environ.get("GANTRY_ATTACKS_RUNTIME", os.path.join(BUILD, "bin", "gantry-oci"))
PROBE = os.path.join(BUILD, "test", "attack_probe")
BUSYBOX = "/bin/busybox"
SLOW = 8 if os.environ.get("GANTRY_SANITIZE") else 1  # sanitizers make everything slower

CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
                "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
                "CAP_AUDIT_WRITE"]
PROC = {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}
DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]}
PTS = {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
       "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}


def default_config():
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "env": ["PATH=/bin"], "cwd": "/",
            "capabilities": {name: list(CAPABILITIES) for name in ("bounding", "effective", "permitted")},
            "noNewPrivileges": True},
        "root": {"path": "rootfs"},
        "hostname": "attacked",
        "mounts": [dict(PROC), dict(DEV), dict(PTS)],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "maskedPaths": ["/proc/kcore", "/proc/keys"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"]}}


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit {self.code}\nstdout: {self.out[:4000]}\nstderr: {self.err[:4000]}"


def tree(path):
    """All that can be told of a directory: names, kinds, modes, owners, contents."""
    found = {}
    for folder, folders, files in os.walk(path):
        for name in folders + files + ["."]:
            full = os.path.join(folder, name)
            st = os.lstat(full)
            text = ""
            if os.path.islink(full):
                text = os.readlink(full)
            elif os.path.isfile(full):
                with open(full, "rb") as f:
                    text = hashlib.sha256(f.read()).hexdigest()
            found[full] = (st.st_mode, st.st_uid, st.st_gid, text)
    return found


def cgroups(token):
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if token in path]


class AttackCase(unittest.TestCase):
    """One bundle (self.dir, self.config, self.root) and one directory of the host (self.host) a test."""

    # Whether the runtime sees a kernel like Linux 5.7, without what came later.
    old_kernel = os.environ.get("GANTRY_ATTACKS_KERNEL") == "old"

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("only root may make namespaces, mounts and cgroups")
        if not os.access(BUSYBOX, os.X_OK):
            self.skipTest("there is no /bin/busybox: cmd/setup test installs it")
        self.dir = tempfile.mkdtemp(prefix="gantry-attack-")
        os.chmod(self.dir, 0o755)
        self.id = "attack-" + secrets.token_hex(4)
        self.addCleanup(self.clean_up)
        self.root, self.host, self.state = self.dir + "/rootfs", self.dir + "/host", self.dir + "/state"
        for name in ("bin", "proc", "dev", "sys", "etc", "data", "tmp"):
            os.makedirs(f"{self.root}/{name}")
        os.mkdir(self.host)
        self.secret = "secret-" + secrets.token_hex(8)
        self.write(self.host + "/canary", self.secret + "\n")
        shutil.copy(BUSYBOX, self.root + "/bin/busybox")
        shutil.copy(PROBE, self.root + "/bin/probe")
        for name in ("sh", "cat", "ls", "true", "sleep", "id", "echo", "mknod", "grep", "readlink", "touch", "head", "stat"):
            os.symlink("busybox", f"{self.root}/bin/{name}")
        self.config = default_config()
        self.config["linux"]["cgroupsPath"] = "/" + self.id
        self.before = tree(self.host)

    def clean_up(self):
        self.runtime("delete", "--force", self.id)
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        left = [line for line in self.mounts()] + cgroups(self.id)
        for path in sorted(self.mounts(), reverse=True):
            subprocess.run(["umount", "-l", path])
        for path in sorted(cgroups(self.id), reverse=True):
            try:
                os.rmdir(path)
            except OSError:
                pass
        untouched = tree(self.host) == self.before
        shutil.rmtree(self.dir, ignore_errors=True)
        self.assertEqual(left, [], "left behind")
        self.assertTrue(untouched, "the host's directory was changed")

    def processes(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cgroup") as f:
                    if self.id in f.read():
                        found.append(int(pid))
            except OSError:
                pass
        return found

    def mounts(self):
        with open("/proc/self/mountinfo") as f:
            return [line.split()[4] for line in f if self.dir in line.split()[4]]

    @staticmethod
    def write(path, text, mode=0o644):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)

    def save(self):
        with open(self.dir + "/config.json", "w") as f:
            json.dump(self.config, f)

    def command(self, *args):
        wrapper = [PROBE, "old-kernel"] if self.old_kernel else []
        return [*wrapper, RUNTIME, "--root", self.state, *args]

    def runtime(self, *args, timeout=30, **kwargs):
        process = subprocess.Popen(self.command(*args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, **kwargs)
        try:
            out, err = process.communicate(timeout=timeout * SLOW)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise AssertionError(f"hangs: {args}")
        return Result(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def run_container(self, *script, **kwargs):
        """Runs the container to its end, with `script` for its shell if given."""
        if script:
            self.config["process"]["args"] = ["/bin/sh", "-c", "\n".join(script)]
        self.save()
        result = self.runtime("run", "--bundle", self.dir, self.id, **kwargs)
        if result.code != 0:
            self.runtime("delete", "--force", self.id)
        return result

    def ok(self, result):
        self.assertEqual(result.code, 0, result)
        return result.out

    def refused(self, result, *words):
        """The runtime said no, in one line, and nothing of the container is there."""
        self.assertNotEqual(result.code, 0, result)
        for word in words:
            self.assertIn(word, result.err)
        self.assertEqual(self.runtime("state", self.id).code, 1, "a refused container exists")
        self.assertEqual(self.processes(), [])

    def detached(self, *args):
        """Starts the container; its standard output is the file self.output."""
        self.config["process"]["args"] = list(args)
        self.save()
        self.output = self.dir + "/output"
        with open(self.output, "wb") as out:
            done = subprocess.run(self.command("run", "--detach", "--bundle", self.dir, self.id),
                                  stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=30 * SLOW)
        self.assertEqual(done.returncode, 0, self.output_text())

    def output_text(self):
        with open(self.output, errors="replace") as f:
            return f.read()

    def output_has(self, text):
        return self.eventually(lambda: text in self.output_text(), f"{text!r} in the output")

    def eventually(self, condition, what, seconds=20):
        end = time.monotonic() + seconds * SLOW
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            time.sleep(0.01)
        raise AssertionError("waited in vain: " + what)

    def exec(self, *args, **kwargs):
        options = kwargs.pop("options", ())
        return self.runtime("exec", *options, self.id, *args, **kwargs)

    def no_secret(self, result):
        self.assertNotIn(self.secret, result.out + result.err, "a file of the host was read")

    def run_with_terminal(self, *script):
        """Runs with process.terminal; what came out of the terminal, or None if it was refused."""
        self.config["process"]["terminal"] = True
        self.config["process"]["args"] = ["/bin/sh", "-c", "\n".join(script)]
        self.save()
        path = f"{self.dir}/console-{secrets.token_hex(4)}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(path)
            server.listen(1)
            server.settimeout(30 * SLOW)
            created = self.runtime("create", "--bundle", self.dir, "--console-socket", path, self.id)
            if created.code != 0:
                self.runtime("delete", "--force", self.id)
                self.refusal = created
                return None
            connection, _ = server.accept()
            with connection:
                fds = array.array("i")
                _, control, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(16))
                for _, _, data in control:
                    fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
        self.ok(self.runtime("start", self.id))
        text = b""
        try:
            while True:
                if not select.select([fds[0]], [], [], 10 * SLOW)[0]:
                    text += b"(and nothing more for ten seconds)"
                    break
                part = os.read(fds[0], 4096)
                if not part:
                    break
                text += part
        except OSError:  # EIO: the last slave is closed
            pass
        for fd in fds:
            os.close(fd)
        self.runtime("delete", "--force", self.id)
        return text.decode(errors="replace")

    def swapping(self, a, b):
        """Exchanges two names as fast as the kernel can, until the test ends."""
        process = subprocess.Popen([PROBE, "swap", a, b], stdin=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process


def is_ours():
    return os.path.basename(RUNTIME) == "gantry-oci"
