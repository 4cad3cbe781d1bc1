"""Gradients of gradients: reference.

Hint: A gradient is a tensor like any other. To differentiate it, autograd must have recorded how it was computed.
Hint: `torch.autograd.grad(..., create_graph=True)` returns gradients that have a graph. Before you differentiate
    again, look at `requires_grad` of what you have.
Hint: Samples do not mix, so the gradient of the *sum* of the outputs by x holds each sample's own gradient in its row.
    Take it by a detached alias of x that requires grad, then one norm per row.

Why: create_graph records the backward pass; retain_graph only keeps the forward graph for another walk. A derivative
that no longer depends on x has nothing to record, so the general answer must treat "requires no grad" as 0. In the
penalty, x.detach().requires_grad_() is a new leaf on the same memory: the caller's x stays as it was. And
backward(create_graph=True) would fill every .grad, which then hold their own graphs: a reference cycle, and a leak.
"""

from collections.abc import Callable

import torch
from torch import nn

from dojo import Mistake


def nth_derivative(f: Callable[[torch.Tensor], torch.Tensor], x0: float, n: int) -> float:
    x = torch.tensor(x0, requires_grad=True)
    y = f(x)
    for _ in range(n):
        if not y.requires_grad:
            return 0.0
        (y,) = torch.autograd.grad(y, x, create_graph=True)
    return y.item()


