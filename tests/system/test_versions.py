# SPDX-License-Identifier: Apache-2.0
"""Nodes of several builds in one cluster: `old` speaks protocol version 1, as it is released, `next` 1
and 2, `after` only 2.

On connections of version 2 a build says a message that version 1 does not have (src/wire/next.h), so
one that is said to the wrong node breaks a connection, which every test looks for at its end.
"""
import os
import pathlib
import sys
import tempfile
import time
import unittest

import test_trouble
from callers import CALLER, Caller
from processes import PEERCACHE, free_port, run, wait_for

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "hosts"))

from chat import TIMEOUT_MS, Chat

PROGRAMS = {"old": CALLER, "next": os.environ["CALLER_NEXT"], "after": os.environ["CALLER_AFTER"]}
SPOKEN = {"old": (1, 1), "next": (1, 2), "after": (2, 2)}
CLUSTER = test_trouble.CLUSTER
PAGES, BYTES = 32, 20000
# What a node says when the other end has broken the protocol, or it takes the other to have done so.
BROKEN = ("connection_broken", "connection_not_accepted")


def node_id(node):
    return node.status()["node"]["node_id"]


def counter(node, name):
    return node.status()["counters"][f"peercache_{name}_total"]


class Versions(test_trouble.Trouble):
    def node(self, build, prefix=(), **options):
        node = Caller(self, *self.options(member_ttl="30", **options), prefix=prefix,
                      program=PROGRAMS[build])
        node.build = build
        return node

    def mixed(self, *builds, **options):
        nodes = [self.node(build, **options) for build in builds]
        self.await_whole(*nodes)
        return nodes

    def assert_unbroken(self, *nodes):
        for node in nodes:
            for event in BROKEN:
                self.assertNotIn(f"event={event}", node.log())

    def assert_agreed(self, *nodes):
        """Each two use the highest version that both speak, and say so."""
        builds = {node_id(node): node.build for node in nodes}
        for node in nodes:
            status = node.status()
            own = status["node"]
            self.assertEqual((own["protocol_version_min"], own["protocol_version_max"]),
                             SPOKEN[node.build])
            agreed = {member["node_id"]: member["protocol_version"] for member in status["members"]}
            self.assertEqual(agreed, {peer: min(SPOKEN[node.build][1], SPOKEN[build][1])
                                      for peer, build in builds.items()})

    def assert_all_get_all(self, nodes, way, first=0):
        for number, node in enumerate(nodes):
            self.store(node, f"of{number}", PAGES, BYTES)
        for number in range(len(nodes)):
            for reader in nodes:
                called = reader.call("exists", f"of{number}", first, PAGES, 1, 5000)
                self.assertEqual(called.outcomes, ["FOUND"] * PAGES)
                called = reader.call("get", f"of{number}", first, PAGES, BYTES, 5000)
                self.assertEqual((called.wrong, called.outcomes), (0, ["HIT"] * PAGES), called)
                if reader is not nodes[number]:
                    self.assertEqual(set(called.ways), {way}, called)


class SideBySide(Versions):
    def check_pages(self, protocol, way):
        nodes = self.mixed("old", "next", "old", "next", protocol=protocol, hot_pages="false")
        self.assert_agreed(*nodes)
        self.assert_all_get_all(nodes, way)
        # Between the two that speak it, version 2 is really used: on control connections, and each
        # way for discovery.
        wait_for(lambda: all("event=note" in node.log() for node in nodes if node.build == "next"),
                 "the notes of version 2")
        for node in nodes:
            self.assertEqual("event=note" in node.log(), node.build == "next")
        self.assert_unbroken(*nodes)

    def test_pages_over_shared_memory(self):
        self.check_pages("auto", "shm")

    def test_pages_over_tcp(self):
        self.check_pages("tcp", "tcp")

    def test_what_is_too_new_breaks_connections(self):
        """So that the tests above would see it: here `next` says it to everybody."""
        old = self.node("old")
        self.node("next", prefix=("env", "PEERCACHE_TEST_PROTECTIONS_OFF=version_gate"))
        wait_for(lambda: 'reason="what came is no message of this protocol"' in old.log(),
                 "the other to hang up")

    def test_cleared_namespace(self):
        nodes = self.mixed("old", "next", "old")
        self.assert_all_get_all(nodes, "shm")
        self.assertEqual(nodes[1].ask("clear", 5000)["error"], 0)
        for node in nodes:
            called = node.call("exists", "of0", 0, PAGES, 1, 5000)
            self.assertNotIn("FOUND", called.outcomes)
        self.assert_unbroken(*nodes)

    def test_hot_pages(self):
        nodes = self.mixed("old", "next", "old", "next", protocol="tcp")
        self.store(nodes[0], "prefix", PAGES, BYTES)
        for _ in range(4):
            for reader in nodes[1:]:
                self.assert_found(reader, "prefix", PAGES, BYTES)
        for node in nodes[1:3]:
            self.assertGreater(counter(node, "hot_pages_published"), 0, node.build)
        self.assert_unbroken(*nodes)

    def drain(self, leaver_build, other_build):
        self.discovery = f"127.0.0.1:{free_port()}"
        leaver, other = self.mixed(leaver_build, other_build)
        self.store(leaver, "page", PAGES, BYTES)
        own = leaver.status()["node"]
        outcome = run(PEERCACHE, "drain", f"{own['host']}:{own['control_port']}", "--cluster_name",
                      CLUSTER)
        self.assertEqual(outcome.returncode, 0, outcome)
        self.assertEqual(leaver.leave(), 0)
        self.assert_found(other, "page", PAGES, BYTES)
        self.assert_unbroken(leaver, other)

    def test_drain_to_the_other_build(self):
        self.drain("old", "next")
        self.drain("next", "old")


