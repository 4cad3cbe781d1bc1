"""What each kata test's report carries: how it ended, where, and the sentence for the verdict.

The facts travel as a plain dict in `report.kata`, so that they survive pytest-xdist's serialisation.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest
from _pytest._code.code import ExceptionRepr

from dojo.collect import Broken, Unsolved
from dojo.failures import is_stub_error, relative, safe_str
from dojo.limits import TimeLimit

Kind = Literal["passed", "todo", "failed", "skipped"]


class Fact(TypedDict):
    """One phase of one test, as the verdict needs it."""

    kata: str  # the kata's key
    test: str
    kind: Kind
    where: str  # path:line, or empty
    says: str
    left: list[str]  # global state that the test left changed
    xray: list[str]  # the tensors in its failing frames


XRAY = "tensor X-ray"
Xray = Callable[[BaseException], list[str]]


def annotate(report: pytest.TestReport, item: pytest.Item, call: pytest.CallInfo[None], key: str, xray: Xray) -> None:
    """Put the fact on the report, and replace tracebacks that would teach nothing by one line."""
    error = call.excinfo.value if call.excinfo else None
    kind: Kind = "passed" if report.passed else "skipped" if report.skipped else "failed"
    where = says = ""
    tensors: list[str] = []
    if report.skipped:
        says = safe_str(error) if error else ""
    elif isinstance(error, Broken):
        says = str(error)
        report.longrepr = says
    elif isinstance(error, Unsolved):
        kind, says = "todo", str(error)
        report.longrepr = f"todo: {says}"
    elif is_stub_error(error):
        assert call.excinfo is not None
        kind = "todo"
        entry = call.excinfo.traceback[-1]
        where = f"{relative(Path(entry.path))}:{entry.lineno + 1}"
        says = f"{entry.name}: {safe_str(call.excinfo.value)}"
        report.longrepr = f"{where}: todo: {says}"
    elif error is not None:
        where = _line_in(item.path, call.excinfo)
        says = _sentence(report, call)
        tensors = xray(error)
        if tensors and isinstance(report.longrepr, ExceptionRepr):
            # For editors and JUnit files; on the terminal the verdict shows it.
            report.longrepr.addsection(XRAY, "\n".join(tensors))
    fact = Fact(kata=key, test=item.name, kind=kind, where=where, says=says, left=[], xray=tensors)
    report.kata = fact  # type: ignore[attr-defined]


def fact_of(report: Any) -> Fact | None:
    """The fact that `annotate` put on a report."""
    return getattr(report, "kata", None)


def hide_xray(report: Any) -> None:
    """Take the X-ray out of a report that is about to be printed above a verdict that shows it."""
    sections = getattr(report.longrepr, "sections", None)
    if sections:
        report.longrepr.sections = [section for section in sections if section[0] != XRAY]


def _line_in(path: Path, excinfo: pytest.ExceptionInfo[BaseException] | None) -> str:
    """`path:line` of the test's own line in the traceback."""
    if excinfo is None:
        return ""
    for entry in excinfo.traceback:
        if entry.frame.code.raw.co_filename == str(path):  # entry.path would ask the file system, frame by frame
            return f"{relative(path)}:{entry.lineno + 1}"
    return relative(path)


def _sentence(report: pytest.TestReport, call: pytest.CallInfo[None]) -> str:
    """The assertion's own message, without the values that assertion rewriting appends."""
    crash = getattr(report.longrepr, "reprcrash", None)
    assert call.excinfo is not None
    message = crash.message if crash is not None else call.excinfo.exconly(tryshort=True)
    if isinstance(call.excinfo.value, AssertionError | TimeLimit):  # their text is a sentence, their class says nothing
        message = message.removeprefix(f"{call.excinfo.typename}: ").removeprefix("dojo.limits.TimeLimit: ")
    lines = message.strip().splitlines()
    for i, line in enumerate(lines):
        if i > 0 and line.startswith("assert "):
            lines = lines[:i]
            break
    return "\n".join(lines)
