"""What every end-to-end test stands on: a daemon of its own in a private directory, its clients, and a check that
nothing is left behind.

GANTRY_BUILD names the build directory. GANTRY_E2E_DAEMON and GANTRY_E2E_RUNTIME put another daemon and runtime
(Debian's containerd, io.containerd.runc.v2) in Gantry's place, to tell a fault of the tests from one of ours.
"""
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import image

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("GANTRY_BUILD", os.path.join(HERE, "..", "..", "build"))
BIN = os.path.join(os.path.abspath(BUILD), "bin")
DAEMON = os.environ.get("GANTRY_E2E_DAEMON", os.path.join(BIN, "gantryd"))
RUNTIME = os.environ.get("GANTRY_E2E_RUNTIME", "io.containerd.gantry.v2")
OURS = DAEMON.endswith("gantryd")
# Sanitizers make everything slower; limits of time are generous for all, as only a failure waits for them.
PATIENCE = float(os.environ.get("GANTRY_E2E_PATIENCE", "60"))
IMAGE = "busybox:latest"


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit {self.code}\nstdout: {self.out}\nstderr: {self.err}"


def run(command, stdin=None, env=None):
    """Runs a command to its end; its output as text."""
    feed = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE * 2, env=env, text=True, errors="replace",
                          **feed)
    return Result(done.returncode, done.stdout, done.stderr)


def eventually(what, condition, patience=None):
    """The first true value of `condition`; fails, saying `what`, when that takes too long."""
    end = time.monotonic() + (patience or PATIENCE)
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited in vain: {what}")


def alive(pid):
    """Whether the process runs: a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Daemon:
    """A daemon with a root, state and socket below `folder`."""

    def __init__(self, folder, token):
        self.folder, self.token, self.process = folder, token, None
        self.root, self.state = folder + "/root", folder + "/state"
        self.socket, self.log, self.config = folder + "/c.sock", folder + "/daemon.log", folder + "/config.toml"
        with open(self.config, "w") as f:
            f.write("version = 2\n")
            if not OURS:
                f.write(f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[ttrpc]\naddress = "{folder}/t.sock"\n')

    def command(self):
        return [DAEMON, "--config", self.config, "--root", self.root, "--state", self.state, "--address", self.socket]

    def spawn(self):
        env = dict(os.environ, GANTRY_E2E_TOKEN=self.token, PATH=BIN + ":" + os.environ["PATH"])
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)

    def start(self):
        self.spawn()
        eventually("the daemon answers", self.ready)

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError("the daemon ended:\n" + self.log_text()[-3000:])
        return run([BIN + "/gantry", "-a", self.socket, "version"]).code == 0

    def stop(self, how=signal.SIGTERM):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(PATIENCE)

    def restart(self, how=signal.SIGKILL):
        self.stop(how)
        self.start()

    def log_text(self):
        with open(self.log, errors="replace") as f:
            return f.read()


def own_processes(token, folder):
    """Processes that carry the token (environment, cgroup) or name the folder, without this one."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        try:
            text = b""
            for name in ("environ", "cmdline", "cgroup"):
                with open(f"/proc/{pid}/{name}", "rb") as f:
                    text += f.read()
            if (token.encode() in text or folder.encode() in text) and alive(pid):
                found.append(int(pid))
        except OSError:
            pass
    return found


def describe(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f"process {pid}: " + f.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return f"process {pid}, just gone"


def cgroups(token):
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if token in path]


def mounts(folder):
    with open("/proc/self/mountinfo") as f:
        return [line.split()[4] for line in f if folder in line]


def leftovers(token, folder):
    """What a daemon that was stopped in order has left of its containers."""
    left = [describe(pid) for pid in own_processes(token, folder)]
    left += ["mount " + path for path in mounts(folder)]
    # The namespace's own cgroup may stay, as it does with containerd; the containers' may not.
    left += ["cgroup " + path for path in cgroups(token) if not path.endswith("/" + token)]
    with open("/proc/net/unix") as f:
        left += ["socket " + line.split()[-1] for line in f if folder in line]
    return left


