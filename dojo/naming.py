"""The name of a mistake: does a failing run look like one of the known mistakes?

A known mistake's *pattern* is what the tests say of it: which of them fail, and how (the exception and the headline of
its message, numbers masked; then the whole message). The patterns of all known mistakes are computed once, by
`python -m dojo.naming`, into `reference/patterns.json`; the gate keeps the file in step. A learner's run only looks
them up. `python -m dojo.naming --score` says how well that names mistakes that were written in another way.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dojo.gate import Outcome, Runs

FILE = "patterns.json"
_ADDRESS = re.compile(r"0x[0-9a-f]+")
_DATA = re.compile(r"\[(mnist|stand-in)\]$")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass(frozen=True)
class Sign:
    """How one test failed: the headline of its message with the numbers masked, and a digest of the whole."""

    headline: str
    whole: str

    @staticmethod
    def of(message: str) -> Sign:
        """The sign of a message as the verdict shows it."""
        text = _ADDRESS.sub("@", " ".join(message.split()))
        headline = _NUMBER.sub("#", _ADDRESS.sub("@", message.strip().split("\n", 1)[0]))[:120]
        return Sign(headline, hashlib.sha256(text.encode()).hexdigest()[:8])


@dataclass(frozen=True)
class Pattern:
    """What a known mistake looks like."""

    says: str
    functions: tuple[str, ...]
    signs: Mapping[str, Sign]  # by test id

    def as_json(self) -> dict[str, Any]:
        signs = {test: [sign.headline, sign.whole] for test, sign in self.signs.items()}
        return {"says": self.says, "functions": list(self.functions), "signs": signs}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Pattern:
        signs = {test: Sign(*sign) for test, sign in data["signs"].items()}
        return Pattern(data["says"], tuple(data["functions"]), signs)

    def outline(self) -> tuple[object, ...]:
        """What must not go out of step: everything but the digests, in which torch's own wording shows."""
        return self.says, self.functions, {test: sign.headline for test, sign in self.signs.items()}


def load(reference: Path, key: str) -> list[Pattern]:
    """The patterns of one kata's known mistakes; none where the file is missing or unreadable."""
    try:
        return [Pattern.from_json(entry) for entry in read(reference).get(key, [])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def read(reference: Path) -> dict[str, Any]:
    """The whole file, as it is in JSON; kept, so that the watch reads it once, before it forks."""
    file = reference / FILE
    status = file.stat()
    return _read(file, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1)
def _read(file: Path, _mtime_ns: int, _size: int) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return data


def name_mistake(patterns: Iterable[Pattern], failed: Mapping[str, str], uses: Mapping[str, set[str]]) -> str | None:
    """The sentence of the known mistake that a run looks like, or None.

    failed: the message of each test that failed, stubs that are still to do aside.
    uses: the kata's functions that each test calls; a mistake in one function is looked for in that one's tests only.
    """
    signs = signs_of(failed)
    best: tuple[float, int, str] | None = None
    tie = False
    for pattern in patterns:
        score = _likeness(pattern, signs, uses)
        if score is None:
            continue
        rank = (score, len(pattern.signs), pattern.says)
        if best is None or rank[:2] > best[:2]:
            best, tie = rank, False
        elif rank[:2] == best[:2] and rank[2] != best[2]:
            tie = True
    return None if best is None or tie else best[2]


def signs_of(failed: Mapping[str, str]) -> dict[str, Sign]:
    """The signs of a run. A training on MNIST and one on the stand-in fail alike: their tests count as one."""
    return {_DATA.sub("[data]", test): Sign.of(message) for test, message in failed.items()}


def _likeness(pattern: Pattern, signs: Mapping[str, Sign], uses: Mapping[str, set[str]]) -> float | None:
    """How like the pattern a run is, 0 to 1; None when it is another thing."""
    about = {test for test in signs if uses.get(test.split("[")[0], set()) & set(pattern.functions)}
    expected = set(pattern.signs)
    if not expected or not about:
        return None
    same = {t for t in about & expected if signs[t].headline == pattern.signs[t].headline}
    if not same or same != about & expected:
        return None  # a test that fails in another way tells of another mistake
    overlap = len(same) / len(about | expected)
    if overlap < 0.5:
        return None
    exact = sum(signs[t].whole == pattern.signs[t].whole for t in same) / len(same)
    return overlap + exact / 2


def message_of(shown: str) -> str:
    """An assertion's message without the class in front and the values that pytest appends: as the verdict has it."""
    lines = shown.removeprefix("AssertionError: ").strip().splitlines()
    cut = next((i for i, line in enumerate(lines) if i and line.startswith("assert ")), len(lines))
    return "\n".join(lines[:cut])


# ── computing and scoring (the author's side) ──


def patterns_of(runs: Runs) -> list[Pattern]:
    """The patterns of a kata's known mistakes, from its run in all variants."""
    return [
        Pattern(mistake.says, tuple(sorted(mistake.functions)), signs_of(_failed(runs.outcomes[f"mistake-{i}"])))
        for i, mistake in enumerate(runs.mistakes)
    ]


def _failed(outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    return {t: message_of(o.message) for t, o in outcomes.items() if o.kind in ("assertion", "error")}


@dataclass
class Score:
    """How many rewritten mistakes got the right sentence, a wrong one, none."""

    right: int = 0
    wrong: int = 0
    unnamed: int = 0

    def __str__(self) -> str:
        total = max(1, self.right + self.wrong + self.unnamed)
        return (
            f"{total} rewritten mistakes: {self.right / total:.0%} named rightly, {self.wrong / total:.0%} wrongly, "
            f"{self.unnamed / total:.0%} not named"
        )


def score(runs: Runs, into: Score) -> list[str]:
    """Name each rewritten mistake of a kata; returns a line for each that did not get its sentence."""
    from dojo.catalog import uses_of_stubs

    patterns, uses = patterns_of(runs), uses_of_stubs(runs.kata)
    lines = []
    for i, wrong in enumerate(runs.wrong):
        said = name_mistake(patterns, _failed(runs.outcomes[f"wrong-{i}"]), uses)
        if said == wrong.says:
            into.right += 1
            continue
        if said is None:
            into.unnamed += 1
        else:
            into.wrong += 1
        lines.append(f"{runs.kata.key}: wrong answer {i}: expected {wrong.says!r}, said {said!r}")
    return lines


def main(arguments: list[str]) -> None:
    """`python -m dojo.naming [NAME...]` writes the patterns (of those katas); `--score` shows the two shares."""
    from dojo import gate
    from dojo.catalog import find_kata, find_katas

    project = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(prog="python -m dojo.naming", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--score", action="store_true")
    options = parser.parse_args(arguments)
    names = options.names
    katas = find_katas(project / "katas")
    chosen = [find_kata(katas, name) for name in names] or katas
    if options.score:
        total = Score()
        for kata in chosen:
            lines = score(gate.run(kata, project / "reference"), total)
            sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.write(f"{total}\n")
        return
    file = project / "reference" / FILE
    if not names:
        file.write_text("{}\n", encoding="utf-8")
    for kata in chosen:
        patterns = [pattern.as_json() for pattern in patterns_of(gate.run(kata, project / "reference"))]
        data = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        data[kata.key] = patterns
        file.write_text(json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
        sys.stdout.write(f"{kata.key}: {len(patterns)} patterns\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
