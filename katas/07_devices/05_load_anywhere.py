"""Load anywhere: checkpoints that outlive the GPU

A checkpoint remembers where each tensor was. Trained on a GPU, saved, opened on a laptop: `torch.load` tries to put
every tensor back on `cuda:0`, finds none, and raises "Attempting to deserialize object on a CUDA device but ...". The
file is fine. `map_location` tells `torch.load` where the tensors go instead: a device, a dict from old to new names
(one that misses the name in the file does not help), or a function. Load to the CPU first; the model then takes the
values to wherever it is.

Three more habits. Save the `state_dict`, not the module: a pickled module needs your source files as they were, and
`torch.load` refuses it by default, because unpickling may run any code. Load *into* the parameters, as
`model.load_state_dict` does by default, do not replace them: an optimizer that was made earlier goes on stepping the
old ones. And know that `torch.save` writes the whole storage under a tensor: a view of 12 values on a storage of a
million costs 4 MB.

What is asked: `save_weights` writes the model's state_dict with every tensor on the CPU and nothing but its own values
(the model itself stays as it is); `load_into` reads such a file, from whatever machine, into a model.

About 30 minutes. Before it: behind_the_view, what_to_moves.

https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, forge_gpu_checkpoint, pretend_machine, raises


def load_into(model: nn.Module, file: Path) -> None:
    """Load a saved state_dict (path `file`, written on any device) into the parameters and buffers that `model` has.

    They stay the same objects, on their device, and the model stays in its mode. Raises if the keys in the file are not
    those of the model.
    """
    raise NotImplementedError("load the file, whatever machine wrote it, into the model")


def save_weights(model: nn.Module, file: Path) -> None:
    """Save the model's state_dict to the path `file`: plain CPU tensors without gradients or oversized storages.

    The model stays as it is and where it is, also while it is saved.
    """
    raise NotImplementedError("save a state_dict that every machine can load")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _net():
    norm = nn.BatchNorm1d(4).double()
    norm.running_mean = torch.full((4,), 7.0, dtype=torch.float64)
    net = nn.Sequential(nn.Linear(3, 4), norm)
    net.register_buffer("cache", torch.zeros(2), persistent=False)
    return net


def _saved_by(model, file):
    """What save_weights wrote, and how many bytes."""
    names = list(model.state_dict())
    with explain("save_weights failed on a model on the CPU"):
        save_weights(model, file)
    written = file.is_file()
    assert written, f"save_weights wrote nothing to {file.name}"
    with explain(
        "torch.load refuses your file by default: it takes a dict from names to tensors, no module, no arrays"
    ):
        saved = torch.load(file, weights_only=True)
    assert isinstance(saved, dict), f"the file holds a {type(saved).__name__}, not a dict from names to tensors"
    assert set(saved) == set(names), f"the names are those of the state_dict, {names}; the file has {list(saved)}"
    return saved, file.stat().st_size


def _devices_in_the_file(model, file):
    """From meta nothing can be brought to the CPU: to try is an error, and here that is what we want to see."""
    # torch.load(map_location="cpu") of what was saved to memory is a way to the CPU too, and would leave meta as it is.
    loading = mock.patch.object(torch, "load", side_effect=NotImplementedError("no way to the CPU from meta"))
    try:
        with loading:
            save_weights(model, file)
    except Exception:
        return set()
    return {value.device.type for value in torch.load(file, weights_only=True).values()}


def _tensors_of(model):
    """What must not change when the model is saved: the tensors, their memory, flags and gradients."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {key: (id(t), t.data_ptr(), t.requires_grad, t.grad is None) for key, t in tensors.items()}


def _copy(state):
    return {key: value.clone() for key, value in state.items()}


def _check_state(model, want, says):
    for key, value in model.state_dict().items():
        check_tensor(value, want[key], f"{key}: {says}")


@pytest.mark.parametrize("gpu", ["cuda:0", "cuda:1"], ids=["the first GPU", "the second GPU"])
def test_a_checkpoint_from_a_gpu_loads_where_there_is_none(gpu, tmp_path):
    """The file says cuda:0, or cuda:1, for every tensor, and the machine says that it has no GPU."""
    want = _copy(_net().state_dict())
    forge_gpu_checkpoint(want, tmp_path / "gpu.pt", gpu)
    model = _net()
    model[1].reset_running_stats()
    there = {"Attempting to deserialize": "the file comes from a GPU machine: tell torch.load where tensors go here"}
    with pretend_machine(cuda=False), explain(f"load_into failed on a state_dict from {gpu}", there):
        load_into(model, tmp_path / "gpu.pt")
    _check_state(model, want, "load_into brings the values in the file into the model")


