"""Answers that people give to accumulate_or_separate, right ones and wrong ones."""

import copy

import torch

from dojo import Mistake


def _history_of_one_retained_graph(loss_fn, w, n):
    loss, history = loss_fn(w), []
    for _ in range(n):
        loss.backward(retain_graph=True)
        history.append(copy.deepcopy(w.grad))
    return history


def _fresh_with_none(loss_fn, w, n):
    grads = []
    for _ in range(n):
        w.grad = None
        loss_fn(w).backward()
        grads.append(w.grad)
    return grads


def _fresh_with_zeros(loss_fn, w, n):
    grads = []
    for _ in range(n):
        if w.grad is not None:
            w.grad.zero_()
        torch.autograd.backward(loss_fn(w))
        grads.append(w.grad.detach().clone())
    return grads


def _fresh_with_an_optimizer(loss_fn, w, n):
    optimizer, grads = torch.optim.SGD([w], lr=1.0), []
    for _ in range(n):
        optimizer.zero_grad()
        loss_fn(w).backward()
        grads.append(w.grad)
    return grads


def _fresh_by_difference(loss_fn, w, n):
    sums = [torch.zeros_like(w) if w.grad is None else w.grad.clone()]
    for _ in range(n):
        loss_fn(w).backward()
        sums.append(w.grad.clone())
    return list(torch.stack(sums).diff(dim=0))


def _fill_none(losses, params):
    rows = []
    for i, loss in enumerate(losses):
        grads = torch.autograd.grad(loss, params, retain_graph=i < len(losses) - 1, allow_unused=True)
        rows.append([torch.zeros_like(p) if g is None else g for p, g in zip(params, grads, strict=True)])
    return rows


def _park_grads(losses, params):
    parked, rows = [p.grad for p in params], []
    for loss in losses:
        for p in params:
            p.grad = None
        loss.backward(retain_graph=True, inputs=list(params))
        rows.append([torch.zeros_like(p) if p.grad is None else p.grad for p in params])
    for p, grad in zip(params, parked, strict=True):
        p.grad = grad
    return rows


def _one_parameter_at_a_time(losses, params):
    return [
        [torch.autograd.grad(loss, p, retain_graph=True, allow_unused=True, materialize_grads=True)[0] for p in params]
        for loss in losses
    ]


def _grad_data(loss_fn, w, n):
    history = []
    for _ in range(n):
        loss_fn(w).backward()
        history += [w.grad.data]
    return history


def _set_none_at_the_end(loss_fn, w, n):
    grads = []
    for _ in range(n):
        loss_fn(w).backward()
        grads.append(w.grad.clone())
        w.grad = None
    return grads


def _zero_in_place(loss_fn, w, n):
    optimizer, grads = torch.optim.SGD([w], lr=1.0), []
    for _ in range(n):
        optimizer.zero_grad(set_to_none=False)
        loss_fn(w).backward()
        grads.append(w.grad)
    return grads


def _numpy_zero(loss_fn, w, n):
    grads = []
    for _ in range(n):
        w.grad *= 0
        loss_fn(w).backward()
        grads.append(w.grad.clone())
    return grads


def _backward_per_loss(losses, params):
    rows = []
    for loss in losses:
        torch.autograd.backward(loss, retain_graph=True, inputs=list(params))
        rows.append([p.grad.clone() if p.grad is not None else torch.zeros_like(p) for p in params])
    return rows


def _retain_but_not_enough(losses, params):
    return [
        list(torch.autograd.grad(loss, params, retain_graph=i > 0, materialize_grads=True))
        for i, loss in enumerate(losses)
    ]


def _float32_zeros(losses, params):
    rows = []
    for loss in losses:
        grads = torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True)
        rows.append([torch.zeros(1) if g is None else g for g in grads])
    return rows


def _only_used(losses, params):
    return [
        [g for g in torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True) if g is not None]
        for loss in losses
    ]


def _all_in_one_batch(losses, params):
    stacked = torch.stack(list(losses))
    eye = torch.eye(len(losses), dtype=stacked.dtype)
    grads = torch.autograd.grad(stacked, params, eye, is_grads_batched=True, allow_unused=True)
    return [
        [torch.zeros_like(p) if g is None else g[i] for p, g in zip(params, grads, strict=True)]
        for i in range(len(losses))
    ]


def _numpy_views(loss_fn, w, n):
    history = []
    for _ in range(n):
        loss_fn(w).backward()
        history.append(w.grad.numpy())
    return history


def _rows_of_one_buffer(loss_fn, w, n):
    buffer = torch.empty(n, *w.shape, dtype=w.dtype)
    for i in range(n):
        loss_fn(w).backward()
        buffer[i] = w.grad
    return list(buffer)


def _history_with_a_running_sum(loss_fn, w, n):
    for _ in range(n):
        (gradient,) = torch.autograd.grad(loss_fn(w), w)
        w.grad = gradient if w.grad is None else w.grad + gradient
        yield w.grad


