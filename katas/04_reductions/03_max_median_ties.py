"""max, median and ties: three functions called max, half a median

`torch.max` is three functions. `x.max()` is the largest value of all; `torch.max(x, y)` with a tensor `y` compares
value by value; `torch.max(x, 0)` with an *int* reduces dim 0 and returns a pair, (values, indices). So "at least zero",
written as `torch.max(x, 0)`, runs and means something else, while 0. in place of 0 is a TypeError. For bounds there is
`x.clamp`.

`x.median()` of an even number of values does not average the two in the middle as NumPy does: it returns the lower one,
so that the median is always a value of x. `x.quantile` may lie between two values.

And ties: of several equal values, `argmax` and `max(dim)` return the first, as documented. `topk`, `sort` and `argsort`
promise nothing, unless a sort is asked to be stable. On short inputs they look stable by luck, so the ranking that was
right in your test with five scores shuffles equal scores in production.

What is asked here: no function changes its input, and `ranking` returns an order (who is first, who is second), not
the place that each score takes.

About 20 minutes. Before it: keepdim_and_correction.
Path: numpy

https://docs.pytorch.org/docs/stable/generated/torch.max.html
"""

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def floor_at(x: torch.Tensor, lo: float) -> torch.Tensor:
    """`x` (any float dtype, any shape) with every value below the Python number `lo`, a finite int or float, made `lo`.

    All other values stay exactly as they are, NaN too, and so does the dtype.
    """
    raise NotImplementedError("let no value be below lo")


def top1(x: torch.Tensor) -> torch.Tensor:
    """The index of the largest value of each row of `x`, of equal ones the first: (N, C) -> (N,), int64.

    `x` is float32 or float64, C >= 1, no NaN.
    """
    raise NotImplementedError("return the winning column of each row")


def median(x: torch.Tensor) -> float | torch.Tensor:
    """The median of `x` (1-D, float32 or float64, not empty, all finite) as NumPy has it: a number or a 0-dim tensor.

    Where there are two values in the middle, it is their mean (their sum is finite too).
    """
    raise NotImplementedError("return the median")


def ranking(scores: torch.Tensor) -> torch.Tensor:
    """`scores`: (N,), float32 or float64, inf and -inf too, no NaN. Their indices, best first: (N,), int64.

    Equal scores stay in their original order.
    """
    raise NotImplementedError("return the indices from the best score to the worst")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


@pytest.mark.parametrize(
    "lo", [0, 1, 0.1, -2.5], ids=["0, a dimension too", "1, a dimension too", "a fraction", "a negative fraction"]
)
def test_max_with_an_int_reduces_a_dimension(lo):
    rows = [[-1.0, 2.0, 0.5], [3.0, -4.0, 1.25]]
    x = torch.tensor(rows)
    function = "lo is a number: torch.max takes another tensor, or an int, which is a dim"
    with (
        explain(f"floor_at(x, {lo}) raised", where={"max|out of range|Boolean value": function}),
        unchanged("you changed x in place: floor_at returns a new tensor", x=x),
    ):
        got = floor_at(x, lo)
    assert not isinstance(got, tuple), f"torch.max(x, {lo}) took {lo} for a dim: you got its (values, indices)"
    assert not _same(got, [[min(v, lo) for v in row] for row in rows]), "you cut off what is above lo, not below"
    want = torch.tensor([[max(v, float(lo)) for v in row] for row in rows])
    check_tensor(got, want, f"floor_at(x, {lo}) keeps the shape and lifts only what is below {lo}")
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        x = torch.tensor([1 / 3, 0.7, 0.05, float("nan"), 1e4, float("inf"), -float("inf")], dtype=dtype)
        low = torch.tensor(lo, dtype=dtype)
        with explain(f"floor_at(x, {lo}) raised for {dtype}"):
            got = floor_at(x.clone(), lo)
        check_tensor(got, torch.where(x < low, low, x), _kept(got, x, lo))


def test_argmax_without_a_dim_counts_through_the_whole_tensor():
    x = torch.tensor([[1.0, 7.0, 3.0, 2.0], [4.0, 0.0, 9.0, 1.0], [-8.0, -5.0, -6.0, -2.0]])
    with explain("top1 raised on a (3, 4) tensor"), unchanged("you changed x: top1 only looks at it", x=x):
        got = top1(x)
    assert not isinstance(got, tuple), "you returned the whole (values, indices): the indices are asked for"
    assert not _same(got, 6), "you took one winner out of the whole tensor, numbered through all rows"
    assert not _same(got, [1, 0, 1, 0]), "you took the winner of each column: the dim that you name disappears"
    assert not _same(got, [7.0, 9.0, -2.0]), "you returned the largest values: their indices are asked for"
    check_tensor(got, torch.tensor([1, 2, 3]), "top1 returns one column index per row")
    with explain("top1 raised on a batch of one row"):
        one = top1(x[:1])
    check_tensor(one, torch.tensor([1]), "top1 of one row is still a vector: a batch of one stays a batch")
    with explain("top1 raised on a (3, 1) tensor"):
        one = top1(x[:, :1])
    check_tensor(one, torch.tensor([0, 0, 0]), "where there is one column only, it wins in each row")
    nearly = torch.tensor([[1.0, 1.0 + 1e-12], [-float("inf"), -1e30]], dtype=torch.float64)
    with explain("top1 raised on a float64 tensor"):
        got = top1(nearly)
    check_tensor(got, torch.tensor([1, 1]), "in float64, 1 + 1e-12 is larger than 1, and -1e30 than -inf")


