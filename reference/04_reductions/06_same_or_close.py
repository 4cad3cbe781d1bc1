"""Same or close: reference.

Hint: Write down what each function must look at: dtype? shape? NaN? Then check these one by one, the cheap ones first.
Hint: `torch.isclose` has `equal_nan=`. A NaN is the only value that differs from itself; `isnan` finds it.
Hint: Compare shapes before values: `and` stops there, so nothing broadcasts. For `close`, make both float64 first.

Why: Every comparison has a default that somebody needed, and that you may not: broadcasting, values across dtypes,
NaN unequal to itself. `and` runs from left to right, so a shape check in front makes the rest safe. Widening to
float64 loses nothing of any float dtype, so it is the side to meet on; allclose is asymmetric by the way, its
tolerance is relative to the second argument.
"""

import numpy as np
import torch

from dojo import Mistake


def identical(a: torch.Tensor, b: torch.Tensor) -> bool | torch.Tensor:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def close(a: torch.Tensor, b: torch.Tensor) -> bool | torch.Tensor:
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), equal_nan=True)


def _same(a, b):
    return (a == b) | (a.isnan() & b.isnan())


def _broadcastable(a, b):
    try:
        torch.broadcast_shapes(a.shape, b.shape)
    except RuntimeError:
        return False
    return True


def _equal_or_nan(a, b):
    return a.shape == b.shape and bool(_same(a, b).all())


def _asserted(a, b):
    return torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def _fill_nans_in_place(a, b):
    if a.dtype != b.dtype or a.shape != b.shape or not torch.equal(a.isnan(), b.isnan()):
        return False
    a[a.isnan()] = 0
    b[b.isnan()] = 0
    return torch.equal(a, b)


def _same_bytes(a, b):
    return a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


def _same_bits(a, b):
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.detach().contiguous().view(torch.uint8), b.detach().contiguous().view(torch.uint8))


def _count_nans(a, b):
    counts = a.dtype == b.dtype and a.shape == b.shape and int(a.isnan().sum()) == int(b.isnan().sum())
    return counts and torch.equal(a.nan_to_num(), b.nan_to_num())


def _close_by_assert(a, b):
    try:
        torch.testing.assert_close(a, b, check_dtype=False, equal_nan=True)
    except AssertionError:
        return False
    return True


def _within(a, b, bound):
    if a.shape != b.shape:
        return False
    a, b = a.double(), b.double()
    return bool(((a == b) | ((a - b).abs() <= bound(b)) | (a.isnan() & b.isnan())).all())


def _by_formula(a, b):
    a, b = a.double(), b.double()
    near = a.shape == b.shape and (a - b).abs() <= 1e-8 + 1e-5 * b.abs()
    return a.shape == b.shape and bool((near | (a.isnan() & b.isnan())).all())


_EXACT = "test_identical_means_to_the_last_bit"
_DTYPE = "test_torch_equal_ignores_the_dtype"
_SHAPE = "test_the_double_equals_sign_broadcasts"
_NAN = "test_nan_is_not_equal_to_itself"
_CLOSE = "test_rounding_makes_equal_sums_differ"
_MIXED = "test_allclose_refuses_mixed_dtypes"
_BROADCAST = "test_allclose_broadcasts_and_knows_no_nan"

