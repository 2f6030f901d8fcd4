# SPDX-License-Identifier: Apache-2.0
"""The hybrid interface through whole stores; numbers as in the contract's checklist."""
import itertools
import random
import unittest

import numpy

import harness
import host_pool
import side_pools
from harness import AdapterCase
from sglang import _profile
from sglang.srt.mem_cache import hicache_storage
from test_hybrid_resolve import RULES, oracle, presences

PROFILE = _profile.PROFILE
if not PROFILE["hybrid"]:
    raise unittest.SkipTest("this release has no hybrid interface")

POLICIES = {"all_pages": hicache_storage.PoolHitPolicy.ALL_PAGES,
            "trailing_pages": hicache_storage.PoolHitPolicy.TRAILING_PAGES}


def transfer(name, names=None, slots=None, policy="all_pages"):
    return hicache_storage.PoolTransfer(name, host_indices=slots, keys=names,
                                        hit_policy=POLICIES[policy])


def question(name, policy, window):
    """In exists the keys only say how long the window is."""
    return transfer(name, ["-"] * window, policy=policy)


class HybridCase(AdapterCase):
    def hybrid_store(self, **sides):
        """(store, KV pool) with these side pools registered."""
        pool = host_pool.mha(page_num=512)
        made = self.cluster.store(pool)
        for name, side in sides.items():
            made.register_mem_host_pool_v2(side, name)
        self.sides = sides
        return made, pool

    def put(self, made, name, names):
        side = self.sides[name]
        pages = range(len(names))
        side.fill(pages, harness.seeds(names))
        return made.batch_set_v2([transfer(name, names, side.slots(pages))])

    def take(self, made, name, names):
        """Reads into poisoned pages and checks the bytes of the hits."""
        side = self.sides[name]
        pages = range(len(names))
        side.poison(pages)
        answer = made.batch_get_v2([transfer(name, names, side.slots(pages))])
        self.assertEqual(list(answer), [name])
        self.assert_results(answer[name], len(names))
        for page, key, hit in zip(pages, names, answer[name]):
            if hit:
                self.assertEqual(side.wrong_bytes([page], harness.seeds([key])), 0)
        self.assertTrue(side.guards_intact())
        return answer[name]


