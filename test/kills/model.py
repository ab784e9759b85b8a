"""What a client knows of its containers, and what may therefore be true of them.

A container of the model goes through stages, one call each:

    none ─prepare─► prepared ─record─► recorded ─create─► created ─start─► running ─wait─► stopped
      ◄─unprepare──          ◄─unrecord─        ◄──────────────────────delete────────────────┘

A call that was answered moved the container; one that was under way when the daemon was killed may have (`maybe`).
"""
import collections
import os
import threading

import harness

STAGES = ("none", "prepared", "recorded", "created", "running", "stopped")
# What a call leads to; kill, exec and state lead nowhere.
LEADS = {"prepare": "prepared", "unprepare": "none", "record": "recorded", "unrecord": "prepared",
         "create": "created", "start": "running", "wait": "stopped", "delete": "recorded"}
KILLED = 137

Reality = collections.namedtuple("Reality", "snapshot record task")


def start_time(pid):
    """Of a process that lives, else None: with the pid it names a process for good."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def describe(pid):
    """Where in the kernel a process is, and whose it is."""
    told = []
    for name in ("status", "wchan", "stack", "cgroup"):
        try:
            with open(f"/proc/{pid}/{name}") as f:
                lines = f.read().splitlines()
        except OSError:
            continue
        wanted = ("Name", "State", "PPid", "SigPnd", "ShdPnd") if name == "status" else ("",)
        told += [line for line in lines if line.startswith(wanted)][:12]
    return f"{pid}: " + "; ".join(told)


class Container:
    """Changed by its worker; by the one who kills only under `lock`."""

    def __init__(self, name):
        self.id, self.lock = name, threading.Lock()
        self.stage, self.maybe, self.execs = "none", None, 0
        self.forget_task()
        self.args, self.code = [], None

    def forget_task(self):
        # `killed`: it may have been; `surely_killed`: the kernel was told.
        self.pid, self.started_at, self.killed, self.surely_killed = 0, None, False, False
        self.shim_kill = None  # a ShimKill, once somebody did

    # ---- programs -----------------------------------------------------------------------------------------

    def choose_program(self, rng):
        """`code` is None for what runs until it is killed."""
        self.code = None if rng.random() < 0.6 else rng.randrange(1, 100)
        if self.code is None:
            self.args = ["sleep", "100000"]
        else:
            self.args = ["sh", "-c", f"usleep {rng.randrange(0, 300000)}; exit {self.code}"]

    def codes(self):
        """The exit codes that this task may end with, now."""
        allowed = set() if self.code is None or self.stage == "created" and self.maybe != "start" else {self.code}
        if self.stage == "created" and "gantry" not in harness.RUNTIME:
            allowed.add(0)  # what runc's shim says of an init that it killed before its start
        return allowed | ({KILLED} if self.killed else set())

    # ---- moves --------------------------------------------------------------------------------------------

    def move(self, call):
        with self.lock:
            self.maybe = None
            self.stage = LEADS.get(call, self.stage)
            if call in ("delete", "unrecord"):
                self.forget_task()

    def learn(self, pid):
        self.pid, self.started_at = pid, start_time(pid)

    # ---- judging ------------------------------------------------------------------------------------------

    def settle(self, reality):
        """Takes over what is true of the container; why that cannot be, or None."""
        with self.lock:
            allowed = {self.stage, LEADS.get(self.maybe, self.stage)}
            stage = self.stage_of(reality)
            problem = self.contradiction(reality, stage, allowed)
            if problem is None and stage not in allowed:
                problem = f"is {stage}"
            if problem:
                return (f"{self.id}: was {self.stage}" + (f", {self.maybe} under way" if self.maybe else "") +
                        f", and now {problem}")
            if self.stage in ("created", "running", "stopped") and stage == "recorded":
                self.forget_task()
            self.stage, self.maybe = stage, None
            if reality.task and not self.pid:
                self.learn(reality.task.pid)
            return None

    def stage_of(self, reality):
        if reality.task:
            status = reality.task.status
            if status == "CREATED":
                return "created"
            # That it has stopped is what Wait tells; what it started is running, as far as the model goes.
            return "stopped" if status == "STOPPED" and self.stage == "stopped" else "running"
        if reality.record:
            return "recorded"
        return "prepared" if reality.snapshot else "none"

    def contradiction(self, reality, stage, allowed):
        """What of reality does not agree with itself, or with the processes there are."""
        task = reality.task
        if (reality.record or task) and not reality.snapshot:
            return "its snapshot is gone"
        if task and not reality.record:
            return "its record is gone"
        if not task:
            return None
        if self.pid and task.pid != self.pid:
            return f"its pid is {task.pid} instead of {self.pid}"
        if task.status in ("CREATED", "RUNNING"):
            return self.contradiction_of_living(task)
        if task.status != "STOPPED":
            return f"is {task.status}"
        if stage == "running" and "running" not in allowed and not self.killed:
            return "has stopped before it was started"
        if task.exit_status not in self.codes():
            return f"has stopped with {task.exit_status}; possible: {sorted(self.codes())}"
        return None

    def contradiction_of_living(self, task):
        now = start_time(task.pid)
        if now is None and not self.codes():
            return f"is {task.status}, but there is no process {task.pid}"
        if now is not None and self.started_at is not None and now != self.started_at:
            return f"is {task.status}, but process {task.pid} is another one"
        return None
