"""Temperature, top-k and top-p

A language model gives one logit for each token of its vocabulary. Who always takes the largest writes dull loops; who
draws from all of them, softmax(logits), sometimes draws from the long tail of nonsense. So people bend the
probabilities and cut the tail.

*Temperature*: softmax(logits / t). Below 1 the best tokens gain, above 1 the others. Dividing the probabilities does
nothing, because the draw only looks at their ratios. t = 0 is no division: it means the best token, without chance.

*Top-k* keeps the k best tokens. *Top-p* (nucleus) adds up the probabilities from the best one down, until the sum has
*reached* p. The token with which it gets there belongs to the set, so at least one is always left. Code that keeps
"what is below p" drops just that one, and if the best token alone has more than p, it drops all.

A dropped token gets the logit -inf: then softmax gives it 0, and shares the rest out again. The order matters. Here the
temperature is first, then top_k, then top_p of what is left, where the probabilities again sum to 1. (Some servers
divide by the temperature last: then p means something else.)

What is asked here: the filter, and a draw that takes its chance from the generator that it is given.
`torch.topk` and `torch.sort` give values and indices; what is decided in sorted order has to go back to its place
(`Tensor.scatter`, `Tensor.gather`). `torch.multinomial(probabilities, 1, generator=g)` draws one index for each row.

About 30 minutes. Before it: own_your_randomness, stable_softmax, one_per_row.
Path: transformer

https://docs.pytorch.org/docs/stable/generated/torch.multinomial.html
"""

import contextlib
from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import explain, unchanged


def filter_logits(logits: torch.Tensor, top_k: int = 0, top_p: float = 1.0) -> torch.Tensor:
    """The logits (B, V), with -inf for each token that is removed, and all others as they are, in their dtype.

    First top_k: in each row, keep the `top_k` best tokens. 0 keeps all, and so does more than V. Tokens that are equal
    to the last of them may stay as well. Then top_p: of what is left, keep the smallest set of best tokens whose
    probabilities, which sum to 1 again, reach `top_p` (from 0 to 1) together; one token at least; 1.0 keeps all. What
    is -inf already stays -inf. `logits` stays as it is.
    """
    raise NotImplementedError("cut the tail of each row")


def sample(
    logits: torch.Tensor,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """One token for each row of `logits` (B, V), int64 (B,), drawn with the probabilities of what filter_logits leaves.

    The logits are divided by `temperature` (0 or more) before they are filtered. With temperature 0 it is the best
    token of each row, and no random number is used. Otherwise all chance comes from `generator`, and only its state
    moves on; without one it is torch's global generator. `logits` stays as it is.
    """
    raise NotImplementedError("divide, filter, draw")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "out of range": "an index was out of range: top_k may be larger than the vocabulary",
    "inf.*nan.* or element < 0": "torch.multinomial was given probabilities with nan, inf or a negative number in them",
    "invalid multinomial distribution": "torch.multinomial was given a row whose probabilities sum to 0",
}
_P = ((0.5, 0.3, 0.15, 0.05), (0.05, 0.5, 0.15, 0.3), (0.3, 0.15, 0.05, 0.5))
_BEST = ((0, 1, 2, 3), (1, 3, 2, 0), (3, 0, 1, 2))  # the columns of each row, best first


