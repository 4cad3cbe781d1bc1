"""A class from its folder to its reports: plan, wall, one record for each submission, reports."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dojo.grading import plan as plans
from dojo.grading import record as records
from dojo.grading import reports
from dojo.grading.plan import KataPlan, Plan, Terms
from dojo.grading.probes import MEMORY_GB, PROBES, targets
from dojo.grading.record import Flag, KataResult, Record, TestResult
from dojo.grading.submissions import (
    Submission,
    SubmissionsError,
    find_submissions,
    read_roster,
    read_submission,
    read_weights,
)
from dojo.grading.supervisor import Answer, Worker, WorkerGone
from dojo.grading.suspicion import suspicions
from dojo.grading.walls import WALLS, Wall
from dojo.kata.files import Kata, find_katas
from dojo.kata.source import is_untouched_text

Say = Callable[[str], None]
_SEVERAL = 8  # from so many katas on a second of imports ahead pays


class GradingError(Exception):
    """Nothing is graded; the message is the whole story, for the teacher."""


@dataclass(frozen=True)
class Project:
    """Where the katas and their reference are."""

    root: Path

    @property
    def reference(self) -> Path:
        return self.root / "reference"

    def katas(self) -> dict[str, Kata]:
        return {kata.key: kata for kata in find_katas(self.root / "katas")}


@dataclass(frozen=True)
class Wanted:
    """What a teacher asks for."""

    submissions: Path
    report: Path
    wall: str = "auto"
    memory_gb: float = 2.0
    mark: str = ""
    workers: int = 1
    chosen: Callable[[Kata], bool] | None = None  # None: the katas that somebody has handed in


def grade_class(project: Project, wanted: Wanted, say: Say) -> list[Record]:
    """Grade what has changed since the last time, and write the reports."""
    paths = find_submissions(wanted.submissions, aside=wanted.report.resolve())
    if wanted.wall == "none":
        say("no wall: what the submissions do is done to this machine, as you")
    plan = make_plan(project, wanted, paths, say)
    submissions = [read_submission(student, path, project.katas()) for student, path in paths.items()]
    found = grade_all(project, plan, submissions, wanted.report, wanted.workers, say)
    reports.write_all(wanted.report, plan, found, {s.student: s.files for s in submissions})
    return found


# ── the wall ──


def prove(wall: Wall, project: Project) -> list[str]:
    """What the wall does not refuse, in words; empty for one that can be trusted."""
    found = []
    with targets(project.reference) as (arguments, hit), Worker(wall, project.root) as worker:
        for name in PROBES:
            job = {"probe": name, "arguments": arguments, "seconds": 30.0, "memory_gb": MEMORY_GB}
            try:
                done = _probed(worker.exchange(job))
            except WorkerGone as error:
                worker.stop()
                if name != "signal" or wall.name != "none":
                    return [f"start a process behind it ({error})"]
                done = True
            if done:
                found.append(name)
        found += hit()
    return [PROBES[name][0] for name in PROBES if name in found]


def _probed(message: dict[str, Any]) -> bool:
    """Could it be done? A child that was ended before it could say so did not."""
    return any(event.get("done") for event in Answer()._events(message) if event["what"] == "probe")


@functools.cache  # proven, and told of, once in a run
def _holes(wall: Wall, project: Project, say: Say) -> tuple[str, ...]:
    holes = tuple(prove(wall, project))
    if not holes:
        say(f"wall: {wall.name}; it refused all of {len(PROBES)} probes")
    return holes


def choose_wall(asked: str, project: Project, say: Say) -> Wall:
    """The wall that was asked for, or the first that holds. GradingError."""
    refused = []
    for wall in [WALLS["bwrap"], WALLS["landlock"]] if asked == "auto" else [WALLS[asked]]:
        if wall.name == "none":
            return wall
        if missing := wall.missing():
            refused.append(f"{wall.name}: {missing}")
        elif holes := _holes(wall, project, say):
            refused.append(f"{wall.name}: a submission could {', '.join(holes)}")
        else:
            return wall
    lines = "\n  ".join(refused)
    raise GradingError(
        f"nothing was graded, since no wall around the submissions holds here:\n  {lines}\n"
        "Install one of them. On a machine that has nothing to lose, --kata-wall=none grades without any."
    )


# ── the plan ──


def make_plan(project: Project, wanted: Wanted, paths: Mapping[str, Path], say: Say) -> Plan:
    """What the class is asked. Of a kata that has not changed it stays; the reference is graded for the others."""
    katas = project.katas()
    chosen = _chosen(katas, wanted, paths)
    old = plans.read(wanted.report)
    terms = Terms(project.root, wanted.wall, plans.draw_seed(), wanted.memory_gb, wanted.mark)
    if old is not None:
        terms = replace(terms, seed=old.seed, wall=old.wall if wanted.wall in ("auto", old.wall) else wanted.wall)

    def digest(kata: Kata) -> str:
        return plans.digest_of(kata, project.reference, terms.wall, terms.memory_gb, terms.mark)

    known = {key: one for key, one in old.katas.items() if key in katas} if old is not None else {}
    kept = {key: one for key, one in known.items() if one.digest == digest(katas[key])}
    missing = [kata for kata in chosen if kata.key not in kept]
    if missing:
        terms = replace(terms, wall=choose_wall(wanted.wall, project, say).name)
        kept = {key: one for key, one in known.items() if one.digest == digest(katas[key])}
        missing = [kata for kata in chosen if kata.key not in kept]
        say(f"the reference goes first: {len(missing)} katas")
        kept |= plans.ask_the_reference(missing, terms, project.reference, wanted.workers)
    plan = Plan(
        terms.wall,
        terms.seed,
        terms.memory_gb,
        terms.mark,
        {kata.key: kept[kata.key] for kata in chosen},
        tuple(paths),
        read_roster(wanted.submissions),
        read_weights(wanted.submissions, katas),
    )
    plans.write(wanted.report, plan)
    for kata in plan.katas.values():
        if not kata.tests:
            why = next(iter(kata.left_out.values()), "it has none")
            say(f"{kata.key} is not graded: the reference passes no test of it here ({why})")
    return plan


def _chosen(katas: Mapping[str, Kata], wanted: Wanted, paths: Mapping[str, Path]) -> list[Kata]:
    if wanted.chosen is not None:
        chosen = [kata for kata in katas.values() if wanted.chosen(kata)]
        if not chosen:
            raise GradingError("no kata is chosen by this command line")
        return chosen
    handed_in = {key for student, path in paths.items() for key in read_submission(student, path, katas).files}
    if not handed_in:
        raise GradingError("no submission holds a kata file: NN_chapter/NN_name.py, at any depth, or NN_name.py")
    return [kata for key, kata in katas.items() if key in handed_in]


# ── the submissions ──


def grade_all(
    project: Project, plan: Plan, submissions: Sequence[Submission], report: Path, workers: int, say: Say
) -> list[Record]:
    """A record for each, in their order: what is known and has not changed is not graded again."""
    stop, found = threading.Event(), dict[str, Record]()
    todo = []
    for submission in submissions:
        known = records.read(records.path_of(report, submission.student))
        grader = Grader(project, plan, submission, known, stop)
        if grader.work:
            todo.append(grader)
        else:
            found[submission.student] = _keep(report, grader.record(), known)
    if todo and any(grader.runs for grader in todo):
        choose_wall(plan.wall, project, say)
    if found:
        say(f"{len(found)} unchanged since they were graded")
    with ThreadPoolExecutor(max(1, workers)) as pool:
        running: set[Future[Record]] = {pool.submit(grader.grade) for grader in todo}
        try:
            while running:
                done, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    one = future.result()
                    found[one.student] = _keep(report, one, None)
                    say(reports.line(one, len(found), len(submissions)))
        except BaseException:
            stop.set()
            for future in running:
                future.cancel()
            for grader in todo:
                grader.worker.interrupt()
            raise
    return [found[submission.student] for submission in submissions]


def _keep(report: Path, record: Record, known: Record | None) -> Record:
    if record != known:
        records.write(records.path_of(report, record.student), record)
    return record


class Stopped(Exception):
    """The grading was interrupted."""


class Grader:
    """One submission, and what is known of it already."""

    def __init__(
        self, project: Project, plan: Plan, submission: Submission, known: Record | None, stop: threading.Event
    ) -> None:
        self.project, self.plan, self.submission, self.stop = project, plan, submission, stop
        before = {kata.key: kata for kata in known.katas} if known is not None else {}
        self.worker = Worker(WALLS[plan.wall], project.root)
        self.results: dict[str, KataResult] = {}
        self.work: list[KataPlan] = []
        for kata in plan.katas.values():
            if not kata.tests:
                continue
            result = before.get(kata.key)
            if result is not None and result.digest == self._digest(kata):
                self.results[kata.key] = result
            else:
                self.work.append(kata)

    @property
    def runs(self) -> bool:
        """Does anything of the submission run?"""
        return any(self._without_running(kata) is None for kata in self.work)

    def grade(self) -> Record:
        """Grade what is not known. Stopped."""
        katas = self.project.katas()
        with self.worker as worker:
            for kata in self.work:
                if self.stop.is_set():
                    raise Stopped
                self.results[kata.key] = self._without_running(kata) or self._run(worker, kata, katas[kata.key])
        if self.stop.is_set():
            raise Stopped
        return self.record()

    def record(self) -> Record:
        results = (self.results[key] for key in self.plan.katas if key in self.results)
        weights = {key: weight for key, weight in self.plan.weights.items() if key in self.results}
        return Record(self.submission.student, tuple(results), self.submission.notes, weights)

    def _digest(self, kata: KataPlan) -> str:
        """Of all that decides the result."""
        parts = [kata.digest, str(kata.seed), *kata.tests]
        text = self.submission.files.get(kata.key)
        words = "\0".join(parts).encode() + (b"\0" + text if text is not None else b"")
        return hashlib.sha256(words).hexdigest()[:16]

    def _without_running(self, kata: KataPlan) -> KataResult | None:
        """The result of a kata that was not handed in, or that nothing is written in."""
        text = self.submission.files.get(kata.key)
        if text is None:
            kind: records.Kind = "not handed in"
        elif is_untouched_text(text):
            kind = "todo"
        else:
            return None
        return KataResult(kata.key, self._digest(kata), tuple(TestResult(test, kind) for test in kata.tests))

    def _run(self, worker: Worker, plan: KataPlan, kata: Kata) -> KataResult:
        text = self.submission.files[kata.key]
        terms = Terms(self.project.root, self.plan.wall, self.plan.seed, self.plan.memory_gb, self.plan.mark)
        words = text.decode("utf-8", "surrogateescape")
        several = len(self.work) >= _SEVERAL
        job = terms.job(
            kata, words, seed=plan.seed, seconds=plan.seconds, test_seconds=plan.test_seconds, several=several
        )
        answer = worker.ask(job)
        tests = tuple(_result(test, answer) for test in plan.tests)
        flags = _flags(answer)
        looked = suspicions(text, kata.path, self.project.reference / f"{kata.key}.py")
        flags += [Flag("unusual", what) for what in looked]
        return KataResult(kata.key, self._digest(plan), tests, tuple(flags))


def _result(test: str, answer: Answer) -> TestResult:
    """How a planned test ended; whatever else was told of does not count."""
    fact = answer.facts.get(test) or answer.unusable
    if fact is None:
        if answer.running == test or (answer.running not in answer.tests and not answer.facts):
            return TestResult(test, "failed", answer.end or "the test was not found")
        return TestResult(
            test, "not run", f"not run: {answer.end}" if answer.end else "not run: the test was not found"
        )
    kind: records.Kind = {"passed": "passed", "todo": "todo"}.get(str(fact["kind"]), "failed")  # type: ignore[assignment]
    says = str(fact["says"]) if kind != "passed" else ""
    printed = str(fact["printed"]) if kind != "passed" else ""
    return TestResult(test, kind, says, str(fact["at"]), str(fact["source"]), tuple(map(str, fact["xray"])), printed)


def _flags(answer: Answer) -> list[Flag]:
    flags = [Flag("tampering", says) for says in dict.fromkeys(answer.tampering)]
    if answer.flag:
        flags.append(Flag(answer.flag, answer.end or "processes were left behind; they were ended"))
    for test, fact in answer.facts.items():
        if fact["error"] == "Timeout":
            flags.append(Flag("timeout", f"{test}: {str(fact['says']).splitlines()[0]}"))
        elif fact["error"] == "MemoryError" or "can't allocate memory" in str(fact["says"]):
            flags.append(Flag("memory", f"{test} took more memory than it may"))
    return flags


def grade_one(project: Project, report: Path, path: Path, wall: str, say: Say) -> Record:
    """One submission, by the plan of a report that is there: how other engines ask for it. `wall`: "" as planned."""
    plan = plans.read(report)
    if plan is None:
        raise GradingError(f"{plans.path_of(report)} is not there, or cannot be used: make the plan first")
    student = path.stem if path.suffix.lower() == ".zip" else path.name
    if not path.exists():
        raise GradingError(f"{path}: there is no such submission")
    submission = read_submission(student, path, project.katas())
    if (asked := wall or plan.wall) != plan.wall or asked == "auto":
        plan = replace(plan, wall=choose_wall(asked, project, say).name)
    return grade_all(project, plan, [submission], report, 1, say)[0]


def write_reports(project: Project, report: Path, submissions: Path) -> list[Record]:
    """The reports of the records that are there."""
    plan = plans.read(report)
    if plan is None:
        raise GradingError(f"{plans.path_of(report)} is not there, or cannot be used: make the plan first")
    paths = find_submissions(submissions, aside=report.resolve())
    found = [records.read(records.path_of(report, student)) for student in paths]
    missing = [student for student, one in zip(paths, found, strict=True) if one is None]
    if missing:
        raise GradingError(f"{len(missing)} submissions are not graded yet: {', '.join(missing[:5])}")
    texts = {student: read_submission(student, path, project.katas()).files for student, path in paths.items()}
    there = [one for one in found if one is not None]
    reports.write_all(report, plan, there, texts)
    return there


__all__ = ["GradingError", "Project", "SubmissionsError", "Wanted", "grade_class", "grade_one", "write_reports"]
