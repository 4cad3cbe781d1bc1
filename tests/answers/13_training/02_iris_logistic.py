"""Answers that people give to iris_logistic, right ones and wrong ones."""

import torch
from torch import nn
from torch.nn import functional as F

from dojo import Mistake


class _Scaled(nn.Module):
    """Standardises inside, with what it saw in training."""

    def __init__(self, x):
        super().__init__()
        self.register_buffer("mean", x.mean(0))
        self.register_buffer("std", x.std(0))
        self.fc = nn.Linear(2, 1)

    def forward(self, x):
        return self.fc((x - self.mean) / self.std).squeeze(-1)


def _fit_scaled(x, y):
    model = _Scaled(x)
    opt = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(1000):
        opt.zero_grad()
        nn.BCEWithLogitsLoss()(model(x), y.float()).backward()
        opt.step()
    return model.eval()


def _fit_two_scores(x, y):
    model = nn.Linear(2, 2)
    opt = torch.optim.Adam(model.parameters(), lr=0.3)
    for _ in range(600):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    return model


@torch.no_grad()
def _proba_two(model, x):
    return model(x).softmax(1)[:, 1]


def _fit_sgd(x, y):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))
    opt = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    for _ in range(1000):
        opt.zero_grad()
        logits = model(x)
        F.softplus(torch.where(y == 1, -logits, logits)).mean().backward()
        opt.step()
    return model


def _fit_batches(x, y):
    model = nn.Linear(2, 1)
    opt = torch.optim.Adam(model.parameters(), lr=0.1)
    data = torch.utils.data.TensorDataset(x, y.float().unsqueeze(1))
    for _ in range(100):
        for xb, yb in torch.utils.data.DataLoader(data, batch_size=25, shuffle=True):
            opt.zero_grad()
            F.binary_cross_entropy_with_logits(model(xb), yb).backward()
            opt.step()
    return model


