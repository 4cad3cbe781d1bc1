"""The CNN's benchmark: its cases, its tables, and a short run end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reference.benchmark import cases, conftest, report
from tests.cuda_graph_on_cpu import cuda_graphs_on_cpu

ROOT = Path(__file__).resolve().parents[1]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def row(device, batch, milliseconds, **more):
    info = {"work": "step", "device": device, "size": "teaching", "batch": batch, "variant": "fp32", **more}
    return {"extra_info": info, "stats": {"median": milliseconds / 1e3, "iqr": milliseconds / 1e4}}


def write(path: Path, *rows) -> Path:
    path.write_text(json.dumps({"benchmarks": rows}))
    return path


def test_two_machines_files_make_one_table(tmp_path, capsys):
    cpu = write(tmp_path / "cpu.json", row("cpu", 1, 1.0), row("cpu", 64, 20.0), row("cpu", 1024, 300.0))
    gpu = write(tmp_path / "gpu.json", row("cuda", 1, 2.0), row("cuda", 64, 2.5), row("cuda", 1024, 3.0))
    assert report.main([str(cpu), str(gpu)]) == 0
    text = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "1 x0.5 fp32 on cuda, fp32 on the cpu" in lines
    assert "64 x8.0 fp32 on cuda, fp32 on the cpu" in lines
    assert "1024 x100.0 fp32 on cuda, fp32 on the cpu" in lines
    assert "1024 3,413" in lines
    assert "1024 341,333" in lines
    assert "the GPU wins from batch size 64 on" in lines


def test_the_best_variant_of_the_gpu_is_compared_and_named(tmp_path):
    rows = report.rows_of([row("cpu", 64, 20.0), row("cuda", 64, 4.0), row("cuda", 64, 2.0, variant="graph")])
    assert "x10.0  graph on cuda, fp32 on the cpu" in report.tables(rows)


def test_only_what_both_ran_is_compared():
    text = report.tables(report.rows_of([row("cpu", 64, 20.0), row("cuda", 64, 4.0), row("cuda", 4096, 4.0)]))
    assert [line.split()[0] for line in text.splitlines() if " on the cpu" in line] == ["64"]


def test_without_gpu_rows_it_says_so_once_and_compares_with_nothing():
    rows = report.rows_of([row("cpu", 64, 20.0, work=work) for work in ("forward", "step")])
    text = report.tables(rows)
    assert text.count("cuda") == text.count("cuda: not run here") == 1
    assert "-" not in text.split(), "a column of dashes"
    assert "speed-up" not in text
    assert "against" not in report.title(rows)
    assert report.title([*rows, *report.rows_of([row("cuda", 64, 1.0)])]) == "cpu against cuda"


def test_a_column_is_one_variant_and_carries_its_name():
    """The column "cpu" once showed the faster of two variants, and did not say which."""
    rows = [
        row("cpu", batch, 20.0 if variant == "fp32" else 10.0, variant=variant)
        for batch in (16, 64)
        for variant in ("fp32", "channels-last")
    ]
    lines = [line.split() for line in report.tables(report.rows_of(rows)).splitlines()]
    start = lines.index(["batch", "fp32", "channels-last"])
    assert lines[start + 1 : start + 3] == [["16", "800", "1,600"], ["64", "3,200", "6,400"]]


def everything(iqr: float = 0.1):
    """Rows of all cases that there are, a million images a second and more."""
    info = dict(peak_flops=1e14, peak_bytes=1e12, flops=1e8, bytes=1e6, memory_mb=12345.6)
    return report.rows_of(
        {
            "extra_info": {
                "work": c.work,
                "device": c.device,
                "size": c.size,
                "batch": c.batch,
                "variant": c.variant,
                **info,
            },
            "stats": {"median": c.batch / 4e6, "iqr": iqr * c.batch / 4e6},
        }
        for device in ("cpu", "cuda")
        for c in cases.cases(device)
    )


@pytest.mark.parametrize("iqr", [0.1, 1.2])
def test_the_tables_fit_on_80_columns(iqr):
    text = report.tables(everything(iqr))
    too_wide = [line for line in text.splitlines() if len(line) > 80]
    assert not too_wide, "\n".join(too_wide)
    columns = [name for line in text.splitlines() if line.startswith("  batch  ") for name in line.split()[1:]]
    assert set(columns) >= set(cases.VARIANTS["cuda"]), "each variant has a column with its whole name"


def test_a_spread_above_half_of_the_median_is_marked_as_noise():
    wide, narrow = row("cpu", 64, 20.0), row("cpu", 16, 20.0)
    wide["stats"]["iqr"], narrow["stats"]["iqr"] = 0.0102, 0.0099
    text = report.tables(report.rows_of([wide, narrow]))
    assert [line.split()[0] for line in text.splitlines() if "%*" in line] == ["64"]
    assert "3,200*" in text, "the rate of a noisy row is as doubtful as its time"
    assert "800*" not in text
    assert "* means noise" in text.splitlines()[-2], "what the mark means stands below the tables"
    assert "noise" not in report.tables(report.rows_of([narrow]))


def test_a_ratio_of_noisy_times_is_marked_as_noise():
    kata = {"work": "kata", "what": "training", "batch": 64, "device": "cpu"}
    rows = report.rows_of(
        {"extra_info": {**kata, "who": who}, "stats": {"median": 3.0, "iqr": iqr}}
        for who, iqr in (("yours", 1.6), ("reference", 0.1))
    )
    assert "yours takes 1.0* times" in report.tables(rows)
    noisy = row("cuda", 64, 1.0)
    noisy["stats"]["iqr"] = 1.0
    assert "x20.0*" in report.tables(report.rows_of([row("cpu", 64, 20.0), noisy]))


def test_share_of_peak_and_spread_are_shown():
    rows = report.rows_of([row("cpu", 64, 10.0, flops=1e9, peak_flops=1e12, bytes=2e8, peak_bytes=1e11)])
    line = next(line for line in report.tables(rows).splitlines() if "ms" in line)
    assert line.split() == ["64", "fp32", "10.000", "ms", "10%", "10%", "20%"]


def test_yours_beside_the_references_is_a_ratio():
    kata = {"work": "kata", "what": "training", "batch": 64, "device": "cpu"}
    rows = report.rows_of(
        [
            {"extra_info": {**kata, "who": "yours"}, "stats": {"median": 3.0, "iqr": 0.1}},
            {"extra_info": {**kata, "who": "reference"}, "stats": {"median": 2.0, "iqr": 0.1}},
        ]
    )
    assert "training: yours takes 1.5 times the reference's time" in report.tables(rows)
    assert "the kata is not solved" in report.tables(rows[1:])


def test_a_file_that_is_no_benchmark_is_a_usage_error(tmp_path, capsys):
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(SystemExit, match="2"):
        report.main([str(bad)])
    assert "no JSON of pytest-benchmark" in capsys.readouterr().err


def test_plot_is_written(tmp_path):
    pytest.importorskip("matplotlib")
    rows = report.rows_of([row("cpu", 1, 1.0), row("cpu", 64, 20.0)])
    assert report.plot(rows, tmp_path / "new" / "speed.png")
    assert (tmp_path / "new" / "speed.png").stat().st_size > 5000
    assert not report.plot([], tmp_path / "none.png")


def test_every_line_of_the_plot_looks_different_and_stands_in_the_legend():
    pytest.importorskip("matplotlib")
    figure = report.draw([row for row in everything() if row["work"] == "step"])
    lines, (legend,) = figure.axes[0].lines, figure.legends
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(looks) == len(lines) == 18
    assert [text.get_text() for text in legend.get_texts()] == [line.get_label() for line in lines]
    figure.draw_without_rendering()
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent()), "the legend hides lines"


def test_the_plots_x_axis_carries_the_batch_sizes():
    pytest.importorskip("matplotlib")
    axes = report.draw([row for row in everything() if row["work"] == "step"]).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "4", "16", "64", "256", "1024", "4096"]
    assert list(axes.get_xticks(minor=True)) == []


def test_writing_the_plot_says_where_it_is_and_what_one_sees(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert report.main([str(write(tmp_path / "cpu.json", row("cpu", 1, 1.0))), "--plot", str(tmp_path / "a.png")]) == 0
    said = capsys.readouterr().out
    assert f"wrote {tmp_path / 'a.png'}\n" in said
    assert "images per second by batch size" in said


def test_variants_compute_what_fp32_computes_and_a_wrong_one_is_noticed():
    case = cases.Case("step", "cpu", "teaching", 4, "channels-last")
    cases.check(cases.Work(case))
    wrong = cases.Work(case)
    with torch.no_grad():
        wrong.net.linear.bias += 1 + torch.arange(10.0)
    with pytest.raises(AssertionError):
        cases.check(wrong)


def test_flops_and_bytes_are_of_the_right_size():
    forward, step = (
        cases.Case("forward", "cpu", "teaching", 8, "fp32"),
        cases.Case("step", "cpu", "teaching", 8, "fp32"),
    )
    by_hand = 8 * 2 * (16 * 12 * 12 * 25 + 48 * 4 * 4 * 16 * 9 + 768 * 10)
    assert cases.flops(forward) == by_hand
    assert 2 * by_hand < cases.flops(step) <= 3 * by_hand
    assert cases.bytes_moved(forward) < cases.bytes_moved(step)


def test_inputs_rotate():
    work = cases.Work(cases.Case("forward", "cpu", "teaching", 2, "fp32"))
    assert not torch.equal(work(), work())


def test_each_image_costs_the_same_and_bf16_moves_fewer_bytes():
    small, large = (cases.Case("step", "cpu", "teaching", batch, "fp32") for batch in (1, 4096))
    assert cases.flops(large) == 4096 * cases.flops(small)
    half = cases.bytes_moved(cases.Case("step", "cuda", "teaching", 4096, "bf16+channels-last+compile"))
    assert 0.49 < half / cases.bytes_moved(large) < 0.51


def test_the_peak_is_measured_in_the_numbers_of_the_row():
    kinds = {variant: cases.arithmetic(variant) for variant in cases.VARIANTS["cuda"]}
    assert kinds == {
        **dict.fromkeys(("fp32", "channels-last", "compile", "graph"), "fp32"),
        "tf32": "tf32",
        "bf16": "bf16",
        "bf16+channels-last+compile": "bf16",
    }
    fp32, bf16 = conftest.machine("cpu", "fp32"), conftest.machine("cpu", "bf16")
    assert (fp32["precision"], bf16["precision"]) == ("fp32", "bf16")
    assert fp32["peak_flops"] != bf16["peak_flops"]


def test_every_row_is_compiled_for_its_own_batch_size(monkeypatch):
    """torch.compile would make the second size a variable, and give up, silently, after eight nets."""
    compiled = []

    def backend(graph, inputs):
        compiled.append([tuple(x.shape) for x in inputs if x.dim() == 4 and x.shape[-1] == 28])
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda net, real=torch.compile: real(net, backend=backend))
    sizes = range(2, 13)
    for size in sizes:
        cases.Work(cases.Case("forward", "cpu", "teaching", size, "compile"))()
    assert compiled == [[(size, 1, 28, 28)] for size in sizes]


def test_a_recorded_step_computes_what_fp32_computes_from_the_first_batch_on(monkeypatch):
    """`check` compared the graph's second batch with the first of plain fp32 once: the recording had taken one."""
    monkeypatch.setitem(cases.VARIANTS, "cpu", {**cases.VARIANTS["cpu"], "graph": 1e-6})
    with cuda_graphs_on_cpu() as graphs:
        work = cases.Work(cases.Case("step", "cpu", "teaching", 4, "graph"))
        cases.check(work)
        work()
    assert graphs[0].replays == 3


