# SPDX-License-Identifier: Apache-2.0
"""What makes the bytes of two pages comparable.

SGLang's key is a hash of token ids.  It says nothing of the model, the type of the numbers, the
layout or the rank, so all of that goes into the namespace: two stores share pages exactly when all
their fields are equal, and anything else is a clean miss.  The library frames each field with its
length, so no value can imitate another one.

Rank-replicated models (MLA) hold the same bytes on every tensor-parallel rank and let rank 0 alone
write, so their namespace leaves the tensor-parallel coordinates out.
"""
import hashlib
import operator

# Raised when the meaning of a field changes: old pages are then missed rather than misread.
SCHEMA = 1

# Beyond this the vector of segment lengths is named by its hash: a field has 1024 bytes at most.
SEGMENTS_TEXT_MAX = 256

# Attributes of a host pool that decide its shape; a pool has those of its kind.
SHAPE_ATTRIBUTES = ("layer_num", "start_layer", "end_layer", "head_num", "head_dim", "v_head_dim",
                    "kv_cache_dim", "kv_lora_rank", "qk_rope_head_dim")


def check_model_name(config):
    """The served model's name, or ValueError: without one all models would share their pages."""
    name = getattr(config, "model_name", None)
    if not isinstance(name, str) or not name.strip():
        raise ValueError("PeerCache: model_name is empty; it keeps the pages of different models "
                         "apart. Start SGLang with --served-model-name or --model-path")
    return name


def check_supported(config, settings):
    """ValueError for what must not be stored under the keys of this release."""
    lcm = getattr(config, "tp_lcm_size", None) or settings.tp_lcm_size
    if lcm is not None or getattr(config, "should_split_heads", False):
        raise ValueError(f"PeerCache: tp_lcm_size={lcm!r} (pages shared between different "
                         "tensor-parallel sizes) is not supported in this release; remove it from "
                         "the extra config")


def fields(config, pool, settings, form, component="kv"):
    """The namespace of one rank's pages as a list of "label=value".

    @pool is a HostPool; @form is "pages" (one object of the pool's segments) or "flat" (the copy
    interface, whose bytes are in another order).
    """
    named = {
        "schema": SCHEMA,
        "form": form,
        "component": component,
        "tag": settings.tag,
        "model": check_model_name(config),
        "revision": settings.revision,
        "dtype": _dtype_name(pool.pool),
        "layout": pool.layout,
        "page_size": pool.page_size,
        "segments": _segments_text(pool.lengths),
    }
    named.update(_shape(pool.pool))
    named.update(_ranks(config))
    for name in ("kv_cache_dtype", "host_layout"):
        if getattr(config, name, None) is not None:
            named[f"config_{name}"] = getattr(config, name)
    return [f"{label}={_checked(label, value)}" for label, value in named.items()]


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
        raise ValueError("PeerCache: the host pool does not tell its dtype, and pages of two "
                         "dtypes must not be mixed")
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    return name[len("torch."):] if name.startswith("torch.") else name


def _segments_text(lengths):
    """The vector of segment lengths, run by run; a long one by its hash."""
    runs = []
    for length in lengths:
        if runs and runs[-1][1] == length:
            runs[-1][0] += 1
        else:
            runs.append([1, length])
    text = ",".join(f"{times}x{length}" for times, length in runs)
    if len(text) <= SEGMENTS_TEXT_MAX:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{len(lengths)} segments of {sum(lengths)} bytes, sha256 {digest}"


def _shape(pool):
    shape = {}
    for name in SHAPE_ATTRIBUTES:
        try:
            shape[name] = operator.index(getattr(pool, name, None))
        except TypeError:
            shape[name] = "-"
    shape["storage_format"] = getattr(pool, "storage_format_tag", None) or "-"
    return shape


def _ranks(config):
    """The coordinates of this rank.  dp is absent: replicas share their pages, as they should."""
    ranks = {
        "pp": _coordinate(config, "pp"),
        "cp": _coordinate(config, "attn_cp"),
        "dcp": _coordinate(config, "dcp"),
        "replicated": "yes" if getattr(config, "is_mla_model", False) else "no",
    }
    if not getattr(config, "is_mla_model", False):
        ranks["tp"] = _coordinate(config, "tp")
    return ranks


def _coordinate(config, name):
    """"rank of size": both decide which part of a page's tokens and heads a rank holds."""
    rank = operator.index(getattr(config, f"{name}_rank", None) or 0)
    size = operator.index(getattr(config, f"{name}_size", None) or 1)
    return f"{rank} of {size}"