class Exists(HybridCase):
    def setUp(self):
        super().setUp()
        self.made, self.pool = self.hybrid_store(
            a=side_pools.indexer(page_num=128), b=side_pools.mamba(page_num=128))

    def put_some(self, salt, present):
        """A chain of pages of which each pool has those that @present says."""
        names = harness.keys(len(present[0]), salt=salt)
        kept = [[key for key, is_there in zip(names, pages) if is_there] for pages in present]
        if kept[0]:
            self.write(self.made, self.pool, kept[0])
        for name, keys in zip("ab", kept[1:]):
            if keys:
                self.assertEqual(self.put(self.made, name, keys), {name: [True] * len(keys)})
        return names

    def check(self, names, present, rules):
        sides = [(pages, *rule) for pages, rule in zip(present[1:], rules)]
        stops, own = oracle(present[0], sides)
        kv_run = len(oracle(present[0], [])[0])
        found = self.made.batch_exists_v2(
            names, [question(name, *rule) for name, rule in zip("ab", rules)],
            hicache_storage.HiCacheStorageExtraInfo())
        case = f"{present} {rules}"
        self.assertIsInstance(found, hicache_storage.PoolTransferResult)
        self.assertEqual(found.kv_hit_pages, stops[-1] if stops else 0, case)
        self.assertEqual(found.extra_pool_hit_pages, {"kv": kv_run, "a": own[0], "b": own[1]}, case)
        if PROFILE["result_fields"] == 3:
            self.assertEqual(found.restorable_prefix_pages, stops, case)
        self.assertIs(type(found.kv_hit_pages), int)

    def test_38_all_subsets_of_small_prefixes(self):
        """(38)(39) All presences of KV and two side pools, all policies, up to three pages."""
        salt = 0
        for count in (1, 2, 3):
            for present in itertools.product(presences(count), repeat=3):
                salt += 1
                names = self.put_some(salt, present)
                for rules in itertools.product(RULES, repeat=2):
                    self.check(names, present, rules)

    def test_38_sample_of_long_prefixes(self):
        """(38) Six pages, drawn at random, KV mostly there."""
        draw = random.Random(38)
        for salt in range(150):
            present = [tuple(draw.random() < part for _ in range(6)) for part in (0.9, 0.7, 0.6)]
            names = self.put_some(10000 + salt, present)
            for rules in itertools.product(RULES, repeat=2):
                self.check(names, present, rules)

    def test_38_question_without_side_pools(self):
        names = self.put_some(1, [(True, True, False)] * 3)
        for transfers in (None, [], ()):
            found = self.made.batch_exists_v2(names, transfers, None)
            self.assertEqual(found.kv_hit_pages, 2)
        self.assertEqual(self.made.batch_exists_v2([], None).kv_hit_pages, 0)
        self.assertEqual(self.made.batch_exists_v2(keys=names).kv_hit_pages, 2)

    def test_38_keys_are_a_length_or_none(self):
        """TRAILING_PAGES without keys is a window of one."""
        names = self.put_some(1, [(True,) * 3, (False, False, True), (True,) * 3])
        found = self.made.batch_exists_v2(names, [transfer("a", policy="trailing_pages")])
        self.assertEqual(found.kv_hit_pages, 3)

    @unittest.skipUnless(PROFILE["block_groups"], "this release has no BLOCK_GROUPS")
    def test_38_block_groups(self):
        """A policy that is not ours to judge: no verdict, and the KV hit stays as it is."""
        names = self.put_some(1, [(True,) * 3, (False,) * 3, (True,) * 3])
        asked = hicache_storage.PoolTransfer(
            "a", keys=names, hit_policy=hicache_storage.PoolHitPolicy.BLOCK_GROUPS)
        found = self.made.batch_exists_v2(names, [asked, question("b", "all_pages", 1)])
        self.assertEqual(found.kv_hit_pages, 3)
        self.assertNotIn("a", found.extra_pool_hit_pages)

    def test_39_fields_of_the_result(self):
        """(39) Two fields or three, as the release has them."""
        names = self.put_some(1, [(True, True)] * 3)
        found = self.made.batch_exists_v2(names, [question("a", "all_pages", 1)])
        self.assertEqual(hasattr(found, "restorable_prefix_pages"), PROFILE["result_fields"] == 3)
        member = hicache_storage.PoolName.KV
        self.assertEqual(found.extra_pool_hit_pages[member], 2)

    def test_17_sixteen_thousand_pages(self):
        """(17) One question for a whole long request."""
        names = harness.keys(16000, page_size=1)
        self.write(self.made, self.pool, names[:500])
        for first in range(0, 500, 100):
            self.put(self.made, "a", names[first:first + 100])
        with self.within_deadline(2.0):
            found = self.made.batch_exists_v2(names, [question("a", "all_pages", 1)])
        self.assertEqual(found.kv_hit_pages, 500)


