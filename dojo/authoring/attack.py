"""`python -m dojo.authoring attack NAME`: the author's mirror. What do a kata's tests not see?

Each function of the reference, and each method of its classes, is spoilt in one general way at a time, and the kata's
tests are run against it. Reported are the mutants that changed something and that no test noticed: each is a hole in
the tests, or a freedom that the docstring should state. And those that never changed anything: the tests hold no datum
that could tell.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from dojo.authoring.runs import Runs, Variant, run_variants, solved_by, tests_of
from dojo.kata import seam
from dojo.kata.files import Kata
from dojo.torch_internals import storage_key

_NARROWER = {
    **{torch.float64: torch.float32, torch.float32: torch.bfloat16, torch.float16: torch.bfloat16},
    **{torch.int64: torch.int32, torch.int32: torch.int16, torch.int16: torch.int8},
}


@dataclass
class Mutant:
    """One function or method, spoilt in one way. `changed` counts the calls in which that made a difference."""

    function: str  # "softmax", or "Dropout.forward"
    way: str
    changed: int = 0
    failed: set[str] = field(default_factory=set)
    answers: dict[str, Any] = field(default_factory=dict)  # those that are given again

    @property
    def survives(self) -> bool:
        return self.changed > 0 and not self.failed


def _is_plain(x: Any) -> bool:
    return isinstance(x, Tensor) and x.layout == torch.strided and x.device.type != "meta"


def _narrow(x: Any) -> Any:
    """As if computed in a narrower dtype, and brought back."""
    return x.to(_NARROWER[x.dtype]).to(x.dtype) if _is_plain(x) and x.dtype in _NARROWER else x


def _write_into(x: Any) -> None:
    if _is_plain(x) and x.dtype != torch.bool:
        with torch.no_grad():
            x.add_(1)


# What becomes of each tensor of the result.
RESULTS: dict[str, Callable[[Tensor], Any]] = {
    "the result in a narrower dtype and back": _narrow,
    "NaN and inf of the result made finite": lambda x: x.nan_to_num() if x.is_floating_point() and _is_plain(x) else x,
    "the result in another float dtype": lambda x: (
        x.to(torch.float32 if x.dtype == torch.float64 else torch.float64) if x.is_floating_point() else x
    ),
    "the result requires grad": lambda x: (
        x if x.requires_grad or not x.is_floating_point() else x.detach().clone().requires_grad_()
    ),
    "the result detached": lambda x: x.detach() if x.requires_grad else x,
    "the result cloned": lambda x: x.clone(),
    "the result made contiguous": lambda x: x.contiguous() if _is_plain(x) else x,
    "the result without its signs": lambda x: x if x.is_complex() or x.dtype == torch.bool else x.abs(),
    "a number where a 0-d tensor was": lambda x: x.item() if x.dim() == 0 and x.device.type != "meta" else x,
}
# What becomes of each number of the result.
NUMBERS: dict[str, Callable[[Any], Any]] = {"a 0-d tensor where a number was": torch.tensor}
# What is done to each argument, after the call.
ARGUMENTS: dict[str, Callable[[Any], object]] = {
    "the arguments written into": _write_into,
    "the model left in eval mode": lambda x: x.eval() if isinstance(x, nn.Module) else None,
    "the model frozen": lambda x: x.requires_grad_(False) if isinstance(x, nn.Module) else None,
}


def _state(x: Any) -> Any:
    """All that a test could compare of a value."""
    if isinstance(x, nn.Module):
        return x.training, [p.requires_grad for p in x.parameters()]
    if _is_plain(x):
        return x.dtype, x.requires_grad, x.stride(), x.detach().clone()
    return (x.dtype, x.requires_grad) if isinstance(x, Tensor) else type(x)


def _states(tree: Any) -> list[Any]:
    return [_state(x) for x in tree_leaves(tree)]


def _differ(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape != b.shape or not bool(torch.isclose(a, b, rtol=0, atol=0, equal_nan=True).all())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) != len(b) or any(map(_differ, a, b))
    return bool(a != b)


def _shares(result: Any, given: Any) -> bool:
    keys = {storage_key(x) for x in tree_leaves(given) if _is_plain(x)}
    return any(_is_plain(x) and storage_key(x) in keys for x in tree_leaves(result))


# ── ways to spoil: each gets the function, its arguments (a tuple and a dict), and the mutant to note changes in ──

Function = Callable[..., Any]
Given = tuple[tuple[Any, ...], dict[str, Any]]


def _spoil_result(f: Function, given: Given, mutant: Mutant, change: Callable[[Any], Any], kinds: Any) -> Any:
    result = f(*given[0], **given[1])
    other = tree_map(lambda x: change(x) if isinstance(x, kinds) else x, result)
    unshared = _shares(result, given) and not _shares(other, given)
    mutant.changed += unshared or _differ(_states(result), _states(other))
    return other


def _spoil_arguments(f: Function, given: Given, mutant: Mutant, act: Callable[[Any], object]) -> Any:
    result, before = f(*given[0], **given[1]), _states(given)
    for x in tree_leaves(given):
        act(x)
    mutant.changed += _differ(before, _states(given))
    return result


def _narrow_inputs(f: Function, given: Given, mutant: Mutant) -> Any:
    args, kwargs = tree_map(lambda x: x if isinstance(x, Tensor) and x.requires_grad else _narrow(x), given)
    mutant.changed += _differ(_states(given), _states((args, kwargs)))
    return f(*args, **kwargs)


def _move_the_rng(f: Function, given: Given, mutant: Mutant) -> Any:
    mutant.changed += 1
    torch.rand(1)
    return f(*given[0], **given[1])


def _remember_by_shape(f: Function, given: Given, mutant: Mutant) -> Any:
    key = str([tuple(x.shape) if isinstance(x, Tensor) else repr(x) for x in tree_leaves(given)])
    mutant.changed += key in mutant.answers
    if key not in mutant.answers:
        mutant.answers[key] = f(*given[0], **given[1])
    return mutant.answers[key]


WAYS: dict[str, Callable[[Function, Given, Mutant], Any]] = {
    **{way: functools.partial(_spoil_result, change=change, kinds=Tensor) for way, change in RESULTS.items()},
    **{way: functools.partial(_spoil_result, change=change, kinds=float | int) for way, change in NUMBERS.items()},
    **{way: functools.partial(_spoil_arguments, act=act) for way, act in ARGUMENTS.items()},
    "the inputs narrowed": _narrow_inputs,
    "the global random state moved": _move_the_rng,
    "the first answer remembered by shape": _remember_by_shape,
}


_SPECIAL = ("__call__", "__getitem__", "__iter__", "__len__")


def _targets(functions: dict[str, Any]) -> list[str]:
    """What can be spoilt: each function, and what others call of the methods that a class defines (no static one)."""
    found = []
    for name, f in functions.items():
        if isinstance(f, type):
            methods = [m for m, x in vars(f).items() if isinstance(x, FunctionType)]
            found += [f"{name}.{m}" for m in methods if m[0] != "_" or m in _SPECIAL]
        else:
            found.append(name)
    return found


def _spoilt(f: Any, mutant: Mutant) -> Any:
    """The function, or a subclass of the class, that `mutant` stands for."""
    name, _, method = mutant.function.partition(".")
    inner = getattr(f, method) if method else f
    outer = functools.wraps(inner)(lambda *args, **kwargs: WAYS[mutant.way](inner, (args, kwargs), mutant))
    return type(name, (f,), {method: outer, "__module__": f.__module__}) if method else outer


def attack(kata: Kata, reference_root: Path) -> list[Mutant]:
    """Run a kata's tests against every mutant of its reference's functions and methods; slow tests aside."""
    runs = Runs(kata, reference_root)
    functions = solved_by(runs.reference, vars(seam.import_solution(runs.reference)))
    mutants = [Mutant(target, way) for target in _targets(functions) for way in WAYS]
    variants = []
    for i, mutant in enumerate(mutants):
        name = mutant.function.partition(".")[0]
        spoilt = {name: _spoilt(functions[name], mutant)}
        variants.append(Variant(f"mutant-{i}", (spoilt, functions), tests_of(kata, spoilt), slow=False))
    if variants:
        run_variants(runs, variants)
    for i, mutant in enumerate(mutants):
        mutant.failed = runs.failing(f"mutant-{i}")
    return mutants


def counts(mutants: list[Mutant]) -> str:
    survivors, idle = sum(mutant.survives for mutant in mutants), sum(not mutant.changed for mutant in mutants)
    return f"{len(mutants)} mutants, {survivors} survive, {idle} never changed anything"
