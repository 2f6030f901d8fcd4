# SPDX-License-Identifier: Apache-2.0
"""What makes the bytes of two pages comparable.

SGLang's key is a hash of token ids.  It says nothing of the model, the type of the numbers, the
layout or the rank, so all of that goes into the namespace: two stores share pages exactly when all
their fields are equal, and anything else is a clean miss.  The library frames each field with its
length, so no value can imitate another one.

Rank-replicated models (MLA) hold the same bytes on every tensor-parallel rank and let rank 0 alone
write, so their namespace leaves the tensor-parallel coordinates out.  Some of their side pools are
sharded all the same (is_sharded).

With tp_lcm_size engines of different tensor-parallel sizes share pages: each rank stores its heads
in groups, as the ranks of an engine of that size would, so it has a namespace for each of those
virtual ranks.
"""
import hashlib
import itertools
import operator
import sys

# Raised when the meaning of a field changes: old pages are then missed rather than misread.
SCHEMA = 1

# Beyond this a vector is named by its hash: a field has 1024 bytes at most.
RUNS_TEXT_MAX = 256

# Each virtual rank is a namespace of its own; no model has so many heads.
TP_LCM_MAX = 1024

# Attributes of a host pool that decide its shape; a pool has those of its kind.
SHAPE_ATTRIBUTES = ("layer_num", "start_layer", "end_layer", "head_num", "head_dim", "v_head_dim",
                    "kv_cache_dim", "kv_lora_rank", "qk_rope_head_dim")


# Where an engine keeps what it was started with: the newer releases, the older ones.
_SERVER_ARGS = (("sglang.srt.runtime_context", "get_server_args"),
                ("sglang.srt.server_args", "get_global_server_args"))


def check_model_name(config):
    """The served model's name, or ValueError: without one all models would share their pages."""
    name = getattr(config, "model_name", None)
    if not isinstance(name, str) or not name.strip():
        raise ValueError("PeerCache: model_name is empty; it keeps the pages of different models "
                         "apart. Start SGLang with --served-model-name or --model-path")
    return name


def check_node_id(config, settings):
    """ValueError for one node_id for several ranks: each would take the place of the one before."""
    ranks = _size(config, "tp") * _size(config, "pp") * _size(config, "attn_cp")
    if settings.options.get("node_id") and ranks > 1:
        raise ValueError(f"PeerCache: node_id is given to all {ranks} ranks, and two nodes must not "
                         "have one id; leave it out")


def lcm_of(config, settings):
    """tp_lcm_size, or None.  Some releases leave it in the extra config."""
    lcm = getattr(config, "tp_lcm_size", None) or settings.tp_lcm_size
    if not lcm:
        return None
    try:
        return operator.index(lcm)
    except TypeError:
        raise ValueError(f"PeerCache: tp_lcm_size={lcm!r} is a {type(lcm).__name__}; give a whole "
                         "number without quotes, such as 8") from None


def virtual_ranks(config, layout, settings):
    """[(rank, of how many), ...] that this rank stands for with tp_lcm_size; [] without it.

    One for each group of heads that it holds.  ValueError for a size that does not fit.  [] too where
    SGLang does not split: for replicated pools and for layouts other than page_head.
    """
    lcm = lcm_of(config, settings)
    splits = bool(getattr(config, "should_split_heads", False))
    if not lcm:
        return []
    size = _size(config, "tp")
    if lcm < size or lcm % size:
        raise ValueError(f"PeerCache: tp_lcm_size={lcm} is no multiple of the tensor-parallel size "
                         f"{size}; use the least common multiple of the sizes of all engines")
    if lcm > TP_LCM_MAX:
        raise ValueError(f"PeerCache: tp_lcm_size={lcm} is more than {TP_LCM_MAX}; use the least "
                         "common multiple of the tensor-parallel sizes of all engines")
    if not splits and (lcm != size or layout != "page_head" or
                       getattr(config, "is_mla_model", False)):
        return []
    groups = lcm // size if splits else 1
    first = operator.index(getattr(config, "tp_rank", None) or 0) * groups
    return [(rank, lcm) for rank in range(first, first + groups)]


def fields(config, pool, settings, form, component="kv", virtual_rank=None, anchor=None):
    """The namespace of one rank's pages as a list of "label=value".

    @pool: a HostPool, or LogicalPool.  @form: "pages" (one object of the pool's segments), "marker"
    (a page of a logical pool) or "flat" (the copy interface, whose bytes are in another order).
    @virtual_rank: one of virtual_ranks(), for the objects of a group of heads alone.  @anchor: of a
    side pool, shape_of() the KV pool beside it.
    """
    groups = pool.groups if virtual_rank else 1
    named = {
        "schema": SCHEMA,
        "form": form,
        "component": component,
        "tag": settings.tag,
        "model": check_model_name(config),
        "weights_id": settings.weights_id,
        "dtype": _dtype_name(pool.pool),
        "buffers": _buffer_dtypes(pool.pool),
        "kv_cache_dtype": _kv_cache_dtype(config),
        "draft_model": _draft_model(pool.pool, component),
        "anchor": anchor or "-",
        **_shape(pool, groups),
    }
    named.update(_ranks(config, virtual_rank, is_replicated(config, pool, component)))
    if getattr(config, "host_layout", None) is not None:
        named["config_host_layout"] = config.host_layout
    return [f"{label}={_checked(label, value)}" for label, value in named.items()]


