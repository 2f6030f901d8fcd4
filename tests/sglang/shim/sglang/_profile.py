# SPDX-License-Identifier: Apache-2.0
"""What differs between SGLang's releases, one row a profile."""
import os

_RANKS = (("tp_rank", 0), ("tp_size", 1))
_COMMON = (("is_mla_model", False), ("is_page_first_layout", False), ("model_name", None))

PROFILES = {
    # Like 0.5.4: few config fields, no hybrid interface, the tuple (None,) for no prefix.
    "old": {
        "config_fields": _RANKS + _COMMON + (("extra_config", None),),
        "prefix_keys": (None,),
        "hybrid": False,
        "result_fields": 0,
        "metrics_module": "metrics",
        "registered_hook": False,
    },
    # Like 0.5.23.
    "new": {
        "config_fields": _RANKS + (
            ("pp_rank", 0), ("pp_size", 1), ("attn_cp_rank", 0), ("attn_cp_size", 1),
            _COMMON[0], ("enable_storage_metrics", False)) + _COMMON[1:] + (
            ("tp_lcm_size", None), ("should_split_heads", False), ("dp_rank", 0),
            ("extra_config", None), ("dcp_size", 1), ("dcp_rank", 0),
            ("logical_page_size", None)),
        "prefix_keys": None,
        "hybrid": True,
        "result_fields": 3,
        "metrics_module": "observability",
        "registered_hook": True,
    },
}

NAME = os.environ.get("SGLANG_SHIM_PROFILE", "new")
PROFILE = PROFILES[NAME]
