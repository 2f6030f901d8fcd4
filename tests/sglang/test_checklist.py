# SPDX-License-Identifier: Apache-2.0
"""Every number of the contract's checklist stands in a test's name, or here with the reason."""
import ast
import pathlib
import re
import unittest

HERE = pathlib.Path(__file__).resolve().parent

CHECKLIST = {
    1: "subclass with all methods", 2: "factory", 3: "further arguments", 4: "foreign keys",
    5: "bad config", 6: "bare config", 7: "construct and close again", 8: "close",
    9: "every pool and layout", 10: "group", 11: "logical anchor", 12: "refused pools",
    13: "registration beside calls", 14: "unknown pool names", 15: "every byte",
    16: "scattered slots", 17: "batch sizes", 18: "large and tiny pages", 19: "copy interface",
    20: "two processes", 21: "restart", 22: "leading run", 23: "half a page is absent",
    24: "holes", 25: "first write wins", 26: "repair", 27: "other length", 28: "damaged page",
    29: "evicted between exists and get", 30: "clear", 31: "statistics", 32: "ranks are isolated",
    33: "replicated ranks share", 34: "identity", 35: "heterogeneous TP",
    36: "Mamba of a replicated model", 37: "page hashes", 38: "hybrid prefixes",
    39: "fields of the result", 40: "wrong numbers of slots", 41: "Mamba", 42: "sidecars first",
    43: "names and lengths", 44: "failing peers", 45: "no late write", 46: "breaker",
    47: "exceptions", 48: "exit", 49: "fork and spawn", 50: "everything at once",
    51: "rank processes", 52: "cancellation", 53: "time of exists", 54: "overhead",
    55: "bandwidth",
}
# What is not a test of this suite, and where it is.
ELSEWHERE = {55: "bench/run prints the share of memcpy's bandwidth; a busy machine must not fail"}


def tests_of(path):
    """The names of a file's test methods."""
    return [node.name for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def numbers_of(name):
    """test_09_15_every_pool: 9 and 15."""
    return [int(number) for number in re.match(r"test_((?:\d\d_)*)", name)[1].split("_") if number]


class Checklist(unittest.TestCase):
    def test_every_number_is_covered(self):
        covered = {}
        for path in HERE.glob("test_*.py"):
            for name in tests_of(path):
                for number in numbers_of(name):
                    covered.setdefault(number, []).append(f"{path.stem}.{name}")
        for number, what in CHECKLIST.items():
            where = ELSEWHERE.get(number) or f"{len(covered.get(number, []))} tests"
            print(f"# ({number}) {what}: {where}", flush=True)
        self.assertEqual(sorted({*covered, *ELSEWHERE}), sorted(CHECKLIST))


if __name__ == "__main__":
    unittest.main()
