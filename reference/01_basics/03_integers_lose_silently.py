"""Integers lose silently: reference.

Hint: Find the place where each number leaves the range of its dtype. Everything that matters happens before that place.
Hint: `.int()` and `.float()` widen, `.clamp(0, 255)` saturates, `.to(torch.uint8)` narrows. In this order.
Hint: For put_ compare `int(v)` with v before you assign; for the images subtract or multiply in the wider dtype.

Why: An integer dtype computes modulo its range, so an overflow gives a legal value and nobody can see it afterwards.
`img * 1.5` is float32, because a Python float lifts an integer tensor to another category; but `img * 2` stays uint8,
and goes round before any clamp. Conversion of a float that does not fit is worse still: it is undefined, and differs
between machines. Assignment never changes the dtype of the target: what it cannot hold is cut.
"""

import torch

from dojo import Mistake


def abs_diff(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.int() - b.int()).abs().to(torch.uint8)


def brighten(img: torch.Tensor, factor: float) -> torch.Tensor:
    return (img.float() * factor).clamp(0, 255).to(torch.uint8)


def put_(x: torch.Tensor, i: int, v: float) -> torch.Tensor:
    if int(v) != v:
        raise ValueError(f"{v} does not fit into {x.dtype}")
    x[i] = v
    return x


def _subtract_in_place(a, b):
    bigger = torch.maximum(a, b)
    smaller = torch.minimum(a, b)
    a.copy_(bigger)
    return a.sub_(smaller)


def _multiply_in_place(img, factor):
    return img.copy_((img.float() * factor).clamp(0, 255))


def _never_darker(img, factor):
    return (img.float() * max(1.0, factor)).clamp(0, 255).to(torch.uint8)


def _assign(x, i, v):
    x[i] = v
    return x


def _round(x, i, v):
    x[i] = round(v)
    return x


def _write_then_look(x, i, v):
    x[i] = v
    if x[i] != v:
        raise ValueError(f"{v} was truncated to {x[i]}")
    return x


def _positive_fractions_only(x, i, v):
    if v - int(v) > 0:
        raise ValueError(f"{v} has a fraction")
    return _assign(x, i, v)


def _skip(x, i, v):
    return _assign(x, i, v) if v == int(v) else x


def _let_torch_refuse(x, i, v):
    x[i : i + 1] += v - int(x[i])
    return x


def _put_into_a_clone(x, i, v):
    return put_(x.clone(), i, v)


def _swap_the_data(x, i, v):
    x.data = put_(x.clone(), i, v)
    return x


def _assert(x, i, v):
    assert v == int(v)
    return put_(x, i, v)


def _through_float32(x, i, v):
    t = torch.tensor(float(v))
    if t != t.round():
        raise ValueError("fraction")
    return _assign(x, i, t)


def _as_a_tensor(x, i, v):
    if v != int(v):
        raise ValueError("fraction")
    return _assign(x, i, torch.tensor(v))


def _become_float(x, i, v):
    x.data = x.float()
    return put_(x, i, v)


def _only_ints(x, i, v):
    if not isinstance(v, int):
        raise ValueError("an int is wanted")
    return put_(x, i, v)


def _as_a_float(x, i, v):
    if not float(v).is_integer():
        raise ValueError("fraction")
    return _assign(x, i, int(float(v)))


def _almost_whole(x, i, v):
    if abs(v - round(v)) > 1e-6:
        raise ValueError("fraction")
    return _assign(x, i, round(v))


def _no_return(x, i, v):
    put_(x, i, v)


_WRAPS = "test_uint8_goes_round_below_zero"
_ALONE = "test_a_difference_leaves_its_images_alone_and_has_no_order"
_SATURATES = "test_a_product_above_255_saturates_only_if_you_say_so"
_FACTOR = "test_a_factor_may_be_a_fraction_or_an_int"
_ITSELF = "test_put_writes_into_the_tensor_itself"
_WHOLE = "test_a_large_number_arrives_whole"
_TRUNCATES = "test_assignment_truncates_without_a_word"

