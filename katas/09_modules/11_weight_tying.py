"""One weight, two layers

A language model begins with a table that turns each token into a vector, and ends with a layer that turns a vector into
one score for each token. Both are matrices of shape (vocab, dim), and often they are meant to be one and the same
matrix: that halves the numbers to learn, and each token is learnt from both sides. This is called weight tying.

An `nn.Parameter` is an object, and a module finds it by its name. One Parameter under two names is one weight:
`parameters()` lists it once, and its `.grad` is the sum of what both layers send. Two Parameters stay two, also when
their numbers are equal, and also when they lie in one memory: a loss curve shows no difference for a long time. But an
optimizer keeps a state for each, so Adam moves that memory twice in a step, and weight decay shrinks it twice; and a
deepcopy, or a change of dtype, gives each its own memory. Then the model has silently become another one. Models have
been published whose tie was lost that way.

`nn.Embedding(n, d)` is a table of n rows of d numbers; `nn.Linear(d, n, bias=False)` keeps its weight as (n, d) and
multiplies by the transposed, so the two shapes already fit.

What is asked here: a language model of two layers, and the smallest there is, with one weight.

About 20 minutes. Before it: registration, layers_by_hand.
Path: transformer

https://docs.pytorch.org/docs/stable/generated/torch.nn.parameter.Parameter.html
"""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, shares_memory


class TinyLM(nn.Module):
    """Two layers, `emb` (an embedding) and `out` (linear, without bias), whose `weight` is one Parameter.

    It has no other parameters. The tie holds after training, after `copy.deepcopy` and `double()`, and after
    `load_state_dict` with the state of another TinyLM. Its initial numbers are random, other ones in each model.
    """

    def __init__(self, vocab: int, dim: int) -> None:
        """`vocab` tokens, each a vector of `dim` numbers: the weight is (vocab, dim)."""
        raise NotImplementedError("make the two layers, and tie them")

    def forward(self, i: torch.Tensor) -> torch.Tensor:
        """The logits (scores as they are, no softmax) of `out` for the vectors of the tokens `i`.

        `i` holds int64 token numbers and has any shape, such as (T,), (B, T) or (); the result is (..., vocab).
        """
        raise NotImplementedError("look up, then score")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "before Module.__init__": "layers can be assigned only after super().__init__(), which makes the place for them",
    "cannot assign .* as parameter": "the weight of a layer must be a Parameter: a plain tensor is refused",
    "has no attribute '(emb|out)'": "the two layers are the attributes emb and out of the model",
    "shapes? cannot be multiplied": "the two shapes do not fit: the weight is (vocab, dim) in both layers",
}
_AFTER_DOUBLE = {"same dtype|scalar type": "one of the two uses did not follow the weight to its new dtype"}
_TOKENS = torch.tensor([[0, 3, 1], [3, 3, 8]])


def _model(vocab: int = 10, dim: int = 4) -> Any:
    __tracebackhide__ = True
    with explain(f"TinyLM({vocab}, {dim}) raised", _SIGNS):
        model = TinyLM(vocab, dim)
    assert isinstance(model, nn.Module), f"TinyLM is a subclass of nn.Module, got {type(model).__name__}"
    for name in ("emb", "out"):
        weight = getattr(getattr(model, name, None), "weight", None)
        assert isinstance(weight, nn.Parameter), f"model.{name}.weight is not there, or no Parameter"
        want = (vocab, dim)
        assert weight.shape == want, f"model.{name}.weight is (vocab, dim) = {want}, got {tuple(weight.shape)}"
    return model


def _logits(model: Any, i: torch.Tensor) -> Any:
    __tracebackhide__ = True
    dtype = model.emb.weight.dtype
    signs = _SIGNS | _AFTER_DOUBLE if dtype == torch.float64 else _SIGNS
    with explain(f"model(i) raised, i of shape {tuple(i.shape)} and the weight in {dtype}", signs):
        return model(i)


