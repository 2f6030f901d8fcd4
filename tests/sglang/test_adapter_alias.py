# SPDX-License-Identifier: Apache-2.0
"""No two configurations share a namespace: pairs whose fields are easily taken for equal."""
import sys
import types
import unittest
from unittest import mock

import host_pool
from harness import storage_config
from peercache import identity
from peercache.hostpool import HostPool
from peercache.registry import Registry
from peercache.settings import Settings


class SplitPool(host_pool.HostPool):
    """A page_head pool whose pages can be had in groups of heads."""

    def get_split_heads_page_buffer_meta(self, indices, groups):
        addresses, lengths = self.get_page_buffer_meta(indices)
        return ([address + group * (length // groups) for group in range(groups)
                 for address, length in zip(addresses, lengths)],
                [length // groups for _ in range(groups) for length in lengths])


def page_head(heads):
    return SplitPool("page_head", 4, 64, [128 * heads] * 2, layer_num=2, head_num=heads,
                     head_dim=8)


def fields(pool, form="pages", component="kv", extra=None, groups=1, **config):
    return identity.fields(storage_config(extra, **config), HostPool(pool, groups),
                           Settings(extra), form, component)


class RecordingNode:
    """Notes what namespaces are opened, where no page is moved."""

    def __init__(self):
        self.opened = []

    def namespace(self, named):
        self.opened.append(named)

    def has_rdma(self):
        return False


def side_fields(kv):
    """The namespace of a Mamba pool, which knows neither its layers nor the page size."""
    node = RecordingNode()
    registry = Registry(node, storage_config(None), Settings(None), None)
    registry.register_kv(kv)
    registry.register_side(host_pool.HostPool("page_first", 1, 8, [64, 32]), "mamba")
    return node.opened[-1]


def drafted(path, pool, component):
    """Fields in an engine that was started with this draft model."""
    arguments = types.SimpleNamespace(speculative_draft_model_path=path, model_path="m")
    module = types.SimpleNamespace(get_global_server_args=lambda: arguments)
    with mock.patch.dict(sys.modules, {"sglang.srt.server_args": module}):
        return fields(pool, component=component)


class NoAlias(unittest.TestCase):
    def test_flat_pages_of_split_heads(self):
        """A flat page holds all heads of its rank, also where pages are stored in groups."""
        self.assertNotEqual(fields(page_head(4), "flat", groups=2, tp_size=2),
                            fields(page_head(2), "flat", tp_size=2))

    def test_order_of_buffer_dtypes(self):
        """bfloat16 and float16 have equal sizes: which of a state's parts has which must show."""
        named = []
        for last in ("float16", "bfloat16"):
            pool = host_pool.HostPool("page_first", 1, 8, [64, 32, 32])
            pool.get_hybrid_pool_buffer = lambda last=last: [
                types.SimpleNamespace(dtype=dtype) for dtype in ("float16", "bfloat16", last)]
            named.append(fields(pool, component="mamba"))
        self.assertNotEqual(*named)

    def test_side_pool_beside_other_layers(self):
        """Pipeline stages that are cut elsewhere have as many Mamba layers, but other ones."""
        one, other = (side_fields(host_pool.mha()) for _ in range(2))
        self.assertEqual(one, other)
        self.assertNotEqual(one, side_fields(host_pool.mha(page_size=8)))
        later = host_pool.mha()
        later.start_layer, later.end_layer = 1, 3
        self.assertNotEqual(one, side_fields(later))

    def test_draft_model(self):
        """Draft models of one shape differ; one that is part of the model needs no name."""
        packed = host_pool.mha(layers=3, target_layer_num=2)
        for pool, component in ((host_pool.mha(), "draft"), (packed, "kv")):
            with self.subTest(component):
                self.assertNotEqual(drafted("a", pool, component), drafted("b", pool, component))
                self.assertEqual(drafted("m", pool, component), drafted(None, pool, component))
        self.assertEqual(drafted("a", host_pool.mha(), "kv"), drafted("b", host_pool.mha(), "kv"))

    def test_weights_id_zero(self):
        """The number 0 is an identity, and that of the text "0"."""
        none, number, text = (fields(host_pool.mha(), extra=extra)
                              for extra in ({}, {"weights_id": 0}, {"weights_id": "0"}))
        self.assertNotEqual(none, number)
        self.assertEqual(number, text)


if __name__ == "__main__":
    unittest.main()
