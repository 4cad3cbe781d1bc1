"""What keeps a kata honest: run it in every variant (stubs, reference, each known mistake) and complain.

`run(kata, reference)` gives the facts; `CLAIMS` holds one function per claim, each returning complaints that say what
to do. tests/test_gate.py makes a named test of each kata and claim; a new kata is covered by being there.

All variants of a kata run in one nested pytest session, in this process: torch is imported once, and a known mistake
costs about as much as its tests.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from dojo import seam
from dojo.catalog import Kata, definitions, parse
from dojo.collect import KataModule, forget_katas
from dojo.failures import is_stub_error, safe_str
from dojo.mistakes import Mistake

Kind = Literal["passed", "todo", "assertion", "skipped", "error"]
CPU_BUDGET = 2.0  # seconds for the reference's run of one kata


@dataclass(frozen=True)
class Outcome:
    """How one test of one variant ended."""

    kind: Kind
    message: str = ""
    error: str = ""  # the exception's class
    cpu: float = 0.0


@dataclass(frozen=True)
class Variant:
    """One way to run a kata."""

    name: str
    sources: tuple[seam.Source, ...] = ()
    backwards: bool = False
    only: str | None = None
    # Tests marked slow are run by the reference, the right answers, and the mistakes that they are there for.
    slow: bool | str = True

    def leaves_out(self, item: pytest.Item) -> bool:
        """Is the item a slow test that says nothing about this variant?"""
        if self.slow is True or not item.get_closest_marker("slow"):
            return False
        return function_of(item.name) != self.slow


@dataclass
class Runs:
    """The outcomes of all variants of one kata: `outcomes[variant][test id]`."""

    kata: Kata
    reference: Path
    mistakes: list[Mistake]
    has_answers: bool = False
    right: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[Mistake] = field(default_factory=list)
    outcomes: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    slow_tests: set[str] = field(default_factory=set)
    import_error: str = ""

    def failing(self, mistake: int) -> set[str]:
        """The test functions that the mistake of that number fails."""
        return {function_of(test) for test, o in self.outcomes[f"mistake-{mistake}"].items() if o.kind not in _GREEN}


_GREEN = ("passed", "skipped")


def function_of(test_id: str) -> str:
    """`test_x[2-cpu]` -> `test_x`."""
    return test_id.split("[")[0]


@functools.lru_cache(maxsize=256)
def run(kata: Kata, reference_root: Path) -> Runs:
    """Run a kata in all its variants."""
    reference = reference_root / f"{kata.key}.py"
    try:
        module = vars(seam.import_solution(reference))
    except (Exception, SystemExit) as error:
        return Runs(kata, reference, [], import_error=f"{reference}: {type(error).__name__}: {safe_str(error)}")
    runs = Runs(kata, reference, list(module.get("MISTAKES", [])))
    public = {name: module[name] for name in definitions(parse(reference)) if name in module}  # type: ignore[arg-type]
    solved = seam.Overlay(kata.key, public)
    variants = [
        Variant("stubs"),
        Variant("reference", (solved,)),
        Variant("backwards", (solved,), backwards=True, slow=""),
    ]
    variants += [Variant(f"alone-{name}", (solved,), only=name, slow=name) for name in _test_names(kata)]
    answers = kata.root.parent / "tests" / "answers" / f"{kata.key}.py"
    runs.has_answers = answers.is_file()
    if runs.has_answers:
        written = vars(seam.import_solution(answers))
        runs.right, runs.wrong = written.get("RIGHT", []), written.get("WRONG", [])
    variants += [Variant(f"right-{i}", (seam.Overlay(kata.key, right), solved)) for i, right in enumerate(runs.right)]
    variants += [
        Variant(f"wrong-{i}", (seam.Overlay(kata.key, wrong.functions), solved), slow=_caught_by(wrong, runs.mistakes))
        for i, wrong in enumerate(runs.wrong)
    ]
    variants += [
        Variant(f"mistake-{i}", (seam.Overlay(kata.key, mistake.functions), solved), slow=mistake.caught_by)
        for i, mistake in enumerate(runs.mistakes)
    ]
    _run_variants(runs, variants, reference_root)
    return runs


def _caught_by(wrong: Mistake, mistakes: list[Mistake]) -> str:
    """The test of the known mistake that a wrong answer writes in another way."""
    return next((mistake.caught_by for mistake in mistakes if mistake.says == wrong.says), "")


def _test_names(kata: Kata) -> list[str]:
    tree = parse(kata.path)
    if tree is None:
        return []
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


@functools.cache
def _warm_up() -> None:
    """What torch imports at its first optimizer, meta operation and backward (900 modules) is no kata's own time."""
    import torch
    import torch.distributions

    weight = torch.ones(2, requires_grad=True)
    torch.optim.SGD([weight], 0.1)
    torch.autograd.grad(weight * 2, weight, grad_outputs=torch.ones(2))
    torch.ones(2, device="meta") - 1
    torch.func.vmap(torch.func.grad(torch.sum))(torch.ones(2, 2))
    torch.broadcast_shapes((2,), (1,))


