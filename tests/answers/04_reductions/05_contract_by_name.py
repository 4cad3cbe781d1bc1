"""Answers that people give to contract_by_name, right ones and wrong ones."""

import math

import torch

from dojo import Mistake


def _scores_in_loops(q, k):
    B, H, T, D = q.shape
    out = q.new_zeros(B, H, T, k.shape[2])
    for b in range(B):
        for h in range(H):
            for t in range(T):
                for s in range(k.shape[2]):
                    out[b, h, t, s] = torch.dot(q[b, h, t], k[b, h, s]) / math.sqrt(D)
    return out


def _scores_by_bmm(q, k):
    B, H, T, D = q.shape
    flat = torch.bmm(q.reshape(B * H, T, D), k.reshape(B * H, -1, D).transpose(1, 2))
    return flat.view(B, H, T, -1) / torch.sqrt(torch.tensor(D))


RIGHT = [
    dict(
        scores=lambda q, k: torch.matmul(q * (q.size(-1) ** -0.25), (k * (k.size(-1) ** -0.25)).mT),
        batch_matvec=lambda A, v: (v.unsqueeze(1) @ A.mT).squeeze(1),
    ),
    dict(
        scores=lambda q, k: (k @ q.mT).mT / q.shape[-1] ** 0.5,
        batch_matvec=lambda A, v: torch.baddbmm(torch.zeros(A.shape[0], A.shape[1], 1, dtype=A.dtype), A, v[..., None])[
            ..., 0
        ],
    ),
    dict(
        scores=lambda q, k: q @ k.transpose(-2, -1) / math.sqrt(q.size(-1)),
        batch_matvec=lambda A, v: (A @ v.unsqueeze(-1)).squeeze(-1),
    ),
    dict(scores=_scores_in_loops, batch_matvec=lambda A, v: torch.stack([m @ x for m, x in zip(A, v, strict=True)])),
    dict(scores=_scores_by_bmm, batch_matvec=lambda A, v: torch.bmm(A, v[:, :, None])[:, :, 0]),
    dict(
        scores=lambda q, k: (q.unsqueeze(3) * k.unsqueeze(2)).sum(-1) * q.shape[-1] ** -0.5,
        batch_matvec=lambda A, v: (A * v.unsqueeze(1)).sum(dim=-1),
    ),
    dict(
        scores=lambda q, k: torch.einsum("...td,...sd->...ts", q / q.shape[-1] ** 0.5, k),
        batch_matvec=lambda A, v: torch.vmap(torch.mv)(A, v),
    ),
    dict(batch_matvec=lambda A, v: torch.linalg.vecdot(A, v[:, None])),
]

WRONG = [
    Mistake("the batch comes first", caught_by="", batch_matvec=lambda A, v: torch.einsum("bnm,bm->nb", A, v)),
    Mistake("another size than D", caught_by="", scores=lambda q, k: q @ k.mT / math.sqrt(q.shape[1] * q.shape[3])),
    Mistake("D of q met S of k", caught_by="", scores=lambda q, k: torch.einsum("bhts,bhsd->bhtd", q, k)),
    Mistake("you took the softmax", caught_by="", scores=lambda q, k: (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-2)),
    Mistake("for one matrix", caught_by="", batch_matvec=lambda A, v: A @ v[0]),
    Mistake("D of q has to meet D of k", caught_by="", scores=lambda q, k: torch.einsum("bhtd,bhds->bhts", q, k)),
    Mistake("D of q met S of k", caught_by="", scores=lambda q, k: torch.matmul(q, k).div(math.sqrt(q.shape[-1]))),
    Mistake("k.T reverses all four", caught_by="", scores=lambda q, k: q @ k.permute(3, 2, 1, 0)),
    Mistake(
        "that does not transpose", caught_by="", scores=lambda q, k: q @ k.view(k.shape[0], k.shape[1], k.shape[3], -1)
    ),
    Mistake("the scores are not scaled", caught_by="", scores=lambda q, k: torch.einsum("bhtd,bhsd->bhts", q, k)),
    Mistake("the scores are not scaled", caught_by="", scores=lambda q, k: q @ k.mT * q.shape[-1] ** 0.5),
    Mistake("another size than D", caught_by="", scores=lambda q, k: q @ k.mT / math.sqrt(k.shape[2])),
    Mistake("another size than D", caught_by="", scores=lambda q, k: q @ k.mT / math.sqrt(q.shape[1])),
    Mistake(
        "you took the softmax",
        caught_by="",
        scores=lambda q, k: torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1),
    ),
    Mistake(
        "each row belongs to a query",
        caught_by="",
        scores=lambda q, k: torch.einsum("bhtd,bhsd->bhst", q, k) / q.shape[-1] ** 0.5,
    ),
    Mistake("for one matrix", caught_by="", batch_matvec=torch.matmul),
    Mistake(
        "a batch of one is still",
        caught_by="",
        batch_matvec=lambda A, v: torch.bmm(A, v.unsqueeze(2)).squeeze(),
    ),
    Mistake("one dimension too many", caught_by="", batch_matvec=lambda A, v: torch.bmm(A, v.unsqueeze(2))),
    Mistake("the sum over M is missing", caught_by="", batch_matvec=lambda A, v: torch.einsum("bnm,bm->bnm", A, v)),
    Mistake(
        "every matrix met every vector", caught_by="", batch_matvec=lambda A, v: torch.tensordot(A, v, dims=([2], [1]))
    ),
    Mistake("you summed over the rows of A", caught_by="", batch_matvec=lambda A, v: (v[:, None] @ A)[:, 0]),
]
