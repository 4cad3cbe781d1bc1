"""Devices without a GPU: a second device that behaves, a checkpoint from a GPU that is not there.

Bare `meta` is no second device: `cpu @ meta`, conv, embedding and gather return uninitialised memory without an
error. Under `OneDevicePerOp` every operation that mixes devices raises CUDA's sentence, as it would on a real GPU.
Measured with torch 2.6 to 2.15; tests/test_devices.py holds the contract.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten

# Copies are what crosses devices.
_COPIES = {aten._to_copy, aten.copy_, aten.copy, aten._copy_from, aten.lift_fresh, aten.lift_fresh_copy}
# x[ids] and x[ids] = v take index tensors that live on the CPU.
_INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._unsafe_index, aten._index_put_impl_}
# The fused and for-each optimizer steps keep their step counters on the CPU.
_OPTIMIZER = ("_fused_", "_foreach_")


class OneDevicePerOp(TorchDispatchMode):
    """Refuse every operation whose tensors are on different devices, in CUDA's words.

    Allowed, as on CUDA: a 0-dim CPU tensor beside tensors of another device, CPU index tensors for indexing, copies.
    """

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        if packet not in _COPIES and not func.__name__.startswith(_OPTIMIZER):
            _refuse_mixed(func, args, kwargs)
        return func(*args, **kwargs)


def _refuse_mixed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if func.overloadpacket in _INDEXED:
        indices = [x for x in tree_leaves(args[1]) if isinstance(x, torch.Tensor)]
        elsewhere = {x.device for x in indices if x.device.type != "cpu"}
        others = [x for x in tree_leaves((args[0], args[2:], kwargs)) if isinstance(x, torch.Tensor)]
        devices = elsewhere | _devices_that_count(others) or {args[0].device}
        if args[0].device.type == "cpu" and elsewhere:
            devices.add(args[0].device)
    else:
        devices = _devices_that_count([x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)])
        if func._schema.is_mutable and args and isinstance(args[0], torch.Tensor):
            devices.add(args[0].device)  # what is written to is no mere scalar operand
    if len(devices) > 1:
        first, second = sorted(map(str, devices), reverse=True)[:2]
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {first} and {second}!"
        )


def _devices_that_count(tensors: list[torch.Tensor]) -> set[torch.device]:
    """All devices, save that of 0-dim CPU tensors where something else decides."""
    return {x.device for x in tensors if not (x.dim() == 0 and x.device.type == "cpu")}


def forge_gpu_checkpoint(state: Any, file: Path | io.BytesIO) -> None:
    """Save `state` (on the CPU) so that every storage claims to come from cuda:0.

    torch.load then behaves as it does with a checkpoint from a GPU machine. Checked: at least one tag was written.
    """
    with mock.patch("torch.serialization.location_tag", return_value="cuda:0"):
        torch.save(state, file)
    with zipfile.ZipFile(file) as archive:
        pickles = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
    if not any(b"cuda:0" in text for text in pickles):
        raise AssertionError("the forged checkpoint holds no cuda:0 tag: this torch saves tags in another way")


@contextlib.contextmanager
def pretend_machine(*, cuda: bool, built: bool = True, devices: int = 1) -> Iterator[None]:
    """Make torch answer as on another machine: with or without a usable GPU, with a CUDA build of torch or not.

    Patched: `torch.cuda.is_available`, `torch.cuda.device_count`, `torch.accelerator.is_available`,
    `torch.accelerator.device_count`, `torch.accelerator.current_accelerator` (which names cuda on a CUDA build even
    where no GPU is there, unless asked with check_available=True) and the MPS and XPU probes.
    """
    count = devices if cuda else 0

    def current_accelerator(check_available: bool = False) -> torch.device | None:
        named = torch.device("cuda") if built else None
        return named if cuda or not check_available else None

    with contextlib.ExitStack() as stack:
        for target, answer in (
            ("torch.cuda.is_available", lambda: cuda),
            ("torch.cuda.device_count", lambda: count),
            ("torch.backends.cuda.is_built", lambda: built),
            ("torch.accelerator.is_available", lambda: cuda),
            ("torch.accelerator.device_count", lambda: count),
            ("torch.accelerator.current_accelerator", current_accelerator),
            ("torch.backends.mps.is_available", lambda: False),
            ("torch.xpu.is_available", lambda: False),
        ):
            stack.enter_context(mock.patch(target, answer))
        yield
