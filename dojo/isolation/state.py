"""The state guard: each kata test starts seeded, and what it left changed is put back and named.

Plain pytest undoes next to none of this: a default dtype, a grad mode, a seed that one test leaves behind decides
whether the next one passes. Costs about a quarter of a millisecond per test.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dojo import torch_internals

SEED = 0
# What pytest, the tests' own libraries and torch itself set.
_ENVIRON_IGNORED = ("PYTEST_", "TORCHINDUCTOR_", "TRITON_", "KMP_", "COVERAGE_", "MPLBACKEND")


@dataclass(frozen=True)
class Setting:
    """One piece of global state: how to read it, how to put it back, and what to call it.

    Without a name it is put back in silence: torch itself changes it, at a lazy import or a torch.compile.
    unset: what it is as long as nobody has said anything; setting that is no change.
    """

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], Any]
    unset: Any = None

    def change(self, before: Any, now: Any) -> str:
        """What became of it, for the learner; empty where it means the same as before."""
        same = (self.unset if before is None else before) == (self.unset if now is None else now)
        return "" if same or not self.name else f"{self.name}{_was_and_is(before, now)}"


def _was_and_is(before: Any, now: Any) -> str:
    """Where both values are short enough to be read."""
    words = [_word(value) for value in (before, now)]
    return f" (was {words[0]}, is now {words[1]})" if all(words) else ""


def _word(value: Any) -> str:
    if value is None or value == "":
        return "unset"
    if isinstance(value, bool):
        return "on" if value else "off"
    text = str(value).removeprefix("torch.")
    return text if isinstance(value, str | int | float | torch.dtype | torch.device) and len(text) <= 40 else ""


def _put_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _put_warnings_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]  # typeshed says Sequence; it is a list


def _open_figures() -> list[int]:
    pyplot = sys.modules.get("matplotlib.pyplot")  # where nobody has imported it, nothing is open
    return pyplot.get_fignums() if pyplot is not None else []


def _close_figures_except(before: list[int]) -> None:
    for number in set(_open_figures()) - set(before):
        sys.modules["matplotlib.pyplot"].close(number)


def _cwd() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # the test removed its own working directory
        return ""


def _setuptools_own() -> list[str]:
    """What setuptools appends to sys.path when it is imported, and torch.utils.benchmark imports it: nobody's."""
    return [entry for entry in sys.path if os.path.join("setuptools", "_vendor") in entry]


def _search_path() -> list[str]:
    return [entry for entry in sys.path if entry not in _setuptools_own()]


SETTINGS = [
    # Inference mode first: leaving it also decides what grad mode can be.
    Setting("inference mode", torch.is_inference_mode_enabled, torch_internals.set_inference_mode),
    Setting("grad mode (torch.set_grad_enabled)", torch.is_grad_enabled, lambda on: torch.set_grad_enabled(on)),
    Setting("the default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Setting("the default device", torch_internals.default_device, torch.set_default_device, torch.device("cpu")),
    Setting("`with torch.device(...)` or another mode", torch_internals.mode_depth, torch_internals.pop_modes_to),
    Setting(
        "deterministic algorithms",
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        _put_deterministic,
    ),
    Setting("the matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    Setting("the number of threads", torch.get_num_threads, torch.set_num_threads),
    Setting(
        "autocast on the CPU", lambda: torch.is_autocast_enabled("cpu"), lambda v: torch.set_autocast_enabled("cpu", v)
    ),
    Setting(
        "the dtype of autocast on the CPU",
        lambda: torch.get_autocast_dtype("cpu"),
        lambda v: torch.set_autocast_dtype("cpu", v),
    ),
    Setting("", torch_internals.autocast_depth, torch_internals.leave_autocasts_to),
    Setting("anomaly detection", torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    Setting(
        "how tensors are printed (torch.set_printoptions)",
        torch_internals.print_options,
        torch_internals.set_print_options,
    ),
    Setting(
        "torch.backends.cudnn.benchmark", lambda: torch.backends.cudnn.benchmark, torch_internals.set_cudnn_benchmark
    ),
    Setting("the safe globals of torch.load", torch_internals.safe_globals, torch_internals.set_safe_globals),
    Setting("", torch_internals.distributions_check, torch_internals.set_distributions_check),
    Setting("NumPy's error handling (np.seterr)", np.geterr, lambda v: np.seterr(**v)),
    Setting("figures of matplotlib open", _open_figures, _close_figures_except),
    Setting("the working directory", _cwd, os.chdir),
    Setting("sys.path", _search_path, lambda v: sys.path.__setitem__(slice(None), [*v, *_setuptools_own()])),
    Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Setting("garbage collection", gc.isenabled, lambda v: gc.enable() if v else gc.disable()),
    Setting("", lambda: list(warnings.filters), _put_warnings_filters),
]


class StateGuard:
    """The state before a test, and the way back to it."""

    def __init__(self) -> None:
        self.settings = [(setting, setting.get()) for setting in SETTINGS]
        self.environ = dict(os.environ)
        self.random = random.getstate()
        self.numpy = np.random.get_state()
        self.torch = torch.get_rng_state()

    @staticmethod
    def seed(number: int = SEED) -> None:
        random.seed(number)
        np.random.seed(number)
        # torch.manual_seed() would format the call stack for each kind of device that is not in use yet.
        torch.default_generator.manual_seed(number)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(number)

    def restore(self) -> list[str]:
        """Put everything back; returns what had been left changed, as it was and is (random numbers drawn aside)."""
        left = []
        for setting, before in self.settings:
            now = setting.get()
            if now != before:
                left += [change] if (change := setting.change(before, now)) else []
                setting.put(before)
        left += self._restore_environ()
        if torch_internals.destroy_process_group():
            left.append("a process group (torch.distributed.destroy_process_group)")
        torch_internals.end_loader_workers()
        torch_internals.reset_dynamo()
        random.setstate(self.random)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        return left

    def _restore_environ(self) -> list[str]:
        now = dict(os.environ)
        if now == self.environ:
            return []
        changed = sorted(k for k in now.keys() | self.environ.keys() if now.get(k) != self.environ.get(k))
        changed = [k for k in changed if not k.startswith(_ENVIRON_IGNORED)]
        for key in changed:
            if key in self.environ:
                os.environ[key] = self.environ[key]
            else:
                del os.environ[key]
        return [f"the environment variable {key}{_was_and_is(self.environ.get(key), now.get(key))}" for key in changed]


def prepare_torch() -> None:
    """One thread from the start (see dojo/plugin.py); the environment variable alone is too late after an import."""
    if os.environ.get("OMP_NUM_THREADS") == "1":
        torch.set_num_threads(1)
