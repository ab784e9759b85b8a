"""Two disks whose power can be cut: ext4 that is shut down in an instant, and a log of all writes and flushes that is
replayed up to any point. Each is mounted at <folder>/disk; the caller has a mount namespace of its own."""
import fcntl
import os
import shutil
import struct
import subprocess
import time

SIZE = 192 << 20
# EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32): fs/ext4/ext4.h. NOLOGFLUSH drops the journal's buffers too.
SHUTDOWN, NOLOGFLUSH = (2 << 30) | (4 << 16) | (ord("X") << 8) | 125, 2
# drivers/md/dm-log-writes.c, which qemu's blklogwrites writes as well.
MAGIC, FLUSH, DISCARD, SECTOR = 0x6A736677736872, 1, 4, 512


class Unavailable(Exception):
    """This machine has not what the rig needs."""


def call(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def make_image(path):
    with open(path, "wb") as f:
        f.truncate(SIZE)


def unmount(path):
    for _ in range(200):
        if subprocess.run(["umount", path], capture_output=True).returncode == 0:
            return
        time.sleep(0.02)
    raise RuntimeError(f"{path} cannot be unmounted")


class ShutdownDisk:
    """A loop device whose file system forgets what it has not written, and fails every call from then on."""

    def __init__(self, folder):
        self.image, self.path = folder + "/disk.img", folder + "/disk"
        os.makedirs(self.path)
        make_image(self.image)
        call("mkfs.ext4", "-q", "-F", "-m", "0", self.image)

    def mount(self):
        call("mount", "-o", "loop", self.image, self.path)

    def unmount(self):
        unmount(self.path)

    def position(self):
        return 0

    def cut(self):
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        except OSError as error:
            raise Unavailable(f"the file system cannot be shut down: {error}") from error
        finally:
            os.close(fd)

    def close(self):
        pass


class LoggedDisk:
    """A loop device on an export of qemu-storage-daemon, which logs all that reaches the disk, and each flush."""

    def __init__(self, folder):
        self.folder, self.path, self.device = folder, folder + "/disk", None
        self.data, self.log, self.export = folder + "/data.img", folder + "/log.img", folder + "/export.img"
        os.makedirs(self.path)
        if not shutil.which("qemu-storage-daemon") or not os.path.exists("/dev/fuse"):
            raise Unavailable("qemu-storage-daemon (qemu-system-common) and /dev/fuse are needed: cmd/setup vm")
        make_image(self.data)
        with open(self.log, "wb") as f:
            f.truncate(16 << 30)
        with open(self.export, "wb"):
            pass
        self.server = subprocess.Popen(
            ["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=d0,filename={self.data}",
             "--blockdev", f"driver=file,node-name=l0,filename={self.log}",
             "--blockdev", f"driver=blklogwrites,node-name=lw,file=d0,log=l0,log-sector-size={SECTOR}",
             "--export", f"type=fuse,id=e0,node-name=lw,mountpoint={self.export},writable=on"],
            stderr=subprocess.PIPE, text=True)
        self.reader = os.open(self.log, os.O_RDONLY)
        try:
            self.attach()
        except Exception:
            self.close()
            raise

    def attach(self):
        end = time.monotonic() + 20
        while os.stat(self.export).st_size != SIZE:
            if self.server.poll() is not None or time.monotonic() > end:
                raise Unavailable(f"qemu-storage-daemon exports nothing: {self.server.stderr.read()}")
            time.sleep(0.01)
        self.device = call("losetup", "-f", "--show", self.export)
        call("mkfs.ext4", "-q", "-m", "0", self.device)

    def mount(self):
        call("mount", self.device, self.path)

    def unmount(self):
        unmount(self.path)

    def position(self):
        """The number of entries that the log certainly has: qemu writes it with each flush."""
        magic, _, entries = struct.unpack("<QQQ", os.pread(self.reader, 24, 0))
        return entries if magic == MAGIC else 0

    def close(self):
        if self.device:
            subprocess.run(["losetup", "-d", self.device], capture_output=True)
            self.device = None
        if self.server.poll() is None:
            self.server.terminate()
            self.server.wait(20)
        self.server.stderr.close()


class Replay:
    """The disk as it may have been after any entry of a log: all that came before the last flush, and of what came
    after it a random part. Cuts must ascend."""

    def __init__(self, log, folder, rng):
        self.fd, self.rng = os.open(log, os.O_RDONLY), rng
        self.stable_path, self.image, self.path = folder + "/stable.img", folder + "/cut.img", folder + "/disk"
        make_image(self.stable_path)
        self.stable = os.open(self.stable_path, os.O_RDWR)
        self.entries = list(self.read_entries())
        self.applied = 0

    def read_entries(self):
        """(first byte, bytes, flags, where in the log its data is)."""
        magic, version, count, sector = struct.unpack("<QQQI", os.pread(self.fd, 28, 0))
        if magic != MAGIC or version != 1 or sector != SECTOR:
            raise RuntimeError(f"not a log of writes: magic {magic:#x}, version {version}, sectors of {sector}")
        at = SECTOR
        for _ in range(count):
            first, sectors, flags, _ = struct.unpack("<QQQQ", os.pread(self.fd, 32, at))
            at += SECTOR
            yield first * SECTOR, sectors * SECTOR, flags, at
            at += 0 if flags & DISCARD else sectors * SECTOR

    def flushes(self):
        """The positions just after a flush."""
        return [i + 1 for i, entry in enumerate(self.entries) if entry[2] & FLUSH]

    def apply(self, fd, entry, size=None):
        first, whole, flags, at = entry
        if flags & DISCARD:
            os.pwrite(fd, bytes(whole), first)
        elif whole:
            os.pwrite(fd, os.pread(self.fd, whole if size is None else size, at), first)

    def cut(self, position):
        """Makes the disk of a cut after so many entries, and mounts it: (writes since the flush, those that survive)."""
        before = [i + 1 for i in range(self.applied, position) if self.entries[i][2] & FLUSH]
        if before:
            for entry in self.entries[self.applied:before[-1]]:
                self.apply(self.stable, entry)
            self.applied = before[-1]
        subprocess.run(["cp", "--sparse=always", self.stable_path, self.image], check=True)
        fd, kept = os.open(self.image, os.O_RDWR), 0
        pending = [entry for entry in self.entries[self.applied:position] if entry[1]]
        chance = self.rng.choice([0, 0.5, 0.9, 1])
        for entry in pending:
            if self.rng.random() < chance:
                kept += 1
                torn = entry[1] > 4096 and not entry[2] & DISCARD and self.rng.random() < 0.1
                self.apply(fd, entry, self.rng.randrange(1, entry[1] // SECTOR) * SECTOR if torn else None)
        os.close(fd)
        call("mount", "-o", "loop", self.image, self.path)
        return len(pending), kept

    def unmount(self):
        unmount(self.path)

    def close(self):
        os.close(self.fd)
        os.close(self.stable)
