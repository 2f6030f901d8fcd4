# SPDX-License-Identifier: Apache-2.0
"""What tests put into other processes (peers.py): a store with pools, and a rank of an engine."""
import release

release.import_full()

import torch  # noqa: E402
from sglang.srt.mem_cache import hicache_storage  # noqa: E402

import cluster  # noqa: E402
import controllers  # noqa: E402
import host_pools  # noqa: E402

torch.set_num_threads(1)


class PoolStore:
    """A store with one real pool, KV or beside a KV pool, whose pages are moved by hash."""

    cluster = None

    def __init__(self):
        controllers.set_parallel()

    def open(self, address, options, kind, layout, side_name=None):
        """A new store in place of the last one.  With @side_name the pool is a side pool of that
        name, and its pages move by the hybrid calls."""
        self.close()
        self.cluster = cluster.Cluster(address)
        self.pool = getattr(host_pools, f"host_{kind}")(layout)
        self.pages = host_pools.pages_of(self.pool)
        self.pages.poison()
        self.side_name = side_name
        anchor = self.pool if side_name is None else host_pools.host_mha("page_first")
        self.store = self.cluster.store(anchor, options)
        if side_name is not None:
            self.store.register_mem_host_pool_v2(self.pool, side_name)

    def close(self):
        if self.cluster is not None:
            self.cluster.close()

    def settle(self, count):
        self.cluster.settle(count)

    def write(self, hashes, pages):
        """Fills these pages with what the hashes say, and stores them: [bool]."""
        for page_hash, page in zip(hashes, pages):
            self.pages.write(page, controllers.content(page_hash, self.pages.len_bytes))
        return self._move("set", hashes, pages)

    def read(self, hashes, pages):
        """Reads into poisoned pages: (hits, which hits hold wrong bytes, foreign pages touched)."""
        self.pages.poison()
        hits = self._move("get", hashes, pages)
        wrong = [page for page_hash, page, hit in zip(hashes, pages, hits)
                 if hit and self.pages.read(page)
                 != controllers.content(page_hash, self.pages.len_bytes)]
        touched = [page for page in range(self.pages.count)
                   if page not in pages and not self.pages.is_poisoned(page)]
        return hits, wrong, touched

    def _move(self, call, hashes, pages):
        slots = self.pages.slots(pages)
        if self.side_name is None:
            return getattr(self.store, f"batch_{call}_v1")(hashes, slots)
        transfer = controllers.transfer(self.side_name, hashes, slots)
        return getattr(self.store, f"batch_{call}_v2")([transfer])[self.side_name]

    def exists(self, hashes):
        if self.side_name is None:
            return self.store.batch_exists(hashes)
        transfer = controllers.transfer(self.side_name, None)
        result = self.store.batch_exists_v2(hashes, [transfer])
        return result.extra_pool_hit_pages.get(self.side_name, 0)


class EngineRank:
    """One tensor-parallel rank: a controller over a real pool, in a group of @size ranks."""

    def __init__(self, address, rank, size, meeting, kind="mha", hybrid=False, options=None,
                 sides=None):
        controllers.set_parallel(rank, size)
        self.group = None
        if size > 1:
            torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank,
                                                 world_size=size)
            self.group = torch.distributed.group.WORLD
        device = getattr(host_pools, f"device_{kind}")()
        host = getattr(host_pools, f"host_{kind}")("page_first", device)
        salt = rank if kind == "mha" else 0
        self.scheduler = controllers.Scheduler(
            cluster.Cluster(address).extra(**(options or {})), device, host, hybrid=hybrid,
            group=self.group, salt=salt, sides=sides)

    def settle(self, count):
        cluster.settle(self.scheduler.backend, count)

    def backup(self, tokens):
        return self.scheduler.backup(tokens)

    def prefetch(self, tokens, clear_on_hit=False):
        """(pages that are there, pages read, which of them are wrong); slots are given back."""
        on_hit = self.scheduler.backend.clear if clear_on_hit else None
        fetched = self.scheduler.prefetch(tokens, on_hit=on_hit)
        wrong = self.scheduler.wrong_pages(fetched)
        self.scheduler.release(fetched)
        return fetched.hit_pages, fetched.read_pages, wrong

    def own_pages(self, tokens):
        """What this rank's store says by itself."""
        return self.scheduler.backend.batch_exists(self.scheduler.hashes(tokens))

    def calls(self, name):
        return [called for _, called in self.scheduler.timed.times].count(name)

    def threads(self):
        return self.scheduler.threads()

    def slowest(self):
        return self.scheduler.timed.slowest()


class StatefulRank(EngineRank):
    """A rank of a hybrid MLA model: KV is the same on all ranks, the Mamba state is its own."""

    def __init__(self, address, rank, size, meeting):
        self.state = host_pools.host_mamba("page_first")
        self.states = host_pools.pages_of(self.state)
        self.rank = rank
        super().__init__(address, rank, size, meeting, "mla", True,
                         sides={hicache_storage.PoolName.MAMBA: self.state})

    def _state(self, name):
        return controllers.content(name, self.states.len_bytes, salt=self.rank + 1)

    def backup(self, tokens):
        """With the state at the end of the tokens."""
        name = self.scheduler.hashes(tokens)[-1]
        self.states.write(1, self._state(name))
        return self.scheduler.backup(tokens, transfers=[
            controllers.transfer("mamba", [name], self.states.slots([1]))])

    def prefetch(self, tokens):
        """(pages that are there, pages read, wrong pages, whether the state is this rank's)."""
        self.states.poison()
        fetched = self.scheduler.prefetch(tokens, transfers=[controllers.transfer(
            "mamba", ["window of one"], self.states.slots([5]), trailing=True)])
        wrong = self.scheduler.wrong_pages(fetched)
        self.scheduler.release(fetched)
        has_state = fetched.hit_pages > 0 and (
            self.states.read(5) == self._state(fetched.hashes[-1]))
        return fetched.hit_pages, fetched.read_pages, wrong, has_state
