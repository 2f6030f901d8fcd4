# SPDX-License-Identifier: Apache-2.0
"""What differs between SGLang's releases, one table a profile, each after what it adds to the one before.

    config_fields    of HiCacheStorageConfig, in the release's order
    prefix_keys      default of HiCacheStorageExtraInfo.prefix_keys
    prefix_in_place  the controller extends the list of prefix keys after a call
    metrics_module   the package in which StorageMetrics lives
    hybrid           the hybrid interface ("v2") exists
    hybrid_always    plain models run on the hybrid controller too: one exists for all pages
    result_fields    of PoolTransferResult
    enum_str         str() of a pool's name gives its value
    block_groups     PoolHitPolicy knows BLOCK_GROUPS
    v2_extra_info    batch_get_v2 and batch_set_v2 are called with extra_info=
    registered_hook  on_host_pools_registered() is called
    exceptions_caught  the controller's threads survive an exception of the backend
    join_limit_s     how long a flush waits for each thread; None: for ever
    exists_attempts  how often a request that missed asks again
"""
import os

_RANKS = (("tp_rank", 0), ("tp_size", 1))
_PIPELINE = (("pp_rank", 0), ("pp_size", 1), ("attn_cp_rank", 0), ("attn_cp_size", 1))
_IS_MLA = (("is_mla_model", False),)
_METRICS = (("enable_storage_metrics", False),)
_MODEL = (("is_page_first_layout", False), ("model_name", None))
_SPLIT = (("tp_lcm_size", None), ("should_split_heads", False))
_EXTRA = (("extra_config", None),)
_DCP = (("dcp_size", 1), ("dcp_rank", 0), ("logical_page_size", None))

# Like 0.5.4: few config fields, no hybrid interface, the tuple (None,) for no prefix.
_OLD = {
    "config_fields": _RANKS + _IS_MLA + _MODEL + _EXTRA,
    "prefix_keys": (None,),
    "prefix_in_place": True,
    "metrics_module": "metrics",
    "hybrid": False,
    "hybrid_always": False,
    "result_fields": 0,
    "enum_str": False,
    "block_groups": False,
    "v2_extra_info": False,
    "registered_hook": False,
    "exceptions_caught": False,
    "join_limit_s": None,
    "exists_attempts": 1,
}
# Like 0.5.16: the hybrid interface in its first form.
_MID = {
    **_OLD,
    "config_fields": _RANKS + _PIPELINE + _IS_MLA + _METRICS + _MODEL + _SPLIT + _EXTRA,
    "prefix_keys": None,
    "metrics_module": "observability",
    "hybrid": True,
    "result_fields": 2,
}
# Like 0.5.23.
_NEW = {
    **_MID,
    "config_fields": (_RANKS + _PIPELINE + _IS_MLA + _METRICS + _MODEL + _SPLIT
                      + (("dp_rank", 0),) + _EXTRA + _DCP),
    "prefix_in_place": False,
    "hybrid_always": True,
    "result_fields": 3,
    "enum_str": True,
    "block_groups": True,
    "v2_extra_info": True,
    "registered_hook": True,
    "exceptions_caught": True,
    "join_limit_s": 10.0,
    "exists_attempts": 3,
}
PROFILES = {"old": _OLD, "mid": _MID, "new": _NEW}

NAME = os.environ.get("SGLANG_SHIM_PROFILE", "new")
PROFILE = PROFILES[NAME]
