"""What a submission's text says that a human should look at. Nothing here changes a grade."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from dojo.kata.source import definitions, is_seam, is_stub, parse


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What katas are about, and what cannot reach out of a function.
_USUAL = _words("""
    __future__ abc bisect collections contextlib copy cmath dataclasses decimal dojo enum fractions functools
    heapq io itertools json math numbers numpy operator pathlib random re statistics string tempfile textwrap
    time torch torchvision types typing warnings
""")
_TRICKS = _words("""
    _getframe _current_frames f_back f_globals f_locals f_builtins tb_frame gi_frame cr_frame __code__
    __globals__ __closure__ __builtins__ __subclasses__ __mro__ __bases__ get_objects get_referrers settrace
    setprofile __torch_function__ __torch_dispatch__ __instancecheck__ __class__ __loader__ __spec__ _exit
    os _os sys _sys gc inspect ctypes importlib subprocess builtins attrgetter methodcaller
""")
_CALLS = _words("""
    eval exec compile globals locals vars setattr delattr __import__ breakpoint input exit quit
""")


def suspicions(text: bytes, kata: Path, reference: Path) -> list[str]:
    """Unusual imports, tricks with frames, names of other modules that are set: with their lines."""
    usual = _USUAL | _imported_by(kata) | _imported_by(reference)
    needed = _needed_by(reference)
    try:
        looks = [look for node in _above_the_seam(ast.parse(text)) for look in _looks(node, usual)]
        found = dict.fromkeys(f"{what} (line {line})" for what, line in looks if what not in needed)
    except (SyntaxError, ValueError):
        return []  # it does not run either
    except (RecursionError, MemoryError):
        return ["cannot be looked through: it is nested too deeply"]
    return list(found)[:20]


def _above_the_seam(tree: ast.Module) -> Iterator[ast.AST]:
    for node in tree.body:
        if is_seam(node):
            return
        yield from ast.walk(node)


def _imported_by(path: Path) -> set[str]:
    tree = parse(path)
    return {name for node in ast.walk(tree) for name in _imports(node)} if tree else set()


def _needed_by(reference: Path) -> set[str]:
    """What the reference's own functions do of it."""
    tree = parse(reference)
    nodes = definitions(tree).values() if tree else ()
    return {what for node in nodes for part in ast.walk(node) for what, _ in _looks(part, frozenset())}


def _imports(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [_outermost(alias.name) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [_outermost(node.module or ".")]
    return []


def _outermost(name: str) -> str:
    """torch.nn is torch; but what a kata imports of the engine is dojo and dojo.kit, and not dojo.session."""
    first, _, rest = name.partition(".")
    return name if first == "dojo" and rest and rest.split(".")[0] != "kit" else first


def _looks(node: ast.AST, usual: frozenset[str] | set[str]) -> Iterator[tuple[str, int]]:
    line = getattr(node, "lineno", 0)
    for name in _imports(node):
        if name not in usual:
            yield f"imports {name}", line
    if isinstance(node, ast.Attribute) and node.attr in _TRICKS:
        yield f"uses .{node.attr}", line
    if isinstance(node, ast.Name) and node.id in ("__builtins__", "__loader__", "__spec__"):
        yield f"uses {node.id}", line
    if isinstance(node, ast.FunctionDef) and node.name in (*_TRICKS, "__eq__", "__getattr__", "__getattribute__"):
        yield f"defines {node.name}", line
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        yield f"calls {node.func.id}()", line
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
        what = node.args[1] if len(node.args) > 1 else None
        if not isinstance(what, ast.Constant):
            yield "calls getattr() with a computed name", line
        elif what.value in _TRICKS:
            yield f"uses .{what.value}", line
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
        for target in node.targets if isinstance(node, ast.Assign | ast.Delete) else [node.target]:
            if isinstance(target, ast.Attribute) and _root(target) in ("torch", "pytest", "dojo", "np", "numpy", "sys"):
                yield f"sets {ast.unparse(target)}", line
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and "/proc/" in node.value:
        yield "speaks of /proc", line


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def work_of(text: bytes) -> str | None:
    """What a student has written, comments, docstrings and layout aside; None where nothing is written."""
    try:
        written = [node for node in definitions(ast.parse(text)).values() if not is_stub(node)]
        for node in written:
            for part in ast.walk(node):
                if isinstance(part, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(part) is not None:
                    part.body = part.body[1:]
        return "\n".join(map(ast.dump, written)) if written else None
    except (SyntaxError, ValueError):
        return None
    except (RecursionError, MemoryError):
        return text.decode(errors="replace")  # nested too deeply: as it stands
