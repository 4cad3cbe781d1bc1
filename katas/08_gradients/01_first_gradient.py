"""Ask autograd for a slope

A tensor with `requires_grad=True` is a *leaf*: autograd writes down every operation that is done with it, and with the
results, in a graph. `y.backward()` walks that graph from y back to the leaves and leaves dy/dx in `x.grad`: on the
*input*, not on the result. `torch.autograd.grad(y, x)` returns the same number in a tuple, and writes nothing anywhere.
`.item()` makes a Python number of a tensor of shape ().

The graph is made anew each time that your Python code runs. So an `if` or a loop inside f is fine: only what really ran
is differentiated. And it is no estimate from two points close together: the derivative is exact, up to rounding.

Two things bite at the very start. A whole number has no slope: a tensor of integers cannot require a gradient, and
`torch.tensor(3)` is one. And `.grad` is a sum: whoever keeps a leaf and calls backward again gets old plus new.

What is asked here: the slope of f at x0, as a Python float. x0 may be an int; calls do not remember each other.

About 15 minutes. Before it: tensor_not_Tensor.
Path: first_day, numpy

https://docs.pytorch.org/docs/stable/notes/autograd.html
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import explain


def gradient_at(f: Callable[[torch.Tensor], torch.Tensor], x0: float) -> float:
    """The slope df/dx at `x0`, an int or a float; as exact as float32 is, at least, also where it is tiny.

    `f` takes a 0-d floating tensor and returns a 0-d tensor.
    """
    raise NotImplementedError("put x0 into a leaf, call f on it, ask for the gradient")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _number(got: Any) -> float:
    """The number in `got`, whatever holds it; nan where that is no number."""
    try:
        return float(got)
    except (TypeError, ValueError, RuntimeError):
        return float("nan")


def _is(got: Any, number: float) -> bool:
    return _number(got) == number


_SIGNS = {
    "can require gradients": "x0 is an int here: make a floating tensor of it, integers cannot require a gradient",
    "does not require grad": "f(x) has no graph: x must require a gradient before f is called, and no_grad must be off",
    "'NoneType'": "`.grad` is None: y.backward() leaves the gradient on x, not on y: on the very leaf that f was given",
    "used in the graph": "f was given another tensor than the one whose gradient you ask for: make a single leaf",
    "data-dependent control flow": "f holds a Python `if`, and vmap cannot follow one: call f on a plain leaf",
    "scalar outputs": "f takes a 0-d tensor: give it one without dimensions, and without a batch",
}


def _slope(f: Callable[[torch.Tensor], torch.Tensor], x0: float) -> Any:
    __tracebackhide__ = True
    with explain(f"gradient_at(f, {x0}) raised", _SIGNS):
        return gradient_at(f, x0)


@pytest.mark.myth(
    says="Wrap a tensor in torch.autograd.Variable before you ask for its gradient.",
    today="Variable was merged into Tensor: any floating tensor with requires_grad=True will do.",
)
def test_autograd_gives_the_exact_slope_on_the_input():
    got = _slope(lambda x: (x + 2) ** 2, 5.0)
    second = _slope(lambda x: (x + 2) * (x + 2), 1.0)
    fine, tiny = _slope(lambda x: x**2, 0.1234567), _slope(lambda x: x * x, 1.25e-10)
    assert not _is(got, 49.0), "you returned the value of f, 49, not its slope"
    assert not _is(got, 1.0), "1 is the slope of y along y itself: ask for the gradient with respect to the input x"
    assert not 0 < abs(_number(got) - 14) < 0.2, f"{got} is near 14, not 14: no finite difference, autograd is exact"
    assert _is(got, 14.0), f"the slope of (x + 2)**2 at 5 is 14.0, you returned {got}"
    assert not _is(second, 20.0), "20 is 14 + 6: .grad accumulates, use a fresh leaf in each call"
    assert _is(second, 6.0), f"the slope of (x + 2)*(x + 2) at 1 is 6.0, you returned {second}"
    rounded = "float32 gives seven digits, give them all"
    assert abs(_number(fine) - 0.2469134) < 1e-7, f"the slope of x**2 at 0.1234567 is 0.2469134, not {fine}: {rounded}"
    assert abs(_number(tiny) - 2.5e-10) < 1e-16, f"the slope of x*x at 1.25e-10 is 2.5e-10, not {tiny}: {rounded}"
    assert type(torch.autograd.Variable(torch.ones(2))) is torch.Tensor, "Variable(t) gives a plain tensor"


def test_a_leaf_needs_a_floating_dtype():
    got = _slope(lambda x: x**2, 3)
    assert _is(got, 6.0), f"the slope of x**2 at 3 is 6.0, you returned {got}"
    got = _slope(lambda x: x * x * 0.5, -2)
    assert _is(got, -2.0), f"the slope of x*x*0.5 at -2 is -2.0, you returned {got}"


def test_a_gradient_is_a_tensor_until_you_ask_for_its_number():
    got = _slope(lambda x: 3 * x, 10.0)
    assert not isinstance(got, torch.Tensor), "you returned a tensor: a float was asked for"
    assert not isinstance(got, tuple), "torch.autograd.grad returns a tuple, one gradient per input: unpack it"
    assert isinstance(got, float), f"a Python float was asked for, you returned {type(got).__name__}"


def test_only_the_branch_that_ran_is_differentiated():
    def bent(x):
        return x * 3 if x > 0 else x * 5

    right, left = _slope(bent, 4.0), _slope(bent, -4.0)
    assert not (_is(right, 3.0) and _is(left, 3.0)), "you kept the graph of the first call: at -4 the other branch runs"
    assert _is(right, 3.0), f"the slope at 4 is 3.0, you returned {right}"
    assert _is(left, 5.0), f"the slope at -4 is 5.0, you returned {left}"


def test_grad_adds_up_on_a_leaf_that_is_kept():
    first = _number(_slope(lambda x: x**3, 2.0))
    second = _slope(lambda x: x**3, 2.0)
    grew = _is(second, first + 12.0)
    assert not grew, f"the second call gave {second} after {first}: .grad accumulates, use a fresh leaf in each call"
    assert _is(first, 12.0), f"the slope of x**3 at 2 is 12.0, you returned {first}"
    assert _is(second, 12.0), f"the same call again must give 12.0 again, it gave {second}"
    other = _slope(lambda x: 7 * x, 2.0)
    assert not _is(other, 12.0), "another f at the same x0, and you gave the slope of the f before: ask each f anew"
    assert _is(other, 7.0), f"the slope of 7*x at 2 is 7.0, you returned {other}"


def test_the_input_is_a_tensor_without_dimensions():
    weights, shapes = torch.tensor([2.0, 5.0], dtype=torch.float64), []

    def parabola(x):
        shapes.append(tuple(x.shape))
        return (weights * torch.stack([x, x**2])).sum() if x.dim() == 0 else x.expand(2, 3)

    got = _slope(parabola, 0.5)
    assert not any(shapes), f"you called f with a tensor of shape {shapes[-1]}: f takes one without dimensions"
    assert _is(got, 7.0), f"the slope of 2*x + 5*x**2 at 0.5 is 7.0, you returned {got}"
