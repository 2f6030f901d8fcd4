# SPDX-License-Identifier: Apache-2.0
"""From SGLang's extra config to the options of a node.

The extra config is one dictionary for everybody: SGLang's own keys, the keys of this adapter and
the options of the library stand side by side, and foreign keys are legal.  A foreign key that looks
like a misspelt option of ours is worth a warning, because silence would leave a default in place.
"""
import difflib
import logging
import operator

from . import _native

_log = logging.getLogger("peercache")

# What SGLang reads from the same dictionary; some releases leave these keys in it.
SGLANG_KEYS = frozenset((
    "backend_name", "module_path", "class_name", "interface_v1", "prefetch_threshold",
    "prefetch_timeout_base", "prefetch_timeout_per_ki_token", "prefetch_timeout_max",
    "hicache_storage_pass_prefix_keys", "allocator", "tp_lcm_size"))

# What the adapter itself takes; `prefix` is the older name of `tag`.
TAG_KEYS = ("tag", "prefix")
WEIGHTS_KEY = "weights_id"


class Settings:
    """What the extra config and the environment say.  Read-only once made."""

    def __init__(self, extra_config):
        extra = _as_dict(extra_config)
        known = {name for name, _, _ in _native.options()}
        self.options = {}
        for name, value in extra.items():
            if name in known and value is not None:
                self.options[name] = _text(name, value)
            elif name not in known:
                _warn_near_miss(name)
        self.effective = self._resolve()
        if not self.effective.get("discovery_addr"):
            _log.warning("no discovery_addr: this engine shares pages with nobody; set it to "
                         "HOST:31998, the address of one engine's host, on all engines")
        self.tag = self._tag(extra)
        self.weights_id = self._weights_id(extra)
        self.interface_v1 = bool(extra.get("interface_v1"))
        self.tp_lcm_size = extra.get("tp_lcm_size")
        self.timeouts_s = {call: float(self.effective[f"{call}_timeout"])
                           for call in ("get", "set", "exists")}

    def _resolve(self):
        """The value of every option: default, then environment, then extra config."""
        try:
            return _native.resolve(self.options)
        except _native.ConfigError as error:
            raise ValueError(f"PeerCache: {self._culprit()}{error}") from None

    def _culprit(self):
        """Names the option that is refused: the library's text alone need not quote it."""
        for name, value in self.options.items():
            try:
                _native.resolve({name: value}, environment=False)
            except _native.ConfigError:
                return f"extra config option {name}={value!r}: "
        return "an option in the environment (PEERCACHE_...): "

    @staticmethod
    def _weights_id(extra):
        """0 is one too: of reinforcement learning's first step, say."""
        given = extra.get(WEIGHTS_KEY)
        return "" if given is None else _text(WEIGHTS_KEY, given)

    def _tag(self, extra):
        given = {_text(key, extra[key]) for key in TAG_KEYS if extra.get(key) is not None}
        if len(given) > 1:
            raise ValueError("PeerCache: extra config gives both tag and prefix, two names of one "
                             f"thing, and they differ: {sorted(given)}; keep tag")
        if given:
            return given.pop()
        return next((self.effective[key] for key in TAG_KEYS if self.effective.get(key)), "")


def _as_dict(extra_config):
    if extra_config is None:
        return {}
    if not isinstance(extra_config, dict):
        raise ValueError("PeerCache: extra_config must be a dictionary, not "
                         f"{type(extra_config).__name__}")
    return extra_config


def _text(name, value):
    """An option's value as the table of options parses it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(_text(name, item) for item in value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return _checked(name, value)
    try:
        return str(operator.index(value))
    except TypeError:
        raise ValueError(f"PeerCache: extra config option {name}={value!r} is a "
                         f"{type(value).__name__}; accepted are text, numbers, true and false, "
                         "and lists of them") from None


def _checked(name, value):
    if "\0" in value:
        raise ValueError(f"PeerCache: extra config option {name}={value!r} contains a NUL")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"PeerCache: extra config option {name}={value!r} is not valid "
                         "Unicode") from None
    return value


def _warn_near_miss(name):
    ours = set(TAG_KEYS) | {WEIGHTS_KEY}
    if not isinstance(name, str) or name in SGLANG_KEYS or name in ours:
        return
    if not name.isprintable():  # the library compares C strings
        return
    nearest = _native.nearest(name) or _nearest_own(name)
    if nearest is not None:
        _log.warning("extra config key %r is not an option of PeerCache and is ignored; "
                     "did you mean %r?", name, nearest)


def _nearest_own(name):
    """The key of the adapter's own, or of SGLang's, that a misspelt one was probably meant to be."""
    return next(iter(difflib.get_close_matches(name, (*TAG_KEYS, WEIGHTS_KEY, *SGLANG_KEYS), 1)),
                None)
