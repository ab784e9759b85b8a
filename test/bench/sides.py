"""What the benchmarks of daemons share: Gantry and Debian's containerd on this machine, in one run.

Both run from private copies of their programs, with roots on a private tmpfs, inside a mount namespace that ends with
the run.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import image  # noqa: E402  (shared with the end-to-end tests)

# runc keeps its state by namespace below /run, whatever the daemon: one of our own meets nobody else's.
NAMESPACE = f"gantry-bench-{os.getpid()}"
IMAGE = "bench:latest"


class Side:
    """One daemon, its runtime, and where its private copy lies."""

    def __init__(self, name, work, programs, daemon, runtime, config):
        self.name, self.runtime = name, runtime
        self.dir = os.path.join(work, name)
        self.bin = os.path.join(self.dir, "bin")
        os.makedirs(self.bin)
        for program in programs:
            shutil.copy2(program, self.bin)
        self.socket = os.path.join(self.dir, "c.sock")
        with open(os.path.join(self.dir, "config.toml"), "w") as f:
            f.write(config.format(dir=self.dir))
        self.env = dict(os.environ, PATH=self.bin + ":" + os.environ["PATH"])
        self.log = open(os.path.join(self.dir, "log"), "w")
        self.command = [os.path.join(self.bin, daemon), "--config", self.dir + "/config.toml", "--root",
                        self.dir + "/root", "--state", self.dir + "/state", "--address", self.socket]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log, env=self.env)

    def for_client(self):
        """As rpc-life wants it."""
        return f"{self.name}={self.socket},{self.runtime}"

    def ctr(self, *args):
        return ["ctr", "--address", self.socket, "--namespace", NAMESPACE, *args]

    def wait_ready(self):
        for _ in range(200):
            if subprocess.run(self.ctr("version"), capture_output=True).returncode == 0:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        sys.exit(f"{self.name}: the daemon does not answer:\n" + open(self.dir + "/log").read()[-2000:])

    def shims(self):
        """Pids of the shims, known by their program's path."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.path.dirname(os.readlink(f"/proc/{pid}/exe")) == self.bin and int(pid) != self.process.pid:
                    found.append(int(pid))
            except OSError:
                pass
        return found


def both(work, build):
    """Debian's containerd with runc, without CRI, which costs it memory and time that we don't spend yet either; and
    Gantry."""
    ours = [build + "/bin/" + p for p in ("gantryd", "containerd-shim-gantry-v2", "gantry-oci")]
    theirs = [shutil.which(p) for p in ("containerd", "containerd-shim-runc-v2", "runc")]
    quiet = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[ttrpc]\naddress = "{dir}/t.sock"\n'
    yield Side("containerd", work, theirs, "containerd", "io.containerd.runc.v2", quiet)
    yield Side("gantry", work, ours, "gantryd", "io.containerd.gantry.v2", "version = 3\n")


def rpc(build, what, sides, *flags):
    """{side: {step: [ms]}} of rpc-life."""
    done = subprocess.run([build + "/test/rpc-life", what, *[side.for_client() for side in sides], "--namespace",
                           NAMESPACE, *map(str, flags)], stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"rpc-life {what} failed")
    return json.loads(done.stdout)


def import_image(build, sides, archive):
    for side in sides:
        side.wait_ready()
        subprocess.run([build + "/bin/gantry", "-a", side.socket, "-n", NAMESPACE, "image", "import", "--name", IMAGE,
                        archive.path], check=True, stdout=subprocess.DEVNULL)


def timed(command, out=subprocess.PIPE):
    """ms of a command that must succeed."""
    start = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE)
    took = (time.perf_counter() - start) * 1000
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.decode()[-1000:]}")
    return took


def in_turns(rounds, names, run):
    """{name: [ms]} of run(name, round), the order of the names reversed every other round."""
    times = {name: [] for name in names}
    for i in range(rounds):
        for name in names if i % 2 == 0 else reversed(names):
            times[name].append(run(name, i))
    return times


class Report:
    def __init__(self):
        self.rows, self.data = [], {}

    def add(self, name, unit, theirs, ours, goal, limit):
        """`limit` is the most that ours/theirs (or ours alone, if it is a text such as "1 MB") may be."""
        ratio = ours / theirs if theirs else float("nan")
        met = ratio <= limit if not isinstance(limit, str) else ours <= float(limit.split()[0])
        asked = limit if isinstance(limit, str) else f"{limit} x"
        self.rows.append((name, f"{theirs:.2f} {unit}", f"{ours:.2f} {unit}", f"{ratio:.3f} x", asked, goal,
                          "yes" if met else "NO"))
        self.data[name] = {"theirs": theirs, "ours": ours, "ratio": ratio, "limit": asked, "goal": goal, "met": met}

    def note(self, name, unit, theirs, ours):
        self.rows.append((name, f"{theirs:.2f} {unit}", f"{ours:.2f} {unit}", f"{ours / theirs:.3f} x", "", "", ""))

    def show(self):
        head = ("", "containerd+runc", "gantry", "ratio", "at most", "goal", "met")
        rows = [head, *self.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def p99(values):
    return sorted(values)[max(0, -(-99 * len(values) // 100) - 1)]


def arguments(doc, rounds):
    """The options that all of them have, for a user who may do all this."""
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(here, "..", "..", "build"))
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", help="write the figures to this file, too")
    return parser


def run(options, size, measure, disk=None):
    """measure(options, work, sides, archive, report) on a private tmpfs, or below `disk`; the exit status."""
    options.build = os.path.abspath(options.build)
    if os.geteuid() != 0:
        sys.exit("test/bench: only root may make namespaces, mounts and cgroups: run it as root")
    for program in ("containerd", "ctr", "runc", "crun"):
        if shutil.which(program) is None:
            sys.exit(f"test/bench: there is no {program}: cmd/setup bench installs it")
    enter_private_mounts()
    work = f"{disk or '/tmp'}/gantry-bench-{os.getpid()}"
    os.makedirs(work)
    if disk is None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + size, "gantry-bench", work], check=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sides, report = [], Report()
    try:
        archive = image.busybox(work + "/image")
        sides += both(work, options.build)
        import_image(options.build, sides, archive)
        measure(options, work, sides, archive, report)
        report.show()
        if options.json:
            with open(options.json, "w") as f:
                json.dump(report.data, f, indent=2)
    finally:
        for side in sides:
            side.process.terminate()
            side.process.wait()
            for pid in side.shims():
                os.kill(pid, signal.SIGKILL)
        if disk is None:
            subprocess.run(["umount", "-l", work])
            os.rmdir(work)
        else:
            shutil.rmtree(work)
        remove_traces()
    return 0 if all(row["met"] for row in report.data.values()) else 1


def remove_traces():
    """The namespace's own cgroups and runc's directory for it, all empty by now; both daemons' shims leave them."""
    found = subprocess.run(["find", "/sys/fs/cgroup", "-depth", "-type", "d", "-path", f"*{NAMESPACE}*"],
                           capture_output=True, text=True).stdout.split()
    for path in [*found, "/run/containerd/runc/" + NAMESPACE]:
        try:
            os.rmdir(path)
        except OSError:
            pass


def enter_private_mounts():
    """Runs this program again in a mount namespace of its own, so that no mount can outlive it."""
    if os.environ.get("GANTRY_BENCH_INSIDE") != "1":
        os.environ["GANTRY_BENCH_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])
