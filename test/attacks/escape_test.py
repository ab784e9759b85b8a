"""Ways out of a container through what the runtime leaves in reach: its own program, its descriptors, its directory."""
import hashlib
import os
import threading
import unittest

from bundle import RUNTIME, SLOW, AttackCase, tree


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


class RuntimesProgram(AttackCase):
    """CVE-2019-5736: root of a container gets hold of /proc/PID/exe of the runtime and writes to it."""

    def setUp(self):
        super().setUp()
        self.digest = digest(os.path.realpath(RUNTIME))
        self.addCleanup(lambda: self.assertEqual(digest(os.path.realpath(RUNTIME)), self.digest, "the runtime was overwritten"))
        # Everything that root may have, so that permissions are not what stops it.
        self.config["process"]["capabilities"] = {
            kind: ["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_FOWNER"]
            for kind in ("bounding", "effective", "permitted")}

    def test_CVE_2019_5736_a_program_that_is_proc_self_exe(self):
        self.config["process"]["args"] = ["/proc/self/exe", "--version"]
        self.run_container()  # may fail, must not hang

    def test_CVE_2019_5736_a_link_of_the_image_to_proc_self_exe(self):
        os.symlink("/proc/self/exe", self.root + "/bin/innocent")
        self.detached("/bin/probe", "execs", "2")
        self.output_has("watching")
        for _ in range(15):
            self.exec("/bin/innocent", "--version")
        self.output_has("done")
        self.assertNotIn("WRITTEN", self.output_text())

    def test_CVE_2019_5736_a_joining_process_is_watched(self):
        self.detached("/bin/probe", "execs", "2")
        self.output_has("watching")
        for _ in range(15):
            self.exec("/bin/true")
        self.output_has("done")
        self.assertNotIn("WRITTEN", self.output_text())

    def test_CVE_2019_14271_no_code_of_the_image_runs_as_the_host(self):
        # What a dynamic program or a name service of the C library would load from the root it has just entered.
        with open(RUNTIME, "rb") as f:
            head = f.read(1 << 20)
        if SLOW == 1 and os.path.basename(RUNTIME) == "gantry-oci":
            self.assertNotIn(b"/ld-linux", head, "the runtime is dynamic")
        planted = ("lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libnss_files.so.2",
                   "lib/x86_64-linux-gnu/libc.so.6", "etc/ld.so.preload", "etc/nsswitch.conf")
        for name in planted:
            self.write(f"{self.root}/{name}", "planted\n", 0o755)
            os.utime(f"{self.root}/{name}", (0, 0))
        self.config["process"]["env"] = ["PATH=/bin"]  # no HOME: it must be looked up
        self.write(self.root + "/etc/passwd", "root:x:0:0:root:/home/of/root:/bin/sh\n")
        result = self.run_container("echo $HOME")
        self.assertEqual(self.ok(result), "/home/of/root\n")
        for name in planted:  # relatime: a first read would have set it
            self.assertEqual(os.stat(f"{self.root}/{name}").st_atime, 0, name + " was read")


