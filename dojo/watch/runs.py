"""One run as the parent sees it: a process that is begun ahead, waits, runs one session, and ends or is ended.

The processes are forked by multiprocessing's fork server, which has imported torch and the engine, runs none of the
learner's code and stays at one thread, so that it can fork safely at any time. Where fork is not safe each process
imports everything itself; it is begun ahead and waits in the same way.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import sys
import time
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dojo.text import relative
from dojo.watch import child

METHOD = "forkserver" if sys.platform == "linux" else "spawn"  # macOS has fork, and libraries that do not survive it
_STARTS_IN = 120.0  # seconds that a process may take to import torch and configure pytest, on the slowest of disks
_GRACE, _MISSED_BY = 1.5, 3.0  # a test stops itself; where it cannot, it is ended so many times, and seconds, later
_AFTERLIFE = 1.0  # seconds that a run may go on after its verdict
_CRASH_LINE = re.compile(r'File "(.+)", line (\d+)')
_CRASHES = {"SIGSEGV": "a segmentation fault", "SIGABRT": "an abort", "SIGKILL": "killed from outside"}


class Run:
    """A process that waits to run, or runs, one pytest session."""

    def __init__(self, arguments: list[str], imports: list[str], memory_gb: float) -> None:
        """`arguments`: pytest's.  `imports`: libraries to import while it waits."""
        self.arguments = arguments
        self.busy = child.Busy("the start", _STARTS_IN)
        self.hard_exit: child.HardExit | None = None
        self.verdict: child.Verdict | None = None
        self.timed_out = False
        self.deadline = float("inf")
        context: Any = multiprocessing.get_context(METHOD)
        self._connection, told = context.Pipe()
        self._crashes, crashes = context.Pipe(duplex=False)  # plain text, from faulthandler
        work = (told, crashes, arguments, imports, memory_gb)
        self._process: BaseProcess = context.Process(target=child.main, args=work)
        _start(self._process)
        told.close()
        crashes.close()

    def go(self) -> bool:
        """Let it run. False: it has died while it waited."""
        self.deadline = time.monotonic() + _STARTS_IN
        try:
            self._connection.send("go")
        except OSError:
            return False
        return True

    def sources(self) -> list[Any]:
        """What multiprocessing can wait for: it tells something, or has ended."""
        return [self._process.sentinel, self._connection]

    def goes_on(self) -> bool:
        """Take in what the child has told. False: its verdict is on screen, it has ended, or it has had its time."""
        try:
            while self._connection.poll():
                self._take(self._connection.recv())
        except (EOFError, OSError):  # it is about to end; or it has closed what was not its own, and can tell no more
            self.deadline = min(self.deadline, time.monotonic() + _AFTERLIFE)
        has_ended = self._process.exitcode is not None
        self.timed_out = not has_ended and time.monotonic() > self.deadline
        return self.verdict is None and not has_ended and not self.timed_out

    def _take(self, fact: child.Fact) -> None:
        if isinstance(fact, child.Verdict):
            self.verdict = fact
        elif isinstance(fact, child.HardExit):
            self.hard_exit = fact
        else:
            self.busy = fact
            self.deadline = time.monotonic() + (fact.seconds or float("inf")) * _GRACE + _MISSED_BY

    def end(self) -> None:
        """End the process, and everything that it started, whatever state it is in."""
        if self.verdict is not None:
            self._process.join(_AFTERLIFE)  # it clears up
        elif self.timed_out and self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGABRT)  # faulthandler tells where it was
            self._process.join(_AFTERLIFE)
        _end(self._process)

    def why_no_verdict(self, folders: list[Path]) -> str:
        """How it ended, and at which line the learner's code, which is below one of the folders, was."""
        what, code = self.busy.what, self._process.exitcode or 0
        if self.hard_exit is not None:
            at = f"{relative(Path(self.hard_exit.file))}:{self.hard_exit.line}"
            return f"{what}: your code ended the process with os._exit({self.hard_exit.status}), at {at}"
        crash = os.read(self._crashes.fileno(), 65536).decode(errors="replace") if self._crashes.poll() else ""
        lines = [(Path(file), line) for file, line in _CRASH_LINE.findall(crash)]
        own = [(file, line) for file, line in lines if any(file.is_relative_to(folder) for folder in folders)]
        at = f", at {relative(own[0][0])}:{own[0][1]}" if own else ""
        if self.timed_out:
            return f"{what}: stopped, it did not end in time{at}. An endless loop? (--kata-timeout gives more)"
        if code < 0:
            name = signal.Signals(-code).name
            return f"{what}: your code crashed the process: {_CRASHES.get(name, name)}{at}"
        return f"{what}: the process ended with exit code {code} before the verdict{at}"


def _start(process: BaseProcess) -> None:
    """Start a process that Ctrl-C, which a terminal sends to all that belong to it, does not reach while it imports."""
    for name in {"LINES", "COLUMNS"} - os.environ.keys():
        os.unsetenv(name)  # readline sets them behind Python's back; a child would not notice that the window changed
    multiprocessing.set_forkserver_preload(["dojo.process.warm"])
    resource_tracker.ensure_running()  # it would undo the next line
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a new process inherits this; here the signal is kept
    try:
        forkserver.ensure_running() if METHOD == "forkserver" else process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if METHOD == "forkserver":
        process.start()  # returns only when the server has imported everything: Ctrl-C must end the watch meanwhile


def _end(process: BaseProcess) -> None:
    if process.pid is not None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def end_all() -> None:
    """End every process, also one that a Ctrl-C found half started."""
    for process in multiprocessing.active_children():
        _end(process)
