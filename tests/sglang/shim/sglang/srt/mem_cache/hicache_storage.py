# SPDX-License-Identifier: Apache-2.0
"""The base class, the config and the types of the storage interface."""
import abc
import dataclasses
import enum
import hashlib

from sglang._profile import PROFILE

HiCacheStorageConfig = dataclasses.make_dataclass(
    "HiCacheStorageConfig",
    [(name, object, dataclasses.field(default=default))
     for name, default in PROFILE["config_fields"]])


@dataclasses.dataclass
class HiCacheStorageExtraInfo:
    prefix_keys: object = PROFILE["prefix_keys"]
    extra_info: object = None


def page_hash(prior, tokens):
    """The key of a page: chained over the page before it, four little-endian bytes a token."""
    digest = hashlib.sha256(bytes.fromhex(prior) if prior else b"")
    for token in tokens:
        digest.update(token.to_bytes(4, "little"))
    return digest.hexdigest()


class HiCacheStorage(abc.ABC):
    def register_mem_pool_host(self, mem_pool_host):
        self.mem_pool_host = mem_pool_host

    def batch_get_v1(self, keys, host_indices, extra_info=None):
        return None

    def batch_set_v1(self, keys, host_indices, extra_info=None):
        return None

    @abc.abstractmethod
    def get(self, key, target_location=None, target_sizes=None):
        ...

    @abc.abstractmethod
    def batch_get(self, keys, target_locations=None, target_sizes=None):
        ...

    @abc.abstractmethod
    def set(self, key, value=None, target_location=None, target_sizes=None):
        ...

    @abc.abstractmethod
    def batch_set(self, keys, values=None, target_locations=None, target_sizes=None):
        ...

    @abc.abstractmethod
    def exists(self, key):
        ...

    def batch_exists(self, keys, extra_info=None):
        for i, key in enumerate(keys):
            if not self.exists(key):
                return i
        return len(keys)

    def clear(self):
        return None

    def get_stats(self):
        return None


def _not_implemented(self, *args, **kwargs):
    raise NotImplementedError


if PROFILE["hybrid"]:
    class PoolName(str, enum.Enum):
        KV = "kv"
        MAMBA = "mamba"
        SWA = "swa"
        INDEXER = "indexer"

    class PoolHitPolicy(enum.Enum):
        ALL_PAGES = "all_pages"
        TRAILING_PAGES = "trailing_pages"

    @dataclasses.dataclass
    class PoolTransfer:
        name: object
        host_indices: object = None
        device_indices: object = None
        keys: object = None
        hit_policy: object = PoolHitPolicy.ALL_PAGES

    PoolTransferResult = dataclasses.make_dataclass("PoolTransferResult", [
        "kv_hit_pages", "extra_pool_hit_pages", "restorable_prefix_pages"][
            :PROFILE["result_fields"]])

    def _register_v2(self, host_pool, host_pool_name):
        if not hasattr(self, "registered_pools"):
            self.registered_pools = {}
        self.registered_pools[host_pool_name] = host_pool

    HiCacheStorage.register_mem_host_pool_v2 = _register_v2
    for _name in ("batch_exists_v2", "batch_get_v2", "batch_set_v2"):
        setattr(HiCacheStorage, _name, _not_implemented)

if PROFILE["registered_hook"]:
    HiCacheStorage.on_host_pools_registered = lambda self: None
