"""C++ files as the checkers see them: what git tracks, and text without comments and literals."""
import os
import re
import subprocess

SUFFIXES = (".cc", ".h", ".c")
_TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(?P<tag>[^(\s]*)\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+'""", re.S)


def tracked(root):
    """The C and C++ files below root, relative: git's, or all where root is no checkout."""
    result = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            capture_output=True)
    if result.returncode == 0:
        names = [n for n in result.stdout.decode().split("\0") if n]
    else:
        names = [os.path.relpath(os.path.join(d, f), root) for d, _, fs in os.walk(root) for f in fs]
    return sorted(n for n in names if n.endswith(SUFFIXES) and os.path.isfile(os.path.join(root, n)))


def read(root, name):
    with open(os.path.join(root, name), encoding="utf-8") as f:
        return f.read()


def strip(text):
    """text with comments and literals blanked out; every line keeps its number."""
    def blank(match):
        token = match.group(0)
        if token.startswith(("//", "/*")):
            return re.sub(r"[^\n]", " ", token)
        return token[0] + re.sub(r"[^\n]", " ", token[1:-1]) + token[-1]
    # An apostrophe between digits separates them and opens no literal.
    return _TOKEN.sub(blank, re.sub(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])", "_", text))


def report(findings):
    """Prints the findings; the exit status of the checker."""
    for finding in findings:
        print(finding)
    return 1 if findings else 0
