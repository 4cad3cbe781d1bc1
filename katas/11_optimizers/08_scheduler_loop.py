"""When to call scheduler.step()

A scheduler writes a new lr into the optimizer's groups. It writes the first one when it is made (the lr that you gave
may never be used), and each `sched.step()` writes the next. So the order is: opt.step() uses an lr, then sched.step()
makes the next one. Turned round, as in tutorials from before 2019, the first lr is skipped; PyTorch only warns. How
often you call it is the unit of the schedule: StepLR(opt, 30) means 30 epochs if it is called after each epoch, and 30
batches if after each batch. OneCycleLR wants a call for each batch, and refuses one too many.

`ReduceLROnPlateau` cuts lr when a metric gets no better, so after each epoch it wants to know it: sched.step(metric).
Its default is mode="min", for a loss; with an accuracy it then cuts while the model improves: take mode="max". patience
counts the bad epochs that it *forgives*: with patience=1 the second bad one in a row is answered, by lr * factor.

`LambdaLR(opt, f)` multiplies the first lr by f(e), e = 0, 1, 2, ...: f returns a factor. Who returns an lr there gets
lr * lr, and training hardly moves. A warm-up over k epochs is such a factor, 1/k, 2/k, ..., 1, and then stays 1.

What is asked here: a loop that calls a scheduler in time, a plateau for accuracy, and a warm-up. `opt.param_groups[0]`
holds the lr that the next step uses.

About 30 minutes. Before it: training_step, schedules_by_formula.

https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate
"""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from dojo import under_test
from dojo.kit import explain, raises


def run(
    opt: torch.optim.Optimizer,
    sched: Any,
    step_fn: Callable[[], Any],
    epochs: int,
    batches: int,
    per_batch: bool,
    val: Callable[[], float] | None,
    record: list[float],
) -> None:
    """Train for `epochs` epochs of `batches` batches, and let `sched` change the lr in time.

    `step_fn()` is the training step of one batch, with `opt.step()` in it. For each batch, append to `record` the lr
    that its step used (of the first group, a float). `sched` makes a step after each batch if `per_batch`, otherwise
    after each epoch. `val()` is the metric that a ReduceLROnPlateau needs: ask for it when the epoch is over. For all
    others `val` is None.
    """
    raise NotImplementedError("train, write down lr, and call the scheduler in time")


def accuracy_plateau(opt: torch.optim.Optimizer, wait: int) -> Any:
    """A scheduler that cuts the lr of each group to a tenth after `wait` epochs in a row without better accuracy.

    `wait` is 1 or more; an accuracy is better where it is 0.001 larger. After a cut it counts anew. It is told the
    accuracy after each epoch: `sched.step(accuracy)`.
    """
    raise NotImplementedError("make a ReduceLROnPlateau for accuracy")


def warmup_factor(e: int, k: int) -> float:
    """The factor for `LambdaLR` in epoch `e` = 0, 1, ...: rises in `k` equal steps (1 or more) to 1, and stays there.

    The first of them, in epoch 0, is 1/k.
    """
    raise NotImplementedError("return the factor of epoch e")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "Tried to step": "the scheduler made more steps than there are batches: after each batch or after each epoch, not "
    "both",
    "missing 1 required positional argument: 'metrics'": "ReduceLROnPlateau looks at a metric: "
    "give it to each step of the scheduler",
    "takes 1 positional argument but 2|float\\(\\)|must be a string or a real number": "the metric went to a scheduler "
    "that wants none, or val itself in place of what it returns",
}


