# SPDX-License-Identifier: Apache-2.0
"""Which answers of a storage backend SGLang survives and believes.

Each function makes a predicate.  Older releases lose a thread to a wrong type or a short list, and
newer ones believe impossible numbers, so the tests accept only what the contract says.
"""
from sglang.srt.mem_cache import hicache_storage


def leading_run(flags):
    return flags.index(False) if False in flags else len(flags)


def is_bools(count):
    return lambda answer: (type(answer) is list and len(answer) == count
                           and all(type(flag) is bool for flag in answer))


def is_count(most):
    return lambda answer: type(answer) is int and 0 <= answer <= most


def is_result(most, sides):
    """A PoolTransferResult whose numbers are possible, with a verdict on every pool."""
    def expected(answer):
        if not isinstance(answer, hicache_storage.PoolTransferResult):
            return False
        counts = [answer.kv_hit_pages, *answer.extra_pool_hit_pages.values()]
        stops = getattr(answer, "restorable_prefix_pages", None) or []
        return (all(is_count(most)(count) for count in [*counts, *stops])
                and list(stops) == sorted(set(stops)) and max(stops, default=0) in (
                    0, answer.kv_hit_pages)
                and {entry.name for entry in sides} <= set(answer.extra_pool_hit_pages))

    return expected
