"""Answers that people give to higher_order, right ones and wrong ones."""

import torch
from torch.func import functional_call, grad, vmap

from dojo import Mistake


def _nested_transforms(f, x0, n):
    for _ in range(n):
        f = grad(f)
    return f(torch.tensor(x0)).item()


def _materialized_zeros(f, x0, n):
    x = torch.tensor(float(x0), requires_grad=True)
    y = f(x)
    for _ in range(n):
        y = torch.autograd.grad(y + 0 * x, x, create_graph=True, materialize_grads=True)[0]
    return float(y.detach())


def _recursion(f, x0, n):
    def derivative(x, n):
        if n == 0:
            return f(x)
        y = derivative(x, n - 1)
        if not y.requires_grad:
            return torch.zeros(())
        return torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)[0]

    return derivative(torch.tensor(x0).requires_grad_(), n).item()


def _clear_between_backwards(f, x0, n):
    x = torch.tensor(x0, requires_grad=True)
    y = f(x)
    for _ in range(n):
        if not y.requires_grad:
            return 0.0
        y.backward(create_graph=True)
        y, x.grad = x.grad, None
    return y.item()


def _weights_of_one(model, x):
    x = x.clone().requires_grad_(True)
    out = model(x)
    g = torch.autograd.grad(out, x, grad_outputs=torch.ones_like(out), create_graph=True, retain_graph=True)[0]
    return ((g.view(len(x), -1).norm(2, dim=1) - 1) ** 2).mean()


def _per_sample_loop(model, x):
    terms = []
    for row in x.split(1):
        row = row.detach().requires_grad_()
        g = torch.autograd.grad(model(row).squeeze(), row, create_graph=True)[0]
        terms.append((torch.linalg.vector_norm(g) - 1) ** 2)
    return torch.stack(terms).mean()


def _transforms(model, x):
    params = dict(model.named_parameters())
    g = vmap(grad(lambda row: functional_call(model, params, (row[None],)).sum()))(x)
    return torch.mean((g.norm(dim=-1) - 1.0).square())


def _unused_is_zero(f, x0, n):
    x = torch.tensor([x0], requires_grad=True)
    y = f(x[0])
    for _ in range(n):
        if y is None or y.grad_fn is None:
            return 0.0
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True, allow_unused=True)
    return y.item()


def _requires_grad_for_a_while(model, x):
    x.requires_grad_(True)
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    x.requires_grad_(False)
    return ((g.square().sum(1) + 1e-12).sqrt() - 1).square().mean()


def _plain_zero(f, x0, n):
    x = torch.tensor(x0, requires_grad=True)
    y = f(x)
    for i in range(n):
        try:
            (y,) = torch.autograd.grad(y, x, create_graph=i < n - 1)
        except RuntimeError:
            return 0
    return y.item()


def _whole_jacobian(model, x):
    j = torch.autograd.functional.jacobian(model, x, create_graph=True)
    own = torch.arange(len(x))
    return (j[own, 0, own].norm(dim=1) - 1).square().mean()


RIGHT = [
    {"nth_derivative": _plain_zero, "gradient_penalty": _whole_jacobian},
    {"nth_derivative": _unused_is_zero, "gradient_penalty": _requires_grad_for_a_while},
    {"nth_derivative": _nested_transforms, "gradient_penalty": _weights_of_one},
    {"nth_derivative": _materialized_zeros, "gradient_penalty": _per_sample_loop},
    {"nth_derivative": _recursion, "gradient_penalty": _transforms},
    {"nth_derivative": _clear_between_backwards},
]


def _detach_and_go_on(f, x0, n):
    x = torch.tensor(x0, requires_grad=True)
    y = f(x)
    for _ in range(n):
        y = torch.autograd.grad(y, x)[0].requires_grad_()
    return y.item()


def _backward_and_read(f, x0, n):
    x = torch.tensor(x0, requires_grad=True)
    y = f(x)
    for _ in range(n):
        y.backward(create_graph=True)
        y = x.grad.clone()
    return y.item()


def _float_last(f, x0, n):
    x = torch.tensor(x0, requires_grad=True)
    y = f(x)
    for i in range(n):
        y = torch.autograd.grad(y, x, create_graph=i < n - 1)[0]
    return float(y)


def _never_a_constant(f, x0, n):
    x = torch.tensor(x0, requires_grad=True)
    if n == 1:
        return torch.autograd.grad(f(x), x)[0]
    y = f(x)
    for _ in range(n):
        y = torch.autograd.grad(y, x, create_graph=True)[0]
    return y.item()


