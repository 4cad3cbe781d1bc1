"""MNIST for the katas: where it lies, loading it with its checksums verified, downloading it when asked.

The data comes through `torchvision.datasets.MNIST`. Where it is not at hand, `load("stand-in", ...)` gives
scikit-learn's 8x8 scans in MNIST's format, so that the same code runs; that is never called MNIST.

torchvision, scikit-learn and torch are imported inside the functions: every kata file that asks `at_hand()` would
pay two seconds for them otherwise.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

Kind = Literal["mnist", "stand-in"]

ROOT_VARIABLE = "KATA_DATA"
MIRROR_VARIABLE = "KATA_MNIST_MIRROR"
DOWNLOAD_COMMAND = "pytest --kata-download"
STAND_IN = "STAND-IN: scikit-learn digits, 1,797 real 8x8 scans; passing this is not MNIST past 98 %"

# The four unpacked files: size in bytes and md5. torchvision itself verifies only the archives, and only right after
# it downloaded them: later, a damaged file of the right length loads without a word.
FILES = {
    "train-images-idx3-ubyte": (47040016, "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": (60008, "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": (7840016, "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": (10008, "27ae3e4e09519cfbb04c329615203637"),
}
_BYTES_NEEDED = 80_000_000  # 12 MB of archives, 55 MB unpacked, some air
_STAGING = "mnist-download"  # beside MNIST/: half files live here and nowhere else


class DataError(RuntimeError):
    """The data cannot be had; the message is the whole story, in sentences for the learner."""


# ── where ──


def data_root() -> Path:
    """The torchvision root (the folder that holds `MNIST/raw`): $KATA_DATA, ./data where it has MNIST, or a cache."""
    if named := os.environ.get(ROOT_VARIABLE):
        return Path(named).expanduser().absolute()
    if (Path("data") / "MNIST" / "raw").is_dir():
        return Path("data").absolute()
    if os.name == "nt":
        cache = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "torch-dojo"


def raw_folder(root: Path | None = None) -> Path:
    """Where torchvision keeps the four unpacked files of `root`."""
    return (root or data_root()) / "MNIST" / "raw"


def at_hand(root: Path | None = None) -> Kind:
    """What the training katas run on: "mnist" where all four files are there, else "stand-in". Reads no file.

    A damaged file still counts as there: `load` then says what is wrong, instead of a silent stand-in.
    """
    try:
        return "mnist" if all((raw_folder(root) / name).is_file() for name in FILES) else "stand-in"
    except OSError:
        return "stand-in"


def training_data() -> list[Kind]:
    """Values for `parametrize("data", training_data())`: "mnist", and "stand-in" only where MNIST is not."""
    return ["mnist"] if at_hand() == "mnist" else ["mnist", "stand-in"]


def skip_unless_at_hand(kind: Kind) -> None:
    """Skip a test on MNIST where there is none, with a reason that begins "STAND-IN: "."""
    import pytest

    if kind == "mnist" and at_hand() != "mnist":
        pytest.skip(f"{STAND_IN}. MNIST is not in {data_root()}; `{DOWNLOAD_COMMAND}` fetches it")


# ── loading ──


def load(kind: Kind, *, train: bool, root: Path | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """One split: uint8 images (N, 28, 28), int64 labels (N,). MNIST has 60,000 + 10,000, the stand-in 1,437 + 360."""
    return load_mnist(train=train, root=root) if kind == "mnist" else load_stand_in(train=train)


def load_mnist(*, train: bool, root: Path | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """One split of MNIST, after its files' checksums were verified. DataError where they are missing or damaged."""
    import torchvision.datasets

    root = root or data_root()
    verify(root, train=train)

    class MNIST(torchvision.datasets.MNIST):  # torchvision names the folder after the class
        def _check_legacy_exist(self) -> bool:
            return False  # a `processed` folder of an old torchvision was never verified

    split = MNIST(str(root), train=train, download=False)
    return split.data, split.targets


def load_stand_in(*, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """scikit-learn's digits as MNIST would show them: 8x8 -> 20x20 in the middle of 28x28, 0..255.

    The split is random, always the same one. (Its rows are grouped by writer: split in file order it is much harder.)
    """
    import torch
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().view(-1, 1, 8, 8)
    images = torch.nn.functional.interpolate(images, size=(20, 20), mode="bilinear", align_corners=False)
    images = torch.nn.functional.pad(images, (4, 4, 4, 4)).squeeze(1)  # (1797, 28, 28)
    images = (images * (255 / 16)).round().to(torch.uint8)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    chosen = order[:1437] if train else order[1437:]
    return images[chosen], torch.from_numpy(labels).long()[chosen]


def verify(root: Path | None = None, *, train: bool | None = None) -> None:
    """DataError unless the unpacked files (of one split, or all) are there, whole and unchanged."""
    root = root or data_root()
    raw = raw_folder(root)
    missing = [name for name in FILES if not (raw / name).is_file()]
    if missing:
        raise DataError(
            f"MNIST is not in {root}: {raw} has no {missing[0]}. `{DOWNLOAD_COMMAND}` fetches it; "
            f"--kata-data=DIR (or {ROOT_VARIABLE}) names another folder that holds MNIST/raw."
        )
    for name in FILES:
        if (train is None or name.startswith("train") == train) and (damage := _damage(raw / name)):
            raise DataError(f"{raw / name} {damage}. `{DOWNLOAD_COMMAND}` replaces it.")


def _damage(path: Path) -> str:
    """What is wrong with an unpacked file, "" if nothing."""
    size, md5 = FILES[path.name]
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if len(content) < size:
        return f"is cut off: it has {len(content):,} of {size:,} bytes"
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        return "is not MNIST's file, or damaged: its md5 checksum is wrong"
    return ""


# ── downloading: only when asked ──


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
