# SPDX-License-Identifier: Apache-2.0
"""How long a call of SGLang's may take, however many native calls it is made of."""
import time

# A call that moves much gets more time, at a quarter of what a slow network carries; the library
# gives its own default deadlines the same share.
BYTES_A_SECOND = 256 << 20

# SGLang joins its storage threads with 10 s (0.5.23) and then raises on the scheduler thread, so
# no share of bytes may bring a call near that.
CALL_LIMIT_S = 8.0


class Deadline:
    """The moment at which a call ends: @timeout_s from now, and more for @len_bytes."""

    def __init__(self, timeout_s, len_bytes=0, clock=time.monotonic):
        self._clock = clock
        share_s = min(len_bytes / BYTES_A_SECOND, max(0.0, CALL_LIMIT_S - timeout_s))
        self._end_s = clock() + timeout_s + share_s

    def remaining_ms(self):
        """Milliseconds that are left.  0 lets the library answer from the own node, at once."""
        return max(0, int((self._end_s - self._clock()) * 1000))
