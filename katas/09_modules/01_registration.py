"""What counts as a parameter

A model is a class that inherits from `nn.Module`. In `__init__` you make its layers, in `forward` you use them, and you
call the model itself: `model(x)`. Whatever PyTorch does with a model begins with one question: which parameters has it?
`model.parameters()` feeds the optimizer, `model.double()` and `model.to("cuda")` move them, `state_dict()` saves them.

A layer is *registered* when you assign it as an attribute, `self.first = nn.Linear(4, 8)`, after `super().__init__()`.
A plain Python list hides its layers: forward works, nothing is said, and nothing is trained, moved or saved, until SGD
says "optimizer got an empty parameter list". For many layers there is `nn.ModuleList([...])`, used like a list, and
`nn.Sequential(a, b, c)`, which also calls them one after the other. `print(model)` shows what is registered.

Two traps more. `[layer] * 3` is one layer three times. And `nn.ReLU` is a class: `nn.ReLU(x)` applies nothing, it
builds a layer and takes x for its option `inplace`. Write `nn.ReLU()(x)`, or the function `torch.relu(x)`, which is
also `F.relu(x)`. Inside `nn.Sequential` only modules can stand: `nn.ReLU()`, not the function.

What is asked here: a network of any depth, and the same network as an nn.Sequential, which shares its layers.

About 20 minutes. Before it: leaf_weights, manual_sgd.
Path: first_day, transformer

https://docs.pytorch.org/docs/stable/notes/modules.html
"""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


