"""Answers that people give to rms_norm, right ones and wrong ones."""

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


def _compute(x):
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _library(x, weight, bias, eps=1e-5):
    d = _compute(x)
    return F.layer_norm(x.to(d), (x.shape[-1],), weight.to(d), bias.to(d), eps).to(x.dtype)


def _var_mean(x, weight, bias, eps=1e-5):
    h = x if x.dtype == torch.float64 else x.float()
    var, mean = torch.var_mean(h, dim=-1, correction=0, keepdim=True)
    h = (h - mean) / torch.sqrt(var + eps)
    return h.to(x.dtype) * weight.to(x.dtype) + bias.to(x.dtype)


def _double(x, weight, bias, eps=1e-5):
    h = x.double()
    mu = h.mean(dim=-1, keepdim=True)
    var = ((h - mu) ** 2).mean(dim=-1, keepdim=True)
    return (weight.double() * (h - mu) / (var + eps) ** 0.5 + bias.double()).to(x.dtype)


def _std(x, weight, bias, eps=1e-5):
    h = x.to(_compute(x))
    h = h - h.sum(-1, keepdim=True) / h.shape[-1]
    return torch.addcmul(bias.to(h), h * (h.pow(2).mean(-1, keepdim=True) + eps).rsqrt(), weight.to(h)).type_as(x)


def _native(x, weight, bias, eps=1e-5):
    return F.layer_norm(x, weight.shape, weight.to(x.dtype), bias.to(x.dtype), eps)


