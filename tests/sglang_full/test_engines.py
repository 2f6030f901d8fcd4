# SPDX-License-Identifier: Apache-2.0
"""Whole engines share their pages: a tiny random model on the CPU, each engine a process.

What an engine without any cache says is right.  Engines with PeerCache must say the same, and take
every full page of a prompt from storage when another engine has computed it.
"""
import pathlib
import tempfile
import unittest

import engines
import processes
import sglang_engine
import sglang_model

# No full page; one and a token; few and a rest; a multiple of a page; more than SGLang's 128.
LENGTHS = (15, 17, 100, 320, 2500)
OVER_TCP, OVER_SHM, OWN = (engines.prompts(seed, LENGTHS) for seed in (1, 2, 3))


def setUpModule():
    global folder, model
    folder = pathlib.Path(unittest.enterModuleContext(tempfile.TemporaryDirectory()))
    model = folder / "model"
    sglang_model.make(model)
    engines.EngineCase.reference = engines.Reference(folder, model, [*OVER_TCP, *OVER_SHM, *OWN])


class Layout:
    """Two engines, and what each reads of the other's pages."""

    @classmethod
    def setUpClass(cls):
        home = folder / cls.layout
        home.mkdir()
        extra = sglang_engine.peercache_extra(f"127.0.0.1:{processes.free_port()}",
                                              protocol="auto")
        cls.one = engines.Watched(home, "one", model, extra, cls.layout)
        cls.addClassCleanup(cls.one.close)
        cls.two = engines.Watched(home, "two", model, extra, cls.layout)
        cls.addClassCleanup(cls.two.close)
        cls.one.engine.ready()
        cls.two.engine.ready()

    def read(self, reader, prompts):
        """Reads prompts that are all in storage; returns how many pages came which way."""
        before = reader.read_pages()
        self.assert_shared(reader, prompts)
        pages = sum(map(engines.full_prefix_tokens, prompts)) // engines.PAGE
        engines.wait_for(lambda: sum(reader.read_pages().values()) >=
                         sum(before.values()) + pages, "the adapter's counters")
        return {way: n - before.get(way, 0) for way, n in reader.read_pages().items()
                if n != before.get(way, 0)}, pages

    def test_over_tcp(self):
        self.two.use("tcp")
        self.assert_tokens(OVER_TCP, self.one.compute(OVER_TCP))
        ways, pages = self.read(self.two, OVER_TCP)
        self.assertEqual(ways, {"tcp": pages})

    def test_over_shared_memory(self):
        self.two.use("auto")
        self.assert_tokens(OVER_SHM, self.two.compute(OVER_SHM))
        ways, pages = self.read(self.one, OVER_SHM)
        self.assertEqual(ways, {"shm": pages})

    def test_own_pages_after_a_flush(self):
        self.assert_tokens(OWN, self.one.compute(OWN))
        self.one.engine.flush()
        ways, pages = self.read(self.one, OWN)
        self.assertEqual(ways, {"local": pages})


class PageFirst(Layout, engines.EngineCase):
    layout = "page_first"


class PageFirstDirect(Layout, engines.EngineCase):
    layout = "page_first_direct"


class LayerFirst(Layout, engines.EngineCase):
    layout = "layer_first"


class PageHead(Layout, engines.EngineCase):
    layout = "page_head"


if __name__ == "__main__":
    unittest.main()
