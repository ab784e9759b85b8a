"""Runs the tests of inside/ in a small virtual machine: Debian's kernel with cgroup version 2 alone, and systemd.

    GANTRY_BUILD=build python3 test/vm/vm_test.py [unittest's arguments, such as CgroupTest.test_memory]

Makes the image if need be (image.py), puts the programs of $GANTRY_BUILD/bin and the libraries that they need on a
second disk, boots, and passes on what the tests say. The machine has no network and writes to no disk that stays.

Exit status 77: this machine cannot run it; the last line tells why. With GANTRY_VM_REQUIRED set that is a failure.
GANTRY_VM_PATIENCE is how many seconds the machine may run (default 300). GANTRY_VM_CONSOLE names a file for the
kernel's and systemd's messages, which are shown after a failure anyway.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

import image

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("GANTRY_BUILD", HERE.parent.parent / "build")).resolve()
PATIENCE = float(os.environ.get("GANTRY_VM_PATIENCE", "300"))
PROGRAMS = ["gantry-oci", "containerd-shim-gantry-v2", "gantryd", "gantry"]
UNIT_TESTS = ["cgroup_test", "dbus_test"]
# Part of the C library, which the image has.
OWN_LIBRARIES = re.compile(r"^(ld-linux|libc|libm|libpthread|librt|libdl|libresolv)[-.]")
COMMAND_LINE = ("console=ttyS0 quiet loglevel=3 panic=-1 random.trust_cpu=on mitigations=off tsc=reliable no_timer_check "
                "systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all hugepages=8 psi=1 "
                "systemd.unit=gantry.target "
                "systemd.show_status=0 systemd.log_target=console systemd.log_level=notice")


def libraries(programs):
    """The shared libraries that `programs` load, without the C library's."""
    found = {}
    for program in programs:
        listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for name, path in re.findall(r"(\S+) => (/\S+)", listing):
            if not OWN_LIBRARIES.match(name):
                found[name] = path
    return found


def strip_into(source, target):
    """Debug information would be most of the disk."""
    if shutil.which("strip") is None or subprocess.run(["strip", "-o", target, source], check=False).returncode != 0:
        shutil.copy(source, target)
    os.chmod(target, 0o755)


def make_payload(work, arguments):
    tree = work / "tree"
    for name in ("bin", "lib", "test", "unit"):
        (tree / name).mkdir(parents=True)
    programs = [BUILD / "bin" / name for name in PROGRAMS if (BUILD / "bin" / name).exists()]
    tests = [BUILD / "test" / name for name in UNIT_TESTS if (BUILD / "test" / name).exists()]
    for path in programs:
        strip_into(path, tree / "bin" / path.name)
    for path in tests:
        strip_into(path, tree / "unit" / path.name)
    for name, path in libraries(programs + tests).items():
        shutil.copy(path, tree / "lib" / name)
    shutil.copy(shutil.which("busybox"), tree / "bin" / "busybox")
    for path in (HERE / "inside").glob("*.py"):
        shutil.copy(path, tree / "test" / path.name)
    words = " ".join(f"'{word}'" for word in arguments)
    (tree / "start").write_text("cd /payload/test && python3 -B main.py " + words + "\necho \"RESULT $?\"\n")
    disk = work / "payload.img"
    size = sum(path.stat().st_size for path in tree.rglob("*")) * 11 // 10 + (4 << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", tree, disk, f"{size >> 10}k"],
                   check=True)
    return disk


def qemu_command(files, payload, work):
    drive = "if=virtio,format=raw,cache=unsafe"
    # It must not outlive us, however we end.
    return ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "Nehalem,+rdrand", "-smp", "2", "-m", "1024",
            "-kernel", f"{files}/vmlinuz", "-initrd", f"{files}/initrd", "-append", COMMAND_LINE,
            "-drive", f"file={files}/root.img,snapshot=on,{drive}", "-drive", f"file={payload},snapshot=on,{drive}",
            "-serial", f"file:{work}/console", "-serial", "stdio"]


def run_machine(files, payload, work):
    """Passes on what comes from the second serial line; the exit status that the tests ended with, or None."""
    result = None
    # The overlays of the two disks go to TMPDIR.
    with subprocess.Popen(qemu_command(files, payload, work), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          env={**os.environ, "TMPDIR": str(work)}) as machine:
        watchdog = threading.Timer(PATIENCE, machine.kill)
        watchdog.start()
        try:
            for line in machine.stdout:
                text = line.decode(errors="replace").rstrip("\r\n")
                ended = re.match(r"RESULT (\d+)$", text)
                if ended:
                    result = int(ended.group(1))
                else:
                    print(text, flush=True)
        finally:
            machine.kill()
            watchdog.cancel()
    return result


def main():
    try:
        files = image.ensure()
    except image.Unavailable as why:
        print(f"SKIPPED: no virtual machine: {why}")
        return 1 if os.environ.get("GANTRY_VM_REQUIRED") else image.SKIP
    with tempfile.TemporaryDirectory(prefix="gantry-vm-") as directory:
        work = pathlib.Path(directory)
        result = run_machine(files, make_payload(work, sys.argv[1:]), work)
        console = work / "console"
        if result != 0:
            print("---- the machine's console ----")
            print(console.read_text(errors="replace")[-8000:])
            print("the machine ended, or was ended, before the tests did" if result is None else "tests failed")
        if os.environ.get("GANTRY_VM_CONSOLE"):
            shutil.copy(console, os.environ["GANTRY_VM_CONSOLE"])
    return 0 if result == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
