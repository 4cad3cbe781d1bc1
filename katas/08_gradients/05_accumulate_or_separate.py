"""Gradients add up

`backward()` does not write a gradient into `.grad`, it adds it to what is there. Three backwards of w**2 at 3 leave 6,
then 12, then 18. That is on purpose (big batches in small pieces), but who forgets it trains on old gradients too.

Before the first backward `.grad` is None, not zeros. The first backward puts a tensor there, and the next ones add to
*that same tensor*, in place. So a reference that you stored yesterday shows tomorrow's number: take a snapshot
(`clone()`) if you want to keep it. Set `.grad` to None, and the next backward brings a new tensor; `.grad.zero_()`
keeps the old one.

With two losses on one graph, the first backward frees what the graph saved, and the second fails with "backward through
the graph a second time" unless it was told to keep it (`retain_graph=True`); and both gradients end up in the same
`.grad`. `torch.autograd.grad` returns the gradients and leaves `.grad` alone. For an input that a loss does not use it
complains, or gives None (`allow_unused=True`) or zeros (`materialize_grads=True`): you choose.

What is asked here: the sums as they grow; each gradient by itself; and one gradient per loss and parameter.

About 30 minutes. Before it: first_gradient, leaf_weights.
Path: first_day

https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad.html
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, shares_memory


def grad_history(loss_fn: Callable[[torch.Tensor], torch.Tensor], w: torch.Tensor, n: int) -> list[torch.Tensor]:
    """Call backward on `loss_fn(w)` n times, with no reset; returns what `w.grad` held after each, as snapshots.

    What `w.grad` held before you came is part of the sums. Snapshots have the shape and the dtype of `w`.
    """
    raise NotImplementedError("n backwards without a reset, a snapshot of w.grad after each")


def fresh_grads(loss_fn: Callable[[torch.Tensor], torch.Tensor], w: torch.Tensor, n: int) -> list[torch.Tensor]:
    """The gradient of each of n runs of `loss_fn(w)` alone, as n different tensors, whatever `w.grad` held before.

    `loss_fn` is called n times: each run may give another loss.
    """
    raise NotImplementedError("n gradients, none with anything of another in it")


def per_loss_grads(losses: Sequence[torch.Tensor], params: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """`result[i][j]`: the gradient of `losses[i]` with respect to `params[j]`, in its shape; zeros where it is unused.

    The losses share one graph. Nobody's `.grad` changes, and the gradients have no graph themselves.
    """
    raise NotImplementedError("one list per loss, in it one gradient per parameter")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _square(w: torch.Tensor) -> torch.Tensor:
    return w**2


def _numbers(got: Any, n: int) -> list[float]:
    """The n numbers in `got`, a list of n 0-d tensors."""
    assert isinstance(got, list | tuple), f"expected a list of {n} tensors, got {type(got).__name__}"
    assert len(got) == n, f"expected one tensor per backward, {n}, got {len(got)}"
    assert all(g is not None for g in got), f".grad was None when you read it: read it after the backward. Got {got}"
    return [float(torch.as_tensor(g)) for g in got]


def _one_memory(got: Any) -> bool:
    tensors = [torch.as_tensor(g) for g in got]
    return any(shares_memory(tensors[0], g) for g in tensors[1:])


def _run(ask: Callable[..., Any], *arguments: Any) -> Any:
    __tracebackhide__ = True
    signs = {
        "second time": "a graph serves one backward: call loss_fn(w) before each",
        "'NoneType' object": "w.grad is None before the first backward: there is nothing to zero or to read yet",
    }
    with explain(f"{getattr(ask, '__name__', 'your function')} raised", signs):
        return ask(*arguments)


def _rows(got: Any, losses: int, params: int) -> Any:
    assert isinstance(got, list | tuple), f"expected a list of lists, got {type(got).__name__}"
    assert len(got) == losses, f"expected one list per loss, {losses}, got {len(got)}"
    for row in got:
        assert isinstance(row, list | tuple), f"each loss has a list of gradients, got {type(row).__name__}"
        assert len(row) == params, f"each loss has one gradient per parameter, {params}, got {len(row)}"
    return got


def _trunk() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Three losses that share a tanh, and the two parameters below it."""
    w = torch.linspace(-1, 1, 6, dtype=torch.float64).view(3, 2).requires_grad_()
    b = torch.tensor([0.5, -0.25], dtype=torch.float64, requires_grad=True)
    x = torch.linspace(0, 2, 12, dtype=torch.float64).view(4, 3)
    h = torch.tanh(x @ w + b)
    return [(h * torch.arange(8.0).view(4, 2)).sum(), (h**2)[:, 1].mean(), h.max()], [w, b]


