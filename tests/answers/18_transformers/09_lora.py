"""Answers that people give to lora, right ones and wrong ones."""

import copy
import math

import torch
from torch import nn
from torch.nn import functional as F

from dojo import Mistake


def _right(init, attribute="lora_dropout"):
    """The three together: each knows its own class of adapter."""

    class Adapter(nn.Module):
        def __init__(self, base, rank, alpha, dropout=0.0):
            super().__init__()
            self.base = base
            for p in self.base.parameters():
                p.requires_grad = False
            like = {"dtype": base.weight.dtype, "device": base.weight.device}
            self.A = nn.Parameter(torch.empty(rank, base.in_features, **like))
            self.B = nn.Parameter(torch.zeros(base.out_features, rank, **like))
            init(self.A)
            self.scaling = alpha / rank
            setattr(self, attribute, nn.Dropout(p=dropout) if dropout > 0 else nn.Identity())

        def forward(self, x):
            low = F.linear(F.linear(getattr(self, attribute)(x), self.A), self.B)
            return self.base(x) + low * self.scaling

        def merged(self):
            has_bias = self.base.bias is not None
            like = {"dtype": self.base.weight.dtype, "device": self.base.weight.device}
            new = nn.Linear(self.base.in_features, self.base.out_features, bias=has_bias, **like)
            with torch.no_grad():
                new.weight.copy_(self.base.weight + self.scaling * self.B @ self.A)
                if has_bias:
                    new.bias.copy_(self.base.bias)
            return new

    def add(model, names, rank, alpha, dropout=0.0):
        for p in model.parameters():
            p.requires_grad_(False)
        replaced = 0

        def visit(module):
            nonlocal replaced
            if isinstance(module, Adapter):
                module.A.requires_grad_(True)
                module.B.requires_grad_(True)
                return
            for name, child in list(module.named_children()):
                if name in names and isinstance(child, nn.Linear):
                    new = Adapter(child, rank, alpha, dropout)
                    new.train(child.training)
                    module._modules[name] = new
                    replaced += 1
                else:
                    visit(child)

        visit(model)
        return replaced

    def state(model):
        found = {}
        for path, module in model.named_modules():
            if isinstance(module, Adapter):
                prefix = path + "." if path else ""
                found[prefix + "A"] = module.A.detach().clone()
                found[prefix + "B"] = module.B.detach().clone()
        return found

    return {"LoRALinear": Adapter, "add_lora_": add, "lora_state": state}


class _InOneProduct(nn.Module):
    """F.dropout with the flag of the module; no layer for it."""

    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__()
        self.base, self.rank, self.alpha, self.dropout = base, rank, alpha, dropout
        base.weight.requires_grad_(False)
        if base.bias is not None:
            base.bias.requires_grad_(False)
        w = base.weight
        self.register_parameter("A", nn.Parameter(torch.normal(0, 0.02, (rank, w.shape[1])).to(w)))
        self.register_parameter("B", nn.Parameter(torch.zeros_like(w[:, :1]).repeat(1, rank)))

    def forward(self, x):
        dropped = F.dropout(x, self.dropout, self.training)
        return self.base(x) + (self.alpha / self.rank) * torch.einsum("...i,ri,or->...o", dropped, self.A, self.B)

    def merged(self):
        layer = copy.deepcopy(self.base)
        layer.weight.data = self.base.weight.data + self.alpha / self.rank * (self.B.data @ self.A.data)
        return layer


def _by_submodule(model, names, rank, alpha, dropout=0.0):
    paths = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and path.split(".")[-1] in names
        and not isinstance(model.get_submodule(path.rpartition(".")[0]), _InOneProduct)
    ]
    for path in paths:
        layer = model.get_submodule(path)
        adapter = _InOneProduct(layer, rank, alpha, dropout=dropout)
        adapter.train(layer.training)
        model.set_submodule(path, adapter)
    trained = {id(p) for m in model.modules() if isinstance(m, _InOneProduct) for p in (m.A, m.B)}
    for p in model.parameters():
        p.requires_grad = id(p) in trained
    return len(paths)


def _by_state_dict(model):
    keys = [f"{path}.{n}" for path, m in model.named_modules() if isinstance(m, _InOneProduct) for n in ("A", "B")]
    whole = model.state_dict()
    return {key: whole[key] for key in keys}


RIGHT = [
    _right(lambda a: nn.init.kaiming_uniform_(a, a=math.sqrt(5))),
    _right(lambda a: nn.init.normal_(a, std=1 / len(a)), attribute="drop_"),
    {"LoRALinear": _InOneProduct, "add_lora_": _by_submodule, "lora_state": _by_state_dict},
]

_TOGETHER = _right(nn.init.kaiming_uniform_)
_Adapter, _add = _TOGETHER["LoRALinear"], _TOGETHER["add_lora_"]


class _BothZero(_Adapter):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__(base, rank, alpha, dropout)
        nn.init.zeros_(self.A)


class _BothNoise(_Adapter):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__(base, rank, alpha, dropout)
        nn.init.normal_(self.B, std=0.01)


