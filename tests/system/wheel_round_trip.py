# SPDX-License-Identifier: Apache-2.0
"""wheel_round_trip.py - two processes share a page through PeerCacheStore, with nothing but the
wheel and Python's own library.

The first process stores the page and starts the second one, which must get the same bytes out of
the first one's memory.
"""
import ctypes
import os
import pathlib
import subprocess
import sys
import types

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "demo"))

from ports import free_port
from peercache.store import PeerCacheStore
from waiting import wait_for

PAGE_SIZE, SEGMENT_BYTES = 4, 4096
KEY = "5a" * 32


class Pool:
    """SGLang's host pool with room for one page: two segments, of keys and of values."""
    layout, page_size, dtype = "page_first", PAGE_SIZE, "bfloat16"

    def __init__(self):
        self.segments = [(ctypes.c_ubyte * SEGMENT_BYTES)() for _ in range(2)]

    def get_page_buffer_meta(self, indices):
        return [ctypes.addressof(segment) for segment in self.segments], [SEGMENT_BYTES] * 2

    def bytes(self):
        return b"".join(map(bytes, self.segments))


def open_store(address, pool):
    config = types.SimpleNamespace(model_name="test/model", tp_rank=0, tp_size=1, extra_config={
        "discovery_addr": address, "interface_v1": 1, "global_segment_size": "16mb"})
    store = PeerCacheStore(config, {})
    store.register_mem_pool_host(pool)
    return store


def page():
    return bytes(i * 7 % 251 for i in range(2 * SEGMENT_BYTES))


def first():
    address = f"127.0.0.1:{free_port()}"
    pool = Pool()
    for i, segment in enumerate(pool.segments):
        segment[:] = page()[i * SEGMENT_BYTES:(i + 1) * SEGMENT_BYTES]
    store = open_store(address, pool)
    assert store.batch_set_v1([KEY], list(range(PAGE_SIZE))) == [True], "not stored"
    if len(sys.argv) > 1:  # a program of the wheel that looks at the cluster as well
        subprocess.run([*sys.argv[1:], f"--discovery_addr={address}"], check=True)
    subprocess.run([sys.executable, __file__], check=True, env={**os.environ, "FIRST": address})
    store.close()


def second(address):
    pool = Pool()
    store = open_store(address, pool)
    wait_for(lambda: store.batch_exists([KEY]) == 1, "the page of the other process")
    assert store.batch_get_v1([KEY], list(range(PAGE_SIZE))) == [True], "a miss"
    assert pool.bytes() == page(), "wrong bytes"
    store.close()
    print("round trip: the same bytes")


if __name__ == "__main__":
    second(os.environ["FIRST"]) if "FIRST" in os.environ else first()
