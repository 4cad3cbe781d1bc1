"""Initialise so that depth works

Each layer multiplies the size of its signal by a factor. A factor of 0.6 is nothing in one layer, and 0.00004 in
twenty: the network still runs, its loss still falls a little, but it answers the same to every input. For layers with
ReLU behind them the factor is 1 if the weights are random, around 0, with a standard deviation of sqrt(2 / fan_in) (He,
also called Kaiming). `fan_in` is how many numbers go into one output: in_features of a Linear, and for a convolution
in_channels times the area of the kernel. The shape of the distribution does not matter, a normal or a uniform one.

PyTorch's own start is smaller: `kaiming_uniform_` with a=sqrt(5), a standard deviation of 1 / sqrt(3 * fan_in). Its
name sounds like the one above, and it is not.

Random they have to be: with equal rows all units compute the same and learn the same for ever. But not all is to be
random. A batch norm or layer norm starts with weights of 1, and the row of an embedding for padding (`padding_idx`) is
0. So ask each module for its type, not each parameter for its name or its number of dimensions.

Write into the parameter that is there, under `torch.no_grad()` (the functions of `torch.nn.init` do that by
themselves): an optimizer, or a layer with shared weights, holds the old one, and would not hear of a new one.

What is asked here: initialise all linear layers and convolutions of a model, and nothing else in it.

About 25 minutes. Before it: leaf_weights, layers_by_hand, batchnorm.

https://docs.pytorch.org/docs/stable/nn.init.html
"""

import copy
import math

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain


def init_(module: nn.Module) -> None:
    """Give each nn.Linear and nn.Conv2d in `module`, itself included and at any depth, a start for ReLU.

    Its weights: new random numbers in each call, around 0, with standard deviation sqrt(2 / fan_in), different for each
    layer and row. Its bias, if there is one: 0. In place: the parameters stay the same objects, with their dtype and
    requires_grad. All else stays as it is: norms, rows for padding, parameters of the model's own, the mode of each
    module (train or eval). Whether gradients are on, too.
    """
    raise NotImplementedError("initialise the linear layers and convolutions in module")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "leaf Variable": "a parameter is a leaf that requires a gradient: it can be written to under no_grad only",
    "cannot assign": "a parameter's name cannot be given to a plain tensor: write into the parameter that is there",
    "NoneType": "None is no tensor and cannot be written to; the bias of a layer with bias=False is None",
    "fewer than 2 dimensions": "fan_in of a vector was asked for: a bias and the weights of a norm have none",
}


def _init(module: nn.Module, case: str) -> None:
    with explain(f"init_ raised on {case}", _SIGNS):
        init_(module)


def _check_spread(weight: torch.Tensor, fan_in: int, fan_out: int, case: str) -> None:
    """Standard deviation sqrt(2 / fan_in), around 0; says which other rule gives what came out."""
    want, std = math.sqrt(2 / fan_in), weight.detach().std().item()
    others = {
        "torch's own start, 1 / sqrt(3 * fan_in), a = sqrt(5)": 1 / math.sqrt(3 * fan_in),
        "Xavier's, for tanh: sqrt(2 / (fan_in + fan_out))": math.sqrt(2 / (fan_in + fan_out)),
        "sqrt(2 / fan_out): fan_in counts what goes into one output": math.sqrt(2 / fan_out),
        "sqrt(2 / in_channels): the area of the kernel is forgotten": math.sqrt(2 / weight.shape[1]),
        "sqrt(1 / fan_in): without the 2, for the half that ReLU drops": math.sqrt(1 / fan_in),
        "2 / fan_in: that is the variance": 2 / fan_in,
        "a uniform from -s to s, whose standard deviation is s / sqrt(3)": want / math.sqrt(3),
    }
    if abs(std / want - 1) > 0.08:
        cause = next((f"\nIt is that of {rule}" for rule, s in others.items() if abs(std - s) <= 0.04 * s), "")
        raise AssertionError(f"standard deviation {std:.4f} in {case}, expected sqrt(2 / {fan_in}) = {want:.4f}{cause}")
    mean = weight.detach().mean().item()
    assert abs(mean) < 0.1 * want, f"the weights of {case} have mean {mean:.4f}: they are to be around 0"


def test_the_spread_of_linear_weights_depends_on_the_number_of_inputs():
    for fan_in, fan_out in ((400, 100), (60, 300)):
        layer = nn.Linear(fan_in, fan_out)
        _init(layer, f"nn.Linear({fan_in}, {fan_out})")
        same = len(torch.unique(layer.weight.detach(), dim=0)) < fan_out
        assert not same, "two rows of the weights are equal: these two units compute and learn the same for ever"
        _check_spread(layer.weight, fan_in, fan_out, f"nn.Linear({fan_in}, {fan_out})")
    first = layer.weight.detach().clone()
    _init(layer, "the same layer again")
    same = torch.allclose(layer.weight, first)
    assert not same, "a second call gave the same numbers, expected new random ones"


def test_the_inputs_of_a_convolution_are_channels_times_kernel_area():
    for channels, out, kernel in ((16, 8, (5, 5)), (4, 64, (2, 6))):
        case = f"nn.Conv2d({channels}, {out}, {kernel})"
        layer = nn.Conv2d(channels, out, kernel)
        _init(layer, case)
        area = kernel[0] * kernel[1]
        _check_spread(layer.weight, channels * area, out * area, case)


