# SPDX-License-Identifier: Apache-2.0
"""peercached and peercache as processes: addresses, exit status, files that come back the same."""
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import tempfile
import unittest

from processes import PEERCACHE, PEERCACHED, WAIT_S, Node, clean_environment, free_port, run, wait_for


def blocks(process, number):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    blocked = int(re.search(r"^SigBlk:\s*(\w+)$", status, re.MULTILINE).group(1), 16)
    return blocked >> (number - 1) & 1


def fill_pipe(writer):
    """It takes nothing more, and whoever writes to it waits."""
    os.set_blocking(writer, False)
    for piece in (bytes(4096), b"x"):
        try:
            while True:
                os.write(writer, piece)
        except BlockingIOError:
            pass
    os.set_blocking(writer, True)


class Daemon(unittest.TestCase):
    def assert_refused(self, outcome, status, *words):
        self.assertEqual(outcome.returncode, status, outcome)
        for word in words:
            self.assertIn(word, outcome.stderr.decode())

    def test_help_lists_the_options(self):
        outcome = run(PEERCACHED, "--help")
        self.assertEqual(outcome.returncode, 0)
        for name in (b"--discovery_addr", b"--global_segment_size", b"--control_port", b"31998"):
            self.assertIn(name, outcome.stdout)

    def test_unknown_option_names_the_nearest(self):
        self.assert_refused(run(PEERCACHED, "--contol_port", "1"), 2, "control_port")

    def test_absurd_values(self):
        for name, value in (("control_port", "99999"), ("control_port", "-1"),
                            ("global_segment_size", "lots"),
                            ("global_segment_size", "900000gb"),
                            ("heartbeat_interval", "never")):
            with self.subTest(name=name, value=value):
                self.assert_refused(run(PEERCACHED, f"--{name}", value), 2, name)

    def test_values_of_the_environment_and_of_a_file(self):
        self.assert_refused(run(PEERCACHED, PEERCACHE_CONTROL_PORT="99999"), 2, "control_port")
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write('{"control_port": 99999}')
            file.flush()
            self.assert_refused(run(PEERCACHED, "--config", file.name), 2, "control_port",
                                file.name)
        self.assert_refused(run(PEERCACHED, "--config", "/nonexistent/x.json"), 2, "/nonexistent")

    def test_port_in_use(self):
        node = Node(self)
        self.assert_refused(run(PEERCACHED, "--control_port", node.port), 1, node.port)

    def test_pool_larger_than_the_machine(self):
        self.assert_refused(run(PEERCACHED, "--global_segment_size", "4tb"), 1, "memory")

    def test_values_that_the_node_refuses(self):
        for name, value in (("discovery_addr", "127.0.0.1:1,,127.0.0.1:2"), ("protocol", "rdma"),
                            ("member_ttl", "0.001"), ("node_id", "x")):
            with self.subTest(name=name, value=value):
                self.assert_refused(run(PEERCACHED, f"--{name}", value), 2, name)

    def test_devices_of_a_machine_without_any(self):
        found = run(PEERCACHE, "devices", "--json", "--global_segment_size", "1gb")
        listing = json.loads(found.stdout)
        self.assertEqual(listing["locked_memory_needed_bytes"], (1 << 30) + (16 << 20))
        if listing["devices"]:
            self.skipTest("this machine has RDMA devices")
        self.assert_refused(run(PEERCACHE, "devices"), 4, "RDMA")
        self.assertFalse(listing["works"])
        self.assertIn(listing["reason"].encode(), found.stderr)

    def test_signal_ends_it_while_it_opens(self):
        """What it waits for there is that somebody reads its log: the pipe is full."""
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number):
                reader, writer = os.pipe()
                self.addCleanup(os.close, reader)
                fill_pipe(writer)
                process = subprocess.Popen(
                    [PEERCACHED, "--discovery_addr", f"127.0.0.1:{free_port()}"],
                    stdout=subprocess.PIPE, stderr=writer, env=clean_environment())
                os.close(writer)
                self.addCleanup(process.kill)
                wait_for(lambda: blocks(process, number), "it to begin")
                process.send_signal(number)
                self.assertEqual(process.wait(WAIT_S), 0)
                self.assertEqual(process.stdout.read(), b"", "it was not ready")
                process.stdout.close()

    def test_few_descriptors(self):
        """It starts, or says what it could not have."""
        starts = 0
        for limit in range(6, 22):
            process = subprocess.Popen(
                [PEERCACHED, "--global_segment_size=4mb"], text=True, env=clean_environment(),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
            starts += bool(process.stdout.readline())
            process.terminate()
            _, said = process.communicate(timeout=WAIT_S)
            self.assertIn(process.returncode, (0, 1, 127), said)  # 127: not even its libraries
            self.assertTrue(process.returncode == 0 or said, limit)
        self.assertGreater(starts, 0)

    def test_signal_ends_it_cleanly(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number):
                node = Node(self)
                node.process.send_signal(number)
                self.assertEqual(node.process.wait(WAIT_S), 0)


class Pages(unittest.TestCase):
    def setUp(self):
        head = free_port()
        discovery = ("--discovery_addr", f"127.0.0.1:{head}", "--heartbeat_interval", "0.2")
        self.first, self.second = Node(self, *discovery), Node(self, *discovery)
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.wait_for_both()

    def wait_for_both(self):
        nodes = (self.first, self.second)
        wait_for(lambda: all(len(node.members()) == 2 for node in nodes), "both nodes to meet")

    def test_status_of_either_lists_both(self):
        wanted = {self.first.node_id, self.second.node_id}
        for node in (self.first, self.second):
            self.assertEqual({member["node_id"] for member in node.members()}, wanted)
            self.assertIn(b"members: 2", node.ask("status").stdout)
            self.assertRegex(node.ask("status").stdout, rb"\nrdma: \d+ devices?, \d+ links?")
            rdma = node.status()["rdma"]
            self.assertEqual(bool(rdma["devices"]), not rdma["why_not"], rdma)
            self.assertNotIn("cannot be listed", rdma["why_not"])

    def test_node_by_its_id(self):
        """As --node; the one at the discovery address knows where it is."""
        head = self.first.status()["node"]["discovery_addr"]
        for node in (self.first, self.second):
            outcome = run(PEERCACHE, "status", "--json", "--node", node.node_id,
                          "--discovery_addr", head)
            self.assertEqual(outcome.returncode, 0, outcome)
            self.assertEqual(json.loads(outcome.stdout)["node"]["node_id"], node.node_id)
        outcome = run(PEERCACHE, "status", "--node", "no-node", "--discovery_addr", head)
        self.assertEqual(outcome.returncode, 2, outcome)

    def test_file_comes_back_the_same(self):
        for size in (1, 4096, 1000003):
            with self.subTest(size):
                file = pathlib.Path(self.folder.name, "in")
                file.write_bytes(os.urandom(size))
                back = pathlib.Path(self.folder.name, "out")
                self.assertEqual(self.first.ask("put", f"k{size}", file).returncode, 0)
                outcome = self.second.ask("get", f"k{size}", back)
                self.assertEqual(outcome.returncode, 0, outcome)
                self.assertEqual(back.read_bytes(), file.read_bytes())

    def test_standard_input_and_output(self):
        self.assertEqual(self.first.ask("put", "k", "-", stdin=b"bytes\0").returncode, 0)
        self.assertEqual(self.second.ask("get", "k", "-").stdout, b"bytes\0")

    def test_namespaces_are_apart(self):
        put = ("put", "k", "-", "--namespace", "model=a", "--namespace", "dtype=bf16")
        self.assertEqual(self.first.ask(*put, stdin=b"x").returncode, 0)
        other_order = ("exists", "k", "--namespace", "dtype=bf16", "--namespace", "model=a")
        self.assertEqual(self.second.ask(*other_order).returncode, 0)
        self.assertEqual(self.second.ask("exists", "k").returncode, 1)

    def test_exists_and_keys(self):
        self.first.ask("put", "there", "-", stdin=b"x" * 77)
        outcome = self.second.ask("exists", "there", "gone", "--json")
        self.assertEqual(outcome.returncode, 1)
        self.assertEqual(json.loads(outcome.stdout),
                         {"pages": [{"key": "there", "found": True},
                                    {"key": "gone", "found": False}]})
        keys = json.loads(self.first.ask("keys", "--json").stdout)["keys"]
        self.assertIn(("there", 77), [(item["key"], item["bytes"]) for item in keys])

    def test_keys_has_no_namespace(self):
        put = ("put", "k", "-", "--namespace", "model=a")
        self.first.ask(*put, stdin=b"x" * 77)
        self.assertRegex(self.first.ask("keys").stdout, rb"(?m)^ +77  k$")
        outcome = self.first.ask("keys", "--namespace", "model=a")
        self.assertEqual(outcome.returncode, 2, outcome)
        self.assertIn(b"--namespace", outcome.stderr)

    def test_put_again_says_that_nothing_was_stored(self):
        outcome = self.first.ask("put", "k", "-", stdin=b"older")
        self.assertEqual(outcome.stdout, b"stored 5 bytes\n", outcome)
        outcome = self.second.ask("put", "k", "-", stdin=b"another length")
        self.assertEqual((outcome.returncode, outcome.stdout),
                         (0, b"k is there already; nothing was stored\n"))
        outcome = self.second.ask("put", "k", "-", "--json", stdin=b"another length")
        self.assertEqual(outcome.returncode, 0)
        self.assertNotIn("bytes", json.loads(outcome.stdout))
        self.assertEqual(self.second.ask("get", "k", "-").stdout, b"older")

    def test_miss_leaves_the_file(self):
        back = pathlib.Path(self.folder.name, "out")
        back.write_text("older")
        self.assertEqual(self.second.ask("get", "nowhere", back).returncode, 1)
        self.assertEqual(back.read_text(), "older")

    def test_bad_keys_and_files(self):
        for key, data in (("", b"x"), ("k" * 256, b"x"), ("k", b"")):
            with self.subTest(key=key[:3], data=data):
                self.assertEqual(self.first.ask("put", key, "-", stdin=data).returncode, 2)
        self.assertEqual(self.first.ask("put", "k" * 255, "-", stdin=b"x").returncode, 0)
        large = pathlib.Path(self.folder.name, "large")
        with large.open("wb") as file:
            file.truncate((127 << 20) + 1)
        self.assertEqual(self.first.ask("put", "k", large).returncode, 2)

    def test_bench_finds_no_wrong_byte(self):
        outcome = run(PEERCACHE, "bench", "--seconds", "1", "--page_bytes", "65536", "--json",
                      "--discovery_addr", self.first.status()["node"]["discovery_addr"])
        self.assertEqual(outcome.returncode, 0, outcome)
        phases = json.loads(outcome.stdout)["phases"]
        self.assertEqual([phase["wrong_pages"] for phase in phases], [0, 0, 0])
        self.assertGreater(phases[2]["good_pages"], 0)
        for node in (self.first, self.second):
            self.assertEqual(json.loads(node.ask("keys", "--json").stdout)["keys"], [])


class BenchAlone(unittest.TestCase):
    def bench(self, *arguments):
        return run(PEERCACHE, "bench", "--seconds", "0.3", "--page_bytes", "4096",
                   "--global_segment_size", "64mb", *arguments)

    def test_no_other_member(self):
        address = f"127.0.0.1:{free_port()}"
        outcome = self.bench("--discovery_addr", address)
        self.assertEqual(outcome.returncode, 3, outcome)
        self.assertIn(f"no other member at {address}; nothing to measure".encode(), outcome.stderr)
        self.assertEqual(outcome.stdout, b"")

    def test_no_cluster_named(self):
        outcome = self.bench()
        self.assertEqual(outcome.returncode, 2, outcome)
        self.assertIn(b"--alone", outcome.stderr)

    def test_own_pool_on_demand(self):
        outcome = self.bench("--alone", "--json")
        self.assertEqual(outcome.returncode, 0, outcome)
        self.assertEqual(json.loads(outcome.stdout)["other_members"], 0)


class Unreachable(unittest.TestCase):
    def test_nobody_listens(self):
        outcome = run(PEERCACHE, "status", "--node", f"127.0.0.1:{free_port()}")
        self.assertEqual(outcome.returncode, 3, outcome)

    def test_no_address(self):
        outcome = run(PEERCACHE, "status")
        self.assertEqual(outcome.returncode, 2, outcome)
        self.assertEqual(outcome.stderr, b"peercache: no node to ask: give --node HOST:PORT or "
                         b"--discovery_addr HOST:PORT, or set PEERCACHE_DISCOVERY_ADDR\n")

    def test_help(self):
        outcome = run(PEERCACHE, "help")
        self.assertEqual((outcome.returncode, outcome.stderr), (0, b""))
        self.assertEqual(outcome.stdout, run(PEERCACHE, "--help").stdout)
        for word in (b"usage: peercache", b"exists", b"--node"):
            self.assertIn(word, outcome.stdout)

    def test_usage(self):
        for arguments in ([], ["stat"], ["put", "k"], ["status", "--node", "x"],
                          ["status", "--timeout", "0"], ["status", "--cluster_nam", "x"],
                          ["bench", "--node", "127.0.0.1:1"]):
            with self.subTest(arguments):
                outcome = run(PEERCACHE, *arguments)
                self.assertEqual(outcome.returncode, 2, outcome)
                self.assertTrue(outcome.stderr.startswith(b"peercache: "), outcome)


if __name__ == "__main__":
    unittest.main()
