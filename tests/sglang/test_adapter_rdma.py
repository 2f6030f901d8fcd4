# SPDX-License-Identifier: Apache-2.0
"""The adapter where nodes read by RDMA alone: the memory of SGLang's host pools is registered, pages
of every pool land in it, and nothing goes through the bounce buffer.

It runs over the model of a device (NATIVE_OVER_MODEL names the native module that has it inside), and
in the virtual machine over the device that RDMA_DEVICE names.
"""
import ctypes
import gc
import importlib.util
import json
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import unittest
import weakref
from unittest import mock

DEVICE = os.environ.get("RDMA_DEVICE")
NATIVE = os.environ.get("NATIVE_OVER_MODEL")


def package_over_model():
    """A folder with the package as it was built, but for the native module."""
    folder = tempfile.TemporaryDirectory()
    package = pathlib.Path(folder.name) / "peercache"
    package.mkdir()
    for source in pathlib.Path(importlib.util.find_spec("peercache").origin).parent.glob("*.py"):
        shutil.copy(source, package)
    (package / "_native.abi3.so").symlink_to(NATIVE)
    sys.path.insert(0, folder.name)
    return folder


if not DEVICE and not NATIVE:
    raise unittest.SkipTest("this build has no model of an RDMA device: cmocka is missing")
if not DEVICE:
    FOLDER = package_over_model()

import harness
import host_pool
import numpy
import line_faults
import side_pools
import test_adapter_registration as pools
from harness import AdapterCase
from peercache import _native, regions as regions_module
from sglang.srt.mem_cache import hicache_storage
from waiting import wait_for

PAGES = 5
CLOSES = 3 if DEVICE else 20
BOUNCED = "peercache_rdma_pages_bounced_total"
REGISTERED = "peercache_rdma_region_bytes"


class Veiled:
    """A pool that gives addresses and does not show the memory in which they are."""

    def __init__(self, pool):
        self._pool = pool

    def __getattr__(self, name):
        if name in ("get_hybrid_pool_buffer", "_pool"):
            raise AttributeError(name)
        return getattr(self._pool, name)


def memory_of(*given):
    """How many bytes are behind these pools: each of them is one mapping."""
    return sum(pool.kv_buffer.nbytes for pool in given if pool.kv_buffer is not None)


class RdmaCase(AdapterCase):
    """Two stores on two nodes that know each other: one sets, the other gets."""

    def setUp(self):
        super().setUp()
        self.writer, self.reader = self.open(), self.open()
        for made in (self.writer, self.reader):
            wait_for(lambda made=made: harness.alive_members(made) == 2, "the nodes to meet")

    def open(self, **config):
        options = {"protocol": "rdma", "global_segment_size": "32mb",
                   **({"device_names": DEVICE} if DEVICE else {})}
        return self.cluster.store(options=options, **config)

    def count(self, name, made=None):
        return json.loads((made or self.reader).status())["counters"][name]

    def await_registered(self, len_bytes, made=None):
        """The pool before may have been as large, so the thread's end is waited for too."""
        regions = (made or self.reader)._registry._regions
        wait_for(lambda: regions._thread is None, "the end of registering")
        wait_for(lambda: self.count(REGISTERED, made) == len_bytes,
                 f"{len_bytes} bytes to be registered")

    def register(self, make):
        """A pool of each of the two; that of the reader is registered when this returns."""
        given = [side_pools.HostPoolGroup(make()) if make is pools.KV_POOLS["group"] else make()
                 for _ in range(2)]
        self.writer.register_mem_pool_host(given[0])
        self.reader.register_mem_pool_host(given[1])
        source, target = (getattr(pool, "anchor_entry", pool) for pool in given)
        source, target = (getattr(pool, "host_pool", pool) for pool in (source, target))
        self.await_registered(memory_of(target))
        return source, target

    def read_all(self, made, pool, names):
        """Every byte of every hit is compared.  On a busy machine a device may be given up for a
        moment, and its pages are misses then."""
        wait_for(lambda: all(self.read(made, pool, names)), "every page")

    def assert_landed(self, made=None):
        """All that came came by RDMA, into the pools' own memory."""
        made = made or self.reader
        ways = made.counters.snapshot().get("get", {}).get("via", {})
        self.assertEqual(set(ways) - {"none"}, {"rdma"})
        self.assertEqual(self.count(BOUNCED, made), 0)


