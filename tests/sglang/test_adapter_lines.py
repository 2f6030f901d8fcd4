# SPDX-License-Identifier: Apache-2.0
"""(47) Every line that a storage call runs through fails once: no call raises, whatever it is.

Each answer must have the right type and length, and the next call must be as good as ever.
"""
import json
import logging
import unittest

import numpy

import harness
import host_pool
import line_faults
import side_pools
from answers import is_bools, is_count
from harness import AdapterCase
from peercache import _native
from sglang import _profile
from sglang.srt.mem_cache import hicache_storage

HYBRID = _profile.PROFILE["hybrid"]
# What no handler of the adapter's catches, and what some might.
ERRORS = (line_faults.Injected, TypeError, ValueError) if _profile.NAME == "new" else (
    line_faults.Injected,)

# What no storage call runs: construction and the registration of the KV pool may raise, and are
# there to do so; the rest runs when the module is imported.
NOT_STORAGE = {
    "__main__.py": ("",), "namesake.py": ("",),
    "regions.py": ("",),  # works where RDMA does: test_adapter_rdma.py
    "base.py": ("StandaloneStorage", "is_installed", "_storage_base", "import_first"),
    "settings.py": ("",),
    "metrics.py": ("Counters.__init__", "Counters.snapshot", "StorageStats.__init__"),
    "guard.py": ("ErrorLog.__init__", "never_raises"),
    "calls.py": ("Calls.__init__",),
    "identity.py": ("check_model_name", "check_node_id", "virtual_ranks", "lcm_of",
                    "shape_of"),
    "registry.py": ("Registry.__init__", "Registry.register_kv", "Registry.stop"),
    "component.py": ("Component.__init__", "Anchor.__init__", "FlatPages.__init__",
                     "Pages.__init__", "_table"),
    "hostpool.py": ("SlotList", "LogicalPool", "check_flat_pages", "is_logical",
                    "first_page_slots"),
    "hybrid.py": ("OwnTransferResult", "result_class", "_new_empty_result"),
    "store.py": ("PeerCacheStore.__init__", "PeerCacheStore.register_mem_pool_host",
                 "PeerCacheStore.close", "PeerCacheStore.on_host_pools_registered",
                 "_close_in_child"),
}
# Lines of other functions that only the KV pool's registration or other releases run.
NOT_STORAGE_LINES = {
    "identity.py": ('if component == "kv":', "return False", 'shape["head_num"] //= groups',
                    'ranks["tp"] = f"{virtual_rank[0]} of {virtual_rank[1]}"'),
    "hostpool.py": (
        'return f". With tp_lcm_size its heads are stored in {self.groups} groups"',),
    "hybrid.py": ("except TypeError:", "return result_class()(*values)"),
}


def is_transfers(**counts):
    return lambda answer: (type(answer) is dict and set(answer) == set(counts)
                           and all(is_bools(count)(answer[name]) for name, count in counts.items()))


def is_result(answer):
    return (type(answer) is hicache_storage.PoolTransferResult
            and is_count(3)(answer.kv_hit_pages) and type(answer.extra_pool_hit_pages) is dict)


def is_flag(answer):
    return type(answer) is bool


def is_none(answer):
    return answer is None


def bad_sides():
    """Side pools that are refused, each for another reason, by what is wrong with them."""
    def with_meta(meta):
        pool = host_pool.mha()
        pool.get_page_buffer_meta = lambda indices: meta
        return pool

    untold = host_pool.mha()
    untold.get_hybrid_pool_buffer = lambda: (_ for _ in ()).throw(NotImplementedError)
    return {
        "unified": host_pool.mha(layout="page_unified"), "no meta": with_meta(None),
        "odd meta": with_meta(([1], [2, 3])), "no bytes": with_meta(([1], [0])),
        "huge": with_meta(([1], [1 << 40])), "many": with_meta(([1] * 70000, [1] * 70000)),
        "no dtype": host_pool.mha(dtype=None), "a\0b": host_pool.mha(), "\ud800": host_pool.mha(),
        "untold buffers": untold, "no memory here": side_pools.dummy(),
        "many lengths": host_pool.HostPool("x", 4, 2, list(range(1, 200)), "uint8"),
    }


