"""LayerNorm, RMSNorm, and what float16 cannot square: reference.

Hint: Three dtypes meet: that of x, that of the weight, and the one to compute in. Which one may the caller see?
Hint: `Tensor.var(..., correction=0, keepdim=True)`, `torch.rsqrt`; `torch.promote_types` of float32 and another dtype.
Hint: First widen x, then divide by the root with eps in it, then weight (and bias), and only then `.to(...)`.

Why: float16 ends at 65504, so 256 is the first number whose square is too large; float32 holds them all. In float64 the
same code must not narrow, and promoting with float32 says both at once. The library's own `F.rms_norm` computes like
this today. Checkpoints differ in where they cast (before or behind the weight), which is one rounding; but a float32
weight as the last factor makes the whole model float32, twice the memory, without an error.
"""

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    centred = wide - wide.mean(-1, keepdim=True)
    out = centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)
    return (out * weight + bias).to(x.dtype)


class RMSNorm(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        out = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (out * self.weight).to(x.dtype)


def _wide(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _norm(
    mean=lambda x: x.mean(-1, keepdim=True),
    divide=lambda c, eps: c / (c.square().mean(-1, keepdim=True) + eps).sqrt(),
    wide=_wide,
    back=lambda out, x: out.to(x.dtype),
):
    """The reference, with one of its parts exchanged."""

    def wrong(x, weight, bias, eps=1e-5):
        h = wide(x)
        return back(divide(h - mean(h), eps) * weight + bias, x)

    return wrong


def _unbiased(c, eps):
    return c / (c.var(-1, keepdim=True) + eps).sqrt()


def _unbiased_std(c, eps):
    return c / (c.std(-1, keepdim=True) + eps)


def _eps_behind(c, eps):
    return c / (c.std(-1, correction=0, keepdim=True) + eps)


def _eps_of_default(c, eps):
    return c / (c.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def _root_and_square(c, eps):
    return c / (c.square().mean(-1, keepdim=True).sqrt() ** 2 + eps).sqrt()


def _no_eps(c, eps):
    return c / c.square().mean(-1, keepdim=True).sqrt()


def _clamped(c, eps):
    return c / c.square().mean(-1, keepdim=True).clamp(min=eps).sqrt()


def _whole_variance(c, eps):
    return c / (c.square().mean() + eps).sqrt()


def _first_axis_too(c, eps):
    dims = (-2, -1) if c.dim() > 1 else (-1,)
    return c / (c.square().mean(dims, keepdim=True) + eps).sqrt()


def _constant_variance(c, eps):
    return c / (c.detach().square().mean(-1, keepdim=True) + eps).sqrt()


def _torch_as_it_is(x, weight, bias, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], weight.to(x.dtype), bias.to(x.dtype))


def _over_all_axes(x, weight, bias, eps=1e-5):
    h = _wide(x)
    return (F.layer_norm(h, x.shape, eps=eps) * weight + bias).to(x.dtype)


def _in_place(x, weight, bias, eps=1e-5):
    h = _wide(x)
    with torch.no_grad():
        h -= h.mean(-1, keepdim=True)
    return (_by_deviation(h, eps) * weight + bias).to(x.dtype)


def _by_deviation(c, eps):
    return c / (c.square().mean(-1, keepdim=True) + eps).sqrt()


def _weight_without_graph(x, weight, bias, eps=1e-5):
    return layer_norm(x, weight.detach(), bias, eps)


def _no_bias(x, weight, bias, eps=1e-5):
    return layer_norm(x, weight, torch.zeros_like(bias), eps)


def _by_rows(x, weight, bias, eps=1e-5):
    """In the columns, as batch norm does."""
    h = _wide(x)
    centred = h - h.mean(0, keepdim=True)
    return (centred / (centred.square().mean(0, keepdim=True) + eps).sqrt() * weight + bias).to(x.dtype)


def _viewed(x, weight, bias, eps=1e-5):
    return layer_norm(x.view(-1, x.shape[-1]), weight, bias, eps).view(x.shape)


def _two_means(x, weight, bias, eps=1e-5):
    h = _wide(x)
    mean = h.mean(-1, keepdim=True)
    var = (h * h).mean(-1, keepdim=True) - mean * mean
    return ((h - mean) * (var + eps).rsqrt() * weight + bias).to(x.dtype)


def _without_graph(x, weight, bias, eps=1e-5):
    with torch.no_grad():
        return layer_norm(x, weight, bias, eps)


class _Base(nn.Module):
    """Right. The mistakes below change one thing of it."""

    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def wide(self, x):
        return _wide(x)

    def divide(self, h):
        return h * torch.rsqrt(h.square().mean(-1, keepdim=True) + self.eps)

    def forward(self, x):
        return (self.divide(self.wide(x)) * self.weight).to(x.dtype)


class _TorchWithoutEps(_Base):
    def forward(self, x):
        return F.rms_norm(_wide(x), self.weight.shape, self.weight.to(_wide(x).dtype)).to(x.dtype)


class _TorchAsItIs(nn.RMSNorm):
    def __init__(self, dim, eps=1e-6):
        super().__init__(dim)


class _EpsOfLayerNorm(_Base):
    def __init__(self, dim, eps=1e-5):
        super().__init__(dim, eps)


class _EpsFixed(_Base):
    def __init__(self, dim, eps=1e-6):
        super().__init__(dim)


class _EpsBehind(_Base):
    def divide(self, h):
        return h / (h.square().mean(-1, keepdim=True).sqrt() + self.eps)


class _Norm(_Base):
    def divide(self, h):
        return h / h.norm(dim=-1, keepdim=True)


class _Normalize(_Base):
    def divide(self, h):
        return F.normalize(h, dim=-1, eps=self.eps)


class _Sum(_Base):
    def divide(self, h):
        return h * torch.rsqrt(h.square().sum(-1, keepdim=True) + self.eps)


class _Centred(_Base):
    def divide(self, h):
        return super().divide(h - h.mean(-1, keepdim=True))


class _Std(_Base):
    def divide(self, h):
        return h / (h.var(-1, keepdim=True, correction=0) + self.eps).sqrt()


class _AllRows(_Base):
    def divide(self, h):
        return h * torch.rsqrt(h.square().mean() + self.eps)


class _OneAxisMore(_Base):
    def divide(self, h):
        dims = (-2, -1) if h.dim() > 1 else (-1,)
        return h * torch.rsqrt(h.square().mean(dims, keepdim=True) + self.eps)


class _NoWeight(_Base):
    def forward(self, x):
        return self.divide(_wide(x)).to(x.dtype)


class _OnePlus(_Base):
    """As in Gemma, whose weight starts with zeros."""

    def forward(self, x):
        return (self.divide(_wide(x)) * (1 + self.weight)).to(x.dtype)


class _RootIsConstant(_Base):
    def divide(self, h):
        return h * torch.rsqrt(h.detach().square().mean(-1, keepdim=True) + self.eps)


class _WeightData(_Base):
    def forward(self, x):
        return (self.divide(_wide(x)) * self.weight.data).to(x.dtype)


class _AlwaysFloat32(_Base):
    def wide(self, x):
        return x.float()


class _NoUpcast(_Base):
    def wide(self, x):
        return x


class _SquaresInHalf(_Base):
    def forward(self, x):
        return (x.float() * torch.rsqrt(x.pow(2).mean(-1, keepdim=True).float() + self.eps) * self.weight).to(x.dtype)


class _CastsBeforeTheWeight(_Base):
    def forward(self, x):
        return self.weight * self.divide(_wide(x)).to(x.dtype)


class _NoCastBack(_Base):
    def forward(self, x):
        return self.divide(_wide(x)) * self.weight


class _DtypeOfTheWeight(_Base):
    def forward(self, x):
        return super().forward(x).to(self.weight.dtype)


class _InPlace(_Base):
    def forward(self, x):
        h = _wide(x)
        with torch.no_grad():
            h /= (h.square().mean(-1, keepdim=True) + self.eps).sqrt()
        return (h * self.weight).to(x.dtype)


class _Bias(_Base):
    def __init__(self, dim, eps=1e-6):
        super().__init__(dim, eps)
        self.bias = nn.Parameter(torch.zeros(dim))


class _DimIsSaved(_Base):
    def __init__(self, dim, eps=1e-6):
        super().__init__(dim, eps)
        self.register_buffer("scale", torch.tensor(float(dim)))


class _EpsIsSaved(_Base):
    def __init__(self, dim, eps=1e-6):
        super().__init__(dim, eps)
        del self.eps
        self.register_buffer("eps", torch.tensor(eps, dtype=torch.float64))

    def divide(self, h):
        return h * torch.rsqrt(h.square().mean(-1, keepdim=True) + self.eps.item())


class _EpsIsCast(_Base):
    """A buffer that is not saved, and .half() makes 0 of 1e-12."""

    def __init__(self, dim, eps=1e-6):
        super().__init__(dim)
        del self.eps
        self.register_buffer("eps", torch.tensor(eps, dtype=torch.float64), persistent=False)


class _PlainWeight(_Base):
    def __init__(self, dim, eps=1e-6):
        nn.Module.__init__(self)
        self.eps, self.weight = eps, torch.ones(dim)


class _Frozen(_Base):
    def __init__(self, dim, eps=1e-6):
        super().__init__(dim, eps)
        self.weight = nn.Parameter(torch.ones(dim), requires_grad=False)


class _Zeros(_Base):
    def __init__(self, dim, eps=1e-6):
        super().__init__(dim, eps)
        self.weight = nn.Parameter(torch.zeros(dim))


class _Random(_Base):
    def __init__(self, dim, eps=1e-6):
        super().__init__(dim, eps)
        self.weight = nn.Parameter(torch.randn(dim))


class _NoSuper(nn.Module):
    def __init__(self, dim, eps=1e-6):
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))


