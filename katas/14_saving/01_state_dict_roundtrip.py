"""From the model to the file, and back

`torch.save(model.state_dict(), path)` is the usual way to save a model. What it writes is only what `state_dict()`
names: parameters and buffers. A tensor that is a plain attribute, `self.mean = mean`, is none of these: the file does
not have it, `model.double()` and `model.to("cuda")` leave it behind, and the loaded model computes with another mean.
Nothing raises. Made an `nn.Parameter`, it is in the file, but the optimizer trains it.

`self.register_buffer("mean", mean)` in `__init__` makes a *buffer*: saved and moved like a weight, not trained.
With `persistent=False` it is moved and not saved, which is right for a cache. (Such a buffer may be None at first. Once
the name is registered, `self.cache = x` with a plain tensor x keeps it a buffer.)

A file holds no code: to load one, make a model first, then `model.load_state_dict(torch.load(path))`. A new model is in
train mode, whatever the saved one was in: for inference call `model.eval()`. To save the whole model,
`torch.save(model, path)`, is no way around this: `torch.load` refuses that file by default. `weights_only=False` opens
it, and lets it run any program; and it needs your class in a module of the same name.

What is asked here: a model that brings its own scaling, in the file too.

About 25 minutes. Before it: registration, dropout, read_the_script.
Path: first_day

https://docs.pytorch.org/docs/stable/notes/serialization.html#saving-and-loading-torch-nn-modules
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


class Standardizer(nn.Module):
    """Scales two features by a mean and a spread that it was given, then applies the linear layer `fc`.

    Its state_dict has exactly `mean`, `std`, `fc.weight` and `fc.bias`; only the last two are trained. All four, and
    `last_batch`, move with the model, `.double()` for example.
    """

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """`mean` and `std` are float32 of shape (2,): keep them or copies. `fc` is an `nn.Linear(2, 1)`."""
        raise NotImplementedError("keep mean and std, make fc and last_batch")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 2) -> (n, 1): fc((x - mean) / std), through which fc can be trained. `x` stays as it is.

        Afterwards the buffer `last_batch` holds this `x` (or a copy), in either mode; it is never in the state_dict.
        What it is before the first call is yours to choose.
        """
        raise NotImplementedError("remember x, scale it, apply fc")


def save(model: Standardizer, path: str | Path) -> None:
    """Write what the model has learned and its scaling to `path`: a dict (or list) of tensors, and nothing else.

    `torch.load(path, weights_only=True)` must read it. The model's tensors stay as they are.
    """
    raise NotImplementedError("write tensors, not the object")


def load(path: str | Path) -> Standardizer:
    """A new model from a file that `save` wrote, for inference: in eval mode, and it predicts as the saved one did.

    The saved model was in float32. Each call makes a model of its own, from what the file has now.
    """
    raise NotImplementedError("make a model, fill it, and set its mode")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_KEYS = ["fc.bias", "fc.weight", "mean", "std"]
_SIGNS = {
    r"before Module\.__init__\(\) call": "call super().__init__() first: before it, nothing can be registered",
    "size mismatch for last_batch": "last_batch is in the file, with as many rows as the last batch had, and does not "
    "fit a new model: a cache is not saved",
    "cannot assign .* as parameter": "a Parameter takes only Parameters: what is replaced at each call is a buffer",
    "attribute 'last_batch' already exists": "the name is an attribute already: register the buffer once, in "
    "__init__, then assign to it",
    "Weights only load failed": "torch.load refuses the file: it holds more than tensors",
}


def _make(mean: Any = (10.0, -2.0), std: Any = (4.0, 0.5), weight: Any = (3.0, -1.0), bias: float = 0.5) -> Any:
    """A Standardizer whose fc has these weights."""
    __tracebackhide__ = True
    with explain("Standardizer(mean, std) raised", _SIGNS):
        model: Any = Standardizer(torch.tensor(mean), torch.tensor(std))
    assert isinstance(model, nn.Module), f"Standardizer makes an nn.Module, here a {type(model).__name__}"
    assert "_modules" in vars(model), "call super().__init__() first: without it nothing can be registered"
    fc = getattr(model, "fc", None)
    assert isinstance(fc, nn.Linear), f"fc is an nn.Linear(2, 1); here it is {fc!r}"
    sizes = (fc.in_features, fc.out_features, fc.bias is not None)
    assert sizes == (2, 1, True), f"fc is an nn.Linear(2, 1) with a bias; here it is {fc}"
    with torch.no_grad():
        fc.weight.copy_(torch.tensor([weight]))
        fc.bias.fill_(bias)
    return model


def _run(model: Any, x: torch.Tensor, what: str = "the model") -> torch.Tensor:
    __tracebackhide__ = True
    with explain(f"{what} raised when it was called", _SIGNS), unchanged("the batch is the caller's", x=x):
        out = model(x)
    assert isinstance(out, torch.Tensor), f"forward returns a tensor, got {type(out).__name__}"
    return out


