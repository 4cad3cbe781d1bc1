"""How many numbers come out of a convolution: reference.

Hint: Follow one image: which size has it after conv1, after the first pooling, after conv2, after the second?
Hint: `//` rounds down; `nn.Conv2d`, `nn.Linear`, `F.max_pool2d`, `torch.relu`, `Tensor.flatten(1)`.
Hint: Call the formula four times, twice for a kernel and twice for a pooling of 2 with stride 2; fc1 takes 16 channels
times that size times that size.

Why: the formula counts starting positions: the first one, and one more for each whole step that is left. Where a size
is asked in many places, compute it in one. `flatten(1)` states what must stay, the batch, and lets the features come
out as they are; the Linear then checks their number. `view(-1, features)` states the features and lets the batch come
out as it is, and nobody checks that. (Or run one empty image through the convolutions, and look.)
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


def conv_out(i: int, k: int, s: int = 1, p: int = 0, d: int = 1) -> int:
    return (i + 2 * p - d * (k - 1) - 1) // s + 1


class LeNet(nn.Module):
    def __init__(self, size: int, k: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, k)
        self.conv2 = nn.Conv2d(6, 16, k)
        for _ in range(2):
            size = conv_out(conv_out(size, k), 2, s=2)
        self.fc1 = nn.Linear(16 * size * size, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = F.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = x.flatten(1)
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(x))
        return self.fc3(x)


class _Net(LeNet):
    """Right. The mistakes below change one thing of it."""

    def __init__(self, size, k):
        super().__init__(size, k)
        self.features = self.fc1.in_features

    def pool(self, x):
        return F.max_pool2d(x, 2)

    def rows(self, x):
        return x.flatten(1)

    def last(self, x):
        return x

    def forward(self, x):
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.relu(self.fc1(self.rows(x)))
        return self.last(self.fc3(torch.relu(self.fc2(x))))


class _FixedFeatures(_Net):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.fc1 = nn.Linear(576, 120)


class _CeilFeatures(_Net):
    def __init__(self, size, k):
        super().__init__(size, k)
        for _ in range(2):
            size = math.ceil((size - k + 1) / 2)
        self.fc1 = nn.Linear(16 * size * size, 120)


class _CeilMode(_CeilFeatures):
    def pool(self, x):
        return F.max_pool2d(x, 2, ceil_mode=True)


class _FixedKernel(_Net):
    def __init__(self, size, k):
        super().__init__(size, 3)


class _HalvesTwice(_Net):
    """Both poolings at once: the same where the first one leaves an even number, or k is odd."""

    def __init__(self, size, k):
        super().__init__(size, k)
        side = (size - k + 1) // 4 - k // 2
        self.fc1 = nn.Linear(16 * side**2, 120)


class _FirstPoolRoundsUp(_Net):
    def __init__(self, size, k):
        super().__init__(size, k)
        side = ((size - k + 2) // 2 - k + 1) // 2
        self.fc1 = nn.Linear(16 * side**2, 120)


class _Evaluates(_Net):
    def last(self, x):
        self.eval()
        return x


class _Padded(_Net):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.conv1 = nn.Conv2d(1, 6, k, padding="same")
        self.conv2 = nn.Conv2d(6, 16, k, padding="same")
        self.fc1 = nn.Linear(16 * (size // 4) ** 2, 120)


class _Colours(_Net):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.conv1 = nn.Conv2d(3, 6, k)


class _Channels(_Net):
    """16 channels forgotten."""

    def __init__(self, size, k):
        super().__init__(size, k)
        self.fc1 = nn.Linear(self.features // 16, 120)


class _NoBias(_Net):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.conv1 = nn.Conv2d(1, 6, k, bias=False)
        self.conv2 = nn.Conv2d(6, 16, k, bias=False)


class _Lazy(_Net):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.fc1 = nn.LazyLinear(120)


class _NoSuper(_Net):
    def __init__(self, size, k):
        self.conv1 = nn.Conv2d(1, 6, k)


class _OtherNames(nn.Module):
    def __init__(self, size, k):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 6, k), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, k))


class _BatchNorm(_Net):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.norm = nn.BatchNorm1d(120)


class _NormWithoutParameters(_Net):
    def __init__(self, size, k):
        super().__init__(size, k)
        self.norm = nn.BatchNorm1d(10, affine=False, track_running_stats=False)

    def last(self, x):
        return self.norm(x) if len(x) > 3 else x


class _FlattensAll(_Net):
    def rows(self, x):
        return x.flatten()


class _OneRow(_Net):
    def rows(self, x):
        return x.view(1, -1)


class _ViewMinusOne(_Net):
    def rows(self, x):
        return x.reshape(-1, self.features)


class _Resizes(_Net):
    """Takes images of any size."""

    def rows(self, x):
        side = round((self.features / 16) ** 0.5)
        return F.adaptive_avg_pool2d(x, side).flatten(1)


class _Crops(_Net):
    def rows(self, x):
        x = x.flatten(1)
        return F.pad(x, (0, self.features - x.shape[1]))


class _Squeezes(_Net):
    def last(self, x):
        return x.squeeze()


class _ChannelsLast(_Net):
    def rows(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


class _Softmax(_Net):
    def last(self, x):
        return torch.softmax(x, 1)


class _LogSoftmax(_Net):
    def last(self, x):
        return F.log_softmax(x, dim=1)


class _ReluAtTheEnd(_Net):
    def last(self, x):
        return torch.relu(x)


class _NoReluAfterFc1(_Net):
    def forward(self, x):
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        return self.fc3(torch.relu(self.fc2(self.fc1(self.rows(x)))))


class _NoReluAfterConv(_Net):
    def forward(self, x):
        x = self.pool(self.conv2(self.pool(self.conv1(x))))
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(self.rows(x))))))


class _Dropout(_Net):
    def last(self, x):
        return F.dropout(x, 0.5)


class _Detached(_Net):
    def rows(self, x):
        return torch.tensor(x.flatten(1).tolist(), dtype=x.dtype)


class _MeanOfTheBatch(_Net):
    def last(self, x):
        return x - x.mean(0) + x[:1] if len(x) > 3 else x


class _InPlace(_Net):
    def forward(self, x):
        return super().forward(x.sub_(0.5))


class _Nothing(_Net):
    def forward(self, x):
        super().forward(x)


class _FeaturesOfTheClass(_Net):
    """The size stands on the class: the newest LeNet decides for all."""

    def __init__(self, size, k):
        super().__init__(size, k)
        type(self).newest = self.fc1.in_features

    def rows(self, x):
        return x.reshape(len(x), self.newest)


_FITS = "test_a_kernel_fits_a_whole_number_of_times"
_FEATURES = "test_the_first_linear_must_know_the_number_of_features"
_VIEW = "test_view_with_minus_one_makes_other_rows_of_other_images"
_PRINT = "test_print_shows_the_order_of_assignment_and_not_of_forward"
_ALONE = "test_an_image_does_not_see_the_others_of_its_batch"
_ORDER = "conv1, ReLU, pool, conv2, ReLU, pool, one row an image"

MISTAKES = [
    Mistake(
        "conv_out(i, k, s, p, d), in this order",
        caught_by=_FITS,
        conv_out=lambda i, k, p=0, s=1, d=1: (i + 2 * p - d * (k - 1) - 1) // s + 1,
    ),
    Mistake("fc1 takes another number of features than it gets", caught_by=_FEATURES, LeNet=_FeaturesOfTheClass),
    Mistake(
        "the dilation is not counted", caught_by=_FITS, conv_out=lambda i, k, s=1, p=0, d=1: (i + 2 * p - k) // s + 1
    ),
    Mistake(
        "the padding is counted once",
        caught_by=_FITS,
        conv_out=lambda i, k, s=1, p=0, d=1: (i + p - d * (k - 1) - 1) // s + 1,
    ),
    Mistake(
        "it is rounded up",
        caught_by=_FITS,
        conv_out=lambda i, k, s=1, p=0, d=1: math.ceil((i + 2 * p - d * (k - 1) - 1) / s) + 1,
    ),
    Mistake(
        "the first position, + 1, is missing",
        caught_by=_FITS,
        conv_out=lambda i, k, s=1, p=0, d=1: (i + 2 * p - d * (k - 1) - 1) // s,
    ),
    Mistake("the stride is not counted", caught_by=_FITS, conv_out=lambda i, k, s=1, p=0, d=1: i + 2 * p - d * (k - 1)),
    Mistake(
        "sizes are of type int",
        caught_by=_FITS,
        conv_out=lambda i, k, s=1, p=0, d=1: (i + 2 * p - d * (k - 1) - 1) / s + 1,
    ),
    Mistake("nn.Conv2d gives", caught_by=_FITS, conv_out=lambda i, k, s=1, p=0, d=1: (i + 2 * p - d * k) // s + 1),
    Mistake(
        "nn.Conv2d gives", caught_by=_FITS, conv_out=lambda i, k, s=1, p=0, d=1: (i + 2 * p - d * (k - 1)) // s + 1
    ),
    Mistake(
        "nn.Conv2d gives",
        caught_by=_FITS,
        conv_out=lambda i, k, s=1, p=0, d=1: round((i + 2 * p - d * (k - 1) - 1) / s) + 1,
    ),
    Mistake("nn.Conv2d gives", caught_by=_FITS, conv_out=lambda i, k, s=1, p=0, d=1: i // s + 2 * p - d * (k - 1)),
    Mistake(
        "with stride 1, no padding, dilation 1",
        caught_by=_FITS,
        conv_out=lambda i, k, s=None, p=0, d=1: (i + 2 * p - d * (k - 1) - 1) // (s or k) + 1,
    ),
    Mistake("fc1 of LeNet(32, 5) takes 400 numbers", caught_by=_FEATURES, LeNet=_FixedFeatures),
    Mistake("fc1 of LeNet(29, 3) takes 400 numbers", caught_by=_FEATURES, LeNet=_CeilFeatures),
    Mistake("fc1 of LeNet(29, 3) takes 400 numbers", caught_by=_FEATURES, LeNet=_CeilMode),
    Mistake("fc1 of LeNet(32, 3) takes 576 numbers", caught_by=_FEATURES, LeNet=_Padded),
    Mistake("fc1 of LeNet(30, 4) takes 400 numbers", caught_by=_FEATURES, LeNet=_HalvesTwice),
    Mistake("fc1 of LeNet(29, 3) takes 400 numbers", caught_by=_FEATURES, LeNet=_FirstPoolRoundsUp),
    Mistake("forward does not change the model", caught_by=_FEATURES, LeNet=_Evaluates),
    Mistake("fc1 of LeNet(32, 3) takes 576 numbers", caught_by=_FEATURES, LeNet=_Channels),
    Mistake("fc1 of LeNet(32, 5) takes 400 numbers", caught_by=_FEATURES, LeNet=_FixedKernel),
    Mistake("the weight of conv1 is (6, 1, 3, 3)", caught_by=_FEATURES, LeNet=_Colours),
    Mistake("five layers have 10 parameters", caught_by=_FEATURES, LeNet=_NoBias),
    Mistake("five layers have 10 parameters", caught_by=_FEATURES, LeNet=_BatchNorm),
    Mistake("LeNet has no layer conv1", caught_by=_FEATURES, LeNet=_OtherNames),
    Mistake("call super().__init__() first", caught_by=_FEATURES, LeNet=_NoSuper),
    Mistake("fc1.weight, fc1.bias has no size", caught_by=_FEATURES, LeNet=_Lazy),
    Mistake("the batch dimension is lost", caught_by=_FEATURES, LeNet=_OneRow),
    Mistake("the batch dimension is lost", caught_by=_FEATURES, LeNet=_FlattensAll),
    Mistake("1 images become (1, 10), got (10,)", caught_by=_FEATURES, LeNet=_Squeezes),
    Mistake("forward returns a tensor, got NoneType", caught_by=_FEATURES, LeNet=_Nothing),
    Mistake("x is the caller's", caught_by=_FEATURES, LeNet=_InPlace),
    Mistake("made 100 rows of 144 images of 28 pixels", caught_by=_VIEW, LeNet=_ViewMinusOne),
    Mistake("that must be an error", caught_by=_VIEW, LeNet=_Resizes),
    Mistake("that must be an error", caught_by=_VIEW, LeNet=_Crops),
    Mistake(_ORDER, caught_by=_PRINT, LeNet=_ChannelsLast),
    Mistake(_ORDER, caught_by=_PRINT, LeNet=_NoReluAfterFc1),
    Mistake(_ORDER, caught_by=_PRINT, LeNet=_NoReluAfterConv),
    Mistake(_ORDER, caught_by=_PRINT, LeNet=_Dropout),
    Mistake("forward ends with a softmax", caught_by=_PRINT, LeNet=_Softmax),
    Mistake("forward ends with a log_softmax", caught_by=_PRINT, LeNet=_LogSoftmax),
    Mistake("there is a ReLU after fc3", caught_by=_PRINT, LeNet=_ReluAtTheEnd),
    Mistake("no gradient came to conv1.weight", caught_by=_PRINT, LeNet=_Detached),
    Mistake("gives what it gives among five", caught_by=_ALONE, LeNet=_MeanOfTheBatch),
    Mistake("gives what it gives among five", caught_by=_ALONE, LeNet=_NormWithoutParameters),
]
