"""A client: it moves its containers by calls of random kinds, and looks after each death of the daemon whether all is as
its model says."""
import random
import threading
import time
import traceback

import agent
import model
import world as worlds
from world import Finding

# Within that time a daemon has seen that a shim is gone, and has cleaned up after it.
BURIAL = 5
# The status of an exec that ended between its shim's death and the next shim; it is KILLED with its container where no
# other shim can go on (shim/README.md, "When a shim is killed").
LOST = 255
EMPTY = ""


class Interrupted(Exception):
    """The daemon was killed."""


class ShimGone(Exception):
    """A call failed, and the container's shim was killed before."""


class Worker(threading.Thread):
    def __init__(self, world, number, count, parent):
        super().__init__(daemon=True)
        self.world, self.parent = world, parent
        self.rng = random.Random(f"{world.seed}/{number}")
        self.containers = [model.Container(f"c{number}-{i}") for i in range(count)]
        self.agent = world.agent()
        self.draining = False

    # ---- the thread ---------------------------------------------------------------------------------------

    def run(self):
        while not self.done():
            try:
                if not self.world.up.wait(0.2):
                    continue
                self.verify()
                while not self.done():
                    self.step(self.choose())
            except Interrupted:
                continue
            except Finding as finding:
                self.world.found(str(finding))
                break
            except Exception:  # of the test itself
                self.world.found(traceback.format_exc())
                break
        self.agent.close()

    def done(self):
        if self.world.stopping.is_set():
            return True
        return self.draining and all(c.stage == "none" and not c.maybe for c in self.containers)

    def choose(self):
        if self.draining:
            return next((c for c in self.containers if c.stage != "none"), self.containers[0])
        return self.rng.choice(self.containers)

    # ---- calls --------------------------------------------------------------------------------------------

    def call(self, container, verb, *words, of=None):
        """The answer's fields; `of`: the call that is `maybe` made when this one is cut off."""
        kills = self.world.kills
        try:
            answer = self.agent.call(verb, container.id, *words)
        except agent.RpcError as error:
            if error.code == agent.UNAVAILABLE and (self.world.kills != kills or not self.world.up.is_set()):
                container.maybe = of or verb
                raise Interrupted from error
            if container.shim_kill:
                raise ShimGone from error
            raise Finding(f"{container.id} ({container.stage}): {error}") from error
        self.world.calls[verb] += 1
        return answer

    def ask(self, verb, *words):
        """A call about no container in particular."""
        try:
            return verb(*words)
        except agent.RpcError as error:
            if error.code == agent.UNAVAILABLE:
                raise Interrupted from error
            raise Finding(str(error)) from error

    # ---- looking ------------------------------------------------------------------------------------------

    def verify(self):
        """Is what was acknowledged there, and what was under way done or not done, but not half done?"""
        if self.world.stopping.is_set():
            return
        for container in self.containers:
            if container.shim_kill:
                self.after_shim(container)
        snapshots, records = self.ask(self.agent.names, "snapshots"), self.ask(self.agent.names, "records")
        tasks = self.ask(self.agent.tasks)
        for container in self.containers:
            if container.shim_kill:
                continue  # killed just now: the next step looks
            reality = model.Reality(container.id in snapshots, container.id in records, tasks.get(container.id))
            problem = container.settle(reality)
            if problem and not container.shim_kill:
                raise Finding("after a restart, " + problem)

    def state(self, container):
        """The task as the daemon sees it; None if it sees none."""
        kills = self.world.kills
        try:
            return agent.process(self.agent.call("state", container.id, EMPTY))
        except agent.RpcError as error:
            if error.code == agent.UNAVAILABLE and (self.world.kills != kills or not self.world.up.is_set()):
                raise Interrupted from error
            if error.code == agent.NOT_FOUND:
                return None
            raise Finding(f"{container.id} after its shim was killed: {error}") from error

    def after_shim(self, container):
        """The shim was killed: either its successor has the workload, untouched, or all of it is gone soon."""
        kill = container.shim_kill
        kill.done.wait()
        task = self.state(container)
        if task is not None and task.status in ("CREATED", "RUNNING"):
            # A daemon that has not seen the end yet gives no answer, as it asks the shim: this is a successor's.
            if container.pid and task.pid != container.pid:
                raise Finding(f"{container.id}: its shim was killed, and its pid is {task.pid}, not {container.pid}")
            self.world.calls["adopted"] += 1
        elif task is not None:
            container.killed = True
            self.world.calls["adopted"] += 1
        else:
            self.await_burial(container, kill)
        with container.lock:
            if container.shim_kill is kill:
                container.shim_kill = None
            if task is None and container.stage in ("created", "running", "stopped"):
                container.stage, container.maybe = "recorded", None
                container.forget_task()
            elif task is not None:
                container.stage = "created" if task.status == "CREATED" else "running"
                container.maybe = None
                container.learn(task.pid)

    def await_burial(self, container, kill):
        self.world.calls["buried"] += 1
        end = time.monotonic() + BURIAL * worlds.PATIENCE / 30
        while kill.started_at and model.start_time(kill.pid) == kill.started_at:
            if time.monotonic() > end:
                raise Finding(f"{container.id}: its shim was killed, its task is gone, but its process runs on after "
                              f"{BURIAL} s: {model.describe(kill.pid)}")
            time.sleep(0.005)

    # ---- moving -------------------------------------------------------------------------------------------

    def step(self, container):
        try:
            if container.shim_kill:
                self.after_shim(container)
            if container.maybe:
                raise Finding(f"{container.id}: the test's own fault: {container.maybe} is open")
            getattr(self, "from_" + container.stage)(container)
        except ShimGone:
            self.after_shim(container)
            self.resolve(container)

    def resolve(self, container):
        """After an answer that told of a lost shim: what was asked for may have happened or not."""
        if not container.maybe and container.stage in ("recorded", "prepared", "none"):
            container.maybe = "create"
        snapshots, records = self.ask(self.agent.names, "snapshots"), self.ask(self.agent.names, "records")
        task = self.ask(self.agent.tasks).get(container.id)
        problem = container.settle(model.Reality(container.id in snapshots, container.id in records, task))
        if problem and not container.shim_kill:
            raise Finding("after its shim was killed, " + problem)

    def from_none(self, container):
        if self.draining:
            return
        self.call(container, "prepare", self.parent)
        container.move("prepare")

    def from_prepared(self, container):
        if self.draining or self.rng.random() < 0.15:
            self.call(container, "unprepare")
            container.move("unprepare")
        else:
            container.choose_program(self.rng)
            self.call(container, "record", *container.args)
            container.move("record")

    def from_recorded(self, container):
        if self.draining or self.rng.random() < 0.2:
            self.call(container, "unrecord")
            container.move("unrecord")
            return
        out = self.rng.choice([EMPTY, f"file://{self.world.folder}/logs/{container.id}.log"])
        task = agent.process(self.call(container, "create", out))
        with container.lock:
            container.learn(task.pid)
        container.move("create")

    def from_created(self, container):
        if self.draining or self.rng.random() < 0.2:
            container.killed = True
            self.delete(container)
        else:
            self.call(container, "start", EMPTY)
            container.move("start")

    def from_running(self, container):
        if container.surely_killed or container.code is not None:
            self.wait(container)
        elif self.draining or container.killed or self.rng.random() < 0.4:
            with container.lock:
                container.killed = True
            self.tolerate(container, "kill", EMPTY, 9)
            container.surely_killed = True
        elif self.rng.random() < 0.6:
            self.exec(container)
        else:
            task = agent.process(self.call(container, "state", EMPTY))
            if task.status != "RUNNING" and not container.killed:
                raise Finding(f"{container.id} is {task.status} and was not killed")

    def from_stopped(self, container):
        self.delete(container)

    def tolerate(self, container, verb, *words, of=None):
        """A call whose failure means nothing once the container was killed; whether it was answered well."""
        try:
            self.call(container, verb, *words, of=of)
            return True
        except Finding:
            if not container.killed:
                raise
            return False

    def exec(self, container):
        container.execs += 1
        name, code = f"e{container.execs}", self.rng.randrange(1, 100)
        program = ["sh", "-c", f"usleep {self.rng.randrange(0, 50000)}; exit {code}"]
        if not self.tolerate(container, "exec", name, *program, of="exec"):
            return
        for verb in ("start", "wait", "delete"):
            try:
                process = agent.process(self.call(container, verb, name, of="exec"))
            except Finding:
                if not container.killed:
                    raise
                return
            if verb == "start":
                pid = process.pid
            elif process.exit_status != code and not container.killed and not (
                    container.shim_kill and process.exit_status in (LOST, model.KILLED)):
                raise Finding(f"{container.id}: {verb} of exec {name}: status {process.exit_status} instead of {code}")
            elif verb == "wait":
                self.world.has_ended(container.id, name, pid, process.exit_status, process.exited_at)

    def wait(self, container):
        process = agent.process(self.call(container, "wait", EMPTY))
        self.judge_end(container, "wait", process)
        container.move("wait")

    def delete(self, container):
        process = agent.process(self.call(container, "delete", EMPTY))
        self.judge_end(container, "delete", process)
        container.move("delete")

    def judge_end(self, container, verb, process):
        if process.exit_status not in container.codes() and not container.shim_kill:
            raise Finding(f"{container.id}: {verb}: status {process.exit_status}; possible: {sorted(container.codes())}")
        self.world.has_ended(container.id, container.id, container.pid, process.exit_status, process.exited_at)
