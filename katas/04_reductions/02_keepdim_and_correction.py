"""keepdim and correction: a reduction drops a dimension, and divides by N - 1

`w.sum(1)` of a (3, 4) tensor has shape (3,): dim 1, the one that you name, is the one that disappears. Broadcasting
then lines shapes up from the *right*, so in `w / w.sum(1)` the three sums meet the four columns: an error. With a
(3, 3) tensor there is no error: the row sums silently divide the columns. `keepdim=True` leaves a dimension of
size 1 in place, (3, 1), and each sum stays beside its own row.

`x.std(0)` has a second surprise: it divides by N - 1 (Bessel's correction, an estimate for a whole population from a
sample), where NumPy, scikit-learn and PyTorch's own batch_norm and layer_norm divide by N. `correction=0` asks for the
latter. With one row, N - 1 is 0 and the default gives NaN with a mere warning. And whatever the correction is, a column
that never changes has a deviation of 0, and 0 / 0 is NaN: one such feature, and the loss is NaN too. Or worse: the mean
of seven times 0.1 is rounded, so it is not 0.1, and noise divided by noise gives 1. Whether a column is constant, its
values tell, not its deviation. `torch.where(condition, a, b)` takes a where the condition holds and b elsewhere.

What is asked here: neither function changes its input; both keep its dtype (float32 or float64).

About 20 minutes. Before it: the_silent_outer_product.
Path: numpy

https://docs.pytorch.org/docs/stable/generated/torch.std.html
"""

from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def row_normalise(w: torch.Tensor) -> torch.Tensor:
    """`w`: (N, M), all positive. Each row divided by its own sum, be it 1e-6 or 1e6, so that it sums to 1: (N, M)."""
    raise NotImplementedError("divide each row by its sum")


def standardise(x: torch.Tensor) -> torch.Tensor:
    """Each column of `x` minus its mean, divided by its standard deviation as NumPy has it: (N, D) -> (N, D).

    A column in which all values are the same becomes 0; so does everything where there is only one row. No eps is added
    anywhere: a column that is small, or changes little, is scaled as exactly as the others, down to a deviation of
    1e-12. N >= 1; all of `x` is finite, and no value beyond 1e7.
    """
    raise NotImplementedError("give each column mean 0 and standard deviation 1")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_CLOSE: Any = {"rtol": 1e-4, "atol": 1e-4}
_BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def test_row_sums_divide_columns_when_the_matrix_is_square():
    w = torch.tensor([[1.0, 1.0, 2.0], [2.0, 3.0, 5.0], [4.0, 8.0, 8.0]])  # row sums 4, 10, 20
    with explain("row_normalise raised on a (3, 3) tensor"):
        got = row_normalise(w.clone())
    assert not _like(got, w / torch.tensor([4.0, 10, 20])), (
        "the sums of your rows divided the columns: no error, all wrong"
    )
    assert not _like(got, w / 34), "you divided by the sum of the whole matrix, each row has a sum of its own"
    assert not _like(got, w / torch.tensor([7.0, 12, 15])), "you divided by the sums of the columns: dim 0 disappeared"
    want = torch.tensor([[0.25, 0.25, 0.5], [0.2, 0.3, 0.5], [0.2, 0.4, 0.4]])
    check_tensor(got, want, "row_normalise divides each row by its sum", **_CLOSE)


@_BOTH
def test_a_kept_dimension_fits_any_number_of_rows(dtype):
    rows = torch.tensor([[1.0, 1, 2, 4], [1e-7, 2e-7, 3e-7, 4e-7], [5, 5, 5, 5]], dtype=dtype)
    want = torch.tensor([[0.125, 0.125, 0.25, 0.5], [0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]], dtype=dtype)
    for n in (3, 2, 1):
        w = rows[:n].clone()
        with (
            explain(
                f"row_normalise raised on a ({n}, 4) tensor",
                where={r"size of (the )?tensor": f"the sums do not stand beside the rows of a ({n}, 4) tensor"},
            ),
            unchanged("you divided w in place: row_normalise must not change its input", w=w),
        ):
            got = row_normalise(w)
        check_tensor(got, want[:n], f"row_normalise of a ({n}, 4) tensor divides each row by its sum", **_within(dtype))


@_BOTH
@pytest.mark.myth(
    says="Tensors have all of NumPy's operations, and they behave exactly the same",
    today="std() divides by N - 1, numpy's by N: ask for NumPy's with correction=0.",
)
def test_std_divides_by_n_minus_1_and_numpy_by_n(dtype):
    x = torch.tensor([[1.0, 4.0], [2.0, 2.0], [3.0, 1.0], [4.0, 3.0]], dtype=dtype)
    with (
        explain("standardise raised on a (4, 2) tensor"),
        unchanged("you worked in place: standardise must not change its input", x=x),
    ):
        got = standardise(x)
    want = torch.tensor([[-1.5, 1.5], [-0.5, -0.5], [0.5, -1.5], [1.5, 0.5]], dtype=dtype) / 1.25**0.5
    assert not _like(got, want * 0.75**0.5), "your standard deviation divided by N - 1 = 3, NumPy's divides by N = 4"
    assert not _like(got, want / 1.25**0.5), "you divided by the variance"
    check_tensor(got, want, "standardise makes each column (value - mean) / standard deviation", **_within(dtype))


