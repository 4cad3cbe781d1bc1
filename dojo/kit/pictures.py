"""What a reference's `picture(solution)` draws with, and what becomes of it: a PNG, a GIF where it moves, the numbers.

matplotlib is imported where it is used: a kata runs without it. No pyplot: no window, no state that outlives a picture.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dojo.whole_file import write_whole

if TYPE_CHECKING:
    from matplotlib.animation import Animation
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

# Okabe and Ito's colours, which the colour-blind can tell apart; beside them lines differ in their dashes too.
BLUE, ORANGE, GREEN, PINK, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"
GREY, BLACK = "#8a8a8a", "#222222"
CYCLE = [(BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (PINK, ":"), (SKY, (0, (5, 1))), (BLACK, (0, (1, 1)))]
DIVERGING, RISING = "RdBu_r", "viridis"  # colour maps that the colour-blind can read

DPI = 100
WIDEST = 600  # pixels of a picture's longer side
MOST_FRAMES = 60
_MILLISECONDS = 100  # of a frame
_COLOURS = 96  # of a GIF
_LAST_FRAME = 2000  # milliseconds: time to look at where it ends


@dataclass(frozen=True)
class Picture:
    """What `picture(solution)` returns.

    says: one line: what is to be seen, with the numbers of this run.
    numbers: what is drawn, as plain values and tensors; written beside it as JSON.
    """

    drawing: Figure | Animation
    says: str
    numbers: dict[str, Any] = field(default_factory=dict)


def figure(width: float = 6, height: float = 3.6) -> Figure:
    """An empty figure of that many inches, 100 pixels each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    new = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(new)
    return new


def tidy(axes: Axes, xlabel: str, ylabel: str, title: str = "") -> None:
    """Axes with names (and units, where there are any), a faint grid, no box around them."""
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def moving(figure: Figure, draw: Callable[[int], None], frames: int) -> Animation:
    """A picture that moves: `draw(i)` brings the figure to frame i of `frames`."""
    from matplotlib.animation import FuncAnimation

    if not 2 <= frames <= MOST_FRAMES:
        raise ValueError(f"a picture that moves has 2 to {MOST_FRAMES} frames, got {frames}")
    draw(frames - 1)  # it is laid out before the first frame: with room for the titles

    def frame(i: int) -> Iterable[Artist]:
        draw(i)
        return ()

    animation: Any = FuncAnimation(figure, frame, frames=frames, init_func=lambda: ())
    animation._draw_was_started = True  # else it complains where the disk is full and nobody could draw it
    return animation


def steps_to_show(total: int, most: int = MOST_FRAMES) -> list[int]:
    """Which of `total` steps become frames: many of the first ones, where most happens, and the last."""
    if total <= most:
        return list(range(total))
    places = torch.linspace(0, 1, most, dtype=torch.float64).pow(2).mul(total - 1).round().long()
    return places.unique().tolist()


def write(picture: Picture, folder: Path, name: str) -> list[Path]:
    """Write NAME.png (of what moves: the last frame), NAME.gif where it moves, NAME.json; each whole or not at all."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, bytes] = {}
    if isinstance(picture.drawing, Figure):
        files["png"] = _png(picture.drawing)
    else:
        frames = _frames(picture.drawing)
        files["png"], files["gif"] = _saved(frames[-1], "png"), _gif(frames)
    said = {"says": picture.says, **picture.numbers}
    files["json"] = (json.dumps(said, default=_plain, indent=1) + "\n").encode()
    paths = []
    for ending, content in files.items():
        paths.append(folder / f"{name}.{ending}")
        write_whole(paths[-1], content)
    return paths


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_dpi(figure))
    return content.getvalue()


def _dpi(figure: Figure) -> float:
    """No side gets longer than the widest that is allowed."""
    return min(DPI, WIDEST / max(figure.get_size_inches()))


def _frames(animation: Animation) -> list[Image]:
    """Each frame as it was drawn; matplotlib's own writers draw each three times, and choose a palette for each."""
    from matplotlib.animation import AbstractMovieWriter
    from PIL.Image import fromarray

    class Kept(AbstractMovieWriter):
        frames: list[Image]

        def setup(self, fig: Figure, outfile: Any, dpi: float | None = None) -> None:
            super().setup(fig, outfile, dpi)
            self.frames = []
            fig.set_dpi(_dpi(fig))
            fig.canvas.draw()
            fig.set_layout_engine("none")  # laid out once: anew for each frame it takes most of the time, and trembles

        def grab_frame(self, **_: Any) -> None:
            canvas: Any = self.fig.canvas
            self.frames.append(fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))

        def finish(self) -> None:
            """Nothing is written here."""

    writer = Kept()
    animation.save(os.devnull, writer)
    return writer.frames


def _gif(frames: list[Image]) -> bytes:
    """One palette for all frames, so that what does not change costs next to nothing."""
    from PIL.Image import Dither, new

    shown = [frames[0], frames[len(frames) // 2], frames[-1]]
    sheet = new("RGB", (shown[0].width, shown[0].height * len(shown)))
    for i, frame in enumerate(shown):
        sheet.paste(frame, (0, i * frame.height))
    palette = sheet.quantize(_COLOURS)
    reduced = [frame.quantize(palette=palette, dither=Dither.NONE) for frame in frames]
    content = io.BytesIO()
    times = [_MILLISECONDS] * (len(frames) - 1) + [_LAST_FRAME]
    reduced[0].save(
        content, "gif", save_all=True, append_images=reduced[1:], duration=times, loop=0, optimize=False, disposal=1
    )
    return content.getvalue()


def _saved(image: Image, kind: str) -> bytes:
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


def _plain(value: Any) -> Any:
    """What JSON does not know: tensors and arrays become lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a number of a picture is a {type(value).__name__}, which JSON does not know")
