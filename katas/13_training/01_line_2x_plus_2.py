"""Fit a line: f(x) = 2x + 2

Given x = 1, 2, 3 and y = 4, 6, 8: which line is it? `nn.Linear(1, 1)` is a line, w x + b, with a random w and b in
`.weight` and `.bias`. Gradient descent finds the right ones: predict all points, take the mean of the squared errors,
go a step of size lr down its slope, and do it all again, `epochs` times. It is the smallest training there is, and
three things go wrong in it that go wrong in large ones.

The shapes. `nn.Linear` answers with (n, 1), and y is (n,). PyTorch compares *each* prediction with *every* target then,
warns at most, and learns the mean of y: f(x) = 0x + 6. Give both the same shape, with `squeeze(1)` or `unsqueeze(1)`.
The gradients: without `zero_grad()` they pile up, and the line swings from side to side and never comes to rest. And
lr. On a web page you read "500 epochs", and that says nothing alone: with lr = 0.1 the line is found by then, with 0.01
it is not, and with 0.2 each step overshoots by more than the one before, until w is inf and then nan.

Where is the limit? Let X have two columns, x and ones (`torch.ones_like`, `torch.cat`). The loss is a bowl whose
curvature is the 2 x 2 matrix H = 2/n XᵀX, and `torch.linalg.eigvalsh(H)` gives its least and its greatest curvature. A
step of lr turns the error in the steepest direction into (1 - lr * greatest) times itself. That must stay above -1.

What is asked here: train the line, and say beforehand which lr is too high.

About 25 minutes. Before it: mse_shapes, manual_sgd, training_step.
Path: first_day

https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html
"""

import math
import warnings

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import explain, unchanged


def fit_line(x: torch.Tensor, y: torch.Tensor, lr: float, epochs: int) -> tuple[float, float]:
    """w and b of the line w x + b, as Python floats, after `epochs` steps of gradient descent.

    `x` is float32 (n, 1), `y` float32 (n,); both stay as they are. Make one `nn.Linear(1, 1)`, as PyTorch fills it, and
    draw nothing at random before. An epoch is one step, with all n points: w and b go by -lr times the gradient of the
    mean squared error. No momentum, nothing else; with an lr that is too high, w and b grow without limit.
    """
    raise NotImplementedError("make a Linear(1, 1), train it, return w and b")


def max_stable_lr(x: torch.Tensor) -> float:
    """The lr up to which `fit_line` with these `x`, float32 (n, 1), gets nearer to the best line, and not farther away.

    It is 2 / the greatest eigenvalue of H = 2/n XᵀX, where X, of shape (n, 2), has a column x and a column of ones.
    """
    raise NotImplementedError("return 2 / the greatest curvature")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _fit(x: list[float], y: list[float], lr: float, epochs: int, seed: int) -> tuple[float, float]:
    """fit_line after torch.manual_seed(seed); the warning about shapes is silent, the numbers tell."""
    __tracebackhide__ = True
    points, targets = torch.tensor(x).unsqueeze(1), torch.tensor(y)
    with warnings.catch_warnings(), explain("fit_line raised"):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        with unchanged("the points belong to the caller", x=points, y=targets):
            got = fit_line(points, targets, lr, epochs)
    a_pair = isinstance(got, tuple | list) and len(got) == 2
    assert a_pair, f"fit_line returns a pair, w and b; got {got!r}"
    for name, value in zip("wb", got, strict=True):
        assert isinstance(value, float), f"{name} should be a Python float, got {type(value).__name__}: {value!r}"
    return got[0], got[1]


