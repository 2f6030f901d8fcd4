# SPDX-License-Identifier: Apache-2.0
"""Differential tests: PeerCache and SGLang's own file backend get the same random calls.

The file backend is the plain reading of the contract.  Both start empty and get the same calls; a
call must give the same answer on both sides, and the same bytes.  Where the file backend is wrong,
or where PeerCache promises more, a comment at that place says so, and the call is either not made
or judged by an oracle; test_deviations.py has those differences one by one.

A failure names its seed; SGLANG_DIFFERENTIAL_SEED=N runs that one alone.
"""
import dataclasses
import os
import pathlib
import random
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "sglang_support"))

import release  # noqa: E402

release.import_core()

import torch  # noqa: E402
from sglang.srt.mem_cache import hicache_storage  # noqa: E402
from sglang.srt.mem_cache.hicache_storage import PoolHitPolicy, PoolTransfer  # noqa: E402

import broken  # noqa: E402
import cluster  # noqa: E402
import oracle  # noqa: E402
import torch_pool  # noqa: E402

ALONE = os.environ.get("SGLANG_DIFFERENTIAL_SEED")
SEEDS = [int(ALONE)] if ALONE else [1, 2, random.SystemRandom().randrange(1 << 31)]
CALLS = 600
KEY_COUNT = 10
HOST_PAGES = 32
PAGE_BYTES = 1536
HAS_RESTORABLE = "restorable_prefix_pages" in {
    field.name for field in dataclasses.fields(hicache_storage.PoolTransferResult)}


class Case(unittest.TestCase):
    def each_seed(self, calls):
        """@calls is a list of (weight, method)."""
        weights, methods = zip(*calls)
        for seed in SEEDS:
            print(f"# {self.id()}: seed {seed}", flush=True)
            self.random = random.Random(seed)
            self.keys = [f"{self.random.getrandbits(256):064x}" for _ in range(KEY_COUNT)]
            self.cluster = cluster.Cluster()
            with tempfile.TemporaryDirectory() as self.folder:
                try:
                    self.prepare()
                    for step in range(CALLS):
                        method = self.random.choices(methods, weights)[0]
                        self.step(seed, step, method)
                finally:
                    self.cluster.close()

    def step(self, seed, step, method):
        try:
            method()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, call {step}, {method.__name__}: {error}") from error

    def file_backend(self, **config):
        return hicache_storage.HiCacheFile(cluster.storage_config({}, **config),
                                           file_path=self.folder)

    def some_keys(self):
        return self.random.sample(self.keys, self.random.randint(1, KEY_COUNT))

    def prefix(self):
        return self.keys[:self.random.randint(1, KEY_COUNT)]


class CopyPath(Case):
    """get, set, exists and their batches, on two engines of one deployment.

    Not called, because the file backend is wrong there: get() into a longer tensor or without one
    (it raises), get() into a shorter one (it hands out the beginning of the page).
    """

    def prepare(self):
        self.ours = [self.cluster.store(torch_pool.kv(), {"interface_v1": None}) for _ in range(2)]
        self.cluster.settle()
        self.theirs = [self.file_backend() for _ in range(2)]

    def test_random_calls(self):
        self.each_seed([(4, self.call_set), (4, self.call_get), (4, self.call_exists),
                        (3, self.call_batch_set), (3, self.call_batch_get),
                        (3, self.call_batch_exists), (0.2, self.call_clear)])

    def engine(self):
        return self.random.choice(list(zip(self.ours, self.theirs)))

    def value(self):
        """A page of random bytes: the same key gets other bytes each time, and the first stay."""
        page = torch.tensor(list(self.random.randbytes(PAGE_BYTES)), dtype=torch.uint8)
        return page.view(self.random.choice([torch.uint8, torch.bfloat16, torch.float32]))

    def target(self):
        return torch.zeros(PAGE_BYTES, dtype=torch.uint8)

    def assert_pages(self, ours, theirs):
        """The same hits in the same places; a hit is the tensor that was given, filled."""
        self.assertEqual([page is not None for page in ours], [page is not None for page in theirs])
        for mine, other in zip(ours, theirs):
            self.assertTrue(mine is None or torch.equal(mine, other), "bytes differ")

    def call_set(self):
        ours, theirs = self.engine()
        key, value = self.random.choice(self.keys), self.value()
        self.assertIs(ours.set(key, value), theirs.set(key, value))

    def call_get(self):
        ours, theirs = self.engine()
        key = self.random.choice(self.keys)
        self.assert_pages([ours.get(key, self.target())], [theirs.get(key, self.target())])

    def call_exists(self):
        ours, theirs = self.engine()
        key = self.random.choice(self.keys)
        self.assertIs(ours.exists(key), theirs.exists(key))

    def call_batch_set(self):
        ours, theirs = self.engine()
        keys = self.some_keys()
        values = [self.value() for _ in keys]
        self.assertIs(ours.batch_set(keys, values), theirs.batch_set(keys, values))

    def call_batch_get(self):
        ours, theirs = self.engine()
        keys = self.some_keys()
        self.assert_pages(ours.batch_get(keys, [self.target() for _ in keys]),
                          theirs.batch_get(keys, [self.target() for _ in keys]))

    def call_batch_exists(self):
        ours, theirs = self.engine()
        keys = self.some_keys()
        self.assertEqual(ours.batch_exists(keys), theirs.batch_exists(keys))

    def call_clear(self):
        ours, theirs = self.engine()
        ours.clear()
        theirs.clear()


