"""The training step: four lines in their order, and a validation loss that is true

A training step is: clear the old gradients (`opt.zero_grad()`), compute the loss, `loss.backward()`, `opt.step()`.
backward *adds* to `.grad`, and step only reads it. So each wrong order fails without an error: clear between backward
and step, and nothing moves, for as many epochs as you like; never clear, and each step repeats all earlier ones; step
before backward, and the weights follow the gradients of the batch before.

A layer such as dropout or batch norm has two modes. `model.train()` and `model.eval()` set them, `model.training` tells
which it is. They stay set: an evaluation that ends in eval mode switches dropout off for the rest of the training,
unless the next step switches it on again. eval() is not about gradients, though: `torch.no_grad()` is. Without it the
graph of each batch is built for nothing, and whoever adds up the losses as tensors keeps all these graphs in memory.
`loss.item()` is the plain number.

A loss function gives the *mean* over its batch. 9 examples in batches of 4, 4 and 1 give three means, and the mean of
these counts the last example four times as much as any other. Multiply by the number of rows, add, divide by all rows.

What is asked here: one step, and the loss over all batches. `loss_fn(prediction, y)` gives the mean over the batch.

About 30 minutes. Before it: accumulate_or_separate, dropout, mse_shapes.
Path: first_day, transformer

https://docs.pytorch.org/docs/stable/optim.html#taking-an-optimization-step
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def train_step(
    model: nn.Module,
    opt: torch.optim.Optimizer,
    loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
) -> float:
    """One step of `opt` on the batch `x`, `y`, with `model` in train mode, whatever its mode was.

    Gradients that were there before have no influence; whether they become None or zeros is yours to choose. Returns
    the loss of this batch before the update, a Python float. `opt` is any optimizer of torch.optim that needs no
    closure; it may hold only some of the model's parameters.
    """
    raise NotImplementedError("the four lines, in their order")


def evaluate(
    model: nn.Module,
    loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    batches: Iterable[Sequence[torch.Tensor]],
) -> float:
    """The mean loss over all examples, a Python float, computed in eval mode and without a graph.

    `batches` gives pairs x, y, of different sizes, at least one: a list, a DataLoader, or a generator. The mode of the
    model (train or eval) is afterwards what it was, and so are its weights, buffers, gradients, and what is frozen.
    """
    raise NotImplementedError("the loss of each batch, weighted by its number of rows")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "does not require grad": "the loss has no graph: backward needs one, so a training step runs with gradients on",
    "second time": "backward ran twice on one graph: one loss, one backward",
    "has no len|not subscriptable": "batches may be a generator: it has no length and no index, and is walked once",
    "local variable|referenced before": "a generator is walked once: a second loop over it sees nothing",
    "division by zero": "batches may be a generator, which is walked once: a second loop over it sees nothing",
}


class _Watched(nn.Module):
    """A model that notes how it is run: the modes of all its parts, and whether a graph was built."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers).double()
        self.modes: list[bool] = []
        self.graphs: list[bool] = []
        self.note_modes, self.note_graph = self.modes.extend, self.graphs.append  # a copy of the model notes here too

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.layers(x)
        self.note_modes([module.training for module in self.modules()])
        self.note_graph(out.requires_grad)
        return out


