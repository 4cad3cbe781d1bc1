"""state_dict() is not a snapshot

A training that goes on too long learns its data by heart: the loss on the validation data falls, turns, and rises. So
people measure it after each epoch, stop when it has not become better for some epochs, and go back to the best ones.

Going back is where it fails. `best = model.state_dict()` looks like a copy and is a window: the tensors in that dict
share the memory of the model's own. The next step of the optimizer edits them in place, and `best` with them, so
`load_state_dict(best)` loads the newest weights onto themselves. No error, no warning. `dict(sd)` and `sd.copy()` copy
the dict only, not what is in it. `copy.deepcopy(model.state_dict())` copies everything, and so does `.clone()` of each
tensor. What was copied is put back with `model.load_state_dict(...)`. That writes the values into the tensors that the
model has, and an optimizer that was made before still trains these.

Three smaller traps. To go back only before a `break` is not enough: a training that runs through all its epochs has to
go back too. Whoever counts bad epochs must begin anew after a good one. And a loss can become nan: nan is not below,
above or equal to anything, so `if not loss >= best` takes nan for a new record, and `loss < best` never does.

What is asked here: the loop around an epoch. What an epoch does, it gets as two functions.

About 25 minutes. Before it: buffers, training_step, predict_one.

https://docs.pytorch.org/docs/stable/notes/serialization.html#saving-and-loading-torch-nn-modules
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain


def fit(
    model: nn.Module,
    train: Callable[[], None],
    val: Callable[[], float],
    epochs: int,
    patience: int,
    min_delta: float = 0.0,
) -> float:
    """Train for at most `epochs` epochs (1 or more), go back to the best one, and return its loss, a Python float.

    An epoch is one call of `train()`, which changes the model (leave gradients on for it), and then one of `val()`,
    which returns the loss of this epoch. A loss is better if it is below best - min_delta, where best is the loss of
    the best epoch so far. The first epoch is the first best one, and its loss is a finite number; a later nan is not
    better. After `patience` epochs in a row (1 or more) that were not better, the training stops.

    In the end everything in the model's state_dict(), parameters and buffers, is exactly as it was after the best
    epoch, however the training ended. The model keeps its own parameters: an optimizer that was made before can go on
    with them.
    """
    raise NotImplementedError("train, keep a copy of the best epoch, go back to it")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


class _Model(nn.Module):
    """All that is in it counts the epochs: a weight, a matrix inside, an integer buffer; a float64 one in tenths."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.inner = nn.Linear(2, 1, bias=False)
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("tenths", torch.tensor(0.0, dtype=torch.float64))
        with torch.no_grad():
            self.inner.weight.zero_()


class _Script:
    """A training without data: each epoch adds 1 to everything in the model, and the losses are given."""

    def __init__(self, losses: list[float], rebinds: bool = False) -> None:
        self.model, self.losses, self.rebinds = _Model(), losses, rebinds
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)
        self.calls: list[str] = []

    def call(self, name: str) -> None:
        __tracebackhide__ = True
        last = self.calls[-1] if self.calls else "val"
        turn = f"train() and val() take turns, once each in an epoch: after the calls {self.calls} came {name}() again"
        assert name != last, turn if self.calls else "an epoch begins with train(), and val() was called first"
        self.calls.append(name)

    def train(self, *_: Any) -> None:
        self.call("train")
        assert torch.is_grad_enabled(), "gradients are switched off in train(): off is right around val() only"
        epoch = self.epochs
        assert epoch <= len(self.losses), f"train() is called for epoch {epoch}, and {len(self.losses)} were asked for"
        for p in self.model.parameters():
            p.grad = -torch.ones_like(p)
        self.optimizer.step()
        self.model.get_buffer("seen").add_(1)
        self.model.get_buffer("tenths").fill_(epoch / 10)
        if self.rebinds:
            self.model.seen = self.model.get_buffer("seen").clone()

    def val(self, *_: Any) -> float:
        self.call("val")
        return self.losses[self.epochs - 1]

    def run(self, patience: int, **options: Any) -> Any:
        """What fit returned; afterwards `told` says how it was called."""
        __tracebackhide__ = True
        delta = "".join(f", min_delta={value}" for value in options.values())
        self.told = f"losses {self.losses}, patience {patience}{delta}"
        own = dict(self.model.named_parameters())
        with explain(f"fit raised for {self.told}"):
            best = fit(self.model, self.train, self.val, len(self.losses), patience, **options)
        for name, p in self.model.named_parameters():
            assert p is own[name], (
                f"{name} is another Parameter than before: load into it, the optimizer has the old one"
            )
        return best

    @property
    def epochs(self) -> int:
        return self.calls.count("train")

    def check_epochs(self, want: int, why: str) -> None:
        __tracebackhide__ = True
        assert self.calls[-1:] == ["val"], (
            f"{self.told}: the last call was {self.calls[-1:]}, and an epoch ends with val()"
        )
        assert self.epochs == want, f"{self.told}: {self.epochs} epochs, expected {want}. {why}"

    def check_weights(self, best: int) -> None:
        """Are all parameters as they were after this epoch?"""
        __tracebackhide__ = True
        state = {name: p.detach() for name, p in self.model.named_parameters()}
        ends = {name: value.flatten()[0].item() for name, value in state.items()}
        live = best != self.epochs and set(ends.values()) == {self.epochs}
        assert not live, (
            f"{self.told}: the model ended with the weights of epoch {self.epochs}, and the best was epoch {best}. Was "
            "it restored, and is what you saved a copy? A state_dict() holds live references to the weights"
        )
        for name, value in state.items():
            told = f"{self.told}: {name} is not as it was after epoch {best}, the best one"
            check_tensor(value, torch.full_like(value, best), told)


