# SPDX-License-Identifier: Apache-2.0
"""A process that hangs (SIGSTOP), in each of its roles, while others read.

Bounds: no call is later than its deadline + 100 ms; pages of healthy nodes arrive in the same batch;
once a call has found out, no later one is slower than before, not even the one that comes when
somebody looks whether the hung one is back.
"""
import errno
import signal
import unittest

from cluster import BATCH, LARGE, SMALL, Calls, OnHosts, say
from hosts import require_hosts

from callers import LATE_MS, STORED

require_hosts()

TIMEOUT_MS = 1000
# Several probes fall into it: they are 0.25, 0.5, 1 ... s apart.
AFTERWARDS_S = 2.5


# A machine that is busy with something else makes calls slow as well: one good try of several shows
# that it is not the code.  What must hold in any case is looked at in each.
TRIES = 4


class Stopped(OnHosts):
    # Longer than a stop: what calls find out by themselves is looked at, not what discovery says.
    MEMBER_TTL_S = 6

    def setUp(self):
        self.make_hosts()
        self.nodes = self.cluster()

    def stop_and_read(self, hung, reader, get):
        """The first call after the stop, and those that follow for a while."""
        hung.signal(signal.SIGSTOP)
        try:
            return self.repeat(reader, get, count=1), self.repeat(reader, get, seconds=AFTERWARDS_S)
        finally:
            hung.signal(signal.SIGCONT)
            self.await_found(reader, get[1], BATCH, get[4])
            self.await_whole(*self.nodes[1:])

    def assert_arrived(self, called, healthy):
        for page, outcome in enumerate(called.outcomes):
            if healthy[page % len(healthy)]:
                self.assertEqual(outcome, "HIT", called)

    def check(self, role, hung, holders, reader, size):
        """@reader reads a batch of which page i is at holders[i % len(holders)]."""
        name, healthy = f"{role}-{size}", [holder is not hung for holder in holders]
        self.spread(holders, name, BATCH, size)
        get = ("get", name, 0, BATCH, size, TIMEOUT_MS)
        for _ in range(TRIES):
            before = self.repeat(reader, get, seconds=AFTERWARDS_S / 2)
            self.assert_arrived(before.calls[-1], [True])
            first, after = self.stop_and_read(hung, reader, get)
            say(f"{role} stopped, {BATCH} pages of {size}: before {before}; first"
                f" {first.first:.1f} ms; second {after.first:.1f} ms; then {after}")
            for called in first.calls + after.calls:
                self.assert_arrived(called, healthy)
            # Half of the pages or all of them are read: what was the slowest before is ample.
            bound = before.slowest * 2 + 5
            if after.slowest <= bound:
                return
        self.fail(f"{after.slowest} ms, and before the stop at most {before.slowest} ms")

    def check_both(self, role, hung, holders, reader):
        for size in (SMALL, LARGE):
            with self.subTest(f"{role}, {size}"):
                self.check(role, hung, holders, reader, size)

    def test_holder(self):
        _, _, hung, healthy, reader, _ = self.nodes
        self.check_both("holder", hung, [hung, healthy], reader)

    def test_owner(self):
        """It holds none of the pages, and knows where four of ten are."""
        _, _, one, other, reader, hung = self.nodes
        self.check_both("owner", hung, [one, other], reader)

    def test_master(self):
        """One that is not the head, where there are several."""
        masters = [node for node in self.nodes[1:] if node.status()["node"]["serves_discovery"]]
        hung = masters[-1]
        one, other, reader = [node for node in self.nodes[1:] if node is not hung][-3:]
        self.check_both("master", hung, [one, other], reader)

    def test_head(self):
        _, head, one, other, reader, _ = self.nodes
        self.check_both("head", head, [one, other], reader)

    def calls(self, kind, caller, count):
        """Sets are of new pages each time."""
        outcomes = {"set": STORED, "exists": {"FOUND"}}[kind]
        made = []
        for _ in range(count):
            self.turn = getattr(self, "turn", 0) + 1
            name = f"s{self.turn}" if kind == "set" else "a"
            made.append(caller.call(kind, name, 0, BATCH, SMALL, TIMEOUT_MS))
            self.assert_in_time(made[-1], TIMEOUT_MS)
            self.assertLessEqual(set(made[-1].outcomes), outcomes)
        return Calls(made)

    def test_set_and_exists(self):
        """What needs the hung one's answer goes on without it, in the second call as before."""
        _, _, holder, caller, hung, _ = self.nodes
        self.store(holder, "a", BATCH, SMALL)
        for kind in ("set", "exists"):
            for _ in range(TRIES):
                before = self.calls(kind, caller, 200)
                hung.signal(signal.SIGSTOP)
                try:
                    first, after = self.calls(kind, caller, 1), self.calls(kind, caller, 200)
                finally:
                    hung.signal(signal.SIGCONT)
                say(f"{kind} with one stopped: before {before}; first {first.first:.1f} ms;"
                    f" then {after}")
                self.await_whole(*self.nodes[1:])
                if after.slowest <= before.slowest * 2 + 5:
                    break
            else:
                self.fail(f"{kind}: {after}, and before the stop {before}")

    def test_clear(self):
        """It waits a second for the hung one, and the next clear not at all; all the same the hung
        one has heard when it goes on."""
        _, _, caller, hung, other, _ = self.nodes
        self.store(hung, "a", BATCH, SMALL)
        hung.signal(signal.SIGSTOP)
        try:
            first, second = caller.ask("clear", 5000), caller.ask("clear", 5000)
        finally:
            hung.signal(signal.SIGCONT)
        say(f"clear with one stopped: first {first['ms']:.0f} ms, second {second['ms']:.1f} ms")
        self.assertEqual((first["error"], second["error"]), (-errno.ETIMEDOUT, -errno.ETIMEDOUT))
        self.assertLess(first["ms"], 1000 + LATE_MS)
        self.assertLess(second["ms"], LATE_MS)
        self.await_whole(*self.nodes[1:])
        called = other.call("get", "a", 0, BATCH, SMALL, TIMEOUT_MS)
        self.assertNotIn("HIT", called.outcomes)
        self.assertEqual(caller.ask("clear", 5000)["error"], 0)


if __name__ == "__main__":
    unittest.main()
