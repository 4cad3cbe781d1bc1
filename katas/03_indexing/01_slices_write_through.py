"""Slices write through: a slice is a window, a mask makes a photocopy.

Indexing with integers and slices only (`x[0]`, `x[:, 1:3]`) gives a view: it costs nothing, and a write to it is a
write to `x`. Indexing with a list, an index tensor or a boolean mask gives a copy. An assignment with any of them on
its left (`x[mask] = 0`) does write to `x`, since Python then calls one function that knows where the values go. But
index twice, and only the last step is the assignment: in `x[mask][:, 1] = 0` the first step has made a copy, the
second writes into it, and then it is thrown away. No error, no warning, no effect.

The other side of the coin: because `x[0]` is a window, Python's `a, b = b, a` does not swap two rows. It saves no
numbers, only two windows, and after the first write both show the same. (Nor may a write read what it overwrites:
`x[1:] = x[:-1]` is refused, and there is no `x[::-1]`; `flip` makes a copy.)

What is asked here: a window on the corner of a matrix, and two functions that change `x` itself; nobody looks at what
these two return.

About 15 minutes. Before it: view_or_copy.
Path: numpy

https://docs.pytorch.org/docs/stable/tensor_view.html
"""

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, shares_memory, unchanged


def corner(x: torch.Tensor, n: int) -> torch.Tensor:
    """The first n rows and n columns of the matrix `x`, any strides: (n, n), a view that can be written through."""
    raise NotImplementedError("return a window on the upper left corner")


def zero_column_(x: torch.Tensor, row_mask: torch.Tensor, col: int) -> None:
    """Change `x` (R, C) itself: 0 in column `col`, in those rows where `row_mask` (R, bool) is True.

    `x` may have any dtype, and hold inf and NaN: a 0 is written, whatever was there. All else stays exactly as it is.
    """
    raise NotImplementedError("write zeros into x")


def swap_rows_(x: torch.Tensor, i: int, j: int) -> None:
    """Change `x` itself: x[i] and x[j] trade places. `x` is a matrix, or 1-D; the values arrive exactly."""
    raise NotImplementedError("let x[i] and x[j] trade places")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def test_a_slice_is_a_window():
    x = torch.arange(12.0).view(3, 4)
    with explain("corner(x, 2) of a 3 x 4 matrix raised"), unchanged("corner must not change x", x=x):
        c = corner(x, 2)
    check_tensor(c, torch.tensor([[0.0, 1], [4, 5]]), "corner(x, 2) has the first 2 rows and the first 2 columns of x")
    c[1, 0] = 40.0
    assert x[1, 0] == 40.0, "you returned a copy: a write to the corner must reach x"


def test_a_slice_follows_the_strides():
    base = torch.arange(15).view(3, 5)[:, 1:]
    with explain("corner(x, 3) of a transposed matrix raised"):
        c = corner(base.t(), 3)
    want = torch.tensor([[1, 6, 11], [2, 7, 12], [3, 8, 13]])
    check_tensor(c, want, "x was a transposed matrix: the corner goes along its rows and columns, not through memory")
    assert shares_memory(c, base), "x was a transposed matrix, and you returned a copy of it"


def test_an_assignment_through_a_mask_writes_to_x():
    x = torch.arange(1.0, 13).view(4, 3)
    x[3, 1], x[0, 1] = float("inf"), -float("inf")
    before, window = x.clone(), x[:]
    mask = torch.tensor([False, False, True, True])
    with explain("zero_column_(x, row_mask, 1) failed: x is 4 x 3, and row_mask has 4 values"):
        zero_column_(x, mask, 1)
    assert not x.equal(before), "x is unchanged: whatever you wrote into was not x (indexing with a mask makes a copy)"
    assert x[:, [0, 2]].equal(before[:, [0, 2]]), "you changed other columns than the one that was asked for"
    assert x[:2, 1].equal(before[:2, 1]), "you changed rows where the mask is False"
    assert not x.isnan().any(), (
        "NaN is there now, where inf stood and 0 was to be written: inf * 0 is NaN, and so is inf - inf"
    )
    check_tensor(x[2:, 1], torch.zeros(2), "the column is 0 where the mask is True")
    assert shares_memory(window, x), "you gave x other memory: who held a window on x before, still sees the old values"
    assert mask.tolist() == [False, False, True, True], "you changed the mask"
    one = torch.ones(3, 2)
    with explain("zero_column_ failed where one row alone is picked"):
        zero_column_(one, torch.tensor([False, True, False]), 0)
    check_tensor(one, torch.tensor([[1.0, 1], [0, 1], [1, 1]]), "one True in the mask: one row has its 0")


def test_a_mask_may_pick_nothing():
    for dtype in (torch.int64, torch.bfloat16, torch.bool):
        want = torch.tensor([[1, 2, 3], [4, 5, 2**53 + 1]]).to(dtype)
        x = want.clone()
        numpy = {"ScalarType": "NumPy knows no bfloat16, and x may have any dtype"}
        with explain(f"zero_column_(x, row_mask, 2) raised on a mask that is False everywhere, {dtype}", where=numpy):
            zero_column_(x, torch.tensor([False, False]), 2)
        check_tensor(x, want, f"the mask is False everywhere, so x must stay exactly as it is, {dtype}")


def test_swapping_rows_needs_a_copy():
    x = torch.tensor([[0.1, 2], [3, 4], [1e17, 6]], dtype=torch.float64)
    before, window = x.clone(), x[:]
    with explain("swap_rows_(x, 0, 2) of a 3 x 2 matrix failed"):
        swap_rows_(x, 0, 2)
    assert not x.equal(before), "x is unchanged: whatever you swapped, it was not x itself"
    assert not x[0].equal(x[2]), (
        f"one row is there twice, the other is lost: you read a row after it was overwritten\n{x}"
    )
    want = torch.tensor([[1e17, 6], [3, 4], [0.1, 2]], dtype=torch.float64)
    check_tensor(x, want, "rows 0 and 2 trade places, exactly, and row 1 stays")
    assert shares_memory(window, x), "you gave x other memory: who held a window on x before, still sees the old rows"


@pytest.mark.myth(
    says="x[0], x[2] = x[2], x[0] swaps two values, as it does with a list",
    today="x[0] is a window, even in one dimension: one value is there twice, the other is lost",
)
def test_even_a_single_value_is_a_window():
    x = torch.tensor([2**53 + 1, 10, 20, 16777217, 40])
    with explain("swap_rows_(x, 0, 3) failed for a 1-D x, where x[0] is one value and has no columns"):
        swap_rows_(x, 0, 3)
    assert not x[0].equal(x[3]), f"one value is there twice, the other is lost: x[0] is a window, no number\n{x}"
    want = torch.tensor([16777217, 10, 20, 2**53 + 1, 40])
    check_tensor(x, want, "x[0] and x[3] trade places, exactly, and the others stay")
