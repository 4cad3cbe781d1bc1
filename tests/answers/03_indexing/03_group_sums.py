"""Answers that people give to group_sums, right ones and wrong ones."""

import numpy as np
import torch
import torch.nn.functional as F

from dojo import Mistake


def _count_with_a_loop(g, n):
    return torch.tensor([sum(1 for v in g.tolist() if v == k) for k in range(n)])


def _sum_with_a_loop(x, g, n):
    out = torch.zeros(n, x.shape[1])
    for row, k in zip(x, g, strict=True):
        out[k] += row
    return out


def _mean_with_a_loop(x, g, n):
    out = torch.zeros(n, x.shape[1])
    for k in range(n):
        if (g == k).any():
            out[k] = x[g == k].mean(dim=0)
    return out


def _mean_by_scatter_reduce(x, g, n):
    index = g[:, None].expand(-1, x.shape[1])
    return torch.zeros(n, x.shape[1]).scatter_reduce_(0, index, x, reduce="mean", include_self=False)


def _sum_by_numpy(x, g, n):
    out = np.zeros((n, x.shape[1]), dtype=np.float32)
    np.add.at(out, g.numpy(), x.numpy())
    return torch.from_numpy(out)


def _mean_by_matrix(x, g, n):
    member = F.one_hot(g, n).to(x.dtype)  # (N, n)
    return member.t() @ x / member.sum(0).clamp(min=1).unsqueeze(1)


def _mean_where(x, g, n):
    c = torch.zeros(n).index_add_(0, g, torch.ones(len(g)))[:, None]
    s = torch.zeros(n, x.size(1)).index_add_(0, g, x)
    return torch.where(c > 0, s / c, 0.0)


def _sum_by_index_put(x, g, n):
    return torch.zeros(n, x.shape[1]).index_put_((g,), x, accumulate=True)


def _sum_by_index_put_that_writes(x, g, n):
    return torch.zeros(n, x.shape[1]).index_put_((g,), x)


def _sum_by_index_copy(x, g, n):
    return torch.zeros(n, x.shape[1]).index_copy_(0, g, x)


def _sum_by_column_indices(x, g, n):
    return torch.zeros(n, x.shape[1]).scatter_reduce_(0, g.view(-1, 1), x, "sum")


def _mean_by_running(x, g, n):
    out = torch.zeros(n, x.shape[1]).index_reduce_(0, g, x, "mean")
    return out


def _mean_over_max(x, g, n):
    return torch.zeros(n, x.shape[1]).index_add_(0, g, x) / torch.bincount(g).max()


def _mean_divided_late(x, g, n):
    c = (g[None] == torch.arange(n)[:, None]).float()
    return c @ x / c.sum(1, keepdim=True)


def _sum_by_sparse(x, g, n):
    member = torch.sparse_coo_tensor(torch.stack([g, torch.arange(len(g))]), torch.ones(len(g)), (n, len(g)))
    return member.to_dense() @ x


def _sum_with_ones(x, g, n):
    return torch.ones(n, x.shape[1]).scatter_reduce_(0, g[:, None].expand_as(x), x, "sum") - (g.max() + 1 == n).float()


def _mean_by_weights(x, g, n):
    weight = 1 / torch.bincount(g, minlength=n)[g]  # of each row: one over the size of its group
    return torch.zeros(n, x.shape[1]).index_add_(0, g, x * weight[:, None])


def _sum_of_rounded_rows(x, g, n):
    return _sum_by_index_put(x.bfloat16().float(), g, n)


def _median_of_groups(x, g, n):
    return torch.stack([x[g == k].median(0).values if (g == k).any() else x[0] * 0 for k in range(n)])


def _sum_between_ends(x, g, n):
    order = torch.argsort(g)
    total = torch.cumsum(x[order], dim=0)
    ends = torch.searchsorted(g[order], torch.arange(n), right=True)
    upto = torch.stack([total[e - 1] if e > 0 else torch.zeros(x.shape[1]) for e in ends])
    return torch.cat([upto[:1], upto[1:] - upto[:-1]])


