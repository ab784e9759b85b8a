"""`test/torture powercut`: the power is cut at random instants, and all that was acknowledged must be there; README.md."""
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import disks
import harness
import history
import writer

SKIPPED = 77  # ctest's SKIP_RETURN_CODE
TELLING = 50  # so many cuts that one of them must have taken something: one in five does


class World:
    """One rig, with the daemon on its disk."""

    def __init__(self, folder, seed, writers):
        self.folder, self.rng = folder, random.Random(seed)
        self.token = "powercut-" + secrets.token_hex(4)
        os.makedirs(folder, exist_ok=True)
        self.daemon = harness.Daemon(folder, self.token)
        self.daemon.root = folder + "/disk/root"
        self.disk, self.findings, self.calls, self.cuts = None, [], 0, 0
        self.histories = [history.History() for _ in range(writers)]
        self.stopping = threading.Event()
        self.judged = self.vanished = 0

    def start(self):
        """As after a reboot: nothing of the former state is there."""
        shutil.rmtree(self.daemon.state, ignore_errors=True)
        self.daemon.start()

    def kill(self):
        if self.daemon.process.poll() is not None:
            self.findings.append("the daemon ended by itself:\n" + self.daemon.log_text()[-3000:])
        self.daemon.stop(signal.SIGKILL)

    def write(self, seconds):
        """Clients at work for so long; `end` ends them."""
        self.stopping.clear()
        self.writers = [writer.Writer(self, i, known, self.rng.random()) for i, known in enumerate(self.histories)]
        for one in self.writers:
            one.start()
        time.sleep(seconds)

    def end(self):
        for one in self.writers:
            one.join(harness.PATIENCE)
            if one.is_alive():
                self.findings.append("a client's call does not come to its end")
            self.calls += one.calls

    # ---- judging ------------------------------------------------------------------------------------------

    def reality(self, client):
        """{key: value} of all that the daemon has; what it has must be whole."""
        found = {}
        leased = {name: key for known in self.histories for key in known.keys() if key[0].startswith("leased ")
                  for name in [key[1]]}
        for digest in client.names("blobs"):
            try:
                client.call("check", digest)
                found[leased.get(digest, ("blob", digest))] = "whole"
            except writer.agent.RpcError as error:
                if error.code != writer.agent.NOT_FOUND:  # the collector took it: its lease is gone
                    raise
        for kind in ("image", "snapshot", "record"):
            for item in client.names(kind + "s"):
                name, value = item.split("=", 1)
                found[kind, name] = value
        for name in client.names("leases"):
            found["lease", name] = "there"
        return found

    def judge(self, cut, what):
        """Compares the daemon with what was acknowledged up to the cut."""
        client = writer.open_agent(self.daemon.socket, self.token)
        try:
            found = self.reality(client)
        except writer.agent.RpcError as error:
            self.findings.append(f"{what}: {error}")
            return {}
        finally:
            client.close()
        self.judged += sum(len(known.keys()) for known in self.histories)
        self.findings += [f"{what}: {problem}" for problem in history.compare(self.histories, found, cut)]
        for known in self.histories:
            for name, (path, files) in known.trees.items():
                if found.get(("snapshot", name)) == "committed" and writer.tree(path) != files:
                    self.findings.append(f"{what}: the files of snapshot {name} in {path} are not those committed")
        return found

    def sweep(self):
        self.stopping.set()
        if self.daemon.process is not None and self.daemon.process.poll() is None:
            self.daemon.stop(signal.SIGKILL)
        subprocess.run(["umount", "-l", self.folder + "/disk"], capture_output=True)
        if self.disk is not None:
            self.disk.close()


def shutdown(world, cuts):
    """The disk forgets, at random instants under load, what was not flushed."""
    world.disk = disks.ShutdownDisk(world.folder)
    world.disk.mount()
    for number in range(cuts + 1):
        world.start()
        if number:
            found = world.judge(0, f"cut {number}, begun at {begun:.4f}")
            for known in world.histories:
                known.settle(found)
        if number == cuts or world.findings:
            return
        world.write(world.rng.choice([0.02, 0.1, 0.3, 0.6]) * world.rng.uniform(0.5, 1.5))
        world.stopping.set()
        marker = f"{world.disk.path}/marker-{number}"
        with open(marker, "w") as f:  # it mostly vanishes, or nothing was cut
            f.write("never synced")
        begun = time.monotonic()
        world.disk.cut()
        world.daemon.stop(signal.SIGKILL)  # it may have ended: a failed sync is final
        world.end()
        world.disk.unmount()
        world.disk.mount()
        world.cuts += 1
        world.vanished += not os.path.exists(marker) or os.path.getsize(marker) == 0


