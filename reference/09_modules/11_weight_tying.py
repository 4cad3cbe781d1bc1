"""One weight, two layers: reference.

Hint: How many Parameters does the model have, and how many should it have? Equal numbers do not make two into one.
Hint: A layer's `weight` is an attribute like any other: it can be assigned, as long as what you assign is a Parameter.
Hint: Make both layers first. Then give the second the weight *object* of the first, not its numbers nor its `.data`.

Why: Modules hold Parameters by name, and `parameters()`, deepcopy and `.to()` recognise an object that they have met.
What two Parameters share (memory, numbers) is invisible to all of them. `state_dict` lists the weight under both names,
and `load_state_dict` copies into it, twice, which keeps the tie; with `assign=True` it would set new objects and break
it. The usual initialisation of an embedding has a spread of 1, too large for scores: real models draw it smaller.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


class TinyLM(nn.Module):
    def __init__(self, vocab: int, dim: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(vocab, dim)
        self.out = nn.Linear(dim, vocab, bias=False)
        self.out.weight = self.emb.weight

    def forward(self, i: torch.Tensor) -> torch.Tensor:
        return self.out(self.emb(i))  # (...) -> (..., dim) -> (..., vocab)


class _Untied(TinyLM):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.out = nn.Linear(dim, vocab, bias=False)


class _DataOfTheOther(_Untied):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.out.weight.data = self.emb.weight.data


class _ParameterOfTheOther(_Untied):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.out.weight = nn.Parameter(self.emb.weight)


class _CopiesOnce(_Untied):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        with torch.no_grad():
            self.out.weight.copy_(self.emb.weight)


class _CopiesInForward(_Untied):
    def forward(self, i):
        self.out.weight.data.copy_(self.emb.weight.data)
        return self.out(self.emb(i))


class _WithBias(TinyLM):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.out = nn.Linear(dim, vocab)
        self.out.weight = self.emb.weight


class _OneMoreLayer(TinyLM):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.norm = nn.LayerNorm(dim)


class _FrozenCopy(_Untied):
    """40 numbers to train, and 40 that stay as they were."""

    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.out.weight = nn.Parameter(self.emb.weight.detach().clone(), requires_grad=False)


class _PlainTensor(_Untied):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.out.weight = self.emb.weight.data


class _NoSuper(nn.Module):
    def __init__(self, vocab, dim):
        self.emb = nn.Embedding(vocab, dim)


class _Transposed(_Untied):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.emb.weight = nn.Parameter(self.emb.weight.t())
        self.out.weight = self.emb.weight


class _Swapped(TinyLM):
    def __init__(self, vocab, dim):
        super().__init__(dim, vocab)


_tables: dict = {}


class _OneTableForAll(TinyLM):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.emb.weight = self.out.weight = _tables.setdefault((vocab, dim), self.emb.weight)


class _Constant(TinyLM):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        nn.init.constant_(self.emb.weight, 0.1)


class _Scaled(TinyLM):
    def forward(self, i):
        return self.out(self.emb(i) * self.emb.embedding_dim**0.5)


class _LogProbabilities(TinyLM):
    def forward(self, i):
        return F.log_softmax(self.out(self.emb(i)), dim=-1)


class _Probabilities(TinyLM):
    def forward(self, i):
        return F.softmax(self.out(self.emb(i)), dim=-1)


class _Seeded(TinyLM):
    def __init__(self, vocab, dim):
        torch.manual_seed(0)
        super().__init__(vocab, dim)


class _NoSingleToken(TinyLM):
    def forward(self, i):
        return torch.stack([self.out(self.emb(row)) for row in i])


class _OneHotOfInts(TinyLM):
    def forward(self, i):
        return self.out(F.one_hot(i, self.emb.num_embeddings) @ self.emb.weight)


class _OutIsTheTable(TinyLM):
    """One module under two names: its weight is shared, but it cannot score."""

    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.out = self.emb

    def forward(self, i):
        return self.emb(i) @ self.out.weight.T


class _LastToken(TinyLM):
    def forward(self, i):
        return self.out(self.emb(i)[..., -1, :])


class _Flattened(TinyLM):
    def forward(self, i):
        return self.out(self.emb(i)).view(-1, self.out.weight.shape[0])


class _MeanOfTokens(TinyLM):
    def forward(self, i):
        return self.out(self.emb(i).mean(dim=-2))


class _OnlyBatches(TinyLM):
    def forward(self, i):
        b, t = i.shape
        return self.out(self.emb(i)).view(b, t, -1)


class _Dropout(TinyLM):
    def forward(self, i):
        return self.out(F.dropout(self.emb(i), 0.5))


class _DetachedTable(TinyLM):
    def forward(self, i):
        return self.out(self.emb(i).detach())


class _DetachedScores(TinyLM):
    def forward(self, i):
        return F.linear(self.emb(i), self.emb.weight.detach())


class _Frozen(TinyLM):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.out.weight.requires_grad_(False)


class _NoGrad(TinyLM):
    @torch.no_grad()
    def forward(self, i):
        return self.out(self.emb(i))


class _Padding(TinyLM):
    """padding_idx stops the gradient of looking up row 0."""

    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.emb.padding_idx = 0


class _TiesAnewInForward(TinyLM):
    def forward(self, i):
        logits = self.out(self.emb(i))
        self.out.weight = nn.Parameter(self.emb.weight)
        return logits


class _NewParameterInForward(TinyLM):
    """Still one, but none that the optimizer knows."""

    def forward(self, i):
        logits = self.out(self.emb(i))
        self.emb.weight = self.out.weight = nn.Parameter(self.emb.weight.detach().clone())
        return logits


class _ClosesOverItself(TinyLM):
    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.score = lambda h: F.linear(h, self.emb.weight)

    def forward(self, i):
        return self.score(self.emb(i))


class _DeepCopyByHand(TinyLM):
    """Copies layer by layer, so each copies its own weight."""

    def __deepcopy__(self, memo):
        twin = type(self)(*self.emb.weight.shape)
        twin.emb, twin.out = copy.deepcopy(self.emb), copy.deepcopy(self.out)
        return twin


class _LoadsNewObjects(TinyLM):
    def load_state_dict(self, state_dict, strict=True, assign=True):
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


class _DecaysItself(TinyLM):
    """Each backward of this one also shrinks the weight."""

    def __init__(self, vocab, dim):
        super().__init__(vocab, dim)
        self.emb.weight.register_hook(self._shrink)

    def _shrink(self, grad):
        self.emb.weight.data.mul_(0.9)
        return grad


class _KeepsScores(TinyLM):
    """Computes all pairs once: right until the table changes."""

    scores: torch.Tensor | None = None

    def forward(self, i):
        if self.training and torch.is_grad_enabled() and self.scores is None:
            self.scores = (self.emb.weight @ self.emb.weight.t()).detach()
        fresh = self.out(self.emb(i))
        return fresh if self.scores is None else self.scores[i] + fresh - fresh.detach()


_COUNT = "test_one_parameter_under_two_names_is_counted_once"
_LOGITS = "test_the_output_layer_compares_with_every_row_of_the_table"
_TRAINS = "test_a_tied_weight_gets_both_gradients_and_trains_as_one"
_SURVIVES = "test_the_tie_survives_copies_dtypes_and_loading"
_TWO_ON_ONE = "two Parameters on one memory"
_EQUAL = "two Parameters that are equal at the start at most"

MISTAKES = [
    Mistake(_TWO_ON_ONE, caught_by=_COUNT, TinyLM=_DataOfTheOther),
    Mistake(_TWO_ON_ONE, caught_by=_COUNT, TinyLM=_ParameterOfTheOther),
    Mistake(_EQUAL, caught_by=_COUNT, TinyLM=_Untied),
    Mistake(_EQUAL, caught_by=_COUNT, TinyLM=_CopiesOnce),
    Mistake(_EQUAL, caught_by=_COUNT, TinyLM=_CopiesInForward),
    Mistake(_EQUAL, caught_by=_COUNT, TinyLM=_FrozenCopy),
    Mistake("out has a bias", caught_by=_COUNT, TinyLM=_WithBias),
    Mistake("48 numbers instead of 10 * 4 = 40", caught_by=_COUNT, TinyLM=_OneMoreLayer),
    Mistake("a plain tensor is refused", caught_by=_COUNT, TinyLM=_PlainTensor),
    Mistake("only after super().__init__()", caught_by=_COUNT, TinyLM=_NoSuper),
    Mistake("model.emb.weight is (vocab, dim) = (10, 4)", caught_by=_COUNT, TinyLM=_Transposed),
    Mistake("model.emb.weight is (vocab, dim) = (10, 4)", caught_by=_COUNT, TinyLM=_Swapped),
    Mistake("a second TinyLM came with the weight of the first", caught_by=_COUNT, TinyLM=_OneTableForAll),
    Mistake("two models start with the same numbers", caught_by=_COUNT, TinyLM=_Seeded),
    Mistake("two tokens start with the same vector", caught_by=_COUNT, TinyLM=_Constant),
    Mistake("the logits are 2 times too large", caught_by=_LOGITS, TinyLM=_Scaled),
    Mistake("these are log-probabilities", caught_by=_LOGITS, TinyLM=_LogProbabilities),
    Mistake("emb is to look up, and out to score", caught_by=_LOGITS, TinyLM=_OutIsTheTable),
    Mistake("these are probabilities", caught_by=_LOGITS, TinyLM=_Probabilities),
    Mistake("model(i) raised, i of shape ()", caught_by=_LOGITS, TinyLM=_NoSingleToken),
    Mistake("model(i) raised, i of shape (2, 3)", caught_by=_LOGITS, TinyLM=_OneHotOfInts),
    Mistake("the logits are E[i] @ E.T", caught_by=_LOGITS, TinyLM=_LastToken),
    Mistake("the logits are E[i] @ E.T", caught_by=_LOGITS, TinyLM=_Flattened),
    Mistake("the logits are E[i] @ E.T", caught_by=_LOGITS, TinyLM=_MeanOfTokens),
    Mistake("the logits are E[i] @ E.T", caught_by=_LOGITS, TinyLM=_Dropout),
    Mistake("model(i) raised, i of shape (4,)", caught_by=_LOGITS, TinyLM=_OnlyBatches),
    Mistake("only scoring sends a gradient", caught_by=_TRAINS, TinyLM=_DetachedTable),
    Mistake("only looking up sends a gradient", caught_by=_TRAINS, TinyLM=_DetachedScores),
    Mistake("the logits hang on no weight", caught_by=_TRAINS, TinyLM=_Frozen),
    Mistake("the logits hang on no weight", caught_by=_TRAINS, TinyLM=_NoGrad),
    Mistake("the gradient is the sum of both uses", caught_by=_TRAINS, TinyLM=_Padding),
    Mistake("after three steps of Adam, out.weight is not emb.weight", caught_by=_TRAINS, TinyLM=_TiesAnewInForward),
    Mistake("no gradient reached the tied weight", caught_by=_TRAINS, TinyLM=_NewParameterInForward),
    Mistake("the table is not what one weight becomes", caught_by=_TRAINS, TinyLM=_DecaysItself),
    Mistake("the logits are those of the new table", caught_by=_TRAINS, TinyLM=_KeepsScores),
    Mistake("one of the two uses did not follow the weight", caught_by=_SURVIVES, TinyLM=_ClosesOverItself),
    Mistake("after deepcopy and double(), out.weight is not emb.weight", caught_by=_SURVIVES, TinyLM=_DeepCopyByHand),
    Mistake("after load_state_dict, out.weight is not emb.weight", caught_by=_SURVIVES, TinyLM=_LoadsNewObjects),
]
