# SPDX-License-Identifier: Apache-2.0
"""Waiting for what other processes do, and when the nodes of a cluster know each other."""
import time

POLL_S = 0.02
# Long enough for a process that starts, under a sanitizer too, on a busy machine.
WAIT_S = 30.0


class WaitedInVain(AssertionError):
    """A test fails with it."""


def wait_for(condition, what, limit_s=WAIT_S):
    """Polls until the condition holds, and returns what it said; says what did not come."""
    end = time.monotonic() + limit_s
    while not (answer := condition()):
        if time.monotonic() > end:
            raise WaitedInVain(f"waited {limit_s} s in vain for {what}")
        time.sleep(POLL_S)
    return answer


def lacks(status, count):
    """What a node that says this of itself lacks of a whole cluster of @count members, itself included;
    an empty list: nothing."""
    members = status.get("members", ())
    directory = status.get("directory", {"ring_nodes": 0, "is_complete": False})
    return ([f"{len(members)} members"] * (len(members) != count)
            + [f"{directory['ring_nodes']} on the ring"] * (directory["ring_nodes"] != count)
            + ["a complete directory"] * (not directory["is_complete"])
            + [member for member in members
               if not (member["is_connected"] and member["is_trusted"]
                       and member["state"] == "alive")])


def knows_all(status, count):
    """Whether it lacks nothing.  Where all say so, what one stores the others find at once."""
    return not lacks(status, count)
