"""One image, no side effects: reference.

Hint: Both functions need the same logits. Compute them in one helper of your own, which also tidies up.
Hint: Remember `m.training` of each m in `model.modules()`; write it back in a `finally`.
Hint: `with torch.no_grad():` around the call of the model, on `image.unsqueeze(0)`; `argmax` and `softmax` over dim -1.

Why: eval() and no_grad() are two switches: the first tells layers how to behave, the second tells autograd not to
record. A prediction needs both. The mode is kept in each module, so it has to be saved for each: `model.train(was)`
sets one value in the whole tree. In training mode even a prediction under no_grad moves the statistics of a batch norm:
the model is another one after you asked it.
"""

import copy

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dojo import Mistake


def _logits(model, image):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            return model(image.unsqueeze(0))[0]
    finally:
        for module, training in modes.items():
            module.training = training


def predict_one(model: nn.Module, image: torch.Tensor) -> int:
    return int(_logits(model, image).argmax())


def probabilities(model: nn.Module, image: torch.Tensor) -> torch.Tensor:
    return _logits(model, image).softmax(dim=0)


def _both(logits):
    """Both functions, from another way to the logits (1, classes)."""
    return dict(
        predict_one=lambda model, image: logits(model, image)[0].argmax().item(),
        probabilities=lambda model, image: logits(model, image)[0].softmax(0),
    )


def _thaws(model, image):
    model.requires_grad_(False)
    try:
        return _batch_of_one(model, image)
    finally:
        model.requires_grad_(True)


def _clears_gradients(model, image):
    model.zero_grad()
    return _batch_of_one(model, image)


def _modes_of_classes(model, image):
    modes = {type(module): module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            return model(image[None])
    finally:
        for module in model.modules():
            module.training = modes[type(module)]


def _image_in_float32(model, image):
    return _batch_of_one(model, image.float().to(image.dtype))


def _batch_of_one(model, image):
    return _logits(model, image)[None]


@torch.no_grad()
def _no_eval(model, image):
    return model(image[None])


@torch.no_grad()
def _eval_for_good(model, image):
    model.eval()
    return model(image[None])


@torch.no_grad()
def _train_at_the_end(model, image):
    model.eval()
    try:
        return model(image[None])
    finally:
        model.train()


@torch.no_grad()
def _mode_of_the_model(model, image):
    was = model.training
    model.eval()
    try:
        return model(image[None])
    finally:
        model.train(was)


@torch.no_grad()
def _modes_of_the_children(model, image):
    was = model.training
    modes = {child: child.training for child in model.children()}
    model.eval()
    try:
        return model(image[None])
    finally:
        model.training = was
        for child, training in modes.items():
            child.train(training)


@torch.no_grad()
def _innermost_first(model, image):
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        return model(image[None])
    finally:
        for module, training in reversed(modes):
            module.train(training)


@torch.no_grad()
def _only_known_layers(model, image):
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.Dropout):
                module.eval()
        return model(image[None])
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def _only_batch_norm(model, image):
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return model(image[None])
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def _only_the_flag_of_the_model(model, image):
    was, model.training = model.training, False
    try:
        return model(image[None])
    finally:
        model.training = was


@torch.no_grad()
def _no_finally(model, image):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    y = model(image[None])
    for module, training in modes.items():
        module.training = training
    return y


def _swallows(model, image):
    try:
        return _logits(model, image)[None]
    except ValueError:
        return torch.zeros(1, 5)


def _grad_left_off(model, image):
    y = _logits(model, image)[None]
    torch.set_grad_enabled(False)
    return y


def _grad_off_if_it_raises(model, image):
    was = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    y = _logits(model, image)[None]
    torch.set_grad_enabled(was)
    return y


def _grad_on_afterwards(model, image):
    torch.set_grad_enabled(False)
    try:
        return _logits(model, image)[None]
    finally:
        torch.set_grad_enabled(True)


def _with_graph(model, image):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        return model(image[None])
    finally:
        for module, training in modes.items():
            module.training = training


def _freezes(model, image):
    return _logits(model.requires_grad_(False), image)[None]


def _switches_the_image_off(model, image):
    return _logits(model, image.requires_grad_(False))[None]


def _in_place_batch(model, image):
    return _logits(model, image.unsqueeze_(0)[0])[None]


def _unbatched(model, image):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            return model(image)[None]
    finally:
        for module, training in modes.items():
            module.training = training


def _a_channel_more(model, image):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            return model(image.unsqueeze(1))
    finally:
        for module, training in modes.items():
            module.training = training


def _resets_statistics(model, image):
    y = _logits(model, image)[None]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.running_var.mul_(0.5)
    return y


_ONE = "test_a_model_takes_batches_and_one_image_becomes_a_batch_of_one"
_SAME = "test_in_eval_the_answer_is_the_same_each_time"
_MODE = "test_the_mode_of_each_module_is_as_it_was"
_ERROR = "test_an_error_of_the_model_comes_through_and_leaves_all_as_it_was"
_SOFTMAX = "test_probabilities_are_the_softmax_over_the_classes"
_GRAD = "test_eval_does_not_stop_gradients"
_BACK = "and whoever called wants it back as it was"


def _only_if_sure(model, image):
    p = probabilities(model, image)
    return int(p.argmax()) if p.max() > 0.3 else -1


