"""What old names do today

Answers on the web live longer than the names in them. Old names of PyTorch end in four ways: they **work** and say
nothing (`Variable(x)` gives a plain tensor), they **warn** (`size_average=`, `x.storage()`, `torch.jit.script`), they
**raise** as soon as they are called (`torch.symeig`, which `dir(torch)` lists to this day), or they are **gone** (named
tensors since 2.13, torch.utils.bottleneck). The quiet ends are the worst. `volatile=True` once meant "build no graph";
today the code runs, the memory fills, and a warning scrolls by. A version that such a warning names is a plan, not a
fact: checkpoint's "in 2.9 this will be an error" was still a warning in 2.14. Ask the torch you have, with
`python -W error script.py`. (Whole packages end as well: torchtext and TorchServe are archived.)

What is meant today: `torch.no_grad()` around the call builds no graph; `torch.sigmoid(x)` is a function of torch.
`reduction="sum"` replaced size_average=False and reduce, and `.item()` takes the number out of a tensor with one value,
as `loss.data[0]` did before such tensors had no dimension. `x.untyped_storage()` is the block of bytes under a tensor,
and its `.nbytes()` says how large it is; views have the same block. Names of dimensions are yours to keep, in a tuple
beside the tensor: `x.sum(dim)` wants the number of the dimension.

What is asked here: four old lines, written for today. None of them calls anything that PyTorch warns about.

About 25 minutes. Before it: view_or_copy, stop_gradient, mse_shapes.
Path: first_day

https://docs.pytorch.org/docs/stable/notes/autograd.html#locally-disabling-gradient-computation
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from dojo import under_test
from dojo.kit import check_tensor, explain, raises, unchanged


def predict(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The sigmoid of what `model` makes of `x`; no graph is built at any time.

    The model stays as it is, with the mode of each of its layers, and so does `x`, whatever the model returns:
    nn.Identity returns `x` itself. Grad mode is on or off afterwards, as it was before.

    It was: `F.sigmoid(model(Variable(x, volatile=True)))`.
    """
    raise NotImplementedError("predict without a graph")


def total_loss(prediction: torch.Tensor, target: torch.Tensor) -> float:
    """The sum of the squared differences of two float tensors of the same shape, as a Python float.

    There is at least one value. Both tensors stay as they are.

    It was: `nn.MSELoss(size_average=False)(prediction, target).data[0]`.
    """
    raise NotImplementedError("return the summed squared error as a float")


def memory_under(x: torch.Tensor) -> int:
    """How many bytes the whole block of memory has in which the values of `x` lie.

    It was: `x.storage().size() * x.element_size()`.
    """
    raise NotImplementedError("return the number of bytes of the storage")


def sum_over(x: torch.Tensor, names: Sequence[str], name: str) -> tuple[torch.Tensor, tuple[str, ...]]:
    """The sum of `x` (floats or int64) over the dimension called `name`, as `x.sum` makes it, and the names left.

    `names` has a name for each dimension of `x`, in their order. ValueError or KeyError where it has too few or too
    many, where one of them is there twice, and where `name` is none of them. `names` stays as it is.

    It was: `x.refine_names(*names).sum(name)`.
    """
    raise NotImplementedError("return the sum, and the names that are left")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "volatile": "volatile=True has had no effect since 0.4, but for a warning: the graph is built",
    "size_average": 'size_average and reduce are old names: reduction="sum" says it today',
    "TypedStorage|storage\\(\\) was called": "x.storage() is an old name: ask untyped_storage()",
    "[Nn]amed tensor|refine_names|rename|align_to|keyword argument 'names'|attribute 'names'": "named tensors were an "
    "experiment, and newer versions have them no more: find the number of the dimension yourself",
    "invalid index of a 0-dim tensor": "a loss has no dimension, so nothing to index: .item() takes the number",
    "be converted to (a )?Scalar|only one element tensors": "a tensor of several values was taken for a number",
}
# float(t) of a tensor with a graph: not an old name.
_HARMLESS = "Converting a tensor with requires_grad"


