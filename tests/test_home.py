"""A place of one's own: start, update, reset; and that nothing a learner wrote is ever lost."""

from __future__ import annotations

import errno
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dojo.catalog import find_katas

from dojo import home, home_folder, tree_rules, upstream

ALPHA, BETA, GAMMA = "01_first/01_alpha.py", "01_first/02_beta.py", "02_second/01_gamma.py"
SOLVED = 'return "a name of mine"'


def screen(result: pytest.RunResult) -> str:
    return "\n".join(result.outlines)


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

    def start(self, *arguments: str) -> pytest.RunResult:
        result = self.run(*(arguments or ("--kata-start",)))
        assert result.ret == 0, screen(result)
        return result

    def text(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")

    def write(self, name: str, old: str = 'raise NotImplementedError("say the name")', new: str = SOLVED) -> str:
        """The learner changes a file of the folder; returns the text."""
        return self._change(self.folder / name, old, new)

    def ship(self, name: str, old: str = "A lesson.", new: str = "A better lesson.") -> str:
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

    def remembers(self) -> dict[str, str]:
        return json.loads(self.text(home.STATE))["files"]


@pytest.fixture
def own(project):
    project.write("katas/01_first/README.md", "# First\n")
    return Own(project, project.path / "my_katas")


@pytest.fixture
def started(own):
    own.start()
    return own


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(own):
    """The project as a git checkout."""
    git(own.project.path, "init", "-q")
    git(own.project.path, "add", "katas", "reference")
    git(own.project.path, "commit", "-qm", "shipped")
    return own


# ── starting ──


def test_start_copies_the_katas_and_what_pytest_needs(own):
    text = said(own.start())
    assert "3 katas are in my_katas/, yours to edit" in text
    assert set(files_of(own.folder)) == {
        *(ALPHA, BETA, GAMMA, "01_first/README.md"),
        *("conftest.py", "pytest.ini", ".gitignore", home.STATE),
    }
    assert own.text(ALPHA) == (own.katas / ALPHA).read_text(encoding="utf-8")
    assert (own.project.path / home.POINTER).read_text(encoding="utf-8") == "my_katas\n"


def test_start_runs_no_test(own):
    assert "todo" not in screen(own.start())


def test_pytest_at_the_root_uses_the_folder(started):
    started.write(ALPHA)
    result = started.run()
    assert result.ret == 1
    text = said(result)
    assert "edit my_katas/01_first/01_alpha.py" in text
    assert "0 of 3 katas" in text
    assert "the name is wrong" in text


def test_pytest_in_the_folder_uses_it_too(started, monkeypatch):
    started.write(ALPHA)
    monkeypatch.chdir(started.folder)
    text = said(started.run())
    assert "edit 01_first/01_alpha.py" in text
    assert "0 of 3 katas" in text
    assert "the first idea" in said(started.run("--kata-hint", "alpha"))


def test_a_folder_elsewhere(own, tmp_path_factory, monkeypatch):
    own.folder = tmp_path_factory.mktemp("else where") / "katas of mine"
    own.start(f"--kata-start={own.folder}")
    assert not (own.folder / ".gitignore").exists(), "elsewhere, what to commit is the learner's business"
    own.write(ALPHA)
    at_root = own.run()
    assert "0 of 3 katas" in said(at_root)
    assert "the name is wrong" in said(at_root)
    monkeypatch.chdir(own.folder)
    assert "edit 01_first/01_alpha.py" in said(own.run())


def test_a_chapter_of_the_folder_can_be_named_from_the_root(started):
    started.write(GAMMA)
    result = started.run("my_katas/02_second")
    assert "1 of" not in said(result)
    assert "the name is wrong" in said(result)


def test_the_solved_kata_leads_to_the_next_one(started):
    started.run()
    for stub, body in {"double x": "return x * 2", "say the name": 'return "alpha"'}.items():
        started.write(ALPHA, f'raise NotImplementedError("{stub}")', body)
    text = said(started.run())
    assert "first/alpha passes because two times one is two." in text
    assert "edit my_katas/01_first/02_beta.py" in text
    listed = started.run("--kata-list")
    assert "✓ alpha" in said(listed)
    assert "return x * 2" in said(started.run("--kata-compare", "alpha"))


@pytest.mark.parametrize("name", ["gamma", "katas/02_second/01_gamma.py", "my_katas/02_second/01_gamma.py"])
def test_a_kata_of_the_folder_has_many_names(started, name):
    assert "second/gamma · hint 1" in screen(started.run(f"--kata-hint={name}"))


def test_workers_use_the_folder_too(started):
    started.write(ALPHA)
    result = started.project.run_apart("-n", "2")
    assert "2 workers [6 items]" in said(result)
    assert "edit my_katas/01_first/01_alpha.py" in said(result)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads a pipe with a deadline")
def test_the_watch_watches_the_folder(started):
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "--kata-watch"],
        cwd=started.project.path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    output, text = process.stdout.fileno(), ""
    try:
        for awaited in ("edit  my_katas/01_first/01_alpha.py", "the name is wrong"):
            end = time.monotonic() + 120
            while awaited not in text:
                assert time.monotonic() < end, text
                if select.select([output], [], [], 1.0)[0]:
                    text += os.read(output, 65536).decode()
            if "the name is wrong" not in text:
                time.sleep(0.5)  # the spare child is forked, the watcher of files is up
                started.write(ALPHA)
        assert "watching my_katas/" in text
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_an_explicit_path_and_other_solutions_are_about_katas_itself(started):
    started.write(ALPHA)
    before = files_of(started.folder)
    started.ship(GAMMA)
    assert "the name is wrong" not in said(started.run("katas/01_first"))
    started.run("--kata-solutions=reference").assert_outcomes(passed=6)
    started.project.write("tests/test_x.py", "def test_x():\n    pass\n")
    started.run("-c", os.devnull, "--rootdir=.", "tests/test_x.py").assert_outcomes(passed=1)
    assert files_of(started.folder) == before, "a run that is not about the folder leaves it alone"


