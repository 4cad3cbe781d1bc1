"""Answers that people give to batches_and_leftovers, right ones and wrong ones."""

import copy
import math

import numpy as np
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, TensorDataset

from dojo import Mistake


def _asks_a_loader(n, batch_size, drop_last):
    return len(DataLoader(TensorDataset(torch.zeros(n)), batch_size, drop_last=drop_last))


def _adds_one(n, batch_size, drop_last):
    full, rest = divmod(n, batch_size)
    return full + 1 if rest and not drop_last else full


def _asks_a_sampler(n, batch_size, drop_last):
    return sum(1 for _ in BatchSampler(range(n), batch_size, drop_last))


def _with_grad(model, loader, loss_fn):
    running, count = 0.0, 0
    for batch in loader:
        inputs, targets = batch
        loss = loss_fn(model(inputs), targets)
        running += loss.item() * inputs.size(0)
        count += inputs.size(0)
    return running / count


def _detached(model, loader, loss_fn):
    total, n = torch.zeros(()), 0
    for x, y in loader:
        total = total + loss_fn(model(x), y).detach() * y.shape[0]
        n += y.shape[0]
    return (total / n).item()


def _numpy(model, loader, loss_fn):
    with torch.inference_mode():
        pairs = [(float(loss_fn(model(x), y)), len(y)) for x, y in loader]
    losses, sizes = zip(*pairs)
    return float(np.average(losses, weights=sizes))


def _running_mean(model, loader, loss_fn):
    mean, seen = 0.0, 0
    with torch.no_grad():
        for x, y in loader:
            seen += len(x)
            mean += (loss_fn(model(x), y).item() - mean) * len(x) / seen
    return mean


@torch.no_grad()
def _all_at_once(model, loader, loss_fn):
    preds, targets = [], []
    for x, y in loader:
        preds.append(model(x))
        targets.append(y)
    return loss_fn(torch.cat(preds), torch.cat(targets)).item()


@torch.no_grad()
def _stacked(model, loader, loss_fn):
    losses, sizes = [], []
    for x, y in loader:
        losses.append(loss_fn(model(x), y))
        sizes.append(len(x))
    return (torch.stack(losses) @ torch.tensor(sizes, dtype=torch.float) / sum(sizes)).item()


def _elements(model, loader, loss_fn):
    """Weighted by the elements of y: the same, as rows are equally wide."""
    total, count = 0.0, 0
    for x, y in loader:
        total, count = total + loss_fn(model(x), y).tolist() * y.numel(), count + y.numel()
    return total / count


def _one_by_one(model, loader, loss_fn):
    losses = []
    with torch.no_grad():
        for xs, ys in loader:
            losses += [float(loss_fn(model(x[None]), y[None])) for x, y in zip(xs, ys)]
    return sum(losses) / len(losses)


def _counts_first(model, loader, loss_fn):
    n = sum(len(y) for _, y in loader)
    return sum(loss_fn(model(x), y).item() * len(x) / n for x, y in loader)


def _old_style(model, loader, loss_fn):
    """As it was written when volatile and .data were about."""
    running_loss = 0.0
    seen = 0
    for i, data in enumerate(loader, 0):
        inputs, labels = data
        outputs = model(inputs)
        loss = loss_fn(outputs, labels)
        running_loss = running_loss + loss.data.numpy().item() * labels.size()[0]
        seen = seen + labels.size()[0]
    return running_loss / seen


class _AverageMeter:
    def __init__(self):
        self.sum = self.count = 0

    def update(self, value, n=1):
        self.sum += value * n
        self.count += n

    @property
    def avg(self):
        return self.sum / self.count


def _metered(model, loader, loss_fn):
    meter, was = _AverageMeter(), torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    for input, target in loader:
        meter.update(loss_fn(model(input), target).item(), input.size(0))
    torch.set_grad_enabled(was)
    return meter.avg


def _loop_and_test(n, batch_size, drop_last):
    steps = 0
    while n >= batch_size:
        n, steps = n - batch_size, steps + 1
    if n > 0 and drop_last is False:
        steps += 1
    return steps


