"""`python -m dojo.authoring attack NAME`: the author's mirror. What do a kata's tests not see?

Each function of the reference is spoilt in one general way at a time, and the kata's tests are run against it. Reported
are the mutants that changed something and that no test noticed: each is a hole in the tests, or a freedom that the
docstring should state. And those that never changed anything: the tests hold no datum that could tell.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from dojo.authoring.runs import GREEN, Runs, Variant, run_variants, solved_by, tests_of
from dojo.kata import seam
from dojo.kata.files import Kata
from dojo.torch_internals import storage_key

_NARROWER = {
    **{torch.float64: torch.float32, torch.float32: torch.bfloat16, torch.float16: torch.bfloat16},
    **{torch.int64: torch.int32, torch.int32: torch.int16, torch.int16: torch.int8},
}


@dataclass
class Mutant:
    """One function, spoilt in one way. `changed` counts the calls in which that made a difference."""

    function: str
    way: str
    changed: int = 0
    failed: set[str] = field(default_factory=set)

    @property
    def survives(self) -> bool:
        return self.changed > 0 and not self.failed


def _narrow(x: Tensor) -> Tensor:
    """As if computed in a narrower dtype, and brought back."""
    return x.to(_NARROWER[x.dtype]).to(x.dtype) if x.dtype in _NARROWER and _is_plain(x) else x


def _is_plain(x: Any) -> bool:
    return isinstance(x, Tensor) and x.layout == torch.strided and x.device.type != "meta"


def _write_into(x: Any) -> None:
    if _is_plain(x) and x.dtype != torch.bool:
        with torch.no_grad():
            x.add_(1)


def _freeze(x: Any) -> None:
    if isinstance(x, nn.Module):
        x.requires_grad_(False)


def _leave_in_eval(x: Any) -> None:
    if isinstance(x, nn.Module):
        x.eval()


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
# What is done to each argument, after the call.
ARGUMENTS: dict[str, Callable[[Any], None]] = {
    "the arguments written into": _write_into,
    "the model left in eval mode": _leave_in_eval,
    "the model frozen": _freeze,
}


def _state(leaves: list[Any]) -> list[Any]:
    """All that a test could compare of these values."""
    found: list[Any] = []
    for x in leaves:
        if isinstance(x, nn.Module):
            found.append((x.training, [p.requires_grad for p in x.parameters()]))
        elif isinstance(x, Tensor):
            values = x.detach().clone() if _is_plain(x) else None
            found.append((x.dtype, x.requires_grad, x.stride() if _is_plain(x) else None, values))
        else:
            found.append(type(x))
    return found


def _differ(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape != b.shape or not bool(torch.isclose(a, b, rtol=0, atol=0, equal_nan=True).all())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) != len(b) or any(map(_differ, a, b))
    return bool(a != b)


def _shares(result: list[Any], arguments: list[Any]) -> bool:
    keys = {storage_key(x) for x in arguments if _is_plain(x)}
    return any(_is_plain(x) and storage_key(x) in keys for x in result)


def _spoil_result(f: Callable[..., Any], mutant: Mutant, change: Callable[[Tensor], Any]) -> Callable[..., Any]:
    @functools.wraps(f)
    def spoilt(*args: Any, **kwargs: Any) -> Any:
        arguments, result = tree_leaves((args, kwargs)), f(*args, **kwargs)
        other = tree_map(lambda x: change(x) if isinstance(x, Tensor) else x, result)
        before, after = tree_leaves(result), tree_leaves(other)
        unshared = _shares(before, arguments) and not _shares(after, arguments)
        mutant.changed += unshared or _differ(_state(before), _state(after))
        return other

    return spoilt


def _spoil_arguments(f: Callable[..., Any], mutant: Mutant, act: Callable[[Any], None]) -> Callable[..., Any]:
    @functools.wraps(f)
    def spoilt(*args: Any, **kwargs: Any) -> Any:
        result, arguments = f(*args, **kwargs), tree_leaves((args, kwargs))
        before = _state(arguments)
        for x in arguments:
            act(x)
        mutant.changed += _differ(before, _state(arguments))
        return result

    return spoilt


def _narrow_inputs(f: Callable[..., Any], mutant: Mutant) -> Callable[..., Any]:
    @functools.wraps(f)
    def spoilt(*args: Any, **kwargs: Any) -> Any:
        given = tree_map(lambda x: _narrow(x) if _is_plain(x) and not x.requires_grad else x, (args, kwargs))
        mutant.changed += _differ(_state(tree_leaves((args, kwargs))), _state(tree_leaves(given)))
        return f(*given[0], **given[1])

    return spoilt


def _move_the_rng(f: Callable[..., Any], mutant: Mutant) -> Callable[..., Any]:
    @functools.wraps(f)
    def spoilt(*args: Any, **kwargs: Any) -> Any:
        mutant.changed += 1
        torch.rand(1)
        return f(*args, **kwargs)

    return spoilt


def _remember_by_shape(f: Callable[..., Any], mutant: Mutant) -> Callable[..., Any]:
    answers: dict[str, Any] = {}

    @functools.wraps(f)
    def spoilt(*args: Any, **kwargs: Any) -> Any:
        leaves = tree_leaves((args, kwargs))
        key = str([tuple(x.shape) if isinstance(x, Tensor) else repr(x) for x in leaves])
        mutant.changed += key in answers
        if key not in answers:
            answers[key] = f(*args, **kwargs)
        return answers[key]

    return spoilt


WAYS: dict[str, Callable[[Callable[..., Any], Mutant], Callable[..., Any]]] = {
    **{way: functools.partial(_spoil_result, change=change) for way, change in RESULTS.items()},
    **{way: functools.partial(_spoil_arguments, act=act) for way, act in ARGUMENTS.items()},
    "the inputs narrowed": _narrow_inputs,
    "the global random state moved": _move_the_rng,
    "the first answer remembered by shape": _remember_by_shape,
}


def attack(kata: Kata, reference_root: Path) -> list[Mutant]:
    """Run a kata's tests against every mutant of its reference's functions; classes and slow tests aside."""
    runs = Runs(kata, reference_root / f"{kata.key}.py")
    functions = solved_by(runs.reference, vars(seam.import_solution(runs.reference)))
    mutants = [Mutant(name, way) for name, f in functions.items() if not isinstance(f, type) for way in WAYS]
    variants = []
    for i, mutant in enumerate(mutants):
        spoilt = {mutant.function: WAYS[mutant.way](functions[mutant.function], mutant)}
        variants.append(Variant(f"mutant-{i}", (spoilt, functions), tests_of(kata, spoilt), slow=False))
    run_variants(runs, variants, reference_root)
    for i, mutant in enumerate(mutants):
        outcomes = runs.outcomes.get(f"mutant-{i}", {})
        mutant.failed = {test for test, outcome in outcomes.items() if outcome.kind not in GREEN}
    return mutants


def counts(mutants: list[Mutant]) -> str:
    survivors, idle = sum(mutant.survives for mutant in mutants), sum(not mutant.changed for mutant in mutants)
    return f"{len(mutants)} mutants, {survivors} survive, {idle} never changed anything"
