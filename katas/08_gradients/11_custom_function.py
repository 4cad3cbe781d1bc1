"""Your own backward, and how to prove it

Autograd knows the slope of every operation in PyTorch (that of tanh(x) is 1 - tanh(x)²). For one that it does not know,
or for a slope that is not the mathematical one, you subclass `torch.autograd.Function`: `forward(ctx, ...)` computes,
and `backward(ctx, grad_output)` gets the gradient of the loss with respect to the output, and returns the gradient with
respect to each input of `forward`, in order, with None for what is no tensor. What `ctx.save_for_backward(...)` kept in
`forward` is in `ctx.saved_tensors` in `backward`; a plain number may be an attribute of `ctx`. You call it as
`ScaledTanh.apply(x, k)`.

A wrong backward raises nothing: the model just learns badly. The classic is to forget `grad_output`, which no test with
`.sum().backward()` can see, because there it is 1. So let `torch.autograd.gradcheck` compare with differences of
`forward`; it needs float64, in float32 the differences are too coarse.

Whoever differentiates twice (a gradient penalty, a Hessian) differentiates your backward. That works only if it
computes with tensors whose history autograd knows: `ctx.save_for_backward` keeps it for inputs and outputs of
`forward`; a value from the middle of `forward`, or a Python float, has no history, and the second derivative is
silently wrong. `gradgradcheck` sees it.

Rounding has the slope 0 almost everywhere, so nothing in front of it learns. The straight-through trick rounds the
values and passes the gradient on as if nothing had happened. That is `ste_round`; write it in any way.

About 45 minutes. Before it: stop_gradient, higher_order.

https://docs.pytorch.org/docs/stable/notes/extending.html
"""

from typing import Any

import torch
from torch.autograd import gradcheck, gradgradcheck

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


