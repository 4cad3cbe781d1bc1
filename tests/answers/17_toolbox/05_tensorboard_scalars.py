"""Answers that people give to tensorboard_scalars, right ones and wrong ones."""

import math
import operator

import torch

from dojo import Mistake


def _writer(*args, **kwargs):
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(*args, **kwargs)


def _run(folder, **guidance):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = EventAccumulator(str(folder), **guidance)
    run.Reload()
    return run


def _tensors_and_flush(folder, train, val, start=0):
    """The tensors go to add_scalar as they are; flushed, not closed."""
    writer = _writer(str(folder), purge_step=start)
    for i in range(len(train)):
        writer.add_scalar("loss/train", train[i], global_step=start + i)
        if start + i in val:
            writer.add_scalar("loss/val", val[start + i], global_step=start + i)
    writer.flush()


def _items(folder, train, val, start=0):
    kwargs = {"purge_step": start} if start > 0 else {}
    writer = _writer(log_dir=folder, max_queue=1, **kwargs)
    try:
        for k in sorted(val):
            v = val[k]
            writer.add_scalar("loss/val", v.item() if isinstance(v, torch.Tensor) else v, k)
        for i, loss in enumerate(train):
            writer.add_scalar("loss/train", torch.as_tensor(loss).detach().item(), i + start)
    finally:
        writer.close()


def _rewrites(folder, train, val, start=0):
    """What stays of the old points is written again, into one new file."""
    old = {}
    if folder.is_dir():
        old = {tag: [p for p in _guarded(folder, tag) if p[0] < start] for tag in ("loss/train", "loss/val")}
        for file in folder.iterdir():
            file.unlink()
    with _writer(folder) as writer:
        for tag, points in old.items():
            for step, value in points:
                writer.add_scalar(tag, value, step)
        for i, loss in enumerate(train):
            writer.add_scalar("loss/train", float(loss), start + i)
        for step, loss in val.items():
            writer.add_scalar("loss/val", float(loss), step)


def _two_writers(folder, train, val, start=0):
    """One writer after the other; what is superseded is said by each."""
    for tag, losses in (("loss/train", dict(zip(range(start, start + len(train)), train))), ("loss/val", val)):
        writer = _writer(
            folder, purge_step=start if start and tag == "loss/train" else None, filename_suffix=f".{tag[5:]}"
        )
        for step in losses:
            with torch.no_grad():
                writer.add_scalar(tag, losses[step], step)
        writer.close()


def _guarded(folder, tag):
    try:
        events = _run(folder, size_guidance={"scalars": 0}).Scalars(tag)
    except KeyError:
        return []
    return sorted((int(event.step), float(event.value)) for event in events)


def _large(folder, tag):
    run = _run(folder, size_guidance={"scalars": 10**9, "tensors": 1})
    return [(e.step, float(e.value)) for e in run.scalars.Items(tag)] if tag in run.scalars.Keys() else []


def _everything(folder, tag):
    from tensorboard.backend.event_processing import event_accumulator as ea

    run = ea.EventAccumulator(str(folder), ea.STORE_EVERYTHING_SIZE_GUIDANCE).Reload()
    curve = []
    if tag in run.Tags()[ea.SCALARS]:
        for event in run.Scalars(tag):
            curve.append((event.step, event.value))
    return curve


def _attributes(folder, tag):
    run = _run(folder, size_guidance={"scalars": 0})
    return list(map(operator.attrgetter("step", "value"), run.Scalars(tag) if tag in run.Tags()["scalars"] else ()))


RIGHT = [
    {"log_run": _tensors_and_flush, "read_curve": _guarded},
    {"log_run": _items, "read_curve": _large},
    {"log_run": _rewrites, "read_curve": _everything},
    {"log_run": _two_writers, "read_curve": _attributes},
]


def _forgets_to_close(folder, train, val, start=0):
    writer = _writer(folder, purge_step=start or None)
    for step, loss in enumerate(train, start):
        writer.add_scalar("loss/train", loss, step)
    for step, loss in val.items():
        writer.add_scalar("loss/val", loss, step)


