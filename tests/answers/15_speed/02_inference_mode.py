"""Answers that people give to inference_mode, right ones and wrong ones."""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from dojo import Mistake


@torch.inference_mode()
def _decorated(model, x):
    was = model.training
    model.eval()
    probs = F.softmax(model(x), dim=1)
    model.train(was)
    return probs


def _if_it_trained(model, x):
    training = model.training
    if training:
        model.eval()
    with torch.inference_mode():
        probs = torch.softmax(model(x), dim=-1)
    if training:
        model.train()
    return probs


def _each_module(model, x):
    modes = [m.training for m in model.modules()]
    try:
        model.train(False)
        with torch.inference_mode(True):
            return nn.Softmax(dim=1)(model(x))
    finally:
        for m, mode in zip(model.modules(), modes, strict=True):
            m.training = mode


class _Eval:
    """A context manager of one's own: eval inside, the old mode after it."""

    def __init__(self, model):
        self.model, self.was = model, model.training

    def __enter__(self):
        return self.model.eval()

    def __exit__(self, *_):
        self.model.train(self.was)


def _context(model, x):
    with _Eval(model) as m, torch.inference_mode():
        z = m(x)
        e = torch.exp(z - z.max(dim=1, keepdim=True)[0])
        return e / e.sum(dim=1, keepdim=True)


def _log(model, x):
    was = model.training
    model.eval()
    with torch.inference_mode():
        probs = model(x).log_softmax(1).exp_()
    model.train(was)
    return probs


def _copied(model, x):
    with torch.inference_mode():
        return copy.deepcopy(model).eval()(x).softmax(dim=1)


def _difference(student, teacher_probs, x):
    return (student(x).softmax(1) - teacher_probs).pow(2).mean()


def _cloned(student, teacher_probs, x):
    return nn.MSELoss()(torch.softmax(student(x), 1), teacher_probs.clone().detach())


def _plain_copy(student, teacher_probs, x):
    target = torch.empty_like(teacher_probs)
    target.copy_(teacher_probs)
    return F.mse_loss(F.softmax(student(x), dim=1), target, reduction="mean")


def _grad_on(student, teacher_probs, x):
    with torch.enable_grad():
        d = student(x).softmax(dim=-1) - teacher_probs
        return torch.sum(d**2) / d.numel()


def _by_numpy(student, teacher_probs, x):
    return F.mse_loss(student(x).softmax(1), torch.from_numpy(teacher_probs.numpy().copy()))


def _clone_first(probs):
    probs = probs.clone()
    probs /= probs.max(dim=1, keepdim=True).values
    return probs


def _really_in_place(probs):
    with torch.inference_mode():
        return probs.div_(probs.amax(dim=1, keepdim=True))


def _sup_norm(probs):
    return F.normalize(probs, p=float("inf"), dim=1)


def _rows(probs):
    return torch.stack([row / row.max() for row in probs])


RIGHT = [
    {"predict": _decorated, "distill_loss": _difference, "normalize_": _clone_first},
    {"predict": _if_it_trained, "distill_loss": _cloned, "normalize_": _really_in_place},
    {"predict": _each_module, "distill_loss": _plain_copy, "normalize_": _sup_norm},
    {"predict": _log, "distill_loss": _grad_on, "normalize_": _rows},
    {"predict": _copied, "distill_loss": _by_numpy},
    {"predict": _context},
    {"normalize_": lambda probs: probs.clone().div_(probs.max(1)[0].unsqueeze(1))},
    {"normalize_": lambda probs: torch.div(probs.T, probs.max(dim=-1).values).T},
]


@torch.no_grad()
def _no_grad(model, x):
    return _decorated.__wrapped__(model, x)


@torch.inference_mode()
def _no_eval(model, x):
    return model(x).softmax(1)


@torch.inference_mode()
def _stays_in_eval(model, x):
    model.eval()
    return model(x).softmax(1)


@torch.inference_mode()
def _always_train(model, x):
    model.eval()
    probs = model(x).softmax(1)
    model.train()
    return probs


@torch.inference_mode()
def _along_the_batch(model, x):
    was = model.training
    model.eval()
    probs = F.softmax(model(x), dim=0)
    model.train(was)
    return probs


@torch.inference_mode()
def _logits(model, x):
    was = model.training
    model.eval()
    out = model(x)
    model.train(was)
    return out


def _no_grad_after(model, x):
    probs = _if_it_trained(model, x)
    return torch.as_tensor(probs * 1.0)


@torch.inference_mode()
def _normalised_by_sum(model, x):
    was = model.training
    model.eval()
    out = model(x).exp()
    model.train(was)
    return out / out.sum(dim=1, keepdim=True)


def _frozen(model, x):
    for p in model.parameters():
        p.requires_grad = False
    return _decorated(model, x)


def _optimizer_zero_grad(model, x):
    torch.optim.SGD(model.parameters(), lr=0.1).zero_grad()
    return _decorated(model, x)


def _switches(model, x):
    torch.set_grad_enabled(False)
    probs = _decorated(model, x)
    torch.set_grad_enabled(True)
    return probs


@torch.inference_mode()
def _double(model, x):
    was = model.training
    model.eval()
    probs = model(x).double().softmax(1)
    model.train(was)
    return probs


