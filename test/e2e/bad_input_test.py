"""Bad input: a clear error that names the thing and the rule, the right exit code, nothing half done."""
import os
import shutil
import unittest

import image
from harness import OURS, RUNTIME, Daemon, DaemonCase, run


class ImageTest(DaemonCase):
    def setUp(self):
        self.before = self.content()

    def tearDown(self):
        # Nothing half done: no image, no container, no blob that was not there before, no ingest in flight.
        self.assertEqual(self.run_ok("images", "-q").split(), ["busybox:latest"])
        self.assertEqual(self.run_ok("ps", "-aq").split(), [])
        self.assertEqual(self.content(), self.before)
        self.assertEqual(len(self.ok(self.ctr("content", "active")).strip().splitlines()), 1)

    def content(self):
        return self.ok(self.ctr("content", "ls", "-q")).split()

    def import_fails(self, why, hint="", path=None):
        self.assert_failure(self.gantry("image", "import", path or self.path), 125, "cannot import", why, hint)

    def path_for(self, data):
        self.path = self.folder + "/bad.tar"
        with open(self.path, "wb") as f:
            f.write(data)
        return self.path

    def bad_image(self, **changes):
        """An image that shares no blob with the good one."""
        return image.Image([(image.tar_of({"only/" + self.id().rsplit(".", 1)[1]: b"x" * 5000}), False)], **changes)

    def test_what_is_no_archive_is_refused(self):
        self.path_for(b"this is no archive, whatever its name says\n" * 100)
        self.import_fails("is no tar archive")

    def test_an_archive_without_an_image_is_refused(self):
        self.path_for(image.tar_of({"hello": b"world"}))
        self.import_fails("neither index.json", "OCI image layout")

    def test_a_truncated_archive_is_refused(self):
        bad = self.bad_image()
        bad.write(self.folder + "/whole.tar")
        with open(self.folder + "/whole.tar", "rb") as f:
            data = f.read()
        self.path_for(data[: len(data) // 2])
        self.import_fails("cut short")

    def test_a_blob_with_another_content_than_its_digest_is_refused(self):
        bad = self.bad_image()
        blobs = dict(bad.blobs)
        layer = bad.layers[0]["digest"]
        blobs[layer] = blobs[layer][:-1] + b"!"
        self.path = bad.write(self.folder + "/bad.tar", blobs).path
        self.import_fails(layer[7:19])

    def test_a_layer_that_is_missing_is_named(self):
        bad = self.bad_image()
        layer = bad.layers[0]["digest"]
        blobs = {name: data for name, data in bad.blobs.items() if name != layer}
        self.path = bad.write(self.folder + "/bad.tar", blobs).path
        self.import_fails(layer)

    def test_a_layer_that_is_not_what_the_config_says_is_refused(self):
        bad = self.bad_image()
        other = image.digest(b"something else")
        bad.config = bad.add_json({"architecture": image.architecture(), "os": "linux", "config": {},
                                   "rootfs": {"type": "layers", "diff_ids": [other]}}, image.CONFIG)
        bad.manifest = bad.add_json({"schemaVersion": 2, "config": bad.config, "layers": bad.layers}, image.MANIFEST)
        self.path = bad.write(self.folder + "/bad.tar").path
        self.import_fails(other)

    def test_an_image_for_another_machine_is_refused(self):
        self.path = self.bad_image(arch="s390x").write(self.folder + "/bad.tar").path
        self.import_fails("linux/s390x")

    def test_a_digest_that_is_none_is_refused(self):
        bad = self.bad_image()
        bad.manifest["digest"] = "sha256:../../etc/passwd"
        self.path = bad.write(self.folder + "/bad.tar").path
        self.import_fails("is no digest")

    def test_documents_that_are_no_json_are_refused(self):
        self.path_for(image.tar_of({"index.json": b"{"}))
        self.import_fails("index.json: no JSON")

    def test_a_missing_file_and_a_directory_are_named(self):
        self.import_fails("No such file or directory", path=self.folder + "/none.tar")
        self.import_fails("is a directory", path=self.folder)

    def test_an_unknown_image_is_named(self):
        self.assert_failure(self.gantry("run", "--rm", "nothing:1", "true"), 125, "cannot run image nothing:1",
                            'there is no image "nothing:1"', "gantry image import")

    def test_wrong_flags_are_named_and_leave_nothing(self):
        for flags, why in ((("-m", "lots"), '"lots" is no size'), (("--cpus", "0"), "no number of processors"),
                           (("-u", "nobody-here"), 'no user "nobody-here"'), (("-w", "tmp"), "absolute path"),
                           (("-v", "/no/such:/x"), "not there on this machine"), (("--name", "a/b"), "is no name"),
                           (("--network", "moon"), "the networks are none and host"),
                           (("-u", "4294967296"), "is no number from 0")):
            self.assert_failure(self.gantry("run", "--rm", *flags, "busybox", "true"), 125, "cannot run image", why)

    def test_a_runtime_that_is_not_installed_is_named(self):
        result = self.gantry("run", "--rm", "--runtime", "io.containerd.missing.v9", "busybox", "true")
        self.assert_failure(result, 125, "cannot run image", "missing")

    def test_a_command_that_does_not_exist_leaves_nothing(self):
        self.assert_failure(self.gantry("run", "--rm", "busybox", "nope"), 127, "cannot run image", "nope")
        done = self.ctr("run", "--rm", "--runtime", RUNTIME, "busybox:latest", "by-ctr", "nope")
        self.assertNotEqual(done.code, 0)
        self.assertIn("nope", done.err)
        self.ctr("containers", "rm", "by-ctr")


class UnknownContainerTest(DaemonCase):
    def test_every_command_names_an_unknown_container(self):
        for command in (["stop"], ["kill"], ["rm"], ["logs"], ["wait"], ["rm", "-f"]):
            self.assert_failure(self.gantry(*command, "nobody"), 125, "nobody", 'there is no container "nobody"',
                                "gantry ps -a")
        self.assert_failure(self.gantry("exec", "nobody", "true"), 125, "nobody", 'there is no container "nobody"')
        self.assert_failure(self.gantry("inspect", "nobody"), 125, "cannot inspect nobody", "neither a container nor an image")

    def test_ctr_is_told_so_too(self):
        for args in (("tasks", "kill", "nobody"), ("containers", "info", "nobody"), ("tasks", "exec", "--exec-id", "x", "nobody", "true")):
            result = self.ctr(*args)
            self.assertEqual(result.code, 1, result)
            self.assertIn("not found", result.err)


@unittest.skipUnless(OURS, "these are gantryd's own messages")
class DaemonInputTest(DaemonCase):
    def another(self, config):
        folder = self.folder + "/" + self.id().rsplit(".", 1)[1]
        os.makedirs(folder)
        daemon = Daemon(folder, self.token)
        with open(daemon.config, "w") as f:
            f.write(config)
        return daemon

    def test_an_unknown_key_is_a_warning_with_its_line(self):
        daemon = self.another("version = 2\n\n[grpc]\nno_such_key = 1\n")
        daemon.start()
        self.addCleanup(daemon.stop)
        self.assertIn("no_such_key", daemon.log_text())
        self.assertIn("config.toml:4", daemon.log_text())

    def test_a_config_that_is_no_toml_is_refused(self):
        daemon = self.another("version = 2\nthis is no toml\n")
        result = run(daemon.command())
        self.assertNotEqual(result.code, 0)
        self.assertIn("config.toml:2", result.err)

    def test_a_config_that_does_not_exist_is_refused(self):
        daemon = self.another("")
        os.unlink(daemon.config)
        result = run(daemon.command())
        self.assertNotEqual(result.code, 0)
        self.assertIn(daemon.config, result.err)

    def test_a_kernel_without_overlay_is_said(self):
        # The daemon tries overlayfs rather than guess; strace, beside it (-D), answers as a kernel without it does.
        if shutil.which("strace") is None:
            self.skipTest("there is no strace: cmd/setup test installs it")
        daemon = self.another("version = 2\n")
        command = daemon.command()
        refuse = "inject=fsopen,mount:error=ENODEV"
        daemon.command = lambda: ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsopen,mount", "-e",
                                  refuse, *command]
        daemon.start()
        self.addCleanup(daemon.stop)
        plugins = run(["ctr", "--address", daemon.socket, "plugins", "ls"]).out
        overlay = [line for line in plugins.splitlines() if "overlayfs" in line]
        self.assertTrue(overlay and not overlay[0].rstrip().endswith("ok"), plugins)
        tried = run([self.gantry_command()[0], "-a", daemon.socket, "image", "import", self.archive.path])
        self.assertEqual(tried.code, 125)
        self.assertIn("overlay", tried.err)


if __name__ == "__main__":
    unittest.main()
