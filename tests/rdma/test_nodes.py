# SPDX-License-Identifier: Apache-2.0
"""Whole nodes over soft-RoCE: in one machine, where the adapter is real and the wire is not, and on
two machines."""
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

NODES, STORM, LUCK, LIFE, FAR, PEERCACHED, PEERCACHE = (
    os.environ[name] for name in ("NODES", "RDMA_STORM", "RDMA_LUCK", "RDMA_LIFE", "FAR",
                                  "PEERCACHED", "PEERCACHE"))
CYCLES = 3
LIMIT_S = 300
# 10^5 pages take a minute and more: RDMA_STORM_HITS=100000.
STORM_HITS = os.environ.get("RDMA_STORM_HITS", "5000")


class Run(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def check(self, *machines):
        for machine in machines:
            if machine.wait(LIMIT_S) != 0:
                kept = vm.keep_failure(self.folder)
                self.fail(f"status {machine.status()}; {machine.story()}\nkept in {kept}")
        return [machine.note("output") for machine in machines]


class OneMachine(Run):
    def test_every_byte_and_nothing_left(self):
        """Eviction storms, bad luck, processes that fork, nodes that come and go."""
        machine = vm.Machine(f"""set -e
            export CMOCKA_MESSAGE_OUTPUT=stdout
            {NODES} rxe0
            {STORM} rxe0 {STORM_HITS}
            {LUCK} rxe0 rxe1
            {LIFE} rxe0 {CYCLES}
            rdma resource""", self.folder)
        output, = self.check(machine)
        self.assertEqual(len(re.findall(r"\[  PASSED  \] \d+ test", output)), 4, output)
        for line in re.findall(r"^(?:hits|\d+ bytes a page|between|reads|after \d+ cycles).*", output,
                               re.MULTILINE):
            print(f"# {line}", flush=True)
        # The kernel's own queue pair is left, and nothing of ours.
        for device in ("rxe0", "rxe1"):
            self.assertRegex(output, rf"{device}: pd 1 cq 1 qp 1 .*mr 0 ctx 0")


class TwoMachines(Run):
    def test_put_on_one_get_on_the_other(self):
        node = (f"{PEERCACHED} --discovery_addr 10.98.0.1 --global_segment_size 64mb "
                "--protocol rdma --device_names rxe-eth0 --local_hostname 10.98.0.")
        ask = f"{PEERCACHE} --discovery_addr 10.98.0."
        first = f"""set -e
            {node}1 >/results/log 2>&1 & node=$!
            head -c 3000000 /dev/urandom >/tmp/page
            cksum </tmp/page
            until {ask}1 put the-page /tmp/page; do sleep 0.3; done
            until grep -q event=peer /results/log; do sleep 0.1; done
            while ! grep -q state=gone /results/log; do sleep 0.3; done
            kill $node; wait $node"""
        second = f"""set -e
            until busybox ping -c 1 -W 1 10.98.0.1; do sleep 0.2; done
            {node}2 >/results/log 2>&1 & node=$!
            for i in {{1..100}}; do
                {PEERCACHE} --node 10.98.0.2:31998 get the-page /tmp/page && break
                sleep 0.3
            done
            cksum </tmp/page
            grep event=protocol /results/log
            kill $node; wait $node"""
        outputs = self.check(*vm.pair(self.folder, [first, second], devices=0))
        sums = [re.findall(r"^\d+ 3000000$", output, re.MULTILINE) for output in outputs]
        self.assertEqual(len(sums[0]), 1, outputs)
        self.assertEqual(sums[0], sums[1], outputs)
        self.assertIn("protocol=rdma", outputs[1])

    def test_the_link_is_cut_or_the_holder_killed_in_the_middle_of_a_read(self):
        far = f"CMOCKA_MESSAGE_OUTPUT=stdout {FAR}"
        first = f"{far} hold rxe-eth0 10.98.0.1 10.98.0.1; [ $? = 137 ]"
        second = f"""until busybox ping -c 1 -W 1 10.98.0.1; do sleep 0.2; done
            {far} read rxe-eth0 10.98.0.2 10.98.0.1"""
        outputs = self.check(*vm.pair(self.folder, [first, second], devices=0))
        self.assertRegex(outputs[1], r"\[  PASSED  \] \d+ test", outputs)
        lines = re.findall(r"^(?:at first|cut at|after the heal|holder killed).*", outputs[1],
                           re.MULTILINE)
        self.assertEqual(len(lines), 8, outputs)
        for line in lines:
            print(f"# {line}", flush=True)


if __name__ == "__main__":
    unittest.main()
