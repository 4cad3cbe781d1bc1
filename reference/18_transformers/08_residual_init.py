"""A GPT before its first step: reference.

Hint: Print the paths of `model.named_modules()`. Which part of the path is the module's own name?
Hint: `isinstance`, `str.rpartition` or `split`; `nn.init.normal_`, `nn.init.zeros_`; `parameters()`, `is`.
Hint: Choose std by the path, fill the weight, then zero the bias, or the row of padding. Leave out tables by identity.

Why: the variance of a sum of 2 L independent terms is 2 L times that of one, so each term's std is divided by the root
of it. Only the last Linear of a branch decides how large the term is: what stands before it goes through a LayerNorm
or a softmax. nn.init works under no_grad on the tensor that is there, so every module and optimizer that holds the
Parameter sees the new numbers. Tensors are compared by `is`, or by id in a set: `==` compares their numbers.
"""

import math

import torch
from torch import nn

from dojo import Mistake


def init_gpt_(model: nn.Module, n_layers: int, std: float = 0.02) -> None:
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear):
            writes = path.rpartition(".")[2] == "proj"
            nn.init.normal_(module.weight, std=std / math.sqrt(2 * n_layers) if writes else std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=std)
            if module.padding_idx is not None:
                nn.init.zeros_(module.weight[module.padding_idx])


def count_parameters(model: nn.Module, embeddings: bool = True) -> int:
    tables = {m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    counted = (p for p in model.parameters() if p.requires_grad and (embeddings or p not in tables))
    return sum(p.numel() for p in counted)


def _own(path):
    return path.split(".")[-1]


def _init(
    writes=lambda path: _own(path) == "proj",
    factor=lambda n: 1 / math.sqrt(2 * n),
    fill=lambda w, std: w.normal_(0, std),
    bias=lambda b, std: b.zero_(),
    pad=lambda m: m.padding_idx is not None,
    kinds=(nn.Linear, nn.Embedding),
    modules=lambda model: model.named_modules(),
    before=lambda model: None,
    after=lambda model: None,
    fixed=None,
):
    """The right start; each mistake changes one thing of it."""

    def wrong(model, n_layers, std=0.02):
        before(model)
        std = fixed or std
        with torch.no_grad():
            for path, module in modules(model):
                if isinstance(module, kinds):
                    linear = isinstance(module, nn.Linear)
                    fill(module.weight, std * factor(n_layers) if linear and writes(path) else std)
                    if linear and module.bias is not None:
                        bias(module.bias, std)
                    if isinstance(module, nn.Embedding) and pad(module):
                        module.weight[module.padding_idx] = 0
            after(model)

    return wrong


def _new_parameters(model, n_layers, std=0.02):
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            scale = 1 / math.sqrt(2 * n_layers) if _own(path) == "proj" else 1
            module.weight = nn.Parameter(torch.randn_like(module.weight) * std * scale)
            if getattr(module, "bias", None) is not None:
                module.bias = nn.Parameter(torch.zeros_like(module.bias))
            if getattr(module, "padding_idx", None) is not None:
                module.weight.data[module.padding_idx] = 0


def _new_tied_again(model, n_layers, std=0.02):
    tied = hasattr(model, "head")
    _new_parameters(model, n_layers, std)
    if tied:
        model.head.weight = model.tok.weight


def _scaled_not_drawn(model, n_layers, std=0.02):
    _init()(model, n_layers, std=std)
    with torch.no_grad():
        for path, module in model.named_modules():
            if isinstance(module, nn.Linear) and _own(path) == "proj":
                module.weight.mul_(1 / math.sqrt(2 * n_layers))


def _all_parameters(model, n_layers, std=0.02):
    """By the names of parameters: everything called weight, everything called bias."""
    for path, p in model.named_parameters():
        if path.endswith("weight"):
            nn.init.normal_(p, std=std / math.sqrt(2 * n_layers) if path.split(".")[-2:-1] == ["proj"] else std)
        elif path.endswith("bias"):
            nn.init.zeros_(p)


def _all_matrices(model, n_layers, std=0.02):
    for path, p in model.named_parameters():
        if p.ndim >= 2:
            nn.init.normal_(p, std=std / math.sqrt(2 * n_layers) if path.split(".")[-2:-1] == ["proj"] else std)
        elif path.endswith("bias"):
            nn.init.zeros_(p)


def _norms_reset(model):
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.fill_(1)
            module.bias.zero_()


def _every_bias(model):
    for path, p in model.named_parameters():
        if path.endswith("bias"):
            p.zero_()


def _all_trained(model):
    model.requires_grad_(True)


def _first_row_is_padding(model):
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.weight[module.padding_idx or 0] = 0


def _twins(model):
    blocks = getattr(model, "blocks", [])
    for block in blocks:
        block.load_state_dict(blocks[0].state_dict())


def _same_q_and_k(model):
    for block in getattr(model, "blocks", []):
        block.attn.k_proj.weight.copy_(block.attn.q_proj.weight)


def _on_a_copy(model, n_layers, std=0.02):
    import copy

    model = copy.deepcopy(model)
    init_gpt_(model, n_layers, std)
    return model


def _only_trained(model, n_layers, std=0.02):
    frozen = {p: p.detach().clone() for p in model.parameters() if not p.requires_grad}
    init_gpt_(model, n_layers, std)
    with torch.no_grad():
        for p, was in frozen.items():
            p.copy_(was)


def _gradients_left_off(model, n_layers, std=0.02):
    torch.set_grad_enabled(False)
    init_gpt_(model, n_layers, std)


def _with_gradients(model, n_layers, std=0.02):
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.normal_(0, std)


def _bias_of_all(model, n_layers, std=0.02):
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(0, std)
            module.bias.data.zero_()


def _gradients_gone(model):
    model.zero_grad()


def _own_generator(w, std):
    return w.copy_(torch.randn(w.shape, generator=torch.Generator().manual_seed(w.numel())) * std)


def _uniform(w, std):
    return w.uniform_(-std * 3**0.5, std * 3**0.5)


def _truncated(w, std):
    nn.init.trunc_normal_(w, std=std, a=-2 * std, b=2 * std)
    return w.mul_(std / w.std())


def _set_back(model, n_layers, std=0.02):
    with torch.random.fork_rng(devices=[]):
        init_gpt_(model, n_layers, std)


def _by_width(w, std):
    return w.normal_(0, w.shape[1] ** -0.5)


def _count(counted):
    def wrong(model, embeddings=True):
        return sum(p.numel() for p in counted(model, embeddings))

    return wrong


def _with_duplicates(model, embeddings=True):
    tables = {m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    named = model.named_parameters(remove_duplicate=False)
    return sum(p.numel() for _, p in named if p.requires_grad and (embeddings or p not in tables))


def _minus_embeddings(model, embeddings=True):
    n = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return n if embeddings else n - sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Embedding))