def shape_of(pool):
    """A text for the shape of a KV pool.

    It is part of the identity of the side pools beside it, because some of them do not know which
    layers of the model theirs are (Mamba with another split into pipeline stages), nor how many
    tokens a key stands for; and states that were computed beside other numbers are other states.
    """
    return hashlib.sha256(repr((_dtype_name(pool.pool), _shape(pool, 1))).encode()).hexdigest()


def is_replicated(config, pool, component):
    """Whether all tensor-parallel ranks hold the same bytes of this component."""
    return bool(getattr(config, "is_mla_model", False)) and not is_sharded(pool, component)


def is_sharded(pool, component):
    """Side pools that differ from rank to rank even where the KV pool does not.

    Mamba states are; a draft or sliding-window pool is when it keeps keys and values apart.  When in
    doubt a pool counts as sharded: the price is a miss, that of the other error a wrong page.
    """
    if component == "kv":
        return False
    return (component == "mamba" or getattr(pool.pool, "v_buffer", None) is not None or
            len(set(pool.lengths)) > 1)


def _checked(label, value):
    text = str(value)
    if "\0" in text:
        raise ValueError(f"PeerCache: {label} contains a NUL: {text!r}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"PeerCache: {label} is not valid Unicode: {text!r}") from None
    return text


def _dtype_name(pool):
    """bfloat16 and float16 have equal sizes, so the name is all that tells them apart."""
    dtype = getattr(pool, "dtype", None)
    if dtype is None:
        raise ValueError(f"PeerCache: host pool {type(pool).__name__} does not tell its dtype, and "
                         "pages of two dtypes must not be mixed")
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    return name[len("torch."):] if name.startswith("torch.") else name


def _buffer_dtypes(pool):
    """The dtypes of the pool's tensors: a Mamba state's parts have one each."""
    list_buffers = getattr(pool, "get_hybrid_pool_buffer", None)
    try:
        buffers = list_buffers() if list_buffers is not None else ()
    except (NotImplementedError, AttributeError):
        buffers = ()
    return _runs_text([str(getattr(buffer, "dtype", "-")) for buffer in buffers])


def _server_argument(name):
    """An argument that this engine was started with, or None where it cannot be found.

    Nothing is imported for it: in an engine the modules are there.
    """
    for module, accessor in _SERVER_ARGS:
        try:
            return getattr(getattr(sys.modules[module], accessor)(), name)
        except Exception:  # no engine around, or a release that keeps it elsewhere
            continue
    return None


def _kv_cache_dtype(config):
    """--kv-cache-dtype: pools keep both 8-bit floats as bytes, and then do not tell e4m3 from
    e5m2."""
    if getattr(config, "kv_cache_dtype", None) is not None:
        return config.kv_cache_dtype
    return _server_argument("kv_cache_dtype") or "-"


def _draft_model(pool, component):
    """The draft model, where a page holds states of one that is not a part of the model itself."""
    layers = getattr(pool, "layer_num", None)
    if not (component.startswith("draft") or getattr(pool, "mtp_draft_buffer_infos", ()) or
            getattr(pool, "target_layer_num", layers) != layers):
        return "-"
    draft = _server_argument("speculative_draft_model_path")
    return draft if draft and draft != _server_argument("model_path") else "-"


def _runs_text(values):
    """A vector run by run ("2x512,1x64"); a long one by its hash."""
    text = ",".join(f"{len(list(run))}x{value}" for value, run in itertools.groupby(values))
    if len(text) <= RUNS_TEXT_MAX:
        return text
    return f"{len(values)} values, sha256 {hashlib.sha256(text.encode()).hexdigest()}"


def _shape(pool, groups):
    """How a page of a HostPool or LogicalPool is made up; with @groups, one group of heads."""
    shape = {"layout": pool.layout, "page_size": pool.page_size,
             "segments": _runs_text(pool.lengths[:pool.segments_per_page // groups])}
    for name in SHAPE_ATTRIBUTES:
        try:
            shape[name] = operator.index(getattr(pool.pool, name, None))
        except TypeError:
            shape[name] = "-"
    if groups > 1 and shape["head_num"] != "-":
        shape["head_num"] //= groups
    shape["storage_format"] = getattr(pool.pool, "storage_format_tag", None) or "-"
    return shape


def _ranks(config, virtual_rank, replicated):
    """The coordinates of this rank.  dp is absent: replicas share their pages, as they should."""
    ranks = {name: _coordinate(config, prefix)
             for name, prefix in (("pp", "pp"), ("cp", "attn_cp"), ("dcp", "dcp"))}
    ranks["replicated"] = "yes" if replicated else "no"
    if virtual_rank:
        ranks["tp"] = f"{virtual_rank[0]} of {virtual_rank[1]}"
    elif not replicated:
        ranks["tp"] = _coordinate(config, "tp")
    return ranks


def _size(config, name):
    return operator.index(getattr(config, f"{name}_size", None) or 1)


def _coordinate(config, name):
    """"rank of size": both decide which part of a page's tokens and heads a rank holds."""
    rank = operator.index(getattr(config, f"{name}_rank", None) or 0)
    return f"{rank} of {_size(config, name)}"
