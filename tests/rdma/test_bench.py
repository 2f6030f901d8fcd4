# SPDX-License-Identifier: Apache-2.0
"""The benchmark in a virtual machine whose clock counts instructions: the work of a get beside that of
ib_read_bw, which is the same however busy this machine is."""
import json
import os
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import vm

REASON = vm.reason_against()
if REASON:
    raise unittest.SkipTest(REASON)

BUILD = pathlib.Path(os.environ["PEERCACHE"]).resolve().parents[1]
# Measured: 1.00, 1.00, 1.01.
LEAST = {"get x 32, 128 KiB": 0.85, "get x 32, 1 MiB": 0.85, "get x 32, 4 KiB": 0.7}
# Of a core, while a link is open and nothing is read; measured: 0.003.
IDLE_MOST = 0.1


class Bench(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        done = subprocess.run([vm.TREE / "bench/rdma", "--build", BUILD, "--counted", "--json",
                               "--rounds", "1", "--only", "one_device"], text=True,
                              capture_output=True)
        if done.returncode not in (0, 1): # 1: far from an aim
            raise AssertionError(done.stdout + done.stderr)
        answer = json.loads(done.stdout[done.stdout.index("{"):]) # behind what it complains of
        cls.rows = {row["name"]: row for row in answer["rows"]}

    def test_a_get_is_as_much_work_as_ib_read_bw(self):
        for name, least in LEAST.items():
            print(f"# {name}: {self.rows[name]['ratio']:.3f} of ib_read_bw", flush=True)
            self.assertGreater(self.rows[name]["ratio"], least, name)

    def test_an_idle_node_uses_no_processor(self):
        share = self.rows["idle, a link open"]["ours"]
        print(f"# idle: {share:.2%} of a core", flush=True)
        self.assertLess(share, IDLE_MOST)


if __name__ == "__main__":
    unittest.main()
