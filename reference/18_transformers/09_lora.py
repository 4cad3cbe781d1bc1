"""LoRA: a frozen layer and a small one beside it: reference.

Hint: Write the formula first, with alpha 6 and rank 2. Then ask of each number that you make: which dtype, on which
    device, in which mode, with which gradient?
Hint: `weight.new_zeros`, `nn.Module.requires_grad_`, `nn.Dropout`, `nn.Module.named_modules`, `named_children`,
    `setattr`; `copy.deepcopy` makes a layer that shares nothing.
Hint: Make a list of all pairs of parent and child before you exchange any of them, and leave out the parents that are
    adapters. Freeze the whole model at the end, then switch A and B of each adapter on.

Why: B = 0 makes the start exact, and the noise in A gives B a gradient in the first step; A gets its own from the
second on. In float64 the merged layer is equal; in bfloat16 the sum of weight and product is rounded to 8 bits once
more, so the outputs differ a little. An exchange during the walk over the modules would walk into the new ones: hence
the list. Freezing everything and switching on what is to be trained cannot forget a parameter.
"""

import copy

import torch
from torch import nn
from torch.nn import functional

from dojo import Mistake


class LoRALinear(nn.Module):
    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        noise = torch.randn_like(base.weight[:1].expand(rank, -1)) / base.in_features**0.5
        self.A = nn.Parameter(noise)
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        self.drop, self.scale = nn.Dropout(dropout), alpha / rank

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.scale * (self.drop(x) @ self.A.T @ self.B.T)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        layer = copy.deepcopy(self.base)
        layer.weight += self.scale * (self.B @ self.A)
        return layer


def add_lora_(model: nn.Module, names: tuple[str, ...], rank: int, alpha: float, dropout: float = 0.0) -> int:
    found = [
        (parent, name, child)
        for parent in model.modules()
        if not isinstance(parent, LoRALinear)
        for name, child in parent.named_children()
        if name in names and isinstance(child, nn.Linear)
    ]
    for parent, name, child in found:
        adapter = LoRALinear(child, rank, alpha, dropout)
        setattr(parent, name, adapter.train(child.training))
    model.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, LoRALinear):
            module.A.requires_grad_()
            module.B.requires_grad_()
    return len(found)


def lora_state(model: nn.Module) -> dict[str, torch.Tensor]:
    adapters = [path for path, module in model.named_modules() if isinstance(module, LoRALinear)]
    keys = {f"{path}.{name}".lstrip(".") for path in adapters for name in "AB"}
    return {key: value.detach() for key, value in model.state_dict().items() if key in keys}


# ── known mistakes ──


class _Other(nn.Module):
    """LoRALinear, of which the mistakes change one part."""

    frozen = staticmethod(lambda base: base.requires_grad_(False))
    a = staticmethod(lambda base, rank: torch.randn_like(base.weight[:1].expand(rank, -1)) / 2)
    b = staticmethod(lambda base, rank: base.weight.new_zeros(len(base.weight), rank))
    size = staticmethod(lambda alpha, rank: alpha / rank)

    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__()
        self.base = type(self).frozen(base)
        self.A, self.B = nn.Parameter(type(self).a(self.base, rank)), nn.Parameter(type(self).b(self.base, rank))
        self.drop, self.p, self.scale = nn.Dropout(dropout), dropout, type(self).size(alpha, rank)

    def forward(self, x):
        return self.base(x) + self.scale * (self.drop(x) @ self.A.T @ self.B.T)

    def product(self):
        return self.scale * (self.B @ self.A)

    @torch.no_grad()
    def merged(self):
        layer = copy.deepcopy(self.base)
        layer.weight += self.product()
        return layer


def _lora(**parts):
    fixed = {name: staticmethod(part) if name in ("frozen", "a", "b", "size") else part for name, part in parts.items()}
    return type("LoRALinear", (_Other,), fixed)


def _an_attribute(base):
    base.requires_grad = False
    return base


def _weight_only(base):
    base.weight.requires_grad = False
    return base


