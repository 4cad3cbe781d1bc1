"""Answers that people give to the_silent_outer_product, right ones and wrong ones."""

import warnings
from itertools import zip_longest

import numpy as np
import torch
import torch.nn.functional as F

from dojo import Mistake


def _shape_with_a_loop(a, b):
    n = max(len(a), len(b))
    a, b = (1,) * (n - len(a)) + tuple(a), (1,) * (n - len(b)) + tuple(b)
    out = ()
    for i in range(n):
        if a[i] == 1:
            out += (b[i],)
        elif b[i] in (1, a[i]):
            out += (a[i],)
        else:
            raise ValueError(f"dimension {i}: {a[i]} and {b[i]}")
    return out


def _shape_by_torch(a, b):
    try:
        return tuple(torch.broadcast_shapes(a, b))
    except RuntimeError as error:
        raise ValueError(f"{a} and {b} cannot be broadcast") from error


def _shape_by_adding(a, b):
    try:
        return (torch.empty(a, device="meta") + torch.empty(b, device="meta")).shape
    except RuntimeError as error:
        raise ValueError(str(error)) from None


def _mse_of_torch(pred, target):
    if pred.size() != target.size():
        raise ValueError("shapes differ")
    return F.mse_loss(pred, target)


def _mse_with_assert(pred, target):
    assert pred.shape == target.shape, "shapes differ"
    return ((pred - target) ** 2).sum() / pred.numel()


def _accuracy_with_assert(pred, target):
    assert pred.shape == target.shape, "shapes differ"
    return (pred == target).sum().item() / len(target)


def _accuracy_of_lists(pred, target):
    if pred.shape != target.shape:
        raise RuntimeError("shapes differ")
    return sum(p == t for p, t in zip(pred.tolist(), target.tolist(), strict=True)) / target.numel()


def _accuracy_counted(pred, target):
    if list(pred.shape) != list(target.shape):
        raise TypeError("shapes differ")
    return torch.count_nonzero(pred == target) / target.numel()


def _shape_with_zip_longest(a, b):
    out = []
    for p, q in zip_longest(a, b, fillvalue=1):
        if p != q and 1 not in (p, q):
            raise ValueError
        out.append(max(p, q))
    return tuple(out)


def _shape_with_zip(a, b):
    return tuple(max(p, q) for p, q in zip(a[::-1], b[::-1], strict=False))[::-1]


def _shape_of_the_second(a, b):
    out = _shape_with_a_loop(a, b)
    return tuple(b) if len(b) >= len(a) else out


def _mse_in_one_row(pred, target):
    return (pred.reshape(-1) - target.reshape(-1)).square().mean()


def _mse_with_warnings(pred, target):
    return torch.nn.MSELoss()(pred, target)


def _mse_of_equal_counts(pred, target):
    if pred.numel() != target.numel():
        raise ValueError
    return F.mse_loss(pred, target)


def _accuracy_per_row(pred, target):
    hits = (pred == target).float()
    return hits.mean()


def _mse_by_norm(pred, target):
    if pred.shape != target.shape:
        raise ValueError(f"{pred.shape} != {target.shape}")
    return torch.linalg.vector_norm(pred - target) ** 2 / pred.numel()


def _accuracy_by_numpy(pred, target):
    if pred.shape != target.shape:
        raise ValueError(f"{pred.shape} != {target.shape}")
    return np.mean(pred.numpy() == target.numpy())


def _shape_that_gives_up(a, b):
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return None


def _mse_that_makes_warnings_errors(pred, target):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return torch.nn.functional.mse_loss(pred, target)


def _accuracy_with_a_bare_exception(pred, target):
    if pred.shape != target.shape:
        raise Exception("unequal shapes")
    return (pred == target).double().mean().item()


def _mse_as_a_float(pred, target):
    if pred.shape != target.shape:
        raise IndexError
    return ((pred.double() - target) ** 2).mean().item()


