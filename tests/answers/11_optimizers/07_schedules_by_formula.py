"""Answers that people give to schedules_by_formula, right ones and wrong ones."""

import bisect
import math

import numpy as np
import torch
from torch.optim import lr_scheduler

from dojo import Mistake


def _run(base, e, make):
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    sched = make(opt)
    for _ in range(e):
        opt.step()
        sched.step()
    return sched.get_last_lr()[0]


def _loop(base, e, size, g):
    lr = base
    for epoch in range(1, e + 1):
        if epoch % size == 0:
            lr *= g
    return lr


def _each_milestone(base, e, milestones, g):
    lr = base
    for m in milestones:
        if e >= m:
            lr = lr * g
    return lr


def _triangle(base, e, T, eta_min=0.0):
    """Back and forth as a number from 0 to T, then half a cosine."""
    k = e % (2 * T)
    k = min(k, 2 * T - k)
    return eta_min + 0.5 * (base - eta_min) * (1 + np.cos(np.pi * k / T))


def _epoch_by_epoch(base, e, T, eta_min=0.0):
    lr, way = base, -1
    for epoch in range(1, e + 1):
        share = (1 - math.cos(math.pi * ((epoch - 1) % T + 1) / T)) / 2
        lr = base + (eta_min - base) * share if way < 0 else eta_min + (base - eta_min) * share
        if epoch % T == 0:
            way = -way
    return float(lr)


RIGHT = [
    dict(
        step_lr=lambda b, e, s, g: float(np.float64(b) * np.power(np.float64(g), np.floor_divide(e, s))),
        multistep_lr=lambda b, e, m, g: b * g ** int((np.asarray(m) <= e).sum()),
        cosine_lr=_epoch_by_epoch,
    ),
    dict(
        step_lr=lambda b, e, s, g: _run(b, e, lambda opt: lr_scheduler.StepLR(opt, s, gamma=g)),
        multistep_lr=lambda b, e, m, g: _run(b, e, lambda opt: lr_scheduler.MultiStepLR(opt, m, gamma=g)),
        exponential_lr=lambda b, e, g: _run(b, e, lambda opt: lr_scheduler.ExponentialLR(opt, g)),
        cosine_lr=lambda b, e, T, eta_min=0.0: _run(b, e, lambda opt: lr_scheduler.CosineAnnealingLR(opt, T, eta_min)),
    ),
    dict(
        step_lr=_loop,
        multistep_lr=_each_milestone,
        exponential_lr=lambda b, e, g: b * math.prod([g] * e),
        cosine_lr=_triangle,
    ),
    dict(
        step_lr=lambda b, e, s, g: b * math.pow(g, math.floor(e / s)),
        multistep_lr=lambda b, e, m, g: b * g ** bisect.bisect_right(sorted(m), e),
        exponential_lr=lambda b, e, g: b * math.exp(e * math.log(g)),
        cosine_lr=lambda b, e, T, eta_min=0.0: (b + eta_min) / 2 + (b - eta_min) / 2 * math.cos(math.pi * e / T),
    ),
    dict(
        multistep_lr=lambda b, e, m, g: b * g ** len([k for k in m if not k > e]),
        cosine_lr=lambda b, e, T, eta_min=0.0: eta_min + (b - eta_min) * math.cos(math.pi * e / T / 2) ** 2,
    ),
    dict(
        step_lr=lambda b, e, s, g: b * g ** int(e / s),
        multistep_lr=lambda b, e, m, g: b * math.prod(g for k in m if e >= k),
        cosine_lr=lambda b, e, T, eta_min=0.0: (
            eta_min + 0.5 * (b - eta_min) * (1 + torch.cos(torch.tensor(math.pi * e / T))).item()
        ),
    ),
]


def _late_loop(base, e, size, g):
    for epoch in range(1, e):
        if epoch % size == 0:
            base *= g
    return base


def _early_loop(base, e, size, g):
    for epoch in range(e + 1):
        if (epoch + 1) % size == 0:
            base *= g
    return base


def _if_divisible(base, e, size, g):
    if e % size == 0 and e != 0:
        return base * g
    return base


def _in_milestones(base, e, milestones, g):
    lr = base
    for epoch in range(e + 1):
        if epoch in milestones:
            lr *= g
    return lr


