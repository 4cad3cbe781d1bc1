"""Blueprint on meta: a model's shapes without its memory

How many bytes will this model take? What shape comes out of its convolutions? You need no memory to know. A tensor on
the `meta` device has shape, strides and dtype, but no values: `torch.empty(10**6, 10**6, device="meta")` is free, and
operations on it work out shapes and nothing else. `x.nbytes` is the number of bytes that its values would take. A
model's weights are in `model.parameters()`.

A model makes its own tensors, so you cannot pass it a device each time. `with torch.device("meta"):` makes `meta` the
default device inside the block, for `torch.empty`, `torch.tensor`, every `nn` layer (not for `torch.from_numpy` or
`torch.load`). `build().to("meta")` is too late: the real thing was there first. `torch.set_default_device("meta")`
has no end: it stays on after your function, also after an error, and the next innocent tensor has no values.

The way back is not `.to("cpu")`: "Cannot copy out of meta tensor; no data!" `Module.to_empty` gives real memory, but
what is in it is garbage until something initialises it.

What is asked: all three leave the default device as it was. The first two must never make a real tensor; the third
gives a model that is ready for training, with its layers initialised as they do it themselves, and makes real tensors
nowhere but on the device asked for: on the way there, a large model must not go through the CPU.

About 20 minutes. Before it: which_device, what_to_moves.

https://docs.pytorch.org/docs/stable/meta.html
"""

import contextlib
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from dojo import under_test
from dojo.kit import check_tensor, explain


def param_bytes(build: Callable[[], nn.Module]) -> int:
    """The bytes that all parameters (not buffers) of the model `build()` take, without real memory for any of them."""
    raise NotImplementedError("add up the bytes of the parameters of a blueprint")


def output_shape(build: Callable[[], nn.Module], input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that the model `build()` gives for an input of `input_shape` and the default dtype, float32.

    Without real memory for either. The model's forward makes no tensors of its own but from those that it has.
    """
    raise NotImplementedError("send a blueprint of an input through a blueprint of the model")


def materialise(build: Callable[[], nn.Module], device: torch.device | str) -> nn.Module:
    """The model `build()`, made of torch.nn layers, with real, initialised parameters and buffers on `device`.

    Made there, not made elsewhere and then moved (a blueprint on meta may come first).
    """
    raise NotImplementedError("make the model for real")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


class _Spy(nn.Module):
    """A model that notes on which devices it is built and run."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen
        self.layer = nn.Linear(2, 3)
        seen["built"] |= {torch.empty(0).device.type, self.layer.weight.device.type}

    def forward(self, x):
        self.seen["input"].add(x.device.type)
        self.seen["built"].add(self.layer.weight.device.type)
        return x.new_empty(len(x), 3)


class _RealTensors(TorchFunctionMode):
    """Notes the largest real float tensor that comes into a call of torch or out of it."""

    numel = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        got = func(*args, **(kwargs or {}))
        for x in (got, *args):
            if isinstance(x, torch.Tensor) and x.is_floating_point() and not x.is_meta:
                self.numel = max(self.numel, x.numel())
        return got


def _tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, dtype=torch.float64), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


def _layers():
    return nn.Sequential(nn.Linear(64, 48), nn.Sequential(nn.BatchNorm1d(48), nn.Linear(48, 64)))


def _real_layers():
    for _ in range(2):  # memory that is freed here is what an uninitialised tensor gets next
        rubbish = [torch.full((n,), 1e30) for n in (48, 64, 48 * 64) for _ in range(40)]
        del rubbish
    copied = {"^NotImplementedError.*meta": "a meta tensor has no values that could be copied to a real device"}
    with explain("materialise failed on the device cpu", copied):
        model = materialise(_layers, "cpu")
    _default_is_cpu()
    assert isinstance(model, nn.Sequential), f"materialise returns the model of build(), not {type(model).__name__}"
    return model


def _default_is_cpu():
    default = torch.empty(0).device.type
    assert default == "cpu", f"materialise left {default} as the default device of the whole program"


def _bytes(build):
    with explain("param_bytes failed on a model of a few layers"):
        return param_bytes(build)


def test_a_parameter_takes_its_numel_times_the_size_of_its_dtype():
    got = _bytes(lambda: nn.Linear(2, 3))
    assert isinstance(got, int), f"param_bytes returns an int, not {type(got).__name__}"
    assert got == 36, f"Linear(2, 3) has 6 weights and 3 biases of 4 bytes, 36 in all; you said {got}"
    got = _bytes(lambda: nn.Linear(2, 3).half())
    assert got == 18, f"float16 values take 2 bytes each, 18 in all; you said {got}"
    got = _bytes(lambda: nn.BatchNorm1d(5))
    assert got == 40, f"BatchNorm1d(5) has 5 weights and 5 biases, 40 bytes; buffers are no parameters; you said {got}"
    got = _bytes(lambda: nn.Linear(2, 3).requires_grad_(False))
    assert got == 36, f"a parameter that is not trained takes memory too: 36 bytes; you said {got}"
    got, want = _bytes(_tied), (16 + 4 + 4) * 4 + (16 + 4) * 8
    assert got == want, f"a weight that two layers share is there once: {want} bytes in all, you said {got}"


