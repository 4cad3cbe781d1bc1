"""Gradients add up: reference.

Hint: Where does each gradient live? backward adds to one tensor, w.grad, for as long as it is there.
Hint: `.clone()` takes a snapshot; `w.grad = None` makes room for a new one; `torch.autograd.grad` returns its own.
Hint: Per loss, ask torch.autograd.grad with `retain_graph=True`; `materialize_grads=True` stands for zeros.

Why: `.grad` is an accumulator that belongs to the leaf. Adding is right when pieces of one batch follow each other, and
wrong when two questions must be told apart; then ask torch.autograd.grad, which returns gradients and leaves no
trace. None is not the same as zeros: an optimizer skips a parameter whose .grad is None, and moves one whose .grad
is 0 (by momentum or decay). And a graph's saved tensors go at the first backward, unless you keep them.
"""

from collections.abc import Callable, Sequence

import torch

from dojo import Mistake


def grad_history(loss_fn: Callable[[torch.Tensor], torch.Tensor], w: torch.Tensor, n: int) -> list[torch.Tensor]:
    history = []
    for _ in range(n):
        loss_fn(w).backward()
        history.append(w.grad.clone())
    return history


def fresh_grads(loss_fn: Callable[[torch.Tensor], torch.Tensor], w: torch.Tensor, n: int) -> list[torch.Tensor]:
    return [torch.autograd.grad(loss_fn(w), w)[0] for _ in range(n)]


def per_loss_grads(losses: Sequence[torch.Tensor], params: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    return [list(torch.autograd.grad(loss, params, retain_graph=True, materialize_grads=True)) for loss in losses]


def _history_of_references(loss_fn, w, n):
    history = []
    for _ in range(n):
        loss_fn(w).backward()
        history.append(w.grad)
    return history


def _history_detached(loss_fn, w, n):
    history = []
    for _ in range(n):
        loss_fn(w).backward()
        history.append(w.grad.detach())
    return history


def _history_with_reset(loss_fn, w, n):
    history = []
    for _ in range(n):
        w.grad = None
        loss_fn(w).backward()
        history.append(w.grad)
    return history


def _history_of_one_graph(loss_fn, w, n):
    loss = loss_fn(w)
    history = []
    for _ in range(n):
        loss.backward()
        history.append(w.grad.clone())
    return history


def _history_too_early(loss_fn, w, n):
    history = []
    for _ in range(n):
        history.append(w.grad if w.grad is None else w.grad.clone())
        loss_fn(w).backward()
    return history


def _zero_first(loss_fn, w, n):
    grads = []
    for _ in range(n):
        w.grad.zero_()
        loss_fn(w).backward()
        grads.append(w.grad.clone())
    return grads


def _zero_if_there(loss_fn, w, n):
    grads = []
    for _ in range(n):
        if w.grad is not None:
            w.grad.zero_()
        loss_fn(w).backward()
        grads.append(w.grad)
    return grads


def _reset_afterwards(loss_fn, w, n):
    grads = []
    for _ in range(n):
        loss_fn(w).backward()
        grads.append(w.grad)
        w.grad = None
    return grads


def _reset_once(loss_fn, w, n):
    w.grad = None
    return grad_history(loss_fn, w, n)


def _backward_and_clone(losses, params):
    rows = []
    for loss in losses:
        loss.backward(retain_graph=True)
        rows.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in params])
    return rows


def _backward_and_reference(losses, params):
    rows = []
    for loss in losses:
        loss.backward(retain_graph=True)
        rows.append([torch.zeros_like(p) if p.grad is None else p.grad for p in params])
    return rows


def _backward_and_reset(losses, params):
    rows = []
    for loss in losses:
        for p in params:
            p.grad = None
        loss.backward(retain_graph=True)
        rows.append([torch.zeros_like(p) if p.grad is None else p.grad for p in params])
    return rows


def _backward_and_clean_up(losses, params):
    rows = _backward_and_reset(losses, params)
    for p in params:
        p.grad = None
    return rows


def _without_retain(losses, params):
    return [list(torch.autograd.grad(loss, params, materialize_grads=True)) for loss in losses]


def _kept_for_the_second(losses, params):
    return [
        list(torch.autograd.grad(loss, params, retain_graph=i == 0, materialize_grads=True))
        for i, loss in enumerate(losses)
    ]


