"""Curves that survive a restart

TensorBoard draws the curves of your trainings in a browser. `SummaryWriter(folder)` of torch.utils.tensorboard
opens an *event file* in a folder, `add_scalar(tag, value, step)` appends a point, and `tensorboard --logdir runs` shows
each folder under `runs` as one run. Without the third argument, all points stand at step 0.

A point does not go to the disk at once: it waits in a queue, up to two minutes. A script that dies, or a notebook that
goes on, leaves a curve without its end. `flush()` writes what waits; `close()`, or the end of `with SummaryWriter(...)
as writer:`, does too.

A training that crashed at step 5 begins again from the checkpoint of step 3. A second writer in the same folder *adds*
its points, and the curve goes through steps 3 and 4 twice. `SummaryWriter(folder, purge_step=3)` says in the file:
whatever was logged before, at step 3 or later, does not count.

`add_scalars` (with an s) puts several lines into one picture. It makes a sub-folder, a run of its own, for each of
them, and your run has no curve of that name. A `/` in a tag does what people want: `loss/train` and `loss/val` stand
side by side.

Back in Python, `EventAccumulator(str(folder))` from tensorboard.backend.event_processing.event_accumulator reads a run:
nothing before `Reload()`, then `Tags()["scalars"]` lists the tags, and `Scalars(tag)` the points, each with `step` and
`value`, which the file holds as float32. Of a longer curve it keeps 10 000 points, picked at random; with
`size_guidance={"scalars": 0}` it keeps all.

What is asked here: log a run, and read a curve. Import both classes inside your functions (`pip install tensorboard`).

About 20 minutes. Before it: learning_curves, resume_exactly.

https://docs.pytorch.org/docs/stable/tensorboard.html
"""

import contextlib
import importlib.util
import itertools
import math
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import explain, needs, unchanged


def log_run(
    folder: Path,
    train: Sequence[float | torch.Tensor],
    val: Mapping[int, float | torch.Tensor],
    start: int = 0,
) -> None:
    """Log the losses of a training as one run in `folder`, which may not exist yet; no folder is made inside it.

    `train` goes to the tag `loss/train`, at the steps start, start + 1, ... `val` goes to `loss/val`: each key is the
    step of its loss (key 9 is step 9, whatever start is), one of the steps of this call. A loss is a float, also 0,
    -2 or inf, or a 0-d tensor, float32 or float64, which may have a graph and stays as it is.

    All points are on disk when log_run returns. With `start` above 0 the training goes on after a crash: points of
    both tags that the folder has from earlier calls, at step `start` or later, don't count any more.
    """
    raise NotImplementedError("write the points of both curves, and end the writer")


def read_curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    """All points (step, value) that the run in `folder` has under `tag`, also two at one step.

    They were logged in the order of their steps, and come in this order. Steps are Python ints and values Python
    floats. A tag that the run does not have gives [].
    """
    raise NotImplementedError("read the points of one curve")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_Curve = list[tuple[int, float]]

_SIGNS = {
    "requires grad": "a loss with a graph went to NumPy: take loss.item() or float(loss)",
    "No such file|not found": "a file or folder was looked for that is not there",
}


def _log(folder: Path, train: Any, val: Any, *start: int) -> None:
    __tracebackhide__ = True
    if importlib.util.find_spec("tensorboard") is None:
        with contextlib.suppress(ImportError):
            log_run(folder, train, val, *start)  # where it is not written yet, it is to do
        needs("tensorboard")
    with explain("log_run raised", _SIGNS):
        log_run(folder, train, val, *start)


def _read(folder: Path, tag: str) -> _Curve:
    """What read_curve gives: pairs of an int and a float."""
    __tracebackhide__ = True
    if importlib.util.find_spec("tensorboard") is None:
        with contextlib.suppress(ImportError):
            read_curve(folder, tag)
        needs("tensorboard")
    with explain(
        f"read_curve(folder, {tag!r}) raised",
        {"KeyError": f"Scalars({tag!r}) raises KeyError where no such tag was read", **_SIGNS},
    ):
        curve = read_curve(folder, tag)
    assert isinstance(curve, list), f"read_curve returns a list, got {type(curve).__name__}"
    for point in curve:
        pair = isinstance(point, tuple) and len(point) == 2
        assert pair, f"each point is a tuple (step, value), got {type(point).__name__}: {point!r}"
        kinds = type(point[0]).__name__, type(point[1]).__name__
        numbers = type(point[0]) is int and isinstance(point[1], float)
        assert numbers, f"a point is a Python int and a Python float, got ({', '.join(kinds)}): {point!r}"
    return curve


