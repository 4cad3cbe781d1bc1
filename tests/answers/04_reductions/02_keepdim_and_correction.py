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
        centred = c - c.mean()
        variance = (centred**2).mean()
        columns.append(centred / variance.sqrt() if variance > 0 else torch.zeros_like(c))
    return torch.stack(columns, 1)


def _through_numpy(x):
    a = x.numpy()
    std = a.std(axis=0)
    return torch.from_numpy((a - a.mean(axis=0)) / np.where(std == 0, 1, std).astype(a.dtype))


def _nan_to_num(x):
    return torch.nan_to_num((x - x.mean(0)) / x.std(0, False))


def _var_mean(x):
    var, mean = torch.var_mean(x, dim=0, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(var + 1e-12)


def _where_on_the_result(x):
    std = x.std(dim=0, unbiased=False, keepdim=True)
    z = (x - x.mean(dim=0, keepdim=True)) / std
    z[:, (std == 0)[0]] = 0
    return z


def _sklearn(x):
    from sklearn.preprocessing import StandardScaler

    return torch.from_numpy(StandardScaler().fit_transform(x.numpy()))


def _masked(x):
    std, mean = torch.std_mean(x, 0, correction=0)
    return ((x - mean) / std).masked_fill(std == 0, 0)


def _batch_norm_with_its_eps(x):
    return torch.zeros_like(x) if len(x) == 1 else F.batch_norm(x, None, None, training=True)


RIGHT = [
    dict(row_normalise=lambda w: torch.diag(1 / w.sum(1)) @ w, standardise=_batch_norm_with_its_eps),
    dict(standardise=lambda x: torch.zeros(x.shape) if x.shape[0] == 1 else _nan_to_num(x)),
    dict(
        row_normalise=lambda w: w / w.cumsum(1)[:, -1:],
        standardise=lambda x: F.normalize(x - x.mean(0), dim=0) * len(x) ** 0.5,
    ),
    dict(row_normalise=lambda w: w.log().softmax(1), standardise=_sklearn),
    dict(row_normalise=lambda w: torch.stack([r / r.sum() for r in w]), standardise=_masked),
    {"row_normalise": _rows_in_a_loop, "standardise": _columns_in_a_loop},
    {"row_normalise": lambda w: w / w.sum(-1)[:, None], "standardise": _through_numpy},
    {"row_normalise": lambda w: (w.T / w.sum(1)).T, "standardise": _nan_to_num},
    {"row_normalise": lambda w: F.normalize(w, p=1, dim=1), "standardise": _var_mean},
    {"row_normalise": lambda w: torch.einsum("nm,n->nm", w, 1 / w.sum(1)), "standardise": _where_on_the_result},
    {"standardise": lambda x: (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-8)},
    {"standardise": lambda x: (x - x.mean(0)) / (x.std(0, correction=0) + 1e-6)},
    {"standardise": lambda x: F.layer_norm(x.t(), (x.shape[0],)).t()},
]

WRONG = [
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
    Mistake("which shape have the sums", caught_by="", row_normalise=lambda w: w / w.sum(1).view(1, -1)),
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
