# SPDX-License-Identifier: Apache-2.0
"""Round trips of pages of every number and size; numbers as in the contract's checklist."""
import random
import unittest

import numpy

import harness
import host_pool
from harness import AdapterCase
from sglang import _profile


class RoundTrip(AdapterCase):
    def test_16_scattered_pages(self):
        """(16) Slots in any order, not the same for the set and the get."""
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        names = harness.keys(24)
        places = list(range(pool.page_num))
        random.Random(16).shuffle(places)
        self.assertEqual(self.write(made, pool, names, places[:24]), [True] * 24)
        self.assertEqual(self.read(made, pool, names, places[24:48][::-1]), [True] * 24)

    def test_16_neighbours_are_untouched(self):
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        names = harness.keys(8)
        self.write(made, pool, names)
        pool.poison(range(pool.page_num))
        even = list(range(0, 16, 2))
        made.batch_get_v1(names, pool.slots(even))
        self.assertTrue(pool.is_poisoned([page for page in range(64) if page not in even]))

    def test_17_batch_sizes(self):
        """(17) One page, around SGLang's batch of 128, and far beyond."""
        pool = host_pool.mha(page_size=1, page_num=5000, layers=1, heads=1)
        made = self.cluster.store(pool)
        for count in (1, 127, 128, 129, 5000):
            with self.subTest(count):
                names = harness.keys(count, salt=count, page_size=1)
                self.assertEqual(self.write(made, pool, names), [True] * count)
                self.assertEqual(made.batch_exists(names), count)
                self.assertEqual(self.read(made, pool, names), [True] * count)
        names += harness.keys(11000, salt=7, page_size=1)
        self.assertEqual(made.batch_exists(names), 5000)

    def test_17_no_keys(self):
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        nothing = numpy.zeros(0, dtype=numpy.int64)
        self.assertEqual(made.batch_exists([]), 0)
        self.assertEqual(made.batch_get_v1([], nothing), [])
        self.assertEqual(made.batch_set_v1([], nothing), [])
        self.assertEqual(made.batch_get([], []), [])

    @unittest.skipIf(_profile.NAME != "new", "a GiB is moved once, not for each profile")
    def test_18_large_pages(self):
        """(18) A batch as an 8-billion-parameter model moves it: 128 pages of 8 MiB."""
        pool = host_pool.mha(page_size=64, page_num=128, layers=32, heads=8, head_dim=128,
                             guard_len_bytes=64)
        self.assertEqual(pool.page_bytes, 8 << 20)
        # The default deadlines are for machines that do nothing else.
        made = self.cluster.store(pool, {"global_segment_size": "1280mb", "get_timeout": 8,
                                         "set_timeout": 8})
        names, slots = harness.keys(128), pool.slots(range(128))
        # Sixteen different pages, each eight times under a number of its own, are made quickly.
        rows = host_pool.expected_bytes(range(16), pool.page_bytes)
        for first in range(0, 128, 16):
            rows[:, 0] = range(first, first + 16)
            pool.scatter(range(first, first + 16), rows)
        with self.within_deadline(8.0 + harness.CALL_LIMIT_S):
            self.assertEqual(made.batch_set_v1(names, slots), [True] * 128)
        pool.poison(range(128))
        with self.within_deadline(8.0 + harness.CALL_LIMIT_S):
            self.assertEqual(made.batch_get_v1(names, slots), [True] * 128)
        for page in range(128):
            rows[page % 16, 0] = page
            self.assertTrue((pool.get_data_page(page * 64) == rows[page % 16]).all())
        self.assertTrue(pool.guards_intact())

    def test_18_pages_of_one_token(self):
        """(18) Many tiny pages, also with more segments than bytes worth mentioning."""
        for pool in (host_pool.mha(page_size=1, page_num=256, layers=1, heads=1, head_dim=1),
                     host_pool.mha("layer_first", page_size=1, page_num=256, layers=60)):
            made = self.cluster.store(pool)
            names = harness.keys(256, page_size=1)
            self.assertEqual(self.write(made, pool, names), [True] * 256)
            self.assertEqual(self.read(made, pool, names), [True] * 256)

    def test_19_copy_interface(self):
        """(19) Flat tensors, and a key space apart from the zero-copy one."""
        pool = host_pool.mha()
        made = self.cluster.store(pool, options={"interface_v1": 0})
        names = harness.keys(6)
        pool.fill(range(6), harness.seeds(names))
        pages = [pool.get_data_page(page * pool.page_size) for page in range(6)]
        self.assertIs(made.batch_set(names[:5], pages[:5]), True)
        self.assertIs(made.set(names[5], pages[5]), True)
        self.assertIs(made.exists(names[5]), True)
        self.assertEqual(made.batch_exists(names), 6)
        dummies = [pool.get_dummy_flat_data_page() for _ in names]
        for got, want in zip(made.batch_get(names, dummies), pages):
            self.assertTrue((got == want).all())
        self.assertTrue((made.get(names[2], dummies[0]) == pages[2]).all())
        self.assertEqual(made.batch_get_v1(names, pool.slots(range(6))), [False] * 6)

    def test_19_copy_interface_misses(self):
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        names = harness.keys(3)
        self.write(made, pool, names)
        self.assertEqual(made.batch_exists(names), 3)
        self.assertIs(made.exists(names[0]), False)
        page = pool.get_dummy_flat_data_page()
        self.assertIsNone(made.get(names[0], page))
        self.assertIsNone(made.get(names[0]))
        self.assertIs(made.set(names[0], None), False)
        self.assertEqual(made.batch_get(names), [None] * 3)
        self.assertIs(made.batch_set(names, [page]), False)
        self.assertIs(made.set(names[0], numpy.zeros((8, 8))[:, ::2]), False)

    def test_19_too_few_tensors(self):
        """(19) One answer a key, always."""
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        page = pool.get_dummy_flat_data_page()
        self.assertEqual(made.batch_get(harness.keys(3), [page]), [None] * 3)


if __name__ == "__main__":
    unittest.main()
