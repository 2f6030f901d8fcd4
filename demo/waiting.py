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


def knows_all(status, count):
    """Whether a node that says this of itself is connected to @count members, itself included, and
    its part of the directory is whole.  Where all say so, what one stores the others find at once.
    """
    met = [member for member in status.get("members", ())
           if member["state"] == "alive" and member["is_connected"]]
    directory = status.get("directory", {"is_complete": False})
    return len(met) == count == directory["ring_nodes"] and directory["is_complete"]
