"""`pytest --kata-grade`: submissions in, records and reports out."""

from __future__ import annotations

import base64
import csv
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dojo.authoring import runs
from dojo.grading import record, reports, suspicion
from dojo.grading.plan import KataPlan
from dojo.grading.record import Flag, KataResult, Record, TestResult
from dojo.grading.submissions import SubmissionsError, find_submissions, read_submission, read_weights
from dojo.grading.supervisor import Answer
from dojo.grading.walls import WALLS
from dojo.kata.files import find_katas
from dojo.kata.source import stub_names
from dojo.text import folded

pytestmark = pytest.mark.xdist_group("grading")
ROOT = Path(__file__).parents[1]
WALL = next((name for name in ("bwrap", "landlock") if not WALLS[name].missing()), "")
needs_a_wall = pytest.mark.skipif(not WALL, reason="neither bubblewrap nor Landlock is here")

RIGHT = "def alpha(x):\n    return x * 2\n\n\ndef alpha_name():\n    return 'alpha'\n"
HALF = "def alpha(x):\n    return x * 3\n\n\ndef alpha_name():\n    return 'alpha'\n"
MISTAKES = """

from dojo import Mistake

MISTAKES = [
    Mistake("you did not double it", caught_by="test_alpha_doubles", alpha=lambda x: x),
    Mistake("the name is wrong", caught_by="test_alpha_has_a_name", alpha_name=lambda: "beta"),
]
"""
KEY, SECOND = "01_first/01_alpha", "02_second/01_gamma"


# ── what is read ──


def katas_of(project):
    return {kata.key: kata for kata in find_katas(project.path / "katas")}


def test_a_students_files_are_found_at_any_depth_and_nothing_else_is_read(project):
    folder = project.path / "class/ann"
    project.write("class/ann/a/b/01_first/01_alpha.py", "deep = 1\n")
    project.write("class/ann/01_gamma.py", "flat = 1\n")
    project.write("class/ann/07_first/09_beta.py", "of another number = 1\n")
    for name in ("conftest.py", "pytest.ini", "x.pth", "01_first/01_alpha (copy).py", ".git/01_first/01_alpha.py"):
        project.write(f"class/ann/{name}", "raise SystemExit\n")
    found = read_submission("ann", folder, katas_of(project))
    assert {key: text.split()[0] for key, text in found.files.items()} == {
        KEY: b"deep",
        SECOND: b"flat",
        "01_first/02_beta": b"of",
    }
    assert found.notes == ()


def test_the_file_nearest_to_the_top_counts_and_the_other_is_told_of(project):
    project.write("class/ann/01_first/01_alpha.py", "near = 1\n")
    project.write("class/ann/old/01_first/01_alpha.py", "far = 1\n")
    found = read_submission("ann", project.path / "class/ann", katas_of(project))
    assert found.files[KEY] == b"near = 1\n"
    assert "old/01_first/01_alpha.py was not read" in found.notes[0]


def test_a_link_and_a_huge_file_are_not_read(project):
    secret = project.write("secret.py", "secret = 1\n")
    project.write("class/ann/01_first/02_beta.py", b"#" * 4_000_001)
    (project.path / "class/ann/01_first/01_alpha.py").symlink_to(secret)
    found = read_submission("ann", project.path / "class/ann", katas_of(project))
    assert found.files == {}
    assert len(found.notes) == 2


def test_a_zip_is_read_like_a_folder_and_one_that_is_damaged_is_told_of(project):
    (project.path / "class").mkdir()
    with zipfile.ZipFile(project.path / "class/ann.zip", "w") as archive:
        archive.writestr("ann/01_first/01_alpha.py", RIGHT)
        archive.writestr("__MACOSX/01_first/01_alpha.py", "x")
        archive.writestr("../../01_first/02_beta.py", "y = 1\n")
    project.write("class/bob.zip", b"no zip")
    katas = katas_of(project)
    paths = find_submissions(project.path / "class")
    assert list(paths) == ["ann", "bob"]
    assert set(read_submission("ann", paths["ann"], katas).files) == {KEY}
    assert "could not be read" in read_submission("bob", paths["bob"], katas).notes[0]
    assert not (project.path.parent / "01_first").exists()


def test_two_submissions_of_one_name_are_refused(project):
    project.write("class/ann/01_first/01_alpha.py", RIGHT)
    project.write("class/ann.zip", b"")
    with pytest.raises(SubmissionsError, match="two submissions are called ann"):
        find_submissions(project.path / "class")