class _Native(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.dim, self.eps = dim, eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return F.rms_norm(x, (self.dim,), self.weight.to(x.dtype), self.eps)


class _Llama(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.variance_epsilon = eps

    def forward(self, x):
        h = x.to(_compute(x))
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight.to(x.dtype) * h.to(x.dtype)


class _Subclass(nn.RMSNorm):
    def __init__(self, dim, eps=1e-6):
        super().__init__(dim, eps=eps)

    def forward(self, x):
        d = _compute(x)
        return F.rms_norm(x.to(d), self.normalized_shape, self.weight.to(d), self.eps).to(x.dtype)


class _OnlyTheEps(nn.RMSNorm):
    def __init__(self, dim, eps=1e-6):
        super().__init__(dim, eps=eps)


class _ByNorm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.register_buffer("dim", torch.tensor(float(dim), dtype=torch.float64), persistent=False)
        self.eps = float(eps)
        self.weight = nn.Parameter(torch.ones((dim,)))
        self.register_parameter("bias", None)

    def forward(self, x):
        dtype = x.dtype
        h = x.double()
        square = torch.einsum("...c,...c->...", h, h).unsqueeze(-1) / h.shape[-1]
        return (h / torch.sqrt(square + self.eps) * self.weight).to(dtype)


class _Promote(_Llama):
    def _norm(self, x):
        return x / (torch.mean(x * x, dim=-1, keepdim=True) + self.variance_epsilon).sqrt()

    def forward(self, x):
        out = self._norm(x.float() if x.dtype in (torch.float16, torch.bfloat16) else x)
        return (out * self.weight.to(out.dtype)).type_as(x)


RIGHT = [
    dict(layer_norm=_library, RMSNorm=_Llama),
    dict(layer_norm=_var_mean, RMSNorm=_Subclass),
    dict(layer_norm=_double, RMSNorm=_ByNorm),
    dict(layer_norm=_std, RMSNorm=_Promote),
    dict(layer_norm=_native, RMSNorm=_OnlyTheEps),
    dict(RMSNorm=_Native),
]


def _layer(formula, d=_compute):
    def wrong(x, weight, bias, eps=1e-5):
        h = x.to(d(x))
        return (formula(h, eps) * weight.to(h) + bias.to(h)).to(x.dtype)

    return wrong


def _c(h):
    return h - h.mean(-1, keepdim=True)


def _library_no_eps(x, weight, bias, eps=1e-5):
    return F.layer_norm(x.to(_compute(x)), weight.shape, weight.to(_compute(x)), bias.to(_compute(x))).to(x.dtype)


def _numpy_axes(x, weight, bias, eps=1e-5):
    h = x.to(_compute(x))
    axes = tuple(range(h.dim()))
    return ((h - h.mean(axes)) / (h.var(axes, correction=0) + eps).sqrt() * weight + bias).to(x.dtype)


def _writes(x, weight, bias, eps=1e-5):
    h = x.to(_compute(x)).detach()
    h.sub_(h.mean(-1, keepdim=True))
    return _layer(lambda h, eps: h / (h.var(-1, correction=0, keepdim=True) + eps).sqrt())(h, weight, bias, eps)


def _float_out(x, weight, bias, eps=1e-5):
    return F.layer_norm(x.to(_compute(x)), weight.shape, weight.to(_compute(x)), bias.to(_compute(x)), eps)


def _constants(x, weight, bias, eps=1e-5):
    return _library(x, weight.data, bias.data, eps)


def _frozen_statistics(x, weight, bias, eps=1e-5):
    h = x.to(_compute(x))
    with torch.no_grad():
        mean, root = h.mean(-1, keepdim=True), (h.var(-1, correction=0, keepdim=True) + eps).sqrt()
    return ((h - mean) / root * weight + bias).to(x.dtype)


def _same_dtype(x, weight, bias, eps=1e-5):
    c = x - x.mean(-1, keepdim=True)
    return (c / ((c * c).mean(-1, keepdim=True) + eps).sqrt() * weight + bias).to(x.dtype)


def _float32_only(x, weight, bias, eps=1e-5):
    return F.layer_norm(x.float(), weight.shape, weight.float(), bias.float(), eps).to(x.dtype)


def _unbiased(h, eps):
    return _c(h) / torch.sqrt(h.var(dim=-1, keepdim=True) + eps)


def _std_and_eps(h, eps):
    return _c(h) / (h.std(dim=-1, keepdim=True, unbiased=False) + eps)


def _batch_mean(h, eps):
    return (h - h.mean(0)) / (h.var(-1, correction=0, keepdim=True) + eps).sqrt()


def _no_eps(h, eps):
    return _c(h) / h.std(-1, correction=0, keepdim=True)


def _abs(h, eps):
    return _c(h) / (h.var(-1, correction=0, keepdim=True).clamp_min(eps)).sqrt()


def _class(formula=None, out=None, eps=1e-6, weight=torch.ones, d=_compute, **extra):
    """An RMSNorm of this formula (x, eps) -> x, whose result is out(normed, weight, x)."""
    default = eps

    class Wrong(nn.Module):
        def __init__(self, dim, eps=default):
            super().__init__()
            self.eps, self.weight = eps, nn.Parameter(weight(dim))
            for name, value in extra.items():
                setattr(self, name, value(dim))

        def forward(self, x):
            h = x.to(d(x))
            h = (formula or _rms)(h, self.eps)
            return out(h, self.weight, x) if out else (h * self.weight).to(x.dtype)

    return Wrong


def _eps_behind(h, eps):
    return h / (h.square().mean(-1, keepdim=True).sqrt() + eps)


def _deviation(h, eps):
    return h / (h.std(-1, correction=0, keepdim=True) + eps)


def _rms(h, eps):
    return h / (h.pow(2).mean(-1, keepdim=True) + eps).sqrt()


_BF = "x is bfloat16, the weight float32, and float32 came out"


def _moments(x, weight, bias, eps=1e-5):
    h = x.double() if x.dtype == torch.float64 else x.float()
    first, second = h.sum(-1, keepdim=True) / h.shape[-1], h.pow(2).sum(-1, keepdim=True) / h.shape[-1]
    return (weight * (h - first) / torch.sqrt(second - first.pow(2) + eps) + bias).to(x.dtype)


WRONG = [
    Mistake(says, caught_by="", layer_norm=wrong)
    for says, wrong in (
        ("the unbiased deviation", _layer(_unbiased)),
        ("behind the root", _layer(_std_and_eps)),
        ("mean(x²) - mean² cancels", _moments),
        ("each row with its own mean and variance", _layer(_batch_mean)),
        ("eps=1e-2 was given, and none was used", _layer(_no_eps)),
        ("layer_norm with eps=1e-2", _layer(_abs)),
        ("eps=1e-2 was given, and 1e-5 was used", _library_no_eps),
        ("one mean and one variance for all rows", _numpy_axes),
        ("no argument of layer_norm changes", _writes),
        (_BF, _float_out),
        ("the gradient of weight is missing", _constants),
        ("the gradient of x", _frozen_statistics),
        ("300 squared is inf in float16: all zeros", _same_dtype),
        ("has the mean 2.5", _float32_only),
    )
]
WRONG += [
    Mistake(says, caught_by="", RMSNorm=wrong)
    for says, wrong in (
        ("its eps is 1e-5", _class(eps=1e-5)),
        ("its eps is 1.19e-7", _class(lambda h, eps: F.rms_norm(h.float(), h.shape[-1:]).to(h))),
        ("no eps is inside its root", _class(lambda h, eps: _rms(h, 0))),
        (
            "no eps is inside its root",
            _class(_eps_behind),
        ),
        ("√dim is missing: the norm", _class(lambda h, eps: h / (h.norm(dim=-1, keepdim=True) + eps))),
        (
            "divided by the deviation from the mean",
            _class(_deviation),
        ),
        ("the mean was taken away", _class(lambda h, eps: F.layer_norm(h, h.shape[-1:], eps=eps))),
        ("in float64, eps=1e-2: x / √(mean(x²) + eps) * weight", _class(d=lambda x: torch.float32)),
        ("eps=1e-2 was given, and 1e-6 was used", _class(lambda h, eps: _rms(h, 1e-6))),
        ("one mean square for all rows", _class(lambda h, eps: h / (h.pow(2).mean() + eps).sqrt())),
        ("x / √(mean(x²) + eps) * weight", _class(lambda h, eps: h / (h.pow(2).mean(0, True) + eps).sqrt())),
        ("the gradient of x", _class(lambda h, eps: h / (h.data.pow(2).mean(-1, True) + eps).sqrt())),
        ("the gradient of weight is missing", _class(out=lambda h, w, x: (h * w.detach()).to(x.dtype))),
        ("the weight has no effect", _class(out=lambda h, w, x: h.to(x.dtype))),
        (_BF, _class(out=lambda h, w, x: w * h.to(x.dtype))),
        (_BF, _class(out=lambda h, w, x: h * w)),
        (_BF, _class(out=lambda h, w, x: (h * w).to(w.dtype))),
        ("300 squared is inf in float16: all zeros", _class(d=lambda x: x.dtype)),
        ("the weight starts with ones", _class(weight=torch.zeros)),
        ("no bias, and eps is not learned", _class(bias=lambda dim: nn.Parameter(torch.zeros(dim)))),
        ("the state_dict has ['weight', 'scale']", _class(scale=lambda dim: nn.Buffer(torch.tensor(1.0)))),
    )
]
