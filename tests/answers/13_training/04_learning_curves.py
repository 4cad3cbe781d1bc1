"""Answers that people give to learning_curves, right ones and wrong ones."""

import torch

from dojo import Mistake


class _Floats:
    """No pyplot at all."""

    def __init__(self):
        self.train = []
        self.val = []
        self.at = []

    def log_step(self, loss):
        self.train += [float(loss)]

    def log_val(self, loss):
        self.val += [float(loss)]
        self.at += [len(self.train)]

    def figure(self):
        from matplotlib.figure import Figure

        fig = Figure(figsize=(5, 3))
        ax = fig.subplots()
        ax.plot(self.at, self.val, "o-", label="val")
        ax.plot(self.train, color="grey", label="train")
        ax.legend(loc="upper right")
        return fig


class _Pairs:
    """Counts for itself, and keeps pairs."""

    def __init__(self):
        self.steps = 0
        self._train, self._val = [], []

    @property
    def train(self):
        return [y for _, y in self._train]

    @property
    def val(self):
        return [y for _, y in self._val]

    def log_step(self, loss):
        self.steps += 1
        self._train.append((self.steps, loss.detach().cpu().item()))
        return self

    def log_val(self, loss):
        self._val.append((self.steps, loss.tolist()))
        return self

    def figure(self):
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        fig = plt.figure()
        ax = fig.add_subplot(1, 1, 1)
        for name in ("train", "val"):
            points = getattr(self, f"_{name}")
            ax.plot([x for x, _ in points], [y for _, y in points], label=name)
        ax.set_yscale("log")
        fig.legend()
        plt.close(fig)
        return fig


class _Pyplot(_Floats):
    def figure(self):
        import matplotlib.pyplot as plt

        current = plt.gcf() if plt.get_fignums() else None
        fig = plt.figure()
        plt.plot(torch.arange(1, len(self.train) + 1).numpy(), self.train, label="train")
        plt.plot(torch.tensor(self.at).numpy(), self.val, label="val")
        plt.legend()
        plt.title("loss")
        plt.close(fig)
        if current is not None:
            plt.figure(current.number)
        return fig


class _Empty(_Floats):
    def figure(self):
        import matplotlib.pyplot as plt

        fig, axes = plt.subplots(1, 2, layout="constrained")
        for ax in axes:
            (a,) = ax.plot([], [])
            a.set_data(range(len(self.train)), self.train)
            a.set_label("train")
            (b,) = ax.plot(self.at, self.val, marker="x")
            b.set_label("val")
            ax.relim()
            ax.legend(handles=[a, b])
        plt.close(fig)
        return fig


RIGHT = [{"History": _Floats}, {"History": _Pairs}, {"History": _Pyplot}, {"History": _Empty}]


def _logs(number):
    class Logs(_Floats):
        def log_step(self, loss):
            self.train.append(number(loss))

        def log_val(self, loss):
            self.val.append(number(loss))
            self.at.append(len(self.train))

    return Logs


def _draws(draw):
    class Draws(_Floats):
        def figure(self):
            import matplotlib.pyplot as plt

            return draw(self, plt)

    return Draws


def _epochs(self, plt):
    fig, ax = plt.subplots()
    n = len(self.train) / max(len(self.val), 1)
    ax.plot([i / n for i in range(len(self.train))], self.train, label="train")
    ax.plot(self.val, label="val")
    ax.legend()
    plt.close(fig)
    return fig


def _handles(self, plt):
    fig, ax = plt.subplots()
    (a,), (b,) = ax.plot(self.train), ax.plot(self.at, self.val)
    ax.legend([a, b], ["train", "val"])
    plt.close(fig)
    return fig


def _since_the_last(self, plt):
    fig, ax = plt.subplots()
    ax.plot(self.train[self.at[-2] if len(self.at) > 1 else 0 :], label="train")
    ax.plot(self.at, self.val, label="val")
    ax.legend()
    plt.close(fig)
    return fig


def _plots(self, plt):
    plt.plot(self.train, label="train")
    plt.plot(self.at, self.val, label="val")
    plt.legend()
    return plt.gcf()


def _new_but_open(self, plt):
    plt.figure()
    return _plots(self, plt)


