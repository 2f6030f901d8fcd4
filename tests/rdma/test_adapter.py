# SPDX-License-Identifier: Apache-2.0
"""The SGLang adapter over soft-RoCE: tests/sglang/test_adapter_rdma.py in the virtual machine, where
the device is the kernel's, so every pool and layout lands in memory that is really registered."""
import importlib.util
import os
import pathlib
import re
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import vm

REASON = vm.reason_against()
if REASON:
    raise unittest.SkipTest(REASON)
if importlib.util.find_spec("numpy") is None:
    raise unittest.SkipTest("numpy is not installed; tools/install-packages installs it")

TESTS = vm.TREE / "tests"
# What is the same over the model is left to ring 1.
CASES = "Landing takes_the_place"
LIMIT_S = 300


class OneMachine(unittest.TestCase):
    def test_every_pool_lands_in_its_memory(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        machine = vm.Machine(f"""set -e
            export RDMA_DEVICE=rxe0 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={os.environ['PYTHONPATH']}
            {sys.executable} {TESTS}/tap_runner.py {TESTS}/sglang/test_adapter_rdma.py {CASES}
            rdma resource""", folder, devices=1)
        if machine.wait(LIMIT_S) != 0:
            self.fail(f"status {machine.status()}; {machine.story()}\n"
                      f"kept in {vm.keep_failure(folder)}")
        output = machine.note("output")
        self.assertRegex(output, r"(?m)^ok \d+ - \S*test_every_kv_pool$")
        for case in re.findall(r"(?m)^ok \d+ - (.*)", output):
            print(f"# {case}", flush=True)
        # The kernel's own queue pair is left, and nothing of ours.
        self.assertRegex(output, r"rxe0: pd 1 cq 1 qp 1 .*mr 0 ctx 0")


if __name__ == "__main__":
    unittest.main()
