"""A kata test that never ends is stopped, with the line where the code was; so is a file that never ends importing.

Two tiers. An alarm raises `Timeout` in the running code: the test fails and the session goes on. Code that swallows
every exception, or sits in a C call that holds the GIL, never sees it; half as long again later, faulthandler, which
needs neither, prints where every thread was and ends the process with exit code 1. (Of the tools that we tried, only
faulthandler stopped all of these.) Without SIGALRM (Windows, a thread that is not the main one) only the second holds.
"""

from __future__ import annotations

import contextlib
import faulthandler
import linecache
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import TextIO

import pytest

from dojo.text import relative

DEFAULT = 60.0  # seconds
_GRACE = 1.5  # the second tier waits that many times as long
_ADVICE = "An endless loop? If it is only slow, give it longer: --kata-timeout=SECONDS"


class Timeout(BaseException):
    """The running code had its time. A BaseException, so that `except Exception` in a loop does not swallow it."""


class Timeouts:
    """The timeouts of one session."""

    def __init__(self, seconds: float | None, is_learner_code: Callable[[str], bool]) -> None:
        """`seconds`: what the learner asked for (0: no limit), or None for the default and the tests' own markers."""
        self.asked = seconds
        self.is_learner_code = is_learner_code
        self.default = DEFAULT  # for a test without a marker
        self.debugging = False  # somebody looks at the code in a debugger, for as long as they like
        # A copy of stderr, made while pytest does not capture it, for the dump of the second tier.
        self._stderr: TextIO | None = None
        with contextlib.suppress(OSError, ValueError):
            self._stderr = os.fdopen(os.dup(sys.stderr.fileno()), "w")

    def close(self) -> None:
        """No second tier from now on."""
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def seconds_for(self, marked: float | None) -> float:
        """How long a test may take whose `timeout` marker says `marked`; the learner's word counts more."""
        if self.asked is not None:
            return self.asked
        return marked if marked is not None else self.default

    @contextlib.contextmanager
    def limit(self, seconds: float, what: str, advice: str = _ADVICE) -> Iterator[None]:
        """Stop the block after `seconds` (0: never); `what` names it in the message, which ends with the advice."""
        if seconds <= 0 or self.debugging or _debugger_is_attached():
            yield
            return
        with self._faulthandler(seconds * _GRACE + 1), self._alarm(seconds, what, advice):
            yield

    def enter_debugger(self) -> None:
        """No limit any more, in this session."""
        self.debugging = True
        faulthandler.cancel_dump_traceback_later()

    @contextlib.contextmanager
    def _alarm(self, seconds: float, what: str, advice: str) -> Iterator[None]:
        if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
            yield
            return

        def ring(_signal: int, frame: FrameType | None) -> None:
            __tracebackhide__ = True
            if not self.debugging and not _debugger_is_attached():
                raise Timeout(f"{what} did not end in {seconds:g} s; the code was at {self._place(frame)}\n{advice}")

        before = signal.signal(signal.SIGALRM, ring)
        # Again each second after that, for code that swallowed the first.
        signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    @contextlib.contextmanager
    def _faulthandler(self, seconds: float) -> Iterator[None]:
        if self._stderr is None:
            yield
            return
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._stderr)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _place(self, frame: FrameType | None) -> str:
        """`file:line: source` of the innermost frame of the learner's code (of any code, where there is none)."""
        innermost = frame
        while frame is not None and not self.is_learner_code(frame.f_code.co_filename):
            frame = frame.f_back
        frame = frame or innermost
        if frame is None:
            return "an unknown line"
        path, line = frame.f_code.co_filename, frame.f_lineno or _line(frame.f_code, frame.f_lasti)
        return f"{relative(Path(path))}:{line}: {linecache.getline(path, line).strip()}"


TIMEOUTS = pytest.StashKey[Timeouts]()


def give_lines(error: BaseException) -> None:
    """Let each entry of the error's traceback have a line, without which pytest ends with an INTERNALERROR.

    An alarm may come anywhere, also at an instruction that the compiler gave no line: in the cleaning up after a
    `with` or a `try` there are some. Call it outside of `limit`: contextlib puts back the traceback that it saw.
    """
    entries, trace = [], error.__traceback__
    while trace is not None:
        entries.append(trace)
        trace = trace.tb_next
    for entry in reversed(entries):
        line: int | None = entry.tb_lineno  # typeshed knows of no None
        line = line or _line(entry.tb_frame.f_code, entry.tb_lasti)
        trace = TracebackType(trace, entry.tb_frame, entry.tb_lasti, line)
    error.__traceback__ = trace


def _line(code: CodeType, instruction: int) -> int:
    """The last line at or before an instruction."""
    lines = [line for start, _, line in code.co_lines() if start <= instruction and line]
    return lines[-1] if lines else code.co_firstlineno


def marked_seconds(item: pytest.Item) -> float | None:
    """The seconds of a test's `timeout(seconds)` marker, or of `time_limit`, its name in copies of former days."""
    marker = item.get_closest_marker("timeout") or item.get_closest_marker("time_limit")
    return float(marker.args[0]) if marker is not None and marker.args else None


def marked_advice(item: pytest.Item) -> str:
    """What to say to somebody whose code took longer: a test may know better than the general sentence.

    A marker of its own, since pytest-timeout, where it is installed, accepts no other argument of `timeout`.
    """
    marker = item.get_closest_marker("timeout_advice")
    return str(marker.args[0]) if marker is not None and marker.args else _ADVICE


def _debugger_is_attached() -> bool:
    """Does a debugger (an editor's, pdb) follow this code? A tool that measures coverage is none."""
    debugpy = sys.modules.get("debugpy")
    if debugpy is not None and getattr(debugpy, "is_client_connected", lambda: False)():
        return True
    traced_by = getattr(sys.gettrace(), "__module__", None) or ""
    return traced_by.split(".")[0].lstrip("_").startswith(("bdb", "pdb", "pydevd"))
