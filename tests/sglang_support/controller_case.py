# SPDX-License-Identifier: Apache-2.0
"""A test with a cluster and controllers of its own.  Import release first, at full level."""
import unittest

import cluster
import controllers
import host_pools

PAGE_SIZE = host_pools.PAGE_SIZE


def tokens(pages, salt=0):
    """Tokens of that many pages; chains with different salts share no page."""
    return [1000 * salt + number for number in range(pages * PAGE_SIZE)]


class Case(unittest.TestCase):
    HYBRID = False

    @classmethod
    def setUpClass(cls):
        controllers.set_parallel()

    def setUp(self):
        self.cluster = cluster.Cluster()
        self.schedulers = []
        self.addCleanup(self.close)

    def close(self):
        for scheduler in self.schedulers:
            scheduler.detach()
        self.cluster.close()

    def scheduler(self, kind="mha", layout="page_first", options=None, device_tokens=None,
                  **more):
        more_tokens = {"tokens": device_tokens} if device_tokens else {}
        device = getattr(host_pools, f"device_{kind}")(**more_tokens)
        host = getattr(host_pools, f"host_{kind}")(layout, device)
        return self.start(device, host, options, **more)

    def start(self, device, host, options=None, **more):
        made = controllers.Scheduler(self.cluster.extra(**(options or {})), device, host,
                                     hybrid=self.HYBRID, **more)
        self.schedulers.append(made)
        return made

    def settle(self, *schedulers):
        for made in schedulers:
            cluster.settle(made.backend, len(schedulers))

    def assert_fetched(self, scheduler, prompt, hit_pages, read_pages=None, **more):
        """A prefetch finds and reads so many pages, and each holds what its hash says."""
        fetched = scheduler.prefetch(prompt, **more)
        self.assertEqual(scheduler.wrong_pages(fetched), [])
        scheduler.release(fetched)
        self.assertEqual((fetched.hit_pages, fetched.read_pages),
                         (hit_pages, hit_pages if read_pages is None else read_pages))
        return fetched
