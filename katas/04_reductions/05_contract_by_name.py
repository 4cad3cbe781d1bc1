"""Contract by name: *, @, bmm and einsum

`a * b` multiplies value by value, with broadcasting. `a @ b` sums over the *last* dimension of `a` and the
*second-to-last* of `b`, and all dimensions before these are a batch. That rule looks at positions and sizes only, it
knows no names. Where sizes are equal by chance, a wrong product runs: `q @ k` instead of `q @ kᵀ` when sequence and
feature are equally long, or `A @ v` with a batch of vectors `v`, which is taken for one matrix.

Transposing is the next trap. `k.T` of a 4-D tensor reverses *all* dimensions (it warns); you mean the last two, `k.mT`.
`k.view(B, H, D, S)` has the right shape and the wrong numbers: view only cuts memory anew.

`torch.einsum` names the dimensions instead: a letter that is missing on the right side is summed over. For two
matrices, `torch.einsum("ij,jk->ik", a, b)` is `a @ b`. Write the arrow always: without it the letters of the result
come in alphabetical order, so `einsum("ba", x)` silently transposes x.

What is asked here: `scores` are attention's raw scores, no softmax: for each place of a text a *query* is compared with
a *key* of each place. Inputs are float32 or float64, with any strides, and stay as they are; products and sums are
computed in their dtype, and the result has it. (Only √D may be rounded to float32.)

About 20 minutes. Before it: permute_not_reshape, the_silent_outer_product.
Path: numpy

https://docs.pytorch.org/docs/stable/generated/torch.einsum.html
"""