class Landing(RdmaCase):
    def test_every_kv_pool(self):
        for name, make in pools.KV_POOLS.items():
            with self.subTest(name):
                source, target = self.register(make)
                names = harness.keys(PAGES, salt=len(name))
                self.assertEqual(self.write(self.writer, source, names), [True] * PAGES)
                self.read_all(self.reader, target, names)
        self.assert_landed()

    @unittest.skipUnless(pools.HYBRID, "this release has no hybrid interface")
    def test_every_side_pool(self):
        _, kv = self.register(host_pool.mha)
        for salt, (name, make) in enumerate(pools.SIDE_POOLS.items()):
            with self.subTest(name):
                source, target = make(), make()
                self.writer.register_mem_host_pool_v2(source, "side")
                self.reader.register_mem_host_pool_v2(target, "side")
                self.await_registered(memory_of(kv, target))
                names = harness.keys(PAGES, salt=salt)
                slots = source.slots(range(PAGES))
                transfer = hicache_storage.PoolTransfer("side", keys=names, host_indices=slots)
                source.fill(range(PAGES), harness.seeds(names))
                self.assertEqual(self.writer.batch_set_v2([transfer]), {"side": [True] * PAGES})
                target.poison(range(PAGES))
                wait_for(lambda: all(self.reader.batch_get_v2([transfer])["side"]), "every page")
                self.assertEqual(target.wrong_bytes(range(PAGES), harness.seeds(names)), 0)
                self.assertTrue(target.guards_intact())
        self.assert_landed()

    def test_groups_of_heads(self):
        """A rank of two reads what an engine of four ranks would have stored."""
        config = {"tp_size": 2, "tp_rank": 1, "tp_lcm_size": 4, "should_split_heads": True}
        made = [self.open(**config) for _ in range(2)]
        given = [host_pool.mha("page_head", heads=4) for _ in made]
        for one, pool in zip(made, given):
            one.register_mem_pool_host(pool)
            wait_for(lambda one=one: harness.alive_members(one) == 4, "the nodes to meet")
        self.await_registered(memory_of(given[1]), made[1])
        names = harness.keys(PAGES)
        self.assertEqual(self.write(made[0], given[0], names), [True] * PAGES)
        self.read_all(made[1], given[1], names)
        self.assert_landed(made[1])

    def test_a_batch_beyond_the_bounce_buffer(self):
        """18 MiB with one call, of which a block of the bounce buffer takes 8."""
        source, target = self.register(
            lambda: host_pool.mha(heads=32, head_dim=128, layers=18, page_num=16))
        names = harness.keys(16)
        self.assertGreater(16 * target.page_bytes, 16 << 20)
        self.assertEqual(self.write(self.writer, source, names), [True] * 16)
        self.read_all(self.reader, target, names)
        self.assert_landed()