def _loss_fn(prediction: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A mean in which prediction and target have different parts: y weighs the errors."""
    return ((prediction - y) ** 2 * (1 + y**2)).mean()


def _data(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.linspace(-1, 1, 3 * rows, dtype=torch.float64).view(rows, 3).cos()
    return x, torch.linspace(-2, 1, rows, dtype=torch.float64).view(rows, 1)


def _step(model: nn.Module, opt: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor, loss_fn: Any = None) -> Any:
    __tracebackhide__ = True
    with explain("train_step raised", _SIGNS):
        with unchanged("train_step changed the batch", x=x, y=y):
            loss = train_step(model, opt, loss_fn or _loss_fn, x, y)
    assert torch.is_grad_enabled(), "train_step left gradients switched off: nothing can be trained after it"
    return loss


def _evaluate(model: nn.Module, batches: Any, loss_fn: Any = None) -> float:
    __tracebackhide__ = True
    with explain(f"evaluate raised on a {type(batches).__name__} of batches", _SIGNS):
        loss = evaluate(model, loss_fn or _loss_fn, batches)
    assert torch.is_grad_enabled(), "evaluate left gradients switched off: nothing can be trained after it"
    assert isinstance(loss, float), f"evaluate returns a Python float, got {type(loss).__name__}"
    return loss


def _by_hand(weights: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor, steps: int, keep: bool = False) -> Any:
    """SGD with lr 0.1 and momentum 0.5 on a linear model, without an optimizer; keep: gradients are never cleared."""
    weights = [w.detach().clone() for w in weights]
    sums, buffers = [[torch.zeros_like(w) for w in weights] for _ in range(2)]
    for _ in range(steps):
        error = x @ weights[0].t() + weights[1] - y
        slope = 2 * error * (1 + y**2) / len(x)
        for w, g, total, buffer in zip(weights, [slope.t() @ x, slope.sum(0)], sums, buffers, strict=True):
            total.mul_(keep).add_(g)
            buffer.mul_(0.5).add_(total)
            w.sub_(0.1 * buffer)
    return weights


def test_clear_then_forward_then_backward_then_step():
    x, y = _data(4)
    torch.manual_seed(0)
    model = _Watched(nn.Linear(3, 1))
    start = [p.detach().clone() for p in model.parameters()]
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    for done in (1, 2, 3):
        _step(model, opt, x, y)
        got, want = [p.detach() for p in model.parameters()], _by_hand(start, x, y, done)
        moved = not torch.equal(got[0], start[0])
        assert moved, "the weights are where they were: no step, or no gradients at the step, erased or not yet there"
        late = done > 1 and torch.allclose(got[0], _by_hand(start, x, y, done - 1)[0], rtol=1e-9)
        assert not late, f"after {done} steps the weights are where {done - 1} should lead: is step before backward?"
        summed = done > 1 and torch.allclose(got[0], _by_hand(start, x, y, done, keep=True)[0], rtol=1e-9)
        assert not summed, "each step repeats the gradients of all steps before it: they were never cleared"
        for name, g, w in zip(("weight", "bias"), got, want, strict=True):
            said = f"the {name} after step {done} of SGD with momentum, as by hand"
            check_tensor(g, w, said, rtol=1e-9, atol=1e-12)


def test_gradients_from_before_are_no_part_of_the_step():
    x, y = _data(5)
    torch.manual_seed(1)
    model = _Watched(nn.Linear(3, 1))
    model.unused = nn.Parameter(torch.ones(2, dtype=torch.float64))
    head, want = list(model.layers.parameters()), _by_hand(list(model.layers.parameters()), x, y, 1)
    opt = torch.optim.SGD(head, lr=0.1)
    opt.add_param_group({"params": [model.unused], "lr": 0.3})
    (100 * model(x).sum() + (5 * model.unused).sum()).backward()
    stale = [p.grad.clone() for p in head]
    _step(model, opt, x, y)
    for p, old, expected in zip(head, stale, want, strict=True):
        added = torch.allclose(p.detach(), expected - 0.1 * old, rtol=1e-9)
        assert not added, "a backward from before the step had influence on it: its gradients were not cleared"
        said = "one step of SGD, after another backward whose gradients count for nothing"
        check_tensor(p.detach(), expected, said, rtol=1e-9)
    unmoved = torch.ones(2, dtype=torch.float64)
    check_tensor(model.unused.detach(), unmoved, "a parameter that this loss does not reach moved, by an old gradient")


@pytest.mark.myth(
    says="total += loss counts the loss of an epoch.",
    today="It keeps the graph of every batch alive. Add loss.item(), a Python number.",
)
def test_the_loss_is_a_number_from_before_the_update():
    x, y = _data(6)
    torch.manual_seed(2)
    model = _Watched(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1))
    frozen = [p.detach().clone() for p in model.layers[0].parameters()]
    opt = torch.optim.Adam(model.layers[2].parameters(), lr=0.2)
    for _ in range(2):
        with torch.no_grad():
            before = _loss_fn(model(x), y).item()
        loss = _step(model, opt, x, y)
        with torch.no_grad():
            after = _loss_fn(model(x), y).item()
        assert isinstance(loss, float), f"train_step returns a Python float, got {type(loss).__name__}"
        assert not math.isclose(loss, after, rel_tol=1e-9), f"{loss:.6f} is the loss after the update, not before it"
        total = math.isclose(loss, 6 * before, rel_tol=1e-9)
        assert not total, f"{loss:.6f} is the loss times the number of rows; the loss of this batch is {before:.6f}"
        assert math.isclose(loss, before, rel_tol=1e-9), f"the loss before the update is {before:.6f}, got {loss:.6f}"
    now = list(model.layers[0].parameters())
    assert all(map(torch.equal, now, frozen)), "a layer moved whose parameters this optimizer does not hold"


def test_a_step_is_made_in_train_mode():
    x, y = _data(8)
    for start in (False, True):
        model = _Watched(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1)).train(start)
        norm: Any = model.layers[1]
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            _step(model, opt, x, y)
        was = "train" if start else "eval"
        assert all(model.modes), f"the model came in {was} mode, and the step did not run in train mode"
        moved = bool(norm.running_mean.any())
        assert moved, "the running mean of batch norm did not move: in train mode a batch moves it"
        runs = int(norm.num_batches_tracked)
        assert runs == 2, f"two steps ran the model {runs} times in train mode: batch norm took each run for a batch"


def test_many_steps_find_the_line_and_predict_beyond_it():
    torch.manual_seed(0)
    x = torch.tensor([[1.0], [2.0], [3.0]])
    model = nn.Linear(1, 1)
    opt = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = [_step(model, opt, x, 2 * x + 2, nn.MSELoss()) for _ in range(400)]
    at_ten = model(torch.tensor([[10.0]])).item()
    assert abs(at_ten - 22) < 0.1, f"2x + 2 at 10 is 22, after 400 steps your model says {at_ten:.2f}"
    assert losses[-1] < 1e-3 < losses[0], f"the loss should fall to nearly 0, it went from {losses[0]} to {losses[-1]}"


@pytest.mark.myth(
    says="The validation loss is the mean of the losses of its batches.",
    today="Only if all batches have one size. Weigh each by its number of rows.",
)
def test_an_uneven_last_batch_counts_by_its_rows():
    x, y = _data(9)
    torch.manual_seed(3)
    model = _Watched(nn.Linear(3, 1))
    with torch.no_grad():
        want = _loss_fn(model(x), y).item()
        means = [_loss_fn(model(a), b).item() for a, b in zip(x.split(4), y.split(4), strict=True)]
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4)
    pairs = list(zip(x.split(4), y.split(4), strict=True))
    for batches in (pairs, loader, ((a, b) for a, b in pairs), pairs[2:] + pairs[:2], pairs):
        loss = _evaluate(model, batches)
        for sentence, value in {
            "that is the mean of the three batch means: the single last row counts as much as four": sum(means) / 3,
            "that is the sum of the batch means": sum(means),
            "that is the sum of the batch means divided by 9: multiply each by its rows first": sum(means) / 9,
            "that is the sum over the rows, not their mean": 9 * want,
            "that is the loss of the last batch": means[-1],
            "that is the loss of the first batch": means[0],
        }.items():
            assert not math.isclose(loss, value, rel_tol=1e-7), f"got {loss:.6f}: {sentence}"
        kind = type(batches).__name__
        right = math.isclose(loss, want, rel_tol=1e-9)
        assert right, f"the loss of all 9 rows at once is {want:.6f}, got {loss:.6f} from a {kind} of batches"
    model, x = nn.Linear(3, 5), torch.eye(3)[[0, 1, 2, 0, 1]]
    y = torch.tensor([4, 0, 1, 3, 3])
    want = nn.functional.cross_entropy(model(x), y).item()
    loss = _evaluate(model, [(x[:2], y[:2]), (x[2:], y[2:])], nn.CrossEntropyLoss())
    assert math.isclose(loss, want, rel_tol=1e-5), f"cross-entropy over batches of 2 and 3: {want:.6f}, got {loss:.6f}"


@pytest.mark.myth(
    says="model.eval() switches the gradients off.",
    today="It switches dropout and batch norm over. Gradients are switched off by torch.no_grad().",
)
def test_an_evaluation_leaves_no_trace():
    x, y = _data(9)
    torch.manual_seed(4)
    model = _Watched(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 1))
    _loss_fn(model(x), y).backward()
    model.layers[0].weight.requires_grad_(False)
    batches, bias = list(zip(x.split(5), y.split(5), strict=True)), model.layers[3].bias
    for mode in (True, False):
        with torch.no_grad():
            bias.add_(1)
            want = _loss_fn(model.eval()(x), y).item()
        model.train(mode)
        model.modes.clear()
        model.graphs.clear()
        was = "train" if mode else "eval"
        losses = []
        for _ in range(2):
            with unchanged(f"the model came in {was} mode, and evaluating should leave no trace in it", model=model):
                losses.append(_evaluate(model, batches))
                assert not any(model.modes), f"the model came in {was} mode, and was not evaluated in eval mode"
                assert not any(model.graphs), "a graph was built for nothing: eval() does not switch gradients off"
        assert losses[0] == losses[1], f"two evaluations of one model give {losses}: something in it is still random"
        assert math.isclose(losses[0], want, rel_tol=1e-9), f"the loss in eval mode is {want:.6f}, got {losses[0]:.6f}"
