"""One run over katas: which of them run, where it stops, what happened, what is remembered.

Bare `pytest` is a walk: it collects and runs one kata after the other, and ends after the first that is unfinished.
What passed before and has not changed since is left out. An explicit selection is plain pytest.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from dojo.kata.files import Kata, UnknownKata, find_kata, find_katas
from dojo.kata.module import KataModule
from dojo.kata.source import test_names
from dojo.kata.trees import Trees
from dojo.session import path
from dojo.session.facts import BEHIND, SOLVED, Result, Standing, fact_of
from dojo.session.last_run import RunningMark
from dojo.session.memory import Memory


@dataclass(frozen=True)
class Command:
    """A run that is not there to be read itself: some katas run, quietly, and then `say` has the screen."""

    name: str
    katas: Sequence[Kata] | None  # None: up to the first unfinished one
    say: Callable[..., Any]  # of the session and a screen page; the screen calls it


class KataSession:
    """Plugin of the process that owns the terminal."""

    def __init__(self, config: pytest.Config, trees: Trees) -> None:
        self.config = config
        self.trees = trees
        self.every: list[Kata] = []
        self.path = ""  # the path that is gone along
        self.katas: list[Kata] = []  # those of the path; all, where there is none
        self.command: Command | None = None
        self.scope: list[Kata] = []  # the katas that the walk goes over
        self.walks = False
        self.results: dict[str, Result] = {}
        self.proves = False  # all katas pass, and run once more together
        self.passed_now: Kata | None = None  # it passes, and did not when it was last seen
        self.running = ""
        self.interrupted = ""
        self.problems: list[str] = []  # what other rooms could not do; the run goes on
        self.selection = ""  # what was asked for that makes this another run than the walk
        self.memory = Memory(config, trees, ())
        self.mark = RunningMark(config)

    def _begin(self) -> None:
        """Look at the files only now: a session of the watch waits, before it collects, for the learner to save."""
        self.every = find_katas(self.trees.katas)
        self.path = path.chosen(self.config, self.every)
        # A kata whose text is gone says of no path any more: it is not passed over for that.
        self.katas = [k for k in self.every if not self.path or self.path in k.lesson.paths or not k.title]
        self.memory = Memory(self.config, self.trees, self.katas)
        self.command = self.config.hook.pytest_kata_command(session=self)
        self.selection = self._selection()
        self._refuse_names()
        self.scope = self._scope()
        self.walks = bool(self.scope)

    def _refuse_names(self) -> None:
        """`pytest view_or_copy`: pytest would only say that there is no such file."""
        for argument in self.config.args if self.selection == "a path" else ():
            if not (self.config.invocation_params.dir / argument.split("::")[0]).exists():
                with contextlib.suppress(UnknownKata):
                    kata = find_kata(self.every, argument)
                    raise pytest.UsageError(
                        f"there is no file {argument!r} here. The kata {kata.slug} is run by its path: "
                        f"pytest {self._argument(kata)}"
                    )

    def _selection(self) -> str:
        """Which words of the command line ask for something else than the walk; empty for bare `pytest`."""
        option = self.config.option
        if self.config.args_source is pytest.Config.ArgsSource.ARGS:
            return "a path"
        names = ("collectonly", "keyword", "markexpr", "lf", "failedfirst", "newfirst", "stepwise")
        chosen = next((name for name in names if getattr(option, name, None)), "")
        return chosen or ("-n" if getattr(option, "numprocesses", None) else "")

    def _scope(self) -> list[Kata]:
        if self.command is not None:
            return self.katas if self.command.katas is None else []
        return [] if self.selection else [kata for kata in self.katas if self._is_in(kata, self.config.args)]

    def _is_in(self, kata: Kata, arguments: Sequence[str]) -> bool:
        """Is the kata (or the learner's copy of it) in one of these folders?"""
        start = self.config.invocation_params.dir
        folders = [(start / argument).resolve() for argument in arguments]
        files = {kata.path, self.trees.file_of(kata)}
        return any(file.is_relative_to(folder) for file in files for folder in folders)

    # ── the walk: one kata after the other ──

    def _next(self) -> Kata | None:
        """The kata that the walk comes to next; None where it ends."""
        if self.current() is not None:
            return None
        not_run = [kata for kata in self.scope if kata.key not in self.results]
        todo = [kata for kata in not_run if not self.memory.is_behind(kata)]
        if not todo and not_run and not self.proves and self.command is None and self._may_prove():
            self.proves = True
            self._say("all katas pass; they run once more, all together")
        kata = next(iter(not_run if self.proves else todo), None)
        if kata is not None:
            self.memory.digest(kata)
            self.config.hook.pytest_kata_begins(session=self, kata=kata)
        return kata

    def _may_prove(self) -> bool:
        return len(self.scope) == len(self.katas) and not self.memory.proved_whole()

    def _say(self, text: str) -> None:
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(text)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool | None:
        self._begin()
        first: Sequence[Kata] | None = None
        if self.walks:
            kata = self._next()
            first = [kata] if kata else []
        elif self.command is not None:
            first = self.command.katas
        for kata in self.katas if first is None else first:
            self.memory.digest(kata)
        if first is None:
            return None
        self.config.args = [self._argument(kata) for kata in first]
        if first:
            return None
        session.items, session.testscollected = [], 0
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        outcome = yield
        loop = self.config.pluginmanager.subset_hook_caller("pytest_runtestloop", [self])
        while self.walks and not (session.shouldfail or session.shouldstop) and (kata := self._next()) is not None:
            self._collect(session, kata)
            loop(session=session)
        return outcome

    def _argument(self, kata: Kata) -> str:
        return self.trees.argument(kata, self.config.invocation_params.dir)

    def _collect(self, session: pytest.Session, kata: Kata) -> None:
        """Collect one kata more. pytest's line "collected n items" was said for the first."""
        option, before = self.config.option, session.testscollected
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.currentfspath = None  # it would say once more how far the last kata was
        verbose, option.verbose = option.verbose, min(option.verbose, -1)
        try:
            session.perform_collect([self._argument(kata)])
        finally:
            option.verbose = verbose
            session.testscollected += before
            self.results.setdefault(kata.key, Result(kata))  # also where --deselect left none of its tests

    # ── what was collected, what happened ──

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        modules = (item.getparent(KataModule) for item in session.items)
        self._count(session.items, [module.kata if module else None for module in modules])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        if not self.results:  # each worker says the same
            files = [(self.config.rootpath / name.split("::")[0]).resolve() for name in ids]
            self._count(ids, [self.trees.kata_at(file) for file in files])

    def _count(self, tests: Sequence[Any], katas: Sequence[Kata | None]) -> None:
        counts = Counter(kata for kata in katas if kata is not None)
        names: dict[Kata, set[str]] = {kata: set() for kata in counts}
        for test, kata in zip(tests, katas, strict=True):
            if kata is not None:
                name = test if isinstance(test, str) else test.name
                names[kata].add(name.split("::")[-1].split("[")[0])
        for kata, count in counts.items():
            result = self.results.setdefault(kata.key, Result(kata))
            result.collected += count
            result.partial |= not set(test_names(kata.path)) <= names[kata]
            result.partial |= any("[" in argument.partition("::")[2] for argument in self.config.args)
            known = self.memory.before.get(kata.key)
            if result.partial and known is not None and not result.left_out:
                result.left_out = max(0, known.tests - result.collected)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        for item in items:
            module = item.getparent(KataModule)
            if module is not None:
                result = self.results.setdefault(module.kata.key, Result(module.kata))
                result.partial, result.left_out = True, result.left_out + 1

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running = nodeid
        self.mark.set(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        fact = fact_of(report)
        if fact is not None and fact.kata in self.results:
            self.results[fact.kata].add(fact)

    def pytest_keyboard_interrupt(self) -> None:
        self.interrupted = self.running or "collecting"

    # ── the end ──

    def ran(self) -> list[Result]:
        """What happened, in the order of the katas."""
        return sorted((r for r in self.results.values() if not r.deselected), key=lambda result: result.kata.key)

    def current(self) -> Result | None:
        """The first kata that ran and is not finished."""
        return next((result for result in self.ran() if result.state not in BEHIND), None)

    def states(self) -> dict[str, str]:
        return {key: result.state for key, result in self.results.items()}

    def standing(self, kata: Kata) -> Standing | None:
        """How a kata stands, by this run or an earlier one."""
        result = self.results.get(kata.key)
        return result.standing if result is not None else self.memory.of(kata)

    def is_behind(self, kata: Kata) -> bool:
        """Is nothing left to do in a kata here?"""
        result = self.results.get(kata.key)
        return result.standing.behind if result is not None else self.memory.is_behind(kata)

    def is_solved(self, kata: Kata) -> bool:
        """Is it done, and not only out of reach on this machine?"""
        known = self.standing(kata)
        return known is not None and known.state in SOLVED

    def all_done(self) -> bool:
        """Is nothing left to do here? A kata that --deselect leaves out does not count."""
        results = (self.results.get(kata.key) for kata in self.katas)
        return all(
            result.deselected if result is not None and result.deselected else self.is_behind(kata)
            for kata, result in zip(self.katas, results, strict=True)
        )

    def first_unfinished(self) -> Kata | None:
        """The kata to go on with, by this run and the earlier ones."""
        return next((kata for kata in self.katas if not self.is_behind(kata)), None)

    def last_solved(self) -> Kata | None:
        """The kata before the one to go on with."""
        first = self.first_unfinished()
        before = self.katas[: self.katas.index(first)] if first else self.katas
        return next((kata for kata in reversed(before) if self.is_behind(kata)), None)

    def to_be_run(self, kata: Kata | None) -> list[Kata]:
        """What must run before it is known whether a kata passes."""
        return [] if kata is None or self.memory.is_behind(kata) else [kata]

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # before the screen speaks of it
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        self.mark.clear()
        if not self.config.option.collectonly:
            self._take_stock(session)
        return (yield)

    def _take_stock(self, session: pytest.Session) -> None:
        """What passes now, what is remembered, the exit code."""
        self._look_for_a_pass()
        self.memory.record(self.results.values())
        if self.scope and len(self.results) == len(self.katas) and self.all_done():
            self.memory.record_whole()
        answered = self.command is not None and session.exitstatus in (1, 5)
        nothing_left = self.walks and session.exitstatus == 5 and self.all_done()
        if answered or nothing_left:
            session.exitstatus = pytest.ExitCode.OK

    def _look_for_a_pass(self) -> None:
        """Does a kata pass now that did not when it was last seen? Where nothing is remembered, silence."""
        for result in self.ran():
            before = self.memory.before.get(result.kata.key)
            if result.state in SOLVED and before is not None and not before.behind:
                self.passed_now = result.kata


SESSION = pytest.StashKey[KataSession]()
