# SPDX-License-Identifier: Apache-2.0
"""The base class, the config and the types of the storage interface."""
import abc
import dataclasses
import enum
import hashlib

from sglang._profile import PROFILE


def _check_dcp(config):
    if config.dcp_size < 1 or not 0 <= config.dcp_rank < config.dcp_size:
        raise ValueError("inconsistent dcp_rank and dcp_size")
    if (config.logical_page_size is not None) != (config.dcp_size > 1):
        raise ValueError("logical_page_size belongs to dcp_size > 1")


_names = [name for name, _ in PROFILE["config_fields"]]
HiCacheStorageConfig = dataclasses.make_dataclass(
    "HiCacheStorageConfig",
    [(name, object, dataclasses.field(default=default))
     for name, default in PROFILE["config_fields"]],
    namespace={"__post_init__": _check_dcp} if "dcp_size" in _names else {})


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


def namespace_seed(extra_key=None, cache_salt=None):
    """What newer releases start the chain of a LoRA adapter or a salted tenant with, or None."""
    if extra_key is None and cache_salt is None:
        return None
    digest = hashlib.sha256(b"sglang-cache-namespace-v1")
    for part in (extra_key, cache_salt):
        text = None if part is None else part.encode()
        digest.update(b"\0" if text is None else b"\1" + len(text).to_bytes(8, "little") + text)
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


_POOL_NAMES = ("kv mamba swa indexer deepseek_v4_c4 deepseek_v4_c4_indexer "
               "deepseek_v4_c4_indexer_scale deepseek_v4_c128 deepseek_v4_c4_state "
               "deepseek_v4_c4_indexer_state deepseek_v4_c128_state draft draft_indexer "
               "draft_swa").split()

if PROFILE["hybrid"]:
    class _NamedByValue(str, enum.Enum):
        if PROFILE["enum_str"]:
            def __str__(self):
                return self.value

    PoolName = _NamedByValue("PoolName", [(name.upper(), name) for name in _POOL_NAMES]
                             + [("AUXILIARY_SWA", "auxiliary_swa")] * PROFILE["block_groups"])
    PoolHitPolicy = enum.Enum(
        "PoolHitPolicy", [(name.upper(), name) for name in ("all_pages", "trailing_pages")]
        + [("BLOCK_GROUPS", "block_groups")] * PROFILE["block_groups"])

    _optional = [(name, object, dataclasses.field(default=None)) for name in (
        "host_indices", "device_indices", "keys")]
    _optional.append(("hit_policy", object, PoolHitPolicy.ALL_PAGES))
    _optional += [(name, object, dataclasses.field(default=None)) for name in (
        ["nodes_to_load", "indices_from_pool"]
        + ["block_pages", "group_pages"] * PROFILE["block_groups"])]
    PoolTransfer = dataclasses.make_dataclass("PoolTransfer", [("name", object), *_optional])

    PoolTransferResult = dataclasses.make_dataclass("PoolTransferResult", [
        ("kv_hit_pages", int), ("extra_pool_hit_pages", dict),
        ("restorable_prefix_pages", object, None)][:PROFILE["result_fields"]])

    def _register_v2(self, host_pool, host_pool_name):
        if not hasattr(self, "registered_pools"):
            self.registered_pools = {}
        self.registered_pools[host_pool_name] = host_pool

    HiCacheStorage.register_mem_host_pool_v2 = _register_v2
    for _name in ("batch_exists_v2", "batch_get_v2", "batch_set_v2"):
        setattr(HiCacheStorage, _name, _not_implemented)

if PROFILE["registered_hook"]:
    HiCacheStorage.on_host_pools_registered = lambda self: None
