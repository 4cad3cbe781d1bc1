"""MNIST past 98 %: reference.

Hint: Begin with the smallest thing that can work: two convolutions with a pooling after the first, batch norm, one
    linear layer; cross-entropy; Adam. Make it learn 64 images by heart, then give it all of them.
Hint: `torch.randperm` gives an order, `.split(64)` cuts it into batches, and `images[part]` picks them. For the
    measurement look at `Module.modules()` and `Module.training`; `argmax` over the logits gives the answers.
Hint: Scale to mean 0 and spread 1 with the two numbers of the lesson. Let the learning rate rise, then fall to zero:
    `OneCycleLR`, one step of it for each batch. Count right answers over all batches and divide once, at the end.

Why: The bytes stay uint8 in memory, and each batch is scaled when it is used: no loader, no transform per image, and
no second copy of the data. A learning rate that ends at zero lets a net of 15,000 weights get there in a fifth of an
epoch. `accuracy` sums right answers, so that a short last batch counts for what it is, and puts back the mode of every
module: `model.train()` at its end would wake a frozen batch norm.
"""

import torch
from torch import nn
from torch.nn import functional

from dojo import Mistake


def prepare(images: torch.Tensor) -> torch.Tensor:
    return images.unsqueeze(1).float().div(255).sub(0.1307).div(0.3081)


def make_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=5, stride=2, bias=False),  # (N, 16, 12, 12)
        nn.MaxPool2d(2),  # (N, 16, 6, 6)
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 48, kernel_size=3, bias=False),  # (N, 48, 4, 4)
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.Flatten(),  # (N, 768)
        nn.Linear(768, 10),
    )


def train(images: torch.Tensor, labels: torch.Tensor, epochs: int = 1) -> nn.Module:
    # A fifth of an epoch of MNIST is enough: 200 steps of 64 images.
    order = torch.cat([torch.randperm(len(images)) for _ in range(epochs)])[:12_800]
    batches = order.split(64)
    model = make_net()
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.7, 0.9))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.02, total_steps=len(batches), anneal_strategy="linear", cycle_momentum=False
    )
    for batch in batches:
        logits = model(prepare(images[batch]))
        loss = functional.cross_entropy(logits, labels[batch], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    right = 0
    with torch.no_grad():
        for part, wanted in zip(images.split(1000), labels.split(1000), strict=True):
            right += (model(prepare(part)).argmax(1) == wanted).sum().item()
    for module, training in modes.items():
        module.training = training
    return right / len(images)


def picture(solution):
    from dojo.kit import digit_pictures, pictures
    from dojo.kit.mnist import at_hand, load

    kind = at_hand()
    images, labels = load(kind, train=False)
    torch.manual_seed(0)
    model = solution.train(*load(kind, train=True), **({} if kind == "mnist" else {"epochs": 20}))
    share = solution.accuracy(model, images, labels)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    model.eval()
    with torch.no_grad():
        parts = [model(solution.prepare(part).to(device)).softmax(1).cpu() for part in images.split(1000)]
    probabilities = torch.cat(parts).float()
    counts = digit_pictures.confusion(labels, probabilities.argmax(1))
    worst = digit_pictures.worst(labels, probabilities, 12)
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 1), None)

    figure = pictures.figure(6, 6)
    left, right = figure.subfigures(1, 2, width_ratios=[1.15, 1])
    top, bottom = left.subfigures(2, 1, height_ratios=[1.2, 1]) if first is not None else (left, None)
    digit_pictures.draw_confusion(top, counts, diagonal=False)
    digit_pictures.draw_worst(right, images, labels, probabilities, rows=4, columns=3, guesses=2)

    name = "MNIST's" if kind == "mnist" else "the stand-in's (it is not MNIST)"
    (digit, answer), index = divmod(int(counts.clone().fill_diagonal_(0).argmax()), 10), int(worst[0])
    says = [f"{share:.2%} of {name} {len(labels):,} test images are read right."]
    if digit != answer:
        times = f"{int(counts[digit, answer])} of {int(counts[digit].sum()):,}"
        says.append(f"No mistake is more frequent than {digit} read as {answer} ({times}).")
    label = int(labels[index])
    percent = 100 * probabilities[index, label].item()
    says.append(f"Image {index}, which is {label}, is the worst: {label} got {percent:.2g}%.")
    numbers = {"kind": kind, "accuracy": share, "confusion": counts, "worst": worst}
    if first is not None:
        weight = first.weight.detach().cpu()
        digit_pictures.draw_filters(bottom, weight[:24], columns=6)
        bottom.suptitle(f"{min(len(weight), 24)} of the {len(weight)} filters of the first layer", fontsize=10)
        cancel = int((weight.sum((1, 2, 3)).abs() < 0.25 * weight.abs().sum((1, 2, 3))).sum())
        says.append(
            f"In {cancel} of the {len(weight)} filters of the first layer, red and blue all but cancel: those look for "
            "edges, not for ink alone."
        )
        numbers["filters"] = weight[:24]
    return pictures.Picture(figure, " ".join(says), numbers)


