"""Gradients of gradients: a gradient has a graph only if you ask for it.

Backward computes numbers, and by default it does not record how. So the gradient that you get is a constant:
differentiate it again, and torch says "element 0 of tensors does not require grad". `create_graph=True` records the
backward pass itself, and the gradient becomes an ordinary result that can go into a loss or be differentiated again.

People try `retain_graph=True`, because an error message recommends it. It only keeps the *old* graph alive for another
walk; it records nothing new. And some gradients are constants, whatever you ask for: the slope of 2x is 2, with no x in
it. Its derivative is 0, but autograd has no graph to walk and raises. A function for any f must know that case.

The usual place for this is a gradient penalty (WGAN-GP, R1): how steep the model is at each sample becomes a term of
the loss, so its gradient must reach the weights, through the gradient by x. `torch.autograd.grad` hands you that
gradient without writing into anybody's `.grad`, as `backward()` does. `g.norm(dim=1)` is ‖·‖₂ of each row.

What is asked: the n-th derivative at a point, and the penalty, which leaves x and the model's `.grad`s as they were.

About 45 minutes. Before it: keepdim_and_correction, vector_backward.

https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad.html
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def nth_derivative(f: Callable[[torch.Tensor], torch.Tensor], x0: float, n: int) -> float:
    """The `n`-th derivative (n ≥ 1) of `f` at `x0`, a float; 0.0 where a lower one, or `f`, does not depend on x.

    `f` maps a 0-d float tensor to a 0-d tensor, and needs nothing but it and numbers.
    """
    raise NotImplementedError("differentiate n times and return a float")


def gradient_penalty(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The mean over the N samples of (‖∂ model(x_i) / ∂ x_i‖₂ - 1)², a 0-d tensor; its gradient reaches the weights.

    That gradient stays finite where a sample's gradient is 0, as torch's norms do. `x` is (N, D), float32 or float64 as
    the model is, and does not require grad; `model(x)` is (N, 1), each row from its own sample. `x` and the model are
    left as they are, every `.grad` too.
    """
    raise NotImplementedError("penalise the norm of each sample's gradient")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_NO_GRAPH = (
    "no graph leads on from the gradient: backward is recorded only if you ask for it, and retain_graph does not"
)


def _derivative(f, x0, n):
    """The learner's number; torch's errors about a missing graph say more than that something failed."""
    signs = {
        "does not require grad|not have been used": f"what you differentiated does not lead back to x: {_NO_GRAPH}",
        "second time": "a graph was walked a second time, and the first walk had freed it",
    }
    with explain(f"nth_derivative raised at n = {n}", signs if n > 1 else {}):
        got = nth_derivative(f, x0, n)
    assert isinstance(got, float | int), f"nth_derivative returns a float, got {got!r}"
    return got


@pytest.mark.parametrize(
    ("n", "want"),
    [(1, 27.0), (2, 18.0), (3, 6.0), (4, 0.0)],
    ids=["first derivative", "second derivative", "third derivative", "fourth derivative"],
)
def test_a_gradient_can_be_differentiated_again(n, want):
    got = _derivative(lambda x: x**3, 3.0, n)
    assert not abs(got - 45) < 1e-3, "45 = 27 + 18: backward added the second derivative to the first in .grad"
    assert abs(got - want) < 1e-4, f"derivative {n} of x³ at 3 should be {want}, got {got}"


@pytest.mark.parametrize("n", [2, 3], ids=["second derivative", "third derivative"])
def test_the_slope_of_a_line_has_no_graph_at_all(n):
    """The gradient of 2x is the constant 2: it does not require grad, even with create_graph."""
    constant = "the slope of 2x does not depend on x, so there is nothing to differentiate: the answer is 0"
    signs = {"does not require grad|not have been used|NoneType": constant}
    with explain(f"nth_derivative of 2x raised at n = {n}", signs):
        got = nth_derivative(lambda x: 2 * x, 5.0, n)
    assert isinstance(got, float | int), f"nth_derivative returns a float, got {got!r}"
    assert got == 0.0, f"derivative {n} of 2x should be 0, got {got}"
    with explain(f"nth_derivative of x itself raised at n = {n - 1}", signs):
        got = nth_derivative(lambda x: x, 5.0, n - 1)
    assert got == float(n == 2), f"derivative {n - 1} of x, a leaf without grad_fn, is {float(n == 2)}, got {got}"
    flat = "7 does not depend on x at all, so its derivatives are 0"
    with explain(f"nth_derivative of the constant 7 raised at n = {n - 1}", dict.fromkeys(signs, flat)):
        got = nth_derivative(lambda x: torch.tensor(7.0), 5.0, n - 1)
    assert got == 0.0, f"{flat}, got {got}"


@pytest.mark.parametrize(
    ("x0", "n", "want"),
    [(0.75, 1, math.cos(0.75)), (0.75, 4, math.sin(0.75)), (0.0, 3, -1.0)],
    ids=["the first, at 0.75", "the fourth, at 0.75", "the third, at 0"],
)
def test_four_derivatives_turn_a_sine_into_itself(x0, n, want):
    got = _derivative(torch.sin, x0, n)
    assert (x0, got) != (0.0, 0.0), "should be -1, got 0: a derivative that is 0 at one point may still change there"
    assert abs(got - want) < 1e-4, f"derivative {n} of sin at {x0} should be {want}, got {got}"


