"""Load anywhere: reference.

Hint: What in the file ties it to one machine? When loading you can redirect it, when saving you can avoid it.
Hint: `torch.load` has `map_location`; `Module.load_state_dict` copies into what is there, checks the keys, and needs no
`assign`; `Tensor.clone` has a storage of its own, just as big as its values.
Hint: Save a dict: for each name in the model's state_dict, the tensor brought to the CPU and then copied.

Why: A state_dict is names and numbers, so it outlives the class, the machine and the device. Loading to the CPU first
also keeps a second copy of the weights off the GPU; the copy into the parameters moves them. `.contiguous()` and
`copy.deepcopy` do not shrink a view: the first returns a contiguous view as it is, the second copies its whole storage.
"""

import contextlib
from pathlib import Path

import torch
from torch import nn

from dojo import Mistake


def load_into(model: nn.Module, file: Path) -> None:
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))


def save_weights(model: nn.Module, file: Path) -> None:
    torch.save({name: value.detach().cpu().clone() for name, value in model.state_dict().items()}, file)


def _copy_parameters_only(model, file):
    state = torch.load(file, map_location="cpu")
    if set(state) != set(model.state_dict()):
        raise KeyError("other keys")
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(state[name])


def _copy_what_fits(model, file):
    state = torch.load(file, map_location="cpu")
    for name, value in model.state_dict().items():
        if name in state:
            value.copy_(state[name])


def _copy_what_is_asked(model, file):
    state = torch.load(file, map_location="cpu")
    for name, value in model.state_dict().items():
        value.copy_(state[name])


def _replace_the_parameters(model, file):
    model.load_state_dict(torch.load(file, map_location="cpu"))
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(p.detach().clone()))


def _say_nothing(model, file):
    with contextlib.suppress(RuntimeError):
        load_into(model, file)


def _freeze(model, file):
    load_into(model, file)
    model.requires_grad_(False)


def _count_the_keys(model, file):
    state = torch.load(file, map_location="cpu")
    if len(state) != len(model.state_dict()):
        raise KeyError("other keys")
    model.load_state_dict(state, strict=False)


def _shrink_the_model(model, file):
    for p in model.parameters():
        p.data = p.data.clone()
    torch.save({name: value.cpu().clone() for name, value in model.state_dict().items()}, file)


def _eval_first(model, file):
    model.eval()
    save_weights(model, file)


def _deepcopied(model, file):
    import copy

    torch.save(copy.deepcopy(model.state_dict()), file)


_GPU_FILE = "tell torch.load where tensors go here"
_SILENT = "and you loaded it without a word"
_STORAGE = "you saved the storage under the views"
_REFUSED = "it takes a dict from names to tensors"
_t1 = "test_a_checkpoint_from_a_gpu_loads_where_there_is_none"
_t2 = "test_an_optimizer_made_before_still_moves_the_loaded_weights"
_t3 = "test_a_checkpoint_of_another_model_is_refused"
_t4 = "test_a_saved_file_is_a_plain_state_dict"
_t5 = "test_a_small_view_takes_its_big_storage_into_the_file"

