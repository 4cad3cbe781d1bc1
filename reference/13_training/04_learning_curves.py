"""Log numbers, not graphs: reference.

Hint: What does the list hold: a number, or a tensor that holds on to everything it was computed from?
Hint: `Tensor.item()`; `plt.subplots()`, `Axes.plot`, `Axes.legend`, `plt.close`.
Hint: Keep a third list, with the length that the train list had at each validation: those are the x of val. Close the
    figure when it is drawn, and return it.

Why: `.item()` copies one number out of the tensor, and the graph goes when the loss variable gets its next value. On a
GPU it also waits for the step to finish, so people log only every hundredth step there. pyplot numbers its figures and
keeps them for `plt.show()`; a figure that was closed is a plain object, and goes when nobody holds it any more.
"""

from typing import TYPE_CHECKING

import torch

from dojo import Mistake

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class History:
    def __init__(self) -> None:
        self.train: list[float] = []
        self.val: list[float] = []
        self._val_steps: list[int] = []

    def log_step(self, loss: torch.Tensor) -> None:
        self.train.append(loss.item())

    def log_val(self, loss: torch.Tensor) -> None:
        self.val.append(loss.item())
        self._val_steps.append(len(self.train))

    def figure(self) -> "Figure":
        import matplotlib.pyplot as plt

        figure, ax = plt.subplots()
        ax.plot(range(1, len(self.train) + 1), self.train, label="train")
        ax.plot(self._val_steps, self.val, "--", label="val")
        ax.set(xlabel="training steps", ylabel="loss")
        ax.legend()
        plt.close(figure)
        return figure