@pytest.mark.parametrize(("text", "says"), [("kata,weight\nnone,1\n", "no kata"), ("kata,weight\nalpha,x\n", "number")])
def test_weights_that_cannot_be_are_refused(project, text, says):
    project.write("class/weights.csv", text)
    with pytest.raises(SubmissionsError, match=says):
        read_weights(project.path / "class", katas_of(project))


# ── a class ──


def grade(project, *options, wall="none", timeout=200):
    return project.run_apart(
        "--kata-grade=class", "--kata-report=report", f"--kata-wall={wall}", *options, timeout=timeout
    )


def write_class(project):
    for name in ("alpha", "gamma"):
        text = (project.path / "reference").rglob(f"*_{name}.py")
        file = next(text)
        file.write_text(file.read_text() + MISTAKES.replace("alpha", name))
    project.write("class/ann/01_first/01_alpha.py", RIGHT)
    project.write("class/ann/02_second/01_gamma.py", RIGHT.replace("alpha", "gamma"))
    project.write("class/bob/01_first/01_alpha.py", HALF)
    project.write("class/cid/01_first/01_alpha.py", "def alpha(x:\n")
    project.write("class/dot/01_first/01_alpha.py", (project.path / "katas/01_first/01_alpha.py").read_bytes())
    project.write("class/eve/readme.txt", "I could not do it\n")
    project.write("class/roster.csv", "student,name\nann,Ann A.\nfay,=Fay\n")
    project.write("class/weights.csv", "kata,weight\nalpha,3\n")


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("graded")


@pytest.fixture
def graded(project, kept):
    """That class with its report, made without a wall, and once for all tests that begin with it."""
    write_class(project)
    if (kept / "report").exists():
        shutil.copytree(kept / "report", project.path / "report")
    else:
        assert grade(project).ret == 0
        shutil.copytree(project.path / "report", kept / "report")
    return project


