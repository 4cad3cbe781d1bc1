"""MNIST past 98 %: your own net, your own training loop, your own evaluation.

60,000 handwritten digits to learn from, and 10,000 others that training must never see: on those, more than 98 of 100
must be read right. `torchvision.datasets.MNIST(root).data` are raw bytes, uint8 (60000, 28, 28) with values 0 to 255.
A transform never touches `.data`, so the scaling is yours to do: the mean pixel is 0.1307 of 255, the spread 0.3081.

A net can be an `nn.Sequential` of layers: `nn.Conv2d(1, 16, 3)` makes 16 channels of 1, `nn.ReLU()` follows it,
`nn.MaxPool2d(2)` halves rows and columns, `nn.Flatten()` makes one row of each image, `nn.Linear(n, 10)`, for rows of n
numbers, comes last. The loss is `nn.functional.cross_entropy(logits, labels)`, the optimizer
`torch.optim.Adam(net.parameters())`. `torch.randperm` gives a random order, `x.unsqueeze(1)` a channel dimension,
`logits.argmax(1)` the answers.

The loop is always the same: take a batch, `model(batch)`, a loss against the labels, `zero_grad()`, `backward()`,
`step()`. Three things go wrong without any error. Data sorted by label makes the net forget what it saw first. A
forgotten `zero_grad()` adds up the gradients of all batches so far. And a net that is measured in train mode is another
net than the one that you will use: dropout is on, and batch norm looks at the neighbours in the batch. `net.eval()` and
`net.train()` switch the mode, `net.training` tells it.

What is asked here: any net, loss, optimizer and schedule that you like, on any device. The last test trains on
MNIST for as long as you need (15 minutes; `--kata-timeout=SECONDS` gives more); one epoch of a small convolutional net
is enough. Where MNIST is missing, `pytest --kata-download` fetches it (12 MB); until then other digits stand in for it.

About 60 minutes. Before it: one_per_row, lenet_shapes, cross_entropy_by_hand, read_the_script.
Path: first_day

https://docs.pytorch.org/docs/stable/notes/autograd.html#locally-disabling-gradient-computation
"""

import functools

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, tell, unchanged
from dojo.kit.mnist import load, skip_unless_at_hand, training_data
from dojo.kit.training import (
    batches_noted,
    clock_digits,
    default_epochs,
    locked_test_split,
    progress,
    read_clock_digits,
    stale_gradients_found,
)


def prepare(images: torch.Tensor) -> torch.Tensor:
    """What a net can learn from: `images`, uint8 (N, 28, 28), as float32 (N, 1, 28, 28), scaled to about unit size.

    An image gives the same numbers, whatever others come with it; a blank one gives finite numbers.
    """
    raise NotImplementedError("turn the bytes into small floats, with a channel dimension")


def make_net() -> nn.Module:
    """A new, untrained net: prepared images (N, 1, 28, 28) -> ten logits for each (N, 10), not probabilities."""
    raise NotImplementedError("return a new net")


def train(images: torch.Tensor, labels: torch.Tensor, epochs: int = 1) -> nn.Module:
    """A net trained on these images (uint8, (N, 28, 28)) and labels (int64, (N,)), and on nothing else.

    The net sees the images in a random order. The last test leaves `epochs` at its default: change the default if you
    need more of them.
    """
    raise NotImplementedError("make a net, train it, return it")


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The share (0 to 1) of `images` (uint8, (N, 28, 28)) to which `model` gives the highest logit at `labels`.

    Measured in eval mode, without gradients. Afterwards the model is in the mode, train or eval, in which it came, its
    weights can be trained as before, and `images` and `labels` are as they were. N is at least 1.
    """
    raise NotImplementedError("measure the share of right answers")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


class _Reader(nn.Module):
    """A net that reads clock digits perfectly in eval mode, and notes how it was called."""

    def __init__(self):
        super().__init__()
        self.part = nn.Dropout()
        self.bias = nn.Parameter(torch.zeros(10))
        self.modes, self.grads = set(), set()

    def forward(self, x):
        fit = isinstance(x, torch.Tensor) and x.is_floating_point() and x.shape[1:] == (1, 28, 28)
        assert fit, "accuracy() gets raw images: prepare() them before the model sees them"
        self.modes |= {self.training, self.part.training}
        self.grads.add(torch.is_grad_enabled() and not torch.is_inference_mode_enabled())
        return nn.functional.one_hot(read_clock_digits(x), 10).to(x) + self.bias


def _trained(images, labels, **epochs):
    """Runs train() and makes sure that it returns a net."""
    with explain("train() did not get through; the error is below"):
        model = train(images, labels, **epochs)
    assert isinstance(model, nn.Module), f"train() returns the net, an nn.Module; yours returned {type(model).__name__}"
    return model


def _answers(model, images):
    """What the model says to each image, in eval mode: (N,) on the CPU."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    model.eval()
    with torch.no_grad(), explain("the trained net does not take what prepare() makes"):
        logits = torch.cat([model(prepare(part).to(device)).cpu() for part in images.split(1000)])
    fits, finite = logits.shape == (len(images), 10), logits.isfinite().all().item()
    assert fits, f"expected logits (N, 10), got {tuple(logits.shape)}"
    assert finite, "your net gives nan or inf: training blew up; a smaller learning rate?"
    return logits.argmax(1)


