# SPDX-License-Identifier: Apache-2.0
"""Who a node is: seats of a state directory, two nodes of one id, stops, forks."""
import concurrent.futures
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from processes import PEERCACHED, WAIT_S, Node, clean_environment, free_port, wait_for
from test_trouble import LATE_MS, STORED, Caller

CLUSTER = f"identity-{os.getpid()}"
SUPERSEDED = 5
# Long enough that a node on a busy machine is not taken for one that was stopped.
TTL_S = 2.0


class Identity(unittest.TestCase):
    def setUp(self):
        self.discovery = f"127.0.0.1:{free_port()}"
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def options(self, **more):
        values = {"discovery_addr": self.discovery, "heartbeat_interval": "0.2",
                  "member_ttl": str(TTL_S), "cluster_name": CLUSTER, **more}
        return [f"--{name}={value}" for name, value in values.items()]

    def daemon(self, **options):
        return Node(self, *self.options(**options), pool="16mb", cluster=CLUSTER)

    def caller(self, **options):
        return Caller(self, *self.options(**options))

    def await_members(self, node, *lives):
        """Until @node lists these (id, incarnation), alive, and nobody else."""
        def is_so():
            members = node.members() if isinstance(node, Node) else node.status()["members"]
            return (all(member["state"] == "alive" for member in members) and
                    {(member["node_id"], member["incarnation"]) for member in members} == set(lives))

        wait_for(is_so, f"the members {lives}")


def life_of(node):
    own = node.status()["node"]
    return own["node_id"], own["incarnation"]


class Seats(Identity):
    def test_eight_with_one_directory(self):
        """They get eight ids, and one that is killed finds its own again at once."""
        state_dir = self.folder / "state"
        with concurrent.futures.ThreadPoolExecutor(8) as starters:
            nodes = list(starters.map(lambda _: self.daemon(state_dir=state_dir), range(8)))
        lives = {node.node_id: life_of(node) for node in nodes}
        self.assertEqual(len(lives), 8)
        self.await_members(nodes[0], *lives.values())
        killed = nodes.pop(3)
        killed.signal(signal.SIGKILL)
        killed.process.wait(WAIT_S)
        again = self.daemon(state_dir=state_dir)
        self.assertEqual(again.node_id, killed.node_id)
        self.assertGreater(life_of(again)[1], lives[killed.node_id][1])
        lives[again.node_id] = life_of(again)
        self.await_members(nodes[0], *lives.values())
        self.assertNotIn("id_copied", again.log())
        self.assertEqual(sorted(path.name for path in (state_dir / "seats").iterdir()),
                         [f"{number:04}" for number in range(8)])

    def test_full_restart(self):
        """All ids are there again, each once."""
        state_dir = self.folder / "state"
        before = {self.daemon_and_end(state_dir) for _ in range(2)}
        self.assertEqual(len(before), 1)
        nodes = [self.daemon(state_dir=state_dir) for _ in range(3)]
        ids = {node.node_id for node in nodes}
        self.assertLessEqual(before, ids)
        for node in nodes:
            node.signal(signal.SIGKILL)
            node.process.wait(WAIT_S)
        self.assertEqual({self.daemon(state_dir=state_dir).node_id for _ in range(3)}, ids)

    def daemon_and_end(self, state_dir):
        node = self.daemon(state_dir=state_dir)
        node.end()
        return node.node_id

    def test_id_that_is_given_has_a_seat_too(self):
        state_dir, given = self.folder / "state", "0123456789abcdef0123456789abcdef"
        first = self.daemon(state_dir=state_dir)
        second = self.daemon(state_dir=state_dir, node_id=given)
        self.assertEqual(second.node_id, given)
        incarnation = life_of(second)[1]
        second.end()
        text = (state_dir / "seats" / "0001" / "identity").read_text()
        self.assertIn(f"node_id {given}\nincarnation {incarnation}\n", text)
        first.end()
        self.assertNotEqual(self.daemon(state_dir=state_dir).node_id, given)

    def test_damaged_seat_is_said_and_gives_a_new_id(self):
        state_dir = self.folder / "state"
        former = self.daemon_and_end(state_dir)
        identity = state_dir / "seats" / "0000" / "identity"
        identity.write_text(identity.read_text()[:-7])
        node = self.daemon(state_dir=state_dir)
        self.assertNotEqual(node.node_id, former)
        self.assertEqual(node.log().count("event=seat_damaged"), 1)
        node.end()
        self.assertEqual(self.daemon(state_dir=state_dir).node_id, node.node_id)

    def assert_refused(self, words, *prefix, state_dir):
        outcome = subprocess.run([*prefix, PEERCACHED, *self.options(state_dir=state_dir)],
                                 capture_output=True, text=True, timeout=WAIT_S,
                                 env=clean_environment())
        self.assertEqual(outcome.returncode, 1, outcome)
        self.assertIn("state_dir", outcome.stderr)
        self.assertIn(words, outcome.stderr)

    def test_directory_that_cannot_be_used_is_an_error(self):
        (self.folder / "file").touch()
        self.assert_refused("Not a directory", state_dir=self.folder / "file")
        self.assert_refused("No such file", state_dir="/proc/peercache")

    def test_read_only_and_full(self):
        mounted = self.folder / "mounted"
        mounted.mkdir()
        for words, options, fill in (("Read-only file system", "ro", "true"),
                                     ("No space left", "size=4k",
                                      f"head -c 1000000 /dev/zero > {mounted}/filling")):
            script = (f"mount -t tmpfs -o {options} tmpfs {mounted} || exit 77; {fill}; "
                      'exec "$@"')
            prefix = ("unshare", "--mount", "sh", "-c", script, "sh")
            probe = subprocess.run([*prefix, "true"], capture_output=True, timeout=WAIT_S)
            if probe.returncode != 0:
                self.skipTest("mounting a file system is not permitted here")
            self.assert_refused(words, *prefix, state_dir=mounted)


