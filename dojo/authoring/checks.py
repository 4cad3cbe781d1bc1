"""The checks of the gate: each is one function, whose every complaint says what to do."""

from __future__ import annotations

from collections.abc import Callable

from dojo.authoring import text_rules
from dojo.authoring.runs import Outcome, Runs, function_of
from dojo.kata.source import definitions, parse, stubs_in_tests, test_names
from dojo.text import folded

CPU_BUDGET = 2.0  # seconds for the reference's run of one kata
_NOISE = 1.25  # by so much the same run may take longer on a shared machine


def stubs_fail_every_test(runs: Runs) -> list[str]:
    """1. An untouched kata fails every test, by the stub's error or an assertion."""
    outcomes = runs.outcomes.get("stubs", {})
    complaints = [
        f"{test} {f'dies of {o.error}: {o.message}' if o.fails else 'passes'} on the untouched stubs: "
        "it must fail there, by the stub's NotImplementedError or an assertion"
        for test, o in outcomes.items()
        if o.kind not in ("todo", "assertion") and o.missing not in ("gpu", "package")
    ]
    complaints += [
        f"{test} uses none of the stubs: what does it test?"
        for test, stubs in stubs_in_tests(runs.kata.path).items()
        if not stubs
    ]
    return complaints if outcomes else ["no test was collected"]


def reference_passes_every_test(runs: Runs) -> list[str]:
    """2. The reference passes, without warnings, in any order, each test alone."""
    complaints = [runs.import_error] if runs.import_error else []
    for variant, outcomes in runs.outcomes.items():
        if variant in ("reference", "backwards") or variant.startswith("alone-"):
            complaints += _failures(outcomes, f"fails on the reference ({variant})")
            complaints += [f"the reference warns ({variant}): {text}" for text in runs.warnings.get(variant, [])]
    return complaints


def mistakes_die_in_their_test(runs: Runs) -> list[str]:
    """3. Each known mistake fails with an assertion in the test it names, and its sentence reaches the screen."""
    complaints = [] if runs.mistakes else ["no MISTAKES: list the wrong answers that people give"]
    tree = parse(runs.reference)
    for i, mistake in enumerate(runs.mistakes):
        who = f"mistake {i} ({', '.join(mistake.functions)}: {mistake.says!r})"
        outcomes = runs.outcomes.get(f"mistake-{i}", {})
        of_its_test = [o for test, o in outcomes.items() if function_of(test) == mistake.caught_by]
        said = [o for o in of_its_test if o.kind == "assertion" and folded(mistake.says) in folded(o.message)]
        if unknown := set(mistake.functions) - set(definitions(tree) if tree else ()):
            complaints.append(f"{who} replaces {', '.join(unknown)}, which the kata does not declare")
        elif mistake.caught_by not in test_names(runs.kata.path):
            complaints.append(f"{who} names {mistake.caught_by}, which does not exist")
        elif not any(o.fails for o in of_its_test):
            others = ", ".join(sorted(runs.failing(f"mistake-{i}"))) or "nothing: IT SURVIVES"
            complaints.append(f"{who} is not caught by {mistake.caught_by} (caught by {others})")
        elif not said:
            came = " / ".join(f"{o.error}: {o.message[:300]}" for o in of_its_test if o.fails)
            complaints.append(f"{who} dies in {mistake.caught_by}, but its sentence is not on the screen: {came}")
    return complaints


def right_answers_in_another_style_pass(runs: Runs) -> list[str]:
    """4. Right answers in another style (RIGHT in tests/answers, where there is such a file) pass every test."""
    complaints = []
    if runs.has_answers and len(runs.right) < 2:
        complaints.append("list two right answers in another style in tests/answers (RIGHT)")
    for i, right in enumerate(runs.right):
        outcomes = runs.outcomes.get(f"right-{i}", {})
        complaints += _failures(outcomes, f"refuses the right answer {i} ({', '.join(right)})")
    return complaints


def wrong_answers_written_otherwise_die(runs: Runs) -> list[str]:
    """5. Known mistakes written in another way (WRONG in tests/answers) are rejected with an assertion."""
    complaints = []
    if runs.has_answers and len(runs.wrong) < len(runs.mistakes) / 2:
        complaints.append(f"{len(runs.wrong)} rewritten mistakes for {len(runs.mistakes)}: one for every second one")
    sentences = {mistake.says for mistake in runs.mistakes}
    for i, wrong in enumerate(runs.wrong):
        who = f"wrong answer {i} ({', '.join(wrong.functions)}: {wrong.says!r})"
        outcomes = runs.outcomes.get(f"wrong-{i}", {}).values()
        if wrong.says not in sentences:
            complaints.append(f"{who}: that sentence is none of the known mistakes'")
        if not any(o.kind == "assertion" for o in outcomes):
            complaints.append(f"{who} is not rejected by an assertion: {[(o.kind, o.message[:120]) for o in outcomes]}")
    return complaints


def every_test_earns_its_place(runs: Runs) -> list[str]:
    """6. Every test catches a known mistake that no other test catches, or the reference's KEEP says why it stays."""
    catches = [runs.failing(f"mistake-{i}") for i in range(len(runs.mistakes))]
    alone = {test for failing in catches if len(failing) == 1 for test in failing}
    skipped = {function_of(t) for t, o in runs.outcomes.get("reference", {}).items() if o.kind == "skipped"}
    tests, keep = set(test_names(runs.kata.path)), set(runs.keep)
    complaints = [
        f"{test} catches no mistake that the others miss: list the mistake it is there for, merge it, or say in "
        f"KEEP = {{{test!r}: 'why'}} of the reference why it stays"
        for test in sorted(tests - alone - keep - skipped)
    ]
    complaints += [f"KEEP names {test}, which does not exist" for test in sorted(keep - tests)]
    complaints += [f"KEEP names {test}, which earns its place by itself" for test in sorted(keep & alone)]
    return complaints


def the_text_is_whole(runs: Runs) -> list[str]:
    """7. Docstrings, link, hints and why are there; ids are words; the names match; the reference leaks nowhere."""
    return text_rules.complaints(runs.kata, runs.reference, runs.outcomes.get("stubs", {}))


def stays_in_its_time_budget(runs: Runs) -> list[str]:
    """8. The reference's run takes at most CPU_BUDGET seconds of CPU, tests marked slow aside.

    Each test was run in several variants, and its cheapest run counts: what else goes on on a machine only adds.
    """
    passes = [runs.outcomes.get(name, {}) for name in ("reference", "backwards")]
    costs = {test: min(p[test].cpu for p in passes if test in p) for test in passes[0] if test not in runs.slow_tests}
    spent = sum(costs.values())
    if spent <= CPU_BUDGET * _NOISE:
        return []
    slowest = max(costs, key=costs.__getitem__)
    return [f"the reference takes {spent:.1f} s of CPU, {CPU_BUDGET} s are allowed; the slowest is {slowest}"]


def _failures(outcomes: dict[str, Outcome], what: str) -> list[str]:
    return [f"{test} {what}: {o.error}: {o.message[:400]}" for test, o in outcomes.items() if o.fails]


CHECKS: dict[str, Callable[[Runs], list[str]]] = {
    check.__name__: check
    for check in (
        stubs_fail_every_test,
        reference_passes_every_test,
        mistakes_die_in_their_test,
        right_answers_in_another_style_pass,
        wrong_answers_written_otherwise_die,
        every_test_earns_its_place,
        the_text_is_whole,
        stays_in_its_time_budget,
    )
}
