"""Answers that people give to view_or_copy, right ones and wrong ones."""

import itertools

import numpy as np
import torch

from dojo import Mistake


def _fill_with_a_loop(x, values):
    for i, row in enumerate(x):
        row.copy_(values[i * row.numel() : (i + 1) * row.numel()].view(row.shape))
    return x


def _fill_by_slice(x, values):
    x[...] = values.reshape(x.shape)
    return x


def _flat_or_copy(x):
    try:
        return x.view(x.numel())
    except RuntimeError:
        return x.contiguous().view(x.numel())


def _fill_flattened(x, values):
    x.flatten().copy_(values)
    return x


def _refuse_in_own_words(x):
    try:
        return x.view((x.numel(),))
    except RuntimeError:
        raise RuntimeError("no") from None


def _view_if_shared(x):
    y = x.reshape(-1)
    if y.untyped_storage().data_ptr() != x.untyped_storage().data_ptr():
        raise RuntimeError("reshape had to copy")
    return y


def _fill_by_numpy(x, values):
    x.numpy().flat[:] = values.numpy()
    return x


def _fill_by_index(x, values):
    for value, index in zip(values, itertools.product(*map(range, x.shape)), strict=True):
        x[index] = value
    return x


def _fill_rebound(x, values):
    x = values.reshape(x.shape)
    return x


def _view_or_value_error(x):
    y = x.reshape(-1)
    if y.data_ptr() != x.data_ptr():
        raise ValueError("x cannot be seen in one row")
    return y


def _fill_and_return_nothing(x, values):
    x.copy_(values.unflatten(0, x.shape))


def _fill_by_unravelled_index(x, values):
    x[torch.unravel_index(torch.arange(x.numel()), x.shape)] = values


def _view_if_dense(x):
    if x.stride(-1) != 1 and x.dim() != 1:
        raise RuntimeError("the rows do not lie side by side")
    return x.view(x.numel())


RIGHT = [
    dict(fill_flat_=_fill_and_return_nothing),
    dict(
        flat_view=lambda x: x.view([x.numel()]),
        flat=lambda x: torch.reshape(x, (x.nelement(),)),
        fill_flat_=lambda x, values: x.index_copy_(0, torch.arange(len(x)), values.view(x.shape)),
    ),
    dict(fill_flat_=_fill_by_unravelled_index),
    dict(fill_flat_=lambda x, v: x.copy_(v.view(x.shape)).clone()),
    dict(flat_view=lambda x: x.view(x.numel()), flat=_flat_or_copy, fill_flat_=_fill_by_slice),
    dict(flat_view=_refuse_in_own_words, flat=lambda x: x.flatten(), fill_flat_=_fill_with_a_loop),
    dict(flat=torch.ravel),
    dict(flat_view=_view_if_shared, flat=lambda x: x.ravel(), fill_flat_=_fill_by_numpy),
    dict(flat=lambda x: x.contiguous().view(-1), fill_flat_=_fill_by_index),
    dict(fill_flat_=lambda x, values: x.put_(torch.arange(x.numel()), values)),
    dict(fill_flat_=lambda x, values: x.masked_scatter_(torch.ones_like(x, dtype=torch.bool), values)),
]

WRONG = [
    Mistake("from each value to the next are 2 places", caught_by="", flat_view=_view_if_dense),
    Mistake("NumPy knows no bfloat16 and no graph", caught_by="", flat=lambda x: torch.from_numpy(np.ravel(x.numpy()))),
    Mistake("expected RuntimeError, got ValueError", caught_by="", flat_view=_view_or_value_error),
    Mistake("Asked is the error, not a copy or another order", caught_by="", flat_view=lambda x: torch.flatten(x)),
    Mistake(
        "Asked is the error, not a copy or another order",
        caught_by="",
        flat_view=lambda x: torch.cat([r for r in x.reshape(-1, 1)]),
    ),
    Mistake(
        "a write through the view must show in x", caught_by="", flat_view=lambda x: torch.tensor(x.tolist()).view(-1)
    ),
    Mistake("your write went nowhere", caught_by="", fill_flat_=_fill_flattened),
    Mistake("your write went nowhere", caught_by="", fill_flat_=_fill_rebound),
    Mistake("any shape may come", caught_by="", fill_flat_=lambda x, v: x.copy_(v.view(x.size(0), x.size(1)))),
    Mistake("where view refuses, it copies", caught_by="", flat=lambda x: x.view(x.numel())),
    Mistake(
        "along its rows, not through memory", caught_by="", fill_flat_=lambda x, v: x.copy_(v.view(x.shape[::-1]).mT)
    ),
    Mistake("holds the values of x.t() as they are", caught_by="", flat=lambda x: x.contiguous().half().view(-1)),
    Mistake(
        "you copied a contiguous tensor that could be viewed",
        caught_by="",
        flat=lambda x: x.clone().contiguous().view(-1),
    ),
    Mistake(
        "x is unchanged: the underscore promises",
        caught_by="",
        fill_flat_=lambda x, v: x.clone().copy_(v.view(x.shape)),
    ),
]
