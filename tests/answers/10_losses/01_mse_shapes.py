"""Answers that people give to mse_shapes, right ones and wrong ones."""

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


def _by_hand(pred, target, reduction="mean"):
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(reduction)
    if pred.size() != target.size():
        raise ValueError(f"{pred.size()} != {target.size()}")
    squares = (pred - target).pow(2)
    if reduction == "mean":
        return squares.mean()
    return squares.sum() if reduction == "sum" else squares


def _matched(pred, target, reduction="mean"):
    if tuple(pred.shape) != tuple(target.shape):
        raise ValueError("shapes")
    d = pred - target
    match reduction:
        case "none":
            return d * d
        case "sum":
            return (d * d).sum()
        case "mean":
            return torch.dot(d.flatten(), d.flatten()) / d.numel()
        case other:
            raise ValueError(f"no reduction {other}")


def _module(pred, target, reduction="mean"):
    if list(pred.shape) != list(target.shape):
        raise ValueError("pred and target must have the same shape")
    return nn.MSELoss(reduction=reduction)(pred, target)


def _norm(pred, target, reduction="mean"):
    if pred.shape != target.shape or reduction not in {"mean", "sum", "none"}:
        raise ValueError
    squares = torch.square(target - pred)
    return squares if reduction == "none" else getattr(torch, reduction)(squares)


def _one_by_one(pred, target, reduction="mean"):
    """With loops, as in plain Python."""
    if list(pred.size()) != list(target.size()):
        raise ValueError("pred has %s and target %s" % (list(pred.size()), list(target.size())))
    if reduction not in ["mean", "sum", "none"]:
        raise ValueError(f"no such reduction: {reduction}")
    squares = [(a - b) * (a - b) for a, b in zip(pred.reshape(-1), target.reshape(-1))]
    if reduction == "none":
        return torch.stack(squares).view(pred.size())
    total = squares[0]
    for square in squares[1:]:
        total = total + square
    return total if reduction == "sum" else total / len(squares)


def _column_by_numpy(y):
    return torch.from_numpy(y.numpy().astype("float32")).view(-1, 1)


RIGHT = [
    dict(mse=_one_by_one, as_column=_column_by_numpy),
    dict(as_column=lambda y: torch.FloatTensor(y.tolist()).reshape(-1, 1)),
    dict(mse=_by_hand, as_column=lambda y: y.float().view(-1, 1)),
    dict(mse=_matched, as_column=lambda y: y.float() if y.dim() == 2 else y.float()[:, None]),
    dict(mse=_module, as_column=lambda y: y.type(torch.float32).flatten().unsqueeze(-1)),
    dict(mse=_norm, as_column=lambda y: torch.tensor(y.tolist(), dtype=torch.float32).reshape(len(y), 1)),
    dict(as_column=lambda y: torch.empty(y.shape[0], 1, dtype=torch.float32).copy_(y.reshape(y.shape[0], 1))),
]


def _no_check(pred, target, reduction="mean"):
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(reduction)
    squares = (pred - target) ** 2
    return squares if reduction == "none" else getattr(squares, reduction)()


def _flat(pred, target, reduction="mean"):
    return _by_hand(pred.flatten(), target.flatten(), reduction)


def _target_in_shape(pred, target, reduction="mean"):
    return _by_hand(pred, target.reshape(pred.shape) if target.numel() == pred.numel() else target, reduction)


def _warns(pred, target, reduction="mean"):
    try:
        torch.broadcast_shapes(pred.shape, target.shape)
    except RuntimeError as error:
        raise ValueError("shapes") from error
    return F.mse_loss(pred, target, reduction=reduction)


def _same_number_of_dims(pred, target, reduction="mean"):
    if pred.ndim != target.ndim:
        raise ValueError("dims")
    return _no_check(pred, target, reduction)


