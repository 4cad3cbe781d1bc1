"""A GPT before its first step

A model that has learned nothing should find all V tokens about equally likely: its first loss is ln V, 4.6 for V = 101.
PyTorch's own start is far from that. The numbers of an nn.Embedding come from N(0, 1); if the head has the same weight
(tied), the logits are huge, and the first loss is some 40 where a token has 64 numbers. GPT-2 draws all weights from
N(0, 0.02), and starts at ln V.

A transformer is a stream: each block adds to it twice, once from its attention and once from its MLP. Sums of random
numbers grow: with L layers there are 2 L of them, and their sum is √(2 L) times as large as one. So the projections
that *write* into the stream, the last one of each attention and of each MLP, get the smaller std / √(2 L). It is not 1
/ √L, since a layer adds twice; and not for all Linear layers, since only two of them write.

Which ones these are is known by their names, and `model.named_modules()` gives the whole path: "blocks.0.attn.proj".
No such path is equal to "proj": `if name == "proj"` stood in a well-known library for years, and scaled nothing. A test
for `"proj" in name` or `name.endswith("proj")` also takes "q_proj". A wrong scale raises no error.

Fill the weights that are there (`torch.nn.init.normal_`): a new Parameter cuts the tie, and the optimizer holds the old
one. And count them right: a tied weight is one, though two modules have it; a buffer and what is frozen is not trained.

What is asked here: the start of a GPT, and the number of its parameters.

About 25 minutes. Before it: init, weight_tying.
Path: transformer

https://docs.pytorch.org/docs/stable/nn.init.html
"""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo import under_test
from dojo.kit import explain, unchanged


def init_gpt_(model: nn.Module, n_layers: int, std: float = 0.02) -> None:
    """Draw the weights of `model` anew, in place: each nn.Linear and nn.Embedding gets a weight from N(0, std).

    But an nn.Linear whose own name, the last part of its path, is exactly `proj`, gets one from N(0, std / √(2 ·
    n_layers)). Biases of nn.Linear become 0, and so does the row `padding_idx` of an nn.Embedding that has one (and
    shares its weight with no nn.Linear).

    Everything else keeps its numbers. All Parameters stay the objects that they are, so what was tied stays tied, and
    `requires_grad` stays as it is, too; what is frozen is also drawn. The numbers come from torch's global generator,
    which is not seeded here.
    """
    raise NotImplementedError("fill each weight where it is")


