"""Answers that people give to scheduler_loop, right ones and wrong ones."""

import torch
from torch.optim import lr_scheduler

from dojo import Mistake


def _by_class(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for epoch in range(epochs):
        for batch in range(batches):
            lr = opt.param_groups[0]["lr"]
            step_fn(epoch, batch)
            record.append(lr)
            if per_batch:
                sched.step()
        if not per_batch:
            if isinstance(sched, lr_scheduler.ReduceLROnPlateau):
                sched.step(val(epoch))
            else:
                sched.step()
    return record


def _by_number(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for _ in range(epochs):
        for _ in range(batches):
            record.append(float(opt.param_groups[0]["lr"]))
            step_fn()
            per_batch and sched.step()
        if not per_batch:
            args = () if val is None else (val,)
            sched.step(*args)


def _flat(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for i in range(1, epochs * batches + 1):
        step_fn()
        record.append(opt.param_groups[0]["lr"])
        metric = val() if callable(val) and i % batches == 0 else None
        if metric is not None:
            sched.step(max(metric, val()))
        elif per_batch or i % batches == 0:
            sched.step()


def _with_step(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for _ in range(epochs):
        for _ in range(batches):
            record.append(sched.get_last_lr()[0])
            step_fn()
            opt.step()
            if per_batch:
                sched.step()
        if not per_batch:
            sched.step(metrics=val()) if val else sched.step()


class _Plateau:
    """By hand."""

    def __init__(self, opt, wait):
        self.opt, self.wait, self.best, self.bad = opt, wait, float("-inf"), 0

    def step(self, accuracy):
        if accuracy > self.best:
            self.best, self.bad = accuracy, 0
        else:
            self.bad += 1
        if self.bad >= self.wait:
            self.bad = 0
            for group in self.opt.param_groups:
                group["lr"] *= 0.1


def _linear(e, k):
    if e + 1 >= k:
        return 1
    return (e + 1) / k


def _positional(opt, wait):
    return lr_scheduler.ReduceLROnPlateau(opt, "max", 0.1, wait - 1)


def _exact(opt, wait):
    return lr_scheduler.ReduceLROnPlateau(opt, mode="max", patience=wait - 1, threshold=0)


def _the_error(opt, wait):
    """1 - accuracy is an error, and less of it is better."""
    sched = lr_scheduler.ReduceLROnPlateau(opt, patience=wait - 1)
    step = sched.step
    sched.step = lambda accuracy: step(1 - accuracy)
    return sched


def _always_validates(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    """The metric of each epoch is asked for, whoever needs it."""
    for _ in range(epochs):
        for _ in range(batches):
            record += [opt.param_groups[0]["lr"]]
            step_fn()
            if per_batch:
                sched.step()
        metric = val()
        if isinstance(sched, lr_scheduler.ReduceLROnPlateau):
            sched.step(metric)
        elif not per_batch:
            sched.step()


RIGHT = [
    {"run": _always_validates},
    {"accuracy_plateau": _the_error, "warmup_factor": lambda e, k: torch.linspace(1 / k, 1, k)[min(e, k - 1)].item()},
    {"run": _by_class, "accuracy_plateau": _Plateau, "warmup_factor": _linear},
    {"run": _by_number, "accuracy_plateau": _positional},
    {"run": _flat, "accuracy_plateau": _exact, "warmup_factor": lambda e, k: min(e + 1, k) / k},
    {"run": _with_step, "warmup_factor": lambda e, k: float(torch.tensor((e + 1) / k).clamp(max=1.0).item())},
]


def _old_order(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for _ in range(epochs):
        if not per_batch:
            sched.step(val()) if val else sched.step()
        for _ in range(batches):
            if per_batch:
                sched.step()
            record.append(opt.param_groups[0]["lr"])
            step_fn()


def _each_batch_and_epoch(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for _ in range(epochs):
        for _ in range(batches):
            record.append(opt.param_groups[0]["lr"])
            step_fn()
            if per_batch:
                sched.step()
        sched.step(val()) if val else sched.step()


def _per_batch_ignored(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for _ in range(epochs):
        for _ in range(batches):
            record.append(opt.param_groups[0]["lr"])
            step_fn()
        sched.step(val()) if val else sched.step()


def _always_per_batch(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for _ in range(epochs):
        for _ in range(batches):
            record.append(opt.param_groups[0]["lr"])
            step_fn()
            sched.step(val()) if val else sched.step()


def _noted_too_late(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for _ in range(epochs):
        for _ in range(batches):
            step_fn()
            if per_batch:
                sched.step()
            record.append(sched.get_last_lr()[0])
        if not per_batch:
            sched.step(val()) if val else sched.step()


def _noted_as_list(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for _ in range(epochs):
        for _ in range(batches):
            record.append(sched.get_last_lr())
            step_fn()
            if per_batch:
                sched.step()
        if not per_batch:
            sched.step(val()) if val else sched.step()


def _noted_once_an_epoch(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for _ in range(epochs):
        record.append(opt.param_groups[0]["lr"])
        for _ in range(batches):
            step_fn()
            if per_batch:
                sched.step()
        if not per_batch:
            sched.step(val()) if val else sched.step()


def _without_metric(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for _ in range(epochs):
        for _ in range(batches):
            record.append(opt.param_groups[0]["lr"])
            step_fn()
            if per_batch:
                sched.step()
        if not per_batch:
            sched.step()


def _with_epoch(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    n = 0
    for epoch in range(epochs):
        for _ in range(batches):
            record.append(opt.param_groups[0]["lr"])
            step_fn()
            n += 1
            if per_batch:
                sched.step(n)
        if not per_batch:
            sched.step(val() if val else epoch + 1)


def _not_called(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for _ in range(epochs):
        for _ in range(batches):
            record.append(opt.param_groups[0]["lr"])
            opt.zero_grad()
            opt.step()
            if per_batch:
                sched.step()
        if not per_batch:
            sched.step(val()) if val else sched.step()


def _by_kind(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    each_batch = isinstance(sched, (lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR))
    for _ in range(epochs):
        for _ in range(batches):
            record.append(opt.param_groups[0]["lr"])
            step_fn()
            if each_batch:
                sched.step()
        if not each_batch:
            sched.step(val()) if val else sched.step()


def _once_at_the_end(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for _ in range(epochs * batches):
        record.append(opt.param_groups[0]["lr"])
        step_fn()
    sched.step(val()) if val else sched.step()


def _metric_before_the_epoch(opt, sched, step_fn, epochs, batches, per_batch, val, record):
    for _ in range(epochs):
        metric = val() if val else None
        for _ in range(batches):
            record.append(opt.param_groups[0]["lr"])
            step_fn()
            if per_batch:
                sched.step()
        if not per_batch:
            sched.step() if metric is None else sched.step(metric)


class _BestOfLastEpoch:
    def __init__(self, opt, wait):
        self.opt, self.wait, self.history = opt, wait, []

    def step(self, accuracy):
        self.history.append(accuracy)
        last = self.history[-self.wait - 1 :]
        if len(last) > self.wait and all(b <= a for a, b in zip(last, last[1:], strict=False)):
            for group in self.opt.param_groups:
                group["lr"] *= 0.1


class _FirstGroupOnly(_Plateau):
    def __init__(self, opt, wait):
        super().__init__(opt, wait)
        self.opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        self.opt.param_groups = opt.param_groups[:1]


class _OnceOnly(_Plateau):
    def step(self, accuracy):
        super().step(accuracy)
        if self.opt.param_groups[0]["lr"] < 1:
            self.wait = 1000


WRONG = [
    Mistake("two groups began with lr", caught_by="", accuracy_plateau=_FirstGroupOnly),
    Mistake("are counted anew", caught_by="", accuracy_plateau=_OnceOnly),
    Mistake("over 4 epochs: expected", caught_by="", warmup_factor=lambda e, k: 1 / k + (1 - 1 / k) * min(e, k) / k),
    Mistake("per_batch, in one epoch of 5 batches", caught_by="", run=_by_kind),
    Mistake("a step of it after each epoch", caught_by="", run=_once_at_the_end),
    Mistake("worse after the third", caught_by="", run=_metric_before_the_epoch),
    Mistake("and never fell", caught_by="", accuracy_plateau=_BestOfLastEpoch),
    Mistake("step_fn comes first", caught_by="", run=_old_order),
    Mistake("after each batch or after each epoch, not both", caught_by="", run=_each_batch_and_epoch),
    Mistake("with a step after each batch", caught_by="", run=_per_batch_ignored),
    Mistake("a step of it after each epoch", caught_by="", run=_always_per_batch),
    Mistake("before sched.step() writes the next one", caught_by="", run=_noted_too_late),
    Mistake("record should hold an lr for each batch", caught_by="", run=_noted_as_list),
    Mistake("record holds 4 values for 12 batches", caught_by="", run=_noted_once_an_epoch),
    Mistake("looks at a metric", caught_by="", run=_without_metric),
    Mistake("PyTorch warned", caught_by="", run=_with_epoch),
    Mistake("step_fn was called 0 times", caught_by="", run=_not_called),
    Mistake(
        "it improved and lr fell",
        caught_by="",
        accuracy_plateau=lambda opt, wait: lr_scheduler.ReduceLROnPlateau(opt, patience=wait - 1),
    ),
    Mistake(
        "too late",
        caught_by="",
        accuracy_plateau=lambda opt, wait: lr_scheduler.ReduceLROnPlateau(opt, "max", patience=wait),
    ),
    Mistake(
        "and never fell", caught_by="", accuracy_plateau=lambda opt, wait: lr_scheduler.ReduceLROnPlateau(opt, "max")
    ),
    Mistake(
        "it is cut to a tenth",
        caught_by="",
        accuracy_plateau=lambda opt, wait: lr_scheduler.ReduceLROnPlateau(opt, "max", 0.9, wait - 1),
    ),
    Mistake("The first lr is 0", caught_by="", warmup_factor=lambda e, k: e / k if e < k else 1.0),
    Mistake("the factor is capped at 1", caught_by="", warmup_factor=lambda e, k: (1 + e) * (1 / k)),
    Mistake("over 4 epochs: expected", caught_by="", warmup_factor=lambda e, k: (e + 1) / k if e + 1 < k else 0.2),
    Mistake("over 4 epochs: expected", caught_by="", warmup_factor=lambda e, k: min(1.0, ((e + 1) / k) ** 2)),
    Mistake("never divides by 0", caught_by="", warmup_factor=lambda e, k: 1 / k + (k > 1) * e / k if k > 1 else 1 / e),
]