def _recorded(f: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What f returns, and every warning that came, also those that torch gives only once in a process."""
    __tracebackhide__ = True
    always, storage = torch.is_warn_always_enabled(), torch.Tensor.storage

    @functools.wraps(storage)
    def spied(self: torch.Tensor) -> Any:
        warnings.warn("x.storage() was called", stacklevel=2)
        return storage(self)

    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings(record=True) as caught, mock.patch.object(torch.Tensor, "storage", spied):
            warnings.simplefilter("always")
            result = f()
    finally:
        torch.set_warn_always(always)
    return result, [str(w.message).partition("\n")[0] for w in caught if _HARMLESS not in str(w.message)]


def _call(name: str, function: Any, *args: Any) -> Any:
    """Call a stub; no warning may come."""
    __tracebackhide__ = True
    with explain(f"{name} raised", _SIGNS):
        result, said = _recorded(lambda: function(*args))
        if said:  # as an error, so that _SIGNS can say more about it
            raise DeprecationWarning(f"{name} warned: {said[0]}")
    return result


_ENDS = ("works", "warns", "raises", "is gone")


def _check_old(what: str, least: str, f: Callable[[], Any]) -> Any:
    """An old name only goes further along _ENDS: is it as far as `least`? Returns what f does, None if it fails."""
    __tracebackhide__ = True
    result = None
    try:
        result, said = _recorded(f)
        status = "warns" if said else "works"
    except (AttributeError, ImportError, TypeError):
        status = "is gone"
    except (RuntimeError, IndexError):
        status = "raises"
    further = _ENDS.index(status) >= _ENDS.index(least)
    assert further, f"{what} {status} on torch {torch.__version__}; this kata says that it {least}, or less"
    return result


class _Net(nn.Module):
    """Two layers; notes at each forward whether its hidden values hang on a graph."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 5, dtype=dtype), nn.Linear(5, 3, dtype=dtype)
        self.graphs: list[bool] = []
        self.first.register_forward_hook(lambda module, args, out: self.graphs.append(out.requires_grad))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.first(x)))


@pytest.mark.myth(
    says="Variable(x, volatile=True) makes a prediction without a graph.",
    today="volatile has no effect but a warning, and the graph is built; torch.no_grad() builds none.",
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_no_grad_builds_no_graph(dtype):
    torch.manual_seed(0)
    for wanted in (False, True):
        model, x = _Net(dtype).train(not wanted), torch.randn(6, 4, dtype=dtype) * 20
        model.last.train(wanted)
        model.first.weight.requires_grad_(wanted)
        with torch.no_grad():
            want = 1 / (1 + (-model(x)).exp())
        model.graphs.clear()
        x.requires_grad_(wanted)
        with unchanged("predict changed what it was given", model=model, x=x):
            got = _call("predict", predict, model, x)
        assert torch.is_grad_enabled(), "predict left the grad mode switched off"
        assert isinstance(got, torch.Tensor), f"predict returns a tensor, got {type(got).__name__}"
        check_tensor(got.detach(), want, "predict", rtol=1e-9 if dtype == torch.float64 else 1e-5)
        assert not got.requires_grad, f"the prediction hangs on a graph (grad_fn {type(got.grad_fn).__name__})"
        assert model.graphs, "predict did not call the model"
        built = any(model.graphs)
        assert not built, "the graph was built during the forward, and thrown away: its memory was needed all the same"
    scores = torch.tensor([[0.0, 2.0, -3.0, 1000.0, -1000.0]], dtype=dtype)
    handed_on = "predict changed its argument, which nn.Identity had handed on"
    with torch.no_grad(), unchanged(handed_on, scores=scores):
        got = _call("predict", predict, nn.Identity(), scores)
        assert not torch.is_grad_enabled(), "grad mode was off before predict, and is on afterwards"
    check_tensor(got.detach(), 1 / (1 + (-scores).exp()), "predict with nn.Identity", rtol=1e-5)
    ones = torch.ones(2, 4, dtype=dtype)
    volatile = _check_old("Variable(x, volatile=True)", "warns", lambda: torch.autograd.Variable(ones, volatile=True))  # type: ignore[call-arg]
    if volatile is not None:
        assert model(volatile).requires_grad, "the model built no graph for a volatile Variable"


@pytest.mark.myth(
    says="loss.data[0] is the loss as a number.",
    today="A loss has had no dimension since 0.4, so that is an IndexError; loss.item() is the number.",
)
@pytest.mark.myth(
    says="MSELoss(size_average=False) adds the squared errors up.",
    today='It still does, with a warning; the name today is reduction="sum".',
)
def test_a_loss_is_a_number_without_a_dimension():
    grid = torch.tensor([[1.5, -2.0, 0.0], [0.25, 4.0, -1.0]], dtype=torch.float64)
    tenths = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64, requires_grad=True)
    for prediction, target, want in (
        (torch.tensor([1.0, 2.0, 3.0], requires_grad=True), torch.zeros(3), 14.0),
        (torch.tensor([[3.0], [5.0]], requires_grad=True) * 2, torch.tensor([[5.0], [10.5]]), 1.25),
        (grid, -grid, 4 * (2.25 + 4 + 0.0625 + 16 + 1)),
        (tenths, torch.full((3,), 0.3, dtype=torch.float64), 0.04 + 0.01 + 0.16),
        (torch.tensor(3.0), torch.tensor(5.0), 4.0),
        (torch.tensor([1e4, 1e4 + 2]), torch.tensor([1e4 + 0.5, 1e4]), 4.25),
    ):
        with unchanged("total_loss changed what it was given", prediction=prediction, target=target):
            got = _call("total_loss", total_loss, prediction, target)
        what = f"of {prediction.tolist()} and {target.tolist()}"
        assert isinstance(got, float), f"total_loss is a Python float, got {type(got).__name__}"
        mean = prediction.numel() > 1 and got == pytest.approx(want / prediction.numel())
        assert not mean, f"total_loss {what} is {got}, expected {want}: that is the mean of the squares, not their sum"
        rel = 1e-9 if prediction.dtype == torch.float64 else 1e-6
        assert got == pytest.approx(want, rel=rel), f"total_loss {what} is {got}, expected {want}"
    _check_old("loss.data[0]", "raises", lambda: torch.tensor(14.0).data[0])
    _check_old("size_average", "warns", lambda: nn.MSELoss(size_average=False)(torch.ones(2), torch.zeros(2)))


