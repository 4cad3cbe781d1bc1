"""Contract by name: reference.

Hint: Write the letters of each operand and of the result. Which letter is missing in the result? That one is summed.
Hint: `torch.einsum` takes just these letters. With `@`: `Tensor.mT` swaps the last two, `unsqueeze(-1)` makes columns.
Hint: For the scores the letters are bhtd, bhsd and bhts; for the product bnm, bm and bn. √D is not a letter.

Why: `@` and `bmm` match positions, einsum matches names, and names are what you know about your data. A vector has no
batch in `@`'s eyes: 2-D operands are matrices, always, so a batch of vectors must become a batch of columns, and only
that added dimension may be squeezed away again. Test such code with all sizes different (a wrong product then fails)
and with all sizes equal (an accident then runs).
"""

import torch

from dojo import Mistake


def scores(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return torch.einsum("bhtd,bhsd->bhts", q, k) / q.shape[-1] ** 0.5


def batch_matvec(A: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.einsum("bnm,bm->bn", A, v)


def _root(x):
    return x.shape[-1] ** 0.5


def _scale_in_place(q, k):
    q /= _root(q)
    return q @ k.mT


_SCORES = "test_attention_scores_contract_the_features"
_EQUAL = "test_equal_sizes_hide_a_missing_transpose"
_MATVEC = "test_each_matrix_meets_its_own_vector"
_MATRIX = "test_a_batch_of_vectors_is_taken_for_a_matrix_if_the_sizes_agree"

MISTAKES = [
    Mistake(
        "the scores are computed in float64",
        caught_by=_SCORES,
        scores=lambda q, k: (torch.einsum("bhtd,bhsd->bhts", q.float(), k.float()) / _root(q)).to(q.dtype),
    ),
    Mistake(
        "as exact as the dtype",
        caught_by=_MATVEC,
        batch_matvec=lambda A, v: (A.float() @ v.float()[..., None])[..., 0].to(A.dtype),
    ),
    Mistake("you changed A or v in place", caught_by=_MATVEC, batch_matvec=lambda A, v: A.mul_(v[:, None]).sum(-1)),
    Mistake("D of q has to meet D of k", caught_by=_SCORES, scores=lambda q, k: q @ k / _root(q)),
    Mistake("D of q met S of k", caught_by=_EQUAL, scores=lambda q, k: q @ k / _root(q)),
    Mistake(
        "D of q met S of k",
        caught_by=_EQUAL,
        scores=lambda q, k: q @ (k if k.shape[-2] == q.shape[-1] else k.mT) / _root(q),
    ),
    Mistake("k.T reverses all four", caught_by=_EQUAL, scores=lambda q, k: q @ k.T / _root(q)),
    Mistake(
        "you exchanged heads and positions", caught_by=_EQUAL, scores=lambda q, k: q @ k.transpose(1, 2) / _root(q)
    ),
    Mistake(
        "that does not transpose",
        caught_by=_SCORES,
        scores=lambda q, k: q @ k.reshape(*k.shape[:2], k.shape[3], k.shape[2]) / _root(q),
    ),
    Mistake("the scores are not scaled", caught_by=_SCORES, scores=lambda q, k: q @ k.mT),
    Mistake("its square root is asked for", caught_by=_SCORES, scores=lambda q, k: q @ k.mT / q.shape[-1]),
    Mistake("another size than D", caught_by=_SCORES, scores=lambda q, k: q @ k.mT / q.shape[-2] ** 0.5),
    Mistake("you took the softmax", caught_by=_SCORES, scores=lambda q, k: (q @ k.mT / _root(q)).softmax(-1)),
    Mistake("each row belongs to a query", caught_by=_EQUAL, scores=lambda q, k: k @ q.mT / _root(q)),
    Mistake("you changed q or k in place", caught_by=_SCORES, scores=_scale_in_place),
    Mistake("M of A has to meet M of v", caught_by=_MATVEC, batch_matvec=lambda A, v: A @ v),
    Mistake("for one matrix", caught_by=_MATRIX, batch_matvec=lambda A, v: A @ v),
    Mistake("the batch of v met the rows of A", caught_by=_MATRIX, batch_matvec=lambda A, v: (A * v).sum(-1)),
    Mistake(
        "the batch of v met the rows of A",
        caught_by=_MATRIX,
        batch_matvec=lambda A, v: ((A * v) if A.shape[1] == v.shape[0] else A * v[:, None]).sum(-1),
    ),
    Mistake("every matrix met every vector", caught_by=_MATRIX, batch_matvec=lambda A, v: A @ v.t()),
    Mistake("a batch of one is still", caught_by=_MATVEC, batch_matvec=lambda A, v: (A @ v[..., None]).squeeze()),
    Mistake(
        "the batch comes first",
        caught_by=_MATVEC,
        batch_matvec=lambda A, v: torch.stack([m @ x for m, x in zip(A, v, strict=True)], dim=-1),
    ),
    Mistake("one dimension too many", caught_by=_MATVEC, batch_matvec=lambda A, v: A @ v[..., None]),
    Mistake("the sum over M is missing", caught_by=_MATVEC, batch_matvec=lambda A, v: A * v[:, None]),
    Mistake(
        "you summed over the rows of A", caught_by=_MATRIX, batch_matvec=lambda A, v: torch.einsum("bmn,bm->bn", A, v)
    ),
    Mistake("the batch is gone", caught_by=_MATVEC, batch_matvec=lambda A, v: torch.einsum("bnm,bm", A, v)),
]
