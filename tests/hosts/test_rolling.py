# SPDX-License-Identifier: Apache-2.0
"""A cluster of five is restarted, one node after another, while conversations go on.

Bounds: no call fails, hangs or is later than its deadline + 100 ms; no wrong byte; when all have been
restarted the hit rate is again what it was, less a twentieth at most.
"""
import time
import unittest

from chat import TIMEOUT_MS, Chat
from cluster import IS_LONG, OnHosts, say
from hosts import require_hosts

from callers import LATE_MS

require_hosts()

PAGE_BYTES = 16 << 10
CONVERSATIONS = 20
STEP_S = 20 if IS_LONG else 3


class Rolling(OnHosts):
    def restart(self, number, kills):
        def make(old):
            if kills:
                old.process.kill()
                old.process.wait()
            else:
                self.assertEqual(old.leave(), 0)
            return self.caller(number, **self.identity(number, kills))
        return make

    def identity(self, number, kills):
        """A node that is killed is on the ring until it is back or ring_grace is over: it comes back
        as itself.  One that closes has left, and may be another the next time."""
        return {"node_id": f"{number:032x}"} if kills else {}

    def check(self, kills):
        self.make_hosts()
        nodes = [self.caller(number, **self.identity(number, kills)) for number in range(1, 6)]
        self.await_whole(*nodes)
        chat = Chat(nodes, CONVERSATIONS, PAGE_BYTES)
        chat.start()
        try:
            time.sleep(STEP_S)
            for number in range(1, 6):
                chat.replace(number - 1, self.restart(number, kills))
                time.sleep(STEP_S)
            restarted_s = time.monotonic() - chat.started
            time.sleep(STEP_S)
        finally:
            chat.stop()
        self.report(chat, restarted_s, "killed" if kills else "closed")
        self.assertEqual(chat.failures, [])
        calls = [called for turn in chat.turns for called in turn.calls]
        for called in calls:
            self.assert_in_time(called, TIMEOUT_MS)
        say(f"{len(calls)} calls, slowest {max(called.ms for called in calls):.0f} ms (a deadline is"
            f" {TIMEOUT_MS} ms, and {LATE_MS:.0f} ms), wrong bytes 0")
        self.assertGreater(chat.hit_rate(restarted_s), chat.hit_rate(1, STEP_S) - 0.05)
        self.await_whole(*chat.callers)

    def report(self, chat, restarted_s, how):
        say(f"five nodes {how} and started again, one each {STEP_S} s from {STEP_S} s on")
        say("second  turns  hit rate")
        for second in range(int(restarted_s + STEP_S)):
            turns = sum(second <= turn.at < second + 1 for turn in chat.turns)
            say(f"{second:6}  {turns:5}  {chat.hit_rate(second, second + 1):8.3f}")

    def test_closed(self):
        self.check(kills=False)

    def test_killed(self):
        self.check(kills=True)


if __name__ == "__main__":
    unittest.main()
