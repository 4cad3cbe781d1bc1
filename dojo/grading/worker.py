"""Behind the wall: imports torch once, then forks a child for each kata that the supervisor asks for.

Jobs come in as lines of JSON, answers go out in the same way. The worker trusts nothing that a child tells but that it
was told; it ends a child that had its time, its memory or its processes, and all that the child has started.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import ctypes
import json
import os
import secrets
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36
_NOBODY = 61_700  # first of the numbers that are nobody's
_MOST_TOLD = 8 << 20  # bytes that a child may tell
_LOOK = 0.25  # seconds between two looks at what a child takes


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--become-nobody", action="store_true")
    parser.add_argument("--confine", action="store_true")
    parser.add_argument("--processes", type=int, default=0)
    options = parser.parse_args()
    jobs, answers = _own_channels()
    _hide()
    if options.become_nobody:
        _become_nobody()
    worker = Worker(options.scratch, options.confine, options.processes, jobs, answers)
    buffer = b""
    while True:
        while b"\n" not in buffer:
            more = os.read(jobs, 1 << 20)
            if not more:
                return 0
            buffer += more
        line, _, buffer = buffer.partition(b"\n")
        answer = json.dumps(worker.answer(json.loads(line))).encode() + b"\n"
        while answer:
            answer = answer[os.write(answers, answer) :]


def _own_channels() -> tuple[int, int]:
    """Take stdin and stdout away from everybody else. (Not inherited by a program that is started.)"""
    jobs, answers, nothing = os.dup(0), os.dup(1), os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return jobs, answers


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _hide() -> None:
    """Children may not look into the worker's memory; what they leave behind becomes the worker's own child."""
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _become_nobody() -> None:
    """A limit on the number of processes binds everybody but root, and counts those of one user on all the machine."""
    number = _NOBODY + os.stat(".").st_dev % 3_000  # each worker's scratch folder is a file system of its own
    os.setgroups([])
    os.setresgid(number, number, number)
    os.setresuid(number, number, number)


class Worker:
    """Answers jobs."""

    def __init__(self, scratch: Path, confine: bool, processes: int, jobs: int, answers: int) -> None:
        self.scratch, self.confine, self.processes = scratch, confine, processes
        self.jobs, self.answers = jobs, answers
        self._snapshot: Any = None

    def answer(self, job: dict[str, Any]) -> dict[str, Any]:
        """Of a job with a key the kata's events, of one with a probe whether the wall refused it."""
        home = Path(tempfile.mkdtemp(dir=self.scratch))
        try:
            if "probe" in job:
                return self._fork(job, home, self._probe)
            self._get_ready(job)
            return self._fork(job, home, self._kata)
        finally:
            shutil.rmtree(home, onerror=_make_removable)

    def _get_ready(self, job: dict[str, Any]) -> None:
        """What is imported now is imported once for all katas."""
        from dojo.process import first_use

        if self._snapshot is None:
            import dojo.grading.child  # noqa: F401
            from dojo.grading.tampering import Snapshot
            from dojo.process import warm  # noqa: F401  runs a kata that teaches nothing

            if job["several"]:
                first_use.of_torch()

            self._snapshot = Snapshot()
        if job["compiles"]:
            first_use.of_the_compiler()

    # ── in the child ──

    def _kata(self, job: dict[str, Any], told: int, crashes: int, home: Path) -> None:
        from dojo.grading import child

        folder = home / "katas"
        folder.mkdir()
        self._settle(job, folder)
        child.run(job, told, crashes, folder, self._snapshot)

    def _probe(self, job: dict[str, Any], told: int, crashes: int, home: Path) -> None:
        from dojo.grading import probes

        self._settle(job, home)
        done = probes.attempt(job["probe"], job["arguments"])
        os.write(told, json.dumps({"token": job["token"], "what": "probe", "done": done}).encode() + b"\n")
        os._exit(0)

    def _settle(self, job: dict[str, Any], folder: Path) -> None:
        from dojo.grading.child import limit

        os.environ.update(HOME=str(folder), TMPDIR=str(folder))
        tempfile.tempdir = None
        os.chdir(folder)
        limit(job, self.processes)
        if self.confine:  # once more than the worker, which is then out of reach
            import sandlock

            readable = ["/proc", "/dev", *(path for path in job["readable"] if Path(path).exists())]
            writable = [str(folder.parent), "/dev/null", "/dev/shm"]
            sandlock.confine(sandlock.Sandbox(fs_readable=readable, fs_writable=writable))

    # ── in the worker ──

    def _fork(self, job: dict[str, Any], home: Path, work: Callable[..., None]) -> dict[str, Any]:
        job["token"] = secrets.token_hex(8)
        listen, told = os.pipe()
        crashes = os.memfd_create("crashes")
        began, pid = time.monotonic(), os.fork()
        if pid == 0:
            try:
                os.setsid()
                _prctl(_PR_SET_DUMPABLE, 1)  # the worker looks at how much memory it takes
                for channel in (self.jobs, self.answers, listen):
                    os.close(channel)
                work(job, told, crashes, home)
            except BaseException as error:
                sys.stderr.write(f"{type(error).__name__}: {error}\n")
            finally:
                os._exit(70)
        os.close(told)
        watched = _Watched(pid, listen, job, self.jobs, self.processes)
        try:
            end = watched.follow()
            crash = os.pread(crashes, 4096, 0)
        finally:
            os.close(listen)
            os.close(crashes)
        return {
            "told": base64.b64encode(bytes(watched.told)).decode(),
            "token": job["token"],
            "end": end,
            "crash": crash.decode(errors="replace"),
            "left": watched.left,
            "seconds": time.monotonic() - began,
        }


