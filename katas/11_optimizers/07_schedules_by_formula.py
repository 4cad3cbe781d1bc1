"""Learning rates by formula: what four schedulers compute

A scheduler changes the learning rate of an optimizer from epoch to epoch. The plain ones are functions of the number of
the epoch, which starts at 0, and of the rate that the optimizer had at first (`base`): not of the rate before.

`StepLR` multiplies by gamma every `step_size` epochs. `MultiStepLR` does so at each of its milestones, from that epoch
on: a milestone that stands there twice counts twice, and their order does not matter. `ExponentialLR` multiplies by
gamma each epoch. `CosineAnnealingLR` swings: half a cosine from the base down to eta_min in T_max epochs. With T_max
shorter than the training, people expect that it starts again at the top, or that it stays at the bottom. It does
neither: the cosine goes on, so the rate climbs back the way it came, and is at the top again after 2 · T_max epochs.
The jump back to the top is `CosineAnnealingWarmRestarts`.

Two others that old tutorials list are not formulas of this kind, see scheduler_loop: `LambdaLR` multiplies the base by
what your own function says, `ReduceLROnPlateau` looks at a number that you measure. torch has more than a dozen in all.

What is asked here: the four rates as plain numbers, equal to those of torch up to a millionth of the base. In short, e
is the epoch and g is gamma. `math.cos` takes radians: half a turn is `math.pi`.

About 20 minutes. Before it: training_step.

https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from dojo import under_test
from dojo.kit import explain, unchanged


def step_lr(base: float, e: int, size: int, g: float) -> float:
    """The rate in epoch `e` (0 or more) of `StepLR(step_size=size, gamma=g)`, a Python float.

    It starts at `base`, and is multiplied by `g` every `size` epochs.
    """
    raise NotImplementedError("base, with g for every full size epochs")


def multistep_lr(base: float, e: int, milestones: list[int], g: float) -> float:
    """The rate in epoch `e` of `MultiStepLR(milestones, gamma=g)`, a Python float.

    Multiplied by `g` at each milestone, in that epoch already. The milestones, 1 or more, come in any order, and may be
    there twice. The list stays as it is.
    """
    raise NotImplementedError("base, with g for every milestone that was reached")


def exponential_lr(base: float, e: int, g: float) -> float:
    """The rate in epoch `e` of `ExponentialLR(gamma=g)`, a Python float: multiplied by `g` once an epoch."""
    raise NotImplementedError("base, with g for every epoch")


def cosine_lr(base: float, e: int, T: int, eta_min: float = 0.0) -> float:
    """The rate in epoch `e` of `CosineAnnealingLR(T_max=T, eta_min=eta_min)`, a Python float.

    From `base` in epoch 0 to `eta_min` in epoch `T` along half a cosine, then back along the other half, and so on.
    """
    raise NotImplementedError("between base and eta_min, along a cosine")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

EPOCHS = 20


def _of_torch(base: float, scheduler: Callable[..., Any], **options: Any) -> list[float]:
    """The rates of 20 epochs, as torch's own scheduler sets them."""
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base)
    sched, rates = scheduler(opt, **options), []
    for _ in range(EPOCHS):
        rates.append(float(opt.param_groups[0]["lr"]))
        opt.step()
        sched.step()
    return rates


def _rate(function: Callable[..., Any], base: float, e: int, *args: Any, **options: Any) -> float:
    """One rate, where that is a float."""
    __tracebackhide__ = True
    stubs = ("step_lr", "multistep_lr", "exponential_lr", "cosine_lr")
    name = next(name for name in stubs if globals()[name] is function)
    given = ", ".join([*map(str, (base, e, *args)), *(f"{key}={value}" for key, value in options.items())])
    with explain(f"{name}({given}) raised"):
        with unchanged(f"{name} changed the list of milestones", args=args):
            rate = function(base, e, *args, **options)
    assert isinstance(rate, float), f"{name}({given}) is a Python float, got {type(rate).__name__}"
    return rate


def _compare(got: list[float], want: list[float], base: float, what: str, known: dict[str, list[float]]) -> None:
    """`got` is `want`; if not, and it is what a known mistake gives, its sentence is said."""
    __tracebackhide__ = True

    def same(a: list[float], b: list[float]) -> bool:
        return all(abs(x - y) <= 1e-6 * base for x, y in zip(a, b, strict=True))

    if same(got, want):
        return
    for sentence, wrong in known.items():
        assert not same(got, wrong), f"{what}: {sentence}\nexpected {_short(want)}\ngot      {_short(got)}"
    e = next(e for e in range(len(want)) if not same(got[e : e + 1], want[e : e + 1]))
    raise AssertionError(
        f"{what}: the first rate that differs is number {e}, expected {want[e]:.7g}, got {got[e]:.7g}\n"
        f"expected {_short(want)}\ngot      {_short(got)}"
    )


