"""`pytest --kata-watch`: stays open, and shows the verdict on the current kata at each save.

Three kinds of process. This one, the parent, owns the terminal; it imports torch once, runs no learner code, never
initialises CUDA and stays at one thread, so that it can be forked at any time. A child, forked ahead, its session
ready to collect, waits to run one kata under limits of time and memory; whatever the learner's code does ends with
it. A third (dojo/watch_files.py) tells of changed files. Where fork is not safe, each run is a plain subprocess.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from dojo import limits
from dojo.catalog import Kata, doc_sections, find_katas
from dojo.failures import relative
from dojo.home import Place

KEYS = "Enter again · h hint · n next · l list · c compare · q quit"
FORK_IS_SAFE = sys.platform == "linux"  # macOS has fork too, and libraries that do not survive it
_STARTS_IN = 120.0  # seconds that a process may take to import torch and configure pytest, on the slowest of disks
_MISSED_BY = 5.0  # seconds that a run gets beyond its own limits before it is killed
_AFTERLIFE = 2.0  # seconds that a child may go on after its verdict


class Run:
    """A child process that runs (or waits to run) one pytest session."""

    def __init__(self, process: subprocess.Popen[bytes] | int, orders: int | None, output: int, messages: int) -> None:
        self.process = process
        self.orders = orders  # write end: the word to begin goes here; None once begun
        self.output = output  # read end: what goes to the screen
        self.messages = messages  # read end: JSON lines
        self.arguments: list[str] = []
        self.kata: Kata | None = None
        self.test = ""
        self.exit: tuple[int, str] | None = None
        self.crash: list[str] = []
        self.states: dict[str, str] = {}
        self.current: str | None = None
        self.ready = False  # it has begun to collect: from now on its own limits hold
        self.told = False
        self.deadline: float | None = None
        self.status: int | None = None
        self.output_open = self.messages_open = True
        self._rest = b""

    @property
    def pid(self) -> int:
        return self.process if isinstance(self.process, int) else self.process.pid

    def take(self, data: bytes) -> None:
        """Read messages from the child."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take_line(line.decode(errors="replace"))

    def _take_line(self, line: str) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            self.crash.append(line)  # faulthandler writes plain lines
            return
        if "ready" in message:
            self.ready = True
        elif "test" in message:
            self.test = message["test"]
        elif "exit" in message:
            self.exit = (message["exit"], message["at"])
        elif "states" in message:
            self.states, self.current, self.told = message["states"], message["current"], True

    def kill(self) -> None:
        """End the child and everything that it started."""
        for target in (self._kill_group, self._kill_one):
            with contextlib.suppress(OSError):
                target()
        self.reap()

    def _kill_group(self) -> None:
        if hasattr(os, "killpg"):
            os.killpg(self.pid, signal.SIGKILL)

    def _kill_one(self) -> None:
        if isinstance(self.process, int):
            os.kill(self.pid, signal.SIGKILL)
        else:
            self.process.kill()

    def reap(self) -> int:
        """Wait for the end; the exit status, negative for a signal."""
        if self.status is None:
            if isinstance(self.process, int):
                self.status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
            else:
                self.status = self.process.wait()
        return self.status

    def close(self) -> None:
        for fd in (self.orders, self.output, self.messages):
            if fd is not None:
                with contextlib.suppress(OSError):
                    os.close(fd)