@pytest.mark.myth(
    says="x.storage() shows the memory under a tensor.",
    today="It warns: that typed kind of storage will go. x.untyped_storage() is the block, counted in bytes.",
)
def test_a_view_keeps_its_whole_block_of_memory():
    big, doubles = torch.zeros(10, 10), torch.zeros(4, dtype=torch.float64)
    for what, x, want in (
        ("a (10, 10) of float32", big, 400),
        ("its x[:2, ::3]", big[:2, ::3], 400),
        ("its last value", big[9, 9], 400),
        ("its transpose", big.t(), 400),
        ("the detached third row of it", big[2].detach(), 400),
        ("a parameter made of its third row", nn.Parameter(big[2]), 400),
        ("x[1:] of four float64", doubles[1:], 32),
        ("x[:1] of four float64", doubles[:1], 32),
        ("one float32, expanded to a thousand", torch.zeros(1).expand(1000), 4),
        ("six bool", torch.zeros(2, 3, dtype=torch.bool), 6),
        ("a weight of 3 times 5", nn.Parameter(torch.zeros(3, 5)), 60),
        ("an empty tensor", torch.zeros(0), 0),
    ):
        with unchanged("memory_under changed what it was given", x=x):
            got = _call("memory_under", memory_under, x)
        assert isinstance(got, int), f"memory_under is an int, got {type(got).__name__}"
        own = x.numel() * x.element_size()
        values = got != want and got == own
        cause = ": those are the view's own values, not the memory that it keeps alive" * values
        assert got == want, f"memory_under {what} is {got} bytes, expected {want}{cause}"
    _check_old("x.storage()", "warns", lambda: torch.zeros(3).storage())


