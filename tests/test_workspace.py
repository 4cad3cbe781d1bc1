"""A folder of one's own: start, run, update, reset; and that nothing a learner wrote is ever lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dojo.kata.files import find_katas
from dojo.workspace import files, workspace

ALPHA, BETA, GAMMA = "01_first/01_alpha.py", "01_first/02_beta.py", "02_second/01_gamma.py"
STUB, SOLVED = 'raise NotImplementedError("say the name")', 'return "a name of mine"'


def said(result: pytest.RunResult) -> str:
    """All that is on the screen, without line breaks."""
    return " ".join(f"{result.stdout.str()} {result.stderr.str()}".split())


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file that somebody could miss."""
    skipped = {"__pycache__", ".pytest_cache"}
    found = (path for path in folder.rglob("*") if path.is_file() and not skipped & set(path.parts))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


class Own:
    """The fixture project with a learner's folder."""

    def __init__(self, project, folder: Path) -> None:
        self.project = project
        self.folder = folder
        self.katas = project.path / "katas"
        self.run = project.run

    def start(self, *arguments: str) -> str:
        result = self.run(*(arguments or ("--kata-start",)))
        assert result.ret == 0, said(result)
        return said(result)

    def text(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")

    def write(self, name: str, old: str = STUB, new: str = SOLVED) -> str:
        """The learner changes a file of the folder; returns the text."""
        return self._change(self.folder / name, old, new)

    def ship(self, name: str, old: str = "the name is wrong", new: str = "that is no name") -> str:
        """The project changes a file of katas/."""
        return self._change(self.katas / name, old, new)

    @staticmethod
    def _change(path: Path, old: str, new: str) -> str:
        text = path.read_text(encoding="utf-8")
        assert old in text
        text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
        return text

    def move(self, old: str, new: str) -> None:
        """The project gives a kata another path."""
        for root in ("katas", "reference"):
            target = self.project.path / root / new
            target.parent.mkdir(exist_ok=True)
            (self.project.path / root / old).rename(target)


@pytest.fixture
def own(project):
    return Own(project, project.path / "my_katas")


@pytest.fixture
def started(own):
    own.start()
    return own


@pytest.fixture
def checkout(own):
    """The project as a git checkout."""
    git(own.project.path, "init", "-q")
    git(own.project.path, "add", "katas", "reference")
    git(own.project.path, "commit", "-qm", "shipped")
    return own


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


# ── starting ──


def test_start_copies_the_katas_and_what_pytest_needs(own):
    text = own.start()
    assert "3 katas are in my_katas/, yours to edit" in text
    assert "todo" not in text, "it runs no test"
    assert set(files_of(own.folder)) == {ALPHA, BETA, GAMMA, "conftest.py", "pytest.ini", ".gitignore"}
    assert own.text(ALPHA) == (own.katas / ALPHA).read_text(encoding="utf-8")
    assert (own.project.path / workspace.POINTER).read_text(encoding="utf-8") == "my_katas\n"


def test_pytest_at_the_root_and_in_the_folder_takes_the_functions_from_there(started, monkeypatch):
    started.write(ALPHA)
    text = said(started.run())
    assert "edit my_katas/01_first/01_alpha.py" in text
    assert "the name is wrong" in text
    assert "0 of 3 katas" in text
    monkeypatch.chdir(started.folder)
    text = said(started.run())
    assert "edit 01_first/01_alpha.py" in text
    assert "the name is wrong" in text
    assert "the first idea" in said(started.run("--kata-hint", "alpha"))


@pytest.mark.parametrize("folder", ["katas of mine", "[1]", "我的练习"])
def test_a_folder_elsewhere_with_any_name(own, tmp_path_factory, monkeypatch, folder):
    own.folder = tmp_path_factory.mktemp("else where") / folder
    own.start(f"--kata-start={own.folder}")
    assert not (own.folder / ".gitignore").exists(), "elsewhere, what to commit is the learner's business"
    own.write(ALPHA)
    assert "the name is wrong" in said(own.run())
    monkeypatch.chdir(own.folder)
    assert "edit 01_first/01_alpha.py" in said(own.run())


@pytest.mark.parametrize("path", ["my_katas/02_second", "my_katas/02_second/01_gamma.py", "katas/02_second"])
def test_a_chapter_can_be_named_in_either_tree(started, path):
    started.write(GAMMA)
    result = started.run(path)
    assert "the name is wrong" in said(result)
    assert "1 failed" in said(result)
    assert "edit my_katas/02_second/01_gamma.py" in said(result)


def test_an_editor_that_collects_the_folder_finds_its_tests(started, monkeypatch):
    names = [line for line in started.run("--collect-only", "-q", "my_katas").outlines if "::" in line]
    assert "01_first/01_alpha.py::test_alpha_doubles" in names
    assert len(names) == 6
    monkeypatch.chdir(started.folder)
    assert "01_first/01_alpha.py::test_alpha_doubles" in said(started.run("--collect-only", "-q", "."))
    assert "1 todo" in said(started.run("01_first/01_alpha.py::test_alpha_doubles"))


def test_the_solved_kata_leads_to_the_next_one(started):
    started.run()
    for stub, body in {"double x": "return x * 2", "say the name": 'return "alpha"'}.items():
        started.write(ALPHA, f'raise NotImplementedError("{stub}")', body)
    text = said(started.run())
    assert "first/alpha passes because two times one is two." in text
    assert "edit my_katas/01_first/02_beta.py" in text
    assert "✓ alpha" in said(started.run("--kata-list"))
    assert "return x * 2" in said(started.run("--kata-compare", "alpha"))


def test_workers_use_the_folder_too(started):
    started.write(ALPHA)
    result = started.project.run_apart("-n", "2")
    assert "2 workers [6 items]" in said(result)
    assert "edit my_katas/01_first/01_alpha.py" in said(result)


def test_other_solutions_and_other_tests_leave_the_folder_alone(started):
    started.write(ALPHA)
    before = files_of(started.folder)
    started.run("--kata-solutions=reference", "katas").assert_outcomes(passed=6)
    started.project.write("tests/test_x.py", "def test_x():\n    pass\n")
    started.run("tests/test_x.py").assert_outcomes(passed=1)
    assert files_of(started.folder) == before


def test_without_a_start_or_its_pointer_katas_itself_is_practised_in(own):
    own.project.solve("alpha")
    assert "edit katas/01_first/02_beta.py" in said(own.run())
    assert not own.folder.exists()
    own.start()
    (own.project.path / workspace.POINTER).unlink()
    assert "edit katas/01_first/02_beta.py" in said(own.run())


def test_a_folder_that_is_gone_is_a_sentence(started):
    shutil.rmtree(started.folder)
    result = started.run()
    assert result.ret == 4
    assert "but that folder is gone. Bring it back; or" in said(result)
    started.start()
    assert "edit my_katas/" in said(started.run())


# ── what a learner wrote stays ──


def test_work_in_katas_itself_comes_along(own):
    own.project.solve("alpha")
    assert "what you have written came along: first/alpha" in own.start()
    assert "return x * 2" in own.text(ALPHA)
    own.project.solve("beta")
    assert "what you have written came along: first/beta" in own.start()
    assert "return x * 2" in own.text(BETA)
    assert STUB in own.text("01_first/02_beta.mine-1.py.bak"), "nothing is thrown away"


def test_a_second_start_changes_nothing(started):
    mine = started.write(ALPHA)
    before = files_of(started.folder)
    assert "has all katas: nothing is new, and what you wrote stays as it is" in started.start()
    assert files_of(started.folder) == before
    assert started.text(ALPHA) == mine


def test_a_start_elsewhere_leaves_the_former_folder_alone(started):
    mine = started.write(ALPHA)
    assert "my_katas/, which was used until now, is left as it is" in started.start("--kata-start=other")
    assert started.text(ALPHA) == mine
    assert "edit other/01_first/01_alpha.py" in said(started.run())


def test_an_update_of_the_tests_needs_no_update_of_the_folder(started):
    mine = started.write(ALPHA)
    started.ship(ALPHA)
    for _ in range(2):
        text = said(started.run())
        assert "that is no name" in text, "the tests are the shipped ones"
        assert "my_katas/01_first/01_alpha.py holds other tests than katas/01_first/01_alpha.py: the latter ran" in text
        assert started.text(ALPHA) == mine


def test_a_new_kata_is_copied_when_its_turn_comes_and_by_start(started):
    (started.folder / BETA).unlink()
    started.run()
    assert not (started.folder / BETA).exists()
    started.write(ALPHA, 'raise NotImplementedError("double x")', "return x * 2")
    started.write(ALPHA, STUB, 'return "alpha"')
    assert "edit my_katas/01_first/02_beta.py" in said(started.run())
    assert STUB in started.text(BETA)
    (started.folder / GAMMA).unlink()
    assert "new in my_katas/: second/gamma" in started.start()


def test_a_kata_with_another_number_takes_the_learners_version_along(started):
    mine = started.write(GAMMA)
    started.move(GAMMA, "02_second/07_gamma.py")
    assert "what you have written came along: second/gamma" in started.start()
    assert started.text("02_second/07_gamma.py") == mine
    assert not (started.folder / GAMMA).exists()
    assert "nothing is new" in started.start()


def test_a_comment_in_an_unwritten_kata_with_another_number_is_not_lost(started):
    mine = started.write(GAMMA, '"""The gamma kata', '# my own note\n"""The gamma kata')
    started.move(GAMMA, "02_second/07_gamma.py")
    started.start()
    assert "my own note" in mine
    kept = [path for path in (started.folder / "02_second").iterdir() if "my own note" in path.read_text()]
    assert kept, "the note is gone"


def test_a_kata_with_another_number_that_nobody_wrote_is_copied_anew(started):
    started.move(GAMMA, "02_second/07_gamma.py")
    new = started.katas / "02_second/07_gamma.py"
    new.write_text(new.read_text().replace("The gamma kata", "Another lesson"))
    assert "new in my_katas/: second/gamma" in started.start()
    assert "Another lesson" in started.text("02_second/07_gamma.py")
    assert not (started.folder / GAMMA).exists()


def test_a_kata_that_the_project_no_longer_has_stays(started):
    mine = started.write(ALPHA)
    (started.katas / ALPHA).unlink()
    started.start()
    assert "0 of 2 katas" in said(started.run())
    assert started.text(ALPHA) == mine


def test_a_copy_without_the_stubs_that_are_asked_for_is_told_so(started):
    started.write(ALPHA, "def alpha_name", "def alpha_title")
    text = said(started.run())
    assert "my_katas/01_first/01_alpha.py:1: defines no alpha_name, which the kata asks for." in text
    assert "`pytest --kata-reset alpha` brings the stubs, and keeps your version beside them" in text


def test_a_project_that_moved_is_found_by_starting_there(started, tmp_path_factory, monkeypatch):
    mine = started.write(ALPHA)
    there = tmp_path_factory.mktemp("moved") / "project"
    shutil.copytree(started.project.path, there)
    started.folder = there / "my_katas"
    monkeypatch.chdir(there)
    started.start()
    assert f"kata_project = {there}" in started.text("pytest.ini")
    assert started.text(ALPHA) == mine
    assert "edit my_katas/01_first/01_alpha.py" in said(started.run())


# ── files in the way, disks that refuse ──


def test_foreign_files_in_the_way_stay(own):
    (own.folder / "01_first").mkdir(parents=True)
    (own.folder / ALPHA).write_text("my notes\n", encoding="utf-8")
    (own.folder / "conftest.py").write_text("# mine\n", encoding="utf-8")
    assert "my_katas/conftest.py was there already" in own.start()
    assert own.text(ALPHA) == "my notes\n"
    assert own.text("conftest.py") == "# mine\n"
    assert "01_alpha.py:1: SyntaxError" in said(own.run("katas/01_first"))
    own.run("--kata-reset", "alpha")
    assert own.text("01_first/01_alpha.mine-1.py.bak") == "my notes\n"
    assert STUB in own.text(ALPHA)


def test_a_file_where_a_chapter_should_be_stays(own):
    own.folder.mkdir()
    (own.folder / "01_first").write_text("a file\n", encoding="utf-8")
    assert "my_katas/01_first" in own.start()
    assert own.text("01_first") == "a file\n"
    assert (own.folder / GAMMA).is_file()


@pytest.mark.parametrize("folder", ["katas", "katas/mine", ".", "..", "tests/mine", "a_file", "a_file/mine"])
def test_a_folder_that_cannot_be_one_is_refused(own, folder):
    own.project.write("a_file", "text\n")
    before = files_of(own.project.path)
    result = own.run(f"--kata-start={folder}")
    assert result.ret == 4
    assert files_of(own.project.path) == before


def test_a_full_disk_is_a_sentence_and_loses_nothing(started, monkeypatch):
    mine = started.write(ALPHA)
    (started.folder / BETA).unlink()
    before = files_of(started.folder)

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for arguments in (["--kata-start"], ["--kata-reset", "alpha"], ["--kata-start=elsewhere"]):
            result = started.run(*arguments)
            assert result.ret == 4
            assert "No space left on device. Nothing of yours was overwritten" in said(result)
        assert "edit my_katas/01_first/01_alpha.py" in said(started.run()), "practice goes on"
    assert files_of(started.folder) == before
    assert started.text(ALPHA) == mine
    started.start()
    assert STUB in started.text(BETA)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_a_sentence(started):
    (started.folder / BETA).unlink()
    (started.folder / "01_first").chmod(0o500)
    try:
        assert "Permission denied" in said(started.run("--kata-start"))
        assert started.run().ret == 1
    finally:
        (started.folder / "01_first").chmod(0o700)


@pytest.mark.parametrize("at", range(1, 7))
@pytest.mark.parametrize("step", ["link", "fsync", "replace"])
def test_a_start_that_is_interrupted_anywhere_goes_on_later(own, monkeypatch, step, at):
    """The process dies at the `at`-th such step; the next start brings all in order."""
    own.project.solve("alpha")
    count, real = 0, getattr(os, step)

    def dying(*arguments: object) -> object:
        nonlocal count
        count += 1
        if count == at:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, step, dying)
        try:
            workspace.start(own.project.path, None)
        except KeyboardInterrupt:
            assert at == count
    own.start()
    assert own.text(ALPHA) == (own.katas / ALPHA).read_text(encoding="utf-8")
    assert len(find_katas(own.folder)) == 3
    assert not [name for name in files_of(own.folder) if name.endswith(".tmp")]
    assert "1 of 3 katas" in said(own.run())


