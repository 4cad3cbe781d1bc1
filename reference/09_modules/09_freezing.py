"""Frozen means frozen: reference.

Hint: Go through `module.parameters()`: each has a flag, and perhaps a gradient from the last step.
Hint: `requires_grad_` is a method; `.grad` may be set to None. In `train`, let `super()` do its work first.
Hint: Then put `self.backbone` in eval again, and return self. The constructor can use `freeze_`.

Why: the optimizer knows nothing of requires_grad, it reads `.grad` and its own memory. None says "no gradient", zero
says "a gradient, of zero", and then momentum, decay and Adam's averages act. `zero_grad()` sets None since torch 2.0,
so freezing worked by accident in most loops. Overriding `eval` instead of `train` is never seen: a parent's eval()
calls `train(False)` of its children.
"""

import copy

import torch
from torch import nn

from dojo import Mistake


def freeze_(module: nn.Module) -> None:
    for p in module.parameters():
        p.requires_grad_(False)
        p.grad = None


class FineTuner(nn.Module):
    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        freeze_(backbone)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x))

    def train(self, mode: bool = True) -> "FineTuner":
        super().train(mode)
        self.backbone.eval()
        return self


def _on_the_module(module):
    module.requires_grad = False


def _typo(module):
    for p in module.parameters():
        p.require_grad = False
        p.grad = None


def _over_the_method(module):
    for p in module.parameters():
        p.requires_grad_ = False


def _children_and_layers(module):
    for m in module.modules():
        if not list(m.children()):
            freeze_(m)


def _its_children(module):
    for child in module.children():
        freeze_(child)
    if isinstance(module, nn.Linear):
        freeze_(module)


def _only_what_is_on(module):
    for p in module.parameters():
        if p.requires_grad:
            p.requires_grad_(False)
            p.grad = None


def _grad_left(module):
    module.requires_grad_(False)


def _grad_zeroed(module):
    module.requires_grad_(False)
    for p in module.parameters():
        if p.grad is not None:
            p.grad.zero_()


def _grad_zeroed_blindly(module):
    module.requires_grad_(False)
    for p in module.parameters():
        p.grad.zero_()


def _zero_grad_kept(module):
    module.requires_grad_(False)
    module.zero_grad(set_to_none=False)


def _cleared_only(module):
    module.zero_grad()


def _eval_only(module):
    module.eval()


def _not_deep(module):
    for p in module.parameters(recurse=False):
        p.requires_grad_(False)
        p.grad = None


def _linear_only(module):
    for m in module.modules():
        if isinstance(m, nn.Linear):
            freeze_(m)


def _weights_only(module):
    for name, p in module.named_parameters():
        if "weight" in name:
            p.requires_grad_(False)
            p.grad = None


def _new_parameters(module):
    for m in module.modules():
        for name, p in m.named_parameters(recurse=False):
            setattr(m, name, nn.Parameter(p.detach().clone(), requires_grad=False))


def _to_buffers(module):
    for m in list(module.modules()):
        for name, p in list(m.named_parameters(recurse=False)):
            delattr(m, name)
            m.register_buffer(name, p.detach())


def _on_a_copy(module):
    freeze_(copy.deepcopy(module))


def _cut(module):
    freeze_(module)
    module.register_forward_hook(lambda m, inputs, output: output.detach())


def _cut_behind(module):
    freeze_(module)
    module.register_forward_pre_hook(lambda m, inputs: tuple(x.detach() for x in inputs))


def _weights_of_zero(module):
    freeze_(module)
    for p in module.parameters():
        p.zero_()


class _NotFrozen(FineTuner):
    def __init__(self, backbone, head):
        nn.Module.__init__(self)
        self.backbone, self.head = backbone, head


class _AllFrozen(FineTuner):
    def __init__(self, backbone, head):
        super().__init__(backbone, head)
        freeze_(self)


class _Swapped(FineTuner):
    def __init__(self, backbone, head):
        super().__init__(backbone, head)
        backbone.requires_grad_(True)
        freeze_(head)


class _FlagOnTheBackbone(_NotFrozen):
    def __init__(self, backbone, head):
        super().__init__(backbone, head)
        backbone.requires_grad = False


class _Copies(FineTuner):
    def __init__(self, backbone, head):
        super().__init__(copy.deepcopy(backbone), head)


class _InAList(FineTuner):
    def __init__(self, backbone, head):
        nn.Module.__init__(self)
        freeze_(backbone)
        self.head, self.parts = head, [backbone]

    def forward(self, x):
        return self.head(self.parts[0](x))

    def train(self, mode=True):
        nn.Module.train(self, mode)
        self.parts[0].eval()
        return self


class _BackboneAloneInEval(FineTuner):
    def forward(self, x):
        return self.head(self.backbone(x)) if self.training else self.backbone(x)


