# SPDX-License-Identifier: Apache-2.0
"""What the measuring scripts share: programs that obey, clusters of them, and rows of a table.

A row has an ours and a theirs.  Both are measured in turn, round after round, on the same machine in
the same run; a figure is the median of its rounds, a ratio the median of the rounds' ratios, so that
what slows down the machine for a while slows down both.
"""
import contextlib
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "demo"))

from ports import free_port
from waiting import WaitedInVain, knows_all, wait_for

KIB, MIB = 1024, 1024 * 1024
JOIN_TIMEOUT_S = 20


class Failure(Exception):
    """Something could not be measured; the text says what."""


# --- programs that measure ---

class Program:
    """A measuring program: a command is a line to it, its answer a line of JSON."""

    def __init__(self, path, *arguments, through=()):
        """@through: what starts it, where that is another host."""
        self.name = path.name
        self.process = subprocess.Popen([*through, path, *map(str, arguments)], text=True,
                                        bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, *words):
        try:
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Failure(f"{self.name} ended at '{' '.join(map(str, words))}'")
        return json.loads(line)

    def calls(self, what, batch, calls, via=None):
        """A command of node_driver that measures; every page must have ended well."""
        answer = self(what, batch, calls)
        if answer["bad"] or (via and answer["via"] != via):
            raise Failure(f"{what}: {answer['bad']} of {answer['pages']} pages failed, "
                          f"the last came by {answer['via'] or 'nothing'}")
        return answer

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(timeout=30)


@contextlib.contextmanager
def joined(nodes):
    """Nodes that know each other; they are closed in the end."""
    try:
        wait_for(lambda: all(knows_all(node("status"), len(nodes)) for node in nodes),
                 f"{len(nodes)} nodes to find each other", JOIN_TIMEOUT_S)
        yield nodes
    except WaitedInVain as error:
        raise Failure(error) from error
    finally:
        for node in nodes:
            node.close()


class Bench:
    """Where the programs are, how often they measure, and with what pool."""

    def __init__(self, build, rounds, pool):
        self.build = build
        self.rounds = rounds
        self.pool = pool

    def program(self, name, *arguments, through=()):
        return Program(self.build / "bench" / f"bench-{name}", *arguments, through=through)

    def node(self, discovery, *options, spin="-", through=()):
        return self.program("node-driver", spin, self.pool, "log_level=error",
                            "heartbeat_interval=0.1", f"discovery_addr={discovery}", *options,
                            through=through)

    def cluster(self, n, *options, spin="-"):
        """Nodes of this host, each a process of its own."""
        discovery = f"127.0.0.1:{free_port()}"
        return joined([self.node(discovery, *options, spin=spin) for _ in range(n)])

    def alternate(self, *sides):
        """Runs the sides in turn, once to warm up and then @rounds times.  A list for each side."""
        for side in sides:
            side()
        figures = [[side() for side in sides] for _ in range(self.rounds)]
        return [list(column) for column in zip(*figures)]


def speed(answer):
    return answer["bytes"] / answer["seconds"] / 1e9


# --- pages ---

def place_pages(holder, reader, batch, n, page_bytes, segments, owner="all"):
    """The same pages at both; the holder stores them.  @owner: who records where they are."""
    prefix = f"{page_bytes}.{segments}."
    for node, whose in ((holder, "own"), (reader, "remote")):
        node("shape", n, page_bytes, segments)
        node("name", "all" if owner == "all" else whose, prefix)
    holder("stamp")
    holder.calls("set", batch, n // batch)
    reader("clear")


def check_pages(reader):
    wrong = reader("wrong")["wrong"]
    if wrong:
        raise Failure(f"{wrong} pages have wrong bytes")


# --- the table ---

class Row:
    def __init__(self, name, unit, ours, theirs, aim, at_most=False, note=""):
        self.name, self.unit, self.aim, self.at_most, self.note = name, unit, aim, at_most, note
        self.ours = statistics.median(ours)
        self.theirs = statistics.median(theirs) if theirs else None
        self.ratio = statistics.median(a / b for a, b in zip(ours, theirs)) if theirs else None

    def reached(self):
        """The part of the aim that was reached: 1 and more is all of it."""
        figure = self.ours if self.ratio is None else self.ratio
        return self.aim / figure if self.at_most else figure / self.aim

    def verdict(self):
        if self.aim is None:
            return "-"
        reached = self.reached()
        return "ok" if reached >= 1 else "below aim" if reached >= 0.5 else "BELOW HALF"

    def cells(self):
        sign = "<=" if self.at_most else ">="
        aim = "-" if self.aim is None else f"{sign} {number(self.aim)}"
        return (self.name, number(self.ours), number(self.theirs), self.unit, aim,
                number(self.ratio), self.verdict(), self.note)

    def as_json(self):
        return {"name": self.name, "unit": self.unit, "ours": self.ours, "theirs": self.theirs,
                "ratio": self.ratio, "aim": self.aim, "at_most": self.at_most,
                "verdict": self.verdict(), "note": self.note}


class Skip:
    def __init__(self, name, reason):
        self.name, self.reason = name, reason

    def verdict(self):
        return "SKIP"

    def cells(self):
        return (self.name, "", "", "", "", "", "SKIP", self.reason)

    def as_json(self):
        return {"name": self.name, "verdict": "SKIP", "note": self.reason}


def number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


HEAD = ("", "PeerCache", "other side", "", "aim", "ratio", "", "")


def print_row(cells):
    widths = (36, 11, 11, 8, 12, 6, 10)
    line = f"{cells[0]:<{widths[0]}}"
    for i, cell in enumerate(cells[1:7], start=1):
        line += f" {cell:{'<' if i in (3, 6) else '>'}{widths[i]}}"
    print(f"{line} {cells[7]}".rstrip(), flush=True)


# --- where ---

def machine():
    model = platform.machine()
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    virtual = ""
    if shutil.which("systemd-detect-virt"):
        virtual = subprocess.run(["systemd-detect-virt"], capture_output=True,
                                 text=True).stdout.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2 ** 30
    load = os.getloadavg()[0]
    return (f"{os.cpu_count()} x {model}{', ' + virtual if virtual not in ('', 'none') else ''}, "
            f"{memory:.0f} GiB, Linux {platform.release()}, load {load:.1f}")
