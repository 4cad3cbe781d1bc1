"""Numbers on 256 levels: int8 by hand

A model whose weights are int8 needs a quarter of the memory of float32, and whole numbers are fast to multiply. The
price: only 256 values are left, from -128 to 127. Quantization says which real number each of them stands for:

    real = (q - zero_point) * scale        q = real / scale + zero_point, rounded, kept within -128 to 127

`scale` is the step from one level to the next, `zero_point` is the level that means 0. So [0, 10] takes a scale of
10/255 (256 levels have 255 steps between them) and zero_point -128: 0 becomes -128, and 10 becomes 127.

Three things go wrong again and again. Padding, dropout and ReLU write exact zeros, millions of them; if 0 lies between
two levels, each of these gets the same small error, and they add up. So the zero point is a whole number, and the range
is widened until it contains 0. Values outside of the range must stop at the last level: a plain cast to int8 goes round
in a circle, and 200 becomes -56 without a word. And int8 minus int8 is int8: 127 - (-128) should be 255, and is -1.

Older tutorials use qint8 tensors and torch.ao.quantization for this; both are deprecated. A plain int8 tensor and two
numbers are all it takes. `x.min()` and `x.max()` give the range, `torch.round` and `clamp` do the rest; `.item()`
makes a Python number of a tensor with one value.

What is asked here: find scale and zero point for a tensor, quantize with them or with given ones, and come back.

About 25 minutes. Before it: integers_lose_silently, dtype_limits.

https://docs.pytorch.org/docs/stable/generated/torch.clamp.html
"""

import importlib.util
import math
import warnings
from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def quantize(x: torch.Tensor) -> tuple[torch.Tensor, float, int]:
    """Quantize a float32 tensor with at least one value: returns (q, scale, zero_point).

    The 256 levels are spread evenly over the range of `x`, widened so that it contains 0: its two ends become -128 and
    127 (or the level next to it, where an end lies halfway between two, as in [-1, 1]). `q` is int8, in the shape of
    `x`; `scale` is a float above 0, also where all values are 0; `zero_point` is an int, and 0.0 comes back as exactly
    0.0. Everything in the range comes back with an error of at most half a step, in a range as narrow as 0.001 and in
    one as wide as a million. `x` stays as it is.
    """
    raise NotImplementedError("return the int8 tensor, the scale and the zero point")


def quantize_with(x: torch.Tensor, scale: float, zero_point: int) -> torch.Tensor:
    """The level nearest to each value of the float32 tensor `x`, for a scale and a zero point that are given.

    What lies outside of the range, even by a million steps, becomes the level at that end. int8, in the shape of `x`,
    which stays as it is.
    """
    raise NotImplementedError("return the nearest levels as int8")


def dequantize(q: torch.Tensor, scale: float, zero_point: int) -> torch.Tensor:
    """The real numbers, float32, that the levels in the int8 tensor `q` stand for; `q` stays as it is."""
    raise NotImplementedError("return the real numbers")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _quantize(x: torch.Tensor, what: str) -> tuple[Any, Any, Any]:
    __tracebackhide__ = True
    signs = {
        "ZeroDivision|cannot convert float NaN|cannot convert float infinity": f"quantize divided by 0 on {what}: the "
        "range of such a tensor is empty, and the scale must not be 0",
    }
    with unchanged("quantize changed its argument", x=x), explain(f"quantize raised on {what}", signs):
        got = quantize(x)
    three = isinstance(got, tuple | list) and len(got) == 3
    assert three, f"quantize returns three things, (q, scale, zero_point); got {type(got).__name__}"
    return got[0], got[1], got[2]


def _quantize_with(x: torch.Tensor, scale: Any, zero_point: Any) -> Any:
    __tracebackhide__ = True
    with (
        unchanged("quantize_with changed its argument", x=x),
        explain(f"quantize_with(x, {scale!r}, {zero_point!r}) raised"),
    ):
        return quantize_with(x, scale, zero_point)


def _dequantize(q: Any, scale: Any, zero_point: Any) -> Any:
    __tracebackhide__ = True
    is_int8 = isinstance(q, torch.Tensor) and q.dtype == torch.int8
    assert is_int8, f"q is an int8 tensor, got {q.dtype if isinstance(q, torch.Tensor) else type(q).__name__}"
    with (
        unchanged("dequantize changed its argument", q=q),
        explain(f"dequantize(q, {scale!r}, {zero_point!r}) raised"),
    ):
        return dequantize(q, scale, zero_point)


def _range(x: torch.Tensor) -> float:
    """How wide the range of x is, with 0 in it."""
    return max(x.max().item(), 0.0) - min(x.min().item(), 0.0)


_DATA = {
    "values on both sides of 0": [-1.0, 0.0, 0.3, 2.1],
    "more below than above": [0.7, -3.1, 0.0, -0.2],
    "values from two to ten": [2.0, 10.0, 3.5],
    "values from minus ten to minus two": [-2.0, -10.0, -3.5],
    "one value above 0": [5.3],
    "one value below 0": [-0.04],
}