def _short(rates: list[float]) -> str:
    return " ".join(f"{rate:.4g}" for rate in rates)


def test_step_lr_drops_at_each_multiple_of_its_size():
    for base, size, g in ((1.0, 3, 0.1), (0.5, 4, 0.5), (0.3, 1, 0.9), (2.0, 7, 1.5)):
        got = [_rate(step_lr, base, e, size, g) for e in range(EPOCHS)]
        want = _of_torch(base, lr_scheduler.StepLR, step_size=size, gamma=g)
        known = {
            "it falls a little each epoch, it should drop at once and then stay": [
                base * g ** (e / size) for e in range(EPOCHS)
            ],
            "each drop comes one epoch early": [base * g ** ((e + 1) // size) for e in range(EPOCHS)],
            "each drop comes one epoch late": [base * g ** (max(e - 1, 0) // size) for e in range(EPOCHS)],
            "it is lower in the epoch of the drop only": [
                base * (g if e and e % size == 0 else 1) for e in range(EPOCHS)
            ],
            "it drops once and never again": [base * (g if e >= size else 1) for e in range(EPOCHS)],
            "it drops each epoch, whatever the size": [base * g**e for e in range(EPOCHS)],
        }
        _compare(got, want, base, f"StepLR(step_size={size}, gamma={g})", known)
    literal = [_rate(step_lr, 1.0, e, 3, 0.1) for e in (0, 2, 3, 5, 6, 9)]
    _compare(literal, [1.0, 1.0, 0.1, 0.1, 0.01, 0.001], 1.0, "size 3, in the epochs 0, 2, 3, 5, 6, 9", {})


def test_each_milestone_counts_as_often_as_it_is_there():
    for base, milestones, g in ((0.5, [2, 5, 5, 9], 0.1), (1.0, [1], 0.3), (0.2, [3, 3, 3, 40], 0.5), (0.7, [], 0.1)):
        got = [_rate(multistep_lr, base, e, milestones, g) for e in range(EPOCHS)]
        want = _of_torch(base, lr_scheduler.MultiStepLR, milestones=list(milestones), gamma=g)
        passed = [[m for m in milestones if m <= e] for e in range(EPOCHS)]
        known = {
            "a milestone that is there twice counts twice": [base * g ** len(set(p)) for p in passed],
            "it is lower in the epochs of the milestones only, it should stay there": [
                base * g ** milestones.count(e) for e in range(EPOCHS)
            ],
            "each drop comes one epoch late: it is there in the epoch of the milestone already": [
                base * g ** sum(m < e for m in milestones) for e in range(EPOCHS)
            ],
            "it drops once and never again": [base * (g if p else 1) for p in passed],
            "it is multiplied by g times the number of milestones": [base * (g * len(p) if p else 1) for p in passed],
        }
        _compare(got, want, base, f"MultiStepLR({milestones}, gamma={g})", known)


def test_milestones_come_in_any_order():
    for milestones in ([5, 2], [9, 5, 2], [12, 1, 19]):
        got = [_rate(multistep_lr, 1.0, e, milestones, 0.1) for e in range(EPOCHS)]
        want = _of_torch(1.0, lr_scheduler.MultiStepLR, milestones=list(milestones), gamma=0.1)
        stops = [0.1 ** next((i for i, m in enumerate(milestones) if m > e), len(milestones)) for e in range(EPOCHS)]
        said = "the milestones were taken to be sorted, and are not"
        _compare(got, want, 1.0, f"MultiStepLR({milestones}, gamma=0.1)", {said: stops})


@pytest.mark.myth(
    says="ExponentialLR sets lr = lr · gamma ** epoch.",
    today="It is the initial rate times gamma ** epoch: the rate before is multiplied by gamma once.",
)
def test_exponential_lr_is_the_initial_rate_times_a_power():
    for base, g in ((0.5, 0.9), (1.0, 0.5), (0.3, 1.1)):
        got = [_rate(exponential_lr, base, e, g) for e in range(EPOCHS)]
        want = _of_torch(base, lr_scheduler.ExponentialLR, gamma=g)
        known = {
            "epoch 0 has the base itself": [base * g ** (e + 1) for e in range(EPOCHS)],
            "each rate is the one before times g ** e; it should be the base times g ** e": [
                base * g ** (e * (e + 1) // 2) for e in range(EPOCHS)
            ],
            "that is exp(-g * e), and not g ** e": [base * math.exp(-g * e) for e in range(EPOCHS)],
            "that is base times g times e": [base * g * e for e in range(EPOCHS)],
        }
        _compare(got, want, base, f"ExponentialLR(gamma={g})", known)
    literal = [_rate(exponential_lr, 0.5, e, 0.9) for e in (0, 1, 2, 3)]
    _compare(literal, [0.5, 0.45, 0.405, 0.3645], 0.5, "gamma .9 in the epochs 0 to 3", {})


def test_cosine_annealing_goes_down_along_half_a_cosine():
    for base, T, eta_min in ((1.0, 4, 0.1), (0.5, 10, 0.0), (0.3, 7, 0.2)):
        got = [_rate(cosine_lr, base, e, T, eta_min=eta_min) for e in range(T + 1)]
        want = _of_torch(base, lr_scheduler.CosineAnnealingLR, T_max=T, eta_min=eta_min)[: T + 1]
        half = [(1 + math.cos(math.pi * e / T)) / 2 for e in range(T + 1)]
        known = {
            "the rate in epoch T is eta_min, it starts again one epoch too early": [*want[:-1], base],
            "that is a whole cosine; half of it goes from base to eta_min": [
                eta_min + (base - eta_min) * (1 + math.cos(2 * math.pi * e / T)) / 2 for e in range(T + 1)
            ],
            "eta_min is added to the whole base; the cosine goes between the two": [eta_min + base * h for h in half],
            "eta_min had no influence": [base * h for h in half],
            "eta_min cuts the cosine off; the cosine should be between the two": [max(eta_min, base * h) for h in half],
            "that is a straight line": [base + (eta_min - base) * e / T for e in range(T + 1)],
            "that is a quarter of a cosine, whose fall ends in a corner": [
                eta_min + (base - eta_min) * math.cos(math.pi * e / T / 2) for e in range(T + 1)
            ],
        }
        _compare(got, want, base, f"CosineAnnealingLR(T_max={T}, eta_min={eta_min}) up to T", known)
    literal = [_rate(cosine_lr, 1.0, e, 4) for e in range(5)]
    root = math.sqrt(0.5) / 2
    _compare(literal, [1.0, 0.5 + root, 0.5, 0.5 - root, 0.0], 1.0, "T 4, and eta_min 0 if it is not given", {})


@pytest.mark.myth(
    says="CosineAnnealingLR starts again at the maximum after each period.",
    today="It climbs back the way it came. The jump to the top is CosineAnnealingWarmRestarts.",
)
def test_cosine_annealing_climbs_back_after_its_end():
    for base, T, eta_min in ((0.5, 4, 0.0), (1.0, 4, 0.1), (0.5, 3, 0.05), (2.0, 6, 0.0), (0.4, 1, 0.1)):
        got = [_rate(cosine_lr, base, e, T, eta_min=eta_min) for e in range(T + 1, EPOCHS)]
        want = _of_torch(base, lr_scheduler.CosineAnnealingLR, T_max=T, eta_min=eta_min)[T + 1 :]

        def shape(e: int, base: float = base, T: int = T, eta_min: float = eta_min) -> float:
            return eta_min + (base - eta_min) * (1 + math.cos(math.pi * e / T)) / 2

        known = {
            "it jumps back to the top after T; it should climb, the way it came": [
                shape(e % T) for e in range(T + 1, EPOCHS)
            ],
            "it jumps back to the top after T + 1 epochs; it should climb, the way it came": [
                shape(e % (T + 1)) for e in range(T + 1, EPOCHS)
            ],
            "it stays at eta_min after T; the cosine goes on, and climbs": [eta_min] * (EPOCHS - T - 1),
        }
        _compare(got, want, base, f"CosineAnnealingLR(T_max={T}, eta_min={eta_min}) from epoch {T + 1} on", known)


def test_a_rate_depends_on_the_epoch_and_not_on_the_call_before():
    def rates(e: int) -> list[float]:
        return [
            _rate(step_lr, 0.5, e, 3, 0.1),
            _rate(multistep_lr, 0.5, e, [4, 7], 0.1),
            _rate(exponential_lr, 0.5, e, 0.9),
            _rate(cosine_lr, 0.5, e, 8, eta_min=0.1),
        ]

    in_order = [rates(e) for e in range(12)]
    for e in (11, 3, 3, 0, 6):
        said = (
            f"the four rates in epoch {e}, asked for in the order 11, 3, 3, 0, 6, and before in the order 0, 1, 2 ..."
        )
        _compare(rates(e), in_order[e], 0.5, said, {})
