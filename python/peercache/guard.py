# SPDX-License-Identifier: Apache-2.0
"""Nothing may escape from a storage call.

Up to SGLang 0.5.16 an exception ends the worker thread that called, for the life of the server;
later releases lose the batch, and an exception out of get_stats still ends the server.  So each
storage call is wrapped in a Guard (_guard.c): what goes wrong is logged, and the answer is a miss.
"""
import logging
import threading
import time

from . import _native

_log = logging.getLogger("peercache")

# One line a kind and half a minute: a peer that is down must not fill the disk with its name.
LOG_INTERVAL_S = 30.0


class ErrorLog:
    """Logs at most one line a kind and LOG_INTERVAL_S, and counts what it held back."""

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds = {}

    def _admit(self, kind):
        """The number of lines held back since the last one, or None to hold this one back."""
        now = self._clock()
        with self._lock:
            due, held = self._kinds.get(kind, (now, 0))
            if now < due:
                self._kinds[kind] = (due, held + 1)
                return None
            self._kinds[kind] = (now + LOG_INTERVAL_S, 0)
            return held

    def warn(self, kind, text, exc_info=False):
        held = self._admit(kind)
        if held is not None:
            more = f" ({held} more like it were not logged)" if held else ""
            _log.warning("call=%s %s%s", kind, text, more, exc_info=exc_info)


def _report(store, call, error):
    store.errors.warn(call, f"failed and counts as a miss: {type(error).__name__}: {error}",
                      exc_info=error)


def never_raises(miss, shape=None):
    """Turns each exception of a call into a miss.

    The answer is @miss, or miss() where that is a function.  @shape "keys": a list with @miss for
    each key; "transfers": a dictionary with such a list under each transfer's name.
    """
    return lambda method: _native.Guard(method, _report, miss, shape)
