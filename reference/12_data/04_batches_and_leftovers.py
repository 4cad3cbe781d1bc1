"""How many steps, and what is the epoch's loss?: reference.

Hint: A mean times the number of its samples is a sum. Sums of batches may be added, means may not.
Hint: `//` rounds down; `-(-n // b)` or `math.ceil` rounds up. `loss.item()` is a number; `len(x)` counts samples.
Hint: Two numbers grow in the loop, the sum of item() * len(x) and the count of samples; at the end, divide once.

Why: the count of what was seen is right for every loader: with drop_last, a sampler, batches of any size. Who reports
a validation loss with drop_last off needs the weights, or the number depends on batch_size. In training, the same sum
with `.item()` costs one wait for the GPU per batch; adding `loss.detach()` and reading it once at the end saves that.
Neither touches the mode: a function that measures and secretly calls eval() or train() surprises the loop around it.
"""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.data import DataLoader

from dojo import Mistake


def steps_per_epoch(n: int, batch_size: int, drop_last: bool) -> int:
    return n // batch_size if drop_last else math.ceil(n / batch_size)


@torch.no_grad()
def epoch_loss(model: nn.Module, loader: DataLoader, loss_fn: Callable) -> float:
    total, seen = 0.0, 0
    for x, y in loader:
        total += loss_fn(model(x), y).item() * len(x)
        seen += len(x)
    return total / seen


def _losses(model, loader, loss_fn):
    """The loss and the size of each batch."""
    with torch.no_grad():
        return [(loss_fn(model(x), y).item(), len(x)) for x, y in loader]


def _means(model, loader, loss_fn):
    losses = [loss for loss, _ in _losses(model, loader, loss_fn)]
    return sum(losses) / len(losses)


def _by_len_of_loader(model, loader, loss_fn):
    return sum(loss for loss, _ in _losses(model, loader, loss_fn)) / len(loader)


def _by_the_dataset(model, loader, loss_fn):
    return sum(loss * n for loss, n in _losses(model, loader, loss_fn)) / len(loader.dataset)


def _means_by_the_dataset(model, loader, loss_fn):
    return sum(loss for loss, _ in _losses(model, loader, loss_fn)) / len(loader.dataset)


def _by_batch_size(model, loader, loss_fn):
    losses = _losses(model, loader, loss_fn)
    return sum(loss * n for loss, n in losses) / (len(losses) * max(n for _, n in losses))


def _constant_weight(model, loader, loss_fn):
    losses = _losses(model, loader, loss_fn)
    return sum(loss * losses[0][1] for loss, _ in losses) / sum(n for _, n in losses)


def _sizes_by_arithmetic(model, loader, loss_fn):
    losses = [loss for loss, _ in _losses(model, loader, loss_fn)]
    full, rest = divmod(len(loader.sampler), loader.batch_size or 4)
    sizes = [loader.batch_size or 4] * full + ([] if loader.drop_last or not rest else [rest])
    return sum(loss * n for loss, n in zip(losses, sizes)) / sum(sizes)


def _last_one(model, loader, loss_fn):
    return _losses(model, loader, loss_fn)[-1][0]


def _returns_in_the_loop(model, loader, loss_fn):
    return _losses(model, loader, loss_fn)[0][0]


def _the_sum(model, loader, loss_fn):
    return sum(loss * n for loss, n in _losses(model, loader, loss_fn))


def _running_average(model, loader, loss_fn):
    mean = 0.0
    for loss, _ in _losses(model, loader, loss_fn):
        mean = loss if mean == 0 else (mean + loss) / 2
    return mean


def _skips_the_short_one(model, loader, loss_fn):
    losses = _losses(model, loader, loss_fn)
    full = [(loss, n) for loss, n in losses if n == losses[0][1]]
    return sum(loss * n for loss, n in full) / sum(n for _, n in full)


def _whole_dataset(model, loader, loss_fn):
    x, y = loader.dataset[:]
    with torch.no_grad():
        return loss_fn(model(x), y).item()


def _tensor_sum(model, loader, loss_fn):
    total, seen = 0.0, 0
    for x, y in loader:
        total = total + loss_fn(model(x), y) * len(x)
        seen += len(x)
    return total / seen


def _read_at_the_end(model, loader, loss_fn):
    total = _tensor_sum(model, loader, loss_fn)
    return float(total.detach())


def _list_of_losses(model, loader, loss_fn):
    losses, sizes = [], []
    for x, y in loader:
        losses.append(loss_fn(model(x), y))
        sizes.append(len(x))
    return sum(loss.item() * n for loss, n in zip(losses, sizes)) / sum(sizes)


def _no_grad_tensor(model, loader, loss_fn):
    with torch.no_grad():
        return _tensor_sum(model, loader, loss_fn)


def _own_loss(model, loader, loss_fn):
    return epoch_loss(model, loader, nn.MSELoss())


def _swapped(model, loader, loss_fn):
    return epoch_loss(model, loader, lambda pred, y: loss_fn(y, pred))


