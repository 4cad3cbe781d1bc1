"""Groups of parameters: reference.

Hint: What do a bias, the weight of a LayerNorm and a free scale have in common that a matrix has not?
Hint: `model.parameters()` gives each weight once; `Tensor.ndim`, `requires_grad`; `opt.param_groups`.
Hint: One list of trained weights first, then two lists from it by ndim, each in a dict that says its own weight_decay.

Why: An optimizer's options are read from the group at every step, which makes schedulers possible, and a changed lr
take effect at once without touching the state. The constructor checks what it can: a weight in two groups is an error.
An unknown key is not, since others may keep their own notes there (schedulers write "initial_lr").
"""

from typing import Any

import torch
from torch import nn

from dojo import Mistake


def decay_groups(model: nn.Module, wd: float) -> list[dict[str, Any]]:
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": wd},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def set_lr(opt: torch.optim.Optimizer, lr: float) -> None:
    for group in opt.param_groups:
        group["lr"] = lr


def scale_lr(opt: torch.optim.Optimizer, f: float) -> None:
    for group in opt.param_groups:
        group["lr"] *= f


def _by(decays, frozen_too=False, names=("weight_decay", "weight_decay")):
    """decay_groups where decays(name, p) decides."""

    def groups(model, wd):
        trained = [(name, p) for name, p in model.named_parameters() if frozen_too or p.requires_grad]
        return [
            {"params": [p for name, p in trained if decays(name, p)], names[0]: wd},
            {"params": [p for name, p in trained if not decays(name, p)], names[1]: 0.0},
        ]

    return groups


def _no_option_for_the_rest(model, wd):
    decaying, others = decay_groups(model, wd)
    return [decaying, {"params": others["params"]}]


def _one_generator(model, wd):
    trained = (p for p in model.parameters() if p.requires_grad)
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": wd},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def _walk_the_layers(model, wd):
    decaying, others = [], []
    for module in model.modules():
        for p in module.parameters(recurse=False):
            if p.requires_grad:
                (decaying if p.ndim >= 2 else others).append(p)
    return [{"params": decaying, "weight_decay": wd}, {"params": others, "weight_decay": 0.0}]


def _known_layers_only(model, wd):
    decaying, others = {}, {}
    for module in model.modules():
        for name, p in module.named_parameters(recurse=False):
            if not p.requires_grad or not isinstance(module, nn.Linear | nn.Embedding | nn.LayerNorm | nn.BatchNorm1d):
                continue
            matrix = name == "weight" and isinstance(module, nn.Linear | nn.Embedding)
            (decaying if matrix else others)[p] = True
    return [{"params": list(decaying), "weight_decay": wd}, {"params": list(others), "weight_decay": 0.0}]


def _overlapping(model, wd):
    decaying, others = decay_groups(model, wd)
    return [decaying, {"params": decaying["params"] + others["params"], "weight_decay": 0.0}]


def _by_value(model, wd):
    trained = [p for p in model.parameters() if p.requires_grad]
    decaying = [p for p in trained if p.ndim >= 2]
    others = [p for p in trained if p not in decaying]
    return [{"params": decaying, "weight_decay": wd}, {"params": others, "weight_decay": 0.0}]


def _freezes_others(model, wd):
    for p in model.parameters():
        p.requires_grad_(True)
    return decay_groups(model, wd)


def _whole_modules(model, wd):
    top = [p for child in model.children() for p in child.parameters() if p.requires_grad]
    seen = list(dict.fromkeys(top))
    return [
        {"params": [p for p in seen if p.ndim >= 2], "weight_decay": wd},
        {"params": [p for p in seen if p.ndim < 2], "weight_decay": 0.0},
    ]


def _optimizer_itself(model, wd):
    return torch.optim.AdamW(decay_groups(model, wd))


def _copies(model, wd):
    return [{**group, "params": [p.clone() for p in group["params"]]} for group in decay_groups(model, wd)]


def _two_lists(model, wd):
    return [group["params"] for group in decay_groups(model, wd)]


_made: dict = {}


def _remembered(model, wd):
    """Sorted once a model."""
    if model not in _made:
        _made[model] = decay_groups(model, wd)
    return _made[model]


def _as_attribute(opt, lr):
    opt.lr = lr