class _InFloat32(_Adapter):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__(base, rank, alpha, dropout)
        self.A, self.B = nn.Parameter(self.A.detach().float()), nn.Parameter(self.B.detach().float())

    def forward(self, x):
        return self.base(x) + (self.scaling * x.float() @ self.A.T @ self.B.T).to(x.dtype)


class _TurnedRound(_Adapter):
    """A (in, rank) and B (rank, out), as in some books."""

    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__(base, rank, alpha, dropout)
        self.A = nn.Parameter(torch.randn(base.in_features, rank))
        self.B = nn.Parameter(torch.zeros(rank, base.out_features))

    def forward(self, x):
        return self.base(x) + self.scaling * x @ self.A @ self.B


class _Attribute(_Adapter):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__(base, rank, alpha, dropout)
        self.base.requires_grad_(True)
        self.base.requires_grad = False


class _BiasTrains(_Adapter):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__(base, rank, alpha, dropout)
        if base.bias is not None:
            base.bias.requires_grad_(True)


class _ANewBase(_Adapter):
    def __init__(self, base, rank, alpha, dropout=0.0):
        like = nn.Linear(base.in_features, base.out_features, base.bias is not None).to(base.weight)
        like.load_state_dict(base.state_dict())
        super().__init__(like, rank, alpha, dropout)


class _ScaledByAlpha(_Adapter):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__(base, rank, alpha, dropout)
        self.scaling = alpha


class _BySqrt(_Adapter):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__(base, rank, alpha, dropout)
        self.scaling = alpha / math.sqrt(rank)


class _RankOverAlpha(_Adapter):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__(base, rank, alpha, dropout)
        self.scaling = rank / alpha


class _Unscaled(_Adapter):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__(base, rank, alpha, dropout)
        self.scaling = 1.0


class _Detached(_Adapter):
    def forward(self, x):
        return self.base(x).detach() + F.linear(F.linear(self.lora_dropout(x), self.A), self.B) * self.scaling


class _TrainsInTrainModeOnly(_Adapter):
    def forward(self, x):
        y = super().forward(x)
        return y if self.training else y.detach()


class _InTwoDims(_Adapter):
    def forward(self, x):
        flat = x.view(-1, x.size(-1))
        return self.base(x) + super().forward(flat).sub(self.base(flat)).view(*x.shape[:-1], -1)


class _AllDropped(_Adapter):
    def forward(self, x):
        return super().forward(self.lora_dropout(x))


class _SumDropped(_Adapter):
    def forward(self, x):
        return self.lora_dropout(self.base(x) + F.linear(F.linear(x, self.A), self.B) * self.scaling)


class _Functional(_Adapter):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__(base, rank, alpha, dropout)
        self.p = dropout

    def forward(self, x):
        return self.base(x) + F.linear(F.linear(F.dropout(x, self.p), self.A), self.B) * self.scaling


class _NoDropout(_Adapter):
    def forward(self, x):
        return self.base(x) + F.linear(F.linear(x, self.A), self.B) * self.scaling


class _DroppedLow(_Adapter):
    def forward(self, x):
        return self.base(x) + F.linear(self.lora_dropout(F.linear(x, self.A)), self.B) * self.scaling


class _MergedInPlace(_Adapter):
    def merged(self):
        self.base.weight.data.add_(self.scaling * self.B.data @ self.A.data)
        return self.base


class _MergedUnscaled(_Adapter):
    def merged(self):
        layer = super().merged()
        layer.weight.data.copy_(self.base.weight.data + self.B.data @ self.A.data)
        return layer


class _MergedWithBias(_Adapter):
    def merged(self):
        layer = super().merged()
        layer.bias = self.base.bias
        return layer


class _MergedDetached(_Adapter):
    """detach() shares memory: what is added there is added to base."""

    def merged(self):
        layer = super().merged()
        weight = self.base.weight.detach()
        weight += self.scaling * (self.B @ self.A).detach()
        layer.weight = nn.Parameter(weight)
        return layer


class _MergedTransposed(_Adapter):
    def merged(self):
        layer = super().merged()
        with torch.no_grad():
            layer.weight.copy_(self.base.weight)
            layer.weight += self.scaling * (self.A.T @ self.B.T).T.flip(0)
        return layer


class _MergedLosesBias(_Adapter):
    def merged(self):
        layer = super().merged()
        layer.bias = None
        return layer


class _MergesOnEval(_Adapter):
    done = False

    def train(self, mode=True):
        if not mode and not self.done:
            self.base.weight.data += self.scaling * (self.B @ self.A).data
            self.done = True
        elif mode and self.done:
            self.base.weight.data -= self.scaling * (self.B @ self.A).data
            self.done = False
        return super().train(mode)

    def forward(self, x):
        return self.base(x) if self.done else super().forward(x)


