"""Distributions have shapes: logits, event dimensions, gradients

`torch.distributions` holds a density and a sampler together, and three of its conventions bite. The first argument of
`Categorical` is *probs*: hand it logits by position, without the name `logits=`, and it draws from something else, or
complains of a Simplex where one is negative. `sample` takes a *shape*, `sample((n,))`, not a number.

`Normal(mu, sigma)` takes a standard deviation, not a variance. With `mu` of shape (D,) it is D separate numbers, not
one point of D dimensions: `log_prob` of x (B, D) is (B, D), until you say (by `Independent`, or by a sum of your own)
that the last dimension belongs to one event, and the log densities are added up along it. A density is not a
probability: it may be greater than 1, its log positive.

And `sample()` cuts the graph, by which torch finds out how a result changes with `mu`: no gradient reaches `mu` through
it. Write the sample as a function of `mu`, `sigma` and some noise that depends on neither, and the gradient flows: that
is what `rsample` does.

What is asked: plain torch or torch.distributions, as you like. `sigma` is always a standard deviation, and positive.

About 30 minutes. Before it: the_silent_outer_product, keepdim_and_correction.

https://docs.pytorch.org/docs/stable/distributions.html
"""

import math

import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def sample_actions(logits: torch.Tensor, n: int) -> torch.Tensor:
    """Draw `n` class numbers, (n,) int64: class k with probability softmax(logits)[k].

    `logits` is (K,), float32, and stays as it is: any finite values, 100 and more too; -inf means never.
    """
    raise NotImplementedError("draw n classes")


