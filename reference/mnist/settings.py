"""What a training run depends on, the two recipes, and the optimizers and schedules by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler


@dataclass(frozen=True)
class Settings:
    """Everything that decides which weights come out. A checkpoint holds it, and resuming takes it from there."""

    channels: tuple[int, int] = (16, 48)
    images: int = 12_800  # how many are seen in all; MNIST has 60,000, so this is a fifth of an epoch
    batch_size: int = 64
    optimizer: str = "Adam"
    lr: float = 0.02
    schedule: str = "OneCycleLR"
    label_smoothing: float = 0.1
    shift: int = 0  # pixels by which a batch may be moved
    seed: int = 0
    precision: str = "fp32"
    compile: bool = False
    channels_last: bool = True

    @property
    def steps(self) -> int:
        return max(1, self.images // self.batch_size)


RECIPES = {
    "quick": Settings(),
    "strong": Settings(channels=(24, 64), images=57_600, batch_size=128, lr=0.03, shift=1),
}

# Short runs want a short memory: the default (0.9, 0.999) averages over more steps than `quick` has.
_BETAS = (0.7, 0.9)

# Fused: all weights in one call, three times faster than one by one.
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "Adam": lambda weights, lr: torch.optim.Adam(weights, lr, betas=_BETAS, fused=True),
    "AdamW": lambda weights, lr: torch.optim.AdamW(weights, lr, betas=_BETAS, fused=True),
    "NAdam": lambda weights, lr: torch.optim.NAdam(weights, lr, betas=_BETAS),
    "RMSprop": lambda weights, lr: torch.optim.RMSprop(weights, lr, alpha=0.9),
    "Adadelta": lambda weights, lr: torch.optim.Adadelta(weights, lr),
    "SGD": lambda weights, lr: torch.optim.SGD(weights, lr, momentum=0.9, nesterov=True),
}

# Each makes a schedule for a run of T steps, which calls it after every one.
SCHEDULES: dict[str, Callable[[torch.optim.Optimizer, float, int], LRScheduler]] = {
    "OneCycleLR": lambda optimizer, lr, T: lr_scheduler.OneCycleLR(
        optimizer, max_lr=lr, total_steps=max(2, T), anneal_strategy="linear", cycle_momentum=False
    ),
    "ConstantLR": lambda optimizer, lr, T: lr_scheduler.ConstantLR(optimizer, factor=1.0),
    "LinearLR": lambda optimizer, lr, T: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=T),
    "PolynomialLR": lambda optimizer, lr, T: lr_scheduler.PolynomialLR(optimizer, total_iters=T, power=2.0),
    "CosineAnnealingLR": lambda optimizer, lr, T: lr_scheduler.CosineAnnealingLR(optimizer, T_max=T),
    "ExponentialLR": lambda optimizer, lr, T: lr_scheduler.ExponentialLR(optimizer, gamma=0.01 ** (1 / T)),
    "StepLR": lambda optimizer, lr, T: lr_scheduler.StepLR(optimizer, step_size=max(1, T // 3), gamma=0.1),
    "MultiStepLR": lambda optimizer, lr, T: lr_scheduler.MultiStepLR(optimizer, [T // 2, T * 3 // 4], gamma=0.1),
}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