def test_the_first_of_equal_values_wins_in_argmax_not_in_topk():
    x = torch.zeros(3, 40)
    x[1, 17:] = 1.0
    message = (
        "several values of the row are equal: top1 returns the first of them; topk and sort promise no order there"
    )
    with explain("top1 raised on a (3, 40) tensor"):
        got = top1(x)
    check_tensor(got, torch.tensor([0, 17, 0]), message)


@pytest.mark.parametrize(
    ("values", "want"),
    [([4.0, 1.0, 3.0, 2.25], 2.625), ([9.0, -1.0], 4.0), ([5.0, 9, 0, 8, 5, 5], 5.0)],
    ids=["4 values", "2 values", "a tie in the middle"],
)
@pytest.mark.myth(
    says="Tensors have all of NumPy's operations, and they behave exactly the same",
    today="median() of an even number of values is the lower one of the middle two, numpy.median their mean.",
)
def test_median_of_an_even_count_is_the_lower_one_not_the_mean(values, want):
    x = torch.tensor(values)
    low, high = sorted(values)[len(values) // 2 - 1 : len(values) // 2 + 1]
    with explain(f"median raised for {values}"), unchanged("you changed x", x=x):
        got = _number(median(x))
    if low != high:
        assert got != low, f"you returned {low}, the lower of the middle two: NumPy's median is their mean, {want}"
        assert got != high, f"you returned {high}, the upper of the middle two: NumPy's median is their mean, {want}"
    assert got == want, f"median of {values}: expected {want}, got {got}"


@pytest.mark.parametrize(
    ("values", "want"),
    [([10.0, 2.0, 30.0, 4.0, 3.0], 4.0), ([6.5], 6.5), ([-1e200, 1 + 1e-12, 7.0], 1 + 1e-12)],
    ids=["5 values", "one value", "float64"],
)
def test_median_of_an_odd_count_is_the_value_in_the_middle(values, want):
    x = torch.tensor(values, dtype=torch.float64 if values[0] < -1e38 else torch.float32)
    with explain(f"median raised for {values}"):
        got = _number(median(x))
    assert got == want, f"median of {values}: expected {want}, the value in the middle once sorted, got {got}"


def test_argsort_gives_the_order_not_the_rank():
    values = [-2.0, 0.5, 0.875, -0.25]
    scores = torch.tensor(values)
    with (
        explain("ranking raised on 4 scores"),
        unchanged("you changed the scores: ranking only looks at them", scores=scores),
    ):
        got = ranking(scores)
    assert not _same(got, [0, 3, 1, 2]), "you sorted from the worst to the best: descending was asked for"
    assert not _same(got, [3, 1, 0, 2]), "you returned the place of each score: the index of the best comes first"
    assert not _same(got, [0.875, 0.5, -0.25, -2.0]), "you returned the sorted scores: their indices are asked for"
    check_tensor(got, torch.tensor([2, 1, 3, 0]), "ranking returns the indices of the scores, best first")
    more = torch.tensor([1.0, -float("inf"), 1 + 1e-12, float("inf"), -1e300], dtype=torch.float64)
    with explain("ranking raised on 5 scores in float64, with inf and -inf"):
        got = ranking(more)
    check_tensor(
        got, torch.tensor([3, 2, 0, 4, 1]), "inf is best and -inf worst; in float64, 1 + 1e-12 is better than 1"
    )


@pytest.mark.parametrize("distinct", [1, 3], ids=["all scores equal", "3 different scores"])
def test_a_sort_keeps_ties_in_order_only_if_stable(distinct):
    scores = torch.arange(30) % distinct / 4
    order = [i for level in reversed(range(distinct)) for i in range(30) if i % distinct == level]
    backwards = [i for level in reversed(range(distinct)) for i in reversed(range(30)) if i % distinct == level]
    with explain("ranking raised on 30 scores"):
        got = ranking(scores)
    assert not _same(got, backwards), (
        "equal scores came out backwards: turning a stable order around turns the ties too"
    )
    assert not _shuffles_ties(got, scores.tolist(), order), (
        "equal scores must stay in their original order: a sort that is not stable may shuffle them"
    )
    check_tensor(got, torch.tensor(order), "ranking returns the index of each of the 30 scores once, best first")


def _same(got, values):
    """Is `got` a tensor with exactly these values?"""
    return isinstance(got, torch.Tensor) and got.tolist() == values


def _kept(got, x, lo):
    """What is to be said where a value of `x` has not become what it should."""
    if isinstance(got, torch.Tensor) and got.shape == x.shape and got[3] == got[3]:
        return f"NaN is not below {lo}: it stays NaN, so that it is seen"
    float32 = isinstance(got, torch.Tensor) and got.dtype == torch.float64 and lo != got[6] == torch.tensor(lo).double()
    bound = f" ({lo} in float32, as torch.tensor({lo}) is, is another number in float64)" if float32 else ""
    return f"{x.dtype}: what is below {lo} becomes {lo}, all else stays exactly as it is, and the dtype too{bound}"


def _shuffles_ties(got, scores, order):
    """Is `got` an order from the best score to the worst, in which equal scores have changed places?"""
    if not isinstance(got, torch.Tensor) or got.dim() != 1 or sorted(got.tolist()) != sorted(order):
        return False
    return got.tolist() != order and [scores[int(i)] for i in got.tolist()] == [scores[i] for i in order]


def _number(got):
    """The number in a 0-dim tensor, or in a Python or NumPy number."""
    __tracebackhide__ = True
    assert not isinstance(got, tuple), "you returned (values, indices): the median is one number"
    with explain(f"median returns one number as a tensor without dimensions, got {got!r}"):
        if isinstance(got, torch.Tensor):
            assert got.dim() == 0, f"median returns a tensor without dimensions, got shape {tuple(got.shape)}"
        return float(got)
