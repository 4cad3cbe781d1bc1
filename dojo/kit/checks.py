"""Helpers for kata tests: checks whose failure names the mistake.

Every helper hides its own frames (`__tracebackhide__`), so that a failure points at the line of the test.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import torch

from dojo.isolation.calls import forbidden_call
from dojo.kata.source import is_stub_error
from dojo.kit.comparison import Comparison, note_memory_check
from dojo.text import first_lines, safe_str
from dojo.torch_internals import is_freed, storage_key


def shares_memory(a: torch.Tensor | np.ndarray, b: torch.Tensor | np.ndarray) -> bool:
    """Do two tensors (or arrays) live in the same storage?

    For tensors: the same storage, also when the two windows on it do not overlap, or are empty. An array has no
    storage object, so with an array the address ranges are compared.
    """
    same = _shares_memory(a, b)
    note_memory_check(a, b, same, sys._getframe(1))
    return same


def _shares_memory(a: torch.Tensor | np.ndarray, b: torch.Tensor | np.ndarray) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if storage_key(a) == storage_key(b):
            return True
        if a.device != b.device or a.device.type == "meta":
            return False
    (a_low, a_high), (b_low, b_high) = _address_range(a), _address_range(b)
    return max(a_low, b_low) < min(a_high, b_high)


def _address_range(x: torch.Tensor | np.ndarray) -> tuple[int, int]:
    if isinstance(x, np.ndarray):
        return np.lib.array_utils.byte_bounds(x)
    storage = x.untyped_storage()
    return storage.data_ptr(), storage.data_ptr() + storage.nbytes()


def check_tensor(
    got: Any,
    want: torch.Tensor,
    mistake: str = "",
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    requires_grad: bool | None = None,
    strides: tuple[int, ...] | None = None,
) -> None:
    """Fail unless `got` is `want`: with the sentence `mistake`, and the most telling difference first.

    Compared in this order: type, shape, dtype, device, `requires_grad` and `strides` where given, layout (strided or
    sparse), values (NaN equals NaN; exactly, unless rtol or atol say otherwise). On the meta device there are no
    values to compare. Where `requires_grad` is not given, a leaf that requires a gradient is refused all the same,
    unless `want` is one, or it is a model's parameter.
    """
    __tracebackhide__ = True
    if got is None:
        raise AssertionError(f"got None where a tensor was expected: is a `return` missing?\n{mistake}".rstrip())
    aspect, difference = _difference(got, want, rtol, atol, requires_grad, strides)
    if difference:
        error = AssertionError(f"{mistake}\n{difference}" if mistake else difference)
        error.comparison = Comparison(got, want, aspect)  # type: ignore[attr-defined]  # for the X-ray
        raise error


def _difference(
    got: Any,
    want: torch.Tensor,
    rtol: float,
    atol: float,
    requires_grad: bool | None,
    strides: tuple[int, ...] | None,
) -> tuple[str, str]:
    """The first aspect in which they differ, and a sentence on it; two empty strings where they don't."""
    if not isinstance(got, torch.Tensor):
        return "type", f"expected a tensor, got {type(got).__name__}"
    if got.is_nested:
        return "type", "expected a plain tensor, got a nested one, whose rows have shapes of their own"
    if requires_grad is None and got.is_leaf and not isinstance(got, torch.nn.Parameter) and not want.requires_grad:
        requires_grad = False
    for aspect, is_, should in (
        ("shape", tuple(got.shape), tuple(want.shape)),
        ("dtype", got.dtype, want.dtype),
        ("device", got.device, want.device),
        ("requires_grad", got.requires_grad, requires_grad),
        ("strides", got.stride() if strides is not None and got.layout == torch.strided else strides, strides),
        ("layout", got.layout, want.layout),
    ):
        if should is not None and is_ != should:
            node = got.grad_fn if aspect == "requires_grad" else None
            graph = "" if node is None else f", grad_fn={type(node).__name__}"
            return aspect, f"{aspect}: expected {should}, got {is_}{graph}"
    if got.device.type == "meta":
        return "", ""
    if got.layout == torch.strided and is_freed(got):
        return "storage", "the tensor reaches beyond the end of its storage: nothing can be read there"
    return "values", _value_difference(got.detach(), want.detach(), rtol, atol)