import math
from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def scores(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """`q`: (B, H, T, D), `k`: (B, H, S, D). The dot product of each query with each key of its head, over √D.

    Returns (B, H, T, S).
    """
    raise NotImplementedError("compare each query with each key")


def batch_matvec(A: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """`A`: (B, N, M), `v`: (B, M). Matrix b times vector b, for each b of the batch: (B, N)."""
    raise NotImplementedError("multiply each matrix by its own vector")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_CLOSE: Any = {"rtol": 1e-4, "atol": 1e-4}
_SIZES = "must match|cannot be multiplied|[Ee]xpected size|does not broadcast"  # what torch says of a wrong product


@pytest.mark.parametrize(
    "sizes", [(2, 3, 5, 7, 6), (1, 1, 1, 2, 3)], ids=["all sizes different", "one head, one query"]
)
def test_attention_scores_contract_the_features(sizes):
    b, h, t, s, d = sizes
    q, k = _numbers(b, t, h, d).transpose(1, 2), _numbers(b, s, h, d).transpose(1, 2)  # as heads are cut out
    raw = _scores_in_loops(q, k)
    meet = {_SIZES: "D of q has to meet D of k, within each head"}
    with (
        explain(f"scores raised for (B, H, T, S, D) = {sizes}", where=meet),
        unchanged("you changed q or k in place", q=q, k=k),
    ):
        got = scores(q, k)
    viewed = q @ k.reshape(b, h, d, s)
    assert not _like(got, viewed, viewed / d**0.5), (
        "you gave k another shape by view or reshape: that does not transpose"
    )
    assert t == 1 or not _like(got, raw), "the scores are not scaled: each is to be divided by √D"
    assert not _like(got, raw / d), f"you divided by D = {d}: its square root is asked for"
    assert not _like(got, *(raw / n**0.5 for n in (t, s, h))), "you divided by the root of another size than D"
    assert not _like(got, (raw / d**0.5).softmax(-1)), "you took the softmax: the raw scores are asked for"
    check_tensor(
        got, raw / d**0.5, "scores[b, h, t, s] is the dot product of q[b, h, t] and k[b, h, s] over √D", **_CLOSE
    )
    q = torch.tensor([[[[100000.25, 100000.5]]]], dtype=torch.float64)
    k = torch.tensor([[[[100001.5, -100001.25], [1.0, 3.0], [0.0, 2.0]]]], dtype=torch.float64)
    with explain("scores raised for float64"):
        got = scores(q, k)
    want = torch.tensor([[[[-0.25, 400001.75, 200001.0]]]], dtype=torch.float64) / 2**0.5
    check_tensor(got, want, "float64 in: the scores are computed in float64 (float32 rounds)", rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:The use of `x.T`")
def test_equal_sizes_hide_a_missing_transpose():
    """With B = H = T = S = D every one of these products runs, and has the right shape."""
    q, k = _numbers(3, 3, 3, 3), _numbers(3, 3, 3, 3).flip(0, 2)
    raw = _scores_in_loops(q, k)
    with explain("scores raised with all sizes equal"):
        got = scores(q.clone(), k.clone())
    straight, reversed_, heads = q @ k, q @ k.permute(3, 2, 1, 0), q @ k.transpose(1, 2)
    root = 3**0.5
    assert not _like(got, straight, straight / root), "you summed over the wrong dimension of k: D of q met S of k"
    assert not _like(got, reversed_, reversed_ / root), (
        "k.T reverses all four dimensions: only the last two change places"
    )
    assert not _like(got, heads, heads / root), "you exchanged heads and positions: only the last two dimensions change"
    assert not _like(got, (raw / root).mT), "your scores are (B, H, S, T): each row belongs to a query"
    check_tensor(
        got, raw / root, "scores[b, h, t, s] is the dot product of q[b, h, t] and k[b, h, s] over √D", **_CLOSE
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("batch", [2, 1], ids=["2 matrices", "one matrix"])
def test_each_matrix_meets_its_own_vector(batch, dtype):
    A, v = _numbers(batch, 4, 3).to(dtype).mT / 3, _numbers(4, batch).to(dtype).t() / 7
    want = _matvec_in_loops(A, v)
    meet = {_SIZES: "M of A has to meet M of v, for each b"}
    with (
        explain(f"batch_matvec raised for A (B, N, M) = ({batch}, 3, 4)", where=meet),
        unchanged("you changed A or v in place", A=A, v=v),
    ):
        got = batch_matvec(A, v)
    shape = tuple(getattr(got, "shape", ()))
    lost = batch == 1 and shape == (3,)
    assert not lost, "a batch of one is still a batch, (1, 3), and your result has lost it: was too much squeezed?"
    assert shape != (3, batch), f"your result is (3, {batch}): the batch comes first, each b has a row of N = 3 values"
    assert shape != (3,), "the batch is gone, its results were summed: each b keeps a row of its own"
    assert shape != (batch, 3, 1), "one dimension too many: a product with a column is a column, drop that dimension"
    assert shape != (batch, 3, 4), "you multiplied value by value, or did not sum over M: the sum over M is missing"
    near: Any = _CLOSE if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    check_tensor(got, want, "row b of the result is matrix b times vector b, as exact as the dtype", **near)


def test_a_batch_of_vectors_is_taken_for_a_matrix_if_the_sizes_agree():
    A, v = _numbers(3, 3, 3), _numbers(3, 3).flip(0)
    with explain("batch_matvec raised with all sizes equal"):
        got = batch_matvec(A.clone(), v.clone())
    matrix = "A @ v took your batch of vectors for one matrix: each vector has to become a column of its own"
    assert not _like(got, A @ v), matrix
    assert not _like(got, A @ v.t()), "every matrix met every vector: matrix b belongs to vector b alone"
    assert not _like(got, (A * v).sum(-1)), "A * v broadcasts from the right: the batch of v met the rows of A"
    assert not _like(got, _matvec_in_loops(A.mT, v)), "you summed over the rows of A: the columns, M, have to disappear"
    check_tensor(got, _matvec_in_loops(A, v), "row b of the result is matrix b times vector b", **_CLOSE)


def _numbers(*shape):
    """Small numbers without a pattern."""
    n = math.prod(shape)
    return (((torch.arange(n) * 37 + torch.arange(n) ** 2) % 23 - 9) / 4).view(shape)


def _scores_in_loops(q, k):
    """Unscaled."""
    rows = [(q[:, :, i] * k[:, :, j]).sum(-1) for i in range(q.shape[2]) for j in range(k.shape[2])]
    return torch.stack(rows, -1).unflatten(-1, (q.shape[2], k.shape[2]))


def _matvec_in_loops(A, v):
    return torch.stack([torch.stack([(row * w).sum() for row in matrix]) for matrix, w in zip(A, v, strict=True)])


def _like(got, *symptoms):
    """Is `got` what a typical mistake gives?"""
    return isinstance(got, torch.Tensor) and any(
        got.shape == s.shape and torch.allclose(got.double(), s.double(), **_CLOSE) for s in symptoms
    )
