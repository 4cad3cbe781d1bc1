"""keepdim and correction: reference.

Hint: Write the shapes under each other, from the right: what meets what? And what does NumPy divide by, N or N - 1?
Hint: Reductions take `keepdim=True`. `Tensor.std` takes `correction=`. `torch.where` replaces the zeros of a divisor.
Hint: A column is constant where each value equals the first: `(x == x[0]).all(0)`. Such columns become 0, the
others are divided.

Why: Broadcasting aligns from the right, so a dropped *last* dimension is the dangerous one; `x.mean(0)` needs no
keepdim, since the columns are rightmost anyway. N - 1 is an estimate about data that you have not seen; to rescale
the data that you have, divide by N. "Deviation 0" is the wrong question for a constant column: 0.1 is not exact in
binary, the mean of seven is off by a bit, and the bit divided by itself is 1. A small eps in the divisor would hide
that, and shrink every column whose own scale is small; nan_to_num would hide the NaNs that came in with the data.
"""

import torch

from dojo import Mistake


def row_normalise(w: torch.Tensor) -> torch.Tensor:
    return w / w.sum(1, keepdim=True)


def standardise(x: torch.Tensor) -> torch.Tensor:
    constant = (x == x[0]).all(0)
    return torch.where(constant, 0, (x - x.mean(0)) / x.std(0, correction=0))


def _normalise_in_place(w):
    w /= w.sum(1, keepdim=True)
    return w


def _scale(x, mean, std):
    return torch.where(_constant(x), 0, (x - mean) / torch.where(std == 0, torch.ones_like(std), std))


def _constant(x):
    return (x == x[0]).all(0)


def _mended_divisor(x):
    std = x.std(0, correction=0)
    return (x - x.mean(0)) / torch.where(std == 0, 1, std)


def _one_pass(x):
    var = (x * x).mean(0) - x.mean(0) ** 2
    return torch.where(_constant(x), 0, (x - x.mean(0)) / var.clamp(min=0).sqrt()).nan_to_num()


