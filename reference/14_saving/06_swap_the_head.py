"""A pretrained body, a new head: reference.

Hint: Say for each part of the net, in each of the four steps: does it require gradients, is it in train or eval mode?
Hint: `requires_grad_`, `model.body.eval()`, `nn.Linear(..., device=, dtype=)`, `old.in_features`, `old.weight.dtype`; a
dict `{module: module.training}` remembers modes.
Hint: Switch all to eval, run the usual loop with an optimizer that was given the head's parameters alone, and then set
each module's `training` back.

Why: Weights, statistics and preprocessing were learned together, so they stay together: the body sees images of mean 0
and spread 1 only with its own numbers, and its batch norm is right for these. The body needs no graph: under no_grad,
or frozen, backward ends at the head. Thawing comes last, since the gradients of a random head are noise, and with one
large learning rate they would undo in a few steps what the body knows.
"""

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dojo import Mistake


def load_pretrained(
    path: Path, make_net: Callable[[int], nn.Module]
) -> tuple[nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    net = make_net(len(checkpoint["classes"]))
    net.load_state_dict(checkpoint["model"])
    mean, std = checkpoint["mean"], checkpoint["std"]
    return net.eval(), lambda x: (x.float() - mean) / std


def swap_head(model: nn.Module, n_classes: int) -> None:
    old: Any = model.head
    model.head = nn.Linear(old.in_features, n_classes, device=old.weight.device, dtype=old.weight.dtype)
    body: Any = model.body
    body.requires_grad_(False)


def train_head(model: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], lr: float) -> None:
    head: Any = model.head
    optimizer = torch.optim.SGD(head.parameters(), lr=lr)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        for x, y in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    finally:
        for module, training in modes.items():
            module.training = training


def thaw(model: nn.Module, body_lr: float, head_lr: float) -> torch.optim.Optimizer:
    body: Any = model.body
    head: Any = model.head
    model.requires_grad_(True)
    return torch.optim.SGD(
        [{"params": body.parameters(), "lr": body_lr}, {"params": head.parameters(), "lr": head_lr}], momentum=0.9
    )


def _loading(mean=None, std=None, strict=True, mode="eval", prepare=None, weights=True, classes=None, **options):
    """load_pretrained, spoilt in one place."""

    def wrong(path, make_net):
        checkpoint = torch.load(path, map_location="cpu", **options)
        net = make_net(len(checkpoint["classes"]) if classes is None else classes)
        if weights:
            net.load_state_dict(checkpoint["model"], strict=strict)
        m = checkpoint["mean"] if mean is None else mean
        s = checkpoint["std"] if std is None else std
        net.train(mode == "train")
        return net, prepare(m, s) if prepare else lambda x: (x.float() - m) / s

    return wrong


def _own_statistics(mean, std):
    return lambda x: (x.float() - x.float().mean()) / x.float().std()


def _for_images_only(mean, std):
    """As torchvision's Normalize: a number for each channel of (N, C, H, W)."""
    mean, std = (torch.tensor([value]).view(1, -1, 1, 1) for value in (mean, std))
    return lambda x: (x.float() - mean) / std


def _kept_dtype(mean, std):
    return lambda x: (x - mean) / std


def _in_the_dtype_of_x(mean, std):
    return lambda x: ((x - mean) / std).float()


def _scaled_first(mean, std):
    return lambda x: (x.float() / 255 - mean) / std


def _in_place(mean, std):
    return lambda x: x.sub_(mean).div_(std).float() if x.is_floating_point() else (x.float() - mean) / std


def _multiplied(mean, std):
    return lambda x: (x.float() - mean) * std


_numbers: dict = {}


def _global_numbers(path, make_net):
    """The second file changes what the first one's preprocessing does."""
    checkpoint = torch.load(path)
    net = make_net(len(checkpoint["classes"]))
    net.load_state_dict(checkpoint["model"])
    _numbers.update(checkpoint)
    return net.eval(), lambda x: (x.float() - _numbers["mean"]) / _numbers["std"]


def _loads_the_body_by_hand(path, make_net):
    """Each entry that fits is copied, and nothing is said about the others."""
    checkpoint = torch.load(path)
    net = make_net(len(checkpoint["classes"]))
    own = net.state_dict()
    for name, value in checkpoint["model"].items():
        if name in own:
            own[name].copy_(value)
    mean, std = checkpoint["mean"], checkpoint["std"]
    return net.eval(), lambda x: (x.float() - mean) / std


def _only_the_net(path, make_net):
    return load_pretrained(path, make_net)[0]


