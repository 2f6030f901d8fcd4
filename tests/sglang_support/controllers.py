# SPDX-License-Identifier: Apache-2.0
"""SGLang's cache controllers with their real threads, and the scheduler's part of their work.

A controller is given operations and queues of answers; in an engine the scheduler and its prefix
tree are at the other end.  Here that is `Scheduler`: it fills host pages, has them backed up, asks
for a prefetch, allocates what the controller says is there, and waits for the pages.
"""
import contextlib
import inspect
import queue
import threading
import time

import torch
from sglang.srt.managers import cache_controller
from sglang.srt.mem_cache import hicache_storage, utils
from sglang.srt.mem_cache.hybrid_cache import hybrid_cache_controller
from sglang.srt.runtime_context import get_parallel

import cluster
import host_pools
from torch_pool import host_pool

# Newer releases answer each step of a prefetch in a queue; older ones count in the operation.
HAS_ACKS = hasattr(cache_controller, "PrefetchAck")
WAIT_S = 20.0
THREADS = ("prefetch_thread", "prefetch_io_aux_thread", "prefetch_sync_thread", "backup_thread")
STORAGE_CALLS = ("batch_exists", "batch_exists_v2", "batch_get", "batch_get_v1", "batch_get_v2",
                 "batch_set", "batch_set_v1", "batch_set_v2", "get_stats")


# Left only when the process ends.
_whole_life = contextlib.ExitStack()


def set_parallel(rank=0, size=1):
    """Tells SGLang which rank this process is, for as long as it lives."""
    values = {"tp_rank": rank, "tp_size": size, "pp_rank": 0, "pp_size": 1, "attn_tp_rank": rank,
              "attn_tp_size": size, "attn_cp_rank": 0, "attn_cp_size": 1, "attn_dp_rank": 0,
              "attn_dp_size": 1, "attn_dcp_rank": 0, "attn_dcp_size": 1}
    _whole_life.enter_context(get_parallel().override(**values))


def content(page_hash, len_bytes, salt=0):
    """What a page with this hash holds; @salt tells pools and ranks apart."""
    seed = host_pool.seed_of(page_hash) ^ (salt * 0x9E3779B1)
    return host_pool.expected_bytes([seed], len_bytes)[0].tobytes()


class Timed:
    """A storage backend whose calls are timed: (seconds, name), all and the slowest."""

    def __init__(self, backend):
        self._backend, self.times = backend, []

    def __getattr__(self, name):
        value = getattr(self._backend, name)
        if name not in STORAGE_CALLS:
            return value

        def call(*args, **kwargs):
            started = time.monotonic()
            try:
                return value(*args, **kwargs)
            finally:
                self.times.append((time.monotonic() - started, name))

        return call

    def slowest(self):
        return max(self.times, default=(0.0, "none"))


class Fetched:
    """What came of a prefetch: pages that were said to be there, and pages that were read."""

    def __init__(self, hashes, hit_pages, read_pages, slots, side_hits=None):
        self.hashes, self.hit_pages, self.read_pages = hashes, hit_pages, read_pages
        self.slots, self.side_hits = slots, side_hits or {}


