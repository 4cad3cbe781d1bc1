"""Leaving torch: reference.

Hint: Ask of each value whether it is a tensor still. A list of tensors, or a set of them, has left nothing behind.
Hint: `Tensor.item`, `Tensor.tolist`; and `torch.equal`, which answers with one bool.
Hint: For `find`, walk through the list with its indices and stop at the first equal one; for `distinct`, collect items.

Why: A tensor is not a value for Python: `==` is elementwise, so a container cannot ask it, and the hash is the
identity, so a set or a dict never asks. Numbers are values, so leave torch first, by `item` or `tolist`, both of which
also drop the graph and bring the data to the CPU. That makes them the point where a GPU has to be waited for: once
for each log line is fine, once for each sample is not.
"""

from typing import Any

import numpy as np
import torch

from dojo import Mistake


def log_row(step: int, loss: torch.Tensor, preds: torch.Tensor) -> dict[str, Any]:
    return {"step": step, "loss": loss.item(), "preds": preds.tolist()}


def find(tensors: list[torch.Tensor], t: torch.Tensor) -> int:
    return next((i for i, other in enumerate(tensors) if torch.equal(other, t)), -1)


def distinct(scalars: list[torch.Tensor]) -> set[Any]:
    return {s.item() for s in scalars}


def _row(step, loss, preds):
    return {"step": step, "loss": loss, "preds": preds}


def _row_and_no_graph(step, loss, preds):
    loss.detach_()
    return _row(step, loss.item(), preds.tolist())


def _find(tensors, t, same, absent=-1):
    for i, other in enumerate(tensors):
        if same(other, t):
            return i
    return absent


def _find_last(tensors, t):
    found = -1
    for i, other in enumerate(tensors):
        if torch.equal(other, t):
            found = i
    return found


def _find_or_raise(tensors, t):
    for i, other in enumerate(tensors):
        if torch.equal(other, t):
            return i
    raise ValueError("not in the list")


def _broadcast_equal(a, b):
    try:
        return bool((a == b).all())
    except RuntimeError:
        return False


_JSON = "test_json_knows_numbers_and_lists_no_tensors"
_FLOAT = "test_a_loss_leaves_as_a_float_not_as_text"
_INDEX = "test_in_and_index_want_one_truth_value"
_SHAPES = "test_comparing_different_shapes_broadcasts_or_fails"
_SET = "test_a_set_of_tensors_goes_by_identity"

