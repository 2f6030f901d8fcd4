# SPDX-License-Identifier: Apache-2.0
"""Processes that die (SIGKILL), of each role, and hosts that fall silent.

Bounds: exists says no within a second of a holder's death, and from then on; where nothing tells of
the death, since the host is gone with it, within member_ttl and three heartbeats.  Running nodes go
on without any master.
"""
import signal
import time
import unittest

from cluster import BATCH, SMALL, OnHosts, say
from hosts import require_hosts

from callers import LATE_MS, STORED

require_hosts()

TIMEOUT_MS = 1000


class Killed(OnHosts):
    def setUp(self):
        self.make_hosts()

    def time_until_false(self, readers, name, limit_s, gone):
        """Seconds until exists says no to every reader for all pages; it must not say yes again.
        Asked page by page: in a batch, a dead owner among those that are asked tells of itself."""
        gone()
        started, last_true = time.monotonic(), 0.0
        while time.monotonic() - started < limit_s + self.MEMBER_TTL_S + 1:
            for reader in readers:
                for page in range(BATCH):
                    called = reader.call("exists", name, page, 1, 1, TIMEOUT_MS)
                    self.assert_in_time(called, TIMEOUT_MS)
                    if called.outcomes == ["FOUND"]:
                        last_true = time.monotonic() - started
            if last_true > limit_s:
                break
        return last_true

    def test_pages_of_a_dead_holder(self):
        """They are stored anew by whoever has them next."""
        _, _, holder, first, second, _ = self.cluster()
        self.store(holder, "a", BATCH, SMALL)
        for reader in (first, second):
            self.assert_found(reader, "a", BATCH, SMALL)
        until = self.time_until_false((first, second), "a", 1, lambda: holder.signal(signal.SIGKILL))
        say(f"holder killed: exists said yes until {until * 1e3:.0f} ms after it")
        self.assertLess(until, 1)
        self.store(second, "a", BATCH, SMALL)
        self.assert_found(first, "a", BATCH, SMALL)

    def test_set_right_after_a_death(self):
        _, _, holder, first, second, _ = self.cluster()
        self.store(holder, "a", BATCH, SMALL)
        self.assert_found(second, "a", BATCH, SMALL)
        holder.signal(signal.SIGKILL)
        started = time.monotonic()
        while time.monotonic() < started + 1:
            second.call("set", "a", 0, BATCH, SMALL, TIMEOUT_MS)
            if second.call("get", "a", 0, BATCH, SMALL, TIMEOUT_MS).outcomes == ["HIT"] * BATCH:
                break
        say(f"holder killed: stored again after {(time.monotonic() - started) * 1e3:.0f} ms")
        self.assert_found(first, "a", BATCH, SMALL)

    def test_host_that_falls_silent(self):
        """Nobody hangs up for it."""
        _, _, holder, reader, _, _ = self.cluster()
        self.store(holder, "a", BATCH, SMALL)
        others = [host for host in self.hosts if host.number != 2]
        limit_s = self.MEMBER_TTL_S + 3 * self.HEARTBEAT_S
        until = self.time_until_false([reader], "a", limit_s,
                                      lambda: self.hosts.cut([self.hosts[2]], others))
        say(f"host silent: exists said yes until {until * 1e3:.0f} ms after it,"
            f" with member_ttl {self.MEMBER_TTL_S} s")
        self.assertLess(until, limit_s)

    def assert_goes_on(self, writer, reader, name):
        """Pages of living nodes are found, and new ones are stored and found."""
        called = reader.call("get", "kept", 0, BATCH, SMALL, TIMEOUT_MS)
        self.assert_in_time(called, TIMEOUT_MS)
        self.assertEqual(called.outcomes, ["HIT"] * BATCH, called)
        called = writer.call("set", name, 0, BATCH, SMALL, TIMEOUT_MS)
        self.assert_in_time(called, TIMEOUT_MS)
        self.assertLessEqual(set(called.outcomes), STORED, called)
        self.await_found(reader, name, BATCH, SMALL)

    def test_masters_one_after_another(self):
        """Three of five hosts, the head first: what is on the other two is served all the time.
        All four owners of a page, so that one of them lives."""
        nodes = self.cluster(directory_replicas=4)
        self.store(nodes[4], "kept", BATCH, SMALL)
        for number in (1, 2, 3):
            nodes[number].signal(signal.SIGKILL)
            nodes[number].process.wait()
            self.assert_goes_on(nodes[5], nodes[4], f"after-{number}")
            self.assert_goes_on(nodes[4], nodes[5], f"again-{number}")
        time.sleep(self.MEMBER_TTL_S + 3 * self.HEARTBEAT_S)
        self.assert_goes_on(nodes[5], nodes[4], "late")
        back = self.caller(1, directory_replicas=4)
        for name in ("kept", "after-3", "late"):
            self.await_found(back, name, BATCH, SMALL)

    def test_head_comes_back(self):
        """It dies, the others go on, and a new life on its host has the whole list again."""
        nodes = self.cluster()
        self.store(nodes[4], "kept", BATCH, SMALL)
        nodes[1].signal(signal.SIGKILL)
        nodes[1].process.wait()
        self.assert_goes_on(nodes[5], nodes[4], "while")
        back = self.caller(1)
        started = time.monotonic()
        self.await_found(back, "kept", BATCH, SMALL)
        self.await_found(back, "while", BATCH, SMALL)
        say(f"a new head found all pages after {time.monotonic() - started:.1f} s")

    def test_killed_in_the_middle_of_a_get(self):
        _, _, holder, other, reader, _ = self.cluster()
        self.store(holder, "a", BATCH, 1 << 20)
        self.store(other, "b", 4, 1 << 20)
        reader.tell("repeat", "get", "a", 0, BATCH, 1 << 20, 2000, 2)
        reader.answer()
        holder.signal(signal.SIGKILL)
        answer = reader.answer()
        self.assertEqual((answer["error"], answer["wrong"]), (0, 0))
        self.assertLessEqual(answer["ms"], 2000 + LATE_MS)
        self.assert_found(reader, "b", 4, 1 << 20)


if __name__ == "__main__":
    unittest.main()