def _only_used(losses, params):
    return [[g for g in row if g is not None] for row in _with_none(losses, params)]


def _with_none(losses, params):
    return [list(torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True)) for loss in losses]


def _no_unused(losses, params):
    return [list(torch.autograd.grad(loss, params, retain_graph=True)) for loss in losses]


def _scalar_zeros(losses, params):
    zero = torch.tensor(0.0, dtype=torch.float64)
    return [[zero if g is None else g for g in row] for row in _with_none(losses, params)]


def _all_at_once(losses, params):
    return [list(torch.autograd.grad(losses, params, materialize_grads=True))] * len(losses)


def _turned(losses, params):
    return [list(column) for column in zip(*per_loss_grads(losses, params), strict=True)]


def _times_zero(loss_fn, w, n):
    grads = []
    for _ in range(n):
        if w.grad is not None:
            w.grad *= 0
        loss_fn(w).backward()
        grads.append(w.grad.clone())
    return grads


_HISTORY = "test_every_backward_adds_to_the_same_grad"
_SEPARATED = "test_losses_on_one_graph_can_be_separated"
_UNUSED = "test_a_parameter_that_a_loss_does_not_use_gets_zeros"


def _history_copied_at_the_end(loss_fn, w, n):
    for _ in range(n):
        loss_fn(w).backward()
    return [w.grad.clone() for _ in range(n)]


def _history_zeroed(loss_fn, w, n):
    history = []
    for _ in range(n):
        w.grad.zero_()
        loss_fn(w).backward()
        history.append(w.grad.clone())
    return history


def _one_run_copied(loss_fn, w, n):
    (gradient,) = torch.autograd.grad(loss_fn(w), w)
    return [gradient.clone() for _ in range(n)]


def _park_only_these(losses, params):
    parked, rows = [p.grad for p in params], []
    for loss in losses:
        for p in params:
            p.grad = None
        loss.backward(retain_graph=True)
        rows.append([torch.zeros_like(p) if p.grad is None else p.grad for p in params])
    for p, grad in zip(params, parked, strict=True):
        p.grad = grad
    return rows


def _history_that_begins_with_none(loss_fn, w, n):
    w.grad = None
    return grad_history(loss_fn, w, n)


def _history_summed_up(loss_fn, w, n):
    """Right where w.grad is None; w.grad itself is never looked at."""
    history = []
    for _ in range(n):
        (gradient,) = torch.autograd.grad(loss_fn(w), w)
        history.append(gradient + history[-1] if history else gradient)
    return history


def _history_as_new_tensors(loss_fn, w, n):
    history = []
    for _ in range(n):
        loss_fn(w).backward()
        history.append(torch.tensor(w.grad.tolist()))
    return history


def _history_of_numbers(loss_fn, w, n):
    history = []
    for _ in range(n):
        loss_fn(w).backward()
        history.append(w.grad.tolist())
    return history


def _run_in_a_copy(loss_fn, w, n):
    """A copy has no .grad at first, but it keeps it."""
    copied = w.detach().clone().requires_grad_()
    return grad_history(loss_fn, copied, n)


def _zeros_without_dtype(losses, params):
    return [
        [torch.zeros(p.shape) if g is None else g for p, g in zip(params, row, strict=True)]
        for row in _with_none(losses, params)
    ]


def _kept_by_create_graph(losses, params):
    return [list(torch.autograd.grad(loss, params, create_graph=True, materialize_grads=True)) for loss in losses]


def _fresh_by_difference(loss_fn, w, n):
    grads = []
    for _ in range(n):
        before = torch.zeros_like(w) if w.grad is None else w.grad.clone()
        loss_fn(w).backward()
        grads.append(w.grad - before)
    return [g.detach() for g in grads]


