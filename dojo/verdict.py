"""The verdict: what the learner reads last. Built as plain lines from facts, then written to the terminal."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dojo.catalog import Kata, find_test, stub_line
from dojo.failures import relative
from dojo.reports import Fact

_TO_DO = "to do"

State = Literal["done", "stand-in", "not run here", "unfinished", "incomplete"]


@dataclass
class Result:
    """What is known of one kata after a run."""

    kata: Kata
    collected: int = 0
    facts: dict[str, Fact] = field(default_factory=dict)

    def add(self, fact: Fact) -> None:
        """Take in one report of a test: its call, or a setup or teardown that has something to say."""
        known = self.facts.setdefault(fact["test"], fact)
        if known is fact:
            return
        left = known["left"] + fact["left"]
        if known["kind"] == "passed":
            known = self.facts[fact["test"]] = fact
        known["left"] = left

    def count(self) -> Counter[str]:
        return Counter(fact["kind"] for fact in self.facts.values())

    @property
    def unfinished(self) -> list[Fact]:
        """The facts of the tests that do not pass, in the order of the file."""
        return [fact for fact in self.facts.values() if fact["kind"] in ("failed", "todo")]

    @property
    def state(self) -> State:
        if self.unfinished:
            return "unfinished"
        if len(self.facts) < self.collected or not self.facts:
            return "incomplete"
        if any(fact["kind"] == "skipped" and fact["says"].startswith("STAND-IN") for fact in self.facts.values()):
            return "stand-in"
        return "done" if self.count()["passed"] else "not run here"


@dataclass(frozen=True)
class Glyphs:
    """The marks of the verdict; ASCII where the console can't do better."""

    good: str = "✓"
    bad: str = "✗"
    todo: str = "○"
    full: str = "━"
    empty: str = "─"
    dot: str = "·"

    @staticmethod
    def for_encoding(encoding: str | None) -> Glyphs:
        fancy = Glyphs()
        try:
            "".join(vars(fancy).values()).encode(encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return Glyphs(good="+", bad="x", todo="o", full="#", empty="-", dot="|")
        return fancy


@dataclass(frozen=True)
class Line:
    """One line of the screen, with the markup names of pytest's TerminalWriter."""

    text: str = ""
    markup: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """Turns results into lines for a console of some width."""

    width: int
    glyphs: Glyphs
    colour: bool = False

    def verdict(
        self,
        results: Sequence[Result],
        total: int,
        *,
        walked: bool,
        own_files: bool,
        notes: Sequence[str] = (),
        passed_now: tuple[Kata, str] | None = None,
        likely: str | None = None,
    ) -> list[Line]:
        """The whole verdict of one run.

        results: the katas that ran, in order.  total: all katas there are.  walked: the run stops at the first
        unfinished kata, so that the ones before it are all the finished ones.  passed_now: a kata that passes for the
        first time, and its why.  likely: the sentence of the known mistake that the current kata's failures look like.
        """
        lines: list[Line] = []
        if passed_now is not None:
            lines += self._why(*passed_now)
        current = next((r for r in results if r.state in ("unfinished", "incomplete")), None)
        if not walked:
            lines += self._overview(results, current)
        if current is not None:
            shown = self._current(current, own_files)
            lines += shown
            if likely and _folded(likely) not in _folded(" ".join(line.text for line in shown)):
                lines += [Line(row, ("cyan",)) for row in self.wrapped(f"This is what you see when: {likely}")]
        lines += self._left(results)
        lines += [Line(row, ("yellow",)) for note in notes for row in self.wrapped(note)]
        if walked:
            done = sum(r.state in ("done", "stand-in", "not run here") for r in results)
            lines.append(self._bar(done, total))
            lines += self._asterisks(results)
        if current is not None and own_files:
            lines += self._what_next(current, walked)
        elif current is None and walked and results:
            lines += [
                Line(row, ("green", "bold"))
                for row in self.wrapped(
                    "All katas pass. `pytest --kata-compare NAME` shows the reference beside yours."
                )
            ]
        return lines

    def _why(self, kata: Kata, why: str) -> list[Line]:
        head = [Line(f"{self.glyphs.good} {kata.name} passes", ("green", "bold"))]
        return head + [Line(row) for row in self.wrapped(" ".join(why.split()), "  ")] + [Line()]

    def _overview(self, results: Sequence[Result], current: Result | None, most: int = 12) -> list[Line]:
        """One line per kata that ran, the current one aside."""
        rows = [self.status(r) for r in results if r is not current]
        if len(rows) > most:
            counts = Counter(r.state for r in results)
            said = ", ".join(f"{n} {state}" for state, n in counts.items())
            return [Line(row) for row in self.wrapped(f"{len(results)} katas: {said}")]
        return rows

    def status(self, result: Result) -> Line:
        """`✓ memory/view_or_copy`, with what there is to say of it."""
        count = result.count()
        skipped = f"  ({count['skipped']} not run here)" if count["skipped"] else ""
        name = result.kata.name
        if result.state == "done":
            return Line(f"{self.glyphs.good} {name}{skipped}", ("green",))
        if result.state == "stand-in":
            return Line(f"{self.glyphs.good} {name}  done on the stand-in data, not on MNIST", ("yellow",))
        if result.state == "not run here":
            return Line(
                f"{self.glyphs.todo} {name}  not run here: {next(iter(result.facts.values()))['says']}", ("yellow",)
            )
        if result.state == "incomplete":
            return Line(f"{self.glyphs.todo} {name}  {self._ran(result)}", ("yellow",))
        mark = self.glyphs.bad if count["failed"] else self.glyphs.todo
        return Line(f"{mark} {name}  {count['passed']} of {result.collected} tests pass", ("red",))

    def _ran(self, result: Result) -> str:
        return f"only {len(result.facts)} of {result.collected} tests ran"

    def _current(self, result: Result, own_files: bool) -> list[Line]:
        count = result.count()
        if result.state == "incomplete":
            return [Line(f"{result.kata.name} {self.glyphs.dot} {self._ran(result)}", ("bold",))]
        head = f"{result.kata.name} {self.glyphs.dot} {count['passed']} of {result.collected} tests pass"
        lines = [Line(head, ("bold",))]
        if not count["passed"] and not count["failed"] and own_files and result.kata.title:
            lines += [Line(f"  {row}") for row in self.wrapped(result.kata.title, "")]
        broken = self._broken(result)
        if broken:
            return lines + [Line(row, ("red",)) for row in self.wrapped(broken, "    ")]
        first = True
        for fact in sorted(result.unfinished, key=lambda fact: fact["kind"] == "todo"):
            if fact["kind"] == "todo":
                lines += self._row(self.glyphs.todo, fact["test"], _TO_DO, ("yellow",))
            else:
                lines += self._row(self.glyphs.bad, fact["test"], fact["where"], ("red",))
                said = fact["says"].splitlines() or [""]
                shown = said[:4] if first else said[:1]
                lines += [Line(row) for text in shown for row in self.wrapped(text, "    ", 3)]
                lines += [Line(f"    {row}"[: self.width - 1], ("light",)) for row in fact["xray"] if first]
                first = False
        return lines

    @staticmethod
    def _broken(result: Result) -> str:
        """The one message of a file that could not be used at all."""
        messages = {fact["says"] for fact in result.unfinished}
        if len(messages) == 1 and len(result.unfinished) == len(result.facts):
            fact = result.unfinished[0]
            if not fact["where"]:
                return fact["says"]
        return ""

    def _row(self, mark: str, test: str, right: str, markup: tuple[str, ...]) -> list[Line]:
        """A test, and what stands at the right of it, or below it on a narrow console."""
        left = f"  {mark} {test}"
        gap = self.width - len(left) - len(right) - 1
        if gap >= 2:
            return [Line(f"{left}{' ' * gap}{right}", markup)]
        shown = left if len(left) < self.width else f"{left[: self.width - 3]}.."
        return [Line(shown, markup), *([Line(f"    {right}", markup)] if right != _TO_DO else [])]

    def _left(self, results: Sequence[Result]) -> list[Line]:
        from dojo.guard import leak_sentence

        rows = []
        for result in results:
            for fact in result.facts.values():
                if fact["left"]:
                    text = f"{fact['test']}: {leak_sentence(fact['left'])}"
                    rows += [Line(row, ("yellow",)) for row in self.wrapped(text)]
        return rows

    def _bar(self, done: int, total: int) -> Line:
        label = f"  {done} of {total} katas"
        room = max(4, min(46, self.width - len(label) - 1))
        full = room * done // max(total, 1)
        return Line(self.glyphs.full * full + self.glyphs.empty * (room - full) + label)

    def _asterisks(self, results: Sequence[Result]) -> list[Line]:
        """What the bar counts without its being fully done."""
        here = sum(r.state == "not run here" for r in results)
        tests = sum(r.count()["skipped"] for r in results if r.state == "done")
        rows = []
        if any(r.state == "stand-in" for r in results):
            rows.append("one of them done on the stand-in data only: pytest --kata-download fetches MNIST")
        if here or tests:
            parts = [f"{n} {what}{'s' * (n > 1)}" for n, what in ((tests, "test"), (here, "whole kata")) if n]
            rows.append(f"not run here, for want of a GPU: {' and '.join(parts)}")
        return [Line(line, ("yellow",)) for row in rows for line in self.wrapped(row)]

    def _what_next(self, result: Result, walked: bool) -> list[Line]:
        name = "" if walked else f" {result.kata.slug}"
        return [Line(f"edit  {edit_place(result)}", ("bold",)), Line(f"hint  pytest --kata-hint{name}")]

    def wrapped(self, text: str, indent: str = "", most: int = 12) -> list[str]:
        """The text within the width; lines that are already broken stay broken."""
        rows: list[str] = []
        for line in text.splitlines() or [""]:
            inner = indent + " " * (len(line) - len(line.lstrip()))
            rows += textwrap.wrap(
                line.strip(),
                max(20, self.width - 1),
                initial_indent=inner,
                subsequent_indent=inner,
                break_on_hyphens=False,
                break_long_words=False,
            ) or [""]
        return rows[:most]


def _folded(text: str) -> str:
    return " ".join(text.split())


def edit_place(result: Result) -> str:
    """`path:line` where the learner goes on: the stub that the first unfinished test is about."""
    todo = next((f for f in result.unfinished if f["kind"] == "todo" and f["where"]), None)
    first = next((f for f in result.unfinished if f["kind"] == "failed"), None)
    if first is not None:
        line = stub_line(result.kata, find_test(result.kata, first["test"]))
        return f"{relative(result.kata.path)}:{line}" if line else relative(result.kata.path)
    return todo["where"] if todo else relative(Path(result.kata.path))
