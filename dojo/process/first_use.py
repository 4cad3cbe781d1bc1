"""What torch imports and sets up only when something is used for the first time, done ahead."""

from __future__ import annotations

import functools
from pathlib import Path

from dojo import torch_internals


@functools.cache
def of_torch() -> None:
    """What torch imports at its first optimizer, meta operation and backward (900 modules) is no kata's own time."""
    import torch
    import torch.distributions

    weight = torch.ones(2, requires_grad=True)
    torch.optim.SGD([weight], 0.1)
    torch.autograd.grad(weight * 2, weight, grad_outputs=torch.ones(2))
    torch.ones(2, device="meta") - 1
    torch.func.vmap(torch.func.grad(torch.sum))(torch.ones(2, 2))
    torch.broadcast_shapes((2,), (1,))


@functools.cache
def of_the_compiler() -> None:
    """The same for the first torch.compile and torch.export, which few katas use: 2 s of imports."""
    import torch
    import torch.export

    checks = torch_internals.distributions_check()
    torch.compile(lambda x: x.sum(1) + 1, backend="eager", dynamic=True)(torch.ones(2, 3))
    torch.export.export(torch.nn.Linear(2, 1), (torch.ones(2, 2),))
    torch.compiler.reset()
    torch_internals.set_distributions_check(checks)  # a compile turns them off


def wants_the_compiler(kata: Path) -> bool:
    """Does a kata's text speak of torch.compile or torch.export?"""
    return any(word in kata.read_text(encoding="utf-8") for word in ("torch.compile", "torch.export"))
