"""Updating weights by hand: what optimizer.step() does to your leaves.

A step of gradient descent is one line of mathematics, w ← w - lr · ∂L/∂w, and five ways to get it wrong. `w` is a leaf:
autograd puts the gradient into `w.grad` because *this tensor* asked for it. The update must change the numbers inside
this tensor. Python's `w = w - lr * w.grad` builds another one and gives it the old name: it is the result of an
operation, so its `.grad` stays None. Built under `torch.no_grad()` it does not even require grad, and the next
backward says "element 0 of tensors does not require grad". Inside a loop over parameters such a line does nothing at
all: the model keeps the old tensors.

So write into the leaf (`-=` does, and so does every method with an underscore at its end), and tell autograd to look
away while you do. A parameter that the loss did not reach has `.grad is None`: there is nothing to subtract. And
backward *adds* to `.grad`: clear it, or the next step uses the sum.

What is asked: `sgd_step_` updates, then clears. `fit_line` trains w and b of y ≈ w·x + b on the mean squared error.

About 30 minutes. Before it: the_silent_outer_product, accumulate_or_separate, stop_gradient.
Path: first_day

https://docs.pytorch.org/docs/stable/notes/autograd.html#locally-disabling-gradient-computation
"""

from collections.abc import Iterable

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain


def sgd_step_(params: Iterable[torch.Tensor], lr: float) -> None:
    """One step of gradient descent: each leaf in `params` moves by -lr times its gradient, in place.

    Then the gradients are cleared: `.grad` is None or all zeros, as you like. A leaf whose `.grad` is None stays as it
    is. The leaves are float32 or float64, and a step is as exact as that. `params` is a list, or a generator such as
    `model.parameters()`.
    """
    raise NotImplementedError("move each leaf against its gradient, then clear the gradient")


def fit_line(x: torch.Tensor, y: torch.Tensor, lr: float, steps: int) -> tuple[float, float]:
    """Fit y ≈ w·x + b by `steps` steps of gradient descent on the mean squared error. Returns (w, b), two floats.

    The mean, so neither the sum nor half of the mean. `x` and `y` are float32 of shape (N, 1), and stay as they are.
    You choose where w and b start, between -100 and 100.
    """
    raise NotImplementedError("train w and b, return them as floats")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def test_a_step_changes_the_leaf_itself():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    memory = w.data_ptr()
    (w**2).sum().backward()
    _step([w], 0.1)
    assert w.detach().tolist() != [1.0, 2.0], (
        "w did not move: rebinding the loop variable makes a new tensor, and clearing first leaves nothing to add"
    )
    assert w.requires_grad, "w no longer requires grad: training ends after one step"
    assert w.is_leaf, "w is no leaf any more: the update became a part of the graph, and w.grad will stay None"
    check_tensor(w.detach(), torch.tensor([0.8, 1.6]), "w should be w - 0.1 * 2w", rtol=1e-5)
    assert w.data_ptr() == memory, "w was given other memory: in place means to write into the memory that w has"


def test_each_step_uses_its_own_gradient():
    w = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    for _ in range(2):
        with explain("the second backward failed: after a step, w must be a leaf that requires grad, and grad mode on"):
            (w**2).sum().backward()
        _step([w], 0.1)
    assert abs(w.item() - 0.44) > 1e-4, (
        "w is 0.44 after two steps: backward added the second gradient to the first, which was still in w.grad"
    )
    want = torch.tensor([0.64], dtype=torch.float64)
    check_tensor(w.detach(), want, "1 -> 0.8 -> 0.64, as exact as float64 is", rtol=1e-12)
    assert _cleared(w), f"w.grad should be None or zeros after the step, got {w.grad}"


@pytest.mark.myth(
    says="a training step is `f.data.sub_(f.grad.data * lr)` for every f in the parameters",
    today="a parameter that the loss did not reach has .grad None, which breaks that line; and .data hides the edit.",
)
def test_a_parameter_without_a_gradient_stays_as_it_is():
    unused, w, also_unused, v = (torch.tensor([n, -n], requires_grad=True) for n in (1.0, 2.0, 3.0, 4.0))
    (w * v).sum().backward()
    _step([unused, w, also_unused, v], 0.5)
    check_tensor(unused.detach(), torch.tensor([1.0, -1.0]), "a parameter with .grad None must not move")
    check_tensor(also_unused.detach(), torch.tensor([3.0, -3.0]), "a parameter with .grad None must not move")
    assert unused.requires_grad, "a parameter with .grad None no longer requires grad: the next loss may reach it"
    assert w.tolist() != [2.0, -2.0], (
        "w did not move. Did a parameter without gradient end your loop? It must not end the step for the rest"
    )
    check_tensor(w.detach(), torch.tensor([0.0, 0.0]), "w should move by -0.5 * v, its gradient", atol=1e-6)
    check_tensor(v.detach(), torch.tensor([3.0, -3.0]), "v should move by -0.5 * [2, -2], its gradient", atol=1e-6)


def test_model_parameters_is_a_generator_which_can_be_walked_once():
    model = torch.nn.Linear(2, 3)
    before = [p.detach().clone() for p in model.parameters()]
    model(torch.tensor([[1.0, -2.0]])).sum().backward()
    _step(model.parameters(), 0.5)
    steps = [torch.tensor([[0.5, -1.0]] * 3), torch.tensor([0.5] * 3)]
    for p, old, step in zip(model.parameters(), before, steps, strict=True):
        assert not torch.equal(p, old), (
            "a parameter did not move: was its name rebound, or was the generator used up before the update?"
        )
        check_tensor(p, old - step, "model.parameters() should have moved by -lr * grad", rtol=1e-5, atol=1e-6)
        assert _cleared(p), (
            "gradients are still there: not cleared, or too late; a second loop over a generator does nothing, it is "
            "exhausted"
        )


