"""Answers that people give to sync_free_loop, right ones and wrong ones."""

import torch
from torch import nn
from torch.nn import functional as F

from dojo import Mistake


@torch.inference_mode()
def _stacked(model, batches):
    parts = []
    for x, y in batches:
        out = model(x)
        loss = F.cross_entropy(out, y) * y.size(0)
        right = out.argmax(dim=1).eq(y).sum()
        parts.append(torch.stack([loss, right.to(loss.dtype), torch.full_like(loss, y.size(0))]))
    return torch.stack(parts).sum(0)


def _three_tensors(model, batches):
    device = next(model.parameters()).device
    total = torch.zeros((), device=device)
    right = torch.zeros((), dtype=torch.long, device=device)
    n = 0
    with torch.no_grad():
        for x, y in batches:
            x, y = x.to(device), y.to(device)
            logits = model(x)
            total += nn.CrossEntropyLoss(reduction="sum")(logits, y)
            right += (logits.max(1).indices == y).sum()
            n += y.shape[0]
    return torch.stack((total, right.float(), torch.tensor(float(n), device=device)))


def _all_at_once(model, batches):
    with torch.no_grad():
        logits = torch.cat([model(x) for x, _ in batches])
        y = torch.cat([y for _, y in batches])
        loss = F.nll_loss(logits.log_softmax(1), y, reduction="sum")
        right = torch.where(logits.argmax(1) == y, 1.0, 0.0).sum()
        return torch.cat([loss.reshape(1), right.reshape(1), torch.full((1,), float(len(y)), device=loss.device)])


@torch.no_grad()
def _double(model, batches):
    totals = None
    for x, y in batches:
        logits = model(x)
        one = torch.zeros(3, dtype=torch.float64, device=logits.device)
        one[0] = F.cross_entropy(logits, y, reduction="none").sum()
        one[1] = torch.count_nonzero(torch.argmax(logits, -1) == y)
        one[2] = len(x)
        totals = one if totals is None else totals + one
    return totals


def _two_floats(model, batches):
    loss, right, n = _stacked(model, batches)
    return float(loss / n), float(right / n)


def _copied(model, batches):
    totals = _three_tensors(model, batches).cpu()
    return totals[0].item() / totals[2].item(), (totals[1] / totals[2]).item()


def _moved(model, batches):
    device = next(model.parameters()).device.type
    loss, right, n = _stacked(model, [(x.to(device), y.to(device)) for x, y in batches]).to("cpu")
    return loss.item() / n.item(), right.item() / n.item()


def _numpy(model, batches):
    loss, right, n = _all_at_once(model, batches).cpu().numpy()
    return float(loss / n), float(right / n)


def _python_rows(model, batches):
    n = sum(len(y) for _, y in batches)
    loss, right, _ = _double(model, batches)
    return loss.item() / n, right.item() / n


def _divided_on_the_device(model, batches):
    totals = _stacked(model, batches)
    return tuple((totals[:2] / totals[2]).tolist())


@torch.inference_mode()
def _lists_of_tensors(model, batches):
    losses, hits, rows = [], [], 0
    for x, y in batches:
        logits = model(x)
        losses.append(-logits.log_softmax(1).gather(1, y[:, None]).sum())
        hits.append((logits.argmax(1) - y == 0).sum())
        rows += x.size(0)
    loss = sum(losses)
    return torch.stack([loss, sum(hits).type_as(loss), torch.as_tensor(rows).type_as(loss).to(loss.device)])


def _item_twice_under_inference_mode(model, batches):
    with torch.inference_mode():
        totals = _lists_of_tensors(model, batches)
        return (totals[0] / totals[2]).item(), (totals[1] / totals[2]).item()


RIGHT = [
    {"running_totals": _stacked, "metrics": _two_floats},
    {"running_totals": _three_tensors, "metrics": _copied},
    {"running_totals": _all_at_once, "metrics": _numpy},
    {"running_totals": _double, "metrics": _python_rows},
    {"metrics": _divided_on_the_device},
    {"metrics": _moved},
    {"running_totals": _lists_of_tensors, "metrics": _item_twice_under_inference_mode},
]


@torch.no_grad()
def _items(model, batches):
    total, right, n = 0.0, 0, 0
    for x, y in batches:
        out = model(x)
        total += F.cross_entropy(out, y).item() * len(y)
        right += int((out.argmax(1) == y).sum())
        n += len(y)
    return torch.tensor([total, right, n], device=next(model.parameters()).device)


def _items_and_floats(model, batches):
    total, right, n = _items(model, batches).tolist()
    return total / n, right / n


@torch.no_grad()
def _loss_per_batch(model, batches):
    total, right, n = 0.0, 0, 0
    for x, y in batches:
        out = model(x)
        total += float(F.cross_entropy(out, y, reduction="sum"))
        right = right + (out.argmax(1) == y).sum()
        n += len(y)
    return total / n, right.item() / n


@torch.no_grad()
def _tqdm(model, batches):
    total = torch.zeros(())
    for x, y in batches:
        total += F.cross_entropy(model(x), y)
        "{:.4f}".format(total)  # noqa: UP032
    return _two_floats(model, batches)


def _if_better(model, batches):
    best = torch.tensor(float("inf"))
    for batch in batches:
        loss = _stacked(model, [batch])[0]
        if loss < best:
            best = loss
    return _two_floats(model, batches)


def _numpy_per_batch(model, batches):
    import numpy as np

    parts = np.array([_stacked(model, [batch]).numpy() for batch in batches]).sum(0)
    return float(parts[0] / parts[2]), float(parts[1] / parts[2])


