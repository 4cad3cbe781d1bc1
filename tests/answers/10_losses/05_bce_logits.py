"""Answers that people give to bce_logits, right ones and wrong ones."""

import torch
from torch import nn
from torch.nn import functional as F

from dojo import Mistake


def _torch_logits(z, y, pos_weight=1.0):
    return F.binary_cross_entropy_with_logits(z, y, pos_weight=torch.tensor(pos_weight))


def _layer(z, y, pos_weight=1.0):
    return nn.BCEWithLogitsLoss(pos_weight=torch.tensor([pos_weight]))(z, y)


def _logsigmoid(z, y, pos_weight=1.0):
    return -torch.mean(pos_weight * y * F.logsigmoid(z) + (1 - y) * F.logsigmoid(-z))


def _as_in_torch(z, y, pos_weight=1.0):
    return ((1 - y) * z + (1 + (pos_weight - 1) * y) * F.softplus(-z)).mean()


def _logaddexp(z, y, pos_weight=1.0):
    zero = torch.zeros_like(z)
    return (y * torch.logaddexp(zero, -z) * pos_weight + (1 - y) * torch.logaddexp(zero, z)).mean()


def _maximum(z, y, pos_weight=1.0):
    zero = torch.zeros_like(z)

    def softplus(v):
        return torch.maximum(v, zero) + torch.log1p(torch.exp(-torch.maximum(v, -v)))

    each = pos_weight * y * softplus(-z) + (1 - y) * softplus(z)
    return each.sum() / each.numel()


def _element_by_element(z, y, pos_weight=1.0):
    """Each score on its own branch, where exp cannot overflow."""
    parts = []
    for s, t in zip(z.reshape(-1), y.reshape(-1)):
        soft = torch.log(1 + torch.exp(-s)) if s >= 0 else torch.log(1 + torch.exp(s)) - s
        parts.append(pos_weight * t * soft + (1 - t) * (soft + s))
    return sum(parts) / len(parts)


def _bce_in_a_loop(p, y):
    total = 0.0
    for a, t in zip(p.flatten(), y.flatten()):
        total = total - (t * torch.log(a) + (1 - t) * torch.log(1 - a))
    return total / p.numel()


RIGHT = [
    dict(bce=lambda p, y: -(y * torch.log(p + 1e-8) + (1 - y) * torch.log(1 - p + 1e-8)).mean()),
    dict(
        bce=_bce_in_a_loop,
        bce_logits=_element_by_element,
        predict=lambda z: torch.tensor([float(v > 0) for v in z.flatten().tolist()]).view(z.shape),
    ),
    dict(bce=F.binary_cross_entropy, bce_logits=_torch_logits, predict=lambda z: z > 0),
    dict(bce=nn.BCELoss(), bce_logits=_layer, predict=lambda z: (z.sigmoid() > 0.5).float()),
    dict(bce=lambda p, y: -torch.mean(y * p.log() + (1 - y) * torch.log1p(-p)), bce_logits=_logsigmoid),
    dict(bce_logits=_as_in_torch, predict=lambda z: z.sigmoid().round()),
    dict(bce_logits=_logaddexp, predict=lambda z: torch.where(z > 0, 1, 0)),
    dict(bce_logits=_maximum, predict=lambda z: torch.heaviside(z, torch.zeros_like(z)).int()),
    dict(
        bce=lambda p, y: F.binary_cross_entropy(p.clamp(1e-7, 1 - 1e-7), y), predict=lambda z: z.ge(0).to(torch.uint8)
    ),
]


def _first_half(p, y):
    return nn.NLLLoss(reduction="mean")(
        torch.stack([(1 - p).flatten(), p.flatten()], 1).log(), (y > 0).long().flatten()
    )


def _inner(p, y):
    return -(torch.dot(p.flatten(), y.flatten()) + torch.dot((1 - p).flatten(), (1 - y).flatten())) / p.numel()


def _two_classes(z, y, pos_weight=1.0):
    scores = torch.stack([torch.zeros_like(z), z], -1).flatten(0, -2)
    return F.cross_entropy(scores, y.round().long().flatten(), weight=torch.tensor([1.0, pos_weight], dtype=z.dtype))


def _nan_to_num(z, y, pos_weight=1.0):
    p = z.sigmoid()
    each = y * p.log().clamp(min=-100) * pos_weight + (1 - y) * (1 - p).log().clamp(min=-100)
    return -each.mean()


def _weight_argument(z, y, pos_weight=1.0):
    return F.binary_cross_entropy_with_logits(z, y, weight=torch.tensor(pos_weight))


