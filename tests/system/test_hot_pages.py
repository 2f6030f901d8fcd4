# SPDX-License-Identifier: Apache-2.0
"""One producer, four readers, each a host of its own (protocol=tcp): who serves the pages."""
import unittest

import test_trouble

PAGES, BYTES, BATCH, PASSES, READERS = 64, 65536, 8, 4, 4
HOLDERS_MOST = 4


def counter(node, name):
    return node.status()["counters"][f"peercache_{name}_total"]


class HotPages(test_trouble.Trouble):
    def read_all(self, readers):
        """Every reader reads the prefix, in batches, side by side with the others."""
        for first in range(0, PAGES, BATCH):
            for reader in readers:
                reader.tell("get", "prefix", first, BATCH, BYTES, 5000)
            for reader in readers:
                called = test_trouble.Called(reader.answer())
                self.assertEqual((called.wrong, set(called.outcomes)), (0, {"HIT"}), called)

    def run_readers(self, **options):
        """What the producer served, and what the readers kept and served."""
        options = {"protocol": "tcp", "member_ttl": "30", **options}
        producer = self.caller(**options)
        readers = [self.caller(**options) for _ in range(READERS)]
        self.await_whole(producer, *readers)
        called = producer.call("set", "prefix", 0, PAGES, BYTES, 10000)
        self.assertLessEqual(set(called.outcomes), test_trouble.STORED)
        for _ in range(PASSES):
            self.read_all(readers)
        kept = sum(counter(reader, "hot_pages_published") for reader in readers)
        served = sum(counter(reader, "pages_served") for reader in readers)
        return counter(producer, "pages_served"), kept, served

    def test_readers_share_the_load_of_hot_pages(self):
        producer, kept, readers = self.run_readers()
        print(f"# the producer served {producer} pages, the readers {readers}, and kept {kept}")
        self.assertLess(producer, READERS * PASSES * PAGES / 2)
        self.assertGreater(readers, 0)
        self.assertGreater(kept, 0)
        # Each of the two owners of a page counts for itself.
        self.assertLessEqual(kept, 2 * (HOLDERS_MOST - 1) * PAGES)

    def test_producer_serves_all_where_it_is_off(self):
        self.assertEqual(self.run_readers(hot_pages="false"),
                         (READERS * PASSES * PAGES, 0, 0))

    def test_page_read_by_one_reader_is_not_copied(self):
        options = {"protocol": "tcp", "member_ttl": "30"}
        producer, reader, other = (self.caller(**options) for _ in range(3))
        self.await_whole(producer, reader, other)
        producer.call("set", "prefix", 0, PAGES, BYTES, 10000)
        for _ in range(PASSES):
            self.read_all([reader])
        self.assertEqual(counter(reader, "hot_pages_published"), 0)
        self.assertEqual(reader.status()["pool"]["live_pages"], 0)


if __name__ == "__main__":
    unittest.main()