@torch.no_grad()
def _mean_of_batches(model, batches):
    totals = [_stacked(model, [batch]) for batch in batches]
    means = torch.stack([t[:2] / t[2] for t in totals]).mean(0)
    return tuple(means.tolist())


def _percent(model, batches):
    loss, accuracy = _two_floats(model, batches)
    return loss, accuracy * 100


def _tensors(model, batches):
    loss, right, n = _stacked(model, batches)
    return loss / n, right / n


def _grad(model, batches):
    return _stacked.__wrapped__(model, batches)


def _grad_detached(model, batches):
    return _grad(model, batches).detach()


@torch.no_grad()
def _cpu_totals(model, batches):
    totals = torch.zeros(3)
    for batch in batches:
        totals += _stacked(model, [batch])
    return totals


@torch.no_grad()
def _mask(model, batches):
    totals = _stacked(model, batches)
    totals[1] = sum(y[model(x).argmax(1) == y].numel() for x, y in batches)
    return totals


@torch.no_grad()
def _nonzero(model, batches):
    totals = _stacked(model, batches)
    totals[1] = sum(len((model(x).argmax(1) == y).nonzero()) for x, y in batches)
    return totals


@torch.no_grad()
def _unweighted(model, batches):
    totals = _stacked(model, batches)
    totals[0] = sum(F.cross_entropy(model(x), y) for x, y in batches)
    return totals


@torch.no_grad()
def _eval(model, batches):
    model.eval()
    return _stacked(model, batches)


def _same_size(model, batches):
    totals = _stacked(model, batches).clone()
    totals[2] = len(batches) * len(batches[0][1])
    return totals


def _in_place(model, batches):
    for x, _ in batches:
        x.relu_()
    return _two_floats(model, batches)


@torch.no_grad()
def _hits_by_mask(model, batches):
    loss, _, n = _stacked(model, batches).tolist()
    return loss / n, sum(torch.masked_select(y, model(x).argmax(1) == y).numel() for x, y in batches) / n


@torch.inference_mode()
def _floats_under_inference_mode(model, batches):
    total, right, n = 0.0, 0, 0
    for x, y in batches:
        out = model(x)
        total += float(F.cross_entropy(out, y, reduction="sum"))
        right += int((out.argmax(1) == y).sum())
        n += len(y)
    return torch.tensor([total, right, n], device=next(model.parameters()).device)


@torch.inference_mode()
def _nan_check(model, batches):
    for x, y in batches:
        if torch.isnan(F.cross_entropy(model(x), y)):
            raise ValueError("the loss is NaN")
    return _two_floats(model, batches)


def _argwhere(model, batches):
    with torch.inference_mode():
        right = sum(torch.argwhere(model(x).argmax(1) == y).size(0) for x, y in batches)
    loss, _, n = _stacked(model, batches).tolist()
    return loss / n, right / n


def _always_on(model, batches):
    torch.autograd.grad_mode.set_grad_enabled(False)
    loss, right, n = _stacked(model, batches).tolist()
    torch.autograd.grad_mode.set_grad_enabled(True)
    return loss / n, right / n


_ONCE = "Add up on the device, and read once after the loop"

WRONG = [
    Mistake("it reads no value at all", caught_by="", running_totals=_items),
    Mistake("it reads no value at all", caught_by="", running_totals=_floats_under_inference_mode),
    Mistake(_ONCE, caught_by="", metrics=_nan_check),
    Mistake("for a shape that depends on values", caught_by="", metrics=_argwhere),
    Mistake("and they are on afterwards", caught_by="", metrics=_always_on),
    Mistake(_ONCE, caught_by="", metrics=_items_and_floats),
    Mistake(_ONCE, caught_by="", metrics=_loss_per_batch),
    Mistake(_ONCE, caught_by="", metrics=_tqdm),
    Mistake(_ONCE, caught_by="", metrics=_if_better),
    Mistake(_ONCE, caught_by="", metrics=_numpy_per_batch),
    Mistake("the mean loss of a row is", caught_by="", metrics=_mean_of_batches),
    Mistake("are right, not a share", caught_by="", metrics=_percent),
    Mistake("metrics returns two Python floats", caught_by="", metrics=_tensors),
    Mistake("autograd kept", caught_by="", running_totals=_grad),
    Mistake("autograd kept", caught_by="", running_totals=_grad_detached),
    Mistake("a tensor on the CPU was mixed", caught_by="", running_totals=_cpu_totals),
    Mistake("the shape of what you select depends on values", caught_by="", running_totals=_mask),
    Mistake("the shape of what you select depends on values", caught_by="", running_totals=_nonzero),
    Mistake("the losses add up to", caught_by="", running_totals=_unweighted),
    Mistake("its mode (training)", caught_by="", running_totals=_eval),
    Mistake("rows, and you counted", caught_by="", running_totals=_same_size),
    Mistake("three totals, (3,)", caught_by="", running_totals=lambda m, b: _stacked(m, b).sum()),
    Mistake("running_totals returns a tensor", caught_by="", running_totals=lambda m, b: _stacked(m, b).unbind()),
    Mistake("batches[0][0] is not as it was", caught_by="", metrics=_in_place),
    Mistake(_ONCE, caught_by="", metrics=_hits_by_mask),
    Mistake("metrics returns a pair", caught_by="", metrics=lambda m, b: _two_floats(m, b)[0]),
]