def gradient_penalty(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    leaf = x.detach().requires_grad_()
    (g,) = torch.autograd.grad(model(leaf).sum(), leaf, create_graph=True)
    return (g.norm(dim=1) - 1).pow(2).mean()


def _derivative(f, x0, n, **options):
    x = torch.tensor(x0, requires_grad=True)
    y = f(x)
    for _ in range(n):
        (y,) = torch.autograd.grad(y, x, **options)
    return y.item()


def _zero_where_it_fails(f, x0, n):
    try:
        return _derivative(f, x0, n, retain_graph=True)
    except RuntimeError:
        return 0.0


def _accumulate(f, x0, n):
    x = torch.tensor(x0, requires_grad=True)
    y = f(x)
    for _ in range(n):
        if not y.requires_grad:
            return 0.0
        y.backward(create_graph=True)
        y = x.grad
    return y.item()


def _one_too_many(f, x0, n):
    return nth_derivative(f, x0, n + 1)


def _return_tensor(f, x0, n):
    return torch.tensor(nth_derivative(f, x0, n))


def _stop_at_zero(f, x0, n):
    x = torch.tensor(x0, requires_grad=True)
    y = f(x)
    for k in range(n):
        if not y.requires_grad or (k > 0 and y == 0):
            return 0.0
        (y,) = torch.autograd.grad(y, x, create_graph=True)
    return y.item()


def _rows(model, x, create_graph=True, **options):
    leaf = x.detach().requires_grad_()
    return torch.autograd.grad(model(leaf).sum(), leaf, create_graph=create_graph, **options)[0]


def _without_a_graph(model, x):
    return (_rows(model, x, create_graph=False).norm(dim=1) - 1).pow(2).mean()


def _retained_only(model, x):
    return (_rows(model, x, create_graph=False, retain_graph=True).norm(dim=1) - 1).pow(2).mean()


def _root_by_hand(model, x):
    return (_rows(model, x).pow(2).sum(1).sqrt() - 1).pow(2).mean()


def _one_factor_detached(model, x):
    distance = _rows(model, x).norm(dim=1) - 1
    return (distance * distance.detach()).mean()


def _squeeze_the_batch(model, x):
    return (_rows(model, x).squeeze().norm(dim=1) - 1).pow(2).mean()


def _norm_of_the_batch(model, x):
    return (_rows(model, x).norm() - 1) ** 2


def _squared_norms(model, x):
    return (_rows(model, x).pow(2).sum(1) - 1).pow(2).mean()


def _square_of_the_mean(model, x):
    return (_rows(model, x).norm(dim=1).mean() - 1) ** 2


def _sum_of_the_samples(model, x):
    return (_rows(model, x).norm(dim=1) - 1).pow(2).sum()


def _norm_down_the_batch(model, x):
    return (_rows(model, x).norm(dim=0) - 1).pow(2).mean()


def _no_minus_one(model, x):
    return _rows(model, x).norm(dim=1).pow(2).mean()


def _mean_of_the_outputs(model, x):
    leaf = x.detach().requires_grad_()
    (g,) = torch.autograd.grad(model(leaf).mean(), leaf, create_graph=True)
    return (g.norm(dim=1) - 1).pow(2).mean()


def _callers_x(model, x):
    x.requires_grad_()
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return (g.norm(dim=1) - 1).pow(2).mean()


def _through_backward(model, x):
    leaf = x.detach().requires_grad_()
    model(leaf).sum().backward(create_graph=True)
    return (leaf.grad.norm(dim=1) - 1).pow(2).mean()


def _train_again(model, x):
    penalty = gradient_penalty(model.eval(), x)
    model.train()
    return penalty


def _in_float32(model, x):
    return gradient_penalty(model, x.float())


def _by_x_itself(model, x):
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return (g.norm(dim=1) - 1).pow(2).mean()


def _one_sided(model, x):
    return (_rows(model, x).norm(dim=1) - 1).clamp(min=0).pow(2).mean()


def _first_sample(model, x):
    leaf = x.detach().requires_grad_()
    (g,) = torch.autograd.grad(model(leaf)[0], leaf, create_graph=True)
    return (g.norm(dim=1) - 1).pow(2).mean()


def _freeze_the_weights(model, x):
    penalty = gradient_penalty(model, x)
    model.requires_grad_(False)
    return penalty


_AGAIN = "test_a_gradient_can_be_differentiated_again"
_LINE = "test_the_slope_of_a_line_has_no_graph_at_all"
_SINE = "test_four_derivatives_turn_a_sine_into_itself"
_NORM = "test_each_sample_has_a_norm_of_its_own"
_WEIGHTS = "test_the_penalty_trains_the_weights"
_NOBODY = "test_autograd_grad_writes_into_nobodys_grad"

_RETAIN = "and retain_graph does not"


def _backward_and_wipe(model, x):
    leaf = x.clone().requires_grad_()
    model(leaf).sum().backward(create_graph=True)
    model.zero_grad()
    return (leaf.grad.norm(dim=1) - 1).square().mean()


def _in_eval_mode(model, x):
    model.eval()
    return gradient_penalty(model, x)


def _first_without_a_look(f, x0, n):
    x = torch.tensor(x0, requires_grad=True)
    (y,) = torch.autograd.grad(f(x), x, create_graph=True)
    for _ in range(n - 1):
        if not y.requires_grad:
            return 0.0
        (y,) = torch.autograd.grad(y, x, create_graph=True)
    return y.item()


def _constant_without_grad_fn(f, x0, n):
    x = torch.tensor(x0, requires_grad=True)
    y = f(x)
    for _ in range(n):
        if y.grad_fn is None:
            return 0.0
        (y,) = torch.autograd.grad(y, x, create_graph=True)
    return y.item()


MISTAKES = [
    Mistake("7 does not depend on x at all", caught_by=_LINE, nth_derivative=_first_without_a_look),
    Mistake("a root has the slope inf at 0", caught_by=_WEIGHTS, gradient_penalty=_root_by_hand),
    Mistake(
        "of x, a leaf without grad_fn",
        caught_by="test_the_slope_of_a_line_has_no_graph_at_all",
        nth_derivative=_constant_without_grad_fn,
    ),
    Mistake(_RETAIN, caught_by=_AGAIN, nth_derivative=_derivative),
    Mistake(_RETAIN, caught_by=_AGAIN, nth_derivative=lambda f, x0, n: _derivative(f, x0, n, retain_graph=True)),
    Mistake("should be 18.0", caught_by=_AGAIN, nth_derivative=_zero_where_it_fails),
    Mistake("45 = 27 + 18", caught_by=_AGAIN, nth_derivative=_accumulate),
    Mistake("should be 27.0", caught_by=_AGAIN, nth_derivative=_one_too_many),
    Mistake("nth_derivative returns a float", caught_by=_AGAIN, nth_derivative=_return_tensor),
    Mistake(
        "the slope of 2x does not depend on x",
        caught_by=_LINE,
        nth_derivative=lambda f, x0, n: _derivative(f, x0, n, create_graph=True),
    ),
    Mistake("a derivative that is 0 at one point", caught_by=_SINE, nth_derivative=_stop_at_zero),
    Mistake("you took one norm over the whole batch", caught_by=_NORM, gradient_penalty=_norm_of_the_batch),
    Mistake("without the square root", caught_by=_NORM, gradient_penalty=_squared_norms),
    Mistake("square the distance of each sample", caught_by=_NORM, gradient_penalty=_square_of_the_mean),
    Mistake("that is the sum over the samples", caught_by=_NORM, gradient_penalty=_sum_of_the_samples),
    Mistake("‖gradient of that sample‖ - 1", caught_by=_NORM, gradient_penalty=_norm_down_the_batch),
    Mistake("‖gradient of that sample‖ - 1", caught_by=_NORM, gradient_penalty=_no_minus_one),
    Mistake("‖gradient of that sample‖ - 1", caught_by=_NORM, gradient_penalty=_one_sided),
    Mistake("‖gradient of that sample‖ - 1", caught_by=_NORM, gradient_penalty=_first_sample),
    Mistake("you differentiated the mean of the outputs", caught_by=_NORM, gradient_penalty=_mean_of_the_outputs),
    Mistake("no gradient reaches the weights", caught_by=_WEIGHTS, gradient_penalty=_without_a_graph),
    Mistake("raised on x of shape (1, 3)", caught_by=_NORM, gradient_penalty=_squeeze_the_batch),
    Mistake("differs from a finite difference", caught_by=_WEIGHTS, gradient_penalty=_one_factor_detached),
    Mistake(_RETAIN, caught_by=_WEIGHTS, gradient_penalty=_retained_only),
    Mistake("x is not as it was: requires_grad", caught_by=_NOBODY, gradient_penalty=_callers_x),
    Mistake("backward() writes into every leaf", caught_by=_NOBODY, gradient_penalty=_through_backward),
    Mistake("you cleared the .grad of", caught_by=_NOBODY, gradient_penalty=_backward_and_wipe),
    Mistake("each module should keep its mode", caught_by=_NOBODY, gradient_penalty=_in_eval_mode),
    Mistake("each module should keep its mode", caught_by=_NOBODY, gradient_penalty=_train_again),
    Mistake("x and the model are torch.float64", caught_by=_WEIGHTS, gradient_penalty=_in_float32),
    Mistake("take an alias of it that does", caught_by=_NORM, gradient_penalty=_by_x_itself),
    Mistake("the model would not train any more", caught_by=_NOBODY, gradient_penalty=_freeze_the_weights),
]

KEEP = {"test_a_gradient_can_be_differentiated_again": "it is the fact itself, in numbers that you can check by hand"}
