"""What is asked about a drawing: `like_mnist` makes an image of it, a net reads that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dojo.kata.seam import import_solution
from dojo.kata.source import definitions, is_stub, parse
from reference.mnist import data

REFERENCE = Path(__file__).resolve().parents[2]
PREPROCESSING, NET = "13_training/08_like_mnist", "13_training/09_mnist_98"


@dataclass(frozen=True)
class Reading:
    """What the net sees, uint8 (28, 28), and the ten probabilities that it answers with."""

    image: torch.Tensor
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
        self.like_mnist = like_mnist or function("like_mnist", PREPROCESSING)
        self._one_at_a_time = threading.Lock()  # the server has a thread for each request

    def read(self, drawing: torch.Tensor) -> Reading | None:
        """The answer to a drawing, uint8 (H, W), 255 where the ink is; None where there is no ink."""
        if not drawing.any():
            return None
        with self._one_at_a_time, torch.no_grad():
            image = self.like_mnist(drawing)
            device = next((p.device for p in self.net.parameters()), torch.device("cpu"))
            logits = self.net(self.prepare(image[None].to(device)))
            return Reading(image.cpu(), logits[0].double().softmax(0).tolist())


def function(name: str, kata: str, folders: tuple[Path, ...] = ()) -> Callable[..., torch.Tensor]:
    """A function of a kata: from the first of the folders where it is written, else the reference's."""
    for folder in folders:
        path = folder / f"{kata}.py"
        tree = parse(path)
        if tree is not None and name in (found := definitions(tree)) and not is_stub(found[name]):
            return getattr(import_solution(path), name)
    return getattr(import_solution(REFERENCE / f"{kata}.py"), name)
