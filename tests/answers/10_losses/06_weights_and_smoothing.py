"""Answers that people give to weights_and_smoothing, right ones and wrong ones."""

from collections import Counter

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dojo import Mistake


def _gathered(logits, y, w):
    picked = logits.log_softmax(1).gather(1, y[:, None]).squeeze(1)
    return -(w[y] * picked).sum() / w[y].sum()


def _dot(logits, y, w):
    share = w[y] / w[y].sum()
    return share @ (logits.logsumexp(1) - logits[range(len(y)), y])


def _one_hot_weights(logits, y, w):
    weight = F.one_hot(y, logits.shape[1]).to(w.dtype) @ w
    return torch.sum(weight * nn.CrossEntropyLoss(reduction="none")(logits, y)) / torch.sum(weight)


def _scattered(y, C, eps):
    rows = torch.full((y.shape[0], C), eps / C)
    rows.scatter_(1, y.view(-1, 1), 1 - eps + eps / C)
    return rows


def _indexed(y, C, eps):
    rows = torch.zeros(len(y), C) + eps / C
    rows[torch.arange(len(y)), y] += 1 - eps
    return rows


def _lerp(y, C, eps):
    return torch.lerp(torch.eye(C)[y], torch.full((len(y), C), 1 / C), eps)


def _counter(labels, C):
    n = Counter(labels.tolist())
    return torch.tensor([len(labels) / (C * n[k]) for k in range(C)])


def _row_by_row(logits, y, w):
    above, below = 0, 0
    for row, k in zip(logits, y.tolist()):
        above = above + w[k] * (torch.logsumexp(row, 0) - row[k])
        below += w[k].item()
    return above / below


def _lists_of_lists(y, C, eps):
    rows = []
    for k in y.tolist():
        row = [eps / C] * C
        row[k] += 1 - eps
        rows.append(row)
    return torch.tensor(rows)


def _by_numpy(labels, C):
    return torch.from_numpy(len(labels) / (C * np.bincount(labels.numpy(), minlength=C)))


RIGHT = [
    dict(weighted_ce=_row_by_row, smooth_targets=_lists_of_lists, balanced_weights=_by_numpy),
    dict(
        weighted_ce=lambda z, y, w: F.cross_entropy(z, y, weight=w),
        smooth_targets=_scattered,
        balanced_weights=_counter,
    ),
    dict(
        weighted_ce=_gathered,
        smooth_targets=_indexed,
        balanced_weights=lambda y, C: y.numel() / (C * F.one_hot(y, C).sum(0).float()),
    ),
    dict(
        weighted_ce=_dot,
        smooth_targets=_lerp,
        balanced_weights=lambda y, C: len(y) / C / torch.tensor([float((y == k).sum()) for k in range(C)]),
    ),
    dict(
        weighted_ce=lambda z, y, w: nn.CrossEntropyLoss(w)(z, y),
        smooth_targets=lambda y, C, eps: F.one_hot(y, num_classes=C).float() * (1 - eps) + eps / C,
        balanced_weights=lambda y, C: torch.stack([len(y) / (C * (y == k).sum().float()) for k in range(C)]),
    ),
    dict(
        weighted_ce=_one_hot_weights,
        smooth_targets=lambda y, C, eps: (torch.eye(C, dtype=torch.float64) * (1 - eps) + eps / C)[y],
        balanced_weights=lambda y, C: torch.bincount(y, minlength=C).float().reciprocal() * len(y) / C,
    ),
]


def _mean_of_weighted(logits, y, w):
    return F.cross_entropy(logits, y, weight=w, reduction="none").mean()


def _sum_over_classes(logits, y, w):
    return F.cross_entropy(logits, y, weight=w, reduction="sum") / w.sum()


def _weighted_log_softmax(logits, y, w):
    return -(logits.log_softmax(1) * w)[torch.arange(len(y)), y].mean()


def _softmax_first(logits, y, w):
    return F.cross_entropy(logits.softmax(1), y, weight=w)


def _data_changed(logits, y, w):
    logits.data *= w
    return F.cross_entropy(logits, y)


def _number(logits, y, w):
    return torch.tensor(F.cross_entropy(logits, y, weight=w).item(), dtype=logits.dtype)


def _loop_without_part(y, C, eps):
    rows = torch.zeros(len(y), C)
    for i, k in enumerate(y):
        rows[i] = eps / (C - 1)
        rows[i, k] = 1 - eps
    return rows


