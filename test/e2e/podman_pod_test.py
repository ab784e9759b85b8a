"""podman's pods and user namespaces on gantry-oci."""
import os

import image
import users
from harness import eventually
from podman import PodmanCase
from users import IMAGE

INFRA = "localhost/pause:latest"


def namespace(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


class PodTest(PodmanCase):
    @classmethod
    def start(cls):
        super().start()
        path = cls.folder + "/pause.tar"
        image.Image([(image.tar_of(image.busybox_files()), True)], name="pause:latest",
                    config={"Entrypoint": ["/bin/sleep", "100000"], "Env": ["PATH=/bin"]}).write(path)
        loaded = cls.podman("load", "-q", "-i", path)
        if loaded.code != 0:
            raise AssertionError(f"the infra image could not be loaded: {loaded}")

    def pod(self, name, *flags):
        self.addCleanup(self.podman, "pod", "rm", "-f", "-t", "0", name)
        self.do("pod", "create", "--cgroup-parent", "/" + self.token, "--name", name, *flags)

    def test_containers_of_a_pod_share_its_namespaces(self):
        self.pod("shared", "--infra-image", INFRA, "--share", "net,ipc,uts,pid", "--hostname", "podded")
        one = self.pid(self.up("--pod", "shared"))
        two = self.up("--pod", "shared", "--name", "second")
        for kind in ("net", "ipc", "uts", "pid"):
            self.assertEqual(namespace(one, kind), namespace(self.pid(two), kind), kind)
            self.assertNotEqual(namespace(one, kind), namespace("self", kind), kind)
        self.assertNotEqual(namespace(one, "mnt"), namespace(self.pid(two), "mnt"))
        self.assertEqual(self.do("exec", two, "hostname"), "podded\n")
        self.assertIn("/bin/sleep 100000", self.do("exec", two, "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '"))
        self.assertEqual(len(self.do("pod", "top", "shared", "pid").splitlines()), 4)
        self.do("pod", "stop", "-t", "0", "shared")
        self.assertEqual(self.inspect("second")["State"]["Status"], "exited")
        self.do("pod", "start", "shared")
        self.assertEqual(self.inspect("second")["State"]["Status"], "running")
        self.do("pod", "rm", "-f", "-t", "0", "shared")

    def test_a_pod_is_paused_unpaused_and_killed_as_one(self):
        self.pod("together", "--infra-image", INFRA)
        name = self.up("--pod", "together")
        self.do("pod", "pause", "together")
        self.assertEqual(self.inspect(name)["State"]["Status"], "paused")
        self.do("pod", "unpause", "together")
        self.assertEqual(self.do("exec", name, "echo", "on"), "on\n")
        self.do("pod", "kill", "together")
        eventually("the end", lambda: self.inspect(name)["State"]["Status"] == "exited")

    def test_a_pod_without_an_infra_container(self):
        self.pod("bare", "--infra=false")
        name = self.up("--cgroup-parent", "/" + self.token, "--pod", "bare")
        self.assertEqual(self.do("exec", name, "echo", "in"), "in\n")

    def test_a_pods_containers_start_in_the_order_of_their_needs(self):
        self.pod("ordered", "--infra-image", INFRA)
        self.do("create", "--pod", "ordered", "--init-ctr", "once", "--name", "before", "-v", "order:/o", IMAGE, "sh", "-c",
                "echo init >/o/log")
        self.do("create", "--pod", "ordered", "--name", "first", "-v", "order:/o", IMAGE, "sleep", "1000")
        self.do("create", "--pod", "ordered", "--requires", "first", "--name", "after", IMAGE, "sleep", "1000")
        self.do("pod", "start", "ordered")
        self.assertEqual(self.do("exec", "first", "cat", "/o/log"), "init\n")
        self.assertEqual(self.inspect("after")["State"]["Status"], "running")


class UsernsCase(PodmanCase):
    """As root, with a user namespace for the container."""

    def map_of(self, name):
        with open(f"/proc/{self.pid(name)}/uid_map") as f:
            return [tuple(map(int, line.split())) for line in f]


class IdMappedOverlayTest(UsernsCase):
    """The root file system is an overlay of mounts whose ids are mapped."""

    def test_ids_mapped_by_hand(self):
        name = self.up("--uidmap", "0:100000:5000", "--gidmap", "0:200000:5000", "-v", self.folder + ":/host")
        self.assertEqual(self.map_of(name), [(0, 100000, 5000)])
        with open(f"/proc/{self.pid(name)}/gid_map") as f:
            self.assertEqual(f.read().split(), ["0", "200000", "5000"])
        self.assertEqual(os.stat(f"/proc/{self.pid(name)}").st_uid, 100000)
        self.assertEqual(self.do("exec", name, "sh", "-c", "id -u; stat -c %u /bin /proc/1 /host"), "0\n0\n0\n65534\n")
        self.assertEqual(self.do("exec", "-u", "33", name, "sh", "-c", "touch /tmp/x; stat -c %u /tmp/x"), "33\n")


class UsernsTest(UsernsCase):
    # Over overlay, podman 4.3 maps one range only.
    driver = "vfs"

    def test_several_ranges_and_limits(self):
        name = self.up("--uidmap", "0:100000:10", "--uidmap", "10:400000:1", "--uidmap", "11:100011:65000", "-m", "32m",
                       "--pids-limit", "20", "--tmpfs", "/t", "--read-only", "-v", "vol:/vol", "--shm-size", "1m")
        self.assertEqual(self.map_of(name), [(0, 100000, 10), (10, 400000, 1), (11, 100011, 65000)])
        self.assertEqual(self.do("exec", name, "sh", "-c", "touch /t/a /vol/b && cat /proc/mounts | grep -c ' /t '"), "1\n")
        self.assertEqual(users.cgroup_value(self.pid(name), "pids", "pids.max", "pids.max"), "20")

    def test_an_automatic_range(self):
        name = self.up("--userns=auto:size=1024")
        (inside, outside, count), = self.map_of(name)
        self.assertEqual((inside, count), (0, 1024))
        self.assertGreaterEqual(outside, 700000)
        self.assertEqual(self.do("exec", name, "id", "-u"), "0\n")

    def test_a_userns_of_another_container_is_joined(self):
        first = self.up("--uidmap", "0:100000:5000")
        second = self.up("--userns", "container:" + first)
        self.assertEqual(namespace(self.pid(first), "user"), namespace(self.pid(second), "user"))
        self.assertEqual(self.do("exec", second, "id", "-u"), "0\n")

    def test_a_terminal_and_a_user_in_a_user_namespace(self):
        shell = self.terminal("run", "--rm", "-it", "--uidmap", "0:100000:5000", "--user", "33", IMAGE, "sh", "-c",
                              "stat -c %u $(tty); echo x >/dev/tty; exit 5")
        shell.expect(r"33\s+x")
        self.assertEqual(shell.wait(), 5)


if __name__ == "__main__":
    users.main()
