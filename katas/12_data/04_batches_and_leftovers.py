"""How many steps, and what is the epoch's loss?

`len(loader)` is the number of batches, thus of training steps in an epoch. Rarely does batch_size divide the number of
samples: 10 samples in batches of 4 make 4, 4 and 2, three steps. With `drop_last=True` the short batch is left out: two
steps, and two samples unseen. If there are fewer samples than a batch holds, nothing is left: the loop runs zero times,
nothing trains, and nothing says so.

The short batch also spoils the loss that you print. `nn.MSELoss()` gives the mean over a batch. The mean of these means
is not the mean over the samples: in a batch of 2 each sample counts twice as much as in a batch of 4. So multiply each
batch's loss by the number of its samples, `len(x)`, add up, and divide by the number of samples seen. That isn't always
`len(loader.dataset)`: drop_last, or a sampler, may have left some out.

What you add up must be numbers. A loss is a tensor with a graph behind it: in a sum of such tensors the graph of every
batch stays in memory until the sum goes. `loss.item()` is a Python float, without graph.

What is asked here: the number of steps, and the mean loss over an epoch.

About 20 minutes. Before it: dataset_map_style, stop_gradient.
Path: first_day

https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.DataLoader
"""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dojo import under_test
from dojo.kit import explain, unchanged


def steps_per_epoch(n: int, batch_size: int, drop_last: bool) -> int:
    """The number of batches, an int, that a DataLoader makes of `n` samples; `n` and `batch_size` are 1 or more."""
    raise NotImplementedError("count the batches")


def epoch_loss(model: nn.Module, loader: DataLoader, loss_fn: Callable) -> float:
    """The mean loss over all samples that `loader` yields in one pass, in batches (x, y), as a Python float.

    `loss_fn(model(x), y)` is the mean over the samples of a batch, as `nn.MSELoss()` makes it. It may be any such
    function, and x, y and the output may be of any shape. Batches may be of any sizes, and there is at least one. No
    graph is kept: when the third batch is computed, that of the first one is gone.

    Nothing is trained: parameters and their gradients stay as they are. Whether the modules are in train or in eval
    mode is the caller's business: leave it as it is, before the model is called and after. Where gradients are recorded
    before the call, they are after it.
    """
    raise NotImplementedError("weight the loss of each batch by its samples")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


@pytest.mark.parametrize("drop_last", [False, True], ids=["short batch kept", "drop last"])
def test_the_last_batch_may_be_short_or_dropped(drop_last):
    wants = {
        (10, 4): (3, 2),
        (8, 4): (2, 2),
        (3, 4): (1, 0),
        (4, 4): (1, 1),
        (5, 4): (2, 1),
        (11, 4): (3, 2),
        (7, 1): (7, 7),
        (1, 1): (1, 1),
        (60_000, 64): (938, 937),
    }
    for (n, batch_size), counts in wants.items():
        want = counts[drop_last]
        real = len(DataLoader(range(n), batch_size=batch_size, drop_last=drop_last))  # type: ignore[arg-type]
        told = f"{n} samples, batch_size={batch_size}, drop_last={drop_last}"
        assert real == want, f"{told}: a loader makes {want} batches, here {real}"
        with explain(f"steps_per_epoch({n}, {batch_size}, {drop_last}) raised"):
            got = steps_per_epoch(n, batch_size, drop_last)
        assert type(got) is int, f"{told}: the number of batches is an int, got {got!r} ({type(got).__name__})"
        assert got == want, f"{told}: expected {want} batches, got {got}"


def _epoch_loss(model: nn.Module, loader: Any, loss_fn: Any, what: str) -> float:
    __tracebackhide__ = True
    signs = {
        "only one element tensors can be converted|a Tensor with \\d+ elements cannot": "a loss of one batch is one "
        "number; here a tensor with several was to become one",
        "modified by an inplace operation|leaf Variable that requires grad": "a tensor in a graph was edited in place",
    }
    with explain(f"epoch_loss raised, for {what}", signs):
        got = epoch_loss(model, loader, loss_fn)
    assert got is not None, "epoch_loss returned None: is a `return` missing?"
    return got


def _number(got: Any, what: str) -> float:
    """The value of a result, where its type is not what the test is about."""
    __tracebackhide__ = True
    with explain(f"the loss over {what} is one number, got {got!r}"):
        return float(got)


def _squares(*values: float, **how: Any) -> DataLoader:
    """A loader whose model may be the identity: x are these values, and y are zeros."""
    x = torch.tensor(values, dtype=torch.float32).unsqueeze(1)
    return DataLoader(TensorDataset(x, torch.zeros_like(x)), **how)


