"""`python -m dojo.grading plan|one|reports`: the steps of grading, for an engine that spreads them over machines."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import dojo
from dojo.grading import record
from dojo.grading.grade import (
    GradingError,
    Project,
    SubmissionsError,
    Wanted,
    grade_one,
    make_plan,
    write_reports,
)
from dojo.grading.submissions import find_submissions
from dojo.grading.walls import WALLS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dojo.grading", description=__doc__)
    parser.add_argument("--project", type=Path, default=Path(dojo.__file__).parents[1], help="where katas/ is")
    steps = parser.add_subparsers(dest="step", required=True)
    plan = steps.add_parser("plan", help="choose a wall and the tests: REPORT/plan.json")
    plan.add_argument("submissions", type=Path)
    plan.add_argument("report", type=Path)
    plan.add_argument("--wall", default="auto", choices=("auto", *WALLS))
    plan.add_argument("--katas", default="", help="only those with this in their path (02_memory)")
    one = steps.add_parser("one", help="grade one submission: REPORT/students/NAME/results.json")
    one.add_argument("submission", type=Path)
    one.add_argument("report", type=Path)
    one.add_argument("--wall", default="", choices=("auto", *WALLS), help="another one than planned")
    one.add_argument("--copy-to", type=Path, help="and copy its results.json there")
    reports = steps.add_parser("reports", help="grades.csv, class.md and the others, from the records")
    reports.add_argument("submissions", type=Path)
    reports.add_argument("report", type=Path)
    options = parser.parse_args()
    project = Project(options.project.resolve())
    try:
        if options.step == "plan":
            chosen = (lambda kata: options.katas in kata.key) if options.katas else None
            wanted = Wanted(options.submissions, options.report, options.wall, chosen=chosen)
            make_plan(project, wanted, find_submissions(options.submissions, options.report.resolve()), print)
        elif options.step == "one":
            graded = grade_one(project, options.report, options.submission, options.wall, print)
            if options.copy_to is not None:
                shutil.copyfile(record.path_of(options.report, graded.student), options.copy_to)
        else:
            write_reports(project, options.report, options.submissions)
    except (GradingError, SubmissionsError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
