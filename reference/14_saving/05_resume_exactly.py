"""Stop, resume, same bits: reference.

Hint: List everything that changes while a training runs. Which of these does the next step depend on?
Hint: `state_dict`, `load_state_dict`; `Generator.get_state`, `Generator.set_state`; `torch.get_rng_state`.
Hint: One dict for `torch.save`: three state dicts, two states of random numbers, one number. Load it, and give each
object its part; the random numbers last.

Why: an optimizer that begins anew takes steps of another size, a schedule that begins anew takes the first lr, and a
shuffle from the beginning shows some samples more often than others. None of it raises. States of random numbers are
places in a long sequence, so they can be kept, and a seed only names the beginning. Who also draws from `random`,
NumPy or a GPU keeps those states as well. Write to a new file and rename it, if the machine may die while saving.
"""

import copy
import pickle
from pathlib import Path

import torch
from torch import nn
from torch.optim import lr_scheduler

from dojo import Mistake


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: lr_scheduler.LRScheduler,
    generator: torch.Generator,
    epoch: int,
) -> None:
    checkpoint = {
        "epoch": epoch,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "generator": generator.get_state(),
        "rng": torch.get_rng_state(),
    }
    torch.save(checkpoint, path)


def load_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: lr_scheduler.LRScheduler,
    generator: torch.Generator,
) -> int:
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    generator.set_state(checkpoint["generator"])
    torch.set_rng_state(checkpoint["rng"])
    return checkpoint["epoch"]


def _loading(without=(), returns=lambda epoch: epoch, **instead):
    """load_checkpoint without some parts, or with something else for them: called with (object, its part)."""

    def wrong(path, model, optimizer, scheduler, generator):
        checkpoint = torch.load(path)
        rules = {
            "model": lambda obj, part: obj.load_state_dict(part),
            "optimizer": lambda obj, part: obj.load_state_dict(part),
            "scheduler": lambda obj, part: obj.load_state_dict(part),
            "generator": lambda obj, part: obj.set_state(part),
            "rng": lambda obj, part: torch.set_rng_state(part),
        }
        objects = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "generator": generator, "rng": None}
        for name, rule in (rules | instead).items():
            if name not in without and name in objects:
                rule(objects[name], checkpoint[name])
        if "last" in instead:
            instead["last"](model, optimizer)
        return returns(checkpoint["epoch"])

    return wrong


def _saving(before=None, after=None, **instead):
    """save_checkpoint with something else in the file, or done before or after it."""

    def wrong(path, model, optimizer, scheduler, generator, epoch):
        if before:
            before(model, optimizer, generator)
        checkpoint = {
            "epoch": epoch,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "generator": generator.get_state(),
            "rng": torch.get_rng_state(),
        }
        for name, value in instead.items():
            checkpoint[name] = value({"model": model, "optimizer": optimizer, "scheduler": scheduler, "gen": generator})
        torch.save(checkpoint, path)
        if after:
            after(model, optimizer, generator)

    return wrong


def _whole_save(path, model, optimizer, scheduler, generator, epoch):
    everything = {"model": model, "optimizer": optimizer, "scheduler": scheduler.state_dict(), "epoch": epoch}
    torch.save(everything | {"generator": generator.get_state(), "rng": torch.get_rng_state()}, path)


def _whole_load(path, model, optimizer, scheduler, generator):
    loaded = torch.load(path, weights_only=False)
    model.load_state_dict(loaded["model"].state_dict())
    optimizer.load_state_dict(loaded["optimizer"].state_dict())
    scheduler.load_state_dict(loaded["scheduler"])
    generator.set_state(loaded["generator"])
    torch.set_rng_state(loaded["rng"])
    return loaded["epoch"]


def _numpy_states(parts):
    return parts["gen"].get_state().numpy()


def _pickle_save(path, model, optimizer, scheduler, generator, epoch):
    states = [x.state_dict() for x in (model, optimizer, scheduler)]
    with open(path, "wb") as file:
        pickle.dump((*states, generator.get_state(), torch.get_rng_state(), epoch), file)


