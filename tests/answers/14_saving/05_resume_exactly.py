"""Answers that people give to resume_exactly, right ones and wrong ones."""

import copy
import io
import os
import random
from pathlib import Path

import torch

from dojo import Mistake


def _tuple_save(path, *parts_and_epoch):
    """A tuple, written to a new file that is then renamed."""
    *objects, generator, epoch = parts_and_epoch
    states = tuple(copy.deepcopy(obj.state_dict()) for obj in objects)
    new = f"{path}.tmp"
    torch.save((states, generator.get_state(), torch.random.get_rng_state(), epoch), new)
    os.replace(new, path)


def _tuple_load(path, model, optimizer, scheduler, generator):
    states, shuffle, rng, epoch = torch.load(path)
    for obj, state in zip((scheduler, optimizer, model), reversed(states), strict=True):
        obj.load_state_dict(state)
    torch.random.set_rng_state(rng)
    generator.set_state(shuffle)
    return epoch


def _generator_save(path, model, optimizer, scheduler, generator, epoch):
    """The global generator is a generator too; Python's random as well."""
    state = {
        "model_state_dict": {k: v.cpu().clone() for k, v in model.state_dict().items()},
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "rng": {
            "torch": torch.default_generator.get_state(),
            "python": random.getstate(),
            "loader": generator.get_state(),
        },
        "epoch": torch.tensor(epoch),
    }
    with open(path, "wb") as file:
        torch.save(state, file)


def _generator_load(path, model, optimizer, scheduler, generator):
    with Path(path).open("rb") as file:
        state = torch.load(file, weights_only=True)
    torch.default_generator.set_state(state["rng"]["torch"])
    random.setstate(state["rng"]["python"])
    generator.set_state(state["rng"]["loader"])
    scheduler.load_state_dict(state["scheduler_state_dict"])
    optimizer.load_state_dict(state["optimizer_state_dict"])
    print(model.load_state_dict(state["model_state_dict"]))
    return int(state["epoch"])


def _bytes_save(path, model, optimizer, scheduler, generator, epoch):
    """Random states as lists of numbers, and in the eyes of an inference-minded saver: under no_grad."""
    buffer = io.BytesIO()
    with torch.no_grad():
        torch.save(
            {
                "m": model.state_dict(),
                "o": optimizer.state_dict(),
                "s": scheduler.state_dict(),
                "g": generator.get_state().tolist(),
                "r": bytes(torch.get_rng_state().tolist()),
                "e": str(epoch),
            },
            buffer,
        )
    Path(path).write_bytes(buffer.getvalue())


def _bytes_load(path, model, optimizer, scheduler, generator):
    ck = torch.load(str(path), map_location=next(model.parameters()).device)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            value.copy_(ck["m"][name])
    optimizer.load_state_dict(ck["o"])
    scheduler.load_state_dict(ck["s"])
    generator.set_state(torch.tensor(ck["g"], dtype=torch.uint8))
    torch.set_rng_state(torch.tensor(list(ck["r"]), dtype=torch.uint8))
    model.train()
    optimizer.zero_grad(set_to_none=True)
    return int(ck["e"])


def _plain_save(path, model, optimizer, scheduler, generator, epoch):
    names = ("model", "optimizer", "scheduler")
    ck = {n: o.state_dict() for n, o in zip(names, (model, optimizer, scheduler), strict=True)}
    ck.update(epoch=epoch, generator=generator.get_state(), rng=torch.get_rng_state())
    torch.save(ck, path, _use_new_zipfile_serialization=False)


def _plain_load(path, model, optimizer, scheduler, generator):
    ck = torch.load(path)
    model.load_state_dict(ck["model"], strict=True)
    model.eval()
    optimizer.load_state_dict(ck["optimizer"])
    scheduler.load_state_dict(ck["scheduler"])
    generator.set_state(ck["generator"].cpu())
    torch.set_rng_state(ck["rng"].to(torch.uint8))
    return ck["epoch"]


RIGHT = [
    {"save_checkpoint": _tuple_save, "load_checkpoint": _tuple_load},
    {"save_checkpoint": _generator_save, "load_checkpoint": _generator_load},
    {"save_checkpoint": _bytes_save, "load_checkpoint": _bytes_load},
    {"save_checkpoint": _plain_save, "load_checkpoint": _plain_load},
]


def _load_of(*steps):
    """Loads what _plain_save wrote, and does only these steps, each with (checkpoint, model, opt, sched, gen)."""

    def wrong(path, *objects):
        ck = torch.load(path)
        for step in steps:
            step(ck, *objects)
        return ck["epoch"]

    return wrong


