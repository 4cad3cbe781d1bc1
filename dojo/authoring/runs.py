"""A kata run in all its variants: stubs, reference, each right answer, each known mistake.

All variants run in one nested pytest session, in this process: torch is imported once, and a known mistake costs about
as much as the tests that use the functions that it gets wrong.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import pytest

from dojo.isolation.timeout import TIMEOUTS
from dojo.kata import seam
from dojo.kata.files import Kata
from dojo.kata.import_failure import FAILURES
from dojo.kata.mistakes import Mistake
from dojo.kata.module import KataModule, forget_katas
from dojo.kata.not_run_here import Missing, NotRunHere
from dojo.kata.source import definitions, parse, stubs_in_tests, test_names
from dojo.process import first_use
from dojo.session.facts import kind_of
from dojo.text import safe_str

Kind = Literal["passed", "todo", "assertion", "skipped", "error"]


@dataclass(frozen=True)
class Outcome:
    """How one test of one variant ended."""

    kind: Kind
    message: str
    error: str  # the exception's class
    cpu: float  # seconds
    missing: Missing | None  # what this machine lacks to run it

    @property
    def fails(self) -> bool:
        return self.kind not in ("passed", "skipped")


@dataclass(frozen=True)
class Variant:
    """One way to run a kata."""

    name: str
    sources: tuple[seam.Source, ...] = ()
    tests: frozenset[str] | None = None  # the test functions to run; None: all
    slow: bool | str = True  # run the slow tests: all, none, or the one that this variant is there for
    backwards: bool = False

    def runs(self, item: pytest.Item) -> bool:
        name = function_of(item.name)
        if self.tests is not None and name not in self.tests:
            return False
        return self.slow is True or self.slow == name or not item.get_closest_marker("slow")


@dataclass
class Runs:
    """The outcomes of all variants of one kata: `outcomes[variant][test id]`."""

    kata: Kata
    reference_root: Path
    mistakes: list[Mistake] = field(default_factory=list)
    keep: dict[str, str] = field(default_factory=dict)  # tests that catch nothing by themselves, and why they stay
    has_answers: bool = False
    right: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[Mistake] = field(default_factory=list)
    outcomes: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    slow_tests: set[str] = field(default_factory=set)
    import_error: str = ""

    @property
    def reference(self) -> Path:
        return self.reference_root / f"{self.kata.key}.py"

    def failing(self, variant: str) -> set[str]:
        """The test functions that a variant fails."""
        return {function_of(test) for test, o in self.outcomes.get(variant, {}).items() if o.fails}


def function_of(test_id: str) -> str:
    """`test_x[2-cpu]` -> `test_x`."""
    return test_id.split("[")[0]


def answers_of(kata: Kata) -> Path:
    """Where right answers in other styles and rewritten mistakes are."""
    return kata.root.parent / "tests" / "answers" / f"{kata.key}.py"


def run(kata: Kata, reference_root: Path) -> Runs:
    """Run a kata in all its variants."""
    runs = Runs(kata, reference_root)
    try:
        module = vars(seam.import_solution(runs.reference))
        answers = answers_of(kata)
        runs.has_answers = answers.is_file()
        written = vars(seam.import_solution(answers)) if runs.has_answers else {}
    except FAILURES as error:
        runs.import_error = f"{runs.reference}: {type(error).__name__}: {safe_str(error)}"
        return runs
    runs.mistakes, runs.keep = list(module.get("MISTAKES", [])), module.get("KEEP", {})
    runs.right, runs.wrong = written.get("RIGHT", []), written.get("WRONG", [])
    run_variants(runs, list(_variants(runs, solved_by(runs.reference, module))))
    return runs


def solved_by(reference: Path, module: dict[str, Any]) -> dict[str, Any]:
    """The functions of a reference."""
    tree = parse(reference)
    return {name: module[name] for name in (definitions(tree) if tree else ()) if name in module}


def _variants(runs: Runs, solved: dict[str, Any]) -> Iterator[Variant]:
    yield Variant("stubs")
    yield Variant("reference", (solved,))
    yield Variant("backwards", (solved,), slow=False, backwards=True)
    for name in test_names(runs.kata.path):
        yield Variant(f"alone-{name}", (solved,), frozenset({name}))

    def other(name: str, functions: dict[str, Any], slow: bool | str) -> Variant:
        return Variant(name, (functions, solved), tests_of(runs.kata, functions), slow)

    caught_by = {mistake.says: mistake.caught_by for mistake in runs.mistakes}
    for i, right in enumerate(runs.right):
        yield other(f"right-{i}", right, True)
    # A slow test is run by the mistake that it is there for.
    for i, mistake in enumerate(runs.mistakes):
        yield other(f"mistake-{i}", mistake.functions, mistake.caught_by)
    for i, wrong in enumerate(runs.wrong):
        yield other(f"wrong-{i}", wrong.functions, caught_by.get(wrong.says, False))


def tests_of(kata: Kata, functions: Iterable[str]) -> frozenset[str]:
    """The tests that use one of these stubs: the others cannot see what it does."""
    return frozenset(test for test, stubs in stubs_in_tests(kata.path).items() if set(stubs) & set(functions))


# ── the nested session ──


# Plugins that katas have no use for; they took more than half of the time.
_WITHOUT = (
    *("terminal", "cacheprovider", "xdist", "faulthandler", "logging", "unraisableexception", "threadexception"),
    *("randomly", "random_order", "benchmark"),
)


def run_variants(runs: Runs, variants: list[Variant]) -> None:
    """Run a kata in these variants, into `runs`."""
    first_use.of_torch()
    if first_use.wants_the_compiler(runs.kata.path):
        first_use.of_the_compiler()
    forget_katas(runs.kata.root)
    arguments = [
        *("-c", os.devnull, "--rootdir", str(runs.kata.root.parent), "--noconftest", "--import-mode=importlib"),
        *(word for name in _WITHOUT for word in ("-p", f"no:{name}")),
        *("-p", "dojo.plugin", "--kata-no-xray", "--capture=no"),
        *("-o", "python_functions=test_*", "-o", "python_files=[0-9][0-9]_*.py"),
        str(runs.kata.path),
    ]
    # pytest rewrites a kata's assertions once and finds the result again for each variant, in a folder of its own.
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.multiple(sys, pycache_prefix=folder, dont_write_bytecode=False),
    ):
        code = pytest.main(arguments, plugins=[_RunVariants(runs, variants)])
    forget_katas(runs.kata.root)
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"the session over {runs.kata.path} ended with exit code {int(code)} and without a verdict")


class _VariantFile(pytest.File):
    """A kata file that is collected once per variant."""

    plugin: _RunVariants

    def collect(self) -> Iterable[pytest.Collector]:
        for variant in self.plugin.variants:
            nodeid = f"{self.nodeid}::{variant.name}"
            module: _VariantModule = _VariantModule.from_parent(
                self, path=self.path, kata=self.plugin.runs.kata, name=variant.name, nodeid=nodeid
            )
            module.variant, module.reference_root = variant, self.plugin.runs.reference_root
            yield module


class _VariantModule(KataModule):
    variant: Variant
    reference_root: Path

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        forget_katas(self.path)
        with seam.in_force(seam.Setup(self.kata.root, self.reference_root, self.variant.sources)):
            items = list(super().collect())
        items = [item for item in items if not isinstance(item, pytest.Item) or self.variant.runs(item)]
        return items[::-1] if self.variant.backwards else items


class _RunVariants:
    """The plugin of the nested session."""

    def __init__(self, runs: Runs, variants: list[Variant]) -> None:
        self.runs, self.variants, self.started = runs, variants, 0.0

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[TIMEOUTS].close()  # the alarm is enough here, and starting faulthandler's thread is dear

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(self, module_path: Path, parent: pytest.Collector) -> pytest.Collector:
        file: _VariantFile = _VariantFile.from_parent(parent, path=module_path)
        file.plugin = self
        return file

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        vars(item)["repr_failure"] = lambda excinfo: ""  # drawing tracebacks that nobody sees took most of the time
        self.started = time.process_time()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        module = item.getparent(_VariantModule)
        if module is None or (report.passed and call.when != "call"):
            return report
        if item.get_closest_marker("slow"):
            self.runs.slow_tests.add(item.name)
        outcomes = self.runs.outcomes.setdefault(module.variant.name, {})
        outcomes[item.name] = _outcome(report, call, time.process_time() - self.started)
        return report

    def pytest_warning_recorded(self, warning_message: Any, nodeid: str) -> None:
        _, *variant_and_test = nodeid.split("::")
        if len(variant_and_test) > 1:
            text = f"{warning_message.category.__name__}: {warning_message.message}"
            self.runs.warnings.setdefault(variant_and_test[0], []).append(text)


def _outcome(report: pytest.TestReport, call: pytest.CallInfo[None], cpu: float) -> Outcome:
    error = call.excinfo.value if call.excinfo else None
    kind = kind_of(report, error)
    return Outcome(
        ("assertion" if isinstance(error, AssertionError) else "error") if kind == "failed" else kind,
        safe_str(error) if error else "",
        type(error).__name__ if error else "",
        cpu,
        error.missing if isinstance(error, NotRunHere) else None,
    )
