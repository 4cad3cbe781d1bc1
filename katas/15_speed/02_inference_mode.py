"""inference_mode: faster than no_grad, and stickier

Under `torch.no_grad()` nothing is recorded, and what comes out is an ordinary tensor. `torch.inference_mode()` leaves
out more: such a tensor has no version counter, the number by which autograd notices that somebody wrote into a tensor
that it still needs. That saves a little at each operation, which counts for a small model that is asked often. Both are
used as `with torch.inference_mode():` or as a decorator, `@torch.inference_mode()`. Neither switches dropout off:
eval() does.

The price is paid later, by whoever uses the result. `t.is_inference()` stays True outside of the block, and then

- autograd refuses to keep it: "Inference tensors cannot be saved for backward". A product w * t keeps t for the
  gradient of w, and `mse_loss(y, t)` keeps both, so training on targets of a teacher fails, far from the line that made
  them. A difference y - t keeps neither, and (y - t)² works, as the difference is an ordinary tensor;
- it must not be changed: "Inplace update to inference tensor outside InferenceMode is not allowed".

`t.clone()`, outside of the block, is an ordinary tensor with the same values. `t.detach()` is not: it is the same
memory, and still an inference tensor. What is computed from it outside, such as t / 2, is an ordinary tensor again.

What is asked here: predictions, a loss that trains a student on them, and a change to them.

About 20 minutes. Before it: stop_gradient, predict_one, stable_softmax.
Path: first_day

https://docs.pytorch.org/docs/stable/notes/autograd.html#inference-mode
"""

import copy

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, raises, unchanged


