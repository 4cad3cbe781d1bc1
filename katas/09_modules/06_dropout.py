"""Dropout that obeys eval()

In training, dropout sets each number to 0 with probability p, by a new coin toss for each number and each call, so that
no unit of the network can rely on a particular other one. What survives is divided by 1 - p: then the numbers are as
large on average as without dropout, and at test time there is nothing left to do: the layer gives back what it got.

Which of the two it is, `self.training` says, a flag that each `nn.Module` has: True when it is new. `model.eval()` sets
it to False in the model and in all modules inside it. It does so by calling *`train(False)`* of each child, and never
the child's own `eval()`. The flag has nothing to do with gradients: `torch.no_grad()` does not touch it.

The same layer comes in two forms. `nn.Dropout(p)` is a module: it can stand in an `nn.Sequential`, it is in
`print(net)`, and it hears of eval(). `torch.nn.functional.dropout(x, p)` is a function: it knows no model, its argument
`training` is True unless you say otherwise, and so it goes on dropping after `model.eval()`. Inside a class's `forward`
it has to be given `training=self.training`. Forgotten, it shows as a model whose answers change from call to call.

What is asked here: the module, from a mask of your own or from the function.

About 20 minutes. Before it: own_your_randomness, registration.
Path: first_day

https://docs.pytorch.org/docs/stable/generated/torch.nn.Dropout.html
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, raises, unchanged


class Dropout(nn.Module):
    """In training: each number becomes 0 with probability `p`, the others are divided by 1 - p. In eval: nothing.

    It has nothing to train.
    """

    def __init__(self, p: float) -> None:
        """`p` is from 0 to 1, both included: with 1, all is 0 in training. Any other number is a ValueError.

        The error may come here, or when the layer is called in training.
        """
        raise NotImplementedError("remember p")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` is float32 or float64, of any shape; the result has its shape and dtype.

        A new mask for each call and each layer, with a coin toss of its own for each number. `x` is not changed, and
        where p is below 1 the gradient reaches it through the same mask.
        """
        raise NotImplementedError("drop in training, and only there")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_EARLY = "something was assigned in Dropout before super().__init__(), or that is not called at all"


def _layer(p: Any) -> Any:
    with explain(f"Dropout({p}) raised", {"Module.__init__|_modules|_parameters|_buffers": _EARLY}):
        layer = Dropout(p)
    assert isinstance(layer, nn.Module), "Dropout is no nn.Module any more: keep its base class"
    return layer


def _call(layer: Any, x: torch.Tensor, case: str) -> torch.Tensor:
    signs = {
        "no attribute 'training'|no attribute '_": _EARLY,
        "must be bool, not method": "self.train is the method that switches; the flag is called self.training",
        "ZeroDivision": "1 - p is 0 here, and you divide by it",
    }
    with explain(f"the layer raised {case}", signs):
        y = layer(x)
    assert isinstance(y, torch.Tensor), f"forward returned {type(y).__name__} {case}, a tensor was expected"
    assert y.shape == x.shape, f"the result has shape {tuple(y.shape)} {case}, x has {tuple(x.shape)}"
    return y


