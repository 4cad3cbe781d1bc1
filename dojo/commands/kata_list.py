"""`pytest --kata-list [WORD]`: chapters and katas, as they are remembered. Only what has changed since is run."""

from __future__ import annotations

import sys

from dojo.kata.files import Kata, without_number
from dojo.screen.kata_row import kata_row
from dojo.screen.lines import Line, Page
from dojo.session.session import Command, KataSession


def command(session: KataSession, word: str) -> Command:
    unknown = [kata for kata in session.katas if session.memory.of(kata) is None]
    if unknown:
        session.config.pluginmanager.register(_Progress(unknown))
    return Command("list", unknown, lambda session, page: _say(session, word, page))


class _Progress:
    """Says what the list waits for: on a terminal a line that counts, elsewhere one line."""

    def __init__(self, katas: list[Kata]) -> None:
        self.total, self.seen, self.file = len(katas), 0, ""
        self._write(f"running {self.total} kata{'s' * (self.total > 1)} to see how they stand\n")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        file = nodeid.split("::")[0]
        if file != self.file and sys.stderr.isatty():
            self.seen, self.file = self.seen + 1, file
            self._write(f"\r\x1b[K{self.seen} of {self.total}: {file.split('/')[-1]}")

    def pytest_runtestloop(self) -> None:
        return None

    def pytest_sessionfinish(self) -> None:
        if self.seen:
            self._write("\r\x1b[K")

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def _say(session: KataSession, word: str, page: Page) -> list[Line]:
    katas = [kata for kata in session.katas if word.lower() in kata.key.lower()]
    if not katas:
        return page.lines(f"no kata has {word!r} in its name; `pytest --kata-list` shows them all")
    blocks: list[list[Line]] = []
    chapter, at = "", 0
    current = session.first_unfinished()
    for kata in katas:
        if kata.chapter != chapter:
            chapter = kata.chapter
            blocks.append([Line(), Line(without_number(chapter), ("bold",))])
        if kata == current:
            at = len(blocks)
        blocks.append(kata_row(f"  {kata.slug}", kata, session.standing(kata), page, current=kata == current))
    done = sum(session.is_solved(kata) for kata in katas)
    end = [Line(), Line(f"{done} of {len(katas)} done")]
    if session.path:
        end += page.lines(f"the path {session.path}; --kata-path=all shows all {len(session.every)} katas")
    return [*_around(blocks, at, page.height - len(end) if page.height else None), *end]


def _around(blocks: list[list[Line]], at: int, height: int | None) -> list[Line]:
    """The part around the current kata, where not all can be seen."""
    before = [line for block in blocks[:at] for line in block]
    lines = [line for block in blocks for line in block]
    if height is None or len(lines) <= height:
        return lines
    room = max(height - 2, 3)
    first = max(0, min(len(before) - room // 2, len(lines) - room))
    left = len(lines) - room - first
    above, below = (Line(f"  ... {n} lines more {where}") for n, where in ((first, "above"), (left, "below")))
    return [*([above] if first else []), *lines[first : first + room], *([below] if left else [])]
