# SPDX-License-Identifier: Apache-2.0
"""How SGLang loads a backend that it does not know: by module and class name."""
import importlib

from sglang.srt.mem_cache.hicache_storage import HiCacheStorage


def create_dynamic(storage_config):
    """The backend that the extra config names.  What its constructor raises passes unchanged."""
    extra = storage_config.extra_config or {}
    for key in ("backend_name", "module_path", "class_name"):
        if not extra.get(key):
            raise ValueError(f"dynamic backend needs {key}")
    backend = getattr(importlib.import_module(extra["module_path"]), extra["class_name"])
    if not issubclass(backend, HiCacheStorage):
        raise TypeError(f"{backend.__name__} is not a HiCacheStorage")
    return backend(storage_config, {})
