"""Archives of `docker save`, imported: by skopeo, which writes them as docker does, and in docker's older layout."""
import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
import unittest

import image
from harness import DaemonCase


class DockerArchiveTest(DaemonCase):
    def by_skopeo(self, *names):
        """The image of this class as skopeo writes it; its path."""
        if shutil.which("skopeo") is None:
            self.skipTest("there is no skopeo: cmd/setup test installs it")
        path = self.folder + "/" + self.id().split(".")[-1] + ".tar"
        extra = [word for name in names[1:] for word in ("--additional-tag", name)]
        subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", *extra, "oci-archive:" + self.archive.path,
                        f"docker-archive:{path}:{names[0]}"], check=True)
        return path

    def older(self, entries, layers, more=()):
        """As docker 20.10 saves: a folder for each layer. `entries`: (tags, indexes of layers); its path."""
        ids = ["%064x" % (n + 1) for n in range(len(layers))]
        files, manifest = {}, []
        for name, data in zip(ids, layers):
            files[name + "/VERSION"], files[name + "/json"] = b"1.0", b"{}"
            files[name + "/layer.tar"] = data
        for tags, used in entries:
            config = json.dumps({"architecture": image.architecture(), "os": "linux",
                                 "config": {"Env": ["PATH=/bin"], "Cmd": ["cat", "/which"]},
                                 "rootfs": {"type": "layers", "diff_ids": [self.diff_id(layers[i]) for i in used]},
                                 "comment": str(tags)}).encode()
            name = image.digest(config).split(":")[1] + ".json"
            files[name] = config
            manifest.append({"Config": name, "RepoTags": tags, "Layers": [ids[i] + "/layer.tar" for i in used]})
        files["manifest.json"] = json.dumps(manifest).encode()
        files["repositories"] = b"{}"
        files.update(more)
        path = self.folder + "/" + self.id().split(".")[-1] + "-older.tar"
        with open(path, "wb") as f:
            f.write(image.tar_of(files))
        return path

    @staticmethod
    def diff_id(layer):
        return image.digest(gzip.decompress(layer) if layer[:2] == b"\x1f\x8b" else layer)

    def test_one_by_skopeo_runs(self):
        path = self.by_skopeo("here.example/saved:one")
        self.assertIn("here.example/saved:one", self.run_ok("image", "import", path))
        self.assertEqual(self.run_ok("run", "--rm", "here.example/saved:one", "echo", "hello"), "hello\n")
        self.assertEqual(self.gantry("run", "--rm", "here.example/saved:one", "/opt/exit", "9").code, 9)

    def test_every_tag_is_a_name_of_it(self):
        self.run_ok("image", "import", self.by_skopeo("here.example/saved:a", "here.example/saved:b"))
        images = self.run_ok("images")
        for tag in ("a", "b"):
            self.assertRegex(images, rf"saved\s*:?\s*{tag}")
            self.assertEqual(self.run_ok("run", "--rm", "here.example/saved:" + tag, "echo", tag), tag + "\n")

    def test_a_name_of_the_users_own(self):
        self.run_ok("image", "import", "--name", "mine:1", self.by_skopeo("here.example/saved:x"))
        self.assertEqual(self.run_ok("run", "--rm", "mine:1", "echo", "hello"), "hello\n")
        self.assertNotEqual(self.gantry("run", "--rm", "here.example/saved:x", "true").code, 0)

    def test_standard_input_and_compression(self):
        with open(self.by_skopeo("here.example/saved:zipped"), "rb") as f:
            packed = gzip.compress(f.read(), 1)
        path = self.folder + "/saved.tar.gz"
        with open(path, "wb") as f:
            f.write(packed)
        self.run_ok("image", "import", path)
        self.assertEqual(self.run_ok("run", "--rm", "here.example/saved:zipped", "echo", "hello"), "hello\n")
        with open(path, "rb") as f:
            done = subprocess.run(self.gantry_command("image", "import", "--name", "piped:1", "-"), stdin=f,
                                  capture_output=True, env=self.env, text=True)
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(self.run_ok("run", "--rm", "piped:1", "echo", "hello"), "hello\n")

    def test_several_images_that_share_a_layer(self):
        layers = [image.tar_of(image.busybox_files()), image.tar_of({"which": b"first\n"}),
                  image.tar_of({"which": b"second\n"})]
        path = self.older([(["first:1", "first:latest"], [0, 1]), (["second:1"], [0, 2])], layers)
        self.run_ok("image", "import", path)
        for name, out in (("first:1", "first\n"), ("first:latest", "first\n"), ("second:1", "second\n")):
            self.assertEqual(self.run_ok("run", "--rm", name), out)

    def test_a_layer_that_is_a_link_to_another(self):
        layers = [image.tar_of(image.busybox_files()), image.tar_of({"which": b"linked\n"})]
        other = "f" * 64
        # As docker writes the second image of two that have a layer in common.
        linked = self.older([(["linked:1"], [0, 1])], layers,
                            {other + "/layer.tar": ("link", "../" + "%064x" % 2 + "/layer.tar")})
        self.rewrite(linked, "%064x/layer.tar" % 2, other + "/layer.tar")
        self.run_ok("image", "import", linked)
        self.assertEqual(self.run_ok("run", "--rm", "linked:1"), "linked\n")

    def rewrite(self, path, old, new):
        """Names another file in manifest.json."""
        files = []
        with tarfile.open(path) as tar:
            for member in tar:
                data = tar.extractfile(member).read() if member.isfile() else None
                if member.name == "manifest.json":
                    data = data.replace(old.encode(), new.encode())
                    member.size = len(data)
                files.append((member, data))
        with tarfile.open(path, "w") as tar:
            for member, data in files:
                tar.addfile(member, io.BytesIO(data) if data is not None else None)

    def test_layers_that_are_compressed(self):
        layers = [gzip.compress(image.tar_of(image.busybox_files()), 1), image.tar_of({"which": b"zipped\n"})]
        self.run_ok("image", "import", self.older([(["gz:1"], [0, 1])], layers))
        self.assertEqual(self.run_ok("run", "--rm", "gz:1"), "zipped\n")

    def test_an_image_without_a_tag_is_named_after_the_file(self):
        layers = [image.tar_of(image.busybox_files()), image.tar_of({"which": b"untagged\n"})]
        path = self.older([(None, [0, 1])], layers)
        named = self.folder + "/thing.tar"
        os.rename(path, named)
        self.run_ok("image", "import", named)
        self.assertEqual(self.run_ok("run", "--rm", "thing:latest"), "untagged\n")

    def test_what_is_missing_or_wrong_is_named_and_nothing_is_recorded(self):
        layers = [image.tar_of(image.busybox_files()), image.tar_of({"which": b"x\n"})]
        path = self.older([(["broken:1"], [0, 1])], layers)
        self.rewrite(path, "%064x/layer.tar" % 2, "gone/layer.tar")
        self.assert_failure(self.gantry("image", "import", path), 125, "cannot import", "gone/layer.tar")
        # A layer that is not what the config says: another content under its name.
        wrong = self.older([(["broken:2"], [0, 1])], layers, {"%064x/layer.tar" % 2: image.tar_of({"which": b"y\n"})})
        failed = self.gantry("image", "import", wrong)
        self.assertNotEqual(failed.code, 0, failed)
        self.assertNotIn("broken", self.run_ok("images"))


if __name__ == "__main__":
    unittest.main()
