#!/usr/bin/env python3
"""No file over 600 lines, no function over 60."""
import os
import re
import sys

import source

FILE_LINES = 600
FUNCTION_LINES = 60
# What opens a brace without being a function: types, namespaces, initialisers, extern "C".
_NOT_A_FUNCTION = re.compile(r"\b(?:namespace|class|struct|union|enum|extern)\b(?![^()]*\))|=\s*$|\breturn\b[^()]*$")


def functions(text):
    """(name, first line, last line) of each function body that stands in no other function."""
    code = source.strip(text)
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group(0)), code, flags=re.M)
    stack, start = [], 0
    for match in re.finditer(r"[{};]", code):
        token = match.group(0)
        if token == ";":
            if not stack or stack[-1] is None:
                start = match.end()
        elif token == "{":
            head = code[start:match.start()]
            in_function = any(entry is not None for entry in stack)
            if not in_function and ")" in head and not _NOT_A_FUNCTION.search(head.strip()):
                first = code.count("\n", 0, start + len(head) - len(head.lstrip())) + 1
                names = re.findall(r"([\w:~]+)\s*\(", head)
                stack.append((names[0] if names else "?", first))
            else:
                stack.append(None)
            start = match.end()
        else:
            entry = stack.pop() if stack else None
            if entry is not None:
                yield entry[0], entry[1], code.count("\n", 0, match.start()) + 1
            start = match.end()


def check(root):
    findings = []
    for name in source.tracked(root):
        text = source.read(root, name)
        lines = text.count("\n")
        if lines > FILE_LINES:
            findings.append("%s: %d lines; the limit is %d: it is probably two files" % (name, lines, FILE_LINES))
        for function, first, last in functions(text):
            if last - first + 1 > FUNCTION_LINES:
                findings.append("%s:%d: %s has %d lines; the limit is %d" % (
                    name, first, function, last - first + 1, FUNCTION_LINES))
    return findings


if __name__ == "__main__":
    sys.exit(source.report(check(sys.argv[1] if len(sys.argv) > 1 else
                                 os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))))
