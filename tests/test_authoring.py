"""What an author uses: new, pages, attack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dojo.authoring.attack import attack
from dojo.authoring.checks import CHECKS
from dojo.authoring.new import new
from dojo.authoring.pages import write_pages
from dojo.authoring.runs import run
from dojo.kata.files import find_katas


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A project of one kata, just begun."""
    new(tmp_path, "09_modules/03_twice_as_much")
    return tmp_path


def test_a_new_kata_is_whole_but_for_its_words(fresh):
    (kata,) = find_katas(fresh / "katas")
    runs = run(kata, fresh / "reference")
    assert {name: complaints for name, check in CHECKS.items() if (complaints := check(runs))} == {}
    assert "WHAT TO WRITE" in kata.path.read_text(encoding="utf-8")
    assert write_pages(fresh / "katas") != []
    assert write_pages(fresh / "katas") == []


def test_new_writes_over_nothing(fresh):
    with pytest.raises(ValueError, match="is there already"):
        new(fresh, "09_modules/03_twice_as_much")
    with pytest.raises(ValueError, match="is no place for a kata"):
        new(fresh, "modules/name")


def test_attack_finds_what_the_tests_do_not_see(fresh):
    (kata,) = find_katas(fresh / "katas")
    mutants = {mutant.way: mutant for mutant in attack(kata, fresh / "reference")}
    survivors = {way for way, mutant in mutants.items() if mutant.changed and not mutant.failed}
    assert survivors == {"the global random state moved"}
    assert mutants["the arguments written into"].failed == {"test_a_third_sentence"}
    assert "test_a_sentence_about_pytorch" in mutants["the result in another float dtype"].failed
    assert not mutants["the inputs narrowed"].changed
    assert not mutants["the model frozen"].changed


def test_attack_spoils_the_methods_of_a_class(fresh):
    """A layer with one method, and a test that looks at nothing but its values."""
    (kata,) = find_katas(fresh / "katas")
    (fresh / "reference" / f"{kata.key}.py").write_text(_LAYER.replace("BODY", "return x * 2"), encoding="utf-8")
    stub = _LAYER.replace("BODY", "raise NotImplementedError('twice x')")
    kata.path.write_text(f"{stub}{_TEST_OF_THE_LAYER}", encoding="utf-8")
    mutants = {mutant.way: mutant for mutant in attack(kata, fresh / "reference")}
    assert {mutant.function for mutant in mutants.values()} == {"Twice.forward"}
    assert mutants["the result in another float dtype"].failed == {"test_twice"}
    assert mutants["the model left in eval mode"].survives
    assert mutants["the arguments written into"].survives


def test_attack_spoils_what_python_calls_by_itself(fresh):
    """A dataset has no other methods than __len__ and __getitem__."""
    (kata,) = find_katas(fresh / "katas")
    special = _LAYER.replace("forward", "__getitem__").replace("nn.Module", "nn.Identity")
    (fresh / "reference" / f"{kata.key}.py").write_text(special.replace("BODY", "return x * 2"), encoding="utf-8")
    test = _TEST_OF_THE_LAYER.replace("Twice()(torch.tensor([1.5]))", "Twice()[torch.tensor([1.5])]")
    kata.path.write_text(f"{special.replace('BODY', 'raise NotImplementedError')}{test}", encoding="utf-8")
    assert {mutant.function for mutant in attack(kata, fresh / "reference")} == {"Twice.__getitem__"}


_LAYER = '''
from torch import nn

class Twice(nn.Module):
    """Twice x."""

    def forward(self, x):
        BODY
'''
_TEST_OF_THE_LAYER = """
import torch

from dojo import under_test
from dojo.kit import check_tensor

under_test(globals())


def test_twice():
    check_tensor(Twice()(torch.tensor([1.5])), torch.tensor([3.0]), "twice x")
"""


def test_the_command_line_says_what_is_wrong():
    command = [sys.executable, "-m", "dojo.authoring", "attack", "no_such_kata_at_all"]
    result = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert result.returncode == 2
    assert "no kata is called 'no_such_kata_at_all'" in result.stderr
    assert "Traceback" not in result.stderr
