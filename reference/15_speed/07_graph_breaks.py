"""An `if` on a tensor cuts the compiled program in two: reference.

Hint: Let a tensor decide: compute both results, and take one of them. No Python value is needed for that.
Hint: `torch.where`; `Tensor.norm` or `torch.linalg.vector_norm`; a number may stand for either side of where.
Hint: normalize: take where(length > 0, ..., ...) of the length itself, with a harmless number on the other side; divide
    last.

Why: a traced tensor has a shape, a dtype and a device, and no values, so whatever stays inside tensors is one graph. A
where around the division comes too late: backward runs through both sides, and 0 * inf of the dead side is NaN. Made
safe first, the dead side is 0/1. `clamp_min` of the norm or `F.normalize` do it as well, with a large slope at zero.
On a GPU a break also waits for the device, since somebody reads a value.
"""

import functools
import warnings

import torch

from dojo import Mistake


def signed_scale(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x.sum() > 0, 2 * x, 3 * x)


def normalize(x: torch.Tensor) -> torch.Tensor:
    length = torch.linalg.vector_norm(x)
    safe = torch.where(length > 0, length, 1.0)
    return x / safe


def _if(x):
    if x.sum() > 0:
        return 2 * x
    return 3 * x


def _item(x):
    factor = 2.0 if x.sum().item() > 0 else 3.0
    return factor * x


def _int(x):
    return [3 * x, 2 * x][int(x.sum() > 0)]


def _tolist(x):
    return x * (2 if sum(x.flatten().tolist()) > 0 else 3)


def _prints_first(x):
    print("scaling", tuple(x.shape))
    return torch.where(x.sum() > 0, 2 * x, 3 * x)


def _prints_the_sum(x):
    total = x.sum()
    print("sum", total)
    return torch.where(total > 0, 2 * x, 3 * x)


