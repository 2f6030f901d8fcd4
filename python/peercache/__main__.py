# SPDX-License-Identifier: Apache-2.0
"""python3 -m peercache: tells which PeerCache this Python imports, and whether it is whole.

A namesake (namesake.py) that has overwritten our __init__.py and store.py leaves this file alone.
"""
import sys


def main():
    try:
        from . import namesake

        namesake.check()
        from . import _native, store
        from .base import StandaloneStorage, is_installed
    except ImportError as error:
        sys.exit(f"PeerCache cannot be used: {error}")
    print(f"PeerCache {_native.version()} in {namesake.FOLDER}")
    if not issubclass(store.PeerCacheStore, StandaloneStorage):
        print("SGLang found: it can load peercache.store")
    elif is_installed():
        print("SGLang is installed for this Python, but cannot be imported (see above), so it cannot "
              "load peercache.store")
    else:
        print("SGLang is not installed for this Python, so only other programs can use the store")


if __name__ == "__main__":
    main()
