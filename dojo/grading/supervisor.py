"""One submission graded, from outside the wall: the list of tests, the clock and the result are kept here.

What comes through the wall is only said. A test passes that was planned, that was told of once, in its turn, by a child
that knew the word which this job was given, and whose tests that must fail did so.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from dojo.grading.walls import Wall, environment, readable

_STARTS_IN = 180.0  # seconds to import torch from a slow disk
_GRACE = 20.0  # seconds that a worker may need beyond what it allows a kata
_LONGEST_LINE = 16 << 20
_CRASHES = {
    "SIGSEGV": "a segmentation fault",
    "SIGABRT": "an abort",
    "SIGKILL": "killed",
    "SIGXCPU": "its time is over",
}
_CRASH_LINE = re.compile(r'File "(.+)", line (\d+)')
_ANSWER = {"told", "token", "end", "crash", "left", "seconds"}
_FACT: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("kind", "says", "printed", "at", "source", "where", "error"), str),
    "unusable": bool,
    "xray": lambda rows: [str(row) for row in rows],
}
CANARIES = 5  # tests that must fail, in each session


class WorkerGone(Exception):
    """The worker does not answer any more."""


class Worker:
    """A worker behind a wall."""

    def __init__(self, wall: Wall, project: Path) -> None:
        self.wall, self.project = wall, project
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: Path | None = None
        self._errors: Any = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def ask(self, job: Mapping[str, Any]) -> Answer:
        """What came of a kata. A worker that is gone is begun anew for the next."""
        try:
            return Answer.of(self.exchange(job))
        except WorkerGone as error:
            self.stop()
            return Answer(end=str(error), flag="crash")

    def exchange(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Send a job, wait for its answer. WorkerGone."""
        process, first = self._process or self._start(), self._process is None
        assert process.stdin is not None
        words = json.dumps({**job, "readable": readable(self.project)}).encode() + b"\n"
        try:
            process.stdin.write(words)
            process.stdin.flush()
            line = self._line(process, float(job["seconds"]) + _GRACE + _STARTS_IN * first)
            answer = json.loads(line)
        except (OSError, ValueError):  # ValueError: no JSON, or interrupted
            raise WorkerGone(f"the process that grades has ended{self._last_words()}") from None
        if not isinstance(answer, dict) or not answer.keys() >= _ANSWER:
            raise WorkerGone("the process that grades does not make sense any more")
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        self._scratch = Path(tempfile.mkdtemp(prefix="kata-grade-"))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by stop()
        command = [sys.executable, "-m", "dojo.grading.worker"]
        self._process = subprocess.Popen(
            self.wall.around(command, self.project, self._scratch),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=self._scratch,
            env=environment(self.project) | {"HOME": str(self._scratch)},
            start_new_session=True,  # Ctrl-C is the grader's own business
        )
        return self._process

    def _line(self, process: subprocess.Popen[bytes], seconds: float) -> bytes:
        assert process.stdout is not None
        deadline, line = time.monotonic() + seconds, b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise WorkerGone("the process that grades did not answer in time")
                more = os.read(process.stdout.fileno(), 1 << 20)
                if not more or len(line) > _LONGEST_LINE:
                    raise OSError("closed")
                line += more
        return line

    def _last_words(self) -> str:
        if self._errors is None:
            return ""
        self._errors.seek(0)
        words = self._errors.read()[-2000:].decode(errors="replace").strip()
        return f": {words.splitlines()[-1]}" if words else ""

    def interrupt(self) -> None:
        """From another thread: let it end at once. It does so when nobody listens."""
        if (process := self._process) is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def stop(self) -> None:
        """End it, and all that it has started."""
        process, self._process = self._process, None
        if process is not None:
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    assert stream is not None
                    stream.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)  # it ends by itself when nobody listens, and takes all that it has started along
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self._errors is not None:
            self._errors.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        self._errors = self._scratch = None


