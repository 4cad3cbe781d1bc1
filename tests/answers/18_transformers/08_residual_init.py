"""Answers that people give to residual_init, right ones and wrong ones."""

import math

import torch
import torch.nn as nn

from dojo import Mistake


@torch.no_grad()
def _two_passes(model, n_layers, std=0.02):
    def fill(module):
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.normal_(mean=0.0, std=std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.zero_()
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx].zero_()

    model.apply(fill)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.split(".")[-1] == "proj":
            nn.init.normal_(module.weight, mean=0.0, std=std * (2 * n_layers) ** -0.5)
    return model


def _with_data(model, n_layers, std=0.02):
    small = std / math.sqrt(2.0 * n_layers)
    for name, module in model.named_modules():
        match module:
            case nn.Linear():
                last = name.rsplit(".", 1)[-1]
                module.weight.data = torch.randn_like(module.weight.data) * (small if last == "proj" else std)
                if module.bias is not None:
                    module.bias.data.fill_(0.0)
            case nn.Embedding():
                module.weight.data.copy_(torch.randn_like(module.weight) * std)
                if module.padding_idx is not None:
                    module.weight.data[module.padding_idx].fill_(0)


def _by_children(model, n_layers, std=0.02, name=""):
    for child_name, child in model.named_children():
        _by_children(child, n_layers, std, child_name)
    if isinstance(model, nn.Embedding):
        torch.nn.init.normal_(model.weight, 0.0, std)
        if model.padding_idx is not None:
            with torch.no_grad():
                model.weight[model.padding_idx] = 0
    elif isinstance(model, nn.Linear):
        torch.nn.init.normal_(model.weight, 0.0, std / (math.sqrt(2 * n_layers) if name == "proj" else 1))
        if model.bias is not None:
            torch.nn.init.constant_(model.bias, 0.0)


def _by_id(model, embeddings=True):
    seen = {id(p): p.numel() for p in model.parameters() if p.requires_grad}
    if not embeddings:
        for m in model.modules():
            if isinstance(m, nn.Embedding):
                seen.pop(id(m.weight), None)
    return sum(seen.values())


def _any_is(model, embeddings=True):
    tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding)]
    total = 0
    for _, p in model.named_parameters():
        if not p.requires_grad:
            continue
        if not embeddings and any(p is t for t in tables):
            continue
        total += math.prod(p.shape)
    return total


def _by_memory(model, embeddings=True):
    sizes = {p.data_ptr(): p.nelement() for p in model.parameters() if p.requires_grad}
    gone = set() if embeddings else {m.weight.data_ptr() for m in model.modules() if type(m) is nn.Embedding}
    return sum(n for pointer, n in sizes.items() if pointer not in gone)


RIGHT = [
    {"init_gpt_": _two_passes, "count_parameters": _by_id},
    {"init_gpt_": _with_data, "count_parameters": _any_is},
    {"init_gpt_": _by_children, "count_parameters": _by_memory},
]


def _start(scaled, factor=lambda n: math.sqrt(2 * n), linear=True, table=True, bias=0.0, pad=True, draw=None):
    def wrong(model, n_layers, std=0.02):
        for name, m in model.named_modules():
            if linear and isinstance(m, nn.Linear):
                s = std / factor(n_layers) if scaled(name) else std
                (draw or (lambda w, s: nn.init.normal_(w, std=s)))(m.weight, s)
                if m.bias is not None and bias is not None:
                    nn.init.constant_(m.bias, bias)
            elif table and isinstance(m, nn.Embedding):
                (draw or (lambda w, s: nn.init.normal_(w, std=s)))(m.weight, std)
                if pad and m.padding_idx is not None:
                    m.weight.data[m.padding_idx] = 0.0

    return wrong


def _last(name):
    return name.split(".")[-1] == "proj"


def _as_gpt2_does(model, n_layers, std=0.02):
    """By the names of the parameters, none of which is ever equal."""
    _start(lambda name: False)(model, n_layers, std)
    for name, p in model.named_parameters():
        if name == "proj.weight":
            nn.init.normal_(p, std=std / math.sqrt(2 * n_layers))


def _suffix(model, n_layers, std=0.02):
    _start(lambda name: False)(model, n_layers, std)
    for name, p in model.named_parameters():
        if name.endswith("proj.weight"):
            nn.init.normal_(p, std=std / math.sqrt(2 * n_layers))


def _everything(model, n_layers, std=0.02):
    for name, p in model.named_parameters():
        if p.dim() > 1:
            nn.init.normal_(p, std=std / math.sqrt(2 * n_layers) if _last(name.rpartition(".")[0]) else std)
        else:
            nn.init.zeros_(p)


def _norms_too(model, n_layers, std=0.02):
    _start(_last)(model, n_layers, std)
    for m in model.modules():
        if isinstance(m, nn.LayerNorm):
            m.reset_parameters()


def _seeded(model, n_layers, std=0.02):
    torch.manual_seed(1337)
    _start(_last)(model, n_layers, std)


def _forked(model, n_layers, std=0.02):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _start(_last)(model, n_layers, std)


def _replaced(model, n_layers, std=0.02):
    for name, m in model.named_modules():
        if isinstance(m, nn.Linear | nn.Embedding):
            s = std / math.sqrt(2 * n_layers) if _last(name) else std
            m.weight = nn.Parameter(torch.normal(0.0, s, m.weight.shape, dtype=m.weight.dtype))
            if isinstance(m, nn.Linear) and m.bias is not None:
                nn.init.zeros_(m.bias)
            if isinstance(m, nn.Embedding) and m.padding_idx is not None:
                m.weight.data[m.padding_idx] = 0


