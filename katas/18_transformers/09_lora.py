"""LoRA: a frozen layer and a small one beside it

To adapt a large model to a task, you need not train its weights. LoRA leaves a layer W as it is, and puts a product of
two thin matrices beside it: y = W x + alpha/rank * B A x, with A of shape (rank, in) and B of shape (out, rank). For
in = out = 4096 and rank 8, that is 65,000 numbers to train instead of 17 million, and only those are saved.

At the start the product has to be 0, so that the model is the one that you loaded. But if A and B both are 0, then each
one's gradient is 0, for ever: one is noise, the other is 0. alpha/rank keeps the size of the step when you try another
rank; an alpha that equals the rank hides a forgotten factor, also from many a test. Afterwards B A can be added to the
weight, so that the adapter costs nothing in use. Only you can do that: eval() sets a flag, and merges nothing. And
whoever adds it to the layer itself, and then goes on calling the adapter, counts it twice.

Three things go wrong in silence when layers are exchanged in a model. `layer.requires_grad = False` on a module freezes
nothing. A new module is in training mode, also within a model that is in eval: its dropout is live. And A and B have to
have the dtype and the device of the layer, not the default ones. `parent.named_children()` lists what can be exchanged,
`setattr(parent, name, new)` does it, `weight.new_zeros(...)` makes numbers like weight's.

What is asked here: the adapter, the exchange within a model, and the small state that is saved.

About 50 minutes. Before it: freezing, param_groups, dropout.
Path: transformer

https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html
"""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dojo import under_test
from dojo.kit import check_tensor, explain, shares_memory, unchanged


class LoRALinear(nn.Module):
    """The layer `base`, frozen, and an adapter beside it that is trained.

    `self.base` is that very layer; no call ever changes its values. `self.A`, of shape (rank, in), and `self.B`, of
    shape (out, rank), are Parameters in the dtype and on the device of its weight; A begins as noise, B as 0.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float = 0.0) -> None:
        """Freezes all of `base` and makes A and B. `dropout` is a probability."""
        raise NotImplementedError("freeze base, make A and B")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) -> (..., out): base(x) + alpha/rank * drop(x) Aᵀ Bᵀ.

        drop is a dropout, in training mode only; what base sees is never dropped. A gradient also reaches x.
        """
        raise NotImplementedError("the layer, and the adapter on top")

    def merged(self) -> nn.Linear:
        """A new, plain nn.Linear that gives what this adapter gives in eval mode, in any mode.

        It hangs on no graph and shares no memory with base; it has a bias where base has one, and base's dtype. The
        adapter stays as it is.
        """
        raise NotImplementedError("one layer for both")


def add_lora_(model: nn.Module, names: tuple[str, ...], rank: int, alpha: float, dropout: float = 0.0) -> int:
    """Put a LoRALinear around every nn.Linear in `model`, at any depth, whose own name is in `names`; in place.

    Its own name is the last part of its path ("q" of "blocks.0.attn.q"). A layer that is an adapter's base already is
    left alone. Afterwards A and B of all adapters can be trained, those of an earlier call too, and nothing else. Each
    adapter is in the mode, train or eval, of the layer that it replaces. Returns how many were put in.
    """
    raise NotImplementedError("freeze all, exchange the layers, and count")


