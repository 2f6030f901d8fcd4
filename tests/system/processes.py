# SPDX-License-Identifier: Apache-2.0
"""What the system tests share: free ports, waiting for a condition, peercached as a process."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "demo"))

from ports import free_port
from waiting import WAIT_S, wait_for

PEERCACHED = os.environ["PEERCACHED"]
PEERCACHE = os.environ["PEERCACHE"]
READY = re.compile(r"ready node_id=(\S+) control=(\S+):(\d+) discovery=(\S+) pool=(\d+)\n")


def clean_environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PEERCACHE")}
    return {**kept, **more}


def run(program, *arguments, stdin=None, **environment):
    return subprocess.run([program, *map(str, arguments)], capture_output=True, timeout=WAIT_S,
                          input=stdin, env=clean_environment(**environment))


def end_process(process):
    """Gives it time to end by itself, so that a sanitizer can say what it has found."""
    try:
        process.wait(WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def check_log(log):
    """A sanitizer's findings in processes whose exit status nobody looks at."""
    if "Sanitizer" in log or "runtime error:" in log:
        raise AssertionError(log)


class Node:
    """A peercached that has said `ready`.  Its log is in a file of the test's, read by log()."""

    def __init__(self, test, *arguments, pool="128mb", cluster="default"):
        self.cluster = cluster
        self.log_file = test.enterContext(tempfile.TemporaryFile("w+"))
        self.process = subprocess.Popen(
            [PEERCACHED, "--global_segment_size", pool, "--cluster_name", cluster,
             *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=self.log_file, text=True, env=clean_environment())
        test.addCleanup(self.end)
        line = self.process.stdout.readline()
        match = READY.fullmatch(line)
        if not match:
            self.end()
            raise AssertionError(f"not ready: {line!r} {self.log()}")
        self.node_id, self.port = match.group(1), match.group(3)
        self.address = f"{match.group(2)}:{self.port}"

    def log(self):
        """What it has logged so far."""
        return os.pread(self.log_file.fileno(), 1 << 20, 0).decode()

    def ask(self, *arguments, stdin=None):
        return run(PEERCACHE, *arguments, "--node", self.address, "--cluster_name", self.cluster,
                   stdin=stdin)

    def status(self):
        outcome = self.ask("status", "--json")
        if outcome.returncode != 0:
            raise AssertionError(f"no status: {outcome}")
        return json.loads(outcome.stdout)

    def members(self):
        return self.status()["members"]

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        """It may hang, or have been stopped; what it leaves in its log counts in any case."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        end_process(self.process)
        self.process.stdout.close()
        check_log(self.log())
