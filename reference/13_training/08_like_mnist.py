"""reference (lesson to come)"""

import torch
from torch.nn import functional


def like_mnist(drawing: torch.Tensor) -> torch.Tensor:
    rows, columns = drawing.nonzero(as_tuple=True)
    if len(rows) == 0:
        raise ValueError("nothing is drawn")
    ink = drawing[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].float()
    height, width = (max(1, round(n * 20 / max(ink.shape))) for n in ink.shape)
    small = functional.interpolate(ink[None, None], size=(height, width), mode="area")[0, 0]
    top, left = _middle(small.sum(1)), _middle(small.sum(0))
    image = torch.zeros(28, 28)
    image[top : top + height, left : left + width] = small
    return image.round().to(torch.uint8)


def _middle(ink: torch.Tensor) -> int:
    """Where a row of ink must begin, for its centre of mass to come to place 14 of 28 (but none of it outside)."""
    centre = (ink * torch.arange(len(ink))).sum() / ink.sum()
    return min(max(round(14 - centre.item()), 0), 28 - len(ink))
