"""Where pytest runs without what the katas need: in another environment, or in a folder that has no katas.

An installation registers this module with pytest (an entry point in pyproject.toml), the rest of the engine only where
the katas are.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import itertools
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

_NEEDED = ("torch", "numpy", "platformdirs")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing and _katas_are_here(config):
        raise pytest.UsageError(
            f"this pytest runs with a Python that has no {' and no '.join(missing)}: {sys.executable}\n"
            "Activate the virtual environment in which you installed the katas, or run `python -m pytest` with its "
            "Python. If there is none yet: python3 -m pip install -e ."
        )


@pytest.hookimpl(tryfirst=True, specname="pytest_load_initial_conftests")
def pytest_load_initial_conftests_refuse_a_blank(args: list[str]) -> None:
    """pytest would take the folder for tests, and import a student's conftest.py that lies in it."""
    for option, value in itertools.pairwise(args):
        if option == "--kata-grade":
            raise pytest.UsageError(f"write it with `=`: {option}={value}")


@pytest.hookimpl(trylast=True)  # once the conftest.py files are known
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    option = next((arg for arg in args if arg.startswith("--kata-")), None)
    if option is not None and not _katas_are_here(early_config):
        raise pytest.UsageError(f"{option.split('=')[0]} is known only where the katas are. {_where_they_are()}")


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    asked_for_nothing = config.args_source is not pytest.Config.ArgsSource.ARGS
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and asked_for_nothing and not _katas_are_here(config):
        terminalreporter.write_line(f"There are no katas in {config.rootpath}. {_where_they_are()}")


def _katas_are_here(config: pytest.Config) -> bool:
    return config.pluginmanager.hasplugin("dojo.plugin")


def _where_they_are() -> str:
    project = _project()
    return f"They are in {project}: run pytest there." if project else "Run pytest in the folder that you unpacked."


def _project() -> Path | None:
    """The project that this was installed from, if it still lies there."""
    places = [Path(__file__).resolve().parents[1]]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, ValueError, KeyError, TypeError):
        origin = importlib.metadata.distribution("torch-dojo").read_text("direct_url.json") or ""
        places.append(Path(url2pathname(urlparse(json.loads(origin)["url"]).path)))
    return next((place for place in places if (place / "katas").is_dir()), None)