def _eps_under_the_root(x):
    return torch.where(_constant(x), 0, (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt())


def _eps_beside_the_root(x):
    return torch.where(_constant(x), 0, (x - x.mean(0)) / (x.std(0, correction=0) + 1e-8))


def _small_is_constant(x):
    std = x.std(0, correction=0)
    return torch.where(std < 1e-6, 0, (x - x.mean(0)) / std)


def _in_float32(x):
    return standardise(x.float()).to(x.dtype)


def _standardise_in_place(x):
    std = x.std(0, correction=0)
    x -= x.mean(0)
    x /= torch.where(std == 0, 1, std)
    return x


def _zeros_into_x(x):
    std = x.std(0, correction=0)
    x[:, _constant(x)] = 0
    return _scale(x, x.mean(0), std)


def _zero_row_in_place(x):
    return x.zero_() if len(x) == 1 else standardise(x)


def _skip_constant_columns(x):
    std = x.std(0, correction=0)
    return torch.where(_constant(x) & (len(x) > 1), x, _scale(x, x.mean(0), std))


def _default_correction(x):
    return torch.zeros_like(x) if len(x) == 1 else _scale(x, x.mean(0), x.std(0))


def _default_correction_one_row(x):
    return standardise(x) if len(x) > 1 else (x - x.mean(0)) / x.std(0)


_SQUARE = "test_row_sums_divide_columns_when_the_matrix_is_square"
_ROWS = "test_a_kept_dimension_fits_any_number_of_rows"
_CORRECTION = "test_std_divides_by_n_minus_1_and_numpy_by_n"
_SCALE = "test_each_column_has_its_own_scale"
_CONSTANT = "test_a_constant_column_is_0_over_0"
_SMALL = "test_a_small_spread_is_a_spread"
_ONE_ROW = "test_one_row_has_no_deviation"

MISTAKES = [
    Mistake("divided the columns: no error, all wrong", caught_by=_SQUARE, row_normalise=lambda w: w / w.sum(1)),
    Mistake(
        "divided the columns: no error, all wrong",
        caught_by=_SQUARE,
        row_normalise=lambda w: w / (w.sum(1) if w.shape[0] == w.shape[1] else w.sum(1, keepdim=True)),
    ),
    Mistake("do not stand beside the rows", caught_by=_ROWS, row_normalise=lambda w: w / w.sum(1)),
    Mistake("do not stand beside the rows", caught_by=_ROWS, row_normalise=lambda w: w / w.sum(1).expand(w.shape).t()),
    Mistake("the sum of the whole matrix", caught_by=_SQUARE, row_normalise=lambda w: w / w.sum()),
    Mistake("dim 0 disappeared", caught_by=_SQUARE, row_normalise=lambda w: w / w.sum(0, keepdim=True)),
    Mistake("divides each row by its sum", caught_by=_SQUARE, row_normalise=lambda w: w.softmax(1)),
    Mistake(
        "divides each row by its sum",
        caught_by=_SQUARE,
        row_normalise=lambda w: w / w.norm(dim=1, keepdim=True),
    ),
    Mistake(
        "(3, 4) tensor divides each row", caught_by=_ROWS, row_normalise=lambda w: w / (w.sum(1, keepdim=True) + 1e-6)
    ),
    Mistake(
        "(3, 4) tensor divides each row",
        caught_by=_ROWS,
        row_normalise=lambda w: w / w.sum(1, keepdim=True).clamp(min=1e-5),
    ),
    Mistake(
        "(3, 4) tensor divides each row",
        caught_by=_ROWS,
        row_normalise=lambda w: (w.float() / w.float().sum(1, True)).to(w.dtype),
    ),
    Mistake("you divided w in place", caught_by=_ROWS, row_normalise=_normalise_in_place),
    Mistake("divided by N - 1 = 3", caught_by=_CORRECTION, standardise=_default_correction),
    Mistake(
        "you divided by the variance",
        caught_by=_CORRECTION,
        standardise=lambda x: _scale(x, x.mean(0), x.var(0, correction=0)),
    ),
    Mistake("you worked in place", caught_by=_CORRECTION, standardise=_standardise_in_place),
    Mistake(
        "each column has its own",
        caught_by=_SCALE,
        standardise=lambda x: _scale(x, x.mean(0), x.std(False)),
    ),
    Mistake(
        "one mean and deviation for the whole tensor",
        caught_by=_SCALE,
        standardise=lambda x: _scale(x, x.mean(), x.std(correction=0)),
    ),
    Mistake(
        "you reduced the wrong dimension",
        caught_by=_SCALE,
        standardise=lambda x: _scale(x, x.mean(1, True), x.std(1, correction=0, keepdim=True)),
    ),
    Mistake(
        "you divided: 0 / 0 is NaN",
        caught_by=_CONSTANT,
        standardise=lambda x: (x - x.mean(0)) / x.std(0, correction=0) if len(x) > 1 else torch.zeros_like(x),
    ),
    Mistake("ask the values whether they are all the same", caught_by=_CONSTANT, standardise=_mended_divisor),
    Mistake(
        "ask the values whether they are all the same",
        caught_by=_CONSTANT,
        standardise=lambda x: ((x - x.mean(0)) / x.std(0, correction=0)).nan_to_num(),
    ),
    Mistake(
        "1000000, 1000001, 1000002 are scaled",
        caught_by=_SMALL,
        standardise=lambda x: standardise(x).masked_fill(torch.isclose(x, x[0], atol=0).all(0), 0),
    ),
    Mistake("loses such a spread", caught_by=_SMALL, standardise=_one_pass),
    Mistake("an eps beside a deviation", caught_by=_SMALL, standardise=_eps_under_the_root),
    Mistake("nothing is added to a divisor", caught_by=_SMALL, standardise=_eps_beside_the_root),
    Mistake("nothing is added to a divisor", caught_by=_SMALL, standardise=_small_is_constant),
    Mistake("(value - mean) / standard deviation", caught_by=_CORRECTION, standardise=_in_float32),
    Mistake("you left the constant column alone", caught_by=_CONSTANT, standardise=_skip_constant_columns),
    Mistake("and its constant column neither", caught_by=_CONSTANT, standardise=_zeros_into_x),
    Mistake("standardise changed its input, the one row", caught_by=_ONE_ROW, standardise=_zero_row_in_place),
    Mistake("one row: its deviation is 0", caught_by=_ONE_ROW, standardise=_default_correction_one_row),
    Mistake(
        "it becomes 0",
        caught_by=_ONE_ROW,
        standardise=lambda x: x if len(x) == 1 else standardise(x),
    ),
]

KEEP = {
    _CORRECTION: "it names N - 1 and the variance, and work in place; the others only see that numbers are wrong",
    _SCALE: "it tells one deviation for all from one per column, and one per row; the constant column only sees NaN",
}
