"""Answers that people give to first_gradient, right ones and wrong ones."""

import numpy as np
import torch

from dojo import Mistake


def _grad_function(f, x0):
    x = torch.tensor(x0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(f(x), x)
    return float(slope)


def _variable(f, x0):
    x = torch.autograd.Variable(torch.tensor(x0 * 1.0), requires_grad=True)
    y = f(x)
    y.backward(torch.ones_like(y))
    return x.grad.tolist()


def _forward_mode(f, x0):
    _, slope = torch.func.jvp(f, (torch.tensor(float(x0)),), (torch.tensor(1.0),))
    return slope.item()


def _through_numpy(f, x0):
    x = torch.from_numpy(np.array(x0, dtype=np.float32)).requires_grad_(True)
    with torch.enable_grad():
        f(x).backward()
    return float(x.grad.numpy())


def _cleared_leaf(f, x0, x=torch.zeros((), requires_grad=True)):  # noqa: B008
    x.data.fill_(x0)
    x.grad = None
    f(x).backward()
    return x.grad.item()


def _kept_by_value(f, x0, leaves={}):  # noqa: B006
    if x0 not in leaves:
        leaves[x0] = torch.tensor(float(x0)).requires_grad_()
    torch.autograd.backward(f(leaves[x0]))
    return float(leaves[x0].grad)


def _int_through_numpy(f, x0):
    x = torch.from_numpy(np.asarray(x0)).requires_grad_()
    f(x).backward()
    return x.grad.item()


def _one_sided(f, x0):
    h = 1e-6
    return float((f(torch.tensor(x0 + h, dtype=torch.float64)) - f(torch.tensor(x0, dtype=torch.float64))) / h)


def _jacobian_of_a_batch(f, x0):
    x = torch.full((1,), float(x0), requires_grad=True)
    return torch.autograd.functional.jacobian(f, x).item()


def _kept_by_function(f, x0, known={}):  # noqa: B006
    return known.setdefault(f, _grad_function(f, x0))


def _dual_number(f, x0):
    with torch.autograd.forward_ad.dual_level():
        x = torch.autograd.forward_ad.make_dual(torch.tensor(float(x0)), torch.tensor(1.0))
        return torch.autograd.forward_ad.unpack_dual(f(x)).tangent.item()


def _float_afterwards(f, x0):
    x = torch.tensor(x0, requires_grad=True).float()
    x.retain_grad()
    f(x).backward()
    return x.grad.item()


def _an_array(f, x0):
    x = torch.tensor(float(x0), requires_grad=True)
    f(x).backward()
    return x.grad.numpy()


def _hooked(f, x0):
    seen = []
    x = torch.tensor(float(x0)).requires_grad_()
    x.register_hook(seen.append)
    f(x).backward()
    return float(seen[0])


def _only_along_x(f, x0):
    x = torch.nn.Parameter(torch.tensor(x0, dtype=torch.get_default_dtype()))
    y = f(x)
    torch.autograd.backward(y, inputs=[x], create_graph=True)
    return x.grad.detach().cpu().numpy().item()


RIGHT = [
    {"gradient_at": _hooked},
    {"gradient_at": _only_along_x},
    {"gradient_at": lambda f, x0: torch.autograd.functional.vjp(f, torch.tensor(1.0 * x0))[1].item()},
    {"gradient_at": _dual_number},
    {"gradient_at": _grad_function},
    {"gradient_at": _variable},
    {"gradient_at": _forward_mode},
    {"gradient_at": _through_numpy},
    {"gradient_at": _cleared_leaf},
    {"gradient_at": lambda f, x0: torch.func.grad(f)(torch.tensor(float(x0))).item()},
    {"gradient_at": lambda f, x0: torch.func.jacrev(f)(torch.tensor(x0 + 0.0)).item()},
    {"gradient_at": lambda f, x0: torch.autograd.functional.jacobian(f, torch.tensor(float(x0))).item()},
]


def _kept_by_number(f, x0, known={}):  # noqa: B006
    key = float(x0)
    known[key] = known.get(key) or torch.func.grad(f)(torch.tensor(key)).item()
    return known[key]


def _value_of_the_result(f, x0):
    x = torch.tensor(float(x0), requires_grad=True)
    y = f(x).clone()
    y.backward()
    return round(float(y.grad), 6)


def _rewrapped(f, x0):
    x = torch.tensor(float(x0), requires_grad=True)
    y = torch.tensor(f(x).item(), requires_grad=True)
    y.backward()
    return x.grad.item()


WRONG = [
    Mistake("leaves the gradient on x, not on y", caught_by="", gradient_at=_value_of_the_result),
    Mistake("leaves the gradient on x, not on y", caught_by="", gradient_at=_rewrapped),
    Mistake(
        "float32 gives seven digits", caught_by="", gradient_at=lambda f, x0: float(f"{_grad_function(f, x0):.4f}")
    ),
    Mistake("f(x) has no graph", caught_by="", gradient_at=lambda f, x0: f(torch.tensor(float(x0))).backward()),
    Mistake("you gave the slope of the f before", caught_by="", gradient_at=_kept_by_number),
    Mistake("x0 is an int here: make a floating tensor of it", caught_by="", gradient_at=_float_afterwards),
    Mistake("a Python float was asked for", caught_by="", gradient_at=_an_array),
    Mistake(".grad accumulates, use a fresh leaf in each call", caught_by="", gradient_at=_kept_by_value),
    Mistake("x0 is an int here: make a floating tensor of it", caught_by="", gradient_at=_int_through_numpy),
    Mistake("no finite difference, autograd is exact", caught_by="", gradient_at=_one_sided),
    Mistake("f takes a 0-d tensor", caught_by="", gradient_at=_jacobian_of_a_batch),
    Mistake("you kept the graph of the first call", caught_by="", gradient_at=_kept_by_function),
    Mistake(
        "you returned a tensor: a float was asked for",
        caught_by="",
        gradient_at=lambda f, x0: torch.func.grad(f)(torch.tensor(float(x0))),
    ),
    Mistake(
        "you returned a tensor: a float was asked for",
        caught_by="",
        gradient_at=lambda f, x0: torch.func.grad(f)(torch.tensor(float(x0))).detach(),
    ),
]
