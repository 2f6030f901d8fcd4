# SPDX-License-Identifier: Apache-2.0
"""Where PeerCache answers otherwise than SGLang's file backend, on purpose."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "sglang_support"))

import release  # noqa: E402

release.import_core()

import torch  # noqa: E402
from sglang.srt.mem_cache import hicache_storage  # noqa: E402
from sglang.srt.mem_cache.hicache_storage import PoolHitPolicy, PoolTransfer  # noqa: E402

import cluster  # noqa: E402
import torch_pool  # noqa: E402


class Deviations(unittest.TestCase):
    def setUp(self):
        self.cluster = cluster.Cluster()
        self.addCleanup(self.cluster.close)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = hicache_storage.HiCacheFile(cluster.storage_config({}), file_path=folder.name)
        self.pool = torch_pool.kv()
        self.ours = self.cluster.store(self.pool)
        self.keys = [f"{page:064x}" for page in range(1, 5)]
        self.assertEqual(self.ours.batch_set_v1(self.keys, self.pool.slots(range(4))), [True] * 4)

    def test_unregistered_pool(self):
        """The file backend raises; here it is a miss, and a set of it is refused."""
        transfer = PoolTransfer(name=hicache_storage.PoolName.SWA, keys=self.keys,
                                host_indices=self.pool.slots(range(4)))
        self.file.register_mem_host_pool_v2(self.pool, hicache_storage.PoolName.KV)
        with self.assertRaises(KeyError):
            self.file.batch_get_v2([transfer])
        self.assertEqual(self.ours.batch_get_v2([transfer]), {"swa": [False] * 4})
        self.assertEqual(self.ours.batch_set_v2([transfer]), {"swa": [False] * 4})
        self.assertEqual(self.ours.batch_exists_v2(self.keys, [transfer]).kv_hit_pages, 0)

    @unittest.skipUnless(hasattr(PoolHitPolicy, "BLOCK_GROUPS"), "no such policy in this release")
    def test_block_groups(self):
        """The file backend raises; here the pool is left out, and KV's hit is not shortened."""
        side = torch_pool.indexer()
        self.ours.register_mem_host_pool_v2(side, hicache_storage.PoolName.INDEXER)
        transfer = PoolTransfer(name=hicache_storage.PoolName.INDEXER,
                                hit_policy=PoolHitPolicy.BLOCK_GROUPS, block_pages=2, group_pages=1)
        for key in self.keys:
            self.file.set(key, torch.zeros(8, dtype=torch.uint8))
        with self.assertRaises(ValueError):
            self.file.batch_exists_v2(self.keys, [transfer])
        result = self.ours.batch_exists_v2(self.keys, [transfer])
        self.assertEqual(result.kv_hit_pages, 4)
        self.assertNotIn("indexer", result.extra_pool_hit_pages)

    def test_model_names(self):
        """"a/b" and "a-b" are one model for the file backend."""
        stores = [self.cluster.store(self.pool, model_name=name) for name in ("a/b", "a-b")]
        stores[0].batch_set_v1(self.keys, self.pool.slots(range(4)))
        self.assertEqual([store.batch_exists(self.keys) for store in stores], [4, 0])

    def test_clear_is_ours_only(self):
        """The file backend's clear() removes the pages of all models."""
        other = self.cluster.store(self.pool, model_name="another")
        other.batch_set_v1(self.keys, self.pool.slots(range(4)))
        other.clear()
        self.assertEqual([other.batch_exists(self.keys), self.ours.batch_exists(self.keys)], [0, 4])

    def test_wrong_size(self):
        """The file backend hands out the beginning of a longer page; here it is a miss."""
        copying = self.cluster.store(self.pool, {"interface_v1": None})
        page, short = torch.arange(64, dtype=torch.uint8), torch.zeros(32, dtype=torch.uint8)
        for made in (copying, self.file):
            self.assertTrue(made.set(self.keys[0], page))
        self.assertIsNotNone(self.file.get(self.keys[0], short.clone()))
        self.assertIsNone(copying.get(self.keys[0], short))
        self.assertFalse(short.any())


if __name__ == "__main__":
    unittest.main()
