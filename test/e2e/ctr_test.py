"""Debian's own ctr, a client that nobody here wrote, against our daemon."""
import json
import os
import subprocess
import unittest

import image
from harness import IMAGE, RUNTIME, DaemonCase, eventually, run


class CtrTest(DaemonCase):
    def up(self, name, *command, flags=()):
        self.addCleanup(self.ctr, "containers", "rm", name)
        self.addCleanup(self.ctr, "tasks", "rm", "-f", name)
        command = command or ("sleep", "1000")
        self.ok(self.ctr("run", "-d", "--runtime", RUNTIME, *flags, IMAGE, name, *command))

    def status(self, name):
        for line in self.ok(self.ctr("tasks", "ls")).splitlines()[1:]:
            if line.split()[0] == name:
                return line.split()[2]
        return ""

    def test_version_names_client_and_server(self):
        out = self.ok(self.ctr("version"))
        self.assertIn("Client:", out)
        self.assertIn("Server:", out)

    def test_images_are_imported_listed_and_removed(self):
        path = self.folder + "/other.tar"
        image.two_layers(name="other:v1").write(path)
        self.assertIn("other:v1", self.ok(self.ctr("images", "import", path)))
        self.assertIn("other:v1", self.ok(self.ctr("images", "ls")))
        self.assertIn("other:v1", self.ok(self.ctr("images", "ls", "-q")).split())
        self.ok(self.ctr("images", "rm", "other:v1"))
        self.assertNotIn("other:v1", self.ok(self.ctr("images", "ls", "-q")).split())

    def test_run_rm_passes_output_and_exit_code_on(self):
        self.assertEqual(self.ok(self.ctr("run", "--rm", "--runtime", RUNTIME, IMAGE, "one", "echo", "hello")), "hello\n")
        self.assertEqual(self.ctr("run", "--rm", "--runtime", RUNTIME, IMAGE, "two", "/opt/exit", "9").code, 9)
        self.assertNotIn("one", self.ok(self.ctr("containers", "ls", "-q")).split())
        self.assertNotIn("two", self.ok(self.ctr("snapshots", "ls")))

    def test_detached_container_is_listed_entered_killed_and_deleted(self):
        self.up("long", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done")
        self.assertEqual(self.status("long"), "RUNNING")
        self.assertEqual(self.ok(self.ctr("tasks", "exec", "--exec-id", "e1", "long", "echo", "inside")), "inside\n")
        self.assertEqual(self.ctr("tasks", "exec", "--exec-id", "e2", "long", "/opt/exit", "5").code, 5)
        self.assertNotEqual(self.ctr("tasks", "delete", "long").code, 0, "a running task must not be deleted")
        self.ok(self.ctr("tasks", "kill", "-s", "SIGTERM", "long"))
        eventually("the task stops", lambda: self.status("long") == "STOPPED")
        deleted = self.ctr("tasks", "delete", "long")
        self.ok(deleted)
        self.assertIn("exit code 3", deleted.err)  # a warning of ctr's
        self.assertEqual(self.status("long"), "")
        self.assertEqual(self.ok(self.ctr("containers", "ls", "-q")).split().count("long"), 1)
        info = json.loads(self.ok(self.ctr("containers", "info", "long")))
        self.assertEqual(info["Image"], IMAGE)
        self.assertEqual(info["Runtime"]["Name"], RUNTIME)
        self.ok(self.ctr("containers", "rm", "long"))
        self.assertEqual(self.ctr("containers", "info", "long").code, 1)

    def test_ps_and_metrics_of_a_task(self):
        self.up("measured")
        self.assertEqual(len(self.ok(self.ctr("tasks", "ps", "measured")).splitlines()), 2)
        self.assertIn("memory", self.ok(self.ctr("tasks", "metrics", "measured")))

    def test_events_come_in_order(self):
        log = self.folder + "/events"
        with open(log, "w") as out:
            watcher = subprocess.Popen(["ctr", "--address", self.daemon.socket, "events"], stdout=out)
        try:
            def settled():
                self.ctr("namespaces", "create", self.ns + "-probe")
                self.ctr("namespaces", "rm", self.ns + "-probe")
                return os.path.getsize(log) > 0
            eventually("the subscription stands", settled)
            self.ok(self.ctr("run", "--rm", "--runtime", RUNTIME, IMAGE, "watched", "true"))

            def topics():
                with open(log) as f:
                    lines = [line for line in f if '"watched"' in line]
                return [word for line in lines for word in line.split() if word.startswith("/")]
            eventually("the last event", lambda: "/containers/delete" in topics())
            wanted = ["/containers/create", "/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete",
                      "/containers/delete"]
            seen = [topic for topic in topics() if topic in wanted]
            self.assertEqual(seen, wanted)
        finally:
            watcher.kill()
            watcher.wait()

    def test_snapshots_and_content_are_listed(self):
        self.up("snapped")
        listing = self.ok(self.ctr("snapshots", "ls"))
        self.assertIn("snapped", listing)
        self.assertIn(self.archive.chain_id, listing)
        content = self.ok(self.ctr("content", "ls"))
        for digest in self.archive.blobs:
            self.assertIn(digest, content)

    def test_namespaces_are_created_listed_and_kept_apart(self):
        other = self.ns + "-other"
        self.ok(self.ctr("namespaces", "create", other))
        self.addCleanup(self.ctr, "namespaces", "rm", other)
        self.assertIn(other, self.ok(self.ctr("namespaces", "ls", "-q")).split())
        there = run(["ctr", "--address", self.daemon.socket, "--namespace", other, "images", "ls", "-q"])
        self.assertEqual(self.ok(there).split(), [])


if __name__ == "__main__":
    unittest.main()
