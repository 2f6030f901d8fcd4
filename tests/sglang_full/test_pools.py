# SPDX-License-Identifier: Apache-2.0
"""SGLang's own host pools of all kinds and layouts: pages come back byte for byte.

What a page holds is told by the pool's flat interface, so the addresses and lengths that the
adapter works with are not what the test trusts.
"""
import mmap
import pathlib
import random
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "sglang_support"))

import release  # noqa: E402

release.check_full()

import peers  # noqa: E402

peers.start()

import hosted  # noqa: E402
import torch  # noqa: E402
from sglang.srt.mem_cache.hicache_storage import PoolName  # noqa: E402

import broken  # noqa: E402
import cluster  # noqa: E402
import controllers  # noqa: E402
import host_pools  # noqa: E402
from peercache.hostpool import HostPool  # noqa: E402
from peercache.regions import tensors_of, united  # noqa: E402

PAGES = 12


def hashes(count, salt):
    chosen = random.Random(salt)
    return [f"{chosen.getrandbits(256):064x}" for _ in range(count)]


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        controllers.set_parallel()

    def setUp(self):
        self.cluster = cluster.Cluster()
        self.addCleanup(self.cluster.close)

    def assert_refused(self, pool, words, options=None):
        made = self.cluster.store(None, options)
        with self.assertRaisesRegex(ValueError, words):
            made.register_mem_pool_host(pool)


