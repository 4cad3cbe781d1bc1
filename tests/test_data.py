"""MNIST: a mirror of the four real archives, and everything that can go wrong on the way. All of it offline."""

from __future__ import annotations

import contextlib
import errno
import functools
import gzip
import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.request import url2pathname

import pooch
import pytest
import torch
from torchvision.datasets import MNIST

from dojo.commands import data as command
from dojo.commands.data import ARCHIVES, MIRROR_VARIABLE, download_mnist, mirrors
from dojo.kata.not_run_here import NotRunHere
from dojo.kit.mnist import (
    FILES,
    ROOT_VARIABLE,
    STAND_IN,
    DataError,
    at_hand,
    data_root,
    download_command,
    load,
    load_mnist,
    load_stand_in,
    raw_folder,
    skip_unless_at_hand,
    training_data,
    verify,
)

ROOT = Path(__file__).resolve().parents[1]


def _mirror() -> Path | None:
    """A folder with the archives: that of $KATA_MNIST_MIRROR, else ../shared/mnist beside the repository."""
    named = os.environ.get(MIRROR_VARIABLE, "")
    folders = [Path(url2pathname(named[5:]) if named.startswith("file:") else named)] if named else []
    for folder in [*folders, ROOT.parent / "shared" / "mnist"]:
        if all((folder / name).is_file() for name in ARCHIVES):
            return folder
    return None


