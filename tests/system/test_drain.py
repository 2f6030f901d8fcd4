# SPDX-License-Identifier: Apache-2.0
"""A node that is told to leave: its pages go to others, and nobody who reads notices."""
import json
import os
import pathlib
import signal
import tempfile
import threading
import time
import unittest

import test_trouble
from processes import PEERCACHE, WAIT_S, free_port, run, wait_for

PAGES, BYTES = 256, 65536
HUNG_MS = 150  # a peer that is silent for longer may be taken for a hung one
CLUSTER = test_trouble.CLUSTER


def address_of(node):
    own = node.status()["node"]
    return f"{own['host']}:{own['control_port']}"


def drain(address, *more, **environment):
    return run(PEERCACHE, "drain", address, "--cluster_name", CLUSTER, *more, **environment)


class Drain(test_trouble.Trouble):
    def start(self, *others, **leaver):
        """The one that will leave, with all the pages, and then the others."""
        head = self.caller(global_segment_size="16mb")
        nodes = [head, self.caller(**leaver), *(self.caller(**options) for options in others)]
        self.await_whole(*nodes)
        called = nodes[1].call("set", "page", 0, PAGES, BYTES, 10000)
        self.assertEqual(set(called.outcomes), {"STORED"})
        return nodes

    def drain(self, node, *more):
        """The exit status, and the report."""
        outcome = drain(address_of(node), "--json", *more)
        self.assertTrue(outcome.stdout, outcome)
        return outcome.returncode, json.loads(outcome.stdout)

    def assert_all_there(self, reader, count=PAGES):
        """On a busy machine a process may not run for so long that it is taken for a hung one, which
        is a miss; then it is asked again."""
        for _ in range(4):
            called = reader.call("get", "page", 0, count, BYTES, 10000)
            self.assertEqual(called.wrong, 0, called)
            if called.ms < HUNG_MS:
                break
        self.assertEqual(called.outcomes.count("HIT"), count, called)

    def test_pages_are_found_elsewhere_when_it_has_left(self):
        _, leaver, other, third = self.start({}, {})
        status, report = self.drain(leaver)
        self.assertEqual((status, report["state"]), (0, "drained"), report)
        self.assertEqual((report["pages"], report["handed_over"]), (PAGES, PAGES))
        self.assertEqual(report["bytes_handed_over"], PAGES * BYTES)
        self.assertEqual(leaver.leave(), 0)
        called = third.call("exists", "page", 0, PAGES, BYTES, 1000)
        self.assertEqual(set(called.outcomes), {"FOUND"})
        self.assert_all_there(third)
        self.assert_all_there(other)

    def read_while_one_leaves(self):
        self.discovery = f"127.0.0.1:{free_port()}"
        _, leaver, _, reader = self.start({"protocol": "tcp"}, {"protocol": "tcp"}, protocol="tcp")
        reader.tell("repeat", "get", "page", 0, PAGES, BYTES, 5000, 4)
        self.assertEqual(reader.answer(), {"is_running": True})
        status, report = self.drain(leaver)
        self.assertEqual(status, 0, report)
        self.assertEqual(leaver.leave(), 0)
        called = test_trouble.Called(reader.answer())
        self.assertEqual(called.wrong, 0, called)
        return called

    def test_nobody_who_reads_notices(self):
        """Made again where a process was taken for a hung one."""
        for _ in range(4):
            called = self.read_while_one_leaves()
            if called.ms < HUNG_MS:
                break
        self.assertEqual(set(called.outcomes), {"HIT"}, called)

    def test_draining_node_stores_nothing_and_is_called_so(self):
        _, leaver, other = self.start({})
        self.assertEqual(self.drain(leaver)[0], 0)
        called = leaver.call("set", "new", 0, 4, BYTES, 1000)
        self.assertEqual(set(called.outcomes), {"REFUSED_DRAINING"})
        self.assert_all_there(leaver)
        self.assertEqual(leaver.status()["node"]["state"], "draining")
        own = leaver.status()["node"]["node_id"]
        wait_for(lambda: any(member["node_id"] == own and member["state"] == "draining"
                             for member in other.status()["members"]), "the others to hear of it")

    def test_copies_are_not_handed_over(self):
        options = {"protocol": "tcp"}
        _, leaver, *readers = self.start(options, options, options, **options)
        for _ in range(3):
            for reader in readers:
                self.assert_all_there(reader)
        status, report = self.drain(leaver)
        self.assertEqual(status, 0, report)
        self.assertGreater(report["elsewhere"], 0)
        self.assertEqual(report["elsewhere"] + report["handed_over"], PAGES, report)
        leaver.leave()
        self.assert_all_there(readers[0])

    def test_drain_twice(self):
        _, leaver, _ = self.start({})
        first = self.drain(leaver)
        self.assertEqual(first[0], 0, first)
        self.assertEqual(self.drain(leaver), first)

    def assert_serves_again(self, node, other, name):
        """It stores, what it has is found, and the others count on it."""
        wait_for(lambda: {member["state"] for member in other.status()["members"]} == {"alive"},
                 "the others to hear of it")
        called = node.call("set", name, 0, 4, BYTES, 1000)
        self.assertEqual(called.outcomes, ["STORED"] * 4)
        called = other.call("get", name, 0, 4, BYTES, 1000)
        self.assertEqual((called.outcomes, called.wrong), (["HIT"] * 4, 0))

    def test_node_that_was_drained_stays_after_all(self):
        """An engine whose node was drained, but which is not ended."""
        _, node, other = self.start({})
        self.assertEqual(self.drain(node)[0], 0)
        called = node.call("set", "new", 0, 4, BYTES, 1000)
        self.assertEqual(set(called.outcomes), {"REFUSED_DRAINING"})
        status, report = self.drain(node, "--cancel")
        self.assertEqual((status, report["state"], report["pages"]), (0, "serving", 0), report)
        self.assert_serves_again(node, other, "new")
        self.assert_all_there(node)
        self.assert_all_there(other)
        self.assertIn("event=drain_cancelled", node.log())
        # Once more is no error, and it can be drained again; what the others have they keep.  (An
        # owner that was too slow to say where a page is costs a second copy.)
        self.assertEqual(self.drain(node, "--cancel")[0], 0)
        status, report = self.drain(node)
        self.assertEqual((status, report["pages"]), (0, PAGES + 4), report)
        self.assertEqual(report["elsewhere"] + report["handed_over"], PAGES + 4, report)
        self.assertGreater(report["elsewhere"], PAGES // 2, report)

    def test_drain_is_cancelled_while_it_runs(self):
        """Its thread waits for a node that hangs; the one who waits for the drain hears of its end."""
        _, node, hung, other = self.start({}, {})
        hung.signal(signal.SIGSTOP)
        outcomes = []
        thread = threading.Thread(target=lambda: outcomes.append(
            drain(address_of(node), "--drain_timeout", "60", "--json")))
        thread.start()
        wait_for(lambda: node.status()["drain"]["state"] == "draining", "the drain to begin")
        began = time.monotonic()
        status, report = self.drain(node, "--cancel")
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual((status, report["state"]), (0, "serving"), report)
        hung.signal(signal.SIGCONT)
        self.assert_serves_again(node, other, "new")
        thread.join(WAIT_S)
        self.assertEqual(outcomes[0].returncode, 4, outcomes)
        self.assertIn("cancelled", outcomes[0].stderr.decode())

    def test_no_room_is_said_and_takes_no_time(self):
        _, leaver, other = self.start({"global_segment_size": "2mb"})
        full = other.call("set", "own", 0, 64, BYTES, 5000)
        self.assertEqual(set(full.outcomes), {"STORED"})
        began = time.monotonic()
        status, report = self.drain(leaver)
        self.assertLess(time.monotonic() - began, 8)
        self.assertEqual(status, 1, report)
        self.assertGreater(report["left_no_room"], 0)
        counted = sum(report[name] for name in ("handed_over", "elsewhere", "gone", "left_no_room",
                                                "left_no_peer", "left_no_time"))
        self.assertEqual(counted, report["pages"], report)

    def test_time_that_is_given_counts_also_if_it_is_the_default(self):
        """And without one the node's own does, which here leaves no time at all."""
        for more, environment, left in ((["--drain_timeout=5"], {}, 0),
                                        ([], {"PEERCACHE_DRAIN_TIMEOUT": "5"}, 0), ([], {}, PAGES)):
            with self.subTest(more=more, environment=environment):
                self.discovery = f"127.0.0.1:{free_port()}"
                _, leaver, _ = self.start({}, drain_timeout="0")
                report = json.loads(drain(address_of(leaver), "--json", *more, **environment).stdout)
                self.assertEqual(report["left_no_time"], left, report)

    def test_last_node_of_all(self):
        alone = self.caller(discovery_addr="")
        alone.call("set", "page", 0, 20, BYTES, 5000)
        status, report = self.drain(alone)
        self.assertEqual((status, report["left_no_peer"]), (1, 20), report)

    def test_receivers_that_die_or_hang_cost_no_page(self):
        for number in (signal.SIGKILL, signal.SIGSTOP):
            with self.subTest(number):
                self.discovery = f"127.0.0.1:{free_port()}"
                _, leaver, victim, other = self.start({}, {})
                address, answers = address_of(leaver), []
                thread = threading.Thread(
                    target=lambda: answers.append(drain(address, "--json", "--drain_timeout", "8")))
                thread.start()
                wait_for(lambda: victim.status()["pool"]["live_pages"] > 0, "the first pages", 5)
                victim.signal(number)
                began = time.monotonic()
                thread.join(WAIT_S)
                self.assertLess(time.monotonic() - began, 10)
                report = json.loads(answers[0].stdout)
                self.assertEqual(report["state"], "drained", report)
                self.assertEqual(report["left_no_time"] + report["left_no_peer"], 0, report)
                victim.signal(signal.SIGKILL)

    def test_node_is_named_by_its_id(self):
        """Or by as much of it as no other member's begins with; who is asked need not be that node."""
        _, leaver, other = self.start({})
        ids = [node.status()["node"]["node_id"] for node in (leaver, other)]
        at_discovery = ("--discovery_addr", self.discovery, "--json")
        length = next(n for n in range(1, 33) if all(
            member["node_id"][:n] != ids[0][:n] for member in other.status()["members"]
            if member["node_id"] != ids[0]))
        outcome = drain(ids[0][:length], *at_discovery)
        self.assertEqual(json.loads(outcome.stdout)["pages"], PAGES, outcome)
        self.assertEqual(leaver.status()["node"]["state"], "draining")
        self.assertEqual(other.status()["node"]["state"], "serving")
        outcome = drain(ids[0].upper(), "--cancel", "--node", address_of(other))
        self.assertEqual(outcome.returncode, 0, outcome)
        wait_for(lambda: leaver.status()["node"]["state"] == "serving", "it to stay")

    def test_id_of_several_or_of_nobody(self):
        """Nobody is drained then."""
        self.discovery = f"127.0.0.1:{free_port()}"
        nodes = [self.caller(node_id=f"abcd{number:028x}") for number in (1, 2)]
        self.await_whole(*nodes)
        for word, said in (("abcd", "several"), ("ab" * 16, "no member"), ("abcde", "no member"),
                           ("a" * 33, "HOST:PORT"), ("xy", "HOST:PORT"), (":1", "HOST:PORT")):
            with self.subTest(word):
                outcome = drain(word, "--discovery_addr", self.discovery)
                self.assertEqual(outcome.returncode, 2, outcome)
                self.assertIn(said, outcome.stderr.decode())
        self.assertEqual({node.status()["node"]["state"] for node in nodes}, {"serving"})

    def test_words_for_people(self):
        _, leaver, _ = self.start({})
        outcome = drain(address_of(leaver))
        self.assertEqual(outcome.returncode, 0, outcome)
        self.assertIn(f"drained: {PAGES} pages", outcome.stdout.decode())
        self.assertIn("handed over to other nodes", outcome.stdout.decode())

    def test_unknown_node(self):
        nowhere = f"127.0.0.1:{free_port()}"
        outcome = drain(nowhere)
        self.assertEqual(outcome.returncode, 3, outcome)
        self.assertIn(nowhere.split(":")[1], outcome.stderr.decode())
        self.assertEqual(drain("nonsense").returncode, 2)
        self.assertEqual(run(PEERCACHE, "drain").returncode, 2)


class Daemon(test_trouble.Trouble):
    def put(self, node, count):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "page")
            for i in range(count):
                file.write_bytes(bytes([i]) * 50000)
                self.assertEqual(node.ask("put", f"page-{i}", file).returncode, 0)

    def assert_all_there(self, node, count):
        for i in range(count):
            outcome = node.ask("get", f"page-{i}", "-")
            self.assertEqual((outcome.returncode, outcome.stdout), (0, bytes([i]) * 50000))

    def start(self, **options):
        head, leaver = self.daemon(), self.daemon(**options)
        self.await_whole(head, leaver)
        self.put(leaver, 12)
        return head, leaver

    def test_sigterm_hands_over_and_leaves(self):
        head, leaver = self.start()
        leaver.signal(signal.SIGTERM)
        self.assertEqual(leaver.process.wait(WAIT_S), 0)
        self.assertEqual(leaver.log().count("handed_over"), 1, "the figures are told once")
        self.assertIn("event=drained pages=12 handed_over=12 ", leaver.log())
        self.assert_all_there(head, 12)
        self.assertEqual(len(head.members()), 1)

    def test_drained_daemon_ends_by_itself(self):
        head, leaver = self.start()
        outcome = drain(leaver.address)
        self.assertEqual(outcome.returncode, 0, outcome)
        self.assertEqual(leaver.process.wait(WAIT_S), 0)
        self.assert_all_there(head, 12)

    def test_sigterm_without_time_leaves_at_once(self):
        head, leaver = self.start(drain_timeout="0")
        leaver.signal(signal.SIGTERM)
        self.assertEqual(leaver.process.wait(WAIT_S), 0)
        self.assertEqual(head.ask("exists", "page-0").returncode, 1)

    @unittest.skipIf(os.environ.get("UNDER_TSAN"), "ThreadSanitizer puts the signal off until the "
                     "drain is over, and then counts its thread as leaked")
    def test_second_signal_ends_it_at_once(self):
        _, leaver = self.start(drain_timeout="60")
        hung = self.daemon()
        wait_for(lambda: len(leaver.members()) == 3, "the third")
        self.put(leaver, 12)
        hung.signal(signal.SIGSTOP)
        leaver.signal(signal.SIGTERM)
        wait_for(lambda: "leaving" in leaver.log(), "the first signal to be taken")
        leaver.signal(signal.SIGTERM)
        self.assertIn(leaver.process.wait(5), (0, 128 + signal.SIGTERM))


if __name__ == "__main__":
    unittest.main()
