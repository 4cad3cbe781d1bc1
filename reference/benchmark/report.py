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
from typing import Any

Row = dict[str, Any]  # a benchmark's extra_info with its median and iqr, in seconds


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


def tables(rows: Sequence[Row]) -> str:
    """All tables as text."""
    parts = [_versus(rows), _details(rows), _katas(rows)]
    return "\n".join(part for part in parts if part)


def _rate(row: Row) -> float:
    return float(row["batch"] / row["median"])


def _best(rows: Sequence[Row], **wanted: Any) -> Row | None:
    """The fastest row with these values: on CUDA that is the best variant."""
    found = [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
    return max(found, key=_rate, default=None)


def _versus(rows: Sequence[Row]) -> str:
    """CPU against CUDA, by batch size; and the batch size from which CUDA wins."""
    lines = []
    kinds = sorted({(row["work"], row["size"]) for row in rows if row["work"] in ("forward", "step")})
    for work, size in kinds:
        batches = sorted({row["batch"] for row in rows if row["work"] == work and row["size"] == size})
        lines += [f"\n{work}, {size} net", f"{'batch':>7}{'cpu':>16}{'cuda':>16}{'speed-up':>10}  (images/s)"]
        wins = None
        for batch in batches:
            cpu = _best(rows, work=work, size=size, batch=batch, device="cpu")
            cuda = _best(rows, work=work, size=size, batch=batch, device="cuda")
            ratio = _rate(cuda) / _rate(cpu) if cpu and cuda else None
            if ratio is not None:
                wins = (wins or batch) if ratio > 1 else None
            shown = f"x{ratio:.1f}" if ratio is not None else ""
            lines.append(f"{batch:>7}{_shown(cpu):>16}{_shown(cuda):>16}{shown:>10}")
        if wins is not None:
            lines.append(f"the GPU wins from batch size {wins} on")
        elif not any(r["device"] == "cuda" for r in rows):
            lines.append("cuda: not run here")
        else:
            lines.append("the GPU does not win at any batch size that both ran")
    return "\n".join(lines)


def _shown(row: Row | None) -> str:
    return "-" if row is None else f"{_rate(row):,.0f}"


def _details(rows: Sequence[Row]) -> str:
    """Each row with its spread, its memory, and its share of what the device can do at best."""
    lines = [f"\n{'row':<44}{'median':>11}{'iqr':>7}{'images/s':>12}{'memory':>9}{'share of peak':>20}"]
    for row in rows:
        if row["work"] == "kata":
            continue
        name = f"{row['work']} {row['device']} {row.get('size', '')} {row['batch']} {row.get('variant', '')}"
        spread = row["iqr"] / row["median"] if row["median"] else 0
        memory = f"{row['memory_mb']:.0f} MB" if row.get("memory_mb") else ""
        lines.append(
            f"{' '.join(name.split()):<44}{_time(row['median']):>11}{spread:>7.0%}{_rate(row):>12,.0f}"
            f"{memory:>9}{_share(row):>20}"
        )
    return "\n".join(lines) if len(lines) > 1 else ""


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _share(row: Row) -> str:
    """Of the time that arithmetic alone, or moving bytes alone, would take at the measured peaks: the larger share."""
    if not row.get("flops") or not row.get("peak_flops"):
        return ""
    by_flops = row["flops"] / row["peak_flops"] / row["median"]
    by_bytes = row["bytes"] / row["peak_bytes"] / row["median"]
    return f"{by_flops:.0%} flops {by_bytes:.0%} bytes"


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
            said = f"{ratio:.1f} times the reference's time"
        else:
            said = "only the reference ran: the kata is not solved"
        lines.append(f"mnist_98, {what}: yours takes {said}" if "times" in said else f"mnist_98, {what}: {said}")
    return "\n".join(["", *lines]) if lines else ""


def plot(rows: Sequence[Row], path: Path) -> bool:
    """images/s over batch size, a line per device and net; False where matplotlib is missing or nothing was timed."""
    rows = [row for row in rows if row["work"] == "step"]
    if not rows:
        return False
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for device, size, variant in sorted({(r["device"], r["size"], r["variant"]) for r in rows}):
        line = sorted((r for r in rows if (r["device"], r["size"], r["variant"]) == (device, size, variant)), key=_rank)
        axes.plot(
            [r["batch"] for r in line],
            [_rate(r) for r in line],
            marker="o",
            linestyle="--" if device == "cpu" else "-",
            label=f"{device} {size} {variant}",
        )
    axes.set(xscale="log", yscale="log", xlabel="batch size", ylabel="images / s", title="Training step")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True


def _rank(row: Row) -> int:
    return int(row["batch"])


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
        sys.stdout.write(f"wrote {options.plot}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