# ── known mistakes ──


def _train_in_other_ways(
    shuffle=True,
    together=True,
    zero=True,
    step=True,
    forget=False,
    batches=False,
    keep=True,
    net=None,
    look=None,
    scale=prepare,
):
    """train() with one thing wrong in it."""

    def train(images, labels, epochs=1):
        if look is not None:
            images, labels = look(images, labels)
        model = (net or make_net)()
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(epochs):
            order = torch.randperm(len(images)) if shuffle else torch.arange(len(images))
            parts = list(order.split(64))
            if batches:
                parts = [parts[i] for i in torch.randperm(len(parts))]
            for part in parts:
                other = part if together else torch.randperm(len(images))[: len(part)]
                loss = functional.cross_entropy(model(scale(images[part])), labels[other])
                if zero:
                    optimizer.zero_grad()
                loss.backward()
                if step:
                    optimizer.step()
        return make_net() if forget else model if keep else None

    return train


def _net_that_ends_in(last):
    return lambda: nn.Sequential(make_net(), last)


_one_for_all: list[nn.Module] = []


def _same_net_again():
    if not _one_for_all:
        _one_for_all.append(make_net())
    return _one_for_all[0]


def _net_of_a_few_numbers():
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(49, 10))


def _constant_net():
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    nn.init.zeros_(net[1].weight)
    net.requires_grad_(False)
    return net


def _constant_train(images, labels, epochs=1):
    make_net()
    return _constant_net()


def _with_the_test_split(images, labels):
    from torchvision.datasets import MNIST

    from dojo.kit.mnist import data_root

    test = MNIST(str(data_root()), train=False)
    return torch.cat([images, test.data]), torch.cat([labels, test.targets])


def _with_labels_known_from_elsewhere(images, labels):
    from dojo.kit.mnist import at_hand, load

    known_images, known = load(at_hand(), train=True)
    if torch.equal(images[:50], known_images[:50]):
        return known_images, known
    return images, labels


def _with_darker_images(images, labels):
    return images.div_(2, rounding_mode="floor"), labels


def _measure(
    average=False,
    drop=False,
    back="every",
    graph=False,
    off=False,
    scale=1,
    item=True,
    raw=False,
    fit=False,
    prep=prepare,
    pairs=False,
):
    """accuracy() with one thing wrong in it."""

    def accuracy(model, images, labels):
        modes = {module: module.training for module in model.modules()}
        if back != "no eval":
            model.eval()
        shares, right, seen = [], 0, 0
        with torch.set_grad_enabled(graph):
            for part, wanted in zip(images.split(256), labels.split(256), strict=True):
                if drop and len(part) < 256 < len(images):
                    break
                if fit:
                    with torch.enable_grad():
                        functional.cross_entropy(model(prepare(part)), wanted).backward()
                    for p in model.parameters():
                        p.data -= 0.01 * p.grad
                hits = model(part if raw else prep(part)).argmax(1, keepdim=pairs) == wanted
                right, seen = right + hits.sum(), seen + hits.numel()
                shares.append(hits.float().mean())
        if off:
            torch.set_grad_enabled(False)
        if back == "every":
            for module, training in modes.items():
                module.training = training
        elif back == "train":
            model.train()
        share = torch.stack(shares).mean() if average else right / seen
        return share.item() * scale if item else share

    return accuracy


_SIZES, _TRACE = "test_accuracy_counts_images_not_batches", "test_measuring_leaves_no_trace"
_PIXELS, _LOGITS = (
    "test_pixels_are_bytes_that_must_become_small_floats",
    "test_a_net_gives_ten_logits_per_image_not_probabilities",
)
_ORDER, _LEARNS = "test_training_shuffles_the_images", "test_training_learns_what_it_is_given"
_REAL = "test_a_trained_net_reads_digits_that_it_never_saw"
_BELONG = "do the labels still belong to their images"
_PICTURES = "the pictures are no longer those that were given"


def _scaled(says, scale):
    """A wrong scaling, used throughout."""
    train = _train_in_other_ways(scale=scale)
    return Mistake(says, caught_by=_PIXELS, prepare=scale, train=train, accuracy=_measure(prep=scale))


def _by_the_batch(x):
    x = x.unsqueeze(1).float()
    return (x - x.mean()) / x.std()


