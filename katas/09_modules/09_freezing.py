"""Frozen means frozen

To train only a new head on top of a finished backbone, you switch off the gradients of the backbone's parameters, with
`p.requires_grad_(False)` for each, or `module.requires_grad_(False)` for all in a module. The *assignment*
`module.requires_grad = False` hangs an attribute on the module, and freezes nothing; so does a typo. A frozen layer has
a gradient no more, but still passes gradients on to the layers in front of it.

Three things go on moving in a "frozen" model. First, an optimizer looks at `.grad`, not at requires_grad: a parameter
whose `.grad` is left from before goes on being updated. A `.grad` of zeros does not help, as momentum, weight decay and
Adam move a weight without any gradient. Only a parameter whose `.grad` is None is skipped.

Second, the running statistics of a batch norm are buffers: they move with each batch in training mode, and only eval()
stops them. Third, a backbone put in eval does not stay there: `model.train()`, called at the start of each epoch, sets
the mode of every module inside. So the model itself has to say no: it overrides `train(mode)`. That is the one method
to override: `model.eval()` is nothing but `model.train(False)`. And since people write `model = model.eval()`, it
returns the model.

What is asked here: a freeze that holds, and a model that keeps its backbone in eval.

About 25 minutes. Before it: accumulate_or_separate, batchnorm, predict_one.

https://docs.pytorch.org/docs/stable/notes/autograd.html#locally-disabling-gradient-computation
"""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def freeze_(module: nn.Module) -> None:
    """No parameter in `module` is trained any more, at any depth, until somebody switches it on again.

    An optimizer that has them already, whatever it remembers of them, must not move them either: so their `.grad` is
    None. In place: the parameters stay the same objects, with the same values, and gradients still pass through
    `module` to the layers in front of it. Which mode it is in afterwards is open.
    """
    raise NotImplementedError("switch the parameters off, and leave nothing for an optimizer")


class FineTuner(nn.Module):
    """A frozen `backbone` and a `head` that is trained. Both are modules in it (`self.backbone`, `self.head`)."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        """Takes both, no copies, and freezes the backbone. The head has no frozen parameters."""
        raise NotImplementedError("keep both, freeze the backbone")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The head on the features that the backbone computes, in any mode. `x` and the modes stay as they are."""
        raise NotImplementedError("the backbone first, then the head")

    def train(self, mode: bool = True) -> "FineTuner":
        """As of any module, but the backbone, with all that is in it, stays in eval in any case. Returns self."""
        raise NotImplementedError("set the mode, but not that of the backbone")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_NONE = "`.grad` is None before the first backward: nothing can be done to it"


def _freeze(module: nn.Module) -> None:
    with explain("freeze_ raised", {"NoneType": _NONE}):
        freeze_(module)


