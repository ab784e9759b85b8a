"""The kill loop over tasks; see `loop`'s callers in test/torture, and README.md."""
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import harness
import image
import leaks
import model
from worker import Worker
from world import PATIENCE, Finding, World

SHIMS = ("containerd-shim-gantry-v2", "containerd-shim-runc-v2")


class ShimKill:
    """What was killed with a shim: filled in, then `done`."""

    def __init__(self, container, event):
        self.pid, self.started_at, self.time, self.done = container.pid, container.started_at, time.time(), event


def shim_processes(token):
    """{container: pid} of the shims that run now."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if os.path.basename(words[0]) in SHIMS and "-id" in words and words[words.index("-namespace") + 1] == token:
            found[words[words.index("-id") + 1]] = int(pid)
    return found


class Torture:
    def __init__(self, options):
        self.options = options
        self.token = "torture-" + secrets.token_hex(4)
        self.folder = tempfile.mkdtemp(prefix="gantry-torture-")
        os.makedirs(self.folder + "/logs")
        self.world = World(self.folder, self.token, options.seed)
        self.rng, self.workers = self.world.rng, []
        self.kills = {"daemon": 0, "shim": 0, "workload": 0, "daemon while it starts": 0}

    # ---- before and after ---------------------------------------------------------------------------------

    def prepare(self):
        """The image, and what there is before the first container."""
        archive = image.busybox(self.folder + "/image")
        daemon = self.world.daemon
        daemon.start()
        imported = harness.run([harness.BIN + "/gantry", "-a", daemon.socket, "-n", self.token, "image", "import",
                                "--name", harness.IMAGE, archive.path])
        if imported.code != 0:
            raise Finding(f"the image cannot be imported: {imported}")
        daemon.stop()
        self.parent = archive.chain_id
        self.baseline = leaks.Baseline(harness.BUILD, self.token, self.folder)

    def start_workers(self):
        self.workers = [Worker(self.world, i, self.options.containers, self.parent)
                        for i in range(self.options.clients)]
        for worker in self.workers:
            worker.start()

    def drain(self):
        """Every container is removed by its client; then what the daemon still holds is compared with its start."""
        pid = self.world.daemon.process.pid
        for worker in self.workers:
            worker.draining = True
        end = time.monotonic() + 4 * PATIENCE
        for worker in self.workers:
            worker.join(max(0.1, end - time.monotonic()) if not self.world.findings else 1)
            if worker.is_alive() and not self.world.findings:
                self.world.found(f"a client does not come to its end: {[vars(c) for c in worker.containers]}")
        self.world.stopping.set()
        if not self.world.findings:
            self.compare_daemon(pid)

    def compare_daemon(self, pid):
        def left():
            now = leaks.descriptors(pid)
            shims = [name for name in now if "/s/" in name or self.token in name]
            pidfds = [name for name in now if name == "anon_inode:[pidfd]"]
            return shims + pidfds + leaks.zombies(pid)

        try:
            harness.eventually("the daemon holds nothing of its containers", lambda: not left(), 10)
        except AssertionError:
            self.world.findings += [f"the daemon still holds {name}" for name in left()]

    def report(self):
        """What is left, after the little time that shims may take to end."""
        try:
            harness.eventually("nothing is left", lambda: not self.baseline.report(), 10)
        except AssertionError:
            pass
        return self.baseline.report()

    def sweep(self):
        for pid in harness.own_processes(self.token, self.folder):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for path in sorted(harness.mounts(self.folder), reverse=True):
            subprocess.run(["umount", "-l", path])
        for path in sorted(harness.cgroups(self.token), reverse=True):
            try:
                harness.eventually(f"{path} can be removed", lambda: remove(path), 2)
            except AssertionError:
                print(f"test/torture: {path} stays", flush=True)
        if not self.options.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    # ---- kills --------------------------------------------------------------------------------------------

    def all_containers(self):
        return [c for worker in self.workers for c in worker.containers]

    def kill_workload(self):
        """A container's init, from the host."""
        running = [c for c in self.all_containers() if c.stage == "running" and c.code is None and not c.killed]
        if not running:
            return
        container = self.rng.choice(running)
        with container.lock:
            alive = container.stage == "running" and model.start_time(container.pid) == container.started_at
            if alive and container.started_at is not None and not container.killed:
                container.killed = container.surely_killed = True
                os.kill(container.pid, signal.SIGKILL)
                self.kills["workload"] += 1

    def kill_shims(self, count):
        shims = list(shim_processes(self.token).items())
        by_name = {c.id: c for c in self.all_containers()}
        for name, pid in self.rng.sample(shims, min(count, len(shims))):
            container, done = by_name[name], threading.Event()
            with container.lock:
                kill = container.shim_kill = ShimKill(container, done)
            try:
                os.kill(pid, signal.SIGKILL)
                self.kills["shim"] += 1
                harness.eventually("the shim is dead", lambda: not harness.alive(pid), 5)
            except ProcessLookupError:
                pass
            kill.time = time.time()
            done.set()

    def instant(self):
        """One random instant, from a daemon that runs to a daemon that runs."""
        kind = self.rng.choices(("daemon", "shims", "both"), (6, 2, 2))[0] if self.options.kill == "both" else \
            self.options.kill
        time.sleep(self.rng.uniform(0, self.rng.choice([0.6, 0.6, 1.5])))
        if self.rng.random() < 0.5:
            self.kill_workload()
        if kind in ("shims", "both"):
            self.kill_shims(self.rng.randrange(1, 4))
        if kind == "shims":
            return
        time.sleep(self.rng.choice([0, 0, 0.002, 0.01, 0.05]))
        self.world.kill()
        self.kills["daemon"] += 1
        time.sleep(self.rng.choice([0, 0, self.rng.uniform(0, 0.3)]))
        if self.rng.random() < 0.5:
            self.kill_workload()
        if kind == "both" and self.rng.random() < 0.3:
            self.kill_shims(1)
        self.world.spawn()
        while self.rng.random() < 0.15:
            time.sleep(self.rng.uniform(0, 0.06))
            self.world.kill()
            self.kills["daemon while it starts"] += 1
            self.world.spawn()
        self.world.await_ready()

    def loop(self):
        self.world.spawn()
        self.world.await_ready()
        self.start_workers()
        for i in range(self.options.instants):
            self.instant()
            if self.world.findings:
                break
            if (i + 1) % 50 == 0:
                print(f"  {i + 1} instants, {sum(self.world.calls.values())} calls answered", flush=True)
        self.drain()
        self.world.stop()


