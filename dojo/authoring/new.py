"""`python -m dojo.authoring new 09_modules/03_name`: the files of a kata, with all that the gate asks for as blanks."""

from __future__ import annotations

import re
from pathlib import Path

_KATA = '''"""{title}: WHAT IT TEACHES, in a few words

WHAT PYTORCH DOES, and why that bites people: a lesson of 5 to 20 lines, for somebody who meets the idea for the first
time. Name every API that the stubs need and that a beginner cannot know.

What is asked here: WHAT THE LEARNER WRITES.

https://docs.pytorch.org/docs/stable/PAGE.html
About 15 minutes. Before it: NAMES OF KATAS.
"""

import torch

from dojo import under_test
from dojo.kit import check_tensor


def {name}(x: torch.Tensor) -> torch.Tensor:
    """WHAT IT RETURNS (shape, dtype) for x (SHAPE, DTYPE), and what it raises. Each phrase gets a test."""
    raise NotImplementedError("WHAT TO WRITE")


# ── tests: read them, don't edit them ──
under_test(globals())


def test_a_sentence_about_pytorch():
    want = torch.tensor([2.0, 6.0])
    check_tensor({name}(torch.tensor([1.0, 3.0])), want, "THE MISTAKE, in the words that the learner must read")


def test_another_sentence():
    want = torch.tensor([2, 4])
    check_tensor({name}(torch.tensor([1, 2])), want, "ANOTHER MISTAKE")


def test_a_third_sentence():
    x = torch.tensor([1.0])
    {name}(x)
    check_tensor(x, torch.tensor([1.0]), "A THIRD ONE")
'''

_REFERENCE = '''"""{title}

Hint: AN IDEA
Hint: THE API'S NAME
Hint: NEARLY THE CODE, but no line of the solution

Why: TWO TO SIX LINES,
told once the kata passes.
"""

import torch

from dojo import Mistake


def {name}(x: torch.Tensor) -> torch.Tensor:
    return x * 2


# Wrong answers that people give: the sentence that they must read, and the test that says it.
MISTAKES = [
    Mistake("THE MISTAKE", caught_by="test_a_sentence_about_pytorch", {name}=lambda x: 2 * x.clamp(max=2)),
    Mistake("ANOTHER MISTAKE", caught_by="test_another_sentence", {name}=lambda x: x * 2.0),
    Mistake("A THIRD ONE", caught_by="test_a_third_sentence", {name}=lambda x: x.mul_(2)),
]
'''

_ANSWERS = '''"""Other people's answers to {name}: right ones in another style, known mistakes written otherwise."""

from dojo import Mistake

RIGHT = [
    dict({name}=lambda x: x + x),
    dict({name}=lambda x: 2 * x),
]
WRONG = [
    Mistake("ANOTHER MISTAKE", caught_by="", {name}=lambda x: x + x.float()),
    Mistake("A THIRD ONE", caught_by="", {name}=lambda x: x.add_(x)),
]
'''


def new(project: Path, key: str) -> list[Path]:
    """Write the three files of a kata; ValueError where the name is none, or one of them is there already."""
    if not re.fullmatch(r"\d\d_\w+/\d\d_\w+", key):
        raise ValueError(f"{key!r} is no place for a kata: NN_chapter/NN_name, such as 09_modules/03_name")
    name = key.split("/")[1][3:]
    words = {"name": name, "title": name.replace("_", " ").capitalize()}
    homes = {"katas": _KATA, "reference": _REFERENCE, "tests/answers": _ANSWERS}
    texts = {project / home / f"{key}.py": template.format(**words) for home, template in homes.items()}
    if there := [path for path in texts if path.exists()]:
        raise ValueError(f"{there[0].relative_to(project)} is there already")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    readme = project / "katas" / key.split("/")[0] / "README.md"
    if not readme.exists():
        readme.write_text("# THE CHAPTER'S TITLE\n\nA paragraph on the chapter.\n", encoding="utf-8")
    return list(texts)
