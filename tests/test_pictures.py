"""Pictures of one's own run: the numbers first, then what is written."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch

from dojo.kata.seam import import_solution
from dojo.kit import pictures
from dojo.kit.pictures import Picture

pytest.importorskip("matplotlib")
ROOT = Path(__file__).resolve().parents[1]


@functools.cache
def drawn(key: str) -> Picture:
    """The picture of a kata's reference."""
    reference = import_solution(ROOT / "reference" / f"{key}.py")
    return reference.picture(reference)


def frames(picture: Picture) -> list:
    """What moves, frame by frame, as Pillow images."""
    return pictures._frames(picture.drawing)


# ── a picture of each kata that has one ──


def test_line_2x_plus_2():
    numbers = drawn("13_training/01_line_2x_plus_2").numbers
    assert abs(numbers["w"][-1] - 2) < 0.05
    assert abs(numbers["b"][-1] - 2) < 0.05
    assert numbers["loss"][-1] < 1e-3 * numbers["loss"][0]
    assert numbers["diverges"][-1] > 1000 * numbers["diverges"][0]


def test_permute_not_reshape():
    numbers = drawn("02_memory/02_permute_not_reshape").numbers
    moved, relabelled = numbers["to_chw"], numbers["reshape"]
    assert moved.shape == relabelled.shape == (3, 24, 36)
    assert torch.equal(moved.permute(1, 2, 0).flatten(), relabelled.flatten())
    assert numbers["stay"][0] == 24 * 36
    assert numbers["stay"][1] < 24 * 36 / 10
