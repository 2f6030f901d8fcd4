#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the unittest cases of one file and prints a TAP line for each test method.

    tap_runner.py FILE [NAME ...]

A NAME is a part of a test's dotted name; without one, all tests of the file run.  The exit status
is 0 when nothing failed, 77 when everything was skipped, and 1 otherwise.
"""
import importlib.util
import pathlib
import sys
import traceback
import unittest

SKIPPED = 77


class TapResult(unittest.TestResult):
    """Prints each outcome as soon as it is known, so that a killed run shows how far it came."""

    def __init__(self, stream):
        super().__init__()
        self.stream = stream
        self.number = 0
        self.not_ok = 0
        self.subtest_failed = set()

    def line(self, ok, test, note=""):
        self.number += 1
        self.not_ok += not ok
        word = "ok" if ok else "not ok"
        name = test.id().replace("#", " ").replace("\n", " ")
        print(f"{word} {self.number} - {name}{note}", file=self.stream, flush=True)

    def trace(self, error):
        text = "".join(traceback.format_exception(*error))
        for line in text.splitlines():
            print(f"# {line}", file=self.stream, flush=True)

    def addSuccess(self, test):
        if test not in self.subtest_failed:
            self.line(True, test)

    def addExpectedFailure(self, test, err):
        self.line(True, test)

    def addUnexpectedSuccess(self, test):
        self.line(False, test, " (was expected to fail)")

    def addFailure(self, test, err):
        self.line(False, test)
        self.trace(err)

    addError = addFailure

    def addSkip(self, test, reason):
        self.line(True, test, " # SKIP " + str(reason).replace("\n", " "))
        self.skipped.append((test, reason))

    def addSubTest(self, test, subtest, err):
        """One line per failed subtest; the test itself then does not count as passed."""
        if err is not None:
            self.subtest_failed.add(test)
            self.line(False, subtest)
            self.trace(err)


def load(path):
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return unittest.defaultTestLoader.loadTestsFromModule(module)


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def main(arguments):
    path = pathlib.Path(arguments[0]).resolve()
    try:
        suite = load(path)
    except unittest.SkipTest as skip:
        print(f"ok 1 - {path.stem} # SKIP {skip}\n1..1")
        return SKIPPED
    if len(arguments) > 1:
        suite = unittest.TestSuite(
            test for test in flatten(suite) if any(name in test.id() for name in arguments[1:]))
    result = TapResult(sys.stdout)
    suite.run(result)
    print(f"1..{result.number}", flush=True)
    if result.not_ok or result.number == 0:
        return 1
    return SKIPPED if len(result.skipped) == result.number else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