class _Training:
    """An optimizer of two groups, a training step for it, and the lr that each step used in the first group."""

    def __init__(self, lr: float = 1.0) -> None:
        self.w, other = (torch.zeros(2, requires_grad=True) for _ in range(2))
        self.opt = torch.optim.SGD([{"params": [self.w]}, {"params": [other], "lr": lr / 3}], lr=lr)
        self.used: list[float] = []
        self.record: list[float] = []
        self.said: list[str] = []

    def step(self, *_: Any) -> torch.Tensor:
        self.used.append(self.opt.param_groups[0]["lr"])
        self.w.grad = torch.ones(2)
        self.opt.step()
        return torch.tensor(0.5)

    def run(self, sched: Any, epochs: int, batches: int, per_batch: bool, val: Any = None) -> None:
        """Where no metric is needed, val is None; an answer that calls it all the same gets a second try with one."""
        __tracebackhide__ = True
        start = copy.deepcopy((self.opt.state_dict(), sched.state_dict(), self.used, self.record))
        with warnings.catch_warnings(record=True) as caught, explain("run raised", _SIGNS):
            warnings.simplefilter("always")
            try:
                run(self.opt, sched, self.step, epochs, batches, per_batch, val, self.record)
            except TypeError as error:
                if val is not None or "'NoneType' object is not callable" not in str(error):
                    raise
                self.opt.load_state_dict(start[0])
                sched.load_state_dict(start[1])
                self.used[:], self.record[:] = start[2:]
                metric = _Metric(self, batches, [0.5] * (len(start[2]) + epochs))
                run(self.opt, sched, self.step, epochs, batches, per_batch, metric, self.record)
        self.said = [str(w.message).split("\n")[0] for w in caught]

    def check(self, want: list[float], said: str, early: int = 1) -> None:
        """Were these lr used? If not, the schedule may be ahead by `early` steps, those between two of its own."""
        __tracebackhide__ = True
        assert len(self.used) == len(want), f"step_fn was called {len(self.used)} times, for {len(want)} batches"
        shown = [round(lr, 6) for lr in self.used]
        right = self.used == pytest.approx(want, abs=1e-8)
        ahead = early and not right and self.used[:-early] == pytest.approx(want[early:], abs=1e-8)
        too_early = f"the steps used lr {shown}, expected {want}: the scheduler is one step ahead; step_fn comes first"
        assert not ahead, too_early
        assert self.used == pytest.approx(want, abs=1e-8), f"the steps used lr {shown}, expected {want}: {said}"
        numbers = all(isinstance(lr, float | int) for lr in self.record)
        assert numbers, f"record should hold an lr for each batch, as floats; got {self.record}"
        assert len(self.record) == len(want), f"record holds {len(self.record)} values for {len(want)} batches"
        same = self.record == pytest.approx(self.used, abs=1e-8)
        noted = f"record holds {[round(lr, 6) for lr in self.record]}, and the steps used lr {shown}"
        next_one = not same and self.record[:-1] == pytest.approx(self.used[1:], abs=1e-8)
        assert not next_one, f"{noted}: read it before sched.step() writes the next one"
        thirds = not same and self.record == pytest.approx([lr / 3 for lr in self.used], abs=1e-8)
        assert not thirds, f"{noted}: that is the lr of the second group"
        assert same, noted
        assert not self.said, f"PyTorch warned: {self.said[0]}"