def test_a_file_is_never_created_over_another(tmp_path, monkeypatch):
    path = tmp_path / "a.py"
    path.write_text("mine")
    assert not files.create(path, b"theirs")
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links here")))
    assert not files.create(path, b"theirs")
    assert path.read_text() == "mine"
    assert files.create(tmp_path / "b.py", b"theirs")
    assert (tmp_path / "b.py").read_bytes() == b"theirs"


# ── reset ──


def test_reset_brings_back_the_original_and_keeps_each_version(started):
    original = started.text(ALPHA)
    first = started.write(ALPHA)
    text = said(started.run("--kata-reset", "alpha"))
    assert "my_katas/01_first/01_alpha.py is the original again" in text
    assert "your version is kept: my_katas/01_first/01_alpha.mine-1.py.bak" in text
    assert started.text(ALPHA) == original
    second = started.write(ALPHA, "A lesson.", "Something else.")
    assert "01_alpha.mine-2.py.bak" in said(started.run("--kata-reset=first/alpha"))
    assert started.text("01_first/01_alpha.mine-1.py.bak") == first
    assert started.text("01_first/01_alpha.mine-2.py.bak") == second
    assert "there is nothing to reset" in said(started.run("--kata-reset", "alpha"))
    assert "0 of 3 katas" in said(started.run())


