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
    """(the pool, {name: side pool}) where a HostPoolGroup was given; else (the pool, {})."""
    anchor = getattr(getattr(pool, "anchor_entry", None), "host_pool", None)
    if anchor is None:
        return pool, {}
    return anchor, {entry.name: entry.host_pool for entry in getattr(pool, "entries", None) or ()
                    if entry.host_pool is not anchor}


def is_logical(pool):
    """Whether the pool has slots only: the bytes of its pages live in side pools."""
    return getattr(pool, "kv_buffer", pool) is None


def check_memory(pool):
    """ValueError for a pool that SGLang left without memory, because another rank keeps the pages of
    both.  It would look like a logical one."""
    if getattr(pool, "_is_dummy", False) is True:
        raise ValueError(f"PeerCache: host pool {type(pool).__name__} of this rank has no memory: "
                         "SGLang keeps its pages on another rank only (host de-duplication). Name "
                         "the storage backend when the engine starts, rather than attach it later")


class LogicalPool:
    """A pool without memory, as identity.fields() looks at one: a page is one marker byte."""

    lengths, segments_per_page, groups = [1], 1, 1

    def __init__(self, pool):
        self.pool = pool
        self.layout = getattr(pool, "layout", None)
        self.page_size = page_size_of(pool)


def page_size_of(pool):
    """Slots a page; pools of states (Mamba) may say nothing, and then it is one."""
    return operator.index(getattr(pool, "page_size", None) or 1)


def check_flat_pages(pool):
    """ValueError for a pool without flat pages, which are what SGLang's copy path moves.

    SGLang would find that out in its backup thread, which up to 0.5.16 does not survive it; and of
    an anchor's empty pages nothing could be stored.
    """
    try:
        has_bytes = count(pool.get_dummy_flat_data_page()) > 0
    except Exception:  # whatever a pool says instead
        has_bytes = False
    if not has_bytes:
        raise ValueError(f"PeerCache: host pool {type(pool).__name__} has no flat pages, which the "
                         'copy interface moves; put "interface_v1": 1 into the extra config')


class HostPool:
    """A pool that was looked at and accepted.  ValueError says why one is not.

    @addresses, @lengths: of the segments of the first page, when it was looked at.  @groups: into how
    many groups of heads each page is split (page_head with tp_lcm_size).
    """

    def __init__(self, pool, groups=1):
        check_memory(pool)
        self.pool, self.groups = pool, groups
        self.layout = getattr(pool, "layout", None)
        if self.layout == "page_unified":
            raise ValueError("PeerCache: host memory layout page_unified is not supported; use "
                             "--hicache-mem-layout page_first")
        self.page_size = page_size_of(pool)
        self.addresses, self.lengths = self._probe()
        self.segments_per_page = len(self.lengths)
        self.page_bytes = sum(self.lengths)
        self._check_sizes()

    def _meta(self, slots):
        """(addresses, lengths) of the pages in @slots, or ValueError where the pool has none."""
        meta = (self.pool.get_page_buffer_meta(slots) if self.groups == 1 else
                self.pool.get_split_heads_page_buffer_meta(slots, self.groups))
        if meta is None or meta[0] is None:
            raise ValueError("it describes no memory")
        return meta

    def _probe(self):
        name = f"host pool {type(self.pool).__name__} (layout {self.layout!r})"
        try:
            addresses, lengths = self._meta(first_page_slots(self.page_size))
            addresses = [operator.index(address) for address in addresses]
            lengths = [operator.index(length) for length in lengths]
        except Exception as error:
            raise ValueError(f"PeerCache: {name} does not give the addresses of its pages, so they "
                             f"cannot be stored: {type(error).__name__}: {error}"
                             f"{self._advice()}") from error
        if len(addresses) != len(lengths) or len(lengths) % self.groups:
            raise ValueError(f"PeerCache: {name} gives {len(addresses)} addresses and "
                             f"{len(lengths)} lengths for a page of {self.groups} groups of heads")
        return addresses, lengths

    def _advice(self):
        """What may help where a pool gives no addresses."""
        if self.groups > 1:
            return f". With tp_lcm_size its heads are stored in {self.groups} groups"
        return "" if self.layout == "page_first" else ". Try --hicache-mem-layout page_first"

    def _check_sizes(self):
        if not 1 <= self.page_bytes <= _native.PAGE_MAX_BYTES:
            raise ValueError(f"PeerCache: a page of this host pool has {self.page_bytes} bytes; "
                             f"1 to {_native.PAGE_MAX_BYTES} can be stored. A smaller --page-size, or "
                             "for a Mamba state more tensor-parallel ranks, makes it smaller")
        if self.segments_per_page > _native.SEGMENTS_MAX:
            raise ValueError(f"PeerCache: a page of this host pool has {self.segments_per_page} "
                             f"segments; at most {_native.SEGMENTS_MAX} are possible. Use "
                             "--hicache-mem-layout page_first")

    def segments(self, host_indices, page_count):
        """(addresses, lengths) of @page_count pages, exactly as probed, or ValueError."""
        if host_indices is None or count(host_indices) != page_count * self.page_size:
            given = 0 if host_indices is None else count(host_indices)
            raise ValueError(f"{given} host slots were given for {page_count} pages of "
                             f"{self.page_size}")
        addresses, lengths = self._meta(host_indices)
        if list(lengths) != self.lengths * page_count:
            raise ValueError("the host pool gives other segment lengths than at registration")
        return addresses, lengths
