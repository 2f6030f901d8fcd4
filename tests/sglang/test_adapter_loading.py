# SPDX-License-Identifier: Apache-2.0
"""Loading, construction and closing; numbers as in the contract's checklist."""
import gc
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import harness
import host_pool
from harness import AdapterCase, storage_config
from peercache import _native
from peercache.store import PeerCacheStore
from sglang.srt.mem_cache import hicache_storage
from sglang.srt.mem_cache.storage import backend_factory

LOADING = {"backend_name": "peercache", "module_path": "peercache.store",
           "class_name": "PeerCacheStore"}


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def threads():
    return len(os.listdir("/proc/self/task"))


def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class WithoutSglang(unittest.TestCase):
    def told(self, **files):
        """What `python3 -m peercache` says beside these modules of a package sglang."""
        package = os.path.join(self.enterContext(tempfile.TemporaryDirectory()), "sglang")
        for name, text in files.items():
            os.makedirs(package, exist_ok=True)
            with open(os.path.join(package, f"{name}.py"), "w", encoding="utf-8") as module:
                module.write(text)
        path = os.pathsep.join([os.path.dirname(package), os.environ["PYTHONPATH"]])
        return subprocess.run([sys.executable, "-m", "peercache"], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": path},
                              check=True).stdout

    def test_01_not_installed(self):
        self.assertIn("SGLang is not installed", self.told())

    def test_01_folder_of_that_name(self):
        self.assertIn("SGLang is not installed", self.told(notes=""))

    def test_01_installed_and_broken(self):
        """(1) The first error is the cause: at the next try SGLang's modules are half there."""
        said = self.told(environ="", __init__="import sglang.environ\nraise RuntimeError('no nms')\n")
        self.assertIn("RuntimeError: no nms", said)
        self.assertIn("SGLang is installed for this Python, but cannot be imported", said)


class Loading(AdapterCase):
    def test_01_subclass_with_all_methods(self):
        """(1) A subclass of SGLang's class, with nothing abstract left."""
        self.assertTrue(issubclass(PeerCacheStore, hicache_storage.HiCacheStorage))
        self.assertEqual(PeerCacheStore.__abstractmethods__, frozenset())

    def test_02_factory(self):
        """(2) The dynamic factory passes (config, {}) and registers afterwards."""
        extra = self.cluster.extra(**LOADING)
        made = backend_factory.create_dynamic(storage_config(extra))
        self.cluster.stores.append(made)
        self.controller(made, host_pool.mha())
        self.assertEqual(made.batch_exists(harness.keys(1), None), 0)

    def test_03_more_arguments(self):
        """(3) Arguments that some releases wanted to add do not matter, and a pool is taken."""
        config, pool = storage_config(self.cluster.extra()), host_pool.mha()
        for args, more in (((), {}), (({},), {}), (({}, pool), {}), (({}, pool, None, 7), {}),
                           (({},), {"mem_pool_host": pool, "something": 1}),
                           ((), {"kwargs": {}})):
            with self.subTest(args=len(args), more=sorted(more)):
                made = PeerCacheStore(config, *args, **more)
                self.cluster.stores.append(made)
                has_pool = pool in args or pool in more.values()
                self.assertEqual(made.mem_pool_host is pool, has_pool)
        named = PeerCacheStore(storage_config=config, kwargs={})
        self.cluster.stores.append(named)

    def test_04_foreign_keys(self):
        """(4) Foreign keys are legal; a near miss of ours is a warning that names it."""
        foreign = {"some_other_backend": {"a": 1}, "prefetch_threshold": 16,
                   "prefetch_timeout_max": 3, "allocator": "shm"}
        with self.assertNoLogs("peercache", logging.WARNING):
            self.cluster.store(options=foreign)
        with self.assertLogs("peercache", logging.WARNING) as logs:
            self.cluster.store(options={"get_timout": 1})
        self.assertIn("get_timeout", logs.output[0])

    def test_04_no_extra_config(self):
        """(4) extra_config None is an empty one; the environment is below it."""
        with environment(PEERCACHE_DISCOVERY_ADDR=self.cluster.address,
                         PEERCACHE_GLOBAL_SEGMENT_SIZE="32mb"):
            made = PeerCacheStore(storage_config(None), {})
            self.cluster.stores.append(made)
            self.assertEqual(made._settings.effective["discovery_addr"], self.cluster.address)
        with environment(PEERCACHE_DISCOVERY_ADDR="127.0.0.1:1"):
            made = self.cluster.store()
            self.assertEqual(made._settings.effective["discovery_addr"], self.cluster.address)

    def test_05_bad_config(self):
        """(5) A bad value is a ValueError with the option, the value and what is accepted."""
        for name, value, accepted in (("get_timeout", "soon", "0.5"),
                                      ("global_segment_size", "much", "512mb"),
                                      ("protocol", "pigeon", "tcp"),
                                      ("get_timeout", {"a": 1}, "numbers")):
            with self.subTest(name), self.assertRaises(ValueError) as caught:
                self.cluster.store(options={name: value})
            self.assertIn(name, str(caught.exception))
            self.assertIn(str(value), str(caught.exception))
            self.assertIn(accepted, str(caught.exception))
        with self.assertRaisesRegex(ValueError, "storage_config"):
            PeerCacheStore()
        with self.assertRaisesRegex(ValueError, "dictionary"):
            PeerCacheStore(storage_config("discovery_addr=x"), {})

    def test_05_bad_environment(self):
        """(5) So is one in the environment."""
        with environment(PEERCACHE_GET_TIMEOUT="soon"), \
                self.assertRaisesRegex(ValueError, "environment.*soon"):
            self.cluster.store()

    def test_05_empty_model_name(self):
        """(5)(34) Without a model's name all models would share their pages."""
        for name in (None, "", "  "):
            with self.subTest(name), self.assertRaisesRegex(ValueError, "model_name"):
                self.cluster.store(model_name=name)

    def test_06_bare_config(self):
        """(6) A config with nothing but the oldest fields."""
        bare = type("Config", (), {"tp_rank": 0, "tp_size": 1, "is_mla_model": False,
                                   "model_name": "m", "extra_config": self.cluster.extra()})()
        made = PeerCacheStore(bare, {})
        self.cluster.stores.append(made)
        made.register_mem_pool_host(host_pool.mha())

    def test_interface_v1_missing_is_said_once(self):
        with self.assertLogs("peercache", logging.WARNING) as logs:
            self.cluster.store(options={"interface_v1": 0})
        self.assertEqual(sum("interface_v1" in line for line in logs.output), 1)


