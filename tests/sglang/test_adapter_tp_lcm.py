# SPDX-License-Identifier: Apache-2.0
"""(35) Engines of different tensor-parallel sizes share pages, head group by head group.

A model of eight heads.  A rank of a TP size s holds 8 / s of them; with tp_lcm_size = 4 a page is
stored in groups of two heads, numbered as the ranks of a TP4 engine.
"""
import unittest

import harness
import host_pool
from harness import AdapterCase
from sglang import _profile

LCM = 4
HEADS = 8

if "should_split_heads" not in dict(_profile.PROFILE["config_fields"]):
    raise unittest.SkipTest("this release cannot split heads")


def heads_pool(tp_size, layout="page_head"):
    return host_pool.mha(layout, heads=HEADS // tp_size)


def group_seed(name, virtual_rank):
    """What a group of heads must hold follows from the page's key and the group's number."""
    return host_pool.seed_of(name) ^ (virtual_rank + 1)


class Sharing(AdapterCase):
    def rank(self, tp_size, tp_rank, lcm=LCM, layout="page_head", **more):
        """A store, its pool, and how many groups of heads it holds."""
        groups = lcm // tp_size
        pool = heads_pool(tp_size, layout)
        made = self.cluster.store(pool, tp_size=tp_size, tp_rank=tp_rank, tp_lcm_size=lcm,
                                  should_split_heads=groups > 1 and layout == "page_head", **more)
        return made, pool, tp_rank * groups, groups

    def fill(self, pool, names, first, groups):
        for page, name in enumerate(names):
            for group in range(groups):
                want = host_pool.expected_bytes([group_seed(name, first + group)],
                                                pool.page_bytes // groups)[0]
                pool.scatter_group(page, group, groups, want)

    def write_rank(self, rank, names):
        made, pool, first, groups = rank
        self.fill(pool, names, first, groups)
        return made.batch_set_v1(names, pool.slots(range(len(names))))

    def read_rank(self, rank, names):
        made, pool, first, groups = rank
        pages = range(len(names))
        pool.poison(pages)
        results = made.batch_get_v1(names, pool.slots(pages))
        self.assert_results(results, len(names))
        for page, (name, hit) in enumerate(zip(names, results)):
            for group in range(groups if hit else 0):
                want = host_pool.expected_bytes([group_seed(name, first + group)],
                                                pool.page_bytes // groups)[0]
                self.assertTrue((pool.group_rows(page, group, groups) == want).all())
        self.assertTrue(pool.guards_intact())
        return results

    def members(self, *ranks):
        for made, *_ in ranks:
            harness.wait_for(lambda: harness.alive_members(made) == len(ranks), "all members")

    def test_35_from_two_to_four_and_back(self):
        """(35) TP2 writes and TP4 reads, TP4 writes and TP2 reads, both with every byte right."""
        for salt, (writers, readers) in enumerate(((2, 4), (4, 2), (1, 4), (4, 1), (1, 2), (2, 1))):
            with self.subTest(writers=writers, readers=readers):
                self.cluster.close()
                self.cluster = harness.Cluster()
                writing = [self.rank(writers, rank) for rank in range(writers)]
                reading = [self.rank(readers, rank) for rank in range(readers)]
                self.members(*writing, *reading)
                names = harness.keys(5, salt=salt)
                for rank in writing:
                    self.assertEqual(self.write_rank(rank, names), [True] * 5)
                for rank in reading:
                    harness.wait_for(lambda: rank[0].batch_exists(names) == 5, "the pages")
                    self.assertEqual(self.read_rank(rank, names), [True] * 5)

    def test_35_lcm_equal_to_size(self):
        """(35) SGLang says not to split then; the keys are those of virtual ranks all the same."""
        names = harness.keys(3)
        small, large = self.rank(2, 0), [self.rank(4, rank) for rank in (0, 1)]
        self.members(small, *large)
        self.assertEqual(self.write_rank(small, names), [True] * 3)
        for rank in large:
            harness.wait_for(lambda: rank[0].batch_exists(names) == 3, "the pages")
            self.assertEqual(self.read_rank(rank, names), [True] * 3)

    def test_35_ranks_are_isolated(self):
        """(35)(32) Other heads are other pages."""
        names = harness.keys(3)
        first, second = self.rank(2, 0), self.rank(2, 1)
        self.members(first, second)
        self.write_rank(first, names)
        self.assertEqual(second[0].batch_exists(names), 0)
        self.assertEqual(self.read_rank(second, names), [False] * 3)

    def test_23_26_half_a_page(self):
        """(23)(26) Half of the groups is an absent page; the next set repairs it."""
        names = harness.keys(4)
        half, whole = self.rank(4, 1), self.rank(2, 0)
        self.members(half, whole)
        self.write_rank(half, names)
        self.assertEqual(whole[0].batch_exists(names), 0)
        self.assertEqual(self.read_rank(whole, names), [False] * 4)
        self.assertEqual(self.write_rank(whole, names), [True] * 4)
        self.assertEqual(whole[0].batch_exists(names), 4)
        self.assertEqual(self.read_rank(whole, names), [True] * 4)

    def test_35_without_lcm_nothing_is_shared(self):
        """A server without tp_lcm_size has other objects, even where the bytes agree."""
        names = harness.keys(2)
        with_lcm = self.rank(4, 0)
        pool = heads_pool(4)
        without = self.cluster.store(pool, tp_size=4, tp_rank=0)
        self.members(with_lcm, (without,))
        self.write_rank(with_lcm, names)
        found = without.batch_exists(names)
        # Rank 0 of 4 holds the same bytes either way: shared or not, they must not be wrong.
        self.assertIn(found, (0, 2))
        other = self.cluster.store(heads_pool(2), tp_size=2, tp_rank=0)
        self.assertEqual(other.batch_exists(names), 0)

    def test_35_other_lcm(self):
        """Groups of another size are other pages."""
        names = harness.keys(2)
        four, eight = self.rank(2, 0), self.rank(2, 0, lcm=8)
        self.members(four, eight)
        self.write_rank(four, names)
        self.assertEqual(eight[0].batch_exists(names), 0)

    def test_35_other_layouts_do_not_split(self):
        """Where SGLang does not split, a rank's pages are whole and its own."""
        names = harness.keys(2)
        made, pool, _, _ = self.rank(2, 0, layout="page_first")
        self.assertEqual(self.write(made, pool, names), [True] * 2)
        self.assertEqual(self.read(made, pool, names), [True] * 2)

    def test_35_sizes_that_do_not_fit(self):
        made = self.cluster.store(None, {"tp_lcm_size": 3}, tp_size=2, tp_lcm_size=3)
        with self.assertRaisesRegex(ValueError, "tp_lcm_size"):
            made.register_mem_pool_host(heads_pool(2))


if __name__ == "__main__":
    unittest.main()
