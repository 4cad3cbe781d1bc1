"""What counts as a parameter: reference.

Hint: What kind of container do the layers need, so that PyTorch finds them? And after which of them is no ReLU?
Hint: `nn.ModuleList` holds layers and can be walked like a list; `nn.Sequential(*modules)` takes them unpacked.
Hint: Put nn.Linear and nn.ReLU() by turns into one list, drop the last ReLU, and make a registered chain of it; the
function then only has to hand the same modules on.

Why: `nn.Module` looks at each assignment `self.name = value`: a Parameter or a Module goes into a table, all else is an
ordinary attribute. Everything later (parameters, to, state_dict, train, zero_grad) walks these tables, and never looks
into lists or dicts. Modules are ordinary objects: the same one may stand in two models, and `parameters()` names it
once. A copy is another object; it starts equal, and drifts away with the first step.
"""

import copy
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


class MLP(nn.Module):
    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        steps = [[nn.Linear(n_in, n_out), nn.ReLU()] for n_in, n_out in pairwise(sizes)]
        self.net = nn.Sequential(*[layer for step in steps for layer in step][:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def as_sequential(mlp: MLP) -> nn.Sequential:
    return nn.Sequential(*mlp.net)


class _PlainList(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


class _PlainDict(_PlainList):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.by_name = {f"layer {i}": layer for i, layer in enumerate(self.layers)}
        del self.layers

    def forward(self, x):
        layers = list(self.by_name.values())
        for layer in layers[:-1]:
            x = torch.relu(layer(x))
        return layers[-1](x)


class _OnlyTheLastIsRegistered(_PlainList):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.last = self.layers[-1]


class _LayersInForward(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.sizes = sizes

    def forward(self, x):
        for a, b in pairwise(self.sizes[:-1]):
            x = torch.relu(nn.Linear(a, b)(x))
        return nn.Linear(*self.sizes[-2:])(x)


class _NoSuper(nn.Module):
    def __init__(self, sizes):
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))


class _NoSuperPlainList(_PlainList):
    def __init__(self, sizes):
        self.layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]


class _Listed(nn.Module):
    """Right: a ModuleList. The mistakes below change one thing of it."""

    def __init__(self, sizes):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


def _listed_as_sequential(mlp):
    modules = [part for layer in mlp.layers for part in (layer, nn.ReLU())]
    return nn.Sequential(*modules[:-1])


class _NoBias(_Listed):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(sizes))


class _PopsTheSizes(_Listed):
    def __init__(self, sizes):
        nn.Module.__init__(self)
        self.layers = nn.ModuleList()
        while len(sizes) > 1:
            self.layers.append(nn.Linear(sizes.pop(0), sizes[0]))


class _ForgetsTheLast(_Listed):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.layers = self.layers[:-1] if len(sizes) > 2 else self.layers


class _Hidden(_Listed):
    """The size of the first hidden layer is used for all."""

    def __init__(self, sizes):
        inner = sizes[1:-1]
        super().__init__([sizes[0], *inner[:1] * len(inner), sizes[-1]])


class _OneLayer(_Listed):
    def __init__(self, sizes):
        super().__init__(sizes)
        made = {}
        self.layers = nn.ModuleList(made.setdefault(pair, nn.Linear(*pair)) for pair in pairwise(sizes))


class _Copies(_Listed):
    def __init__(self, sizes):
        super().__init__(sizes)
        made = {pair: nn.Linear(*pair) for pair in pairwise(sizes)}
        self.layers = nn.ModuleList(copy.deepcopy(made[pair]) for pair in pairwise(sizes))


class _Seeded(_Listed):
    def __init__(self, sizes):
        torch.manual_seed(0)
        super().__init__(sizes)


_made: dict = {}


class _KeptBySizes(_Listed):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.layers = _made.setdefault(tuple(sizes), self.layers)


class _Activation(_Listed):
    def after(self, i, x):
        return torch.relu(x)

    def forward(self, x):
        for i, layer in enumerate(self.layers):
            x = self.after(i, layer(x))
        return x


class _NoActivation(_Activation):
    def after(self, i, x):
        return x


class _Tanh(_Activation):
    def after(self, i, x):
        return torch.tanh(x) if i < len(self.layers) - 1 else x


class _Leaky(_Activation):
    def after(self, i, x):
        return F.leaky_relu(x) if i < len(self.layers) - 1 else x


class _Softmax(_Listed):
    def forward(self, x):
        return torch.softmax(super().forward(x), dim=1)


class _ReluFirst(_Listed):
    def forward(self, x):
        for layer in self.layers:
            x = layer(torch.relu(x))
        return x