MISTAKES = [
    Mistake("the values count, not the memory", caught_by=_EXACT, identical=lambda a, b: a is b),
    Mistake("the answer is one bool", caught_by=_EXACT, identical=lambda a, b: a == b),
    Mistake("the answer is one bool", caught_by=_EXACT, identical=_asserted),
    Mistake(
        "identical is exact",
        caught_by=_EXACT,
        identical=lambda a, b: a.dtype == b.dtype and a.shape == b.shape and torch.allclose(a, b, equal_nan=True),
    ),
    Mistake(
        "as floats they would be one number",
        caught_by=_EXACT,
        identical=lambda a, b: a.dtype == b.dtype and _equal_or_nan(a.double(), b.double()),
    ),
    Mistake(
        "NumPy has no bfloat16",
        caught_by=_EXACT,
        identical=lambda a, b: a.dtype == b.dtype and np.array_equal(a.numpy(), b.numpy(), equal_nan=True),
    ),
    Mistake(
        "a tensor that requires a gradient has no",
        caught_by=_EXACT,
        identical=lambda a, b: (
            a.dtype == b.dtype and (identical(a, b) if a.dtype == torch.bfloat16 else _same_bytes(a, b))
        ),
    ),
    Mistake(
        "whether a gradient is wanted is no difference",
        caught_by=_EXACT,
        identical=lambda a, b: a.requires_grad == b.requires_grad and identical(a, b),
    ),
    Mistake(
        "as floats they would be one number",
        caught_by=_EXACT,
        identical=lambda a, b: a.dtype == b.dtype and _equal_or_nan(a.float(), b.float()),
    ),
    Mistake("not an error", caught_by=_DTYPE, identical=lambda a, b: _asserted(a, b) is None),
    Mistake("are not identical, although", caught_by=_DTYPE, identical=_equal_or_nan),
    Mistake("are not identical, although", caught_by=_DTYPE, identical=lambda a, b: torch.equal(a, b)),
    Mistake(
        "not an error",
        caught_by=_DTYPE,
        identical=lambda a, b: a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True),
    ),
    Mistake(
        "== broadcasts, so compare the shapes too",
        caught_by=_SHAPE,
        identical=lambda a, b: a.dtype == b.dtype and _broadcastable(a, b) and bool(_same(a, b).all()),
    ),
    Mistake("not an error", caught_by=_SHAPE, identical=lambda a, b: a.dtype == b.dtype and bool(_same(a, b).all())),
    Mistake(
        "so ask isnan too",
        caught_by=_NAN,
        identical=lambda a, b: a.dtype == b.dtype and torch.equal(a, b),
    ),
    Mistake(
        "you replaced the NaNs",
        caught_by=_NAN,
        identical=lambda a, b: a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.nan_to_num()),
    ),
    Mistake(
        "you left NaNs out",
        caught_by=_NAN,
        identical=lambda a, b: (
            a.dtype == b.dtype and a.shape == b.shape and bool(((a == b) | a.isnan() | b.isnan()).all())
        ),
    ),
    Mistake(
        "whichever comes first: you left NaNs out",
        caught_by=_NAN,
        identical=lambda a, b: a.dtype == b.dtype and a.shape == b.shape and bool(((a == b) | b.isnan()).all()),
    ),
    Mistake("the NaNs are in different places", caught_by=_NAN, identical=_count_nans),
    Mistake("although their bytes differ", caught_by=_NAN, identical=_same_bits),
    Mistake(
        "nan_to_num makes one of the other",
        caught_by=_NAN,
        identical=lambda a, b: (
            a.dtype == b.dtype and torch.equal(a.nan_to_num(nan=-12345), b.nan_to_num(nan=-12345))
            if a.is_floating_point()
            else identical(a, b)
        ),
    ),
    Mistake(
        "an answer is wanted for torch.float32 (0, 3)",
        caught_by=_BROADCAST,
        close=lambda a, b: a.shape == b.shape and (close(a, b) if a.numel() else bool((a - b).abs().max() < 1e-5)),
    ),
    Mistake(
        "a tensor that requires a gradient has no",
        caught_by=_CLOSE,
        close=lambda a, b: a.shape == b.shape and bool(np.allclose(a.double(), b.double(), equal_nan=True)),
    ),
    Mistake("you changed a tensor to compare it", caught_by=_NAN, identical=_fill_nans_in_place),
    Mistake(
        "although they have the same bytes",
        caught_by=_DTYPE,
        identical=lambda a, b: a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes(),
    ),
    Mistake("close allows for rounding", caught_by=_CLOSE, close=lambda a, b: _equal_or_nan(a.double(), b.double())),
    Mistake("a relative difference of 1e-6 is close, of 100000000", caught_by=_CLOSE, close=_close_by_assert),
    Mistake("the bound is the same for all dtypes", caught_by=_MIXED, close=_close_by_assert),
    Mistake(
        "the bound is relative to the values",
        caught_by=_CLOSE,
        close=lambda a, b: _within(a, b, lambda b: 1e-4 + b / 1e5),
    ),
    Mistake(
        "a relative difference of 1e-6 is close, of 100000000",
        caught_by=_CLOSE,
        close=lambda a, b: _within(a, b, lambda b: 1e-5),
    ),
    Mistake(
        "float32 makes inf of both",
        caught_by=_CLOSE,
        close=lambda a, b: a.shape == b.shape and torch.allclose(a.float(), b.float(), equal_nan=True),
    ),
    Mistake(
        "compare in the wider dtype",
        caught_by=_CLOSE,
        close=lambda a, b: a.shape == b.shape and torch.allclose(a.to(b.dtype), b, equal_nan=True),
    ),
    Mistake("but inf - inf is NaN", caught_by=_BROADCAST, close=_by_formula),
    Mistake(
        "are not close, whichever comes first",
        caught_by=_BROADCAST,
        close=lambda a, b: _within(a, b, lambda b: 1e-8 + 1e-5 * b.abs()),
    ),
    Mistake(
        "1 and -1 are not close",
        caught_by=_CLOSE,
        close=lambda a, b: close(a.abs(), b.abs()),
    ),
    Mistake(
        "a difference of 1 % is not close",
        caught_by=_CLOSE,
        close=lambda a, b: close(a, b) or (a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=0.1)),
    ),
    Mistake(
        "close is about all of them",
        caught_by=_CLOSE,
        close=lambda a, b: close(a, b) or (a.shape == b.shape == (1, 3) and bool(torch.isclose(a, b).any())),
    ),
    Mistake(
        "allclose refuses mixed dtypes",
        caught_by=_MIXED,
        close=lambda a, b: a.shape == b.shape and torch.allclose(a, b, equal_nan=True),
    ),
    Mistake(
        "the dtype does not matter here",
        caught_by=_MIXED,
        close=lambda a, b: a.dtype == b.dtype and a.shape == b.shape and torch.allclose(a, b, equal_nan=True),
    ),
    Mistake(
        "not an error",
        caught_by=_BROADCAST,
        close=lambda a, b: torch.allclose(a.double(), b.double(), equal_nan=True),
    ),
    Mistake(
        "before anything broadcasts",
        caught_by=_BROADCAST,
        close=lambda a, b: _broadcastable(a, b) and close(*torch.broadcast_tensors(a, b)),
    ),
    Mistake(
        "allclose says no unless it is asked",
        caught_by=_BROADCAST,
        close=lambda a, b: a.shape == b.shape and torch.allclose(a.double(), b.double()),
    ),
    Mistake(
        "NaN and 0 are not close, whichever comes first",
        caught_by=_BROADCAST,
        close=lambda a, b: a.shape == b.shape and bool((torch.isclose(a.double(), b.double()) | b.isnan()).all()),
    ),
    Mistake(
        "NaN and 0 are not close",
        caught_by=_BROADCAST,
        close=lambda a, b: a.shape == b.shape and torch.allclose(a.double().nan_to_num(), b.double().nan_to_num()),
    ),
    Mistake(
        "100000 and 200000 are not close",
        caught_by=_CLOSE,
        close=lambda a, b: a.shape == b.shape and torch.allclose(a.half(), b.half(), equal_nan=True),
    ),
]
