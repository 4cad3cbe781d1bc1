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
    return x.double().sum() / x.numel()


def _sum_in_its_own_dtype(x):
    return torch.sum(x).div(x.nelement())


def _standardise_column_by_column(x, mean, std):
    mean, std = (torch.as_tensor(s, dtype=torch.float64).expand(x.shape) for s in (mean, std))
    want = x.dtype if x.dtype.is_floating_point else torch.get_default_dtype()
    columns = [(x[..., i] - mean[..., i]) / std[..., i] for i in range(x.shape[-1])]
    return torch.stack(columns, dim=-1).to(want)


def _standardise_both_by_the_type_of_the_first(x, mean, std):
    if not torch.is_tensor(mean):
        return (x - mean) / std * 1.0
    want = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    return ((x - mean.double()) / std.double()).to(want)


def _average_in_steps(x):
    total = torch.zeros((), dtype=torch.float64)
    for value in x.flatten():
        total += value
    return total / x.numel()


def _always_float(x, mean, std):
    return (x.float() - mean) / std


def _like_the_mean(x, mean, std):
    return ((x - mean) / std).to(torch.as_tensor(mean).dtype)


def _stats_as_tensors(x, mean, std):
    want = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    return ((x - torch.as_tensor(mean)) / torch.as_tensor(std)).to(want)


RIGHT = [
    dict(standardise=_cast_everything_first, average=lambda x: x.double().mean()),
    dict(standardise=_compute_in_float64, average=_average_by_hand),
    dict(standardise=_fill_a_result, average=lambda x: x.mean() if x.is_floating_point() else x.float().mean()),
    dict(standardise=_standardise_column_by_column, average=_average_in_steps),
    dict(average=lambda x: x.mean(dtype=torch.promote_types(x.dtype, torch.float32))),
    dict(average=lambda x: torch.tensor(x.flatten().tolist(), dtype=torch.float64).mean()),
    dict(average=lambda x: torch.mean(x, dtype=torch.float64)),
    dict(standardise=lambda x, m, s: (x / s - m / s).to((x / 1).dtype), average=lambda x: (x * 1.0).mean()),
    dict(standardise=lambda x, m, s: ((x - m) / s).to(torch.result_type(x, 1.0)), average=lambda x: (x / 1).mean()),
]

WRONG = [
    Mistake("NumPy knows no bfloat16", caught_by="", average=lambda x: torch.tensor(x.numpy().mean())),
    Mistake("a Python number has the digits of float64", caught_by="", standardise=_stats_as_tensors),
    Mistake(
        "1-D float64 statistics promote it", caught_by="", standardise=lambda x, m, s: torch.div(torch.sub(x, m), s)
    ),
    Mistake("must leave in it", caught_by="", standardise=_always_float),
    Mistake("1-D float64 statistics promote it", caught_by="", standardise=_like_the_mean),
    Mistake(
        "a number has no method of a tensor",
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
    Mistake("became inf", caught_by="", average=_sum_in_its_own_dtype),
    Mistake("of type float", caught_by="", average=lambda x: float(x.double().mean())),
    Mistake("a number has no method of a tensor", caught_by="", standardise=_standardise_both_by_the_type_of_the_first),
    Mistake("float64 was lost", caught_by="", average=lambda x: torch.tensor(x.sum().item() / x.numel())),
    Mistake("the fraction was cut off", caught_by="", average=lambda x: x.double().mean().to(x.dtype)),
    Mistake("must leave in it", caught_by="", standardise=lambda x, m, s: ((x - m) / s).to(torch.get_default_dtype())),
    Mistake("has shape ()", caught_by="", average=lambda x: x.double().mean(-1, keepdim=True)),
]
