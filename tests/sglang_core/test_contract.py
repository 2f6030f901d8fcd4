# SPDX-License-Identifier: Apache-2.0
"""What the real SGLang says of the contract: factory, base class, dataclasses, enums."""
import inspect
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "sglang_support"))

import release  # noqa: E402

release.import_core()

import torch  # noqa: E402,F401
from sglang.srt.mem_cache import hicache_storage  # noqa: E402
from sglang.srt.mem_cache.storage.backend_factory import StorageBackendFactory  # noqa: E402

import cluster  # noqa: E402
import torch_pool  # noqa: E402
from peercache import store  # noqa: E402

KEYS = [f"{page:064x}" for page in range(1, 9)]


class Case(unittest.TestCase):
    def setUp(self):
        self.cluster = cluster.Cluster()
        self.addCleanup(self.cluster.close)

    def create(self, config):
        """What SGLang does with `--hicache-storage-backend dynamic`."""
        made = StorageBackendFactory.create_backend("dynamic", config, None)
        self.addCleanup(made.close)
        return made


class Factory(Case):
    def test_loads_our_class(self):
        made = self.create(cluster.storage_config(self.cluster.extra()))
        self.assertIs(type(made), store.PeerCacheStore)
        self.assertIsInstance(made, hicache_storage.HiCacheStorage)

    def test_wrong_names(self):
        """SGLang's errors, unchanged: they tell an operator what is wrong."""
        cases = {"module_path": ("peercache.nowhere", ImportError),
                 "class_name": ("NoSuchStore", AttributeError)}
        for name, (value, error) in cases.items():
            with self.subTest(name), self.assertRaisesRegex(error, value):
                self.create(cluster.storage_config(self.cluster.extra(**{name: value})))
        with self.assertRaisesRegex(TypeError, "must inherit from HiCacheStorage"):
            self.create(cluster.storage_config(self.cluster.extra(class_name="StorageStats")))

    def test_missing_names(self):
        for name in ("backend_name", "module_path", "class_name"):
            with self.subTest(name), self.assertRaisesRegex(ValueError, name):
                self.create(cluster.storage_config(self.cluster.extra(**{name: None})))

    def test_our_refusals_pass_through(self):
        """A constructor that refuses stops the attach with its own words."""
        with self.assertRaisesRegex(ValueError, "model_name is empty"):
            self.create(cluster.storage_config(self.cluster.extra(), model_name=None))
        with self.assertRaisesRegex(ValueError, "get_timeout='soon'"):
            self.create(cluster.storage_config(self.cluster.extra(get_timeout="soon")))

    @unittest.skipUnless(hasattr(hicache_storage, "_maybe_wrap_hicache_storage_failure_injector"),
                         "this release injects no failures")
    def test_behind_the_failure_injector(self):
        """The proxy that SGLang can put before a backend finds all that it passes on."""
        from sglang.srt.environ import envs
        with envs.SGLANG_TEST_HICACHE_BACKEND_RANDOM_FAILURE.override(1.0):
            made = self.create(cluster.storage_config(self.cluster.extra()))
        pool = torch_pool.kv()
        made.register_mem_pool_host(pool)
        self.assertIsNot(type(made), store.PeerCacheStore)
        self.assertFalse(any(made.batch_set_v1(KEYS, pool.slots(range(8)))))
        self.assertEqual(made.batch_exists(KEYS), 0)


class BaseClass(Case):
    def test_abstract_methods(self):
        abstract = hicache_storage.HiCacheStorage.__abstractmethods__
        self.assertEqual(abstract, {"get", "batch_get", "set", "batch_set", "exists"})
        self.assertEqual(store.PeerCacheStore.__abstractmethods__, frozenset())

    def test_nothing_is_left_to_the_base(self):
        """The base answers None or raises in most calls, so each is implemented.

        Passing a pool on to the base would be fine, but then it must be meant.
        """
        for name, _ in inspect.getmembers(hicache_storage.HiCacheStorage, inspect.isfunction):
            if not name.startswith("_"):
                self.assertIn(name, vars(store.PeerCacheStore), name)

    def test_signatures(self):
        """All that SGLang passes, by position or by keyword, is accepted."""
        for name, theirs in inspect.getmembers(hicache_storage.HiCacheStorage,
                                               inspect.isfunction):
            if name.startswith("_"):
                continue
            wanted = list(inspect.signature(theirs).parameters)
            ours = list(inspect.signature(getattr(store.PeerCacheStore, name)).parameters)
            self.assertEqual(ours[:len(wanted)], wanted, name)

    def test_no_l2_bypass(self):
        for name in dir(store.PeerCacheStore):
            self.assertFalse(name.startswith(("register_mem_pool_device",
                                              "supports_device_transfer")), name)


