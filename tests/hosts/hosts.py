# SPDX-License-Identifier: Apache-2.0
"""Hosts as network namespaces of this machine: a bridge, and an interface and an address for each.

The bridge has a namespace of its own, so nothing of it is seen or changed outside.  What is between
two hosts is cut by nftables where it arrives, lost at random there, held to a rate by tc's token
bucket at both ends of a host's link, and delayed by delay.c, which then is the link (the kernel need
not have netem).  All is gone with the test.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "system"))

DELAY = os.environ["DELAY"]
DISCOVERY_PORT = 31998
# Twice the 64 KiB that the kernel hands to a link in one piece.
BURST_BYTES = 128 << 10

FILTER = """
table inet faults {
    set cut { type ipv4_addr; }
    chain arriving {
        type filter hook input priority 0;
        ip saddr @cut drop
    }
}
"""


def command(*words, stdin=None):
    done = subprocess.run([*map(str, words)], input=stdin, text=True, capture_output=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout


def reason_against():
    """Why there can be no hosts here, or None."""
    missing = [name for name in ("ip", "tc", "nft") if not shutil.which(name)]
    if missing:
        return f"{' and '.join(missing)} not installed (tools/install-packages)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"pc{os.getpid()}-probe"
    try:
        command("ip", "netns", "add", probe)
        try:
            command("ip", "netns", "exec", probe, "nft", "-f", "-", stdin=FILTER)
        finally:
            command("ip", "netns", "del", probe)
    except AssertionError as error:
        return f"network namespaces are not permitted: {error}"
    return None


def require_hosts():
    """Skips the whole file where it cannot run.  Called when it is loaded."""
    reason = reason_against()
    if reason:
        raise unittest.SkipTest(reason)


class Host:
    def __init__(self, net, number):
        self.net, self.number = net, number
        self.name = f"{net.name}-{number}"
        self.address = f"10.77.0.{number}"
        self.port = f"port{number}"
        self.prefix = ["ip", "netns", "exec", self.name]

    def make(self):
        command("ip", "netns", "add", self.name)
        command("ip", "-n", self.name, "link", "set", "lo", "up")
        self.filter(FILTER)

    def connect(self):
        """Its link to the bridge is there; it gets its address."""
        command("ip", "-n", self.net.name, "link", "set", self.port, "master", "bridge", "up")
        command("ip", "-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        command("ip", "-n", self.name, "link", "set", "eth0", "up")

    def filter(self, script):
        command(*self.prefix, "nft", "-f", "-", stdin=script)

    def limit(self, mbit):
        """Both ways, where each enters the link."""
        for name, device in ((self.name, "eth0"), (self.net.name, self.port)):
            command("tc", "-n", name, "qdisc", "replace", "dev", device, "root", "tbf",
                    "rate", f"{mbit}mbit", "burst", BURST_BYTES, "latency", "50ms")

    def lose(self, percent):
        """Of the packets that arrive."""
        self.filter(f"add rule inet faults arriving numgen random mod 100 < {percent} drop\n")


class Hosts:
    """hosts[1] ... hosts[count]; the delay is that of one way through a host's link."""

    def __init__(self, test, count, delay_ms=0):
        self.name = f"pc{os.getpid()}"
        self.relays = []
        test.addCleanup(self.remove)
        self.hosts = [Host(self, number) for number in range(1, count + 1)]
        command("ip", "netns", "add", self.name)
        command("ip", "-n", self.name, "link", "add", "bridge", "type", "bridge")
        command("ip", "-n", self.name, "link", "set", "bridge", "up")
        for host in self.hosts:
            host.make()
            self.link(host, delay_ms)
            host.connect()

    def link(self, host, delay_ms):
        if delay_ms == 0:
            command("ip", "-n", self.name, "link", "add", host.port, "type", "veth",
                    "peer", "name", "eth0", "netns", host.name)
            return
        relay = subprocess.Popen([DELAY, host.name, "eth0", self.name, host.port, str(delay_ms)],
                                 stdout=subprocess.PIPE, text=True)
        self.relays.append(relay)
        if relay.stdout.readline() != "ready\n":
            raise AssertionError(f"no link with a delay: exit status {relay.wait()}")

    def __getitem__(self, number):
        return self.hosts[number - 1]

    def __iter__(self):
        return iter(self.hosts)

    def cut_one_way(self, source, destination):
        destination.filter(f"add element inet faults cut {{ {source.address} }}\n")

    def cut(self, some, others):
        """Nothing passes between a host of the one list and a host of the other."""
        for one in some:
            for other in others:
                self.cut_one_way(one, other)
                self.cut_one_way(other, one)

    def heal(self):
        for host in self.hosts:
            host.filter("flush set inet faults cut\n")

    def remove(self):
        """Processes in a namespace keep it alive: they have ended before (their clean-ups are
        younger)."""
        for relay in self.relays:
            relay.kill()
            relay.wait()
            relay.stdout.close()
        for name in [self.name, *(host.name for host in self.hosts)]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
