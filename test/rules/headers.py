#!/usr/bin/env python3
"""Every header compiles alone.

A header that passed is not tried again while it and all that it includes are the same: the digest of its
preprocessed text is kept in BUILD/header-check.
"""
import argparse
import concurrent.futures
import hashlib
import os
import subprocess
import sys

import source

FLAGS = ["g++", "-std=c++20", "-D_GNU_SOURCE", '-DGANTRY_VERSION="0"', "-Wall", "-Wextra",
         "-Wno-missing-field-initializers", "-Werror", "-x", "c++"]


def generated(build):
    """Include directories of the generated protobuf code. Full first: where lite and full differ, daemon's view."""
    return [os.path.join(build, d) for d in ("gen/full", "gen/lite") if os.path.isdir(os.path.join(build, d))]


def compile_alone(root, name, includes, cache):
    flags = FLAGS + ["-I", root] + [a for i in includes for a in ("-I", i)]
    # The guard's own file is the main file here: included from a one-line unit, #pragma once would not warn.
    unit = '#include "%s"\n' % name
    pre = subprocess.run(flags + ["-E", "-P", "-"], input=unit.encode(), capture_output=True, cwd=root)
    if pre.returncode == 0:
        key = os.path.join(cache, hashlib.sha256(pre.stdout).hexdigest()) if cache else None
        if key and os.path.exists(key):
            return None
        result = subprocess.run(flags + ["-fsyntax-only", "-"], input=unit.encode(), capture_output=True, cwd=root)
        if result.returncode == 0:
            if key:
                open(key, "w").close()
            return None
        pre = result
    lines = [l for l in pre.stderr.decode(errors="replace").splitlines() if "error" in l]
    return "%s does not compile alone: %s" % (name, lines[0] if lines else "see the compiler")


def check(root, build):
    root = os.path.abspath(root)
    headers = [n for n in source.tracked(root) if n.endswith(".h") and not n.startswith("test/")]
    includes = generated(build)
    if not includes:
        skipped = [n for n in headers if ".pb.h" in source.read(root, n)]
        if skipped:
            print("headers: %d that include generated code are skipped: no build in %s" % (len(skipped), build))
        headers = [n for n in headers if n not in skipped]
    cache = os.path.join(build, "header-check") if os.path.isdir(build) else None
    if cache:
        os.makedirs(cache, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [f for f in pool.map(lambda n: compile_alone(root, n, includes, cache), headers) if f]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    parser.add_argument("--build", default="build")
    args = parser.parse_args()
    return source.report(check(args.root, os.path.abspath(args.build)))


if __name__ == "__main__":
    sys.exit(main())
