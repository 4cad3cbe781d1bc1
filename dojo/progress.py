"""A sign of life on the real terminal while a test trains, also where pytest captures what the test prints."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest


@contextlib.contextmanager
def progress(config: pytest.Config, what: str) -> Iterator[None]:
    """Say every few seconds how long `what` has been going on, and how many steps optimizers have made in it."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or hasattr(config, "workerinput") or config.get_verbosity() < -1:
        yield
        return
    steps, started, done = [0], time.perf_counter(), threading.Event()

    def count(*_: object) -> None:
        steps[0] += 1

    def line() -> str:
        return f"  {what}: {time.perf_counter() - started:.0f} s, {steps[0]:,} optimizer steps"

    def report() -> None:
        said = False
        while not done.wait(1.0 if terminal.isatty else 5.0):
            with _uncaptured(config):
                terminal.write(("\r" if said else "\n") + line() if terminal.isatty else f"\n{line()}", flush=True)
            said = True
        if said:
            with _uncaptured(config):
                terminal.write(("\r" if terminal.isatty else "\n") + f"{line()}\n", flush=True)

    hook = register_optimizer_step_post_hook(count)
    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
        hook.remove()


def _uncaptured(config: pytest.Config) -> contextlib.AbstractContextManager[None]:
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    return capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
