"""What happened: how each test ended, and what is known of a kata after a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from dojo.isolation.timeout import Timeout
from dojo.kata.files import Kata
from dojo.kata.not_run_here import Missing, NotRunHere
from dojo.kata.seam import Broken, Unsolved
from dojo.kata.source import is_stub_error
from dojo.text import relative, safe_str

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
    where: str = ""  # path:line
    says: str = ""
    missing: Missing | None = None  # what the machine lacks to run it
    unusable: bool = False  # the file itself could not be used: `says` is about it, not about the test
    leaked: list[str] = field(default_factory=list)  # global state that the learner's code left changed
    xray: list[str] = field(default_factory=list)  # the tensors in its failing frames


def kind_of(report: pytest.TestReport, error: BaseException | None) -> Kind:
    """How a test ended, in the learner's words."""
    if report.passed:
        return "passed"
    if report.skipped:
        return "skipped"
    return "todo" if isinstance(error, Unsolved) or is_stub_error(error) else "failed"


def annotate(report: pytest.TestReport, item: pytest.Item, call: pytest.CallInfo[None], kata: Kata) -> TestFact:
    """Put the fact on the report, and replace tracebacks that would teach nothing by one line."""
    error = call.excinfo.value if call.excinfo else None
    fact = TestFact(kata.key, item.name, kind_of(report, error))
    if isinstance(error, NotRunHere):
        fact.says, fact.missing = error.msg or "", error.missing
    elif report.skipped:
        fact.says = safe_str(error) if error else ""
    elif isinstance(error, Broken | Unsolved):
        fact.says, fact.unusable = str(error), True
        report.longrepr = fact.says if fact.kind == "failed" else f"todo: {fact.says}"
    elif fact.kind == "todo":
        assert call.excinfo is not None
        entry = call.excinfo.traceback[-1]
        fact.where = f"{relative(Path(entry.path))}:{entry.lineno + 1}"
        fact.says = f"{entry.name}: {safe_str(call.excinfo.value)}"
        report.longrepr = f"{fact.where}: todo: {fact.says}"
    elif call.excinfo is not None:
        fact.where = _line_in(kata.path, call.excinfo)
        fact.says = _sentence(call.excinfo)
    keep(report, fact)
    return fact


def keep(report: pytest.TestReport, fact: TestFact) -> None:
    """Let a fact travel with its report, as plain values, which pytest-xdist can send."""
    report.kata = asdict(fact)  # type: ignore[attr-defined]


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
    """The assertion's own message, without the values that assertion rewriting appends."""
    if isinstance(excinfo.value, AssertionError | Timeout):  # their text is a sentence, their class says nothing
        message = safe_str(excinfo.value)
    else:
        message = excinfo.exconly(tryshort=True)
    lines = message.strip().splitlines()
    for i, line in enumerate(lines):
        if i > 0 and line.startswith("assert "):
            return "\n".join(lines[:i])
    return "\n".join(lines)


@dataclass(frozen=True)
class Standing:
    """How a kata stands: all that is remembered of a run of it."""

    state: State
    passed: int = 0
    tests: int = 0
    no_gpu: int = 0  # tests that wait for a GPU

    @property
    def behind(self) -> bool:
        """Is nothing left to do in it here?"""
        return self.state in BEHIND


@dataclass
class Result:
    """What happened to one kata in this run."""

    kata: Kata
    collected: int = 0
    facts: dict[str, TestFact] = field(default_factory=dict)
    partial: bool = False  # some of its tests were not asked for

    def add(self, fact: TestFact) -> None:
        """Take in one report of a test: its call, or a setup or teardown that has something to say."""
        known = self.facts.setdefault(fact.test, fact)
        if known is fact:
            return
        leaked = known.leaked + fact.leaked
        if known.kind == "passed":
            known = self.facts[fact.test] = fact
        known.leaked = leaked

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
        if self.lacks("mnist"):
            return "stand-in"
        return "done" if self.count()["passed"] else "not run here"

    @property
    def standing(self) -> Standing:
        return Standing(self.state, self.count()["passed"], self.collected, self.lacks("gpu"))
