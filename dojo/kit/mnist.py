"""MNIST for kata tests: real where it is at hand, else digits that stand in for it and are never called MNIST.

torchvision and scikit-learn are imported inside the functions: each takes about a second.
"""

from __future__ import annotations

from pathlib import Path

import torch

from dojo.kata.data import Kind, at_hand, data_root, download_command, verify
from dojo.kata.not_run_here import NotRunHere

STAND_IN = "scikit-learn's digits, 1,797 real 8x8 scans, stood in: passing them is not MNIST past 98 %"


def training_data() -> list[Kind]:
    """Values for `parametrize("data", training_data())`: "mnist", and "stand-in" only where MNIST is not."""
    return ["mnist"] if at_hand() == "mnist" else ["mnist", "stand-in"]


def skip_unless_at_hand(kind: Kind) -> None:
    """End a test on MNIST where there is none, as one that the stand-in alone has passed."""
    if kind == "mnist" and at_hand() != "mnist":
        raise NotRunHere("mnist", f"{STAND_IN}. MNIST is not in {data_root()}; `{download_command()}` fetches it")


def load(kind: Kind, *, train: bool, root: Path | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """One split: uint8 images (N, 28, 28), int64 labels (N,). MNIST has 60,000 + 10,000, the stand-in 1,437 + 360."""
    return load_mnist(train=train, root=root) if kind == "mnist" else load_stand_in(train=train)


def load_mnist(*, train: bool, root: Path | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """One split of MNIST, after its files' checksums were verified. DataError where they are missing or damaged."""
    import torchvision.datasets

    root = root or data_root()
    verify(root, train=train)

    class MNIST(torchvision.datasets.MNIST):  # torchvision names the folder after the class
        def _check_legacy_exist(self) -> bool:
            return False  # a `processed` folder of an old torchvision was never verified

    split = MNIST(root, train=train)
    return split.data, split.targets


def load_stand_in(*, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """scikit-learn's digits as MNIST would show them: 8x8 -> 20x20 in the middle of 28x28, 0..255.

    The split is random, always the same one. (Its rows are grouped by writer: split in file order it is much harder.)
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().view(-1, 1, 8, 8)
    images = torch.nn.functional.interpolate(images, size=(20, 20), mode="bilinear", align_corners=False)
    images = torch.nn.functional.pad(images, (4, 4, 4, 4)).squeeze(1)  # (1797, 28, 28)
    images = (images * (255 / 16)).round().to(torch.uint8)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    chosen = order[:1437] if train else order[1437:]
    return images[chosen], torch.from_numpy(labels).long()[chosen]