def _with(fits=lambda path, names: path.split(".")[-1] in names, mode=True, freeze="all", result=len, known=True):
    def add(model, names, rank, alpha, dropout=0.0):
        paths = []
        for path, module in model.named_modules():
            parent = model.get_submodule(path.rpartition(".")[0])
            if isinstance(module, nn.Linear) and fits(path, names) and not (known and isinstance(parent, _Adapter)):
                paths.append(path)
        if freeze == "first":
            model.requires_grad_(False)
        for path in paths:
            layer = model.get_submodule(path)
            adapter = _Adapter(layer, rank, alpha, dropout)
            if mode:
                adapter.train(layer.training)
            model.set_submodule(path, adapter)
        if freeze == "all":
            for name, p in model.named_parameters():
                of = model.get_submodule(name.rpartition(".")[0])
                p.requires_grad = isinstance(of, _Adapter)
        elif freeze == "last part":
            for name, p in model.named_parameters():
                p.requires_grad = name.split(".")[-1] in ("A", "B")
        return result(paths)

    return add


def _of_trainable(model):
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad or name == "A"}


def _keys_of_modules(model):
    """The adapters' paths, each with a dict of its own."""
    return {name.rpartition(".")[0]: p.detach() for name, p in model.named_parameters() if name.endswith((".A", ".B"))}


_TWICE = "merged() changed the adapter: merged into base, it counts twice"
_PLACES = "expected every nn.Linear called q or v"

WRONG = [
    Mistake("neither ever learns", caught_by="", LoRALinear=_BothZero),
    Mistake("B does not begin as 0", caught_by="", LoRALinear=_BothNoise),
    Mistake("and the weight of base is torch.float64", caught_by="", LoRALinear=_InFloat32),
    Mistake("expected (2, 6)", caught_by="", LoRALinear=_TurnedRound),
    Mistake("which freezes nothing", caught_by="", LoRALinear=_Attribute),
    Mistake("expected A and B alone", caught_by="", LoRALinear=_BiasTrains),
    Mistake("is not the layer that was given", caught_by="", LoRALinear=_ANewBase),
    Mistake("multiplied by alpha, expected", caught_by="", LoRALinear=_ScaledByAlpha),
    Mistake("multiplied by alpha / sqrt(rank)", caught_by="", LoRALinear=_BySqrt),
    Mistake("base(x) + alpha/rank", caught_by="", LoRALinear=_RankOverAlpha),
    Mistake("multiplied by 1, expected", caught_by="", LoRALinear=_Unscaled),
    Mistake("the gradient of x", caught_by="", LoRALinear=_Detached),
    Mistake("A and B cannot learn", caught_by="", LoRALinear=_TrainsInTrainModeOnly),
    Mistake("and view does not accept that", caught_by="", LoRALinear=_InTwoDims),
    Mistake("what base sees is dropped", caught_by="", LoRALinear=_AllDropped),
    Mistake("what base sees is dropped", caught_by="", LoRALinear=_SumDropped),
    Mistake("in eval nothing is dropped", caught_by="", LoRALinear=_Functional),
    Mistake("in training mode, with dropout=0.25, nothing is dropped", caught_by="", LoRALinear=_NoDropout),
    Mistake("the dropout is behind A", caught_by="", LoRALinear=_DroppedLow),
    Mistake(_TWICE, caught_by="", LoRALinear=_MergedInPlace),
    Mistake(_TWICE, caught_by="", LoRALinear=_MergedDetached),
    Mistake("the merged layer against the adapter in eval", caught_by="", LoRALinear=_MergedUnscaled),
    Mistake("the merged layer against the adapter in eval", caught_by="", LoRALinear=_MergedTransposed),
    Mistake("lives in base's memory", caught_by="", LoRALinear=_MergedWithBias),
    Mistake("base has a bias, and the merged layer has none", caught_by="", LoRALinear=_MergedLosesBias),
    Mistake("eval() merges nothing", caught_by="", LoRALinear=_MergesOnEval),
    Mistake(_PLACES, caught_by="", add_lora_=_with(fits=lambda path, names: path.endswith(names))),
    Mistake(_PLACES, caught_by="", add_lora_=_with(fits=lambda path, names: path in names)),
    Mistake("the number of adapters", caught_by="", add_lora_=_with(result=lambda paths: paths)),
    Mistake("its dropout is live", caught_by="", add_lora_=_with(mode=False)),
    Mistake("still trained are", caught_by="", add_lora_=_with(freeze="nothing")),
    Mistake("still trained are", caught_by="", add_lora_=_with(freeze="last part")),
    Mistake("got an adapter of its own", caught_by="", add_lora_=_with(known=False)),
    Mistake("go on learning", caught_by="", add_lora_=_with(freeze="first")),
    Mistake("these are no part of an adapter", caught_by="", lora_state=_of_trainable),
    Mistake("these are missing", caught_by="", lora_state=_keys_of_modules),
    Mistake(
        "without a gradient",
        caught_by="",
        lora_state=lambda model: {k: p for k, p in model.named_parameters() if k.endswith((".A", ".B"))},
    ),
    Mistake(
        "these are missing",
        caught_by="",
        lora_state=lambda model: {k: v for k, v in model.state_dict().items() if model.get_parameter(k).requires_grad},
    ),
]