def _descend(
    x: list[float], y: list[float], lr: float, epochs: int, seed: int, mistake: str = ""
) -> tuple[float, float]:
    """The same by hand, in Python's floats; or with one of the mistakes below."""
    n, mean = len(x), sum(y) / len(y)
    torch.manual_seed(seed)
    layer = nn.Linear(1, 1)
    layer = nn.Linear(1, 1) if mistake == "second layer" else layer
    w, b = (0.0, 0.0) if mistake == "zeros" else (layer.weight.item(), layer.bias.item())
    scale = {"sum": 2.0, "half": 1 / n}.get(mistake, 2 / n)
    gw = gb = 0.0
    epochs += {"one more": 1, "one less": -1}.get(mistake, 0)
    for _ in range(epochs):
        if mistake == "each":
            for a, c in zip(x, y, strict=True):
                error = w * a + b - c
                w, b = w - lr * 2 * error * a, b - lr * 2 * error
            continue
        keep = {"added": 1.0, "momentum": 0.9}.get(mistake, 0.0)
        errors = [w * a + b - (mean if mistake == "crossed" else c) for a, c in zip(x, y, strict=True)]
        gw = keep * gw + scale * sum(e * a for e, a in zip(errors, x, strict=True))
        gb = keep * gb + scale * sum(errors)
        w, b = w - lr * gw, b - lr * gb
    return w, b


_MISTAKES = {
    "crossed": "that is what (n, 1) against (n,) learns: each prediction was compared with every target, so with the "
    "mean",
    "added": "the gradients of the epochs before were added",
    "each": "that is a step for each point; an epoch is one step, with all points",
    "sum": "that is the sum of the squared errors, and not their mean",
    "half": "that is half of the mean squared error",
    "zeros": "that begins with w = b = 0, and not as nn.Linear(1, 1) does",
    "second layer": "that begins with a second random draw: make one Linear, and draw nothing before",
    "momentum": "that is SGD with momentum=0.9",
    "one more": "that is one step more than there are epochs",
    "one less": "that is one step less than there are epochs",
}


def _near(got: tuple[float, float], want: tuple[float, float], tolerance: float) -> bool:
    return all(abs(a - b) <= tolerance * max(1, abs(b)) for a, b in zip(got, want, strict=True))  # never with nan


def _check(got, want, x, y, lr, epochs, seed, tolerance) -> None:
    """got is want, else a sentence, with the cause where the same mistake by hand gives the same numbers."""
    __tracebackhide__ = True
    if _near(got, want, tolerance):
        return
    cause = ""
    if all(map(math.isfinite, got)):
        fits = [m for m in _MISTAKES if _near(got, _descend(x, y, lr, epochs, seed, m), min(tolerance, 1e-3))]
        swapped = _near((got[1], got[0]), want, tolerance)
        cause = f": {_MISTAKES[fits[0]]}" if fits else ": w comes first, then b" if swapped else ""
    told = f"after {epochs} {'epoch' if epochs == 1 else 'epochs'} with lr={lr}, f(x) = {got[0]:.4f}x + {got[1]:.4f}"
    raise AssertionError(f"{told}, expected {want[0]:.4f}x + {want[1]:.4f}{cause}")


@pytest.mark.myth(
    says="500 epochs, and f(x) = 2x + 2 is learned: the loss is 2.8e-8.",
    today="Epochs alone say nothing. From a fresh start, 500 with lr=0.1 are plenty, with 0.01 it is still 2.1x + 1.7.",
)
def test_enough_steps_of_a_good_size_find_the_line():
    x, y = [1.0, 2.0, 3.0], [4.0, 6.0, 8.0]
    for seed in (0, 1):
        _check(_fit(x, y, 0.1, 500, seed), (2.0, 2.0), x, y, 0.1, 500, seed, 1e-2)
    many = [i / 10 - 0.7 for i in range(20)]
    falling = [0.5 - 1.5 * a for a in many]
    _check(_fit(many, falling, 0.3, 400, 2), (-1.5, 0.5), many, falling, 0.3, 400, 2, 1e-2)
    slow = _fit(x, y, 0.01, 500, 0)
    _check(slow, _descend(x, y, 0.01, 500, 0), x, y, 0.01, 500, 0, 1e-3)
    assert abs(slow[1] - 2) > 0.05, "500 steps of lr=0.01 are not enough for b"


