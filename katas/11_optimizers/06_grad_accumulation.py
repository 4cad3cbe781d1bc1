"""Small batches with the gradient of a large one

A batch of 64 does not fit into memory, four of 16 do. `backward` *adds* to `.grad`, so run forward and backward for one
micro-batch after the other, and make one step at the end. What must come out is the gradient of the large batch.

A mean is not the sum of means. With loss.backward() alone the gradient is four times too large. Dividing each loss by
the number of micro-batches repairs that only where all are of one size: in 4 + 4 + 2 samples, the last two would weigh
double. A mean over n samples belongs into the mean over all N with the weight n / N.

For texts the unit is the token. Sequences are padded, and a target of -100 says: this place does not count;
`cross_entropy` leaves it out and divides by the number of the others. So each micro-batch is a mean over *its* real
tokens, and has to weigh as many as those. Training libraries got this wrong for years (the loss came out a little
different, nobody saw it). And a micro-batch of nothing but padding has the mean 0 / 0, nan, and nan * 0 is nan:
`cross_entropy(..., reduction="sum")` adds up without dividing. (It takes the classes in dim 1: flatten the places.)

The memory is saved only if each graph is gone before the next is made. Adding up losses and calling backward at the end
keeps all graphs. (Layers that mix samples, such as BatchNorm, see the micro-batch: there it can't be the same.)

What is asked here: the gradient and the loss of the whole batch, by samples, and by tokens. No optimizer.

About 30 minutes. Before it: accumulate_or_separate, training_step.

https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cross_entropy.html
"""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def accumulate(
    model: nn.Module, loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], micro_batches: Batches
) -> float:
    """Leave in each `.grad` of the model the gradient of the mean loss over all samples, and return that loss.

    `micro_batches` holds pairs (x, y) of any sizes; `loss_fn(model(x), y)` is the mean over the samples of one of them.
    Gradients from before count for nothing. The weights and the micro-batches stay as they are; the model comes in
    train mode, and stays in it. There is never more than the graph of one micro-batch.
    """
    raise NotImplementedError("add up the gradients of the micro-batches, each with its weight")


def accumulate_tokens(model: nn.Module, micro_batches: Batches) -> float:
    """The same for a language model: the mean cross entropy over all real tokens, its gradient in each `.grad`.

    `model(x)` is (B, T, C), scores of C classes for each place; y is (B, T) int64, where -100 is padding. B and T
    differ, and there may be nothing but padding in a micro-batch, but not in all of them. All else is as above.
    """
    raise NotImplementedError("add up the gradients of the micro-batches, by real tokens")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _regression(sizes: list[int]) -> tuple[nn.Module, Batches]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    return model, [(torch.randn(n, 3).double(), torch.randn(n, 2).double() * (i + 1)) for i, n in enumerate(sizes)]


