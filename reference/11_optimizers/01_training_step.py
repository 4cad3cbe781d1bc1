"""The training step: reference.

Hint: Ask of each line what it reads and what it writes: `.grad`, the weights, the modes.
Hint: `model.train()`, `opt.zero_grad()`, `loss.backward()`, `opt.step()`, `loss.item()`; and for the evaluation
`model.training` remembers the mode, `model.eval()`, `torch.no_grad()`, and `model.train(mode)` brings it back.
Hint: In evaluate add the item of each loss times the rows of its batch, add the rows too, and divide in the end.

Why: zero_grad may stand anywhere before backward; only between backward and step it is deadly. The loss that you log
is computed before the update, as everywhere, and as a number: a tensor would hold its graph. The mean of batch means is
wrong in proportion to how uneven the batches are, mostly in the third digit, so it is never noticed, only never
reproduced. `finally` brings the mode back also when a batch raises.
"""

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from dojo import Mistake


def train_step(
    model: nn.Module,
    opt: torch.optim.Optimizer,
    loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
) -> float:
    model.train()
    opt.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()
    opt.step()
    return loss.item()


def evaluate(
    model: nn.Module,
    loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    batches: Iterable[Sequence[torch.Tensor]],
) -> float:
    was_training = model.training
    model.eval()
    total, rows = 0.0, 0
    try:
        with torch.no_grad():
            for x, y in batches:
                total += loss_fn(model(x), y).item() * len(x)
                rows += len(x)
    finally:
        model.train(was_training)
    return total / rows


def _clears_before_the_step(model, opt, loss_fn, x, y):
    model.train()
    loss = loss_fn(model(x), y)
    loss.backward()
    opt.zero_grad()
    opt.step()
    return loss.item()


def _never_clears(model, opt, loss_fn, x, y):
    model.train()
    loss = loss_fn(model(x), y)
    loss.backward()
    opt.step()
    return loss.item()


def _clears_afterwards(model, opt, loss_fn, x, y):
    model.train()
    loss = loss_fn(model(x), y)
    loss.backward()
    opt.step()
    opt.zero_grad()
    return loss.item()


def _steps_first(model, opt, loss_fn, x, y):
    model.train()
    loss = loss_fn(model(x), y)
    opt.step()
    opt.zero_grad()
    loss.backward()
    return loss.item()


def _clears_and_steps_first(model, opt, loss_fn, x, y):
    model.train()
    opt.zero_grad()
    loss = loss_fn(model(x), y)
    opt.step()
    loss.backward()
    return loss.item()


def _no_step(model, opt, loss_fn, x, y):
    model.train()
    opt.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()
    return loss.item()


def _exchanged(model, opt, loss_fn, x, y):
    return train_step(model, opt, lambda a, b: loss_fn(b, a), x, y)


def _by_hand(model, opt, loss_fn, x, y):
    model.train()
    opt.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()
    with torch.no_grad():
        for group in opt.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p -= group["lr"] * p.grad
    return loss.item()


def _all_parameters_by_hand(model, opt, loss_fn, x, y):
    loss = train_step(model, opt, loss_fn, x, y)
    with torch.no_grad():
        held = {p for group in opt.param_groups for p in group["params"]}
        for p in set(model.parameters()) - held:
            p -= opt.param_groups[0]["lr"] * p.grad
    return loss


def _two_steps(model, opt, loss_fn, x, y):
    loss = train_step(model, opt, loss_fn, x, y)
    opt.step()
    return loss


def _sum_over_rows(model, opt, loss_fn, x, y):
    return train_step(model, opt, loss_fn, x, y) * len(x)


def _clips(model, opt, loss_fn, x, y):
    model.train()
    opt.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()
    return loss.item()


def _resets_gradients_that_it_sees(model, opt, loss_fn, x, y):
    """Clears only what this loss will fill: by autograd.grad, written over .grad."""
    model.train()
    loss = loss_fn(model(x), y)
    held = [p for p in model.parameters() if p.requires_grad]
    for p, g in zip(held, torch.autograd.grad(loss, held, allow_unused=True)):
        if g is not None:
            p.grad = g
    opt.step()
    return loss.item()


def _returns_the_tensor(model, opt, loss_fn, x, y):
    model.train()
    opt.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()
    opt.step()
    return loss


def _after_the_update(model, opt, loss_fn, x, y):
    train_step(model, opt, loss_fn, x, y)
    with torch.no_grad():
        return loss_fn(model(x), y).item()


def _runs_the_model_twice(model, opt, loss_fn, x, y):
    model.train()
    before = loss_fn(model(x), y).item()
    train_step(model, opt, loss_fn, x, y)
    return before


