"""Learning rates by formula: reference.

Hint: How often was the rate multiplied by g until epoch e? That number is the exponent.
Hint: `//` counts full steps; `sum(... for m in milestones)` counts milestones; `math.cos` and `math.pi`.
Hint: A cosine runs from 1 to -1 in half a turn. Add 1 and halve it: the share of the way from eta_min to base.

Why: torch computes most of these from the rate before, so that other changes of the rate last, and that is why its
values drift from the formula by up to a millionth. For a training of 20 epochs T_max has to be 20 (or the number of
batches, if the scheduler steps after each): a T_max of 10 ends at the full learning rate, the worst place to stop.
"""

import bisect
import math

import torch
from torch.optim import lr_scheduler

from dojo import Mistake


def step_lr(base: float, e: int, size: int, g: float) -> float:
    return base * g ** (e // size)


def multistep_lr(base: float, e: int, milestones: list[int], g: float) -> float:
    return base * g ** sum(m <= e for m in milestones)


def exponential_lr(base: float, e: int, g: float) -> float:
    return base * g**e


def cosine_lr(base: float, e: int, T: int, eta_min: float = 0.0) -> float:
    share = (1 + math.cos(math.pi * e / T)) / 2
    return eta_min + (base - eta_min) * share


def picture(solution):
    from dojo.kit import pictures

    base, last = 0.1, 40
    epochs = list(range(last + 1))
    rates = {
        "StepLR, size 10, g 0.5": [solution.step_lr(base, e, 10, 0.5) for e in epochs],
        "MultiStepLR, milestones 25 and 35, g 0.2": [solution.multistep_lr(base, e, [25, 35], 0.2) for e in epochs],
        "ExponentialLR, g 0.9": [solution.exponential_lr(base, e, 0.9) for e in epochs],
        "CosineAnnealingLR, T 40": [solution.cosine_lr(base, e, 40) for e in epochs],
        "CosineAnnealingLR, T 20, eta_min 0.01": [solution.cosine_lr(base, e, 20, eta_min=0.01) for e in epochs],
    }

    figure = pictures.figure(6, 4.4)
    axes = figure.subplots()
    for (name, values), (colour, dashes) in zip(rates.items(), pictures.CYCLE, strict=False):
        drops = "steps-post" if "StepLR" in name else "default"
        axes.plot(epochs, values, color=colour, linestyle=dashes, drawstyle=drops, label=name)
    pictures.tidy(axes, "epochs", "learning rate")
    figure.legend(fontsize=8, loc="outside lower center", ncols=2, frameon=False)

    ends = ", ".join(f"{name.split(',')[0]} {values[-1]:.4f}" for name, values in list(rates.items())[:4])
    climbs = rates["CosineAnnealingLR, T 20, eta_min 0.01"]
    return pictures.Picture(
        figure,
        f"From {base:g} in epoch 0 to epoch {last}: {ends}. With T 20 the cosine is lowest, {min(climbs):.3g}, "
        f"in epoch {climbs.index(min(climbs))}, and in epoch {last} back at {climbs[-1]:.3g}.",
        rates,
    )


def _sorts_in_place(base, e, milestones, g):
    milestones.sort()
    return base * g ** bisect.bisect_right(milestones, e)


def _pops(base, e, milestones, g):
    while milestones and milestones[0] <= e:
        milestones.pop(0)
        base *= g
    return base


def _stops_at_the_first_to_come(base, e, milestones, g):
    for m in milestones:
        if m > e:
            break
        base *= g
    return base


_seen: dict = {}


def _remembers_the_rate(base, e, size, g):
    """As an optimizer would: each call multiplies the rate of the call before."""
    if e == 0:
        _seen["rate"] = base
    elif e % size == 0:
        _seen["rate"] = _seen.get("rate", base) * g
    return _seen["rate"] if "rate" in _seen else base


def _remembers_by_call(base, e, g):
    _seen["exponential"] = base if e == 0 else _seen.get("exponential", base) * g
    return _seen["exponential"]


def _warm_restarts(base, e, T, eta_min=0.0):
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base)
    sched = lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=T, eta_min=eta_min)
    for _ in range(e):
        opt.step()
        sched.step()
    return sched.get_last_lr()[0]