def _curve(folder: Path, tag: str) -> _Curve:
    """The points that TensorBoard shows of a tag."""
    __tracebackhide__ = True
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert any(folder.glob("*tfevents*")), f"there is no event file in the folder; it holds {_names(folder)}"
    run = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    run.Reload()
    tags = run.Tags()["scalars"]
    return [(event.step, event.value) for event in run.Scalars(tag)] if tag in tags else []


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _is(curve: _Curve, want: _Curve, what: str) -> None:
    """Are these the points, in the order of the steps?"""
    __tracebackhide__ = True
    steps, expected = sorted(step for step, _ in curve), [step for step, _ in want]
    unnumbered = len(steps) > 1 and set(steps) == {0}
    assert not unnumbered, f"{what}: all points stand at step 0, expected {expected}: give add_scalar the step"
    assert steps == expected, f"{what}: points at steps {steps}, expected {expected}"
    assert sorted(curve) == want, f"{what}: expected {want}, got {sorted(curve)}"


def _write(folder: Path, curves: dict[str, _Curve]) -> None:
    """An event file with these curves."""
    if importlib.util.find_spec("tensorboard") is None:
        _read(folder, "loss/val")  # it is to do, or not run here
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for tag, points in curves.items():
        for step, value in points:
            point = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(step=step, wall_time=1.5e9 + step, summary=point))
    writer.close()


@pytest.fixture(autouse=True)
def _a_place_to_log(tmp_path, monkeypatch):
    """The working directory is no folder of a run; and a disk that is far away: it has what was flushed, no more.

    Files of one second are read in the order of a counter in their names, as text: it begins at 1000, not at 9.
    """
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    if importlib.util.find_spec("tensorboard") is None:
        return
    from tensorboard.summary.writer import event_file_writer
    from tensorboard.summary.writer.record_writer import RecordWriter

    counter = types.SimpleNamespace(get=itertools.count(1000).__next__)
    monkeypatch.setattr(event_file_writer, "_global_uid", counter, raising=False)
    write, flush, waiting = RecordWriter.write, RecordWriter.flush, dict[Any, list[bytes]]()

    def write_later(writer, data):
        waiting.setdefault(writer, []).append(data)

    def write_now(writer):
        for data in waiting.pop(writer, []):
            write(writer, data)
        flush(writer)

    monkeypatch.setattr(RecordWriter, "write", write_later)
    monkeypatch.setattr(RecordWriter, "flush", write_now)


@pytest.mark.myth(
    says="add_scalar writes a point into the file.",
    today="It puts the point into a queue, which is written after up to two minutes; flush() and close() write it now.",
)
def test_points_are_on_disk_after_a_flush(tmp_path):
    for name, val in (("train only", {}), ("both", {0: 4.0, 2: 2.0})):
        folder = tmp_path / "runs" / name
        _log(folder, [1.0, 0.5, 0.25], val)
        for tag, want in (("loss/train", [(0, 1.0), (1, 0.5), (2, 0.25)]), ("loss/val", list(val.items()))):
            curve = _curve(folder, tag)
            assert len(curve) >= len(want), (
                f"log_run has returned, and {len(curve)} of {len(want)} points of {tag} can be read from the disk. Is "
                "this the tag? And what is neither flushed nor closed stays in the queue of the writer"
            )
            _is(curve, want, f"{tag}, of a run of three steps")


def test_each_point_stands_at_its_own_step(tmp_path):
    _log(tmp_path / "first", (8.0, math.inf, -2.0, 0.0, 0.5, 1 + 2.0**-20), types.MappingProxyType({2: 16.0, 5: 0.0}))
    train = [(0, 8.0), (1, math.inf), (2, -2.0), (3, 0.0), (4, 0.5), (5, 1 + 2.0**-20)]
    _is(_curve(tmp_path / "first", "loss/train"), train, "loss/train, of six steps from 0 on")
    _is(_curve(tmp_path / "first", "loss/val"), [(2, 16.0), (5, 0.0)], "loss/val, with the keys 2 and 5")
    _log(tmp_path / "late", [2.0, 1.0, 0.5], {9: 0.125, 7: 0.25}, 7)
    _is(_curve(tmp_path / "late", "loss/train"), [(7, 2.0), (8, 1.0), (9, 0.5)], "loss/train, with start=7")
    _is(_curve(tmp_path / "late", "loss/val"), [(7, 0.25), (9, 0.125)], "loss/val, with start=7 and the keys 9 and 7")


