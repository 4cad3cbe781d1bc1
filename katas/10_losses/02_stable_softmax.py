"""Softmax that never overflows

A network's last layer gives logits: scores of any size. Softmax makes probabilities of them, exp(x) over the sum of
exp(x), along one dim: with dim=1 the rows of a table sum to 1, with dim=0 its columns. Called without a dim,
`F.softmax` picks one by the number of dims, and only warns; a loss on the wrong dim still falls.

exp(89) is already infinite in float32, and inf/inf is nan. But only differences count: the same number may be taken
from all scores of a slice. Take the slice's own largest one, and the largest exponential is exp(0) = 1. It has to be
that of *each slice* (`amax` with `keepdim=True`): the largest of the whole tensor may leave a slice far below with
nothing but zeros, and 0/0 is nan as well.

A loss needs log p. Don't take the logarithm of a softmax: of the scores 0 and 200 the first has p = e⁻²⁰⁰, which
float32 rounds to 0, so its log is -inf and its gradient nan. But log p = x - log(sum of exp(x)) needs no p at all:
that is -200, and the gradient is right too. `torch.logsumexp` is the stable form of the second part.

Log-probabilities of a slice don't sum to 1, whatever you have read: their exponentials do.

What is asked here: both functions.

About 20 minutes. Before it: the_silent_outer_product.
Path: first_day, transformer

https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.log_softmax.html
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def softmax(x: torch.Tensor, dim: int) -> torch.Tensor:
    """exp(x) divided by its sum along `dim`, in the shape and dtype of `x` (float32 or float64, one dim or more).

    `dim` may be negative. Scores up to ±1e30 give finite numbers; a score of -inf gives 0, if another score
    of its slice is finite. Gradients flow, without nan; `x` stays as it is.
    """
    raise NotImplementedError("softmax along dim, without overflow")


def log_softmax(x: torch.Tensor, dim: int) -> torch.Tensor:
    """The logarithm of softmax(x, dim), as exact where the softmax is too small for its dtype; else like softmax.

    So scores up to ±1e30 give finite numbers here too, and a score of -inf gives -inf.
    """
    raise NotImplementedError("log-softmax along dim, without going through softmax")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _of(f: Callable[[torch.Tensor, int], torch.Tensor], name: str, x: torch.Tensor, dim: int) -> Any:
    __tracebackhide__ = True
    shape = tuple(x.shape)
    signs = {
        "must match the size": f"{name}: the shapes do not fit, for x {shape} and dim={dim}: "
        "what is reduced along dim must keep a dim of size 1 there",
    }
    with explain(f"{name} raised, for x of shape {shape} and dim={dim}", signs), unchanged("x stays as it is", x=x):
        got = f(x, dim)
    assert isinstance(got, torch.Tensor), f"{name} returns a tensor, got {type(got).__name__}"
    return got


def _softmax(x: torch.Tensor, dim: int) -> Any:
    __tracebackhide__ = True
    return _of(softmax, "softmax", x, dim)


def _log_softmax(x: torch.Tensor, dim: int) -> Any:
    __tracebackhide__ = True
    return _of(log_softmax, "log_softmax", x, dim)


@pytest.mark.myth(
    says="With dim=1, each row of log_softmax sums to 1.",
    today="Rows of softmax do; log-probabilities are all below 0, and it is their exponentials that sum to 1.",
)
def test_dim_names_the_slices_that_sum_to_1():
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    rows = torch.tensor([[0.268941, 0.731059], [0.047426, 0.952574]])
    columns = torch.tensor([[0.119203, 0.017986], [0.880797, 0.982014]])
    for dim, right, other in ((1, rows, columns), (0, columns, rows), (-1, rows, columns), (-2, columns, rows)):
        got, log = _softmax(x, dim).detach(), _log_softmax(x, dim).detach()
        for name, p in (("softmax", got), ("exp of log_softmax", log.exp())):
            swapped = p.shape == x.shape and torch.allclose(p.double(), other.double(), atol=1e-4)
            assert not swapped, f"{name}: the slices along the other dim sum to 1, not those along dim={dim}"
        check_tensor(got, right, f"softmax of [[1, 2], [3, 6]] along dim={dim}", rtol=1e-4)
        check_tensor(log, right.log(), f"log_softmax of [[1, 2], [3, 6]] along dim={dim}", rtol=1e-4)
    torch.manual_seed(0)
    for shape, dims in (((2, 3, 4), (0, 1, 2, -1, -2, -3)), ((3, 3, 3), (1, -1)), ((5,), (0, -1)), ((1, 4), (0, 1))):
        wide = torch.randn(*shape, dtype=torch.float64)
        for dim in dims:
            for y in (wide, wide.mT if wide.dim() == 3 else wide):
                told = f"of x {tuple(y.shape)} in float64 along dim={dim}"
                got, want = _softmax(y, dim), F.softmax(y, dim)
                check_tensor(got, want, f"softmax {told}", rtol=1e-12, atol=1e-15)
                got, want = _log_softmax(y, dim), F.log_softmax(y, dim)
                check_tensor(got, want, f"log_softmax {told}", rtol=1e-12, atol=1e-14)


def test_only_differences_within_a_slice_count():
    near = [0.268941, 0.731059]
    for rows, told in (
        ([[1000.0, 1001.0]], "scores around 1000"),
        ([[-1000.0, -999.0]], "scores around -1000"),
        ([[1000.0, 1001.0], [-1000.0, -999.0]], "one row around 1000 and one around -1000"),
        ([[0.0, 1.0], [-30000.0, -29999.0]], "one row around 0 and one around -30000"),
    ):
        x, want = torch.tensor(rows), torch.tensor([near] * len(rows))
        for y, right, dim in ((x, want, 1), (x.t(), want.t(), 0)):
            for name, got, expected in (
                ("softmax", _softmax(y, dim), right),
                ("log_softmax", _log_softmax(y, dim), right.log()),
            ):
                bad = got.isnan().any() or got.isinf().any()
                said = f"{name} gives {got.detach().tolist()}, along dim={dim}, {told}"
                assert not bad, f"{said}: exp is inf or 0 there; first take its own largest score from each slice"
                check_tensor(got, expected, f"{name} along dim={dim}, {told}", rtol=0.01)
    x = torch.tensor([1e4, -1e4, 3.0])
    check_tensor(_softmax(x, 0), torch.tensor([1.0, 0.0, 0.0]), "softmax of 10000, -10000 and 3")


def test_a_log_probability_needs_no_probability():
    for scores, want in (
        ([0.0, 200.0], [-200.0, 0.0]),
        ([1e4, -1e4, 3.0], [0.0, -2e4, 3 - 1e4]),
        ([1e30, -1e30], [0.0, -2e30]),
    ):
        x = torch.tensor(scores)
        got = _log_softmax(x, 0).detach()
        rounded = torch.equal(got, F.softmax(x, 0).log())
        said = f"log_softmax of {scores} gives {got.tolist()}"
        assert not rounded, f"{said}: softmax has rounded to 0 what you took the log of"
        assert got.isfinite().all(), f"{said}, expected finite numbers"
        said = f"log_softmax of {scores}: no probability is too small for its logarithm"
        check_tensor(got, torch.tensor(want), said, rtol=1e-6)


def test_a_score_of_minus_infinity_has_probability_0():
    inf = float("inf")
    x = torch.tensor([[0.0, -inf, 0.0], [5.0, 5.0, -inf], [-inf, -1e6, -inf]])
    p = torch.tensor([[0.5, 0.0, 0.5], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    for y, want, dim in ((x, p, 1), (x.t(), p.t(), 0)):
        check_tensor(_softmax(y, dim), want, f"softmax with scores of -inf, along dim={dim}", rtol=1e-4, atol=1e-6)
        check_tensor(
            _log_softmax(y, dim), want.log(), f"log_softmax with scores of -inf, along dim={dim}", rtol=1e-4, atol=1e-6
        )


def test_gradients_are_those_of_the_formula():
    inf = float("inf")
    for scores, want in (
        ([0.0, 200.0], [-1.0, 1.0]),
        ([1000.0, 1001.0], [-0.731059, 0.731059]),
        ([0.0, -inf, 1.0], [-0.731059, 0.0, 0.731059]),
    ):
        x = torch.tensor(scores, requires_grad=True)
        log = _log_softmax(x, 0)
        assert log.requires_grad, "the result of log_softmax hangs on no graph: nothing can learn from it"
        with explain("backward through log_softmax raised"):
            (-log[0]).backward()
        check_tensor(
            x.grad, torch.tensor(want), f"the gradient of -log p[0] at the scores {scores}", rtol=1e-3, atol=1e-6
        )
    up = torch.tensor([1.0, -2.0])
    for scores, want in (
        ([1000.0, 1001.0], [0.589836, -0.589836]),
        ([-1e5, 1e5], [0.0, 0.0]),
        ([-inf, 3.0], [0.0, 0.0]),
    ):
        x = torch.tensor(scores, requires_grad=True)
        p = _softmax(x, 0)
        assert p.requires_grad, "the result of softmax hangs on no graph: nothing can learn from it"
        with explain("backward through softmax raised"):
            (p * up).sum().backward()
        check_tensor(
            x.grad, torch.tensor(want), f"the gradient of softmax at the scores {scores}", rtol=1e-3, atol=1e-6
        )
