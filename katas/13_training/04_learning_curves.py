"""Log numbers, not graphs

`losses.append(loss)` looks harmless. But a loss has a graph behind it, and as long as the list holds the loss, the
graph stays in memory. Where no backward() was run, as for a validation without `torch.no_grad()`, that is all
activations of the net. After backward() these are gone, but the nodes of the graph are not, and their number grows with
each step. `loss.detach()` has no graph, but it is a window on the same memory: an edit of the loss is an edit of the
log. What belongs in a log is a number of Python's own: `loss.item()`.

Then the picture. A training has one loss for each step, and a validation comes after every hundredth: drawn at 0, 1, 2,
... it is squeezed into the left edge. Note, with each measurement, how many steps there were before it.

matplotlib has its own trap. `plt.plot` draws on the *current* figure, beside what was drawn there before (`plt.gcf()`
is that figure); and every figure that `plt.subplots()` or `plt.figure()` makes is kept by pyplot until somebody closes
it: after 100 epochs there are 100. `fig, ax = plt.subplots()` gives a new figure and its axes (one frame with lines in
it), `ax.plot(xs, ys, label="...")` draws a line, `ax.legend()` shows the labels. After `plt.close(fig)` pyplot has
forgotten it, and you can still save it: `fig.savefig("curves.png")`. (`plt.close("all")` closes those of other people,
too.)

What is asked here: a log of a training, and its picture. `import matplotlib.pyplot as plt` (`pip install matplotlib`)
is needed for the picture only: do it inside figure().

About 20 minutes. Before it: training_step, stop_gradient, predict_one.

https://docs.pytorch.org/docs/stable/notes/faq.html#my-model-reports-cuda-runtime-error-2-out-of-memory
"""

import contextlib
import functools
import gc
import math
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from dojo import under_test
from dojo.kit import explain, needs, unchanged

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class History:
    """What a training has logged: the lists `train` and `val`, of Python floats, in the order of the calls.

    Nothing of a logged tensor is kept but its number. Each History has lists of its own.
    """

    def __init__(self) -> None:
        """Begin with two empty lists."""
        raise NotImplementedError("make the two lists, and what else you need")

    def log_step(self, loss: torch.Tensor) -> None:
        """Append the loss of a training step, a 0-d tensor, float32 or float64, to `train`, also where it is inf.

        The tensor stays as it is, and its backward() works afterwards.
        """
        raise NotImplementedError("append a number")

    def log_val(self, loss: torch.Tensor) -> None:
        """Append a loss, such a tensor too, that was measured after the steps logged so far, to `val`."""
        raise NotImplementedError("append a number, and note the step")

    def figure(self) -> "Figure":
        """A matplotlib Figure of all that is logged so far. The log stays as it is.

        Its first axes hold two lines, with the labels `train` and `val` on the lines themselves, and a legend. The line
        `train` has a point for each step (its x is free), `val` one for each measurement, at x = the number of steps
        before it.

        pyplot's open figures are afterwards those that were open before, and nothing is drawn on them.
        """
        raise NotImplementedError("draw both lines on a figure of their own")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "requires grad": "a tensor with a graph went where a number was expected: take loss.item()",
    "must have same first dimension": "a line needs as many x as y",
}


def _history() -> Any:
    __tracebackhide__ = True
    with explain("History() raised"):
        history = History()
    for name in ("train", "val"):
        values = getattr(history, name, None)
        assert isinstance(values, list), f"history.{name} is a list, got {type(values).__name__}"
        assert not values, f"a new History has logged nothing, and its {name} is {values}: a list that all share?"
    return history


def _log(history, kind, loss) -> None:
    __tracebackhide__ = True
    with explain(f"log_{kind} raised for {loss!r}", _SIGNS), unchanged(f"log_{kind} changed the tensor", loss=loss):
        history.log_step(loss) if kind == "step" else history.log_val(loss)


