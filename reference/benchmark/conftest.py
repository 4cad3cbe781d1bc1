"""Fixtures of the benchmark, and the tables after it."""

from __future__ import annotations

import functools
import gc
import os
import platform
import resource
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from dojo.kit import gpu_is_here
from dojo.text import relative
from reference.benchmark import report
from reference.benchmark.cases import arithmetic, precision

PLOT = Path(".benchmarks") / "images_per_second.png"
_BUDGET = 1.0  # seconds of timed calls per row


def synchronised_clock() -> float:
    """The time after the GPU has done what it was given: a clock read before that shows the launches only."""
    if gpu_is_here():
        torch.cuda.synchronize()
    return time.perf_counter()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") and not gpu_is_here():
            item.add_marker(pytest.mark.skip(reason="needs a GPU, and torch finds no CUDA device here"))


@pytest.fixture
def timed(benchmark: Any) -> Callable[..., Any]:
    """Time a callable: warmed up, synchronised on both sides, median and IQR of at least five rounds."""

    def run(call: Callable[[], Any], device: str, **info: Any) -> Any:
        for _ in range(3):  # compile, autotune, allocator, caches
            call()
        if device == "cuda":
            gc.collect()  # the nets of earlier rows, or they count as this one's memory
            torch.cuda.reset_peak_memory_stats()
        started = synchronised_clock()
        call()
        once = max(synchronised_clock() - started, 1e-6)
        iterations = max(1, round(0.005 / once))  # a round of five milliseconds drowns the clock's own cost
        rounds = max(5, min(50, round(_BUDGET / (once * iterations))))
        benchmark.extra_info.update(machine(device, arithmetic(info.get("variant", ""))), device=device, **info)
        benchmark._timer = synchronised_clock
        result = benchmark.pedantic(call, rounds=rounds, iterations=iterations)
        benchmark.extra_info["memory_mb"] = _memory(device)
        return result

    return run


@functools.cache
def machine(device: str, numbers: str) -> dict[str, Any]:
    """What the figures depend on. `numbers`: in what the row multiplies, "fp32", "tf32" or "bf16"."""
    info: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads(), "precision": numbers}
    if device == "cuda":
        info |= {"name": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "driver": _driver()}
    else:
        info |= {"name": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    return info | peaks(device, numbers)


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return said[0] if said else "unknown"


@functools.cache
def peaks(device: str, numbers: str = "fp32") -> dict[str, float]:
    """What the device can do at best, measured here and now: one large matmul in these numbers, one large copy."""
    n = 8192 if device == "cuda" else 1024
    a = torch.rand(n, n, device=device, dtype=torch.bfloat16 if numbers == "bf16" else torch.float32)
    size = 2**28 if device == "cuda" else 2**25
    source, target = torch.rand(size, device=device), torch.empty(size, device=device)

    def best_of(call: Callable[[], object]) -> float:
        times = []
        for _ in range(5):
            started = synchronised_clock()
            call()
            times.append(synchronised_clock() - started)
        return min(times)

    with precision(numbers):
        return {
            "peak_flops": 2 * n**3 / best_of(lambda: a @ a),
            "peak_bytes": 2 * 4 * size / best_of(lambda: target.copy_(source)),
        }


def _memory(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # of the process so far


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around all others: what we say stands last on the screen
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> Generator[None, None, None]:
    yield
    if getattr(config.option, "numprocesses", None):
        terminalreporter.write_line("benchmarks need one process: nothing was timed. Run again without -n")
        return
    session = getattr(config, "_benchmarksession", None)  # pytest-benchmark has no public way to its results
    found = [bench for bench in getattr(session, "benchmarks", []) if not bench.has_error]
    rows = report.rows_of(
        {"extra_info": b.extra_info, "stats": {"median": b.stats.median, "iqr": b.stats.iqr}} for b in found
    )
    if not rows:
        return
    terminalreporter.section(report.title(rows))
    terminalreporter.write_line(report.tables(rows))
    plot = config.rootpath / PLOT
    if report.plot(rows, plot):
        terminalreporter.write_line(f"\nwrote {relative(plot)}\n  {report.PICTURE}")
