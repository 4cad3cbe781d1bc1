"""No hidden sync: a value costs the whole queue

A GPU works behind your back: each operation is put in a queue, and Python runs on at once. Until you ask for a value.
`loss.item()` must know the number, so Python stops until everything in the queue is done, and then the GPU idles while
Python catches up. Such a line looks innocent: `float(t)`, `if t > 0:`, `max(a, b)`, `range(t)`, `t.tolist()`,
`t.cpu()`, `print(t)`. So does everything whose *shape* depends on values: `x[mask]`, `nonzero`, `unique`. What stays on
the device needs no waiting: `where`, `clamp`, `minimum`, `argmax`, `masked_fill`, `sum`, `norm`, `stack`, `detach` (the
same value without its graph). Often the branch that you want to take is a number that you can multiply by.

On meta tensors, which have no values, the asking fails: "Tensor.item() cannot be called on meta tensors". So what
works on meta does not wait on a GPU, with a few blind spots: `x[mask] = v` with several values in v, printing, and a
list of tensors in `torch.tensor(..., device=...)`. On a real GPU, `torch.cuda.set_sync_debug_mode("warn")` finds those
too.

What is asked: each result is a tensor on the device of the arguments, found without reading a value; the arguments stay
as they are.

About 30 minutes. Before it: max_median_ties, cat_or_stack.

https://docs.pytorch.org/docs/stable/generated/torch.cuda.set_sync_debug_mode.html
"""

import numbers

import pytest
import torch
from torch.overrides import TorchFunctionMode

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def mean_loss(losses: list[torch.Tensor]) -> torch.Tensor:
    """The mean of 0-dim losses (at least one), each with a graph, as a 0-dim tensor for the log: without a graph.

    In the dtype of the losses, float32 or float64.
    """
    raise NotImplementedError("average the losses")


def clip_norm(g: torch.Tensor, max: float) -> torch.Tensor:
    """`g` (any shape), scaled down to the 2-norm `max` if its own, over all values, is above that. No new NaN.

    `g` is float32 or float64, and keeps its dtype; its values are finite, and so are their squares. `max` is a positive
    float or int. An error of 1e-3 of a value is allowed, and more where the norm is below 0.01.
    """
    raise NotImplementedError("scale g by a factor of at most 1")


