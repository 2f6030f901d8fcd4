# SPDX-License-Identifier: Apache-2.0
"""What each answer means; numbers as in the contract's checklist."""
import threading
import time
import unittest

import numpy

import harness
import host_pool
from harness import AdapterCase
from sglang.srt.mem_cache import hicache_storage


class Meaning(AdapterCase):
    def test_22_24_leading_run(self):
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

    def test_25_two_writers_at_once(self):
        """(25) Both hear True, and what is read is one writer's page, not a mixture."""
        pools = [host_pool.mha() for _ in range(2)]
        stores = [self.cluster.store(pool) for pool in pools]
        harness.wait_for(lambda: harness.alive_members(stores[0]) == 2, "two members")
        for turn in range(20):
            names = harness.keys(8, salt=turn)
            results = [None, None]
            for i, pool in enumerate(pools):
                pool.fill(range(8), [seed + i for seed in harness.seeds(names)])

            def write(i):
                results[i] = stores[i].batch_set_v1(names, pools[i].slots(range(8)))

            writers = [threading.Thread(target=write, args=(i,)) for i in range(2)]
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join()
            self.assertEqual(results, [[True] * 8] * 2)
            self.assertEqual(stores[0].batch_get_v1(names, pools[0].slots(range(8, 16))),
                             [True] * 8)
            for page, seed in enumerate(harness.seeds(names), start=8):
                self.assertIn(0, [pools[0].wrong_bytes([page], [seed + i]) for i in range(2)])

    def test_29_evicted_between_exists_and_get(self):
        """(29) Present, then pushed out, then read: False; and exists says so too."""
        pool = host_pool.mha(page_size=64, layers=4, heads=4, head_dim=32, page_num=64)
        made = self.cluster.store(pool, {"global_segment_size": "16mb"})
        names = harness.keys(16)
        self.assertEqual(self.write(made, pool, names), [True] * 16)
        self.assertEqual(made.batch_exists(names), 16)
        for salt in range(1, 10):
            others = harness.keys(32, salt=salt)
            self.write(made, pool, others)
        self.assertFalse(all(self.read(made, pool, names)))
        self.assertLess(made.batch_exists(names), 16)
        self.assertEqual(self.write(made, pool, names), [True] * 16)
        self.assertEqual(self.read(made, pool, names), [True] * 16)

    def test_28_damaged_page(self):
        """(28) A flipped bit in the holder's memory is a miss, with verify=checksum."""
        pool = host_pool.mha(page_size=64, layers=2, heads=2, head_dim=16)
        made = self.cluster.store(pool, {"verify": "checksum"})
        holder = self.cluster.peer(page_size=64, layers=2, heads=2, head_dim=16)
        names = harness.keys(6)
        harness.wait_for(lambda: harness.alive_members(made) == 2, "two members")
        self.assertEqual(holder.ask("set", names), [True] * 6)
        harness.wait_for(lambda: made.batch_exists(names) == 6, "the holder's pages")
        self.assertEqual(holder.ask("damage", names[2:3]), 1)
        whole = [i != 2 for i in range(6)]
        self.assertEqual(self.read(made, pool, names), whole)
        self.assertEqual(made.counters.snapshot()["get"]["outcome"].get("MISS_CHECKSUM"), 1)
        self.assertEqual(self.read(made, pool, names), whole)

    def removed_once_found_out(self, **options):
        pool = host_pool.mha(page_size=64, layers=2, heads=2, head_dim=16)
        made = self.cluster.store(pool, {"verify": "checksum", **options})
        holder = self.cluster.peer(page_size=64, layers=2, heads=2, head_dim=16)
        names = harness.keys(3)
        harness.wait_for(lambda: harness.alive_members(made) == 2, "two members")
        holder.ask("set", names)
        harness.wait_for(lambda: made.batch_exists(names) == 3, "the holder's pages")
        self.assertEqual(holder.ask("damage", names[1:2]), 1)
        self.assertEqual(self.read(made, pool, names), [True, False, True])
        harness.wait_for(lambda: made.batch_exists(names) == 1, "the damaged page's end", 5.0)
        self.assertEqual(self.write(made, pool, names), [True] * 3)
        self.assertEqual(self.read(made, pool, names), [True] * 3)

    def test_28_damaged_page_is_removed(self):
        """(28) Once found out it is gone, and can be stored again."""
        self.removed_once_found_out()

    def test_28_damaged_page_is_removed_over_tcp(self):
        """(28) The same where the holder sends the bytes."""
        self.removed_once_found_out(protocol="tcp")

    def test_28_damaged_own_page_is_removed(self):
        """(28) The same where the reader is the holder."""
        holder = self.cluster.peer({"verify": "checksum"}, page_size=64, layers=2, heads=2,
                                   head_dim=16)
        names = harness.keys(3)
        self.assertEqual(holder.ask("set", names), [True] * 3)
        self.assertEqual(holder.ask("damage", names[1:2]), 1)
        self.assertEqual(holder.ask("get", names), [[True, False, True], 0])
        self.assertEqual(holder.ask("exists", names), 1)
        self.assertEqual(holder.ask("set", names), [True] * 3)
        self.assertEqual(holder.ask("get", names), [[True] * 3, 0])

    def test_27_other_length(self):
        """(27) A page of another length is a miss and leaves the tensor alone."""
        made = self.cluster.store(host_pool.mha(), options={"interface_v1": 0})
        self.assertTrue(made.set("k", numpy.arange(100, dtype=numpy.uint8)))
        for count in (99, 101):
            self.assertIsNone(made.get("k", numpy.zeros(count, dtype=numpy.uint8)))

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
        # This thread's own time: what other processes take of the machine is not the store's.
        started = time.thread_time()
        for _ in range(1000):
            made.get_stats()
        self.assertLess((time.thread_time() - started) / 1000, 50e-6)

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


if __name__ == "__main__":
    unittest.main()