def remove(path):
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


def show_log(log, finding):
    """What the daemon's log last says of the container that a finding is about, and of its lives."""
    named = re.search(r"\bc\d+-\d+\b", finding)
    if named:
        lines = [line for line in log.splitlines() if f"id={named[0]}" in line.split() or line.endswith("/" + named[0]) or 'msg="serving"' in line]
        print("".join(f"    {line}\n" for line in lines[-15:]), end="")


def run(options):
    """The exit status."""
    started = time.monotonic()
    print(f"test/torture tasks {options.instants} --seed {options.seed} --kill {options.kill}", flush=True)
    torture, left = Torture(options), None
    world = torture.world
    try:
        torture.prepare()
        torture.loop()
        left = torture.report()
    except Finding as finding:
        world.found(str(finding))
    finally:
        world.stopping.set()
        if world.daemon.process is not None and world.daemon.process.poll() is None:
            world.daemon.stop()
        log = world.daemon.log_text()
        torture.sweep()
    certain = world.judge_exits()
    for name, count in torture.kills.items():
        print(f"  killed: {name}: {count}")
    print(f"  calls answered: {', '.join(f'{verb} {count}' for verb, count in sorted(world.calls.items()))}")
    print(f"  exits: {sum(map(len, world.ended.values()))} told by Wait or Delete, {certain} of them certain to have exactly one event")
    for finding in world.findings:
        print("FOUND " + finding)
        show_log(log, finding)
    if world.findings:
        left = None  # a client that found something left its containers as they were
    print("leak report: " + ("not made" if left is None else "nothing is left" if not left else ""))
    for item in left or []:
        print("  LEFT " + item)
    bad = bool(world.findings or left or left is None)
    print(f"test/torture: {'FAILED' if bad else 'passed'} after {time.monotonic() - started:.0f} s", flush=True)
    return 1 if bad else 0
