# SPDX-License-Identifier: Apache-2.0
"""The components of one store, made as SGLang hands over its host pools.

The KV pool comes first, while SGLang can still roll back: what cannot be served is refused there.
Side pools come later, when a refusal would leave SGLang's threads behind; one that cannot be served
is noted with the reason, and counts as never stored.
"""
import logging

from . import _native, hybrid, identity
from .component import GROUP, Anchor, Component, FlatPages
from .hostpool import (HostPool, LogicalPool, check_flat_pages, check_memory, is_logical,
                       unwrap)
from .regions import Regions

_log = logging.getLogger("peercache")


class Registry:
    """KV component, flat pages and side components.  Read by all threads, written at registration."""

    kv = flat = None
    _has_many_parts = False  # and has said so
    _anchor = None  # the shape of the KV pool, once there is one

    def __init__(self, node, config, settings, calls):
        self._node, self._config, self._settings, self._calls = node, config, settings, calls
        self.sides = {}
        self._regions = Regions(node)

    def register_kv(self, given):
        """Takes SGLang's pool, or HostPoolGroup; ValueError says why it cannot be served."""
        pool, side_pools = unwrap(given)
        check_memory(pool)
        if not self._settings.interface_v1:
            check_flat_pages(pool)
        ranks = identity.virtual_ranks(self._config, getattr(pool, "layout", None), self._settings)
        if is_logical(pool):
            looked_at = LogicalPool(pool)
            kv, flat = Anchor([self._namespace(looked_at, "marker", "kv")], self._calls), None
        else:
            looked_at = HostPool(pool, max(1, len(ranks)))
            kv = self._component(looked_at, "kv", ranks)
            flat = FlatPages(self._namespace(looked_at, "flat", "kv"), self._calls)
        self._anchor = identity.shape_of(looked_at)
        if (not ranks and identity.lcm_of(self._config, self._settings) and
                not getattr(self._config, "is_mla_model", False)):
            _log.warning("tp_lcm_size has no effect with this pool: engines of different tensor-"
                         "parallel sizes share pages with --hicache-mem-layout page_head only")
        self.sides.update({hybrid.plain(name): self._component(HostPool(side), hybrid.plain(name))
                           for name, side in side_pools.items()})
        self.kv, self.flat = kv, flat
        self._group_up()
        # Pages of the copy interface land in tensors of SGLang's that come and go.
        self._regions.put("kv", looked_at if kv.has_bytes and self._settings.interface_v1 else None)
        for name, side in self.sides.items():
            self._regions.put(name, side.pool)

    def register_side(self, given, name):
        """Takes a side pool, or notes with a warning that its pages cannot be stored."""
        name, (pool, _) = hybrid.plain(name), unwrap(given)
        if name == "kv":
            return
        self.sides.pop(name, None)
        try:
            looked_at = HostPool(pool)
            self.sides[name] = self._component(looked_at, name)
        except Exception as error:  # whatever a pool of a later release may do
            self._regions.put(name, None)
            _log.warning("side pool %r is not stored, so models that need it get no hits: %s", name,
                         error)
            return
        self._regions.put(name, looked_at)
        self._group_up()
        self._warn_of_missing_writers(looked_at, name)

    def all(self):
        return [component for component in (self.kv, self.flat, *self.sides.values())
                if component is not None]

    def stop(self):
        """The node is about to be closed."""
        self._regions.stop()

    def _namespace(self, looked_at, form, name, virtual_rank=None):
        anchor = self._anchor if name != "kv" else None
        return self._node.namespace(identity.fields(self._config, looked_at, self._settings, form,
                                                    name, virtual_rank, anchor))

    def _component(self, looked_at, name, ranks=()):
        parts = [self._namespace(looked_at, "pages", name, rank) for rank in ranks or (None,)]
        return Component(looked_at, parts, self._calls)

    def _group_up(self):
        """From the first side pool on, pages are stored as parts of a group."""
        if self.sides:
            for component in (self.kv, *self.sides.values()):
                component.group = GROUP
        self._warn_of_many_parts()

    def _warn_of_many_parts(self):
        parts = sum(len(component.parts) for component in (self.kv, *self.sides.values()))
        if parts <= _native.GROUP_MAX or self._has_many_parts:
            return
        self._has_many_parts = True
        _log.warning("a page has more than %d parts (one for each pool, and with tp_lcm_size one for "
                     "each group of heads), and no more than that leave memory together: when memory "
                     "is full, a page may lose one of the others, and is a miss then",
                     _native.GROUP_MAX)

    def _warn_of_missing_writers(self, looked_at, name):
        """SGLang lets rank 0 alone write for an MLA model, but for Mamba (and Mooncake's drafts)."""
        config = self._config
        if (getattr(config, "is_mla_model", False) and (getattr(config, "tp_size", 1) or 1) > 1 and
                name != "mamba" and identity.is_sharded(looked_at, name)):
            _log.warning("side pool %r differs from rank to rank, but SGLang stores it from rank 0 "
                         "only with this model and backend: expect no hits that need it", name)
