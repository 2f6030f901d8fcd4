# SPDX-License-Identifier: Apache-2.0
"""Crowds of connections that are of use to nobody: whoever takes part finds room all the same."""
import os
import resource
import unittest

from callers import Caller, ClusterCase
from hostile import CHANNEL, CONTROL, DISCOVERY, Crowd
from processes import PEERCACHE, Node, free_port, run, wait_for

CLUSTER = f"crowd-{os.getpid()}"
# More than a node has room for: src/io/conn.h, and two threads of src/io/server.h.
LINKS, CHANNELS = 4200, 1100


def raise_descriptor_limit():
    """Of this process and those that it starts; what the limit is now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class CrowdCase(ClusterCase):
    def setUp(self):
        self.discovery = f"127.0.0.1:{free_port()}"

    def options(self, **more):
        values = {"discovery_addr": self.discovery, "heartbeat_interval": "0.2",
                  "cluster_name": CLUSTER, "protocol": "tcp", **more}
        return [f"--{name}={value}" for name, value in values.items()]

    def caller(self, **options):
        return Caller(self, *self.options(**options))

    def head(self, **options):
        return Node(self, *self.options(**options), pool="64mb", cluster=CLUSTER)

    def crowd(self, port, purpose, count):
        if raise_descriptor_limit() < count + 500:
            self.skipTest(f"this process may not open {count + 500} descriptors")
        crowd = Crowd(self, int(port), purpose, CLUSTER)
        crowd.come(count)
        return crowd

    def discovery_port(self):
        return self.discovery.split(":")[1]


class Discovery(CrowdCase):
    def test_newcomer_joins_and_members_stay(self):
        head, first = self.head(), self.caller()
        self.await_whole(head, first)
        self.store(first, "a", 64, 4096)
        crowd = self.crowd(self.discovery_port(), DISCOVERY, LINKS)
        self.assertGreater(crowd.count_connected(), 3000, "the table is full")
        second = self.caller()
        self.await_whole(head, first, second)
        self.assert_found(second, "a", 64, 4096)
        for log in head.log(), first.log():
            self.assertNotIn("state=suspect", log)
            self.assertNotIn("state=gone", log)
        self.assertIn("event=connection_mute", head.log())

    def test_mute_ones_are_hung_up_on_and_members_are_not(self):
        head, first = self.head(member_ttl="2", ring_grace="2"), self.caller()
        self.await_whole(head, first)
        crowd = self.crowd(self.discovery_port(), DISCOVERY, 100)
        wait_for(lambda: crowd.count_connected() == 0, "the mute ones to be hung up on")
        self.await_whole(head, first)
        self.assertNotIn("state=suspect", head.log())
        self.assertNotIn("event=discovery_unreachable", first.log())

    def test_strangers_on_the_control_port(self):
        """Nobody knows them: they are sent away at once."""
        head, first = self.head(), self.caller()
        self.await_whole(head, first)
        crowd = self.crowd(head.port, CONTROL, 100)
        wait_for(lambda: crowd.count_connected() == 0, "the strangers to be sent away")
        self.await_whole(head, first)


class Channels(CrowdCase):
    def test_new_reader_gets_its_pages(self):
        holder, reader = self.caller(), self.caller()
        self.await_whole(holder, reader)
        self.store(holder, "a", 64, 65536)
        crowd = self.crowd(holder.status()["node"]["control_port"], CHANNEL, CHANNELS)
        self.assertGreater(crowd.count_connected(), 1000, "the tables are full")
        late = self.caller()
        self.await_whole(holder, reader, late)
        self.await_found(late, "a", 64, 65536)
        self.await_found(reader, "a", 64, 65536)

    def test_readers_that_were_idle_open_other_channels(self):
        """Theirs made room; nobody notices."""
        holder, reader = self.caller(), self.caller()
        self.await_whole(holder, reader)
        self.store(holder, "a", 64, 65536)
        self.assert_found(reader, "a", 64, 65536)
        port = holder.status()["node"]["control_port"]
        for _ in range(2):
            crowd = self.crowd(port, CHANNEL, CHANNELS)
            self.await_found(reader, "a", 64, 65536)
            self.assert_found(reader, "a", 64, 65536)
            crowd.leave()


class Descriptors(CrowdCase):
    def test_without_descriptors_idle_ones_make_room(self):
        """The process has few, long before its tables are full."""
        head = self.head()
        used = len(os.listdir(f"/proc/{head.process.pid}/fd"))
        resource.prlimit(head.process.pid, resource.RLIMIT_NOFILE, (used + 50, used + 50))
        for port, purpose in ((head.port, CHANNEL), (self.discovery_port(), DISCOVERY)):
            crowd = Crowd(self, int(port), purpose, CLUSTER)
            crowd.come(100)
            # Its question waits in the backlog, behind those of the crowd that are not accepted yet.
            found = run(PEERCACHE, "exists", "k", "--node", head.address, "--cluster_name", CLUSTER,
                        "--timeout", "25")
            self.assertEqual(found.returncode, 1, found)
            crowd.leave()

    def test_daemon_raises_its_limit(self):
        """What a shell gives is made for programs that use select()."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        head = self.head()
        self.assertEqual(resource.prlimit(head.process.pid, resource.RLIMIT_NOFILE), (hard, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


if __name__ == "__main__":
    unittest.main()
