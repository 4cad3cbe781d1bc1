"""What `module.to` moves: reference.

Hint: What does the module know about? Print `list(module.state_dict())`: what is not there is not moved.
Hint: `register_buffer` for tensors, `nn.ModuleList` for layers, and `x.device` for what is born in a function.
Hint: Call `super().__init__()` before you register anything. `torch.arange` takes `device=`; T is the size of dim 1.

Why: `nn.Module.__setattr__` registers Parameters and Modules that you assign, and nothing else: a bare tensor, a list
or a dict is an attribute like any other. `.to`, `.double()`, `state_dict()` and `parameters()` all walk the registered
parts, so what one misses, all miss. A parent walks the parts of its children and never calls a child's `to`, so writing
your own `to` is no way out. And `forward` should take devices from its inputs: then it runs wherever they are.
"""

import torch
from torch import nn

from dojo import Mistake


class Scaler(nn.Module):
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std


class Tower(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(n))


def positions(x: torch.Tensor) -> torch.Tensor:
    return torch.arange(x.shape[1], device=x.device)


class _Scaler(nn.Module):
    """A Scaler with plain attributes."""

    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, x):
        return (x - self.mean) / self.std


class _OwnTo(_Scaler):
    def to(self, *args, **kwargs):
        self.mean, self.std = self.mean.to(*args, **kwargs), self.std.to(*args, **kwargs)
        return self


class _OwnToReturnsNothing(Scaler):
    def to(self, *args, **kwargs):
        super().to(*args, **kwargs)


class _MovedInForward(_Scaler):
    def forward(self, x):
        return (x - self.mean.to(x.device)) / self.std.to(x.device)


class _MovedInForwardByX(_Scaler):
    def forward(self, x):
        return (x - self.mean.to(x)) / self.std.to(x)


class _NotPersistent(_Scaler):
    def __init__(self, mean, std):
        nn.Module.__init__(self)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)


class _Trained(_Scaler):
    def __init__(self, mean, std):
        super().__init__(nn.Parameter(mean), nn.Parameter(std))


class _Frozen(_Scaler):
    def __init__(self, mean, std):
        super().__init__(nn.Parameter(mean, requires_grad=False), nn.Parameter(std, requires_grad=False))


class _OnlyMeanIsABuffer(_Scaler):
    def __init__(self, mean, std):
        nn.Module.__init__(self)
        self.register_buffer("mean", mean)
        self.std = std.tolist()

    def forward(self, x):
        return (x - self.mean) / torch.tensor(self.std, dtype=x.dtype, device=x.device)


class _BuffersForShow(_Scaler):
    def __init__(self, mean, std):
        nn.Module.__init__(self)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.register_buffer("factor", 1 / std, persistent=False)
        self.register_buffer("shift", mean / std, persistent=False)

    def forward(self, x):
        return x * self.factor - self.shift


class _Float32(Scaler):
    def forward(self, x):
        return super().forward(x.float()).float()


class _ByFloat32(Scaler):
    def forward(self, x):
        return super().forward(x.float()).to(x.dtype)


class _NoGrad(Scaler):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


class _WideTower(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 8) for _ in range(n))


class _Multiplied(Scaler):
    def forward(self, x):
        return (x - self.mean) * self.std


class _InPlace(Scaler):
    def forward(self, x):
        return x.sub_(self.mean).div_(self.std)


class _NoSuper(_Scaler):
    def __init__(self, mean, std):
        self.register_buffer("mean", mean)


class _ListTower(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = [nn.Linear(4, 4) for _ in range(n)]


class _SameLayerTower(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4)] * n)


class _NoBiasTower(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(n))


class _LastLayerOnlyTower(_ListTower):
    def __init__(self, n):
        super().__init__(n)
        for layer in self.layers:
            self.layer = layer


class _ParametersTower(_ListTower):
    def __init__(self, n):
        super().__init__(n)
        self.known = nn.ParameterList(p for layer in self.layers for p in layer.parameters())


class _Squeezed(Scaler):
    def forward(self, x):
        return super().forward(x).squeeze()


class _TowerOfThree(Tower):
    def __init__(self, n):
        super().__init__(3)


_BEHIND = "a tensor that the module does not know stayed behind"
_MOVES = "test_to_moves_the_tensors_that_a_module_knows"
_SAVED = "test_a_buffer_is_saved_and_not_trained"
_TOWER = "test_layers_in_a_python_list_are_lost"
_BORN = "test_a_tensor_made_in_forward_is_born_where_you_say"
_TRAINED = "mean and std are not trained"
_NO_DEVICE = "x is on meta, your positions on cpu"
_DIM_1 = "x is (2, 5): T is dim 1"

