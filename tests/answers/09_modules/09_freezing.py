"""Answers that people give to freezing, right ones and wrong ones."""

import copy

import torch
from torch import nn

from dojo import Mistake


def _in_one_call(module):
    module.zero_grad(set_to_none=True)
    return module.requires_grad_(False)


def _by_flag(module):
    for _, p in module.named_parameters():
        p.requires_grad = False
        p.grad = None
    module.eval()
    return module


def _by_apply(module):
    def off(m):
        for p in m.parameters(recurse=False):
            p.requires_grad = False
            del p.grad

    module.apply(off)


class _Tuner(nn.Module):
    def __init__(self, backbone, head):
        super().__init__()
        self.backbone = backbone
        self.head = head
        for p in self.backbone.parameters():
            p.requires_grad = False
        self.train()

    def forward(self, x):
        with torch.no_grad():
            features = self.backbone(x)
        return self.head(features)

    def train(self, mode=True):
        super().train(mode)
        self.backbone.train(False)
        return self


class _Flags(nn.Module):
    def __init__(self, backbone, head):
        super().__init__()
        self.backbone, self.head = backbone.eval(), head
        _in_one_call(self.backbone)

    def forward(self, x):
        return self.head(self.backbone(x).detach())

    def train(self, mode: bool = True):
        self.training = mode
        for name, child in self.named_children():
            child.train(mode and name != "backbone")
        return self


class _Sequence(nn.Sequential):
    def __init__(self, backbone, head):
        super().__init__()
        self.add_module("backbone", backbone)
        self.add_module("head", head)
        _by_flag(backbone)

    def train(self, mode=True):
        out = super().train(mode)
        for m in self.backbone.modules():
            m.training = False
        return out


def _recursive(module):
    for child in module.children():
        _recursive(child)
    for p in module.parameters(recurse=False):
        p.requires_grad = False
        p.grad = None


class _OldStyle(nn.Module):
    def __init__(self, backbone, head):
        super(_OldStyle, self).__init__()
        self.backbone = backbone
        self.head = head
        _recursive(self.backbone)

    def forward(self, x):
        return self.head(self.backbone(x).data)

    def train(self, mode=True):
        super(_OldStyle, self).train(mode)
        for m in self.backbone.modules():
            m.training = False
        return self

    def eval(self):
        return self.train(False)


RIGHT = [
    dict(freeze_=_recursive, FineTuner=_OldStyle),
    dict(freeze_=_in_one_call, FineTuner=_Tuner),
    dict(freeze_=_by_flag, FineTuner=_Flags),
    dict(freeze_=_by_apply, FineTuner=_Sequence),
]


def _set_attribute(module):
    for m in module.modules():
        m.requires_grad = False


def _set_on_parameters(module):
    for p in module.parameters():
        p.requires_gradient = False


def _only_flags(module):
    for p in module.parameters():
        p.requires_grad = False


def _times_zero(module):
    for p in module.parameters():
        p.requires_grad = False
        if p.grad is not None:
            p.grad *= 0


def _zeros_like(module):
    for p in module.parameters():
        p.requires_grad_(False)
        p.grad = torch.zeros_like(p)


def _blind(module):
    for p in module.parameters():
        p.grad.detach_().zero_()
        p.requires_grad_(False)


def _children_only(module):
    for child in module.children():
        for p in child.parameters(recurse=False):
            p.requires_grad_(False)
            p.grad = None


def _biases_forgotten(module):
    for m in module.modules():
        if hasattr(m, "weight"):
            m.weight.requires_grad_(False)
            m.weight.grad = None


def _detached(module):
    for m in module.modules():
        for name, p in list(m._parameters.items()):
            m._parameters[name] = nn.Parameter(p.detach(), requires_grad=False)


def _data(module):
    for m in module.modules():
        for name, p in list(m.named_parameters(recurse=False)):
            del m._parameters[name]
            setattr(m, name, p.data)


def _hooked(module):
    for p in module.parameters():
        if p.requires_grad:
            p.register_hook(torch.zeros_like)


def _no_grad_forward(module):
    _in_one_call(module)
    forward = module.forward
    module.forward = torch.no_grad()(forward)


class _Wrong(_Tuner):
    def __init__(self, backbone, head):
        nn.Module.__init__(self)
        self.backbone, self.head = backbone, head
        _in_one_call(backbone)

    def forward(self, x):
        return self.head(self.backbone(x))


class _Open(_Wrong):
    def __init__(self, backbone, head):
        super().__init__(backbone, head)
        self.requires_grad_(True)


class _HeadOff(_Wrong):
    def __init__(self, backbone, head):
        super().__init__(backbone, head)
        self.requires_grad_(False)