def test_without_a_start_katas_itself_is_practised_in(own):
    own.project.solve("alpha")
    assert "edit katas/01_first/02_beta.py" in said(own.run())
    assert not own.folder.exists()


def test_work_in_katas_itself_comes_along_and_is_safe_from_then_on(own):
    own.project.solve("alpha")
    text = said(own.start())
    assert "what you have written in katas/ came along: first/alpha" in text
    mine = own.text(ALPHA)
    assert "return x * 2" in mine
    own.project.write("katas/" + ALPHA, mine.replace("return x * 2", 'raise NotImplementedError("double x")'))
    own.run()
    own.ship(ALPHA, 'return "alpha"', 'raise NotImplementedError("say the name")')
    own.run()
    assert own.text(ALPHA) == mine


def test_in_a_checkout_even_a_comment_written_into_katas_comes_along(checkout):
    shipped = (checkout.katas / ALPHA).read_text(encoding="utf-8")
    mine = checkout.ship(ALPHA, "A lesson.", "A lesson. I think it is about strides.")
    assert "came along: first/alpha" in said(checkout.start())
    checkout.project.write("katas/" + ALPHA, shipped)
    checkout.run()
    assert checkout.text(ALPHA) == mine
    checkout.ship(BETA, "A lesson.", "Not committed: somebody practises in katas/ again.")
    checkout.run()
    assert "Not committed" not in checkout.text(BETA)


# ── starting again ──


def test_a_second_start_changes_nothing(started):
    mine = started.write(ALPHA)
    before = files_of(started.folder)
    text = said(started.start())
    assert "my_katas/ is up to date" in text
    assert "changed by you, and kept: first/alpha" in text
    assert files_of(started.folder) == before
    assert started.text(ALPHA) == mine


