# SPDX-License-Identifier: Apache-2.0
"""A cluster with one application a host (hosts.py), and what its tests measure."""
import os
import statistics
import time

from hosts import DISCOVERY_PORT, Hosts

from callers import Caller, ClusterCase

# The long forms: more rounds, longer partitions.
IS_LONG = os.environ.get("HOSTS_LONG") == "1"
CLUSTER = f"hosts-{os.getpid()}"
BATCH = 32
SMALL, LARGE = 4096, 1 << 20


def say(text):
    """A figure, into the test's log."""
    print(f"# {text}", flush=True)


class Calls:
    """The times of a few equal calls, in ms."""

    def __init__(self, calls):
        self.calls = calls
        times = [called.ms for called in calls]
        self.first, self.median, self.slowest = times[0], statistics.median(times), max(times)

    def __repr__(self):
        return f"median {self.median:.1f} ms, slowest {self.slowest:.1f} ms of {len(self.calls)}"


class OnHosts(ClusterCase):
    MEMBER_TTL_S = 2
    HEARTBEAT_S = 0.5

    def make_hosts(self, count=5, **options):
        self.hosts = Hosts(self, count, **options)

    def caller(self, number, **options):
        """An application on host @number; discovery starts at host 1.  Pages stay where they were
        set, so that a test knows who has them."""
        values = {"discovery_addr": f"{self.hosts[1].address}:{DISCOVERY_PORT}",
                  "cluster_name": CLUSTER, "heartbeat_interval": self.HEARTBEAT_S,
                  "member_ttl": self.MEMBER_TTL_S, "protocol": "tcp",
                  "hot_pages": "false", **options}
        return Caller(self, *[f"--{name}={value}" for name, value in values.items()],
                      prefix=self.hosts[number].prefix)

    def cluster(self, **options):
        """nodes[1] ... nodes[5], which know each other; nodes[1] is the head."""
        nodes = [None, *(self.caller(host.number, **options) for host in self.hosts)]
        self.await_whole(*nodes[1:])
        return nodes

    def spread(self, nodes, name, n, size):
        """Page i of @name is held by nodes[i % len(nodes)]."""
        for page in range(n):
            called = nodes[page % len(nodes)].call("set", name, page, 1, size, 5000)
            self.assertEqual(called.outcomes, ["STORED"])

    def repeat(self, caller, call, count=None, seconds=None):
        """Calls again and again; every call is in time, without a wrong byte."""
        calls, end = [], time.monotonic() + (seconds or 0)
        while len(calls) < count if count else time.monotonic() < end:
            calls.append(caller.call(*call))
            self.assert_in_time(calls[-1], call[-1])
        return Calls(calls)