def _numbers(history, name, want) -> None:
    """Are history.train or history.val these Python floats?"""
    __tracebackhide__ = True
    values = getattr(history, name)
    assert isinstance(values, list), f"history.{name} is a list, got {type(values).__name__}"
    for value in values:
        graph = isinstance(value, torch.Tensor) and value.grad_fn is not None
        assert not graph, f"history.{name} holds tensors with a grad_fn: every logged loss keeps its whole graph"
        assert type(value) is float, f"history.{name} holds Python floats; this is a {type(value).__name__}: {value!r}"
    assert len(values) == len(want), f"{len(want)} losses were logged, and history.{name} holds {len(values)}"
    assert values == want, f"history.{name} is not what was logged: expected {want}, got {values}"


def _filled(*, steps) -> tuple[Any, list[float], list[float]]:
    """A history with so many steps before each validation, and what it should hold."""
    __tracebackhide__ = True
    history, train, val = _history(), list[float](), list[float]()
    for n in steps:
        for _ in range(n):
            train.append(1 / (1 + len(train)))
            _log(history, "step", torch.tensor(train[-1], dtype=torch.float64))
        val.append(2 / (1 + len(train)) + len(val) / 8)
        _log(history, "val", torch.tensor(val[-1], dtype=torch.float64))
    return history, train, val


