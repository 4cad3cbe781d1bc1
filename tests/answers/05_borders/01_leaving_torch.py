"""Answers that people give to leaving_torch, right ones and wrong ones."""

import numpy as np
import torch

from dojo import Mistake


def _find_with_a_loop(tensors, t):
    for i in range(len(tensors)):
        if tensors[i].shape == t.shape and (tensors[i] == t).all():
            return i
    return -1


def _find_in_lists(tensors, t):
    keys = [(tuple(x.shape), x.tolist()) for x in tensors]
    key = (tuple(t.shape), t.tolist())
    return keys.index(key) if key in keys else -1


def _find_by_assert(tensors, t):
    for i, x in enumerate(tensors):
        try:
            torch.testing.assert_close(x, t, rtol=0, atol=0)
        except AssertionError:
            continue
        return i
    return -1


def _find_by_numpy(tensors, t):
    hits = [i for i, x in enumerate(tensors) if np.array_equal(x.numpy(), t.numpy())]
    return hits[0] if hits else -1


def _distinct_with_a_loop(scalars):
    seen = set()
    for s in scalars:
        seen.add(s.tolist())
    return seen


def _find_by_close(tensors, t):
    for i, x in enumerate(tensors):
        if torch.allclose(x.float(), t.float()):
            return i
    return -1


def _find_by_sum(tensors, t):
    for i, x in enumerate(tensors):
        if x.shape == t.shape and x.sum() == t.sum():
            return i
    return -1


RIGHT = [
    dict(
        log_row=lambda step, loss, preds: {
            "step": step,
            "loss": loss.detach().cpu().numpy().item(),
            "preds": preds.cpu().tolist(),
        },
        find=lambda ts, t: ([i for i, x in enumerate(ts) if x.equal(t)] + [-1])[0],
        distinct=lambda scalars: {float(x) if x.is_floating_point() else int(x) for x in scalars},
    ),
    dict(find=lambda ts, t: next((i for i, x in enumerate(ts) if x.shape == t.shape and bool(torch.all(x == t))), -1)),
    dict(
        log_row=lambda step, loss, preds: dict(step=step, loss=float(loss.detach()), preds=[p.item() for p in preds]),
        find=_find_with_a_loop,
        distinct=_distinct_with_a_loop,
    ),
    dict(
        log_row=lambda step, loss, preds: {"preds": preds.numpy().tolist(), "loss": loss.tolist(), "step": int(step)},
        find=_find_in_lists,
        distinct=lambda scalars: set(torch.stack(scalars).tolist()),
    ),
    dict(
        log_row=lambda step, loss, preds: {
            "step": step,
            "loss": float(loss),
            "preds": list(map(torch.Tensor.item, preds)),
        },
        find=_find_by_assert,
        distinct=lambda scalars: set(torch.tensor(scalars).unique().tolist()),
    ),
    dict(distinct=lambda scalars: set(torch.stack(scalars).unique().tolist())),
]

