"""Cross-entropy: from scores to a loss: reference.

Hint: A loss reads one entry per row: that of the true class. Nothing has to be multiplied by zeros.
Hint: `Tensor.gather` with `y` as a column, or indexing with `torch.arange(len(y))`; `torch.log_softmax` along dim 1.
Hint: nll is a pick, a minus and a mean. cross_entropy hands nll the log-softmax of its scores.

Why: log-softmax is x - logsumexp(x): computed in one go, nothing overflows and no log(0) arises. Its gradient through
nll is softmax minus the one-hot label, divided by N: the further off, the stronger the pull, also for a score of -200.
log_softmax of log-probabilities changes nothing, so F.cross_entropy(log_softmax(z), y) is right too, by luck; with
softmax(z) it is not.
"""

import math

import torch
from torch.nn import functional as F

from dojo import Mistake


def nll(log_probs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return -log_probs.gather(1, y.unsqueeze(1)).mean()


def cross_entropy(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return nll(torch.log_softmax(logits, dim=1), y)


def _one_hot_product(log_probs, y):
    return -(F.one_hot(y, log_probs.shape[1]) * log_probs).sum(1).mean()


def _binary(logits, y):
    p = logits.softmax(1)
    return F.binary_cross_entropy(p, F.one_hot(y, p.shape[1]).to(p.dtype), reduction="sum") / len(y)


def _naive(logits, y):
    e = logits.exp()
    return -(e / e.sum(1, keepdim=True)).log()[torch.arange(len(y)), y].mean()


def _epsilon(logits, y):
    return -(logits.softmax(1)[torch.arange(len(y)), y] + 1e-8).log().mean()


def _clamped(logits, y):
    return nll(logits.softmax(1).clamp(1e-12).log(), y)


def _one_maximum_for_all(logits, y):
    z = logits - logits.max()
    return -(z[torch.arange(len(y)), y] - z.exp().sum(1).log()).mean()


def _in_place(logits, y):
    with torch.no_grad():
        logits -= logits.max(dim=1, keepdim=True).values
    return nll(torch.log_softmax(logits, dim=1), y)


def _of_numbers(log_probs, y):
    return torch.tensor([-log_probs[i, k].item() for i, k in enumerate(y.tolist())], dtype=log_probs.dtype).mean()


def _python_float(log_probs, y):
    return -sum(log_probs[i, k].item() for i, k in enumerate(y)) / len(y)


def _in_float32(logits, y):
    return F.cross_entropy(logits.float(), y).to(logits.dtype)


def _no_grad(logits, y):
    with torch.no_grad():
        return F.cross_entropy(logits, y)


def _squeezed(log_probs, y):
    picked = log_probs.gather(1, y[:, None]).squeeze()
    return -sum(picked) / len(picked)


def _diagonal(log_probs, y):
    return -log_probs[:, y].diag().sum() / log_probs.shape[1]


def _kept_as_one_row(log_probs, y):
    return -log_probs.gather(1, y[:, None]).mean(0)


def _multiply_by_n(logits, y):
    loss = cross_entropy(logits, y)
    return loss.detach() + (loss - loss.detach()) * len(y)


def _by_flat_index(logits, y):
    flat = logits.view(-1)[torch.arange(len(y)) * logits.shape[1] + y]
    return (logits.logsumexp(1) - flat).mean()


_NLL = "test_nll_picks_the_true_class_negates_and_averages"
_SIGN = "test_nll_changes_the_sign_it_takes_no_absolute_value"
_SCORES = "test_cross_entropy_wants_raw_scores"
_SURE = "test_the_loss_of_a_sure_and_right_answer_is_zero"
_APART = "test_scores_far_apart_neither_overflow_nor_vanish"
_IMPOSSIBLE = "test_an_impossible_class_costs_nothing_if_it_is_not_the_true_one"
_GRADIENT = "test_the_gradient_is_softmax_minus_the_label"

_TWICE_BUT_SHARP = "that is the least that scores between 0 and 1 can cost"


def _twice_for_many_classes(logits, y):
    """Softmax twice, as a model does that has a softmax only where it has many classes."""
    return F.cross_entropy(logits.softmax(1) if logits.shape[1] > 6 else logits, y)


MISTAKES = [
    Mistake("a loss is its opposite", caught_by=_NLL, nll=lambda lp, y: lp.gather(1, y[:, None]).mean()),
    Mistake("the sum over the rows", caught_by=_NLL, nll=lambda lp, y: F.nll_loss(lp, y, reduction="sum")),
    Mistake("not by the N rows", caught_by=_NLL, nll=lambda lp, y: -(F.one_hot(y, lp.shape[1]) * lp).mean()),
    Mistake("picks every label for every row", caught_by=_NLL, nll=lambda lp, y: -lp[:, y].mean()),
    Mistake("not for the true one", caught_by=_NLL, nll=lambda lp, y: -lp.max(dim=1).values.mean()),
    Mistake("minus the mean of log .5", caught_by=_NLL, nll=lambda lp, y: F.nll_loss(lp, y, reduction="none")),
    Mistake("minus the mean of log .5", caught_by=_NLL, nll=_kept_as_one_row),
    Mistake("minus the mean of log .5", caught_by=_NLL, nll=_diagonal),
    Mistake("raised on torch.float64 of shape (1, 3)", caught_by=_NLL, nll=_squeezed),
    Mistake("as exact as float64", caught_by=_NLL, nll=lambda lp, y: F.nll_loss(lp.float(), y).to(lp.dtype)),
    Mistake("expected the loss as a tensor, got float", caught_by=_NLL, nll=_python_float),
    Mistake(
        "it does not take absolute values", caught_by=_SIGN, nll=lambda lp, y: lp.gather(1, y[:, None]).abs().mean()
    ),
    Mistake("must not apply another softmax", caught_by=_SIGN, nll=lambda lp, y: F.cross_entropy(lp, y)),
    Mistake("must not take another logarithm", caught_by=_SIGN, nll=lambda lp, y: F.nll_loss(lp.log(), y)),
    Mistake("a softmax was applied", caught_by=_SIGN, nll=lambda lp, y: F.nll_loss(lp.softmax(1), y)),
    Mistake("minus the mean of -4 and 1", caught_by=_SIGN, nll=lambda lp, y: -abs(lp.gather(1, y[:, None]).mean())),
    Mistake("minus the mean of -200 and 1000", caught_by=_SIGN, nll=lambda lp, y: nll(lp.exp().log(), y)),
    Mistake("minus the mean of -200 and 1000", caught_by=_SIGN, nll=lambda lp, y: nll(lp.clamp(min=-100), y)),
    Mistake("their logarithm is missing", caught_by=_SCORES, cross_entropy=lambda z, y: nll(z.softmax(1), y)),
    Mistake("the log-softmax is missing", caught_by=_SCORES, cross_entropy=lambda z, y: nll(z, y)),
    Mistake(
        "softmax was applied twice", caught_by=_SCORES, cross_entropy=lambda z, y: F.cross_entropy(z.softmax(1), y)
    ),
    Mistake(
        "the softmax went down the columns", caught_by=_SCORES, cross_entropy=lambda z, y: nll(z.log_softmax(0), y)
    ),
    Mistake(
        "the sum over the rows", caught_by=_SCORES, cross_entropy=lambda z, y: F.cross_entropy(z, y, reduction="sum")
    ),
    Mistake("looks at the true class only", caught_by=_SCORES, cross_entropy=_binary),
    Mistake("the p are 5/8", caught_by=_SCORES, cross_entropy=lambda z, y: cross_entropy(z, y) / math.log(2)),
    Mistake("the p are 5/8", caught_by=_SCORES, cross_entropy=lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1)),
    Mistake("as exact as float64", caught_by=_SCORES, cross_entropy=_in_float32),
    Mistake("raised on torch.float64 of shape (5, 3)", caught_by=_SCORES, cross_entropy=_by_flat_index),
    Mistake("changed what it was given", caught_by=_SCORES, cross_entropy=_in_place),
    Mistake(_TWICE_BUT_SHARP, caught_by=_SURE, cross_entropy=_twice_for_many_classes),
    Mistake("exp(200) overflows", caught_by=_APART, cross_entropy=lambda z, y: nll(z.softmax(1).log(), y)),
    Mistake("exp(200) overflows", caught_by=_APART, cross_entropy=_naive),
    Mistake(
        "exp(200) overflows",
        caught_by=_APART,
        cross_entropy=lambda z, y: (z.exp().sum(1).log() - z[torch.arange(len(y)), y]).mean(),
    ),
    Mistake("hides how wrong the answer is", caught_by=_APART, cross_entropy=_epsilon),
    Mistake("hides how wrong the answer is", caught_by=_APART, cross_entropy=_clamped),
    Mistake("shifted by its own maximum", caught_by=_APART, cross_entropy=_one_maximum_for_all),
    Mistake(
        "1e30 and 0 with class 1", caught_by=_APART, cross_entropy=lambda z, y: cross_entropy(z.clamp(-1e5, 1e5), y)
    ),
    Mistake("0 * -inf is nan", caught_by=_IMPOSSIBLE, nll=_one_hot_product),
    Mistake("0 * -inf is nan", caught_by=_IMPOSSIBLE, cross_entropy=lambda z, y: _one_hot_product(z.log_softmax(1), y)),
    Mistake("cut from its argument", caught_by=_GRADIENT, nll=_of_numbers),
    Mistake("cut from its argument", caught_by=_GRADIENT, cross_entropy=_no_grad),
    Mistake("cut from its argument", caught_by=_GRADIENT, cross_entropy=lambda z, y: F.cross_entropy(z.detach(), y)),
    Mistake("that comes from above", caught_by=_GRADIENT, cross_entropy=_multiply_by_n),
]
