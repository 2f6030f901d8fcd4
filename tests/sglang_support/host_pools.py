# SPDX-License-Identifier: Apache-2.0
"""SGLang's own host pools on a CPU, small.  Import release first, at full level.

From 0.5.23 on a host pool is made from a description of the device pool's buffers, before that from
the device pool itself; what is asked of a pool afterwards is the same.
"""
import types

import torch
from sglang.srt.mem_cache import memory_pool, memory_pool_host
from sglang.srt.mem_cache.pool_host import mha as mha_module
from sglang.srt.mem_cache.pool_host import mla as mla_module

try:
    from sglang.srt.mem_cache import device_pool_info
except ImportError:
    device_pool_info = None

PAGE_SIZE = 16
LAYERS = 3
# Device tokens; the host pools have twice as many.
TOKENS = 640
# Checkpoints of a Mamba pool, rows of a paged pool.
ROWS = 64

MHA_LAYOUTS = ("page_first", "page_first_direct", "layer_first", "page_head")
MLA_LAYOUTS = ("page_first", "page_first_direct", "layer_first")
ASYMMETRIC_LAYOUTS = ("page_first", "page_first_direct")
STATE_LAYOUTS = ("page_first", "page_first_direct")
PAGED_LAYOUTS = ("page_first", "page_first_direct", "layer_first")


def device_mha(v_head_dim=None, tokens=TOKENS, heads=4):
    return memory_pool.MHATokenToKVPool(
        size=tokens, page_size=PAGE_SIZE, dtype=torch.bfloat16, head_num=heads, head_dim=16,
        v_head_dim=v_head_dim, layer_num=LAYERS, device="cpu", enable_memory_saver=False)


def device_mla(tokens=TOKENS):
    return memory_pool.MLATokenToKVPool(
        size=tokens, page_size=PAGE_SIZE, dtype=torch.bfloat16, kv_lora_rank=32,
        qk_rope_head_dim=8, layer_num=LAYERS, device="cpu", enable_memory_saver=False)


def device_dsa(tokens=TOKENS):
    """An MLA pool with an indexer; its pages have 64 tokens, as its kernels want."""
    return memory_pool.DSATokenToKVPool(
        size=tokens, page_size=64, kv_lora_rank=32, dtype=torch.bfloat16, qk_rope_head_dim=8,
        layer_num=LAYERS, device="cpu", index_head_dim=128, enable_memory_saver=False,
        kv_cache_dim=40)


def host_mha(layout, device=None, **more):
    device = device or device_mha()
    if device_pool_info is None:
        asymmetric = device.head_dim != device.v_head_dim
        kind = (mha_module.AsymmetricMHATokenToKVPoolHost if asymmetric
                else mha_module.MHATokenToKVPoolHost)
        return kind(device, 2.0, 0, device.page_size, layout, pin_memory=False, **more)
    info = device.get_device_pool_infos()[0].buffer_info
    return mha_module.get_mha_host_pool_cls(info)(
        info, 2.0, 0, device.page_size, layout, pin_memory=False,
        device_capacity_tokens=device.size, start_layer=device.start_layer,
        end_layer=device.end_layer, **more)


def host_asymmetric(layout):
    return host_mha(layout, device_mha(v_head_dim=8))


def host_mla(layout, device=None, **more):
    device = device or device_mla()
    if device_pool_info is None:
        return mla_module.MLATokenToKVPoolHost(device, 2.0, 0, device.page_size, layout,
                                               pin_memory=False, **more)
    return mla_module.MLATokenToKVPoolHost(
        device.get_device_pool_infos()[0].buffer_info, 2.0, 0, device.page_size, layout,
        pin_memory=False, device_capacity_tokens=device.size, start_layer=device.start_layer,
        end_layer=device.end_layer, target_layer_num=device.layer_num,
        override_kv_cache_dim=device.kv_cache_dim, **more)


def host_indexer(layout):
    device = device_dsa(4 * TOKENS)
    anchor = host_mla(layout, device)
    if device_pool_info is None:
        return memory_pool_host.DSAIndexerPoolHost(device, anchor, layout, pin_memory=False)
    from sglang.srt.mem_cache.pool_host.dsa import DSAIndexerPoolHost
    declaration = next(declared for declared in device.host_pool_decls()
                       if declared.storage_info is not None)
    return DSAIndexerPoolHost(declaration, anchor, pin_memory=False)


def host_mamba(layout):
    """States of two layers: one temporal part and two of the convolution, of unequal sizes."""
    temporal = torch.zeros(2, ROWS + 1, 4, 8)
    conv = tuple(torch.zeros(2, ROWS + 1, dim, 3, dtype=torch.bfloat16) for dim in (6, 5))
    if device_pool_info is None:
        device = types.SimpleNamespace(
            num_mamba_layers=2, size=ROWS, device="cpu",
            mamba_cache=types.SimpleNamespace(temporal=temporal, conv=list(conv)))
        return memory_pool_host.MambaPoolHost(device, 2.0, 0, pin_memory=False, layout=layout)
    from sglang.srt.mem_cache.pool_host.mamba import MambaPoolHost
    info = device_pool_info.MambaStateBufferInfo(temporal=temporal, conv=conv)
    return MambaPoolHost(info, 2.0, 0, device_capacity=ROWS, pin_memory=False, layout=layout)