@functools.cache
def _practice():
    """A short training on 512 clock digits, sorted by label, under watch; a longer one where that was too short."""
    labels = torch.arange(512) * 10 // 512
    images = clock_digits(labels)
    given = images.clone()
    for epochs in (12, 40):
        with locked_test_split(), stale_gradients_found(), batches_noted() as seen:
            model = _trained(images, labels.clone(), epochs=epochs)
        changed = not torch.equal(images, given)
        assert not changed, "train() changed the images that it was given"
        answers = _answers(model, given)
        if (answers == labels).double().mean().item() > 0.5:
            break
    return answers, labels, seen, epochs


def test_pixels_are_bytes_that_must_become_small_floats():
    for images in (torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8), clock_digits(torch.tensor([4]))):
        before = images.clone()
        with explain("prepare() takes uint8 images (N, 28, 28), also a single one"):
            x = prepare(images)
        check_tensor(images, before, "prepare() changed the images that it was given")
        check_tensor(x, torch.empty(len(images), 1, 28, 28) if x is None else x, "prepare() returns a tensor")
        shape = (len(images), 1, 28, 28)
        assert x.shape == shape, f"a convolution wants a channel dimension: expected {shape}, got {tuple(x.shape)}"
        assert x.dtype == torch.float32, f"expected float32, got {x.dtype}"
        pair = torch.stack([x.flatten(), before.flatten().float()]).double()
        std, alike = pair[0].std().item(), pair.corrcoef()[0, 1].abs().item()
        assert std < 10, f"std {std:.1f}: those are raw bytes, 0 to 255; a net learns badly from them"
        assert std > 0.01, f"std {std:.5f}: the pixels are squeezed to almost nothing"
        assert alike > 0.95, (
            "the pictures are no longer those that were given: bytes wrap around (in uint8, 3 - 5 is 254) and `//` "
            "cuts, so make floats first; and a reshape must not mix the images"
        )
        one = prepare(before[:1].clone())
        alone = torch.allclose(one, x[:1], rtol=1e-4, atol=1e-4)
        assert alone, "an image gives other numbers alone than among others: a net would see it differently each time"
    blank = prepare(torch.zeros(2, 28, 28, dtype=torch.uint8)).isfinite().all().item()
    assert blank, "a blank image became nan or inf: its own spread is 0, scale by the numbers of the lesson"


def test_a_net_gives_ten_logits_per_image_not_probabilities():
    net = make_net()
    assert isinstance(net, nn.Module), f"make_net() returns an nn.Module, got {type(net).__name__}"
    net.eval()
    x = prepare(clock_digits(torch.arange(64) % 10))
    for batch in (x, x[:1]):
        with torch.no_grad(), explain("the net takes prepared images, (N, 1, 28, 28), also a single one"):
            logits = net(batch)
        check_tensor(logits, torch.empty(len(batch), 10) if logits is None else logits, "the net returns a tensor")
        shape = (len(batch), 10)
        assert logits.shape == shape, f"ten logits for each image: expected {shape}, got {tuple(logits.shape)}"
        low, sums = logits.min().item(), logits.double().sum(1)
        softmax = low >= 0 and (sums - 1).abs().max().item() < 1e-4
        assert not softmax, "your net ends in softmax: cross_entropy does that itself, and twice it learns slowly"
        assert low != 0 or logits.max().item() == 0, "your net ends in relu: a logit must be free to be negative"
    shared = {id(p) for p in net.parameters()} & {id(p) for p in make_net().parameters()}
    assert not shared, "make_net() returned the same weights twice: a second training would go on from the first"


def test_accuracy_counts_images_not_batches():
    """2,053 is a prime number: whatever the batch size, the last batch is short. The wrong answers are at the end."""
    labels = torch.arange(2053) % 10
    images = clock_digits(labels)
    labels[-41:] = (labels[-41:] + 3) % 10
    for n, right in ((2000, 2000), (2053, 2012), (41, 0), (1, 1)):
        images_n, labels_n = (images[-n:], labels[-n:]) if n == 41 else (images[:n], labels[:n])
        with explain(f"accuracy() did not get through {n} images; the error is below"):
            got = accuracy(_Reader(), images_n, labels_n)
        assert isinstance(got, float), f"accuracy() returns a Python float, got {type(got).__name__}"
        assert got <= 1, f"accuracy() is a share from 0 to 1, not percent or a count: got {got}"
        short = "Is a short last batch weighed like a full one, or left out?"
        own = "Compare the answer to each image with its own label"
        assert abs(got - right / n) < 1e-6, (
            f"{right} of {n} images are right, {right / n:.6f}; you said {got:.6f}. {short if n == 2053 else own}"
        )


