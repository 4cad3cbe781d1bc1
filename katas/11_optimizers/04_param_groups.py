"""Groups of parameters: no decay for biases, and an lr that really changes

An optimizer holds its weights in groups: `opt.param_groups` is a list of dicts, each with "params" and with options of
its own, "lr", "weight_decay" and so on. You give such dicts instead of a list of weights; what a dict does not say
comes from the call: in `AdamW([{"params": a, "weight_decay": 0.0}, {"params": b}], lr=1e-3, weight_decay=0.1)`, a does
not decay and b does. A key that the optimizer does not know, such as "wd", is kept and never read. No error.

Weight decay pulls weights towards 0. For a matrix that is a good habit; for a bias, or the scale of a norm layer which
begins at 1, it is not. The usual rule asks no names: a weight with one dimension, or none, does not decay.
`model.parameters()` names a weight that two layers share once. Who walks the layers meets it twice; twice in one group
it is moved twice in each step, with no more than a warning. A frozen weight needs no optimizer.

Every step reads lr from its group, so lr is changed there, in *each* group. `opt.lr = 0.01` makes an attribute that
nobody reads, `opt.defaults["lr"]` is read only when a group is added, and a new optimizer has forgotten its momentum.

What is asked here: two kinds of groups for AdamW, and two ways to change lr under way.

About 25 minutes. Before it: sgd_by_hand, adaptive_by_hand.

https://docs.pytorch.org/docs/stable/optim.html#per-parameter-options
"""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def decay_groups(model: nn.Module, wd: float) -> list[dict[str, Any]]:
    """Groups for `torch.optim.AdamW(groups)`: some with a weight decay of `wd`, the others with 0. In any order.

    The weights of Linear and Embedding layers, which have two dimensions, decay. Biases, the weights of norm layers,
    and any free vector do not. Each weight that requires a gradient is in them, once; frozen ones are not.

    The model stays as it is.
    """
    raise NotImplementedError("sort the weights into groups")


def set_lr(opt: torch.optim.Optimizer, lr: float) -> None:
    """From the next step on, `opt` uses `lr` for all its weights. What it remembers, such as momentum, stays."""
    raise NotImplementedError("give every group this lr")


def scale_lr(opt: torch.optim.Optimizer, f: float) -> None:
    """Multiply by `f` the learning rate of each group, now. What `opt` remembers stays."""
    raise NotImplementedError("multiply the lr of every group")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


class _Model(nn.Module):
    """`head` shares the weight of `emb`, and the bias of `old` is frozen, as all of `frozen` is."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(7, 4)
        self.block = nn.ModuleDict({"ln": nn.LayerNorm(4), "fc": nn.Linear(4, 4)})
        self.scale = nn.Parameter(torch.ones(4))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.emb.weight


_ERRORS = {
    "more than one parameter group": "a weight is in two of your groups: each belongs in one, even a shared one",
    "empty parameter list": "no group holds a weight: a generator such as model.parameters() can be walked only once",
    "can't optimize a non-leaf": "there is a tensor in the groups that is no parameter of the model itself",
    "Boolean value of Tensor": "`in` and == compare tensors by value: find a weight by `is` or by id",
}


def _decays(model: nn.Module, wd: float) -> dict[str, list[float]]:
    """For each weight of the model by name: the decay of each place in AdamW's groups where it stands."""
    __tracebackhide__ = True
    with explain("decay_groups(model, wd) raised", _ERRORS):
        groups = decay_groups(model, wd)
    assert isinstance(groups, list | tuple), f"expected a list of groups, which are dicts, got {type(groups).__name__}"
    others = [type(group).__name__ for group in groups if not isinstance(group, dict)]
    assert not others, f"each group is a dict with its params and its options; there is a {others[0]} in your list"
    with warnings.catch_warnings(), explain("torch.optim.AdamW(groups) raised", _ERRORS):
        warnings.simplefilter("ignore")
        opt = torch.optim.AdamW(list(groups), lr=1e-3, weight_decay=0.3)
    strange = sorted({key for group in opt.param_groups for key in group} & {"wd", "decay", "weight-decay", "l2"})
    assert not strange, f"a group has the key {strange[0]!r}, which AdamW keeps and never reads: it is 'weight_decay'"
    places = [(p, group["weight_decay"]) for group in opt.param_groups for p in group["params"]]
    own = {id(p) for p in model.parameters()}
    assert all(id(p) in own for p, _ in places), "a tensor in your groups is no parameter of the model itself: a copy?"
    return {name: [decay for q, decay in places if q is p] for name, p in model.named_parameters()}


