"""The engine, as a pytest plugin: the list of its rooms, and settings that must come before torch or matplotlib."""

from __future__ import annotations

import os
from pathlib import Path

# One thread: with two, the same training took 46 s instead of 1 s while the other core was busy, forked children can
# hang, and sums differ in their last bits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Asking for CUDA must not initialise it, or forked DataLoader workers cannot use it.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

# A window that nobody closes would hold a test for a minute: so plt.show() does nothing.
os.environ.setdefault("MPLBACKEND", "agg")

# From the bottom up. Each declares its own options and hooks in its plugin.py; the upper ones may be missing.
_ROOMS = ("session", "screen", "commands", "workspace", "watch", "grading")
_HERE = Path(__file__).parent
pytest_plugins = [
    "dojo.installation",
    *(f"dojo.{room}.plugin" for room in _ROOMS if (_HERE / room / "plugin.py").is_file()),
]
