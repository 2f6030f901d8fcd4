# SPDX-License-Identifier: Apache-2.0
"""The memory of SGLang's host pools, registered with the node's RDMA devices.

Pages are read straight into registered memory; into other memory they come through a bounce buffer,
or by TCP where that is full.  What is to be registered are the tensors behind a pool, not its pages:
one whole tensor is one registration.  Which tensors these are is told by the pool where it can, and
by the addresses of its first page: a tensor that holds one of them is behind it.

Pinning memory takes up to a second a GiB, and SGLang's start must not wait for it.  So a thread does
it, one tensor after another, and ends when all is done; reads use a tensor as far as it is
registered.  What is to be registered is a table that calls replace, and the thread makes the world
like it, so a pool that takes the place of another needs no order of steps.  Nothing here raises: of
a tensor that cannot be registered (the limit of locked memory) a line of the log tells.

Without RDMA nothing is looked at, held or started.
"""
import itertools
import logging
import threading

from . import _native
from .tensors import flat_memory

_log = logging.getLogger("peercache")


class _Refused:
    """Stands for a registration that failed, and is not tried again."""

    release = int  # does nothing


class Regions:
    """The registrations of one store.  Safe for all threads."""

    def __init__(self, node):
        self._node = node if node.has_rdma() else None
        self._lock = threading.RLock()
        self._wanted = {}  # a pool's name: [(first address, address behind it, tensor)]
        self._first_pages = {}  # a pool's name: the addresses of its first page's segments
        self._held = {}  # the thread's: {(first address, address behind it): Region or _Refused}
        self._thread = None  # at work, if it is alive

    def put(self, name, pool):
        """@pool, a HostPool, takes the place of the one of this name; None: there is none any more."""
        if self._node is None:
            return
        try:
            self._put(name, _segments(pool), tensors_of(pool) if pool is not None else [])
        except Exception as error:  # a pool of a later release, no thread to be had
            _log.warning("the memory of host pool %r is not registered, so RDMA reads into it through "
                         "a bounce buffer: %s", name, error)

    def stop(self):
        """Before the node is closed, which ends all registrations: nothing is begun any more."""
        with self._lock:
            self._node = None
            self._wanted.clear()
            self._first_pages.clear()

    def _put(self, name, first_page, tensors):
        with self._lock:
            self._wanted[name], self._first_pages[name] = tensors, first_page
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._work, name="peercache-regions", daemon=True)
                thread.start()
                self._thread = thread

    def _work(self):
        try:
            while self._take_step():
                pass
        except Exception as error:  # a next pool has a thread of its own
            _log.warning("the memory of host pools is not all registered, so RDMA reads into the rest "
                         "through a bounce buffer: %s: %s", type(error).__name__, error)

    def _take_step(self):
        """Releases what is not wanted any more, or registers one thing.  False: nothing is left."""
        with self._lock:
            node, wanted = self._node, united(itertools.chain(*self._wanted.values()))
            if node is None:
                return False
            old = [place for place in self._held if place not in wanted]
            new = [place for place in wanted if place not in self._held]
            if not old and not new:
                self._tell_of_strays(wanted)
                self._thread = None
                return False
        for place in old:
            self._held.pop(place).release()
        if new:
            self._register(node, new[0], wanted[new[0]])
        return True

    def _register(self, node, place, tensors):
        start, end = place
        try:
            self._held[place] = _native.Region(node, start, end - start, tensors)
        except _native.PeerCacheError as error:
            self._held[place] = _Refused
            if node.status() is not None:  # else it was closed meanwhile
                _log.warning("%d bytes of host memory are not registered, so RDMA reads into them "
                             "through a bounce buffer: %s", end - start, error)

    def _tell_of_strays(self, wanted):
        for name, addresses in self._first_pages.items():
            if any(not _holds(wanted, address) for address in addresses):
                _log.warning("host pool %r does not name the memory of its pages, so RDMA reads into "
                             "it through a bounce buffer", name)
        self._first_pages.clear()


def _segments(pool):
    """The addresses of the first page's segments that have bytes."""
    if pool is None:
        return []
    return [address for address, length in zip(pool.addresses, pool.lengths) if length > 0]


def _holds(places, address):
    return any(start <= address < end for start, end in places)


def tensors_of(pool):
    """[(first address, address behind it, tensor)] of the memory behind a HostPool: what it names
    itself, and each of its attributes that holds a segment of its first page."""
    named, addresses = [], _segments(pool)
    list_buffers = getattr(pool.pool, "get_hybrid_pool_buffer", None)
    try:
        named = _found(list_buffers() if list_buffers is not None else ())
    except Exception:  # not every pool that has the method can answer
        pass
    return named + [found for found in _found(vars(pool.pool).values())
                    if any(found[0] <= address < found[1] for address in addresses)]


def _found(values):
    """The tensors of host memory among values, and among lists of them."""
    found = []
    for value in values:
        for tensor in value if isinstance(value, (list, tuple)) else (value,):
            if not hasattr(tensor, "data_ptr") and not hasattr(tensor, "ctypes"):
                continue
            try:
                start, len_bytes = flat_memory(tensor)
            except Exception:  # on a device, a view with gaps, or only looking like a tensor
                continue
            if len_bytes > 0:
                found.append((start, start + len_bytes, tensor))
    return found


def united(found):
    """{(first address, address behind it): [tensors]}: those that overlap are one, since a pool has
    views of its memory besides."""
    places = []
    for start, end, tensor in sorted(found, key=lambda one: one[:2]):
        if places and start < places[-1][1]:
            places[-1][1] = max(end, places[-1][1])
            places[-1][2].append(tensor)
        else:
            places.append([start, end, [tensor]])
    return {(start, end): tensors for start, end, tensors in places}
