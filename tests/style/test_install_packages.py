# SPDX-License-Identifier: Apache-2.0
"""tools/install-packages against a pretended Debian whose commands write down their calls."""
import os
import pathlib
import subprocess
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "install-packages"
REAL = ("sh", "awk", "sed", "echo", "printf", "head", "env", "cat", "grep")

# A package is there when a file of its name is in $INSTALLED.
DPKG_QUERY = """
shift 3
status=0
for package in "$@"; do
    if [ -e "$INSTALLED/$package" ]; then echo installed; else status=1; fi
done
exit $status
"""
APT_CACHE = 'echo "  Depends: clang-14"'
APT_GET = """
echo "apt-get $*" >>"$CALLS"
[ "$1" = install ] || exit 0
shift
for word in "$@"; do case $word in -*) ;; *) : >"$INSTALLED/$word" ;; esac; done
"""
SUDO = 'echo sudo >>"$CALLS"\nexec "$@"'


class InstallPackages(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.bin, self.installed = self.folder / "bin", self.folder / "installed"
        self.calls_file = self.folder / "calls"
        self.bin.mkdir()
        self.installed.mkdir()
        for name in REAL:
            (self.bin / name).symlink_to(f"/usr/bin/{name}")
        self.command("dpkg-query", DPKG_QUERY)
        self.command("apt-cache", APT_CACHE)
        self.command("apt-get", APT_GET)
        self.command("id", "echo 0")

    def command(self, name, text):
        path = self.bin / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)

    def run_tool(self, *arguments):
        environment = {"PATH": str(self.bin), "CALLS": str(self.calls_file),
                       "INSTALLED": str(self.installed)}
        return subprocess.run(["/bin/sh", TOOL, *arguments], text=True, env=environment,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def calls(self):
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []

    def test_installs_what_is_missing_and_then_nothing(self):
        (self.installed / "gcc").touch()
        first = self.run_tool("build", "test")
        self.assertEqual(first.returncode, 0, first.stdout)
        update, install = self.calls()
        self.assertTrue(update.startswith("apt-get update"))
        words = install.split()
        self.assertIn("meson", words)
        self.assertIn("libclang-rt-14-dev", words)
        self.assertNotIn("gcc", words)
        self.assertNotIn("iperf3", words)
        self.assertRegex(first.stdout, r"libcmocka-dev +unit tests")
        second = self.run_tool("build", "test")
        self.assertEqual((second.returncode, second.stdout), (0, ""))
        self.assertEqual(len(self.calls()), 2)

    def test_without_root_and_sudo_it_says_what_to_do(self):
        self.command("id", "echo 1000")
        outcome = self.run_tool("bench")
        self.assertEqual(outcome.returncode, 1)
        self.assertIn("as root run: apt-get install iperf3", outcome.stdout)
        self.assertEqual(self.calls(), [])

    def test_uses_sudo_when_not_root(self):
        self.command("id", "echo 1000")
        self.command("sudo", SUDO)
        self.assertEqual(self.run_tool("bench").returncode, 0)
        self.assertEqual(self.calls()[0], "sudo")
        self.assertTrue((self.installed / "iperf3").exists())

    def test_another_system_is_told_the_names(self):
        (self.bin / "dpkg-query").unlink()
        outcome = self.run_tool("bench")
        self.assertEqual(outcome.returncode, 0)
        self.assertIn("iperf3", outcome.stdout)

    def test_failed_update_is_an_error(self):
        self.command("apt-get", "exit 100")
        outcome = self.run_tool("bench")
        self.assertEqual(outcome.returncode, 1)
        self.assertIn("apt-get update failed", outcome.stdout)

    def test_unknown_group(self):
        self.assertEqual(self.run_tool("everything").returncode, 1)


if __name__ == "__main__":
    unittest.main()
