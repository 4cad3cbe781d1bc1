"""The command line of the page to draw a digit on: what it refuses, when, and how Ctrl-C ends it."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
import torch

from dojo.kit import mnist
from dojo.kit.mnist import DOWNLOAD_COMMAND, at_hand
from reference.mnist.data import Split
from reference.mnist.model import DigitNet
from reference.mnist.page import command
from reference.mnist.page.command import NoNet, learners_reader
from reference.mnist.page.reader import REFERENCE, Reader, Reading, like_mnist_of
from reference.mnist.settings import Settings
from reference.mnist.train import Run, train

cli = importlib.import_module("reference.mnist.__main__")
ROOT = Path(__file__).resolve().parents[1]
pytestmark = [
    pytest.mark.skipif(at_hand() != "mnist", reason=f"needs MNIST; `{DOWNLOAD_COMMAND}` fetches it"),
    pytest.mark.xdist_group("page"),
]
no_windows = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@pytest.fixture(scope="module")
def digits() -> tuple[Split, Split]:
    return Split(*mnist.load("mnist", train=True)), Split(*mnist.load("mnist", train=False))


def main(*options: str) -> object:
    """The exit status of the command, in this process."""
    try:
        return cli.main([*options, "--no-browser", "--quiet"])
    except SystemExit as end:
        return end.code


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reference.mnist", *options, "--no-browser", "--quiet"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.fixture
def checkpoint(digits, tmp_path) -> Path:
    train(digits[0], Settings(images=640)).save(tmp_path / "net.pt")
    return tmp_path / "net.pt"


def test_the_file_is_written_of_a_checkpoint_and_of_a_net_trained_now(checkpoint, tmp_path):
    for name, options in (("a.html", ["--draw", str(checkpoint)]), ("deep/b.html", ["--images", "640"])):
        path = tmp_path / name
        said = run(*options, "--export", str(path))
        assert said.returncode == 0, said.stderr
        assert f"wrote {path}" in said.stderr
        page = path.read_text(encoding="utf-8")
        assert re.search(r"This net reads \d\d?\.\d\d% of MNIST's 10,000 test images right", page)
        assert "likeMnist" in page
        assert len(page) < 300_000
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("how", [["--images", "640"], ["--kata-solutions", "SOLVED"]], ids=["trainer", "learner"])
def test_a_port_that_is_taken_is_told_before_a_training(how, solved, capsys):
    how = [str(solved) if option == "SOLVED" else option for option in how]
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main("--draw", *how, "--port", str(port)) == 1
    said = capsys.readouterr()
    assert f"port {port} is taken" in said.err
    assert "training" not in said.err
    assert said.out == "", "a net was trained"


REFUSED_OPTIONS = {
    "no checkpoint there": (2, ["--draw", "nowhere.pt"], "argument --draw: nowhere.pt does not exist"),
    "a folder": (2, ["--draw", "."], "argument --draw: . is a folder, not a checkpoint"),
    "a checkpoint and epochs": (2, ["--draw", "a.pt", "--epochs", "1"], "--epochs: not with --draw CHECKPOINT"),
    "a checkpoint and a recipe": (2, ["--draw", "a.pt", "--recipe", "strong"], "--recipe: not with --draw CHECKPOINT"),
    "a checkpoint and a no": (2, ["--draw", "a.pt", "--no-compile"], "--compile: not with --draw CHECKPOINT"),
    "a checkpoint to resume": (2, ["--draw", "a.pt", "--resume", "b.pt"], "--resume: not with --draw CHECKPOINT"),
    "a checkpoint and a device": (2, ["--draw", "a.pt", "--device", "cuda"], "--device: not with --draw CHECKPOINT"),
    "solutions and a seed": (2, ["--draw", "--kata-solutions", "katas", "--seed", "1"], "--seed: not with --kata-sol"),
    "a file as a folder": (2, ["--export", "README.md/a.html"], "--export: no file can be written to README.md"),
    "a folder as a file": (2, ["--export", "tests"], "argument --export: tests is a folder"),
    "no checkpoint at all": (2, ["--draw", "README.md"], "argument --draw: README.md cannot be read as a checkpoint"),
    "a port that is none": (2, ["--draw", "--port", "70000"], "'70000' is no port"),
    "solutions and a checkpoint": (2, ["--draw", "a.pt", "--kata-solutions", "katas"], "without a checkpoint"),
    "solutions alone": (2, ["--kata-solutions", "katas"], "goes with --draw"),
    "solutions as a file": (
        2,
        ["--draw", "--kata-solutions", "katas", "--export", "a.html"],
        "not with --kata-solutions",
    ),
    "no such solutions": (1, ["--draw", "--kata-solutions", "nowhere"], "09_mnist_98.py does not exist"),
    "solutions to do": (1, ["--draw", "--kata-solutions", "katas"], "09_mnist_98.py is not finished"),
}


@pytest.mark.parametrize(("status", "options", "says"), REFUSED_OPTIONS.values(), ids=REFUSED_OPTIONS.keys())
def test_wrong_options_are_refused_with_a_sentence(status, options, says, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(*options) == status
    said = capsys.readouterr()
    assert says in said.err
    assert said.out == "", "a net was trained"


def test_several_processes_do_not_ask_a_trained_net(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main("--draw", "a.pt") == 2
    assert "several processes: not with --draw CHECKPOINT" in capsys.readouterr().err


OWN = """
import torch
from torch import nn

