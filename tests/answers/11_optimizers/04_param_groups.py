"""Answers that people give to param_groups, right ones and wrong ones."""

import copy

import torch
from torch import nn

from dojo import Mistake


def _by_type(model, wd):
    decay, rest, seen = [], [], set()
    for module in model.modules():
        for name, p in module.named_parameters(recurse=False):
            if not p.requires_grad or id(p) in seen:
                continue
            seen.add(id(p))
            if name == "weight" and isinstance(module, (nn.Linear, nn.Embedding)):
                decay.append(p)
            else:
                rest.append(p)
    return [dict(params=rest, weight_decay=0.0), dict(params=decay, weight_decay=wd)]


def _one_group_each(model, wd):
    return [
        {"params": [p], "weight_decay": wd if p.dim() > 1 else 0, "name": name}
        for name, p in model.named_parameters()
        if p.requires_grad
    ]


def _by_names(model, wd):
    params = {name: p for name, p in model.named_parameters() if p.requires_grad}
    decaying = {name for name in params if len(params[name].shape) >= 2}
    return (
        {"params": [params[name] for name in sorted(decaying)], "weight_decay": wd},
        {"params": [params[name] for name in params.keys() - decaying], "weight_decay": 0.0},
    )


def _lazily(model, wd):
    return [
        {"params": (p for p in model.parameters() if p.requires_grad and p.ndim > 1), "weight_decay": wd},
        {"params": filter(lambda p: p.requires_grad and p.ndim <= 1, model.parameters()), "weight_decay": 0.0},
    ]


def _by_state(opt, lr):
    state = opt.state_dict()
    for group in state["param_groups"]:
        group["lr"] = lr
    opt.load_state_dict(state)


def _set_and_default(opt, lr):
    opt.defaults["lr"] = lr
    for group in opt.param_groups:
        group.update({"lr": lr})
    return opt


def _scale_with_list(opt, f):
    lrs = [group["lr"] * f for group in opt.param_groups]
    for group, lr in zip(opt.param_groups, lrs, strict=True):
        group["lr"] = lr
    return lrs


def _scale_new_dicts(opt, f):
    opt.param_groups[:] = [{**group, "lr": f * group["lr"]} for group in opt.param_groups]


def _by_shape_or_name(model, wd):
    decay, no_decay = [], []
    for name, param in model.named_parameters():
        if not param.requires_grad:
            continue
        if len(param.shape) == 1 or name.endswith(".bias"):
            no_decay.append(param)
        else:
            decay.append(param)
    return [{"params": no_decay, "weight_decay": 0.0}, {"params": decay, "weight_decay": wd}]


def _by_set(model, wd):
    trained = {p for p in model.parameters() if p.requires_grad}
    matrices = {p for p in trained if p.dim() > 1}
    return [{"params": [*matrices], "weight_decay": wd}, {"params": [*(trained - matrices)], "weight_decay": 0}]


def _by_scheduler(opt, f):
    torch.optim.lr_scheduler.MultiplicativeLR(opt, lambda e: f).step()


RIGHT = [
    {"decay_groups": _by_set, "scale_lr": _by_scheduler},
    {"decay_groups": _by_shape_or_name},
    {"decay_groups": _by_type, "set_lr": _by_state},
    {"decay_groups": _one_group_each, "set_lr": _set_and_default, "scale_lr": _scale_with_list},
    {"decay_groups": _by_names, "scale_lr": _scale_new_dicts},
    {"decay_groups": _lazily},
]


def _sorted(rule, only_trained=True, key="weight_decay"):
    def groups(model, wd):
        yes, no = [], []
        for name, p in model.named_parameters():
            if p.requires_grad or not only_trained:
                (yes if rule(model, name, p) else no).append(p)
        return [{"params": yes, key: wd}, {"params": no, key: 0.0}]

    return groups


def _linear_only(model, name, p):
    owner = model.get_submodule(name.rpartition(".")[0])
    return isinstance(owner, nn.Linear) and name.endswith("weight")


def _not_a_norm(model, name, p):
    owner = model.get_submodule(name.rpartition(".")[0])
    return "Norm" not in type(owner).__name__ and not name.endswith("bias")


def _default_of_adamw(model, wd):
    yes, no = _sorted(lambda model, name, p: p.ndim > 1)(model, wd)
    return [{"params": yes["params"]}, no]


def _exhausted(model, wd):
    params = filter(lambda p: p.requires_grad, model.parameters())
    yes = [p for p in params if p.dim() > 1]
    return [{"params": yes, "weight_decay": wd}, {"params": list(params), "weight_decay": 0.0}]


