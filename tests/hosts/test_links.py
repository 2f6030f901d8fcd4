# SPDX-License-Identifier: Apache-2.0
"""One producer and four readers on hosts with links of 200 Mbit/s each: how fast a prefix that all of
them read reaches them.

Bounds: without hot pages, each reader gets at least 0.7 of its share (a quarter) of the producer's
link; with them, more than the share.
"""
import threading
import time
import unittest

from cluster import LARGE, OnHosts, say
from hosts import require_hosts

require_hosts()

LINK_MBIT = 200
PAGES, BATCH, PASSES, READERS = 16, 4, 4, 4
SHARE = LINK_MBIT / 8 / READERS


class Links(OnHosts):
    def read(self, reader, rates):
        """The whole prefix, in batches; its rate in MB/s."""
        started, hits = time.monotonic(), 0
        for first in range(0, PAGES, BATCH):
            called = reader.call("get", "prefix", first, BATCH, LARGE, 5000)
            self.assert_in_time(called, 5000)
            hits += called.outcomes.count("HIT")
        rates.append(hits * LARGE / 1e6 / (time.monotonic() - started))
        self.assertEqual(hits, PAGES)

    def run_pass(self, readers):
        rates = [[] for _ in readers]
        threads = [threading.Thread(target=self.read, args=pair) for pair in zip(readers, rates)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([len(made) for made in rates], [1] * len(readers))
        return [made[0] for made in rates]

    def measure(self, what, **options):
        """The rates of the last pass."""
        self.make_hosts()
        _, producer, *readers = self.cluster(**options)
        called = producer.call("set", "prefix", 0, PAGES, LARGE, 5000)
        self.assertEqual(called.outcomes, ["STORED"] * PAGES)
        for host in self.hosts:
            host.limit(LINK_MBIT)
        say(f"{what}: {PAGES} pages of 1 MiB to {READERS} readers, MB/s each; a quarter of the"
            f" producer's link is {SHARE:.2f}")
        for number in range(PASSES):
            rates = self.run_pass(readers)
            say(f"    pass {number + 1}: " + " ".join(f"{rate:6.2f}" for rate in rates))
        return rates

    def test_from_the_producer_alone(self):
        rates = self.measure("no hot pages")
        self.assertGreater(min(rates), 0.7 * SHARE)

    def test_hot_pages(self):
        rates = self.measure("hot pages", hot_pages="true")
        self.assertGreater(min(rates), SHARE)


if __name__ == "__main__":
    unittest.main()
