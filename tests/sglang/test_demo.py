# SPDX-License-Identifier: Apache-2.0
"""The demo: its plan, its load, that it passes, and that it notices a store that is wrong."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import harness

ROOT = harness.HERE.parent.parent
sys.path.insert(0, str(ROOT / "demo"))

import load
import plan as planning
import report
import worker

PAGE_BYTES = 4096


class Planning(unittest.TestCase):
    def test_expected_hits_are_those_of_an_endless_cache(self):
        requests = load.generate(300, seed=5)
        plan = planning.Plan(requests, 2, 2)
        seen = set()
        for request, prefill, decode in zip(requests, plan.tasks[::2], plan.tasks[1::2]):
            run = 0
            while run < len(request.prompt) and request.prompt[run] in seen:
                run += 1
            self.assertEqual(prefill.expected, run)
            self.assertEqual(decode.expected, len(request.prompt))
            seen.update(request.prompt, request.answer)
        self.assertEqual(sum(plan.pages_of_worker), len(seen))

    def test_a_block_is_written_before_others_use_it(self):
        plan = planning.Plan(load.generate(300, seed=6), 2, 2)
        writer, before = {}, []
        for task in plan.tasks:
            self.assertTrue(all(earlier < task.number for earlier in task.waits_for))
            before.append(task.waits_for.union(*(before[earlier] for earlier in task.waits_for)))
            for block in task.blocks + task.writes:
                first = writer.setdefault(block, task.number)
                self.assertTrue(first == task.number or first in before[task.number])

    def test_next_turn_goes_to_another_worker(self):
        requests = [load.Request([0, 1], [2]), load.Request([0, 1, 2, 3], []),
                    load.Request([0, 1, 2, 3, 4], [])]
        plan = planning.Plan(requests, 2, 1)
        workers = [task.worker for task in plan.tasks[::2]]
        self.assertNotEqual(workers[0], workers[1])
        self.assertNotEqual(workers[1], workers[2])

    def test_generated_load_has_the_shape_of_the_trace(self):
        """The trace: 24.0 blocks a prompt, 36.6 % of them seen before."""
        requests = load.generate(12000, seed=1)
        self.assertEqual(load.generate(50, seed=1), load.generate(50, seed=1))
        blocks = sum(len(request.prompt) for request in requests)
        plan = planning.Plan(requests, 1, 1)
        found = sum(task.expected for task in plan.tasks[::2])
        self.assertAlmostEqual(blocks / len(requests), 24.0, delta=2.0)
        self.assertAlmostEqual(found / blocks, 0.366, delta=0.04)

    def test_bad_trace(self):
        for text in ("", "{}\n", "no json\n", '{"timestamp": 0, "hash_ids": ["x"]}\n'):
            with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as trace:
                trace.write(text)
                trace.flush()
                with self.assertRaises(ValueError):
                    load.from_trace(trace.name)


class Running(harness.AdapterCase):
    def test_it_passes(self):
        build = pathlib.Path(worker.PeerCacheStore.__init__.__code__.co_filename).parents[2]
        done = subprocess.run([sys.executable, str(ROOT / "tools" / "demo"), "--build", str(build),
                               "--requests", "60"], text=True, capture_output=True, timeout=120,
                              env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("wrong bytes", done.stdout)

    def outcome_with(self, spoil):
        """The verdict on two requests over a store that @spoil has tampered with."""
        plan = planning.Plan([load.Request([0, 1, 2], []), load.Request([0, 1, 2, 3], [])], 1, 1)
        one = worker.Worker(worker.Job("one", self.cluster.extra(), PAGE_BYTES, 8))
        self.cluster.stores.append(one.store)
        spoil(one)
        results = [one.run(task.number, task.blocks, task.writes) for task in plan.tasks]
        reports = [(one.store.counters.snapshot(), one.problems.texts)]
        return report.Outcome(plan, results, reports, PAGE_BYTES, 1.0)

    def test_clean_store(self):
        self.assertEqual(self.outcome_with(lambda one: None).faults(), [])

    def test_wrong_byte_is_noticed(self):
        def spoil(one):
            get = one.store.batch_get_v1

            def wrong(names, slots, extra):
                hits = get(names, slots, extra)
                one.pool.kv_buffer[5] ^= 1
                return hits

            one.store.batch_get_v1 = wrong

        outcome = self.outcome_with(spoil)
        self.assertGreater(outcome.wrong_bytes, 0)
        self.assertIn("wrong bytes", outcome.faults()[0])

    def test_lost_page_is_noticed(self):
        def spoil(one):
            get = one.store.batch_get_v1
            one.store.batch_get_v1 = lambda *args: [*get(*args)[:-1], False]

        self.assertIn("did not hit", self.outcome_with(spoil).faults()[0])

    def test_a_worker_that_is_late_is_told(self):
        def spoil(one):
            get = one.store.batch_get_v1
            one.store.batch_get_v1 = lambda *args: [*get(*args)[:-1], False]
            one.store.counters.snapshot = lambda: {"get": {"outcome": {"HIT": 5, "MISS_PEER": 3}}}

        self.assertIn("MISS_PEER 3; ", " ".join(self.outcome_with(spoil).faults()))

    def test_refused_page_is_noticed(self):
        def spoil(one):
            one.store.batch_set_v1 = lambda names, *args: [False] * len(names)

        self.assertIn("could not store", " ".join(self.outcome_with(spoil).faults()))


if __name__ == "__main__":
    unittest.main()