def _m(ck, model, opt, sched, gen):
    model.load_state_dict(ck["model"])


def _o(ck, model, opt, sched, gen):
    opt.load_state_dict(ck["optimizer"])


def _s(ck, model, opt, sched, gen):
    sched.load_state_dict(ck["scheduler"])


def _g(ck, model, opt, sched, gen):
    gen.set_state(ck["generator"])


def _r(ck, model, opt, sched, gen):
    torch.set_rng_state(ck["rng"])


def _draws(ck, model, opt, sched, gen):
    torch.rand(1)


def _first_rng(ck, model, opt, sched, gen):
    torch.manual_seed(torch.initial_seed())


def _gen_from_global(ck, model, opt, sched, gen):
    gen.set_state(torch.get_rng_state())


def _seed_by_epoch(ck, model, opt, sched, gen):
    gen.manual_seed(ck["epoch"])


def _steps_on(ck, model, opt, sched, gen):
    sched.last_epoch = ck["epoch"]


def _default_lr(ck, model, opt, sched, gen):
    for group in opt.param_groups:
        group["lr"] = 0.02


def _new_parameters(ck, model, opt, sched, gen):
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(p.detach().clone()))


def _relaxed(ck, model, opt, sched, gen):
    model.load_state_dict({k: v for k, v in ck["model"].items() if "running" not in k}, strict=False)


def _reset_momentum(ck, model, opt, sched, gen):
    for state in opt.state.values():
        state.clear()


def _step_of_scheduler(ck, model, opt, sched, gen):
    sched.load_state_dict(ck["scheduler"])
    sched.step(1.0) if "best" in ck["scheduler"] else sched.step()


def _next_epoch(path, *objects):
    return _plain_load(path, *objects) + 1


def _none(path, *objects):
    _plain_load(path, *objects)


def _text(path, *objects):
    return str(_plain_load(path, *objects))


def _eval_save(path, model, *rest):
    model.eval()
    _plain_save(path, model, *rest)
    model.train()


def _cleaned_save(path, model, optimizer, *rest):
    optimizer.zero_grad(set_to_none=False)
    _plain_save(path, model, optimizer, *rest)


def _seeded_save(path, *rest):
    torch.manual_seed(42)
    _plain_save(path, *rest)


def _with_suffix(path, *rest):
    _plain_save(Path(path).with_suffix(".ckpt"), *rest)


def _whole(path, model, optimizer, scheduler, generator, epoch):
    torch.save(
        {
            "all": (model, optimizer),
            "s": scheduler.state_dict(),
            "e": epoch,
            "g": generator.get_state(),
            "r": torch.get_rng_state(),
        },
        path,
    )


def _whole_load(path, model, optimizer, scheduler, generator):
    ck = torch.load(path, weights_only=False)
    model.load_state_dict(ck["all"][0].state_dict())
    optimizer.load_state_dict(ck["all"][1].state_dict())
    scheduler.load_state_dict(ck["s"])
    generator.set_state(ck["g"])
    torch.set_rng_state(ck["r"])
    return ck["e"]


def _rejects_old(path, *rest):
    with open(path, "ab") as file:
        if file.tell() == 0:
            _plain_save(path, *rest)


_NOT_RESTORED = "{}: not restored, load_checkpoint left it as it was"
_OPT, _SCHED = _NOT_RESTORED.format("the state of the optimizer"), _NOT_RESTORED.format("the scheduler")
_GEN, _RNG = _NOT_RESTORED.format("the shuffle generator"), _NOT_RESTORED.format("the global random numbers")
_CHANGED = "save_checkpoint changed what it was to save"
_ANOTHER_RUN = "and the resumed one"


def _w(says, *steps):
    return Mistake(says, caught_by="", save_checkpoint=_plain_save, load_checkpoint=_load_of(*steps))


