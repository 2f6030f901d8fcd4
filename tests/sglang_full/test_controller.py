# SPDX-License-Identifier: Apache-2.0
"""SGLang's cache controllers with their real threads, on one rank."""
import pathlib
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "sglang_support"))

import release  # noqa: E402

release.import_full()

from sglang.srt.mem_cache import hicache_storage  # noqa: E402

import broken  # noqa: E402
import controllers  # noqa: E402
import host_pools  # noqa: E402
from controller_case import PAGE_SIZE, Case, tokens  # noqa: E402

# Of a page's hash in a cache of its own, for a chain that starts with these tokens.
VECTORS = {None: ["cf97adeedb59e05bfd73a2b4c2a8885708c4f4f70c84c64b27120e72ab733b72",
                  "4ebfa8a1f3c341517621838c6e1b9aa350307e3f00b3cbd1a07ef740f54396d6"]}
SEEDED = ("407c773a7c02b33bd4a62af6bf5fc77997c2c8067811ecf2b39e3839c3f4284b",
          "e4f68dc4af99b6de199d5a048add282da40aa4ef97942ce9eca321bccada9376")


class Pages(Case):
    """Backup, then prefetch."""

    def test_layouts(self):
        for kind, layouts in (("mha", host_pools.MHA_LAYOUTS), ("mla", host_pools.MLA_LAYOUTS)):
            for layout in layouts:
                with self.subTest(kind=kind, layout=layout):
                    made = self.scheduler(kind, layout)
                    self.assertEqual(made.backup(tokens(20)), 20)
                    self.assert_fetched(made, tokens(20), 20)

    def test_300_pages(self):
        """SGLang moves at most 128 pages a call; the question is one or several."""
        made = self.scheduler(device_tokens=320 * PAGE_SIZE)
        self.assertEqual(made.backup(tokens(300)), 300)
        self.assert_fetched(made, tokens(300), 300)
        calls = [name for _, name in made.timed.times]
        self.assertEqual(calls.count("batch_set_v1"), 3)
        self.assertEqual(calls.count("batch_get_v1"), 3)

    def test_partial_and_no_hit(self):
        made = self.scheduler()
        made.backup(tokens(12))
        self.assert_fetched(made, tokens(20), 12)
        self.assert_fetched(made, tokens(5) + tokens(9, salt=7), 5)
        self.assert_fetched(made, tokens(9, salt=7), 0)

    def test_prefix_keys(self):
        """Passed when the operator asks for it; older releases then change the list afterwards."""
        made = self.scheduler(device_tokens=320 * PAGE_SIZE)
        keys = made.hashes(tokens(300))
        self.assertEqual(made.backup(tokens(300), prefix_keys=[]), 300)
        self.assertEqual(made.backup(tokens(4, salt=3), prefix_keys=keys[:3]), 4)
        self.assert_fetched(made, tokens(300), 300, prefix_keys=[])

    def test_copy_path(self):
        """Without interface_v1 SGLang takes the copy path: slower, and right all the same."""
        with self.assertLogs("peercache", "WARNING") as logs:
            made = self.scheduler(options={"interface_v1": None})
        self.assertIn("interface_v1", "".join(logs.output))
        self.assertEqual(made.backup(tokens(40)), 40)
        self.assert_fetched(made, tokens(40), 40)
        calls = {name for _, name in made.timed.times}
        self.assertLessEqual({"batch_set", "batch_get"}, calls)
        self.assertFalse({"batch_set_v1", "batch_get_v1"} & calls)
        # Pages of the two paths hold other bytes and are never taken for one another.
        other = self.scheduler()
        self.settle(made, other)
        self.assert_fetched(other, tokens(40), 0)

    def test_two_engines(self):
        one, two = self.scheduler(), self.scheduler()
        self.settle(one, two)
        one.backup(tokens(30))
        self.assert_fetched(two, tokens(30), 30)
        two.backup(tokens(30, salt=1))
        self.assert_fetched(one, tokens(30, salt=1), 30)