def _weighted_then_normalised(z, y, pos_weight=1.0):
    each = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    w = 1 + (pos_weight - 1) * y
    return (each * w).sum() / w.sum()


def _after_a_sigmoid_layer(z, y, pos_weight=1.0):
    return _torch_logits(nn.Sigmoid()(z), y, pos_weight)


def _relu_form(z, y, pos_weight=1.0):
    loss = F.relu(z) - z * y + torch.log(1 + torch.exp(-torch.abs(z)))
    return (loss * (1 + (pos_weight - 1) * y)).mean()


def _where_form(z, y, pos_weight=1.0):
    low = torch.where(z > 0, z, torch.zeros_like(z)) - z * y + torch.log1p(torch.exp(-z.abs()))
    return (low + (pos_weight - 1) * y * F.softplus(-z)).mean()


def _per_row(p, y):
    return (
        F.binary_cross_entropy(p, y, reduction="none").flatten(1).sum(1).mean()
        if p.dim() > 1
        else F.binary_cross_entropy(p, y)
    )


def _if_given(z, y, pos_weight=1.0):
    weight = torch.tensor(pos_weight, dtype=z.dtype) if pos_weight else None
    return F.binary_cross_entropy_with_logits(z, y, pos_weight=weight)


WRONG = [
    Mistake("pos_weight had no influence", caught_by="", bce_logits=_if_given),
    Mistake("were taken for 1 and 0", caught_by="", bce=_first_half),
    Mistake("without the logarithm", caught_by="", bce=_inner),
    Mistake("divided by the rows", caught_by="", bce=_per_row),
    Mistake("that is y·log p alone", caught_by="", bce=lambda p, y: (y * -torch.log(p)).sum() / y.numel()),
    Mistake("the mean without the minus", caught_by="", bce=lambda p, y: -F.binary_cross_entropy(p, y)),
    Mistake("a sigmoid was applied to them", caught_by="", bce=lambda p, y: F.binary_cross_entropy(p.sigmoid(), y)),
    Mistake("p and y are exchanged", caught_by="", bce=lambda p, y: -(p * y.clamp(1e-6).log()).mean()),
    Mistake(
        "float64 sees it",
        caught_by="",
        bce=lambda p, y: F.binary_cross_entropy(p.to(torch.float32), y.to(torch.float32)).to(p.dtype),
    ),
    Mistake(
        "the mean over five elements",
        caught_by="",
        bce=lambda p, y: torch.tensor(F.binary_cross_entropy(p, y).item(), dtype=p.dtype),
    ),
    Mistake("targets between 0 and 1 were rounded", caught_by="", bce_logits=_two_classes),
    Mistake("where BCELoss stops the logarithm", caught_by="", bce_logits=_nan_to_num),
    Mistake("multiplied both halves", caught_by="", bce_logits=_weight_argument),
    Mistake("divided by the weights", caught_by="", bce_logits=_weighted_then_normalised),
    Mistake("sigmoid was applied twice", caught_by="", bce_logits=_after_a_sigmoid_layer),
    Mistake("at z = 0 the gradient is sigmoid(0) - y", caught_by="", bce_logits=_relu_form),
    Mistake("at z = 0 the gradient is sigmoid(0) - y", caught_by="", bce_logits=_where_form),
    Mistake(
        "left the range of floats",
        caught_by="",
        bce_logits=lambda z, y, pos_weight=1.0: (torch.log(1 + z.exp()) - z * y).mean(),
    ),
    Mistake(
        "like a clamp or an epsilon, hides the rest",
        caught_by="",
        bce_logits=lambda z, y, pos_weight=1.0: _torch_logits(z.clamp(-100, 100), y, pos_weight),
    ),
    Mistake(
        "the loss is cut from z",
        caught_by="",
        bce_logits=lambda z, y, pos_weight=1.0: _torch_logits(z, y, pos_weight).data,
    ),
    Mistake(
        "that is the sum, not the mean",
        caught_by="",
        bce_logits=lambda z, y, pos_weight=1.0: nn.BCEWithLogitsLoss(reduction="sum")(z, y),
    ),
    Mistake("that is the border for p", caught_by="", predict=lambda z: torch.where(z >= 0.5, 1.0, 0.0)),
    Mistake("the answers to the scores", caught_by="", predict=lambda z: z.round().int()),
    Mistake("the answers to the scores", caught_by="", predict=lambda z: z.sigmoid().sigmoid().round()),
    Mistake("one answer for each score", caught_by="", predict=lambda z: z.reshape(-1) > 0),
    Mistake("predict changed what it was given", caught_by="", predict=lambda z: z.sigmoid_().round_()),
]