def replay(world, cuts):
    """One run under load, and the disk as it may have been at any of its flushes, or between two."""
    world.disk = disks.LoggedDisk(world.folder)
    world.disk.mount()
    world.start()
    first = world.disk.position()
    world.write(max(1.5, cuts / 12))
    world.stopping.set()
    world.end()
    world.kill()
    world.disk.unmount()
    world.disk.close()
    if world.findings:
        return
    log = disks.Replay(world.disk.log, world.folder, world.rng)
    flushes = [position for position in log.flushes() if position >= first]
    between = range(first, len(log.entries) + 1)
    chosen = [world.rng.choice(flushes) for _ in range(cuts // 2)] + \
        [world.rng.choice(between) for _ in range(cuts - cuts // 2)]
    print(f"  {len(log.entries)} entries, {len(flushes)} flushes under load", flush=True)
    for position in sorted(chosen):
        pending, kept = log.cut(position)
        world.vanished += pending > kept
        world.start()
        world.judge(position, f"after entry {position}, with {kept} of {pending} writes since the flush")
        world.kill()
        log.unmount()
        world.cuts += 1
        if world.findings:
            break
    log.close()


RIGS = {"shutdown": shutdown, "replay": replay}


def run_rig(name, cuts, options):
    """Whether it passed; None when this machine cannot."""
    started, folder = time.monotonic(), tempfile.mkdtemp(prefix="gantry-powercut-")
    world = World(folder + "/" + name, f"{options.seed}/{name}", options.writers)
    try:
        RIGS[name](world, cuts)
    except disks.Unavailable as error:
        print(f"  {name}: left out: {error}")
        return None
    finally:
        world.sweep()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"  kept: {folder}")
    for finding in world.findings:
        print(f"FOUND {name}: {finding}")
    print(f"  {name}: {world.cuts} cuts ({world.vanished} took something that was not synced), {world.calls} calls "
          f"answered, {world.judged} things compared, {time.monotonic() - started:.0f} s", flush=True)
    if world.cuts >= TELLING and not world.vanished:
        print(f"FOUND {name}: no cut took anything: the rig does not cut")
        return False
    return not world.findings


def self_check():
    """That a lost thing, a torn file and one that came back would be found."""
    known = history.History()
    for key, value in ((("blob", "lost"), "whole"), (("image", "old"), "new"), (("record", "removed"), None)):
        known.begin(key, value, 3).acknowledge(5)
    known.begin(("lease", "under way"), "there", 6)
    reality = {("image", "old"): "old", ("record", "removed"): "1", ("lease", "stranger"): "there"}
    assert len(history.compare([known], reality, 5)) == 4, history.compare([known], reality, 5)
    assert len(history.compare([known], {}, 2)) == 0
    assert len(history.compare([known], {("image", "old"): "new", ("blob", "lost"): "whole"}, 9)) == 0
    print("test/torture: the self-check passed")
    return 0


def run(options):
    """The exit status."""
    if options.self_check:
        return self_check()
    print(f"test/torture powercut {options.instants} --seed {options.seed} --rig {options.rig}", flush=True)
    names = list(RIGS) if options.rig == "both" else [options.rig]
    results = [run_rig(name, options.instants // len(names), options) for name in names]
    if all(result is None for result in results):
        return SKIPPED
    failed = any(result is False for result in results)
    print(f"test/torture: {'FAILED' if failed else 'passed'}", flush=True)
    return 1 if failed else 0


def in_own_namespace():
    """Mounts of the rigs show nowhere else, and go with this process."""
    if not os.environ.get("GANTRY_POWERCUT_INSIDE"):
        os.environ["GANTRY_POWERCUT_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable, "-B", *sys.argv])