def table(project, name):
    with (project.path / "report" / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def records_of(project):
    return {
        path.parent.name: path.read_bytes()
        for path in sorted((project.path / "report/students").glob("*/results.json"))
    }


@needs_a_wall
def test_a_class_is_graded_and_a_second_run_grades_what_has_changed(project):
    write_class(project)
    result = grade(project, wall="auto")
    result.stdout.fnmatch_lines([f"wall: {WALL}; it refused all of 6 probes", "*ann: 2 of 2 katas, 100%*"])
    assert result.ret == 0
    totals = {row["student"]: row["total"] for row in table(project, "grades.csv")}
    assert totals == {
        "ann": "1.0000",
        "bob": "0.3750",  # half of the kata that counts three times, nothing of the other
        "cid": "0.0000",
        "dot": "0.0000",
        "eve": "0.0000",
        "fay": "0.0000",
    }
    assert table(project, "grades.csv")[0]["name"] == "Ann A."
    assert table(project, "grades.csv")[-1]["name"] == "'=Fay", "a spreadsheet must not take a name for a formula"
    said = (project.path / "report/students/bob/feedback.md").read_text()
    assert "you did not double it" in said
    assert "gamma" in said
    assert "not handed in" in said
    assert "SyntaxError" in (project.path / "report/students/cid/feedback.md").read_text()
    assert str(project.path) not in said, "the teacher's folders are nobody's business"
    page = (project.path / "report/class.md").read_text()
    assert "- you did not double it: 1 of 5" in page
    assert "the name is wrong" not in page
    assert (project.path / "report/junit/ann.xml").read_text().count("<testcase") == 4
    assert ["eve", "reading"] in [[row["student"], row["flag"]] for row in table(project, "flags.csv")]
    before = records_of(project)

    again = grade(project, wall="auto")
    again.stdout.fnmatch_lines(["5 unchanged since they were graded"])
    again.stdout.no_fnmatch_line("*wall:*")
    assert records_of(project) == before

    project.write("class/bob/01_first/01_alpha.py", RIGHT)
    third = grade(project, wall="auto")
    third.stdout.fnmatch_lines(["4 unchanged since they were graded", "*bob: 1 of 2 katas, 75%*"])
    assert {name for name, text in records_of(project).items() if text != before[name]} == {"bob"}


def test_two_at_once_and_one_after_the_other_give_the_same_records(graded):
    before = records_of(graded)
    shutil.rmtree(graded.path / "report/students")
    assert grade(graded, "-n", "2").ret == 0
    assert records_of(graded) == before
    assert len(before) == 5


def test_an_interrupted_run_goes_on_and_gives_the_same_records(graded):
    before = records_of(graded)
    shutil.rmtree(graded.path / "report/students")
    command = [sys.executable, "-m", "pytest", "--kata-grade=class", "--kata-report=report", "--kata-wall=none"]
    process = subprocess.Popen(command, cwd=graded.path, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "ann:" in line:
            os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 2
    assert 1 <= len(records_of(graded)) < len(before)
    assert grade(graded).ret == 0
    assert records_of(graded) == before


def test_the_command_line_chooses_katas(graded):
    assert grade(graded, "-k", "gamma").ret == 0
    assert list(table(graded, "grades.csv")[0]) == ["student", "name", SECOND, "total"]
    assert grade(graded, "katas/01_first").ret == 0
    assert "01_first/02_beta" in table(graded, "grades.csv")[0], "chosen, though nobody has handed it in"


def test_a_folder_that_is_not_there_and_no_wall_are_sentences(project, monkeypatch):
    result = grade(project)
    result.stderr.fnmatch_lines(["*there is no such folder. It holds one folder or zip for each student*"])
    write_class(project)
    monkeypatch.setenv("PATH", "/nowhere")
    result = grade(project, wall="bwrap")
    result.stderr.fnmatch_lines(["*nothing was graded, since no wall*", "*bubblewrap is not installed*"])
    assert result.ret == 4


def test_the_option_needs_its_equals_sign(project):
    """With a blank pytest takes the folder for tests, and imports a conftest.py that lies in it."""
    write_class(project)
    project.write("class/conftest.py", "raise SystemExit('imported')\n")
    result = project.run_apart("--kata-grade", "class")
    result.stderr.fnmatch_lines(["*write it with `=`: --kata-grade=class*"])
    assert "imported" not in result.stdout.str() + result.stderr.str()


def test_other_engines_grade_one_by_one(graded):
    """plan, one, reports: what the Snakefile, GNU parallel and sbatch call."""
    whole, page = records_of(graded), (graded.path / "report/grades.csv").read_bytes()
    plan = json.loads((graded.path / "report/plan.json").read_text())
    for name in ("bob", "eve"):
        shutil.rmtree(graded.path / "report/students" / name)

    def step(*words):
        command = [sys.executable, "-m", "dojo.grading", f"--project={graded.path}", *words]
        return subprocess.run(command, cwd=graded.path, capture_output=True, text=True, timeout=100)

    early = step("reports", "class", "report")
    assert (early.returncode, early.stdout) == (2, "")
    assert "2 submissions are not graded yet" in early.stderr
    assert step("plan", "class", "report", "--wall=none").returncode == 0
    assert json.loads((graded.path / "report/plan.json").read_text()) == plan
    for name in ("bob", "eve"):
        assert step("one", f"class/{name}", "report").returncode == 0
    assert step("reports", "class", "report").returncode == 0
    assert records_of(graded) == whole
    assert (graded.path / "report/grades.csv").read_bytes() == page


@pytest.mark.slow
def test_the_snakefile_gives_the_same_records(graded):
    snakemake = os.environ.get("KATA_SNAKEMAKE") or shutil.which("snakemake")
    if not snakemake:
        pytest.skip("Snakemake is not here (KATA_SNAKEMAKE names one)")
    whole, page = records_of(graded), (graded.path / "report/class.md").read_bytes()
    shutil.rmtree(graded.path / "report/students")
    (graded.path / "report/class.md").unlink()
    file = ROOT / "docs/grading/Snakefile"
    python = f"{sys.executable} -m dojo.grading --project={graded.path}"
    config = ["submissions=class", "report=report", "wall=none", f"grading={python}"]
    command = [snakemake, "--snakefile", str(file), "--cores", "2", "--config", *config]
    result = subprocess.run(command, cwd=graded.path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    assert records_of(graded) == whole
    assert (graded.path / "report/class.md").read_bytes() == page


# ── Gradescope ──

# The fields that Gradescope publishes for results.json: https://gradescope-autograders.readthedocs.io/en/latest/specs/
TOP = {
    *("score", "execution_time", "output", "output_format", "test_output_format", "test_name_format", "visibility"),
    *("stdout_visibility", "extra_data", "tests", "leaderboard"),
}
TEST = {
    *("score", "max_score", "status", "name", "name_format", "number", "output", "output_format", "tags", "visibility"),
    "extra_data",
}


def test_a_record_is_what_gradescope_reads(tmp_path):
    kata = KataResult("01_a/01_b", "d", (TestResult("test_x", "passed"), TestResult("test_y", "failed", "it is wrong")))
    one = Record("ann", (kata,), ("a note",), {"01_a/01_b": 3.0})
    record.write(tmp_path / "results.json", one)
    data: dict[str, Any] = json.loads((tmp_path / "results.json").read_text())
    assert set(data) <= TOP
    (test,) = data["tests"]
    assert set(test) <= TEST
    assert (test["score"], test["max_score"], test["status"]) == (1.5, 3.0, "failed")
    assert "it is wrong" in test["output"]
    assert data["score"] == 1.5
    assert data["output"] == "a note"
    assert record.read(tmp_path / "results.json") == one


def test_the_archive_for_gradescope_grades_a_submission(project):
    result = project.run_apart("--kata-gradescope=zip", "-k", "alpha", "--kata-wall=none")
    result.stdout.fnmatch_lines(["*autograder.zip: 1 katas*set memory to 3 GB*"])
    folder = project.path / "unpacked"
    with zipfile.ZipFile(project.path / "autograder.zip") as archive:
        names = archive.namelist()
        modes = {entry.filename: stat.S_IMODE(entry.external_attr >> 16) for entry in archive.infolist()}
        archive.extractall(folder)
    assert {"setup.sh", "run_autograder", "report/plan.json", "project/katas/01_first/01_alpha.py"} <= set(names)
    assert modes["setup.sh"] == modes["run_autograder"] == 0o755
    assert not [name for name in names if "reference" in name or "beta" in name], "no solution, no other kata"
    assert "3 GB" in (folder / "setup.sh").read_text()
    for script in ("setup.sh", "run_autograder"):
        assert subprocess.run(["bash", "-n", str(folder / script)]).returncode == 0
    project.write("submission/01_alpha.py", HALF)
    words = [sys.executable, "-m", "dojo.grading", f"--project={folder / 'project'}", "one", "submission"]
    command = [*words, str(folder / "report"), "--wall=none", "--copy-to=results.json"]
    done = subprocess.run(command, cwd=project.path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    data = json.loads((project.path / "results.json").read_text())
    assert data["score"] == 0.5
    assert "you did not double it" in data["tests"][0]["output"]


# ── what a class got wrong, who looks like whom ──


def failing(*says: str) -> KataResult:
    return KataResult("k", "d", tuple(TestResult(f"test_{i}", "failed", said) for i, said in enumerate(says)))


def test_a_mistake_counts_where_its_sentence_stands_in_the_failure_of_its_test():
    known = (
        ("len is dimension 0", "test_0"),
        ("len is dimension 0, not the number of values", "test_0"),
        ("b", "test_1"),
    )
    plan = KataPlan("k", "d", ("test_0", "test_1"), {}, 0, 1.0, 1.0, known)
    results = [
        failing("len is\ndimension 0", "another sentence"),
        failing("so: len is dimension 0, not the number of values", "b"),
        failing("b", "len is dimension 0"),  # each in the other's test
    ]
    assert dict(reports.mistakes(plan, results)) == {
        "len is dimension 0": 2,
        "len is dimension 0, not the number of values": 1,
        "b": 1,
    }


# A submission whose functions are the reference's but for those that a known mistake replaces.
WITH_A_MISTAKE = """
import sys, types
there = types.ModuleType("reference")
sys.modules["reference"], there.__file__ = there, __file__
exec(compile({text!r}, __file__, "exec"), vars(there))
globals().update({{name: vars(there)[name] for name in {names!r}}})
globals().update(there.MISTAKES[{number}].functions)
"""


@pytest.mark.slow
def test_the_page_of_a_class_counts_what_was_put_in(tmp_path):
    """On real katas. What each mistake leads to is known from the gate's run of it, which knows nothing of grading."""
    keys = ("01_basics/01_shape_words", "02_memory/03_behind_the_view", "08_gradients/06_stop_gradient")
    n, counts = 12, Counter[tuple[str, str]]()
    for kata in (kata for kata in find_katas(ROOT / "katas") if kata.key in keys):
        run = runs.run(kata, ROOT / "reference")
        text, names = run.reference.read_text(), stub_names(kata.path, run.reference)
        for i in range(n):
            number = i * len(run.mistakes) // n
            file = tmp_path / f"class/s{i:02}" / f"{kata.key}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(WITH_A_MISTAKE.format(text=text, names=names, number=number))
            said = {
                (kata.key, folded(mistake.says))
                for mistake in run.mistakes
                for test, outcome in run.outcomes[f"mistake-{number}"].items()
                if outcome.fails and test.split("[")[0] == mistake.caught_by
                if folded(mistake.says) in folded(outcome.message)
            }
            assert (kata.key, folded(run.mistakes[number].says)) in said
            counts.update(said)
    command = [
        sys.executable,
        "-m",
        "pytest",
        f"--kata-grade={tmp_path / 'class'}",
        "-n",
        "2",
        "-p",
        "no:cacheprovider",
    ]
    command += [f"--kata-report={tmp_path / 'report'}", "--kata-wall=none"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found, key = Counter[tuple[str, str]](), ""
    for line in (tmp_path / "report/class.md").read_text().splitlines():
        if line.startswith("## "):
            key = line.removeprefix("## ")
        elif line.startswith("- "):
            says, _, count = line.removeprefix("- ").rpartition(": ")
            found[key, says] = int(count.removesuffix(f" of {n}"))
    assert found == counts


@pytest.mark.parametrize(
    "event",
    ["[" * 50_000, "{}", '{"what": "tests"}', '{"what": "exit", "status": Infinity, "at": ""}', '{"what": ["end"]}'],
    ids=["nested", "no kind", "no tests", "an endless status", "a list"],
)
def test_whatever_is_told_the_grading_goes_on(event):
    told = base64.b64encode(event.replace("{", '{"token": "t", ', 1).replace(", }", "}").encode())
    message = {"told": told, "token": "t", "end": "exit", "crash": "", "left": 0, "seconds": 0.1}
    answer = Answer.of(message)
    assert answer.facts == {}
    assert answer.flag == "crash"
    assert bool(answer.tampering) == ('["end' not in event)


def test_tampering_takes_the_marks_and_other_flags_do_not():
    tests = (TestResult("test_x", "passed"),)
    assert KataResult("k", "d", tests, (Flag("unusual", "imports os"),)).share == 1
    assert KataResult("k", "d", tests, (Flag("tampering", "torch.equal"),)).share == 0


def test_identical_work_is_told_of_whatever_its_comments():
    one = b'def f(x):\n    """Mine."""\n    y = x + 1  # plus\n    return y\n'
    other = b"def f(x):\n    y = x + 1\n\n    return y\n"
    stub = b'def f(x):\n    raise NotImplementedError("write it")\n'
    assert suspicion.work_of(one) == suspicion.work_of(other)
    assert suspicion.work_of(stub) is None
    deep = b"def f(x):\n    return x" + b" + x" * 2_000
    assert suspicion.work_of(deep) == deep.decode()
    found = reports._identical({"a": {"k": one, "l": deep}, "b": {"k": other, "l": one}, "c": {"k": stub}})
    assert found == [("a", "1 of 2 katas as b"), ("b", "1 of 2 katas as a")]
    many = {f"s{i}": {"k": one} for i in range(9)}
    assert reports._identical(many)[0] == ("s0", "1 of 1 katas as s1, s2, s3 and 5 others")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import gc", "imports gc"),
        ("import sys\ndef f(x):\n    return sys._getframe(1).f_locals", "uses ._getframe"),
        ("import torch\ndef f(x):\n    torch.equal = f", "sets torch.equal"),
        ("import dojo.session", "imports dojo.session"),
        ("def f(x):\n    return eval('x')", "calls eval()"),
        ("import torch\ndef f(x):\n    torch" + ".a" * 2_000 + " = x", "nested too deeply"),
        ("class L(list):\n    def __eq__(self, other):\n        return True", "defines __eq__"),
        ("import torch\nimport math\ndef f(x):\n    return torch.sum(x)", ""),
    ],
)
def test_what_a_kata_does_not_need_is_listed(project, text, what):
    kata = project.path / "katas/01_first/01_alpha.py"
    found = suspicion.suspicions(text.encode(), kata, project.path / "reference/01_first/01_alpha.py")
    assert what in " ".join(found)
    assert bool(found) == bool(what)