def _a_copy(base):
    return copy.deepcopy(base).requires_grad_(False)


def _reseeded(base, rank):
    torch.manual_seed(0)
    return torch.randn(rank, base.in_features, dtype=base.weight.dtype, device=base.weight.device)


def _no_parameters(self, base, rank, alpha, dropout=0.0):
    _Other.__init__(self, base, rank, alpha, dropout)
    a, b = self.A.data, self.B.data
    del self.A, self.B
    self.A, self.B = a.requires_grad_(), b.requires_grad_()


def _no_grad_through_base(self, x):
    with torch.no_grad():
        y = self.base(x)
    return y + self.scale * (self.drop(x) @ self.A.T @ self.B.T)


def _cut_x(self, x):
    return self.base(x) + self.scale * (self.drop(x.detach()) @ self.A.T @ self.B.T)


def _no_graph_in_eval(self, x):
    with torch.set_grad_enabled(self.training):
        return _Other.forward(self, x)


def _product_without_graph(self, x):
    return self.base(x) + functional.linear(self.drop(x), self.product().data)


def _by_view(self, x):
    """The rows of x are made one long list; not every x can be looked at in this way."""
    rows = self.drop(x).view(-1, x.shape[-1])
    return self.base(x) + (self.scale * (rows @ self.A.T @ self.B.T)).view(*x.shape[:-1], -1)


def _dropped_for_both(self, x):
    x = self.drop(x)
    return self.base(x) + self.scale * (x @ self.A.T @ self.B.T)


def _always_dropped(self, x):
    return self.base(x) + self.scale * (functional.dropout(x, self.p) @ self.A.T @ self.B.T)


def _never_dropped(self, x):
    return self.base(x) + self.scale * (x @ self.A.T @ self.B.T)


def _dropped_behind_a(self, x):
    return self.base(x) + self.scale * (self.drop(x @ self.A.T) @ self.B.T)


def _dropped_behind_b(self, x):
    return self.base(x) + self.scale * self.drop(x @ self.A.T @ self.B.T)


def _dropped_in_place(self, x):
    return self.base(x) + self.scale * (
        functional.dropout(x, self.p, self.training, inplace=True) @ self.A.T @ self.B.T
    )


def _masked_only(self, x):
    """A mask of its own, without dividing by 1 - p."""
    seen = x * (torch.rand_like(x) >= self.p) if self.training else x
    return self.base(x) + self.scale * (seen @ self.A.T @ self.B.T)


def _bias_scaled(self, x):
    return self.base(x) * self.scale + self.scale * (self.drop(x) @ self.A.T @ self.B.T)


@torch.no_grad()
def _into_base(self):
    self.base.weight += self.product()
    return self.base


@torch.no_grad()
def _into_base_and_copied(self):
    self.base.weight += self.product()
    return copy.deepcopy(self.base)


@torch.no_grad()
def _without_scale(self):
    layer = copy.deepcopy(self.base)
    layer.weight += self.B @ self.A
    return layer


@torch.no_grad()
def _shared_bias(self):
    layer = nn.Linear(self.base.in_features, self.base.out_features, bias=self.base.bias is not None)
    layer.weight = nn.Parameter(self.base.weight + self.product())
    layer.bias = self.base.bias
    return layer


@torch.no_grad()
def _no_bias(self):
    layer = nn.Linear(self.base.in_features, self.base.out_features, bias=False)
    layer.weight = nn.Parameter(self.base.weight + self.product())
    return layer


@torch.no_grad()
def _always_a_bias(self):
    layer = nn.Linear(self.base.in_features, self.base.out_features).to(self.base.weight.dtype)
    layer.weight.copy_(self.base.weight + self.product())
    if self.base.bias is not None:
        layer.bias.copy_(self.base.bias)
    else:
        layer.bias.zero_()
    return layer


@torch.no_grad()
def _default_dtype(self):
    layer = nn.Linear(self.base.in_features, self.base.out_features, bias=self.base.bias is not None)
    layer.weight.copy_(self.base.weight + self.product())
    if self.base.bias is not None:
        layer.bias.copy_(self.base.bias)
    return layer


