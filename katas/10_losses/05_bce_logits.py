"""Yes or no: why the loss takes the score and not the probability

For a yes-or-no question a model gives one score z, and sigmoid(z) = 1 / (1 + exp(-z)) is the probability p of a yes.
Binary cross-entropy is the mean of -(y·log p + (1 - y)·log(1 - p)). Both halves are needed: the second one punishes a
sure yes where the answer is no. `y` may lie between: 0.7 for "seven of ten people said yes".

On paper, sigmoid and then this formula is all. In float32 sigmoid(20) is exactly 1.0, and log(1 - 1) is -inf.
`nn.BCELoss` stops the log at -100 instead, so a score of -200 for a yes costs 100, with gradient 0: the example that is
most wrong teaches nothing. A clamp of p at 1e-7 is the same with 16.1. So `nn.BCEWithLogitsLoss` works on z itself:
-log(sigmoid(z)) is log(1 + exp(-z)), which `F.softplus(-z)` or `-F.logsigmoid(z)` compute safely for every z
(F is `torch.nn.functional`), and log(1 - sigmoid(z)) is log(sigmoid(-z)).

If you write it yourself, look at z = 0, where models with zero weights start. max(z, 0) - z·y + log(1 + exp(-|z|)) has
the right value. But if relu or clamp is the max, autograd's slopes at 0 don't add up to sigmoid(0) - y = ±0.5.

`pos_weight` multiplies the yes half only, so rare yeses count more; the sum is still divided by the number of elements.

What is asked here: the loss of probabilities, the loss of scores, and answers. Any function of torch may be used.

About 25 minutes. Before it: mse_shapes, where_nan, stable_softmax.

https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
"""

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def bce(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The binary cross-entropy of probabilities `p`, the mean over all elements: 0-d, and can be differentiated.

    `p`, strictly between 0 and 1, and `y`, from 0 to 1, both included, have one shape and dtype, float32 or float64:
    so has the result. Both stay as they are.
    """
    raise NotImplementedError("the mean of -(y log p + (1 - y) log(1 - p))")


def bce_logits(z: torch.Tensor, y: torch.Tensor, pos_weight: float = 1.0) -> torch.Tensor:
    """The binary cross-entropy of scores `z`, with the half that belongs to `y` multiplied by `pos_weight`.

    Shapes, dtypes and the mean as for `bce`; `pos_weight` is 0 or more. `z` is any number up to ±1e30: value and
    gradient are right for z = ±200, and for z = 0.
    """
    raise NotImplementedError("the same of sigmoid(z), but computed from z")


def predict(z: torch.Tensor) -> torch.Tensor:
    """1 where the probability of a yes is above one half, 0 where it is below; the shape of `z`.

    The dtype is yours: bool, an integer or a float. No `z` is nearer to 0 than 0.001. `z` stays as it is.
    """
    raise NotImplementedError("1 for a yes, 0 for a no")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "leaf Variable": "an argument is edited in place: it is a leaf, and it is the caller's",
    "between 0 and 1": "binary_cross_entropy wants probabilities, and z is a score: any number",
    "Boolean value of Tensor": "several numbers are neither true nor false: use torch.where, or arithmetic",
}


def _result(function: Any, *args: torch.Tensor, **options: float) -> torch.Tensor:
    """What the function gives, where that is a tensor, and its arguments are as they were."""
    __tracebackhide__ = True
    name = next(name for name in ("bce", "bce_logits", "predict") if globals()[name] is function)
    with explain(f"{name} raised on tensors of shape {tuple(args[0].shape)} and {args[0].dtype}", _SIGNS):
        with unchanged(f"{name} changed what it was given", **dict(zip("zy", args, strict=False))):
            result = function(*args, **options)
    assert isinstance(result, torch.Tensor), f"expected a tensor, got {type(result).__name__}"
    return result


def _is_none_of(loss: torch.Tensor, known: dict[str, Any]) -> None:
    """`loss` is none of these values, each of which is what a known mistake gives."""
    __tracebackhide__ = True
    for sentence, value in known.items():
        same = loss.numel() == 1 and math.isclose(loss.item(), float(value), rel_tol=1e-5)
        assert not same, f"got {loss.item():.4f}: {sentence}"


def _loss_and_slope(z: float, y: float, **options: float) -> tuple[float, float]:
    """bce_logits of one float32 element, and its gradient."""
    __tracebackhide__ = True
    score = torch.tensor([z], requires_grad=True)
    loss = _result(bce_logits, score, torch.tensor([y]), **options)
    assert loss.requires_grad, "the loss is cut from z: nothing can learn from it"
    with explain(f"backward of the loss raised at z = {z}, y = {y}"):
        loss.sum().backward()
    assert score.grad is not None, "no gradient reached z"
    return loss.sum().item(), score.grad.item()


def test_both_halves_count_and_a_target_may_lie_between():
    p, y = torch.tensor([[0.9, 0.2, 0.4], [0.3, 0.6, 0.8]]), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.7, 0.3]])
    yes, no = y * p.log(), (1 - y) * (1 - p).log()
    hard = (y > 0.5).float()
    loss = _result(bce, p, y)
    known = {
        "that is y·log p alone; where y is 0 nothing is punished": -yes.mean(),
        "that is without the logarithm, and training can push it below 0 for ever": -(y * p + (1 - y) * (1 - p)).mean(),
        "that is the mean without the minus": (yes + no).mean(),
        "that is the sum, not the mean over the elements": -(yes + no).sum(),
        "that is the sum divided by the rows, not by all elements": -(yes + no).sum() / 2,
        "the targets 0.7 and 0.3 were taken for 1 and 0": F.binary_cross_entropy(p, hard),
        "bce is given probabilities, and a sigmoid was applied to them": F.binary_cross_entropy_with_logits(p, y),
        "p and y are exchanged": F.binary_cross_entropy(y, p),
    }
    _is_none_of(loss, known)
    hard_part = 0.9 * 0.8 * 0.4 * 0.7
    soft_part = 0.7 * math.log(0.6) + 0.3 * math.log(0.4) + 0.3 * math.log(0.8) + 0.7 * math.log(0.2)
    check_tensor(loss, torch.tensor(-(math.log(hard_part) + soft_part) / 6), "the mean over 6 elements", rtol=1e-5)
    p = torch.tensor([0.001, 0.5, 0.98, 0.3, 0.7], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([1.0, 0.25, 0.0, 1.0, 0.5], dtype=torch.float64)
    want = F.binary_cross_entropy(p.detach().clone(), y.clone())
    loss = _result(bce, p, y)
    check_tensor(loss, want, "the mean over five elements, in float64", rtol=1e-5, requires_grad=True)
    (loss * -3).backward()
    want = -3 / 5 * ((p - y) / (p * (1 - p))).detach()
    check_tensor(p.grad, want, "the gradient of the mean, times -3 from above", rtol=1e-4, atol=1e-6)
    p, y = torch.tensor([0.3], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    step = _result(bce, p + 1e-9, y) - _result(bce, p, y)
    want = torch.tensor(-1e-9 / 0.3, dtype=torch.float64)
    check_tensor(step, want, "p is 1e-9 larger: float64 sees it, float32 does not", rtol=1e-3)


def test_the_loss_of_scores_is_the_loss_of_their_sigmoid():
    z, y = torch.tensor([5.0]), torch.tensor([1.0])
    loss = _result(bce_logits, z, y)
    twice = F.binary_cross_entropy_with_logits(z.sigmoid(), y)
    _is_none_of(loss, {"sigmoid was applied twice; a score of 5 for a yes costs .0067": twice})
    check_tensor(loss, torch.tensor(math.log1p(math.exp(-5))), "a score of 5 for a yes costs .0067", rtol=1e-4)
    for shape in ((4, 3), (7,)):
        torch.manual_seed(len(shape))
        z = (torch.randn(shape, dtype=torch.float64) * 4).requires_grad_()
        y = torch.rand(shape, dtype=torch.float64).round(decimals=1)
        want = F.binary_cross_entropy_with_logits(z.detach().clone(), y.clone())
        loss = _result(bce_logits, z, y)
        known = {
            "that is the sum, not the mean over the elements": want * y.numel(),
            "the targets between 0 and 1 were rounded": F.binary_cross_entropy_with_logits(z.detach(), y.round()),
        }
        _is_none_of(loss, known)
        said = f"the loss of targets between 0 and 1, of shape {shape}, as exact as float64"
        check_tensor(loss, want, said, rtol=1e-9, requires_grad=True)
        (loss * -3).backward()
        want = -3 * (z.detach().sigmoid() - y) / y.numel()
        check_tensor(z.grad, want, "the gradient is (sigmoid(z) - y) / number, times -3 from above", rtol=1e-8)


@pytest.mark.myth(
    says="nn.Sigmoid and nn.BCELoss are the same as nn.BCEWithLogitsLoss.",
    today="Only where p is not 0 or 1 in floats: BCELoss stops at 100, with gradient 0.",
)
@pytest.mark.parametrize(
    ("z", "y", "cost", "slope"),
    [(-200.0, 1.0, 200.0, -1.0), (20.0, 0.0, 20.0, 1.0), (1e30, 0.0, 1e30, 1.0), (-20.0, 1.0, 20.0, -1.0)],
    ids=["hopeless no", "sure yes", "hopeless yes", "sure no"],
)
def test_a_sure_and_wrong_score_costs_much_and_pulls_hard(z, y, cost, slope):
    loss, grad = _loss_and_slope(z, y)
    said = f"z = {z:g} with y = {y:g} costs {cost:g}"
    assert math.isfinite(loss), f"{said}, got {loss}: sigmoid or exp left the range of floats before the logarithm"
    assert loss != 100, f"{said}, got 100: that is where BCELoss stops the logarithm, with gradient {grad:g}"
    beyond, _ = _loss_and_slope(2 * z, y)
    assert loss > 0.95 * cost or not math.isclose(loss, beyond, rel_tol=1e-5), (
        f"{said}, got {loss:.4g}, with gradient {grad:g}; z = {2 * z:g} costs the same: something, "
        "like a clamp or an epsilon, hides the rest"
    )
    assert math.isclose(loss, cost, rel_tol=1e-6), f"{said}, got {loss:.6g}"
    assert math.isclose(grad, slope, rel_tol=1e-5), f"{said}, and its gradient is {slope:g}, got {grad:g}"
    weighted, weighted_grad = _loss_and_slope(z, y, pos_weight=3.0)
    times = 3 if y else 1
    said = f"{said}, with pos_weight=3.0 {times * cost:g} and gradient {times * slope:g}"
    assert math.isclose(weighted, times * cost, rel_tol=1e-6), f"{said}; got {weighted:.6g}"
    assert math.isclose(weighted_grad, times * slope, rel_tol=1e-5), f"{said}; got gradient {weighted_grad:g}"
    for easy in (200.0, 1000.0):
        loss, grad = _loss_and_slope(math.copysign(easy, -z), y)
        assert (loss, grad) == (0, 0), f"a sure and right score costs 0, with gradient 0; got {loss}, gradient {grad}"


@pytest.mark.myth(
    says="max(z, 0) - z·y + log(1 + exp(-|z|)) is all that a stable binary cross-entropy needs.",
    today="With relu or clamp as the max its value is right, but its slopes at z = 0 are not ±0.5.",
)
def test_the_gradient_at_zero_is_half_a_step_either_way():
    z = torch.zeros(4, requires_grad=True)
    y = torch.tensor([0.0, 1.0, 0.3, 1.0])
    loss = _result(bce_logits, z, y)
    assert loss.requires_grad, "the loss is cut from z: nothing can learn from it"
    with explain("backward of the loss raised at z = 0"):
        (loss * 4).backward()
    check_tensor(loss.detach(), torch.tensor(math.log(2)), "a score of 0 costs log 2, whatever y is", rtol=1e-6)
    want = torch.tensor([0.5, -0.5, 0.2, -0.5])
    said = "at z = 0 the gradient is sigmoid(0) - y, a model with zero weights starts there"
    check_tensor(z.grad, want, said, rtol=1e-5, atol=1e-6)
    _, grad = _loss_and_slope(0.0, 1.0, pos_weight=3.0)
    assert math.isclose(grad, -1.5, rel_tol=1e-5), f"z = 0, y = 1, pos_weight=3.0: the gradient is -1.5, got {grad:g}"


def test_pos_weight_multiplies_the_yes_half_only():
    z = torch.tensor([[1.5, -0.5, 2.0], [-3.0, 0.25, -1.0]], dtype=torch.float64)
    y = torch.tensor([[1.0, 0.0, 0.3], [1.0, 0.0, 1.0]], dtype=torch.float64)
    for w in (3.0, 0.5, 2.0, 1.0, 0.0):
        want = F.binary_cross_entropy_with_logits(z, y, pos_weight=torch.tensor(w, dtype=torch.float64))
        yes, no = y * F.softplus(-z), (1 - y) * F.softplus(z)
        loss = _result(bce_logits, z, y, pos_weight=w)
        known = {
            "pos_weight had no influence": (yes + no).mean(),
            "pos_weight multiplied both halves": w * (yes + no).mean(),
            "pos_weight multiplied the no half": (yes + w * no).mean(),
            "the sum is divided by the weights, and not by the number of elements": (w * yes + no).sum()
            / (w * y + 1 - y).sum(),
            "pos_weight multiplied the scores": F.binary_cross_entropy_with_logits(w * z, y),
        }
        if w != 1:
            _is_none_of(loss, known)
        check_tensor(loss, want, f"pos_weight={w}: the y half times {w}, then the mean", rtol=1e-9)


@pytest.mark.myth(
    says="Predict a yes where the output of the model is above 0.5.",
    today="That is the border for p. The output is a score, and sigmoid(z) is above 0.5 where z is above 0.",
)
def test_half_a_probability_is_a_score_of_zero():
    many = torch.linspace(-0.975, 0.975, 40)
    got = _result(predict, many)
    half = got.shape == many.shape and torch.equal(got.double(), (many > 0.5).double())
    assert not half, "the answers change at a score of 0.5: that is the border for p, for the score it is 0"
    for values, want in (
        ([-0.1, 0.3, 4.0], [0, 1, 1]),
        ([[0.45, -0.45, 0.01], [-1000.0, 1000.0, -0.01]], [[1, 0, 1], [0, 1, 0]]),
        ([2.6], [1]),
    ):
        z = torch.tensor(values)
        got = _result(predict, z)
        assert got.shape == z.shape, (
            f"one answer for each score: expected shape {tuple(z.shape)}, got {tuple(got.shape)}"
        )
        answers, right = got.detach().double(), torch.tensor(want).double()
        check_tensor(answers, right, f"the answers to the scores {values}")