def _mode_as_it_was(model, opt, loss_fn, x, y):
    opt.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()
    opt.step()
    return loss.item()


def _only_the_top(model, opt, loss_fn, x, y):
    model.training = True
    return _mode_as_it_was(model, opt, loss_fn, x, y)


def _train_mode_too_late(model, opt, loss_fn, x, y):
    loss = _mode_as_it_was(model, opt, loss_fn, x, y)
    model.train()
    return loss


def _batch_means(model, loss_fn, batches):
    losses = []
    evaluate(model, lambda p, y: losses.append(loss_fn(p, y)) or losses[-1], batches)
    return sum(loss.item() for loss in losses) / len(losses)


def _sum_of_means(model, loss_fn, batches):
    total = []
    evaluate(model, lambda p, y: total.append(loss_fn(p, y)) or total[-1], batches)
    return sum(total).item()


def _means_by_rows(model, loss_fn, batches):
    means, rows = [], []
    evaluate(model, lambda p, y: rows.append(len(y)) or means.append(loss_fn(p, y)) or means[-1], batches)
    return sum(means).item() / sum(rows)


def _sum_over_all(model, loss_fn, batches):
    rows = []
    return evaluate(model, lambda p, y: rows.append(len(y)) or loss_fn(p, y), batches) * sum(rows)


def _last_batch(model, loss_fn, batches):
    losses = []
    evaluate(model, lambda p, y: losses.append(loss_fn(p, y)) or losses[-1], batches)
    return losses[-1].item()


def _first_batch(model, loss_fn, batches):
    losses = []
    evaluate(model, lambda p, y: losses.append(loss_fn(p, y)) or losses[-1], batches)
    return losses[0].item()


def _first_batch_size(model, loss_fn, batches):
    """Each batch is thought to be as large as the first."""
    losses, size = [], []
    evaluate(model, lambda p, y: size.append(len(y)) or losses.append(loss_fn(p, y)) or losses[-1], batches)
    return sum(loss.item() * size[0] for loss in losses) / sum(size)


def _needs_a_length(model, loss_fn, batches):
    return evaluate(model, loss_fn, [(x, y) for x, y in batches]) * len(batches) / len(batches)


def _two_loops(model, loss_fn, batches):
    rows = sum(len(x) for x, _ in batches)
    was = model.training
    model.eval()
    with torch.no_grad():
        total = sum(loss_fn(model(x), y).item() * len(x) for x, y in batches)
    model.train(was)
    return total / rows


def _with_graph(model, loss_fn, batches):
    was = model.training
    model.eval()
    total = rows = 0
    for x, y in batches:
        total += loss_fn(model(x), y).item() * len(x)
        rows += len(x)
    model.train(was)
    return total / rows


def _a_copy_with_graph(model, loss_fn, batches):
    return _with_graph(copy.deepcopy(model), loss_fn, batches)


def _in_the_mode_it_has(model, loss_fn, batches):
    total = rows = 0
    with torch.no_grad():
        for x, y in batches:
            total += loss_fn(model(x), y).item() * len(x)
            rows += len(x)
    return total / rows


def _left_in_eval(model, loss_fn, batches):
    loss = evaluate(model, loss_fn, batches)
    model.eval()
    return loss


def _left_in_train(model, loss_fn, batches):
    loss = evaluate(model, loss_fn, batches)
    model.train()
    return loss


def _mode_reversed(model, loss_fn, batches):
    was_training = model.training
    loss = evaluate(model, loss_fn, batches)
    model.train(not was_training)
    return loss


def _gradients_off(model, loss_fn, batches):
    torch.set_grad_enabled(False)
    return evaluate(model, loss_fn, batches)


def _clears_gradients(model, loss_fn, batches):
    model.zero_grad()
    return evaluate(model, loss_fn, batches)


def _freezes(model, loss_fn, batches):
    model.requires_grad_(False)
    return evaluate(model, loss_fn, batches)


def _freezes_and_frees(model, loss_fn, batches):
    """Instead of no_grad; what was frozen before is trained from now on."""
    for p in model.parameters():
        p.requires_grad = False
    loss = evaluate(model, loss_fn, batches)
    for p in model.parameters():
        p.requires_grad = True
    return loss


def _as_a_tensor(model, loss_fn, batches):
    return torch.tensor(evaluate(model, loss_fn, batches))


def _rounded(model, loss_fn, batches):
    return round(evaluate(model, loss_fn, batches), 4)


