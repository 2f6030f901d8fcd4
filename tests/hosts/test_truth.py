# SPDX-License-Identifier: Apache-2.0
"""How often exists says yes and the get that follows misses, while pages are evicted and nodes die.

Bounds: in an eviction storm, twice the share of a pool that is evicted between the start of the one
call and the end of the other (what no cache without leases can avoid), and one in 500; while a node
is killed every two seconds, one in a hundred; no wrong byte, no call after its deadline + 100 ms.
"""
import random
import threading
import time
import unittest

from cluster import BATCH, IS_LONG, OnHosts, say
from hosts import require_hosts

require_hosts()

SIZE, TIMEOUT_MS = 32 << 10, 1000
POOL_MB = 64
POOL_PAGES = (POOL_MB << 20) // SIZE
SECONDS = 60 if IS_LONG else 8


class Writer(threading.Thread):
    """Sets batch after batch."""

    def __init__(self, caller, name):
        super().__init__()
        self.caller, self.name, self.written, self.is_over = caller, name, 0, False

    def run(self):
        while not self.is_over:
            self.caller.call("set", self.name, self.written * BATCH, BATCH, SIZE, TIMEOUT_MS)
            self.written += 1


class Truth(OnHosts):
    def setUp(self):
        self.make_hosts()

    def ask_and_read(self, reader, name, turn):
        """(pages for which exists said yes, those of them that a get missed, how long it took)."""
        started = time.monotonic()
        exists = reader.call("exists", name, turn * BATCH, BATCH, 1, TIMEOUT_MS)
        self.assert_in_time(exists, TIMEOUT_MS)
        got = reader.call("get", name, turn * BATCH, BATCH, SIZE, TIMEOUT_MS)
        self.assert_in_time(got, TIMEOUT_MS)
        yes = [got.outcomes[i] for i, outcome in enumerate(exists.outcomes) if outcome == "FOUND"]
        return len(yes), len(yes) - yes.count("HIT"), time.monotonic() - started

    def report(self, what, counts):
        yes, misses, _ = (sum(column) for column in zip(*counts))
        say(f"{what}: {yes} pages said to be there, {misses} missed right after:"
            f" {misses / max(yes, 1):.5f}")
        self.assertGreater(yes, 1000)
        return misses / yes

    def test_eviction_storm(self):
        """Two writers, and two readers that ask for what was written lately, back to what is about
        to go and is gone."""
        nodes = self.cluster(global_segment_size=f"{POOL_MB}mb")
        writers = [Writer(nodes[number], f"storm{number}") for number in (2, 3)]
        for writer in writers:
            writer.start()
        counts, end = [], time.monotonic() + SECONDS
        try:
            while time.monotonic() < end:
                writer = random.choice(writers)
                turn = writer.written - 1 - random.randrange(POOL_PAGES // BATCH + 1)
                if turn >= 0:
                    counts.append(self.ask_and_read(nodes[random.choice((4, 5))], writer.name, turn))
        finally:
            for writer in writers:
                writer.is_over = True
                writer.join()
        rate = sum(writer.written for writer in writers) * BATCH / SECONDS / 2
        gap_s = sum(count[2] for count in counts) / len(counts)
        unavoidable = gap_s * rate / POOL_PAGES
        say(f"eviction storm: each of two pools of {POOL_PAGES} pages is gone through in"
            f" {POOL_PAGES / rate:.2f} s; exists and get together take {gap_s * 1e3:.1f} ms, in which"
            f" {unavoidable:.5f} of a pool goes")
        self.assertLess(self.report("eviction storm", counts), 2 * unavoidable + 0.002)

    def test_churn(self):
        """Holders are killed, and come back empty."""
        options = {"ring_grace": 4}
        nodes = self.cluster(**options)
        counts, end, turn = [], time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            victim = 2 + turn % 2
            nodes[victim].call("set", f"churn{turn}", 0, 8 * BATCH, SIZE, 2000)
            until, is_dead = time.monotonic() + 2, False
            while time.monotonic() < until:
                if not is_dead and time.monotonic() > until - 1:
                    nodes[victim].process.kill()
                    is_dead = True
                counts.append(self.ask_and_read(nodes[random.choice((1, 4, 5))], f"churn{turn}",
                                                random.randrange(8)))
            nodes[victim].process.wait()
            nodes[victim] = self.caller(victim, **options)
            turn += 1
        self.assertLess(self.report(f"churn, {turn} nodes killed", counts), 0.01)


if __name__ == "__main__":
    unittest.main()
