"""Expand or repeat: a thousand rows for one row's memory, and the price.

`expand` makes a dimension longer without making the memory longer: the new dimension has stride 0, so each step along
it lands on the same numbers. That is what broadcasting does inside every `a + b`, and it costs nothing. The price
comes with the first write: all the rows *are* one row. PyTorch refuses to change an expanded tensor as a whole, but a
write through one row (`e[0].add_(1)`) goes through without a word, and changes every row, and the source too.

`repeat` copies, so each row can be edited by itself. Beware of its name: `torch.repeat` puts whole copies one after the
other, as `np.tile` does. What NumPy calls `repeat`, each value several times in a row, is `repeat_interleave` in torch.
And beware of `contiguous()`: it copies only where it must.

What is asked here: rows that cost nothing, rows that are independent, and each value `n` times.

About 15 minutes. Before it: view_or_copy.
Path: numpy, transformer

https://docs.pytorch.org/docs/stable/generated/torch.Tensor.expand.html
"""

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, raises, shares_memory, unchanged


def broadcast_rows(row: torch.Tensor, n: int) -> torch.Tensor:
    """`row` (1-D, D values, any strides) seen as n equal rows: (n, D), on the memory of `row`, without any copy."""
    raise NotImplementedError("return n rows that take no memory of their own")


def editable_rows(row: torch.Tensor, n: int) -> torch.Tensor:
    """n >= 1 rows (n, D) that begin as `row` (1-D), exactly, in its dtype.

    A write to one reaches no other, and not `row`.
    """
    raise NotImplementedError("return n rows that can be edited one by one")


def repeat_each(x: torch.Tensor, n: int) -> torch.Tensor:
    """Each value of `x` (1-D, L >= 1 values) n times in a row, exactly, in its dtype, 1-D with L * n values.

    [1, 2] and n=2 give [1, 1, 2, 2]. `x` stays as it is.
    """
    raise NotImplementedError("return each value of x n times")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def test_expand_shows_one_row_many_times():
    row = torch.tensor([1.0, 2, 3], dtype=torch.float64)
    with explain("broadcast_rows(row, 4) could not be computed for a row of 3 values"):
        rows = broadcast_rows(row, 4)
    want = torch.tensor([[1.0, 2, 3]] * 4, dtype=torch.float64)
    check_tensor(rows, want, "broadcast_rows(row, 4) is row, row, row, row: one in each of 4 rows")


def test_expand_follows_the_strides_of_the_row():
    table = torch.arange(6).view(3, 2)
    with explain("broadcast_rows(row, 2) raised on a row that is the column of a matrix"):
        rows = broadcast_rows(table[:, 1], 2)
    want = torch.tensor([[1, 3, 5], [1, 3, 5]])
    check_tensor(rows, want, "row was the column of a matrix: its values do not lie side by side in memory")
    assert shares_memory(rows, table), "row was the column of a matrix, and you copied it: the rows lie on its memory"


def test_expanded_rows_cost_no_memory():
    row = torch.tensor([1.0, 2, 3])
    with explain("broadcast_rows(row, 1000) could not be computed for a row of 3 values"):
        rows = broadcast_rows(row, 1000)
    check_tensor(rows, torch.tensor([[1.0, 2, 3]] * 1000), "broadcast_rows(row, 1000) is row, 1000 times")
    paid = rows.untyped_storage().nbytes()
    assert paid <= 12, f"you copied the row again and again: 12 bytes became {paid}"
    assert shares_memory(rows, row), "you copied row: the rows must lie on the memory of row itself"


def test_a_write_through_one_expanded_row_changes_them_all():
    """PyTorch refuses to write to the whole, where one memory cell would be written n times, but not to one row."""
    row = torch.tensor([1.0, 2, 3])
    want = torch.tensor([[11.0, 12, 13]] * 2)
    with explain("broadcast_rows(row, 2), or a write into its row 0, raised"):
        rows = broadcast_rows(row, 2)
        rows[0].add_(10)
    if isinstance(rows, torch.Tensor):
        assert rows.shape == (2, 3), f"broadcast_rows(row, 2) has the shape (2, 3), and yours {tuple(rows.shape)}"
    check_tensor(rows, want, "a write through one row must show in all: your rows are not one row in memory")
    check_tensor(row, want[0], "a write through one row must show in the source: your rows are a copy")
    with raises(RuntimeError, "the rows are not one row in memory", match="single memory location"):
        rows.add_(10)


