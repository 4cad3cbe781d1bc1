"""Integers lose silently: uint8 wraps, assignment truncates.

A uint8 pixel knows the numbers 0 to 255 and no others. Arithmetic does not stop at the edge, it goes round like a
clock: 10 - 20 is 246, 250 + 10 is 4. No error, no warning, and a later `.abs()` or `.clamp()` comes too late, because
246 is a perfectly good pixel. So compute in a wider dtype, bring the result into range there, and convert last.
`x.to(dtype)` gives the values in another dtype, `x.clamp(lo, hi)` keeps them in a range. (Even a comparison can fool
you: in torch `u < 256` is False for the uint8 1, since the 256 goes round too, and is 0.)

Writing into an integer tensor loses in another way. `x[0] = 1.9` stores 1, and `copy_` does the same; only `x += 1.5`
refuses ("result type Float can't be cast"). A tensor keeps its dtype for life; what is written into it is cut to fit.
Where a lost fraction would be a bug, you have to look before you write.

About 20 minutes. Before it: tensor_not_Tensor.
Path: numpy

https://docs.pytorch.org/docs/stable/tensor_attributes.html
"""

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, raises


def abs_diff(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """|a - b| of two uint8 images of the same shape, pixel by pixel, as uint8; `a` and `b` stay as they are."""
    raise NotImplementedError("return the absolute difference of two images")


def brighten(img: torch.Tensor, factor: float) -> torch.Tensor:
    """`img` (uint8) times `factor` (>= 0) as a new uint8 image: what is too bright becomes 255.

    A fraction may be cut or rounded, as you like. `img` stays as it is.
    """
    raise NotImplementedError("multiply the image, and saturate at 255")


def put_(x: torch.Tensor, i: int, v: float) -> torch.Tensor:
    """Write the number `v` into `x[i]` in place and return `x`, a 1-D integer tensor.

    ValueError if `v` has a fraction, which `x` would lose; then `x` stays as it was.
    """
    raise NotImplementedError("write v into x[i], or refuse")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _uint8(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8)


def test_uint8_goes_round_below_zero():
    a, b = _uint8(10, 250, 7), _uint8(20, 5, 7)
    with explain("two uint8 images of the same shape can be subtracted"):
        out = abs_diff(a.clone(), b.clone())
    numbers = out.tolist() if isinstance(out, torch.Tensor) else []
    assert numbers != [246, 245, 0], (
        "10 - 20 went round to 246 in uint8: after that abs() comes too late, 246 is not negative"
    )
    assert numbers != [0, 245, 0], "10 - 20 became 0: you cut off what was below zero, but its size was asked for"
    check_tensor(out, _uint8(10, 245, 0), "|a - b| of (10, 250, 7) and (20, 5, 7)")


@pytest.mark.parametrize("order", ["a, b", "b, a"])
def test_a_difference_leaves_its_images_alone_and_has_no_order(order):
    """255 - 0 does not fit into int8 either. And an image has rows and columns, here 3 and 1."""
    a, b = _uint8(0, 255, 30).view(3, 1), _uint8(255, 0, 10).view(3, 1)
    kept_a, kept_b = a.clone(), b.clone()
    with explain("two uint8 images of the same shape can be subtracted"):
        out = abs_diff(a, b) if order == "a, b" else abs_diff(b, a)
    check_tensor(out, _uint8(255, 255, 20).view(3, 1), "|0 - 255| is 255, in either order")
    assert a.equal(kept_a), "you wrote into one of the images: an underscore or `-=` works in place"
    assert b.equal(kept_b), "you wrote into one of the images: an underscore or `-=` works in place"


def test_a_product_above_255_saturates_only_if_you_say_so():
    """200 * 1.5 is 300. Cast to uint8, it goes round to 44."""
    img = _uint8(200, 100, 0)
    with explain("1.5 is a fraction: uint8 cannot take the product in place"):
        out = brighten(img, 1.5)
    assert img.equal(_uint8(200, 100, 0)), "you wrote into img: brighten gives a new image"
    came = out.tolist() if isinstance(out, torch.Tensor) else None
    assert came != [200, 100, 0], "nothing happened: did the factor 1.5 become 1 when it met an integer?"
    wrapped = came is not None and came[1:] == [150, 0] and came[0] not in (254, 255, 300)
    assert not wrapped, f"200 * 1.5 = 300 became {came[0]} in uint8: bring it into range before you convert, not after"
    check_tensor(out, _uint8(255, 150, 0), "brighten((200, 100, 0), 1.5) is a uint8 image that stops at 255", atol=1)
    assert out[0] == 255, f"what is too bright becomes 255, yours became {out[0]}: 255 is still in range"


@pytest.mark.parametrize("factor", [0.5, 0.1], ids=["half", "a tenth"])
def test_a_factor_below_one_darkens(factor):
    img = _uint8(200, 100, 0).view(3, 1)
    want = (_uint8(100, 50, 0) if factor == 0.5 else _uint8(20, 10, 0)).view(3, 1)
    with explain("a factor may be a fraction"):
        out = brighten(img, factor)
    black = isinstance(out, torch.Tensor) and not out.any()
    assert not black, f"the image went black: did the factor {factor} become 0 when it met an integer?"
    check_tensor(out, want, f"brighten((200, 100, 0), {factor}) is darker than before", atol=1)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8], ids=["int64", "uint8"])
def test_put_writes_into_the_tensor_itself(dtype):
    x = torch.tensor([5, 6, 8], dtype=dtype)
    seen_by_others = x[1:]
    with explain("7 fits into an integer tensor: put_ writes it"):
        out = put_(x, 1, 7)
    assert out is x, "put_ returns x itself: the underscore promises that x is changed in place"
    assert x.dtype == dtype, "x changed its dtype: a tensor keeps it for life, you made x look at other memory"
    check_tensor(x, torch.tensor([5, 7, 8], dtype=dtype), "put_(x, 1, 7) writes 7 into x[1] and leaves the rest")
    assert seen_by_others[0] == 7, "x looks at other memory now: its other views do not see the 7"


def test_a_large_number_arrives_whole():
    x = torch.tensor([5, 6, 8])
    with explain("16777217 is an int64 like any other"):
        put_(x, 2, 16777217)
    said = "put_(x, 2, 16777217) writes it into x[2] and leaves the rest"
    if x[2] == 16777216:
        said = "16777217 is a whole number: it did not survive a detour through float32"
    check_tensor(x, torch.tensor([5, 6, 16777217]), said)


@pytest.mark.parametrize("v", [1.9, -0.5], ids=["almost 2", "minus a half"])
def test_assignment_truncates_without_a_word(v):
    x = torch.tensor([5, 6, 8])
    with raises(ValueError, _what_came(v)):
        put_(x, 0, v)
    check_tensor(x, torch.tensor([5, 6, 8]), "put_ raised, but it had written already: look before you write")


def _what_came(v: float) -> str:
    """What put_ does with a fraction, as a sentence for the message."""
    x = torch.tensor([5, 6, 8])
    try:
        put_(x, 0, v)
    except AssertionError:
        return "an assert is no check for callers, python -O leaves it out: raise ValueError instead"
    except Exception:
        return f"{v} has a fraction: raise ValueError"
    if x[0] == 5:
        return f"{v} was neither written nor refused: raise ValueError, so that the caller learns of it"
    return f"{v} lost its fraction on the way into an integer tensor: raise ValueError instead"