class Scheduler:
    """One rank: a controller over real pools, driven from one thread as in an engine."""

    def __init__(self, extra, device, host, sides=None, derived=(), hybrid=False, group=None,
                 salt=0, threshold=host_pools.PAGE_SIZE):
        """@sides: {PoolName: side pool}; @derived: Pages of those that lie in the slots of KV;
        @salt: tells the contents of ranks apart."""
        self.host, self.sides = host, sides or {}
        self.pages = [host_pools.pages_of(host), *derived]
        self.salt, self.group = salt, group
        self.page_size = host.page_size
        kind = cache_controller.HiCacheController
        if hybrid:
            kind, host = (hybrid_cache_controller.HybridCacheController,
                          host_pools.host_group(self.host, self.sides))
        self.controller = kind(
            _Allocator(device), host, self.page_size, group, threading.Event(),
            write_policy="write_through", io_backend="kernel")
        self.hybrid, self.threshold = hybrid, threshold
        self.attach(extra)

    def attach(self, extra):
        more = {"host_pools": self.controller.mem_pool_host.entries} if self.hybrid else {}
        self.controller.attach_storage_backend(
            "dynamic", prefetch_threshold=self.threshold, model_name=cluster.MODEL,
            storage_backend_extra_config=dict(extra), **more)
        self.backend = self.controller.storage_backend
        self.timed = self.controller.storage_backend = Timed(self.backend)
        self._wait_for_threads()

    def detach(self):
        self.controller.detach_storage_backend()

    def reset(self):
        self.controller.reset()
        self._wait_for_threads()

    def _wait_for_threads(self):
        """In older releases one of the threads starts another one."""
        wanted = len(THREADS) if HAS_ACKS else len(THREADS) - 1
        cluster.wait_for(lambda: len(self.threads()) == wanted, "the controller's threads")

    def threads(self):
        """The controller's threads that are alive, by name."""
        found = {name: getattr(self.controller, name, None) for name in THREADS}
        return {name: thread.ident for name, thread in found.items()
                if thread is not None and thread.is_alive()}

    def hashes(self, tokens, last_hash=None):
        return utils.get_hash_str(tokens, last_hash, page_size=self.page_size)

    def _places(self, slots):
        """The pages that begin in these slots."""
        return (slots[::self.page_size] // self.page_size).tolist()

    # --- backup -----------------------------------------------------------------------------

    def backup(self, tokens, prefix_keys=None, transfers=None):
        """Backs pages up that hold what their hashes say; the number that SGLang counts as done."""
        hashes = self.hashes(tokens)
        slots = self.host.alloc(len(tokens))
        for pages in self.pages:
            for page, page_hash in zip(self._places(slots), hashes):
                pages.write(page, content(page_hash, pages.len_bytes, self.salt))
        more = {"extra_pools": transfers} if self.hybrid else {}
        self.controller.write_storage(slots, tokens, hash_value=hashes, prefix_keys=prefix_keys,
                                      **more)
        done = self.controller.ack_backup_queue.get(timeout=WAIT_S)
        # From here on the scheduler hands the slots to others.
        for pages in self.pages:
            pages.poison(self._places(slots))
        self.host.free(slots)
        return done.completed_tokens // self.page_size

    # --- prefetch ---------------------------------------------------------------------------

    def prefetch(self, tokens, prefix_keys=None, transfers=None, on_hit=None):
        """Prefetches as the scheduler does.  @on_hit is called when the query has been answered,
        before pages are read.  The slots of the result stay allocated until release()."""
        operation = self._submit(tokens, prefix_keys, transfers)
        hit_tokens = self._wait_for_hit(operation)
        if on_hit is not None:
            on_hit()
        if hit_tokens == 0:
            return Fetched([], 0, 0, torch.empty(0, dtype=torch.int64))
        operation.host_indices = self.host.alloc(hit_tokens)
        for pages in self.pages:
            pages.poison(self._places(operation.host_indices))
        self.controller.prefetch_buffer.put(operation)
        read_tokens, side_hits = self._wait_for_pages(operation)
        return Fetched(operation.hash_value, hit_tokens // self.page_size,
                       read_tokens // self.page_size, operation.host_indices, side_hits)

    def _submit(self, tokens, prefix_keys, transfers):
        request = f"request-{time.monotonic_ns()}"
        if self.hybrid:
            return self.controller.prefetch(_handle(request), tokens, prefix_keys=prefix_keys,
                                            extra_pools=transfers)
        operation = cache_controller.PrefetchOperation(request, tokens, prefix_keys=prefix_keys)
        self.controller.prefetch_queue.put(operation)
        return operation

    def _wait_for_hit(self, operation):
        """The tokens that all ranks have; 0 when the controller gives the prefetch up."""
        revoked = getattr(self.controller, "prefetch_revoke_queue", queue.Queue())
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            with contextlib.suppress(queue.Empty):
                return self.controller.prefetch_hit_queue.get(timeout=0.002).storage_hit_count
            with contextlib.suppress(queue.Empty):
                revoked.get_nowait()
                return 0
        raise AssertionError("no answer to a prefetch query")

    def _wait_for_pages(self, operation):
        """(tokens that were read on all ranks, {side pool: pages})."""
        if HAS_ACKS:
            return self._read_acks()
        wanted = len(operation.hash_value) * self.page_size
        cluster.wait_for(
            lambda: (operation.is_terminated() or operation.completed_tokens == wanted)
            and getattr(operation, "pool_transfers_done", True), "the pages of a prefetch", WAIT_S)
        tokens = torch.tensor(operation.completed_tokens)
        if self.group is not None:
            torch.distributed.all_reduce(tokens, torch.distributed.ReduceOp.MIN, self.group)
        result = getattr(operation, "pool_storage_result", None)
        return int(tokens), dict(result.extra_pool_hit_pages) if result is not None else {}

    def _read_acks(self):
        tokens, side_hits = 0, {}
        while True:
            ack = self.controller.ack_prefetch_queue.get(timeout=WAIT_S)
            tokens = tokens if ack.completed_tokens is None else ack.completed_tokens
            side_hits.update(ack.pool_hits or {})
            if ack.completed_req:
                return tokens, side_hits

    def wrong_pages(self, fetched):
        """Which of the pages that were read do not hold what their hashes say."""
        read = list(zip(self._places(fetched.slots), fetched.hashes))[:fetched.read_pages]
        return [number for pages in self.pages for number, (page, page_hash) in enumerate(read)
                if pages.read(page) != content(page_hash, pages.len_bytes, self.salt)]

    def release(self, fetched):
        if len(fetched.slots):
            self.host.free(fetched.slots)


class _Allocator:
    """What a controller asks of the device pool's allocator when it moves nothing to a device."""

    def __init__(self, device):
        self._device = device

    def get_kvcache(self):
        return self._device


def _handle(request):
    """Newer releases name a request and its attempt."""
    first = list(inspect.signature(
        hybrid_cache_controller.HybridCacheController.prefetch).parameters)[1]
    if first != "handle":
        return request
    from sglang.srt.mem_cache.base_prefix_cache import CacheRequestHandle
    return CacheRequestHandle(request, 0)


def transfer(name, keys, slots=None, trailing=False, from_kv=False):
    """A PoolTransfer as SGLang's trees make it."""
    policy = hicache_storage.PoolHitPolicy
    kv = hicache_storage.PoolName.KV if from_kv else None
    return hicache_storage.PoolTransfer(
        name=hicache_storage.PoolName(name), host_indices=slots, keys=keys,
        hit_policy=policy.TRAILING_PAGES if trailing else policy.ALL_PAGES, indices_from_pool=kv)
