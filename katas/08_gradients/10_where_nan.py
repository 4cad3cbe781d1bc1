"""torch.where does not hide a bad gradient: mask the input.

`torch.where(x > 0, x.sqrt(), 0)` looks safe: at x = 0 the value is 0, and at x = -1 the nan of the square root is not
chosen. The gradient is nan all the same. Forward computes *both* branches everywhere, and backward goes through both:
where gives the branch that was not chosen a gradient of 0, the slope of sqrt at 0 is infinite, and 0 · inf = nan. One
such nan reaches every weight, and the training is over.

The mask comes too late. It must act *before* the dangerous operation: give sqrt a harmless input wherever its result
will not be used, so that its slope is finite there and 0 times it is 0. The same trap sits in log, division, acos,
powers below 1, and in every distance: sqrt of a sum of squares has no slope where two points meet, as in a loss over
pairs in which a point meets itself. Adding a small eps under the root is no cure: it helps no negative number, and
where the root was 0, the slope is now merely huge, and its error reaches small values too.

What is asked: exact roots and distances (to 1e-5) whose gradient is 0 where the formula has none.

About 20 minutes. Before it: where_does_not_stop_nan, first_gradient.

https://docs.pytorch.org/docs/stable/generated/torch.where.html
"""

from collections.abc import Callable

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain


def safe_sqrt(x: torch.Tensor) -> torch.Tensor:
    """The square root of each value of `x` (float, any shape) where x > 0, and 0 elsewhere. `x` is not changed.

    Its gradient is 1 / (2·sqrt(x)) where x > 0, and 0 elsewhere.
    """
    raise NotImplementedError("square roots that can be differentiated everywhere")


def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The Euclidean distance of row i of `a` to row i of `b`, both (N, D); returns (N,).

    Where the two rows are equal, the distance is 0 and so is its gradient.
    """
    raise NotImplementedError("one distance per row, differentiable also at 0")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_where_x_is_not_positive_the_root_is_zero(dtype):
    x = torch.tensor([-1.0, 0.0, 4.0, 9.0, 1e-4, -1e-4, 9e-7, 1.0], dtype=dtype)
    before = x.clone()
    with explain(f"safe_sqrt should take any float tensor, here (8,) of {dtype}"):
        got = safe_sqrt(x)
    assert not (isinstance(got, torch.Tensor) and got.isnan().any()), "nan: the root of a negative number got through"
    want = torch.tensor([0.0, 0.0, 2.0, 3.0, 0.01, 0.0, 9e-7**0.5, 1.0], dtype=dtype)
    check_tensor(got, want, "the root where x > 0, and 0 elsewhere", atol=1e-5)
    check_tensor(x, before, "you changed x: an in-place operation wrote into the caller's tensor")


def test_backward_goes_through_both_branches_of_where():
    x = torch.tensor([-1.0, 0.0, 4.0], requires_grad=True)
    grad = _gradient(safe_sqrt, x, torch.ones_like(x))
    assert not grad.isnan().any(), (
        f"gradient {grad.tolist()}: both branches are differentiated, and 0 * inf is nan; mask the input of sqrt"
    )
    assert grad[:2].abs().max() < 1, f"gradient {grad.tolist()}: where x is 0 or negative, the slope should be 0"
    check_tensor(grad, torch.tensor([0.0, 0.0, 0.25]), "the slope is 1 / (2 sqrt(x)) where x > 0, else 0", atol=1e-4)


def test_the_upstream_gradient_arrives_place_by_place():
    x = torch.tensor([0.25, 1.0, 4.0, 9.0, 0.0625, 16.0], requires_grad=True)
    weights = torch.tensor([3.0, 5.0, -8.0, 12.0, 0.5, 0.0])
    grad = _gradient(safe_sqrt, x, weights)
    want = torch.tensor([3.0, 2.5, -2.0, 2.0, 1.0, 0.0])
    check_tensor(grad, want, "x.grad should be the upstream weight times the slope, place by place", atol=1e-4)


def test_small_values_keep_their_steep_slope():
    x = torch.tensor([1e-4, 4e-4], requires_grad=True)
    grad = _gradient(safe_sqrt, x, torch.ones_like(x))
    check_tensor(grad, torch.tensor([50.0, 25.0]), "your eps (or clamp) flattens the slope at small x", rtol=1e-3)


def test_each_row_has_one_distance():
    a = torch.tensor([[3.0, 4.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [-2.0, 1.0, 2.0], [1000.0] * 3, [0.0] * 3])
    b = torch.tensor(
        [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, -3.0, 6.0], [0.0, 0.0, 0.0], [1000.0, 1000.0625, 1000], [0, 0, 2e-4]]
    )
    want = torch.tensor([5.0, 0.0, 7.0, 3.0, 0.0625, 2e-4])
    for rows in (slice(0, 6), slice(2, 3)):
        mine, yours = a[rows].clone(), b[rows].clone()
        with explain("distance should take two tensors of shape (N, D), N = 1 too"):
            got = distance(mine, yours)
        check_tensor(got, want[rows], "the root of the sum of squares over D, one number per row", atol=1e-5)
        check_tensor(mine, a[rows], "you changed a: an in-place operation wrote into the caller's tensor")
        check_tensor(yours, b[rows], "you changed b: an in-place operation wrote into the caller's tensor")


def test_the_norm_has_no_slope_where_two_points_meet():
    a = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.5, -2.0]], requires_grad=True)
    b = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.5, -2.0]], requires_grad=True)
    weights = torch.tensor([7.0, 1.0, 3.0])
    grad_a = _gradient(lambda a: distance(a, b), a, weights, "a")
    grad_b = _gradient(lambda b: distance(a, b), b, weights, "b")
    assert not grad_a.isnan().any(), (
        f"gradient {grad_a.tolist()}: the root of a sum of squares has the slope inf at 0, and inf * 0 is nan"
    )
    assert grad_a[[0, 2]].abs().max() < 1e-3, f"gradient {grad_a.tolist()}: it should be 0 where two points meet"
    want = torch.tensor([[0.0, 0.0], [0.6, 0.8], [0.0, 0.0]])
    check_tensor(grad_a, want, "the gradient is the unit vector from b to a, times the upstream weight", atol=1e-4)
    check_tensor(grad_b, -want, "b's gradient is the opposite of a's", atol=1e-4)


def _gradient(
    f: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, weights: torch.Tensor, name: str = "x"
) -> torch.Tensor:
    """The gradient of f(x), weighted, by x."""
    with explain(f"it should take {name} also when that requires grad"):
        y = f(x)
    assert isinstance(y, torch.Tensor), f"expected a tensor, got {type(y).__name__}"
    assert y.shape == weights.shape, f"expected a result of shape {tuple(weights.shape)}, got {tuple(y.shape)}"
    with explain(f"no gradient for {name}: the result should be computed by torch operations, from {name} itself"):
        (grad,) = torch.autograd.grad((y * weights).sum(), x)
    return grad