MIRROR = _mirror()
needs_archives = pytest.mark.skipif(
    MIRROR is None, reason=f"needs MNIST's four .gz files: {MIRROR_VARIABLE}=file:///their/folder"
)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch, tmp_path):
    """No test sees the user's own data, variables or working directory, nor waits before pooch's second try."""
    for name in (ROOT_VARIABLE, MIRROR_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pooch.core.time, "sleep", lambda seconds: None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def mnist(tmp_path_factory) -> Path:
    """A root that holds MNIST; tests that damage it take a copy."""
    root = tmp_path_factory.mktemp("mnist") / "root"
    download_mnist(root, [str(MIRROR)])
    return root


@pytest.fixture
def own_mirror(tmp_path) -> Path:
    """A copy of the mirror, to be damaged."""
    folder = tmp_path / "own mirror"  # a space: it must survive the way through a URL
    folder.mkdir()
    for name in ARCHIVES:
        shutil.copyfile(MIRROR / name, folder / name)
    return folder


class _Server(http.server.ThreadingHTTPServer):
    """The mirror over http. `faults` says what goes wrong with an archive: break, hang, missing, encoded."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_port}/mnist"
        self.faults: dict[str, str] = {}
        self.asked: list[str] = []
        self.hangs, self.go_on = threading.Event(), threading.Event()


class _Answer(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        fault = self.server.faults.get(name)
        self.server.asked.append(name)
        if fault == "missing":
            return self.send_error(404)
        content = (MIRROR / name).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        if fault == "encoded":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half])
        if fault == "hang":
            self.server.hangs.set()
            self.server.go_on.wait(60)
        if fault != "break":
            with contextlib.suppress(OSError):  # the other side may be gone by now
                self.wfile.write(content[half:])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server():
    with _Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.go_on.set()
        server.shutdown()


def _link(root: Path, to: Path) -> Path:
    """A second root whose files are those of `root`, so that one of them can be replaced cheaply."""
    raw_folder(to).mkdir(parents=True)
    for name in FILES:
        os.symlink(raw_folder(root) / name, raw_folder(to) / name)
    return to


def _replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def _everything_in(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


RAW = [f"MNIST/raw/{name}" for name in sorted(FILES)]
TRAIN = ["mnist-download/train-images-idx3-ubyte.gz", "mnist-download/train-labels-idx1-ubyte.gz"]


# ── where ──


def test_the_variable_names_the_root(monkeypatch, tmp_path):
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "mine"))
    assert data_root() == tmp_path / "mine"


def test_a_tilde_in_the_variable_is_the_home_folder(monkeypatch):
    monkeypatch.setenv(ROOT_VARIABLE, "~/mine")
    assert data_root() == Path.home() / "mine"


def test_without_the_variable_the_data_folder_counts_only_if_it_holds_mnist(tmp_path):
    (tmp_path / "data").mkdir()
    cache = tmp_path / "cache" / "torch-dojo"
    assert data_root() == (cache if os.name != "nt" else data_root())
    (tmp_path / "data" / "MNIST" / "raw").mkdir(parents=True)
    assert data_root() == tmp_path / "data"


def test_asking_what_is_at_hand_writes_nothing(tmp_path):
    assert at_hand() == "stand-in"
    assert list(tmp_path.iterdir()) == []


def test_empty_folders_left_by_a_failed_download_are_no_mnist(tmp_path):
    raw_folder(tmp_path).mkdir(parents=True)
    assert at_hand(tmp_path) == "stand-in"


# ── downloading and loading ──


@needs_archives
def test_a_download_is_loaded_as_bytes_and_labels(mnist):
    assert at_hand(mnist) == "mnist"
    assert _everything_in(mnist) == RAW, "archives or half files stayed behind"
    images, labels = load_mnist(train=True, root=mnist)
    assert (images.shape, images.dtype, labels.dtype) == ((60000, 28, 28), torch.uint8, torch.int64)
    assert labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert images.float().mean().item() / 255 == pytest.approx(0.1307, abs=1e-4)
    images, labels = load("mnist", train=False, root=mnist)
    assert (images.shape, labels[:5].tolist()) == ((10000, 28, 28), [7, 2, 1, 0, 4])


@needs_archives
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("write", [str, Path.as_uri], ids=["folder", "file URL"])
def test_the_variable_names_a_mirror_with_or_without_a_slash(monkeypatch, tmp_path, write, slash, own_mirror):
    monkeypatch.setenv(MIRROR_VARIABLE, write(own_mirror) + slash)
    download_mnist(tmp_path / "root", mirrors())
    verify(tmp_path / "root")


@needs_archives
def test_a_mirror_under_the_home_folder(monkeypatch, tmp_path, own_mirror):
    monkeypatch.setenv("USERPROFILE" if os.name == "nt" else "HOME", str(own_mirror.parent))
    monkeypatch.setenv(MIRROR_VARIABLE, f"~/{own_mirror.name}")
    download_mnist(tmp_path / "root", mirrors())
    verify(tmp_path / "root")


@needs_archives
def test_a_mirror_on_the_network(tmp_path, server, capfd):
    download_mnist(tmp_path, [server.url])
    verify(tmp_path)
    assert server.asked == list(ARCHIVES)
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0].startswith("Downloading MNIST (12 MB)"), "pooch's own log, or a bar where there is no terminal"
    assert lines[1] == f"  from {server.url}"
    assert lines[2].endswith("checksums verified.")
    assert len(lines) == 3


@needs_archives
def test_an_archive_stays_packed_also_where_the_server_calls_it_encoded(tmp_path, server):
    server.faults = dict.fromkeys(ARCHIVES, "encoded")
    download_mnist(tmp_path, [server.url])
    verify(tmp_path)


@needs_archives
def test_a_terminal_sees_a_bar(monkeypatch, tmp_path, server, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the screen for a terminal
    download_mnist(tmp_path, [server.url])
    err = capsys.readouterr().err
    assert all(name in err for name in ARCHIVES)
    assert "100%" in err


@needs_archives
def test_a_second_download_finds_that_all_is_there(mnist, capsys):
    download_mnist(mnist, ["/nowhere"])
    assert "already" in capsys.readouterr().err


@needs_archives
def test_a_download_replaces_a_damaged_file(mnist, tmp_path):
    root = _link(mnist, tmp_path / "root")
    _replace(raw_folder(root) / "t10k-labels-idx1-ubyte", b"half")
    download_mnist(root, [str(MIRROR)])
    verify(root)


@needs_archives
def test_a_second_mirror_is_asked_where_the_first_has_nothing(tmp_path, server, capsys):
    server.faults = {"t10k-images-idx3-ubyte.gz": "missing"}
    download_mnist(tmp_path / "root", ["/nowhere", server.url, str(MIRROR)])
    said = capsys.readouterr().err
    assert said.index("from /nowhere") < said.index(f"from {server.url}") < said.index(f"from {MIRROR}")
    assert at_hand(tmp_path / "root") == "mnist"


def test_torchvisions_own_mirrors_are_the_default():
    assert mirrors() == MNIST.mirrors


def test_the_archives_are_those_of_torchvision():
    assert sorted(ARCHIVES) == sorted(name for name, _ in MNIST.resources)
    assert [name.removesuffix(".gz") for name in ARCHIVES] == list(FILES)


def test_pooch_is_imported_for_a_download_only():
    code = "import sys, dojo.commands.data; sys.exit(bool({'pooch', 'torch', 'torchvision'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# ── what can go wrong ──


def test_missing_data_names_the_way_to_get_it(tmp_path):
    with pytest.raises(DataError, match="pytest --kata-download") as caught:
        load_mnist(train=True, root=tmp_path)
    assert str(tmp_path) in str(caught.value)


@needs_archives
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(
    ("content", "sentence"), [(b"cut", "is cut off: it has 3 of"), (None, "md5 checksum is wrong")], ids=["cut", "bits"]
)
def test_a_damaged_file_is_named(mnist, tmp_path, train, content, sentence):
    root = _link(mnist, tmp_path / "root")
    path = raw_folder(root) / ("train-labels-idx1-ubyte" if train else "t10k-labels-idx1-ubyte")
    whole = path.read_bytes()
    _replace(path, content or whole[:-1] + bytes([whole[-1] ^ 1]))
    assert at_hand(root) == "mnist", "damaged is not missing: no silent stand-in"
    with pytest.raises(DataError, match=sentence) as caught:
        load_mnist(train=train, root=root)
    assert path.name in str(caught.value)
    load_mnist(train=not train, root=root)


@needs_archives
def test_one_missing_file_is_missing_data(mnist, tmp_path):
    root = _link(mnist, tmp_path / "root")
    (raw_folder(root) / "train-images-idx3-ubyte").unlink()
    assert at_hand(root) == "stand-in"
    with pytest.raises(DataError, match="has no train-images-idx3-ubyte"):
        load_mnist(train=False, root=root)


def test_the_advice_names_the_folder_where_a_bare_command_would_choose_another(monkeypatch, tmp_path):
    assert download_command() == "pytest --kata-download"
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "mine"))  # what --kata-data does
    assert download_command() == f"pytest --kata-download --kata-data={tmp_path / 'mine'}"
    assert download_command(tmp_path / "a b") == f'pytest --kata-download --kata-data="{tmp_path / "a b"}"'
    for name in FILES:
        raw_folder().mkdir(parents=True, exist_ok=True)
        (raw_folder() / name).write_bytes(b"half")
    with pytest.raises(DataError, match=r"`pytest --kata-download --kata-data=.*mine` replaces it"):
        verify()


@needs_archives
@pytest.mark.parametrize("damage", ["cut", "bits", "not gzip"])
def test_a_damaged_archive_is_never_unpacked(tmp_path, own_mirror, damage):
    archive = own_mirror / "t10k-images-idx3-ubyte.gz"
    whole = archive.read_bytes()
    archive.write_bytes(
        {"cut": whole[: len(whole) // 2], "bits": whole[:-5] + b"?" + whole[-4:], "not gzip": b"<html>"}[damage]
    )
    root = tmp_path / "root"
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz: damaged, its sha256 is wrong") as caught:
        download_mnist(root, [str(own_mirror)])
    assert "2 of 4 archives are kept" in str(caught.value)
    assert _everything_in(root) == TRAIN


@needs_archives
def test_an_archive_that_is_whole_but_another_one_is_refused(tmp_path, own_mirror):
    (own_mirror / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"other labels"))
    with pytest.raises(DataError, match="its sha256 is wrong"):
        download_mnist(tmp_path / "root", [str(own_mirror)])
    assert at_hand(tmp_path / "root") == "stand-in"


def test_a_folder_without_the_archives_is_named(tmp_path):
    with pytest.raises(DataError, match="No such file") as caught:
        download_mnist(tmp_path / "root", [str(tmp_path / "empty")])
    assert f"{tmp_path / 'empty'}: train-images-idx3-ubyte.gz: " in str(caught.value)
    assert f"{MIRROR_VARIABLE} names another mirror" in str(caught.value)
    assert "network" not in str(caught.value)


def test_without_a_network_there_is_a_sentence(tmp_path):
    with socket.socket() as closed:  # bound, never listening: the connection is refused
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/mnist"
        with pytest.raises(DataError, match="Is there a network") as caught:
            download_mnist(tmp_path / "root", [url])
    assert f"  {url}: train-images-idx3-ubyte.gz: Failed to establish a new connection: [" in str(caught.value)
    assert "refused" in str(caught.value)
    assert list((tmp_path / "root").iterdir()) == []


def test_a_name_that_nobody_knows_is_a_sentence(monkeypatch, tmp_path):
    def unknown(*args: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: Failed to resolve 'mirror.invalid'"):
        download_mnist(tmp_path, ["http://mirror.invalid/mnist"])


def test_a_server_that_says_nothing_does_not_hang_the_download(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "_TIMEOUT", (5, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(DataError, match="timed out"):
            download_mnist(tmp_path / "root", [url])


def test_a_mirror_that_is_no_url_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gopher://nowhere: .*No connection adapters"):
        download_mnist(tmp_path, ["gopher://nowhere"])


@needs_archives
def test_a_server_without_one_archive_is_a_sentence(tmp_path, server):
    server.faults = {"t10k-images-idx3-ubyte.gz": "missing"}
    with pytest.raises(DataError, match="404 Client Error: Not Found"):
        download_mnist(tmp_path, [server.url])
    assert _everything_in(tmp_path) == TRAIN


@needs_archives
def test_a_line_that_breaks_is_tried_again_and_leads_to_the_next_mirror(tmp_path, server, capsys):
    server.faults = {"train-labels-idx1-ubyte.gz": "break"}
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte.gz: Connection broken.*\n"):
        download_mnist(tmp_path / "root", [server.url])
    assert server.asked == ["train-images-idx3-ubyte.gz", *["train-labels-idx1-ubyte.gz"] * 2]
    assert _everything_in(tmp_path / "root") == TRAIN[:1]
    download_mnist(tmp_path / "root", [server.url, str(MIRROR)])
    verify(tmp_path / "root")
    assert "train-images-idx3-ubyte.gz" not in server.asked[3:], "what is here already is not fetched twice"


@needs_archives
def test_a_line_that_falls_silent_is_a_sentence(monkeypatch, tmp_path, server):
    monkeypatch.setattr(command, "_TIMEOUT", (5, 0.2))
    server.faults = {"train-images-idx3-ubyte.gz": "hang"}
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: Read timed out"):
        download_mnist(tmp_path, [server.url])
    assert _everything_in(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="a Ctrl-C cannot be sent to one process there")
@needs_archives
def test_ctrl_c_keeps_whole_archives_and_the_next_call_goes_on(tmp_path, server):
    run = functools.partial(
        subprocess.Popen,
        [sys.executable, "-m", "pytest", "--kata-download", f"--kata-data={tmp_path / 'root'}"],
        cwd=ROOT,
        env={**os.environ, MIRROR_VARIABLE: server.url, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    server.faults = {"t10k-images-idx3-ubyte.gz": "hang"}
    with run() as first:
        assert server.hangs.wait(60)
        time.sleep(0.1)  # the first half of the archive is on its way
        first.send_signal(signal.SIGINT)
        said = first.communicate()[1]  # (a shell's `&` makes its children deaf to SIGINT: run this in the foreground)
    assert first.returncode == pytest.ExitCode.INTERRUPTED, said
    assert "Interrupted. 2 of 4 archives are kept; the same command goes on from there." in said
    assert "Traceback" not in said
    assert _everything_in(tmp_path / "root") == TRAIN

    server.faults, server.asked = {}, []
    with run() as second:
        second.communicate()
    assert second.returncode == pytest.ExitCode.OK
    assert server.asked == [name for name in ARCHIVES if "t10k" in name]
    assert _everything_in(tmp_path / "root") == RAW
    verify(tmp_path / "root")


@needs_archives
def test_a_kill_in_the_middle_is_mended_too(tmp_path):
    """What a killed process leaves: half an archive, a folder of half unpacked files."""
    staging = tmp_path / "mnist-download"
    (staging / "tmp1234").mkdir(parents=True)
    for name in ARCHIVES:
        (staging / name).write_bytes((MIRROR / name).read_bytes()[: None if "train" in name else 1000])
        (staging / "tmp1234" / name.removesuffix(".gz")).write_bytes(b"half")
    download_mnist(tmp_path, [str(MIRROR)])
    verify(tmp_path)
    assert _everything_in(tmp_path) == RAW


@needs_archives
@pytest.mark.parametrize("when", ["downloading", "unpacking"])
def test_a_disk_that_fills_up_is_a_sentence(monkeypatch, tmp_path, when):
    write_bytes, name = Path.write_bytes, "t10k-images-idx3-ubyte"

    def full(path: Path, content: bytes) -> int:
        if len(content) == ((MIRROR / f"{name}.gz").stat().st_size if when == "downloading" else FILES[name][0]):
            write_bytes(path, content[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="its disk is full, 80 MB are needed") as caught:
        download_mnist(tmp_path / "root", [str(MIRROR)])
    assert str(tmp_path / "root") in str(caught.value)
    kept = TRAIN if when == "downloading" else sorted(f"mnist-download/{name}" for name in ARCHIVES)
    assert _everything_in(tmp_path / "root") == kept


def test_too_little_room_is_said_before_the_download(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(DataError, match="its disk is full, 80 MB are needed"):
        download_mnist(tmp_path / "root", ["/nowhere"])
    assert list((tmp_path / "root").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written to") as caught:
        download_mnist(tmp_path / "file" / "root", ["/nowhere"])
    assert "--kata-data=DIR" in str(caught.value)
    assert at_hand(tmp_path / "file" / "root") == "stand-in"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_a_sentence(tmp_path):
    (tmp_path / "root").mkdir(mode=0o500)
    with pytest.raises(DataError, match="cannot be written to"):
        download_mnist(tmp_path / "root", ["/nowhere"])


@needs_archives
def test_a_folder_that_becomes_read_only_is_a_sentence(monkeypatch, tmp_path):
    def refuse(source: object, target: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(DataError, match=r"cannot be written to .*: Permission denied. --kata-data=DIR"):
        download_mnist(tmp_path, [str(MIRROR)])
    assert at_hand(tmp_path) == "stand-in"


# ── the stand-in ──


def test_the_stand_in_looks_like_mnist_and_is_not_called_so():
    images, labels = load("stand-in", train=True)
    test_images, test_labels = load("stand-in", train=False)
    assert (images.shape, images.dtype, labels.dtype) == ((1437, 28, 28), torch.uint8, torch.int64)
    assert (test_images.shape, test_labels.shape) == ((360, 28, 28), (360,))
    assert images.amax() == 255
    assert (images[:, :4] == 0).all(), "the digits are not in the middle of an empty frame"
    assert (images[:, :, 24:] == 0).all()
    assert set(test_labels.tolist()) == set(range(10))
    assert "not MNIST" in STAND_IN


def test_the_stand_in_has_the_same_split_each_time_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = load_stand_in(train=False), load_stand_in(train=False)
    assert torch.equal(first[0], second[0])
    assert torch.equal(torch.get_rng_state(), before)
    train = {image.numpy().tobytes() for image in load_stand_in(train=True)[0]}
    assert sum(image.numpy().tobytes() in train for image in first[0]) == 0, "an image is in both splits"


def test_without_mnist_the_real_test_is_not_run_and_the_stand_in_is():
    assert training_data() == ["mnist", "stand-in"]
    skip_unless_at_hand("stand-in")
    with pytest.raises(NotRunHere, match="stood in") as caught:
        skip_unless_at_hand("mnist")
    assert caught.value.missing == "mnist"
    assert "not MNIST" in str(caught.value)
    assert "`pytest --kata-download` fetches it" in str(caught.value)


@needs_archives
def test_with_mnist_there_is_no_stand_in(monkeypatch, mnist):
    monkeypatch.setenv(ROOT_VARIABLE, str(mnist))
    assert training_data() == ["mnist"]
    skip_unless_at_hand("mnist")