def lora_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The A and B of all adapters in `model`, and nothing else, under their keys in model.state_dict().

    The tensors require no gradient.
    """
    raise NotImplementedError("collect A and B")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "Module.__init__|before Module": "something was assigned in LoRALinear before super().__init__()",
    "view size is not compatible": "x does not lie in memory row by row, and view does not accept that",
    "does not require grad": "the output hangs on no graph: A and B cannot learn",
    "same dtype|expected scalar type|dtype": "A or B has another dtype than base",
    "shapes cannot be multiplied|size mismatch|must match": "the shapes of A (rank, in) and B (out, rank) do not fit",
}


def _adapter(base: nn.Linear, rank: int, alpha: float, **dropout: float) -> Any:
    """A LoRALinear with what it has to have."""
    __tracebackhide__ = True
    case = f"LoRALinear(nn.Linear({base.in_features}, {base.out_features}), {rank}, {alpha})"
    with explain(f"{case} raised", _SIGNS):
        adapter = LoRALinear(base, rank, alpha, **dropout)
    assert isinstance(adapter, nn.Module), f"{case} is no nn.Module any more: keep its base class"
    for name, shape in (("A", (rank, base.in_features)), ("B", (base.out_features, rank))):
        p = getattr(adapter, name, None)
        is_one = isinstance(p, nn.Parameter)
        assert is_one, f"{case}.{name} is an nn.Parameter, got {type(p).__name__}: no optimizer would find it"
        assert p.shape == shape, f"{case}.{name} has the shape {tuple(p.shape)}, expected {shape}"
    return adapter


def _write(adapter: Any) -> None:
    """Numbers into A and B that are not 0."""
    with torch.no_grad():
        for p in (adapter.A, adapter.B):
            p.copy_(torch.linspace(-1, 1.5, p.numel()).view(p.shape).cos())


def _out(adapter: Any, x: torch.Tensor, what: str) -> torch.Tensor:
    __tracebackhide__ = True
    with explain(f"forward raised on {what}", _SIGNS), unchanged("forward changed what it was given", x=x):
        y = adapter(x)
    assert isinstance(y, torch.Tensor), f"{what}: expected a tensor, got {type(y).__name__}"
    return y


def _backward(y: torch.Tensor, c: torch.Tensor | float, what: str) -> None:
    """Backward with the gradient c."""
    __tracebackhide__ = True
    with explain(f"backward raised on {what}", _SIGNS):
        (y * c).sum().backward()


def _check_that_base_is_frozen(bias: bool) -> None:
    """All of it is frozen, and it stays that very layer."""
    __tracebackhide__ = True
    base = nn.Linear(4, 3, bias=bias)
    before = {name: p.detach().clone() for name, p in base.named_parameters()}
    adapter = _adapter(base, 2, 6.0)
    assert getattr(adapter, "base", None) is base, "self.base is not the layer that was given: no copy"
    assert "requires_grad" not in vars(base), (
        "base.requires_grad = False set an attribute on a module, which freezes nothing: its parameters have it"
    )
    trained = {name for name, p in adapter.named_parameters() if p.requires_grad}
    assert trained == {"A", "B"}, f"trained are {sorted(trained)}, expected A and B alone"
    _write(adapter)
    x = torch.randn(5, 4, requires_grad=True)
    _backward(_out(adapter, x, "a batch of 5"), torch.arange(15.0).view(5, 3), "a batch of 5")
    for name, p in base.named_parameters():
        assert p.grad is None, f"base.{name} is frozen, and it got a gradient"
        check_tensor(p.detach(), before[name], f"base.{name} changed")


@pytest.mark.myth(
    says="An adapter begins with small random numbers, as any new layer does. Or: it begins with zeros.",
    today="One factor is 0, the other noise: with noise in both the model is another one, with 0 in both none learns.",
)
def test_beside_a_frozen_layer_one_factor_begins_as_noise_and_the_other_as_zero():
    a, b = torch.zeros(2, 4, requires_grad=True), torch.zeros(3, 2, requires_grad=True)
    F.linear(F.linear(torch.ones(1, 4), a), b).sum().backward()
    assert not a.grad.any(), "where both factors are 0, A has no gradient"
    assert not b.grad.any(), "where both factors are 0, B has no gradient"
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        base, x = nn.Linear(6, 5, dtype=dtype), torch.randn(2, 3, 6, dtype=dtype)
        want = base(x).detach()
        adapter = _adapter(base, 2, 3.0)
        for name, p in (("A", adapter.A), ("B", adapter.B)):
            assert p.dtype == dtype, f"{name} is {p.dtype}, and the weight of base is {dtype}"
        dead = not adapter.A.any() and not adapter.B.any()
        assert not dead, "A and B are both 0: so are both gradients, and neither ever learns"
        assert not adapter.B.any(), "B does not begin as 0: the model is another one before the first step"
        noise = len(set(adapter.A.flatten().tolist()))
        assert adapter.A.isfinite().all(), "A begins with numbers that are not finite: was its memory never written?"
        assert noise > 6, f"A begins with {noise} different numbers of 12, expected noise"
        check_tensor(_out(adapter, x, f"x in {dtype}").detach(), want, "a new adapter changes nothing")
        _backward(_out(adapter, x, f"x in {dtype}"), want + 1, f"x in {dtype}")
        learns = adapter.B.grad is not None and bool(adapter.B.grad.any())
        assert learns, "after the first backward B has no gradient: it does not learn"
    pair = [_adapter(nn.Linear(6, 5), 2, 3.0).A for _ in range(2)]
    assert not torch.equal(*pair), "two adapters begin with the same A: noise is new each time"
    for bias in (True, False):
        _check_that_base_is_frozen(bias)
    far = _adapter(nn.Linear(6, 5, device="meta"), 2, 3.0)
    for name, p in (("A", far.A), ("B", far.B)):
        assert p.is_meta, f"{name} is on {p.device.type}, and base is on another device (meta)"


@pytest.mark.parametrize(
    ("rank", "alpha", "fits", "makes", "shape"),
    [
        (2, 6.0, 5, 3, (5,)),
        (4, 4.0, 4, 4, (4, 4, 4)),
        (3, 1, 6, 7, (2, 5, 6)),
        (1, 0.5, 3, 2, (7, 3)),
    ],
    ids=["one row", "all sizes equal", "texts of tokens", "rank one"],
)
def test_an_adapter_adds_alpha_over_rank_times_its_product(rank, alpha, fits, makes, shape):
    base = nn.Linear(fits, makes, dtype=torch.float64)
    weight, bias = base.weight.detach().clone(), base.bias.detach().clone()
    adapter = _adapter(base, rank, alpha)
    _write(adapter)
    x = torch.randn(shape[::-1], dtype=torch.float64).permute(*reversed(range(len(shape)))).requires_grad_()
    a, b = (p.detach().clone().requires_grad_() for p in (adapter.A, adapter.B))
    mine = x.detach().clone().requires_grad_()
    low = mine @ a.T @ b.T
    want = mine @ weight.T + bias + alpha / rank * low
    c = torch.linspace(-1, 2, want.numel(), dtype=torch.float64).view(want.shape)
    (want * c).sum().backward()
    for mode in ("train", "eval"):
        adapter.train(mode == "train")
        adapter.A.grad = adapter.B.grad = x.grad = None
        case = f"rank {rank}, alpha {alpha}, x of shape {shape}, in {mode} mode"
        got = _out(adapter, x, case)
        _check_scale(got, want.detach(), low.detach(), rank, alpha, case)
        check_tensor(got.detach(), want.detach(), f"{case}: base(x) + alpha/rank * x Aᵀ Bᵀ", rtol=1e-9, atol=1e-12)
        _backward(got, c, case)
        for name, p, known in (("A", adapter.A, a), ("B", adapter.B, b), ("x", x, mine)):
            assert p.grad is not None, f"{case}: no gradient reached {name}"
            check_tensor(p.grad, known.grad, f"{case}: the gradient of {name}", rtol=1e-9, atol=1e-12)


def _check_scale(got: torch.Tensor, want: torch.Tensor, low: torch.Tensor, rank: int, alpha: float, case: str) -> None:
    """Is x Aᵀ Bᵀ, which is `low`, multiplied by another number?"""
    __tracebackhide__ = True
    wrong = {"alpha": alpha, "alpha / sqrt(rank)": alpha / rank**0.5, "1": 1.0, "1 / rank": 1 / rank}
    for name, scale in wrong.items():
        is_it = (got.shape, got.dtype) == (want.shape, want.dtype) and torch.allclose(
            got, want + (scale - alpha / rank) * low, rtol=1e-9
        )
        same = abs(scale - alpha / rank) < 1e-9
        assert same or not is_it, f"{case}: the adapter is multiplied by {name}, expected alpha / rank"


def test_dropout_is_in_front_of_the_adapter_alone_and_only_in_training():
    base = nn.Linear(4, 3, dtype=torch.float64)
    x = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64).repeat(200, 1)
    want = F.linear(x, base.weight, base.bias).detach()
    adapter = _adapter(base, 1, 2.0, dropout=0.25).train()
    fresh = _out(adapter, x, "a batch in training").detach()
    check_tensor(fresh, want, "B is 0: what base sees is dropped, too", rtol=1e-12)
    with torch.no_grad():
        adapter.A.fill_(1.0)
        adapter.B.fill_(1.0)
    adapter.eval()
    check_tensor(_out(adapter, x, "a batch in eval").detach(), want + 30, "in eval nothing is dropped", rtol=1e-12)
    adapter.train()
    y, again = (_out(adapter, x, "a batch in training").detach() for _ in range(2))
    added = (y - want) / 2 * 0.75  # which of 1, 2, 4 and 8 were left
    assert adapter.training, "forward left the adapter in eval mode"
    live = not torch.allclose(y, want + 30)
    assert live, "in training mode, with dropout=0.25, nothing is dropped"
    assert not torch.equal(y, again), "two calls in training mode drop the same numbers"
    alike = torch.allclose(added, added[:, :1].expand(-1, 3))
    assert alike, "A and B are full of 1, and the three outputs of the adapter differ: the dropout is behind B"
    sums = added[:, 0]
    whole = bool(((sums - sums.round()).abs() < 1e-6).all() and sums.min() > -0.5 and sums.max() < 15.5)
    assert whole, "what the adapter adds is no sum of some of x, divided by 1 - dropout"
    assert len(set(sums.round().tolist())) > 4, "x is dropped as a whole or not at all: the dropout is behind A"
    share = sums.mean().item() / 15
    assert 0.6 < share < 0.9, f"dropout=0.25 left {share:.0%} of x"


def _same(layer: Any, x: torch.Tensor, want: torch.Tensor, said: str, **near: float) -> None:
    __tracebackhide__ = True
    with torch.no_grad(), explain("the merged layer raised", _SIGNS):
        got = layer(x)
    check_tensor(got, want, said, **near)


@pytest.mark.myth(
    says="model.eval() merges the adapters into the weights.",
    today="eval() sets a flag, and that is all: merging is a step of your own, into a layer of its own.",
)
def test_merging_makes_a_new_layer_and_eval_merges_nothing():
    for bias, dtype, near in ((True, torch.float64, 1e-9), (False, torch.float64, 1e-9), (True, torch.bfloat16, 0.2)):
        base = nn.Linear(5, 4, bias=bias, dtype=dtype)
        before = {name: p.detach().clone() for name, p in base.named_parameters()}
        adapter = _adapter(base, 2, 6.0, dropout=0.5)
        _write(adapter)
        x = torch.randn(3, 5, dtype=dtype)
        want = (F.linear(x, base.weight, base.bias) + 3 * x @ adapter.A.T @ adapter.B.T).detach()
        adapter.eval()
        check_tensor(_out(adapter, x, "a batch in eval").detach(), want, "what it gives in eval", rtol=near, atol=near)
        for name, p in base.named_parameters():
            check_tensor(p.detach(), before[name], f"after eval(), base.{name} is another: eval() merges nothing")
        last = None
        for mode in (True, False):
            adapter.train(mode)
            with (
                explain("merged() raised", _SIGNS),
                unchanged("merged() changed the adapter: merged into base, it counts twice", adapter=adapter),
            ):
                layer = adapter.merged()
            kind = type(layer).__name__
            assert type(layer) is nn.Linear, f"merged() gives a plain nn.Linear, got {kind}"
            assert layer is not last, "merged() gave the same layer twice: it is a new one for each call"
            assert layer is not base, "merged() gave base itself: it counts twice where the adapter is called again"
            has = layer.bias is not None
            assert has is bias, (
                f"base has {'a' if bias else 'no'} bias, and the merged layer has {'one' if has else 'none'}"
            )
            for name, p in (("weight", layer.weight), *([("bias", layer.bias)] if bias else [])):
                assert p.grad_fn is None, f"{name} of the merged layer hangs on a graph"
                assert p.dtype == dtype, f"{name} of the merged layer is {p.dtype}, and base is {dtype}"
                shared = any(shares_memory(p, other) for other in adapter.parameters())
                assert not shared, f"{name} of the merged layer lives in base's memory: training one changes the other"
            said = "the merged layer against the adapter in eval"
            _same(layer, x, want, said, rtol=near, atol=near)
            last = layer
        check_tensor(_out(adapter, x, "a batch").detach(), want, "the adapter after merging", rtol=near, atol=near)


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.proj = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), is_causal=True))


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn, self.mlp = _Attention(), nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mlp(x + self.attn(x))


class _Model(nn.Module):
    """Layers called q at two depths, a norm called v, a Linear called qv, and a parameter of its own called A."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.q, self.qv = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.blocks = nn.ModuleList([_Block(), _Block()])
        self.v, self.A, self.head = nn.LayerNorm(4), nn.Parameter(torch.ones(4)), nn.Linear(4, 7)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.qv(self.q(self.tokens(ids)))
        for block in self.blocks:
            x = block(x)
        return self.head(self.v(x) * self.A)


