# SPDX-License-Identifier: Apache-2.0
"""Starts the worker processes, hands out the tasks in the plan's order, and collects the results.

One thread, one pipe a worker.  A worker has at most DEPTH tasks, the next one already in its pipe
while it works, so it does not idle while the coordinator looks elsewhere.
"""
import heapq
import multiprocessing
import multiprocessing.connection
import time

import worker

DEPTH = 2
START_LIMIT_S = 30.0
# Longer than any call may last: a worker that says nothing for so long hangs.
SILENCE_LIMIT_S = 60.0


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


class Coordinator:
    def __init__(self, plan, jobs, progress):
        self.plan = plan
        self.progress = progress
        self.results = []
        self.reports = []
        self._blockers = [len(task.waits_for) for task in plan.tasks]
        self._ready = [[] for _ in jobs]
        self._outstanding = [0] * len(jobs)
        context = multiprocessing.get_context("spawn")
        self._pipes, self._processes = [], []
        for job in jobs:
            here, there = context.Pipe()
            process = context.Process(target=worker.serve, args=(there, job), name=job.name,
                                      daemon=True)
            process.start()
            there.close()
            self._pipes.append(here)
            self._processes.append(process)

    # --- the run ------------------------------------------------------------------------------

    def start(self):
        """Returns when all workers are members and know each other."""
        for number in range(len(self._pipes)):
            self._expect(number, "ready", START_LIMIT_S)
        end = time.monotonic() + START_LIMIT_S
        while any(self._members(number) < len(self._pipes) for number in range(len(self._pipes))):
            if time.monotonic() > end:
                raise DemoError(f"the workers did not all find each other in {START_LIMIT_S} s")
            time.sleep(0.05)

    def run(self):
        """Runs all tasks; returns the seconds that it took."""
        for task in self.plan.tasks:
            if not task.waits_for:
                self._make_ready(task)
        started = time.monotonic()
        self._hand_out()
        while len(self.results) < len(self.plan.tasks):
            for number in self._wait():
                self._take(number)
            self._hand_out()
            self.progress.show(len(self.results))
        return time.monotonic() - started

    def finish(self):
        """Collects what the workers counted, and lets them leave the cluster."""
        for pipe in self._pipes:
            pipe.send(("stop", None))
        for number in range(len(self._pipes)):
            self.reports.append(self._expect(number, "report", SILENCE_LIMIT_S))
        for process in self._processes:
            process.join(START_LIMIT_S)

    def stop(self):
        """Ends what is still there; for every way out."""
        for process in self._processes:
            if process.is_alive():
                process.terminate()
        for process in self._processes:
            process.join(1.0)
            if process.is_alive():
                process.kill()
                process.join()
        for pipe in self._pipes:
            pipe.close()

    # --- one step -----------------------------------------------------------------------------

    def _make_ready(self, task):
        heapq.heappush(self._ready[task.worker], task.number)

    def _hand_out(self):
        for number, ready in enumerate(self._ready):
            while ready and self._outstanding[number] < DEPTH:
                task = self.plan.tasks[heapq.heappop(ready)]
                self._outstanding[number] += 1
                self._pipes[number].send(("task", (task.number, task.blocks, task.writes)))

    def _wait(self):
        readable = multiprocessing.connection.wait(self._pipes, SILENCE_LIMIT_S)
        if not readable:
            raise DemoError(f"no worker has answered for {SILENCE_LIMIT_S} s")
        return [self._pipes.index(pipe) for pipe in readable]

    def _take(self, number):
        done = self._receive(number, "done")
        self._outstanding[number] -= 1
        self.results.append(done)
        for task in self.plan.tasks[done.number].unblocks:
            self._blockers[task.number] -= 1
            if self._blockers[task.number] == 0:
                self._make_ready(task)

    def _members(self, number):
        self._pipes[number].send(("members", None))
        return self._expect(number, "members", START_LIMIT_S)

    def _expect(self, number, kind, limit_s):
        if not self._pipes[number].poll(limit_s):
            raise DemoError(f"{self._processes[number].name} gave no answer in {limit_s} s")
        return self._receive(number, kind)

    def _receive(self, number, kind):
        name = self._processes[number].name
        try:
            got, value = self._pipes[number].recv()
        except (EOFError, OSError):
            self._processes[number].join(1.0)
            raise DemoError(f"{name} ended unexpectedly (exit code "
                            f"{self._processes[number].exitcode})") from None
        if got == "failed":
            raise DemoError(value)
        if got != kind:
            raise DemoError(f"{name} said {got!r} instead of {kind!r}")
        return value
