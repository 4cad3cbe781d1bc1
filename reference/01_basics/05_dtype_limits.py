"""The limits of a dtype: reference.

Hint: Every limit asked for follows from one object that torch makes for a dtype; print it for float16 and look.
Hint: `torch.finfo` has `min`, `max`, `eps` and `tiny`. `Tensor.masked_fill` writes one value wherever a mask is True.
Hint: eps is the gap after 1, and gaps double with every power of two: where is the gap 2? For the mask: fill with the
smallest value, softmax, and then fill once more with what a masked place should have.

Why: Fill before the softmax, so that masked scores take no share of the sum; fill after it, so that they get exactly 0,
and a row of nothing but masked scores gets 0 instead of equal weights. finfo.min needs the dtype of the scores, so it
works in float16, where -1e9 overflows. And eps is 2 / first_gap: float32 counts to 16777216, float16 to 2048, which
is why losses and counters are summed in float32.
"""

import torch

from dojo import Mistake


def mask_value(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).min


def first_gap(dtype: torch.dtype) -> int:
    return int(2 / torch.finfo(dtype).eps)


def masked_softmax(scores: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    weights = scores.masked_fill(~keep, mask_value(scores.dtype)).softmax(dim=-1)
    return weights.masked_fill(~keep, 0.0)


def _fill(scores, keep, value):
    return scores.masked_fill(~keep, value).softmax(-1)


def _minus_100(scores, keep):
    return _fill(scores, keep, -100.0) * keep.any(-1, keepdim=True)


def _billion(scores, keep):
    return _fill(scores, keep, -1e9) * keep


def _only_after(scores, keep):
    return scores.softmax(-1) * keep


def _softmax_then_renormalise(scores, keep):
    weights = scores.softmax(-1) * keep
    return weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)


def _exp_with_eps(scores, keep):
    e = scores.exp() * keep
    return e / (e.sum(-1, keepdim=True) + 1e-9)


def _exp_without_shift(scores, keep):
    e = scores.exp() * keep
    return (e / e.sum(-1, keepdim=True)).masked_fill(~keep, 0.0)


def _shifted_by_one_maximum(scores, keep):
    e = (scores - scores[keep].max()).exp() * keep
    return torch.where(keep.any(-1, keepdim=True), e / e.sum(-1, keepdim=True), 0.0)


def _along_dim_0(scores, keep):
    flat = scores.masked_fill(~keep, torch.finfo(scores.dtype).min)
    return (flat.softmax(1)) * keep


def _over_the_columns(scores, keep):
    return scores.masked_fill(~keep, torch.finfo(scores.dtype).min).softmax(0) * keep


def _in_place(scores, keep):
    return scores.masked_fill_(~keep, torch.finfo(scores.dtype).min).softmax(-1) * keep


def _in_float32(scores, keep):
    return _fill(scores.float(), keep, -1e30) * keep


def _inverted(scores, keep):
    return masked_softmax(scores, ~keep)


def _count_up_to_the_missing_one(dtype):
    n = 1
    while torch.tensor(float(n), dtype=dtype).item() == n:
        n = 2 * n if torch.tensor(float(2 * n - 1), dtype=dtype).item() == 2 * n - 1 else n + 1
    return n


_MIN = "test_every_dtype_has_a_most_negative_number"
_GAP = "test_whole_numbers_have_a_first_gap"
_DTYPE = "test_a_mask_works_in_every_floating_dtype"
_ZERO = "test_masked_means_exactly_zero"
_ROW = "test_a_row_without_a_score_is_zero_not_nan"
_LAST = "test_softmax_runs_along_the_last_dimension_and_leaves_the_scores_alone"

