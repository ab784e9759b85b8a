"""What all take part in: the daemon with its lives, the exits that were told, the findings."""
import collections
import random
import subprocess
import threading
import time

import agent
import harness

# gantryd answers in 20 ms. Under a sanitizer, or beside a build, everything is slower.
PATIENCE = harness.PATIENCE / 2
# From an exit to its event at a subscriber; longer than it can take unless the daemon dies meanwhile.
TELLING = 0.5
# Seconds are floating point here.
SAME = 1e-5


class Finding(Exception):
    """The daemon did what it may not."""


class Life:
    """One run of the daemon, in seconds of the wall clock, as exits are: spawned, events certainly arrive, killed."""

    def __init__(self):
        self.born, self.ready, self.killed = time.time(), float("inf"), float("inf")


class World:
    def __init__(self, folder, token, seed):
        self.folder, self.token, self.seed = folder, token, seed
        self.rng = random.Random(seed)
        self.daemon = harness.Daemon(folder, token)
        self.lives, self.findings, self.calls = [], [], collections.Counter()
        self.kills = 0  # of the daemon, counted before the signal leaves
        self.up = threading.Event()
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.seen = collections.defaultdict(list)  # (container, process, pid): [(life's number, exit status, time)]
        self.ended = collections.defaultdict(dict)  # the same: {time: exit status}, as Wait and Delete told it
        self.watchers = []

    def found(self, text):
        with self.lock:
            self.findings.append(f"instant {self.kills}: {text}")

    def agent(self):
        return agent.Agent([harness.BUILD + "/test/rpc-agent", self.daemon.socket, self.token, harness.RUNTIME])

    # ---- the daemon's lives -------------------------------------------------------------------------------

    def spawn(self):
        self.lives.append(Life())
        self.daemon.spawn()

    def await_ready(self):
        """Until a subscriber of this life surely gets every event."""
        life, number = self.lives[-1], len(self.lives)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.daemon.process.poll() is not None:
                raise Finding("the daemon ended:\n" + self.daemon.log_text()[-3000:])
            if self.watch(number):
                life.ready = time.time()
                self.up.set()
                return
            time.sleep(0.002)
        raise Finding(f"the daemon does not answer after {PATIENCE:.0f} s:\n" + self.daemon.log_text()[-3000:])

    def kill(self):
        if self.daemon.process.poll() is not None:
            raise Finding("the daemon ended by itself:\n" + self.daemon.log_text()[-3000:])
        self.up.clear()
        self.kills += 1
        self.lives[-1].killed = time.time()
        self.daemon.process.kill()
        self.daemon.process.wait()

    def stop(self):
        self.up.clear()
        self.daemon.stop()
        for watcher in self.watchers:
            watcher.wait(PATIENCE)

    # ---- exits --------------------------------------------------------------------------------------------

    def watch(self, number):
        """A subscriber for this life; False when it came too early."""
        watcher = subprocess.Popen(
            [harness.BUILD + "/test/rpc-agent", self.daemon.socket, self.token, harness.RUNTIME, "events"],
            stdout=subprocess.PIPE, text=True)
        ready, began = [], threading.Event()
        threading.Thread(target=self.collect, args=(watcher, number, ready, began), daemon=True).start()
        if not began.wait(PATIENCE):
            raise Finding(f"the daemon sends no events after {PATIENCE:.0f} s:\n" + self.daemon.log_text()[-3000:])
        if ready:
            self.watchers = [w for w in self.watchers if w.poll() is None] + [watcher]
        return bool(ready)

    def collect(self, watcher, number, ready, began):
        """Takes what the subscriber says until it ends; exits of a time without a daemon come before it is ready."""
        with watcher.stdout as lines:
            for line in lines:
                kind, *fields = line.rstrip("\n").split("\t")
                if kind == "exit":
                    exit = agent.process(fields)
                    with self.lock:
                        self.seen[exit.container, exit.id, exit.pid].append((number, exit.exit_status, exit.exited_at))
                elif kind == "ready":
                    ready.append(True)
                    began.set()
        watcher.wait()
        began.set()

    def has_ended(self, container, name, pid, status, when):
        with self.lock:
            self.ended[container, name, pid][when] = status

    def certain(self, when):
        """Whether an exit at that time must have been told to a subscriber exactly once: not when the daemon was killed
        just after, and not when the subscriber of its life had not come yet."""
        for life in self.lives:
            if life.killed > when:
                early = life.born <= when < life.ready
                return not early and max(when, life.ready) + TELLING < life.killed
        return False

    def judge_exits(self):
        """Exactly one event for each exit, with the code and time that Wait and Delete gave. The number certain to have
        one."""
        certain = 0
        for (container, name, pid), ends in self.ended.items():
            for when, status in ends.items():
                # Pids come round again: an event is known by its time, too.
                told = [(life, code) for life, code, at in self.seen.get((container, name, pid), [])
                        if abs(at - when) < SAME]
                what = f"exit of {name} in {container} (pid {pid}) at {when:.3f} with {status}"
                if any(code != status for _, code in told):
                    self.found(f"{what}: its events (life, code): {told}")
                if len({life for life, _ in told}) < len(told):
                    self.found(f"{what}: told twice in one life: {told}")
                if self.certain(when):
                    certain += 1
                    if len(told) != 1:
                        self.found(f"{what}: told {len(told)} times instead of once: {told}")
        return certain