def _sum_reduction(model, loader, loss_fn):
    if not hasattr(loss_fn, "reduction"):
        return epoch_loss(model, loader, loss_fn)
    loss_fn.reduction = "sum"
    seen, total = 0, 0.0
    with torch.no_grad():
        for x, y in loader:
            total += loss_fn(model(x), y).item()
            seen += len(x)
    return total / seen


def _changed(prepare):
    """Right, but the loss gets prepare(pred, y)."""

    def wrong(model, loader, loss_fn):
        return epoch_loss(model, loader, lambda pred, y: loss_fn(*prepare(pred, y)))

    return wrong


def _flattened_inputs(model, loader, loss_fn):
    return epoch_loss(nn.Sequential(nn.Flatten(), model), loader, loss_fn)


_known: dict = {}


def _once_a_model(model, loader, loss_fn):
    return _known.setdefault((model, loader, loss_fn), epoch_loss(model, loader, loss_fn))


def _freezes_and_thaws(model, loader, loss_fn):
    model.requires_grad_(False)
    got = epoch_loss(model, loader, loss_fn)
    model.requires_grad_(True)
    return got


def _needs_a_reduction(model, loader, loss_fn):
    own = type(loss_fn)(reduction="sum")
    return sum(loss for loss, _ in _losses(model, loader, own)) / sum(n for _, n in _losses(model, loader, own))


def _eval(model, loader, loss_fn):
    model.eval()
    return epoch_loss(model, loader, loss_fn)


def _eval_and_back(model, loader, loss_fn):
    mode = model.training
    model.eval()
    got = epoch_loss(model, loader, loss_fn)
    model.train(mode)
    return got


def _eval_and_train(model, loader, loss_fn):
    model.eval()
    got = epoch_loss(model, loader, loss_fn)
    model.train()
    return got


def _train(model, loader, loss_fn):
    return epoch_loss(model.train(), loader, loss_fn)


def _eval_and_each_back(model, loader, loss_fn):
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    got = epoch_loss(model, loader, loss_fn)
    for module, mode in modes:
        module.training = mode
    return got


def _trains(model, loader, loss_fn):
    parameters = list(model.parameters())
    opt = torch.optim.SGD(parameters, lr=0.01) if parameters else None
    total, seen = 0.0, 0
    for x, y in loader:
        loss = loss_fn(model(x), y)
        if opt is not None:
            opt.zero_grad()
            loss.backward()
            opt.step()
        total, seen = total + loss.item() * len(x), seen + len(x)
    return total / seen


def _backward(model, loader, loss_fn):
    total, seen = 0.0, 0
    for x, y in loader:
        loss = loss_fn(model(x), y)
        if loss.requires_grad:
            loss.backward()
        total, seen = total + loss.item() * len(x), seen + len(x)
    return total / seen


def _zero_grad(model, loader, loss_fn):
    model.zero_grad()
    return epoch_loss(model, loader, loss_fn)


def _freezes(model, loader, loss_fn):
    return epoch_loss(model.requires_grad_(False), loader, loss_fn)


def _switches_off(model, loader, loss_fn):
    torch.set_grad_enabled(False)
    return epoch_loss(model, loader, loss_fn)


def _rounded(model, loader, loss_fn):
    return round(epoch_loss(model, loader, loss_fn), 2)


_STEPS = "test_the_last_batch_may_be_short_or_dropped"
_SHORT = "test_a_short_batch_counts_by_its_samples"
_DROPPED = "test_dropped_samples_are_not_counted"
_FLOAT = "test_a_loss_to_print_is_a_float_without_a_graph"
_SHAPE = "test_a_loss_gets_outputs_and_targets_in_their_own_shape"
_LOSS = "test_any_loss_gets_the_prediction_first_and_then_the_target"
_MODE = "test_model_and_mode_are_the_callers"

_MEAN_OF_MEANS = "35.83 is the mean of batch means"
_ADDED_UP = "every batch's graph stays alive until the sum goes"
_ALIVE = "graphs of earlier batches were alive at once"
_CALLERS = "epoch_loss only measures: the model is the caller's"

