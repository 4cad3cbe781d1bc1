"""What is asked about a drawing: `like_mnist` makes an image of it, a net reads that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dojo.kata.seam import import_solution
from dojo.kata.source import Definition, definitions, is_stub, parse
from reference.mnist import data

REFERENCE = Path(__file__).resolve().parents[2]
PREPROCESSING, NET = "13_training/08_like_mnist", "13_training/09_mnist_98"


class NoImage(Exception):
    """like_mnist made no image of a drawing; the message says what it did instead."""


@dataclass(frozen=True)
class Reading:
    """What the net sees, the bytes of 28 x 28 pixels, and the ten probabilities that it answers with."""

    image: bytes
    probabilities: list[float]


class Reader:
    """A net, with what must happen to a drawing before the net is asked."""

    def __init__(
        self,
        net: nn.Module,
        prepare: Callable[[torch.Tensor], torch.Tensor] = data.prepare,
        like_mnist: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        """`prepare`: images, uint8 (N, 28, 28), as the net wants them."""
        self.net, self.prepare = net.eval(), prepare
        self.device = next((p.device for p in net.parameters()), torch.device("cpu"))
        self.like_mnist = like_mnist or like_mnist_of(REFERENCE)
        # The server has a thread for each request. All that one does with torch it does under this lock: see close().
        self._one_at_a_time = threading.Lock()

    def read(self, ink: bytes, height: int, width: int) -> Reading | None:
        """The answer to a drawing, a byte a pixel, 255 where the ink is; None where there is no ink."""
        with self._one_at_a_time, torch.no_grad():
            drawing = torch.frombuffer(bytearray(ink), dtype=torch.uint8).view(height, width)
            if not drawing.any():
                return None
            image = self._image(drawing)
            logits = self.net(self.prepare(image[None].to(self.device)))
            if logits.shape != (1, 10):
                raise ValueError(f"its answer to one image has the shape {tuple(logits.shape)}, expected (1, 10)")
            if not logits.isfinite().all():
                raise ValueError("its answer holds nan or inf, expected ten finite numbers")
            probabilities = logits[0].cpu().double().softmax(0)  # on the CPU first: MPS has no float64
            return Reading(bytes(image.flatten().tolist()), probabilities.tolist())

    def _image(self, drawing: torch.Tensor) -> torch.Tensor:
        try:
            image = self.like_mnist(drawing)
        except Exception as error:  # it may be the learner's own
            raise NoImage(f"like_mnist raised {type(error).__name__}: {error}") from error
        if not isinstance(image, torch.Tensor):
            raise NoImage(f"like_mnist returned {type(image).__name__}, expected a tensor")
        if image.shape != (28, 28) or image.dtype != torch.uint8:
            raise NoImage(f"like_mnist returned {image.dtype} {tuple(image.shape)}, expected torch.uint8 (28, 28)")
        return image

    def close(self) -> None:
        """Wait for the reading that is under way, 5 s at most; none begins after it.

        A program that ends while one of its threads is inside torch is aborted.
        """
        self._one_at_a_time.acquire(timeout=5)


def like_mnist_of(folder: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """The like_mnist of a folder of solutions; the reference's as long as it is not written there.

    A file that has no valid syntax is imported too, and says so.
    """
    path = folder / f"{PREPROCESSING}.py"
    if not path.is_file() or ((tree := parse(path)) is not None and not _is_written(definitions(tree))):
        path = REFERENCE / f"{PREPROCESSING}.py"
    return import_solution(path).like_mnist


def _is_written(found: dict[str, Definition]) -> bool:
    return "like_mnist" in found and not is_stub(found["like_mnist"])
