"""LayerNorm, RMSNorm, and what float16 cannot square

Layer norm looks at one token alone: it takes the mean of its C numbers away, divides by their standard deviation, and
lets `weight` and `bias` scale and shift what comes out. The variance is the *biased* one, a mean of squares: divided
by C, where `Tensor.std` and `Tensor.var` divide by C - 1 unless you say `correction=0`. On paper it is mean(x²) - mean²
as well; in float32 those two cancel where the mean is large. `eps` stands inside the root, √(var + eps), so that a row
of equal numbers, where the derivative of the root alone is inf, has finite gradients.

RMSNorm, in most language models since 2023, leaves the mean and the bias out: x / √(mean(x²) + eps) * weight. It has
one parameter. `nn.RMSNorm` takes eps=None unless told: for float32 that is 1.19e-7, its finfo eps, and for float16 and
bfloat16 the same. On small numbers it matters: a row of 1e-3 becomes 0.945 with it, 0.707 with 1e-6, and 0.302 with
1e-5.

Half types fail quietly. 300² is inf in float16, and x / inf is 0: the layer returns zeros, without an error. bfloat16
has the range but three digits only. So compute in float32, and go back to the dtype of x at the end, after the weight:
float32 weights times a bfloat16 row are float32, and one such layer makes all that follows float32. And `x.float()` is
x itself where x is float32 already: what you write into it, you write into the caller's x.

What is asked here: layer norm as a function, and RMSNorm as a module.

About 25 minutes. Before it: promotion_ladder, dtype_limits, batchnorm.
Path: transformer

https://docs.pytorch.org/docs/stable/generated/torch.nn.RMSNorm.html
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """(x - mean) / √(var + eps) * weight + bias, over the last axis only, with the biased variance: like x in shape.

    `x` is (..., C), with any number of axes in front, or none, and any strides; `weight` and `bias` are (C,). float16
    and bfloat16 are computed in float32, float64 in float64; the result has the dtype of `x`, whatever that of `weight`
    and `bias`. Gradients flow to all three; no argument changes.
    """
    raise NotImplementedError("normalise each row, then scale and shift")


class RMSNorm(nn.Module):
    """x / √(mean(x²) + eps) * weight, over the last axis.

    The parameter `weight` (dim,) starts with ones. Nothing else is among its parameters or in its state_dict.
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        """`dim` is the size of the last axis."""
        raise NotImplementedError("make the weight")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., dim) -> (..., dim). Dtypes, gradients and `x` itself as in layer_norm."""
        raise NotImplementedError("divide by the root of the mean square, and scale")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    r"before Module\.__init__\(\) call": "call super().__init__() first: before it, nothing can be registered",
    "same dtype|to match|but found|but got|mixed dtype": "x and weight came with two dtypes, and nobody made them one",
    "view size is not compatible": "view can't join the axes of an x that is not contiguous: reshape can",
    "leaf Variable that requires grad": "an argument was edited in place: it is the caller's",
}
_DOUBLE = torch.float64


def _layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, **eps: float) -> Any:
    __tracebackhide__ = True
    told = f"layer_norm of x {tuple(x.shape)} in {x.dtype}, with a weight in {weight.dtype},"
    with explain(f"{told} raised", _SIGNS):
        with unchanged("no argument of layer_norm changes", x=x, weight=weight, bias=bias):
            got = layer_norm(x, weight, bias, **eps)
    assert isinstance(got, torch.Tensor), f"{told} is a tensor, got {type(got).__name__}"
    return got


def _make(dim: int, **eps: float) -> Any:
    """RMSNorm(dim), with a weight of that size."""
    __tracebackhide__ = True
    with explain(f"RMSNorm({dim}) raised", _SIGNS):
        layer = RMSNorm(dim, **eps)
    assert isinstance(layer, nn.Module), f"RMSNorm makes an nn.Module, here it made a {type(layer).__name__}"
    assert "_modules" in vars(layer), "call super().__init__() first: without it nothing can be registered"
    weight = getattr(layer, "weight", None)
    assert isinstance(weight, torch.Tensor), "the layer has no tensor `weight`"
    assert weight.shape == (dim,), f"weight is ({dim},), got {tuple(weight.shape)}"
    return layer


def _rms(layer: Any, x: torch.Tensor) -> Any:
    __tracebackhide__ = True
    told = f"RMSNorm of x {tuple(x.shape)} in {x.dtype}, with a weight in {layer.weight.dtype},"
    with explain(f"{told} raised", _SIGNS), unchanged("RMSNorm leaves x and its weight as they are", x=x, layer=layer):
        got = layer(x)
    assert isinstance(got, torch.Tensor), f"{told} is a tensor, got {type(got).__name__}"
    return got


def _learned(layer: Any, numbers: torch.Tensor) -> Any:
    """The layer after it has learned these weights."""
    with torch.no_grad():
        layer.weight.copy_(numbers)
    return layer


# All axes different, all equal, one row, no axis in front
_SHAPES = ((2, 3, 5), (4, 4, 4), (1, 6), (5,), (3, 2), (2, 3, 4, 6))


def _weight_and_bias(C: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.linspace(0.5, 2, C, dtype=_DOUBLE), torch.linspace(-1, 1, C, dtype=_DOUBLE)


def _same(got: torch.Tensor, other: torch.Tensor) -> bool:
    return got.shape == other.shape and torch.allclose(got.double(), other.double(), rtol=1e-9, atol=1e-9)


def test_layer_norm_divides_each_row_by_its_biased_deviation():
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=_DOUBLE)
    got = _layer_norm(x, torch.ones(4, dtype=_DOUBLE), torch.zeros(4, dtype=_DOUBLE))
    root = (1.25 + 1e-5) ** 0.5
    want = torch.tensor([[-1.5, -0.5, 0.5, 1.5]], dtype=_DOUBLE) / root
    unbiased = got.shape == want.shape and torch.allclose(got.double(), want * root / 1.2910, rtol=1e-4)
    assert not unbiased, "[1, 2, 3, 4] was divided by 1.2910, the unbiased deviation, expected 1.1180, the biased one"
    check_tensor(got, want, "[1, 2, 3, 4] has the mean 2.5 and the variance 1.25", rtol=1e-9)
    torch.manual_seed(0)
    for shape in _SHAPES:
        C, x = shape[-1], 3 + 2 * torch.randn(shape, dtype=_DOUBLE)
        weight, bias = _weight_and_bias(C)
        want = F.layer_norm(x, (C,), weight, bias)
        got = _layer_norm(x, weight, bias)
        whole = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt() * weight + bias
        assert not _same(got, whole) or _same(want, whole), f"x {shape}: one mean and one variance for all rows"
        check_tensor(got, want, f"x {shape} in float64: each row with its own mean and variance", rtol=1e-9, atol=1e-9)
        for at in ((0,) * (len(shape) - 1), (-1,) * (len(shape) - 1)):
            alone = _layer_norm(x[at], weight, bias)
            check_tensor(alone, want[at], f"row {list(at)} of x {shape}, alone, as in the batch", rtol=1e-9, atol=1e-9)
    far = torch.tensor([[10001.0, 10002.0, 10003.0, 10004.0]])
    got = _layer_norm(far, torch.ones(4), torch.zeros(4))
    told = "10001 to 10004 in float32: the variance is that of x - mean, for mean(x²) - mean² cancels"
    check_tensor(got, F.layer_norm(far - 10000, (4,)), told, rtol=1e-3)
    turned = torch.randn(4, 3, 2, dtype=_DOUBLE).permute(2, 1, 0)
    weight, bias = _weight_and_bias(4)
    want = F.layer_norm(turned.contiguous(), (4,), weight, bias)
    check_tensor(_layer_norm(turned, weight, bias), want, "x is a permuted view", rtol=1e-9, atol=1e-9)


def test_eps_stands_inside_the_root():
    x = torch.tensor([[0.01, 0.02, -0.03, 0.04], [1.0, -1.0, 2.0, 0.0]], dtype=_DOUBLE)
    weight, bias = _weight_and_bias(4)
    got = _layer_norm(x, weight, bias, eps=1e-2)
    centred, var = x - x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
    for root, cause in (
        (var.sqrt() + 1e-2, "eps was added to the deviation, behind the root: it stands inside, √(var + eps)"),
        ((var + 1e-5).sqrt(), "eps=1e-2 was given, and 1e-5 was used"),
        (var.sqrt(), "eps=1e-2 was given, and none was used"),
    ):
        assert not _same(got, centred / root * weight + bias), cause
    want = centred / (var + 1e-2).sqrt() * weight + bias
    check_tensor(got, want, "layer_norm with eps=1e-2", rtol=1e-9, atol=1e-9)
    row = torch.full((2, 4), 3.0, dtype=_DOUBLE, requires_grad=True)
    got = _layer_norm(row, weight, bias)
    check_tensor(got.detach(), bias.expand(2, 4), "a row of equal numbers gives the bias", atol=1e-9)
    assert got.requires_grad, "the result hangs on no graph: nothing can be trained"
    (grad,) = torch.autograd.grad((got * torch.arange(8.0, dtype=_DOUBLE).view(2, 4)).sum(), row)
    assert grad.isfinite().all(), f"a row of equal numbers has the gradient {grad[0].tolist()}, expected finite numbers"
    zeros = torch.zeros(2, 4, dtype=_DOUBLE, requires_grad=True)
    got = _rms(_make(4), zeros)
    check_tensor(got.detach(), torch.zeros(2, 4, dtype=_DOUBLE), "RMSNorm of a row of zeros is zeros", atol=1e-9)
    assert got.requires_grad, "the result of RMSNorm hangs on no graph: nothing can be trained"
    (grad,) = torch.autograd.grad((got * torch.arange(8.0, dtype=_DOUBLE).view(2, 4)).sum(), zeros)
    assert grad.isfinite().all(), f"a row of zeros has the gradient {grad[0].tolist()} in RMSNorm, expected finite ones"


def test_the_gradient_flows_through_the_mean_and_the_variance():
    torch.manual_seed(0)
    for shape in ((2, 3, 5), (4, 4, 4), (5,)):
        C = shape[-1]
        x, up = torch.randn(shape, dtype=_DOUBLE, requires_grad=True), torch.randn(shape, dtype=_DOUBLE)
        weight, bias = (t.requires_grad_() for t in _weight_and_bias(C))
        layer = _learned(_make(C, eps=1e-3).double(), weight)
        plain = F.rms_norm(x, (C,), layer.weight, eps=1e-3)
        for name, got, want, leaves in (
            ("layer_norm", _layer_norm(x, weight, bias), F.layer_norm(x, (C,), weight, bias), (x, weight, bias)),
            ("RMSNorm", _rms(layer, x), plain, (x, layer.weight)),
        ):
            assert got.requires_grad, f"the result of {name} hangs on no graph: nothing can be trained"
            with explain(f"backward through {name} raised"):
                grads = torch.autograd.grad((got * up).sum(), leaves, allow_unused=True)
            true = torch.autograd.grad((want * up).sum(), leaves)
            for what, grad, wanted in zip(("x", "weight", "bias"), grads, true, strict=False):
                told = f"{name}, x {shape}: the gradient of {what}"
                assert grad is not None, f"{told} is missing"
                check_tensor(grad, wanted, told, rtol=1e-8, atol=1e-9)


@pytest.mark.myth(
    says="The default eps of nn.RMSNorm is finfo(x.dtype).eps.",
    today="For float16 and bfloat16 it is that of float32, 1.19e-7, since they are computed in float32.",
)
def test_rms_norm_divides_by_the_root_of_the_mean_square():
    small = torch.full((4,), 1e-3).bfloat16()
    half = nn.RMSNorm(4, dtype=torch.bfloat16)(small)
    assert half[0].item() == pytest.approx(0.945, abs=0.01), "eps=None is 1.19e-7 for bfloat16, too"
    x = torch.tensor([[1e-3, 1e-3, 1e-3, -1e-3]])
    got = _rms(_make(4), x)
    share = got.reshape(-1)[0].item()
    for value, cause in (
        (0.945, "its eps is 1.19e-7"),
        (0.302, "its eps is 1e-5"),
        (1.0, "no eps is inside its root"),
        (0.5, "√dim is missing: the norm is the root of a sum of squares, not of a mean"),
        (0.447, "√dim is missing: a sum of squares, not their mean"),
        (0.378, "the mean was taken away: that is layer norm"),
        (0.756, "divided by the deviation from the mean: RMSNorm has no mean"),
    ):
        assert abs(share - value) > 2e-3, f"1e-3 in a row of ±1e-3 became {share:.3f}, expected 0.707: {cause}"
    check_tensor(got.detach(), x / 2e-6**0.5, "1e-3 / √(1e-6 + 1e-6)", rtol=1e-5)
    torch.manual_seed(0)
    for shape in _SHAPES:
        C, x = shape[-1], 5 + torch.randn(shape, dtype=_DOUBLE)
        weight, told = _weight_and_bias(C)[0], f"x {shape} in float64, eps=1e-2"
        layer = _learned(_make(C, eps=1e-2).double(), weight)
        got, square = _rms(layer, x), x.square().mean(-1, keepdim=True)
        want = F.rms_norm(x, (C,), weight, eps=1e-2)
        centred = x - x.mean(-1, keepdim=True)
        for other, cause in (
            (x / x.norm(dim=-1, keepdim=True) * weight, "√dim is missing: the norm is a sum of squares, not a mean"),
            (x / (C * square + 1e-2).sqrt() * weight, "√dim is missing: a sum of squares, not their mean"),
            (F.layer_norm(x, (C,), weight, eps=1e-2), "the mean was taken away: that is layer norm"),
            (centred / (square + 1e-2).sqrt() * weight, "the mean was taken away: that is layer norm"),
            (x / (square.sqrt() + 1e-2) * weight, "eps stands inside the root"),
            (x / (square + 1e-6).sqrt() * weight, "eps=1e-2 was given, and 1e-6 was used"),
            (x / (square + 1e-2).sqrt(), "the weight has no effect"),
            (x / (x.square().mean() + 1e-2).sqrt() * weight, "one mean square for all rows"),
        ):
            assert not _same(got, other) or _same(want, other), f"{told}: {cause}"
        check_tensor(got, want, f"{told}: x / √(mean(x²) + eps) * weight", rtol=1e-9, atol=1e-9)
        check_tensor(_rms(layer, -x), -want, f"{told}: f(-x) = -f(x)", rtol=1e-9, atol=1e-9)
        turned = x.mT.contiguous().mT if x.dim() > 1 else x
        check_tensor(_rms(layer, turned), want, f"{told}, x with other strides", rtol=1e-9, atol=1e-9)
        first = (0,) * (len(shape) - 1)
        alone = _rms(layer, x[first])
        check_tensor(alone, want[first], f"{told}: a row alone is as in the batch", rtol=1e-9, atol=1e-9)


def test_rms_norm_has_one_parameter_and_saves_no_more():
    layer, other = _make(6), _make(6)
    names = [name for name, _ in layer.named_parameters()]
    assert names == ["weight"], f"the parameters are {names}, expected ['weight']: no bias, and eps is not learned"
    saved = list(layer.state_dict())
    assert saved == ["weight"], f"the state_dict has {saved}, expected ['weight']"
    check_tensor(layer.weight.detach(), torch.ones(6), "the weight starts with ones")
    assert layer.weight.requires_grad, "the weight requires no gradient: it can't be trained"
    with explain("load_state_dict raised"):
        layer.load_state_dict({"weight": torch.arange(6.0)})
    check_tensor(other.weight.detach(), torch.ones(6), "another layer has a weight of its own")
    x = torch.tensor([[2.0, -2.0, 2.0, 2.0, -2.0, 2.0]])
    want = torch.tensor([[0.0, -1.0, 2.0, 3.0, -4.0, 5.0]])
    for mode in (True, False):
        told = f"a weight that was loaded counts, in {'train' if mode else 'eval'} mode"
        check_tensor(_rms(layer.train(mode), x).detach(), want, told, rtol=1e-5)
    _rms(layer, x)
    assert list(layer.state_dict()) == ["weight"], "after a call, the state_dict has other names"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_half_types_are_computed_in_float32(dtype):
    for row, eps in (
        ([300.0, -600.0, 300.0, 0.0], 1e-5),
        ([60000.0, -60000.0, 30000.0, 0.0], 1e-5),
        ([3e-4, -3e-4, 3e-4, -3e-4], 1e-12),
        ([0.0, 0.0, 0.0, 0.0], 1e-12),
        ([256.0, 258.0, 260.0, 262.0], 1e-5),
        ([1.1, -0.3, 2.7, 0.9, -1.7, 0.2, 3.3], 1e-5),
    ):
        x = torch.tensor([row], dtype=dtype)
        C, wide = len(row), x.double()
        ones, zeros = torch.ones(C, dtype=dtype), torch.zeros(C, dtype=dtype)
        for name, got, want in (
            ("layer_norm", _layer_norm(x, ones, zeros, eps=eps), F.layer_norm(wide, (C,), eps=eps)),
            ("RMSNorm", _rms(_make(C, eps=eps).to(dtype), x), F.rms_norm(wide, (C,), eps=eps)),
        ):
            told = f"{name} of {[round(v, 6) for v in row]} in {dtype}, eps={eps:g}"
            lost = row[0] == 300 and not got.any()
            assert not lost, f"{told}: 300 squared is inf in float16: all zeros came out"
            assert got.isfinite().all(), f"{told}: {got.tolist()} came out, expected finite numbers"
            # One rounding at the end, and perhaps one before the weight of ones, which changes nothing.
            check_tensor(
                got.double(),
                want.to(dtype).double(),
                f"{told}: computed in float32, rounded once",
                rtol=1e-3,
                atol=1e-6,
            )


@pytest.mark.myth(
    says="A Llama-style RMSNorm returns its input's dtype: it casts back before the weight.",
    today="A weight in float32 makes float32 of it again; only a cast behind the weight keeps the dtype.",
)
def test_the_result_has_the_dtype_of_x_whatever_that_of_the_weight():
    torch.manual_seed(0)
    assert (torch.ones(4) * torch.ones(4).bfloat16()).dtype == torch.float32, "a float32 weight makes float32 of it"
    kinds = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        for other in kinds:
            x = torch.randn(2, 3, 8).to(dtype)
            weight = torch.linspace(0.5, 2.25, 8).to(other)  # exact in each of them
            layer = _learned(_make(8, eps=1e-6).to(other), weight)
            near = {torch.bfloat16: 5e-2, torch.float16: 5e-3, torch.float32: 1e-5, torch.float64: 1e-9}[dtype]
            wide, double = x.double(), weight.double()
            for name, got, want in (
                ("RMSNorm", _rms(layer, x), F.rms_norm(wide, (8,), double, eps=1e-6)),
                (
                    "layer_norm",
                    _layer_norm(x, weight, -weight),
                    F.layer_norm(wide, (8,), double, -double),
                ),
            ):
                told = f"{name}: x is {dtype}, the weight {other}"
                assert got.dtype == dtype, f"{told}, and {got.dtype} came out".replace("torch.", "")
                check_tensor(got.double(), want, told, rtol=near, atol=near)
