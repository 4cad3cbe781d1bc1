"""Shape words: reference.

Hint: x.shape is a tuple-like thing: you can index it, and compare it. Which of its entries does each function need?
Hint: `Tensor.numel` counts. `squeeze` takes the number of the dimension that may go, but it does not check its size.
Hint: First compare the size of dimension 1 with 1, and raise a ValueError where it differs. Then squeeze only that one.

Why: `len(x)` is the size of dimension 0, `x.numel()` the product of all dimensions; they agree only for a 1-D tensor.
`squeeze()` without a number is a time bomb: the code runs for months, until the last batch of an epoch holds one image.
Name the dimension, and check its size: `squeeze(1)` accepts an RGB image and gives it back unchanged.
"""

import numpy as np
import torch

from dojo import Mistake


def n_values(x: torch.Tensor) -> int:
    return x.numel()


def batch_size(x: torch.Tensor) -> int:
    return x.shape[0]


def drop_channel(x: torch.Tensor) -> torch.Tensor:
    if x.shape[1] != 1:
        raise ValueError(f"expected one channel, got {x.shape[1]}")
    return x.squeeze(1)


def _one_or_error(x):
    if x.shape[1] != 1:
        raise ValueError("not one channel")


def _squeeze_all(x):
    _one_or_error(x)
    return x.squeeze()


def _keep_only_the_batch(x):
    _one_or_error(x)
    return x.squeeze() if x.shape[0] > 1 else x.squeeze().unsqueeze(0)


def _squeeze_twice_when_alone(x):
    _one_or_error(x)
    return x.squeeze(0).squeeze(0) if len(x) == 1 else x.squeeze(1)


def _in_place(x):
    _one_or_error(x)
    return x.squeeze_(1)


def _last_dimension(x):
    _one_or_error(x)
    return x.squeeze(-1)


def _into_a_new_tensor(x):
    _one_or_error(x)
    out = torch.zeros(x.shape[0], *x.shape[2:])
    out[:] = x[:, 0]
    return out


def _assert_one(x):
    assert x.shape[1] == 1
    return x.squeeze(1)


def _returns_the_error(x):
    return x.squeeze(1) if x.shape[1] == 1 else ValueError("not grey")


def _swaps_the_data(x):
    _one_or_error(x)
    x.data = x.data.squeeze(1)
    return x


def _sum_of_one(x):
    _one_or_error(x)
    return x.sum(dim=1)


def _where_the_1_is(x):
    return x.squeeze(list(x.shape).index(1))


def _any_1(x):
    if 1 not in x.shape:
        raise ValueError("not one channel")
    return x.squeeze(1)


def _only_rgb_is_wrong(x):
    if x.shape[1] == 3:
        raise ValueError("RGB")
    return x.squeeze(1)


_BATCH = "the batch dimension is gone too"
_PIXEL = "rows or columns are gone too"
_NOTHING = "squeeze(1) on a size-3 dim does nothing"
_COUNT = "test_a_shape_is_not_a_count"
_RGB = "test_squeeze_does_nothing_to_a_dimension_of_size_3"
_ONE = "test_a_batch_of_one_image_is_still_a_batch"
_PLAIN = "test_a_dimension_of_size_1_can_go_without_moving_a_value"
_EMPTY = "test_a_tensor_may_have_no_dimension_or_no_value"