def _logits_of(*rows: tuple[float, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Logits with these probabilities. They don't lie in memory row by row."""
    return torch.tensor(rows, dtype=torch.float64).log().to(dtype).t().contiguous().t()


def _call(function: str, options: dict[str, Any]) -> str:
    """How the call looks: "sample(logits, top_k=2, generator=g)"."""
    given = (f"{name}={'g' if isinstance(value, torch.Generator) else value}" for name, value in options.items())
    return f"{function}({', '.join(['logits', *given])})"


def _filtered(logits: torch.Tensor, told: str, **options: Any) -> torch.Tensor:
    """What filter_logits returns: the logits, with some of them -inf."""
    __tracebackhide__ = True
    call = _call("filter_logits", options)
    with explain(f"{call} raised, for {told}", _SIGNS):
        with unchanged("the logits are the caller's: put -inf into another tensor", logits=logits):
            got = filter_logits(logits, **options)
    assert isinstance(got, torch.Tensor), f"filter_logits returns a tensor, got {type(got).__name__}"
    shape = tuple(got.shape)
    assert shape == logits.shape, f"the result has a column for each token, {tuple(logits.shape)}; got {shape}"
    assert got.dtype == logits.dtype, f"the logits are {logits.dtype}, and so is the result; got {got.dtype}"
    assert not got.isnan().any(), f"{call}, for {told}: nan in the result {got.tolist()}"
    got = got.detach()
    back = (logits == -torch.inf) & (got != -torch.inf)
    assert not back.any(), f"{call}, for {told}: a token that had -inf came back, {got.tolist()}"
    changed = (got != logits) & (got != -torch.inf)
    assert not changed.any(), (
        f"{call}, for {told}: a logit of {logits[changed][:1].tolist()} became {got[changed][:1].tolist()}: it "
        "stays as it is, or it is -inf"
    )
    return got


def _check_kept(
    logits: torch.Tensor, want: list[list[int]], told: str, causes: dict[str, list[list[int]]], **options: Any
) -> None:
    """`want`: the columns kept in each row. `causes`: what a known mistake keeps."""
    __tracebackhide__ = True
    got = [row.isfinite().nonzero().view(-1).tolist() for row in _filtered(logits, told, **options)]
    want = [sorted(row) for row in want]
    call = _call("filter_logits", options)
    cause = next((f": {said}" for said, kept in causes.items() if got == [sorted(row) for row in kept]), "")
    b = next((i for i, row in enumerate(got) if row != want[i]), 0)
    assert got[b] or cause, f"{call}, for {told}: nothing is left of row {b}, at least one token is kept"
    assert got == want, f"{call}, for {told}: row {b} keeps the tokens {got[b]}, expected {want[b]}{cause}"


def test_top_k_is_counted_in_each_row():
    told = f"probabilities of {_P}"
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        logits = _logits_of(*_P, dtype=dtype)
        limits = logits[0].sort(descending=True).values
        for k in (1, 2, 3, 4, 9, 0):
            want = [list(best[: k or 4]) for best in _BEST]
            causes = {"too few are kept": [row[:-1] for row in want], "too many": [list(b[: k + 1]) for b in _BEST]}
            _check_kept(logits, want, f"{told} in {dtype}", causes, top_k=k)
            shifted = logits + torch.tensor([[0.0], [-4.0], [6.0]], dtype=dtype)
            first = {
                "the limit of row 0 cuts all": [
                    (r >= limits[min(k or 4, 4) - 1]).nonzero().view(-1).tolist() for r in shifted
                ]
            }
            _check_kept(shifted, want, f"{told}, row 1 with 4 less, row 2 with 6 more, in {dtype}", first, top_k=k)
    one = _logits_of(_P[1])
    _check_kept(one, [[1, 3]], "a batch of one row", {}, top_k=2)
    square = torch.tensor([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 1.0]])
    _check_kept(square, [[0, 2], [1, 2], [0, 1]], "as many rows as tokens", {}, top_k=2)
    ties = _filtered(torch.tensor([[1.0, 2.0, 1.0, 0.0, 1.0]]), "ties", top_k=2)[0].isfinite()
    enough = ties[1] and ties.sum() >= 2 and not ties[3]
    assert enough, f"top_k=2 of [1, 2, 1, 0, 1] keeps the 2 and at least one 1, and no 0; it kept {ties.tolist()}"


@pytest.mark.myth(
    says="Top-p keeps the best tokens as long as their sum is below p.",
    today="The token that takes the sum to p belongs to them; without it, a best token with more than p is lost, too.",
)
def test_the_token_that_reaches_top_p_stays():
    told = f"probabilities of {_P}"
    for top_p, n in ((0.6, 2), (0.85, 3), (0.96, 4), (0.3, 1), (1e-6, 1), (0.0, 1), (0, 1)):
        want = [list(best[:n]) for best in _BEST]
        causes = {
            "the token that reaches top_p stays": [list(best[: n - 1]) or list(best[:1]) for best in _BEST],
            "one too many, the set is to be the smallest": [list(best[: n + 1]) for best in _BEST],
            "row 2 has another order; what was decided in sorted order has to go back to its place": [
                list(range(n)) for _ in _P
            ],
        }
        for dtype in (torch.float32, torch.float64, torch.float16):
            _check_kept(_logits_of(*_P, dtype=dtype), want, f"{told} in {dtype}", causes, top_p=top_p)
        for shift in (-1000.0, 1000.0):
            logits = _logits_of(*_P, dtype=torch.float64) + shift
            _check_kept(logits, want, f"{told}, each logit with {shift:+} more", causes, top_p=top_p)
    rows = ((0.02, 0.9, 0.05, 0.03), (0.26, 0.24, 0.27, 0.23), (0.1, 0.1, 0.75, 0.05))
    _check_kept(_logits_of(*rows), [[1], [2, 0, 1], [2]], f"probabilities of {rows}", {}, top_p=0.7)
    _check_kept(_logits_of(rows[1]), [[2, 0]], f"one row, {rows[1]}", {}, top_p=0.5)
    equal = _filtered(torch.full((1, 4), 1.5), "four equal logits", top_p=0.5).isfinite().sum().item()
    assert equal == 2, f"four equal tokens, top_p=0.5: {equal} are kept; two sum to 0.5, which is the smallest set"


@pytest.mark.myth(
    says="top_k and top_p are two filters, and their order makes no difference.",
    today="After top_k the probabilities of the rest are larger, so fewer tokens reach top_p.",
)
def test_top_p_is_a_share_of_what_top_k_left():
    told = f"probabilities of {_P}"
    before = "that is top_p of all tokens, and after top_k the probabilities of the rest sum to 1 again"
    for k, top_p, n, without in ((3, 0.84, 2, 3), (2, 0.6, 1, 2), (3, 0.9, 3, 3), (9, 0.84, 3, 3), (1, 0.9, 1, 1)):
        want, plain = [list(best[:n]) for best in _BEST], [list(best[:without]) for best in _BEST]
        for dtype in (torch.float32, torch.float64):
            logits = _logits_of(*_P, dtype=dtype)
            _check_kept(logits, want, f"{told} in {dtype}", {before: plain}, top_k=k, top_p=top_p)


def test_what_is_switched_off_removes_nothing():
    wide = torch.tensor([[20.0, 0.0, -20.0, -90.0], [-90.0, 30.0, 29.0, -1000.0]])
    for options in ({}, {"top_k": 0}, {"top_p": 1.0}, {"top_k": 4, "top_p": 1.0}, {"top_k": 0, "top_p": 1}):
        told = f"{options or 'the defaults'}: nothing is to be removed of {wide.tolist()}"
        got = _filtered(wide, told, **options)
        assert torch.equal(got, wide), f"{told}; got {got.tolist()}"
    gone = torch.tensor([[1.0, -torch.inf, 0.5, -torch.inf], [-torch.inf, 0.0, -torch.inf, -torch.inf]])
    for options in ({}, {"top_k": 3}, {"top_p": 0.999}, {"top_k": 4, "top_p": 0.999}):
        told = f"{gone.tolist()} with {options}"
        got = _filtered(gone, told, **options)
        assert torch.equal(got, gone), (
            f"{told}: what is finite is within top_k and top_p, and stays; got {got.tolist()}"
        )


def _drawn(logits: torch.Tensor, without_chance: bool = False, **options: Any) -> torch.Tensor:
    """The tokens of sample."""
    __tracebackhide__ = True
    call, generator = _call("sample", options), options.get("generator")
    used = unchanged(f"{call} used random numbers", rng=True, generator=generator)
    still = used if without_chance else contextlib.nullcontext()
    with explain(f"{call} raised, for logits {tuple(logits.shape)}", _SIGNS):
        with unchanged("the logits are the caller's", logits=logits), still:
            got = sample(logits, **options)
    assert isinstance(got, torch.Tensor), f"sample returns a tensor, got {type(got).__name__}"
    B = len(logits)
    assert got.shape == (B,), f"sample gives one token for each row, ({B},); got {tuple(got.shape)}"
    assert got.dtype == torch.int64, f"tokens are int64, got {got.dtype}"
    return got


@pytest.mark.myth(
    says="Temperature 0 is a division by 0: take 1e-6 for it.",
    today="It is a case of its own: the argmax, without a random number.",
)
def test_temperature_zero_takes_the_best_token_without_chance():
    logits = _logits_of(*_P)
    generator = torch.Generator().manual_seed(5)
    torch.rand(3)
    for temperature in (0.0, 0):
        for options in ({}, {"top_k": 2}, {"top_p": 0.6}, {"top_k": 3, "top_p": 0.9}):
            got = _drawn(logits, without_chance=True, temperature=temperature, **options).tolist()
            assert got == [0, 1, 3], f"temperature={temperature}: the best tokens are [0, 1, 3], got {got}"
            _drawn(logits, without_chance=True, generator=generator, temperature=temperature, **options)
        one = _drawn(logits[1:2], without_chance=True, temperature=temperature).tolist()
        assert one == [1], f"temperature={temperature}, a batch of one row: its best token is 1, got {one[0]}"
    close = torch.tensor([[-torch.inf, 5.0, 5.001, -torch.inf]]).expand(500, 4)
    got = _drawn(close, without_chance=True, temperature=0.0)
    assert (got == 2).all(), "temperature=0: [-inf, 5, 5.001, -inf] has its best token at 2, and another was taken"


_HALF = ((0.5, 0.3, 0.15, 0.05), (0.1, 0.2, 0.3, 0.4))
_DRAWS: dict[str, tuple[dict[str, Any], tuple[tuple[float, ...], ...]]] = {
    "plain": ({}, _HALF),
    "temperature a half": ({"temperature": 0.5}, ((0.6849, 0.2466, 0.0616, 0.0068), (0.0333, 0.1333, 0.3, 0.5333))),
    "temperature two": ({"temperature": 2}, ((0.379, 0.2936, 0.2076, 0.1199), (0.1627, 0.2301, 0.2818, 0.3254))),
    "top k": ({"top_k": 2}, ((0.625, 0.375, 0.0, 0.0), (0.0, 0.0, 0.4286, 0.5714))),
    "top p": ({"top_p": 0.85}, ((0.5263, 0.3158, 0.1579, 0.0), (0.0, 0.2222, 0.3333, 0.4444))),
    "hot with top p": (
        {"temperature": 4.0, "top_p": 0.79},
        ((0.3817, 0.3359, 0.2825, 0.0), (0.0, 0.3034, 0.3358, 0.3608)),
    ),
    "cold with top p": ({"temperature": 0.5, "top_p": 0.65}, ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.36, 0.64))),
}