def _sorted_set(base, e, milestones, g):
    return base * g ** bisect.bisect_right(sorted(set(milestones)), e)


def _only_then(base, e, milestones, g):
    return base * g if e in milestones else base


def _bisect_left(base, e, milestones, g):
    return base * g ** bisect.bisect_left(sorted(milestones), e)


def _appends(base, e, milestones, g):
    milestones.append(math.inf)
    n = 0
    for m in sorted(milestones):
        if e < m:
            return base * g**n
        n += 1


def _while_sorted(base, e, milestones, g):
    i = 0
    while i < len(milestones) and milestones[i] <= e:
        i += 1
    return base * g**i


def _compounds(base, e, g):
    lr = base
    for epoch in range(e + 1):
        lr = lr * g**epoch
    return lr


def _one_too_many(base, e, g):
    for _ in range(e + 1):
        base *= g
    return base


def _restarts(base, e, T, eta_min=0.0):
    e -= e // T * T
    return eta_min + 0.5 * (base - eta_min) * (1 + math.cos(e / T * math.pi))


def _stays(base, e, T, eta_min=0.0):
    if e >= T:
        return eta_min
    return eta_min + 0.5 * (base - eta_min) * (1 + math.cos(e / T * math.pi))


def _full_turn(base, e, T, eta_min=0.0):
    return eta_min + 0.5 * (base - eta_min) * (1 + math.cos(math.tau * e / T))


def _added(base, e, T, eta_min=0.0):
    return 0.5 * base * (1 + math.cos(math.pi * e / T)) + eta_min


def _clipped(base, e, T, eta_min=0.0):
    return max(0.5 * base * (1 + math.cos(math.pi * e / T)), eta_min)


WRONG = [
    Mistake(
        "the first rate that differs",
        caught_by="",
        cosine_lr=lambda b, e, T, eta_min=0.0: eta_min + (b - eta_min) * (1 - abs(e % (2 * T) - T) / T),
    ),
    Mistake("the first rate that differs", caught_by="", step_lr=lambda b, e, s, g: b * g ** (e % s)),
    Mistake("each drop comes one epoch late", caught_by="", step_lr=_late_loop),
    Mistake("each drop comes one epoch early", caught_by="", step_lr=_early_loop),
    Mistake("lower in the epoch of the drop only", caught_by="", step_lr=_if_divisible),
    Mistake("it falls a little each epoch", caught_by="", step_lr=lambda b, e, s, g: b * math.exp(math.log(g) * e / s)),
    Mistake("the first rate that differs", caught_by="", step_lr=lambda b, e, s, g: b * g ** round(e / s)),
    Mistake("the first rate that differs", caught_by="", step_lr=lambda b, e, s, g: b * g ** math.ceil(e / s)),
    Mistake("the first rate that differs", caught_by="", step_lr=lambda b, e, s, g: b - g * (e // s)),
    Mistake("there twice counts twice", caught_by="", multistep_lr=_in_milestones),
    Mistake("there twice counts twice", caught_by="", multistep_lr=_sorted_set),
    Mistake("in the epochs of the milestones only", caught_by="", multistep_lr=_only_then),
    Mistake("each drop comes one epoch late", caught_by="", multistep_lr=_bisect_left),
    Mistake("changed the list of milestones", caught_by="", multistep_lr=_appends),
    Mistake("taken to be sorted", caught_by="", multistep_lr=_while_sorted),
    Mistake("it should be the base times g ** e", caught_by="", exponential_lr=_compounds),
    Mistake("epoch 0 has the base itself", caught_by="", exponential_lr=_one_too_many),
    Mistake("the first rate that differs", caught_by="", exponential_lr=lambda b, e, g: b * (1 - g) ** e),
    Mistake("it starts again one epoch too early", caught_by="", cosine_lr=_restarts),
    Mistake("it stays at eta_min after T", caught_by="", cosine_lr=_stays),
    Mistake("that is a whole cosine", caught_by="", cosine_lr=_full_turn),
    Mistake("eta_min is added to the whole base", caught_by="", cosine_lr=_added),
    Mistake("eta_min cuts the cosine off", caught_by="", cosine_lr=_clipped),
]