def test_a_second_start_inside_the_folder(started, monkeypatch):
    started.ship(BETA)
    monkeypatch.chdir(started.folder)
    assert "brought up to date, as you had not touched them: first/beta" in said(started.start())
    assert "A better lesson." in started.text(BETA)


def test_a_start_elsewhere_leaves_the_former_folder_alone(started):
    mine = started.write(ALPHA)
    text = said(started.start("--kata-start=other"))
    assert "my_katas/, which was used until now, is left as it is" in text
    assert started.text(ALPHA) == mine
    assert "edit other/01_first/01_alpha.py" in said(started.run())


def test_a_start_over_a_lost_page_of_digests_takes_the_files_as_the_learners(started):
    mine = started.write(ALPHA)
    (started.folder / home.STATE).unlink()
    result = started.run()
    assert result.ret == 4
    assert "has no .kata-origin.json any more" in said(result)
    assert "taken as your versions: first/alpha" in said(started.start())
    assert started.text(ALPHA) == mine
    started.ship(ALPHA)
    assert "first/alpha changed upstream" in said(started.run())
    assert started.text(ALPHA) == mine


def test_a_damaged_page_of_digests_is_a_sentence(started):
    (started.folder / home.STATE).write_text("{", encoding="utf-8")
    for arguments in ((), ("--kata-start",)):
        result = started.run(*arguments)
        if arguments:
            assert result.ret == 4
        assert "is damaged. Delete it" in said(result)


def test_a_folder_that_is_gone_is_a_sentence(started):
    shutil.rmtree(started.folder)
    result = started.run()
    assert result.ret == 4
    assert "but that folder is gone. Bring it back; or" in said(result)
    assert started.run("katas/01_first").ret == 1
    started.start()
    assert "edit my_katas/" in said(started.run())


def test_deleting_the_pointer_leads_back_to_katas(started):
    (started.project.path / home.POINTER).unlink()
    assert "edit katas/01_first/01_alpha.py" in said(started.run())


# ── updates ──


def test_an_untouched_kata_is_refreshed(started):
    started.ship(BETA)
    text = said(started.run())
    assert "brought up to date, as you had not touched them: first/beta" in text
    assert "A better lesson." in started.text(BETA)
    assert "brought up to date" not in said(started.run())


def test_line_endings_alone_do_not_count_as_touched(started):
    path = started.folder / BETA
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    started.ship(BETA)
    started.run()
    assert "A better lesson." in started.text(BETA)


def test_a_new_kata_appears(started):
    new = (started.katas / GAMMA).read_text(encoding="utf-8").replace("gamma", "delta")
    started.project.write("katas/02_second/02_delta.py", new)
    text = said(started.run())
    assert "new katas: second/delta" in text
    assert "0 of 4 katas" in text
    assert started.text("02_second/02_delta.py") == new


def test_a_changed_kata_is_never_overwritten_and_named_while_upstream_differs(started, monkeypatch):
    mine = started.write(ALPHA)
    assert "changed upstream" not in said(started.run())
    before = (started.katas / ALPHA).read_text(encoding="utf-8")
    started.ship(ALPHA)
    for _ in range(2):
        text = said(started.run())
        assert (
            "first/alpha changed upstream, and yours is kept. `git diff --no-index katas/01_first/01_alpha.py" in text
        )
        assert "my_katas/01_first/01_alpha.py` shows the two, `pytest --kata-reset alpha` takes it" in text
        assert started.text(ALPHA) == mine
    monkeypatch.chdir(started.folder)
    assert f"--no-index {started.katas / ALPHA} 01_first/01_alpha.py" in said(started.run())
    (started.katas / ALPHA).write_text(before, encoding="utf-8")
    assert "changed upstream" not in said(started.run())
    assert started.text(ALPHA) == mine


def test_a_change_that_the_learner_took_over_by_hand_is_named_no_more(started):
    started.write(ALPHA)
    started.ship(ALPHA)
    assert "changed upstream" in said(started.run())
    mine = started.write(ALPHA, "A lesson.", "A better lesson.")
    assert "changed upstream" not in said(started.run())
    started.ship(ALPHA, "you did not double it", "that is not twice x")
    assert "changed upstream" in said(started.run())
    assert started.text(ALPHA) == mine


