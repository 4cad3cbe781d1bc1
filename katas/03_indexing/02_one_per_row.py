"""One per row: pairs, grids, and a 0/1 tensor that is no mask.

Two index tensors side by side, `x[rows, cols]`, mean *pairs*: (rows[0], cols[0]), (rows[1], cols[1]), and so on. A
slice beside an index tensor means *each*: `p[:, y]` takes every row and gives it every label, a table of (N, N) with
the N values that you wanted on its diagonal. A loss computed from that table still falls a little, and nothing
complains.

`gather` is made for one value per row, and is strict: its index must have as many dimensions as the input, and the
result has the shape of the index, so a column goes in and a column comes out. `y[:, None]` makes a column (N, 1) of
`y`, `torch.arange(n)` counts from 0 to n-1.

A mask picks where it is True, and its dtype is bool. An integer tensor of zeros and ones is a list of positions:
`x[mask]` then gives x[0] and x[1], again and again. (Only uint8, the bool of former days, is still taken for a mask,
with a warning that it will not be for ever.) `.to(dtype)` changes the dtype.

What is asked here: one value per row, all crossings of some rows with some columns, and a mask of any such dtype.

About 20 minutes. Before it: shape_words, tensor_not_Tensor.
Path: first_day

https://docs.pytorch.org/docs/stable/generated/torch.gather.html
"""