def test_biases_start_at_zero():
    net = nn.Sequential(
        nn.Linear(4, 8), nn.Conv2d(3, 5, 2), nn.Linear(4, 8, bias=False), nn.Conv2d(3, 5, 2, bias=False)
    )
    with torch.no_grad():
        for layer in net[:2]:
            layer.bias.fill_(0.7)
    _init(net, "layers with and without bias")
    for layer in net[:2]:
        n = layer.bias.numel()
        check_tensor(layer.bias.detach(), torch.zeros(n), f"the bias of nn.{type(layer).__name__} starts at 0")
    assert net[2].bias is None, "a layer that was made without bias has one now"
    assert net[3].bias is None, "a layer that was made without bias has one now"


def test_parameters_are_written_to_and_not_replaced():
    inside = nn.ModuleDict({"deep": nn.ModuleList([nn.Linear(5, 4).requires_grad_(False)])})
    net = nn.Sequential(nn.Linear(6, 5), nn.Conv2d(2, 3, 2), inside).double()
    names, before = [name for name, _ in net.named_parameters()], list(net.parameters())
    values = [p.detach().clone() for p in before]
    flags = [p.requires_grad for p in before]
    net[1].eval()
    with torch.enable_grad():
        _init(net, "a float64 model with a frozen layer")
        assert torch.is_grad_enabled(), "init_ left gradients switched off: nothing can be trained after it"
    with torch.no_grad():
        _init(net, "the same model, where gradients are off")
        assert not torch.is_grad_enabled(), "gradients were off when init_ was called, and on afterwards"
    modes = [m.training for m in net]
    assert modes == [True, False, True], f"the modes were train, eval, train; module.training is {modes} now"
    after = dict(net.named_parameters())
    for name, p, flag, old in zip(names, before, flags, values, strict=True):
        assert after.get(name) is p, (
            f"{name} is another parameter now: an optimizer that was made before has the old one"
        )
        assert p.dtype == torch.float64, f"{name} was float64, and is {p.dtype} now"
        assert p.requires_grad is flag, f"{name}.requires_grad was {flag}, and is {p.requires_grad} now"
        assert p.is_leaf, f"{name} is the result of an operation now, no leaf: init_ has to write under no_grad"
        assert not torch.equal(p, old), f"{name} is as it was: nothing was initialised there"
    with explain("a forward and backward after init_ raised"):
        (net[0](torch.ones(2, 6, dtype=torch.float64)) * torch.tensor([1.0, -2, 3, -4, 5])).sum().backward()
    assert net[0].weight.grad is not None, "after init_ no gradient reaches the weights"


@pytest.mark.myth(
    says="PyTorch initialises linear layers by Kaiming's rule, so a deep ReLU network works as it is.",
    today="kaiming_uniform_ with a=sqrt(5) is far smaller: behind 20 layers all inputs look the same.",
)
def test_a_signal_survives_twenty_layers():
    blocks = [nn.Sequential(nn.Linear(256, 256), nn.ReLU()) for _ in range(20)]
    net, x = nn.Sequential(*blocks), torch.randn(16, 256)
    assert net(x).std(0).max() < 1e-5, "as torch makes it, the net gives the same answer to all inputs"
    _init(net, "twenty blocks of Linear and ReLU")
    with torch.no_grad():
        y = net(x)
    spread, between = y.std().item(), y.std(0).mean().item()
    assert spread < 10, f"the signal exploded in twenty layers: standard deviation {spread:.2g}, expected about 1"
    assert spread > 0.1, f"the signal vanished in twenty layers: standard deviation {spread:.2g}, expected about 1"
    assert between > 0.01, f"behind twenty layers the answers to 16 inputs differ by {between:.2g}: all look the same"
    same = torch.equal(blocks[0][0].weight, blocks[1][0].weight)
    assert not same, "two layers of the same shape got the same numbers"


class _Model(nn.Module):
    """With all that init_ has to leave alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Embedding(7, 6, padding_idx=0), nn.Embedding(7, 6, padding_idx=3)
        self.conv, self.batch_norm = nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6)
        self.layer_norm, self.linear = nn.LayerNorm(6), nn.Linear(6, 6)
        self.scale, self.mixing = nn.Parameter(torch.full((6,), 0.7)), nn.Parameter(torch.eye(6))
        with torch.no_grad():
            self.batch_norm.bias.fill_(0.4)
            self.layer_norm.bias.fill_(0.2)
        self.batch_norm.running_mean.fill_(0.3)
        self.batch_norm.running_var.fill_(2.0)


def test_norms_and_padding_rows_keep_their_start():
    model = _Model()
    before = copy.deepcopy(model.state_dict())
    _init(model, "a model with norms and embeddings")
    for name in ("layer_norm.weight", "batch_norm.weight"):
        got = model.state_dict()[name]
        check_tensor(got, torch.ones(6), f"{name} starts at 1: a norm is neither a Linear nor a Conv2d")
    for name, row in (("first", 0), ("last", 3)):
        got = model.get_submodule(name).weight[row].detach()
        check_tensor(got, torch.zeros(6), f"row {row} of {name}.weight is for padding, and 0")
    for name in ("batch_norm.running_mean", "batch_norm.running_var", "layer_norm.bias", "batch_norm.bias"):
        check_tensor(model.state_dict()[name], before[name], f"{name} stays as it is")
    for name in ("scale", "mixing"):
        check_tensor(model.state_dict()[name], before[name], f"{name}, a parameter of the model's own, stays as it is")