def _separately() -> list[list[torch.Tensor]]:
    """Each loss' gradients from a graph of its own."""
    rows = []
    for i in range(3):
        losses, params = _trunk()
        losses[i].backward()
        rows.append([p.grad.clone() for p in params if p.grad is not None])
    return rows


def test_every_backward_adds_to_the_same_grad():
    w = torch.tensor(3.0, requires_grad=True)
    got = _run(grad_history, _square, w, 3)
    numbers = _numbers(got, 3)
    last = numbers == [18.0, 18.0, 18.0]
    alias = "you stored .grad itself: the next backward adds to that tensor, store a snapshot"
    assert not (last and _one_memory(got)), alias
    assert not last, "18 three times is what the last backward left: take each snapshot right after its own backward"
    assert numbers != [6.0, 6.0, 6.0], "you reset .grad between the backwards: here the sums were asked for"
    assert numbers == [6.0, 12.0, 18.0], f"three backwards of w**2 at 3 leave 6, 12 and 18 in .grad, you gave {numbers}"

    w = torch.tensor([3.0, 0.1], dtype=torch.float64, requires_grad=True)
    w.grad = torch.tensor([100.0, 0.0], dtype=torch.float64)
    got = _run(grad_history, lambda w: (w**2).sum(), w, 2)
    firsts = [float(g.flatten()[0]) for g in got if isinstance(g, torch.Tensor) and g.numel()]
    assert firsts != [6.0, 12.0], "w.grad held 100 before you came, and it is not in your sums: nothing is reset here"
    for i, (snapshot, sums) in enumerate(zip(got, [[106.0, 0.2], [112.0, 0.4]], strict=True)):
        want = torch.tensor(sums, dtype=torch.float64)
        check_tensor(snapshot, want, f"snapshot {i} of a w of float64, with [100, 0] in w.grad before", rtol=1e-12)


@pytest.mark.myth(
    says="A parameter's .grad is zeros before backward, and zero_grad() fills it with zeros again.",
    today="It is None until a backward fills it, and zero_grad() sets it to None again (the default since 2.0).",
)
def test_grad_is_none_before_the_first_backward_and_after_zero_grad():
    layer = nn.Linear(2, 1)
    got = _run(fresh_grads, lambda weight: (weight * torch.tensor([2.0, 7.0])).sum(), layer.weight, 2)
    assert isinstance(got, list | tuple), f"expected a list of 2 tensors, got {type(got).__name__}"
    assert len(got) == 2, f"expected one gradient per run, 2, got {len(got)}"
    grew = isinstance(got[1], torch.Tensor) and got[1].tolist() == [[4.0, 14.0]]
    assert not grew, "the second gradient has the first in it: backward adds to what is in .grad"
    for gradient in got:
        check_tensor(gradient, torch.tensor([[2.0, 7.0]]), "each run's own gradient is [[2, 7]]")
    layer(torch.ones(1, 2)).sum().backward()
    layer.zero_grad()
    assert layer.weight.grad is None, "zero_grad() sets .grad to None"


def test_a_gradient_that_was_left_over_is_no_part_of_the_next():
    w = torch.tensor(3.0, requires_grad=True)
    w.grad = torch.tensor(100.0)
    numbers = _numbers(_run(fresh_grads, _square, w, 3), 3)
    assert numbers[0] < 100.0, f"w.grad held 100 before you came: it is in your first gradient, {numbers[0]}"
    assert numbers != [6.0, 12.0, 18.0], "6, 12, 18: only the first is fresh, reset .grad before every backward"
    assert numbers == [6.0, 6.0, 6.0], f"each run's own gradient is 6, you gave {numbers}"
    w.grad = torch.tensor(1e9)
    numbers = _numbers(_run(fresh_grads, _square, w, 3), 3)
    assert numbers == [6.0, 6.0, 6.0], (
        f"w.grad held 1e9, and 1e9 + 6 is 1e9 in float32: differences of sums lose digits, you gave {numbers}"
    )
    w.grad = torch.tensor(float("inf"))
    numbers = _numbers(_run(fresh_grads, _square, w, 3), 3)
    assert numbers == [6.0, 6.0, 6.0], (
        f"w.grad held inf, and neither inf * 0 nor inf - inf is 0: start from nothing, not from a product with 0 or a "
        f"difference, you gave {numbers}"
    )


