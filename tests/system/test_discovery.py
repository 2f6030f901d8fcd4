# SPDX-License-Identifier: Apache-2.0
"""Members find each other, with real processes: each address 127.0.0.x is a host of its own, which
serves discovery on the port of the seeds.  Heads die and hang, ports are taken over."""
import os
import pathlib
import signal
import socket
import tempfile
import time
import unittest

from processes import PEERCACHED, Node, free_port, run, wait_for

CLUSTER = f"discovery-{os.getpid()}"
TTL_S, GRACE_S, HEARTBEAT_S = 1, 3, 0.2
UNDER_SANITIZER = "CALL_LATE_MS" in os.environ
TAKEOVER_S = 1 if not UNDER_SANITIZER else 10


def free_port_everywhere():
    """Free on every address of this machine, as all hosts of a test serve on the same port."""
    while True:
        port = free_port()
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
                return port
            except OSError:
                continue


class Discovery(unittest.TestCase):
    def setUp(self):
        self.port = free_port_everywhere()
        self.seeds = self.seed(1)

    def seed(self, *hosts):
        return ",".join(f"127.0.0.{host}:{self.port}" for host in hosts)

    def node(self, host, **more):
        address = f"127.0.0.{host}"
        options = {"discovery_addr": self.seeds, "local_hostname": address,
                   "heartbeat_interval": HEARTBEAT_S, "member_ttl": TTL_S, "ring_grace": GRACE_S,
                   **more}
        node = Node(self, *(f"--{name}={value}" for name, value in options.items()), pool="16mb",
                    cluster=CLUSTER)
        node.address = f"{options['local_hostname']}:{node.port}"
        return node

    def state_dir(self):
        return self.enterContext(tempfile.TemporaryDirectory())

    def sees(self, node, others):
        """Exactly these, alive and connected."""
        members = node.members()
        return ({member["node_id"] for member in members} == {other.node_id for other in others}
                and all(member["is_connected"] and member["state"] == "alive"
                        for member in members))

    def await_cluster(self, *nodes):
        wait_for(lambda: all(self.sees(node, nodes) for node in nodes),
                 f"{len(nodes)} nodes to know each other and nobody else")

    def masters(self, node):
        return {master["host"]: master for master in node.status()["masters"]}

    def await_masters(self, nodes, hosts):
        """All have these masters, fresh and answering."""
        hosts = {f"127.0.0.{host}" for host in hosts}

        def agree(node):
            masters = self.masters(node)
            return {host for host, master in masters.items()
                    if master["answers"] and master["is_fresh"]} == hosts

        wait_for(lambda: all(agree(node) for node in nodes), f"the masters {hosts}")

    def assert_nobody_is_missed(self, nodes, seconds):
        """Looks again and again: all of them stay alive for each other."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for node in nodes:
                states = {member["node_id"]: member["state"] for member in node.members()}
                for other in nodes:
                    self.assertEqual(states.get(other.node_id), "alive")

    def kill(self, node):
        node.signal(signal.SIGKILL)
        node.process.wait()


class Head(Discovery):
    def test_small_cluster_has_all_hosts_as_masters(self):
        nodes = [self.node(host) for host in (1, 2, 3)]
        self.await_cluster(*nodes)
        self.await_masters(nodes, (1, 2, 3))
        head = self.masters(nodes[1])["127.0.0.1"]
        self.assertTrue(head["is_head"])
        out = nodes[1].ask("status").stdout.decode()
        self.assertRegex(out, r"masters: 3\n")
        self.assertRegex(out, rf"127\.0\.0\.1:{self.port} +head +answers")

    def test_killed(self):
        """The others go on; a new node joins through another seed; the head comes again."""
        self.seeds = self.seed(1, 2)
        head, second, third = (self.node(host) for host in (1, 2, 3))
        self.await_cluster(head, second, third)
        self.kill(head)
        self.await_cluster(second, third)
        late = self.node(4)
        self.await_cluster(second, third, late)
        again = self.node(1)
        self.await_cluster(second, third, late, again)

    def test_killed_and_no_seed_is_left(self):
        """A restarted node finds the others by the list in its state directory."""
        folder = self.state_dir()
        head, second, third = self.node(1), self.node(2), self.node(3, state_dir=folder)
        self.await_cluster(head, second, third)
        members = pathlib.Path(folder, "members")
        wait_for(lambda: members.exists() and f"127.0.0.2:{self.port}" in members.read_text(),
                 "the members to be written")
        self.kill(head)
        self.kill(third)
        wait_for(lambda: self.sees(second, [second]), "the dead to be gone")
        third = self.node(3, state_dir=folder)
        self.await_cluster(second, third)
        self.assertIn("discovery_unreachable", third.log())

    def test_stopped(self):
        """failure-modes 18: nobody healthy is thrown out, neither meanwhile nor when it goes on."""
        nodes = [self.node(host) for host in (1, 2, 3, 4)]
        self.await_cluster(*nodes)
        self.await_masters(nodes[1:], {host for host in (1, 2, 3, 4)
                                       if f"127.0.0.{host}" in self.masters(nodes[1])})
        nodes[0].signal(signal.SIGSTOP)
        self.assert_nobody_is_missed(nodes[1:], 2 * GRACE_S)
        nodes[0].signal(signal.SIGCONT)
        self.assert_nobody_is_missed(nodes[1:], GRACE_S)
        self.await_cluster(*nodes)

    def test_restarted(self):
        """Its new life takes nobody away: no member is missed for a moment."""
        head, second, third = (self.node(host) for host in (1, 2, 3))
        self.await_cluster(head, second, third)
        self.kill(head)
        again = self.node(1)
        self.assert_nobody_is_missed([second, third], GRACE_S)
        self.await_cluster(again, second, third)


class Masters(Discovery):
    def test_killed_one_after_another(self):
        """Of five hosts with two masters at a time, until one is left; then all come again."""
        self.seeds = self.seed(1, 2)
        nodes = {host: self.node(host, max_masters=2) for host in range(1, 6)}
        self.await_cluster(*nodes.values())
        while len(nodes) > 1:
            some = next(iter(nodes.values()))
            masters = [host for host, master in self.masters(some).items() if master["answers"]]
            victim = next((host for host in nodes if f"127.0.0.{host}" in masters and
                           nodes[host] is not some), None) or next(reversed(nodes))
            self.kill(nodes.pop(victim))
            self.await_cluster(*nodes.values())
        for host in range(1, 6):
            if host not in nodes:
                nodes[host] = self.node(host, max_masters=2)
        self.await_cluster(*nodes.values())


class Port(Discovery):
    def test_taken_over(self):
        """Of two nodes on one host the other has the port within a second."""
        first, second = self.node(1), self.node(1)
        away = self.node(2)
        self.await_cluster(first, second, away)
        self.assertEqual([node.status()["node"]["serves_discovery"]
                          for node in (first, second, away)], [True, False, True])
        self.kill(first)
        began = time.monotonic()
        wait_for(lambda: second.status()["node"]["serves_discovery"], "the port to be taken over")
        self.assertLess(time.monotonic() - began, TAKEOVER_S)
        self.await_cluster(second, away)
        third = self.node(3)
        self.await_cluster(second, away, third)

    def test_seed_is_another_address_of_this_host(self):
        """It answers there as well, and the others do not take it for two."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))
            except OSError as error:
                self.skipTest(f"this host has one address only: {error}")
            address = probe.getsockname()[0]
        self.seeds = f"{address}:{self.port}"
        head = self.node(7)
        wait_for(lambda: self.masters(head)["127.0.0.7"]["is_head"], "the head to know itself")
        other = self.node(8)
        self.await_cluster(head, other)
        wait_for(lambda: self.masters(other).keys() == {address, "127.0.0.8"},
                 "the head to be one master")

    def test_belongs_to_another_cluster(self):
        own = self.node(1)
        stranger = Node(self, f"--discovery_addr={self.seeds}", "--local_hostname=127.0.0.1",
                        pool="16mb", cluster="other")
        line = wait_for(lambda: [line for line in stranger.log().splitlines()
                                 if "discovery_not_served" in line], "a clear word")[0]
        for words in ("127.0.0.1", str(self.port), "cluster names differ", "discovery_addr"):
            self.assertIn(words, line)
        time.sleep(2)
        told = [line for line in own.log().splitlines() if "connection_not_accepted" in line]
        self.assertEqual(len(told), 1, told)

    def test_belongs_to_no_node(self):
        """It is said that others have it, and the node works without."""
        with socket.socket() as other:
            other.bind(("127.0.0.3", self.port))
            other.listen()
            node, head = self.node(3), self.node(1)
            self.await_cluster(node, head)
            self.assertFalse(node.status()["node"]["serves_discovery"])


