"""`--draw [CHECKPOINT]` and `--export FILE`: whose net is asked, and how the page gets to the browser."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path

from torch import nn

from dojo.kata.import_failure import FAILURES
from dojo.kata.seam import import_solution
from dojo.kata.source import is_stub_error
from dojo.whole_file import write_whole
from reference.mnist.data import Split
from reference.mnist.evaluate import evaluate
from reference.mnist.model import DigitNet
from reference.mnist.page import export
from reference.mnist.page.reader import NET, PREPROCESSING, Reader, like_mnist_of
from reference.mnist.page.server import PageServer


class NoNet(RuntimeError):
    """There is no net to ask; the message says why, and what to do."""


def net_of_checkpoint(content: dict) -> DigitNet:
    """The net of a checkpoint of the trainer."""
    net = DigitNet(content["settings"].channels)
    net.load_state_dict(content["model"])
    return net


def learners_reader(folder: Path, train: Split, test: Split) -> tuple[Reader, str]:
    """Train the net of somebody's mnist_98, and how it is told of on the page; NoNet where that does not go."""
    path = folder / f"{NET}.py"
    if not path.is_file():
        raise NoNet(f"{path} does not exist: --kata-solutions=DIR names a folder of solved katas")
    with _importing(path):
        solution = import_solution(path)
    with _importing(folder / f"{PREPROCESSING}.py"):
        like_mnist = like_mnist_of(folder)
    say(f"training the net of {path}, as its train() does it")
    start = time.monotonic()
    try:
        net = solution.train(train.images.clone(), train.labels.clone())
        seconds = time.monotonic() - start
        if not isinstance(net, nn.Module):
            raise TypeError(f"train() returned {type(net).__name__}, expected a net")
        reader = Reader(net, solution.prepare, like_mnist)
        right = evaluate(net, test.to(reader.device), prepare=reader.prepare).accuracy
    except Exception as error:
        if is_stub_error(error):
            raise NoNet(f"{path} is not finished: {error}. `pytest --kata-list mnist` shows how far it is") from error
        raise NoNet(f"{path} raised {type(error).__name__}: {error}. pytest says more of it") from error
    return reader, f"Your own net, trained in {seconds:.1f} s, reads {right:.2%} of MNIST's 10,000 test images right."


@contextlib.contextmanager
def _importing(path: Path) -> Iterator[None]:
    """NoNet, which names the file, where it does not import."""
    try:
        yield
    except FAILURES as error:
        raise NoNet(f"{path} cannot be imported: {type(error).__name__}: {error}") from error


def praise(net: DigitNet, test: Split) -> str:
    """How a net of the trainer is told of on the page."""
    return f"This net reads {evaluate(net, test).accuracy:.2%} of MNIST's 10,000 test images right."


def check_target(path: Path) -> None:
    """OSError, with a sentence, where `write` could not write the file: asked before a training."""
    if path.is_dir():
        raise OSError(f"{path} is a folder")
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
            pass
    except OSError as error:
        raise OSError(f"no file can be written to {path.parent}: {error.strerror}") from error


def write(path: Path, net: DigitNet, whose: str, examples: Split) -> None:
    """`--export`: the page as one file, written whole or not at all."""
    page = export.static_page(net, whose, examples)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page.encode())
    say(f"wrote {path}\n  the page with the net in it: open it in a browser, it needs nothing else")


def serve(server: PageServer, reader: Reader, whose: str, examples: Split, *, browser: bool) -> None:
    """`--draw`: serve the page until Ctrl-C."""
    page = export.served_page(whose, examples)
    say(f"{whose}\ndraw a digit on {server.url}    (Ctrl-C ends it)")
    try:
        if browser:  # in a thread: some browsers return only when they are closed
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        server.serve(page, reader)
    except KeyboardInterrupt:
        reader.close()
        say("\nThe page is closed.")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
