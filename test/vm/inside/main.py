"""Runs the tests of this folder and tells what took how long. Arguments are unittest's."""
import faulthandler
import sys
import time
import unittest

from harness import run


class Result(unittest.TextTestResult):
    def printErrors(self):
        pass

    def startTest(self, test):
        self.started = time.monotonic()
        super().startTest(test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.stream.writeln(self.failures[-1][1])  # now: the machine may be stopped before the end

    def addError(self, test, err):
        super().addError(test, err)
        self.stream.writeln(self.errors[-1][1])

    def stopTest(self, test):
        super().stopTest(test)
        self.stream.writeln(f"    {time.monotonic() - self.started:.1f} s")
        self.stream.flush()


def main():
    faulthandler.enable()
    print(f"booted in {open('/proc/uptime').read().split()[0]} s", flush=True)
    # What systemd does not hand down by itself.
    for controller in ("cpu", "cpuset", "io", "memory", "hugetlb", "pids", "rdma", "misc"):
        run("/bin/sh", "-c", f"echo +{controller} > /sys/fs/cgroup/cgroup.subtree_control")
    loader = unittest.defaultTestLoader
    wanted = sys.argv[1:]
    tests = loader.loadTestsFromNames(wanted) if wanted else loader.loadTestsFromNames(["cgroup_test", "systemd_test"])
    runner = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Result)
    return 0 if runner.run(tests).wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
