# SPDX-License-Identifier: Apache-2.0
"""One process's own troubles: its end, forks, descriptors; numbers as in the checklist."""
import fcntl
import os
import pathlib
import resource
import signal
import subprocess
import sys
import unittest

import harness
import host_pool
from harness import AdapterCase

# A store and threads that keep it busy, in a process of its own.
BUSY = """
import os, signal, sys, threading, time
import harness, host_pool
cluster = harness.Cluster()
pool = host_pool.mha(page_size=16, head_dim=64)
made = cluster.store(pool)
names = harness.keys(16)
def work():
    while True:
        made.batch_set_v1(names, pool.slots(range(16)))
        made.batch_get_v1(names, pool.slots(range(16)))
        made.batch_exists(names)
        made.get_stats()
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
"""


class OneProcess(AdapterCase):
    def end_of(self, more):
        """How a busy process ends that then does this."""
        return subprocess.run([sys.executable, "-c", BUSY + more], cwd=harness.HERE, timeout=60,
                              capture_output=True, text=True)

    def test_48_exit_with_calls_in_flight(self):
        """(48) The process ends while threads call: no crash and no hang."""
        for more in ("", "sys.exit(0)\n", "made.close()\n", "cluster.close()\nsys.exit(0)\n"):
            with self.subTest(more):
                done = self.end_of(more)
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_48_sigterm(self):
        """(48) A terminated process ends by that signal and no other."""
        done = self.end_of("os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(9)\n")
        self.assertEqual(done.returncode, -signal.SIGTERM, done.stderr)

    def test_48_pool_is_destroyed_first(self):
        """(48) SGLang unmaps its host pool and then ends: nobody touches that memory any more."""
        idle = BUSY.replace("range(4)", "range(0)") + "\n".join((
            "made.batch_set_v1(names, pool.slots(range(16)))",
            "pool.destroy()",
            "assert made.batch_get_v1(names, [0] * 256) == [False] * 16",
            "assert made.batch_exists(names) == 16",
            "time.sleep(0.2)", "{}"))
        for end in ("", "made.close()", "made.clear(); made.close()", "del made"):
            with self.subTest(end):
                done = subprocess.run([sys.executable, "-c", idle.format(end)], timeout=60,
                                      cwd=harness.HERE, capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_44_no_descriptors_left(self):
        """(44) At the limit of descriptors calls fail softly, and recover when there are some."""
        pool = host_pool.mha()
        made, names = self.cluster.store(pool), harness.keys(8)
        peer = self.cluster.peer({"protocol": "tcp"})
        harness.wait_for(lambda: harness.alive_members(made) == 2, "two members")
        peer.ask("set", names)
        harness.wait_for(lambda: made.batch_exists(names) == 8, "the peer's pages")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        held = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            while len(held) < 512:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        try:
            for _ in range(3):
                with self.within_deadline():
                    self.assert_results(self.read(made, pool, names), 8)
                with self.within_deadline():
                    self.assert_results(self.write(made, pool, harness.keys(4, salt=2)), 4)
                self.assertIn(made.batch_exists(names), range(9))
                made.get_stats()
        finally:
            for descriptor in held:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        harness.wait_for(lambda: all(self.read(made, pool, names)), "recovery")

    def test_44_no_descriptors_at_the_start(self):
        """(44) A store that cannot be built says so at construction."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        open_now = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 3, hard))
        try:
            with self.assertRaises(Exception) as caught:
                self.cluster.store()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertIn("Too many open files", str(caught.exception))
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), open_now)

    def test_49_nothing_is_inherited_by_spawn(self):
        """(49) Every descriptor of a store is closed when another program is started."""
        before = set(os.listdir("/proc/self/fd"))
        made = self.cluster.store(host_pool.mha())
        self.cluster.store(host_pool.mha())
        harness.wait_for(lambda: harness.alive_members(made) == 2, "two members")
        own = [int(fd) for fd in set(os.listdir("/proc/self/fd")) - before
               if os.path.exists(f"/proc/self/fd/{fd}") or os.path.islink(f"/proc/self/fd/{fd}")]
        self.assertGreater(len(own), 4)
        for fd in own:
            self.assertTrue(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC,
                            os.readlink(f"/proc/self/fd/{fd}"))

    def test_49_fork(self):
        """(49) A child has no threads, answers misses, and leaves its parent's node alone."""
        pool = host_pool.mha()
        made = self.cluster.store(pool)
        names = harness.keys(4)
        self.write(made, pool, names)
        child = os.fork()
        if child == 0:
            # Only the exit status leaves the child: the test runner belongs to the parent.
            status = 1
            try:
                status = 0 if self.child_misses(made, pool, names) else 2
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 0)
        self.assertEqual(self.read(made, pool, names), [True] * 4)

    def child_misses(self, made, pool, names):
        slots = pool.slots(range(4))
        misses = (made.batch_exists(names) == 0
                  and made.batch_get_v1(names, slots) == [False] * 4
                  and made.batch_set_v1(names, slots) == [False] * 4)
        made.clear()
        made.close()
        made.close()
        return misses and len(list(pathlib.Path("/proc/self/task").iterdir())) == 1


if __name__ == "__main__":
    unittest.main()
