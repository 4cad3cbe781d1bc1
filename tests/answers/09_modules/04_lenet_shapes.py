"""Answers that people give to lenet_shapes, right ones and wrong ones."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


class _Modules(nn.Module):
    """Every step is a module; one image is run to see the number of features."""

    def __init__(self, size, k):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, kernel_size=k), nn.Conv2d(6, 16, kernel_size=(k, k))
        self.pool, self.relu, self.flatten = nn.MaxPool2d(2, 2), nn.ReLU(), nn.Flatten()
        with torch.no_grad():
            features = self._features(torch.zeros(1, 1, size, size)).shape[1]
        self.fc1, self.fc2, self.fc3 = nn.Linear(features, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def _features(self, x):
        for conv in (self.conv1, self.conv2):
            x = self.relu(self.pool(conv(x)))
        return self.flatten(x)

    def forward(self, x):
        x = self.relu(self.fc1(self._features(x)))
        return self.fc3(self.relu(self.fc2(x)))


class _LazyWithARun(_Modules):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.fc1 = nn.LazyLinear(120)
        with torch.no_grad():
            self(torch.zeros(2, 1, size, size))


class _Views(nn.Module):
    def __init__(self, size, k):
        super().__init__()
        a = (size - k + 1) // 2
        b = (a - k + 1) // 2
        self.fc1 = nn.Linear(16 * b**2, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)
        self.conv1 = nn.Conv2d(1, 6, k)
        self.conv2 = nn.Conv2d(6, 16, k)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x), inplace=True), (2, 2))
        x = F.max_pool2d(F.relu(self.conv2(x)), kernel_size=2, stride=2)
        x = x.view(-1, self.num_flat_features(x))
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))

    def num_flat_features(self, x):
        return math.prod(x.shape[1:])


def _with_floor(i, k, s=1, p=0, d=1):
    return math.floor((i + 2 * p - d * (k - 1) - 1) / s + 1)


def _by_counting(i, k, s=1, p=0, d=1):
    span = d * (k - 1) + 1
    return len([start for start in range(-p, i + p, s) if start + span <= i + p])


def _by_torch(i, k, s=1, p=0, d=1):
    return nn.Conv1d(1, 1, k, stride=s, padding=p, dilation=d)(torch.zeros(1, 1, i)).size(-1)


def _truncated(i, k, s=1, p=0, d=1):
    return int((i + 2 * p - d * (k - 1) - 1) / s) + 1


class _Of1998(_Modules):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.relu, self.pool = nn.Tanh(), nn.AvgPool2d(2)


class _PoolsFirst(_Modules):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.pool = nn.Sequential(nn.MaxPool2d(2), nn.ReLU())


class _RefusesOtherSizes(_Views):
    """Registered twice: under its name, and in a chain."""

    def __init__(self, size, k):
        super(_RefusesOtherSizes, self).__init__(size, k)
        self.size = size
        convs = [part for conv in (self.conv1, self.conv2) for part in (conv, nn.ReLU(), nn.MaxPool2d(2))]
        self.net = nn.Sequential(*convs, nn.Flatten(), self.fc1, nn.ReLU(), self.fc2, nn.ReLU(), self.fc3)

    def forward(self, x):
        if x.shape[-2:] != (self.size, self.size):
            raise ValueError(f"images of {self.size} pixels, please")
        return self.net(x)


RIGHT = [
    {"LeNet": _RefusesOtherSizes},
    {"LeNet": _Of1998},
    {"LeNet": _PoolsFirst},
    {"conv_out": _with_floor, "LeNet": _Modules},
    {"conv_out": _by_counting, "LeNet": _Views},
    {"conv_out": _by_torch, "LeNet": _LazyWithARun},
    {"conv_out": _truncated},
]


class _Unflattened(_Views):
    def num_flat_features(self, x):
        return self.fc1.in_features


class _ViewOne(_Modules):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.flatten = nn.Flatten(0)

    def _features(self, x):
        return super()._features(x)[None]


class _TutorialOnly(_Views):
    def __init__(self, size, k):
        super().__init__(32, 3)


class _Padding(_Views):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.conv1 = nn.Conv2d(1, 6, k, padding=k // 2)
        self.conv2 = nn.Conv2d(6, 16, k, padding=k // 2)
        with torch.no_grad():
            x = F.max_pool2d(self.conv2(F.max_pool2d(self.conv1(torch.zeros(1, 1, size, size)), 2)), 2)
        self.fc1 = nn.Linear(x.numel(), 120)


class _OnePool(_Modules):
    def _features(self, x):
        return self.flatten(self.pool(self.relu(self.conv2(self.relu(self.conv1(x))))))


class _AnySize(_Modules):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.flatten = nn.Sequential(nn.AdaptiveMaxPool2d(int((self.fc1.in_features / 16) ** 0.5)), nn.Flatten())


class _Probabilities(_Modules):
    def forward(self, x):
        return nn.Softmax(dim=-1)(super().forward(x))


class _LogProbabilities(_Views):
    def forward(self, x):
        return super().forward(x).log_softmax(-1)


class _Straight(_Modules):
    def forward(self, x):
        return self.fc3(self.fc2(self.fc1(self._features(x))))


class _OneActivation(_Modules):
    def forward(self, x):
        x = self.pool(self.conv2(self.pool(self.conv1(x))))
        return self.fc3(torch.relu(self.fc2(self.fc1(self.flatten(x)))))


class _Clipped(_Views):
    def forward(self, x):
        return F.relu(super().forward(x))


class _Ceil(_Modules):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        with torch.no_grad():
            self.fc1 = nn.Linear(self._features(torch.zeros(1, 1, size, size)).shape[1], 120)


class _Centered(_Modules):
    def forward(self, x):
        out = super().forward(x - x.mean() if len(x) == 5 else x)
        return out


class _NoBias(_Views):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.fc3 = nn.Linear(84, 10, bias=False)


_ORDER = "conv1, ReLU, pool, conv2, ReLU, pool, one row an image"


class _Relu6(_Views):
    def forward(self, x):
        x = F.max_pool2d(F.relu6(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu6(self.conv2(x)), 2).flatten(1)
        return self.fc3(F.relu6(self.fc2(F.relu6(self.fc1(x)))))


class _TwoPoolsAtOnce(_Views):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.fc1 = nn.Linear(16 * ((size - k + 1) // 4 - k // 2) ** 2, 120)


class _PadsTheRow(_Views):
    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv2(F.max_pool2d(F.relu(self.conv1(x)), 2))), 2).flatten(1)
        x = F.pad(x, (0, self.fc1.in_features - x.shape[1]))
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


WRONG = [
    Mistake(_ORDER, caught_by="", LeNet=_Relu6),
    Mistake("fc1 of LeNet(30, 4) takes 400 numbers", caught_by="", LeNet=_TwoPoolsAtOnce),
    Mistake("that must be an error", caught_by="", LeNet=_PadsTheRow),
    Mistake("made 100 rows of 144 images of 28 pixels", caught_by="", LeNet=_Unflattened),
    Mistake("the batch dimension is lost", caught_by="", LeNet=_ViewOne),
    Mistake("fc1 of LeNet(32, 5) takes 400 numbers", caught_by="", LeNet=_TutorialOnly),
    Mistake("fc1 of LeNet(32, 3) takes 576 numbers", caught_by="", LeNet=_Padding),
    Mistake("fc1 of LeNet(32, 3) takes 576 numbers", caught_by="", LeNet=_OnePool),
    Mistake("fc1 of LeNet(29, 3) takes 400 numbers", caught_by="", LeNet=_Ceil),
    Mistake("five layers have 10 parameters", caught_by="", LeNet=_NoBias),
    Mistake("that must be an error", caught_by="", LeNet=_AnySize),
    Mistake("forward ends with a softmax", caught_by="", LeNet=_Probabilities),
    Mistake("forward ends with a log_softmax", caught_by="", LeNet=_LogProbabilities),
    Mistake("there is a ReLU after fc3", caught_by="", LeNet=_Clipped),
    Mistake(_ORDER, caught_by="", LeNet=_Straight),
    Mistake(_ORDER, caught_by="", LeNet=_OneActivation),
    Mistake("the stride is not counted", caught_by="", conv_out=lambda i, k, s=1, p=0, d=1: i - d * (k - 1) + p * 2),
    Mistake("gives what it gives among five", caught_by="", LeNet=_Centered),
    Mistake(
        "the dilation is not counted",
        caught_by="",
        conv_out=lambda i, k, s=1, p=0, d=1: math.floor((i - k + 2 * p) / s + 1),
    ),
    Mistake(
        "the padding is counted once",
        caught_by="",
        conv_out=lambda i, k, s=1, p=0, d=1: (i + p - 1 - d * (k - 1) + s) // s,
    ),
    Mistake(
        "it is rounded up",
        caught_by="",
        conv_out=lambda i, k, s=1, p=0, d=1: -(-(i + 2 * p - d * (k - 1) - 1 + s) // s),
    ),
    Mistake(
        "sizes are of type int", caught_by="", conv_out=lambda i, k, s=1, p=0, d=1: float(_by_counting(i, k, s, p, d))
    ),
    Mistake("nn.Conv2d gives", caught_by="", conv_out=lambda i, k, s=1, p=0, d=1: (i + 2 * p - d * (k - 1) + 1) // s),
    Mistake(
        "nn.Conv2d gives",
        caught_by="",
        conv_out=lambda i, k, s=1, p=0, d=1: (
            F.conv1d(torch.zeros(1, 1, i), torch.zeros(1, 1, k), padding=p).shape[2] // s
        ),
    ),
]
