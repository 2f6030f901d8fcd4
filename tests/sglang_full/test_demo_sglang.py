# SPDX-License-Identifier: Apache-2.0
"""The demo with engines: that it passes, and that it adds up."""
import os
import pathlib
import re
import subprocess
import sys
import types
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "demo"))

import sglang_chats

BUILD = pathlib.Path(os.environ["PEERCACHED"]).parents[1]
LIMIT_S = 300


class Accounting(unittest.TestCase):
    def test_only_whole_leading_pages_count_and_never_the_last_token(self):
        talk = list(range(2, 2 + 64))
        pages = set(sglang_chats.prefixes(talk))
        self.assertEqual(len(pages), 4)
        self.assertEqual(sglang_chats.known_tokens(talk, pages), 48)
        self.assertEqual(sglang_chats.known_tokens([*talk, 1], pages), 64)
        self.assertEqual(sglang_chats.known_tokens([1, *talk[1:]], pages), 0)
        pages.discard(sglang_chats.prefixes(talk)[1])
        self.assertEqual(sglang_chats.known_tokens([*talk, 1], pages), 16)

    def test_each_turn_of_a_chat_goes_to_the_next_engine(self):
        two = [types.SimpleNamespace(name=name) for name in "AB"]
        plan = sglang_chats.Chats(two, 3, 2).plan
        self.assertEqual([turn.engine for turn in plan], [0, 1, 0, 1, 0, 1])


class Running(unittest.TestCase):
    def test_it_passes(self):
        done = subprocess.run([ROOT / "tools" / "demo-sglang", "--build", BUILD, "--chats", "2",
                               "--turns", "2", "--protocol", "tcp"], text=True, timeout=LIMIT_S,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"from A by TCP\n")
        prompt, computed, own, stored = (int(number.replace(",", "")) for number in re.search(
            r"([\d,]+) tokens in 4 prompts: ([\d,]+) computed, ([\d,]+) from the engine's own "
            r"cache, ([\d,]+) from another", done.stdout).groups())
        self.assertEqual(prompt, computed + own + stored)
        self.assertGreater(stored, 0)


if __name__ == "__main__":
    unittest.main()
