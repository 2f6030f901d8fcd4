# SPDX-License-Identifier: Apache-2.0
"""Another distribution that has a package of our name.

There is at least one: a project of the same purpose, whose distribution `peercache` holds a module
`peercache.store` with a class PeerCacheStore as well.  pip lets two distributions write into one
folder without a word, and then an engine runs the store of whichever was installed last.  So each
import looks for it.  What this cannot see is a namesake that replaced our __init__.py or that comes
earlier on sys.path, since then nothing of ours runs: `python3 -m peercache` tells.
"""
import logging
import os
import re
import sys

from ._files import FILES

_log = logging.getLogger("peercache")

PACKAGE = __name__.partition(".")[0]
DISTRIBUTION = "peercache-kv"
FOLDER = os.path.dirname(os.path.abspath(__file__))


def check():
    """ImportError where files of two projects are mixed in our folder; a warning where a namesake
    lies elsewhere on sys.path.  An ordinary import costs one listing and a few stats."""
    if has_foreign_files():
        site = os.path.dirname(FOLDER)
        for owner in owners(site):
            raise ImportError(mixed_text(owner))
    for site in sites_with_package():
        for owner in owners(site):
            _log.warning("the distribution %r in %s also has a package %r; this process uses that "
                         "of %s in %s, which comes earlier on sys.path. To be sure of it: "
                         "pip uninstall %s", owner, site, PACKAGE, DISTRIBUTION, FOLDER, owner)


def mixed_text(owner):
    return (f"two distributions, {DISTRIBUTION} and {owner!r}, are installed into one folder, "
            f"{FOLDER}, and have overwritten each other's files. Remove both "
            f"(pip uninstall {DISTRIBUTION} {owner}), then install the one that you want again")


def has_foreign_files():
    """Whether our folder holds modules that we did not put there; leftovers of an older release of
    ours also count, so owners() must say whose they are."""
    try:
        names = os.listdir(FOLDER)
    except OSError:
        return False
    return any(name.endswith((".py", ".so")) and name not in FILES for name in names)


def sites_with_package():
    """The folders of sys.path, other than ours, where a package or module of our name lies.  The
    current folder, '', is none: it comes first, so what lies there would have been imported."""
    ours = os.path.realpath(os.path.dirname(FOLDER))
    folders = {os.path.realpath(entry) for entry in sys.path
               if isinstance(entry, str) and os.path.isabs(entry)} - {ours}
    return sorted(folder for folder in folders
                  if os.path.isdir(os.path.join(folder, PACKAGE))
                  or os.path.isfile(os.path.join(folder, f"{PACKAGE}.py")))


def owners(site):
    """The names of the distributions in this folder that provide our package and are not ours."""
    from importlib import metadata  # slow, and wanted only where something looks wrong

    found = set()
    for distribution in metadata.distributions(path=[site]):
        try:
            name = distribution.metadata["Name"] or ""
            if name and not is_ours(name) and provides_package(distribution):
                found.add(name)
        except Exception:  # another project's damaged metadata is no concern of ours
            continue
    return sorted(found)


def is_ours(name):
    """Whether two spellings mean one distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower() == DISTRIBUTION


def provides_package(distribution):
    tops = {file.parts[0] for file in distribution.files or () if file.parts}
    return PACKAGE in tops or f"{PACKAGE}.py" in tops