class _Logistic(nn.Module):
    """Returns probabilities: the loss of the training takes the logits."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 1)

    def logit(self, x):
        return self.fc(x)[:, 0]

    def forward(self, x):
        return self.logit(x).sigmoid()


def _fit_probabilities(x, y):
    model = _Logistic()
    opt = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        opt.zero_grad()
        value = (
            F.binary_cross_entropy_with_logits(model.logit(x), y.to(x.dtype)) + 1e-5 * model.fc.weight.square().sum()
        )
        value.backward()
        return value

    opt.step(closure)
    return model


def _inference(model, x):
    with torch.inference_mode():
        return model(x)


def _fit_by_hand(x, y):
    """On standardised data, and then put back into raw centimetres."""
    mean, std = x.mean(0), x.std(0)
    w, b = torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)
    for _ in range(1000):
        value = F.binary_cross_entropy_with_logits((x - mean) / std @ w + b, y.float())
        for p, grad in zip((w, b), torch.autograd.grad(value, [w, b]), strict=True):
            p.data -= 2 * grad
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_((w / std).view(1, 2))
        model.bias.copy_(b - (w * mean / std).sum())
    return model


def _row_by_row(model, x):
    model.eval()
    return torch.FloatTensor([float(torch.sigmoid(model(row[None]))) for row in x])


RIGHT = [
    {
        "loss": lambda z, y: F.multilabel_soft_margin_loss(z[:, None], y[:, None].type_as(z)),
        "fit_logistic": _fit_by_hand,
        "predict_proba": _row_by_row,
        "predict": lambda m, x: torch.LongTensor([1 if p > 0.5 else 0 for p in _row_by_row(m, x)]),
    },
    {
        "loss": lambda z, y: nn.BCEWithLogitsLoss()(z, y.float()),
        "fit_logistic": _fit_scaled,
        "predict_proba": lambda m, x: torch.sigmoid(m(x)).detach(),
        "predict": lambda m, x: (m(x) > 0).to(torch.int64),
    },
    {
        "loss": lambda z, y: F.cross_entropy(torch.stack([torch.zeros_like(z), z], 1), y),
        "fit_logistic": _fit_two_scores,
        "predict_proba": _proba_two,
        "predict": lambda m, x: m(x).argmax(1),
    },
    {
        "loss": lambda z, y: (z.clamp(min=0) - z * y + torch.log1p(torch.exp(-z.abs()))).mean(),
        "fit_logistic": _fit_sgd,
        "predict_proba": lambda m, x: torch.special.expit(m(x)).data,
        "predict": lambda m, x: torch.where(m(x) > 0, 1, 0),
    },
    {
        "loss": lambda z, y: -F.logsigmoid(z * (2 * y - 1)).mean(),
        "fit_logistic": _fit_probabilities,
        "predict_proba": _inference,
        "predict": lambda m, x: _inference(m, x).round().long(),
    },
    {
        "fit_logistic": _fit_batches,
        "loss": lambda z, y: F.softplus(z).mean() - (z * y).mean(),
        "predict": lambda m, x: m(x).gt(0).int().long().flatten(),
    },
]


def _fit_doubly(x, y):
    model = nn.Sequential(nn.Linear(2, 1), nn.Sigmoid(), nn.Flatten(0))
    opt = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(1000):
        opt.zero_grad()
        nn.BCEWithLogitsLoss()(model(x), y.float()).backward()
        opt.step()
    return model


def _fit_short(x, y):
    model = nn.Linear(2, 1)
    opt = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(100):
        opt.zero_grad()
        F.binary_cross_entropy_with_logits(model(x)[:, 0], y.float()).backward()
        opt.step()
    return model


def _broadcast_loss(z, y):
    y = y.float().unsqueeze(1)
    return (F.softplus(z) - z * y).mean()


def _own_formula(z, y):
    p = 1 / (1 + torch.exp(-z))
    return -(y * torch.log(p + 1e-12) + (1 - y) * torch.log(1 - p + 1e-12)).mean()


def _zero_grad_once(x, y):
    model = nn.Linear(2, 1)
    opt = torch.optim.Adam(model.parameters(), lr=0.5)
    opt.zero_grad()
    for _ in range(500):
        F.binary_cross_entropy_with_logits(model(x).flatten(), y.float()).backward()
        opt.step()
    return model


_FEW = "was the training long and bold enough?"
_DEAD = "so the worst mistakes stop learning"


def _fit_once_more(x, y, model=nn.Linear(2, 1)):  # noqa: B008
    opt = torch.optim.Adam(model.parameters(), lr=0.5)
    for _ in range(500):
        opt.zero_grad()
        F.binary_cross_entropy_with_logits(model(x).view(-1), y.float()).backward()
        opt.step()
    return model


def _proba_and_off(model, x):
    torch.autograd.set_grad_enabled(False)
    return model(x).sigmoid().view(-1)


def _proba_hard(model, x):
    with torch.no_grad():
        return model(x).squeeze(1).gt(0).float()


WRONG = [
    Mistake("the second changed what the first learnt", caught_by="", fit_logistic=_fit_once_more),
    Mistake("as the labels are; got torch.float32", caught_by="", predict=lambda m, x: m(x).flatten().gt(0).float()),
    Mistake("after predict_proba torch records no graphs", caught_by="", predict_proba=_proba_and_off),
    Mistake("different probabilities: were they rounded?", caught_by="", predict_proba=_proba_hard),
    Mistake(_FEW, caught_by="", fit_logistic=_fit_doubly, predict_proba=lambda m, x: m(x).detach()),
    Mistake(
        "that is sigmoid of a sigmoid",
        caught_by="",
        fit_logistic=_fit_doubly,
        predict_proba=lambda m, x: m(x).sigmoid().detach(),
        predict=lambda m, x: (m(x).sigmoid() > 0.5).long(),
    ),
    Mistake(_FEW, caught_by="", fit_logistic=_fit_short),
    Mistake("gradients of the last step were still there", caught_by="", fit_logistic=_zero_grad_once),
    Mistake("a class is 0 or 1", caught_by="", predict=lambda m, x: (m(x).squeeze(1) > 0).long() + 1),
    Mistake(_FEW, caught_by="", fit_logistic=lambda x, y: nn.Linear(2, 1)),
    Mistake(_FEW, caught_by="", predict=lambda m, x: torch.softmax(m(x), 1).argmax(1)),
    Mistake("5 logits: loss", caught_by="", loss=_broadcast_loss),
    Mistake(_DEAD, caught_by="", loss=_own_formula),
    Mistake(_DEAD, caught_by="", loss=lambda z, y: nn.BCELoss()(z.sigmoid(), y.float())),
    Mistake(_DEAD, caught_by="", loss=lambda z, y: F.mse_loss(z.sigmoid(), y.float())),
    Mistake("both wrong: loss inf", caught_by="", loss=lambda z, y: ((1 + z.exp()).log() - z * y).mean()),
    Mistake(
        "That is the sum, and the mean is asked",
        caught_by="",
        loss=lambda z, y: (F.softplus(z) - z * y).sum(),
    ),
    Mistake("the mean over all is one number", caught_by="", loss=lambda z, y: F.softplus(z) - z * y),
    Mistake("That is the loss for the other class", caught_by="", loss=lambda z, y: F.softplus(z * (2 * y - 1)).mean()),
    Mistake(
        "no gradient can reach the logits", caught_by="", loss=lambda z, y: (F.softplus(z) - z * y).mean().detach()
    ),
    Mistake("is it still a logit?", caught_by="", predict_proba=lambda m, x: torch.tanh(m(x)).squeeze(1).detach()),
    Mistake("one probability for each", caught_by="", predict_proba=lambda m, x: torch.softmax(m(x), 1).detach()),
    Mistake(
        "is that the probability of class 0?",
        caught_by="",
        predict_proba=lambda m, x: 1 - torch.sigmoid(m(x)).squeeze(1).detach(),
    ),
    Mistake(
        "predict and predict_proba disagree",
        caught_by="",
        predict=lambda m, x: (m(x).squeeze(1) < 0).long(),
    ),
    Mistake(
        "that is logit 0.5, and probability 0.5 is logit 0",
        caught_by="",
        predict=lambda m, x: m(x).flatten().ge(0.5).to(torch.int64),
    ),
    Mistake("as the labels are; got torch.bool", caught_by="", predict=lambda m, x: m(x).flatten() > 0),
]
