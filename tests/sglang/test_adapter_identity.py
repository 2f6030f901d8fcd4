# SPDX-License-Identifier: Apache-2.0
"""Who shares pages with whom; numbers as in the contract's checklist."""
import unittest

import harness
import host_pool
import side_pools
from harness import AdapterCase, storage_config
from peercache import identity
from peercache.hostpool import HostPool
from peercache.settings import Settings
from sglang import _profile
from sglang.srt.mem_cache import hicache_storage

VECTORS = ("cf97adeedb59e05bfd73a2b4c2a8885708c4f4f70c84c64b27120e72ab733b72",
           "4ebfa8a1f3c341517621838c6e1b9aa350307e3f00b3cbd1a07ef740f54396d6")
SEED = "407c773a7c02b33bd4a62af6bf5fc77997c2c8067811ecf2b39e3839c3f4284b"
SEEDED = "e4f68dc4af99b6de199d5a048add282da40aa4ef97942ce9eca321bccada9376"


def fields(extra=None, pool=None, form="pages", component="kv", **config):
    """The namespace of a rank, without a node."""
    pool = HostPool(pool or host_pool.mha())
    settings = Settings(extra)
    made = identity.fields(storage_config(extra, **config), pool, settings, form, component)
    return frozenset(made)


class Sharing(AdapterCase):
    def test_32_ranks_are_isolated(self):
        """(32) Heads are split over tensor-parallel ranks: equal keys, other bytes."""
        pool = host_pool.mha()
        first, second = (self.cluster.store(pool, tp_rank=rank, tp_size=2) for rank in (0, 1))
        names = harness.keys(4)
        self.write(first, pool, names)
        self.assertEqual(second.batch_exists(names), 0)
        self.assertEqual(self.read(second, pool, names), [False] * 4)

    def test_33_replicated_ranks_share(self):
        """(33) MLA: rank 0 writes, rank 3 reads."""
        pool = host_pool.mla()
        writer, reader = (self.cluster.store(pool, tp_rank=rank, tp_size=4, is_mla_model=True)
                          for rank in (0, 3))
        names = harness.keys(4)
        self.write(writer, pool, names)
        harness.wait_for(lambda: reader.batch_exists(names) == 4, "the pages of rank 0")
        self.assertEqual(self.read(reader, pool, names), [True] * 4)

    def test_34_others_miss(self):
        """(34) Through the whole store: model, revision, tag and dtype."""
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        names = harness.keys(2)
        self.write(made, pool, names)
        same = self.cluster.store(pool, model_name=harness.MODEL)
        others = [self.cluster.store(pool, model_name="other"),
                  self.cluster.store(pool, options={"tag": "x"}),
                  self.cluster.store(pool, options={"weights_id": "r2"}),
                  self.cluster.store(host_pool.mha(dtype="float16"))]
        for other in (same, *others):
            harness.wait_for(lambda: harness.alive_members(other) == 6, "all members")
        harness.wait_for(lambda: same.batch_exists(names) == 2, "the pages")
        self.assertEqual([other.batch_exists(names) for other in others], [0] * 4)


    @unittest.skipUnless(_profile.PROFILE["hybrid"], "this release has no hybrid interface")
    def test_36_mamba_of_a_replicated_model(self):
        """(36) KV is the same on all ranks, Mamba's states and an MHA draft's pages are not."""
        names, pool = harness.keys(3), host_pool.mla()
        sides = {"mamba": side_pools.mamba, "draft": lambda: host_pool.mha(layers=1),
                 "indexer": side_pools.indexer}
        ranks = [self.cluster.store(pool, tp_rank=rank, tp_size=4, is_mla_model=True)
                 for rank in (0, 3)]
        harness.wait_for(lambda: harness.alive_members(ranks[0]) == 2, "two members")
        self.write(ranks[0], pool, names)
        harness.wait_for(lambda: ranks[1].batch_exists(names) == 3, "the pages of rank 0")
        for name, make in sides.items():
            with self.subTest(name):
                side = make()
                transfer = hicache_storage.PoolTransfer(
                    name, keys=names, host_indices=side.slots(range(3)))
                for made in ranks:
                    made.register_mem_host_pool_v2(side, name)
                self.assertEqual(ranks[0].batch_set_v2([transfer]), {name: [True] * 3})
                found = [made.batch_exists_v2(names, [transfer]).kv_hit_pages for made in ranks]
                self.assertEqual(found, [3, 3 if name == "indexer" else 0])
                self.assertEqual(ranks[1].batch_get_v2([transfer]),
                                 {name: [name == "indexer"] * 3})

    @unittest.skipUnless(_profile.PROFILE["hybrid"], "this release has no hybrid interface")
    def test_33_writer_of_sharded_pools_is_warned(self):
        """SGLang stores such a draft from rank 0 only: the log says what to expect."""
        made = self.cluster.store(host_pool.mla(), tp_rank=1, tp_size=2, is_mla_model=True)
        with self.assertLogs("peercache", "WARNING") as logs:
            made.register_mem_host_pool_v2(host_pool.mha(), "draft")
        self.assertIn("draft", logs.output[0])


class Fields(unittest.TestCase):
    def test_34_layer_range(self):
        """(34) Pipeline stages of equal length hold other layers."""
        later = host_pool.mha()
        later.start_layer, later.end_layer = 2, 4
        self.assertNotEqual(fields(), fields(pool=later))

    def test_equal_where_it_must_be(self):
        self.assertEqual(fields(), fields(extra={"get_timeout": "0.5"}))
        self.assertEqual(fields(extra={"tag": "x"}), fields(extra={"prefix": "x"}))
        mla = [fields(pool=host_pool.mla(), is_mla_model=True, tp_size=4, tp_rank=rank)
               for rank in (0, 3)]
        self.assertEqual(*mla)
        if _profile.NAME == "new":
            self.assertEqual(fields(dp_rank=0), fields(dp_rank=1))

    def test_limits_of_a_field(self):
        """The library takes 64 fields of 1024 bytes with distinct labels."""
        many = fields(pool=host_pool.HostPool("layer_first", 4, 2, [256, 128] * 200))
        self.assertLessEqual(len(many), 64)
        self.assertTrue(all(len(field.encode()) <= 1024 for field in many))
        labels = [field.split("=", 1)[0] for field in many]
        self.assertEqual(len(labels), len(set(labels)))
        swapped = fields(pool=host_pool.HostPool("layer_first", 4, 2, [128, 256] * 200))
        self.assertNotEqual(many, swapped)

    def test_refused_names(self):
        for name in ("a\0b", "\ud800"):
            with self.assertRaises(ValueError):
                fields(model_name=name)
        with self.assertRaisesRegex(ValueError, "tag and prefix"):
            fields(extra={"tag": "a", "prefix": "b"})

    def test_37_page_hashes(self):
        """(37) The keys of these tests are SGLang's."""
        first = hicache_storage.page_hash(None, range(1, 5))
        second = hicache_storage.page_hash(first, range(5, 9))
        self.assertEqual((first, second), VECTORS)

    def test_37_seeded_chains(self):
        """(37) LoRA adapters and salted tenants start their chains elsewhere."""
        seed = hicache_storage.namespace_seed("lora-a")
        self.assertEqual(seed, SEED)
        self.assertEqual(hicache_storage.page_hash(seed, range(1, 5)), SEEDED)
        self.assertNotEqual(hicache_storage.namespace_seed("a", "bc"),
                            hicache_storage.namespace_seed("ab", "c"))


if __name__ == "__main__":
    unittest.main()