class MLP(nn.Module):
    """Linear layers, with a ReLU between each two of them and none after the last.

    `MLP([4, 8, 2])` is nn.Linear(4, 8), ReLU, nn.Linear(8, 2); `MLP([4, 2])` is a single nn.Linear(4, 2). Each layer
    has a weight and a bias of its own, with random values of its own, also where the sizes are equal. All of them are
    registered, and nothing else is a parameter.
    """

    def __init__(self, sizes: list[int]) -> None:
        """`sizes`: how many numbers go in, then how many each layer gives; two entries or more. It stays as it is."""
        raise NotImplementedError("make the layers, and register them")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, sizes[0]) -> (n, sizes[-1]), for each n from 1 on, in the dtype of the weights.

        Gradients flow to the weights and to `x`. `x` and the model, its modes too, stay as they are.
        """
        raise NotImplementedError("send x through the layers, with a ReLU between")


def as_sequential(mlp: MLP) -> nn.Sequential:
    """The network of `mlp` as an nn.Sequential: the same outputs, from the very same parameters (the same objects).

    So whoever trains one trains both. `mlp` has any number of layers, and stays as it is.
    """
    raise NotImplementedError("an nn.Sequential on the layers of mlp")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    r"before Module\.__init__\(\) call": "call super().__init__() first: before it, the model cannot register anything",
    "relu is not a Module subclass|function is not a Module": "nn.Sequential takes modules only: nn.ReLU(), not a "
    "function such as F.relu",
    "is not a Module subclass": "nn.Sequential takes modules only, one by one: a list has to be unpacked with *",
    "not ReLU|ReLU' object|value of Tensor with more": "nn.ReLU(x) builds a layer and applies nothing: nn.ReLU()(x) "
    "does, or torch.relu(x)",
    r"ModuleList\] is missing": "an nn.ModuleList holds layers, but cannot be called: nn.Sequential wants its layers, "
    "unpacked with *",
    "must have the same dtype": "some weights, or x on its way, stayed float32 where the model is float64",
}


def _mlp(sizes):
    """MLP(sizes), where that is a module."""
    __tracebackhide__ = True
    given = list(sizes)
    with explain(f"MLP({sizes}) raised", _SIGNS):
        mlp = MLP(given)
    assert given == sizes, f"MLP changed the list that it was given: it is {given}, and it was {sizes}"
    assert isinstance(mlp, nn.Module), f"MLP makes an nn.Module, and here it made a {type(mlp).__name__}"
    assert "_modules" in vars(mlp), "call super().__init__() first: without it the model cannot register anything"
    return mlp


def _run(model, x, what="the model") -> Any:
    __tracebackhide__ = True
    with explain(f"{what} raised when it was called", _SIGNS):
        return model(x)


def _sequential(mlp):
    """as_sequential(mlp), where that is an nn.Sequential and mlp is as it was."""
    __tracebackhide__ = True
    with explain("as_sequential raised", _SIGNS), unchanged("as_sequential must leave mlp as it is", mlp=mlp):
        net = as_sequential(mlp)
    assert isinstance(net, nn.Sequential), f"expected an nn.Sequential, got {type(net).__name__}"
    return net


def _value(*shape):
    """What the tests write into each parameter of this shape."""
    numbers = torch.arange(1, 1 + torch.Size(shape).numel(), dtype=torch.float64)
    return (torch.sin(numbers * 2.3) + 0.1).view(shape)


def _fill(mlp):
    """The model in float64, with known weights."""
    with explain("model.double() raised"):
        mlp = mlp.double()
    with torch.no_grad():
        for p in mlp.parameters():
            p.copy_(_value(*p.shape))
    return mlp


def _by_hand(sizes, x, between=torch.relu, last=torch.clone):
    """What the network gives with these weights."""
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        x = x @ _value(n_out, n_in).T + _value(n_out)
        x = last(x) if i == len(sizes) - 2 else between(x)
    return x


def _equal(a, b):
    return isinstance(a, torch.Tensor) and a.shape == b.shape and torch.allclose(a.to(b.dtype), b, rtol=1e-6)


@pytest.mark.myth(
    says="A layer that forward uses is a layer of the model.",
    today="Only what is assigned as an attribute, or put in an nn.ModuleList, is registered; a plain list hides it.",
)
def test_a_layer_in_a_plain_list_is_no_part_of_the_model():
    mlp = _mlp([4, 8, 8, 2])
    found = [tuple(p.shape) for p in mlp.parameters()]
    holders = [
        name
        for name, value in vars(mlp).items()
        if not name.startswith("_") and isinstance(value, list | tuple | dict) and "Linear(" in repr(value)
    ]
    kind = type(vars(mlp)[holders[0]]).__name__ if holders else ""
    hidden = f": self.{holders[0]} is a plain {kind}, which PyTorch does not look into" if holders else ""
    assert len(found) == 6, (
        f"{len(found)} registered parameters, expected 6, a weight and a bias of each of three layers"
        f"{hidden}\nprint(mlp) shows:\n{mlp}"
    )
    numbers = sorted(p.numel() for p in mlp.parameters())
    assert numbers == [2, 8, 8, 16, 32, 64], f"the parameters of MLP([4, 8, 8, 2]) have other shapes: {found}"
    assert all(p.requires_grad for p in mlp.parameters()), "the parameters are to be trained, and some are switched off"
    out = _run(mlp, torch.ones(3, 4))
    assert isinstance(out, torch.Tensor), f"forward returns a tensor, got {type(out).__name__}"
    assert tuple(out.shape) == (3, 2), f"3 rows of 4 numbers become (3, 2), got {tuple(out.shape)}"


def test_a_layer_times_four_is_one_layer():
    mlp = _mlp([4, 4, 4, 4, 4])
    count = sum(p.numel() for p in mlp.parameters())
    assert count != 20, "20 numbers, expected 80: one layer stands there four times, [layer] * 4 copies nothing"
    assert count == 80, f"MLP([4, 4, 4, 4, 4]) has four layers of 4*4 + 4 numbers: expected 80 in all, got {count}"
    weights = [p for p in mlp.parameters() if p.dim() == 2]
    twins = [i for i, w in enumerate(weights) if any(torch.equal(w, other) for other in weights[:i])]
    assert not twins, (
        "two layers start with equal weights, and each has to draw its own: "
        "a copy of a layer copies its random numbers too"
    )
    other = [p for p in _mlp([4, 4, 4, 4, 4]).parameters() if p.dim() == 2]
    assert not any(a is b for a in weights for b in other), "two models share a layer: each makes its own, in __init__"
    seeded = any(torch.equal(a, b) for a in weights for b in other)
    assert not seeded, "a second model starts with the weights of the first: each model draws random values of its own"


@pytest.mark.myth(
    says="nn.ReLU(x) applies ReLU to x.",
    today="It builds a layer, and x is taken for its option inplace: nn.ReLU()(x) or torch.relu(x) applies it.",
)
@pytest.mark.parametrize(
    "sizes",
    [[3, 5, 4, 2], [2, 2, 3, 2], [3, 2], [3, 1]],
    ids=["three layers", "equal sizes", "one layer", "one number comes out"],
)
def test_relu_stands_between_the_layers_only(sizes):
    x = torch.linspace(-2, 3, 5 * sizes[0], dtype=torch.float64).view(5, sizes[0])
    want = _by_hand(sizes, x, between=nn.ReLU())
    layer: Any = nn.ReLU(x)
    assert layer.inplace is x, "nn.ReLU(x) is a layer that was not called, and x became an option of it"
    mlp = _fill(_mlp(sizes))
    with unchanged("the input belongs to the caller, and the model stays as it is", x=x, model=mlp):
        out = _run(mlp, x, f"MLP({sizes})")
    assert not _equal(out, _by_hand(sizes, x, last=torch.relu)), (
        f"no negative output: MLP({sizes}) has a ReLU after its last layer, which cuts off half of what it can say"
    )
    if len(sizes) > 2:
        assert not _equal(out, _by_hand(sizes, x, between=torch.clone)), (
            "without ReLU between them, the layers are together one straight line: put one after each but the last"
        )
    said = f"MLP({sizes}) is a Linear for each step, with a ReLU between"
    check_tensor(out, want, said, rtol=1e-9, atol=1e-12)
    check_tensor(_run(mlp, x.flip(0)), want.flip(0), f"{said}, called again", rtol=1e-9, atol=1e-12)
    check_tensor(_run(mlp, x[3:4]), want[3:4], f"{said}, for a single row", rtol=1e-9, atol=1e-12)


def test_one_backward_reaches_every_parameter():
    sizes = [3, 5, 4, 2]
    x, c = torch.linspace(-2, 3, 15, dtype=torch.float64).view(5, 3), torch.tensor([1.0, -3.0], dtype=torch.float64)
    mlp = _fill(_mlp(sizes))
    out = _run(mlp, x.requires_grad_())
    assert getattr(out, "requires_grad", False), "the output hangs on no graph: nothing can be trained"
    with explain("backward raised"):
        (out * c).sum().backward()
    without = [name for name, p in mlp.named_parameters() if p.grad is None]
    assert not without, f"no gradient came to {', '.join(without)}: forward does not use it, or leaves the graph"
    reached = {tuple(p.shape): p.grad for p in mlp.parameters()}
    bias = (c * torch.ones(5, 2)).sum(0)
    check_tensor(reached[2,], bias.double(), "the last bias gets the sum of what comes from above", rtol=1e-9)
    assert x.grad is not None, "no gradient came to x: what stands in front of this model could not learn"
    want = torch.autograd.grad((_by_hand(sizes, x) * c).sum(), x)[0]
    check_tensor(x.grad, want, "the gradient of x", rtol=1e-9, atol=1e-12)


def test_double_reaches_what_is_registered():
    for sizes in ([4, 8, 8, 2], [4, 2]):
        mlp = _mlp(sizes)
        with explain("model.double() raised"):
            mlp.double()
        out = _run(mlp, torch.ones(3, 4, dtype=torch.float64), f"MLP({sizes}).double()")
        assert isinstance(out, torch.Tensor), f"forward returns a tensor, got {type(out).__name__}"
        assert out.dtype == torch.float64, f"a model in float64 gives float64, got {out.dtype}"


@pytest.mark.parametrize("sizes", [[3, 5, 4, 2], [2, 2, 2, 2, 2], [3, 2]], ids=["three", "four of a size", "one"])
def test_a_sequential_of_the_same_layers_is_the_same_network(sizes):
    mlp = _fill(_mlp(sizes))
    x = torch.linspace(-2, 3, 5 * sizes[0], dtype=torch.float64).view(5, sizes[0])
    want = _run(mlp, x).detach()
    out = _run(_sequential(mlp), x, "the nn.Sequential")
    plain = _by_hand(sizes, x, between=torch.clone)
    assert len(sizes) == 2 or not _equal(out, plain), (
        "the nn.Sequential has no ReLU: what forward does besides calling layers is lost, it needs modules for that"
    )
    check_tensor(out, want, "the nn.Sequential gives what mlp gives", rtol=1e-9, atol=1e-12)


def test_two_models_can_share_their_layers():
    mlp = _mlp([3, 5, 2])
    net = _sequential(mlp)
    before = [p.detach().clone() for p in mlp.parameters()]
    params = list(net.parameters())
    assert params, "the nn.Sequential has no parameters"
    with explain("training the nn.Sequential raised", _SIGNS):
        optimizer = torch.optim.SGD(params, lr=0.1)
        (net(torch.ones(4, 3)) * torch.tensor([1.0, -2.0])).sum().backward()
        optimizer.step()
    moved = [not torch.equal(p, b) for p, b in zip(mlp.parameters(), before, strict=True)]
    assert any(moved), "SGD on the nn.Sequential did not move mlp: copies do not train together"
    ours, theirs = {id(p) for p in mlp.parameters()}, {id(p) for p in params}
    memory = {p.data_ptr() for p in mlp.parameters()} == {p.data_ptr() for p in params}
    because = ": equal memory is not enough, gradients belong to the object" if memory else ", each has to be the same"
    assert ours == theirs, (
        f"the nn.Sequential has {len(theirs - ours)} parameters that are no parameters of mlp, and lacks "
        f"{len(ours - theirs)} of mlp's{because}"
    )
