"""Where MNIST lies, whether it is at hand, and whether its files are whole. Imports neither torch nor torchvision."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

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
