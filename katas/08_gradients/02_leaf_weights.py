"""Leaf or not: scaled initial weights and hidden gradients

A *leaf* is a tensor that no recorded operation made. backward fills `.grad` of leaves that require a gradient, and an
optimizer takes nothing else. What an operation makes out of a leaf is not a leaf any more, and that happens on the way:
`torch.randn(3, 5, requires_grad=True) * 0.01` is the *result of a multiplication*. The leaf is the tensor inside, which
has no name; after backward the weight's own `.grad` is None, and SGD says "can't optimize a non-leaf Tensor". A `.to()`
after requires_grad does the same, but only where it changes something. So: values first, requires_grad last;
`t.requires_grad_()` switches it on in a tensor that is ready.

Inside the graph gradients flow through every tensor, but they are not kept: `.grad` of a non-leaf stays None, with a
warning. If you want to see one, say so *before* backward, with its method `retain_grad()`. Making the hidden tensor a
leaf of its own is no way: it cuts the graph, and everything below it gets nothing.

What is asked here: a weight that trains, and a look at a hidden gradient that leaves the graph whole.

About 20 minutes. Before it: first_gradient.
Path: first_day, numpy

https://docs.pytorch.org/docs/stable/generated/torch.Tensor.is_leaf.html
"""

from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain


def make_weight(rows: int, cols: int, scale: float) -> torch.Tensor:
    """A leaf of shape (rows, cols) that requires a gradient: normal values, mean 0, std `scale`.

    Its dtype is torch's default, float32. Each call draws anew.
    """
    raise NotImplementedError("draw the values, scale them, and make a leaf of the result")


