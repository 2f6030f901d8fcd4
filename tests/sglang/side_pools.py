# SPDX-License-Identifier: Apache-2.0
"""The pools of hybrid models: side pools, pools without memory, and pools that refuse.

A side pool is *derived* when its pages lie in the slots of the KV pool's pages (an indexer); the
others have slots of their own, and only for the pages that end a prefix (Mamba, a sliding window).
"""
import dataclasses

import numpy

from host_pool import HostPool, mha, mla


def mamba(page_num=64, temporal_bytes=512, conv_bytes=(96, 32), **more):
    """One state a page of one slot: the temporal part, absent where it has no size, and others."""
    parts = [("float32", temporal_bytes)] * bool(temporal_bytes)
    parts += [("int16", length) for length in conv_bytes]
    pool = HostPool("page_first", 1, page_num, [length for _, length in parts], layer_num=2,
                    start_layer=0, end_layer=2, **more)
    pool.get_hybrid_pool_buffer = lambda: [numpy.empty(0, dtype) for dtype, _ in parts]
    return pool


def swa(page_size=4, page_num=64, **more):
    """Keys and values of the layers that look at a window only."""
    return mha("page_first", page_size=page_size, page_num=page_num, layers=1, **more)


def indexer(layout="page_first", page_size=4, page_num=64, **more):
    """The index of sparse attention: one odd segment, or one a layer."""
    return HostPool(layout, page_size, page_num,
                    [page_size * 33] * 3 if layout == "layer_first" else [page_size * 99], "uint8",
                    layer_num=3, start_layer=0, end_layer=3, **more)


class LogicalAnchor:
    """A KV pool with slots and without memory; @meta is None or (None, None)."""

    def __init__(self, meta=None, page_size=4, page_num=64):
        self.layout, self.page_size, self.page_num = "page_first", page_size, page_num
        self.size = page_size * page_num
        self.kv_buffer, self.dtype, self.layer_num = None, "bfloat16", 3
        self.start_layer, self.end_layer = 0, 3
        self._meta = meta

    def get_page_buffer_meta(self, indices):
        return self._meta

    def slots(self, pages):
        return HostPool.slots(self, pages)

    # It holds nothing, so nothing can be wrong.
    def fill(self, pages, seeds):
        pass

    def poison(self, pages):
        pass

    def is_poisoned(self, pages):
        return True

    def wrong_bytes(self, pages, seeds):
        return 0

    def guards_intact(self):
        return True


def dummy():
    """A pool that SGLang left without memory on this rank, since another rank keeps its pages."""
    pool = LogicalAnchor()
    pool._is_dummy = True
    return pool


@dataclasses.dataclass
class PoolEntry:
    """One pool of a model as the controller keeps it."""
    name: str
    host_pool: object
    derived: bool = False
    window: int = 0  # trailing pages that a prefix needs; 0: all of its pages


def deepseek_v4(page_size=8, page_num=64, meta=None):
    """(logical anchor, side pools): all bytes are in the compressed pools and their states."""
    def packed(row, tokens, layers=3, **more):
        return mla("page_first", page_size=tokens, page_num=page_num, layers=layers,
                   kv_cache_dim=row, element_bytes=1, dtype="uint8", **more)

    anchor = LogicalAnchor(meta, page_size, page_num)
    split = HostPool("page_first", page_size, page_num, [72, 0, 31], "uint8", layer_num=3)
    return anchor, [
        PoolEntry("deepseek_v4_c4", packed(73, page_size), derived=True),
        PoolEntry("deepseek_v4_c4_indexer", packed(17, page_size), derived=True),
        PoolEntry("deepseek_v4_c4_indexer_scale", split, derived=True),
        PoolEntry("deepseek_v4_c128", packed(73, page_size), derived=True),
        PoolEntry("deepseek_v4_c4_state", packed(21, 1), window=1),
    ]


class HostPoolGroup:
    """Several pools under one name, as some releases pass them."""

    def __init__(self, anchor, sides=()):
        self.anchor_entry = PoolEntry("kv", anchor)
        self.entries = [self.anchor_entry, *sides]
        self.layout, self.page_size = anchor.layout, anchor.page_size
        self.kv_buffer = anchor.kv_buffer

    def get_page_buffer_meta(self, indices):
        return self.anchor_entry.host_pool.get_page_buffer_meta(indices)


def block_scaled():
    """Like the MXFP8 and FP4 pools: their pages have no addresses to give."""
    pool = mha(dtype="float8_e4m3fn")

    def refuse(indices):
        raise NotImplementedError("block scales lie elsewhere")

    pool.get_page_buffer_meta = refuse
    return pool
