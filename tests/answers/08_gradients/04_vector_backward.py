"""Answers that people give to vector_backward, right ones and wrong ones."""

import torch

from dojo import Mistake


def _backward_on_a_copy(f, x, v):
    x = x.clone().detach().requires_grad_(True)
    f(x).backward(gradient=v)
    return x.grad


def _weighted_sum(f, x, v):
    x = torch.tensor(x.tolist(), dtype=x.dtype, requires_grad=True)
    (f(x) * v).sum().backward()
    return x.grad


def _functional_vjp(f, x, v):
    _, pull = torch.func.vjp(f, x.detach())
    return pull(v)[0]


def _rows_by_backward(f, x):
    x = x.detach().clone().requires_grad_()
    y = f(x)
    rows = torch.zeros(len(y), len(x), dtype=y.dtype)
    for i in range(len(y)):
        x.grad = None
        y[i].backward(retain_graph=True)
        rows[i] = x.grad
    return rows


def _a_graph_per_row(f, x):
    x = x.detach().requires_grad_()
    rows = []
    for i in range(f(x).shape[0]):
        if x.grad is not None:
            x.grad.zero_()
        f(x)[i].backward()
        rows.append(x.grad.clone())
    return torch.stack(rows)


def _batched(f, x):
    x = x.detach().requires_grad_()
    y = f(x)
    eye = torch.eye(len(y), dtype=y.dtype)
    return torch.autograd.grad(y, x, eye, is_grads_batched=True)[0]


def _columns(f, x):
    eye = torch.eye(len(x), dtype=x.dtype)
    return torch.stack([torch.func.jvp(f, (x.detach(),), (e,))[1] for e in eye], dim=1).detach()


def _ones_in_grad(f, x, v):
    x = x.detach().clone().requires_grad_()
    y = f(x)
    return torch.autograd.grad(y, x, torch.ones_like(y))[0]


def _functional_jvp(f, x, v):
    return torch.func.jvp(f, (x.detach(),), (v,))[1]


def _scaled_grad(f, x, v):
    x = x.detach().clone().requires_grad_()
    f(x).sum().backward()
    return torch.mul(x.grad, v)


def _grad_of_x(f, x, v):
    if not x.requires_grad:
        x.requires_grad = True
    f(x).backward(v)
    grad, x.grad = x.grad, None
    return grad


def _second_row_fails(f, x):
    x = x.detach().clone().requires_grad_()
    y = f(x)
    rows = []
    for i in range(len(y)):
        x.grad = None
        y[i].backward()
        rows.append(x.grad)
    return torch.stack(rows)


def _one_grad_tensor(f, x):
    x = x.detach().clone().requires_grad_()
    x.grad = torch.zeros_like(x)
    y = f(x)
    rows = []
    for v in torch.eye(len(y), dtype=y.dtype):
        x.grad.fill_(0)
        y.backward(v, retain_graph=True)
        rows.append(x.grad.data)
    return torch.stack(rows)


def _accumulated(f, x):
    x = x.detach().clone().requires_grad_()
    rows = []
    for i in range(len(f(x))):
        f(x)[i].backward()
        rows.append(x.grad.tolist())
    return torch.tensor(rows, dtype=x.dtype)


def _columns_stacked_as_rows(f, x):
    return torch.stack([torch.func.jvp(f, (x.detach(),), (e,))[1] for e in torch.eye(len(x), dtype=x.dtype)])


def _grads_of_x(f, x):
    x.requires_grad_(True)
    rows = torch.stack([torch.autograd.grad(y_i, x, retain_graph=True)[0] for y_i in f(x)])
    x.grad = rows.sum(0)
    return rows


def _by_a_hook(f, x, v):
    kept = []
    leaf = x.detach().clone().requires_grad_()
    leaf.register_hook(kept.append)
    torch.autograd.backward([f(leaf)], [v])
    return kept[0]


def _dot(f, x, v):
    with torch.enable_grad():
        leaf = torch.nn.Parameter(x.detach())
        (gradient,) = torch.autograd.grad(f(leaf).dot(v), [leaf])
    return gradient


def _one_output_at_a_time(f, x):
    rows = []
    for i in range(f(x).numel()):
        leaf = x.detach().clone().requires_grad_()
        f(leaf)[i].backward()
        rows.append(leaf.grad[None])
    return torch.cat(rows)


RIGHT = [
    {"vjp": _by_a_hook, "jacobian": _one_output_at_a_time},
    {"vjp": _dot, "jacobian": lambda f, x: torch.func.jacfwd(f)(x.detach())},
    {"jacobian": lambda f, x: torch.stack([_backward_on_a_copy(f, x, e) for e in torch.eye(len(f(x)), dtype=x.dtype)])},
    {"vjp": _backward_on_a_copy, "jacobian": _rows_by_backward},
    {"vjp": _weighted_sum, "jacobian": _a_graph_per_row},
    {"vjp": _functional_vjp, "jacobian": _batched},
    {"jacobian": lambda f, x: torch.autograd.functional.jacobian(f, x.detach())},
    {"vjp": lambda f, x, v: torch.autograd.functional.vjp(f, x.detach(), v)[1], "jacobian": _columns},
    {"jacobian": lambda f, x: torch.func.jacrev(f)(x.detach())},
]


def _clears_x(f, x, v):
    was = x.requires_grad
    f(x.requires_grad_(True)).backward(v)
    result = x.grad.clone()
    x.grad = None
    x.requires_grad_(was)
    return result


WRONG = [
    Mistake(
        "1 - tanh(x)**2 on the diagonal, exact",
        caught_by="",
        jacobian=lambda f, x: torch.tensor(_columns(f, x).tolist()).to(x.dtype),
    ),
    Mistake(
        "each row is the last one: aliasing",
        caught_by="",
        jacobian=lambda f, x: _columns(f, x)[-1:].expand(len(f(x)), -1),
    ),
    Mistake("it is not yours", caught_by="", vjp=_clears_x),
    Mistake("you returned two things", caught_by="", vjp=lambda f, x, v: (f(x.detach()), _functional_vjp(f, x, v))),
    Mistake("you used weights of 1", caught_by="", vjp=_ones_in_grad),
    Mistake("v belongs into the backward", caught_by="", vjp=_functional_jvp),
    Mistake("v belongs into the backward", caught_by="", vjp=_scaled_grad),
    Mistake("and you switched it", caught_by="", vjp=_grad_of_x),
    Mistake("Graph already freed", caught_by="", jacobian=_second_row_fails),
    Mistake("each row is the last one: aliasing", caught_by="", jacobian=_one_grad_tensor),
    Mistake("each row has those before it in it: .grad adds up", caught_by="", jacobian=_accumulated),
    Mistake("you returned the transpose", caught_by="", jacobian=_columns_stacked_as_rows),
    Mistake("a backward down to x leaves its traces there", caught_by="", jacobian=_grads_of_x),
    Mistake(
        "also where one of them is 1",
        caught_by="",
        jacobian=lambda f, x: torch.autograd.functional.jacobian(f, x.detach()).squeeze(0),
    ),
    Mistake(
        "J[i, j] is the slope of output i along input j",
        caught_by="",
        jacobian=lambda f, x: torch.autograd.functional.vjp(f, x.detach(), torch.ones_like(f(x)))[1],
    ),
]
