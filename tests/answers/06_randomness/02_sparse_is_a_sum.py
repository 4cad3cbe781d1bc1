"""Answers that people give to sparse_is_a_sum, right ones and wrong ones."""

import torch

from dojo import Mistake


def _from_dense(edges, n):
    dense = torch.zeros(n, n)
    dense.index_put_((edges[:, 0], edges[:, 1]), torch.ones(len(edges)), accumulate=True)
    return dense.to_sparse()


def _by_loop(edges, n):
    dense = torch.zeros(n, n)
    for i, j in edges.tolist():
        dense[i, j] += 1
    return dense.to_sparse_coo()


def _by_counts(edges, n):
    unique, counts = torch.unique(torch.as_tensor(edges), dim=0, return_counts=True)
    return torch.sparse_coo_tensor(unique.T, counts.to(torch.float32), size=(n, n)).coalesce()


def _by_rows(edges, n):
    rows, cols = zip(*edges, strict=True)
    return torch.sparse_coo_tensor(torch.tensor([rows, cols]), [1.0] * len(rows), (n, n)).coalesce()


def _by_index_add(A, x):
    A = A.coalesce()
    i, j = A.indices()
    return torch.zeros_like(x).index_add(0, i, A.values()[:, None] * x[j])


def _sum_by_loop(A, x):
    rows = A.to_dense()
    return torch.stack([sum((w * x[j] for j, w in enumerate(row)), torch.zeros(x.shape[1])) for row in rows])


def _sum_of_single_edges(edges, n):
    total = None
    for edge in edges:
        one = torch.sparse_coo_tensor(edge.view(2, 1), torch.ones(1), (n, n))
        total = one if total is None else total + one
    return total.coalesce()


def _sum_over_entries(A, x):
    out = torch.zeros_like(x)
    for (i, j), value in zip(A._indices().t().tolist(), A._values().tolist(), strict=True):
        out[i] += value * x[j]
    return out


RIGHT = [
    {"adjacency": _sum_of_single_edges, "neighbour_sum": _sum_over_entries},
    {"adjacency": _from_dense, "n_edges": lambda A: A.coalesce()._nnz(), "neighbour_sum": torch.sparse.mm},
    {
        "adjacency": _by_loop,
        "n_edges": lambda A: A.coalesce().indices().shape[1],
        "neighbour_sum": lambda A, x: A.to_dense() @ x,
    },
    {
        "adjacency": _by_counts,
        "n_edges": lambda A: int((A.to_dense() != 0).sum()),
        "neighbour_sum": _by_index_add,
    },
    {
        "adjacency": _by_rows,
        "n_edges": lambda A: len(set(zip(*A._indices().tolist(), strict=True))),
        "neighbour_sum": _sum_by_loop,
    },
    {"n_edges": lambda A: torch.count_nonzero(A.to_dense()), "neighbour_sum": torch.mm},
]


def _reshaped(edges, n):
    return torch.sparse_coo_tensor(edges.reshape(2, -1), torch.ones(len(edges)), (n, n)).coalesce()


def _by_set(edges, n):
    unique = sorted({tuple(edge) for edge in edges.tolist()})
    return torch.sparse_coo_tensor(torch.tensor(unique).t(), torch.ones(len(unique)), (n, n)).coalesce()


def _scattered(edges, n):
    return torch.zeros(n * n).scatter(0, edges[:, 0] * n + edges[:, 1], 1.0).view(n, n).to_sparse()


def _unsized(edges, n):
    return torch.sparse_coo_tensor(edges.T, [1.0] * len(edges)).coalesce()


def _target_first(edges, n):
    return torch.sparse_coo_tensor(edges[:, [1, 0]].t(), torch.ones(len(edges)), (n, n)).coalesce()


def _csr(edges, n):
    return _from_dense(edges, n).to_sparse_csr()


def _forgot_coalesce(edges, n):
    A = torch.sparse_coo_tensor(edges.t(), torch.ones(len(edges)), (n, n))
    A.coalesce()
    return A


def _yes_or_no(edges, n):
    ones = torch.ones(len(edges), dtype=torch.bool)
    return torch.sparse_coo_tensor(edges.t(), ones, (n, n)).coalesce()


def _says_coalesced(edges, n):
    return torch.sparse_coo_tensor(edges.t(), torch.ones(len(edges)), (n, n))._coalesced_(True)


def _overwrites_the_sum(A, x):
    out = torch.zeros_like(x)
    for (i, j), value in zip(A._indices().t().tolist(), A._values().tolist(), strict=True):
        out[i] = value * x[j]
    return out


WRONG = [
    Mistake(
        "adjacency returns a tensor of floats",
        caught_by="",
        adjacency=lambda edges, n: torch.sparse_coo_tensor(edges.T, [1] * len(edges), (n, n)).coalesce(),
    ),
    Mistake(
        "A has the edges 0→1, 0→3, 1→4 and 2→0", caught_by="", n_edges=lambda A: torch.unique(A._indices()).numel()
    ),
    Mistake("you dropped or overwrote the second one", caught_by="", adjacency=_yes_or_no),
    Mistake("you call it coalesced, but 0→1 is still there", caught_by="", adjacency=_says_coalesced),
    Mistake("entries that come twice count twice", caught_by="", neighbour_sum=_overwrites_the_sum),
    Mistake("the edges 0→1, 2→3 became 0→2, 1→3", caught_by="", adjacency=_reshaped),
    Mistake("you dropped or overwrote the second one", caught_by="", adjacency=_by_set),
    Mistake("you dropped or overwrote the second one", caught_by="", adjacency=_scattered),
    Mistake("nodes without edges have a row and a column too", caught_by="", adjacency=_unsized),
    Mistake("entry [i, j] counts the edges from i to j", caught_by="", adjacency=_target_first),
    Mistake("adjacency returns a sparse COO tensor", caught_by="", adjacency=_csr),
    Mistake("your matrix is not coalesced", caught_by="", adjacency=_forgot_coalesce),
    Mistake("you counted entries, not different edges", caught_by="", n_edges=lambda A: A._indices().shape[1]),
    Mistake("you added the values up", caught_by="", n_edges=lambda A: A.to_dense().sum().item()),
    Mistake(
        ".indices() and .values() refuse to answer then", caught_by="", n_edges=lambda A: int((A.values() != 0).sum())
    ),
    Mistake("your result is sparse", caught_by="", neighbour_sum=lambda A, x: torch.sparse.mm(A, x.to_sparse())),
    Mistake("neighbour_sum is a product of two matrices", caught_by="", neighbour_sum=torch.mul),
    Mistake("you went along the edges backwards", caught_by="", neighbour_sum=lambda A, x: (x.t() @ A.to_dense()).t()),
]
