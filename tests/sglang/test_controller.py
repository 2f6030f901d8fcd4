# SPDX-License-Identifier: Apache-2.0
"""The store under SGLang's threads, one rank; numbers as in the contract's checklist.

The simulated controller checks every answer and every byte and poisons what it has read or stored;
harness.AdapterCase.controller() makes what it notices a failure.
"""
import threading
import unittest

import harness
import host_pool
import side_pools
import simulator
from harness import AdapterCase
from side_pools import PoolEntry
from sglang import _profile
from sglang.srt.mem_cache.storage import backend_factory

PROFILE = _profile.PROFILE
HYBRID = PROFILE["hybrid"]


class CopyController(simulator.Controller):
    """The controller without interface_v1: pages go through flat tensors of their own."""

    def _bools(self, name, operation, keys, slots, done):
        firsts = slots.tolist()[::self.pool.page_size]
        if name == "batch_set_v1":
            pages = [self.pool.get_data_page(first) for first in firsts]
            stored = self.call("batch_set", lambda answer: type(answer) is bool, False, keys, pages)
            return [stored] * len(keys)
        dummies = [self.pool.get_dummy_flat_data_page() for _ in keys]
        pages = self.call("batch_get", lambda answer: len(answer) == len(keys), [None] * len(keys),
                          keys, dummies)
        for first, page in zip(firsts, pages):
            if page is not None:
                self.pool.set_from_flat_data_page(first, page)
        return [page is not None for page in pages]


def hybrid_sides():
    return [PoolEntry("indexer", side_pools.indexer(page_num=1024), derived=True),
            PoolEntry("mamba", side_pools.mamba(), window=1),
            PoolEntry("swa", side_pools.swa(page_num=64), window=3)]


