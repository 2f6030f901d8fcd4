# SPDX-License-Identifier: Apache-2.0
"""Starts SGLang engines (sglang_serve.py) as processes of their own and talks to them.

An Engine starts when it is made; ready() waits for it, so several start side by side.  Whatever it
logs goes to a file, whose end is part of each error.  Needs no SGLang itself.
"""
import contextlib
import json
import os
import pathlib
import select
import signal
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
PAGE_TOKENS = 16

# Left alone, OpenMP's threads wait for each other ten times longer than a tiny model computes.
THREADS = "1"
# A start takes 10 s on an idle machine with two cores.
START_LIMIT_S = 180.0
ANSWER_LIMIT_S = 60.0
END_LIMIT_S = 20.0
LOG_TAIL = 3000


class EngineError(Exception):
    """An engine did not do what it was told; the text holds the end of its log."""


def cache_arguments(extra, layout="page_first"):
    """Engine arguments for a hierarchical cache over the storage backend that @extra describes."""
    # Kernel I/O knows no page_first_direct, and direct I/O knows little else.
    return {"enable_hierarchical_cache": True, "hicache_ratio": 2.0,
            "hicache_storage_backend": "dynamic",
            "hicache_storage_backend_extra_config": json.dumps(extra),
            "hicache_mem_layout": layout,
            "hicache_io_backend": "direct" if layout == "page_first_direct" else "kernel",
            "hicache_write_policy": "write_through",
            "hicache_storage_prefetch_policy": "wait_complete"}


def peercache_extra(discovery_addr, **more):
    return {"backend_name": "peercache", "module_path": "peercache.store",
            "class_name": "PeerCacheStore", "interface_v1": 1, "prefetch_threshold": PAGE_TOKENS,
            "discovery_addr": discovery_addr, "global_segment_size": "64mb", **more}


class Engine:
    """One engine process.  @python is the command that runs Python where SGLang is, @path where the
    modules of its storage are."""

    def __init__(self, python, model, log, arguments=None, path=()):
        job = {"model_path": str(model), **(arguments or {})}
        places = [*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.log_path = pathlib.Path(log)
        with open(log, "wb") as log_file:
            # A session of its own: signals then reach the scheduler's process as well.
            self.process = subprocess.Popen(
                [*python, str(HERE / "sglang_serve.py"), json.dumps(job)], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log_file,
                start_new_session=True, env={"OMP_NUM_THREADS": THREADS, **os.environ,
                                             "PYTHONPATH": ":".join(places)})

    def ready(self):
        self._answer(START_LIMIT_S)
        return self

    def generate(self, prompts, new_tokens=16, limit_s=ANSWER_LIMIT_S):
        """[{"tokens": [...], "cached": {...}}, ...], one a prompt; all prompts at once."""
        return self._ask({"generate": prompts, "new_tokens": new_tokens}, limit_s)

    def flush(self):
        """Empties the engine's own caches; what is in storage stays."""
        self._ask({"flush": True}, ANSWER_LIMIT_S)

    def change_storage(self, extra):
        """Detaches the storage backend, and attaches another instance of it."""
        self._ask({"storage": extra}, ANSWER_LIMIT_S)

    def signal(self, number):
        """To all of the engine's processes."""
        os.killpg(self.process.pid, number)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def close(self):
        """Lets it end by itself, for its node to leave the cluster; then makes sure."""
        with contextlib.suppress(EngineError, OSError, ValueError):
            self._ask({"quit": True}, END_LIMIT_S)
            self.process.wait(END_LIMIT_S)
        self.kill()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def _ask(self, command, limit_s):
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise EngineError(f"the engine is gone: {self.log()[-LOG_TAIL:]}") from None
        return self._answer(limit_s)

    def _answer(self, limit_s):
        end = time.monotonic() + limit_s
        readable, _, _ = select.select([self.process.stdout], [], [], limit_s)
        line = self.process.stdout.readline() if readable else ""
        if not line:
            why = "ended" if time.monotonic() < end else f"gave no answer in {limit_s:.0f} s"
            raise EngineError(f"the engine {why}: {self.log()[-LOG_TAIL:]}")
        return json.loads(line)