class Watch:
    """The parent."""

    def __init__(
        self,
        root: Path,
        katas: Path,
        reference: Path,
        *,
        options: list[str],
        timeout: float,
        memory_gb: float,
        poll: bool,
        out: TextIO,
    ) -> None:
        self.root, self.katas_root, self.reference = root, katas, reference
        self.options = options
        self.timeout, self.memory_gb, self.poll = timeout, memory_gb, poll
        self.out = out
        self.forks = FORK_IS_SAFE
        self.current: str | None = None
        self.spare: Run | None = None
        self.running: Run | None = None
        self.purpose = ""

    # ── the loop ──

    def main(self) -> int:
        """Watch until `q` or Ctrl-C; returns the exit code."""
        self._import_torch()
        watcher = self._start_watcher()
        try:
            with self._interrupts() as interrupts, self._keyboard() as keyboard:
                how = "polling for changes" if self.poll else "waiting for a save"
                self._say(f"watching {relative(self.katas_root)}/, {how}. Ctrl-C ends it.")
                self._start("walk")
                self._warm_up()  # while the first run goes on
                self._loop(watcher, keyboard, interrupts)
        except KeyboardInterrupt:
            pass
        finally:
            watcher.terminate()
            for run in (self.running, self.spare):
                if run is not None:
                    run.kill()
                    run.close()
        return 0

    def _loop(self, watcher: subprocess.Popen[bytes], keyboard: int | None, interrupts: int) -> None:
        assert watcher.stdout is not None
        events = watcher.stdout.fileno()
        rest = b""
        while True:
            waiting = [events, interrupts] + ([keyboard] if keyboard is not None else [])
            run = self.running
            if run is not None:
                waiting += [run.output] * run.output_open + [run.messages] * run.messages_open
            ready, _, _ = select.select(waiting, [], [], self._patience())
            if interrupts in ready:
                self._say("")
                return
            if run is not None:
                self._listen(run, ready)
            if keyboard is not None and keyboard in ready and not self._key(os.read(keyboard, 1)):
                return
            if events in ready:
                data = os.read(events, 65536)
                if not data:
                    self._say("the watcher of files has ended: start the watch anew (is watchfiles installed?)")
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._changed(json.loads(line).get("changed", []))

    def _patience(self) -> float | None:
        if self.running is None or self.running.deadline is None:
            return None
        return max(0.0, self.running.deadline - time.monotonic())

    def _listen(self, run: Run, ready: list[int]) -> None:
        """Pass the child's output on; notice its end, or that it does not end."""
        if run.messages_open and run.messages in ready:
            data = os.read(run.messages, 65536)
            run.take(data)
            run.messages_open = bool(data)
            # The verdict is on screen; what is left behind (a thread, a process) gets no more time.
            run.deadline = time.monotonic() + (_AFTERLIFE if run.told else self._seconds(run))
        if run.output_open and run.output in ready:
            data = os.read(run.output, 65536)
            run.output_open = bool(data)
            self.out.write(data.decode(errors="replace"))
            self.out.flush()
        if not run.output_open and not run.messages_open:
            self._ended(run, run.reap())
        elif run.deadline is not None and time.monotonic() > run.deadline:
            run.kill()
            self._ended(run, None)

    # ── what happens ──

    def _changed(self, paths: list[str]) -> None:
        """A save: the kata that was saved last is the current one."""
        saved = [kata for kata in find_katas(self.katas_root) if str(kata.path) in paths]
        if saved:
            self.current = saved[-1].key
        if paths:
            self._start("verdict" if self.current else "walk")

    def _key(self, key: bytes) -> bool:
        """Act on a key; False ends the watch."""
        if key in (b"q", b"", b"\x04"):
            return False
        name = {b"h": "hint", b"n": "walk", b"l": "list", b"c": "compare", b"\n": "verdict", b"\r": "verdict"}.get(key)
        if name is not None:
            self._start(name if self.current or name == "list" else "walk")
        return True

    def _start(self, purpose: str) -> None:
        """Start a run; one that is still going is stopped."""
        if self.running is not None:
            self.running.kill()
            self.running.close()
        kata = self._current_kata()
        arguments = self._arguments(purpose, kata)
        self.purpose = purpose
        self._clear()
        run = self._begin(arguments, kata) if self._may_fork(kata) else self._subprocess(arguments)
        run.kata = kata
        run.deadline = time.monotonic() + self._seconds(run)
        self.running = run

    def _arguments(self, purpose: str, kata: Kata | None) -> list[str]:
        """What pytest is told for a purpose."""
        arguments = {
            "walk": ["--kata-verdict="],
            "verdict": [f"--kata-verdict={self.current}"],
            "hint": [f"--kata-hint={self.current}"],
            "list": ["--kata-list"],
            "compare": [f"--kata-compare={self.current}"],
        }[purpose]
        if purpose == "verdict" and kata is not None and "caplog" not in _text(kata):
            # Its handlers go to each of torch's loggers, three times a test: a fifth of a short kata's time.
            arguments += ["-p", "no:logging"]
        return arguments + self.options

    def _current_kata(self) -> Kata | None:
        return next((kata for kata in find_katas(self.katas_root) if kata.key == self.current), None)

    def _seconds(self, run: Run) -> float:
        """How long a run may be silent: its own limits come first, then the parent's patience ends."""
        longest = max(self.timeout, 900.0) if run.kata is not None and "time_limit" in _text(run.kata) else self.timeout
        if self.purpose in ("walk", "list"):
            longest = max(longest, 900.0)
        if self.timeout <= 0:
            return float("inf")
        return longest * 1.5 + (_MISSED_BY if run.ready else _STARTS_IN)

    def _ended(self, run: Run, status: int | None) -> None:
        """The child is gone: say what its verdict could not, offer the keys, and fork the next one ahead."""
        self.running = None
        run.close()
        if run.told:
            self.current = run.current or self.current
            if (
                self.purpose == "verdict"
                and run.kata is not None
                and run.states.get(run.kata.key) in ("done", "stand-in")
            ):
                self._congratulate(run.kata)
        elif self.purpose in ("verdict", "walk"):
            self._say(self._obituary(run, status))
        if sys.stdin.isatty():
            self._say(KEYS)
        self._fork_ahead()

    def _congratulate(self, kata: Kata) -> None:
        _, why = doc_sections(self.reference / f"{kata.key}.py")
        self._say(f"\n{kata.name} passes.")
        if why:
            self._say(f"  {' '.join(why.split())}")
        self._say("n leads to the next kata; it waits until you ask.")

    def _obituary(self, run: Run, status: int | None) -> str:
        """Why a run ended without a verdict, and at which line the code was."""
        test = run.test.split("::")[-1] or ("the import" if run.ready else "the start")
        place = next(
            (found for row in run.crash if (found := _CRASH_LINE.search(row)) and self._is_kata(found[1])), None
        )
        where = f", at {relative(Path(place[1]))}:{place[2]}" if place else ""
        if run.exit is not None:
            file, _, line = run.exit[1].rpartition(":")
            return f"{test}: your code ended the process with os._exit({run.exit[0]}), at {relative(Path(file))}:{line}"
        if status is None or any("Timeout" in row for row in run.crash):
            return f"{test}: stopped, it did not end in time{where}. An endless loop? (--kata-timeout gives more)"
        if status < 0:
            name = signal.Signals(-status).name
            what = {"SIGSEGV": "a segmentation fault", "SIGABRT": "an abort", "SIGKILL": "killed from outside"}
            return f"{test}: your code crashed the process: {what.get(name, name)}{where}"
        return f"{test}: the process ended with exit code {status} before the verdict{where}"

    def _is_kata(self, file: str) -> bool:
        return Path(file).is_relative_to(self.katas_root)

    # ── processes ──

    def _import_torch(self) -> None:
        if self.forks:
            import dojo.guard
            import dojo.kit
            import dojo.xray

            dojo.guard.prepare_torch()

    def _warm_up(self) -> None:
        if self.forks:
            from dojo import naming, watch_child

            watch_child.warm_up()
            naming.load(self.reference, "")  # the file, where there is one, is read once
            gc.collect()
            gc.freeze()  # a child's collections leave these objects alone, and so the memory shared with the parent

    def _begin(self, arguments: list[str], kata: Kata | None) -> Run:
        """Let the waiting child go; where it waits for something else, or has died, fork one that need not wait."""
        run, self.spare = self.spare, None
        if run is not None and run.arguments == arguments and self._let_go(run):
            return run
        if run is not None:
            run.kill()
            run.close()
        self._import_what_it_needs(kata)
        run = self._fork(arguments)
        self._let_go(run)
        return run

    def _let_go(self, run: Run) -> bool:
        assert run.orders is not None
        orders, run.orders = run.orders, None
        try:
            os.write(orders, (json.dumps(self._screen()) + "\n").encode())
        except BrokenPipeError:
            return False
        finally:
            os.close(orders)
        return True

    @staticmethod
    def _screen() -> dict[str, str]:
        """Environment variables that tell a child, whose output is a pipe, how wide the terminal is now."""
        return {"COLUMNS": str(shutil.get_terminal_size().columns)}

    def _may_fork(self, kata: Kata | None) -> bool:
        if not self.forks:
            return False
        if kata is not None and "mark.gpu" in _text(kata):
            from dojo.kit import gpu_is_here

            return not gpu_is_here()  # CUDA in a forked child of a process that asked for it is asking for trouble
        return True

    def _import_what_it_needs(self, kata: Kata | None) -> None:
        """torchvision, and the 900 modules behind the first optimizer: once, here, instead of at each save."""
        text = _text(kata) if kata is not None else ""
        for word, name in _LAZY.items():
            if word in text and name not in sys.modules:
                __import__(name)

    def _fork_ahead(self) -> None:
        """Have a child ready for what comes next most often: a save of the current kata."""
        kata = self._current_kata()
        if self.spare is None and self._may_fork(kata):
            self._import_what_it_needs(kata)
            self.spare = self._fork(self._arguments("verdict" if self.current else "walk", kata), ahead=True)

    def _fork(self, arguments: list[str], ahead: bool = False) -> Run:
        """A child whose session is configured, and waits for a line in its `orders`."""
        orders_read, orders = os.pipe()
        output, output_write = os.pipe()
        messages, messages_write = os.pipe()
        self.out.flush()
        pid = os.fork()
        if pid:
            for fd in (orders_read, output_write, messages_write):
                os.close(fd)
            run = Run(pid, orders, output, messages)
            run.arguments = arguments
            return run
        try:
            os.setsid()
            for fd in (orders, output, messages):
                os.close(fd)
            if ahead:
                # Once more, in the child: it writes to the pages of memory that a run writes to, so that they are
                # its own before the learner saves.
                self._warm_up()
            self._be_the_child(arguments, orders_read, output_write, messages_write)
        except BaseException as error:
            os.write(output_write, f"the run could not start: {error!r}\n".encode())
        finally:
            os._exit(1)

    def _be_the_child(self, arguments: list[str], orders: int, output: int, messages: int) -> None:
        from dojo import watch_child

        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(nothing)
        os.close(output)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding=self.out.encoding or "utf-8", errors="replace", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding=self.out.encoding or "utf-8", errors="replace", closefd=False)  # noqa: SIM115
        status = watch_child.run(arguments, messages, self.memory_gb, watch_child.Wait(orders))
        sys.stdout.flush()
        os._exit(status)

    def _subprocess(self, arguments: list[str]) -> Run:
        messages, messages_write = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-m", "dojo.watch_child", str(messages_write), str(self.memory_gb), *arguments],
            cwd=self.root,
            env=os.environ | self._screen(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(messages_write,),
            start_new_session=True,
        )
        os.close(messages_write)
        assert process.stdout is not None
        return Run(process, None, os.dup(process.stdout.fileno()), messages)

    def _start_watcher(self) -> subprocess.Popen[bytes]:
        poll = ["--poll"] if self.poll else []
        return subprocess.Popen(
            [sys.executable, "-m", "dojo.watch_files", *poll, str(self.katas_root)],
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    # ── the terminal ──

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[int]:
        """A pipe that becomes readable at Ctrl-C. A KeyboardInterrupt would be lost if it fell into the hooks that
        run around a fork: Python prints and forgets what they raise."""
        read, write = os.pipe()
        os.set_blocking(write, False)
        before = signal.signal(signal.SIGINT, lambda *_: None)
        previous = signal.set_wakeup_fd(write)
        try:
            yield read
        finally:
            signal.set_wakeup_fd(previous)
            signal.signal(signal.SIGINT, before)
            os.close(read)
            os.close(write)

    @contextlib.contextmanager
    def _keyboard(self) -> Iterator[int | None]:
        """Single keys where stdin is a terminal, whose settings are put back at the end; else None."""
        if not sys.stdin.isatty():
            yield None
            return
        import termios
        import tty

        fd = sys.stdin.fileno()
        before = termios.tcgetattr(fd)
        tty.setcbreak(fd)
        try:
            yield fd
        finally:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)

    def _clear(self) -> None:
        self.out.write("\x1b[2J\x1b[3J\x1b[H" if self.out.isatty() else "\n" + "-" * 60 + "\n")
        self.out.flush()

    def _say(self, text: str) -> None:
        encoding = self.out.encoding or "utf-8"
        self.out.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        self.out.flush()


_CRASH_LINE = re.compile(r'File "(.+)", line (\d+)')
_LAZY = {"torchvision": "torchvision", "optim": "torch._dynamo", "dojo.data": "torchvision.datasets"}


def _text(kata: Kata) -> str:
    try:
        return kata.path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def main(config: Any, place: Place) -> int:
    """The command `pytest --kata-watch`."""
    option = config.option
    timeout = limits.DEFAULT if option.kata_timeout is None else option.kata_timeout
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    options = [f"--color={'yes' if colour else 'no'}"]
    options += [f"--kata-solutions={folder}" for folder in option.kata_solutions]
    if option.kata_timeout is not None:
        options.append(f"--kata-timeout={option.kata_timeout}")
    if option.kata_no_xray:
        options.append("--kata-no-xray")
    watch = Watch(
        config.rootpath,
        place.katas,
        place.reference,
        options=options,
        timeout=timeout,
        memory_gb=option.kata_memory,
        poll=option.kata_poll,
        out=sys.stdout,
    )
    capture = config.pluginmanager.get_plugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)  # pytest has taken stdin away; the keys come from there
    return watch.main()
