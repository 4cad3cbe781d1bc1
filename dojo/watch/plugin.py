"""The options of the watch, and its start."""

from __future__ import annotations

import multiprocessing
import sys

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("katas")
    group.addoption("--kata-watch", action="store_true", help="stay open, and show the verdict at each save")
    group.addoption(
        "--kata-memory",
        type=float,
        default=8.0,
        metavar="GB",
        help="with --kata-watch: how much memory a run may take (Linux; default 8, 0: no limit)",
    )


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    # A run of the watch may get the option too, from PYTEST_ADDOPTS or the ini file.
    if not config.option.kata_watch or multiprocessing.parent_process() is not None:
        return None
    if sys.platform == "win32":
        raise pytest.UsageError("--kata-watch runs on Linux and macOS (on Windows: in WSL)")
    from dojo.session.plugin import trees_of
    from dojo.watch.loop import Watch
    from dojo.watch.screen import Screen

    capture = config.pluginmanager.get_plugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)  # pytest has taken stdin away; the keys come from there
    options = [str(option) for option in config.invocation_params.args if option != "--kata-watch"]
    return Watch(trees_of(config), Screen(), options, config.option.kata_memory).main()
