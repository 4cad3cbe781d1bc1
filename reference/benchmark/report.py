"""The table and the plot: after a run, or again from saved JSON files of one or two machines.

python -m reference.benchmark.report cpu.json gpu.json --plot speed.png
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]  # a benchmark's extra_info with its median and iqr, in seconds
NOISE = "*"
SCREEN = 80
PICTURE = "the training step's images per second by batch size,\n  a line for each device, net and variant"
_TOO_WIDE = 0.5  # of the median: a wider iqr says little about the code that was timed
_NOISE_MEANS = f"""
{NOISE} means noise: the iqr, the spread of the middle half of the rounds, is above
  {_TOO_WIDE:.0%} of the median. Close other programs, run it again, then compare."""
_SHARES_MEAN = """
flops, bytes: the share of the best that the device did in the same run, in a
  large matmul and in a large copy (bytes above 100%: they stayed in a cache)"""


def rows_of(benchmarks: Iterable[dict[str, Any]]) -> list[Row]:
    """The rows of pytest-benchmark's JSON (its list `benchmarks`) that this benchmark made."""
    return [
        {**entry["extra_info"], "median": entry["stats"]["median"], "iqr": entry["stats"]["iqr"]}
        for entry in benchmarks
        if "work" in entry.get("extra_info", {})
    ]


def read(path: Path) -> list[Row]:
    """The rows of a file written by `--benchmark-json` or `--benchmark-save`."""
    return rows_of(json.loads(path.read_text(encoding="utf-8"))["benchmarks"])


def title(rows: Sequence[Row]) -> str:
    """What the tables are about: a comparison only where there is something to compare with."""
    return "cpu against cuda" if {"cpu", "cuda"} <= _devices(rows) else "what was timed"


def tables(rows: Sequence[Row]) -> str:
    """All tables as text, 80 columns wide; last comes what most readers want."""
    timed = [row for row in rows if row["work"] != "kata"]
    parts = [_details(timed), _rates(timed)]
    if {"cpu", "cuda"} <= _devices(rows):
        parts.append(_versus(timed))
    elif "cpu" in _devices(rows):
        parts.append("\ncuda: not run here")
    parts.append(_katas(rows))
    if any(_noisy(row) for row in rows):
        parts.append(_NOISE_MEANS)
    return "\n".join(part for part in parts if part)


def _devices(rows: Sequence[Row]) -> set[str]:
    return {row["device"] for row in rows if row["work"] in ("forward", "step")}


def _rate(row: Row) -> float:
    return float(row["batch"] / row["median"])


def _noisy(row: Row) -> bool:
    return bool(row["iqr"] > _TOO_WIDE * row["median"])


def _mark(row: Row) -> str:
    return NOISE if _noisy(row) else ""


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of one work, net and device together, under a heading."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        net = f", {row['size']} net" if row.get("size") else ""
        groups[f"{row['work']}{net}, {row['device']}"].append(row)
    return groups


def _details(rows: Sequence[Row]) -> str:
    """Each row with its spread, its memory, and its share of what the device can do at best."""
    lines = []
    for heading, group in _groups(rows).items():
        lines += ["", f"{heading:<35}{'median':>11} {'iqr':>6}{'memory':>11}{'flops':>8}{'bytes':>8}"]
        for row in group:
            spread = f"{row['iqr'] / row['median'] if row['median'] else 0:.0%}"
            memory = f"{row['memory_mb']:.0f} MB" if row.get("memory_mb") else ""
            flops, moved = _shares(row)
            line = f"{row['batch']:>7}  {row.get('variant', ''):<26}{_time(row['median']):>11} {spread:>6}"
            lines.append(f"{line}{_mark(row):<1}{memory:>10}{flops:>8}{moved:>8}".rstrip())
    if any(_shares(row)[0] for row in rows):
        lines.append(_SHARES_MEAN)
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _shares(row: Row) -> tuple[str, str]:
    """Of the row's time, what arithmetic alone, and what moving bytes alone, would take at the measured peaks."""
    if not row.get("flops") or not row.get("peak_flops"):
        return "", ""
    by_flops = row["flops"] / row["peak_flops"] / row["median"]
    by_bytes = row["bytes"] / row["peak_bytes"] / row["median"]
    return f"{by_flops:.0%}", f"{by_bytes:.0%}"


def _rates(rows: Sequence[Row]) -> str:
    """Images per second: a line per batch size, a column per variant."""
    lines = []
    for heading, group in _groups(rows).items():
        if group[0]["work"] not in ("forward", "step"):
            lines += ["", *(f"{heading}: {_shown(row)} images/s" for row in group)]
            continue
        variants = list(dict.fromkeys(row["variant"] for row in group))
        found = {(row["batch"], row["variant"]): _shown(row) for row in group}
        cells = [
            [str(batch), *(found.get((batch, variant), "") for variant in variants)]
            for batch in sorted({row["batch"] for row in group})
        ]
        lines += ["", f"{heading}: images/s", *_grid(["batch", *variants], cells)]
    return "\n".join(lines)


def _shown(row: Row) -> str:
    return f"{_rate(row):,.0f}{_mark(row)}"


