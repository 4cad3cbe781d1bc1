"""Watching a learner's training: small data to practise on, what goes into the net, a sign of life on the screen."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

# Each digit is five rows of three pixels; a row is an octal digit.
_GLYPHS = ("75557", "26227", "71747", "71717", "55711", "74717", "74757", "71222", "75757", "75717")


@functools.cache
def _shapes() -> torch.Tensor:
    """The ten clock digits: (10, 28, 28), 0 or 1."""
    rows = torch.tensor([[[int(row) >> bit & 1 for bit in (2, 1, 0)] for row in glyph] for glyph in _GLYPHS])
    return functional.pad(rows.repeat_interleave(4, 1).repeat_interleave(4, 2), (8, 8, 4, 4))


def clock_digits(labels: torch.Tensor) -> torch.Tensor:
    """Digits as on an alarm clock, under noise: uint8 (N, 28, 28)."""
    return (_shapes()[labels] * 200 + torch.randint(0, 50, (len(labels), 28, 28))).to(torch.uint8)


def read_clock_digits(x: torch.Tensor) -> torch.Tensor:
    """Which clock digits the images x (N, 1, 28, 28) show, however their pixels were scaled: int64 (N,)."""
    flat, shapes = x.detach().cpu().float().flatten(1), _shapes().float().flatten(1)
    flat, shapes = (part - part.mean(1, keepdim=True) for part in (flat, shapes))
    return (flat @ functional.normalize(shapes).T).abs().argmax(1)


@contextlib.contextmanager
def batches_noted() -> Iterator[list[torch.Tensor]]:
    """Collects what nets in train mode are given in here: for each batch, the clock digits that it shows."""
    seen: list[torch.Tensor] = []
    last: list[Any] = [None]

    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        x = args[0] if args else None
        training = module.training and torch.is_grad_enabled()
        if training and isinstance(x, torch.Tensor) and x.is_floating_point() and x.shape[1:] == (1, 28, 28):
            if x is not last[0]:  # a net hands its input on to its first part
                seen.append(read_clock_digits(x))
            last[0] = x

    hook = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield seen
    finally:
        hook.remove()


@contextlib.contextmanager
def stale_gradients_found() -> Iterator[None]:
    """AssertionError where an optimizer steps with gradients that were not zeroed since its last step.

    After each step the gradients become huge: whoever zeroes them before the next backward never sees it.
    """
    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    def gradients(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
        return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]

    def mark(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for grad in gradients(optimizer):
            grad.fill_(1e9)

    def look(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        closure = len(args) > 1 or kwargs.get("closure")  # computes the gradients inside step()
        stale = not closure and any(grad.max().item() > 1e8 for grad in gradients(optimizer))
        assert not stale, "the gradients of the last step were still there: zero_grad() for each batch"

    torch.optim.SGD([torch.zeros(1)], lr=0.1)  # the first optimizer imports 900 modules; not during the training
    hooks = register_optimizer_step_pre_hook(look), register_optimizer_step_post_hook(mark)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def locked_test_split() -> Iterator[None]:
    """AssertionError where code in here opens MNIST's test split, also when it swallows the first one."""
    from torchvision.datasets import MNIST

    sentence = "your code opened the test split: training may not even look at it"
    opened, init = [], MNIST.__init__

    def locked(self: Any, root: Any, train: bool = True, *args: Any, **kwargs: Any) -> None:
        if not train:
            opened.append(root)
            raise AssertionError(sentence)
        init(self, root, train, *args, **kwargs)

    MNIST.__init__ = locked
    try:
        yield
    finally:
        MNIST.__init__ = init
    assert not opened, sentence


@contextlib.contextmanager
def progress(config: pytest.Config, what: str) -> Iterator[None]:
    """Say every few seconds how long `what` has been going on, and how many steps optimizers have made in it.

    On the real terminal, also where pytest captures what the test prints.
    """
    from torch.optim.optimizer import register_optimizer_step_post_hook

    terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or hasattr(config, "workerinput") or config.get_verbosity() < -1:
        yield
        return
    steps, started, done = [0], time.perf_counter(), threading.Event()
    before = "\r" if terminal.isatty else "\n"

    def count(*_: object) -> None:
        steps[0] += 1

    def say(start: str, end: str = "") -> None:
        text = f"  {what}: {time.perf_counter() - started:.0f} s, {steps[0]:,} optimizer steps"
        with _uncaptured(config):
            terminal.write(f"{start}{text}{end}", flush=True)

    def report() -> None:
        said = False
        while not done.wait(1.0 if terminal.isatty else 5.0):
            say(before if said else "\n")
            said = True
        if said:
            say(before, "\n")

    hook = register_optimizer_step_post_hook(count)
    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
        hook.remove()


def _uncaptured(config: pytest.Config) -> contextlib.AbstractContextManager[None]:
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    return capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
