# SPDX-License-Identifier: Apache-2.0
"""A node that has just joined: from when on is what it sets found by the others, and what they have by
it.

Bounds: within half a second of its start, and long before anybody's next heartbeat, what it sets is
STORED and found by the others at once; what it had set before that is found then too.
"""
import time
import unittest

from cluster import SMALL, OnHosts, say
from hosts import require_hosts

from callers import STORED

require_hosts()

PAGES, TIMEOUT_MS, WINDOW_S = 8, 1000, 0.5
# All that is set while the test looks stays in the pool, however fast the machine is.
TURNS_MAX = (32 << 20) // (PAGES * SMALL)
TURN_S = (WINDOW_S + 1) / TURNS_MAX


class Joined(OnHosts):
    # As they are by default.
    HEARTBEAT_S, MEMBER_TTL_S = 2, 6

    def test_what_is_set_right_after_the_start(self):
        self.make_hosts()
        nodes = [self.caller(number) for number in (1, 2, 3, 4)]
        self.await_whole(*nodes)
        self.store(nodes[1], "there", PAGES, SMALL)
        joined = self.caller(5)
        started, local, missed, unseen, turn = time.monotonic(), 0.0, 0.0, 0.0, 0
        while (now := time.monotonic() - started) < WINDOW_S + 1:
            called = joined.call("set", f"new{turn}", 0, PAGES, SMALL, TIMEOUT_MS)
            self.assert_in_time(called, TIMEOUT_MS)
            self.assertLessEqual(set(called.outcomes), STORED)
            if called.outcomes != ["STORED"] * PAGES:
                local = now
            called = nodes[2].call("get", f"new{turn}", 0, PAGES, SMALL, TIMEOUT_MS)
            if called.outcomes != ["HIT"] * PAGES:
                missed = now
            called = joined.call("exists", "there", 0, PAGES, SMALL, TIMEOUT_MS)
            if called.outcomes != ["FOUND"] * PAGES:
                unseen = now
            turn += 1
            time.sleep(max(0, started + turn * TURN_S - time.monotonic()))
        say(f"after the start of a node: STORED_LOCAL for {local * 1e3:.0f} ms, its new pages missed"
            f" by others for {missed * 1e3:.0f} ms, others' missed by it for {unseen * 1e3:.0f} ms")
        self.assertLess(max(local, missed, unseen), WINDOW_S)
        for number in range(turn):
            self.assert_found(nodes[3], f"new{number}", PAGES, SMALL)


if __name__ == "__main__":
    unittest.main()
