"""The silent outer product: reference.

Hint: Walk both shapes from their last dimension to the first. And what must be equal before a metric may compare?
Hint: `itertools.zip_longest` fills up the shorter of two sequences. The shapes of two tensors compare with `!=`.
Hint: Reverse both shapes, fill up with 1. Unequal and neither is 1: an error; else the size that is not the 1.

Why: Broadcasting aligns at the right and fills up with 1, so (N,) is a *row* (1, N), and beside a column (N, 1) it
makes (N, N). No operator can know that you meant pairs: you have to say it, with a check of the shapes, or by bringing
them together on purpose (`squeeze(1)`, `view_as`). Sizes of 0 follow the rule too: 1 is stretched to 0, 2 is not.
"""

from itertools import zip_longest

import torch

from dojo import Mistake


def broadcast_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    shape: list[int] = []
    for p, q in zip_longest(reversed(a), reversed(b), fillvalue=1):
        if p != q and 1 not in (p, q):
            raise ValueError(f"{tuple(a)} and {tuple(b)} cannot be broadcast")
        shape.append(q if p == 1 else p)
    return tuple(reversed(shape))


def mse(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    _same_shape(pred, target)
    return (pred - target).square().mean()


def accuracy(pred: torch.Tensor, target: torch.Tensor) -> float | torch.Tensor:
    _same_shape(pred, target)
    return (pred == target).float().mean()


def _same_shape(pred, target):
    if pred.shape != target.shape:
        raise ValueError(f"pred is {tuple(pred.shape)}, target is {tuple(target.shape)}")


def _padded(a, b):
    n = max(len(a), len(b))
    return (1,) * (n - len(a)) + tuple(a), (1,) * (n - len(b)) + tuple(b)


def _shape_by_max(a, b):
    a, b = _padded(a, b)
    return tuple(max(p, q) for p, q in zip(a, b, strict=True))


def _shape_by_checked_max(a, b):
    a, b = _padded(a, b)
    if any(p != q and 1 not in (p, q) for p, q in zip(a, b, strict=True)):
        raise ValueError
    return tuple(max(p, q) for p, q in zip(a, b, strict=True))


def _shape_aligned_at_the_left(a, b):
    n = max(len(a), len(b))
    a, b = tuple(a) + (1,) * (n - len(a)), tuple(b) + (1,) * (n - len(b))
    return broadcast_shape(a, b)


def _shape_without_leading_dimensions(a, b):
    n = min(len(a), len(b))
    return broadcast_shape(a[len(a) - n :], b[len(b) - n :])


def _shape_of_equal_ranks(a, b):
    if len(a) != len(b):
        raise ValueError("ranks differ")
    return broadcast_shape(a, b)


def _shape_of_the_longer(a, b):
    return tuple(max((a, b), key=len)) if broadcast_shape(a, b) else ()


def _shape_that_stretches_zero(a, b):
    a, b = _padded(a, b)
    if any(p != q and not {p, q} & {0, 1} for p, q in zip(a, b, strict=True)):
        raise ValueError
    return tuple(q if p == 1 else p for p, q in zip(a, b, strict=True))


def _mse_of_equal_ranks(pred, target):
    if pred.dim() != target.dim():
        raise ValueError("ranks differ")
    return (pred - target).square().mean()


def _mse_of_equal_lengths(pred, target):
    if len(pred) != len(target):
        raise ValueError("lengths differ")
    return (pred - target).square().mean()


def _accuracy_of_equal_counts(pred, target):
    if pred.numel() != target.numel():
        raise ValueError("counts differ")
    return (pred == target).sum().item() / len(target)


def _accuracy_of_bools(pred, target):
    _same_shape(pred, target)
    return (pred == target).mean()


def _accuracy_rounded_down(pred, target):
    _same_shape(pred, target)
    return (pred == target).sum() // len(target)


def _accuracy_as_a_count(pred, target):
    _same_shape(pred, target)
    return (pred == target).sum()


def _mse_in_place(pred, target):
    _same_shape(pred, target)
    pred -= target
    return pred.square().mean()


def _accuracy_by_distance(pred, target):
    _same_shape(pred, target)
    return 1 - (pred - target).abs().float().mean()


_SHAPES = "test_shapes_are_aligned_at_the_right"
_NO_FIT = "test_only_a_one_is_stretched"
_MSE = "test_mse_is_a_mean_over_all_values"
_OUTER = "test_a_column_against_a_row_is_an_outer_product"
_SHARE = "test_accuracy_is_a_share"
_TABLE = "test_a_table_of_comparisons_finds_every_label"
_PAIRS = "pairs that do not belong together"

MISTAKES = [
    Mistake("which is 2**-61", caught_by=_MSE, mse=lambda pred, target: mse(pred.float(), target.float())),
    Mistake("which is 2**-25", caught_by=_MSE, mse=lambda p, t: mse(p.half().to(p), t.half().to(t))),
    Mistake("which is 0.005 in float64", caught_by=_MSE, mse=lambda p, t: torch.tensor(mse(p, t).item())),
    Mistake("one number for both", caught_by=_SHARE, accuracy=lambda p, t: accuracy(p.double(), t.double())),
    Mistake("one number for both", caught_by=_SHARE, accuracy=lambda p, t: accuracy(p.float(), t.float())),
    Mistake("accuracy changed what", caught_by=_SHARE, accuracy=lambda p, t: 1 - p.sub_(t).clamp(0, 1).float().mean()),
    Mistake(
        "3001 of 4001 are right",
        caught_by=_SHARE,
        accuracy=lambda p, t: (_same_shape(p, t), (p == t).half().sum() / len(t))[1],
    ),
    Mistake(
        "an error is asked for",
        caught_by=_TABLE,
        accuracy=lambda p, t: (p.view(-1) == t.view(-1)).float().mean() if p.numel() == t.numel() else accuracy(p, t),
    ),
    Mistake("changed what it was given", caught_by=_MSE, mse=_mse_in_place),
    Mistake("which is 0.75, not", caught_by=_SHARE, accuracy=_accuracy_by_distance),
    Mistake("to the shape of the other", caught_by=_OUTER, mse=lambda p, t: (p - t.view_as(p)).square().mean()),
    Mistake("do not fit together", caught_by=_NO_FIT, broadcast_shape=_shape_by_max),
    Mistake("not the larger size wins", caught_by=_SHAPES, broadcast_shape=_shape_by_max),
    Mistake("not the larger size wins", caught_by=_SHAPES, broadcast_shape=_shape_by_checked_max),
    Mistake("fit together", caught_by=_SHAPES, broadcast_shape=_shape_aligned_at_the_left),
    Mistake("you lost the leading dimensions", caught_by=_SHAPES, broadcast_shape=_shape_without_leading_dimensions),
    Mistake("fit together", caught_by=_SHAPES, broadcast_shape=_shape_of_equal_ranks),
    Mistake("aligned at the right, make", caught_by=_SHAPES, broadcast_shape=_shape_of_the_longer),
    Mistake("expected a tuple", caught_by=_SHAPES, broadcast_shape=lambda a, b: list(broadcast_shape(a, b))),
    Mistake("do not fit together", caught_by=_NO_FIT, broadcast_shape=_shape_that_stretches_zero),
    Mistake("do not fit together", caught_by=_NO_FIT, broadcast_shape=lambda a, b: torch.broadcast_shapes(a, b)),
    Mistake(_PAIRS, caught_by=_OUTER, mse=lambda pred, target: torch.nn.functional.mse_loss(pred, target)),
    Mistake(_PAIRS, caught_by=_OUTER, mse=lambda pred, target: (pred - target).square().mean()),
    Mistake(_PAIRS, caught_by=_OUTER, mse=_mse_of_equal_ranks),
    Mistake(_PAIRS, caught_by=_OUTER, mse=_mse_of_equal_lengths),
    Mistake("(4 + 16) / 6", caught_by=_MSE, mse=lambda pred, target: _mse_of_equal_ranks(pred, target) * len(pred)),
    Mistake(
        "(4 + 16) / 6",
        caught_by=_MSE,
        mse=lambda pred, target: (_same_shape(pred, target), (pred - target).square().sum())[1],
    ),
    Mistake("was the share rounded down", caught_by=_SHARE, accuracy=_accuracy_rounded_down),
    Mistake("bools have no mean", caught_by=_SHARE, accuracy=_accuracy_of_bools),
    Mistake("which is 0.75", caught_by=_SHARE, accuracy=_accuracy_as_a_count),
    Mistake(
        "wrong answers score: here",
        caught_by=_TABLE,
        accuracy=lambda pred, target: (pred == target).sum() / len(target),
    ),
    Mistake("wrong answers score: here", caught_by=_TABLE, accuracy=_accuracy_of_equal_counts),
]
