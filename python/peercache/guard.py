# SPDX-License-Identifier: Apache-2.0
"""Nothing may escape from a storage call.

Up to SGLang 0.5.16 an exception ends the worker thread that called, for the life of the server;
later releases lose the batch, and an exception out of get_stats still ends the server.  So each
storage call is wrapped: what goes wrong is logged, and the answer is a miss.
"""
import functools
import logging
import threading
import time

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


def count_keys(*args, **kwargs):
    """How many keys a call was given, for an answer of the right length."""
    keys = args[0] if args else kwargs.get("keys")
    try:
        return len(keys)
    except TypeError:
        return 0


def all_false(*args, **kwargs):
    return [False] * count_keys(*args, **kwargs)


def all_none(*args, **kwargs):
    return [None] * count_keys(*args, **kwargs)


def never_raises(miss):
    """Turns each exception of a call into `miss`, or into miss(*args) where that is a function."""

    def decorate(method):
        @functools.wraps(method)
        def call(self, *args, **kwargs):
            try:
                return method(self, *args, **kwargs)
            except Exception as error:
                text = f"failed and counts as a miss: {type(error).__name__}: {error}"
                self.errors.warn(method.__name__, text, exc_info=True)
                return miss(*args, **kwargs) if callable(miss) else miss

        return call

    return decorate