def _run_variants(runs: Runs, variants: list[Variant], reference_root: Path) -> None:
    import dojo.plugin

    _warm_up()
    forget_katas(runs.kata.root)
    arguments = [
        *("-c", os.devnull, "--rootdir", str(runs.kata.root.parent), "--noconftest", "--import-mode=importlib"),
        *("-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:faulthandler"),
        *("-p", "no:randomly", "-p", "no:random_order", "-p", "no:benchmark", "--capture=no"),
        "--kata-no-xray",
        *("-o", "python_functions=test_*", "-o", "python_files=[0-9][0-9]_*.py"),
        str(runs.kata.path),
    ]
    with _rewritten_once():
        pytest.main(arguments, plugins=[dojo.plugin, _RunVariants(runs, variants, reference_root)])
    forget_katas(runs.kata.root)


@contextlib.contextmanager
def _rewritten_once() -> Iterator[None]:
    """pytest rewrites a kata's assertions once and finds the result again for each variant, in a folder of its own."""
    before = sys.pycache_prefix, sys.dont_write_bytecode
    with tempfile.TemporaryDirectory() as folder:
        sys.pycache_prefix, sys.dont_write_bytecode = folder, False
        try:
            yield
        finally:
            sys.pycache_prefix, sys.dont_write_bytecode = before


class _VariantFile(pytest.File):
    """A kata file that is collected once per variant."""

    variants: list[Variant]
    reference_root: Path

    def collect(self) -> Iterable[pytest.Collector]:
        for variant in self.variants:
            module: _VariantModule = _VariantModule.from_parent(
                self, path=self.path, name=variant.name, nodeid=f"{self.nodeid}::{variant.name}"
            )
            module.variant, module.reference_root = variant, self.reference_root
            yield module


class _VariantModule(KataModule):
    variant: Variant
    reference_root: Path

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        katas = self.config.rootpath / "katas"
        forget_katas(self.path)
        with seam.in_force(seam.Setup(katas.resolve(), self.reference_root, self.variant.sources)):
            items = list(super().collect())
        if self.variant.only:
            items = [item for item in items if function_of(item.name) == self.variant.only]
        items = [item for item in items if not (isinstance(item, pytest.Item) and self.variant.leaves_out(item))]
        return items[::-1] if self.variant.backwards else items


class _RunVariants:
    """The plugin of the nested session."""

    def __init__(self, runs: Runs, variants: list[Variant], reference_root: Path) -> None:
        self.runs, self.variants, self.reference_root = runs, variants, reference_root
        self.started = 0.0

    def pytest_configure(self, config: pytest.Config) -> None:
        config.option.tbstyle = "native"  # only the message counts here; drawing tracebacks took most of the time

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(self, module_path: Path, parent: pytest.Collector) -> pytest.Collector:
        file: _VariantFile = _VariantFile.from_parent(parent, path=module_path)
        file.variants, file.reference_root = self.variants, self.reference_root
        return file

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
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
        for variant in self.variants:
            if f"::{variant.name}::" in nodeid:
                text = f"{warning_message.category.__name__}: {warning_message.message}"
                self.runs.warnings.setdefault(variant.name, []).append(text)