class _Scaled(nn.Module):
    """A parameter of its own beside a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.inner = nn.Parameter(torch.ones(2)), nn.Linear(3, 2)


def _mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Sequential(nn.Linear(5, 4), nn.Tanh()), nn.Linear(4, 2))


def _loss(model: nn.Module) -> torch.Tensor:
    x = torch.linspace(-1, 1, 18).view(6, 3)
    return (model(x) * torch.tensor([1.0, -2.0])).pow(2).sum()


def _backbone() -> nn.Sequential:
    """Its batch norm and its dropout sit two levels down."""
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)), nn.Tanh())


def _fine_tuner(backbone: nn.Module, head: nn.Module) -> Any:
    early = "something was assigned in FineTuner before super().__init__(), or that is not called at all"
    with explain(
        "FineTuner(backbone, head) raised", {"Module.__init__|_modules|_parameters": early, "NoneType": _NONE}
    ):
        model = FineTuner(backbone, head)
    assert isinstance(model, nn.Module), "FineTuner is no nn.Module any more: keep its base class"
    return model


def _switch(model: Any, name: str, *mode: bool) -> None:
    """model.train(), model.eval() or model.train(mode), which return the model."""
    case = f"model.{name}({', '.join(map(str, mode))})"
    signs = {"positional argument": "train has to take a mode: model.eval() calls it with False"}
    with explain(f"{case} raised", signs):
        out = getattr(model, name)(*mode)
    assert out is model, f"{case} returned {type(out).__name__}: it returns the model, for `model = model.eval()`"


@pytest.mark.myth(
    says="module.requires_grad = False freezes a module.",
    today="It sets an attribute on the module, and freezes nothing: call module.requires_grad_(False).",
)
def test_gradients_are_switched_off_on_parameters_not_on_the_module():
    for case, module in (
        ("a model that was never trained", _mlp()),
        ("a model that has gradients", _mlp()),
        ("a single layer", nn.Linear(3, 2)),
        ("a parameter beside a layer", _Scaled()),
        ("a convolution beside a batch norm", nn.Sequential(nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4))),
    ):
        if case == "a model that has gradients":
            _loss(module).backward()
        before, values = dict(module.named_parameters()), copy.deepcopy(module.state_dict())
        _freeze(module)
        after = dict(module.named_parameters())
        assert list(after) == list(before), f"{case} had the parameters {list(before)}, now it has {list(after)}"
        assert all(after[name] is p for name, p in before.items()), (
            f"{case} has new parameters: an optimizer, or a layer that shares them, still has the old ones"
        )
        trained = [name for name, p in after.items() if p.requires_grad]
        assert "requires_grad" not in vars(module), (
            "requires_grad = False set an attribute on the module, which means nothing there: the parameters have it"
        )
        typos = {name for p in after.values() for name in vars(p)}
        assert not typos, f"a parameter has no attribute {', '.join(typos)}: your assignment made one"
        assert not trained, f"{case}: still trained are {', '.join(trained)}"
        for name, value in module.state_dict().items():
            check_tensor(value, values[name], f"freezing is about training: {name} of {case} keeps its values")
        module.requires_grad_(True)
        on = all(p.requires_grad for p in module.parameters())
        assert on, "module.requires_grad_(True) does not switch the parameters on again"


@pytest.mark.myth(
    says="Freezing a layer stops the gradients for all layers in front of it.",
    today="It stops that layer's own gradients only; they pass through it to the layers before.",
)
def test_gradients_pass_through_a_frozen_layer():
    model = _mlp()
    free = copy.deepcopy(model)
    _loss(free).backward()
    _freeze(model[2])
    with explain("backward through a model with a frozen layer in the middle raised"):
        _loss(model).backward()
    for name, p in model.named_parameters():
        want = dict(free.named_parameters())[name].grad
        if name.startswith("2."):
            assert p.grad is None, f"{name} is frozen, and its .grad is {p.grad}, expected None"
        else:
            assert p.grad is not None, f"no gradient reached {name}: freezing a layer must not cut the graph"
            check_tensor(p.grad, want, f"the gradient of {name} is the same as without freezing", rtol=1e-5, atol=1e-6)


@pytest.mark.myth(
    says="A weight whose gradient is zero is not changed by the optimizer.",
    today="Momentum, weight decay and Adam go on moving it; only a weight whose .grad is None is skipped.",
)
@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_an_optimizer_skips_none_but_not_zero(kind):
    model = _mlp()
    if kind == "SGD":
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.1)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        _loss(model).backward()
        optimizer.step()
    frozen = model[:3]
    frozen[0].bias.requires_grad_(False)  # switched off before, by somebody who left its .grad
    _freeze(frozen)
    before, head = copy.deepcopy(frozen.state_dict()), model[3].weight.detach().clone()
    grads = [p.grad for p in frozen.parameters() if p.grad is not None]
    left = (
        f" Its .grad was left at {'zero' if not any(g.any() for g in grads) else 'that of the last step'}, "
        f"and {kind} with its memory and its decay skips only None."
    )
    for _ in range(3):
        with explain("training the layer behind the frozen ones raised"):
            optimizer.zero_grad(set_to_none=False)
            _loss(model).backward()
            optimizer.step()
    for name, value in frozen.state_dict().items():
        check_tensor(value, before[name], f"{name} was frozen, and {kind} moved it.{left if grads else ''}")
    assert not torch.equal(model[3].weight.detach(), head), "the layer that is not frozen has to learn on"


def test_train_reaches_the_head_and_not_the_backbone():
    backbone, head = _backbone(), nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.1))
    model = _fine_tuner(backbone, head)
    for name, *mode in (("train",), ("eval",), ("train", True), ("train", False), ("train",)):
        case, training = f"after model.{name}({', '.join(map(str, mode))})", name == "train" and mode != [False]
        _switch(model, name, *mode)
        in_training = [n or "the backbone itself" for n, m in backbone.named_modules() if m.training]
        assert not in_training, f"{case} these of the backbone are in training mode: {', '.join(in_training)}"
        for part in head.modules():
            assert part.training is training, f"{case} {type(part).__name__} of the head has training={part.training}"
        if not training:
            assert not model.training, f"{case} the model itself still has training=True: train sets its flag, too"
        assert model.training is training, f"{case} the model itself has training=False: train sets its flag, too"


@pytest.mark.myth(
    says="A layer whose parameters are frozen does not change any more.",
    today="The running statistics of a batch norm are no parameters: they move until it is in eval mode.",
)
def test_running_statistics_move_unless_the_layer_is_in_eval():
    backbone, head = _backbone(), nn.Linear(4, 2)
    norm = copy.deepcopy(backbone[1][0]).requires_grad_(False)
    norm(torch.randn(8, 4))
    assert norm.running_mean.any(), "a frozen batch norm in training mode moves its statistics"
    model = _fine_tuner(backbone, head)
    for epoch in range(3):
        _switch(model, "train")
        with explain("forward of a FineTuner raised"):
            model(torch.randn(8, 3) + 2)
        moved = bool(backbone[1][0].running_mean.any())
        assert not moved, f"epoch {epoch}: the batch norm of the backbone moved its statistics; it was not in eval"
        _switch(model, "eval")


def test_only_the_head_is_trained():
    backbone, head = _backbone(), nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    with torch.no_grad():
        head[2].bias.copy_(torch.tensor([2.0, -2.0]))
    copies = copy.deepcopy(backbone).eval(), copy.deepcopy(head)
    model = _fine_tuner(backbone, head)
    inside = {id(p) for p in model.parameters()}
    for name, part in (("backbone", backbone), ("head", head)):
        assert all(id(p) in inside for p in part.parameters()), (
            f"the parameters of the {name} are not among the model's: it has to be an attribute, and no copy"
        )
    still = [name for name, p in backbone.named_parameters() if p.requires_grad]
    assert not still, f"the backbone is to be frozen, but still trained are {', '.join(still)}"
    off = [name for name, p in head.named_parameters() if not p.requires_grad]
    assert not off, f"the head is to be trained, but switched off are {', '.join(off)}"

    _switch(model, "train")
    before = [copy.deepcopy(part.state_dict()) for part in (backbone, head)]
    x = torch.linspace(-1, 1, 15).view(5, 3)
    want = copies[1](copies[0](x)).detach()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for step in range(3):
        optimizer.zero_grad()
        signs = {"does not require grad": "the answer hangs on no graph: the head cannot learn"}
        with explain("forward or backward of a FineTuner raised", signs):
            with unchanged("forward changes neither x nor the model", x=x, model=model):
                y = model(x)
            if step == 0:
                check_tensor(y.detach(), want, "the head's answer to the backbone's features", rtol=1e-5)
            (y * torch.tensor([1.0, -2.0])).sum().backward()
        optimizer.step()
    for name, value in backbone.state_dict().items():
        check_tensor(value, before[0][name], f"{name} of the backbone changed in three steps of training")
    moved = all(not torch.equal(value, before[1][name]) for name, value in head.state_dict().items())
    assert moved, "three steps of training left something in the head as it was"
    _switch(model, "eval")
    want = copy.deepcopy(head)(copies[0](x)).detach()
    with explain("forward of a FineTuner raised in eval, on one row"):
        y = model(x[:1])
    check_tensor(y.detach(), want[:1], "in eval, too: the head's answer to the backbone's features", rtol=1e-5)