_PLACES = ["blocks.0.attn.q", "blocks.0.attn.v", "blocks.1.attn.q", "blocks.1.attn.v", "q"]


def _add(model: nn.Module, names: tuple[str, ...], *numbers: Any, **dropout: float) -> int:
    __tracebackhide__ = True
    with explain(f"add_lora_(model, {names}, ...) raised", _SIGNS):
        return add_lora_(model, names, *numbers, **dropout)


def _adapters(model: nn.Module) -> list[str]:
    """The paths of all that has a base, an A and a B."""
    return sorted(
        path for path, part in model.named_modules() if all(hasattr(part, name) for name in ("base", "A", "B"))
    )


def _trained(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_layers_are_exchanged_by_name_and_all_else_is_frozen():
    model, ids = _Model().eval(), torch.arange(6).view(2, 3)
    model.blocks[1].attn.v.train()
    layers, want = dict(model.named_modules()), model(ids).detach()
    training = {path: layer.training for path, layer in layers.items()}
    count = _add(model, ("q", "v"), 2, 6.0, dropout=0.5)
    found = _adapters(model)
    assert found == _PLACES, f"adapters are at {found}, expected every nn.Linear called q or v: {_PLACES}"
    right = isinstance(count, int) and count == len(_PLACES)
    assert right, f"it returned {count!r}, expected {len(_PLACES)}, the number of adapters"
    for path in _PLACES:
        adapter = model.get_submodule(path)
        assert adapter.base is layers[path], f"the base of {path} is not the layer that was there"
        modes, was = {part.training for part in adapter.modules()}, training[path]
        asleep = "its dropout is off" if was else "its dropout is live"
        assert modes == {was}, f"{path} has another mode than the layer that it replaced: {asleep}"
    expected = {f"{path}.{name}" for path in _PLACES for name in "AB"}
    trained = _trained(model)
    assert trained >= expected, f"not trained are {sorted(expected - trained)}"
    assert trained == expected, (
        f"still trained are {sorted(trained - expected)}, expected A and B of the adapters alone"
    )
    model.eval()
    check_tensor(model(ids).detach(), want, "new adapters change nothing", rtol=1e-5, atol=1e-6)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.5)
    model.train()
    for _ in range(5):
        optimizer.zero_grad()
        with explain("training a model with adapters raised", _SIGNS):
            F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
        optimizer.step()
    with torch.no_grad():
        dropped = not torch.equal(model(ids), model(ids))
        x, adapter = torch.randn(5, 4), model.eval().q
        want = adapter.base(x) + 6 / 2 * x @ adapter.A.T @ adapter.B.T
    assert dropped, "with dropout=0.5, the adapters drop nothing in training: was it passed on?"
    near = torch.allclose(adapter(x), want, atol=1e-5)
    assert near, "an adapter made with rank 2 and alpha 6.0 does not add 3 times its product: were both passed on?"
    moved = {name for name, p in model.named_parameters() if not torch.equal(p.detach(), before[name])}
    assert moved == expected, f"five steps of AdamW moved {sorted(moved)}, expected A and B of all adapters"


