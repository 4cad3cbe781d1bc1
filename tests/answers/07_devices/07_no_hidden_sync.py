"""Answers that people give to no_hidden_sync, right ones and wrong ones."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


def _running_mean(losses):
    total = torch.zeros_like(losses[0], requires_grad=False)
    for loss in losses:
        total += loss.detach()
    return total / len(losses)


@torch.no_grad()
def _sum_without_graph(losses):
    return sum(losses) / len(losses)


def _running_average(losses):
    mean = torch.tensor(0.0, device=losses[0].device)
    for i, loss in enumerate(losses):
        mean = mean + (loss.detach() - mean) / (i + 1)
    return mean


def _clip_like_torch(g, max):
    p = nn.Parameter(torch.empty_like(g))
    p.grad = g.clone()
    nn.utils.clip_grad_norm_([p], max)
    return p.grad


def _clip_by_where(g, max):
    norm = g.square().sum().sqrt()
    return torch.where(norm > max, g * (max / norm), g)


def _clip_by_denominator(g, max):
    norm = torch.linalg.vector_norm(g)
    return g / torch.clamp(norm / max, min=1.0)


def _clip_by_maximum(g, max):
    return g * max / torch.maximum(g.norm(), torch.full_like(g.norm(), max))


def _count_by_topk(logits, y):
    return torch.count_nonzero(logits.topk(1).indices.squeeze(1).eq(y))


def _count_by_gather(logits, y):
    best = logits.amax(dim=1)
    return logits.gather(1, y[:, None])[:, 0].ge(best).long().sum()


RIGHT = [
    dict(mean_loss=_running_mean, clip_norm=_clip_like_torch, n_correct=_count_by_topk, zero_negative=F.relu),
    dict(
        mean_loss=_sum_without_graph,
        clip_norm=_clip_by_where,
        n_correct=_count_by_gather,
        zero_negative=lambda x: torch.where(x < 0, torch.zeros_like(x), x),
    ),
    dict(
        mean_loss=lambda losses: torch.mean(torch.stack(losses)).detach(),
        clip_norm=_clip_by_denominator,
        n_correct=lambda logits, y: (logits.max(1)[1] == y).float().sum(),
        zero_negative=lambda x: x.masked_fill(x < 0, 0),
    ),
    dict(
        clip_norm=_clip_by_maximum,
        n_correct=lambda logits, y: torch.eq(torch.argmax(logits, -1), y).int().sum(),
        zero_negative=lambda x: x.relu(),
    ),
    dict(zero_negative=lambda x: torch.maximum(x, torch.tensor(0.0, dtype=x.dtype))),
    dict(
        mean_loss=_running_average,
        clip_norm=lambda g, max: g.reshape(1, -1).renorm(2, 0, max).view_as(g),
        n_correct=lambda logits, y: F.one_hot(y, logits.shape[1]).gather(1, logits.argmax(1, keepdim=True)).sum(),
        zero_negative=lambda x: torch.max(x, x.new_zeros(())),
    ),
    dict(
        mean_loss=lambda losses: torch.cat([x.reshape(1) for x in losses]).mean().data,
        clip_norm=lambda g, max: g * (max / torch.linalg.vector_norm(g).clamp(min=max)),
        n_correct=lambda logits, y: sum(logits.argmax(1) == y),
        zero_negative=lambda x: F.threshold(x, 0, 0),
    ),
]


def _mean_of_floats(losses):
    return float(np.mean([x.tolist() for x in losses]))


def _mean_via_numpy(losses):
    return torch.from_numpy(np.array([x.detach().numpy() for x in losses])).mean()


def _mean_into_the_first(losses):
    total = losses[0].data
    for loss in losses[1:]:
        total.add_(loss.data)
    return total.div(len(losses))


def _detach_in_the_list(losses):
    for i, loss in enumerate(losses):
        losses[i] = loss.detach()
    return torch.stack(losses).mean()


def _clip_if(g, max):
    length = torch.sqrt((g**2).sum())
    if length.item() <= max:
        return g
    return g / length * max


def _clip_always(g, max):
    return max * g / torch.linalg.vector_norm(g).clamp(min=1e-12)


def _count_in_a_loop(logits, y):
    hits = torch.zeros((), dtype=torch.int64)
    for row, label in zip(logits, y, strict=True):
        if row.argmax() == label:
            hits += 1
    return hits


def _count_selected(logits, y):
    return torch.tensor((logits.argmax(1) == y).nonzero().shape[0])


def _clamp_in_place(x):
    return x.clamp_(min=0)


def _loop_over_values(x):
    flat = [max(v, 0.0) for v in x.flatten().tolist()]
    return torch.tensor(flat, dtype=x.dtype, device=x.device).view(x.shape)


WRONG = [
    Mistake(
        "1e-20 is above 0",
        caught_by="",
        n_correct=lambda logits, y: F.softmax(logits, dim=-1).max(dim=-1).indices.eq(y).sum(),
    ),
    Mistake(
        "uint8 and float16 do not hold",
        caught_by="",
        n_correct=lambda logits, y: (logits.argmax(dim=1) == y).half().sum(),
    ),
    Mistake(
        "2**53 + 1 is not rounded",
        caught_by="",
        zero_negative=lambda x: x.relu() if x.is_floating_point() else x.to(torch.float64).relu().long(),
    ),
    Mistake("-inf becomes 0", caught_by="", zero_negative=lambda x: x * (x >= 0).to(x.dtype)),
    Mistake("an int64 tensor stays one", caught_by="", zero_negative=lambda x: torch.where(x < 0, torch.zeros(1), x)),
    Mistake("NaN is not negative", caught_by="", zero_negative=lambda x: torch.where(x >= 0, x, 0)),
    Mistake("float64: -1 + 1e-12", caught_by="", n_correct=lambda logits, y: logits.float().argmax(-1).eq(y).sum()),
    Mistake("mean_loss changed a loss itself", caught_by="", mean_loss=_mean_into_the_first),
    Mistake("mean_loss changed the list", caught_by="", mean_loss=_detach_in_the_list),
    Mistake(
        "reads every tensor in its list",
        caught_by="",
        mean_loss=lambda losses: losses[0].detach().new_tensor([x.detach() for x in losses]).mean(),
    ),
    Mistake(
        "your code asks for a value here",
        caught_by="",
        zero_negative=lambda x: torch.zeros_like(x).masked_scatter(x > 0, x[x > 0]),
    ),
    Mistake("the others stay", caught_by="", zero_negative=lambda x: x.float().clamp(min=0)),
    Mistake("the mean of 1, 2.5", caught_by="", mean_loss=lambda losses: torch.stack(losses).detach().median()),
    Mistake("you return a float", caught_by="", mean_loss=_mean_of_floats),
    Mistake("your code asks for a value here", caught_by="", mean_loss=_mean_via_numpy),
    Mistake("the mean still has a graph", caught_by="", mean_loss=lambda losses: sum(losses) / len(losses)),
    Mistake("the mean still has a graph", caught_by="", mean_loss=lambda losses: torch.stack(losses).mean().clone()),
    Mistake(
        "your code asks for a value here",
        caught_by="",
        mean_loss=lambda losses: torch.tensor(sum(float(x) for x in [y.detach() for y in losses]) / len(losses)),
    ),
    Mistake("your code asks for a value here", caught_by="", clip_norm=_clip_if),
    Mistake("below the maximum of 10", caught_by="", clip_norm=_clip_always),
    Mistake("over all values, is scaled down", caught_by="", clip_norm=lambda g, max: g.renorm(2, 0, max)),
    Mistake(
        "over all values, is scaled down",
        caught_by="",
        clip_norm=lambda g, max: g * torch.clamp(max / g.norm(p=1), max=1.0),
    ),
    Mistake("your code asks for a value here", caught_by="", n_correct=_count_in_a_loop),
    Mistake("your code asks for a value here", caught_by="", n_correct=_count_selected),
    Mistake(
        "you return a number: to get it",
        caught_by="",
        n_correct=lambda logits, y: sum(int(a == b) for a, b in zip(logits.argmax(1), y, strict=True)),
    ),
    Mistake("zero_negative changed its argument", caught_by="", zero_negative=_clamp_in_place),
    Mistake("your code asks for a value here", caught_by="", zero_negative=_loop_over_values),
    Mistake(
        "your code asks for a value here",
        caught_by="",
        zero_negative=lambda x: x.clamp(min=0) if (x < 0).any() else x.clone(),
    ),
]
