"""Which device: picking one, and comparing two

`torch.device("cuda")` is only a name. Making it never fails, on any machine; what fails, later, is the first tensor
that should live there. So a `try:` around the name proves nothing. `torch.accelerator.current_accelerator()` is no
better: with a CUDA build of torch it answers `cuda` on a machine without any GPU, with a CPU build it answers None.
You must ask whether the hardware is there: `torch.cuda.is_available()`, `torch.accelerator.is_available()`.

Comparing bites too. `x.device == "cpu"` is False for every tensor, since a device is no string (and `!= "cpu"` is
always True). A name without an index is another device than the one with it: `torch.device("cuda")` does not equal
`torch.device("cuda:0")`, while a tensor that you made on "cuda" says `cuda:0`. A device has two parts to look at:
`.type`, such as "cuda", and `.index`, which is None where none was given.

What is asked: a device that can be used on the machine at hand, and a comparison as people mean it. The tests make
torch answer as on other machines, so ask torch, and ask each time.

About 20 minutes.
Path: first_day

https://docs.pytorch.org/docs/stable/tensor_attributes.html
"""

from unittest import mock

import pytest
import torch

from dojo import under_test
from dojo.kit import explain, gpu_is_here, pretend_machine


def pick_device() -> torch.device:
    """A cuda device, with or without an index, where a GPU can be used, else the CPU. Never None, never a string.

    Accelerators of other makers may be picked too, where there is one.
    """
    raise NotImplementedError("ask torch what this machine has")


def on_device(x: torch.Tensor, device: str | torch.device) -> bool:
    """Is `x` on `device`? "cuda" means any GPU, "cuda:1" only that one. Look at nothing of `x` but `x.device`."""
    raise NotImplementedError("compare x.device with the device")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_NO_GPU = {"NVIDIA|CUDA": "a call to the GPU itself fails where there is none: ask torch first whether there is one"}


def _picked_on(*, cuda, built, devices=2):
    """What pick_device answers on a pretended machine."""
    with (
        pretend_machine(cuda=cuda, built=built, devices=devices),
        mock.patch("torch.cuda.current_device", return_value=0),
        mock.patch("torch.cuda.get_device_name", return_value="a pretended GPU"),
        mock.patch("torch.cuda.mem_get_info", return_value=(1, 1)),
        mock.patch("torch.accelerator.current_device_index", return_value=0),
        explain("pick_device raised", _NO_GPU),
    ):
        got = pick_device()
    assert isinstance(got, torch.device), f"pick_device returns a torch.device, yours returned {got!r}"
    return got


def _asked(x, device):
    signs = {
        "torch.device' object|expected str": "device may be a str or a torch.device, and one is not the other",
        **_NO_GPU,
    }
    with explain(f"on_device raised for {x.device!r} and {device!r}", signs):
        got = on_device(x, device)
    assert isinstance(got, bool), f"on_device returns True or False, yours returned {got!r}"
    return got


class _At:
    """Stands for a tensor on a device that this machine may not have."""

    def __init__(self, device):
        self.device = torch.device(device)

    def __repr__(self):
        return f"<a tensor on {self.device}>"

    def __getattr__(self, name):
        raise AttributeError(f"look at nothing of x but x.device, not at x.{name}")


@pytest.mark.myth(
    says="torch.device('cuda') fails, and current_accelerator() is None, where there is no GPU",
    today="a name never fails, and a CUDA build names cuda on any machine: only is_available() asks the hardware",
)
@pytest.mark.parametrize("built", [True, False], ids=["CUDA build", "CPU build"])
def test_naming_a_gpu_does_not_make_one(built):
    got = _picked_on(cuda=False, built=built)
    if built:
        assert got.type != "cuda", f"no GPU here, only a torch built for one; a name is no proof, yours is {got}"
    assert got.type == "cpu", f"this machine has no GPU, so the CPU is left, yet you picked {got}"


@pytest.mark.parametrize("devices", [2, 1], ids=["2 GPUs", "one GPU"])
def test_a_gpu_is_picked_where_there_is_one(devices):
    got = _picked_on(cuda=True, built=True, devices=devices)
    assert got.type == "cuda", (
        f"torch says that this machine has usable GPUs ({devices}), and you picked {got}: ask torch, at each call"
    )
    assert (got.index or 0) < devices, (
        f"{got} does not exist: the GPUs are counted from 0, and this machine has {devices}"
    )


def test_the_picked_device_holds_a_tensor_here():
    with explain("pick_device raised", _NO_GPU):
        device = pick_device()
    with explain(f"pick_device returned {device!r}, but no tensor can be made there on this machine"):
        x = torch.ones(2, device=device)
        total = x.sum().item()
    assert total == 2, f"a tensor on {device!r} does not hold its values"
    if gpu_is_here():
        assert x.is_cuda, "this machine has a GPU, and you did not pick it"


def test_a_device_is_not_a_string():
    here, meta = torch.zeros(2), torch.zeros(2, device="meta")
    assert _asked(here, "cpu"), "a tensor on the CPU is on 'cpu': x.device == 'cpu' is False, a device is no string"
    assert _asked(meta, torch.device("meta")), "a meta tensor is on torch.device('meta')"
    assert not _asked(meta, "cpu"), "a meta tensor is not on 'cpu'"
    assert not _asked(here, torch.device("cuda")), "a tensor on the CPU is not on 'cuda'"


@pytest.mark.parametrize("index", [0, 1, 10], ids=["the first GPU", "the second GPU", "GPU 10"])
def test_a_device_without_index_means_all_of_its_kind(index):
    for device in ("cuda", torch.device("cuda")):
        assert _asked(_At(f"cuda:{index}"), device), (
            f"a tensor on cuda:{index} is on 'cuda', but torch.device('cuda') == torch.device('cuda:{index}') is False"
        )


def test_an_index_means_just_that_one():
    for index in (0, 1, 10):
        x = _At(f"cuda:{index}")
        for other in {0, 1, 10} - {index}:
            assert not _asked(x, f"cuda:{other}"), (
                f"a tensor on cuda:{index} is not on 'cuda:{other}': compare the index"
            )
        assert _asked(x, torch.device("cuda", index)), f"a tensor on cuda:{index} is on torch.device('cuda', {index})"
    assert not _asked(_At("xpu:1"), "cuda:1"), "xpu:1 is not cuda:1: compare the type too"
