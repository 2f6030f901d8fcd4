# SPDX-License-Identifier: Apache-2.0
"""The nodes around the engines: one that has no engine, and when all of them know each other."""
import json
import pathlib
import subprocess

import sglang_engine
import waiting
from ports import free_port

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
        waiting.wait_for(lambda: self._have_met(node_count), f"{node_count} nodes to know each other")

    def _have_met(self, node_count):
        first = self._status("--discovery_addr", self.address)
        return waiting.knows_all(first, node_count) and all(
            waiting.knows_all(
                self._status("--node", f"{member['host']}:{member['control_port']}"), node_count)
            for member in first["members"] if member["state"] == "alive")

    def _status(self, *whom):
        said = subprocess.run([self.programs / "peercache", "status", "--json", "--cluster_name",
                               self.name, *whom], capture_output=True, timeout=ASK_LIMIT_S)
        return json.loads(said.stdout) if said.returncode == 0 else {}
