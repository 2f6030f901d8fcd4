# SPDX-License-Identifier: Apache-2.0
"""StorageMetrics, in the releases that keep it here."""
import dataclasses

from sglang._profile import PROFILE

if PROFILE["metrics_module"] != "metrics":
    raise ImportError("this release keeps StorageMetrics elsewhere")


@dataclasses.dataclass
class StorageMetrics:
    prefetch_pgs: list = dataclasses.field(default_factory=list)
    backup_pgs: list = dataclasses.field(default_factory=list)
    prefetch_bandwidth: list = dataclasses.field(default_factory=list)
    backup_bandwidth: list = dataclasses.field(default_factory=list)
