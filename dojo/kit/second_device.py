"""A second device that has values: for code that brings its results home, which on `meta` nothing can do.

A tensor there holds an ordinary CPU tensor and names another device: torch's "lazy", the one device type that nobody
uses and that needs no driver to be named (tried with torch 2.11, 2.14 and 2.15; tests/test_devices.py holds the
contract). Each operation runs on the CPU tensors inside; one that mixes devices raises CUDA's sentence. Values only: no
gradients flow there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from dojo.kit.devices import refuse_mixed_devices

_CPU = torch.device("cpu")
_FAR = torch.device("lazy:0")


@contextlib.contextmanager
def a_second_device() -> Iterator[torch.device]:
    """Inside the block `x.to(device)` is on another device, and operations that mix devices are refused, as on CUDA."""
    with _SecondDevice():
        yield _FAR


_Tensor: Any = torch.Tensor  # a base class whose methods may be given other signatures


class _FarTensor(_Tensor):
    near: torch.Tensor

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> _FarTensor:
        layout = {"strides": near.stride(), "storage_offset": near.storage_offset(), "dtype": near.dtype}
        far: _FarTensor = _Tensor._make_wrapper_subclass(cls, near.size(), device=_FAR, **layout)
        far.near = near
        return far

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.near.tolist()

    def __repr__(self) -> str:
        return f"{self.near!r} on {_FAR}"


class _SecondDevice(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No torch.compile here: see OneDevicePerOp."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    refuse_mixed_devices(func, args, kwargs)
    device = kwargs.get("device")  # where a copy or a new tensor is asked to be
    if device is None:
        device = _device_of((args, kwargs))
    else:
        kwargs = {**kwargs, "device": _CPU}
    near_args, near_kwargs = tree_map(_near, (args, kwargs))
    result = func(*near_args, **near_kwargs)
    if func._schema.is_mutable and isinstance(args[0], torch.Tensor):
        return args[0]  # written in place
    return tree_map(lambda x: _at(device, x), result)


def _device_of(tree: Any) -> torch.device:
    """The device of an operation's result: the other one as soon as one of its tensors is there."""
    return _FAR if any(isinstance(x, _FarTensor) for x in tree_leaves(tree)) else _CPU


def _near(x: Any) -> Any:
    return x.near if isinstance(x, _FarTensor) else x


def _at(device: Any, x: Any) -> Any:
    return _FarTensor(x) if isinstance(x, torch.Tensor) and torch.device(device).type == _FAR.type else x