class Addresses(Discovery):
    def test_ipv6(self):
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError as error:
            self.skipTest(f"no IPv6 here: {error}")
        options = {"discovery_addr": f"[::1]:{self.port}", "heartbeat_interval": HEARTBEAT_S}
        nodes = [Node(self, *(f"--{name}={value}" for name, value in options.items()),
                      pool="16mb", cluster=CLUSTER) for _ in range(2)]
        self.await_cluster(*nodes)
        self.assertEqual({member["address"] for member in nodes[0].members()},
                         {node.address for node in nodes})
        for node in nodes:
            self.assertIn(node.address.encode(), nodes[0].ask("status").stdout)
            self.assertIn("address=[::1]:", node.log())

    def test_bad_ones_are_refused(self):
        for text, words in (("a:1,", "no host"), ("127.0.0.1:x", "port"), ("::1", "brackets"),
                            ("[::1", "bracket"), ("a b:1", "host")):
            with self.subTest(text):
                outcome = run(PEERCACHED, f"--discovery_addr={text}")
                self.assertEqual(outcome.returncode, 2)
                self.assertIn(b"discovery_addr", outcome.stderr)
                self.assertIn(words.encode(), outcome.stderr)

    def test_address_that_is_not_here_names_its_option(self):
        for option in ("local_hostname", "bind_host"):
            outcome = run(PEERCACHED, f"--{option}=192.0.2.1")
            self.assertEqual(outcome.returncode, 1)
            self.assertIn(f"comes from {option}".encode(), outcome.stderr)

    def test_name_that_is_a_loopback_address_is_warned_of(self):
        """Once; but not if it was written as one.  127.1 is no such address for those who read it, but
        for the resolver: it stands for a host's name that /etc/hosts gives to 127.0.1.1."""
        for options, warned in (
                ({"discovery_addr": f"127.1:{self.port}", "local_hostname": ""}, "discovery_addr"),
                ({"local_hostname": "127.1"}, "local_hostname"), ({"bind_host": "127.1"}, "bind_host"),
                ({"local_hostname": "127.1", "bind_host": "0.0.0.0"}, None),
                ({"discovery_addr": f"127.0.0.1:{self.port}", "local_hostname": ""}, None),
                ({"discovery_addr": f"localhost:{self.port}", "local_hostname": ""}, None),
                ({"discovery_addr": "", "local_hostname": ""}, None)):
            with self.subTest(options):
                node = self.node(1, **options)
                lines = [line for line in node.log().splitlines() if "event=loopback_only" in line]
                self.assertEqual(len(lines), 1 if warned else 0, node.log())
                if warned:
                    self.assertIn(f"option={warned} host=127.1 address=127.0.0.1 ", lines[0])
                    said = "bind_host" if warned == "bind_host" else "local_hostname"
                    self.assertIn(f"set {said} to", lines[0])
                node.end()

    def test_tools_ask_the_first_seed_that_answers(self):
        self.seeds = self.seed(1, 2)
        node = self.node(2)
        outcome = run(os.environ["PEERCACHE"], "status", "--json", "--discovery_addr", self.seeds,
                      "--cluster_name", CLUSTER)
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        self.assertIn(node.node_id.encode(), outcome.stdout)


if __name__ == "__main__":
    unittest.main()
