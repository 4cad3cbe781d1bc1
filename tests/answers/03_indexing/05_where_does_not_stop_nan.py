"""Answers that people give to where_does_not_stop_nan, right ones and wrong ones."""

import torch

from dojo import Mistake


def _sqrt_of_what_is_there(x):
    out = torch.zeros_like(x)
    out[x > 0] = x[x > 0].sqrt()
    return out


def _div_of_what_is_there(a, b):
    out = torch.zeros_like(a)
    some = b != 0
    out[some] = a[some] / b[some]
    return out


class _Sqrt(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x.clamp(min=0).sqrt()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return torch.where(y > 0, grad * 0.5 / y, torch.zeros_like(y))


def _sqrt_with_a_mask(x):
    mask = x <= 0
    return x.masked_fill(mask, 1.0).sqrt().masked_fill(mask, 0.0)


def _div_with_a_product(a, b):
    ok = (b != 0).to(a.dtype)
    return a * ok / (b + (1 - ok))


def _div_by_masked_scatter(a, b):
    ok = b != 0
    return torch.zeros_like(a).masked_scatter(ok, a[ok] / b[ok])


def _sqrt_filled_after(x):
    y = x.sqrt().clone()
    y[~(x > 0)] = 0.0
    return y


def _div_filled_after(a, b):
    out = (a / b).clone()
    out[b == 0] = 0
    return out


RIGHT = [
    dict(
        safe_sqrt=lambda x: x.masked_fill(x <= 0, torch.inf).rsqrt() * x.relu(),
        safe_div=lambda a, b: a.masked_fill(b == 0, 0) / b.masked_fill(b == 0, 1),
    ),
    dict(safe_div=lambda a, b: torch.where(b == 0, torch.zeros_like(a), a * torch.where(b == 0, 1, b).reciprocal())),
    dict(
        safe_sqrt=lambda x: x * torch.where(x > 0, torch.where(x > 0, x, 1.0).rsqrt(), 0.0),
        safe_div=lambda a, b: torch.where(b != 0, a / torch.where(b != 0, b, 1.0), float("nan")).nan_to_num(),
    ),
    dict(
        safe_sqrt=lambda x: torch.nn.functional.threshold(x, 0.0, 1.0).sqrt() * (x > 0),
        safe_div=lambda a, b: torch.zeros_like(a).index_put((b != 0,), a[b != 0] / b[b != 0]),
    ),
    dict(safe_sqrt=_sqrt_of_what_is_there, safe_div=_div_of_what_is_there),
    dict(safe_sqrt=lambda x: x.relu().sqrt(), safe_div=lambda a, b: a / b.masked_fill(b == 0, float("inf"))),
    dict(safe_sqrt=_Sqrt.apply, safe_div=_div_with_a_product),
    dict(safe_sqrt=_sqrt_with_a_mask, safe_div=_div_by_masked_scatter),
    dict(
        safe_sqrt=lambda x: torch.where(x > 0, x, torch.ones_like(x)).pow(0.5) * (x > 0),
        safe_div=lambda a, b: torch.where(b != 0, a, 0.0) / torch.where(b != 0, b, 1.0),
    ),
    dict(
        safe_sqrt=lambda x: torch.zeros_like(x).masked_scatter(x > 0, x[x > 0].sqrt()),
        safe_div=lambda a, b: a * torch.where(b == 0, 0.0, 1 / torch.where(b == 0, 1.0, b)),
    ),
    dict(
        safe_sqrt=lambda x: torch.zeros_like(x).index_put((x > 0,), x[x > 0] ** 0.5),
        safe_div=lambda a, b: torch.stack([p / q if q != 0 else 0 * p for p, q in zip(a, b, strict=True)]),
    ),
    dict(safe_sqrt=lambda x: torch.stack([v.sqrt() if v > 0 else v * 0 for v in x.view(-1)]).view(x.shape)),
]

WRONG = [
    Mistake("0 * inf is NaN", caught_by="", safe_sqrt=_sqrt_filled_after),
    Mistake("0 * inf is NaN", caught_by="", safe_sqrt=lambda x: x.sqrt().masked_fill(x <= 0, 0.0)),
    Mistake("0 * inf is NaN", caught_by="", safe_sqrt=lambda x: torch.where(x > 0, x**0.5, torch.zeros_like(x))),
    Mistake("no eps", caught_by="", safe_sqrt=lambda x: (x.relu() + 1e-6).sqrt() - 1e-3),
    Mistake("no eps", caught_by="", safe_sqrt=lambda x: x.relu().add(1e-10).sqrt()),
    Mistake("0 * inf is NaN", caught_by="", safe_sqrt=lambda x: ((x + x.abs()) / 2).sqrt()),
    Mistake("0 * inf is NaN", caught_by="", safe_div=_div_filled_after),
    Mistake("0 * inf is NaN", caught_by="", safe_div=lambda a, b: (a / b).nan_to_num(0.0, 0.0, 0.0)),
    Mistake("negative and tiny b", caught_by="", safe_div=lambda a, b: a * b / (b * b + 1e-12)),
    Mistake("no eps", caught_by="", safe_sqrt=lambda x: torch.where(x > 1e-12, x.clamp(min=1e-12).sqrt(), 0.0)),
    Mistake("no eps", caught_by="", safe_sqrt=lambda x: _sqrt_with_a_mask(x.float()).type_as(x)),
    Mistake("you wrote into a leaf that requires grad", caught_by="", safe_sqrt=lambda x: x.clamp_(min=0).sqrt()),
    Mistake("0 where b is 0", caught_by="", safe_div=lambda a, b: a / b.masked_fill(b == 0, 1)),
    Mistake(
        "your result has no graph",
        caught_by="",
        safe_sqrt=lambda x: torch.tensor([max(v, 0.0) ** 0.5 for v in x.tolist()]),
    ),
    Mistake("0 * inf is NaN", caught_by="", safe_sqrt=lambda x: torch.where(x > 0, torch.exp(0.5 * x.log()), 0.0)),
    Mistake("0 where x <= 0", caught_by="", safe_sqrt=lambda x: torch.where(x > 0, x, 1.0).sqrt()),
    Mistake(
        "negative and tiny b",
        caught_by="",
        safe_div=lambda a, b: torch.where(b.abs() < 1e-4, 0.0, a / b.masked_fill(b == 0, 1)),
    ),
    Mistake(
        "negative and tiny b",
        caught_by="",
        safe_div=lambda a, b: torch.where(b > 0, a / torch.where(b > 0, b, 1.0), 0.0),
    ),
    Mistake("0 * inf is NaN", caught_by="", safe_div=lambda a, b: a * (1 / b).masked_fill(b == 0, 0.0)),
]