def _warns_first(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.warn("scaling", stacklevel=2)
    return signed_scale(x)


def _hidden(x):
    return torch.compiler.disable(_if)(x)


@torch.compiler.assume_constant_result
def _is_positive(x):
    return bool(x.sum() > 0)


def _frozen(x):
    return 2 * x if _is_positive(x) else 3 * x


def _in_place(x):
    x.data *= torch.where(x.sum() > 0, 2.0, 3.0)
    return x


def _norm_if(x):
    length = x.norm()
    if length == 0:
        return x
    return x / length


def _norm_any(x):
    return x / x.norm() if x.any() else torch.zeros_like(x) * x


def _norm_item(x):
    length = x.norm().item()
    return x / length if length > 0 else x * 0


def _where_after(x):
    length = x.norm()
    return torch.where(length > 0, x / length, x)


def _root_of_zero(x):
    length = (x * x).sum().sqrt()
    return x / torch.where(length > 0, length, 1.0)


def _clamped_root(x):
    return x / x.pow(2).sum().sqrt().clamp_min(1e-12)


def _constant_length(x):
    length = x.detach().norm()
    return x / torch.where(length > 0, length, 1.0)


def _in_float32(x):
    return torch.nn.functional.normalize(x.float(), dim=0).to(x.dtype)


def _norm_prints(x):
    print("length of", len(x))
    return normalize(x)


@functools.cache
def _is_zero(values):
    return not any(values)


def _asks_python(x):
    return x * 1.0 if _is_zero(tuple(x.detach().tolist())) else x / x.norm()


def _divides_in_place(x):
    x.data /= x.norm().clamp_min(1e-12)
    return x


_VALUES = "test_where_takes_one_of_two_results"
_LENGTH = "test_a_vector_of_length_zero_is_not_divided"
_GRADIENT = "test_the_gradient_at_zero_is_no_nan"
_GRAPH = "test_one_graph_serves_both_branches"
_FULL = "test_fullgraph_refuses_every_break"

_DECIDES = "a value decides what Python does next"
_SAFE = "Make what goes into it safe first"

MISTAKES = [
    Mistake("graphs, expected 1: a value decides", caught_by=_GRAPH, signed_scale=_if),
    Mistake(_DECIDES, caught_by=_FULL, signed_scale=_if),
    Mistake(_DECIDES, caught_by=_GRAPH, signed_scale=_item),
    Mistake(_DECIDES, caught_by=_FULL, signed_scale=_int),
    Mistake("takes the values out of the tensor", caught_by=_GRAPH, signed_scale=_tolist),
    Mistake("`print` is for Python to do", caught_by=_FULL, signed_scale=_prints_first),
    Mistake("`print` is for Python to do", caught_by=_FULL, normalize=_norm_prints),
    Mistake("graphs, expected 1: `print`", caught_by=_GRAPH, signed_scale=_prints_the_sum),
    Mistake("a function is called that the compiler cannot follow", caught_by=_FULL, signed_scale=_warns_first),
    Mistake("everything still runs in Python", caught_by=_GRAPH, signed_scale=_hidden),
    Mistake("a function is called that the compiler cannot follow", caught_by=_FULL, signed_scale=_hidden),
    Mistake("the values decide at each call", caught_by=_GRAPH, signed_scale=_frozen),
    Mistake("signed_scale changed its argument", caught_by=_VALUES, signed_scale=_in_place),
    Mistake(
        "negative values too",
        caught_by=_VALUES,
        signed_scale=lambda x: torch.where(x > 0, 2 * x, 3 * x),
    ),
    Mistake(
        "0 is not above 0",
        caught_by=_VALUES,
        signed_scale=lambda x: torch.where(x.sum() >= 0, 2 * x, 3 * x),
    ),
    Mistake(
        "whatever the sum of their row",
        caught_by=_VALUES,
        signed_scale=lambda x: torch.where(x.sum(-1, keepdim=True) > 0, 2 * x, 3 * x) if x.dim() else signed_scale(x),
    ),
    Mistake("the sum is 3, above 0", caught_by=_VALUES, signed_scale=lambda x: torch.where(x.sum() > 0, 3 * x, 2 * x)),
    Mistake("positive values too", caught_by=_VALUES, signed_scale=lambda x: torch.where(x.amax() > 0, 2 * x, 3 * x)),
    Mistake(
        "which is above 0",
        caught_by=_VALUES,
        signed_scale=lambda x: torch.where(x.sum().round(decimals=3) > 0, 2 * x, 3 * x),
    ),
    Mistake(
        "no gradient reaches x",
        caught_by=_VALUES,
        signed_scale=lambda x: torch.where(x.sum() > 0, 2 * x, 3 * x).detach(),
    ),
    Mistake("2 * x in float64", caught_by=_VALUES, signed_scale=lambda x: signed_scale(x.float())),
    Mistake(
        "above 0 in float64",
        caught_by=_VALUES,
        signed_scale=lambda x: torch.where(x.float().sum() > 0, 2 * x, 3 * x),
    ),
    Mistake("graphs, expected 1: a value decides", caught_by=_GRAPH, normalize=_norm_if),
    Mistake(_DECIDES, caught_by=_GRAPH, normalize=_norm_any),
    Mistake(_DECIDES, caught_by=_FULL, normalize=_norm_item),
    Mistake("takes the values out of the tensor", caught_by=_FULL, normalize=_asks_python),
    Mistake(_SAFE, caught_by=_GRADIENT, normalize=_where_after),
    Mistake(_SAFE, caught_by=_GRADIENT, normalize=_root_of_zero),
    Mistake(_SAFE, caught_by=_GRADIENT, normalize=_clamped_root),
    Mistake(_SAFE, caught_by=_GRADIENT, normalize=lambda x: torch.nan_to_num(x / x.norm())),
    Mistake("zeros became NaN", caught_by=_LENGTH, normalize=lambda x: x / x.norm()),
    Mistake("the gradient of normalize at", caught_by=_LENGTH, normalize=_constant_length),
    Mistake("each value over the length", caught_by=_LENGTH, normalize=_in_float32),
    Mistake("normalize changed its argument", caught_by=_LENGTH, normalize=_divides_in_place),
    Mistake("each value over the length", caught_by=_LENGTH, normalize=lambda x: x / x.abs().sum().clamp_min(1e-12)),
    Mistake("each value over the length", caught_by=_LENGTH, normalize=lambda x: x / (x.norm() + 1e-6)),
    Mistake("each value over the length", caught_by=_LENGTH, normalize=lambda x: x / x.norm().clamp_min(1e-3)),
    Mistake("each value over the length", caught_by=_LENGTH, normalize=lambda x: x / x.norm().clamp_min(1.0)),
    Mistake("each value over the length", caught_by=_LENGTH, normalize=lambda x: x / x.dot(x).clamp_min(1e-12)),
    Mistake(
        "each value over the length",
        caught_by=_LENGTH,
        normalize=lambda x: torch.where(x.sum() == 0, x, x / x.norm().clamp_min(1e-12)),
    ),
    Mistake("zeros stay zeros", caught_by=_LENGTH, normalize=lambda x: (x + 1e-9) / (x + 1e-9).norm()),
]