MISTAKES = [
    Mistake("10 - 20 went round to 246", caught_by=_WRAPS, abs_diff=lambda a, b: (a - b).abs()),
    Mistake("10 - 20 went round to 246", caught_by=_WRAPS, abs_diff=lambda a, b: (a - b).int().abs().to(torch.uint8)),
    Mistake(
        "you cut off what was below zero",
        caught_by=_WRAPS,
        abs_diff=lambda a, b: (a.int() - b.int()).clamp(0, 255).to(torch.uint8),
    ),
    Mistake("expected torch.uint8", caught_by=_WRAPS, abs_diff=lambda a, b: (a.int() - b.int()).abs()),
    Mistake(
        "|0 - 255| is 255, in either order",
        caught_by=_ALONE,
        abs_diff=lambda a, b: (a.to(torch.int8) - b.to(torch.int8)).abs().to(torch.uint8),
    ),
    Mistake("must not write into its images", caught_by=_ALONE, abs_diff=_subtract_in_place),
    Mistake(
        "bring it into range before you convert",
        caught_by=_SATURATES,
        brighten=lambda img, f: (img * f).to(torch.uint8),
    ),
    Mistake(
        "bring it into range before you convert",
        caught_by=_SATURATES,
        brighten=lambda img, f: (img * f).to(torch.uint8).clamp(0, 255),
    ),
    Mistake("uint8 image that stops at 255", caught_by=_SATURATES, brighten=lambda img, f: (img * f).clamp(0, 255)),
    Mistake("255 is still in range", caught_by=_SATURATES, brighten=lambda img, f: (img * f).clamp(0, 254).byte()),
    Mistake("uint8 cannot take the product in place", caught_by=_SATURATES, brighten=lambda img, f: img.mul_(f)),
    Mistake("img must stay as it is", caught_by=_SATURATES, brighten=_multiply_in_place),
    Mistake("did the factor 1.5 become 1", caught_by=_SATURATES, brighten=lambda img, f: img * int(f)),
    Mistake("did the factor 0.5 become 0", caught_by=_FACTOR, brighten=lambda img, f: img * int(f)),
    Mistake("saturates at 255", caught_by=_FACTOR, brighten=_never_darker),
    Mistake("went round in uint8", caught_by=_FACTOR, brighten=lambda img, f: (img * f).clamp(0, 255).to(torch.uint8)),
    Mistake(
        "saturates at 255",
        caught_by=_FACTOR,
        brighten=lambda img, f: (img.to(torch.int16) * f).clamp(0, 255).to(torch.uint8),
    ),
    Mistake("7.0 was refused", caught_by=_ITSELF, put_=_only_ints),
    Mistake("a Python float, or float64", caught_by=_WHOLE, put_=_as_a_float),
    Mistake("2.0000000000000004 lost its fraction", caught_by=_TRUNCATES, put_=_almost_whole),
    Mistake("lost its fraction on the way", caught_by=_TRUNCATES, put_=_assign),
    Mistake("lost its fraction on the way", caught_by=_TRUNCATES, put_=_round),
    Mistake("-0.5 lost its fraction", caught_by=_TRUNCATES, put_=_positive_fractions_only),
    Mistake("expected ValueError, got RuntimeError", caught_by=_TRUNCATES, put_=_let_torch_refuse),
    Mistake("neither written nor refused", caught_by=_TRUNCATES, put_=_skip),
    Mistake("an assert is no check for callers", caught_by=_TRUNCATES, put_=_assert),
    Mistake("it had written already", caught_by=_TRUNCATES, put_=_write_then_look),
    Mistake("put_ returns x itself", caught_by=_ITSELF, put_=_put_into_a_clone),
    Mistake("put_ returns x itself", caught_by=_ITSELF, put_=_no_return),
    Mistake("x changed its dtype", caught_by=_ITSELF, put_=_become_float),
    Mistake("x looks at other memory now", caught_by=_ITSELF, put_=_swap_the_data),
    Mistake("a detour through float32", caught_by=_WHOLE, put_=_through_float32),
    Mistake("the float 16777217.0 arrives exactly", caught_by=_WHOLE, put_=_as_a_tensor),
]

KEEP = {_WRAPS: "it is the fact itself, in the plainest case"}