MISTAKES = [
    Mistake("drop_last=False: expected 3 batches, got 2", caught_by=_STEPS, steps_per_epoch=lambda n, b, d: n // b),
    Mistake("drop_last=True: expected 2 batches, got 3", caught_by=_STEPS, steps_per_epoch=lambda n, b, d: -(-n // b)),
    Mistake(
        "drop_last=False: expected 2 batches, got 3", caught_by=_STEPS, steps_per_epoch=lambda n, b, d: n // b + (not d)
    ),
    Mistake(
        "drop_last=False: expected 3 batches, got 2", caught_by=_STEPS, steps_per_epoch=lambda n, b, d: round(n / b)
    ),
    Mistake(
        "drop_last=True: expected 0 batches, got 1",
        caught_by=_STEPS,
        steps_per_epoch=lambda n, b, d: max(1, n // b) if d else -(-n // b),
    ),
    Mistake(
        "drop_last=False: expected 3 batches, got 2",
        caught_by=_STEPS,
        steps_per_epoch=lambda n, b, d: -(-n // b) if d else n // b,
    ),
    Mistake(
        "drop_last=True: expected 2 batches, got 1", caught_by=_STEPS, steps_per_epoch=lambda n, b, d: -(-n // b) - d
    ),
    Mistake(
        "the number of batches is an int, got 2.5",
        caught_by=_STEPS,
        steps_per_epoch=lambda n, b, d: n // b if d else n / b,
    ),
    Mistake(
        "the number of batches is an int, got 2.0",
        caught_by=_STEPS,
        steps_per_epoch=lambda n, b, d: float(n // b) if d else -(-n // b),
    ),
    Mistake(
        "expected 3 batches, got 4", caught_by=_STEPS, steps_per_epoch=lambda n, b, d: n // b if d else n // b + n % b
    ),
    Mistake(_MEAN_OF_MEANS, caught_by=_SHORT, epoch_loss=_means),
    Mistake(_MEAN_OF_MEANS, caught_by=_SHORT, epoch_loss=_by_len_of_loader),
    Mistake("their mean is 28.5, got", caught_by=_SHORT, epoch_loss=_means_by_the_dataset),
    Mistake("their mean is 28.5, got", caught_by=_SHORT, epoch_loss=_by_batch_size),
    Mistake("their mean is 28.5, got", caught_by=_SHORT, epoch_loss=_constant_weight),
    Mistake("in batches of 1, 5, 2 and 2: their mean is 28.5", caught_by=_SHORT, epoch_loss=_sizes_by_arithmetic),
    Mistake("their mean is 28.5, got", caught_by=_SHORT, epoch_loss=_last_one),
    Mistake("their mean is 28.5, got", caught_by=_SHORT, epoch_loss=_returns_in_the_loop),
    Mistake("their mean is 28.5, got", caught_by=_SHORT, epoch_loss=_the_sum),
    Mistake("their mean is 28.5, got", caught_by=_SHORT, epoch_loss=_running_average),
    Mistake("their mean is 28.5, got", caught_by=_SHORT, epoch_loss=_skips_the_short_one),
    Mistake("epoch_loss returned None", caught_by=_SHORT, epoch_loss=lambda m, d, f: None),
    Mistake("divide by what was seen", caught_by=_DROPPED, epoch_loss=_by_the_dataset),
    Mistake("the mean of all ten", caught_by=_DROPPED, epoch_loss=_whole_dataset),
    Mistake("the mean of 9, 1 and 9 is 6.3333", caught_by=_DROPPED, epoch_loss=_rounded),
    Mistake(_ADDED_UP, caught_by=_FLOAT, epoch_loss=_tensor_sum),
    Mistake("a loss to print is a Python float", caught_by=_FLOAT, epoch_loss=_no_grad_tensor),
    Mistake(_ALIVE, caught_by=_FLOAT, epoch_loss=_read_at_the_end),
    Mistake(_ALIVE, caught_by=_FLOAT, epoch_loss=_list_of_losses),
    Mistake("the mean of the squares is 256.5", caught_by=_FLOAT, epoch_loss=_once_a_model),
    Mistake(
        "each output was compared with each target",
        caught_by=_SHAPE,
        epoch_loss=_changed(lambda pred, y: (pred.squeeze(), y)),
    ),
    Mistake(
        "each output was compared with each target",
        caught_by=_SHAPE,
        epoch_loss=_changed(lambda pred, y: (pred, y.flatten() if y.shape[-1] == 1 else y)),
    ),
    Mistake("x and y of shape (3, 1, 2)", caught_by=_SHAPE, epoch_loss=_flattened_inputs),
    Mistake("a function as loss", caught_by=_LOSS, epoch_loss=_own_loss),
    Mistake("the wrong way round", caught_by=_LOSS, epoch_loss=_swapped),
    Mistake("its reduction is 'sum' now", caught_by=_LOSS, epoch_loss=_sum_reduction),
    Mistake("epoch_loss raised, for a function as loss", caught_by=_LOSS, epoch_loss=_needs_a_reduction),
    Mistake(_CALLERS, caught_by=_MODE, epoch_loss=_eval),
    Mistake(_CALLERS, caught_by=_MODE, epoch_loss=_eval_and_train),
    Mistake(_CALLERS, caught_by=_MODE, epoch_loss=_train),
    Mistake("was called in the other one: the caller sets the mode", caught_by=_MODE, epoch_loss=_eval_and_back),
    Mistake("was called in the other one: the caller sets the mode", caught_by=_MODE, epoch_loss=_eval_and_each_back),
    Mistake(_CALLERS, caught_by=_MODE, epoch_loss=_trains),
    Mistake(_CALLERS, caught_by=_MODE, epoch_loss=_backward),
    Mistake(_CALLERS, caught_by=_MODE, epoch_loss=_zero_grad),
    Mistake(_CALLERS, caught_by=_MODE, epoch_loss=_freezes),
    Mistake(_CALLERS, caught_by=_MODE, epoch_loss=_freezes_and_thaws),
    Mistake("and are not after it", caught_by=_MODE, epoch_loss=_switches_off),
]
