"""Layers alone stay a straight line

`nn.Linear(1, 32)` followed by `nn.Linear(32, 1)` looks like a bigger model than `nn.Linear(1, 1)`. It has more numbers
to learn, and not one more curve: A·(B·x + c) + d is again some w·x + b. People stack ten layers, train for an hour, and
the prediction is still a ruler laid through the points. Nothing warns, the loss even falls, down to that of the best
line.

What bends is an *activation*, a function without weights that is put between two layers: `nn.ReLU()` cuts off what is
below 0, `nn.Tanh()` and `nn.GELU()` are smooth. With ReLU, each hidden number has a corner at a place of its own, and
the last layer adds many of them up to a curve: that is a multi-layer perceptron (MLP). `nn.Sequential` runs its modules
one after the other.

The last layer stays bare. A ReLU behind it makes every negative answer impossible, and where all outputs are cut off
the gradient is 0, so some trainings never begin. `nn.Sigmoid()` at the end keeps all answers between 0 and 1,
`nn.Tanh()` between -1 and 1, and this curve goes up to 1.5.

What is asked here: such a net, and its training on points (x, y): a mean squared error on predictions and targets of
the same shape (n, 1), in a loop. Adam with lr=0.01 needs several hundred steps over all points.

About 25 minutes. Before it: mse_shapes, training_step, line_2x_plus_2.
Path: first_day

https://docs.pytorch.org/docs/stable/nn.html#non-linear-activations-weighted-sum-nonlinearity
"""

import copy
import functools
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged
from dojo.kit.training import stale_gradients_found


def make_mlp() -> nn.Module:
    """A new, untrained net with at least one bend and at most 5000 parameters: float32 (n, 1) -> (n, 1).

    Any real number can come out, far below 0 and far above 1 too: no activation comes after the last layer. In eval
    mode n may be 1, and each answer depends on its own x alone. Each call makes a net with weights of its own.
    """
    raise NotImplementedError("return layers with activations between them")


def fit_curve(x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    """A net trained on the points `x` and `y`, float32 (n, 1) each: it predicts y, (n, 1), from x, (n, 1).

    The tests give 200 points from x = -3 to 3 of a curve with hills and valleys, with noise on them. The mean squared
    distance from the curve itself is to be below 0.1, and the highest hill, at 1.5, gets an answer above 1. `x` and
    `y` stay as they are. Net, loss, optimizer and number of steps are yours; each step uses gradients of its own,
    without those of the step before.
    """
    raise NotImplementedError("make a net, train it, return it")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "is not a Module subclass|missing 1 required positional argument: 'input'": "an activation is an object, made with "
    "brackets: nn.ReLU()",
    "shapes cannot be multiplied": "rows of one number went in, (n, 1), and some layer expected another number: each "
    "layer takes as many as the one before gives",
    "does not require grad": "the loss hangs on no graph",
    "[Ii]n-?place": "a tensor that is not yours to change was edited in place",
}


def _new_net(what="make_mlp()") -> Any:
    __tracebackhide__ = True
    with explain("make_mlp raised", _SIGNS):
        net = make_mlp()
    assert isinstance(net, nn.Module), f"{what} makes an nn.Module, got {type(net).__name__}"
    return net.eval()


def _line_up(net, x, what) -> Any:
    """What the net, in eval mode, says to (n, 1): (n,), in float64."""
    __tracebackhide__ = True
    with torch.no_grad(), explain(f"{what} raised for x of the shape {tuple(x.shape)}", _SIGNS):
        y = net(x)
    assert isinstance(y, torch.Tensor), f"{what} returns a tensor, got {type(y).__name__}"
    assert y.shape == x.shape, (
        f"{what} was given {tuple(x.shape)} and returned {tuple(y.shape)}: expected {(len(x), 1)}"
    )
    return y.double().squeeze(1)


