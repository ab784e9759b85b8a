#!/usr/bin/env python3
"""The top level holds what the house fixed, and each top folder's README names every folder below it."""
import os
import subprocess
import sys

import source

TOP = {"CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md",
       "api", "bazel", "cmd", "content", "daemon", "runtime", "shim", "snapshotter", "test"}
# A corpus is data, and api/proto repeats the wire's own package names.
EXEMPT = ("corpus", "testdata")


def tracked(root):
    out = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                         capture_output=True, check=True).stdout.decode()
    return [n for n in out.split("\0") if n]


def check(root, names):
    findings = []
    rooms = {}
    for name in names:
        top, _, rest = name.partition("/")
        if top not in TOP and not top.startswith("."):
            findings.append("%s: the top level is fixed (%s and dotfiles)" % (top, " ".join(sorted(TOP))))
        if rest and not top.startswith("."):
            rooms.setdefault(top, set())
            if "/" in rest:
                rooms[top].add(rest.split("/")[0])
    for top, children in sorted(rooms.items()):
        readme = os.path.join(root, top, "README.md")
        if not os.path.exists(readme):
            findings.append("%s/README.md is missing" % top)
            continue
        with open(readme, encoding="utf-8") as f:
            text = f.read()
        for child in sorted(children):
            if child not in EXEMPT and child not in text:
                findings.append("%s/README.md does not name its room %s/" % (top, child))
    return sorted(set(findings))


if __name__ == "__main__":
    directory = sys.argv[1] if len(sys.argv) > 1 else os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "..", "..")
    sys.exit(source.report(check(directory, tracked(directory))))