def _closes_when_there_is_a_val(folder, train, val, start=0):
    _forgets_to_close(folder, train, {}, start)
    if val:
        with _writer(folder) as writer:
            for step, loss in val.items():
                writer.add_scalar("loss/val", loss, step)


def _one_tag(folder, train, val, start=0):
    with _writer(folder, purge_step=start or None) as writer:
        for step, loss in enumerate(train, start):
            writer.add_scalar("loss", loss, step)
        for step, loss in val.items():
            writer.add_scalar("loss", loss, step)


def _no_steps(folder, train, val, start=0):
    with _writer(folder, purge_step=start or None) as writer:
        for loss in train:
            writer.add_scalar("loss/train", loss)
        for loss in val.values():
            writer.add_scalar("loss/val", loss)


def _adds(folder, train, val, start=0):
    with _writer(folder) as writer:
        for step, loss in enumerate(train, start):
            writer.add_scalar("loss/train", loss, step)
        for step, loss in val.items():
            writer.add_scalar("loss/val", loss, step)


def _val_counted(folder, train, val, start=0):
    with _writer(folder, purge_step=start or None) as writer:
        for step, loss in enumerate(train, start):
            writer.add_scalar("loss/train", loss, step)
        for step, loss in enumerate(val.values(), start):
            writer.add_scalar("loss/val", loss, step)


def _val_if_there(folder, train, val, start=0):
    with _writer(folder, purge_step=start or None) as writer:
        for step, loss in enumerate(train, start):
            writer.add_scalar("loss/train", loss, step)
            if val.get(step):
                writer.add_scalar("loss/val", val[step], step)


def _only_finite(folder, train, val, start=0):
    with _writer(folder, purge_step=start or None) as writer:
        for step, loss in enumerate(train, start):
            if math.isfinite(loss):
                writer.add_scalar("loss/train", loss, step)
        for step, loss in val.items():
            writer.add_scalar("loss/val", loss, step)


def _val_in_order_of_arrival(folder, train, val, start=0):
    with _writer(folder, purge_step=start or None) as writer:
        for step, loss in enumerate(train, start):
            writer.add_scalar("loss/train", loss, step)
            if step - start in val:
                writer.add_scalar("loss/val", val[step - start], step - start)


def _purges_always(folder, train, val, start=0):
    with _writer(folder, purge_step=0) as writer:
        for step, loss in enumerate(train, start):
            writer.add_scalar("loss/train", loss, step)
        for step, loss in val.items():
            writer.add_scalar("loss/val", loss, step)


def _fresh_folder(folder, train, val, start=0):
    for file in folder.glob("*") if folder.exists() else []:
        file.unlink()
    _adds(folder, train, val, start)


def _grouped(folder, train, val, start=0):
    with _writer(folder, purge_step=start or None) as writer:
        for step, loss in enumerate(train, start):
            writer.add_scalars("loss", {"train": loss}, step)
        for step, loss in val.items():
            writer.add_scalars("loss", {"val": loss}, step)


def _named_run(folder, train, val, start=0):
    _adds(folder / f"run_{start}", train, val, start)


def _in_the_working_directory(folder, train, val, start=0):
    _adds(folder.stem, train, val, start)


def _no_grad_any_more(folder, train, val, start=0):
    for loss in [*train, *val.values()]:
        if isinstance(loss, torch.Tensor):
            loss.requires_grad_(False) if loss.is_leaf else loss.detach_()
    _tensors_and_flush(folder, train, val, start)


def _as_numpy(folder, train, val, start=0):
    import numpy as np

    _tensors_and_flush(folder, np.asarray([t.numpy() if torch.is_tensor(t) else t for t in train]), val, start)


def _default(folder, tag):
    run = _run(folder)
    return [(e.step, e.value) for e in run.Scalars(tag)] if tag in run.Tags()["scalars"] else []


def _unknown(folder, tag):
    return [(e.step, e.value) for e in _run(folder, size_guidance={"scalars": 0}).Scalars(tag)]