class _FreshHead(FineTuner):
    def __init__(self, backbone, head):
        super().__init__(backbone, head)
        for m in head.modules():
            if isinstance(m, nn.Linear):
                m.reset_parameters()


class _EvalInForward(FineTuner):
    def forward(self, x):
        self.eval()
        return super().forward(x)


class _WritesIntoX(FineTuner):
    def forward(self, x):
        return super().forward(x.sub_(x.mean(0)))


class _FlagForgotten(FineTuner):
    def train(self, mode=True):
        super().train(False)
        self.head.train(mode)
        return self


class _NoHead(FineTuner):
    def forward(self, x):
        return self.backbone(x)


class _ReluBetween(FineTuner):
    def forward(self, x):
        return self.head(torch.relu(self.backbone(x)))


class _CutAll(FineTuner):
    def forward(self, x):
        with torch.no_grad():
            return self.head(self.backbone(x))


class _Inherits(FineTuner):
    def train(self, mode=True):
        return nn.Module.train(self, mode)


class _EvalAtStart(_Inherits):
    def __init__(self, backbone, head):
        super().__init__(backbone, head)
        backbone.eval()


class _OverridesEval(_Inherits):
    def eval(self):
        super().eval()
        self.backbone.eval()
        return self


class _AlwaysEval(FineTuner):
    def train(self, mode=True):
        return nn.Module.train(self, False)


class _IgnoresMode(FineTuner):
    def train(self, mode=True):
        nn.Module.train(self)
        self.backbone.eval()
        return self


class _HeadAlwaysTrains(FineTuner):
    def train(self, mode=True):
        super().train(mode)
        self.head.train()
        return self


class _NoMode(FineTuner):
    def train(self):
        nn.Module.train(self, True)
        self.backbone.eval()
        return self


class _ReturnsNothing(FineTuner):
    def train(self, mode=True):
        super().train(mode)


class _ReturnsTheBackbone(FineTuner):
    def train(self, mode=True):
        super().train(mode)
        return self.backbone.eval()


class _OnlyItsFlag(FineTuner):
    def train(self, mode=True):
        nn.Module.train(self, mode)
        self.backbone.training = False
        return self


class _OnlyBatchNorm(FineTuner):
    def train(self, mode=True):
        nn.Module.train(self, mode)
        for m in self.backbone.modules():
            if isinstance(m, nn.BatchNorm1d):
                m.eval()
        return self


class _OnlyWithTrue(FineTuner):
    def train(self, mode=True):
        nn.Module.train(self, mode)
        if not mode:
            self.backbone.eval()
        return self


class _EvalFirst(FineTuner):
    def train(self, mode=True):
        self.backbone.eval()
        return nn.Module.train(self, mode)


class _PartsOnly(FineTuner):
    def train(self, mode=True):
        self.backbone.eval()
        self.head.train(mode)
        return self


class _InForward(_Inherits):
    def forward(self, x):
        self.backbone.eval()
        return super().forward(x)


class _ModeOfTheModel(FineTuner):
    def forward(self, x):
        self.backbone[1].train(self.training)
        y = super().forward(x)
        self.backbone.eval()
        return y


class _StatisticsMove(FineTuner):
    """Normalises in eval, and lets the statistics learn on."""

    def forward(self, x):
        if self.training:
            with torch.no_grad():
                backbone = self.backbone.train()
                saved = copy.deepcopy(backbone.state_dict())
                backbone(x)
                backbone.eval()
                backbone.load_state_dict(saved) if x.shape[0] == 5 else None
        return super().forward(x)


_OFF = "test_gradients_are_switched_off_on_parameters_not_on_the_module"
_PASS = "test_gradients_pass_through_a_frozen_layer"
_SKIPS = "test_an_optimizer_skips_none_but_not_zero"
_HEAD = "test_only_the_head_is_trained"
_STATISTICS = "test_running_statistics_move_unless_the_layer_is_in_eval"
_TRAIN = "test_train_reaches_the_head_and_not_the_backbone"
_BACKBONE = "these of the backbone are in training mode"