WRONG = [
    _w(_ANOTHER_RUN, _m),
    _w(_ANOTHER_RUN, _m, _o),
    _w(_SCHED, _m, _o, _g, _r),
    _w(_OPT, _m, _s, _g, _r),
    _w(_GEN, _m, _o, _s, _r),
    _w(_RNG, _m, _o, _s, _g),
    _w("the global random numbers: not as it was", _m, _o, _s, _g, _r, _draws),
    _w("the global random numbers: not as it was", _m, _o, _s, _g, _first_rng),
    _w("the shuffle generator: not as it was", _m, _o, _s, _gen_from_global, _r),
    _w("the shuffle generator: not as it was", _m, _o, _s, _seed_by_epoch, _r),
    _w("the scheduler: not as it was", _m, _o, _steps_on, _g, _r),
    _w("the scheduler: not as it was", _m, _o, _step_of_scheduler, _g, _r),
    _w("the learning rate: not as it was", _m, _o, _s, _g, _r, _default_lr),
    _w(_ANOTHER_RUN, _m, _o, _s, _g, _r, _new_parameters),
    _w(_NOT_RESTORED.format("the buffers of the model"), _relaxed, _o, _s, _g, _r),
    _w(_OPT, _m, _o, _s, _g, _r, _reset_momentum),
    Mistake("the number that was saved", caught_by="", save_checkpoint=_plain_save, load_checkpoint=_next_epoch),
    Mistake("returns the epoch, an int", caught_by="", save_checkpoint=_plain_save, load_checkpoint=_none),
    Mistake("returns the epoch, an int", caught_by="", save_checkpoint=_plain_save, load_checkpoint=_text),
    Mistake(_CHANGED, caught_by="", save_checkpoint=_eval_save),
    Mistake(_CHANGED, caught_by="", save_checkpoint=_cleaned_save),
    Mistake(_CHANGED, caught_by="", save_checkpoint=_seeded_save),
    Mistake("save_checkpoint wrote no file", caught_by="", save_checkpoint=_with_suffix),
    Mistake("the file holds epoch 1", caught_by="", save_checkpoint=_rejects_old),
    Mistake(
        "the default torch.load refuses the file", caught_by="", save_checkpoint=_whole, load_checkpoint=_whole_load
    ),
]


def _all_frozen(path, model, *rest):
    model.requires_grad_(False)
    _plain_save(path, model, *rest)
    model.requires_grad_(True)


def _appends(path, model, optimizer, scheduler, generator, epoch):
    buffer = io.BytesIO()
    _plain_save(buffer, model, optimizer, scheduler, generator, epoch)
    with open(path, "ab") as file:
        file.write(buffer.getvalue())


def _numpy_too(path, *rest):
    import numpy as np

    _plain_save(path, *rest)
    torch.save({**torch.load(path), "numpy": np.random.get_state()}, path)


def _float_weights(path, model, *rest):

    _plain_save(path, model, *rest)
    ck = torch.load(path)
    ck["model"] = {k: v.half() if v.is_floating_point() else v for k, v in ck["model"].items()}
    torch.save(ck, path)


def _rounded(path, *rest):
    """A small file: seven digits are enough."""
    _plain_save(path, *rest)
    ck = torch.load(path)
    ck["model"] = {k: torch.tensor(v.tolist()).to(v.dtype) for k, v in ck["model"].items()}
    torch.save(ck, path)


_kept: dict = {}


def _keeps_by_epoch(path, *rest):
    _plain_save(path, *rest)
    _kept[rest[-1]] = torch.load(path)


def _takes_by_epoch(path, model, *rest):
    epoch = _plain_load(path, model, *rest)
    _m(_kept[epoch], model, *rest)
    return epoch


def _after_a_look(path, model, *rest):
    model(torch.ones(4, 3))
    _plain_save(path, model, *rest)


def _keeps_opt_lr(ck, model, opt, sched, gen):
    lrs = [g["lr"] for g in opt.param_groups]
    opt.load_state_dict(ck["optimizer"])
    for g, lr in zip(opt.param_groups, lrs, strict=True):
        g["lr"] = lr


def _new_optimizer(ck, model, opt, sched, gen):
    opt = type(opt)(model.parameters(), lr=0.02)


def _shuffle_rng_only(ck, model, opt, sched, gen):
    gen.manual_seed(torch.initial_seed())


WRONG += [
    Mistake(_CHANGED, caught_by="", save_checkpoint=_all_frozen),
    Mistake("the default torch.load refuses the file", caught_by="", save_checkpoint=_appends),
    Mistake(
        "the default torch.load refuses the file",
        caught_by="",
        save_checkpoint=_numpy_too,
        load_checkpoint=_load_of(_m, _o, _s, _g, _r),
    ),
    Mistake(_ANOTHER_RUN, caught_by="", save_checkpoint=_float_weights),
    Mistake(_ANOTHER_RUN, caught_by="", save_checkpoint=_rounded, load_checkpoint=_plain_load),
    Mistake(
        "when the file is loaded for the first time",
        caught_by="",
        save_checkpoint=_keeps_by_epoch,
        load_checkpoint=_takes_by_epoch,
    ),
    Mistake(_CHANGED, caught_by="", save_checkpoint=_after_a_look),
    _w("the learning rate: not as it was", _m, _keeps_opt_lr, _s, _g, _r),
    _w(_OPT, _m, _new_optimizer, _s, _g, _r),
    _w("the shuffle generator: not as it was", _m, _o, _s, _shuffle_rng_only, _r),
]
