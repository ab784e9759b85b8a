"""On a kernel before 5.12, which cannot change a mount by its descriptor, a container is the same as on a new one.

The older kernel is a filter under which newer system calls answer ENOSYS; see probe.cc."""
import os
import unittest

from bundle import AttackCase, is_ours


class OldKernel(AttackCase):
    SHOW = "while read -r _ _ _ root point options tags; do echo $root $point $options ${tags% - *}; done </proc/self/mountinfo"

    def setUp(self):
        if not is_ours():
            self.skipTest("gantry-oci's own way")
        super().setUp()
        os.makedirs(self.dir + "/volume/folder")
        os.symlink("busybox", self.root + "/bin/mkdir")

    def bind(self, destination, *options):
        return {"destination": destination, "type": "bind", "source": self.dir + "/volume", "options": list(options)}

    def tmpfs(self, destination, *options):
        return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": list(options)}

    def outcome(self, old, *script):
        self.old_kernel = old
        try:
            return self.ok(self.run_container(*script))
        finally:
            self.old_kernel = False

    def same(self, *script):
        """What the script prints is the same on both, up to numbers that the kernel gives out."""
        def plain(text):
            words = [word for word in text.split() if not word.startswith(("shared:", "master:", "propagate_from:"))]
            kinds = [word.split(":")[0] for word in text.split() if word.startswith(("shared:", "master:"))]
            return words, kinds

        self.outcome(False, "true")  # mount points are there from now on
        new, old = self.outcome(False, *script), self.outcome(True, *script)
        self.assertEqual(plain(new), plain(old))
        return old

    def test_the_older_kernel_is_one(self):
        self.assertTrue(self.outcome(True, "cat /proc/sys/kernel/osrelease; busybox uname -r").split()[1].startswith("2.6"))

    def test_attributes_of_mounts_are_the_same(self):
        self.config["mounts"] += [
            self.bind("/b1", "bind", "ro"), self.bind("/b2", "rbind", "rw", "nosuid", "nodev", "noexec"),
            self.bind("/b3", "bind", "ro", "noatime"), self.bind("/b4", "bind", "strictatime", "nodiratime"),
            self.bind("/b5", "bind", "relatime", "private"), self.bind("/b6", "rbind", "rslave"),
            self.bind("/b7", "rbind", "rprivate"), self.bind("/b8", "rbind", "rshared"),
            self.tmpfs("/t1", "ro", "nosuid"), self.tmpfs("/t2", "noexec", "nodev", "strictatime"),
            self.tmpfs("/t3", "noatime", "rprivate"), self.tmpfs("/t4", "ro", "tmpcopyup"),
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid", "noexec", "nodev"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid"]}]
        out = self.same(self.SHOW)
        self.assertIn(" /b1 ro,", out)
        self.assertIn(" /proc/sys ro,", out)

    def test_a_read_only_root_and_its_propagation_are_the_same(self):
        self.config["root"]["readonly"] = True
        for propagation in ("private", "slave", "rslave", "shared", "unbindable"):
            self.config["linux"]["rootfsPropagation"] = propagation
            self.same(self.SHOW, "touch /x 2>/dev/null && echo WRITTEN; true")

    def test_masks_and_read_only_paths_hold(self):
        self.config["linux"]["maskedPaths"] = ["/proc/version", "/proc/kcore", "/data"]
        self.write(self.root + "/data/file", "hidden\n")
        out = self.same("cat /proc/version; ls /data; echo x >/proc/sys/kernel/shmmax || echo refused")
        self.assertEqual(out, "refused\n")

    def test_a_user_namespace_is_the_same(self):
        self.config["linux"]["namespaces"].append({"type": "user"})
        self.config["linux"]["uidMappings"] = self.config["linux"]["gidMappings"] = [
            {"containerID": 0, "hostID": 100000, "size": 65536}]
        for folder, folders, files in os.walk(self.root):
            for name in folders + files + ["."]:
                os.lchown(os.path.join(folder, name), 100000, 100000)
        self.config["mounts"].append(self.bind("/b1", "rbind", "ro"))
        self.same(self.SHOW, "id -u")

    def test_the_whole_life(self):
        self.old_kernel = True
        self.detached("/bin/sleep", "100")
        self.assertEqual(self.ok(self.exec("/bin/sh", "-c", "echo in; ls /proc/self/fd | busybox wc -l")), "in\n4\n")
        self.ok(self.runtime("pause", self.id))
        self.ok(self.runtime("resume", self.id))
        self.ok(self.runtime("kill", self.id, "KILL"))
        self.eventually(lambda: self.runtime("delete", self.id).code == 0, "deleted")

    def test_the_runtimes_program_cannot_be_written(self):
        # A sealed copy: CVE-2019-5736.
        self.old_kernel = True
        self.config["process"]["capabilities"] = {kind: ["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN"]
                                                  for kind in ("bounding", "effective", "permitted")}
        self.detached("/bin/probe", "execs", "2")
        self.output_has("watching")
        for _ in range(10):
            self.exec("/bin/true")
        self.output_has("done")
        self.assertNotIn("WRITTEN", self.output_text())

    def test_what_an_older_kernel_cannot_do_is_refused_with_the_reason(self):
        self.old_kernel = True
        for options in (["rbind", "rro"], ["bind", "idmap"]):
            mount = self.bind("/b", *options)
            if "idmap" in options:
                mount["uidMappings"] = mount["gidMappings"] = [{"containerID": 0, "hostID": 1, "size": 1}]
            self.config["mounts"] = self.config["mounts"][:3] + [mount]
            self.refused(self.run_container("true"), "Linux 5.12")


if __name__ == "__main__":
    unittest.main()
