"""Which files have changed, and which kata that is about."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from watchfiles import PythonFilter, watch

from dojo.kata.files import Kata
from dojo.kata.trees import Trees


def saved_kata(changed: Iterable[Path], trees: Trees) -> Kata | None:
    """The kata that changed files are about: of several the last, else None."""
    for path in sorted(changed, reverse=True):
        root = path.parents[1]
        kata = Kata(trees.katas / path.relative_to(root), trees.katas)
        known = root in (trees.katas, *trees.solutions) and path.match("[0-9][0-9]_*/[0-9][0-9]_*.py")
        if known and kata.path.is_file():
            return kata
    return None


def changes_below(folders: list[Path], stop: threading.Event) -> Connection:
    """A connection that gives each batch of changed Python files (`set[Path]`), or the error that was the end of it.

    A thread writes to it, until `stop`: Python must not end while the thread is in watchfiles' code.
    """
    reader, writer = Pipe(duplex=False)

    def tell() -> None:
        try:
            # Short steps: the defaults wait 50 ms for more changes before the first is told.
            for batch in watch(*folders, watch_filter=PythonFilter(), debounce=50, step=2, stop_event=stop):
                writer.send({Path(path) for _, path in batch})
        except Exception as error:  # a folder that is gone, the system's limit on watched files
            writer.send(error)

    threading.Thread(target=tell).start()
    return reader