def _mse(student, teacher_probs, x):
    return nn.MSELoss()(student(x).softmax(1), teacher_probs)


def _data(student, teacher_probs, x):
    return F.mse_loss(student(x).softmax(1), teacher_probs.data)


def _kl(student, teacher_probs, x):
    return F.kl_div(student(x).log_softmax(1), teacher_probs.clone(), reduction="batchmean")


def _soft_cross_entropy(student, teacher_probs, x):
    return F.cross_entropy(student(x), teacher_probs)


def _batch_mean(student, teacher_probs, x):
    return F.mse_loss(student(x).softmax(1), teacher_probs.clone(), reduction="sum") / len(x)


def _exp_over_sum(student, teacher_probs, x):
    e = torch.exp(student(x))
    return F.mse_loss(e / e.sum(dim=1, keepdim=True), teacher_probs.clone())


def _detached_student(student, teacher_probs, x):
    return F.mse_loss(student(x).softmax(1).detach(), teacher_probs.clone())


@torch.inference_mode()
def _under_inference(student, teacher_probs, x):
    return F.mse_loss(student(x).softmax(1), teacher_probs)


def _no_softmax(student, teacher_probs, x):
    return F.mse_loss(student(x), teacher_probs.clone())


def _root(student, teacher_probs, x):
    return F.mse_loss(student(x).softmax(1), teacher_probs.clone()).sqrt()


def _trains(student, teacher_probs, x):
    student.train()
    return _difference(student, teacher_probs, x)


def _wrapped(student, teacher_probs, x):
    return F.mse_loss(student(x).softmax(1), teacher_probs.clone()).detach().requires_grad_()


def _div(probs):
    return probs.div_(probs.amax(1, keepdim=True))


def _mul(probs):
    probs *= 1 / probs.max(dim=1, keepdim=True).values
    return probs


def _each_row(probs):
    for row in probs:
        row /= row.max()
    return probs


_ORDINARY = "the prediction is an ordinary tensor"
_KEEPS = "autograd has to keep the teacher's tensor for backward"
_WRITES = "an inference tensor was changed outside of inference_mode"
_MEAN = "the mean of the squared differences"
_LEFT_MODE = "model is not as it was: its mode"
_FROZEN = "model.norm.weight is not as it was: requires_grad"
_CLEARED = "model.norm.weight is not as it was: its grad"
_MAXIMUM = "the maximum of each row becomes 1"

WRONG = [
    Mistake(_ORDINARY, caught_by="", predict=_no_grad),
    Mistake(_ORDINARY, caught_by="", predict=_no_grad_after),
    Mistake("dropout or batch norm was still in train mode", caught_by="", predict=_no_eval),
    Mistake(_LEFT_MODE, caught_by="", predict=_stays_in_eval),
    Mistake(_LEFT_MODE, caught_by="", predict=_always_train),
    Mistake("softmax goes along the classes", caught_by="", predict=_along_the_batch),
    Mistake("softmax goes along the classes", caught_by="", predict=_logits),
    Mistake("exp overflows", caught_by="", predict=_normalised_by_sum),
    Mistake(_FROZEN, caught_by="", predict=_frozen),
    Mistake(_CLEARED, caught_by="", predict=_optimizer_zero_grad),
    Mistake("and they are on after predict", caught_by="", predict=_switches),
    Mistake("a float32 model", caught_by="", predict=_double),
    Mistake(_KEEPS, caught_by="", distill_loss=_mse),
    Mistake(_KEEPS, caught_by="", distill_loss=_data),
    Mistake(_KEEPS, caught_by="", distill_loss=_soft_cross_entropy),
    Mistake(_MEAN, caught_by="", distill_loss=_kl),
    Mistake(_MEAN, caught_by="", distill_loss=_batch_mean),
    Mistake(_MEAN, caught_by="", distill_loss=_no_softmax),
    Mistake(_MEAN, caught_by="", distill_loss=_root),
    Mistake("exp overflows", caught_by="", distill_loss=_exp_over_sum),
    Mistake("the loss has no graph", caught_by="", distill_loss=_detached_student),
    Mistake("the loss has no graph", caught_by="", distill_loss=_under_inference),
    Mistake("backward does not reach norm.weight", caught_by="", distill_loss=_wrapped),
    Mistake("the loss is that of its mode", caught_by="", distill_loss=_trains),
    Mistake(_WRITES, caught_by="", normalize_=_div),
    Mistake(_WRITES, caught_by="", normalize_=_mul),
    Mistake(_WRITES, caught_by="", normalize_=_each_row),
    Mistake(_MAXIMUM, caught_by="", normalize_=lambda p: p / p.max(dim=0).values),
    Mistake(_MAXIMUM, caught_by="", normalize_=lambda p: p.softmax(1)),
    Mistake(_MAXIMUM, caught_by="", normalize_=lambda p: p / p.norm(dim=1, keepdim=True)),
    Mistake("got None where a tensor was expected", caught_by="", normalize_=lambda p: None),
    Mistake(
        "each value is divided by the maximum of its row",
        caught_by="",
        normalize_=lambda p: (p / p.amax(1, True)).round(),
    ),
    Mistake("normalize_ raised", caught_by="", normalize_=lambda p: p / p.max(1).values),
]