def _value_difference(got: torch.Tensor, want: torch.Tensor, rtol: float, atol: float) -> str:
    if got.layout != torch.strided:
        got, want = got.to_dense(), want.to_dense()
    equal = torch.isclose(got, want, rtol=rtol, atol=atol, equal_nan=True)
    if equal.all():
        return ""
    wide = torch.complex128 if got.is_complex() else torch.float64
    gap = (got.to(wide) - want.to(wide)).abs().nan_to_num(nan=float("inf")).masked_fill(equal, -1.0)
    worst = int(gap.argmax())
    one = [x.flatten()[worst : worst + 1] for x in (want, got, ~equal)]
    (expected,), (is_,) = _in_words(*one)
    if got.numel() == 1:
        return f"value: expected {expected}, got {is_}"
    place = [int(i) for i in np.unravel_index(worst, got.shape)]
    share = f"{int((~equal).sum())} of {got.numel()} values differ"
    lines = [f"{share}, worst at {place}: expected {expected}, got {is_}"]
    if got.numel() <= 24:
        texts = _in_words(want, got, ~equal)
        lines += [f"  expected {_nested(texts[0], got.shape)}", f"  got      {_nested(texts[1], got.shape)}"]
    return "\n".join(lines)


def _in_words(want: torch.Tensor, got: torch.Tensor, differ: torch.Tensor) -> tuple[list[str], list[str]]:
    """Each value of both: floats to six digits, to all where those would not show the difference."""
    pairs = [x.flatten().tolist() for x in (want, got)]
    short, whole = ([[form(v) for v in values] for values in pairs] for form in (_six_digits, str))
    alike = any(a == b for a, b, d in zip(*short, differ.flatten().tolist(), strict=True) if d)
    return (whole[0], whole[1]) if alike else (short[0], short[1])


def _six_digits(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"{text}.0" if isinstance(value, float) and text.lstrip("-").isdigit() else text


def _nested(texts: list[str], shape: torch.Size) -> str:
    """As torch.Tensor.tolist would be shown."""
    if len(shape) == 0:
        return texts[0]
    step = len(texts) // shape[0] if shape[0] else 0
    return f"[{', '.join(_nested(texts[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0]))}]"


@dataclass
class explain(contextlib.AbstractContextManager):  # not @contextmanager, whose frames would be on the screen
    """Turn an error from the learner's code into an assertion that begins with the sentence `mistake`.

    where: a regex to be found in "Class: message" of the error, and the sentence to say then instead; the first that
    fits counts.
    One sentence for every error accuses people of what they did not do, so let `mistake` be true of all that is left.

    A stub's NotImplementedError stays what it is, and so does an assertion that already says what is wrong.
    """

    mistake: str
    where: Mapping[str, str] = field(default_factory=dict)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        if isinstance(error, Exception) and not isinstance(error, AssertionError) and not _speaks_for_itself(error):
            native = f"{type(error).__name__}: {safe_str(error)}"
            fitting = (said for sign, said in self.where.items() if re.search(sign, native, re.DOTALL))
            mistake = next(fitting, self.mistake)
            raise AssertionError(f"{mistake}\n{type(error).__name__}: {first_lines(error)}") from error


@dataclass
class raises(contextlib.AbstractContextManager):
    """The block must raise `expected`, with a message in which the regex `match` is found; else `mistake` is said.

    Unlike pytest.raises, the error of an unwritten stub never counts, although NotImplementedError is a RuntimeError.
    """

    expected: type[Exception] | tuple[type[Exception], ...]
    mistake: str
    _: KW_ONLY
    match: str | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        __tracebackhide__ = True
        classes = self.expected if isinstance(self.expected, tuple) else (self.expected,)
        names = " or ".join(cls.__name__ for cls in classes)
        if error is None:
            raise AssertionError(f"{self.mistake}\nexpected {names}, but nothing was raised")
        if not isinstance(error, Exception) or _speaks_for_itself(error):
            return False
        came = f"{type(error).__name__}: {first_lines(error)}"
        if not isinstance(error, self.expected):
            raise AssertionError(f"{self.mistake}\nexpected {names}, got {came}") from error
        if self.match is not None and not re.search(self.match, safe_str(error)):
            raise AssertionError(f"{self.mistake}\nits message has no {self.match!r}: {came}") from error
        return True


def _speaks_for_itself(error: BaseException) -> bool:
    """An error that is not about what the test asks: the stub's, or that of a call such as input()."""
    return is_stub_error(error) or bool(forbidden_call(error))