def test_each_sample_has_a_norm_of_its_own():
    for n, d in ((5, 3), (1, 3), (4, 1)):
        model, x = _critic(d), torch.randn(n, d)
        rows = _gradient_rows(model, x)
        norms = rows.norm(dim=1)
        wrong = {
            "you took one norm over the whole batch: each sample has its own": (rows.norm() - 1) ** 2,
            "you differentiated the mean of the outputs: each gradient came out N times too small": _of(norms / n),
            "that is ‖gradient‖², without the square root": _of(norms**2),
            "that is the mean of the norms, then squared: square the distance of each sample": (norms.mean() - 1) ** 2,
            "that is the sum over the samples, not their mean": _of(norms) * n,
        }
        got = _penalty(model, x)
        for mistake, value in wrong.items():
            same = isinstance(got, torch.Tensor) and n > 1 and torch.allclose(got.detach().float(), value, rtol=1e-4)
            assert not same, f"{mistake} (expected {_of(norms).item():.4f})"
        check_tensor(got, _of(norms), "mean over the samples of (‖gradient of that sample‖ - 1)²", rtol=1e-4, atol=1e-6)


def test_the_penalty_trains_the_weights():
    """The penalty's own gradient, against a finite difference in the first weights."""
    model, x = _critic().double(), torch.randn(5, 3, dtype=torch.float64)
    weight = model.get_parameter("0.weight")
    step = torch.randn(4, 3, dtype=torch.float64)
    ends = []
    for side in (1, -1):
        moved = _critic().double()
        moved.load_state_dict(model.state_dict())
        with torch.no_grad():
            moved.get_parameter("0.weight").add_(side * 1e-5 * step)
        ends.append(_of(_gradient_rows(moved, x).norm(dim=1)))
    want = (ends[0] - ends[1]) / 2e-5
    penalty = _penalty(model, x)
    assert isinstance(penalty, torch.Tensor), f"gradient_penalty returns a tensor, got {type(penalty).__name__}"
    assert penalty.requires_grad, f"the penalty has no graph, and no gradient reaches the weights: {_NO_GRAPH}"
    with explain("penalty.backward() raised"):
        penalty.backward()
    assert weight.grad is not None, "no gradient reaches the weights: the path from the penalty to them is cut"
    check_tensor((weight.grad * step).sum(), want, "the weights' gradient differs from a finite difference", rtol=1e-4)

    dead = nn.Sequential(nn.Linear(3, 1), nn.ReLU())
    nn.init.ones_(dead.get_parameter("0.weight"))
    penalty = _penalty(dead, torch.tensor([[-1.0, -2.0, -3.0], [1.0, 2.0, 3.0]]) * 10)
    with explain("penalty.backward() raised, where the gradient of one sample is 0"):
        penalty.backward()
    grad = dead.get_parameter("0.weight").grad
    assert grad is not None, "no gradient reaches the weights: the path from the penalty to them is cut"
    assert grad.isfinite().all(), (
        f"the weights' gradient is {grad.tolist()} where the gradient of one sample is 0: a root has the slope inf at 0"
    )


def test_autograd_grad_writes_into_nobodys_grad():
    model, x = nn.Sequential(_critic(), nn.Sigmoid().eval()), torch.randn(5, 3)
    twos = {"0.0.weight": torch.full((4, 3), 2.0), "0.0.bias": torch.full((4,), 2.0)}
    for name, two in twos.items():
        model.get_parameter(name).grad = two.clone()
    modes = [module.training for module in model.modules()]
    with unchanged("gradient_penalty must leave x as it is", x=x):
        _penalty(model, x)
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    wiped = [name for name in twos if name not in grads or not grads[name].any()]
    assert not wiped, f"you cleared the .grad of {wiped}: gradients were there before, and somebody needs them"
    left = [name for name, grad in grads.items() if name not in twos or not torch.equal(grad, twos[name])]
    assert not left, f"you left gradients in {left}: backward() writes into every leaf, and the next step uses that"
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert not frozen, f"{frozen} no longer require grad: the model would not train any more"
    now = [module.training for module in model.modules()]
    assert now == modes, f"each module should keep its mode: training was {modes}, is {now}"


def _penalty(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    __tracebackhide__ = True
    signs = {
        "One of the differentiated Tensors does not require grad": "x does not require grad, so nothing can be "
        "differentiated by it: take an alias of it that does",
        "same dtype": f"x and the model are {x.dtype}, and should stay so",
        "element 0 of tensors does not require grad": "what you differentiated has no graph",
    }
    with explain(f"gradient_penalty raised on x of shape {tuple(x.shape)} and {x.dtype}", signs):
        return gradient_penalty(model, x)


def _critic(d: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(d, 4), nn.Tanh(), nn.Linear(4, 1))


def _gradient_rows(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Each sample's gradient, computed alone; (N, D)."""
    rows = []
    for row in x:
        leaf = row.clone().requires_grad_()
        rows += torch.autograd.grad(model(leaf.unsqueeze(0)).squeeze(), leaf)
    return torch.stack(rows)


def _of(norms: torch.Tensor) -> torch.Tensor:
    return (norms - 1).pow(2).mean()
