"""`pytest --kata-list`: chapters and katas, as they are remembered. Only what has changed since is run."""

from __future__ import annotations

import sys

from dojo.kata.files import Kata, without_number
from dojo.screen.lines import Line, Page
from dojo.session.facts import SOLVED, Standing
from dojo.session.session import Command, KataSession


def command(session: KataSession) -> Command:
    unknown = [kata for kata in session.katas if session.memory.of(kata) is None]
    if unknown:
        session.config.pluginmanager.register(_Progress(unknown))
    return Command("list", unknown, _say)


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


def _say(session: KataSession, page: Page) -> list[Line]:
    lines: list[Line] = []
    chapter = ""
    current = session.first_unfinished()
    for kata in session.katas:
        if kata.chapter != chapter:
            chapter = kata.chapter
            lines += [Line(), Line(without_number(chapter), ("bold",))]
        lines.append(_row(kata, session.standing(kata), kata == current, page))
    standings = map(session.standing, session.katas)
    done = sum(known is not None and known.state in SOLVED for known in standings)
    return [*lines, Line(), Line(f"{done} of {len(session.katas)} done")]


def _row(kata: Kata, known: Standing | None, is_current: bool, page: Page) -> Line:
    glyphs = page.glyphs
    if known is not None and known.state == "done":
        return Line(
            f"  {glyphs.good} {kata.slug}{f'  ({known.no_gpu} not run here)' if known.no_gpu else ''}", ("green",)
        )
    if known is not None and known.state == "stand-in":
        return Line(f"  {glyphs.good} {kata.slug}  done on the stand-in data, not on MNIST", ("yellow",))
    if known is not None and known.state == "not run here":
        return Line(f"  {glyphs.todo} {kata.slug}  not run here: needs a GPU", ("yellow",))
    passed = f"{known.passed} of {known.tests} tests pass" if known is not None and known.tests else "to do"
    if is_current:
        return Line(f"  > {kata.slug}  current: {passed}", ("bold",))
    return Line(f"  {glyphs.todo} {kata.slug}{f'  begun: {passed}' if known is not None and known.passed else ''}")