class Twins(Identity):
    def test_two_daemons_with_one_id(self):
        """The older stops, says why, and does not come back."""
        head = self.daemon()
        older = self.daemon(node_id="77" * 16)
        self.await_members(head, life_of(head), life_of(older))
        newer = self.daemon(node_id="77" * 16)
        self.assertEqual(older.process.wait(WAIT_S), SUPERSEDED)
        said = older.log()
        self.assertIn("event=superseded", said)
        self.assertIn(f"superseded by {newer.address} incarnation {life_of(newer)[1]}\n", said)
        self.await_members(head, life_of(head), life_of(newer))
        time.sleep(TTL_S)
        self.await_members(head, life_of(head), life_of(newer))

    def test_application_whose_id_was_taken_over(self):
        """Its calls are refused at once; its status says why."""
        head, older = self.daemon(), self.caller(node_id="78" * 16)
        self.await_members(head, life_of(head), life_of(older))
        self.assertEqual(older.call("set", "a", 0, 4, 4096, 2000).outcomes, ["STORED"] * 4)
        newer = self.daemon(node_id="78" * 16)
        wait_for(lambda: older.status()["node"]["state"] != "serving", "the older to end")
        self.assertEqual(older.status()["node"]["state"],
                         f"superseded by {newer.address} incarnation {life_of(newer)[1]}")
        for kind in ("get", "set", "exists"):
            called = older.call(kind, "a", 0, 4, 4096, 2000)
            self.assertEqual(called.outcomes, ["REFUSED_CLOSED"] * 4)
            self.assertLess(called.ms, LATE_MS)
        self.await_members(head, life_of(head), life_of(newer))
        self.assertEqual(older.leave(), 0)
        self.await_members(head, life_of(head), life_of(newer))

    def test_head_whose_id_was_taken_over(self):
        """It gives the discovery port up, and the newer one takes it."""
        older = self.caller(node_id="79" * 16)
        newer = self.daemon(node_id="79" * 16)
        wait_for(lambda: older.status()["node"]["state"] != "serving", "the older to end")
        wait_for(lambda: newer.status()["node"]["serves_discovery"], "the newer to be the head")
        third = self.daemon()
        self.await_members(newer, life_of(newer), life_of(third))

    def test_copied_state_directory(self):
        """The second takes a new id and keeps it; the first does not notice."""
        head = self.daemon()
        first = self.daemon(state_dir=self.folder / "a")
        lives = {life_of(head), life_of(first)}
        self.await_members(head, *lives)
        shutil.copytree(self.folder / "a", self.folder / "b")
        second = self.daemon(state_dir=self.folder / "b")
        wait_for(lambda: life_of(second)[0] != first.node_id, "another id")
        self.await_members(head, life_of(second), *lives)
        self.assertEqual(second.log().count("event=id_copied"), 1)
        self.assertIn(f"event=id_copied node_id={first.node_id} ", second.log())
        for said in (first.log(), head.log()):
            self.assertNotIn("id_copied", said)
        self.assertNotIn("reborn", first.log())
        taken = life_of(second)[0]
        second.end()
        self.assertEqual(self.daemon(state_dir=self.folder / "b").node_id, taken)


