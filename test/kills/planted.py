"""Plants a leak of each kind where a container could leave it, and expects to find each in the report."""
import os
import socket
import subprocess

import harness
import leaks
import tasks
from world import Finding


def plant(torture):
    """{a word of the finding: how to take the leak away again}."""
    folder, token = torture.folder, torture.token
    process = subprocess.Popen(["sleep", "1000"], env=dict(os.environ, GANTRY_E2E_TOKEN=token))
    namespace = subprocess.Popen(["unshare", "--net", "sleep", "1000"], env=dict(os.environ, GANTRY_E2E_TOKEN=token))
    mount = folder + "/state/mounted"
    os.mkdir(mount)
    subprocess.run(["mount", "-t", "tmpfs", "planted", mount], check=True)
    group = next(path for path in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup") if os.path.isdir(path))
    group = f"{group}/{token}/planted"
    os.makedirs(group)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(folder + "/state/s/planted")
    listening.listen()
    os.makedirs(f"{folder}/state/{leaks.TASKS}/{token}/planted/rootfs")
    os.makedirs(folder + "/root/io.containerd.snapshotter.v1.overlayfs/snapshots/999/fs")
    os.mkfifo(folder + "/state/fifo")
    harness.eventually("the namespace is there", lambda: os.readlink(f"/proc/{namespace.pid}/ns/net") !=
                       os.readlink("/proc/self/ns/net"))
    return {f"process {process.pid}": lambda: end(process), "network namespace": lambda: end(namespace),
            "mount ": lambda: subprocess.run(["umount", mount], check=True), "cgroup ": lambda: os.rmdir(group),
            "listening socket": listening.close, "bundle ": lambda: None, "snapshots/999": lambda: None,
            "FIFO ": lambda: None, "row ": lambda: None}


def end(process):
    process.kill()
    process.wait()


def run(options):
    """The exit status."""
    torture = tasks.Torture(options)
    problems = []
    try:
        torture.prepare()
        if torture.baseline.report():
            problems.append(f"before anything was planted: {torture.baseline.report()}")
        torture.world.daemon.start()
        client = torture.world.agent()
        client.call("record", "planted", "true")
        client.close()
        torture.world.daemon.stop()
        planted = plant(torture)
        found = torture.baseline.report()
        print("\n".join("  found: " + item for item in found))
        problems += [f"not found: {word}" for word in planted if not any(word in item for item in found)]
        for remove in planted.values():
            remove()
    except Finding as finding:
        problems.append(str(finding))
    finally:
        torture.sweep()
    for problem in problems:
        print("test/torture: " + problem)
    print(f"test/torture: the self-check {'FAILED' if problems else 'passed'}")
    return 1 if problems else 0
