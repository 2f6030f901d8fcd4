# SPDX-License-Identifier: Apache-2.0
"""What the demo replays: a trace, or a generated chat load of the same shape.

The generated load follows the conversation trace of Mooncake (Qin et al., FAST '25, an hour of chat
requests to a production service).  Measured on its 12,031 requests, with blocks of 512 tokens:

    blocks in all                  288,500, of them 182,790 different
    share of blocks seen before    36.6 %: what a prefix cache without a limit hits
    prompt of a request            mean 24.0 blocks, median 14, longest 247
    a conversation's first prompt  mean 21.5 blocks, median 11; its first block is the same in all
    a later turn adds              mean 6.8 blocks, median 2
    turns a conversation           mean 1.63; 31 % have a second turn, 42 % of those a third,
                                   51 % a fourth, about 60 % each one more
    output of a request            mean 343 tokens, two thirds of a block

Turns were told from the trace as requests that repeat more than the common first block of an
earlier one.  Blocks are numbers; equal numbers mean equal pages, as the trace's hash_ids do.
"""
import dataclasses
import itertools
import json
import math
import random

LONGEST_PROMPT = 247
CONTINUES = (0.31, 0.42, 0.51)
CONTINUES_LATER = 0.60

# Lengths are log-normal: (median, mean) in blocks.  Conversations that go on start shorter.
FIRST_PROMPT_SINGLE = (12.0, 24.0)
FIRST_PROMPT_MANY = (8.5, 14.0)
LATER_TURN = (2.0, 6.8)
OUTPUT_BLOCK_SHARE = 343 / 512

# Conversations that are under way at a time, so that the turns of one are not neighbours.
CONCURRENT = 64


@dataclasses.dataclass
class Request:
    """A prompt, and the blocks that the answer adds, which the next turn's prompt repeats."""
    prompt: list
    answer: list


def from_trace(path):
    """Requests of a Mooncake trace in the order of their timestamps.  ValueError names the line."""
    rows = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                rows.append(_trace_row(path, number, line))
    if not rows:
        raise ValueError(f"{path} has no requests")
    rows.sort(key=lambda row: row[0])
    return [Request(prompt, []) for _, prompt in rows]


def _trace_row(path, number, line):
    try:
        row = json.loads(line)
        prompt = [int(block) for block in row["hash_ids"]]
        return float(row["timestamp"]), prompt
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}, line {number}: not a request of a Mooncake trace "
                         f"(timestamp, input_length, output_length, hash_ids): {error!r}") from None


def generate(request_count, seed):
    """@request_count requests; the same seed gives the same ones."""
    rng = random.Random(seed)
    fresh = itertools.count(1)
    waiting, requests = [], []
    while len(requests) < request_count:
        while len(waiting) < CONCURRENT:
            waiting.append(_conversation(rng, fresh))
        conversation = rng.choice(waiting)
        request = next(conversation, None)
        if request is None:
            waiting.remove(conversation)
        else:
            requests.append(request)
    return requests


def _conversation(rng, fresh):
    """Yields the turns of one conversation.  Block 0 is the system prompt that all share."""
    turns = 1
    while rng.random() < (CONTINUES[turns - 1] if turns <= len(CONTINUES) else CONTINUES_LATER):
        turns += 1
    length = _length(rng, *(FIRST_PROMPT_MANY if turns > 1 else FIRST_PROMPT_SINGLE))
    history = [0]
    for _ in range(turns):
        prompt = history + list(itertools.islice(fresh, length))
        if len(prompt) > LONGEST_PROMPT:
            return
        answer = [next(fresh)] if rng.random() < OUTPUT_BLOCK_SHARE else []
        yield Request(prompt, answer)
        history = prompt + answer
        length = _length(rng, *LATER_TURN)


def _length(rng, median, mean):
    sigma = math.sqrt(2 * math.log(mean / median))
    return max(1, min(LONGEST_PROMPT - 1, round(rng.lognormvariate(math.log(median), sigma))))