MISTAKES = [
    Mistake(
        "NaN and 0 are values too",
        caught_by="test_a_shape_is_not_a_count",
        n_values=lambda x: x.numel() - int(x.isnan().sum()),
    ),
    Mistake("len(x) is only its dimension 0", caught_by=_COUNT, n_values=lambda x: len(x)),
    Mistake("in torch x.size is not a number", caught_by=_COUNT, n_values=lambda x: x.size),
    Mistake("was not called", caught_by=_COUNT, n_values=lambda x: x.numel),
    Mistake("that is the sum", caught_by=_COUNT, n_values=lambda x: sum(x.shape)),
    Mistake("that counts dimensions", caught_by=_COUNT, n_values=lambda x: x.dim()),
    Mistake("you returned a shape", caught_by=_COUNT, n_values=lambda x: x.size()),
    Mistake("you returned a tensor", caught_by=_COUNT, n_values=lambda x: torch.tensor(x.shape).prod()),
    Mistake(
        "every dimension counts",
        caught_by=_COUNT,
        n_values=lambda x: x.numel() if x.dim() < 2 else x.shape[0] * x.shape[1],
    ),
    Mistake(
        "it has no dimension 0",
        caught_by=_EMPTY,
        n_values=lambda x: len(x) * (x[0].numel() if len(x) else 0),
    ),
    Mistake("shape (0, 3) holds 0", caught_by=_EMPTY, n_values=lambda x: max(1, x.numel())),
    Mistake("is its dimension 0", caught_by="test_dimension_0_is_the_batch", batch_size=lambda x: x.numel()),
    Mistake("is its dimension 0", caught_by="test_dimension_0_is_the_batch", batch_size=lambda x: x.shape[-1]),
    Mistake("is its dimension 0", caught_by="test_dimension_0_is_the_batch", batch_size=lambda x: x.dim()),
    Mistake("you returned a shape", caught_by="test_dimension_0_is_the_batch", batch_size=lambda x: x.shape),
    Mistake(
        "shares a larger memory",
        caught_by=_COUNT,
        n_values=lambda x: x.untyped_storage().nbytes() // x.element_size(),
    ),
    Mistake("in float64 too", caught_by=_COUNT, n_values=lambda x: x.nbytes // 4),
    Mistake(_BATCH, caught_by=_ONE, drop_channel=_squeeze_all),
    Mistake(_BATCH, caught_by=_ONE, drop_channel=_squeeze_twice_when_alone),
    Mistake(_BATCH, caught_by=_ONE, drop_channel=lambda x: x.squeeze()),
    Mistake(
        _PIXEL,
        caught_by="test_an_image_of_one_pixel_keeps_its_rows_and_columns",
        drop_channel=_keep_only_the_batch,
    ),
    Mistake("must leave x itself as it is", caught_by=_PLAIN, drop_channel=_in_place),
    Mistake("come out as (4, 2, 3)", caught_by=_PLAIN, drop_channel=_last_dimension),
    Mistake("the same values and dtype", caught_by=_PLAIN, drop_channel=_into_a_new_tensor),
    Mistake(
        "the same values and dtype",
        caught_by=_PLAIN,
        drop_channel=lambda x: (_one_or_error(x), x.nansum(1) if x.is_floating_point() else x[:, 0])[1],
    ),
    Mistake(_NOTHING, caught_by=_RGB, drop_channel=lambda x: x.squeeze(1)),
    Mistake("squeeze(1) on a size-2 dim does nothing", caught_by=_RGB, drop_channel=_only_rgb_is_wrong),
    Mistake("an assert is no check for callers", caught_by=_RGB, drop_channel=_assert_one),
    Mistake("you kept one colour", caught_by=_RGB, drop_channel=lambda x: x[:, 0]),
    Mistake("channels became images", caught_by=_RGB, drop_channel=lambda x: x.reshape(-1, *x.shape[2:])),
    Mistake("of type int64", caught_by=_COUNT, n_values=lambda x: np.prod(x.shape)),
    Mistake(
        "is its dimension 0",
        caught_by="test_dimension_0_is_the_batch",
        batch_size=lambda x: x.shape[0] if x.numel() else 1,
    ),
    Mistake("must leave x itself as it is", caught_by=_PLAIN, drop_channel=_swaps_the_data),
    Mistake("expected torch.uint8", caught_by=_PLAIN, drop_channel=_sum_of_one),
    Mistake("3 channels cannot be dropped", caught_by=_RGB, drop_channel=_where_the_1_is),
    Mistake(_NOTHING, caught_by=_RGB, drop_channel=_any_1),
    Mistake("you returned an error", caught_by=_RGB, drop_channel=_returns_the_error),
    Mistake("3 channels cannot be dropped", caught_by=_RGB, drop_channel=lambda x: x.mean(1)),
]
