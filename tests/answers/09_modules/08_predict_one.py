"""Answers that people give to predict_one, right ones and wrong ones."""

import contextlib
import copy

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from dojo import Mistake


@contextlib.contextmanager
def _evaluating(model):
    modes = [m.training for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for m, mode in zip(model.modules(), modes, strict=True):
            m.training = mode


def _context(model, image):
    with _evaluating(model), torch.no_grad():
        return int(torch.argmax(model(image[None]), dim=1))


def _context_p(model, image):
    with _evaluating(model), torch.inference_mode():
        return F.softmax(model(image[None]), dim=-1).squeeze(0)


def _copied(model, image):
    with torch.no_grad():
        return copy.deepcopy(model).eval()(image.unsqueeze(0)).argmax(-1).item()


def _copied_p(model, image):
    return torch.softmax(copy.deepcopy(model).eval()(torch.stack([image])), dim=1).detach()[0]


def _parents_first(model, image):
    modes = {name: m.training for name, m in model.named_modules()}
    try:
        with torch.no_grad():
            return model.eval()(image.expand(1, *image.shape))
    finally:
        for name, m in model.named_modules():
            m.train(modes[name])


def _parents_first_one(model, image):
    return np.argmax(_parents_first(model, image).numpy()).item()


def _parents_first_p(model, image):
    return _parents_first(model, image).double().softmax(1)[0].to(image.dtype)


def _only_those_in_training(model, image):
    training = [m for m in model.modules() if m.training]
    for m in training:
        m.training = False
    try:
        return F.softmax(model(image.detach().reshape(1, *image.shape)), 1).detach().view(-1)
    finally:
        for m in training:
            m.training = True


def _from_probabilities(model, image):
    return _only_those_in_training(model, image).max(0).indices.item()


def _by_hand(model, image):
    with _evaluating(model), torch.no_grad():
        z = model(image.view(1, *image.shape)).flatten()
    e = torch.exp(z - z.max())
    return e / e.sum()


def _by_list(model, image):
    p = _by_hand(model, image).tolist()
    return p.index(max(p))


def _train_of_each(model, image):
    """By hand: the error is kept, and raised again."""
    was = [(m, m.training) for m in model.modules()]
    model.eval()
    error = logits = None
    try:
        logits = model(torch.cat([image.unsqueeze(0)])).data
    except Exception as caught:
        error = caught
    for m, mode in was:
        m.train(mode)
    if error is not None:
        raise error
    return logits


RIGHT = [
    dict(
        predict_one=lambda model, image: int(_train_of_each(model, image).numpy().argmax()),
        probabilities=lambda model, image: torch.nn.Softmax(dim=1)(_train_of_each(model, image)).squeeze(0),
    ),
    dict(predict_one=_context, probabilities=_context_p),
    dict(predict_one=_copied, probabilities=_copied_p),
    dict(predict_one=_parents_first_one, probabilities=_parents_first_p),
    dict(predict_one=_from_probabilities, probabilities=_only_those_in_training),
    dict(predict_one=_by_list, probabilities=_by_hand),
]


def _forgot_eval(model, image):
    with torch.no_grad():
        return model(image.unsqueeze(0)).argmax(1).item()


def _forgot_eval_p(model, image):
    with torch.no_grad():
        return F.softmax(model(image.unsqueeze(0)), 1)[0]


@torch.no_grad()
def _left_in_eval(model, image):
    return model.eval()(image[None]).argmax().item()


@torch.no_grad()
def _left_in_eval_p(model, image):
    return model.eval()(image[None]).softmax(1)[0]


def _if_training(model, image):
    was = model.training
    if was:
        model.eval()
    with torch.no_grad():
        y = model(image[None]).argmax().item()
    if was:
        model.train()
    return y


def _if_training_p(model, image):
    was = model.training
    if was:
        model.eval()
    try:
        with torch.no_grad():
            return model(image[None]).softmax(-1)[0]
    finally:
        if was:
            model.train()


@torch.no_grad()
def _named_children(model, image):
    modes = {n: c.training for n, c in model.named_children()}
    was = model.training
    model.eval()
    try:
        return model(image[None]).argmax().item()
    finally:
        model.train(was)
        for n, c in model.named_children():
            c.train(modes[n])


@torch.no_grad()
def _after_the_call(model, image):
    modes = [(m, m.training) for m in model.modules()]
    out = model.eval()(image[None]).argmax(dim=1).item()
    for m, mode in modes:
        m.training = mode
    return out


def _except(model, image):
    try:
        return _context(model, image)
    except Exception:
        return -1


def _no_batch(model, image):
    with _evaluating(model), torch.no_grad():
        return model(image).argmax().item()


def _batch_after_the_channels(model, image):
    with _evaluating(model), torch.no_grad():
        return model(image[:, None]).argmax().item()


def _tensor(model, image):
    with _evaluating(model), torch.no_grad():
        return model(image[None]).max(1)[1][0]


def _over_the_batch(model, image):
    with _evaluating(model), torch.no_grad():
        return model(image[None]).argmax(dim=0).sum().item()


def _no_softmax(model, image):
    with _evaluating(model), torch.no_grad():
        return model(image[None]).squeeze(0)


def _wrong_dim(model, image):
    with _evaluating(model), torch.no_grad():
        return F.softmax(model(image[None]), dim=0).squeeze()


def _kept_batch(model, image):
    with _evaluating(model), torch.no_grad():
        return F.softmax(model(image[None]), dim=1)


def _overflow(model, image):
    with _evaluating(model), torch.no_grad():
        e = torch.exp(model(image[None])[0])
    return e / torch.sum(e)


def _graph(model, image):
    with _evaluating(model):
        return model(image[None]).softmax(1)[0]


def _log(model, image):
    with _evaluating(model), torch.no_grad():
        return model(image[None]).log_softmax(1)[0]


def _on_again(model, image):
    torch.set_grad_enabled(False)
    p = _by_hand(model, image)
    torch.set_grad_enabled(True)
    return p


def _off(model, image):
    torch.set_grad_enabled(False)
    return _by_hand(model, image)


def _frozen(model, image):
    for p in model.parameters():
        p.requires_grad = False
    return _by_hand(model, image)


def _float(model, image):
    return torch.tensor(_by_hand(model, image).numpy().astype("float32"))


def _gradients_off_and_on(model, image):
    for p in model.parameters():
        p.requires_grad = False
    try:
        return _context_p(model, image)
    finally:
        for p in model.parameters():
            p.requires_grad = True


def _zeroed_first(model, image):
    for p in model.parameters():
        if p.grad is not None:
            p.grad.zero_()
    return _context(model, image)


def _through_float(model, image):
    return _context(model, torch.tensor(image.tolist()).to(image.dtype))


WRONG = [
    Mistake("and whoever called wants it back as it was", caught_by="", probabilities=_gradients_off_and_on),
    Mistake("and whoever called wants it back as it was", caught_by="", predict_one=_zeroed_first),
    Mistake("the highest of five negative logits", caught_by="", predict_one=_through_float),
    Mistake(
        "expected 4", caught_by="", predict_one=lambda m, x: _context_p(m, x).mul(1e4).round().int().argmax().item()
    ),
    Mistake("in eval mode no dropout is at work", caught_by="", predict_one=_forgot_eval),
    Mistake("probabilities in eval mode", caught_by="", probabilities=_forgot_eval_p),
    Mistake("and whoever called wants it back as it was", caught_by="", predict_one=_left_in_eval),
    Mistake("and whoever called wants it back as it was", caught_by="", probabilities=_left_in_eval_p),
    Mistake("and whoever called wants it back as it was", caught_by="", predict_one=_if_training),
    Mistake("and whoever called wants it back as it was", caught_by="", probabilities=_if_training_p),
    Mistake("and whoever called wants it back as it was", caught_by="", predict_one=_named_children),
    Mistake("and whoever called wants it back as it was", caught_by="", probabilities=_frozen),
    Mistake("was left in other modes than it came in", caught_by="", predict_one=_after_the_call),
    Mistake("the model's own error must come through", caught_by="", predict_one=_except),
    Mistake("an image without a batch dimension", caught_by="", predict_one=_no_batch),
    Mistake("the batch dimension comes first", caught_by="", predict_one=_batch_after_the_channels),
    Mistake("expected the class as an int", caught_by="", predict_one=_tensor),
    Mistake("came out for an image of shape", caught_by="", predict_one=_over_the_batch),
    Mistake("expected 1: the softmax", caught_by="", probabilities=_no_softmax),
    Mistake("sum to 5.0, expected 1", caught_by="", probabilities=_wrong_dim),
    Mistake("the batch dimension was to be taken off", caught_by="", probabilities=_kept_batch),
    Mistake("exp(1000) overflows", caught_by="", probabilities=_overflow),
    Mistake("eval() does not stop that", caught_by="", probabilities=_graph),
    Mistake("expected 1: the softmax", caught_by="", probabilities=_log),
    Mistake("gradients were off when", caught_by="", probabilities=_on_again),
    Mistake("you left gradients switched off", caught_by="", probabilities=_off),
    Mistake("dtype", caught_by="", probabilities=_float),
]
