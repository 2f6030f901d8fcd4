# SPDX-License-Identifier: Apache-2.0
"""The adapter as the demo loads it: it also writes down what moves, in the engine's own process.

The extra config names a file, "watch_file", that grows by one JSON line a call:
{"read": {way: pages}} or {"stored": [key, ...]}.
"""
import collections
import json
import os

from peercache.store import PeerCacheStore


class NotingStore(PeerCacheStore):
    """The adapter with a file of JSON lines, from threads of the engine."""

    def __init__(self, storage_config, kwargs):
        self.file = os.open(storage_config.extra_config["watch_file"],
                            os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        super().__init__(storage_config, kwargs)

    def note(self, **line):
        os.write(self.file, (json.dumps(line) + "\n").encode())


class WatchedStore(NotingStore):
    def ways(self):
        return collections.Counter(self.counters.snapshot().get("get", {}).get("via", {}))

    def batch_get_v1(self, keys, host_indices, extra_info=None):
        before = self.ways()
        hits = super().batch_get_v1(keys, host_indices, extra_info)
        self.note(read=dict(self.ways() - before))
        return hits

    def batch_set_v1(self, keys, host_indices, extra_info=None):
        stored = super().batch_set_v1(keys, host_indices, extra_info)
        self.note(stored=[key for key, done in zip(keys, stored) if done])
        return stored