def _plus_and_clip(y, C, eps):
    return (F.one_hot(y, C) + eps / C).clamp(max=1.0)


def _largest_label(y, C, eps):
    hot = torch.eye(int(y.max()) + 1)[y]
    return hot * (1 - eps) + eps / C


def _mixed_with_one_over_n(y, C, eps):
    return F.one_hot(y, C) * (1 - eps) + eps / len(y)


def _inverse(labels, C):
    return torch.tensor([1 / (labels == k).sum().item() for k in range(C)])


def _per_label(labels, C):
    count = torch.bincount(labels, minlength=C)
    return (len(labels) / (C * count.float())).gather(0, labels)


def _frequency(labels, C):
    return torch.histc(labels.float(), bins=C, min=0, max=C - 1) / labels.numel()


def _never_zero(logits, y, w):
    each = F.nll_loss(torch.log(F.softmax(logits, dim=1).clamp(min=1e-12)), y, reduction="none")
    return (each * w[y]).sum() / w[y].sum()


WRONG = [
    Mistake(
        "4 classes have 4 weights",
        caught_by="",
        balanced_weights=lambda y, C: len(y) / C / y.unique(return_counts=True)[1].double(),
    ),
    Mistake("as exact as float64", caught_by="", weighted_ce=_never_zero),
    Mistake(
        "probabilities are floats", caught_by="", smooth_targets=lambda y, C, eps: _lists_of_lists(y, C, eps).bfloat16()
    ),
    Mistake("divide by the weights of the targets", caught_by="", weighted_ce=_mean_of_weighted),
    Mistake("divide by the weights of the targets", caught_by="", weighted_ce=_weighted_log_softmax),
    Mistake("by all weights in w", caught_by="", weighted_ce=_sum_over_classes),
    Mistake(
        "that is the sum, divide it",
        caught_by="",
        weighted_ce=lambda z, y, w: F.cross_entropy(z, y, weight=w, reduction="sum"),
    ),
    Mistake("the p are 5/8", caught_by="", weighted_ce=_softmax_first),
    Mistake("multiplied into the scores", caught_by="", weighted_ce=lambda z, y, w: nn.CrossEntropyLoss()(w * z, y)),
    Mistake("weighted_ce changed what it was given", caught_by="", weighted_ce=_data_changed),
    Mistake("cut from the scores", caught_by="", weighted_ce=_number),
    Mistake(
        "by N and by the mean of w",
        caught_by="",
        weighted_ce=lambda z, y, w: F.cross_entropy(z, y, weight=w / w.mean(), reduction="none").mean(),
    ),
    Mistake(
        "the weights had no influence",
        caught_by="",
        weighted_ce=lambda z, y, w: F.cross_entropy(z, y) * w.mean() / w.mean(),
    ),
    Mistake(
        "as exact as float64",
        caught_by="",
        weighted_ce=lambda z, y, w: F.cross_entropy(z.to(torch.float32), y, weight=w.to(torch.float32)),
    ),
    Mistake("the true class also gets eps / C", caught_by="", smooth_targets=_loop_without_part),
    Mistake("each row is a distribution", caught_by="", smooth_targets=_plus_and_clip),
    Mistake("each row is a distribution", caught_by="", smooth_targets=_mixed_with_one_over_n),
    Mistake("expected shape (5, 7)", caught_by="", smooth_targets=_largest_label),
    Mistake("probabilities are floats", caught_by="", smooth_targets=lambda y, C, eps: F.one_hot(y, C)),
    Mistake(
        "0.1 in three parts", caught_by="", smooth_targets=lambda y, C, eps: torch.softmax(torch.eye(C)[y] / eps, 1)
    ),
    Mistake("that is 1 / count", caught_by="", balanced_weights=_inverse),
    Mistake("N / (C * count) for", caught_by="", balanced_weights=_per_label),
    Mistake("the shares of the classes", caught_by="", balanced_weights=_frequency),
    Mistake("these are the counts", caught_by="", balanced_weights=lambda y, C: F.one_hot(y, C).sum(0) * 1.0),
    Mistake("weights are floats", caught_by="", balanced_weights=lambda y, C: torch.bincount(y, minlength=C)),
    Mistake("they sum to 1", caught_by="", balanced_weights=lambda y, C: (t := 1 / torch.bincount(y)) / t.sum()),
]
