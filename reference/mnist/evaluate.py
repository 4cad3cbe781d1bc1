"""What a trained net is worth, on images that it never saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from dojo.kit import digit_pictures
from reference.mnist.data import Split, prepare


@dataclass(frozen=True)
class Evaluation:
    """The answers of a net to a split of N images."""

    labels: torch.Tensor  # int64 (N,), on the CPU
    probabilities: torch.Tensor  # float32 (N, 10), on the CPU

    @property
    def answers(self) -> torch.Tensor:
        return self.probabilities.argmax(1)

    @property
    def accuracy(self) -> float:
        return (self.answers == self.labels).double().mean().item()

    @property
    def loss(self) -> float:
        of_the_label = self.probabilities.gather(1, self.labels[:, None])
        return -of_the_label.clamp_min(1e-12).log().mean().item()

    @property
    def confusion(self) -> torch.Tensor:
        """int64 (10, 10): how many images of digit [row] were read as digit [column]."""
        return digit_pictures.confusion(self.labels, self.answers)

    def worst(self, n: int) -> torch.Tensor:
        """The indices of the n images whose label got the smallest probability, the worst first."""
        return digit_pictures.worst(self.labels, self.probabilities, n)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: Split,
    batch_size: int = 1000,
    prepare: Callable[[torch.Tensor], torch.Tensor] = prepare,
) -> Evaluation:
    """Ask the model, in eval mode, about every image of `data`. It is left in the mode in which it was."""
    training = model.training
    model.eval()
    parts = [model(prepare(images)).softmax(1).cpu() for images in data.images.split(batch_size)]
    model.train(training)
    return Evaluation(data.labels.cpu(), torch.cat(parts))
