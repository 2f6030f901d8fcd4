# SPDX-License-Identifier: Apache-2.0
"""PeerCache for Python.

    peercache.store     PeerCacheStore, the storage backend that SGLang HiCache loads
    peercache._native   the binding of libpeercache that it stands on

Neither is imported here: SGLang names `peercache.store` itself, and importing that looks for
SGLang.  `python3 -m peercache` tells what is installed.
"""
from . import namesake

namesake.check()