def _in_defaults(opt, lr):
    opt.defaults["lr"] = lr


def _in_the_first_group(opt, lr):
    opt.param_groups[0]["lr"] = lr


def _learning_rate(opt, lr):
    for group in opt.param_groups:
        group["learning_rate"] = lr


def _rebuilt(opt, lr):
    opt.__init__([p for group in opt.param_groups for p in group["params"]], lr=lr)


def _rebuilt_in_groups(opt, lr):
    groups = [{**group, "lr": lr} for group in opt.param_groups]
    opt.__init__(groups, lr=lr)


def _state_cleared(opt, lr):
    set_lr(opt, lr)
    opt.state.clear()


def _momentum_scaled(opt, lr):
    for group in opt.param_groups:
        for p in group["params"]:
            if "momentum_buffer" in opt.state[p]:
                opt.state[p]["momentum_buffer"].mul_(group["lr"] / lr)
    set_lr(opt, lr)


def _new_dicts_without_options(opt, lr):
    for group in opt.param_groups:
        group.update(lr=lr, weight_decay=0)


def _rebound(opt, lr):
    for group in opt.param_groups:
        group = {**group, "lr": lr}


def _scale_by_the_first(opt, f):
    set_lr(opt, opt.param_groups[0]["lr"] * f)


def _scale_the_first(opt, f):
    opt.param_groups[0]["lr"] *= f


def _scale_from_defaults(opt, f):
    set_lr(opt, opt.defaults["lr"] * f)


def _scale_from_the_start(opt, f):
    for group in opt.param_groups:
        group.setdefault("initial_lr", group["lr"])
        group["lr"] = group["initial_lr"] * f


def _divide(opt, f):
    for group in opt.param_groups:
        group["lr"] /= f


def _scale_twice(opt, f):
    for group in opt.param_groups:
        for _ in group["params"] * 2:
            group["lr"] *= f


def _scale_and_restart(opt, f):
    scale_lr(opt, f)
    opt.state.clear()


def _set_to_f(opt, f):
    for group in opt.param_groups:
        group["lr"] = f


def _leaf_copies(model, wd):
    return [
        {**group, "params": [p.detach().clone().requires_grad_() for p in group["params"]]}
        for group in decay_groups(model, wd)
    ]


def _options_scaled(opt, f):
    for group in opt.param_groups:
        for key, value in group.items():
            if type(value) is float:
                group[key] = value * f


def _zero_is_no_lr(opt, lr):
    for group in opt.param_groups:
        group["lr"] = lr or group["lr"]


def _zero_is_no_decay(model, wd):
    groups = decay_groups(model, wd)
    if not wd:
        del groups[0]["weight_decay"]
    return groups


_OPTION = "test_what_a_group_says_overrides_what_the_call_says"
_SORTED = "test_matrices_decay_and_vectors_do_not"
_ONCE = "test_a_shared_weight_is_one_weight_and_a_frozen_one_none"
_READ = "test_a_step_reads_lr_from_its_group"
_KEPT = "test_a_new_lr_leaves_the_momentum_alone"
_RATIO = "test_scaling_keeps_the_ratio_between_groups"