_weights: dict = {}


class _OneForAll(_Base):
    def __init__(self, dim, eps=1e-6):
        super().__init__(dim, eps)
        self.weight = _weights.setdefault(dim, self.weight)


_ROW = "test_layer_norm_divides_each_row_by_its_biased_deviation"
_EPS = "test_eps_stands_inside_the_root"
_GRADIENT = "test_the_gradient_flows_through_the_mean_and_the_variance"
_RMS = "test_rms_norm_divides_by_the_root_of_the_mean_square"
_PARAMETER = "test_rms_norm_has_one_parameter_and_saves_no_more"
_HALF = "test_half_types_are_computed_in_float32"
_DTYPE = "test_the_result_has_the_dtype_of_x_whatever_that_of_the_weight"

_ZEROS = "300 squared is inf in float16: all zeros"
_FLOAT32 = "x is bfloat16, the weight float32, and float32 came out"

MISTAKES = [
    Mistake("the unbiased deviation", caught_by=_ROW, layer_norm=_norm(divide=_unbiased)),
    Mistake("the unbiased deviation", caught_by=_ROW, layer_norm=_norm(divide=_unbiased_std)),
    Mistake("one mean and one variance for all rows", caught_by=_ROW, layer_norm=_over_all_axes),
    Mistake("each row with its own mean and variance", caught_by=_ROW, layer_norm=_norm(divide=_whole_variance)),
    Mistake("each row with its own mean and variance", caught_by=_ROW, layer_norm=_norm(divide=_first_axis_too)),
    Mistake("has the mean 2.5 and the variance 1.25", caught_by=_ROW, layer_norm=_by_rows),
    Mistake("each row with its own mean and variance", caught_by=_ROW, layer_norm=_norm(mean=lambda h: h.mean())),
    Mistake("has the mean 2.5 and the variance 1.25", caught_by=_ROW, layer_norm=_norm(mean=lambda h: 0)),
    Mistake("each row with its own mean and variance", caught_by=_ROW, layer_norm=_no_bias),
    Mistake("no argument of layer_norm changes", caught_by=_ROW, layer_norm=_in_place),
    Mistake("has the mean 2.5", caught_by=_ROW, layer_norm=_norm(wide=lambda x: x.float())),
    Mistake("view can't join the axes", caught_by=_ROW, layer_norm=_viewed),
    Mistake("mean(x²) - mean² cancels", caught_by=_ROW, layer_norm=_two_means),
    Mistake("behind the root", caught_by=_EPS, layer_norm=_norm(divide=_eps_behind)),
    Mistake("eps=1e-2 was given, and 1e-5 was used", caught_by=_EPS, layer_norm=_norm(divide=_eps_of_default)),
    Mistake("eps=1e-2 was given, and none was used", caught_by=_EPS, layer_norm=_norm(divide=_no_eps)),
    Mistake("eps=1e-2 was given, and 1e-5 was used", caught_by=_EPS, layer_norm=_torch_as_it_is),
    Mistake("a row of equal numbers has the gradient", caught_by=_EPS, layer_norm=_norm(divide=_root_and_square)),
    Mistake("layer_norm with eps=1e-2", caught_by=_EPS, layer_norm=_norm(divide=_clamped)),
    Mistake("the gradient of x", caught_by=_GRADIENT, layer_norm=_norm(divide=_constant_variance)),
    Mistake(
        "the gradient of x", caught_by=_GRADIENT, layer_norm=_norm(mean=lambda h: h.detach().mean(-1, keepdim=True))
    ),
    Mistake("the gradient of weight is missing", caught_by=_GRADIENT, layer_norm=_weight_without_graph),
    Mistake("hangs on no graph", caught_by=_GRADIENT, layer_norm=_without_graph),
    Mistake("the gradient of x", caught_by=_GRADIENT, RMSNorm=_RootIsConstant),
    Mistake("the gradient of weight is missing", caught_by=_GRADIENT, RMSNorm=_WeightData),
    Mistake("its eps is 1.19e-7", caught_by=_RMS, RMSNorm=_TorchWithoutEps),
    Mistake("its eps is 1.19e-7", caught_by=_RMS, RMSNorm=_TorchAsItIs),
    Mistake("its eps is 1e-5", caught_by=_RMS, RMSNorm=_EpsOfLayerNorm),
    Mistake("eps=1e-2 was given, and 1e-6 was used", caught_by=_RMS, RMSNorm=_EpsFixed),
    Mistake("no eps is inside its root", caught_by=_RMS, RMSNorm=_EpsBehind),
    Mistake("√dim is missing: the norm", caught_by=_RMS, RMSNorm=_Norm),
    Mistake("√dim is missing: the norm", caught_by=_RMS, RMSNorm=_Normalize),
    Mistake("√dim is missing: a sum", caught_by=_RMS, RMSNorm=_Sum),
    Mistake("the mean was taken away", caught_by=_RMS, RMSNorm=_Centred),
    Mistake("divided by the deviation from the mean", caught_by=_RMS, RMSNorm=_Std),
    Mistake("one mean square for all rows", caught_by=_RMS, RMSNorm=_AllRows),
    Mistake("x / √(mean(x²) + eps) * weight", caught_by=_RMS, RMSNorm=_OneAxisMore),
    Mistake("the weight has no effect", caught_by=_RMS, RMSNorm=_NoWeight),
    Mistake("1e-3 / √(1e-6 + 1e-6)", caught_by=_RMS, RMSNorm=_OnePlus),
    Mistake("in float64, eps=1e-2: x / √(mean(x²) + eps) * weight", caught_by=_RMS, RMSNorm=_AlwaysFloat32),
    Mistake("RMSNorm leaves x and its weight as they are", caught_by=_RMS, RMSNorm=_InPlace),
    Mistake("no bias, and eps is not learned", caught_by=_PARAMETER, RMSNorm=_Bias),
    Mistake("no bias, and eps is not learned", caught_by=_PARAMETER, RMSNorm=_PlainWeight),
    Mistake("the state_dict has ['weight', 'scale']", caught_by=_PARAMETER, RMSNorm=_DimIsSaved),
    Mistake("the state_dict has ['weight', 'eps']", caught_by=_PARAMETER, RMSNorm=_EpsIsSaved),
    Mistake("the weight requires no gradient", caught_by=_PARAMETER, RMSNorm=_Frozen),
    Mistake("the weight starts with ones", caught_by=_PARAMETER, RMSNorm=_Zeros),
    Mistake("the weight starts with ones", caught_by=_PARAMETER, RMSNorm=_Random),
    Mistake("call super().__init__() first: before it", caught_by=_PARAMETER, RMSNorm=_NoSuper),
    Mistake("another layer has a weight of its own", caught_by=_PARAMETER, RMSNorm=_OneForAll),
    Mistake(_ZEROS, caught_by=_HALF, layer_norm=_norm(wide=lambda x: x)),
    Mistake(_ZEROS, caught_by=_HALF, RMSNorm=_NoUpcast),
    Mistake(_ZEROS, caught_by=_HALF, RMSNorm=_SquaresInHalf),
    Mistake("nan, nan, nan, nan]] came out", caught_by=_HALF, RMSNorm=_EpsIsCast),
    Mistake(_FLOAT32, caught_by=_DTYPE, RMSNorm=_CastsBeforeTheWeight),
    Mistake(_FLOAT32, caught_by=_DTYPE, RMSNorm=_NoCastBack),
    Mistake(_FLOAT32, caught_by=_DTYPE, RMSNorm=_DtypeOfTheWeight),
    Mistake(_FLOAT32, caught_by=_DTYPE, layer_norm=_norm(back=lambda out, x: out)),
]
