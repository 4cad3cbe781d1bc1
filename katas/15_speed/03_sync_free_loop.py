"""Read once, at the end

A GPU works behind Python's back, and a value that Python asks for makes it wait until all work in the queue is done.
So `total += loss.item()` in a loop is a wait for each batch, and `right += (pred == y).sum().item()` a second one: the
numbers are right, and the GPU stands still between the batches. Nobody sees the wait in the code. `float(t)`, `if t:`,
`print(t)`, f"{t:.3f}" in a progress line, `tolist()`, `cpu()`, `to("cpu")` wait too, and so does `y[pred == y]`, whose
shape depends on values. Here there may be no GPU, but what can be counted on a CPU is how often a value is asked for.

In the end somebody wants the numbers. That is no problem: add up tensors on the device, without a graph (under
`torch.no_grad()`), and read all of them once, after the last batch. One tensor with three totals is one read:
`a, b, c = totals.tolist()`. A tensor in the list of `torch.tensor([a, b])` is read as well; `torch.stack` joins tensors
where they are, and `totals[0] += t` adds in place.

A last batch may be short, so add up sums, and divide once: `cross_entropy(logits, y, reduction="sum")` of
torch.nn.functional is the sum over the rows, and `logits.argmax(1) == y` says which rows are right. How many rows a
batch has is in its shape, which Python knows without asking.

What is asked here: the totals of a validation loop as a tensor that nobody reads, and its two numbers.

About 20 minutes. Before it: no_hidden_sync, training_step, cross_entropy_by_hand.

https://docs.pytorch.org/docs/stable/notes/cuda.html#asynchronous-execution
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import CountReads, OneDevicePerOp, explain, unchanged


def running_totals(model: nn.Module, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Three totals over all rows of `batches`, (3,), floats: cross-entropy losses, rows that are right, rows.

    Each batch is a pair of `x` (B, F) and labels `y` (B,), int64, on the device of the model; B may differ, and there
    is at least one batch. `model(x)` are logits (B, C). A row is right if its highest logit is that of its label.

    The totals are on the device of the model and have no graph; nothing is kept for a backward. No value is read. The
    batches stay as they are. The model runs in the mode in which it comes, train or eval, and stays as it is; so does
    torch.is_grad_enabled().
    """
    raise NotImplementedError("add up losses, hits and rows on the device")