def n_correct(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """How many rows of `logits` (n, classes) have their maximum at the class that `y`, (n,), int64, says?

    `n` is at least 1. Returns a 0-dim tensor, of any dtype that holds the count.
    """
    raise NotImplementedError("count the hits")


def zero_negative(x: torch.Tensor) -> torch.Tensor:
    """The values of `x` (any shape) with 0 in place of the negative ones, in a new tensor of the same dtype.

    Any float or int dtype. All other values stay exactly as they are: NaN and inf too, and -inf is negative.
    """
    raise NotImplementedError("replace what is below 0")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_LOSSES = [1.0, 2.5, 4.0, 0.5, 7.0]


def _losses(device="cpu"):
    w = torch.tensor(_LOSSES, device=device, requires_grad=True)
    return [x * 1.0 for x in w]


_VALUE = "your code asks for a value here: on a GPU, Python would wait until the queue is done"


class _ReadsLists(TorchFunctionMode):
    """A blind spot of meta: `torch.tensor([...], device="meta")` takes tensors without reading them; a GPU would."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        lists = [x for x in (*args, *kwargs.values()) if isinstance(x, list | tuple)]
        makes = func in (torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor)
        if makes and any(isinstance(x, torch.Tensor) for values in lists for x in values):
            raise AssertionError(f"{_VALUE}\n{func.__name__} reads every tensor in its list, one by one")
        return func(*args, **kwargs)


def _without_values(call):
    """Run the call, whose arguments are on meta, and say in the lesson's words what failed."""
    signs = {"same device|not on the expected device": "you mixed in a tensor that is on the CPU", "(?i)meta": _VALUE}
    with explain("the call failed on meta tensors, which have a shape but no values", signs), _ReadsLists():
        return call()


def _mean(losses):
    with explain("mean_loss failed on a list of losses, each with a graph"):
        return mean_loss(losses)


def test_a_mean_of_losses_is_a_tensor():
    got = _mean(_losses())
    assert not isinstance(got, float), "you return a float: to get it, Python waits for the GPU; return the tensor"
    check_tensor(got, torch.tensor(3.0), "the mean of 1, 2.5, 4, 0.5 and 7 is 3", atol=1e-6)
    check_tensor(
        _mean(_losses()[1:2]).detach(), torch.tensor(2.5), "the mean of one loss, 2.5, is that loss", atol=1e-6
    )
    exact = torch.tensor([1.0, 1 + 2**-39], dtype=torch.float64, requires_grad=True)
    got = _mean([x * 1 for x in exact]).detach()
    check_tensor(
        got, torch.tensor(1 + 2**-40, dtype=torch.float64), "the mean of float64 losses is float64", atol=1e-15
    )


def test_a_loss_for_the_log_keeps_no_graph():
    losses = _losses()
    before, values = list(losses), [x.detach().clone() for x in losses]
    got = _mean(losses)
    assert isinstance(got, torch.Tensor), f"mean_loss returns a tensor, not {type(got).__name__}"
    assert not got.requires_grad, "the mean still has a graph: every loss that you log keeps its batch in memory"
    cut = [i for i, x in enumerate(before) if not x.requires_grad]
    assert not cut, "you cut the losses themselves from their graph: training needs it"
    same = len(losses) == len(before) and all(a is b for a, b in zip(losses, before, strict=True))
    assert same, "mean_loss changed the list that it was given: the caller still needs its losses"
    for x, value in zip(before, values, strict=True):
        check_tensor(x.detach(), value, "mean_loss changed a loss itself: detach() shares memory with it")


def test_a_mean_needs_no_value_in_python():
    got = _without_values(lambda: mean_loss(_losses("meta")))
    check_tensor(got, torch.empty((), device="meta"), "the mean is a tensor on the device of the losses")


def _clip(g, max):
    with explain(f"clip_norm failed on a g of shape {tuple(g.shape)}"):
        return clip_norm(g, max)


def test_a_norm_is_clipped_by_a_factor_not_by_a_branch():
    g = torch.tensor([[3.0, 0.0, -6.0], [0.0, 2.0, 0.0]])  # norm 7; as a matrix, its largest singular value is 6.7
    before = g.clone()
    with unchanged("clip_norm changed its argument: the result is a new tensor", g=g):
        got = _clip(g, 3.5)
    check_tensor(got, before / 2, "a norm of 7, over all values, is scaled down to 3.5 by one factor", rtol=1e-4)
    check_tensor(_clip(g, 10), before, "a norm of 7 is below the maximum of 10: the values stay", rtol=1e-4)
    got = _clip(g.double(), 3.5)
    check_tensor(got, before.double() / 2, "a float64 gradient stays one", rtol=1e-4)
    check_tensor(_clip(torch.tensor(-8.0), 2.0), torch.tensor(-2.0), "one value, -8, has the norm 8", rtol=1e-4)
    got = _clip(g / 100, 0.035)
    check_tensor(got, before / 200, "a norm of 0.07 is scaled down to 0.035: a maximum below 1 is one too", rtol=1e-3)
    check_tensor(_clip(torch.zeros(4), 1.0), torch.zeros(4), "a gradient of zeros stays zero: 0/0 is NaN")


def test_a_comparison_stays_on_the_device_until_if_asks_for_it():
    got = _without_values(lambda: clip_norm(torch.ones(2, 3, device="meta"), 1.0))
    check_tensor(got, torch.ones(2, 3, device="meta"), "the clipped gradient is where g is")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_count_needs_no_selection(device):
    logits = torch.tensor([[0.1, 0.9, 0.0], [2.0, 1.0, 0.5], [0.0, 2.2, 2.3], [5.0, 6.0, 1.0], [1.0, 0.0, 9.0]])
    y = torch.tensor([1, 0, 1, 1, 2])
    along = {"size of tensor|must match": "the maximum of a row, along the classes, is compared with its y"}
    with explain("n_correct failed on logits of shape (5, 3)", along):
        if device == "meta":
            got = _without_values(lambda: n_correct(logits.to("meta"), y.to("meta")))
        else:
            with unchanged("n_correct changed what it was given", logits=logits, y=y):
                got = n_correct(logits, y)
    assert not isinstance(got, numbers.Number), "you return a number: to get it, Python waits for the GPU"
    assert isinstance(got, torch.Tensor), f"n_correct returns a tensor, not {type(got).__name__}"
    assert got.shape == (), f"one count for the batch: a 0-dim tensor, not shape {tuple(got.shape)}"
    assert got.device.type == device, f"the count belongs on the device of the logits, it is on {got.device}"
    if device == "cpu":
        assert got.item() == 4, f"4 of the 5 rows have their maximum at y; you counted {got}"
        near = torch.tensor([[-1.0, -1 + 1e-12], [-300.0, -float("inf")]], dtype=torch.float64)
        got = n_correct(near, torch.tensor([1, 0]))
        assert got == 2, f"float64: -1 + 1e-12 is above -1, and -300 above -inf, so 2 hits; you counted {got}"
        got = n_correct(torch.tensor([[0.0, 1e-20], [0.0, -1e-20]]), torch.tensor([1, 0]))
        assert got == 2, f"1e-20 is above 0, and 0 above -1e-20, so 2 hits; you counted {got}"
        got = n_correct(torch.tensor([[0.0, 1.0]]).expand(3001, 2), torch.ones(3001, dtype=torch.int64))
        assert got.item() == 3001, f"3001 hits, which uint8 and float16 do not hold; you counted {got}"


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_mask_needs_no_indexing(device):
    x = torch.tensor([[1.5, -2.0, 0.0], [-0.5, 3.0, -7.0]], dtype=torch.float64)
    want = torch.tensor([[1.5, 0.0, 0.0], [0.0, 3.0, 0.0]], dtype=torch.float64)
    if device == "meta":
        got = _without_values(lambda: zero_negative(x.to("meta")))
        check_tensor(got, want.to("meta"), "the result is where x is")
    else:
        new = "zero_negative changed its argument: the result is a new tensor"
        with explain("zero_negative failed on a float64 tensor of shape (2, 3)"), unchanged(new, x=x):
            got = zero_negative(x)
        check_tensor(got, want, "negative values become 0, the others stay")
        inf, nan = float("inf"), float("nan")
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            x = torch.tensor([-inf, inf, nan, -1e-3, 1 / 3, 60000.0], dtype=dtype)
            with explain(f"zero_negative failed on {dtype}"):
                got = zero_negative(x)
            want = torch.tensor([0.0, inf, nan, 0.0, 1 / 3, 60000.0], dtype=dtype)
            what = "-inf becomes 0 as all negative values do; NaN is not negative, it stays, and so does inf"
            check_tensor(got, want, f"{dtype}: {what}")
        with explain("zero_negative failed on int64"):
            got = zero_negative(torch.tensor([2**53 + 1, -5, 0]))
        check_tensor(got, torch.tensor([2**53 + 1, 0, 0]), "an int64 tensor stays one, 2**53 + 1 is not rounded")