def test_each_column_has_its_own_scale():
    x = torch.tensor([[1.0, 3000.0, 5.0], [2.0, 1000.0, 9.0]])
    with explain("standardise raised on a (2, 3) tensor"):
        got = standardise(x.clone())
    dim = "you reduced the wrong dimension: dim 0, the rows, has to disappear, and each column keeps its own statistics"
    assert not _like(got, (x - x.mean(1, True)) / x.std(1, correction=0, keepdim=True)), dim
    assert not _like(got, (x - x.mean()) / x.std(correction=0)), (
        "one mean and deviation for the whole tensor: a column each"
    )
    assert not _like(got, (x - x.mean(0)) / x.std(correction=0)), (
        "one deviation for the whole tensor: each column has its own"
    )
    want = torch.tensor([[-1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])
    check_tensor(got, want, "each column is scaled by its own deviation: 0.5, 1000 and 2", **_CLOSE)


def test_a_constant_column_is_0_over_0():
    x = torch.tensor([[5.0, 1.0], [5.0, 3.0], [5.0, 5.0]])
    constant = "standardise must not change its input, and its constant column neither"
    with explain("standardise raised on a (3, 2) tensor"), unchanged(constant, x=x):
        got = standardise(x)
    fives, zeros = torch.full((3,), 5.0), torch.zeros(3)
    scaled = torch.tensor([-1.0, 0.0, 1.0]) * 1.5**0.5
    zero_by_zero = torch.stack([zeros / zeros, scaled], dim=1)
    assert not _like(got, zero_by_zero), "a constant column has deviation 0, and you divided: 0 / 0 is NaN"
    assert not _like(got, torch.stack([fives, scaled], dim=1)), "you left the constant column alone: it becomes 0"
    want = torch.stack([zeros, scaled], dim=1)
    check_tensor(got, want, "a constant column becomes 0, the others are scaled as ever", **_CLOSE)

    for dtype, n in ((torch.float32, 7), (torch.float64, 6)):
        tenths = torch.full((n, 1), 0.1, dtype=dtype)
        with explain(f"standardise raised on {n} rows of 0.1"):
            got = standardise(tenths)
        rounded = (
            f"{n} times 0.1 in {dtype} is a constant column too. Its mean is rounded, so neither x - mean nor the "
            "deviation need be 0: ask the values whether they are all the same"
        )
        check_tensor(got, torch.zeros(n, 1, dtype=dtype), rounded, **_CLOSE)


@_BOTH
def test_a_small_spread_is_a_spread(dtype):
    columns = [[1e6, 1e6 + 1, 1e6 + 2], [0.001, 0.002, 0.003], [1e-12, 2e-12, 3e-12]]
    x = torch.tensor(columns, dtype=dtype).t()
    with explain("standardise raised on a (3, 3) tensor"):
        got = standardise(x)
    want = torch.tensor([-1.0, 0.0, 1.0], dtype=dtype) * 1.5**0.5
    check_tensor(got, want[:, None].expand(3, 3), _spread(got, want), **_within(dtype))


def test_one_row_has_no_deviation():
    x = torch.tensor([[3.0, -7.0, 0.5]])
    with (
        explain("standardise raised on a (1, 3) tensor"),
        unchanged("standardise changed its input, the one row", x=x),
    ):
        got = standardise(x)
    assert not _like(got, torch.full((1, 3), float("nan"))), (
        "one row: its deviation is 0 (or NaN, where you divide by N - 1 = 0)"
    )
    check_tensor(got, torch.zeros(1, 3), "one row is its own mean: it becomes 0", **_CLOSE)


def _within(dtype):
    """As exact as the dtype is: a result that was computed in float32 is no float64."""
    return {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}


def _spread(got, want):
    """Which of the three columns, each (-1.22, 0, 1.22) once scaled, is not?"""
    close = [got.shape == (3, 3) and _like(c, want) for c in got.t()] if isinstance(got, torch.Tensor) else []
    if close == [False, True, True]:
        return (
            "1000000, 1000001, 1000002 are scaled as 0, 1, 2 are. (The mean of the squares minus the square of "
            "the mean loses such a spread: subtract the mean first)"
        )
    if close[1:2] == [True] and not close[2]:
        return "1e-12, 2e-12, 3e-12 are scaled as 1, 2, 3 are: nothing is added to a divisor, none is too small"
    if close and not close[2]:
        return "small columns are scaled as 1, 2, 3 are: an eps beside a deviation of 0.0008 shrinks the result"
    return "each column is scaled by its own deviation, how large its mean or how small its spread may be"


def _like(got, symptom):
    """Is `got` what the typical mistake gives? False for anything that is no tensor of that shape."""
    same_shape = isinstance(got, torch.Tensor) and got.shape == symptom.shape
    return same_shape and torch.allclose(got.double(), symptom.double(), equal_nan=True, **_CLOSE)