def metrics(model: nn.Module, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[float, float]:
    """The mean loss of a row, and the share of rows that are right, from 0 to 1: two floats, for `batches` as above.

    However many batches there are, values are read twice at most; one tolist() is one read. The floats are Python's.
    """
    raise NotImplementedError("read the totals once, and divide")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


class _Net(nn.Module):
    """Logits are the features, and their negatives in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = x * self.scale
        return -logits if self.training else logits


_ROWS = [
    *([2.0, 0.5, -1.0], [0.0, 3.0, 1.0], [1.0, 0.0, 2.5], [0.5, 1.5, 0.0], [-1.0, 0.0, 4.0], [2.0, 1.0, 0.0]),
    *([0.0, -2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 0.0], [-3.0, 0.0, -1.0], [0.0, 1.0, 9.0], [0.5, 0.0, -7.0]),
]
_LABELS = [0, 1, 2, 1, 0, 1, 2, 0, 2, 1, 0, 2]


def _batches(sizes: Sequence[int], device: str = "cpu") -> list[tuple[torch.Tensor, torch.Tensor]]:
    n = sum(sizes)
    x, y = torch.tensor(_ROWS[:n], device=device), torch.tensor(_LABELS[:n], device=device)
    return list(zip(x.split(list(sizes)), y.split(list(sizes)), strict=True))


def _by_hand(n: int, sign: float = 1.0) -> tuple[float, int, int]:
    """The totals of the first n rows, in Python's own numbers."""
    loss, right = 0.0, 0
    for row, label in zip(_ROWS[:n], _LABELS[:n], strict=True):
        logits = [sign * v for v in row]
        loss += math.log(sum(math.exp(v) for v in logits)) - logits[label]
        right += logits[label] == max(logits)
    return loss, right, n


_SIGNS = {
    "requires grad. Use tensor.detach|tensor that requires grad": "a value with a graph was asked for: the totals have "
    "no graph, add up under no_grad",
    "(?i)nonzero.*meta|data-dependent": "the shape of what you select depends on values: on a GPU Python would wait "
    "for it. Count with a sum",
    "same device|not on the expected device": "a tensor on the CPU was mixed with those on the device of the model",
}
_META_SIGNS = _SIGNS | {
    "(?i)meta": "your code asks for a value here: on a GPU, Python would wait until the queue is done"
}


def _checked_totals(got: Any) -> list[float]:
    __tracebackhide__ = True
    assert isinstance(got, torch.Tensor), f"running_totals returns a tensor, not {type(got).__name__}"
    assert got.shape == (3,), f"running_totals returns three totals, (3,); got shape {tuple(got.shape)}"
    assert got.is_floating_point(), f"the totals are floats, the loss has a fraction; got {got.dtype}"
    return got.tolist()


def _checked_metrics(got: Any) -> list[float]:
    __tracebackhide__ = True
    pair = isinstance(got, tuple | list) and len(got) == 2
    assert pair, f"metrics returns a pair, mean loss and accuracy; got {type(got).__name__}"
    kinds = [type(v).__name__ for v in got]
    assert all(isinstance(v, float) for v in got), f"metrics returns two Python floats, yours are {' and '.join(kinds)}"
    return list(got)


@pytest.mark.parametrize(
    "sizes", [(3, 3, 3, 2, 1), (1,), (4, 4, 4)], ids=["a short last batch", "one row", "all of one size"]
)
def test_totals_are_sums_over_rows_and_are_divided_once(sizes):
    n = sum(sizes)
    for mode, sign in (("eval", 1.0), ("train", -1.0)):
        model, batches = _Net().train(mode == "train"), _batches(sizes)
        loss, right, _ = _by_hand(n, sign)
        given = {"model": model, "batches": batches}
        told = f"batches of {', '.join(map(str, sizes))} rows, and a model in {mode} mode"
        with explain("running_totals raised", _SIGNS), unchanged("running_totals changed what it got", **given):
            got = _checked_totals(running_totals(model, batches))
        other = _by_hand(n, -sign)
        in_other = got == pytest.approx(other, abs=1e-4)
        assert not in_other, f"{told}: these are the totals of the other mode; the mode is the caller's"
        assert got[2] == n, f"{told}: {n} rows, and you counted {got[2]:g}"
        assert got[1] == right, f"{told}: {right} rows are right, and you counted {got[1]:g}"
        close = got[0] == pytest.approx(loss, abs=1e-5 * n)
        assert close, f"{told}: the losses add up to {loss:.5f}, not {got[0]:.5f}"
        with explain("metrics raised", _SIGNS), unchanged("metrics changed what it got", **given):
            mean, accuracy = _checked_metrics(metrics(model, batches))
        close = mean == pytest.approx(loss / n, abs=1e-5)
        assert close, f"{told}: the mean loss of a row is {loss / n:.5f}, not {mean:.5f}"
        close = accuracy == pytest.approx(right / n, abs=1e-6)
        assert close, f"{told}: {right} of {n} are right, not a share of {accuracy:.5f}"
        assert torch.is_grad_enabled(), "gradients are switched off afterwards"
        with torch.no_grad():
            metrics(model, batches), running_totals(model, batches)
            assert not torch.is_grad_enabled(), "the caller has switched gradients off, and they are on afterwards"


def _waits(function: Callable[..., Any], model: nn.Module, batches: Any) -> tuple[int, str, int, Any]:
    """How often it would wait for a GPU (and in words), how often it copies to the CPU, and what it returns."""
    __tracebackhide__ = True
    with CountReads(t for batch in batches for t in batch) as reads, explain("the call raised", _SIGNS):
        got = function(model, batches)
    shapes = f" (of these {reads.shapes} for a shape that depends on values)" if reads.shapes else ""
    return reads.count, f"{reads.count} reads for 5 batches{shapes}", reads.copies, got


@pytest.mark.myth(
    says="running_loss += loss.item(): this is how a loop adds up its loss.",
    today="The number is right, and on a GPU Python waits for it at each batch. Add up tensors, and read them once.",
)
def test_the_numbers_are_read_after_the_loop():
    model, batches = _Net().eval(), _batches((3, 3, 3, 2, 1))
    waits, told, _, got = _waits(running_totals, model, batches)
    _checked_totals(got)
    assert waits == 0, f"running_totals: {told}. Add up on the device; it reads no value at all"
    waits, told, copies, got = _waits(metrics, model, batches)
    _checked_metrics(got)
    limit = 5 if 1 <= copies <= 2 else 2  # what was copied to the CPU once can be read without another wait
    assert waits <= limit, f"metrics: {told}. Add up on the device, and read once after the loop"


@pytest.mark.parametrize("function", ["running_totals", "metrics"], ids=["the totals", "the metrics"])
def test_nothing_is_kept_for_a_backward_that_never_comes(function):
    model, batches, kept = _Net().eval(), _batches((3, 3, 2)), []

    def keep(t: torch.Tensor) -> torch.Tensor:
        kept.append(t)
        return t

    call = running_totals if function == "running_totals" else metrics
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), explain(f"{function} raised", _SIGNS):
        got = call(model, batches)
    assert not kept, f"autograd kept {len(kept)} tensors of 3 batches: nobody calls backward, run without gradients"
    graph = isinstance(got, torch.Tensor) and got.requires_grad
    assert not graph, "the totals have a graph"


def test_a_loop_without_reads_runs_on_tensors_without_values():
    model, batches = _Net().to("meta").eval(), _batches((3, 3, 2), "meta")
    with explain("running_totals raised on meta tensors, which have no values to read", _META_SIGNS), OneDevicePerOp():
        got = running_totals(model, batches)
    assert isinstance(got, torch.Tensor), f"running_totals returns a tensor, not {type(got).__name__}"
    assert got.shape == (3,), f"running_totals returns three totals, (3,); got shape {tuple(got.shape)}"
    assert got.device.type == "meta", f"the totals belong on the device of the model, meta; they are on {got.device}"