@pytest.mark.parametrize("begin", [True, False])
def test_reset_of_an_unknown_name_says_the_nearest(own, begin):
    if begin:
        own.start()
    result = own.run("--kata-reset", "gama")
    assert result.ret == 4
    assert "no kata is called 'gama'. Did you mean gamma" in said(result)


def test_reset_in_katas_itself_takes_the_text_from_git(checkout):
    original = (checkout.katas / ALPHA).read_bytes()
    checkout.project.solve("alpha")
    mine = (checkout.katas / ALPHA).read_bytes()
    text = said(checkout.run("--kata-reset", "alpha"))
    assert "katas/01_first/01_alpha.py is the original again" in text
    assert "your version is kept: katas/01_first/01_alpha.mine-1.py.bak" in text
    assert (checkout.katas / ALPHA).read_bytes() == original
    assert (checkout.katas / "01_first/01_alpha.mine-1.py.bak").read_bytes() == mine
    (checkout.katas / BETA).unlink()
    checkout.run("--kata-reset", "beta")
    assert (checkout.katas / BETA).is_file()


def test_reset_in_katas_itself_without_git_is_a_sentence(own):
    own.project.solve("alpha")
    before = files_of(own.katas)
    result = own.run("--kata-reset", "alpha")
    assert result.ret == 4
    assert "The original of first/alpha is not to be had" in said(result)
    assert files_of(own.katas) == before


def test_reset_of_a_committed_solution_says_that_git_has_it_solved(checkout):
    checkout.project.solve("alpha")
    git(checkout.project.path, "commit", "-qam", "mine")
    assert "`git log -- katas/01_first/01_alpha.py` shows older ones" in said(checkout.run("--kata-reset", "alpha"))


# ── in step with the project ──


def test_the_folders_settings_are_the_projects(started):
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    settings = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = settings["tool"]["pytest"]["ini_options"]
    ini = dict(row.split(" = ", 1) for row in started.text("pytest.ini").splitlines() if " = " in row)
    assert ini["addopts"].split() == wanted["addopts"]
    assert ini["norecursedirs"].split() == wanted["norecursedirs"]
    assert ini["python_files"] in wanted["python_files"]
