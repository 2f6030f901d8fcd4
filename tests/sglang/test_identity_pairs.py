# SPDX-License-Identifier: Apache-2.0
"""(34) No two configurations share a page: all pairs of a few hundred, by fields and by digest.

Each configuration is registered as a store registers it; what the adapter asks of the node is noted
on the way, and the node is a real one, so that its digests are tried out as well.
"""
import ctypes
import dataclasses
import itertools
import unittest

import harness
import host_pool
import side_pools
from harness import AdapterCase, storage_config
from peercache import _native
from peercache.calls import Calls
from peercache.guard import ErrorLog
from peercache.metrics import Counters
from peercache.registry import Registry
from peercache.settings import Settings
from sglang import _profile

KNOWN_FIELDS = {name for name, _ in _profile.PROFILE["config_fields"]}


@dataclasses.dataclass(frozen=True)
class Case:
    """One configuration: of SGLang, of the extra config, of the KV pool, and side pools' names."""
    config: tuple = ()
    extra: tuple = ()
    pool: tuple = ()
    kind: str = "mha"
    sides: tuple = ()

    def and_(self, other):
        kind = other.kind if other.kind != "mha" else self.kind
        return Case(self.config + other.config, self.extra + other.extra, self.pool + other.pool,
                    kind, self.sides + other.sides)


def config(**values):
    return Case(config=tuple(values.items()))


def extra(**values):
    return Case(extra=tuple(values.items()))


def pool(kind="mha", **values):
    return Case(pool=tuple(values.items()), kind=kind)


PLAIN = Case(config=(("model_name", "m"),))
# Composed and decomposed, alike to the eye; and what looks like another field in most encodings.
TEXTS = ("M", "m ", "é", "e\u0301", "\u4e2d\u6587", "m\U0001f600", "m\u200b", "m\ufeff")
INJECTIONS = tuple(f"m{separator}{label}={value}"
                   for separator in ("\n", ",", ";", "|", "\x1f", "\t", "', '", "/", "&", " ")
                   for label, value in (("tag", "x"), ("weights_id", "x"), ("dtype", "float16")))
AXES = {
    "model": [config(model_name=name) for name in (*TEXTS, *INJECTIONS, "m=", "=m", "model=m")],
    "tag": [extra(tag=tag) for tag in ("x", "X", "m", "tag=x", "x,model=m", "é", "e\u0301")],
    "weights_id": [extra(weights_id=one) for one in ("x", "X", "m", "x\ntag=x", "0", "00")],
    "dtype": [pool(dtype=dtype) for dtype in ("float16", "float8_e4m3fn", "float8_e5m2", "uint8")],
    "layout": [pool(layout=layout) for layout in ("page_first_direct", "page_head", "layer_first")],
    "page size": [pool(page_size=8), pool(page_size=16), pool(page_size=8, head_dim=4)],
    "layers": [pool(layers=4), pool(layers=1), pool(layers=4, head_dim=4)],
    "heads": [pool(heads=4), pool(heads=4, head_dim=4), pool(heads=1, head_dim=16)],
    "values": [pool(v_head_dim=4), pool(v_head_dim=16), pool(head_dim=4, v_head_dim=12)],
    "tp": [config(tp_size=size, tp_rank=rank) for size, rank in ((2, 0), (2, 1), (4, 0), (4, 1))],
    "pp": [config(pp_size=size, pp_rank=rank) for size, rank in ((2, 0), (2, 1), (4, 1))],
    "cp": [config(attn_cp_size=size, attn_cp_rank=rank) for size, rank in ((2, 0), (2, 1), (4, 1))],
    "dcp": [config(dcp_size=2, dcp_rank=rank, logical_page_size=8) for rank in (0, 1)],
    "replicated": [config(is_mla_model=True)],
    "kind": [pool("mla"), pool("logical"), pool("mla", layout="layer_first"),
             pool("mla", layout="page_first_kv_split"), pool("mla", kv_cache_dim=18)],
    # Pools that tell nothing of their shape, of which only one thing differs.
    "bare": [pool("bare", page_size=size, lengths=lengths)
             for size in (1, 4, 8)
             for lengths in ((64, 64), (64, 65), (32, 96), (128,), (64, 0, 64))],
    "side pool": [Case(sides=(name,)) for name in ("mamba", "swa", "indexer", "Mamba", "kv ", "é",
                                                   "e\u0301", "swa\ntag=x", "pages", "flat")],
    "heads shared": [Case(config=(("tp_size", 2), ("tp_rank", rank), ("tp_lcm_size", lcm),
                                  ("should_split_heads", lcm > 2)), pool=(("layout", "page_head"),))
                     for rank in (0, 1) for lcm in (4, 8)],
}


def clashes(one, other):
    """Whether two alternatives set the same thing, or would make what is to be shared: a side pool
    that differs from rank to rank does so whatever is said of the KV pool."""
    names = [{name for name, _ in part.config + part.extra + part.pool} for part in (one, other)]
    return bool(names[0] & names[1]) or any(
        part.kind != "mha" and (rest.pool or rest.sides)
        or rest.sides and {"is_mla_model", "should_split_heads"} & set(dict(part.config))
        for part, rest in ((one, other), (other, one)))


