"""The data module: a file:// mirror of the four real archives, and everything that can go wrong on the way."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import shutil
import socket
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
import torch
import torchvision.datasets.utils as torchvision_utils
from torchvision.datasets import MNIST

from dojo import data
from dojo.kata.data import DataError

ROOT = Path(__file__).resolve().parents[1]
ARCHIVES = [name for name, _ in MNIST.resources]


def _mirror() -> Path | None:
    """A folder with the archives: that of $KATA_MNIST_MIRROR, else ../shared/mnist beside the repository."""
    named = os.environ.get(data.MIRROR_VARIABLE, "")
    folders = [Path(unquote(urlparse(named).path)) if named.startswith("file:") else Path(named)] if named else []
    for folder in [*folders, ROOT.parent / "shared" / "mnist"]:
        if all((folder / name).is_file() for name in ARCHIVES):
            return folder
    return None


MIRROR = _mirror()
needs_archives = pytest.mark.skipif(
    MIRROR is None, reason=f"needs MNIST's four .gz files: {data.MIRROR_VARIABLE}=file:///their/folder"
)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch, tmp_path):
    """No test sees the user's own data, variables or working directory."""
    for name in (data.ROOT_VARIABLE, data.MIRROR_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def mnist(tmp_path_factory) -> Path:
    """A root that holds MNIST; tests that damage it take a copy."""
    root = tmp_path_factory.mktemp("mnist") / "root"
    data.download_mnist(root, [str(MIRROR)], say=lambda text: None)
    return root


@pytest.fixture
def own_mirror(tmp_path) -> Path:
    """A copy of the mirror, to be damaged."""
    folder = tmp_path / "own mirror"  # a space: it must survive the way through a URL
    folder.mkdir()
    for name in ARCHIVES:
        shutil.copyfile(MIRROR / name, folder / name)
    return folder


def _link(root: Path, to: Path) -> Path:
    """A second root whose files are those of `root`, so that one of them can be replaced cheaply."""
    data.raw_folder(to).mkdir(parents=True)
    for name in data.FILES:
        os.symlink(data.raw_folder(root) / name, data.raw_folder(to) / name)
    return to


def _replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def _everything_in(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


RAW = [f"MNIST/raw/{name}" for name in sorted(data.FILES)]


# ── where ──


def test_the_variable_names_the_root(monkeypatch, tmp_path):
    monkeypatch.setenv(data.ROOT_VARIABLE, str(tmp_path / "mine"))
    assert data.data_root() == tmp_path / "mine"


def test_a_tilde_in_the_variable_is_the_home_folder(monkeypatch):
    monkeypatch.setenv(data.ROOT_VARIABLE, "~/mine")
    assert data.data_root() == Path.home() / "mine"


def test_without_the_variable_the_data_folder_counts_only_if_it_holds_mnist(tmp_path):
    (tmp_path / "data").mkdir()
    cache = tmp_path / "cache" / "torch-dojo"
    assert data.data_root() == (cache if os.name != "nt" else data.data_root())
    (tmp_path / "data" / "MNIST" / "raw").mkdir(parents=True)
    assert data.data_root() == tmp_path / "data"


def test_asking_what_is_at_hand_writes_nothing(tmp_path):
    assert data.at_hand() == "stand-in"
    assert list(tmp_path.iterdir()) == []


def test_empty_folders_left_by_a_failed_download_are_no_mnist(tmp_path):
    data.raw_folder(tmp_path).mkdir(parents=True)
    assert data.at_hand(tmp_path) == "stand-in"


# ── downloading and loading ──


@needs_archives
def test_a_download_is_loaded_as_bytes_and_labels(mnist):
    assert data.at_hand(mnist) == "mnist"
    assert _everything_in(mnist) == RAW, "archives or half files stayed behind"
    images, labels = data.load_mnist(train=True, root=mnist)
    assert (images.shape, images.dtype, labels.dtype) == ((60000, 28, 28), torch.uint8, torch.int64)
    assert labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert images.float().mean().item() / 255 == pytest.approx(0.1307, abs=1e-4)
    images, labels = data.load("mnist", train=False, root=mnist)
    assert (images.shape, labels[:5].tolist()) == ((10000, 28, 28), [7, 2, 1, 0, 4])


@needs_archives
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_variable_names_a_mirror_with_or_without_a_slash(monkeypatch, tmp_path, slash, own_mirror):
    monkeypatch.setenv(data.MIRROR_VARIABLE, own_mirror.as_uri() + slash)
    data.download_mnist(tmp_path / "root")
    data.verify(tmp_path / "root")


@needs_archives
def test_a_second_download_finds_that_all_is_there(mnist, capsys):
    data.download_mnist(mnist, ["file:///nowhere/"])
    assert "already" in capsys.readouterr().err


@needs_archives
def test_a_download_shows_its_progress(tmp_path, capsys):
    data.download_mnist(tmp_path, [str(MIRROR)])
    err = capsys.readouterr().err
    assert "Downloading MNIST" in err
    assert "100" in err, "torchvision's progress bar is not on the screen"
    assert "checksums verified" in err


@needs_archives
def test_a_download_replaces_a_damaged_file(mnist, tmp_path):
    root = _link(mnist, tmp_path / "root")
    _replace(data.raw_folder(root) / "t10k-labels-idx1-ubyte", b"half")
    data.download_mnist(root, [str(MIRROR)])
    data.verify(root)


@needs_archives
def test_a_second_mirror_is_asked_where_the_first_has_nothing(tmp_path, own_mirror):
    said: list[str] = []
    data.download_mnist(tmp_path / "root", ["file:///nowhere/", str(own_mirror)], say=said.append)
    assert any(line.startswith("file:///nowhere/ failed") for line in said)
    assert data.at_hand(tmp_path / "root") == "mnist"


def test_torchvisions_own_mirrors_are_the_default():
    assert data._mirrors(None) == MNIST.mirrors


# ── what can go wrong ──


def test_missing_data_names_the_way_to_get_it(tmp_path):
    with pytest.raises(DataError, match="pytest --kata-download") as caught:
        data.load_mnist(train=True, root=tmp_path)
    assert str(tmp_path) in str(caught.value)


@needs_archives
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(
    ("content", "sentence"), [(b"cut", "is cut off: it has 3 of"), (None, "md5 checksum is wrong")], ids=["cut", "bits"]
)
def test_a_damaged_file_is_named(mnist, tmp_path, train, content, sentence):
    root = _link(mnist, tmp_path / "root")
    path = data.raw_folder(root) / ("train-labels-idx1-ubyte" if train else "t10k-labels-idx1-ubyte")
    whole = path.read_bytes()
    _replace(path, content or whole[:-1] + bytes([whole[-1] ^ 1]))
    assert data.at_hand(root) == "mnist", "damaged is not missing: no silent stand-in"
    with pytest.raises(DataError, match=sentence) as caught:
        data.load_mnist(train=train, root=root)
    assert path.name in str(caught.value)
    data.load_mnist(train=not train, root=root)


@needs_archives
def test_one_missing_file_is_missing_data(mnist, tmp_path):
    root = _link(mnist, tmp_path / "root")
    (data.raw_folder(root) / "train-images-idx3-ubyte").unlink()
    assert data.at_hand(root) == "stand-in"
    with pytest.raises(DataError, match="has no train-images-idx3-ubyte"):
        data.load_mnist(train=False, root=root)


@needs_archives
@pytest.mark.parametrize("damage", ["cut", "bits", "not gzip"])
def test_a_damaged_archive_is_never_unpacked(tmp_path, own_mirror, damage):
    archive = own_mirror / "t10k-images-idx3-ubyte.gz"
    whole = archive.read_bytes()
    archive.write_bytes(
        {"cut": whole[: len(whole) // 2], "bits": whole[:-5] + b"?" + whole[-4:], "not gzip": b"<html>"}[damage]
    )
    root = tmp_path / "root"
    with pytest.raises(DataError, match="md5 checksum is wrong") as caught:
        data.download_mnist(root, [str(own_mirror)])
    assert "2 of 4 archives came and are kept" in str(caught.value)
    assert not data.raw_folder(root).exists()
    assert [name for name in _everything_in(root) if "images-idx3-ubyte" in name and "t10k" in name] == []


@needs_archives
def test_an_archive_that_is_whole_but_another_one_is_refused(tmp_path, own_mirror):
    (own_mirror / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"other labels"))
    with pytest.raises(DataError, match="md5 checksum is wrong"):
        data.download_mnist(tmp_path / "root", [str(own_mirror)])
    assert data.at_hand(tmp_path / "root") == "stand-in"


def test_without_a_network_there_is_a_sentence(tmp_path):
    with socket.socket() as closed:  # bound, never listening: the connection is refused
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/mnist"
        with pytest.raises(DataError, match="Is there a network") as caught:
            data.download_mnist(tmp_path / "root", [url])
    assert url in str(caught.value)
    assert "refused" in str(caught.value)
    assert _everything_in(tmp_path) == []


def test_a_server_that_says_nothing_does_not_hang_the_download(tmp_path):
    before = socket.getdefaulttimeout()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(DataError, match="timed out"):
            data.download_mnist(tmp_path / "root", [url], timeout=0.2)
    assert socket.getdefaulttimeout() == before


def test_a_mirror_that_is_no_url_is_named(tmp_path):
    with pytest.raises(DataError, match="gopher://nowhere/"):
        data.download_mnist(tmp_path / "root", ["gopher://nowhere"])


class _BreaksOff(io.BytesIO):
    """An open archive whose reading stops in the middle."""

    length = None
    url = None

    def __init__(self, content: bytes, error: BaseException) -> None:
        super().__init__(content)
        self.error = error

    def read(self, *args):
        if self.tell() > 1000:
            raise self.error
        return super().read(*args)


@contextlib.contextmanager
def _breaking_off(monkeypatch, name: str, error: BaseException):
    """torchvision's urlopen, breaking off in the middle of one archive."""
    real = torchvision_utils.urllib.request.urlopen

    def urlopen(request, *args, **kwargs):
        if request.full_url.endswith(name) and "Method" not in request.headers:
            return _BreaksOff(real(request).read(), error)
        return real(request, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torchvision_utils.urllib.request, "urlopen", urlopen)
        yield


@needs_archives
def test_ctrl_c_keeps_whole_archives_and_the_next_call_goes_on(monkeypatch, tmp_path, own_mirror, capsys):
    root = tmp_path / "root"
    with _breaking_off(monkeypatch, "t10k-images-idx3-ubyte.gz", KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        data.download_mnist(root, [str(own_mirror)])
    assert "2 of 4 archives are kept" in capsys.readouterr().err
    kept = _everything_in(root)
    assert [Path(name).name for name in kept] == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    assert data.at_hand(root) == "stand-in"

    for name in kept:  # the mirror loses what is here already: it is not fetched twice
        (own_mirror / Path(name).name).unlink()
    data.download_mnist(root, [str(own_mirror)])
    data.verify(root)
    assert _everything_in(root) == RAW


@needs_archives
def test_a_kill_in_the_middle_is_mended_too(monkeypatch, tmp_path):
    """What a killed process leaves: half an archive, half an unpacked file, all under torchvision's names."""
    root = tmp_path / "root"
    raw = data.raw_folder(root / data._STAGING)
    raw.mkdir(parents=True)
    for name in ARCHIVES:
        (raw / name).write_bytes((MIRROR / name).read_bytes()[: None if "train" in name else 1000])
        (raw / name.removesuffix(".gz")).write_bytes(b"half")
    data.download_mnist(root, [str(MIRROR)])
    data.verify(root)
    assert _everything_in(root) == RAW


@needs_archives
@pytest.mark.parametrize("error", [ConnectionResetError(errno.ECONNRESET, "reset by peer"), TimeoutError("timed out")])
def test_a_line_that_breaks_leads_to_the_next_mirror(monkeypatch, tmp_path, own_mirror, error):
    with _breaking_off(monkeypatch, f"{own_mirror.name.replace(' ', '%20')}/train-labels-idx1-ubyte.gz", error):
        data.download_mnist(tmp_path / "root", [str(own_mirror), str(MIRROR)])
    data.verify(tmp_path / "root")


@needs_archives
def test_a_disk_that_fills_up_is_a_sentence(monkeypatch, tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        _breaking_off(monkeypatch, "t10k-images-idx3-ubyte.gz", full),
        pytest.raises(DataError, match="is full") as caught,
    ):
        data.download_mnist(tmp_path / "root", [str(MIRROR)])
    assert str(tmp_path / "root") in str(caught.value)
    assert all(name.endswith(".gz") and "train" in name for name in _everything_in(tmp_path / "root"))


def test_too_little_room_is_said_before_the_download(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(DataError, match="is full: MNIST needs 80 MB"):
        data.download_mnist(tmp_path / "root", ["file:///nowhere/"])
    assert _everything_in(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written to") as caught:
        data.download_mnist(tmp_path / "file" / "root", ["file:///nowhere/"])
    assert "--kata-data=DIR" in str(caught.value)
    assert data.at_hand(tmp_path / "file" / "root") == "stand-in"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_a_sentence(tmp_path):
    (tmp_path / "root").mkdir(mode=0o500)
    with pytest.raises(DataError, match="cannot be written to"):
        data.download_mnist(tmp_path / "root", ["file:///nowhere/"])


# ── the stand-in ──


def test_the_stand_in_looks_like_mnist_and_is_not_called_so():
    images, labels = data.load("stand-in", train=True)
    test_images, test_labels = data.load("stand-in", train=False)
    assert (images.shape, images.dtype, labels.dtype) == ((1437, 28, 28), torch.uint8, torch.int64)
    assert (test_images.shape, test_labels.shape) == ((360, 28, 28), (360,))
    assert images.amax() == 255
    assert (images[:, :4] == 0).all(), "the digits are not in the middle of an empty frame"
    assert (images[:, :, 24:] == 0).all()
    assert set(test_labels.tolist()) == set(range(10))
    assert "not MNIST" in data.STAND_IN


def test_the_stand_in_has_the_same_split_each_time_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = data.load_stand_in(train=False), data.load_stand_in(train=False)
    assert torch.equal(first[0], second[0])
    assert torch.equal(torch.get_rng_state(), before)
    train = {image.numpy().tobytes() for image in data.load_stand_in(train=True)[0]}
    assert sum(image.numpy().tobytes() in train for image in first[0]) == 0, "an image is in both splits"


def test_without_mnist_the_real_test_is_skipped_loudly_and_the_stand_in_runs():
    assert data.training_data() == ["mnist", "stand-in"]
    data.skip_unless_at_hand("stand-in")
    with pytest.raises(pytest.skip.Exception, match=r"^STAND-IN: ") as caught:
        data.skip_unless_at_hand("mnist")
    assert "not MNIST" in str(caught.value)
    assert "pytest --kata-download" in str(caught.value)


@needs_archives
def test_with_mnist_there_is_no_stand_in(monkeypatch, mnist):
    monkeypatch.setenv(data.ROOT_VARIABLE, str(mnist))
    assert data.training_data() == ["mnist"]
    data.skip_unless_at_hand("mnist")