def _thawed(model, n_layers, std=0.02):
    _start(_last)(model, n_layers, std)
    for p in model.parameters():
        p.requires_grad = True


def _skips_frozen(model, n_layers, std=0.02):
    _start(_last, draw=lambda w, s: nn.init.normal_(w, std=s) if w.requires_grad else w)(model, n_layers, std)


def _ignores_std(model, n_layers, std=0.02):
    _start(_last)(model, n_layers)


def _plain(model, n_layers, std=0.02):
    for m in model.modules():
        if isinstance(m, nn.Linear):
            m.weight.normal_(0, std)


def _no_bias(model, n_layers, std=0.02):
    for m in model.modules():
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=std)
            nn.init.zeros_(m.bias)


def _twice(model, embeddings=True):
    total = sum(p.numel() for _, p in model.named_parameters(remove_duplicate=False) if p.requires_grad)
    if not embeddings:
        total -= sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Embedding))
    return total


def _saved(model, embeddings=True):
    tables = {} if embeddings else {m.weight.data_ptr() for m in model.modules() if isinstance(m, nn.Embedding)}
    seen = {t.data_ptr(): t.numel() for t in model.state_dict().values() if t.data_ptr() not in tables}
    return sum(seen.values())


def _subtracted(model, embeddings=True):
    total = sum(p.numel() for p in model.parameters() if p.requires_grad)
    tables = {m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    return total if embeddings else total - sum(t.numel() for t in tables)


def _all_of_them(model, embeddings=True):
    tables = set() if embeddings else {m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    return sum(p.numel() for p in model.parameters() if p not in tables)


def _named(model, embeddings=True):
    names = [name for name, m in model.named_modules() if isinstance(m, nn.Embedding)]
    gone = () if embeddings else tuple(f"{name}.weight" if name else "weight" for name in names)
    return sum(p.numel() for name, p in model.named_parameters() if p.requires_grad and name not in gone)


def _deep(model, embeddings=True):
    total = sum(p.numel() for p in model._parameters.values() if p is not None and p.requires_grad)
    if isinstance(model, nn.Embedding) and not embeddings:
        return 0
    return total + sum(_deep(child, embeddings) for child in model.children())


def _as_tensor(model, embeddings=True):
    return torch.tensor([0, *(p.numel() for p in model.parameters())]).sum()


WRONG = [
    Mistake("its own name is not proj", caught_by="", init_gpt_=_suffix),
    Mistake("its own name is not proj", caught_by="", init_gpt_=_start(lambda name: "proj" in name.split(".")[-1])),
    Mistake("its own name is not proj", caught_by="", init_gpt_=_start(lambda name: ".proj" in name)),
    Mistake("it was not scaled down", caught_by="", init_gpt_=_as_gpt2_does),
    Mistake("it was not scaled down", caught_by="", init_gpt_=_start(lambda name: "mlp.proj" in name)),
    Mistake("each layer adds to the stream twice", caught_by="", init_gpt_=_start(_last, math.sqrt)),
    Mistake("without the root", caught_by="", init_gpt_=_start(_last, lambda n: 2 * n)),
    Mistake("proj.weight has std", caught_by="", init_gpt_=_start(_last, lambda n: 2 * math.sqrt(n))),
    Mistake("tok.weight has std", caught_by="", init_gpt_=_ignores_std),
    Mistake("tok.weight has std", caught_by="", init_gpt_=_start(_last, draw=lambda w, s: nn.init.kaiming_normal_(w))),
    Mistake("pos.weight has std", caught_by="", init_gpt_=_start(_last, table=False)),
    Mistake("q_proj.weight has std", caught_by="", init_gpt_=_start(_last, linear=False)),
    Mistake(
        "of a normal distribution", caught_by="", init_gpt_=_start(_last, draw=lambda w, s: nn.init.uniform_(w, -s, s))
    ),
    Mistake("was edited in place with gradients on", caught_by="", init_gpt_=_plain),
    Mistake("a Linear may have no bias", caught_by="", init_gpt_=_no_bias),
    Mistake("of a LayerNorm was", caught_by="", init_gpt_=_everything),
    Mistake("of a LayerNorm was", caught_by="", init_gpt_=_norms_too),
    Mistake("bias is to be 0", caught_by="", init_gpt_=_start(_last, bias=None)),
    Mistake("bias is to be 0", caught_by="", init_gpt_=_start(_last, bias=0.01)),
    Mistake("this row is to be 0", caught_by="", init_gpt_=_start(_last, pad=False)),
    Mistake("the tie is cut", caught_by="", init_gpt_=_replaced),
    Mistake("requires_grad of", caught_by="", init_gpt_=_thawed),
    Mistake("which is frozen", caught_by="", init_gpt_=_skips_frozen),
    Mistake("init_gpt_ seeded the global generator", caught_by="", init_gpt_=_seeded),
    Mistake("is as it was before init_gpt_", caught_by="", init_gpt_=_forked),
    Mistake("the tied weight is one tensor", caught_by="", count_parameters=_twice),
    Mistake("the tied weight is one tensor", caught_by="", count_parameters=_named),
    Mistake("the tied weight is one tensor", caught_by="", count_parameters=_deep),
    Mistake("of a BatchNorm, and buffers", caught_by="", count_parameters=_saved),
    Mistake("what is frozen is no part of the sum", caught_by="", count_parameters=_subtracted),
    Mistake("what is frozen is no part of the sum", caught_by="", count_parameters=_all_of_them),
    Mistake("returns an int", caught_by="", count_parameters=_as_tensor),
]