def _restart_after_the_end(base, e, T, eta_min=0.0):
    return cosine_lr(base, e % (T + 1), T, eta_min)


def _cut_off(base, e, T, eta_min=0.0):
    return max(eta_min, base * (1 + math.cos(math.pi * e / T)) / 2)


def _degrees(base, e, T, eta_min=0.0):
    return eta_min + (base - eta_min) * (1 + math.cos(180 * e / T)) / 2


def _no_half(base, e, T, eta_min=0.0):
    return eta_min + (base - eta_min) * (1 + math.cos(math.pi * e / T))


def _in_float32(base, e, T, eta_min=0.0):
    return eta_min + (base - eta_min) * (1 + torch.cos(torch.tensor(math.pi * e / T))) / 2


def _short_pi(base, e, T, eta_min=0.0):
    return eta_min + (base - eta_min) * (1 + math.cos(3.14 * e / T)) / 2


_STEP = "test_step_lr_drops_at_each_multiple_of_its_size"
_MILESTONES = "test_each_milestone_counts_as_often_as_it_is_there"
_ORDER = "test_milestones_come_in_any_order"
_EXPONENTIAL = "test_exponential_lr_is_the_initial_rate_times_a_power"
_DOWN = "test_cosine_annealing_goes_down_along_half_a_cosine"
_UP = "test_cosine_annealing_climbs_back_after_its_end"
_CALLS = "test_a_rate_depends_on_the_epoch_and_not_on_the_call_before"

KEEP = {_DOWN: "the half of the cosine that is meant to be used; the next test is about what comes after it"}