def _pickle_load(path, model, optimizer, scheduler, generator):
    with open(path, "rb") as file:
        *states, shuffle, rng, epoch = pickle.load(file)
    for obj, state in zip((model, optimizer, scheduler), states, strict=True):
        obj.load_state_dict(state)
    generator.set_state(shuffle)
    torch.set_rng_state(rng)
    return epoch


_memory: dict = {}


def _memory_save(path, model, optimizer, scheduler, generator, epoch):
    """Keeps the state dicts, which go on changing, and a file for show."""
    _memory["last"] = (model.state_dict(), optimizer.state_dict(), scheduler.state_dict())
    torch.save({"epoch": epoch, "generator": generator.get_state(), "rng": torch.get_rng_state()}, path)


def _memory_load(path, model, optimizer, scheduler, generator):
    checkpoint = torch.load(path)
    for obj, state in zip((model, optimizer, scheduler), _memory["last"], strict=True):
        obj.load_state_dict(state)
    generator.set_state(checkpoint["generator"])
    torch.set_rng_state(checkpoint["rng"])
    return checkpoint["epoch"]


def _last_rng_save(path, model, optimizer, scheduler, generator, epoch):
    """The random numbers are kept in memory, those of the last save."""
    save_checkpoint(path, model, optimizer, scheduler, generator, epoch)
    _memory["random"] = (generator.get_state(), torch.get_rng_state())


def _last_rng_load(path, model, optimizer, scheduler, generator):
    epoch = load_checkpoint(path, model, optimizer, scheduler, generator)
    shuffle, rng = _memory["random"]
    generator.set_state(shuffle)
    torch.set_rng_state(rng)
    return epoch


def _single(parts):
    return {name: x.float() if x.is_floating_point() else x for name, x in parts["model"].state_dict().items()}


def _no_file(path, model, optimizer, scheduler, generator, epoch):
    _memory[str(path)] = copy.deepcopy((model.state_dict(), optimizer.state_dict(), scheduler.state_dict(), epoch))


def _numbered(path, model, optimizer, scheduler, generator, epoch):
    save_checkpoint(f"{path}.{epoch}", model, optimizer, scheduler, generator, epoch)


def _keeps_the_first(path, model, optimizer, scheduler, generator, epoch):
    if not Path(path).exists():
        save_checkpoint(path, model, optimizer, scheduler, generator, epoch)


def _deletes(path, model, optimizer, scheduler, generator):
    epoch = load_checkpoint(path, model, optimizer, scheduler, generator)
    Path(path).unlink()
    return epoch


def _forked(path, model, optimizer, scheduler, generator):
    with torch.random.fork_rng():
        return load_checkpoint(path, model, optimizer, scheduler, generator)


def _new_generator(generator, part):
    generator = torch.Generator()
    generator.set_state(part)


def _moments_only(optimizer, part):
    groups = [dict(group, params=list(range(len(group["params"])))) for group in optimizer.param_groups]
    start = 0
    for group in groups:
        group["params"] = [start + i for i in group["params"]]
        start += len(group["params"])
    optimizer.load_state_dict({"state": part["state"], "param_groups": groups})


def _groups_only(optimizer, part):
    for group, saved in zip(optimizer.param_groups, part["param_groups"], strict=True):
        group.update({key: value for key, value in saved.items() if key != "params"})


def _first_group(optimizer, part):
    other = optimizer.param_groups[1]["lr"]
    optimizer.load_state_dict(part)
    optimizer.param_groups[1]["lr"] = other


def _parameters_only(model, part):
    model.load_state_dict({**model.state_dict(), **{name: part[name] for name, _ in model.named_parameters()}})


def _replays(scheduler, part):
    for _ in range(part["last_epoch"]):
        scheduler.step(1.0) if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else scheduler.step()


def _last_epoch_only(scheduler, part):
    scheduler.last_epoch = part["last_epoch"]


_EPOCH = "test_the_epoch_comes_back"
_BITS = "test_a_resumed_run_is_the_same_to_the_last_bit"
_PARTS = "test_each_part_of_a_training_has_a_state_of_its_own"
_TRUST = "test_a_checkpoint_needs_no_trust"
_SAVING = "test_saving_changes_nothing"
_LAST = "test_the_last_save_is_what_the_file_holds"

