"""Answers that people give to swap_the_head, right ones and wrong ones."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


class _Normalize(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, x):
        return (x.to(torch.float32) - self.mean) / self.std


def _load_module(path, make_net):
    checkpoint = torch.load(str(path))
    net = make_net(n := len(checkpoint["classes"]))
    assert n
    missing = net.load_state_dict(checkpoint["model"], strict=True)
    assert not missing.missing_keys
    for p in net.parameters():
        p.requires_grad = True
    net.train(False)
    return net, _Normalize(checkpoint["mean"], checkpoint["std"])


def _load_from_an_open_file(path, make_net):
    with open(path, "rb") as file:
        checkpoint = torch.load(file, weights_only=True)
    net = make_net(checkpoint["model"]["head.bias"].numel())
    net.load_state_dict(checkpoint["model"], assign=True)

    def prepare(x, mean=checkpoint["mean"], std=checkpoint["std"]):
        return torch.div(torch.sub(x.float(), mean), std)

    net.eval()
    return net, prepare


def _swap_all_frozen_first(model, n_classes):
    old = model.head
    for p in model.parameters():
        p.requires_grad_(False)
    new = nn.Linear(old.in_features, n_classes).to(old.weight)
    old.requires_grad_(True)
    model.head = new


def _swap_with_setattr(model, n_classes):
    weight = model.head.weight
    head = nn.Linear(weight.shape[1], n_classes, bias=True, device=weight.device, dtype=weight.dtype)
    nn.init.kaiming_uniform_(head.weight)
    setattr(model, "head", head)  # noqa: B010
    for name, p in model.named_parameters():
        p.requires_grad = name.startswith("head.")


def _train_on_features(model, batches, lr):
    """The body in eval mode under no_grad; only the head has a graph."""
    modes = [(m, m.training) for m in model.body.modules()]
    model.body.eval()
    optimizer = torch.optim.SGD(model.head.parameters(), lr)
    for x, y in batches:
        with torch.no_grad():
            features = model.body(x)
        loss = nn.CrossEntropyLoss()(model.head(features), y)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
    for module, training in modes:
        module.train(training) if not list(module.children()) else setattr(module, "training", training)


def _train_on_a_copy(model, batches, lr):
    body = copy.deepcopy(model.body).eval()
    for x, y in batches:
        model.head.zero_grad()
        F.cross_entropy(model.head(body(x)), y).backward()
        with torch.no_grad():
            for p in model.head.parameters():
                p -= lr * p.grad


def _train_what_is_trainable(model, batches, lr):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    modes = {name: module.training for name, module in model.named_modules()}
    model.train(False)
    model.head.train()
    for pair in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(pair[0]), pair[1]).backward()
        optimizer.step()
    for name, module in model.named_modules():
        module.training = modes[name]


def _thaw_adam(model, body_lr, head_lr):
    for p in model.parameters():
        p.requires_grad = True
    head = set(model.head.parameters())
    body = [p for p in model.parameters() if p not in head]
    return torch.optim.AdamW([{"params": body}, {"params": list(head), "lr": head_lr}], lr=body_lr, weight_decay=0.01)


def _thaw_one_group_each(model, body_lr, head_lr):
    groups = []
    for name, p in model.named_parameters():
        p.requires_grad_(True)
        groups.append({"params": [p], "lr": head_lr if name.startswith("head") else body_lr})
    return torch.optim.RMSprop(groups)


def _thaw_added(model, body_lr, head_lr):
    optimizer = torch.optim.Adam(model.head.parameters(), lr=head_lr)
    model.body.requires_grad_()
    model.head.requires_grad_()
    optimizer.add_param_group({"params": model.body.parameters(), "lr": body_lr})
    return optimizer


RIGHT = [
    {"load_pretrained": _load_module, "swap_head": _swap_all_frozen_first, "train_head": _train_on_features},
    {"load_pretrained": _load_from_an_open_file, "swap_head": _swap_with_setattr, "thaw": _thaw_adam},
    {"train_head": _train_on_a_copy, "thaw": _thaw_one_group_each},
    {"train_head": _train_what_is_trainable, "thaw": _thaw_added},
]


def _load(make=None, prepare=None, then=lambda net: net.eval(), **options):
    def load(path, make_net):
        checkpoint = torch.load(path, **options)
        net = make_net(len(checkpoint["classes"]))
        (make or (lambda net, state: net.load_state_dict(state)))(net, checkpoint["model"])
        then(net)
        mean, std = checkpoint["mean"], checkpoint["std"]
        return net, (lambda x: prepare(x, mean, std)) if prepare else (lambda x: (x.float() - mean) / std)

    return load


def _matching_names(net, state):
    own = net.state_dict()
    own.update({name: value for name, value in state.items() if name in own})
    net.load_state_dict(own)


def _to_range(x, mean, std):
    return x.float() / 16


def _imagenet(x, mean, std):
    return (x.float() / 255 - 0.449) / 0.226


def _batch_norm_like(x, mean, std):
    x = x.float()
    return (x - x.mean()) / x.std()


def _double(x, mean, std):
    return (x.double() - mean) / std


def _as_torchvision(x, mean, std):
    return (x.float() - torch.tensor([mean])[None, :, None, None]) / torch.tensor([std])[None, :, None, None]


def _var(x, mean, std):
    return (x.float() - mean) / std**0.5


def _replaced(model, n_classes, features=None, where=True, freeze=True):
    old = model.head
    where = {"device": old.weight.device, "dtype": old.weight.dtype} if where else {}
    model.head = nn.Linear(features or old.in_features, n_classes, **where)
    if freeze:
        model.body.requires_grad_(False)


def _forgot_to_freeze(model, n_classes):
    _replaced(model, n_classes, freeze=False)


def _frozen_by_name(model, n_classes):
    """As the tutorials do it, with `if "fc" not in name`."""
    _replaced(model, n_classes, freeze=False)
    for name, p in model.named_parameters():
        if "head" not in name:
            p.requires_grad = False


def _all_frozen(model, n_classes):
    _replaced(model, n_classes)
    for p in model.parameters():
        p.requires_grad = False


def _plain_linear(model, n_classes):
    _replaced(model, n_classes, where=False)


def _magic_number(model, n_classes):
    _replaced(model, n_classes, features=108)


def _resized(model, n_classes):
    model.body.requires_grad_(False)
    old = model.head
    with torch.no_grad():
        weight = old.weight.new_zeros(n_classes, old.in_features)
        k = min(len(weight), len(old.weight))
        weight[:k] = old.weight[:k]
    _replaced(model, n_classes)
    model.head.weight.data = weight


def _usual_epoch(model, batches, lr):
    model.train()
    optimizer = torch.optim.SGD(filter(lambda p: p.requires_grad, model.parameters()), lr=lr)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def _back_to_train(model, batches, lr):
    model.eval()
    optimizer = torch.optim.SGD(model.head.parameters(), lr=lr)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    model.train()


def _only_norm_in_eval(model, batches, lr):
    modes = {m: m.training for m in model.modules()}
    for m in model.modules():
        m.training = not isinstance(m, nn.BatchNorm2d)
    optimizer = torch.optim.SGD(model.head.parameters(), lr=lr)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    for m, training in modes.items():
        m.training = training


def _momentum_zero(model, batches, lr):
    """BatchNorm with momentum 0 keeps its statistics, but it counts on, and uses those of the batch."""
    norm = model.body[1]
    norm.momentum = 0.0
    model.train()
    optimizer = torch.optim.SGD(model.head.parameters(), lr=lr)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    norm.momentum = 0.1


def _softmax_first(model, batches, lr):
    body = copy.deepcopy(model.body).eval()
    optimizer = torch.optim.SGD(model.head.parameters(), lr=lr)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(model.head(body(x)).softmax(1), y).backward()
        optimizer.step()


def _decays(model, batches, lr):
    body = copy.deepcopy(model.body).eval()
    optimizer = torch.optim.SGD(model.head.parameters(), lr=lr, weight_decay=0.01)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(model.head(body(x)), y).backward()
        optimizer.step()


def _accumulates(model, batches, lr):
    body = copy.deepcopy(model.body).eval()
    optimizer = torch.optim.SGD(model.head.parameters(), lr=lr)
    for x, y in batches:
        F.cross_entropy(model.head(body(x)), y).backward()
        optimizer.step()


def _last_batch(model, batches, lr):
    body = copy.deepcopy(model.body).eval()
    optimizer = torch.optim.SGD(model.head.parameters(), lr=lr)
    optimizer.zero_grad()
    for x, y in batches:
        loss = F.cross_entropy(model.head(body(x)), y)
    loss.backward()
    optimizer.step()


def _counts_first(model, batches, lr):
    assert len(batches) > 0
    _accumulates(model, batches, lr)


def _thaw_default(model, body_lr, head_lr):
    model.requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), lr=body_lr)
    optimizer.defaults["lr"] = head_lr
    return optimizer


def _thaw_overlap(model, body_lr, head_lr):
    model.requires_grad_(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=body_lr)
    optimizer.add_param_group({"params": model.head.parameters(), "lr": head_lr})
    return optimizer


def _thaw_by_name(model, body_lr, head_lr):
    rates = {False: body_lr, True: head_lr}
    return torch.optim.Adam(
        [{"params": [p.requires_grad_()], "lr": rates["head" in name]} for name, p in model.named_parameters()]
    )


def _thaw_head_only(model, body_lr, head_lr):
    model.requires_grad_(True)
    return torch.optim.SGD(model.head.parameters(), lr=head_lr)


def _thaw_pair(model, body_lr, head_lr):
    model.requires_grad_(True)
    return torch.optim.SGD(model.body.parameters(), lr=body_lr), torch.optim.SGD(model.head.parameters(), lr=head_lr)


def _thaw_attribute(model, body_lr, head_lr):
    model.requires_grad = True
    return torch.optim.SGD(
        [{"params": model.body.parameters(), "lr": body_lr}, {"params": model.head.parameters(), "lr": head_lr}]
    )


_NUMBERS = "(x - mean) / std with the file's numbers"
_STATISTICS = "requires_grad=False does not stop batch norm"
_HEAD_AFTER = "the weight of the head after steps of SGD"

WRONG = [
    Mistake(
        "all begin with module., without a word",
        caught_by="",
        load_pretrained=_load(lambda net, state: net.load_state_dict(state, False)),
    ),
    Mistake("all begin with module., without a word", caught_by="", load_pretrained=_load(_matching_names)),
    Mistake("code that stood in the file ran", caught_by="", load_pretrained=_load(weights_only=False)),
    Mistake("the net is to come in eval mode", caught_by="", load_pretrained=_load(then=lambda net: net)),
    Mistake(
        "the net is to come in eval mode", caught_by="", load_pretrained=_load(then=lambda net: net.body[1].eval())
    ),
    Mistake("the net computes other scores", caught_by="", load_pretrained=_load(lambda net, state: net)),
    Mistake(_NUMBERS, caught_by="", load_pretrained=_load(prepare=_to_range)),
    Mistake(_NUMBERS, caught_by="", load_pretrained=_load(prepare=_imagenet)),
    Mistake(_NUMBERS, caught_by="", load_pretrained=_load(prepare=_double)),
    Mistake(_NUMBERS, caught_by="", load_pretrained=_load(prepare=_var)),
    Mistake("shape (384,)", caught_by="", load_pretrained=_load(prepare=_as_torchvision)),
    Mistake("not those of the file", caught_by="", load_pretrained=_load(prepare=_batch_norm_like)),
    Mistake("the body is to be frozen", caught_by="", swap_head=_forgot_to_freeze),
    Mistake("still trained are forehead.weight", caught_by="", swap_head=_frozen_by_name),
    Mistake("of the new head is frozen, and it is to be trained", caught_by="", swap_head=_all_frozen),
    Mistake("the weight of the new head is torch.float32", caught_by="", swap_head=_plain_linear),
    Mistake("the head maps 36 numbers to 5", caught_by="", swap_head=_magic_number),
    Mistake("are rows of the old one", caught_by="", swap_head=_resized),
    Mistake(_STATISTICS, caught_by="", train_head=_usual_epoch),
    Mistake(_STATISTICS, caught_by="", train_head=_momentum_zero),
    Mistake("afterwards these are in another mode", caught_by="", train_head=_back_to_train),
    Mistake(_HEAD_AFTER, caught_by="", train_head=_only_norm_in_eval),
    Mistake(_HEAD_AFTER, caught_by="", train_head=_softmax_first),
    Mistake(_HEAD_AFTER, caught_by="", train_head=_decays),
    Mistake(_HEAD_AFTER, caught_by="", train_head=_last_batch),
    Mistake("gradients from before a batch were added", caught_by="", train_head=_accumulates),
    Mistake("batches may be a generator", caught_by="", train_head=_counts_first),
    Mistake("has lr=", caught_by="", thaw=_thaw_default),
    Mistake("and body.forehead.weight has lr=", caught_by="", thaw=_thaw_by_name),
    Mistake("a parameter is in two groups", caught_by="", thaw=_thaw_overlap),
    Mistake("these are in no group", caught_by="", thaw=_thaw_head_only),
    Mistake("thaw returns an optimizer", caught_by="", thaw=_thaw_pair),
    Mistake("still frozen after thaw", caught_by="", thaw=_thaw_attribute),
]


def _more(says, **functions):
    WRONG.append(Mistake(says, caught_by="", **functions))


_more("model.head is still the old layer", swap_head=lambda model, n_classes: model.body.requires_grad_(False))
_more("thaw returns an optimizer", thaw=lambda model, body_lr, head_lr: None)
_more("returns the net and the preprocessing", load_pretrained=lambda path, make_net: None)
_more("the head did not move", train_head=lambda model, batches, lr: None)


def _new_weight_on_a_copy(model, n_classes):
    """Only the weight is drawn anew."""
    bias = model.head.bias.detach()
    _replaced(model, n_classes)
    model.head.bias.data[: len(bias)] = bias[:n_classes]


_more("the bias of the new head is that of the old one", swap_head=_new_weight_on_a_copy)
