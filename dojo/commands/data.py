"""`pytest --kata-download`: fetches MNIST, only when asked."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from dojo.kata.data import FILES, ROOT_VARIABLE, DataError, data_root, raw_folder, verify

MIRROR_VARIABLE = "KATA_MNIST_MIRROR"
_BYTES_NEEDED = 80_000_000  # 12 MB of archives, 55 MB unpacked, some air
_STAGING = "mnist-download"  # beside MNIST/: half files live here and nowhere else


def download_mnist(
    root: Path | None = None,
    mirrors: Sequence[str] | None = None,
    *,
    timeout: float = 30.0,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> Path:
    """Fetch MNIST into `root` with torchvision's downloader; returns the folder of the files. DataError if it fails.

    Archives arrive in a folder of their own, are unpacked and verified there, and only then moved to their place: there
    is never a half file under a final name. After Ctrl-C (or an error) whole archives are kept, so that the next
    call goes on where this one stopped. `mirrors` are URLs or folders of the four .gz files.
    """
    root = root or data_root()
    mirrors = _mirrors(mirrors)
    try:
        verify(root)
    except DataError:
        pass
    else:
        say(f"MNIST is in {root} already, and its checksums are right.")
        return raw_folder(root)
    staging = root / _STAGING
    try:
        staging.mkdir(parents=True, exist_ok=True)
        _check_space(root)
        _forget_unpacked(staging)
        say(f"Downloading MNIST (12 MB) to {root}")
        with _socket_timeout(timeout), _file_urls():
            _fetch(staging, mirrors, say)
        verify(staging)
        raw_folder(root).mkdir(parents=True, exist_ok=True)
        for name in FILES:
            os.replace(raw_folder(staging) / name, raw_folder(root) / name)
        shutil.rmtree(staging, ignore_errors=True)
    except KeyboardInterrupt:
        say(
            f"\nInterrupted. {_keep_whole_archives(staging)} of 4 archives are kept; "
            "the same command goes on from there."
        )
        raise
    except OSError as error:
        _keep_whole_archives(staging)
        raise DataError(_about_the_disk(error, root)) from error
    say(f"MNIST is in {root}: 60,000 training and 10,000 test images, checksums verified.")
    return raw_folder(root)


def _mirrors(given: Sequence[str] | None) -> list[str]:
    """URLs that end in a slash: those given, else $KATA_MNIST_MIRROR, else torchvision's own."""
    if given is None:
        named = os.environ.get(MIRROR_VARIABLE)
        if named:
            given = [named]
        else:
            from torchvision.datasets import MNIST

            given = MNIST.mirrors
    urls = [Path(m).expanduser().absolute().as_uri() if "://" not in m else m for m in given]
    return [url if url.endswith("/") else f"{url}/" for url in urls]


def _fetch(staging: Path, mirrors: Sequence[str], say: Callable[[str], None]) -> None:
    """All four archives through torchvision, from the first mirror that has them."""
    from torchvision.datasets import MNIST

    class OneMirror(MNIST):
        raw_folder = str(raw_folder(staging))

        def __init__(self) -> None:
            pass  # only download() is wanted, not loading

    reasons = []
    for mirror in mirrors:
        OneMirror.mirrors = [mirror]
        try:
            OneMirror().download()
            return
        # torchvision goes on to its next mirror after some of these only; a broken line is not among them.
        except (RuntimeError, ValueError, HTTPException, OSError) as error:
            if isinstance(error, OSError) and error.errno in _DISK_ERRORS and not isinstance(error, ConnectionError):
                raise
            reasons.append(f"  {mirror}: {_reason(error)}")
            say(f"{mirror} failed: {_reason(error)}")
            _forget_unpacked(staging)
    raise DataError(
        f"MNIST could not be downloaded ({_keep_whole_archives(staging)} of 4 archives came and are kept):\n"
        + "\n".join(reasons)
        + f"\nIs there a network? {MIRROR_VARIABLE} names another mirror: a URL, or a folder with the four .gz files."
    )


_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.EIO)


def _reason(error: BaseException) -> str:
    """The last telling line of what torchvision or urllib said."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[-1] if lines else type(error).__name__
    return "what came is damaged: its md5 checksum is wrong" if "corrupted" in said else said


def _about_the_disk(error: OSError, root: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk of {root} is full: MNIST needs {_BYTES_NEEDED // 10**6} MB there. Nothing half is left behind."
        )
    said = error.strerror or str(error)
    return f"MNIST cannot be written to {root}: {said}. --kata-data=DIR (or {ROOT_VARIABLE}) names another folder."


def _check_space(root: Path) -> None:
    if shutil.disk_usage(root).free < _BYTES_NEEDED:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _forget_unpacked(staging: Path) -> None:
    """torchvision takes an unpacked file for whole because it exists; the archives it verifies again."""
    for name in FILES:
        (raw_folder(staging) / name).unlink(missing_ok=True)


def _keep_whole_archives(staging: Path) -> int:
    """Delete everything else from the staging folder, and the folder if nothing remains; how many were kept."""
    from torchvision.datasets import MNIST
    from torchvision.datasets.utils import check_integrity

    kept = {name for name, md5 in MNIST.resources if check_integrity(str(raw_folder(staging) / name), md5)}
    with contextlib.suppress(OSError):
        for path in raw_folder(staging).glob("*"):
            if path.name not in kept:
                path.unlink()
        if not kept:
            shutil.rmtree(staging, ignore_errors=True)
    return len(kept)


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torchvision opens URLs without a timeout: a network that swallows packets would hang it for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


class _FileHandler(urllib.request.FileHandler):
    """file:// URLs that torchvision's progress bar can read: it asks for `response.length`, which http alone has."""

    def file_open(self, req: urllib.request.Request) -> Any:
        response: Any = super().file_open(req)
        response.length = int(response.headers["Content-Length"])
        return response


@contextlib.contextmanager
def _file_urls() -> Iterator[None]:
    before = getattr(urllib.request, "_opener", None)
    urllib.request.install_opener(urllib.request.build_opener(_FileHandler))
    try:
        yield
    finally:
        urllib.request.install_opener(before)


def main(config: pytest.Config) -> int:
    """The command; returns the exit code."""
    if config.option.kata_data:
        os.environ[ROOT_VARIABLE] = str((config.invocation_params.dir / config.option.kata_data).resolve())
    try:
        download_mnist()
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return int(pytest.ExitCode.TESTS_FAILED)
    except KeyboardInterrupt:
        return int(pytest.ExitCode.INTERRUPTED)
    return int(pytest.ExitCode.OK)