@pytest.mark.parametrize("name", list(_DATA), ids=list(_DATA))
def test_zero_is_a_level_of_its_own(name):
    x = torch.tensor(_DATA[name])
    q, scale, zero_point = _quantize(x, name)
    whole = isinstance(zero_point, int)
    said = f"zero_point is {zero_point!r}, of type {type(zero_point).__name__}"
    assert whole, f"{said}, expected an int: 0 must be a level, padding and ReLU live there"
    zeros = torch.zeros(3)
    back = _dequantize(_quantize_with(zeros, scale, zero_point), scale, zero_point)
    outside = not -128 <= zero_point <= 127
    first, last = (-128 - zero_point) * float(scale), (127 - zero_point) * float(scale)
    cause = f"the levels reach from {first:.4g} to {last:.4g}, and 0 is not among them. " * outside
    check_tensor(back, zeros, f"{cause}0.0, quantized with the scale of {name}, does not come back as 0.0")
    back = _dequantize(q, scale, zero_point)
    check_tensor(back[x == 0], x[x == 0], f"a 0.0 among {name} does not come back as 0.0")


@pytest.mark.myth(
    says="A quantized tensor is made by torch.quantize_per_tensor, and its dtype is qint8.",
    today="That kind of tensor is deprecated; an int8 tensor, a scale and a zero point hold the same.",
)
def test_a_quantized_tensor_is_an_int8_tensor_and_two_numbers():
    torch.manual_seed(0)
    for x in (torch.randn(3, 5), torch.randn(4, 2, 3), torch.randn(6, 2).t(), torch.randn(1), torch.randn(1, 1)):
        q, scale, _ = _quantize(x, f"a tensor of shape {tuple(x.shape)}")
        assert isinstance(q, torch.Tensor), f"q is a tensor, got {type(q).__name__}"
        assert q.dtype == torch.int8, f"q is to be int8, got {q.dtype}"
        assert q.shape == x.shape, f"q has the shape {tuple(q.shape)}, and x {tuple(x.shape)}"
        assert isinstance(scale, float), f"scale is to be a Python float, got {type(scale).__name__}"
        q = _quantize_with(x, 0.05, 3)
        assert isinstance(q, torch.Tensor), f"quantize_with returns a tensor, got {type(q).__name__}"
        assert q.dtype == torch.int8, f"quantize_with returns int8, got {q.dtype}"
        assert q.shape == x.shape, f"quantize_with made {tuple(q.shape)} of {tuple(x.shape)}"


def test_the_error_is_at_most_half_a_step():
    torch.manual_seed(0)
    noise = torch.randn(1000)
    for what, x in (
        ("a thousand normal values", noise),
        ("normal values with a mean of 1.3", noise + 1.3),
        ("weights of about 0.02", noise * 0.02 - 0.01),
        ("values from 2 to 10", torch.linspace(2, 10, 333)),
        ("values from -10 to -2", torch.linspace(-10, -2, 333)),
        ("values from -1.7 to 0.4", torch.linspace(-1.7, 0.4, 1001)),
        ("values from -0.4 to 1.8", torch.linspace(-0.4, 1.8, 1001)),
        ("values of about a million", noise * 1e6),
        ("values from -0.0004 to 0.0006", torch.linspace(-0.0004, 0.0006, 1001)),
        ("one value", torch.tensor([5.3])),
    ):
        q, scale, zero_point = _quantize(x, what)
        step = float(scale)
        back = _dequantize(q, scale, zero_point)
        assert isinstance(back, torch.Tensor), f"dequantize returns a tensor, got {type(back).__name__}"
        assert back.shape == x.shape, f"{what}: of shape {tuple(x.shape)}, and {tuple(back.shape)} came back"
        limit = _range(x) / 255
        fits = 0 < step <= 1.01 * limit
        assert fits, f"{what}: a step of {step:.6g}; 256 levels over this range need one above 0, up to {limit:.6g}"
        error = (back.double() - x.double()).abs().max().item() / step
        assert error <= 0.505, f"{what}: an error of {error:.3g} steps, expected at most half a step"


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([0.0, 10.0, 4.0], [-128, 127, -26]),
        ([-10.0, 0.0, -4.0], [-128, 127, 25]),
        ([-5.0, 250.0, 0.0, 100.0], [-128, 127, -123, -23]),
        ([6.0, 255.0, 17.0], [-122, 127, -111]),
    ],
    ids=["from zero up", "from below up to zero", "both sides", "above zero"],
)
def test_the_range_is_spread_over_all_levels(values, levels):
    x, want = torch.tensor(values), torch.tensor(levels, dtype=torch.int8)
    q, scale, zero_point = _quantize(x, f"{values}")
    symmetric = isinstance(q, torch.Tensor) and zero_point == 0
    cause = "the levels lie on both sides of 0, so many of them stand for values that don't occur. " * symmetric
    check_tensor(q, want, f"{cause}The levels of {values} (scale {scale!r}, zero point {zero_point!r})")
    pairs, _, _ = _quantize(torch.stack([x, x.flip(0)]).t(), f"{values} in two columns")
    said = f"The levels of {values}, once forwards and once backwards, in shape ({len(x)}, 2)"
    check_tensor(pairs, torch.stack([want, want.flip(0)], 1), said)
    step = _range(x) / 255
    assert float(scale) == pytest.approx(step, rel=1e-5), f"scale of {values}: expected {step:.6g}, got {scale!r}"


