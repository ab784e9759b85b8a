"""The virtual machine's kernel, initial file system and root file system, made once and kept.

Debian's own packages are unpacked, not installed: their scripts would want a running system, and take minutes. The
package manager of this machine fetches and verifies them from the mirror that it is configured with, in directories of
our own: the machine's package database is neither read nor changed.

    <cache>/<key>/vmlinuz, initrd, root.img     <key>: this file's content and the distribution's release

<cache> is $GANTRY_VM_CACHE, else $XDG_CACHE_HOME/gantry-vm, else ~/.cache/gantry-vm. As a program: makes it, and prints
the directory; exit status 77 says that this machine cannot make it, and why.
"""
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

SKIP = 77

# usr-is-merged stands in for a tool that would bring all of Perl.
PACKAGES = ("usr-is-merged systemd systemd-sysv dbus dbus-user-session libpam-systemd bash coreutils sed grep util-linux mount "
            "procps uidmap python3-minimal libpython3-stdlib").split()
# Loaded in this order, which respects what needs what. The kernel has ext4 built in.
BOOT_MODULES = ("virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk".split())
LATER_MODULES = ["overlay"]

PASSWD = """root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
systemd-network:x:998:998::/:/usr/sbin/nologin
systemd-timesync:x:997:997::/:/usr/sbin/nologin
messagebus:x:100:100::/nonexistent:/usr/sbin/nologin
tester:x:1000:1000::/home/tester:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUPS = ["root:0", "daemon:1", "sys:3", "adm:4", "tty:5", "disk:6", "lp:7", "kmem:15", "dialout:20", "cdrom:24",
          "tape:26", "audio:29", "shadow:42", "utmp:43", "video:44", "users:100", "messagebus:101", "input:105",
          "sgx:106", "kvm:107", "render:108", "systemd-journal:996", "systemd-network:998", "systemd-timesync:997",
          "tester:1000", "nogroup:65534"]
PAM = "account required pam_permit.so\nsession required pam_permit.so\nsession optional pam_systemd.so\n"
TARGET = """[Unit]
Description=All that the tests need
Requires=basic.target dbus.socket
After=basic.target dbus.socket
Wants=gantry-test.service
AllowIsolate=yes
"""
MASKED = """systemd-journald systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket
systemd-journal-flush systemd-update-utmp systemd-random-seed systemd-timesyncd systemd-networkd systemd-pstore
systemd-machine-id-commit systemd-binfmt systemd-sysctl systemd-sysusers systemd-tmpfiles-setup systemd-modules-load
systemd-tmpfiles-setup-dev systemd-remount-fs systemd-hwdb-update systemd-boot-system-token systemd-repart
systemd-firstboot systemd-pcrphase systemd-pcrphase-sysinit systemd-ask-password-console.path systemd-journal-catalog-update
systemd-ask-password-wall.path systemd-update-done systemd-initctl.socket kmod-static-nodes modprobe@configfs modprobe@dm_mod
modprobe@drm modprobe@efi_pstore modprobe@fuse modprobe@loop getty.target remote-fs.target sys-kernel-debug.mount
sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount dev-mqueue.mount dev-hugepages.mount
proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount cryptsetup.target integritysetup.target
veritysetup.target swap.target timers.target paths.target""".split()
# What the programs under test bring comes on a second disk, mounted here and nowhere else.
SERVICE = """[Unit]
Description=The tests
Requires=dbus.socket
After=basic.target dbus.socket
DefaultDependencies=no
[Service]
Type=oneshot
Environment=HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
Delegate=yes
ExecStartPre=/bin/mount -o ro /dev/vdb /payload
ExecStart=/bin/bash /payload/start
StandardInput=null
StandardOutput=file:/dev/ttyS1
StandardError=inherit
ExecStopPost=/usr/bin/systemctl --force --force poweroff
"""
INIT = """#!/bin/sh
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module.ko || echo "no $module"; done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /root || exec /bin/busybox poweroff -f
exec /bin/busybox switch_root /root /lib/systemd/systemd
"""


class Unavailable(Exception):
    """This machine cannot make the image; the message tells what is missing."""


def cache_directory():
    chosen = os.environ.get("GANTRY_VM_CACHE")
    if chosen:
        return chosen
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "gantry-vm")


def key():
    """Changes with what the image is made of. A new kernel of the mirror does not: what is cached stays."""
    digest = hashlib.sha256(pathlib.Path(__file__).read_bytes())
    release = pathlib.Path("/etc/os-release")
    digest.update(release.read_bytes() if release.exists() else b"")
    return digest.hexdigest()[:16]


def run(*command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          check=False, **more)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command[:6])} ...: exit status {done.returncode}\n{done.stdout[-2000:]}")
    return done.stdout


class Maker:
    """Makes the three files in `work`, a directory of its own."""

    def __init__(self, work):
        self.work = work
        self.root = os.path.join(work, "root")
        self.kernel = os.path.join(work, "kernel")
        self.debs = os.path.join(work, "debs")

    def make(self):
        self.fetch()
        self.unpack()
        self.modules = self.find_modules()
        self.configure()
        self.warm_python()
        self.write_initrd()
        size = "512M"  # with room for the tests' own files; the holes take no space
        run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-L", "root", "-d", self.root,
            os.path.join(self.work, "root.img"), size)
        for leftover in (self.root, self.kernel, self.debs):
            shutil.rmtree(leftover)

    def fetch(self):
        lists = os.path.join(self.work, "lists")
        for directory in (lists, self.debs):
            os.makedirs(os.path.join(directory, "partial"))
        empty = os.path.join(self.work, "status")
        pathlib.Path(empty).touch()
        options = ["-q", "-o", f"Dir::State::status={empty}", "-o", f"Dir::State::lists={lists}",
                   "-o", f"Dir::Cache::archives={self.debs}", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=",
                   "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=",
                   "-o", "Acquire::Languages=none", "-o", "Acquire::Retries=2"]
        run("apt-get", *options, "update")
        run("apt-get", *options, "-y", "--no-install-recommends", "--download-only", "install", *PACKAGES)
        depends = run("apt-cache", *options, "depends", "linux-image-cloud-amd64")
        names = [line.split()[1] for line in depends.splitlines() if "Depends: linux-image-" in line]
        if not names:
            raise Unavailable("the mirror has no linux-image-cloud-amd64")
        os.makedirs(self.kernel)
        run("apt-get", *options, "download", names[0], cwd=self.kernel)
        shutil.rmtree(lists)
        os.unlink(empty)

    def unpack(self):
        for name in ("bin", "sbin", "lib", "lib64"):
            os.makedirs(os.path.join(self.root, "usr", name))
            os.symlink(f"usr/{name}", os.path.join(self.root, name))
        for deb in sorted(pathlib.Path(self.debs).glob("*.deb")):
            with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as tar:
                run("tar", "-x", "-C", self.root, "--keep-directory-symlink", "--exclude=./usr/share/doc",
                    "--exclude=./usr/share/man", "--exclude=./usr/share/locale", "--exclude=./usr/lib/systemd/boot",
                    stdin=tar.stdout)
            if tar.returncode != 0:
                raise Unavailable(f"{deb}: cannot be unpacked")
        os.symlink("bash", os.path.join(self.root, "bin/sh"))
        deb = next(pathlib.Path(self.kernel).glob("*.deb"))
        run("dpkg-deb", "-x", deb, self.kernel)
        shutil.copy(next(pathlib.Path(self.kernel, "boot").glob("vmlinuz-*")), os.path.join(self.work, "vmlinuz"))

    def find_modules(self):
        found = {path.stem: path for path in pathlib.Path(self.kernel, "lib/modules").rglob("*.ko")}
        return [found[name] for name in BOOT_MODULES + LATER_MODULES if name in found]

    def write(self, path, text, mode=0o644):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(full, mode)

    def configure(self):
        self.write("etc/passwd", PASSWD)
        self.write("etc/group", "".join(f"{g.split(':')[0]}:x:{g.split(':')[1]}:\n" for g in GROUPS))
        self.write("etc/shadow", "".join(f"{u.split(':')[0]}:*:19000::::::\n" for u in PASSWD.splitlines()), 0o640)
        for name in ("subuid", "subgid"):
            self.write(f"etc/{name}", "tester:100000:65536\n")
        self.write("etc/hostname", "vm\n")
        self.write("etc/machine-id", "67616e7472792d766d2d746573742d30\n")
        self.write("etc/fstab", "")
        self.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\n")
        self.write("etc/pam.d/systemd-user", PAM)
        self.write("etc/systemd/system/gantry.target", TARGET)
        self.write("etc/systemd/system/gantry-test.service", SERVICE)
        self.trim()
        # Only a package's script would have switched it on.
        wants = os.path.join(self.root, "usr/lib/systemd/system/sockets.target.wants")
        os.makedirs(wants, exist_ok=True)
        if not os.path.lexists(os.path.join(wants, "dbus.socket")):
            os.symlink("../dbus.socket", os.path.join(wants, "dbus.socket"))
        for directory in ("payload", "home/tester", "root", "var/lib/systemd/linger", "proc", "sys", "dev", "run",
                          "tmp", "mnt", "var/tmp"):
            os.makedirs(os.path.join(self.root, directory), exist_ok=True)
        os.chown(os.path.join(self.root, "home/tester"), 1000, 1000)
        os.chmod(os.path.join(self.root, "tmp"), 0o1777)

    def trim(self):
        """Leaves out of systemd what the tests don't need: under emulation each unit and process is felt."""
        shutil.rmtree(os.path.join(self.root, "usr/lib/systemd/system-generators"))
        for name in MASKED:
            self.mask(name if "." in name else name + ".service")

    def mask(self, unit):
        path = os.path.join(self.root, "etc/systemd/system", unit)
        if not os.path.lexists(path):
            os.symlink("/dev/null", path)

    def warm_python(self):
        """Has Python leave its compiled modules in the image: it would take longer in the machine."""
        modules = "unittest, json, subprocess, tempfile, shutil, argparse, socket, threading, struct, signal, select"
        run("chroot", self.root, "/usr/bin/python3.11" if os.path.exists(self.root + "/usr/bin/python3.11")
            else "/usr/bin/python3", "-c", f"import {modules}")

    def write_initrd(self):
        """A cpio archive, as the kernel's early user space (Documentation: initramfs buffer format) wants it."""
        boot = [path for path in self.modules if path.stem in BOOT_MODULES + LATER_MODULES]
        entries = [("dev", 0o040755, b""), ("root", 0o040755, b""), ("bin", 0o040755, b""), ("modules", 0o040755, b""),
                   ("bin/busybox", 0o100755, pathlib.Path(shutil.which("busybox")).read_bytes()),
                   ("bin/sh", 0o120777, b"busybox"),
                   ("init", 0o100755, INIT.format(modules=" ".join(path.stem for path in boot)).encode())]
        entries += [(f"modules/{path.stem}.ko", 0o100644, path.read_bytes()) for path in boot]
        with open(os.path.join(self.work, "initrd"), "wb") as out:
            for number, (name, mode, data) in enumerate(entries + [("TRAILER!!!", 0, b"")], start=1):
                fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
                head = b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name.encode() + b"\0"
                out.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))


