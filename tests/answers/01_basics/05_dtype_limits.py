"""Answers that people give to dtype_limits, right ones and wrong ones."""

import numpy as np
import torch

from dojo import Mistake


def _next_after_minus_inf(dtype):
    zero = torch.zeros((), dtype=dtype)
    return torch.nextafter(torch.full_like(zero, float("-inf")), zero).item()


def _double_until_it_sticks(dtype):
    n = torch.ones((), dtype=dtype)
    while n + 1 != n:
        n = n * 2
    return int(n)


def _double_until_cast_changes(dtype):
    n = 1
    while int(torch.tensor(n + 1).to(dtype)) == n + 1:
        n *= 2
    return n


def _infinity_then_zeros(scores, keep):
    return scores.masked_fill(~keep, float("-inf")).softmax(-1).nan_to_num(0.0)


def _renormalise(scores, keep):
    weights = scores.double().masked_fill(~keep, -float("inf"))
    weights = torch.where(keep.any(-1, keepdim=True), weights, 0.0).softmax(-1)
    return torch.where(keep, weights, 0.0).to(scores.dtype)


def _row_by_row(scores, keep):
    out = torch.zeros_like(scores)
    for row, mask, result in zip(scores.flatten(0, -2), keep.flatten(0, -2), out.flatten(0, -2), strict=True):
        if mask.any():
            result[mask] = row[mask].softmax(0)
    return out


def _by_hand(scores, keep):
    low = scores.masked_fill(~keep, torch.finfo(scores.dtype).min)
    e = (low - low.amax(-1, keepdim=True)).exp() * keep
    return e / e.sum(-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)


def _only_rows_with_something(scores, keep):
    weights = scores.masked_fill(~keep, float("-inf")).softmax(-1)
    return torch.where(keep.any(-1, keepdim=True), weights, 0.0)


def _in_float32_and_back(scores, keep):
    wide = torch.promote_types(scores.dtype, torch.float32)
    weights = torch.softmax(scores.to(wide).masked_fill(~keep, -torch.inf), -1)
    return weights.masked_fill(~keep, 0.0).to(scores.dtype)


def _scores_times_keep(scores, keep):
    return (scores * keep).softmax(-1)


def _add_a_large_negative(scores, keep):
    return (scores + (~keep).to(scores.dtype) * -10000.0).softmax(-1)


def _where_billion(scores, keep):
    return torch.where(keep, scores, torch.full_like(scores, -1e9)).softmax(-1)


def _softmax_then_renormalise(scores, keep):
    p = scores.softmax(-1) * keep
    return p / p.sum(-1, keepdim=True)


def _over_the_rows(scores, keep):
    return scores.masked_fill(~keep, torch.finfo(scores.dtype).min).softmax(0).masked_fill(~keep, 0.0)


def _by_numpy(dtype):
    return np.float64(torch.finfo(dtype).min)


def _count_in_numpy(dtype):
    return np.int64(2 / torch.finfo(dtype).eps)


RIGHT = [
    dict(
        mask_value=lambda d: -torch.finfo(d).max, first_gap=_double_until_it_sticks, masked_softmax=_infinity_then_zeros
    ),
    dict(mask_value=_next_after_minus_inf, first_gap=_double_until_cast_changes, masked_softmax=_renormalise),
    dict(first_gap=lambda d: 2 / torch.finfo(d).eps, masked_softmax=_row_by_row),
    dict(
        first_gap=lambda d: 2 ** round(1 - torch.log2(torch.tensor(torch.finfo(d).eps)).item()), masked_softmax=_by_hand
    ),
    dict(masked_softmax=_only_rows_with_something),
    dict(
        mask_value=lambda d: float(torch.finfo(d).min),
        first_gap=lambda d: round(2 * torch.finfo(d).eps ** -1),
        masked_softmax=lambda s, k: (s.masked_fill(~k, -torch.inf).log_softmax(-1).exp()).masked_fill(~k, 0),
    ),
    dict(masked_softmax=lambda s, k: (s + torch.zeros_like(s).masked_fill(~k, -torch.inf)).softmax(-1).nan_to_num()),
    dict(mask_value=_by_numpy, first_gap=_count_in_numpy, masked_softmax=_in_float32_and_back),
]

WRONG = [
    Mistake(
        "two kept scores of -1e35",
        caught_by="",
        masked_softmax=lambda s, k: torch.where(k, s.double(), -1e20).softmax(-1).masked_fill(~k, 0).to(s.dtype),
    ),
    Mistake("is nearly 0: finfo.tiny", caught_by="", mask_value=lambda d: -torch.finfo(d).eps),
    Mistake("is not negative", caught_by="", mask_value=lambda d: torch.finfo(d).max),
    Mistake("is not finite", caught_by="", mask_value=lambda d: torch.tensor(-torch.inf, dtype=d)),
    Mistake("is not the most negative", caught_by="", mask_value=lambda d: -1e4),
    Mistake(
        "there the distance to the next number is 1", caught_by="", first_gap=lambda d: round(torch.finfo(d).eps ** -1)
    ),
    Mistake("the first n with n + 1 not in", caught_by="", first_gap=lambda d: 2**24),
    Mistake("and a score of 0 would too", caught_by="", masked_softmax=_scores_times_keep),
    Mistake(
        "all the weight is where keep is False",
        caught_by="",
        masked_softmax=lambda s, k: s.masked_fill(k, -torch.inf).softmax(-1).nan_to_num(),
    ),
    Mistake("equal scores, equal weights", caught_by="", masked_softmax=_add_a_large_negative),
    Mistake("equal scores, equal weights", caught_by="", masked_softmax=_where_billion),
    Mistake("a row of nothing but -inf", caught_by="", masked_softmax=_softmax_then_renormalise),
    Mistake("each row is a softmax", caught_by="", masked_softmax=_over_the_rows),
    Mistake(
        "two kept scores near -1000000.0",
        caught_by="",
        masked_softmax=lambda s, k: s.masked_fill(~k, -1e4).softmax(-1) * k,
    ),
    Mistake(
        "a Python float was asked for", caught_by="", mask_value=lambda d: torch.tensor(torch.finfo(d).min, dtype=d)
    ),
    Mistake("torch.iinfo is for integers", caught_by="", mask_value=lambda d: -torch.iinfo(d).max),
    Mistake(
        "with the digits of torch.float64",
        caught_by="",
        masked_softmax=lambda s, k: _infinity_then_zeros(s.to(torch.float32), k).type_as(s),
    ),
]
