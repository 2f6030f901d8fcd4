# SPDX-License-Identifier: Apache-2.0
"""Host pools over torch tensors for core level, where SGLang's own cannot be imported.

The memory, its segments and guard bytes are those of the pools of ring 1; what differs is that
pages and slots are tensors, as a real SGLang expects.
"""
import pathlib
import sys

import torch

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "sglang"))

import host_pool  # noqa: E402

PAGE_SIZE = 4


class TorchPool(host_pool.HostPool):
    def _map_memory(self):
        super()._map_memory()
        self.kv_buffer = torch.from_numpy(self.kv_buffer)

    def slots(self, pages):
        return torch.from_numpy(super().slots(pages))

    def get_data_page(self, index, flat=True):
        return torch.from_numpy(super().get_data_page(int(index)))

    def get_dummy_flat_data_page(self):
        return torch.zeros(self.page_bytes, dtype=torch.uint8)

    def set_from_flat_data_page(self, index, data):
        super().set_from_flat_data_page(int(index), data.numpy())

    def page(self, page):
        """The bytes of one page."""
        return self.get_data_page(page * self.page_size).numpy().tobytes()


def kv(page_num=64, **shape):
    """Keys and values: two segments of unequal length."""
    return TorchPool("page_first", PAGE_SIZE, page_num, [1024, 768], dtype=torch.bfloat16,
                     layer_num=2, start_layer=0, end_layer=2, head_num=2, head_dim=8, v_head_dim=6,
                     **shape)


def mla(page_num=64):
    return TorchPool("page_first", PAGE_SIZE, page_num, [1152], dtype=torch.bfloat16, layer_num=2,
                     start_layer=0, end_layer=2, kv_cache_dim=72)


def indexer(page_num=64):
    return TorchPool("page_first", PAGE_SIZE, page_num, [264], dtype=torch.uint8, layer_num=2,
                     start_layer=0, end_layer=2)


def mamba(page_num=64):
    """One state a page: page size 1, and components of unequal length."""
    return TorchPool("page_first", 1, page_num, [640, 96, 32], dtype=torch.float32, layer_num=1,
                     start_layer=0, end_layer=1)


def swa(page_num=64):
    return TorchPool("page_first", PAGE_SIZE, page_num, [512, 512], dtype=torch.bfloat16,
                     layer_num=1, start_layer=0, end_layer=1, head_num=2, head_dim=8)
