"""Answers that people give to where_nan, right ones and wrong ones."""

import torch
import torch.nn.functional as F

from dojo import Mistake


def _indexed(x):
    out = torch.zeros_like(x)
    positive = x > 0
    out[positive] = x[positive].sqrt()
    return out


class _Sqrt(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        root = x.clamp(min=0).sqrt()
        ctx.save_for_backward(root)
        return root

    @staticmethod
    def backward(ctx, grad_output):
        (root,) = ctx.saved_tensors
        return torch.where(root > 0, grad_output / (2 * root), 0.0)


def _root_of_the_masked(x):
    return torch.where(x > 0, x, torch.zeros_like(x)).sqrt()


def _row_by_row(a, b):
    return torch.stack([torch.dist(p, q) for p, q in zip(a, b, strict=True)])


def _double_where(a, b):
    square = ((a - b) ** 2).sum(dim=-1)
    apart = square > 0
    return torch.where(apart, torch.where(apart, square, 1.0).sqrt(), 0.0)


def _one_at_a_time(x):
    return torch.stack([v.sqrt() if v > 0 else 0 * v for v in x.flatten()]).view(x.shape)


def _for_each_value(x):
    roots = []
    for v in x:
        if v > 0:
            roots.append(torch.sqrt(v))
        else:
            roots.append(torch.zeros_like(v))
    return torch.stack(roots)


def _where_rows_differ(a, b):
    same = (a == b).all(dim=1)
    d = torch.where(same[:, None], torch.ones_like(a), a - b)
    return torch.where(same, torch.zeros_like(d[:, 0]), d.pow(2).sum(1).sqrt())


RIGHT = [
    {"distance": _where_rows_differ},
    {"safe_sqrt": _one_at_a_time, "distance": lambda a, b: _indexed((a - b).square().sum(dim=1))},
    {"safe_sqrt": _indexed, "distance": lambda a, b: (a - b).norm(dim=-1)},
    {"safe_sqrt": _Sqrt.apply, "distance": _double_where},
    {"safe_sqrt": _root_of_the_masked, "distance": _row_by_row},
    {
        "safe_sqrt": lambda x: F.relu(x).sqrt(),
        "distance": lambda a, b: torch.cdist(a[:, None], b[:, None]).flatten(),
    },
    {
        "safe_sqrt": lambda x: x.masked_fill(x <= 0, 1.0).sqrt().masked_fill(x <= 0, 0.0),
        "distance": lambda a, b: F.pairwise_distance(a, b, eps=0.0),
    },
    {"distance": lambda a, b: ((a - b).square().sum(1) + 1e-12).sqrt()},
]


def _where_the_other_way(x):
    return torch.where(x <= 0, torch.zeros((), dtype=x.dtype), torch.pow(x, 0.5))


def _clean_up_afterwards(x):
    y = torch.sqrt(x)
    return torch.where(torch.isnan(y), torch.zeros_like(y), y)


def _masked_fill_only_after(x):
    return x.sqrt().masked_fill(x <= 0, 0.0)


def _big_eps(x):
    return torch.where(x > 0, x.relu() + 1e-6, 1e-6).sqrt() - 1e-3


def _zero_in_place(x):
    x.data[x.data < 0] = 0
    return _indexed(x)


class _Ones(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.relu().sqrt()

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, 0.5 * x.abs().pow(-0.5), 0.0)


def _where_on_the_distance(a, b):
    d = ((a - b) ** 2).sum(1).sqrt()
    return torch.where(d > 0, d, 0.0)


def _through_ones(x):
    ones, zeros = torch.ones(x.shape), torch.zeros(x.shape)
    return torch.where(x > 0, torch.sqrt(torch.where(x > 0, x, ones)), zeros)


def _sub_data(a, b):
    a.data.sub_(b.data)
    return a.norm(dim=1)


WRONG = [
    Mistake("exact in torch.float16", caught_by="", safe_sqrt=_through_ones),
    Mistake("safe_sqrt raised on a (2, 5) tensor", caught_by="", safe_sqrt=_for_each_value),
    Mistake("distance must not change a and b", caught_by="", distance=_sub_data),
    Mistake("and 0 elsewhere", caught_by="", safe_sqrt=lambda x: x.clamp(min=1e-4).sqrt()),
    Mistake("one number per row", caught_by="", distance=lambda a, b: (a - b).norm(dim=1, keepdim=True)),
    Mistake("one number per row", caught_by="", distance=lambda a, b: (a - b).abs().sum(1)),
    Mistake("differentiated wherever it was computed", caught_by="", safe_sqrt=_where_the_other_way),
    Mistake("differentiated wherever it was computed", caught_by="", safe_sqrt=_clean_up_afterwards),
    Mistake("differentiated wherever it was computed", caught_by="", safe_sqrt=_masked_fill_only_after),
    Mistake("the root of a negative number got through", caught_by="", safe_sqrt=lambda x: torch.sqrt(x + 1e-8)),
    Mistake("is steep at small x", caught_by="", safe_sqrt=_big_eps),
    Mistake("safe_sqrt must not change x", caught_by="", safe_sqrt=_zero_in_place),
    Mistake("the upstream weight times the slope", caught_by="", safe_sqrt=_Ones.apply),
    Mistake("no gradient", caught_by="", safe_sqrt=lambda x: _indexed(x.detach())),
    Mistake("the slope inf at 0, and inf * 0 is nan", caught_by="", distance=_where_on_the_distance),
    Mistake(
        "the slope inf at 0, and inf * 0 is nan", caught_by="", distance=lambda a, b: torch.hypot(*(a - b)[:, :2].T)
    ),
    Mistake("one number per row", caught_by="", distance=lambda a, b: torch.dist(a, b)),
    Mistake(
        "it should be 0 where two points meet", caught_by="", distance=lambda a, b: (a - b + 1e-7).norm(p=2, dim=1)
    ),
]
