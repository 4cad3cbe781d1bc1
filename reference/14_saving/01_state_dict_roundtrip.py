"""From the model to the file, and back: reference.

Hint: For each tensor of the model ask: is it trained, is it saved, does it move with the model?
Hint: `register_buffer`, its argument `persistent`; `state_dict`, `load_state_dict`; `eval()`.
Hint: To load, make a Standardizer of any two tensors; the file brings the true ones.

Why: a module keeps three tables: parameters, buffers, modules. state_dict() walks them and leaves out the buffers that
are not persistent; a plain attribute stands in none. The tensors that it returns share memory with the model, and
torch.save writes them to the disk, so only the file is a snapshot. Neither the class nor the mode is in it, and so the
reader brings the class, and sets the mode.
"""

from pathlib import Path

import torch
from torch import nn

from dojo import Mistake


class Standardizer(nn.Module):
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())
        self.register_buffer("last_batch", None, persistent=False)
        self.fc = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last_batch = x.detach()
        return self.fc((x - self.mean) / self.std)


def save(model: Standardizer, path: str | Path) -> None:
    torch.save(model.state_dict(), path)


def load(path: str | Path) -> Standardizer:
    model = Standardizer(torch.zeros(2), torch.ones(2))
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


class _Base(nn.Module):
    """Right. The mistakes below change one thing of it."""

    def __init__(self, mean, std):
        super().__init__()
        self.keep(mean, std)
        self.make_cache()
        self.fc = nn.Linear(2, 1)

    def keep(self, mean, std):
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def make_cache(self):
        self.register_buffer("last_batch", torch.zeros(0, 2), persistent=False)

    def remember(self, x):
        self.last_batch = x

    def scaled(self, x):
        return (x - self.mean) / self.std

    def forward(self, x):
        self.remember(x)
        return self.fc(self.scaled(x))


class _Plain(_Base):
    def keep(self, mean, std):
        self.mean, self.std = mean, std


class _PlainStd(_Base):
    def keep(self, mean, std):
        self.register_buffer("mean", mean)
        self.std = std


class _Learned(_Base):
    def keep(self, mean, std):
        self.mean, self.std = nn.Parameter(mean), nn.Parameter(std)


class _Frozen(_Base):
    def keep(self, mean, std):
        self.mean, self.std = (nn.Parameter(t, requires_grad=False) for t in (mean, std))


class _NotPersistent(_Base):
    def keep(self, mean, std):
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)


class _Counts(_Base):
    def keep(self, mean, std):
        super().keep(mean, std)
        self.register_buffer("batches", torch.tensor(0))

    def remember(self, x):
        super().remember(x)
        self.batches += 1


class _Swapped(_Base):
    def keep(self, mean, std):
        super().keep(std, mean)


class _OtherNames(_Base):
    def keep(self, mean, std):
        self.register_buffer("mu", mean)
        self.register_buffer("sigma", std)

    def scaled(self, x):
        return (x - self.mu) / self.sigma


class _NoSuper(_Base):
    def __init__(self, mean, std):
        self.register_buffer("mean", mean)


class _NoBias(_Base):
    def __init__(self, mean, std):
        super().__init__(mean, std)
        self.fc = nn.Linear(2, 1, bias=False)


class _Requires(_Base):
    def keep(self, mean, std):
        super().keep(mean.clone().requires_grad_(), std)


class _Eps(_Base):
    def scaled(self, x):
        return (x - self.mean) / (self.std + 1e-6)


class _NoOutliers(_Base):
    def scaled(self, x):
        return super().scaled(x).clamp(-5, 5)


class _Variance(_Base):
    def scaled(self, x):
        return (x - self.mean) / self.std**2


class _Unscaled(_Base):
    def scaled(self, x):
        return x


class _OfTheBatch(_Base):
    def scaled(self, x):
        return (x - x.mean(0)) / x.std(0)


class _InPlace(_Base):
    def scaled(self, x):
        x -= self.mean
        x /= self.std
        return x


class _NoGraph(_Base):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


class _InFloat32(_Base):
    def scaled(self, x):
        return super().scaled(x.float()).to(x.dtype)


class _ReturnsNothing(_Base):
    def forward(self, x):
        super().forward(x)


class _CacheAttribute(_Base):
    def make_cache(self):
        self.last_batch = None


class _CacheSaved(_Base):
    def make_cache(self):
        self.register_buffer("last_batch", None)


class _NoCache(_Base):
    def make_cache(self):
        pass

    def remember(self, x):
        pass


