# SPDX-License-Identifier: Apache-2.0
"""The components of a model's cache: KV, and for hybrid models Mamba states, an indexer and so on.

A component is one host pool and the namespace in which its pages are objects of the cluster.  All
components of a page have the page's key for their name, so the same nodes answer for them, and they
form a group: when one leaves a node's memory the others of that node go with it.

Methods take SGLang's keys and token slots and return one answer a key.  They may raise; the store
turns that into misses.
"""
import ctypes

from . import _native
from .tensors import flat_memory


def _table(*good):
    """For bytes.translate(): 1 for these outcomes, 0 for all others."""
    return bytes(outcome in good for outcome in range(256))


_PRESENT = _table(_native.FOUND)
_HIT = _table(_native.HIT)
_STORED = _table(_native.STORED, _native.STORED_LOCAL, _native.ALREADY_STORED)

# The number of the group that all components of one node belong to; names tell the pages apart.
GROUP = 1


def leading_run(presence):
    """How many entries stand before the first that is 0."""
    end = presence.find(0)
    return len(presence) if end < 0 else end


def _whole(parts):
    """A byte a page from those of its parts: 1 where all are 1."""
    return parts[0] if len(parts) == 1 else bytes(map(min, *parts))


def _bools(flags):
    return list(map(bool, flags))


class Pages:
    """Where pages are objects of the namespaces @parts: one, or several for the parts of each page."""

    def __init__(self, parts, calls):
        self.parts = parts
        self._calls = calls

    def presence(self, keys, deadline):
        """A byte a key: 1 where all of the page is there."""
        return _whole([self._calls.exists(ns, keys, deadline).translate(_PRESENT)
                       for ns in self.parts])


class Component(Pages):
    """The pages of one host pool.

    @parts: the namespaces of a page's objects: one, or with tp_lcm_size one for each group of heads
    that this rank holds.  The segments of a page are dealt out to them in order.
    """

    has_bytes = True

    def __init__(self, pool, parts, calls):
        super().__init__(parts, calls)
        self.pool = pool
        self.page_bytes = pool.page_bytes
        self.group = GROUP if len(parts) > 1 else 0

    def get(self, keys, host_indices, deadline, parent=None):
        """Reads pages into the pool; True for each whose bytes are all there."""
        return _bools(_whole([self._calls.get(ns, keys, memory, deadline, parent).translate(_HIT)
                              for ns, memory in self._placed(keys, host_indices)]))

    def set(self, keys, host_indices, deadline, parent=None):
        """Stores pages of the pool; True for each that is stored now."""
        outcomes = [self._calls.set(ns, keys, memory, deadline, parent, group=self.group)
                    for ns, memory in self._placed(keys, host_indices)]
        return _bools(_whole([part.translate(_STORED) for part in outcomes]))

    def _placed(self, keys, host_indices):
        """[(namespace, memory of its objects)]."""
        addresses, lengths = self.pool.segments(host_indices, len(keys))
        whole, n = self.pool.segments_per_page, len(self.parts)
        if n == 1:
            return [(self.parts[0], (addresses, lengths, whole))]
        size = whole // n
        dealt = []
        for part, ns in enumerate(self.parts):
            places = [place for first in range(part * size, len(addresses), whole)
                      for place in range(first, first + size)]
            dealt.append((ns, ([addresses[place] for place in places],
                               [lengths[place] for place in places], size)))
        return dealt


class Anchor(Pages):
    """The KV component of a model whose KV pool is only logical: it has slots and no memory.

    Each page is a marker of one byte.  SGLang stores the side pools first, so a marker says that a
    page was stored with all its parts; it is evicted and cleared like any page, and so the answers
    of exists stay true.
    """

    page_bytes = 1
    has_bytes = False  # worth a sample of bandwidth

    def __init__(self, parts, calls):
        super().__init__(parts, calls)
        self.group = GROUP
        self._marker = ctypes.create_string_buffer(b"\1", 1)

    def get(self, keys, host_indices, deadline, parent=None):
        """There are no bytes to read: True for each page that is marked."""
        return _bools(self.presence(keys, deadline))

    def set(self, keys, host_indices, deadline, parent=None):
        address = ctypes.addressof(self._marker)
        memory = ([address] * len(keys), [1] * len(keys), 1)
        outcomes = self._calls.set(self.parts[0], keys, memory, deadline, parent, group=self.group)
        return _bools(outcomes.translate(_STORED))


class FlatPages(Pages):
    """Whole pages as flat tensors: SGLang's copy interface.

    The bytes of such a page are in another order than the pool's segments, so these objects have a
    namespace of their own.
    """

    def __init__(self, ns, calls):
        super().__init__([ns], calls)

    def get(self, keys, tensors):
        """True for each tensor that has its page's bytes now."""
        memory, len_bytes = self._memory(tensors, writable=True)
        outcomes = self._calls.get(self.parts[0], keys, memory,
                                   self._calls.deadline("get", len_bytes), chained=False)
        return _bools(outcomes.translate(_HIT))

    def set(self, keys, tensors):
        """True for each tensor that is stored now."""
        memory, len_bytes = self._memory(tensors)
        outcomes = self._calls.set(self.parts[0], keys, memory,
                                   self._calls.deadline("set", len_bytes), chained=False)
        return _bools(outcomes.translate(_STORED))

    @staticmethod
    def _memory(tensors, writable=False):
        addresses, lengths = zip(*(flat_memory(tensor, writable) for tensor in tensors))
        return (addresses, lengths, 1), sum(lengths)
