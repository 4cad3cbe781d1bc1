"""One image, no side effects

A trained model takes a *batch* (N, C, H, W) and returns logits (N, classes): a row of scores for each image, not yet
probabilities (`logits.softmax(-1)` makes those, `logits.argmax(-1)` says where the highest is). You have one image (C,
H, W). Some layers take it as it is (nn.Linear, nn.Conv2d, pooling), some refuse it (nn.BatchNorm2d), and some misread
it: `flatten(1)` takes the channels for the batch. So make a batch of one, `image.unsqueeze(0)` or `image[None]`, and
take the batch dimension off the result again, `[0]`.

Then there are two switches that people confuse. `model.eval()` is about *layers*: dropout stops, batch norm uses its
running statistics instead of that one image, and no longer moves them. Without it the answers change from call to call,
and asking changes the model. It does not stop gradients: that is `torch.no_grad()` (or inference_mode), which saves
time and memory, and does nothing to the layers.

The mode is state, and the model is not yours. Who calls in the middle of training wants each module back in the mode in
which it was: `model.train()` at the end also wakes a batch norm that was kept in eval on purpose. Each module has its
own flag, `module.training`, and `model.modules()` goes through all of them, the model itself first. And an error in
between must not leave the model in eval: that is what `try: ... finally: ...` is for.

What is asked here: the class of one image, and the probabilities of all classes.

About 25 minutes. Before it: stop_gradient, dropout.
Path: first_day, transformer

https://docs.pytorch.org/docs/stable/notes/autograd.html#evaluation-mode-nn-module-eval
"""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, raises, unchanged


def predict_one(model: nn.Module, image: torch.Tensor) -> int:
    """The number of the class with the highest logit, as an int, with the model in eval mode.

    `model` takes batches (N, C, H, W), into which it does not write, and returns logits (N, classes), of at least two
    classes; `image` is (C, H, W), of the model's dtype.
    Afterwards all is as it was, also when the model raises (its error comes through): the mode of each module in it,
    its parameters (values, requires_grad, `.grad`) and buffers, `image`, and whether gradients are on.
    """
    raise NotImplementedError("the class of one image")


def probabilities(model: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """The probability of each class, (classes,), in the dtype of the logits and without a graph: their softmax.

    Else as predict_one.
    """
    raise NotImplementedError("the probabilities of one image")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_FUNCTIONS = ("predict_one", "probabilities")
_SIGNS = {
    "cannot be converted to Scalar|one element tensors": "there is more than one number where one class was expected: "
    "the classes are the last dimension",
    "numpy\\(\\) on Tensor that requires grad": "numpy() wants a tensor without a graph",
}


class _Jitter(nn.Module):
    """A layer of somebody's own, that looks at its mode."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn_like(x) if self.training else x


class _Net(nn.Module):
    """Class k is that of the brightest channel k; class 3, if all are dark. Its batch norm sits two levels down."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.channels = channels
        self.body = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.Sequential())
        self.body[1].extend([nn.BatchNorm2d(channels), nn.Dropout(0.5), _Jitter()])
        self.head = nn.Linear(channels * 24, 5)
        with torch.no_grad():
            self.body[0].weight.copy_(torch.eye(channels)[:, :, None, None])
            self.head.weight.copy_(torch.eye(5, channels).repeat_interleave(24, 1) / 24)
            self.head.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.6, -0.2]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.dim() != 3, f"the model got {tuple(x.shape)}, an image without a batch dimension; it takes batches"
        assert x.dim() == 4, f"the model got {tuple(x.shape)}, it takes batches (N, C, H, W)"
        assert x.shape[1] == self.channels, (
            f"the model got {tuple(x.shape)}, which is {x.shape[0]} images of {x.shape[1]} channel(s): "
            "the batch dimension comes first"
        )
        return self.head(self.body(x).flatten(1))


class _Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("this layer is broken")