WRONG = [
    Mistake(
        "is in the list, at index 0",
        caught_by="",
        find=lambda ts, t: ([i for i, x in enumerate(ts) if x.shape == t.shape and not (x.mul(1) - t).any()] + [-1])[0],
    ),
    Mistake("find raised for torch.bfloat16", caught_by="", find=_find_by_numpy),
    Mistake(
        "distinct raised for torch.bfloat16",
        caught_by="",
        distinct=lambda scalars: set(np.unique([s.numpy() for s in scalars]).tolist()),
    ),
    Mistake(
        "numbers are wanted, in their order",
        caught_by="",
        log_row=lambda s, loss, p: dict(step=s, loss=loss.item(), preds=[round(v, 4) for v in p.tolist()]),
    ),
    Mistake(
        "are close, but not equal",
        caught_by="",
        find=lambda ts, t: next(
            (i for i, x in enumerate(ts) if x.shape == t.shape and bool(torch.isclose(x, t, rtol=1e-7).all())), -1
        ),
    ),
    Mistake(
        "expected {9007199254740992, 9007199254740993}",
        caught_by="",
        distinct=lambda s: set(torch.stack(s).float().tolist()),
    ),
    Mistake(
        "numbers are wanted, in their order",
        caught_by="",
        log_row=lambda step, loss, preds: {
            "step": step,
            "loss": float(loss),
            "preds": [float(p.float()) for p in preds],
        },
    ),
    Mistake("not whether there is one", caught_by="", find=lambda ts, t: [torch.equal(x, t) for x in ts]),
    Mistake(
        "list.index and `in` ask",
        caught_by="",
        find=lambda ts, t: torch.stack([x == t for x in ts]).all(1).nonzero()[0],
    ),
    Mistake("expected {", caught_by="", distinct=lambda s: {str(x.item()) for x in s}),
    Mistake("the loss is a tensor still", caught_by="", log_row=lambda s, loss, p: [s, loss.item(), p.tolist()]),
    Mistake(
        "the loss is a tensor still",
        caught_by="",
        log_row=lambda s, loss, p: dict(step=s, loss=loss.data, preds=p.tolist()),
    ),
    Mistake(
        "JSON wants a list", caught_by="", log_row=lambda s, loss, p: dict(step=s, loss=loss.item(), preds=p.detach())
    ),
    Mistake(
        "your list holds tensors",
        caught_by="",
        log_row=lambda s, loss, p: dict(step=s, loss=loss.item(), preds=[x for x in p]),
    ),
    Mistake(
        "numpy's numbers and arrays",
        caught_by="",
        log_row=lambda s, loss, p: dict(step=s, loss=loss.item(), preds=list(p.numpy())),
    ),
    Mistake(
        "numbers are wanted",
        caught_by="",
        log_row=lambda s, loss, p: dict(step=s, loss=loss.item(), preds=[str(x) for x in p.tolist()]),
    ),
    Mistake(
        "numbers are wanted",
        caught_by="",
        log_row=lambda s, loss, p: dict(step=s, loss=loss.item(), preds=p.tolist()[0]),
    ),
    Mistake(
        "you logged the text",
        caught_by="",
        log_row=lambda s, loss, p: dict(step=s, loss=str(loss.item()), preds=p.tolist()),
    ),
    Mistake(
        "all its digits",
        caught_by="",
        log_row=lambda s, loss, p: dict(step=s, loss=float(f"{loss:.3f}"), preds=p.tolist()),
    ),
    Mistake("list.index and `in` ask", caught_by="", find=lambda ts, t: [x == t for x in ts].index(True)),
    Mistake(
        "list.index and `in` ask", caught_by="", find=lambda ts, t: next((i for i, x in enumerate(ts) if x in [t]), -1)
    ),
    Mistake(
        "compare values, not objects",
        caught_by="",
        find=lambda ts, t: [id(x) for x in ts].index(id(t)) if id(t) in map(id, ts) else -1,
    ),
    Mistake(
        "find raised for a tensor that is not there",
        caught_by="",
        find=lambda ts, t: [torch.equal(x, t) for x in ts].index(True),
    ),
    Mistake(
        "find returns -1",
        caught_by="",
        find=lambda ts, t: next((i for i, x in enumerate(ts) if torch.equal(x, t)), None),
    ),
    Mistake("find returns -1 for a tensor that is not there: got", caught_by="", find=_find_by_sum),
    Mistake("where they do not broadcast", caught_by="", find=_find_by_close),
    Mistake("a tensor's hash is its identity", caught_by="", distinct=lambda s: {x for x in s}),
    Mistake("a tensor's hash is its identity", caught_by="", distinct=lambda s: set(torch.stack(s))),
    Mistake("a tensor's hash is its identity", caught_by="", distinct=lambda s: set(dict.fromkeys(s))),
    Mistake("distinct returns a set", caught_by="", distinct=lambda s: torch.unique(torch.stack(s))),
    Mistake("expected {", caught_by="", distinct=lambda s: {round(x.item(), 2) for x in s}),
]
