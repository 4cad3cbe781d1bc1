"""Files that are not what they seem: a checkpoint from a GPU, a file that runs code when it is loaded."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dojo.kit.checkpoints import HostilePickle, TrainConfig, forge_gpu_checkpoint
from dojo.kit.devices import pretend_machine

# ── the forged checkpoint ──


def forged(state: Any) -> io.BytesIO:
    file = io.BytesIO()
    forge_gpu_checkpoint(state, file)
    return file


@pytest.mark.parametrize("built", [True, False])
def test_a_forged_checkpoint_does_not_load_where_no_gpu_is(built: bool) -> None:
    file = forged(nn.Linear(2, 3).state_dict())
    with pretend_machine(cuda=False, built=built), pytest.raises(RuntimeError, match="deserialize object on a CUDA"):
        torch.load(file)


@pytest.mark.parametrize("map_location", ["cpu", torch.device("cpu"), {"cuda:0": "cpu"}, lambda storage, _: storage])
def test_a_forged_checkpoint_loads_with_map_location(map_location: Any) -> None:
    state = nn.Linear(2, 3).state_dict()
    with pretend_machine(cuda=False):
        loaded = torch.load(forged(state), map_location=map_location)
    torch.testing.assert_close(dict(loaded), dict(state), rtol=0, atol=0)
    assert {x.device.type for x in loaded.values()} == {"cpu"}


def test_a_map_that_misses_the_tag_does_not_help() -> None:
    file = forged({"w": torch.ones(2)})
    with pretend_machine(cuda=False), pytest.raises(RuntimeError, match="deserialize object on a CUDA"):
        torch.load(file, map_location={"cuda:1": "cpu"})


def test_a_checkpoint_is_forged_into_a_file_too(tmp_path: Path) -> None:
    forge_gpu_checkpoint({"w": torch.arange(3.0)}, tmp_path / "gpu.pt")
    assert torch.load(tmp_path / "gpu.pt", map_location="cpu")["w"].tolist() == [0.0, 1.0, 2.0]


def test_a_checkpoint_without_tensors_cannot_be_forged() -> None:
    with pytest.raises(AssertionError, match="no cuda:0 tag"):
        forge_gpu_checkpoint({"epoch": 3}, io.BytesIO())


def test_forging_leaves_later_saves_alone() -> None:
    forged({"w": torch.ones(2)})
    file = io.BytesIO()
    torch.save({"w": torch.ones(2)}, file)
    file.seek(0)
    with pretend_machine(cuda=False):
        assert torch.load(file)["w"].device.type == "cpu"


# ── another machine ──


def answers() -> dict[str, Any]:
    return {
        "available": torch.cuda.is_available(),
        "count": torch.cuda.device_count(),
        "built": torch.backends.cuda.is_built(),
        "accelerator available": torch.accelerator.is_available(),
        "accelerator count": torch.accelerator.device_count(),
        "named": torch.accelerator.current_accelerator(),
        "checked": torch.accelerator.current_accelerator(check_available=True),
        "mps": torch.backends.mps.is_available() or torch.mps.is_available(),
        "xpu": torch.xpu.is_available(),
    }


CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("machine", "count", "built", "named"),
    [
        ({"cuda": True}, 1, True, CUDA),
        ({"cuda": True, "devices": 4}, 4, True, CUDA),
        ({"cuda": False}, 0, True, CUDA),
        ({"cuda": False, "built": False}, 0, False, None),
    ],
)
def test_a_pretended_machine_answers(machine: dict, count: int, built: bool, named: torch.device | None) -> None:
    with pretend_machine(**machine):
        got = answers()
    here = bool(count)
    assert got == {
        **{"available": here, "count": count, "built": built, "accelerator available": here},
        **{"accelerator count": count, "named": named, "checked": CUDA if here else None, "mps": False, "xpu": False},
    }


@pytest.mark.parametrize("machine", [{"cuda": True, "devices": 3}, {"cuda": False, "built": False}])
def test_the_real_machine_is_back_afterwards(machine: dict) -> None:
    before, probe = answers(), torch.cuda.is_available
    with pretend_machine(**machine):
        assert torch.cuda.is_available is not probe
    assert answers() == before
    with pytest.raises(KeyError), pretend_machine(**machine):
        raise KeyError
    assert answers() == before
    assert torch.cuda.is_available is probe


@pytest.mark.parametrize("machine", [{"cuda": True, "built": False}, {"cuda": True, "devices": 0}])
def test_a_machine_that_cannot_be_is_refused(machine: dict) -> None:
    with pytest.raises(ValueError, match="a usable GPU needs"), pretend_machine(**machine):
        pass


# ── the hostile pickle ──


def test_a_hostile_pickle_is_refused_by_default_and_has_done_nothing(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2), "x": HostilePickle(tmp_path / "marker")}, tmp_path / "file.pt")
    with pytest.raises(pickle.UnpicklingError, match="_create"):
        torch.load(tmp_path / "file.pt")
    assert not (tmp_path / "marker").exists()


def test_a_hostile_pickle_runs_where_somebody_trusts_it(tmp_path: Path) -> None:
    torch.save(HostilePickle(tmp_path / "marker"), tmp_path / "file.pt")
    torch.load(tmp_path / "file.pt", weights_only=False)
    assert (tmp_path / "marker").exists()


# ── the config that is allowed by name ──


def test_a_config_is_loaded_where_its_class_is_allowed_and_nowhere_else(tmp_path: Path) -> None:
    config = TrainConfig(0.1, "net", [2, 3])
    torch.save({"config": config, "w": torch.ones(2)}, tmp_path / "config.pt")
    with torch.serialization.safe_globals([TrainConfig]):
        loaded = torch.load(tmp_path / "config.pt")
    assert type(loaded["config"]) is TrainConfig
    assert loaded["config"] == config
    with pytest.raises(pickle.UnpicklingError, match="TrainConfig"):
        torch.load(tmp_path / "config.pt")
