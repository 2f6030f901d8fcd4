# SPDX-License-Identifier: Apache-2.0
"""The progress bar, the table at the end, and the verdict."""
import collections
import sys
import time

import numpy

BAR_WIDTH = 40
SHOW_INTERVAL_S = 0.1
# Outcomes of pages that another worker should have brought, found or confirmed.
LATE = {"MISS_PEER", "MISS_DEADLINE", "STORED_LOCAL"}


class Progress:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self, total, stream=sys.stdout):
        self.total = total
        self.stream = stream if stream.isatty() else None
        self.started = time.monotonic()
        self.next_s = 0.0

    def show(self, done):
        now = time.monotonic() - self.started
        if self.stream is None or (now < self.next_s and done < self.total):
            return
        self.next_s = now + SHOW_INTERVAL_S
        filled = BAR_WIDTH * done // self.total
        self.stream.write(f"\r[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {done}/{self.total} "
                          f"tasks, {now:.0f} s ")
        if done == self.total:
            self.stream.write("\n")
        self.stream.flush()


class Outcome:
    """Sums over all tasks."""

    def __init__(self, plan, results, reports, page_bytes, duration_s):
        self.page_bytes, self.duration_s = page_bytes, duration_s
        self.asked, self.hits, self.best = [0, 0], [0, 0], [0, 0]
        self.short = []
        self.calls = collections.defaultdict(list)
        for done in results:
            self._add(plan.tasks[done.number], done)
        self.wrong_bytes = sum(done.wrong_bytes for done in results)
        self.not_stored = sum(not done.stored for done in results)
        self.problems = [text for _, texts in reports for text in texts]
        self.ways, self.late = collections.Counter(), collections.Counter()
        for counters, _ in reports:
            self.ways.update(counters.get("get", {}).get("via", {}))
            for call in counters.values():
                self.late.update({outcome: pages for outcome, pages in call["outcome"].items()
                                  if outcome in LATE})
        self.ways.pop("none", None)

    def _add(self, task, done):
        kind = task.number % 2      # the plan adds a prefill and a decode task in turn
        self.asked[kind] += len(task.blocks)
        self.hits[kind] += done.hits
        self.best[kind] += task.expected
        if done.hits != task.expected or done.found != task.expected:
            self.short.append((task, done))
        for name, seconds, pages in done.calls:
            self.calls[name].append((seconds, pages))

    def faults(self):
        """Why this run is a failure; empty when it is not."""
        faults = []
        if self.wrong_bytes:
            faults.append(f"{self.wrong_bytes} wrong bytes")
        if self.short:
            task, done = self.short[0]
            faults.append(f"{len(self.short)} tasks did not hit what they could; the first: task "
                          f"{task.number}, {task.expected} blocks possible, {done.found} found, "
                          f"{done.hits} delivered")
        if self.not_stored:
            faults.append(f"{self.not_stored} tasks could not store all their pages")
        if self.late and (self.short or self.not_stored):
            named = ", ".join(f"{outcome} {pages}" for outcome, pages in sorted(self.late.items()))
            faults.append(f"pages for which a worker was too late: {named}; workers that do not get "
                          "a processor for a quarter of a second count as hung, so run the demo again "
                          "when this machine is less busy")
        if self.problems:
            faults.append(f"the adapter complained, first of {len(self.problems)}: "
                          f"{self.problems[0]}")
        return faults


def share(part, whole):
    return f"{100 * part / whole:.2f} %" if whole else "-"


def rows(outcome):
    """(label, value) of the table."""
    tasks = len(outcome.calls["exists"])
    yield "requests", f"{tasks // 2:,} ({outcome.duration_s:.1f} s)"
    yield "prompt blocks", f"{outcome.asked[0]:,} of {outcome.page_bytes:,} bytes each"
    for kind, name in enumerate(("prefill", "decode")):
        yield (f"{name} hit rate", f"{share(outcome.hits[kind], outcome.asked[kind])}, best "
               f"possible {share(outcome.best[kind], outcome.asked[kind])}")
    total = sum(outcome.ways.values())
    ways = ", ".join(f"{way} {pages:,} ({share(pages, total)})"
                     for way, pages in sorted(outcome.ways.items()))
    yield "hits came by", ways or "-"
    for name in ("get", "set"):
        seconds = sum(call[0] for call in outcome.calls[name])
        moved = sum(call[1] for call in outcome.calls[name]) * outcome.page_bytes
        yield (f"{name} throughput", f"{moved / seconds / 1e9:.2f} GB/s within the calls of a "
               f"worker, {moved / 1e9:.2f} GB in all" if seconds else "-")
    for name in ("exists", "get", "set"):
        yield f"{name} p50 / p99", percentiles(outcome.calls[name])
    yield "wrong bytes", f"{outcome.wrong_bytes:,}"


def percentiles(calls):
    if not calls:
        return "-"
    micros = numpy.array([seconds for seconds, _ in calls]) * 1e6
    pages = sum(count for _, count in calls) / len(calls)
    p50, p99 = numpy.percentile(micros, (50, 99))
    return f"{p50:,.0f} us / {p99:,.0f} us ({len(calls):,} calls, mean {pages:.1f} pages)"


def print_table(outcome, stream=sys.stdout):
    print(file=stream)
    for label, value in rows(outcome):
        print(f"  {label:<18}{value}", file=stream)
    print(file=stream)
