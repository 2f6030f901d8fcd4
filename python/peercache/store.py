# SPDX-License-Identifier: Apache-2.0
"""PeerCacheStore: the storage backend that SGLang HiCache loads.

    --hicache-storage-backend dynamic
    --hicache-storage-backend-extra-config '{"backend_name": "peercache",
        "module_path": "peercache.store", "class_name": "PeerCacheStore", "interface_v1": 1,
        "discovery_addr": "10.0.0.1:31998"}'

One instance lives in each rank's process.  The constructor opens a node; SGLang then hands over its
host pool, and from there on its threads call at will and concurrently.  Each call answers within
the deadline of its option (get_timeout, set_timeout, exists_timeout) and within 8 s in any case,
unless an option says more, and whatever goes wrong is a miss.  Pages move straight between the
pool's memory and the cluster, by address: when a call has returned, nothing touches that memory any
more.

Two sets of pages are kept apart, because their bytes are in different orders: those of the
zero-copy interface (`batch_get_v1`, `batch_set_v1`) and those of the copy interface (`get`, `set`,
`batch_get`, `batch_set`, `exists`).  `batch_exists` serves both, and SGLang uses only one of them,
which `interface_v1` tells.
"""
import ctypes
import json
import logging
import os
import time
import weakref

from . import _native, hybrid, identity
from .base import StorageBase
from .calls import Calls
from .component import leading_run
from .deadline import Deadline
from .guard import ErrorLog, never_raises
from .metrics import Counters, StorageStats
from .registry import Registry
from .settings import Settings
from .tensors import flat_memory

_log = logging.getLogger("peercache")

# clear() runs on the scheduler thread, which must not stand still for long.
CLEAR_TIMEOUT_S = 5.0

# How long check_server() waits for an answer of the discovery address, and how often it looks.
JOIN_TIMEOUT_S = 5.0
JOIN_POLL_S = 0.05
ASK_TIMEOUT_MS = 500


# Stores that a forked child must not use as they are.
_stores = weakref.WeakSet()


def _close_in_child():
    """A child has no threads, its parent's node is not its own, and a lock that another thread held
    at the fork stays locked for ever.  So all stores are closed, without touching a lock."""
    for made in _stores:
        made._node = made._registry = made._close_node = made._stats = None
        made.errors = ErrorLog()


os.register_at_fork(after_in_child=_close_in_child)


