"""What `module.to` moves, and what stays behind

`model.to("cuda")` changes the module itself and returns it (a tensor's `.to` does neither). It moves what the module
knows about: its parameters, its buffers, and those of the modules inside it. What stays behind is all that Python knows
and the module does not: a tensor that is a plain attribute, and layers in a plain list or dict. Those layers are not
even parameters of the model: no optimizer trains them and no checkpoint holds them. `nn.ModuleList` is the list that a
module knows about. A module can take things in only after `super().__init__()`.

A tensor that belongs to the module but is not trained is a *buffer*: `self.register_buffer("mean", mean)`. It moves, it
is saved (unless persistent=False), and it is no parameter. With a dtype, `.to` changes what floats, parameters and
buffers, and leaves integer buffers as they are.

The third trap is born in `forward`: `torch.arange(t)` makes its tensor on the default device, whatever the device of
the model. A module has no `.device`, since its parts may be on several; ask the input, and pass on its answer as
`device=`.

What is asked: tensors and layers that come along, and positions that are where `x` is.

About 30 minutes. Before it: which_device, move_a_batch.

https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html
"""

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import OneDevicePerOp, check_tensor, explain


class Scaler(nn.Module):
    """Computes (x - mean) / std. `mean` and `std` move and are saved with the module, but are not trained."""

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """`mean` and `std` are (C,)."""
        raise NotImplementedError("keep mean and std so that they belong to the module")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` is (N, C), on the device and of the dtype of the module, and so is the result.

        `x` is not changed, and gradients reach it.
        """
        raise NotImplementedError("scale x")


class Tower(nn.Module):
    """`n` different layers `nn.Linear(4, 4)`, which the module knows about, in `self.layers`. No forward is asked."""

    def __init__(self, n: int) -> None:
        """Make the layers; `self.layers[i]` is the i-th one."""
        raise NotImplementedError("make self.layers")


def positions(x: torch.Tensor) -> torch.Tensor:
    """0, 1, ... T-1 as (T,) int64, on the device of `x`, which is (B, T) or (B, T, ...) of any dtype."""
    raise NotImplementedError("count along dim 1 of x, where x is")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_MEAN, _STD = (1.0, -2.0, 4.0), (0.5, 2.0, 4.0)


def _scaler(mean=_MEAN, std=_STD):
    early = "something was registered in Scaler before super().__init__()"
    with explain("Scaler(mean, std) raised", {"Module.__init__|_buffers|_parameters": early}):
        scaler = Scaler(torch.tensor(mean), torch.tensor(std))
    assert isinstance(scaler, nn.Module), "Scaler is no nn.Module any more: keep its base class"
    with explain("Scaler(mean, std).state_dict() raised", {"has no attribute": "super().__init__() was not called"}):
        scaler.state_dict()
    return scaler


def _inputs():
    """x, and what a Scaler of _MEAN and _STD makes of it."""
    return torch.tensor([[1.0, 0.0, 0.0], [2.0, -6.0, 6.0]]), torch.tensor([[0.0, 1.0, -1.0], [2.0, -2.0, 0.5]])


def test_a_module_computes_with_its_tensors():
    x, want = _inputs()
    with explain("Scaler raised on CPU tensors (2, 3) and (1, 3)"):
        got = _scaler()(x)
        one = _scaler()(x[:1].clone())
        through = _scaler()(_inputs()[0].requires_grad_() * 1)
    check_tensor(got, want, "Scaler computes (x - mean) / std", rtol=1e-5, atol=1e-6)
    check_tensor(x, _inputs()[0], "Scaler changed its input")
    assert through.requires_grad, "x requires grad, the result does not: no gradient reaches what comes before a Scaler"
    check_tensor(one, want[:1], "x may hold one sample, (1, C): so does the result", rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a parent"])
def test_to_moves_the_tensors_that_a_module_knows(inside):
    """Meta stands for a GPU here."""
    scaler = _scaler()
    module = nn.Sequential(scaler) if inside else scaler
    with explain("Scaler(mean, std).to('meta') raised"):
        moved = module.to("meta")
    assert moved is module, "module.to changes the module and returns it: yours does not return itself"
    sentence = "the moved Scaler met two devices: a tensor that the module does not know stayed behind"
    if inside and type(scaler).to is not nn.Module.to:
        sentence += " The parent moves what it knows about, it does not call a `to` that you wrote"
    otherwise = "the moved Scaler raised on its new device: meta, with shapes but no values"
    with OneDevicePerOp(), explain(otherwise, {"^(RuntimeError|NotImplementedError).*device": sentence}):
        got = module(torch.empty(2, 3, device="meta"))
    check_tensor(got, torch.empty(2, 3, device="meta"), "the moved module makes its result on its new device")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=["float64", "float16"])
def test_to_changes_the_dtype_of_what_a_module_knows(dtype):
    x = _inputs()[0].to(dtype) / 3
    want, tol = (x - torch.tensor(_MEAN, dtype=dtype)) / torch.tensor(_STD, dtype=dtype), 4 * torch.finfo(dtype).eps
    with explain(f"Scaler raised on an x of {dtype}, after .to({dtype})"):
        scaler = _scaler()
        scaler.to(dtype)
        got = scaler(x)
    if isinstance(got, torch.Tensor):
        assert got.dtype == dtype, (
            f"after .to({dtype}) and on such an x, your result is {got.dtype}: something kept its own"
        )
    check_tensor(got, want, f"(x - mean) / std, as exact as {dtype} is", rtol=tol, atol=tol)


def test_a_buffer_is_saved_and_not_trained():
    scaler = _scaler()
    trained = [name for name, _ in scaler.named_parameters()]
    assert not trained, f"{trained} are parameters: an optimizer would be given them; mean and std are not trained"
    state = scaler.state_dict()
    saved = {number for value in state.values() if torch.is_tensor(value) for number in value.flatten().tolist()}
    for name, want in (("mean", _MEAN), ("std", _STD)):
        assert saved >= set(want), (
            f"the values of {name} are not in the state_dict (its names: {list(state)}): a checkpoint would lose them"
        )
    x, want = _inputs()
    other = _scaler((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    with explain("another Scaler could not load this one's state_dict, and compute"):
        other.load_state_dict(state)
        got = other(x)
    check_tensor(got, want, "mean and std were loaded, but the result does not use them", rtol=1e-5, atol=1e-6)


def _layers(tower):
    """The layers in order; those of a dict have names besides."""
    return list(tower.layers.values() if hasattr(tower.layers, "values") else tower.layers)


def test_layers_in_a_python_list_are_lost():
    with explain("Tower(3), or the reading of its layers, raised"):
        tower = Tower(3)
        layers = _layers(tower)
        parameters = list(tower.parameters())
    assert len(layers) == 3, f"Tower(3).layers holds 3 layers, yours holds {len(layers)}"
    assert len({id(layer) for layer in layers}) == 3, "tower.layers holds the same layer more than once"
    assert parameters, (
        "the tower has no parameters: the module does not know layers that are in a plain Python list, tuple or dict"
    )
    assert len(parameters) == 6, (
        f"3 layers have a weight and a bias each, so 6 parameters: the tower knows {len(parameters)}"
    )
    shapes = [tuple(p.shape) for p in parameters]
    assert sorted(shapes) == [(4,)] * 3 + [(4, 4)] * 3, f"the layers are nn.Linear(4, 4); your parameters are {shapes}"
    with explain("tower.to('meta') raised"):
        tower.to("meta")
        layers = _layers(tower)
        left = [i for i, layer in enumerate(layers) for p in layer.parameters() if p.device.type != "meta"]
    assert not left, f"tower.layers[{left[0]}] stayed behind: the module must know the layers in self.layers themselves"
    with explain("Tower(2) raised"):
        n_layers = len(_layers(Tower(2)))
    assert n_layers == 2, f"Tower(2).layers holds 2 layers, yours holds {n_layers}"


def test_a_tensor_made_in_forward_is_born_where_you_say():
    here, there = torch.zeros(2, 5), torch.zeros(2, 5, 3, device="meta")
    with (
        explain("positions raised, for an x of shape (2, 5), (2, 5, 3) on meta, (1, 300) or (1, 3000)"),
        OneDevicePerOp(),
    ):
        got, moved = positions(here), positions(there)
        other = positions(torch.zeros(1, 300, dtype=torch.uint8))
        half = positions(torch.zeros(1, 3000, dtype=torch.float16))
    check_tensor(got, torch.tensor([0, 1, 2, 3, 4]), "x is (2, 5): T is dim 1, so the positions are 0 to 4, int64")
    if isinstance(moved, torch.Tensor):
        assert moved.device == there.device, (
            f"x is on meta, your positions on {moved.device}: they must be born where x is"
        )
    check_tensor(moved, torch.empty(5, dtype=torch.int64, device="meta"), "x is (2, 5, 3): T is dim 1, so 5 positions")
    check_tensor(other, torch.arange(300), "x is (1, 300) uint8: T is 300 this time, the positions are 0 to 299, int64")
    check_tensor(half, torch.arange(3000), "x is (1, 3000) float16: T is 3000, and float16 cannot count so far")