MISTAKES = [
    Mistake("came out of five probabilities of about 0.2", caught_by=_ONE, predict_one=_only_if_sure),
    Mistake("an image without a batch dimension", caught_by=_ONE, **_both(_unbatched)),
    Mistake("the batch dimension comes first", caught_by=_ONE, **_both(_a_channel_more)),
    Mistake("expected the class as an int", caught_by=_ONE, predict_one=lambda m, x: _logits(m, x).argmax()),
    Mistake("expected the class as an int", caught_by=_ONE, predict_one=lambda m, x: _logits(m, x).argmax().numpy()),
    Mistake("expected the class as an int", caught_by=_ONE, predict_one=lambda m, x: [_logits(m, x).argmax().item()]),
    Mistake(
        "the classes are the last dimension",
        caught_by=_ONE,
        predict_one=lambda m, x: _batch_of_one(m, x).argmax(0).item(),
    ),
    Mistake(
        "came out for an image of shape", caught_by=_ONE, predict_one=lambda m, x: int(_batch_of_one(m, x).argmax(0)[0])
    ),
    Mistake("came out for an image of shape", caught_by=_ONE, predict_one=lambda m, x: int(_logits(m, x).max())),
    Mistake("came out for an image of shape", caught_by=_ONE, predict_one=lambda m, x: int(_logits(m, x).argmin())),
    Mistake("came out for an image of shape", caught_by=_ONE, predict_one=lambda m, x: int(_logits(m, x).argmax()) + 1),
    Mistake("in eval mode no dropout is at work", caught_by=_SAME, **_both(_no_eval)),
    Mistake("in eval mode no dropout is at work", caught_by=_SAME, **_both(_only_batch_norm)),
    Mistake("in eval mode no dropout is at work", caught_by=_SAME, **_both(_only_the_flag_of_the_model)),
    Mistake("in eval mode no dropout is at work", caught_by=_SAME, **_both(_only_known_layers)),
    Mistake(
        "probabilities in eval mode", caught_by=_SAME, probabilities=lambda m, x: _only_batch_norm(m, x)[0].softmax(0)
    ),
    Mistake(_BACK, caught_by=_MODE, **_both(_eval_for_good)),
    Mistake(_BACK, caught_by=_MODE, **_both(_train_at_the_end)),
    Mistake(_BACK, caught_by=_MODE, **_both(_mode_of_the_model)),
    Mistake(_BACK, caught_by=_MODE, **_both(_modes_of_the_children)),
    Mistake(_BACK, caught_by=_MODE, **_both(_innermost_first)),
    Mistake(_BACK, caught_by=_MODE, **_both(_freezes)),
    Mistake(_BACK, caught_by=_MODE, **_both(_thaws)),
    Mistake(_BACK, caught_by=_MODE, **_both(_clears_gradients)),
    Mistake(_BACK, caught_by=_MODE, **_both(_modes_of_classes)),
    Mistake("the highest of five negative logits", caught_by=_ONE, **_both(_image_in_float32)),
    Mistake("expected 4", caught_by=_ONE, predict_one=lambda m, x: int(_logits(m, x).abs().argmax())),
    Mistake("expected 4", caught_by=_ONE, predict_one=lambda m, x: int(_logits(m, x).relu().argmax())),
    Mistake(
        "an image in float64",
        caught_by=_SOFTMAX,
        probabilities=lambda m, x: _image_in_float32(m, x)[0].softmax(0),
    ),
    Mistake(
        "the softmax of the logits",
        caught_by=_SOFTMAX,
        probabilities=lambda m, x: (_logits(m, x) - _logits(m, x).max()).float().softmax(0).to(x.dtype),
    ),
    Mistake(_BACK, caught_by=_MODE, **_both(_resets_statistics)),
    Mistake("was left in other modes than it came in", caught_by=_ERROR, **_both(_no_finally)),
    Mistake("the model's own error must come through", caught_by=_ERROR, **_both(_swallows)),
    Mistake("gradients stayed switched off", caught_by=_ERROR, **_both(_grad_off_if_it_raises)),
    Mistake("the batch dimension was to be taken off", caught_by=_SAME, probabilities=lambda m, x: _batch_of_one(m, x)),
    Mistake("sum to 5.0, expected 1", caught_by=_SOFTMAX, probabilities=lambda m, x: _batch_of_one(m, x).softmax(0)[0]),
    Mistake("expected 1: the softmax", caught_by=_SOFTMAX, probabilities=_logits),
    Mistake("expected 1: the softmax", caught_by=_SOFTMAX, probabilities=lambda m, x: _logits(m, x).sigmoid()),
    Mistake("expected 1: the softmax", caught_by=_SOFTMAX, probabilities=lambda m, x: F.log_softmax(_logits(m, x), 0)),
    Mistake(
        "exp(1000) overflows",
        caught_by=_SOFTMAX,
        probabilities=lambda m, x: _logits(m, x).exp() / _logits(m, x).exp().sum(),
    ),
    Mistake(
        "the softmax of the logits",
        caught_by=_SOFTMAX,
        probabilities=lambda m, x: _logits(m, x).relu() / _logits(m, x).relu().sum(),
    ),
    Mistake(
        "the softmax of the logits",
        caught_by=_SOFTMAX,
        probabilities=lambda m, x: _logits(m, x).softmax(0).softmax(0),
    ),
    Mistake("dtype", caught_by=_SOFTMAX, probabilities=lambda m, x: _logits(m, x).float().softmax(0)),
    Mistake(
        "expected the probabilities as a tensor", caught_by=_SAME, probabilities=lambda m, x: _logits(m, x).tolist()
    ),
    Mistake("eval() does not stop that", caught_by=_GRAD, **_both(_with_graph)),
    Mistake("you left gradients switched off", caught_by=_GRAD, **_both(_grad_left_off)),
    Mistake("gradients were off when", caught_by=_GRAD, **_both(_grad_on_afterwards)),
    Mistake("the model and the image are not yours", caught_by=_GRAD, **_both(_switches_the_image_off)),
    Mistake("an image without a batch dimension", caught_by=_ONE, predict_one=lambda m, x: copy.deepcopy(m)(x)),
]
