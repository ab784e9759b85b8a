"""Names of the image, or of a volume that somebody else changes, that lead to the host when the runtime mounts, makes or
copies something there."""
import os
import unittest

from bundle import DEV, PROC, PTS, AttackCase

MARK = "size=12340k"  # tells the mount that is looked for from all others


def tmpfs(destination, *options):
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", *options]}


class Swapped(AttackCase):
    """CVE-2021-30465, CVE-2024-45310, CVE-2018-15664, CVE-2026-41568, CVE-2026-42306: between the look at a name and
    its use the name becomes a symlink to the host."""

    TRIES = 40

    def setUp(self):
        super().setUp()
        # A volume that another container could have too. x is a directory or a link to the host's directory.
        self.volume = self.dir + "/volume"
        os.makedirs(self.volume + "/x/sub")
        os.symlink(self.host, self.volume + "/y")
        self.config["mounts"].append({"destination": "/vol", "type": "bind", "source": self.volume,
                                      "options": ["rbind", "rw"]})
        self.swapping(self.volume + "/x", self.volume + "/y")

    def runs(self, *script):
        """The outcomes of many runs, of which some must have come as far as the program."""
        came = 0
        for _ in range(self.TRIES):
            result = self.run_container(*script)
            self.no_secret(result)
            came += result.code == 0
            yield result
        self.assertGreater(came, 0, "no run came as far as the program")

    def test_CVE_2021_30465_a_mount_point_is_swapped(self):
        self.config["mounts"].append(tmpfs("/vol/x", MARK))
        for result in self.runs("grep -c size=12340k /proc/self/mountinfo", "cat /vol/x/canary /vol/y/canary; true"):
            if result.code == 0:
                self.assertEqual(result.out, "1\n", "the mount went to somewhere else")

    def test_CVE_2021_30465_a_volume_is_mounted_through_a_swapped_name(self):
        os.mkdir(self.dir + "/second")
        self.config["mounts"].append({"destination": "/vol/x/sub", "type": "bind", "source": self.dir + "/second",
                                      "options": ["bind"]})
        for result in self.runs("cat /vol/x/canary /vol/y/canary; true"):
            self.assertNotIn("canary:", result.out)

    def test_CVE_2024_45310_a_mount_point_that_is_made_is_swapped(self):
        for n in range(4):
            self.config["mounts"].append(tmpfs(f"/vol/x/made-{n}/by/the/runtime"))
            self.config["mounts"].append({"destination": f"/vol/x/file-{n}", "type": "bind",
                                          "source": self.dir + "/config.json", "options": ["bind"]})
        for _ in self.runs("true"):
            # The link itself points there too: what was made in it on the way is the host's.
            self.assertEqual(sorted(os.listdir(self.host)), ["canary"])

    def test_CVE_2018_15664_a_copy_is_made_of_a_swapped_directory(self):
        # tmpcopyup: the runtime copies what a tmpfs covers.
        self.config["mounts"].append(tmpfs("/vol/x", "tmpcopyup"))
        for _ in self.runs("cat /vol/x/canary /vol/x/*; true"):
            pass

    def test_CVE_2026_41568_what_a_copy_finds_is_swapped_below_it(self):
        self.write(self.volume + "/tree/a", "a")
        os.makedirs(self.volume + "/tree/inner")
        os.symlink(self.host, self.volume + "/tree/link")
        self.swapping(self.volume + "/tree/inner", self.volume + "/tree/link")
        self.config["mounts"].append(tmpfs("/vol/tree", "tmpcopyup"))
        for _ in self.runs("cat /vol/tree/*/canary; true"):
            pass

    def test_CVE_2026_42306_a_working_directory_is_swapped(self):
        self.config["process"]["cwd"] = "/vol/x/made/by/cwd"
        for result in self.runs("pwd; ls; cat ../../../canary; true"):
            self.assertNotIn("canary", result.out)
            self.assertEqual(sorted(os.listdir(self.host)), ["canary"])

    def test_CVE_2024_45310_a_device_and_a_mask_are_swapped(self):
        self.config["linux"]["devices"] = [{"path": "/vol/x/device", "type": "c", "major": 1, "minor": 3}]
        self.config["linux"]["maskedPaths"] = ["/vol/x/canary"]
        self.config["linux"]["readonlyPaths"] = ["/vol/x"]
        for _ in self.runs("true"):
            self.assertEqual(sorted(os.listdir(self.host)), ["canary"])


