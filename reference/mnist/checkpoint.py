"""Checkpoints: state_dicts and plain numbers, written whole or not at all, read with `weights_only=True`."""

from __future__ import annotations

import os
import pickle
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from reference.mnist.settings import Settings

_FORMAT = "reference.mnist 1"


class CheckpointError(RuntimeError):
    """The file is no checkpoint of this trainer; the message says why."""


def save(path: Path, settings: Settings, step: int, history: list[dict[str, float]], states: dict[str, Any]) -> None:
    """Write beside `path`, then rename: whoever opens `path`, at any moment, finds a whole checkpoint or none."""
    content = {"format": _FORMAT, "settings": asdict(settings), "step": step, "history": history, **states}
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


def load(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU, its settings as `Settings`. CheckpointError where it is none."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder, not a checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        said = str(error).splitlines() or [type(error).__name__]
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {said[0]}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this trainer")
    fields = content["settings"]
    content["settings"] = Settings(**{**fields, "channels": tuple(fields["channels"])})
    return content
