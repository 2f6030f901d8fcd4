# SPDX-License-Identifier: Apache-2.0
"""The nodes around the engines: one that has no engine, and when all of them know each other."""
import json
import pathlib
import subprocess
import time

import sglang_engine
from ports import free_port

MEET_LIMIT_S = 30.0
ASK_LIMIT_S = 10.0


class Cluster:
    """A cluster on this host, of a name of its own.  Its first node serves discovery and a share of
    the directory; close() ends that node."""

    def __init__(self, programs, name):
        self.programs, self.name = pathlib.Path(programs), name
        self.address = f"127.0.0.1:{free_port()}"
        self.node = subprocess.Popen(
            [self.programs / "peercached", "--discovery_addr", self.address,
             "--cluster_name", name, "--global_segment_size", "64mb"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if not self.node.stdout.readline().startswith("ready"):
            self.close()
            raise sglang_engine.EngineError("peercached did not start")

    def close(self):
        self.node.terminate()
        self.node.wait()
        self.node.stdout.close()

    def wait_until_met(self, node_count):
        """Before nodes know each other they do not find each other's pages."""
        end = time.monotonic() + MEET_LIMIT_S
        while not self._have_met(node_count):
            if time.monotonic() > end:
                raise sglang_engine.EngineError("the nodes did not find each other")
            time.sleep(0.1)

    def _have_met(self, node_count):
        members = self._alive("--discovery_addr", self.address)
        return len(members) == node_count and all(
            len(self._alive("--node", f"{member['host']}:{member['control_port']}")) == node_count
            for member in members)

    def _alive(self, *whom):
        """The living members that a node knows of; none as long as it does not know all keys."""
        said = subprocess.run([self.programs / "peercache", "status", "--json", "--cluster_name",
                               self.name, *whom], capture_output=True, timeout=ASK_LIMIT_S)
        status = json.loads(said.stdout) if said.returncode == 0 else {}
        if not status.get("directory", {}).get("is_complete"):
            return []
        return [member for member in status["members"] if member["state"] == "alive"]
