"""Answers that people give to weight_tying, right ones and wrong ones."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


class _TableOfTheLinear(nn.Module):
    def __init__(self, vocab, dim):
        super().__init__()
        self.out = nn.Linear(dim, vocab, bias=False)
        self.emb = nn.Embedding(vocab, dim)
        self.emb.weight = self.out.weight

    def forward(self, i):
        return self.out(self.emb(i))


class _OwnWeight(nn.Module):
    def __init__(self, vocab, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocab, dim) / math.sqrt(dim))
        self.emb, self.out = nn.Embedding(vocab, dim), nn.Linear(dim, vocab, bias=False)
        self.emb.weight = self.weight
        self.out.weight = self.weight

    def forward(self, tokens):
        h = self.emb(tokens)
        return h @ self.out.weight.T


class _Registered(nn.Module):
    def __init__(self, n, d):
        nn.Module.__init__(self)
        self.emb = nn.Embedding(n, d)
        self.out = nn.Linear(d, n, bias=False)
        self.out.register_parameter("weight", self.emb.weight)
        nn.init.normal_(self.emb.weight, std=0.02)

    def forward(self, i):
        return F.linear(F.embedding(i, self.emb.weight), self.emb.weight)


class _OneHot(_TableOfTheLinear):
    def forward(self, i):
        hot = F.one_hot(i, self.emb.num_embeddings).to(self.emb.weight.dtype)
        return torch.matmul(hot @ self.emb.weight, self.out.weight.transpose(0, 1))


class _FromPretrained(nn.Module):
    def __init__(self, vocab, dim):
        super().__init__()
        self.out = nn.Linear(dim, vocab, bias=False)
        self.emb = nn.Embedding.from_pretrained(self.out.weight, freeze=False)
        setattr(self.out, "weight", self.emb.weight)  # noqa: B010

    def forward(self, i):
        return torch.einsum("...d,vd->...v", self.emb(i), self.out.weight)


class _OnMeta(nn.Module):
    """The linear layer never draws numbers of its own."""

    def __init__(self, vocab, dim):
        super().__init__()
        self.layers = nn.Sequential(nn.Embedding(vocab, dim), nn.Linear(dim, vocab, bias=False, device="meta"))
        self.layers[1].weight = self.layers[0].weight
        self.emb, self.out = self.layers

    def forward(self, i):
        return self.layers(i)


class _Table(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = weight


class _Lookup(_Table):
    def forward(self, i):
        return self.weight[i]


class _Scores(_Table):
    def forward(self, h):
        return torch.matmul(h, self.weight.t())


class _OwnLayers(nn.Module):
    def __init__(self, vocab: int, dim: int):
        super().__init__()
        weight = nn.Parameter(torch.Tensor(vocab, dim))
        weight.data.normal_()
        self.emb, self.out = _Lookup(weight), _Scores(weight)

    def forward(self, i):
        flat = i.reshape(-1)
        logits = self.out.forward(self.emb.forward(flat))
        return logits.reshape(list(i.size()) + [-1])


RIGHT = [
    dict(TinyLM=c) for c in (_TableOfTheLinear, _OwnWeight, _Registered, _OneHot, _FromPretrained, _OnMeta, _OwnLayers)
]


class _Clone(_TableOfTheLinear):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.emb.weight = nn.Parameter(self.out.weight.detach().clone())


class _SetData(_TableOfTheLinear):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.emb = nn.Embedding(vocab, dim)
        self.emb.weight.set_(self.out.weight.data) if not self.emb.weight.requires_grad else None
        self.emb.weight = nn.Parameter(self.out.weight.data)


class _FromPretrainedFrozen(_TableOfTheLinear):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.emb = nn.Embedding.from_pretrained(self.out.weight.data)


class _LoadsTheOther(_TableOfTheLinear):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.out = nn.Linear(dim, vocab, bias=False)
        self.out.load_state_dict(self.emb.state_dict())


class _ZeroBias(_TableOfTheLinear):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.out.bias = nn.Parameter(torch.zeros(vocab), requires_grad=False)


class _SharedByDefault(_TableOfTheLinear):
    """A weight made once, when the class is."""

    tables: dict = {}

    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        weight = self.tables.setdefault(f"{vocab}x{dim}", nn.Parameter(torch.randn(vocab, dim)))
        self.out.weight = weight
        self.emb.weight = weight


class _Zeros(_TableOfTheLinear):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        nn.init.zeros_(self.out.weight)


class _InNoGrad(_TableOfTheLinear):
    def forward(self, i):
        with torch.no_grad():
            h = self.emb(i)
        return self.out(h)


class _ScoresOfData(_TableOfTheLinear):
    def forward(self, i):
        return self.emb(i) @ self.emb.weight.data.T


class _Summed(_TableOfTheLinear):
    def forward(self, i):
        return self.out(self.emb(i)).sum(dim=-2)


class _Hooked(_TableOfTheLinear):
    """Ties at each call, with a new Parameter."""

    def forward(self, i):
        self.out.weight = nn.Parameter(self.emb.weight.data)
        return F.linear(self.emb(i), self.emb.weight)


class _Half(_TableOfTheLinear):
    """Bound methods of the first model."""

    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        table = self.emb.weight
        self.steps = [lambda i: F.embedding(i, table), lambda h: F.linear(h, table)]

    def forward(self, i):
        for step in self.steps:
            i = step(i)
        return i


class _AsSmallAsProbabilities(_TableOfTheLinear):
    def forward(self, i):
        return (self.emb(i) @ self.out.weight.T) / math.sqrt(self.emb.embedding_dim)


class _Log(_TableOfTheLinear):
    def forward(self, i):
        return nn.LogSoftmax(dim=-1)(self.out(self.emb(i)))


class _Projected(_TableOfTheLinear):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.scale = nn.Parameter(torch.ones(8))


class _LinearTheOtherWay(_TableOfTheLinear):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.out = nn.Linear(vocab, dim, bias=False)
        self.emb.weight = self.out.weight


class _NotFrozenAgain(_TableOfTheLinear):
    def forward(self, i):
        return self.out(self.emb(i)).data


class _TimesRoot(_TableOfTheLinear):
    def forward(self, i):
        return self.out(math.sqrt(self.emb.weight.size(1)) * self.emb(i))


class _TensorAsWeight(_TableOfTheLinear):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.emb.weight = self.out.weight.detach()


class _Softmax(_TableOfTheLinear):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, i):
        return self.softmax(self.out(self.emb(i)))


class _OwnGenerator(_TableOfTheLinear):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        nn.init.normal_(self.out.weight, generator=torch.Generator().manual_seed(42))


WRONG = [
    Mistake("these are probabilities", caught_by="", TinyLM=_Softmax),
    Mistake("two models start with the same numbers", caught_by="", TinyLM=_OwnGenerator),
    Mistake("the logits are E[i] @ E.T", caught_by="", TinyLM=_AsSmallAsProbabilities),
    Mistake("these are log-probabilities", caught_by="", TinyLM=_Log),
    Mistake("48 numbers instead of 10 * 4 = 40", caught_by="", TinyLM=_Projected),
    Mistake("model.emb.weight is (vocab, dim) = (10, 4)", caught_by="", TinyLM=_LinearTheOtherWay),
    Mistake("the logits hang on no weight", caught_by="", TinyLM=_NotFrozenAgain),
    Mistake("the logits are 2 times too large", caught_by="", TinyLM=_TimesRoot),
    Mistake("a plain tensor is refused", caught_by="", TinyLM=_TensorAsWeight),
    Mistake("two Parameters that are equal at the start at most", caught_by="", TinyLM=_Clone),
    Mistake("two Parameters that are equal at the start at most", caught_by="", TinyLM=_LoadsTheOther),
    Mistake("two Parameters on one memory", caught_by="", TinyLM=_SetData),
    Mistake("two Parameters on one memory", caught_by="", TinyLM=_FromPretrainedFrozen),
    Mistake("out has a bias", caught_by="", TinyLM=_ZeroBias),
    Mistake("a second TinyLM came with the weight of the first", caught_by="", TinyLM=_SharedByDefault),
    Mistake("two tokens start with the same vector", caught_by="", TinyLM=_Zeros),
    Mistake("only scoring sends a gradient", caught_by="", TinyLM=_InNoGrad),
    Mistake("only looking up sends a gradient", caught_by="", TinyLM=_ScoresOfData),
    Mistake("the logits are E[i] @ E.T", caught_by="", TinyLM=_Summed),
    Mistake("after three steps of Adam, out.weight is not emb.weight", caught_by="", TinyLM=_Hooked),
    Mistake("one of the two uses did not follow the weight", caught_by="", TinyLM=_Half),
]
