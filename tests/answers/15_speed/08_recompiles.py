"""Answers that people give to recompiles, right ones and wrong ones."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


def _marked(backend):
    compiled = torch.compile(lambda x: x.sum(-1).mul(2), backend=backend)

    def call(x):
        torch._dynamo.mark_dynamic(x, 0)
        return compiled(x)

    return call


def _padded(backend):
    compiled = torch.compile(lambda x: 2 * x.sum(1), backend=backend)

    def call(x):
        blocks = [F.pad(rows, (0, 0, 0, 16 - len(rows))) for rows in x.split(16)]
        return torch.cat([compiled(rows) for rows in blocks])[: len(x)]

    return call


def _decorated(backend):
    @torch.compile(backend=backend, dynamic=True, fullgraph=True)
    def f(x):
        return x @ x.new_full((x.shape[1],), 2.0)

    return f


class _Sums(nn.Module):
    def forward(self, x):
        return torch.einsum("bn->b", x) * 2


def _as_module(backend):
    module = _Sums()
    module.compile(backend=backend, dynamic=True)
    return module


def _outside(backend):
    compiled = torch.compile(torch.mul, backend=backend)
    return lambda x, k: compiled(x, torch.tensor(k, dtype=torch.float64))


def _in_float32(backend):
    compiled = torch.compile(lambda x, k: x * k, backend=backend)
    return lambda x, k: compiled(x, torch.tensor(k, dtype=torch.float32))


def _like(backend):
    @torch.compile(backend=backend)
    def f(x, k):
        return x * k

    return lambda x, k: f(x, x.new_tensor(k))


def _full(backend):
    return torch.compile(lambda x, k: x * torch.full_like(x, k), backend=backend, dynamic=True)


def _two_functions(backend):
    double = torch.compile(lambda x: x + x, backend=backend)
    half = torch.compile(lambda x: x * 0.5, backend=backend)
    return lambda x, mode: double(x) if mode == "double" else half(x)


def _a_factor(backend):
    compiled = torch.compile(lambda x, factor: x * factor, backend=backend, dynamic=True)
    return lambda x, mode: compiled(x, 2.0 if mode == "double" else 0.5)


def _a_bool(backend):
    compiled = torch.compile(lambda x, double: x * 2 if double else x / 2, backend=backend)
    return lambda x, mode: compiled(x, mode == "double")


def _wrapped_each_time(backend):
    def f(x, mode):
        return x.mul(2) if mode == "double" else x.div(2)

    return lambda x, mode: torch.compile(f, backend=backend)(x, mode)


def _forward_only(module):
    module.forward = torch.compile(module.forward, backend="eager")
    return module


def _copied(module):
    clone = copy.deepcopy(module)
    clone.compile(backend="eager", dynamic=True)
    return clone


def _own_backend(module):
    module.compile(backend=lambda graph, inputs: graph.forward)
    return module.train(module.training)


RIGHT = [
    {
        "compile_any_batch": _marked,
        "compile_scaled": _outside,
        "compile_modes": _two_functions,
        "compile_module": _forward_only,
    },
    {"compile_any_batch": _decorated, "compile_scaled": _like, "compile_modes": _a_factor, "compile_module": _copied},
    {
        "compile_any_batch": _as_module,
        "compile_scaled": _full,
        "compile_modes": _a_bool,
        "compile_module": _own_backend,
    },
    {"compile_any_batch": _padded, "compile_scaled": _in_float32, "compile_modes": _wrapped_each_time},
    {
        "compile_any_batch": lambda backend: torch.compile(
            torch.vmap(lambda row: 2 * row.sum()), backend=backend, dynamic=True
        ),
        "compile_scaled": lambda backend: torch.compile(lambda x, k: torch.mul(x, k), backend=backend, dynamic=True),
        "compile_modes": lambda backend: torch.compile(
            lambda x, mode: {"double": 2.0}.get(mode, 0.5) * x, backend=backend, dynamic=True
        ),
    },
]


def _default(backend):
    @torch.compile(backend=backend)
    def f(x):
        return x.sum(dim=1) * 2

    return f


def _static(backend):
    @torch.compile(backend=backend, dynamic=False)
    def f(x):
        return x.sum(dim=1) * 2

    return f


def _python_loop(backend):
    def f(x):
        sums = []
        for i in range(x.shape[0]):
            sums.append(2 * x[i].sum())
        return torch.stack(sums)

    return torch.compile(f, backend=backend)


def _disabled(backend):
    return torch.compile(torch.compiler.disable(lambda x: x.sum(1) * 2, recursive=True), backend="eager")


def _compiled_late(backend):
    return lambda x: 2 * x.sum(1) if len(x) < 3 else torch.compile(lambda x: 2 * x.sum(1), backend=backend)(x)


def _half_only(backend):
    half = torch.compile(lambda x: x / 2, backend=backend)
    return lambda x, mode: x * 2 if mode == "double" else half(x)


def _known(backend):
    def f(x, mode):
        if mode == "double":
            return x * 2
        if mode == "half":
            return x / 2
        raise ValueError(mode)

    return torch.compile(f, backend=backend)


def _contains(backend):
    return torch.compile(lambda x, mode: x * 2 if "double" in mode else x / 2, backend=backend)


def _again(backend):
    def call(x, mode):
        torch._dynamo.reset()
        return torch.compile(lambda x: x * 2 if mode == "double" else x / 2, backend=backend)(x)

    return call


def _saved_number(backend):
    box = {}

    def f(x):
        return x * box["k"]

    compiled = torch.compile(f, backend=backend)

    def call(x, k):
        box["k"] = k
        return compiled(x)

    return call


def _for_prediction(module):
    plain = torch.compile(module.forward, backend="eager")
    module.forward = lambda x: plain(x.detach()).detach()
    return module


def _through_float32(backend):
    return torch.compile(lambda x: 2 * x.float().sum(1).to(x.dtype), backend=backend, dynamic=True)


def _list_of_modules(module):
    return nn.ModuleList([torch.compile(module, backend="eager")])


def _named(module):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = module

        def forward(self, x):
            return self.model(x)

    model = Model()
    model.compile(backend="eager")
    return model


def _undone(module):
    module.compile(backend="eager")
    return _plain_copy(module)


def _plain_copy(module):
    clone = copy.deepcopy(module)
    clone._compiled_call_impl = None
    return clone


def _disabled_module(module):
    module.forward = torch.compiler.disable(module.forward)
    module.compile(backend="eager")
    return module


_STATIC = "where the first guess is a static size"
_NEVER = "was never called, so nothing was compiled"
_LEFT = "the others were left to Python"

WRONG = [
    Mistake(_STATIC, caught_by="", compile_any_batch=_default),
    Mistake("took 5 compilations", caught_by="", compile_any_batch=_static),
    Mistake("compilations, expected 1", caught_by="", compile_any_batch=_python_loop),
    Mistake(_NEVER, caught_by="", compile_any_batch=_disabled),
    Mistake(_NEVER, caught_by="", compile_any_batch=lambda backend: torch.compiler.disable(lambda x: 2 * x.sum(1))),
    Mistake(_LEFT, caught_by="", compile_any_batch=_compiled_late),
    Mistake("compiles without backend=", caught_by="", compile_any_batch=lambda backend: torch.compile(_Sums())),
    Mistake(
        "returns a function, got NoneType",
        caught_by="",
        compile_any_batch=lambda backend: _Sums().compile(backend=backend, dynamic=True),
    ),
    Mistake(
        "called with a tensor of shape (2, 6)",
        caught_by="",
        compile_any_batch=lambda backend: torch.compile(lambda x: 2 * x.mean(1), backend=backend, dynamic=True),
    ),
    Mistake(
        "called with a tensor of shape (2, 6)",
        caught_by="",
        compile_any_batch=lambda backend: torch.compile(lambda x: 2 * x.sum(), backend=backend, dynamic=True),
    ),
    Mistake("is that the number never changes", caught_by="", compile_scaled=_saved_number),
    Mistake(
        "is that the number never changes",
        caught_by="",
        compile_scaled=lambda backend: torch.compile(lambda x, k: x * torch.as_tensor(k), backend=backend),
    ),
    Mistake(
        "took 6 compilations",
        caught_by="",
        compile_scaled=lambda backend: torch.compile(lambda x, k: x.mul(k), dynamic=False, backend=backend),
    ),
    Mistake(
        "compile_scaled: what was compiled",
        caught_by="",
        compile_scaled=lambda backend: torch.compile(lambda x, k: x * int(k), dynamic=True, backend=backend),
    ),
    Mistake(
        "compile_scaled: what was compiled",
        caught_by="",
        compile_scaled=lambda backend: torch.compile(
            lambda x, k: (x.float() * k).to(x.dtype), backend=backend, dynamic=True
        ),
    ),
    Mistake(_NEVER, caught_by="", compile_scaled=lambda backend: lambda x, k: x * k),
    Mistake(_LEFT, caught_by="", compile_modes=_half_only),
    Mistake("compile_modes, or what it made, raised", caught_by="", compile_modes=_known),
    Mistake("no gradient reaches the weights", caught_by="", compile_module=_for_prediction),
    Mistake("called with a tensor of shape (7, 3)", caught_by="", compile_any_batch=_through_float32),
    Mistake("shape (2, 2), 'doubled'", caught_by="", compile_modes=_contains),
    Mistake("the second time is no new case", caught_by="", compile_modes=_again),
    Mistake(_NEVER, caught_by="", compile_modes=lambda backend: lambda x, m: x * 2 if m == "double" else x / 2),
    Mistake("_orig_mod. in every key", caught_by="", compile_module=_list_of_modules),
    Mistake("as before", caught_by="", compile_module=_named),
    Mistake("and returns None", caught_by="", compile_module=lambda module: None),
    Mistake("what was returned is not compiled", caught_by="", compile_module=_disabled_module),
    Mistake("what was returned is not compiled", caught_by="", compile_module=_undone),
]