def hidden_gradient(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For y = x + 2 and z = the sum of y**2: returns y (made from `x`) and dz/dy, and leaves dz/dx in `x.grad`.

    `x` is a leaf of any float dtype and any shape that requires a gradient; its values stay as they are. If `x.grad`
    held something before, that is no part of dz/dy.
    """
    raise NotImplementedError("compute y and z, run the backward, return y and dz/dy")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _is_matrix(w: Any, rows: int, cols: int) -> None:
    assert isinstance(w, torch.Tensor), f"expected a tensor, got {type(w).__name__}"
    assert tuple(w.shape) == (rows, cols), f"expected shape {(rows, cols)}, got {tuple(w.shape)}"
    assert 0 not in w.stride(), "an expanded tensor: many of its weights are one and the same number in memory"


def _weight(rows: int, cols: int, scale: float) -> Any:
    __tracebackhide__ = True
    edited = "a leaf that requires a gradient was edited in place, and recorded: scale first, requires_grad last"
    with explain(f"make_weight({rows}, {cols}, {scale}) raised", {"in-place operation": edited}):
        w = make_weight(rows, cols, scale)
    _is_matrix(w, rows, cols)
    return w


def _hidden(x: torch.Tensor) -> tuple[Any, Any]:
    __tracebackhide__ = True
    signs = {
        "second time": "two passes through one graph, and the first freed what it had saved: keep it, or make it one "
        "pass",
        "scalar outputs": "backward starts from one number: z is the sum of all of y**2",
        "in-place operation": "you edited x in place: y = x + 2 is a new tensor",
    }
    with explain("hidden_gradient(x) raised", signs):
        return _pair(hidden_gradient(x))


def _pair(got: Any) -> tuple[Any, Any]:
    assert isinstance(got, tuple | list), f"expected the pair (y, dz/dy), got {type(got).__name__}"
    assert len(got) == 2, f"expected the pair (y, dz/dy), got {len(got)} things"
    return got[0], got[1]


def test_a_weight_that_was_scaled_after_requires_grad_is_no_leaf():
    w = _weight(3, 5, 0.01)
    assert w.requires_grad, "the weight does not require a gradient: nothing would train it"
    made_by = type(w.grad_fn).__name__.rstrip("0123456789").removesuffix("Backward")
    assert w.is_leaf, f"not a leaf, but the result of an operation after requires_grad ({made_by}): requires_grad last"
    assert w.dtype == torch.float32, f"expected float32, got {w.dtype}"


@pytest.mark.parametrize("scale", [0.01, 4.0], ids=["a small scale", "a large scale"])
def test_scale_is_the_standard_deviation(scale):
    w = _weight(300, 300, scale)
    std, mean = w.detach().std().item(), w.detach().mean().item()

    def near(value, by=0.02):  # the std of 90000 normal values is off by 0.0025 or so
        return (1 - by) * value < std < (1 + by) * value

    came = f"(scale {scale}, std {std:.4g})"
    assert not near(1.0), f"the values are not scaled: their std is still that of randn {came}"
    assert not near(scale**0.5), f"scale is the std, not the variance: no square root {came}"
    assert not near(scale**2), f"the std is scale squared: scale once, by scale {came}"
    assert near(scale, 0.1), f"the standard deviation of the values must be scale {came}"
    assert abs(mean) < 0.1 * scale, f"the values must lie around 0, their mean is {mean:.4g} (scale {scale})"
    different = len(w.detach().unique())
    assert different > 60_000, f"90000 weights and only {different} different values: draw a value for each weight"
    far = (w.detach().abs() > 2.5 * scale).double().mean().item()
    assert 0.005 < far < 0.025, (
        f"of normal values 1.2% lie further out than 2.5 std, of yours {far:.1%}: draw normal ones"
    )
    again = _weight(300, 300, scale)
    assert again is not w, "the second call gave you the very same tensor: two layers would share one weight"
    assert not torch.equal(w, again), "the second call drew the same values: two layers would begin alike, seed nothing"


def test_an_optimizer_moves_a_leaf():
    w = _weight(2, 3, 0.5)
    before = w.detach().clone()
    with explain(
        "one step of SGD on the weight raised", {"non-leaf": "SGD takes leaves only, and this weight is none"}
    ):
        optimizer = torch.optim.SGD([w], lr=0.1)
        (w * torch.tensor([1.0, 2.0, -4.0])).sum().backward()
        optimizer.step()
    moved = before - torch.tensor([0.1, 0.2, -0.4])
    check_tensor(w.detach(), moved, "one SGD step moves w by -lr * gradient", rtol=1e-5, atol=1e-6)


@pytest.mark.myth(
    says="Every tensor in the graph that requires a gradient gets its .grad from backward.",
    today="Only leaves do; a hidden tensor keeps its gradient only where that was asked for before backward.",
)
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        pytest.param([5.0, 1.0], torch.float64, id="a vector of float64"),
        pytest.param([[5.0, 1.0, 0.5], [-2.0, -7.0, 0.0]], torch.bfloat16, id="a matrix of bfloat16"),
        pytest.param(-7.0, torch.float32, id="a number"),
    ],
)
def test_only_leaves_keep_their_gradient_unless_told(values, dtype):
    x = torch.tensor(values, dtype=dtype, requires_grad=True)
    before = x.detach().clone()
    y, slope = _hidden(x)
    want = 2 * (before + 2)
    check_tensor(x.detach(), before, "x itself changed: y = x + 2 is a new tensor")
    check_tensor(y, before + 2, "y is x + 2", requires_grad=True)
    assert slope is not None, "dz/dy is None: y is no leaf, ask for its gradient to be kept, and before the backward"
    check_tensor(slope, want, "dz/dy is 2*y")
    assert x.grad is not None, "x.grad is None: you cut the graph between y and x, or the backward stopped at y"
    check_tensor(x.grad, want, "x.grad is dz/dx, that of one backward")
    x.grad = torch.full_like(x, 100.0)
    _, slope = _hidden(x)
    check_tensor(slope, want, "x.grad held 100 before, and that is in your dz/dy: x.grad belongs to x, look at y's own")


def test_a_hidden_tensor_stays_connected_to_its_input():
    x = torch.tensor([5.0, 1.0], requires_grad=True)
    y, _ = _hidden(x)
    assert isinstance(y, torch.Tensor), f"expected y as a tensor, got {type(y).__name__}"
    assert y.shape == x.shape, f"y = x + 2 has the shape of x, {tuple(x.shape)}, what you gave has {tuple(y.shape)}"
    assert y.requires_grad, "y does not require a gradient: it is cut off from x"
    assert not y.is_leaf, "y is a leaf now, so you cut it off from x: a look at a gradient must leave the graph whole"
    (slope,) = torch.autograd.grad(y, x, torch.tensor([3.0, 10.0]), allow_unused=True)
    assert slope is not None, "y does not come from x: no gradient flows from it to x"
    check_tensor(slope, torch.tensor([3.0, 10.0]), "dy/dx is 1")
