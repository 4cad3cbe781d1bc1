"""Same or close: three comparisons, and each forgets something

`a == b` compares value by value and *broadcasts*: (2, 3) against (3,) is no error. `torch.equal(a, b)` wants the same
shape, but looks at values only: int ones and float ones are equal to it. `torch.allclose(a, b)` allows for rounding,
broadcasts again, and refuses tensors of different dtypes. And NaN equals nothing, not even itself: a tensor with one
NaN is not `torch.equal` to its own clone.

All three are used to check that a model was loaded, converted or rewritten faithfully; and all three can say yes to a
tensor of the wrong shape or dtype, or no to a perfect copy. In tests, `torch.testing.assert_close` looks at shape,
dtype, device and values; outside tests, ask for what you mean.

Rounding decides which question makes sense. 0.1 + 0.2 is not 0.3 in floating point, and what is printed is not what is
stored: two tensors that print alike may differ. After arithmetic ask for close, after a copy ask for identical.
`torch.isnan(x)` finds the NaNs, `equal_nan=True` tells `allclose` to take two NaNs for equal, and `x.to(dtype)` brings
two tensors to one dtype.

What is asked here: both functions answer any two tensors with one bool (a 0-dim tensor with a bool will do), they
never raise and change nothing. `close` uses tolerances around allclose's own, the same for all dtypes: a relative
difference of 1e-6 is close, one of 1e-2 is not.

About 20 minutes. Before it: tensor_not_Tensor, the_silent_outer_product.

https://docs.pytorch.org/docs/stable/generated/torch.equal.html
"""

from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import explain, unchanged


def identical(a: torch.Tensor, b: torch.Tensor) -> bool | torch.Tensor:
    """Have `a` and `b` (of any shapes) the same dtype, the same shape and exactly the same values?

    Bools, ints and floats of any width, bfloat16 too, with a gradient or without: the last is no difference. A NaN is
    the same as a NaN, whatever its bytes; nobody asks about 0 and -0. Strides do not matter.
    """
    raise NotImplementedError("compare dtype, shape and values")


def close(a: torch.Tensor, b: torch.Tensor) -> bool | torch.Tensor:
    """Have `a` and `b` (any float dtypes, any shapes) the same shape, and the same values up to rounding?

    A NaN is close to a NaN, inf to inf, -inf to -inf, and each to nothing else. The two dtypes may differ. A gradient
    is no difference here either.
    """
    raise NotImplementedError("compare shape and values, up to rounding")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_NAN, _INF = float("nan"), float("inf")


def test_identical_means_to_the_last_bit():
    x = torch.tensor([[1.0, -2.5, 0.0], [3.25, 1e30, -7.0]])
    assert _says(identical, x, x.clone()) is True, "a clone is identical: the values count, not the memory"
    assert _says(identical, x, x.t().contiguous().t()) is True, "strides do not matter: the values are the same"
    nearly = x.clone()
    nearly[0, 0] = 1.0000001
    assert _says(identical, x, nearly) is False, "identical is exact: 1 and 1.0000001 are close, not the same"
    a, b = torch.tensor([2**53, 5]), torch.tensor([2**53 + 1, 5])
    assert _says(identical, a, a.clone()) is True, "int tensors with the same values are identical"
    assert _says(identical, a, b) is False, "2**53 and 2**53 + 1 differ: as floats they would be one number"
    for dtype in (torch.bool, torch.uint8, torch.float16, torch.bfloat16):
        a, b = torch.tensor([1, 0, 1], dtype=dtype), torch.tensor([1, 1, 1], dtype=dtype)
        assert _says(identical, a, a.clone()) is True, f"{dtype} tensors with the same values are identical"
        assert _says(identical, a, b) is False, f"{dtype}: 1, 0, 1 and 1, 1, 1 differ"
    empty = torch.zeros(0, 3)
    assert _says(identical, empty, empty.clone()) is True, "two tensors (0, 3) are identical: nothing in them differs"
    weight = x.clone().requires_grad_()
    got = [_says(identical, x, weight), _says(identical, weight * 1, weight * 1)]
    assert got == [True, True], "whether a gradient is wanted is no difference of dtype, shape or values"


