# SPDX-License-Identifier: Apache-2.0
"""peercached and peercache as processes: addresses, exit status, files that come back the same."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import unittest

PEERCACHED = os.environ["PEERCACHED"]
PEERCACHE = os.environ["PEERCACHE"]
READY = re.compile(r"ready node_id=(\S+) control=(\S+):(\d+) discovery=(\S+) pool=(\d+)\n")
# Long enough for a node under a sanitizer on a busy machine.
WAIT_S = 30


def clean_environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PEERCACHE")}
    return {**kept, **more}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(program, *arguments, stdin=None, **environment):
    return subprocess.run([program, *map(str, arguments)], capture_output=True, timeout=WAIT_S,
                          input=stdin, env=clean_environment(**environment))


class Node:
    """A peercached that has said `ready`."""

    def __init__(self, test, *arguments):
        self.process = subprocess.Popen(
            [PEERCACHED, "--global_segment_size", "128mb", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment())
        test.addCleanup(self.end)
        line = self.process.stdout.readline()
        match = READY.fullmatch(line)
        if not match:
            raise AssertionError(f"not ready: {line!r} {self.process.communicate()[1]}")
        self.node_id, self.port = match.group(1), match.group(3)
        self.address = f"127.0.0.1:{self.port}"

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


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

    def ask(self, node, *arguments, stdin=None):
        return run(PEERCACHE, *arguments, "--node", node.address, stdin=stdin)

    def members(self, node):
        outcome = self.ask(node, "status", "--json")
        self.assertEqual(outcome.returncode, 0, outcome)
        return json.loads(outcome.stdout)["members"]

    def wait_for_both(self):
        """Each status takes a while itself, so that this is no busy loop."""
        for _ in range(200):
            if all(len(self.members(node)) == 2 for node in (self.first, self.second)):
                return
            subprocess.run(["sleep", "0.1"], check=True)
        self.fail("the two nodes did not find each other")

    def test_status_of_either_lists_both(self):
        wanted = {self.first.node_id, self.second.node_id}
        for node in (self.first, self.second):
            self.assertEqual({member["node_id"] for member in self.members(node)}, wanted)
            self.assertIn(b"members: 2", self.ask(node, "status").stdout)

    def test_file_comes_back_the_same(self):
        for size in (1, 4096, 1000003):
            with self.subTest(size):
                file = pathlib.Path(self.folder.name, "in")
                file.write_bytes(os.urandom(size))
                back = pathlib.Path(self.folder.name, "out")
                self.assertEqual(self.ask(self.first, "put", f"k{size}", file).returncode, 0)
                outcome = self.ask(self.second, "get", f"k{size}", back)
                self.assertEqual(outcome.returncode, 0, outcome)
                self.assertEqual(back.read_bytes(), file.read_bytes())

    def test_standard_input_and_output(self):
        self.assertEqual(self.ask(self.first, "put", "k", "-", stdin=b"bytes\0").returncode, 0)
        self.assertEqual(self.ask(self.second, "get", "k", "-").stdout, b"bytes\0")

    def test_namespaces_are_apart(self):
        put = ("put", "k", "-", "--namespace", "model=a", "--namespace", "dtype=bf16")
        self.assertEqual(self.ask(self.first, *put, stdin=b"x").returncode, 0)
        other_order = ("exists", "k", "--namespace", "dtype=bf16", "--namespace", "model=a")
        self.assertEqual(self.ask(self.second, *other_order).returncode, 0)
        self.assertEqual(self.ask(self.second, "exists", "k").returncode, 1)

    def test_exists_and_keys(self):
        self.ask(self.first, "put", "there", "-", stdin=b"x" * 77)
        outcome = self.ask(self.second, "exists", "there", "gone", "--json")
        self.assertEqual(outcome.returncode, 1)
        self.assertEqual(json.loads(outcome.stdout)["found"], [True, False])
        keys = json.loads(self.ask(self.first, "keys", "--json").stdout)["keys"]
        self.assertIn(("there", 77), [(item["key"], item["bytes"]) for item in keys])

    def test_miss_leaves_the_file(self):
        back = pathlib.Path(self.folder.name, "out")
        back.write_text("older")
        self.assertEqual(self.ask(self.second, "get", "nowhere", back).returncode, 1)
        self.assertEqual(back.read_text(), "older")

    def test_bad_keys_and_files(self):
        for key, data in (("", b"x"), ("k" * 256, b"x"), ("k", b"")):
            with self.subTest(key=key[:3], data=data):
                self.assertEqual(self.ask(self.first, "put", key, "-", stdin=data).returncode, 2)
        self.assertEqual(self.ask(self.first, "put", "k" * 255, "-", stdin=b"x").returncode, 0)
        large = pathlib.Path(self.folder.name, "large")
        with large.open("wb") as file:
            file.truncate((64 << 20) + 1)
        self.assertEqual(self.ask(self.first, "put", "k", large).returncode, 2)

    def test_bench_finds_no_wrong_byte(self):
        outcome = run(PEERCACHE, "bench", "--seconds", "1", "--page_bytes", "65536", "--json",
                      "--discovery_addr", self.discovery_of(self.first))
        self.assertEqual(outcome.returncode, 0, outcome)
        phases = json.loads(outcome.stdout)["phases"]
        self.assertEqual([phase["wrong_pages"] for phase in phases], [0, 0, 0])
        self.assertGreater(phases[2]["good_pages"], 0)

    def discovery_of(self, node):
        status = json.loads(self.ask(node, "status", "--json").stdout)
        return status["node"]["discovery_addr"]


class Unreachable(unittest.TestCase):
    def test_nobody_listens(self):
        outcome = run(PEERCACHE, "status", "--node", f"127.0.0.1:{free_port()}")
        self.assertEqual(outcome.returncode, 3, outcome)

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
