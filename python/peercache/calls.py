# SPDX-License-Identifier: Apache-2.0
"""The native calls of one store, with what belongs to each: deadline, retry, counters, log.

Each call takes one namespace and returns the outcomes, one byte a page and as many as there are
keys, whatever happened: a batch that the node did not take at all is all UNSET (0), a miss.
"""
import os
import time

from . import _native
from .deadline import Deadline

# SGLang drops the rest of a node when one page of it is refused, and does not try again; a pool
# that is full of pages in flight has room a moment later.
RETRY_DELAY_S = 0.010
RETRY_TIMEOUT_MIN_MS = 20


class Calls:
    """What all namespaces of a store share.  Safe for all of SGLang's threads at once."""

    def __init__(self, timeouts_s, counters, errors):
        """@timeouts_s: {"get": seconds, "set": ..., "exists": ..., "clear": ...}."""
        self._timeouts_s = timeouts_s
        self._counters = counters
        self._errors = errors

    def deadline(self, call, len_bytes=0):
        """When a call that begins now and moves so many bytes has to be over."""
        return Deadline(self._timeouts_s[call], len_bytes)

    def exists(self, ns, keys, deadline):
        rc, outcomes = ns.exists(keys, deadline.remaining_ms())
        return self._noted("exists", keys, rc, outcomes)

    def get(self, ns, keys, memory, deadline, parent=None, chained=True):
        """@memory: (addresses, lengths, segments a page) of the pages in turn."""
        rc, outcomes, vias = ns.get(keys, *memory, parent, chained, deadline.remaining_ms())
        return self._noted("get", keys, rc, outcomes, vias)

    def set(self, ns, keys, memory, deadline, parent=None, chained=True, group=0):
        """Pages that found no room are tried once more.  @group: see peercache_page.group."""
        rc, outcomes, _ = ns.set(keys, *memory, parent, chained, deadline.remaining_ms(), group)
        if _native.REFUSED_FULL in outcomes:
            outcomes = self._set_again(ns, keys, memory, deadline, group, outcomes)
        return self._noted("set", keys, rc, outcomes)

    def clear(self, ns, deadline):
        rc = ns.clear(deadline.remaining_ms())
        if rc != 0:
            self._errors.warn("clear", f"not yet done everywhere: {os.strerror(-rc)}")

    def _set_again(self, ns, keys, memory, deadline, group, outcomes):
        if deadline.remaining_ms() < RETRY_TIMEOUT_MIN_MS + RETRY_DELAY_S * 1000:
            return outcomes
        time.sleep(RETRY_DELAY_S)
        addresses, lengths, per_page = memory
        again = [i for i, outcome in enumerate(outcomes) if outcome == _native.REFUSED_FULL]
        places = [i * per_page + j for i in again for j in range(per_page)]
        _, second, _ = ns.set([keys[i] for i in again], [addresses[place] for place in places],
                              [lengths[place] for place in places], per_page, None, False,
                              deadline.remaining_ms(), group)
        outcomes = bytearray(outcomes)
        for i, outcome in zip(again, second):
            outcomes[i] = outcome
        return bytes(outcomes)

    def _noted(self, call, keys, rc, outcomes, vias=b""):
        self._counters.add(call, outcomes, vias)
        if rc != 0:
            self._errors.warn(call, f"the node did not take the batch: {os.strerror(-rc)}")
        return outcomes or bytes(len(keys))
