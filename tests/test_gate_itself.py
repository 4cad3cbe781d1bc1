"""The gate, on katas that are bad in one way each: every sort is caught, by the claim that is there for it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from dojo.authoring import tree_rules
from dojo.authoring.checks import CHECKS
from dojo.authoring.pages import write_pages
from dojo.authoring.runs import run
from dojo.kata.files import Kata, find_katas

KATA = '''
"""Twice: what doubling means

Doubling a tensor doubles each value, and nothing else.
It gives a new tensor; the old one stays.
That is all there is to it.

About 5 minutes.

https://docs.pytorch.org/docs/stable/generated/torch.mul.html
"""

import torch

from dojo import under_test
from dojo.kit import check_tensor, explain


def double(x: torch.Tensor) -> torch.Tensor:
    """Twice x (any shape), as a new tensor of the same dtype."""
    raise NotImplementedError("double x")


# tests below
under_test(globals())


def test_doubling_doubles_each_value():
    want = torch.tensor([2.0, 6.0])
    check_tensor(double(torch.tensor([1.0, 3.0])), want, "you did not double each value")


def test_doubling_keeps_the_dtype():
    want = torch.tensor([2, 4])
    check_tensor(double(torch.tensor([1, 2])), want, "integers stay integers")


def test_doubling_leaves_x_alone():
    x = torch.tensor([1.0])
    double(x)
    check_tensor(x, torch.tensor([1.0]), "you changed x in place")
'''

REFERENCE = '''
"""Twice.

Hint: an idea
Hint: an API

Why: one and one
is two.
"""

import torch

from dojo import Mistake


def double(x: torch.Tensor) -> torch.Tensor:
    return x.unsqueeze(0).repeat(2, *[1] * x.dim()).sum(dim=0)


MISTAKES = [
    Mistake("you did not double", caught_by="test_doubling_doubles_each_value", double=lambda x: x * x - x + 2),
    Mistake("integers stay integers", caught_by="test_doubling_keeps_the_dtype", double=lambda x: x.float() * 2),
    Mistake("you changed x in place", caught_by="test_doubling_leaves_x_alone", double=lambda x: x.mul_(2)),
]
'''

ANSWERS = """
from dojo import Mistake

RIGHT = [dict(double=lambda x: x + x), dict(double=lambda x: 2 * x)]
WRONG = [
    Mistake("integers stay integers", caught_by="", double=lambda x: x * 2.0),
    Mistake("you changed x in place", caught_by="", double=lambda x: x.add_(x)),
]
"""


class Sample:
    """A project of one good kata, to be spoilt."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.put("katas/01_first/01_twice.py", KATA)
        self.put("katas/01_first/README.md", "# First\n\nThe first chapter.\n")
        self.put("reference/01_first/01_twice.py", REFERENCE)
        self.put("tests/answers/01_first/01_twice.py", ANSWERS)
        self.make_pages()

    def put(self, name: str, text: str) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")

    def make_pages(self) -> None:
        write_pages(self.path / "katas")

    def spoil(self, side: str, old: str, new: str) -> None:
        file = self.path / side / "01_first/01_twice.py"
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    def complaints(self, *checks: str) -> str:
        """What one check, or all, have to say."""
        (kata,) = find_katas(self.path / "katas")
        runs = run(kata, self.path / "reference")
        return "\n".join(line for check in checks or CHECKS for line in CHECKS[check](runs))


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return Sample(tmp_path)


def test_the_good_kata_is_good(sample):
    assert sample.complaints() == ""
    assert tree_rules.complaints(sample.path, set()) == []


