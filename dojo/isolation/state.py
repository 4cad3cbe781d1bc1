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
    """

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], None]


def _put_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _put_grad_mode(on: bool) -> None:
    torch.set_grad_enabled(on)


def _put_warnings_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]  # typeshed says Sequence; it is a list


def _put_cwd(value: str) -> None:
    os.chdir(value)


def _cwd() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # the test removed its own working directory
        return ""


SETTINGS = [
    # Inference mode first: leaving it also decides what grad mode can be.
    Setting("inference mode", torch.is_inference_mode_enabled, torch_internals.set_inference_mode),
    Setting("grad mode (torch.set_grad_enabled)", torch.is_grad_enabled, _put_grad_mode),
    Setting("the default dtype (torch.set_default_dtype)", torch.get_default_dtype, torch.set_default_dtype),
    Setting("the default device (torch.set_default_device)", torch_internals.default_device, torch.set_default_device),
    Setting(
        "a torch function mode (such as `with torch.device(...)`)",
        torch_internals.mode_depth,
        torch_internals.pop_modes_to,
    ),
    Setting(
        "deterministic algorithms (torch.use_deterministic_algorithms)",
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        _put_deterministic,
    ),
    Setting(
        "the matmul precision (torch.set_float32_matmul_precision)",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    Setting("the number of threads (torch.set_num_threads)", torch.get_num_threads, torch.set_num_threads),
    Setting(
        "autocast on the CPU", lambda: torch.is_autocast_enabled("cpu"), lambda v: torch.set_autocast_enabled("cpu", v)
    ),
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
    Setting("NumPy's error handling (np.seterr)", np.geterr, lambda v: np.seterr(**v) and None),
    Setting("the working directory", _cwd, _put_cwd),
    Setting("sys.path", lambda: list(sys.path), lambda v: sys.path.__setitem__(slice(None), v)),
    Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Setting("garbage collection (gc.disable)", gc.isenabled, lambda v: gc.enable() if v else gc.disable()),
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
    def seed() -> None:
        random.seed(SEED)
        np.random.seed(SEED)
        # torch.manual_seed() would format the call stack for each kind of device that is not in use yet.
        torch.default_generator.manual_seed(SEED)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(SEED)

    def restore(self) -> list[str]:
        """Put everything back; returns the names of what had been left changed (random numbers drawn aside)."""
        left = []
        for setting, before in self.settings:
            if setting.get() != before:
                left += [setting.name] if setting.name else []
                setting.put(before)
        left += self._restore_environ()
        if torch_internals.destroy_process_group():
            left.append("a process group (torch.distributed.destroy_process_group)")
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
        return [f"the environment variable {key}" for key in changed]


def prepare_torch() -> None:
    """One thread from the start (see dojo/plugin.py); the environment variable alone is too late after an import."""
    if os.environ.get("OMP_NUM_THREADS") == "1":
        torch.set_num_threads(1)