def host_swa(layout):
    """The sliding-window layers of a hybrid model: an MHA pool with fewer slots."""
    return host_mha(layout, device_mha(tokens=TOKENS // 2))


def host_paged(layout):
    """A compressed region of DeepSeek-V4."""
    item_bytes = 584 * PAGE_SIZE
    buffers = [torch.zeros(ROWS, item_bytes, dtype=torch.uint8) for _ in range(2)]
    return memory_pool_host.DeepSeekV4PagedHostPool(
        "deepseek_v4_c4", buffers, item_bytes, ROWS, PAGE_SIZE, layout=layout, pin_memory=False)


def host_state(layout):
    """The compression states of DeepSeek-V4, a ring of four for each page."""
    states = [types.SimpleNamespace(
        ring_size=4, kv_score_buffer=types.SimpleNamespace(kv_score=torch.zeros(ROWS * 4, 24)))
        for _ in range(2)]
    return memory_pool_host.DeepSeekV4StateHostPool(
        "deepseek_v4_c4_state", states, ROWS, PAGE_SIZE, layout=layout, pin_memory=False)


def host_logical():
    """DeepSeek-V4's anchor: slots without memory."""
    return memory_pool_host.LogicalHostPool(TOKENS, PAGE_SIZE, "page_first")


def host_group(anchor, sides):
    """A HostPoolGroup of an anchor and {PoolName: side pool}."""
    module = memory_pool_host if device_pool_info is None else None
    if module is None:
        from sglang.srt.mem_cache import pool_host as module
    from sglang.srt.mem_cache.hicache_storage import PoolName
    entries = [module.PoolEntry(name=PoolName.KV, host_pool=anchor, device_pool=None,
                                layer_mapper=lambda layer: layer, is_primary_index_anchor=True)]
    entries += [module.PoolEntry(name=name, host_pool=pool, device_pool=None,
                                 layer_mapper=lambda layer: layer)
                for name, pool in sides.items()]
    return module.HostPoolGroup(entries)


# What a page holds that nobody has read into.
POISON = b"\xee"


# --- pages as SGLang sees them ------------------------------------------------------------------


def pages_of(pool):
    """The pages of a host pool, to be read and written whole."""
    if getattr(pool, "kv_buffer", pool) is None:
        return NoPages(pool)
    if getattr(pool, "v_head_dim", None) not in (None, getattr(pool, "head_dim", None)):
        return AsymmetricPages(pool)
    return Pages(pool)


class Pages:
    """By the pool's own flat interface, which knows nothing of segments and addresses."""

    def __init__(self, pool):
        self.pool = pool
        self.page_size = pool.page_size or 1
        self.len_bytes = len(self.read(0))

    @property
    def count(self):
        return self.pool.size // self.page_size

    def read(self, page):
        flat = self.pool.get_data_page(page * self.page_size, flat=True)
        return flat.contiguous().view(torch.uint8).numpy().tobytes()

    def write(self, page, data):
        flat = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        flat = flat.view(self.pool.get_dummy_flat_data_page().dtype)
        self.pool.set_from_flat_data_page(page * self.page_size, flat)

    def poison(self, pages=None):
        """@pages, or all of them."""
        for page in range(self.count) if pages is None else pages:
            self.write(page, POISON * self.len_bytes)

    def is_poisoned(self, page):
        return self.read(page) == POISON * self.len_bytes

    def slots(self, pages):
        """The token slots of these pages, as SGLang's host_indices."""
        first = torch.tensor(pages, dtype=torch.int64)[:, None] * self.page_size
        return (first + torch.arange(self.page_size)).ravel()


class AsymmetricPages(Pages):
    """Keys and values of unequal widths lie in two tensors, and there is no flat interface."""

    def _views(self, page):
        """The page's part of each tensor, as bytes."""
        for buffer in (self.pool.k_buffer, self.pool.v_buffer):
            yield buffer.view(self.count, -1)[page].view(torch.uint8)

    def read(self, page):
        return b"".join(view.numpy().tobytes() for view in self._views(page))

    def write(self, page, data):
        start = 0
        for view in self._views(page):
            view.copy_(torch.frombuffer(bytearray(data[start:start + len(view)]),
                                        dtype=torch.uint8))
            start += len(view)


class NoPages(Pages):
    """Those of a logical anchor: slots without bytes."""

    def read(self, page):
        return b""

    def write(self, page, data):
        pass