def _fresh_from_copies(loss_fn, w, n):
    copies = [w.detach().clone().requires_grad_() for _ in range(n)]
    for one in copies:
        loss_fn(one).backward()
    return [one.grad for one in copies]


def _weighted(losses, params):
    rows = []
    for i in range(len(losses)):
        weights = [torch.ones_like(loss) if j == i else torch.zeros_like(loss) for j, loss in enumerate(losses)]
        grads = torch.autograd.grad(losses, params, weights, retain_graph=True, materialize_grads=True)
        rows.append([*grads])
    return rows


RIGHT = [
    {"grad_history": lambda loss_fn, w, n: list(_history_with_a_running_sum(loss_fn, w, n))},
    {"fresh_grads": _fresh_from_copies},
    {"per_loss_grads": _weighted},
    {"grad_history": _rows_of_one_buffer},
    {"grad_history": lambda loss_fn, w, n: [(loss_fn(w).backward(), w.grad + 0)[1] for _ in range(n)]},
    {"per_loss_grads": _all_in_one_batch},
    {
        "grad_history": _history_of_one_retained_graph,
        "fresh_grads": _fresh_with_none,
        "per_loss_grads": _fill_none,
    },
    {"fresh_grads": _fresh_with_zeros, "per_loss_grads": _park_grads},
    {"fresh_grads": _fresh_with_an_optimizer, "per_loss_grads": _one_parameter_at_a_time},
]


def _repeated(loss_fn, w, n):
    w.grad = None
    loss_fn(w).backward()
    return [w.grad + 0 for _ in range(n)]


def _park_grads_of(losses, params):
    kept, rows = {id(p): p.grad for p in params}, []
    for loss in losses:
        for p in params:
            p.grad = torch.zeros_like(p)
        loss.backward(retain_graph=True)
        rows.append([p.grad for p in params])
    for p in params:
        p.grad = kept[id(p)]
    return rows


def _by_a_product_with_zero(loss_fn, w, n):
    grads = []
    for _ in range(n):
        w.grad = torch.zeros_like(w) if w.grad is None else w.grad * 0
        loss_fn(w).backward()
        grads.append(w.grad)
    return grads


def _zero_grad_before(loss_fn, w, n):
    torch.optim.SGD([w], lr=0.1).zero_grad()
    return [(loss_fn(w).backward(), w.grad.clone())[1] for _ in range(n)]


WRONG = [
    Mistake("neither inf * 0 nor inf - inf is 0", caught_by="", fresh_grads=_by_a_product_with_zero),
    Mistake("differences of sums lose digits", caught_by="", fresh_grads=_fresh_by_difference),
    Mistake(
        "it is not in your sums",
        caught_by="",
        grad_history=lambda loss_fn, w, n: [
            torch.autograd.grad(loss_fn(w) * (i + 1), w)[0].to(w.dtype).clone() for i in range(n)
        ],
    ),
    Mistake("it is not in your sums", caught_by="", grad_history=_zero_grad_before),
    Mistake(
        "snapshot 0 of a w of float64",
        caught_by="",
        grad_history=lambda loss_fn, w, n: [(loss_fn(w).backward(), w.grad.float() + 0)[1] for _ in range(n)],
    ),
    Mistake("run it n times", caught_by="", fresh_grads=_repeated),
    Mistake("b was not asked about", caught_by="", per_loss_grads=_park_grads_of),
    Mistake("you stored .grad itself", caught_by="", grad_history=_numpy_views),
    Mistake("you stored .grad itself", caught_by="", grad_history=_grad_data),
    Mistake("it is in your first gradient", caught_by="", fresh_grads=_set_none_at_the_end),
    Mistake("zeroing in place keeps the memory", caught_by="", fresh_grads=_zero_in_place),
    Mistake("w.grad is None before the first backward", caught_by="", fresh_grads=_numpy_zero),
    Mistake("the second gradient is the sum of both", caught_by="", per_loss_grads=_backward_per_loss),
    Mistake("the losses share a graph", caught_by="", per_loss_grads=_retain_but_not_enough),
    Mistake("zeros in its shape and dtype", caught_by="", per_loss_grads=_float32_zeros),
    Mistake("each loss has one gradient per parameter", caught_by="", per_loss_grads=_only_used),
    Mistake(
        "you reset .grad between the backwards",
        caught_by="",
        grad_history=lambda loss_fn, w, n: [torch.autograd.grad(loss_fn(w), w)[0] for _ in range(n)],
    ),
    Mistake(
        "reset .grad before every backward",
        caught_by="",
        fresh_grads=lambda loss_fn, w, n: [
            torch.autograd.grad(sum(loss_fn(w) for _ in range(i + 1)), w)[0] for i in range(n)
        ],
    ),
]
