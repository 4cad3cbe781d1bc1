"""Devices without a GPU: a second device that behaves, a machine that is another.

Bare `meta` is no second device: `cpu @ meta`, conv, embedding and gather return uninitialised memory without an
error. Under `OneDevicePerOp` every operation that mixes devices raises CUDA's sentence, as it would on a real GPU.
Measured with torch 2.11 and 2.15; tests/test_devices.py holds the contract.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Copies are what crosses devices. (Names without the underscores at their ends.)
_COPIES = {"to_copy", "copy", "copy_from", "foreach_copy", "lift_fresh", "lift_fresh_copy"}
# x[ids] and x[ids] = v take index tensors that live on the CPU.
_INDEXED = {"index", "unsafe_index", "index_put", "unsafe_index_put", "index_put_impl"}
# A 0-dim CPU tensor stands for a number in arithmetic; as a piece to join or as an index it is a tensor like others.
_NO_NUMBERS = {
    *("cat", "stack", "embedding", "gather", "take", "scatter", "nll_loss_forward"),
    *("index_add", "index_copy", "index_select"),
}


def gpu_is_here() -> bool:
    """True where a CUDA device can really be used; `torch.accelerator` names one on machines without it too."""
    return torch.cuda.is_available() and torch.cuda.device_count() > 0


class OneDevicePerOp(TorchDispatchMode):
    """Refuse every operation whose tensors are on different devices, in CUDA's words.

    Allowed, as on CUDA: a 0-dim CPU tensor beside tensors of another device, CPU index tensors for indexing, copies.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No torch.compile here: otherwise the first operation under the mode imports it, which takes a second."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        refuse_mixed_devices(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


def refuse_mixed_devices(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise CUDA's sentence where an operation that is dispatched would mix devices."""
    devices = _devices_that_must_agree(func, args, kwargs)
    if len(devices) > 1:
        first, second = sorted(map(str, devices), reverse=True)[:2]
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {first} and {second}!"
        )


def _devices_that_must_agree(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> set[torch.device]:
    name = func.overloadpacket.__name__.strip("_")
    if name in _COPIES:
        return set()
    tensors = _tensors((args, kwargs))
    if name.removesuffix("_add") in _NO_NUMBERS:
        return {x.device for x in tensors}
    if name in _INDEXED:
        # The CPU may index another device's tensor, not the other way round.
        on_cpu = {id(x) for x in _tensors(args[1]) if x.device.type == "cpu"}
        tensors = [x for x in tensors if id(x) not in on_cpu]
        return {args[0].device} | {x.device for x in tensors if not _is_number(x)}
    return {x.device for x in tensors if not _is_number(x)} | _devices_written_to(func, args, kwargs)


def _devices_written_to(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> set[torch.device]:
    """What is written to is no mere number, whatever its shape: cpu0 += meta0 mixes devices."""
    written = set()
    for i, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            written |= {x.device for x in _tensors(value)}
    return written


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, torch.Tensor)]


def _is_number(x: torch.Tensor) -> bool:
    return x.dim() == 0 and x.device.type == "cpu"


@contextlib.contextmanager
def pretend_machine(*, cuda: bool, built: bool = True, devices: int = 1) -> Iterator[None]:
    """Make torch answer as on another machine: with `devices` usable GPUs or none, with a CUDA build of torch or not.

    Patched: the availability, count and is_built probes of `torch.cuda`, and those of MPS and XPU (which say no);
    `torch.accelerator.is_available`, `device_count`, and `current_accelerator` (which names cuda on a CUDA build even
    where no GPU is there, unless asked with check_available=True). torch.load asks `torch.cuda`, so it believes this
    too; work on the device "cuda" does not.
    """
    if cuda and (not built or devices < 1):
        raise ValueError("a usable GPU needs a CUDA build of torch and at least one device")
    count = devices if cuda else 0

    def current_accelerator(check_available: bool = False) -> torch.device | None:
        return torch.device("cuda") if cuda or (built and not check_available) else None

    no = ("backends.mps.is_available", "backends.mps.is_built", "mps.is_available", "xpu.is_available")
    answers: dict[str, Callable[..., Any]] = {
        **dict.fromkeys(("cuda.is_available", "accelerator.is_available"), lambda: cuda),
        **dict.fromkeys(("cuda.device_count", "accelerator.device_count"), lambda: count),
        **dict.fromkeys(("mps.device_count", "xpu.device_count"), lambda: 0),
        **dict.fromkeys(no, lambda: False),
        "backends.cuda.is_built": lambda: built,
        "accelerator.current_accelerator": current_accelerator,
    }
    with contextlib.ExitStack() as stack:
        for target, answer in answers.items():
            stack.enter_context(mock.patch(f"torch.{target}", answer))
        yield