def _on_a_graph(self):
    layer = copy.deepcopy(self.base)
    weight = layer.weight + self.product()
    del layer.weight
    layer.weight = weight
    return layer


def _self_as_merged(self):
    return copy.deepcopy(self).eval()


def _goes_to_eval(self):
    self.eval()
    return _Other.merged(self)


def _cached(self):
    if not hasattr(self, "_layer"):
        object.__setattr__(self, "_layer", _Other.merged(self))
    return self._layer


def _merges_in_eval(self, mode=True):
    nn.Module.train(self, mode)
    with torch.no_grad():
        if mode == getattr(self, "is_merged", False):
            self.base.weight += (-1 if mode else 1) * self.product()
            self.is_merged = not mode
    return self


def _forward_of_merged(self, x):
    return self.base(x) if getattr(self, "is_merged", False) else _Other.forward(self, x)


def _adds(
    fits=lambda path, name, names: name in names,
    keep_mode=True,
    freeze="all",
    kinds=(nn.Linear,),
    inside=False,
    again=True,
    top=False,
    count=len,
    copied=False,
):
    """add_lora_ with one thing wrong in it."""

    def wrong(model, names, rank, alpha, dropout=0.0):
        if freeze == "before":
            model.requires_grad_(False)
        found = []
        for prefix, parent in model.named_modules():
            if (isinstance(parent, LoRALinear) and not inside) or (top and prefix):
                continue
            for name, child in parent.named_children():
                if isinstance(child, kinds) and fits(f"{prefix}.{name}".lstrip("."), name, names):
                    found.append((parent, name, child))
        for parent, name, child in found:
            layer = copy.deepcopy(child) if copied else child
            adapter = LoRALinear(layer, rank, alpha, dropout)
            setattr(parent, name, adapter.train(child.training) if keep_mode else adapter)
        if freeze == "all":
            model.requires_grad_(False)
            for module in model.modules():
                if isinstance(module, LoRALinear):
                    module.A.requires_grad_()
                    module.B.requires_grad_()
        elif freeze == "by name":
            for name, p in model.named_parameters():
                p.requires_grad = "A" in name or "B" in name
        elif freeze == "linears":
            for module in model.modules():
                if isinstance(module, nn.Linear):
                    module.requires_grad_(False)
        elif freeze == "everything":
            model.requires_grad_(False)
        elif freeze == "weights":
            for name, p in model.named_parameters():
                if name.endswith("weight"):
                    p.requires_grad = False
        return count(found)

    return wrong


def _mode_of_the_model(model, names, rank, alpha, dropout=0.0):
    count = add_lora_(model, names, rank, alpha, dropout)
    model.train(model.training)
    return count


def _to_train(model, names, rank, alpha, dropout=0.0):
    count = add_lora_(model, names, rank, alpha, dropout)
    model.train()
    return count


def _anew(model, names, rank, alpha, dropout=0.0):
    """Adapters that were there are taken out first."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoRALinear):
                setattr(parent, name, child.base)
    return add_lora_(model, names, rank, alpha, dropout)


def _all_from_zero(model, names, rank, alpha, dropout=0.0):
    """B becomes 0 in all adapters, and not only in the new ones."""
    count = add_lora_(model, names, rank, alpha, dropout)
    for module in model.modules():
        if isinstance(module, LoRALinear):
            nn.init.zeros_(module.B)
    return count


def _new_adapters_only(model, names, rank, alpha, dropout=0.0):
    before = [module for module in model.modules() if isinstance(module, LoRALinear)]
    count = add_lora_(model, names, rank, alpha, dropout)
    for module in before:
        module.requires_grad_(False)
    return count


def _without_dropout(model, names, rank, alpha, dropout=0.0):
    return add_lora_(model, names, rank, alpha)


def _without_alpha(model, names, rank, alpha, dropout=0.0):
    return add_lora_(model, names, rank, 16.0, dropout)


def _kept(model, names, rank, alpha, dropout=0.0):
    """The model's own trainable parameters are left as they are."""
    on = [p for p in model.parameters() if p.requires_grad]
    count = add_lora_(model, names, rank, alpha, dropout)
    for p in on:
        p.requires_grad_()
    return count


