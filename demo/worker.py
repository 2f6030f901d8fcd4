# SPDX-License-Identifier: Apache-2.0
"""One worker process: a store, a host pool as SGLang lays it out, and the tasks of the plan.

The bytes of a page follow from its key, so "computing" a page is filling it with them, and every
byte of every hit is compared with them.
"""
import dataclasses
import hashlib
import json
import logging
import time
import types

import host_pool
from peercache.store import PeerCacheStore

# SGLang moves at most so many pages in one call.
PAGES_PER_CALL = 128
TOKENS_PER_PAGE = 16


@dataclasses.dataclass
class Job:
    """What a worker process is started with."""
    name: str
    extra_config: dict
    page_bytes: int
    page_count: int


@dataclasses.dataclass
class Done:
    """What came of one task."""
    number: int
    found: int = 0                  # what exists said
    hits: int = 0                   # the leading run that get delivered
    stored: bool = True
    wrong_bytes: int = 0
    calls: list = dataclasses.field(default_factory=list)   # (name, seconds, pages)


def make_pool(page_bytes, page_count):
    """Keys and values of two layers in layout page_first: two segments a page."""
    head_dim = page_bytes // (2 * 2 * TOKENS_PER_PAGE * 2 * 2)
    return host_pool.mha("page_first", page_size=TOKENS_PER_PAGE, page_num=page_count, layers=2,
                         heads=2, head_dim=head_dim)


class Problems(logging.Handler):
    """Collects what the adapter warns of; in the demo there must be nothing."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        if len(self.texts) < 20:
            self.texts.append(record.getMessage())


class Worker:
    def __init__(self, job):
        config = types.SimpleNamespace(model_name="demo", tp_rank=0, tp_size=1, is_mla_model=False,
                                       extra_config=job.extra_config)
        self.problems = Problems()
        logging.getLogger("peercache").addHandler(self.problems)
        logging.getLogger("peercache").propagate = False
        self.pool = make_pool(job.page_bytes, job.page_count)
        self.store = PeerCacheStore(config, {})
        self.store.register_mem_pool_host(self.pool)

    def run(self, number, blocks, writes):
        """exists, get the prefix, compare it, compute and set the rest."""
        done = Done(number)
        names = [block_name(block) for block in blocks + writes]
        seeds = [host_pool.seed_of(name) for name in names]
        done.found = self._timed(done, "exists", len(blocks), self.store.batch_exists,
                                 names[:len(blocks)])
        self._get(done, names[:done.found], seeds)
        self._set(done, names, seeds)
        return done

    def _timed(self, done, name, page_count, call, *args):
        started = time.perf_counter()
        result = call(*args)
        done.calls.append((name, time.perf_counter() - started, page_count))
        return result

    def _get(self, done, names, seeds):
        """Stops at the first page that is not delivered, as SGLang does."""
        self.pool.poison(slice(0, len(names)))
        for first in range(0, len(names), PAGES_PER_CALL):
            batch = names[first:first + PAGES_PER_CALL]
            slots = self.pool.slots(range(first, first + len(batch)))
            hits = self._timed(done, "get", len(batch), self.store.batch_get_v1, batch, slots,
                               after(names, first))
            run = hits.index(False) if False in hits else len(hits)
            done.hits += run
            if run < len(batch):
                break
        done.wrong_bytes = self.pool.wrong_bytes(slice(0, done.hits), seeds[:done.hits])

    def _set(self, done, names, seeds):
        self.pool.fill(slice(done.hits, len(names)), seeds[done.hits:])
        for first in range(done.hits, len(names), PAGES_PER_CALL):
            batch = names[first:first + PAGES_PER_CALL]
            slots = self.pool.slots(range(first, first + len(batch)))
            stored = self._timed(done, "set", len(batch), self.store.batch_set_v1, batch, slots,
                                 after(names, first))
            done.stored = done.stored and all(stored)

    def members(self):
        status = json.loads(self.store.status() or "{}")
        return sum(member.get("state") == "alive" for member in status.get("members", []))


def after(names, first):
    """SGLang's extra_info: the key of the page before the batch."""
    return types.SimpleNamespace(prefix_keys=names[first - 1:first] or None)


def block_name(block):
    """A key of the form that SGLang's page hashes have."""
    return hashlib.sha256(b"peercache demo block %d" % block).hexdigest()


def serve(pipe, job):
    """The process: answers each message with (kind, value) until it is told to stop."""
    try:
        worker = Worker(job)
        pipe.send(("ready", None))
        while True:
            kind, value = pipe.recv()
            if kind == "task":
                pipe.send(("done", worker.run(*value)))
            elif kind == "members":
                pipe.send(("members", worker.members()))
            else:
                break
        pipe.send(("report", (worker.store.counters.snapshot(), worker.problems.texts)))
        worker.store.close()
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        pass                        # the coordinator ends, or has ended
    except Exception as error:
        pipe.send(("failed", f"{job.name}: {type(error).__name__}: {error}"))
