# SPDX-License-Identifier: Apache-2.0
"""Each named protection has its proofs in the table beside this file; the simulator gives its."""
import os
import pathlib
import subprocess
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SIM = os.environ.get("SIM", "sim")
# The last to be found needs about 500; the seeds up to here are part of the proof.
SEEDS_AT_MOST = 1500


def read_table():
    rows = [line.split() for line in (HERE / "protections").read_text().splitlines()
            if line and not line.startswith("#")]
    return {row[0]: row[1:] for row in rows}


def run_sim(*arguments):
    return subprocess.run([SIM, *arguments], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=300)


class Protections(unittest.TestCase):
    def test_table_has_each_protection_and_no_other(self):
        listed = run_sim("--list-protections").stdout.split()
        self.assertEqual(sorted(listed), sorted(read_table()))

    def test_each_has_a_proof_that_exists(self):
        models = (ROOT / "tests/model/run-models").read_text()
        for name, proofs in read_table().items():
            self.assertTrue(proofs, f"{name} has no proof")
            for proof in proofs:
                kind, _, path = proof.partition(":")
                with self.subTest(protection=name, proof=proof):
                    self.assertIn(kind, ("sim", "model", "unit"))
                    if kind == "model":
                        self.assertIn(name, models)
                    if kind == "unit":
                        self.assertIn(f'protection_disable("{name}")', (ROOT / path).read_text())

    def test_no_violation_is_not_called_one(self):
        outcome = run_sim("--seeds", "5", "--expect-violation")
        self.assertEqual(outcome.returncode, 1, outcome.stdout)

    def test_unknown_name_is_refused(self):
        self.assertEqual(run_sim("--without", "nonsense").returncode, 2)


def add_simulated(name):
    def test(self):
        outcome = run_sim("--without", name, "--seeds", str(SEEDS_AT_MOST), "--expect-violation")
        self.assertEqual(outcome.returncode, 0, outcome.stdout)
        self.assertIn("invariant", outcome.stdout)

    test.__doc__ = f"Without {name} an invariant is violated."
    setattr(Protections, f"test_without_{name}", test)


for protection, its_proofs in read_table().items():
    if "sim" in its_proofs:
        add_simulated(protection)

if __name__ == "__main__":
    unittest.main()