_NUMBER = "the number that was saved"
_ANOTHER_RUN = "and the resumed one"
_REFUSED = "the default torch.load refuses the file"
_CHANGED = "save_checkpoint changed what it was to save"
_NOT_RESTORED = "{}: not restored, load_checkpoint left it as it was"
_OPT, _SCHED = _NOT_RESTORED.format("the state of the optimizer"), _NOT_RESTORED.format("the scheduler")
_GEN, _RNG = _NOT_RESTORED.format("the shuffle generator"), _NOT_RESTORED.format("the global random numbers")


def _where_there_is_state(optimizer, part):
    if part["state"]:
        optimizer.load_state_dict(part)


MISTAKES = [
    Mistake(_NUMBER, caught_by=_EPOCH, load_checkpoint=_loading(returns=lambda epoch: epoch + 1)),
    Mistake(_NUMBER, caught_by=_EPOCH, load_checkpoint=_loading(returns=lambda epoch: epoch or 1)),
    Mistake("returns the epoch, an int", caught_by=_EPOCH, load_checkpoint=_loading(returns=lambda epoch: None)),
    Mistake("returns the epoch, an int", caught_by=_EPOCH, load_checkpoint=_loading(returns=torch.tensor)),
    Mistake("returns the epoch, an int", caught_by=_EPOCH, load_checkpoint=_loading(returns=float)),
    Mistake(
        _ANOTHER_RUN,
        caught_by=_BITS,
        load_checkpoint=_loading(without=("optimizer", "scheduler", "generator", "rng")),
    ),
    Mistake(_ANOTHER_RUN, caught_by=_BITS, load_checkpoint=_loading(without=("scheduler", "generator", "rng"))),
    Mistake(
        _ANOTHER_RUN,
        caught_by=_BITS,
        load_checkpoint=_loading(model=lambda model, part: model.load_state_dict(part, assign=True)),
    ),
    Mistake(
        _ANOTHER_RUN,
        caught_by=_BITS,
        load_checkpoint=_loading(last=lambda model, optimizer: model.requires_grad_(False)[4].requires_grad_()),
    ),
    Mistake(_ANOTHER_RUN, caught_by=_BITS, save_checkpoint=_saving(model=_single)),
    Mistake(_ANOTHER_RUN, caught_by=_BITS, save_checkpoint=_memory_save, load_checkpoint=_memory_load),
    Mistake(
        "as it was an epoch after saving, and not as in the file",
        caught_by=_PARTS,
        save_checkpoint=_memory_save,
        load_checkpoint=_memory_load,
    ),
    Mistake(_NOT_RESTORED.format("the parameters of the model"), caught_by=_PARTS, load_checkpoint=_loading(["model"])),
    Mistake(
        _NOT_RESTORED.format("the buffers of the model"),
        caught_by=_PARTS,
        load_checkpoint=_loading(model=_parameters_only),
    ),
    Mistake(_OPT, caught_by=_PARTS, load_checkpoint=_loading(without=["optimizer"])),
    Mistake(_OPT, caught_by=_PARTS, load_checkpoint=_loading(optimizer=_groups_only)),
    Mistake(
        _NOT_RESTORED.format("the learning rate"), caught_by=_PARTS, load_checkpoint=_loading(optimizer=_moments_only)
    ),
    Mistake("the learning rate: not as it was", caught_by=_PARTS, load_checkpoint=_loading(optimizer=_first_group)),
    Mistake(_SCHED, caught_by=_PARTS, load_checkpoint=_loading(without=["scheduler"])),
    Mistake("the scheduler: not as it was", caught_by=_PARTS, load_checkpoint=_loading(scheduler=_replays)),
    Mistake("the scheduler: not as it was", caught_by=_PARTS, load_checkpoint=_loading(scheduler=_last_epoch_only)),
    Mistake(_GEN, caught_by=_PARTS, load_checkpoint=_loading(without=["generator"])),
    Mistake(_GEN, caught_by=_PARTS, load_checkpoint=_loading(generator=_new_generator)),
    Mistake(
        "the shuffle generator: not as it was",
        caught_by=_PARTS,
        save_checkpoint=_saving(generator=lambda parts: parts["gen"].initial_seed()),
        load_checkpoint=_loading(generator=lambda gen, seed: gen.manual_seed(seed)),
    ),
    Mistake(
        "the shuffle generator: not as it was",
        caught_by=_PARTS,
        load_checkpoint=_loading(generator=lambda gen, part: gen.manual_seed(0)),
    ),
    Mistake(_RNG, caught_by=_PARTS, load_checkpoint=_loading(without=["rng"])),
    Mistake(_RNG, caught_by=_PARTS, load_checkpoint=_forked),
    Mistake(
        "the global random numbers: not as it was",
        caught_by=_PARTS,
        load_checkpoint=_loading(rng=lambda _, part: torch.manual_seed(0)),
    ),
    Mistake(
        "the global random numbers: not as it was",
        caught_by=_PARTS,
        save_checkpoint=_saving(rng=lambda parts: torch.initial_seed()),
        load_checkpoint=_loading(rng=lambda _, seed: torch.manual_seed(seed)),
    ),
    Mistake(
        "the global random numbers: not as it was",
        caught_by=_PARTS,
        save_checkpoint=_saving(rng=lambda parts: parts["gen"].get_state()),
    ),
    Mistake(
        "the global random numbers: not as it was",
        caught_by=_PARTS,
        load_checkpoint=_loading(last=lambda model, optimizer: model(torch.ones(2, 3))),
    ),
    Mistake(_REFUSED, caught_by=_TRUST, save_checkpoint=_whole_save, load_checkpoint=_whole_load),
    Mistake(_REFUSED, caught_by=_TRUST, save_checkpoint=_pickle_save, load_checkpoint=_pickle_load),
    Mistake(
        "torch.load refuses the file, something in it is not plain",
        caught_by=_EPOCH,
        save_checkpoint=_saving(generator=_numpy_states),
        load_checkpoint=_loading(generator=lambda gen, part: gen.set_state(torch.from_numpy(part))),
    ),
    Mistake(_CHANGED, caught_by=_SAVING, save_checkpoint=_saving(before=lambda model, *_: model.eval())),
    Mistake(_CHANGED, caught_by=_SAVING, save_checkpoint=_saving(after=lambda model, *_: model.train())),
    Mistake(_CHANGED, caught_by=_SAVING, save_checkpoint=_saving(before=lambda _, opt, __: opt.zero_grad())),
    Mistake(_CHANGED, caught_by=_SAVING, save_checkpoint=_saving(before=lambda *_: torch.manual_seed(0))),
    Mistake(_CHANGED, caught_by=_SAVING, save_checkpoint=_saving(after=lambda *_: torch.rand(1))),
    Mistake(
        _CHANGED,
        caught_by=_SAVING,
        save_checkpoint=_saving(after=lambda _, __, gen: torch.randperm(2, generator=gen)),
    ),
    Mistake("save_checkpoint wrote no file", caught_by=_EPOCH, save_checkpoint=_no_file),
    Mistake("save_checkpoint wrote no file", caught_by=_EPOCH, save_checkpoint=_numbered),
    Mistake(
        "when the file is loaded for the first time",
        caught_by=_LAST,
        save_checkpoint=_last_rng_save,
        load_checkpoint=_last_rng_load,
    ),
    Mistake("the file holds epoch 1", caught_by=_LAST, save_checkpoint=_keeps_the_first),
    Mistake("when the file is loaded for the first time", caught_by=_LAST, load_checkpoint=_loading(["rng"])),
    Mistake("load_checkpoint raised on objects made", caught_by=_LAST, load_checkpoint=_deletes),
    Mistake("saved before the first step", caught_by=_LAST, load_checkpoint=_loading(optimizer=_where_there_is_state)),
]

KEEP = {_PARTS: "a resumed run that differs says that something is missing; this test says what"}
