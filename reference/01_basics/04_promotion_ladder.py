"""The promotion ladder: reference.

Hint: You need not know the ladder by heart. Decide which dtype must come out before you compute, and end there.
Hint: `Tensor.is_floating_point` tells the category of x; for integers ask `torch.get_default_dtype`.
Hint: For standardise compute first, then `.to(...)` the dtype that you decided on. `mean` takes a `dtype=`.

Why: Promotion is a rule about two tensors, and it knows nothing about which of them is the data and which a constant.
You know, so name the result's dtype, instead of hoping that mean and std come in the right kind. Casting the
*result* works for numbers, 0-dim tensors and vectors alike; casting the statistics needs care, since an integer
x would cut them. `x.float()` is no cure either: it narrows float64, and it widens half precision.
"""

import torch

from dojo import Mistake


def standardise(x: torch.Tensor, mean: float | torch.Tensor, std: float | torch.Tensor) -> torch.Tensor:
    dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    return ((x - mean) / std).to(dtype)


def average(x: torch.Tensor) -> torch.Tensor:
    return x.mean(dtype=x.dtype if x.is_floating_point() else torch.get_default_dtype())


def _cast_the_stats(x, mean, std):
    return (x - mean.to(x.dtype)) / std.to(x.dtype)


def _cast_the_stats_of_any_kind(x, mean, std):
    mean, std = (torch.as_tensor(s).to(x.dtype) for s in (mean, std))
    return (x - mean) / std


def _only_the_width_of_floats(x, mean, std):
    out = (x - mean) / std
    return out.to(x.dtype) if x.is_floating_point() else out


def _float32_for_integers(x, mean, std):
    return ((x - mean) / std).to(x.dtype if x.is_floating_point() else torch.float32)


def _through_float32(x, mean, std):
    dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    return ((x.float() - mean) / std).to(dtype)


def _stats_in_float32(x, mean, std):
    mean, std = (torch.as_tensor(s, dtype=torch.float32) for s in (mean, std))
    return standardise(x, mean, std)


def _numbers_become_tensors(x, mean, std):
    return standardise(x, *(s if isinstance(s, torch.Tensor) else torch.tensor(float(s)) for s in (mean, std)))


def _only_int64_is_integer(x, mean, std):
    return ((x - mean) / std).to(torch.get_default_dtype() if x.dtype == torch.int64 else x.dtype)


def _in_place(x, mean, std):
    if x.is_floating_point():
        return x.sub_(mean).div_(std)
    return ((x - mean) / std).to(torch.get_default_dtype())


def _in_place_reference(x, mean, std):
    return standardise(x, mean, std) if not x.is_floating_point() else x.copy_((x - mean) / std)


def _both_or_none(x, mean, std):
    if isinstance(mean, torch.Tensor):
        mean, std = mean.double(), std.double()
    return standardise(x, mean, std)


def _into_the_stats(x, mean, std):
    if isinstance(std, torch.Tensor):
        std.clamp_(min=1e-8).reciprocal_()
        return (x - mean).mul(std).to(x.dtype if x.is_floating_point() else torch.get_default_dtype())
    return standardise(x, mean, std)


_VECTOR = "test_a_vector_of_float64_promotes_a_float32_batch"
_HALF = "test_half_precision_stays_half_precision"
_ZERO_DIM = "test_numbers_and_0_dim_tensors_have_a_category_but_no_width"
_DIGITS = "test_float64_keeps_all_its_digits"
_INTEGERS = "test_integers_become_the_default_dtype"
_MEAN = "test_integers_and_bools_have_no_mean_in_their_own_dtype"
_MEAN64 = "test_the_mean_of_floats_loses_neither_digits_nor_range"


def _in_place_in_float64(x, mean, std):
    out = x.to(torch.float64)
    out -= torch.as_tensor(mean, dtype=torch.float64)
    out /= torch.as_tensor(std, dtype=torch.float64)
    return out.to(x.dtype if x.is_floating_point() else torch.get_default_dtype())


