"""Answers that people give to cross_entropy_by_hand, right ones and wrong ones."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dojo import Mistake


def _loop(log_probs, y):
    total = 0.0
    for i in range(len(y)):
        total = total - log_probs[i, y[i]]
    return total / len(y)


def _masked(log_probs, y):
    here = torch.arange(log_probs.shape[1]) == y.unsqueeze(1)
    return -log_probs[here].mean()


def _logsumexp(logits, y):
    return (torch.logsumexp(logits, dim=1) - logits.gather(1, y.view(-1, 1)).squeeze(1)).mean()


def _shifted(logits, y):
    z = logits - logits.max(dim=1, keepdim=True)[0]
    log_probs = z - z.exp().sum(dim=1, keepdim=True).log()
    return -log_probs[range(len(y)), y].mean()


def _where(log_probs, y):
    hot = F.one_hot(y, log_probs.size(1)).bool()
    return -torch.where(hot, log_probs, torch.zeros_like(log_probs)).sum() / len(y)


def _step_by_step(z, y):
    """Row by row, with lists of tensors."""
    losses = []
    for row, k in zip(z, y):
        row = row - row.max()
        losses.append(torch.log(torch.exp(row).sum()) - row[int(k)])
    return sum(losses) / len(losses)


def _data_max(z, y):
    z = z - z.data.max(1)[0].view(-1, 1)
    log_p = z - z.exp().sum(1).log().view(-1, 1)
    return -log_p[range(z.size(0)), y.tolist()].mean()


RIGHT = [
    dict(nll=lambda lp, y: sum(-row[k] for row, k in zip(lp, y)) / len(y), cross_entropy=_step_by_step),
    dict(cross_entropy=_data_max),
    dict(nll=F.nll_loss, cross_entropy=F.cross_entropy),
    dict(nll=_loop, cross_entropy=_logsumexp),
    dict(nll=_masked, cross_entropy=_shifted),
    dict(nll=nn.NLLLoss(), cross_entropy=nn.CrossEntropyLoss()),
    dict(
        nll=lambda lp, y: lp[torch.arange(lp.size(0)), y].neg().mean(),
        cross_entropy=lambda z, y: F.cross_entropy(F.log_softmax(z, -1), y),
    ),
    dict(nll=_where),
    dict(nll=lambda lp, y: -torch.take_along_dim(lp, y[:, None], 1).sum() / y.numel()),
]


def _by_numpy(log_probs, y):
    lp = log_probs.detach().numpy()
    return torch.tensor(-lp[np.arange(len(y)), y.numpy()].mean())


def _rows_again(log_probs, y):
    return torch.stack([-row[y].mean() for row in log_probs]).mean()


def _softmax_layer(logits, y):
    return nn.CrossEntropyLoss()(nn.Softmax(dim=1)(logits), y)


def _soft_loop(logits, y):
    total = 0
    for row, k in zip(logits, y):
        total = total + torch.log(torch.exp(row).sum()) - row[k]
    return total / len(y)


def _matmul(log_probs, y):
    return -torch.trace(F.one_hot(y, log_probs.shape[1]).to(log_probs.dtype) @ log_probs.t()) / len(y)


def _subtract(logits, y):
    logits.sub_(logits.detach().amax(1, keepdim=True))
    return F.cross_entropy(logits, y)


def _class_0_is_padding(z, y):
    return F.cross_entropy(z, y, ignore_index=0)


def _float32_of_the_list(z, y):
    return F.cross_entropy(z - z.max(1, keepdim=True).values, y).float()


def _bounded(z, y):
    return F.cross_entropy(z.clamp(-1e6, 1e6), y)


WRONG = [
    Mistake("minus the mean of -200 and 1000", caught_by="", nll=lambda p, y: -p[range(len(y)), y].exp().log().mean()),
    Mistake(
        "that is the least that scores between 0 and 1 can cost",
        caught_by="",
        cross_entropy=lambda z, y: F.cross_entropy(z / z.abs().max(), y),
    ),
    Mistake("the p are 5/8", caught_by="", cross_entropy=_class_0_is_padding),
    Mistake("as exact as float64", caught_by="", cross_entropy=_float32_of_the_list),
    Mistake("1e30 and 0 with class 1", caught_by="", cross_entropy=_bounded),
    Mistake("cut from its argument", caught_by="", nll=_by_numpy),
    Mistake("picks every label for every row", caught_by="", nll=_rows_again),
    Mistake("softmax was applied twice", caught_by="", cross_entropy=_softmax_layer),
    Mistake("exp(200) overflows", caught_by="", cross_entropy=_soft_loop),
    Mistake("0 * -inf is nan", caught_by="", nll=_matmul),
    Mistake("changed what it was given", caught_by="", cross_entropy=_subtract),
    Mistake("it does not take absolute values", caught_by="", nll=lambda lp, y: lp[range(len(y)), y].mean().abs()),
    Mistake("it does not take absolute values", caught_by="", nll=lambda lp, y: F.nll_loss(-lp.abs(), y)),
    Mistake("a loss is its opposite", caught_by="", nll=lambda lp, y: -F.nll_loss(lp, y)),
    Mistake("not by the N rows", caught_by="", nll=lambda lp, y: F.nll_loss(lp, y, reduction="sum") / lp.numel()),
    Mistake("the sum over the rows", caught_by="", nll=lambda lp, y: -lp[range(len(y)), y].sum()),
    Mistake(
        "hides how wrong the answer is",
        caught_by="",
        cross_entropy=lambda z, y: F.nll_loss((z.softmax(-1) + 1e-10).log(), y),
    ),
    Mistake(
        "the softmax went down the columns",
        caught_by="",
        cross_entropy=lambda z, y: F.nll_loss(nn.LogSoftmax(dim=0)(z), y),
    ),
    Mistake("their logarithm is missing", caught_by="", cross_entropy=lambda z, y: F.nll_loss(torch.softmax(z, 1), y)),
    Mistake("shifted by its own maximum", caught_by="", cross_entropy=lambda z, y: _soft_loop(z - z.max(), y)),
    Mistake("as exact as float64", caught_by="", cross_entropy=lambda z, y: F.cross_entropy(z.to(torch.float32), y)),
    Mistake(
        "looks at the true class only",
        caught_by="",
        cross_entropy=lambda z, y: F.binary_cross_entropy(z.softmax(1), F.one_hot(y, z.shape[1]).to(z.dtype)),
    ),
    Mistake("must not apply another softmax", caught_by="", nll=lambda lp, y: F.nll_loss(lp.log_softmax(-1), y)),
    Mistake("expected the loss as a tensor, got float", caught_by="", nll=lambda lp, y: F.nll_loss(lp, y).item()),
    Mistake(
        "cut from its argument",
        caught_by="",
        cross_entropy=lambda z, y: torch.tensor(F.cross_entropy(z, y).item(), dtype=z.dtype),
    ),
]
