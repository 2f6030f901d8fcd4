# SPDX-License-Identifier: Apache-2.0
"""PeerCacheStore: the storage backend that SGLang HiCache loads.

    --hicache-storage-backend dynamic
    --hicache-storage-backend-extra-config '{"backend_name": "peercache",
        "module_path": "peercache.store", "class_name": "PeerCacheStore", "interface_v1": 1,
        "discovery_addr": "10.0.0.1:31998"}'

One instance lives in each rank's process.  The constructor opens a node; SGLang then hands over its
host pool, and from there on its threads call at will and concurrently.  Each call answers within
the deadline of its option (get_timeout, set_timeout, exists_timeout), and whatever goes wrong is a
miss.  Pages move straight between the pool's memory and the cluster, by address: when a call has
returned, nothing touches that memory any more.

Two sets of pages are kept apart, because their bytes are in different orders: those of the
zero-copy interface (`batch_get_v1`, `batch_set_v1`) and those of the copy interface (`get`, `set`,
`batch_get`, `batch_set`, `exists`).  `batch_exists` serves both, and SGLang uses only one of them,
which `interface_v1` tells.
"""
import logging
import os
import time
import weakref

from . import _native, hybrid, identity
from .base import storage_base
from .guard import ErrorLog, all_false, all_none, never_raises
from .hostpool import HostPool
from .metrics import Counters, StorageStats
from .settings import Settings, seconds
from .tensors import flat_memory

_log = logging.getLogger("peercache")

_STORED = frozenset((_native.STORED, _native.STORED_LOCAL, _native.ALREADY_STORED))
_FOUND = bytes((_native.FOUND,))

# SGLang drops the rest of a node when one page of it is refused, and does not try again; a pool
# that is full of pages in flight has room a moment later.
RETRY_DELAY_S = 0.010
RETRY_TIMEOUT_MIN_S = 0.020

# clear() runs on the scheduler thread, which must not stand still for long.
CLEAR_TIMEOUT_MS = 5000


