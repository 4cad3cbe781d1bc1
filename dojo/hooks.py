"""The hook that the engine adds to pytest's."""

from __future__ import annotations


def pytest_kata_verdict(states: dict[str, str], current: str | None) -> None:
    """The verdict is on screen: each kata that ran with its state, and the key of the current one, if any."""
