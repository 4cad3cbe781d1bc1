"""Answers that people give to func_transforms, right ones and wrong ones."""

import copy

import torch
from torch.func import functional_call, grad, jacrev, vmap

from dojo import Mistake


def _with_a_batch_of_one(model, loss_fn, x, y):
    params = dict(model.named_parameters())

    def loss(params, x_i, y_i):
        return loss_fn(functional_call(model, params, x_i.unsqueeze(0)), y_i.unsqueeze(0))

    return vmap(grad(loss), in_dims=(None, 0, 0))(params, x, y)


def _loop(model, loss_fn, x, y):
    rows = {name: [] for name, _ in model.named_parameters()}
    for i in range(len(x)):
        grads = torch.autograd.grad(loss_fn(model(x[i : i + 1]), y[i : i + 1]), list(model.parameters()))
        for name, g in zip(rows, grads, strict=True):
            rows[name].append(g)
    return {name: torch.stack(r) for name, r in rows.items()}


def _batched_backward(model, loss_fn, x, y):
    losses = torch.stack([loss_fn(model(a), b) for a, b in zip(x, y, strict=True)])
    names, params = zip(*model.named_parameters(), strict=True)
    grads = torch.autograd.grad(losses, params, torch.eye(len(x), dtype=losses.dtype), is_grads_batched=True)
    return dict(zip(names, grads, strict=True))


def _jacobian_of_the_losses(model, loss_fn, x, y):
    def losses(params):
        return torch.stack([loss_fn(functional_call(model, params, (a,)), b) for a, b in zip(x, y, strict=True)])

    return jacrev(losses)({name: p.detach() for name, p in model.named_parameters()})


def _row_by_row(f, x):
    return torch.stack([torch.autograd.functional.jacobian(f, row) for row in x])


def _diagonal(f, x):
    return jacrev(f)(x).diagonal(dim1=0, dim2=2).permute(2, 0, 1)


def _sum_trick(f, x):
    return jacrev(lambda x: f(x).sum(dim=0))(x).movedim(0, 1)


def _grad_without_vmap(model, loss_fn, x, y):
    params, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    one = grad(lambda p, a, b: loss_fn(functional_call(model, (p, buffers), (a,)), b))
    rows = [one(params, a, b) for a, b in zip(x, y, strict=True)]
    return {name: torch.stack([row[name] for row in rows]) for name in params}


def _backward_on_a_copy(model, loss_fn, x, y):
    twin = copy.deepcopy(model)
    rows = []
    for a, b in zip(x, y, strict=True):
        twin.zero_grad()
        loss_fn(twin(a), b).backward()
        rows.append({name: p.grad for name, p in twin.named_parameters()})
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _column_by_column(f, x):
    x = x.detach().clone().requires_grad_()
    y = f(x)
    return torch.stack([torch.autograd.grad(y[:, k].sum(), x, retain_graph=True)[0] for k in range(y.shape[1])], 1)


def _backward_and_forget(model, loss_fn, x, y):
    rows = {name: [] for name, _ in model.named_parameters()}
    for i in range(len(x)):
        model.zero_grad()
        loss_fn(model(x[i : i + 1]), y[i : i + 1]).backward()
        for name, p in model.named_parameters():
            rows[name].append(p.grad)
    model.zero_grad()
    return {name: torch.stack(grads) for name, grads in rows.items()}


def _with_an_optimizer_for_zero_grad(model, loss_fn, x, y):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rows = {name: [] for name, _ in model.named_parameters()}
    for x_i, y_i in zip(x.split(1), y.split(1), strict=True):
        optimizer.zero_grad()
        loss_fn(model(x_i), y_i).backward()
        for name, p in model.named_parameters():
            rows[name].append(p.grad.detach().clone())
    optimizer.zero_grad()
    return {name: torch.stack(grads) for name, grads in rows.items()}


def _rows_of_the_default_dtype(model, loss_fn, x, y):
    rows = {name: torch.empty((len(x), *p.shape)) for name, p in model.named_parameters()}
    for i in range(len(x)):
        for name, g in zip(rows, torch.autograd.grad(loss_fn(model(x[i]), y[i]), [*model.parameters()]), strict=True):
            rows[name][i] = g
    return rows


def _weights_of_their_own(model, loss_fn, x, y):
    """As if each sample had a net of its own: N copies of the weights, and one backward."""
    copies = {n: p.detach().expand(len(x), *p.shape).clone().requires_grad_() for n, p in model.named_parameters()}
    losses = vmap(lambda params, a, b: loss_fn(functional_call(model, params, (a,)), b))(copies, x, y)
    return dict(zip(copies, torch.autograd.grad(losses.sum(), list(copies.values())), strict=True))


def _forward_columns(f, x):
    units = torch.eye(x.shape[1], dtype=x.dtype)
    return torch.stack([torch.func.jvp(f, (x,), (unit.expand_as(x),))[1] for unit in units], dim=-1)


RIGHT = [
    {"per_sample_grads": _backward_and_forget, "batch_jacobian": _forward_columns},
    {"per_sample_grads": _with_an_optimizer_for_zero_grad},
    {"per_sample_grads": _weights_of_their_own},
    {"per_sample_grads": _rows_of_the_default_dtype},
    {"per_sample_grads": _grad_without_vmap, "batch_jacobian": _column_by_column},
    {"per_sample_grads": _backward_on_a_copy, "batch_jacobian": lambda f, x: torch.einsum("noni->noi", jacrev(f)(x))},
    {"per_sample_grads": _with_a_batch_of_one, "batch_jacobian": _row_by_row},
    {"per_sample_grads": _loop, "batch_jacobian": _diagonal},
    {"per_sample_grads": _batched_backward, "batch_jacobian": _sum_trick},
    {"per_sample_grads": _jacobian_of_the_losses, "batch_jacobian": lambda f, x: torch.stack([*map(jacrev(f), x)])},
]


