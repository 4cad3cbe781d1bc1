"""Mask, do not multiply: reference.

Hint: No arithmetic with masks. Ask for each place: which of two values? Or take the values out that you want.
Hint: `Tensor.logical_not` (it takes any dtype), indexing with a mask, and `masked_fill` without an underscore.
Hint: The operator for bool is `~`; make the mask bool first. What indexing gives you has a `mean` of its own.

Why: A product keeps what it multiplies: NaN * 0 and inf * 0 are NaN, so 0 is no eraser. A selection (`x[mask]`,
`where`, `masked_fill`) never reads the other value. `~` is *bitwise* not: the same as *logical* not for bool,
and something else for uint8, where ~1 is 254. `masked_fill` gives a new tensor, `masked_fill_` writes into x.
"""

import numpy as np
import torch

from dojo import Mistake


def invert(mask: torch.Tensor) -> torch.Tensor:
    return mask.logical_not()


def masked_mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return x[mask].mean()


def fill(x: torch.Tensor, mask: torch.Tensor, v: float) -> torch.Tensor:
    return x.masked_fill(mask, v)


def _fill_in_place(x, mask, v):
    x[mask] = v
    return x


def _fill_with_a_whole_number(x, mask, v):
    return x.masked_fill(mask, int(v) if abs(v) < 1e9 else v)


def _mean_in_place(x, mask):
    x[~mask] = 0
    return x.sum() / mask.sum()


_BOOL = "test_a_bool_mask_is_not_a_number"
_BITS = "test_flipping_the_bits_of_a_uint8_is_not_logical_not"
_MEAN = "test_a_mean_must_not_count_what_is_masked_out"
_MEAN_NAN = "test_zero_times_nan_is_nan"
_NEW = "test_fill_makes_a_new_tensor"
_FILL_NAN = "test_fill_covers_nan_and_leaves_the_rest"
_FILL_INF = "test_zero_times_infinity_is_nan_too"

MISTAKES = [
    Mistake("masked_mean must not change x or mask", caught_by=_MEAN, masked_mean=_mean_in_place),
    Mistake("the mask keeps 4 and 5", caught_by=_MEAN, masked_mean=lambda x, mask: x[mask].float().mean()),
    Mistake(
        "False everywhere, and you returned x",
        caught_by=_NEW,
        fill=lambda x, mask, v: x.masked_fill(mask, v) if mask.any() else x,
    ),
    Mistake(
        "in the dtype of x",
        caught_by=_FILL_NAN,
        fill=lambda x, mask, v: torch.where(mask, v, x.float()),
    ),
    Mistake(
        "in the dtype of x, exactly",
        caught_by=_FILL_NAN,
        fill=lambda x, mask, v: x.index_put((mask,), torch.tensor(v).to(x.dtype)),
    ),
    Mistake(
        "in the dtype of x, exactly",
        caught_by=_FILL_NAN,
        fill=lambda x, mask, v: x.float().masked_fill(mask, v).to(x.dtype),
    ),
    Mistake(
        "-inf where the mask is True",
        caught_by=_FILL_INF,
        fill=lambda x, mask, v: x.masked_fill(mask, max(v, torch.finfo(x.dtype).min)),
    ),
    Mistake("-inf where the mask is True", caught_by=_FILL_INF, fill=lambda x, mask, v: x.relu().masked_fill(mask, v)),
    Mistake(
        "their mean is inf",
        caught_by=_MEAN_NAN,
        masked_mean=lambda x, mask: torch.nan_to_num(x * mask).sum() / mask.sum(),
    ),
    Mistake(
        "0.04 and 0.05, in float64",
        caught_by=_MEAN,
        masked_mean=lambda x, mask: x[mask].float().mean().to(x.dtype),
    ),
    Mistake("neither a number, to be subtracted", caught_by=_BOOL, invert=lambda mask: (1 - mask).bool()),
    Mistake("neither a number, to be subtracted", caught_by=_BOOL, invert=lambda mask: 1 - mask),
    Mistake("invert must not change the mask", caught_by=_BOOL, invert=lambda mask: mask.logical_not_().bool()),
    Mistake("each True becomes False", caught_by=_BOOL, invert=lambda mask: 1 - mask.int()),
    Mistake("with its eight bits flipped", caught_by=_BITS, invert=lambda mask: ~mask),
    Mistake("with its eight bits flipped", caught_by=_BITS, invert=lambda mask: (~mask).bool()),
    Mistake(
        "1 becomes False, 0 becomes True",
        caught_by=_BITS,
        invert=lambda mask: ~mask if mask.dtype == torch.bool else 1 - mask,
    ),
    Mistake("those that became 0 still count", caught_by=_MEAN, masked_mean=lambda x, mask: (x * mask).mean()),
    Mistake(
        "those that became 0 still count",
        caught_by=_MEAN,
        masked_mean=lambda x, mask: torch.where(mask, x, 0.0).mean(),
    ),
    Mistake("22.25 is the mean of all values", caught_by=_MEAN, masked_mean=lambda x, mask: x.nanmean()),
    Mistake("the mask keeps 4 and 5", caught_by=_MEAN, masked_mean=lambda x, mask: x[~mask].mean()),
    Mistake("the mask keeps 4 and 5", caught_by=_MEAN, masked_mean=lambda x, mask: x[mask]),
    Mistake("NaN * 0 is NaN", caught_by=_MEAN_NAN, masked_mean=lambda x, mask: (x * mask).sum() / mask.sum()),
    Mistake(
        "NaN, inf and 30 are masked out",
        caught_by=_MEAN_NAN,
        masked_mean=lambda x, mask: (x * mask).nan_to_num().mean() if x.isnan().any() else x[mask].mean(),
    ),
    Mistake("0.1 where the mask is True", caught_by=_FILL_NAN, fill=_fill_with_a_whole_number),
    Mistake("fill must not write into x", caught_by=_NEW, fill=_fill_in_place),
    Mistake("fill must not write into x", caught_by=_NEW, fill=lambda x, mask, v: x.masked_fill_(mask, v)),
    Mistake("has -1 where the mask is True", caught_by=_NEW, fill=lambda x, mask, v: torch.where(mask, x, v)),
    Mistake("the NaN is still there", caught_by=_FILL_NAN, fill=lambda x, mask, v: x * ~mask + v * mask),
    Mistake(
        "nobody asked to hide it",
        caught_by=_FILL_NAN,
        fill=lambda x, mask, v: x.nan_to_num().masked_fill(mask, v),
    ),
    Mistake(
        "NumPy knows no bfloat16",
        caught_by=_FILL_INF,
        fill=lambda x, mask, v: torch.from_numpy(np.where(mask.numpy(), x.numpy().dtype.type(v), x.numpy())),
    ),
    Mistake(
        "-inf * 0 is NaN",
        caught_by=_FILL_INF,
        fill=lambda x, mask, v: x.masked_fill(mask, 0.0) + v * mask,
    ),
]
