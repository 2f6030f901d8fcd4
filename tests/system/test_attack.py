# SPDX-License-Identifier: Apache-2.0
"""Somebody inside the cluster's network who speaks the protocol and means harm (attacker/).

Nodes live on, answer in time, and are a cluster again when it is over.  What a forged holder says its
pages are is not looked at: who is let in is trusted with that.  ATTACK_S and ATTACK_SEED in the
environment make it longer, or the same again:

    ATTACK_S=60 SANITIZE=address,undefined meson test ... test_attack
"""
import os
import random
import signal
import subprocess
import unittest

from callers import STORED, Caller, ClusterCase
from processes import WAIT_S, Node, clean_environment, free_port, wait_for

ATTACKER = os.environ["ATTACKER"]
SECONDS = int(os.environ.get("ATTACK_S", "8"))
SEED = int(os.environ.get("ATTACK_SEED", random.randrange(1 << 32)))
CLUSTER = f"attack-{os.getpid()}"
TIMEOUT_MS = 1000


def peak_mib(process):
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) >> 10


class Attack(ClusterCase):
    def options(self):
        values = {"discovery_addr": self.discovery, "cluster_name": CLUSTER, "protocol": self.protocol,
                  "heartbeat_interval": "0.5", "member_ttl": "3", "ring_grace": "6"}
        return [f"--{name}={value}" for name, value in values.items()]

    def start(self, protocol):
        self.protocol, self.discovery = protocol, f"127.0.0.1:{free_port()}"
        self.head = Node(self, *self.options(), pool="64mb", cluster=CLUSTER)
        self.callers = [Caller(self, *self.options()) for _ in range(2)]
        self.await_whole(self.head, *self.callers)

    def attack(self, seed):
        own = [node.status()["node"] for node in (self.head, *self.callers)]
        ports = [self.discovery.split(":")[1], *(node["control_port"] for node in own)]
        print(f"# ATTACK_S={SECONDS} ATTACK_SEED={seed} protocol={self.protocol}", flush=True)
        return subprocess.Popen(
            [ATTACKER, CLUSTER, str(SECONDS), str(seed), *map(str, ports)], stdout=subprocess.PIPE,
            env=clean_environment(SPARED=" ".join(node["node_id"] for node in own)), text=True)

    def call_meanwhile(self, attacker):
        """Calls are in time; whether their pages are found is another matter."""
        turn, slowest = 0, 0
        while attacker.poll() is None:
            first, second = self.callers[turn % 2], self.callers[1 - turn % 2]
            for kind, caller, size in (("set", first, 65536), ("get", second, 65536),
                                       ("exists", second, 1)):
                called = caller.call(kind, f"t{turn % 40}", 0, 16, size, TIMEOUT_MS)
                self.assertEqual(called.error, 0)
                slowest = max(slowest, called.ms)
            turn += 1
        self.assertLess(slowest, TIMEOUT_MS + 4000)
        return turn, slowest

    def await_cluster_again(self):
        first, second = self.callers
        self.await_whole(self.head, first, second)
        self.assertLessEqual(set(first.call("set", "z", 0, 64, 4096, 5000).outcomes), STORED)
        self.await_found(second, "z", 64, 4096)
        self.assert_found(second, "z", 64, 4096)

    def assert_survives(self, protocol, seed):
        self.start(protocol)
        with self.attack(seed) as attacker:
            self.addCleanup(attacker.kill)
            turns, slowest = self.call_meanwhile(attacker)
            print(f"# {attacker.stdout.read().strip()}", flush=True)
        self.assertEqual(attacker.returncode, 0)
        print(f"# {turns} turns of calls, the slowest took {slowest:.0f} ms; memory of the head at"
              f" most {peak_mib(self.head.process)} MiB", flush=True)
        self.await_cluster_again()
        for caller in self.callers:
            self.assertEqual(caller.leave(), 0, caller.log()[-2000:])
        self.head.signal(signal.SIGTERM)
        self.assertEqual(self.head.process.wait(WAIT_S), 0, self.head.log()[-2000:])

    def test_over_tcp(self):
        self.assert_survives("tcp", SEED)

    def test_over_shared_memory(self):
        self.assert_survives("auto", SEED + 1)


if __name__ == "__main__":
    unittest.main()