def cases():
    """The plain one, each alternative alone, and the first two of every two axes together."""
    made = [PLAIN]
    made += [PLAIN.and_(one) if "model_name" not in dict(one.config) else one
             for one in itertools.chain(*AXES.values())]
    for first, second in itertools.combinations(AXES.values(), 2):
        made += [PLAIN.and_(one).and_(other) for one in first[:2] for other in second[:2]
                 if not clashes(one, other)]
    known = [canonical(case) for case in made
             if KNOWN_FIELDS >= {name for name, _ in case.config}]
    return list(dict.fromkeys(known))


def canonical(case):
    """Equal for configurations that are to share: values are as long as keys where nothing else is
    said, and where all tensor-parallel ranks hold the same there is no rank."""
    if ("is_mla_model", True) in case.config:
        case = dataclasses.replace(case, config=tuple(
            (name, value) for name, value in case.config if not name.startswith(("tp_", "should"))))
    if case.kind != "mha":
        return case
    shape = {"heads": 2, "head_dim": 8, **dict(case.pool)}
    shape.setdefault("v_head_dim", shape["head_dim"])
    return dataclasses.replace(case, pool=tuple(sorted(shape.items())))


class RecordingNode:
    """A real node that notes which namespaces the adapter asks for."""

    def __init__(self, node):
        self.node, self.asked = node, []

    def namespace(self, fields):
        self.asked.append((tuple(fields), self.node.namespace(fields)))
        return self.asked[-1][1]

    def has_rdma(self):
        return self.node.has_rdma()


def host_pool_of(case):
    if case.kind == "logical":
        return side_pools.LogicalAnchor()
    make = {"mha": host_pool.mha, "mla": host_pool.mla, "bare": bare_pool}[case.kind]
    return make(page_num=1, **dict(case.pool))


def bare_pool(page_num, page_size, lengths):
    return host_pool.HostPool("page_first", page_size, page_num, lengths)


def registered(node, case):
    """What a store of this configuration asks of the node: [(fields, namespace)]."""
    recorder = RecordingNode(node)
    settings = Settings({"discovery_addr": "x:1", "interface_v1": 1, **dict(case.extra)})
    calls = Calls({"get": 1, "set": 1, "exists": 1}, Counters(), ErrorLog())
    registry = Registry(recorder, storage_config(None, **dict(case.config)), settings, calls)
    registry.register_kv(host_pool_of(case))
    for name in case.sides:
        registry.register_side(host_pool_of(case), name)  # a side pool has an identity of its own
    return recorder.asked


class AllPairs(AdapterCase):
    @classmethod
    def setUpClass(cls):
        cls.node = _native.Node({"global_segment_size": "64mb"})
        cls.cases = cases()
        cls.asked = [registered(cls.node, case) for case in cls.cases]

    @classmethod
    def tearDownClass(cls):
        cls.node.close()

    def own(self, index):
        """The namespaces by which this configuration differs from the others: a case of side pools
        has the KV pages of the case without them, as it should."""
        asked, case = self.asked[index], self.cases[index]
        if "should_split_heads" in dict(case.config):
            asked = [one for one in asked if "form=flat" not in one[0]]  # see the last test
        return asked[-len(case.sides):] if case.sides else asked

    def test_34_enough_cases(self):
        self.assertGreater(len(self.cases), 300 if _profile.NAME == "new" else 150)
        print(f"# {len(self.cases)} configurations, "
              f"{sum(len(self.own(i)) for i in range(len(self.cases)))} namespaces", flush=True)

    def test_34_fields_of_all_pairs(self):
        """(34) No two configurations name the same fields, in whatever order."""
        owners = {}
        for i, case in enumerate(self.cases):
            for fields in {frozenset(fields) for fields, _ in self.own(i)}:
                self.assertNotIn(fields, owners, f"{case} and {owners.get(fields)}")
                owners[fields] = case

    def test_34_digests_of_all_pairs(self):
        """(34) A page stored under one is found under that one and no other."""
        spaces = [ns for i in range(len(self.cases)) for _, ns in self.own(i)]
        names = [f"page-{i}" for i in range(len(spaces))]
        byte = ctypes.create_string_buffer(b"x", 1)
        for name, ns in zip(names, spaces):
            rc, outcomes, _ = ns.set([name], [ctypes.addressof(byte)], [1], 1)
            self.assertEqual(rc, 0)
        for i, ns in enumerate(spaces):
            rc, outcomes = ns.exists(names)
            found = [j for j, outcome in enumerate(outcomes) if outcome == _native.FOUND]
            self.assertEqual((rc, found), (0, [i]))

    @unittest.skipIf("tp_lcm_size" not in KNOWN_FIELDS, "this release cannot split heads")
    def test_34_flat_pages_of_split_heads(self):
        """(34) Four heads in groups of one, and two heads in groups of one: other flat pages."""
        shared = PLAIN.and_(config(tp_size=2, tp_rank=0, should_split_heads=True))
        flat = [{frozenset(fields) for fields, _ in registered(self.node, shared.and_(
                    config(tp_lcm_size=lcm)).and_(pool(layout="page_head", heads=heads)))
                 if "form=flat" in fields} for lcm, heads in ((4, 2), (8, 4))]
        self.assertFalse(flat[0] & flat[1])

    def test_34_labels_are_distinct(self):
        for asked in self.asked:
            for fields, _ in asked:
                labels = [field.split("=", 1)[0] for field in fields]
                self.assertEqual(len(labels), len(set(labels)))
                self.assertLessEqual(len(labels), 64)
                self.assertTrue(all(len(field.encode()) <= 1024 for field in fields))


if __name__ == "__main__":
    unittest.main()
