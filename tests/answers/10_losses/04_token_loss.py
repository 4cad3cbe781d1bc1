"""Answers that people give to token_loss, right ones and wrong ones."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dojo import Mistake


def _selected(logits, targets, pad_id):
    real = targets.ne(pad_id)
    if not real.any():
        return logits.sum() * 0.0
    return F.cross_entropy(logits[real], targets[real])


def _weighted_by_a_mask(logits, targets, pad_id):
    mask = (targets != pad_id).to(logits.dtype)
    each = F.cross_entropy(logits.permute(0, 2, 1), targets, reduction="none")
    return (each * mask).sum() / mask.sum().clamp(min=1.0)


def _gathered(logits, targets, pad_id):
    picked = logits.log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    mask = targets == pad_id
    return -picked.masked_fill(mask, 0.0).sum() / max(1, int((~mask).sum()))


def _nan_made_zero(logits, targets, pad_id):
    return torch.nan_to_num(F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=pad_id))


def _by_weights(logits, targets, pad_id):
    weight = torch.ones(logits.shape[-1], dtype=logits.dtype)
    weight[pad_id] = 0
    total = nn.CrossEntropyLoss(weight=weight, reduction="sum")(logits.transpose(1, 2), targets)
    return total / max((targets != pad_id).sum().item(), 1)


def _a_new_zero(logits, targets, pad_id):
    if (targets == pad_id).all():
        return torch.zeros((), dtype=logits.dtype, requires_grad=True)
    return F.cross_entropy(logits.movedim(-1, 1), targets, ignore_index=pad_id)


def _perplexity_by_torch(logits, targets, pad_id):
    with torch.no_grad():
        loss = F.cross_entropy(logits.reshape(-1, logits.size(-1)), targets.reshape(-1), ignore_index=pad_id)
        return torch.exp(loss).item()


def _token_by_token(logits, targets, pad_id):
    """Two loops and a counter."""
    total, n = (logits * 0).sum(), 0
    for scores, words in zip(logits, targets):
        for row, word in zip(scores, words):
            if word != pad_id:
                total = total + torch.logsumexp(row, 0) - row[word]
                n += 1
    return total / max(n, 1)


def _relabelled(logits, targets, pad_id):
    """-100 is what F.cross_entropy leaves out by itself."""
    y = targets.clone()
    y[y == pad_id] = -100
    if (y == -100).all():
        return (logits - logits).sum()
    return nn.CrossEntropyLoss()(torch.transpose(logits, 1, 2), y)


def _numpy_perplexity(logits, targets, pad_id):
    return float(np.exp(_token_by_token(logits, targets, pad_id).detach().numpy().astype("float64")))


RIGHT = [
    dict(token_loss=_token_by_token, perplexity=_numpy_perplexity),
    dict(token_loss=_relabelled),
    dict(token_loss=_selected, perplexity=_perplexity_by_torch),
    dict(token_loss=_weighted_by_a_mask, perplexity=lambda z, y, pad: float(_gathered(z.detach(), y, pad).exp())),
    dict(token_loss=_gathered, perplexity=lambda z, y, pad: math.e ** _selected(z, y, pad).item()),
    dict(token_loss=_nan_made_zero),
    dict(token_loss=_by_weights),
    dict(token_loss=_a_new_zero),
]


def _loop_over_texts(logits, targets, pad_id):
    losses = [F.cross_entropy(z, y, ignore_index=pad_id, reduction="sum") for z, y in zip(logits, targets)]
    counts = [max(1, (y != pad_id).sum().item()) for y in targets]
    return sum(loss / n for loss, n in zip(losses, counts)) / len(losses)


def _swapped_axes(logits, targets, pad_id):
    b, t, c = logits.shape
    total = F.cross_entropy(logits.contiguous().view(b, c, t), targets, ignore_index=pad_id, reduction="sum")
    return total / (targets != pad_id).sum().clamp(min=1)


def _masked_scores(logits, targets, pad_id):
    mask = (targets != pad_id).unsqueeze(-1)
    return F.cross_entropy((logits * mask).flatten(0, 1), targets.flatten(), reduction="sum") / mask.sum().clamp(min=1)


def _skips_the_batch(logits, targets, pad_id):
    if (targets == pad_id).all():
        return logits.new_zeros(())
    return F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=pad_id)


def _all_nan(logits, targets, pad_id):
    return nn.CrossEntropyLoss(ignore_index=pad_id)(logits.reshape(-1, logits.shape[2]), targets.reshape(-1))


def _positive_only(logits, targets, pad_id):
    keep = targets > 0
    return F.cross_entropy(logits[keep], targets[keep]) if keep.any() else logits.sum() * 0


def _view_of_both(logits, targets, pad_id):
    b, t, c = logits.shape
    each = F.cross_entropy(logits.view(b * t, c), targets.view(b * t), reduction="none")
    real = targets.view(-1) != pad_id
    return (each * real).sum() / real.sum().clamp(min=1)


def _no_graph(logits, targets, pad_id):
    with torch.no_grad():
        return _selected(logits, targets, pad_id)


def _mean_over_rows(logits, targets, pad_id):
    each = F.cross_entropy(logits.mT, targets, ignore_index=pad_id, reduction="none")
    return each.sum(1).mean()


def _logarithm_afterwards(logits, targets, pad_id):
    p = torch.softmax(logits, 2).clamp(1e-12, 1)
    total = F.nll_loss(p.log().transpose(1, 2), targets, ignore_index=pad_id, reduction="sum")
    return total / (targets != pad_id).sum().clamp(min=1)


def _shifted_again(logits, targets, pad_id):
    shift_logits, shift_labels = logits[..., :-1, :].contiguous(), targets[..., 1:].contiguous()
    return _weighted_by_a_mask(shift_logits, shift_labels, pad_id)


WRONG = [
    Mistake(
        "counted as if it were words",
        caught_by="",
        perplexity=lambda z, y, pad: math.exp(F.cross_entropy(z.mT, y, ignore_index=pad or -100).item()),
    ),
    Mistake("the mean over all that is not 1", caught_by="", token_loss=_logarithm_afterwards),
    Mistake("the mean over 10 tokens", caught_by="", token_loss=_shifted_again),
    Mistake("the mean of the means of each text", caught_by="", token_loss=_loop_over_texts),
    Mistake("mixes tokens with classes", caught_by="", token_loss=_swapped_axes),
    Mistake("the mean over the 8 real tokens", caught_by="", token_loss=_masked_scores),
    Mistake("the 0 is a constant", caught_by="", token_loss=_skips_the_batch),
    Mistake("the loss is nan where all is padding", caught_by="", token_loss=_all_nan),
    Mistake(
        "the loss is nan where all is padding",
        caught_by="",
        token_loss=lambda z, y, pad: F.cross_entropy(z[y != pad], y[y != pad]),
    ),
    Mistake("0 was left out, which is a word here", caught_by="", token_loss=_positive_only),
    Mistake("view needs memory in the order", caught_by="", token_loss=_view_of_both),
    Mistake("cut from the logits", caught_by="", token_loss=_no_graph),
    Mistake("that is divided by B", caught_by="", token_loss=_mean_over_rows),
    Mistake(
        "here they are in dimension 2",
        caught_by="",
        token_loss=lambda z, y, pad: torch.nan_to_num(nn.CrossEntropyLoss(ignore_index=pad)(z, y)),
    ),
    Mistake("counted as if it were words", caught_by="", token_loss=lambda z, y, pad: _selected(z, y, -1)),
    Mistake("that is the loss itself", caught_by="", perplexity=lambda z, y, pad: float(_selected(z, y, pad).detach())),
    Mistake(
        "the mean of the exps",
        caught_by="",
        perplexity=lambda z, y, pad: (1 / z.softmax(-1).gather(2, y[..., None])[y != pad]).mean().item(),
    ),
    Mistake(
        "that is exp of the sum",
        caught_by="",
        perplexity=lambda z, y, pad: math.exp(F.cross_entropy(z.mT, y, ignore_index=pad, reduction="sum").item()),
    ),
    Mistake("a Python float, got Tensor", caught_by="", perplexity=lambda z, y, pad: torch.exp(_selected(z, y, pad))),
    Mistake(
        "counted as if it were words", caught_by="", perplexity=lambda z, y, pad: math.exp(F.cross_entropy(z.mT, y))
    ),
]
