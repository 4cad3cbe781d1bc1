"""One pytest session over katas: the order, the stop after the first unfinished one, and what is said at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dojo import commands, naming
from dojo.catalog import Kata, doc_sections, find_katas, uses_of_stubs
from dojo.reports import Fact, fact_of, hide_xray
from dojo.verdict import Glyphs, Line, Page, Result

_CACHE_CURRENT = "kata/current"


class KataSession:
    """Watches the reports of a session, in the process that owns the terminal."""

    def __init__(
        self, config: pytest.Config, katas: Path, reference: Path, command: commands.Command, news: Sequence[str] = ()
    ) -> None:
        self.config = config
        self.news = list(news)  # of the learner's own folder
        self.root = katas
        self.reference = reference
        self.command = command
        self.katas = find_katas(katas)
        self.own_files = not config.option.kata_solutions
        self.walks = command.walks(bare=_is_bare(config))
        self.results: dict[str, Result] = {}
        self.held_back: list[Any] = []
        self.said = False
        self.walked_to_the_end = False

    # ── collecting ──

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool | None:
        if self.command.runs == "nothing":
            session.items = []
            session.testscollected = 0
            return True
        return None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.walks:
            order = {kata.path: i for i, kata in enumerate(self.katas)}
            items.sort(key=lambda item: order.get(item.path.resolve(), len(order)))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._count([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        if not self.results:  # each worker says the same
            self._count(ids)

    def _count(self, node_ids: Sequence[str]) -> None:
        by_path = {kata.path: kata for kata in self.katas}
        for file, tests in Counter(node_id.split("::")[0] for node_id in node_ids).items():
            # The ids of tests outside pytest's root directory are relative to what was collected: a learner's folder.
            paths = [(home / file).resolve() for home in (self.config.rootpath, self.root)]
            kata = next((by_path[path] for path in paths if path in by_path), None)
            if kata is not None:
                self.results.setdefault(kata.key, Result(kata)).collected += tests

    # ── running ──

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        outcome = yield
        if self.walks and nextitem is not None and nextitem.path != item.path:
            current = next((r for r in self.results.values() if r.kata.path == item.path.resolve()), None)
            if current is not None and current.unfinished:
                self.walked_to_the_end = True
                if self.command.name == "run":
                    # shouldfail, not shouldstop: the exit code is 1, as with any failing test.
                    item.session.shouldfail = f"first {current.kata.slug}, then the next"
        return outcome

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        outcome = yield
        if self.command.name == "verdict":  # at once: what pytest still has to tidy up can wait
            self.verdict(self.config.pluginmanager.get_plugin("terminalreporter"))
        return outcome

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        fact: Fact | None = fact_of(report)
        if fact is not None and fact["kata"] in self.results:
            self.results[fact["kata"]].add(fact)

    # ── the end ──

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> Generator[None, None, None]:
        """One traceback is shown in full: the first failure of the first unfinished kata. The verdict has the rest."""
        self.held_back = []
        if self.config.option.verbose <= 0 and terminalreporter.stats.get("failed"):
            failed = terminalreporter.stats["failed"]
            of_katas = [report for report in failed if fact_of(report)]
            shown = min(of_katas, key=lambda report: str(report.nodeid).split("::")[0], default=None)
            self.held_back = failed
            keep = [r for r in failed if (r is shown or not fact_of(r)) and not _has_no_traceback(r)]
            terminalreporter.stats["failed"] = keep
            for report in keep:
                hide_xray(report)
        try:
            return (yield)
        finally:
            if self.held_back:
                terminalreporter.stats["failed"] = self.held_back

    def verdict(self, terminalreporter: Any) -> None:
        """Print what this session is there to say; called between pytest's own sections and its closing line."""
        if self.held_back:  # the short summary, where the user asked for one, names them all
            terminalreporter.stats["failed"] = self.held_back
        if self.said or self.config.option.collectonly or not (self.results or self.command.runs == "nothing"):
            return
        self.said = True
        writer = terminalreporter._tw
        glyphs = Glyphs.for_encoding(getattr(writer._file, "encoding", None))
        page = Page(writer.fullwidth, glyphs, colour=writer.hasmarkup)
        if self.command.name == "run":
            terminalreporter.ensure_newline()
            terminalreporter.section("katas", sep="=")
            lines = self.verdict_lines(page)
        else:
            lines = self.command.say(self, page)
        write(writer, lines)
        current = self.current()
        states = {key: result.state for key, result in self.results.items()}
        self.config.hook.pytest_kata_verdict(states=states, current=current.key if current else None)

    def verdict_lines(self, page: Page) -> list[Line]:
        """The verdict on the katas that ran."""
        return page.verdict(
            list(self.results.values()),
            len(self.katas),
            walked=self.walks,
            own_files=self.own_files,
            notes=self._notes(),
            passed_now=self._passed_now(),
            likely=self._likely_mistake(),
        )

    def _likely_mistake(self) -> str | None:
        """The known mistake that the current kata's failures look like."""
        result = next((r for r in self.results.values() if r.state == "unfinished"), None)
        failed = {f["test"]: f["says"] for f in result.unfinished if f["kind"] == "failed"} if result else {}
        if result is None or not failed:
            return None
        patterns = naming.load(self.reference, result.kata.key)
        return naming.name_mistake(patterns, failed, uses_of_stubs(result.kata))

    def _notes(self) -> list[str]:
        if getattr(self.config.option, "numprocesses", None) and _is_bare(self.config, but_workers=True):
            return [*self.news, "with -n all katas ran: the stop after the first unfinished one is off"]
        return self.news

    def current(self) -> Kata | None:
        """The first kata that is not finished."""
        return next((r.kata for r in self.results.values() if r.state in ("unfinished", "incomplete")), None)

    def own_file(self, kata: Kata) -> Path:
        """The file that holds the learner's functions for a kata."""
        for folder in self.config.option.kata_solutions:
            path = self.config.invocation_params.dir / folder / f"{kata.key}.py"
            if path.is_file():
                return path
        return kata.path

    def _passed_now(self) -> tuple[Kata, str] | None:
        """The kata that was the current one at the last run and passes now. A convenience: without a cache, silence."""
        cache = getattr(self.config, "cache", None)
        if cache is None or not self.walks or not self.own_files:
            return None
        before, now = cache.get(_CACHE_CURRENT, None), self.current()
        cache.set(_CACHE_CURRENT, now.key if now else None)
        result = self.results.get(before or "")
        if result is None or result.state not in ("done", "stand-in"):
            return None
        return result.kata, doc_sections(self.reference / f"{result.kata.key}.py")[1]


def _has_no_traceback(report: Any) -> bool:
    return isinstance(report.longrepr, str)


def _is_bare(config: pytest.Config, but_workers: bool = False) -> bool:
    """Is this `pytest` without a selection of tests? Only then the katas are walked."""
    option = config.option
    selected = (
        config.args_source is pytest.Config.ArgsSource.ARGS
        or option.keyword
        or option.markexpr
        or any(getattr(option, name, None) for name in ("lf", "failedfirst", "newfirst", "stepwise"))
    )
    return not selected and (but_workers or not getattr(option, "numprocesses", None))


def write(writer: Any, lines: Sequence[Line]) -> None:
    """Write lines; what the console cannot show becomes a question mark, never an exception."""
    encoding = getattr(writer._file, "encoding", None) or "utf-8"
    for line in lines:
        text = line.text.encode(encoding, "replace").decode(encoding)
        writer.line(text, **dict.fromkeys(line.markup, True))