class Moves(HybridCase):
    def test_40_wrong_numbers_of_slots(self):
        """(40) That pool is all False, the others of the same call are not."""
        made, _ = self.hybrid_store(indexer=side_pools.indexer(), mamba=side_pools.mamba())
        names = harness.keys(3)
        side = self.sides["indexer"]
        right = side.slots(range(3))
        good = transfer("mamba", names, self.sides["mamba"].slots(range(3)))
        for slots in (None, right[:-1], right[:8], numpy.zeros(0, dtype=numpy.int64),
                      numpy.concatenate([right, right])):
            for call in (made.batch_set_v2, made.batch_get_v2):
                with self.subTest(call=call.__name__, slots=None if slots is None else len(slots)):
                    answer = call([transfer("indexer", names, slots), good])
                    self.assertEqual(answer, {"indexer": [False] * 3, "mamba": [True] * 3})
        self.assertEqual(self.take(made, "indexer", names), [False] * 3)

    def test_40_odd_transfers(self):
        made, _ = self.hybrid_store(indexer=side_pools.indexer())
        for keys in (None, []):
            for call in (made.batch_set_v2, made.batch_get_v2):
                self.assertEqual(call([transfer("indexer", keys)]), {"indexer": []})
        for call in (made.batch_set_v2, made.batch_get_v2):
            self.assertEqual(call([]), {})
            self.assertEqual(call([transfer("unknown", ["k"], numpy.arange(4))]),
                             {"unknown": [False]})

    def test_41_mamba(self):
        """(41) One slot a page, several parts a state, the temporal one possibly absent."""
        for salt, shape in enumerate(({}, {"temporal_bytes": 0}, {"conv_bytes": ()},
                                      {"conv_bytes": (1, 2, 3, 4, 5)})):
            made, _ = self.hybrid_store(mamba=side_pools.mamba(**shape))
            names = harness.keys(7, salt=salt)
            self.assertEqual(self.take(made, "mamba", names), [False] * 7)
            self.assertEqual(self.put(made, "mamba", names[:5]), {"mamba": [True] * 5})
            self.assertEqual(self.take(made, "mamba", names), [True] * 5 + [False] * 2)
            self.cluster.stores.pop().close()

    def test_42_sidecars_first(self):
        """(42) Sidecars come before KV, and are of no use until it is there."""
        made, pool = self.hybrid_store(indexer=side_pools.indexer())
        names = harness.keys(6)
        ask = [question("indexer", "all_pages", 1)]
        self.put(made, "indexer", names)
        self.assertEqual(made.batch_exists_v2(names, ask).kv_hit_pages, 0)
        self.write(made, pool, names[:4])
        self.assertEqual(made.batch_exists_v2(names, ask).kv_hit_pages, 4)

    def test_42_missing_sidecar_shrinks_the_hit(self):
        made, pool = self.hybrid_store(indexer=side_pools.indexer())
        names = harness.keys(6)
        self.put(made, "indexer", names[:2] + names[3:])
        self.write(made, pool, names)
        found = made.batch_exists_v2(names, [question("indexer", "all_pages", 1)])
        self.assertEqual(found.kv_hit_pages, 2)
        self.assertEqual(made.batch_exists(names), 6)

    def test_43_names_and_lengths(self):
        """(43) The dictionary has the names that were given, and a bool for each key."""
        made, _ = self.hybrid_store(indexer=side_pools.indexer(), mamba=side_pools.mamba(),
                                    swa=side_pools.swa())
        names = harness.keys(4)
        asked = [transfer(hicache_storage.PoolName(name), names[:count],
                          self.sides[name].slots(range(count)))
                 for name, count in (("indexer", 4), ("mamba", 1), ("swa", 2))]
        more = {"extra_info": hicache_storage.HiCacheStorageExtraInfo(prefix_keys=["p"])}
        for call in (made.batch_set_v2, made.batch_get_v2):
            for arguments in ({}, more, {"extra_info": None}):
                answer = call(asked, **arguments)
                self.assertEqual(list(answer), [one.name for one in asked])
                self.assertEqual(answer, {"indexer": [True] * 4, "mamba": [True],
                                          "swa": [True] * 2})
                for one in asked:
                    self.assert_results(answer[one.name], len(one.keys))

    def test_pools_do_not_mix(self):
        """Two pools of one shape under one key: different bytes."""
        made, _ = self.hybrid_store(swa=side_pools.swa(), draft_swa=side_pools.swa())
        names = harness.keys(2)
        self.put(made, "swa", names)
        self.assertEqual(self.take(made, "draft_swa", names), [False] * 2)
        self.assertEqual(self.take(made, "swa", names), [True] * 2)

    def test_30_clear_takes_all_pools(self):
        """(30) clear() of a hybrid store clears its sidecars too."""
        made, pool = self.hybrid_store(indexer=side_pools.indexer())
        names = harness.keys(3)
        self.put(made, "indexer", names)
        self.write(made, pool, names)
        alone = harness.keys(3, salt=1)
        self.put(made, "indexer", alone)
        made.clear()
        self.assertEqual(self.take(made, "indexer", names), [False] * 3)
        self.assertEqual(self.take(made, "indexer", alone), [False] * 3)
        self.assertEqual(made.batch_exists(names), 0)

    def test_29_parts_leave_together(self):
        """(29) Under pressure a page without its sidecar is not kept, nor the other way round."""
        pool = host_pool.mha(page_size=16, layers=4, heads=4, head_dim=32)
        side = side_pools.indexer(page_size=16)
        made = self.cluster.store(pool, {"global_segment_size": "16mb"})
        made.register_mem_host_pool_v2(side, "indexer")
        self.sides = {"indexer": side}
        chains = [harness.keys(32, salt=salt) for salt in range(40)]
        for names in chains:
            self.put(made, "indexer", names)
            self.write(made, pool, names)
        alone = kept = 0
        for name in itertools.chain(*chains):
            there = [made.batch_exists([name]), *self.take(made, "indexer", [name])]
            kept += all(there)
            alone += any(there) and not all(there)
        self.assertGreater(kept, 0)
        self.assertLess(kept, 40 * 32, "nothing was pushed out, so nothing was shown")
        # A group that is just being pushed out may be seen half gone, and no more than that.
        self.assertLessEqual(alone, 8, f"{alone} parts are left without the others; {kept} whole")


if __name__ == "__main__":
    unittest.main()