MISTAKES = [
    Mistake(
        "of a float64 tensor is that tensor, no copy",
        caught_by="test_float64_keeps_all_its_digits",
        standardise=_in_place_in_float64,
    ),
    Mistake("1-D float64 statistics promote it", caught_by=_VECTOR, standardise=lambda x, m, s: (x - m) / s),
    Mistake(
        "must leave in it",
        caught_by=_HALF,
        standardise=lambda x, m, s: ((x - m) / s).to(torch.promote_types(x.dtype, torch.get_default_dtype())),
    ),
    Mistake("must leave in it", caught_by=_HALF, standardise=lambda x, m, s: ((x - m) / s).float()),
    Mistake(
        "1-D float64 statistics promote it",
        caught_by=_VECTOR,
        standardise=lambda x, m, s: ((x.double() - m) / s).to(torch.result_type(x, m)),
    ),
    Mistake("a number has no method of a tensor", caught_by=_ZERO_DIM, standardise=_cast_the_stats),
    Mistake("x, mean and std must stay as they are", caught_by=_VECTOR, standardise=_in_place),
    Mistake("x, mean and std must stay as they are", caught_by=_VECTOR, standardise=_in_place_reference),
    Mistake("a detour through float32 keeps 7 digits", caught_by=_DIGITS, standardise=_through_float32),
    Mistake("the statistics' digits count too", caught_by=_DIGITS, standardise=_stats_in_float32),
    Mistake("a Python number has the digits of float64", caught_by=_DIGITS, standardise=_numbers_become_tensors),
    Mistake("the mean 0.5 became the integer 0", caught_by=_INTEGERS, standardise=_cast_the_stats_of_any_kind),
    Mistake(
        "your result went back to integers", caught_by=_INTEGERS, standardise=lambda x, m, s: ((x - m) / s).to(x.dtype)
    ),
    Mistake("your result went back to integers", caught_by=_INTEGERS, standardise=_only_int64_is_integer),
    Mistake("the default dtype, here torch.float32", caught_by=_INTEGERS, standardise=_only_the_width_of_floats),
    Mistake("the default dtype, here torch.float64", caught_by=_INTEGERS, standardise=_float32_for_integers),
    Mistake("a number has no method of a tensor", caught_by=_ZERO_DIM, standardise=_both_or_none),
    Mistake("x, mean and std must stay as they are", caught_by=_VECTOR, standardise=_into_the_stats),
    Mistake("of type float", caught_by=_MEAN, average=lambda x: x.double().mean().item()),
    Mistake("NumPy knows no bfloat16", caught_by=_MEAN64, average=lambda x: torch.as_tensor(x.numpy().mean())),
    Mistake("became inf", caught_by=_MEAN64, average=lambda x: x.sum() / x.numel()),
    Mistake("the mean of all values", caught_by=_MEAN, average=lambda x: x.sum(dtype=x.dtype) / x.numel()),
    Mistake(
        "the mean of all values",
        caught_by=_MEAN,
        average=lambda x: x.to(torch.promote_types(x.dtype, torch.float16)).mean(),
    ),
    Mistake("mean() does not guess", caught_by=_MEAN, average=lambda x: x.mean()),
    Mistake(
        "the fraction was cut off",
        caught_by=_MEAN,
        average=lambda x: x.mean() if x.is_floating_point() else x.sum() // x.numel(),
    ),
    Mistake(
        "the mean of all values",
        caught_by=_MEAN,
        average=lambda x: x.mean() if x.is_floating_point() else x.sum() / len(x),
    ),
    Mistake("has shape ()", caught_by=_MEAN, average=lambda x: x.to(torch.float64).mean(0)),
    Mistake("float64 was lost", caught_by=_MEAN64, average=lambda x: x.float().mean()),
    Mistake("it went through float32", caught_by=_MEAN64, average=lambda x: x.float().mean().to(torch.float64)),
]
