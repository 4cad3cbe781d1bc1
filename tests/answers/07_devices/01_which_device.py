"""Answers that people give to which_device, right ones and wrong ones."""

import torch

from dojo import Mistake


def _by_if():
    if torch.accelerator.is_available():
        return torch.accelerator.current_accelerator()
    return torch.device("cpu")


def _many_kinds():
    if torch.cuda.is_available() and torch.cuda.device_count() > 0:
        return torch.device(f"cuda:{torch.cuda.current_device()}")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _says_which():
    if not torch.cuda.is_available():
        return torch.device("cpu")
    free = [torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count())]
    chosen = torch.device("cuda", free.index(max(free)))
    print("using", torch.cuda.get_device_name(chosen))
    return chosen


def _parts(x, device):
    if isinstance(device, str):
        kind, _, index = device.partition(":")
    else:
        kind, index = device.type, "" if device.index is None else str(device.index)
    have_kind, _, have_index = str(x.device).partition(":")
    return kind == have_kind and (index == "" or index == have_index)


def _both_ways(x, device):
    device = torch.device(device)
    if device.index is None:
        return x.device.type == device.type
    return x.device == device


def _give_it_an_index(x, device):
    wanted = torch.device(device)
    if wanted.index is None and x.device.index is not None:
        wanted = torch.device(wanted.type, x.device.index)
    return wanted == x.device


def _starts_with(x, device):
    return str(x.device) == str(device) or str(x.device).startswith(f"{device}:")


RIGHT = [
    {"pick_device": _says_which},
    {"on_device": _starts_with},
    {"pick_device": _by_if, "on_device": _both_ways},
    {
        "pick_device": lambda: torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu"),
        "on_device": _parts,
    },
    {"pick_device": _many_kinds, "on_device": _give_it_an_index},
    {"pick_device": lambda: torch.device("cuda", 0) if torch.cuda.device_count() else torch.device("cpu")},
]


def _try_to_name_it():
    try:
        return torch.device("cuda:0")
    except Exception:
        return torch.device("cpu")


def _if_named():
    found = torch.accelerator.current_accelerator()
    return torch.device("cpu") if found is None else found


def _text():
    return "cuda:0" if torch.cuda.device_count() > 0 else "cpu"


def _index_matters_if_given(x, device):
    wanted = torch.device(device)
    if wanted.index:
        return wanted == x.device
    return wanted.type == x.device.type


WRONG = [
    Mistake(
        "the GPUs are counted from 0",
        caught_by="",
        pick_device=lambda: (
            torch.device("cuda", torch.cuda.device_count()) if torch.cuda.is_available() else torch.device("cpu")
        ),
    ),
    Mistake(
        "torch says that this machine has usable GPUs (2), and you picked cpu",
        caught_by="",
        pick_device=torch.get_default_device,
    ),
    Mistake("look at nothing of x but x.device", caught_by="", on_device=lambda x, device: x.to(device) is x),
    Mistake("compare the index", caught_by="", on_device=lambda x, device: str(device).startswith(x.device.type)),
    Mistake("a name is no proof", caught_by="", pick_device=_try_to_name_it),
    Mistake("a name is no proof", caught_by="", pick_device=_if_named),
    Mistake(
        "so the CPU is left, yet you picked", caught_by="", pick_device=lambda: torch.empty(0, device="meta").device
    ),
    Mistake("pick_device returns a torch.device, yours returned 'cpu'", caught_by="", pick_device=_text),
    Mistake(
        "torch says that this machine has usable GPUs (2), and you picked cpu",
        caught_by="",
        pick_device=lambda: torch.tensor(0).device,
    ),
    Mistake("a device is no string", caught_by="", on_device=lambda x, device: device == x.device),
    Mistake("compare the index", caught_by="", on_device=_index_matters_if_given),
    Mistake("compare the index", caught_by="", on_device=lambda x, device: str(device) in str(x.device)),
    Mistake("compare the index", caught_by="", on_device=lambda x, device: str(x.device)[:4] == str(device)[:4]),
    Mistake("== torch.device('cuda:", caught_by="", on_device=lambda x, device: f"{x.device}" == f"{device}"),
    Mistake("== torch.device('cuda:", caught_by="", on_device=lambda x, device: torch.device(device).__eq__(x.device)),
]
