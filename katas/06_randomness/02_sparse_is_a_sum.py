"""A sparse tensor is a sum: coordinates, duplicates, coalesce

A graph of a million nodes has a matrix of 10**12 numbers, nearly all of them 0. A sparse COO tensor keeps a list of
entries instead: `indices`, one *column* per entry, so (2, nnz) for a matrix, and `values`, (nnz,);
`torch.sparse_coo_tensor(indices, values, size)` makes one. The tensor is the *sum* of its entries: a coordinate may
come twice, and both values count. `coalesce()` adds such duplicates up and sorts the entries; before that, `.indices()`
and `.values()` refuse to answer.

What bites: your list of edges is (nnz, 2), the other way round. torch complains, except when there are exactly two
edges: (2, 2) fits, and you get another graph. Without a size, the shape ends at the largest index that occurs. An
index that is too large is not checked unless you pass `check_invariants=True`. And of the products only `@` is a
product of matrices, whose result is dense; `*` goes entry by entry and stays sparse.

What is asked: `adjacency` and `neighbour_sum` count an edge as often as it occurs, `n_edges` counts it once.

About 30 minutes. Before it: permute_not_reshape, group_sums.

https://docs.pytorch.org/docs/stable/sparse.html
"""

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def adjacency(edges: torch.Tensor, n: int) -> torch.Tensor:
    """The matrix (n, n) of a directed graph, as a coalesced sparse COO tensor of floats.

    `edges` is (E, 2), int64, E >= 1, and stays as it is: each row [i, j] is an edge from node i to node j. Entry [i, j]
    is the number of such rows, in any float dtype.
    """
    raise NotImplementedError("build a sparse (n, n) tensor and coalesce it")


def n_edges(A: torch.Tensor) -> int:
    """How many different edges has the graph of the sparse matrix `A` (perhaps not coalesced, perhaps without edges)?

    No values of `A` are 0, nor add up to 0. Returns an int (a 0-dim tensor will do).
    """
    raise NotImplementedError("count the distinct entries of A")


def neighbour_sum(A: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Row i: the sum of the rows x[j] over all edges from i to j, each as often as A[i, j] says.

    `A` is sparse, (n, n), perhaps not coalesced; `x` and the result are dense, (n, d); all three are float32, of finite
    values. `A` and `x` stay as they are.
    """
    raise NotImplementedError("sum the rows of x over the neighbours")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

# torch 2.11 says so at the first sparse tensor of a process.
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")

_ORDER = "indices are (2, nnz), a row of sources and a row of targets; your edges are (nnz, 2)"
_COUNTS = "entry [i, j] counts the edges from i to j"
_REFUSE = {"uncoalesced": "A may be uncoalesced: .indices() and .values() refuse to answer then"}


def _graph():
    """0→1 (1 + 1), 0→3 (1), 1→4 (2), 2→0 (3 + 1); nodes 5 and 6 have no edge. Not coalesced."""
    indices = torch.tensor([[0, 2, 0, 1, 0, 2], [1, 0, 1, 4, 3, 0]])
    values = torch.tensor([1.0, 3.0, 1.0, 2.0, 1.0, 1.0])
    return torch.sparse_coo_tensor(indices, values, (7, 7), check_invariants=True)


def _adjacency(edges, n):
    """The learner's matrix, and a dense float32 copy of it."""
    edges = torch.tensor(edges)
    with (
        explain(f"adjacency raised ({_ORDER}; values are (nnz,))"),
        unchanged("adjacency changed the edges that it was given", edges=edges),
    ):
        A = adjacency(edges, n)
    assert isinstance(A, torch.Tensor), f"adjacency returns a sparse tensor, yours is {type(A).__name__}"
    assert A.layout == torch.sparse_coo, f"adjacency returns a sparse COO tensor, the layout of yours is {A.layout}"
    assert A.is_floating_point(), f"adjacency returns a tensor of floats, yours is {A.dtype}"
    # Nobody has checked them, and to_dense() would write outside its memory.
    for row, size in zip(A._indices().tolist(), A.shape, strict=False):
        outside = [i for i in row if not 0 <= i < size]
        assert not outside, (
            f"your matrix is {tuple(A.shape)}, and has entries outside of it, at index {outside}: "
            "nobody checks that, unless you pass check_invariants=True"
        )
    return A, A.to_dense().float()


def test_duplicate_entries_add_up():
    A, dense = _adjacency([[0, 1], [1, 1], [2, 0], [0, 1], [0, 2]], 3)
    want = torch.tensor([[0.0, 2, 1], [0, 1, 0], [1, 0, 0]])
    assert dense.shape == (3, 3), f"adjacency(edges, 3) is (3, 3), yours is {tuple(dense.shape)}"
    assert not torch.equal(dense, want.clamp(max=1)), (
        "the edge 0→1 is there twice, so its entry is 2: you dropped or overwrote the second one"
    )
    check_tensor(dense, want, _COUNTS)
    assert not (A.is_coalesced() and len(A.values()) == 5), (
        "you call it coalesced, but 0→1 is still there in two entries"
    )


def test_two_edges_hide_a_missing_transpose():
    dense = _adjacency([[0, 1], [2, 3]], 4)[1]
    want, untransposed = torch.zeros(4, 4), torch.zeros(4, 4)
    want[0, 1] = want[2, 3] = 1
    untransposed[0, 2] = untransposed[1, 3] = 1
    if dense.shape == want.shape:
        assert not torch.equal(dense, untransposed), f"the edges 0→1, 2→3 became 0→2, 1→3: {_ORDER}"
    check_tensor(dense, want, "the matrix of the edges 0→1 and 2→3 with 4 nodes")


def test_the_size_is_not_in_the_entries():
    dense = _adjacency([[0, 1], [1, 3], [2, 0]], 6)[1]
    assert dense.shape == (6, 6), (
        "n is 6: nodes without edges have a row and a column too, and no entry shows that\n"
        f"expected the shape (6, 6), got {tuple(dense.shape)}"
    )
    want = torch.zeros(6, 6)
    want[0, 1] = want[1, 3] = want[2, 0] = 1
    check_tensor(dense, want, _COUNTS)


def test_values_need_a_coalesced_tensor():
    A = _adjacency([[2, 0], [0, 1], [1, 3]], 5)[0]
    assert A.is_coalesced(), "your matrix is not coalesced: torch must expect duplicates in it, and .values() refuses"
    assert A.values().tolist() == [1, 1, 1], (
        f"three edges, once each: the values are 1, 1, 1, not {A.values().tolist()}"
    )


def test_an_entry_is_not_an_edge():
    n = _n_edges(_graph())
    assert n != 6, "0→1 and 2→0 stand in two entries each: you counted entries, not different edges"
    assert n != 9, "you added the values up: the weight of an edge is not a number of edges"
    assert n == 4, f"A has the edges 0→1, 0→3, 1→4 and 2→0, so 4; yours are {n}"
    n = _n_edges(_graph().coalesce())
    assert n == 4, f"coalesced, A has the edges 0→1, 0→3, 1→4 and 2→0 still, so 4; yours are {n}"
    n = _n_edges(_graph().coalesce() * -0.5)
    assert n == 4, f"a weight may be negative, or below 1, and the edge is there: 4 edges, yours are {n}"
    n = _n_edges(torch.sparse_coo_tensor(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0), (7, 7)))
    assert n == 0, f"a graph of 7 nodes and no edge has 0 edges; yours are {n}"


