"""Answers that people give to one_per_row, right ones and wrong ones."""

import numpy as np
import torch

from dojo import Mistake


def _pick_with_a_loop(p, y):
    return torch.stack([p[i, y[i]] for i in range(len(y))])


def _pick_by_one_hot(p, y):
    return (p * torch.nn.functional.one_hot(y, p.shape[1])).sum(dim=1)


def _grid_with_a_loop(x, rows, cols):
    out = torch.empty(len(rows), len(cols), dtype=x.dtype)
    for i, r in enumerate(rows):
        for j, c in enumerate(cols):
            out[i, j] = x[r, c]
    return out


def _grid_by_meshgrid(x, rows, cols):
    r, c = torch.meshgrid(rows, cols, indexing="ij")
    return x[r, c]


def _grid_by_numpy(x, rows, cols):
    return torch.from_numpy(x.numpy()[np.ix_(rows.numpy(), cols.numpy())])


def _keep_with_a_list(x, mask):
    return torch.tensor([v for v, m in zip(x.tolist(), mask.tolist(), strict=True) if m], dtype=x.dtype)


def _grid_by_xy_meshgrid(x, rows, cols):
    r, c = torch.meshgrid(rows, cols, indexing="xy")
    return x[r, c]


def _keep_as_uint8(x, mask):
    return x[mask.byte().long()]


RIGHT = [
    dict(
        pick=lambda p, y: p[torch.arange(p.shape[1]) == y[:, None]],
        grid=lambda x, r, c: x[r].gather(1, c.expand(len(r), -1)),
        keep=lambda x, m: x.repeat_interleave(m.long()),
    ),
    dict(
        pick=lambda p, y: torch.vmap(lambda row, k: row.gather(0, k[None])[0])(p, y),
        grid=lambda x, r, c: x.take(r[:, None] * x.shape[1] + c),
    ),
    dict(pick=lambda p, y: p[torch.arange(len(y)), y], grid=lambda x, r, c: x[r][:, c], keep=lambda x, m: x[m == 1]),
    dict(pick=_pick_with_a_loop, grid=_grid_with_a_loop, keep=_keep_with_a_list),
    dict(
        pick=lambda p, y: p.take_along_dim(y.unsqueeze(1), dim=1)[:, 0],
        grid=lambda x, r, c: x.index_select(0, r).index_select(1, c),
        keep=lambda x, m: x.masked_select(m != 0),
    ),
    dict(pick=lambda p, y: p[:, y].diagonal(), grid=_grid_by_meshgrid, keep=lambda x, m: x[m.nonzero(as_tuple=True)]),
    dict(
        pick=lambda p, y: p.masked_select(torch.nn.functional.one_hot(y, p.shape[1]).bool()),
        grid=_grid_by_numpy,
        keep=lambda x, m: x[m.nonzero().squeeze(1)],
    ),
    dict(
        pick=lambda p, y: torch.cat([row[k : k + 1] for row, k in zip(p, y.tolist(), strict=True)]),
        grid=lambda x, r, c: x[torch.cartesian_prod(r, c).unbind(1)].view(len(r), len(c)),
        keep=lambda x, m: x[m.to(torch.bool)].clone(),
    ),
    dict(pick=lambda p, y: p.gather(1, y.view(-1, 1)).flatten(), keep=lambda x, m: x[m > 0]),
    dict(
        pick=lambda p, y: torch.einsum("ii->i", p[:, y]),
        grid=lambda x, r, c: x.t()[c].t()[r],
        keep=lambda x, m: x[~(m == 0)],
    ),
    dict(
        pick=lambda p, y: p.flatten()[torch.arange(len(p)) * p.shape[1] + y],
        grid=lambda x, r, c: torch.stack([x[i, c] for i in r]),
        keep=lambda x, m: x[torch.where(m.bool(), True, False)],
    ),
]

WRONG = [
    Mistake(
        "it arrives as it is",
        caught_by="",
        pick=lambda p, y: torch.einsum("ij,ij->i", p.nan_to_num(), torch.nn.functional.one_hot(y, p.shape[1]).to(p)),
    ),
    Mistake("the batch dimension is gone", caught_by="", pick=lambda p, y: sum(p[i, k] for i, k in enumerate(y))),
    Mistake("keeps the last two values, whatever they are", caught_by="", keep=lambda x, m: x.sort().values[m.bool()]),
    Mistake("every label from every row", caught_by="", pick=lambda p, y: p.index_select(1, y)),
    Mistake("-inf * 0 is NaN", caught_by="", pick=_pick_by_one_hot),
    Mistake(
        "-inf * 0 is NaN",
        caught_by="",
        pick=lambda p, y: torch.einsum("nc,nc->n", p, torch.nn.functional.one_hot(y, p.shape[1]).to(p.dtype)),
    ),
    Mistake("you returned a column (N, 1)", caught_by="", pick=lambda p, y: p.take_along_dim(y[:, None], 1)),
    Mistake(
        "you returned a column (N, 1)", caught_by="", pick=lambda p, y: p[torch.arange(len(y))[:, None], y[:, None]]
    ),
    Mistake("pick(p, y) failed", caught_by="", pick=lambda p, y: p.gather(0, y)),
    Mistake("p[0, 2], p[1, 0], p[2, 3]", caught_by="", pick=lambda p, y: p.take(y)),
    Mistake("p[0, 2], p[1, 0], p[2, 3]", caught_by="", pick=lambda p, y: p[y % 3, torch.arange(len(y))]),
    Mistake("the batch dimension is gone", caught_by="", pick=lambda p, y: p[:, y].diag().squeeze()),
    Mistake(
        "you got pairs", caught_by="", grid=lambda x, r, c: torch.stack([x[i, j] for i, j in zip(r, c, strict=True)])
    ),
    Mistake("the rows come first", caught_by="", grid=_grid_by_xy_meshgrid),
    Mistake("in that order, and column 1 twice", caught_by="", grid=lambda x, r, c: x[r.sort()[0]][:, c.sort()[0]]),
    Mistake("taken for positions", caught_by="", keep=_keep_as_uint8),
    Mistake("taken for positions", caught_by="", keep=lambda x, m: x.gather(0, m.long())),
    Mistake("and its dimension is gone", caught_by="", keep=lambda x, m: x[m.bool()].squeeze()),
    Mistake(
        "the batch dimension is gone", caught_by="", pick=lambda p, y: torch.gather(p, 1, y.reshape(-1, 1)).squeeze()
    ),
    Mistake(
        "each at the columns 0 and 2",
        caught_by="",
        grid=lambda x, r, c: x[r.min() : r.max() + 1, c.min() : c.max() + 1],
    ),
    Mistake("each at the columns 0 and 2", caught_by="", grid=lambda x, r, c: x.index_select(0, c).index_select(1, r)),
    Mistake("keeps the last two values", caught_by="", keep=lambda x, m: x.masked_fill(m == 0, 0)),
    Mistake("keeps the last two values", caught_by="", keep=lambda x, m: x[: int(m.sum())]),
]