def test_a_graph_keeps_the_precision_of_its_row(monkeypatch):
    seen = []
    monkeypatch.setattr(cases.Work, "_step", lambda self, x, labels: seen.append(torch.backends.cudnn.allow_tf32))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with cuda_graphs_on_cpu():
        cases.Work(cases.Case("step", "cpu", "teaching", 4, "graph"))
    assert set(seen) == {False}
    assert torch.backends.cudnn.allow_tf32 is True


@needs_gpu
@pytest.mark.parametrize("case", [c for c in cases.cases("cuda") if (c.size, c.batch) == ("teaching", 16)], ids=str)
def test_on_a_gpu_every_variant_computes_what_fp32_computes(case):
    cases.check(cases.Work(case))


@pytest.mark.slow
def test_a_short_run_end_to_end(tmp_path):
    output = tmp_path / "out.json"
    # A process of its own, also where this test runs in a worker of pytest-xdist.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "reference/benchmark", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, "--benchmark-only", "-k", "teaching-1- or test_kata", f"--benchmark-json={output}", "-rs"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    without_gpu = () if torch.cuda.is_available() else ("cuda: not run here", "needs a GPU")
    for said in ("step, teaching net", "the kata is not solved", *without_gpu):
        assert said in result.stdout
    lines = result.stdout.splitlines()
    ours = next(i for i, line in enumerate(lines) if "= cpu against cuda =" in line or "= what was timed =" in line)
    for others in ("Name (time in", "Legend:", "SKIPPED", "Wrote benchmark data"):
        last = max((i for i, line in enumerate(lines) if others in line), default=0)
        assert last < ours, f"{others} stands below our table"
    assert report.read(output)
    workers = subprocess.run(
        [*command, "-k", "cpu-teaching-1-", "-n", "2"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert "benchmarks need one process" in workers.stdout
