"""Read once, at the end: reference.

Hint: What does each batch add, and can it be added where it already is?
Hint: `torch.zeros(3, device=...)` and `+=` on its places; `cross_entropy` with `reduction="sum"`; `torch.no_grad()`.
Hint: The device is that of any parameter. metrics unpacks `tolist()` of the totals: then they are plain numbers.

Why: A read is slow because Python cannot give the GPU its next work while it waits, and the GPU runs dry. An in-place
add of a 0-dim tensor is one more small operation in the queue, which costs next to nothing. Three totals in one
tensor are one copy to the CPU. When a progress line must be shown, read every hundredth batch. With float32, sums of
more than 2**24 rows lose single ones: count in int64 then, or in float64.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from dojo import Mistake


@torch.no_grad()
def running_totals(model: nn.Module, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    totals = torch.zeros(3, device=next(model.parameters()).device)
    for x, y in batches:
        logits = model(x)
        totals[0] += cross_entropy(logits, y, reduction="sum")
        totals[1] += (logits.argmax(1) == y).sum()
        totals[2] += len(y)
    return totals


def metrics(model: nn.Module, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[float, float]:
    loss, right, rows = running_totals(model, batches).tolist()
    return loss / rows, right / rows


# ── known mistakes ──


def _running(
    context=torch.no_grad,
    loss=lambda logits, y: cross_entropy(logits, y, reduction="sum"),
    hits=lambda logits, y: (logits.argmax(1) == y).sum(),
    rows=len,
    before=lambda model: None,
    device=lambda model: next(model.parameters()).device,
):
    """Right, unless an argument says otherwise."""

    def running_totals(model, batches):
        before(model)
        with context():
            parts = []
            for x, y in batches:
                logits = model(x)
                place = device(model)
                three = [torch.as_tensor(v, device=place) for v in (loss(logits, y), hits(logits, y), rows(y))]
                parts.append(torch.stack([v.to(torch.float32) for v in three]))
            return sum(parts)

    return running_totals


def _metrics(totals, divide=lambda loss, right, rows: (loss / rows, right / rows)):
    def metrics(model, batches):
        return divide(*totals(model, batches).tolist())

    return metrics


def _both(**options):
    totals = _running(**options)
    return {"running_totals": totals, "metrics": _metrics(totals)}


@torch.no_grad()
def _item_per_batch(model, batches):
    loss = right = rows = 0
    for x, y in batches:
        logits = model(x)
        loss += cross_entropy(logits, y, reduction="sum").item()
        right += (logits.argmax(1) == y).sum().item()
        rows += len(y)
    return loss / rows, right / rows


@torch.no_grad()
def _means_of_means(model, batches):
    losses, shares = [], []
    for x, y in batches:
        logits = model(x)
        losses.append(cross_entropy(logits, y))
        shares.append((logits.argmax(1) == y).float().mean())
    return torch.stack(losses).mean().item(), torch.stack(shares).mean().item()


@torch.no_grad()
def _progress_line(model, batches):
    totals = torch.zeros(3)
    for batch in batches:
        totals += running_totals(model, [batch])
        f"loss {totals[0]:.3f}"
    loss, right, rows = totals.tolist()
    return loss / rows, right / rows


@torch.no_grad()
def _printed_tensor(model, batches):
    for batch in batches:
        str(running_totals(model, [batch]))
    return metrics(model, batches)


def _list_per_batch(model, batches):
    parts = [running_totals(model, [batch]).tolist() for batch in batches]
    loss, right, rows = (sum(column) for column in zip(*parts, strict=True))
    return loss / rows, right / rows


def _to_the_cpu_per_batch(model, batches):
    loss, right, rows = sum(running_totals(model, [batch]).cpu() for batch in batches).tolist()
    return loss / rows, right / rows


def _moved_per_batch(model, batches):
    loss, right, rows = sum(running_totals(model, [batch]).to("cpu") for batch in batches).tolist()
    return loss / rows, right / rows


def _nan_check(model, batches):
    for batch in batches:
        if running_totals(model, [batch])[0].isnan():
            raise FloatingPointError
    return metrics(model, batches)


def _selected(model, batches):
    right = 0
    with torch.no_grad():
        for x, y in batches:
            right += len(y[model(x).argmax(1) == y])
    loss, _, rows = running_totals(model, batches).tolist()
    return loss / rows, right / rows


@torch.inference_mode()
def _item_under_inference_mode(model, batches):
    return _item_per_batch.__wrapped__(model, batches)


@torch.inference_mode()
def _if_under_inference_mode(model, batches):
    best = torch.tensor(float("inf"))
    for batch in batches:
        loss = running_totals(model, [batch])[0]
        if loss < best:
            best = loss
    return metrics(model, batches)


@torch.inference_mode()
def _where_under_inference_mode(model, batches):
    right = sum(len(torch.where(model(x).argmax(1) == y)[0]) for x, y in batches)
    loss, _, rows = running_totals(model, batches).tolist()
    return loss / rows, right / rows


def _six_items(model, batches):
    totals = running_totals(model, batches)
    n = totals[2]
    assert n.item() > 0
    return totals[0].item() / n.item(), totals[1].item() / n.item()


@torch.no_grad()
def _tensor_of_tensors(model, batches):
    loss = right = torch.zeros((), device=next(model.parameters()).device)
    for x, y in batches:
        logits = model(x)
        loss = loss + cross_entropy(logits, y, reduction="sum")
        right = right + (logits.argmax(1) == y).sum()
    return torch.tensor([loss, right, sum(len(y) for _, y in batches)], device=loss.device)


def _only_detached(model, batches):
    totals = torch.zeros(3, device=next(model.parameters()).device)
    for x, y in batches:
        logits = model(x)
        totals[0] += cross_entropy(logits, y, reduction="sum").detach()
        totals[1] += (logits.argmax(1) == y).sum()
        totals[2] += len(y)
    return totals


def _with_graph(model, batches):
    for p in model.parameters():
        p.requires_grad_(True)
    return _running(context=torch.enable_grad)(model, batches)


def _graph_in_metrics(model, batches):
    loss, right, rows = _with_graph(model, batches).detach().tolist()
    return loss / rows, right / rows


def _grad_off(model, batches):
    torch.set_grad_enabled(False)
    return running_totals(model, batches)


def _off_and_on(model, batches):
    torch.set_grad_enabled(False)
    totals = running_totals(model, batches)
    torch.set_grad_enabled(True)
    return totals


def _eval_and_back(model, batches):
    was = model.training
    model.eval()
    totals = running_totals(model, batches)
    model.train(was)
    return totals


def _as_list(model, batches):
    return running_totals(model, batches).tolist()


def _requires(model, batches):
    return running_totals(model, batches).requires_grad_()


def _zeros_elsewhere(model, batches):
    totals = running_totals(model, batches)
    return totals if totals.device.type == "cpu" else torch.zeros(3)


def _writes_into_x(model, batches):
    result = metrics(model, batches)
    for x, _ in batches:
        x -= x.amax(1, keepdim=True)
    return result


def _as_ints(model, batches):
    return running_totals(model, batches).long()


def _on_the_cpu(model, batches):
    totals = torch.zeros(3)
    with torch.no_grad():
        for x, y in batches:
            logits = model(x)
            totals[0] += cross_entropy(logits, y, reduction="sum")
            totals[1] += (logits.argmax(1) == y).sum()
            totals[2] += len(y)
    return totals


_BY_SHARE = _both(hits=lambda g, y: (g.argmax(1) == y).float().mean())
_BY_LEN = _both(hits=lambda g, y: len(y[g.argmax(1) == y]))
_BY_ITEM = _both(loss=lambda g, y: cross_entropy(g, y, reduction="sum").item())

_TOTALS = "test_totals_are_sums_over_rows_and_are_divided_once"
_READ = "test_the_numbers_are_read_after_the_loop"
_KEPT = "test_nothing_is_kept_for_a_backward_that_never_comes"
_META = "test_a_loop_without_reads_runs_on_tensors_without_values"
_ONCE = "Add up on the device, and read once after the loop"

MISTAKES = [
    Mistake("the losses add up to", caught_by=_TOTALS, **_both(loss=cross_entropy)),
    Mistake(
        "rows are right, and you counted",
        caught_by=_TOTALS,
        **_BY_SHARE,
    ),
    Mistake("rows are right, and you counted", caught_by=_TOTALS, **_both(hits=lambda g, y: (g.argmax(1) != y).sum())),
    Mistake("rows are right, and you counted", caught_by=_TOTALS, **_both(hits=lambda g, y: (g.argmax() == y).sum())),
    Mistake("rows, and you counted", caught_by=_TOTALS, **_both(rows=lambda y: 1)),
    Mistake("these are the totals of the other mode", caught_by=_TOTALS, running_totals=_eval_and_back),
    Mistake("its mode (training)", caught_by=_TOTALS, **_both(before=lambda model: model.eval())),
    Mistake("its mode (training)", caught_by=_TOTALS, **_both(before=lambda model: model.train())),
    Mistake("batches[0][0] is not as it was", caught_by=_TOTALS, metrics=_writes_into_x),
    Mistake("the totals are floats", caught_by=_TOTALS, running_totals=_as_ints),
    Mistake("gradients are switched off afterwards", caught_by=_TOTALS, running_totals=_grad_off),
    Mistake("and they are on afterwards", caught_by=_TOTALS, running_totals=_off_and_on),
    Mistake("three totals, (3,)", caught_by=_TOTALS, running_totals=lambda m, b: running_totals(m, b)[:2]),
    Mistake(
        "running_totals returns a tensor", caught_by=_READ, running_totals=lambda m, b: running_totals(m, b).tolist()
    ),
    Mistake(
        "running_totals returns a tensor", caught_by=_TOTALS, running_totals=lambda m, b: tuple(running_totals(m, b))
    ),
    Mistake("the mean loss of a row is", caught_by=_TOTALS, metrics=_means_of_means),
    Mistake(
        "the mean loss of a row is",
        caught_by=_TOTALS,
        metrics=lambda m, b: (metrics(m, b)[0] * sum(len(y) for _, y in b) / len(b), metrics(m, b)[1]),
    ),
    Mistake(
        "are right, not a share",
        caught_by=_TOTALS,
        metrics=_metrics(running_totals, lambda loss, right, rows: (loss / rows, 100 * right / rows)),
    ),
    Mistake(
        "are right, not a share",
        caught_by=_TOTALS,
        metrics=_metrics(running_totals, lambda loss, right, rows: (loss / rows, right)),
    ),
    Mistake(
        "the mean loss of a row is",
        caught_by=_TOTALS,
        metrics=_metrics(running_totals, lambda loss, right, rows: (right / rows, loss / rows)),
    ),
    Mistake(
        "metrics returns two Python floats",
        caught_by=_TOTALS,
        metrics=lambda m, b: tuple(running_totals(m, b)[:2] / running_totals(m, b)[2]),
    ),
    Mistake("metrics returns a pair", caught_by=_TOTALS, metrics=lambda m, b: running_totals(m, b).tolist()),
    Mistake(_ONCE, caught_by=_READ, metrics=_item_per_batch),
    Mistake(_ONCE, caught_by=_READ, metrics=_progress_line),
    Mistake(_ONCE, caught_by=_READ, metrics=_printed_tensor),
    Mistake(_ONCE, caught_by=_READ, metrics=_list_per_batch),
    Mistake(_ONCE, caught_by=_READ, metrics=_to_the_cpu_per_batch),
    Mistake(_ONCE, caught_by=_READ, metrics=_moved_per_batch),
    Mistake(_ONCE, caught_by=_READ, metrics=_nan_check),
    Mistake(_ONCE, caught_by=_READ, metrics=_selected),
    Mistake(_ONCE, caught_by=_READ, metrics=_six_items),
    Mistake(_ONCE, caught_by=_READ, metrics=_item_under_inference_mode),
    Mistake(_ONCE, caught_by=_READ, metrics=_if_under_inference_mode),
    Mistake("for a shape that depends on values", caught_by=_READ, metrics=_where_under_inference_mode),
    Mistake("it reads no value at all", caught_by=_READ, running_totals=_tensor_of_tensors),
    Mistake(
        "it reads no value at all",
        caught_by=_READ,
        running_totals=lambda m, b: torch.tensor(running_totals(m, b).tolist()),
    ),
    Mistake("autograd kept", caught_by=_KEPT, running_totals=_only_detached),
    Mistake("autograd kept", caught_by=_KEPT, running_totals=lambda m, b: _with_graph(m, b).detach()),
    Mistake("autograd kept", caught_by=_KEPT, running_totals=_with_graph),
    Mistake("autograd kept", caught_by=_KEPT, metrics=_graph_in_metrics),
    Mistake("the totals have a graph", caught_by=_KEPT, running_totals=_requires),
    Mistake(
        "the shape of what you select depends on values",
        caught_by=_META,
        **_BY_LEN,
    ),
    Mistake(
        "your code asks for a value here",
        caught_by=_META,
        **_BY_ITEM,
    ),
    Mistake("a tensor on the CPU was mixed", caught_by=_META, running_totals=_on_the_cpu),
    Mistake("your code asks for a value here", caught_by=_META, running_totals=lambda m, b: running_totals(m, b).cpu()),
    Mistake(
        "the totals belong on the device of the model",
        caught_by=_META,
        running_totals=lambda m, b: (
            running_totals(m, b) if next(m.parameters()).device.type == "cpu" else torch.zeros(3)
        ),
    ),
]
