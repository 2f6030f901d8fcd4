# SPDX-License-Identifier: Apache-2.0
"""A virtual machine with two soft-RoCE devices: what it shows, and how it ends."""
import os
import pathlib
import re
import select
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import vm

REASON = vm.reason_against()
if REASON:
    raise unittest.SkipTest(REASON)

# bandwidth SIZE DEPTH: ib_read_bw in both roles, on the first device, by its RoCE v2 address.
FUNCTIONS = """
bandwidth() {
    ib_read_bw -d rxe0 -x 1 -s "$1" -n 500 -o "$2" -F >/results/server 2>&1 &
    until ss -ltn | grep -q :18515; do sleep 0.1; done
    ib_read_bw -d rxe0 -x 1 -s "$1" -n 500 -o "$2" -F 10.99.0.1 2>&1
    wait
}
"""


def machine_of(pid):
    """A descriptor of the process's child that is QEMU, or None: others come and go before it."""
    for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            if "qemu" in pathlib.Path(f"/proc/{child}/cmdline").read_text():
                return os.pidfd_open(int(child))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return None


class Run(unittest.TestCase):
    """A run whose machines are told about when a test fails."""

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def check(self, *machines):
        for machine in machines:
            if machine.wait() != 0:
                kept = vm.keep_failure(self.folder)
                self.fail(f"status {machine.status()}; {machine.story()}\nkept in {kept}")
        return [machine.note("output") for machine in machines]


class OneMachine(Run):
    def test_two_devices_a_read_and_the_contract(self):
        machine = vm.Machine(f"""{FUNCTIONS}
            set -e
            rdma link
            bandwidth 131072 8
            CMOCKA_MESSAGE_OUTPUT=stdout {os.environ['CONTRACT']} rxe0 rxe0
            rdma resource""", self.folder)
        output, = self.check(machine)
        self.assertRegex(output, r"\[  PASSED  \] \d+ test", output)
        # The kernel's own queue pair is left, and nothing of ours.
        self.assertRegex(output, r"rxe0: pd 1 cq 1 qp 1 .*mr 0 ctx 0")
        for number in (0, 1):
            self.assertRegex(output, rf"link rxe{number}/1 state ACTIVE .*netdev d{number}")
        figures = re.search(r"^ *131072 +500 +\S+ +(\S+)", output, re.MULTILINE)
        self.assertIsNotNone(figures, output)
        print(f"# boot {machine.note('ready')} s, ib_read_bw of 128 KiB {figures.group(1)} MB/s",
              flush=True)
        self.assertGreater(float(figures.group(1)), 0)

    def test_status_and_output_of_a_failure_come_out(self):
        machine = vm.Machine("echo before; ls /nowhere; exit 7", self.folder, devices=0)
        self.assertEqual(machine.wait(), 7, machine.story())
        self.assertIn("before\n", machine.note("output"))
        self.assertIn("/nowhere", machine.story())

    def test_a_machine_ends_with_the_program_that_started_it(self):
        program = subprocess.Popen([sys.executable, vm.__file__, "sleep 1000"],
                                   env={**os.environ, "TMPDIR": str(self.folder)},
                                   stdout=subprocess.DEVNULL)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        machine = None
        while machine is None:
            self.assertIsNone(program.poll())
            machine = machine_of(program.pid)
        self.addCleanup(os.close, machine)
        program.kill()
        ended = select.poll()
        ended.register(machine, select.POLLIN)
        self.assertTrue(ended.poll(20000), "the machine lives on")

    def test_a_machine_that_hangs_is_ended(self):
        machine = vm.Machine("echo before; sleep 1000", self.folder, devices=0)
        while machine.note("output") is None:
            machine.process.poll()
            self.assertIsNone(machine.process.returncode, machine.story())
        self.assertIsNone(machine.wait(limit_s=1))
        self.assertIsNotNone(machine.process.returncode)