def _save(model: Any, path: str | Path) -> Any:
    """Saves, and returns what torch.load reads from the file."""
    __tracebackhide__ = True
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    with explain("save raised", _SIGNS), unchanged("save changed the model", **tensors):
        save(model, path)
    there = Path(path).is_file()
    assert there, f"save wrote nothing to the path that was given, {Path(path).name}"
    signs = {
        "": "torch.load, with weights_only=True, refuses the file: it takes tensors in a dict; a whole model could "
        "run any program when it is loaded"
    }
    with explain("torch.load raised", signs):
        return torch.load(path, weights_only=True)


def _load(path: str | Path) -> Any:
    __tracebackhide__ = True
    with explain("load raised", _SIGNS):
        model = load(path)
    whole = isinstance(model, nn.Module) and isinstance(getattr(model, "fc", None), nn.Linear)
    assert whole, f"load returns the model, a Standardizer; got {type(model).__name__}"
    return model


def _check_keys(model: Any, when: str) -> None:
    __tracebackhide__ = True
    keys = list(model.state_dict())
    for name in ("mean", "std"):
        plain = name not in keys and isinstance(getattr(model, name, None), torch.Tensor)
        assert not plain, f"{when}, {name} is a plain attribute: it is not in the state_dict, so not in a file"
    assert "last_batch" not in keys, f"{when}, last_batch is in the state_dict: it is a cache, and is not saved"
    assert sorted(keys) == _KEYS, f"{when}, the state_dict has {sorted(keys)}, expected {_KEYS}"


def test_a_state_dict_holds_parameters_and_buffers():
    """By hand: (14 - 10) / 4 = 1 and (-3 + 2) / 0.5 = -2, so 3 * 1 - 1 * -2 + 0.5 = 5.5."""
    model = _make()
    _check_keys(model, "after Standardizer(mean, std)")
    check_tensor(model.state_dict()["mean"], torch.tensor([10.0, -2.0]), "mean in the state_dict")
    check_tensor(model.state_dict()["std"], torch.tensor([4.0, 0.5]), "std in the state_dict")
    for x, want in (
        (torch.tensor([[14.0, -3.0], [10.0, -2.0], [2.0, -1.0]]), torch.tensor([[5.5], [0.5], [-7.5]])),
        (torch.tensor([[10.0, -1.5]]), torch.tensor([[-0.5]])),
        (torch.tensor([[410.0, -2.0], [10.0, 98.0]]), torch.tensor([[300.5], [-199.5]])),  # far from the mean
    ):
        check_tensor(_run(model, x).detach(), want, "fc((x - mean) / std)", rtol=1e-6)
        _check_keys(model, "after a batch")
    other = _make((0.0, 1.0), (1.0, 2.0), (1.0, 1.0), 0.0)
    out = _run(other, torch.tensor([[5.0, 7.0]])).detach()
    check_tensor(out, torch.tensor([[8.0]]), "another model has a mean and a std of its own", rtol=1e-6)
    check_tensor(model.state_dict()["mean"], torch.tensor([10.0, -2.0]), "the first model's mean, after a second one")


@pytest.mark.myth(
    says="What a model should save has to be an nn.Parameter.",
    today="Buffers are saved too. A parameter goes to the optimizer, which would train the mean of your data.",
)
def test_the_scaling_is_not_trained():
    model = _make()
    for when in ("at first", "after a batch"):
        names = sorted(name for name, _ in model.named_parameters())
        extra = [name for name in names if not name.startswith("fc.")]
        assert not extra, (
            f"{when}, {extra[0]} is a parameter: the optimizer trains it; a buffer is saved and left alone"
        )
        assert names == ["fc.bias", "fc.weight"], f"{when}, the parameters are {names}, expected fc.bias and fc.weight"
        out = _run(model.train(), torch.tensor([[14.0, -3.0], [10.0, -3.0]]))
        with explain(
            "backward raised", {"does not require grad": "the result hangs on no graph: fc cannot be trained"}
        ):
            (out * torch.tensor([[1.0], [2.0]])).sum().backward()
        got = model.fc.weight.grad
        check_tensor(got, torch.tensor([[1.0, -6.0]]), "the gradient of fc.weight through (x - mean) / std", rtol=1e-5)
        model.zero_grad()
    assert not model.mean.requires_grad, "mean requires a gradient: it is the data's, and not learned"
    assert not model.std.requires_grad, "std requires a gradient: it is the data's, and not learned"