def _outcome(report: pytest.TestReport, call: pytest.CallInfo[None], cpu: float) -> Outcome:
    if report.passed:
        return Outcome("passed", cpu=cpu)
    error = call.excinfo.value if call.excinfo else None
    name = type(error).__name__
    if report.skipped:
        return Outcome("skipped", safe_str(error) if error else "")
    assert error is not None
    # The message as pytest shows it, with the values that its assertion rewriting adds.
    crash = getattr(report.longrepr, "reprcrash", None)
    message = crash.message if crash is not None else safe_str(error)
    if is_stub_error(error):
        return Outcome("todo", message, name)
    return Outcome("assertion" if isinstance(error, AssertionError) else "error", message, name, cpu)


# ── the claims: each returns its complaints, empty when the kata keeps it ──


def stubs_fail_every_test(runs: Runs) -> list[str]:
    """1. An untouched kata fails every test, by the stub's error or an assertion."""
    return [
        f"{test} {'passes' if o.kind in _GREEN else f'dies of {o.error}: {o.message}'} on the untouched stubs: "
        "it must fail there, by the stub's NotImplementedError or an assertion"
        for test, o in runs.outcomes.get("stubs", {}).items()
        if o.kind not in ("todo", "assertion") and not (o.kind == "skipped" and "GPU" in o.message)
    ] or ([] if runs.outcomes.get("stubs") else ["no test was collected"])


def reference_passes_every_test(runs: Runs) -> list[str]:
    """2. The reference passes, without warnings, in any order, each test alone."""
    complaints = [runs.import_error] if runs.import_error else []
    for variant, outcomes in runs.outcomes.items():
        if variant in ("reference", "backwards") or variant.startswith("alone-"):
            complaints += [
                f"{test} fails on the reference ({variant}): {o.error}: {o.message}"
                for test, o in outcomes.items()
                if o.kind not in _GREEN
            ]
            complaints += [f"the reference warns ({variant}): {text}" for text in runs.warnings.get(variant, [])]
    return complaints


def mistakes_die_in_their_test(runs: Runs) -> list[str]:
    """3. Each known mistake fails with an assertion in the test it names, and its sentence reaches the screen."""
    complaints = [] if runs.mistakes else ["no MISTAKES: list the wrong answers that people give"]
    stubs = set(definitions(parse(runs.reference))) if parse(runs.reference) else set()  # type: ignore[arg-type]
    for i, mistake in enumerate(runs.mistakes):
        who = f"mistake {i} ({', '.join(mistake.functions)}: {mistake.says!r})"
        outcomes = {t: o for t, o in runs.outcomes[f"mistake-{i}"].items() if function_of(t) == mistake.caught_by}
        said = [o for o in outcomes.values() if o.kind == "assertion" and _folded(mistake.says) in _folded(o.message)]
        if unknown := set(mistake.functions) - stubs:
            complaints.append(f"{who} replaces {', '.join(unknown)}, which the kata does not declare")
        if not outcomes:
            complaints.append(f"{who} names {mistake.caught_by}, which does not exist")
        elif not any(o.kind not in _GREEN for o in outcomes.values()):
            others = ", ".join(sorted(runs.failing(i))) or "nothing: IT SURVIVES"
            complaints.append(f"{who} is not caught by {mistake.caught_by} (caught by {others})")
        elif not said:
            came = " / ".join(f"{o.error}: {o.message[:300]}" for o in outcomes.values() if o.kind not in _GREEN)
            complaints.append(f"{who} dies in {mistake.caught_by}, but its sentence is not on the screen: {came}")
    return complaints


def right_answers_in_another_style_pass(runs: Runs) -> list[str]:
    """Right answers in another style (RIGHT in tests/answers, where there is such a file) pass every test."""
    complaints = []
    if runs.has_answers and len(runs.right) < 2:
        complaints.append("list two right answers in another style in tests/answers (RIGHT)")
    for i, right in enumerate(runs.right):
        complaints += [
            f"right answer {i} ({', '.join(right)}) fails {test}: {o.error}: {o.message[:400]}"
            for test, o in runs.outcomes[f"right-{i}"].items()
            if o.kind not in _GREEN
        ]
    return complaints