@pytest.mark.parametrize(
    ("w_true", "b_true", "points", "steps"),
    [(2.0, 2.0, [1.0, 2, 3], 1000), (3.0, -1.0, [-1.0, 0, 2, 3], 300)],
    ids=["y is 2x plus 2", "y is 3x minus 1"],
)
def test_gradient_descent_by_hand_finds_the_line(w_true, b_true, points, steps):
    x = torch.tensor(points).view(-1, 1)
    y = w_true * x + b_true
    x_before, y_before = x.clone(), y.clone()
    w, b = _line(x, y, 0.05, steps)
    flat = max(abs(w), abs(b - y_before.mean().item())) < 0.02
    assert not flat, (
        f"w={w:.3f}, b={b:.3f}: a flat line at the mean of y. That fits N * N differences, of (N, 1) against (N,)"
    )
    close = max(abs(w - w_true), abs(b - b_true)) < 0.02
    assert close, (
        f"expected w={w_true}, b={b_true}, got {w:.3f} and {b:.3f}: is each step downhill, by its own gradient only?"
    )
    assert abs(w * 10 + b - (w_true * 10 + b_true)) < 0.1, f"at x=10 your line gives {w * 10 + b}"
    check_tensor(x, x_before, "fit_line changed x", requires_grad=False)
    check_tensor(y, y_before, "fit_line changed y", requires_grad=False)
    assert torch.is_grad_enabled(), "fit_line left grad mode off: the next training would find no gradients"


@pytest.mark.parametrize(
    ("lr", "steps", "unused"), [(0.05, 1, "steps"), (1e-7, 100, "lr")], ids=["one step", "a tiny lr"]
)
def test_lr_and_steps_say_how_far_it_goes(lr, steps, unused):
    """One step, or steps of nearly nothing, cannot reach the line from a start that does not know it."""
    x = torch.tensor([[-1.0], [0.0], [2.0], [3.0]])
    for _ in range(2):
        w, b = _line(x, 7 * x - 9, lr, steps)
        assert max(abs(w - 7), abs(b + 9)) > 0.5, (
            f"w={w:.3f}, b={b:.3f} with lr={lr}, steps={steps}: too near to y = 7x - 9 for that. Is {unused} used, is "
            "it gradient descent, and does each call start anew?"
        )
        _line(x, 7 * x - 9, 0.05, 300)
    x = torch.tensor([[-1.0], [1.0]])
    for scale in (1e6, -1e6):  # on these two points a step of lr 0.25 goes half of the way, so three go 7/8 of it
        w, b = _line(x, scale * (x - 2), 0.25, 3)
        share, also = w / scale, b / (-2 * scale)
        came = f"three steps of half the way should end at 7/8 of it, yours ended at {share:.4f}"
        assert abs(share - 1) > 1e-3, f"{came}: that is where the sum of the squared errors leads, not their mean"
        assert abs(share - 37 / 64) > 1e-3, f"{came}: that is where half of the mean leads"
        assert abs(share - 15 / 16) > 1e-3, f"{came}: that is where four steps lead, steps is 3"
        assert abs(share - 3 / 4) > 1e-3, f"{came}: that is where two steps lead, steps is 3"
        assert max(abs(share - 7 / 8), abs(also - 7 / 8)) < 1e-3, f"{came} for w, at {also:.4f} for b"


_RECORDED = "a leaf that requires grad can be edited in place only where autograd does not record"


def _step(params: Iterable[torch.Tensor], lr: float) -> None:
    __tracebackhide__ = True
    unused = isinstance(params, list) and any(p.grad is None for p in params)
    signs = {
        "leaf Variable": _RECORDED,
        "NoneType": "the loss did not reach one of these parameters, and its .grad is None: skip it"
        if unused
        else "each leaf has a gradient here, but a new tensor of the same name has none: w must stay what it is",
        "generator|empty parameter list": "params may be a generator: it has no length and no index, and it can be "
        "walked only once",
        "Boolean value of Tensor": "several numbers are neither true nor false: ask whether there is a gradient, not "
        "what is in it",
    }
    with explain("sgd_step_ raised", signs):
        sgd_step_(params, lr)


def _line(x: torch.Tensor, y: torch.Tensor, lr: float, steps: int) -> tuple[float, float]:
    """fit_line(x, y, lr, steps), when it is a pair of floats."""
    __tracebackhide__ = True
    signs = {
        "leaf Variable": _RECORDED,
        "unpack non-iterable NoneType": "None was unpacked: sgd_step_ returns nothing, it changes the leaves that it "
        "was given",
        "NoneType": "None where a gradient was expected: backward fills no .grad of a w that an operation made, it is "
        "no leaf",
        "not require grad": "nothing in this loss requires grad: a w made under no_grad, or by detach, does not",
        "scalar outputs": "the loss is one number: the mean of the squared errors",
    }
    if not x.requires_grad:
        signs["second time"] = "one graph serves one backward: predict and compare anew in each step"
    with explain("fit_line raised", signs):
        line = fit_line(x, y, lr, steps)
    pair = isinstance(line, tuple | list) and [isinstance(value, float) for value in line] == [True, True]
    assert pair, f"fit_line returns (w, b), and w and b should be floats; got {line!r}"
    return line[0], line[1]


def _cleared(p: torch.Tensor) -> bool:
    return p.grad is None or not p.grad.any()