def _clears(self, plt):
    plt.clf()
    return _plots(self, plt)


def _closes_all_first(self, plt):
    plt.close("all")
    fig = _new_but_open(self, plt)
    plt.close(fig)
    return fig


def _returns_pyplot(self, plt):
    plt.close(_new_but_open(self, plt))
    return plt


def _separate(self, plt):
    fig, (a, b) = plt.subplots(1, 2)
    a.plot(self.train, label="train")
    b.plot(self.at, self.val, label="val")
    fig.legend()
    plt.close(fig)
    return fig


def _capital(self, plt):
    fig, ax = plt.subplots()
    ax.plot(self.train, label="Train")
    ax.plot(self.at, self.val, label="Val")
    ax.legend()
    plt.close(fig)
    return fig


def _scattered(self, plt):
    fig, ax = plt.subplots()
    ax.plot(self.train, label="train")
    ax.scatter(self.at, self.val, label="val")
    ax.legend()
    plt.close(fig)
    return fig


def _stretched(self, plt):
    fig, ax = plt.subplots()
    n = len(self.train)
    ax.plot(range(1, n + 1), self.train, label="train")
    ax.plot(torch.linspace(n / len(self.val), n, len(self.val)).tolist(), self.val, label="val")
    ax.legend()
    plt.close(fig)
    return fig


class _Noted(_Floats):
    """Notes the step before it is counted."""

    def log_val(self, loss):
        self.val.append(loss.item())
        self.at.append(max(len(self.train) - 1, 0))


class _Tensors(_Floats):
    def __init__(self):
        super().__init__()
        self.total = 0

    def log_step(self, loss):
        self.total = self.total + loss
        super().log_step(loss)


class _Defaults(_Floats):
    def __init__(self, train=[], val=[], at=[]):  # noqa: B006
        self.train, self.val, self.at = train, val, at


_GRAPH = "every logged loss keeps its whole graph"
_PUT = "put it at the step where it was measured"

WRONG = [
    Mistake(_GRAPH, caught_by="", History=_logs(lambda loss: loss + 0)),
    Mistake("holds Python floats; this is a Tensor", caught_by="", History=_logs(lambda loss: loss.data)),
    Mistake("holds Python floats; this is a Tensor", caught_by="", History=_logs(lambda loss: loss.clone().detach())),
    Mistake(
        "holds Python floats; this is a ndarray", caught_by="", History=_logs(lambda loss: loss.data.float().numpy())
    ),
    Mistake(
        "holds Python floats; this is a ndarray",
        caught_by="",
        History=_logs(lambda loss: loss.data.double().numpy()[()]),
    ),
    Mistake("is not what was logged", caught_by="", History=_logs(lambda loss: float(f"{loss.item():.4g}"))),
    Mistake("holds Python floats; this is a str", caught_by="", History=_logs(lambda loss: str(loss.item()))),
    Mistake("graphs of logged losses are still in memory", caught_by="", History=_Tensors),
    Mistake("a list that all share?", caught_by="", History=_Defaults),
    Mistake("the lines themselves have no labels", caught_by="", History=_draws(_handles)),
    Mistake("and the line train has 4 points", caught_by="", History=_draws(_since_the_last)),
    Mistake(_PUT, caught_by="", History=_draws(_epochs)),
    Mistake(_PUT, caught_by="", History=_draws(_stretched)),
    Mistake(_PUT, caught_by="", History=_Noted),
    Mistake("it is somebody else's", caught_by="", History=_draws(_plots)),
    Mistake("it is somebody else's", caught_by="", History=_draws(_clears)),
    Mistake("close what you open", caught_by="", History=_draws(_new_but_open)),
    Mistake("closed a figure of somebody else's", caught_by="", History=_draws(_closes_all_first)),
    Mistake("a matplotlib Figure, got NoneType", caught_by="", History=_draws(_returns_pyplot)),
    Mistake("expected two, train and val", caught_by="", History=_draws(_separate)),
    Mistake("expected two, train and val", caught_by="", History=_draws(_scattered)),
    Mistake("the lines are labelled", caught_by="", History=_draws(_capital)),
]