def test_a_second_call_leaves_adapters_as_they_are():
    model = _Model()
    _add(model, ("q", "v"), 2, 6.0)
    before = {path: model.get_submodule(path) for path in _adapters(model)}
    for adapter in before.values():
        _write(adapter)
    written = {path: (adapter.A.detach().clone(), adapter.B.detach().clone()) for path, adapter in before.items()}
    for names, more in ((("q", "v"), []), (("q", "base"), []), (("proj", "2", "v"), ["proj", "2"])):
        count = _add(model, names, 3, 3.0)
        new = sorted(set(_adapters(model)) - set(before))
        again = [path for path in new if path.rpartition(".")[2] == "base"]
        assert not again, f"{', '.join(again)} is an adapter's base, and got an adapter of its own"
        places = sorted(f"blocks.{i}.{'attn' if name == 'proj' else 'mlp'}.{name}" for i in (0, 1) for name in more)
        assert new == places, f"a second call with {names} made adapters at {new}, expected {places}"
        for path, adapter in before.items():
            assert model.get_submodule(path) is adapter, f"a second call exchanged the adapter at {path}"
            for name, value in zip("AB", written[path], strict=True):
                same = torch.equal(getattr(adapter, name), value)
                assert same, f"a second call changed {path}.{name}: what the adapter had learned is lost"
        assert count == len(places), f"a second call with {names} returned {count}, expected {len(places)}"
        expected = {f"{path}.{name}" for path in [*before, *new] for name in "AB"}
        off = sorted(expected - _trained(model))
        assert not off, f"a second call froze {off}: adapters of an earlier call go on learning"
        on = sorted(_trained(model) - expected)
        assert not on, f"after a second call, trained are {on} besides the adapters"


