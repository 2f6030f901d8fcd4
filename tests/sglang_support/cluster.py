# SPDX-License-Identifier: Apache-2.0
"""Clusters of stores that SGLang's own factory makes.  Import release first."""
import dataclasses
import json
import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "demo"))

from ports import free_port
from sglang.srt.mem_cache import hicache_storage
from sglang.srt.mem_cache.storage.backend_factory import StorageBackendFactory
from waiting import knows_all, wait_for

MODEL = "test/model-7b"
# A call has its own deadline; this much a busy machine may be late, and SGLang's threads have 10 s.
CALL_LIMIT_S = 5.0

# The class under test.  The check of the suite itself puts a broken one here (broken.py).
STORE_CLASS = ["peercache.store", "PeerCacheStore"]


def storage_config(extra, **values):
    """SGLang's config of one rank by keyword; fields that this release lacks are left out."""
    defaults = {"tp_rank": 0, "tp_size": 1, "pp_rank": 0, "pp_size": 1, "attn_cp_rank": 0,
                "attn_cp_size": 1, "is_mla_model": False, "enable_storage_metrics": True,
                "is_page_first_layout": True, "model_name": MODEL, "extra_config": extra}
    known = {field.name for field in dataclasses.fields(hicache_storage.HiCacheStorageConfig)}
    values = {**defaults, **values}
    return hicache_storage.HiCacheStorageConfig(
        **{name: value for name, value in values.items() if name in known})


def settle(made, count):
    """Waits until a store knows @count members, itself included: see knows_all()."""
    wait_for(lambda: knows_all(json.loads(made.status() or "{}"), count),
             f"{count} members")


class Cluster:
    """One discovery address and the stores of this process that were made for it."""

    def __init__(self, address=None):
        self.address = address or f"127.0.0.1:{free_port()}"
        self.stores = []

    def extra(self, **options):
        """The extra config as an operator writes it; an option given as None is left out."""
        module, name = STORE_CLASS
        extra = {"backend_name": "peercache", "module_path": module, "class_name": name,
                 "interface_v1": 1, "discovery_addr": self.address,
                 "cluster_name": "test", "log_level": "warning",
                 "global_segment_size": "64mb", **options}
        return {key: value for key, value in extra.items() if value is not None}

    def store(self, pool=None, options=None, **config):
        """A store out of SGLang's factory, with @pool registered as SGLang does."""
        made = StorageBackendFactory.create_backend(
            "dynamic", storage_config(self.extra(**(options or {})), **config), pool)
        self.stores.append(made)
        if pool is not None:
            made.register_mem_pool_host(pool)
        return made

    def settle(self, count=None):
        """Waits until all stores of this process know @count members, or one another."""
        for made in self.stores:
            settle(made, count or len(self.stores))

    def close(self):
        for made in self.stores:
            made.close()
