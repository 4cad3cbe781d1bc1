"""One per row: reference.

Hint: Pairs or crossings? For pick you need pairs of a row number and a label, for grid every row with every column.
Hint: `gather` along dim 1, or two index tensors of the same length; for grid, index twice; a mask must have dtype bool.
Hint: Row numbers come from `torch.arange`. A column of labels is `y[:, None]`; `squeeze(1)` undoes just that dimension.

Why: Index tensors side by side are broadcast against each other and then read as pairs; a slice beside them means
each. So pairs need a row number for each label, and crossings need rows as a column (R, 1) against columns (C,), or
two steps. Only bool is a mask: any other integer dtype means positions (uint8 still works as a mask, with a warning
that it will not for ever).
"""

import torch
import torch.nn.functional as F

from dojo import Mistake


def pick(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return p.gather(1, y[:, None]).squeeze(1)


def grid(x: torch.Tensor, rows: torch.Tensor, cols: torch.Tensor) -> torch.Tensor:
    return x[rows[:, None], cols]


def keep(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return x[mask.bool()]


def _grid_by_masks(x, rows, cols):
    row_mask, col_mask = torch.zeros(x.shape[0], dtype=torch.bool), torch.zeros(x.shape[1], dtype=torch.bool)
    row_mask[rows], col_mask[cols] = True, True
    return x[row_mask][:, col_mask]


_PICK = "test_a_slice_beside_labels_gives_every_row_every_label"
_ONE_ROW = "test_a_batch_of_one_still_has_a_batch_dimension"
_PAIRS = "test_two_index_tensors_mean_pairs"
_GRID = "test_a_grid_need_not_be_square_nor_in_order"
_INTEGERS = "test_zeros_and_ones_are_positions_not_a_mask"

MISTAKES = [
    Mistake("every label from every row", caught_by=_PICK, pick=lambda p, y: p[:, y]),
    Mistake("you returned a column (N, 1)", caught_by=_PICK, pick=lambda p, y: p.gather(1, y[:, None])),
    Mistake("pick(p, y) failed", caught_by=_PICK, pick=lambda p, y: p.gather(1, y)),
    Mistake("you returned all columns", caught_by=_PICK, pick=lambda p, y: p * F.one_hot(y, p.shape[1])),
    Mistake("you returned all columns", caught_by=_PICK, pick=lambda p, y: p[y % len(p)]),
    Mistake("p[0, 2], p[1, 0], p[2, 3]", caught_by=_PICK, pick=lambda p, y: p.gather(1, y[None]).squeeze(0)),
    Mistake(
        "p[0, 2], p[1, 0], p[2, 3]",
        caught_by=_PICK,
        pick=lambda p, y: p.gather(1, y[:, None]).squeeze(1).float(),
    ),
    Mistake("-inf * 0 is NaN", caught_by=_PICK, pick=lambda p, y: (p * F.one_hot(y, p.shape[1])).sum(1)),
    Mistake(
        "each at the columns 0 and 2", caught_by=_PAIRS, grid=lambda x, rows, cols: x.float()[rows][:, cols].to(x.dtype)
    ),
    Mistake(
        "p[0, 2], p[1, 0], p[2, 3]",
        caught_by=_PICK,
        pick=lambda p, y: torch.tensor([p[i, k].item() for i, k in enumerate(y)]).to(p.dtype),
    ),
    Mistake(
        "it arrives as it is",
        caught_by=_PICK,
        pick=lambda p, y: (p * F.one_hot(y, p.shape[1])).nan_to_num().sum(1),
    ),
    Mistake(
        "each at the columns 0 and 2",
        caught_by=_PAIRS,
        grid=lambda x, rows, cols: x.double()[rows][:, cols].to(x.dtype),
    ),
    Mistake(
        "in that order, and column 1 twice",
        caught_by=_GRID,
        grid=lambda x, rows, cols: F.one_hot(rows, x.shape[0]).to(x) @ x @ F.one_hot(cols, x.shape[1]).to(x).T,
    ),
    Mistake(
        "keeps the last two values, whatever they are",
        caught_by="test_a_bool_tensor_is_a_mask",
        keep=lambda x, mask: (lambda kept: kept[~kept.isnan()])(torch.where(mask.bool(), x, float("nan"))),
    ),
    Mistake("the batch dimension is gone", caught_by=_ONE_ROW, pick=lambda p, y: p.gather(1, y[:, None]).squeeze()),
    Mistake("you got pairs", caught_by=_PAIRS, grid=lambda x, rows, cols: x[rows, cols]),
    Mistake("make no pairs; asked are all the crossings", caught_by=_GRID, grid=lambda x, rows, cols: x[rows, cols]),
    Mistake("each at the columns 0 and 2", caught_by=_PAIRS, grid=lambda x, rows, cols: x[rows][cols % 2]),
    Mistake("the rows come first", caught_by=_GRID, grid=lambda x, rows, cols: x[rows, cols[:, None]]),
    Mistake("in that order, and column 1 twice", caught_by=_GRID, grid=_grid_by_masks),
    Mistake(
        "in that order, and column 1 twice",
        caught_by=_GRID,
        grid=lambda x, rows, cols: torch.tensor([[x[i, j].item() for j in cols] for i in rows]),
    ),
    Mistake(
        "R is 1, and the dimension stays",
        caught_by=_GRID,
        grid=lambda x, rows, cols: x[rows][:, cols].squeeze(),
    ),
    Mistake(
        "keeps the last two values, whatever they are",
        caught_by="test_a_bool_tensor_is_a_mask",
        keep=lambda x, mask: (x * mask)[x * mask != 0],
    ),
    Mistake(
        "in the dtype of x",
        caught_by="test_a_mask_that_keeps_one_value_gives_a_tensor_of_one",
        keep=lambda x, mask: torch.tensor([v.item() for v, kept in zip(x, mask, strict=True) if kept]),
    ),
    Mistake("the mask is bool", caught_by="test_a_bool_tensor_is_a_mask", keep=lambda x, mask: x[(1 - mask) == 0]),
    Mistake(
        "you returned a column",
        caught_by="test_a_bool_tensor_is_a_mask",
        keep=lambda x, mask: x[mask.nonzero()],
    ),
    Mistake("taken for positions", caught_by=_INTEGERS, keep=lambda x, mask: x[mask]),
    Mistake("taken for positions", caught_by=_INTEGERS, keep=lambda x, mask: x[mask.long()]),
    Mistake(
        "taken for positions",
        caught_by=_INTEGERS,
        keep=lambda x, mask: x[mask.bool() if mask.dtype == torch.int64 else mask],
    ),
    Mistake("keeps the last two values", caught_by=_INTEGERS, keep=lambda x, mask: x * mask),
    Mistake(
        "and its dimension is gone",
        caught_by="test_a_mask_that_keeps_one_value_gives_a_tensor_of_one",
        keep=lambda x, mask: x[mask.nonzero().squeeze()],
    ),
]
