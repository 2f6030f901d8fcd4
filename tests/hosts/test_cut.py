# SPDX-License-Identifier: Apache-2.0
"""Networks that fail: cut one way and both ways, in two halves, with losses, far away.

Bounds: a call ends by its deadline + 100 ms; pages of hosts that are reached arrive; after a heal all
is found within 10 s (a breaker pauses for up to 4 s, a broken connection is dialled anew each 0.5 s,
a sync follows).
"""
import time
import unittest

from cluster import BATCH, IS_LONG, LARGE, SMALL, Calls, OnHosts, say
from hosts import require_hosts

from callers import STORED
from processes import wait_for

require_hosts()

TIMEOUT_MS = 1000
HEALED_S = 10


class Cut(OnHosts):
    def setUp(self):
        self.make_hosts()

    def await_all_found(self, nodes, names, size, what):
        started = time.monotonic()
        for node in nodes:
            for name in names:
                wait_for(lambda: self.is_found(node, name, size), f"{name} to be found {what}",
                         HEALED_S - (time.monotonic() - started))
        say(f"{what}: all pages found everywhere after {time.monotonic() - started:.1f} s")

    def is_found(self, node, name, size):
        called = node.call("get", name, 0, BATCH, size, 2000)
        self.assertEqual(called.wrong, 0)
        return called.outcomes == ["HIT"] * BATCH

    def check_one_way(self, source, destination):
        """From the holder to the reader, and the other way round; half of the batch is elsewhere."""
        nodes = self.cluster()
        _, _, holder, other, reader, _ = nodes
        self.spread([holder, other], "a", BATCH, SMALL)
        get = ("get", "a", 0, BATCH, SMALL, TIMEOUT_MS)
        before = self.repeat(reader, get, seconds=1)
        self.hosts.cut_one_way(self.hosts[source], self.hosts[destination])
        first, after = self.repeat(reader, get, count=1), self.repeat(reader, get, seconds=4)
        say(f"cut from host {source} to {destination}: before {before};"
            f" first {first.first:.1f} ms; then {after}")
        for called in first.calls + after.calls:
            self.assertEqual(called.outcomes[1::2], ["HIT"] * (BATCH // 2), called)
        self.hosts.heal()
        self.await_all_found([reader], ["a"], SMALL, "healed")
        self.await_whole(*nodes[1:])

    def test_from_holder_to_reader(self):
        self.check_one_way(2, 4)

    def test_from_reader_to_holder(self):
        self.check_one_way(4, 2)

    def test_three_and_two(self):
        """For 30 s, three times ring_grace: each side serves what it has and stores more; then
        there is one cluster again."""
        seconds, options = 90 if IS_LONG else 30, {"ring_grace": 10}
        nodes = self.cluster(**options)
        sides = {"head's side": nodes[1:4], "other side": nodes[4:6]}
        for number, node in enumerate(nodes[1:], 1):
            self.store(node, f"before{number}", BATCH, SMALL)
        self.hosts.cut([self.hosts[1], self.hosts[2], self.hosts[3]],
                       [self.hosts[4], self.hosts[5]])
        cut_at, turn = time.monotonic(), 0
        found = {side: [] for side in sides}
        while time.monotonic() < cut_at + seconds:
            turn += 1
            for side, (writer, *_, reader) in sides.items():
                found[side].append(self.use(side, writer, reader, turn))
            time.sleep(0.5)
        for side, shares in found.items():
            say(f"{side}: share of its pages found, in turns of about"
                f" {seconds / len(shares):.1f} s: " + " ".join(f"{s:.2f}" for s in shares))
            if any(node.status()["node"]["serves_discovery"] for node in sides[side]):
                self.assertEqual(shares[-1], 1, side)
            else:
                say(f"{side}: no master, so its ring keeps the shards of those who are gone")
        self.hosts.heal()
        names = [f"before{n}" for n in range(1, 6)]
        names += [f"{side.split()[0][:5]}{t}" for side in sides for t in (1, turn // 2, turn)]
        self.await_all_found(nodes[1:], names, SMALL, "healed")
        self.await_whole(*nodes[1:])

    def use(self, side, writer, reader, turn):
        """What @writer has just stored, and what it had before, as @reader finds it; a node always
        has its own."""
        name = f"{side.split()[0][:5]}{turn}"
        called = writer.call("set", name, 0, BATCH, SMALL, TIMEOUT_MS)
        self.assert_in_time(called, TIMEOUT_MS)
        self.assertLessEqual(set(called.outcomes), STORED, called)
        self.assert_found(writer, name, BATCH, SMALL)
        called = reader.call("get", name, 0, BATCH, SMALL, TIMEOUT_MS)
        self.assert_in_time(called, TIMEOUT_MS)
        return called.outcomes.count("HIT") / BATCH


class Loss(OnHosts):
    def test_one_percent(self):
        """TCP makes up for most of it, and no call is late."""
        self.make_hosts()
        nodes = self.cluster()
        _, _, one, other, reader, _ = nodes
        for size in (SMALL, LARGE):
            self.spread([one, other], f"a{size}", BATCH, size)
        for host in self.hosts:
            host.lose(1)
        for size in (SMALL, LARGE):
            get = self.repeat(reader, ("get", f"a{size}", 0, BATCH, size, 2000), seconds=5)
            exists = self.repeat(reader, ("exists", f"a{size}", 0, BATCH, 1, TIMEOUT_MS), seconds=3)
            hits = [called.outcomes.count("HIT") / BATCH for called in get.calls]
            yes = [called.outcomes.count("FOUND") / BATCH for called in exists.calls]
            say(f"1 % loss, {BATCH} pages of {size}: get {get}, hits {sum(hits) / len(hits):.4f};"
                f" exists {exists}, yes {sum(yes) / len(yes):.4f}")
            # A peer that loses an answer twice is suspected until a probe has been there and back.
            # That probe may be lost too: then the calls of a quarter of a second go on without it.
            self.assertGreater(sum(hits) / len(hits), 0.6)
            self.assertGreater(sum(yes) / len(yes), 0.6)
        sets = []
        for turn in range(100):
            sets.append(one.call("set", f"s{turn}", 0, BATCH, SMALL, TIMEOUT_MS))
            self.assert_in_time(sets[-1], TIMEOUT_MS)
            self.assertLessEqual(set(sets[-1].outcomes), STORED)
        say(f"1 % loss: set {Calls(sets)}")


class Far(OnHosts):
    def test_fifty_milliseconds(self):
        """One way, between any two hosts.  Peers are reached, and nothing is taken for dead."""
        self.make_hosts(delay_ms=25)
        nodes = self.cluster()
        _, _, one, other, reader, _ = nodes
        self.spread([one, other], "a", BATCH, SMALL)
        self.spread([one, other], "b", 8, LARGE)
        for name, n, size in (("a", BATCH, SMALL), ("b", 8, LARGE)):
            calls = self.repeat(reader, ("get", name, 0, n, size, 2000), count=20)
            hits = [called.outcomes.count("HIT") / n for called in calls.calls]
            say(f"50 ms away, {n} pages of {size}: first {calls.first:.0f} ms, {calls};"
                f" hits {' '.join(f'{h:.2f}' for h in hits)}")
            self.assertEqual(hits, [1] * len(hits))
        calls = self.repeat(reader, ("exists", "a", 0, BATCH, 1, 500), count=10)
        for called in calls.calls:
            self.assertEqual(called.outcomes, ["FOUND"] * BATCH)
        say(f"50 ms away: exists {calls}")


if __name__ == "__main__":
    unittest.main()
