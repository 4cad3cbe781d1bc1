"""The learner's MNIST kata beside the reference's, in one process: the net's forward pass, and train()."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dojo.kata import seam
from dojo.kata.source import is_stub_error
from dojo.kit.mnist import load_stand_in

ROOT = Path(__file__).resolve().parents[2]
KEY = "13_training/09_mnist_98"
BATCH = 64


def _functions(who: str, config: pytest.Config) -> dict[str, Any]:
    """`prepare`, `make_net` and `train` of the learner's file (or of --kata-solutions), or of the reference."""
    if who == "reference":
        folders = [ROOT / "reference"]
    else:
        folders = [config.invocation_params.dir / folder for folder in config.option.kata_solutions] or [ROOT / "katas"]
    file = next((folder / f"{KEY}.py" for folder in folders if (folder / f"{KEY}.py").is_file()), None)
    if file is None:
        pytest.skip(f"{folders[0]} has no {KEY}.py")
    return vars(seam.import_solution(file))


def _or_skip(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except NotImplementedError as error:
        if is_stub_error(error):
            pytest.skip("the kata mnist_98 is not solved yet: there is nothing to time")
        raise


@pytest.mark.parametrize("who", ["reference", "yours"])
def test_forward(timed, pytestconfig, who):
    """A batch of 64 through make_net(), in eval mode, without a graph."""
    theirs = _functions(who, pytestconfig)
    images, _ = load_stand_in(train=True)
    x = _or_skip(lambda: theirs["prepare"](images[:BATCH]))
    net = _or_skip(theirs["make_net"]).eval()

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return net(x)

    timed(forward, "cpu", work="kata", what="forward pass", who=who, batch=BATCH)


@pytest.mark.parametrize("who", ["reference", "yours"])
def test_training(timed, pytestconfig, who):
    """train() for one epoch over 1,437 images: what a training step costs, with all that stands around it."""
    theirs = _functions(who, pytestconfig)
    images, labels = load_stand_in(train=True)
    _or_skip(lambda: theirs["train"](images[:BATCH], labels[:BATCH], epochs=1))
    timed(
        lambda: theirs["train"](images, labels, epochs=1),
        "cpu",
        work="kata",
        what="training",
        who=who,
        batch=len(images),
    )