@pytest.mark.myth(
    says="The loss of an epoch is the mean of its batches' losses: running_loss / len(loader).",
    today="Only where all batches are of one size: a short last batch counts too much, 35.83 where the mean is 28.5.",
)
def test_a_short_batch_counts_by_its_samples():
    for _ in ("first pass", "second pass"):
        what = "0 to 9 squared, in batches of 4, 4 and 2"
        got = _number(_epoch_loss(nn.Identity(), _squares(*range(10), batch_size=4), nn.MSELoss(), what), what)
        assert got != pytest.approx(215 / 6, rel=1e-4), (
            f"{what}: got {got:.2f}, expected 28.5; 35.83 is the mean of batch means: the batch of 2 counted as much "
            "as a batch of 4"
        )
        assert got == pytest.approx(28.5, rel=1e-5), f"{what}: their mean is 28.5, got {got}"
    uneven = _squares(*range(10), batch_sampler=[[9], [0, 1, 2, 3, 4], [5, 6], [7, 8]])
    what = "0 to 9 squared, in batches of 1, 5, 2 and 2"
    got = _number(_epoch_loss(nn.Identity(), uneven, nn.MSELoss(), what), what)
    assert got == pytest.approx(28.5, rel=1e-5), f"{what}: their mean is 28.5, got {got}"
    for batch_size in (4, 8, 1, 100):
        what = f"0 to 7 squared, with batch_size={batch_size}"
        got = _number(_epoch_loss(nn.Identity(), _squares(*range(8), batch_size=batch_size), nn.MSELoss(), what), what)
        assert got == pytest.approx(17.5, rel=1e-5), f"{what}: their mean is 17.5, got {got}"


def test_dropped_samples_are_not_counted():
    what = "0 to 9 squared, in batches of 4 with drop_last"
    got = _number(
        _epoch_loss(nn.Identity(), _squares(*range(10), batch_size=4, drop_last=True), nn.MSELoss(), what), what
    )
    assert got != pytest.approx(14.0, rel=1e-4), (
        f"{what}: got {got:g}, expected 17.5; the sum was divided by all 10 samples, and drop_last left 2 of them out: "
        "divide by what was seen"
    )
    assert got != pytest.approx(28.5, rel=1e-4), (
        f"{what}: got {got:g}, the mean of all ten; drop_last left 8 and 9 out, their mean without them is 17.5"
    )
    assert got == pytest.approx(17.5, rel=1e-5), f"{what}: the mean of the 8 that were seen is 17.5, got {got:g}"
    what = "0 to 9 squared, of which a sampler draws 3, 1 and 3 again"
    loader = _squares(*range(10), batch_size=2, sampler=[3, 1, 3])
    got = _number(_epoch_loss(nn.Identity(), loader, nn.MSELoss(), what), what)
    assert got == pytest.approx(19 / 3, rel=1e-5), f"{what}: the mean of 9, 1 and 9 is 6.3333, got {got:g}"


class _Token:
    """Lives as long as a graph in which it stands."""


class _Times(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor, alive: Any) -> torch.Tensor:
        ctx.save_for_backward(x, w)
        ctx.token = _Token()
        alive.add(ctx.token)
        return x * w

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        x, w = ctx.saved_tensors
        return grad * w, (grad * x).sum(), None