class DaemonCase(unittest.TestCase):
    """A class of tests that share one daemon and one image, and whose namespace is their own."""

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("only root may make namespaces, mounts and cgroups")
        if not os.access("/bin/busybox", os.X_OK):
            raise unittest.SkipTest("there is no /bin/busybox: cmd/setup test installs it")
        cls.ns = cls.token = "e2e-" + secrets.token_hex(4)
        cls.folder = tempfile.mkdtemp(prefix="gantry-e2e-")
        cls.env = dict(os.environ, GANTRY_E2E_TOKEN=cls.token, GANTRY_LOGS_DIR=cls.folder + "/logs",
                       XDG_RUNTIME_DIR=cls.folder)
        cls.daemon = Daemon(cls.folder, cls.token)
        cls.archive = image.two_layers(name=IMAGE).write(cls.folder + "/busybox.tar")
        cls.addClassCleanup(cls.clean_up)
        cls.daemon.start()
        imported = cls.gantry("image", "import", cls.archive.path)
        if imported.code != 0:
            raise AssertionError(f"the image could not be imported: {imported}\n" + cls.daemon.log_text()[-3000:])

    @classmethod
    def clean_up(cls):
        """Removes all containers through the API, stops the daemon, and then looks for what is left."""
        problem = None
        if cls.daemon.process is not None and cls.daemon.process.poll() is None:
            for name in cls.gantry("ps", "-aq").out.split():
                cls.gantry("rm", "-f", name)
            cls.daemon.stop()
            try:
                eventually("nothing is left", lambda: not leftovers(cls.token, cls.folder), 10)
            except AssertionError:
                problem = leftovers(cls.token, cls.folder)
        for pid in own_processes(cls.token, cls.folder):
            os.kill(pid, signal.SIGKILL)
        for path in sorted(mounts(cls.folder), reverse=True):
            subprocess.run(["umount", "-l", path])
        for path in sorted(cgroups(cls.token), reverse=True):
            try:
                os.rmdir(path)
            except OSError:
                pass
        log = cls.daemon.log_text() if os.path.exists(cls.daemon.log) else ""
        if os.environ.get("GANTRY_E2E_KEEP") != "1":
            shutil.rmtree(cls.folder, ignore_errors=True)
        if problem:
            raise AssertionError("left behind: " + "; ".join(problem))
        for mark in ("AddressSanitizer", "ThreadSanitizer", "runtime error:"):
            if mark in log:
                raise AssertionError("the daemon's log holds a sanitizer's report:\n" + log[log.index(mark):][:4000])

    # ---- clients ------------------------------------------------------------------------------------------

    @classmethod
    def gantry_command(cls, *args):
        return [BIN + "/gantry", "-a", cls.daemon.socket, "-n", cls.ns, *cls.with_runtime(args)]

    @staticmethod
    def with_runtime(args):
        if OURS or not args or args[0] != "run" or "--runtime" in args:
            return args
        return ("run", "--runtime", RUNTIME, *args[1:])

    @classmethod
    def gantry(cls, *args, stdin=None):
        return run(cls.gantry_command(*args), stdin=stdin, env=cls.env)

    @classmethod
    def ctr(cls, *args):
        return run(["ctr", "--address", cls.daemon.socket, "--namespace", cls.ns, *args], env=cls.env)

    def ok(self, result):
        """The standard output of a command that must have succeeded."""
        self.assertEqual(result.code, 0, f"{result}\nthe daemon's log ends:\n{self.daemon.log_text()[-2000:]}")
        return result.out

    def run_ok(self, *args, **kwargs):
        return self.ok(self.gantry(*args, **kwargs))

    def inspect(self, name):
        return json.loads(self.run_ok("inspect", name))[0]

    def detached(self, name, *command, flags=()):
        """A detached container, removed after the test; its pid."""
        self.addCleanup(self.gantry, "rm", "-f", name)
        self.run_ok("run", "-d", "--name", name, *flags, IMAGE, *command)
        return self.inspect(name)["pid"]

    def assert_failure(self, result, code, what, why, hint=""):
        """Three lines on standard error (what, why, what to do next), and the exit code."""
        self.assertEqual(result.code, code, result)
        lines = result.err.rstrip("\n").split("\n")
        self.assertEqual(len(lines), 3, result)
        self.assertIn(what, lines[0])
        self.assertTrue(lines[1].startswith("  why:  "), result)
        self.assertIn(why, lines[1])
        self.assertTrue(lines[2].startswith("  next: ") and len(lines[2]) > 12, result)
        self.assertIn(hint, lines[2])
