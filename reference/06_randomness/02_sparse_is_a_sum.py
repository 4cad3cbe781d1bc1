"""A sparse tensor is a sum: reference.

Hint: Write the entries of a small graph down as torch wants them: all sources in one row, all targets in another.
Which of your three functions needs the duplicates added up first, and which does not care?
Hint: `torch.sparse_coo_tensor(indices, values, size)` builds it, `coalesce` adds up; `@` is the product of matrices.
Hint: The indices are the transposed edges, the values a 1 per edge, the size (n, n); a coalesced tensor's `.values()`
has one number per different edge.

Why: The entries of a COO tensor are a sum, so duplicates are legal and building it is cheap: nothing is sorted or
merged until `coalesce()`. What is linear (`@`, adding, `to_dense`) needs no coalescing; what looks at single entries
(`values()`, counting, a nonlinear function) does. `_nnz()` counts entries, not coordinates. torch trusts your indices:
with `check_invariants=True` a wrong one is an error instead of memory that is not yours.
"""

import torch

from dojo import Mistake


def adjacency(edges: torch.Tensor, n: int) -> torch.Tensor:
    ones = torch.ones(len(edges))
    return torch.sparse_coo_tensor(edges.t(), ones, (n, n), check_invariants=True).coalesce()


def n_edges(A: torch.Tensor) -> int:
    return A.coalesce().values().numel()


