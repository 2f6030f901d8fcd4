# SPDX-License-Identifier: Apache-2.0
"""The simulator itself: a right backend passes, and each kind of wrong one is noticed."""
import ctypes
import threading
import time
import unittest

import harness
import host_pool
import side_pools
import simulator
from sglang import _profile
from sglang.srt.mem_cache import hicache_storage

PROFILE = _profile.PROFILE


class MemoryStorage(hicache_storage.HiCacheStorage):
    """A right backend, as simple as can be: a dictionary of bytes."""

    def __init__(self):
        self.pages, self.pools = {}, {}

    def register_mem_host_pool_v2(self, host_pool, host_pool_name):
        self.pools[host_pool_name] = host_pool

    def close(self):
        pass

    def get(self, key, target_location=None, target_sizes=None):
        raise NotImplementedError

    batch_get = set = batch_set = get

    def exists(self, key):
        return ("kv", key) in self.pages

    def _segments(self, pool, slots, count):
        addresses, lengths = pool.get_page_buffer_meta(slots)
        size = len(addresses) // count
        pairs = list(zip(addresses, lengths))
        return [pairs[i * size:(i + 1) * size] for i in range(count)]

    def _write(self, pool, name, keys, slots):
        for key, page in zip(keys, self._segments(pool, slots, len(keys))):
            self.pages[name, key] = b"".join(ctypes.string_at(*segment) for segment in page)
        return [True] * len(keys)

    def _read(self, pool, name, keys, slots):
        hits = []
        for key, page in zip(keys, self._segments(pool, slots, len(keys))):
            data = self.pages.get((name, key))
            hits.append(data is not None)
            for address, length in page if data is not None else ():
                ctypes.memmove(address, data, length)
                data = data[length:]
        return hits

    def batch_get_v1(self, keys, host_indices, extra_info=None):
        return self._read(self.mem_pool_host, "kv", keys, host_indices)

    def batch_set_v1(self, keys, host_indices, extra_info=None):
        return self._write(self.mem_pool_host, "kv", keys, host_indices)

    def batch_get_v2(self, transfers, extra_info=None):
        return {t.name: self._read(self.pools[t.name], t.name, t.keys, t.host_indices)
                for t in transfers}

    def batch_set_v2(self, transfers, extra_info=None):
        return {t.name: self._write(self.pools[t.name], t.name, t.keys, t.host_indices)
                for t in transfers}

    def batch_exists_v2(self, keys, pool_transfers=None, extra_info=None):
        hit = self.batch_exists(keys)
        own = {t.name: hit for t in pool_transfers}
        while hit and not all((t.name, keys[hit - 1]) in self.pages for t in pool_transfers):
            hit -= 1
        values = (hit, own, [hit] if hit else [])
        return hicache_storage.PoolTransferResult(*values[:PROFILE["result_fields"]])


class WithWrongBackend(unittest.TestCase):
    def faults(self, backend, count=8, sides=()):
        """What the simulator notices in one backup and one prefetch."""
        controller = simulator.Controller(backend, host_pool.mha(page_num=512), sides)
        names = harness.keys(count)
        try:
            self.stored = controller.backup(names).wait(1.0)
            self.read = controller.prefetch(names).wait(1.0)
        except AssertionError as error:
            controller.faults.append(str(error))
        time.sleep(0.15)
        controller.detach()
        return " ".join(controller.faults)

    def backend(self, **methods):
        return type("Backend", (MemoryStorage,), methods)()

    def test_right_backend(self):
        self.assertEqual(self.faults(MemoryStorage(), 300), "")
        self.assertEqual((self.stored, self.read), (300, 300))

    @unittest.skipUnless(PROFILE["hybrid"], "this release has no hybrid interface")
    def test_right_hybrid_backend(self):
        sides = [side_pools.PoolEntry("indexer", side_pools.indexer(page_num=512), derived=True),
                 side_pools.PoolEntry("mamba", side_pools.mamba(), window=1)]
        self.assertEqual(self.faults(MemoryStorage(), 300, sides), "")
        self.assertEqual((self.stored, self.read), (300, 300))

    def test_exception(self):
        """It is a fault everywhere; in the older releases the thread is dead as well."""
        def fail(self, *args):
            raise OSError("no")

        for name in ("batch_exists", "batch_get_v1", "batch_set_v1"):
            noticed = self.faults(self.backend(**{name: fail}))
            self.assertIn(f"{name} raised", noticed)
            self.assertEqual("died" in noticed, not PROFILE["exceptions_caught"], noticed)

    def test_wrong_answers(self):
        wrong = {"batch_exists": (None, [True], -1, 9, True), "batch_get_v1": (None, [True] * 7),
                 "batch_set_v1": (None, [1] * 8, (True,) * 8)}
        for name, answers in wrong.items():
            for answer in answers:
                backend = self.backend(**{name: lambda self, *args, answer=answer: answer})
                self.assertIn(f"{name} answered", self.faults(backend), answer)

    def test_lost_pages(self):
        """Every third page is lost: no fault, but the prefix is short."""
        def get(self, keys, slots, extra_info=None):
            hits = MemoryStorage.batch_get_v1(self, keys, slots)
            return [hit and i % 3 != 2 for i, hit in enumerate(hits)]

        self.faults(self.backend(batch_get_v1=get))
        self.assertEqual(self.read, 2)

    def test_wrong_bytes(self):
        def get(self, keys, slots, extra_info=None):
            hits = MemoryStorage.batch_get_v1(self, keys, slots)
            addresses, _ = self.mem_pool_host.get_page_buffer_meta(slots)
            ctypes.memset(addresses[-1], hits[0] and 7, 3)
            return hits

        self.assertIn("wrong bytes", self.faults(self.backend(batch_get_v1=get)))

    def test_late_read(self):
        """A set that reads its pages after it has returned stores what is there then."""
        def write(self, keys, slots, extra_info=None):
            late = (self, keys, slots.copy())
            threading.Timer(0.05, MemoryStorage.batch_set_v1, late).start()
            return [True] * len(keys)

        def exists(self, keys, extra_info=None):
            time.sleep(0.1)
            return len(keys)

        noticed = self.faults(self.backend(batch_set_v1=write, batch_exists=exists))
        self.assertIn("wrong bytes", noticed)

    def test_late_write(self):
        def get(self, keys, slots, extra_info=None):
            threading.Timer(0.05, MemoryStorage.batch_get_v1, (self, keys, slots.copy())).start()
            return MemoryStorage.batch_get_v1(self, keys, slots)

        self.assertIn("after their call", self.faults(self.backend(batch_get_v1=get)))

    def test_stray_write(self):
        def get(self, keys, slots, extra_info=None):
            self.mem_pool_host.kv_buffer[self.mem_pool_host.segment_lengths[0]] ^= 1
            return MemoryStorage.batch_get_v1(self, keys, slots)

        self.assertIn("between the pages", self.faults(self.backend(batch_get_v1=get)))


if __name__ == "__main__":
    unittest.main()
