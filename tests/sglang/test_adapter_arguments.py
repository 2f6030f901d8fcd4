# SPDX-License-Identifier: Apache-2.0
"""(47) Arguments and pools that are wrong: misses of the right number, and no page touched."""
import unittest

import harness
import host_pool
from harness import AdapterCase


class Wrong(AdapterCase):
    def test_47_bad_arguments(self):
        """(47) Exceptions inside the adapter are misses of the right number."""
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        names = harness.keys(3)
        self.write(made, pool, names)
        short = pool.slots(range(2))
        for call in (made.batch_get_v1, made.batch_set_v1):
            self.assert_misses(call(names, short), 3)
            self.assert_misses(call(names, None), 3)
            self.assert_misses(call(keys=names, host_indices=short), 3)
            self.assert_misses(call(names, pool.slots(range(3)) + 1), 3)
        self.assert_misses(made.batch_get_v1(["", "x" * 256, "\ud800"], pool.slots(range(3))), 3)
        self.assertEqual(made.batch_exists([names[0], 7, names[1]]), 1)
        self.assertEqual(made.batch_exists(None), 0)
        self.assertEqual(made.batch_exists(5), 0)

    def test_47_bad_meta(self):
        """(47) A pool that turns bad after registration."""
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        names = harness.keys(2)
        for meta in (None, (None, None), ([1], [2]), ([0, 0, 0, 0], [1, 2, 3, 4])):
            pool.get_page_buffer_meta = lambda indices, meta=meta: meta
            self.assert_misses(made.batch_get_v1(names, pool.slots(range(2))), 2)
            self.assert_misses(made.batch_set_v1(names, pool.slots(range(2))), 2)

        def fail(indices):
            raise RuntimeError("pool destroyed")

        pool.get_page_buffer_meta = fail
        self.assert_misses(made.batch_get_v1(names, pool.slots(range(2))), 2)

    def assert_misses(self, results, count):
        self.assert_results(results, count)
        self.assertFalse(any(results))

    def test_47_meta_of_other_lengths(self):
        """(47)(27) Pages shorter or longer than at registration are neither stored nor read."""
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        names = harness.keys(4)
        self.write(made, pool, names[:2])
        meta = pool.get_page_buffer_meta
        for change in (-1, 1):
            def other(indices, change=change):
                addresses, lengths = meta(indices)
                return addresses, [lengths[0] + change, lengths[1] - change] * (len(lengths) // 2)

            pool.get_page_buffer_meta = other
            slots = pool.slots(range(2))
            self.assert_misses(made.batch_set_v1(names[2:], slots), 2)
            pool.poison(range(2))
            self.assert_misses(made.batch_get_v1(names[:2], slots), 2)
            self.assertTrue(pool.is_poisoned(range(2)))
        del pool.get_page_buffer_meta
        self.assertEqual(self.read(made, pool, names), [True, True, False, False])


if __name__ == "__main__":
    unittest.main()
