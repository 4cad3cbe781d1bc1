"""Setosa or versicolor: a first classifier

Length and width of a sepal, in centimetres, are enough to tell two kinds of iris apart: a straight line lies between
them. `nn.Linear(2, 1)` has such a line: z = w1·x1 + w2·x2 + b is above 0 on one side of it. This z is the *logit*, any
number from -inf to inf. `torch.sigmoid(z)` = 1 / (1 + exp(-z)) makes a probability of it: logit 0 is probability 0.5.

The loss is binary cross-entropy, the mean of -log(the probability that was given to the right answer). Tutorials put a
sigmoid at the model's end and `nn.BCELoss` behind it. In float32 that breaks where it matters: sigmoid(200) is exactly
1, BCELoss stops at 100, and the gradient there is 0, so the worst mistakes teach nothing.
`F.binary_cross_entropy_with_logits(z, target)` (F is `torch.nn.functional`) takes the logits themselves and has no such
hole. But if z has been through a sigmoid before, the loss believes in probabilities from 0.5 to 0.73 only.

Two habits help. The target of this loss has the shape and the float dtype of z: `y.to(z.dtype)`; and (n, 1) is not
(n,): `squeeze(1)` drops the axis. And code that only answers stands in `with torch.no_grad():`, which records no graph;
after it, recording is as it was before.

What is asked here: a loss, a training, probabilities and answers that agree with each other. Model, optimizer and
number of steps are yours. Raw centimetres need a bold training, such as 500 steps of Adam with lr=0.5.

About 25 minutes. Before it: mse_shapes, training_step, predict_one, line_2x_plus_2.
Path: first_day

https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.binary_cross_entropy_with_logits.html
"""

import functools
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged
from dojo.kit.training import stale_gradients_found


