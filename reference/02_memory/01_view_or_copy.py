"""View or copy: reference.

Hint: Which of the three needs the memory of x, and which only the numbers? `view` and `reshape` differ in just that.
Hint: `Tensor.view` refuses, `Tensor.reshape` falls back to a copy; `Tensor.copy_` writes into any strides.
Hint: Do not flatten the target: give the values the shape of x, then copy them into it.

Why: `reshape` is `view` with a fallback, so it is right when you read and wrong when you write. Being contiguous is
sufficient for a view, not necessary: view asks only that each merged dimension can be walked with one stride. To
write through any strides, shape the source to the target (`x.copy_(values.view(x.shape))`), not the target to the
source.
"""

import torch

from dojo import Mistake


def flat_view(x: torch.Tensor) -> torch.Tensor:
    return x.view(-1)


def flat(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1)


def fill_flat_(x: torch.Tensor, values: torch.Tensor) -> None:
    x.copy_(values.view(x.shape))


def _fill_through_reshape(x, values):
    x.reshape(-1)[:] = values
    return x


def _fill_through_memory(x, values):
    x.as_strided((x.numel(),), (1,)).copy_(values)
    return x


def _fill_through_view(x, values):
    x.view(-1).copy_(values)
    return x


def _fill_column_by_column(x, values):
    x.copy_(values.view(x.shape[::-1]).t() if x.is_contiguous() else values.view(x.shape))
    return x


def _fill_rebound(x, values):
    x.data = values.view(x.shape)
    return x


def _fill_a_matrix(x, values):
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] = values[i * x.shape[1] + j]
    return x


def _fall_back_to_none(x):
    try:
        return x.view(-1)
    except RuntimeError:
        return None


def _value_error(x):
    try:
        return x.view(-1)
    except RuntimeError as error:
        raise ValueError("no view") from error


def _view_only_if_contiguous(x):
    if not x.is_contiguous():
        raise RuntimeError("cannot view a tensor that is not contiguous")
    return x.view(-1)


def _view_only_of_a_vector(x):
    if x.dim() > 1 and not x.is_contiguous():
        raise RuntimeError("cannot view a tensor that is not contiguous")
    return x.view(-1)


_A_COPY = "Asked is the error, not a copy or another order"
_CONTIGUOUS = "strides may be anything, x need not be contiguous"

MISTAKES = [
    Mistake(
        "NumPy knows no bfloat16 and no graph",
        caught_by="test_flat_reads_a_transposed_tensor_row_by_row",
        flat=lambda x: torch.from_numpy(x.numpy().reshape(-1)),
    ),
    Mistake(_A_COPY, caught_by="test_view_refuses_what_it_cannot_show", flat_view=lambda x: x.reshape(-1)),
    Mistake(_A_COPY, caught_by="test_view_refuses_what_it_cannot_show", flat_view=lambda x: x.contiguous().view(-1)),
    Mistake(_A_COPY, caught_by="test_view_refuses_what_it_cannot_show", flat_view=lambda x: x.ravel()),
    Mistake(
        _A_COPY,
        caught_by="test_view_refuses_what_it_cannot_show",
        flat_view=lambda x: x.as_strided((x.numel(),), (x.stride(-1) if x.dim() == 1 else 1,)),
    ),
    Mistake(
        "x may have any shape",
        caught_by="test_flat_reads_a_transposed_tensor_row_by_row",
        flat=lambda x: x.contiguous().view(x.shape[0] * x.shape[1]),
    ),
    Mistake(
        "flat holds the values of a transposed cube",
        caught_by="test_flat_reads_a_transposed_tensor_row_by_row",
        flat=lambda x: x.reshape(-1) if x.dim() < 3 else torch.cat([row.t().reshape(-1) for row in x]),
    ),
    Mistake(
        "the values go along its rows, not through memory",
        caught_by="test_fill_flat_writes_into_any_strides",
        fill_flat_=lambda x, values: x.copy_(values.float().view(x.shape)),
    ),
    Mistake(
        "any shape may come",
        caught_by="test_fill_flat_writes_into_any_strides",
        fill_flat_=lambda x, values: x.copy_(values.view(*x.shape[:2])),
    ),
    Mistake(
        "fill_flat_ must not change `values`",
        caught_by="test_fill_flat_writes_into_any_strides",
        fill_flat_=lambda x, values: x.copy_(values.resize_(x.shape)),
    ),
    Mistake(
        "expected RuntimeError, got ValueError",
        caught_by="test_view_refuses_what_it_cannot_show",
        flat_view=_value_error,
    ),
    Mistake(_A_COPY, caught_by="test_view_refuses_what_it_cannot_show", flat_view=_fall_back_to_none),
    Mistake(
        "a write through the view must show in x",
        caught_by="test_a_view_is_a_window_on_the_same_memory",
        flat_view=lambda x: x.view(-1).clone(),
    ),
    Mistake(
        _CONTIGUOUS,
        caught_by="test_a_view_needs_strides_that_fit_not_contiguous_memory",
        flat_view=_view_only_if_contiguous,
    ),
    Mistake(
        "from each value to the next are 2 places",
        caught_by="test_a_view_needs_strides_that_fit_not_contiguous_memory",
        flat_view=_view_only_of_a_vector,
    ),
    Mistake(
        "where view refuses, it copies",
        caught_by="test_flat_reads_a_transposed_tensor_row_by_row",
        flat=lambda x: x.view(-1),
    ),
    Mistake(
        "along its rows, not through memory",
        caught_by="test_flat_reads_a_transposed_tensor_row_by_row",
        flat=lambda x: x.as_strided((x.numel(),), (1,)) if not x.is_contiguous() and x.dim() > 1 else x.reshape(-1),
    ),
    Mistake(
        "you copied a contiguous tensor that could be viewed",
        caught_by="test_flat_is_free_where_a_view_is_possible",
        flat=lambda x: x.flatten().clone(),
    ),
    Mistake(
        "your write went nowhere",
        caught_by="test_fill_flat_writes_into_any_strides",
        fill_flat_=_fill_through_reshape,
    ),
    Mistake(
        "the values go along its rows, not through memory",
        caught_by="test_fill_flat_writes_into_any_strides",
        fill_flat_=_fill_through_memory,
    ),
    Mistake(
        "your write went nowhere",
        caught_by="test_fill_flat_writes_into_any_strides",
        fill_flat_=_fill_rebound,
    ),
    Mistake(
        "the values go along its rows, not through memory",
        caught_by="test_fill_flat_writes_into_any_strides",
        fill_flat_=_fill_a_matrix,
    ),
    Mistake(
        "holds the values of x.t() as they are",
        caught_by="test_flat_reads_a_transposed_tensor_row_by_row",
        flat=lambda x: x.reshape(-1).float(),
    ),
    Mistake(
        "has no 1-D view: write without one",
        caught_by="test_fill_flat_writes_into_any_strides",
        fill_flat_=_fill_through_view,
    ),
    Mistake(
        "x is unchanged: the underscore promises",
        caught_by="test_fill_flat_writes_into_contiguous_memory",
        fill_flat_=lambda x, values: values.reshape(x.shape).clone(),
    ),
    Mistake(
        "the values go into x row by row",
        caught_by="test_fill_flat_writes_into_contiguous_memory",
        fill_flat_=_fill_column_by_column,
    ),
]

KEEP = {"test_a_view_is_a_window_on_the_same_memory": "it is the fact itself, in the plainest case"}
