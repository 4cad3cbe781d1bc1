"""What a test raises that cannot run on this machine. Never "passed", and never a skip of the learner's own."""

from __future__ import annotations

from typing import Literal

from _pytest.outcomes import Skipped

Missing = Literal["gpu", "mnist", "package"]


class NotRunHere(Skipped):
    """`missing` is what the machine lacks; the message says how to get it."""

    def __init__(self, missing: Missing, message: str) -> None:
        super().__init__(message)
        self.missing: Missing = missing
