"""state_dict() is not a snapshot: reference.

Hint: What changes in the dict that you saved when the optimizer makes its next step? Print one of its values.
Hint: `copy.deepcopy`; `Module.state_dict`, `Module.load_state_dict`; `math.inf` as the best loss of no epoch.
Hint: Ask whether the loss is below best - min_delta. If so: save, remember, set the count to 0. Otherwise count, and
    leave the loop when patience is reached. What comes after the loop is done in any case.

Why: state_dict() gives the tensors themselves, without copying them, so that saving a large model needs no second copy
in memory. For a file that is right; for a snapshot in memory you must copy. Parameters are edited in place by every
optimizer. load_state_dict copies in the other direction, into the tensors that are there. The comparison is written so
that nan falls on the side of "not better".
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import nn

from dojo import Mistake


def fit(
    model: nn.Module,
    train: Callable[[], None],
    val: Callable[[], float],
    epochs: int,
    patience: int,
    min_delta: float = 0.0,
) -> float:
    best, bad = math.inf, 0
    snapshot = copy.deepcopy(model.state_dict())
    for _ in range(epochs):
        train()
        loss = float(val())
        if loss < best - min_delta:
            best, bad = loss, 0
            snapshot = copy.deepcopy(model.state_dict())
        else:
            bad += 1
            if bad == patience:
                break
    model.load_state_dict(snapshot)
    return best


# ── known mistakes: each changes one thing of this right answer ──


def _fit(
    save=lambda model: copy.deepcopy(model.state_dict()),
    load=lambda model, snapshot: model.load_state_dict(snapshot),
    better=lambda loss, best, min_delta: loss < best - min_delta,
    stop=lambda bad, patience: bad >= patience,
    forget=True,
    only_on_break=False,
    result=lambda best, losses: best,
    start=math.inf,
    epoch=lambda train, val: (train(), val())[1],
    remember=lambda loss, best, is_better: loss if is_better else best,
    save_first=False,
):
    def fit(model, train, val, epochs, patience, min_delta=0.0):
        best, bad, losses, snapshot = start, 0, [], save(model)
        for _ in range(epochs):
            before = save(model) if save_first else None
            losses.append(epoch(train, val))
            is_better = better(losses[-1], best, min_delta)
            best = remember(losses[-1], best, is_better)
            if is_better:
                snapshot = before if save_first else save(model)
                bad = 0 if forget else bad
            else:
                bad += 1
                if stop(bad, patience):
                    if only_on_break:
                        load(model, snapshot)
                    break
        if not only_on_break:
            load(model, snapshot)
        return result(best, losses)

    return fit


def _parameters_only(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def _in_float32(model):
    return {name: value.float().clone() for name, value in model.state_dict().items()}


def _off_for_all(train, val):
    train()
    torch.set_grad_enabled(False)
    return val()


def _new_parameters(model, snapshot):
    model.load_state_dict(snapshot, assign=True)


def _freezes(model, snapshot):
    model.load_state_dict(snapshot)
    model.requires_grad_(False)


def _validates_first(train, val):
    loss = val()
    train()
    return loss


def _validates_twice(train, val):
    train()
    val()
    return val()


def _ends_at_nan(model, train, val, epochs, patience, min_delta=0.0):
    best, snapshot, bad = math.inf, None, 0
    for _ in range(epochs):
        train()
        loss = val()
        if math.isnan(loss):
            break
        if loss < best - min_delta:
            best, snapshot, bad = loss, copy.deepcopy(model.state_dict()), 0
        else:
            bad += 1
        if bad >= patience:
            break
    model.load_state_dict(snapshot)
    return best


def _skips_nan(model, train, val, epochs, patience, min_delta=0.0):
    best, snapshot, bad = math.inf, None, 0
    for _ in range(epochs):
        train()
        loss = val()
        if math.isnan(loss):
            continue
        if loss < best - min_delta:
            best, snapshot, bad = loss, copy.deepcopy(model.state_dict()), 0
        else:
            bad += 1
        if bad >= patience:
            break
    model.load_state_dict(snapshot)
    return best


def _yesterday(model, train, val, epochs, patience, min_delta=0.0):
    """Counts the epochs that were not better than the one before."""
    best, snapshot, bad, last = math.inf, None, 0, math.inf
    for _ in range(epochs):
        train()
        loss = val()
        bad = 0 if loss < last - min_delta else bad + 1
        last = loss
        if loss < best - min_delta:
            best, snapshot = loss, copy.deepcopy(model.state_dict())
        if bad >= patience:
            break
    model.load_state_dict(snapshot)
    return best


_BACK = "test_the_best_weights_come_back"
_BUFFERS = "test_buffers_belong_to_the_snapshot"
_PATIENCE = "test_patience_is_the_number_of_bad_epochs"
_ANEW = "test_a_better_epoch_begins_the_count_anew"
_DELTA = "test_min_delta_is_measured_from_the_best_loss"
_NAN = "test_nan_is_never_better"

KEEP = {
    _ANEW: "what the count is for; the scripts with nan and with min_delta need it as well",
}

_LIVE = "A state_dict() holds live references to the weights"
_BELOW = "Better is below best - "

MISTAKES = [
    Mistake(_LIVE, caught_by=_BACK, fit=_fit(save=lambda model: model.state_dict())),
    Mistake(_LIVE, caught_by=_BACK, fit=_fit(save=lambda model: dict(model.state_dict()))),
    Mistake(_LIVE, caught_by=_BACK, fit=_fit(save=lambda model: model.state_dict().copy())),
    Mistake(_LIVE, caught_by=_BACK, fit=_fit(save=lambda model: copy.copy(model).state_dict())),
    Mistake(
        _LIVE,
        caught_by=_BACK,
        fit=_fit(save=lambda model: {name: value.detach() for name, value in model.state_dict().items()}),
    ),
    Mistake(_LIVE, caught_by=_BACK, fit=_fit(load=lambda model, snapshot: None)),
    Mistake(_LIVE, caught_by=_BACK, fit=_fit(only_on_break=True)),
    Mistake("is another Parameter than before", caught_by=_BACK, fit=_fit(load=_new_parameters)),
    Mistake("fit left the parameters frozen", caught_by=_BACK, fit=_fit(load=_freezes)),
    Mistake("is not as it was after epoch", caught_by=_BACK, fit=_fit(save_first=True)),
    Mistake("fit returns a Python float", caught_by=_BACK, fit=_fit(result=lambda best, losses: None)),
    Mistake("fit returns a Python float", caught_by=_BACK, fit=_fit(result=lambda best, losses: torch.tensor(best))),
    Mistake("the best loss", caught_by=_BACK, fit=_fit(result=lambda best, losses: losses[-1])),
    Mistake("an epoch begins with train()", caught_by=_BACK, fit=_fit(epoch=_validates_first)),
    Mistake("take turns, once each in an epoch", caught_by=_PATIENCE, fit=_fit(epoch=_validates_twice)),
    Mistake(
        "the buffer `seen` is that of epoch",
        caught_by=_BUFFERS,
        fit=_fit(save=_parameters_only, load=lambda model, snapshot: model.load_state_dict(snapshot, strict=False)),
    ),
    Mistake("a float64 buffer was 0.2 after epoch 2", caught_by=_BUFFERS, fit=_fit(save=_in_float32)),
    Mistake("gradients are switched off in train()", caught_by=_BACK, fit=_fit(epoch=_off_for_all)),
    Mistake(
        "One too many: 2 epochs in a row", caught_by=_PATIENCE, fit=_fit(stop=lambda bad, patience: bad > patience)
    ),
    Mistake(
        "2 epochs in a row were not better",
        caught_by=_PATIENCE,
        fit=_fit(stop=lambda bad, patience: bad >= patience - 1),
    ),
    Mistake("1 epochs in a row were not better", caught_by=_PATIENCE, fit=_fit(stop=lambda bad, patience: False)),
    Mistake(
        "3 epochs in a row were not better",
        caught_by=_PATIENCE,
        fit=_fit(better=lambda loss, best, min_delta: loss <= best - min_delta),
    ),
    Mistake("2 epochs in a row were not better", caught_by=_PATIENCE, fit=_fit(start=0.0)),
    Mistake(
        "2 epochs in a row were not better",
        caught_by=_PATIENCE,
        fit=_fit(better=lambda loss, best, min_delta: loss < best - max(min_delta, 1e-4)),
    ),
    Mistake("the count begins anew there", caught_by=_ANEW, fit=_fit(forget=False)),
    Mistake("the count begins anew there", caught_by=_ANEW, fit=_yesterday),
    Mistake(_BELOW, caught_by=_DELTA, fit=_fit(better=lambda loss, best, min_delta: loss < best)),
    Mistake(_BELOW, caught_by=_DELTA, fit=_fit(better=lambda loss, best, min_delta: loss < best + min_delta)),
    Mistake(_BELOW, caught_by=_DELTA, fit=_fit(better=lambda loss, best, min_delta: loss < best * (1 - min_delta))),
    Mistake("the best loss", caught_by=_DELTA, fit=_fit(remember=lambda loss, best, is_better: min(loss, best))),
    Mistake(_BELOW, caught_by=_DELTA, fit=_fit(start=100.0)),
    Mistake(
        "2 epochs in a row were not better",
        caught_by=_PATIENCE,
        fit=_fit(better=lambda loss, best, min_delta: abs(loss - best) > min_delta),
    ),
    Mistake(
        "so nan is not better",
        caught_by=_NAN,
        fit=_fit(better=lambda loss, best, min_delta: not loss >= best - min_delta),
    ),
    Mistake("An epoch with nan counts as one that was not better", caught_by=_NAN, fit=_ends_at_nan),
    Mistake("An epoch with nan counts as one that was not better", caught_by=_NAN, fit=_skips_nan),
]