class Memory(Case):
    """What is registered with RDMA devices: the tensors that the adapter finds behind a pool."""

    KINDS = {host_pools.host_mha: host_pools.MHA_LAYOUTS,
             host_pools.host_asymmetric: host_pools.ASYMMETRIC_LAYOUTS,
             host_pools.host_mla: host_pools.MLA_LAYOUTS,
             host_pools.host_indexer: host_pools.STATE_LAYOUTS,
             host_pools.host_mamba: host_pools.STATE_LAYOUTS,
             host_pools.host_paged: host_pools.PAGED_LAYOUTS,
             host_pools.host_state: host_pools.PAGED_LAYOUTS}

    def test_every_page_lies_in_it(self):
        for make, layouts in self.KINDS.items():
            for layout in layouts:
                with self.subTest(make.__name__, layout=layout):
                    pool = make(layout)
                    looked_at = HostPool(pool)
                    places = united(tensors_of(looked_at))
                    slots = pool.size // looked_at.page_size * looked_at.page_size
                    addresses, lengths = looked_at.segments(torch.arange(slots),
                                                            slots // looked_at.page_size)
                    self.assertTrue(addresses)
                    for address, length in zip(addresses, lengths):
                        self.assertTrue(any(start <= address and address + length <= end
                                            for start, end in places))


class RoundTrip(Case):
    """Scattered pages out, other pages in, in the same process; nothing else is touched."""

    def one_process(self, kind, layouts, side_name=None):
        here = hosted.PoolStore()
        self.addCleanup(here.close)
        for salt, layout in enumerate(layouts):
            with self.subTest(kind=kind, layout=layout):
                here.open(self.cluster.address, {}, kind, layout, side_name)
                names = hashes(PAGES, salt)
                places = random.Random(salt).sample(range(here.pages.count), 2 * PAGES)
                self.assertEqual(here.write(names, places[:PAGES]), [True] * PAGES)
                hits, wrong, touched = here.read(names, places[PAGES:])
                self.assertEqual((hits, wrong, touched), ([True] * PAGES, [], []))

    def test_mha(self):
        self.one_process("mha", host_pools.MHA_LAYOUTS)

    def test_asymmetric(self):
        self.one_process("asymmetric", host_pools.ASYMMETRIC_LAYOUTS)

    def test_mla(self):
        self.one_process("mla", host_pools.MLA_LAYOUTS)

    def test_swa(self):
        self.one_process("swa", host_pools.MHA_LAYOUTS, "swa")

    def test_indexer(self):
        self.one_process("indexer", host_pools.STATE_LAYOUTS, "indexer")

    def test_mamba(self):
        self.one_process("mamba", host_pools.STATE_LAYOUTS, "mamba")

    def test_deepseek_v4(self):
        self.one_process("paged", host_pools.PAGED_LAYOUTS, "deepseek_v4_c4")
        self.one_process("state", host_pools.PAGED_LAYOUTS, "deepseek_v4_c4_state")

    def test_holes(self):
        """A hole is a miss in its place, and ends the run that exists counts."""
        here = hosted.PoolStore()
        self.addCleanup(here.close)
        here.open(self.cluster.address, {}, "mha", "page_first")
        names = hashes(PAGES, 99)
        stored = [place for place in range(PAGES) if place not in (4, 9)]
        here.write([names[place] for place in stored], stored)
        hits, wrong, touched = here.read(names, list(range(PAGES)))
        self.assertEqual(hits, [place in stored for place in range(PAGES)])
        self.assertEqual(here.exists(names), 4)
        self.assertEqual(wrong, [])


class OtherProcess(Case):
    """The pools of another process: what one writes, the other reads, both ways."""

    KINDS = [("mha", host_pools.MHA_LAYOUTS, None), ("mla", host_pools.MLA_LAYOUTS, None),
             ("asymmetric", host_pools.ASYMMETRIC_LAYOUTS, None),
             ("indexer", host_pools.STATE_LAYOUTS[:1], "indexer"),
             ("mamba", host_pools.STATE_LAYOUTS[:1], "mamba"),
             ("paged", host_pools.PAGED_LAYOUTS[:1], "deepseek_v4_c4")]

    def two_processes(self, options):
        here, there = hosted.PoolStore(), peers.Peer(hosted.PoolStore).wait()
        self.addCleanup(there.close)
        self.addCleanup(here.close)
        for kind, layouts, side_name in self.KINDS:
            for salt, layout in enumerate(layouts):
                with self.subTest(kind=kind, layout=layout):
                    # An address each: no member of the last pair is taken for one of this.
                    place = (cluster.Cluster().address, options, kind, layout, side_name)
                    here.open(*place)
                    there.ask("open", *place)
                    here.settle(2)
                    there.ask("settle", 2)
                    self.both_ways(here, there, salt)

    def both_ways(self, here, there, salt):
        places = random.Random(salt).sample(range(here.pages.count), PAGES)
        theirs, ours = hashes(PAGES, f"theirs {salt}"), hashes(PAGES, f"ours {salt}")
        self.assertEqual(there.ask("write", theirs, places), [True] * PAGES)
        self.assertEqual(here.read(theirs, places[::-1]), ([True] * PAGES, [], []))
        self.assertEqual(here.write(ours, places), [True] * PAGES)
        self.assertEqual(there.ask("read", ours, places[::-1]), ([True] * PAGES, [], []))

    def test_shared_memory(self):
        self.two_processes({})

    def test_tcp(self):
        self.two_processes({"protocol": "tcp"})


class Groups(Case):
    """Pools that stand for others."""

    def test_group_is_unwrapped(self):
        pool = host_pools.host_mha("page_first")
        made = self.cluster.store(host_pools.host_group(pool, {}))
        pages = host_pools.pages_of(pool)
        name = hashes(1, 5)
        pages.write(3, controllers.content(name[0], pages.len_bytes))
        self.assertEqual(made.batch_set_v1(name, pages.slots([3])), [True])
        self.assertEqual(made.batch_get_v1(name, pages.slots([7])), [True])
        self.assertEqual(pages.read(7), pages.read(3))

    def test_logical_anchor(self):
        """The anchor has no bytes; a prefix is there as far as it was set, and as its sides are."""
        anchor, side = host_pools.host_logical(), host_pools.host_paged("page_first")
        made = self.cluster.store(anchor, is_mla_model=True)
        made.register_mem_host_pool_v2(side, PoolName.DEEPSEEK_V4_C4)
        pages = host_pools.pages_of(side)
        names, slots = hashes(PAGES, 6), pages.slots(list(range(PAGES)))
        for page, name in enumerate(names):
            pages.write(page, controllers.content(name, pages.len_bytes))
        first = controllers.transfer("deepseek_v4_c4", names[:8], slots[:8 * pages.page_size])
        question = controllers.transfer("deepseek_v4_c4", None)
        self.assertEqual(made.batch_exists_v2(names, [question]).kv_hit_pages, 0)
        self.assertEqual(made.batch_set_v2([first]), {"deepseek_v4_c4": [True] * 8})
        self.assertEqual(made.batch_set_v1(names, slots), [True] * PAGES)
        self.assertEqual(made.batch_exists(names), PAGES)
        self.assertEqual(made.batch_exists_v2(names, [question]).kv_hit_pages, 8)
        self.assertEqual(made.batch_get_v1(names, slots), [True] * PAGES)

    def test_refusals(self):
        """What cannot be served is refused at registration, with a sentence: here a layout that
        0.5.23 knows and no option of it selects yet."""
        pool = host_pools.host_mha("page_first")
        pool.layout = "page_unified"
        self.assert_refused(pool, "PeerCache: .*page_unified")

    def test_refusals_on_the_copy_path(self):
        """Pools without flat pages: SGLang would raise in its backup thread."""
        for pool in (host_pools.host_asymmetric("page_first"), host_pools.host_logical()):
            with self.subTest(type(pool).__name__):
                self.assert_refused(pool, '"interface_v1": 1', {"interface_v1": None})


class HeterogeneousTP(Case):
    """tp_lcm_size: deployments with 2 and with 4 ranks share the pages of one model of 8 heads.

    In the layout page_head a page begins with its heads, so what a rank of four holds is half of
    what a rank of two does.
    """

    HEADS, LCM = 8, 4

    def ranks(self, size):
        """A store and a pool for each rank."""
        made = []
        for rank in range(size):
            pool = host_pools.host_mha(
                "page_head", host_pools.device_mha(heads=self.HEADS // size))
            made.append((self.cluster.store(
                pool, {"tp_lcm_size": self.LCM}, tp_rank=rank, tp_size=size, tp_lcm_size=self.LCM,
                should_split_heads=size < self.LCM, is_page_first_layout=False), pool))
        return made

    def heads(self, ranks, page):
        """Keys and values of all heads of one page, put together from all ranks."""
        return torch.cat([pool.kv_buffer[:, page] for _, pool in ranks], dim=1)

    def share(self, writers, readers, salt):
        names, pages = hashes(PAGES, salt), list(range(PAGES))
        for store, pool in writers:
            pool.kv_buffer.copy_(torch.randn(pool.kv_buffer.shape))
            slots = host_pools.pages_of(pool).slots(pages)
            self.assertEqual(store.batch_set_v1(names, slots), [True] * PAGES)
        for store, pool in readers:
            pool.kv_buffer.zero_()
            slots = host_pools.pages_of(pool).slots(pages[::-1])
            self.assertEqual(store.batch_exists(names), PAGES)
            self.assertEqual(store.batch_get_v1(names, slots), [True] * PAGES)
        for page in pages:
            self.assertTrue(torch.equal(self.heads(writers, page),
                                        self.heads(readers, PAGES - 1 - page)))

    def test_both_directions(self):
        two, four = self.ranks(2), self.ranks(4)
        self.cluster.settle()
        self.share(two, four, "two to four")
        self.share(four, two, "four to two")

    def test_part_of_the_heads(self):
        """A rank of two has a page only when both halves are there."""
        two, four = self.ranks(2), self.ranks(4)
        self.cluster.settle()
        names, pages = hashes(PAGES, "parts"), list(range(PAGES))
        for rank, count in ((0, PAGES), (1, 5), (2, PAGES)):
            store, pool = four[rank]
            slots = host_pools.pages_of(pool).slots(pages[:count])
            self.assertEqual(store.batch_set_v1(names[:count], slots), [True] * count)
        self.assertEqual([store.batch_exists(names) for store, _ in two], [5, 0])


@unittest.skipUnless(release.VERSION >= (0, 5, 23), "this release has no shm allocator")
class SharedMemory(Case):
    """`"allocator": "shm"`: the pool is a memfd, which others can map."""

    def test_second_mapping(self):
        for layout in host_pools.MHA_LAYOUTS:
            with self.subTest(layout):
                self.second_mapping(host_pools.host_mha(layout, allocator_type="shm"))

    def second_mapping(self, pool):
        made = self.cluster.store(pool, {"allocator": "shm"})
        pages = host_pools.pages_of(pool)
        name = hashes(1, 7)
        pages.write(2, controllers.content(name[0], pages.len_bytes))
        self.assertEqual(made.batch_set_v1(name, pages.slots([2])), [True])
        self.assertEqual(made.batch_get_v1(name, pages.slots([5])), [True])
        base = pool.kv_buffer.data_ptr()
        addresses, lengths = pool.get_page_buffer_meta(pages.slots([5]))
        expected, _ = pool.get_page_buffer_meta(pages.slots([2]))
        with mmap.mmap(pool.allocator.fd, 0, prot=mmap.PROT_READ) as mapped:
            for address, length, origin in zip(addresses, lengths, expected):
                seen = mapped[address - base:address - base + length]
                self.assertEqual(seen, mapped[origin - base:origin - base + length])
                self.assertNotEqual(seen, bytes(length))


class Suite(unittest.TestCase):
    def test_notices_faults(self):
        broken.assert_noticed(self, RoundTrip, ["test_mha", "test_mamba", "test_deepseek_v4"])


if __name__ == "__main__":
    unittest.main()
