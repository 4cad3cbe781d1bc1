"""torch.where does not hide a bad gradient: mask the input.

where_does_not_stop_nan showed the trap: in `torch.where(x > 0, x.sqrt(), 0)` both branches are computed at every
place, and backward goes through both. The one that was not chosen gets a gradient of 0, the slope of sqrt at 0 is
infinite, and 0 · inf = nan. One such nan reaches every weight, and the training is over. It showed the cure as well:
the mask must act *before* the dangerous operation, which gets a harmless input where its result will not be used.

Now the same trap without any `where`: a distance, the root of a sum of squares. No number under that root is negative,
and its value is always right. But where two points meet, the root has the slope inf, the square in front of it has the
slope 0, and inf · 0 = nan: a loss over pairs dies of the one point that was paired with itself. torch's norms define
that slope as 0; a root that you write yourself cannot know.

The cure that people try is a small eps under the root. It helps no negative number; it changes every value a little,
and the slope of small values much; and where the root was 0, it makes the slope merely huge.

What is asked: the root, this time with its slope at tiny x too, and the distance, whose gradient is 0 where the formula
has none.

About 20 minutes. Before it: where_does_not_stop_nan, first_gradient.

https://docs.pytorch.org/docs/stable/generated/torch.where.html
"""

from collections.abc import Callable

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def safe_sqrt(x: torch.Tensor) -> torch.Tensor:
    """The square root of each value of `x` (any float dtype and shape, no NaN) where x > 0, and 0 elsewhere.

    `x` is not changed. The root's gradient is 1 / (2·sqrt(x)) where x > 0, for tiny x too, and 0 elsewhere. Both are as
    exact as the dtype of `x`, which the result has, float16 and bfloat16 included.
    """
    raise NotImplementedError("square roots that can be differentiated everywhere")


def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The Euclidean distance of row i of `a` to row i of `b`, both (N, D), float32 or float64.

    Returns (N,), in their dtype. Where the two rows are equal, the distance is 0 and so is its gradient. An error of
    1e-5 is allowed everywhere. `a` and `b` are not changed.
    """
    raise NotImplementedError("one distance per row, differentiable also at 0")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float64, torch.float16, torch.bfloat16],
    ids=["float32", "float64", "float16", "bfloat16"],
)
def test_where_x_is_not_positive_the_root_is_zero(dtype):
    x = torch.tensor([[-1.0, 0.0, 4.0, 2.0, 1e-4], [-1e-4, 9e-7, 1e-24, 1.0, float("inf")]], dtype=dtype)
    with explain(f"safe_sqrt raised on a (2, 5) tensor of {dtype}"), unchanged("safe_sqrt must not change x", x=x):
        got = safe_sqrt(x)
    assert not (isinstance(got, torch.Tensor) and got.isnan().any()), "nan: the root of a negative number got through"
    roots = [max(value, 0.0) ** 0.5 for value in x.flatten().tolist()]  # of the values that x holds, rounded to dtype
    want, exact = torch.tensor(roots, dtype=dtype).view(2, 5), 4 * torch.finfo(dtype).eps
    check_tensor(got, want, f"exact in {dtype}: the root where x > 0, and 0 elsewhere", rtol=exact)


def test_backward_goes_through_both_branches_of_where():
    x = torch.tensor([-1.0, 0.0, 4.0], requires_grad=True)
    grad = _gradient(safe_sqrt, x, torch.ones_like(x))
    assert not grad.isnan().any(), (
        f"gradient {grad.tolist()}: a root is differentiated wherever it was computed, also where its result is not "
        "used, and 0 * inf is nan; mask its input"
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
    x = torch.tensor([1e-4, 4e-4, 1e-10, 1e-24], requires_grad=True)
    grad = _gradient(safe_sqrt, x, torch.ones_like(x))
    steep = "the slope 1 / (2 sqrt(x)) is steep at small x; an eps, or a bound on anything, would flatten it"
    check_tensor(grad, torch.tensor([50.0, 25.0, 5e4, 5e11]), steep, rtol=1e-4)


def test_each_row_has_one_distance():
    a = torch.tensor([[3.0, 4.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [-2.0, 1.0, 2.0], [1000.0] * 3, [0.0] * 3])
    b = torch.tensor(
        [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, -3.0, 6.0], [0.0, 0.0, 0.0], [1000.0, 1000.0625, 1000], [0, 0, 2e-4]]
    )
    want = torch.tensor([5.0, 0.0, 7.0, 3.0, 0.0625, 2e-4])
    a64 = torch.tensor([[1e8, 0.0], [6e4, 0.0]], dtype=torch.float64)
    b64 = torch.tensor([[1e8 + 0.25, 0.0], [0.0, 8e4 + 0.02]], dtype=torch.float64)
    want64 = torch.tensor([0.25, 100000.016], dtype=torch.float64)
    many = torch.arange(90.0).view(30, 3) + 1000  # from 26 rows on, cdist multiplies matrices, and is not exact
    near = torch.full((30,), 0.1875**0.5)
    pairs = (a, b, want), (a[2:3], b[2:3], want[2:3]), (a64, b64, want64), (many, many + 0.25, near)
    for mine, yours, far in pairs:
        what = f"tensors of shape {tuple(mine.shape)} and {mine.dtype}"
        with explain(f"distance raised on {what}"), unchanged("distance must not change a and b", a=mine, b=yours):
            got = distance(mine, yours)
        check_tensor(got, far, f"for {what}: the root of the sum of squares over D, one number per row", atol=1e-5)


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
    signs = {
        "leaf Variable|leaf variable": f"an in-place operation on {name}, which is the caller's, a leaf, and refuses it"
    }
    with explain(f"the call raised, with {name} requiring grad", signs):
        y = f(x)
    assert isinstance(y, torch.Tensor), f"expected a tensor, got {type(y).__name__}"
    assert y.shape == weights.shape, f"expected a result of shape {tuple(weights.shape)}, got {tuple(y.shape)}"
    cut = f"no gradient for {name}: the result should be computed by torch operations, from {name} itself"
    signs = {
        "does not require grad|not have been used": cut,
        "modified by an inplace operation": "an in-place operation changed a value that backward needs",
    }
    with explain("backward raised", signs):
        (grad,) = torch.autograd.grad((y * weights).sum(), x)
    return grad
