"""Mask, do not multiply: zero times NaN is NaN.

Where masks were numbers, people wrote `1 - mask` to invert one and `x * mask` to hide values. Today a mask is a bool
tensor, and both habits bite. `1 - mask` raises an error, so old code stops; people went back to an older torch for it,
where all that was needed is another operator, `~`. That operator has its own trap: on a 0/1 tensor of dtype uint8 it
flips all eight bits, and gives 255 and 254, which are both true.

The product bites later. `x * mask` does not remove a value, it multiplies it by zero, and NaN * 0 and inf * 0 are NaN:
one bad value that you masked out, or one -inf that you wanted to write, spoils the whole result. And where it does not,
a mean over `x * mask` still counts the zeros. Choosing has neither fault: `x[mask]` takes the values out,
`torch.where` and `masked_fill` pick one or the other for each place.

What is asked here: the inverse of a mask, the mean of what a mask keeps, and a new tensor with some places filled.

About 15 minutes. Before it: one_per_row.

https://docs.pytorch.org/docs/stable/generated/torch.Tensor.masked_fill.html
"""

from typing import Any

import numpy as np
import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, shares_memory, unchanged


def invert(mask: torch.Tensor) -> torch.Tensor:
    """True where `mask` is False or 0, else False: bool, the shape of `mask`, which is bool, or uint8 with 0 and 1."""
    raise NotImplementedError("return the inverse of the mask")


