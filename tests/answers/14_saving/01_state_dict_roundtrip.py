"""Answers that people give to state_dict_roundtrip, right ones and wrong ones."""

import pickle

import torch
from torch import nn

from dojo import Mistake


class _Buffers(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.mean = nn.Buffer(mean)
        self.std = nn.Buffer(std)
        self.last_batch = nn.Buffer(torch.empty(0, 2), persistent=False)
        self.fc = nn.Linear(2, 1)

    def forward(self, x):
        self.last_batch = x
        return self.fc((x - self.mean) / self.std)


class _Cloned(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.fc = nn.Linear(in_features=2, out_features=1)
        for name, value in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.as_tensor(value).detach().clone())
        self.register_buffer("last_batch", torch.zeros(1, 2), persistent=False)

    def forward(self, x):
        self.last_batch = x.detach().clone()
        z = x.sub(self.mean).div(self.std)
        return self.fc(z)


class _AgainInForward(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.fc = nn.Linear(2, 1)

    def forward(self, x):
        self.register_buffer("last_batch", x, persistent=False)
        return self.fc((x - self.mean) / self.std)


def _loads(cls):
    def load(path):
        state = torch.load(path, map_location="cpu")
        model = cls(state["mean"], state["std"])
        model.load_state_dict(state)
        model.eval()
        return model

    return load


def _nested_save(model, path):
    torch.save({"model": model.cpu().state_dict()}, str(path))


def _nested_load(path):
    with torch.device("meta"):
        model = _Buffers(torch.empty(2), torch.empty(2))
    model.load_state_dict(torch.load(path, weights_only=True)["model"], assign=True)
    return model.train(False)


def _parts_save(model, path):
    with open(path, "wb") as file:
        torch.save({k: v.detach().cpu().clone() for k, v in model.state_dict().items()}, file)


def _parts_load(path):
    with open(path, "rb") as file:
        state = torch.load(file)
    model = _AgainInForward(state.pop("mean"), state.pop("std"))
    model.fc.load_state_dict({key.removeprefix("fc."): value for key, value in state.items()})
    for p in model.parameters():
        p.requires_grad_(False)
    return model.eval()


class _ByAHook(nn.Module):
    """A hook remembers the batch."""

    def __init__(self, mean, std):
        super(_ByAHook, self).__init__()  # noqa: UP008
        self.fc = nn.Linear(2, 1)
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("std", torch.ones(2))
        self.mean.copy_(mean)
        self.std.copy_(std)
        self.register_buffer("last_batch", None, persistent=False)
        self.register_forward_pre_hook(lambda module, args: setattr(module, "last_batch", args[0]))

    def forward(self, x):
        columns = [(x[:, i] - self.mean[i]) / self.std[i] for i in range(2)]
        return self.fc(torch.stack(columns, dim=1))


RIGHT = [
    {"Standardizer": _Buffers, "load": _loads(_Buffers)},
    {"Standardizer": _Cloned, "load": _loads(_Cloned)},
    {"Standardizer": _Buffers, "save": _nested_save, "load": _nested_load},
    {"Standardizer": _AgainInForward, "save": _parts_save, "load": _parts_load},
    {"Standardizer": _AgainInForward, "load": _loads(_AgainInForward)},
    {"Standardizer": _ByAHook, "load": _loads(_ByAHook)},
]


class _TupleOfTensors(_Buffers):
    def __init__(self, mean, std):
        nn.Module.__init__(self)
        self.mean, self.std = mean.clone(), std.clone()
        self.fc = nn.Linear(2, 1)
        self.register_buffer("last_batch", None, persistent=False)


class _StdIsPlain(_Buffers):
    def __init__(self, mean, std):
        super().__init__(mean, std)
        del self.std
        self.std = std


class _ParameterList(_Buffers):
    def __init__(self, mean, std):
        nn.Module.__init__(self)
        self.mean = nn.Parameter(mean, requires_grad=False)
        self.std = nn.Parameter(std, requires_grad=False)
        self.fc = nn.Linear(2, 1)
        self.register_buffer("last_batch", None, persistent=False)


class _Late(_Buffers):
    def __init__(self, mean, std):
        self.mean = nn.Buffer(mean)
        super().__init__(mean, std)


class _InConfig(_Buffers):
    """The scaling is saved as one tensor."""

    def __init__(self, mean, std):
        nn.Module.__init__(self)
        self.register_buffer("stats", torch.stack([mean, std]))
        self.fc = nn.Linear(2, 1)
        self.register_buffer("last_batch", None, persistent=False)

    def forward(self, x):
        self.last_batch = x
        return self.fc((x - self.stats[0]) / self.stats[1])


class _PersistentCache(_Buffers):
    def __init__(self, mean, std):
        super().__init__(mean, std)
        del self.last_batch
        self.register_buffer("last_batch", torch.zeros(0, 2))


class _ListCache(_Buffers):
    def __init__(self, mean, std):
        super().__init__(mean, std)
        del self.last_batch

    def forward(self, x):
        self.last_batch = [x]
        return self.fc((x - self.mean) / self.std)


class _EmptyCache(_Buffers):
    def forward(self, x):
        return self.fc((x - self.mean) / self.std)


class _Rows(_Buffers):
    def forward(self, x):
        self.last_batch = x[0]
        return self.fc((x - self.mean) / self.std)


class _Multiplied(_Buffers):
    def forward(self, x):
        self.last_batch = x
        return self.fc((x - self.mean) * self.std)


class _Detached(_Buffers):
    def forward(self, x):
        return super().forward(x).detach()


class _WithEps(_Buffers):
    def forward(self, x):
        self.last_batch = x
        return self.fc((x - self.mean) / (self.std + 1e-8))


class _Sub(_Buffers):
    def forward(self, x):
        self.last_batch = x
        return self.fc(x.sub_(self.mean).div_(self.std))


class _NoReturn(_Buffers):
    def forward(self, x):
        self.last_batch = x
        self.fc((x - self.mean) / self.std)


def _no_eval(path):
    model = _Buffers(torch.zeros(2), torch.ones(2))
    model.load_state_dict(torch.load(path))
    return model


def _assigned_dict(path):
    model = _Buffers(torch.zeros(2), torch.ones(2))
    model.state_dict().update(torch.load(path))
    return model.eval()


def _parameters_by_hand(path):
    model = _Buffers(torch.zeros(2), torch.ones(2))
    state = torch.load(path)
    for name, p in model.named_parameters():
        p.data = state[name]
    return model.eval()


def _whole_model(model, path):
    torch.save(model, path)


def _whole_back(path):
    return torch.load(path, weights_only=False).eval()


def _pickled(model, path):
    with open(path, "wb") as file:
        pickle.dump(model.state_dict(), file)


def _arrays(model, path):
    torch.save({k: v.tolist() for k, v in model.state_dict().items()}, path)


def _with_epoch(model, path):
    torch.save({"state": model.state_dict(), "eval": True}, path)


def _from_state(path):
    model = _Buffers(torch.zeros(2), torch.ones(2))
    model.load_state_dict(torch.load(path)["state"])
    return model.eval()


def _all_buffers(model, path):
    torch.save(dict(model.named_buffers()) | dict(model.named_parameters()), path)


def _both(cls):
    return {"Standardizer": cls, "load": _loads(cls)}


class _FirstOfItsSize(_Buffers):
    def forward(self, x):
        if len(self.last_batch) != len(x):
            self.last_batch = x.detach().clone()
        return self.fc((x - self.mean) / self.std)


class _Float32Cache(_Buffers):
    def __init__(self, mean, std):
        super().__init__(mean, std)
        self.last_batch = None

    def forward(self, x):
        self.last_batch = x.detach().to(torch.float32)
        return self.fc((x - self.mean) / self.std)


WRONG = [
    Mistake("last_batch after a batch", caught_by="", **_both(_FirstOfItsSize)),
    Mistake("last_batch after model.double()", caught_by="", **_both(_Float32Cache)),
    Mistake("mean is a plain attribute", caught_by="", **_both(_TupleOfTensors)),
    Mistake("std is a plain attribute", caught_by="", **_both(_StdIsPlain)),
    Mistake("is a parameter: the optimizer trains it", caught_by="", **_both(_ParameterList)),
    Mistake("call super().__init__() first: before it", caught_by="", **_both(_Late)),
    Mistake("the state_dict has", caught_by="", **_both(_InConfig)),
    Mistake("last_batch is in the state_dict: it is a cache", caught_by="", **_both(_PersistentCache)),
    Mistake("last_batch is no buffer", caught_by="", **_both(_ListCache)),
    Mistake("last_batch after a batch", caught_by="", **_both(_EmptyCache)),
    Mistake("last_batch after a batch", caught_by="", **_both(_Rows)),
    Mistake("fc((x - mean) / std)", caught_by="", **_both(_Multiplied)),
    Mistake("fc cannot be trained", caught_by="", **_both(_Detached)),
    Mistake("in float64", caught_by="", **_both(_WithEps)),
    Mistake("the batch is the caller's", caught_by="", **_both(_Sub)),
    Mistake("forward returns a tensor, got NoneType", caught_by="", **_both(_NoReturn)),
    Mistake("for inference call eval()", caught_by="", load=_no_eval),
    Mistake("weights are not in it", caught_by="", load=_assigned_dict),
    Mistake("mean of the loaded model", caught_by="", load=_parameters_by_hand),
    Mistake("takes tensors in a dict", caught_by="", save=_whole_model, load=_whole_back),
    Mistake("takes tensors in a dict", caught_by="", save=_pickled),
    Mistake("in the file is a float, not a tensor", caught_by="", save=_arrays),
    Mistake("in the file is a bool, not a tensor", caught_by="", save=_with_epoch, load=_from_state),
    Mistake("last_batch is in the file", caught_by="", save=_all_buffers),
]