_ORDER = "test_clear_then_forward_then_backward_then_step"
_OLD = "test_gradients_from_before_are_no_part_of_the_step"
_NUMBER = "test_the_loss_is_a_number_from_before_the_update"
_MODE = "test_a_step_is_made_in_train_mode"
_LINE = "test_many_steps_find_the_line_and_predict_beyond_it"
_UNEVEN = "test_an_uneven_last_batch_counts_by_its_rows"
_TRACE = "test_an_evaluation_leaves_no_trace"

KEEP = {_LINE: "what a training loop looks like: many steps, a loss that falls, a prediction beyond the data"}

_STILL = "the weights are where they were"
_NO_TRACE = "evaluating should leave no trace"

MISTAKES = [
    Mistake(_STILL, caught_by=_ORDER, train_step=_clears_before_the_step),
    Mistake(_STILL, caught_by=_ORDER, train_step=_clears_and_steps_first),
    Mistake(_STILL, caught_by=_ORDER, train_step=_no_step),
    Mistake(_STILL, caught_by=_ORDER, train_step=_steps_first),
    Mistake("they were never cleared", caught_by=_ORDER, train_step=_never_clears),
    Mistake("of SGD with momentum, as by hand", caught_by=_ORDER, train_step=_exchanged),
    Mistake("of SGD with momentum, as by hand", caught_by=_ORDER, train_step=_by_hand),
    Mistake("of SGD with momentum, as by hand", caught_by=_ORDER, train_step=_two_steps),
    Mistake("of SGD with momentum, as by hand", caught_by=_ORDER, train_step=_clips),
    Mistake("a backward from before the step", caught_by=_OLD, train_step=_clears_afterwards),
    Mistake("moved, by an old gradient", caught_by=_OLD, train_step=_resets_gradients_that_it_sees),
    Mistake("returns a Python float, got Tensor", caught_by=_NUMBER, train_step=_returns_the_tensor),
    Mistake("the loss after the update", caught_by=_NUMBER, train_step=_after_the_update),
    Mistake("the loss times the number of rows", caught_by=_NUMBER, train_step=_sum_over_rows),
    Mistake("this optimizer does not hold", caught_by=_NUMBER, train_step=_all_parameters_by_hand),
    Mistake("did not run in train mode", caught_by=_MODE, train_step=_mode_as_it_was),
    Mistake("did not run in train mode", caught_by=_MODE, train_step=_only_the_top),
    Mistake("did not run in train mode", caught_by=_MODE, train_step=_train_mode_too_late),
    Mistake("batch norm took each run for a batch", caught_by=_MODE, train_step=_runs_the_model_twice),
    Mistake("the single last row counts as much as four", caught_by=_UNEVEN, evaluate=_batch_means),
    Mistake("that is the sum of the batch means", caught_by=_UNEVEN, evaluate=_sum_of_means),
    Mistake("multiply each by its rows first", caught_by=_UNEVEN, evaluate=_means_by_rows),
    Mistake("the sum over the rows", caught_by=_UNEVEN, evaluate=_sum_over_all),
    Mistake("the loss of the last batch", caught_by=_UNEVEN, evaluate=_last_batch),
    Mistake("the loss of the first batch", caught_by=_UNEVEN, evaluate=_first_batch),
    Mistake("the loss of all 9 rows at once", caught_by=_UNEVEN, evaluate=_first_batch_size),
    Mistake("batches may be a generator", caught_by=_UNEVEN, evaluate=_needs_a_length),
    Mistake("the loss of all 9 rows at once", caught_by=_UNEVEN, evaluate=_two_loops),
    Mistake("the loss of all 9 rows at once", caught_by=_UNEVEN, evaluate=_rounded),
    Mistake("evaluate returns a Python float", caught_by=_UNEVEN, evaluate=_as_a_tensor),
    Mistake("a graph was built for nothing", caught_by=_TRACE, evaluate=_with_graph),
    Mistake("a graph was built for nothing", caught_by=_TRACE, evaluate=_a_copy_with_graph),
    Mistake("was not evaluated in eval mode", caught_by=_TRACE, evaluate=_in_the_mode_it_has),
    Mistake(_NO_TRACE, caught_by=_TRACE, evaluate=_left_in_eval),
    Mistake(_NO_TRACE, caught_by=_TRACE, evaluate=_left_in_train),
    Mistake(_NO_TRACE, caught_by=_TRACE, evaluate=_clears_gradients),
    Mistake(_NO_TRACE, caught_by=_TRACE, evaluate=_freezes),
    Mistake(_NO_TRACE, caught_by=_TRACE, evaluate=_mode_reversed),
    Mistake(_NO_TRACE, caught_by=_TRACE, evaluate=_freezes_and_frees),
    Mistake("evaluate left gradients switched off", caught_by=_TRACE, evaluate=_gradients_off),
]
