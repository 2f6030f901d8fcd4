# SPDX-License-Identifier: Apache-2.0
"""docs/metrics.md has each metric of the table in src/base/metric.h, and each of them is counted."""
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME = {"GAUGE": "peercache_{}", "COUNTER": "peercache_{}_total"}  # as metric.c makes them


def table():
    """{name: how it is shown}"""
    text = (ROOT / "src/base/metric.h").read_text()
    return {name: NAME[kind].format(name)
            for kind, name in re.findall(r"M\((GAUGE|COUNTER), (\w+),", text)}


class Metrics(unittest.TestCase):
    def test_table_is_found(self):
        self.assertGreater(len(table()), 30)

    def test_document_has_each_and_no_other(self):
        text = (ROOT / "docs/metrics.md").read_text()
        self.assertEqual(sorted(re.findall(r"^\| `(peercache_\w+)` \|", text, re.MULTILINE)),
                         sorted(table().values()))

    def test_each_is_counted(self):
        sources = "".join(path.read_text() for path in (ROOT / "src").rglob("*.c")
                          if not path.stem.endswith("_test"))
        self.assertEqual([name for name in table()
                          if not re.search(rf"\bMETRIC_{name}\b", sources)], [])


if __name__ == "__main__":
    unittest.main()
