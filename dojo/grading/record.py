"""One record for each submission: `students/NAME/results.json`, in the form that Gradescope reads.

All else that a report holds is made from the records. What Gradescope has no field for stands in `extra_data`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dojo.whole_file import write_whole

Kind = Literal["passed", "failed", "todo", "not run", "not handed in"]


@dataclass(frozen=True)
class TestResult:
    """How one planned test ended."""

    __test__ = False  # not a class of tests

    test: str
    kind: Kind
    says: str = ""
    where: str = ""  # path:line in the student's file
    source: str = ""  # that line
    xray: tuple[str, ...] = ()
    printed: str = ""

    @property
    def function(self) -> str:
        return self.test.split("[")[0]


@dataclass(frozen=True)
class Flag:
    """Something that a human should look at."""

    kind: str
    says: str


@dataclass(frozen=True)
class KataResult:
    """One kata of one submission."""

    key: str
    digest: str  # of the kata, the submission's file and all that judges it
    tests: tuple[TestResult, ...]
    flags: tuple[Flag, ...] = ()

    @property
    def passed(self) -> int:
        return sum(test.kind == "passed" for test in self.tests)

    @property
    def share(self) -> float:
        """Of its tests that pass; nothing where what judges it was tampered with."""
        if any(flag.kind == "tampering" for flag in self.flags):
            return 0.0
        return self.passed / len(self.tests) if self.tests else 0.0

    @property
    def handed_in(self) -> bool:
        return any(test.kind != "not handed in" for test in self.tests)


@dataclass(frozen=True)
class Record:
    """All that is known of one submission."""

    student: str
    katas: tuple[KataResult, ...]
    notes: tuple[str, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)

    def weight(self, key: str) -> float:
        return self.weights.get(key, 1.0)

    @property
    def total(self) -> float:
        """The share of all that could be had, 0 to 1."""
        most = sum(self.weight(kata.key) for kata in self.katas)
        return sum(kata.share * self.weight(kata.key) for kata in self.katas) / most if most else 0.0


def path_of(report: Path, student: str) -> Path:
    return report / "students" / student / "results.json"


def write(path: Path, record: Record) -> None:
    """Write it whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(_gradescope(record), indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """In UTF-8, whole or not at all. What a student's code has made of it may be no Unicode: `?` stands for that."""
    write_whole(path, text.encode("utf-8", errors="replace"))


def read(path: Path) -> Record | None:
    """A record that is there; None where there is none, or one that cannot be used (it is then made anew)."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))["extra_data"]
        return Record(data["student"], tuple(map(_kata, data["katas"])), tuple(data["notes"]), dict(data["weights"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _kata(data: dict[str, Any]) -> KataResult:
    tests = tuple(TestResult(**{**test, "xray": tuple(test["xray"])}) for test in data["tests"])
    return KataResult(data["key"], data["digest"], tests, tuple(Flag(**flag) for flag in data["flags"]))


def _gradescope(record: Record) -> dict[str, Any]:
    """The fields that Gradescope's autograders write: https://gradescope-autograders.readthedocs.io/en/latest/specs/"""
    from dojo.grading.reports import sentences

    most = sum(record.weight(kata.key) for kata in record.katas)
    return {
        "score": round(record.total * most, 4),
        "output": "\n".join(record.notes) or f"{len(record.katas)} katas graded.",
        "output_format": "text",
        "test_output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": [
            {
                "name": kata.key,
                "number": str(number),
                "score": round(kata.share * record.weight(kata.key), 4),
                "max_score": record.weight(kata.key),
                "status": "passed" if kata.share == 1 else "failed",
                "output": "\n".join(sentences(kata)) or "all tests pass",
            }
            for number, kata in enumerate(record.katas, 1)
        ],
        "extra_data": asdict(record),
    }