def _leaf_penalty(model, x, create_graph=True):
    x = x.clone().requires_grad_()
    out = model(x)
    return torch.autograd.grad(out, x, torch.ones_like(out), create_graph=create_graph)[0]


def _numbers(model, x):
    norms = [g.norm().item() for g in _leaf_penalty(model, x)]
    return torch.tensor([(n - 1) ** 2 for n in norms], dtype=x.dtype).mean()


def _detached(model, x):
    return (_leaf_penalty(model, x).detach().norm(dim=1) - 1).square().mean().requires_grad_()


def _frobenius(model, x):
    return (torch.linalg.matrix_norm(_leaf_penalty(model, x)) - 1) ** 2


def _mean_norm(model, x):
    return (torch.stack([g.norm() for g in _leaf_penalty(model, x)]).mean() - 1) ** 2


def _batch_mean(model, x):
    x = x.clone().requires_grad_()
    g = torch.autograd.grad(model(x).mean(), x, create_graph=True)[0]
    return (g.norm(2, 1) - 1).square().mean()


def _root_per_sample(model, x):
    return torch.stack([(g.dot(g) ** 0.5 - 1) ** 2 for g in _leaf_penalty(model, x)]).mean()


def _backward_first(f, x0, n):
    x = torch.tensor(x0, requires_grad=True)
    f(x).backward(create_graph=True)
    for _ in range(n - 1):
        slope, x.grad = x.grad, None
        if not slope.requires_grad:
            return 0.0
        slope.backward(create_graph=True)
    return x.grad.item()


def _no_root(model, x):
    g = _leaf_penalty(model, x)
    return (torch.einsum("nd,nd->n", g, g) - 1).square().mean()


def _restore_half(model, x):
    x.requires_grad_(True)
    model(x).sum().backward(create_graph=True)
    g = x.grad
    x.grad = None
    x.requires_grad_(False)
    return (g.norm(dim=1) - 1).square().mean()


def _grad_left_on_x(model, x):
    x.requires_grad = True
    out = model(x)
    return (torch.autograd.grad(out, x, torch.ones_like(out), create_graph=True)[0].norm(dim=1) - 1).square().mean()


def _absolute(model, x):
    return (_leaf_penalty(model, x).norm(dim=1) - 1).abs().mean()


_RETAIN = "and retain_graph does not"


def _squeezed_norms(model, x):
    return (_leaf_penalty(model, x).squeeze().norm(dim=-1) - 1).square().mean()


def _gradients_set_to_none(model, x):
    x = x.detach().clone().requires_grad_()
    model(x).sum().backward(create_graph=True)
    for p in model.parameters():
        p.grad = None
    return (x.grad.norm(dim=1) - 1).square().mean()


WRONG = [
    Mistake("7 does not depend on x at all", caught_by="", nth_derivative=_backward_first),
    Mistake("a root has the slope inf at 0", caught_by="", gradient_penalty=_root_per_sample),
    Mistake("you took one norm over the whole batch", caught_by="", gradient_penalty=_squeezed_norms),
    Mistake("you cleared the .grad of", caught_by="", gradient_penalty=_gradients_set_to_none),
    Mistake("‖gradient of that sample‖ - 1", caught_by="", gradient_penalty=_absolute),
    Mistake(_RETAIN, caught_by="", nth_derivative=_float_last),
    Mistake(_RETAIN, caught_by="", nth_derivative=_detach_and_go_on),
    Mistake("45 = 27 + 18", caught_by="", nth_derivative=_backward_and_read),
    Mistake("the slope of 2x does not depend on x", caught_by="", nth_derivative=_never_a_constant),
    Mistake("no gradient reaches the weights", caught_by="", gradient_penalty=_numbers),
    Mistake("no gradient reaches the weights", caught_by="", gradient_penalty=_detached),
    Mistake("you took one norm over the whole batch", caught_by="", gradient_penalty=_frobenius),
    Mistake("square the distance of each sample", caught_by="", gradient_penalty=_mean_norm),
    Mistake("you differentiated the mean of the outputs", caught_by="", gradient_penalty=_batch_mean),
    Mistake("without the square root", caught_by="", gradient_penalty=_no_root),
    Mistake("backward() writes into every leaf", caught_by="", gradient_penalty=_restore_half),
    Mistake("x is not as it was: requires_grad", caught_by="", gradient_penalty=_grad_left_on_x),
]