@pytest.mark.myth(
    says="A loaded model is in the mode in which it was saved.",
    today="The mode is not in the state_dict: a new model is in train mode, until somebody calls eval().",
)
@pytest.mark.parametrize("mode", ["train mode", "eval mode"])
def test_a_loaded_model_predicts_the_same_in_eval_mode(mode, tmp_path):
    x = torch.tensor([[0.3, 0.7], [-4.0, 2.0], [11.0, 0.1]])
    for path in (tmp_path / "a model.pt", str(tmp_path / "other")):
        model = _make((0.25, 3.0), (1.5, 0.2), (-0.7, 2.2), 0.1).train(mode == "train mode")
        _run(model, torch.ones(5, 2))
        with torch.no_grad():
            model.mean.add_(0.5)  # buffers are saved as they are now
        want = _run(model, x).detach().clone()
        _save(model, path)
        loaded = _load(path)
        fresh = not torch.equal(loaded.fc.weight.detach(), model.fc.weight.detach())
        assert not fresh, (
            f"fc.weight is {loaded.fc.weight.tolist()} after loading, and was {model.fc.weight.tolist()}: the saved "
            "weights are not in it"
        )
        scaling = [getattr(loaded, name, None) for name in ("mean", "std")]
        for name, got in zip(("mean", "std"), scaling, strict=True):
            check_tensor(got, getattr(model, name), f"{name} of the loaded model")
        modes = [module.training for module in loaded.modules()]
        assert not any(modes), (
            "the loaded model, or a part of it, is in train mode: a new model is, and the file says nothing of modes; "
            "for inference call eval()"
        )
        check_tensor(_run(loaded, x).detach(), want, "what the loaded model predicts", rtol=1e-6)


def test_a_file_is_a_snapshot(tmp_path):
    path = tmp_path / "model.pt"
    model = _make()
    _save(model, path)
    want = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for value in model.state_dict().values():
            value.mul_(7)
    first, second = _load(path), _load(path)
    for name, value in want.items():
        got = first.state_dict().get(name)
        check_tensor(got, value, f"{name} was edited after saving, and the loaded model has the edit")
    with torch.no_grad():
        for value in first.state_dict().values():
            value.zero_()
    for name, value in want.items():
        check_tensor(second.state_dict().get(name), value, f"two loaded models share {name}")
    _save(model, path)
    again = _load(path)
    for name, value in model.state_dict().items():
        check_tensor(again.state_dict().get(name), value, f"{name}, saved again to the same path, then loaded")


def test_buffers_move_with_the_model():
    model = _make((0.1, 1 / 3), (0.7, 3.0), (0.3, -0.9), 0.2)
    _run(model, torch.ones(2, 2))
    with explain("model.double() raised", _SIGNS):
        model.double()
    for name in ("mean", "std"):
        dtype = getattr(model, name).dtype
        assert dtype == torch.float64, f"after model.double() {name} is {dtype}: a plain attribute does not move"
    moved = getattr(model, "last_batch", None)
    assert moved is None or moved.dtype == torch.float64, f"after model.double() last_batch is {moved.dtype}"
    x = torch.tensor([[0.1, 2.0], [1 / 7, -5.0]], dtype=torch.float64)
    want = ((x - model.mean) / model.std) @ model.fc.weight.detach().T + model.fc.bias.detach()
    got = _run(model, x, "model.double() on a float64 input").detach()
    check_tensor(got, want, "fc((x - mean) / std) in float64", rtol=1e-9)
    kept = dict(model.named_buffers()).get("last_batch", x)
    check_tensor(kept.detach(), x, "last_batch after model.double() and a float64 batch")


def _leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
    elif isinstance(tree, list | tuple):
        for i, value in enumerate(tree):
            yield from _leaves(value, f"{name}[{i}]")
    else:
        yield name, tree


@pytest.mark.myth(
    says="torch.save(model) is an alternative that needs less code.",
    today="torch.load refuses such a file. Opened with weights_only=False, it may run any program: a matter of trust.",
)
def test_the_file_holds_tensors_only(tmp_path):
    model = _make()
    _run(model, torch.ones(3, 2))
    leaves = dict(_leaves(_save(model, tmp_path / "model.pt")))
    for name, value in leaves.items():
        assert isinstance(value, torch.Tensor), (
            f"{name or 'what'} in the file is a {type(value).__name__}, not a tensor"
        )
    cached = [name for name in leaves if "last_batch" in name]
    assert not cached, "last_batch is in the file: it is a cache, and is not saved"
    assert leaves, "the file holds no tensor"


def test_a_cache_is_a_buffer_that_is_not_saved():
    model = _make()
    for mode, x in (
        ("train", torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])),
        ("eval", torch.tensor([[0.5, -1.0]])),
        ("eval", torch.tensor([[7.0, 8.0]])),
        ("train", torch.arange(8.0).view(2, 4).T),
    ):
        _run(model.train(mode == "train"), x)
        buffers = dict(model.named_buffers())
        plain = "last_batch" not in buffers and hasattr(model, "last_batch")
        assert not plain, "last_batch is no buffer: it would stay behind when the model moves to another device"
        assert "last_batch" in buffers, f"after a batch the buffers are {sorted(buffers)}: there is no last_batch"
        check_tensor(buffers["last_batch"].detach(), x, f"last_batch after a batch of shape {tuple(x.shape)}")
        assert "last_batch" not in model.state_dict(), "last_batch is in the state_dict: persistent=False keeps it out"
