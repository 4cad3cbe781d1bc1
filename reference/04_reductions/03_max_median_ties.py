"""max, median and ties: reference.

Hint: Look up which overload your call to max picks. For the ties, look for the words "first" and "stable" in the docs.
Hint: `Tensor.clamp` takes Python numbers, `argmax` takes a dim, `torch.quantile` interpolates, `argsort` can be stable.
Hint: The median is the 0.5 quantile. A descending stable argsort needs both of its keyword arguments.

Why: Say what you mean: `clamp(min=...)` for a bound, `amax(dim)` for values only, `argmax(dim)` for the index. The
default sort may use whatever algorithm is fastest, and from 17 values on that is one which shuffles equal keys here;
`stable=True` is a promise. `quantile` interpolates in the middle and so gives NumPy's median, as does the mean of
`x.median()` and `-(-x).median()`, the lower and the upper one.
"""

import torch

from dojo import Mistake


def floor_at(x: torch.Tensor, lo: float) -> torch.Tensor:
    return x.clamp(min=lo)


def top1(x: torch.Tensor) -> torch.Tensor:
    return x.argmax(dim=1)


def median(x: torch.Tensor) -> float | torch.Tensor:
    return x.quantile(0.5)


def ranking(scores: torch.Tensor) -> torch.Tensor:
    return scores.argsort(descending=True, stable=True)