def test_many_changes_are_few_lines(started):
    for i in range(6):
        text = (started.katas / ALPHA).read_text(encoding="utf-8").replace("alpha", f"more_{i}")
        started.project.write(f"katas/03_third/0{i + 1}_more_{i}.py", text)
    started.run()
    for i in range(6):
        started.write(f"03_third/0{i + 1}_more_{i}.py")
        started.ship(f"03_third/0{i + 1}_more_{i}.py")
    text = said(started.run())
    assert text.count("and yours is kept") == 3
    assert "3 more changed upstream: `pytest --kata-start` tells of all" in text
    assert said(started.start()).count("and yours is kept") == 6


def test_a_deleted_kata_stays_deleted(started):
    (started.folder / BETA).unlink()
    started.ship(BETA)
    assert "0 of 2 katas" in said(started.run())
    assert "deleted by you: first/beta; `pytest --kata-reset NAME` brings one back" in said(started.start())
    assert not (started.folder / BETA).exists()
    assert "is the original again" in said(started.run("--kata-reset", "beta"))
    assert "A better lesson." in started.text(BETA)


@pytest.mark.parametrize(
    ("old", "new"),
    [(ALPHA, "01_first/03_alpha.py"), (GAMMA, "05_fifth/01_gamma.py"), (GAMMA, "02_second/01_by_another_name.py")],
    ids=["renumbered", "another chapter", "another name"],
)
def test_the_learners_work_moves_along_with_an_upstream_rename(started, old, new):
    mine = started.write(old)
    started.move(old, new)
    text = said(started.run())
    assert "has another place now, and your version moved along: my_katas/" + new in text
    assert started.text(new) == mine
    assert not (started.folder / old).exists()
    assert set(files_of(started.folder)) >= set(started.remembers())
    assert "has another place" not in said(started.run())
    started.ship(new)
    assert "changed upstream" in said(started.run())
    assert started.text(new) == mine


def test_an_untouched_kata_moves_without_a_word_and_is_refreshed(started):
    started.move(GAMMA, "03_third/01_gamma.py")
    started.ship("03_third/01_gamma.py")
    text = said(started.run())
    assert "another place" not in text
    assert "A better lesson." in started.text("03_third/01_gamma.py")
    assert not (started.folder / "02_second").exists()
    assert "0 of 3 katas" in text


def test_renumbering_two_katas_at_once_mixes_nothing_up(started):
    mine = {name: started.write(name) for name in (ALPHA, BETA)}
    started.move(ALPHA, "01_first/02_alpha.py")
    started.move(BETA, "01_first/01_beta.py")
    started.run()
    assert started.text("01_first/02_alpha.py") == mine[ALPHA]
    assert started.text("01_first/01_beta.py") == mine[BETA]
    assert len(find_katas(started.folder)) == 3


def test_a_deleted_kata_stays_deleted_under_its_new_name(started):
    (started.folder / BETA).unlink()
    started.move(BETA, "01_first/07_beta.py")
    started.run()
    assert not (started.folder / "01_first/07_beta.py").exists()


def test_a_rename_that_finds_its_place_taken_loses_neither_file(started):
    mine = started.write(GAMMA)
    (started.folder / "02_second/04_gamma.py").write_text("notes\n", encoding="utf-8")
    started.move(GAMMA, "02_second/04_gamma.py")
    text = said(started.run())
    assert "second/gamma is no longer part of the project; yours is kept: my_katas/02_second/01_gamma.py" in text
    assert "my_katas/02_second/04_gamma.py was there already, is not ours, and stays as it is" in text
    assert started.text(GAMMA) == mine
    assert started.text("02_second/04_gamma.py") == "notes\n"