class NothingInCommon(Versions):
    BOTH = ("no protocol version in common: this node speaks 1 to 1, the peer 2 to 2",
            "no protocol version in common: this node speaks 2 to 2, the peer 1 to 1")

    def test_both_ranges_are_named(self):
        old = self.node("old")
        after = self.node("after")
        wait_for(lambda: any(sentence in after.log() for sentence in self.BOTH),
                 "the newcomer to say why it has no cluster")
        wait_for(lambda: any(sentence in old.log() for sentence in self.BOTH),
                 "the other to say so too")
        for node in (old, after):
            self.assertEqual(len(node.status()["members"]), 1)
            self.store_alone(node)

    def store_alone(self, node):
        """What it has and its own pages do not depend on the others."""
        called = node.call("set", "own", 0, 4, BYTES, 5000)
        self.assertLessEqual(set(called.outcomes), test_trouble.STORED)
        called = node.call("get", "own", 0, 4, BYTES, 5000)
        self.assertEqual((called.wrong, called.outcomes), (0, ["HIT"] * 4))

    def test_tool_says_it_too(self):
        own = self.node("after").status()["node"]
        outcome = run(PEERCACHE, "status", "--node", f"{own['host']}:{own['control_port']}",
                      "--cluster_name", CLUSTER)
        self.assertNotEqual(outcome.returncode, 0)
        self.assertIn("this node speaks 2 to 2, the peer 1 to 1", outcome.stderr.decode())


class OtherLayout(Versions):
    def test_memory_that_is_laid_out_otherwise_costs_shared_memory_alone(self):
        nodes = self.mixed("next", "after", hot_pages="false")
        self.assert_agreed(*nodes)
        self.assert_all_get_all(nodes, "tcp")
        for node in nodes:
            self.assertIn('protocol=tcp reason="its memory is laid out as in another version"',
                          node.log())
        self.assert_unbroken(*nodes)


class Rolling(Versions):
    STEP_S = 1.5

    def setUp(self):
        super().setUp()
        self.folder = self.enterContext(tempfile.TemporaryDirectory())

    def start(self, place, build):
        """Each has a state directory of its own, as if it were on a host of its own."""
        return self.node(build, state_dir=f"{self.folder}/{place}", directory_replicas=2,
                         local_hostname="127.0.0.1")

    def replace(self, place, build, kills):
        def make(former):
            identity = node_id(former)
            if kills:
                former.process.kill()
                former.process.wait()
            else:
                self.assertEqual(former.leave(), 0)
            node = self.start(place, build)
            self.assertEqual(node_id(node), identity)
            return node
        return make

    def check(self, kills, *steps):
        """All nodes of one build, and then one after another to each of @steps, while engines talk."""
        first, *steps = steps
        nodes = [self.start(place, first) for place in range(4)]
        self.await_whole(*nodes)
        chat = Chat(nodes, 16, 16 << 10)
        chat.start()
        try:
            time.sleep(2 * self.STEP_S)
            for build in steps:
                for place in range(len(nodes)):
                    chat.replace(place, self.replace(place, build, kills))
                    time.sleep(self.STEP_S)
            ended_s = time.monotonic() - chat.started
            time.sleep(2 * self.STEP_S)
        finally:
            chat.stop()
        self.assertEqual(chat.failures, [])
        for called in (called for turn in chat.turns for called in turn.calls):
            self.assert_in_time(called, TIMEOUT_MS)
        before, after = chat.hit_rate(1, 2 * self.STEP_S), chat.hit_rate(ended_s)
        print(f"# {'killed' if kills else 'closed'}, {first} to {' to '.join(steps)}: {len(chat.turns)}"
              f" turns, hit rate before {before:.3f}, meanwhile"
              f" {chat.hit_rate(2 * self.STEP_S, ended_s):.3f}, after {after:.3f}", flush=True)
        self.assertGreater(after, before - 0.05)
        self.await_whole(*chat.callers)
        self.assert_agreed(*chat.callers)

    def test_closed_up_twice(self):
        """To a build that has given the first version up, by way of one that speaks both."""
        self.check(False, "old", "next", "after")

    def test_killed_up_and_back(self):
        self.check(True, "old", "next", "old")


if __name__ == "__main__":
    unittest.main()