class Descriptors(AttackCase):
    """CVE-2024-21626, CVE-2016-9962: a descriptor or a directory of the host that stays open."""

    def with_host_open(self, *args, **kwargs):
        """Runs with descriptors of the host's directory that a careless runtime would pass on."""
        fds = [os.open(self.host, os.O_RDONLY | os.O_DIRECTORY) for _ in range(4)]
        try:
            return self.runtime(*args, pass_fds=fds, cwd=self.host, **kwargs)
        finally:
            for fd in fds:
                os.close(fd)

    def attempt(self, cwd):
        self.config["process"]["cwd"] = cwd
        self.config["process"]["args"] = ["/bin/sh", "-c", "pwd; cat canary ./canary ../canary; ls -la . .."]
        self.save()
        result = self.with_host_open("run", "--bundle", self.dir, self.id)
        if result.code != 0:
            self.with_host_open("delete", "--force", self.id)
        self.no_secret(result)
        self.assertNotIn("canary", result.out)

    def test_CVE_2024_21626_cwd_is_a_descriptor_at_create(self):
        for fd in range(3, 16):
            self.attempt(f"/proc/self/fd/{fd}")

    def test_CVE_2024_21626_cwd_is_below_a_descriptor_or_a_magic_link(self):
        for cwd in ("/proc/self/fd/7/../", "/proc/thread-self/fd/8", "/proc/1/cwd", "/proc/self/root/../..", "/proc/1/fd/9"):
            self.attempt(cwd)

    def test_CVE_2024_21626_cwd_is_a_link_of_the_image_to_a_descriptor(self):
        for fd in range(3, 12):
            link = f"{self.root}/w{fd}"
            os.symlink(f"/proc/self/fd/{fd}", link)
            self.attempt(f"/w{fd}")

    def test_CVE_2024_21626_cwd_is_a_descriptor_at_exec(self):
        self.detached("/bin/sleep", "100")
        for fd in range(3, 16):
            result = self.with_host_open("exec", "--cwd", f"/proc/self/fd/{fd}", self.id, "/bin/sh", "-c",
                                         "cat canary ../canary; ls -la . ..")
            self.no_secret(result)
            self.assertNotIn("canary", result.out)

    def test_CVE_2024_21626_the_program_is_named_through_a_descriptor(self):
        self.write(self.host + "/run-me", "#!/bin/sh\necho ESCAPED\n", 0o755)
        for fd in range(3, 12):
            self.config["process"]["args"] = [f"/proc/self/fd/{fd}/run-me"]
            self.save()
            result = self.with_host_open("run", "--bundle", self.dir, self.id)
            self.runtime("delete", "--force", self.id)
            self.assertNotIn("ESCAPED", result.out)
        os.unlink(self.host + "/run-me")
        self.before = tree(self.host)

    def test_CVE_2024_21626_the_program_has_its_three_descriptors_and_no_more(self):
        listing = "for f in /proc/self/fd/*; do echo fd ${f##*/}; done"
        self.config["process"]["args"] = ["/bin/sh", "-c", listing]
        self.save()
        # The shell itself opens the directory that it lists.
        allowed = {"0", "1", "2", "3"}
        result = self.with_host_open("run", "--bundle", self.dir, self.id)
        found = {line.split()[1] for line in self.ok(result).splitlines()}
        self.assertLessEqual(found, allowed)
        self.detached("/bin/sleep", "100")
        result = self.with_host_open("exec", self.id, "/bin/sh", "-c", listing)
        self.assertLessEqual({line.split()[1] for line in self.ok(result).splitlines()}, allowed)

    def watched_joins(self):
        self.write(self.host + "/canary", self.secret + "\n")
        self.config["process"]["capabilities"] = {kind: ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]
                                                  for kind in ("bounding", "effective", "permitted")}
        self.detached("/bin/probe", "peeks", "3", "canary")
        self.output_has("watching")
        stop = threading.Event()

        def join():
            while not stop.is_set():
                self.with_host_open("exec", self.id, "/bin/true")

        threads = [threading.Thread(target=join) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            self.output_has("done")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertIn("met", self.output_text(), "nothing was watched")
        self.assertNotIn("FOUND", self.output_text())

    def test_CVE_2016_9962_a_joining_process_leads_nowhere(self):
        self.watched_joins()

    def test_CVE_2016_9962_a_joining_process_leads_nowhere_in_a_user_namespace(self):
        namespaces = self.config["linux"]["namespaces"]
        namespaces.append({"type": "user"})
        self.config["linux"]["uidMappings"] = self.config["linux"]["gidMappings"] = [
            {"containerID": 0, "hostID": 100000, "size": 65536}]
        for folder, folders, files in os.walk(self.root):
            for name in folders + files + ["."]:
                os.lchown(os.path.join(folder, name), 100000, 100000)
        self.watched_joins()


if __name__ == "__main__":
    unittest.main()
