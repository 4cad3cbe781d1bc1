"""Class weights and label smoothing: reference.

Hint: A weighted mean is the sum of weight times value, divided by the sum of the weights that were used.
Hint: `F.cross_entropy` has `weight=`, or `reduction="none"` for the loss of each row; `F.one_hot(y, C)`;
`torch.bincount(labels, minlength=C)`.
Hint: w[y] are the weights of the rows. Smoothing is (1 - eps) times the one-hot row, plus the same number everywhere.

Why: dividing by the used weights keeps the size of the loss, whatever the weights are. But then each batch is a mean of
its own, and the mean of such means is not the weighted mean of all: to accumulate gradients rightly, take reduction
"sum" and divide by the weights of the whole. (With probabilities as targets torch divides by N instead.)
eps / C for everybody is what keeps label smoothing a mixture: 1 - eps of the label, eps of the uniform distribution.
"""

import torch
from torch.nn import functional as F

from dojo import Mistake


def weighted_ce(logits: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    each, weight = F.cross_entropy(logits, y, reduction="none"), w[y]
    return (each * weight).sum() / weight.sum()


def smooth_targets(y: torch.Tensor, C: int, eps: float) -> torch.Tensor:
    return F.one_hot(y, C) * (1 - eps) + eps / C


def balanced_weights(labels: torch.Tensor, C: int) -> torch.Tensor:
    return len(labels) / (C * torch.bincount(labels, minlength=C))


def _each(logits, y):
    return F.cross_entropy(logits, y, reduction="none")


def _first_weights(logits, y, w):
    """w[i] for row i, as far as there are weights."""
    n = min(len(y), len(w))
    return (_each(logits, y)[:n] * w[:n]).sum() / w[:n].sum()


def _normalise_in_place(logits, y, w):
    w /= w.sum()
    return F.cross_entropy(logits, y, weight=w)


def _normalised_weights(logits, y, w):
    return (_each(logits, y) * (w / w.sum() * len(w))[y]).mean()


def _in_float32(logits, y, w):
    return F.cross_entropy(logits.float(), y, weight=w.float()).to(logits.dtype)


def _no_grad(logits, y, w):
    with torch.no_grad():
        return weighted_ce(logits, y, w)


def _detached_rows(logits, y, w):
    """The value of the weighted mean, the gradient of the plain one."""
    plain = F.cross_entropy(logits, y)
    return plain + (weighted_ce(logits, y, w) - plain).detach()


def _by_probabilities(logits, y, w):
    return F.cross_entropy(logits, F.one_hot(y, len(w)).to(logits.dtype), weight=w)


def _log_of_softmax(logits, y, w):
    p = logits.softmax(1)[torch.arange(len(y)), y]
    return -(w[y] * (p + 1e-300).log()).sum() / w[y].sum()


def _with_an_epsilon(logits, y, w):
    return (_each(logits, y) * w[y]).sum() / (w[y].sum() + 1e-4)


def _at_least_one(logits, y, w):
    return (_each(logits, y) * w[y]).sum() / w[y].sum().clamp(min=1)


def _gradient_of_the_sum(logits, y, w):
    loss = weighted_ce(logits, y, w)
    total = (_each(logits, y) * w[y]).sum()
    return total + (loss - total).detach()


def _others_only(y, C, eps):
    return F.one_hot(y, C) * (1 - eps) + (1 - F.one_hot(y, C)) * eps / (C - 1)


def _true_without_its_part(y, C, eps):
    return torch.full((len(y), C), eps / C).scatter(1, y[:, None], 1 - eps)


def _only_classes_that_occur(y, C, eps):
    hot = F.one_hot(y)
    return hot * (1 - eps) + eps / hot.shape[1]


def _added(y, C, eps):
    return F.one_hot(y, C) + eps / C


def _in_integers(y, C, eps):
    rows = F.one_hot(y, C)
    rows[:] = rows * (1 - eps) + eps / C
    return rows


def _labels_in_place(labels, C):
    labels[:] = labels.sort().values
    starts = [(labels == k).nonzero().min().item() for k in range(C)] + [len(labels)]
    return torch.tensor([len(labels) / (C * (b - a)) for a, b in zip(starts, starts[1:])])


def _in_order_of_appearance(labels, C):
    seen = list(dict.fromkeys(labels.tolist()))
    return torch.tensor([len(labels) / (C * (labels == k).sum().item()) for k in seen])


def _in_order_of_count(labels, C):
    return (len(labels) / (C * torch.bincount(labels, minlength=C))).sort().values


_MEAN = "test_the_weighted_mean_divides_by_the_weights_of_the_targets"
_SCALE = "test_weights_cancel_in_a_single_row_and_their_scale_does_nothing"
_GRADIENT = "test_the_gradient_of_a_row_has_its_share_of_the_weights"
_SMOOTH = "test_the_true_class_also_gets_its_part_of_the_smoothing"
_EQUAL = "test_cross_entropy_with_smoothed_targets_is_label_smoothing"
_BALANCED = "test_balanced_weights_give_each_class_the_same_total"

KEEP = {_SMOOTH: "shows the numbers of a row, which the test after it asks for through F.cross_entropy"}


def _count(labels, C):
    return torch.bincount(labels, minlength=C)


MISTAKES = [
    Mistake("4 classes have 4 weights", caught_by=_BALANCED, balanced_weights=lambda y, C: len(y) / (C * y.bincount())),
    Mistake(
        "divide by the weights of the targets", caught_by=_MEAN, weighted_ce=lambda z, y, w: (_each(z, y) * w[y]).mean()
    ),
    Mistake("that is the sum, divide it", caught_by=_MEAN, weighted_ce=lambda z, y, w: (_each(z, y) * w[y]).sum()),
    Mistake("by all weights in w", caught_by=_MEAN, weighted_ce=lambda z, y, w: (_each(z, y) * w[y]).sum() / w.sum()),
    Mistake("by N and by the mean of w", caught_by=_MEAN, weighted_ce=_normalised_weights),
    Mistake("multiplied into the scores", caught_by=_MEAN, weighted_ce=lambda z, y, w: F.cross_entropy(z * w, y)),
    Mistake("added to the scores", caught_by=_MEAN, weighted_ce=lambda z, y, w: F.cross_entropy(z + w.log(), y)),
    Mistake("the weights had no influence", caught_by=_MEAN, weighted_ce=lambda z, y, w: F.cross_entropy(z, y)),
    Mistake("the weights belong to classes", caught_by=_MEAN, weighted_ce=_first_weights),
    Mistake("divide by the weights of the targets", caught_by=_MEAN, weighted_ce=_by_probabilities),
    Mistake(
        "the p are 5/8",
        caught_by=_MEAN,
        weighted_ce=lambda z, y, w: F.nll_loss(z.softmax(1), y, weight=w),
    ),
    Mistake(
        "the p are 5/8", caught_by=_MEAN, weighted_ce=lambda z, y, w: F.cross_entropy(z, y, weight=w, reduction="none")
    ),
    Mistake("weighted_ce changed what it was given", caught_by=_MEAN, weighted_ce=_normalise_in_place),
    Mistake("as exact as float64", caught_by=_MEAN, weighted_ce=_in_float32),
    Mistake("as exact as float64", caught_by=_MEAN, weighted_ce=_log_of_softmax),
    Mistake(
        "probabilities are floats",
        caught_by=_SMOOTH,
        smooth_targets=lambda y, C, eps: smooth_targets(y, C, eps).half(),
    ),
    Mistake("weights are floats", caught_by=_BALANCED, balanced_weights=lambda y, C: balanced_weights(y, C).half()),
    Mistake("costs the same with any weight", caught_by=_SCALE, weighted_ce=_with_an_epsilon),
    Mistake("costs the same with any weight", caught_by=_SCALE, weighted_ce=_at_least_one),
    Mistake("cut from the scores", caught_by=_GRADIENT, weighted_ce=_no_grad),
    Mistake("are shares of 1/4 and 3/4", caught_by=_GRADIENT, weighted_ce=_detached_rows),
    Mistake("are shares of 1/4 and 3/4", caught_by=_GRADIENT, weighted_ce=_gradient_of_the_sum),
    Mistake("the true class also gets eps / C", caught_by=_SMOOTH, smooth_targets=_others_only),
    Mistake("each row is a distribution", caught_by=_SMOOTH, smooth_targets=_true_without_its_part),
    Mistake("each row is a distribution", caught_by=_SMOOTH, smooth_targets=_added),
    Mistake(
        "each row is a distribution",
        caught_by=_SMOOTH,
        smooth_targets=lambda y, C, eps: F.one_hot(y, C).float().clamp(eps / C, 1 - eps),
    ),
    Mistake(
        "each row is a distribution", caught_by=_SMOOTH, smooth_targets=lambda y, C, eps: F.one_hot(y, C) * (1 - eps)
    ),
    Mistake(
        "each row is a distribution",
        caught_by=_SMOOTH,
        smooth_targets=lambda y, C, eps: F.one_hot(y, C) * (1 - eps) + eps,
    ),
    Mistake(
        "one row for each label", caught_by=_SMOOTH, smooth_targets=lambda y, C, eps: smooth_targets(y, C, eps).t()
    ),
    Mistake("probabilities are floats", caught_by=_SMOOTH, smooth_targets=_in_integers),
    Mistake("0.1 in three parts", caught_by=_SMOOTH, smooth_targets=lambda y, C, eps: smooth_targets(y, C, 1 - eps)),
    Mistake("0.1 in three parts", caught_by=_SMOOTH, smooth_targets=lambda y, C, eps: F.one_hot(y, C).float()),
    Mistake("expected shape (5, 7)", caught_by=_EQUAL, smooth_targets=_only_classes_that_occur),
    Mistake("these are the counts", caught_by=_BALANCED, balanced_weights=lambda y, C: _count(y, C).float()),
    Mistake("the shares of the classes", caught_by=_BALANCED, balanced_weights=lambda y, C: _count(y, C) / len(y)),
    Mistake("that is 1 / count", caught_by=_BALANCED, balanced_weights=lambda y, C: 1 / _count(y, C)),
    Mistake("that is N / count", caught_by=_BALANCED, balanced_weights=lambda y, C: len(y) / _count(y, C)),
    Mistake(
        "they sum to 1", caught_by=_BALANCED, balanced_weights=lambda y, C: F.normalize(1 / _count(y, C), p=1, dim=0)
    ),
    Mistake(
        "they sum to C",
        caught_by=_BALANCED,
        balanced_weights=lambda y, C: C * F.normalize(1 / _count(y, C), p=1, dim=0),
    ),
    Mistake(
        "the largest count / count",
        caught_by=_BALANCED,
        balanced_weights=lambda y, C: _count(y, C).max() / _count(y, C),
    ),
    Mistake("weights are floats", caught_by=_BALANCED, balanced_weights=lambda y, C: len(y) // (C * _count(y, C))),
    Mistake("N / (C * count) for", caught_by=_BALANCED, balanced_weights=lambda y, C: balanced_weights(y, C).sqrt()),
    Mistake("N / (C * count) for", caught_by=_BALANCED, balanced_weights=lambda y, C: balanced_weights(y, C)[y]),
    Mistake(
        "N / (C * count) for", caught_by=_BALANCED, balanced_weights=lambda y, C: (len(y) // (C * _count(y, C))).float()
    ),
    Mistake("N / (C * count) for", caught_by=_BALANCED, balanced_weights=_in_order_of_appearance),
    Mistake("N / (C * count) for", caught_by=_BALANCED, balanced_weights=_in_order_of_count),
    Mistake("changed the labels", caught_by=_BALANCED, balanced_weights=_labels_in_place),
]