def count_parameters(model: nn.Module, embeddings: bool = True) -> int:
    """How many numbers of `model` are trained (those of parameters with `requires_grad`), each tensor counted once.

    With `embeddings=False`, the weights of nn.Embedding modules are left out, also where a head shares them. `model`
    stays as it is.
    """
    raise NotImplementedError("count each trained tensor once")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "leaf Variable that requires grad": "a weight was edited in place with gradients on: nn.init does it without",
    "'NoneType' object has no attribute|NoneType": "something is None here: a Linear may have no bias, an Embedding "
    "no padding_idx",
    "Fan in and fan out": "some weights have one dim only, such as those of LayerNorm, and are not to be touched",
}
_C, _V = 64, 101


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(_C, _C, bias=False) for _ in range(3))
        self.proj = nn.Linear(_C, _C)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (f(x).unflatten(-1, (4, -1)).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        return self.proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class _MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj_in, self.proj = nn.Linear(_C, 4 * _C), nn.Linear(4 * _C, _C)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(F.gelu(self.proj_in(x)))


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.attn, self.ln_2, self.mlp = nn.LayerNorm(_C), _Attention(), nn.LayerNorm(_C), _MLP()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class _GPT(nn.Module):
    """Its head has the weight of the token table. Every number is far from any start at first."""

    def __init__(self, n_layers: int = 2) -> None:
        super().__init__()
        self.tok, self.pos = nn.Embedding(_V, _C), nn.Embedding(_C, _C)
        self.blocks = nn.ModuleList(_Block() for _ in range(n_layers))
        self.ln = nn.LayerNorm(_C)
        self.head = nn.Linear(_C, _V, bias=False)
        self.head.weight = self.tok.weight

    def stream(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What goes into the first block, and what comes out of the last."""
        x = start = self.tok(ids) + self.pos(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return start, x

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.ln(self.stream(ids)[1]))


def _init(model: nn.Module, n_layers: int, **std: float) -> None:
    __tracebackhide__ = True
    torch.manual_seed(4)
    with explain(f"init_gpt_ raised, with n_layers={n_layers}", _SIGNS):
        init_gpt_(model, n_layers, **std)


def _weight(model: nn.Module, path: str) -> torch.Tensor:
    return model.get_parameter(path).detach()


def _check_std(weight: torch.Tensor, want: float, told: str, causes: dict[str, float]) -> None:
    """Is it N(0, want)? The matrices here have 4096 numbers and more, so the std is known to 1 or 2 %."""
    __tracebackhide__ = True
    weight = weight.double()
    std, mean = weight.std().item(), weight.mean().item()
    cause = next((f": {said}" for said, other in causes.items() if abs(std / other - 1) < 0.06), "")
    assert abs(std / want - 1) < 0.06, f"{told} has std {std:.4g}, expected {want:.4g}{cause}"
    assert abs(mean) < 0.1 * want, f"{told} has mean {mean:.4g}, expected 0"
    far = ((weight - mean).abs() > 2.5 * std).double().mean().item()
    assert 0.004 < far < 0.022, f"{told}: {far:.1%} are more than 2.5 std from 0; of a normal distribution 1.2 % are"


@pytest.mark.myth(
    says="Scale the residual layers by 1/√N, N the number of layers.",
    today="Each layer adds to the stream twice: √(2N), and only the two projections that write are scaled.",
)
def test_only_the_two_projections_that_write_are_scaled():
    model = _GPT()
    model.extra = nn.ModuleDict({"proj": nn.Linear(_C, _C), "c_proj": nn.Linear(_C, _C), "proj_out": nn.Linear(_C, _C)})
    model.proj = nn.Linear(_C, _C)
    model.inside = nn.ModuleDict({"proj": nn.Sequential(nn.Linear(_C, _C))})  # its own name is "0"
    for n_layers, options in ((2, {}), (8, {}), (8, {"std": 0.1}), (1, {"std": 0.5}), (50, {})):
        std = options.get("std", 0.02)
        _init(model, n_layers, **options)
        small = std / math.sqrt(2 * n_layers)
        told = f"with n_layers={n_layers}" + (f" and std={std}, " if options else ", ")
        for path in (
            *("tok", "pos", "blocks.1.attn.q_proj", "blocks.0.mlp.proj_in"),
            *("extra.c_proj", "extra.proj_out", "inside.proj.0"),
        ):
            why = f"{path} writes nothing into the stream, its own name is not proj"
            causes = {why if "proj" in path else f"{path} was scaled, too": small}
            _check_std(_weight(model, f"{path}.weight"), std, f"{told}{path}.weight", causes)
        causes = {
            "it was not scaled down": std,
            "each layer adds to the stream twice, that makes 2 * n_layers": std / math.sqrt(n_layers),
            "divided by 2 * n_layers, without the root": std / (2 * n_layers),
        }
        for path in ("blocks.0.attn.proj", "blocks.1.mlp.proj", "blocks.1.attn.proj", "extra.proj", "proj"):
            _check_std(_weight(model, f"{path}.weight"), small, f"{told}{path}.weight", causes)


class _Custom(nn.Module):
    """Parameters and buffers that belong to no Linear and no Embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.full((4, 4), 1.5)), nn.Parameter(torch.full((4,), 0.25))
        self.register_buffer("table", torch.full((3, 3), 2.5))


def test_everything_but_linear_and_embedding_keeps_its_numbers():
    model = nn.Module()
    model.gpt = _GPT()
    model.rows = nn.ModuleList([nn.Embedding(200, _C, padding_idx=0), nn.Embedding(200, _C, padding_idx=-3)])
    model.others = nn.ModuleList([nn.Conv1d(4, 4, 2), nn.BatchNorm1d(4), nn.GroupNorm(2, 4), _Custom()])
    model.alone = nn.Parameter(torch.full((5, 5), 1.5))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(0.25 if name.endswith("bias") else 1.5)
    linears = {path: m for path, m in model.named_modules() if isinstance(m, nn.Linear)}
    drawn = {f"{path}.{name}" for path in linears for name in ("weight", "bias")} | {"gpt.tok.weight", "gpt.pos.weight"}
    drawn |= {"rows.0.weight", "rows.1.weight"}
    rest = {name: value.clone() for name, value in model.state_dict().items() if name not in drawn}
    _init(model, 3)
    for name, value in rest.items():
        after = model.state_dict()[name]
        was = value.flatten()[:3].tolist()
        kind = type(model.get_submodule(name.rpartition(".")[0])).__name__
        assert torch.equal(after, value), (
            f"{name} of a {kind} was {was} and more, and is {after.flatten()[:3].tolist()}"
        )
    for path, linear in linears.items():
        if linear.bias is not None:
            worst = linear.bias.abs().max().item()
            assert worst == 0, f"{path}.bias is to be 0, there is a {worst:.4g} in it"
    for path, row in (("rows.0", 0), ("rows.1", 197)):
        weight = _weight(model, f"{path}.weight")
        pad = weight[row].abs().max().item()
        assert pad == 0, f"{path} has padding_idx={row}: this row is to be 0, there is a {pad:.4g} in it"
        others = torch.cat([weight[:row], weight[row + 1 :]])
        _check_std(others, 0.02, f"{path}.weight without its padding row", {})
    for path in ("gpt.tok", "gpt.pos"):
        zero = (~_weight(model, f"{path}.weight").any(1)).nonzero().view(-1).tolist()
        assert not zero, f"{path} has no padding_idx, and its rows {zero} are 0"


def test_an_init_in_place_keeps_ties_flags_and_the_optimizers_objects():
    for dtype in (torch.float32, torch.float64):
        model = _GPT().to(dtype)
        model.blocks[0].eval()
        modes = {name: module.training for name, module in model.named_modules()}
        model.pos.weight.requires_grad = False
        model.blocks[0].attn.proj.requires_grad_(False)
        held = dict(model.named_parameters())
        flags = {name: p.requires_grad for name, p in held.items()}
        mine = torch.ones_like(model.ln.weight)
        model.ln.weight.grad = mine
        _init(model, 2)
        on = torch.is_grad_enabled()
        assert on, "after init_gpt_, gradients are off everywhere"
        tied = model.head.weight is model.tok.weight
        assert tied, "head.weight is not tok.weight any more: the tie is cut, the table and the head learn apart"
        now = dict(model.named_parameters())
        assert list(now) == list(held), f"the parameters were {list(held)}, and are {list(now)}"
        for name, parameter in now.items():
            assert parameter is held[name], f"{name} is a new Parameter: an optimizer made before holds the old one"
            assert parameter.is_leaf, f"{name} hangs on a graph now"
            flag = parameter.requires_grad
            assert flag == flags[name], f"requires_grad of {name} was {flags[name]} before init_gpt_, and is {flag}"
            assert parameter.dtype == dtype, f"{name} was {dtype}, and is {parameter.dtype}"
        for name, module in model.named_modules():
            mode = module.training
            assert mode == modes[name], f"training of {name or 'the model'} was {modes[name]} before, and is {mode}"
        assert model.ln.weight.grad is mine, "the gradient of ln.weight was there before, and is another one now"
        _check_std(_weight(model, "pos.weight"), 0.02, "pos.weight, which is frozen", {})
        _check_std(_weight(model, "blocks.0.attn.proj.weight"), 0.01, "blocks.0.attn.proj.weight, which is frozen", {})
        bias = model.blocks[0].attn.proj.bias.abs().max().item()
        assert bias == 0, f"blocks.0.attn.proj.bias, which is frozen, is to be 0 as well, there is a {bias:.4g} in it"


def test_the_numbers_are_those_of_the_global_generator():
    def drawn(seed: int | None) -> dict[str, torch.Tensor]:
        model = _GPT()
        if seed is not None:
            torch.manual_seed(seed)
        before = torch.get_rng_state()
        with explain("init_gpt_ raised", _SIGNS):
            init_gpt_(model, 2)
        moved = not torch.equal(torch.get_rng_state(), before)
        assert moved, "torch's global generator is as it was before init_gpt_: the numbers did not come from it"
        return {name: p.detach().clone() for name, p in model.named_parameters() if p.ndim == 2}

    first, again, other = drawn(1), drawn(1), drawn(2)
    seed, next_one = torch.initial_seed(), drawn(None)
    assert seed == torch.initial_seed() == 2, "init_gpt_ seeded the global generator: that is its caller's"
    for name, weight in first.items():
        assert torch.equal(weight, again[name]), f"torch.manual_seed(1), and {name} was different the second time"
        assert not torch.equal(weight, other[name]), (
            f"{name} is the same after manual_seed(1) and (2): it was seeded anew"
        )
        assert not torch.equal(other[name], next_one[name]), f"{name} is the same in two models, one after the other"
    for name in first:
        twin = name.replace("blocks.0", "blocks.1")
        assert twin == name or not torch.equal(first[name], first[twin]), f"{name} and {twin} have the same numbers"
    q, k = (first[f"blocks.0.attn.{name}.weight"] for name in ("q_proj", "k_proj"))
    assert not torch.equal(q, k), "q_proj and k_proj of a block have the same numbers"


@pytest.mark.myth(
    says="The default init of nn.Embedding and nn.Linear is a good start for a GPT.",
    today="nn.Embedding is N(0, 1): with a tied head the first loss is many times ln V.",
)
def test_before_the_first_step_the_loss_is_ln_v_and_the_stream_stays_small():
    torch.manual_seed(3)
    ids = torch.randint(_V, (8, 17))
    added = {}
    for n_layers in (2, 24):
        model = _GPT(n_layers)
        _init(model, n_layers)
        with torch.no_grad():
            loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).item()
            start, end = model.stream(ids)
        told = f"{n_layers} layers, {_V} tokens"
        assert abs(loss - math.log(_V)) < 0.1, (
            f"{told}: the first loss is {loss:.3f}, expected ln V = {math.log(_V):.3f}"
        )
        added[n_layers] = (end - start).std().item()
    ratio = added[24] / added[2]
    assert ratio < 1.7, f"24 blocks add {ratio:.2f} times as much to the stream as 2 do, expected about the same"


