# SPDX-License-Identifier: Apache-2.0
"""tests/rdma/on-hardware without hardware: an ssh that is a shell of this machine."""
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ["PEERCACHE"]).resolve().parents[1]
# Options, a host, a command.  "away" is not reached; "alone" reaches no other host.
SSH = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do
    [ "$1" = -o ] && shift
    shift
done
host=$1
shift
[ "$host" != away ] || { echo "ssh: connect to host away: no route" >&2; exit 255; }
SSH_FROM=$host exec sh -c "$*"
"""
# In the place of what is built: answers as files say.
PEERCACHE = """#!/bin/sh
case "$*" in
*--json*) echo '{"devices": [{"name": "fake0", "is_used": true}]}' ;;
*) echo "fake0: would be used" ;;
esac
"""


class OnHardware(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.program("bin/ssh", SSH)

    def program(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run_script(self, *words):
        environment = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
                       "TMPDIR": str(self.folder)}
        return subprocess.run([HERE / "on-hardware", *words], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=environment, timeout=120)

    def built_tree(self, contract="exit 0", nodes="exit 0", storm="exit 0",
                   bench="echo the table"):
        """What --built takes for a tree that was built."""
        tree = self.folder / "tree"
        self.program("tree/build/cmd/peercache", PEERCACHE)
        self.program("tree/build/tests/rdma-contract", f"#!/bin/sh\necho \"$@\"\n{contract}\n")
        self.program("tree/build/tests/rdma-nodes-test", f"#!/bin/sh\n{nodes}\n")
        self.program("tree/build/tests/rdma-storm-test", f"#!/bin/sh\n{storm}\n")
        self.program("tree/bench/rdma", f"#!/bin/sh\necho \"$@\"\n{bench}\n")
        return ("--built", "--folder", str(tree))

    def test_wrong_arguments(self):
        for words in ((), ("one",), ("one", "two", "three"), ("one", ""),
                      ("--folder", "here", "one", "two"), ("--no-such", "one", "two")):
            with self.subTest(words=words):
                done = self.run_script(*words)
                self.assertEqual(done.returncode, 2, done.stdout)
                self.assertIn("usage:", done.stdout)

    def test_a_host_that_is_not_reached(self):
        done = self.run_script(*self.built_tree(), "here", "away")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stdout, r"(?m)^ok +nodes +here$")
        self.assertIn("no route", done.stdout)
        self.assertIn("failed  ssh on away: let `ssh away true` work", done.stdout)
        self.assertIn("left out: the benchmark", done.stdout)

    def test_a_machine_without_a_device(self):
        """The real program, on a machine that has none (or it says what it found)."""
        if os.path.exists("/sys/class/infiniband") and os.listdir("/sys/class/infiniband"):
            self.skipTest("this machine has a device")
        options = self.built_tree()
        program = self.folder / "tree/build/cmd/peercache"
        program.unlink()
        program.symlink_to(BUILD / "cmd/peercache")
        done = self.run_script(*options, "here", "here")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("this machine has no RDMA device", done.stdout)
        self.assertEqual(done.stdout.count("failed  devices on here: "), 1, done.stdout)

    def test_all_is_well(self):
        done = self.run_script(*self.built_tree(), "one", "two")
        self.assertEqual(done.returncode, 0, done.stdout)
        for step, host in (("devices", "one"), ("contract", "two"), ("nodes", "one"),
                           ("storm", "two"), ("benchmark", "two")):
            self.assertRegex(done.stdout, rf"(?m)^ok +{step} +{host}$")
        self.assertIn("the table", done.stdout)
        log = pathlib.Path(re.search(r"output  (\S+)", done.stdout).group(1)).read_text()
        self.assertIn("fake0 fake0\n", log)
        self.assertIn("--build build --peer one\n", log)

    def test_the_benchmark_gets_devices_address_and_options(self):
        done = self.run_script(*self.built_tree(), "--devices", "b0", "--devices-a", "a0,a1",
                               "--address", "10.0.0.1", "--option", "gid_index=3", "me@one", "two")
        self.assertEqual(done.returncode, 0, done.stdout)
        log = pathlib.Path(re.search(r"output  (\S+)", done.stdout).group(1)).read_text()
        self.assertIn("--build build --peer me@one --peer-address 10.0.0.1 --devices b0 "
                      "--peer-devices a0,a1 --option=gid_index=3\n", log)
        for names in ("a0,a1", "b0"):
            self.assertIn(f"devices --json --gid_index=3 --device_names={names}", log)

    def test_what_fails_is_told_and_the_rest_goes_on(self):
        done = self.run_script(*self.built_tree(contract="echo not ok 3; exit 1",
                                                bench="exit 2"), "one", "two")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("not ok 3", done.stdout)
        self.assertRegex(done.stdout, r"(?m)^ok +nodes +two$")
        for what in ("contract on one", "contract on two", "benchmark on two"):
            self.assertIn(f"failed  {what}: ", done.stdout)

    def test_the_tree_is_copied(self):
        """With a build that fails, so that nothing more is done."""
        target = self.folder / "copy"
        self.program("bin/make", "#!/bin/sh\necho no compiler\nexit 1\n")
        self.program("bin/dpkg-query", "#!/bin/sh\nfor name; do echo installed; done\n")
        done = self.run_script("--folder", str(target), "here", "here")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertTrue((target / "bench" / "rdma").exists(), done.stdout)
        self.assertFalse((target / "build").exists())
        self.assertIn("no compiler", done.stdout)
        self.assertIn(f"as root there: {target}/tools/install-packages build hardware", done.stdout)


if __name__ == "__main__":
    unittest.main()
