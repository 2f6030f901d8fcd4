# SPDX-License-Identifier: Apache-2.0
"""tools/sglang-environment with a pretended Python whose pip writes down what it is asked for."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
RELEASE = "0.5.23"

# It is its own environment's Python too.  $TROUBLE says what is wrong with the world.
PYTHON = r"""#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
"-c import sys; print(sys.version)") echo "3.11 pretended" ;;
"-m venv "*)
    mkdir -p "$3/bin" "$3/lib/python3.11/site-packages" && cp "$0" "$3/bin/python" ;;
*importlib.metadata*) printf '%s\n' "fastapi" "nvidia-cutlass-dsl[cu13]==4.8.0" "torch==2.14.1" \
    "sglang-kernel==0.4.10" "mistral_common>=1.11.5" "ray; extra == 'ray'" ;;
*--report*)
    case "$TROUBLE" in cuda) more=',{"metadata":{"name":"nvidia-cublas","version":"13"}}' ;; esac
    while [ "$1" != --report ]; do shift; done
    echo '{"install":[{"metadata":{"name":"wanted","version":"1"}}'"$more"']}' >"$2" ;;
*"install wanted"* | *"install --no-deps wanted"*)
    case "$TROUBLE" in broken) echo "no space left" >&2; exit 1 ;; esac
    echo "Downloading wanted-1-py3-none-any.whl (12.5 MB)" ;;
*"--dry-run --no-deps sglang"*)
    case "$TROUBLE" in
    unreachable) echo "NewConnectionError: refused" >&2
        echo "ERROR: No matching distribution found" >&2; exit 1 ;;
    esac ;;
esac
"""


class SglangEnvironment(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.root / "tools").mkdir()
        for name in ("sglang-environment", "find-python"):
            shutil.copy(TOOLS / name, self.root / "tools")
        self.python = self.root / "python"
        self.python.write_text(PYTHON)
        self.python.chmod(0o755)
        self.folder = self.root / "build" / "sglang"

    def run_tool(self, *arguments, trouble=""):
        environment = {**os.environ, "PEERCACHE_PYTHON": str(self.python), "TROUBLE": trouble,
                       "CALLS": str(self.root / "calls")}
        return subprocess.run([self.root / "tools" / "sglang-environment", *arguments], text=True,
                              env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def calls(self, word):
        lines = (self.root / "calls").read_text().splitlines()
        (self.root / "calls").unlink()
        return [line for line in lines if word in line]

    def build(self, trouble="", status=0):
        done = self.run_tool("build", RELEASE, trouble=trouble)
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    def test_says_how_much_before_and_builds_only_once(self):
        self.assertRegex(self.build(), r"^SGLang 0.5.23 for the CPU: loads about [\d,]+ MB, takes ")
        self.assertTrue(self.calls("pip"))
        self.assertEqual(self.build(), "")
        self.assertEqual(self.calls("pip"), [])
        path = self.run_tool("path", RELEASE)
        self.assertEqual((path.returncode, path.stdout.strip()), (0, str(self.folder / RELEASE)))
        stamp = json.loads((self.folder / RELEASE / "stamp.json").read_text())
        self.assertGreaterEqual(stamp["loaded_mb"], 12)

    def test_leaves_nothing_in_caches_and_nothing_to_compile(self):
        self.build()
        said = (self.root / "calls").read_text()
        pips = self.calls("-m pip ")
        self.assertTrue(pips and all("--no-cache-dir" in line for line in pips))
        self.assertIn("native_hash._load_native_hash_module()", said)

    def test_half_built_is_built_again(self):
        self.build()
        leftover = self.folder / RELEASE / "leftover"
        leftover.touch()
        (self.folder / RELEASE / "stamp.json").unlink()
        self.assertEqual(self.run_tool("path", RELEASE).returncode, 77)
        self.build()
        self.assertFalse(leftover.exists())

    def test_another_recipe_is_built_again(self):
        self.build()
        stamp = self.folder / RELEASE / "stamp.json"
        stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "recipe": "old"}))
        self.calls("")
        self.build()
        self.assertTrue(self.calls("pip"))

    def test_what_is_for_cuda_or_not_needed_is_not_asked_for(self):
        self.build()
        (asked,) = self.calls("fastapi")
        for name in ("nvidia", "sglang-kernel", "mistral", "ray", "torch==2.14.1"):
            self.assertNotIn(name, asked)

    def test_cuda_builds_are_refused_before_anything_is_loaded(self):
        said = self.build(trouble="cuda", status=77)
        self.assertIn("SKIP: pip would install CUDA builds of several GB (nvidia-cublas", said)
        self.assertIn("PIP_EXTRA_INDEX_URL", said)
        self.assertEqual(self.calls("install --no-deps wanted"), [])

    def test_index_out_of_reach_is_a_skip_that_is_remembered(self):
        self.assertIn("SKIP: the package index is out of reach",
                      self.build(trouble="unreachable", status=77))
        ran = self.run_tool("run", RELEASE, "program.py")
        self.assertEqual(ran.returncode, 77)
        self.assertIn("SKIP: no SGLang 0.5.23 here; make test SGLANG=1 builds it", ran.stdout)
        self.assertIn("the last try: the package index is out of reach", ran.stdout)
        self.build()
        self.assertEqual(self.run_tool("path", RELEASE).returncode, 0)

    def test_failed_build_is_a_failure(self):
        self.assertIn("no space left", self.build(trouble="broken", status=1))
        self.assertEqual(self.run_tool("path", RELEASE).returncode, 77)

    def test_runs_inside(self):
        self.build()
        self.calls("")
        self.assertEqual(self.run_tool("run", RELEASE, "program.py", "word").returncode, 0)
        self.assertEqual(self.calls("program"), ["program.py word"])

    def test_unknown_release(self):
        for command in (["build", "9.9"], ["path", "9.9"], ["run", "9.9", "x"], []):
            self.assertEqual(self.run_tool(*command).returncode, 1)


if __name__ == "__main__":
    unittest.main()