SPOILT = {
    "a test that passes on the stub": (
        "stubs_fail_every_test",
        ("katas", "    x = torch.tensor([1.0])\n    double(x)\n", "    x = torch.tensor([1.0])\n"),
        "test_doubling_leaves_x_alone passes on the untouched stubs",
    ),
    "a test that dies of the kit on the stub": (
        "stubs_fail_every_test",
        ("katas", "    want = torch.tensor([2, 4])\n", "    want = torch.tensor([2, 4]).no_such_method()\n"),
        "test_doubling_keeps_the_dtype dies of AttributeError",
    ),
    "a lesson without its minutes": (
        "the_text_is_whole",
        ("katas", "About 5 minutes.", "About five minutes."),
        "the lesson does not say how long it takes",
    ),
    "a reference that fails": (
        "reference_passes_every_test",
        ("reference", "repeat(2,", "repeat(3,"),
        "fails on the reference",
    ),
    "a reference that warns": (
        "reference_passes_every_test",
        ("reference", "    return x", '    import warnings; warnings.warn("careful")\n    return x'),
        "the reference warns (reference): UserWarning: careful",
    ),
    "a test that depends on the one before it": (
        "reference_passes_every_test",
        (
            "katas",
            "def test_doubling_leaves_x_alone():\n",
            "def test_doubling_leaves_x_alone():\n    assert SEEN\n",
        ),
        "test_doubling_leaves_x_alone fails on the reference",
    ),
    "a reference that does not import": (
        "reference_passes_every_test",
        ("reference", "import torch\n", "import torch_of_tomorrow\n"),
        "ModuleNotFoundError",
    ),
    "a mistake that survives": (
        "mistakes_die_in_their_test",
        ("reference", "double=lambda x: x.mul_(2)", "double=lambda x: x * 2"),
        "IT SURVIVES",
    ),
    "a mistake that another test catches": (
        "mistakes_die_in_their_test",
        ("reference", 'caught_by="test_doubling_leaves_x_alone"', 'caught_by="test_doubling_keeps_the_dtype"'),
        "is not caught by test_doubling_keeps_the_dtype (caught by test_doubling_leaves_x_alone)",
    ),
    "a mistake whose sentence is not said": (
        "mistakes_die_in_their_test",
        ("reference", '"you changed x in place"', '"you ate the batch"'),
        "its sentence is not on the screen",
    ),
    "a mistake that dies of a raw error": (
        "mistakes_die_in_their_test",
        ("reference", "double=lambda x: x.mul_(2)", "double=lambda x: x.no_such_method()"),
        "its sentence is not on the screen: AttributeError",
    ),
    "a mistake in a test that is not there": (
        "mistakes_die_in_their_test",
        ("reference", 'caught_by="test_doubling_leaves_x_alone"', 'caught_by="test_gone"'),
        "names test_gone, which does not exist",
    ),
    "a mistake of a function that is no stub": (
        "mistakes_die_in_their_test",
        ("reference", "double=lambda x: x.mul_(2)", "triple=lambda x: x.mul_(2)"),
        "replaces triple, which the kata does not declare",
    ),
    "no mistakes": ("mistakes_die_in_their_test", ("reference", "MISTAKES = [", "OTHERS = ["), "no MISTAKES"),
    "a test that catches nothing": (
        "every_test_earns_its_place",
        (
            "katas",
            "def test_doubling_leaves_x_alone",
            "def test_doubling_gives_a_tensor():\n    assert isinstance(double(torch.ones(1)), torch.Tensor)\n\n\n"
            "def test_doubling_leaves_x_alone",
        ),
        "test_doubling_gives_a_tensor catches no mistake that the others miss",
    ),
    "a right answer that is refused": (
        "right_answers_in_another_style_pass",
        ("tests/answers", "double=lambda x: 2 * x", "double=lambda x: x.double()"),
        "refuses the right answer 1 (double)",
    ),
    "too few right answers": (
        "right_answers_in_another_style_pass",
        ("tests/answers", "RIGHT = [dict(double=lambda x: x + x), ", "RIGHT = ["),
        "list two right answers",
    ),
    "a rewritten mistake that survives": (
        "wrong_answers_written_otherwise_die",
        ("tests/answers", "double=lambda x: x.add_(x)", "double=lambda x: x.add(x)"),
        "is not rejected by an assertion",
    ),
    "a hint that gives the solution away": (
        "the_text_is_whole",
        ("reference", "Hint: an API", "Hint: write x.unsqueeze(0).repeat(2, *[1] * x.dim()).sum(dim=0)"),
        "a hint gives a line of the solution away",
    ),
    "a solution that stands in the kata": (
        "the_text_is_whole",
        (
            "katas",
            "    want = torch.tensor([2, 4])\n",
            "    x = want = torch.tensor([2, 4])\n    return x.unsqueeze(0).repeat(2, *[1] * x.dim()).sum(dim=0)\n",
        ),
        "a line of the solution stands in the kata",
    ),
    "a stub without docstring": (
        "the_text_is_whole",
        ("katas", '    """Twice x (any shape), as a new tensor of the same dtype."""\n', ""),
        "stub double has no docstring",
    ),
    "a stub without type hints": (
        "the_text_is_whole",
        ("katas", "def double(x: torch.Tensor) -> torch.Tensor", "def double(x)"),
        "double has no type hint for x, its result",
    ),
    "a kata that is solved": (
        "the_text_is_whole",
        ("katas", 'raise NotImplementedError("double x")', "return x * 2"),
        "double is no stub: nothing but a docstring and `raise NotImplementedError",
    ),
    "a stub with a line before its raise": (
        "the_text_is_whole",
        ("katas", '    raise NotImplementedError("double x")', '    y = x\n    raise NotImplementedError("double x")'),
        "double is no stub",
    ),
    "a test that uses no stub": (
        "stubs_fail_every_test",
        ("katas", "    x = torch.tensor([1.0])\n    double(x)\n", "    x = torch.tensor([1.0])\n"),
        "test_doubling_leaves_x_alone uses none of the stubs",
    ),
    "a lesson without a link": ("the_text_is_whole", ("katas", "https://docs.pytorch.org", "see"), "no link"),
    "a reference with another signature": (
        "the_text_is_whole",
        ("reference", "def double(x: torch.Tensor)", "def double(y: torch.Tensor)"),
        "double has another signature in the reference",
    ),
    "a reference without why": ("the_text_is_whole", ("reference", "Why:", "Because:"), "the why"),
    "too few hints": ("the_text_is_whole", ("reference", "Hint: an API\n", ""), "1 hints"),
    "a parameter without a name": (
        "the_text_is_whole",
        (
            "katas",
            "def test_doubling_leaves_x_alone():\n",
            "import pytest\n\n\n@pytest.mark.parametrize('shape', [(1,)])\ndef test_doubling_leaves_x_alone(shape):\n",
        ),
        "test_doubling_leaves_x_alone[shape0]: the id of its parameters says nothing; give ids in words",
    ),
    "a slow reference": (
        "stays_in_its_time_budget",
        (
            "reference",
            "    return x",
            "    import time\n    end = time.process_time() + 0.9\n"
            "    while time.process_time() < end:\n        pass\n    return x",
        ),
        "s of CPU, 2.0 s are allowed",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_bad_kata_is_caught(sample, name):
    claim, (side, old, new), sentence = SPOILT[name]
    if "SEEN" in new:
        sample.spoil(
            "katas",
            "def test_doubling_doubles_each_value():\n",
            "SEEN = []\n\n\ndef test_doubling_doubles_each_value():\n    SEEN.append(1)\n",
        )
    sample.spoil(side, old, new)
    assert sentence in sample.complaints(claim)


def test_ids_of_parameters_are_words(sample):
    words = ["a batch of 5", "5 rows", "it's 0.5, or not", "stand-in", "cuda", "float64", "default bfloat16", "uint8"]
    no_words = ["3", "-0.5", "1e-07", "True", "None", "", "x1", "3-cpu", "cpu-shape0", "a batch0", "torch.float64"]
    no_words += ["(5, 2)", "[7]", "a/b", "a: b", "one_row", "\xe9t\xe9"]
    test, ids = "test_doubling_leaves_x_alone", words + no_words
    marked = f"import pytest\n\n\n@pytest.mark.parametrize('x', range({len(ids)}), ids={ids})\ndef {test}(x):\n"
    sample.spoil("katas", f"def {test}():\n", marked)
    found = sample.complaints("the_text_is_whole").splitlines()
    assert [line.split(": the id of its parameters")[0] for line in found] == [
        f"{test}[{name.encode('unicode_escape').decode()}]" for name in no_words
    ]


def test_a_bad_tree_is_caught(sample):
    thrice = KATA.replace("Twice", "Thrice").replace("5 minutes.", "5 minutes. Before it: twice, later.")
    sample.put("katas/01_first/03_thrice.py", thrice)
    sample.put("katas/01_first/notes.txt", "x")
    sample.put("reference/01_first/07_gone.py", "x = 1")
    sample.put("katas/03_third/01_twice.py", KATA)
    found = "\n".join(tree_rules.complaints(sample.path, set()))
    for sentence in (
        "01_first: number 02 is missing",
        "katas: number 02 is missing",
        "katas/01_first/notes.txt is astray",
        "reference/01_first/03_thrice.py is missing",
        "reference/01_first/07_gone belongs to no kata",
        "two katas are called twice",
        "01_first/03_thrice names later as what comes before it",
        "katas/03_third/README.md is missing",
        "katas/01_first/README.md is out of step",
    ):
        assert sentence in found
    assert "names twice as what" not in found
    assert "katas: number 02" not in "\n".join(tree_rules.complaints(sample.path, {2}))


def test_a_mistake_needs_a_function():
    from dojo import Mistake

    with pytest.raises(TypeError, match="give at least one wrong function"):
        Mistake("says", caught_by="test_x")


def test_kata_names(tmp_path):
    kata = Kata(tmp_path / "01_first" / "02_big_name.py", tmp_path)
    assert (kata.key, kata.name, kata.slug) == ("01_first/02_big_name", "first/big_name", "big_name")