def _grid(names: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Columns under their names; those that the screen has no room for come below, beside the first column again."""
    columns = []
    for name, cells in zip(names, zip(*lines, strict=True), strict=True):
        marked = any(cell.endswith(NOISE) for cell in cells)  # then the digits still stand under each other
        column = [name, *(cell + " " if marked and not cell.endswith(NOISE) else cell for cell in cells)]
        width = max(map(len, column))
        columns.append([f"  {cell:>{width}}" for cell in column])
    first, *others = columns
    blocks = [[first]]
    for column in others:
        if sum(len(placed[0]) for placed in blocks[-1]) + len(column[0]) > SCREEN:
            blocks.append([first])
        blocks[-1].append(column)
    return ["".join(line).rstrip() for block in blocks for line in zip(*block, strict=True)]


def _versus(rows: Sequence[Row]) -> str:
    """The fastest CUDA variant against the fastest one of the CPU, where both ran; from which batch size CUDA wins."""
    lines = []
    for work, size in sorted({(row["work"], row["size"]) for row in rows if row["work"] in ("forward", "step")}):
        best: dict[str, dict[int, Row]] = {"cpu": {}, "cuda": {}}
        for row in sorted((r for r in rows if (r["work"], r["size"]) == (work, size)), key=_rate):
            best[row["device"]][row["batch"]] = row  # the fastest comes last
        both = sorted(best["cpu"].keys() & best["cuda"].keys())
        if not both:
            continue
        lines += ["", f"{work}, {size} net: cuda against cpu, the fastest of each", "  batch  speed-up"]
        wins = None
        for batch in both:
            cpu, cuda = best["cpu"][batch], best["cuda"][batch]
            ratio = _rate(cuda) / _rate(cpu)
            wins = (wins or batch) if ratio > 1 else None
            shown = f"x{ratio:.1f}{_mark(cpu) or _mark(cuda)}"
            lines.append(f"{batch:>7}{shown:>10}  {cuda['variant']} on cuda, {cpu['variant']} on the cpu")
        if wins is not None:
            lines.append(f"the GPU wins from batch size {wins} on")
        else:
            lines.append("the GPU does not win at any batch size that both ran")
    return "\n".join(lines)


def _katas(rows: Sequence[Row]) -> str:
    """The learner's MNIST net and training beside the reference's, as a ratio."""
    by_what: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        if row["work"] == "kata":
            by_what[row["what"]][row["who"]] = row
    lines = []
    for what, found in by_what.items():
        if {"yours", "reference"} <= found.keys():
            ratio = found["yours"]["median"] / found["reference"]["median"]
            mark = _mark(found["yours"]) or _mark(found["reference"])
            lines.append(f"mnist_98, {what}: yours takes {ratio:.1f}{mark} times the reference's time")
        else:
            lines.append(f"mnist_98, {what}: only the reference ran: the kata is not solved")
    return "\n".join(["", *lines]) if lines else ""


def plot(rows: Sequence[Row], path: Path) -> bool:
    """Write the picture; False where matplotlib is missing or no training step was timed."""
    rows = [row for row in rows if row["work"] == "step"]
    if not rows:
        return False
    try:
        figure = draw(rows)
    except ImportError:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return True


def draw(rows: Sequence[Row]) -> Figure:
    """images/s over batch size. A colour is a variant; a marker is a net on a device: no two lines look the same."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure  # no pyplot: no window, no global state
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    nets = sorted({(row["device"], row["size"]) for row in rows})
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    few = colormaps["tab10"].colors  # type: ignore[attr-defined]
    many = colormaps["turbo"].resampled(len(variants))
    for device, size in nets:
        for i, variant in enumerate(variants):
            line = [r for r in rows if (r["device"], r["size"], r["variant"]) == (device, size, variant)]
            if not line:
                continue
            line.sort(key=lambda row: int(row["batch"]))
            axes.plot(
                [row["batch"] for row in line],
                [_rate(row) for row in line],
                color=few[i] if len(variants) <= len(few) else many(i),
                marker="os^Dv<>Pp*hX"[nets.index((device, size))],
                linestyle="--" if device == "cpu" else "-",
                label=f"{device} {size} {variant}",
            )
    batches = sorted({row["batch"] for row in rows})
    axes.set(xscale="log", yscale="log", xlabel="batch size", ylabel="images / s", title="Training step")
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(True, which="both", alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8, handlelength=3)  # beside the lines, never over them
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m reference.benchmark.report", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="JSON files of --benchmark-json, of one machine or two")
    parser.add_argument("--plot", type=Path, help="write the plot to this PNG")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    for file in options.files:
        try:
            rows += read(file)
        except (OSError, ValueError, KeyError) as error:
            parser.error(f"{file}: no JSON of pytest-benchmark ({type(error).__name__}: {error})")
    sys.stdout.write(tables(rows) + "\n")
    if options.plot is not None:
        if not plot(rows, options.plot):
            parser.error("no plot: matplotlib is not installed, or no training step was timed")
        sys.stdout.write(f"\nwrote {options.plot}\n  {PICTURE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
