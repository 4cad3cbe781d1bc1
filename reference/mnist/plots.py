"""Pictures of a run: curves, confusion matrix, the worst-classified digits, the filters of the first layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dojo.kit import digit_pictures
from reference.mnist.data import Split
from reference.mnist.evaluate import Evaluation
from reference.mnist.train import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What one sees in each picture; the command line says it beside the file's name.
SHOWS = {
    "curves": "loss, accuracy and learning rate over the images seen",
    "confusion": "which digit is read as which; the redder a field, the more mistakes",
    "worst": "the test images that the net got most wrong, with its three best guesses",
    "filters": "what each filter of the first layer looks for: red wants ink, blue wants none",
}

_BLUE, _RED, _GREY = "#1f5fa8", "#b8322a", "#8a8a8a"


def draw(folder: Path, run: Run, data: Split, result: Evaluation) -> list[Path]:
    """Write the four PNGs into `folder`; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "curves": curves(run, result),
        "confusion": confusion(result),
        "worst": worst(data, result),
        "filters": filters(run),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=120, bbox_inches="tight")
    return paths


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    return Figure(figsize=(width, height), layout="constrained")


def curves(run: Run, result: Evaluation) -> Figure:
    """Loss, accuracy and learning rate over the images seen."""
    figure = _figure(7, 7)
    seen = [entry["step"] * run.settings.batch_size for entry in run.history]
    top, middle, bottom = figure.subplots(3, sharex=True)
    top.plot(seen, [entry["loss"] for entry in run.history], color=_BLUE, linewidth=1.2)
    top.set(ylabel="training loss", ylim=(0, None), title=f"{result.accuracy:.2%} on the test images")
    middle.plot(seen, [100 * entry["accuracy"] for entry in run.history], color=_BLUE, linewidth=1.2, label="batch")
    middle.axhline(100 * result.accuracy, color=_RED, linestyle="--", linewidth=1, label="test images, at the end")
    middle.set(ylabel="accuracy, %", ylim=(min(80, *(100 * e["accuracy"] for e in run.history)) - 1, 100.5))
    middle.legend(loc="lower right", frameon=False)
    bottom.plot(seen, [entry["lr"] for entry in run.history], color=_GREY, linewidth=1.2)
    bottom.set(ylabel="learning rate", xlabel="images seen", ylim=(0, None))
    for axes in (top, middle, bottom):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def confusion(result: Evaluation) -> Figure:
    """Which digit is read as which."""
    figure = _figure(6.2, 5.6)
    image = digit_pictures.draw_confusion(figure, result.confusion)
    bar = figure.colorbar(image, ax=figure.axes, shrink=0.8, label="images read wrong")
    bar.ax.set_ylim(0, None)  # the colours of the map's lower half are not used
    return figure


def worst(data: Split, result: Evaluation, rows: int = 4, columns: int = 5) -> Figure:
    """The images whose label got the smallest probability, each with the net's three best guesses."""
    figure = _figure(2.1 * columns, 2.75 * rows)
    digit_pictures.draw_worst(figure, data.images, result.labels, result.probabilities, rows, columns)
    figure.suptitle("The digits whose true label got the smallest probability")
    return figure


def filters(run: Run) -> Figure:
    """The 5x5 filters of the first layer: where ink makes the answer of each larger, and where smaller."""
    weight = run.model.conv1.weight
    columns = 8
    figure = _figure(columns, 1.05 * -(-len(weight) // columns) + 1)
    digit_pictures.draw_filters(figure, weight, columns)
    figure.suptitle(f"What the {len(weight)} filters of the first layer look for, on 5x5 pixels", fontsize=12)
    return figure