def _numbers_only(path, make_net):
    net, _ = load_pretrained(path, make_net)
    checkpoint = torch.load(path)
    return net, (checkpoint["mean"], checkpoint["std"])


def _only_the_linear_in_eval(path, make_net):
    net, prepare = load_pretrained(path, make_net)
    net.train()
    net.head.eval()
    return net, prepare


def _swap_keeps_rows(model, n_classes):
    old = model.head
    swap_head(model, n_classes)
    k = min(n_classes, old.out_features)
    with torch.no_grad():
        model.head.weight[:k] = old.weight[:k]
        model.head.bias[:k] = old.bias[:k]


def _swap_slices(model, n_classes):
    old = model.head
    swap_head(model, n_classes)
    if n_classes <= old.out_features:
        model.head.weight = nn.Parameter(old.weight.detach()[:n_classes].clone())


def _swap_keeps_the_bias(model, n_classes):
    old = model.head
    swap_head(model, n_classes)
    k = min(n_classes, old.out_features)
    with torch.no_grad():
        model.head.bias[:k] = old.bias[:k]


def _swap_by_attribute(model, n_classes):
    model.body.requires_grad_(False)
    model.head.out_features = n_classes


def _swap_behind_it(model, n_classes):
    model.requires_grad_(False)
    model.head = nn.Sequential(model.head, nn.Linear(model.head.out_features, n_classes))


def _swap_from_the_outputs(model, n_classes):
    model.requires_grad_(False)
    model.head = nn.Linear(model.head.out_features, n_classes)


def _swap_features_fixed(model, n_classes):
    old = model.head
    model.requires_grad_(False)
    model.head = nn.Linear(108, n_classes, device=old.weight.device, dtype=old.weight.dtype)


def _swap_default_dtype(model, n_classes):
    model.requires_grad_(False)
    model.head = nn.Linear(model.head.in_features, n_classes, device=model.head.weight.device)


def _swap_default_device(model, n_classes):
    model.requires_grad_(False)
    model.head = nn.Linear(model.head.in_features, n_classes, dtype=model.head.weight.dtype)


def _swap_then_freeze_all(model, n_classes):
    swap_head(model, n_classes)
    model.requires_grad_(False)


def _swap_freezes_the_module_attribute(model, n_classes):
    old = model.head
    model.body.requires_grad = False
    model.head = nn.Linear(old.in_features, n_classes, device=old.weight.device, dtype=old.weight.dtype)


def _swap_freezes_weights_only(model, n_classes):
    swap_head(model, n_classes)
    for name, p in model.body.named_parameters():
        p.requires_grad_("weight" not in name)


def _swap_spares_batch_norm(model, n_classes):
    swap_head(model, n_classes)
    model.body[1].requires_grad_(True)


def _swap_freezes_by_name(model, n_classes):
    swap_head(model, n_classes)
    for name, p in model.named_parameters():
        p.requires_grad = "head" in name


def _swap_eval(model, n_classes):
    swap_head(model, n_classes)
    model.body.eval()


def _swap_resets_old(model, n_classes):
    old = model.head
    with torch.no_grad():
        old.weight.zero_()
    swap_head(model, n_classes)


def _swap_copies_the_body(model, n_classes):
    model.body = copy.deepcopy(model.body)
    swap_head(model, n_classes)


def _swap_detaches_the_body(model, n_classes):
    swap_head(model, n_classes)
    for module in model.body.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(p.detach(), requires_grad=False))


def _swap_elsewhere(model, n_classes):
    swap_head(copy.deepcopy(model), n_classes)


def _steps(model, batches, optimizer, clear="before"):
    for x, y in batches:
        if clear == "before":
            optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        if clear == "between":
            optimizer.zero_grad()
        optimizer.step()
        if clear == "after":
            optimizer.zero_grad()


def _training(
    mode="eval", back="each", clear="before", make=torch.optim.SGD, params=lambda model: model.head, **options
):
    """train_head, spoilt in one place."""

    def wrong(model, batches, lr):
        modes = {module: module.training for module in model.modules()}
        was = model.training
        optimizer = make(params(model).parameters(), lr=lr, **options)
        if mode == "eval":
            model.eval()
        elif mode == "train":
            model.train()
        elif mode == "norm":
            model.train()
            model.body[1].eval()
        _steps(model, batches, optimizer, clear)
        if back == "each":
            for module, training in modes.items():
                module.training = training
        elif back == "whole":
            model.train(was)
        elif back == "train":
            model.train()

    return wrong


