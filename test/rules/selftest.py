#!/usr/bin/env python3
"""Each rule finds a seeded violation, and nothing in clean code: a checker that cannot fail checks nothing."""
import os
import tempfile
import unittest

import headers
import layers
import rooms
import sizes
import source

RULES = layers.Rules("""
room low :
room high : low
system rocksdb/ : low/kv
call throw \\bthrow\\b : high/odd.cc
""")


class Tree(unittest.TestCase):
    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.addCleanup(self.holder.cleanup)
        self.root = self.holder.name

    def write(self, name, text):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


class Layers(Tree):
    def test_downward_is_allowed_and_upward_is_not(self):
        self.write("high/a.h", '#include "low/b.h"\n')
        self.assertEqual(layers.check(self.root, RULES), [])
        self.write("low/b.h", '#include "high/a.h"\n')
        self.assertEqual(len(layers.check(self.root, RULES)), 1)

    def test_a_library_has_one_home(self):
        self.write("low/kv/k.cc", "#include <rocksdb/db.h>\n")
        self.assertEqual(layers.check(self.root, RULES), [])
        self.write("low/other.cc", "#include <rocksdb/db.h>\n")
        self.assertEqual(len(layers.check(self.root, RULES)), 1)

    def test_a_call_may_stand_only_where_the_table_says(self):
        self.write("high/odd.cc", "void f() { throw 1; }\n")
        self.write("high/words.cc", '// we throw nothing\nconst char* s = "throw";\n')
        self.assertEqual(layers.check(self.root, RULES), [])
        self.write("high/bad.cc", "int x;\nvoid f() { throw 1; }\n")
        self.assertRegex(layers.check(self.root, RULES)[0], r"^high/bad\.cc:2: throw")

    def test_a_file_without_a_room_is_found(self):
        self.write("attic/a.h", "")
        self.assertEqual(len(layers.check(self.root, RULES)), 1)

    def test_the_real_table_finds_each_dangerous_call(self):
        with open(os.path.join(layers.HERE, "layers.txt"), encoding="utf-8") as f:
            rules = layers.Rules(f.read())
        bad = {"fork": "fork();", "clone": "syscall(SYS_clone3, 0);", "mount": "mount(0, 0, 0, 0, 0);",
               "std::thread": "std::thread t;", "sleep": "usleep(1);", "wall-clock": "auto t = absl::Now();",
               "throw": "throw 1;"}
        self.assertEqual(set(bad), {c[0] for c in rules.calls})
        for call, code in bad.items():
            found = list(layers.check_calls(rules, "content/x.cc", "void f() { %s }\n" % code))
            self.assertEqual(len(found), 1, call)
            self.assertIn(call, found[0])


class Sizes(Tree):
    def test_long_functions_and_files_are_found(self):
        body = "  g();\n"
        self.write("a.cc", "namespace n {\nclass C {\n int f() const {\n" + body * 57 + " }\n};\n}\n")
        self.assertEqual(sizes.check(self.root), [])
        self.write("a.cc", "namespace n {\nclass C {\n int f() const {\n" + body * 60 + " }\n};\n}\n")
        self.assertRegex(sizes.check(self.root)[0], r"^a\.cc:3: f has 62 lines")
        self.write("a.cc", "//\n" * 601)
        self.assertRegex(sizes.check(self.root)[0], r"601 lines")

    def test_braces_in_literals_do_not_count(self):
        self.write("a.cc", 'void f() {\n  s = "}";\n  c = \'{\';\n  r = R"({{)";\n}\n' + "int x;\n" * 80)
        self.assertEqual(sizes.check(self.root), [])

    def test_a_table_is_no_function(self):
        self.write("a.cc", "constexpr Row kTable[] = {\n" + "  {F(1), 2},\n" * 80 + "};\n")
        self.assertEqual(sizes.check(self.root), [])


class Headers(Tree):
    def test_a_header_that_needs_another_first_is_found(self):
        self.write("low/good.h", "#include <string>\nstd::string F();\n")
        self.assertEqual(headers.check(self.root, os.path.join(self.root, "build")), [])
        self.write("low/bad.h", "std::string F();\n")
        self.assertEqual(len(headers.check(self.root, os.path.join(self.root, "build"))), 1)


class Rooms(Tree):
    def test_unnamed_rooms_and_strangers_at_the_top_are_found(self):
        self.write("content/README.md", "kv is a room")
        self.assertEqual(rooms.check(self.root, ["content/README.md", "content/kv/a.cc"]), [])
        self.assertEqual(len(rooms.check(self.root, ["content/README.md", "content/attic/a.cc"])), 1)
        self.assertEqual(len(rooms.check(self.root, ["scratch.txt"])), 1)
        self.assertEqual(len(rooms.check(self.root, ["daemon/a.cc"])), 1)


class Strip(unittest.TestCase):
    def test_lines_keep_their_numbers(self):
        text = '/* a\nb */ int x = 1\'000; // c\n"d"\n'
        self.assertEqual(source.strip(text).count("\n"), text.count("\n"))
        self.assertNotIn("b", source.strip(text))
        self.assertIn("int x", source.strip(text))


if __name__ == "__main__":
    unittest.main(argv=["selftest"], verbosity=0)