def log_prob(mu: torch.Tensor, sigma: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The log density, (B,), of each row of `x` (B, D) as one point: D independent normals, `mu` and `sigma` (D,).

    All are float32. Finite also where the density itself is too small for a float. What it is given stays as it is.
    """
    raise NotImplementedError("one log density per row of x")


def reparam(mu: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """One draw from Normal(mu, sigma) per element, in the shape of both, through which gradients reach both."""
    raise NotImplementedError("draw in a way that can be differentiated")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_NO_PROBS = "torch refused your probabilities: one was negative, inf or NaN, or they do not sum to 1"
_ADD_UP = "add the log densities of a row up"
_CUT = "it is not in your draw, or the graph was cut on the way (detach, sample, no_grad)"
_A_VARIANCE = "you took sigma for a variance: it is the standard deviation"
_SQUARED = "you put sigma ** 2 where the standard deviation belongs: that is sigma itself"


def _actions(logits, n):
    known = {
        "Simplex|probability tensor contains|multinomial.*(inf|nan|< 0)": _NO_PROBS,
        "without replacement": "each draw is from all classes: with replacement",
        "not iterable|must be an iterable": "a sample shape is a tuple, (n,), not a number",
        r"^NotImplementedError: $": "classes cannot be moved a little: Categorical has sample, and no rsample",
    }
    with (
        explain(f"sample_actions(logits, {n}) raised for the logits {logits.tolist()}", where=known),
        unchanged("sample_actions changed the logits", logits=logits),
    ):
        actions = sample_actions(logits, n)
    assert isinstance(actions, torch.Tensor), f"sample_actions returns a tensor, yours is {type(actions).__name__}"
    assert actions.shape == (n,), f"sample_actions(logits of shape (K,), {n}) is ({n},), yours {tuple(actions.shape)}"
    assert actions.dtype == torch.int64, f"classes are int64, yours are {actions.dtype}"
    return actions


def test_logits_are_not_probabilities():
    """Logits 0 and log 3 mean odds of 1 to 3."""
    actions = _actions(torch.tensor([0.0, math.log(3)]), 4000)
    share = (actions == 1).double().mean().item()
    assert share < 1, (
        "always class 1, which has odds of 3 to 1 only. As probabilities, the logits 0 and 1.1 would say 'always'; "
        "so does an argmax"
    )
    assert abs(share - 0.61) > 0.05, (
        f"class 1 came in {share:.0%}, not in 75%: a sigmoid per class or two softmaxes give 60 to 62%"
    )
    assert abs(share - 0.75) < 0.05, f"class 1 has odds of 3 to 1, so 75% of the draws, yours has {share:.0%}"
    again = _actions(torch.tensor([0.0, math.log(3)]), 4000)
    assert not torch.equal(actions, again), (
        "two calls drew the same 4000 classes: each call must draw anew, without a seed"
    )


def test_logits_may_be_negative():
    """A constant added to all logits changes nothing: still odds of 1 to 2 to 1 to 1 to 5."""
    logits = torch.tensor([1.0, 2.0, 1.0, 1.0, 5.0]).log() - 1
    _actions(logits, 1)
    actions = _actions(logits, 4000)
    for k, want in enumerate((0.1, 0.2, 0.1, 0.1, 0.5)):
        share = (actions == k).double().mean().item()
        assert abs(share - want) < 0.05, f"class {k} has a probability of {want:.1%}, yours came in {share:.1%}"
    for values in ([100.0, 0.0], [200.0, -300.0], [-1000.0, -float("inf")]):
        actions = _actions(torch.tensor(values), 50)
        assert not actions.any(), f"the logits {values} leave nothing for class 1 (exp of them is out of range)"


def _log_prob(mu, sigma, x):
    with (
        explain(f"log_prob raised for mu and sigma of shape {tuple(mu.shape)} and x of shape {tuple(x.shape)}"),
        unchanged("log_prob changed a tensor that it was given", mu=mu, sigma=sigma, x=x),
    ):
        got = log_prob(mu, sigma, x)
    assert isinstance(got, torch.Tensor), f"log_prob returns a tensor, yours is {type(got).__name__}"
    B, D = x.shape
    assert got.shape != (B, D), f"you have one number per element, but a row is one point: {_ADD_UP}"
    rows = "1 row" if B == 1 else f"{B} rows"
    assert got.shape == (B,), f"x has {rows}, so log_prob is ({B},), yours is {tuple(got.shape)}"
    return got.detach().float()


def test_a_row_is_one_event():
    mu, sigma = torch.zeros(3), torch.ones(3)
    for B in (2, 1):
        got = _log_prob(mu, sigma, torch.zeros(B, 3))
        want = torch.full((B,), -2.7568)
        check_tensor(
            got,
            want,
            f"at the mean of 3 standard normals: 3 * log(1 / sqrt(2 pi)), no constant left out; {_ADD_UP}",
            atol=1e-3,
        )
    mu, sigma = torch.tensor([1.0, -2.0, 0.0]), torch.tensor([0.5, 2.0, 1.0])
    x = torch.tensor([[1.0, 0.0, 1.0], [2.0, -2.0, 0.0], [1.0, -2.0, -3.0], [0.0, 4.0, 0.5]])
    got = _log_prob(mu, sigma, x)
    variance = torch.tensor([-1.5, -1.0, -4.5, -10.125]) - 2.7568
    squared = torch.tensor([-0.625, -8.0, -4.5, -9.25]) - 2.7568
    assert not torch.allclose(got, variance, atol=1e-3), _A_VARIANCE
    assert not torch.allclose(got, squared, atol=1e-3), _SQUARED
    want = torch.tensor([-1.0, -2.0, -4.5, -6.625]) - 2.7568
    check_tensor(got, want, "a row's log density: each column has its own mu and sigma", atol=1e-3)
    got = _log_prob(torch.zeros(3), torch.ones(3), torch.full((1, 3), 15.0))
    far = "far from the mean the density is 0 in float32, its log is -340.26: add logs, don't take the log of a product"
    check_tensor(got, torch.tensor([-340.2568]), far, atol=1e-3)


def test_a_density_may_exceed_one():
    got = _log_prob(torch.tensor([0.5]), torch.tensor([0.1]), torch.tensor([[0.5], [0.7]]))
    peak, other = got.tolist()
    assert abs(peak - 0.2323) > 1e-3, _A_VARIANCE
    assert abs(peak - 3.6862) > 1e-3, _SQUARED
    cut = abs(peak) < 1e-3 and abs(other + 0.6164) < 1e-3
    assert not cut, "a log density may be positive, as a density may exceed 1: you cut it off at 0"
    check_tensor(got, torch.tensor([1.3836, -0.6164]), "log density of Normal(0.5, 0.1) at 0.5 and 0.7", atol=1e-3)


def _reparam(mu, sigma):
    with (
        explain(f"reparam raised for mu and sigma of shape {tuple(mu.shape)}"),
        unchanged("reparam changed mu or sigma", mu=mu, sigma=sigma),
    ):
        z = reparam(mu, sigma)
    assert isinstance(z, torch.Tensor), f"reparam returns a tensor, yours is {type(z).__name__}"
    assert z.shape == mu.shape, f"mu is {tuple(mu.shape)}, so is the draw, yours is {tuple(z.shape)}"
    return z.float()


def test_the_gradient_passes_through_a_sample():
    mu, sigma = torch.tensor([1.0, -2.0, 3.0], requires_grad=True), torch.tensor([0.5, 2.0, 1.0], requires_grad=True)
    weights = torch.tensor([1.0, 10.0, 100.0])
    z = _reparam(mu, sigma)
    assert z.requires_grad, "your draw has no graph: sample() (or detach, or no_grad) cut it"
    to_mu, to_sigma = torch.autograd.grad(z, (mu, sigma), weights, allow_unused=True)
    assert to_mu is not None, f"no gradient reaches mu: {_CUT}"
    assert to_sigma is not None, f"no gradient reaches sigma: {_CUT}"
    assert to_mu.any(), "a gradient of 0 reaches mu, expected 1 (the backward of torch.normal gives 0)"
    check_tensor(to_mu, weights, "moving mu moves the draw by as much, so dz/dmu is 1", rtol=1e-4)
    noise = (z.detach() - mu.detach()) / sigma.detach()
    assert not torch.allclose(to_sigma, weights * noise / 2, rtol=1e-3, atol=1e-3), _A_VARIANCE
    assert not torch.allclose(to_sigma, weights * noise * 2, rtol=1e-3, atol=1e-3), _SQUARED
    check_tensor(to_sigma, weights * noise, "dz/dsigma is the standard normal noise of the draw", rtol=1e-3, atol=1e-3)


def test_a_sample_has_the_spread_of_its_sigma():
    mu, sigma = torch.full((2, 4000), 5.0), torch.tensor([[4.0], [0.25]]).expand(2, 4000)
    z = _reparam(mu, sigma).detach()
    std = z.std(1)
    assert std.min() > 1e-3, "all draws of a row are the same: every element needs its own noise"
    noise = (z - mu) / sigma
    assert (noise[0] - noise[1]).abs().max() > 1e-2, "both rows got the same noise: every element needs its own"
    check_tensor(std, torch.tensor([4.0, 0.25]), "sigma is the standard deviation of the draws", rtol=0.1)
    check_tensor(z.mean(1), torch.tensor([5.0, 5.0]), "mu is the mean of the draws", rtol=0.1)
    inside = (noise.abs() < 1).double().mean().item()
    assert abs(inside - 0.68) < 0.03, f"68% of normal draws lie within one sigma of mu, of yours {inside:.0%}"
    again = _reparam(mu, sigma).detach()
    assert not torch.equal(z, again), "two calls drew the same numbers: each call needs new noise, without a seed"
    _reparam(torch.tensor(0.0), torch.tensor(1.0))
