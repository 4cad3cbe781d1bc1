"""What a teacher and a student read. All of it is made from the plan and the records."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from pathlib import Path

from dojo.grading.plan import KataPlan, Plan
from dojo.grading.record import KataResult, Record, TestResult, write_text
from dojo.grading.suspicion import work_of
from dojo.text import folded

_NO_XML = re.compile("[^\n\t\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOOK_AT = ("tampering", "crash", "timeout", "memory", "processes")
_HEAD = """\
Each test's result was told by the process that ran the student's functions. The wall keeps that process from other
files, from the network and from the grader; nothing can keep it from lying about itself. So tests that must fail run in
each session, all that judges is compared with what it was ("tampering" takes a kata's marks), and flags.csv lists
imports and tricks that a kata does not need. {drawn} of these katas got random inputs that were drawn for this class.
Look yourself at whoever has full marks and a flag."""


def write_all(report: Path, plan: Plan, records: Sequence[Record], texts: Mapping[str, Mapping[str, bytes]]) -> None:
    """grades.csv, flags.csv, class.md, and of each student feedback.md and a JUnit file."""
    write_text(report / "grades.csv", _grades(plan, records))
    write_text(report / "flags.csv", _flags(records, texts))
    write_text(report / "class.md", _class(plan, records))
    (report / "junit").mkdir(exist_ok=True)
    for record in records:
        write_text(report / "students" / record.student / "feedback.md", _feedback(record, plan))
        write_text(report / "junit" / f"{record.student}.xml", _junit(record))


def line(record: Record, number: int, of: int) -> str:
    """A student, on the teacher's screen."""
    kinds = sorted({flag.kind for kata in record.katas for flag in kata.flags if flag.kind in _LOOK_AT})
    done = sum(kata.share == 1 for kata in record.katas)
    text = f"[{number}/{of}] {record.student}: {done} of {len(record.katas)} katas, {record.total:.0%}"
    return text + (f"  ({', '.join(kinds)})" if kinds else "")


# ── tables ──


def _table(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue()


def _cell(value: object) -> object:
    """A name that a spreadsheet would take for a formula stays a name."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")) else value


def _grades(plan: Plan, records: Sequence[Record]) -> str:
    keys = [key for key, kata in plan.katas.items() if kata.tests]
    rows: list[Sequence[object]] = [["student", "name", *keys, "total"]]
    for record in records:
        shares = {kata.key: kata.share for kata in record.katas}
        cells = [f"{shares[key]:.3f}" if key in shares else "" for key in keys]
        rows.append([record.student, plan.roster.get(record.student, ""), *cells, f"{record.total:.4f}"])
    graded = {record.student for record in records}
    rows += [[s, name, *["0.000"] * len(keys), "0.0000"] for s, name in plan.roster.items() if s not in graded]
    return _table(rows)


def _flags(records: Sequence[Record], texts: Mapping[str, Mapping[str, bytes]]) -> str:
    rows: list[Sequence[object]] = [["student", "kata", "flag", "what"]]
    for record in records:
        rows += [[record.student, "", "reading", note] for note in record.notes]
        rows += [[record.student, kata.key, flag.kind, flag.says] for kata in record.katas for flag in kata.flags]
    rows += [[one, "", "identical", what] for one, what in _identical(texts)]
    return _table(rows)


def _identical(texts: Mapping[str, Mapping[str, bytes]]) -> list[tuple[str, str]]:
    """Who has handed in the same work as somebody else: of each student those who share most katas with them."""
    by_work, written, shared = defaultdict[tuple[str, str], list[str]](list), Counter[str](), Counter[tuple[str, str]]()
    for student, files in texts.items():
        for key, text in files.items():
            if work := work_of(text):
                by_work[key, work].append(student)
                written[student] += 1
    for students in by_work.values():
        shared.update(permutations(students, 2))
    found = []
    for one in texts:
        counts = {other: shared[one, other] for other in texts if shared[one, other]}
        most = max(counts.values(), default=0)
        alike = [other for other, count in counts.items() if count == most]
        if alike:
            more = f" and {len(alike) - 3} others" if len(alike) > 3 else ""
            found.append((one, f"{most} of {written[one]} katas as {', '.join(alike[:3])}{more}"))
    return found


# ── the class ──


def _class(plan: Plan, records: Sequence[Record]) -> str:
    n = len(records)
    lines = [f"# {n} submissions, {len(plan.katas)} katas", "", _head(plan), ""]
    lines += [f"Wall: {plan.wall}. Full marks and a flag: {_suspects(records) or 'nobody'}.", ""]
    for key, kata in plan.katas.items():
        lines += [f"## {key}", ""]
        if not kata.tests:
            lines += ["Not graded: the reference passes none of its tests here.", *_left_out(kata), ""]
            continue
        results = [(record.student, result) for record in records for result in record.katas if result.key == key]
        passed, handed_in = sum(r.share == 1 for _, r in results), sum(r.handed_in for _, r in results)
        lines += [f"{passed} of {n} pass, {handed_in} handed in.", *_left_out(kata), ""]
        lines += [f"- {folded(says)}: {count} of {n}" for says, count in mistakes(kata, [r for _, r in results])]
        lines += [""]
    return "\n".join(lines)


def _head(plan: Plan) -> str:
    drawn = sum(kata.seed != 0 for kata in plan.katas.values())
    return _HEAD.format(drawn=drawn)


def _left_out(kata: KataPlan) -> list[str]:
    return [f"Left out: {test}: {folded(why)}" for test, why in kata.left_out.items()]


def _suspects(records: Sequence[Record]) -> str:
    found = [
        f"{record.student} ({kata.key})"
        for record in records
        for kata in record.katas
        if kata.flags and kata.passed == len(kata.tests)
    ]
    return ", ".join(found)


def mistakes(kata: KataPlan, results: Sequence[KataResult]) -> list[tuple[str, int]]:
    """The known mistakes of a kata, and how many submissions made each, the most frequent first.

    A mistake counts where its sentence stands in a failure of its test. So a sentence counts whoever has read it, also
    where another mistake has led to it.
    """
    counts = dict.fromkeys((says for says, _ in kata.mistakes), 0)
    for result in results:
        for says in made(kata, result):
            counts[says] += 1
    return sorted(((says, count) for says, count in counts.items() if count), key=lambda pair: -pair[1])


def made(kata: KataPlan, result: KataResult) -> set[str]:
    """The known mistakes that one submission made, by what they say."""
    found = set()
    for test in result.tests:
        if test.kind == "failed":
            said = folded(test.says)
            found |= {says for says, caught_by in kata.mistakes if caught_by == test.function and folded(says) in said}
    return found


# ── one student ──


def sentences(kata: KataResult) -> list[str]:
    """What does not pass, in the verdict's own sentences; one cause is told once."""
    rows, told = list[str](), set[str]()
    rows += [f"{flag.says}" for flag in kata.flags if flag.kind in _LOOK_AT]
    open_ones = [test for test in kata.tests if test.kind != "passed"]
    for kind, words in (("not handed in", "not handed in"), ("todo", "to do")):
        if open_ones and all(test.kind == kind for test in open_ones) and len(open_ones) == len(kata.tests):
            return [*rows, words]
    for test in open_ones:
        says = test.says or "to do"
        if says not in told:
            told.add(says)
            rows += [f"{test.test}: {says}", *_place(test)]
    return rows


def _place(test: TestResult) -> list[str]:
    return [f"  at {test.where}: {test.source}"] if test.where else []


def _feedback(record: Record, plan: Plan) -> str:
    name = plan.roster.get(record.student) or record.student
    done = sum(kata.share == 1 for kata in record.katas)
    lines = [f"# {name}: {record.total:.0%}", "", f"{done} of {len(record.katas)} katas pass.", ""]
    lines += [f"{note}" for note in record.notes]
    for kata in record.katas:
        lines += ["", f"## {kata.key}: {kata.passed} of {len(kata.tests)} tests", ""]
        rows = sentences(kata)
        lines += ["All pass."] if not rows else []
        lines += (
            ["```text", *(row for text in rows for row in text.replace("```", "'''").splitlines()), "```"]
            if rows
            else []
        )
        first = next((test for test in kata.tests if test.kind == "failed" and test.xray), None)
        if first is not None:
            lines += [
                "",
                f"The tensors of {first.test}:",
                "",
                "```text",
                *(row.replace("```", "'''") for row in first.xray),
                "```",
            ]
        printed = next((test.printed for test in kata.tests if test.printed), "")
        if printed:
            shown = printed.replace("```", "'''").splitlines()[-10:]
            lines += ["", "Your code printed:", "", "```text", *shown, "```"]
    return "\n".join(lines) + "\n"


def _junit(record: Record) -> str:
    root = ElementTree.Element("testsuites")
    for kata in record.katas:
        failed = sum(test.kind != "passed" for test in kata.tests)
        suite = ElementTree.SubElement(
            root, "testsuite", name=kata.key, tests=str(len(kata.tests)), failures=str(failed)
        )
        for test in kata.tests:
            case = ElementTree.SubElement(suite, "testcase", classname=kata.key, name=test.test)
            if test.kind != "passed":
                says = _xml(test.says or test.kind)
                ElementTree.SubElement(case, "failure", message=says.split("\n")[0]).text = says
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """XML holds no control characters."""
    return "".join(
        c if c in "\n\t" or (c >= " " and c not in "\ufffe\uffff" and not "\ud800" <= c <= "\udfff") else "?"
        for c in text
    )
