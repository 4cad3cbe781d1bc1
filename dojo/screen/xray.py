"""Tensor X-ray: the tensors and arrays that a failed test is about, and which of them share memory.

Everything is read without running a tensor operation and without `repr`: a freed storage would end the process, a lazy
copy would be made, a subclass may raise. Every field is read by itself; what cannot be read is shown as `?`.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from dojo import torch_internals
from dojo.kata.source import parse
from dojo.kit.comparison import Comparison, last_comparison
from dojo.text import first_lines

MOST_LINES = 10
_MOST_NAMES = 60  # looked at per frame
_SMALL = 6  # up to so many values are shown
_NAME_WIDTH, _VALUES_WIDTH = 22, 36
_BEGINNERS = ("shape", "dtype", "values")  # before the chapter on memory


@dataclass(eq=False)
class Row:
    """What is known of one tensor or array."""

    name: str
    value: Any
    owner: str = ""  # the function whose variable it is
    shape: str = "?"
    strides: str = "?"
    offset: str = ""
    dtype: str = "?"
    device: str = "?"
    version: str = ""
    memory: str = "?"
    graph: str = ""
    values: str = ""
    note: str = ""
    also: list[str] = field(default_factory=list)  # other names of the same object


def xray(
    error: BaseException, is_kata_code: Callable[[str], bool], width: int = 80, *, for_beginners: bool = False
) -> list[str]:
    """Lines that show the tensors in the test's and the learner's frames; empty where there are none. Never raises."""
    try:
        with torch_internals.no_torch_function():
            frames = _frames(error, is_kata_code)
            comparison = last_comparison(error)
            rows = _rows(frames, comparison)
            if not rows:
                return []
            _name_memories(rows)
            rows = _that_it_is_about(rows, comparison, _words_of(error, frames))
            _say_whose(rows)
            _point_at_the_difference(rows, comparison)
            return _table(rows[: MOST_LINES - 2], width, len(rows), for_beginners)
    except Exception as problem:  # the X-ray never hides the failure that it explains
        return [f"(no X-ray: {type(problem).__name__})"]


# ── which tensors ──


def _rows(frames: Sequence[tuple[FrameType, int]], comparison: Comparison | None) -> list[Row]:
    """The operands of the failed comparison first, then the frames from the inside out."""
    rows: dict[int, Row] = {}
    found = [(name, v, frame.f_code.co_name) for frame, _ in frames for name, v in _tensors_of(frame.f_locals)]
    if comparison is not None:
        named = {id(value) for _, value, _ in found}
        operands = [("(got)", comparison.got, ""), ("(expected)", comparison.want, "")]
        found = [one for one in operands if _is_tensor(one[1]) and id(one[1]) not in named] + found
        wanted = {id(comparison.got), id(comparison.want)}
        found.sort(key=lambda one: id(one[1]) not in wanted)
    for name, value, owner in found:
        known = rows.get(id(value))
        if known is None:
            rows[id(value)] = _describe(Row(name, value, owner))
        elif name != known.name and name not in known.also and len(known.also) < 2:
            known.also.append(name)
    return list(rows.values())


def _frames(error: BaseException, is_kata_code: Callable[[str], bool]) -> list[tuple[FrameType, int]]:
    """The last frames of kata code and the lines where they were, innermost first, over the chain of causes."""
    frames: list[tuple[FrameType, int]] = []
    seen: BaseException | None = error
    while seen is not None and len(frames) < 8:
        own, trace, known = [], seen.__traceback__, [frame for frame, _ in frames]
        while trace is not None:
            if is_kata_code(trace.tb_frame.f_code.co_filename) and trace.tb_frame not in known:
                own.append((trace.tb_frame, trace.tb_lineno))
            trace = trace.tb_next
        frames = own + frames
        seen = seen.__cause__
    # Test frame last in the list of interest: the learner's own frames are what differs.
    return frames[-4:][::-1]


def _words_of(error: BaseException, frames: Sequence[tuple[FrameType, int]]) -> set[str]:
    """The names in the failure's sentence, and in the statements where it happened."""
    words = set(re.findall(r"[^\W\d]\w*", first_lines(error, 1)))
    for frame, line in frames:
        statement = _innermost(parse(Path(frame.f_code.co_filename)), line)
        words |= {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)} if statement else set()
    return words


