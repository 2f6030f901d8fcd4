# SPDX-License-Identifier: Apache-2.0
"""Controllers in several processes: ranks that meet over gloo, and nodes that fail."""
import pathlib
import signal
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "sglang_support"))

import release  # noqa: E402

release.check_full()

import peers  # noqa: E402

peers.start()

import hosted  # noqa: E402
import cluster  # noqa: E402
from controller_case import Case, tokens  # noqa: E402


class Ranks(Case):
    """Two ranks: what one of them lacks, neither gets, and both say the same."""

    def ranks(self, kind):
        return self.start_ranks(hosted.EngineRank, kind, self.HYBRID)

    def start_ranks(self, rank_class, *more):
        """Two ranks that know each other, by gloo and as members of the cluster."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        made = peers.start_together(rank_class, [
            (self.cluster.address, rank, 2, f"{folder.name}/meeting", *more) for rank in range(2)])
        for rank in made:
            self.addCleanup(rank.close)
        peers.together(made, "settle", 2)
        return made

    def assert_both(self, made, prompt, pages):
        """Both find and read so many pages, with the right bytes."""
        self.assertEqual(peers.together(made, "prefetch", prompt), [(pages, pages, [])] * 2)

    def test_sharded(self):
        """Each rank has its own half of the heads under the same hashes."""
        made = self.ranks("mha")
        self.assertEqual(peers.together(made, "backup", tokens(20)), [20, 20])
        self.assert_both(made, tokens(25), 20)
        # Rank 1 has stored less of this one: MIN on both.
        made[0].ask("backup", tokens(12, salt=1))
        made[1].ask("backup", tokens(7, salt=1))
        self.assertEqual([rank.ask("own_pages", tokens(12, salt=1)) for rank in made], [12, 7])
        self.assert_both(made, tokens(12, salt=1), 7)
        # Only rank 0 has anything of this one.
        made[0].ask("backup", tokens(6, salt=2))
        self.assert_both(made, tokens(6, salt=2), 0)
        self.assert_threads(made)

    def test_pages_vanish_on_one_rank(self):
        """Between the question and the read rank 1's pages are evicted: nothing for either."""
        made = self.ranks("mha")
        peers.together(made, "backup", tokens(20))
        made[0].send("prefetch", tokens(20))
        made[1].send("prefetch", tokens(20), True)
        self.assertEqual([rank.answer() for rank in made], [(20, 0, []), (20, 0, [])])
        self.assert_threads(made)

    def test_replicated(self):
        """MLA: rank 0 alone writes, both read; and rank 1 finds the pages by itself."""
        made = self.ranks("mla")
        counted = peers.together(made, "backup", tokens(20))
        self.assertEqual(counted[0], 20)
        self.assertEqual([rank.ask("calls", "batch_set_v1") for rank in made], [1, 0])
        self.assertEqual([rank.ask("own_pages", tokens(20)) for rank in made], [20, 20])
        self.assert_both(made, tokens(25), 20)
        self.assert_threads(made)

    def assert_threads(self, made):
        counts = [len(rank.ask("threads")) for rank in made]
        self.assertEqual(counts[0], counts[1])
        self.assertGreaterEqual(counts[0], 3)
        slowest = max(rank.ask("slowest") for rank in made)
        print(f"# {self.id()}: slowest storage call {slowest[1]} {slowest[0] * 1000:.0f} ms",
              flush=True)
        self.assertLess(slowest[0], cluster.CALL_LIMIT_S)


class HybridRanks(Ranks):
    HYBRID = True

    @unittest.skipUnless(release.VERSION >= (0, 5, 23),
                         "this release has rank 0 alone write the side pools of an MLA model")
    def test_mamba_under_mla(self):
        """KV is shared, the states are not: rank 1 writes and reads its own."""
        made = self.start_ranks(hosted.StatefulRank)
        for end in (6, 10):
            self.assertEqual(peers.together(made, "backup", tokens(end)), [end, end])
        self.assertEqual([rank.ask("calls", "batch_set_v1") for rank in made], [2, 0])
        for prompt, hit_pages in ((14, 10), (9, 6)):
            self.assertEqual(peers.together(made, "prefetch", tokens(prompt)),
                             [(hit_pages, hit_pages, [], True)] * 2)
        self.assert_threads(made)


