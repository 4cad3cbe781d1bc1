"""Answers that people give to early_stopping, right ones and wrong ones."""

import copy
import io
import math

import torch

from dojo import Mistake


def _clones(model, train, val, epochs, patience, min_delta=0.0):
    best_loss = float("inf")
    best_state = None
    epochs_without = 0
    for _ in range(epochs):
        model.train()
        train()
        model.eval()
        with torch.no_grad():
            loss = val()
        if best_state is None or best_loss - loss > min_delta:
            best_loss = loss
            best_state = {name: value.clone() for name, value in model.state_dict().items()}
            epochs_without = 0
        else:
            epochs_without += 1
        if epochs_without >= patience:
            break
    model.load_state_dict(best_state)
    return best_loss


def _to_a_file(model, train, val, epochs, patience, min_delta=0.0):
    best, best_epoch, file = math.inf, -1, io.BytesIO()
    for epoch in range(epochs):
        train()
        loss = val()
        if loss < best - min_delta:
            best, best_epoch = loss, epoch
            file = io.BytesIO()
            torch.save(model.state_dict(), file)
        elif epoch - best_epoch >= patience:
            break
    file.seek(0)
    model.load_state_dict(torch.load(file, weights_only=True))
    return float(best)


def _whole_model(model, train, val, epochs, patience, min_delta=0.0):
    train()
    best, kept, left = val(), copy.deepcopy(model), patience
    while left and epochs > 1:
        epochs -= 1
        train()
        loss = val()
        if loss + min_delta < best:
            best, kept, left = loss, copy.deepcopy(model), patience
        else:
            left -= 1
    model.load_state_dict(kept.state_dict())
    return best


class _Stopper:
    def __init__(self, patience, min_delta):
        self.patience, self.min_delta, self.best, self.bad, self.state = patience, min_delta, None, 0, None

    def __call__(self, loss, model):
        if self.best is None or loss < self.best - self.min_delta:
            self.best, self.bad = loss, 0
            self.state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        else:
            self.bad += 1
        return self.bad < self.patience


def _by_a_class(model, train, val, epochs, patience, min_delta=0.0):
    stopper = _Stopper(patience, min_delta)
    try:
        for _ in range(epochs):
            train()
            if not stopper(float(val()), model):
                break
    finally:
        with torch.no_grad():
            own = model.state_dict()
            for name, value in stopper.state.items():
                own[name].copy_(value)
    return stopper.best


def _all_losses(model, train, val, epochs, patience, min_delta=0.0):
    """Keeps each epoch, and looks for the best one afterwards."""
    states, losses, best, since = [], [], 0, 0
    while len(losses) < epochs and since < patience:
        train()
        losses.append(val())
        states.append({k: v.detach().clone() for k, v in [*model.named_parameters(), *model.named_buffers()]})
        if losses[-1] < losses[best] - min_delta:
            best, since = len(losses) - 1, 0
        elif len(losses) > 1:
            since += 1
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            value.data = states[best][name]
    return losses[best]


RIGHT = [{"fit": _all_losses}, {"fit": _clones}, {"fit": _to_a_file}, {"fit": _whole_model}, {"fit": _by_a_class}]


def _live(model, train, val, epochs, patience, min_delta=0.0):
    best, state, bad = float("inf"), None, 0
    for _ in range(epochs):
        train()
        loss = val()
        if loss < best - min_delta:
            best, bad, state = loss, 0, {**model.state_dict()}
        else:
            bad += 1
        if bad == patience:
            break
    model.load_state_dict(state)
    return best


def _restored_on_a_break(model, train, val, epochs, patience, min_delta=0.0):
    best, bad = float("inf"), 0
    for _ in range(epochs):
        train()
        loss = val()
        if loss < best - min_delta:
            best, bad, state = loss, 0, copy.deepcopy(model.state_dict())
        else:
            bad += 1
            if bad >= patience:
                model.load_state_dict(state)
                return best
    return best


def _same_model(model, train, val, epochs, patience, min_delta=0.0):
    best, kept, bad = float("inf"), model, 0
    for _ in range(epochs):
        train()
        loss = val()
        if loss < best - min_delta:
            best, kept, bad = loss, model, 0
        else:
            bad += 1
        if bad >= patience:
            break
    model.load_state_dict(kept.state_dict())
    return best


def _copies_without_loading(model, train, val, epochs, patience, min_delta=0.0):
    best, bad = float("inf"), 0
    for _ in range(epochs):
        train()
        loss = val()
        if loss < best - min_delta:
            best, kept, bad = loss, copy.deepcopy(model), 0
        else:
            bad += 1
        if bad >= patience:
            break
    model = kept
    return best


def _with(condition, count=lambda bad, patience: bad >= patience, reset=True):
    def fit(model, train, val, epochs, patience, min_delta=0.0):
        train()
        best, state, bad = val(), copy.deepcopy(model.state_dict()), 0
        for _ in range(epochs - 1):
            train()
            loss = val()
            if condition(loss, best, min_delta):
                best, state = loss, copy.deepcopy(model.state_dict())
                bad = 0 if reset else bad
            else:
                bad += 1
                if count(bad, patience):
                    break
        model.load_state_dict(state)
        return best

    return fit


