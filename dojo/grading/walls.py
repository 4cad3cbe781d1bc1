"""What a worker runs behind: bubblewrap, else Landlock, else, if a teacher asks for it by name, nothing.

A wall is a command line: in front of the worker's own, it confines the worker and all that it starts. Its limits on
processes are the wall's; those on memory, time and files are set by the child itself (`child.py`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dojo
from dojo.kit.mnist import data_root, raw_folder

PROCESSES = 50  # at once, for one kata
_SYSTEM = (*("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/sys/devices/system/cpu"),)
_NAMES = ("/etc/hosts", "/etc/nsswitch.conf")  # what "localhost" is; where there is a network of one's own
_SCRATCH = str(1 << 30)  # bytes that may be written, in all


@dataclass(frozen=True)
class Wall:
    """A way to confine a worker."""

    name: str
    missing: Callable[[], str]  # what this machine lacks for it; "" where it can be tried
    around: Callable[[list[str], Path, Path], list[str]]  # (command, project, scratch) -> the command behind the wall


def readable(project: Path) -> list[str]:
    """The folders that a worker may read: Python, the engine, the katas, MNIST. Neither reference/ nor submissions."""
    python = {sys.prefix, sys.base_prefix, str(Path(os.path.realpath(sys.executable)).parents[1])}
    engine = Path(dojo.__file__).parent
    return [*_SYSTEM, *sorted(python), str(engine), str(project / "katas"), str(raw_folder())]


def environment(project: Path) -> dict[str, str]:
    """All of a worker's environment. PYTHONHASHSEED: the same grade each time, whatever the order of a set."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": os.pathsep.join([str(Path(dojo.__file__).parents[1]), str(project)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "LANG": "C.UTF-8",
        "COLUMNS": "100",
        "USER": "student",
        "LOGNAME": "student",
        "TERM": "dumb",
        "KATA_DATA": str(data_root()),
    }


def _bwrap(command: list[str], project: Path, scratch: Path) -> list[str]:
    is_root = os.geteuid() == 0
    # Root needs no user namespace, and can become somebody else: nothing limits how many processes root has.
    apart = [] if is_root else ["--unshare-user"]
    words = [
        "bwrap",
        *apart,
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    words += ["--die-with-parent", "--as-pid-1", "--clearenv"]
    words += ["--cap-drop", "ALL", *(["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if is_root else [])]
    for name, value in environment(project).items():
        words += ["--setenv", name, value]
    # In this order: the project, or Python, may lie in /tmp.
    words += ["--perms", "1777", "--size", _SCRATCH, "--tmpfs", "/tmp", "--chdir", "/tmp"]
    paths = [*readable(project), *_NAMES]
    for folder in sorted({parent for path in paths for parent in Path(path).parents if parent.name}):
        words += ["--perms", "0755", "--dir", str(folder)]  # left to bubblewrap, only root could pass through
    for path in paths:
        words += ["--ro-bind-try", path, path]
    words += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--size", _SCRATCH, "--tmpfs", "/dev/shm"]
    return [*words, *command, "--scratch=/tmp", *(["--become-nobody"] if is_root else []), f"--processes={PROCESSES}"]


def _no_bwrap() -> str:
    if sys.platform != "linux":
        return "bubblewrap runs on Linux only"
    return "" if shutil.which("bwrap") else "bubblewrap is not installed (Debian, Ubuntu: sudo apt install bubblewrap)"


def _landlock(command: list[str], project: Path, scratch: Path) -> list[str]:
    policy = {
        "fs_readable": [path for path in [*readable(project), "/proc", "/dev"] if Path(path).exists()],
        "fs_writable": [str(scratch), "/dev/null", "/dev/shm"],
        "max_processes": PROCESSES,
        "extra_allow_syscalls": ["sysv_ipc"],
    }
    inner = [*command, f"--scratch={scratch}", "--confine"]
    return [sys.executable, "-m", "dojo.grading.landlock", json.dumps(policy), *inner]


def _no_landlock() -> str:
    if sys.platform != "linux":
        return "Landlock is Linux's"
    if importlib.util.find_spec("sandlock") is None:
        return "the package sandlock is not installed (pip install -e '.[grading]')"
    import sandlock

    has, needs = sandlock.landlock_abi_version(), sandlock.min_landlock_abi()
    return "" if has >= needs else f"this kernel's Landlock has version {has}, sandlock needs {needs} (Linux 6.12)"


def _nothing(command: list[str], project: Path, scratch: Path) -> list[str]:
    return [*command, f"--scratch={scratch}"]


WALLS = {
    "bwrap": Wall("bwrap", _no_bwrap, _bwrap),
    "landlock": Wall("landlock", _no_landlock, _landlock),
    "none": Wall("none", lambda: "", _nothing),
}
