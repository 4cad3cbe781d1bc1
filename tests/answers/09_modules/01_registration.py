"""Answers that people give to registration, right ones and wrong ones."""

import copy
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


class _Numbered(nn.Module):
    """Attributes with numbers, one ReLU for all."""

    def __init__(self, sizes):
        super().__init__()
        self.n = len(sizes) - 1
        for i in range(self.n):
            setattr(self, f"fc{i}", nn.Linear(sizes[i], sizes[i + 1]))
        self.relu = nn.ReLU()

    def forward(self, x):
        for i in range(self.n):
            x = getattr(self, f"fc{i}")(x)
            if i < self.n - 1:
                x = self.relu(x)
        return x


def _numbered(mlp):
    net = nn.Sequential()
    for i in range(mlp.n):
        net.add_module(f"fc{i}", getattr(mlp, f"fc{i}"))
        if i + 1 < mlp.n:
            net.add_module(f"relu{i}", mlp.relu)
    return net


class _IsSequential(nn.Sequential):
    def __init__(self, sizes):
        modules = []
        for a, b in zip(sizes, sizes[1:], strict=False):
            modules += [nn.Linear(a, b), nn.ReLU(inplace=True)]
        super().__init__(*modules[:-1])


class _Dict(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.layers = nn.ModuleDict({f"l{i}": nn.Linear(*sizes[i : i + 2]) for i in range(len(sizes) - 1)})

    def forward(self, x):
        *hidden, last = self.layers.values()
        for layer in hidden:
            x = F.relu(layer(x), inplace=True)
        return last(x)


def _from_dict(mlp):
    parts = OrderedDict()
    for name, layer in mlp.layers.items():
        parts[name] = layer
        parts[f"{name}_relu"] = nn.ReLU()
    parts.popitem()
    return nn.Sequential(parts)


class _Parameters(nn.Module):
    """Weights without layers."""

    def __init__(self, sizes):
        super().__init__()
        made = [nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
        self.weights = nn.ParameterList([layer.weight for layer in made])
        self.biases = nn.ParameterList([layer.bias for layer in made])

    def forward(self, x):
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = F.linear(x if i == 0 else x.clamp(min=0), w, b)
        return x


def _layers_on_the_parameters(mlp):
    modules = []
    for w, b in zip(mlp.weights, mlp.biases, strict=True):
        layer = nn.Linear(w.shape[1], w.shape[0])
        layer.weight, layer.bias = w, b
        modules += [layer, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


class _ListOfBoth(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(sizes[0], sizes[1])])
        for a, b in zip(sizes[1:-1], sizes[2:], strict=True):
            self.layers.extend([nn.ReLU(), nn.Linear(a, b)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class _AddModule(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.names = []
        for i in range(1, len(sizes)):
            self.names.append(f"linear_{i}")
            self.add_module(f"linear_{i}", nn.Linear(sizes[i - 1], sizes[i]))

    def forward(self, x):
        for name in self.names[:-1]:
            x = torch.maximum(self._modules[name](x), torch.zeros((), dtype=x.dtype))
        return self._modules[self.names[-1]](x)


def _linears_found(mlp):
    linears = [m for m in mlp.modules() if isinstance(m, nn.Linear)]
    net = nn.Sequential(linears[0])
    for layer in linears[1:]:
        net.append(nn.ReLU())
        net.append(layer)
    return net


class _OwnParameters(nn.Module):
    """As before there were layers: matrices of random numbers, biases of zero."""

    def __init__(self, sizes):
        super(_OwnParameters, self).__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for i in range(len(sizes) - 1):
            self.weights.append(nn.Parameter(torch.randn(sizes[i + 1], sizes[i]) * 0.1))
            self.biases.append(nn.Parameter(torch.zeros(sizes[i + 1])))

    def forward(self, x):
        for i in range(len(self.weights)):
            x = x.matmul(self.weights[i].t()) + self.biases[i]
            if i < len(self.weights) - 1:
                x = x * (x > 0).to(x.dtype)
        return x


RIGHT = [
    {"MLP": _OwnParameters, "as_sequential": _layers_on_the_parameters},
    {"as_sequential": lambda mlp: nn.Sequential(mlp)},
    {"MLP": _Numbered, "as_sequential": _numbered},
    {"MLP": _IsSequential, "as_sequential": lambda mlp: mlp},
    {"MLP": _Dict, "as_sequential": _from_dict},
    {"MLP": _Parameters, "as_sequential": _layers_on_the_parameters},
    {"MLP": _ListOfBoth, "as_sequential": lambda mlp: nn.Sequential(*mlp.layers)},
    {"MLP": _AddModule, "as_sequential": _linears_found},
    {"as_sequential": lambda mlp: mlp.net},
    {"as_sequential": _linears_found},
]


class _Tuple(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.layers = [nn.Linear(sizes[i], sizes[i + 1]) for i in range(len(sizes) - 1)]
        self.relu = nn.ReLU()

    def forward(self, x):
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i != len(self.layers) - 1:
                x = self.relu(x)
        return x


class _SameLayer(_AddModule):
    def __init__(self, sizes):
        super().__init__(sizes)
        for name in self.names[1:]:
            first = self._modules[self.names[0]]
            if self._modules[name].weight.shape == first.weight.shape:
                self._modules[name] = first


class _ClonedLayer(_AddModule):
    def __init__(self, sizes):
        super().__init__(sizes)
        first = self._modules[self.names[0]]
        for name in self.names[1:]:
            if self._modules[name].weight.shape == first.weight.shape:
                self._modules[name].load_state_dict(first.state_dict())


class _ReluAtTheEnd(_IsSequential):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.append(nn.ReLU())


class _Straight(_AddModule):
    def forward(self, x):
        for name in self.names:
            x = self._modules[name](x)
        return x


class _Gelu(_Dict):
    def forward(self, x):
        *hidden, last = self.layers.values()
        for layer in hidden:
            x = F.gelu(layer(x))
        return last(x)


class _Data(_Dict):
    def forward(self, x):
        *hidden, last = self.layers.values()
        for layer in hidden:
            x = F.relu(layer(x)).data
        return last(x)


class _Item(_Dict):
    def forward(self, x):
        return super().forward(x.to(torch.float32)).to(torch.float32)


class _Residual(_Dict):
    def forward(self, x):
        *hidden, last = self.layers.values()
        for layer in hidden:
            y = F.relu(layer(x))
            x = y + x if y.shape == x.shape else y
        return last(x)


def _state_copied(mlp):
    net = copy.deepcopy(_linears_found(mlp))
    net.load_state_dict(_linears_found(mlp).state_dict())
    return net


def _parameters_made_again(mlp):
    net = copy.deepcopy(_linears_found(mlp))
    linears = [m for m in mlp.modules() if isinstance(m, nn.Linear)]
    for layer, old in zip([m for m in net if isinstance(m, nn.Linear)], linears, strict=True):
        layer.weight, layer.bias = nn.Parameter(old.weight), nn.Parameter(old.bias)
    return net


def _in_eval(mlp):
    return nn.Sequential(*mlp.net).eval()


def _each_module_once(mlp):
    return nn.Sequential(*[m for m in mlp.modules() if not list(m.children())])


class _LastDimension(_Numbered):
    def forward(self, x):
        return super().forward(x).squeeze(-1)


class _Detaches(_Dict):
    def forward(self, x):
        return super().forward(x.data)


def _biases_left_behind(mlp):
    net = nn.Sequential(*copy.deepcopy([*mlp.net]))
    for i, module in enumerate(mlp.net):
        if hasattr(module, "weight"):
            net[i].weight = module.weight
    return net


WRONG = [
    Mistake("lacks 2 of mlp's, each has to be the same", caught_by="", as_sequential=_biases_left_behind),
    Mistake("no gradient came to x", caught_by="", MLP=_Detaches, as_sequential=_from_dict),
    Mistake("MLP([3, 1]) is a Linear for each step", caught_by="", MLP=_LastDimension, as_sequential=_numbered),
    Mistake(
        "self.layers is a plain list, which PyTorch does not look into",
        caught_by="",
        MLP=_Tuple,
        as_sequential=lambda mlp: nn.Sequential(*mlp.layers),
    ),
    Mistake("one layer stands there four times", caught_by="", MLP=_SameLayer, as_sequential=_linears_found),
    Mistake(
        "a copy of a layer copies its random numbers too", caught_by="", MLP=_ClonedLayer, as_sequential=_linears_found
    ),
    Mistake("has a ReLU after its last layer", caught_by="", MLP=_ReluAtTheEnd, as_sequential=lambda mlp: mlp),
    Mistake("the layers are together one straight line", caught_by="", MLP=_Straight, as_sequential=_linears_found),
    Mistake("is a Linear for each step, with a ReLU between", caught_by="", MLP=_Gelu, as_sequential=_from_dict),
    Mistake("is a Linear for each step, with a ReLU between", caught_by="", MLP=_Residual, as_sequential=_from_dict),
    Mistake("no gradient came to layers.0.weight", caught_by="", MLP=_Data, as_sequential=_from_dict),
    Mistake("stayed float32 where the model is float64", caught_by="", MLP=_Item, as_sequential=_from_dict),
    Mistake("copies do not train together", caught_by="", as_sequential=_state_copied),
    Mistake("copies do not train together", caught_by="", as_sequential=lambda mlp: copy.deepcopy(mlp.net)),
    Mistake("gradients belong to the object", caught_by="", as_sequential=_parameters_made_again),
    Mistake("gives what mlp gives", caught_by="", as_sequential=lambda mlp: nn.Sequential(*mlp.net, nn.Softmax(dim=1))),
    Mistake("gives what mlp gives", caught_by="", MLP=_Numbered, as_sequential=_each_module_once),
    Mistake("expected an nn.Sequential, got list", caught_by="", as_sequential=lambda mlp: [*mlp.children()]),
    Mistake(
        "nn.Sequential takes modules only: nn.ReLU()",
        caught_by="",
        MLP=_Dict,
        as_sequential=lambda mlp: nn.Sequential(*[m for x in mlp.layers.values() for m in (x, torch.relu)][:-1]),
    ),
    Mistake("as_sequential must leave mlp as it is", caught_by="", as_sequential=_in_eval),
    Mistake("expected an nn.Sequential, got", caught_by="", as_sequential=lambda mlp: mlp.double()),
    Mistake(
        "a list has to be unpacked with *",
        caught_by="",
        MLP=_ListOfBoth,
        as_sequential=lambda mlp: nn.Sequential([layer for layer in mlp.layers]),
    ),
    Mistake(
        "an nn.ModuleList holds layers, but cannot be called",
        caught_by="",
        MLP=_ListOfBoth,
        as_sequential=lambda mlp: nn.Sequential(mlp.layers),
    ),
    Mistake(
        "copies do not train together",
        caught_by="",
        as_sequential=lambda mlp: nn.Sequential(*copy.deepcopy([*mlp.net])),
    ),
    Mistake(
        "the nn.Sequential has no ReLU",
        caught_by="",
        MLP=_Numbered,
        as_sequential=lambda mlp: nn.Sequential(*[m for m in mlp.children() if m is not mlp.relu]),
    ),
]