def _with_duplicates(model, wd):
    named = [(n, p) for n, p in model.named_parameters(remove_duplicate=False) if p.requires_grad]
    return [
        {"params": [p for _, p in named if p.dim() > 1], "weight_decay": wd},
        {"params": [p for _, p in named if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _everything_and_matrices(model, wd):
    return [
        {"params": [p for p in model.parameters() if p.requires_grad], "weight_decay": 0.0},
        {"params": [p for p in model.parameters() if p.requires_grad and p.dim() > 1], "weight_decay": wd},
    ]


def _fresh(opt, lr):
    options = {k: v for k, v in opt.defaults.items() if k != "lr"}
    opt.__init__([{"params": g["params"]} for g in opt.param_groups], lr=lr, **options)


def _setattr(opt, lr):
    setattr(opt, "lr", lr)  # noqa: B010


def _defaults_updated(opt, lr):
    opt.defaults.update(lr=lr)


def _last_group(opt, lr):
    for group in opt.param_groups:
        pass
    group["lr"] = lr


def _first_times(opt, f):
    lr = opt.param_groups[0]["lr"]
    for group in opt.param_groups:
        group["lr"] = lr * f


def _add_up(opt, f):
    for group in opt.param_groups:
        group["lr"] += group["lr"] * f


def _by_defaults(opt, f):
    for group in opt.param_groups:
        group["lr"] = opt.defaults["lr"] * f


def _prototypes(model, wd):
    twin = copy.deepcopy(model)
    return _sorted(lambda model, name, p: p.ndim > 1)(twin, wd)


def _all_but_wd_zero(model, wd):
    yes, no = _sorted(lambda model, name, p: p.ndim > 1)(model, wd)
    return [{"params": yes["params"], **({"weight_decay": wd} if wd else {})}, no]


WRONG = [
    Mistake("is no parameter of the model itself: a copy?", caught_by="", decay_groups=_prototypes),
    Mistake("each group has to say its own", caught_by="", decay_groups=_all_but_wd_zero),
    Mistake(
        "the groups have lr [0.002, 0.002]",
        caught_by="",
        set_lr=lambda opt, lr: [group.update(lr=lr) for group in opt.param_groups if lr],
    ),
    Mistake(
        "which AdamW keeps and never reads",
        caught_by="",
        decay_groups=_sorted(lambda model, name, p: p.ndim > 1, key="decay"),
    ),
    Mistake(
        "which AdamW keeps and never reads",
        caught_by="",
        decay_groups=lambda model, wd: [
            {"params": [p for p in model.parameters() if p.requires_grad], "weight_decay": 0.0, "wd": wd}
        ],
    ),
    Mistake("each group has to say its own", caught_by="", decay_groups=_default_of_adamw),
    Mistake(
        "some weights decay with 0.1, the others with 0",
        caught_by="",
        decay_groups=lambda model, wd: [
            {"params": [p for p in model.parameters() if p.requires_grad], "weight_decay": wd}
        ],
    ),
    Mistake("so it does not decay: it is a matrix", caught_by="", decay_groups=_sorted(_linear_only)),
    Mistake("so it decays: only matrices do", caught_by="", decay_groups=_sorted(_not_a_norm)),
    Mistake(
        "so it decays: only matrices do",
        caught_by="",
        decay_groups=_sorted(lambda model, name, p: name.endswith("weight")),
    ),
    Mistake(
        "so it decays: only matrices do",
        caught_by="",
        decay_groups=_sorted(lambda model, name, p: p.ndim < 2),
    ),
    Mistake(
        "how many dimensions a weight has counts",
        caught_by="",
        decay_groups=_sorted(lambda model, name, p: p.squeeze().ndim > 1),
    ),
    Mistake("it would never be trained", caught_by="", decay_groups=_exhausted),
    Mistake("is in your groups twice", caught_by="", decay_groups=_with_duplicates),
    Mistake("a weight is in two of your groups", caught_by="", decay_groups=_everything_and_matrices),
    Mistake(
        "is frozen, and in your groups",
        caught_by="",
        decay_groups=_sorted(lambda model, name, p: p.ndim > 1, only_trained=False),
    ),
    Mistake("opt.lr is an attribute that nobody reads", caught_by="", set_lr=_setattr),
    Mistake("opt.defaults is read only when", caught_by="", set_lr=_defaults_updated),
    Mistake("only some of them were changed", caught_by="", set_lr=_last_group),
    Mistake("the optimizer has no momentum any more", caught_by="", set_lr=_fresh),
    Mistake("they became the same", caught_by="", scale_lr=_first_times),
    Mistake("they became the same", caught_by="", scale_lr=_by_defaults),
    Mistake("after scale_lr(opt, 0.5) the groups have lr", caught_by="", scale_lr=_add_up),
    Mistake(
        "after scale_lr(opt, 0.5) the groups have lr",
        caught_by="",
        scale_lr=lambda opt, f: torch.optim.lr_scheduler.LambdaLR(opt, [lambda e: f, lambda e: 1.0]),
    ),
]
