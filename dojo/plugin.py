"""The pytest plugin: options and thin hooks. What they do is in the modules that they name."""

from __future__ import annotations

import os

# Before torch is imported. One thread: with two, the same training took 46 s instead of 1 s while the other core was
# busy, forked children can hang, and sums differ in their last bits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Asking for CUDA must not initialise it, or forked DataLoader workers cannot use it.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

from collections.abc import Generator
from pathlib import Path

import pytest

from dojo import seam
from dojo.collect import KataModule, refuse_unusable


def katas_root(config: pytest.Config) -> Path:
    return (config.rootpath / "katas").resolve()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("katas", "learning PyTorch")
    group.addoption("--kata-solutions", action="append", metavar="DIR", default=[], help="take the functions from DIR")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: needs a real CUDA device; skipped with a reason elsewhere")
    config.addinivalue_line("markers", "slow: takes longer than the gate's time budget")
    config.addinivalue_line("markers", "myth(says, today): what old tutorials say, and what this test shows instead")
    sources = [seam.SolutionTree((config.invocation_params.dir / d).resolve()) for d in config.option.kata_solutions]
    setup = seam.Setup(katas_root(config), (config.rootpath / "reference").resolve(), sources)
    context = seam.in_force(setup)
    context.__enter__()
    config.add_cleanup(lambda: context.__exit__(None, None, None))


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if module_path.resolve().is_relative_to(katas_root(parent.config)):
        module: pytest.Module = KataModule.from_parent(parent, path=module_path)
        return module
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    refuse_unusable(item)
    return (yield)
