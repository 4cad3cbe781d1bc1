"""The limits of a dtype: its range, its first gap, and a safe mask.

A floating dtype has two limits. Its *range* ends somewhere: the largest finite float16 is 65504, and -1e9, which many
models write into the scores that attention must not see, is beyond it ("value cannot be converted to type c10::Half
without overflow"). And its *digits* end: float16 knows every whole number up to 2048, but 2049 is not there, so
2048 + 1 is 2048, and a counter stands still. bfloat16 has float32's range, and pays with digits: its first gap is at
256.

`torch.finfo(dtype)` knows both limits (`torch.iinfo` for integers), so no constant need stand in your code: `max` and
`min`, and `eps`, the gap between 1 and the next number. One trap: `finfo.tiny` is a *positive* number next to 0, the
smallest normal one; `finfo.min` is the most negative of all.

A mask has a last trap. `x.softmax(dim)` turns scores into weights that sum to 1. `x.masked_fill(mask, value)`, or
`torch.where(mask, value, x)`, gives `value` where the mask is True and x elsewhere; `~mask` turns a bool mask round.
Where a row is masked completely, -inf everywhere gives softmax 0/0 = NaN, and a NaN in one row spreads to all weights;
`finfo.min` everywhere gives equal weights to what should have none.

About 30 minutes. Before it: tensor_not_Tensor.
Path: transformer

https://docs.pytorch.org/docs/stable/type_info.html
"""

import math
import numbers
from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def mask_value(dtype: torch.dtype) -> float:
    """The most negative finite number of a floating `dtype`, as a Python float."""
    raise NotImplementedError("return the most negative finite number of dtype")


def first_gap(dtype: torch.dtype) -> int:
    """The smallest whole n > 0 such that n is in the floating `dtype` and n + 1 is not; float16: 2048.

    Any kind of number will do. Counting up one by one takes minutes for float32, and years for float64.
    """
    raise NotImplementedError("return the last whole number before the first gap")


