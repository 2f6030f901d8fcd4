# SPDX-License-Identifier: Apache-2.0
"""Stores with a fault, for the check of the suites themselves: their tests must fail with these."""
import ctypes
import io
import unittest
from unittest import mock

from peercache import store

import cluster


def third(count):
    """The places of every third of @count pages."""
    return range(2, count, 3)


class Broken(store.PeerCacheStore):
    """Remembers the pools, so that a fault can be put into their memory."""

    def __init__(self, *args):
        self.pools = {}
        super().__init__(*args)

    def register_mem_pool_host(self, pool):
        super().register_mem_pool_host(pool)
        self.pools["kv"] = pool

    def register_mem_host_pool_v2(self, pool, name):
        super().register_mem_host_pool_v2(pool, name)
        self.pools[str(getattr(name, "value", name))] = pool

    def batch_get_v1(self, keys, host_indices, extra_info=None):
        hits = super().batch_get_v1(keys, host_indices, extra_info)
        return self.spoil(self.pools["kv"], hits, host_indices)

    def batch_get_v2(self, transfers, extra_info=None):
        results = super().batch_get_v2(transfers, extra_info)
        return {transfer.name: self.spoil(self.pools.get(str(transfer.name.value)),
                                          results[transfer.name], transfer.host_indices)
                for transfer in transfers}

    def batch_get(self, keys, target_locations=None, target_sizes=None):
        return self.spoil_flat(super().batch_get(keys, target_locations, target_sizes))


class LosesEveryThirdPage(Broken):
    def spoil(self, pool, hits, host_indices):
        return [hit and place % 3 != 2 for place, hit in enumerate(hits)]

    def spoil_flat(self, tensors):
        return [None if place % 3 == 2 else tensor for place, tensor in enumerate(tensors)]


class CorruptsEveryThirdPage(Broken):
    """One bit of the last byte of the page."""

    def spoil(self, pool, hits, host_indices):
        if pool is None or not any(hits):
            return hits
        addresses, lengths = pool.get_page_buffer_meta(host_indices)
        segments = len(addresses) // len(hits)
        for place in third(len(hits)):
            last = (place + 1) * segments - 1
            ctypes.c_ubyte.from_address(addresses[last] + lengths[last] - 1).value ^= 1
        return hits

    def spoil_flat(self, tensors):
        for place in third(len(tensors)):
            if tensors[place] is not None:
                last = tensors[place].data_ptr() + tensors[place].nbytes - 1
                ctypes.c_ubyte.from_address(last).value ^= 1
        return tensors


def assert_noticed(test, case, methods):
    """Each of these tests of @case fails with each of the broken stores."""
    for kind in (LosesEveryThirdPage, CorruptsEveryThirdPage):
        for method in methods:
            with test.subTest(broken=kind.__name__, test=method), \
                    mock.patch.object(cluster, "STORE_CLASS", [__name__, kind.__name__]), \
                    mock.patch("sys.stdout", io.StringIO()):
                result = unittest.TestResult()
                case(method).run(result)
                test.assertEqual(result.testsRun, 1)
                test.assertTrue(result.failures, result.errors)
