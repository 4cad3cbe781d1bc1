"""Answers that people give to same_or_close, right ones and wrong ones."""

import math

import numpy as np
import torch

from dojo import Mistake


def _identical_by_assert(a, b):
    try:
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    except AssertionError:
        return False
    return True


def _close_by_assert(a, b):
    try:
        torch.testing.assert_close(a.double(), b.double(), rtol=1e-5, atol=1e-8, equal_nan=True)
    except AssertionError:
        return False
    return True


def _identical_in_python(a, b):
    if a.dtype is not b.dtype or a.size() != b.size():
        return False
    pairs = zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)
    return all(x == y or (x != x and y != y) for x, y in pairs)


def _close_in_python(a, b):
    if a.shape != b.shape:
        return False
    pairs = zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)
    return all(math.isclose(x, y, rel_tol=1e-5, abs_tol=1e-8) or (math.isnan(x) and math.isnan(y)) for x, y in pairs)


def _identical_by_masks(a, b):
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(a[~a.isnan()], b[~b.isnan()])


def _close_in_the_wider_dtype(a, b):
    if a.shape != b.shape:
        return False
    dtype = torch.promote_types(a.dtype, b.dtype)
    return torch.isclose(a.to(dtype), b.to(dtype), equal_nan=True).all()


def _array(x):
    x = x.detach()
    return (x.double() if x.is_floating_point() else x).numpy()


def _same_bits(a, b):
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


RIGHT = [
    dict(
        close=lambda a, b: (
            a.shape == b.shape
            and torch.isclose(*(x.to(torch.promote_types(a.dtype, b.dtype)) for x in (a, b)), equal_nan=True).all()
        ),
    ),
    dict(
        identical=lambda a, b: (
            (a.dtype, a.shape) == (b.dtype, b.shape)
            and all(str(x) == str(y) for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
        )
    ),
    dict(
        identical=lambda a, b: (
            a.dtype == b.dtype and a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
        ),
        close=lambda a, b: (
            a.shape == b.shape
            and all(
                x == y or abs(x - y) <= min(1e-5 * abs(x) + 1e-8, 1e300) or (x != x and y != y)
                for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)
            )
        ),
    ),
    dict(identical=_identical_by_assert, close=_close_by_assert),
    dict(identical=_identical_in_python, close=_close_in_python),
    dict(identical=_identical_by_masks, close=_close_in_the_wider_dtype),
    dict(
        identical=lambda a, b: a.dtype == b.dtype and np.array_equal(_array(a), _array(b), equal_nan=True),
    ),
    dict(
        identical=lambda a, b: (
            a.dtype == b.dtype and a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
        ),
        close=lambda a, b: (
            a.shape == b.shape
            and torch.allclose(*(x.to(torch.result_type(torch.zeros(1).double(), x)) for x in (a, b)), equal_nan=True)
        ),
    ),
]

WRONG = [
    Mistake("although their bytes differ", caught_by="", identical=_same_bits),
    Mistake(
        "although their bytes differ",
        caught_by="",
        identical=lambda a, b: (
            (a.dtype, a.shape) == (b.dtype, b.shape)
            and a.detach().contiguous().view(torch.uint8).numpy().tobytes()
            == b.detach().contiguous().view(torch.uint8).numpy().tobytes()
        ),
    ),
    Mistake(
        "NumPy has no bfloat16",
        caught_by="",
        identical=lambda a, b: (a.dtype, a.shape) == (b.dtype, b.shape) and a.numpy().tobytes() == b.numpy().tobytes(),
    ),
    Mistake(
        "float32 makes inf of both",
        caught_by="",
        close=lambda a, b: a.size() == b.size() and bool(np.allclose(a.float(), b.float(), equal_nan=True)),
    ),
    Mistake(
        "are not close, whichever comes first",
        caught_by="",
        close=lambda a, b: (
            a.shape == b.shape
            and all(
                x == y or abs(x - y) <= 1e-5 * max(abs(x), abs(y)) or (x != x and y != y)
                for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)
            )
        ),
    ),
    Mistake(
        "the NaNs are in different places",
        caught_by="",
        identical=lambda a, b: a.dtype == b.dtype and a.shape == b.shape and torch.equal(a[~a.isnan()], b[~b.isnan()]),
    ),
    Mistake(
        "you changed a tensor to compare it",
        caught_by="",
        close=lambda a, b: (
            a.shape == b.shape
            and torch.equal(a.isnan(), b.isnan())
            and torch.allclose(a.nan_to_num_().double(), b.nan_to_num_().double())
        ),
    ),
    Mistake(
        "== broadcasts, so compare the shapes too",
        caught_by="",
        identical=lambda a, b: a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes(),
    ),
    Mistake(
        "a difference of 1 % is not close",
        caught_by="",
        close=lambda a, b: a.shape == b.shape and torch.allclose(a.double(), b.double(), atol=0.1, equal_nan=True),
    ),
    Mistake(
        "allclose says no unless it is asked",
        caught_by="",
        close=lambda a, b: (
            a.shape == b.shape and torch.equal(a.double().round(decimals=4), b.double().round(decimals=4))
        ),
    ),
    Mistake("the values count, not the memory", caught_by="", identical=lambda a, b: a.data_ptr() == b.data_ptr()),
    Mistake("the answer is one bool", caught_by="", identical=lambda a, b: (a == b).all(0)),
    Mistake(
        "identical is exact",
        caught_by="",
        identical=lambda a, b: (
            a.dtype == b.dtype and a.shape == b.shape and bool(torch.isclose(a, b, equal_nan=True).all())
        ),
    ),
    Mistake("identical is exact", caught_by="", identical=lambda a, b: a.dtype == b.dtype and str(a) == str(b)),
    Mistake(
        "as floats they would be one number",
        caught_by="",
        identical=lambda a, b: (
            a.dtype == b.dtype
            and a.shape == b.shape
            and torch.allclose(a.float(), b.float(), rtol=0, atol=0, equal_nan=True)
        ),
    ),
    Mistake("are not identical, although", caught_by="", identical=lambda a, b: a.tolist() == b.tolist()),
    Mistake(
        "== broadcasts, so compare the shapes too",
        caught_by="",
        identical=lambda a, b: a.dtype == b.dtype and bool(np.all(a.numpy() == b.numpy())),
    ),
    Mistake(
        "so ask isnan too",
        caught_by="",
        identical=lambda a, b: (a.dtype, a.shape) == (b.dtype, b.shape) and bool((a == b).all()),
    ),
    Mistake(
        "you replaced the NaNs",
        caught_by="",
        identical=lambda a, b: (
            a.dtype == b.dtype and torch.equal(torch.where(a.isnan(), 0, a), torch.where(b.isnan(), 0, b))
        ),
    ),
    Mistake(
        "close allows for rounding",
        caught_by="",
        close=lambda a, b: a.shape == b.shape and torch.equal(a.double(), b.double()),
    ),
    Mistake("close allows for rounding", caught_by="", close=torch.equal),
    Mistake("allclose refuses mixed dtypes", caught_by="", close=torch.allclose),
    Mistake(
        "not an error",
        caught_by="",
        close=lambda a, b: bool(torch.isclose(a.double(), b.double(), equal_nan=True).all()),
    ),
    Mistake(
        "allclose says no unless it is asked",
        caught_by="",
        close=lambda a, b: a.shape == b.shape and bool(((a - b).abs() < 1e-4).all()),
    ),
    Mistake(
        "1 and -1 are not close",
        caught_by="",
        close=lambda a, b: a.shape == b.shape and bool(((a.double() - b.double()).nan_to_num() < 1e-4).all()),
    ),
]