@dataclass
class Answer:
    """What is known of one kata's session."""

    tests: list[str] = field(default_factory=list)  # collected
    facts: dict[str, Any] = field(default_factory=dict)
    running: str = ""
    tampering: list[str] = field(default_factory=list)
    end: str = ""  # how the session ended, where it did not end as it should
    flag: str = ""  # the kind of that end
    seconds: float = 0.0  # that it took, the worker's start not counted
    _canaries: int = 0  # tests that must fail, and did
    _left: str = ""  # the sentence of a process that its code has ended
    _ended: bool = False

    def kind(self, test: str) -> str:
        fact = self.facts.get(test)
        return str(fact["kind"]) if fact else "not run"

    def why(self, test: str) -> str:
        fact = self.facts.get(test)
        return str(fact["says"]).split("\n")[0] if fact else self.end or "it did not run"

    @property
    def unusable(self) -> dict[str, Any] | None:
        """The fact of a file that could not be used at all."""
        return next((fact for fact in self.facts.values() if fact["unusable"]), None)

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Answer:
        """Take in what a worker says."""
        answer = cls(seconds=float(message["seconds"]))
        try:
            for event in answer._events(message):
                answer._hear(event)
        except Exception:  # what a stranger tells may be anything: Infinity for a status, a list for a name
            answer.tampering.append("what was told makes no sense")
        if answer._ended and answer.tests and answer.unusable is None and answer._canaries != CANARIES:
            answer.tampering.append(f"{CANARIES - answer._canaries} of {CANARIES} tests that must fail did not")
        if message["left"]:
            answer.flag, answer.end = "processes", ""
        if not answer._ended or message["end"] != "exit":
            answer.flag, answer.end = _end(message, answer._left)
        return answer

    def _hear(self, event: Mapping[str, Any]) -> None:
        what = event["what"]
        if what == "tests":
            self.tests = [str(test) for test in event["tests"]]
        elif what == "begin":
            self.running = str(event["test"])
        elif what == "result":
            self._take(str(event["test"]), event["fact"])
        elif what == "canary":
            self._canaries += event["failed"] is True
        elif what == "tampering":
            self.tampering.append(f"changed in {event['test']}: {', '.join(map(str, event['names']))}")
        elif what == "exit":
            where = _short(str(event["at"]))
            self._left = f"your code ended the process with os._exit({int(event['status'])}), at {where}"
        elif what == "end":
            self._ended = True

    def _events(self, message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for line in base64.b64decode(message["told"]).splitlines():
            try:
                event = json.loads(line)
                known = isinstance(event, dict) and event.get("token") == message["token"]
            except (ValueError, RecursionError):
                known = False
            if not known:
                self.tampering.append("somebody else than the tests has told of results")
                return
            yield event

    def _take(self, test: str, fact: Any) -> None:
        if test in self.facts or test != self.running or test not in self.tests:
            self.tampering.append(f"{test} was told of out of turn")
        elif fact is not None:  # None: a test of which pytest reports nothing
            self.facts[test] = {name: kind(fact[name]) for name, kind in _FACT.items()}
            self.running = ""


def _short(place: str) -> str:
    """A place in a student's file, without the folders of the machine that graded."""
    return re.sub(r"^.*/katas/", "", place)


def _end(message: Mapping[str, Any], left: str) -> tuple[str, str]:
    """The flag and the sentence for a session that did not come to its end."""
    how, crash = str(message["end"]), _CRASH_LINE.findall(str(message["crash"]))
    own = next((f"{_short(file)}:{line}" for file, line in crash if "/katas/" in file), "")
    at = f", at {own}" if own else ""
    if left:
        return "crash", left
    if how == "time":
        return "timeout", "stopped: this kata had its time. An endless loop?"
    if how == "SIGXCPU":
        return "timeout", f"stopped: this kata had its time{at}. An endless loop?"
    if how == "memory":
        return "memory", f"stopped: your code took more memory than it may{at}"
    if how == "processes":
        return "processes", "stopped: your code started more processes than it may"
    if how == "output":
        return "crash", "stopped: your code wrote without end into what the tests tell"
    if how.startswith("SIG"):
        return "crash", f"your code crashed the process: {_CRASHES.get(how, how)}{at}"
    return "crash", f"the process ended ({how}) before the tests did"