@pytest.mark.myth(
    says="Log into the same folder again, and the curve goes on where it broke off.",
    today="A second writer adds its points to the old ones, so some steps are there twice; purge_step= takes them out.",
)
def test_a_restart_supersedes_the_steps_that_it_repeats(tmp_path):
    folder = tmp_path / "run"
    _log(folder, [16.0, 8.0, 4.0, 2.0, 1.0], {1: 0.5, 4: 0.25})
    train, val = [(0, 16.0), (1, 8.0), (2, 4.0), (3, 2.0), (4, 1.0)], [(1, 0.5), (4, 0.25)]
    curve = _read(folder, "loss/train")
    assert curve == train, f"read_curve of loss/train, after one log_run: expected {train}, got {curve}"
    for start, losses, measured in (
        (3, [64.0, 32.0, 128.0], {5: 2.0}),
        (5, [256.0, 512.0], {6: 8.0}),
    ):
        _log(folder, losses, measured, start)
        old = list(train)
        train = [point for point in train if point[0] < start] + list(enumerate(losses, start))
        val = [point for point in val if point[0] < start] + list(measured.items())
        got = _curve(folder, "loss/train")
        steps = sorted(step for step, _ in got)
        twice = sorted({step for step in steps if steps.count(step) > 1})
        assert not twice, (
            f"after a restart at step {start}, steps {twice} are there twice: purge_step={start} takes the old ones out"
        )
        lost = [step for step, _ in old if step < start and step not in steps]
        assert not lost, f"after a restart at step {start}, the points at steps {lost}, before it, are lost"
        _is(got, train, f"loss/train after a restart at step {start}")
        _is(_curve(folder, "loss/val"), val, f"loss/val after a restart at step {start}")
        for tag, want in (("loss/train", train), ("loss/val", val)):
            curve = _read(folder, tag)
            assert curve == want, f"read_curve of {tag}, after a restart at step {start}: expected {want}, got {curve}"


def test_a_loss_with_a_graph_is_logged_as_a_number(tmp_path):
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    train = [(w * w).sum() * 2.0**-i for i in range(3)]
    train += [torch.tensor(3.0, dtype=torch.float64), torch.tensor(0.5, requires_grad=True), 2.0]
    val = {1: w.sum(), 3: 0.125, 4: torch.tensor(6.0)}
    graphs = [loss.grad_fn for loss in train[:3]]
    with unchanged("log_run changed a loss", train=train, val=val):
        _log(tmp_path / "run", train, val)
    assert [loss.grad_fn for loss in train[:3]] == graphs, "log_run cut a loss off its graph: nobody can train with it"
    want = [(0, 5.0), (1, 2.5), (2, 1.25), (3, 3.0), (4, 0.5), (5, 2.0)]
    _is(_curve(tmp_path / "run", "loss/train"), want, "loss/train, of tensors and a float")
    _is(_curve(tmp_path / "run", "loss/val"), [(1, 3.0), (3, 0.125), (4, 6.0)], "loss/val, of tensors and a float")


def test_two_curves_need_no_folders_of_their_own(tmp_path):
    folder = tmp_path / "run"
    _log(folder, [1.0, 0.5], {1: 2.0})
    inside = [path.name for path in folder.rglob("*") if path.is_dir()]
    assert not inside, f"the run has sub-folders, {inside}: add_scalars (and add_hparams) make a run for each line"
    beside = [name for name in _names(tmp_path) if name not in ("run", "here")] + _names(tmp_path / "here")
    assert not beside, f"log_run wrote outside of its folder: {beside}"
    tags = [tag for tag in ("loss/train", "loss/val") if _curve(folder, tag)]
    assert tags == ["loss/train", "loss/val"], f"one run has both curves; this one has {tags}"


def test_a_curve_is_read_as_ints_and_floats(tmp_path):
    other = [(3, 2.0**-20), (7, 0.0), (7, 128.0), (9, math.inf)]
    folder = tmp_path / "run"
    want = [(0, 1.0), (10, 0.5), (20, 0.25), (30, 0.125)]
    _write(folder, {"loss/val": other, "loss/train": want})
    for _ in range(2):
        curve = _read(folder, "loss/train")
        assert curve, "read_curve gave [] for a tag with four points: an EventAccumulator is empty before Reload()"
        assert curve == want, f"four points were written, {want}; read_curve gave {curve}"
    curve = _read(folder, "loss/val")
    assert curve == other, f"loss/val has the points {other}, two of them at step 7; read_curve gave {curve}"
    for tag in ("loss/test", "loss", "train"):
        curve = _read(folder, tag)
        assert curve == [], f"the run has no tag {tag!r}: expected [], got {curve}"


@pytest.mark.myth(
    says="EventAccumulator gives the points that were logged.",
    today="Of more than 10 000 it keeps a random 10 000 by default; size_guidance={'scalars': 0} keeps all.",
)
def test_a_reader_samples_unless_it_is_told_to_keep_all(tmp_path):
    if importlib.util.find_spec("tensorboard") is None:
        _read(tmp_path, "loss/train")
    want = [(step, 2.0 ** -(step % 8)) for step in range(10_050)]
    _write(tmp_path / "long", {"loss/train": want})
    curve = _read(tmp_path / "long", "loss/train")
    sample = f"read_curve gave {len(curve)} of 10050 points"
    assert len(curve) != 10_000, f"{sample}: a random sample, since EventAccumulator keeps no more by default"
    assert len(curve) == 10_050, f"{sample}: all are asked for"
    assert curve == want, "read_curve gave 10050 points, but not those that were written, in the order of their steps"
