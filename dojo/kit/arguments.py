"""`unchanged`: what a function was given is afterwards as it was."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import nn

from dojo.torch_internals import is_freed

# What is compared of each part of an argument: ("w", "its strides") -> (3, 1)
Parts = dict[tuple[str, str], Any]


class unchanged(contextlib.AbstractContextManager):
    """The block must leave each of `given` as it is, else `mistake` is said, and what changed.

    Of a tensor: values, shape, dtype, strides, `requires_grad`, `grad`. Of an array: values, shape, dtype. Of a module:
    the mode of each of its modules, its hooks, and its parameters and buffers. Of a list, tuple or dict: what it holds.
    A `torch.Generator`: its state. With `rng=True` the state of torch's global generator as well.
    """

    def __init__(self, mistake: str, *, rng: bool = False, **given: Any) -> None:
        self.mistake, self.rng, self.given = mistake, rng, given

    def _parts(self) -> Parts:
        parts: Parts = {}
        for name, value in self.given.items():
            _add(parts, name, value)
        if self.rng:
            parts["torch's global random numbers", "their state"] = _Values(torch.get_rng_state())
        return parts

    def __enter__(self) -> None:
        self.before = self._parts()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        if error is not None:
            return
        after = self._parts()
        for key in [*self.before, *(key for key in after if key not in self.before)]:
            was, is_ = self.before.get(key, _Nothing()), after.get(key, _Nothing())
            if was != is_:
                raise AssertionError(f"{self.mistake}\n{key[0]} is not as it was: {key[1]}{_change(was, is_)}")


class _Nothing:
    """Stands for what is not there."""


class _Values:
    """A copy of a tensor's values, equal where each value is (NaN equals NaN)."""

    def __init__(self, x: torch.Tensor) -> None:
        self.copy = x.detach().clone()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Values) and self._first_difference(other) is None

    def _first_difference(self, other: _Values) -> int | None:
        a, b = self.copy, other.copy
        if a.shape != b.shape or a.dtype != b.dtype:
            return 0
        if a.device.type == "meta" or a.layout != b.layout or a.is_quantized:
            return None
        if a.layout != torch.strided:
            a, b = a.to_dense(), b.to_dense()
        same = (a == b) | ((a != a) & (b != b))
        return None if bool(same.all()) else int((~same).flatten().int().argmax())

    def change(self, other: _Values) -> str:
        at = self._first_difference(other)
        a, b = self.copy, other.copy
        if at is None or a.shape != b.shape or a.layout != torch.strided:
            return ""
        place = [int(i) for i in np.unravel_index(at, a.shape)]
        was, is_ = a.flatten()[at].item(), b.flatten()[at].item()
        return (f", at {place}" if place else "") + f", before {was}, after {is_}"


def _change(was: Any, is_: Any) -> str:
    if isinstance(was, _Nothing) or isinstance(is_, _Nothing):
        return ", not there before" if isinstance(was, _Nothing) else ", not there after"
    if isinstance(was, _Values) and isinstance(is_, _Values):
        return was.change(is_)
    if isinstance(was, _Values) or isinstance(is_, _Values):  # a gradient came, or went
        return ", None before" if was is None else ", None after"
    return f", before {was!r}, after {is_!r}"


def _add(parts: Parts, name: str, value: Any) -> None:
    # First of all parts: a list that has become a tensor is said as that. (A subclass may replace its class.)
    kinds = (torch.Tensor, nn.Module, np.ndarray, dict, list, tuple)
    parts[name, "its type"] = next((kind.__name__ for kind in kinds if isinstance(value, kind)), "other")
    if isinstance(value, torch.Tensor):
        _add_tensor(parts, name, value)
    elif isinstance(value, nn.Module):
        _add_module(parts, name, value)
    elif isinstance(value, np.ndarray):
        parts[name, "its shape"], parts[name, "its dtype"] = value.shape, str(value.dtype)
        parts[name, "its values"] = value.tobytes()
    elif isinstance(value, torch.Generator):
        parts[name, "its state"] = _Values(value.get_state())
    elif isinstance(value, dict):
        parts[name, "its keys"] = list(value)
        for key, item in value.items():
            _add(parts, f"{name}[{key!r}]", item)
    elif isinstance(value, list | tuple):
        parts[name, "its length"] = len(value)
        for i, item in enumerate(value):
            _add(parts, f"{name}[{i}]", item)
    else:
        parts[name, "its value"] = value


def _add_tensor(parts: Parts, name: str, x: torch.Tensor) -> None:
    parts[name, "its shape"], parts[name, "its dtype"] = tuple(x.shape), x.dtype
    if x.layout == torch.strided:
        parts[name, "its strides"] = x.stride()
    parts[name, "requires_grad"] = x.requires_grad
    freed = x.layout == torch.strided and is_freed(x)
    parts[name, "its memory"] = "freed" if freed else "there"
    if not freed:
        parts[name, "its values"] = _Values(x)
    if x.is_leaf:
        parts[name, "its grad"] = None if x.grad is None else _Values(x.grad)


def _add_module(parts: Parts, name: str, model: nn.Module) -> None:
    for path, module in model.named_modules():
        inner = f"{name}.{path}" if path else name
        parts[inner, "its mode (training)"] = module.training
        parts[inner, "the number of its hooks"] = len(module._forward_hooks) + len(module._forward_pre_hooks)
    for path, tensor in [*model.named_parameters(), *model.named_buffers()]:
        _add_tensor(parts, f"{name}.{path}", tensor)
