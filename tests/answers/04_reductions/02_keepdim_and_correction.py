"""Answers that people give to keepdim_and_correction, right ones and wrong ones."""

import numpy as np
import torch
import torch.nn.functional as F

from dojo import Mistake


def _rows_in_a_loop(w):
    out = torch.empty_like(w)
    for i in range(w.shape[0]):
        out[i] = w[i] / w[i].sum()
    return out


def _columns_in_a_loop(x):
    columns = []
    for c in x.unbind(1):
        if bool((c == c[0]).all()):
            columns.append(torch.zeros_like(c))
            continue
        centred = c - c.mean()
        columns.append(centred / (centred**2).mean().sqrt())
    return torch.stack(columns, 1)


def _through_numpy(x):
    a = x.numpy()
    std = a.std(axis=0)
    z = (a - a.mean(axis=0)) / np.where(std == 0, 1, std).astype(a.dtype)
    return torch.from_numpy(np.where(np.ptp(a, axis=0) == 0, 0, z).astype(a.dtype))


def _nan_to_num(x):
    """Shifted by the first row: a constant column is then exactly 0."""
    y = x - x[:1]
    return torch.nan_to_num((y - y.mean(0)) / y.std(0, False))


def _var_mean(x):
    var, mean = torch.var_mean(x, dim=0, correction=0, keepdim=True)
    return ((x - mean) * torch.rsqrt(var)).masked_fill(x.amax(0) == x.amin(0), 0)


def _where_on_the_result(x):
    z = (x - x.mean(dim=0, keepdim=True)) / x.std(dim=0, unbiased=False, keepdim=True)
    z[:, [len(c.unique()) == 1 for c in x.t()]] = 0
    return z


def _only_what_varies(x):
    z = torch.zeros_like(x)
    varies = (x != x[0]).any(0)
    some = x[:, varies]
    z[:, varies] = (some - some.mean(0)) / some.std(0, correction=0)
    return z


def _masked(x):
    std, mean = torch.std_mean(x, 0, correction=0)
    low, high = torch.aminmax(x, dim=0)
    return ((x - mean) / std).masked_fill(low == high, 0)


def _divisor_of_a_constant_is_1(x):
    same = (x == x[0]).all(dim=0)
    mean = torch.where(same, x[0], x.mean(0))
    return (x - mean) / torch.where(same, torch.ones_like(mean), x.std(0, correction=0))


def _normalised(x):
    y = x - x[0]
    return F.normalize(y - y.mean(0), dim=0, eps=1e-30) * len(x) ** 0.5


def _batch_norm_with_its_eps(x):
    return torch.zeros_like(x) if len(x) == 1 else F.batch_norm(x, None, None, training=True)


def _sklearn(x):
    from sklearn.preprocessing import StandardScaler

    return torch.from_numpy(StandardScaler().fit_transform(x.numpy()))


RIGHT = [
    dict(row_normalise=lambda w: torch.diag(1 / w.sum(1)) @ w, standardise=_only_what_varies),
    dict(standardise=lambda x: torch.zeros_like(x) if x.shape[0] == 1 else _nan_to_num(x)),
    dict(row_normalise=lambda w: w / w.cumsum(1)[:, -1:], standardise=_normalised),
    dict(row_normalise=lambda w: w.log().softmax(1), standardise=_divisor_of_a_constant_is_1),
    dict(row_normalise=lambda w: torch.stack([r / r.sum() for r in w]), standardise=_masked),
    {"row_normalise": _rows_in_a_loop, "standardise": _columns_in_a_loop},
    {"row_normalise": lambda w: w / w.sum(-1)[:, None], "standardise": _through_numpy},
    {"row_normalise": lambda w: (w.T / w.sum(1)).T, "standardise": _nan_to_num},
    {"row_normalise": lambda w: F.normalize(w, p=1, dim=1), "standardise": _var_mean},
    {"row_normalise": lambda w: torch.einsum("nm,n->nm", w, 1 / w.sum(1)), "standardise": _where_on_the_result},
    {"standardise": _sklearn},
]

WRONG = [
    Mistake("an eps beside a deviation", caught_by="", standardise=_batch_norm_with_its_eps),
    Mistake(
        "ask the values whether they are all the same",
        caught_by="",
        standardise=lambda x: (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-8),
    ),
    Mistake(
        "ask the values whether they are all the same",
        caught_by="",
        standardise=lambda x: (x - x.mean(0)) / (x.std(0, correction=0) + 1e-12),
    ),
    Mistake(
        "each column has its own",
        caught_by="",
        standardise=lambda x: (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1),
    ),
    Mistake("divides each row by its sum", caught_by="", row_normalise=lambda w: w / w.amax(1, keepdim=True)),
    Mistake("each column has its own", caught_by="", standardise=lambda x: x - x.mean(0)),
    Mistake(
        "each column has its own", caught_by="", standardise=lambda x: (x - x.mean(0)) / (x.std(0, correction=0) + 0.01)
    ),
    Mistake(
        "it becomes 0", caught_by="", standardise=lambda x: ((x - x.mean(0)) / x.std(0, correction=0)).nan_to_num(1.0)
    ),
    Mistake(
        "it becomes 0", caught_by="", standardise=lambda x: (x - x.amin(0)) / (x.amax(0) - x.amin(0)).clamp_min(1e-9)
    ),
    Mistake("divided the columns: no error, all wrong", caught_by="", row_normalise=lambda w: w.div(w.sum(dim=-1))),
    Mistake("do not stand beside the rows", caught_by="", row_normalise=lambda w: w / w.sum(1).view(1, -1)),
    Mistake("the sum of the whole matrix", caught_by="", row_normalise=lambda w: w / w.sum((0, 1), keepdim=True)),
    Mistake("dim 0 disappeared", caught_by="", row_normalise=lambda w: F.normalize(w, p=1, dim=0)),
    Mistake("divides each row by its sum", caught_by="", row_normalise=lambda w: F.normalize(w)),
    Mistake("divides each row by its sum", caught_by="", row_normalise=lambda w: w.sum(1, keepdim=True)),
    Mistake("divides each row by its sum", caught_by="", row_normalise=lambda w: w / w.mean(1, keepdim=True)),
    Mistake("divided by N - 1 = 3", caught_by="", standardise=lambda x: ((x - x.mean(0)) / x.std(0)).nan_to_num()),
    Mistake(
        "you divided by the variance", caught_by="", standardise=lambda x: (x - x.mean(0)) / (x.var(0, False) + 1e-9)
    ),
    Mistake("you reduced the wrong dimension", caught_by="", standardise=lambda x: F.layer_norm(x, x.shape[1:])),
    Mistake(
        "one mean and deviation for the whole tensor", caught_by="", standardise=lambda x: F.layer_norm(x, x.shape)
    ),
    Mistake(
        "you divided: 0 / 0 is NaN", caught_by="", standardise=lambda x: (x - x.mean(0)) / x.std(0, unbiased=False)
    ),
    Mistake("it becomes 0", caught_by="", standardise=lambda x: _nan_to_num(x) if len(x) > 1 else x.sign()),
]
