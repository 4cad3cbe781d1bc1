"""docs/MAP.md against the torch that is installed: what is stable is there and quiet, what went is not there."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dojo.authoring.maps import EXAM, MAP, Place


def _module(name: str) -> Callable[[], Any]:
    return lambda: importlib.import_module(name)


def _double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def _old_storage() -> Any:
    """torch gives this warning once in a process: here it is to come again, if another test has had it already."""
    vars(getattr(torch.storage, "_warn_typed_storage_removal", _old_storage)).pop("has_warned", None)
    return torch.ones(2).storage()


# How to tell, for each place: it works, it works and warns, or it fails.
PROBES: dict[str, Callable[[], Any]] = {
    "torch.random": lambda: torch.random.fork_rng,
    "torch.sparse": lambda: torch.eye(2).to_sparse().to_dense(),
    "torch.Storage": _old_storage,
    "torch.ao.quantization": lambda: torch.ao.quantization.quantize_dynamic(torch.nn.Linear(2, 2)),
    "Tensor attributes": lambda: (torch.ones(2).dtype, torch.ones(2).device, torch.ones(2).layout),
    "Tensor views": lambda: torch.ones(2, 3).view(3, 2),
    "Type info": lambda: (torch.finfo(torch.float32), torch.iinfo(torch.int8)),
    "Named tensors": lambda: torch.ones(2, 3, names=("rows", "columns")),
    "torch.cuda": lambda: torch.cuda.is_available(),
    "torch.cuda.amp": lambda: (torch.amp.autocast("cpu"), torch.amp.GradScaler("cpu")),
    "torch.distributed": _module("torch.distributed"),
    "torch.distributions": lambda: torch.distributions.Normal(0.0, 1.0),
    "torch.distributed.rpc": _module("torch.distributed.rpc"),
    "torch.hub": lambda: torch.hub.load_state_dict_from_url,
    "torch.utils.model_zoo": lambda: torch.hub.load_state_dict_from_url,
    "torch.jit": lambda: torch.jit.script(_double),
    "torch.onnx": lambda: torch.onnx.export,
    "torch.utils.bottleneck": _module("torch.utils.bottleneck"),
    "torch.utils.checkpoint": lambda: importlib.import_module("torch.utils.checkpoint").checkpoint(
        torch.sin, torch.ones(2, requires_grad=True), use_reentrant=False
    ),
    "torch.utils.cpp_extension": _module("torch.utils.cpp_extension"),
    "torch.utils.data": lambda: torch.utils.data.DataLoader([1, 2]),
    "torch.utils.dlpack": lambda: torch.from_dlpack(torch.ones(2)),
    "torch.utils.tensorboard": lambda: pytest.importorskip("torch.utils.tensorboard", reason="needs tensorboard"),
    "torchvision": lambda: importlib.import_module("torchvision.transforms.v2"),
    "TorchElastic": _module("torch.distributed.elastic"),
    "torch.inference_mode": lambda: torch.inference_mode(),
    "torch.func": lambda: torch.func.grad(torch.sum)(torch.ones(2)),
    "torch.compile": lambda: torch.compile,
    "torch.export": _module("torch.export"),
    "torch.accelerator": lambda: torch.accelerator.is_available(),
}
OTHERS = {"torchaudio", "torchtext", "TorchServe"}  # packages of their own, which nothing here installs

# Old names that still work, and what they were moved to.
OLD_NAMES: dict[str, Callable[[], Any]] = {
    "torch.cuda.amp": lambda: torch.cuda.amp.GradScaler(enabled=False),
    "torch.utils.model_zoo": lambda: importlib.import_module("torch.utils.model_zoo").load_url,
    "torch.utils.dlpack": lambda: importlib.import_module("torch.utils.dlpack").from_dlpack,
    "TorchElastic": lambda: importlib.import_module("torch.distributed.launch"),
}
QUIET = {"torch.utils.model_zoo", "torch.utils.dlpack", "TorchElastic"}


def _warned(probe: Callable[[], Any]) -> list[str]:
    """The warnings of a call that speak of deprecation."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        probe()
    return [str(warning.message) for warning in caught if "deprecated" in str(warning.message)]


def _has_come(since: str) -> bool:
    """Is the torch at hand at least this one?"""
    release = re.match(r"(\d+)\.(\d+)", torch.__version__)
    assert release is not None
    major, minor = since.split(".")
    return (int(release[1]), int(release[2])) >= (int(major), int(minor))


def test_each_place_of_the_map_is_tried() -> None:
    assert {place.name for place in MAP} == set(PROBES) | OTHERS
    assert {place.name for place in MAP if place.today == "moved"} == set(OLD_NAMES)


@pytest.mark.parametrize("place", [p for p in MAP if p.name not in OTHERS], ids=lambda p: p.name.replace(" ", "_"))
def test_the_map_is_true_of_this_torch(place: Place) -> None:
    probe = PROBES[place.name]
    if place.today == "gone" and _has_come(place.since):
        with pytest.raises((ImportError, TypeError)):
            probe()
        return
    warned = _warned(probe)
    if place.today == "deprecated":
        assert warned, f"{place.name} does not warn"
    elif place.today != "gone":
        assert not warned, f"{place.name} warns: {warned[0]}"
    if place.today == "moved":
        quiet = place.name in QUIET
        assert (_warned(OLD_NAMES[place.name]) == []) == quiet, f"the old name of {place.name}"


def test_each_topic_of_the_exam_has_a_kata_and_stands_once() -> None:
    assert all(topic.katas for topic in EXAM)
    assert len({topic.name for topic in EXAM}) == len(EXAM)
