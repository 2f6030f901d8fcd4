# SPDX-License-Identifier: Apache-2.0
"""What the tests of the wheel share: the wheel, the Pythons of this machine, environments."""
import functools
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = pathlib.Path(os.environ["WHEEL_DIR"])
TOOLS = FOLDER.with_name(FOLDER.name + "-work") / "tools" / "bin"
OLDEST = (3, 9)
# tools/make-wheel: the tools cannot be had from the package index.
OUT_OF_REACH = 75
LIMIT_S = 300


def clean_environment(**more):
    """Without this build's package and options, so that only what was installed is found."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("PEERCACHE", "PYTHON", "PIP_REQUIRE"))}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore", **more}


def run(*command, **environment):
    """(exit status, stdout and stderr together)."""
    done = subprocess.run([str(word) for word in command], text=True, timeout=LIMIT_S, cwd="/",
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=clean_environment(**environment))
    return done.returncode, done.stdout


def must_run(*command, **environment):
    status, output = run(*command, **environment)
    if status != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: exit status {status}\n{output}")
    return output


@functools.lru_cache(maxsize=None)
def wheel():
    """The wheel of this source tree, built now, or SkipTest."""
    status, output = run(ROOT / "tools" / "make-wheel", FOLDER)
    if status == OUT_OF_REACH:
        raise unittest.SkipTest("no tools to build the wheel: " + output.splitlines()[-1])
    if status != 0:
        raise AssertionError(output)
    found = list(FOLDER.glob("*.whl"))
    if len(found) != 1:
        raise AssertionError(f"one wheel is wanted in {FOLDER}: {found}")
    return found[0]


def version_of(python):
    """(3, minor), or None where it does not run or is no CPython with venv and pip in it."""
    question = ("import ensurepip, platform, sys, venv\n"
                "print(*sys.version_info[:2], platform.python_implementation())")
    try:
        status, output = run(python, "-c", question)
    except OSError:
        return None
    words = output.split()
    return (int(words[0]), int(words[1])) if status == 0 and words[2:] == ["CPython"] else None


def pythons():
    """{version: interpreter} for every Python of this machine that the wheel is for; of two of one
    version the one that runs the tests goes first."""
    folders = [pathlib.Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT") or pathlib.Path.home() / ".pyenv")
    folders += sorted((pyenv / "versions").glob("*/bin"))
    candidates = [pathlib.Path(sys.executable)]
    for folder in folders:
        if folder.name != "shims":  # of pyenv: they stand for one of its versions
            candidates += sorted(path for path in folder.glob("python3.*")
                                 if re.fullmatch(r"python3\.\d+", path.name))
    found = {}
    for candidate in candidates:
        version = version_of(candidate)
        if version is not None and version >= OLDEST:
            found.setdefault(version, candidate)
    return found


class Environment:
    """An empty virtual environment of this Python, gone with the test.  The pip of the tools fills
    it, which saves the seconds that a pip of its own takes."""

    def __init__(self, test):
        self.folder = pathlib.Path(test.enterContext(temporary_folder())) / "venv"
        self.python = self.folder / "bin" / "python3"
        self.create()

    def create(self):
        must_run(sys.executable, "-m", "venv", "--without-pip", self.folder)

    def program(self, name):
        return self.folder / "bin" / name

    def run(self, *arguments, **environment):
        return run(self.python, *arguments, **environment)

    def must_run(self, *arguments, **environment):
        return must_run(self.python, *arguments, **environment)

    def pip(self, *arguments):
        return must_run(TOOLS / "pip", "--python", self.python, *arguments)

    def install(self, *wheels):
        """Of files alone: a wheel that needs anything from elsewhere does not install."""
        return self.pip("install", "--quiet", "--no-index", *wheels)

    def site_packages(self):
        return pathlib.Path(self.must_run(
            "-c", "import sysconfig; print(sysconfig.get_path('platlib'))").strip())


class UserEnvironment(Environment):
    """As a user makes one, of any Python, with the pip that this Python brings."""

    def __init__(self, test, python=sys.executable):
        self.parent = python
        super().__init__(test)

    def create(self):
        must_run(self.parent, "-m", "venv", self.folder)

    def pip(self, *arguments):
        return self.must_run("-m", "pip", *arguments)


def temporary_folder():
    return tempfile.TemporaryDirectory(prefix="peercache-wheel-")


def make_wheel(folder, distribution, files):
    """A wheel of another project, with these {name: text}."""
    stem = f"{distribution.replace('-', '_')}-9.9"
    info = f"{stem}.dist-info"
    entries = {**files,
               f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 9.9\n",
               f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
                                "Tag: py3-none-any\n"}
    record = "".join(f"{name},,\n" for name in [*entries, f"{info}/RECORD"])
    path = pathlib.Path(folder) / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**entries, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)
    return path
