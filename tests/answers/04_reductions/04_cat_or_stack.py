"""Answers that people give to cat_or_stack, right ones and wrong ones."""

import numpy as np
import torch
import torch.nn.functional as F

from dojo import Mistake


def _fill(samples):
    shapes = {s.shape for s in samples}
    if len(shapes) != 1:
        raise ValueError(f"ragged samples: {shapes}")
    out = torch.empty(len(samples), *samples[0].shape, dtype=samples[0].dtype)
    for i, s in enumerate(samples):
        out[i] = s
    return out


def _append_with_a_buffer(a, b):
    out = a.new_empty(len(a) + len(b), a.shape[1])
    out[: len(a)] = a
    out[len(a) :] = b
    return out


def _fill_with_broadcast(samples):
    out = torch.zeros(len(samples), *samples[0].shape, dtype=samples[0].dtype)
    for i, s in enumerate(samples):
        out[i, ...] = s
    return out


def _fill_without_graph(samples):
    out = torch.zeros(len(samples), *samples[0].shape, dtype=samples[0].dtype)
    for row, s in zip(out, samples, strict=True):
        row.copy_(s.detach())
    return out


def _pad_by_hand(samples):
    longest = max(s.numel() for s in samples)
    if samples[0].dim() == 0:
        return torch.stack(samples)
    return torch.stack([F.pad(s, (0, longest - len(s))) for s in samples])


def _stack_with_assert(samples):
    assert len({s.shape for s in samples}) == 1, "samples of different shapes"
    return torch.stack(samples)


def _vstack_or_hstack(samples):
    if any(s.shape != samples[0].shape for s in samples):
        raise TypeError("samples of different shapes")
    return torch.vstack(samples) if samples[0].dim() else torch.hstack(samples)


RIGHT = [
    dict(collate=_stack_with_assert, append_rows=lambda a, b: torch.concatenate([a, b], axis=0)),
    dict(collate=_vstack_or_hstack, append_rows=lambda a, b: a.new_tensor(a.tolist() + b.tolist())),
    dict(
        collate=lambda samples: torch.stack(tuple(samples), 0),
        append_rows=lambda a, b: torch.nn.functional.pad(a, (0, 0, 0, len(b))).index_add(
            0, torch.arange(len(a), len(a) + len(b)), b
        ),
    ),
    dict(append_rows=lambda a, b: torch.from_numpy(__import__("numpy").vstack([a.numpy(), b.numpy()]))),
    {
        "collate": lambda samples: torch.cat([s.unsqueeze(0) for s in samples]),
        "append_rows": lambda a, b: torch.vstack((a, b)),
    },
    {"collate": _fill, "append_rows": _append_with_a_buffer},
    {"collate": torch.utils.data.default_collate, "append_rows": lambda a, b: torch.stack([*a, *b])},
    {
        "collate": lambda samples: torch.stack(samples, dim=-1).movedim(-1, 0),
        "append_rows": lambda a, b: torch.cat((a.t(), b.t()), dim=1).t(),
    },
    {
        "collate": lambda samples: torch.cat([s[None] for s in samples], 0),
        "append_rows": lambda a, b: torch.concat([a, b]),
    },
]

WRONG = [
    Mistake(
        "keeps the dtype, torch.int64",
        caught_by="",
        append_rows=lambda a, b: torch.from_numpy(np.array([*a.double(), *b.double()])).to(a.dtype),
    ),
    Mistake("keeps the dtype, torch.float64", caught_by="", append_rows=lambda a, b: torch.vstack((a, b)).float()),
    Mistake("in the samples' own dtype, torch.float64", caught_by="", collate=lambda s: torch.stack(s).float()),
    Mistake(
        "nothing is padded, cut, repeated",
        caught_by="",
        collate=lambda s: torch.stack([x.reshape(s[0].shape) for x in s]),
    ),
    Mistake("become a batch of shape", caught_by="", collate=lambda s: torch.nested.nested_tensor(s)),
    Mistake(
        "nothing is padded, cut, repeated",
        caught_by="",
        collate=lambda s: torch.cat([x.reshape(-1) for x in s]).view(
            len(s), *s[0].shape[:-1], *(-1 for _ in s[0].shape)
        ),
    ),
    Mistake("become a batch of shape", caught_by="", collate=lambda s: torch.stack(s[::-1])),
    Mistake("become a batch of shape", caught_by="", collate=lambda s: sum(s)),
    Mistake("has 6 rows", caught_by="", append_rows=lambda a, b: torch.cat([a, b]).unique(dim=0).flip(0)),
    Mistake("you laid the samples end to end", caught_by="", collate=lambda s: torch.hstack(s)),
    Mistake("torch.tensor reads numbers, not vectors", caught_by="", collate=lambda s: torch.as_tensor(s)),
    Mistake("your samples became columns", caught_by="", collate=lambda s: torch.column_stack(s)),
    Mistake("become a batch of shape", caught_by="", collate=lambda s: torch.stack(s)[None]),
    Mistake(
        "a scalar has no dimension to be laid along", caught_by="", collate=lambda s: torch.cat(s).reshape(len(s), -1)
    ),
    Mistake(
        "in the samples' own dtype",
        caught_by="",
        collate=lambda s: torch.Tensor([x.item() for x in s]) if s[0].dim() == 0 else torch.stack(s),
    ),
    Mistake("the graph is cut", caught_by="", collate=_fill_without_graph),
    Mistake(
        "the graph is cut",
        caught_by="",
        collate=lambda s: torch.stack([x.detach() for x in s]),
    ),
    Mistake("they belong below", caught_by="", append_rows=lambda a, b: torch.cat([a, b], -1)),
    Mistake("you made a new dimension", caught_by="", append_rows=lambda a, b: torch.cat([a[None], b[None]])),
    Mistake("has 6 rows", caught_by="", append_rows=lambda a, b: [a, b]),
    Mistake("nothing is padded, cut, repeated", caught_by="", collate=_fill_with_broadcast),
    Mistake("nothing is padded, cut, repeated", caught_by="", collate=_pad_by_hand),
    Mistake("has 6 rows", caught_by="", append_rows=lambda a, b: np.concatenate([a, b])),
]