MISTAKES = [
    Mistake("it falls a little each epoch", caught_by=_STEP, step_lr=lambda b, e, s, g: b * g ** (e / s)),
    Mistake("each drop comes one epoch early", caught_by=_STEP, step_lr=lambda b, e, s, g: b * g ** ((e + 1) // s)),
    Mistake(
        "each drop comes one epoch late", caught_by=_STEP, step_lr=lambda b, e, s, g: b * g ** (max(e - 1, 0) // s)
    ),
    Mistake(
        "lower in the epoch of the drop only",
        caught_by=_STEP,
        step_lr=lambda b, e, s, g: b * g if e > 0 and e % s == 0 else b,
    ),
    Mistake("it drops once and never again", caught_by=_STEP, step_lr=lambda b, e, s, g: b * g if e >= s else b),
    Mistake("it drops each epoch", caught_by=_STEP, step_lr=lambda b, e, s, g: b * g**e),
    Mistake("the first rate that differs", caught_by=_STEP, step_lr=lambda b, e, s, g: b * g * (e // s)),
    Mistake("the first rate that differs", caught_by=_STEP, step_lr=lambda b, e, s, g: b * (1 - g) ** (e // s)),
    Mistake("the first rate that differs", caught_by=_STEP, step_lr=lambda b, e, s, g: round(b * g ** (e // s), 4)),
    Mistake("a Python float, got Tensor", caught_by=_STEP, step_lr=lambda b, e, s, g: torch.tensor(b * g ** (e // s))),
    Mistake("asked for in the order 11, 3, 3, 0, 6", caught_by=_CALLS, step_lr=_remembers_the_rate),
    Mistake("asked for in the order 11, 3, 3, 0, 6", caught_by=_CALLS, exponential_lr=_remembers_by_call),
    Mistake(
        "there twice counts twice",
        caught_by=_MILESTONES,
        multistep_lr=lambda b, e, m, g: b * g ** len({k for k in m if k <= e}),
    ),
    Mistake(
        "in the epochs of the milestones only",
        caught_by=_MILESTONES,
        multistep_lr=lambda b, e, m, g: b * g ** m.count(e),
    ),
    Mistake(
        "each drop comes one epoch late",
        caught_by=_MILESTONES,
        multistep_lr=lambda b, e, m, g: b * g ** sum(k < e for k in m),
    ),
    Mistake(
        "it drops once and never again",
        caught_by=_MILESTONES,
        multistep_lr=lambda b, e, m, g: b * g if any(k <= e for k in m) else b,
    ),
    Mistake(
        "g times the number of milestones",
        caught_by=_MILESTONES,
        multistep_lr=lambda b, e, m, g: b * g * sum(k <= e for k in m) if any(k <= e for k in m) else b,
    ),
    Mistake("changed the list of milestones", caught_by=_MILESTONES, multistep_lr=_pops),
    Mistake("changed the list of milestones", caught_by=_ORDER, multistep_lr=_sorts_in_place),
    Mistake("taken to be sorted", caught_by=_ORDER, multistep_lr=_stops_at_the_first_to_come),
    Mistake(
        "the first rate that differs",
        caught_by=_ORDER,
        multistep_lr=lambda b, e, m, g: b * g ** bisect.bisect_right(m, e),
    ),
    Mistake("epoch 0 has the base itself", caught_by=_EXPONENTIAL, exponential_lr=lambda b, e, g: b * g ** (e + 1)),
    Mistake(
        "it should be the base times g ** e",
        caught_by=_EXPONENTIAL,
        exponential_lr=lambda b, e, g: b * math.prod(g**k for k in range(e + 1)),
    ),
    Mistake("that is exp(-g * e)", caught_by=_EXPONENTIAL, exponential_lr=lambda b, e, g: b * math.exp(-g * e)),
    Mistake("base times g times e", caught_by=_EXPONENTIAL, exponential_lr=lambda b, e, g: b * g * e),
    Mistake("the first rate that differs", caught_by=_EXPONENTIAL, exponential_lr=lambda b, e, g: (b * g) ** e),
    Mistake("the first rate that differs", caught_by=_EXPONENTIAL, exponential_lr=lambda b, e, g: b * e**g),
    Mistake(
        "it starts again one epoch too early",
        caught_by=_DOWN,
        cosine_lr=lambda b, e, T, eta_min=0.0: cosine_lr(b, e % T, T, eta_min),
    ),
    Mistake("it starts again one epoch too early", caught_by=_DOWN, cosine_lr=_warm_restarts),
    Mistake("it jumps back to the top after T;", caught_by=_UP, cosine_lr=_warm_restarts),
    Mistake("after T + 1 epochs", caught_by=_UP, cosine_lr=_restart_after_the_end),
    Mistake(
        "it stays at eta_min after T",
        caught_by=_UP,
        cosine_lr=lambda b, e, T, eta_min=0.0: cosine_lr(b, min(e, T), T, eta_min),
    ),
    Mistake(
        "that is a whole cosine",
        caught_by=_DOWN,
        cosine_lr=lambda b, e, T, eta_min=0.0: eta_min + (b - eta_min) * (1 + math.cos(2 * math.pi * e / T)) / 2,
    ),
    Mistake(
        "eta_min is added to the whole base",
        caught_by=_DOWN,
        cosine_lr=lambda b, e, T, eta_min=0.0: eta_min + b * (1 + math.cos(math.pi * e / T)) / 2,
    ),
    Mistake("eta_min had no influence", caught_by=_DOWN, cosine_lr=lambda b, e, T, eta_min=0.0: cosine_lr(b, e, T)),
    Mistake("eta_min cuts the cosine off", caught_by=_DOWN, cosine_lr=_cut_off),
    Mistake(
        "that is a straight line",
        caught_by=_DOWN,
        cosine_lr=lambda b, e, T, eta_min=0.0: b + (eta_min - b) * min(e / T, 1),
    ),
    Mistake(
        "a quarter of a cosine",
        caught_by=_DOWN,
        cosine_lr=lambda b, e, T, eta_min=0.0: eta_min + (b - eta_min) * math.cos(math.pi * e / T / 2),
    ),
    Mistake("the first rate that differs", caught_by=_DOWN, cosine_lr=_degrees),
    Mistake("the first rate that differs", caught_by=_DOWN, cosine_lr=_no_half),
    Mistake("the first rate that differs", caught_by=_DOWN, cosine_lr=_short_pi),
    Mistake(
        "the first rate that differs",
        caught_by=_DOWN,
        cosine_lr=lambda b, e, T, eta_min=0.0: cosine_lr(b, e, max(T - 1, 1), eta_min),
    ),
    Mistake(
        "the first rate that differs",
        caught_by=_UP,
        cosine_lr=lambda b, e, T, eta_min=0.0: cosine_lr(b, e, T, eta_min if e <= T else 0.0),
    ),
    Mistake("a Python float, got Tensor", caught_by=_DOWN, cosine_lr=_in_float32),
]
