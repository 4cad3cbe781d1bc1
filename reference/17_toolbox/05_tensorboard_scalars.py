"""Curves that survive a restart: reference.

Hint: Where is a point between add_scalar and the disk? And what do two files in one folder say about step 3?
Hint: `with SummaryWriter(folder, purge_step=...) as writer`, `writer.add_scalar`; `EventAccumulator`, `size_guidance`,
    `Reload`, `Tags`, `Scalars`.
Hint: Number the losses with enumerate(train, start), and take step and loss of val from its items. For reading, return
    an empty list where the tag is not among the scalars, otherwise a pair for each event.

Why: an event file is only ever appended to, so a restart cannot take points out of it; purge_step writes a mark into
the new file, and whoever reads the folder in the order of its files drops what came before the mark. That order is the
second in the file's name. The reader thins curves out, because a browser has to draw them.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from dojo import Mistake


def log_run(
    folder: Path,
    train: Sequence[float | torch.Tensor],
    val: Mapping[int, float | torch.Tensor],
    start: int = 0,
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder, purge_step=start if start > 0 else None) as writer:
        for step, loss in enumerate(train, start):
            writer.add_scalar("loss/train", loss, step)
        for step, loss in val.items():
            writer.add_scalar("loss/val", loss, step)


def read_curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    run.Reload()
    if tag not in run.Tags()["scalars"]:
        return []
    return [(event.step, event.value) for event in run.Scalars(tag)]


# ── known mistakes ──


def _log(
    where=lambda folder: folder,
    purge=lambda start: start or None,
    step=lambda i, start: start + i,
    key=lambda step, start: step,
    number=float,
    tags=("loss/train", "loss/val"),
    after_train=lambda writer: None,
    after_point=lambda writer: None,
    end=lambda writer: writer.close(),
    also=lambda writer, name, value, step: None,
):
    """log_run, with one thing changed."""

    def log(folder, train, val, start=0):
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(where(folder), purge_step=purge(start))
        for i, loss in enumerate(train):
            writer.add_scalar(tags[0], number(loss), step(i, start))
            also(writer, "train", float(loss), start + i)
        after_train(writer)
        for i, loss in val.items():
            writer.add_scalar(tags[1], number(loss), key(i, start))
            also(writer, "val", float(loss), i)
            after_point(writer)
        end(writer)

    return log


def _nothing(writer):
    pass


def _flush(writer):
    writer.flush()


def _scalars(writer, name, value, step):
    writer.add_scalars("loss", {name: value}, step)


def _hparams(writer):
    writer.add_hparams({"lr": 0.1}, {"best": 1.0})
    writer.close()


def _only_scalars(folder, train, val, start=0):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder, purge_step=start or None) as writer:
        for i, loss in enumerate(train):
            losses = {"train": float(loss)}
            if start + i in val:
                losses["val"] = float(val[start + i])
            writer.add_scalars("loss", losses, start + i)


def _two_runs(folder, train, val, start=0):
    from torch.utils.tensorboard import SummaryWriter

    for name, losses in (("train", dict(enumerate(train, start))), ("val", val)):
        with SummaryWriter(folder / name, purge_step=start or None) as writer:
            for step, loss in losses.items():
                writer.add_scalar(f"loss/{name}", float(loss), step)


def _starts_over(folder, train, val, start=0):
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    _log()(folder, train, val, start)


def _skips_zeros(folder, train, val, start=0):
    """val.get(step) is falsy for a step that is not there, and for a loss of 0."""
    _log()(folder, train, {step: loss for step, loss in val.items() if loss}, start)


def _detaches(loss):
    return float(loss.detach_()) if isinstance(loss, torch.Tensor) else loss


def _numpy(loss):
    return loss.numpy() if isinstance(loss, torch.Tensor) else loss


def _whole(loss):
    return int(loss)


def _read(
    size={"scalars": 0},
    reload=True,
    purge=True,
    path=lambda folder: folder,
    point=lambda event: (event.step, event.value),
    missing=lambda tags, tag: tag not in tags,
    nothing=list,
    cut=lambda points: points,
):
    """read_curve, with one thing changed."""

    def read(folder, tag):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        run = EventAccumulator(str(path(folder)), size_guidance=size, purge_orphaned_data=purge)
        if reload:
            run.Reload()
        if missing(run.Tags()["scalars"], tag):
            return nothing()
        return cut([point(event) for event in run.Scalars(tag)])

    return read


def _raw(folder, tag):
    """Record by record: the marks of a restart are not looked at."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    events = [e for file in sorted(folder.glob("*tfevents*")) for e in LegacyEventFileLoader(str(file)).Load()]
    return [(e.step, v.simple_value) for e in events for v in e.summary.value if v.tag == tag]