class Trouble(Case):
    """The node that has the pages fails between the question and the read."""

    PAGES = 60

    def test_killed(self):
        """Dead before the read.  Shared memory may outlive its process for a moment."""
        for protocol in ("auto", "tcp"):
            with self.subTest(protocol):
                self.trouble(protocol, self.kill, lost=protocol == "tcp")

    def kill(self, holder):
        holder.signal(signal.SIGKILL)
        holder.process.join()

    def test_stopped(self):
        """Over shared memory its pages can still be read, as far as it need not be asked where
        they are; over TCP they cannot."""
        self.trouble("auto", lambda holder: holder.signal(signal.SIGSTOP), lost=False)
        self.trouble("tcp", lambda holder: holder.signal(signal.SIGSTOP), lost=True)

    def test_killed_while_reading(self):
        """At any time at all: what counts as read is right."""
        for delay_s in (0, 0.001, 0.003):
            self.trouble("tcp", lambda holder: self.kill_after(delay_s, holder), lost=False)

    def kill_after(self, delay_s, holder):
        timer = threading.Timer(delay_s, holder.signal, [signal.SIGKILL])
        self.addCleanup(timer.join)
        timer.start()

    def test_stopped_before_the_question(self):
        """Whoever asks a node that hangs: each call in time, and own pages are read meanwhile."""
        made, holder = self.pair("tcp")
        made.backup(tokens(5, salt=2))
        holder.signal(signal.SIGSTOP)
        threads = made.threads()
        fetched = made.prefetch(tokens(self.PAGES))
        made.release(fetched)
        self.assertEqual(fetched.read_pages, 0)
        self.assert_fetched(made, tokens(5, salt=2), 5)
        self.assert_all_well(made, threads, "stopped before the question")

    def pair(self, protocol):
        """A scheduler here, and a rank in another process that has the pages."""
        self.close()
        self.setUp()
        options = {"protocol": protocol}
        made = self.scheduler(device_tokens=1600, options=options)
        holder = peers.Peer(hosted.EngineRank, self.cluster.address, 0, 1, None, "mha", self.HYBRID,
                            options).wait()
        self.addCleanup(holder.close)
        cluster.settle(made.backend, 2)
        holder.ask("settle", 2)
        self.assertEqual(holder.ask("backup", tokens(self.PAGES)), self.PAGES)
        return made, holder

    def trouble(self, protocol, happens, lost):
        """@lost: whether no page at all can come through."""
        made, holder = self.pair(protocol)
        threads = made.threads()
        fetched = made.prefetch(tokens(self.PAGES), on_hit=lambda: happens(holder))
        self.assertEqual(fetched.hit_pages, self.PAGES)
        self.assertEqual(made.wrong_pages(fetched), [])
        made.release(fetched)
        if lost:
            self.assertEqual(fetched.read_pages, 0)
        self.assertEqual(made.backup(tokens(8, salt=5)), 8)
        self.assert_fetched(made, tokens(8, salt=5), 8)
        self.assert_all_well(made, threads, f"{protocol}, {fetched.read_pages} pages read")

    def assert_all_well(self, made, threads, what):
        """No thread of SGLang died or was replaced, and no call took long."""
        self.assertEqual(made.threads(), threads)
        seconds, name = made.timed.slowest()
        print(f"# {self.id()}: {what}; threads {sorted(threads)}; slowest storage call {name} "
              f"{seconds * 1000:.0f} ms", flush=True)
        self.assertLess(seconds, cluster.CALL_LIMIT_S)


class HybridTrouble(Trouble):
    """The same on the hybrid controller, which 0.5.23 takes for every model."""

    HYBRID = True


if __name__ == "__main__":
    unittest.main()