MISTAKES = [
    Mistake(
        "which AdamW keeps and never reads",
        caught_by=_OPTION,
        decay_groups=_by(lambda name, p: p.ndim >= 2, names=("wd", "wd")),
    ),
    Mistake("each group has to say its own", caught_by=_OPTION, decay_groups=_no_option_for_the_rest),
    Mistake(
        "each group has to say its own", caught_by=_OPTION, decay_groups=lambda model, wd: decay_groups(model, 0.1)
    ),
    Mistake("each group has to say its own", caught_by=_OPTION, decay_groups=_zero_is_no_decay),
    Mistake("expected a list of groups, which are dicts, got AdamW", caught_by=_OPTION, decay_groups=_optimizer_itself),
    Mistake("each group is a dict", caught_by=_OPTION, decay_groups=_two_lists),
    Mistake(
        "some weights decay with 0.1, the others with 0", caught_by=_OPTION, decay_groups=_by(lambda name, p: True)
    ),
    Mistake("so it decays: only matrices do", caught_by=_SORTED, decay_groups=_by(lambda name, p: "bias" not in name)),
    Mistake(
        "so it decays: only matrices do",
        caught_by=_SORTED,
        decay_groups=_by(lambda name, p: not any(part in name for part in ("bias", "ln", "norm"))),
    ),
    Mistake("so it does not decay: it is a matrix", caught_by=_SORTED, decay_groups=_by(lambda name, p: p.ndim < 2)),
    Mistake(
        "so it does not decay: it is a matrix",
        caught_by=_SORTED,
        decay_groups=_by(lambda name, p: p.ndim >= 2 and "emb" not in name),
    ),
    Mistake(
        "how many dimensions a weight has counts",
        caught_by=_SORTED,
        decay_groups=_by(lambda name, p: p.numel() > max(p.shape, default=1)),
    ),
    Mistake("it would never be trained", caught_by=_SORTED, decay_groups=_one_generator),
    Mistake("it would never be trained", caught_by=_SORTED, decay_groups=_known_layers_only),
    Mistake("it would never be trained", caught_by=_SORTED, decay_groups=_whole_modules),
    Mistake("no parameter of the model itself", caught_by=_SORTED, decay_groups=_copies),
    Mistake("is no parameter of the model itself: a copy?", caught_by=_SORTED, decay_groups=_leaf_copies),
    Mistake("is in your groups twice", caught_by=_ONCE, decay_groups=_walk_the_layers),
    Mistake("a weight is in two of your groups", caught_by=_ONCE, decay_groups=_overlapping),
    Mistake("find a weight by `is` or by id", caught_by=_ONCE, decay_groups=_by_value),
    Mistake(
        "is frozen, and in your groups",
        caught_by=_ONCE,
        decay_groups=_by(lambda name, p: p.ndim >= 2, frozen_too=True),
    ),
    Mistake("decay_groups only sorts", caught_by=_SORTED, decay_groups=_freezes_others),
    Mistake("is frozen, and in your groups", caught_by=_ONCE, decay_groups=_remembered),
    Mistake("opt.lr is an attribute that nobody reads", caught_by=_READ, set_lr=_as_attribute),
    Mistake("opt.defaults is read only when", caught_by=_READ, set_lr=_in_defaults),
    Mistake("only some of them were changed", caught_by=_READ, set_lr=_in_the_first_group),
    Mistake("the groups have lr [0.01, 0.1]", caught_by=_READ, set_lr=_learning_rate),
    Mistake("the groups have lr [0.01, 0.1]", caught_by=_READ, set_lr=_rebound),
    Mistake("the groups have lr [0.002, 0.002]", caught_by=_READ, set_lr=_zero_is_no_lr),
    Mistake("scale_lr changed more than lr", caught_by=_RATIO, scale_lr=_options_scaled),
    Mistake("set_lr changed more than lr", caught_by=_READ, set_lr=_new_dicts_without_options),
    Mistake("the optimizer has 1 groups now", caught_by=_READ, set_lr=_rebuilt),
    Mistake("the optimizer has no momentum any more", caught_by=_KEPT, set_lr=_rebuilt_in_groups),
    Mistake("the optimizer has no momentum any more", caught_by=_KEPT, set_lr=_state_cleared),
    Mistake("set_lr changed the momentum of a weight", caught_by=_KEPT, set_lr=_momentum_scaled),
    Mistake("the step after scale_lr(opt, 0.1)", caught_by=_KEPT, scale_lr=_scale_and_restart),
    Mistake("they became the same", caught_by=_RATIO, scale_lr=_scale_by_the_first),
    Mistake("they became the same", caught_by=_RATIO, scale_lr=_scale_from_defaults),
    Mistake("they became the same", caught_by=_RATIO, scale_lr=_set_to_f),
    Mistake("after scale_lr(opt, 0.5) the groups have lr", caught_by=_RATIO, scale_lr=_scale_the_first),
    Mistake("after scale_lr(opt, 0.5) the groups have lr", caught_by=_RATIO, scale_lr=_scale_from_the_start),
    Mistake("after scale_lr(opt, 0.5) the groups have lr", caught_by=_RATIO, scale_lr=_divide),
    Mistake("after scale_lr(opt, 0.5) the groups have lr", caught_by=_RATIO, scale_lr=_scale_twice),
]
