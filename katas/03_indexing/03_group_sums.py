"""Group sums: three writes that look alike, and only one of them adds.

Row i of `x` belongs to group g[i], and you want a sum for each group: nodes and edges, words and sentences, pixels and
segments. The index has repeats, and that is where the ways part. `out[g] += x` reads `out[g]`, adds, and writes back:
of several rows with the same index, one survives. `scatter_` writes too. Only what has *add* in its name
(`index_add_`, `scatter_add_`) adds up, as does `scatter_reduce_` when it is told to sum.

None of the wrong ways raises an error, and there are more traps on the way. The index of `scatter_add_` is not
broadcast: give it one column, and only column 0 is filled. `scatter_reduce_` with "mean" counts the zeros that `out`
began with, unless it is told not to. `bincount` ends at the largest index it saw, so an empty last group is missing,
unless it is given a `minlength`. And the mean of an empty group is 0/0, unless the divisor is kept from being 0, by
`torch.where` or `clamp`.

What is asked here: for each of n groups, how many rows it has, their sum, and their mean.

About 30 minutes. Before it: one_per_row.

https://docs.pytorch.org/docs/stable/generated/torch.Tensor.index_add_.html
"""

from typing import Any

import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def counts(g: torch.Tensor, n: int) -> torch.Tensor:
    """How often each of 0..n-1 stands in `g` (N,) int64: (n,), whole numbers, of an integer or a float dtype.

    The dtype must be large enough for the counts: 300 rows may be in one group. `g` stays as it is.
    """
    raise NotImplementedError("count the rows of each group")


def group_sum(x: torch.Tensor, g: torch.Tensor, n: int) -> torch.Tensor:
    """Out[k] is the sum of the rows x[i] with g[i] == k: (n, D). `x` (N, D) is float32, `g` (N,) int64, 0 <= g < n.

    The result is float32, with the digits of float32 in each group, however large the rows of another group are. All
    of `x` is finite, and so are the sums; N >= 1. `x` and `g` stay as they are.
    """
    raise NotImplementedError("add the rows of each group")


def group_mean(x: torch.Tensor, g: torch.Tensor, n: int) -> torch.Tensor:
    """As group_sum, with the mean in place of the sum: (n, D). An empty group has the mean 0.

    `x` and its sums are finite here too.
    """
    raise NotImplementedError("average the rows of each group")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _rows() -> torch.Tensor:
    return torch.tensor([[1.0, 10001, -1], [2, 20002, -2], [3, 30003, -3], [4, 40004, -4], [5, 50005, -5]])


def _integers(out: Any) -> Any:
    """The same numbers as int64: counts may have any integer or float dtype."""
    if not isinstance(out, torch.Tensor) or out.dtype == torch.bool or out.is_complex():
        return out
    assert not (out % 1).any(), f"counts are whole numbers, and you returned {out.tolist()}"
    return out.long()


def test_bincount_ends_at_the_largest_index():
    g = torch.tensor([2, 0, 2, 2])
    with explain("counts(g, 5) failed: g is (4,)"), unchanged("counts must not change g", g=g):
        out = counts(g, 5)
    short = isinstance(out, torch.Tensor) and out.shape == (3,)
    assert not short, "you end at the largest index in g; n says how many groups there are"
    check_tensor(_integers(out), torch.tensor([1, 0, 3, 0, 0]), "0 stands once in g, 2 stands three times")
    with explain("counts(g, 2) failed: g is (300,)"):
        out = counts(torch.zeros(300, dtype=torch.int64), 2)
    check_tensor(_integers(out), torch.tensor([300, 0]), "0 stands 300 times in g, 1 never")


