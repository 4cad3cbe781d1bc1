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
from dojo.kit import check_tensor, explain, raises, unchanged


def abs_diff(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """|a - b| of two uint8 images of the same shape, pixel by pixel, as uint8; `a` and `b` stay as they are."""
    raise NotImplementedError("return the absolute difference of two images")


def brighten(img: torch.Tensor, factor: float) -> torch.Tensor:
    """`img` (uint8) times `factor` (an int or a float, 0 to 1000) as a new uint8 image: what is too bright becomes 255.

    A fraction may be cut or rounded, as you like. `img` stays as it is.
    """
    raise NotImplementedError("multiply the image, and saturate at 255")


def put_(x: torch.Tensor, i: int, v: float) -> torch.Tensor:
    """Write the number `v` into `x[i]` in place and return `x`, a 1-D integer tensor whose dtype has room for `v`.

    `v` is an int of any size, or a float. ValueError if it has a fraction, be it small, which `x` would lose; then `x`
    stays as it was. A float without a fraction, such as 7.0, is written, exactly.
    """
    raise NotImplementedError("write v into x[i], or refuse")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _uint8(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8)


def test_uint8_goes_round_below_zero():
    a, b = _uint8(10, 250, 7), _uint8(20, 5, 7)
    with explain("abs_diff raised on two uint8 images of shape (3,)"):
        out = abs_diff(a.clone(), b.clone())
    numbers = out.tolist() if isinstance(out, torch.Tensor) else []
    assert numbers != [246, 245, 0], (
        "10 - 20 went round to 246 in uint8: 246 is not negative, whatever comes later is too late"
    )
    assert numbers != [0, 245, 0], "10 - 20 became 0: you cut off what was below zero, but its size was asked for"
    check_tensor(out, _uint8(10, 245, 0), "|a - b| of (10, 250, 7) and (20, 5, 7)")


@pytest.mark.parametrize("order", ["a, b", "b, a"])
def test_a_difference_leaves_its_images_alone_and_has_no_order(order):
    """255 - 0 does not fit into int8 either. And an image has rows and columns, here 3 and 1."""
    a, b = _uint8(0, 255, 30).view(3, 1), _uint8(255, 0, 10).view(3, 1)
    with (
        explain("abs_diff raised on two uint8 images of shape (3, 1)"),
        unchanged("abs_diff must not write into its images: an underscore or `-=` works in place", a=a, b=b),
    ):
        out = abs_diff(a, b) if order == "a, b" else abs_diff(b, a)
    check_tensor(out, _uint8(255, 255, 20).view(3, 1), "|0 - 255| is 255, in either order")


def test_a_product_above_255_saturates_only_if_you_say_so():
    """200 * 1.5 is 300. Cast to uint8, it goes round to 44."""
    img = _uint8(200, 100, 0)
    where = {"can't be cast": "1.5 is a fraction: uint8 cannot take the product in place"}
    with (
        explain("brighten raised with the factor 1.5", where),
        unchanged("brighten gives a new image: img must stay as it is", img=img),
    ):
        out = brighten(img, 1.5)
    came = out.tolist() if isinstance(out, torch.Tensor) else None
    assert came != [200, 100, 0], "nothing happened: did the factor 1.5 become 1 when it met an integer?"
    wrapped = came is not None and came[1:] == [150, 0] and came[0] not in (254, 255, 300)
    assert not wrapped, f"200 * 1.5 = 300 became {came[0]} in uint8: bring it into range before you convert, not after"
    check_tensor(out, _uint8(255, 150, 0), "brighten((200, 100, 0), 1.5) is a uint8 image that stops at 255", atol=1)
    assert out[0] == 255, f"what is too bright becomes 255, yours became {out[0]}: 255 is still in range"


@pytest.mark.parametrize(
    ("factor", "want"),
    [
        (0.5, (100, 50, 1, 0)),
        (0.1, (20, 10, 0, 0)),
        (2, (255, 200, 2, 0)),
        (200, (255, 255, 200, 0)),
        (0, (0, 0, 0, 0)),
    ],
    ids=["half", "a tenth", "the int 2", "the int 200", "nothing"],
)
def test_a_factor_may_be_a_fraction_or_an_int(factor, want):
    """uint8 times the int 2 stays uint8, and goes round; 200 * 200 = 40000 goes round in int16 as well."""
    img = _uint8(200, 100, 1, 0).view(4, 1)
    with explain(f"brighten raised with the factor {factor}"):
        out = brighten(img, factor)
    values = out.flatten().tolist() if isinstance(out, torch.Tensor) else []
    black = factor != 0 and not any(values or [1])
    assert not black, f"the image went black: did the factor {factor} become 0 when it met an integer?"
    product = img.flatten() * factor  # in uint8, if factor is an int
    assert factor < 2 or values != product.tolist(), (
        f"200 * {factor} went round in uint8: a wider dtype has room for it"
    )
    check_tensor(out, _uint8(*want).view(4, 1), f"brighten((200, 100, 1, 0), {factor}) saturates at 255", atol=1)


@pytest.mark.parametrize("v", [7, 7.0], ids=["the int 7", "the float 7.0"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8], ids=["int64", "uint8"])
def test_put_writes_into_the_tensor_itself(dtype, v):
    x = torch.tensor([5, 6, 8], dtype=dtype)
    seen_by_others = x[1:]
    where = {"ValueError": f"{v} was refused, but it has no fraction: x can hold it"}
    with explain(f"put_ raised on the number {v}", where):
        out = put_(x, 1, v)
    assert out is x, "put_ returns x itself: the underscore promises that x is changed in place"
    assert x.dtype == dtype, "x changed its dtype: a tensor keeps it for life, you made x look at other memory"
    check_tensor(x, torch.tensor([5, 7, 8], dtype=dtype), f"put_(x, 1, {v}) writes 7 into x[1] and leaves the rest")
    assert seen_by_others[0] == 7, "x looks at other memory now: its other views do not see the 7"


def test_a_large_number_arrives_whole():
    x = torch.tensor([5, 6, 8])
    with explain("put_ raised on 16777217 or on 2**53 + 1"):
        put_(x, 1, 2**53 + 1)
        put_(x, 2, 16777217)
    came = x.tolist()
    assert came[2] != 16777216, "16777217 became 16777216: it did not survive a detour through float32"
    assert came[1] != 2**53, "2**53 + 1 became 2**53: it did not survive a detour through a Python float, or float64"
    check_tensor(x, torch.tensor([5, 2**53 + 1, 16777217]), "put_ writes 2**53 + 1 into x[1] and 16777217 into x[2]")
    refused = {"ValueError": "16777217.0 was refused, but it has no fraction: x can hold it, float32 cannot"}
    with explain("put_ raised on the float 16777217.0", where=refused):
        put_(x, 0, 16777217.0)
    said = (
        "the float 16777217.0 arrives exactly: a Python float has the digits of float64, torch.tensor of it float32's"
    )
    check_tensor(x, torch.tensor([16777217, 2**53 + 1, 16777217]), said)


@pytest.mark.parametrize("v", [1.9, -0.5, 2.0000000000000004], ids=["almost 2", "minus a half", "hardly more than 2"])
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
