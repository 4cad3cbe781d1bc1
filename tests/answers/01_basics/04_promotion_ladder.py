"""Answers that people give to promotion_ladder, right ones and wrong ones."""

import torch

from dojo import Mistake


def _cast_everything_first(x, mean, std):
    if not x.is_floating_point():
        x = x.to(torch.get_default_dtype())
    mean = torch.as_tensor(mean, dtype=x.dtype)
    std = torch.as_tensor(std, dtype=x.dtype)
    return (x - mean) / std


def _compute_in_float64(x, mean, std):
    want = x.dtype if torch.is_floating_point(x) else torch.empty(0).dtype
    return x.double().sub(mean).div(std).to(want)


def _fill_a_result(x, mean, std):
    out = torch.empty(x.shape, dtype=x.dtype if x.dtype.is_floating_point else None)
    out[...] = (x - mean) / std
    return out


def _average_by_hand(x):
    return x.sum() / x.numel()


def _always_float(x, mean, std):
    return (x.float() - mean) / std


def _like_the_mean(x, mean, std):
    return ((x - mean) / std).to(torch.as_tensor(mean).dtype)


RIGHT = [
    dict(standardise=_cast_everything_first, average=lambda x: x.double().mean()),
    dict(standardise=_compute_in_float64, average=_average_by_hand),
    dict(standardise=_fill_a_result, average=lambda x: x.mean() if x.is_floating_point() else x.float().mean()),
    dict(average=lambda x: torch.tensor(x.numpy().mean())),
    dict(average=lambda x: torch.mean(x, dtype=torch.float64)),
    dict(standardise=lambda x, m, s: (x / s - m / s).to((x / 1).dtype), average=lambda x: (x * 1.0).mean()),
    dict(standardise=lambda x, m, s: ((x - m) / s).to(torch.result_type(x, 1.0)), average=lambda x: (x / 1).mean()),
]

WRONG = [
    Mistake(
        "1-D float64 statistics promote it", caught_by="", standardise=lambda x, m, s: torch.div(torch.sub(x, m), s)
    ),
    Mistake("must leave in it", caught_by="", standardise=_always_float),
    Mistake("1-D float64 statistics promote it", caught_by="", standardise=_like_the_mean),
    Mistake(
        "mean and std may be Python numbers",
        caught_by="",
        standardise=lambda x, m, s: (x - m.type_as(x)) / s.type_as(x),
    ),
    Mistake("your result went back to integers", caught_by="", standardise=lambda x, m, s: ((x - m) / s).type_as(x)),
    Mistake(
        "your result went back to integers", caught_by="", standardise=lambda x, m, s: x.clone().copy_((x - m) / s)
    ),
    Mistake("mean() does not guess", caught_by="", average=torch.mean),
    Mistake("mean() does not guess", caught_by="", average=lambda x: x.mean(dtype=x.dtype)),
    Mistake("float64 was lost", caught_by="", average=lambda x: x.mean(dtype=torch.float32)),
    Mistake("float64 was lost", caught_by="", average=lambda x: torch.tensor(x.sum().item() / x.numel())),
    Mistake("the fraction was cut off", caught_by="", average=lambda x: x.double().mean().to(x.dtype)),
    Mistake("must leave in it", caught_by="", standardise=lambda x, m, s: ((x - m) / s).to(torch.get_default_dtype())),
    Mistake("has shape ()", caught_by="", average=lambda x: x.double().mean(-1, keepdim=True)),
]
