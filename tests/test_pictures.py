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
from matplotlib.figure import Figure

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


def test_bend_the_line():
    picture = drawn("13_training/03_bend_the_line")
    numbers = picture.numbers
    assert numbers["step"][-1] == 600
    assert numbers["distance"][0] > numbers["distance"][-1]
    assert numbers["distance"][-1] < 0.1
    assert max(numbers["net"]) > 1
    line, net = torch.tensor(numbers["line"]), torch.tensor(numbers["net"])
    assert line.diff(n=2).abs().max() < 1e-5
    assert net.diff(n=2).abs().max() > 1e-3
    assert "is at 0.51" in picture.says
    first, *_, last = frames(picture)
    assert first.tobytes() != last.tobytes()


def test_learning_curves():
    picture = drawn("13_training/04_learning_curves")
    train, val, at = (picture.numbers[name] for name in ("train", "val", "steps of val"))
    assert len(train) == 400
    assert at == [10.0 * i for i in range(41)]
    assert train[-1] < 0.1 * train[0]
    best = min(val)
    assert best < 0.6 * val[0]
    assert val[-1] > 1.2 * best  # the net has learnt the noise of its points
    assert isinstance(picture.drawing, Figure)
    assert [line.get_label() for line in picture.drawing.axes[0].get_lines()] == ["train", "val"]


def test_schedules_by_formula():
    rates = drawn("11_optimizers/07_schedules_by_formula").numbers
    assert len(rates) == 5
    for name, values in rates.items():
        assert values[0] == 0.1, name
        if "eta_min" not in name:
            assert values == sorted(values, reverse=True), name
            assert values[-1] < 0.01, name
    climbs = rates["CosineAnnealingLR, T 20, eta_min 0.01"]
    assert climbs[20] == min(climbs) == pytest.approx(0.01)
    assert climbs[40] == pytest.approx(0.1)
