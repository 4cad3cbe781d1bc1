"""When torch.compile compiles again: reference.

Hint: Ask of each argument: is it a constant for the compiler, or a variable? Which option makes variables of all?
Hint: `torch.compile(f, backend=backend, dynamic=True)`; `nn.Module.compile`.
Hint: compile_module: call the method of the module, with backend="eager"; then return the module itself.

Why: guards make a compiled program safe, and each guard that fails costs a compilation. dynamic=True compiles sizes and
floats as variables at once; `torch._dynamo.mark_dynamic(x, 0)` does it for one dimension. Numbers can also be put into
a tensor outside. TORCH_LOGS=recompiles prints which guard failed. Module.compile replaces the call of the module, not
the module, so names, hooks and isinstance stay as they are.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dojo import Mistake


def compile_any_batch(backend: Callable[..., Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    def double_sums(x: torch.Tensor) -> torch.Tensor:
        return 2 * x.sum(dim=1)

    return torch.compile(double_sums, backend=backend, dynamic=True)


def compile_scaled(backend: Callable[..., Any]) -> Callable[[torch.Tensor, float], torch.Tensor]:
    def scaled(x: torch.Tensor, k: float) -> torch.Tensor:
        return x * k

    return torch.compile(scaled, backend=backend, dynamic=True)


def compile_modes(backend: Callable[..., Any]) -> Callable[[torch.Tensor, str], torch.Tensor]:
    def by_mode(x: torch.Tensor, mode: str) -> torch.Tensor:
        return x * 2 if mode == "double" else x / 2

    return torch.compile(by_mode, backend=backend)


def compile_module(module: nn.Module) -> nn.Module:
    module.compile(backend="eager")
    return module


def _compiling(f, **options):
    """What makes a compiled `f`."""
    return lambda backend: torch.compile(f, **{"backend": backend, **options})


def _sums(x):
    return 2 * x.sum(1)


def _scaled(x, k):
    return x * k


def _modes(x, mode):
    return x * 2 if mode == "double" else x / 2


def _by_size(x):
    return x.sum(1) * 2 if len(x) > 3 else x.sum(1) * 2.0


def _padded(backend):
    compiled = torch.compile(_sums, backend=backend)
    return lambda x: compiled(torch.nn.functional.pad(x, (0, 0, 0, 16 - len(x))))[: len(x)]


def _row_by_row(x):
    return torch.stack([2 * row.sum() for row in x])


def _first_batch_only(backend):
    compiled, sizes = torch.compile(_sums, backend=backend), []

    def call(x):
        sizes.append(len(x))
        return compiled(x) if len(x) == sizes[0] else _sums(x)

    return call


def _kept_by_size(backend):
    return functools.cache(lambda size: torch.compile(_sums, backend=backend, dynamic=False))


def _one_for_each_size(backend):
    of_size = _kept_by_size(backend)
    return lambda x: of_size(len(x))(x)


def _one_version(backend):
    """After the first version, torch gives up compiling."""
    compiled = torch.compile(_sums, backend=backend, dynamic=False)

    def call(x):
        with torch._dynamo.config.patch(recompile_limit=1):
            return compiled(x)

    return call


def _ignores_the_backend(backend):
    return torch.compile(_sums, backend="eager", dynamic=True)


def _tensor_inside(x, k):
    return x * torch.tensor(k)


def _tensor_outside(dtype):
    def make(backend):
        compiled = torch.compile(_scaled, backend=backend)
        return lambda x, k: compiled(x, torch.tensor([k], dtype=dtype))

    return make


def _unless_one(x, k):
    return x.clone() if k == 1 else x * k


def _unless_zero(x, k):
    return torch.zeros_like(x) if k == 0 else x * k


def _rounded(backend):
    """So that there are fewer numbers to compile for."""
    compiled = torch.compile(_scaled, backend=backend, dynamic=True)
    return lambda x, k: compiled(x, round(k, 2))


def _item_again(backend):
    compiled = torch.compile(_scaled, backend=backend)
    return lambda x, k: compiled(x, torch.tensor(k).item())


def _first_number(backend):
    numbers: list[float] = []

    def f(x, k):
        numbers.append(k)
        return compiled(x, torch.tensor(numbers[0]))

    compiled = torch.compile(_scaled, backend=backend)
    return f


def _in_place(x, k):
    return x.mul_(k)


def _forgets(backend):
    compiled = torch.compile(_modes, backend=backend)

    def call(x, mode):
        torch.compiler.reset()
        return compiled(x, mode)

    return call


def _new_code(backend):
    def call(x, mode):
        return torch.compile(eval(f"lambda x: x * {2 if mode == 'double' else 0.5}"), backend=backend)(x)

    return call


def _only_double(backend):
    double = torch.compile(lambda x: x * 2, backend=backend)
    return lambda x, mode: double(x) if mode == "double" else x / 2


def _knows_two(backend):
    tensors = {"double": torch.tensor(2.0), "half": torch.tensor(0.5)}
    compiled = torch.compile(_scaled, backend=backend)
    return lambda x, mode: compiled(x, tensors[mode])


def _startswith(x, mode):
    return x * 2 if mode.startswith("double") else x / 2


def _stripped(x, mode):
    return x * 2 if mode.strip() == "double" else x / 2


def _any_case(x, mode):
    return x * 2 if mode.lower() == "double" else x / 2


def _in_a_sequence(module):
    return nn.Sequential(torch.compile(module, backend="eager"))


class _Wrapper(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module
        self.module.compile(backend="eager")

    def forward(self, x):
        return self.module(x)


def _not_registered(module):
    class Plain(nn.Module):
        def forward(self, x):
            return compiled(x)

    compiled = torch.compile(module, backend="eager")
    return Plain()


def _unwrapped(module):
    return torch.compile(module, backend="eager")._orig_mod


def _compiled_and_dropped(module):
    torch.compile(module, backend="eager")
    return module


def _old_weights(module):
    state = {name: value.clone() for name, value in module.state_dict().items()}
    compiled = torch.compile(lambda x: torch.func.functional_call(module, state, (x,)), backend="eager")
    module.__dict__["forward"] = module.forward
    outer = type(module).__new__(type(module))
    outer.__dict__.update(module.__dict__)
    outer.__dict__["forward"] = compiled
    return outer


def _by_default(module):
    module.compile()
    return module


def _for_inference(module):
    module.eval().compile(backend="eager")
    return module


def _without_gradients(module):
    module.forward = torch.no_grad()(torch.compile(module.forward, backend="eager"))
    return module


def _frozen(module):
    module.requires_grad_(False).compile(backend="eager")
    return module


_BATCH = "test_a_new_batch_size_needs_no_new_program"
_NUMBER = "test_a_python_number_can_be_a_variable"
_STRING = "test_each_string_is_a_program_of_its_own"
_NAMES = "test_a_compiled_module_keeps_its_names"
_COMPILED = "test_module_compile_really_compiles"

_STATIC = "where the first guess is a static size"
_NEVER = "was never called, so nothing was compiled"
_LEFT = "the others were left to Python"

MISTAKES = [
    Mistake(_STATIC, caught_by=_BATCH, compile_any_batch=_compiling(_sums)),
    Mistake(_STATIC, caught_by=_BATCH, compile_any_batch=_compiling(_sums, fullgraph=True)),
    Mistake("took 5 compilations", caught_by=_BATCH, compile_any_batch=_compiling(_sums, dynamic=False)),
    Mistake("took 5 compilations", caught_by=_BATCH, compile_any_batch=_one_for_each_size),
    Mistake("compilations, expected 1", caught_by=_BATCH, compile_any_batch=_compiling(_by_size, dynamic=True)),
    Mistake("compilations, expected 1", caught_by=_BATCH, compile_any_batch=_compiling(_row_by_row)),
    Mistake(_NEVER, caught_by=_BATCH, compile_any_batch=lambda backend: _sums),
    Mistake(_NEVER, caught_by=_BATCH, compile_any_batch=_ignores_the_backend),
    Mistake(_LEFT, caught_by=_BATCH, compile_any_batch=_first_batch_only),
    Mistake(_LEFT, caught_by=_BATCH, compile_any_batch=_one_version),
    Mistake(
        "compiles without backend=",
        caught_by=_BATCH,
        compile_any_batch=lambda backend: torch.compile(_sums, dynamic=True),
    ),
    Mistake("returns a function, got NoneType", caught_by=_BATCH, compile_any_batch=lambda backend: None),
    Mistake(
        "called with a tensor of shape (2, 6)",
        caught_by=_BATCH,
        compile_any_batch=_compiling(lambda x: 2 * x.sum(0), dynamic=True),
    ),
    Mistake(
        "called with a tensor of shape (2, 6)",
        caught_by=_BATCH,
        compile_any_batch=_compiling(lambda x: 2 * x.sum(1, keepdim=True), dynamic=True),
    ),
    Mistake(
        "called with a tensor of shape (2, 6)",
        caught_by=_BATCH,
        compile_any_batch=_compiling(lambda x: x.sum(1), dynamic=True),
    ),
    Mistake("called with a tensor of shape (100, 3)", caught_by=_BATCH, compile_any_batch=_padded),
    Mistake(
        "called with a tensor of shape (7, 3)",
        caught_by=_BATCH,
        compile_any_batch=_compiling(lambda x: 2 * x.float().sum(1), dynamic=True),
    ),
    Mistake(
        "the compiled function changed its argument",
        caught_by=_BATCH,
        compile_any_batch=_compiling(lambda x: x.mul_(2).sum(1), dynamic=True),
    ),
    Mistake("is that the number never changes", caught_by=_NUMBER, compile_scaled=_compiling(_scaled)),
    Mistake("is that the number never changes", caught_by=_NUMBER, compile_scaled=_compiling(_tensor_inside)),
    Mistake("is that the number never changes", caught_by=_NUMBER, compile_scaled=_item_again),
    Mistake("took 6 compilations", caught_by=_NUMBER, compile_scaled=_compiling(_scaled, dynamic=False)),
    Mistake("2 compilations, expected 1", caught_by=_NUMBER, compile_scaled=_compiling(_unless_one, dynamic=True)),
    Mistake("2 compilations, expected 1", caught_by=_NUMBER, compile_scaled=_compiling(_unless_zero, dynamic=True)),
    Mistake("compile_scaled: what was compiled", caught_by=_NUMBER, compile_scaled=_rounded),
    Mistake(_NEVER, caught_by=_NUMBER, compile_scaled=lambda backend: _scaled),
    Mistake("compile_scaled: what was compiled", caught_by=_NUMBER, compile_scaled=_tensor_outside(torch.int64)),
    Mistake("compile_scaled: what was compiled", caught_by=_NUMBER, compile_scaled=_tensor_outside(torch.bfloat16)),
    Mistake("compile_scaled: what was compiled", caught_by=_NUMBER, compile_scaled=_tensor_outside(torch.float64)),
    Mistake("compile_scaled: what was compiled", caught_by=_NUMBER, compile_scaled=_first_number),
    Mistake(
        "the compiled function changed its argument",
        caught_by=_NUMBER,
        compile_scaled=_compiling(_in_place, dynamic=True),
    ),
    Mistake("the second time is no new case", caught_by=_STRING, compile_modes=_forgets),
    Mistake("the second time is no new case", caught_by=_STRING, compile_modes=_new_code),
    Mistake(_LEFT, caught_by=_STRING, compile_modes=_only_double),
    Mistake(_NEVER, caught_by=_STRING, compile_modes=lambda backend: _modes),
    Mistake("compile_modes, or what it made, raised", caught_by=_STRING, compile_modes=_knows_two),
    Mistake("shape (2, 2), 'doubled'", caught_by=_STRING, compile_modes=_compiling(_startswith)),
    Mistake("shape (2, 2), 'Double'", caught_by=_STRING, compile_modes=_compiling(_any_case)),
    Mistake("shape (2, 2), ' double'", caught_by=_STRING, compile_modes=_compiling(_stripped)),
    Mistake(
        "shape (2, 2), 'half'",
        caught_by=_STRING,
        compile_modes=_compiling(lambda x, mode: x * 2 if mode == "double" else x // 2),
    ),
    Mistake(
        "shape (2, 2), 'double'",
        caught_by=_STRING,
        compile_modes=_compiling(lambda x, mode: x / 2 if mode == "double" else x * 2),
    ),
    Mistake(
        "_orig_mod. in every key",
        caught_by=_NAMES,
        compile_module=lambda module: torch.compile(module, backend="eager"),
    ),
    Mistake("_orig_mod. in every key", caught_by=_NAMES, compile_module=_in_a_sequence),
    Mistake("as before", caught_by=_NAMES, compile_module=_Wrapper),
    Mistake("as before", caught_by=_NAMES, compile_module=_not_registered),
    Mistake("and returns None", caught_by=_NAMES, compile_module=lambda module: module.compile(backend="eager")),
    Mistake("compiles without backend=", caught_by=_NAMES, compile_module=_by_default),
    Mistake("the module's training was True", caught_by=_NAMES, compile_module=_for_inference),
    Mistake("cannot be trained any more", caught_by=_NAMES, compile_module=_frozen),
    Mistake("no gradient reaches the weights", caught_by=_COMPILED, compile_module=_without_gradients),
    Mistake("what was returned is not compiled", caught_by=_COMPILED, compile_module=lambda module: module),
    Mistake("what was returned is not compiled", caught_by=_COMPILED, compile_module=_unwrapped),
    Mistake("what was returned is not compiled", caught_by=_COMPILED, compile_module=_compiled_and_dropped),
    Mistake("its weights set to", caught_by=_COMPILED, compile_module=_old_weights),
]
