# SPDX-License-Identifier: Apache-2.0
"""Exceptions at will: one line of the adapter at a time fails as if it had raised there itself."""
import dis
import inspect
import os
import pathlib
import sys
import types

import peercache

PACKAGE = pathlib.Path(peercache.__file__).resolve().parent


class Injected(RuntimeError):
    """What no handler of the adapter's expects."""


class _Tracer:
    """Follows one call through the files of the adapter; fails at one line, the first time."""

    def __init__(self, at=None, error=None):
        self._at, self._error = at, error
        self.lines = {}
        self.has_raised = False

    def __call__(self, frame, event, _):
        folder, name = os.path.split(frame.f_code.co_filename)
        if folder != str(PACKAGE):
            return None
        if event == "line":
            line = (name, frame.f_lineno)
            self.lines[line] = None
            if line == self._at and not self.has_raised:
                self.has_raised = True
                raise self._error(f"injected at {name}:{frame.f_lineno}")
        return self

    def run(self, call):
        # Python switches the tracing off after a raise, so there is one fault a call.
        before = sys.gettrace()
        sys.settrace(self)
        try:
            return call()
        finally:
            sys.settrace(before)


def lines_of(call):
    """The distinct lines (file, number) of the adapter that a call runs through, in order."""
    tracer = _Tracer()
    tracer.run(call)
    return list(tracer.lines)


def with_fault(call, line, error):
    """(the call's answer, whether the line was reached) where this line raises @error."""
    tracer = _Tracer(line, error)
    return tracer.run(call), tracer.has_raised


def all_lines():
    """{(file, number): (function, text)} of each line in a function of the adapter."""
    found = {}
    for path in sorted(PACKAGE.glob("*.py")):
        source, functions = path.read_text(), {}
        _add_lines(functions, compile(source, str(path), "exec"), "")
        text = source.splitlines()
        found.update({(path.name, line): (function, text[line - 1].strip())
                      for line, function in functions.items()})
    return found


def _add_lines(found, code, function):
    """Adds {number: function} of the functions inside @code, not of classes' bodies."""
    for inner in code.co_consts:
        if not isinstance(inner, types.CodeType):
            continue
        label = f"{function}.{inner.co_name}".lstrip(".")
        _add_lines(found, inner, label)
        if inner.co_flags & inspect.CO_NEWLOCALS:
            # The line of the def itself makes no event.
            found.update({line: label for _, line in dis.findlinestarts(inner)
                          if line and line != inner.co_firstlineno})