MISTAKES = [
    Mistake(
        "is in the list, at index 0",
        caught_by=_INDEX,
        find=lambda ts, t: next(
            (i for i, x in enumerate(ts) if x.shape == t.shape and (x * 1 - t * 1).abs().sum() == 0), -1
        ),
    ),
    Mistake(
        "find raised for torch.bfloat16",
        caught_by=_INDEX,
        find=lambda ts, t: next((i for i, x in enumerate(ts) if np.array_equal(x.numpy(), t.numpy())), -1),
    ),
    Mistake(
        "distinct raised for torch.bfloat16",
        caught_by=_SET,
        distinct=lambda scalars: {s.numpy().item() for s in scalars},
    ),
    Mistake(
        "numbers are wanted, in their order",
        caught_by=_JSON,
        log_row=lambda step, loss, preds: (
            log_row(step, loss, (preds * 10**4).round() / 10**4)
            if preds.is_floating_point()
            else log_row(step, loss, preds)
        ),
    ),
    Mistake(
        "(0,) and (0, 3) are two shapes",
        caught_by="test_comparing_different_shapes_broadcasts_or_fails",
        find=lambda ts, t: next((i for i, x in enumerate(ts) if x.tolist() == t.tolist()), -1),
    ),
    Mistake(
        "are close, but not equal",
        caught_by=_INDEX,
        find=lambda ts, t: next((i for i, x in enumerate(ts) if x.shape == t.shape and torch.allclose(x, t)), -1),
    ),
    Mistake(
        "are close, but not equal",
        caught_by=_INDEX,
        find=lambda ts, t: next((i for i, x in enumerate(ts) if torch.equal(x.float(), t.float())), -1),
    ),
    Mistake(
        "numbers are wanted, in their order",
        caught_by=_JSON,
        log_row=lambda step, loss, preds: dict(step=step, loss=loss.item(), preds=preds.half().tolist()),
    ),
    Mistake(
        "in float64, you logged",
        caught_by="test_a_loss_leaves_as_a_float_not_as_text",
        log_row=lambda step, loss, preds: dict(step=step, loss=loss.float().item(), preds=preds.tolist()),
    ),
    Mistake(
        "expected {9007199254740992, 9007199254740993}",
        caught_by=_SET,
        distinct=lambda s: {float(x.float()) for x in s},
    ),
    Mistake("distinct changed its scalars", caught_by=_SET, distinct=lambda s: {s.pop().item() for _ in range(len(s))}),
    Mistake("the loss is a tensor still", caught_by=_JSON, log_row=lambda s, loss, p: _row(s, loss, p.tolist())),
    Mistake(
        "the loss is a tensor still", caught_by=_JSON, log_row=lambda s, loss, p: _row(s, loss.detach(), p.tolist())
    ),
    Mistake("JSON wants a list", caught_by=_JSON, log_row=lambda s, loss, p: _row(s, loss.item(), p)),
    Mistake("your list holds tensors", caught_by=_JSON, log_row=lambda s, loss, p: _row(s, loss.item(), list(p))),
    Mistake("numpy's numbers and arrays", caught_by=_JSON, log_row=lambda s, loss, p: _row(s, loss.item(), p.numpy())),
    Mistake("numpy's numbers", caught_by=_JSON, log_row=lambda s, loss, p: _row(s, loss.detach().numpy(), p.tolist())),
    Mistake("numbers are wanted", caught_by=_JSON, log_row=lambda s, loss, p: _row(s, loss.item(), str(p))),
    Mistake("loss is not as it was: requires_grad", caught_by=_JSON, log_row=_row_and_no_graph),
    Mistake("you logged the text", caught_by=_FLOAT, log_row=lambda s, loss, p: _row(s, f"{loss:.4f}", p.tolist())),
    Mistake("are gone", caught_by=_FLOAT, log_row=lambda s, loss, p: _row(s, int(loss), p.tolist())),
    Mistake("all its digits", caught_by=_FLOAT, log_row=lambda s, loss, p: _row(s, round(loss.item(), 2), p.tolist())),
    Mistake("list.index and `in` ask", caught_by=_INDEX, find=lambda ts, t: ts.index(t)),
    Mistake("list.index and `in` ask", caught_by=_INDEX, find=lambda ts, t: ts.index(t) if t in ts else -1),
    Mistake("list.index and `in` ask", caught_by=_INDEX, find=lambda ts, t: _find(ts, t, lambda a, b: a == b)),
    Mistake("compare values, not objects", caught_by=_INDEX, find=lambda ts, t: _find(ts, t, lambda a, b: a is b)),
    Mistake("find returns the first", caught_by=_INDEX, find=_find_last),
    Mistake("not whether there is one", caught_by=_INDEX, find=lambda ts, t: any(torch.equal(t, o) for o in ts)),
    Mistake("find raised for a tensor that is not there", caught_by=_INDEX, find=_find_or_raise),
    Mistake("find returns -1", caught_by=_INDEX, find=lambda ts, t: _find(ts, t, torch.equal, absent=None)),
    Mistake(
        "find returns -1 for a tensor that is not there: got",
        caught_by=_INDEX,
        find=lambda ts, t: _find(ts, t, lambda a, b: a.shape == b.shape and bool((a == b).any() or a.numel() == 0)),
    ),
    Mistake(
        "where they do not broadcast", caught_by=_SHAPES, find=lambda ts, t: _find(ts, t, lambda a, b: (a == b).all())
    ),
    Mistake("another shape is another tensor", caught_by=_SHAPES, find=lambda ts, t: _find(ts, t, _broadcast_equal)),
    Mistake(
        "another shape is another tensor",
        caught_by=_SHAPES,
        find=lambda ts, t: _find(ts, t, lambda a, b: a.flatten().tolist() == b.flatten().tolist()),
    ),
    Mistake("a tensor's hash is its identity", caught_by=_SET, distinct=lambda scalars: set(scalars)),
    Mistake("your set holds tensors", caught_by=_SET, distinct=lambda scalars: set(torch.stack(scalars).unique())),
    Mistake("distinct returns a set", caught_by=_SET, distinct=lambda scalars: torch.stack(scalars).unique().tolist()),
    Mistake("expected {", caught_by=_SET, distinct=lambda scalars: {int(s) for s in scalars}),
    Mistake("distinct raised for", caught_by=_SET, distinct=lambda scalars: {s.tolist()[0] for s in scalars}),
    Mistake(
        "are close, but not equal",
        caught_by=_INDEX,
        find=lambda ts, t: next((i for i, x in enumerate(ts) if str(x) == str(t)), -1),
    ),
]
