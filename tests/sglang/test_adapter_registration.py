# SPDX-License-Identifier: Apache-2.0
"""Which host pools are taken, which are refused and how; numbers as in the contract's checklist."""
import logging
import threading
import unittest

import numpy

import harness
import host_pool
import side_pools
from harness import AdapterCase
from sglang import _profile
from sglang.srt.mem_cache import hicache_storage

HYBRID = _profile.PROFILE["hybrid"]

KV_POOLS = {
    "mha page_first": lambda: host_pool.mha("page_first"),
    "mha page_first_direct": lambda: host_pool.mha("page_first_direct"),
    "mha page_head": lambda: host_pool.mha("page_head"),
    "mha layer_first": lambda: host_pool.mha("layer_first", layers=40),
    "mha asymmetric": lambda: host_pool.mha(v_head_dim=4),
    "mha asymmetric layer_first": lambda: host_pool.mha("layer_first", v_head_dim=4),
    "mha with scales": host_pool.mha_with_scales,
    "mha of one token": lambda: host_pool.mha(page_size=1),
    "mha in shared memory": lambda: host_pool.mha(allocator=host_pool.ShmAllocator()),
    "mla page_first": lambda: host_pool.mla("page_first"),
    "mla page_first_direct": lambda: host_pool.mla("page_first_direct"),
    "mla layer_first": lambda: host_pool.mla("layer_first"),
    "mla split, one segment empty": lambda: host_pool.mla("page_first_kv_split"),
    "logical anchor": side_pools.LogicalAnchor,
    "logical anchor, a pair": lambda: side_pools.LogicalAnchor((None, None)),
    "group": lambda: host_pool.mha(),
}
SIDE_POOLS = {
    "mamba": side_pools.mamba,
    "mamba without temporal": lambda: side_pools.mamba(temporal_bytes=0),
    "mamba of one component": lambda: side_pools.mamba(conv_bytes=()),
    "swa": side_pools.swa,
    "indexer": side_pools.indexer,
    "indexer layer_first": lambda: side_pools.indexer("layer_first"),
    "draft": lambda: host_pool.mha(layers=1, heads=1),
    "never heard of": lambda: host_pool.HostPool("page_first", 4, 64, [5, 0, 9], "uint8"),
}


class Taken(AdapterCase):
    def test_09_15_every_pool_under_the_controller(self):
        """(9)(15) Every pool and layout, stored and read by SGLang's threads."""
        for name, make in KV_POOLS.items():
            with self.subTest(name):
                pool = make()
                made = self.cluster.store(side_pools.HostPoolGroup(pool) if name == "group"
                                          else pool)
                controller = self.controller(made, pool)
                names = harness.keys(9, salt=len(name))
                self.assertEqual(controller.prefetch(names).wait(), 0)
                self.assertEqual(controller.backup(names).wait(), 9)
                self.assertEqual(controller.prefetch(names).wait(), 9)
                controller.detach()

    @unittest.skipUnless(HYBRID, "this release has no hybrid interface")
    def test_09_14_every_side_pool(self):
        """(9)(14) Side pools of every shape, and names that nobody has heard of."""
        for i, (name, make) in enumerate(SIDE_POOLS.items()):
            with self.subTest(name):
                pool, side = host_pool.mha(), make()
                made = self.cluster.store(pool)
                self.controller(made, pool, [side_pools.PoolEntry(name, side)])
                names = harness.keys(5, salt=i)
                slots = side.slots(range(5))
                transfer = hicache_storage.PoolTransfer(name, keys=names, host_indices=slots)
                self.assertEqual(self.write(made, pool, names), [True] * 5)
                side.fill(range(5), harness.seeds(names))
                self.assertEqual(made.batch_set_v2([transfer]), {name: [True] * 5})
                side.poison(range(5))
                self.assertEqual(made.batch_get_v2([transfer]), {name: [True] * 5})
                self.assertEqual(side.wrong_bytes(range(5), harness.seeds(names)), 0)
                self.assertTrue(side.guards_intact())
                found = made.batch_exists_v2(names, [transfer])
                self.assertEqual(found.kv_hit_pages, 5)

    def test_10_group_is_unwrapped(self):
        """(10) A HostPoolGroup, of one pool and of several."""
        pool = host_pool.mha()
        made = self.cluster.store(side_pools.HostPoolGroup(pool))
        self.assertEqual(self.write(made, pool, harness.keys(2)), [True, True])
        anchor, sides = side_pools.deepseek_v4()
        made = self.cluster.store(side_pools.HostPoolGroup(anchor, sides))
        self.assertEqual(made.batch_exists(harness.keys(2)), 0)

    @unittest.skipUnless(HYBRID, "this release has no hybrid interface")
    def test_10_more_parts_than_leave_together(self):
        """(10) 16 parts of a page are evicted together: a model with more is told, once."""
        made = self.cluster.store(host_pool.mha())
        with self.assertNoLogs("peercache", logging.WARNING):
            for i in range(15):
                made.register_mem_host_pool_v2(side_pools.swa(page_num=2), f"side {i}")
                made.register_mem_host_pool_v2(side_pools.swa(page_num=2), f"side {i}")
        with self.assertLogs("peercache", logging.WARNING) as logs:
            for name in ("one more", "and another"):
                made.register_mem_host_pool_v2(side_pools.swa(page_num=2), name)
        self.assertEqual(len(logs.output), 1)
        self.assertIn("more than 16 parts", logs.output[0])
        entries = [side_pools.PoolEntry(f"side {i}", side_pools.swa(page_num=2)) for i in range(20)]
        with self.assertLogs("peercache", logging.WARNING) as logs:
            self.cluster.store(side_pools.HostPoolGroup(host_pool.mha(), entries))
        self.assertEqual(len(logs.output), 1)

    def test_11_logical_anchor(self):
        """(11) Both forms: all answers agree with each other, and marks are cleared like pages."""
        for salt, meta in enumerate((None, (None, None))):
            pool = side_pools.LogicalAnchor(meta)
            # A model of its own: a node that joins may hear late of the clear of the one before.
            made = self.cluster.store(pool, model_name=f"anchor-{salt}")
            names = harness.keys(4, salt=salt)
            slots = pool.slots(range(4))
            self.assertEqual(made.batch_exists(names), 0)
            self.assertEqual(made.batch_set_v1(names[:3], slots[:12]), [True] * 3)
            self.assertEqual(made.batch_exists(names), 3)
            self.assertEqual(made.batch_get_v1(names[:3], slots[:12]), [True] * 3)
            made.clear()
            self.assertEqual(made.batch_exists(names), 0)

    @unittest.skipUnless(HYBRID, "this release has no hybrid interface")
    def test_13_registration_beside_calls(self):
        """(13) Side pools come while the threads work, and again at run time."""
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        names, wrong, stop = harness.keys(16), [], threading.Event()

        def work(pages):
            try:
                while not stop.is_set():
                    self.assertEqual(self.write(made, pool, names, pages), [True] * 16)
                    made.batch_exists_v2(names, [hicache_storage.PoolTransfer("swa", keys=names)])
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(range(first, first + 16),))
                   for first in (0, 16, 32)]
        for thread in threads:
            thread.start()
        for i in range(60):
            made.register_mem_host_pool_v2(side_pools.swa(page_num=2), ("swa", "draft")[i % 2])
            made.register_mem_host_pool_v2(pool, hicache_storage.PoolName.KV)
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])


