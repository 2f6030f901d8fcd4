# SPDX-License-Identifier: Apache-2.0
"""A load of conversations: each turn asks for the pages of all that was said so far, takes those that
are there up to the first that is not, and stores the rest and what is new, as an engine does.

Each application has a thread.  A conversation is continued by whoever is free, so its pages lie on
all hosts.  Everything that was called is kept, with the time and what came of it.
"""
import queue
import threading
import time

FIRST_PAGES, MORE_PAGES, MOST_PAGES = 8, 4, 48
TIMEOUT_MS = 2000


class Conversation:
    def __init__(self, number):
        self.number, self.life, self.length = number, 0, FIRST_PAGES

    def name(self):
        return f"chat{self.number}.{self.life}"

    def grow(self):
        self.length += MORE_PAGES
        if self.length > MOST_PAGES:
            self.life, self.length = self.life + 1, FIRST_PAGES


class Turn:
    def __init__(self, at, old, hit, calls):
        self.at, self.old, self.hit, self.calls = at, old, hit, calls


def leading(outcomes, good):
    count = 0
    while count < len(outcomes) and outcomes[count] == good:
        count += 1
    return count


class Chat:
    """start(), replace() callers while it runs, stop(); then .turns and .failures."""

    def __init__(self, callers, conversations, page_bytes):
        self.callers, self.page_bytes = list(callers), page_bytes
        self.locks = [threading.Lock() for _ in self.callers]
        self.waiting = queue.Queue()
        for number in range(conversations):
            self.waiting.put(Conversation(number))
        self.turns, self.failures = [], []
        self.is_over = False
        self.threads = [threading.Thread(target=self.run, args=(place,))
                        for place in range(len(self.callers))]

    def start(self):
        self.started = time.monotonic()
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.is_over = True
        for thread in self.threads:
            thread.join()

    def replace(self, place, make):
        """@make gets the caller, which is in no call then, and returns the one that goes on."""
        with self.locks[place]:
            self.callers[place] = make(self.callers[place])

    def run(self, place):
        while not self.is_over:
            conversation = self.waiting.get()
            try:
                with self.locks[place]:
                    self.turns.append(self.take_turn(self.callers[place], conversation))
            except Exception as error:  # what an engine's storage thread must never see
                self.failures.append(error)
            conversation.grow()
            self.waiting.put(conversation)

    def take_turn(self, caller, conversation):
        at, calls = time.monotonic() - self.started, []

        def call(kind, first, n):
            called = caller.call(kind, conversation.name(), first, n, self.page_bytes, TIMEOUT_MS)
            calls.append(called)
            return called.outcomes

        length, hit = conversation.length, 0
        old = length - MORE_PAGES if length > FIRST_PAGES else 0
        found = leading(call("exists", 0, old), "FOUND") if old else 0
        if found:
            hit = leading(call("get", 0, found), "HIT")
        call("set", hit, length - hit)
        return Turn(at, old, hit, calls)

    def hit_rate(self, since_s=0, until_s=float("inf")):
        """Of the pages that an earlier turn has stored, those that this one got."""
        turns = [turn for turn in self.turns if since_s <= turn.at < until_s]
        old = sum(turn.old for turn in turns)
        return sum(turn.hit for turn in turns) / old if old else 1.0