def loss(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The mean binary cross-entropy, a 0-d tensor, of `logits`, float32 (n,), for classes `y`, int64 (n,), each 0 or 1.

    Gradients flow to the logits, also where those are as large as 10,000. n is 1 or more; both stay as they are.
    """
    raise NotImplementedError("return the mean loss")


def fit_logistic(x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    """A new model, trained on flowers `x`, float32 (n, 2) in centimetres, with classes `y`, int64 (n,), each 0 or 1.

    What the model returns is your choice: the tests call it through the two functions below only. It gets more than
    98.5 % of two kinds of iris right, whichever of them is called 1: on the average, flowers of class 0 get a
    probability below 0.2, and those of class 1 above 0.8. `x` and `y` stay as they are.
    Each step uses gradients of its own, without those of the step before.
    """
    raise NotImplementedError("make a model, train it, return it")


def predict_proba(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The probability of class 1 for each flower in `x`: float32 (n, 2) -> floats (n,), from 0 to 1, without a graph.

    n is 1 or more. A probability is not rounded, does not depend on the other flowers in `x`, and is also far away from
    all flowers a number from 0 to 1. `model` comes from fit_logistic; its weights and `x` stay as they are, and code
    that comes later records graphs as before.
    """
    raise NotImplementedError("return probabilities")


def predict(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The class of each flower in `x`: float32 (n, 2) -> int64 (n,), 1 where predict_proba is above 0.5, else 0.

    `x` stays as it is, and code that comes later records graphs as before.
    """
    raise NotImplementedError("return classes")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    r"must be the same as input size|size of tensor a|is different to the input size": "shapes (n, 1) and (n,) met: "
    "squeeze(1) drops the axis of 1",
    r"desired output type Long|dtype Long|found Long|expected scalar type Float": "the classes are int64 and the loss "
    "wants floats: y.to(logits.dtype)",
    r"target with class probabilities": "cross_entropy takes a score for each class, and here is one logit a flower",
    r"should be between 0 and 1": "BCELoss takes probabilities, and logits came",
    r"[Ii]n-?place": "a tensor that is not yours to change was edited in place",
}


def _check_recording(name) -> None:
    __tracebackhide__ = True
    assert torch.is_grad_enabled(), (
        f"after {name} torch records no graphs any more, for nobody; `with torch.no_grad():` is over with its block"
    )


@functools.cache
def _iris() -> tuple[torch.Tensor, torch.Tensor]:
    """Sepal length and width of 50 setosa, class 0, and then 50 versicolor, class 1."""
    from sklearn.datasets import load_iris

    data = load_iris()
    return torch.tensor(data.data[:100, :2], dtype=torch.float32), torch.tensor(data.target[:100], dtype=torch.int64)


@functools.cache
def _trained(kind: str) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """A model, and the flowers and classes that it learnt. In a "mixed" order, versicolor is class 0."""
    __tracebackhide__ = True
    x, y = _iris()
    torch.manual_seed(0)
    if kind == "mixed":
        order = torch.randperm(100)
        x, y = x[order], 1 - y[order]
    with (
        explain("fit_logistic raised on the 100 flowers", _SIGNS),
        unchanged("fit_logistic changed the data that it was given", x=x, y=y),
        stale_gradients_found(),
    ):
        model = fit_logistic(x, y)
    _check_recording("fit_logistic")
    assert isinstance(model, nn.Module), f"fit_logistic returns the model, an nn.Module; got {type(model).__name__}"
    if kind == "mixed":
        both = {id(p) for p in model.parameters()} & {id(p) for p in _trained("in order")[0].parameters()}
        assert not both, "two trainings gave a model with the same weights: the second changed what the first learnt"
    return model, x, y


def _probabilities(model, x, what) -> Any:
    """What predict_proba says: (n,), in float64."""
    __tracebackhide__ = True
    with explain(f"predict_proba raised for {what}", _SIGNS), unchanged("predict_proba changed the flowers", x=x):
        p = predict_proba(model, x)
    _check_recording("predict_proba")
    assert isinstance(p, torch.Tensor), f"predict_proba returns a tensor, got {type(p).__name__}"
    assert p.is_floating_point(), f"a probability is a float, got {p.dtype}"
    assert p.shape == (len(x),), f"{what}: one probability for each, {(len(x),)}; got the shape {tuple(p.shape)}"
    return p.detach().double()


def _classes(model, x, what) -> Any:
    """What predict says: (n,)."""
    __tracebackhide__ = True
    with explain(f"predict raised for {what}", _SIGNS), unchanged("predict changed the flowers", x=x):
        answers = predict(model, x)
    _check_recording("predict")
    assert isinstance(answers, torch.Tensor), f"predict returns a tensor, got {type(answers).__name__}"
    assert answers.shape == (len(x),), f"{what}: one class for each, {(len(x),)}; got the shape {tuple(answers.shape)}"
    return answers


@pytest.mark.parametrize("kind", ["in order", "mixed"])
def test_a_line_tells_setosa_from_versicolor(kind):
    model, x, y = _trained(kind)
    share = (_classes(model, x, "100 flowers") == y).double().mean().item()
    assert share > 0.985, (
        f"{share:.0%} of the 100 flowers are right after training, more than 98.5 % are asked: does z go into the loss "
        "as it is, and was the training long and bold enough?"
    )


@pytest.mark.myth(
    says="A classifier ends in a sigmoid, and the loss comes after it.",
    today="The loss with logits has the sigmoid inside: with a second one nothing is ever less likely than 0.5.",
)
@pytest.mark.parametrize("kind", ["in order", "mixed"])
def test_a_sigmoid_makes_a_probability_of_a_logit(kind):
    model, x, y = _trained(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = [p.requires_grad for p in model.parameters()]
    p = _probabilities(model, x, "100 flowers")
    low, high = p.min().item(), p.max().item()
    assert not p.isnan().any().item(), f"{int(p.isnan().sum())} of 100 probabilities are nan"
    assert low >= 0, f"a probability is from 0 to 1, and the lowest is {low:.5g}: is it still a logit?"
    assert high <= 1, f"a probability is from 0 to 1, and the highest is {high:.5g}: is it still a logit?"
    means = [p[y == k].mean().item() for k in (0, 1)]
    turned = means[0] > 0.8 and means[1] < 0.2
    assert not turned, f"flowers of class 1 get {means[1]:.3f} on the average: is that the probability of class 0?"
    twice = low > 0.499 and high < 0.7311
    assert not twice, f"all probabilities are from {low:.3f} to {high:.3f}: that is sigmoid of a sigmoid"
    unsure = "was the training long enough, and is this the sigmoid of each logit?"
    assert means[0] < 0.2, f"flowers of class 0 get {means[0]:.3f} on the average, and below 0.2 is asked: {unsure}"
    assert means[1] > 0.8, f"flowers of class 1 get {means[1]:.3f} on the average, and above 0.8 is asked: {unsure}"
    graph = predict_proba(model, x).requires_grad
    assert not graph, "the probabilities require a gradient: a graph was recorded for an answer; torch.no_grad()"
    for name, value in model.state_dict().items():
        check_tensor(value, before[name], f"predict_proba changed {name} of the model")
    frozen = trained != [p.requires_grad for p in model.parameters()]
    assert not frozen, "predict_proba changed requires_grad of the weights: afterwards nobody can train them"
    check_tensor(_probabilities(model, x, "100 flowers"), p, "asked twice, the same flowers get", atol=1e-6)
    alone = torch.cat([_probabilities(model, one, "a single flower") for one in x.split(1)[::9]])
    check_tensor(alone, p[::9], "flowers that come alone get another probability than among others", atol=1e-5)
    far = torch.tensor([[1e3, -1e3], [-1e3, 1e3], [1e4, 1e4], [-1e4, 3.0]])
    p = _probabilities(model, far, "points far away from all flowers")
    assert ((p >= 0) & (p <= 1)).all().item(), f"far away from all flowers, the probabilities are {p.tolist()}"


@pytest.mark.parametrize("kind", ["in order", "mixed"])
def test_probability_one_half_is_logit_zero(kind):
    model, x, _ = _trained(kind)
    grid = torch.cartesian_prod(torch.linspace(4.2, 7.1, 60), torch.linspace(1.9, 4.5, 60))
    p, answers = _probabilities(model, grid, "a grid of 3600 points"), _classes(model, grid, "a grid of 3600 points")
    kinds = len(p.unique())
    assert kinds > 100, f"3600 points of a grid get only {kinds} different probabilities: were they rounded?"
    sure = (p - 0.5).abs() > 1e-5
    wrong = int(((answers == 1) != (p > 0.5))[sure].sum())
    late = bool(((answers == 1) == (p > torch.sigmoid(torch.tensor(0.5)).item()))[sure].all())
    cause = (
        "answers change at probability 0.62: that is logit 0.5, and probability 0.5 is logit 0"
        if late
        else ("the class is 1 where the probability is above 0.5, and else 0")
    )
    assert not wrong, f"predict and predict_proba disagree at {wrong} of 3600 points: {cause}"
    for flowers in (x, x[:1], x[-1:]):
        answers = _classes(model, flowers, f"a batch of {len(flowers)}")
        assert answers.dtype == torch.int64, f"classes are int64, as the labels are; got {answers.dtype}"
        assert set(answers.tolist()) <= {0, 1}, f"a class is 0 or 1, got {sorted(set(answers.tolist()))}"


def _loss(logits, y) -> Any:
    """What loss says of these numbers, a 0-d tensor, and the gradient of three times it."""
    __tracebackhide__ = True
    z, target = torch.tensor(logits, requires_grad=True), torch.tensor(y)
    with explain(f"loss raised for {len(y)} logits", _SIGNS), unchanged("loss changed its arguments", z=z, y=target):
        value = loss(z, target)
    _check_recording("loss")
    assert isinstance(value, torch.Tensor), f"loss returns a tensor, got {type(value).__name__}"
    assert value.shape == (), f"the mean over all is one number, of shape (); got {tuple(value.shape)}"
    assert value.requires_grad, "the loss hangs on no graph: no gradient can reach the logits"
    with explain("the backward of loss raised", _SIGNS):
        (value * 3).backward()
    assert z.grad is not None, "no gradient came back to the logits"
    return value.detach().double(), z.grad.double()


@pytest.mark.myth(
    says="Sigmoid and BCELoss are the loss for two classes.",
    today="BCELoss is cut at 100 with gradient 0: at a logit of 200 for a no, the worst mistakes stop learning.",
)
def test_the_worst_mistakes_teach_the_most():
    for z in (200.0, 10_000.0, 30.0):
        value, grad = _loss([z, -z], [0, 1])
        told = f"logits {z:g} and {-z:g}, both wrong: loss {value.item():g}, gradient {(grad / 3).tolist()}"
        dead = not grad.any().item()
        assert not dead, (
            f"{told}. The gradient is 0, so the worst mistakes stop learning: the logits go into the loss as they are"
        )
        assert abs(value.item() - z) < 1e-3, f"{told}, and a loss of {z:g} was expected"
        check_tensor(grad / 3, torch.tensor([0.5, -0.5]).double(), f"{told}, and its pull was expected", atol=1e-3)
        value, grad = _loss([z, -z], [1, 0])
        told = f"logits {z:g} and {-z:g}, both right: loss {value.item():g}"
        assert abs(value.item()) < 1e-3, f"{told}, and about 0 was expected"
        assert grad.abs().max().item() < 1e-3, f"{told}, and a gradient that is not 0: {(grad / 3).tolist()}"


def test_the_loss_is_a_mean_over_flowers():
    """By hand: a logit of log 3 is a probability of 3/4, so a yes costs log 4/3, and a no costs log 4."""
    log = torch.tensor([2.0, 3.0, 4.0, 7.0]).log()
    log2, log3, log4, log7 = log.double().tolist()
    for logits, y, want in (
        ([log3], [1], log4 - log3),
        ([log3], [0], log4),
        ([log3, -log3, log7, -log7, log3], [1, 1, 0, 0, 0], (3 * log4 - log3 + 6 * log2 - log7) / 5),
    ):
        z, target = torch.tensor(logits), torch.tensor(y, dtype=torch.float32)
        as_torch = F.binary_cross_entropy_with_logits(z, target).item()
        value, grad = _loss(logits, y)
        told = f"{len(y)} logits: loss {value.item():.5f}, expected {want:.5f}"
        assert len(y) == 1 or abs(value.item() - want * len(y)) > 1e-4, (
            f"{told}. That is the sum, and the mean is asked"
        )
        turned = abs(value.item() - F.binary_cross_entropy_with_logits(z, 1 - target).item()) < 1e-5
        assert not turned, f"{told}. That is the loss for the other class"
        squeezed = F.binary_cross_entropy_with_logits(z.sigmoid(), target).item()
        assert abs(value.item() - squeezed) > 1e-5, f"{told}. That is the loss of sigmoid(logits): it goes in twice"
        assert want == pytest.approx(as_torch, rel=1e-5), "the number by hand and torch's own"
        assert value.item() == pytest.approx(want, rel=1e-4), told
        pull = (z.double().sigmoid() - target) / len(y)
        check_tensor(grad / 3, pull, f"{told}; its gradient is (probability - y) / n", rtol=1e-3, atol=1e-6)