@functools.cache
def _pyplot() -> Any:
    """matplotlib.pyplot, which draws into memory; None where there is no matplotlib."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _needs_matplotlib(history) -> None:
    if _pyplot() is None:
        with contextlib.suppress(ModuleNotFoundError):
            history.figure()  # where it is not written yet, it is to do
        needs("matplotlib")


def _figure(history) -> Any:
    __tracebackhide__ = True
    _needs_matplotlib(history)
    from matplotlib.figure import Figure

    before = list(history.train), list(history.val)
    with explain("figure() raised", _SIGNS):
        figure = history.figure()
    assert isinstance(figure, Figure), f"figure() returns a matplotlib Figure, got {type(figure).__name__}"
    assert (history.train, history.val) == before, "figure() changed the lists of the log"
    return figure


def _lines(history) -> dict[str, tuple[list[float], list[float]]]:
    """x and y of each line in the first axes, by its label."""
    __tracebackhide__ = True
    figure = _figure(history)
    assert figure.axes, "the figure has no axes: nothing is drawn on it"
    ax = figure.axes[0]
    lines, legend = ax.get_lines(), ax.get_legend() or next(iter(figure.legends), None)
    labels = [str(line.get_label()) for line in lines]
    in_legend = [text.get_text() for text in legend.get_texts()] if legend else []
    assert len(lines) == 2, f"the first axes hold the lines {labels}; expected two, train and val"
    unnamed = all(label.startswith("_") for label in labels)
    assert not unnamed, "the lines themselves have no labels: say label=... where a line is drawn"
    assert sorted(labels) == ["train", "val"], f"the lines are labelled {labels}, expected 'train' and 'val'"
    assert legend, "there is no legend: nobody sees which line is which"
    assert sorted(in_legend) == ["train", "val"], f"the legend says {in_legend}, expected 'train' and 'val'"
    points = [[np.asarray(data, dtype=float).tolist() for data in line.get_data()] for line in lines]
    return {label: (x, y) for label, (x, y) in zip(labels, points, strict=True)}


class _Saved:
    """What a graph keeps of a tensor for its backward; `saved` tells as long as it does."""

    def __init__(self, saved: list[Any], tensor: torch.Tensor) -> None:
        self.tensor = tensor
        saved.append(weakref.ref(self))


@pytest.mark.myth(
    says="losses.append(loss) logs the loss.",
    today="It keeps a graph for each loss, with all activations where backward() was not run; log loss.item().",
)
def test_a_logged_loss_is_freed_with_its_graph():
    w = torch.tensor([1.5, -2.0], requires_grad=True)
    history, saved = _history(), list[weakref.ref]()
    train, val = [], []
    with torch.autograd.graph.saved_tensors_hooks(functools.partial(_Saved, saved), lambda x: x.tensor):
        for step in range(16):
            loss = (w * (step + 0.1)).square().mean()
            _log(history, "step", loss)
            train.append(loss.item())
            if step < 4:
                with explain("loss.backward() raised after log_step"):
                    loss.backward()
            if step % 4 == 3:
                loss = (w / (step + 1)).square().mean()
                _log(history, "val", loss)
                val.append(loss.item())
    del loss
    _numbers(history, "train", train)
    _numbers(history, "val", val)
    alive = [ref for ref in saved if ref() is not None]
    if alive:
        gc.collect()  # they may hang in a circle that nobody holds
    alive = [ref for ref in alive if ref() is not None]
    assert not alive, "the numbers are right, but somewhere graphs of logged losses are still in memory"
    _history()  # a new one is empty


def test_a_logged_number_stays_as_it_was():
    history = _history()
    for dtype in (torch.float32, torch.float64):
        for kind in ("step", "val"):
            loss = torch.tensor(1 / 3, dtype=dtype)
            _log(history, kind, loss)
            loss.fill_(100.0)
    for kind in ("step", "val"):
        _log(history, kind, torch.tensor(math.inf))
    want = [torch.tensor(1 / 3).item(), 1 / 3, math.inf]
    for name, values in (("train", list(history.train)), ("val", list(history.val))):
        assert 100.0 not in values, f"a tensor was edited after it was logged, and history.{name} is {values}"
        _numbers(history, name, want)


@pytest.mark.parametrize(
    "steps", [(4, 4, 4, 4), (3, 2, 5), (0, 2, 1)], ids=["even", "uneven", "once before the training"]
)
def test_a_measurement_stands_at_its_step(steps):
    _pyplot()
    history, train, val = _filled(steps=steps)
    for _ in range(2):  # the training goes on after the last measurement
        train.append(0.25)
        _log(history, "step", torch.tensor(0.25))
    x, y = _lines(history)["val"]
    want = [float(sum(steps[: i + 1])) for i in range(len(steps))]
    assert y == pytest.approx(val), f"the line val is at the heights {y}, and {val} was logged"
    assert x == want, f"val stands at x = {x}: put it at the step where it was measured, {want}"
    _filled(steps=(1, 2, 1))
    again = _lines(history)["val"][0]
    assert again == want, f"after another History was filled, val of the first one stands at x = {again}, not at {want}"


def test_two_named_lines_show_all_that_is_logged():
    _pyplot()
    history, train, val = _filled(steps=(4, 4, 4, 4))
    lines = _lines(history)
    x, y = lines["train"]
    swapped = y == pytest.approx(val) and lines["val"][1] == pytest.approx(train)
    assert not swapped, "the line that is labelled train shows the values of val, and the other way round"
    assert len(x) == 16, f"16 steps were logged, and the line train has {len(x)} points"
    assert y == pytest.approx(train), f"the line train is at the heights {y}, and {train} was logged"
    _, y = lines["val"]
    assert y == pytest.approx(val), f"the line val is at the heights {y}, and {val} was logged"


@pytest.mark.myth(
    says="A figure is gone when its variable is gone.",
    today="pyplot keeps every figure that it made until plt.close(fig), and plt.plot draws on the current one.",
)
def test_a_figure_is_closed_and_drawn_alone():
    plt = _pyplot()
    history, train, _ = _filled(steps=(2, 2))
    _needs_matplotlib(history)
    mine, ax = plt.subplots()
    try:
        ax.plot([0, 1], [0, 1])
        before = plt.get_fignums()
        for count in (1, 2, 3):
            _log(history, "step", torch.tensor(0.5))
            figure = _figure(history)
            assert figure is not mine, "figure() returned a figure that was there before: it is somebody else's"
            now = plt.get_fignums()
            closed, opened = sorted(set(before) - set(now)), sorted(set(now) - set(before))
            assert not closed, f"figure() closed a figure of somebody else's, number {closed}"
            assert not opened, f"{len(opened)} figures are open after {count} calls of figure(): close what you open"
            axes = [len(a.get_lines()) for a in mine.axes]
            assert axes == [1], f"figure() drew on a figure that was there before: its axes now hold {axes} lines"
        _, y = _lines(history)["train"]
        assert len(y) == len(train) + 3, f"7 steps are logged by now, and the line train has {len(y)} points"
    finally:
        plt.close(mine)