def masked_mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean of the values of `x` (float32 or float64) where `mask` (bool, same shape) is True.

    The others may be NaN or inf; an inf that the mask keeps makes the mean inf. It keeps one value at least, no NaN,
    and no finite value so large that a sum would overflow. A 0-dim tensor in the dtype of `x`,
    with its digits; a Python float will do as well.
    """
    raise NotImplementedError("return the mean of what the mask keeps")


def fill(x: torch.Tensor, mask: torch.Tensor, v: float) -> torch.Tensor:
    """A new tensor: `v` where `mask` (bool, the shape of `x`) is True, else the value of `x`.

    It has the dtype of `x` (any float dtype, bfloat16 too), and `v` stands there with all the digits of that dtype. `v`
    may be -inf.
    """
    raise NotImplementedError("return x with v where the mask is True")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_NAN, _INF = float("nan"), float("inf")


@pytest.mark.myth(says="1 - mask inverts a mask", today="a mask is bool, and a bool tensor refuses to be subtracted")
def test_a_bool_mask_is_not_a_number():
    mask = torch.tensor([[True, False, False], [False, True, True]])
    no_number = "a bool mask is neither a number, to be subtracted or negated, nor one truth value"
    with explain("invert(mask) failed: the mask is bool, (2, 3)", where={"bool tensor|Boolean value": no_number}):
        with unchanged("invert must not change the mask", mask=mask):
            out = invert(mask)
    check_tensor(
        out, torch.tensor([[False, True, True], [True, False, False]]), "each True becomes False, and vice versa"
    )


def test_flipping_the_bits_of_a_uint8_is_not_logical_not():
    mask = torch.tensor([1, 0, 0], dtype=torch.uint8)
    with explain("invert(mask) failed on a uint8 mask of zeros and ones"):
        with unchanged("invert must not change the mask", mask=mask):
            out = invert(mask)
    flipped = isinstance(out, torch.Tensor) and out.shape == (3,) and out.all()
    assert not flipped, "all values are true now (with its eight bits flipped, 1 becomes 254, which is true)"
    check_tensor(out, torch.tensor([False, True, True]), "the mask was uint8: 1 becomes False, 0 becomes True")


def _mean(out: Any, x: torch.Tensor) -> Any:
    """A float is as good as a 0-dim tensor here."""
    return torch.tensor(out, dtype=x.dtype) if isinstance(out, float | np.floating) else out


def test_a_mean_must_not_count_what_is_masked_out():
    x = torch.tensor([[4.0, 30], [5, 50]], dtype=torch.float64)
    mask = torch.tensor([[True, False], [True, False]])
    with explain("masked_mean(x, mask) failed: x and mask are (2, 2)"):
        with unchanged("masked_mean must not change x or mask", x=x, mask=mask):
            out = _mean(masked_mean(x, mask), x)
    if isinstance(out, torch.Tensor) and out.numel() == 1:
        assert out.item() != 2.25, "you divided by the number of all values: those that became 0 still count (2.25)"
        assert out.item() != 22.25, "22.25 is the mean of all values: the mask keeps only 4 and 5"
    check_tensor(out, torch.tensor(4.5, dtype=torch.float64), "the mask keeps 4 and 5", rtol=1e-5)
    with explain("masked_mean(x, mask) failed: x and mask are (2, 2)"):
        out = _mean(masked_mean(x / 100, mask), x)
    want = torch.tensor(0.045, dtype=torch.float64)
    check_tensor(out, want, "the mask keeps 0.04 and 0.05, in float64", rtol=1e-12)


def test_zero_times_nan_is_nan():
    x = torch.tensor([_NAN, 4.0, 5.0, _INF, 30.0])
    with explain("masked_mean(x, mask) failed: x and mask are (5,)"):
        out = _mean(masked_mean(x, torch.tensor([False, True, True, False, False])), x)
    nan = isinstance(out, torch.Tensor) and out.isnan().any()
    assert not nan, "NaN and inf were masked out, and yet the mean is NaN (0 is no eraser: NaN * 0 is NaN)"
    check_tensor(out, torch.tensor(4.5), "the mask keeps 4 and 5; NaN, inf and 30 are masked out", rtol=1e-5)
    with explain("masked_mean(x, mask) failed: x and mask are (5,)"):
        out = _mean(masked_mean(x, torch.tensor([False, True, True, True, False])), x)
    check_tensor(out, torch.tensor(_INF), "the mask keeps 4, 5 and inf, and their mean is inf")


def test_fill_makes_a_new_tensor():
    x = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    mask = torch.tensor([[True, False, False], [False, False, True]])
    with explain("fill(x, mask, -1.0) failed: x and mask are (2, 3)"):
        with unchanged("fill must not write into x or mask: asked is a new tensor", x=x, mask=mask):
            out = fill(x, mask, -1.0)
    check_tensor(out, torch.tensor([[-1.0, 2, 3], [4, 5, -1]]), "fill(x, mask, -1) has -1 where the mask is True")
    with explain("fill(x, mask, -1.0) failed: the mask is False everywhere"):
        untouched = fill(x, torch.zeros(2, 3, dtype=torch.bool), -1.0)
    check_tensor(untouched, x, "the mask is False everywhere: the values of x")
    assert not shares_memory(untouched, x), "the mask is False everywhere, and you returned x: asked is a new tensor"


def test_fill_covers_nan_and_leaves_the_rest():
    x = torch.tensor([_NAN, 1e300, _NAN], dtype=torch.float64)
    with explain("fill(x, mask, 0.1) failed: x and mask are (3,)"):
        out = fill(x, torch.tensor([True, False, False]), 0.1)
    if isinstance(out, torch.Tensor) and out.shape == (3,):
        assert not out[0].isnan(), "the NaN is still there where the mask is True (0 is no eraser: NaN * 0 is NaN)"
        assert out[2].isnan(), "the mask is False at the last place: the NaN there stays, nobody asked to hide it"
    want = torch.tensor([0.1, 1e300, _NAN], dtype=torch.float64)
    check_tensor(out, want, "0.1 where the mask is True, the value of x elsewhere, in the dtype of x, exactly")


def test_zero_times_infinity_is_nan_too():
    """Attention scores are masked with -inf: softmax then gives those places exactly 0."""
    numpy = {"ScalarType": "NumPy knows no bfloat16, and x may have any float dtype"}
    for dtype in (torch.float16, torch.bfloat16):
        with explain(f"fill(x, mask, -inf) failed: x and mask are (3,), {dtype}", where=numpy):
            out = fill(torch.tensor([1.0, 2.0, -3.0]).to(dtype), torch.tensor([False, True, False]), -_INF)
        nan = isinstance(out, torch.Tensor) and out.isnan().any()
        assert not nan, "v was -inf, and NaN appeared where the mask is False: -inf * 0 is NaN"
        want = torch.tensor([1.0, -_INF, -3.0]).to(dtype)
        check_tensor(out, want, f"-inf where the mask is True, the value of x elsewhere, in the dtype of x, {dtype}")