@pytest.mark.myth(
    says="An optimizer refuses an option that it does not know.",
    today="An unknown key in a group, such as 'wd' or 'learning_rate', is kept there and never read.",
)
def test_what_a_group_says_overrides_what_the_call_says():
    for wd in (0.1, 0.05, 0.0):
        found = {decay for decays in _decays(_Model(), wd).values() for decay in decays}
        rest = found - {0, wd}
        assert not rest, (
            f"in AdamW(groups, weight_decay=0.3), there are weight decays of {sorted(rest)}: each group has to say its "
            f"own, 0 or {wd}"
        )
        assert found == {0, wd}, f"some weights decay with {wd}, the others with 0; found {sorted(found)}"


def test_matrices_decay_and_vectors_do_not():
    model = _Model()
    with unchanged("decay_groups only sorts: the model stays as it is", model=model):
        decays = _decays(model, 0.1)
    expected = {"emb.weight": 0.1, "block.fc.weight": 0.1}
    expected |= dict.fromkeys(["block.fc.bias", "block.ln.weight", "block.ln.bias", "scale"], 0)
    missing = [name for name in expected if not decays[name]]
    assert not missing, f"{missing[0]} is in none of your groups: it would never be trained"
    for name, decay in expected.items():
        wrong = "decays: only matrices do" if decay == 0 else "does not decay: it is a matrix"
        assert set(decays[name]) == {decay}, f"{name} has a weight decay of {decays[name][0]}, so it {wrong}"

    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1), nn.Sequential(nn.Linear(1, 3), nn.GroupNorm(1, 3)))
    decays = _decays(model, 0.1)
    expected = {name: [0.1] if name in ("0.weight", "2.0.weight") else [0] for name in decays}
    wrong = [f"{name}: {decays[name]}" for name in expected if decays[name] != expected[name]]
    assert not wrong, (
        f"in a model of layers of size 1, {wrong[0]}, expected {expected[wrong[0].split(':')[0]]}: how many dimensions "
        "a weight has counts, not how many numbers"
    )


def test_a_shared_weight_is_one_weight_and_a_frozen_one_none():
    model = _Model()
    twice = [name for name, decays in _decays(model, 0.1).items() if len(decays) > 1]
    assert not twice, f"{twice[0]} is in your groups twice, so each step moves it twice; two layers share it"
    model.block["fc"].bias.requires_grad_(False)
    decays = _decays(model, 0.1)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad and decays[name]]
    assert not frozen, f"{frozen[0]} is frozen, and in your groups: what requires no gradient is left out"
    model.frozen.weight.requires_grad_(True)
    with unchanged("decay_groups only sorts: the model stays as it is", model=model):
        decays = _decays(model, 0.1)
    assert decays["frozen.weight"] == [0.1], "a weight which is trained again, by requires_grad_(True), was left out"