def _counted(model: nn.Module, **options: bool) -> Any:
    __tracebackhide__ = True
    with explain(f"count_parameters raised, with {options or 'the default'}"):
        with unchanged("who counts changes nothing", model=model, rng=True):
            got = count_parameters(model, **options)
    assert isinstance(got, int), f"count_parameters returns an int, got {type(got).__name__}"
    return got


def _check_count(model: nn.Module, want: int, without: int, told: str, cause: str = "") -> None:
    """`want`: all that is trained. `without`: that without embeddings."""
    __tracebackhide__ = True
    for options, expected in (({}, want), ({"embeddings": True}, want), ({"embeddings": False}, without)):
        got = _counted(model, **options)
        given = "".join(f", {name}={value}" for name, value in options.items())
        assert got == expected, f"{told}{given}: counted {got}, expected {expected}{cause}"


def _small(tied: bool, head_first: bool = False) -> Any:
    """28 + 20 numbers in two tables, 15 + 8 + 1 between them, and 28 in the head."""
    model = nn.Module()
    head = nn.Linear(4, 7, bias=False)
    if head_first:
        model.output = head
    model.wte, model.places = nn.Embedding(7, 4), nn.Embedding(5, 4)
    model.emb_proj = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(4))
    model.gain = nn.Parameter(torch.tensor(1.0))
    if not head_first:
        model.output = head
    if tied:
        model.output.weight = model.wte.weight
    return model


