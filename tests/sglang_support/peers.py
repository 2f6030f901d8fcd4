# SPDX-License-Identifier: Apache-2.0
"""Objects in processes of their own, called by name through a pipe.

SGLang takes seconds to import, so the processes are forked from one that has imported it already:
Python's fork server, which is started here, before the test itself begins to import.
"""
import multiprocessing
import multiprocessing.forkserver
import os
import pathlib
import traceback

CONTEXT = multiprocessing.get_context("forkserver")
ANSWER_LIMIT_S = 60.0


def start():
    """Starts the fork server, which imports SGLang while the caller does."""
    # Releases of Python before 3.11.10 and 3.12.4 do not hand sys.path on to it.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (
        str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH"))))
    CONTEXT.set_forkserver_preload(["hosted"])
    multiprocessing.forkserver.ensure_running()


def _serve(pipe, kind, arguments):
    """In the child: makes the object, then calls what it is told to."""
    made = kind(*arguments)
    pipe.send((True, None))
    while True:
        name, arguments = pipe.recv()
        try:
            pipe.send((True, getattr(made, name)(*arguments)))
        except Exception:
            pipe.send((False, traceback.format_exc()))


class Peer:
    """One object of class @kind in another process; wait() is for its constructor."""

    def __init__(self, kind, *arguments):
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_serve, args=(theirs, kind, arguments), daemon=True)
        self.process.start()
        theirs.close()

    def wait(self):
        self._answer("its constructor")
        return self

    def _answer(self, what):
        if not self.pipe.poll(ANSWER_LIMIT_S):
            raise AssertionError(f"the other process did not answer to {what}")
        is_good, value = self.pipe.recv()
        if not is_good:
            raise AssertionError(f"in the other process, {what}: {value}")
        return value

    def send(self, name, *arguments):
        """Begins a call; answer() waits for it."""
        self.pipe.send((name, arguments))

    def answer(self):
        return self._answer("a call")

    def ask(self, name, *arguments):
        self.send(name, *arguments)
        return self._answer(name)

    def signal(self, number):
        os.kill(self.process.pid, number)

    def close(self):
        """Ends the process, whatever state it is in.  Called once."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def start_together(kind, arguments):
    """Peers whose constructors need one another: all are under way before one is waited for."""
    made = [Peer(kind, *each) for each in arguments]
    return [peer.wait() for peer in made]


def together(peers, name, *arguments):
    """The same call in all of them at once, as ranks that meet in a collective need it."""
    for peer in peers:
        peer.send(name, *arguments)
    return [peer.answer() for peer in peers]