def _optimizer() -> tuple[list[torch.Tensor], torch.optim.Optimizer]:
    """SGD with momentum on two groups with lr 0.01 and 0.1; a step was made, in which both gradients were 1."""
    weights = [torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    groups = [{"params": [weights[0]], "lr": 0.01}, {"params": [weights[1]], "lr": 0.1, "weight_decay": 0.0}]
    opt = torch.optim.SGD(groups, lr=0.5, momentum=0.9)
    _step(weights, opt)
    return weights, opt


def _step(weights: list[torch.Tensor], opt: torch.optim.Optimizer) -> list[float]:
    """How far each weight moves down in a step where all gradients are 1."""
    before = [w.item() for w in weights]
    for w in weights:
        w.grad = torch.ones_like(w)
    opt.step()
    return [round(old - w.item(), 12) for old, w in zip(before, weights, strict=True)]


def _options(opt: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """What stands in each group, beside its weights and its lr."""
    return [{key: value for key, value in group.items() if key not in ("params", "lr")} for group in opt.param_groups]


def _same_options(opt: torch.optim.Optimizer, before: list[dict[str, Any]], who: str) -> None:
    __tracebackhide__ = True
    for was, is_ in zip(before, _options(opt), strict=True):
        other = {key: (value, is_.get(key)) for key, value in was.items() if is_.get(key) != value}
        assert not other, f"{who} changed more than lr in a group; before and after: {other}"


def _set(opt: torch.optim.Optimizer, lr: float) -> None:
    __tracebackhide__ = True
    with explain(f"set_lr(opt, {lr}) raised", {"__setitem__|indices": "param_groups is a list of dicts: walk it"}):
        set_lr(opt, lr)


@pytest.mark.myth(
    says="opt.lr = 0.01 changes the learning rate.",
    today="It makes an attribute that nobody reads: a step takes lr from each dict in opt.param_groups.",
)
def test_a_step_reads_lr_from_its_group():
    weights, opt = _optimizer()
    for lr in (0.7, 0.002, 0.0):
        _set(opt, lr)
        lrs = [group["lr"] for group in opt.param_groups]
        assert len(lrs) == 2, f"the optimizer has {len(lrs)} groups now, it had 2"
        for cause in (
            *(["opt.lr is an attribute that nobody reads"] if hasattr(opt, "lr") else []),
            *(["opt.defaults is read only when a group is added"] if opt.defaults["lr"] == lr else []),
        ):
            assert lrs == [lr, lr], f"after set_lr(opt, {lr}), the groups have lr {lrs}: {cause}"
        assert lrs[0] == lr, f"after set_lr(opt, {lr}), the groups have lr {lrs}"
        assert lrs[1] == lr, f"after set_lr(opt, {lr}), the groups have lr {lrs}: only some of them were changed"
    adam = torch.optim.AdamW(weights, lr=0.1, betas=(0.5, 0.6), weight_decay=0.2)
    before = _options(adam)
    _set(adam, 1)
    assert adam.param_groups[0]["lr"] == 1, "set_lr(opt, 1) on an AdamW with one group did not set its lr"
    _same_options(adam, before, "set_lr")


def test_scaling_keeps_the_ratio_between_groups():
    _, opt = _optimizer()
    before = _options(opt)
    for f, want in ((0.5, [0.005, 0.05]), (0.5, [0.0025, 0.025]), (4, [0.01, 0.1])):
        with explain(f"scale_lr(opt, {f}) raised"):
            scale_lr(opt, f)
        lrs = [group["lr"] for group in opt.param_groups]
        assert len(set(lrs)) == 2, f"after scale_lr the groups have lr {lrs}, expected {want}: they became the same"
        assert lrs == pytest.approx(want, rel=1e-9), f"after scale_lr(opt, {f}) the groups have lr {lrs}, not {want}"
        _same_options(opt, before, "scale_lr")


def test_a_new_lr_leaves_the_momentum_alone():
    weights, opt = _optimizer()
    kept = copy.deepcopy([opt.state[w]["momentum_buffer"] for w in weights])
    _set(opt, 0.5)
    buffers = [opt.state[w].get("momentum_buffer") for w in weights if w in opt.state]
    lost = len(buffers) < 2 or any(buffer is None for buffer in buffers)
    assert not lost, "after set_lr the optimizer has no momentum any more: it was made anew, or its state was cleared"
    for buffer, was in zip(buffers, kept, strict=True):
        check_tensor(buffer, was, "set_lr changed the momentum of a weight")
    moves = _step(weights, opt)
    assert moves == pytest.approx([0.95, 0.95]), (
        f"the step after set_lr(opt, 0.5) should be 0.5 * (0.9 * 1 + 1) = 0.95 for both weights; it was {moves}"
    )
    with explain("scale_lr(opt, 0.1) raised"):
        scale_lr(opt, 0.1)
    moves = _step(weights, opt)
    assert moves == pytest.approx([0.1355, 0.1355]), (
        f"the step after scale_lr(opt, 0.1) should be 0.05 * (0.9 * 1.9 + 1) = 0.1355 for both weights; it was {moves}"
    )
