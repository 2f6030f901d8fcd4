# SPDX-License-Identifier: Apache-2.0
"""The wheel: what is in it, and that it works in empty environments of every Python here."""
import email
import pathlib
import re
import subprocess
import unittest
import zipfile

import wheels

ROUND_TRIP = pathlib.Path(__file__).resolve().with_name("wheel_round_trip.py")
PROGRAMS = ("peercached", "peercache")
# Opened only where RDMA is wanted; it needs the machine's libibverbs.
RDMA_MODULE = "peercache_rdma.so"
# Parts of glibc, which the tag speaks for.
OF_GLIBC = re.compile(r"(libc|libm|libpthread|librt|libdl)\.so\.\d+|ld-linux.*")
TAG = re.compile(r"peercache_kv-([0-9.]+)-(cp39-abi3-manylinux_2_(\d+)_[a-z0-9_]+)\.whl")


class Content(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.wheel = wheels.wheel()
        cls.folder = pathlib.Path(cls.enterClassContext(wheels.temporary_folder()))
        with zipfile.ZipFile(cls.wheel) as archive:
            archive.extractall(cls.folder)
        cls.files = [path for path in cls.folder.rglob("*") if path.is_file()]
        cls.binaries = [path for path in cls.files if path.read_bytes()[:4] == b"\x7fELF"]

    def info(self, name):
        return email.message_from_string(next(self.folder.glob(f"*.dist-info/{name}")).read_text())

    def readelf(self, option, path):
        return wheels.must_run("readelf", "--wide", option, path)

    def test_name_and_tag(self):
        match = TAG.fullmatch(self.wheel.name)
        self.assertTrue(match, self.wheel.name)
        self.assertEqual(self.info("WHEEL").get_all("Tag"), [match.group(2)])
        metadata = self.info("METADATA")
        self.assertEqual((metadata["Name"], metadata["Version"]), ("peercache-kv", match.group(1)))
        self.assertEqual(metadata["Requires-Python"], ">=3.9")
        self.assertIsNone(metadata.get_all("Requires-Dist"))

    def test_tag_names_the_glibc_that_is_needed(self):
        tagged = int(TAG.fullmatch(self.wheel.name).group(3))
        needed = [int(minor) for path in self.binaries
                  for minor in re.findall(r"GLIBC_2\.(\d+)", self.readelf("--version-info", path))]
        self.assertEqual(max(needed), tagged)

    def test_every_module_is_there(self):
        source = wheels.ROOT / "python" / "peercache"
        wanted = {path.name for path in source.glob("*.py")} | {"_files.py", "_native.abi3.so",
                                                                RDMA_MODULE}
        package = self.folder / "peercache"
        self.assertEqual({path.name for path in package.iterdir() if path.is_file()}, wanted)

    def test_programs_and_licences(self):
        names = {path.relative_to(self.folder).as_posix() for path in self.files}
        for program in PROGRAMS:
            self.assertTrue(any(name.endswith(f".data/scripts/{program}") for name in names), names)
        for library in ("libjansson4", "libxxhash0"):
            self.assertIn(f"peercache/licenses/{library}.txt", names)
        self.assertTrue(any(name.endswith("licenses/LICENSE") for name in names), names)

    def test_needs_nothing_but_glibc(self):
        inside = {path.name for path in self.binaries}
        self.assertGreaterEqual(len(self.binaries), 3)
        for path in self.binaries:
            for library in re.findall(r"\(NEEDED\).*\[(.*)\]", self.readelf("--dynamic", path)):
                is_rdma = path.name == RDMA_MODULE and library == "libibverbs.so.1"
                self.assertTrue(library in inside or OF_GLIBC.fullmatch(library) or is_rdma,
                                f"{path.name} needs {library}")

    def test_no_path_of_the_build(self):
        for path in self.binaries:
            for runpath in re.findall(r"\(R(?:UN)?PATH\).*\[(.*)\]", self.readelf("-d", path)):
                self.assertRegex(runpath, r"^\$ORIGIN(/[^:]*)?$", path.name)
        for path in self.files:
            self.assertNotIn(str(wheels.ROOT).encode(), path.read_bytes(), path.name)

    def test_module_shows_nothing_of_the_library(self):
        module = self.folder / "peercache" / "_native.abi3.so"
        symbols = wheels.must_run("nm", "-D", "--defined-only", module).split("\n")
        self.assertEqual([line.split()[-1] for line in symbols if line], ["PyInit__native"])


class Installed(unittest.TestCase):
    def check_python(self, python):
        environment = wheels.UserEnvironment(self, python)
        environment.install(wheels.wheel())
        self.assertRegex(environment.must_run("-m", "peercache"), r"\APeerCache [0-9.]+ in /")
        # No word of warning in an ordinary environment.
        self.assertEqual(environment.must_run("-c", "import peercache"), "")
        self.assertIn("the same bytes", environment.must_run(ROUND_TRIP))

    def test_programs(self):
        environment = wheels.Environment(self)
        environment.install(wheels.wheel())
        for program in PROGRAMS:
            self.assertIn("0.", wheels.must_run(environment.program(program), "--version"))
        output = environment.must_run(ROUND_TRIP, environment.program("peercache"), "status")
        self.assertIn("alive", output)


def add_pythons():
    """One test for each Python of this machine."""
    for (major, minor), python in sorted(wheels.pythons().items()):
        def test(self, python=python):
            self.check_python(python)
        setattr(Installed, f"test_python_{major}_{minor}", test)


class FromSource(unittest.TestCase):
    """pip install ., as someone does who has the sources only."""

    def setUp(self):
        wheels.wheel()  # skips where the index is out of reach

    def test_pip_install(self):
        environment = wheels.UserEnvironment(self)
        status, output = environment.run("-m", "pip", "install", "--quiet", wheels.ROOT)
        if "No matching distribution found for meson-python" in output:
            self.skipTest("meson-python cannot be had from the package index")
        self.assertEqual(status, 0, output)
        self.assertIn("the same bytes", environment.must_run(ROUND_TRIP))
        wheels.must_run(environment.program("peercached"), "--version")

    def test_says_what_is_missing(self):
        folder = self.enterContext(wheels.temporary_folder())
        status, output = wheels.run(
            wheels.TOOLS / "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation",
            "--wheel-dir", folder, wheels.ROOT, PKG_CONFIG_LIBDIR=folder,
            PATH=f"{wheels.TOOLS}:/usr/bin:/bin")
        self.assertNotEqual(status, 0)
        self.assertIn("apt-get install pkg-config libxxhash-dev libjansson-dev", output)


class WithoutAnIndex(unittest.TestCase):
    def test_says_so(self):
        """The status that makes the other tests of this file skip."""
        folder = pathlib.Path(self.enterContext(wheels.temporary_folder()))
        done = subprocess.run(
            [wheels.ROOT / "tools" / "make-wheel", folder / "wheel"], text=True,
            capture_output=True, timeout=wheels.LIMIT_S, env=wheels.clean_environment(
                PIP_CONFIG_FILE="/dev/null", PIP_INDEX_URL="http://127.0.0.1:9/simple",
                PIP_EXTRA_INDEX_URL="", PIP_FIND_LINKS=""))
        self.assertEqual(done.returncode, wheels.OUT_OF_REACH, done.stderr)
        self.assertIn("out of reach?", done.stderr.splitlines()[-1])


add_pythons()

if __name__ == "__main__":
    unittest.main()
