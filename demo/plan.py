# SPDX-License-Identifier: Apache-2.0
"""Who serves which request, in which order, and how many blocks must be found.

Each request is two tasks.  A prefill worker looks for the prompt, gets the prefix that is there,
"computes" the rest and stores it; then a decode worker gets the whole prompt and stores the blocks
of its answer.  A task waits for the tasks that were the first to write its blocks, so what it finds
does not depend on timing: the best possible hit is what a cache without a limit would give, with
the requests in their order.  A turn goes to another worker than the turn before it.
"""
import dataclasses


@dataclasses.dataclass
class Task:
    number: int
    worker: int
    blocks: list                    # to look for, in order
    expected: int                   # leading blocks that must be found
    writes: list                    # blocks to store besides those of `blocks` that are not found
    waits_for: set = dataclasses.field(default_factory=set)
    unblocks: list = dataclasses.field(default_factory=list)


class Plan:
    """Tasks in request order, and the bytes that each worker will hold."""

    def __init__(self, requests, prefill_workers, decode_workers):
        self.tasks = []
        self.prefill = list(range(prefill_workers))
        self.decode = list(range(prefill_workers, prefill_workers + decode_workers))
        self.pages_of_worker = [0] * (prefill_workers + decode_workers)
        self.read_of_worker = [0] * (prefill_workers + decode_workers)
        self._writer_of = {}
        for request in requests:
            self._add_request(request)

    def _add_request(self, request):
        found = self._leading_run(request.prompt)
        prefill = self._add_task(self._prefill_worker(request.prompt, found), request.prompt,
                                 found, [])
        self._write(prefill, request.prompt)
        decode = self._add_task(self._quietest(self.decode, self.read_of_worker), request.prompt,
                                len(request.prompt), request.answer)
        self._wait(decode, prefill)
        self.read_of_worker[decode.worker] += len(request.prompt)
        self._write(decode, request.answer)

    def _leading_run(self, blocks):
        for i, block in enumerate(blocks):
            if block not in self._writer_of:
                return i
        return len(blocks)

    def _quietest(self, workers, load):
        return min(workers, key=lambda worker: load[worker])

    def _prefill_worker(self, prompt, found):
        """The turn before wrote the last block that is found; a lone first block says nothing."""
        before = None
        if found > 1:
            writer = self._writer_of[prompt[found - 1]]
            before = self._prefill_before(writer)
        others = [worker for worker in self.prefill if worker != before]
        return self._quietest(others or self.prefill, self.pages_of_worker)

    def _prefill_before(self, writer):
        """The prefill worker of the request whose prefill or decode task this is."""
        return self.tasks[writer.number - writer.number % 2].worker

    def _add_task(self, worker, blocks, expected, writes):
        task = Task(len(self.tasks), worker, blocks, expected, writes)
        self.tasks.append(task)
        return task

    def _write(self, task, blocks):
        """What the task writes first, and what it must wait for."""
        for block in blocks:
            writer = self._writer_of.setdefault(block, task)
            if writer is task:
                self.pages_of_worker[task.worker] += 1
            else:
                self._wait(task, writer)

    def _wait(self, task, earlier):
        if earlier.number not in task.waits_for:
            task.waits_for.add(earlier.number)
            earlier.unblocks.append(task)

    def largest_task(self):
        return max(len(task.blocks) + len(task.writes) for task in self.tasks)
