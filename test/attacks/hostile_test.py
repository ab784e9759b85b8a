"""Configurations made to cost: huge, deep, many. Each is refused, or runs, in bounded time and memory."""
import json
import os
import subprocess
import unittest

from bundle import SLOW, AttackCase, is_ours

MEGABYTE = 1 << 20


class Hostile(AttackCase):
    """CVE-2025-58183 and its like."""

    SECONDS = 5  # of processor time
    RESIDENT = 400 * MEGABYTE  # the document is 16 MiB; its parsed form and the Plan are in memory together

    def measured(self, text, command="run"):
        """The outcome for this config.json, of a runtime that may take only so much time and memory."""
        with open(self.dir + "/config.json", "w") as f:
            f.write(text)
        args = ["run", "--bundle", self.dir, self.id] if command == "run" else ["explain", "--bundle", self.dir]
        out = open(self.dir + "/out", "wb+")
        err = open(self.dir + "/err", "wb+")
        with out, err:
            limit = "" if SLOW > 1 else f"ulimit -v {2 * self.RESIDENT // 1024}; "
            process = subprocess.Popen(["/bin/sh", "-c", limit + 'exec "$@"', "sh", *self.command(*args)],
                                       stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            err.seek(0)
            message = err.read(1 << 20).decode(errors="replace")
        self.runtime("delete", "--force", self.id)
        self.assertGreaterEqual(process.returncode, 0, "killed by a signal: " + message[:500])
        self.assertLess(usage.ru_utime + usage.ru_stime, self.SECONDS * SLOW)
        self.assertLess(usage.ru_maxrss * 1024, self.RESIDENT * (4 if SLOW > 1 else 1))
        self.assertLess(len(message), 10000, "a message that is longer than anybody reads")
        return process.returncode, message

    def refused_cheaply(self, text, *words):
        for command in ("run", "explain") if is_ours() else ("run",):
            code, message = self.measured(text, command)
            self.assertEqual(code, 1, message[:500])
            for word in words:
                self.assertIn(word, message)

    def config_with(self, **members):
        config = dict(self.config, **members)
        return json.dumps(config)

    def test_CVE_2025_58183_a_document_beyond_the_limit(self):
        self.refused_cheaply('{"ociVersion":"' + "1" * (16 * MEGABYTE) + '"}')
        with open(self.dir + "/config.json", "wb") as f:
            f.truncate(1 << 40)
        result = self.runtime("run", "--bundle", self.dir, self.id)
        self.refused(result, "config.json")

    def test_a_document_of_nearly_the_limit_in_one_string(self):
        self.config["annotations"] = {"x": "y" * (15 * MEGABYTE)}
        code, message = self.measured(json.dumps(self.config))
        self.assertEqual(code, 0, message[:500])

    def test_depth(self):
        for opening, closing in (("[", "]"), ('{"x":', "}")):
            for depth in (200, 100000):
                text = self.config_with()[:-1] + ',"unknown":' + opening * depth + "1" + closing * depth + "}"
                self.refused_cheaply(text)
            # Without its ends.
            self.refused_cheaply(opening * 1000000)

    def test_a_depth_of_64_is_fine(self):
        text = self.config_with()[:-1] + ',"unknown":' + "[" * 64 + "]" * 64 + "}"
        self.assertEqual(self.measured(text)[0], 0)

    def test_counts(self):
        many = 2 * MEGABYTE
        self.refused_cheaply('{"a":[' + "0," * many + "0]}")
        self.refused_cheaply('{"a":[' + "{}," * many + "{}]}")
        self.refused_cheaply("{" + '"a":0,' * many + '"a":0}')

    def test_many_mounts(self):
        self.config["mounts"] += [{"destination": "/x", "type": "tmpfs"}] * 100000
        self.refused_cheaply(json.dumps(self.config), "mounts")

    def test_many_hooks_devices_and_namespaces(self):
        for change in ({"hooks": {"prestart": [{"path": "/bin/true"}] * 100000}},):
            self.refused_cheaply(self.config_with(**change), "hooks")
        for member, value in (("devices", {"path": "/dev/x", "type": "c", "major": 1, "minor": 3}),
                              ("namespaces", {"type": "pid"}), ("maskedPaths", "/x"), ("readonlyPaths", "/x")):
            linux = dict(self.config["linux"], **{member: [value] * 50000})
            self.refused_cheaply(self.config_with(linux=linux), member)

    def test_many_seccomp_rules(self):
        linux = dict(self.config["linux"], seccomp={
            "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                {"names": ["getpid"], "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 0, "value": n, "op": "SCMP_CMP_EQ"}]} for n in range(50000)]})
        code, _ = self.measured(self.config_with(linux=linux))
        self.assertNotEqual(code, 0)

    def test_many_words(self):
        for member in ("args", "env"):
            process = dict(self.config["process"], **{member: ["A=" + "b" * 10] * 500000})
            code, message = self.measured(self.config_with(process=process))
            self.assertNotEqual(code, 0, message)

    def test_CVE_2025_58183_cpusets_and_lists_of_processors(self):
        for text in ("0-4294967295", "0-18446744073709551615", "0-99999999999999999999", ",".join(["0-4294967295"] * 1000),
                     "0-", "-1", "4294967295-0"):
            linux = dict(self.config["linux"], resources={"cpu": {"cpus": text}})
            self.refused_cheaply_when_run(self.config_with(linux=linux))
            process = dict(self.config["process"], execCPUAffinity={"initial": text, "final": text})
            self.refused_cheaply_when_run(self.config_with(process=process))

    def refused_cheaply_when_run(self, text):
        code, message = self.measured(text)
        self.assertNotEqual(code, 0, message)

    def test_numbers_at_the_edge(self):
        for text in ("1e309", "-1e309", "1" * 5000, "0." + "1" * 5000, "1e-400", "-0", "18446744073709551616"):
            raw = self.config_with()[:-1] + f',"linux":{{"resources":{{"pids":{{"limit":{text}}}}}}}}}'
            code, message = self.measured(raw)
            self.assertNotEqual(code, 0, message[:500])

    def test_strings_with_nul_and_broken_encoding(self):
        for member in ("hostname", "domainname"):
            self.refused_cheaply(self.config_with(**{member: "a\0b"}))
        process = dict(self.config["process"], args=["/bin/true\0x"])
        self.refused_cheaply(self.config_with(process=process))
        process = dict(self.config["process"], cwd="/\0")
        self.refused_cheaply(self.config_with(process=process))

    def test_paths_longer_than_any(self):
        for change in ({"root": {"path": "r" * 100000}}, {"hostname": "h" * 100000},
                       {"mounts": [{"destination": "/" + "d/" * 100000, "type": "tmpfs"}]}):
            code, message = self.measured(self.config_with(**change))
            self.assertNotEqual(code, 0, message[:300])

    def test_the_config_is_no_file(self):
        path = self.dir + "/config.json"
        os.mkfifo(path)
        self.assertEqual(self.runtime("run", "--bundle", self.dir, self.id, timeout=5).code, 1)
        os.unlink(path)
        os.symlink("/dev/zero", path)
        self.assertEqual(self.runtime("run", "--bundle", self.dir, self.id, timeout=5).code, 1)
        os.unlink(path)
        os.mkdir(path)
        self.assertEqual(self.runtime("run", "--bundle", self.dir, self.id, timeout=5).code, 1)
        os.rmdir(path)


if __name__ == "__main__":
    unittest.main()