def _always_average(x):
    s = x.sort().values
    n = len(s)
    return (s[n // 2 - 1] + s[n // 2]) / 2


def _middle_two(x):
    s, n = x.sort().values, len(x)
    return torch.stack([s[(n - 1) // 2], s[n // 2]])


def _forget_to_sort(x):
    n = len(x)
    return x[n // 2] if n % 2 else (x[n // 2 - 1] + x[n // 2]) / 2


def _top1_above_zero(x):
    winners = []
    for row in x.tolist():
        best, winner = 0.0, 0
        for i, value in enumerate(row):
            if value > best:
                best, winner = value, i
        winners.append(winner)
    return torch.tensor(winners)


def _cross_out(scores):
    order = []
    for _ in range(len(scores)):
        order.append(int(scores.argmax()))
        scores[order[-1]] = -float("inf")
    return torch.tensor(order)


def _cross_out_a_copy(scores):
    return _cross_out(scores.clone())


_FLOOR = "test_max_with_an_int_reduces_a_dimension"
_TOP1 = "test_argmax_without_a_dim_counts_through_the_whole_tensor"
_FIRST = "test_the_first_of_equal_values_wins_in_argmax_not_in_topk"
_EVEN = "test_median_of_an_even_count_is_the_lower_one_not_the_mean"
_ODD = "test_median_of_an_odd_count_is_the_value_in_the_middle"
_ORDER = "test_argsort_gives_the_order_not_the_rank"
_STABLE = "test_a_sort_keeps_ties_in_order_only_if_stable"

MISTAKES = [
    Mistake("torch.max(x, 0) took 0 for a dim", caught_by=_FLOOR, floor_at=lambda x, lo: torch.max(x, lo)),
    Mistake("torch.max takes another tensor", caught_by=_FLOOR, floor_at=lambda x, lo: torch.max(x, lo)),
    Mistake("torch.max takes another tensor", caught_by=_FLOOR, floor_at=lambda x, lo: torch.maximum(x, lo)),
    Mistake("torch.max takes another tensor", caught_by=_FLOOR, floor_at=lambda x, lo: max(x, lo)),
    Mistake("keeps the shape and lifts only", caught_by=_FLOOR, floor_at=lambda x, lo: x.max(int(lo) % 2)[0]),
    Mistake("keeps the shape and lifts only", caught_by=_FLOOR, floor_at=lambda x, lo: x.relu()),
    Mistake("you cut off what is above lo", caught_by=_FLOOR, floor_at=lambda x, lo: x.clamp(max=lo)),
    Mistake("you changed x in place", caught_by=_FLOOR, floor_at=lambda x, lo: x.clamp_(min=lo)),
    Mistake("as torch.tensor(0.1) is", caught_by=_FLOOR, floor_at=lambda x, lo: torch.maximum(x, torch.tensor(lo))),
    Mistake("all else stays exactly as it is", caught_by=_FLOOR, floor_at=lambda x, lo: torch.relu(x - lo) + lo),
    Mistake("it stays NaN", caught_by=_FLOOR, floor_at=lambda x, lo: torch.where(x >= lo, x, lo)),
    Mistake("all else stays exactly", caught_by=_FLOOR, floor_at=lambda x, lo: (x < lo) * lo + (x >= lo) * x),
    Mistake("you changed x: top1 only looks at it", caught_by=_TOP1, top1=lambda x: x.sub_(x.amin()).argmax(1)),
    Mistake("it wins in each row", caught_by=_TOP1, top1=lambda x: x.squeeze().argmax(-1).expand(len(x))),
    Mistake("1 + 1e-12 is larger than 1", caught_by=_TOP1, top1=lambda x: x.float().argmax(1)),
    Mistake("inf is best and -inf worst", caught_by=_ORDER, ranking=_cross_out_a_copy),
    Mistake(
        "1 + 1e-12 is better than 1",
        caught_by=_ORDER,
        ranking=lambda s: s.float().argsort(descending=True, stable=True),
    ),
    Mistake("expected 2.625, got 2.0", caught_by=_EVEN, median=lambda x: _middle_two(x).sum() // 2),
    Mistake("the value in the middle once sorted", caught_by=_ODD, median=lambda x: x.float().quantile(0.5)),
    Mistake("one winner out of the whole tensor", caught_by=_TOP1, top1=lambda x: x.argmax()),
    Mistake("you returned the whole (values, indices)", caught_by=_TOP1, top1=lambda x: x.max(1)),
    Mistake("you returned the largest values", caught_by=_TOP1, top1=lambda x: x.max(1).values),
    Mistake("you took the winner of each column", caught_by=_TOP1, top1=lambda x: x.argmax(0)),
    Mistake("a batch of one stays a batch", caught_by=_TOP1, top1=lambda x: x.argmax(1, keepdim=True).squeeze()),
    Mistake("topk and sort promise no order", caught_by=_FIRST, top1=lambda x: x.topk(1, 1).indices[:, 0]),
    Mistake("topk and sort promise no order", caught_by=_FIRST, top1=lambda x: x.argsort(1, descending=True)[:, 0]),
    Mistake("the lower of the middle two", caught_by=_EVEN, median=lambda x: x.median()),
    Mistake("the upper of the middle two", caught_by=_EVEN, median=lambda x: x.sort().values[len(x) // 2]),
    Mistake("you returned (values, indices)", caught_by=_EVEN, median=lambda x: x.median(0)),
    Mistake("the value in the middle once sorted", caught_by=_ODD, median=_always_average),
    Mistake("the value in the middle once sorted", caught_by=_ODD, median=_forget_to_sort),
    Mistake("expected 5.0, got 5.3", caught_by=_EVEN, median=lambda x: x.mean()),
    Mistake("expected 5.0, got 6.5", caught_by=_EVEN, median=lambda x: x.unique().quantile(0.5)),
    Mistake("one column index per row", caught_by=_TOP1, top1=_top1_above_zero),
    Mistake("you changed the scores", caught_by=_ORDER, ranking=_cross_out),
    Mistake("from the worst to the best", caught_by=_ORDER, ranking=lambda s: s.argsort(stable=True)),
    Mistake(
        "you returned the place of each score",
        caught_by=_ORDER,
        ranking=lambda s: s.argsort(descending=True, stable=True).argsort(),
    ),
    Mistake("you returned the sorted scores", caught_by=_ORDER, ranking=lambda s: s.sort(descending=True).values),
    Mistake("a sort that is not stable", caught_by=_STABLE, ranking=lambda s: s.argsort(descending=True)),
    Mistake("came out backwards", caught_by=_STABLE, ranking=lambda s: s.argsort(stable=True).flip(0)),
]
