# SPDX-License-Identifier: Apache-2.0
"""Moments that a storage call must survive: forks, requests to stop, the interpreter's end."""
import builtins
import os
import signal
import threading
import time
import unittest
from unittest import mock

import harness
import host_pool
from harness import AdapterCase
from peercache import _native

# With other threads at the store's locks; without a hook for it one child in forty hung.
FORKS = 200
CHILD_LIMIT_S = 5.0


def guarded(report):
    def method(self):
        raise ValueError

    return type("Guarded", (), {"call": _native.Guard(method, report, 7)})()


class Guard(unittest.TestCase):
    def test_binds_without_import(self):
        """At the interpreter's end, and under other people's import hooks, an import can fail."""
        made = guarded(lambda *_: None)
        with mock.patch.object(builtins, "__import__", side_effect=ImportError):
            self.assertEqual(made.call(), 7)

    def test_request_to_stop_while_reporting(self):
        """Ctrl-C does not get lost when it comes while a miss is logged."""
        def stop(*_):
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            guarded(stop).call()


class Fork(AdapterCase):
    def test_locks_held_at_the_fork(self):
        """A child's calls are misses, whatever the parent's threads held when it was made."""
        made = self.cluster.store(host_pool.mha())
        names, stop = harness.keys(4), threading.Event()

        def work():
            while not stop.is_set():
                made.batch_exists(names)
                made.get_stats()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            statuses = {self.status_of_child(made, names) for _ in range(FORKS)}
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(statuses, {0})

    def status_of_child(self, made, names):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if made.batch_exists(names) == 0 and made.get_stats() is None else 2
                made.close()
            finally:
                os._exit(status)
        end = time.monotonic() + CHILD_LIMIT_S
        while time.monotonic() < end:
            waited, status = os.waitpid(child, os.WNOHANG)
            if waited:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.0005)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "hangs"


if __name__ == "__main__":
    unittest.main()