def _numbers(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Of both signs, and no zero among them, so that each zero in a result was dropped."""
    n = torch.Size(shape).numel()
    return (torch.linspace(0.5, 3.0, n, dtype=dtype) * (-1) ** torch.arange(n)).view(shape)


def test_in_training_a_share_is_dropped_and_the_rest_is_scaled_up():
    x = _numbers(100, 200)
    y = _call(_layer(0.25), x.clone(), "in training")
    kept = y != 0
    share = round(1 - kept.float().mean().item(), 3)
    if 0 < share < 1:
        assert not (kept == kept[0]).all(), "all rows lost the same columns: toss for each number, not for each column"
        assert not (kept == kept[:, :1]).all(), "whole rows were dropped: toss for each number, not for each row"
    assert not 0.7 < share < 0.8, f"{share} of the numbers became 0 with p = 0.25: p is the probability to drop"
    assert 0.2 < share < 0.3, f"{share} of the numbers became 0 with p = 0.25, expected a quarter of them"
    unscaled = torch.equal(y[kept], x[kept])
    assert not unscaled, "what survives is to be divided by 1 - p = 0.75 in training, it came out as it was"
    want = torch.where(kept, x * (4 / 3), 0.0)
    check_tensor(y.detach(), want, "each number is 0 or x / (1 - p), here x * 4/3", rtol=1e-5)

    x = _numbers(3, 8, 50, 25, dtype=torch.float64)[..., ::2]
    y = _call(_layer(0.1), x.clone(), "for a float64 x of four dimensions")
    share = round((y == 0).float().mean().item(), 3)
    assert 0.08 < share < 0.12, f"{share} of the numbers became 0 with p = 0.1"
    for dim in range(4):
        alike = ((y == 0) == (y == 0).narrow(dim, 0, 1)).all()
        assert not alike, f"along dimension {dim} of {tuple(x.shape)} all is dropped or nothing: toss for each number"
    want = torch.where(y != 0, x / 0.9, 0.0)
    check_tensor(y.detach(), want, "float64 stays float64: each number is 0 or x / 0.9", rtol=1e-9)
    y = _call(_layer(0.25), _numbers(400), "for an x of one dimension")
    assert 0.1 < (y == 0).float().mean() < 0.4, f"{int((y == 0).sum())} of 400 numbers in a row became 0, with p = 0.25"
    assert not y.requires_grad, "the result requires a gradient, x does not, and Dropout has nothing to train"
    assert not list(_layer(0.5).parameters()), "Dropout has nothing to train, but an optimizer would get parameters"


@pytest.mark.myth(
    says="model.eval() switches all dropout off.",
    today="Only that of modules: F.dropout goes on, unless it is told training=self.training.",
)
def test_eval_of_a_whole_model_reaches_the_layers_in_it():
    layer, x = _layer(0.5), _numbers(40, 50)
    net = nn.Sequential(nn.Identity(), nn.Sequential(layer))
    for round_ in ("at first", "after train() and eval() again"):
        net.eval()
        assert not torch.equal(F.dropout(x, 0.5), x), "the function knows no model, and drops"
        y = _call(net, x, f"in eval, {round_}").detach()
        halved = torch.equal(y, 0.5 * x)
        assert not halved, "in eval x came out times 1 - p: the scaling is done in training already"
        dropped = int((y == 0).sum())
        assert not dropped, (
            f"{dropped} of {x.numel()} numbers were dropped after net.eval(), {round_}: "
            "it calls train(False) of each module in it, which sets the module's own flag, self.training"
        )
        check_tensor(y, x, f"in eval the layer gives back what it got, {round_}", requires_grad=False)
        net.train()
        y = _call(net, x.clone(), "after net.train()")
        assert (y == 0).any(), f"nothing is dropped any more after eval() and train(), {round_}"
    leaf, weights = x.clone().requires_grad_(), _numbers(40, 50) - 2
    y = _call(net.eval(), leaf, "in eval")
    assert y.requires_grad, "in eval the result is cut from x: eval() is about layers, not about gradients"
    (y * weights).sum().backward()
    assert leaf.grad is not None, "in eval no gradient reached x: eval() is about layers, not about gradients"
    check_tensor(leaf.grad, weights, "in eval the gradient goes through unchanged")


@pytest.mark.myth(
    says="Under torch.no_grad() there is no dropout.",
    today="no_grad stops recording, nothing else: in training mode dropout drops on.",
)
def test_no_grad_does_not_switch_dropout_off():
    layer, x = _layer(0.5), _numbers(40, 50)
    with torch.no_grad():
        y = _call(layer, x, "under no_grad")
    assert (y == 0).any(), "nothing was dropped under no_grad, in training: self.training alone decides"
    y = _call(layer, x.clone().requires_grad_(), "for an x that requires a gradient")
    assert (y == 0).any(), "nothing was dropped for an x that requires a gradient, in training"


def test_with_probability_zero_nothing_is_dropped():
    for dtype in (torch.float32, torch.float64):
        x = _numbers(100, 30, dtype=dtype)
        y = _call(_layer(0.0), x, "with p = 0, in training")
        check_tensor(y.detach(), x, "with p = 0 all stays as it is, also in training", rtol=1e-6)


def test_with_probability_one_all_becomes_zero():
    layer, x = _layer(1.0), _numbers(100, 30)
    y = _call(layer, x, "with p = 1, in training").detach()
    assert not y.isnan().any(), "got nan with p = 1: 1 - p is 0, and 0 / 0 or 0 * inf is not 0"
    check_tensor(y, torch.zeros(100, 30), "with p = 1 everything is dropped")
    check_tensor(_call(layer.eval(), x, "with p = 1, in eval").detach(), x, "in eval p does not matter, also p = 1")


def test_each_call_tosses_anew_and_the_gradient_passes_where_the_numbers_passed():
    layer, before = _layer(0.4), None
    values, weights = _numbers(30, 40), _numbers(30, 40) - 2
    for _ in range(2):
        plain = values.clone()
        with unchanged("forward changed x itself: it belongs to the caller", x=plain):
            _call(layer, plain, "for an x without gradient")
        x = values.clone().requires_grad_()
        y = _call(layer, x, "for an x that requires a gradient")
        assert y.requires_grad, "the result is cut from x: no gradient can reach what is in front of this layer"
        kept = y.detach() != 0
        with explain("backward through the layer raised"):
            (y * weights).sum().backward()
        assert x.grad is not None, "no gradient reached x"
        check_tensor(
            x.grad, torch.where(kept, weights / 0.6, 0.0), "the gradient has the mask of the values", rtol=1e-5
        )
        again = before is not None and torch.equal(kept, before)
        assert not again, "the same numbers were dropped in the second call: each call tosses anew"
        before = kept
    first, second = (_call(_layer(0.4), values.clone(), "of two new ones") == 0 for _ in range(2))
    assert not torch.equal(first, second), "two layers drop the same numbers: each toss is a new one, in each layer too"
    counts = {int((_call(layer, values.clone(), "again") == 0).sum()) for _ in range(8)}
    assert len(counts) > 1, f"eight calls dropped {counts.pop()} of 1200 numbers each: that is no coin toss for each"


@pytest.mark.parametrize("p", [1.5, -0.1], ids=["too large", "negative"])
def test_a_probability_lies_between_zero_and_one(p):
    with raises((ValueError, RuntimeError), f"{p} is no probability, so Dropout({p}) is a ValueError"):
        Dropout(p)(torch.ones(3))
