# SPDX-License-Identifier: Apache-2.0
"""(38) The rule of hybrid prefixes against brute force, in every case of up to six pages."""
import itertools
import unittest

import harness  # noqa: F401  the paths, and the reason to skip
from peercache import hybrid

PAGES_MAX = 6
RULES = [("all_pages", 1), ("trailing_pages", 1), ("trailing_pages", 2), ("trailing_pages", 3)]


def can_stop(present, policy, window, p):
    """The contract's words: whether a pool with these pages can serve a prefix of p pages."""
    if policy == "all_pages":
        return all(present[page] for page in range(p))
    return all(present[page] for page in range(max(0, p - window), p))


def oracle(kv, sides):
    """(restorable lengths, own maximum of each pool) by trying every length.

    @kv: presence of KV pages; @sides: (presence, policy, window) each.  What lies beyond the KV run
    is of no use to anybody, so no pool's maximum is longer than that.
    """
    run = [p for p in range(1, len(kv) + 1) if all(kv[:p])]
    own = [[p for p in run if can_stop(*side, p)] for side in sides]
    common = [p for p in run if all(p in stops for stops in own)]
    return common, [max(stops, default=0) for stops in own]


def presences(count):
    return list(itertools.product((False, True), repeat=count))


class Resolve(unittest.TestCase):
    def test_38_two_pools_every_subset(self):
        """KV runs, subsets of two side pools, and policies, all combined: equal in every case."""
        cases = 0
        for count in range(PAGES_MAX + 1):
            for run in range(count + 1):
                cases += self.check_all_pairs(run, count)
        # Six pages: 7 runs x (64 subsets x 4 rules) squared; the smaller ones besides.
        self.assertGreater(cases, 7 * (64 * 4) ** 2)
        print(f"# {cases} cases", flush=True)

    def check_all_pairs(self, run, count):
        kv = [page < run for page in range(count)]
        # What one pool can serve is tried out once, and then combined with all of the other's.
        pools = [(present, *rule, {p for p in range(1, run + 1) if can_stop(present, *rule, p)})
                 for present in presences(count) for rule in RULES]
        own = {id(pool): oracle(kv, [pool[:3]])[1][0] for pool in pools}
        for first, second in itertools.product(pools, pools):
            stops, verdicts = hybrid.resolve(run, count, [("a", *first[:3]), ("b", *second[:3])])
            if (stops != sorted(first[3] & second[3])
                    or verdicts != {"a": own[id(first)], "b": own[id(second)]}):
                self.fail(f"kv run {run} of {count}, {first[:3]}, {second[:3]}: "
                          f"{stops}, {verdicts}")
        return len(pools) ** 2

    def test_38_kv_alone_and_one_pool(self):
        for count in range(PAGES_MAX + 1):
            for kv in presences(count):
                run = oracle(kv, [])[0]
                self.assertEqual(hybrid.resolve(len(run), count, []), (run, {}))
                for present, rule in itertools.product(presences(count), RULES):
                    want, own = oracle(kv, [(present, *rule)])
                    self.assertEqual(hybrid.resolve(len(run), count, [("a", present, *rule)]),
                                     (want, {"a": own[0]}))

    def test_38_the_known_bug(self):
        """Pools that can serve {1, 3} and {1, 2}: 1, not the least of the maxima, which is 2."""
        first = ("a", (True, False, True), "trailing_pages", 1)
        second = ("b", (True, True, False), "trailing_pages", 1)
        self.assertEqual(hybrid.resolve(3, 3, [first, second]), ([1], {"a": 3, "b": 2}))

    def test_38_forms_of_presence(self):
        """A list of truth values, and one byte a page, are one and the same."""
        for present in presences(4):
            for rule in RULES:
                forms = [hybrid.resolve(4, 4, [("a", form(present), *rule)])
                         for form in (list, tuple, bytes, bytearray)]
                self.assertEqual(forms, forms[:1] * 4)

    def test_38_window_longer_than_the_prefix(self):
        self.assertEqual(hybrid.resolve(3, 3, [("a", (True, True, True), "trailing_pages", 9)]),
                         ([1, 2, 3], {"a": 3}))
        self.assertEqual(hybrid.resolve(3, 3, [("a", (False, True, True), "trailing_pages", 9)]),
                         ([], {"a": 0}))

    def test_38_unknown_policy_has_no_say(self):
        """Such a pool is left out: it neither shortens the prefix nor gets a verdict."""
        pools = [("a", (True, True, False), "all_pages", 1),
                 ("b", (False,) * 3, "block_groups", 1), ("c", (False,) * 3, "of 2031", 1)]
        self.assertEqual(hybrid.resolve(3, 3, pools), ([1, 2], {"a": 2}))


if __name__ == "__main__":
    unittest.main()