class Stopped(Identity):
    def test_longer_than_member_ttl(self):
        """A new life, whose pages are found, begins before anything else is said or stored."""
        head, reader = self.daemon(), self.caller()
        holder = self.caller(state_dir=self.folder / "state")
        lives = {life_of(head), life_of(reader)}
        former = life_of(holder)
        self.await_members(reader, former, *lives)
        self.assertEqual(holder.call("set", "a", 0, 32, 4096, 5000).outcomes, ["STORED"] * 32)
        holder.signal(signal.SIGSTOP)
        time.sleep(1.5 * TTL_S)
        holder.tell("set", "b", 0, 8, 4096, 5000)
        holder.signal(signal.SIGCONT)
        called = holder.answer()
        self.assertLessEqual({outcome for outcome, _ in called["pages"]}, STORED, called)
        now = life_of(holder)
        self.assertEqual(now, (former[0], former[1] + 1))
        self.await_members(reader, now, *lives)
        self.assertEqual(holder.log().count("event=reborn"), 1)
        for name, n in (("a", 32), ("b", 8)):
            wait_for(lambda: reader.call("get", name, 0, n, 4096, 2000).outcomes == ["HIT"] * n,
                     f"all pages {name} to be found")
        identity = self.folder / "state" / "seats" / "0000" / "identity"
        wait_for(lambda: f"\nincarnation {now[1]}\n" in identity.read_text(), "the seat to be written")

    def test_state_directory_that_hangs(self):
        """As one on a network may: the new life begins all the same, serves, and ends in time."""
        reader = self.caller()
        state_dir = self.folder / "state"
        holder = self.caller(state_dir=state_dir)
        former = life_of(holder)
        self.await_members(reader, former, life_of(reader))
        self.assertEqual(holder.call("set", "a", 0, 32, 4096, 5000).outcomes, ["STORED"] * 32)
        # A pipe that nobody reads: who opens it to write waits, here the next list of members, and
        # behind it the new life's seat.
        os.mkfifo(state_dir / f"members.{holder.process.pid}")
        other = life_of(self.caller(local_hostname="127.0.0.2"))
        self.await_members(reader, former, life_of(reader), other)
        holder.signal(signal.SIGSTOP)
        time.sleep(1.5 * TTL_S)
        holder.signal(signal.SIGCONT)
        now = (former[0], former[1] + 1)
        self.await_members(reader, now, life_of(reader), other)
        for name, n in (("a", 32), ("b", 8)):
            if name == "b":
                called = holder.call("set", name, 0, n, 4096, 5000)
                self.assertEqual(called.outcomes, ["STORED"] * n)
            wait_for(lambda: reader.call("get", name, 0, n, 4096, 2000).outcomes == ["HIT"] * n,
                     f"all pages {name} to be found")
        wait_for(lambda: "event=state_dir_hangs" in holder.log(), "it to be said")
        began = time.monotonic()
        self.assertEqual(holder.leave(), 0)
        self.assertLess(time.monotonic() - began, 5)

    def test_shorter_than_member_ttl(self):
        head, holder = self.daemon(), self.caller()
        former = life_of(holder)
        holder.signal(signal.SIGSTOP)
        time.sleep(TTL_S / 4)
        holder.signal(signal.SIGCONT)
        self.await_members(head, life_of(head), former)
        self.assertEqual(life_of(holder), former)

    def test_head(self):
        """A head that was stopped for longer than ring_grace takes nobody off the ring."""
        head = self.daemon(ring_grace="2.5")
        first, second = self.caller(ring_grace="2.5"), self.caller(ring_grace="2.5")
        lives = {life_of(first), life_of(second)}
        self.await_members(second, life_of(head), *lives)
        self.assertEqual(first.call("set", "a", 0, 16, 4096, 5000).outcomes, ["STORED"] * 16)
        head.signal(signal.SIGSTOP)
        time.sleep(3)
        head.signal(signal.SIGCONT)
        wait_for(lambda: "event=reborn" in head.log(), "the head to be reborn")
        self.await_members(second, life_of(head), *lives)
        self.await_members(head, life_of(head), *lives)
        wait_for(lambda: second.call("get", "a", 0, 16, 4096, 2000).outcomes == ["HIT"] * 16,
                 "all pages to be found")


class Forked(Identity):
    def test_child_that_outlives_its_node(self):
        """It holds neither the seat nor the ports, and the node's death is seen in member_ttl."""
        state_dir = self.folder / "state"
        head = self.caller(state_dir=state_dir)
        other = self.daemon()
        former = life_of(head)
        self.await_members(other, former, life_of(other))
        child = head.ask("child")["pid"]
        self.addCleanup(os.kill, child, signal.SIGKILL)
        head.signal(signal.SIGKILL)
        head.process.wait(WAIT_S)
        again = self.daemon(state_dir=state_dir)
        self.assertEqual(again.node_id, former[0])
        self.await_members(again, life_of(again), life_of(other))
        self.await_members(other, life_of(again), life_of(other))

    def test_death_is_seen_while_a_child_lives(self):
        head, parent = self.daemon(), self.caller()
        self.await_members(head, life_of(head), life_of(parent))
        child = parent.ask("child")["pid"]
        self.addCleanup(os.kill, child, signal.SIGKILL)
        parent.signal(signal.SIGKILL)
        parent.process.wait(WAIT_S)
        began = time.monotonic()
        wait_for(lambda: {member["state"] for member in head.members()} == {"alive", "suspect"},
                 "the dead node to be suspect")
        self.assertLess(time.monotonic() - began, TTL_S + 1 + LATE_MS / 1000)


if __name__ == "__main__":
    unittest.main()
