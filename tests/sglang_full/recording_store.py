# SPDX-License-Identifier: Apache-2.0
"""The adapter, watched from inside the engine's scheduler process, and spoilt on demand.

Three files lie in one folder; the extra config names the first as "watch_file":

    calls   grows by one JSON line a storage call: name, thread, seconds, how many keys, how many of
            them good (those that a call found, read or stored)
    state   rewritten all the time: the names of the living threads, the adapter's counters, and
            what its node says of itself
    fault   written by the test: "lose" or "corrupt" every third page that is read, or "raise"
"""
import ctypes
import functools
import json
import os
import pathlib
import threading
import time

from sglang_watch import NotingStore

STATE_INTERVAL_S = 0.2
EVERY = 3
SPOILT_BYTE = 0x3f


def recorded(name):
    """The adapter's method @name, with a line in `calls`."""
    method = getattr(NotingStore, name)

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        started = time.perf_counter()
        answer = method(self, *args, **kwargs)
        self.note_call(name, started, args, answer)
        return answer

    return call


class RecordingStore(NotingStore):
    def __init__(self, storage_config, kwargs):
        self.folder = pathlib.Path(storage_config.extra_config["watch_file"]).parent
        super().__init__(storage_config, kwargs)
        self.closed = threading.Event()
        threading.Thread(target=self.watch, name="recording-store", daemon=True).start()

    def close(self):
        self.closed.set()
        super().close()

    def note_call(self, name, started, args, answer):
        keys = len(args[0]) if args and isinstance(args[0], (list, tuple)) else 0
        good = sum(answer) if isinstance(answer, list) else answer
        self.note(call=name, thread=threading.current_thread().name, keys=keys,
                  good=good if isinstance(good, int) else None,
                  seconds=time.perf_counter() - started)

    def watch(self):
        fresh, state = self.folder / "state.new", self.folder / "state"
        while not self.closed.wait(STATE_INTERVAL_S):
            names = sorted(thread.name for thread in threading.enumerate())
            fresh.write_text(json.dumps({"threads": names, "counters": self.counters.snapshot(),
                                         "status": json.loads(self.status() or "{}")}))
            os.replace(fresh, state)

    def fault(self):
        try:
            return (self.folder / "fault").read_text()
        except FileNotFoundError:
            return ""

    def batch_get_v1(self, keys, host_indices, extra_info=None):
        started = time.perf_counter()
        answer = super().batch_get_v1(keys, host_indices, extra_info)
        self.note_call("batch_get_v1", started, (keys,), answer)
        fault = self.fault()
        if fault == "raise":
            raise RuntimeError("as the test wants it")
        for page in range(EVERY - 1, len(answer), EVERY):
            if fault == "lose":
                answer[page] = False
            elif fault == "corrupt":
                self.spoil(host_indices, page, len(keys))
        return answer

    def spoil(self, host_indices, page, page_count):
        addresses, lengths = self.mem_pool_host.get_page_buffer_meta(host_indices)
        segments = len(addresses) // page_count
        for i in range(page * segments, (page + 1) * segments):
            ctypes.memset(addresses[i], SPOILT_BYTE, lengths[i])

    batch_exists = recorded("batch_exists")
    batch_set_v1 = recorded("batch_set_v1")
    batch_exists_v2 = recorded("batch_exists_v2")
    batch_get_v2 = recorded("batch_get_v2")
    batch_set_v2 = recorded("batch_set_v2")
    get_stats = recorded("get_stats")