def _by_hand(weight: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    return weight[i] @ weight.T


def _check_tie(model: Any, when: str) -> None:
    __tracebackhide__ = True
    same = shares_memory(model.emb.weight, model.out.weight)
    how = "two Parameters on one memory" if same else "two Parameters, each with its own memory"
    assert model.out.weight is model.emb.weight, f"{when}, out.weight is not emb.weight: they are {how}"


@pytest.mark.myth(
    says="out.weight.data = emb.weight.data ties two layers.",
    today="It lays two Parameters on one memory: Adam and weight decay move it twice, and a deepcopy parts them.",
)
def test_one_parameter_under_two_names_is_counted_once():
    model, other = _model(), _model()
    n = sum(p.numel() for p in model.parameters())
    apart = "two Parameters that are equal at the start at most"
    if shares_memory(model.emb.weight, model.out.weight):
        apart = "two Parameters on one memory; an optimizer moves each, and a deepcopy parts them"
    doubled = n == 80 and model.out.weight is not model.emb.weight
    assert not doubled, f"80 numbers instead of 10 * 4 = 40: {apart}"
    assert getattr(model.out, "bias", None) is None, "out has a bias: the tied weight is all that it may have"
    assert n == 40, f"{n} numbers instead of 10 * 4 = 40: emb and out have one weight, and the model nothing else"
    _check_tie(model, "in a new model")
    apart = not shares_memory(model.emb.weight, other.emb.weight)
    assert apart, "a second TinyLM came with the weight of the first: each model has one of its own"
    first, second = model.emb.weight.detach()[:2].tolist()
    assert first != second, "two tokens start with the same vector: no gradient can ever tell them apart"
    same = torch.equal(model.emb.weight, other.emb.weight)
    assert not same, "two models start with the same numbers: each is to draw its own"
    _model(3, 5), _model(4, 4)


def test_the_output_layer_compares_with_every_row_of_the_table():
    for vocab, dim in ((10, 4), (9, 11)):
        model = _model(vocab, dim)
        weight = model.emb.weight.detach().clone()
        with explain("model.out(model.emb(i)) raised: emb is to look up, and out to score"):
            direct = model.out(model.emb(_TOKENS)).detach()
        check_tensor(direct, _by_hand(weight, _TOKENS), "model.out(model.emb(i)) is E[i] @ E.T", rtol=1e-4, atol=1e-5)
        for i in (
            _TOKENS,
            torch.tensor([2, 0, 7, 2]),
            torch.tensor([[5]]),
            torch.tensor([[[1, 8]], [[4, 0]]]).mT,
            torch.tensor(6),
        ):
            want = _by_hand(weight, i)
            logits = _logits(model, i)
            assert isinstance(logits, torch.Tensor), f"the logits are a tensor, got {type(logits).__name__}"
            scaled = logits.shape == want.shape and torch.allclose(logits.double(), want.double() * dim**0.5, rtol=1e-3)
            assert not scaled, f"the logits are {dim**0.5:.3g} times too large: the vectors are not to be scaled"
            sums = [values.sum(-1) for values in (logits.detach().exp(), logits.detach())]
            normal, softmaxed = [torch.allclose(s, torch.ones_like(s), rtol=1e-4) for s in sums]
            assert not normal, "exp(logits) sums to 1: these are log-probabilities; the loss computes them from logits"
            assert not softmaxed, "the scores of a token sum to 1: these are probabilities; no softmax is asked for"
            said = f"the logits are E[i] @ E.T, E the table, for i of shape {tuple(i.shape)}"
            check_tensor(logits.detach(), want, said, rtol=1e-4, atol=1e-5)


def test_a_tied_weight_gets_both_gradients_and_trains_as_one():
    model = _model()
    up = torch.linspace(-1, 2, 60).view(2, 3, 10).cos()
    weight = model.emb.weight.detach().clone()
    parts = []
    for of_the_table in (True, False):
        one = weight.clone().requires_grad_()
        table, scores = (one, weight) if of_the_table else (weight, one)
        (table[_TOKENS] @ scores.T * up).sum().backward()
        parts.append(one.grad)
    logits = _logits(model, _TOKENS)
    assert logits.requires_grad, "the logits hang on no weight: nothing can be trained"
    with explain("backward from the logits raised"):
        (logits * up).sum().backward()
    got = model.emb.weight.grad
    assert got is not None, "no gradient reached the tied weight"
    for part, use in zip(parts, ("looking up", "scoring"), strict=True):
        alone = torch.allclose(got, part, rtol=1e-3, atol=1e-4)
        assert not alone, f"only {use} sends a gradient to the weight: the other use is cut off"
    check_tensor(got, parts[0] + parts[1], "the gradient is the sum of both uses, in every row", rtol=1e-3, atol=1e-4)

    alone = weight.clone().requires_grad_()
    for weights, one in (([alone], True), (model.parameters(), False)):
        adam = torch.optim.Adam(weights, lr=0.1, weight_decay=0.3)
        for _ in range(3):
            adam.zero_grad()
            logits = _by_hand(alone, _TOKENS) if one else _logits(model, _TOKENS)
            with explain("training the model with Adam raised"):
                (logits * up).sum().backward()
                adam.step()
    _check_tie(model, "after three steps of Adam")
    said = "after three steps of Adam with weight decay, the table is not what one weight becomes"
    check_tensor(model.emb.weight.detach(), alone.detach(), said, rtol=1e-3, atol=1e-4)
    want = _by_hand(alone.detach(), _TOKENS)
    logits = _logits(model, _TOKENS).detach()
    check_tensor(logits, want, "after training, the logits are those of the new table", rtol=1e-3, atol=1e-3)


def test_the_tie_survives_copies_dtypes_and_loading():
    model, donor = _model(), _model()
    _logits(model, _TOKENS)
    before = model.emb.weight.detach().clone()
    with explain("copy.deepcopy(model).double() raised"):
        twin: Any = copy.deepcopy(model).double()
    _check_tie(twin, "after deepcopy and double()")
    with torch.no_grad():
        twin.emb.weight.mul_(0.7)
    said = "after deepcopy and double(), the logits must be those of the copy's own table, in float64"
    check_tensor(_logits(twin, _TOKENS).detach(), _by_hand(before.double() * 0.7, _TOKENS), said, rtol=1e-9, atol=1e-9)
    said = "the deepcopy was changed, and the logits of the model itself changed with it"
    check_tensor(_logits(model, _TOKENS).detach(), _by_hand(before, _TOKENS), said, rtol=1e-4, atol=1e-5)

    with torch.no_grad():
        donor.emb.weight.mul_(1.5)
    want = donor.emb.weight.detach().clone()
    with explain("load_state_dict with the state of another TinyLM raised"):
        model.load_state_dict(copy.deepcopy(donor.state_dict()))
    _check_tie(model, "after load_state_dict")
    check_tensor(model.emb.weight.detach(), want, "the loaded table is that of the other model")
    said = "after load_state_dict, the logits must be those of the loaded table"
    check_tensor(_logits(model, _TOKENS).detach(), _by_hand(want, _TOKENS), said, rtol=1e-4, atol=1e-5)
