"""Rebind or mutate: x -= m is not x = x - m

A name is not a tensor. `x = x - m` computes a new tensor and binds the name `x` to it; whoever else holds the old one
sees nothing. `x -= m` and every method that ends in an underscore write into the tensor itself, and *everyone* who
holds it sees it: the caller of your function, the list that you appended it to, each view of the same memory.

So a function that should be pure, but says `x -= x.mean()`, damages its caller's data. `x[:]`, `x.detach()` and
`copy.copy(x)` do not help, they are new tensor objects on the old memory. And the history that records `x` itself, or
`x.detach()`, at each step ends up with the last value n times over. `clone()` copies the numbers; `detach()` cuts the
graph; a snapshot needs both.

Lists rebind and mutate too: with `buffer = torch.zeros(k)`, `[buffer] * n` is one tensor with n seats, and a row of an
`expand`ed tensor is every row.

What is asked here: `centered` leaves its input alone and shares no memory with it, `center_` works in the memory that
it was given, `record` appends to the caller's list.

About 15 minutes. Before it: view_or_copy.
Path: numpy

https://docs.pytorch.org/docs/stable/generated/torch.clone.html
"""

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, shares_memory, unchanged


def centered(x: torch.Tensor) -> torch.Tensor:
    """`x`: (N,), float32 or float64. A new tensor of its dtype: `x` minus its mean. `x` does not change."""
    raise NotImplementedError("return x minus its mean, without touching x")


def center_(x: torch.Tensor) -> torch.Tensor:
    """`x`: (N,), float32 or float64, no grad. Subtracts the mean from `x` in place, in its own memory. Returns `x`."""
    raise NotImplementedError("subtract the mean of x from x itself and return x")


def record(history: list[torch.Tensor], x: torch.Tensor) -> None:
    """Append a snapshot of `x` (any shape, any float or int dtype) to `history`, which keeps what is in it.

    A snapshot is a tensor with the values and the dtype of `x`, that never changes again, and holds no graph.
    """
    raise NotImplementedError("append what x is now")


def make_buffers(n: int, k: int) -> list[torch.Tensor]:
    """`n` tensors of `k` zeros each, in the default dtype, float32; writing into one changes no other."""
    raise NotImplementedError("return n buffers")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def test_a_minus_sign_makes_a_new_tensor_minus_equals_does_not():
    x, tenths = torch.tensor([1.0, 2.0, 4.5]), torch.tensor([0.1, 0.2, 1e4])
    with (
        explain("centered raised for a tensor of shape (3,)"),
        unchanged("you changed the caller's x: its memory was written, whatever name you used", x=x, tenths=tenths),
    ):
        centered(tenths)  # what is added back afterwards comes back rounded
        y = centered(x)
    check_tensor(y, torch.tensor([-1.5, -0.5, 2.0]), "centered(x) is x minus the mean of x, which is 2.5")
    assert not shares_memory(y, x), "the result lives in the memory of x: a later write to one changes the other"
    exact = torch.tensor([1.0, 1 + 2**-40, 1 - 2**-40], dtype=torch.float64)
    with explain("centered raised for a float64 tensor"):
        y = centered(exact)
    check_tensor(y * 2**40, torch.tensor([0.0, 1.0, -1.0]).double(), "float64 in, float64 out, and as exact", atol=1e-3)
    with explain("centered raised for values that are all 0"):
        y = centered(zeros := torch.zeros(2))
    assert not shares_memory(y, zeros), "with a mean of 0 too the result is a new tensor"


def test_an_in_place_function_changes_the_tensor_it_was_given():
    x = torch.tensor([1.0, 2.0, 6.0, 9.0])
    alias = x
    with explain("center_ raised for a tensor of shape (4,)"):
        out = center_(x)
    assert alias.tolist() != [1.0, 2.0, 6.0, 9.0], "x did not change: you computed a new tensor and left x as it was"
    check_tensor(
        alias, torch.tensor([-3.5, -2.5, 1.5, 4.5]), "center_ subtracts the mean that x had before, which is 4.5"
    )
    assert out is x, "center_ returns x itself, the same object"


def test_an_in_place_change_through_a_row_reaches_the_matrix():
    base = torch.tensor([[1.0, 2.0, 6.0], [10.0, 20.0, 60.0]])
    with explain("center_ raised for a row of a matrix, which is a view"):
        center_(base[1])
    assert base[1].tolist() != [10.0, 20.0, 60.0], "the matrix did not change: you gave the row new memory of its own"
    check_tensor(base, torch.tensor([[1.0, 2.0, 6.0], [-20.0, -10.0, 30.0]]), "center_(base[1]) changes row 1 of base")
    with explain("center_ raised for a column of a matrix, a view with gaps"):
        center_(base[:, 1])
    assert base[:, 1].tolist() != [2.0, -10.0], (
        "the matrix did not change: you wrote into a copy of the column, contiguous() makes one"
    )
    check_tensor(base, torch.tensor([[1.0, 6.0, 6.0], [-20.0, -6.0, 30.0]]), "center_(base[:, 1]) changes column 1")
    exact = torch.tensor([1.0, 1 + 2**-40, 1 - 2**-40], dtype=torch.float64)
    with explain("center_ raised for a float64 tensor"):
        center_(exact)
    want = torch.tensor([0.0, 1.0, -1.0]).double()
    check_tensor(exact * 2**40, want, "a float64 tensor is centred as exactly as float64 is", atol=1e-3)


