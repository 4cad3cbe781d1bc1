"""MNIST: where it lies, whether it is whole, and loading it; else digits that stand in for it, never called MNIST.

torch, torchvision and scikit-learn are imported inside the functions: the session asks what is at hand without them.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dojo.kata.not_run_here import NotRunHere

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["mnist", "stand-in"]

ROOT_VARIABLE = "KATA_DATA"
DOWNLOAD_COMMAND = "pytest --kata-download"

# The four unpacked files: size in bytes and md5. torchvision itself verifies only the archives, and only right after
# it downloaded them: later, a damaged file of the right length loads without a word.
FILES = {
    "train-images-idx3-ubyte": (47040016, "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": (60008, "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": (7840016, "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": (10008, "27ae3e4e09519cfbb04c329615203637"),
}


class DataError(RuntimeError):
    """The data cannot be had; the message is the whole story, in sentences for the learner."""


def data_root() -> Path:
    """The torchvision root (the folder that holds `MNIST/raw`): $KATA_DATA, ./data where it has MNIST, or a cache."""
    named = os.environ.get(ROOT_VARIABLE)
    return Path(named).expanduser().absolute() if named else _unnamed_root()


def _unnamed_root() -> Path:
    if raw_folder(Path("data")).is_dir():
        return Path("data").absolute()
    import platformdirs

    return platformdirs.user_cache_path("torch-dojo", appauthor=False, opinion=False)


def raw_folder(root: Path | None = None) -> Path:
    """Where torchvision keeps the four unpacked files of `root`."""
    return (root or data_root()) / "MNIST" / "raw"


def download_command(root: Path | None = None) -> str:
    """The command that puts MNIST into `root`; it names the folder where a bare one would choose another."""
    root = (root or data_root()).absolute()
    if root == _unnamed_root():
        return DOWNLOAD_COMMAND
    return f'{DOWNLOAD_COMMAND} --kata-data="{root}"' if " " in str(root) else f"{DOWNLOAD_COMMAND} --kata-data={root}"


def at_hand(root: Path | None = None) -> Kind:
    """What the training katas run on: "mnist" where all four files are there, else "stand-in". Reads no file.

    A damaged file still counts as there: `load` then says what is wrong, instead of a silent stand-in.
    """
    return "stand-in" if _missing(raw_folder(root)) else "mnist"


def verify(root: Path | None = None, *, train: bool | None = None) -> None:
    """DataError unless the unpacked files (of one split, or all) are there, whole and unchanged."""
    root = root or data_root()
    raw = raw_folder(root)
    if missing := _missing(raw):
        raise DataError(
            f"MNIST is not in {root}: {raw} has no {missing[0]}. `{download_command(root)}` fetches it; "
            f"--kata-data=DIR (or {ROOT_VARIABLE}) names another folder that holds MNIST/raw."
        )
    for name in FILES:
        if (train is None or name.startswith("train") == train) and (damage := _damage(raw / name)):
            raise DataError(f"{raw / name} {damage}. `{download_command(root)}` replaces it.")


def _missing(raw: Path) -> list[str]:
    return [name for name in FILES if not os.path.isfile(raw / name)]  # Path.is_file raises where it may not look


def _damage(path: Path) -> str:
    """What is wrong with an unpacked file, "" if nothing."""
    size, md5 = FILES[path.name]
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if len(content) < size:
        return f"is cut off: it has {len(content):,} of {size:,} bytes"
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        return "is not MNIST's file, or damaged: its md5 checksum is wrong"
    return ""


# ── for kata tests ──

STAND_IN = "scikit-learn's digits, 1,797 real 8x8 scans, stood in: passing them is not MNIST past 98 %"


def training_data() -> list[Kind]:
    """Values for `parametrize("data", training_data())`: "mnist", and "stand-in" only where MNIST is not."""
    return ["mnist"] if at_hand() == "mnist" else ["mnist", "stand-in"]


def skip_unless_at_hand(kind: Kind) -> None:
    """End a test on MNIST where there is none, as one that the stand-in alone has passed."""
    if kind == "mnist" and at_hand() != "mnist":
        raise NotRunHere("mnist", f"{STAND_IN}. MNIST is not in {data_root()}; `{download_command()}` fetches it")


def load(kind: Kind, *, train: bool, root: Path | None = None) -> tuple[Tensor, Tensor]:
    """One split: uint8 images (N, 28, 28), int64 labels (N,). MNIST has 60,000 + 10,000, the stand-in 1,437 + 360."""
    return load_mnist(train=train, root=root) if kind == "mnist" else load_stand_in(train=train)


def load_mnist(*, train: bool, root: Path | None = None) -> tuple[Tensor, Tensor]:
    """One split of MNIST, after its files' checksums were verified. DataError where they are missing or damaged."""
    import torchvision.datasets

    root = root or data_root()
    verify(root, train=train)

    class MNIST(torchvision.datasets.MNIST):  # torchvision names the folder after the class
        def _check_legacy_exist(self) -> bool:
            return False  # a `processed` folder of an old torchvision was never verified

    split = MNIST(root, train=train)
    return split.data, split.targets


def load_stand_in(*, train: bool) -> tuple[Tensor, Tensor]:
    """scikit-learn's digits as MNIST would show them: 8x8 -> 20x20 in the middle of 28x28, 0..255.

    The split is random, always the same one. (Its rows are grouped by writer: split in file order it is much harder.)
    """
    import torch
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().view(-1, 1, 8, 8)
    images = torch.nn.functional.interpolate(images, size=(20, 20), mode="bilinear", align_corners=False)
    images = torch.nn.functional.pad(images, (4, 4, 4, 4)).squeeze(1)  # (1797, 28, 28)
    images = (images * (255 / 16)).round().to(torch.uint8)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    chosen = order[:1437] if train else order[1437:]
    return images[chosen], torch.from_numpy(labels).long()[chosen]
