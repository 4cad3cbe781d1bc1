"""inference_mode: faster than no_grad, and stickier: reference.

Hint: Two of the three functions get a tensor that nobody may write into, and that autograd may not keep. What makes an
ordinary one of it?
Hint: `torch.inference_mode()`, `model.eval()`, `model.train(mode)`; `Tensor.clone`; `Tensor.amax(dim, keepdim=True)`.
Hint: Remember the mode, predict under inference_mode, set the mode back. For the loss, give the clone of the target to
    mse_loss. Divide out of place.

Why: no_grad still keeps the version counter and the links from a view to its base, so that its results can be used in
any later graph; inference_mode drops both, and therefore nothing with a graph may rely on its results. Use it where
the numbers leave torch (a server, a metric), and no_grad where they come back as targets or features. A difference
needs neither operand for its gradient, so a hand-written (p - t)² works, until somebody writes it as a library loss.
"""

import torch
from torch import nn
from torch.nn.functional import mse_loss

from dojo import Mistake


def predict(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode():
            return model(x).softmax(1)
    finally:
        for module, mode in was_training.items():
            module.training = mode


def distill_loss(student: nn.Module, teacher_probs: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return mse_loss(student(x).softmax(1), teacher_probs.clone())


def normalize_(probs: torch.Tensor) -> torch.Tensor:
    return probs / probs.amax(1, keepdim=True)


# ── known mistakes ──


def _predicts(context=torch.inference_mode, mode=False, back=None, softmax=lambda y: y.softmax(1)):
    """Right, unless an argument says otherwise; `back` is the mode afterwards."""

    def predict(model, x):
        was = model.training
        if mode is not None:
            model.train(mode)
        with context():
            probs = softmax(model(x))
        model.train(was if back is None else back)
        return probs

    return predict


def _softmax_outside(model, x):
    was = model.training
    model.eval()
    with torch.inference_mode():
        logits = model(x)
    model.train(was)
    return logits.softmax(1)


def _cloned_outside(model, x):
    return predict(model, x).clone()


def _detached(model, x):
    was = model.training
    probs = model.eval()(x).softmax(1).detach()
    model.train(was)
    return probs


def _graph(model, x):
    was = model.training
    probs = model.eval()(x).softmax(1)
    model.train(was)
    return probs


def _grad_off(model, x):
    probs = predict(model, x)
    torch.set_grad_enabled(False)
    return probs


def _off_and_on(model, x):
    torch.set_grad_enabled(False)
    probs = predict(model, x)
    torch.set_grad_enabled(True)
    return probs


def _only_the_root(model, x):
    probs = _predicts()(model, x)
    model.eval()
    model.training = True
    return probs


def _freezes(model, x):
    model.requires_grad_(False)
    return predict(model, x)


def _freezes_and_thaws(model, x):
    model.requires_grad_(False)
    probs = predict(model, x)
    model.requires_grad_(True)
    return probs


def _zeros(model, x):
    model.zero_grad(set_to_none=False)
    return predict(model, x)


def _clears(model, x):
    model.zero_grad()
    return predict(model, x)


def _numpy(model, x):
    return torch.from_numpy(predict(model, x).numpy())


def _train_first(model, x):
    with torch.inference_mode():
        model.train()
        model(x)
    return predict(model, x)


def _by_hand(y):
    return y.exp() / y.exp().sum(1, keepdim=True)


def _raw(student, teacher_probs, x):
    return mse_loss(student(x).softmax(1), teacher_probs)


def _product(student, teacher_probs, x):
    p = student(x).softmax(1)
    return (p * p - 2 * p * teacher_probs + teacher_probs * teacher_probs).mean()


def _detach_target(student, teacher_probs, x):
    return _raw(student, teacher_probs.detach(), x)


def _clone_inside(student, teacher_probs, x):
    with torch.inference_mode():
        teacher_probs = teacher_probs.clone()
    return _raw(student, teacher_probs, x)


def _student_predicts(student, teacher_probs, x):
    return (predict(student, x) - teacher_probs).square().mean()


def _all_under_no_grad(student, teacher_probs, x):
    with torch.no_grad():
        return distill_loss(student, teacher_probs, x)


def _requires(student, teacher_probs, x):
    teacher_probs.requires_grad_()
    return distill_loss(student, teacher_probs, x)


def _in_place(student, teacher_probs, x):
    return teacher_probs.sub_(student(x).softmax(1)).square().mean()


def _in_place_inside(student, teacher_probs, x):
    loss = distill_loss(student, teacher_probs, x)
    with torch.inference_mode():
        teacher_probs.sub_(student(x).softmax(1))
    return loss


def _distance(reduce=torch.mean, of=lambda p, t: (p - t).square(), softmax=lambda y: y.softmax(1), before=None):
    """Right, unless an argument says otherwise."""

    def distill_loss(student, teacher_probs, x):
        if before:
            before(student)
        return reduce(of(softmax(student(x)), teacher_probs.clone()))

    return distill_loss


def _backward_too(student, teacher_probs, x):
    loss = distill_loss(student, teacher_probs, x)
    loss.backward(retain_graph=True)
    return loss


def _clears_first(student, teacher_probs, x):
    student.zero_grad()
    return distill_loss(student, teacher_probs, x)


def _head_only(student, teacher_probs, x):
    with torch.no_grad():
        h = student.norm(x)
    return (student.out(student.drop(h)).softmax(1) - teacher_probs).square().mean()


def _eval_and_back(student, teacher_probs, x):
    was = student.training
    student.eval()
    loss = distill_loss(student, teacher_probs, x)
    student.train(was)
    return loss


def _divides(probs):
    probs /= probs.amax(1, keepdim=True)
    return probs


def _copies_into(probs):
    return probs.copy_(probs / probs.amax(1, keepdim=True))


def _row_by_row(probs):
    for i in range(len(probs)):
        probs[i] = probs[i] / probs[i].max()
    return probs


def _min_max(probs):
    low = probs.amin(1, keepdim=True)
    return (probs - low) / (probs.amax(1, keepdim=True) - low)


def _nothing_returned(probs):
    with torch.inference_mode():
        probs.div_(probs.amax(1, keepdim=True))


_ORDINARY = "the prediction is an ordinary tensor"
_KEEPS = "autograd has to keep the teacher's tensor for backward"
_WRITES = "an inference tensor was changed outside of inference_mode"
_MEAN = "the mean of the squared differences"
_MAXIMUM = "the maximum of each row becomes 1"
_LEFT_MODE = "model is not as it was: its mode"
_FROZEN = "model.norm.weight is not as it was: requires_grad"
_CLEARED = "model.norm.weight is not as it was: its grad"
_EVAL = "test_a_prediction_is_made_in_eval_mode"
_IS = "test_an_inference_tensor_is_one_outside_of_the_block_too"
_MODEL = "test_predict_leaves_the_model_as_it_was"
_STUDENT = "test_a_loss_on_an_inference_tensor_reaches_the_student"
_MODE = "test_the_mode_of_the_student_is_the_callers"
_OUTSIDE = "test_outside_of_the_block_an_inference_tensor_is_not_written_to"

MISTAKES = [
    Mistake("dropout or batch norm was still in train mode", caught_by=_EVAL, predict=_predicts(mode=None)),
    Mistake("softmax of what it says in eval mode", caught_by=_EVAL, predict=_predicts(mode=True)),
    Mistake(
        "softmax of what it says in eval mode",
        caught_by=_EVAL,
        predict=_predicts(softmax=lambda y: (y / 2).softmax(1)),
    ),
    Mistake("a float32 model", caught_by=_EVAL, predict=_predicts(softmax=lambda y: y.double().softmax(1))),
    Mistake("softmax goes along the classes", caught_by=_EVAL, predict=_predicts(softmax=lambda y: y.softmax(0))),
    Mistake("softmax goes along the classes", caught_by=_EVAL, predict=_predicts(softmax=lambda y: y)),
    Mistake("softmax goes along the classes", caught_by=_EVAL, predict=_predicts(softmax=lambda y: y.log_softmax(1))),
    Mistake("softmax goes along the classes", caught_by=_EVAL, predict=_predicts(softmax=lambda y: y.sigmoid())),
    Mistake("expected shape (5, 3), got (5,)", caught_by=_EVAL, predict=_predicts(softmax=lambda y: y.argmax(1))),
    Mistake("exp overflows", caught_by=_EVAL, predict=_predicts(softmax=_by_hand)),
    Mistake(
        "softmax of what it says in eval mode",
        caught_by=_EVAL,
        predict=_predicts(softmax=lambda y: y.softmax(1).float()),
    ),
    Mistake("predict returns a tensor, not list", caught_by=_IS, predict=lambda m, x: predict(m, x).tolist()),
    Mistake(_ORDINARY, caught_by=_IS, predict=_predicts(context=torch.no_grad)),
    Mistake(_ORDINARY, caught_by=_IS, predict=_softmax_outside),
    Mistake(_ORDINARY, caught_by=_IS, predict=_cloned_outside),
    Mistake(_ORDINARY, caught_by=_IS, predict=_detached),
    Mistake(_ORDINARY, caught_by=_IS, predict=_numpy),
    Mistake(_ORDINARY, caught_by=_IS, predict=_graph),
    Mistake(_LEFT_MODE, caught_by=_MODEL, predict=_predicts(back=False)),
    Mistake(_LEFT_MODE, caught_by=_MODEL, predict=_predicts(back=True)),
    Mistake("model.norm is not as it was: its mode", caught_by=_MODEL, predict=_only_the_root),
    Mistake("model.norm.running_mean is not as it was", caught_by=_MODEL, predict=_train_first),
    Mistake(_FROZEN, caught_by=_MODEL, predict=_freezes),
    Mistake("model.out.bias is not as it was: requires_grad", caught_by=_MODEL, predict=_freezes_and_thaws),
    Mistake(_CLEARED, caught_by=_MODEL, predict=_clears),
    Mistake(_CLEARED, caught_by=_MODEL, predict=_zeros),
    Mistake("gradients are switched off", caught_by=_MODEL, predict=_grad_off),
    Mistake("and they are on after predict", caught_by=_MODEL, predict=_off_and_on),
    Mistake(_KEEPS, caught_by=_STUDENT, distill_loss=_raw),
    Mistake(_KEEPS, caught_by=_STUDENT, distill_loss=_product),
    Mistake(_KEEPS, caught_by=_STUDENT, distill_loss=_detach_target),
    Mistake(_KEEPS, caught_by=_STUDENT, distill_loss=_clone_inside),
    Mistake("the loss has no graph", caught_by=_STUDENT, distill_loss=_student_predicts),
    Mistake("the loss has no graph", caught_by=_STUDENT, distill_loss=_all_under_no_grad),
    Mistake("can never require a gradient", caught_by=_STUDENT, distill_loss=_requires),
    Mistake(_WRITES, caught_by=_STUDENT, distill_loss=_in_place),
    Mistake("the teacher's probabilities have changed", caught_by=_STUDENT, distill_loss=_in_place_inside),
    Mistake(_MEAN, caught_by=_STUDENT, distill_loss=_distance(of=lambda p, t: (p - t).square().sum(1))),
    Mistake(_MEAN, caught_by=_STUDENT, distill_loss=_distance(reduce=torch.sum)),
    Mistake(_MEAN, caught_by=_STUDENT, distill_loss=lambda student, t, x: distill_loss(student, t.float(), x)),
    Mistake(_MEAN, caught_by=_STUDENT, distill_loss=_distance(of=lambda p, t: (p - t).abs())),
    Mistake(_MEAN, caught_by=_STUDENT, distill_loss=_distance(softmax=lambda y: y)),
    Mistake(_MEAN, caught_by=_STUDENT, distill_loss=_distance(softmax=lambda y: y.softmax(0))),
    Mistake(_MEAN, caught_by=_STUDENT, distill_loss=_distance(of=lambda p, t: (p - t.softmax(1)).square())),
    Mistake(_MEAN, caught_by=_STUDENT, distill_loss=_distance(of=lambda p, t: -(t * p.log()))),
    Mistake("one loss for the batch", caught_by=_STUDENT, distill_loss=_distance(reduce=lambda x: x.mean(1))),
    Mistake(
        "distill_loss returns a tensor, not float",
        caught_by=_STUDENT,
        distill_loss=lambda student, t, x: distill_loss(student, t, x).item(),
    ),
    Mistake("the gradients of the student have changed", caught_by=_STUDENT, distill_loss=_backward_too),
    Mistake("the gradients of the student have changed", caught_by=_STUDENT, distill_loss=_clears_first),
    Mistake("backward does not reach norm.weight", caught_by=_STUDENT, distill_loss=_head_only),
    Mistake("the loss is that of its mode", caught_by=_MODE, distill_loss=_distance(before=lambda s: s.train())),
    Mistake("the loss is that of its mode", caught_by=_MODE, distill_loss=_distance(before=lambda s: s.eval())),
    Mistake("the loss is that of its mode", caught_by=_MODE, distill_loss=_eval_and_back),
    Mistake("exp overflows", caught_by=_MODE, distill_loss=_distance(softmax=_by_hand)),
    Mistake(_WRITES, caught_by=_OUTSIDE, normalize_=_divides),
    Mistake(_WRITES, caught_by=_OUTSIDE, normalize_=_copies_into),
    Mistake(_WRITES, caught_by=_OUTSIDE, normalize_=_row_by_row),
    Mistake(_MAXIMUM, caught_by=_OUTSIDE, normalize_=lambda p: p / p.max()),
    Mistake(_MAXIMUM, caught_by=_OUTSIDE, normalize_=lambda p: p / p.amax(0)),
    Mistake(_MAXIMUM, caught_by=_OUTSIDE, normalize_=lambda p: p / p.sum(1, keepdim=True)),
    Mistake(_MAXIMUM, caught_by=_OUTSIDE, normalize_=lambda p: nn.functional.normalize(p, dim=1)),
    Mistake("normalize_ raised", caught_by=_OUTSIDE, normalize_=lambda p: p / p.amax(1)),
    Mistake("each value is divided by the maximum of its row", caught_by=_OUTSIDE, normalize_=_min_max),
    Mistake(
        "each value is divided by the maximum of its row",
        caught_by=_OUTSIDE,
        normalize_=lambda p: normalize_(p.float()).to(p.dtype),
    ),
    Mistake("got None where a tensor was expected", caught_by=_OUTSIDE, normalize_=_nothing_returned),
]