@pytest.mark.parametrize("case", _DRAWS)
def test_the_temperature_comes_first_and_draws_follow_the_probabilities(case):
    options, want = _DRAWS[case]
    torch.manual_seed(1)
    n = 10_000
    logits = _logits_of(*_HALF).repeat(n, 1)  # row by row in turns
    tokens = _drawn(logits, **options).view(n, 2)
    for b, expected in enumerate(want):
        inside = bool(((tokens[:, b] >= 0) & (tokens[:, b] < 4)).all())
        assert inside, f"there are the tokens 0 to 3, and {tokens[:, b].max().item()} was drawn"
        shares = (tokens[:, b].bincount(minlength=4) / n).tolist()
        told = f"{n} draws of the probabilities {_HALF[b]}, {options or 'nothing else given'}"
        seen = [round(share, 4) for share in shares]
        for token, (share, p) in enumerate(zip(shares, expected, strict=True)):
            assert (share > 0) == (p > 0), f"{told}: token {token} was drawn in {share:.2%}, expected {p:.2%}; {seen}"
        assert shares == pytest.approx(expected, abs=0.025), f"{told}: shares of {seen}, expected {expected}"
    if case == "plain":
        cold = (_drawn(0.01 * logits[::2], temperature=0.01).bincount(minlength=4) / n).tolist()
        told = f"temperature=0.01 on a hundredth of the logits of {_HALF[0]}: shares of {cold}"
        assert cold == pytest.approx(_HALF[0], abs=0.025), f"{told}; divided by it, they are those logits again"
        sharp = torch.tensor([[30.0, 29.0, 0.0], [0.0, -500.0, 500.0]])
        got = _drawn(sharp, temperature=0.002).tolist()
        assert got == [0, 2], f"temperature=0.002 on {sharp.tolist()}: [0, 2] have all the probability, got {got}"
        one = _drawn(torch.tensor([[0.0, 90.0]])).tolist()
        assert one == [1], f"a batch of one row, [0, 90]: token 1 has all the probability, got {one}"