class PeerCacheStore(storage_base()):
    """SGLang HiCache storage that shares pages between the processes of a PeerCache cluster."""

    # What a half-built object has: close() and every storage call work on it.
    errors = ErrorLog()
    mem_pool_host = None
    _node = _pool = _pages = _flat = _close_node = _stats = None
    _interface_v1 = False

    # --- life cycle ---------------------------------------------------------------------------

    def __init__(self, storage_config=None, kwargs=None, *_args, **_more):
        if storage_config is None:
            raise ValueError("PeerCache: no storage_config was given; SGLang passes one")
        identity.check_model_name(storage_config)
        self.errors = ErrorLog()
        self.counters = Counters()
        self._stats = StorageStats()
        self._config = storage_config
        self._settings = settings = Settings(getattr(storage_config, "extra_config", None))
        self._interface_v1 = settings.interface_v1
        if not settings.interface_v1:
            _log.warning('extra config has no "interface_v1": 1, so SGLang copies each page once '
                         "more on its way; add it unless that is wanted")
        self._set_timeout_s = seconds(settings.effective.get("set_timeout"))
        self._node = _native.Node(settings.options)
        # Also runs when the object is dropped and when the process ends without close().
        self._close_node = weakref.finalize(self, self._node.close)

    def register_mem_pool_host(self, mem_pool_host):
        """Accepts the host pool, or raises ValueError with the reason: SGLang then rolls back."""
        if self._node is None:
            raise RuntimeError("PeerCache: the store is closed")
        identity.check_supported(self._config, self._settings)
        pool = HostPool(mem_pool_host)
        pages, flat = (self._node.namespace(identity.fields(self._config, pool, self._settings,
                                                            form)) for form in ("pages", "flat"))
        self.mem_pool_host = mem_pool_host
        self._pool, self._pages, self._flat = pool, pages, flat

    def register_mem_host_pool_v2(self, host_pool, host_pool_name):
        """Takes note only; refusing here would leave SGLang's threads behind."""
        name = getattr(host_pool_name, "value", host_pool_name)
        if name != "kv":
            _log.warning("the side pool %r is not stored in this release, so hybrid models get no "
                         "hits", name)

    def on_host_pools_registered(self):
        """Newer releases call this once per attach; there is nothing to do."""

    def close(self):
        """Leaves the cluster.  Idempotent; storage calls afterwards are misses."""
        close_node, self._close_node = self._close_node, None
        self._node = self._pages = self._flat = self._pool = None
        if close_node is not None:
            close_node()

    @never_raises(None)
    def clear(self):
        """Drops the pages of this store's own namespaces on all members, and nobody else's."""
        for ns in (self._pages, self._flat):
            rc = ns.clear(CLEAR_TIMEOUT_MS) if ns is not None else 0
            if rc != 0:
                self.errors.warn("clear", f"not yet done everywhere: {os.strerror(-rc)}")

    @never_raises(None)
    def get_stats(self):
        """SGLang's StorageMetrics since the last call, or None where it has no such class."""
        return self._stats.drain() if self._stats is not None else None

    @never_raises(None)
    def status(self):
        """The node's status as JSON text, or None when closed."""
        return self._node.status() if self._node is not None else None

    # --- zero-copy interface ------------------------------------------------------------------

    @never_raises(0)
    def batch_exists(self, keys, extra_info=None):
        """The number of leading keys whose pages are there as a whole."""
        ns = self._pages if self._interface_v1 else self._flat
        return self._leading_run(ns, keys)

    @never_raises(all_false)
    def batch_get_v1(self, keys, host_indices, extra_info=None):
        """Reads pages into the host pool; True for each page whose bytes are all there."""
        pool, ns = self._pool, self._pages
        if ns is None or not keys:
            return all_false(keys)
        addresses, lengths = pool.segments(host_indices, len(keys))
        outcomes = self._get(ns, keys, addresses, lengths, pool.segments_per_page,
                             _parent(extra_info), pool.page_bytes)
        return [outcome == _native.HIT for outcome in outcomes]

    @never_raises(all_false)
    def batch_set_v1(self, keys, host_indices, extra_info=None):
        """Stores pages of the host pool; True for each page that is stored now."""
        pool, ns = self._pool, self._pages
        if ns is None or not keys:
            return all_false(keys)
        addresses, lengths = pool.segments(host_indices, len(keys))
        outcomes = self._set(ns, keys, addresses, lengths, pool.segments_per_page,
                             _parent(extra_info), pool.page_bytes)
        return [outcome in _STORED for outcome in outcomes]

    # --- copy interface -----------------------------------------------------------------------

    @never_raises(False)
    def exists(self, key):
        """Whether the copy interface has stored this page."""
        return self._leading_run(self._flat, [key]) == 1

    @never_raises(None)
    def get(self, key, target_location=None, target_sizes=None):
        """The tensor @target_location with the page in it, or None."""
        if target_location is None:
            return None
        return self._get_flat([key], [target_location])[0]

    @never_raises(all_none)
    def batch_get(self, keys, target_locations=None, target_sizes=None):
        """For each key the tensor that was given for it, filled, or None."""
        if target_locations is None or len(target_locations) != len(keys):
            return all_none(keys)
        return self._get_flat(keys, target_locations)

    @never_raises(False)
    def set(self, key, value=None, target_location=None, target_sizes=None):
        """Stores one flat tensor."""
        return value is not None and self._set_flat([key], [value])

    @never_raises(False)
    def batch_set(self, keys, values=None, target_locations=None, target_sizes=None):
        """Stores flat tensors; True when all are stored."""
        if values is None or len(values) != len(keys):
            return False
        return self._set_flat(keys, values)

    # --- hybrid interface: not in this release ------------------------------------------------

    @never_raises(None)
    def batch_exists_v2(self, keys, pool_transfers=None, extra_info=None):
        return hybrid.nothing_found()

    @never_raises({})
    def batch_get_v2(self, transfers, extra_info=None):
        return hybrid.nothing_moved(transfers)

    @never_raises({})
    def batch_set_v2(self, transfers, extra_info=None):
        return hybrid.nothing_moved(transfers)

    # --- helpers ------------------------------------------------------------------------------

    def _leading_run(self, ns, keys):
        if ns is None or not keys:
            return 0
        rc, outcomes = ns.exists(keys)
        self._note("exists", rc, outcomes)
        return len(outcomes) - len(outcomes.lstrip(_FOUND))

    def _get(self, ns, keys, addresses, lengths, segments_per_page, parent, page_bytes):
        started = time.perf_counter()
        rc, outcomes, vias = ns.get(keys, addresses, lengths, segments_per_page, parent, True)
        duration_s = time.perf_counter() - started
        self._note("get", rc, outcomes, vias)
        hits = outcomes.count(_native.HIT)
        self._stats.add("prefetch", hits, hits * page_bytes, duration_s)
        return outcomes or bytes(len(keys))

    def _set(self, ns, keys, addresses, lengths, segments_per_page, parent, page_bytes):
        started = time.perf_counter()
        rc, outcomes, _ = ns.set(keys, addresses, lengths, segments_per_page, parent, True)
        if _native.REFUSED_FULL in outcomes:
            outcomes = self._set_again(ns, keys, addresses, lengths, segments_per_page, outcomes,
                                       started)
        duration_s = time.perf_counter() - started
        self._note("set", rc, outcomes)
        stored = sum(outcome in _STORED for outcome in outcomes)
        self._stats.add("backup", stored, stored * page_bytes, duration_s)
        return outcomes or bytes(len(keys))

    def _set_again(self, ns, keys, addresses, lengths, segments_per_page, outcomes, started):
        """Tries the pages that found no room once more, within the same deadline."""
        left_s = (self._set_timeout_s or 0) - (time.perf_counter() - started) - RETRY_DELAY_S
        if left_s < RETRY_TIMEOUT_MIN_S:
            return outcomes
        time.sleep(RETRY_DELAY_S)
        again = [i for i, outcome in enumerate(outcomes) if outcome == _native.REFUSED_FULL]
        places = [i * segments_per_page + j for i in again for j in range(segments_per_page)]
        _, second, _ = ns.set([keys[i] for i in again], [addresses[place] for place in places],
                              [lengths[place] for place in places], segments_per_page,
                              timeout_ms=int(left_s * 1000))
        outcomes = bytearray(outcomes)
        for i, outcome in zip(again, second):
            outcomes[i] = outcome
        return bytes(outcomes)

    def _get_flat(self, keys, tensors):
        ns = self._flat
        if ns is None or not keys:
            return all_none(keys)
        memory = [flat_memory(tensor, writable=True) for tensor in tensors]
        addresses, lengths = zip(*memory)
        outcomes = self._get(ns, keys, addresses, lengths, 1, None, lengths[0])
        return [tensor if outcome == _native.HIT else None
                for tensor, outcome in zip(tensors, outcomes)]

    def _set_flat(self, keys, tensors):
        ns = self._flat
        if ns is None or not keys:
            return False
        addresses, lengths = zip(*(flat_memory(tensor) for tensor in tensors))
        outcomes = self._set(ns, keys, addresses, lengths, 1, None, lengths[0])
        return all(outcome in _STORED for outcome in outcomes)

    def _note(self, call, rc, outcomes, vias=b""):
        self.counters.add(call, outcomes, vias)
        if rc != 0:
            self.errors.warn(call, f"the node did not take the batch: {os.strerror(-rc)}")


def _parent(extra_info):
    """The key of the page before a batch, where SGLang passes it (an option of its own)."""
    prefix_keys = getattr(extra_info, "prefix_keys", None)
    return prefix_keys[-1] if prefix_keys else None
