"""The images: bytes in memory, scaled when a batch is used.

MNIST is 47 MB of bytes. Kept whole on the device, a batch is one indexing operation: no loader, no workers, no
transform per image. Those alone take several seconds for an epoch, longer than a whole training takes here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from dojo.kit.mnist import load_mnist

CPU = torch.device("cpu")
MEAN, STD = 0.1307 * 255, 0.3081 * 255  # of the training images' bytes


@dataclass(frozen=True)
class Split:
    """Images, uint8 (N, 28, 28), and their labels, int64 (N,), on one device."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> Split:
        return Split(self.images.to(device), self.labels.to(device))


def load(root: Path | None, *, train: bool) -> Split:
    """One split of MNIST, its checksums verified; dojo.kit.mnist.DataError where it is missing or damaged."""
    return Split(*load_mnist(train=train, root=root))


def prepare(images: torch.Tensor) -> torch.Tensor:
    """uint8 (N, 28, 28) -> float32 (N, 1, 28, 28) with mean 0 and spread 1."""
    return images.unsqueeze(1).float().sub_(MEAN).div_(STD)


def batch_of_step(step: int, batch_size: int, total: int, seed: int, device: torch.device = CPU) -> torch.Tensor:
    """The indices of the images of one step, int64 (batch_size,), on the device.

    The steps walk through an endless row of epochs, each in a new random order. The order depends on nothing but the
    seed and the epoch's number, so that a run can be resumed at any step, and all processes of a run agree on it.
    It goes to the device once an epoch: with each batch, a GPU would have to finish its work before it takes the next.
    """
    first = step * batch_size
    epochs = range(first // total, (first + batch_size - 1) // total + 1)
    orders = [_order(epoch, total, seed, device) for epoch in epochs]
    order = orders[0] if len(orders) == 1 else torch.cat(orders)
    start = first - epochs[0] * total
    return order[start : start + batch_size]


_orders: dict[tuple[int, int, int, torch.device], torch.Tensor] = {}


def _order(epoch: int, total: int, seed: int, device: torch.device) -> torch.Tensor:
    key = (epoch, total, seed, device)
    if key not in _orders:
        if len(_orders) > 1:
            _orders.pop(next(iter(_orders)))
        random = torch.Generator().manual_seed(1_000_003 * seed + epoch)
        _orders[key] = torch.randperm(total, generator=random).to(device)
    return _orders[key]


def shifted(images: torch.Tensor, pixels: int, step: int, seed: int) -> torch.Tensor:
    """The whole batch moved by up to `pixels` to a random side. The digits have a margin of four, so none is cut."""
    if pixels == 0:
        return images
    random = torch.Generator().manual_seed(1_000_003 * seed + step)
    down, right = torch.randint(-pixels, pixels + 1, (2,), generator=random).tolist()
    return images.roll((down, right), dims=(-2, -1))