def _params_unused(model, loss_fn, x, y):
    params = dict(model.named_parameters())

    def loss(params, x_i, y_i):
        return loss_fn(model(x_i[None]), y_i[None])

    return vmap(grad(loss), in_dims=(None, 0, 0))(params, x, y)


def _item(model, loss_fn, x, y):
    params = {name: p.detach() for name, p in model.named_parameters()}
    rows = [grad(lambda p, i=i: torch.tensor(loss_fn(model(x[i]), y[i]).item()))(params) for i in range(len(x))]
    return {name: torch.stack([row[name] for row in rows]) for name in params}


def _repeat(model, loss_fn, x, y):
    loss_fn(model(x), y).backward()
    grads = {name: torch.stack([p.grad] * len(x)) for name, p in model.named_parameters()}
    model.zero_grad()
    return grads


def _slices_of_the_mean(model, loss_fn, x, y):
    losses = torch.stack([loss_fn(model(a), b) for a, b in zip(x, y, strict=True)]) / len(x)
    names, params = zip(*model.named_parameters(), strict=True)
    grads = torch.autograd.grad(losses, params, torch.eye(len(x), dtype=losses.dtype), is_grads_batched=True)
    return dict(zip(names, grads, strict=True))


def _never_zeroed(model, loss_fn, x, y):
    rows = []
    for a, b in zip(x, y, strict=True):
        loss_fn(model(a), b).backward()
        rows.append([p.grad.clone() for p in model.parameters()])
    model.zero_grad()
    return {n: torch.stack(r) for (n, _), r in zip(model.named_parameters(), zip(*rows, strict=True), strict=True)}


def _cleared_before_only(model, loss_fn, x, y):
    rows = []
    for a, b in zip(x, y, strict=True):
        model.zero_grad()
        loss_fn(model(a), b).backward()
        rows.append([p.grad for p in model.parameters()])
    return {n: torch.stack(r) for (n, _), r in zip(model.named_parameters(), zip(*rows, strict=True), strict=True)}


def _by_parameter(model, loss_fn, x, y):
    return dict(zip(model.parameters(), _loop(model, loss_fn, x, y).values(), strict=True))


def _summed_loss(model, loss_fn, x, y):
    return {name: g * (y[0].numel()) for name, g in _loop(model, loss_fn, x, y).items()}


def _full(f, x):
    return torch.autograd.functional.jacobian(f, x)


def _backwards_sum(f, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(f(x).sum(), x)[0]


@torch.no_grad()
def _without_grad_mode(model, loss_fn, x, y):
    return _loop(model, loss_fn, x, y)


def _a_backward_for_each_output(f, x):
    x = x.clone().requires_grad_()
    y, rows = f(x), []
    for k in range(y.shape[1]):
        x.grad = None
        y[:, k].sum().backward()
        rows.append(x.grad)
    return torch.stack(rows, dim=1)


def _scale_x_in_place(model, loss_fn, x, y):
    x.div_(x.norm())
    return _loop(model, loss_fn, x, y)


def _detach_in_place_first(f, x):
    return torch.stack([jacrev(f)(row) for row in x.detach_()])


WRONG = [
    Mistake("leave the caller's x as it is", caught_by="", batch_jacobian=_detach_in_place_first),
    Mistake("must not change x and y", caught_by="", per_sample_grads=_scale_x_in_place),
    Mistake("leave both in the dtype", caught_by="", batch_jacobian=lambda f, x: _sum_trick(f, x.to(torch.float32))),
    Mistake("there is no graph to go back", caught_by="", per_sample_grads=_without_grad_mode),
    Mistake("the first walk freed it", caught_by="", batch_jacobian=_a_backward_for_each_output),
    Mistake(
        "row i should be the gradient of sample i alone",
        caught_by="",
        per_sample_grads=lambda m, f, x, y: {name: g.flip(0) for name, g in _loop(m, f, x, y).items()},
    ),
    Mistake("the Jacobian (out, in) of f at row i", caught_by="", batch_jacobian=lambda f, x: jacrev(f)(x)[:, :, 0]),
    Mistake("all zeros, as when the loss does not use the params", caught_by="", per_sample_grads=_params_unused),
    Mistake("all zeros, as when the loss does not use the params", caught_by="", per_sample_grads=_item),
    Mistake("every sample got the batch's mean", caught_by="", per_sample_grads=_repeat),
    Mistake("divided by N", caught_by="", per_sample_grads=_slices_of_the_mean),
    Mistake("backward adds to .grad", caught_by="", per_sample_grads=_never_zeroed),
    Mistake("you left gradients in the .grad", caught_by="", per_sample_grads=_cleared_before_only),
    Mistake("the keys should be the names", caught_by="", per_sample_grads=_by_parameter),
    Mistake("the gradient of loss_fn's mean", caught_by="", per_sample_grads=_summed_loss),
    Mistake("every output by every input", caught_by="", batch_jacobian=_full),
    Mistake("the outputs were added up", caught_by="", batch_jacobian=_backwards_sum),
    Mistake("transposed", caught_by="", batch_jacobian=lambda f, x: _sum_trick(f, x).transpose(1, 2)),
]
