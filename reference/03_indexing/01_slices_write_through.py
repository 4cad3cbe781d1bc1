"""Slices write through: reference.

Hint: For each function: do you need a window on x, or the numbers as they were before the write?
Hint: Basic slices give a window. One assignment may hold a mask and an integer together, with a comma between them.
Hint: Index with the list of both rows on each side: the right side is then a copy, made before anything is written.

Why: The index decides. Integers and slices give a window, lists, index tensors and masks give a copy. Assignment
through any of them writes to x, but only if it is *one* index: put all parts into one pair of brackets. And whoever
overwrites what is still to be read needs a copy first; a list on the right side makes it, `clone` does too.
"""

import torch

from dojo import Mistake


def corner(x: torch.Tensor, n: int) -> torch.Tensor:
    return x[:n, :n]


def zero_column_(x: torch.Tensor, row_mask: torch.Tensor, col: int) -> None:
    x[row_mask, col] = 0


def swap_rows_(x: torch.Tensor, i: int, j: int) -> None:
    x[[i, j]] = x[[j, i]]


def _zero_in_a_copy(x, row_mask, col):
    x[row_mask][:, col] = 0


def _zero_in_a_new_tensor(x, row_mask, col):
    x = x.clone()
    x[row_mask, col] = 0
    return x


def _zero_whole_rows(x, row_mask, col):
    x[row_mask] = 0


def _zero_whole_column(x, row_mask, col):
    x[:, col] = 0


def _zero_the_other_rows(x, row_mask, col):
    x[~row_mask, col] = 0


def _zero_rows_0_and_1(x, row_mask, col):
    x[row_mask.long(), col] = 0


def _zero_from_the_first(x, row_mask, col):
    first = int(row_mask.nonzero()[0])
    x[first:, col] = 0


def _zero_by_a_product(x, row_mask, col):
    x[:, col] *= ~row_mask


def _zero_by_where_with_a_float(x, row_mask, col):
    x[:, col] = torch.where(row_mask, 0.0, x[:, col])


def _swap_as_a_tuple(x, i, j):
    x[i], x[j] = x[j], x[i]


def _swap_with_a_window(x, i, j):
    kept = x[i]
    x[i] = x[j]
    x[j] = kept


def _swap_in_a_new_tensor(x, i, j):
    order = list(range(len(x)))
    order[i], order[j] = j, i
    x = x[order]
    return x


def _swap_by_adding(x, i, j):
    x[i] += x[j]
    x[j] = x[i] - x[j]
    x[i] -= x[j]


def _swap_through_a_list(x, i, j):
    kept = x[i].tolist()
    x[i] = x[j]
    x[j] = torch.tensor(kept)


def _swap_matrices_only(x, i, j):
    kept = x[i, :].clone()
    x[i, :] = x[j, :]
    x[j, :] = kept


def _swap_single_values_as_a_tuple(x, i, j):
    if x.dim() > 1:
        swap_rows_(x, i, j)
    else:
        x[i], x[j] = x[j], x[i]


def _zero_by_new_data(x, row_mask, col):
    y = x.clone()
    y[row_mask, col] = 0
    x.data = y


def _swap_by_new_data(x, i, j):
    order = list(range(len(x)))
    order[i], order[j] = j, i
    x.data = x[order]


def _swap_through_float(x, i, j):
    first = x[i].float().clone()
    x[i] = x[j].float()
    x[j] = first


def _swap_through_float64(x, i, j):
    first = x[i].double()
    x[i] = x[j].double()
    x[j] = first


def _zero_and_repair(x, row_mask, col):
    x[:, col] = (x[:, col] * ~row_mask).nan_to_num()


def _zero_by_numpy(x, row_mask, col):
    x.numpy()[row_mask.numpy(), col] = 0


def _zero_through_float64(x, row_mask, col):
    x[:, col] = torch.where(row_mask, 0.0, x[:, col].double())


def _swap_all_between(x, i, j):
    x[i : j + 1] = x[i : j + 1].flip(0)


_WINDOW = "test_a_slice_is_a_window"
_MASK = "test_an_assignment_through_a_mask_writes_to_x"
_SWAP = "test_swapping_rows_needs_a_copy"
_ONE = "test_even_a_single_value_is_a_window"


def _row_by_row(x, row_mask, col):
    for i in row_mask.nonzero().squeeze().tolist():
        x[i, col] = 0