def wrong_answers_written_otherwise_die(runs: Runs) -> list[str]:
    """Known mistakes written in another way (WRONG in tests/answers) are rejected with an assertion."""
    complaints = []
    if runs.has_answers and len(runs.wrong) < len(runs.mistakes) / 2:
        complaints.append(f"{len(runs.wrong)} rewritten mistakes for {len(runs.mistakes)}: one for every second one")
    sentences = {mistake.says for mistake in runs.mistakes}
    for i, wrong in enumerate(runs.wrong):
        who = f"wrong answer {i} ({', '.join(wrong.functions)}: {wrong.says!r})"
        outcomes = runs.outcomes[f"wrong-{i}"].values()
        if wrong.says not in sentences:
            complaints.append(f"{who}: that sentence is none of the known mistakes'")
        if not any(o.kind == "assertion" for o in outcomes):
            complaints.append(f"{who} is not rejected by an assertion: {[(o.kind, o.message[:120]) for o in outcomes]}")
    return complaints


def every_test_earns_its_place(runs: Runs) -> list[str]:
    """4. Every test catches a known mistake that no other test catches, or the reference's KEEP says why it stays."""
    keep: dict[str, str] = {}
    if not runs.import_error:
        keep = vars(seam.import_solution(runs.reference)).get("KEEP", {})
    alone: set[str] = set()
    for i in range(len(runs.mistakes)):
        failing = runs.failing(i)
        if len(failing) == 1:
            alone |= failing
    skipped = {function_of(t) for t, o in runs.outcomes.get("reference", {}).items() if o.kind == "skipped"}
    tests = set(_test_names(runs.kata))
    complaints = [
        f"{test} catches no mistake that the others miss: list the mistake it is there for, merge it, or say in "
        f"KEEP = {{{test!r}: 'why'}} of the reference why it stays"
        for test in sorted(tests - alone - set(keep) - skipped)
    ]
    complaints += [f"KEEP names {test}, which does not exist" for test in sorted(set(keep) - tests)]
    complaints += [f"KEEP names {test}, which earns its place by itself" for test in sorted(set(keep) & alone)]
    return complaints


def the_text_is_whole(runs: Runs) -> list[str]:
    """5. Docstrings, link, hints and why are there; the names match; the reference leaks nowhere."""
    from dojo import text_rules

    return text_rules.complaints(runs.kata, runs.reference)


def stays_in_its_time_budget(runs: Runs) -> list[str]:
    """6. The reference's run takes at most CPU_BUDGET seconds of CPU, tests marked slow aside."""
    outcomes = runs.outcomes.get("reference", {})
    spent = sum(o.cpu for test, o in outcomes.items() if test not in runs.slow_tests)
    if spent <= CPU_BUDGET:
        return []
    slowest = max(outcomes, key=lambda test: outcomes[test].cpu)
    return [f"the reference takes {spent:.1f} s of CPU, {CPU_BUDGET} s are allowed; the slowest is {slowest}"]


def the_patterns_are_in_step(runs: Runs) -> list[str]:
    """7. reference/patterns.json knows how each known mistake looks."""
    from dojo import naming

    stored = naming.load(runs.reference.parents[1], runs.kata.key)
    if [p.outline() for p in stored] == [p.outline() for p in naming.patterns_of(runs)]:
        return []
    return [f"reference/{naming.FILE} is out of step: run `python -m dojo.naming {runs.kata.slug}`"]


def _folded(text: str) -> str:
    return " ".join(text.split())


CLAIMS: dict[str, Callable[[Runs], list[str]]] = {
    claim.__name__: claim
    for claim in (
        stubs_fail_every_test,
        reference_passes_every_test,
        mistakes_die_in_their_test,
        right_answers_in_another_style_pass,
        wrong_answers_written_otherwise_die,
        every_test_earns_its_place,
        the_text_is_whole,
        stays_in_its_time_budget,
        the_patterns_are_in_step,
    )
}