from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def pick(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """From each row i of `p` (N, C) the value in column y[i], where `y` is (N,) int64. Returns (N,), for any N >= 1.

    The values arrive as they are, whatever stands beside them, -inf too (log-probabilities hold it).
    """
    raise NotImplementedError("return p[0, y[0]], p[1, y[1]], ...")


def grid(x: torch.Tensor, rows: torch.Tensor, cols: torch.Tensor) -> torch.Tensor:
    """(R, C): out[i, j] is x[rows[i], cols[j]], exactly. `rows` (R,) and `cols` (C,) are int64, in any order."""
    raise NotImplementedError("return each of the rows at each of the columns")


def keep(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The values of `x` (L,), exactly, where `mask` (L,) is True, or 1: bool, or any integer dtype with 0 and 1."""
    raise NotImplementedError("return the values that the mask keeps")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_INF = float("inf")


def _shape(out: Any) -> tuple[int, ...]:
    return tuple(out.shape) if isinstance(out, torch.Tensor) else (-1,)


def test_a_slice_beside_labels_gives_every_row_every_label():
    p = torch.tensor([[-_INF, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8], [0.9, 1.0, 1.1, 1.2]], dtype=torch.float64)
    y = torch.tensor([2, 0, 3])
    with explain("pick(p, y) failed: p is (3, 4), y is (3,)"), unchanged("pick must not change p or y", p=p, y=y):
        out = pick(p, y)
    table = _shape(out) == (3, 3) and out.equal(p[:, y])
    assert not table, "you picked every label from every row; the values asked for are on the diagonal"
    assert _shape(out) != (3, 4), "you returned all columns, (N, C); asked is the one value of each row that y names"
    assert _shape(out) != (3, 1), "you returned a column (N, 1); asked is (N,)"
    nan = isinstance(out, torch.Tensor) and out.isnan().any()
    assert not nan, "p holds -inf beside the value to be picked, and NaN came out: -inf * 0 is NaN"
    check_tensor(out, torch.tensor([0.3, 0.5, 1.2], dtype=torch.float64), "pick(p, y) is p[0, 2], p[1, 0], p[2, 3]")
    with explain("pick(p, y) failed: p is (3, 4), y is (3,)"):
        out = pick(p, torch.tensor([0, 1, 1]))
    want = torch.tensor([-_INF, 0.6, 1.0], dtype=torch.float64)
    check_tensor(out, want, "y picks the -inf of row 0: it arrives as it is")


def test_a_batch_of_one_still_has_a_batch_dimension():
    with explain("pick(p, y) failed: p is (1, 3), y is (1,)"):
        out = pick(torch.tensor([[5.0, 6, 7]]), torch.tensor([1]))
    assert _shape(out) != (), "N was 1, and the batch dimension is gone (squeeze and sum take such dimensions away)"
    check_tensor(out, torch.tensor([6.0]), "pick(p, y) of one row is (1,)")


def test_two_index_tensors_mean_pairs():
    x = torch.arange(2**53, 2**53 + 20).view(4, 5)
    rows, cols = torch.tensor([1, 3]), torch.tensor([0, 2])
    with explain("grid(x, rows, cols) failed: x is (4, 5), rows and cols have 2 values each"):
        with unchanged("grid must not change x, rows or cols", x=x, rows=rows, cols=cols):
            out = grid(x, rows, cols)
    pairs = _shape(out) == (2,) and out.tolist() == [2**53 + 5, 2**53 + 17]
    assert not pairs, "you got pairs, row 1 with column 0 and row 3 with column 2, and not all the crossings"
    want = torch.tensor([[5, 7], [15, 17]]) + 2**53
    check_tensor(out, want, "grid has rows 1 and 3, each at the columns 0 and 2")


def test_a_grid_need_not_be_square_nor_in_order():
    x = torch.arange(20, dtype=torch.float64).view(4, 5)
    x[2, 3] = _INF  # not asked for, but in a row that is
    no_pairs = {"shape mismatch": "index tensors of 2 and of 3 values make no pairs; asked are all the crossings"}
    with explain("grid(x, rows, cols) failed: there are 2 rows and 3 columns", where=no_pairs):
        out = grid(x, torch.tensor([2, 0]), torch.tensor([4, 1, 1]))
    assert _shape(out) != (3, 2), "you returned (C, R): the rows come first"
    want = torch.tensor([[14, 11, 11], [4, 1, 1]], dtype=torch.float64)
    check_tensor(out, want, "grid has row 2, then row 0, at the columns 4, 1, 1: in that order, and column 1 twice")
    with explain("grid(x, rows, cols) failed: there is 1 row and there are 2 columns"):
        out = grid(x, torch.tensor([3]), torch.tensor([2, 0]))
    want = torch.tensor([[17, 15]], dtype=torch.float64)
    check_tensor(out, want, "one row and two columns make (1, 2): R is 1, and the dimension stays")


def test_a_bool_tensor_is_a_mask():
    x, mask = torch.tensor([1.5, 2.5, float("nan"), 0.0]), torch.tensor([False, False, True, True])
    with explain("keep(x, mask) failed: the mask is bool"), unchanged("keep must not change x or mask", x=x, mask=mask):
        out = keep(x, mask)
    assert _shape(out) != (2, 1), "you returned a column; asked is (2,)"
    check_tensor(
        out, torch.tensor([float("nan"), 0.0]), "the mask was bool, and keeps the last two values, whatever they are"
    )


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8], ids=["int64", "int32", "uint8"])
def test_zeros_and_ones_are_positions_not_a_mask(dtype):
    with explain(f"keep(x, mask) failed: the mask is {dtype}"):
        out = keep(torch.tensor([1.5, 2.5, 3.5, 4.5]), torch.tensor([0, 0, 1, 1], dtype=dtype))
    positions = isinstance(out, torch.Tensor) and out.tolist() == [1.5, 1.5, 2.5, 2.5]
    assert not positions, f"the mask was {dtype}: its zeros and ones were taken for positions, x[0] and x[1]"
    check_tensor(out, torch.tensor([3.5, 4.5]), f"the mask was {dtype}, and keeps the last two values")


def test_a_mask_that_keeps_one_value_gives_a_tensor_of_one():
    with explain("keep(x, mask) failed: the mask has a single 1"):
        out = keep(torch.tensor([1.5, 0.1, 3.5], dtype=torch.float64), torch.tensor([0, 1, 0]))
    assert _shape(out) != (), "one value was kept, and its dimension is gone (squeeze takes such dimensions away)"
    check_tensor(out, torch.tensor([0.1], dtype=torch.float64), "one value was kept: (1,), in the dtype of x")