class Registered(RdmaCase):
    def test_a_pool_that_takes_the_place_of_another(self):
        """The registration of the first ends, and its memory is let go of."""
        first, second = host_pool.mha(page_num=32), host_pool.mha(page_num=48)
        memory = weakref.ref(first.kv_buffer)
        self.reader.register_mem_pool_host(first)
        self.await_registered(memory_of(first))
        self.reader.register_mem_pool_host(second)
        self.await_registered(memory_of(second))
        del first
        gc.collect()
        self.assertIsNone(memory())
        side = side_pools.swa()
        self.reader.register_mem_host_pool_v2(side, "swa")
        self.await_registered(memory_of(second, side))
        with self.assertLogs("peercache", "WARNING"):
            self.reader.register_mem_host_pool_v2(side_pools.dummy(), "swa")
        self.await_registered(memory_of(second))

    def test_a_registration_holds_what_it_was_given(self):
        tensor = numpy.zeros(4096, dtype=numpy.uint8)
        memory = weakref.ref(tensor)
        region = _native.Region(self.reader._node, tensor.ctypes.data, 4096, tensor)
        del tensor
        self.assertEqual(self.count(REGISTERED), 4096)
        self.assertIsNotNone(memory())
        region.release()
        region.release()
        self.assertEqual(self.count(REGISTERED), 0)
        self.assertIsNone(memory())

    def test_memory_stays_until_the_store_is_closed(self):
        pool = host_pool.mha()
        memory, registered = weakref.ref(pool.kv_buffer), memory_of(pool)
        self.reader.register_mem_pool_host(pool)
        self.await_registered(registered)
        self.reader.mem_pool_host = None
        self.reader._registry.kv.pool = None
        del pool
        gc.collect()
        self.assertIsNotNone(memory())
        self.assertEqual(self.count(REGISTERED), registered)
        self.reader.close()
        gc.collect()
        self.assertIsNone(memory())

    def test_close_beside_registrations(self):
        """Whatever the thread is about: it ends, and holds nothing."""
        for _ in range(CLOSES):
            made, pool = self.open(), host_pool.mha()
            memory = weakref.ref(pool.kv_buffer)
            made.register_mem_pool_host(pool)
            made.close()
            made.mem_pool_host = None
            del pool
            wait_for(lambda: gc.collect() is not None and memory() is None, "the memory's end")
        wait_for(lambda: not [thread for thread in threading.enumerate()
                              if thread.name == "peercache-regions"], "the threads' end")

    def test_a_pool_that_does_not_name_its_memory(self):
        """It is told, and works on."""
        source, target = host_pool.mha(), host_pool.mha()
        with self.assertLogs("peercache", "WARNING") as logs:
            self.writer.register_mem_pool_host(Veiled(source))
            self.reader.register_mem_pool_host(Veiled(target))
            wait_for(lambda: len(logs.output) == 2, "a word of both")
        self.assertIn("'kv' does not name the memory", logs.output[1])
        names = harness.keys(PAGES)
        self.write(self.writer, source, names)
        self.read_all(self.reader, target, names)
        self.assertGreaterEqual(self.count(BOUNCED), PAGES)

    @unittest.skipIf(DEVICE, "the limit does not hold the root of the virtual machine")
    def test_memory_that_cannot_be_registered(self):
        """The limit of locked memory: one line that says how it is raised, and the pages bounce."""
        source, target = host_pool.mha(), host_pool.mha()
        self.writer.register_mem_pool_host(source)
        self.await_registered(memory_of(source), self.writer)
        with self.assertLogs("peercache", "WARNING") as logs:
            ctypes.CDLL(NATIVE).over_model_refuse_memory()
            self.reader.register_mem_pool_host(target)
            wait_for(lambda: logs.output, "a word of it")
        self.assertIn("ulimit -l", logs.output[0])
        names = harness.keys(PAGES)
        self.write(self.writer, source, names)
        self.read_all(self.reader, target, names)
        self.assertGreaterEqual(self.count(BOUNCED), PAGES)
        self.assertEqual(len(logs.output), 1)


class OwnThread:
    """A thread that is over when it has been started, so that its lines are those of the call."""

    def __init__(self, target, **_):
        self.start = target

    def is_alive(self):
        return False


class EveryLine(RdmaCase):
    def test_47_every_line_of_a_registration(self):
        """(47) Whatever fails, nothing is raised, and the next registration is as good as ever."""
        self.reader.register_mem_pool_host(host_pool.mha())
        regions, tried = self.reader._registry._regions, 0
        wait_for(lambda: regions._thread is None, "the thread to end")
        kv = self.count(REGISTERED)

        def register():
            side = side_pools.swa()
            self.assertIsNone(self.reader.register_mem_host_pool_v2(side, "swa"))
            return side

        with mock.patch.object(regions_module.threading, "Thread", OwnThread), \
                self.assertLogs("peercache", "WARNING"):
            register()
            for line in line_faults.lines_of(register):
                if line[0] != "regions.py":
                    continue
                tried += 1
                with self.subTest(line=line):
                    self.assertTrue(line_faults.with_fault(register, line, ValueError)[1])
                    side = register()
                    self.assertEqual(self.count(REGISTERED) - kv, memory_of(side))
        self.assertGreater(tried, 40)


class Unregistered(AdapterCase):
    def test_without_rdma_nothing_is_looked_at(self):
        made = self.cluster.store(host_pool.mha(), {"protocol": "tcp"})
        regions = made._registry._regions
        self.assertFalse(made._node.has_rdma())
        with self.assertNoLogs("peercache", "WARNING"):
            regions.put("kv", object())
        self.assertEqual((regions._wanted, regions._held), ({}, {}))

    @unittest.skipIf(DEVICE, "shown over the model")
    def test_the_copy_interface_pins_nothing(self):
        """Its pages land in tensors of SGLang's, so the pool would be pinned for nothing."""
        made = self.cluster.store(host_pool.mha(), {"interface_v1": 0})
        self.assertTrue(made._node.has_rdma())
        self.assertEqual(made._registry._regions._held, {})
        side = side_pools.swa()
        made.register_mem_host_pool_v2(side, "swa")
        wait_for(lambda: json.loads(made.status())["counters"][REGISTERED] == side.kv_buffer.nbytes,
                 "the side pool to be registered")


if __name__ == "__main__":
    unittest.main()
