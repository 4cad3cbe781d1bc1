"""The training function."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from reference.mnist import checkpoint
from reference.mnist.data import Split, batch_of_step, prepare, shifted
from reference.mnist.distributed import Team
from reference.mnist.model import DigitNet
from reference.mnist.settings import OPTIMIZERS, PRECISIONS, SCHEDULES, Settings

NOTE_EVERY = 20  # steps between two entries of the history


@dataclass
class Run:
    """A training run: the net, and how it came about."""

    model: DigitNet
    settings: Settings
    step: int  # how many were made
    seconds: float  # of training in this process, without loading, compiling and measuring
    history: list[
        dict[str, float]
    ]  # for every NOTE_EVERY steps: step, lr, and the mean loss and accuracy since the last
    states: dict[str, Any]  # what has a state_dict: the model, the optimizer, the schedule

    def save(self, path: Path) -> None:
        """Write a checkpoint from which `train` goes on as if nothing had happened."""
        states = {name: part.state_dict() for name, part in self.states.items()}
        checkpoint.save(path, self.settings, self.step, self.history, states)

    @property
    def finished(self) -> bool:
        return self.step == self.settings.steps


def train(
    data: Split,
    settings: Settings,
    *,
    team: Team | None = None,
    resume: dict[str, Any] | None = None,
    note: Callable[[dict[str, float]], None] = lambda entry: None,
) -> Run:
    """Train a new net, or go on with the checkpoint `resume`, on the device of `data`.

    Ctrl-C ends the training after the step that it is in; saved and resumed, the run ends with the weights, to the
    last bit, that it would have had without. `note` is called with each new entry of the history.
    """
    team = team or Team()
    device = data.images.device
    torch.manual_seed(settings.seed)
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    model = DigitNet(settings.channels).to(device).to(memory_format=layout)
    optimizer = OPTIMIZERS[settings.optimizer](model.parameters(), settings.lr)
    schedule = SCHEDULES[settings.schedule](optimizer, settings.lr, settings.steps)
    states: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule}
    history: list[dict[str, float]] = []
    step = 0
    if resume is not None:
        for name, part in states.items():
            part.load_state_dict(resume[name])
        step, history = resume["step"], list(resume["history"])

    # What is called in the loop: the same weights, wrapped.
    net: nn.Module = model
    if team.size > 1:
        net = DistributedDataParallel(net)
    if settings.compile:
        net = torch.compile(net)  # type: ignore[assignment]
        _compile_now(net, data, settings, team, layout)
    model.train()

    totals = torch.zeros(3, device=device)  # loss, right answers, steps since the last entry of the history

    def one_step(images: torch.Tensor, labels: torch.Tensor) -> None:
        """The device's part of a step. It asks for no value, so nothing waits."""
        x = prepare(images).to(memory_format=layout)  # (N, 1, 28, 28)
        with _autocast(device, settings):
            logits = net(x)  # (N, 10)
            loss = functional.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right = (logits.detach().argmax(1) == labels).float().mean()
        totals.add_(torch.stack([loss.detach(), right, torch.ones_like(right)]))

    _synchronise(device)
    started = time.perf_counter()
    with _ctrl_c_noted() as interrupted:
        while step < settings.steps:
            batch = team.share_of(batch_of_step(step, settings.batch_size, len(data), settings.seed, device))
            images = shifted(data.images[batch], settings.shift, step, settings.seed)  # uint8 (N, 28, 28)
            one_step(images, data.labels[batch])
            schedule.step()

            step += 1
            if step % NOTE_EVERY == 0 or step == settings.steps:
                loss_sum, right_sum, steps = totals.tolist()
                totals.zero_()
                lr = float(optimizer.param_groups[0]["lr"])
                history.append({"step": step, "loss": loss_sum / steps, "accuracy": right_sum / steps, "lr": lr})
                note(history[-1])
            # The processes agree on where they stop: one that stops alone leaves the others waiting for it.
            if (team.size == 1 or step % 10 == 0) and team.any(interrupted.is_set(), device):
                break
    _synchronise(device)
    seconds = time.perf_counter() - started
    return Run(model, settings, step, seconds, history, states)


def _autocast(device: torch.device, settings: Settings) -> torch.autocast:
    """bf16 for the layers that take it; the weights and the loss stay float32."""
    return torch.autocast(device.type, PRECISIONS[settings.precision], enabled=settings.precision != "fp32")


def _compile_now(net: nn.Module, data: Split, settings: Settings, team: Team, layout: torch.memory_format) -> None:
    """One forward and backward on the side, so that compiling is not counted as training. Nothing of it remains."""
    device = data.images.device
    state = {name: value.clone() for name, value in net.state_dict().items()}
    part = slice(0, settings.batch_size // team.size)
    with _autocast(device, settings):
        net.train()(prepare(data.images[part]).to(memory_format=layout)).sum().backward()
    net.load_state_dict(state)
    net.zero_grad()


def _synchronise(device: torch.device) -> None:
    """Wait for the work that was given to the device: a clock read before that shows the launches only."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


@contextlib.contextmanager
def _ctrl_c_noted() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event, so that no step is cut in two. A second one ends the program as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