class PeerCacheStore(StorageBase):
    """SGLang HiCache storage that shares pages between the processes of a PeerCache cluster."""

    # What a half-built object has: close() and every storage call work on it.
    errors = ErrorLog()
    mem_pool_host = None
    _node = _calls = _registry = _close_node = _stats = None
    _interface_v1 = False

    # --- life cycle ---------------------------------------------------------------------------

    def __init__(self, storage_config=None, *args, **more):
        """SGLang calls cls(storage_config, {}); a host pool among the arguments is registered."""
        if storage_config is None:
            raise ValueError("PeerCache: no storage_config was given; SGLang passes one")
        identity.check_model_name(storage_config)
        self.errors = ErrorLog()
        self.counters = Counters()
        self._stats = StorageStats()
        self._settings = settings = Settings(getattr(storage_config, "extra_config", None))
        identity.check_node_id(storage_config, settings)
        self._interface_v1 = settings.interface_v1
        if not settings.interface_v1:
            _log.warning('extra config has no "interface_v1": 1, so SGLang calls the copy interface '
                         "and copies each page once more on its way; add it unless that is wanted")
        self._calls = Calls({**settings.timeouts_s, "clear": CLEAR_TIMEOUT_S}, self.counters,
                            self.errors)
        self._node = _native.Node(settings.options)
        # Also runs when the object is dropped and when the process ends without close().
        self._close_node = weakref.finalize(self, self._node.close)
        self._registry = Registry(self._node, storage_config, settings, self._calls)
        _stores.add(self)
        for given in (*args, *more.values()):
            if hasattr(given, "get_page_buffer_meta"):
                self.register_mem_pool_host(given)

    def register_mem_pool_host(self, mem_pool_host):
        """Accepts the host pool, or raises ValueError with the reason: SGLang then rolls back."""
        if self._registry is None:
            raise RuntimeError("PeerCache: the store is closed")
        self._registry.register_kv(mem_pool_host)
        self.mem_pool_host = mem_pool_host

    @never_raises(None)
    def register_mem_host_pool_v2(self, host_pool, host_pool_name):
        """Takes a side pool.  One that cannot be served is logged and counts as never stored."""
        if self._registry is not None:
            self._registry.register_side(host_pool, host_pool_name)

    def on_host_pools_registered(self):
        """Newer releases call this once per attach; there is nothing to do."""

    def close(self):
        """Leaves the cluster.  Idempotent; storage calls afterwards are misses."""
        close_node, self._close_node = self._close_node, None
        registry, self._registry = self._registry, None
        self._node = None
        if registry is not None:
            registry.stop()
        if close_node is not None:
            close_node()

    @never_raises(None)
    def clear(self):
        """Drops the pages of this store's identity, on all members: those that it could find.

        Engines of equal identity share them, so they lose them too; nobody else does.
        """
        registry = self._registry
        if registry is None:
            return
        deadline = self._calls.deadline("clear")
        for component in registry.all():
            for ns in component.parts:
                self._calls.clear(ns, deadline)

    # --- for operators ------------------------------------------------------------------------

    @never_raises(None)
    def get_stats(self):
        """SGLang's StorageMetrics since the last call, or None where it has no such class."""
        return self._stats.drain() if self._stats is not None else None

    @never_raises(None)
    def status(self):
        """The node's status as JSON text, or None when closed."""
        return self._node.status() if self._node is not None else None

    @never_raises(False)
    def check_server(self):
        """Whether the discovery address knows this node; waits up to JOIN_TIMEOUT_S for that."""
        deadline = Deadline(JOIN_TIMEOUT_S)
        while not self._has_joined():
            if deadline.remaining_ms() == 0:
                self.errors.warn("check_server", f"{self._why_not_joined()}. This node shares pages "
                                                 "with nobody yet, and goes on trying")
                return False
            time.sleep(JOIN_POLL_S)
        return True

    def _why_not_joined(self):
        """One sentence, from who answers at the discovery address, or from nobody doing so."""
        address = self._settings.effective["discovery_addr"]
        if not address:
            return "no discovery_addr is given"
        try:
            _native.query(self._settings.options, '{"ask": "status"}', ASK_TIMEOUT_MS)
        except _native.PeerCacheError as error:
            return f"nobody lets this node in at discovery_addr {address}: {error}"
        return (f"a node answers at discovery_addr {address}, but has not let this one in: is it the "
                "port of discovery?")

    def _has_joined(self):
        status = self.status()
        return status is not None and json.loads(status)["node"]["is_connected"]

    @never_raises(False)
    def warmup(self):
        """Stores and reads back a page of its own, of 4 KiB; whether the bytes came back."""
        calls = self._calls
        ns = self._node.namespace(["form=warmup"])
        name, wrote = [os.urandom(16).hex()], ctypes.create_string_buffer(os.urandom(4096), 4096)
        read = ctypes.create_string_buffer(4096)
        calls.set(ns, name, ([ctypes.addressof(wrote)], [4096], 1), calls.deadline("set"))
        calls.get(ns, name, ([ctypes.addressof(read)], [4096], 1), calls.deadline("get"))
        return wrote.raw == read.raw

    # --- zero-copy interface ------------------------------------------------------------------

    @never_raises(0)
    def batch_exists(self, keys, extra_info=None):
        """The number of leading keys whose pages are there as a whole."""
        pages = self._pages()
        if pages is None or not keys:
            return 0
        return leading_run(pages.presence(keys, self._calls.deadline("exists")))

    @never_raises(False, "keys")
    def batch_get_v1(self, keys, host_indices, extra_info=None):
        """Reads pages into the host pool; True for each page whose bytes are all there."""
        return self._move("get", keys, host_indices, extra_info)

    @never_raises(False, "keys")
    def batch_set_v1(self, keys, host_indices, extra_info=None):
        """Stores pages of the host pool; True for each page that is stored now."""
        return self._move("set", keys, host_indices, extra_info)

    def _move(self, call, keys, host_indices, extra_info):
        kv = self._registry.kv if self._registry is not None else None
        if kv is None or not keys:
            return [False] * len(keys)
        started = time.perf_counter()
        deadline = self._calls.deadline(call, len(keys) * kv.page_bytes)
        done = getattr(kv, call)(keys, host_indices, deadline, _parent(extra_info))
        if kv.has_bytes:
            self._stats.add(call, sum(done), sum(done) * kv.page_bytes,
                            time.perf_counter() - started)
        return done

    # --- hybrid interface ---------------------------------------------------------------------

    @never_raises(hybrid.empty_result)
    def batch_exists_v2(self, keys, pool_transfers=None, extra_info=None):
        """The greatest prefix that KV and all side pools can restore, as PoolTransferResult."""
        pages = self._pages()
        if pages is None or not keys:
            return hybrid.empty_result()
        deadline = self._calls.deadline("exists")
        kv_run = leading_run(pages.presence(keys, deadline))
        answers = [(transfer.name, self._side_presence(transfer, keys[:kv_run], deadline),
                    hybrid.policy_of(transfer), hybrid.window_of(transfer))
                   for transfer in pool_transfers or ()]
        return hybrid.transfer_result(kv_run, *hybrid.resolve(kv_run, len(keys), answers))

    @never_raises(False, "transfers")
    def batch_get_v2(self, transfers, extra_info=None):
        """Reads side pools' pages: {transfer.name: [bool for each of its keys]}."""
        return self._move_sides("get", transfers, extra_info)

    @never_raises(False, "transfers")
    def batch_set_v2(self, transfers, extra_info=None):
        """Stores side pools' pages: {transfer.name: [bool for each of its keys]}."""
        return self._move_sides("set", transfers, extra_info)

    def _side_presence(self, transfer, keys, deadline):
        side = self._side(transfer)
        return side.presence(keys, deadline) if side is not None and keys else bytes(len(keys))

    def _move_sides(self, call, transfers, extra_info):
        """One deadline for all; what is wrong with one transfer is a miss of that one."""
        if self._registry is None:
            return {transfer.name: [False] * len(transfer.keys or ()) for transfer in transfers}
        sides = [(transfer, self._side(transfer)) for transfer in transfers or ()]
        deadline = self._calls.deadline(call, sum(side.page_bytes * len(transfer.keys or ())
                                                  for transfer, side in sides if side is not None))
        return {transfer.name: self._move_side(transfer.keys or (), call, side, transfer, deadline,
                                               _parent(extra_info))
                for transfer, side in sides}

    @never_raises(False, "keys")
    def _move_side(self, keys, call, side, transfer, deadline, parent):
        if side is None or not keys:
            return [False] * len(keys)
        return getattr(side, call)(keys, transfer.host_indices, deadline, parent)

    def _side(self, transfer):
        registry = self._registry
        return registry.sides.get(hybrid.plain(transfer.name)) if registry is not None else None

    # --- copy interface -----------------------------------------------------------------------

    @never_raises(False)
    def exists(self, key):
        """Whether the copy interface has stored this page."""
        flat = self._flat()
        return flat is not None and 1 in flat.presence([key], self._calls.deadline("exists"))

    @never_raises(None)
    def get(self, key, target_location=None, target_sizes=None):
        """The tensor @target_location with the page in it, or None."""
        return self.batch_get([key], None if target_location is None else [target_location])[0]

    @never_raises(None, "keys")
    def batch_get(self, keys, target_locations=None, target_sizes=None):
        """For each key the tensor that was given for it, filled, or None."""
        hits = self._move_flat("get", keys, target_locations)
        return [target_locations[i] if hit else None for i, hit in enumerate(hits)]

    @never_raises(False)
    def set(self, key, value=None, target_location=None, target_sizes=None):
        """Stores one flat tensor."""
        return self.batch_set([key], None if value is None else [value])

    @never_raises(False)
    def batch_set(self, keys, values=None, target_locations=None, target_sizes=None):
        """Stores flat tensors; True when all are stored."""
        return bool(keys) and all(self._move_flat("set", keys, values))

    def _move_flat(self, call, keys, tensors):
        flat = self._flat()
        if flat is None or not keys or tensors is None or len(tensors) != len(keys):
            return [False] * len(keys)
        started = time.perf_counter()
        done = getattr(flat, call)(keys, tensors)
        len_bytes = sum(flat_memory(tensor)[1] for tensor, hit in zip(tensors, done) if hit)
        self._stats.add(call, sum(done), len_bytes, time.perf_counter() - started)
        return done

    # --- helpers ------------------------------------------------------------------------------

    def _flat(self):
        return self._registry.flat if self._registry is not None else None

    def _pages(self):
        """The KV pages of the interface that SGLang uses, which interface_v1 tells."""
        registry = self._registry
        if registry is None:
            return None
        return registry.kv if self._interface_v1 or registry.flat is None else registry.flat


def _parent(extra_info):
    """The key of the page before a batch, where SGLang passes it (an option of its own)."""
    prefix_keys = getattr(extra_info, "prefix_keys", None)
    return prefix_keys[-1] if prefix_keys else None