class Dataclasses(Case):
    def test_config_fields(self):
        """Those that the adapter reads; a release that renames one must be noticed."""
        config = cluster.storage_config({})
        for name in ("tp_rank", "tp_size", "pp_rank", "pp_size", "attn_cp_rank", "attn_cp_size",
                     "is_mla_model", "model_name", "tp_lcm_size", "should_split_heads",
                     "extra_config"):
            self.assertTrue(hasattr(config, name), name)

    def test_extra_config_none(self):
        """Legal for SGLang's dataclass; the factory itself never comes that far."""
        made = store.PeerCacheStore(cluster.storage_config(None), {})
        self.addCleanup(made.close)
        self.assertEqual(made.batch_exists(KEYS), 0)

    def test_extra_info(self):
        pool = torch_pool.kv()
        made = self.create(cluster.storage_config(self.cluster.extra()))
        made.register_mem_pool_host(pool)
        info = hicache_storage.HiCacheStorageExtraInfo
        for number, extra in enumerate((None, info(), info(prefix_keys=[]),
                                        info(prefix_keys=KEYS[:2]),
                                        info(extra_info={"hint": 1}))):
            keys = [f"{number:02x}{key[2:]}" for key in KEYS]
            slots = pool.slots(range(8))
            self.assertEqual(made.batch_set_v1(keys, slots, extra), [True] * 8)
            self.assertEqual(made.batch_exists(keys, extra), 8)
            self.assertEqual(made.batch_get_v1(keys, slots, extra), [True] * 8)

    def test_transfer_result(self):
        """The answer of exists_v2 is SGLang's own class, whatever its number of fields."""
        made = self.create(cluster.storage_config(self.cluster.extra()))
        made.register_mem_pool_host(torch_pool.kv())
        transfer = hicache_storage.PoolTransfer(name=hicache_storage.PoolName.INDEXER)
        result = made.batch_exists_v2(KEYS, [transfer], None)
        self.assertIs(type(result), hicache_storage.PoolTransferResult)
        self.assertEqual(result.kv_hit_pages, 0)
        self.assertFalse(any(result.extra_pool_hit_pages.values()))

    def test_stats(self):
        """SGLang's own StorageMetrics; at core level, which cannot import it, None and no more."""
        made = self.create(cluster.storage_config(self.cluster.extra()))
        try:
            from sglang.srt.observability.metrics_collector import StorageMetrics
        except ImportError:
            self.assertIsNone(made.get_stats())
        else:
            self.assertIs(type(made.get_stats()), StorageMetrics)


class Enums(Case):
    NAMES = {"kv", "mamba", "swa", "indexer", "deepseek_v4_c4", "deepseek_v4_c4_indexer",
             "deepseek_v4_c128", "deepseek_v4_c4_state", "deepseek_v4_c4_indexer_state",
             "deepseek_v4_c128_state", "draft"}

    def test_pool_names(self):
        names = {member.value for member in hicache_storage.PoolName}
        self.assertLessEqual(self.NAMES, names)
        for member in hicache_storage.PoolName:
            self.assertEqual(member, member.value)
            self.assertEqual({member: 1}[member.value], 1)

    def test_hit_policies(self):
        """A policy that is not known here is left out of a result, so a new one is worth a look."""
        policies = {member.value for member in hicache_storage.PoolHitPolicy}
        known = {"all_pages", "trailing_pages"}
        newer = {"block_groups"} if release.VERSION >= (0, 5, 23) else set()
        self.assertEqual(policies, known | newer)

    def test_batch_size(self):
        self.assertEqual(hicache_storage.STORAGE_BATCH_SIZE, 128)


if __name__ == "__main__":
    unittest.main()