def neighbour_sum(A: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return A @ x


def _unchecked(indices, n):
    return torch.sparse_coo_tensor(indices, torch.ones(indices.shape[1]), (n, n)).coalesce()


def _coo(indices, *size):
    return torch.sparse_coo_tensor(indices, torch.ones(indices.shape[1]), *size, check_invariants=True)


def _overwrite(edges, n):
    dense = torch.zeros(n, n)
    dense[edges[:, 0], edges[:, 1]] = 1
    return dense.to_sparse()


def _add_to_some(edges, n):
    dense = torch.zeros(n, n)
    dense[edges[:, 0], edges[:, 1]] += 1
    return dense.to_sparse()


def _both_ways(edges, n):
    return _coo(torch.cat([edges, edges.flip(1)]).t(), (n, n)).coalesce()


def _as_it_comes(edges, n):
    indices = edges if edges.shape[0] == 2 else edges.t()
    return _coo(indices, (n, n)).coalesce()


def _no_loops(edges, n):
    return _coo(edges[edges[:, 0] != edges[:, 1]].t(), (n, n)).coalesce()


def _dense(edges, n):
    return torch.zeros(n, n).index_put((edges[:, 0], edges[:, 1]), torch.ones(len(edges)), accumulate=True)


def _lie(edges, n):
    ones = torch.ones(len(edges))
    return torch.sparse_coo_tensor(edges.t(), ones, (n, n), is_coalesced=True, check_invariants=False)


def _mean(A, x):
    A = A.to_dense()
    return A @ x / A.sum(1, keepdim=True).clamp(min=1)


def _one_neighbour(A, x):
    A = A.coalesce()
    source, target = A.indices()
    out = torch.zeros_like(x)
    out[source] += A.values()[:, None] * x[target]
    return out


def _without_coalescing(A, x):
    source, target = A.indices()
    return torch.zeros_like(x).index_add_(0, source, A.values()[:, None] * x[target])


_COUNTS_TWICE = "you dropped or overwrote the second one"
_PRODUCT = "neighbour_sum is a product of two matrices"

MISTAKES = [
    Mistake(
        "a weight may be negative",
        caught_by="test_an_entry_is_not_an_edge",
        n_edges=lambda A: int((A.to_dense() > 0).sum()),
    ),
    Mistake(
        "adjacency returns a tensor of floats",
        caught_by="test_duplicate_entries_add_up",
        adjacency=lambda edges, n: torch.sparse_coo_tensor(
            edges.t(), torch.ones(len(edges), dtype=torch.int64), (n, n)
        ).coalesce(),
    ),
    Mistake(
        "adjacency changed the edges",
        caught_by="test_duplicate_entries_add_up",
        adjacency=lambda edges, n: _coo(edges.t_(), (n, n)).coalesce(),
    ),
    Mistake(
        "n_edges returns an int", caught_by="test_an_entry_is_not_an_edge", n_edges=lambda A: f"{A.coalesce()._nnz()}"
    ),
    Mistake(
        "has 0 edges",
        caught_by="test_an_entry_is_not_an_edge",
        n_edges=lambda A: max(1, A.coalesce()._nnz()),
    ),
    Mistake(
        "indices are (2, nnz), a row of sources and a row of targets",
        caught_by="test_duplicate_entries_add_up",
        adjacency=lambda edges, n: torch.sparse_coo_tensor(edges, torch.ones(len(edges)), (n, n)).coalesce(),
    ),
    Mistake(
        "the edges 0→1, 2→3 became 0→2, 1→3",
        caught_by="test_two_edges_hide_a_missing_transpose",
        adjacency=_as_it_comes,
    ),
    Mistake(_COUNTS_TWICE, caught_by="test_duplicate_entries_add_up", adjacency=_overwrite),
    Mistake(_COUNTS_TWICE, caught_by="test_duplicate_entries_add_up", adjacency=_add_to_some),
    Mistake(
        _COUNTS_TWICE,
        caught_by="test_duplicate_entries_add_up",
        adjacency=lambda edges, n: _coo(edges.unique(dim=0).t(), (n, n)).coalesce(),
    ),
    Mistake(
        "entry [i, j] counts the edges from i to j", caught_by="test_duplicate_entries_add_up", adjacency=_both_ways
    ),
    Mistake(
        "entry [i, j] counts the edges from i to j",
        caught_by="test_duplicate_entries_add_up",
        adjacency=lambda edges, n: _coo(edges.flip(1).t(), (n, n)).coalesce(),
    ),
    Mistake(
        "entry [i, j] counts the edges from i to j", caught_by="test_duplicate_entries_add_up", adjacency=_no_loops
    ),
    Mistake(
        "nodes without edges have a row and a column too",
        caught_by="test_the_size_is_not_in_the_entries",
        adjacency=lambda edges, n: _coo(edges.t()).coalesce(),
    ),
    Mistake(
        "nodes without edges have a row and a column too",
        caught_by="test_the_size_is_not_in_the_entries",
        adjacency=lambda edges, n: _coo(edges.t(), (int(edges.max()) + 1,) * 2).coalesce(),
    ),
    Mistake(
        "your matrix is not coalesced",
        caught_by="test_values_need_a_coalesced_tensor",
        adjacency=lambda edges, n: _coo(edges.t(), (n, n)),
    ),
    Mistake(
        "has entries outside of it",
        caught_by="test_the_size_is_not_in_the_entries",
        adjacency=lambda edges, n: _unchecked(edges.t(), max(len(edges), 3)),
    ),
    Mistake(
        "has entries outside of it",
        caught_by="test_duplicate_entries_add_up",
        adjacency=lambda edges, n: _unchecked(edges.t() - 1, n),
    ),
    Mistake("you call it coalesced, but 0→1 is still there", caught_by="test_duplicate_entries_add_up", adjacency=_lie),
    Mistake("adjacency returns a sparse COO tensor", caught_by="test_duplicate_entries_add_up", adjacency=_dense),
    Mistake(
        "you counted entries, not different edges", caught_by="test_an_entry_is_not_an_edge", n_edges=lambda A: A._nnz()
    ),
    Mistake(
        ".indices() and .values() refuse to answer then",
        caught_by="test_an_entry_is_not_an_edge",
        n_edges=lambda A: A.indices().shape[1],
    ),
    Mistake(
        "A has the edges 0→1, 0→3, 1→4 and 2→0",
        caught_by="test_an_entry_is_not_an_edge",
        n_edges=lambda A: A.coalesce().values().unique().numel(),
    ),
    Mistake(
        "you added the values up",
        caught_by="test_an_entry_is_not_an_edge",
        n_edges=lambda A: int(A.coalesce().values().sum()),
    ),
    Mistake(
        "A has the edges 0→1, 0→3, 1→4 and 2→0",
        caught_by="test_an_entry_is_not_an_edge",
        n_edges=lambda A: A.coalesce().indices().numel(),
    ),
    Mistake(
        "A has the edges 0→1, 0→3, 1→4 and 2→0",
        caught_by="test_an_entry_is_not_an_edge",
        n_edges=lambda A: len(A),
    ),
    Mistake(_PRODUCT, caught_by="test_a_sparse_matrix_sums_over_neighbours", neighbour_sum=lambda A, x: A * x),
    Mistake(
        "your result is sparse",
        caught_by="test_a_sparse_matrix_sums_over_neighbours",
        neighbour_sum=lambda A, x: A * x,
    ),
    Mistake(
        "your result is sparse",
        caught_by="test_a_sparse_matrix_sums_over_neighbours",
        neighbour_sum=lambda A, x: A @ x.to_sparse(),
    ),
    Mistake(
        "you went along the edges backwards",
        caught_by="test_a_sparse_matrix_sums_over_neighbours",
        neighbour_sum=lambda A, x: A.t() @ x,
    ),
    Mistake(
        "entries that come twice count twice",
        caught_by="test_a_sparse_matrix_sums_over_neighbours",
        neighbour_sum=lambda A, x: (A.to_dense() != 0).float() @ x,
    ),
    Mistake(
        "row i is the sum of the rows",
        caught_by="test_a_sparse_matrix_sums_over_neighbours",
        neighbour_sum=_one_neighbour,
    ),
    Mistake(
        ".indices() and .values() refuse to answer then",
        caught_by="test_a_sparse_matrix_sums_over_neighbours",
        neighbour_sum=_without_coalescing,
    ),
    Mistake("row i is the sum of the rows", caught_by="test_a_sparse_matrix_sums_over_neighbours", neighbour_sum=_mean),
]