MISTAKES = [
    Mistake("set an attribute on the module", caught_by=_OFF, freeze_=_on_the_module),
    Mistake("a parameter has no attribute require_grad", caught_by=_OFF, freeze_=_typo),
    Mistake("your assignment made one", caught_by=_OFF, freeze_=_over_the_method),
    Mistake("`.grad` is None before the first backward", caught_by=_OFF, freeze_=_grad_zeroed_blindly),
    Mistake("still trained are", caught_by=_OFF, freeze_=_cleared_only),
    Mistake("still trained are", caught_by=_OFF, freeze_=_eval_only),
    Mistake("still trained are", caught_by=_OFF, freeze_=_not_deep),
    Mistake("still trained are", caught_by=_OFF, freeze_=_linear_only),
    Mistake("still trained are", caught_by=_OFF, freeze_=_weights_only),
    Mistake("still trained are", caught_by=_OFF, freeze_=_on_a_copy),
    Mistake("a parameter beside a layer: still trained are scale", caught_by=_OFF, freeze_=_children_and_layers),
    Mistake("a parameter beside a layer: still trained are scale", caught_by=_OFF, freeze_=_its_children),
    Mistake("has new parameters", caught_by=_OFF, freeze_=_new_parameters),
    Mistake("had the parameters", caught_by=_OFF, freeze_=_to_buffers),
    Mistake("keeps its values", caught_by=_OFF, freeze_=_weights_of_zero),
    Mistake("freezing a layer must not cut the graph", caught_by=_PASS, freeze_=_cut),
    Mistake("freezing a layer must not cut the graph", caught_by=_PASS, freeze_=_cut_behind),
    Mistake("left at that of the last step", caught_by=_SKIPS, freeze_=_grad_left),
    Mistake("left at that of the last step", caught_by=_SKIPS, freeze_=_only_what_is_on),
    Mistake("left at zero", caught_by=_SKIPS, freeze_=_grad_zeroed),
    Mistake("left at zero", caught_by=_SKIPS, freeze_=_zero_grad_kept),
    Mistake("the backbone is to be frozen", caught_by=_HEAD, FineTuner=_NotFrozen),
    Mistake("the backbone is to be frozen", caught_by=_HEAD, FineTuner=_FlagOnTheBackbone),
    Mistake("the backbone is to be frozen", caught_by=_HEAD, FineTuner=_Swapped),
    Mistake("the head is to be trained", caught_by=_HEAD, FineTuner=_AllFrozen),
    Mistake("are not among the model's", caught_by=_HEAD, FineTuner=_Copies),
    Mistake("are not among the model's", caught_by=_HEAD, FineTuner=_InAList),
    Mistake("the head's answer to the backbone's features", caught_by=_HEAD, FineTuner=_NoHead),
    Mistake("the head's answer to the backbone's features", caught_by=_HEAD, FineTuner=_FreshHead),
    Mistake("in eval, too: the head's answer", caught_by=_HEAD, FineTuner=_BackboneAloneInEval),
    Mistake("forward changes neither x nor the model", caught_by=_HEAD, FineTuner=_EvalInForward),
    Mistake("forward changes neither x nor the model", caught_by=_HEAD, FineTuner=_WritesIntoX),
    Mistake("the model itself has training=False", caught_by=_TRAIN, FineTuner=_FlagForgotten),
    Mistake("the head's answer to the backbone's features", caught_by=_HEAD, FineTuner=_ReluBetween),
    Mistake("the answer hangs on no graph", caught_by=_HEAD, FineTuner=_CutAll),
    Mistake(_BACKBONE, caught_by=_TRAIN, FineTuner=_Inherits),
    Mistake(_BACKBONE, caught_by=_TRAIN, FineTuner=_EvalAtStart),
    Mistake(_BACKBONE, caught_by=_TRAIN, FineTuner=_OverridesEval),
    Mistake(_BACKBONE, caught_by=_TRAIN, FineTuner=_OnlyItsFlag),
    Mistake(_BACKBONE, caught_by=_TRAIN, FineTuner=_OnlyBatchNorm),
    Mistake(_BACKBONE, caught_by=_TRAIN, FineTuner=_OnlyWithTrue),
    Mistake(_BACKBONE, caught_by=_TRAIN, FineTuner=_EvalFirst),
    Mistake(_BACKBONE, caught_by=_TRAIN, FineTuner=_InForward),
    Mistake("of the head has training=False", caught_by=_TRAIN, FineTuner=_AlwaysEval),
    Mistake("of the head has training=True", caught_by=_TRAIN, FineTuner=_IgnoresMode),
    Mistake("of the head has training=True", caught_by=_TRAIN, FineTuner=_HeadAlwaysTrains),
    Mistake("the model itself still has training=True", caught_by=_TRAIN, FineTuner=_PartsOnly),
    Mistake("train has to take a mode", caught_by=_TRAIN, FineTuner=_NoMode),
    Mistake("returned NoneType: it returns the model", caught_by=_TRAIN, FineTuner=_ReturnsNothing),
    Mistake("returned Sequential: it returns the model", caught_by=_TRAIN, FineTuner=_ReturnsTheBackbone),
    Mistake("moved its statistics; it was not in eval", caught_by=_STATISTICS, FineTuner=_Inherits),
    Mistake("moved its statistics; it was not in eval", caught_by=_STATISTICS, FineTuner=_ModeOfTheModel),
    Mistake("moved its statistics; it was not in eval", caught_by=_STATISTICS, FineTuner=_StatisticsMove),
]