def test_all_chance_comes_from_the_generator_that_is_given():
    torch.manual_seed(2)
    logits = torch.randn(64, 50)
    options = {"temperature": 1.5, "top_k": 40}
    generator = torch.Generator().manual_seed(7)
    torch.rand(5, generator=generator)
    state = generator.get_state()
    with unchanged("a generator was given, and torch's global one moved", rng=True):
        first, second = (_drawn(logits, generator=generator, **options) for _ in range(2))
    moved = not torch.equal(generator.get_state(), state)
    assert moved, "the state of the generator is as before: the numbers did not come from it, or it was set back"
    assert not torch.equal(first, second), "two draws, one after the other, gave the same 64 tokens: it was seeded anew"
    generator.set_state(state)
    torch.manual_seed(99)
    again = _drawn(logits, generator=generator, **options)
    assert torch.equal(first, again), "the same state of the generator gave other tokens: chance came from elsewhere"
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        drawn.append(_drawn(logits, **options))
        moved = not torch.equal(torch.get_rng_state(), before)
        assert moved, "no generator was given, and torch's global one is as before: the numbers did not come from it"
    assert torch.equal(drawn[0], drawn[1]), "torch.manual_seed(3) twice, and other tokens: chance came from elsewhere"
    assert not torch.equal(drawn[0], drawn[2]), "torch.manual_seed(3) and (4) gave the same tokens: it was seeded anew"