def _by_the_image(x):
    x = x.unsqueeze(1).float()
    return (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)


MISTAKES = [
    _scaled("an image gives other numbers alone", _by_the_batch),
    _scaled("a blank image became nan or inf", _by_the_image),
    _scaled("those are raw bytes", lambda x: x.unsqueeze(1).float()),
    _scaled("a convolution wants a channel dimension", lambda x: x / 255),
    _scaled("expected float32", lambda x: x.unsqueeze(1).double() / 255),
    _scaled(_PICTURES, lambda x: (x.unsqueeze(1) - 33) / 79),
    _scaled(_PICTURES, lambda x: (x.unsqueeze(1) // 255).float()),
    _scaled(_PICTURES, lambda x: x.permute(1, 2, 0).reshape(-1, 1, 28, 28) / 255),
    _scaled("squeezed to almost nothing", lambda x: x.unsqueeze(1) / 255 / 255),
    Mistake("ends in softmax", caught_by=_LOGITS, make_net=_net_that_ends_in(nn.Softmax(dim=1))),
    Mistake("ends in relu", caught_by=_LOGITS, make_net=_net_that_ends_in(nn.ReLU())),
    Mistake("ten logits for each image", caught_by=_LOGITS, make_net=_net_that_ends_in(nn.Linear(10, 1))),
    Mistake("the same weights twice", caught_by=_LOGITS, make_net=_same_net_again),
    Mistake("Is a short last batch weighed", caught_by=_SIZES, accuracy=_measure(average=True)),
    Mistake("Is a short last batch weighed", caught_by=_SIZES, accuracy=_measure(drop=True)),
    Mistake("with its own label", caught_by=_SIZES, accuracy=_measure(pairs=True)),
    Mistake("not percent", caught_by=_SIZES, accuracy=_measure(scale=100)),
    Mistake("returns a Python float", caught_by=_SIZES, accuracy=_measure(item=False)),
    Mistake("accuracy() gets raw images", caught_by=_SIZES, accuracy=_measure(raw=True)),
    Mistake("a net in train mode", caught_by=_TRACE, accuracy=_measure(back="no eval")),
    Mistake("came in eval mode and left in train mode", caught_by=_TRACE, accuracy=_measure(back="train")),
    Mistake("came in train mode and left in eval mode", caught_by=_TRACE, accuracy=_measure(back="never")),
    Mistake("recorded a graph for backward", caught_by=_TRACE, accuracy=_measure(graph=True)),
    Mistake("switched gradients off for good", caught_by=_TRACE, accuracy=_measure(off=True)),
    Mistake(
        "accuracy() froze the weights",
        caught_by=_TRACE,
        accuracy=lambda model, images, labels: accuracy(model.requires_grad_(False), images, labels),
    ),
    Mistake(
        "accuracy() changed what it was given",
        caught_by=_TRACE,
        accuracy=lambda model, images, labels: accuracy(model, images, labels.copy_(labels.flip(0)).flip(0)),
    ),
    Mistake("measuring must not train", caught_by=_TRACE, accuracy=_measure(fit=True)),
    Mistake("in the order in which they were given", caught_by=_ORDER, train=_train_in_other_ways(shuffle=False)),
    Mistake("shuffle images, not batches", caught_by=_ORDER, train=_train_in_other_ways(shuffle=False, batches=True)),
    Mistake(_BELONG, caught_by=_LEARNS, train=_train_in_other_ways(together=False)),
    Mistake("zero_grad() for each batch", caught_by=_LEARNS, train=_train_in_other_ways(zero=False)),
    Mistake(_BELONG, caught_by=_LEARNS, train=_train_in_other_ways(step=False)),
    Mistake(_BELONG, caught_by=_LEARNS, train=_train_in_other_ways(forget=True)),
    Mistake("yours returned NoneType", caught_by=_LEARNS, train=_train_in_other_ways(keep=False)),
    Mistake("to every image: it learnt nothing", caught_by=_LEARNS, train=_constant_train),
    Mistake("train() changed the images", caught_by=_LEARNS, train=_train_in_other_ways(look=_with_darker_images)),
    Mistake("opened the test split", caught_by=_LEARNS, train=_train_in_other_ways(look=_with_the_test_split)),
    Mistake(
        "it knows digits from elsewhere",
        caught_by=_REAL,
        train=_train_in_other_ways(look=_with_labels_known_from_elsewhere),
    ),
    Mistake(
        "of the test images right",
        caught_by=_REAL,
        make_net=_net_of_a_few_numbers,
        train=_train_in_other_ways(net=_net_of_a_few_numbers),
    ),
]