class _Watched:
    """A child, followed to its end."""

    def __init__(self, pid: int, listen: int, job: dict[str, Any], jobs: int, processes: int) -> None:
        self.pid, self.listen, self.jobs, self.processes = pid, listen, jobs, processes or 50
        self.deadline = time.monotonic() + job["seconds"]
        self.most_memory = (job["memory_gb"] + 0.5) * 2**30
        self.told = bytearray()
        self.left = 0  # processes that it left behind

    def follow(self) -> str:
        """Listen until the child ends or has had its share; returns how it ended, with nothing of it left."""
        look, end, open_ends = time.monotonic() + _LOOK, "", [self.listen, self.jobs]
        while not end:
            ready, _, _ = select.select(open_ends, [], [], 0.02 if self.listen not in open_ends else 0.1)
            if self.jobs in ready:  # no job comes before the answer: the supervisor is gone
                end_all_below()
                os._exit(0)
            if self.listen in ready and not self._take():
                open_ends.remove(self.listen)
            status = _ended(self.pid)
            now = time.monotonic()
            if status is not None:
                end = "exit" if status >= 0 else signal.Signals(-status).name
                if status > 0:
                    end = f"exit {status}"
            elif now > self.deadline:
                end = "time"
            elif len(self.told) > _MOST_TOLD:
                end = "output"
            elif now > look:
                end, look = self._takes_too_much(), now + _LOOK
        self.left = len(below())
        end_all_below()
        while select.select([self.listen], [], [], 0)[0] and len(self.told) <= _MOST_TOLD and self._take():
            pass
        return end

    def _take(self) -> bool:
        more = os.read(self.listen, 1 << 16)
        self.told += more
        return bool(more)

    def _takes_too_much(self) -> str:
        family = below()
        if len(family) > self.processes:
            return "processes"
        return "memory" if sum(map(_memory, family)) > self.most_memory else ""


def _ended(pid: int) -> int | None:
    """The child's exit code, or minus its signal's number. None while it lives."""
    while True:
        try:
            found, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0
        if found == 0:
            return None
        if found == pid:
            return os.waitstatus_to_exitcode(status)


def below() -> list[int]:
    """All that this process has started, and what that has started."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{entry}/stat").read_text(errors="replace").rpartition(")")[2].split()
                if fields[0] not in "ZX":
                    parents.setdefault(int(fields[1]), []).append(int(entry))
    found, todo = [], [os.getpid()]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def _memory(pid: int) -> int:
    """Bytes that a process holds, what it shares counted in part."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def end_all_below() -> None:
    """End all of them. First they are stopped, so that none can start another while it is looked for."""
    for _ in range(200):
        family = below()
        if not family:
            break
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in family:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
        _reap()
        time.sleep(0.005)
    _reap()


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _make_removable(remove: Callable[[str], object], path: str, _: object) -> None:
    """A folder that was made unreadable, a file that is gone."""
    with contextlib.suppress(OSError):
        os.chmod(os.path.dirname(path), 0o700)
        os.chmod(path, 0o700)
        shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else remove(path)


if __name__ == "__main__":
    sys.exit(main())