def _texts(lengths: list[list[int]], width: int = 6) -> tuple[nn.Module, Batches]:
    """A model of 4 classes, and a micro-batch for each list, with as many real tokens in each row as it says."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 4)).double()
    batches = []
    for rows in lengths:
        x, y = (torch.randint(4, (len(rows), width)) for _ in "xy")
        for row, n in enumerate(rows):
            y[row, n:] = -100
        batches.append((x, y))
    return model, batches


def _tokens_of(model: nn.Module, batches: Batches) -> torch.Tensor:
    pairs = [(model(x).flatten(0, 1), y.flatten()) for x, y in batches]
    return nn.functional.cross_entropy(torch.cat([s for s, _ in pairs]), torch.cat([y for _, y in pairs]))


def _gradient(model: nn.Module, loss: torch.Tensor) -> torch.Tensor:
    """The gradient of a loss for all weights of a model, as one vector; no .grad is touched."""
    grads = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([g.flatten() for g in grads])


def _in_grad(model: nn.Module) -> torch.Tensor:
    """What is in .grad, as one vector, where None counts as zeros."""
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return torch.cat([g.flatten() for g in grads])


def _run(function: Any, model: nn.Module, *arguments: Any) -> float:
    """The loss that `function` returns, a float; it may not move a weight."""
    __tracebackhide__ = True
    weights = [p.detach().clone() for p in model.parameters()]
    signs = {
        "second time": "backward was called twice on one graph",
        "Expected target size": "cross_entropy takes the classes in dim 1: flatten the places, (B, T, C) to (B * T, C)",
        "does not require grad": "there is no graph to go backward through: the loss was cut from the model",
    }
    with (
        explain(f"{getattr(function, '__name__', 'the function')} raised", signs),
        unchanged("the micro-batches are only to be read", batches=arguments[-1]),
    ):
        loss = function(model, *arguments)
    assert isinstance(loss, float), f"expected the loss as a float, got {type(loss).__name__}"
    assert torch.is_grad_enabled(), "gradients were left switched off: nothing can be trained after this"
    for p, before in zip(model.parameters(), weights, strict=True):
        check_tensor(p.detach(), before, "a weight was changed: the step is somebody else's")
        assert p.requires_grad, "a weight was frozen: nothing can be trained after this"
        assert p.grad is None or p.grad.isfinite().all(), f"there is nan or inf in a gradient: {p.grad.tolist()}"
    assert all(module.training for module in model.modules()), "the model came in train mode, and was left in eval mode"
    return loss


def _compare(got: Any, parts: list[Any], want: Any, what: str, said: str) -> None:
    """Is `got` what the whole batch gives? If not, it may be made of the means of the micro-batches, `parts`."""
    __tracebackhide__ = True
    n, several = len(parts), "gradients" if what == "gradient" else "values of the loss"
    known = {
        f"the {what} of the last micro-batch alone": parts[-1],
        f"the {what} of the first micro-batch alone": parts[0],
        f"the sum of the {n} {several}, each of which belongs to a mean: they need weights": sum(parts),
        f"the mean of the {n} {several}, as if all micro-batches counted the same": sum(parts) / n,
    }
    got, want = torch.as_tensor(got, dtype=torch.float64), torch.as_tensor(want)
    for mistake, wrong in known.items():
        wrong = torch.as_tensor(wrong, dtype=torch.float64)
        made = torch.allclose(got, wrong, rtol=1e-7, atol=1e-12) and not torch.allclose(wrong, want, rtol=1e-6)
        assert not made, f"that is {mistake}"
    check_tensor(got, want, said, rtol=1e-9, atol=1e-12)


def _check_samples(model: nn.Module, batches: Batches, loss_fn: Any, said: str) -> None:
    __tracebackhide__ = True
    whole = loss_fn(model(torch.cat([x for x, _ in batches])), torch.cat([y for _, y in batches]))
    losses = [loss_fn(model(x), y) for x, y in batches]
    want, parts = _gradient(model, whole), [_gradient(model, loss) for loss in losses]
    returned = _run(accumulate, model, loss_fn, batches)
    _compare(_in_grad(model), parts, want, "gradient", f"{said}: .grad is the gradient of the mean over all samples")
    _compare(returned, [x.item() for x in losses], whole.detach(), "loss", f"{said}: the mean loss over all samples")


def test_backward_adds_up_sums_not_means():
    for sizes in ([5, 5], [3, 3, 3], [6]):
        _check_samples(*_regression(sizes), nn.MSELoss(), f"micro-batches of {sizes}")


@pytest.mark.myth(
    says="Divide each loss by the number of micro-batches, and accumulated gradients are those of the large batch.",
    today="Only where all micro-batches hold as many samples, or real tokens; a mean over n of N weighs n / N.",
)
def test_a_smaller_micro_batch_weighs_less():
    for sizes in ([4, 4, 2], [1, 7, 3]):
        _check_samples(*_regression(sizes), nn.MSELoss(), f"micro-batches of {sizes}")
    model, batches = _regression([2, 5, 3])
    batches = [(x, y.argmax(1)) for x, y in batches]
    _check_samples(model, batches, nn.functional.cross_entropy, "classes, in micro-batches of [2, 5, 3]")


def _check_tokens(model: nn.Module, batches: Batches, said: str) -> None:
    __tracebackhide__ = True
    whole, real = _tokens_of(model, batches), [(x, y) for x, y in batches if (y != -100).any()]
    losses = [_tokens_of(model, [batch]) for batch in real]
    want, parts = _gradient(model, whole), [_gradient(model, loss) for loss in losses]
    by_rows = sum(g * len(x) for g, (x, _) in zip(parts, real, strict=True)) / sum(len(x) for x, _ in batches)
    returned = _run(accumulate_tokens, model, batches)
    weighed = torch.allclose(_in_grad(model), by_rows, rtol=1e-7) and not torch.allclose(by_rows, want, rtol=1e-6)
    assert not weighed, f"{said}: each micro-batch was weighed by its rows, or places; padding does not count"
    _compare(_in_grad(model), parts, want, "gradient", f"{said}: .grad is the gradient of the mean over real tokens")
    assert returned == returned, f"{said}: the loss is nan; a mean over no tokens is nan, and nan * 0 is nan"
    _compare(returned, [x.item() for x in losses], whole.detach(), "loss", f"{said}: the mean over all real tokens")


def test_a_token_of_padding_weighs_nothing():
    _check_tokens(*_texts([[6, 5, 6], [1, 2]]), "17 and 3 real tokens")
    _check_tokens(*_texts([[4, 2, 1], [3, 4]], width=4), "7 and 7 real tokens in rows of 4, as many as classes")
    _check_tokens(*_texts([[4, 2, 1], [1, 3], [4]], width=4), "7, 4 and 4 real tokens in rows of 4")
    model, (first, second) = _texts([[5, 6], [2, 4]])
    second = (second[0][:, :4].contiguous(), second[1][:, :4].contiguous())
    _check_tokens(model, [first, second], "rows of 6 and of 4")
    model, batches = _texts([[4, 2], [6, 1, 3]])
    _check_tokens(model, [(x, y.flip(1)) for x, y in batches], "padding in front of the tokens")


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_micro_batch_of_padding_alone_changes_nothing(place):
    model, batches = _texts([[6, 5], [1, 2]])
    empty = (batches[0][0][:1], torch.full((1, 6), -100))
    at, where = {"first": (0, "first"), "middle": (1, "in the middle"), "last": (2, "last")}[place]
    batches.insert(at, empty)
    _check_tokens(model, batches, f"a micro-batch of padding alone comes {where}")


@pytest.mark.parametrize("by", ["samples", "tokens"])
def test_gradients_from_before_count_for_nothing(by):
    model, batches = _regression([4, 4, 2]) if by == "samples" else _texts([[4, 2], [6, 1, 3]])
    if by == "samples":
        whole = nn.MSELoss()(model(torch.cat([x for x, _ in batches])), torch.cat([y for _, y in batches]))
    else:
        whole = _tokens_of(model, batches)
    model.unused = nn.Parameter(torch.ones(2, dtype=torch.float64))  # has no part in the loss
    want = _gradient(model, whole)
    for p in model.parameters():
        p.grad = torch.full_like(p, 7.0)
    for call in ("first", "second"):
        if by == "samples":
            _run(accumulate, model, nn.MSELoss(), batches)
        else:
            _run(accumulate_tokens, model, batches)
        said = f"the {call} call: what was in .grad before it counts for nothing"
        check_tensor(_in_grad(model), want, said, rtol=1e-9, atol=1e-12)


class _Kept:
    """What a graph keeps for its backward: as long as the graph lives, so does this."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


@pytest.mark.parametrize("by", ["samples", "tokens"])
def test_one_graph_is_gone_before_the_next_is_made(by):
    model, batches = _regression([4, 4, 2]) if by == "samples" else _texts([[4, 2], [6, 1], [3, 3]])
    kept: list[weakref.ref[_Kept]] = []
    rows: list[int] = []

    def pack(tensor: torch.Tensor) -> _Kept:
        box = _Kept(tensor)
        kept.append(weakref.ref(box))
        return box

    def look(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        alive = sum(ref() is not None for ref in kept)
        assert not alive, (
            f"a forward begins while the graph of an earlier one keeps {alive} tensors: call backward for each "
            "micro-batch, before the next, and without retain_graph"
        )
        rows.append(len(inputs[0]))

    handle = model.register_forward_pre_hook(look)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.tensor):
        if by == "samples":
            _run(accumulate, model, nn.MSELoss(), batches)
        else:
            _run(accumulate_tokens, model, batches)
    handle.remove()
    assert rows, "the model was never called: model(x) runs it"
    limit = max(len(x) for x, _ in batches)
    assert max(rows) <= limit, f"the model was given {max(rows)} rows at once: only {limit}, a micro-batch, fit in here"