class LifeCycle(AdapterCase):
    def test_07_two_instances(self):
        """(7) Two instances in one process are two members."""
        pool = host_pool.mha()
        first, second = self.cluster.store(pool), self.cluster.store(pool)
        harness.wait_for(lambda: harness.alive_members(first) == 2, "two members")
        names = harness.keys(5)
        self.assertEqual(self.write(first, pool, names), [True] * 5)
        self.assertEqual(self.read(second, pool, names), [True] * 5)

    def test_07_construct_and_close_again(self):
        """(7) A hundred lives leave no descriptor, no thread and no memory behind."""
        pool = host_pool.mha()
        names = harness.keys(3)

        def one_life():
            made = self.cluster.store(pool, options={"global_segment_size": "16mb"})
            self.cluster.stores.remove(made)
            self.write(made, pool, names)
            made.close()

        for _ in range(5):
            one_life()
        gc.collect()
        before = open_descriptors(), threads(), resident_bytes()
        for _ in range(100):
            one_life()
        gc.collect()
        self.assertLessEqual(open_descriptors(), before[0])
        self.assertLessEqual(threads(), before[1])
        # The heap moves a little; a leaked pool would be 1.6 GB.
        self.assertLess(resident_bytes() - before[2], 32 << 20)

    def test_07_dropped_without_close(self):
        before = open_descriptors()
        made = PeerCacheStore(storage_config(self.cluster.extra()), {})
        made.register_mem_pool_host(host_pool.mha())
        del made
        gc.collect()
        self.assertLessEqual(open_descriptors(), before)

    def test_08_close(self):
        """(8) Twice, on a half-built object, and quickly while idle; misses afterwards."""
        PeerCacheStore.__new__(PeerCacheStore).close()
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        names = harness.keys(3)
        self.write(made, pool, names)
        started = time.monotonic()
        made.close()
        # A close that says goodbye to its peers; the contract's limit is one second while idle.
        self.assertLess(time.monotonic() - started, 1.0)
        made.close()
        self.assert_all_miss(made, pool, names)

    def test_08_half_built(self):
        """(8) An object whose constructor failed, and one that has no pool yet."""
        half = PeerCacheStore.__new__(PeerCacheStore)
        self.assert_all_miss(half, host_pool.mha(), harness.keys(3))
        self.assert_all_miss(self.cluster.store(), host_pool.mha(), harness.keys(3))

    def assert_all_miss(self, made, pool, names):
        slots = pool.slots(range(len(names)))
        page = pool.get_data_page(0)
        self.assertEqual(made.batch_exists(names), 0)
        self.assertEqual(made.batch_get_v1(names, slots), [False] * len(names))
        self.assertEqual(made.batch_set_v1(names, slots), [False] * len(names))
        self.assertIs(made.exists(names[0]), False)
        self.assertIsNone(made.get(names[0], page))
        self.assertIs(made.set(names[0], page), False)
        self.assertEqual(made.batch_get(names, [page] * len(names)), [None] * len(names))
        self.assertIs(made.batch_set(names, [page] * len(names)), False)
        made.clear()
        made.get_stats()

    def test_check_server_and_warmup(self):
        """What an operator's script asks: does the cluster answer, and do pages come back."""
        limit_s = harness.store_module.JOIN_TIMEOUT_S
        self.addCleanup(setattr, harness.store_module, "JOIN_TIMEOUT_S", limit_s)
        harness.store_module.JOIN_TIMEOUT_S = 0.1
        made = self.cluster.store()
        harness.wait_for(made.check_server, "the discovery address")
        self.assertIs(made.warmup(), True)
        made.register_mem_pool_host(host_pool.mha())
        self.assertIs(made.warmup(), True)
        made.close()
        self.assertIs(made.check_server(), False)
        self.assertIs(made.warmup(), False)
        self.cluster.address = "192.0.2.1:31998"
        alone = self.cluster.store()
        self.assertIs(alone.check_server(), False)
        self.assertIs(alone.warmup(), True)

    def why_not_joined(self, **options):
        """What a store says that does not come into a cluster."""
        limit_s = harness.store_module.JOIN_TIMEOUT_S
        self.addCleanup(setattr, harness.store_module, "JOIN_TIMEOUT_S", limit_s)
        harness.store_module.JOIN_TIMEOUT_S = 0.1
        made = self.cluster.store(options=options)
        with self.assertLogs("peercache", logging.WARNING) as logs:
            self.assertIs(made.check_server(), False)
        return " ".join(logs.output)

    def test_check_server_says_why(self):
        """Another cluster, another service, nobody, no address: each with what to change."""
        first, second = self.cluster.store(), self.cluster.store()
        for made in (first, second):
            harness.wait_for(made.check_server, "the discovery address")
        said = self.why_not_joined(cluster_name="other")
        for word in (self.cluster.address, f"'test-{os.getpid()}'", "'other'", "cluster_name"):
            self.assertIn(word, said)
        port = json.loads(second.status())["node"]["control_port"]
        said = self.why_not_joined(discovery_addr=f"127.0.0.1:{port}")
        self.assertIn("is it the port of discovery?", said)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            # An address of this host that is taken: the node cannot serve discovery there itself.
            said = self.why_not_joined(discovery_addr=f"127.0.0.1:{silent.getsockname()[1]}")
        self.assertIn("does not answer in time", said)
        self.assertIn("no discovery_addr is given", self.why_not_joined(discovery_addr=""))

    def test_status_and_native_close(self):
        """The binding alone: a closed node answers with an error, never with a crash."""
        node = _native.Node({"discovery_addr": self.cluster.address,
                             "global_segment_size": "16mb"})
        ns = node.namespace(["a=1"])
        node.close()
        node.close()
        self.assertEqual(ns.exists(["k"])[1], b"")
        self.assertLess(ns.exists(["k"])[0], 0)
        self.assertLess(ns.clear(10), 0)
        self.assertIsNone(node.status())
        with self.assertRaises(_native.PeerCacheError):
            node.namespace(["a=1"])


class environment:
    """Sets environment variables for a while."""

    def __init__(self, **values):
        self.values = values

    def __enter__(self):
        self.before = dict(os.environ)
        os.environ.update(self.values)

    def __exit__(self, *_):
        os.environ.clear()
        os.environ.update(self.before)


if __name__ == "__main__":
    unittest.main()