def test_an_upstream_deleted_kata_is_kept_where_it_was_changed(started):
    mine = started.write(ALPHA)
    for name in (ALPHA, BETA):
        (started.katas / name).unlink()
    text = said(started.run())
    assert "first/alpha is no longer part of the project; yours is kept: my_katas/01_first/01_alpha.py" in text
    assert "untouched by you, and so removed: first/beta" in text
    assert started.text(ALPHA) == mine
    assert not (started.folder / BETA).exists()
    assert "first/alpha is no longer part" in said(started.run())


def test_deleting_a_file_in_katas_of_a_checkout_deletes_nothing(checkout):
    checkout.start()
    (checkout.katas / BETA).unlink()
    checkout.run()
    assert (checkout.folder / BETA).is_file()


def test_a_project_that_is_gone_or_empty_removes_nothing(started, monkeypatch):
    mine = started.write(ALPHA)
    before = files_of(started.folder)
    shutil.rmtree(started.katas)
    monkeypatch.setattr(home_folder.dojo, "__file__", str(started.project.path / "nowhere" / "dojo" / "__init__.py"))
    monkeypatch.chdir(started.folder)
    result = started.run()
    assert result.ret == 1
    assert "is not in" in said(result)
    assert "no hints and no updates until you run" in said(result)
    assert files_of(started.folder) == before
    assert started.text(ALPHA) == mine


def test_a_project_that_moved_is_found_by_starting_there(started, tmp_path_factory, monkeypatch):
    mine = started.write(ALPHA)
    there = tmp_path_factory.mktemp("moved") / "project"
    shutil.copytree(started.project.path, there)
    started.folder = there / "my_katas"
    monkeypatch.chdir(there)
    started.start()
    assert json.loads(started.text(home.STATE))["project"] == str(there)
    assert started.text(ALPHA) == mine
    assert "edit my_katas/01_first/01_alpha.py" in said(started.run())


# ── files in the way, disks that refuse ──


def test_a_foreign_file_in_the_way_stays(own):
    (own.folder / "01_first").mkdir(parents=True)
    (own.folder / ALPHA).write_text("my notes\n", encoding="utf-8")
    (own.folder / "conftest.py").write_text("# mine\n", encoding="utf-8")
    text = said(own.start())
    assert "my_katas/01_first/01_alpha.py was there already, is not ours, and stays as it is" in text
    assert "my_katas/conftest.py was there already" in text
    assert own.text(ALPHA) == "my notes\n"
    assert own.text("conftest.py") == "# mine\n"
    own.ship(ALPHA)
    assert "01_alpha.py was there already" in said(own.run())
    assert own.text(ALPHA) == "my notes\n"
    own.run("--kata-reset", "alpha")
    assert own.text("01_first/01_alpha.mine-1.py.bak") == "my notes\n"
    assert "A better lesson." in own.text(ALPHA)


def test_a_file_where_a_chapter_should_be_stays(own):
    own.folder.mkdir()
    (own.folder / "01_first").write_text("a file\n", encoding="utf-8")
    text = said(own.start())
    assert "my_katas/01_first/01_alpha.py" in text
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
    started.ship(BETA)
    before = files_of(started.folder)

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for arguments in (["--kata-start"], ["--kata-reset", "alpha"], ["--kata-start=elsewhere"]):
            result = started.run(*arguments)
            assert result.ret == 4
            assert "No space left on device. Nothing of yours was overwritten" in said(result)
        practice = started.run()
        assert practice.ret == 1
        assert "No space left on device" in said(practice)
        assert "edit my_katas/01_first/01_alpha.py" in said(practice), "practice goes on"
    assert files_of(started.folder) == before
    started.run()
    assert "A better lesson." in started.text(BETA)
    assert started.text(ALPHA) == mine


