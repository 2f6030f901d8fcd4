# SPDX-License-Identifier: Apache-2.0
"""How much of a hybrid model's prefix can be restored from what is stored of each pool.

A hybrid model keeps part of its state in side pools.  A prefix of p pages can be restored when its
KV pages are all there and every side pool can serve p:

    all_pages       needs each of its pages 0 .. p-1
    trailing_pages  needs the last `window` pages before p (all of them where p is shorter)

The answer is the greatest p that all pools can serve.  It is not the least of the pools' own
maxima: pools that can serve {1, 3} and {1, 2} have 1 in common.
"""
import functools

from .base import import_first

ALL_PAGES, TRAILING_PAGES = "all_pages", "trailing_pages"

_MODULES = ("sglang.srt.mem_cache.hicache_storage", "sglang.srt.mem_cache.pool_transfer")


class OwnTransferResult:
    """Stands in where SGLang has no PoolTransferResult."""

    def __init__(self, kv_hit_pages, extra_pool_hit_pages, restorable_prefix_pages=None):
        self.kv_hit_pages = kv_hit_pages
        self.extra_pool_hit_pages = extra_pool_hit_pages
        self.restorable_prefix_pages = restorable_prefix_pages


@functools.lru_cache(maxsize=None)
def result_class():
    """SGLang's PoolTransferResult, or the stand-in."""
    found = import_first(*(f"{module}:PoolTransferResult" for module in _MODULES))
    return found or OwnTransferResult


def _new_empty_result():
    for values in ((0, {}), (0, {}, [])):
        try:
            result_class()(*values)
            return functools.partial(result_class(), *values)
        except TypeError:
            continue
    return functools.partial(OwnTransferResult, 0, {})


# Makes the answer "nothing is there", without a line of Python of ours.
empty_result = _new_empty_result()


def plain(name):
    """A PoolName or hit policy as text.  Releases differ in the members and in str() of them."""
    return str(getattr(name, "value", name))


def policy_of(transfer):
    """The transfer's hit policy as text; "all_pages" where it has none."""
    policy = getattr(transfer, "hit_policy", None)
    return ALL_PAGES if policy is None else plain(policy)


def window_of(transfer):
    """In a question the transfer's keys are only a length: that of the trailing window."""
    return max(1, len(transfer.keys or ()))


def _stop_points(presence, policy, window):
    """Which prefix lengths a pool can serve, ascending, given a truth value a page."""
    lengths, run = [], 0
    for p, is_there in enumerate(presence, start=1):
        run = run + 1 if is_there else 0
        if run >= (p if policy == ALL_PAGES else min(window, p)):
            lengths.append(p)
    return lengths


def resolve(kv_run, page_count, pools):
    """(restorable prefix lengths, {name: own maximum}).

    @kv_run: leading KV pages that are there, of @page_count asked for.  @pools: (name, presence,
    policy, window) each; presence covers the first kv_run pages at least.  A pool with a policy
    that is unknown here is left out: it neither shortens the prefix nor gets a verdict.
    """
    kv_run = min(kv_run, page_count)
    restorable, own = set(range(1, kv_run + 1)), {}
    for name, presence, policy, window in pools:
        if policy not in (ALL_PAGES, TRAILING_PAGES):
            continue
        lengths = _stop_points(presence[:kv_run], policy, window)
        own[name] = lengths[-1] if lengths else 0
        restorable.intersection_update(lengths)
    return sorted(restorable), own


def transfer_result(kv_run, restorable, own):
    """SGLang's result; its third field came with later releases.

    "kv" stands for PoolName.KV: a member of that enum is equal to its text.
    """
    values = (restorable[-1] if restorable else 0, {"kv": kv_run, **own})
    try:
        return result_class()(*values, restorable)
    except TypeError:
        return result_class()(*values)
