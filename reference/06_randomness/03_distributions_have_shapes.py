"""Distributions have shapes: reference.

Hint: Say aloud what is one draw and what is one event. A row of `x` is one event; an element of `mu` is one number.
Hint: `Categorical(logits=...)` and `sample` with a shape; `Independent` turns batch dimensions into event dimensions;
`rsample` is the sample that can be differentiated.
Hint: The density of independent numbers is a product, its log a sum over the last dimension. A normal draw is mu plus
sigma times a standard normal draw.

Why: A distribution has a batch shape (how many of them) and an event shape (what one draw is): `log_prob` keeps the
first and uses up the second. `Independent(Normal(mu, sigma), 1)` moves one dimension from batch to event. Sampling is
not differentiable by itself; mu + sigma * noise is, since the noise depends on neither. `torch.normal(mu, sigma)` even
has a backward, which is 0: no error, and nothing is learnt. Classes cannot be moved a little, so Categorical has no
`rsample`.
"""

import torch
from torch.distributions import Categorical, Independent, Normal

from dojo import Mistake


def sample_actions(logits: torch.Tensor, n: int) -> torch.Tensor:
    return Categorical(logits=logits).sample((n,))


def log_prob(mu: torch.Tensor, sigma: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return Independent(Normal(mu, sigma), 1).log_prob(x)


def reparam(mu: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    return Normal(mu, sigma).rsample()


def _wrong_sign(logits, n):
    gumbel = (-torch.rand(n, len(logits)).log()).log()
    return (logits + gumbel).argmax(-1)


def _seeded(logits, n):
    torch.manual_seed(0)
    return Categorical(logits=logits).sample((n,))


_ALWAYS_1 = "always class 1, which has odds of 3 to 1 only"

MISTAKES = [
    Mistake(
        "torch refused your probabilities",
        caught_by="test_logits_may_be_negative",
        sample_actions=lambda logits, n: torch.multinomial(logits.exp() / logits.exp().sum(), n, replacement=True),
    ),
    Mistake(
        "leave nothing for class 1",
        caught_by="test_logits_may_be_negative",
        sample_actions=lambda logits, n: Categorical(logits=logits.clamp(-3, 3)).sample((n,)),
    ),
    Mistake(
        "with replacement",
        caught_by="test_logits_are_not_probabilities",
        sample_actions=lambda logits, n: torch.multinomial(logits.softmax(-1), n),
    ),
    Mistake(
        "sample_actions changed the logits",
        caught_by="test_logits_are_not_probabilities",
        sample_actions=lambda logits, n: Categorical(logits=logits.sub_(logits.max())).sample((n,)),
    ),
    Mistake(
        "don't take the log of a product",
        caught_by="test_a_row_is_one_event",
        log_prob=lambda mu, sigma, x: Normal(mu, sigma).log_prob(x).exp().prod(-1).log(),
    ),
    Mistake(
        _ALWAYS_1,
        caught_by="test_logits_are_not_probabilities",
        sample_actions=lambda logits, n: Categorical(logits).sample((n,)),
    ),
    Mistake(
        "torch refused your probabilities",
        caught_by="test_logits_may_be_negative",
        sample_actions=lambda logits, n: Categorical(logits).sample((n,)),
    ),
    Mistake(
        "class 0 has a probability of 10.0%",
        caught_by="test_logits_may_be_negative",
        sample_actions=lambda logits, n: Categorical(
            logits.exp() if logits.min() >= 0 else (logits - logits.min() + 0.01)
        ).sample((n,)),
    ),
    Mistake(
        "a sample shape is a tuple",
        caught_by="test_logits_are_not_probabilities",
        sample_actions=lambda logits, n: Categorical(logits=logits).sample(n),
    ),
    Mistake(
        _ALWAYS_1,
        caught_by="test_logits_are_not_probabilities",
        sample_actions=lambda logits, n: logits.argmax().expand(n),
    ),
    Mistake(
        "a sigmoid per class or two softmaxes give",
        caught_by="test_logits_are_not_probabilities",
        sample_actions=lambda logits, n: Categorical(logits.sigmoid()).sample((n,)),
    ),
    Mistake(
        "is (4000,), yours (4000, 1)",
        caught_by="test_logits_are_not_probabilities",
        sample_actions=lambda logits, n: Categorical(logits=logits).sample((n, 1)),
    ),
    Mistake(
        "is (4000,), yours ()",
        caught_by="test_logits_are_not_probabilities",
        sample_actions=lambda logits, n: Categorical(logits=logits).sample(),
    ),
    Mistake(
        "class 1 has odds of 3 to 1",
        caught_by="test_logits_are_not_probabilities",
        sample_actions=lambda logits, n: torch.randint(len(logits), (n,)),
    ),
    Mistake(
        "class 4 has a probability of 50.0%",
        caught_by="test_logits_may_be_negative",
        sample_actions=_wrong_sign,
    ),
    Mistake(
        "is (1,), yours ()",
        caught_by="test_logits_may_be_negative",
        sample_actions=lambda logits, n: Categorical(logits=logits).sample((n, 1)).squeeze(),
    ),
    Mistake(
        "two calls drew the same 4000 classes",
        caught_by="test_logits_are_not_probabilities",
        sample_actions=_seeded,
    ),
    Mistake(
        "a sigmoid per class or two softmaxes give",
        caught_by="test_logits_are_not_probabilities",
        sample_actions=lambda logits, n: Categorical(logits=logits.softmax(-1)).sample((n,)),
    ),
    Mistake(
        "x has 1 row, so log_prob is (1,)",
        caught_by="test_a_row_is_one_event",
        log_prob=lambda mu, sigma, x: Normal(mu, sigma).log_prob(x).sum(-1).squeeze(),
    ),
    Mistake(
        "log_prob changed a tensor that it was given",
        caught_by="test_a_row_is_one_event",
        log_prob=lambda mu, sigma, x: Normal(0.0, 1.0).log_prob(x.sub_(mu).div_(sigma)).sum(-1) - sigma.log().sum(),
    ),
    Mistake(
        "you have one number per element",
        caught_by="test_a_row_is_one_event",
        log_prob=lambda mu, sigma, x: Normal(mu, sigma).log_prob(x),
    ),
    Mistake(
        "x has 2 rows, so log_prob is (2,)",
        caught_by="test_a_row_is_one_event",
        log_prob=lambda mu, sigma, x: Normal(mu, sigma).log_prob(x).sum(),
    ),
    Mistake(
        "x has 2 rows, so log_prob is (2,)",
        caught_by="test_a_row_is_one_event",
        log_prob=lambda mu, sigma, x: Normal(mu, sigma).log_prob(x).sum(0),
    ),
    Mistake(
        "add the log densities of a row up",
        caught_by="test_a_row_is_one_event",
        log_prob=lambda mu, sigma, x: Normal(mu, sigma).log_prob(x).mean(-1),
    ),
    Mistake(
        "you took sigma for a variance",
        caught_by="test_a_density_may_exceed_one",
        log_prob=lambda mu, sigma, x: Independent(Normal(mu, sigma.sqrt()), 1).log_prob(x),
    ),
    Mistake(
        "a log density may be positive",
        caught_by="test_a_density_may_exceed_one",
        log_prob=lambda mu, sigma, x: Independent(Normal(mu, sigma), 1).log_prob(x).clamp(max=0),
    ),
    Mistake(
        "you put sigma ** 2 where the standard deviation belongs",
        caught_by="test_a_density_may_exceed_one",
        log_prob=lambda mu, sigma, x: Independent(Normal(mu, sigma**2), 1).log_prob(x),
    ),
    Mistake(
        "log density of Normal(0.5, 0.1) at 0.5 and 0.7",
        caught_by="test_a_density_may_exceed_one",
        log_prob=lambda mu, sigma, x: Normal(0.0, 1.0).log_prob((x - mu) / sigma).sum(-1),
    ),
    Mistake(
        "Categorical has sample, and no rsample",
        caught_by="test_logits_are_not_probabilities",
        sample_actions=lambda logits, n: Categorical(logits=logits).rsample((n,)),
    ),
    Mistake(
        "each column has its own mu and sigma",
        caught_by="test_a_row_is_one_event",
        log_prob=lambda mu, sigma, x: Independent(Normal(mu, sigma.mean().expand_as(mu)), 1).log_prob(x),
    ),
    Mistake(
        "your draw has no graph",
        caught_by="test_the_gradient_passes_through_a_sample",
        reparam=lambda mu, sigma: Normal(mu, sigma).sample(),
    ),
    Mistake(
        "a gradient of 0 reaches mu, expected 1",
        caught_by="test_the_gradient_passes_through_a_sample",
        reparam=lambda mu, sigma: torch.normal(mu, sigma),
    ),
    Mistake(
        "no gradient reaches sigma",
        caught_by="test_the_gradient_passes_through_a_sample",
        reparam=lambda mu, sigma: Normal(mu, sigma.detach()).rsample(),
    ),
    Mistake(
        "no gradient reaches mu",
        caught_by="test_the_gradient_passes_through_a_sample",
        reparam=lambda mu, sigma: Normal(mu, sigma).sample().requires_grad_(),
    ),
    Mistake(
        "dz/dsigma is the standard normal noise",
        caught_by="test_the_gradient_passes_through_a_sample",
        reparam=lambda mu, sigma: Normal(mu, sigma).sample().detach() + mu - mu.detach() + sigma - sigma.detach(),
    ),
    Mistake(
        "both rows got the same noise",
        caught_by="test_a_sample_has_the_spread_of_its_sigma",
        reparam=lambda mu, sigma: mu + sigma * torch.randn(mu.shape[-1]),
    ),
    Mistake(
        "sigma is the standard deviation of the draws",
        caught_by="test_a_sample_has_the_spread_of_its_sigma",
        reparam=lambda mu, sigma: mu + sigma.sqrt() * torch.randn_like(mu),
    ),
    Mistake(
        "68% of normal draws lie within one sigma",
        caught_by="test_a_sample_has_the_spread_of_its_sigma",
        reparam=lambda mu, sigma: mu + sigma * (torch.rand_like(mu) - 0.5) * 12**0.5,
    ),
    Mistake(
        "two calls drew the same numbers",
        caught_by="test_a_sample_has_the_spread_of_its_sigma",
        reparam=lambda mu, sigma: mu + sigma * torch.randn(mu.shape, generator=torch.Generator()),
    ),
    Mistake(
        "sigma is the standard deviation of the draws",
        caught_by="test_a_sample_has_the_spread_of_its_sigma",
        reparam=lambda mu, sigma: mu + sigma * torch.rand_like(mu),
    ),
    Mistake(
        "all draws of a row are the same",
        caught_by="test_a_sample_has_the_spread_of_its_sigma",
        reparam=lambda mu, sigma: mu + sigma * torch.randn(()),
    ),
    Mistake(
        "all draws of a row are the same",
        caught_by="test_a_sample_has_the_spread_of_its_sigma",
        reparam=lambda mu, sigma: mu + sigma,
    ),
]