def test_an_optimizer_made_before_still_moves_the_loaded_weights(tmp_path):
    model = _net()
    torch.save(_copy(model.state_dict()), tmp_path / "w.pt")
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    model[1].eval()
    with torch.no_grad():
        model[0].weight.zero_()
    with explain("load_into failed on a file that was saved here, on the CPU"):
        load_into(model, tmp_path / "w.pt")
    for name, after in model.named_parameters():
        same = after is tensors[name]
        assert same, f"you replaced {name} by another tensor: an optimizer made before keeps the old one"
    for name, after in model.named_buffers():
        same = after is tensors[name]
        assert same, f"you replaced the buffer {name} by another tensor: load into the one that the model has"
    assert all(p.requires_grad for p in model.parameters()), "the loaded parameters no longer require a gradient"
    assert model.training, "load_into left the model in eval mode: whoever called it goes on training"
    assert not model[1].training, "the BatchNorm was in eval mode before load_into, and is in training mode now"


@pytest.mark.parametrize("keys", ["one missing", "one too many", "one of another name"])
def test_a_checkpoint_of_another_model_is_refused(tmp_path, keys):
    state = _copy(_net().state_dict())
    if keys == "one missing":
        del state["0.bias"]
    elif keys == "one too many":
        state["head.weight"] = torch.ones(2, 2)
    else:
        state = {key.replace("0.bias", "0.offset"): value for key, value in state.items()}
    torch.save(state, tmp_path / "other.pt")
    with raises(Exception, f"the file has other keys than the model ({keys}), and you loaded it without a word"):
        load_into(_net(), tmp_path / "other.pt")


def test_a_saved_file_is_a_plain_state_dict(tmp_path):
    model = _net()
    model[0].weight.grad = torch.ones(4, 3)
    model[1].eval()
    want, before = _copy(model.state_dict()), _tensors_of(model)
    moved = []

    def apply(module, *args, _real=nn.Module._apply, **kwargs):
        moved.append(module)
        return _real(module, *args, **kwargs)

    with mock.patch.object(nn.Module, "_apply", apply):
        saved, _ = _saved_by(model, tmp_path / "w.pt")
    assert not any(m is model for m in moved), (
        "save_weights moved or converted the model itself (as model.cpu() does): only what is saved goes to the CPU"
    )
    for key, value in want.items():
        check_tensor(saved[key], value, f"{key}: the file holds the model's values, and no graph", requires_grad=False)
    _check_state(model, want, "save_weights changed the model: it stays as it is, the file gets copies")
    changed = [key for key, now in _tensors_of(model).items() if now != before[key]]
    assert not changed, f"save_weights changed {', '.join(changed)} of the model: it stays as it is"
    assert model.training, "save_weights left the model in eval mode: it stays as it is"
    assert not model[1].training, "the BatchNorm was in eval mode before save_weights, and is in training mode now"
    devices = _devices_in_the_file(_net().to("meta"), tmp_path / "meta.pt")
    away = devices - {"cpu"}
    assert not away, "the model was on another device, and what you saved is still there: bring it to the CPU"


def test_a_small_view_takes_its_big_storage_into_the_file(tmp_path):
    """torch.save writes storages, so that tensors which share one still share it after loading."""
    big = torch.arange(400_000.0).view(1000, 400)
    model = nn.Module()
    model.rows, model.part = nn.Parameter(big[1:3]), nn.Parameter(big[5:8, 2:4])
    model.register_buffer("seen", big[9, :7])
    want = _copy(model.state_dict())
    saved, size = _saved_by(model, tmp_path / "w.pt")
    values, limit = sum(value.nbytes for value in want.values()), big.nbytes // 20
    assert size < limit, f"the values take {values} bytes, the file {size}: you saved the storage under the views"
    for key in want:
        check_tensor(saved[key], want[key], f"{key}: the file holds the model's values")


@pytest.mark.gpu
def test_the_weights_of_a_gpu_model_load_without_a_gpu(tmp_path):
    model = _net().to("cuda")
    save_weights(model, tmp_path / "w.pt")
    assert model[0].weight.is_cuda, "save_weights moved the model: only what is saved goes to the CPU"
    with pretend_machine(cuda=False), explain("you saved tensors that are on the GPU: bring them to the CPU first"):
        torch.load(tmp_path / "w.pt", weights_only=True)
    load_into(model, tmp_path / "w.pt")
    assert model[0].weight.is_cuda, "load_into moved the model: its tensors stay on their device"