class _ReluInPlaceFirst(_Listed):
    def forward(self, x):
        torch.relu_(x)
        return super().forward(x)


class _BySize(_Activation):
    """No ReLU where a layer has the size of the last."""

    def after(self, i, x):
        return torch.relu(x) if self.layers[i].out_features != self.layers[-1].out_features else x


class _OneRelu(_Activation):
    def after(self, i, x):
        return torch.relu(x) if i == 0 and len(self.layers) > 1 else x


class _ReluLayer(_Listed):
    def forward(self, x):
        for layer in self.layers[:-1]:
            x = nn.ReLU(layer(x))
        return self.layers[-1](x)


class _ReluFunction(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        steps = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), F.relu)]
        self.net = nn.Sequential(*steps[:-1])


class _Squeezes(_Listed):
    def forward(self, x):
        return super().forward(x).squeeze()


class _Evaluates(_Listed):
    def forward(self, x):
        self.eval()
        return super().forward(x)


class _InputDetached(_Listed):
    def forward(self, x):
        return super().forward(x.detach())


class _FirstAnswer(_Listed):
    out = None

    def forward(self, x):
        if self.out is None or len(self.out) != len(x):
            self.out = super().forward(x)
        return self.out


class _Returns(_Listed):
    def forward(self, x):
        super().forward(x)


class _Detaches(_Listed):
    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x).detach())
        return self.layers[-1](x)


class _NoGrad(_Listed):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


class _InFloat32(_Listed):
    def forward(self, x):
        return super().forward(x.float())


class _BackToFloat32(_Listed):
    def forward(self, x):
        out = super().forward(x)
        return out if out.requires_grad and out.shape[0] in (1, 5) else out.float()


class _SwitchedOff(_Listed):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.requires_grad_(False)


def _new_layers(mlp):
    net = copy.deepcopy(mlp.net)
    return nn.Sequential(*net)


def _trained_apart(mlp):
    net = nn.Sequential(*[nn.Linear(m.in_features, m.out_features) if isinstance(m, nn.Linear) else m for m in mlp.net])
    net.to(next(mlp.parameters()).dtype).load_state_dict(mlp.net.state_dict())
    return net


def _new_parameters(mlp):
    net = copy.deepcopy(mlp.net)
    for new, old in zip(net.parameters(), mlp.net.parameters(), strict=True):
        new.data = old.data
    return net


def _weights_only(mlp):
    net = copy.deepcopy(mlp.net)
    for new, old in zip(net, mlp.net, strict=True):
        if isinstance(old, nn.Linear):
            new.weight = old.weight
    return net


def _with_relu_at_the_end(mlp):
    return nn.Sequential(*mlp.net, nn.ReLU())


def _only_linears(mlp):
    return nn.Sequential(*[m for m in mlp.modules() if isinstance(m, nn.Linear)])


def _first_and_last(mlp):
    return nn.Sequential(*mlp.net[:2], mlp.net[-1]) if len(mlp.net) > 1 else mlp.net


def _frozen(mlp):
    return nn.Sequential(*mlp.net).requires_grad_(False)


def _with_functions(mlp):
    return nn.Sequential(*[F.relu if isinstance(m, nn.ReLU) else m for m in mlp.net])


_LIST = "test_a_layer_in_a_plain_list_is_no_part_of_the_model"
_TIMES = "test_a_layer_times_four_is_one_layer"
_RELU = "test_relu_stands_between_the_layers_only"
_REACHES = "test_one_backward_reaches_every_parameter"
_DOUBLE = "test_double_reaches_what_is_registered"
_SAME = "test_a_sequential_of_the_same_layers_is_the_same_network"
_SHARE = "test_two_models_can_share_their_layers"
_BETWEEN = "is a Linear for each step, with a ReLU between"


def _mlp_mistake(says, caught_by, cls):
    return Mistake(says, caught_by=caught_by, MLP=cls, as_sequential=_listed_as_sequential)


