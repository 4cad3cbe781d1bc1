"""docs/pictures: what a few of the katas' pictures look like, drawn from the reference by one command.

`python -m dojo.authoring pictures` draws them all anew; nothing else writes there.
"""

from __future__ import annotations

import datetime
import json
import shutil
import tempfile
from pathlib import Path

import torch

from dojo.isolation.state import StateGuard
from dojo.kata.files import find_kata, find_katas
from dojo.kata.seam import import_solution
from dojo.kata.source import PICTURE
from dojo.kit.pictures import write

# Those that say most without a word; the page shows each.
SHOWN = (
    *("permute_not_reshape", "where_does_not_stop_nan", "init", "batchnorm", "attention_masks"),
    *("schedules_by_formula", "augment_each_sample", "line_2x_plus_2", "iris_logistic", "bend_the_line", "mnist_98"),
    *("rope", "tiny_gpt"),
)
# Of the others that move, the last frame is enough.
MOVING = ("line_2x_plus_2", "iris_logistic", "rope")

_INTRO = """\
# Pictures of a run

`pytest --kata-picture NAME` draws what *your* functions of a kata do, once it passes. These were drawn from the
reference's functions, on {date} with torch {torch}, by `python -m dojo.authoring pictures`.
"""


def draw(root: Path) -> list[Path]:
    """Draw them into docs/pictures of the project at `root`; the files written."""
    folder, katas = root / "docs" / "pictures", find_katas(root / "katas")
    folder.mkdir(parents=True, exist_ok=True)
    written, parts = [], [_INTRO.format(date=datetime.date.today(), torch=torch.__version__.split("+")[0])]
    for slug in SHOWN:
        kata = find_kata(katas, slug)
        reference = import_solution(root / "reference" / f"{kata.key}.py")
        StateGuard.seed()
        with tempfile.TemporaryDirectory() as fresh:
            files = {path.suffix: path for path in write(getattr(reference, PICTURE)(reference), Path(fresh), slug)}
            says = json.loads(files[".json"].read_text(encoding="utf-8"))["says"]
            chosen = files[".gif" if slug in MOVING else ".png"]
            written.append(Path(shutil.copy(chosen, folder)))
        parts.append(f"\n## [{slug}](../../katas/{kata.key}.py)\n\n![{says}]({chosen.name})\n\n{says}\n")
    page = folder / "README.md"
    page.write_text("".join(parts), encoding="utf-8")
    return [*written, page]
