# SPDX-License-Identifier: Apache-2.0
"""The class that the adapter derives from.

SGLang loads only subclasses of its own HiCacheStorage, so where SGLang can be imported that class
is the base.  Where it cannot (tools, the demo), a stand-in with the same abstract methods takes
its place, so that `import peercache.store` always works.

This is the first to import SGLang: of an install that is broken only the first error tells why.
"""
import abc
import importlib
import importlib.util
import logging

_log = logging.getLogger("peercache")


class StandaloneStorage(abc.ABC):
    """What remains of SGLang's base class where there is no SGLang."""

    @abc.abstractmethod
    def get(self, key, target_location=None, target_sizes=None):
        """Reads one page into a flat tensor."""

    @abc.abstractmethod
    def batch_get(self, keys, target_locations=None, target_sizes=None):
        """Reads pages into flat tensors."""

    @abc.abstractmethod
    def set(self, key, value=None, target_location=None, target_sizes=None):
        """Stores one flat tensor."""

    @abc.abstractmethod
    def batch_set(self, keys, values=None, target_locations=None, target_sizes=None):
        """Stores flat tensors."""

    @abc.abstractmethod
    def exists(self, key):
        """Tells whether a flat page is there."""


def is_installed():
    """Whether this Python finds SGLang, though perhaps cannot import it."""
    try:
        spec = importlib.util.find_spec("sglang")
    except ValueError:  # what is left of an import that failed
        return True
    return spec is not None and spec.origin is not None  # a folder of that name is none


def _storage_base():
    """SGLang's HiCacheStorage, or the stand-in."""
    try:
        return importlib.import_module("sglang.srt.mem_cache.hicache_storage").HiCacheStorage
    except Exception as error:  # a broken install raises more than ImportError
        if is_installed():
            _log.warning("SGLang is installed, but its HiCacheStorage cannot be imported (%s: %s);"
                         " SGLang would refuse this adapter", type(error).__name__, error)
        return StandaloneStorage


StorageBase = _storage_base()


def import_first(*names):
    """The first of "module:attribute" that can be imported, or None."""
    for name in names:
        module, attribute = name.split(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception:  # which releases have which module differs; absence is an answer
            continue
    return None
