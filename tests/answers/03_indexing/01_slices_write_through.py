"""Answers that people give to slices_write_through, right ones and wrong ones."""

import torch

from dojo import Mistake


def _zero_with_a_loop(x, row_mask, col):
    for row, hit in zip(x, row_mask, strict=True):
        if hit:
            row[col] = 0


def _zero_through_the_column(x, row_mask, col):
    x[:, col][row_mask] = 0
    return x


def _zero_with_where(x, row_mask, col):
    x[:, col] = torch.where(row_mask, 0, x[:, col])
    return x


def _swap_with_a_clone(x, i, j):
    kept = x[i].clone()
    x[i] = x[j]
    x[j] = kept
    return x


def _swap_clones(x, i, j):
    x[i], x[j] = x[j].clone(), x[i].clone()


def _swap_by_index_select(x, i, j):
    order = torch.arange(x.shape[0])
    order[i], order[j] = j, i
    x.copy_(x.index_select(0, order))


def _zero_picked_rows(x, row_mask, col):
    rows = x[row_mask]
    rows[:, col] = 0


def _zero_by_row_number(x, row_mask, col):
    for i in row_mask.nonzero():
        x[i] = 0


def _zero_by_masked_fill(x, row_mask, col):
    x.masked_fill(row_mask[:, None], 0)


def _zero_the_rows_by_product(x, row_mask, col):
    x *= ~row_mask[:, None]


def _swap_views(x, i, j):
    a, b = x[i], x[j]
    a.copy_(b)
    b.copy_(a)


def _swap_by_flip(x, i, j):
    x = x.flip(0)
    return x


def _swap_columns_of_rows(x, i, j):
    for c in range(x.shape[1]):
        x[i, c], x[j, c] = x[j, c].item(), x[i, c].item()


def _zero_by_product(x, row_mask, col):
    x[:, col] *= (~row_mask).float()


def _zero_by_numbers(x, row_mask, col):
    x[row_mask.nonzero().squeeze(1), col] = 0.0


def _zero_by_difference(x, row_mask, col):
    x[:, col] -= torch.where(row_mask, x[:, col], 0)


def _zero_by_float_column(x, row_mask, col):
    column = x[:, col].float()
    column[row_mask] = 0
    x[:, col] = column


def _swap_by_numpy(x, i, j):
    a = x.numpy()
    a[[i, j]] = a[[j, i]]


def _swap_cloned_whole(x, i, j):
    old = x.clone()
    x[i], x[j] = old[j], old[i]


def _swap_second_cloned(x, i, j):
    x[i], x[j] = x[j], x[i].clone()


def _swap_stacked(x, i, j):
    x[[j, i]] = torch.stack([x[i], x[j]])


def _zero_up_to_the_count(x, row_mask, col):
    x[: int(row_mask.sum()), col] = 0


def _swap_first_cloned_late(x, i, j):
    x[i], x[j] = x[j].clone(), x[i]


def _swap_with_a_float_copy(x, i, j):
    kept = x[i].float().clone()
    x[i] = x[j]
    x[j] = kept


def _zero_rows_put_back(x, row_mask, col):
    rows = x[row_mask]
    rows[:, col] = 0
    x[row_mask] = rows


def _swap_flipped(x, i, j):
    x[[i, j]] = x[[i, j]].flip(0)


def _zero_an_array(x, row_mask, col):
    column = x[:, col].numpy()
    column[row_mask.numpy()] = 0


RIGHT = [
    dict(zero_column_=_zero_rows_put_back, swap_rows_=_swap_flipped),
    dict(
        corner=lambda x, n: x.narrow(0, 0, n).narrow(1, 0, n),
        zero_column_=_zero_with_a_loop,
        swap_rows_=_swap_with_a_clone,
    ),
    dict(corner=lambda x, n: x[:n][:, :n], zero_column_=_zero_through_the_column, swap_rows_=_swap_clones),
    dict(
        corner=lambda x, n: x.as_strided((n, n), x.stride(), x.storage_offset()),
        zero_column_=_zero_with_where,
        swap_rows_=_swap_by_index_select,
    ),
    dict(
        corner=lambda x, n: x[0:n, 0:n],
        zero_column_=lambda x, m, c: x[:, c].masked_fill_(m, 0),
        swap_rows_=lambda x, i, j: x.index_copy_(0, torch.tensor([i, j]), x[[j, i]]),
    ),
    dict(zero_column_=lambda x, m, c: x.index_put_((m, torch.tensor(c)), torch.tensor(0, dtype=x.dtype))),
    dict(zero_column_=_zero_by_numbers, swap_rows_=_swap_second_cloned),
    dict(
        corner=lambda x, n: x.t()[:n].t()[:n],
        zero_column_=lambda x, m, c: x.select(1, c).index_fill_(0, m.nonzero().view(-1), 0),
        swap_rows_=_swap_by_numpy,
    ),
    dict(corner=lambda x, n: x[..., :n, :n], swap_rows_=_swap_cloned_whole),
    dict(
        corner=lambda x, n: x.split([n, x.shape[0] - n])[0].split([n, x.shape[1] - n], dim=1)[0],
        swap_rows_=_swap_stacked,
    ),
]

WRONG = [
    Mistake("NumPy knows no bfloat16", caught_by="", zero_column_=_zero_an_array),
    Mistake("you returned a copy: a write", caught_by="", corner=lambda x, n: x[torch.arange(n)][:, torch.arange(n)]),
    Mistake("you returned a copy: a write", caught_by="", corner=lambda x, n: torch.tensor(x.tolist())[:n, :n]),
    Mistake("the first 2 rows and the first 2 columns", caught_by="", corner=lambda x, n: x[:n]),
    Mistake("x is unchanged", caught_by="", zero_column_=_zero_picked_rows),
    Mistake("you changed other columns", caught_by="", zero_column_=_zero_by_row_number),
    Mistake("you changed other columns", caught_by="", zero_column_=_zero_the_rows_by_product),
    Mistake("x is unchanged", caught_by="", zero_column_=_zero_by_masked_fill),
    Mistake("inf * 0 is NaN", caught_by="", zero_column_=_zero_by_product),
    Mistake("inf * 0 is NaN", caught_by="", zero_column_=_zero_by_difference),
    Mistake("so x must stay exactly as it is", caught_by="", zero_column_=_zero_by_float_column),
    Mistake("one row is there twice", caught_by="", swap_rows_=_swap_views),
    Mistake("trade places, exactly", caught_by="", swap_rows_=_swap_with_a_float_copy),
    Mistake("it was not x itself", caught_by="", swap_rows_=_swap_by_flip),
    Mistake("is one value and has no columns", caught_by="", swap_rows_=_swap_columns_of_rows),
    Mistake("the first 2 rows and the first 2 columns", caught_by="", corner=lambda x, n: x.narrow(0, 0, n)[:n]),
    Mistake("you changed rows where the mask is False", caught_by="", zero_column_=_zero_up_to_the_count),
    Mistake("it was not x itself", caught_by="", swap_rows_=lambda x, i, j: x[[i, j]].flip(0)),
    Mistake("one value is there twice", caught_by="", swap_rows_=_swap_first_cloned_late),
]