MISTAKES = [
    Mistake(
        "in eval mode before load_into", caught_by=_t2, load_into=lambda m, f: (m.eval(), load_into(m, f), m.train())
    ),
    Mistake(
        "in eval mode before save_weights",
        caught_by=_t4,
        save_weights=lambda m, f: (m.eval(), save_weights(m, f), m.train()),
    ),
    Mistake(
        _GPU_FILE,
        caught_by=_t1,
        load_into=lambda m, f: m.load_state_dict(torch.load(f, map_location={"cuda:0": "cpu"})),
    ),
    Mistake("load_into left the model in eval mode", caught_by=_t2, load_into=lambda m, f: (load_into(m, f), m.eval())),
    Mistake("moved or converted the model itself", caught_by=_t4, save_weights=lambda m, f: save_weights(m.cpu(), f)),
    Mistake(_GPU_FILE, caught_by=_t1, load_into=lambda m, f: m.load_state_dict(torch.load(f))),
    Mistake(
        _GPU_FILE,
        caught_by=_t1,
        load_into=lambda m, f: m.load_state_dict(torch.load(f, map_location={"cuda:1": "cpu"})),
    ),
    Mistake(_GPU_FILE, caught_by=_t1, load_into=lambda m, f: m.load_state_dict(torch.load(f, map_location="cuda"))),
    Mistake(
        "load_into brings the values in the file into the model",
        caught_by=_t1,
        load_into=lambda m, f: torch.load(f, map_location="cpu"),
    ),
    Mistake("brings the values in the file into the model", caught_by=_t1, load_into=_copy_parameters_only),
    Mistake(
        "an optimizer made before keeps the old one",
        caught_by=_t2,
        load_into=lambda m, f: m.load_state_dict(torch.load(f, map_location="cpu"), assign=True),
    ),
    Mistake("an optimizer made before keeps the old one", caught_by=_t2, load_into=_replace_the_parameters),
    Mistake(
        "failed on a file that was saved here",
        caught_by=_t2,
        load_into=lambda m, f: m.load_state_dict(torch.load(f, map_location="meta")),
    ),
    Mistake("no longer require a gradient", caught_by=_t2, load_into=_freeze),
    Mistake(
        _SILENT,
        caught_by=_t3,
        load_into=lambda m, f: m.load_state_dict(torch.load(f, map_location="cpu"), strict=False),
    ),
    Mistake(_SILENT, caught_by=_t3, load_into=_copy_what_fits),
    Mistake(_SILENT, caught_by=_t3, load_into=_copy_what_is_asked),
    Mistake(_SILENT, caught_by=_t3, load_into=_say_nothing),
    Mistake("(one of another name)", caught_by=_t3, load_into=_count_the_keys),
    Mistake(
        "load into the one that the model has",
        caught_by=_t2,
        load_into=lambda m, f: (load_into(m, f), m[1].register_buffer("running_mean", m[1].running_mean.clone())),
    ),
    Mistake(
        "load_into failed on a state_dict from",
        caught_by=_t1,
        load_into=lambda m, f: m.load_state_dict(torch.load(f, map_location="cpu")["model"]),
    ),
    Mistake(
        "save_weights wrote nothing to",
        caught_by=_t4,
        save_weights=lambda m, f: {n: v.cpu().clone() for n, v in m.state_dict().items()},
    ),
    Mistake(_REFUSED, caught_by=_t4, save_weights=lambda m, f: torch.save(m, f)),
    Mistake(
        "not a dict from names to tensors",
        caught_by=_t4,
        save_weights=lambda m, f: torch.save([p.detach().clone() for p in m.parameters()], f),
    ),
    Mistake(
        "the names are those of the state_dict",
        caught_by=_t4,
        save_weights=lambda m, f: torch.save({n: p.detach().clone() for n, p in m.named_parameters()}, f),
    ),
    Mistake(
        "the names are those of the state_dict",
        caught_by=_t4,
        save_weights=lambda m, f: torch.save({"model": {n: v.clone() for n, v in m.state_dict().items()}}, f),
    ),
    Mistake(
        "the file holds the model's values, and no graph",
        caught_by=_t4,
        save_weights=lambda m, f: torch.save(
            {n: nn.Parameter(v.clone(), v.is_floating_point()) for n, v in m.state_dict().items()}, f
        ),
    ),
    Mistake(
        "the file holds the model's values, and no graph",
        caught_by=_t4,
        save_weights=lambda m, f: torch.save({n: v.cpu().float().clone() for n, v in m.state_dict().items()}, f),
    ),
    Mistake(_STORAGE, caught_by=_t5, save_weights=lambda m, f: torch.save(m.state_dict(), f)),
    Mistake(
        _STORAGE,
        caught_by=_t5,
        save_weights=lambda m, f: torch.save({n: v.cpu().contiguous() for n, v in m.state_dict().items()}, f),
    ),
    Mistake(_STORAGE, caught_by=_t5, save_weights=_deepcopied),
    Mistake(
        "what you saved is still there",
        caught_by=_t4,
        save_weights=lambda m, f: torch.save({n: v.detach().clone() for n, v in m.state_dict().items()}, f),
    ),
    Mistake("save_weights changed 0.weight", caught_by=_t4, save_weights=_shrink_the_model),
    Mistake("in eval mode", caught_by=_t4, save_weights=_eval_first),
    Mistake(
        _STORAGE,
        caught_by=_t5,
        save_weights=lambda m, f: torch.save(
            {n: v.clone() if n in dict(m.named_parameters()) else v.cpu() for n, v in m.state_dict().items()}, f
        ),
    ),
]

KEEP = {"test_the_weights_of_a_gpu_model_load_without_a_gpu": "only a GPU shows that the saved tensors were on the CPU"}