def prepare(images):
    return images.unsqueeze(1) / 255

def train(images, labels, epochs=1):
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    opt = torch.optim.SGD(net.parameters(), lr=0.5)
    for part in torch.randperm(6400).split(64):
        opt.zero_grad()
        nn.functional.cross_entropy(net(prepare(images[part])), labels[part]).backward()
        opt.step()
    return net
"""
TO_DO = """
def like_mnist(drawing):
    raise NotImplementedError("crop, shrink, centre")
"""
LIKE = """
import torch

def like_mnist(drawing):
    image = torch.zeros(28, 28, dtype=torch.uint8)
    image[4:24, 4:24] = drawing[:20, :20]
    return image
"""


@pytest.fixture
def solved(tmp_path) -> Path:
    """A folder with a learner's net."""
    (tmp_path / "13_training").mkdir()
    (tmp_path / "13_training/09_mnist_98.py").write_text(OWN)
    return tmp_path


def read(reader: Reader, paper: torch.Tensor) -> Reading:
    reading = reader.read(bytes(paper.flatten().tolist()), *paper.shape)
    assert reading is not None
    return reading


def as_bytes(image: torch.Tensor) -> bytes:
    return bytes(image.flatten().tolist())


def like_mnist(paper: torch.Tensor) -> bytes:
    return as_bytes(like_mnist_of(REFERENCE)(paper))


def test_a_learners_own_net_and_preprocessing_are_asked(digits, solved):
    reader, whose = learners_reader(solved, *digits)
    assert re.match(r"Your own net, trained in \d+\.\d s, reads (8|9)\d\.\d\d% of MNIST's", whose)
    paper = torch.zeros(60, 60, dtype=torch.uint8)
    paper[3:8, 3:4] = 255
    assert read(reader, paper).image == like_mnist(paper), "they have no like_mnist: the reference's"
    file = solved / "13_training/08_like_mnist.py"
    file.write_text(TO_DO)
    reading = read(learners_reader(solved, *digits)[0], paper)
    assert reading.image == like_mnist(paper), "their like_mnist is to do: the reference's"
    file.write_text(LIKE)
    reading = read(learners_reader(solved, *digits)[0], paper)
    wanted = torch.zeros(28, 28, dtype=torch.uint8)
    wanted[7:12, 7] = 255
    assert reading.image == as_bytes(wanted), "their own like_mnist"


def test_a_learners_net_that_raises_is_told(digits, solved):
    file = solved / "13_training/09_mnist_98.py"
    for text, says in (
        (OWN.replace("lr=0.5", "lr=0.5, x=1"), "raised TypeError"),
        (OWN.replace("return net", "return None"), r"train\(\) returned NoneType, expected a net"),
        (OWN.replace("net = nn.Seq", "nn.Module()(images); net = nn.Seq"), "raised NotImplementedError: Module"),
        ("def train(", "cannot be imported"),
    ):
        file.write_text(text)
        with pytest.raises(NoNet, match=says):
            learners_reader(solved, *digits)


@pytest.mark.parametrize("text", ["def like_mnist(", "import no_such_module\n" + LIKE], ids=["syntax", "import"])
def test_a_preprocessing_that_cannot_be_imported_is_told_before_the_training(digits, solved, text):
    (solved / "13_training/09_mnist_98.py").write_text("def train(*_):\n    raise ValueError('trained')\n")
    (solved / "13_training/08_like_mnist.py").write_text(text)
    with pytest.raises(NoNet, match=r"08_like_mnist\.py cannot be imported: (SyntaxError|ModuleNotFoundError)"):
        learners_reader(solved, *digits)


# ── the device ──


class Elsewhere(DigitNet):
    """A net on another device than the CPU, until cpu() is called."""

    here = False

    def cpu(self):
        self.here = True
        return super().cpu()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.here, "the net lies on another device than the images"
        return super().forward(x)


