# SPDX-License-Identifier: Apache-2.0
"""Processes that seem to be on one host and cannot share memory, as in two containers: one boot id,
network namespaces of their own.

Bounds: with protocol=auto, pages come over TCP, as fast as with protocol=tcp (the attempts at shared
memory, one a second and peer, may take 100 ms each where they are not refused), and the log says so
once for each peer; with protocol=shm they are misses, at once.
"""
import unittest

from cluster import BATCH, SMALL, OnHosts, say
from hosts import require_hosts

require_hosts()

TIMEOUT_MS = 1000


class Protocol(OnHosts):
    def read(self, protocol):
        self.make_hosts(count=3)
        nodes = self.cluster(protocol=protocol)
        self.spread(nodes[1:3], "a", BATCH, SMALL)
        return nodes[3], self.repeat(nodes[3], ("get", "a", 0, BATCH, SMALL, TIMEOUT_MS), seconds=3)

    def lines(self, reader):
        return [line for line in reader.log().splitlines() if "event=protocol " in line]

    def test_auto_falls_back(self):
        _, tcp = self.read("tcp")
        self.doCleanups()
        reader, auto = self.read("auto")
        say(f"{BATCH} pages of {SMALL}: tcp {tcp}; auto, where memory cannot be shared, {auto}")
        for called in auto.calls:
            self.assertEqual(called.outcomes, ["HIT"] * BATCH)
            self.assertEqual(set(called.ways), {"tcp"})
        self.assertLess(auto.slowest, tcp.slowest * 2 + 50)
        said = self.lines(reader)
        self.assertEqual(len(said), 2, said)
        self.assertTrue(all("protocol=tcp" in line for line in said), said)

    def test_shm_by_name(self):
        reader, calls = self.read("shm")
        say(f"protocol=shm, other hosts: {calls}")
        self.assertEqual(set(calls.calls[-1].outcomes), {"MISS_PEER"})
        self.assertLess(calls.median, 10)
        self.assertTrue(all("protocol=none" in line for line in self.lines(reader)))
        self.assertEqual(len(self.lines(reader)), 2)


if __name__ == "__main__":
    unittest.main()
