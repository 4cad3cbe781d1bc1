"""`pytest --kata-download`: fetches MNIST, only when asked.

pooch fetches the four archives into a folder beside MNIST/. It gives a file its name only once its hash is right: what
lies there is whole, and after Ctrl-C or an error the same command goes on from there. The archives are unpacked in
that folder too, and only whole files are moved to MNIST/raw: there is never a half file under a final name.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from urllib.request import url2pathname

import pytest
from rich.console import Console
from rich.progress import Progress

from dojo.kit.mnist import FILES, ROOT_VARIABLE, DataError, data_root, raw_folder, verify

MIRROR_VARIABLE = "KATA_MNIST_MIRROR"
ARCHIVES = {  # and their sha256
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_STAGING = "mnist-download"
_MB_NEEDED = 80  # 12 of archives, 55 unpacked, some air
_TIMEOUT = (5, 30)  # seconds to reach one address, seconds of silence then: some networks swallow packets


def main(config: pytest.Config) -> int:
    """The command; returns the exit code."""
    if config.option.kata_data:
        os.environ[ROOT_VARIABLE] = str((config.invocation_params.dir / config.option.kata_data).resolve())
    root = data_root()
    try:
        download_mnist(root, mirrors())
    except DataError as error:
        _say(str(error))
        return int(pytest.ExitCode.TESTS_FAILED)
    except KeyboardInterrupt:
        _say(f"\nInterrupted. {_kept(root / _STAGING)}; the same command goes on from there.")
        return int(pytest.ExitCode.INTERRUPTED)
    return int(pytest.ExitCode.OK)


def mirrors() -> list[str]:
    """URLs or folders: the one that $KATA_MNIST_MIRROR names, else torchvision's own."""
    if named := os.environ.get(MIRROR_VARIABLE):
        path = url2pathname(named[len("file:") :]) if named.startswith("file:") else named
        return [path if "://" in path else str(Path(path).expanduser())]
    from torchvision.datasets import MNIST

    return list(MNIST.mirrors)


def download_mnist(root: Path, mirrors: Sequence[str]) -> None:
    """Put MNIST into `root`, from the first of the URLs or folders that has it. DataError where that fails."""
    staging = root / _STAGING
    try:
        with contextlib.suppress(DataError):
            verify(root)
            return _say(f"MNIST is in {root} already, and its checksums are right.")
        staging.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(root).free < _MB_NEEDED * 10**6:
            raise OSError(errno.ENOSPC, "too little room")
        _say(f"Downloading MNIST (12 MB) to {root}")
        _fetch(staging, mirrors)
        _unpack(staging, raw_folder(root))
        shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = f"its disk is full, {_MB_NEEDED} MB are needed" if full else error.strerror or str(error)
        raise DataError(
            f"MNIST cannot be written to {root}: {why}. --kata-data=DIR (or {ROOT_VARIABLE}) names another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            staging.rmdir()  # only if nothing is kept in it
    _say(f"MNIST is in {root}: 60,000 training and 10,000 test images, checksums verified.")


def _fetch(staging: Path, mirrors: Sequence[str]) -> None:
    """All four archives; what is there and whole is not fetched again."""
    import pooch
    from requests import RequestException

    pooch.get_logger().setLevel("WARNING")
    console = Console(stderr=True)
    # Where a server calls a .gz "gzip-encoded", requests would unpack it, and the hash would be wrong.
    packed = {"response": lambda response, **_: response.raw.headers.discard("Content-Encoding")}
    failed = ""
    for mirror in mirrors:
        _say(f"  from {mirror}")
        archives = pooch.create(staging, mirror, registry=dict(ARCHIVES), retry_if_failed=1)
        try:
            with Progress(console=console, disable=not console.is_terminal) as progress:
                for name in ARCHIVES:
                    bar = _bar(progress, name)
                    http = pooch.HTTPDownloader(bar, chunk_size=2**16, timeout=_TIMEOUT, hooks=packed)
                    archives.fetch(name, downloader=http if "://" in mirror else _copy)
            return
        except (DataError, ValueError, RequestException) as error:  # any other OSError is the disk's
            failed += f"\n  {mirror}: {name}: {_reason(error)}"
    network = "Is there a network? " if any("://" in mirror for mirror in mirrors) else ""
    raise DataError(
        f"MNIST could not be downloaded; {_kept(staging)}.{failed}\n{network}The same command tries again. "
        f"{MIRROR_VARIABLE} names another mirror: a URL, or a folder with the four .gz files."
    )


def _bar(progress: Progress, name: str) -> SimpleNamespace:
    """rich's bar under the names by which pooch calls one: those of tqdm."""
    task = progress.add_task(name, visible=False)
    bar = SimpleNamespace(total=0, reset=lambda: progress.reset(task), close=lambda: None)
    bar.update = lambda size: progress.update(task, total=bar.total, advance=size, visible=True)
    return bar


def _copy(archive: str, file: str, _: object) -> None:
    """What pooch calls where the mirror is a folder."""
    try:
        content = Path(archive).read_bytes()
    except OSError as error:  # the mirror's, not the disk's that is written to
        raise DataError(error.strerror) from error
    Path(file).write_bytes(content)


def _reason(error: BaseException | str) -> str:
    """What happened, without the layers that requests and urllib3 wrap around it."""
    while isinstance(error, BaseException):
        error = getattr(error, "reason", None) or (error.args[0] if error.args else type(error).__name__)
    said = str(error).split("): ", 1)[-1]
    return "damaged, its sha256 is wrong" if "does not match the known hash" in said else said


def _kept(staging: Path) -> str:
    return f"{len(list(staging.glob('*.gz')))} of 4 archives are kept"


def _unpack(staging: Path, raw: Path) -> None:
    raw.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=staging) as fresh:
        for name in FILES:
            (Path(fresh) / name).write_bytes(gzip.decompress((staging / f"{name}.gz").read_bytes()))
        for name in FILES:
            os.replace(Path(fresh) / name, raw / name)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