def _n_edges(A):
    with explain("n_edges raised", where=_REFUSE):
        n = n_edges(A)
    if isinstance(n, torch.Tensor):
        assert n.numel() == 1, f"n_edges returns one number, yours is a tensor of shape {tuple(n.shape)}"
        n = n.item()
    assert isinstance(n, int) or hasattr(n, "__index__"), f"n_edges returns an int, yours is {type(n).__name__}: {n}"
    return int(n)


@pytest.mark.parametrize("width", [2, 7], ids=["2 columns", "as many columns as nodes"])
def test_a_sparse_matrix_sums_over_neighbours(width):
    """With as many columns as nodes, even `*` fits."""
    A, x = _graph(), torch.arange(1.0, 7 * width + 1).view(width, 7).t()
    before, zero = x.clone(), torch.zeros(width)
    want = torch.stack([2 * before[1] + before[3], 2 * before[4], 4 * before[0], *[zero] * 4])
    backwards = torch.stack([4 * before[2], 2 * before[0], zero, before[0], 2 * before[1], zero, zero])
    star = "neighbour_sum is a product of two matrices, (n, n) by (n, d); `*` multiplies entry by entry"
    with (
        explain("neighbour_sum raised", where={"size|expand|broadcast|shape": star, **_REFUSE}),
        unchanged("neighbour_sum changed what it was given", A=A, x=x),
    ):
        y = neighbour_sum(A, x)
    if isinstance(y, torch.Tensor):
        assert y.layout == torch.strided, "your result is sparse: `*` (or a sparse x) keeps the layout, A @ x is dense"
        assert not (y.shape == want.shape and torch.equal(y, backwards)), (
            "you went along the edges backwards: row i of A holds the edges that leave i"
        )
    check_tensor(y, want, "row i is the sum of the rows x[j], times A[i, j] (entries that come twice count twice)")
    with explain("neighbour_sum raised for a coalesced matrix"):
        y = neighbour_sum(A.coalesce() * 2, x)
    check_tensor(y, 2 * want, "with another A, of twice the values, each row is twice as large")