def _accuracy_as_numpy_float32(pred, target):
    if pred.shape != target.shape:
        raise ValueError
    return (pred.numpy() == target.numpy()).astype(np.float32).mean()


def _mse_of_the_grown_side(pred, target):
    """In place, so that target cannot grow; but pred is stretched to it."""
    difference = target.clone()
    difference -= pred
    return difference.square().mean()


RIGHT = [
    dict(mse=_mse_as_a_float, accuracy=_accuracy_as_numpy_float32),
    dict(mse=_mse_that_makes_warnings_errors, accuracy=_accuracy_with_a_bare_exception),
    dict(broadcast_shape=_shape_with_a_loop, mse=_mse_of_torch, accuracy=_accuracy_with_assert),
    dict(broadcast_shape=np.broadcast_shapes, mse=_mse_with_assert, accuracy=_accuracy_of_lists),
    dict(broadcast_shape=_shape_by_torch),
    dict(broadcast_shape=_shape_by_adding, accuracy=_accuracy_counted),
    dict(
        mse=lambda p, t: torch.stack([p, t]).diff(dim=0).square().mean(),
        accuracy=lambda p, t: (torch.stack([p, t])[0] == t).double().mean(),
    ),
    dict(mse=_mse_by_norm, accuracy=_accuracy_by_numpy),
]

WRONG = [
    Mistake("which is 0.005 in float64", caught_by="", mse=lambda p, t: _mse_of_torch(p, t).float()),
    Mistake(
        "which is 2**-25", caught_by="", mse=lambda p, t: _mse_of_torch(p, t) if p.dim() > 1 else (p - t).abs().mean()
    ),
    Mistake("one number for both", caught_by="", accuracy=lambda p, t: _accuracy_with_assert(p / 1.0, t.double())),
    Mistake("which is 2**-61", caught_by="", mse=lambda p, t: _mse_of_torch(p.to(torch.float32), t.to(torch.float32))),
    Mistake("one number for both", caught_by="", accuracy=lambda p, t: _accuracy_with_assert(p * 1.0, t * 1.0)),
    Mistake("pairs that do not belong together", caught_by="", mse=_mse_of_the_grown_side),
    Mistake("not the larger size wins", caught_by="", broadcast_shape=_shape_with_zip_longest),
    Mistake("you lost the leading dimensions", caught_by="", broadcast_shape=_shape_with_zip),
    Mistake("aligned at the right, make", caught_by="", broadcast_shape=_shape_of_the_second),
    Mistake(
        "do not fit together",
        caught_by="",
        broadcast_shape=lambda a, b: torch.broadcast_tensors(torch.empty(a), torch.empty(b))[0].shape,
    ),
    Mistake("to the shape of the other", caught_by="", mse=_mse_in_one_row),
    Mistake("pairs that do not belong together", caught_by="", mse=_mse_with_warnings),
    Mistake("pairs that do not belong together", caught_by="", mse=_mse_of_equal_counts),
    Mistake("wrong answers score: here", caught_by="", accuracy=_accuracy_per_row),
    Mistake("wrong answers score: here", caught_by="", accuracy=lambda p, t: (p.eq(t)).sum().item() / t.shape[0]),
    Mistake("was the share rounded down", caught_by="", accuracy=lambda p, t: (p == t).sum() // p.numel()),
    Mistake("pairs that do not belong together", caught_by="", mse=lambda p, t: F.mse_loss(p.squeeze(), t.squeeze())),
    Mistake("(4 + 16) / 6", caught_by="", mse=lambda p, t: _mse_of_torch(p, t).sqrt()),
    Mistake("which is 0.75", caught_by="", accuracy=lambda p, t: _accuracy_of_lists(p, t) * 100),
    Mistake("wrong answers score: here", caught_by="", accuracy=lambda p, t: torch.isin(p, t).float().mean()),
    Mistake("do not fit together", caught_by="", broadcast_shape=_shape_that_gives_up),
]
