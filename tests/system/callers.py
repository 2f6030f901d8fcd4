# SPDX-License-Identifier: Apache-2.0
"""An application with a node (caller.c) as a process, and what came of its calls.

A call's time is taken inside of the application, around the call itself.
"""
import json
import os
import select
import signal
import subprocess
import tempfile
import unittest

from processes import WAIT_S, check_log, clean_environment, end_process, wait_for
from waiting import WaitedInVain, knows_all, lacks

CALLER = os.environ["CALLER"]
# How much later than its deadline a call may return; a sanitizer makes everything slower.
LATE_MS = float(os.environ.get("CALL_LATE_MS", "100"))
STORED = {"STORED", "STORED_LOCAL"}


class Called:
    """What came of one call: .ms, .wrong, and .outcomes and .ways, one a page."""

    def __init__(self, answer):
        self.error, self.ms, self.wrong = answer["error"], answer["ms"], answer["wrong"]
        self.outcomes = [outcome for outcome, _ in answer["pages"]]
        self.ways = [way for _, way in answer["pages"]]

    def __repr__(self):
        return f"error {self.error}, {self.ms} ms, wrong {self.wrong}, {self.outcomes}"


class Caller:
    """@prefix is a command that starts another in its own place, as `ip netns exec NAME` does;
    @program one that was built otherwise."""

    def __init__(self, test, *options, prefix=(), program=CALLER):
        self.log_file = test.enterContext(tempfile.TemporaryFile("w+"))
        self.process = subprocess.Popen(
            [*prefix, program, "--global_segment_size=64mb", *options], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.log_file, text=True, env=clean_environment())
        test.addCleanup(self.end)
        self.answer()

    def answer(self, limit_s=WAIT_S):
        output = select.poll()  # not select(), which takes the first 1,024 descriptors only
        output.register(self.process.stdout, select.POLLIN)
        ready = output.poll(limit_s * 1000)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise AssertionError(f"no answer; exit status {self.process.poll()}; {self.log()}")
        return json.loads(line)

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def ask(self, *words):
        self.tell(*words)
        return self.answer()

    def call(self, kind, name, first, n, size, timeout_ms):
        return Called(self.ask(kind, name, first, n, size, timeout_ms))

    def log(self):
        return os.pread(self.log_file.fileno(), 1 << 20, 0).decode()

    def status(self):
        return self.ask("status")

    def signal(self, number):
        self.process.send_signal(number)

    def leave(self):
        """Closes its node and ends."""
        self.process.stdin.close()
        return self.process.wait(WAIT_S)

    def end(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        end_process(self.process)
        self.process.stdout.close()
        check_log(self.log())


class ClusterCase(unittest.TestCase):
    """What tests of a cluster expect of its nodes, which have .status() and .call()."""

    def await_whole(self, *nodes, count=None):
        """Until all know each other, are connected, count on each other, and know all that there
        is."""
        count = count or len(nodes)
        try:
            wait_for(lambda: all(knows_all(node.status(), count) for node in nodes),
                     f"{count} nodes to meet")
        except WaitedInVain as error:
            seen = [(status["node"]["node_id"], lacks(status, count))
                    for status in (node.status() for node in nodes)]
            raise WaitedInVain(f"{error}: {seen}") from error

    def store(self, caller, name, n, size):
        called = caller.call("set", name, 0, n, size, 5000)
        self.assertEqual(called.outcomes, ["STORED"] * n)

    def store_in_turn(self, callers, name, n, size):
        """One page after the other, each by the next of @callers."""
        for page in range(n):
            called = callers[page % len(callers)].call("set", name, page, 1, size, 5000)
            self.assertEqual(called.outcomes, ["STORED"])

    def assert_in_time(self, called, timeout_ms):
        self.assertEqual(called.error, 0)
        self.assertEqual(called.wrong, 0)
        self.assertLessEqual(called.ms, timeout_ms + LATE_MS, called)

    def assert_found(self, caller, name, n, size):
        called = caller.call("get", name, 0, n, size, 5000)
        self.assertEqual((called.wrong, called.outcomes), (0, ["HIT"] * n), called)

    def await_found(self, caller, name, n, size):
        wait_for(lambda: caller.call("get", name, 0, n, size, 2000).outcomes == ["HIT"] * n,
                 f"all pages {name} to be found")
