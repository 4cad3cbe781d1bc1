"""Pictures of one's own run: the numbers first, then what is written."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch

from dojo.kata.seam import import_solution
from dojo.kit import pictures, training
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


def test_iris_logistic():
    numbers = drawn("13_training/02_iris_logistic").numbers
    assert numbers["step"][-1] == 500
    assert numbers["right"][-1] >= 99
    p = numbers["p"]
    assert sum(p[:50]) / 50 < 0.2
    assert sum(p[50:]) / 50 > 0.8
    (length,) = numbers["changes"]  # the boundary, at a width of 3 cm
    assert 5.1 < length < 5.5
    assert numbers["along"][0] < 0.01
    assert numbers["along"][-1] > 0.99
    first, *_, last = frames(drawn("13_training/02_iris_logistic"))
    assert first.tobytes() != last.tobytes()


def test_the_weights_of_each_step_are_noted_without_a_change():
    def train(step):
        torch.manual_seed(0)
        net = torch.nn.Linear(2, 1)
        opt = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            opt.zero_grad()
            net(torch.ones(4, 2)).square().mean().backward()
            step(net, opt)
        return net

    def by_hand(net, opt):
        with torch.no_grad():
            for p in net.parameters():
                p -= 0.1 * p.grad

    net, weights = training.weights_of_each_step(lambda: train(lambda net, opt: opt.step()))
    _, end = training.weights_of_each_step(lambda: train(by_hand))
    assert (len(weights), len(end)) == (4, 1)
    for name, value in net.named_parameters():
        assert value.equal(weights[3][name])
        assert not value.equal(weights[2][name])
        torch.testing.assert_close(end[0][name], value.detach())
        assert not value.equal(weights[0][name])
