"""Images for tests and benchmarks, built from this machine's busybox: no network, no registry.

An image is an OCI image layout in a tar archive; `break_*` give the damaged ones.
"""
import gzip
import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/var/www:/bin/sh\n"
GROUP = "root:x:0:\nweb:x:33:\nadm:x:4:web\ntty:x:5:\n"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def architecture():
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def tar_of(entries):
    """A tar of {path: bytes | ("link", target) | None for a directory}; a path may be (path, mode)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, content in entries.items():
            path, mode = path if isinstance(path, tuple) else (path, 0o755)
            info = tarfile.TarInfo(path)
            info.mode = mode
            if content is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif isinstance(content, tuple):
                info.type, info.linkname = tarfile.SYMTYPE, content[1]
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def busybox_files():
    with open("/bin/busybox", "rb") as f:
        files = {"bin": None, "bin/busybox": f.read()}
    for applet in subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True).stdout.split():
        if applet != "busybox":
            files["bin/" + applet] = ("link", "busybox")
    files.update({"etc": None, "etc/passwd": PASSWD.encode(), "etc/group": GROUP.encode(), ("tmp", 0o1777): None,
                  "root": None, "proc": None, "dev": None, "sys": None, "var": None, "var/www": None})
    return files


class Image:
    """What an archive holds: its path, the digests, and the chain id of its layers."""

    def __init__(self, layers, config=None, name="busybox:latest", arch=None):
        """`layers`: (tar bytes, compressed?) from the ground up; `config`: the image config's "config"."""
        self.blobs, self.layers, self.diff_ids = {}, [], []
        for data, compressed in layers:
            stored = gzip.compress(data, mtime=0, compresslevel=1) if compressed else data
            self.diff_ids.append(digest(data))
            self.layers.append(self.add(stored, LAYER + ("+gzip" if compressed else "")))
        self.config = self.add_json({
            "architecture": arch or architecture(), "os": "linux",
            "config": config if config is not None else {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids}}, CONFIG)
        self.manifest = self.add_json({"schemaVersion": 2, "mediaType": MANIFEST, "config": self.config,
                                       "layers": self.layers}, MANIFEST)
        self.name = name
        self.chain_id = self.diff_ids[0] if self.diff_ids else ""
        for diff_id in self.diff_ids[1:]:
            self.chain_id = digest(f"{self.chain_id} {diff_id}".encode())

    def add(self, data, media_type):
        self.blobs[digest(data)] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def add_json(self, document, media_type):
        return self.add(json.dumps(document).encode(), media_type)

    def index(self):
        annotations = {"org.opencontainers.image.ref.name": self.name} if self.name else {}
        return {"schemaVersion": 2, "mediaType": INDEX, "manifests": [dict(self.manifest, annotations=annotations)]}

    def write(self, path, blobs=None):
        files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(self.index()).encode()}
        for name, data in (self.blobs if blobs is None else blobs).items():
            files["blobs/" + name.replace(":", "/")] = data
        with open(path, "wb") as f:
            f.write(tar_of(files))
        self.path = path
        return self


def two_layers(**kwargs):
    """busybox below, compressed; on top, plain, a few files of this machine and some to be tripped over."""
    with open("/etc/os-release", "rb") as f:
        release = f.read()
    top = {"etc/os-release": release, ("opt/not-executable", 0o644): b"#!/bin/sh\necho no\n",
           ("opt/garbage", 0o755): b"\x00\x01\x02 this is no program",
           "opt/exit": b"#!/bin/sh\nexit $1\n"}
    return Image([(tar_of(busybox_files()), True), (tar_of(top), False)], **kwargs)


def busybox(folder):
    """One uncompressed layer; its archive is <folder>/image.tar, and <folder>/rootfs has the files."""
    os.makedirs(folder)
    image = Image([(tar_of(busybox_files()), False)]).write(folder + "/image.tar")
    image.rootfs = folder + "/rootfs"
    with tarfile.open(fileobj=io.BytesIO(image.blobs[image.layers[0]["digest"]])) as tar:
        tar.extractall(image.rootfs)
    return image
