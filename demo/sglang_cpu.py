# SPDX-License-Identifier: Apache-2.0
"""What SGLang lacks where there is no GPU: the copies between device and host pools.

Upstream has them as CUDA, HIP and XPU kernels only; here torch's indexing does the same.  Nothing
else of SGLang is replaced, but that it pins no memory and is content with less of it.

Importing this module is enough.  It must happen in the scheduler's process too, so the main script
imports it at its top, which spawned processes run again.
"""
import functools
import importlib
import inspect

import torch

# torchvision's compiled part is for CUDA and does not load, but its Python part describes these.
_torchvision = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _torchvision.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def _rows(pool, buffer, layer):
    """The keys or values of one layer in a host pool, token by token: (page, token, head, dim), or
    (token, head, dim) where the layout knows no pages.  A view, so it can be written to."""
    if pool.layout == "layer_first":
        return buffer[layer]
    if pool.layout == "page_head":
        return buffer[:, :, :, layer].transpose(1, 2)
    return buffer[:, layer]


def _places(pool, slots):
    slots = slots.long().cpu()
    if pool.layout in ("layer_first", "page_first"):
        return (slots,)
    return slots // pool.page_size, slots % pool.page_size


def _device_buffers(pool, device_pool):
    """(keys, values), each a list of one tensor a layer; newer releases keep them in the pool."""
    if hasattr(pool, "device_k_buffers"):
        return pool.device_k_buffers, pool.device_v_buffers
    return device_pool.k_buffer, device_pool.v_buffer


def _backup_from_device_all_layer(self, device_pool, host_indices, device_indices, io_backend):
    for host, device in zip((self.k_buffer, self.v_buffer), _device_buffers(self, device_pool)):
        for layer in range(self.layer_num):
            _rows(self, host, layer)[_places(self, host_indices)] = device[layer][device_indices]


def _load_to_device_per_layer(self, device_pool, host_indices, device_indices, layer_id,
                              io_backend, **_more):
    for host, device in zip((self.k_buffer, self.v_buffer), _device_buffers(self, device_pool)):
        device[layer_id][device_indices] = _rows(self, host, layer_id)[_places(self, host_indices)]


def _without_pinning(init):
    """Pinning asks CUDA for it."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def call(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.arguments["pin_memory"] = False
        return init(*bound.args, **bound.kwargs)

    return call


_base = importlib.import_module("sglang.srt.mem_cache.pool_host.base")
_mha = importlib.import_module("sglang.srt.mem_cache.pool_host.mha").MHATokenToKVPoolHost
_base.HostKVCache.__init__ = _without_pinning(_base.HostKVCache.__init__)
# A server's 10 GB are more than many a laptop has, and the pools here take megabytes.
_base.HICACHE_HOST_MEMORY_RESERVE_BYTES = 256 << 20
_mha.backup_from_device_all_layer = _backup_from_device_all_layer
_mha.load_to_device_per_layer = _load_to_device_per_layer