@pytest.mark.myth(
    says="detach() gives you a copy",
    today="detach() copies nothing: it cuts the graph and shares the memory, so later in-place writes show through it.",
)
def test_a_list_of_one_tensor_shows_its_last_value_everywhere():
    history: list[torch.Tensor] = []
    x = torch.zeros(2)
    for _ in range(3):
        x += 1
        with explain("record raised for a tensor of shape (2,)"):
            record(history, x)
    assert history, "the caller's list is still empty: append to it, `history = history + ...` binds a name of your own"
    assert len(history) == 3, f"three calls, three snapshots: the list has {len(history)}"
    assert all(isinstance(h, torch.Tensor) for h in history), "a snapshot is a tensor, your list holds something else"
    values = [h.tolist() for h in history]
    whose = "x's memory" if shares_memory(history[-1], x) else "one memory"
    assert values != [[3.0, 3.0]] * 3, f"the history shows the last value three times: your snapshots share {whose}"
    assert values == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], f"the snapshots are 1, 2 and 3, in this order: got {values}"
    assert x.tolist() == [3.0, 3.0], "you changed x"
    for other in (
        torch.tensor([[2**53 + 1, -1]]),
        torch.tensor(1 + 2**-40, dtype=torch.float64),
        torch.tensor([0.5, float("nan")], dtype=torch.bfloat16),
    ):
        with explain(f"record raised for {other.dtype} of shape {tuple(other.shape)}"):
            record(history, other)
        check_tensor(history[-1], other, f"a snapshot of {other.dtype} has the shape, the dtype and the values")
    kept = [h.tolist() for h in history[:3]]
    assert kept == values, f"what was in the history stays as it is: {values} became {kept}"


def test_clone_keeps_the_graph():
    w = torch.tensor([1.0, -2.0], requires_grad=True)
    y = w * 3
    history: list[torch.Tensor] = []
    graph = {"deepcopy protocol": "deepcopy refuses a tensor with a graph", r"call numpy\(\)": "numpy() knows no graph"}
    with (
        explain("record raised for a tensor with a graph", where=graph),
        unchanged("record only looks at x, and changed it", y=y, w=w),
    ):
        record(history, y)
        record(history, w)
    assert len(history) == 2, "two calls, two snapshots in the caller's list"
    kept = [h for h in history if isinstance(h, torch.Tensor) and h.requires_grad]
    assert all(h.grad_fn is None for h in kept), (
        "your snapshot holds the graph: clone() copies the numbers and stays in the graph"
    )
    assert not kept, "your snapshot requires grad itself: a record of the past takes part in no backward"
    check_tensor(history[0], torch.tensor([3.0, -6.0]), "the snapshot has the values of x")
    check_tensor(history[1], torch.tensor([1.0, -2.0]), "the snapshot has the values of x")
    assert all(t.requires_grad for t in (y, w)), "you cut x itself off from its graph: record only looks at x"
    with torch.no_grad():
        w.add_(5), y.mul_(7)
    values = [h.tolist() for h in history]
    assert values == [[3.0, -6.0], [1.0, -2.0]], (
        f"x went on, and the snapshots with it: a tensor that requires grad is to be copied too, they are {values} now"
    )


@pytest.mark.parametrize(("n", "k"), [(3, 2), (1, 4)], ids=["3 buffers", "one buffer"])
def test_a_multiplied_list_holds_one_tensor(n, k):
    with explain(f"make_buffers({n}, {k}) raised"):
        buffers = make_buffers(n, k)
    assert not isinstance(buffers, torch.Tensor), f"make_buffers({n}, {k}) is a list of {n} tensors, not one tensor"
    with explain(f"make_buffers({n}, {k}) is a list of {n} tensors"):
        buffers = list(buffers)
    assert len(buffers) == n, f"make_buffers({n}, {k}) is a list of {n} tensors, got {len(buffers)}"
    for buffer in buffers:
        check_tensor(buffer, torch.zeros(k), f"each buffer is a float32 tensor of {k} zeros", requires_grad=False)
    with explain(
        "a buffer cannot be written into", where={"single memory location": "in an expanded tensor many places are one"}
    ):
        buffers[0][1] = 5.0
    want = [0.0] * k
    assert all(b.tolist() == want for b in buffers[1:]), (
        "a write to one buffer shows in the others: they are one memory"
    )
    want[1] = 5.0
    assert buffers[0].tolist() == want, (
        "a write to one place of a buffer shows in its other places: they are one memory"
    )
    with explain(f"make_buffers({n}, {k}) raised at its second call"):
        again = [b.tolist() for b in make_buffers(n, k)]
    assert again == [[0.0] * k] * n, "a second call handed out the first call's buffers again: make new ones each time"
