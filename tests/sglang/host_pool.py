# SPDX-License-Identifier: Apache-2.0
"""Host pools like SGLang's, over plain memory, for tests and the demo.

A pool is described by the segments of one page.  Segment j of all pages lies in plane j; after each
segment come guard bytes, so a copy that is one byte too long is seen.  What the bytes inside a
segment mean is of no concern to a storage backend, so the layouts differ only in the number and the
lengths of the segments, as in SGLang.

Page contents follow from a seed each, so that any process can say what a page must hold.
Side pools and pools without memory are in side_pools.py.
"""
import mmap
import os

import numpy

GUARD_LEN_BYTES = 64
GUARD_BYTE = 0xA5

# Odd constants with well spread bits: neighbouring words and neighbouring seeds differ everywhere.
_WORD_STEP = numpy.uint64(0x9E3779B97F4A7C15)
_SPREAD = numpy.uint64(0xD1342543DE82EF95)


def expected_bytes(seeds, len_bytes):
    """What pages with these seeds hold: an array of shape (pages, len_bytes)."""
    seeds = numpy.asarray(seeds, dtype=numpy.uint64)
    steps = numpy.arange((len_bytes + 7) // 8, dtype=numpy.uint64) * _WORD_STEP
    words = (seeds[:, None] + steps[None, :]) * _SPREAD
    return words.view(numpy.uint8)[:, :len_bytes]


def seed_of(key):
    """The seed that belongs to a page's key."""
    return int(key[:16], 16)


class ShmAllocator:
    """SGLang's allocator for `"allocator": "shm"`: memory from memfds that others may map."""

    def __init__(self):
        self.fds, self.mms = [], []

    @property
    def fd(self):
        return self.fds[0]

    def map(self, len_bytes):
        fd = os.memfd_create("hicache", os.MFD_CLOEXEC)
        os.ftruncate(fd, -(-len_bytes // mmap.PAGESIZE) * mmap.PAGESIZE)
        self.fds.append(fd)
        self.mms.append(mmap.mmap(fd, 0))
        return self.mms[-1]


class HostPool:
    """Memory for @page_num pages whose segments have these lengths."""

    def __init__(self, layout, page_size, page_num, segment_lengths, dtype="bfloat16",
                 guard_len_bytes=GUARD_LEN_BYTES, allocator=None, **attributes):
        self.layout, self.page_size, self.page_num = layout, page_size, page_num
        self.size = page_size * page_num
        self.dtype = dtype
        self.device = "cpu"
        self.segment_lengths = list(segment_lengths)
        self.page_bytes = sum(self.segment_lengths)
        self.allocator = allocator
        self._guard_len = guard_len_bytes
        self.__dict__.update(attributes)
        self._map_memory()

    def _map_memory(self):
        strides = [length + self._guard_len for length in self.segment_lengths]
        total = max(1, sum(strides) * self.page_num)
        self._memory = self.allocator.map(total) if self.allocator else mmap.mmap(-1, total)
        self.kv_buffer = numpy.frombuffer(self._memory, dtype=numpy.uint8)
        self.kv_buffer[:] = GUARD_BYTE
        self._planes, start = [], 0
        for stride in strides:
            end = start + stride * self.page_num
            self._planes.append(self.kv_buffer[start:end].reshape(self.page_num, stride))
            start = end
        self._bases = [(plane.ctypes.data, plane.strides[0]) for plane in self._planes]

    # --- what SGLang's pools offer ------------------------------------------------------------

    def get_page_buffer_meta(self, indices):
        slots = indices.tolist()[::self.page_size]
        if any(slot % self.page_size for slot in slots):
            raise ValueError("a page does not start at a multiple of the page size")
        pages = [slot // self.page_size for slot in slots]
        addresses = [base + page * stride for page in pages for base, stride in self._bases]
        return addresses, self.segment_lengths * len(pages)

    def get_split_heads_page_buffer_meta(self, indices, split_factor):
        """For each group of heads K and V: heads are outermost in both with page_head."""
        if self.layout != "page_head" or any(n % split_factor for n in self.segment_lengths):
            raise ValueError("heads cannot be split in this layout")
        whole, lengths = self.get_page_buffer_meta(indices)
        pairs = list(zip(whole, lengths))
        addresses, sizes = [], []
        for first in range(0, len(pairs), 2):
            for group in range(split_factor):
                for address, length in pairs[first:first + 2]:
                    addresses.append(address + group * (length // split_factor))
                    sizes.append(length // split_factor)
        return addresses, sizes

    def get_hybrid_pool_buffer(self):
        return [self.kv_buffer]

    def destroy(self):
        """What SGLang does at its exit: the memory is gone, for real."""
        self.kv_buffer, self._planes = None, []
        self.__dict__.pop("k_buffer", None), self.__dict__.pop("v_buffer", None)
        self._memory.close()

    def get_data_page(self, index, flat=True):
        page = index // self.page_size
        return numpy.concatenate([plane[page, :length] for plane, length
                                  in zip(self._planes, self.segment_lengths)])

    def get_dummy_flat_data_page(self):
        return numpy.zeros(self.page_bytes, dtype=numpy.uint8)

    def set_from_flat_data_page(self, index, data):
        self.scatter([index // self.page_size], data[None, :])

    # --- filling and checking -----------------------------------------------------------------

    def slots(self, pages):
        """The token slots of these pages, as SGLang's host_indices."""
        first = numpy.asarray(pages, dtype=numpy.int64)[:, None] * self.page_size
        return (first + numpy.arange(self.page_size)).ravel()

    def scatter(self, pages, rows):
        """Gives each page the bytes of its row."""
        start = 0
        for plane, length in zip(self._planes, self.segment_lengths):
            plane[pages, :length] = rows[:, start:start + length]
            start += length

    def fill(self, pages, seeds):
        """Gives each page the bytes of its seed."""
        self.scatter(pages, expected_bytes(seeds, self.page_bytes))

    def poison(self, pages):
        """Bytes that belong to no seed."""
        for plane, length in zip(self._planes, self.segment_lengths):
            plane[pages, :length] = 0xEE

    def is_poisoned(self, pages):
        return all((plane[pages, :length] == 0xEE).all() for plane, length
                   in zip(self._planes, self.segment_lengths))

    def _groups(self, page, group, groups):
        return [plane[page, :length].reshape(groups, -1)[group]
                for plane, length in zip(self._planes, self.segment_lengths)]

    def group_rows(self, page, group, groups):
        """The bytes of one group of heads of a page_head pool: those of K, then those of V."""
        return numpy.concatenate(self._groups(page, group, groups))

    def scatter_group(self, page, group, groups, row):
        """Gives one group of heads these bytes."""
        k, v = self._groups(page, group, groups)
        k[:], v[:] = row[:len(k)], row[len(k):]

    def wrong_bytes(self, pages, seeds):
        """How many bytes of these pages are not what their seeds say."""
        expected, start, wrong = expected_bytes(seeds, self.page_bytes), 0, 0
        for plane, length in zip(self._planes, self.segment_lengths):
            rows = plane[pages, :length]
            wrong += int(numpy.count_nonzero(rows != expected[:, start:start + length]))
            start += length
        return wrong

    def guards_intact(self):
        return all((plane[:, length:] == GUARD_BYTE).all() for plane, length
                   in zip(self._planes, self.segment_lengths))


def mha(layout="page_first", page_size=4, page_num=64, layers=2, heads=2, head_dim=8,
        v_head_dim=None, element_bytes=2, **more):
    """Keys and values apart: two segments, or two for each layer with layer_first."""
    v_head_dim = v_head_dim or head_dim
    k_len, v_len = (page_size * heads * dim * element_bytes for dim in (head_dim, v_head_dim))
    lengths = [k_len, v_len] * layers if layout == "layer_first" else [k_len * layers,
                                                                        v_len * layers]
    pool = HostPool(layout, page_size, page_num, lengths, layer_num=layers, start_layer=0,
                    end_layer=layers, head_num=heads, head_dim=head_dim, v_head_dim=v_head_dim,
                    **more)
    pool.k_buffer, pool.v_buffer = pool._planes[0], pool._planes[1]
    return pool


def mha_with_scales(page_size=4, page_num=64, layers=2, **more):
    """8-bit floats with a scale a token: three segments, of which the last is short and odd."""
    row = page_size * layers * 32
    return HostPool("page_first", page_size, page_num, [row, row, page_size * layers * 4 + 1],
                    "float8_e4m3fn", layer_num=layers, start_layer=0, end_layer=layers,
                    head_num=2, head_dim=16, v_head_dim=16, **more)


def mla(layout="page_first", page_size=4, page_num=64, layers=3, kv_cache_dim=36,
        element_bytes=2, **more):
    """One compressed vector a token: one segment, one for each layer, or a split of odd ones."""
    row = page_size * kv_cache_dim * element_bytes
    lengths = {"layer_first": [row] * layers,
               "page_first_kv_split": [row * layers * 8 // 9, row * layers // 9, 0, 7]}
    return HostPool(layout, page_size, page_num, lengths.get(layout, [row * layers]),
                    layer_num=layers, start_layer=0, end_layer=layers, kv_cache_dim=kv_cache_dim,
                    **more)
