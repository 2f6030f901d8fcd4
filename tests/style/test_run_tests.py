# SPDX-License-Identifier: Apache-2.0
"""How tools/run-tests counts what test programs print."""
import importlib.machinery
import importlib.util
import json
import pathlib
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "run-tests"
loader = importlib.machinery.SourceFileLoader("run_tests", str(TOOL))
run_tests = importlib.util.module_from_spec(importlib.util.spec_from_loader("run_tests", loader))
loader.exec_module(run_tests)


def counted(*entries):
    """Each program starts a second after the one before and takes five."""
    count = run_tests.Count()
    for start_s, (stdout, result, *name) in enumerate(entries):
        count.add_program("gcc", {"name": name[0] if name else "x", "stdout": stdout,
                                  "result": result, "returncode": 1,
                                  "starttime": start_s, "duration": 5.0})
    return count


class Counting(unittest.TestCase):
    def test_each_tap_line_is_a_case(self):
        count = counted(("1..3\nok 1 - a\nok 2 - b\nnot ok 3 - c\n", "FAIL"))
        self.assertEqual(count.closing_line(), "2 passed, 1 failed, 0 skipped")
        self.assertEqual(count.failures, ["gcc: x: c"])
        self.assertFalse(count.is_good())

    def test_program_without_tap_is_one_case(self):
        count = counted(("some words\n", "OK"), ("", "TIMEOUT"))
        self.assertEqual(count.closing_line(), "1 passed, 1 failed, 0 skipped")

    def test_death_after_good_cases_is_a_failure(self):
        count = counted(("1..3\nok 1 - a\n", "FAIL"))
        self.assertEqual(count.closing_line(), "1 passed, 1 failed, 0 skipped")
        self.assertIn("after 1 cases", count.failures[0])

    def test_bad_case_counts_although_the_program_ended_well(self):
        self.assertFalse(counted(("not ok 1 - a\n", "OK")).is_good())

    def test_skips_have_reasons(self):
        count = counted(("ok 1 - a # SKIP no spin here\nok 2 - b\n", "OK"),
                        ("SKIP: no network\n", "SKIP"), ("", "SKIP"))
        self.assertEqual(count.closing_line(), "1 passed, 0 failed, 3 skipped")
        self.assertEqual([reason for _, reason in count.skips],
                         ["no spin here", "no network", "no reason given"])

    def test_skip_by_cmocka(self):
        count = counted(("1..1\nnot ok 1 # SKIP test_x\n", "OK"))
        self.assertEqual(count.closing_line(), "0 passed, 0 failed, 1 skipped")

    def test_nothing_ran_is_not_good(self):
        self.assertFalse(counted().is_good())
        self.assertFalse(counted(("", "SKIP")).is_good())

    def test_each_ring_has_a_line(self):
        count = counted(("ok 1 - a\nok 2 - b\n", "OK", "peercache:sglang / x"),
                        ("ok 1 - a\nnot ok 2 - b\n", "FAIL", "peercache:sglang-full / x"),
                        ("ok 1 - a\n", "OK", "peercache:sglang-full / x"),
                        ("SKIP: no index\n", "SKIP", "peercache:sglang-full / x"),
                        ("ok 1 - a\n", "OK", "peercache:unit / x"))
        self.assertEqual(count.ring_lines(),
                         ["ring 1 (shim): 2 passed, 0 failed, 0 skipped, 5 s",
                          "ring 3 (engines): 2 passed, 1 failed, 1 skipped, 7 s"])
        self.assertEqual(count.closing_line(), "5 passed, 1 failed, 1 skipped")

    def test_a_ring_that_was_skipped_is_visible(self):
        count = counted(("SKIP: no SGLang here\n", "SKIP", "peercache:sglang-core / x"))
        self.assertEqual(count.ring_lines(), ["ring 2 (core): 0 passed, 0 failed, 1 skipped, 5 s"])
        self.assertEqual(count.skips, [("gcc: peercache:sglang-core / x", "no SGLang here")])

    def test_engines_are_built_only_for_those_who_ask(self):
        full, quick = run_tests.plan_of(["full"]), run_tests.plan_of(["quick"])
        one = run_tests.plan_of(["one", "--suite=sglang-core"])
        for asked in ({"CI": "true"}, {"SGLANG": "1"}):
            self.assertTrue(run_tests.wants_engines(full, asked))
            self.assertTrue(run_tests.wants_engines(one, asked))
            self.assertFalse(run_tests.wants_engines(quick, asked))
            sanitized = run_tests.plan_of(["one", "SANITIZE=thread"])
            self.assertFalse(run_tests.wants_engines(sanitized, asked))
        for not_asked in ({}, {"SGLANG": ""}, {"CI": "false", "SGLANG": "0"}):
            self.assertFalse(run_tests.wants_engines(full, not_asked))

    def test_folder_without_unit_tests_is_seen(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            self.assertFalse(run_tests.lacks_unit_tests(folder))  # not configured yet
            (folder / "meson-info").mkdir()
            for test, lacks in (("core/pool", False), (run_tests.NO_UNIT_TESTS, True)):
                (folder / "meson-info" / "intro-tests.json").write_text(
                    json.dumps([{"name": "models"}, {"name": test}]))
                self.assertEqual(run_tests.lacks_unit_tests(folder), lacks)

    def test_plans(self):
        self.assertIsNone(run_tests.plan_of([]))
        self.assertIsNone(run_tests.plan_of(["full", "quick"]))
        one = run_tests.plan_of(["one", "SANITIZE=thread", "COVERAGE="])
        self.assertEqual(one[0].variables, ["SANITIZE=thread"])
        self.assertEqual(one[0].suites, run_tests.SANITIZED)
        only = run_tests.plan_of(["full", "--suite=unit,sim"])
        self.assertEqual(only[0].suites, ["unit", "sim"])


if __name__ == "__main__":
    unittest.main()