class Life(Case):
    """Attach, detach, reset, clear, and refusals."""

    def test_reset(self):
        """What flush_cache does: other threads, the same pages."""
        made = self.scheduler()
        made.backup(tokens(10))
        before = made.threads()
        made.reset()
        self.assertEqual(set(made.threads()), set(before))
        self.assert_fetched(made, tokens(10), 10)

    def test_detach_and_attach(self):
        """The second node of the process starts empty, and takes part again."""
        one, two = self.scheduler(), self.scheduler()
        self.settle(one, two)
        two.backup(tokens(6, salt=1))
        for _ in range(2):
            one.backup(tokens(10))
            one.detach()
            self.assertEqual(one.threads(), {})
            self.assertEqual(one.backend.batch_exists(one.hashes(tokens(10))), 0)
            one.attach(self.cluster.extra())
            self.settle(one, two)
            self.assert_fetched(one, tokens(6, salt=1), 6)
            self.assert_fetched(one, tokens(10), 0)

    def test_clear(self):
        one, two = self.scheduler(), self.scheduler()
        self.settle(one, two)
        one.backup(tokens(10))
        self.assert_fetched(two, tokens(10), 10)
        one.backend.clear()
        for made in (one, two):
            self.assert_fetched(made, tokens(10), 0)
        two.backup(tokens(10))
        self.assert_fetched(one, tokens(10), 10)

    def test_refused_pool(self):
        """A refusal at registration rolls the attach back: no threads, no backend."""
        made = self.scheduler()
        made.detach()
        before = threading.active_count()
        layout, made.host.layout = made.host.layout, "page_unified"
        with self.assertRaisesRegex(ValueError, "page_unified"):
            made.attach(self.cluster.extra())
        made.host.layout = layout
        self.assertEqual(made.threads(), {})
        self.assertEqual(threading.active_count(), before)
        self.assertIsNone(made.controller.storage_backend)
        made.attach(self.cluster.extra())
        made.backup(tokens(3))
        self.assert_fetched(made, tokens(3), 3)

    def test_stats(self):
        """SGLang's StorageMetrics: each batch once, in pages and GB/s, a new object each time."""
        from sglang.srt.observability.metrics_collector import StorageMetrics
        made = self.scheduler()
        made.backup(tokens(10))
        self.assert_fetched(made, tokens(10), 10)
        stats = made.backend.get_stats()
        self.assertIsInstance(stats, StorageMetrics)
        self.assertEqual((stats.backup_pgs, stats.prefetch_pgs), ([10], [10]))
        for speeds in (stats.backup_bandwidth, stats.prefetch_bandwidth):
            self.assertEqual(len(speeds), 1)
            self.assertTrue(0 < speeds[0] < 1000, speeds)
        again = made.backend.get_stats()
        self.assertIsNot(again, stats)
        self.assertEqual(again.backup_pgs + again.prefetch_pgs, [])

    def test_page_hashes(self):
        """The keys are opaque to us; tools and the demo make the same ones."""
        from sglang.srt.mem_cache import utils
        self.assertEqual(utils.get_hash_str(list(range(1, 9)), None, page_size=4), VECTORS[None])
        if hasattr(utils, "storage_namespace_seed"):
            seed = utils.storage_namespace_seed("lora-a", None)
            first = utils.get_hash_str([1, 2, 3, 4], seed, page_size=4)
            self.assertEqual((seed, first[0]), SEEDED)
            self.assertNotEqual(utils.storage_namespace_seed("a", "bc"),
                                utils.storage_namespace_seed("ab", "c"))


class HybridPages(Pages):
    """The same on the hybrid controller, which 0.5.23 takes for every model."""
    HYBRID = True


class HybridLife(Life):
    HYBRID = True