def _image(brightest: int, channels: int = 3) -> torch.Tensor:
    """(C, 4, 6), whose channel `brightest` is a little brighter than the next one; all dark for 3."""
    image = torch.linspace(-0.1, 0.1, channels * 24).view(24, channels).t().reshape(channels, 4, 6)
    if brightest < channels:
        image[brightest] += 1.0
        if channels > 1:
            image[(brightest + 1) % channels] += 0.9
    return image


def _call(name: str, model: nn.Module, image: torch.Tensor, case: str) -> Any:
    function = {"predict_one": predict_one, "probabilities": probabilities}[name]
    with explain(f"{name} raised {case}", _SIGNS):
        return function(model, image)


def _check_shape(got: Any) -> None:
    assert isinstance(got, torch.Tensor), f"expected the probabilities as a tensor, got {type(got).__name__}"
    assert got.shape != (1, 5), "the probabilities came as (1, 5): the batch dimension was to be taken off again"
    assert got.shape == (5,), f"the probabilities have shape {tuple(got.shape)}, expected (5,), one for each class"


def _in_modes() -> Iterator[tuple[str, nn.Module]]:
    """The model in all kinds of modes."""
    for case in (
        "all in training",
        "all in eval",
        "the batch norm in eval",
        "the end of its body in eval",
        "the dropout in training",
    ):
        model = _Net()
        model.train(case not in ("all in eval", "the dropout in training"))
        model.head.bias.requires_grad_(False)
        model.head.weight.grad = torch.ones(5, 72)  # of a step before
        if case == "the batch norm in eval":
            model.body[1][0].eval()
        if case == "the end of its body in eval":
            model.body[1].eval()
        if case == "the dropout in training":
            model.body[1][1].train()
        yield case, model


@pytest.mark.myth(
    says="torch.nn only supports mini-batches.",
    today="Conv2d, pooling and Linear take one image (C, H, W) too; BatchNorm2d does not, and flatten(1) misreads it.",
)
def test_a_model_takes_batches_and_one_image_becomes_a_batch_of_one():
    image = _image(1)
    assert nn.MaxPool2d(2)(nn.Conv2d(3, 4, 1)(image)).shape == (4, 2, 3), "convolution and pooling take one image"
    with raises(ValueError, "batch norm wants the batch dimension", match="4D"):
        nn.BatchNorm2d(3)(image)
    assert image.flatten(1).shape == (3, 24), "flatten(1) takes the three channels for a batch of three"
    for brightest in (0, 1, 2, 3):
        for channels in (3, 1):
            model, image = _Net(channels).eval(), _image(brightest, channels)
            truth = model(image[None]).argmax().item()
            got = _call("predict_one", model, image, f"on an image of {channels} channel(s)")
            assert type(got) is int, f"expected the class as an int, got {type(got).__name__}"
            assert got == truth, f"class {got} came out for an image of shape {tuple(image.shape)}, expected {truth}"
    layer = nn.Linear(6, 5).double()
    model, image = nn.Sequential(nn.Flatten(), layer), torch.full((1, 2, 3), 0.1, dtype=torch.float64)
    image[0, 1, 2] += 1e-12  # too little for float32
    with torch.no_grad():
        layer.weight.copy_(-torch.eye(5, 6, dtype=torch.float64).flip(1))
        layer.bias.copy_(torch.tensor([-1.0, -9.0, -3.0, -2.0, -1.0]))
    got = _call("predict_one", model, image, "on a model in float64")
    assert got == 4, f"class {got} came out, expected 4: -1.1 is the highest of five negative logits, by a hair"
    with torch.no_grad():
        layer.weight.mul_(0.001)
        layer.bias.mul_(0.001)
    got = _call("predict_one", model, image, "on a model that is not sure")
    assert got == 4, f"class {got} came out of five probabilities of about 0.2, expected 4, the highest of them"