@pytest.mark.parametrize(
    ("scale", "zero_point", "values", "levels"),
    [
        (2 / 255, 0, [100.0, -100.0, 0.5, 1.2, -1.2], [127, -128, 64, 127, -128]),
        (0.5, 10, [100.0, -100.0, 0.3, -0.3, -0.2, 1.7, 58.4, 60.0], [127, -128, 11, 9, 10, 13, 127, 127]),
        (0.1, -120, [-0.76, -1.2, 24.71, 25.1, 102000.0, -102000.0], [-128, -128, 127, 127, 127, -128]),
        (0.01, 5, [1.2149, -1.3331, 1.2151, 0.0], [126, -128, 127, 5]),
        (3.0, 127, [0.0, 2.0, -10.0, -765.0, -1e6], [127, 127, 124, -128, -128]),
    ],
    ids=["of minus one to one", "zero point ten", "nearly all above zero", "small steps", "all below zero"],
)
def test_values_out_of_range_stop_at_the_last_level(scale, zero_point, values, levels):
    x, want = torch.tensor(values), torch.tensor(levels, dtype=torch.int8)
    q = _quantize_with(x, scale, zero_point)
    wrapped = ((x / scale).round() + zero_point).to(torch.int64).to(torch.int8)
    wraps = isinstance(q, torch.Tensor) and q.dtype == torch.int8 and q.shape == x.shape and bool((q == wrapped).all())
    cause = "int8 wraps: what is beyond an end came in again at the other one. " * wraps
    said = f"The levels of {values} with scale {scale:.4g} and zero point {zero_point}"
    check_tensor(q, want, f"{cause}{said}")
    q = _quantize_with(torch.stack([x, x.flip(0)]).t(), scale, zero_point)
    check_tensor(q, torch.stack([want, want.flip(0)], 1), f"{said}, in shape ({len(x)}, 2)")


def test_a_tensor_of_zeros_has_a_scale_too():
    for shape in ((4,), (1,), (9,)):
        x = torch.zeros(shape)
        q, scale, zero_point = _quantize(x, f"zeros of shape {shape}")
        usable = math.isfinite(scale) and scale > 0
        assert usable, f"zeros of shape {shape}: the scale is {scale!r}, expected a number above 0, to divide by"
        back = _dequantize(q, scale, zero_point)
        check_tensor(back, x, f"zeros of shape {shape}, with scale {scale!r} and zero point {zero_point!r}")


@pytest.mark.myth(
    says="torch.ao.quantization says that it will be removed in 2.10, so it is gone.",
    today="The version has passed, and it runs and warns as before; what is new goes into the package torchao.",
)
@pytest.mark.parametrize(
    ("scale", "zero_point", "reals"),
    [
        (0.5, -128, [0.0, 63.5, 64.0, 68.5, 127.5]),
        (0.25, 100, [-57.0, -25.25, -25.0, -22.75, 6.75]),
        (0.1, 3, [-13.1, -0.4, -0.3, 0.6, 12.4]),
    ],
    ids=["zero at the lower end", "zero high up", "zero in the middle"],
)
def test_the_difference_of_two_levels_does_not_fit_into_int8(scale, zero_point, reals):
    q = torch.tensor([-128, -1, 0, 9, 127], dtype=torch.int8)
    want = torch.tensor(reals)
    back = _dequantize(q, scale, zero_point)
    wrapped = (q - zero_point).float() * scale
    same = isinstance(back, torch.Tensor) and back.shape == want.shape
    wraps = same and not torch.allclose(wrapped, want) and torch.allclose(back.float(), wrapped)
    cause = "q - zero_point was computed in int8, which wraps. " * wraps
    said = f"the real numbers of {q.tolist()} with scale {scale} and zero point {zero_point}"
    check_tensor(back, want, f"{cause}{said}", rtol=1e-6, atol=1e-6)
    back = _dequantize(torch.stack([q, q.flip(0)]).t(), scale, zero_point)
    check_tensor(back, torch.stack([want, want.flip(0)], 1), f"{said}, in shape (5, 2)", rtol=1e-6, atol=1e-6)
    _check_the_old_way()


def _check_the_old_way() -> None:
    """As long as torch.ao.quantization is there it warns, and its weights come back as the learner's do."""
    __tracebackhide__ = True
    if importlib.util.find_spec("torch.ao.quantization") is None or torch.backends.quantized.engine == "none":
        return
    from torch.ao.quantization import quantize_dynamic

    model = torch.nn.Sequential(torch.nn.Linear(5, 3))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        weight = quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)[0].weight().detach()
    assert caught, "torch.ao.quantization gave no warning"
    back = _dequantize(weight.int_repr(), weight.q_scale(), weight.q_zero_point())
    check_tensor(back, weight.dequantize(), "a weight that torch.ao.quantization has quantized", rtol=1e-6, atol=1e-6)
