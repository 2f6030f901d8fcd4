# SPDX-License-Identifier: Apache-2.0
"""`peercache devices` and protocol=rdma on a machine with two devices, in one boot."""
import json
import os
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import vm

REASON = vm.reason_against()
if REASON:
    raise unittest.SkipTest(REASON)

# Each case's output, error text and exit status become files of the results.
COMMAND = f"""
case_() {{
    name=$1
    shift
    "$@" >/results/$name.out 2>/results/$name.err
    echo $? >/results/$name.status
}}
devices="{os.environ['PEERCACHE']} devices"
as_nobody() {{
    (ulimit -l "${{limit:-64}}" && setpriv --bounding-set=-all --inh-caps=-all --reuid=65534 --clear-groups "$@")
}}
case_ plain $devices
case_ both $devices --json
case_ named $devices --json --device_names rxe1 --gid_index 0
case_ unknown $devices --device_names mlx5_0
case_ one_missing $devices --device_names rxe0,mlx5_0
chmod 666 /dev/infiniband/*
case_ locked as_nobody $devices
limit=16384
case_ small as_nobody timeout --foreground --preserve-status 10 {os.environ['PEERCACHED']} \\
    --global_segment_size 64mb
case_ rdma timeout --foreground --preserve-status 10 {os.environ['PEERCACHED']} --protocol rdma \\
    --global_segment_size 64mb
ip link set d1 down
case_ down $devices --json
rdma link delete rxe0
rdma link delete rxe1
case_ none $devices
case_ rdma_none {os.environ['PEERCACHED']} --protocol rdma
"""


def gids(device):
    return {gid["index"]: gid for port in device["ports"] for gid in port["gids"]}


class Devices(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        machine = vm.Machine(COMMAND, cls.folder)
        if machine.wait() != 0:
            raise AssertionError(machine.story())

    def text(self, name):
        return (self.folder / name).read_text()

    def check_status(self, case, expected):
        self.assertEqual(int(self.text(f"{case}.status")), expected,
                         self.text(f"{case}.out") + self.text(f"{case}.err"))

    def listing(self, case):
        self.check_status(case, 0)
        listing = json.loads(self.text(f"{case}.out"))
        return {device["name"]: device for device in listing["devices"]}

    def refusal(self, case, status=4):
        self.check_status(case, status)
        return self.text(f"{case}.err")

    def test_both_are_used_by_their_routable_addresses(self):
        for number, device in enumerate(self.listing("both").values()):
            self.assertEqual(device["name"], f"rxe{number}")
            self.assertTrue(device["is_used"])
            self.assertIn(f"RoCE v2 10.99.{number}.1", device["why"])
            port, = device["ports"]
            self.assertEqual((port["state"], port["link"], port["mtu_bytes"]),
                             ("active", "Ethernet", 4096))
            table = gids(device)
            self.assertEqual([index for index in table if table[index]["is_used"]], [1])
            self.assertEqual((table[1]["interface"], table[1]["prefix_bits"]),
                             (f"d{number}", 24))
            self.assertEqual((table[0]["scope"], table[0]["prefix_bits"]), ("link-local", 64))

    def test_people_read_the_same(self):
        self.check_status("plain", 0)
        plain = self.text("plain.out")
        self.assertIn("rxe0: would do (port 1, GID 1: RoCE v2 10.99.0.1", plain)
        self.assertRegex(plain, r"\* GID 1 +RoCE v2 +IPv4 +10\.99\.1\.1  d1")

    def test_options_are_followed(self):
        listing = self.listing("named")
        self.assertFalse(listing["rxe0"]["is_used"])
        self.assertTrue(gids(listing["rxe1"])[0]["is_used"])
        self.assertIn("device_names=mlx5_0 names no RDMA device of this machine; it has rxe0, rxe1",
                      self.refusal("unknown"))
        self.check_status("one_missing", 0)
        self.assertIn("mlx5_0: device_names has it, but this machine has no device of that name",
                      self.text("one_missing.out"))

    def test_what_is_forbidden_is_said(self):
        self.assertIn("the limit of locked memory is 64 KiB", self.refusal("locked"))
        self.assertIn("ulimit -l unlimited", self.refusal("locked"))

    def test_a_node_whose_pool_may_not_be_locked_says_what_to_raise(self):
        self.check_status("small", 0)
        self.assertRegex(self.text("small.err"),
                         "event=rdma_pool_not_registered .*the limit of locked memory is 16384 KiB"
                         ".*ulimit -l unlimited.*by TCP")

    def test_a_port_that_is_down(self):
        listing = self.listing("down")
        self.assertTrue(listing["rxe0"]["is_used"])
        self.assertFalse(listing["rxe1"]["is_used"])
        self.assertIn("port 1 is down", listing["rxe1"]["why"])

    def test_no_device(self):
        self.assertIn("this machine has no RDMA device", self.refusal("none"))
        self.assertIn("protocol=rdma: this machine has no RDMA device",
                      self.refusal("rdma_none", 2))

    def test_protocol_rdma_registers_the_pool(self):
        self.check_status("rdma", 0)
        self.assertIn("event=rdma_ready devices=1", self.text("rdma.err"))