def test_repeated_rows_are_edited_one_by_one():
    row = torch.tensor([0.1, 2, 3], dtype=torch.float64)
    with explain("editable_rows(row, 2) could not be computed for a row of 3 values"):
        with unchanged("editable_rows must not change row", row=row):
            rows = editable_rows(row, 2)
    want = torch.tensor([[0.1, 2, 3], [0.1, 2, 3]], dtype=torch.float64)
    check_tensor(rows, want, "editable_rows(row, 2) is row, row: one in each of 2 rows")
    for i in (0, 1):
        one = "all your rows are one row in memory: torch refuses to write to it"
        with explain("your rows take no write", where={"single memory location": one}):
            rows[i, 0] = 50 + i
    edited = torch.tensor([[50.0, 2, 3], [51, 2, 3]], dtype=torch.float64)
    check_tensor(rows, edited, "all your rows are one row in memory: one write hit them all")
    check_tensor(row, want[0], "your rows lie on the memory of row: a write to them changed the source")


def test_contiguous_does_not_copy_what_is_contiguous():
    """One row, expanded to one row, lies in memory as it should: there is nothing to copy."""
    row = torch.tensor([1, 2, 16777217], dtype=torch.int32)
    with explain("editable_rows(row, 1) could not be computed for a row of 3 values"):
        rows = editable_rows(row, 1)
    want = torch.tensor([[1, 2, 16777217]], dtype=torch.int32)
    check_tensor(rows, want, "editable_rows(row, 1) is row in one row, (1, 3), in the dtype of row")
    rows[0, 0] = 50
    assert row[0] == 1, "n was 1, and nothing was copied: your write to the rows changed the source"
    row = torch.tensor([2**53 + 1, 5])
    with explain("editable_rows(row, 2) of int64 could not be computed"):
        rows = editable_rows(row, 2)
    said = "int64: 2**53 + 1 arrives exactly in both rows (float64 makes 2**53 of it)"
    check_tensor(rows, torch.tensor([[2**53 + 1, 5], [2**53 + 1, 5]]), said)


@pytest.mark.myth(
    says="NumPy's operations do just the same to a tensor",
    today="Tensor.repeat does what np.tile does; np.repeat is torch.repeat_interleave",
)
def test_torch_repeat_is_not_numpy_repeat():
    x = torch.tensor([0.2, 0.1], dtype=torch.float64)
    with explain("repeat_each(x, 3) could not be computed"), unchanged("repeat_each must not change x", x=x):
        out = repeat_each(x, 3)
    whole = isinstance(out, torch.Tensor) and out.tolist() == [0.2, 0.1, 0.2, 0.1, 0.2, 0.1]
    assert not whole, "you repeated x as a whole, as np.tile does; asked is each value n times in a row"
    want = torch.tensor([0.2, 0.2, 0.2, 0.1, 0.1, 0.1], dtype=torch.float64)
    check_tensor(out, want, "repeat_each([0.2, 0.1], 3) holds each value 3 times in a row, as it came")
    with explain("repeat_each(x, 2) of whole numbers could not be computed"):
        out = repeat_each(torch.tensor([16777217, 5, 6], dtype=torch.int32), 2)
    want = torch.tensor([16777217, 16777217, 5, 5, 6, 6], dtype=torch.int32)
    check_tensor(out, want, "repeat_each([16777217, 5, 6], 2) keeps the values, the dtype and the order of x")
    with explain("repeat_each(x, 2) of int64 could not be computed"):
        out = repeat_each(torch.tensor([2**53 + 1, 5]), 2)
    want = torch.tensor([2**53 + 1, 2**53 + 1, 5, 5])
    check_tensor(out, want, "int64: 2**53 + 1 comes out exactly (float64 makes 2**53 of it)")