class Tensor:
    """A tensor with the methods that torch's have, on the host or on a device."""

    def __init__(self, array, device="cpu"):
        self._array, self.device = array, type("Device", (), {"type": device})()

    def is_contiguous(self):
        return True

    def data_ptr(self):
        return self._array.ctypes.data

    def numel(self):
        return self._array.size

    def element_size(self):
        return self._array.itemsize


class FullAtFirst:
    """A namespace whose pool has no room for a page in its first set."""

    def __init__(self, ns):
        self._ns = ns

    def __getattr__(self, name):
        return getattr(self._ns, name)

    def set(self, keys, *args):
        rc, outcomes, vias = self._ns.set(keys, *args)
        if len(keys) == 1:
            return rc, outcomes, vias
        return rc, bytes([_native.REFUSED_FULL]) + outcomes[1:], vias


class EveryLine(AdapterCase):
    def setUp(self):
        super().setUp()
        self.quiet()
        self.names = harness.keys(3)
        self.pool = host_pool.mha()
        self.slots = self.pool.slots(range(3))
        self.seen, self.tried = {}, set()

    def quiet(self):
        """The log of thousands of provoked faults is of no use, but making it must not fail."""
        logger = logging.getLogger("peercache")
        before = logger.handlers[:], logger.propagate
        logger.handlers, logger.propagate = [logging.NullHandler()], False
        self.addCleanup(lambda: (setattr(logger, "handlers", before[0]),
                                 setattr(logger, "propagate", before[1])))

    def store(self, pool=None, options=None, **config):
        """A store in a cluster of its own: what the scenarios before have cleared stays cleared."""
        self.cluster.close()
        self.cluster = harness.Cluster()
        made = self.cluster.store(pool or self.pool, options, **config)
        self.write(made, self.pool, self.names) if pool is None else None
        return made

    def try_every_line(self, made, scenarios):
        """@scenarios: {name: (call, check of the answer)}."""
        for name, (call, check) in scenarios.items():
            def fresh(call=call):
                made.errors._kinds.clear()  # the log's own lines are to be reached every time
                return call()

            self.assertTrue(check(fresh()), name)
            method = name.replace(",", " ").split()[0]
            for line in line_faults.lines_of(fresh):
                if (made, method, line) in self.tried:
                    continue  # with another question to the same method
                self.tried.add((made, method, line))
                self.seen[line] = name
                for error in ERRORS:
                    with self.subTest(name, line=line, error=error.__name__):
                        answer, was_reached = line_faults.with_fault(fresh, line, error)
                        self.assertTrue(was_reached)
                        self.assertTrue(check(answer), f"answered {answer!r}")
            self.assertTrue(check(fresh()), f"{name} afterwards")

    # --- the calls ----------------------------------------------------------------------------

    def zero_copy(self, made):
        names, slots = self.names, self.slots
        info = hicache_storage.HiCacheStorageExtraInfo(prefix_keys=["p"])
        return {
            "exists": (lambda: made.batch_exists(names, info), is_count(3)),
            "exists of nothing": (lambda: made.batch_exists([]), is_count(0)),
            "exists of nonsense": (lambda: made.batch_exists(7), is_count(0)),
            "get": (lambda: made.batch_get_v1(names, slots, info), is_bools(3)),
            "get of a miss": (lambda: made.batch_get_v1(["x", "y"], slots[:8]), is_bools(2)),
            "get of nothing": (lambda: made.batch_get_v1([], slots[:0]), is_bools(0)),
            "get, too few slots": (lambda: made.batch_get_v1(names, slots[:4]), is_bools(3)),
            "get without slots": (lambda: made.batch_get_v1(names, None), is_bools(3)),
            "set": (lambda: made.batch_set_v1(names, slots, info), is_bools(3)),
            "set, keywords": (lambda: made.batch_set_v1(keys=names, host_indices=slots),
                              is_bools(3)),
            "stats": (made.get_stats, lambda stats: stats is None or hasattr(stats, "backup_pgs")),
            "status": (made.status, lambda text: text is None or type(text) is str),
            "check_server": (made.check_server, is_flag),
            "warmup": (made.warmup, is_flag),
            "clear": (made.clear, is_none),
        }

    def copies(self, made):
        names = self.names
        page = self.pool.get_data_page(0)
        room = [self.pool.get_dummy_flat_data_page() for _ in names]
        odd = numpy.zeros((8, 8))[:, ::2]
        fixed = numpy.zeros(8, dtype=numpy.uint8)
        fixed.flags.writeable = False

        def is_pages(answer):
            return type(answer) is list and len(answer) == 3 and all(
                one is None or one is place for one, place in zip(answer, room))

        return {
            "copy set": (lambda: made.set(names[0], page), is_flag),
            "copy set of nothing": (lambda: made.set(names[0], None), is_flag),
            "copy set, scattered": (lambda: made.set(names[0], odd), is_flag),
            "copy batch_set": (lambda: made.batch_set(names, [page] * 3), is_flag),
            "copy exists": (lambda: made.exists(names[0]), is_flag),
            "copy batch_exists": (lambda: made.batch_exists(names), is_count(3)),
            "copy get": (lambda: made.get(names[0], room[0]),
                         lambda answer: answer is None or answer is room[0]),
            "copy get, read-only": (lambda: made.get(names[0], fixed), is_none),
            "copy batch_get": (lambda: made.batch_get(names, room), is_pages),
            "copy batch_get of nothing": (lambda: made.batch_get(names), is_pages),
            "copy batch_get, device": (lambda: made.batch_get(["k"], [Tensor(page, "cuda")]),
                                       lambda answer: answer == [None]),
            "copy set, torch": (lambda: made.set(names[1], Tensor(page)), is_flag),
        }

    def hybrid(self, made):
        names, policy = self.names, hicache_storage.PoolHitPolicy

        def one(name, keys, slots=None, rule=policy.ALL_PAGES):
            return hicache_storage.PoolTransfer(name, keys=keys, host_indices=slots,
                                                hit_policy=rule)

        moved = [one("indexer", names, self.slots), one("mamba", names[:1], numpy.arange(1)),
                 one("unknown", names, self.slots), one("swa", names, self.slots[:5]),
                 one("draft", None)]
        counts = {"indexer": 3, "mamba": 1, "unknown": 3, "swa": 3, "draft": 0}
        asked = [one("indexer", names), one("mamba", ["-"], rule=policy.TRAILING_PAGES),
                 one("swa", names, rule=None)]
        more = {"extra_info": hicache_storage.HiCacheStorageExtraInfo()}
        return {
            "set_v2": (lambda: made.batch_set_v2(moved), is_transfers(**counts)),
            "get_v2": (lambda: made.batch_get_v2(moved, **more), is_transfers(**counts)),
            "exists_v2": (lambda: made.batch_exists_v2(names, asked, None), is_result),
            "exists_v2, no pools": (lambda: made.batch_exists_v2(names), is_result),
            "exists_v2 of nothing": (lambda: made.batch_exists_v2([], asked), is_result),
            "exists_v2, other policy": (lambda: made.batch_exists_v2(
                names, [one("indexer", names, rule="block_groups")]), is_result),
            "register": (lambda: made.register_mem_host_pool_v2(side_pools.swa(), "swa"), is_none),
            "register a bad one": (lambda: made.register_mem_host_pool_v2(
                side_pools.block_scaled(), "bad"), is_none),
            **{f"register {name}": (lambda side=side, name=name:
                                    made.register_mem_host_pool_v2(side, name), is_none)
               for name, side in bad_sides().items()},
            "register a group": (lambda: made.register_mem_host_pool_v2(
                side_pools.HostPoolGroup(side_pools.swa()), "swa"), is_none),
            "register kv": (lambda: made.register_mem_host_pool_v2(self.pool, "kv"), is_none),
        }

    # --- the tests ----------------------------------------------------------------------------

    def plain_stores(self):
        made = self.store()
        self.try_every_line(made, self.zero_copy(made))
        self.try_every_line(made, self.copies(made))
        copying = self.store(self.pool, {"interface_v1": 0})
        self.try_every_line(copying, self.copies(copying))

    def hybrid_stores(self):
        made = self.store()
        vars(made._registry._config).update(host_layout="x")
        for name, side in (("indexer", side_pools.indexer()), ("mamba", side_pools.mamba()),
                           ("swa", side_pools.swa())):
            made.register_mem_host_pool_v2(side, name)
        self.try_every_line(made, self.hybrid(made))
        vars(made._registry._config).update(kv_cache_dtype="fp8_e5m2")
        self.try_every_line(made, {"register once more": (
            lambda: made.register_mem_host_pool_v2(self.pool, "draft"), is_none)})
        anchor = self.store(side_pools.LogicalAnchor())
        self.try_every_line(anchor, {**self.zero_copy(anchor), **self.hybrid(anchor)})
        replicated = self.store(host_pool.mla(), is_mla_model=True, tp_size=2)
        self.try_every_line(replicated, {
            f"register {name}": (lambda side=side, name=name:
                                 replicated.register_mem_host_pool_v2(side, name), is_none)
            for name, side in (("draft", self.pool), ("indexer", side_pools.indexer()))})
        split = self.store(host_pool.mha("page_head"), tp_size=2, tp_lcm_size=4,
                           should_split_heads=True)
        self.try_every_line(split, self.zero_copy(split))

    def stores_in_trouble(self):
        one_set = {"set, no room": (lambda: made.batch_set_v1(self.names, self.slots), is_bools(3))}
        for options in ({}, {"set_timeout": 0.02}):
            made = self.store(options=options)
            made._registry.kv.parts = [FullAtFirst(ns) for ns in made._registry.kv.parts]
            self.try_every_line(made, one_set)
        made._stats._metrics_class = None
        self.pool.segment_lengths.reverse()
        self.pool.segment_lengths[0] += 1
        self.try_every_line(made, {**one_set, "stats, no class": (made.get_stats, is_none)})
        self.pool = host_pool.mha()

    def closed_stores(self):
        made = self.store()
        made._node.close()  # the node is gone, and the store does not know
        scenarios = self.zero_copy(made)
        del scenarios["check_server"]  # it would wait for the discovery address each time
        self.try_every_line(made, scenarios)
        made.close()
        self.try_every_line(made, {**scenarios, **self.copies(made)})
        if HYBRID:
            self.try_every_line(made, self.hybrid(made))

    def lonely_store(self):
        self.cluster.close()
        self.cluster = harness.Cluster()
        limits = {"JOIN_TIMEOUT_S": 0.02, "JOIN_POLL_S": 0.005, "ASK_TIMEOUT_MS": 20}
        self.addCleanup(vars(harness.store_module).update,
                        {name: getattr(harness.store_module, name) for name in limits})
        vars(harness.store_module).update(limits)
        first = harness.Cluster()
        self.addCleanup(first.close)
        first.store()  # serves discovery, at its control port too
        port = json.loads(first.store().status())["node"]["control_port"]
        for address in ("192.0.2.1:31998", f"127.0.0.1:{port}", ""):
            made = self.cluster.store(options={"discovery_addr": address,
                                               "cluster_name": first.extra()["cluster_name"]})
            self.try_every_line(made, {f"check_server, {address or 'no address'}": (
                made.check_server, is_flag)})

    def many_sides(self):
        made = self.store()
        for i in range(17):
            made.register_mem_host_pool_v2(side_pools.swa(page_num=2), f"side {i}")

        def register():
            made._registry._has_many_parts = False
            made.register_mem_host_pool_v2(side_pools.swa(page_num=2), "one more")

        self.try_every_line(made, {"register one of many": (register, is_none)})

    def test_47_every_line(self):
        """(47) Every line fails; and none but those of NOT_STORAGE was left out."""
        self.plain_stores()
        if HYBRID:
            self.hybrid_stores()
            self.many_sides()
        self.stores_in_trouble()
        self.closed_stores()
        self.lonely_store()
        print(f"# {len(self.seen)} lines failed with {len(ERRORS)} exceptions each", flush=True)
        if HYBRID:
            left = [f"{name}:{line} {function}: {text}" for (name, line), (function, text)
                    in line_faults.all_lines().items()
                    if (name, line) not in self.seen and not is_exempt(name, function, text)]
            self.assertFalse(left, "\n" + "\n".join(left))


def is_exempt(name, function, text):
    return text in NOT_STORAGE_LINES.get(name, ()) or any(
        one in ("", function) or function.startswith(one + ".")
        for one in NOT_STORAGE.get(name, ()))


if __name__ == "__main__":
    unittest.main()
