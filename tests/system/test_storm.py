#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An eviction storm: one process sets pages into a pool that is smaller than the load, another one
reads them and compares every byte.

    test_storm.py [--reads N] [NAME ...]        by hand; N pages delivered each way

A read counts when its page was delivered.  What the slot word stopped is what the node counts:
stale_before and stale_after, read by the reader of shared memory itself, and stale_at_holder, where
the holder found the word changed when it wanted to pin the page for TCP.

Without the checks wrong bytes must come, or the storm shows nothing.  Which ones that takes:

* Shared memory, both looks at the word: each alone stops nearly all that the other one stops, and
  the digest and length of the header count only together with the word.  The look before the copy
  is there to save copies; with the look behind it alone nothing wrong passes.
* Shared memory, the look behind the copy: what changes during the copy.  Large pages, so that there
  is a "during".
* TCP, the generation at the holder: the holder then pins and sends what the slot holds by now.  The
  reader cannot notice: what it compares is the holder's word.
* TCP, the pins: a page is evicted while the holder sends it.  Large pages, because only what the
  socket does not take at once stays pinned.
* Fresh generations at the holder: a location of a former filling matches the present one.
"""
import json
import os
import subprocess
import sys
import unittest

from processes import WAIT_S, clean_environment, free_port

STORM = os.environ["STORM"]
STORM_SWITCHABLE = os.environ["STORM_SWITCHABLE"]
# A reader stops by itself after so long.
LIMIT_S = 150
SMALL = {"page_bytes": 4096, "keys": 4096, "batch": 1024}
LARGE = {"page_bytes": 262144, "keys": 64, "batch": 64}
POOL = "4mb"

# Pages delivered each way; --reads and the build have the last word.
reads = int(os.environ.get("STORM_READS", "1000000"))


def words(options):
    return [f"--{name}={value}" for name, value in options.items()]


def program_and_environment(protections_off):
    if not protections_off:
        return STORM, clean_environment()
    return STORM_SWITCHABLE, clean_environment(PEERCACHE_TEST_PROTECTIONS_OFF=protections_off)


class Holder:
    """Sets pages without end, as long as the block lasts."""

    def __init__(self, options, protections_off):
        self.options, self.off = options, protections_off

    def __enter__(self):
        program, environment = program_and_environment(self.off)
        self.process = subprocess.Popen([program, "hold", *words(self.options)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env=environment)
        if "is_ready" not in self.process.stdout.readline():
            raise AssertionError("the holder did not start")
        return self

    def __exit__(self, *error):
        try:
            self.sets, _ = self.process.communicate(timeout=WAIT_S)
        finally:
            self.process.kill()
            self.process.wait()


class Storm(unittest.TestCase):
    def storm(self, protocol, count, shape, holder_off="", reader_off="", **more):
        """What the reader saw, with the counters of its node."""
        common = {"discovery_addr": f"127.0.0.1:{free_port()}", "heartbeat_interval": "0.2",
                  "cluster_name": f"storm-{os.getpid()}", "log_level": "error"}
        program, environment = program_and_environment(reader_off)
        reader = {**common, "global_segment_size": "1mb", "protocol": protocol, "reads": count,
                  "seconds": LIMIT_S, **shape, **more}
        holder = {**common, **shape, "global_segment_size": POOL, "batch": min(32, shape["batch"])}
        with Holder(holder, holder_off) as held:
            done = subprocess.run([program, "read", *words(reader)], stdout=subprocess.PIPE,
                                  env=environment, text=True, timeout=LIMIT_S + WAIT_S)
            self.assertIsNone(held.process.poll(), "the holder ended before its reader")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(held.process.returncode, 0)
        seen, status = map(json.loads, done.stdout.splitlines())
        counters = status["counters"]
        seen["stopped"] = {name: counters[f"peercache_stale_{name}_total"]
                           for name in ("before", "after", "at_holder")}
        seen["sets"] = json.loads(held.sets)
        return seen

    def report(self, way, seen):
        asked, hits = seen["asked"], seen["outcomes"].get("HIT", 0)
        misses = ", ".join(f"{name} {count:,}" for name, count in sorted(seen["outcomes"].items())
                           if name != "HIT")
        stopped = seen["stopped"]
        print(f"# {way}: {hits:,} pages read of {asked:,} asked for in {seen['seconds']} s, misses "
              f"{100 * (asked - hits) / asked:.1f} % ({misses}); stopped by the slot word: before "
              f"the copy {stopped['before']:,}, after it {stopped['after']:,}, at the holder "
              f"{stopped['at_holder']:,}; wrong words {seen['wrong_words']:,}; pages set "
              f"{seen['sets'].get('STORED', 0):,}", flush=True)

    def assert_right(self, way, seen, stopped):
        self.report(way, seen)
        self.assertEqual(seen["wrong_words"], 0)
        self.assertGreaterEqual(seen["ways"][way], reads, "the reader ran out of time")
        self.assertEqual(seen["ways"][way], seen["outcomes"]["HIT"])
        self.assertGreaterEqual(stopped, reads // 1000, "the storm was too mild")

    def test_every_byte_by_shared_memory(self):
        seen = self.storm("shm", reads, SMALL)
        self.assert_right("shm", seen, seen["stopped"]["before"] + seen["stopped"]["after"])

    def test_every_byte_by_tcp(self):
        seen = self.storm("tcp", reads, SMALL)
        self.assert_right("tcp", seen, seen["stopped"]["at_holder"])

    def assert_wrong(self, protocol, shape, **off):
        """Reads until the first wrong page."""
        seen = self.storm(protocol, 100000000, shape, stop_at_wrong=1, **off)
        self.report(f"{protocol}, off: {' '.join(off.values())}", seen)
        self.assertGreater(seen["wrong_pages"], 0)

    def test_without_both_looks_at_the_word(self):
        self.assert_wrong("shm", SMALL, reader_off="word_before_copy,word_after_copy")

    def test_without_the_look_behind_the_copy(self):
        self.assert_wrong("shm", LARGE, reader_off="word_after_copy")

    def test_without_the_generation_at_the_holder(self):
        self.assert_wrong("tcp", SMALL, holder_off="serve_generation")

    def test_without_pins(self):
        self.assert_wrong("tcp", LARGE, holder_off="pins_block_void")

    def test_without_fresh_generations(self):
        self.assert_wrong("shm", SMALL, holder_off="fresh_generation")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["--reads"]:
        reads = int(arguments[1])
        arguments = arguments[2:]
    unittest.main(argv=[sys.argv[0], *arguments])