RIGHT = [
    dict(
        counts=lambda g, n: F.one_hot(g, n).to(torch.uint8).sum(0, dtype=torch.int16),
        group_sum=lambda x, g, n: torch.sparse_coo_tensor(g[None], x, (n, x.shape[1])).to_dense(),
        group_mean=_mean_by_weights,
    ),
    dict(counts=_count_with_a_loop, group_sum=_sum_with_a_loop, group_mean=_mean_with_a_loop),
    dict(
        counts=lambda g, n: F.one_hot(g, n).sum(0),
        group_sum=lambda x, g, n: torch.zeros(n, x.shape[1]).scatter_add_(0, g[:, None].expand_as(x), x),
        group_mean=_mean_by_scatter_reduce,
    ),
    dict(
        counts=lambda g, n: (g[:, None] == torch.arange(n)).sum(dim=0),
        group_sum=_sum_by_numpy,
        group_mean=_mean_by_matrix,
    ),
    dict(
        counts=lambda g, n: torch.zeros(n).index_add_(0, g, torch.ones(len(g))),
        group_sum=_sum_by_index_put,
        group_mean=_mean_where,
    ),
    dict(
        counts=lambda g, n: torch.zeros(n, dtype=torch.int64).scatter_add_(0, g, torch.ones_like(g)),
        group_sum=lambda x, g, n: torch.stack([x[g == k].sum(dim=0) for k in range(n)]),
        group_mean=lambda x, g, n: torch.stack([x[g == k].mean(dim=0) for k in range(n)]).nan_to_num(0.0),
    ),
    dict(
        counts=lambda g, n: torch.from_numpy(np.bincount(g.numpy(), minlength=n)),
        group_sum=_sum_by_sparse,
        group_mean=lambda x, g, n: _sum_by_sparse(x, g, n) / (torch.bincount(g, minlength=n) + 1e-8)[:, None],
    ),
    dict(
        counts=lambda g, n: torch.zeros(n, dtype=torch.int64).index_put_((g,), torch.tensor(1), accumulate=True),
        group_sum=lambda x, g, n: torch.einsum("nk,nd->kd", F.one_hot(g, n).float(), x),
        group_mean=lambda x, g, n: torch.zeros(n, x.shape[1]).index_reduce_(0, g, x, "mean", include_self=False),
    ),
    dict(
        counts=lambda g, n: torch.tensor([g.tolist().count(k) for k in range(n)]),
        group_sum=lambda x, g, n: torch.stack([torch.where((g == k)[:, None], x, 0.0).sum(0) for k in range(n)]),
        group_mean=lambda x, g, n: torch.stack([x[g == k].sum(0) / max(int((g == k).sum()), 1) for k in range(n)]),
    ),
    dict(counts=lambda g, n: torch.histc(g.float(), bins=n, min=-0.5, max=n - 0.5)),
]

WRONG = [
    Mistake("takes no digit from another", caught_by="", group_sum=_sum_between_ends),
    Mistake(
        "each group holds the sum of its rows",
        caught_by="",
        group_sum=lambda x, g, n: torch.sparse_coo_tensor(g[None], x, (n, x.shape[1])),
    ),
    Mistake("you end at the largest index in g", caught_by="", counts=lambda g, n: F.one_hot(g).sum(0)),
    Mistake("0 stands once in g", caught_by="", counts=lambda g, n: torch.zeros(n).scatter_(0, g, 1.0)),
    Mistake("of each group one row was kept", caught_by="", group_sum=_sum_by_index_put_that_writes),
    Mistake("of each group one row was kept", caught_by="", group_sum=_sum_by_index_copy),
    Mistake("only column 0 is filled", caught_by="", group_sum=_sum_by_column_indices),
    Mistake("an empty group is missing", caught_by="", group_sum=lambda x, g, n: F.one_hot(g).float().t() @ x),
    Mistake("does the zero at the start count?", caught_by="", group_mean=_mean_by_running),
    Mistake("0/0 is NaN", caught_by="", group_mean=_mean_divided_late),
    Mistake("group 0 has 1 row, group 1 has 4", caught_by="", group_mean=_mean_over_max),
    Mistake(
        "0 stands once in g", caught_by="", counts=lambda g, n: torch.tensor([int((g == k).any()) for k in range(n)])
    ),
    Mistake("their sum is 0", caught_by="", group_sum=_sum_with_ones),
    Mistake("0 stands 300 times in g", caught_by="", counts=lambda g, n: F.one_hot(g, n).byte().sum(0).byte()),
    Mistake(
        "each group holds the sum of its rows",
        caught_by="",
        group_sum=_sum_of_rounded_rows,
    ),
    Mistake(
        "group 0 has 1 row, group 1 has 4",
        caught_by="",
        group_mean=lambda x, g, n: torch.stack(
            [x[g == k].median(0).values if (g == k).any() else x[0] * 0 for k in range(n)]
        ),
    ),
    Mistake(
        "by the number of all rows", caught_by="", group_mean=lambda x, g, n: F.one_hot(g, n).float().t() @ x / len(g)
    ),
]