def _modes_of_the_outer_layers(model, batches, lr):
    """train(mode) of a block sets what is in it, too."""
    layers = [model, model.body, model.head, *model.body.children()]
    modes = [layer.training for layer in layers]
    model.eval()
    _steps(model, batches, torch.optim.SGD(model.head.parameters(), lr=lr))
    for layer, training in zip(layers, modes, strict=True):
        layer.train(training)


def _puts_statistics_back(model, batches, lr):
    """Dropout is on, and batch norm looks at the batch."""
    before = copy.deepcopy(model.body.state_dict())
    model.train()
    _steps(model, batches, torch.optim.SGD(model.head.parameters(), lr=lr))
    model.body.load_state_dict(before)


def _thawed_while_training(model, batches, lr):
    model.requires_grad_(True)
    train_head(model, batches, lr)


def _all_layers(model, batches, lr):
    model.requires_grad_(True)
    _training(params=lambda model: model)(model, batches, lr)
    model.body.requires_grad_(False)


def _old_head(model, batches, lr):
    _training(params=lambda model: copy.deepcopy(model.head))(model, batches, lr)


def _first_batch(model, batches, lr):
    train_head(model, [next(iter(batches))], lr)


def _sum_of_losses(model, batches, lr):
    model_modes = {module: module.training for module in model.modules()}
    model.eval()
    optimizer = torch.optim.SGD(model.head.parameters(), lr=lr)
    optimizer.zero_grad()
    for x, y in batches:
        nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    for module, training in model_modes.items():
        module.training = training


def _twice(model, batches, lr):
    pairs = list(batches)
    train_head(model, pairs + pairs, lr)


def _indexed(model, batches, lr):
    train_head(model, [batches[i] for i in range(len(batches))], lr)


def _grads_off(model, batches, lr):
    train_head(model, batches, lr)
    torch.set_grad_enabled(False)


def _changes_x(model, batches, lr):
    pairs = list(batches)
    train_head(model, pairs, lr)
    for x, _ in pairs:
        x.mul_(0.5)


def _thaw_one_rate(model, body_lr, head_lr):
    model.requires_grad_(True)
    return torch.optim.SGD(model.parameters(), lr=head_lr)


def _thaw_twice(model, body_lr, head_lr):
    model.requires_grad_(True)
    return torch.optim.SGD(
        [{"params": model.parameters(), "lr": body_lr}, {"params": model.head.parameters()}], lr=head_lr
    )


def _thaw_repeated(model, body_lr, head_lr):
    model.requires_grad_(True)
    head = list(model.head.parameters())
    optimizer = torch.optim.SGD(
        [{"params": model.body.parameters(), "lr": body_lr}, {"params": head, "lr": head_lr}], momentum=0.9
    )
    optimizer.param_groups[1]["params"].extend(head)
    return optimizer


def _thaw_by_name(model, body_lr, head_lr):
    model.requires_grad_(True)
    rest = [p for name, p in model.named_parameters() if "head" not in name]
    head = [p for name, p in model.named_parameters() if "head" in name]
    return torch.optim.SGD([{"params": rest, "lr": body_lr}, {"params": head, "lr": head_lr}])


def _thaw_exchanged(model, body_lr, head_lr):
    return thaw(model, head_lr, body_lr)


def _thaw_not(model, body_lr, head_lr):
    return torch.optim.SGD(
        [{"params": model.body.parameters(), "lr": body_lr}, {"params": model.head.parameters(), "lr": head_lr}]
    )


def _thaw_trainable_only(model, body_lr, head_lr):
    """The filter runs before the thaw: the body is in no group."""
    params = [p for p in model.body.parameters() if p.requires_grad]
    groups = [{"params": params, "lr": body_lr}, {"params": model.head.parameters(), "lr": head_lr}]
    optimizer = torch.optim.SGD(groups)
    model.requires_grad_(True)
    return optimizer


def _thaw_weights_only(model, body_lr, head_lr):
    model.requires_grad_(True)
    return torch.optim.SGD(
        [{"params": [model.body[0].weight], "lr": body_lr}, {"params": model.head.parameters(), "lr": head_lr}]
    )


def _thaw_a_copy(model, body_lr, head_lr):
    model.requires_grad_(True)
    return thaw(copy.deepcopy(model), body_lr, head_lr)


def _thaw_groups(model, body_lr, head_lr):
    return thaw(model, body_lr, head_lr).param_groups


def _thaw_wrong_key(model, body_lr, head_lr):
    model.requires_grad_(True)
    return torch.optim.SGD(
        [{"params": model.body.parameters(), "learning_rate": body_lr}, {"params": model.head.parameters()}], lr=head_lr
    )