@pytest.mark.parametrize("other", [torch.float64, torch.float16, torch.int64], ids=["float64", "float16", "int64"])
def test_torch_equal_ignores_the_dtype(other):
    x = torch.tensor([1.0, 2.0, 0.0])
    got = [_says(identical, x, x.to(other)), _says(identical, x.to(other), x)]
    assert got == [False, False], f"float32 and {other} are not identical, although the values are equal"
    zeros = _says(identical, torch.zeros(2), torch.zeros(2, dtype=torch.int32))
    assert zeros is False, "float32 and int32 zeros are not identical, although they have the same bytes"


_SHAPES = [((2, 3), (3,)), ((2, 3), (1, 3)), ((2, 3), (3, 2)), ((), (1,)), ((0, 3), (0, 2)), ((2, 3), (2,))]


@pytest.mark.parametrize(
    ("one", "other"),
    _SHAPES,
    ids=[
        "a matrix and a vector",
        "2 rows and one",
        "rows and columns swapped",
        "a scalar and a vector of 1",
        "no rows, of 3 and of 2",
        "a vector that is too short",
    ],
)
def test_the_double_equals_sign_broadcasts(one, other):
    a, b = torch.ones(one), torch.ones(other)
    got = [_says(identical, a, b), _says(identical, b, a)]
    assert got == [False, False], (
        f"shapes {one} and {other} are not identical: == broadcasts, so compare the shapes too"
    )


def test_nan_is_not_equal_to_itself():
    x = torch.tensor([1.0, _NAN, 3.0])
    assert _says(identical, x, x.clone()) is True, (
        "a clone with a NaN is identical: NaN == NaN is False, so ask isnan too"
    )
    other = torch.tensor([1.0, 2.0, 3.0])
    got = [_says(identical, x, other), _says(identical, other, x)]
    assert got == [False, False], "NaN and 2 are not the same, whichever comes first: you left NaNs out"
    assert _says(identical, x, torch.tensor([1.0, 0.0, 3.0])) is False, "NaN and 0 differ: you replaced the NaNs"
    for value in (1.0, 0.0):
        a, b = torch.tensor([value, _NAN, 3.0]), torch.tensor([_NAN, value, 3.0])
        assert _says(identical, a, b) is False, "the NaNs are in different places"
    other = torch.tensor([1.0, -_NAN, 3.0])
    assert _says(identical, x, other) is True, "NaN and -NaN are both a NaN, although their bytes differ"
    x, other = torch.tensor([_NAN, _INF]), torch.tensor([_NAN, torch.finfo(torch.float32).max])
    assert _says(identical, x, other) is False, "inf and the largest float32 differ (nan_to_num makes one of the other)"
    assert _says(identical, x, torch.tensor([2.0, _NAN, 3.0])) is False, "one NaN in common does not excuse the 2"


def test_rounding_makes_equal_sums_differ():
    a, b = torch.tensor([0.1, 1.0], dtype=torch.float64) + 0.2, torch.tensor([0.3, 1.2], dtype=torch.float64)
    assert _says(close, a, b) is True, "0.1 + 0.2 is not 0.3 to the last bit: close allows for rounding"
    x = torch.tensor([[1.0, -2.0, 4.0]])
    assert _says(close, x, x * (1 + 1e-6)) is True, "a relative difference of 1e-6 is close"
    weight = x.clone().requires_grad_()
    assert _says(close, weight, weight * 1) is True, "whether a gradient is wanted is no difference of values"
    assert _says(close, x, x * 1.01) is False, "a difference of 1 % is not close"
    assert _says(close, x, torch.tensor([[1.0, -2.0, 5.0]])) is False, "one value differs: close is about all of them"
    big = torch.tensor([1e5, 3e5])
    assert _says(close, big, big * 2) is False, "100000 and 200000 are not close (float16 makes inf of both)"
    assert _says(close, x, -x) is False, "1 and -1 are not close: compare the size of the difference"
    y = torch.tensor([1.0, 1e8, 1e-3], dtype=torch.float64)
    assert _says(close, y, y * (1 + 1e-6)) is True, (
        "float64: a relative difference of 1e-6 is close, of 100000000 as of 1 (assert_close is stricter there)"
    )
    for i, pair in enumerate(("1 and 1.01", "100000000 and 101000000", "0.001 and 0.00101")):
        other = y.clone()
        other[i] *= 1.01
        got = [_says(close, y, other), _says(close, other, y)]
        assert got == [False, False], f"{pair} are not close: the bound is relative to the values"
    huge = torch.tensor([1e300], dtype=torch.float64)
    assert _says(close, huge, huge * 2) is False, "1e300 and 2e300 are not close (float32 makes inf of both)"
    got = [_says(close, huge, torch.tensor([_INF])), _says(close, torch.tensor([_INF]), huge)]
    assert got == [False, False], "1e300 in float64 and inf in float32 are not close: compare in the wider dtype"