class _FirstBatchOnly(_Base):
    def remember(self, x):
        if not len(self.last_batch):
            self.last_batch = x


class _LastRow(_Base):
    def remember(self, x):
        self.last_batch = x[-1:]


class _ScaledCache(_Base):
    def remember(self, x):
        self.last_batch = self.scaled(x)


class _InTrainingOnly(_Base):
    def remember(self, x):
        if self.training:
            self.last_batch = x


class _NewShapesOnly(_Base):
    def remember(self, x):
        if self.last_batch.shape != x.shape:
            self.last_batch = x.clone()


class _CacheInFloat32(_Base):
    def remember(self, x):
        self.last_batch = x.float()


class _RegistersLate(_Base):
    def make_cache(self):
        self.last_batch = None

    def remember(self, x):
        self.register_buffer("last_batch", x, persistent=False)


class _ParameterCache(_Base):
    def make_cache(self):
        self.last_batch = nn.Parameter(torch.zeros(1, 2), requires_grad=False)


def _reads(cls, strict=True, finish=lambda model: model.eval()):
    """load for a class of one's own."""

    def wrong(path):
        model = cls(torch.zeros(2), torch.ones(2))
        model.load_state_dict(torch.load(path, weights_only=True), strict=strict)
        return finish(model)

    return wrong


def _with(cls, **more):
    return {"Standardizer": cls, "load": _reads(cls), **more}


def _fc_only(path):
    model = Standardizer(torch.zeros(2), torch.ones(2))
    state = torch.load(path)
    model.fc.load_state_dict({"weight": state["fc.weight"], "bias": state["fc.bias"]})
    return model.eval()


def _untouched(path):
    torch.load(path)
    return Standardizer(torch.zeros(2), torch.ones(2)).eval()


def _only_the_top(path):
    model = Standardizer(torch.zeros(2), torch.ones(2))
    model.load_state_dict(torch.load(path))
    model.training = False
    return model


_loaded: dict = {}
_memory: dict = {}


def _cached(path):
    if str(path) not in _loaded:
        _loaded[str(path)] = load(path)
    return _loaded[str(path)]


def _cached_file(path):
    if str(path) not in _loaded:
        _loaded[str(path)] = torch.load(path)
    model = Standardizer(torch.zeros(2), torch.ones(2))
    model.load_state_dict(_loaded[str(path)])
    return model.eval()


def _also_in_memory(model, path):
    _memory[str(path)] = model.state_dict()
    torch.save(model.state_dict(), path)


def _from_memory(path):
    model = Standardizer(torch.zeros(2), torch.ones(2))
    model.load_state_dict(_memory[str(path)])
    return model.eval()


def _whole(model, path):
    torch.save(model, path)


def _with_numbers(model, path):
    torch.save({**model.state_dict(), "mean": model.mean.tolist(), "std": model.std.tolist()}, path)


def _numbers_back(path):
    state = torch.load(path)
    state["mean"], state["std"] = torch.tensor(state["mean"]), torch.tensor(state["std"])
    model = Standardizer(state["mean"], state["std"])
    model.load_state_dict(state)
    return model.eval()


def _with_the_mode(model, path):
    torch.save({"state": model.state_dict(), "training": model.training}, path)


def _read_nested(path):
    model = Standardizer(torch.zeros(2), torch.ones(2))
    model.load_state_dict(torch.load(path)["state"])
    return model.eval()


def _with_the_cache(model, path):
    torch.save({**dict(model.named_parameters()), **dict(model.named_buffers())}, path)


def _read_loosely(path):
    return _reads(Standardizer, strict=False)(path)


def _parameters_only(model, path):
    torch.save({name: p.detach() for name, p in model.named_parameters()}, path)


def _in_half(model, path):
    torch.save(model.half().state_dict(), path)


def _freezes(model, path):
    torch.save(model.requires_grad_(False).state_dict(), path)


def _beside(model, path):
    torch.save(model.state_dict(), f"{path}.pth")


_STATE = "test_a_state_dict_holds_parameters_and_buffers"
_TRAINED = "test_the_scaling_is_not_trained"
_SAME = "test_a_loaded_model_predicts_the_same_in_eval_mode"
_SNAPSHOT = "test_a_file_is_a_snapshot"
_MOVE = "test_buffers_move_with_the_model"
_TENSORS = "test_the_file_holds_tensors_only"
_CACHE = "test_a_cache_is_a_buffer_that_is_not_saved"