MISTAKES = [
    _mlp_mistake("self.layers is a plain list, which PyTorch does not look into", _LIST, _PlainList),
    _mlp_mistake("self.by_name is a plain dict, which PyTorch does not look into", _LIST, _PlainDict),
    _mlp_mistake("2 registered parameters, expected 6", _LIST, _OnlyTheLastIsRegistered),
    _mlp_mistake("0 registered parameters, expected 6", _LIST, _LayersInForward),
    _mlp_mistake("call super().__init__() first: before it", _LIST, _NoSuper),
    _mlp_mistake("call super().__init__() first: without it", _LIST, _NoSuperPlainList),
    _mlp_mistake("3 registered parameters, expected 6", _LIST, _NoBias),
    _mlp_mistake("MLP changed the list that it was given", _LIST, _PopsTheSizes),
    _mlp_mistake("4 registered parameters, expected 6", _LIST, _ForgetsTheLast),
    _mlp_mistake("MLP([3, 5, 4, 2]) is a Linear for each step", _RELU, _Hidden),
    _mlp_mistake("the parameters are to be trained", _LIST, _SwitchedOff),
    _mlp_mistake("forward returns a tensor, got NoneType", _LIST, _Returns),
    _mlp_mistake("one layer stands there four times", _TIMES, _OneLayer),
    _mlp_mistake("a copy of a layer copies its random numbers too", _TIMES, _Copies),
    _mlp_mistake("two models share a layer", _TIMES, _KeptBySizes),
    _mlp_mistake("a second model starts with the weights of the first", _TIMES, _Seeded),
    _mlp_mistake("has a ReLU after its last layer", _RELU, _Activation),
    _mlp_mistake("the layers are together one straight line", _RELU, _NoActivation),
    _mlp_mistake(_BETWEEN, _RELU, _Tanh),
    _mlp_mistake(_BETWEEN, _RELU, _Leaky),
    _mlp_mistake(_BETWEEN, _RELU, _Softmax),
    _mlp_mistake(_BETWEEN, _RELU, _ReluFirst),
    _mlp_mistake(_BETWEEN, _RELU, _BySize),
    _mlp_mistake(_BETWEEN, _RELU, _OneRelu),
    _mlp_mistake("the input belongs to the caller", _RELU, _ReluInPlaceFirst),
    _mlp_mistake("MLP([3, 1]) is a Linear for each step", _RELU, _Squeezes),
    _mlp_mistake("and the model stays as it is", _RELU, _Evaluates),
    _mlp_mistake("with a ReLU between, called again", _RELU, _FirstAnswer),
    _mlp_mistake("nn.ReLU(x) builds a layer and applies nothing", _RELU, _ReluLayer),
    _mlp_mistake("nn.Sequential takes modules only: nn.ReLU()", _RELU, _ReluFunction),
    _mlp_mistake("no gradient came to layers.0.weight", _REACHES, _Detaches),
    _mlp_mistake("the output hangs on no graph", _REACHES, _NoGrad),
    _mlp_mistake("no gradient came to x", _REACHES, _InputDetached),
    _mlp_mistake("stayed float32 where the model is float64", _DOUBLE, _InFloat32),
    _mlp_mistake("a model in float64 gives float64", _DOUBLE, _BackToFloat32),
    Mistake("copies do not train together", caught_by=_SHARE, as_sequential=_new_layers),
    Mistake("copies do not train together", caught_by=_SHARE, as_sequential=_trained_apart),
    Mistake("gradients belong to the object", caught_by=_SHARE, as_sequential=_new_parameters),
    Mistake("lacks 2 of mlp's, each has to be the same", caught_by=_SHARE, as_sequential=_weights_only),
    Mistake("gives what mlp gives", caught_by=_SAME, as_sequential=_with_relu_at_the_end),
    Mistake("the nn.Sequential has no ReLU", caught_by=_SAME, as_sequential=_only_linears),
    Mistake("gives what mlp gives", caught_by=_SAME, as_sequential=_first_and_last),
    Mistake("nn.Sequential takes modules only: nn.ReLU()", caught_by=_SAME, as_sequential=_with_functions),
    Mistake("as_sequential must leave mlp as it is", caught_by=_SAME, as_sequential=_frozen),
    Mistake("expected an nn.Sequential, got list", caught_by=_SAME, as_sequential=lambda mlp: list(mlp.net)),
    Mistake(
        "expected an nn.Sequential, got ModuleList", caught_by=_SAME, as_sequential=lambda mlp: nn.ModuleList(mlp.net)
    ),
    Mistake("expected an nn.Sequential, got", caught_by=_SAME, as_sequential=lambda mlp: mlp),
    Mistake(
        "a list has to be unpacked with *", caught_by=_SAME, as_sequential=lambda mlp: nn.Sequential(list(mlp.net))
    ),
    Mistake(
        "an nn.ModuleList holds layers, but cannot be called",
        caught_by=_SAME,
        MLP=_Listed,
        as_sequential=lambda mlp: nn.Sequential(*mlp.children()),
    ),
]

KEEP = {
    _LIST: "the first thing to see of a model: how many parameters are registered; the others fail on it by accident"
}
