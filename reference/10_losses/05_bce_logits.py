"""Yes or no: reference.

Hint: log(sigmoid(z)) can be computed without ever computing sigmoid(z).
Hint: `F.softplus` and `F.logsigmoid` are safe for every z, with the right slope at 0. log(1 - sigmoid(z)) is
`logsigmoid` of the opposite score.
Hint: The yes half is y times softplus of minus z, and pos_weight belongs to it. The no half: 1 - y times softplus of z.

Why: the loss has the slope sigmoid(z) - y, between -1 and 1 and never 0 where the answer is wrong; only the detour over
p, which rounds to 0 or 1, loses it. relu, abs and clamp have corners: for the point itself autograd picks one side or
0, and two such picks need not add up. pos_weight is not normalised: with 3 the gradients of the yeses are three times
as large. F.binary_cross_entropy_with_logits(z, y, pos_weight=...) does all of this.
"""

import math

import torch
from torch.nn import functional as F

from dojo import Mistake


def bce(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def bce_logits(z: torch.Tensor, y: torch.Tensor, pos_weight: float = 1.0) -> torch.Tensor:
    return (pos_weight * y * F.softplus(-z) + (1 - y) * F.softplus(z)).mean()


def predict(z: torch.Tensor) -> torch.Tensor:
    return (z > 0).long()


def _hard_targets(p, y):
    return -torch.where(y > 0.5, p.log(), (1 - p).log()).mean()


def _equal_to_one(p, y):
    return -torch.where(y == 1, p.log(), (1 - p).log()).mean()


def _no_bce(p, y):
    with torch.no_grad():
        return bce(p, y)


def _log_sigmoid(z, y, pos_weight=1.0):
    p = torch.sigmoid(z)
    return -(pos_weight * y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()


def _bce_loss(z, y, pos_weight=1.0):
    each = F.binary_cross_entropy(z.sigmoid(), y, reduction="none")
    return (each * (1 + (pos_weight - 1) * y)).mean()


def _clamped(z, y, pos_weight=1.0):
    p = z.sigmoid().clamp(1e-7, 1 - 1e-7)
    return -(pos_weight * y * p.log() + (1 - y) * (1 - p).log()).mean()


def _epsilon(z, y, pos_weight=1.0):
    p = z.sigmoid()
    return -(pos_weight * y * (p + 1e-12).log() + (1 - y) * (1 - p + 1e-12).log()).mean()


def _clamped_scores(z, y, pos_weight=1.0):
    return bce_logits(z.clamp(-15, 15), y, pos_weight)


def _clamped_at_fifty(z, y, pos_weight=1.0):
    return bce_logits(z.clamp(-50, 50), y, pos_weight)


def _textbook(z, y, pos_weight=1.0):
    log_weight = 1 + (pos_weight - 1) * y
    return ((1 - y) * z + log_weight * (torch.log1p(torch.exp(-z.abs())) + F.relu(-z))).mean()


def _textbook_clamp(z, y, pos_weight=1.0):
    soft = torch.log1p(torch.exp(-z.abs()))
    return (pos_weight * y * ((-z).clamp(min=0) + soft) + (1 - y) * (z.clamp(min=0) + soft)).mean()


def _naive_softplus(z, y, pos_weight=1.0):
    return (pos_weight * y * torch.log(1 + torch.exp(-z)) + (1 - y) * torch.log(1 + torch.exp(z))).mean()


def _twice(z, y, pos_weight=1.0):
    return bce_logits(z.sigmoid(), y, pos_weight)


def _where_hard(z, y, pos_weight=1.0):
    return torch.where(y > 0.5, pos_weight * F.softplus(-z), F.softplus(z)).mean()


def _both_halves(z, y, pos_weight=1.0):
    return pos_weight * bce_logits(z, y)


def _no_half(z, y, pos_weight=1.0):
    return (y * F.softplus(-z) + pos_weight * (1 - y) * F.softplus(z)).mean()


def _normalised(z, y, pos_weight=1.0):
    each = pos_weight * y * F.softplus(-z) + (1 - y) * F.softplus(z)
    return each.sum() / (pos_weight * y + 1 - y).sum()


def _weighted_where_sure(z, y, pos_weight=1.0):
    each = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    return (each * torch.where(y > 0.5, pos_weight, 1.0)).mean()


def _for_equal_weights_only(z, y, pos_weight=1.0):
    each = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    return (each * torch.where(y == 1, pos_weight, 1.0)).mean()


def _zero_is_no_weight(z, y, pos_weight=1.0):
    return bce_logits(z, y, pos_weight or 1.0)


def _only_from_one(z, y, pos_weight=1.0):
    return bce_logits(z, y, max(pos_weight, 1.0))


def _scaled_scores(z, y, pos_weight=1.0):
    return bce_logits(z * pos_weight, y)


def _opposite(z, y, pos_weight=1.0):
    return (pos_weight * y * F.softplus(z) + (1 - y) * F.softplus(-z)).mean()


def _summed(z, y, pos_weight=1.0):
    return F.binary_cross_entropy_with_logits(z, y, pos_weight=torch.tensor(pos_weight), reduction="sum")


def _detached(z, y, pos_weight=1.0):
    return bce_logits(z.detach(), y, pos_weight)


def _in_float32(z, y, pos_weight=1.0):
    return bce_logits(z.float(), y.float(), pos_weight).to(z.dtype)


def _drops_shape(z):
    return (z.flatten() > 0).int()


def _in_place(z):
    z[z > 0] = 1
    z[z <= 0] = 0
    return z


_BCE = "test_both_halves_count_and_a_target_may_lie_between"
_LOGITS = "test_the_loss_of_scores_is_the_loss_of_their_sigmoid"
_SURE = "test_a_sure_and_wrong_score_costs_much_and_pulls_hard"
_ZERO = "test_the_gradient_at_zero_is_half_a_step_either_way"
_WEIGHT = "test_pos_weight_multiplies_the_yes_half_only"
_PREDICT = "test_half_a_probability_is_a_score_of_zero"

KEEP = {_LOGITS: "the plain case, in float64 and of two shapes: what right looks like, before its edges"}

MISTAKES = [
    Mistake("that is y·log p alone", caught_by=_BCE, bce=lambda p, y: -(y * p.log()).mean()),
    Mistake("without the logarithm", caught_by=_BCE, bce=lambda p, y: -(y * p + (1 - y) * (1 - p)).mean()),
    Mistake(
        "the mean without the minus", caught_by=_BCE, bce=lambda p, y: (y * p.log() + (1 - y) * (1 - p).log()).mean()
    ),
    Mistake(
        "that is the sum, not the mean", caught_by=_BCE, bce=lambda p, y: F.binary_cross_entropy(p, y, reduction="sum")
    ),
    Mistake(
        "divided by the rows", caught_by=_BCE, bce=lambda p, y: F.binary_cross_entropy(p, y, reduction="sum") / len(p)
    ),
    Mistake("were taken for 1 and 0", caught_by=_BCE, bce=_hard_targets),
    Mistake("the mean over 6 elements", caught_by=_BCE, bce=_equal_to_one),
    Mistake("a sigmoid was applied to them", caught_by=_BCE, bce=lambda p, y: F.binary_cross_entropy_with_logits(p, y)),
    Mistake("p and y are exchanged", caught_by=_BCE, bce=lambda p, y: F.binary_cross_entropy(y, p)),
    Mistake(
        "the mean over 6 elements", caught_by=_BCE, bce=lambda p, y: F.binary_cross_entropy(p, y, reduction="none")
    ),
    Mistake("the mean over 6 elements", caught_by=_BCE, bce=lambda p, y: F.binary_cross_entropy(p, y) / math.log(2)),
    Mistake("the mean over 6 elements", caught_by=_BCE, bce=lambda p, y: (p - y).square().mean()),
    Mistake("float64 sees it", caught_by=_BCE, bce=lambda p, y: bce(p.float(), y.float()).to(p.dtype)),
    Mistake("the mean over five elements", caught_by=_BCE, bce=_no_bce),
    Mistake("sigmoid was applied twice", caught_by=_LOGITS, bce_logits=_twice),
    Mistake("a score of 5 for a yes costs", caught_by=_LOGITS, bce_logits=_opposite),
    Mistake("that is the sum, not the mean", caught_by=_LOGITS, bce_logits=_summed),
    Mistake("targets between 0 and 1 were rounded", caught_by=_LOGITS, bce_logits=_where_hard),
    Mistake(
        "wants probabilities", caught_by=_LOGITS, bce_logits=lambda z, y, pos_weight=1.0: F.binary_cross_entropy(z, y)
    ),
    Mistake("as exact as float64", caught_by=_LOGITS, bce_logits=_in_float32),
    Mistake("left the range of floats", caught_by=_SURE, bce_logits=_log_sigmoid),
    Mistake("left the range of floats", caught_by=_SURE, bce_logits=_naive_softplus),
    Mistake("where BCELoss stops the logarithm", caught_by=_SURE, bce_logits=_bce_loss),
    Mistake("like a clamp or an epsilon, hides the rest", caught_by=_SURE, bce_logits=_clamped),
    Mistake("like a clamp or an epsilon, hides the rest", caught_by=_SURE, bce_logits=_epsilon),
    Mistake("like a clamp or an epsilon, hides the rest", caught_by=_SURE, bce_logits=_clamped_scores),
    Mistake("like a clamp or an epsilon, hides the rest", caught_by=_SURE, bce_logits=_clamped_at_fifty),
    Mistake(
        "like a clamp or an epsilon, hides the rest",
        caught_by=_SURE,
        bce_logits=lambda z, y, pos_weight=1.0: bce_logits(z.clamp(-1e3, 1e3), y, pos_weight),
    ),
    Mistake("the loss is cut from z", caught_by=_ZERO, bce_logits=_detached),
    Mistake("at z = 0 the gradient is sigmoid(0) - y", caught_by=_ZERO, bce_logits=_textbook),
    Mistake("at z = 0 the gradient is sigmoid(0) - y", caught_by=_ZERO, bce_logits=_textbook_clamp),
    Mistake("pos_weight had no influence", caught_by=_WEIGHT, bce_logits=lambda z, y, pos_weight=1.0: bce_logits(z, y)),
    Mistake("pos_weight had no influence", caught_by=_WEIGHT, bce_logits=_zero_is_no_weight),
    Mistake("pos_weight had no influence", caught_by=_WEIGHT, bce_logits=_only_from_one),
    Mistake("multiplied both halves", caught_by=_WEIGHT, bce_logits=_both_halves),
    Mistake("multiplied the no half", caught_by=_WEIGHT, bce_logits=_no_half),
    Mistake("divided by the weights", caught_by=_WEIGHT, bce_logits=_normalised),
    Mistake("the y half times 3.0", caught_by=_WEIGHT, bce_logits=_weighted_where_sure),
    Mistake("the y half times 3.0", caught_by=_WEIGHT, bce_logits=_for_equal_weights_only),
    Mistake("multiplied the scores", caught_by=_WEIGHT, bce_logits=_scaled_scores),
    Mistake("that is the border for p", caught_by=_PREDICT, predict=lambda z: (z > 0.5).int()),
    Mistake("the answers to the scores", caught_by=_PREDICT, predict=lambda z: z.round()),
    Mistake("the answers to the scores", caught_by=_PREDICT, predict=lambda z: z.sigmoid()),
    Mistake("the answers to the scores", caught_by=_PREDICT, predict=lambda z: z.sign()),
    Mistake("the answers to the scores", caught_by=_PREDICT, predict=lambda z: (z.sigmoid() > 0).int()),
    Mistake("the answers to the scores", caught_by=_PREDICT, predict=lambda z: (z < 0).int()),
    Mistake("one answer for each score", caught_by=_PREDICT, predict=lambda z: z.argmax(-1)),
    Mistake("one answer for each score", caught_by=_PREDICT, predict=_drops_shape),
    Mistake("predict changed what it was given", caught_by=_PREDICT, predict=_in_place),
]
