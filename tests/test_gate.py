"""The gate: one named test per kata and claim. What each claim asks is in dojo/gate.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from dojo import gate, tree_rules
from dojo.catalog import find_katas

ROOT = Path(__file__).resolve().parents[1]
KATAS = find_katas(ROOT / "katas")


# The claims of a kata look at one run of it: with `-n 2 --dist loadgroup` they stay in one worker.
# A kata that trains takes minutes in sixty variants: that is for `-m slow`.
_PARAMETERS = [
    pytest.param(
        kata,
        id=kata.key,
        marks=[pytest.mark.xdist_group(kata.key), *([pytest.mark.slow] if "training" in kata.chapter else [])],
    )
    for kata in KATAS
]


@pytest.mark.parametrize("claim", gate.CLAIMS.values(), ids=gate.CLAIMS.keys())
@pytest.mark.parametrize("kata", _PARAMETERS)
def test_kata(kata, claim):
    complaints = claim(gate.run(kata, ROOT / "reference"))
    assert not complaints, "\n".join(["", *complaints])


# Modules, losses, optimizers and data come later; their numbers are kept free.
CHAPTERS_TO_COME = {9, 10, 11, 12}


def test_the_tree_is_whole():
    complaints = tree_rules.complaints(ROOT, CHAPTERS_TO_COME)
    assert not complaints, "\n".join(["", *complaints])