class _Weight(nn.Module):
    """x times one weight; counts, at each call, the graphs of earlier calls that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.graphs: Any = weakref.WeakSet()
        self.most = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.most = max(self.most, len(self.graphs))
        return _Times.apply(x, self.weight, self.graphs)


def test_a_loss_to_print_is_a_float_without_a_graph():
    what = "a model with a weight of 2, and 0 to 9 in batches of 4, 4 and 2"
    got = _epoch_loss(_Weight(), _squares(*range(10), batch_size=4), nn.MSELoss(), what)
    graph = isinstance(got, torch.Tensor) and got.requires_grad
    assert not graph, f"got {got!r}: tensors were added up, and every batch's graph stays alive until the sum goes"
    assert isinstance(got, float), f"a loss to print is a Python float, got {got!r} ({type(got).__name__})"
    assert got == pytest.approx(114.0, rel=1e-5), f"{what}: the mean of the squares is 114, got {got}"
    model = _Weight()
    loader, mse = _squares(*range(10), batch_size=4), nn.MSELoss()
    second = "a model whose weight was 2, and is 3 at the second call"
    _epoch_loss(model, loader, mse, what)
    model.weight.data.fill_(3.0)
    got = _number(_epoch_loss(model, loader, mse, second), second)
    assert got == pytest.approx(256.5, rel=1e-5), f"{second}: the mean of the squares is 256.5, got {got}"
    model = _Weight()
    _epoch_loss(model, _squares(*range(20), batch_size=2), nn.MSELoss(), "a model with a weight, and ten batches")
    assert model.most <= 2, (
        f"{model.most} graphs of earlier batches were alive at once, in ten batches: a tensor with a graph was kept of "
        "each, in a sum or a list; take each loss as a number, or compute without gradients"
    )


def _twice_the_target(pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """No module, and not the same if its arguments are swapped."""
    return (pred - 2 * y).square().mean()


def test_any_loss_gets_the_prediction_first_and_then_the_target():
    x, y = torch.tensor([[1.0, 2.0], [3.0, 5.0], [-4.0, 0.5]]), torch.tensor([[0.0, 1.0], [2.0, 2.0], [7.0, -1.0]])
    loader = DataLoader(TensorDataset(x, y), batch_size=2)
    what = "a function as loss, and rows of two numbers in batches of 2 and 1"
    by_hand = ((x - 2 * y) ** 2).mean().item()
    want = (1 + 0 + 1 + 1 + 324 + 6.25) / 6
    assert by_hand == pytest.approx(want), f"the mean by hand is {want}, and by torch {by_hand}"
    got = _number(_epoch_loss(nn.Identity(), loader, _twice_the_target, what), what)
    swapped = ((y - 2 * x) ** 2).mean().item()
    assert got != pytest.approx(swapped, rel=1e-4), (
        f"{what}: got {got:g}: that is loss_fn(y, pred), the wrong way round"
    )
    assert got == pytest.approx(want, rel=1e-5), f"{what}: expected {want:.4f}, got {got:.4f}"
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.5], [1.0, 1.0, 4.0], [0.2, 0.1, 0.0], [5.0, -5.0, 0.0]])
    classes = torch.tensor([0, 2, 2, 1, 1])
    loader, loss_fn = DataLoader(TensorDataset(logits, classes), batch_size=3), nn.CrossEntropyLoss()
    what = "CrossEntropyLoss, with five labels in batches of 3 and 2"
    want = nn.functional.cross_entropy(logits, classes).item()
    assert want == pytest.approx(2.8470, abs=1e-3), f"the mean cross entropy is 2.8470, here {want}"
    got = _number(_epoch_loss(nn.Identity(), loader, loss_fn, what), what)
    assert got == pytest.approx(want, rel=1e-5), f"{what}: expected {want:.4f}, got {got:.4f}"
    assert loss_fn.reduction == "mean", f"the loss is the caller's: its reduction is {loss_fn.reduction!r} now"


def test_a_loss_gets_outputs_and_targets_in_their_own_shape():
    x, y = torch.tensor([[1.0], [3.0], [-4.0], [0.5], [2.0]]), torch.tensor([[0.0], [5.0], [1.0], [-2.0], [2.0]])
    loader = DataLoader(TensorDataset(x, y), batch_size=3)
    what = "MSELoss, with x and y of shape (5, 1), in batches of 3 and 2"
    want, by_hand = (1 + 4 + 25 + 6.25 + 0) / 5, (x - y).square().mean().item()
    assert by_hand == pytest.approx(want), f"the mean by hand is {want}, and by torch {by_hand}"
    got = _number(_epoch_loss(nn.Identity(), loader, nn.MSELoss(), what), what)
    each_with_each = sum((a[:, 0] - b).square().mean().item() * len(a) for a, b in loader) / 5
    assert got != pytest.approx(each_with_each, rel=1e-4), (
        f"{what}: got {got:g}, expected {want:g}: each output was compared with each target; (B,) against (B, 1) "
        "becomes (B, B), so leave the shapes as they are"
    )
    assert got == pytest.approx(want, rel=1e-5), f"{what}: expected {want:g}, got {got:g}"
    x, y = (
        torch.tensor([[[1.0, 2.0]], [[3.0, 5.0]], [[-4.0, 0.5]]]),
        torch.tensor([[[0.0, 1.0]], [[2.0, 2.0]], [[7.0, -1.0]]]),
    )
    what = "MSELoss, with x and y of shape (3, 1, 2), in batches of 2 and 1"
    want = (1 + 1 + 1 + 9 + 121 + 2.25) / 6
    got = _number(_epoch_loss(nn.Identity(), DataLoader(TensorDataset(x, y), batch_size=2), nn.MSELoss(), what), what)
    assert got == pytest.approx(want, rel=1e-5), f"{what}: expected {want:.4f}, got {got:.4f}"


class _NotesItsMode(nn.Module):
    def __init__(self, modes: list[bool]) -> None:
        super().__init__()
        self.modes = modes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        return x


@pytest.mark.parametrize("modes", [(True, True), (False, False), (True, False)], ids=["train", "eval", "frozen part"])
def test_model_and_mode_are_the_callers(modes):
    seen: tuple[list[bool], list[bool]] = ([], [])
    first, second = (_NotesItsMode(notes) for notes in seen)
    linear = nn.Linear(1, 1)
    model = nn.Sequential(first, linear, second).train(modes[0])
    second.train(modes[1])
    linear.weight.grad, grad_mode = torch.full((1, 1), 3.0), torch.is_grad_enabled()
    linear.bias.requires_grad_(False)
    with unchanged("epoch_loss only measures: the model is the caller's", model=model):
        _epoch_loss(model, _squares(*range(6), batch_size=4), nn.MSELoss(), "a model with a linear layer")
    for notes, mode in zip(seen, modes, strict=True):
        assert notes, "the model that was given was never called"
        assert set(notes) == {mode}, (
            f"a module in {'train' if mode else 'eval'} mode was called in the other one: the caller sets the mode"
        )
    after = torch.is_grad_enabled()
    torch.set_grad_enabled(grad_mode)
    assert after == grad_mode, f"gradients were {'on' if grad_mode else 'off'} at the call, and are not after it"
