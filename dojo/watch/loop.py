"""The parent: what happens on a save, on a key, at the end of a run. It imports no torch and runs no learner's code."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from dojo.kata.files import Kata
from dojo.kata.trees import Trees
from dojo.session.facts import SOLVED
from dojo.text import relative
from dojo.watch.child import Verdict
from dojo.watch.files import changes_below, saved_kata
from dojo.watch.runs import Run, end_all
from dojo.watch.screen import KEYS, Screen

UNFINISHED = ("unfinished", "incomplete")


@dataclass(frozen=True)
class Task:
    """What a run is for: the words for it on screen, and what pytest is told."""

    title: str
    arguments: list[str]
    gives_verdict: bool = False


WALK = Task("looking for the first unfinished kata", ["--kata-verdict="], gives_verdict=True)
LIST = Task("all katas", ["--kata-list"])


def again(kata: Kata) -> Task:
    return Task(f"running {kata.name}", [f"--kata-verdict={kata.key}"], gives_verdict=True)


TASKS: dict[bytes, Callable[[Kata], Task]] = {
    b"\n": again,
    b"\r": again,
    b"h": lambda kata: Task(f"a hint for {kata.name}", [f"--kata-hint={kata.key}"]),
    b"n": lambda kata: WALK,
    b"l": lambda kata: LIST,
    b"c": lambda kata: Task(f"{kata.name} beside the reference", [f"--kata-compare={kata.key}"]),
    b"p": lambda kata: Task(f"a peek at {kata.name}", [f"--kata-compare={kata.key}", "--kata-peek"]),
    b"v": lambda kata: Task(f"the picture of {kata.name}", [f"--kata-picture={kata.key}"]),
}


class Watch:
    """The parent."""

    def __init__(self, trees: Trees, screen: Screen, options: list[str], memory_gb: float) -> None:
        """`options`: pytest's, for every run."""
        self.trees, self.watched = trees, [trees.katas, *trees.solutions]
        self.screen, self.options, self.memory_gb = screen, options, memory_gb
        self.current: Kata | None = None
        self.states: dict[str, str] = {}  # what the runs have told of each kata
        self.imports: dict[str, list[str]] = {}  # the libraries that each kata's runs have had to import
        self.task = WALK
        self.began = 0.0
        self.running: Run | None = None
        self.ahead: Run | None = None  # waits for the next save of the current kata

    def main(self) -> int:
        """Watch until `q` or Ctrl-C; returns the exit code."""
        stop = threading.Event()
        changes = changes_below(self.watched, stop)
        try:
            with self.screen.keyboard() as keyboard:
                self.screen.say(f"watching {relative(self.trees.edited)}/, waiting for a save. Ctrl-C ends it.")
                self._start(WALK)
                while self._step(changes, keyboard):
                    pass
        except KeyboardInterrupt:
            self.screen.say("")
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # all that is left to do is to clear up
            end_all()
            stop.set()
        return 0

    def _step(self, changes: Connection, keyboard: int | None) -> bool:
        """Wait for the next thing to happen, and act on it; False: that was the end."""
        sources: list[Any] = [changes, *([] if keyboard is None else [keyboard])]
        if self.running is not None:
            sources += self.running.sources()
        ready = wait(sources, self._patience())
        if self.running is not None:
            self._follow(self.running)
        if keyboard in ready and not self._press(os.read(sources[1], 1)):
            return False
        return changes not in ready or self._changed(changes.recv())

    def _patience(self) -> float | None:
        """Seconds until the run has had its time, or the seconds on the screen change."""
        if self.running is None:
            return None
        now = time.monotonic()
        return max(0.0, min(self.running.deadline - now, 1.0 - (now - self.began) % 1.0))

    # ── what happens ──

    def _changed(self, change: set[Path] | Exception) -> bool:
        """A save: the kata that was saved last is the current one. False: no more saves will be noticed."""
        if isinstance(change, Exception):
            self.screen.say(f"changed files are not noticed any more: {change}. Start the watch anew.")
            return False
        self.current = saved_kata(change, self.trees) or self.current
        if self.current is not None and not self.current.path.is_file():
            self.screen.say(f"{self.current.name} is gone: its file was deleted, or has a new name. n leads on.")
            self.current = None
        else:
            self._start(again(self.current) if self.current else WALK)
        return True

    def _press(self, key: bytes) -> bool:
        """Act on a key; False ends the watch."""
        if key in (b"q", b"", b"\x04"):
            return False
        if key == b"n" and self.current is not None and self.states.get(self.current.key) in UNFINISHED:
            self.screen.say(f"{self.current.name} is not finished yet: n leads on once it passes.")
        elif key in TASKS:
            self._start(TASKS[key](self.current) if self.current else LIST if key == b"l" else WALK)
        return True

    def _follow(self, run: Run) -> None:
        """Take in what the run tells; notice its end, or that it does not end."""
        if run.goes_on():
            if (seconds := int(time.monotonic() - self.began)) > 0:
                self.screen.tick(f"{self.task.title} · {run.busy.what}, {seconds} s")
            return
        if run.verdict is not None:
            self._learn(run.verdict)
        run.end()
        if run.verdict is None and self.task.gives_verdict:
            self.screen.say(run.why_no_verdict(self.watched))
        self.running = None
        if self.screen.has_keys:
            self.screen.say(KEYS)
        self._get_ready()

    def _learn(self, verdict: Verdict) -> None:
        """Keep what a run has told."""
        self.states.update(verdict.states)
        if self.task is WALK and verdict.current is not None:
            self.current = Kata(self.trees.katas / f"{verdict.current}.py", self.trees.katas)
        if self.current is not None and self.task.gives_verdict:
            key = self.current.key
            self.imports[key] = self.imports.get(key, []) + verdict.imported
            if self.states.get(key) in SOLVED and self.task is not WALK:
                self.screen.say("n leads to the next kata; it waits until you ask.")

    # ── runs ──

    def _start(self, task: Task) -> None:
        """Start a run; one that is still going is ended."""
        if self.running is not None:
            self.running.end()
            self.running = None
        if self.current is not None and task.gives_verdict:
            self.states.pop(self.current.key, None)
        self.task, self.began = task, time.monotonic()
        self.screen.begin(task.title)
        if self.ahead is not None and self.ahead.arguments == self._arguments(task) and self.ahead.go():
            self.running, self.ahead = self.ahead, None
        else:
            self.running = self._new_run(task)
            self.running.go()

    def _get_ready(self) -> None:
        """Have a process wait for what comes next most often: a save of the current kata."""
        task = again(self.current) if self.current else WALK
        if self.ahead is not None and self.ahead.arguments != self._arguments(task):
            self.ahead.end()
            self.ahead = None
        if self.ahead is None:
            self.ahead = self._new_run(task)

    def _new_run(self, task: Task) -> Run:
        imports = self.imports.get(self.current.key, []) if self.current and task.gives_verdict else []
        return Run(self._arguments(task), imports, self.memory_gb)

    def _arguments(self, task: Task) -> list[str]:
        return [*task.arguments, *self.options]
