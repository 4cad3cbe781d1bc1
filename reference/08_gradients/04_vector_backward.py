"""Backward from a vector: reference.

Hint: Which v picks out one row of J? And which tensor may carry the gradient, if x itself must not change?
Hint: `torch.autograd.grad` takes the weights as `grad_outputs`, keeps a graph with `retain_graph`, and spares `.grad`.
Hint: Work on `x.detach()` with a gradient required. The rows of a `torch.eye`, in y's dtype, are weights for rows of J.

Why: Reverse mode computes v @ J at about the cost of one forward pass, whatever the size of J; a loss is the case of
one output, where v is just 1. A whole Jacobian costs one pass per output. So the weights are the interface: they are
what a layer receives from the layers above it, and what a backward that you write yourself must multiply by.
"""

from collections.abc import Callable

import torch

from dojo import Mistake


def vjp(f: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(f(x), x, grad_outputs=v)[0]


def jacobian(f: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    x = x.detach().requires_grad_()
    y = f(x)
    weights = torch.eye(y.numel(), dtype=y.dtype, device=y.device)
    return torch.stack([torch.autograd.grad(y, x, v, retain_graph=True)[0] for v in weights])


def _leaf(x):
    return x.detach().clone().requires_grad_()


def _no_weights(f, x, v):
    x = _leaf(x)
    f(x).backward()
    return x.grad


def _weights_of_one(f, x, v):
    x = _leaf(x)
    f(x).sum().backward()
    return x.grad


def _ones(f, x, v):
    x = _leaf(x)
    y = f(x)
    y.backward(torch.ones_like(y))
    return x.grad


def _mean(f, x, v):
    x = _leaf(x)
    (f(x) * v).mean().backward()
    return x.grad


def _weighed_too_late(f, x, v):
    return _weights_of_one(f, x, v) * v


def _forward_way(f, x, v):
    return jacobian(f, x) @ v


def _the_tuple(f, x, v):
    x = _leaf(x)
    return torch.autograd.grad(f(x), x, v)


def _nothing(f, x, v):
    x = _leaf(x)
    return f(x).backward(v)


def _on_x_itself(f, x, v):
    x.requires_grad_()
    f(x).backward(v)
    return x.grad


def _switched_on(f, x, v):
    x.requires_grad_()
    return torch.autograd.grad(f(x), x, v)[0]


def _no_leaf(f, x, v):
    return torch.autograd.grad(f(x), x, v)[0]


def _graph_freed(f, x):
    x = _leaf(x)
    y = f(x)
    return torch.stack([torch.autograd.grad(y_i, x)[0] for y_i in y])


def _graph_kept_once(f, x):
    x = _leaf(x)
    y = f(x)
    return torch.stack([torch.autograd.grad(y[i], x, retain_graph=i < 2)[0] for i in range(len(y))])


def _aliases(f, x):
    x = _leaf(x)
    y, rows = f(x), []
    for i in range(len(y)):
        if x.grad is not None:
            x.grad.zero_()
        y[i].backward(retain_graph=True)
        rows.append(x.grad)
    return torch.stack(rows)


def _sums(f, x):
    x = _leaf(x)
    y, rows = f(x), []
    for i in range(len(y)):
        y[i].backward(retain_graph=True)
        rows.append(x.grad.clone())
    return torch.stack(rows)


def _rows_of_inputs(f, x):
    x = _leaf(x)
    y = f(x)
    return torch.stack([torch.autograd.grad(y[i], x, retain_graph=True)[0] for i in range(len(x))])


def _one_row(f, x):
    x = _leaf(x)
    f(x).sum().backward()
    return x.grad


def _on_x_itself_rows(f, x):
    x.requires_grad_()
    y, rows = f(x), []
    for i in range(len(y)):
        x.grad = None
        y[i].backward(retain_graph=True)
        rows.append(x.grad)
    return torch.stack(rows)


def _float32_weights(f, x):
    x = _leaf(x)
    y = f(x)
    return torch.stack([torch.autograd.grad(y, x, v, retain_graph=True)[0] for v in torch.eye(len(y))])


def _float32_result(f, x):
    x = _leaf(x)
    y = f(x)
    rows = torch.zeros(len(y), len(x))
    for i in range(len(y)):
        rows[i] = torch.autograd.grad(y[i], x, retain_graph=True)[0]
    return rows


def _shifted(f, x, h=1e-3):
    columns = []
    for j in range(len(x)):
        step = torch.zeros_like(x)
        step[j] = h
        columns.append((f(x + step) - f(x)) / h)
    return torch.stack(columns, dim=1)


def _both_results(f, x, v):
    return torch.autograd.functional.vjp(f, x.detach(), v)


def _on_x_and_cleared(f, x, v):
    needed = x.requires_grad
    x.requires_grad_()
    x.grad = None
    f(x).backward(v)
    gradient, x.grad = x.grad, None
    x.requires_grad_(needed)
    return gradient


def _middle_difference(f, x, h=1e-5):
    columns = [(f(x.double() + h * e) - f(x.double() - h * e)) / (2 * h) for e in torch.eye(len(x)).double()]
    return torch.stack(columns, dim=1).to(x.dtype).detach()


def _rows_through_float32(f, x):
    return jacobian(f, x).float().to(x.dtype)


def _vjp_through_float32(f, x, v):
    return vjp(f, x, v).float().to(x.dtype)


def _on_a_clone(f, x, v):
    """The clone of an x that requires a gradient is no leaf."""
    x = x.clone()
    if not x.requires_grad:
        x.requires_grad_()
    f(x).backward(v, inputs=[x])
    return x.grad if x.is_leaf else None


def _weights_written_into(f, x, v):
    x = _leaf(x)
    y = f(x)
    rows, weights = [], torch.zeros_like(y)
    for i in range(len(y)):
        weights[i] = 1
        rows.append(torch.autograd.grad(y, x, weights, retain_graph=True)[0])
    return (v @ torch.stack(rows)).detach()


_VJP = "test_the_weights_say_what_is_summed"
_LEFT = "test_weights_multiply_the_jacobian_from_the_left"
_ROWS = "test_each_row_of_the_jacobian_is_a_backward_of_its_own"
_SHAPE = "test_a_jacobian_has_a_row_per_output_and_a_column_per_input"
_SAVED = "test_a_graph_that_saved_its_result_serves_every_row"
_UNCHANGED = "test_x_is_as_it_was_afterwards"

_rows: dict = {}


def _kept_by_shape(f, x):
    if (f, x.shape) not in _rows:
        _rows[f, x.shape] = jacobian(f, x)
    return _rows[f, x.shape]


MISTAKES = [
    Mistake("1 - tanh(x)**2 on the diagonal, exact", caught_by=_SAVED, jacobian=_kept_by_shape),
    Mistake("backward needs a weight for each output", caught_by=_VJP, vjp=_no_weights),
    Mistake("you used weights of 1", caught_by=_VJP, vjp=_weights_of_one),
    Mistake("you used weights of 1", caught_by=_VJP, vjp=_ones),
    Mistake("the weighted sum was asked for, not the mean", caught_by=_VJP, vjp=_mean),
    Mistake("torch.autograd.grad returns a tuple", caught_by=_VJP, vjp=_the_tuple),
    Mistake("you returned two things", caught_by=_VJP, vjp=_both_results),
    Mistake("it is not yours", caught_by=_UNCHANGED, vjp=_on_x_and_cleared),
    Mistake("backward returns nothing", caught_by=_VJP, vjp=_nothing),
    Mistake("v belongs into the backward", caught_by=_LEFT, vjp=_weighed_too_late),
    Mistake("v belongs into the backward", caught_by=_LEFT, vjp=_forward_way),
    Mistake("a backward down to x leaves its traces there", caught_by=_UNCHANGED, vjp=_on_x_itself),
    Mistake("and you switched it", caught_by=_UNCHANGED, vjp=_switched_on),
    Mistake("work on a leaf of your own", caught_by=_UNCHANGED, vjp=_no_leaf),
    Mistake("Graph already freed", caught_by=_ROWS, jacobian=_graph_freed),
    Mistake(
        "Graph already freed",
        caught_by=_SAVED,
        jacobian=_graph_kept_once,
    ),
    Mistake(
        "1 - tanh(x)**2 on the diagonal, exact",
        caught_by=_SAVED,
        jacobian=_float32_result,
    ),
    Mistake("1 - tanh(x)**2 on the diagonal, exact", caught_by=_SAVED, jacobian=_middle_difference),
    Mistake("1 - tanh(x)**2 on the diagonal, exact", caught_by=_SAVED, jacobian=_rows_through_float32),
    Mistake("v * (1 - tanh(x)**2), exact", caught_by=_SAVED, vjp=_vjp_through_float32),
    Mistake("got None where a tensor was expected", caught_by=_UNCHANGED, vjp=_on_a_clone),
    Mistake("1*y[0] + 10*y[1] + 100*y[2]", caught_by=_VJP, vjp=_weights_written_into),
    Mistake("each row is the last one: aliasing", caught_by=_ROWS, jacobian=_aliases),
    Mistake("each row has those before it in it: .grad adds up", caught_by=_ROWS, jacobian=_sums),
    Mistake("you returned the transpose", caught_by=_ROWS, jacobian=lambda f, x: jacobian(f, x).t()),
    Mistake("as many rows as outputs", caught_by=_SHAPE, jacobian=_rows_of_inputs),
    Mistake("also where one of them is 1", caught_by=_SHAPE, jacobian=lambda f, x: jacobian(f, x).squeeze()),
    Mistake("J[i, j] is the slope of output i along input j", caught_by=_ROWS, jacobian=_one_row),
    Mistake("a backward down to x leaves its traces there", caught_by=_UNCHANGED, jacobian=_on_x_itself_rows),
    Mistake("is the slope of output i along input j", caught_by=_ROWS, jacobian=_shifted),
]

KEEP = {
    _VJP: "it is the fact itself, in the plainest case",
    _ROWS: "it tells the mistakes apart that the shapes below only reject",
}
