"""What happened: how each test ended, and what is known of a kata after a run."""

from __future__ import annotations

import linecache
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from dojo.isolation.timeout import Timeout
from dojo.kata.files import Kata
from dojo.kata.import_failure import Broken
from dojo.kata.not_run_here import Missing, NotRunHere
from dojo.kata.seam import Unsolved
from dojo.kata.source import is_stub_error
from dojo.kata.trees import Trees
from dojo.text import first_lines, relative, safe_str

_COMPARES = re.compile(r" (?:==|<=?|>=?|(?<!not )in|is(?! not)) ")  # what is equal where it must not be says nothing
Kind = Literal["passed", "todo", "failed", "skipped"]
State = Literal["done", "stand-in", "not run here", "unfinished", "incomplete"]
SOLVED: tuple[State, ...] = ("done", "stand-in")  # counted as done
BEHIND: tuple[State, ...] = (*SOLVED, "not run here")  # nothing is left to do here


@dataclass
class TestFact:
    """One test, as the verdict needs it."""

    __test__ = False  # not a class of tests

    kata: str  # the kata's key
    test: str  # its id, as test_x[2]
    kind: Kind
    where: str = ""  # path:line of the test
    says: str = ""
    stub: str = ""  # the function that is to do
    at: str = ""  # path:line where the learner's own code raised
    source: str = ""  # that line
    cause: str = ""  # the error itself, for finding out which failures have the same
    error: str = ""  # its class
    missing: Missing | None = None  # what the machine lacks to run it
    unusable: bool = False  # the file itself could not be used: `says` is about it, not about the test
    printed: str = ""  # what the code under test has written to stdout and stderr
    notes: list[str] = field(default_factory=list)  # what the test has to say although it passed
    leaked: list[str] = field(default_factory=list)  # global state that the learner's code left changed
    xray: list[str] = field(default_factory=list)  # the tensors in its failing frames

    @property
    def function(self) -> str:
        """The test function: its name without parameters."""
        return self.test.split("[")[0]


def kind_of(report: pytest.TestReport, error: BaseException | None) -> Kind:
    """How a test ended, in the learner's words."""
    if report.passed:
        return "passed"
    if report.skipped:
        return "skipped"
    return "todo" if isinstance(error, Unsolved) or is_stub_error(error) else "failed"


def annotate(
    report: pytest.TestReport, item: pytest.Item, call: pytest.CallInfo[None], kata: Kata, trees: Trees
) -> TestFact:
    """Put the fact on the report, and replace tracebacks that would teach nothing by one line."""
    error = call.excinfo.value if call.excinfo else None
    fact = TestFact(kata.key, item.name, kind_of(report, error))
    if isinstance(error, NotRunHere):
        fact.says, fact.missing = error.msg or "", error.missing
    elif report.skipped:
        fact.says = safe_str(error) if error else ""
    elif isinstance(error, Broken | Unsolved):
        fact.says, fact.unusable, fact.where = str(error), True, getattr(error, "where", "")
        fact.error = getattr(error, "error", "")
        report.longrepr = fact.says if fact.kind == "failed" else f"todo: {fact.says}"
    elif fact.kind == "todo":
        assert call.excinfo is not None
        entry = call.excinfo.traceback[-1]
        fact.where, fact.stub = f"{relative(Path(entry.path))}:{entry.lineno + 1}", entry.name
        fact.says = f"{entry.name}: {safe_str(call.excinfo.value)}"
        report.longrepr = f"{fact.where}: todo: {fact.says}"
    elif call.excinfo is not None:
        fact.where = _line_in(kata.path, call.excinfo)
        fact.says = _sentence(call.excinfo)
        fact.cause, fact.error = _cause(call.excinfo.value), type(_root(call.excinfo.value)).__name__
        if place := trees.learners_line(call.excinfo.value, kata):
            fact.at, fact.source = (
                f"{relative(place[0])}:{place[1]}",
                linecache.getline(str(place[0]), place[1]).strip(),
            )
    if fact.kind in ("failed", "todo"):
        fact.printed = (report.capstdout + report.capstderr).rstrip()
    keep(report, fact)
    return fact


