"""Pictures between the lines of a terminal that can show them (kitty, iTerm2, WezTerm, foot, ...), by textual-image."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Only these are asked what they can show: another terminal may take the question for text.
_TERMINALS = {"TERM_PROGRAM": ("iTerm.app", "WezTerm", "ghostty", "vscode"), "TERM": ("xterm-kitty", "foot", "mlterm")}
_COLUMNS = 72


def inline(path: Path, config: pytest.Config) -> str:
    """The image as the terminal wants it; empty where it shows none, or textual-image is not installed."""
    known = any(os.environ.get(name, "").startswith(starts) for name, starts in _TERMINALS.items())
    if not known or importlib.util.find_spec("textual_image") is None:
        return ""
    # An ornament: a terminal that answers oddly must not cost the run.
    with contextlib.suppress(Exception), _the_terminal_itself(config):
        if sys.__stdout__ and sys.__stdout__.isatty() and sys.__stdin__ and sys.__stdin__.isatty():
            return _as_the_terminal_wants_it(path)
    return ""


def _as_the_terminal_wants_it(path: Path) -> str:
    from rich.console import Console
    from textual_image.renderable import Image, SixelImage, TGPImage  # asks the terminal

    if Image not in (SixelImage, TGPImage):
        return ""
    paper = io.StringIO()
    console = Console(file=paper, force_terminal=True, width=_COLUMNS, height=40)
    console.print(Image(path, width=_COLUMNS - 2, height="auto"))
    return paper.getvalue().rstrip("\n")


@contextlib.contextmanager
def _the_terminal_itself(config: pytest.Config) -> Iterator[None]:
    """pytest has taken both away: the question to the terminal goes out by stdout, its answer comes by stdin."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    if capture is None:
        yield
        return
    capture.suspend_global_capture(in_=True)
    try:
        yield
    finally:
        capture.resume_global_capture()
