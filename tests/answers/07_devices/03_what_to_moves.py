"""Answers that people give to what_to_moves, right ones and wrong ones."""

import torch
from torch import nn

from dojo import Mistake


class _Base(nn.Module):
    def __init__(self, mean, std):
        super().__init__()

    def forward(self, x):
        return (x - self.mean) / self.std


class _Cloned(_Base):
    def __init__(self, mean, std):
        super().__init__(mean, std)
        self.register_buffer("mean", torch.as_tensor(mean).clone())
        self.register_buffer("std", torch.as_tensor(std).clone())


class _Buffer(_Base):
    def __init__(self, mean, std):
        super().__init__(mean, std)
        self.mean = nn.Buffer(mean)
        self.std = nn.Buffer(std)


class _OtherNames(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        for name, value in {"_mean": mean, "_std": std}.items():
            self.register_buffer(name, value.detach().view(1, -1))

    def forward(self, x):
        return torch.div(x - self._mean.to(x), self._std.to(x))


class _SequentialTower(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = nn.Sequential(*[nn.Linear(4, 4) for _ in range(n)])


class _AppendedTower(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = nn.ModuleList()
        for i in range(n):
            self.layers.append(nn.Linear(4, 4))


class _NamedTower(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = []
        for i in range(n):
            layer = nn.Linear(4, 4)
            self.add_module(f"layer{i}", layer)
            self.layers.append(layer)


def _by_cumsum(x):
    ones = torch.ones(x.shape[1], dtype=torch.long, device=x.device)
    return ones.cumsum(0) - 1


class _Stacked(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("stats", torch.stack([mean, std]))

    def forward(self, x):
        mean, std = self.stats
        return (x - mean) / std


class _SideBySide(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("stats", torch.stack([mean, std], dim=1))

    def forward(self, x):
        return (x - self.stats[:, 0]) / self.stats[:, 1]


class _DictionaryTower(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = nn.ModuleDict({str(i): nn.Linear(4, 4) for i in range(n)})


RIGHT = [
    {"Scaler": _SideBySide, "Tower": _DictionaryTower},
    {"Scaler": _Stacked},
    {"Scaler": _Cloned, "Tower": _SequentialTower, "positions": lambda x: torch.arange(x.size(1)).to(x.device)},
    {"Scaler": _Buffer, "Tower": _AppendedTower, "positions": _by_cumsum},
    {
        "Scaler": _OtherNames,
        "Tower": _NamedTower,
        "positions": lambda x: torch.tensor(list(range(x.shape[1])), device=x.device),
    },
    {
        "positions": lambda x: (
            x.new_ones((x.size(1),), dtype=torch.int64).nonzero().flatten()
            if x.device.type == "cpu"
            else torch.arange(x.size(1), device=x.device)
        )
    },
]


class _InADict(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.stats = {"mean": mean, "std": std}

    def forward(self, x):
        return (x - self.stats["mean"]) / self.stats["std"]


class _OwnCuda(_Base):
    def __init__(self, mean, std):
        super().__init__(mean, std)
        self.mean, self.std = mean, std

    def to(self, *args, **kwargs):
        super().to(*args, **kwargs)
        self.mean = self.mean.to(*args, **kwargs)
        self.std = self.std.to(*args, **kwargs)
        return self


class _FrozenLater(_Base):
    def __init__(self, mean, std):
        super().__init__(mean, std)
        self.mean, self.std = nn.Parameter(mean), nn.Parameter(std)
        self.requires_grad_(False)


class _OnlyStdSaved(_Base):
    def __init__(self, mean, std):
        super().__init__(mean, std)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std)


class _MadeFresh(_Base):
    def __init__(self, mean, std):
        super().__init__(mean, std)
        self.pair = mean.tolist(), std.tolist()

    def forward(self, x):
        mean, std = (torch.tensor(values, device=x.device) for values in self.pair)
        return (x - mean) / std


class _Variance(_Cloned):
    def forward(self, x):
        return (x - self.mean) / self.std**2


class _DictTower(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = {i: nn.Linear(4, 4) for i in range(n)}


class _TupleTower(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = tuple(nn.Linear(4, 4) for _ in range(n))


class _RepeatedTower(nn.Module):
    def __init__(self, n):
        super().__init__()
        layer = nn.Linear(4, 4)
        self.layers = nn.Sequential(*(layer for _ in range(n)))


class _HalfParameters(_Base):
    def __init__(self, mean, std):
        super().__init__(mean, std)
        self.mean, self.std = nn.Parameter(mean), std


class _OneBiasMissingTower(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4, bias=i > 0) for i in range(n)])


class _TwiceMadeTower(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = [nn.Linear(4, 4) for _ in range(n)]
        self.known = nn.ModuleList(nn.Linear(4, 4) for _ in range(n))


WRONG = [
    Mistake(
        "float16 cannot count so far",
        caught_by="",
        positions=lambda x: x.new_ones(x.shape[1]).cumsum(0).sub(1).to(torch.int64),
    ),
    Mistake("tower.layers[0] stayed behind", caught_by="", Tower=_TwiceMadeTower),
    Mistake("mean and std are not trained", caught_by="", Scaler=_HalfParameters),
    Mistake("a weight and a bias each, so 6 parameters", caught_by="", Tower=_OneBiasMissingTower),
    Mistake("x is (2, 5): T is dim 1", caught_by="", positions=lambda x: torch.arange(5.0, device=x.device)),
    Mistake("a tensor that the module does not know stayed behind", caught_by="", Scaler=_InADict),
    Mistake("it does not call a `to` that you wrote", caught_by="", Scaler=_OwnCuda),
    Mistake("mean and std are not trained", caught_by="", Scaler=_FrozenLater),
    Mistake("the values of mean are not in the state_dict", caught_by="", Scaler=_OnlyStdSaved),
    Mistake("something kept its own", caught_by="", Scaler=_MadeFresh),
    Mistake("Scaler computes (x - mean) / std", caught_by="", Scaler=_Variance),
    Mistake("layers that are in a plain Python list", caught_by="", Tower=_DictTower),
    Mistake("layers that are in a plain Python list", caught_by="", Tower=_TupleTower),
    Mistake("the same layer more than once", caught_by="", Tower=_RepeatedTower),
    Mistake(
        "x is on meta, your positions on cpu", caught_by="", positions=lambda x: torch.as_tensor([*range(x.size(1))])
    ),
    Mistake("x is (2, 5): T is dim 1", caught_by="", positions=lambda x: x.new_tensor(list(range(x.size(1))))),
    Mistake("x is (2, 5): T is dim 1", caught_by="", positions=lambda x: torch.arange(x.numel(), device=x.device)),
    Mistake(
        "x is (2, 5): T is dim 1", caught_by="", positions=lambda x: torch.arange(1, x.size(1) + 1, device=x.device)
    ),
]