def _last_dim(pred, target, reduction="mean"):
    if pred.ndim != target.ndim or pred.shape[:1] != target.shape[:1]:
        raise ValueError("dims")
    return _no_check(pred, target, reduction)


def _type_error(pred, target, reduction="mean"):
    if pred.shape != target.shape:
        raise TypeError("shapes")
    return _no_check(pred, target, reduction)


def _rmse(pred, target, reduction="mean"):
    return torch.sqrt(_by_hand(pred, target, reduction))


def _huber(pred, target, reduction="mean"):
    _by_hand(pred, target, reduction)
    return F.smooth_l1_loss(pred, target, reduction=reduction)


def _over_rows(pred, target, reduction="mean"):
    if reduction == "mean":
        return _by_hand(pred, target, "sum") / pred.shape[0]
    return _by_hand(pred, target, reduction)


def _otherwise_none(pred, target, reduction="mean"):
    if reduction in ("mean", "sum"):
        return _by_hand(pred, target, reduction)
    return _by_hand(pred, target, "none")


def _rounded(pred, target, reduction="mean"):
    loss = _by_hand(pred, target, reduction)
    return loss if reduction == "none" else float(loss.detach())


def _detached(pred, target, reduction="mean"):
    return _by_hand(pred, target, reduction).detach()


def _subtracts_in_place(pred, target, reduction="mean"):
    if pred.requires_grad:
        return _by_hand(pred, target, reduction)
    _by_hand(pred, target, reduction)
    return _by_hand(pred.sub_(target), torch.zeros_like(pred), reduction)


def _school(pred, target, reduction="mean"):
    mse = F.mse_loss(pred, target, reduction=reduction) if pred.shape == target.shape else None
    if mse is None:
        raise ValueError("shapes differ")
    squares = pred * pred + target * target - 2 * pred * target
    return squares if reduction == "none" else getattr(squares, reduction)()


WRONG = [
    Mistake("first the difference, then its square", caught_by="", mse=_school),
    Mistake("a perfect prediction, (3, 1) beside (3,): broadcast to 3 x 3", caught_by="", mse=_no_check),
    Mistake("a perfect prediction, (3, 1) beside (3,): broadcast to 3 x 3", caught_by="", mse=_flat),
    Mistake("a perfect prediction, (3, 1) beside (3,): broadcast to 3 x 3", caught_by="", mse=_target_in_shape),
    Mistake("a perfect prediction, (3, 1) beside (3,): broadcast to 3 x 3", caught_by="", mse=_warns),
    Mistake("a perfect prediction, (3, 1) beside (3,): broadcast to 3 x 3", caught_by="", mse=_type_error),
    Mistake("pred (8, 18) and target (1, 18) differ in shape", caught_by="", mse=_same_number_of_dims),
    Mistake("pred (3, 1) and target (3, 4) differ in shape", caught_by="", mse=_last_dim),
    Mistake("the root of the squares was taken", caught_by="", mse=_rmse),
    Mistake("of the squares 0, 4 and 16", caught_by="", mse=_huber),
    Mistake("12: the sum was divided by the batch", caught_by="", mse=_over_rows),
    Mistake("reduction='average' is none of the three", caught_by="", mse=_otherwise_none),
    Mistake("mse returns a tensor, got float", caught_by="", mse=_rounded),
    Mistake("mse changes no argument", caught_by="", mse=_subtracts_in_place),
    Mistake("the loss hangs on no graph", caught_by="", mse=_detached),
    Mistake("expected the shape (4, 1), got (4, 1, 1)", caught_by="", as_column=lambda y: y[..., None].float()),
    Mistake("expected float32, got torch.int64", caught_by="", as_column=lambda y: torch.column_stack([y])),
    Mistake("expected float32, got torch.float64", caught_by="", as_column=lambda y: y.reshape(-1, 1) * 1.0),
    Mistake("expected the shape (4, 1), got (4,)", caught_by="", as_column=lambda y: y.squeeze().float()),
]
