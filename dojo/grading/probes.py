"""What a wall must refuse before it is trusted. Each probe is tried in a child of a worker, just as a kata runs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MEMORY_GB = 1.0  # the limit that the probes run under
_FORKS = 60


def attempt(probe: str, arguments: dict[str, Any]) -> bool:
    """Try it. True: it could be done, which is a hole in the wall."""
    try:
        return PROBES[probe][1](arguments)
    except (OSError, MemoryError):
        return False


def _read_another_file(arguments: dict[str, Any]) -> bool:
    return any(_reads(path) for path in arguments["secrets"])


def _reads(path: str) -> bool:
    try:
        return bool(Path(path).read_bytes())
    except OSError:
        return False


def _write_outside(arguments: dict[str, Any]) -> bool:
    Path(arguments["outside"]).write_text("written by a submission")
    return True


def _connect(arguments: dict[str, Any]) -> bool:
    def tcp() -> None:
        socket.create_connection(("127.0.0.1", arguments["tcp"]), timeout=1).close()

    def local() -> None:
        with socket.socket(socket.AF_UNIX) as there:
            there.connect("\0" + arguments["local"])

    def datagram() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
            there.sendto(b"x", ("127.0.0.1", arguments["udp"]))  # whether it arrives is looked at outside

    _works(datagram)
    return any([_works(tcp), _works(local)])


def _works(what: Callable[[], None]) -> bool:
    try:
        what()
    except OSError:
        return False
    return True


def _take_memory(arguments: dict[str, Any]) -> bool:
    held = [bytearray(os.urandom(1 << 20) * 64) for _ in range(48)]  # 3 GB
    return len(held) == 48


def _fork_often(arguments: dict[str, Any]) -> bool:
    for _ in range(_FORKS):
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
    return True


def _signal_the_parent(arguments: dict[str, Any]) -> bool:
    parent = os.getppid()
    with contextlib.suppress(OSError):
        os.kill(arguments["decoy"], signal.SIGTERM)  # whether it arrives is looked at outside
    with contextlib.suppress(OSError):
        os.kill(parent, signal.SIGKILL)  # if it dies there will be no answer
    return False


PROBES: dict[str, tuple[str, Callable[[dict[str, Any]], bool]]] = {
    "read": ("read another student's file", _read_another_file),
    "write": ("write outside of its own folder", _write_outside),
    "connect": ("connect to this machine", _connect),
    "memory": ("take 3 GB where 1 GB is allowed", _take_memory),
    "forks": (f"start {_FORKS} processes", _fork_often),
    "signal": ("end a process outside", _signal_the_parent),
}


@contextlib.contextmanager
def targets(reference: Path) -> Iterator[tuple[dict[str, Any], Callable[[], list[str]]]]:
    """What the probes aim at, and a look at which were hit."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kata-probe-")))
        secret, outside = folder / "another_student.py", folder / "outside"
        secret.write_text("secret")
        tcp, udp = stack.enter_context(socket.socket()), stack.enter_context(_datagrams())
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        name = f"kata-probe-{os.getpid()}-{os.urandom(4).hex()}"
        tcp.bind(("127.0.0.1", 0))
        local.bind(f"\0{name}")
        for server in (tcp, local):
            server.listen()
        sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
        decoy = stack.enter_context(subprocess.Popen(sleeper))
        stack.callback(decoy.kill)
        secrets = [str(secret), *map(str, sorted(reference.rglob("*.py"))[:1])]
        numbers = {"tcp": tcp.getsockname()[1], "udp": udp.getsockname()[1], "decoy": decoy.pid}

        def hit() -> list[str]:
            found = ["write"] if outside.exists() else []
            with contextlib.suppress(BlockingIOError):
                udp.recv(1)
                found.append("connect")
            return found + (["signal"] if decoy.poll() is not None else [])

        yield {"secrets": secrets, "outside": str(outside), "local": name, **numbers}, hit


def _datagrams() -> socket.socket:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.setblocking(False)
    return server