class _Metric:
    """The metric after each epoch of a training; called or read as a number, it gives that of the last epoch."""

    def __init__(self, training: _Training, batches: int, values: list[float]) -> None:
        self.training, self.batches, self.values = training, batches, values

    def __call__(self, *_: Any) -> float:
        return self.values[max(len(self.training.used) // self.batches - 1, 0)]

    def __float__(self) -> float:
        return self()

    def __getitem__(self, epoch: int) -> float:
        return self.values[epoch]


@pytest.mark.myth(
    says="Call scheduler.step() at the beginning of the epoch, before optimizer.step().",
    today="Since 1.1 it comes after: a scheduler has set the first lr when it was made, and step() sets the next.",
)
def test_the_optimizer_steps_first_and_the_scheduler_after_the_epoch():
    training = _Training()
    sched = lr_scheduler.StepLR(training.opt, step_size=2)
    training.run(sched, 4, 3, False)
    training.check([1.0] * 6 + [0.1] * 6, "StepLR(2), 4 epochs of 3 batches: a step of it after each epoch", 3)
    training.run(sched, 1, 2, False)
    training.check([1.0] * 6 + [0.1] * 6 + [0.01] * 2, "another run goes on where the first one ended")


@pytest.mark.parametrize(
    ("make", "want"),
    [
        (lambda opt: lr_scheduler.ExponentialLR(opt, 0.5), [1.0, 0.5, 0.25, 0.125, 0.0625]),
        (lambda opt: lr_scheduler.MultiStepLR(opt, [1, 3], gamma=0.5), [1.0, 0.5, 0.5, 0.25, 0.25]),
        (lambda opt: lr_scheduler.CosineAnnealingLR(opt, T_max=4), [1.0, 0.85355339, 0.5, 0.14644661, 0.0]),
        (lambda opt: lr_scheduler.LambdaLR(opt, lambda e: 1 / (1 + e)), [1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5]),
    ],
    ids=["Exponential", "MultiStep", "CosineAnnealing", "Lambda"],
)
def test_every_scheduler_is_called_in_the_same_way(make, want):
    for batches in (1, 2):
        training = _Training()
        training.run(make(training.opt), 5, batches, False)
        training.check([lr for lr in want for _ in range(batches)], f"5 epochs, with batches: {batches}", batches)
    training = _Training()
    training.run(make(training.opt), 1, 5, True)
    training.check(want, "per_batch, in one epoch of 5 batches: a step of the scheduler after each of them")


def test_one_cycle_goes_on_with_each_batch():
    alone = _Training(lr=0.3)
    sched = lr_scheduler.OneCycleLR(alone.opt, max_lr=1.0, total_steps=10, cycle_momentum=False)
    for _ in range(10):
        alone.step()
        sched.step()
    want = alone.used
    for epochs, batches in ((2, 5), (1, 10), (5, 2)):
        training = _Training(lr=0.3)
        sched = lr_scheduler.OneCycleLR(training.opt, max_lr=1.0, total_steps=10, cycle_momentum=False)
        training.run(sched, epochs, batches, True)
        assert want[:3] == pytest.approx([0.04, 0.52, 1.0]), "one cycle rises from 1/25 of max_lr to max_lr"
        training.check(want, f"OneCycleLR over {epochs} epochs of {batches} batches, with a step after each batch")


@pytest.mark.parametrize("batches", [1, 3], ids=["epochs of one batch", "epochs of three batches"])
def test_a_plateau_scheduler_is_told_the_metric_of_the_epoch(batches):
    training = _Training()
    sched = lr_scheduler.ReduceLROnPlateau(training.opt, mode="min", factor=0.1, patience=0)
    values = [3.0, 2.0, 2.5, 1.0, 1.5, 0.5]
    training.run(sched, 6, batches, False, _Metric(training, batches, values))
    want = [1.0, 1.0, 1.0, 0.1, 0.1, 0.01]
    want = [lr for lr in want for _ in range(batches)]
    said = f"patience=0, and a loss of {values} after the epochs: worse after the third and the fifth"
    training.check(want, said, early=0)


def _plateau(wait: int, accuracies: list[float]) -> tuple[list[float], Any]:
    """The lr in each epoch of a training, where accuracy_plateau is told the accuracy after each; and the scheduler."""
    __tracebackhide__ = True
    w, v = (torch.zeros(1, requires_grad=True) for _ in range(2))
    opt = torch.optim.SGD([{"params": [w]}, {"params": [v], "lr": 0.5}], lr=1.0)
    signs = {"verbose": "schedulers don't talk any more: verbose= was removed, print sched.get_last_lr() yourself"}
    with explain(f"accuracy_plateau(opt, {wait}) raised", signs):
        sched = accuracy_plateau(opt, wait)
    assert hasattr(sched, "step"), f"accuracy_plateau returns the scheduler, not {type(sched).__name__}"
    lrs = []
    for accuracy in accuracies:
        lrs.append(round(opt.param_groups[0]["lr"], 12))
        other = opt.param_groups[1]["lr"]
        both = other == pytest.approx(lrs[-1] / 2)
        assert both, f"two groups began with lr 1 and 0.5, and now have {lrs[-1]} and {other}: both are to be cut"
        w.grad = torch.ones(1)
        opt.step()
        with explain("sched.step(accuracy) raised"):
            sched.step(accuracy)
    return lrs, sched


@pytest.mark.myth(
    says="ReduceLROnPlateau(opt) watches any metric, an accuracy too.",
    today="Its default is mode='min': a rising accuracy looks like a plateau, and lr falls while the model improves.",
)
def test_lr_stays_while_accuracy_rises():
    rising, wavering = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.5, 0.6, 0.55, 0.65, 0.6, 0.7, 0.6, 0.8, 0.75]
    slowly = [0.5 + 0.001 * epoch for epoch in range(12)]
    for wait, accuracies in ((1, rising), (2, rising), (2, wavering), (3, wavering), (3, slowly)):
        lrs, sched = _plateau(wait, accuracies)
        fell = min(lrs) < 1
        cause = '. For an accuracy, more is better: mode="max"' if getattr(sched, "mode", "") == "min" else ""
        assert not fell or accuracies == wavering, (
            f"wait={wait}, and an accuracy of {accuracies}: it improved and lr fell, {lrs}{cause}"
        )
        assert not fell, (
            f"wait={wait}, and an accuracy of {accuracies}: lr fell, {lrs}, though never {wait} epochs in a row were "
            "without better accuracy"
        )


@pytest.mark.myth(
    says="verbose=True lets a scheduler print each change of lr.",
    today="It was removed: the scheduler refuses it with a TypeError. get_last_lr() says what lr is.",
)
def test_patience_counts_the_bad_epochs_that_are_forgiven():
    for wait, accuracies, want in (
        (2, [0.5, 0.6, 0.6, 0.6, 0.6, 0.6], [1, 1, 1, 1, 0.1, 0.1]),
        (1, [0.5, 0.4, 0.6, 0.7], [1, 1, 0.1, 0.1]),
        (3, [0.5, 0.6, 0.4, 0.5, 0.45, 0.6], [1, 1, 1, 1, 1, 0.1]),
        (2, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [1, 1, 1, 0.1, 0.1, 0.01]),
    ):
        lrs, _ = _plateau(wait, accuracies)
        told = f"wait={wait}, and an accuracy of {accuracies} after the epochs: lr was {lrs}"
        never = lrs == [1.0] * len(want)
        assert not never, f"{told}, and never fell"
        bad = want.index(0.1)
        if lrs[: bad + 1] == [1.0] * (bad + 1):
            raise AssertionError(f"{told}: too late. patience=p forgives p bad epochs, and answers number p + 1")
        assert lrs[: bad + 1] == pytest.approx([1] * bad + [lrs[bad]]), f"{told}, expected {want}: too early"
        assert lrs[bad] == pytest.approx(0.1), f"{told}, expected {want}: it is cut to a tenth"
        assert lrs == pytest.approx(want), f"{told}, expected {want}: after a cut, {wait} bad epochs are counted anew"
    w = torch.zeros(1, requires_grad=True)
    with raises(TypeError, "a scheduler took verbose=True", match="verbose"):
        lr_scheduler.ReduceLROnPlateau(torch.optim.SGD([w], lr=1.0), verbose=True)  # type: ignore[call-arg]


@pytest.mark.myth(
    says="The function of LambdaLR returns the learning rate of an epoch.",
    today="It returns a factor, by which the optimizer's own lr is multiplied.",
)
def test_a_lambda_returns_a_factor():
    for k, want in ((4, [0.25, 0.5, 0.75, 1, 1, 1]), (1, [1, 1, 1]), (3, [1 / 3, 2 / 3, 1, 1])):
        with explain(f"warmup_factor(e, {k}) raised", {"ZeroDivision": "a factor of 1/k never divides by 0"}):
            got = [warmup_factor(e, k) for e in range(len(want))]
        assert all(isinstance(f, float | int) for f in got), f"a factor is a number, got {got}"
        assert got[0] != 0, f"warm-up over {k} epochs: {got}. The first lr is 0, so the first epoch is for nothing"
        assert got[-1] <= 1, f"warm-up over {k} epochs: {got}. It goes on rising: the factor is capped at 1"
        assert got == pytest.approx(want), f"warm-up over {k} epochs: expected {want}, got {got}"
    training = _Training(lr=0.2)
    with explain("LambdaLR(opt, lambda e: warmup_factor(e, 4)) raised"):
        sched = lr_scheduler.LambdaLR(training.opt, lambda e: warmup_factor(e, 4))
        for _ in range(6):
            training.step()
            sched.step()
    shown = [round(lr, 6) for lr in training.used]
    assert training.used == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2, 0.2]), f"from lr 0.2, LambdaLR made {shown}"
