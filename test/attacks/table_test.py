"""That every attack of README.md's table has its tests, and that every test of an attack is in the table."""
import glob
import os
import re
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")


def read(path):
    with open(path) as f:
        return f.read()


def rows():
    for line in read(HERE + "/README.md").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| CVE-") or line.startswith("| GHSA-"):
            yield cells[0], cells[1]


def tests_in(path):
    return re.findall(r"(?:def test_|TEST(?:_F|_P)?\(\s*\w+,\s*)(\w+)", read(path))


class Table(unittest.TestCase):
    def test_every_attack_has_a_test(self):
        self.assertGreater(len(list(rows())), 15)
        for attack, cell in rows():
            path = None
            named = 0
            for word in re.findall(r"`([^`]+)`", cell):
                if "." in word:
                    path = os.path.join(ROOT if "/" in word else HERE, word)
                    self.assertTrue(os.path.exists(path), f"{attack}: {word} is not there")
                else:
                    named += 1
                    self.assertTrue(any(word in test for test in tests_in(path)), f"{attack}: no test {word} in {path}")
            self.assertGreater(named, 0, attack)

    def test_every_test_is_in_the_table(self):
        text = read(HERE + "/README.md")
        for path in glob.glob(HERE + "/*_test.py"):
            for test in tests_in(path):
                for attack in re.findall(r"(?:CVE_\d+_\d+|GHSA_\w{4})", test):
                    self.assertIn(f"`{attack}`", text, f"{test} of {os.path.basename(path)}")


if __name__ == "__main__":
    unittest.main()
