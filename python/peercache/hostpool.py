# SPDX-License-Identifier: Apache-2.0
"""SGLang's host pool as this adapter uses it.

A pool hands out, for a list of token slots, the addresses and lengths of the pages in them.  The
number of segments a page and their lengths are probed once, at registration; every call asks for
the addresses anew, because pools on a shared arena translate slots only while SGLang holds its
lease around the call.
"""
import operator
import sys

from . import _native
from .tensors import count


class SlotList:
    """Token slots as a pool expects them, for processes without torch and numpy."""

    def __init__(self, slots):
        self._slots = list(slots)

    def tolist(self):
        return list(self._slots)

    def numel(self):
        return len(self._slots)

    def __len__(self):
        return len(self._slots)

    def __getitem__(self, index):
        item = self._slots[index]
        return SlotList(item) if isinstance(index, slice) else item

    def __iter__(self):
        return iter(self._slots)


def first_page_slots(page_size):
    """The slots of the first page, in the type that this process's pools work with."""
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        return torch.arange(page_size, dtype=torch.int64)
    if "numpy" in sys.modules:
        numpy = sys.modules["numpy"]
        return numpy.arange(page_size, dtype=numpy.int64)
    return SlotList(range(page_size))


def unwrap(pool):
    """The pool itself where a HostPoolGroup was given."""
    return getattr(getattr(pool, "anchor_entry", None), "host_pool", None) or pool


def page_segments(pool, slots):
    """(addresses, lengths) of the pages in @slots, or ValueError where the pool has none."""
    meta = pool.get_page_buffer_meta(slots)
    if meta is None or meta[0] is None:
        raise ValueError("the host pool describes no memory (a logical anchor?)")
    return meta


class HostPool:
    """A pool that was looked at and accepted.  ValueError says why one is not."""

    def __init__(self, pool):
        self.pool = pool = unwrap(pool)
        self.layout = getattr(pool, "layout", None)
        if getattr(pool, "kv_buffer", pool) is None:
            raise ValueError("PeerCache: this host pool is a logical anchor (kv_buffer is None); "
                             "its pages live in side pools, which need the hybrid interface, "
                             "and that is not supported in this release")
        if self.layout == "page_unified":
            raise ValueError("PeerCache: host memory layout page_unified is not supported; use "
                             "--hicache-mem-layout page_first")
        self.page_size = operator.index(pool.page_size)
        self.lengths = self._probe()
        self.segments_per_page = len(self.lengths)
        self.page_bytes = sum(self.lengths)
        self._check_sizes()

    def _probe(self):
        try:
            slots = first_page_slots(self.page_size)
            addresses, lengths = page_segments(self.pool, slots)
            lengths = [operator.index(length) for length in lengths]
        except Exception as error:
            raise ValueError(f"PeerCache: host pool {type(self.pool).__name__} (layout "
                             f"{self.layout!r}) does not give the addresses of its pages, so they "
                             f"cannot be stored: {type(error).__name__}: {error}") from error
        if len(addresses) != len(lengths):
            raise ValueError(f"PeerCache: host pool {type(self.pool).__name__} gives "
                             f"{len(addresses)} addresses and {len(lengths)} lengths for a page")
        return lengths

    def _check_sizes(self):
        if not 1 <= self.page_bytes <= _native.PAGE_MAX_BYTES:
            raise ValueError(f"PeerCache: a page of this host pool has {self.page_bytes} bytes; "
                             f"1 to {_native.PAGE_MAX_BYTES} can be stored. A smaller --page-size "
                             "makes smaller pages")
        if self.segments_per_page > _native.SEGMENTS_MAX:
            raise ValueError(f"PeerCache: a page of this host pool has {self.segments_per_page} "
                             f"segments; at most {_native.SEGMENTS_MAX} are possible. Use "
                             "--hicache-mem-layout page_first")

    def segments(self, host_indices, page_count):
        """(addresses, lengths) of @page_count pages, exactly as probed, or ValueError."""
        if count(host_indices) != page_count * self.page_size:
            raise ValueError(f"{count(host_indices)} host slots were given for {page_count} pages "
                             f"of {self.page_size}")
        addresses, lengths = page_segments(self.pool, host_indices)
        if list(lengths) != self.lengths * page_count:
            raise ValueError("the host pool gives other segment lengths than at registration")
        return addresses, lengths