class Symlinked(AttackCase):
    """CVE-2026-41579, CVE-2026-47766, CVE-2019-18837: folders of the image that are symlinks to the host."""

    def link(self, name, target):
        path = f"{self.root}/{name}"
        if os.path.isdir(path):
            os.rmdir(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(target, path)

    def targets(self):
        up = "../" * 12
        return (self.host, up + self.host, "/proc/1/root" + self.host, "/data/../../../.." + self.host)

    def host_as_it_was(self, result):
        self.no_secret(result)
        self.assertEqual(sorted(os.listdir(self.host)), ["canary"])

    def with_each(self, name, mounts):
        for target in self.targets():
            path = f"{self.root}/{name}"
            if os.path.islink(path):
                os.unlink(path)
            self.link(name, target)
            self.config["mounts"] = [dict(mount) for mount in mounts]
            self.host_as_it_was(self.run_container("ls /dev /etc; cat /dev/canary /etc/canary; true"))

    def test_CVE_2026_41579_dev_is_a_symlink_and_nothing_is_mounted_there(self):
        self.with_each("dev", [PROC])

    def test_CVE_2026_41579_dev_is_a_symlink_and_file_systems_are_mounted_there(self):
        self.with_each("dev", [PROC, DEV, PTS])

    def test_CVE_2026_41579_dev_pts_is_a_symlink(self):
        self.with_each("dev/pts", [PROC, PTS])

    def test_CVE_2026_47766_etc_is_a_symlink_and_files_are_mounted_there(self):
        self.write(self.dir + "/hosts", "127.0.0.1 localhost\n")
        bind = [{"destination": "/etc/" + name, "type": "bind", "source": self.dir + "/hosts", "options": ["bind", "ro"]}
                for name in ("hosts", "resolv.conf", "hostname", "new/file")]
        self.with_each("etc", [PROC, DEV, *bind])

    def test_CVE_2019_18837_the_working_directory_is_below_a_symlink(self):
        for target in self.targets():
            if os.path.lexists(self.root + "/work"):
                os.unlink(self.root + "/work")
            self.link("work", target)
            for cwd in ("/work", "/work/made", "/work/made/deep"):
                self.config["process"]["cwd"] = cwd
                self.host_as_it_was(self.run_container("pwd; ls -a; touch here; cat canary; true"))

    def test_CVE_2019_18837_devices_and_mount_points_are_below_a_symlink(self):
        self.link("out", self.host)
        self.config["linux"]["devices"] = [{"path": "/out/null", "type": "c", "major": 1, "minor": 3}]
        self.config["mounts"].append(tmpfs("/out/tmp"))
        self.config["linux"]["maskedPaths"] = ["/out/canary"]
        self.host_as_it_was(self.run_container("true"))

    def test_CVE_2026_47766_passwd_is_a_symlink_to_the_host(self):
        self.write(self.host + "/passwd", "root:x:0:0:root:/home/of/the/host:/bin/sh\n")
        self.before.update({self.host + "/passwd": None})
        for target in (self.host + "/passwd", "../" * 12 + self.host + "/passwd"):
            if os.path.lexists(self.root + "/etc/passwd"):
                os.unlink(self.root + "/etc/passwd")
            os.symlink(target, self.root + "/etc/passwd")
            self.assertNotIn("/home/of/the/host", self.run_container("echo $HOME").out)
        os.unlink(self.host + "/passwd")
        del self.before[self.host + "/passwd"]


if __name__ == "__main__":
    unittest.main()
