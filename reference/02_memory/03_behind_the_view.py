"""Behind the view: reference.

Hint: One step along dimension d is stride d places. So a place is a start plus steps: where does a view start?
Hint: `Tensor.storage_offset` and `Tensor.stride` for the place, `Tensor.unfold` for the windows. For compact look for
the call that always copies, whatever the strides: `contiguous` is not it.
Hint: Sum up index times stride over the dimensions and add the offset; unfold has the arguments dimension, size, step.

Why: Shape, strides and offset are the whole difference between a view and its base. Windows overlap because the
strides of both dimensions are the same: one step down is also one step to the right. `contiguous()` copies only
if it must, and `deepcopy` and `torch.save` keep the block, so that tensors which shared memory share it again. `clone`
copies what the view shows; clone before you save or cache a piece of something large.
"""

import copy

import torch

from dojo import Mistake


def offset(x: torch.Tensor, *index: int) -> int:
    return x.storage_offset() + sum(i * step for i, step in zip(index, x.stride(), strict=True))


def windows(x: torch.Tensor, k: int) -> torch.Tensor:
    return x.unfold(0, k, 1)


def compact(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


def _row_major(x, *index):
    place = 0
    for i, size in zip(index, x.shape, strict=True):
        place = place * size + i
    return place


def _span(x):
    places = [0] if not x.numel() else [sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True))]
    block = x.as_strided((places[0] + 1,), (1,)).clone()
    return block.as_strided(x.shape, x.stride())


def _find_the_value(x, *index):
    block = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage())
    return block.tolist().index(x[index].item())


_STRIDES = "test_strides_and_not_the_shape_say_where_an_element_lies"
_BEGINS = "test_a_slice_begins_somewhere_in_the_storage_of_the_whole"
_OVERLAP = "test_windows_overlap_in_the_same_memory"
_STEPS = "test_windows_of_a_slice_step_as_the_slice_steps"
_ROWS = "test_two_rows_keep_the_whole_block_alive"
_COLUMN = "test_a_column_is_spread_over_the_whole_block"
_COPY = "test_a_copy_is_a_copy_even_if_nothing_can_be_saved"

MISTAKES = [
    Mistake(
        "a whole tensor (bool)", caught_by="test_a_copy_is_a_copy_even_if_nothing_can_be_saved", compact=lambda x: x * 1
    ),
    Mistake("you counted along the rows", caught_by=_STRIDES, offset=_row_major),
    Mistake(
        "you counted along the rows",
        caught_by=_STRIDES,
        offset=lambda x, *index: x.storage_offset() + _row_major(x, *index),
    ),
    Mistake(
        "does not begin at the start of its storage",
        caught_by=_BEGINS,
        offset=lambda x, *index: sum(i * s for i, s in zip(index, x.stride(), strict=True)),
    ),
    Mistake("that is in bytes", caught_by=_STRIDES, offset=lambda x, *index: offset(x, *index) * x.element_size()),
    Mistake(
        "x[2, 1] lies at 13",
        caught_by=_STRIDES,
        offset=lambda x, *i: x.storage_offset() + sum(a * s for a, s in zip(i, x.stride()[::-1], strict=True)),
    ),
    Mistake("you copied the windows", caught_by=_OVERLAP, windows=lambda x, k: x.unfold(0, k, 1).clone()),
    Mistake(
        "you copied the windows",
        caught_by=_OVERLAP,
        windows=lambda x, k: torch.stack([x[i : i + k] for i in range(len(x) - k + 1)]),
    ),
    Mistake("your windows stand side by side", caught_by=_OVERLAP, windows=lambda x, k: x.unfold(0, k, k)),
    Mistake("a window is missing", caught_by=_OVERLAP, windows=lambda x, k: x.unfold(0, k, 1)[:-1]),
    Mistake(
        "you walked through the memory by 1",
        caught_by=_STEPS,
        windows=lambda x, k: x.as_strided((len(x) - k + 1, k), (1, 1)),
    ),
    Mistake(
        "you copied: the windows of a slice can be seen in its memory too",
        caught_by=_STEPS,
        windows=lambda x, k: x.contiguous().unfold(0, k, 1),
    ),
    Mistake("you returned the memory of x", caught_by=_ROWS, compact=lambda x: x.contiguous()),
    Mistake("you copied the whole block behind it", caught_by=_ROWS, compact=lambda x: copy.deepcopy(x)),
    Mistake("you returned the memory of x", caught_by=_ROWS, compact=lambda x: x.reshape(-1).view(x.shape)),
    Mistake(
        "you returned the memory of x",
        caught_by=_COPY,
        compact=lambda x: x if x.untyped_storage().nbytes() == x.nbytes else x.clone(),
    ),
    Mistake("but your copy holds", caught_by=_COLUMN, compact=_span),
    Mistake(
        "you copied the whole block behind it",
        caught_by=_COLUMN,
        compact=lambda x: x.clone() if x.is_contiguous() else copy.deepcopy(x),
    ),
    Mistake(
        "windows of base[1:11:2]",
        caught_by=_STEPS,
        windows=lambda x, k: x.as_strided((len(x) - k + 1, k), x.stride() * 2, 0),
    ),
    Mistake(
        "x[2, 1] lies at 21",
        caught_by=_BEGINS,
        offset=lambda x, *i: (x[i].data_ptr() - x.untyped_storage().data_ptr()) // 4,
    ),
    Mistake("x[3] lies at 15", caught_by=_BEGINS, offset=_find_the_value),
    Mistake(
        "windows must leave x itself as it is",
        caught_by=_OVERLAP,
        windows=lambda x, k: x.as_strided_((len(x) - k + 1, k), x.stride() * 2),
    ),
    Mistake("6 numbers have 4 windows of 3", caught_by=_OVERLAP, windows=lambda x, k: x.unfold(0, len(x) - k + 1, 1)),
    Mistake("compact changed big[:2]", caught_by=_ROWS, compact=lambda x: x.set_(x.clone())),
    Mistake("you returned the memory of x", caught_by=_COPY, compact=lambda x: x.clone() if x._base is not None else x),
    Mistake("but your copy holds", caught_by=_ROWS, compact=lambda x: torch.cat([x, x])[: len(x)]),
    Mistake("has the values of big[:2]", caught_by=_ROWS, compact=lambda x: x.float().clone().to(x.dtype)),
    Mistake("expected torch.float64", caught_by=_ROWS, compact=lambda x: torch.tensor(x.tolist())),
    Mistake("has the values of a whole tensor", caught_by=_COPY, compact=lambda x: (x * 1.0).to(x.dtype)),
    Mistake("has the values of a whole tensor", caught_by=_COPY, compact=lambda x: (x.double() + 0).to(x.dtype)),
    Mistake(
        "offset raised on x (4, 2, 3)",
        caught_by=_STRIDES,
        offset=lambda x, row, column: x.storage_offset() + row * x.stride(0) + column * x.stride(1),
    ),
    Mistake(
        "expected an int", caught_by=_STRIDES, offset=lambda x, *i: (torch.tensor(i) * torch.tensor(x.stride())).sum()
    ),
    Mistake("windows(x, 3) raised on 6 numbers", caught_by=_OVERLAP, windows=lambda x, k: x.view(len(x) - k + 1, k)),
    Mistake(
        "x[1, 2] lies at 5",
        caught_by=_BEGINS,
        offset=lambda x, *i: x.storage_offset() + sum(a * max(s, 1) for a, s in zip(i, x.stride(), strict=True)),
    ),
]

KEEP = {
    _STRIDES: "it is the fact itself, in the plainest case",
}