def _cause(error: BaseException) -> str:
    """The error that the learner's code raised; of a failed assertion its first line."""
    root = _root(error)
    said = first_lines(root, 1)
    return said if isinstance(root, AssertionError) else f"{type(root).__name__}: {said}"


def _root(error: BaseException) -> BaseException:
    return error.__cause__ if isinstance(error, AssertionError) and error.__cause__ is not None else error


def keep(report: pytest.TestReport, fact: TestFact) -> None:
    """Let a fact travel with its report, as plain values, which pytest-xdist can send."""
    report.kata = dict(vars(fact))  # type: ignore[attr-defined]


def fact_of(report: Any) -> TestFact | None:
    """The fact that `keep` put on a report."""
    data = getattr(report, "kata", None)
    return TestFact(**data) if data is not None else None


def _line_in(path: Path, excinfo: pytest.ExceptionInfo[BaseException]) -> str:
    """`path:line` of the test's own line in the traceback."""
    for entry in excinfo.traceback:
        if entry.frame.code.raw.co_filename == str(path):  # entry.path would ask the file system, frame by frame
            return f"{relative(path)}:{entry.lineno + 1}"
    return relative(path)


def _sentence(excinfo: pytest.ExceptionInfo[BaseException]) -> str:
    """The assertion's own message; of what assertion rewriting appends, the comparison with its values."""
    error = excinfo.value
    if isinstance(error, AssertionError | Timeout):  # their text is a sentence, their class says nothing
        lines = safe_str(error).strip().splitlines()
    else:
        lines = f"{type(error).__name__}: {first_lines(error, 8)}".splitlines()
    for i, line in enumerate(lines):
        if i > 0 and line.startswith("assert "):
            return "\n".join(lines[: i + bool(_COMPARES.search(line))])
    return "\n".join(lines)


@dataclass(frozen=True)
class Standing:
    """How a kata stands: all that is remembered of a run of it."""

    state: State
    passed: int = 0
    tests: int = 0
    ran: int = 0
    no_gpu: int = 0  # tests that wait for a GPU
    needs: str = ""  # the package that some of its tests wait for, in words
    notes: tuple[str, ...] = ()  # what its tests had to say

    @property
    def behind(self) -> bool:
        """Is nothing left to do in it here?"""
        return self.state in BEHIND


@dataclass
class Result:
    """What happened to one kata in this run."""

    kata: Kata
    collected: int = 0
    left_out: int = 0  # tests that were deselected
    facts: dict[str, TestFact] = field(default_factory=dict)
    partial: bool = False  # some of its tests were not asked for

    def add(self, fact: TestFact) -> None:
        """Take in one report of a test: its call, or a setup or teardown that has something to say."""
        known = self.facts.setdefault(fact.test, fact)
        if known is fact:
            return
        leaked, notes = known.leaked + fact.leaked, known.notes + fact.notes
        if known.kind == "passed":
            known = self.facts[fact.test] = fact
        known.leaked, known.notes = leaked, notes

    def count(self) -> Counter[Kind]:
        return Counter(fact.kind for fact in self.facts.values())

    @property
    def unfinished(self) -> list[TestFact]:
        """The facts of the tests that do not pass, in the order of the file."""
        return [fact for fact in self.facts.values() if fact.kind in ("failed", "todo")]

    def lacks(self, missing: Missing) -> int:
        """How many tests could not run here for want of that."""
        return sum(fact.missing == missing for fact in self.facts.values())

    @property
    def deselected(self) -> bool:
        """Was none of its tests asked for?"""
        return self.partial and not self.collected

    @property
    def state(self) -> State:
        if self.unfinished:
            return "unfinished"
        if self.partial or len(self.facts) < self.collected or not self.facts:
            return "incomplete"
        if self.lacks("package"):
            return "not run here"
        if self.lacks("mnist"):
            return "stand-in"
        return "done" if self.count()["passed"] else "not run here"

    @property
    def standing(self) -> Standing:
        notes = tuple(note for fact in self.facts.values() for note in fact.notes)
        return Standing(
            self.state,
            self.count()["passed"],
            self.collected + self.left_out,
            len(self.facts),
            self.lacks("gpu"),
            next((fact.says for fact in self.facts.values() if fact.missing == "package"), ""),
            notes,
        )
