# SPDX-License-Identifier: Apache-2.0
"""Another distribution that has a package `peercache` is noticed, named, and can be got rid of."""
import pathlib
import shutil
import unittest

import wheels

THEIRS = "peercache"
FILES = {"peercache/__init__.py": "", "peercache/hashring.py": "",
         "peercache/store.py": "class PeerCacheStore: pass\n"}


class Namesake(unittest.TestCase):
    def setUp(self):
        self.ours = wheels.wheel()
        folder = self.enterContext(wheels.temporary_folder())
        self.theirs = wheels.make_wheel(folder, THEIRS, FILES)
        self.elsewhere = pathlib.Path(folder) / "elsewhere"
        self.environment = wheels.Environment(self)

    def check_mixed(self, *arguments):
        status, output = self.environment.run(*arguments)
        self.assertEqual(status, 1, output)
        self.assertIn("two distributions, peercache-kv and 'peercache', are installed", output)
        self.assertIn("Remove both (pip uninstall peercache-kv peercache), then install", output)

    def test_ours_over_theirs(self):
        self.environment.install(self.theirs)
        self.environment.install(self.ours)
        self.check_mixed("-c", "import peercache.store")
        self.check_mixed("-m", "peercache")

    def test_theirs_over_ours(self):
        """Then `import peercache` is theirs, and says nothing; what we can run does."""
        self.environment.install(self.ours)
        self.environment.install(self.theirs)
        self.check_mixed("-m", "peercache")

    def test_repair(self):
        self.environment.install(self.theirs)
        self.environment.install(self.ours)
        self.environment.pip("uninstall", "--yes", "peercache-kv", THEIRS)
        self.environment.install(self.ours)
        self.assertEqual(self.environment.must_run("-c", "import peercache.store"), "")

    def test_theirs_later_on_the_path(self):
        self.environment.install(self.ours)
        self.environment.install("--target", self.elsewhere, self.theirs)
        site = self.environment.site_packages()
        (site / "elsewhere.pth").write_text(f"{self.elsewhere}\n")
        output = self.environment.must_run("-c", "import peercache.store")
        self.assertIn(f"the distribution 'peercache' in {self.elsewhere} also has a package",
                      output)
        self.assertIn("pip uninstall peercache", output)

    def test_theirs_earlier_on_the_path(self):
        """Nothing of ours runs; the command of the manual shows it."""
        self.environment.install(self.ours)
        self.environment.install("--target", self.elsewhere, self.theirs)
        status, output = self.environment.run("-m", "peercache", PYTHONPATH=self.elsewhere)
        self.assertEqual(status, 1)
        self.assertIn("No module named peercache.__main__", output)

    def test_a_foreign_file_alone_is_no_namesake(self):
        """A module that an older release has left, or that nobody has registered."""
        self.environment.install(self.ours)
        site = self.environment.site_packages()
        (site / "peercache" / "older.py").touch()
        self.assertEqual(self.environment.must_run("-c", "import peercache.store"), "")

    def test_damaged_metadata_of_others(self):
        self.environment.install(self.theirs)
        self.environment.install(self.ours)
        site = self.environment.site_packages()
        next(site.glob("peercache-9.9.dist-info/METADATA")).unlink()
        self.assertEqual(self.environment.must_run("-c", "import peercache.store"), "")

    def test_a_tree_without_metadata(self):
        self.environment.install(self.ours)
        site = self.environment.site_packages()
        for name in ("peercache", "peercache_kv.libs"):
            shutil.copytree(site / name, self.elsewhere / name)
        output = self.environment.must_run("-c", "import peercache; print(peercache.__file__)",
                                           PYTHONPATH=self.elsewhere)
        self.assertEqual(output, f"{self.elsewhere}/peercache/__init__.py\n")

    def test_odd_search_path(self):
        self.environment.install(self.ours)
        self.assertEqual(self.environment.must_run("-c", (
            "import os, pathlib, sys, tempfile\n"
            "gone = tempfile.mkdtemp(); os.chdir(gone); os.rmdir(gone)\n"
            "sys.path += [None, b'/x', pathlib.Path('/'), gone, '.', '/dev/null']\n"
            "import peercache")), "")

    def test_is_cheap(self):
        self.environment.install(self.ours)
        best_ms = float(self.environment.must_run("-c", (
            "import timeit, peercache.namesake as namesake\n"
            "print(min(timeit.repeat(namesake.check, number=1, repeat=20)) * 1000)")))
        self.assertLess(best_ms, 2.0)


if __name__ == "__main__":
    unittest.main()
