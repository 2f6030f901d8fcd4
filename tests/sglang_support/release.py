# SPDX-License-Identifier: Apache-2.0
"""The real SGLang beside the tests, imported as far as its environment allows.

Core level: the modules that need torch and numpy only, which import in two seconds.  A bare module
stands in for the package `sglang`, whose own __init__ would import all requirements; those below it
are the real ones.  Full level: the package itself, with everything but CUDA.

Whoever imports this module gets unittest.SkipTest where there is no SGLang at all.
"""
import importlib.metadata
import importlib.util
import os
import sys
import types
import unittest

if importlib.util.find_spec("sglang") is None:
    raise unittest.SkipTest("no SGLang in this Python; tools/sglang-environment makes one")
if importlib.util.find_spec("peercache") is None:
    raise unittest.SkipTest("the adapter is not built; build it and set PYTHONPATH=<build>/python")

NAME = importlib.metadata.version("sglang")
VERSION = tuple(int(part) for part in NAME.split(".post")[0].split(".")[:3])

# What torchvision declares stand-ins for when it is imported.  Its compiled part, which defines the
# operators, is built for another torch and does not load; SGLang uses none of them.
_TORCHVISION_OPERATORS = ("nms", "qnms")


def import_core():
    """Makes `sglang.srt.mem_cache.hicache_storage` and the backend factory importable."""
    if "sglang" not in sys.modules:
        package = types.ModuleType("sglang")
        package.__path__ = list(importlib.util.find_spec("sglang").submodule_search_locations)
        sys.modules["sglang"] = package
    _stand_in_for_utils()


def is_full():
    return importlib.util.find_spec("transformers") is not None


def _stand_in_for_utils():
    """A place for the one name that the file backend takes from a module that needs everything.

    It parses the backend's size limit, which the tests do not give; called, it says so.
    """
    def human_readable_int(text):
        raise NotImplementedError("this needs the full level")

    for name in ("sglang.srt.utils", "sglang.srt.utils.common"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["sglang.srt.utils.common"].human_readable_int = human_readable_int


def _declare_torchvision_operators():
    import torch
    for name in _TORCHVISION_OPERATORS:
        torch.library.define(f"torchvision::{name}",
                             "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def check_full():
    """Raises SkipTest in an environment of core level."""
    if not is_full():
        raise unittest.SkipTest("this environment has SGLang's core only; "
                                "tools/sglang-environment makes a full one")


def import_full():
    """Imports the package itself, or raises SkipTest in an environment of core level."""
    check_full()
    if "sglang" in sys.modules:
        return
    # Extensions that SGLang compiles at first use must not be shared between releases.
    os.environ.setdefault("TORCH_EXTENSIONS_DIR", os.path.join(sys.prefix, "torch_extensions"))
    # 0.5.16 has Triton kernels on paths that the CPU takes.
    os.environ.setdefault("TRITON_INTERPRET", "1")
    _declare_torchvision_operators()
    import sglang  # noqa: F401