def test_only_an_add_adds_rows_with_the_same_index():
    x, g = _rows(), torch.tensor([1, 0, 1, 1, 0])
    with explain("group_sum(x, g, 2) failed: x is (5, 3), g is (5,)"):
        with unchanged("group_sum must not change x or g", x=x, g=g):
            out = group_sum(x, g, 2)
    if isinstance(out, torch.Tensor) and out.shape == (2, 3) and out.layout == torch.strided:
        one_row = out[0].tolist() in ([2, 20002, -2], [5, 50005, -5])
        assert not one_row, "of each group one row was kept: with a repeated index, your write does not add"
        first = out[:, 0].tolist() == [7, 8] and not out[:, 1:].any()
        assert not first, "only column 0 is filled: one column of indices is not broadcast over the columns of x"
    want = torch.tensor([[7.0, 70007, -7], [8, 80008, -8]])
    check_tensor(out, want, "each group holds the sum of its rows")
    check_tensor(group_sum(-x, g, 2), -want, "a second call does not begin where the first ended")
    x, g = torch.tensor([[3e8, 0.5], [0.25, 3e8], [0.5, 0.25]]), torch.tensor([0, 1, 2])
    with explain("group_sum(x, g, 3) failed: x is (3, 2), each row is a group of its own"):
        out = group_sum(x, g, 3)
    said = "each row is a group of its own: 3e8 in one group takes no digit from another (3e8 + 0.25 is 3e8 in float32)"
    check_tensor(out, x.clone(), said)


def test_an_empty_group_has_a_sum_too():
    with explain("group_sum(x, g, 4) failed: groups 1 and 3 have no rows"):
        out = group_sum(_rows(), torch.tensor([0, 2, 2, 0, 2]), 4)
    short = isinstance(out, torch.Tensor) and out.shape in ((2, 3), (3, 3))
    assert not short, "an empty group is missing: n says how many groups there are, not the largest index in g"
    want = torch.tensor([[5.0, 50005, -5], [0, 0, 0], [10, 100010, -10], [0, 0, 0]])
    check_tensor(out, want, "groups 1 and 3 have no rows: their sum is 0")


def test_a_mean_counts_the_rows_and_nothing_else():
    x, g = _rows(), torch.tensor([1, 0, 1, 1, 1])
    with explain("group_mean(x, g, 2) failed: x is (5, 3), g is (5,)"):
        with unchanged("group_mean must not change x or g", x=x, g=g):
            out = group_mean(x, g, 2)
    if isinstance(out, torch.Tensor) and out.shape == (2, 3) and out.dtype == torch.float32:
        sums = torch.tensor([[2.0, 20002, -2], [13, 130013, -13]])
        one_more = torch.tensor([[2.0], [5]])
        assert not out.allclose(sums / one_more), "you divided by one too many: does the zero at the start count?"
        assert not out.allclose(sums / 5), "you divided by the number of all rows: each group has its own"
    want = torch.tensor([[2.0, 20002, -2], [3.25, 32503.25, -3.25]])
    check_tensor(out, want, "group 0 has 1 row, group 1 has 4", rtol=1e-6)
    x, g = torch.tensor([[3e8, 0.5], [0.25, 3e8], [0.5, 0.25]]), torch.tensor([0, 1, 2])
    with explain("group_mean(x, g, 3) failed: x is (3, 2), each row is a group of its own"):
        out = group_mean(x, g, 3)
    said = "each row is a group of its own, and its mean: 3e8 in one group takes no digit from another"
    check_tensor(out, x.clone(), said, rtol=1e-6)


def test_the_mean_of_nothing_is_zero_by_zero():
    with explain("group_mean(x, g, 4) failed: groups 1 and 3 have no rows"):
        out = group_mean(_rows(), torch.tensor([0, 2, 2, 0, 2]), 4)
    nan = isinstance(out, torch.Tensor) and out.isnan().any()
    assert not nan, "the mean of an empty group became NaN, for 0/0 is NaN; asked is 0"
    third = 10 / 3
    want = torch.tensor([[2.5, 25002.5, -2.5], [0, 0, 0], [third, 10001 * third, -third], [0, 0, 0]])
    check_tensor(out, want, "groups 1 and 3 have no rows: their mean is 0", rtol=1e-6)
