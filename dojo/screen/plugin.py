"""Hooks of the screen: the letter of a stub, the X-ray of a failure, one traceback, the verdict."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from typing import Any

import pytest
from _pytest._code.code import ExceptionRepr

from dojo.isolation.calls import Forbidden
from dojo.kata.trees import TREES
from dojo.screen.lines import Line, Page, write
from dojo.screen.verdict import Verdict
from dojo.session.facts import fact_of, keep
from dojo.session.session import SESSION, KataSession

_MEMORY_CHAPTER = "02"  # strides, versions and shared memory are told of from there on
_XRAY = "tensor X-ray"  # the title of a section of a report


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("katas")
    group.addoption("--kata-no-xray", action="store_true", help="do not show the tensors of a failing test")


@pytest.hookimpl(trylast=True)  # once the session is there
def pytest_sessionstart(session: pytest.Session) -> None:
    ours = session.config.stash.get(SESSION, None)
    if ours is not None:
        session.config.pluginmanager.register(Screen(ours), "kata-screen")


@pytest.hookimpl(wrapper=True)
def pytest_report_header(config: pytest.Config) -> Generator[None, list[Any], list[Any]]:
    """Says whose functions are tested. pytest-benchmark's settings, two lines of them, are for its own runs."""
    lines = yield
    if not getattr(config.option, "benchmark_only", False):
        lines = [line for line in lines if not str(line).startswith("benchmark: ")]
    folders = config.option.kata_solutions
    return [*lines, *([f"katas: tests from katas/, functions from {', '.join(folders)}"] if folders else [])]


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around the one that puts the fact on the report
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fact = fact_of(report)
    error = call.excinfo.value if call.excinfo else None
    if fact is None or fact.kind != "failed" or fact.unusable or error is None or item.config.option.kata_no_xray:
        return report
    if isinstance(error, Forbidden):
        return report  # it is about no tensor
    from dojo.screen.xray import xray

    width, beginners = shutil.get_terminal_size().columns - 4, fact.kata < _MEMORY_CHAPTER
    fact.xray = xray(error, item.config.stash[TREES].is_learner_code, width, for_beginners=beginners)
    keep(report, fact)
    if fact.xray and isinstance(report.longrepr, ExceptionRepr):
        # For editors, JUnit files and -v; else the verdict shows it.
        report.longrepr.addsection(_XRAY, "\n".join(fact.xray))
    return report


class Screen:
    """Plugin of the process that owns the terminal."""

    def __init__(self, session: KataSession) -> None:
        self.session = session
        self.config = session.config
        self.said = False
        self.held_back: list[Any] = []

    @property
    def quiet(self) -> bool:
        return self.session.command is not None

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, Any] | None:
        fact = fact_of(report)
        if self.quiet:
            return ("passed" if report.passed else "todo"), "", ""
        if fact is not None and fact.kind == "todo":
            return "todo", "t", ("TODO", {"yellow": True})
        return None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        if self.quiet:  # at once: what pytest still has to tidy up can wait
            self._say()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> Generator[None, None, None]:
        """The verdict tells the failures of katas; pytest's own section is for those of other tests, and for -v."""
        failed = terminalreporter.stats.get("failed", [])
        if self.config.option.verbose <= 0 and self.config.option.tbstyle == "short":  # as pyproject.toml says
            self.held_back = failed
            terminalreporter.stats["failed"] = [report for report in failed if not fact_of(report)]
        try:
            return (yield)
        finally:
            self._give_back(terminalreporter)

    @pytest.hookimpl(specname="pytest_terminal_summary")
    def pytest_terminal_summary_verdict(self, terminalreporter: Any) -> None:
        """Between pytest's own sections and its closing line."""
        self._give_back(terminalreporter)  # the short summary, where the user asked for one, names them all
        self._say()

    def _give_back(self, terminalreporter: Any) -> None:
        if self.held_back:
            terminalreporter.stats["failed"] = self.held_back

    def _say(self) -> None:
        session, reporter = self.session, self.config.pluginmanager.get_plugin("terminalreporter")
        if self.said or reporter is None or self.config.option.collectonly:
            return
        if not (session.results or session.walks or session.command):
            return  # a run of other tests
        self.said = True
        page = Page.of(reporter._tw, self.config.hook.pytest_kata_page_height())
        if session.command is not None:
            lines: list[Line] = session.command.say(session, page)
        else:
            reporter.ensure_newline()
            reporter.section("katas", sep="=")
            lines = Verdict(session, page).lines()
        write(reporter._tw, lines)
        current = session.current()
        self.config.hook.pytest_kata_verdict(states=session.states(), current=current.kata.key if current else None)
