"""The gate: one named test per kata and check. What each check asks is in dojo/authoring/checks.py."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

import dojo
from dojo.authoring import tree_rules
from dojo.authoring.checks import CHECKS
from dojo.authoring.runs import answers_of, run
from dojo.kata.files import Kata, find_katas
from dojo.session.memory import machine_digest

ROOT = Path(__file__).resolve().parents[1]
KATAS = find_katas(ROOT / "katas")
# Numbers kept free for what comes later.
CHAPTERS_TO_COME: set[int] = set()


def _marks(kata: Kata) -> list[pytest.MarkDecorator]:
    # With `-n 2 --dist loadgroup` the checks of a kata, which look at one run of it, stay in one worker.
    # A kata with a slow test takes minutes in sixty variants: that is for `-m slow`.
    slow = "@pytest.mark.slow" in kata.path.read_text(encoding="utf-8")
    return [pytest.mark.xdist_group(kata.key), *([pytest.mark.slow] if slow else [])]


@pytest.fixture(scope="session", params=[pytest.param(kata, id=kata.key, marks=_marks(kata)) for kata in KATAS])
def complaints(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """What the checks say of a kata. One that was proved, and has not changed since, is not run again."""
    kata: Kata = request.param
    cache, digest = getattr(request.config, "cache", None), _digest(kata)
    name = f"gate/{kata.key}"
    if cache is not None and "CI" not in os.environ and cache.get(name, None) == digest:
        return {check: [] for check in CHECKS}
    runs = run(kata, ROOT / "reference")
    found = {name: check(runs) for name, check in CHECKS.items()}
    if cache is not None:
        cache.set(name, None if any(found.values()) else digest)
    return found


def _digest(kata: Kata) -> str:
    files = [kata.path, ROOT / "reference" / f"{kata.key}.py", answers_of(kata)]
    files += sorted(Path(dojo.__file__).parent.rglob("*.py"))
    parts = [machine_digest().encode(), *(file.read_bytes() for file in files if file.is_file())]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


@pytest.mark.parametrize("check", CHECKS)
def test_kata(complaints, check):
    assert not complaints[check], "\n".join(["", *complaints[check]])


def test_the_tree_is_whole():
    complaints = tree_rules.complaints(ROOT, CHAPTERS_TO_COME)
    assert not complaints, "\n".join(["", *complaints])
