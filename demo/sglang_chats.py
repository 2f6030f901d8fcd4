# SPDX-License-Identifier: Apache-2.0
"""Chats that share a system prompt, served by engines in turn, and where their tokens came from.

Each turn of a chat goes to the next engine, as a load balancer without memory would send it.
Tokens are counted in pages: what one engine has computed the others must find, page by page.
"""
import collections
import dataclasses
import itertools
import json
import pathlib
import random
import time

import sglang_engine
import sglang_model

PAGE = sglang_engine.PAGE_TOKENS
SYSTEM_TOKENS = 640
QUESTION_TOKENS = (40, 160)
ANSWER_TOKENS = 24
SEED = 1
# Backup goes on after the answer; people take longer to type the next question.
STORED_LIMIT_S = 30.0

Turn = collections.namedtuple("Turn", "chat number engine")


@dataclasses.dataclass
class Served:
    """One request: where the tokens of its prompt came from.  @best could have come from caches at
    best, @alone if each engine had only its own."""
    turn: Turn
    prompt: int
    own: int
    ways: dict
    best: int
    alone: int

    @property
    def stored(self):
        return PAGE * sum(self.ways.values())

    @property
    def computed(self):
        return self.prompt - self.own - self.stored


def prefixes(tokens):
    """Each full page by what decides its bytes: all tokens up to its end."""
    return [hash(tuple(tokens[:end])) for end in range(PAGE, len(tokens) + 1, PAGE)]


def known_tokens(prompt, pages):
    """The tokens of the leading pages that are among @pages; the last token is computed anyway."""
    run = list(itertools.takewhile(pages.__contains__, prefixes(prompt[:-1])))
    return PAGE * len(run)


class WatchedEngine:
    """An engine, and what its store (sglang_watch) has written down."""

    def __init__(self, name, engine, watch_file):
        self.name, self.engine = name, engine
        self.watch_file = pathlib.Path(watch_file)

    def lines(self):
        if not self.watch_file.exists():
            return []
        return [json.loads(line) for line in self.watch_file.read_text().splitlines()]

    def ways(self):
        """{way: pages} of all reads so far."""
        total = collections.Counter()
        for line in self.lines():
            total.update(line.get("read", {}))
        total.pop("none", None)
        return total

    def stored(self):
        """The keys of all pages that it has stored."""
        return {key for line in self.lines() for key in line.get("stored", ())}


class Chats:
    """Serves all turns; serve() yields a Served each."""

    def __init__(self, engines, chats, turns):
        self.engines, self.draw = engines, random.Random(SEED)
        system = self.tokens(SYSTEM_TOKENS)
        self.talk = [list(system) for _ in range(chats)]
        self.plan = [Turn(chat, number, (chat + number) % len(engines))
                     for number in range(turns) for chat in range(chats)]
        self.pages = [set() for _ in engines]

    def tokens(self, count):
        return [self.draw.randrange(2, sglang_model.WORDS) for _ in range(count)]

    def serve(self):
        for turn in self.plan:
            self.talk[turn.chat] += self.tokens(self.draw.randint(*QUESTION_TOKENS))
            yield self.answer(turn, self.talk[turn.chat])
            self.wait_until_stored()

    def answer(self, turn, talk):
        """Asks the engine, and adds its answer to the talk."""
        watched, prompt = self.engines[turn.engine], list(talk)
        before = watched.ways()
        (answer,) = watched.engine.generate([prompt], ANSWER_TOKENS)
        own = sum(answer["cached"].get(place, 0) for place in ("device", "host"))
        served = Served(turn, len(prompt), own, dict(watched.ways() - before),
                        known_tokens(prompt, set().union(*self.pages)),
                        known_tokens(prompt, self.pages[turn.engine]))
        talk += answer["tokens"]
        # The last token of an answer was said but never read, so it has no page yet.
        self.pages[turn.engine].update(prefixes(talk[:-1]))
        return served

    def wait_until_stored(self):
        end = time.monotonic() + STORED_LIMIT_S
        wanted = len(set().union(*self.pages))
        while len(set().union(*(watched.stored() for watched in self.engines))) < wanted:
            if time.monotonic() > end:
                raise sglang_engine.EngineError("the engines did not store all their pages")
            time.sleep(0.02)