class SidePools(Case):
    """Models with state beside KV: Mamba and SWA, and DeepSeek-V4 with its logical anchor."""

    HYBRID = True
    WINDOW = 3

    def side(self, kind, layout="page_first"):
        pool = getattr(host_pools, f"host_{kind}")(layout)
        return pool, host_pools.pages_of(pool)

    def fill(self, pages, names, first=0):
        """Pages of a side pool that hold what their hashes say: their slots."""
        places = list(range(first, first + len(names)))
        for place, name in zip(places, names):
            pages.write(place, controllers.content(name, pages.len_bytes))
        return pages.slots(places)

    def assert_holds(self, pages, names, first):
        for place, name in enumerate(names, start=first):
            self.assertEqual(pages.read(place), controllers.content(name, pages.len_bytes))

    def test_mamba_and_swa(self):
        """Nodes of 8, 12 and 20 pages end with a state; the longest prefix that has all wins."""
        (mamba, states), (swa, windows) = self.side("mamba"), self.side("swa")
        device = host_pools.device_mha()
        names = hicache_storage.PoolName
        made = self.start(device, host_pools.host_mha("page_first", device),
                          sides={names.MAMBA: mamba, names.SWA: swa})
        keys = made.hashes(tokens(30))
        for end, with_swa in ((8, True), (12, True), (20, False)):
            transfers = [controllers.transfer("mamba", keys[end - 1:end],
                                              self.fill(states, keys[end - 1:end], end))]
            if with_swa:
                tail = keys[end - self.WINDOW:end]
                transfers.append(controllers.transfer("swa", tail, self.fill(windows, tail, end)))
            self.assertEqual(made.backup(tokens(end), transfers=transfers), end)
        self.assert_sides(made, states, windows, keys, tokens(30), 12)
        self.assert_sides(made, states, windows, keys, tokens(11), 8)
        self.assert_sides(made, states, windows, keys, tokens(7), 0)

    def assert_sides(self, made, states, windows, keys, prompt, hit_pages):
        states.poison()
        windows.poison()
        transfers = [controllers.transfer("mamba", keys[-1:], states.slots([40]), trailing=True),
                     controllers.transfer("swa", keys[-self.WINDOW:],
                                          windows.slots([10, 11, 12]), trailing=True)]
        fetched = self.assert_fetched(made, prompt, hit_pages, transfers=transfers)
        if hit_pages:
            self.assert_holds(states, keys[hit_pages - 1:hit_pages], 40)
            self.assert_holds(windows, keys[hit_pages - self.WINDOW:hit_pages], 10)
            self.assertEqual((fetched.side_hits["mamba"], fetched.side_hits["swa"]),
                             (1, self.WINDOW))

    def test_deepseek_v4(self):
        """KV is an anchor without bytes; c4 lies in the anchor's slots, states are a window."""
        (paged, pages), (state, rings) = self.side("paged"), self.side("state")
        names = hicache_storage.PoolName
        made = self.start(host_pools.device_mla(), host_pools.host_logical(), derived=[pages],
                          sides={names.DEEPSEEK_V4_C4: paged, names.DEEPSEEK_V4_C4_STATE: state})
        keys = made.hashes(tokens(20))
        for end in (9, 15):
            window = self.fill(rings, keys[end - 2:end], 2 * end)
            self.assertEqual(made.backup(tokens(end), transfers=[
                controllers.transfer("deepseek_v4_c4", None, from_kv=True),
                controllers.transfer("deepseek_v4_c4_state", keys[end - 2:end], window)]), end)
        for prompt, hit_pages in ((tokens(20), 15), (tokens(14), 9), (tokens(8), 0)):
            pages.poison()
            rings.poison()
            self.assert_fetched(made, prompt, hit_pages, transfers=[
                controllers.transfer("deepseek_v4_c4", None, from_kv=True),
                controllers.transfer("deepseek_v4_c4_state", keys[-2:], rings.slots([50, 51]),
                                     trailing=True)])
            if hit_pages:
                self.assert_holds(rings, keys[hit_pages - 2:hit_pages], 50)


class Suite(unittest.TestCase):
    def test_notices_faults(self):
        broken.assert_noticed(self, Pages, ["test_layouts", "test_copy_path"])
        broken.assert_noticed(self, SidePools, ["test_mamba_and_swa"])


if __name__ == "__main__":
    unittest.main()