class Refused(AdapterCase):
    def refused(self, pool, text, **config):
        """ValueError with a sentence; afterwards misses, and close() as SGLang's roll-back does."""
        made = self.cluster.store(**config)
        with self.assertRaisesRegex(ValueError, text) as caught:
            made.register_mem_pool_host(pool)
        self.assertIn("PeerCache", str(caught.exception))
        self.assertEqual(made.batch_exists(harness.keys(2)), 0)
        made.close()

    def test_12_pool_that_raises(self):
        """(12) Like the MXFP8 pools; also a layout that no storage backend can take."""
        self.refused(side_pools.block_scaled(), "block scales lie elsewhere")
        self.refused(host_pool.mha(layout="page_unified"), "page_unified")

    def test_12_pool_without_addresses(self):
        for meta in (None, (None, None), ([1], [2, 3]), ([], []), 7):
            pool = host_pool.mha()
            pool.get_page_buffer_meta = lambda indices, meta=meta: meta
            self.refused(pool, "host pool")
        self.refused(type("Nothing", (), {"page_size": 4, "layout": "x", "kv_buffer": 0})(), "pool")

    def test_12_pool_without_memory_on_this_rank(self):
        """(12) It looks like a logical anchor, and is none: its pages would be markers."""
        for config in ({}, {"options": {"interface_v1": 0}}):
            self.refused(side_pools.dummy(), "no memory.*another rank", **config)
        self.refused(side_pools.HostPoolGroup(side_pools.dummy()), "no memory.*another rank")

    def test_12_unsupported(self):
        self.refused(host_pool.mha(head_dim=1 << 21, page_num=1), "page-size")
        self.refused(host_pool.mha(dtype=None), "dtype")

    @unittest.skipUnless(HYBRID, "this release has no hybrid interface")
    def test_12_side_pool_is_not_refused_late(self):
        """(12)(14) Raising there would leave threads behind: a warning, and no hits."""
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        names = harness.keys(2)
        self.write(made, pool, names)
        for bad in (side_pools.block_scaled(), side_pools.LogicalAnchor(), side_pools.dummy(), None,
                    object()):
            with self.assertLogs("peercache", logging.WARNING) as logs:
                made.register_mem_host_pool_v2(bad, hicache_storage.PoolName.DRAFT)
            self.assertIn("draft", " ".join(logs.output))
            transfer = hicache_storage.PoolTransfer(
                "draft", keys=names, host_indices=numpy.arange(8))
            found = made.batch_exists_v2(names, [transfer])
            self.assertEqual((found.kv_hit_pages, found.extra_pool_hit_pages["draft"]), (0, 0))
            self.assertEqual(made.batch_get_v2([transfer]), {"draft": [False] * 2})
            self.assertEqual(made.batch_set_v2([transfer]), {"draft": [False] * 2})
        self.assertEqual(made.batch_exists(names), 2)

    def test_register_again(self):
        """A second registration takes the place of the first."""
        first, second = host_pool.mha(), host_pool.mha(head_dim=16)
        made = self.cluster.store(first)
        made.register_mem_pool_host(second)
        self.assertEqual(self.write(made, second, harness.keys(2)), [True, True])
        made.close()
        with self.assertRaises(RuntimeError):
            made.register_mem_pool_host(first)


if __name__ == "__main__":
    unittest.main()
