"""The CNN: forward, training step, one epoch, data loading; on the CPU, and on CUDA in its variants."""

from __future__ import annotations

import pytest
import torch

from dojo.kit import mnist
from reference.benchmark import cases
from reference.mnist.data import Split, batch_of_step, load, prepare
from reference.mnist.settings import RECIPES
from reference.mnist.train import train

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
ROWS = [*cases.cases("cpu")] + [pytest.param(case, marks=pytest.mark.gpu) for case in cases.cases("cuda")]


@pytest.mark.parametrize("case", ROWS, ids=str)
def test_batch(timed, case):
    """One batch: `forward` without a graph, or `step` with loss, backward and optimizer."""
    work = cases.Work(case)
    cases.check(work)
    with cases.precision(case.variant):
        timed(
            work,
            case.device,
            work=case.work,
            size=case.size,
            batch=case.batch,
            variant=case.variant,
            flops=cases.flops(case),
            bytes=cases.bytes_moved(case),
        )


def _images(device: str) -> Split:
    """MNIST's 60,000 training images, or as many random ones where MNIST is not at hand."""
    if mnist.at_hand() == "mnist":
        return load(None, train=True).to(torch.device(device))
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60_000, 28, 28), dtype=torch.uint8, generator=random)
    return Split(images, torch.randint(0, 10, (60_000,), generator=random)).to(torch.device(device))


@pytest.mark.parametrize("device", DEVICES)
def test_data_loading(timed, device):
    """One epoch of batches, prepared, without a net."""
    split, settings = _images(device), RECIPES["strong"]

    def epoch() -> None:
        for step in range(len(split) // settings.batch_size):
            chosen = batch_of_step(step, settings.batch_size, len(split), 0, split.images.device)
            prepare(split.images[chosen])

    timed(epoch, device, work="loading", batch=len(split), size="", variant="")


@pytest.mark.parametrize("device", DEVICES)
def test_epoch(timed, device):
    """The recipe `strong`, 60,000 images."""
    split = _images(device)
    timed(lambda: train(split, RECIPES["strong"]), device, work="epoch", batch=len(split), size="strong", variant="")
