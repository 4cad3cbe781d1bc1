"""The verdict: what the learner reads last. Plain lines, made from what a session knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dojo.kata.files import Kata
from dojo.kata.source import definition_line, doc_sections, stubs_in_tests
from dojo.screen.lines import Line, Page
from dojo.session.facts import SOLVED, Result, TestFact
from dojo.session.session import KataSession
from dojo.text import folded, relative

_TO_DO = "to do"


@dataclass(frozen=True)
class Verdict:
    """What one session has to say, on one page."""

    session: KataSession
    page: Page

    def lines(self) -> list[Line]:
        """All of it."""
        session, page = self.session, self.page
        results, current = [r for r in session.results.values() if not r.deselected], session.current()
        lines = self._remembered()
        if session.passed_now is not None:
            lines += self._why(session.passed_now)
        if not session.walks:
            lines += self._overview(results, current)
        if current is not None and not session.interrupted:
            lines += self._current(current)
        lines += self._leaked(results)
        for note in self._notes():
            lines += page.lines(note, "yellow")
        if session.walks:
            lines.append(self._bar())
            lines += self._asterisks()
        if session.interrupted:
            lines += page.lines(f"interrupted: {self._shown(session.interrupted)} was running", "bold")
        elif current is not None and session.trees.own:
            lines += self._what_next(current)
        elif current is None and session.walks and session.all_done():
            end = "All katas pass. `pytest --kata-compare NAME` shows the reference beside yours."
            lines += page.lines(end, "green", "bold")
        return lines

    def _remembered(self) -> list[Line]:
        """What this walk did not run."""
        session = self.session
        kept = [kata for kata in session.scope if kata.key not in session.results and session.memory.is_behind(kata)]
        return [Line(f"{len(kept)} done, unchanged since they passed")] if kept else []

    def _notes(self) -> list[str]:
        session, notes = self.session, list(self.session.problems)
        if session.command is None and (left := session.mark.take()):
            notes.append(f"the last run ended inside {self._shown(left)}: it crashed or was killed there")
        if session.selection == "-n":
            notes.append("with -n all katas ran: the stop after the first unfinished one is off")
        return notes + session.config.hook.pytest_kata_note(session=session)

    @staticmethod
    def _shown(nodeid: str) -> str:
        """`test_x of 01_alpha.py`."""
        file, _, test = nodeid.partition("::")
        return f"{test.split('::')[-1]} of {file.split('/')[-1]}" if test else nodeid

    def _why(self, kata: Kata) -> list[Line]:
        why = doc_sections(self.session.trees.reference / f"{kata.key}.py")[1]
        head = Line(f"{self.page.glyphs.good} {kata.name} passes", ("green", "bold"))
        return [head, *self.page.lines(folded(why), indent="  "), Line()]

    # ── the katas that ran ──

    def _overview(self, results: Sequence[Result], current: Result | None, most: int = 12) -> list[Line]:
        """One line per kata that ran, the current one aside."""
        others = [result for result in results if result is not current]
        if len(others) > most:
            counts = Counter(result.state for result in results)
            return self.page.lines(f"{len(results)} katas: {', '.join(f'{n} {state}' for state, n in counts.items())}")
        return [status(result, self.page) for result in others]

    def _current(self, result: Result) -> list[Line]:
        count = result.count()
        if result.state == "incomplete":
            return [Line(f"{result.kata.name} {self.page.glyphs.dot} {_ran(result)}", ("bold",))]
        head = f"{result.kata.name} {self.page.glyphs.dot} {count['passed']} of {result.collected} tests pass"
        lines = [Line(head, ("bold",))]
        if not count["passed"] and not count["failed"] and self.session.trees.own and result.kata.title:
            lines += self.page.lines(result.kata.title, indent="  ")
        unusable = next((fact for fact in result.unfinished if fact.unusable), None)
        if unusable is not None:
            return lines + self.page.lines(unusable.says, "red", indent="    ")
        failed = [fact for fact in result.unfinished if fact.kind == "failed"]
        for fact in failed:
            lines += self._failed(fact, whole=fact is failed[0])
        for fact in result.unfinished:
            if fact.kind == "todo":
                lines += self._row(self.page.glyphs.todo, fact.test, _TO_DO, "yellow")
        return lines

    def _failed(self, fact: TestFact, *, whole: bool) -> list[Line]:
        """A failing test: the first one whole, with its tensors; of the others their sentence."""
        lines = self._row(self.page.glyphs.bad, fact.test, fact.where, "red")
        said = fact.says.splitlines() or [""]
        for text in said[:4] if whole else said[:1]:
            lines += self.page.lines(text, indent="    ", most=3)
        if whole:
            lines += [Line(f"    {row}"[: self.page.width - 1], ("light",)) for row in fact.xray]
        return lines

    def _row(self, mark: str, test: str, right: str, *markup: str) -> list[Line]:
        """A test, and what stands at the right of it, or below it on a narrow console."""
        left, width = f"  {mark} {test}", self.page.width
        gap = width - len(left) - len(right) - 1
        if gap >= 2:
            return [Line(f"{left}{' ' * gap}{right}", markup)]
        shown = left if len(left) < width else f"{left[: width - 3]}.."
        return [Line(shown, markup), *([Line(f"    {right}", markup)] if right != _TO_DO else [])]

    def _leaked(self, results: Sequence[Result]) -> list[Line]:
        lines = []
        for fact in (fact for result in results for fact in result.facts.values() if fact.leaked):
            lines += self.page.lines(
                f"{fact.test}: this test left {' and '.join(fact.leaked)} changed. It has been put back, but in a "
                "program of your own it would stay: use a `with` block, or restore it yourself",
                "yellow",
            )
        return lines

    # ── where the learner is ──

    def _bar(self) -> Line:
        session, glyphs = self.session, self.page.glyphs
        done, total = sum(map(session.is_behind, session.katas)), len(session.katas)
        label = f"  {done} of {total} katas"
        room = max(4, min(46, self.page.width - len(label) - 1))
        full = room * done // max(total, 1)
        return Line(glyphs.full * full + glyphs.empty * (room - full) + label)

    def _asterisks(self) -> list[Line]:
        """What the bar counts without its being fully done."""
        standings = [known for kata in self.session.katas if (known := self.session.standing(kata))]
        states = [known.state for known in standings]
        waiting = sum(known.no_gpu for known in standings if known.state == "done")
        rows = []
        if "stand-in" in states:
            rows.append("one of them done on the stand-in data only: pytest --kata-download fetches MNIST")
        parts = [(waiting, "test"), (states.count("not run here"), "whole kata")]
        if said := [f"{n} {what}{'s' * (n > 1)}" for n, what in parts if n]:
            rows.append(f"not run here, for want of a GPU: {' and '.join(said)}")
        return [line for row in rows for line in self.page.lines(row, "yellow")]

    def _what_next(self, result: Result) -> list[Line]:
        name = "" if self.session.walks else f" {result.kata.slug}"
        edit = Line(f"edit  {self._edit_place(result)}", ("bold",))
        hint = Line(f"hint  pytest --kata-hint{name}")
        return [edit, hint] if result.unfinished else [hint]

    def _edit_place(self, result: Result) -> str:
        """`path:line` where the learner goes on: the stub that the first unfinished test is about."""
        todo = next((f for f in result.unfinished if f.kind == "todo" and f.where), None)
        first = next((f for f in result.unfinished if f.kind == "failed"), None)
        if first is None and todo is not None:
            return todo.where
        file = self.session.trees.file_of(result.kata)
        stubs = stubs_in_tests(result.kata.path).get(first.test.split("[")[0], []) if first else []
        line = next((line for stub in stubs if (line := definition_line(file, stub))), None)
        return f"{relative(file)}:{line}" if line else relative(file)


def status(result: Result, page: Page) -> Line:
    """`✓ memory/view_or_copy`, with what there is to say of it."""
    count, name, glyphs = result.count(), result.kata.name, page.glyphs
    if result.state in SOLVED:
        skipped = result.lacks("gpu")
        asterisk = f"  ({skipped} not run here)" if skipped else ""
        if result.state == "stand-in":
            return Line(f"{glyphs.good} {name}  done on the stand-in data, not on MNIST", ("yellow",))
        return Line(f"{glyphs.good} {name}{asterisk}", ("green",))
    if result.state == "not run here":
        return Line(f"{glyphs.todo} {name}  not run here: {next(iter(result.facts.values())).says}", ("yellow",))
    if result.state == "incomplete":
        return Line(f"{glyphs.todo} {name}  {_ran(result)}", ("yellow",))
    mark = glyphs.bad if count["failed"] else glyphs.todo
    return Line(f"{mark} {name}  {count['passed']} of {result.collected} tests pass", ("red",))


def _ran(result: Result) -> str:
    if result.partial:
        return f"only some of its tests ran ({len(result.facts)})"
    return f"only {len(result.facts)} of {result.collected} tests ran"
