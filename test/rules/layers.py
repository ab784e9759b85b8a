#!/usr/bin/env python3
"""Who may include whom, and where a dangerous call may stand. The rules are in layers.txt."""
import os
import re
import sys

import source

HERE = os.path.dirname(os.path.abspath(__file__))
_INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


class Rules:
    """room FOLDER : ALLOWED FOLDERS | system HEADER-PREFIX : FOLDERS | call NAME REGEX : FILES OR FOLDERS"""

    def __init__(self, text):
        self.rooms, self.systems, self.calls = {}, [], []
        for number, line in enumerate(text.splitlines(), 1):
            line = line.split("#")[0].strip()
            if not line:
                continue
            head, colon, tail = line.partition(" : ")
            words = head.split(None, 2)
            if not colon and line.endswith(" :"):
                words, tail = line[:-2].split(None, 2), ""
            places = tail.split()
            if words[0] == "room" and len(words) == 2:
                self.rooms[words[1]] = places
            elif words[0] == "system" and len(words) == 2:
                self.systems.append((words[1], places))
            elif words[0] == "call" and len(words) == 3:
                self.calls.append((words[1], re.compile(words[2]), places))
            else:
                raise SystemExit("layers.txt:%d: not a rule: %s" % (number, line))

    def room_of(self, name):
        """The most specific declared room that holds the file, or None."""
        best = None
        for room in self.rooms:
            if inside(name, room) and (best is None or len(room) > len(best)):
                best = room
        return best


def inside(name, place):
    return name == place or name.startswith(place.rstrip("/") + "/")


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def is_test(name):
    base = os.path.basename(name)
    return base.endswith(("_test.cc", "_suite.h")) or base.startswith("test_") or inside(name, "test")


def check_includes(rules, name, text):
    room = rules.room_of(name)
    if room is None:
        yield "%s: belongs to no room of layers.txt" % name
        return
    test = is_test(name)
    for match in _INCLUDE.finditer(text):
        kind, path = match.groups()
        where = "%s:%d" % (name, line_of(text, match.start()))
        if kind == "<":
            for prefix, places in rules.systems:
                if path.startswith(prefix) and not any(inside(name, p) for p in places):
                    yield "%s: <%s> may be included only in %s" % (where, path, " ".join(places))
            continue
        target = rules.room_of(path)
        if target is None:
            continue  # absl/..., rapidjson/...: a library
        allowed = rules.rooms[room]
        if inside(path, room) or "*" in allowed or any(inside(path, a) for a in allowed):
            continue
        if test and inside(path, "test"):
            continue
        yield "%s: %s may not include %s; it may include: %s" % (where, room, path, " ".join(allowed) or "nothing")


def check_calls(rules, name, text):
    if is_test(name):
        return  # tests fork, sleep and mount as they need
    code = source.strip(text)
    for call, pattern, places in rules.calls:
        if any(inside(name, p) for p in places):
            continue
        for match in pattern.finditer(code):
            yield "%s:%d: %s may not stand here; it may in: %s (test/rules/layers.txt)" % (
                name, line_of(code, match.start()), call, " ".join(places) or "no file")


def check(root, rules):
    findings = []
    for name in source.tracked(root):
        text = source.read(root, name)
        findings += check_includes(rules, name, text)
        findings += check_calls(rules, name, text)
    return findings


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "..")
    with open(os.path.join(HERE, "layers.txt"), encoding="utf-8") as f:
        return source.report(check(root, Rules(f.read())))


if __name__ == "__main__":
    sys.exit(main())