def predict(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The probabilities (N, C) for the rows of `x` (N, F): softmax along the classes of what `model(x)` says in eval.

    `model(x)` are logits (N, C), however large. The result is an inference tensor, in their dtype. The model comes
    wholly in train mode or wholly in eval mode, and is so afterwards. x is as it was, and so are the model's
    parameters, which of them require a gradient, their gradients, and its buffers; and torch.is_grad_enabled().
    """
    raise NotImplementedError("softmax of the model in eval mode, under inference_mode")


def distill_loss(student: nn.Module, teacher_probs: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The mean over all N * C values of (softmax of `student(x)` along the classes - `teacher_probs`)², 0-d.

    `student(x)` are logits (N, C), however large. `teacher_probs` (N, C) has no graph, and may be an inference tensor;
    it stays as it is. The result has a graph, so that its backward() reaches the student; no backward runs here, and
    gradients that are there stay as they are. The mode of the student is the caller's.
    """
    raise NotImplementedError("the mean squared difference of two rows of probabilities")


def normalize_(probs: torch.Tensor) -> torch.Tensor:
    """Divide each row of `probs` (N, C), which are above 0, by the largest value of that row.

    `probs` may be an inference tensor. In spite of the underscore, only what is returned counts: whether it is `probs`
    itself or a new tensor is yours to choose. Same dtype, same shape.
    """
    raise NotImplementedError("divide each row by its maximum")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


class _Net(nn.Module):
    """Batch norm, dropout and a linear layer: 4 features, 3 classes; its logits are multiplied by `scale`."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.norm, self.drop, self.out = nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3)
        self.scale = scale
        with torch.no_grad():
            self.norm.running_mean.add_(1.0)
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.drop(self.norm(x))) * self.scale


def _rows(n: int) -> torch.Tensor:
    return torch.arange(4.0 * n, dtype=torch.float64).reshape(n, 4).sin() * 2


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    """By hand, and by torch: both say the same."""
    powers = (logits - logits.amax(1, keepdim=True)).exp()
    by_hand = powers / powers.sum(1, keepdim=True)
    assert torch.allclose(by_hand, logits.softmax(1)), "exp(x) over its sum along the classes is softmax(1)"
    return by_hand


def _in_eval(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return _softmax(copy.deepcopy(model).eval()(x))


_SIGNS = {
    "cannot be saved for backward": "autograd has to keep the teacher's tensor for backward, and that is an inference "
    "tensor: clone it first, outside of inference_mode (detach() is no clone)",
    "Inplace update to inference tensor": "an inference tensor was changed outside of inference_mode: divide into a "
    "new tensor, or change a clone",
    "Setting requires_grad=True on inference": "an inference tensor can never require a gradient; a clone can",
}


def _predict(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    __tracebackhide__ = True
    with explain("predict raised", _SIGNS):
        got = predict(model, x)
    assert isinstance(got, torch.Tensor), f"predict returns a tensor, not {type(got).__name__}"
    assert torch.is_grad_enabled(), "gradients are switched off after predict"
    return got


@pytest.mark.parametrize("n", [5, 3, 1], ids=["five rows", "three rows", "one row"])
def test_a_prediction_is_made_in_eval_mode(n):
    model, x = _Net(), _rows(n)
    want = _in_eval(model, x)
    for mode in (False, True):
        got = _predict(model.train(mode), x)
        told = f"a model with dropout, in {'train' if mode else 'eval'} mode before the call"
        assert got.shape == want.shape, f"{told}: expected shape {tuple(want.shape)}, got {tuple(got.shape)}"
        sums = got.detach().sum(1)
        ones = torch.allclose(sums.double(), torch.ones(n, dtype=torch.float64), atol=1e-5)
        assert ones, f"{told}: each row adds up to 1, softmax goes along the classes; the sums are {sums.tolist()}"
        known = torch.allclose(got.detach().double(), want, atol=1e-5)
        late = f"{told}: right for a model that is in eval mode already, and not for this one: dropout or batch norm"
        assert known or not mode, f"{late} was still in train mode"
        check_tensor(got, want, f"{told}: softmax of what it says in eval mode", rtol=1e-9, requires_grad=False)
    got = _predict(_Net(scale=2000.0), x)
    told = f"logits of a thousand and more{': exp overflows' * bool(got.isnan().any())}"
    check_tensor(got, _in_eval(_Net(scale=2000.0), x), told, atol=1e-12)
    got = _predict(_Net().float(), x.float())
    check_tensor(got, want.float(), "a float32 model: probabilities in its dtype", rtol=1e-4, atol=1e-6)


def test_an_inference_tensor_is_one_outside_of_the_block_too():
    got = _predict(_Net(), _rows(5))
    ordinary = not got.is_inference()
    assert not ordinary, (
        "the prediction is an ordinary tensor, is_inference() is False: no_grad makes such tensors, and so does all "
        "that is computed outside of inference_mode, softmax or clone"
    )
    assert got.detach().is_inference(), "detach() of an inference tensor is one too"
    assert not got.clone().is_inference(), "clone() of an inference tensor, outside of the block, is an ordinary one"


def test_predict_leaves_the_model_as_it_was():
    for mode in (True, False):
        model, x = _Net().train(mode), _rows(5)
        model.out.bias.requires_grad_(False)
        model(x)[:, 0].sum().backward()
        with unchanged("predict changed what it got: the model and x are to be as before", model=model, x=x):
            _predict(model, x)
    with torch.no_grad(), explain("predict raised", _SIGNS):
        predict(model, x)
        assert not torch.is_grad_enabled(), "the caller has switched gradients off, and they are on after predict"


def _loss(student: nn.Module, probs: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    __tracebackhide__ = True
    with explain("distill_loss raised", _SIGNS):
        got = distill_loss(student, probs, x)
    assert isinstance(got, torch.Tensor), f"distill_loss returns a tensor, not {type(got).__name__}"
    assert got.shape == (), f"one loss for the batch, 0-d; got shape {tuple(got.shape)}"
    return got


_TARGETS = [[0.7, 0.1, 0.2], [0.05, 0.9, 0.05], [0.0, 0.0, 1.0], [0.3, 0.1, 0.6], [1.0, 0.0, 0.0]]


@pytest.mark.myth(
    says="inference_mode is no_grad, but faster: replace one with the other.",
    today="Its tensors stay marked: autograd refuses to save one for backward, and none may be changed outside.",
)
def test_a_loss_on_an_inference_tensor_reaches_the_student():
    x, values = _rows(5), torch.tensor(_TARGETS, dtype=torch.float64)
    for by in ("inference_mode", "no_grad"):
        with torch.inference_mode(by == "inference_mode"):
            probs = values.clone()
        student, twin = _Net().eval(), _Net().eval()
        for p in student.parameters():
            p.grad = torch.ones_like(p)
        want = (_softmax(twin(x)) - values).square().sum() / 15
        gradients = torch.autograd.grad(want * 3, list(twin.parameters()))
        got = _loss(student, probs, x)
        told = f"with targets made under {by}"
        assert got.requires_grad, f"{told}, the loss has no graph: backward() will not reach the student"
        check_tensor(got, want.detach(), f"{told}: the mean of the squared differences", rtol=1e-9)
        untouched = all(p.grad is not None and bool((p.grad == 1).all()) for p in student.parameters())
        assert untouched, "the gradients of the student have changed: distill_loss only computes, the caller trains"
        student.zero_grad()
        with explain(f"{told}, backward of the loss raised", _SIGNS):
            (got * 3).backward()
        for (name, p), gradient in zip(student.named_parameters(), gradients, strict=True):
            assert p.grad is not None, f"{told}, backward does not reach {name} of the student"
            check_tensor(p.grad, gradient, f"{told}: the gradient of {name}", rtol=1e-9, atol=1e-15)
        assert torch.equal(probs, values), f"{told}, the teacher's probabilities have changed"
    with raises(RuntimeError, "an inference tensor was saved for backward", match="Inference tensors cannot be saved"):
        with torch.inference_mode():
            probs = values.clone()
        nn.functional.mse_loss(student(x).softmax(1), probs)


def test_the_mode_of_the_student_is_the_callers():
    x, values = _rows(5), torch.tensor(_TARGETS, dtype=torch.float64)
    for mode in (True, False):
        student, twin = _Net().train(mode), _Net().train(mode)
        torch.manual_seed(7)
        want = (_softmax(twin(x)) - values).square().mean().detach()
        torch.manual_seed(7)
        got = _loss(student, values.clone(), x)
        told = f"a student in {'train' if mode else 'eval'} mode"
        check_tensor(got.detach(), want, f"{told}: the loss is that of its mode", rtol=1e-9)
        assert student.training == mode, f"{told}, and distill_loss changed it"
    want = (_softmax(_Net(scale=2000.0).eval()(x)) - values).square().mean().detach()
    got = _loss(_Net(scale=2000.0).eval(), values.clone(), x)
    told = f"logits of a thousand and more{': exp overflows' * bool(got.isnan())}"
    check_tensor(got.detach(), want, told, rtol=1e-9)


def _normalize(probs: torch.Tensor) -> torch.Tensor:
    __tracebackhide__ = True
    with explain("normalize_ raised", _SIGNS):
        return normalize_(probs)


@pytest.mark.parametrize("made", ["inference", "ordinary"])
def test_outside_of_the_block_an_inference_tensor_is_not_written_to(made):
    values = [[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.25, 0.5, 0.25], [0.2, 0.3, 0.5]]
    rows = [[v / max(row) for v in row] for row in values]
    for dtype, which, rtol in (
        (torch.float32, slice(4), 1e-6),
        (torch.float64, slice(3), 1e-12),
        (torch.float64, slice(1, 4), 1e-12),
        (torch.float64, slice(1), 1e-12),
    ):
        n = len(values[which])
        with torch.inference_mode(made == "inference"):
            probs = torch.tensor(values[which], dtype=dtype)
        want = torch.tensor(rows[which], dtype=dtype)
        got = _normalize(probs)
        told = f"{values[which]} as an {made} tensor"
        if isinstance(got, torch.Tensor) and got.shape == want.shape:
            highest = [round(v, 6) for v in got.detach().amax(1).tolist()]
            assert highest == [1.0] * n, f"{told}: the maximum of each row becomes 1, yours are {highest}"
        check_tensor(got, want, f"{told}: each value is divided by the maximum of its row", rtol=rtol)
