# SPDX-License-Identifier: Apache-2.0
"""tools/check-floors against small trees with one wrong include each."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECK = ROOT / "tools" / "check-floors"

# A tree in which every include is right.
GOOD = {
    "include/peercache.h": "#include <stdint.h>\n",
    "src/base/log.h": "",
    "src/wire/codec.h": '#include "base/log.h"\n',
    "src/core/core.h": '#include "wire/codec.h"\n#include "peercache.h"\n#include <string.h>\n',
    "src/core/ring.c": '#include "core/core.h"\n',
    "src/io/tcp.h": '#include "wire/codec.h"\n#include <sys/socket.h>\n',
    "src/node/inspect.h": "",
    "src/node/node.h": '#include "core/core.h"\n#include "io/tcp.h"\n',
    "src/api/page.c": '#include "node/node.h"\n',
    "src/http/metrics.c": '#include "node/inspect.h"\n#include "base/log.h"\n',
    "cmd/peercache/ask.h": "#include <peercache.h>\n#include <jansson.h>\n",
    "cmd/peercache/main.c": '#include "ask.h"\n#include "peercache.h"\n',
    "python/native.c": "#include <Python.h>\n#include <peercache.h>\n",
    "tests/sim/world.h": "",
    "tests/sim/sim.c": '#include "node/node.h"\n#include "core/core.h"\n#include "io/tcp.h"\n',
}


class Floors(unittest.TestCase):
    def run_check(self, changes):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in {**GOOD, **changes}.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return subprocess.run([sys.executable, CHECK, folder], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def assert_wrong(self, name, text, place, rule):
        outcome = self.run_check({name: text})
        self.assertEqual(outcome.returncode, 1, outcome.stdout)
        self.assertIn(place, outcome.stdout)
        self.assertIn(rule, outcome.stdout)
        self.assertIn(" 1 wrong includes", outcome.stdout)

    def test_right_tree_passes(self):
        outcome = self.run_check({})
        self.assertEqual(outcome.returncode, 0, outcome.stdout)

    def test_include_that_points_up(self):
        self.assert_wrong("src/base/log.c", '#include "base/log.h"\n#include "wire/codec.h"\n',
                          "src/base/log.c:2: includes src/wire/codec.h", "includes point down")

    def test_node_does_not_include_api(self):
        self.assert_wrong("src/node/send.c", '#include "api/page.h"\n',
                          "src/node/send.c:1: includes api/page.h", "no such file")
        outcome = self.run_check({"src/node/send.c": '#include "api/page.h"\n',
                                  "src/api/page.h": ""})
        self.assertIn("src/node/send.c:1: includes src/api/page.h: includes point down",
                      outcome.stdout)

    def test_core_and_io_are_apart(self):
        rule = "core and io never include each other"
        self.assert_wrong("src/core/pool.c", '#include "io/tcp.h"\n', "src/core/pool.c:1", rule)
        self.assert_wrong("src/io/shm.c", '#include "core/core.h"\n', "src/io/shm.c:1", rule)

    def test_path_through_the_parent_folder_is_seen(self):
        self.assert_wrong("src/io/shm.c", '#include "../core/core.h"\n', "src/io/shm.c:1",
                          "core and io never include each other")

    def test_include_in_angle_brackets_is_seen(self):
        self.assert_wrong("src/io/shm.c", "#include <core/core.h>\n", "src/io/shm.c:1",
                          "core and io never include each other")

    def test_http_sees_only_inspect(self):
        self.assert_wrong("src/http/page.c", '#include "node/node.h"\n', "src/http/page.c:1",
                          "http sees only node/inspect.h")

    def test_programs_see_only_the_public_header(self):
        self.assert_wrong("cmd/peercache/get.c", '\n#include "base/log.h"\n',
                          "cmd/peercache/get.c:2: includes src/base/log.h",
                          "cmd/ sees only include/peercache.h")
        self.assert_wrong("python/buffer.c", '#include "wire/codec.h"\n', "python/buffer.c:1",
                          "python/ sees only include/peercache.h")

    def test_nothing_includes_tests(self):
        self.assert_wrong("src/core/pool.c", '#include "tests/sim/world.h"\n',
                          "src/core/pool.c:1", "nothing includes tests/")

    def test_public_header_stands_alone(self):
        self.assert_wrong("include/peercache.h", '#include "base/log.h"\n',
                          "include/peercache.h:1", "the public header stands alone")

    def test_core_is_pure(self):
        for header in ("time.h", "pthread.h", "sys/socket.h", "unistd.h"):
            with self.subTest(header):
                self.assert_wrong("src/core/pool.c", f"#include <{header}>\n",
                                  f"src/core/pool.c:1: includes {header}", "the core has no clock")

    def test_include_by_macro_is_refused(self):
        self.assert_wrong("src/core/pool.c", "#define X \"io/tcp.h\"\n#include X\n",
                          "src/core/pool.c:2", "spell the name out")

    def test_comment_is_no_include(self):
        text = '/*\n#include "io/tcp.h"\n*/\n// #include "io/tcp.h"\nstatic char *s = "/*";\n'
        self.assertEqual(self.run_check({"src/core/pool.c": text}).returncode, 0)
        self.assert_wrong("src/core/pool.c", text + '#include "io/tcp.h"\n', "src/core/pool.c:6",
                          "never include each other")

    def test_empty_tree_is_an_error(self):
        with tempfile.TemporaryDirectory() as folder:
            outcome = subprocess.run([sys.executable, CHECK, folder], capture_output=True)
        self.assertNotEqual(outcome.returncode, 0)


if __name__ == "__main__":
    unittest.main()
