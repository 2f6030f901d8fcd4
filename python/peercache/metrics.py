# SPDX-License-Identifier: Apache-2.0
"""Counters of the adapter, and SGLang's StorageMetrics made from them.

SGLang drains its four lists on every turn of the scheduler's loop; tools read the counters, which
only grow.  Both are filled by the I/O threads, so each has a lock that is held for a few
instructions.
"""
import collections
import threading

from . import _native
from .base import import_first

# Entries kept while nobody drains them (metrics off): the newest hour of a busy server.
PENDING_MAX = 4096


class StorageStats:
    """Pages per batch, and GB/s (10^9 bytes) of each batch, since they were last drained."""

    KINDS = ("prefetch_pgs", "backup_pgs", "prefetch_bandwidth", "backup_bandwidth")

    def __init__(self):
        self._lock = threading.Lock()
        self._pending = self._fresh()
        self._metrics_class = import_first(
            "sglang.srt.observability.metrics_collector:StorageMetrics",
            "sglang.srt.metrics.collector:StorageMetrics")

    def _fresh(self):
        return {kind: collections.deque(maxlen=PENDING_MAX) for kind in self.KINDS}

    def add(self, call, page_count, len_bytes, duration_s):
        """@call is "get" or "set"; batches that moved nothing say nothing."""
        if page_count == 0:
            return
        direction = "prefetch" if call == "get" else "backup"
        with self._lock:
            self._pending[f"{direction}_pgs"].append(page_count)
            if duration_s > 0:
                self._pending[f"{direction}_bandwidth"].append(len_bytes / duration_s / 1e9)

    def drain(self):
        """A fresh StorageMetrics, or None where SGLang has no such class."""
        if self._metrics_class is None:
            return None
        fresh = self._fresh()
        with self._lock:
            drained, self._pending = self._pending, fresh
        metrics = self._metrics_class()
        for kind, values in drained.items():
            setattr(metrics, kind, list(values))
        return metrics


class Counters:
    """How many pages of each call had which outcome, and which way the hits came."""

    def __init__(self):
        self._lock = threading.Lock()
        self._pages = collections.Counter()

    def add(self, call, outcomes, vias=b""):
        """@outcomes and @vias have one byte a page, as the native calls return them."""
        seen = [((call, what, number), numbers.count(number))
                for what, numbers in (("outcome", outcomes), ("via", vias))
                for number in set(numbers)]
        with self._lock:
            for key, n in seen:
                self._pages[key] += n

    def snapshot(self):
        """{"get": {"outcome": {"HIT": 3}, "via": {"shm": 3}}, ...} with the library's names."""
        with self._lock:
            pages = dict(self._pages)
        names = {"outcome": _native.outcome_name, "via": _native.via_name}
        result = {}
        for (call, what, number), n in pages.items():
            result.setdefault(call, {}).setdefault(what, {})[names[what](number)] = n
        return result