def masked_softmax(scores: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Softmax over the last dimension of `scores` (any floating dtype) where only the scores with `keep` take part.

    The scores are finite, and none is near the most negative number; `keep` is bool, of the same shape. What is not
    kept gets exactly 0, the rest of its row sums to 1; a row where nothing is kept is all 0. Returns shape and dtype of
    `scores`, with all the digits of that dtype. `scores` and `keep` stay as they are.
    """
    raise NotImplementedError("softmax over the scores that are kept")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_IINFO = "this is a floating dtype: torch.finfo knows it, torch.iinfo is for integers"


@pytest.mark.parametrize(
    ("dtype", "want"),
    [
        (torch.float16, -65504.0),
        (torch.bfloat16, -(2.0**128) * (1 - 2.0**-8)),
        (torch.float32, -(2.0**128) * (1 - 2.0**-24)),
        (torch.float64, -1.7976931348623157e308),
    ],
    ids=["float16", "bfloat16", "float32", "float64"],
)
def test_every_dtype_has_a_most_negative_number(dtype, want):
    with explain(f"mask_value({dtype}) raised", where={"iinfo": _IINFO}):
        got = mask_value(dtype)
    value = _number(got)
    assert not math.isnan(value), f"expected the most negative finite {dtype}, got NaN"
    assert not math.isinf(value), f"{value} is not finite: a row that is all -inf becomes NaN in a softmax"
    assert value < 0, f"{value} is not negative: the most negative number of {dtype} was asked for"
    assert value < -1, f"{value} is nearly 0: finfo.tiny and finfo.eps are small positive numbers, not large ones"
    assert value >= want, f"{value} is beyond the range of {dtype}, which ends at {want}"
    assert value == want, f"{value} is not the most negative {dtype}: its range ends at {want}"
    assert isinstance(got, float), f"the number is right, but a Python float was asked for, got {type(got).__name__}"


@pytest.mark.parametrize(
    ("dtype", "want"),
    [(torch.float16, 2048), (torch.bfloat16, 256), (torch.float32, 16777216), (torch.float64, 2**53)],
    ids=["float16", "bfloat16", "float32", "float64"],
)
@pytest.mark.timeout(5)
@pytest.mark.timeout_advice(
    "Counting one by one takes minutes: torch.finfo(dtype) tells the distance between two numbers"
)
def test_whole_numbers_have_a_first_gap(dtype, want):
    """2 / eps: eps is the distance from 1 to the next number, so from 2 / eps on that distance is 2."""
    with explain(f"first_gap({dtype}) raised", where={"iinfo": _IINFO}):
        n = _number(first_gap(dtype))
    assert n != want // 2, f"{want // 2} + 1 is still a {dtype}: there the distance to the next number is 1, look for 2"
    assert n != want + 1, f"{want + 1} is the number that is missing in {dtype}: n is the one before the gap"
    assert n == want, f"the first n with n + 1 not in {dtype} is {want}, got {n}"


@pytest.mark.parametrize(
    ("dtype", "digits"),
    [(torch.float16, 2e-3), (torch.bfloat16, 2e-2), (torch.float32, 1e-6), (torch.float64, 1e-12)],
    ids=["float16", "bfloat16", "float32", "float64"],
)
def test_a_mask_works_in_every_floating_dtype(dtype, digits):
    scores = torch.tensor([[0.0, 9.0, math.log(3)], [math.log(4), 0.0, 9.0]], dtype=dtype)
    keep = torch.tensor([[True, False, True], [True, True, False]])
    beyond = {"without overflow": f"your mask value is beyond the range of {dtype}"}
    with explain(f"masked_softmax raised on {dtype}", where=beyond):
        out = masked_softmax(scores.clone(), keep)
    want = torch.tensor([[0.25, 0.0, 0.75], [0.8, 0.2, 0.0]], dtype=dtype)
    if isinstance(out, torch.Tensor) and out.shape == want.shape and out.is_floating_point():
        inverted = out[0].tolist() == [0, 1, 0]
        assert not inverted, "all the weight is where keep is False: keep is True for the scores that take part"
        leak = out[~keep].max().item()
        assert not leak > 0.05, (
            f"what is masked got {leak:.2g}: it takes a share, and a score of 0 would too, for exp(0) is 1"
        )
        sums = out.double().sum(-1)
        right = (sums - 1).abs().max() <= 0.05
        short = "did what you masked take its share?" if (sums < 1).all() else "each row is a softmax of its own"
        assert right, f"the rows sum to {sums.tolist()}, not to 1: {short}"
    check_tensor(out, want, f"masked_softmax in {dtype}, with the digits of {dtype}", atol=digits)


@pytest.mark.parametrize("low", [-5.0, -50.0, -1e6], ids=["low scores", "lower scores", "very low scores"])
def test_masked_means_exactly_zero(low):
    """Kept scores may be low too: a mask value that is merely negative is not low enough."""
    scores = torch.tensor([[low, low + 1, low + 2, low + 3]])
    keep = torch.tensor([[True, True, False, False]])
    with explain(f"masked_softmax raised on kept scores near {low}"):
        out = masked_softmax(scores, keep)
    p = 1 / (1 + math.e)
    if isinstance(out, torch.Tensor) and out.shape == (1, 4):
        leak = max(out[0, 2:].tolist())
        assert leak == 0, f"the kept scores are near {low}, and a masked one got {leak}: it must get exactly 0"
        lost = low < -1000 and out.isnan().any()
        assert not lost, f"scores near {low} gave NaN: exp of them is 0, let softmax shift them first"
    check_tensor(out, torch.tensor([[p, 1 - p, 0.0, 0.0]]), f"two kept scores near {low}, 1 apart", atol=1e-3)
    with explain("masked_softmax raised on the scores 0, 0 and 1000"):
        out = masked_softmax(torch.tensor([[0.0, 0.0, 1000.0]]), torch.tensor([[True, True, False]]))
    said = "two kept scores of 0 share the weight, however large the masked one is, here 1000"
    check_tensor(out, torch.tensor([[0.5, 0.5, 0.0]]), said, atol=1e-3)
    with explain("masked_softmax raised on the scores -1e35, -1e35 and 0"):
        out = masked_softmax(torch.tensor([[-1e35, -1e35, 0.0]]), torch.tensor([[True, True, False]]))
    said = "two kept scores of -1e35 share the weight, for they are finite, and a masked one takes no part"
    check_tensor(out, torch.tensor([[0.5, 0.5, 0.0]]), said, atol=1e-3)


def test_a_row_without_a_score_is_zero_not_nan():
    scores = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 5.0]])
    keep = torch.tensor([[False, False, False], [True, True, False]])
    with explain("masked_softmax raised on a row that is masked completely"):
        out = masked_softmax(scores, keep)
    if isinstance(out, torch.Tensor) and out.shape == (2, 3):
        assert not out[0].isnan().any(), "0/0: a row of nothing but -inf is NaN after softmax"
        assert out[0].sum() < 0.5, (
            "the row has nothing to look at, yet its weights sum to 1: equal scores, equal weights"
        )
    check_tensor(
        out, torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.5, 0.0]]), "a row that is masked completely is 0", atol=1e-3
    )


def test_softmax_runs_along_the_last_dimension_and_leaves_the_scores_alone():
    scores = torch.tensor([[[0.0, 7.0, 0.0, 7.0]], [[1000.0, 0.0, 0.0, 7.0]]])
    keep = torch.tensor([[[True, False, True, False]], [[True, False, False, False]]])
    with explain("masked_softmax raised on scores (2, 1, 4)"):
        with unchanged("masked_softmax must leave scores and keep as they are", scores=scores, keep=keep):
            out = masked_softmax(scores, keep)
    want = torch.tensor([[[0.5, 0.0, 0.5, 0.0]], [[1.0, 0.0, 0.0, 0.0]]])
    check_tensor(out, want, "scores (2, 1, 4): each of the 2 rows of 4 is a softmax of its own", atol=1e-3)


def _number(got: object) -> Any:
    assert isinstance(got, (numbers.Real, torch.Tensor)), f"expected a number, got {got!r}"
    assert not isinstance(got, torch.Tensor) or got.numel() == 1, f"expected one number, got {got!r}"
    return got.item() if hasattr(got, "item") else got  # a tensor, or a number of NumPy's
