# SPDX-License-Identifier: Apache-2.0
"""Round trips and what each answer means; numbers as in the contract's checklist."""
import random
import threading
import time
import unittest

import numpy

import harness
import host_pool
from harness import AdapterCase
from sglang import _profile
from sglang.srt.mem_cache import hicache_storage

POOLS = {
    "mha page_first": lambda: host_pool.mha("page_first"),
    "mha page_first_direct": lambda: host_pool.mha("page_first_direct"),
    "mha page_head": lambda: host_pool.mha("page_head"),
    "mha layer_first": lambda: host_pool.mha("layer_first", layers=40),
    "mha asymmetric": lambda: host_pool.mha(v_head_dim=4),
    "mha with scales": lambda: host_pool.HostPool("page_first", 4, 64, [256, 256, 17], "fp8"),
    "mla page_first": lambda: host_pool.mla("page_first"),
    "mla page_first_direct": lambda: host_pool.mla("page_first_direct"),
    "mla layer_first": lambda: host_pool.mla("layer_first"),
    "mla split, one segment empty": lambda: host_pool.mla("page_first_kv_split"),
}


class RoundTrip(AdapterCase):
    def test_09_15_every_layout(self):
        """(9)(15) Every byte of every segment, and no byte around them."""
        for name, make in POOLS.items():
            with self.subTest(name):
                pool = make()
                made = self.cluster.store(pool)
                names = harness.keys(9, salt=len(name))
                self.assertEqual(made.batch_exists(names), 0)
                self.assertEqual(self.read(made, pool, names), [False] * 9)
                self.assertEqual(self.write(made, pool, names), [True] * 9)
                self.assertEqual(made.batch_exists(names), 9)
                self.assertEqual(self.read(made, pool, names), [True] * 9)

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


class Meaning(AdapterCase):
    def test_22_leading_run(self):
        """(22)(24) A hole at each position ends the run; get says False there and only there."""
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        for hole in range(8):
            names = harness.keys(8, salt=hole)
            kept = [name for i, name in enumerate(names) if i != hole]
            self.assertEqual(self.write(made, pool, kept), [True] * 7)
            found = made.batch_exists(names)
            self.assertIs(type(found), int)
            self.assertEqual(found, hole)
            self.assertEqual(self.read(made, pool, names), [i != hole for i in range(8)])

    def test_25_first_write_wins(self):
        """(25) A second writer hears True, and the bytes of the first stay."""
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        names = harness.keys(4)
        self.write(made, pool, names)
        pool.poison(range(4))
        self.assertEqual(made.batch_set_v1(names, pool.slots(range(4))), [True] * 4)
        self.assertEqual(self.read(made, pool, names), [True] * 4)

    def test_27_other_length(self):
        """(27) A page of another length is a miss and leaves the tensor alone."""
        made = self.cluster.store(host_pool.mha(), options={"interface_v1": 0})
        self.assertTrue(made.set("k", numpy.arange(100, dtype=numpy.uint8)))
        for count in (99, 101):
            self.assertIsNone(made.get("k", numpy.zeros(count, dtype=numpy.uint8)))

    def test_bad_arguments(self):
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

    def test_prefix_keys(self):
        """All forms that releases have used for "no prefix", and a real one."""
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        chain = harness.keys(16)
        made_up = type("Extra", (), {})()
        extras = [None, made_up, hicache_storage.HiCacheStorageExtraInfo(),
                  hicache_storage.HiCacheStorageExtraInfo(prefix_keys=(None,)),
                  hicache_storage.HiCacheStorageExtraInfo(prefix_keys=chain[:12])]
        for i, extra in enumerate(extras):
            names = chain[12:] if i == 4 else harness.keys(4, salt=i + 1)
            pool.fill(range(4), harness.seeds(names))
            slots = pool.slots(range(4))
            self.assertEqual(made.batch_set_v1(names, slots, extra), [True] * 4)
            self.assertEqual(made.batch_exists(names, extra), 4)
            self.assertEqual(made.batch_get_v1(names, slots, extra), [True] * 4)

    def test_30_clear(self):
        """(30) Own pages only, while others read and write."""
        pool = host_pool.mha()
        ours, theirs = (self.cluster.store(pool, options={"tag": tag}) for tag in ("a", "b"))
        names = harness.keys(16)
        for made in (ours, theirs):
            self.write(made, pool, names)
        stop = threading.Event()
        worker = threading.Thread(target=self.keep_writing, args=(ours, stop))
        worker.start()
        ours.clear()
        stop.set()
        worker.join()
        self.assertEqual(ours.batch_exists(names), 0)
        self.assertEqual(self.read(theirs, pool, names), [True] * 16)
        self.assertEqual(self.write(ours, pool, names), [True] * 16)
        self.assertEqual(self.read(ours, pool, names), [True] * 16)

    def keep_writing(self, made, stop):
        pool = host_pool.mha()
        made_names = harness.keys(16, salt=99)
        while not stop.is_set():
            self.write(made, pool, made_names)
            made.batch_exists(made_names)

    def test_31_get_stats(self):
        """(31) SGLang's type, drained by each call, quick, and safe beside the I/O threads."""
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        names = harness.keys(8)
        self.write(made, pool, names)
        self.read(made, pool, names)
        first, second = made.get_stats(), made.get_stats()
        self.assertIsNot(first, second)
        self.assertEqual((first.backup_pgs, first.prefetch_pgs), ([8], [8]))
        self.assertTrue(first.backup_bandwidth[0] > 0 and first.prefetch_bandwidth[0] > 0)
        self.assertEqual((second.backup_pgs, second.prefetch_pgs), ([], []))
        first.prefetch_stats = "an attribute that newer releases set"
        started = time.perf_counter()
        for _ in range(1000):
            made.get_stats()
        self.assertLess((time.perf_counter() - started) / 1000, 50e-6)

    def test_31_concurrent_drain(self):
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        names = harness.keys(4)
        drained, stop = [], threading.Event()

        def drain():
            while not stop.is_set():
                drained.extend(made.get_stats().backup_pgs)

        worker = threading.Thread(target=drain)
        worker.start()
        for _ in range(500):
            made.batch_set_v1(names, pool.slots(range(4)))
        stop.set()
        worker.join()
        drained.extend(made.get_stats().backup_pgs)
        self.assertEqual(drained, [4] * 500)

    @unittest.skipIf(not _profile.PROFILE["hybrid"], "this release has no hybrid interface")
    def test_hybrid_interface_is_an_honest_miss(self):
        made = self.cluster.store(host_pool.mha())
        made.register_mem_host_pool_v2(host_pool.mha(), hicache_storage.PoolName.MAMBA)
        names = harness.keys(3)
        transfer = hicache_storage.PoolTransfer(hicache_storage.PoolName.MAMBA, keys=names)
        self.assertEqual(made.batch_exists_v2(names, [transfer], None).kv_hit_pages, 0)
        self.assertEqual(made.batch_get_v2([transfer], extra_info=None), {"mamba": [False] * 3})
        self.assertEqual(made.batch_set_v2([transfer]), {"mamba": [False] * 3})


if __name__ == "__main__":
    unittest.main()