MISTAKES = [
    Mistake(
        "neither inf * 0 nor inf - inf is 0",
        caught_by="test_a_gradient_that_was_left_over_is_no_part_of_the_next",
        fresh_grads=_times_zero,
    ),
    Mistake(
        "differences of sums lose digits",
        caught_by="test_a_gradient_that_was_left_over_is_no_part_of_the_next",
        fresh_grads=_fresh_by_difference,
    ),
    Mistake("alone, with respect to params[0]", caught_by=_SEPARATED, per_loss_grads=_kept_by_create_graph),
    Mistake("it is not in your sums", caught_by=_HISTORY, grad_history=_history_that_begins_with_none),
    Mistake("it is not in your sums", caught_by=_HISTORY, grad_history=_history_summed_up),
    Mistake("snapshot 0 of a w of float64", caught_by=_HISTORY, grad_history=_history_as_new_tensors),
    Mistake("snapshot 0 of a w of float64", caught_by=_HISTORY, grad_history=_history_of_numbers),
    Mistake(
        "only the first is fresh",
        caught_by="test_a_gradient_that_was_left_over_is_no_part_of_the_next",
        fresh_grads=_run_in_a_copy,
    ),
    Mistake("zeros in its shape and dtype", caught_by=_UNUSED, per_loss_grads=_zeros_without_dtype),
    Mistake("take each snapshot right after", caught_by=_HISTORY, grad_history=_history_copied_at_the_end),
    Mistake("there is nothing to zero", caught_by=_HISTORY, grad_history=_history_zeroed),
    Mistake(
        "run it n times",
        caught_by="test_zeroing_in_place_keeps_the_same_tensor",
        fresh_grads=_one_run_copied,
    ),
    Mistake(
        "b was not asked about",
        caught_by="test_autograd_grad_leaves_dot_grad_alone",
        per_loss_grads=_park_only_these,
    ),
    Mistake("you stored .grad itself", caught_by=_HISTORY, grad_history=_history_of_references),
    Mistake("you stored .grad itself", caught_by=_HISTORY, grad_history=_history_detached),
    Mistake("you reset .grad between the backwards", caught_by=_HISTORY, grad_history=_history_with_reset),
    Mistake("a graph serves one backward", caught_by=_HISTORY, grad_history=_history_of_one_graph),
    Mistake(".grad was None when you read it", caught_by=_HISTORY, grad_history=_history_too_early),
    Mistake(
        "w.grad is None before the first backward",
        caught_by="test_grad_is_none_before_the_first_backward_and_after_zero_grad",
        fresh_grads=_zero_first,
    ),
    Mistake(
        "zeroing in place keeps the memory",
        caught_by="test_zeroing_in_place_keeps_the_same_tensor",
        fresh_grads=_zero_if_there,
    ),
    Mistake(
        "it is in your first gradient",
        caught_by="test_a_gradient_that_was_left_over_is_no_part_of_the_next",
        fresh_grads=_reset_afterwards,
    ),
    Mistake(
        "reset .grad before every backward",
        caught_by="test_a_gradient_that_was_left_over_is_no_part_of_the_next",
        fresh_grads=_reset_once,
    ),
    Mistake("the second gradient is the sum of both", caught_by=_SEPARATED, per_loss_grads=_backward_and_clone),
    Mistake("both losses got the same tensor", caught_by=_SEPARATED, per_loss_grads=_backward_and_reference),
    Mistake("the losses share a graph", caught_by=_SEPARATED, per_loss_grads=_without_retain),
    Mistake("the losses share a graph", caught_by=_SEPARATED, per_loss_grads=_kept_for_the_second),
    Mistake("each loss has one gradient per parameter", caught_by=_UNUSED, per_loss_grads=_only_used),
    Mistake("both losses got the same tensor", caught_by=_SEPARATED, per_loss_grads=_all_at_once),
    Mistake("expected one list per loss", caught_by=_SEPARATED, per_loss_grads=_turned),
    Mistake(
        "params[0].grad was None and is not any more",
        caught_by="test_autograd_grad_leaves_dot_grad_alone",
        per_loss_grads=_backward_and_reset,
    ),
    Mistake(
        "nobody's .grad may change",
        caught_by="test_autograd_grad_leaves_dot_grad_alone",
        per_loss_grads=_backward_and_clean_up,
    ),
    Mistake("you returned None for an unused parameter", caught_by=_UNUSED, per_loss_grads=_with_none),
    Mistake("losses[0] does not use params[0]", caught_by=_UNUSED, per_loss_grads=_no_unused),
    Mistake("zeros in its shape and dtype", caught_by=_UNUSED, per_loss_grads=_scalar_zeros),
]