_START = "test_beside_a_frozen_layer_one_factor_begins_as_noise_and_the_other_as_zero"
_SCALE = "test_an_adapter_adds_alpha_over_rank_times_its_product"
_DROP = "test_dropout_is_in_front_of_the_adapter_alone_and_only_in_training"
_MERGE = "test_merging_makes_a_new_layer_and_eval_merges_nothing"
_NAMES = "test_layers_are_exchanged_by_name_and_all_else_is_frozen"
_AGAIN = "test_a_second_call_leaves_adapters_as_they_are"
_STATE = "test_the_state_of_the_adapters_is_all_that_has_to_be_saved"
_TWICE = "merged() changed the adapter: merged into base, it counts twice"

MISTAKES = [
    Mistake(
        "neither ever learns",
        caught_by=_START,
        LoRALinear=_lora(a=lambda base, r: base.weight.new_zeros(r, base.in_features)),
    ),
    Mistake(
        "B does not begin as 0",
        caught_by=_START,
        LoRALinear=_lora(b=lambda base, r: torch.randn_like(base.weight[:, :1].expand(-1, r)) * 0.01),
    ),
    Mistake(
        "B does not begin as 0",
        caught_by=_START,
        LoRALinear=_lora(
            a=lambda base, r: base.weight.new_zeros(r, base.in_features),
            b=lambda base, r: torch.randn_like(base.weight[:, :1].expand(-1, r)),
        ),
    ),
    Mistake(
        "expected noise",
        caught_by=_START,
        LoRALinear=_lora(a=lambda base, r: base.weight.new_ones(r, base.in_features)),
    ),
    Mistake("noise is new each time", caught_by=_START, LoRALinear=_lora(a=_reseeded)),
    Mistake(
        "and the weight of base is torch.float64",
        caught_by=_START,
        LoRALinear=_lora(
            a=lambda base, r: torch.randn(r, base.in_features), b=lambda base, r: torch.zeros(base.out_features, r)
        ),
    ),
    Mistake(
        "and base is on another device",
        caught_by=_START,
        LoRALinear=_lora(
            a=lambda base, r: torch.randn(r, base.in_features, dtype=base.weight.dtype),
            b=lambda base, r: torch.zeros(base.out_features, r, dtype=base.weight.dtype),
        ),
    ),
    Mistake(
        "expected (2, 6)",
        caught_by=_START,
        LoRALinear=_lora(
            a=lambda base, r: torch.randn(base.in_features, r),
            forward=lambda self, x: self.base(x) + self.scale * (self.drop(x) @ self.A @ self.B.T),
        ),
    ),
    Mistake("no optimizer would find it", caught_by=_START, LoRALinear=_lora(__init__=_no_parameters)),
    Mistake("which freezes nothing", caught_by=_START, LoRALinear=_lora(frozen=_an_attribute)),
    Mistake("expected A and B alone", caught_by=_START, LoRALinear=_lora(frozen=_weight_only)),
    Mistake("expected A and B alone", caught_by=_START, LoRALinear=_lora(frozen=lambda base: base)),
    Mistake("is not the layer that was given", caught_by=_START, LoRALinear=_lora(frozen=_a_copy)),
    Mistake("multiplied by alpha, expected", caught_by=_SCALE, LoRALinear=_lora(size=lambda alpha, rank: alpha)),
    Mistake(
        "multiplied by alpha / sqrt(rank)",
        caught_by=_SCALE,
        LoRALinear=_lora(size=lambda alpha, rank: alpha / rank**0.5),
    ),
    Mistake("multiplied by 1, expected", caught_by=_SCALE, LoRALinear=_lora(size=lambda alpha, rank: 1.0)),
    Mistake("multiplied by 1 / rank", caught_by=_SCALE, LoRALinear=_lora(size=lambda alpha, rank: 1 / rank)),
    Mistake("base(x) + alpha/rank", caught_by=_SCALE, LoRALinear=_lora(size=lambda alpha, rank: alpha // rank)),
    Mistake("base(x) + alpha/rank", caught_by=_SCALE, LoRALinear=_lora(forward=_bias_scaled)),
    Mistake("the gradient of x", caught_by=_SCALE, LoRALinear=_lora(forward=_no_grad_through_base)),
    Mistake("the gradient of x", caught_by=_SCALE, LoRALinear=_lora(forward=_cut_x)),
    Mistake("A and B cannot learn", caught_by=_SCALE, LoRALinear=_lora(forward=_no_graph_in_eval)),
    Mistake("A and B cannot learn", caught_by=_START, LoRALinear=_lora(forward=_product_without_graph)),
    Mistake("and view does not accept that", caught_by=_SCALE, LoRALinear=_lora(forward=_by_view)),
    Mistake("what base sees is dropped", caught_by=_DROP, LoRALinear=_lora(forward=_dropped_for_both)),
    Mistake("in eval nothing is dropped", caught_by=_DROP, LoRALinear=_lora(forward=_always_dropped)),
    Mistake(
        "in training mode, with dropout=0.25, nothing is dropped",
        caught_by=_DROP,
        LoRALinear=_lora(forward=_never_dropped),
    ),
    Mistake("the dropout is behind A", caught_by=_DROP, LoRALinear=_lora(forward=_dropped_behind_a)),
    Mistake("the dropout is behind B", caught_by=_DROP, LoRALinear=_lora(forward=_dropped_behind_b)),
    Mistake("forward changed what it was given", caught_by=_DROP, LoRALinear=_lora(forward=_dropped_in_place)),
    Mistake("divided by 1 - dropout", caught_by=_DROP, LoRALinear=_lora(forward=_masked_only)),
    Mistake(_TWICE, caught_by=_MERGE, LoRALinear=_lora(merged=_into_base)),
    Mistake(_TWICE, caught_by=_MERGE, LoRALinear=_lora(merged=_into_base_and_copied)),
    Mistake(_TWICE, caught_by=_MERGE, LoRALinear=_lora(merged=_goes_to_eval)),
    Mistake(
        "eval() merges nothing", caught_by=_MERGE, LoRALinear=_lora(train=_merges_in_eval, forward=_forward_of_merged)
    ),
    Mistake("the merged layer against the adapter in eval", caught_by=_MERGE, LoRALinear=_lora(merged=_without_scale)),
    Mistake("lives in base's memory", caught_by=_MERGE, LoRALinear=_lora(merged=_shared_bias)),
    Mistake("base has a bias, and the merged layer has none", caught_by=_MERGE, LoRALinear=_lora(merged=_no_bias)),
    Mistake(
        "base has no bias, and the merged layer has one", caught_by=_MERGE, LoRALinear=_lora(merged=_always_a_bias)
    ),
    Mistake("of the merged layer is torch.float32", caught_by=_MERGE, LoRALinear=_lora(merged=_default_dtype)),
    Mistake("hangs on a graph", caught_by=_MERGE, LoRALinear=_lora(merged=_on_a_graph)),
    Mistake("gives a plain nn.Linear", caught_by=_MERGE, LoRALinear=_lora(merged=_self_as_merged)),
    Mistake("the same layer twice", caught_by=_MERGE, LoRALinear=_lora(merged=_cached)),
    Mistake(
        "expected every nn.Linear called q or v",
        caught_by=_NAMES,
        add_lora_=_adds(fits=lambda path, name, names: any(n in name for n in names)),
    ),
    Mistake(
        "expected every nn.Linear called q or v",
        caught_by=_NAMES,
        add_lora_=_adds(fits=lambda path, name, names: path in names),
    ),
    Mistake(
        "expected every nn.Linear called q or v",
        caught_by=_NAMES,
        add_lora_=_adds(fits=lambda path, name, names: any(path.endswith(f".{n}") for n in names)),
    ),
    Mistake("expected every nn.Linear called q or v", caught_by=_NAMES, add_lora_=_adds(top=True)),
    Mistake("add_lora_(model, ('q', 'v'), ...) raised", caught_by=_NAMES, add_lora_=_adds(kinds=(nn.Module,))),
    Mistake("the number of adapters", caught_by=_NAMES, add_lora_=_adds(count=lambda found: None)),
    Mistake("the number of adapters", caught_by=_NAMES, add_lora_=_adds(count=lambda found: 2 * len(found))),
    Mistake("is not the layer that was there", caught_by=_NAMES, add_lora_=_adds(copied=True)),
    Mistake("its dropout is live", caught_by=_NAMES, add_lora_=_adds(keep_mode=False)),
    Mistake("its dropout is live", caught_by=_NAMES, add_lora_=_to_train),
    Mistake("its dropout is off", caught_by=_NAMES, add_lora_=_mode_of_the_model),
    Mistake("still trained are", caught_by=_NAMES, add_lora_=_adds(freeze="none")),
    Mistake("still trained are", caught_by=_NAMES, add_lora_=_adds(freeze="linears")),
    Mistake("still trained are", caught_by=_NAMES, add_lora_=_adds(freeze="weights")),
    Mistake("still trained are", caught_by=_NAMES, add_lora_=_adds(freeze="by name")),
    Mistake("still trained are", caught_by=_NAMES, add_lora_=_kept),
    Mistake("was it passed on?", caught_by=_NAMES, add_lora_=_without_dropout),
    Mistake("were both passed on?", caught_by=_NAMES, add_lora_=_without_alpha),
    Mistake("not trained are", caught_by=_NAMES, add_lora_=_adds(freeze="everything")),
    Mistake("got an adapter of its own", caught_by=_AGAIN, add_lora_=_adds(inside=True)),
    Mistake("go on learning", caught_by=_AGAIN, add_lora_=_adds(freeze="before")),
    Mistake("go on learning", caught_by=_AGAIN, add_lora_=_new_adapters_only),
    Mistake("exchanged the adapter", caught_by=_AGAIN, add_lora_=_anew),
    Mistake("what the adapter had learned is lost", caught_by=_AGAIN, add_lora_=_all_from_zero),
    Mistake(
        "these are no part of an adapter",
        caught_by=_STATE,
        lora_state=lambda model: {k: v for k, v in model.state_dict().items() if k.rpartition(".")[2] in ("A", "B")},
    ),
    Mistake(
        "these are no part of an adapter",
        caught_by=_STATE,
        lora_state=lambda model: {
            k: v.detach()
            for p, m in model.named_modules()
            if isinstance(m, LoRALinear)
            for k, v in m.state_dict(prefix=p + ".").items()
        },
    ),
    Mistake("these are no part of an adapter", caught_by=_STATE, lora_state=lambda model: model.state_dict()),
    Mistake(
        "these are missing",
        caught_by=_STATE,
        lora_state=lambda model: {
            k: v.detach()
            for m in model.modules()
            if isinstance(m, LoRALinear)
            for k, v in m.named_parameters()
            if k in ("A", "B")
        },
    ),
    Mistake(
        "these are missing",
        caught_by=_STATE,
        lora_state=lambda model: {k: v.detach() for k, v in model.named_parameters() if v.requires_grad},
    ),
    Mistake(
        "without a gradient",
        caught_by=_STATE,
        lora_state=lambda model: {
            k: v for k, v in model.named_parameters() if k.endswith(("q.A", "q.B", "v.A", "v.B"))
        },
    ),
    Mistake(
        "these are missing",
        caught_by=_STATE,
        lora_state=lambda model: {k: v.detach() for k, v in model.named_parameters() if k.endswith(".B")},
    ),
    Mistake(
        "expected a dict",
        caught_by=_STATE,
        lora_state=lambda model: [p.detach() for p in model.parameters() if p.requires_grad],
    ),
]
