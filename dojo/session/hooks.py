"""The hooks that the engine adds to pytest's: how the rooms above a session take part in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dojo.kata.files import Kata
    from dojo.kata.trees import Trees
    from dojo.session.session import Command, KataSession


@pytest.hookspec(firstresult=True)
def pytest_kata_trees(config: pytest.Config) -> Trees | None:
    """Where the katas are and whose functions are tested, if that is not simply katas/."""


@pytest.hookspec(firstresult=True)
def pytest_kata_command(session: KataSession) -> Command | None:
    """What this run is for, if not to be read itself."""


def pytest_kata_verdict(states: dict[str, str], current: str | None) -> None:
    """The verdict is on screen: each kata that ran with its state, and the key of the current one, if any."""


@pytest.hookspec(firstresult=True)
def pytest_kata_page_height() -> int | None:
    """How many lines the learner sees at once, where what is above them is lost."""


def pytest_kata_note(session: KataSession) -> str | None:
    """A line for the verdict of this run, from a room that knows something of it."""


def pytest_kata_begins(session: KataSession, kata: Kata) -> None:
    """The walk comes to a kata, and is about to collect it."""
