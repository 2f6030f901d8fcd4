# SPDX-License-Identifier: Apache-2.0
"""What the adapter's tests share: clusters on free ports, stores, peers in other processes."""
import contextlib
import importlib.util
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "shim")]
sys.path.append(str(HERE.parents[1] / "demo"))

try:
    import numpy  # noqa: F401
except ImportError as error:
    raise unittest.SkipTest(f"numpy cannot be imported: {error}; tools/install-packages installs "
                            "it") from error
if importlib.util.find_spec("peercache") is None:
    raise unittest.SkipTest("the adapter is not built; build it and set PYTHONPATH=<build>/python")

# A package that is there and cannot be imported is a failure, not a reason to skip.
import peercache._native  # noqa: F401

import host_pool
import simulator
from ports import free_port
from peercache import store as store_module
from sglang import _profile
from sglang.srt.mem_cache import hicache_storage
from waiting import wait_for

MODEL = "test/model-7b"
# No call may take longer than its deadline (1 s unless an option says otherwise); a machine with
# two cores and seven other test programs is allowed to be late by this much.
CALL_LIMIT_S = 4.0
# How long a peer may take to start.
START_LIMIT_S = 20.0


def keys(count, salt=0, page_size=4):
    """A chain of SGLang's page hashes."""
    chain, prior = [], None
    for page in range(count):
        tokens = range(page * page_size, (page + 1) * page_size)
        prior = hicache_storage.page_hash(prior, (salt, *tokens))
        chain.append(prior)
    return chain


def seeds(names):
    return [host_pool.seed_of(name) for name in names]


def storage_config(extra, **values):
    """A config of the profile; fields that its release does not have are left out."""
    values.setdefault("model_name", MODEL)
    known = {name for name, _ in _profile.PROFILE["config_fields"]}
    return hicache_storage.HiCacheStorageConfig(
        extra_config=extra, **{name: value for name, value in values.items() if name in known})


class Cluster:
    """One discovery address, and everything that was started with it."""

    def __init__(self):
        self.address = f"127.0.0.1:{free_port()}"
        self.stores, self.peers = [], []

    def extra(self, **options):
        # Heartbeats are frequent, so that members know each other soon.
        return {"discovery_addr": self.address, "cluster_name": f"test-{os.getpid()}",
                "global_segment_size": "64mb", "interface_v1": 1, "heartbeat_interval": 0.25,
                **options}

    def store(self, pool=None, options=None, **config):
        made = store_module.PeerCacheStore(storage_config(self.extra(**(options or {})), **config),
                                           {})
        self.stores.append(made)
        if pool is not None:
            made.register_mem_pool_host(pool)
        return made

    def peer(self, options=None, **pool):
        peer = Peer(self.extra(**(options or {})), pool)
        self.peers.append(peer)
        return peer

    def close(self):
        for peer in self.peers:
            peer.kill()
        for made in self.stores:
            made.close()


class Peer:
    """A store in another process (peer_process.py), driven line by line."""

    def __init__(self, extra, pool):
        job = json.dumps({"extra": extra, "pool": pool, "model": MODEL})
        self.process = subprocess.Popen([sys.executable, str(HERE / "peer_process.py"), job],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def _answer(self):
        ready, _, _ = select.select([self.process.stdout], [], [], START_LIMIT_S)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise AssertionError("the peer process gave no answer")
        return json.loads(line)

    def ask(self, call, names=()):
        self.process.stdin.write(json.dumps({"call": call, "keys": list(names)}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def signal(self, number):
        os.kill(self.process.pid, number)
        if number == signal.SIGSTOP:
            wait_for(self._has_stopped, "the peer to stop")

    def _has_stopped(self):
        """A thread that was in the kernel may run on for a moment after kill() has returned."""
        states = [(task / "stat").read_text().rpartition(")")[2].split()[0]
                  for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()]
        return all(state == "T" for state in states)

    def kill(self):
        with contextlib.suppress(OSError):
            self.signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def alive_members(made):
    status = json.loads(made.status() or "{}")
    return sum(member.get("state") == "alive" for member in status.get("members", []))


class AdapterCase(unittest.TestCase):
    """A test with a cluster of its own."""

    def setUp(self):
        self.cluster = Cluster()
        self.addCleanup(lambda: self.cluster.close())

    def controller(self, made, pool, sides=(), kind=simulator.Controller, **more):
        """A simulated controller over a store; a fault that it notices fails the test."""
        controller = kind(made, pool, sides, attached=made.mem_pool_host is not None, **more)
        self.addCleanup(lambda: self.assertEqual(controller.faults, []))
        return controller

    def write(self, made, pool, names, pages=None):
        """Fills pages of the pool with what these keys must hold, and stores them."""
        pages = list(range(len(names))) if pages is None else pages
        pool.fill(pages, seeds(names))
        return made.batch_set_v1(names, pool.slots(pages))

    def read(self, made, pool, names, pages=None):
        """Reads into poisoned pages, and checks every byte of every hit."""
        pages = list(range(len(names))) if pages is None else pages
        pool.poison(pages)
        results = made.batch_get_v1(names, pool.slots(pages))
        self.assert_results(results, len(names))
        for page, name, hit in zip(pages, names, results):
            if hit:
                self.assertEqual(pool.wrong_bytes([page], seeds([name])), 0)
        self.assertTrue(pool.guards_intact())
        return results

    def assert_results(self, results, count):
        """Exactly one bool a key: older releases of SGLang do not survive anything else."""
        self.assertIs(type(results), list)
        self.assertEqual(len(results), count)
        self.assertTrue(all(type(result) is bool for result in results))

    @contextlib.contextmanager
    def within_deadline(self, limit_s=CALL_LIMIT_S):
        started = time.monotonic()
        yield
        self.assertLess(time.monotonic() - started, limit_s)