MISTAKES = [
    Mistake("mean is a plain attribute", caught_by=_STATE, **_with(_Plain)),
    Mistake("std is a plain attribute", caught_by=_STATE, **_with(_PlainStd)),
    Mistake("the state_dict has", caught_by=_STATE, **_with(_OtherNames)),
    Mistake("the state_dict has", caught_by=_STATE, **_with(_Counts)),
    Mistake("last_batch is in the state_dict: it is a cache", caught_by=_STATE, **_with(_CacheSaved)),
    Mistake("mean in the state_dict", caught_by=_STATE, **_with(_Swapped)),
    Mistake("call super().__init__() first: before it", caught_by=_STATE, **_with(_NoSuper)),
    Mistake("fc is an nn.Linear(2, 1) with a bias", caught_by=_STATE, **_with(_NoBias)),
    Mistake("fc((x - mean) / std)", caught_by=_STATE, **_with(_Variance)),
    Mistake("fc((x - mean) / std)", caught_by=_STATE, **_with(_Unscaled)),
    Mistake("fc((x - mean) / std)", caught_by=_STATE, **_with(_NoOutliers)),
    Mistake("forward returns a tensor, got NoneType", caught_by=_STATE, **_with(_ReturnsNothing)),
    Mistake("the batch is the caller's", caught_by=_STATE, **_with(_InPlace)),
    Mistake("is a parameter: the optimizer trains it", caught_by=_TRAINED, **_with(_Learned)),
    Mistake("is a parameter: the optimizer trains it", caught_by=_TRAINED, **_with(_Frozen)),
    Mistake("fc cannot be trained", caught_by=_TRAINED, **_with(_NoGraph)),
    Mistake("mean requires a gradient", caught_by=_TRAINED, **_with(_Requires)),
    Mistake("for inference call eval()", caught_by=_SAME, load=_reads(Standardizer, finish=lambda model: model)),
    Mistake("for inference call eval()", caught_by=_SAME, load=_only_the_top),
    Mistake("weights are not in it", caught_by=_SAME, load=_untouched),
    Mistake("mean of the loaded model", caught_by=_SAME, load=_fc_only),
    Mistake("load returns the model", caught_by=_SAME, load=lambda path: torch.load(path)),
    Mistake("load raised", caught_by=_SAME, load=_read_nested),
    Mistake("wrote nothing to the path", caught_by=_SAME, save=_beside),
    Mistake("two loaded models share", caught_by=_SNAPSHOT, load=_cached),
    Mistake("saved again to the same path", caught_by=_SNAPSHOT, load=_cached_file),
    Mistake("the loaded model has the edit", caught_by=_SNAPSHOT, save=_also_in_memory, load=_from_memory),
    Mistake("a plain attribute does not move", caught_by=_MOVE, **_with(_Plain)),
    Mistake("in float64", caught_by=_MOVE, **_with(_Eps)),
    Mistake("in float64", caught_by=_MOVE, **_with(_InFloat32)),
    Mistake("takes tensors in a dict", caught_by=_TENSORS, save=_whole),
    Mistake("in the file is a float, not a tensor", caught_by=_TENSORS, save=_with_numbers, load=_numbers_back),
    Mistake("in the file is a bool, not a tensor", caught_by=_TENSORS, save=_with_the_mode, load=_read_nested),
    Mistake("last_batch is in the file", caught_by=_TENSORS, save=_with_the_cache, load=_read_loosely),
    Mistake("load raised", caught_by=_SAME, save=_parameters_only),
    Mistake("save changed the model", caught_by=_TENSORS, save=_in_half),
    Mistake("save changed the model", caught_by=_TENSORS, save=_freezes),
    Mistake("last_batch after model.double()", caught_by=_MOVE, **_with(_CacheInFloat32)),
    Mistake("last_batch after a batch", caught_by=_CACHE, **_with(_NewShapesOnly)),
    Mistake("last_batch is no buffer", caught_by=_CACHE, **_with(_CacheAttribute)),
    Mistake("there is no last_batch", caught_by=_CACHE, **_with(_NoCache)),
    Mistake("last_batch after a batch", caught_by=_CACHE, **_with(_FirstBatchOnly)),
    Mistake("last_batch after a batch", caught_by=_CACHE, **_with(_ScaledCache)),
    Mistake("last_batch after a batch", caught_by=_CACHE, **_with(_InTrainingOnly)),
    Mistake("register the buffer once", caught_by=_CACHE, **_with(_RegistersLate)),
    Mistake("what is replaced at each call is a buffer", caught_by=_CACHE, **_with(_ParameterCache)),
]
