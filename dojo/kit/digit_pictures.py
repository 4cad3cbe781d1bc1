"""Pictures of how a net reads digits: which it confuses, which it reads worst, what its first layer looks for.

Each function draws into a figure or into a part of one, so that a picture can hold several of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dojo.kit import pictures

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase
    from matplotlib.image import AxesImage


def confusion(labels: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """int64 (10, 10): how many images of digit [row] were read as digit [column]."""
    return (labels * 10 + answers).bincount(minlength=100).view(10, 10)


def worst(labels: torch.Tensor, probabilities: torch.Tensor, n: int) -> torch.Tensor:
    """The indices of the n images whose label got the smallest of its `probabilities` (N, 10), the worst first."""
    return probabilities.gather(1, labels[:, None]).squeeze(1).argsort()[:n]


def draw_confusion(figure: FigureBase, counts: torch.Tensor, *, diagonal: bool = True) -> AxesImage:
    """Which digit is read as which. The colour shows mistakes only: the diagonal would outshine them."""
    axes = figure.subplots()
    mistakes = counts.clone().fill_diagonal_(0)
    most = max(1, int(mistakes.max()))
    image = axes.imshow(mistakes.numpy(), cmap=pictures.DIVERGING, vmin=-most, vmax=most)
    for row in range(10):
        for column in range(10):
            n = int(counts[row, column])
            if n and (diagonal or row != column):
                dark = row != column and n > 0.6 * most
                colour = "white" if dark else pictures.GREY if row == column else pictures.BLACK
                axes.text(column, row, str(n), ha="center", va="center", fontsize=8, color=colour)
    axes.set(xticks=range(10), yticks=range(10), xlabel="read as", ylabel="is")
    axes.set_title(f"{int(mistakes.sum()):,} of {int(counts.sum()):,} read wrong", fontsize=10)
    return image


def draw_worst(
    figure: FigureBase,
    images: torch.Tensor,
    labels: torch.Tensor,
    probabilities: torch.Tensor,
    rows: int,
    columns: int,
    guesses: int = 3,
) -> None:
    """The images whose label got the smallest probability, each with the net's best guesses."""
    places = figure.subplots(rows, columns, squeeze=False).flat
    for place, index in zip(places, worst(labels, probabilities, rows * columns).tolist(), strict=True):
        place.imshow(images[index].cpu().numpy(), cmap="gray_r", vmin=0, vmax=255)
        best = probabilities[index].topk(guesses)
        shares = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        label, answer = int(labels[index]), int(best.indices[0])
        colour = pictures.BLACK if answer == label else pictures.ORANGE
        place.set_title(f"is {label}, read {answer}", fontsize=9, color=colour)
        place.set_xlabel("  ".join(f"{digit}: {p:.0%}" for p, digit in shares) + f"\nindex {index}", fontsize=8)
        place.set(xticks=[], yticks=[])


def draw_filters(figure: FigureBase, weight: torch.Tensor, columns: int = 8) -> None:
    """The filters of a first layer, `weight` (filters, 1, height, width): where ink makes their answers larger."""
    weight = weight.detach().float().cpu().squeeze(1)
    rows = -(-len(weight) // columns)
    limit = float(weight.abs().max())
    places = figure.subplots(rows, columns, squeeze=False)
    for place in places.flat[len(weight) :]:
        place.set_axis_off()
    for place, pixels in zip(places.flat, weight, strict=False):
        image = place.imshow(pixels.numpy(), cmap=pictures.DIVERGING, vmin=-limit, vmax=limit)
        place.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=places, shrink=0.9).set_label("weight of a pixel", fontsize=9)
    figure.supxlabel("red: ink here makes the filter's answer larger\nblue: ink here makes it smaller", fontsize=9)
