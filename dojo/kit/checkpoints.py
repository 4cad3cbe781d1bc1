"""Files that are not what they seem: from a GPU that is not there, or running code when they are loaded."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch


def forge_gpu_checkpoint(state: Any, file: str | Path | io.BytesIO, device: str = "cuda:0") -> None:
    """Save `state` (on the CPU) so that every storage claims to come from `device`.

    torch.load then behaves as it does with a checkpoint from a GPU machine. A BytesIO is left rewound, ready to load.
    Checked: at least one tag was written.
    """
    with mock.patch("torch.serialization.location_tag", return_value=device):
        torch.save(state, file)
    with zipfile.ZipFile(file) as archive:
        pickles = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
    if isinstance(file, io.BytesIO):
        file.seek(0)
    if not any(device.encode() in text for text in pickles):
        raise AssertionError(f"the forged checkpoint holds no {device} tag: this torch saves tags in another way")


@dataclass
class TrainConfig:
    """A class to be pickled by its name: one of a kata is not the same any more when the file is imported again."""

    lr: float
    name: str
    sizes: list[int]


class HostilePickle:
    """Saved with torch.save, it makes whoever unpickles the file create `marker`: the harmless place of any program.

    torch.load refuses it, as weights_only is True by default; torch.load(weights_only=False) and pickle.load run it.
    """

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return _create, (str(self.marker),)


def _create(marker: str) -> None:
    Path(marker).touch()
