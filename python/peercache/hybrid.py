# SPDX-License-Identifier: Apache-2.0
"""Answers to SGLang's hybrid interface ("v2"), which this release does not serve.

Hybrid models keep part of their state in side pools (Mamba, SWA, an indexer).  Their pages are
only useful together, so an honest answer without the side pools is that nothing is there.  The base
class would raise instead, and SGLang must never see an exception from a storage call.
"""
from .base import import_first

_MODULES = ("sglang.srt.mem_cache.hicache_storage", "sglang.srt.mem_cache.pool_transfer")


class OwnTransferResult:
    """Stands in where SGLang has no PoolTransferResult."""

    def __init__(self, kv_hit_pages, extra_pool_hit_pages, restorable_prefix_pages=None):
        self.kv_hit_pages = kv_hit_pages
        self.extra_pool_hit_pages = extra_pool_hit_pages
        self.restorable_prefix_pages = restorable_prefix_pages


def nothing_found():
    """The PoolTransferResult of a full miss; its third field came with later releases."""
    result = import_first(*(f"{module}:PoolTransferResult" for module in _MODULES))
    result = result or OwnTransferResult
    try:
        return result(0, {}, [])
    except TypeError:
        return result(0, {})


def nothing_moved(transfers):
    """{name: [False for each key]}, under the names as they were given."""
    return {transfer.name: [False] * len(transfer.keys or ()) for transfer in transfers or ()}
