# SPDX-License-Identifier: Apache-2.0
"""What batch_exists_v2 must answer, by brute force over the pages that are known to be there."""


def leading_run(present, keys):
    """How many leading keys are in @present."""
    return next((page for page, key in enumerate(keys) if key not in present), len(keys))


def legal_stops(present, keys, policy, window):
    """The prefix lengths at which one pool lets a request resume."""
    if policy == "all_pages":
        return set(range(1, leading_run(present, keys) + 1))
    return {stop for stop in range(1, len(keys) + 1)
            if all(key in present for key in keys[max(0, stop - window):stop])}


def exists_v2(kv_present, keys, pools):
    """(restorable prefix lengths, {pool: its own greatest one}); 0 stands for none.

    @pools is a list of (name, present, policy, window); policy is the value of a PoolHitPolicy.
    A pool's own greatest stop is looked for below the KV run, as all of SGLang's backends do.
    """
    run = leading_run(kv_present, keys)
    restorable = set(range(1, run + 1))
    own = {"kv": run}
    for name, present, policy, window in pools:
        stops = {stop for stop in legal_stops(present, keys, policy, window) if stop <= run}
        own[name] = max(stops, default=0)
        restorable &= stops
    return sorted(restorable), own


def min_of_maxima(own):
    """What releases before the one with restorable_prefix_pages answer (issue #39147)."""
    return min(own.values())