@pytest.mark.parametrize("epochs", [1, 3], ids=["one epoch", "three epochs"])
def test_an_epoch_is_one_step_against_the_gradient_of_all_points(epochs):
    for x, y, lr, seed in (
        ([-2.0, -0.5, 0.0, 1.0, 3.0], [1.5, -1.0, 4.0, 0.25, -7.0], 0.07, 5),
        ([0.1, 0.7, -0.3], [100.0, 50.0, 120.0], 0.2, 6),
        ([0.5, 1.0, 0.3, -1.0, 0.0], [3.0, 0.0, -2.0, 7.0, 1.0], 0.07, 5),
        ([i / 150 - 1 for i in range(300)], [i * i % 17 - 5.0 for i in range(300)], 0.07, 8),
    ):
        once, again = (_fit(x, y, lr, epochs, seed) for _ in range(2))
        assert _near(once, again, 1e-5), f"the same call after the same seed gave {once}, and the second time {again}"
        _check(once, _descend(x, y, lr, epochs, seed), x, y, lr, epochs, seed, 1e-5)


@pytest.mark.parametrize(
    ("x", "want"),
    [
        ([1.0, 2.0, 3.0], 0.18029),
        ([-1.0, 1.0], 1.0),
        ([-1.0, -0.5, 0.0, 2.0, 3.0], 0.32415),
        ([2.0], 0.2),
        ([10.0, 11.0, 12.5], 0.0078901),
        ([0.1, -0.1], 1.0),
    ],
    ids=["the three points", "around zero", "five points", "a single point", "far from zero", "close to zero"],
)
def test_the_steepest_direction_of_the_loss_limits_lr(x, want):
    matrix = torch.tensor([[a, 1.0] for a in x], dtype=torch.float64)
    squares = torch.linalg.eigvalsh(matrix.T @ matrix)
    assert 2 / (2 / len(x) * squares[1].item()) == pytest.approx(want, rel=1e-4), "2 / the greatest eigenvalue of H"
    points = torch.tensor(x).unsqueeze(1)
    with explain(f"max_stable_lr raised for x = {x}"), unchanged("the points belong to the caller", x=points):
        got = float(max_stable_lr(points))
    others = {
        "that is 1 / the greatest eigenvalue; an lr up to twice that is stable": want / 2,
        "2/n belongs into H: that is 2 / the greatest eigenvalue of XᵀX": 2 / squares[1].item(),
        "H is 2/n XᵀX: the 2 is missing": 2 * want,
        "that is 2 / the least eigenvalue: the steepest direction limits lr": len(x) / max(squares[0].item(), 1e-9),
        "the column of ones is missing: b has a gradient, too": 1 / max(sum(a * a for a in x) / len(x), 1e-9),
        "that is the square root of the curvature": 2 / math.sqrt(2 / want),
    }
    cause = next((f": {said}" for said, other in others.items() if got == pytest.approx(other, rel=1e-3)), "")
    assert got == pytest.approx(want, rel=5e-3), f"max_stable_lr is {got:.5g} for x = {x}, expected {want}{cause}"


def test_beyond_the_limit_each_step_overshoots_by_more():
    x, y = [1.0, 2.0, 3.0], [4.0, 6.0, 8.0]
    with explain("max_stable_lr raised"):
        limit = float(max_stable_lr(torch.tensor(x).unsqueeze(1)))
    w, b = _fit(x, y, 0.95 * limit, 1500, 7)
    assert _near((w, b), (2, 2), 1e-2), (
        f"with 0.95 times max_stable_lr, lr={0.95 * limit:.4f}, 1500 epochs lead to {w:.3g}x + {b:.3g}, not to 2x + 2"
    )
    w, b = _fit(x, y, 1.05 * limit, 300, 7)
    assert not abs(w - 2) < 1000, (
        f"with 1.05 times max_stable_lr, lr={1.05 * limit:.4f}, 300 epochs lead to {w:.3g}x + {b:.3g}: expected "
        "numbers beyond a million, as plain gradient descent gives there"
    )
