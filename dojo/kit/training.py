"""Watching a learner's training: small data to practise on, what goes into the net, a sign of life on the screen."""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

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

    After each step the gradients become 1e9: whoever zeroes them before the next backward never sees it. All must be
    about that: some of a training that blows up are as large.
    """
    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    def gradients(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
        return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]

    def mark(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for grad in gradients(optimizer):
            grad.fill_(1e9)

    def marked(grad: torch.Tensor) -> bool:
        mark = torch.full_like(grad, 1e9)
        return bool(((grad == mark) | ((grad - mark).abs() < 1e8)).all())

    def look(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        closure = len(args) > 1 or kwargs.get("closure")  # computes the gradients inside step()
        grads = gradients(optimizer)
        if not closure and grads and all(marked(grad) for grad in grads):
            raise AssertionError("the gradients of the last step were still there: zero_grad() for each batch")

    torch.optim.SGD([torch.zeros(1)], lr=0.1)  # the first optimizer imports 900 modules; not during the training
    hooks = register_optimizer_step_pre_hook(look), register_optimizer_step_post_hook(mark)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def weights_of_each_step(train: Callable[[], nn.Module]) -> tuple[nn.Module, list[dict[str, torch.Tensor]]]:
    """The net that `train` returns, and its weights: before each step of an optimizer, and at the end.

    A training that moves its weights by hand shows their end only; that of a net without parameters is empty.
    """
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    noted: list[dict[torch.Tensor, torch.Tensor]] = []

    def note(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        noted.append({p: p.detach().clone() for group in optimizer.param_groups for p in group["params"]})

    hook = register_optimizer_step_pre_hook(note)
    try:
        net = train()
    finally:
        hook.remove()
    noted.append({p: p.detach().clone() for p in net.parameters()})
    names: dict[torch.Tensor, str] = {p: name for name, p in net.named_parameters()}
    *before, end = ({names[p]: value for p, value in step.items() if p in names} for step in noted)
    return net, [*filter(None, before), end]


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
    if opened:
        raise AssertionError(sentence)


def default_epochs(train: Callable[..., nn.Module]) -> int:
    """The default of a training function's parameter `epochs`; 1 where it has none."""
    parameter = inspect.signature(train).parameters.get("epochs")
    return parameter.default if parameter is not None and isinstance(parameter.default, int) else 1


@dataclass
class Progress:
    """How a training goes; `seconds` is how long it took, once it has ended."""

    what: str
    images: int  # that it may use; it may end before
    seen: int = 0
    steps: int = 0
    loss: torch.Tensor | None = None
    seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def line(self) -> str:
        """Where it is now."""
        seconds = time.perf_counter() - self.started
        if not self.seen:  # a net that is called in a way that we do not see
            return f"  {self.what}: {seconds:.0f} s, {self.steps:,} optimizer steps"
        speed = self.seen / seconds
        loss = "" if self.loss is None else f", loss {self.loss.item():.3g}"
        left = f", {max(self.images - self.seen, 0) / speed:.0f} s left" if seconds > 2 else ""
        return f"  {self.what}: {self.seen:,} of {self.images:,} images, {speed:,.0f}/s{loss}{left}"


@contextlib.contextmanager
def progress(config: pytest.Config, what: str, images: int) -> Iterator[Progress]:
    """Say every few seconds how far the training in here is, on the real terminal, also where pytest captures it.

    what: which training that is.  images: how many it may use, each epoch counted.
    """
    now = Progress(what, images)
    try:
        with _followed(now), _told_every_few_seconds(config, now):
            yield now
    finally:
        now.seconds = time.perf_counter() - now.started


@contextlib.contextmanager
def _followed(now: Progress) -> Iterator[None]:
    """Count images, steps and losses without changing any."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    backward, last = torch.Tensor.backward, list[Any]([None])

    def count_images(module: nn.Module, args: tuple[Any, ...]) -> None:
        x = args[0] if args else None
        if not isinstance(x, torch.Tensor) or x.shape[1:] != (1, 28, 28) or x is last[0]:
            return
        if module.training and torch.is_grad_enabled():
            now.seen += len(x)
            last[0] = x  # a net hands its input on to its first part

    def count_steps(*_: object) -> None:
        now.steps += 1

    def note_loss(loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        backward(loss, *args, **kwargs)
        now.loss = loss.detach() if loss.numel() == 1 else None

    hooks = [
        nn.modules.module.register_module_forward_pre_hook(count_images),
        register_optimizer_step_post_hook(count_steps),
    ]
    try:
        with mock.patch.object(torch.Tensor, "backward", note_loss):
            yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def _told_every_few_seconds(config: pytest.Config, now: Progress) -> Iterator[None]:
    """On a terminal one line that changes, each second; elsewhere a line every five seconds."""
    terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or hasattr(config, "workerinput") or config.get_verbosity() < -1:
        yield
        return
    done = threading.Event()
    start = "\r\x1b[K" if terminal.isatty else "\n"

    def say(text: str) -> None:
        with _uncaptured(config):
            terminal.write(text, flush=True)

    def report() -> None:
        said = False
        while not done.wait(1.0 if terminal.isatty else 5.0):
            say((start if said else "\n") + now.line()[: terminal._tw.fullwidth - 1])
            said = True
        if said:
            say("\n")

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()


def _uncaptured(config: pytest.Config) -> contextlib.AbstractContextManager[None]:
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    return capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
