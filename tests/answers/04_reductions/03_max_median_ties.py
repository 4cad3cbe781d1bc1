"""Answers that people give to max_median_ties, right ones and wrong ones."""

import numpy as np
import torch

from dojo import Mistake


def _median_of_the_sorted(x):
    s = torch.sort(x).values
    n = s.numel()
    return s[n // 2] if n % 2 else s[n // 2 - 1 : n // 2 + 1].mean()


def _first_hit(x):
    return (x == x.amax(1, keepdim=True)).int().argmax(1)


def _rank_in_python(scores):
    return torch.tensor(sorted(range(len(scores)), key=lambda i: -scores[i].item()))


def _lift(x, lo):
    out = x.clone()
    out[out < lo] = lo
    return out


RIGHT = [
    dict(
        floor_at=lambda x, lo: torch.stack([x, torch.full_like(x, lo)]).amax(0),
        top1=lambda x: (x == x.amax(1, keepdim=True)).int().argmax(1),
        median=lambda x: np.median(x.numpy()),
        ranking=lambda s: torch.cat([torch.nonzero(s == v)[:, 0] for v in s.unique().flip(0)]),
    ),
    dict(
        floor_at=lambda x, lo: torch.nn.functional.threshold(x, lo, lo),
        top1=lambda x: x.sort(dim=1, descending=True, stable=True).indices[:, 0],
        median=lambda x: __import__("statistics").median(x.tolist()),
        ranking=lambda s: torch.tensor(sorted(range(len(s)), key=s.tolist().__getitem__, reverse=True)),
    ),
    dict(floor_at=lambda x, lo: x.masked_fill(x < lo, lo), median=lambda x: torch.quantile(x, x.new_tensor(0.5))),
    {
        "floor_at": lambda x, lo: torch.where(x < lo, lo, x),
        "top1": lambda x: torch.max(x, 1).indices,
        "median": _median_of_the_sorted,
        "ranking": _rank_in_python,
    },
    {
        "floor_at": lambda x, lo: torch.maximum(x, torch.tensor(lo, dtype=x.dtype)),
        "top1": _first_hit,
        "median": lambda x: (x.median() - (-x).median()) / 2,
        "ranking": lambda s: (-s).argsort(stable=True),
    },
    {
        "floor_at": lambda x, lo: torch.max(x, torch.full_like(x, lo)),
        "top1": lambda x: torch.tensor([row.argmax() for row in x]),
        "median": lambda x: torch.tensor(np.median(x.numpy())),
        "ranking": lambda s: torch.sort(s, stable=True, descending=True)[1],
    },
    {
        "floor_at": _lift,
        "top1": lambda x: torch.from_numpy(x.numpy().argmax(1)),
        "median": lambda x: torch.quantile(x, 0.5, interpolation="midpoint"),
        "ranking": lambda s: torch.from_numpy(np.argsort(-s.numpy(), kind="stable")),
    },
    {
        "floor_at": lambda x, lo: x.where(~(x < lo), torch.full_like(x, lo)),
        "median": lambda x: torch.nanquantile(x, 0.5),
        "ranking": lambda s: len(s) - 1 - s.flip(0).argsort(stable=True).flip(0),
    },
]

WRONG = [
    Mistake(
        "it stays NaN",
        caught_by="",
        floor_at=lambda x, lo: x.nan_to_num(neginf=lo, posinf=float("inf")).clamp(min=lo),
    ),
    Mistake("as torch.tensor(0.1) is", caught_by="", floor_at=lambda x, lo: torch.max(x, torch.ones(1) * lo)),
    Mistake("1 + 1e-12 is larger than 1", caught_by="", top1=lambda x: x.to(torch.float32).max(1).indices),
    Mistake("1 + 1e-12 is better than 1", caught_by="", ranking=lambda s: torch.sort(-s.float(), stable=True).indices),
    Mistake("expected 2.625, got 2.0", caught_by="", median=lambda x: float(int(np.median(x.numpy())))),
    Mistake("one column index per row", caught_by="", top1=lambda x: x.abs().argmax(1)),
    Mistake("expected 5.0, got 6.5", caught_by="", median=lambda x: torch.tensor(np.median(np.unique(x.numpy())))),
    Mistake("topk and sort promise no order", caught_by="", top1=lambda x: x.shape[1] - 1 - x.flip(1).argmax(1)),
    Mistake("a batch of one stays a batch", caught_by="", top1=lambda x: x.argmax(-1, keepdim=True)),
    Mistake("the upper of the middle two", caught_by="", median=lambda x: x.quantile(0.5, interpolation="higher")),
    Mistake("the value in the middle once sorted", caught_by="", median=lambda x: x.mode().values),
    Mistake(
        "came out backwards",
        caught_by="",
        ranking=lambda s: torch.tensor(
            [i for _, i in sorted(((v, i) for i, v in enumerate(s.tolist())), reverse=True)]
        ),
    ),
    Mistake(
        "you returned the sorted scores", caught_by="", ranking=lambda s: sorted(range(len(s)), key=lambda i: -s[i])
    ),
    Mistake("torch.max(x, 0) took 0 for a dim", caught_by="", floor_at=lambda x, lo: x.max(int(lo) if lo >= 0 else 0)),
    Mistake("keeps the shape and lifts only", caught_by="", floor_at=lambda x, lo: torch.amax(x, 0)),
    Mistake("keeps the shape and lifts only", caught_by="", floor_at=lambda x, lo: x * (x > lo)),
    Mistake("you cut off what is above lo", caught_by="", floor_at=lambda x, lo: torch.where(x < lo, x, lo)),
    Mistake("one winner out of the whole tensor", caught_by="", top1=lambda x: x.view(-1).argmax()),
    Mistake("you returned the largest values", caught_by="", top1=lambda x: x.amax(1)),
    Mistake("a batch of one stays a batch", caught_by="", top1=lambda x: torch.max(x, 1, keepdim=True)[1].squeeze()),
    Mistake("topk and sort promise no order", caught_by="", top1=lambda x: torch.topk(x, 1).indices.squeeze(1)),
    Mistake("topk and sort promise no order", caught_by="", top1=lambda x: x.sort(1).indices[:, -1]),
    Mistake("the lower of the middle two", caught_by="", median=lambda x: x.kthvalue((len(x) + 1) // 2).values),
    Mistake("the lower of the middle two", caught_by="", median=lambda x: x.quantile(0.5, interpolation="lower")),
    Mistake("the upper of the middle two", caught_by="", median=lambda x: -(-x).median()),
    Mistake("the value in the middle once sorted", caught_by="", median=lambda x: (x.max() + x.min()) / 2),
    Mistake("from the worst to the best", caught_by="", ranking=lambda s: s.sort(stable=True).indices),
    Mistake("you returned the place of each score", caught_by="", ranking=lambda s: s.argsort().argsort()),
    Mistake("a sort that is not stable", caught_by="", ranking=lambda s: (-s).argsort()),
    Mistake("a sort that is not stable", caught_by="", ranking=lambda s: s.topk(len(s)).indices),
    Mistake(
        "came out backwards",
        caught_by="",
        ranking=lambda s: torch.from_numpy(s.numpy().argsort(kind="stable")[::-1].copy()),
    ),
]