def _thaw_train_mode(model, body_lr, head_lr):
    model.train()
    return thaw(model, body_lr, head_lr)


def _thaw_keeps_batch_norm_frozen(model, body_lr, head_lr):
    optimizer = thaw(model, body_lr, head_lr)
    model.body[1].requires_grad_(False)
    return optimizer


_LOAD = "test_a_pretrained_net_comes_with_the_preprocessing_of_its_training"
_REFUSE = "test_weights_that_do_not_fit_and_code_are_refused"
_SWAP = "test_a_new_head_is_trained_and_the_body_is_frozen"
_MODES = "test_a_frozen_body_keeps_its_statistics_only_in_eval_mode"
_STEP = "test_each_batch_is_one_step_of_the_head"
_THAW = "test_a_thawed_net_has_two_learning_rates"

_NUMBERS = "(x - mean) / std with the file's numbers"
_STATISTICS = "requires_grad=False does not stop batch norm"
_ANOTHER_MODE = "afterwards these are in another mode"
_HEAD_AFTER = "the weight of the head after steps of SGD"
_ADDED = "gradients from before a batch were added"

KEEP = {"test_a_pretrained_body_reads_digits_that_it_never_saw": "the whole way on real images: why one does all this"}

MISTAKES = [
    Mistake(_NUMBERS, caught_by=_LOAD, load_pretrained=_loading(mean=0.485, std=0.229)),
    Mistake(_NUMBERS, caught_by=_LOAD, load_pretrained=_loading(mean=0.5, std=0.5)),
    Mistake(_NUMBERS, caught_by=_LOAD, load_pretrained=_loading(prepare=_kept_dtype)),
    Mistake(_NUMBERS, caught_by=_LOAD, load_pretrained=_loading(prepare=_in_the_dtype_of_x)),
    Mistake(_NUMBERS, caught_by=_LOAD, load_pretrained=_loading(prepare=_scaled_first)),
    Mistake(_NUMBERS, caught_by=_LOAD, load_pretrained=_loading(prepare=_multiplied)),
    Mistake("shape (384,)", caught_by=_LOAD, load_pretrained=_loading(prepare=_for_images_only)),
    Mistake(_NUMBERS, caught_by=_LOAD, load_pretrained=_global_numbers),
    Mistake("not those of the file", caught_by=_LOAD, load_pretrained=_loading(prepare=_own_statistics)),
    Mistake("the preprocessing changed its x", caught_by=_LOAD, load_pretrained=_loading(prepare=_in_place)),
    Mistake("the net is to come in eval mode", caught_by=_LOAD, load_pretrained=_loading(mode="train")),
    Mistake("the net is to come in eval mode", caught_by=_LOAD, load_pretrained=_only_the_linear_in_eval),
    Mistake("the net computes other scores", caught_by=_LOAD, load_pretrained=_loading(weights=False)),
    Mistake("another number of outputs than the file", caught_by=_LOAD, load_pretrained=_loading(classes=5)),
    Mistake("returns the net and the preprocessing", caught_by=_LOAD, load_pretrained=_only_the_net),
    Mistake("the preprocessing is a function of x", caught_by=_LOAD, load_pretrained=_numbers_only),
    Mistake("all begin with module., without a word", caught_by=_REFUSE, load_pretrained=_loading(strict=False)),
    Mistake("all begin with module., without a word", caught_by=_REFUSE, load_pretrained=_loads_the_body_by_hand),
    Mistake("code that stood in the file ran", caught_by=_REFUSE, load_pretrained=_loading(weights_only=False)),
    Mistake("are rows of the old one", caught_by=_SWAP, swap_head=_swap_keeps_rows),
    Mistake("are rows of the old one", caught_by=_SWAP, swap_head=_swap_slices),
    Mistake("the bias of the new head is that of the old one", caught_by=_SWAP, swap_head=_swap_keeps_the_bias),
    Mistake("model.head is still the old layer", caught_by=_SWAP, swap_head=_swap_by_attribute),
    Mistake("model.head is still the old layer", caught_by=_SWAP, swap_head=_swap_elsewhere),
    Mistake("model.head is to be an nn.Linear", caught_by=_SWAP, swap_head=_swap_behind_it),
    Mistake("the head maps 108 numbers to 7", caught_by=_SWAP, swap_head=_swap_from_the_outputs),
    Mistake("the head maps 36 numbers to 5", caught_by=_SWAP, swap_head=_swap_features_fixed),
    Mistake("the weight of the new head is torch.float32", caught_by=_SWAP, swap_head=_swap_default_dtype),
    Mistake("and its new head on cpu", caught_by=_SWAP, swap_head=_swap_default_device),
    Mistake("of the new head is frozen, and it is to be trained", caught_by=_SWAP, swap_head=_swap_then_freeze_all),
    Mistake("the body is to be frozen", caught_by=_SWAP, swap_head=_swap_freezes_the_module_attribute),
    Mistake("the body is to be frozen", caught_by=_SWAP, swap_head=_swap_freezes_weights_only),
    Mistake("the body is to be frozen", caught_by=_SWAP, swap_head=_swap_spares_batch_norm),
    Mistake("still trained are forehead.weight", caught_by=_SWAP, swap_head=_swap_freezes_by_name),
    Mistake("the modes are", caught_by=_SWAP, swap_head=_swap_eval),
    Mistake("of the old layer was changed", caught_by=_SWAP, swap_head=_swap_resets_old),
    Mistake("the parameters of the body are other objects", caught_by=_SWAP, swap_head=_swap_copies_the_body),
    Mistake("the parameters of the body are other objects", caught_by=_SWAP, swap_head=_swap_detaches_the_body),
    Mistake(_STATISTICS, caught_by=_MODES, train_head=_training(mode="train")),
    Mistake(_STATISTICS, caught_by=_MODES, train_head=_training(mode="as it came")),
    Mistake(_ANOTHER_MODE, caught_by=_MODES, train_head=_training(back="never")),
    Mistake(_ANOTHER_MODE, caught_by=_MODES, train_head=_training(back="whole")),
    Mistake(_ANOTHER_MODE, caught_by=_MODES, train_head=_training(back="train")),
    Mistake(_ANOTHER_MODE, caught_by=_MODES, train_head=_modes_of_the_outer_layers),
    Mistake("of the body moved: it is to be frozen", caught_by=_MODES, train_head=_all_layers),
    Mistake("what is frozen changed", caught_by=_MODES, train_head=_thawed_while_training),
    Mistake("train_head left gradients switched off", caught_by=_MODES, train_head=_grads_off),
    Mistake("the head did not move", caught_by=_STEP, train_head=_training(clear="between")),
    Mistake("the head did not move", caught_by=_STEP, train_head=_old_head),
    Mistake("each batch is a step", caught_by=_STEP, train_head=_first_batch),
    Mistake(_ADDED, caught_by=_STEP, train_head=_training(clear="never")),
    Mistake(_ADDED, caught_by=_STEP, train_head=_training(clear="after")),
    Mistake(_HEAD_AFTER, caught_by=_STEP, train_head=_training(mode="norm")),
    Mistake(_HEAD_AFTER, caught_by=_STEP, train_head=_puts_statistics_back),
    Mistake(_HEAD_AFTER, caught_by=_STEP, train_head=_training(momentum=0.9)),
    Mistake(_HEAD_AFTER, caught_by=_STEP, train_head=_training(make=torch.optim.Adam)),
    Mistake(_HEAD_AFTER, caught_by=_STEP, train_head=_sum_of_losses),
    Mistake(_HEAD_AFTER, caught_by=_STEP, train_head=_twice),
    Mistake("train_head changed a batch", caught_by=_STEP, train_head=_changes_x),
    Mistake("batches may be a generator", caught_by=_STEP, train_head=_indexed),
    Mistake("has lr=", caught_by=_THAW, thaw=_thaw_one_rate),
    Mistake("has lr=", caught_by=_THAW, thaw=_thaw_exchanged),
    Mistake("and body.forehead.weight has lr=", caught_by=_THAW, thaw=_thaw_by_name),
    Mistake("has lr=", caught_by=_THAW, thaw=_thaw_wrong_key),
    Mistake("a parameter is in two groups", caught_by=_THAW, thaw=_thaw_twice),
    Mistake("each is in one, once", caught_by=_THAW, thaw=_thaw_repeated),
    Mistake("still frozen after thaw", caught_by=_THAW, thaw=_thaw_not),
    Mistake("still frozen after thaw", caught_by=_THAW, thaw=_thaw_keeps_batch_norm_frozen),
    Mistake("these are in no group", caught_by=_THAW, thaw=_thaw_trainable_only),
    Mistake("these are in no group", caught_by=_THAW, thaw=_thaw_weights_only),
    Mistake("that are no parameters of this model", caught_by=_THAW, thaw=_thaw_a_copy),
    Mistake("thaw returns an optimizer", caught_by=_THAW, thaw=_thaw_groups),
    Mistake("thaw changed the modes", caught_by=_THAW, thaw=_thaw_train_mode),
]