class Rank:
    """One engine rank on both sides, with host pools of equal content."""

    def __init__(self, case, pools, **config):
        self.pools = {name: (make(HOST_PAGES), make(HOST_PAGES)) for name, make in pools.items()}
        self.ours = case.cluster.store(self.pools["kv"][0], **config)
        self.theirs = case.file_backend(**config)
        self.theirs.register_mem_pool_host(self.pools["kv"][1])
        for name, (mine, other) in self.pools.items():
            self.ours.register_mem_host_pool_v2(mine, hicache_storage.PoolName(name))
            self.theirs.register_mem_host_pool_v2(other, hicache_storage.PoolName(name))
        self.scope = config.get("tp_rank", 0)

    def fill(self, name, pages, seeds):
        for pool in self.pools[name]:
            pool.fill(pages, seeds)

    def poison(self, name, pages):
        for pool in self.pools[name]:
            pool.poison(pages)

    def slots(self, name, pages):
        return self.pools[name][0].slots(pages)

    def same_page(self, name, page):
        mine, other = self.pools[name]
        return mine.page(page) == other.page(page)


class ZeroCopy(Case):
    """batch_set_v1, batch_get_v1 and the hybrid interface.

    The file backend has no v1 calls, so its side of them is what SGLang's controller does on the
    copy path: get_data_page and batch_set, batch_get and set_from_flat_data_page.
    """

    POOLS = {"kv": torch_pool.kv, "indexer": torch_pool.indexer, "mamba": torch_pool.mamba,
             "swa": torch_pool.swa}

    def prepare(self):
        self.ranks = self.make_ranks()
        self.cluster.settle()
        # What is there by the test's own account: {(pool, whose): keys}, for the oracle.
        self.present = {}
        self.misjudged = self.judged = 0

    def make_ranks(self):
        return [Rank(self, self.POOLS) for _ in range(2)]

    CALLS = ("call_set", "call_get", "call_set_v2", "call_get_v2", "call_exists",
             "call_exists_v2", "call_exists_v2")

    def test_random_calls(self):
        calls = [(1, getattr(self, name)) for name in self.CALLS]
        self.each_seed(calls + [(0.05, self.call_clear)])
        if self.misjudged:
            print(f"# the file backend took the minimum of the maxima in {self.misjudged} of "
                  f"{self.judged} calls", flush=True)

    def whose(self, rank, name):
        """Pages of which rank a key stands for; here the ranks are replicas."""
        return 0

    def there(self, rank, name):
        return self.present.setdefault((name, self.whose(rank, name)), set())

    def host_pages(self, count):
        return self.random.sample(range(HOST_PAGES), count)

    def seeds(self, count):
        """New bytes for each write: a page that is stored already keeps its first ones."""
        return [self.random.getrandbits(63) for _ in range(count)]

    # --- KV ---------------------------------------------------------------------------------

    def call_set(self):
        rank, keys = self.random.choice(self.ranks), self.some_keys()
        pages = self.host_pages(len(keys))
        rank.fill("kv", pages, self.seeds(len(keys)))
        slots, pool = rank.slots("kv", pages), rank.pools["kv"][1]
        ours = rank.ours.batch_set_v1(keys, slots)
        theirs = rank.theirs.batch_set(
            keys, [pool.get_data_page(slot) for slot in slots[::pool.page_size]])
        self.assertEqual(ours, [theirs] * len(keys))
        self.there(rank, "kv").update(keys)

    def call_get(self):
        rank, keys = self.random.choice(self.ranks), self.some_keys()
        pages = self.host_pages(len(keys))
        rank.poison("kv", pages)
        slots, pool = rank.slots("kv", pages), rank.pools["kv"][1]
        ours = rank.ours.batch_get_v1(keys, slots)
        theirs = rank.theirs.batch_get(keys, [pool.get_dummy_flat_data_page() for _ in keys])
        for slot, data in zip(slots[::pool.page_size], theirs):
            if data is not None:
                pool.set_from_flat_data_page(slot, data)
        self.assert_read(rank, "kv", pages, ours, [data is not None for data in theirs])

    def assert_read(self, rank, name, pages, ours, theirs):
        self.assertEqual(ours, theirs)
        for page, hit in zip(pages, ours):
            self.assertTrue(not hit or rank.same_page(name, page), f"{name}: bytes differ")
        self.assertTrue(rank.pools[name][0].guards_intact())

    def call_exists(self):
        rank, keys = self.random.choice(self.ranks), self.some_keys()
        self.assertEqual(rank.ours.batch_exists(keys), rank.theirs.batch_exists(keys))

    def call_clear(self):
        rank = self.random.choice(self.ranks)
        rank.ours.clear()
        rank.theirs.clear()
        self.present.clear()

    # --- hybrid -----------------------------------------------------------------------------

    def transfers(self, rank):
        """Some side pools with some keys each: [(transfer, host pages)].

        Now and then the slots are missing or too few, which both sides refuse.  Both are given a
        pool that is registered: for another one the file backend raises a KeyError.
        """
        side = [name for name in rank.pools if name != "kv"]
        chosen = []
        for name in self.random.sample(side, self.random.randint(1, len(side))):
            keys = self.some_keys()
            pages = self.host_pages(len(keys))
            slots = self.random.choices([rank.slots(name, pages), None,
                                         rank.slots(name, pages[1:])], [10, 1, 1])[0]
            transfer = PoolTransfer(name=hicache_storage.PoolName(name), host_indices=slots,
                                    keys=keys)
            chosen.append((transfer, pages))
        return chosen

    def call_set_v2(self):
        rank = self.random.choice(self.ranks)
        chosen = self.transfers(rank)
        for transfer, pages in chosen:
            rank.fill(transfer.name.value, pages, self.seeds(len(pages)))
        transfers = [transfer for transfer, _ in chosen]
        ours, theirs = rank.ours.batch_set_v2(transfers), rank.theirs.batch_set_v2(transfers)
        self.assertEqual(ours, theirs)
        for transfer in transfers:
            self.there(rank, transfer.name.value).update(
                key for key, stored in zip(transfer.keys, theirs[transfer.name]) if stored)

    def call_get_v2(self):
        rank = self.random.choice(self.ranks)
        chosen = self.transfers(rank)
        for transfer, pages in chosen:
            rank.poison(transfer.name.value, pages)
        transfers = [transfer for transfer, _ in chosen]
        ours, theirs = rank.ours.batch_get_v2(transfers), rank.theirs.batch_get_v2(transfers)
        self.assertEqual(set(ours), set(theirs))
        for transfer, pages in chosen:
            self.assert_read(rank, transfer.name.value, pages, ours[transfer.name],
                             theirs[transfer.name])

    def queries(self, rank):
        """Side pools as they are asked for: [(name, policy, window, transfer)]."""
        side = [name for name in rank.pools if name != "kv"]
        chosen = []
        for name in self.random.sample(side, self.random.randint(0, len(side))):
            policy = self.random.choice([PoolHitPolicy.ALL_PAGES, PoolHitPolicy.TRAILING_PAGES])
            # The keys of a query are a mark of the window's length only; none stands for one.
            marks = self.random.choice([None, ["x"], ["x"] * 2, ["x"] * 3])
            chosen.append((name, policy.value, len(marks or ["x"]), PoolTransfer(
                name=hicache_storage.PoolName(name), keys=marks, hit_policy=policy)))
        return chosen

    def call_exists_v2(self):
        rank, keys = self.random.choice(self.ranks), self.prefix()
        queries = self.queries(rank)
        transfers = [transfer for *_, transfer in queries]
        ours = rank.ours.batch_exists_v2(keys, transfers)
        theirs = rank.theirs.batch_exists_v2(keys, transfers)
        restorable, own = oracle.exists_v2(
            self.there(rank, "kv"), keys,
            [(name, self.there(rank, name), policy, window)
             for name, policy, window, _ in queries])
        self.assertEqual(ours.kv_hit_pages, max(restorable, default=0))
        self.assert_own_hits(ours, own)
        if HAS_RESTORABLE:
            self.assert_restorable(ours, restorable)
            self.assertEqual(theirs.kv_hit_pages, ours.kv_hit_pages)
            self.assertEqual(theirs.restorable_prefix_pages, restorable)
        else:
            self.judge(theirs, restorable, own)
        # The file backend leaves out pools that have nothing, and those that it did not look at any
        # more because no prefix is left; what it does report must agree.
        for name, pages in theirs.extra_pool_hit_pages.items():
            self.assertEqual(ours.extra_pool_hit_pages.get(name, 0), pages, name)

    def assert_own_hits(self, ours, own):
        """Each pool's own greatest prefix, which SGLang takes as what it may believe stored."""
        for name, pages in ours.extra_pool_hit_pages.items():
            self.assertEqual(pages, own[str(getattr(name, "value", name))], name)

    def assert_restorable(self, ours, restorable):
        """None says that every length up to the hit will do."""
        given = ours.restorable_prefix_pages
        if given is None:
            given = range(1, ours.kv_hit_pages + 1)
        self.assertEqual(list(given), restorable)

    def judge(self, theirs, restorable, own):
        """Up to 0.5.16 the file backend takes the minimum of the maxima, which need not be a
        prefix that all pools allow (#39147), so it is compared where it happens to be right."""
        self.judged += 1
        self.assertEqual(theirs.kv_hit_pages, oracle.min_of_maxima(own))
        self.misjudged += theirs.kv_hit_pages != max(restorable, default=0)


