"""A client that makes, changes and removes what a daemon keeps, and notes what it was told."""
import hashlib
import os
import random
import threading
import traceback

import agent
import harness

MANY = 24  # things of a kind, beyond which some are removed


def tree(path):
    """{path below: hash of its content} of a directory's files."""
    found = {}
    for folder, _, names in os.walk(path):
        for name in names:
            file = os.path.join(folder, name)
            with open(file, "rb") as f:
                found[os.path.relpath(file, path)] = hashlib.sha256(f.read()).hexdigest()
    return found


def open_agent(socket, namespace):
    return agent.Agent([harness.BUILD + "/test/storage-agent", socket, namespace])


class Writer(threading.Thread):
    """Belongs to one life of the daemon; `history` lives on."""

    def __init__(self, world, number, history, seed):
        super().__init__(daemon=True)
        self.world, self.number, self.history = world, number, history
        self.rng = random.Random(seed)
        self.agent = open_agent(world.daemon.socket, world.token)
        self.calls = 0

    def run(self):
        try:
            while not self.world.stopping.is_set():
                self.rng.choice([self.blob, self.blob, self.image, self.record, self.lease, self.snapshot])()
        except agent.RpcError as error:
            if not self.world.stopping.is_set():
                self.world.findings.append(f"before any cut: {error}")
        except OSError:  # the disk, under the files of a snapshot
            if not self.world.stopping.is_set():
                self.world.findings.append(traceback.format_exc())
        except Exception:
            self.world.findings.append(traceback.format_exc())
        finally:
            self.agent.close()

    def name(self):
        return f"w{self.number}-{self.rng.randrange(1 << 40):x}"

    def ask(self, *words):
        answer = self.agent.call(*words)
        self.calls += 1
        return answer

    def change(self, changes, *words):
        """A call that gives things new values, [(key, value)]; it counts from its answer on."""
        start = self.world.disk.position()
        steps = [self.history.begin(key, value, start) for key, value in changes]
        answer = self.ask(*words)
        self.acknowledge(*steps)
        return answer

    def acknowledge(self, *steps):
        """An answer that comes once the power is about to go has reached nobody: ext4 that is shut down in the middle of an
        fdatasync may answer 0 and forget all the same (jbd2_complete_transaction finds the transaction gone)."""
        position = self.world.disk.position()
        if not self.world.stopping.is_set():
            for step in steps:
                step.acknowledge(position)

    def remove_some(self, kind, verb):
        """Whether there were many, and one was removed."""
        names = self.history.present(kind)
        if len(names) <= self.rng.randrange(MANY):
            return False
        name = self.rng.choice(names)
        self.change([((kind, name), None)], verb, name)
        return True

    # ---- the kinds ----------------------------------------------------------------------------------------

    def blob(self):
        if self.remove_some("blob", "unblob"):
            return
        size = self.rng.choice([20, 100, 4096, 20000, 20000, 100000, 1500000])
        leases = self.history.present("lease")
        lease = self.rng.choice(leases) if leases and self.rng.random() < 0.3 else ""
        start = self.world.disk.position()
        digest, = self.ask("put", self.rng.randrange(1 << 60), size, lease)
        # Of a blob under a lease the collector decides once the lease is gone.
        key = ("leased " + lease if lease else "blob", digest)
        self.acknowledge(self.history.begin(key, "whole", start))

    def image(self):
        if not self.remove_some("image", "unimage"):
            names = self.history.present("image")
            name = self.rng.choice(names) if names and self.rng.random() < 0.4 else self.name()
            digest = "sha256:" + self.rng.randbytes(32).hex()
            self.change([(("image", name), digest)], "image", name, digest)

    def record(self):
        if not self.remove_some("record", "unrecord"):
            names = self.history.present("record")
            name = self.rng.choice(names) if names and self.rng.random() < 0.4 else self.name()
            version = str(self.rng.randrange(1 << 30))
            self.change([(("record", name), version)], "record", name, version)

    def lease(self):
        leases = self.history.present("lease")
        if len(leases) > self.rng.randrange(4):
            name = self.rng.choice(leases)
            for key in [key for key in self.history.keys() if key[0] == "leased " + name]:
                self.history.forget(key)
            self.change([(("lease", name), None)], "unlease", name)
        else:
            name = self.name()
            self.change([(("lease", name), "there")], "lease", name)

    def snapshot(self):
        there = self.history.present("snapshot")
        committed = [name for name in there if name in self.history.trees]
        interrupted = [name for name in there if name not in self.history.trees]
        if interrupted or len(committed) > self.rng.randrange(MANY // 2):
            parents = {self.history.parents[name] for name in there}
            name = self.rng.choice(interrupted or [name for name in committed if name not in parents])
            self.change([(("snapshot", name), None)], "unsnapshot", name)
            return
        key, name = "key-" + self.name(), self.name()
        parent = self.rng.choice(committed) if committed and self.rng.random() < 0.5 else ""
        self.history.parents[key] = self.history.parents[name] = parent
        path, = self.change([(("snapshot", key), "active")], "prepare", key, parent)
        if self.rng.random() < 0.5:
            self.write_files(path)
        else:
            start = self.world.disk.position()
            digest, size = self.ask("layer", self.rng.randrange(1 << 60), self.rng.randrange(1, 20))
            self.acknowledge(self.history.begin(("blob", digest), "whole", start))
            self.ask("apply", key, digest, size)
        if self.rng.random() < 0.2:
            self.change([(("snapshot", key), None)], "unsnapshot", key)
            return
        self.history.trees[name] = (path, tree(path))
        self.change([(("snapshot", key), None), (("snapshot", name), "committed")], "commit", name, key)

    def write_files(self, path):
        os.makedirs(path + "/folder/deep")
        for i in range(self.rng.randrange(1, 12)):
            below = self.rng.choice(["", "folder/", "folder/deep/"])
            with open(f"{path}/{below}file{i}", "wb") as f:
                f.write(self.rng.randbytes(self.rng.choice([0, 10, 5000, 70000])))
