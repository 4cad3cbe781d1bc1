"""The silent outer product: what broadcasting does with (N, 1) and (N,).

Two shapes are laid one above the other, aligned at the *right*. Missing dimensions count as 1. Where the sizes differ,
one of them must be 1, and it is stretched to the other, whatever that is: 1 beside 3 gives 3, and 1 beside 0 gives 0.
Anything else is an error.

So (3, 1) beside (3,) is no error: it is (3, 3), every row against every column. A model with one output gives (N, 1),
the labels are (N,), and the loss is the mean over all N * N pairs. A perfect prediction has a loss, training finds the
mean of the labels and stays there; `F.mse_loss` prints a warning, and nothing stops. With `==` nobody even warns: in a
table of N * N comparisons each right label turns up somewhere, and an accuracy can be 100 % with no right answer. Only
in-place operations notice, since the left side cannot grow. (`==` gives bools, and bools have no mean: `.float()` makes
0. and 1. of them.)

What is asked here: the rule itself, and two metrics that raise an error for unequal shapes.

About 30 minutes. Before it: tensor_not_Tensor.
Path: first_day, numpy

https://docs.pytorch.org/docs/stable/notes/broadcasting.html
"""

import math
from numbers import Real
from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import explain, raises, unchanged


def broadcast_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of x + y, where x has the shape `a` and y the shape `b`. ValueError where they do not fit together."""
    raise NotImplementedError("return the common shape")


def mse(pred: torch.Tensor, target: torch.Tensor) -> float | torch.Tensor:
    """The mean of the squared differences of two tensors, both float32 or both float64, as exact as their dtype.

    Returns a float or a 0-dim tensor. Neither tensor changes. An error, such as ValueError, if the shapes differ.
    """
    raise NotImplementedError("return the mean squared error, of equal shapes only")


def accuracy(pred: torch.Tensor, target: torch.Tensor) -> float | torch.Tensor:
    """The share, 0 to 1, of equal class numbers in `pred` (N,) and `target` (N,), both int64, N >= 1.

    Returns a float or a 0-dim tensor. Neither tensor changes. An error, such as ValueError, if the shapes differ.
    """
    raise NotImplementedError("return the share of right answers, of equal shapes only")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _number(out: Any) -> Any:
    if isinstance(out, torch.Tensor) and out.dim() == 0:
        return out.item()
    got = f"a tensor of shape {tuple(out.shape)}" if isinstance(out, torch.Tensor) else type(out).__name__
    assert isinstance(out, Real), f"expected a number or a 0-dim tensor, got {got}: {out}"
    return out


@pytest.mark.parametrize(
    ("a", "b", "want"),
    [
        pytest.param((3, 1), (3,), (3, 3), id="a column and a vector"),
        pytest.param((2, 1, 4), (3, 1), (2, 3, 4), id="3 dimensions and 2"),
        pytest.param((2, 3), (), (2, 3), id="a matrix and a number"),
        pytest.param((0,), (1,), (0,), id="no value and one value"),
        pytest.param((4, 1), (1, 0), (4, 0), id="a column and an empty row"),
        pytest.param((), (), (), id="two numbers"),
    ],
)
def test_shapes_are_aligned_at_the_right(a, b, want):
    for one, other in ((a, b), (b, a)):
        with explain(f"broadcast_shape raised, but {one} and {other} fit together"):
            out = broadcast_shape(one, other)
        assert isinstance(out, tuple), f"expected a tuple, got {type(out).__name__}"
        assert len(out) >= len(want), f"{one}, {other}: you lost the leading dimensions of the longer shape, got {out}"
        swollen = 0 in want and 0 not in out
        assert not swollen, (
            f"{one}, {other}: not the larger size wins; 1 is stretched to the other, also to 0, got {out}"
        )
        assert out == want, f"{one} and {other}, aligned at the right, make {want}, not {out}"


@pytest.mark.parametrize(
    ("a", "b"),
    [((3,), (2,)), ((2, 3), (2,)), ((0,), (2,)), ((4, 1, 3), (2, 2, 3))],
    ids=["3 values and 2", "equal only at the left", "no value and 2 values", "4 samples and 2"],
)
def test_only_a_one_is_stretched(a, b):
    for one, other in ((a, b), (b, a)):
        with raises(ValueError, f"{one} and {other} do not fit together: of two unequal sizes, one must be 1"):
            broadcast_shape(one, other)


def test_mse_is_a_mean_over_all_values():
    pred, target = torch.tensor([[1.0, 2, 3], [4, 5, 6]]), torch.tensor([[1.0, 0, 3], [4, 5, 2]])
    with (
        explain("mse raised: pred and target are (2, 3)"),
        unchanged("mse(pred, target) changed what it was given", pred=pred, target=target),
    ):
        out = _number(mse(pred, target))
    assert abs(out - 20 / 6) < 1e-4, f"two values of six are off, by 2 and by 4: (4 + 16) / 6 = 3.3333, got {out}"
    for dtype, bits, near in ((torch.float32, 12, 1e-6), (torch.float64, 30, 1e-9)):
        pred, target = torch.tensor([1 + 2**-bits, 5.0], dtype=dtype), torch.tensor([1.0, 5.0], dtype=dtype)
        with explain(f"mse raised: pred and target are (2,), {dtype}"):
            out = _number(mse(pred, target))
        said = f"{dtype}: one value of two is off by 2**-{bits}, which is 2**-{2 * bits + 1}, got {out}"
        assert abs(out * 2 ** (2 * bits + 1) - 1) < near, said
    pred, target = torch.tensor([1.1, 5.0], dtype=torch.float64), torch.tensor([1.0, 5.0], dtype=torch.float64)
    with explain("mse raised: pred and target are (2,), float64"):
        out = _number(mse(pred, target))
    assert abs(out - 0.005) < 1e-14, f"float64: one value of two is off by 0.1, which is 0.005 in float64, got {out}"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param((3, 1), (3,), id="a column and a vector"),
        pytest.param((3,), (3, 1), id="a vector and a column"),
        pytest.param((3,), (1,), id="a vector and one value"),
        pytest.param((1,), (3,), id="one value and a vector"),
        pytest.param((2, 3), (3,), id="a matrix and a vector"),
        pytest.param((3,), (2, 3), id="a vector and a matrix"),
    ],
)
def test_a_column_against_a_row_is_an_outer_product(a, b):
    """F.mse_loss only warns: the perfect prediction (3, 1) of (3,) costs 1.3333."""
    pred, target = (torch.arange(1.0, 1 + math.prod(shape)).reshape(shape) for shape in (a, b))
    with raises(Exception, f"mse took the unequal shapes {a} and {b}: an error is asked for") as refusal:
        refusal.mistake += _taken(mse(pred, target), pred, target)


def test_accuracy_is_a_share():
    pred, target = torch.tensor([1, 2, 0, 2]), torch.tensor([1, 2, 0, 0])
    with (
        explain("accuracy raised: pred and target are (4,)", where={"mean.*Bool|Bool.*mean": "bools have no mean"}),
        unchanged("accuracy changed what it was given", pred=pred, target=target),
    ):
        out = _number(accuracy(pred, target))
    assert out != 0, "three of four are right, and you got 0: was the share rounded down, or everything wanted right?"
    assert abs(out - 0.75) < 1e-6, f"three of four are right, which is 0.75, not {out}"
    many = torch.arange(4001)
    with explain("accuracy raised: pred and target are (4001,)"):
        out = _number(accuracy(many, many.where(many % 4 < 3, 16777217)))
    assert abs(out - 3001 / 4001) < 1e-6, f"3001 of 4001 are right, which is {3001 / 4001:.6f}, not {out}"
    with explain("accuracy raised: pred and target are (1,)"):
        out = _number(accuracy(torch.tensor([2**53]), torch.tensor([2**53 + 1])))
    assert out == 0, f"2**53 and 2**53 + 1 are different classes (floats have one number for both), got {out}"


@pytest.mark.parametrize(
    ("a", "b"),
    [((3, 1), (3,)), ((3,), (3, 1)), ((3,), (1,)), ((1,), (3,))],
    ids=["a column and a vector", "a vector and a column", "a vector and one value", "one value and a vector"],
)
def test_a_table_of_comparisons_finds_every_label(a, b):
    """No prediction is right, and in the table (3, 3) each row has one hit."""
    pred, target = torch.tensor([1, 2, 0])[: a[0]].reshape(a), torch.tensor([0, 1, 2])[: b[0]].reshape(b)
    with raises(Exception, f"accuracy took the unequal shapes {a} and {b}: an error is asked for") as refusal:
        out = _number(accuracy(pred, target))
        refusal.mistake += f". Once broadcast, wrong answers score: here {out}" if out else ""


def _taken(out: Any, pred: torch.Tensor, target: torch.Tensor) -> str:
    """What became of two unequal shapes, if it shows in the result."""
    reshaped = (pred - target.view_as(pred)).square().mean() if pred.numel() == target.numel() else None
    if not isinstance(out, torch.Tensor | float) or torch.as_tensor(out).numel() != 1:
        return ""
    if abs(float(out) - float((pred - target).square().mean())) < 1e-4:
        return ". Broadcast, they make pairs that do not belong together"
    if reshaped is not None and abs(float(out) - float(reshaped)) < 1e-4:
        return ". You brought one to the shape of the other: whether that is right, only the caller knows"
    return ""