def test_probabilities_are_the_softmax_over_the_classes():
    scores = torch.tensor([1000.0, -3.0, 0.0, 999.0, -1000.0], dtype=torch.float64)
    want = torch.tensor([0.7310585786, 0.0, 0.0, 0.2689414214, 0.0], dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5).double())
    for factor in (1.0, 0.001):
        with torch.no_grad():
            model[1].weight.zero_()
            model[1].bias.copy_(scores * factor)
        p = _call("probabilities", model, torch.ones(1, 2, 3, dtype=torch.float64), f"on logits up to {1000 * factor}")
        _check_shape(p)
        p = p.detach()
        assert not p.isnan().any(), f"probabilities {p.tolist()} of logits {scores.tolist()}: exp(1000) overflows"
        if factor != 1:
            want = scores.mul(factor).exp() / scores.mul(factor).exp().sum()
        total = round(p.sum().item(), 6)
        assert total == 1, f"the probabilities of the classes sum to {total}, expected 1: the softmax over the classes"
        check_tensor(p, want, f"the softmax of the logits {(scores * factor).tolist()}", rtol=1e-9, atol=1e-12)
    image = torch.linspace(0.1, 0.7, 6, dtype=torch.float64).view(1, 2, 3)
    with torch.no_grad():
        model[1].weight.copy_(torch.linspace(-1, 2, 30, dtype=torch.float64).view(5, 6))
        want = (image.view(1, 6) @ model[1].weight.T + model[1].bias)[0].softmax(0)
    p = _call("probabilities", model, image, "on a model in float64").detach()
    check_tensor(p, want, "the softmax of the logits of a model and an image in float64", rtol=1e-9)


def test_in_eval_the_answer_is_the_same_each_time():
    model, image = _Net(), _image(2)
    want = copy.deepcopy(model).eval()(image[None])[0].detach().softmax(0)
    for i in range(20):
        got = _call("predict_one", model, image, "on a model with dropout")
        assert got == 2, f"class {got} in call {i + 1}, expected 2 each time: in eval mode no dropout is at work"
    for i in range(20):
        p = _call("probabilities", model, image, "on a model with dropout")
        _check_shape(p)
        check_tensor(p.detach(), want, f"call {i + 1}: probabilities in eval mode, each time the same", rtol=1e-4)


@pytest.mark.parametrize("name", _FUNCTIONS, ids=["class", "probabilities"])
def test_the_mode_of_each_module_is_as_it_was(name):
    for case, model in _in_modes():
        with unchanged(f"the model came with {case}, and whoever called wants it back as it was", model=model):
            _call(name, model, _image(0), f"on a model with {case}")


@pytest.mark.parametrize("name", _FUNCTIONS, ids=["class", "probabilities"])
def test_an_error_of_the_model_comes_through_and_leaves_all_as_it_was(name):
    function = {"predict_one": predict_one, "probabilities": probabilities}[name]
    for mode in (True, False):
        model = _Net().train(mode)
        model.head = _Broken().train(mode)
        with unchanged("the model raised, and was left in other modes than it came in", model=model):
            with raises(ValueError, "the model's own error must come through", match="this layer is broken"):
                function(model, _image(0))
            assert torch.is_grad_enabled(), "the model raised, and gradients stayed switched off"


@pytest.mark.myth(
    says="model.eval() switches gradients off, so no_grad is not needed.",
    today="eval() is about layers: its output still has a graph. no_grad stops gradients, and leaves the layers alone.",
)
def test_eval_does_not_stop_gradients():
    model, image = _Net().eval(), _image(0).requires_grad_()
    assert model(image[None]).requires_grad, "in eval mode the output still hangs on a graph"
    with torch.enable_grad():
        with unchanged("the model and the image are not yours", model=model, image=image):
            p = _call("probabilities", model, image, "on an image that requires a gradient")
            got = _call("predict_one", model, image, "on an image that requires a gradient")
        assert got == 0, f"class {got} came out, expected 0"
        _check_shape(p)
        assert not p.requires_grad, f"the probabilities still hang on a graph ({p.grad_fn}): eval() does not stop that"
        assert torch.is_grad_enabled(), "you left gradients switched off: nothing can be trained after you"
    with torch.no_grad():
        for name in _FUNCTIONS:
            _call(name, model, image.detach(), "under no_grad")
            assert not torch.is_grad_enabled(), f"gradients were off when {name} was called, and on afterwards"
