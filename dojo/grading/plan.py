"""What a class is asked: of each kata the tests that the reference passes here, behind the wall that grades.

`plan.json` in the report's folder holds all that the teacher has decided, so that each submission can be graded by
itself, on this machine or another, and a second run asks the same.
"""

from __future__ import annotations

import functools
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dojo
from dojo.grading import record
from dojo.grading.supervisor import Answer, Worker
from dojo.grading.walls import WALLS
from dojo.kata.files import Kata
from dojo.kata.mistakes import Mistake
from dojo.kata.seam import import_solution
from dojo.process.first_use import wants_the_compiler
from dojo.session.memory import machine_digest

_LONGEST = 300.0  # seconds that the reference may take for a kata
_SEEDS = 1 << 31


@dataclass(frozen=True)
class KataPlan:
    """What is asked of one kata."""

    key: str
    digest: str  # of the kata, the reference, the engine, the libraries and what else decides the plan
    tests: tuple[str, ...]  # all that count
    left_out: Mapping[str, str]  # tests that the reference does not pass here, and why
    seed: int
    seconds: float  # that the kata may take
    test_seconds: float  # that a test without a limit of its own may take
    mistakes: tuple[tuple[str, str], ...]  # the known ones: what they say, and the test that says it


@dataclass(frozen=True)
class Plan:
    """What is asked of a class."""

    wall: str
    seed: int  # drawn once for the class
    memory_gb: float
    mark: str  # as pytest's -m
    katas: Mapping[str, KataPlan]
    students: tuple[str, ...] = ()
    roster: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)


def path_of(report: Path) -> Path:
    return report / "plan.json"


def read(report: Path) -> Plan | None:
    """The plan of a report; None where there is none that can be used."""
    try:
        data = json.loads(path_of(report).read_text(encoding="utf-8"))
        data["katas"] = {key: _kata_plan(value) for key, value in data["katas"].items()}
        return Plan(**{**data, "students": tuple(data["students"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _kata_plan(data: dict[str, Any]) -> KataPlan:
    mistakes = tuple((says, caught_by) for says, caught_by in data["mistakes"])
    return KataPlan(**{**data, "tests": tuple(data["tests"]), "mistakes": mistakes})


def write(report: Path, plan: Plan) -> None:
    report.mkdir(parents=True, exist_ok=True)
    record.write_text(path_of(report), json.dumps(asdict(plan), indent=1, ensure_ascii=False) + "\n")


@functools.cache
def _engine_digest() -> str:
    """Of all that judges: the rooms below, this one, the libraries, what the machine has."""
    files = sorted(p for room in ("grading", "process") for p in (Path(dojo.__file__).parent / room).rglob("*.py"))
    parts = [machine_digest().encode(), *(file.read_bytes() for file in files)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def digest_of(kata: Kata, reference: Path, *others: object) -> str:
    """Of all that decides how a kata is asked."""
    solution = reference / f"{kata.key}.py"
    parts = [kata.path.read_bytes(), solution.read_bytes() if solution.is_file() else b""]
    text = "\0".join([_engine_digest(), *map(str, others)]).encode()
    return hashlib.sha256(b"\0".join([*parts, text])).hexdigest()[:16]


def draw_seed() -> int:
    return secrets.randbelow(_SEEDS)


# ── a plan for katas that have none yet: the reference is graded first ──


@dataclass(frozen=True)
class Terms:
    """What all katas of a plan have in common."""

    project: Path
    wall: str
    seed: int
    memory_gb: float
    mark: str

    def job(
        self, kata: Kata, text: str, *, seed: int, seconds: float, test_seconds: float, several: bool
    ) -> dict[str, Any]:
        """What a worker is asked. `several`: more jobs follow, so that it is worth while to import ahead."""
        return {
            "key": kata.key,
            "project": str(self.project),
            "text": text,
            "seed": seed,
            "seconds": seconds,
            "test_seconds": test_seconds,
            "memory_gb": self.memory_gb,
            "mark": self.mark,
            "several": several,
            "compiles": wants_the_compiler(kata.path),
        }


def ask_the_reference(katas: Sequence[Kata], terms: Terms, reference: Path, workers: int) -> dict[str, KataPlan]:
    """Grade the reference, behind the wall, with a few processes at once."""
    mistakes = {kata.key: _mistakes(reference / f"{kata.key}.py") for kata in katas}
    lots = [katas[i::workers] for i in range(workers) if katas[i::workers]]
    with ThreadPoolExecutor(max(1, len(lots))) as pool:
        plans = list(pool.map(lambda lot: _ask_lot(lot, terms, reference, mistakes), lots))
    return {key: plan for lot in plans for key, plan in lot.items()}


def _ask_lot(
    katas: Sequence[Kata], terms: Terms, reference: Path, mistakes: Mapping[str, tuple[tuple[str, str], ...]]
) -> dict[str, KataPlan]:
    plans = {}
    with Worker(WALLS[terms.wall], terms.project) as worker:
        for kata in katas:
            text = (reference / f"{kata.key}.py").read_bytes().decode("utf-8")
            seed, answer = _best_seed(worker, kata, text, terms)
            passed = [test for test in answer.tests if answer.kind(test) == "passed"]
            left_out = {test: answer.why(test) for test in answer.tests if test not in passed}
            if not answer.tests or answer.tampering:
                left_out["all"] = answer.end or "; ".join(answer.tampering) or "no test was collected"
            plans[kata.key] = KataPlan(
                kata.key,
                digest_of(kata, reference, terms.wall, terms.memory_gb, terms.mark),
                tuple(passed),
                left_out,
                seed,
                30.0 + round(10 * answer.seconds),
                10.0 + round(5 * answer.seconds),
                mistakes[kata.key],
            )
    return plans


def _best_seed(worker: Worker, kata: Kata, text: str, terms: Terms) -> tuple[int, Answer]:
    """The drawn seed, where the reference passes as many tests with it as with the one that learners have."""
    tried = []
    for seed in (terms.seed, 0):
        job = terms.job(kata, text, seed=seed, seconds=_LONGEST, test_seconds=_LONGEST, several=True)
        answer = worker.ask(job)
        tried.append((seed, answer))
        if not any(answer.kind(test) == "failed" for test in answer.tests):
            break
    return max(tried, key=lambda one: sum(one[1].kind(test) == "passed" for test in one[1].tests))


def _mistakes(reference: Path) -> tuple[tuple[str, str], ...]:
    """The known mistakes, each sentence of a test once."""
    found: list[Mistake] = vars(import_solution(reference)).get("MISTAKES", [])
    return tuple(dict.fromkeys((mistake.says, mistake.caught_by) for mistake in found))