def _with_large_weights(net) -> Any:
    """A copy with all weights 100 times as large."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(100)
    return net


def _bend(y) -> float:
    """The largest second difference y[i - 1] - 2 y[i] + y[i + 1], 0 for a line, for values from -1 to 1 or smaller."""
    return ((y[:-2] - 2 * y[1:-1] + y[2:]).abs().max() / y.abs().max().clamp(min=1)).item()


@functools.cache
def _trained() -> tuple[Any, torch.Tensor, torch.Tensor]:
    """The net that fit_curve made; x, in a mixed order, and the curve there."""
    __tracebackhide__ = True
    torch.manual_seed(0)
    x = torch.linspace(-3, 3, 200)[torch.randperm(200)].unsqueeze(1)
    curve = torch.sin(2 * x) + 0.1 * x**2
    y = curve + 0.1 * torch.randn(200, 1)
    with (
        warnings.catch_warnings(),
        explain("fit_curve raised on 200 points", _SIGNS),
        stale_gradients_found(),
        unchanged("fit_curve changed the points that it was given", x=x, y=y),
    ):
        warnings.simplefilter("ignore")  # torch warns of shapes that differ; the numbers below say what comes of it
        net = fit_curve(x, y)
    assert isinstance(net, nn.Module), f"fit_curve returns the net, an nn.Module; got {type(net).__name__}"
    return net.eval(), x, curve.double().squeeze(1)


def test_a_trained_net_follows_a_curve():
    net, x, curve = _trained()
    _line_up(net, x[:1], "the trained net")
    y = _line_up(net, x, "the trained net")
    error, inputs = (y - curve).square().mean().item(), x.double().squeeze(1)
    told = f"the mean squared distance from the curve is {error:.3f}, below 0.1 is asked"
    assert y.isfinite().all().item(), "the trained net answers nan or inf: the training blew up; a smaller lr?"
    flat = y.std().item() < 0.05 and abs(y.mean().item() - curve.mean().item()) < 0.1
    assert not flat, (
        f"{told}. The net answers about {y.mean().item():.2f} to every x, the mean of all y: shapes differ?"
    )
    design = torch.stack([inputs, torch.ones(200).double()], 1)
    best = (design @ torch.linalg.lstsq(design, curve).solution - curve).square().mean().item()
    straight = _bend(_line_up(net, torch.linspace(-3, 3, 50).unsqueeze(1), "the trained net")) < 1e-5
    assert not straight, (
        f"{told}. The net is a straight line: the best one of all reaches {best:.3f}, and no training less"
    )
    assert error < 0.1, f"{told}: more steps, another lr, or more hidden numbers?"
    top = y.max().item()
    assert top > 1, f"the curve goes up to {curve.max().item():.2f}, and the net to {top:.2f}: what bounds its answers?"


@pytest.mark.myth(
    says="More layers make a network more powerful.",
    today="Not without activations between them: any number of Linear layers in a row is one Linear layer.",
)
def test_only_an_activation_bends_the_line():
    x = torch.linspace(-3, 3, 50).unsqueeze(1)
    bend = 0.0
    for seed in range(10):
        torch.manual_seed(seed)
        bend = max(bend, _bend(_line_up(_new_net(), x, "an untrained net")))
    assert bend > 1e-5, (
        f"ten new nets, and all draw straight lines (second differences of {bend:.1e}): what stands between the "
        "layers? 0.510 is the best error that a line can reach here"
    )


@pytest.mark.myth(
    says="Every layer gets an activation.",
    today="The last one of a regression stays bare: behind a ReLU no answer can be negative.",
)
def test_the_last_layer_stays_bare():
    x = torch.linspace(-3, 3, 50).unsqueeze(1)
    low, high, least, largest = 0.0, 0.0, 0.0, 0.0
    for seed in range(20):
        torch.manual_seed(seed)
        net = _new_net()
        y = _line_up(net, x, "an untrained net")
        low, high = min(low, y.min().item()), max(high, y.max().item())
        y = _line_up(_with_large_weights(net), x, "an untrained net")
        least, largest = min(least, y.min().item()), max(largest, y.max().item())
    assert low < 0, "twenty new nets, and not one has ever a negative answer: what comes after the last layer?"
    assert high > 0, "twenty new nets, and not one has ever a positive answer: what comes after the last layer?"
    free = least < -5 and largest > 5
    assert free, (
        f"all weights of twenty nets were made 100 times as large, and their answers stay between {least:.2f} and "
        f"{largest:.2f}: what comes after the last layer?"
    )


def test_each_net_has_few_weights_of_its_own():
    net, other = _new_net(), _new_net()
    count = sum(p.numel() for p in net.parameters())
    assert count, "the net has no parameters: nothing can be trained"
    assert count <= 5000, f"the net has {count} parameters, and 5000 are allowed: layers of 64 and 64 have 4353"
    both = {id(p) for p in net.parameters()} & {id(p) for p in other.parameters()}
    assert not both, "two calls of make_mlp() gave the same weights: a second training would go on from the first"
    x = torch.tensor([[0.5], [-2.0], [3.0]])
    alone = torch.cat([_line_up(net, one, "an untrained net") for one in x.split(1)])
    together = _line_up(net, x, "an untrained net")
    check_tensor(together, alone, "the answer to an x changes with the others in the batch", rtol=1e-4, atol=1e-5)
