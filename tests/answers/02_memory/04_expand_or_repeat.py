"""Answers that people give to expand_or_repeat, right ones and wrong ones."""

import numpy as np
import torch

from dojo import Mistake


def _rows_with_a_loop(row, n):
    out = torch.empty(n, row.numel(), dtype=row.dtype)
    for i in range(n):
        out[i] = row
    return out


def _each_with_a_list(x, n):
    return torch.tensor([v for v in x.tolist() for _ in range(n)], dtype=x.dtype)


def _each_by_numpy(x, n):
    return torch.from_numpy(np.repeat(x.numpy(), n))


RIGHT = [
    dict(
        broadcast_rows=lambda row, n: torch.broadcast_to(row, (n, len(row))),
        editable_rows=lambda row, n: row.expand(n, -1).clone(),
        repeat_each=lambda x, n: x[:, None].expand(-1, n).reshape(-1),
    ),
    dict(
        broadcast_rows=lambda row, n: row[None].expand(n, *row.shape),
        editable_rows=lambda row, n: torch.stack([row] * n),
        repeat_each=_each_with_a_list,
    ),
    dict(
        broadcast_rows=lambda row, n: row.as_strided((n, row.numel()), (0, row.stride(0))),
        editable_rows=_rows_with_a_loop,
        repeat_each=_each_by_numpy,
    ),
    dict(
        broadcast_rows=lambda row, n: row.unsqueeze(0).expand(n, -1),
        editable_rows=lambda row, n: torch.tile(row, (n, 1)),
        repeat_each=lambda x, n: torch.stack([x] * n, dim=1).flatten(),
    ),
    dict(
        broadcast_rows=lambda row, n: row.expand_as(torch.empty(n, row.numel())),
        editable_rows=lambda row, n: torch.zeros(n, 1, dtype=row.dtype) + row,
        repeat_each=lambda x, n: x.repeat(n, 1).t().reshape(-1),
    ),
    dict(
        broadcast_rows=lambda row, n: torch.broadcast_tensors(row, torch.empty(n, len(row)))[0],
        editable_rows=lambda row, n: torch.vstack([row] * n),
        repeat_each=lambda x, n: x.unsqueeze(1).repeat(1, n).view(-1),
    ),
    dict(
        editable_rows=lambda row, n: row.repeat(n).view(n, -1),
        repeat_each=lambda x, n: torch.repeat_interleave(x, torch.full((len(x),), n)),
    ),
    dict(
        editable_rows=lambda row, n: row[None].repeat_interleave(n, dim=0),
        repeat_each=lambda x, n: x.tile(n, 1).T.flatten(),
    ),
    dict(
        editable_rows=lambda row, n: torch.cat([row[None]] * n),
        repeat_each=lambda x, n: x[torch.arange(len(x) * n) // n],
    ),
    dict(
        broadcast_rows=lambda row, n: row.unsqueeze(1).expand(-1, n).T,
        editable_rows=lambda row, n: row[None][[0] * n],
        repeat_each=lambda x, n: torch.kron(x, torch.ones(n, dtype=x.dtype)),
    ),
    dict(
        broadcast_rows=lambda row, n: row.view(1, -1).expand(n, row.shape[0]),
        editable_rows=lambda row, n: torch.from_numpy(np.tile(row.numpy(), (n, 1))),
        repeat_each=lambda x, n: x.unsqueeze(-1).expand(*x.shape, n).flatten(),
    ),
    dict(
        editable_rows=lambda row, n: torch.stack([row.clone() for _ in range(n)], dim=1).t(),
        repeat_each=lambda x, n: torch.cat([v.expand(n) for v in x]),
    ),
]

WRONG = [
    Mistake(
        "2**53 + 1 comes out exactly",
        caught_by="",
        repeat_each=lambda x, n: (x[:, None].double() * torch.ones(n).double()).flatten().to(x.dtype),
    ),
    Mistake(
        "2**53 + 1 arrives exactly in both rows",
        caught_by="",
        editable_rows=lambda r, n: (torch.zeros(n, len(r)).double() + r).to(r.dtype),
    ),
    Mistake("you copied the row again and again", caught_by="", broadcast_rows=lambda r, n: torch.stack([r] * n)),
    Mistake("you copied the row again and again", caught_by="", broadcast_rows=_rows_with_a_loop),
    Mistake("one in each of 4 rows", caught_by="", broadcast_rows=lambda r, n: torch.cat([r] * n)),
    Mistake("one in each of 4 rows", caught_by="", broadcast_rows=lambda r, n: r.repeat(n, 1).t()),
    Mistake("one write hit them all", caught_by="", editable_rows=lambda r, n: torch.broadcast_to(r, (n, len(r)))),
    Mistake("one write hit them all", caught_by="", editable_rows=lambda r, n: r.expand(n, -1).view(n, -1)),
    Mistake(
        "nothing was copied: your write to the rows changed the source",
        caught_by="",
        editable_rows=lambda r, n: r.expand(n, -1).reshape(n, len(r)) if n == 1 else r.repeat(n, 1),
    ),
    Mistake("you repeated x as a whole", caught_by="", repeat_each=lambda x, n: torch.tile(x, (n,))),
    Mistake("you repeated x as a whole", caught_by="", repeat_each=lambda x, n: x.expand(n, -1).reshape(-1)),
    Mistake(
        "one write hit them all", caught_by="", editable_rows=lambda r, n: r.expand(n, -1).to(r.dtype).reshape(n, -1)
    ),
    Mistake("one in each of 2 rows", caught_by="", editable_rows=lambda r, n: torch.stack([r] * n, dim=1)),
    Mistake("in the dtype of row", caught_by="", editable_rows=lambda r, n: torch.tensor(np.tile(r.tolist(), (n, 1)))),
    Mistake("one in each of 4 rows", caught_by="", broadcast_rows=lambda r, n: r.expand(n, 1, -1)),
    Mistake("holds each value 3 times in a row", caught_by="", repeat_each=lambda x, n: x.repeat(n, 1).t()),
    Mistake("could not be computed", caught_by="", repeat_each=lambda x, n: x.expand(len(x) * n)),
]
