"""An `if` on a tensor cuts the compiled program in two

`torch.compile(f)` does not read your source. It runs `f` once with tensors that have a shape but no values, writes down
the operations as a *graph*, and gives this graph to a backend, which makes fast code of it. Later calls run that code.

A tensor without values cannot answer `if x.sum() > 0:`. There the compiler stops: it compiles what came before, goes
back to Python for the answer, and begins another graph for what follows, one where the answer is yes and one where it
is no. That is a *graph break*. Nothing fails and no result is wrong, only the speed is gone, and people wonder why
their compiled model is no faster. `.item()`, `float(t)`, `tolist()` and `print` break too: each wants values, or Python
itself.

So let tensors decide. `torch.where(condition, a, b)` computes `a` and `b`, and takes one of them.
(`torch.cond(condition, f, g, (x,))` runs only one of two functions.) The price of where: the side that is not taken is
computed as well, and its gradient too. A 0/0 there becomes NaN in the gradient, where it is multiplied by 0, and stays
NaN. What is divided by must be made safe *before* the division. The slope of `sqrt` at 0 is infinite, with the same
end; that of `Tensor.norm` is 0 there.

`torch.compile(f, fullgraph=True)` raises at a break, and says where it is: use it while you look for breaks.

What is asked here: two functions that choose by a value, and stay one graph. Don't call torch.compile yourself.

About 20 minutes. Before it: where_does_not_stop_nan, no_hidden_sync.

https://docs.pytorch.org/docs/stable/user_guide/torch_compiler/compile/programming_model.graph_breaks_index.html
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import CountingBackend, check_tensor, explain, unchanged


def signed_scale(x: torch.Tensor) -> torch.Tensor:
    """2 * x if the sum of all values of `x` is above 0, else 3 * x.

    `x` holds finite values in float32 or float64, has any shape, and stays as it is; the result has its shape and
    dtype. A sum of 0 gives 3 * x. Gradients reach `x`. Compiled, it is one graph for both cases.
    """
    raise NotImplementedError("choose between 2 * x and 3 * x without asking Python")


def normalize(x: torch.Tensor) -> torch.Tensor:
    """(n,) -> (n,): `x` divided by its length, the root of the sum of squares; zeros stay zeros.

    float32 or float64, and the result has the dtype of `x`, which stays as it is. Short vectors, down to a length of
    1e-5, get the length 1 too (shorter ones are not asked). Gradients reach `x`; at zeros they are finite, whatever
    number you choose. Compiled, it is one graph for both cases.
    """
    raise NotImplementedError("divide by the length, and by something harmless where that is 0")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


# What torch says where it has to stop, and what that means.
_CAUSES = {
    "print": "`print` is for Python to do, so the compiler has to stop there",
    "tolist": "tolist() takes the values out of the tensor, and a tensor that is being traced has none",
    "[Dd]ata-dependent": "a value decides what Python does next (an `if`, or item(), float(), bool() of a tensor), and "
    "a tensor that is being traced has no values",
    "skipped|disable": "a function is called that the compiler cannot follow, or must not",
}


def _run(name: str, x: torch.Tensor) -> Any:
    __tracebackhide__ = True
    with unchanged(f"{name} changed its argument", x=x), explain(f"{name} raised"):
        return _function(name)(x)


def _function(name: str) -> Callable[..., Any]:
    return {"signed_scale": signed_scale, "normalize": normalize}[name]


def _compiled(f: Callable[..., Any], backend: Any, **options: Any) -> Callable[..., Any]:
    torch.compiler.reset()  # forget what was compiled before: each count begins at zero
    return torch.compile(f, backend=backend, **options)


def _cause(f: Callable[..., Any], x: torch.Tensor) -> str:
    """What fullgraph=True says of the break, if it finds one."""
    try:
        with explain("", _CAUSES):
            _compiled(f, "eager", fullgraph=True)(x)
    except AssertionError as error:
        return "".join(f": {said}" for said in _CAUSES.values() if str(error).startswith(said))
    return ""


def test_where_takes_one_of_two_results():
    rows = torch.tensor([[5.0, -1.0, 1.0], [-2.0, -1.0, -1.0]])  # one row above 0, one below, the sum is 1
    for x, factor, said in (
        (torch.tensor([1.0, -2.0, 4.0]), 2, "the sum is 3, above 0: 2 * x, negative values too"),
        (torch.tensor([-1.0, 2.0, -4.0]), 3, "the sum is -3, not above 0: 3 * x, positive values too"),
        (torch.tensor([1.0, 2.0, -3.0]), 3, "the sum is 0, and 0 is not above 0: 3 * x"),
        (rows, 2, "the sum of all values is 1, so all are times 2, whatever the sum of their row"),
        (-rows.T, 3, "the sum of all values is -1, so all are times 3"),
        (torch.tensor([0.1, 1 / 3], dtype=torch.float64), 2, "2 * x in float64"),
        (torch.tensor([3e-6, -2e-6]), 2, "the sum is 0.000001, which is above 0: 2 * x"),
        (torch.tensor([3e-60, -2e-60], dtype=torch.float64), 2, "the sum is 1e-60, above 0 in float64: 2 * x"),
        (torch.tensor(-0.25), 3, "a tensor with a single value and no dimension"),
    ):
        check_tensor(_run("signed_scale", x), x * factor, said, rtol=1e-9 if x.dtype == torch.float64 else 1e-6)
        leaf, c = x.clone().requires_grad_(), torch.linspace(1, 2, x.numel()).view(x.shape).to(x.dtype)
        y = _run("signed_scale", leaf)
        assert y.requires_grad, f"{said}: no gradient reaches x from the result"
        (grad,) = torch.autograd.grad((y * c).sum(), leaf)
        check_tensor(grad, c * factor, f"the gradient of {factor} * x, weighted", rtol=1e-6)


def test_a_vector_of_length_zero_is_not_divided():
    for n in (1, 3):
        x = torch.zeros(n)
        y = _run("normalize", x)
        assert not (isinstance(y, torch.Tensor) and y.isnan().any()), "0/0: zeros became NaN, and they stay zeros"
        check_tensor(y, torch.zeros(n), "zeros stay zeros")
    for numbers, length, rtol, dtype in (
        ([3.0, -4.0, 0.0, 12.0], 13.0, 1e-6, torch.float32),
        ([1.0, 2.0, -2.0, -1.0], 10**0.5, 1e-6, torch.float32),  # its sum is 0, its length is not
        ([-7.5], 7.5, 1e-6, torch.float32),
        ([3e-5, -4e-5], 5e-5, 1e-3, torch.float32),
        ([3000.3, -4000.4], 5000.5, 1e-9, torch.float64),
    ):
        x = torch.tensor(numbers, dtype=dtype)
        want, said = x / length, f"normalize({numbers}): each value over the length, {length:.6g}"
        check_tensor(_run("normalize", x), want, said, rtol=rtol)
        leaf, c = x.clone().requires_grad_(), torch.linspace(1, 2, len(x)).to(dtype)
        y = _run("normalize", leaf)
        assert y.requires_grad, "no gradient reaches x from normalize(x)"
        (grad,) = torch.autograd.grad((y * c).sum(), leaf)
        slope = (c - want * (want * c).sum()) / length  # by hand: the length depends on x as well
        check_tensor(grad, slope, f"the gradient of normalize at {numbers}", rtol=1e-2, atol=1e-5)
    x = torch.arange(6.0)[::2]
    check_tensor(_run("normalize", x), x / 20**0.5, "every second value of a longer tensor", rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_the_gradient_at_zero_is_no_nan(dtype):
    for n in (3, 1):
        x, c = torch.zeros(n, dtype=dtype, requires_grad=True), torch.tensor([1.0, -0.5, 0.25], dtype=dtype)
        y = _run("normalize", x)
        with explain("the backward of normalize raised"):
            (y * c[:n]).sum().backward()
        grad = x.grad
        assert grad is not None, "normalize(zeros) carries no gradient to x"
        assert grad.isfinite().all(), (
            f"normalize of zeros has the gradient {grad.tolist()}: the division (or the root) of 0 is still computed, "
            "and where does not stop the NaN of its gradient. Make what goes into it safe first"
        )


@pytest.mark.myth(
    says="Put torch.compile on any Python function, and it runs as one fast program.",
    today="It works on any, but each `if` on a value, .item() or print ends a graph, and Python runs in between.",
)
@pytest.mark.parametrize("name", ["signed_scale", "normalize"], ids=["signed scale", "normalize"])
def test_one_graph_serves_both_branches(name):
    f, above = _function(name), torch.tensor([3.0, -4.0, 12.0])
    factor = 2 if name == "signed_scale" else 1 / 13
    other, want = (-above, -3 * above) if name == "signed_scale" else (torch.zeros(3), torch.zeros(3))
    with explain(f"{name} raised"):
        f(above.clone())
    backend = CountingBackend()
    compiled = _compiled(f, backend)
    for x, result in ((above, above * factor), (other, want), (above, above * factor)):
        with explain(f"{name} was compiled, and raised"):
            y = compiled(x.clone())
        check_tensor(y, result, f"{name}({x.tolist()}), compiled: the values decide at each call", rtol=1e-6)
    assert backend.graphs, f"{name} was compiled to no graph at all: everything still runs in Python"
    assert backend.graphs == 1, f"{name} fell into {backend.graphs} graphs, expected 1{_cause(f, above)}"


@pytest.mark.parametrize("name", ["signed_scale", "normalize"], ids=["signed scale", "normalize"])
def test_fullgraph_refuses_every_break(name):
    f, x = _function(name), torch.tensor([3.0, -4.0, 12.0])
    with explain(f"{name} raised"):
        f(x.clone())
    with explain(f"{name} cannot be one graph (fullgraph=True)", _CAUSES):
        y = _compiled(f, "eager", fullgraph=True)(x.clone())
    check_tensor(y, x * 2 if name == "signed_scale" else x / 13, f"{name}({x.tolist()}), compiled", rtol=1e-6)
