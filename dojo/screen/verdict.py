"""The verdict: what the learner reads last. Plain lines, made from what a session knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dojo.kata.files import Kata, without_number
from dojo.kata.source import (
    definition_line,
    doc_sections,
    helpers_named_like_tests,
    stub_names,
    stubs_in_tests,
)
from dojo.screen.kata_row import about_the_lesson, kata_row, ran
from dojo.screen.lines import Line, Page, fitting
from dojo.session.facts import Result, TestFact
from dojo.session.session import KataSession
from dojo.text import folded, listed, relative

_TO_DO = "to do"
_PRINTED = 10  # lines of what the code printed


@dataclass(frozen=True)
class Verdict:
    """What one session has to say, on one page."""

    session: KataSession
    page: Page

    def lines(self) -> list[Line]:
        """All of it."""
        session, current = self.session, self.session.current()
        parts = [
            self._remembered(),
            self._why(session.passed_now) if session.passed_now is not None else [],
            [] if session.walks else self._overview(current),
            self._current(current) if current is not None and not session.interrupted else [],
            self._notes(),
        ]
        body = [line for part in parts if part for line in (*part, Line())]
        return fitting(body, self._end(current), self.page.height)

    def _remembered(self) -> list[Line]:
        """What this walk did not run."""
        session = self.session
        kept = [kata for kata in session.scope if kata.key not in session.results and session.memory.is_behind(kata)]
        return [Line(f"{len(kept)} done, unchanged since they passed")] if kept else []

    def _why(self, kata: Kata) -> list[Line]:
        known, why = self.session.standing(kata), doc_sections(self.session.trees.reference / f"{kata.key}.py")[1]
        told = [line for note in (known.notes if known else ()) for line in self.page.lines(note, "bold", indent="  ")]
        head = Line(f"{self.page.glyphs.good} {kata.name} passes", ("green", "bold"))
        return [head, *told, *self.page.lines(folded(why), indent="  ")]

    # ── the katas that ran ──

    def _overview(self, current: Result | None, most: int = 12) -> list[Line]:
        """One line per kata that ran, where there are several, or the one is done."""
        results = self.session.ran()
        if len(results) > most:
            counts = Counter(result.state for result in results)
            return self.page.lines(f"{len(results)} katas: {', '.join(f'{n} {state}' for state, n in counts.items())}")
        if results == [current]:
            return []
        rows = (kata_row(r.kata.name, r.kata, r.standing, self.page, current=r is current) for r in results)
        return [line for row in rows for line in row]

    def _current(self, result: Result) -> list[Line]:
        kata, count, page = result.kata, result.count(), self.page
        head = f"{kata.name} {page.glyphs.dot} {count['passed']} of {result.collected} tests pass"
        if result.state == "incomplete" or result.partial:
            head = f"{kata.name} {page.glyphs.dot} {ran(result.standing)}"
        lines = page.lines(head, "bold")
        if not result.unfinished:
            return lines
        unusable = next((fact for fact in result.unfinished if fact.unusable), None)
        if unusable is not None:
            return lines + page.lines(unusable.says, "red", indent="    ")
        if not count["passed"] and not count["failed"] and self.session.trees.own and kata.title:
            lines += page.lines(kata.title, indent="  ")
            if about := about_the_lesson(kata.lesson):
                lines += page.lines(about, indent="  ")
        return lines + self._by_function(result)

    def _tests_of(self, result: Result) -> dict[str, list[TestFact]]:
        """The tests of each function, in the order of the functions; a test belongs to the first that it uses."""
        used = stubs_in_tests(result.kata.path)
        names = stub_names(result.kata.path, self.session.trees.reference / f"{result.kata.key}.py")
        tests: dict[str, list[TestFact]] = {name: [] for name in names}
        for fact in result.facts.values():
            tests.setdefault(next(iter(used.get(fact.function, ())), ""), []).append(fact)
        return tests

    def _by_function(self, result: Result) -> list[Line]:
        """Each function with its count, then the tests that do not pass under the function that they are about."""
        tests = self._tests_of(result)
        counts = [f"{name} {_passed(facts)} of {len(facts)}" for name, facts in tests.items() if name and facts]
        several, begun = len(tests) > 1, any(fact.kind != "todo" for fact in result.facts.values())
        lines = self.page.lines(f" {self.page.glyphs.dot} ".join(counts), indent="  ") if several and begun else []
        shown = _causes_once([fact for facts in tests.values() for fact in facts if fact.kind in ("failed", "todo")])
        first = next((fact for fact in shown if fact.kind == "failed"), None)
        printed = next((fact for fact in [first, *shown] if fact is not None and fact.printed), None)
        by_failure = sorted(tests.items(), key=lambda pair: not any(fact.kind == "failed" for fact in pair[1]))
        for name, facts in by_failure:
            here = [fact for fact in facts if fact in shown]
            untouched = several and all(fact.kind == "todo" and fact.stub == name for fact in here)
            if several and here:
                lines += self._row(f"  {name}", _TO_DO if untouched else "", "yellow" if untouched else "bold")
            for fact in here:
                if fact.kind == "todo":
                    right = "" if untouched else f"{_TO_DO}: {fact.stub}" if several and fact.stub != name else _TO_DO
                    lines += self._row(f"  {self.page.glyphs.todo} {fact.test}", right, "yellow")
                else:
                    lines += self._failed(fact, result, whole=fact is first)
                lines += self._printed(fact) if fact is printed else []
        return lines

    def _failed(self, fact: TestFact, result: Result, *, whole: bool) -> list[Line]:
        """A failing test: the first one whole, with its tensors; of the others their sentence."""
        page, said = self.page, fact.says.splitlines() or [""]
        lines = self._row(f"  {page.glyphs.bad} {fact.test}", fact.where, "red")
        lines += page.lines(said[0], indent="    ")
        if whole:
            details = [page.wrapped(text, "    ", most=99) for text in said[1:]]
            kept = [rows for rows in details if len(rows) <= (3 if "[[" in rows[0] else 6)][:6]  # whole, or not at all
            lines += [Line(row) for rows in kept for row in rows]
            lines += [Line("    ... (-v shows all of it)")] if len(kept) < len(details) else []
            lines += page.lines(f"at {fact.at}: {fact.source}", indent="    ") if fact.at else []
            lines += [Line(f"    {row}"[: page.width - 1], ("light",)) for row in fact.xray]
        alike = sum(other.kind == "failed" and other.cause == fact.cause for other in result.unfinished) - 1
        return [*lines, *([Line(f"    the same in {alike} more test{'s' * (alike > 1)}", ("red",))] if alike else [])]

    def _printed(self, fact: TestFact) -> list[Line]:
        """The last lines that the code printed."""
        rows = fact.printed.splitlines()
        head = f"printed ({len(rows)} lines, the last {_PRINTED}):" if len(rows) > _PRINTED else "printed:"
        shown = [f"    | {row.expandtabs()}"[: self.page.width - 1] for row in rows[-_PRINTED:]]
        return [Line(row, ("light",)) for row in (f"    {head}", *shown)]

    def _row(self, left: str, right: str, *markup: str) -> list[Line]:
        """A test, and what stands at the right of it, or below it on a narrow console."""
        width = self.page.width
        gap = width - len(left) - len(right) - 1
        if gap >= 2:
            return [Line(f"{left}{' ' * gap}{right}".rstrip(), markup)]
        shown = left if len(left) < width else f"{left[: width - 3]}.."
        below = self.page.broken_path(right, "    ") if right and right != _TO_DO else []
        return [Line(shown, markup), *(Line(row, markup) for row in below)]

    # ── what else there is to say ──

    def _notes(self) -> list[Line]:
        session, notes = self.session, list(self.session.problems)
        if left := list(dict.fromkeys(left for r in session.ran() for f in r.facts.values() for left in f.leaked)):
            notes.append(
                f"your code left {listed(left)}. It has been put back; in a program of your own it would stay: "
                "use a `with` block, or put it back yourself"
            )
        current = session.current()
        for name in helpers_named_like_tests(current.kata.path) if current is not None else ():
            notes.append(f"{name} is a function of yours, not run as a test: what is called test_... stands below")
        if session.command is None and (nodeid := session.mark.take()):
            notes.append(f"the last run ended inside {_shown(nodeid)}: it crashed or was killed there")
        if session.selection == "-n":
            notes.append("with -n all katas ran: the stop after the first unfinished one is off")
        notes += session.config.hook.pytest_kata_note(session=session)
        return [line for note in notes for line in self.page.lines(note, "yellow")]

    # ── where the learner is ──

    def _end(self, current: Result | None) -> list[Line]:
        session = self.session
        lines = [self._bar(), *self._asterisks()] if session.walks else self._count()
        if session.interrupted:
            return lines + self.page.lines(f"interrupted: {_shown(session.interrupted)} was running", "bold")
        if not session.trees.own:
            return lines
        if current is not None:
            return lines + (self._what_next(current) if current.unfinished else [])
        if session.all_done():
            return lines + self._all_done()
        following = session.first_unfinished()
        if session.walks or session.command is not None or following is None or not session.ran():
            return lines
        return lines + self._command("next", relative(session.trees.file_of(following)), "pytest ")

    def _all_done(self) -> list[Line]:
        if not self.session.walks:
            return []
        text = "All katas pass. `pytest --kata-compare NAME` shows the reference beside yours."
        if self.session.path:
            text = f"All katas of {self.session.path} pass. `pytest --kata-path=all` leads on through the others."
        return self.page.lines(text, "green", "bold")

    def _bar(self) -> Line:
        session, glyphs = self.session, self.page.glyphs
        done, total = sum(map(session.is_behind, session.katas)), len(session.katas)
        label = f"  {done} of {total} katas{f' of {session.path}' if session.path else ''}"
        room = max(4, min(46, self.page.width - len(label) - 1))
        full = room * done // max(total, 1)
        return Line(glyphs.full * full + glyphs.empty * (room - full) + label)

    def _count(self) -> list[Line]:
        """How far the learner is in the chapter, or among all katas, of which some were selected by hand."""
        session = self.session
        chapters = {result.kata.chapter for result in session.ran()}
        if not session.trees.own or not chapters:
            return []
        one = next(iter(chapters)) if len(chapters) == 1 else None
        katas = [kata for kata in session.every if one in (None, kata.chapter)]
        where = f"in {without_number(one)}" if one else "katas"
        return [Line(f"{sum(map(session.is_behind, katas))} of {len(katas)} {where} done")]

    def _asterisks(self) -> list[Line]:
        """What the bar counts without its being fully done."""
        standings = [known for kata in self.session.katas if (known := self.session.standing(kata))]
        states = [known.state for known in standings]
        waiting = sum(known.no_gpu for known in standings if known.state == "done")
        rows = []
        if "stand-in" in states:
            rows.append("one of them done on the stand-in data only: pytest --kata-download fetches MNIST")
        whole = [known.needs for known in standings if known.state == "not run here"]
        rows += [f"not run here: {needs}" for needs in dict.fromkeys(filter(None, whole))]
        parts = [(waiting, "test"), (whole.count(""), "whole kata")]
        if said := [f"{n} {what}{'s' * (n > 1)}" for n, what in parts if n]:
            rows.append(f"not run here, for want of a GPU: {listed(said)}")
        return [line for row in rows for line in self.page.lines(row, "yellow")]

    def _what_next(self, result: Result) -> list[Line]:
        name = "" if self.session.walks else f" {result.kata.slug}"
        edit = [Line(line.text, ("bold",)) for line in self._command("edit", self._edit_place(result))]
        if self.session.command is not None:  # in the watch a key gives the hint
            return edit
        return edit + self._command("hint", f"--kata-hint{name}", "pytest ")

    def _command(self, what: str, place: str, before: str = "") -> list[Line]:
        """`edit  katas/…:31`; a path that is too long for the line is broken at a slash."""
        text = f"{what}  {before}{place}"
        long = [f"{what}  {before}".rstrip(), *self.page.broken_path(place, "  ")]
        return [Line(row) for row in ([text] if len(text) < self.page.width else long)]

    def _edit_place(self, result: Result) -> str:
        """`path:line` where the learner goes on: where their code raised, or the stub that the first failure is about.

        Without a failure, the first stub that is to do.
        """
        if unusable := next((fact for fact in result.unfinished if fact.unusable and fact.where), None):
            return unusable.where
        unfinished = [fact for facts in self._tests_of(result).values() for fact in facts if fact in result.unfinished]
        fact = next((fact for fact in unfinished if fact.kind == "failed"), unfinished[0])
        if fact.kind == "todo" or fact.at:
            return fact.at or fact.where
        file = self.session.trees.file_of(result.kata)
        stubs = stubs_in_tests(result.kata.path).get(fact.function, [])
        return f"{relative(file)}:{next((line for stub in stubs if (line := definition_line(file, stub))), 1)}"


def _passed(facts: Sequence[TestFact]) -> int:
    return sum(fact.kind == "passed" for fact in facts)


def _causes_once(facts: Sequence[TestFact]) -> list[TestFact]:
    """Of the failures that have one cause the first; all that is to do."""
    causes = dict[str, TestFact]()
    for fact in facts:
        if fact.kind == "failed":
            causes.setdefault(fact.cause, fact)
    return [fact for fact in facts if fact.kind == "todo" or causes[fact.cause] is fact]


def _shown(nodeid: str) -> str:
    """`test_x of 01_alpha.py`."""
    file, _, test = nodeid.partition("::")
    return f"{test.split('::')[-1]} of {Path(file).name}" if test else nodeid
