"""`python -m dojo.authoring attack NAME`: the author's mirror. What do a kata's tests not see?

Each function of the reference is spoilt in one general way at a time, and the kata's tests are run against it. Reported
are the mutants that changed something and that no test noticed: each is a hole in the tests, or a freedom that the
docstring should state. And those that never changed anything: the tests hold no datum that could tell.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from dojo.authoring.runs import GREEN, Runs, Variant, run_variants, solved_by, tests_of
from dojo.kata import seam
from dojo.kata.files import Kata
from dojo.torch_internals import storage_key

_NARROWER = {
    torch.float64: torch.float32,
    torch.float32: torch.bfloat16,
    torch.bfloat16: torch.float8_e4m3fn,
    torch.float16: torch.bfloat16,
    torch.int64: torch.int32,
    torch.int32: torch.int16,
    torch.int16: torch.int8,
}


@dataclass
class Mutant:
    """One function, spoilt in one way. `changed` counts the calls in which that made a difference."""

    function: str
    way: str
    changed: int = 0
    failed: set[str] = field(default_factory=set)


# ── ways to spoil a result: each takes a tensor of the result and gives another one ──


def _narrowed(x: torch.Tensor) -> torch.Tensor:
    """As if computed in a narrower dtype, and brought back."""
    narrower = _NARROWER.get(x.dtype)
    return x if narrower is None or x.layout != torch.strided else x.to(narrower).to(x.dtype)


def _finite(x: torch.Tensor) -> torch.Tensor:
    return x.nan_to_num() if x.is_floating_point() and x.layout == torch.strided else x


def _of_another_float(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.float32 if x.dtype == torch.float64 else torch.float64) if x.is_floating_point() else x


def _requiring_grad(x: torch.Tensor) -> torch.Tensor:
    return x if x.requires_grad or not x.is_floating_point() else x.detach().clone().requires_grad_()


def _detached(x: torch.Tensor) -> torch.Tensor:
    return x.detach() if x.requires_grad else x


def _cloned(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


def _contiguous(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous() if x.layout == torch.strided else x


def _without_sign(x: torch.Tensor) -> torch.Tensor:
    return x.abs() if not x.is_complex() and x.dtype != torch.bool else x


RESULT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "the result in a narrower dtype and back": _narrowed,
    "NaN and inf of the result made finite": _finite,
    "the result in another float dtype": _of_another_float,
    "the result requires grad": _requiring_grad,
    "the result detached": _detached,
    "the result cloned": _cloned,
    "the result made contiguous": _contiguous,
    "the result without its signs": _without_sign,
}


def _differs(a: Any, b: Any, inputs: list[torch.Tensor]) -> bool:
    """Could a test tell the two results apart?"""
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
        return type(a) is not type(b) or a is not b
    if (a.dtype, a.requires_grad, a.layout) != (b.dtype, b.requires_grad, b.layout):
        return True
    if a.layout != torch.strided or a.device.type == "meta":
        return False
    if a.stride() != b.stride():
        return True
    shared = any(_same_storage(a, x) for x in inputs) and not any(_same_storage(b, x) for x in inputs)
    same = torch.isclose(a.detach(), b.detach(), rtol=0, atol=0, equal_nan=True) if a.numel() else torch.tensor(True)
    return shared or not bool(same.all())


def _same_storage(a: torch.Tensor, b: torch.Tensor) -> bool:
    return b.layout == torch.strided and storage_key(a) == storage_key(b)


def _spoil_result(f: Callable[..., Any], change: Callable[[torch.Tensor], Any], mutant: Mutant) -> Callable[..., Any]:
    @functools.wraps(f)
    def spoilt(*args: Any, **kwargs: Any) -> Any:
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        result = f(*args, **kwargs)
        other = tree_map(lambda x: change(x) if isinstance(x, torch.Tensor) else x, result)
        pairs = zip(tree_leaves(result), tree_leaves(other), strict=True)
        mutant.changed += any(_differs(a, b, inputs) for a, b in pairs)
        return other

    return spoilt


# ── ways to spoil a call: each is called before f (and may change its arguments) or after it ──


def _inputs_narrowed(args: Any) -> tuple[Any, bool]:
    new = tree_map(lambda x: _narrowed(x.detach()) if isinstance(x, torch.Tensor) and not x.requires_grad else x, args)
    pairs = zip(tree_leaves(args), tree_leaves(new), strict=True)
    return new, any(isinstance(a, torch.Tensor) and not torch.equal(a, b) for a, b in pairs if _readable(a))


def _readable(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.layout == torch.strided and x.device.type != "meta"


def _write_into(args: Any) -> bool:
    found = [x for x in tree_leaves(args) if _readable(x) and x.numel() and x.dtype != torch.bool]
    with torch.no_grad():
        for x in found:
            x.add_(1)
    return bool(found)


def _leave_in_eval(args: Any) -> bool:
    modules = [x for x in tree_leaves(args) if isinstance(x, nn.Module) and x.training]
    for module in modules:
        module.eval()
    return bool(modules)


def _freeze(args: Any) -> bool:
    modules = [x for x in tree_leaves(args) if isinstance(x, nn.Module)]
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    return bool(parameters)


def _move_the_rng(args: Any) -> bool:
    torch.rand(1)
    return True


AFTER: dict[str, Callable[[Any], bool]] = {
    "the arguments written into": _write_into,
    "the model left in eval mode": _leave_in_eval,
    "the model frozen": _freeze,
    "the global random state moved": _move_the_rng,
}


def _spoil_inputs(f: Callable[..., Any], mutant: Mutant) -> Callable[..., Any]:
    @functools.wraps(f)
    def spoilt(*args: Any, **kwargs: Any) -> Any:
        (args, kwargs), changed = _inputs_narrowed((args, kwargs))
        mutant.changed += changed
        return f(*args, **kwargs)

    return spoilt


def _spoil_after(f: Callable[..., Any], act: Callable[[Any], bool], mutant: Mutant) -> Callable[..., Any]:
    @functools.wraps(f)
    def spoilt(*args: Any, **kwargs: Any) -> Any:
        result = f(*args, **kwargs)
        mutant.changed += act((args, kwargs))
        return result

    return spoilt


def _number_for_tensor(x: torch.Tensor) -> Any:
    return x.item() if x.dim() == 0 and x.device.type != "meta" else x


def _remember_by_shape(f: Callable[..., Any], mutant: Mutant) -> Callable[..., Any]:
    answers: dict[Any, Any] = {}

    @functools.wraps(f)
    def spoilt(*args: Any, **kwargs: Any) -> Any:
        key = [tuple(x.shape) if isinstance(x, torch.Tensor) else repr(x) for x in tree_leaves((args, kwargs))]
        if str(key) in answers:
            mutant.changed += 1
        else:
            answers[str(key)] = f(*args, **kwargs)
        return answers[str(key)]

    return spoilt


def mutants(functions: dict[str, Any]) -> Iterator[tuple[Mutant, Callable[..., Any]]]:
    """Each function, spoilt in each way. Classes are left alone."""
    for name, f in functions.items():
        if isinstance(f, type):
            continue
        ways: dict[str, Callable[[Mutant], Callable[..., Any]]] = {
            way: functools.partial(_spoil_result, f, change) for way, change in RESULT.items()
        }
        ways["a number where a 0-d tensor was"] = functools.partial(_spoil_result, f, _number_for_tensor)
        ways["the inputs narrowed"] = functools.partial(_spoil_inputs, f)
        ways |= {way: functools.partial(_spoil_after, f, act) for way, act in AFTER.items()}
        ways["the first answer remembered by shape"] = functools.partial(_remember_by_shape, f)
        for way, spoil in ways.items():
            mutant = Mutant(name, way)
            yield mutant, spoil(mutant)


def attack(kata: Kata, reference_root: Path) -> list[Mutant]:
    """Run a kata's tests against every mutant of its reference; slow tests aside."""
    runs = Runs(kata, reference_root / f"{kata.key}.py")
    functions = solved_by(runs.reference, vars(seam.import_solution(runs.reference)))
    solved = seam.Overlay(kata.key, functions)
    variants, found = [], []
    for i, (mutant, spoilt) in enumerate(mutants(functions)):
        overlay = seam.Overlay(kata.key, {mutant.function: spoilt})
        variants.append(Variant(f"mutant-{i}", (overlay, solved), tests_of(kata, [mutant.function]), slow=False))
        found.append(mutant)
    run_variants(runs, variants, reference_root)
    for i, mutant in enumerate(found):
        outcomes = runs.outcomes.get(f"mutant-{i}", {})
        mutant.failed = {test for test, outcome in outcomes.items() if outcome.kind not in GREEN}
    return found