@pytest.mark.parametrize(
    "other", [torch.float64, torch.float16, torch.bfloat16], ids=["float64", "float16", "bfloat16"]
)
def test_allclose_refuses_mixed_dtypes(other):
    x = torch.tensor([0.5, -2.0, 3.0])
    got = [_says(close, x, x.to(other)), _says(close, x.to(other), x), _says(close, x.to(other), x * 1.5)]
    assert got[:2] == [True, True], (
        f"float32 and {other} with the same values are close: the dtype does not matter here"
    )
    assert got[2] is False, f"float32 and {other}: values 1.5 times as large are not close"
    one, more = torch.tensor([1.0], dtype=other), torch.tensor([1.015625], dtype=other)
    got = [_says(close, one, more), _says(close, more, torch.tensor([1.0]))]
    assert got == [False, False], (
        f"{other}: 1 and 1.015625 are not close, the bound is the same for all dtypes (assert_close has several)"
    )


def test_allclose_broadcasts_and_knows_no_nan():
    answers = {f"{one} and {other}": _says(close, torch.ones(one), torch.ones(other)) for one, other in _SHAPES}
    wrong = [shapes for shapes, answer in answers.items() if answer]
    assert not wrong, f"different shapes are not close, so compare them before anything broadcasts: {', '.join(wrong)}"
    empty = torch.zeros(0, 3)
    assert _says(close, empty, empty.clone()) is True, "two tensors (0, 3) are close: nothing in them differs"
    x = torch.tensor([1.0, _NAN])
    assert _says(close, x, x.clone()) is True, "a NaN is close to a NaN: allclose says no unless it is asked to say yes"
    other = torch.tensor([1.0, 0.0])
    got = [_says(close, x, other), _says(close, other, x)]
    assert got == [False, False], "NaN and 0 are not close, whichever comes first"
    for value in (1.0, 0.0):
        a, b = torch.tensor([value, _NAN]), torch.tensor([_NAN, value])
        assert _says(close, a, b) is False, "the NaNs are in different places"
    assert _says(close, x, torch.tensor([2.0, _NAN])) is False, "one NaN in common does not excuse the 2"
    x = torch.tensor([1.0, _INF, -_INF])
    assert _says(close, x, x.clone()) is True, "inf is close to inf, and -inf to -inf (but inf - inf is NaN)"
    for value in (1.0, 1e38, -_INF, _NAN):
        other = torch.tensor([1.0, value, -_INF])
        got = [_says(close, x, other), _says(close, other, x)]
        assert got == [False, False], f"inf and {value} are not close, whichever comes first"


def _says(function: Any, a: torch.Tensor, b: torch.Tensor) -> bool:
    """The answer as a bool; a tensor with one bool in it will do."""
    __tracebackhide__ = True
    mixed = " (allclose refuses mixed dtypes)" if a.dtype != b.dtype else ""
    wanted = f"an answer is wanted for {_named(a)} and {_named(b)}, not an error{mixed}"
    numpy = {
        "unsupported ScalarType": "NumPy has no bfloat16, and so .numpy() no answer",
        r"call numpy\(\)": "a tensor that requires a gradient has no .numpy()",
    }
    with explain(wanted, where=numpy), unchanged("you changed a tensor to compare it", a=a, b=b):
        try:
            answer = function(a, b)
        except AssertionError as error:
            raise AssertionError(f"{wanted}\nAssertionError: {error}") from error
    one = isinstance(answer, torch.Tensor) and answer.dtype == torch.bool and answer.dim() == 0
    assert one or type(answer).__name__ in ("bool", "bool_"), f"the answer is one bool, you returned {answer!r}"
    return bool(answer)


def _named(x: torch.Tensor) -> str:
    return f"{x.dtype} {tuple(x.shape)}"