def _newest(folder):
    return max(folder.glob("*tfevents*"), default=folder)


def _once(read):
    answers = {}

    def cached(folder, tag):
        if (folder, tag) not in answers:
            answers[folder, tag] = read(folder, tag)
        return answers[folder, tag]

    return cached


def _all_tags(folder, tag):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    tags = [name for name in run.Tags()["scalars"] if tag in name]
    return sorted((e.step, e.value) for name in tags for e in run.Scalars(name))


_DISK = "test_points_are_on_disk_after_a_flush"
_STEP = "test_each_point_stands_at_its_own_step"
_AGAIN = "test_a_restart_supersedes_the_steps_that_it_repeats"
_GRAPH = "test_a_loss_with_a_graph_is_logged_as_a_number"
_ONE = "test_two_curves_need_no_folders_of_their_own"
_TYPES = "test_a_curve_is_read_as_ints_and_floats"
_ALL = "test_a_reader_samples_unless_it_is_told_to_keep_all"

_QUEUE = "stays in the queue of the writer"
_ADDS = "the run has sub-folders"

MISTAKES = [
    Mistake(_QUEUE, caught_by=_DISK, log_run=_log(end=_nothing)),
    Mistake(_QUEUE, caught_by=_DISK, log_run=_log(after_point=_flush, end=_nothing)),
    Mistake(_QUEUE, caught_by=_DISK, log_run=_log(after_train=_flush, end=_nothing)),
    Mistake("points of loss/train can be read", caught_by=_DISK, log_run=_log(tags=("train_loss", "val_loss"))),
    Mistake("points of loss/val can be read", caught_by=_DISK, log_run=_log(tags=("loss/train", "loss/valid"))),
    Mistake("there is no event file in the folder", caught_by=_DISK, log_run=_log(where=lambda folder: None)),
    Mistake("there is no event file in the folder", caught_by=_DISK, log_run=_log(where=lambda folder: folder.name)),
    Mistake("there is no event file in the folder", caught_by=_DISK, log_run=_two_runs),
    Mistake("all points stand at step 0", caught_by=_STEP, log_run=_log(step=lambda i, start: None)),
    Mistake("of six steps from 0 on: points at steps", caught_by=_STEP, log_run=_log(step=lambda i, start: i + 1)),
    Mistake("loss/train, with start=7: points at steps", caught_by=_STEP, log_run=_log(step=lambda i, start: i)),
    Mistake("and the keys 9 and 7: points", caught_by=_STEP, log_run=_log(key=lambda step, start: start + step)),
    Mistake("loss/val, with the keys 2 and 5: points", caught_by=_STEP, log_run=_log(key=lambda step, start: step + 1)),
    Mistake(
        "of six steps from 0 on: expected", caught_by=_STEP, log_run=_log(number=lambda loss: round(float(loss), 4))
    ),
    Mistake(
        "of six steps from 0 on: expected", caught_by=_STEP, log_run=_log(number=lambda loss: max(float(loss), 0.0))
    ),
    Mistake(
        "of six steps from 0 on: expected",
        caught_by=_STEP,
        log_run=_log(number=lambda loss: torch.as_tensor(loss).detach().bfloat16().item()),
    ),
    Mistake("loss/val, with the keys 2 and 5: points", caught_by=_STEP, log_run=_skips_zeros),
    Mistake("are there twice: purge_step=", caught_by=_AGAIN, log_run=_log(purge=lambda start: None)),
    Mistake("are there twice: purge_step=", caught_by=_AGAIN, log_run=_log(purge=lambda start: start + 1)),
    Mistake("before it, are lost", caught_by=_AGAIN, log_run=_log(purge=lambda start: max(start - 1, 0))),
    Mistake("before it, are lost", caught_by=_AGAIN, log_run=_log(purge=lambda start: 0)),
    Mistake("before it, are lost", caught_by=_AGAIN, log_run=_starts_over),
    Mistake("log_run changed a loss", caught_by=_GRAPH, log_run=_log(number=_detaches)),
    Mistake("a loss with a graph went to NumPy", caught_by=_GRAPH, log_run=_log(number=_numpy)),
    Mistake("loss/train, of tensors and a float: expected", caught_by=_GRAPH, log_run=_log(number=_whole)),
    Mistake(_ADDS, caught_by=_ONE, log_run=_only_scalars),
    Mistake(_ADDS, caught_by=_ONE, log_run=_log(also=_scalars)),
    Mistake(_ADDS, caught_by=_ONE, log_run=_log(end=_hparams)),
    Mistake("EventAccumulator is empty before Reload()", caught_by=_TYPES, read_curve=_read(reload=False)),
    Mistake("where no such tag was read", caught_by=_TYPES, read_curve=_read(missing=lambda tags, tag: False)),
    Mistake("read_curve returns a list, got NoneType", caught_by=_TYPES, read_curve=_read(nothing=lambda: None)),
    Mistake("each point is a tuple", caught_by=_TYPES, read_curve=_read(point=lambda event: event)),
    Mistake("each point is a tuple", caught_by=_TYPES, read_curve=_read(point=lambda event: event.value)),
    Mistake(
        "a Python int and a Python float",
        caught_by=_TYPES,
        read_curve=_read(point=lambda event: (event.step, torch.tensor(event.value))),
    ),
    Mistake(
        "a Python int and a Python float",
        caught_by=_TYPES,
        read_curve=_read(point=lambda event: (event.wall_time, event.value)),
    ),
    Mistake(
        "two of them at step 7", caught_by=_TYPES, read_curve=lambda f, tag: sorted(dict(read_curve(f, tag)).items())
    ),
    Mistake(
        "two of them at step 7",
        caught_by=_TYPES,
        read_curve=lambda folder, tag: [(step, round(value, 4)) for step, value in read_curve(folder, tag)],
    ),
    Mistake(
        "two of them at step 7",
        caught_by=_TYPES,
        read_curve=_read(cut=lambda points: [point for point in points if math.isfinite(point[1])]),
    ),
    Mistake(
        "four points were written",
        caught_by=_TYPES,
        read_curve=lambda folder, tag: [(i, v) for i, (_, v) in enumerate(read_curve(folder, tag))],
    ),
    Mistake("read_curve of loss/train, after a restart", caught_by=_AGAIN, read_curve=_read(path=_newest)),
    Mistake("read_curve of loss/train, after a restart", caught_by=_AGAIN, read_curve=_raw),
    Mistake("read_curve of loss/train, after a restart", caught_by=_AGAIN, read_curve=_read(purge=False)),
    Mistake("read_curve of loss/train, after a restart", caught_by=_AGAIN, read_curve=_once(read_curve)),
    Mistake("the run has no tag 'loss'", caught_by=_TYPES, read_curve=_all_tags),
    Mistake("a random sample", caught_by=_ALL, read_curve=_read(size=None)),
    Mistake("a random sample", caught_by=_ALL, read_curve=_read(size={"scalar": 0})),
    Mistake("all are asked for", caught_by=_ALL, read_curve=_read(size={"scalars": 1000})),
    Mistake("all are asked for", caught_by=_ALL, read_curve=_read(cut=lambda points: points[-500:])),
]