class ScaledTanh(torch.autograd.Function):
    """`ScaledTanh.apply(x, k)` is k * tanh(x), for a tensor `x` and a Python float `k`, not 0.

    `x` has any float dtype and shape. It can be differentiated with respect to x, twice. Where x is so large that
    tanh(x) is ±1, the value is ±k and the gradient 0. (`setup_context` is as good as the `ctx` of `forward`.)
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, k: float) -> torch.Tensor:
        """The values, in the shape and dtype of `x`, and as exact as that; keeps in `ctx` what backward needs.

        `x` is not changed.
        """
        raise NotImplementedError("compute k * tanh(x)")

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> Any:
        """One gradient for each input of `forward`. `grad_output` is not changed."""
        raise NotImplementedError("return the gradients for x and k")


def ste_round(x: torch.Tensor) -> torch.Tensor:
    """`x` (finite, float32 or float64, any shape) rounded as by torch.round, up to 1e-5.

    Its gradient goes to `x` unchanged. `x` itself stays as it is.
    """
    raise NotImplementedError("round, but let the gradient through")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_NOT_ITS_DERIVATIVE = "backward is not the derivative of forward"


def _x():
    return torch.tensor([[-1.2, 0.3, 0.8], [0.1, 1.5, -0.4]], dtype=torch.float64, requires_grad=True)


def _apply(x, k):
    its_own = isinstance(ScaledTanh, type) and issubclass(ScaledTanh, torch.autograd.Function)
    assert its_own, "ScaledTanh is a subclass of torch.autograd.Function, which calls your backward; yours is not"
    signs = {
        "leaf Variable": "forward works in place on x, which is the caller's; it is a leaf, and refuses that",
        "save_for_backward can only save": "save_for_backward keeps tensors only, and k is a number: it may be an "
        "attribute of ctx",
    }
    with explain(f"ScaledTanh.apply(x, {k}) raised", signs):
        return ScaledTanh.apply(x, k)


def _gradient(x, k, upstream):
    """What reaches x, with an explanation of what autograd refuses."""
    before, x = x.detach(), x.detach().clone().requires_grad_()
    y = _apply(x, k)
    assert isinstance(y, torch.Tensor), f"forward returns a tensor, not {type(y).__name__}"
    assert torch.equal(before, x.detach()), "forward changed x itself: an in-place operation there is at work"
    assert y.requires_grad, "the result of forward is cut from x: nothing will call your backward"
    given = upstream.clone()
    signs = {
        "incorrect number of gradients": "backward returns one gradient for each input of forward, and forward has two "
        "inputs",
        "different (from|than) None": "k is a Python float and has no gradient, but backward returned one for it",
    }
    with explain("backward raised", signs):
        y.backward(given)
    assert torch.equal(given, upstream), "backward changed grad_output itself: others may need it, so make a new tensor"
    assert x.grad is not None, "backward returned no gradient for x"
    return x.grad


def test_forward_computes_the_value():
    for dtype, rtol in (
        (torch.float32, 1e-5),
        (torch.float64, 1e-12),
        (torch.float16, 1e-2),
        (torch.bfloat16, 5e-2),
    ):
        x = torch.tensor([[0.0, 0.5, -2.0], [100.0, -100.0, 1000.0]], dtype=dtype)
        want = torch.tensor([[0.0, 0.508328872986011, -1.060430338083399], [1.1, -1.1, 1.1]], dtype=dtype)
        said = f"for x of {dtype}, ScaledTanh.apply(x, 1.1) is 1.1 * tanh(x)"
        got = _apply(x, 1.1)
        assert not (isinstance(got, torch.Tensor) and got.isnan().any()), (
            "expected ±1.1 at x = ±100, got nan: exp overflows"
        )
        check_tensor(got, want, said, rtol=rtol)
        check_tensor(_apply(x[0, 1], 1.1), want[0, 1], f"{said}, also for an x without dimensions", rtol=rtol)


def test_backward_multiplies_by_what_comes_from_above():
    x, upstream = torch.tensor([-0.5, 0.2, 1.0, 0.7, 100.0, -100.0]), torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    slope = 2.5 * (1 - torch.tanh(x) ** 2)
    got = _gradient(x, 2.5, upstream)
    alone = got.shape == slope.shape and torch.allclose(got, slope, rtol=1e-4, equal_nan=True)
    assert not alone, "backward ignores grad_output: weights of 0, 1, 2, 3 on the values must show in the gradients"
    assert not got.isnan().any(), f"gradient {got.tolist()}: at x = ±100, tanh(x) is ±1 and its slope 0, not nan"
    check_tensor(got, upstream * slope, "the gradient of k * tanh(x), times grad_output", rtol=1e-4)
    one, other = x.clone().requires_grad_(), (2 * x).requires_grad_()
    y = _apply(one, 2.5)
    _apply(other, -4.0)
    with explain("backward raised, after another call"):
        y.backward(upstream)
    said = "after another call, backward computed with that call's x or k: ctx is there for what belongs to one call"
    check_tensor(one.grad, upstream * slope, said, rtol=1e-4)


def test_gradcheck_compares_backward_with_differences_of_forward():
    x, upstream = _x().detach(), torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.7, -1.0]], dtype=torch.float64)
    got = _gradient(x, 1.7, upstream)
    unscaled = upstream * (1 - torch.tanh(x) ** 2)
    alone = got.shape == unscaled.shape and torch.allclose(got, unscaled.to(got.dtype))
    assert not alone, "backward forgot k: this is the gradient of tanh(x), not of k * tanh(x)"
    for k in (1.7, -0.6, 1.0):
        with explain(f"gradcheck raised at k = {k}", {"Jacobian": f"{_NOT_ITS_DERIVATIVE} at k = {k}"}):
            gradcheck(lambda x, k=k: ScaledTanh.apply(x, k), (_x(),))


def test_a_value_from_the_middle_of_forward_has_no_history():
    """gradgradcheck differentiates backward itself: what it computes with must lead back to x."""
    _gradient(_x(), 1.7, torch.ones(2, 3, dtype=torch.float64))
    with explain(
        "gradcheck raised", {"Jacobian": f"{_NOT_ITS_DERIVATIVE}, which it must be before it is differentiated"}
    ):
        gradcheck(lambda x: ScaledTanh.apply(x, 1.7), (_x(),))
    lost = "backward is right once, but not twice: what it returns does not lead back to x, or not all the way"
    with explain("gradgradcheck raised", {"Jacobian|Numerical gradient|require": lost}):
        gradgradcheck(lambda x: ScaledTanh.apply(x, 1.7), (_x(),))


def test_rounding_stops_the_gradient_unless_you_let_it_through():
    x = torch.tensor([0.2, 1.7, -1.3], requires_grad=True)
    signs = {"leaf Variable": "ste_round works in place on x, which is the caller's; it is a leaf, and refuses that"}
    with explain("ste_round raised", signs), unchanged("ste_round must not change x", x=x):
        y = ste_round(x)
    assert isinstance(y, torch.Tensor), f"ste_round returns a tensor, got {type(y).__name__}"
    check_tensor(y.detach(), torch.tensor([0.0, 2.0, -1.0]), "ste_round(x) holds the rounded values of x", atol=1e-5)
    assert y.requires_grad, "the rounded tensor is cut from x: no gradient can reach x"
    with explain("backward through ste_round raised"):
        (y * torch.tensor([3.0, 5.0, 7.0])).sum().backward()
    assert x.grad is not None, "no gradient reached x"
    assert x.grad.any(), "the slope of rounding itself is 0 everywhere, and so is the gradient that reached x"
    check_tensor(
        x.grad, torch.tensor([3.0, 5.0, 7.0]), "what comes from above, 3, 5, 7, goes on to x unchanged", atol=1e-5
    )
    values, rounded = [[0.5, 1.5], [-2.5, 2.0**24 + 1.3]], [[0.0, 2.0], [-2.0, 2.0**24 + 1]]
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    want, upstream = torch.tensor(rounded, dtype=torch.float64), torch.tensor([[0.3, -2.6], [1.5, 0.25]]).double()
    with explain("ste_round raised on a float64 tensor of shape (2, 2)"):
        y = ste_round(x)
    check_tensor(y, want, "halves go to the even number, as in torch.round, and float64 stays exact", atol=1e-5)
    with explain("backward through ste_round raised, in float64"):
        (y * upstream).sum().backward()
    check_tensor(x.grad, upstream, "what comes from above goes on to x unchanged, fractions too", atol=1e-5)
