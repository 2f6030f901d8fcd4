# SPDX-License-Identifier: Apache-2.0
"""tools/check-spdx against small trees."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECK = ROOT / "tools" / "check-spdx"
# Put together, so that a search for the line finds only the lines that count.
LINE = "SPDX-License-" + "Identifier: Apache-2.0"


class Spdx(unittest.TestCase):
    def run_check(self, files, with_git):
        with tempfile.TemporaryDirectory() as folder:
            if with_git:
                subprocess.run(["git", "init", "-q", folder], check=True)
            for name, text in files.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return subprocess.run([sys.executable, CHECK, folder], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def test_first_and_second_line_count(self):
        outcome = self.run_check({"a.c": f"/* {LINE} */\n", "b": f"#!/bin/sh\n# {LINE}\n"}, True)
        self.assertEqual(outcome.returncode, 0, outcome.stdout)

    def test_third_line_does_not_count(self):
        outcome = self.run_check({"src/a.c": f"\n\n/* {LINE} */\n"}, True)
        self.assertEqual(outcome.returncode, 1)
        self.assertIn("src/a.c:1:", outcome.stdout)

    def test_another_licence_does_not_count(self):
        outcome = self.run_check({"a.c": "/* SPDX-License-" + "Identifier: MIT */\n"}, True)
        self.assertEqual(outcome.returncode, 1)

    def test_ignored_files_are_not_looked_at(self):
        files = {".gitignore": f"# {LINE}\nbuild/\n", "build/out.c": "int x;\n"}
        self.assertEqual(self.run_check(files, True).returncode, 0)

    def test_works_without_git(self):
        outcome = self.run_check({"a.c": "int x;\n", "build/b.c": "int y;\n"}, False)
        self.assertEqual(outcome.returncode, 1)
        self.assertIn("a.c:1:", outcome.stdout)
        self.assertNotIn("b.c", outcome.stdout)


if __name__ == "__main__":
    unittest.main()
