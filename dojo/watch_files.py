"""Prints a line for each batch of changed files: `python -m dojo.watch_files [--poll] DIR...`.

A process of its own, because the watch must stay at one thread to be forked safely, and watchfiles starts some.
"""

from __future__ import annotations

import json
import os
import sys
import threading

from watchfiles import DefaultFilter, watch


class KataFilter(DefaultFilter):
    """Python files only; editors' swap and backup files and caches are left out by the default filter."""

    def __call__(self, change: object, path: str) -> bool:
        return path.endswith(".py") and super().__call__(change, path)  # type: ignore[arg-type]


def main(arguments: list[str]) -> None:
    poll = "--poll" in arguments
    folders = [argument for argument in arguments if argument != "--poll"]
    print(json.dumps({"ready": True}), flush=True)
    # Short steps: the defaults wait 50 ms for more changes before the first is told.
    changes = watch(
        *folders, watch_filter=KataFilter(), debounce=50, step=2, force_polling=poll or None, poll_delay_ms=100
    )
    for batch in changes:
        print(json.dumps({"changed": sorted({path for _, path in batch})}), flush=True)


def _end_with_the_parent() -> None:
    """The parent holds the other end of stdin: when it is gone, however it went, so is this process."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        main(sys.argv[1:])
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(0)