@pytest.mark.parametrize("training", [True, False], ids=["train mode", "eval mode"])
def test_measuring_leaves_no_trace(training):
    model = _Reader().train(training)
    model.part.train(not training)
    labels = torch.arange(300) % 10
    images = clock_digits(labels)
    with (
        explain("accuracy() did not get through; the error is below"),
        unchanged("accuracy() changed what it was given", images=images, labels=labels),
    ):
        accuracy(model, images, labels)
    assert model.modes, "accuracy() never called the model"
    moved = model.bias.detach().any().item()
    assert not moved, "accuracy() changed the weights: measuring must not train"
    assert model.bias.requires_grad, "accuracy() froze the weights: requires_grad is False now, nobody can train them"
    assert torch.is_grad_enabled(), "accuracy() switched gradients off for good: nobody can train after it"
    assert model.modes == {False}, "accuracy() measured a net in train mode, with dropout on: eval mode, all of it"
    assert model.grads == {False}, "accuracy() recorded a graph for backward: memory and time for nothing"
    kind = {True: "train", False: "eval"}
    assert model.training is training, f"the model came in {kind[training]} mode and left in {kind[not training]} mode"


@pytest.mark.timeout(300)
def test_training_shuffles_the_images():
    _, labels, seen, _ = _practice()
    if not seen or len(seen[0]) >= len(labels):
        return  # one batch is the whole data (or a net that is called in an unusual way): no order to look at
    order = torch.cat(seen)[: len(labels)].double()
    drift = torch.stack([order, torch.arange(len(order)).double()]).corrcoef()[0, 1].abs().item()
    kinds = sum(len(set(digits.tolist())) for digits in seen) / len(seen)
    sizes = sum(len(digits) for digits in seen) / len(seen)
    assert drift < 0.5, "the images came in the order in which they were given: shuffle them"
    assert sizes < 16 or kinds > 5, "each batch held only one or two kinds of digits: shuffle images, not batches"


@pytest.mark.timeout(300)
def test_training_learns_what_it_is_given():
    answers, labels, _, epochs = _practice()
    kinds, share = set(answers.tolist()), (answers == labels).double().mean().item()
    assert len(kinds) > 1, f"your net says {kinds.pop()} to every image: it learnt nothing"
    assert share > 0.5, (
        f"after {epochs} epochs on 512 clock digits your net reads {share:.0%} of them right: do the labels still "
        "belong to their images, does the optimizer step the weights of that net, and is it that net that you return?"
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("data", training_data())
def test_a_trained_net_reads_digits_that_it_never_saw(data, pytestconfig):
    """More than 98 % of MNIST's 10,000 test images; 97 % of scikit-learn's 360 where MNIST is missing."""
    make_net()  # an unwritten kata is to do, not skipped
    skip_unless_at_hand(data)
    images, labels = load(data, train=True)
    test_images, test_labels = load(data, train=False)
    epochs, goal = ({}, 0.98) if data == "mnist" else ({"epochs": 20}, 0.97)
    used = epochs.get("epochs", default_epochs(train))
    name, some = "MNIST" if data == "mnist" else "the STAND-IN, not MNIST", min(2000, len(labels))
    with locked_test_split():
        with progress(pytestconfig, "1 of 2, random labels", some):
            model = _trained(images[:some].clone(), labels[:some][torch.randperm(some)])
        share = (_answers(model, test_images) == test_labels).double().mean().item()
        assert share < 0.3, (
            f"trained on random labels, your net still reads {share:.0%} of the test images: it knows digits from "
            "elsewhere, but train() may learn only from the images and labels that it is given"
        )
        with progress(pytestconfig, f"2 of 2, {name}", used * len(labels)) as training:
            model = _trained(images.clone(), labels.clone(), **epochs)
        share = (_answers(model, test_images) == test_labels).double().mean().item()
    assert share > goal, f"your net reads {share:.2%} of the test images right; more than {goal:.0%} is asked"
    said = accuracy(model, test_images, test_labels)
    assert abs(said - share) < 0.001, f"accuracy() says {said:.2%} of the test images, but counted here are {share:.2%}"
    reference = "; the reference: 98.5 % in 0.8 s on one CPU core" if data == "mnist" else ""
    tell(f"{share:.2%} of the {len(test_labels):,}, trained in {training.seconds:.1f} s{reference}")
