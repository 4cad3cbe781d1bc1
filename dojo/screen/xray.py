"""Tensor X-ray: the tensors and arrays in the frames of a failing kata test, and which of them share memory.

Everything is read without running a tensor operation and without `repr`: a freed storage would end the process, a lazy
copy would be made, a subclass may raise. Every field is read by itself; what cannot be read is shown as `?`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from dojo import torch_internals
from dojo.kit.comparison import Comparison, last_comparison

MOST_LINES = 12
_MOST_NAMES = 60  # looked at per frame
_SMALL = 6  # up to so many values are shown
_NAME_WIDTH = 18


@dataclass
class Row:
    """What is known of one tensor or array."""

    name: str
    value: Any
    shape: str = "?"
    strides: str = "?"
    dtype: str = "?"
    device: str = "?"
    version: str = ""
    memory: str = "?"
    graph: str = ""
    values: str = ""
    note: str = ""
    also: list[str] = field(default_factory=list)  # other names of the same object


def xray(
    error: BaseException, is_kata_code: Callable[[str], bool], width: int = 80, most: int = MOST_LINES
) -> list[str]:
    """Lines that show the tensors in the test's and the learner's frames; empty where there are none. Never raises."""
    try:
        with torch_internals.no_torch_function():
            rows = _rows(error, is_kata_code)
            if not rows:
                return []
            _name_memories(rows)
            _point_at_the_difference(rows, last_comparison(error))
            return _table(rows[: most - 1], width, len(rows))
    except Exception as problem:  # the X-ray never hides the failure that it explains
        return [f"(no X-ray: {type(problem).__name__})"]


# ── which tensors ──


def _rows(error: BaseException, is_kata_code: Callable[[str], bool]) -> list[Row]:
    """The operands of the failed comparison first, then the frames from the inside out."""
    rows: dict[int, Row] = {}
    comparison = last_comparison(error)
    found: list[tuple[str, Any]] = []
    for frame in _frames(error, is_kata_code):
        found += list(_tensors_of(frame.f_locals))
    if comparison is not None:
        named = {id(value) for _, value in found}
        operands = [(n, v) for n, v in (("(got)", comparison.got), ("(expected)", comparison.want)) if v is not None]
        found = [(n, v) for n, v in operands if _is_tensor(v) and id(v) not in named] + found
        wanted = {id(comparison.got), id(comparison.want)}
        found.sort(key=lambda pair: id(pair[1]) not in wanted)
    for name, value in found:
        if id(value) in rows:
            known = rows[id(value)]
            if name != known.name and name not in known.also and len(known.also) < 2:
                known.also.append(name)
        else:
            rows[id(value)] = _describe(name, value)
    return list(rows.values())


def _frames(error: BaseException, is_kata_code: Callable[[str], bool]) -> list[Any]:
    """The last frames of kata code, innermost first, over the chain of causes."""
    frames: list[Any] = []
    seen: BaseException | None = error
    while seen is not None and len(frames) < 8:
        trace = seen.__traceback__
        own = []
        while trace is not None:
            if is_kata_code(trace.tb_frame.f_code.co_filename) and trace.tb_frame not in frames:
                own.append(trace.tb_frame)
            trace = trace.tb_next
        frames = own + frames
        seen = seen.__cause__
    # Test frame last in the list of interest: the learner's own frames are what differs.
    return frames[-4:][::-1]


def _tensors_of(names: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """Tensors among the locals, one level into lists, tuples and dicts, and the parameters of modules."""
    for name, value in list(names.items())[:_MOST_NAMES]:
        if name.startswith("@"):
            continue  # pytest's temporaries: the comparison's operands say it better
        if _is_tensor(value):
            yield name, value
        elif type(value) in (list, tuple):
            for i, part in enumerate(value[:4]):
                if _is_tensor(part):
                    yield f"{name}[{i}]", part
        elif type(value) is dict:
            for key, part in list(value.items())[:4]:
                if _is_tensor(part) and isinstance(key, str | int):
                    yield f"{name}[{key!r}]", part
        elif issubclass(type(value), torch.nn.Module):
            for key, part in list(value.named_parameters())[:4]:
                yield f"{name}.{key}", part


def _is_tensor(value: Any) -> bool:
    # type(), not isinstance(): an object's __class__ may raise.
    return issubclass(type(value), torch.Tensor | np.ndarray)


# ── what of them ──


def _describe(name: str, value: Any) -> Row:
    row = Row(name, value)
    readers: Sequence[tuple[str, Callable[[Any], str]]] = _ARRAY if issubclass(type(value), np.ndarray) else _TENSOR
    for attribute, read in readers:
        try:
            setattr(row, attribute, read(value))
        except Exception:
            setattr(row, attribute, "?")
    return row


def _graph(x: torch.Tensor) -> str:
    kind = "Parameter " if issubclass(type(x), torch.nn.Parameter) else ""
    if x.grad_fn is not None:
        return type(x.grad_fn).__name__
    if x.requires_grad:
        return f"{kind}leaf, requires grad" if not kind else "Parameter"
    return kind.strip()


def _values(x: torch.Tensor) -> str:
    if x.numel() > _SMALL or x.layout != torch.strided or x.device.type == "meta" or x.is_quantized:
        return ""
    if (
        type(x) not in (torch.Tensor, torch.nn.Parameter)
        or torch_internals.is_freed(x)
        or torch_internals.is_wrapped(x)
    ):
        return ""
    return _short(x.detach().cpu().tolist())


def _short(values: Any) -> str:
    if isinstance(values, list):
        return f"[{', '.join(map(_short, values))}]"
    return f"{values:.4g}" if isinstance(values, float) else str(values)


_TENSOR: list[tuple[str, Callable[[Any], str]]] = [
    ("shape", lambda x: str(tuple(x.shape)).replace(" ", "")),
    ("strides", lambda x: str(tuple(x.stride())).replace(" ", "") if x.layout == torch.strided else str(x.layout)[6:]),
    ("dtype", lambda x: str(x.dtype).removeprefix("torch.")),
    ("device", lambda x: str(x.device)),
    ("version", lambda x: f"v{torch_internals.version_counter(x)}"),
    ("graph", _graph),
    ("values", _values),
    ("note", lambda x: "<- its storage was FREED" if torch_internals.is_freed(x) else ""),
]
_ARRAY: list[tuple[str, Callable[[Any], str]]] = [
    ("shape", lambda a: str(a.shape).replace(" ", "")),
    ("strides", lambda a: str(tuple(s // max(a.itemsize, 1) for s in a.strides)).replace(" ", "")),
    ("dtype", lambda a: str(a.dtype)),
    ("device", lambda a: "numpy"),
    ("version", lambda a: ""),
    ("graph", lambda a: ""),
    ("values", lambda a: _short(a.tolist()) if a.size <= _SMALL and a.dtype.kind in "biuf" else ""),
]


# ── who shares memory ──


def _name_memories(rows: list[Row]) -> None:
    """Letters for memories: the same storage, or address ranges that overlap (`from_numpy` makes two storages)."""
    groups: list[tuple[set[int], list[tuple[int, int]], list[Row]]] = []
    for row in rows:
        try:
            key, span = _memory(row.value)
        except Exception:
            continue
        home = next((g for g in groups if key in g[0] or any(_overlap(span, other) for other in g[1])), None)
        if home is None:
            home = ({key}, [span], [])
            groups.append(home)
        home[0].add(key)
        home[1].append(span)
        home[2].append(row)
    for i, (_, _, members) in enumerate(groups):
        for row in members:
            row.memory = chr(ord("A") + i) if i < 26 else "?"


def _memory(value: Any) -> tuple[int, tuple[int, int]]:
    if issubclass(type(value), np.ndarray):
        low, high = np.lib.array_utils.byte_bounds(value)
        return -id(value), (low, high)
    storage = value.untyped_storage()
    start = torch_internals.address_without_touching(value)
    key = torch_internals.storage_key(value)
    if not start or value.device.type == "meta":
        return key, (0, 0)
    start -= value.storage_offset() * value.element_size()
    return key, (start, start + storage.nbytes())


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return max(a[0], b[0]) < min(a[1], b[1])


# ── the difference that matters ──


def _point_at_the_difference(rows: list[Row], comparison: Comparison | None) -> None:
    """Beside the tensor that was compared, say in which respect it failed."""
    if comparison is None:
        return
    got = next((row for row in rows if row.value is comparison.got), None)
    want = next((row for row in rows if row.value is comparison.want), None)
    if got is None:
        return
    other = want.name if want is not None else "expected"
    if comparison.aspect == "memory":
        got.note = f"<- not the memory of {other}" if not comparison.same else f"<- the memory of {other}"
    else:
        got.note = f"<- {comparison.aspect}"


# ── the table ──


def _table(rows: list[Row], width: int, total: int) -> list[str]:
    """As many columns as the width holds; name, shape and memory always."""
    lines = [_cells(row) for row in rows]
    heads = ["", "shape", "strides", "dtype", "device", "ver", "mem", "graph", "values"]
    kept = [i for i in range(len(heads)) if i == 0 or any(cells[i] for cells in lines)]
    notes = [row.note for row in rows]
    same_device = [4] * (len({row.device for row in rows}) == 1)
    for drop in (5, *same_device, 8, 4, 2, 7):  # what a narrow screen does without, least telling first
        if _width(lines, kept, heads, notes) <= width - 1:
            break
        kept = [i for i in kept if i != drop]
    sizes = {i: max(len(heads[i]), *(len(cells[i]) for cells in lines)) for i in kept}
    table = ["  ".join(heads[i].ljust(sizes[i]) for i in kept).rstrip()]
    for cells, note in zip(lines, notes, strict=True):
        table.append(f"{'  '.join(cells[i].ljust(sizes[i]) for i in kept).rstrip()}  {note}".rstrip()[: width - 1])
    if total > len(rows):
        table[-1] = f"({total - len(rows) + 1} more tensors)"
    return table


def _cells(row: Row) -> list[str]:
    name = " = ".join([row.name, *row.also])
    name = name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 2]}.."
    return [name, row.shape, row.strides, row.dtype, row.device, row.version, row.memory, row.graph, row.values[:28]]


def _width(lines: list[list[str]], kept: list[int], heads: list[str], notes: list[str]) -> int:
    columns = sum(max(len(heads[i]), *(len(cells[i]) for cells in lines)) + 2 for i in kept)
    return columns + max(map(len, notes))
