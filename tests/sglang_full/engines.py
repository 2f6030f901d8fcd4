# SPDX-License-Identifier: Apache-2.0
"""What the tests with whole engines share: prompts, engines whose storage is watched, checks."""
import collections
import json
import pathlib
import random
import re
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "demo"), str(ROOT / "tests" / "system")]

import sglang_engine
import sglang_model
from waiting import knows_all, wait_for

PAGE = sglang_engine.PAGE_TOKENS
NEW_TOKENS = 6
# SGLang gives a thread 10 s at a flush; the deadlines of the adapter's options stay far below.
CALL_LIMIT_S = 5.0
# A request waits for storage calls, each bounded; this is no measure of speed.
REQUEST_LIMIT_S = 40.0
ALL_PROMPTS_LIMIT_S = 180.0


def prompts(seed, lengths):
    draw = random.Random(seed)
    return [[draw.randrange(2, sglang_model.WORDS) for _ in range(n)] for n in lengths]


def full_prefix_tokens(prompt):
    """What can come from a cache: full pages, but not the last token, which must be computed."""
    return (len(prompt) - 1) // PAGE * PAGE


def full_pages(prompt):
    """What a set stores: the prompt's pages and those of the answer but for its last token."""
    return (len(prompt) + NEW_TOKENS - 1) // PAGE


class Watched:
    """An engine over RecordingStore, and what it has recorded."""

    def __init__(self, folder, name, model, extra, layout="page_first"):
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir()
        self.fault = ""
        self.extra = {**extra, "module_path": "recording_store", "class_name": "RecordingStore",
                      "watch_file": str(self.folder / "calls"), "log_level": "warning"}
        self.engine = sglang_engine.Engine(
            [sys.executable], model, self.folder / "log",
            sglang_engine.cache_arguments(self.extra, layout), [HERE, ROOT / "demo"])

    def use(self, protocol):
        """Opens the node anew where it speaks another protocol."""
        if self.extra.get("protocol") != protocol:
            self.extra["protocol"] = protocol
            self.engine.change_storage(self.extra)

    def calls(self, *names):
        """The storage calls so far, of these names or of all."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [call for call in map(json.loads, lines) if not names or call["call"] in names]

    def state(self):
        """Of a moment after this call."""
        path = self.folder / "state"
        for _ in range(2):
            old = path.stat().st_mtime_ns if path.exists() else 0
            wait_for(lambda: path.exists() and path.stat().st_mtime_ns != old, "a fresh state")
        return json.loads(path.read_text())

    def threads(self):
        """The living threads of the scheduler's process: their functions, else their names."""
        return collections.Counter(re.sub(r"^Thread-\d+ \((.*)\)$", r"\1", name)
                                   for name in self.state()["threads"])

    def read_pages(self):
        """How many pages the adapter has read which way, for the life of this backend."""
        ways = self.state()["counters"].get("get", {}).get("via", {})
        return collections.Counter({way: n for way, n in ways.items() if way != "none"})

    def stored_pages(self):
        return sum(call["good"] for call in self.calls("batch_set_v1"))

    def set_fault(self, fault):
        self.fault = fault
        (self.folder / "fault").write_text(fault)

    def compute(self, prompts):
        """Generates, and returns when all full pages of prompts and answers are in storage."""
        before = self.stored_pages()
        answers = self.engine.generate(prompts, NEW_TOKENS, REQUEST_LIMIT_S * len(prompts))
        wanted = before + sum(map(full_pages, prompts))
        wait_for(lambda: self.stored_pages() >= wanted, f"{wanted} pages to be stored")
        return answers


def meet(*watched):
    """Waits until the engines' nodes, and the one that serves discovery, know each other: before
    that the others do not ask a node for its pages."""
    count = len(watched) + 1
    wait_for(lambda: all(knows_all(one.state()["status"], count) for one in watched),
             f"{count} nodes to know each other")


class Reference:
    """What an engine without any cache says, for all prompts of a file of tests: one start of an
    engine costs more than all the prompts together."""

    def __init__(self, folder, model, prompts):
        self.prompts, self.said = prompts, {}
        self.engine = sglang_engine.Engine([sys.executable], model, pathlib.Path(folder) / "log",
                                           {"disable_radix_cache": True})

    def tokens(self, prompt):
        if not self.said:
            answers = self.engine.ready().generate(self.prompts, NEW_TOKENS, ALL_PROMPTS_LIMIT_S)
            self.said = {tuple(prompt): answer["tokens"]
                         for prompt, answer in zip(self.prompts, answers)}
            self.engine.kill()
        return self.said[tuple(prompt)]


class EngineCase(unittest.TestCase):
    """Tests with engines that a class shares, because each costs seconds to start."""

    reference = None  # set by the file's setUpModule

    def assert_tokens(self, prompts, answers):
        for prompt, answer in zip(prompts, answers):
            self.assertEqual(answer["tokens"], self.reference.tokens(prompt))

    def assert_all_from_storage(self, prompts, answers):
        self.assertEqual([answer["cached"].get("storage", 0) for answer in answers],
                         [full_prefix_tokens(prompt) for prompt in prompts])

    def assert_shared(self, reader, prompts):
        """The reader has not seen these prompts; other engines have stored all their pages."""
        answers = reader.engine.generate(prompts, NEW_TOKENS, REQUEST_LIMIT_S * len(prompts))
        self.assert_tokens(prompts, answers)
        self.assert_all_from_storage(prompts, answers)
