"""The work that only the first run in a process has, done before the learner saves; the fork server imports this file.

Importing it runs a kata that teaches nothing, through the seam, a failure, a stub, the X-ray and the verdict: that
imports pytest's plugins and torch, compiles regular expressions, and sets up what torch sets up at its first operation.
"""

from __future__ import annotations

import gc
import io
import os
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from dojo.kata.module import forget_katas
from dojo.session.memory import engine_digest

KATA = '''"""A kata that teaches nothing."""
import torch
from dojo import under_test
from dojo.kit import check_tensor, explain

def wrong():
    return torch.zeros(2, 3).t()
def to_do():
    raise NotImplementedError("nothing")

under_test(globals())

def test_wrong():
    with explain("wrong raises"):
        got = wrong()
    check_tensor(got, torch.ones(3, 2), "zeros, not ones")
def test_to_do():
    assert to_do() == 2, "not two"
'''


def up() -> str:
    """Run that kata; returns what it would have put on the screen."""
    screen = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(screen), redirect_stderr(screen):
        root = Path(folder).resolve()
        kata = root / "katas/02_warm/01_up.py"
        kata.parent.mkdir(parents=True)
        kata.write_text(KATA)
        options = ["-p", "dojo.plugin", "-p", "no:faulthandler", "-p", "no:cacheprovider", "--import-mode=importlib"]
        options_of_the_learner = os.environ.pop("PYTEST_ADDOPTS", None)
        try:
            pytest.main(["--rootdir", folder, "-c", os.devnull, "--noconftest", *options, "--kata-verdict=up"])
        finally:
            forget_katas(root)
            if options_of_the_learner is not None:
                os.environ["PYTEST_ADDOPTS"] = options_of_the_learner
    return screen.getvalue()


SAID = up()
engine_digest()  # 8 ms
gc.collect()
gc.freeze()  # a forked process's collections leave these objects alone, and so the memory that it shares