def check_host():
    for tool, package in (("qemu-system-x86_64", "qemu-system-x86"), ("mke2fs", "e2fsprogs"),
                          ("busybox", "busybox-static"), ("dpkg-deb", "dpkg"), ("apt-get", "apt")):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is missing (Debian's {package}); `cmd/setup vm` installs what is needed")
    if os.uname().machine != "x86_64":
        raise Unavailable("the machine's image is of x86_64")


def ensure():
    """The directory with vmlinuz, initrd and root.img, made if it is not there. Raises Unavailable."""
    check_host()
    cache = cache_directory()
    final = os.path.join(cache, key())
    if os.path.exists(os.path.join(final, "root.img")):
        return final
    if os.geteuid() != 0:
        raise Unavailable("only root can make the image, whose files have owners")
    os.makedirs(cache, mode=0o700, exist_ok=True)
    with open(os.path.join(cache, "lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(os.path.join(final, "root.img")):
            return final
        work = tempfile.mkdtemp(prefix="new-", dir=cache)
        try:
            Maker(work).make()
            shutil.rmtree(final, ignore_errors=True)
            os.rename(work, final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final


def main():
    try:
        print(ensure())
    except Unavailable as why:
        print(f"SKIPPED: no virtual machine: {why}")
        return 1 if os.environ.get("GANTRY_VM_REQUIRED") else SKIP
    return 0


if __name__ == "__main__":
    sys.exit(main())