def _minus_trained_embeddings(model, embeddings=True):
    n = sum(p.numel() for p in model.parameters() if p.requires_grad)
    tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding) and m.weight.requires_grad]
    return n if embeddings else n - sum(w.numel() for w in tables)


def _module_by_module(model, embeddings=True):
    return sum(
        p.numel()
        for m in model.modules()
        if embeddings or not isinstance(m, nn.Embedding)
        for p in m.parameters(recurse=False)
        if p.requires_grad
    )


def _each_tensor_once(model, embeddings=True):
    """But a head keeps its weight where the table is left out."""
    if embeddings:
        return count_parameters(model)
    inside = {p for m in model.modules() if not isinstance(m, nn.Embedding) for p in m.parameters(recurse=False)}
    return sum(p.numel() for p in inside if p.requires_grad)


def _state(model, embeddings=True):
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    seen = {id(p): p for p in model.state_dict(keep_vars=True).values() if embeddings or id(p) not in tables}
    return sum(p.numel() for p in seen.values() if p.requires_grad or not p.is_leaf or not isinstance(p, nn.Parameter))


def _once_by_value(model, embeddings=True):
    """What is tied has equal numbers, but so have two norms."""
    seen = []
    for p in model.parameters():
        if p.requires_grad and not any(torch.equal(p, other) for other in seen):
            seen.append(p)
    tables = {m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    return sum(p.numel() for p in seen if embeddings or p not in tables)


def _frozen_for_counting(model, embeddings=True):
    if not embeddings:
        for m in model.modules():
            if isinstance(m, nn.Embedding):
                m.weight.requires_grad_(False)
    return count_parameters(model)


_WRITE = "test_only_the_two_projections_that_write_are_scaled"
_REST = "test_everything_but_linear_and_embedding_keeps_its_numbers"
_PLACE = "test_an_init_in_place_keeps_ties_flags_and_the_optimizers_objects"
_RANDOM = "test_the_numbers_are_those_of_the_global_generator"
_START = "test_before_the_first_step_the_loss_is_ln_v_and_the_stream_stays_small"
_TIED = "test_a_tied_weight_is_one"
_FROZEN = "test_what_is_frozen_or_a_buffer_is_not_trained"

MISTAKES = [
    Mistake("its own name is not proj", caught_by=_WRITE, init_gpt_=_init(writes=lambda path: "proj" in path)),
    Mistake("its own name is not proj", caught_by=_WRITE, init_gpt_=_init(writes=lambda path: path.endswith("proj"))),
    Mistake(
        "its own name is not proj",
        caught_by=_WRITE,
        init_gpt_=_init(writes=lambda path: _own(path).startswith("proj")),
    ),
    Mistake(
        "its own name is not proj", caught_by=_WRITE, init_gpt_=_init(writes=lambda path: "proj" in path.split("."))
    ),
    Mistake("tok was scaled, too", caught_by=_WRITE, init_gpt_=_init(writes=lambda path: True)),
    Mistake("it was not scaled down", caught_by=_WRITE, init_gpt_=_init(writes=lambda path: path == "proj")),
    Mistake("it was not scaled down", caught_by=_WRITE, init_gpt_=_init(writes=lambda path: path.endswith(".proj"))),
    Mistake("it was not scaled down", caught_by=_WRITE, init_gpt_=_init(writes=lambda path: "attn.proj" in path)),
    Mistake("each layer adds to the stream twice", caught_by=_WRITE, init_gpt_=_init(factor=lambda n: n**-0.5)),
    Mistake("without the root", caught_by=_WRITE, init_gpt_=_init(factor=lambda n: 1 / (2 * n))),
    Mistake("proj.weight has std", caught_by=_WRITE, init_gpt_=_init(factor=lambda n: 2**-0.5 / n)),
    Mistake("proj.weight has std", caught_by=_WRITE, init_gpt_=_scaled_not_drawn),
    Mistake("tok.weight has std", caught_by=_WRITE, init_gpt_=_init(fixed=0.02)),
    Mistake("tok.weight has std", caught_by=_WRITE, init_gpt_=_init(fill=lambda w, std: w.normal_(0, std**2))),
    Mistake("tok.weight has std", caught_by=_WRITE, init_gpt_=_init(fill=_by_width)),
    Mistake("tok.weight has std", caught_by=_WRITE, init_gpt_=_init(fill=lambda w, std: nn.init.xavier_normal_(w))),
    Mistake("pos.weight has std", caught_by=_WRITE, init_gpt_=_init(kinds=nn.Linear)),
    Mistake("q_proj.weight has std", caught_by=_WRITE, init_gpt_=_init(kinds=nn.Embedding)),
    Mistake("q_proj.weight has std", caught_by=_WRITE, init_gpt_=_init(modules=lambda model: model.named_children())),
    Mistake("of a normal distribution", caught_by=_WRITE, init_gpt_=_init(fill=_uniform)),
    Mistake("of a normal distribution", caught_by=_WRITE, init_gpt_=_init(fill=_truncated)),
    Mistake("has mean", caught_by=_WRITE, init_gpt_=_init(fill=lambda w, std: w.normal_(std, std))),
    Mistake("tok.weight has std", caught_by=_WRITE, init_gpt_=_on_a_copy),
    Mistake("was edited in place with gradients on", caught_by=_WRITE, init_gpt_=_with_gradients),
    Mistake("a Linear may have no bias", caught_by=_WRITE, init_gpt_=_bias_of_all),
    Mistake("of a LayerNorm was", caught_by=_REST, init_gpt_=_all_parameters),
    Mistake("and more, and is", caught_by=_REST, init_gpt_=_all_matrices),
    Mistake("of a LayerNorm was", caught_by=_REST, init_gpt_=_init(after=_norms_reset)),
    Mistake("of a LayerNorm was", caught_by=_REST, init_gpt_=_init(after=_every_bias)),
    Mistake("of a Conv1d was", caught_by=_REST, init_gpt_=_init(kinds=(nn.Linear, nn.Embedding, nn.Conv1d))),
    Mistake("bias is to be 0", caught_by=_REST, init_gpt_=_init(bias=lambda b, std: None)),
    Mistake("bias is to be 0", caught_by=_REST, init_gpt_=_init(bias=lambda b, std: b.normal_(0, std))),
    Mistake("this row is to be 0", caught_by=_REST, init_gpt_=_init(pad=lambda m: False)),
    Mistake("this row is to be 0", caught_by=_REST, init_gpt_=_init(pad=lambda m: m.padding_idx)),
    Mistake(
        "has no padding_idx, and its rows",
        caught_by=_REST,
        init_gpt_=_init(after=_first_row_is_padding),
    ),
    Mistake("the tie is cut", caught_by=_PLACE, init_gpt_=_new_parameters),
    Mistake("an optimizer made before holds the old one", caught_by=_PLACE, init_gpt_=_new_tied_again),
    Mistake("requires_grad of", caught_by=_PLACE, init_gpt_=_init(after=_all_trained)),
    Mistake("which is frozen", caught_by=_PLACE, init_gpt_=_only_trained),
    Mistake(
        "which is frozen, is to be 0 as well",
        caught_by=_PLACE,
        init_gpt_=_init(bias=lambda b, std: b.zero_() if b.requires_grad else None),
    ),
    Mistake("before, and is True", caught_by=_PLACE, init_gpt_=_init(after=lambda model: model.train())),
    Mistake("gradients are off everywhere", caught_by=_PLACE, init_gpt_=_gradients_left_off),
    Mistake("the gradient of ln.weight", caught_by=_PLACE, init_gpt_=_init(after=_gradients_gone)),
    Mistake(
        "init_gpt_ seeded the global generator",
        caught_by=_RANDOM,
        init_gpt_=_init(before=lambda model: torch.manual_seed(42)),
    ),
    Mistake("is as it was before init_gpt_", caught_by=_RANDOM, init_gpt_=_set_back),
    Mistake("is as it was before init_gpt_", caught_by=_RANDOM, init_gpt_=_init(fill=_own_generator)),
    Mistake("have the same numbers", caught_by=_RANDOM, init_gpt_=_init(after=_twins)),
    Mistake("have the same numbers", caught_by=_RANDOM, init_gpt_=_init(after=_same_q_and_k)),
    Mistake("the first loss is", caught_by=_START, init_gpt_=lambda model, n_layers, std=0.02: None),
    Mistake(
        "times as much to the stream",
        caught_by=_START,
        init_gpt_=_init(writes=lambda path: path.endswith("c_proj.weight")),
    ),
    Mistake("the tied weight is one tensor", caught_by=_TIED, count_parameters=_module_by_module),
    Mistake("the tied weight is one tensor", caught_by=_TIED, count_parameters=_with_duplicates),
    Mistake("the tied weight is one tensor", caught_by=_TIED, count_parameters=_each_tensor_once),
    Mistake("two nn.Embedding with one weight", caught_by=_TIED, count_parameters=_minus_trained_embeddings),
    Mistake("with equal numbers", caught_by=_TIED, count_parameters=_once_by_value),
    Mistake("counted", caught_by=_TIED, count_parameters=_minus_embeddings),
    Mistake(
        "counted",
        caught_by=_TIED,
        count_parameters=_count(
            lambda model, embeddings: [
                p
                for name, p in model.named_parameters()
                if p.requires_grad and (embeddings or not ("emb" in name or "wte" in name))
            ]
        ),
    ),
    Mistake(
        "counted",
        caught_by=_TIED,
        count_parameters=_count(lambda model, embeddings: (p for p in model.parameters() if p.requires_grad)),
    ),
    Mistake(
        "returns an int",
        caught_by=_TIED,
        count_parameters=lambda model, embeddings=True: torch.tensor(count_parameters(model, embeddings)),
    ),
    Mistake(
        "returns an int",
        caught_by=_TIED,
        count_parameters=lambda model, embeddings=True: count_parameters(model, embeddings) / 1e6,
    ),
    Mistake(
        "counted",
        caught_by=_TIED,
        count_parameters=lambda model, embeddings=True: len(list(model.parameters())),
    ),
    Mistake("who counts changes nothing", caught_by=_TIED, count_parameters=_frozen_for_counting),
    Mistake("of a BatchNorm, and buffers", caught_by=_FROZEN, count_parameters=_state),
    Mistake(
        "what is frozen is no part of the sum",
        caught_by=_FROZEN,
        count_parameters=_count(
            lambda model, embeddings: [
                p
                for p in model.parameters()
                if embeddings or not any(p is m.weight for m in model.modules() if isinstance(m, nn.Embedding))
            ]
        ),
    ),
]

KEEP = {_START: "what the numbers are for: the loss and the stream of a model before its first step"}