def _check_loss(got, want, told) -> None:
    __tracebackhide__ = True
    assert type(got) is float, f"fit returns a Python float, got {type(got).__name__}"
    assert not math.isnan(got), f"{told}: fit returned nan, expected {want}, the best loss"
    assert got == want, f"{told}: fit returned {got}, expected {want}, the best loss"


@pytest.mark.myth(
    says="best = model.state_dict() keeps the best weights.",
    today="It keeps the tensors that training goes on editing; copy.deepcopy() makes a snapshot.",
)
@pytest.mark.parametrize("best", [1, 3, 5], ids=["the first epoch", "one in between", "the last epoch"])
def test_the_best_weights_come_back(best):
    losses = {1: [1.0, 5.0, 3.0, 2.0, 4.0], 3: [5.0, 3.0, 1.0, 2.0, 4.0], 5: [5.0, 4.0, 3.0, 2.0, 1.0]}[best]
    script = _Script(losses)
    got = script.run(10)
    script.check_epochs(5, "patience never ran out")
    script.check_weights(best)
    _check_loss(got, 1.0, script.told)
    for p in script.model.parameters():
        p.grad = -torch.ones_like(p)
    script.optimizer.step()
    weight = script.model.weight.tolist()
    assert weight == [best + 1.0] * 2, f"an optimizer from before fit made a step of 1, and the weight is {weight}"
    assert all(p.requires_grad for p in script.model.parameters()), "fit left the parameters frozen"


def test_buffers_belong_to_the_snapshot():
    for rebinds in (False, True):
        script = _Script([3.0, 1.0, 2.0], rebinds)
        script.run(5)
        seen = script.model.get_buffer("seen").item()
        assert seen == 2, f"{script.told}: the buffer `seen` is that of epoch {seen}, the weights go back to epoch 2"
        script.check_weights(2)
        tenths = script.model.get_buffer("tenths").item()
        assert tenths == 0.2, f"{script.told}: a float64 buffer was 0.2 after epoch 2, and is now {tenths}"


@pytest.mark.parametrize(
    ("losses", "patience", "epochs", "best"),
    [
        ([5.0, 3.0, 4.0, 4.0, 4.0, 1.0], 2, 4, 2),
        ([5.0, 6.0, 1.0], 1, 2, 1),
        ([4.0], 1, 1, 1),
        ([1.0, 0.999999, 0.999998, 0.999997], 2, 4, 4),
        ([2.0, 2.0, 2.0, 2.0, 1.0], 3, 4, 1),
        ([1.0, -1.0, -0.5, -0.7, -0.2, -2.0], 3, 5, 2),
    ],
    ids=["two bad ones", "one bad one", "a single epoch", "a tiny bit better", "equal is not better", "below zero"],
)
def test_patience_is_the_number_of_bad_epochs(losses, patience, epochs, best):
    script = _Script(losses)
    got = script.run(patience)
    late = script.epochs == epochs + 1
    cause = f"{patience} epochs in a row were not better: that was the last one"
    script.check_epochs(epochs, f"One too many: {cause}" if late else cause)
    script.check_weights(best)
    _check_loss(got, losses[best - 1], script.told)


def test_a_better_epoch_begins_the_count_anew():
    script = _Script([5.0, 6.0, 4.0, 5.0, 3.0, 4.0, 3.5, 1.0])
    got = script.run(2)
    script.check_epochs(7, "Epochs 3 and 5 were better, and the count begins anew there; epochs 6 and 7 were not")
    script.check_weights(5)
    _check_loss(got, 3.0, script.told)


def test_min_delta_is_measured_from_the_best_loss():
    for losses, patience, delta, epochs, best in (
        ([5.0, 4.999, 4.998, 4.997, 1.0], 2, 0.01, 3, 1),
        ([8.0, 7.5, 7.0, 6.5, 6.0, 5.5], 2, 0.75, 6, 5),
        ([8.0, 7.0, 5.5, 4.5, 1.0], 2, 1.0, 5, 5),
        ([0.25, 0.0, -0.5, -1.0, -0.75, -2.0], 2, 0.5, 5, 3),
        ([1000.0, 999.5, 999.25, 900.0], 2, 0.25, 4, 4),
    ):
        script = _Script(losses)
        got = script.run(patience, min_delta=delta)
        script.check_epochs(epochs, f"Better is below best - {delta}, and best is the loss of the best epoch so far")
        script.check_weights(best)
        _check_loss(got, losses[best - 1], script.told)


def test_nan_is_never_better():
    nan = math.nan
    for losses, patience, epochs, best in (
        ([5.0, 3.0, nan, 4.0], 10, 4, 2),
        ([5.0, 3.0, nan, nan, 2.0], 2, 4, 2),
        ([5.0, nan, 4.0, nan, 3.0], 2, 5, 5),
    ):
        script = _Script(losses)
        got = script.run(patience)
        script.check_epochs(epochs, "An epoch with nan counts as one that was not better")
        _check_loss(got, losses[best - 1], f"{script.told}, so nan is not better, whatever it is compared with")
        script.check_weights(best)
