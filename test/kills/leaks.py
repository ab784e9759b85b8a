"""What containers left behind: nothing may be there after the last one is removed that was not before the first.

A Baseline is taken of a stopped daemon, and so is the report. Each finding is "KIND THING".
"""
import os
import stat
import subprocess

import harness

TASKS = "io.containerd.runtime.v2.task"
# What a daemon or shim makes once and keeps: RocksDB's own files, and directories without anything in them that belongs
# to a container.
KEPT = ("root/metadata",)


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def descriptors(pid):
    """What the descriptors of a process point to; sockets and pipes without their numbers."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
    return found


def rows(build, folder):
    done = subprocess.run([build + "/test/record-keys", folder + "/root/metadata"], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError("record-keys: " + done.stderr)
    return set(done.stdout.splitlines())


def tree(folder):
    """Everything below root and state, relative; FIFOs and sockets are told from files."""
    found = set()
    for top in ("root", "state"):
        for path, folders, files in os.walk(os.path.join(folder, top)):
            where = os.path.relpath(path, folder)
            folders[:] = [name for name in folders if os.path.join(where, name) not in KEPT]
            found.update("directory " + os.path.join(where, name) for name in folders)
            for name in files:
                mode = os.lstat(os.path.join(path, name)).st_mode
                kind = "FIFO" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "file"
                found.add(f"{kind} {os.path.join(where, name)}")
    return found


def namespaces_mounted():
    """Network namespaces that a mount keeps."""
    with open("/proc/self/mountinfo") as f:
        return {line.split()[3] + " at " + line.split()[4] for line in f
                if " nsfs " in line and line.split()[3].startswith("net:")}


def namespaces_of(pids):
    """Network namespaces, other than ours, that processes live in or hold open."""
    own, found = os.readlink("/proc/self/ns/net"), set()
    for pid in pids:
        try:
            held = [os.readlink(f"/proc/{pid}/ns/net"), *descriptors(pid)]
        except OSError:
            continue
        found.update(f"{name} of process {pid}" for name in held if name.startswith("net:[") and name != own)
    return found


def zombies(parent):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                state, ppid = f.read().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if state == "Z" and int(ppid) == parent:
            found.append(f"zombie {pid} of process {parent}")
    return found


class Baseline:
    """What there is before the first container. The daemon is stopped."""

    def __init__(self, build, token, folder):
        self.build, self.token, self.folder = build, token, folder
        self.rows, self.tree, self.mounted = rows(build, folder), tree(folder), namespaces_mounted()

    def of_machine(self):
        """What is left outside of the daemon's directories."""
        pids = harness.own_processes(self.token, self.folder)
        left = [harness.describe(pid) for pid in pids]
        left += ["mount " + path for path in harness.mounts(self.folder)]
        left += ["cgroup " + path for path in harness.cgroups(self.token) if not path.endswith("/" + self.token)]
        left += ["network namespace " + name for name in namespaces_of(pids) | (namespaces_mounted() - self.mounted)]
        with open("/proc/net/unix") as f:
            left += ["listening socket " + line.split()[-1] for line in f if self.folder in line]
        runc = "/run/containerd/runc/" + self.token  # of runc's shim
        if os.path.isdir(runc):
            left += [f"state of runc {name}" for name in os.listdir(runc)]
        return left

    def of_daemon(self):
        """What is left in the daemon's directories and records."""
        left = [self.name(item) for item in tree(self.folder) - self.tree]
        return left + ["row " + key for key in rows(self.build, self.folder) - self.rows]

    def name(self, item):
        kind, path = item.split(" ", 1)
        parts = path.split("/")
        if parts[1:2] == [TASKS] and len(parts) <= 3:
            return ""  # made for the first container, and kept
        if parts[1:2] == [TASKS] and len(parts) == 4:
            return "bundle " + path
        return f"{kind} {path}"

    def report(self):
        """The findings, sorted; what is in a directory that is named is not named again."""
        left = sorted(filter(None, self.of_machine() + self.of_daemon()))
        folders = [item.split(" ", 1)[1] + "/" for item in left if item.startswith(("bundle ", "directory "))]
        return [item for item in left if not any(item.split(" ", 1)[1].startswith(folder) for folder in folders)]
