"""A mean squared error that refuses to broadcast

A regression model with one output gives predictions of shape (N, 1), the labels of a table are (N,), often integers.
`F.mse_loss` takes both. Broadcasting makes (N, N) of them, each prediction against each label, and the mean of those N²
squares is no error of anything: a perfect prediction of 1, 2, 3 has a loss of 1.3333. Training goes down to the spread
of the labels and stays there; the network has learnt their mean, and nothing of x. What you see of it is one
UserWarning, somewhere in the log. `l1_loss`, `smooth_l1_loss` and `huber_loss` do the same;
`binary_cross_entropy` raises a ValueError, which is what you want.

So give the labels the shape of the predictions, once, where the data comes in, and let the loss insist on it. Don't
`squeeze()` both sides: with a batch of one, or one label too few, that hides the same mistake.

The reduction says what becomes of the squares: "none" keeps them, "sum" adds them up, "mean" divides that sum by the
number of *all elements*, not by the size of the batch. So with three outputs a gradient of "mean" is a third as large.

What is asked here: such a loss, and labels as a column. A model's weights are float32, so let the labels be so too.

About 15 minutes. Before it: the_silent_outer_product, first_gradient.
Path: first_day

https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.mse_loss.html
"""

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, raises, unchanged


def mse(pred: torch.Tensor, target: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """The squared differences of two tensors of one shape, both float32 or both float64; the result has their dtype.

    With `reduction` "mean" their mean over all elements and with "sum" their sum, both 0-d; with "none" as they are.
    A nan makes mean and sum nan. ValueError if the shapes differ, or for any other `reduction`. Gradients flow to
    `pred`; no argument changes.
    """
    raise NotImplementedError("check the shapes, square, reduce")


def as_column(y: torch.Tensor) -> torch.Tensor:
    """The labels `y`, (N,) or already (N, 1), of an int or float dtype, as (N, 1) in float32, whatever the default.

    `y` stays as it is.
    """
    raise NotImplementedError("make a float column of y")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _mse(pred: torch.Tensor, target: torch.Tensor, **reduction: str) -> Any:
    __tracebackhide__ = True
    how = "".join(f", reduction={value!r}" for value in reduction.values())
    with explain(f"mse raised, for two tensors of shape {tuple(pred.shape)}{how}"):
        with unchanged("mse changes no argument", pred=pred, target=target):
            got = mse(pred, target, **reduction)
    assert isinstance(got, torch.Tensor), f"mse returns a tensor, got {type(got).__name__}"
    return got


@pytest.mark.myth(
    says="The mean squared error is divided by the size of the batch.",
    today="By the number of all elements: twelve differences of 2 in a batch of four have the mean 4, not 12.",
)
def test_the_mean_is_over_all_elements():
    for dtype in (torch.float32, torch.float64):
        pred, target = torch.tensor([1.0, 2.0, 3.0], dtype=dtype), torch.tensor([1.0, 4.0, 7.0], dtype=dtype)
        squares, total, mean = (torch.tensor(v, dtype=dtype) for v in ([0.0, 4.0, 16.0], 20.0, 20 / 3))
        for how, want in (({}, mean), ({"reduction": "mean"}, mean), ({"reduction": "sum"}, total)):
            said = f"of the squares 0, 4 and 16, with reduction={how.get('reduction', 'mean (the default)')}"
            got = _mse(pred, target, **how).detach()
            rooted = got.shape == () and torch.allclose(got.to(dtype), want.sqrt())
            assert not rooted, (
                f"the root of the squares was taken: that is another measure, and has no gradient at 0; {said}"
            )
            check_tensor(got, want, said, rtol=1e-6 if dtype == torch.float32 else 1e-12)
        check_tensor(_mse(pred, target, reduction="none"), squares, "with reduction=none the squares stay as they are")
    pred = torch.full((3, 4), 3.0).t()
    by_batch = torch.equal(_mse(pred, pred - 2), torch.tensor(12.0))
    assert not by_batch, "12: the sum was divided by the batch, 4, not by the number of elements, 12"
    check_tensor(_mse(pred, pred - 2), torch.tensor(4.0), "the mean of twelve squares, all 4, is 4")
    check_tensor(_mse(pred, pred - 2, reduction="sum"), torch.tensor(48.0), "the sum of twelve squares, all 4, is 48")
    squares = torch.full((4, 3), 4.0)
    check_tensor(_mse(pred, pred - 2, reduction="none"), squares, "twelve squares in the shape of pred")
    one = torch.tensor([[0.1]], dtype=torch.float64)
    want = torch.tensor(0.04, dtype=torch.float64)
    check_tensor(_mse(one, -one), want, "one element: 0.2 squared, as exact as float64", rtol=1e-12)
    broken, nan = torch.tensor([float("nan"), 2.0]), torch.tensor(float("nan"))
    for how in ("mean", "sum"):
        check_tensor(_mse(broken, torch.ones(2), reduction=how), nan, f"one prediction is nan, so their {how} is nan")
    check_tensor(_mse(torch.tensor(3.0), torch.tensor(1.0)), torch.tensor(4.0), "two tensors without dimensions")
    got = _mse(torch.tensor([4096.5]), torch.tensor([4096.25]))
    check_tensor(
        got, torch.tensor(0.0625), "large numbers, 0.25 apart: first the difference, then its square", rtol=1e-6
    )
    for other in ("average", "Mean", "batchmean", ""):
        with raises(ValueError, f"reduction={other!r} is none of the three"):
            mse(torch.zeros(3), torch.ones(3), reduction=other)


@pytest.mark.myth(
    says="A loss raises if predictions and labels differ in shape.",
    today="mse_loss, l1_loss and huber_loss broadcast, and only warn: (N, 1) with (N,) is a mean over N * N pairs.",
)
def test_shapes_that_differ_are_an_error_even_if_they_broadcast():
    perfect = torch.tensor([1.0, 2.0, 3.0])
    for shape, other in (((3, 1), (3,)), ((3,), (3, 1))):
        said = f"a perfect prediction, {shape} beside {other}: broadcast to 3 x 3, its loss would be 1.3333"
        with raises(ValueError, said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mse(perfect.view(shape), perfect.view(other))
    for shape, other in (
        ((8, 18), (1, 18)),
        ((1, 18), (8, 18)),
        ((3, 1), (3, 4)),
        ((5,), (1,)),
        ((5,), ()),
        ((1,), ()),
        ((1, 1), (1,)),
        ((2, 3), (3, 2)),
        ((2, 3), (6,)),
        ((4, 3), (4, 1, 3)),
        ((7,), (5,)),
    ):
        for how in ("mean", "sum", "none"):
            said = f"pred {shape} and target {other} differ in shape, reduction={how!r}"
            with raises(ValueError, said), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mse(torch.ones(shape), torch.ones(other), reduction=how)


def test_the_gradient_is_twice_the_difference_over_the_number_of_elements():
    target = torch.tensor([1.0, 4.0, 7.0])
    up = torch.tensor([1.0, -2.0, 0.5])
    for how, want in (
        ("mean", [0.0, -4 / 3, -8 / 3]),
        ("sum", [0.0, -4.0, -8.0]),
        ("none", [0.0, 8.0, -4.0]),
    ):
        pred = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
        loss = _mse(pred, target, reduction=how)
        assert loss.requires_grad, f"the loss hangs on no graph, nothing can learn from it; reduction={how!r}"
        with explain("backward through mse raised"):
            (loss * up).sum().backward() if how == "none" else loss.backward()
        check_tensor(pred.grad, torch.tensor(want), f"the gradient, reduction={how!r}", rtol=1e-5, atol=1e-6)
    pred = torch.full((4, 3), 3.0, requires_grad=True)
    with explain("backward through mse raised, for a batch of four with three outputs"):
        mse(pred, torch.ones(4, 3)).backward()
    check_tensor(pred.grad, torch.full((4, 3), 1 / 3), "2 * 2 / 12 for each of twelve elements", rtol=1e-5)


def _as_column(y: torch.Tensor) -> Any:
    __tracebackhide__ = True
    told = f"for y of shape {tuple(y.shape)} and {y.dtype}"
    with explain(f"as_column raised, {told}"), unchanged("as_column changes nothing of y", y=y):
        got = as_column(y)
    assert isinstance(got, torch.Tensor), f"as_column returns a tensor, got {type(got).__name__}"
    n = len(y)
    assert got.shape == (n, 1), f"expected the shape ({n}, 1), got {tuple(got.shape)}, {told}"
    assert got.dtype == torch.float32, f"expected float32, got {got.dtype}, {told}"
    return got


def test_labels_become_a_float_column():
    want = torch.tensor([[3.0], [0.0], [5.0], [7.0]])
    default = torch.get_default_dtype()
    for dtype in (torch.int64, torch.int32, torch.uint8, torch.float32, torch.float64, torch.float16):
        y = torch.tensor([3, 0, 5, 7], dtype=dtype)
        wide = torch.stack((y, y + 1), 1)
        try:
            for is_default in (torch.float32, torch.float64):
                torch.set_default_dtype(is_default)
                for given in (y, y.unsqueeze(1), wide[:, 0], wide[:, :1]):
                    got = _as_column(given)
                    check_tensor(got, want, f"the labels 3, 0, 5, 7 from {tuple(given.shape)} and {dtype}")
                    check_tensor(_as_column(got), want, "a column that is one already stays as it is")
        finally:
            torch.set_default_dtype(default)
    for given, label in ((torch.tensor([2]), 2.0), (torch.tensor([[5]]), 5.0), (torch.tensor([7]), 7.0)):
        check_tensor(_as_column(given), torch.tensor([[label]]), f"one label, {label:g}")
    odd = torch.tensor([0.1, -70001.25, float("inf")], dtype=torch.float64)
    want = torch.tensor([[0.1], [-70001.25], [float("inf")]], dtype=torch.float32)
    check_tensor(_as_column(odd), want, "fractions, signs and sizes stay, as exact as float32 is")


def test_with_broadcasting_a_model_learns_the_mean_of_the_labels():
    x = torch.arange(-3.0, 4.0).unsqueeze(1)
    y = torch.arange(-4, 9, 2)  # 2x + 2, as integers

    def weight_after_training(loss: Any, labels: torch.Tensor) -> float:
        __tracebackhide__ = True
        model = nn.Linear(1, 1)
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(60):
            opt.zero_grad()
            loss(model(x), labels).backward()
            opt.step()
        return model.weight.item()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lost = weight_after_training(F.mse_loss, y.float())
    assert abs(lost) < 0.01, f"with (7, 1) beside (7,), F.mse_loss learns the weight 0, got {lost}"
    with explain("training with mse(model(x), as_column(y)) raised"):
        learnt = weight_after_training(mse, as_column(y))
    assert abs(learnt - 2) < 0.01, (
        f"the labels are 2x + 2: with mse and as_column the weight becomes 2, got {learnt:.4f}"
    )