def _below(loss, best, min_delta):
    return loss < best - min_delta


def _minimum(model, train, val, epochs, patience, min_delta=0.0):
    """By the list of losses."""
    losses, states = [], []
    for _ in range(epochs):
        train()
        losses.append(val())
        states.append(copy.deepcopy(model.state_dict()))
        if len(losses) - 1 - losses.index(min(losses)) >= patience:
            break
    best = losses.index(min(losses))
    model.load_state_dict(states[best])
    return losses[best]


def _rebinds(model, train, val, epochs, patience, min_delta=0.0):
    best, state, bad = float("inf"), None, 0
    for _ in range(epochs):
        train()
        loss = val()
        if loss < best - min_delta:
            best, bad = loss, 0
            state = copy.deepcopy(model)
        else:
            bad += 1
        if bad == patience:
            break
    model.__dict__.update(state.__dict__)
    return best


def _half_precision(model, train, val, epochs, patience, min_delta=0.0):
    """Saves memory, and bits."""
    best, bad = float("inf"), 0
    for _ in range(epochs):
        train()
        loss = val()
        if loss < best - min_delta:
            best, bad = loss, 0
            kept = {k: v.to(torch.float16, copy=True) for k, v in model.state_dict().items()}
        else:
            bad += 1
        if bad == patience:
            break
    model.load_state_dict(kept)
    return best


def _val_without_gradients(model, train, val, epochs, patience, min_delta=0.0):
    def without():
        torch.set_grad_enabled(False)
        return val()

    return _weights_by_hand(model, train, without, epochs, patience, min_delta)


def _weights_by_hand(model, train, val, epochs, patience, min_delta=0.0):
    best, kept, bad = float("inf"), None, 0
    for _ in range(epochs):
        train()
        loss = val()
        if loss < best - min_delta:
            best, bad, kept = loss, 0, [p.detach().clone() for p in model.parameters()]
        else:
            bad += 1
        if bad == patience:
            break
    with torch.no_grad():
        for p, q in zip(model.parameters(), kept, strict=True):
            p.copy_(q)
    return best


def _passes_nan_over(model, train, val, epochs, patience, min_delta=0.0):
    """A nan is passed over."""
    best, state, bad = None, None, 0
    for _ in range(epochs):
        train()
        loss = val()
        if loss != loss:
            continue
        if best is None or loss < best - min_delta:
            best, bad, state = loss, 0, copy.deepcopy(model.state_dict())
        else:
            bad += 1
        if bad == patience:
            break
    model.load_state_dict(state)
    return best


_LIVE = "A state_dict() holds live references to the weights"
_BELOW = "Better is below best - "

WRONG = [
    Mistake(_LIVE, caught_by="", fit=_live),
    Mistake(_LIVE, caught_by="", fit=_restored_on_a_break),
    Mistake(_LIVE, caught_by="", fit=_same_model),
    Mistake(_LIVE, caught_by="", fit=_copies_without_loading),
    Mistake("a float64 buffer was 0.2 after epoch 2", caught_by="", fit=_half_precision),
    Mistake("gradients are switched off in train()", caught_by="", fit=_val_without_gradients),
    Mistake("An epoch with nan counts as one that was not better", caught_by="", fit=_passes_nan_over),
    Mistake("is another Parameter than before", caught_by="", fit=_rebinds),
    Mistake("the buffer `seen` is that of epoch", caught_by="", fit=_weights_by_hand),
    Mistake(
        "One too many: 2 epochs in a row", caught_by="", fit=_with(_below, lambda bad, patience: bad == patience + 1)
    ),
    Mistake("2 epochs in a row were not better", caught_by="", fit=_with(_below, lambda bad, patience: bad > 2)),
    Mistake("1 epochs in a row were not better", caught_by="", fit=_with(_below, lambda bad, patience: bad > 9)),
    Mistake("3 epochs in a row were not better", caught_by="", fit=_with(lambda loss, best, d: loss + d <= best)),
    Mistake("the count begins anew there", caught_by="", fit=_with(_below, reset=False)),
    Mistake(_BELOW, caught_by="", fit=_minimum),
    Mistake(_BELOW, caught_by="", fit=_with(lambda loss, best, d: loss < best and best - loss >= d)),
    Mistake(_BELOW, caught_by="", fit=_with(lambda loss, best, d: (best - loss) / abs(best) > d)),
    Mistake("so nan is not better", caught_by="", fit=_with(lambda loss, best, d: not (loss >= best - d))),
    Mistake("so nan is not better", caught_by="", fit=_with(lambda loss, best, d: not (best - loss <= d))),
    Mistake("2 epochs in a row were not better", caught_by="", fit=_with(lambda loss, best, d: abs(best - loss) > d)),
]