@pytest.mark.myth(
    says="Named tensors (names=, refine_names) keep you from mixing up dimensions.",
    today="They never left the experiment: they warn up to 2.12 and are gone since 2.13.",
)
def test_the_names_of_dimensions_are_kept_beside_the_tensor():
    cube, flat = torch.arange(27).view(3, 3, 3) ** 2, torch.randn(7)
    weight = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    for x, names in (
        (torch.randn(2, 3, 4), ["batch", "height", "width"]),
        (cube, ["depth", "row", "column"]),
        (torch.randn(5, 2).t(), ["b", "a"]),
        (weight, ["out", "in"]),
        (flat, ["i"]),
        (flat.view(7, 1), ["row", "column"]),
    ):
        for dim, name in enumerate(names):
            for kind in (list, tuple):
                given: Sequence[str] = kind(names)
                want, left = x.detach().sum(dim), tuple(n for n in names if n != name)
                what = f"sum_over a tensor of shape {tuple(x.shape)}, {name!r} of {given}"
                with unchanged("sum_over changed what it was given", x=x, names=given):
                    got = _call("sum_over", sum_over, x, given, name)
                pair = isinstance(got, tuple | list) and len(got) == 2
                assert pair, f"sum_over returns two things, the sum and the names left; got {type(got).__name__}"
                check_tensor(got[0], want, what, rtol=1e-6, atol=1e-6, requires_grad=x.requires_grad)
                assert isinstance(got[1], tuple), f"the names left are to be a tuple, got {got[1]!r}"
                assert got[1] == left, f"{what}: the names left are {got[1]}, expected {left}"
    _check_old("refine_names", "warns", lambda: torch.zeros(2, 3).refine_names("a", "b"))


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (["batch", "height", "width"], "depth"),
        (["batch", "height", "width"], "Batch"),
        (["batch", "height", "batch"], "height"),
        (["batch", "height", "height"], "height"),
        (["batch", "height", "width", "width"], "batch"),
        (["batch", "height"], "batch"),
        (["batch", "height", "width", "depth"], "width"),
        ([], "batch"),
    ],
    ids=[
        "unknown",
        "other case",
        "another name twice",
        "this name twice",
        "one twice and one too many",
        "one too few",
        "one too many",
        "none",
    ],
)
def test_names_that_do_not_fit_are_refused(names, name):
    for kind in (list, tuple):
        what = f"sum_over of a tensor with 3 dimensions, {name!r} of {kind(names)}: expected an error"
        with raises((ValueError, KeyError), what):
            sum_over(torch.ones(2, 3, 4), kind(names), name)


class _Checkpointed(_Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(super().forward, x)


@pytest.mark.myth(
    says="checkpoint warns that it will raise from 2.9 on without use_reentrant, so since then it does.",
    today="It was still a warning in 2.15, where the version is gone from its text: a deadline is a plan.",
)
@pytest.mark.myth(
    says="torch.jit.script makes a model faster and ready to ship.",
    today="It is deprecated and warns; torch.compile and torch.export have taken its place.",
)
@pytest.mark.myth(
    says="dir(torch) lists symeig and solve, so they are there.",
    today="The names are there to raise an error; torch.linalg has the functions.",
)
def test_models_made_under_old_names_predict_as_others():
    torch.manual_seed(0)
    x, plain, eye = torch.randn(3, 4), nn.Sequential(nn.Linear(4, 3)), torch.eye(3)
    late = _Checkpointed()
    for what, least, make in (
        ("torch.jit.script", "warns", lambda: torch.jit.script(plain)),
        ("torch.jit.trace", "warns", lambda: torch.jit.trace(plain, x)),
        ("DataParallel", "works", lambda: nn.DataParallel(plain, [0])),
    ):
        made = _check_old(what, least, make)
        if made is not None:
            there = x.to(plain[0].weight.device)  # where there is a GPU, DataParallel has moved the model to it
            want = torch.sigmoid(plain(there).detach())
            check_tensor(_call("predict", predict, made, there), want, f"predict of a model from {what}", rtol=1e-5)
    _check_old("checkpoint without use_reentrant", "warns", lambda: late(x))
    for name in ("symeig", "solve"):
        _check_old(f"torch.{name}", "raises", lambda name=name: getattr(torch, name)(*[eye] * (1 + (name == "solve"))))
    _check_old("torch.qr", "warns", lambda: torch.qr(eye))
    _check_old("torch.cholesky", "warns", lambda: torch.cholesky(eye))