MISTAKES = [
    Mistake("is nearly 0: finfo.tiny", caught_by=_MIN, mask_value=lambda d: -torch.finfo(d).tiny),
    Mistake("is not negative", caught_by=_MIN, mask_value=lambda d: torch.finfo(d).tiny),
    Mistake("is not finite", caught_by=_MIN, mask_value=lambda d: float("-inf")),
    Mistake("is beyond the range", caught_by=_MIN, mask_value=lambda d: -1e9),
    Mistake("is not the most negative", caught_by=_MIN, mask_value=lambda d: -65504.0),
    Mistake(
        "there the distance to the next number is 1", caught_by=_GAP, first_gap=lambda d: int(1 / torch.finfo(d).eps)
    ),
    Mistake("n is the one before the gap", caught_by=_GAP, first_gap=lambda d: int(2 / torch.finfo(d).eps) + 1),
    Mistake("n is the one before the gap", caught_by=_GAP, first_gap=_count_up_to_the_missing_one),
    Mistake("the first n with n + 1 not in", caught_by=_GAP, first_gap=lambda d: int(torch.finfo(torch.float16).max)),
    Mistake("your mask value is beyond the range of torch.float16", caught_by=_DTYPE, masked_softmax=_billion),
    Mistake("and a score of 0 would too", caught_by=_DTYPE, masked_softmax=lambda s, k: _fill(s, k, 0.0)),
    Mistake("each row is a softmax", caught_by=_DTYPE, masked_softmax=_over_the_columns),
    Mistake("did what you masked take its share", caught_by=_DTYPE, masked_softmax=_only_after),
    Mistake("expected torch.float16", caught_by=_DTYPE, masked_softmax=_in_float32),
    Mistake("all the weight is where keep is False", caught_by=_DTYPE, masked_softmax=_inverted),
    Mistake("it must get exactly 0", caught_by=_ZERO, masked_softmax=_minus_100),
    Mistake(
        "two kept scores of -1e35",
        caught_by=_ZERO,
        masked_softmax=lambda s, k: (_fill(s.double(), k, -1e30) * k).to(s.dtype),
    ),
    Mistake("two kept scores near -50.0", caught_by=_ZERO, masked_softmax=_exp_with_eps),
    Mistake("let softmax shift them first", caught_by=_ZERO, masked_softmax=_exp_without_shift),
    Mistake(
        "a row of nothing but -inf",
        caught_by=_ROW,
        masked_softmax=lambda scores, keep: _fill(scores, keep, float("-inf")),
    ),
    Mistake(
        "equal scores, equal weights",
        caught_by=_ROW,
        masked_softmax=lambda scores, keep: _fill(scores, keep, torch.finfo(scores.dtype).min),
    ),
    Mistake("is a softmax of its own", caught_by=_LAST, masked_softmax=_along_dim_0),
    Mistake("must leave scores and keep as they are", caught_by=_LAST, masked_softmax=_in_place),
    Mistake("is a softmax of its own", caught_by=_LAST, masked_softmax=_shifted_by_one_maximum),
    Mistake(
        "with the digits of torch.float64",
        caught_by=_DTYPE,
        masked_softmax=lambda s, k: masked_softmax(s.float(), k).to(s.dtype),
    ),
    Mistake(
        "must leave scores and keep as they are",
        caught_by=_LAST,
        masked_softmax=lambda s, k: masked_softmax(s, k.logical_not_().logical_not()),
    ),
    Mistake(
        "the first n with n + 1 not in",
        caught_by=_GAP,
        first_gap=lambda d: min(int(2 / torch.finfo(d).eps), 2**31 - 1),
    ),
    Mistake("torch.iinfo is for integers", caught_by=_GAP, first_gap=lambda d: torch.iinfo(d).max),
    Mistake(
        "with the digits of torch.float64",
        caught_by=_DTYPE,
        masked_softmax=lambda s, k: torch.where(k.any(-1, keepdim=True), _exp_with_eps(s - s.max(), k), 0.0),
    ),
    Mistake("however large the masked one is", caught_by=_ZERO, masked_softmax=_softmax_then_renormalise),
    Mistake("a Python float was asked for", caught_by=_MIN, mask_value=lambda d: torch.tensor(torch.finfo(d).min)),
    Mistake("torch.iinfo is for integers", caught_by=_MIN, mask_value=lambda d: torch.iinfo(d).min),
    Mistake(
        "two kept scores near -1000000.0",
        caught_by=_ZERO,
        masked_softmax=lambda scores, keep: _fill(scores, keep, -65504.0) * keep,
    ),
]
