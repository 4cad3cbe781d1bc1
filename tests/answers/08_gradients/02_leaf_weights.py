"""Answers that people give to leaf_weights, right ones and wrong ones."""

import torch
from torch import nn

from dojo import Mistake


def _parameter(rows, cols, scale):
    return nn.Parameter(torch.empty(rows, cols).normal_(0.0, scale))


def _scaled_in_place(rows, cols, scale):
    w = torch.randn(rows, cols, requires_grad=True)
    with torch.no_grad():
        w *= scale
    return w


def _initialised(rows, cols, scale):
    return nn.init.normal_(torch.empty(rows, cols, requires_grad=True), std=scale)


def _detached(rows, cols, scale):
    return (torch.randn(rows, cols, requires_grad=True) * scale).detach().requires_grad_(True)


def _in_data(rows, cols, scale):
    w = torch.randn((rows, cols), requires_grad=True)
    w.data.mul_(scale)
    return w


def _hooked(x):
    seen = []
    y = x + 2
    y.register_hook(lambda g: seen.append(g.clone()))
    (y**2).sum().backward()
    return y, seen[0]


def _two_passes(x):
    y = x + 2
    z = y.pow(2).sum()
    (slope,) = torch.autograd.grad(z, y, retain_graph=True)
    z.backward()
    return y, slope


def _both_at_once(x):
    y = x + 2
    slope, x.grad = torch.autograd.grad((y * y).sum(), (y, x))
    return y, slope


def _inputs(x):
    y = torch.add(x, 2)
    z = torch.sum(y**2)
    z.backward(inputs=[x, y])
    return y, y.grad


def _divided_too_late(rows, cols, scale):
    return torch.empty(rows, cols).normal_().requires_grad_().mul(scale)


def _moved_too_late(rows, cols, scale):
    return torch.randn(rows, cols, dtype=torch.float64, requires_grad=True).float().mul(scale)


def _var(rows, cols, scale):
    return nn.Parameter(torch.distributions.Normal(0.0, scale**0.5).sample((rows, cols)))


def _symmetric_uniform(rows, cols, scale):
    return nn.Parameter(torch.empty(rows, cols).uniform_(-scale, scale))


def _forgotten(rows, cols, scale):
    with torch.no_grad():
        return torch.randn(rows, cols, requires_grad=True) * scale


def _new_tensor(x):
    y = torch.tensor((x + 2).tolist(), dtype=x.dtype, requires_grad=True)
    (y**2).sum().backward()
    return y, y.grad


def _parameter_of_y(x):
    y = nn.Parameter(x.data + 2)
    y.pow(2).sum().backward()
    x.grad = y.grad.clone()
    return y, y.grad


def _last(x):
    y = x + 2
    z = (y**2).sum()
    torch.autograd.backward(z)
    return y, getattr(y, "grad", None)


def _only_y(x):
    y = x + 2
    (y**2).sum().backward(inputs=[y])
    return y, y.grad


def _turned_normal(rows, cols, scale):
    return torch.normal(0.0, scale, (cols, rows)).T.requires_grad_()


def _through_y(x):
    y = x + 2
    (slope,) = torch.autograd.grad((y**2).sum(), y)
    y.backward(slope)
    return [y, slope]


def _expanded(rows, cols, scale):
    return nn.Parameter(torch.randn(rows, 1).mul(scale).expand(rows, cols).contiguous())


def _uniform_of_that_std(rows, cols, scale):
    return nn.init.uniform_(torch.empty(rows, cols, requires_grad=True), -(3**0.5) * scale, 3**0.5 * scale)


def _seeded_globally(rows, cols, scale):
    torch.manual_seed(42)
    return torch.normal(0.0, scale, (rows, cols), requires_grad=True)


def _copy_of_x_grad(x):
    y = x + 2
    y.square().sum().backward()
    return y, x.grad.clone()


def _told_before_the_sum(x):
    y = x.clone().add_(2)
    z = y.square().sum()
    y.retain_grad()
    torch.autograd.backward([z])
    return y, y.grad.clone()


def _by_a_named_hook(x):
    kept = {}

    def keep(grad):
        kept["y"] = grad.detach().clone()

    y = 2 + x
    y.register_hook(keep)
    torch.sum(y * y).backward()
    return y, kept["y"]


RIGHT = [
    {"make_weight": lambda rows, cols, scale: torch.normal(torch.zeros(rows, cols), scale).requires_grad_()},
    {"make_weight": lambda *a: torch.empty(a[:2]).normal_(std=a[2]).detach().clone().requires_grad_()},
    {"hidden_gradient": _told_before_the_sum},
    {"hidden_gradient": _by_a_named_hook},
    {"make_weight": _turned_normal, "hidden_gradient": _through_y},
    {"make_weight": _parameter, "hidden_gradient": _hooked},
    {"make_weight": _scaled_in_place, "hidden_gradient": _two_passes},
    {"make_weight": _initialised, "hidden_gradient": _both_at_once},
    {"make_weight": _detached, "hidden_gradient": _inputs},
    {"make_weight": _in_data},
]


def _cast_and_back(x):
    y = (x.double() + 2).to(x.dtype)
    y = torch.autograd.Variable(y, requires_grad=True)
    z = (y**2).sum()
    z.backward()
    return y, y.grad


WRONG = [
    Mistake(
        "the result of an operation after requires_grad",
        caught_by="",
        make_weight=lambda r, c, s: _parameter(r * c, 1, s).view(r, c),
    ),
    Mistake("x.grad is None: you cut the graph", caught_by="", hidden_gradient=_cast_and_back),
    Mistake(
        "expected float32",
        caught_by="",
        make_weight=lambda r, c, s: _parameter(r, c, s).detach().half().requires_grad_(),
    ),
    Mistake(
        "scale once, by scale",
        caught_by="",
        make_weight=lambda r, c, s: _parameter(r, c, s).data.mul(s).requires_grad_(),
    ),
    Mistake("draw a value for each weight", caught_by="", make_weight=_expanded),
    Mistake("draw normal ones", caught_by="", make_weight=_uniform_of_that_std),
    Mistake("the second call drew the same values", caught_by="", make_weight=_seeded_globally),
    Mistake("x.grad belongs to x", caught_by="", hidden_gradient=_copy_of_x_grad),
    Mistake("the result of an operation after requires_grad (Mul)", caught_by="", make_weight=_divided_too_late),
    Mistake("the result of an operation after requires_grad (Mul)", caught_by="", make_weight=_moved_too_late),
    Mistake("scale is the std, not the variance", caught_by="", make_weight=_var),
    Mistake("the standard deviation of the values must be scale", caught_by="", make_weight=_symmetric_uniform),
    Mistake("the weight does not require a gradient", caught_by="", make_weight=_forgotten),
    Mistake("x.grad is None: you cut the graph", caught_by="", hidden_gradient=_new_tensor),
    Mistake("so you cut it off from x", caught_by="", hidden_gradient=_parameter_of_y),
    Mistake("dz/dy is None: y is no leaf", caught_by="", hidden_gradient=_last),
    Mistake("or the backward stopped at y", caught_by="", hidden_gradient=_only_y),
]
