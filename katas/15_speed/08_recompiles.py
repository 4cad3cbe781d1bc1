"""When torch.compile compiles again

A compiled program holds only for what it was made for. With it, `torch.compile` keeps *guards*: this tensor was float32
and of shape (2, 6), this argument was the string "double", the module was in training mode. At each call they are
checked, and where one fails, everything is compiled again. That may take minutes, in the middle of a training, because
the last batch was shorter. After `recompile_limit` (8) versions of a function, new cases run without being compiled.

The first guess is that sizes and Python numbers are constants. Only when a second one comes is it compiled again, now
with a variable in that place: 2 compilations. `torch.compile(f, dynamic=True)` takes variables from the start: 1. (A
batch of 1 may be a case of its own, and two sizes that are equal in the first call may pass for one variable.) A
tensor's *values* are never guarded: a number that is made a tensor before the compiled function sees it costs nothing.
A string is always a constant, and each new one is a new program.

`compiled = torch.compile(module)` is a wrapper with the module inside, as `_orig_mod`: that is in front of each key of
its `state_dict()`, and a checkpoint of it does not fit the plain model. `module.compile(...)` does the same work in
place: it returns None, and the names stay.

`backend=` says who makes code of a graph: a function, or a name. "eager" makes none, which is enough to see the rules;
the default, "inductor", calls a C++ compiler. (Counted with torch 2.11 to 2.14.)

What is asked here: three compiled functions that compile no more often than needed, and a module that keeps its names.

About 20 minutes. Before it: state_dict_roundtrip, graph_breaks.

https://docs.pytorch.org/docs/stable/user_guide/torch_compiler/compile/programming_model.recompilation.html
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import CountingBackend, check_tensor, explain, unchanged


def compile_any_batch(backend: Callable[..., Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function compiled with `backend`: floats x, (B, n) -> (B,), two times the sum of each row, in the dtype of x.

    Whatever batches from 2 up come, with the same n (and the first B is not n), it is compiled once.
    """
    raise NotImplementedError("compile 2 * the row sums, for any batch size")


def compile_scaled(backend: Callable[..., Any]) -> Callable[[torch.Tensor, float], torch.Tensor]:
    """A function compiled with `backend`: x (float32 or float64), k (a Python float) -> x * k, in the dtype of x.

    x has one dimension or more. A k in float32 is precise enough. Whatever finite numbers come, for one shape and dtype
    of x it is compiled once.
    """
    raise NotImplementedError("compile x * k, for any number k")


def compile_modes(backend: Callable[..., Any]) -> Callable[[torch.Tensor, str], torch.Tensor]:
    """A function compiled with `backend`: x (floats), mode -> x * 2 if mode is "double", else x / 2, whatever string.

    Called with two modes again and again, and x of one shape, it is compiled twice at most.
    """
    raise NotImplementedError("compile a function with a string among its arguments")


def compile_module(module: nn.Module) -> nn.Module:
    """The module, compiled with the backend "eager"; its state_dict has the same keys as before.

    Returned may be `module` itself or another module; plain checkpoints can be loaded into it. It is in the mode that
    the module was in, and can be trained as before, by an optimizer that is made for it.
    """
    raise NotImplementedError("compile the module, and return a module with the same names")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


class _Backend(CountingBackend):
    """Counts also how often a compiled graph is run."""

    runs = 0

    def __call__(self, graph: torch.fx.GraphModule, example_inputs: list[torch.Tensor]) -> Callable[..., Any]:
        forward = super().__call__(graph, example_inputs)

        def run(*args: Any) -> Any:
            self.runs += 1
            return forward(*args)

        return run