def test_shapes_are_known_without_values():
    def build():
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten())

    for batch in (2, 1):
        with explain("output_shape failed where the model takes a float32 input of exactly input_shape"):
            got = output_shape(build, (batch, 3, 32, 32))
        assert isinstance(got, tuple | list), f"output_shape returns a tuple of ints, not {type(got).__name__}"
        assert tuple(got) == (batch, 7200), f"8 channels of 30 by 30, flat, make ({batch}, 7200); you said {tuple(got)}"


def test_a_blueprint_allocates_nothing():
    seen: dict[str, set[str]] = {"built": set(), "input": set()}
    param_bytes(lambda: _Spy(seen))
    assert seen["built"], "param_bytes never built the model"
    assert seen["built"] == {"meta"}, "param_bytes allocated the real thing: it was not only on meta"
    seen["built"].clear()
    with _RealTensors() as real:
        output_shape(lambda: _Spy(seen), (5, 2))
    assert seen["built"], "output_shape never built the model"
    assert seen["input"], "output_shape never ran the model"
    assert seen["built"] == {"meta"}, "output_shape allocated the real thing: it was not only on meta"
    assert seen["input"] == {"meta"}, f"the model is a blueprint, but its input was allocated on {seen['input'].pop()}"
    assert real.numel < 10, f"there was a real tensor of {real.numel} values: an input moved to meta is real before it"


@pytest.mark.parametrize("ends", ["well", "with an error"])
def test_a_default_device_lasts_until_it_is_reset(ends):
    def build():
        if ends != "well":
            raise ValueError("this model cannot be built")
        return nn.Linear(2, 3)

    for call in (lambda: param_bytes(build), lambda: output_shape(build, (5, 2)), lambda: materialise(build, "cpu")):
        failed = explain("the model Linear(2, 3), with an input of (5, 2), failed")
        with failed if ends == "well" else contextlib.suppress(ValueError):
            call()
        device = torch.empty(0).device.type
        assert device == "cpu", f"your call ended {ends} and left {device} as the default device of the whole program"
        torch.set_default_device("meta")  # somebody has another default
        try:
            with failed if ends == "well" else contextlib.suppress(ValueError):
                call()
            device = torch.empty(0).device.type
        finally:
            torch.set_default_device(None)
        assert device == "meta", f"meta was the default device before your call, and {device} was it afterwards"


@pytest.mark.filterwarnings("ignore:.*meta parameter")
def test_memory_is_not_yet_a_model():
    """The bound of Linear's own initialisation is 1/sqrt(number of inputs)."""
    model = _real_layers()
    assert model.training, "a model that is ready for training is in training mode, as build() made it"
    elsewhere = [f"{name} is on {x.device}" for name, x in model.state_dict().items() if not x.is_cpu]
    assert not elsewhere, f"parameters and buffers belong on the cpu\n{', '.join(elsewhere)}"
    for layer, bound in ((model[0], 1 / 8), (model[1][1], 48**-0.5)):
        low, high = layer.weight.min().item(), layer.weight.max().item()
        fits = -bound <= low < -bound / 2 and bound / 2 < high <= bound
        said = "the layer did not initialise its weights"
        assert fits, f"{said}\nthey go from {low:.3g} to {high:.3g}, not from -{bound:.3g} to {bound:.3g}"
        assert layer.weight.requires_grad, "the weights of the model must require a gradient"
    with torch.no_grad():
        spread = model[1][1].bias.std().item()
    assert 0.01 < spread < 0.15, (
        f"the layer did not initialise its biases\ntheir standard deviation is {spread:.3g}, not 0.08"
    )
    others: set[str] = set()
    seen: dict[str, set[str]] = {"built": set(), "input": set()}
    with contextlib.suppress(Exception):  # who refuses meta, because nothing is real there, looked at `device` too
        others = {x.device.type for x in materialise(_layers, "meta").state_dict().values()} - {"meta"}
    with contextlib.suppress(Exception):
        materialise(lambda: _Spy(seen), "meta")
    _default_is_cpu()
    assert not others, f"materialise(build, 'meta') gave a model on {sorted(others)}: it did not use `device`"
    elsewhere = sorted(seen["built"] - {"meta"})
    assert not elsewhere, f"materialise(build, 'meta') made the model on {elsewhere} first, and moved it then"


def test_every_layer_must_be_initialised_not_only_linear_ones():
    model = _real_layers()
    for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
        got = getattr(model[1][0], name).detach()
        check_tensor(
            got,
            torch.full((48,), value),
            f"BatchNorm1d starts with {name} = {value}; the layer did not initialise yours",
        )
    steps = model[1][0].num_batches_tracked
    check_tensor(steps, torch.tensor(0), "BatchNorm1d has seen no batch yet; it did not initialise its counter")


@pytest.mark.gpu
def test_a_blueprint_becomes_real_on_the_gpu():
    model = materialise(_layers, "cuda")
    assert isinstance(model, nn.Sequential), f"materialise returns the model of build(), not {type(model).__name__}"
    assert all(x.is_cuda for x in [*model.parameters(), *model.buffers()]), (
        "the whole model belongs on the device asked for"
    )
    assert model(torch.ones(2, 64, device="cuda")).isfinite().all(), "a fresh model gives finite numbers"