def picture(solution):
    import matplotlib
    from torch import nn

    from dojo.kit import pictures

    matplotlib.use("Agg")
    torch.manual_seed(0)
    x, x_val = torch.linspace(-3, 3, 12)[:, None], torch.linspace(-3, 3, 100)[:, None]
    y, y_val = (torch.sin(2 * x) + 0.5 * torch.randn(len(x), 1) for x in (x, x_val))
    net = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    opt = torch.optim.Adam(net.parameters(), lr=0.003)

    history = solution.History()
    for step in range(400):
        if step % 10 == 0:
            with torch.no_grad():
                history.log_val(nn.functional.mse_loss(net(x_val), y_val))
        loss = nn.functional.mse_loss(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        history.log_step(loss)
    with torch.no_grad():
        history.log_val(nn.functional.mse_loss(net(x_val), y_val))

    figure = history.figure()
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    at = [float(step) for step in lines["val"].get_xdata()]
    best = min(range(len(history.val)), key=history.val.__getitem__)
    return pictures.Picture(
        figure,
        f"What figure() draws of a net that learns 12 noisy points by heart: after {at[-1]:g} steps train is at "
        f"{history.train[-1]:.2f}, and val at {history.val[-1]:.2f}. val was lowest, {history.val[best]:.2f}, after "
        f"{at[best]:g} steps.",
        {"train": history.train, "val": history.val, "steps of val": at},
    )


# ── known mistakes: each changes one thing of this right answer ──


class _Base:
    def __init__(self):
        self.train, self.val, self.steps = [], [], []

    def number(self, loss):
        return loss.item()

    def log_step(self, loss):
        self.train.append(self.number(loss))

    def log_val(self, loss):
        self.val.append(self.number(loss))
        self.steps.append(len(self.train))

    def x_of_val(self):
        return self.steps

    def axes(self):
        import matplotlib.pyplot as plt

        figure, ax = plt.subplots()
        return figure, ax, ax

    def draw(self, ax, other):
        ax.plot(self.train, label="train")
        other.plot(self.x_of_val(), self.val, label="val")
        ax.legend()

    def close(self, figure):
        import matplotlib.pyplot as plt

        plt.close(figure)

    def figure(self):
        figure, ax, other = self.axes()
        self.draw(ax, other)
        self.close(figure)
        return figure


def _number(number):
    return type("_Number", (_Base,), {"number": lambda self, loss: number(loss)})


def _x(x_of_val):
    return type("_X", (_Base,), {"x_of_val": x_of_val})


def _draw(draw):
    return type("_Draw", (_Base,), {"draw": draw})


class _TrainOnly(_Base):
    """The other half is right."""

    def log_val(self, loss):
        self.val.append(loss)
        self.steps.append(len(self.train))


class _Shared(_Base):
    train: list = []  # noqa: RUF012
    val: list = []  # noqa: RUF012

    def __init__(self):
        self.steps = []


class _KeepsTheLast(_Base):
    def log_step(self, loss):
        self.last = loss
        super().log_step(loss)


class _DetachesInPlace(_Base):
    def log_step(self, loss):
        super().log_step(loss.detach_())


class _FiniteOnly(_Base):
    def log_step(self, loss):
        if loss.isfinite():
            super().log_step(loss)


class _StepsOfAll(_Base):
    """One list of steps for all histories."""

    noted: list = []  # noqa: RUF012

    def log_val(self, loss):
        self.val.append(loss.item())
        self.noted.append(len(self.train))

    def x_of_val(self):
        return self.noted


class _CountsAnew(_Base):
    """Notes the steps since the last measurement."""

    count = 0

    def log_step(self, loss):
        super().log_step(loss)
        self.count += 1

    def log_val(self, loss):
        self.val.append(loss.item())
        self.steps.append(self.count)
        self.count = 0


class _RunningMean(_Base):
    def number(self, loss):
        return 0.9 * self.train[-1] + 0.1 * loss.item() if self.train else loss.item()


class _OneList(_Base):
    def log_val(self, loss):
        self.train.append(loss.item())
        self.steps.append(len(self.train))


class _LazyNumbers:
    """Keeps tensors without a graph, and makes numbers of them when they are asked for."""

    def __init__(self):
        self.kept = [], []

    train = property(lambda self: [x.item() for x in self.kept[0]])
    val = property(lambda self: [x.item() for x in self.kept[1]])

    def log_step(self, loss):
        self.kept[0].append(loss.detach())

    def log_val(self, loss):
        self.kept[1].append(loss.detach())

    figure = History.figure


class _ClearsTheLog(_Base):
    def figure(self):
        figure = super().figure()
        self.train, self.val, self.steps = [], [], []
        return figure


class _TwoFrames(_Base):
    def axes(self):
        import matplotlib.pyplot as plt

        figure, (ax, other) = plt.subplots(2)
        return figure, ax, other


class _Current(_Base):
    def axes(self):
        import matplotlib.pyplot as plt

        return plt.gcf(), plt.gca(), plt.gca()


class _CurrentInPlace(_Current):
    def close(self, figure):
        pass


class _NeverClosed(_Base):
    def close(self, figure):
        pass


class _ClosesAll(_Base):
    def close(self, figure):
        import matplotlib.pyplot as plt

        plt.close("all")


class _OneFigure(_Base):
    """Made once, and drawn on again and again."""

    made = None

    def axes(self):
        if self.made is None:
            figure, ax, _ = super().axes()
            self.made = figure, ax
        return *self.made, self.made[1]


class _ReturnsAxes(_Base):
    def figure(self):
        return super().figure().axes[0]


class _ReturnsNothing(_Base):
    def figure(self):
        super().figure()


def _no_legend(self, ax, other):
    ax.plot(self.train, label="train")
    ax.plot(self.steps, self.val, label="val")


def _no_labels(self, ax, other):
    ax.plot(self.train)
    ax.plot(self.steps, self.val)


def _names_in_the_legend_only(self, ax, other):
    _no_labels(self, ax, other)
    ax.legend(["train", "val"])


def _long_labels(self, ax, other):
    ax.plot(self.train, label="training loss")
    ax.plot(self.steps, self.val, label="validation loss")
    ax.legend()


def _swapped_labels(self, ax, other):
    ax.plot(self.train, label="val")
    ax.plot(self.steps, self.val, label="train")
    ax.legend()


def _means(self, ax, other):
    ends = list(zip([0, *self.steps], self.steps, strict=False))
    ax.plot([sum(self.train[a:b]) / max(b - a, 1) for a, b in ends], label="train")
    ax.plot(self.steps, self.val, label="val")
    ax.legend()


def _smoothed(self, ax, other):
    smooth = [sum(self.train[max(i - 2, 0) : i + 1]) / min(i + 1, 3) for i in range(len(self.train))]
    ax.plot(smooth, label="train")
    ax.plot(self.steps, self.val, label="val")
    ax.legend()


def _only_train(self, ax, other):
    ax.plot(self.train, label="train")
    ax.legend()


_FREED = "test_a_logged_loss_is_freed_with_its_graph"
_STAYS = "test_a_logged_number_stays_as_it_was"
_STEP = "test_a_measurement_stands_at_its_step"
_LINES = "test_two_named_lines_show_all_that_is_logged"
_CLOSED = "test_a_figure_is_closed_and_drawn_alone"

_GRAPH = "every logged loss keeps its whole graph"
_PUT = "put it at the step where it was measured"

_steps_of_all: list[int] = []


class _OneListForAll(History):
    def __init__(self):
        super().__init__()
        _steps_of_all.clear()
        self._val_steps = _steps_of_all


MISTAKES = [
    Mistake(_GRAPH, caught_by=_FREED, History=_number(lambda loss: loss)),
    Mistake(_GRAPH, caught_by=_FREED, History=_TrainOnly),
    Mistake(_GRAPH, caught_by=_FREED, History=_number(lambda loss: loss.clone())),
    Mistake("holds Python floats; this is a Tensor", caught_by=_FREED, History=_number(lambda loss: loss.detach())),
    Mistake(
        "holds Python floats; this is a ndarray", caught_by=_FREED, History=_number(lambda loss: loss.detach().numpy())
    ),
    Mistake("holds Python floats; this is a str", caught_by=_FREED, History=_number(lambda loss: f"{loss.item():.4f}")),
    Mistake("is not what was logged", caught_by=_FREED, History=_number(lambda loss: round(loss.item(), 3))),
    Mistake("is not what was logged", caught_by=_FREED, History=_RunningMean),
    Mistake("graphs of logged losses are still in memory", caught_by=_FREED, History=_KeepsTheLast),
    Mistake("a list that all share?", caught_by=_FREED, History=_Shared),
    Mistake("log_step changed the tensor", caught_by=_FREED, History=_DetachesInPlace),
    Mistake("losses were logged, and history.train holds", caught_by=_FREED, History=_OneList),
    Mistake("a tensor was edited after it was logged", caught_by=_STAYS, History=_LazyNumbers),
    Mistake("is not what was logged", caught_by=_STAYS, History=_number(lambda loss: loss.float().item())),
    Mistake("losses were logged, and history.train holds", caught_by=_STAYS, History=_FiniteOnly),
    Mistake("a line needs as many x as y", caught_by=_STEP, History=_StepsOfAll),
    Mistake(_PUT, caught_by=_STEP, History=_CountsAnew),
    Mistake(_PUT, caught_by=_STEP, History=_x(lambda self: range(len(self.val)))),
    Mistake(_PUT, caught_by=_STEP, History=_x(lambda self: range(1, len(self.val) + 1))),
    Mistake(_PUT, caught_by=_STEP, History=_x(lambda self: [n - 1 for n in self.steps])),
    Mistake(_PUT, caught_by=_STEP, History=_x(lambda self: [4 * (i + 1) for i in range(len(self.val))])),
    Mistake(
        _PUT,
        caught_by=_STEP,
        History=_x(lambda self: [len(self.train) // len(self.val) * (i + 1) for i in range(len(self.val))]),
    ),
    Mistake(_PUT, caught_by=_STEP, History=_x(lambda self: [max(n, 1) for n in self.steps])),
    Mistake("there is no legend", caught_by=_LINES, History=_draw(_no_legend)),
    Mistake("the lines themselves have no labels", caught_by=_LINES, History=_draw(_no_labels)),
    Mistake("the lines themselves have no labels", caught_by=_LINES, History=_draw(_names_in_the_legend_only)),
    Mistake("the lines are labelled", caught_by=_LINES, History=_draw(_long_labels)),
    Mistake("and the other way round", caught_by=_LINES, History=_draw(_swapped_labels)),
    Mistake("the line train is at the heights", caught_by=_LINES, History=_draw(_smoothed)),
    Mistake("and the line train has 4 points", caught_by=_LINES, History=_draw(_means)),
    Mistake("expected two, train and val", caught_by=_LINES, History=_draw(_only_train)),
    Mistake("expected two, train and val", caught_by=_LINES, History=_TwoFrames),
    Mistake("a matplotlib Figure, got Axes", caught_by=_LINES, History=_ReturnsAxes),
    Mistake("a matplotlib Figure, got NoneType", caught_by=_LINES, History=_ReturnsNothing),
    Mistake("figure() changed the lists of the log", caught_by=_LINES, History=_ClearsTheLog),
    Mistake("close what you open", caught_by=_CLOSED, History=_NeverClosed),
    Mistake("closed a figure of somebody else's", caught_by=_CLOSED, History=_ClosesAll),
    Mistake("it is somebody else's", caught_by=_CLOSED, History=_Current),
    Mistake("it is somebody else's", caught_by=_CLOSED, History=_CurrentInPlace),
    Mistake("expected two, train and val", caught_by=_CLOSED, History=_OneFigure),
    Mistake("after another History was filled", caught_by=_STEP, History=_OneListForAll),
]