def test_the_state_of_the_adapters_is_all_that_has_to_be_saved():
    ids, (model, fresh) = torch.arange(6).view(2, 3), (_Model() for _ in range(2))
    fresh.load_state_dict(model.state_dict())
    for each in (model, fresh):
        _add(each, ("q", "v"), 2, 6.0)
    with torch.no_grad():
        for path in _adapters(model):
            _write(model.get_submodule(path))
    # Who continues a training may have frozen an adapter, and let another layer learn.
    model.head.requires_grad_(True)
    model.q.requires_grad_(False)
    with explain("lora_state raised"), unchanged("lora_state changed the model", model=model):
        state = lora_state(model)
    assert isinstance(state, dict), f"expected a dict, got {type(state).__name__}"
    expected = {f"{path}.{name}" for path in _PLACES for name in "AB"}
    assert set(state) >= expected, f"these are missing: {sorted(expected - set(state))}; there are {sorted(state)}"
    assert set(state) == expected, f"these are no part of an adapter, or not trained: {sorted(set(state) - expected)}"
    whole = model.state_dict()
    for name, value in state.items():
        check_tensor(value, whole[name], f"{name} as in state_dict, without a gradient", requires_grad=False)
    with explain("load_state_dict(state, strict=False) raised"):
        left = fresh.load_state_dict(state, strict=False)
    assert not left.unexpected_keys, f"load_state_dict does not know {left.unexpected_keys}"
    check_tensor(
        fresh(ids).detach(), model(ids).detach(), "a fresh model with the adapters loaded", rtol=1e-5, atol=1e-6
    )