def test_zeroing_in_place_keeps_the_same_tensor():
    w = torch.tensor([3.0, -1.0], requires_grad=True)
    w.grad = torch.zeros(2)
    got = _run(fresh_grads, lambda w: (w**2).sum(), w, 3)
    assert isinstance(got, list | tuple), f"expected a list of 3 tensors, got {type(got).__name__}"
    for gradient in got:
        check_tensor(gradient, torch.tensor([6.0, -2.0]), "each run's own gradient is [6, -2]")
    places = len({g.data_ptr() for g in got})
    assert places == 3, f"{places} memory for 3 gradients, so they are one tensor (zeroing in place keeps the memory)"

    runs: list[float] = []

    def another_batch(w: torch.Tensor) -> torch.Tensor:
        runs.append(10.0 ** len(runs))
        return (runs[-1] * w**2).sum()

    got = _run(fresh_grads, another_batch, w, 3)
    firsts = [float(g.flatten()[0]) for g in got if isinstance(g, torch.Tensor)]
    assert firsts != [6.0, 6.0, 6.0], "loss_fn gives another loss in each run, as with a new batch: run it n times"
    assert firsts != [6.0, 66.0, 666.0], "each gradient has those before it in it"
    assert firsts == [6.0, 60.0, 600.0], f"the runs' first numbers are 6, 60 and 600, you gave {firsts}"


def test_losses_on_one_graph_can_be_separated():
    want = _separately()
    losses, params = _trunk()
    freed = "the losses share a graph, and the first gradient freed what it had saved: it is needed again"
    with explain("per_loss_grads(losses, params) raised", {"second time": freed}):
        got = per_loss_grads(losses, params)
    _rows(got, 3, 2)
    rows = [[g for g in row if isinstance(g, torch.Tensor)] for row in got]
    if all(len(row) == 2 and row[0].shape == params[0].shape for row in rows):
        first, second = rows[0][0], rows[1][0]
        assert first.data_ptr() != second.data_ptr(), (
            "both losses got the same tensor: each loss has a gradient of its own, and .grad is one tensor"
        )
        both = want[0][0] + want[1][0]
        assert not torch.allclose(second, both), "the second gradient is the sum of both: .grad accumulated"
    for i in range(3):
        for j in range(2):
            sentence = f"result[{i}][{j}] is the gradient of losses[{i}] alone, with respect to params[{j}]"
            check_tensor(got[i][j], want[i][j], sentence, rtol=1e-9, atol=1e-12, requires_grad=False)


def test_autograd_grad_leaves_dot_grad_alone():
    losses, params = _trunk()
    params[1].grad = torch.tensor([5.0, 6.0], dtype=torch.float64)
    with explain("per_loss_grads raised where a parameter has a .grad already, and another has none"):
        per_loss_grads(losses[:1], params)
    assert params[0].grad is None, "params[0].grad was None and is not any more: nobody's .grad may change"
    left = torch.tensor([5.0, 6.0], dtype=torch.float64)
    check_tensor(params[1].grad, left, "params[1].grad held [5, 6] and you changed it: nobody's .grad may change")
    losses, (w, b) = _trunk()
    with explain("per_loss_grads raised where it was asked for some of the leaves only"):
        per_loss_grads(losses[:1], [w])
    assert b.grad is None, (
        "b was not asked about, and b.grad has a gradient now: backward fills every leaf that it finds"
    )


def test_a_parameter_that_a_loss_does_not_use_gets_zeros():
    a = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([4.0, 5.0], dtype=torch.float64, requires_grad=True)
    losses = [(b**2).sum(), (a * 3).sum()]
    unused = "losses[0] does not use params[0]: autograd.grad complains unless you say what it shall give then"
    with explain("per_loss_grads raised where losses[0] does not use params[0]", {"used in the graph": unused}):
        got = _rows(per_loss_grads(losses, [a, b]), 2, 2)
    assert got[0][0] is not None, "you returned None for an unused parameter: zeros in its shape were asked for"
    check_tensor(
        got[0][0], torch.zeros(1, 3, dtype=torch.float64), "an unused parameter gets zeros in its shape and dtype"
    )
    check_tensor(
        got[1][1], torch.zeros(2, dtype=torch.float64), "an unused parameter gets zeros in its shape and dtype"
    )
    check_tensor(got[0][1], torch.tensor([8.0, 10.0], dtype=torch.float64), "losses[0] is the sum of b**2")
    check_tensor(got[1][0], torch.full((1, 3), 3.0, dtype=torch.float64), "losses[1] is the sum of 3*a")
