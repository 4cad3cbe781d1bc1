"""Expand or repeat: reference.

Hint: Two of the three need new memory. Which one does not, and what would its stride along the new dimension be?
Hint: `Tensor.expand` for rows without memory; `Tensor.repeat` or `clone` for rows with; `repeat_interleave` per value.
Hint: `expand` takes the new shape, with -1 for a dimension that stays; `repeat` takes how often along each dimension.

Why: An expanded dimension has stride 0: n rows, one memory. Reading is free, and this is how broadcasting works.
Writing is where it bites: torch refuses to write to the whole, but not to a part of it. Copy before you edit, with
`repeat` or `clone`, which always copy; `contiguous` copies only what is not contiguous yet, so with n = 1 it hands
back a window on the source.
"""

import numpy as np
import torch

from dojo import Mistake


def broadcast_rows(row: torch.Tensor, n: int) -> torch.Tensor:
    return row.expand(n, -1)


def editable_rows(row: torch.Tensor, n: int) -> torch.Tensor:
    return row.repeat(n, 1)


def repeat_each(x: torch.Tensor, n: int) -> torch.Tensor:
    return x.repeat_interleave(n)


_FREE = "test_expanded_rows_cost_no_memory"
_EDIT = "test_repeated_rows_are_edited_one_by_one"
_EACH = "test_torch_repeat_is_not_numpy_repeat"

MISTAKES = [
    Mistake("you copied the row again and again", caught_by=_FREE, broadcast_rows=lambda row, n: row.repeat(n, 1)),
    Mistake(
        "you copied the row again and again",
        caught_by=_FREE,
        broadcast_rows=lambda row, n: row.expand(n, -1).contiguous(),
    ),
    Mistake("you copied row:", caught_by=_FREE, broadcast_rows=lambda row, n: row.clone().expand(n, -1)),
    Mistake(
        "one in each of 4 rows",
        caught_by="test_expand_shows_one_row_many_times",
        broadcast_rows=lambda row, n: row.repeat(n),
    ),
    Mistake(
        "could not be computed for a row of 3 values",
        caught_by="test_expand_shows_one_row_many_times",
        broadcast_rows=lambda row, n: row.expand(n),
    ),
    Mistake(
        "one in each of 4 rows",
        caught_by="test_expand_shows_one_row_many_times",
        broadcast_rows=lambda row, n: row[:, None].expand(-1, n),
    ),
    Mistake(
        "one in each of 4 rows",
        caught_by="test_expand_shows_one_row_many_times",
        broadcast_rows=lambda row, n: row.expand(n, -1).float() if row.is_floating_point() else row.expand(n, -1),
    ),
    Mistake(
        "its values do not lie side by side in memory",
        caught_by="test_expand_follows_the_strides_of_the_row",
        broadcast_rows=lambda row, n: row.as_strided((n, len(row)), (0, 1)),
    ),
    Mistake(
        "and you copied it: the rows lie on its memory",
        caught_by="test_expand_follows_the_strides_of_the_row",
        broadcast_rows=lambda row, n: row.contiguous().expand(n, -1),
    ),
    Mistake("one in each of 2 rows", caught_by=_EDIT, editable_rows=lambda row, n: torch.tensor([row.tolist()] * n)),
    Mistake(
        "in the dtype of row",
        caught_by="test_contiguous_does_not_copy_what_is_contiguous",
        editable_rows=lambda row, n: torch.zeros(n, len(row)) + row,
    ),
    Mistake(
        "editable_rows(row, 1) is row in one row",
        caught_by="test_contiguous_does_not_copy_what_is_contiguous",
        editable_rows=lambda row, n: (torch.ones(n, 1) * row).to(row.dtype),
    ),
    Mistake(
        "editable_rows must not change row",
        caught_by=_EDIT,
        editable_rows=lambda row, n: row.resize_(1, len(row)).repeat(n, 1),
    ),
    Mistake("one write hit them all", caught_by=_EDIT, editable_rows=lambda row, n: row.expand(n, -1)),
    Mistake("one write hit them all", caught_by=_EDIT, editable_rows=lambda row, n: row.clone().expand(n, -1)),
    Mistake("one in each of 2 rows", caught_by=_EDIT, editable_rows=lambda row, n: row.repeat(n)),
    Mistake(
        "one in each of 2 rows", caught_by=_EDIT, editable_rows=lambda row, n: row.repeat_interleave(n).view(n, -1)
    ),
    Mistake(
        "nothing was copied: your write to the rows changed the source",
        caught_by="test_contiguous_does_not_copy_what_is_contiguous",
        editable_rows=lambda row, n: row.expand(n, -1).contiguous(),
    ),
    Mistake(
        "2**53 + 1 comes out exactly",
        caught_by=_EACH,
        repeat_each=lambda x, n: torch.kron(x.double(), torch.ones(n).double()).to(x.dtype),
    ),
    Mistake(
        "2**53 + 1 arrives exactly in both rows",
        caught_by="test_contiguous_does_not_copy_what_is_contiguous",
        editable_rows=lambda row, n: torch.outer(torch.ones(n).double(), row.double()).to(row.dtype),
    ),
    Mistake("you repeated x as a whole", caught_by=_EACH, repeat_each=lambda x, n: x.repeat(n)),
    Mistake(
        "holds each value 3 times in a row",
        caught_by=_EACH,
        repeat_each=lambda x, n: x[:, None].expand(-1, n),
    ),
    Mistake("holds each value 3 times in a row", caught_by=_EACH, repeat_each=lambda x, n: x.repeat(n).sort().values),
    Mistake(
        "keeps the values, the dtype and the order of x",
        caught_by=_EACH,
        repeat_each=lambda x, n: torch.outer(x.double(), torch.ones(n).double()).flatten(),
    ),
    Mistake(
        "keeps the values, the dtype and the order of x",
        caught_by=_EACH,
        repeat_each=lambda x, n: torch.from_numpy(np.repeat(x.tolist(), n)),
    ),
    Mistake("could not be computed", caught_by=_EACH, repeat_each=lambda x, n: x.expand(n)),
    Mistake(
        "keeps the values, the dtype",
        caught_by=_EACH,
        repeat_each=lambda x, n: (x[:, None] * torch.ones(n)).flatten().to(x.dtype),
    ),
    Mistake("holds each value 3 times", caught_by=_EACH, repeat_each=lambda x, n: x.float().repeat_interleave(n)),
    Mistake(
        "repeat_each must not change x",
        caught_by=_EACH,
        repeat_each=lambda x, n: x.resize_(len(x), 1).repeat(1, n).view(-1),
    ),
]

KEEP = {
    "test_expanded_rows_cost_no_memory": "it counts the bytes, and they are what expand is for",
    "test_a_write_through_one_expanded_row_changes_them_all": "it is the fact itself: what the saved memory costs",
}