@pytest.fixture
def other_device(monkeypatch) -> torch.device:
    """Another device is what `auto` finds. Nothing can come back from this one."""
    monkeypatch.setattr(cli, "_device", lambda *_: torch.device("meta"))
    return torch.device("meta")


def test_the_page_of_a_checkpoint_is_made_on_the_cpu(other_device, checkpoint, tmp_path):
    assert main("--draw", str(checkpoint), "--export", str(tmp_path / "a.html")) == 0


def test_a_learners_net_is_trained_on_the_cpu(other_device, solved, monkeypatch):
    served = []
    monkeypatch.setattr(command, "serve", lambda server, reader, *_, browser: served.append(reader))
    assert main("--draw", "--kata-solutions", str(solved)) == 0
    assert read(served[0], torch.full((3, 5), 255, dtype=torch.uint8))


def test_a_net_trained_on_another_device_comes_to_the_cpu_for_the_page(other_device, digits, monkeypatch, tmp_path):
    def trained(images: Split, settings: Settings, **_: object) -> Run:
        assert images.images.device == other_device
        return Run(Elsewhere(), settings, settings.steps, 1.0, [], {})

    def measured(net: DigitNet, images: Split) -> object:
        assert images.images.device == other_device
        return object()

    for name, fake in (("train", trained), ("evaluate", measured), ("_report", lambda *_: None)):
        monkeypatch.setattr(cli, name, fake)
    assert main("--export", str(tmp_path / "a.html")) == 0
    assert (tmp_path / "a.html").is_file()


# ── Ctrl-C ──


@contextlib.contextmanager
def started(*options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The command, as it runs; it and its children are ended at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "reference.mnist", *options],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job is started deaf to Ctrl-C, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def line(stream: IO[str] | None, pattern: str) -> str:
    """The next line with that in it: what of it matches."""
    assert stream is not None
    found = next((match for text in stream if (match := re.search(pattern, text))), None)
    assert found is not None, f"it ended without {pattern}"
    return found[0]


URL = r"http://127\.0\.0\.1:\d+/"
WAITING = """#!/bin/sh
echo "$1" > "$0.url"
exec sleep 60 > /dev/null 2>&1
"""


@no_windows
def test_a_browser_that_is_waited_for_does_not_keep_the_page(checkpoint, tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(WAITING)
    browser.chmod(0o755)
    with started("--draw", str(checkpoint), BROWSER=f"{browser} %s") as process:
        url = line(process.stderr, URL)
        with urllib.request.urlopen(url, timeout=10) as page:
            assert b"<title>Draw a digit</title>" in page.read()
        end = time.monotonic() + 10
        while not (said := (tmp_path / "browser.url")).is_file() or not said.read_text():
            assert time.monotonic() < end, "no browser was opened"
            time.sleep(0.05)
        assert said.read_text() == f"{url}\n"
        process.send_signal(signal.SIGINT)
        line(process.stderr, "The page is closed.")
        assert process.wait(10) == 0


SLOW = """
import torch

def like_mnist(drawing):
    print("reading", flush=True)
    x = torch.ones(2500, 2500)
    x = x @ x @ x
    return torch.zeros(28, 28, dtype=torch.uint8)
"""


@no_windows
def test_ctrl_c_waits_for_the_drawing_that_is_read(solved):
    """A program that ends while a thread is inside torch is aborted: -6, and a complaint of C++."""
    (solved / "13_training/08_like_mnist.py").write_text(SLOW)
    with started("--draw", "--kata-solutions", str(solved), "--no-browser") as process:
        url = line(process.stderr, URL)
        drawing = b'{"width": 1, "height": 1, "ink": "/w=="}'
        asked = urllib.request.Request(f"{url}read", drawing, {"Content-Type": "application/json"})

        def ask() -> None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(asked, timeout=30).close()

        threading.Thread(target=ask, daemon=True).start()
        line(process.stdout, "reading")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read() == "\nThe page is closed.\n"
        assert process.wait(10) == 0


@no_windows
def test_ctrl_c_ends_a_learners_training_with_a_sentence(solved):
    text = "import time\n\ndef train(*_):\n    print('begun', flush=True)\n    time.sleep(60)\n"
    (solved / "13_training/09_mnist_98.py").write_text(text)
    with started("--draw", "--kata-solutions", str(solved), "--no-browser") as process:
        line(process.stdout, "begun")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(10) == 130
    assert said.endswith("\nInterrupted: there is no page.\n")
    assert "Traceback" not in said
