"""How long from a save to the verdict: `python tests/bench_watch.py [SAVES]`.

In a copy of the katas it saves each of five katas 20 times under `pytest --kata-watch`, and in between runs a cold
`pytest` of the same file: the medians and their ratio come from the same minutes on the same machine. Half of the
saves leave the stubs as they are; in the other half every stub returns None, so that every test fails and has a
message, a traceback and an X-ray.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KATAS = [
    "01_basics/01_shape_words",
    "02_memory/01_view_or_copy",
    "04_reductions/01_the_silent_outer_product",
    "05_borders/02_numpy_bridge",
    "08_gradients/01_first_gradient",
]


def main(saves: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        for name in ("dojo", "katas", "reference"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("conftest.py", "pyproject.toml"):
            shutil.copy(ROOT / name, copy)
        watch = subprocess.Popen(
            [sys.executable, "-m", "pytest", "--kata-watch"],
            cwd=copy,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for_verdict(watch)
            time.sleep(3)
            measure(copy, watch, saves)
        finally:
            watch.terminate()


def measure(copy: Path, watch: subprocess.Popen[bytes], saves: int) -> None:
    all_warm, all_cold = [], []
    print(f"{'kata':<44}{'save to verdict':>18}{'cold pytest':>14}{'ratio':>8}")
    for key in KATAS:
        file = copy / "katas" / f"{key}.py"
        text = file.read_text(encoding="utf-8")
        wrong = re.sub(r"raise NotImplementedError\(.*\)", "return None", text)
        warm, cold = [], []
        for i in range(saves):
            started = time.perf_counter()
            file.write_text(f"{wrong if i % 2 else text}\n# save {i}\n", encoding="utf-8")
            wait_for_verdict(watch)
            warm.append(time.perf_counter() - started)
            time.sleep(2)  # the learner reads; the next child is forked and warmed
            if i % 8 in (0, 3):  # each state now and then
                started = time.perf_counter()
                subprocess.run([sys.executable, "-m", "pytest", "-q", str(file)], cwd=copy, capture_output=True)
                cold.append(time.perf_counter() - started)
        all_warm += warm
        all_cold += cold
        print(row(key, warm, cold))
        print(f"    of these: stubs {ms(warm[::2])}, wrong answers {ms(warm[1::2])}")
    print(row("all", all_warm, all_cold))


def row(name: str, warm: list[float], cold: list[float]) -> str:
    return f"{name:<44}{ms(warm):>18}{ms(cold):>14}{statistics.median(cold) / statistics.median(warm):>7.0f}x"


def ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.0f} ms"


def wait_for_verdict(watch: subprocess.Popen[bytes]) -> None:
    """Until the verdict's last line has come."""
    assert watch.stdout is not None
    text = b""
    while b"edit  " not in text:
        part = os.read(watch.stdout.fileno(), 65536)
        assert part, "the watch has ended"
        text += part


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