@contextlib.contextmanager
def _never_inductor(name: str) -> Iterator[None]:
    """While these tests run, torch.compile wants a backend: the default calls a C++ compiler, and takes its time."""
    __tracebackhide__ = True
    compile_ = torch.compile

    def compile_with_backend(*args: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        assert options.get("backend", "inductor") != "inductor", (
            f"{name} compiles without backend=...: that is inductor, the default, and not the backend that is asked for"
        )
        return compile_(*args, **options)

    with mock.patch.object(torch, "compile", compile_with_backend), explain(f"{name}, or what it made, raised"):
        yield


def _compilations(name: str, make: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> int:
    """Call what `make(backend)` gives with each (x, ..., expected): how many graphs were compiled?"""
    __tracebackhide__ = True
    torch.compiler.reset()  # forget what was compiled before: each count begins at zero
    backend = _Backend()
    with _never_inductor(name):
        f = make(backend)
        assert callable(f), f"{name} returns a function, got {type(f).__name__}"
        for x, *rest, want in calls:
            with unchanged("the compiled function changed its argument", x=x):
                got = f(x, *rest)
            what = ", ".join(map(repr, [tuple(x.shape), *rest]))
            said = f"{name}: what was compiled, called with a tensor of shape {what}"
            check_tensor(got, want, said, rtol=1e-9 if want.dtype == torch.float64 else 1e-6)
    assert backend.graphs, f"{name}: the backend that was given was never called, so nothing was compiled with it"
    assert backend.runs >= len(calls), (
        f"{name}: of {len(calls)} calls only {backend.runs} ran what was compiled, the others were left to Python"
    )
    return backend.graphs


def _as_without_dynamic(f: Callable[..., Any], calls: Sequence[tuple[Any, ...]], graphs: int, guess: str) -> str:
    """The cause, where it is as often as torch.compile does by itself."""
    alone = _compilations("", lambda backend: torch.compile(f, backend=backend), calls)
    return f": as many as without dynamic=, where {guess}" if graphs == alone else ""


def _rows(batch: int, n: int = 6, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.arange(batch * n, dtype=dtype).view(batch, n) / 7
    return x, torch.stack([2 * sum(row) for row in x.unbind()])


@pytest.mark.myth(
    says="The first call of a compiled function is slow, all others are fast.",
    today="A new size, number or string may be compiled again; dynamic=True is one program for all sizes.",
)
def test_a_new_batch_size_needs_no_new_program():
    calls = [_rows(batch) for batch in (2, 3, 4, 5, 7)]
    graphs = _compilations("compile_any_batch", compile_any_batch, calls)
    assert graphs == 1, f"batches of 2, 3, 4, 5 and 7 took {graphs} compilations, expected 1" + _as_without_dynamic(
        lambda x: 2 * x.sum(1), calls, graphs, "the first guess is a static size"
    )
    calls = [_rows(batch, 3, torch.float64) for batch in (7, 2, 100)]
    graphs = _compilations("compile_any_batch", compile_any_batch, calls)
    assert graphs == 1, f"made anew, for float64 batches of 7, 2 and 100, it took {graphs} compilations, expected 1"


def test_a_python_number_can_be_a_variable():
    for dtype in (torch.float32, torch.float64):
        x = torch.tensor([[1.0, -2.0, 0.0], [0.5, 4.0, 1 / 3]], dtype=dtype)
        first = 0.3 if dtype == torch.float32 else 0.25  # which float32 has exactly
        numbers = (first, 2.0, -1.5, 2**-10, 1.0, 0.0)
        calls = [(x, k, torch.stack([v * k for v in x.flatten()]).view(2, 3)) for k in numbers]
        graphs = _compilations("compile_scaled", compile_scaled, calls)
        assert graphs == 1, (
            f"k = {', '.join(map(str, numbers))} took {graphs} compilations, expected 1"
            + _as_without_dynamic(lambda x, k: x * k, calls, graphs, "the first guess is that the number never changes")
        )


def test_each_string_is_a_program_of_its_own():
    x = torch.tensor([[1.0, -3.0], [0.5, 7.0]])
    doubled, halved = torch.tensor([[2.0, -6.0], [1.0, 14.0]]), torch.tensor([[0.5, -1.5], [0.25, 3.5]])
    calls = [(x, "double", doubled), (x, "half", halved)] * 2
    graphs = _compilations("compile_modes", compile_modes, calls)
    assert graphs <= 2, f"two modes, each of them twice, took {graphs} compilations: the second time is no new case"
    others = [(x.double(), mode, halved.double()) for mode in ("doubled", "Double", " double", "")]
    _compilations("compile_modes", compile_modes, others)


class _Traced(nn.Linear):
    """Adds 100 while the compiler looks on: so its results say who runs it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return y + 100 if torch.compiler.is_compiling() else y


def _module(module: nn.Module) -> Any:
    __tracebackhide__ = True
    torch.compiler.reset()
    with _never_inductor("compile_module"):
        compiled = compile_module(module)
    hint = ". module.compile() works in place, and returns None" if compiled is None else ""
    assert isinstance(compiled, nn.Module), f"compile_module returns a module, got {type(compiled).__name__}{hint}"
    return compiled


def _run(compiled: Any, x: torch.Tensor) -> Any:
    __tracebackhide__ = True
    with _never_inductor("compile_module"):
        got = compiled(x)
    assert isinstance(got, torch.Tensor), f"the compiled module gives a tensor, got {type(got).__name__}"
    return got


@pytest.mark.myth(
    says="model = torch.compile(model) changes the speed and nothing else.",
    today="It is a wrapper, and its checkpoint has _orig_mod. in every key; model.compile() leaves the names alone.",
)
def test_a_compiled_module_keeps_its_names():
    for make, training in (
        (lambda: _Traced(2, 1), False),
        (lambda: nn.Sequential(_Traced(2, 3), nn.ReLU(), nn.BatchNorm1d(3)), True),
    ):
        module = make().train(training)
        want = list(make().state_dict())
        compiled = _module(module)
        with explain("state_dict() of the compiled module raised"):
            names = list(compiled.state_dict())
        wrapped = any("_orig_mod." in name for name in names)
        assert not wrapped, f"the state_dict has {names}: _orig_mod. in every key of your checkpoint, expected {want}"
        assert names == want, f"the state_dict has {names}, expected {want}, as before"
        with explain("a plain checkpoint could not be loaded into the compiled module"):
            compiled.load_state_dict(make().state_dict())
        modes = {part.training for part in compiled.modules()}
        assert modes == {training}, f"the module's training was {training}, and is {compiled.training} after compiling"
        learns = all(p.requires_grad for p in compiled.parameters())
        assert learns, "the compiled module cannot be trained any more: requires_grad of its parameters is off"


def test_module_compile_really_compiles():
    compiled, x = _module(_Traced(2, 1)), torch.tensor([[1.0, 10.0], [2.0, 3.0]])
    for weights in ([1.0, 1.0], [2.0, -1.0]):
        state = [torch.tensor([weights]), torch.tensor([0.25])]
        parameters = list(compiled.parameters())
        assert len(parameters) == 2, f"a compiled Linear has two parameters, here it has {len(parameters)}"
        for parameter, value in zip(parameters, state, strict=True):
            parameter.data.copy_(value)
        want = x @ state[0].T + 0.25
        got = _run(compiled, x)
        plain = got.shape == want.shape and torch.allclose(got.detach(), want)
        assert not plain, "the module's forward ran without the compiler: what was returned is not compiled"
        said = f"the compiled module, its weights set to {weights} after it was made"
        check_tensor(got.detach(), want + 100, said, rtol=1e-6)
        assert got.requires_grad, "no gradient reaches the weights from what the compiled module returns"
