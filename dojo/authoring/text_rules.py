"""The gate's rules about the text of a kata and its reference: what must be there, and what must not leak."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from dojo.kata.files import Kata
from dojo.kata.source import SEAM, Definition, definitions, doc_sections, is_seam, is_stub, parse, test_names
from dojo.text import folded

LESSON_LINES = (5, 20)
TESTS = (3, 7)

# Ids that pytest makes by itself: 3, True, shape0, and twice1 for a second "twice". A dtype is a word.
_MADE_BY_PYTEST = re.compile(r"[\d.e]*|True|False|None|(.* )?(?!(u?int|b?float|complex)\d+$)[A-Za-z]+\d+")
_NO_WORDS = re.compile(r"torch\.|[^A-Za-z0-9 ,.'-]")


def complaints(kata: Kata, reference: Path, test_ids: Iterable[str]) -> list[str]:
    """Everything that is wrong with the text of one kata and its reference."""
    kata_tree, reference_tree = parse(kata.path), parse(reference)
    if kata_tree is None:
        return [f"{kata.key}: the kata is not valid Python"]
    if reference_tree is None:
        return [f"{kata.key}: reference/{kata.key}.py is missing or not valid Python"]
    stubs, solved = definitions(kata_tree), definitions(reference_tree)
    return [
        *_about_the_lesson(kata_tree, kata),
        *_about_the_seam(kata_tree),
        *_about_the_stubs(stubs),
        *_about_the_tests(kata),
        *_about_the_ids(test_ids),
        *_about_the_names(stubs, solved),
        *_about_the_hints(reference),
        *_about_leaks(kata, reference, solved),
    ]


def _about_the_lesson(tree: ast.Module, kata: Kata) -> list[str]:
    lesson = (ast.get_docstring(tree) or "").strip()
    lines = [line for line in lesson.splitlines() if line.strip()]
    found = []
    if not LESSON_LINES[0] <= len(lines) <= LESSON_LINES[1]:
        found.append(f"the lesson has {len(lines)} lines; {LESSON_LINES[0]} to {LESSON_LINES[1]} are read")
    if "https://docs.pytorch.org/" not in lesson and "https://numpy.org/" not in lesson:
        found.append("the lesson has no link to the official docs (https://docs.pytorch.org/...)")
    if kata.lesson.minutes is None:
        found.append("the lesson does not say how long it takes: `About 15 minutes. Before it: view_or_copy.`")
    return found


def _about_the_seam(tree: ast.Module) -> list[str]:
    seams = sum(is_seam(node) for node in tree.body)
    return [] if seams == 1 else [f"the line {SEAM} must be there once, between the stubs and the tests; found {seams}"]


def _about_the_stubs(stubs: dict[str, Definition]) -> list[str]:
    found = [] if 1 <= len(stubs) <= 4 else [f"{len(stubs)} stubs; one to four can be learnt at a time"]
    for name, node in stubs.items():
        if not ast.get_docstring(node):
            found.append(f"stub {name} has no docstring (shapes, dtype, what it returns, what it raises)")
        if not is_stub(node):
            found.append(f"{name} is no stub: nothing but a docstring and `raise NotImplementedError('what to write')`")
        for function in ast.walk(node):
            if isinstance(function, ast.FunctionDef) and (missing := _unannotated(function)):
                found.append(f"{name}: {function.name} has no type hint for {', '.join(missing)}")
    return found


def _unannotated(function: ast.FunctionDef) -> list[str]:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    missing = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls", "ctx")]
    return missing + (["its result"] if function.returns is None else [])


def _about_the_tests(kata: Kata) -> list[str]:
    n, (least, most) = len(test_names(kata.path)), TESTS
    return [] if least <= n <= most else [f"{n} tests; {least} to {most} can be kept in mind"]


def _about_the_ids(test_ids: Iterable[str]) -> list[str]:
    """Several `parametrize` make one id, joined by `-`: each part has to say something."""
    found = []
    for test in test_ids:
        _, bracket, parameters = test.removesuffix("]").partition("[")
        parts = parameters.split("-") if bracket else []
        if _NO_WORDS.search(parameters) or any(_MADE_BY_PYTEST.fullmatch(part.strip()) for part in parts):
            found.append(f"{test}: the id of its parameters says nothing; give ids in words (letters, digits , . ' -)")
    return found


def _about_the_names(stubs: dict[str, Definition], solved: dict[str, Definition]) -> list[str]:
    found = [f"the reference does not solve {name}" for name in stubs if name not in solved]
    for name, node in solved.items():
        if name not in stubs:
            found.append(f"the reference defines {name}, which is no stub of the kata: call it _{name}")
        elif _signature(stubs[name]) != _signature(node):
            found.append(f"{name} has another signature in the reference: {_signature(node)}")
    return found


def _signature(node: Definition) -> str:
    return ast.unparse(node.args) if isinstance(node, ast.FunctionDef) else ", ".join(map(ast.unparse, node.bases))


def _about_the_hints(reference: Path) -> list[str]:
    hints, why = doc_sections(reference)
    found, lines = [], len(why.splitlines())
    if not 2 <= len(hints) <= 3:
        found.append(f"{len(hints)} hints (`Hint: ...`) in the reference's docstring; two or three")
    if not 2 <= lines <= 6:
        found.append(f"the why (`Why: ...`) in the reference's docstring has {lines} lines; two to six")
    return found


def _about_leaks(kata: Kata, reference: Path, solved: dict[str, Definition]) -> list[str]:
    """No line of a solution stands in the kata, or whole in a hint."""
    kata_lines = {folded(line) for line in kata.path.read_text(encoding="utf-8").splitlines()}
    hints = folded(" ".join(doc_sections(reference)[0]))
    found = []
    for line in sorted(_solution_lines(solved)):
        if line in kata_lines:
            found.append(f"a line of the solution stands in the kata: {line}")
        if line.removeprefix("return ") in hints:
            found.append(f"a hint gives a line of the solution away: {line}")
    return found


def _solution_lines(solved: dict[str, Definition]) -> set[str]:
    """The statements of the reference's functions that are long enough to give something away."""
    lines = set()
    for definition in solved.values():
        for node in ast.walk(definition):
            if isinstance(node, ast.Return | ast.Assign | ast.AugAssign | ast.Expr) and not _is_docstring(node):
                line = folded(ast.unparse(node))
                if len(line.removeprefix("return ")) >= 20 and "\n" not in line and not line.startswith("super()"):
                    lines.add(line)
    return lines


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
