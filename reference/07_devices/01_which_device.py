"""Which device: reference.

Hint: A name is not a machine. Which call asks the hardware? And what has a device besides its name?
Hint: `torch.cuda.is_available` (or `torch.accelerator.is_available`) asks; a `torch.device` has a `type` and an
`index`, which is None where no index was given.
Hint: Turn both sides into a torch.device, compare the types, and compare the indices only where one was asked for:
"is None" and "is false" are two things, and 0 is an index.

Why: A device object is a label, and torch checks it only when memory is needed. So a probe must ask the driver, not the
build and not the label. The label has two parts, and "cuda" without an index means "the current one" when you make a
tensor; the tensor then says which it was. Comparing labels with == asks for the same spelling, which is seldom what
you want to know.
"""

import functools

import torch

from dojo import Mistake


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def on_device(x: torch.Tensor, device: str | torch.device) -> bool:
    wanted = torch.device(device)
    return x.device.type == wanted.type and wanted.index in (None, x.device.index)


def _try_the_name():
    try:
        return torch.device("cuda")
    except RuntimeError:
        return torch.device("cpu")


def _name_or_cpu():
    return torch.accelerator.current_accelerator() or torch.device("cpu")


def _if_built():
    return torch.device("cuda" if torch.backends.cuda.is_built() else "cpu")


def _accelerator_or_nothing():
    return torch.accelerator.current_accelerator(check_available=True)


@functools.cache
def _ask_once():
    return pick_device()


def _none_on_a_cpu_build():
    return torch.accelerator.current_accelerator() if not torch.backends.cuda.is_built() else pick_device()


def _without_two_characters(x, device):
    return str(device) in (str(x.device), str(x.device)[:-2])


def _only_two_spellings(x, device):
    return str(x.device) in (str(device), f"{device}:0")


def _index_if_true(x, device):
    wanted = torch.device(device)
    return x.device.type == wanted.type and (not wanted.index or wanted.index == x.device.index)


def _index_only_asked_for_0(x, device):
    wanted = torch.device(device)
    return x.device.type == wanted.type and (wanted.index or 0) == (x.device.index or 0)


def _index_alone(x, device):
    wanted = torch.device(device)
    return x.device.index == wanted.index if wanted.index is not None else x.device.type == wanted.type


_NAME = "a name is no proof"
_GPUS = "torch says that this machine has usable GPUs"
_NO_STRING = "a device is no string"
_ANY = "== torch.device('cuda:"

MISTAKES = [
    Mistake(_NAME, caught_by="test_naming_a_gpu_does_not_make_one", pick_device=lambda: torch.device("cuda")),
    Mistake(_NAME, caught_by="test_naming_a_gpu_does_not_make_one", pick_device=_try_the_name),
    Mistake(_NAME, caught_by="test_naming_a_gpu_does_not_make_one", pick_device=_name_or_cpu),
    Mistake(_NAME, caught_by="test_naming_a_gpu_does_not_make_one", pick_device=_if_built),
    Mistake(
        "so the CPU is left, yet you picked", caught_by="test_naming_a_gpu_does_not_make_one", pick_device=_try_the_name
    ),
    Mistake(
        "pick_device returns a torch.device, yours returned None",
        caught_by="test_naming_a_gpu_does_not_make_one",
        pick_device=_none_on_a_cpu_build,
    ),
    Mistake(
        "pick_device returns a torch.device, yours returned None",
        caught_by="test_naming_a_gpu_does_not_make_one",
        pick_device=_accelerator_or_nothing,
    ),
    Mistake(
        "pick_device returns a torch.device, yours returned 'cpu'",
        caught_by="test_naming_a_gpu_does_not_make_one",
        pick_device=lambda: "cuda" if torch.cuda.is_available() else "cpu",
    ),
    Mistake(
        f"{_GPUS} (2), and you picked cpu",
        caught_by="test_a_gpu_is_picked_where_there_is_one",
        pick_device=lambda: torch.device("cpu"),
    ),
    Mistake(
        f"{_GPUS} (2), and you picked cpu", caught_by="test_a_gpu_is_picked_where_there_is_one", pick_device=_ask_once
    ),
    Mistake(
        f"{_GPUS} (1), and you picked cpu",
        caught_by="test_a_gpu_is_picked_where_there_is_one",
        pick_device=lambda: torch.device("cuda" if torch.cuda.device_count() > 1 else "cpu"),
    ),
    Mistake(
        "the GPUs are counted from 0",
        caught_by="test_a_gpu_is_picked_where_there_is_one",
        pick_device=lambda: torch.device("cuda:1" if torch.cuda.is_available() else "cpu"),
    ),
    Mistake(_NO_STRING, caught_by="test_a_device_is_not_a_string", on_device=lambda x, device: x.device == device),
    Mistake(
        "one is not the other",
        caught_by="test_a_device_is_not_a_string",
        on_device=lambda x, device: x.device.type == device.split(":")[0],
    ),
    Mistake(
        "look at nothing of x but x.device",
        caught_by="test_a_device_without_index_means_all_of_its_kind",
        on_device=lambda x, device: x.is_cuda if "cuda" in str(device) else str(x.device) == str(device),
    ),
    Mistake(
        _ANY,
        caught_by="test_a_device_without_index_means_all_of_its_kind",
        on_device=lambda x, device: x.device == device if isinstance(device, torch.device) else str(x.device) == device,
    ),
    Mistake(
        _ANY,
        caught_by="test_a_device_without_index_means_all_of_its_kind",
        on_device=lambda x, device: x.device == torch.device(device),
    ),
    Mistake(
        _ANY,
        caught_by="test_a_device_without_index_means_all_of_its_kind",
        on_device=lambda x, device: str(x.device) == str(device),
    ),
    Mistake(_ANY, caught_by="test_a_device_without_index_means_all_of_its_kind", on_device=_without_two_characters),
    Mistake(_ANY, caught_by="test_a_device_without_index_means_all_of_its_kind", on_device=_only_two_spellings),
    Mistake(_ANY, caught_by="test_a_device_without_index_means_all_of_its_kind", on_device=_index_only_asked_for_0),
    Mistake(
        "compare the index",
        caught_by="test_an_index_means_just_that_one",
        on_device=lambda x, device: x.device.type == torch.device(device).type,
    ),
    Mistake("compare the index", caught_by="test_an_index_means_just_that_one", on_device=_index_if_true),
    Mistake(
        "compare the index",
        caught_by="test_an_index_means_just_that_one",
        on_device=lambda x, device: str(x.device).startswith(str(device)),
    ),
    Mistake("compare the type too", caught_by="test_an_index_means_just_that_one", on_device=_index_alone),
]

KEEP = {
    "test_a_device_is_not_a_string": "it is the fact itself, on real tensors, where no index is in the way",
    "test_the_picked_device_holds_a_tensor_here": "it is the promise itself, on the learner's real machine",
}