def _not_loaded(folder, tag):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    return [(e.step, e.value) for e in run.Scalars(tag)] if tag in run.Tags()["scalars"] else []


def _tensor(folder, tag):
    return torch.tensor(_guarded(folder, tag))


def _lists(folder, tag):
    return [[e.step, e.value] for e in _run(folder, size_guidance={"scalars": 0}).Scalars(tag)]


def _float_steps(folder, tag):
    return [(float(step), value) for step, value in _guarded(folder, tag)]


def _values_first(folder, tag):
    return [(value, step) for step, value in _guarded(folder, tag)]


def _text(folder, tag):
    return [(step, f"{value:.4f}") for step, value in _guarded(folder, tag)]


def _last_of_a_step(folder, tag):
    curve = {}
    for step, value in _guarded(folder, tag):
        curve[step] = value
    return list(curve.items())


def _first_file(folder, tag):
    file = min(folder.glob("*tfevents*"), default=folder)
    return _guarded(file, tag)


def _prefix(folder, tag):
    run = _run(folder, size_guidance={"scalars": 0})
    return [(e.step, e.value) for name in run.Tags()["scalars"] if name.startswith(tag) for e in run.Scalars(name)]


def _keeps_orphans(folder, tag):
    run = _run(folder, size_guidance={"scalars": 0}, purge_orphaned_data=False)
    return [(e.step, e.value) for e in run.Scalars(tag)] if tag in run.Tags()["scalars"] else []


_QUEUE = "stays in the queue of the writer"

WRONG = [
    Mistake(_QUEUE, caught_by="", log_run=_forgets_to_close),
    Mistake(_QUEUE, caught_by="", log_run=_closes_when_there_is_a_val),
    Mistake("points of loss/train can be read", caught_by="", log_run=_one_tag),
    Mistake("there is no event file in the folder", caught_by="", log_run=_grouped),
    Mistake("there is no event file in the folder", caught_by="", log_run=_named_run),
    Mistake("there is no event file in the folder", caught_by="", log_run=_in_the_working_directory),
    Mistake("all points stand at step 0", caught_by="", log_run=_no_steps),
    Mistake("are there twice: purge_step=", caught_by="", log_run=_adds),
    Mistake("loss/val, with the keys 2 and 5: points", caught_by="", log_run=_val_counted),
    Mistake("loss/val, with the keys 2 and 5: points", caught_by="", log_run=_val_if_there),
    Mistake("of six steps from 0 on: points at steps", caught_by="", log_run=_only_finite),
    Mistake("two of them at step 7", caught_by="", read_curve=_last_of_a_step),
    Mistake("and the keys 9 and 7: points", caught_by="", log_run=_val_in_order_of_arrival),
    Mistake("before it, are lost", caught_by="", log_run=_purges_always),
    Mistake("before it, are lost", caught_by="", log_run=_fresh_folder),
    Mistake("log_run changed a loss", caught_by="", log_run=_no_grad_any_more),
    Mistake("a loss with a graph went to NumPy", caught_by="", log_run=_as_numpy),
    Mistake("a random sample", caught_by="", read_curve=_default),
    Mistake("where no such tag was read", caught_by="", read_curve=_unknown),
    Mistake("EventAccumulator is empty before Reload()", caught_by="", read_curve=_not_loaded),
    Mistake("read_curve returns a list, got NoneType", caught_by="", read_curve=_tensor),
    Mistake("each point is a tuple", caught_by="", read_curve=_lists),
    Mistake("a Python int and a Python float", caught_by="", read_curve=_float_steps),
    Mistake("a Python int and a Python float", caught_by="", read_curve=_values_first),
    Mistake("a Python int and a Python float", caught_by="", read_curve=_text),
    Mistake("read_curve of loss/train, after a restart", caught_by="", read_curve=_first_file),
    Mistake("the run has no tag 'loss'", caught_by="", read_curve=_prefix),
    Mistake("read_curve of loss/train, after a restart", caught_by="", read_curve=_keeps_orphans),
]