MISTAKES = [
    Mistake(
        "failed where one row alone is picked",
        caught_by="test_an_assignment_through_a_mask_writes_to_x",
        zero_column_=_row_by_row,
    ),
    Mistake("you returned a copy: a write", caught_by=_WINDOW, corner=lambda x, n: x[list(range(n))][:, :n]),
    Mistake("you returned a copy: a write", caught_by=_WINDOW, corner=lambda x, n: x[:n, :n].clone()),
    Mistake("corner must not change x", caught_by=_WINDOW, corner=lambda x, n: x.set_(x[:n, :n])),
    Mistake("the first 2 rows and the first 2 columns", caught_by=_WINDOW, corner=lambda x, n: x[:n][:n]),
    Mistake("the first 2 rows and the first 2 columns", caught_by=_WINDOW, corner=lambda x, n: x[[range(n), range(n)]]),
    Mistake(
        "not through memory",
        caught_by="test_a_slice_follows_the_strides",
        corner=lambda x, n: x.as_strided((n, n), (max(x.stride()), 1)),
    ),
    Mistake(
        "not through memory",
        caught_by="test_a_slice_follows_the_strides",
        corner=lambda x, n: x.as_strided((n, n), x.stride(), 0),
    ),
    Mistake(
        "x was a transposed matrix, and you returned a copy",
        caught_by="test_a_slice_follows_the_strides",
        corner=lambda x, n: x.contiguous()[:n, :n],
    ),
    Mistake("indexing with a mask makes a copy", caught_by=_MASK, zero_column_=_zero_in_a_copy),
    Mistake("x is unchanged", caught_by=_MASK, zero_column_=_zero_in_a_new_tensor),
    Mistake("you gave x other memory", caught_by=_MASK, zero_column_=_zero_by_new_data),
    Mistake("inf * 0 is NaN", caught_by=_MASK, zero_column_=_zero_by_a_product),
    Mistake(
        "so x must stay exactly as it is",
        caught_by="test_a_mask_may_pick_nothing",
        zero_column_=_zero_by_where_with_a_float,
    ),
    Mistake("you changed rows where the mask is False", caught_by=_MASK, zero_column_=_zero_and_repair),
    Mistake("NumPy knows no bfloat16", caught_by="test_a_mask_may_pick_nothing", zero_column_=_zero_by_numpy),
    Mistake(
        "so x must stay exactly as it is",
        caught_by="test_a_mask_may_pick_nothing",
        zero_column_=_zero_through_float64,
    ),
    Mistake("you changed other columns", caught_by=_MASK, zero_column_=_zero_whole_rows),
    Mistake("you changed rows where the mask is False", caught_by=_MASK, zero_column_=_zero_whole_column),
    Mistake("you changed rows where the mask is False", caught_by=_MASK, zero_column_=_zero_the_other_rows),
    Mistake("you changed rows where the mask is False", caught_by=_MASK, zero_column_=_zero_rows_0_and_1),
    Mistake(
        "raised on a mask that is False everywhere",
        caught_by="test_a_mask_may_pick_nothing",
        zero_column_=_zero_from_the_first,
    ),
    Mistake("one row is there twice", caught_by=_SWAP, swap_rows_=_swap_as_a_tuple),
    Mistake("one row is there twice", caught_by=_SWAP, swap_rows_=_swap_with_a_window),
    Mistake("rows 0 and 2 trade places", caught_by=_SWAP, swap_rows_=_swap_through_a_list),
    Mistake("it was not x itself", caught_by=_SWAP, swap_rows_=_swap_in_a_new_tensor),
    Mistake("rows 0 and 2 trade places", caught_by=_SWAP, swap_rows_=_swap_by_adding),
    Mistake("you gave x other memory", caught_by=_SWAP, swap_rows_=_swap_by_new_data),
    Mistake("trade places, exactly", caught_by=_ONE, swap_rows_=_swap_through_float),
    Mistake("trade places, exactly", caught_by=_ONE, swap_rows_=_swap_through_float64),
    Mistake("and the others stay", caught_by=_ONE, swap_rows_=_swap_all_between),
    Mistake("is one value and has no columns", caught_by=_ONE, swap_rows_=_swap_matrices_only),
    Mistake("one value is there twice", caught_by=_ONE, swap_rows_=_swap_single_values_as_a_tuple),
]