class _Copied(_Wrong):
    def __init__(self, backbone, head):
        super().__init__(backbone, copy.deepcopy(head))


class _Order(_Wrong):
    def forward(self, x):
        return self.backbone(self.head(x)) if x.shape[1] == 4 else self.head(self.backbone(x) ** 2)


class _NoTrain(_Wrong):
    train = nn.Module.train


class _NoTrainButEval(_Wrong):
    def __init__(self, backbone, head):
        super().__init__(backbone, head)
        self.backbone.eval()

    train = nn.Module.train


class _BeforeSuper(_Wrong):
    def train(self, mode=True):
        self.backbone.training = False
        nn.Module.train(self, mode)
        return self


class _FlagOnly(_Wrong):
    def train(self, mode=True):
        nn.Module.train(self, mode)
        for child in self.backbone.children():
            child.training = False
        self.backbone.training = False
        return self


class _EvalsAll(_Wrong):
    def train(self, mode=True):
        for m in self.modules():
            m.training = False
        return self


class _AlwaysTrue(_Wrong):
    def train(self, mode=True):
        nn.Module.train(self, True)
        self.backbone.eval()
        return self


class _OnlyParts(_Wrong):
    def train(self, mode=True):
        self.head.train(mode)
        self.backbone.train(False)
        return self


class _NoReturn(_Wrong):
    def train(self, mode=True):
        nn.Module.train(self, mode)
        self.backbone.eval()


class _NoArgument(_Wrong):
    def train(self):
        nn.Module.train(self)
        self.backbone.eval()
        return self


class _WakesUp(_Wrong):
    def forward(self, x):
        for m in self.backbone.modules():
            m.training = self.training
        return super().forward(x)


def _leaves_only(module):
    for m in module.modules():
        if len(list(m.children())) == 0:
            _in_one_call(m)


class _OnlyTraining(_Tuner):
    def forward(self, x):
        return super().forward(x) if self.training else self.backbone(x)


class _Normalises(_Tuner):
    def forward(self, x):
        x /= x.norm()
        return super().forward(x)


WRONG = [
    Mistake("a parameter beside a layer: still trained are scale", caught_by="", freeze_=_leaves_only),
    Mistake("in eval, too: the head's answer", caught_by="", FineTuner=_OnlyTraining),
    Mistake("forward changes neither x nor the model", caught_by="", FineTuner=_Normalises),
    Mistake("set an attribute on the module", caught_by="", freeze_=_set_attribute),
    Mistake("your assignment made one", caught_by="", freeze_=_set_on_parameters),
    Mistake("left at that of the last step", caught_by="", freeze_=_only_flags),
    Mistake("left at zero", caught_by="", freeze_=_times_zero),
    Mistake("left at zero", caught_by="", freeze_=_zeros_like),
    Mistake("`.grad` is None before the first backward", caught_by="", freeze_=_blind),
    Mistake("still trained are", caught_by="", freeze_=_children_only),
    Mistake("still trained are", caught_by="", freeze_=_biases_forgotten),
    Mistake("still trained are", caught_by="", freeze_=_hooked),
    Mistake("has new parameters", caught_by="", freeze_=_detached),
    Mistake("had the parameters", caught_by="", freeze_=_data),
    Mistake("freezing a layer must not cut the graph", caught_by="", freeze_=_no_grad_forward),
    Mistake("the backbone is to be frozen", caught_by="", FineTuner=_Open),
    Mistake("the head is to be trained", caught_by="", FineTuner=_HeadOff),
    Mistake("are not among the model's", caught_by="", FineTuner=_Copied),
    Mistake("the head's answer to the backbone's features", caught_by="", FineTuner=_Order),
    Mistake("these of the backbone are in training mode", caught_by="", FineTuner=_NoTrain),
    Mistake("these of the backbone are in training mode", caught_by="", FineTuner=_NoTrainButEval),
    Mistake("these of the backbone are in training mode", caught_by="", FineTuner=_BeforeSuper),
    Mistake("these of the backbone are in training mode", caught_by="", FineTuner=_FlagOnly),
    Mistake("of the head has training=False", caught_by="", FineTuner=_EvalsAll),
    Mistake("of the head has training=True", caught_by="", FineTuner=_AlwaysTrue),
    Mistake("the model itself still has training=True", caught_by="", FineTuner=_OnlyParts),
    Mistake("returned NoneType: it returns the model", caught_by="", FineTuner=_NoReturn),
    Mistake("train has to take a mode", caught_by="", FineTuner=_NoArgument),
    Mistake("moved its statistics; it was not in eval", caught_by="", FineTuner=_WakesUp),
]
