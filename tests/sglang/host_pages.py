# SPDX-License-Identifier: Apache-2.0
"""Host pages under the simulator's eyes: who has which, what they hold, and that nobody strays."""
import threading

import host_pool


class HostPages:
    """The pages of one pool: which are free, and that nobody touches those."""

    def __init__(self, name, pool, faults):
        self.name, self.pool, self._faults = name, pool, faults
        self._lock = threading.Lock()
        self._free = list(range(pool.page_num))
        pool.poison(self._free)

    def take(self, count):
        with self._lock:
            if count > len(self._free):
                raise AssertionError(f"{self.name}: the host pool of this test is too small")
            pages, self._free = self._free[:count], self._free[count:]
        self.check(pages)
        return pages

    def give(self, pages):
        self.pool.poison(pages)
        with self._lock:
            self._free.extend(pages)

    def check(self, pages=None):
        pages = self._free if pages is None else pages
        if not self.pool.is_poisoned(pages):
            self._faults.append(f"{self.name}: a write into pages after their call had returned")
        if not self.pool.guards_intact():
            self._faults.append(f"{self.name}: a write between the pages")


def seeds(keys, pool_name, salt):
    """Each pool's page of a key has bytes of its own; @salt tells the ranks apart."""
    # A fixed number for each name: hash() of a text differs from process to process.
    own = sum(byte << (8 * (i % 7)) for i, byte in enumerate(pool_name.encode()))
    return [(host_pool.seed_of(key) ^ own) + salt & (1 << 64) - 1 for key in keys]
