"""Writing beside what a learner wrote: nothing of theirs is ever written over."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path


class FilesError(Exception):
    """It cannot be done; the message is the whole story, in sentences for the learner."""


@contextlib.contextmanager
def in_sentences() -> Iterator[None]:
    """A disk that is full, a folder that may not be written: a sentence."""
    try:
        yield
    except OSError as error:
        where = error.filename if error.filename is not None else "the folder"
        raise FilesError(
            f"{where}: {error.strerror or error}. Nothing of yours was overwritten; the same command goes on where it "
            "stopped, once that is mended."
        ) from None


def read(path: Path) -> bytes | None:
    """The file's bytes; None where there is nothing. A directory raises."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def create(path: Path, text: bytes) -> bool:
    """Write a new file whole or not at all. False, and nothing written, where there is one already."""
    with _written(path, text) as temporary:
        try:
            os.link(temporary, path)  # unlike a rename, never over another file
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            if path.exists():
                return False
            os.rename(temporary, path)
    return True


def put(path: Path, text: bytes) -> Path | None:
    """Write a file whole or not at all. What was there is kept beside it: returns where."""
    with _written(path, text) as temporary:
        beside = keep_beside(path)
        os.replace(temporary, path)
    return beside


@contextlib.contextmanager
def _written(path: Path, text: bytes) -> Iterator[Path]:
    """A file of another name with this text, safely on the disk; gone at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def keep_beside(path: Path) -> Path | None:
    """Under a name that is free, and that neither pytest nor the gate takes for a kata."""
    text = read(path)
    if text is None:
        return None
    names = (path.with_name(f"{path.stem}.mine-{n}{path.suffix}.bak") for n in itertools.count(1))
    return next(beside for beside in names if create(beside, text))