@pytest.mark.parametrize("at", range(1, 8))
def test_an_update_that_is_interrupted_anywhere_goes_on_later(started, monkeypatch, at):
    """The process dies at the `at`-th write or move; the next run brings all in order."""
    mine = started.write(BETA)
    started.ship(ALPHA)
    started.move(BETA, "01_first/05_beta.py")
    started.move(GAMMA, "03_third/01_gamma.py")
    count = 0

    def dying(real):
        def step(*arguments: object) -> object:
            nonlocal count
            count += 1
            if count == at:
                raise KeyboardInterrupt
            return real(*arguments)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying(os.replace))
        patch.setattr(Path, "rename", dying(Path.rename))
        try:
            home.update(home.place_of(started.project.path, [], explicit=False, other_solutions=False))
        except KeyboardInterrupt:
            assert at == count
    assert mine.encode() in files_of(started.folder).values()
    started.run()
    assert started.text("01_first/05_beta.py") == mine
    assert "A better lesson." in started.text(ALPHA)
    assert len(find_katas(started.folder)) == 3
    assert not [name for name in files_of(started.folder) if name.endswith(".tmp")]
    assert "3 katas" in said(started.run())


def test_a_file_that_is_saved_while_it_is_refreshed_is_the_learners(started, monkeypatch):
    started.ship(ALPHA)

    def saving(_fd: int) -> None:
        if SOLVED not in started.text(ALPHA):
            started.write(ALPHA)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", saving)
        home.update(home.place_of(started.project.path, [], explicit=False, other_solutions=False))
    assert SOLVED in started.text(ALPHA)
    assert "first/alpha changed upstream" in said(started.run())
    assert SOLVED in started.text(ALPHA)


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
    result = started.run()
    assert "0 of 3 katas" in said(result)
    assert not [kata for kata in find_katas(started.folder) if "mine" in kata.path.name]


def test_reset_takes_what_changed_upstream(started):
    started.write(ALPHA)
    started.ship(ALPHA)
    started.run("--kata-reset", "alpha")
    assert "A better lesson." in started.text(ALPHA)
    assert "changed upstream" not in said(started.run())


def test_reset_right_after_an_upstream_rename(started):
    mine = started.write(GAMMA)
    started.move(GAMMA, "03_third/01_gamma.py")
    started.run("--kata-reset", "gamma")
    assert started.text("03_third/01_gamma.mine-1.py.bak") == mine
    assert SOLVED not in started.text("03_third/01_gamma.py")
    assert not (started.folder / GAMMA).exists()


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
    assert not [c for c in tree_rules.complaints(checkout.project.path, set()) if "astray" in c]
    (checkout.katas / BETA).unlink()
    checkout.run("--kata-reset", "beta")
    assert (checkout.katas / BETA).is_file()


def test_reset_in_katas_itself_without_git_is_a_sentence(own):
    own.project.solve("alpha")
    before = files_of(own.katas)
    result = own.run("--kata-reset", "alpha")
    assert result.ret == 4
    assert "The original of first/alpha is not to be had: in katas/ it comes from git" in said(result)
    assert files_of(own.katas) == before


def test_reset_of_a_committed_solution_says_that_git_has_it_solved(checkout):
    checkout.project.solve("alpha")
    git(checkout.project.path, "commit", "-qam", "mine")
    text = said(checkout.run("--kata-reset", "alpha"))
    assert "there is nothing to reset" in text
    assert "`git log -- katas/01_first/01_alpha.py` shows older ones" in text


# ── in step with the project ──


def test_the_folders_settings_are_the_projects(started):
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    settings = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = settings["tool"]["pytest"]["ini_options"]
    ini = dict(row.split(" = ", 1) for row in started.text("pytest.ini").splitlines() if " = " in row)
    assert ini["addopts"].split() == wanted["addopts"]
    assert ini["norecursedirs"].split() == wanted["norecursedirs"]
    assert ini["python_files"] in wanted["python_files"]


def test_the_shipped_katas_are_seen_as_unsolved_and_written_ones_are_not():
    katas = find_katas(Path(__file__).parents[1] / "reference")
    assert katas
    assert not [kata.key for kata in katas if upstream.is_unsolved(kata.path.read_bytes())]