def _innermost(node: ast.AST | None, line: int) -> ast.stmt | None:
    """The statement on that line; the innermost one where a block holds it."""
    inner = (part for part in ast.iter_child_nodes(node) if isinstance(part, ast.stmt)) if node else iter(())
    around = next((part for part in inner if part.lineno <= line <= (part.end_lineno or part.lineno)), None)
    return (_innermost(around, line) or around) if around else None


def _that_it_is_about(rows: list[Row], comparison: Comparison | None, words: set[str]) -> list[Row]:
    """What was compared or is named in the failure, and what shares its memory; all, where that is nothing."""
    compared = () if comparison is None else (comparison.got, comparison.want)
    named = [row for row in rows if any(row.value is x for x in compared) or words & set(map(_base, _names(row)))]
    memories = {row.memory for row in named} - {"?"}
    return [row for row in rows if row in named or row.memory in memories] or rows


def _names(row: Row) -> list[str]:
    return [row.name, *row.also]


def _base(name: str) -> str:
    """`layer.weight`, `parts[0]`: the variable itself."""
    return re.split(r"[.\[]", name)[0]


def _say_whose(rows: list[Row]) -> None:
    """Two functions may call two tensors by one name."""
    counts = Counter(row.name for row in rows)
    for row in rows:
        if counts[row.name] > 1 and row.owner:
            row.name += " (test)" if row.owner.startswith("test_") else f" in {row.owner}()"


def _tensors_of(names: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """Tensors among the locals, one level into lists, tuples and dicts, and the parameters of modules."""
    for name, value in list(names.items())[:_MOST_NAMES]:
        if name.startswith(("@", "_")):
            continue  # pytest's temporaries and a test's own business: the comparison's operands say it better
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


def _describe(row: Row) -> Row:
    for attribute, read in _ARRAY if issubclass(type(row.value), np.ndarray) else _TENSOR:
        try:
            setattr(row, attribute, read(row.value))
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
    return f"{values:.6g}" if isinstance(values, float) else str(values)


_TENSOR: list[tuple[str, Callable[[Any], str]]] = [
    ("shape", lambda x: str(tuple(x.shape)).replace(" ", "")),
    ("strides", lambda x: str(tuple(x.stride())).replace(" ", "") if x.layout == torch.strided else str(x.layout)[6:]),
    ("offset", lambda x: str(x.storage_offset()) if x.layout == torch.strided else ""),
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

_COLUMNS = ("shape", "strides", "offset", "dtype", "device", "version", "memory", "graph", "values")
_HEADS = {"version": "ver", "memory": "mem"}


def _table(rows: list[Row], width: int, total: int, for_beginners: bool) -> list[str]:
    """As many columns as the width holds; name and shape always, and memory where it is known what that is."""
    same = {name for name in ("offset", "device") if len({getattr(row, name) for row in rows} - {""}) < 2}
    columns = [name for name in (_BEGINNERS if for_beginners else _COLUMNS) if name != "offset" or "offset" not in same]
    columns = [name for name in columns if any(getattr(row, name) for row in rows)]
    for drop in ("version", *(same & {"device"}), "values", "offset", "device", "dtype", "graph"):
        if max(map(len, _lines(rows, columns))) <= width - 1:
            break
        columns = [name for name in columns if name != drop]  # what a narrow screen does without, least telling first
    lines = [line[: width - 1] for line in _lines(rows, columns)]
    return lines if total == len(rows) else [*lines, f"({total - len(rows)} more tensors)"]


def _lines(rows: list[Row], columns: Sequence[str]) -> list[str]:
    table = [["", *(_HEADS.get(name, name) for name in columns)]]
    table += [[_shown_name(row), *(_cell(row, name) for name in columns)] for row in rows]
    sizes = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(cells, sizes, strict=True)).rstrip() for cells in table]
    return [lines[0], *(f"{line}  {row.note}".rstrip() for line, row in zip(lines[1:], rows, strict=True))]


def _shown_name(row: Row) -> str:
    name = " = ".join(_names(row))
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 2]}.."


def _cell(row: Row, column: str) -> str:
    text = str(getattr(row, column))
    return text if column != "values" or len(text) <= _VALUES_WIDTH else ""  # whole or not at all