def test_a_tied_weight_is_one():
    for head_first in (False, True):
        order = "head before the table" if head_first else "head after the table"
        parts = "tables of 28 and 20, layers of 15 + 8 + 1, a head of 28"
        _check_count(_small(False, head_first), 100, 52, f"{parts}, {order}, untied")
        _check_count(_small(True, head_first), 72, 24, f"{parts}, {order}, tied", ": the tied weight is one tensor")
    model = nn.ModuleDict({"source": nn.Embedding(7, 4), "target": nn.Embedding(7, 4), "out": nn.Linear(4, 2)})
    model["target"].weight = model["source"].weight
    _check_count(model, 38, 10, "two nn.Embedding with one weight of 28, and a layer of 10")
    table = nn.Embedding(7, 4)
    _check_count(
        nn.ModuleList([table, nn.Linear(4, 2), table]), 38, 10, "one nn.Embedding of 28 under two names, and 10"
    )
    _check_count(nn.ModuleList([nn.LayerNorm(4), nn.LayerNorm(4)]), 16, 16, "two norms of 8, with equal numbers")
    _check_count(table, 28, 0, "the model is an nn.Embedding of 28")
    _check_count(nn.Linear(4, 2), 10, 10, "the model is an nn.Linear of 10")


def test_what_is_frozen_or_a_buffer_is_not_trained():
    model = _small(True)
    model.norm = nn.BatchNorm1d(3)
    model.register_buffer("table", torch.zeros(10, 10))
    _check_count(model, 78, 30, "72 trained numbers, 24 of them outside of tables, 6 of a BatchNorm, and buffers")
    for tied, want, without in ((True, 44, 24), (False, 72, 52)):
        model = _small(tied)
        model.wte.weight.requires_grad = False
        name = "tied to the head" if tied else "not tied"
        _check_count(
            model, want, without, f"the table of 28 is frozen, {name}", ": what is frozen is no part of the sum"
        )
    model.output.weight.requires_grad = False
    _check_count(model, 44, 24, "the table of 28 and a head of 28 of its own are frozen")
    model.requires_grad_(False)
    _check_count(model, 0, 0, "everything is frozen")
