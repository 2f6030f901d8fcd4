# SPDX-License-Identifier: Apache-2.0
"""SGLang's cache controller as a storage backend meets it: threads, batches, order, and mistrust.

Three threads call the backend: prefetch asks what is there, prefetch I/O reads it, backup stores.
The rules are those of the profile's release: batches of 128 pages, the leading run of True counts
for a get, all() for a set, a failed batch ends its operation, and in the older releases a thread
dies of any exception but queue.Empty.

What the backend does wrong is written to Controller.faults: a wrong type or length, an exception, a
wrong byte, a write to a page after the call that was given it has returned.  Pages are poisoned the
moment they are acknowledged, so the bytes of a late read or write show.
"""
import dataclasses
import queue
import threading
import time

from answers import is_bools, is_count, is_result, leading_run
from host_pages import HostPages, seeds
from side_pools import PoolEntry
from sglang import _profile
from sglang.srt.mem_cache import hicache_storage

BATCH_PAGES = 128
POLL_S = 0.02
# Where the release waits for ever a test does not.
JOIN_LIMIT_S = 30.0


@dataclasses.dataclass
class Operation:
    """One backup or prefetch.  @pages: {pool name: host pages}, as many as it has keys there."""
    keys: list
    prefix_keys: list = None
    pages: dict = dataclasses.field(default_factory=dict)
    cancelled: bool = False
    hit: int = 0  # what the ranks agreed to read
    completed: int = 0
    batches: int = 0
    done: threading.Event = dataclasses.field(default_factory=threading.Event)

    def wait(self, limit_s=20.0):
        if not self.done.wait(limit_s):
            raise AssertionError("an operation was never acknowledged: its thread is dead or stuck")
        return self.completed


def no_reduction(tag, value):
    """The agreement of a single rank with itself."""
    return value


