"""When to call scheduler.step(): reference.

Hint: Write down what one epoch does, line by line: which lr does its first step use, and who wrote that?
Hint: `opt.param_groups[0]["lr"]`; `ReduceLROnPlateau` has mode, factor and patience; `min` caps.
Hint: The scheduler's call stands in the inner loop or behind it, never in both; with a metric it is given val().

Why: Constructing a scheduler already makes its first step, so a loop has to begin with the optimizer's. A plateau
scheduler looks at the metric of an epoch, so it comes after the validation. patience=p lets p bad epochs pass, and
answers the next one: "after wait epochs" is patience=wait - 1. It also counts an improvement of less than 0.01 % as
none (threshold=1e-4, relative).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import lr_scheduler

from dojo import Mistake


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
    for _ in range(epochs):
        for _ in range(batches):
            record.append(opt.param_groups[0]["lr"])
            step_fn()
            if per_batch:
                sched.step()
        if val is not None:
            sched.step(val())
        elif not per_batch:
            sched.step()


def accuracy_plateau(opt: torch.optim.Optimizer, wait: int) -> Any:
    return lr_scheduler.ReduceLROnPlateau(opt, mode="max", factor=0.1, patience=wait - 1)


def warmup_factor(e: int, k: int) -> float:
    return min(1.0, (e + 1) / k)


def _lr(opt):
    return opt.param_groups[0]["lr"]


def _after_epoch(sched, val):
    sched.step() if val is None else sched.step(val())


def _loop(before_epoch=None, before=None, after=None, after_epoch=None, noted=_lr, note="before", rest=None):
    """A loop that calls these at its places, each with (opt, sched, per_batch, val)."""

    def wrong(opt, sched, step_fn, epochs, batches, per_batch, val, record):
        def call(what):
            if what is not None:
                what(opt, sched, per_batch, val)

        for _ in range(epochs):
            call(before_epoch)
            for _ in range(batches):
                call(before)
                if note == "before":
                    record.append(noted(opt))
                step_fn()
                if note == "after step":
                    record.append(noted(opt))
                call(after)
                if note == "after all":
                    record.append(noted(opt))
            call(after_epoch)
            if note == "epoch":
                record.append(noted(opt))
        call(rest)

    return wrong


def _batchwise(opt, sched, per_batch, val):
    if per_batch:
        sched.step()


def _epochwise(opt, sched, per_batch, val):
    if not per_batch:
        _after_epoch(sched, val)


def _always(opt, sched, per_batch, val):
    _after_epoch(sched, val)


def _never_a_metric(opt, sched, per_batch, val):
    if not per_batch:
        sched.step()


def _lr_as_metric(opt, sched, per_batch, val):
    if not per_batch:
        sched.step() if val is None else sched.step(_lr(opt))


def _by_hand(opt, sched, per_batch, val):
    if not per_batch:
        _after_epoch(sched, val)
        for group in opt.param_groups:
            group["lr"] *= 0.5


def _epoch_as_argument(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for epoch in range(epochs):
        for _ in range(batches):
            record.append(_lr(opt))
            step_fn()
            if per_batch:
                sched.step()
        if not per_batch:
            sched.step(epoch + 1) if val is None else sched.step(val())


def _one_batch_less(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    return run(opt, sched, step_fn, epochs, max(batches - 1, 1), per_batch, val, record)


def _cleared(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    record.clear()
    run(opt, sched, step_fn, epochs, batches, per_batch, val, record)


def _rebound(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    record = []
    run(opt, sched, step_fn, epochs, batches, per_batch, val, record)
    return record


def _optimizer_only(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for _ in range(epochs * batches):
        record.append(_lr(opt))
        opt.step()


def _first_metric(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    metric = val and val()
    run(opt, sched, step_fn, epochs, batches, per_batch, val and (lambda: metric), record)


def _plateau(**options):
    def make(opt, wait):
        chosen = {"mode": "max", "factor": 0.1, "patience": wait - 1}
        chosen |= {key: value(wait) if callable(value) else value for key, value in options.items()}
        return lr_scheduler.ReduceLROnPlateau(opt, **chosen)

    return make


def _absolute_threshold(opt, wait):
    return lr_scheduler.ReduceLROnPlateau(
        opt, mode="max", patience=wait - 1, threshold=0.1, threshold_mode="abs", factor=0.1
    )


def _one_cycle_only(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    """The class of the scheduler decides, not per_batch."""
    run(opt, sched, step_fn, epochs, batches, isinstance(sched, lr_scheduler.OneCycleLR), val, record)


class _NeverForgets:
    def __init__(self, opt, wait):
        self.opt, self.wait, self.best, self.bad = opt, wait, 0.0, 0

    def better(self, accuracy):
        return accuracy > self.best

    def step(self, accuracy):
        self.bad += not self.better(accuracy)
        self.best = max(self.best, accuracy)
        if self.bad == self.wait:
            self.bad = 0
            for group in self.opt.param_groups:
                group["lr"] *= 0.1


class _BetterThanYesterday(_NeverForgets):
    def step(self, accuracy):
        if accuracy > self.best:
            self.bad = 0
        super().step(accuracy)
        self.best = accuracy


class _TheFirstGroup(_NeverForgets):
    def step(self, accuracy):
        self.bad = 0 if self.better(accuracy) else self.bad + 1
        self.best = max(self.best, accuracy)
        if self.bad == self.wait:
            self.bad = 0
            self.opt.param_groups[0]["lr"] *= 0.1


def _of_the_last_group(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for _ in range(epochs):
        for _ in range(batches):
            for group in opt.param_groups:
                lr = group["lr"]
            record.append(lr)
            step_fn()
            if per_batch:
                sched.step()
        if not per_batch:
            _after_epoch(sched, val)


_FIRST = "test_the_optimizer_steps_first_and_the_scheduler_after_the_epoch"
_SAME = "test_every_scheduler_is_called_in_the_same_way"
_CYCLE = "test_one_cycle_goes_on_with_each_batch"
_METRIC = "test_a_plateau_scheduler_is_told_the_metric_of_the_epoch"
_RISING = "test_lr_stays_while_accuracy_rises"
_PATIENCE = "test_patience_counts_the_bad_epochs_that_are_forgiven"
_FACTOR = "test_a_lambda_returns_a_factor"

MISTAKES = [
    Mistake(
        "it improved and lr fell",
        caught_by=_RISING,
        accuracy_plateau=lambda opt, wait: lr_scheduler.ReduceLROnPlateau(
            opt, mode="max", patience=wait - 1, threshold=0.01, threshold_mode="abs"
        ),
    ),
    Mistake("step_fn comes first", caught_by=_SAME, run=_loop(before_epoch=_epochwise, before=_batchwise)),
    Mistake("step_fn comes first", caught_by=_FIRST, run=_loop(before_epoch=_epochwise, after=_batchwise)),
    Mistake("a step of it after each epoch", caught_by=_FIRST, run=_loop(after=_always)),
    Mistake("a step of it after each epoch", caught_by=_FIRST, run=_loop(after=_epochwise, after_epoch=_batchwise)),
    Mistake("a step of it after each epoch", caught_by=_FIRST, run=_loop(rest=_always)),
    Mistake("record holds 2 values for 14 batches", caught_by=_FIRST, run=_cleared),
    Mistake("record holds 0 values", caught_by=_FIRST, run=_rebound),
    Mistake(
        "record holds 4 values for 12 batches",
        caught_by=_FIRST,
        run=_loop(after=_batchwise, after_epoch=_epochwise, note="epoch"),
    ),
    Mistake(
        "before sched.step() writes the next one",
        caught_by=_SAME,
        run=_loop(after=_batchwise, after_epoch=_epochwise, note="after all"),
    ),
    Mistake(
        "record should hold an lr for each batch",
        caught_by=_SAME,
        run=_loop(
            after=_batchwise, after_epoch=_epochwise, noted=lambda opt: [group["lr"] for group in opt.param_groups]
        ),
    ),
    Mistake(
        "record holds", caught_by=_SAME, run=_loop(after=_batchwise, after_epoch=_epochwise, noted=lambda opt: 1.0)
    ),
    Mistake("PyTorch warned", caught_by=_SAME, run=_epoch_as_argument),
    Mistake("step_fn was called 8 times, for 12 batches", caught_by=_FIRST, run=_one_batch_less),
    Mistake("step_fn was called 0 times", caught_by=_FIRST, run=_optimizer_only),
    Mistake(
        "after each batch or after each epoch, not both",
        caught_by=_CYCLE,
        run=_loop(after=_batchwise, after_epoch=_always),
    ),
    Mistake("with a step after each batch", caught_by=_CYCLE, run=_loop(after_epoch=_always)),
    Mistake("5 epochs, with batches: 1", caught_by=_SAME, run=_loop(after=_batchwise, after_epoch=_by_hand)),
    Mistake(
        "looks at a metric",
        caught_by=_METRIC,
        run=_loop(after=_batchwise, after_epoch=_never_a_metric),
    ),
    Mistake("worse after the third", caught_by=_METRIC, run=_loop(after=_batchwise, after_epoch=_lr_as_metric)),
    Mistake("worse after the third", caught_by=_METRIC, run=_first_metric),
    Mistake("it improved and lr fell", caught_by=_RISING, accuracy_plateau=_plateau(mode="min")),
    Mistake("it improved and lr fell", caught_by=_RISING, accuracy_plateau=_absolute_threshold),
    Mistake(
        "and never fell",
        caught_by=_PATIENCE,
        accuracy_plateau=lambda opt, wait: lr_scheduler.StepLR(opt, step_size=wait, gamma=0.1),
    ),
    Mistake("epochs in a row were without", caught_by=_RISING, accuracy_plateau=_NeverForgets),
    Mistake("and never fell", caught_by=_PATIENCE, accuracy_plateau=_BetterThanYesterday),
    Mistake("per_batch, in one epoch of 5 batches", caught_by=_SAME, run=_one_cycle_only),
    Mistake("too late", caught_by=_PATIENCE, accuracy_plateau=_plateau(patience=lambda wait: wait)),
    Mistake("too early", caught_by=_PATIENCE, accuracy_plateau=_plateau(patience=lambda wait: max(wait - 2, 0))),
    Mistake("it is cut to a tenth", caught_by=_PATIENCE, accuracy_plateau=_plateau(factor=0.5)),
    Mistake("and never fell", caught_by=_PATIENCE, accuracy_plateau=_plateau(patience=10)),
    Mistake("two groups began with lr", caught_by=_PATIENCE, accuracy_plateau=_plateau(min_lr=0.5)),
    Mistake("two groups began with lr", caught_by=_PATIENCE, accuracy_plateau=_TheFirstGroup),
    Mistake("are counted anew", caught_by=_PATIENCE, accuracy_plateau=_plateau(cooldown=2)),
    Mistake("are counted anew", caught_by=_PATIENCE, accuracy_plateau=_plateau(min_lr=[0.1, 0.05])),
    Mistake("that is the lr of the second group", caught_by=_FIRST, run=_of_the_last_group),
    Mistake("verbose= was removed", caught_by=_PATIENCE, accuracy_plateau=_plateau(verbose=True)),
    Mistake("returns the scheduler, not NoneType", caught_by=_PATIENCE, accuracy_plateau=lambda opt, wait: None),
    Mistake("The first lr is 0", caught_by=_FACTOR, warmup_factor=lambda e, k: min(1.0, e / k)),
    Mistake("the factor is capped at 1", caught_by=_FACTOR, warmup_factor=lambda e, k: (e + 1) / k),
    Mistake("over 4 epochs: expected", caught_by=_FACTOR, warmup_factor=lambda e, k: min(1.0, (e + 1) / (k + 1))),
    Mistake("over 4 epochs: expected", caught_by=_FACTOR, warmup_factor=lambda e, k: 0.2 * min(1.0, (e + 1) / k)),
    Mistake("the factor is capped at 1", caught_by=_FACTOR, warmup_factor=lambda e, k: max(1.0, (e + 1) / k)),
    Mistake("The first lr is 0", caught_by=_FACTOR, warmup_factor=lambda e, k: min(1, (e + 1) // k)),
    Mistake(
        "never divides by 0", caught_by=_FACTOR, warmup_factor=lambda e, k: min(1.0, 1 / k + e * (1 - 1 / k) / (k - 1))
    ),
]