class OneRank(AdapterCase):
    def attach(self, pool, sides=(), kind=simulator.Controller, options=None, **more):
        made = self.cluster.store(options=options)
        return self.controller(made, pool, sides, kind=kind, **more)

    def check_whole_and_partial(self, controller):
        """300 pages: nothing, all of them, half of them, and only what comes before a hole."""
        names = harness.keys(300)
        self.assertEqual(controller.prefetch(names).wait(), 0)
        stored = controller.backup(names)
        self.assertEqual((stored.wait(), stored.batches), (300, 3))
        read = controller.prefetch(names)
        self.assertEqual((read.wait(), read.batches), (300, 3))
        half = controller.prefetch(names[:150] + harness.keys(150, salt=1))
        self.assertEqual(half.wait(), 150 if not controller.sides else 0)
        self.assertEqual(controller.query_hit_length(names), 300)

    def test_15_plain(self):
        """(15) Batches of 128, 128 and 44; whole and partial hits."""
        controller = self.attach(host_pool.mha(page_num=1024))
        self.check_whole_and_partial(controller)
        controller.detach()

    def test_19_copy_interface(self):
        """(19) Without interface_v1 the same, through tensors."""
        controller = self.attach(host_pool.mha(page_num=1024), kind=CopyController,
                                 options={"interface_v1": 0})
        self.check_whole_and_partial(controller)
        controller.detach()

    @unittest.skipUnless(HYBRID, "this release has no hybrid interface")
    def test_42_hybrid(self):
        """(42) Sidecars before KV; derived ones beside each batch, the others at the end."""
        controller = self.attach(host_pool.mha(page_num=1024), hybrid_sides())
        self.check_whole_and_partial(controller)
        # A prefix that ends where states were stored is found inside a longer request.
        names = harness.keys(40, salt=2)
        for end in (10, 25):
            self.assertEqual(controller.backup(names[:end]).wait(), end)
        self.assertEqual(controller.prefetch(names).wait(), 25)
        self.assertEqual(controller.prefetch(names[:20]).wait(), 10)
        controller.detach()

    @unittest.skipUnless(HYBRID, "this release has no hybrid interface")
    def test_11_deepseek_v4(self):
        """(11) All bytes in side pools, and the KV pool a mere logical anchor, in both forms."""
        for salt, meta in enumerate((None, (None, None))):
            anchor, sides = side_pools.deepseek_v4(page_num=512, meta=meta)
            controller = self.attach(anchor, sides)
            names = harness.keys(200, salt=salt)
            self.assertEqual(controller.prefetch(names).wait(), 0)
            self.assertEqual(controller.backup(names).wait(), 200)
            self.assertEqual(controller.prefetch(names).wait(), 200)
            controller.detach()

    @unittest.skipUnless(HYBRID, "this release has no hybrid interface")
    def test_36_rank_that_does_not_write_kv(self):
        """(36) Other ranks of a replicated model store their own states only."""
        ranks = []
        for rank in (0, 1):
            made = self.cluster.store(tp_rank=rank, tp_size=2, is_mla_model=True)
            sides = [PoolEntry("mamba", side_pools.mamba(), window=1)]
            ranks.append(self.controller(made, host_pool.mla(page_num=128), sides,
                                         writes_kv=rank == 0, salts={"mamba": rank}))
        harness.wait_for(lambda: harness.alive_members(ranks[0].backend) == 2, "two members")
        names = harness.keys(20)
        self.assertEqual(ranks[0].backup(names).wait(), 20)
        self.assertEqual(ranks[0].prefetch(names).wait(), 20)
        harness.wait_for(lambda: ranks[1].query_hit_length(names) == 20, "rank 0's pages")
        self.assertEqual(ranks[1].prefetch(names).wait(), 0)
        ranks[1].backup(names).wait()
        self.assertEqual(ranks[1].prefetch(names).wait(), 20)
        for controller in ranks:
            controller.detach()

    def test_prefix_keys(self):
        """With the keys of earlier pages, in a list that older releases extend in place."""
        controller = self.attach(host_pool.mha(page_num=1024),
                                 options={"hicache_storage_pass_prefix_keys": True})
        names = harness.keys(320)
        self.assertEqual(controller.backup(names[:20], prefix_keys=[]).wait(), 20)
        self.assertEqual(controller.backup(names[20:], prefix_keys=names[:20]).wait(), 300)
        self.assertEqual(controller.prefetch(names[20:], prefix_keys=names[:20]).wait(), 300)
        self.assertEqual(controller.prefetch(names, prefix_keys=[]).wait(), 320)
        controller.detach()

    def test_45_pages_are_used_again_at_once(self):
        """(45) Many operations under way, each page poisoned the moment it is acknowledged."""
        controller = self.attach(host_pool.mha(page_num=2048, page_size=16, head_dim=32))
        chains = [harness.keys(40, salt=salt) for salt in range(30)]
        stored = [controller.backup(names) for names in chains]
        self.assertEqual([one.wait() for one in stored], [40] * 30)
        read = [controller.prefetch(names) for names in chains]
        self.assertEqual([one.wait() for one in read], [40] * 30)
        controller.detach()

    def test_52_cancelled_between_batches(self):
        """(52) What a get still brings after the cancellation is thrown away, and nothing else."""
        controller = self.attach(host_pool.mha(page_num=2048))
        names = harness.keys(500)
        controller.backup(names).wait()
        get, under_way = controller.backend.batch_get_v1, []

        def cancelling(*args):
            under_way[0].cancelled = True
            return get(*args)

        controller.backend.batch_get_v1 = cancelling
        ready = threading.Event()
        reduce, controller._reduce = controller._reduce, lambda tag, value: (
            ready.wait(5.0), value)[1]
        under_way.append(controller.prefetch(names))
        ready.set()
        completed = under_way[0].wait()
        self.assertEqual((completed, under_way[0].batches), (128, 1))
        controller._reduce = reduce
        del controller.backend.batch_get_v1
        self.assertEqual(controller.prefetch(names).wait(), 500)
        controller.detach()

    def test_flush(self):
        """The threads stop and start again; what is stored stays."""
        controller = self.attach(host_pool.mha(page_num=512))
        names = harness.keys(100)
        controller.backup(names).wait()
        before = set(controller.threads)
        with self.within_deadline():
            controller.reset()
        self.assertTrue(before.isdisjoint(controller.threads))
        self.assertEqual(controller.prefetch(names).wait(), 100)
        controller.detach()

    def test_07_attach_and_detach_again(self):
        """(7)(8) One process constructs, closes and constructs, each time through the factory."""
        extra = self.cluster.extra(backend_name="peercache", module_path="peercache.store",
                                   class_name="PeerCacheStore")
        names = harness.keys(20)
        for _ in range(5):
            made = backend_factory.create_dynamic(harness.storage_config(extra))
            controller = self.controller(made, host_pool.mha(page_num=128))
            self.assertEqual(controller.backup(names).wait(), 20)
            self.assertEqual(controller.prefetch(names).wait(), 20)
            with self.within_deadline():
                controller.detach()

    def test_12_roll_back(self):
        """(12) A refused pool leaves no thread of SGLang's and no node behind."""
        made = self.cluster.store()
        threads = threading.active_count()
        with self.assertRaises(ValueError):
            simulator.Controller(made, side_pools.block_scaled())
        self.assertEqual(threading.active_count(), threads)
        self.assertIsNone(made.status())

    def test_31_statistics_each_turn(self):
        """(31) The scheduler asks every turn, while all threads move pages."""
        controller = self.attach(host_pool.mha(page_num=2048))
        pages = {"backup_pgs": 0, "prefetch_pgs": 0}
        chains = [harness.keys(150, salt=salt) for salt in range(5)]
        operations = [controller.backup(names) for names in chains]

        def turn():
            stats = controller.turn()
            for name in pages:
                pages[name] += sum(getattr(stats, name))

        while not all(one.done.is_set() for one in operations):
            turn()
        operations = [controller.prefetch(names) for names in chains]
        while not all(one.done.is_set() for one in operations):
            turn()
        turn()
        self.assertEqual(pages, {"backup_pgs": 750, "prefetch_pgs": 750})
        self.assertLess(controller.durations_s["get_stats"], harness.CALL_LIMIT_S)
        controller.detach()

    def test_30_clear_under_load(self):
        """(30) The administrator clears while everything runs: misses, never wrong bytes."""
        controller = self.attach(host_pool.mha(page_num=2048))
        names = harness.keys(100)
        for _ in range(6):
            operations = [controller.backup(names), controller.prefetch(names)]
            controller.backend.clear()
            for operation in operations:
                operation.wait()
        self.assertEqual(controller.backup(names).wait(), 100)
        self.assertEqual(controller.prefetch(names).wait(), 100)
        controller.backend.clear()
        self.assertEqual(controller.prefetch(names).wait(), 0)
        controller.detach()


if __name__ == "__main__":
    unittest.main()