class Controller:
    """One rank.

    @sides: PoolEntry of each side pool.  @reduce(tag, value): agrees with all ranks.  @writes_kv:
    False for the other ranks of a replicated model.  @salts: {pool name: number} for pools whose
    bytes differ from rank to rank.
    """

    def __init__(self, backend, pool, sides=(), reduce=no_reduction, writes_kv=True, salts=(),
                 attached=False):
        self.backend, self.pool = backend, pool
        self.profile = _profile.PROFILE
        self.sides = list(sides) if self.profile["hybrid"] else []
        self.faults, self.durations_s = [], {}
        self.writes_kv, self.salts = writes_kv, dict(salts)
        self._reduce = reduce
        self.hosts = {entry.name: HostPages(entry.name, entry.host_pool, self.faults)
                      for entry in [PoolEntry("kv", pool), *self.sides]}
        self._queues = {name: queue.Queue() for name in ("prefetch", "prefetch_io", "backup")}
        self._attach(attached)

    # --- life cycle ---------------------------------------------------------------------------

    def _attach(self, is_registered):
        """Registration, threads, side pools, hook: in this order, which is SGLang's."""
        if not is_registered:
            try:
                self.backend.register_mem_pool_host(self.pool)
            except Exception:
                self.backend.close()
                raise
        self._start()
        if self.profile["hybrid"] and (self.sides or self.profile["hybrid_always"]):
            for entry in [PoolEntry("kv", self.pool), *self.sides]:
                self.backend.register_mem_host_pool_v2(entry.host_pool, self._pool_name(entry.name))
        if self.profile["registered_hook"]:
            self.backend.on_host_pools_registered()

    @staticmethod
    def _pool_name(name):
        try:
            return hicache_storage.PoolName(name)
        except ValueError:
            return name

    def _start(self):
        self._stop = threading.Event()
        handlers = {"prefetch": self._query, "prefetch_io": self._read, "backup": self._store}
        self.threads = [threading.Thread(target=self._loop, args=(self._queues[name], handle),
                                         name=name, daemon=True)
                        for name, handle in handlers.items()]
        for thread in self.threads:
            thread.start()

    def _join(self):
        self._stop.set()
        for thread in self.threads:
            thread.join(self.profile["join_limit_s"] or JOIN_LIMIT_S)
            if thread.is_alive():
                raise RuntimeError(f"thread {thread.name} does not stop")

    def reset(self):
        """flush_cache: the threads stop and start again; what is stored stays."""
        self._join()
        self._start()

    def detach(self):
        self._join()
        self.backend.close()
        for host in self.hosts.values():
            host.check()

    def _loop(self, operations, handle):
        stop = self._stop
        while not stop.is_set():
            try:
                operation = operations.get(timeout=POLL_S)
            except queue.Empty:
                continue
            try:
                handle(operation)
            except Exception as error:
                self.faults.append(f"{threading.current_thread().name} died: {error!r}")
                return

    # --- the backend, and what is thought of its answers --------------------------------------

    def call(self, name, expected, instead, *args, **kwargs):
        """Calls the backend; @expected(answer) says whether SGLang could live with the answer."""
        started = time.monotonic()
        try:
            answer = getattr(self.backend, name)(*args, **kwargs)
        except Exception as error:
            self.faults.append(f"{name} raised {error!r}")
            if not self.profile["exceptions_caught"]:
                raise
            return instead
        finally:
            took_s = time.monotonic() - started
            self.durations_s[name] = max(took_s, self.durations_s.get(name, 0.0))
        if not expected(answer):
            self.faults.append(f"{name} answered {answer!r}")
            return instead
        return answer

    def _extra_info(self, operation, done):
        prefix = operation.prefix_keys
        if prefix is not None and not self.profile["prefix_in_place"]:
            prefix = prefix + operation.keys[:done]
        if prefix is None:
            return hicache_storage.HiCacheStorageExtraInfo()
        return hicache_storage.HiCacheStorageExtraInfo(prefix_keys=prefix)

    def _v2_arguments(self, operation):
        return ({"extra_info": self._extra_info(operation, 0)} if self.profile["v2_extra_info"]
                else {})

    def _bools(self, name, operation, keys, slots, done):
        return self.call(name, is_bools(len(keys)), [False] * len(keys), keys, slots,
                         self._extra_info(operation, done))

    def _transfer(self, entry, keys, pages=None):
        policy = hicache_storage.PoolHitPolicy
        return hicache_storage.PoolTransfer(
            self._pool_name(entry.name), keys=keys,
            host_indices=None if pages is None else entry.host_pool.slots(pages),
            hit_policy=policy.TRAILING_PAGES if entry.window else policy.ALL_PAGES)

    def _move_sides(self, name, operation, transfers):
        """{pool name: how many leading keys of it were moved}."""
        instead = {transfer.name: [False] * len(transfer.keys) for transfer in transfers}

        def expected(answer):
            return isinstance(answer, dict) and set(answer) == set(instead) and all(
                is_bools(len(transfer.keys))(answer[transfer.name]) for transfer in transfers)

        answer = self.call(name, expected, instead, transfers, **self._v2_arguments(operation))
        return {str(getattr(pool, "value", pool)): leading_run(flags)
                for pool, flags in answer.items()}

    def _seeds(self, keys, entry):
        return seeds(keys, entry.name, self.salts.get(entry.name, 0))

    # --- backup -------------------------------------------------------------------------------

    def side_keys(self, entry, keys):
        """The keys whose pages of this pool belong to a prefix: all, or those of the window."""
        return keys[-entry.window:] if entry.window else keys

    def backup(self, keys, prefix_keys=None):
        """Fills host pages with what these keys must hold, and has them stored."""
        operation = Operation(keys, prefix_keys)
        for host, entry in self._entries():
            names = self.side_keys(entry, keys)
            pages = (operation.pages["kv"] if entry.derived else host.take(len(names)))
            operation.pages[entry.name] = pages
            host.pool.fill(pages, self._seeds(names, entry))
        self._queues["backup"].put(operation)
        return operation

    def _entries(self):
        entries = [PoolEntry("kv", self.pool), *self.sides]
        return [(self.hosts[entry.name], entry) for entry in entries]

    def _store(self, operation):
        if self.sides:
            self._move_sides("batch_set_v2", operation, [
                self._transfer(entry, self.side_keys(entry, operation.keys),
                               operation.pages[entry.name]) for entry in self.sides])
        if self.writes_kv:
            self._store_kv(operation)
        self.release(operation)
        operation.done.set()

    def _store_kv(self, operation):
        for first, keys, slots in self._batches(operation):
            if operation.cancelled:
                return
            operation.batches += 1
            if not all(self._bools("batch_set_v1", operation, keys, slots, first)):
                return
            operation.completed += len(keys)
            if self.profile["prefix_in_place"] and operation.prefix_keys is not None:
                operation.prefix_keys.extend(keys)

    def _batches(self, operation, count=None):
        keys = operation.keys[:count]
        slots = self.pool.slots(operation.pages["kv"])
        for first in range(0, len(keys), BATCH_PAGES):
            batch = keys[first:first + BATCH_PAGES]
            end = first + len(batch)
            yield first, batch, slots[first * self.pool.page_size:end * self.pool.page_size]

    def release(self, operation):
        """The pages are used for something else at once."""
        for host, entry in self._entries():
            if entry.derived:
                host.pool.poison(operation.pages.get(entry.name, []))
            else:
                host.give(operation.pages.get(entry.name, []))
        operation.pages = {}

    # --- prefetch -----------------------------------------------------------------------------

    def prefetch(self, keys, prefix_keys=None):
        """Has the longest stored prefix of these keys read; wait() gives its number of pages."""
        operation = Operation(keys, prefix_keys)
        self._queues["prefetch"].put(operation)
        return operation

    def _query(self, operation):
        for _ in range(self.profile["exists_attempts"]):
            operation.hit = self._agreed_hit(operation)
            if operation.hit:
                break
        if not operation.hit:
            operation.done.set()
            return
        self._take_pages(operation)
        self._queues["prefetch_io"].put(operation)

    def _take_pages(self, operation):
        for host, entry in self._entries():
            names = self.side_keys(entry, operation.keys[:operation.hit])
            operation.pages[entry.name] = (operation.pages["kv"] if entry.derived
                                           else host.take(len(names)))

    def _agreed_hit(self, operation):
        keys, info = operation.keys, self._extra_info(operation, 0)
        if self.sides:
            return self._agreed_hybrid_hit(operation, keys, info)
        step = len(keys) if self.profile["hybrid_always"] else BATCH_PAGES
        hit = 0
        for first in range(0, len(keys), step):
            batch = keys[first:first + step]
            found = self.call("batch_exists", is_count(len(batch)), 0, batch, info)
            hit += found
            if found < len(batch):
                break
        return self._reduce("hit", hit)

    def _agreed_hybrid_hit(self, operation, keys, info):
        markers = [self._transfer(entry, keys[-entry.window:] if entry.window else keys)
                   for entry in self.sides]
        result = self.call("batch_exists_v2", is_result(len(keys), self.sides), None, keys, markers,
                           info)
        hit = result.kv_hit_pages if result else 0
        stops = getattr(result, "restorable_prefix_pages", None)
        if self.profile["result_fields"] < 3:
            return self._reduce("hit", hit)
        agreed = self._reduce("stops", list(range(1, hit + 1)) if stops is None else list(stops))
        return max(agreed, default=0)

    def _read(self, operation):
        completed = 0
        for first, keys, slots in self._batches(operation, operation.hit):
            if operation.cancelled or completed < first:
                break
            operation.batches += 1
            run = leading_run(self._bools("batch_get_v1", operation, keys, slots, first))
            run = min(run, self._read_derived(operation, first, keys[:run]))
            completed += run
        if not self._read_trailing(operation, completed):
            completed = 0
        operation.completed = self._reduce("completed", completed)
        self._check_read(operation, completed)
        self.release(operation)
        operation.done.set()

    def _read_derived(self, operation, first, keys):
        """The side pools whose pages lie beside those of this batch."""
        transfers = [self._transfer(entry, keys, operation.pages["kv"][first:first + len(keys)])
                     for entry in self.sides if entry.derived]
        if not transfers or not keys:
            return len(keys)
        return min(self._move_sides("batch_get_v2", operation, transfers).values())

    def _read_trailing(self, operation, completed):
        """The other side pools, once and only for a prefix that is there as a whole."""
        entries = [entry for entry in self.sides if not entry.derived]
        if not entries:
            return True
        if completed < operation.hit or operation.cancelled:
            return False
        transfers = [self._transfer(entry, self.side_keys(entry, operation.keys[:operation.hit]),
                                    operation.pages[entry.name]) for entry in entries]
        moved = self._move_sides("batch_get_v2", operation, transfers)
        return all(moved[entry.name] == len(transfer.keys)
                   for entry, transfer in zip(entries, transfers))

    def _check_read(self, operation, completed):
        for host, entry in self._entries():
            keys = self.side_keys(entry, operation.keys[:completed])
            pages = operation.pages[entry.name][:len(keys)]
            if host.pool.wrong_bytes(pages, self._seeds(keys, entry)):
                self.faults.append(f"{entry.name}: wrong bytes were read")

    # --- scheduler ----------------------------------------------------------------------------

    def turn(self):
        """What the scheduler's loop does each time: it drains the statistics."""
        return self.call("get_stats", lambda stats: stats is None or hasattr(stats, "backup_pgs"),
                         None)

    def query_hit_length(self, keys):
        """PD decode asks on the scheduler's thread."""
        return self.call("batch_exists", is_count(len(keys)), 0, keys,
                         hicache_storage.HiCacheStorageExtraInfo())