MISTAKES = [
    Mistake(
        "float16 cannot count so far",
        caught_by="test_a_tensor_made_in_forward_is_born_where_you_say",
        positions=lambda x: (
            torch.ones_like(x).flatten(2).cumsum(1).long()[0, :, 0] - 1
            if x.dim() > 2
            else torch.ones_like(x)[0].cumsum(0).long() - 1
        ),
    ),
    Mistake(
        "Scaler computes (x - mean) / std", caught_by="test_a_module_computes_with_its_tensors", Scaler=_Multiplied
    ),
    Mistake("Scaler changed its input", caught_by="test_a_module_computes_with_its_tensors", Scaler=_InPlace),
    Mistake("x may hold one sample", caught_by="test_a_module_computes_with_its_tensors", Scaler=_Squeezed),
    Mistake("before super().__init__()", caught_by="test_a_module_computes_with_its_tensors", Scaler=_NoSuper),
    Mistake(_BEHIND, caught_by=_MOVES, Scaler=_Scaler),
    Mistake("it does not call a `to` that you wrote", caught_by=_MOVES, Scaler=_OwnTo),
    Mistake("yours does not return itself", caught_by=_MOVES, Scaler=_OwnToReturnsNothing),
    Mistake(
        "something kept its own", caught_by="test_to_changes_the_dtype_of_what_a_module_knows", Scaler=_MovedInForward
    ),
    Mistake("something kept its own", caught_by="test_to_changes_the_dtype_of_what_a_module_knows", Scaler=_Float32),
    Mistake(
        "as exact as torch.float64", caught_by="test_to_changes_the_dtype_of_what_a_module_knows", Scaler=_ByFloat32
    ),
    Mistake("no gradient reaches", caught_by="test_a_module_computes_with_its_tensors", Scaler=_NoGrad),
    Mistake("the layers are nn.Linear(4, 4)", caught_by=_TOWER, Tower=_WideTower),
    Mistake(
        "T is 300 this time",
        caught_by=_BORN,
        positions=lambda x: torch.arange(x.size(1)).to(x).long(),
    ),
    Mistake("the values of mean are not in the state_dict", caught_by=_SAVED, Scaler=_MovedInForwardByX),
    Mistake("the values of mean are not in the state_dict", caught_by=_SAVED, Scaler=_NotPersistent),
    Mistake("the values of std are not in the state_dict", caught_by=_SAVED, Scaler=_OnlyMeanIsABuffer),
    Mistake(_TRAINED, caught_by=_SAVED, Scaler=_Trained),
    Mistake(_TRAINED, caught_by=_SAVED, Scaler=_Frozen),
    Mistake("but the result does not use them", caught_by=_SAVED, Scaler=_BuffersForShow),
    Mistake("layers that are in a plain Python list", caught_by=_TOWER, Tower=_ListTower),
    Mistake("the same layer more than once", caught_by=_TOWER, Tower=_SameLayerTower),
    Mistake("a weight and a bias each, so 6 parameters", caught_by=_TOWER, Tower=_NoBiasTower),
    Mistake("so 6 parameters: the tower knows 2", caught_by=_TOWER, Tower=_LastLayerOnlyTower),
    Mistake("tower.layers[0] stayed behind", caught_by=_TOWER, Tower=_ParametersTower),
    Mistake("Tower(2).layers holds 2 layers", caught_by=_TOWER, Tower=_TowerOfThree),
    Mistake(_NO_DEVICE, caught_by=_BORN, positions=lambda x: torch.arange(x.size(1))),
    Mistake(_NO_DEVICE, caught_by=_BORN, positions=lambda x: torch.tensor(range(x.size(1)))),
    Mistake(
        _NO_DEVICE,
        caught_by=_BORN,
        positions=lambda x: torch.arange(x.size(1), device="cuda" if torch.cuda.is_available() else "cpu"),
    ),
    Mistake(_DIM_1, caught_by=_BORN, positions=lambda x: torch.arange(len(x), device=x.device)),
    Mistake(_DIM_1, caught_by=_BORN, positions=lambda x: torch.arange(x.size(1)).to(x)),
    Mistake(
        "x is (2, 5, 3): T is dim 1", caught_by=_BORN, positions=lambda x: torch.arange(x.shape[-1], device=x.device)
    ),
    Mistake(
        "T is 300 this time",
        caught_by=_BORN,
        positions=lambda x, made={}: made.setdefault(x.device, torch.arange(x.size(1), device=x.device)),  # noqa: B006
    ),
    Mistake(
        "positions raised",
        caught_by=_BORN,
        positions=lambda x: torch.arange(x.size(2), device=x.device),
    ),
]