RIGHT = [
    {"steps_per_epoch": _loop_and_test, "epoch_loss": _old_style},
    {"epoch_loss": _metered},
    {"epoch_loss": _one_by_one},
    {"epoch_loss": _counts_first},
    {"steps_per_epoch": _asks_a_loader, "epoch_loss": _with_grad},
    {"steps_per_epoch": _adds_one, "epoch_loss": _detached},
    {"steps_per_epoch": _asks_a_sampler, "epoch_loss": _numpy},
    {"steps_per_epoch": lambda n, b, d: (n if d else n + b - 1) // b},
    {"epoch_loss": _running_mean},
    {"epoch_loss": _all_at_once},
    {"epoch_loss": _stacked},
    {"epoch_loss": _elements},
]


def _mean_tensor(model, loader, loss_fn):
    with torch.no_grad():
        return torch.stack([loss_fn(model(x), y) for x, y in loader]).mean().item()


def _running_by_len(model, loader, loss_fn):
    running = 0.0
    for x, y in loader:
        running += loss_fn(model(x), y).item()
    return running / len(loader)


def _enumerated(model, loader, loss_fn):
    total = 0.0
    for i, (x, y) in enumerate(loader):
        total += loss_fn(model(x), y).item()
    return total / (i + 1)


def _over_dataset(model, loader, loss_fn):
    running = 0.0
    for x, y in loader:
        running += loss_fn(model(x), y).item() * x.size(0)
    return running / len(loader.dataset)


def _over_sampler(model, loader, loss_fn):
    total, _ = 0.0, None
    for x, y in loader:
        total += loss_fn(model(x), y).item() * len(x)
    return total / len(loader.sampler)


def _batch_size_attribute(model, loader, loss_fn):
    total = 0.0
    for x, y in loader:
        total += loss_fn(model(x), y).item() * loader.batch_size
    return total / (len(loader) * loader.batch_size)


def _last_batch(model, loader, loss_fn):
    for x, y in loader:
        loss = loss_fn(model(x), y)
    return loss.item()


def _forgets_the_break(model, loader, loss_fn):
    total, n = 0.0, 0
    for x, y in loader:
        total += loss_fn(model(x), y).item() * len(x)
        n += len(x)
        return total / n


def _no_division(model, loader, loss_fn):
    return sum(loss_fn(model(x), y).item() * len(x) for x, y in loader)


def _ema(model, loader, loss_fn):
    mean = None
    for x, y in loader:
        loss = loss_fn(model(x), y).item()
        mean = loss if mean is None else 0.9 * mean + 0.1 * loss
    return mean


def _plus_equals(model, loader, loss_fn):
    total, n = 0, 0
    for x, y in loader:
        total += loss_fn(model(x), y) * len(x)
        n += len(x)
    return total / n


def _item_at_the_end(model, loader, loss_fn):
    return _plus_equals(model, loader, loss_fn).item()


def _keeps_predictions(model, loader, loss_fn):
    preds, targets = zip(*[(model(x), y) for x, y in loader])
    return loss_fn(torch.cat(preds), torch.cat(targets)).item()


def _detached_tensor(model, loader, loss_fn):
    return _plus_equals(model, loader, loss_fn).detach()


def _numpy_scalar(model, loader, loss_fn):
    return np.float32(_with_grad(model, loader, loss_fn))


def _mse_of_its_own(model, loader, loss_fn):
    total, n = 0.0, 0
    for x, y in loader:
        total += (model(x) - y).square().sum().item()
        n += y.numel()
    return total / n


def _squeezes(model, loader, loss_fn):
    total, n = 0.0, 0
    for x, y in loader:
        total, n = total + loss_fn(model(x).squeeze(-1), y).item() * len(x), n + len(x)
    return total / n


def _views_the_target(model, loader, loss_fn):
    total, n = 0.0, 0
    for x, y in loader:
        total, n = total + loss_fn(model(x), y.view(-1)).item() * len(x), n + len(x)
    return total / n


def _views_the_input(model, loader, loss_fn):
    total, n = 0.0, 0
    for x, y in loader:
        x = x.view(x.shape[0], -1)
        total, n = total + loss_fn(model(x), y).item() * len(x), n + len(x)
    return total / n


def _target_first(model, loader, loss_fn):
    total, n = 0.0, 0
    for x, y in loader:
        total, n = total + loss_fn(y, model(x)).item() * len(x), n + len(x)
    return total / n


def _new_loss(model, loader, loss_fn):
    loss_fn = copy.deepcopy(loss_fn)
    loss_fn = type(loss_fn)(reduction="none")
    with torch.no_grad():
        return torch.cat([loss_fn(model(x), y).flatten() for x, y in loader]).mean().item()


def _sets_the_reduction(model, loader, loss_fn):
    if isinstance(loss_fn, nn.Module):
        loss_fn.reduction = "none"
        return torch.cat([loss_fn(model(x), y).detach().flatten() for x, y in loader]).mean().item()
    return _with_grad(model, loader, loss_fn)


def _evaluates(model, loader, loss_fn):
    model.eval()
    with torch.no_grad():
        return _with_grad(model, loader, loss_fn)


def _evaluates_and_trains(model, loader, loss_fn):
    result = _evaluates(model, loader, loss_fn)
    model.train()
    return result


def _restores_the_outer(model, loader, loss_fn):
    was = model.training
    result = _evaluates(model, loader, loss_fn)
    model.train(was)
    return result


def _accumulates_gradients(model, loader, loss_fn):
    total, n = 0.0, 0
    for x, y in loader:
        loss = loss_fn(model(x), y)
        if any(p.requires_grad for p in model.parameters()):
            loss.backward()
        total, n = total + loss.item() * len(x), n + len(x)
    return total / n


def _clears_gradients(model, loader, loss_fn):
    for p in model.parameters():
        p.grad = None
    return _with_grad(model, loader, loss_fn)


def _global_switch(model, loader, loss_fn):
    torch._C._set_grad_enabled(False)
    return _with_grad(model, loader, loss_fn)


_MEAN_OF_MEANS = "35.83 is the mean of batch means"
_ADDED_UP = "every batch's graph stays alive until the sum goes"
_ALIVE = "graphs of earlier batches were alive at once"
_CALLERS = "epoch_loss only measures: the model is the caller's"
_FLOORED = "drop_last=False: expected 3 batches, got 2"


def _wrong(says, **answer):
    return Mistake(says, caught_by="", **answer)


WRONG = [
    _wrong(_FLOORED, steps_per_epoch=lambda n, b, d: int(n / b)),
    _wrong(_FLOORED, steps_per_epoch=lambda n, b, d: max(n // b, 1) if not d else n // b),
    _wrong("drop_last=True: expected 2 batches, got 3", steps_per_epoch=lambda n, b, d: math.ceil(n / b)),
    _wrong("drop_last=True: expected 2 batches, got 3", steps_per_epoch=lambda n, b, d: len(range(0, n, b))),
    _wrong("drop_last=False: expected 2 batches, got 3", steps_per_epoch=lambda n, b, d: n // b if d else (n + b) // b),
    _wrong(
        "drop_last=True: expected 2 batches, got 1",
        steps_per_epoch=lambda n, b, d: math.ceil(n / b) - 1 if d else math.ceil(n / b),
    ),
    _wrong(
        "drop_last=True: expected 0 batches, got 1", steps_per_epoch=lambda n, b, d: n // b or 1 if d else -(-n // b)
    ),
    _wrong(
        "the number of batches is an int, got 2.0",
        steps_per_epoch=lambda n, b, d: np.floor(n / b) if d else np.ceil(n / b),
    ),
    _wrong(_MEAN_OF_MEANS, epoch_loss=_mean_tensor),
    _wrong(_MEAN_OF_MEANS, epoch_loss=_running_by_len),
    _wrong(_MEAN_OF_MEANS, epoch_loss=_enumerated),
    _wrong(_MEAN_OF_MEANS, epoch_loss=_batch_size_attribute),
    _wrong("divide by what was seen", epoch_loss=_over_dataset),
    _wrong("divide by what was seen", epoch_loss=_over_sampler),
    _wrong("their mean is 28.5, got", epoch_loss=_last_batch),
    _wrong("their mean is 28.5, got", epoch_loss=_forgets_the_break),
    _wrong("their mean is 28.5, got", epoch_loss=_no_division),
    _wrong("their mean is 28.5, got", epoch_loss=_ema),
    _wrong(_ADDED_UP, epoch_loss=_plus_equals),
    _wrong(_ALIVE, epoch_loss=_item_at_the_end),
    _wrong(_ALIVE, epoch_loss=_keeps_predictions),
    _wrong("a loss to print is a Python float", epoch_loss=_detached_tensor),
    _wrong("a loss to print is a Python float", epoch_loss=_numpy_scalar),
    _wrong("a function as loss", epoch_loss=_mse_of_its_own),
    _wrong("each output was compared with each target", epoch_loss=_squeezes),
    _wrong("each output was compared with each target", epoch_loss=_views_the_target),
    _wrong("x and y of shape (3, 1, 2)", epoch_loss=_views_the_input),
    _wrong("the wrong way round", epoch_loss=_target_first),
    _wrong("epoch_loss raised, for a function as loss", epoch_loss=_new_loss),
    _wrong("its reduction is 'sum' now", epoch_loss=_sets_the_reduction),
    _wrong(_CALLERS, epoch_loss=_evaluates),
    _wrong(_CALLERS, epoch_loss=_evaluates_and_trains),
    _wrong("was called in the other one: the caller sets the mode", epoch_loss=_restores_the_outer),
    _wrong(_CALLERS, epoch_loss=_accumulates_gradients),
    _wrong(_CALLERS, epoch_loss=_clears_gradients),
    _wrong("and are not after it", epoch_loss=_global_switch),
]