class ShardedRanks(ZeroCopy):
    """Two tensor-parallel ranks of a model whose pages are different on each: nothing is shared.

    No clear: the file backend's removes every file of the folder, those of the other rank too.
    """

    def make_ranks(self):
        return [Rank(self, self.POOLS, tp_rank=rank, tp_size=2) for rank in range(2)]

    def whose(self, rank, name):
        return rank.scope

    def call_clear(self):
        """Not called here."""


class ReplicatedRanks(ShardedRanks):
    """Two ranks of an MLA model: KV and indexer pages are shared, Mamba states are not.

    Without an SWA pool: the file backend shares its pages between the ranks, and PeerCache does not
    share a pool of keys and values, whose heads are divided among the ranks.  Up to 0.5.16 the file
    backend shares the Mamba states too, so that each rank reads what the last one wrote.
    """

    POOLS = {"kv": torch_pool.mla, "indexer": torch_pool.indexer,
             **({"mamba": torch_pool.mamba} if HAS_RESTORABLE else {})}

    def make_ranks(self):
        return [Rank(self, self.POOLS, tp_rank=rank, tp_size=2, is_mla_model=True)
                for rank in range(2)]

    def whose(self, rank, name):
        return rank.scope if name == "mamba" else 0


class Suite(unittest.TestCase):
    def test_notices_faults(self):
        """Every third page lost or corrupted: the tests above must fail."""
        for case in (CopyPath, ZeroCopy):
            broken.assert_noticed(self, case, ["test_random_calls"])


if __name__ == "__main__":
    unittest.main()
