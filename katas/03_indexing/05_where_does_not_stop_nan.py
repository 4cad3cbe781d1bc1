"""Where does not stop NaN: the gradient of the branch you did not take.

`torch.where(x > 0, x.sqrt(), 0)` looks safe, and its value is: 0 where the root is not defined. But both branches were
computed, for all x, and both are part of the graph. (`y.backward()` walks that graph back from y to its inputs,
multiplies by the derivative of each step, and leaves in `x.grad` how y changes with x.) On the way back, `where` hands
each branch its gradient, and to the places that it did not take it hands 0. The root multiplies that 0 by its own
derivative, which is inf at 0 and NaN below. 0 * inf is NaN. The loss looks fine, the gradient is NaN, and one step
later so are all the weights.

It is the same with 1/x, log, acos, x ** 0.5 and the root of a sum of squares: what must be safe is the *input* of such
a function, not its output. So either take out the places where the function is defined, or put a harmless input where
it is not; then choose. Adding a small eps is no way out here: it changes the value everywhere.

What is asked here: a root and a quotient whose values are exact, also for tiny inputs, and whose gradients are finite:
0 where the value was put to 0, and the true derivative elsewhere.

About 30 minutes. Before it: mask_do_not_multiply.

https://docs.pytorch.org/docs/stable/generated/torch.where.html
"""

from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def safe_sqrt(x: torch.Tensor) -> torch.Tensor:
    """The root of `x` where x > 0, be it 1e-30, else 0. The gradient is 0.5 / sqrt(x) where x > 0, else 0.

    Any shape; all finite; float32 or float64, and so is the result, with all its digits. `x` is not changed.
    """
    raise NotImplementedError("return a root with a finite gradient")


def safe_div(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a / b (same shape) where b is not 0, be it 1e-30, else 0. Where b is 0, the gradients of both are 0 too.

    All finite; float32 or float64, and so is the result, with all its digits. `a` and `b` are not changed.
    """
    raise NotImplementedError("return a quotient with finite gradients")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_WRITTEN = {"in-place operation": "you wrote into a leaf that requires grad, and torch refuses that"}


def _gradient(out: Any, of: torch.Tensor, weights: torch.Tensor, name: str) -> torch.Tensor:
    """The gradient of (out * weights).sum(), or an assertion that says why there is none."""
    assert isinstance(out, torch.Tensor), f"expected a tensor, got {type(out).__name__}"
    assert out.shape == weights.shape, f"expected the shape {tuple(weights.shape)}, got {tuple(out.shape)}"
    assert out.dtype == weights.dtype, f"expected the dtype of the input, {weights.dtype}, got {out.dtype}"
    assert out.requires_grad, "your result has no graph: you left autograd on the way (detach, no_grad, item, numpy?)"
    with explain("backward failed"):
        (grad,) = torch.autograd.grad((out * weights).sum(), of, allow_unused=True)
    assert grad is not None, "your result does not depend on this input: you cut it off on the way (detach, data?)"
    assert not grad.isnan().any(), (
        f"the gradient of {name} is NaN: hiding a value leaves its derivative in the graph, and 0 * inf is NaN\n{grad}"
    )
    assert not grad.isinf().any(), f"the gradient of {name} is infinite: a derivative of inf went into it\n{grad}"
    return grad


def test_the_root_of_nothing_is_zero():
    x = torch.tensor([[-4.0, 0.0], [0.01, 1e-30]], dtype=torch.float64)
    with explain("safe_sqrt(x) failed: x is (2, 2), and has no graph"), unchanged("safe_sqrt must not change x", x=x):
        out = safe_sqrt(x)
    if isinstance(out, torch.Tensor):
        assert not out.isnan().any(), "the root of a negative number came through: its value is NaN, asked is 0"
    want = torch.tensor([[0.0, 0], [0.1, 1e-15]], dtype=torch.float64)
    said = "values are exact: 0 where x <= 0, the root also for tiny x, in the dtype of x, and no eps"
    check_tensor(out, want, said, rtol=1e-12)


@pytest.mark.myth(
    says="torch.where keeps the NaN of the other branch out",
    today="out of the value only: the gradient of the branch not taken is 0 * inf = NaN",
)
def test_where_does_not_stop_the_nan_of_the_other_branch():
    x = torch.tensor([-1.0, 0.0, 4.0, 0.25], requires_grad=True)
    with explain("safe_sqrt(x) failed: x is a leaf that requires grad", where=_WRITTEN):
        out = safe_sqrt(x)
    grad = _gradient(out, x, torch.tensor([3.0, 5.0, 2.0, 7.0]), "x")
    check_tensor(
        grad, torch.tensor([0.0, 0, 0.5, 7]), "0 where x <= 0, else 0.5 / sqrt(x), weighted 2 and 7", rtol=1e-5
    )


def test_division_by_zero_is_zero():
    a = torch.tensor([1.0, 0.0, -3.0, 0.3, 1.0], dtype=torch.float64)
    b = torch.tensor([0.0, 0.0, 0.0, -0.1, 1e-30], dtype=torch.float64)
    with explain("safe_div(a, b) failed: a and b are (5,), and have no graph"):
        with unchanged("safe_div must not change a or b", a=a, b=b):
            out = safe_div(a, b)
    if isinstance(out, torch.Tensor) and out.shape == (5,):
        assert out[:3].isfinite().all(), (
            f"b is 0 in the first three places, and 1/0 or 0/0 came through: {out.tolist()}"
        )
    want = torch.tensor([0.0, 0, 0, -3, 1e30], dtype=torch.float64)
    check_tensor(out, want, "values are exact: 0 where b is 0, and a / b for negative and tiny b too", rtol=1e-12)


def test_the_denominator_gets_a_finite_gradient():
    a, b = torch.tensor([1.0, 1.0, 0.0, 3.0]), torch.tensor([0.0, 2.0, 0.0, -2.0], requires_grad=True)
    with explain("safe_div(a, b) failed: b is a leaf that requires grad", where=_WRITTEN):
        out = safe_div(a, b)
    grad = _gradient(out, b, torch.tensor([3.0, 1.0, 7.0, 4.0]), "b")
    want = torch.tensor([0.0, -0.25, 0.0, -3.0])
    check_tensor(grad, want, "the gradient of b: 0 where b is 0, else -a / b ** 2, weighted 1 and 4", rtol=1e-5)


def test_the_numerator_gets_a_finite_gradient():
    a, b = torch.tensor([1.0, 1.0, 3.0], requires_grad=True), torch.tensor([0.0, 2.0, -4.0])
    with explain("safe_div(a, b) failed: a is a leaf that requires grad", where=_WRITTEN):
        out = safe_div(a, b)
    grad = _gradient(out, a, torch.tensor([3.0, 1.0, 8.0]), "a")
    want = torch.tensor([0.0, 0.5, -2.0])
    check_tensor(grad, want, "the gradient of a: 0 where b is 0, else 1 / b, weighted 1 and 8", rtol=1e-5)
