# SPDX-License-Identifier: Apache-2.0
"""(51) Eight ranks as processes that agree with each other, one of them in trouble.

Prefixes are what all ranks have in common.  A rank that cannot store or read makes them shorter,
and neither it nor any other rank waits for ever.
"""
import contextlib
import json
import multiprocessing.connection
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import harness
from harness import AdapterCase
from sglang import _profile

RANKS = 8 if _profile.NAME == "new" else 2
# SGLang gives its threads 10 s at a flush; agreements and processes of a busy machine come on top.
ANSWER_LIMIT_S = 30.0
HYBRID = _profile.PROFILE["hybrid"]


def common(values):
    """What a collective makes of the ranks' values: the least, or what all of them contain."""
    if isinstance(values[0], list):
        return sorted(set(values[0]).intersection(*values[1:]))
    return min(values)


class Ranks:
    """Rank processes, and the thread that stands for their collectives."""

    def __init__(self, cluster, count, **job):
        self._folder = tempfile.TemporaryDirectory()
        address = f"{self._folder.name}/ranks"
        listener = multiprocessing.connection.Listener(address, family="AF_UNIX", backlog=2 * count)
        self.processes = [subprocess.Popen([
            sys.executable, str(harness.HERE / "rank_process.py"), address,
            json.dumps({"rank": rank, "size": count, "extra": cluster.extra(
                global_segment_size="16mb"), "replicated": False, "hybrid": False, **job})])
            for rank in range(count)]
        connections = {"commands": {}, "values": {}}
        for _ in range(2 * count):
            connection = listener.accept()
            kind, rank = connection.recv()
            connections[kind][rank] = connection
        listener.close()
        self._commands, self._values = (
            [connections[kind][rank] for rank in range(count)] for kind in ("commands", "values"))
        self.slowest_s = {}
        threading.Thread(target=self._agree, daemon=True).start()
        for connection in self._commands:
            connection.recv()
        harness.wait_for(lambda: self.all("members") == [count] * count, "all ranks as members")

    def _agree(self):
        try:
            while True:
                said = [connection.recv() for connection in self._values]
                assert len({tag for tag, _ in said}) == 1, f"the ranks are out of step: {said}"
                for connection in self._values:
                    connection.send(common([value for _, value in said]))
        except (EOFError, OSError):
            pass

    def tell(self, rank, command, argument=None):
        self._commands[rank].send((command, argument))

    def answer(self, rank):
        """The rank's answer; what its controller noticed is an error here."""
        if not self._commands[rank].poll(ANSWER_LIMIT_S):
            raise AssertionError(f"rank {rank} hangs")
        answer, faults, durations_s = self._commands[rank].recv()
        if faults:
            raise AssertionError(f"rank {rank}: {faults}")
        for call, took_s in durations_s.items():
            self.slowest_s[call] = max(took_s, self.slowest_s.get(call, 0.0))
        return answer

    def all(self, command, argument=None):
        """Every rank does it at the same time; the answers in the order of the ranks."""
        for rank in range(len(self._commands)):
            self.tell(rank, command, argument)
        return [self.answer(rank) for rank in range(len(self._commands))]

    def one(self, rank, command, argument=None):
        self.tell(rank, command, argument)
        return self.answer(rank)

    def close(self):
        for rank in range(len(self._commands)):
            with contextlib.suppress(OSError):
                self.tell(rank, "end")
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(harness.CALL_LIMIT_S)
            process.kill()
            process.wait()
        self._folder.cleanup()


class AllRanks(AdapterCase):
    def ranks(self, count=RANKS, **job):
        ranks = Ranks(self.cluster, count, **job)
        self.addCleanup(ranks.close)
        return ranks

    def agreed(self, ranks, salt=0, count=200):
        """The one prefix that all ranks ended with."""
        answers = ranks.all("prefetch", (salt, count))
        self.assertEqual(len(set(answers)), 1, answers)
        return answers[0]

    def test_51_one_faulty_rank(self):
        """(51) A shorter prefix for all when one rank has less, or can no longer read or answer."""
        ranks = self.ranks()
        faulty = RANKS - 2
        self.assertEqual(self.agreed(ranks), 0)
        self.assertEqual(ranks.all("backup", (0, 200)), [200] * RANKS)
        self.assertEqual(self.agreed(ranks), 200)
        for rank in range(RANKS):
            ranks.one(rank, "backup", (1, 50 if rank == faulty else 200))
        self.assertEqual(self.agreed(ranks, 1), 50)
        ranks.one(faulty, "break", "meta")
        self.assertEqual(self.agreed(ranks), 0)
        self.assertEqual([ranks.one(rank, "backup", (2, 30)) for rank in range(RANKS)],
                         [0 if rank == faulty else 30 for rank in range(RANKS)])
        ranks.one(faulty, "break", "closed")
        self.assertEqual(self.agreed(ranks), 0)
        ranks.all("reset")
        self.assertEqual(self.agreed(ranks, 1), 0)
        print(f"# slowest calls of {RANKS} ranks: "
              + ", ".join(f"{call} {took_s:.2f} s" for call, took_s in ranks.slowest_s.items()),
              flush=True)
        self.assertLess(max(ranks.slowest_s.values()), 10.0)

    def test_51_killed_rank_does_not_stop_the_others(self):
        """(51) A dead rank's pages are gone; the others' next operation is theirs alone."""
        ranks = self.ranks(3)
        self.assertEqual(ranks.all("backup", (0, 100)), [100] * 3)
        ranks.processes[2].kill()
        ranks.processes[2].wait()
        self.assertEqual([ranks.one(rank, "backup", (1, 100)) for rank in (0, 1)], [100] * 2)
        self.assertLess(max(ranks.slowest_s.values()), 10.0)

    def test_33_51_replicated(self):
        """(33)(51) Rank 0 writes, and all ranks read its pages."""
        ranks = self.ranks(4, replicated=True)
        ranks.all("backup", (0, 150))
        end = time.monotonic() + harness.START_LIMIT_S
        while self.agreed(ranks, 0, 150) != 150 and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(self.agreed(ranks, 0, 150), 150)

    @unittest.skipUnless(HYBRID, "this release has no hybrid interface")
    def test_36_51_hybrid_and_replicated(self):
        """(36)(51) KV is common and states are each rank's own: both are needed by all."""
        ranks = self.ranks(2, replicated=True, hybrid=True)
        ranks.all("backup", (0, 60))
        self.assertEqual(self.agreed(ranks, 0, 60), 60)
        ranks.one(0, "backup", (1, 40))  # rank 1 has no state for this one
        self.assertEqual(self.agreed(ranks, 1, 40), 0)
        ranks.one(1, "backup", (1, 40))
        self.assertEqual(self.agreed(ranks, 1, 40), 40)


if __name__ == "__main__":
    unittest.main()
