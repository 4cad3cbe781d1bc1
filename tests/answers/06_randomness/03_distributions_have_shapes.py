"""Answers that people give to distributions_have_shapes, right ones and wrong ones."""

import math

import numpy as np
import torch
from torch import distributions as D

from dojo import Mistake


def _by_gumbel(logits, n):
    u = torch.rand(n, len(logits)).clamp_min(1e-12)
    return (logits - (-u.log()).log()).argmax(-1)


def _by_cdf(logits, n):
    return torch.searchsorted(logits.softmax(0).cumsum(0), torch.rand(n)).clamp(max=len(logits) - 1)


def _one_by_one(logits, n):
    d = D.Categorical(logits=logits)
    return torch.stack([d.sample() for _ in range(n)])


def _by_formula(mu, sigma, x):
    return (-0.5 * ((x - mu) / sigma) ** 2 - sigma.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


def _by_loss(mu, sigma, x):
    nll = torch.nn.functional.gaussian_nll_loss(
        x, mu.expand_as(x), (sigma**2).expand_as(x), full=True, reduction="none", eps=1e-12
    )
    return -nll.sum(1)


def _row_by_row(mu, sigma, x):
    return torch.stack([sum(D.Normal(m, s).log_prob(v) for m, s, v in zip(mu, sigma, row, strict=True)) for row in x])


def _one_hot(logits, n):
    return D.OneHotCategorical(logits=logits).sample((n,)).argmax(-1)


def _affine(mu, sigma):
    return D.TransformedDistribution(
        D.Normal(torch.zeros_like(mu), torch.ones_like(sigma)), D.AffineTransform(mu, sigma)
    ).rsample()


def _column_by_column(mu, sigma, x):
    return torch.stack([D.Normal(mu[d], sigma[d]).log_prob(x[:, d]) for d in range(len(mu))]).sum(0)


def _log_prob_by_numpy(mu, sigma, x):
    z = (x.numpy() - mu.numpy()) / sigma.numpy()
    return torch.from_numpy((-0.5 * z**2 - np.log(sigma.numpy()) - 0.5 * np.log(2 * np.pi)).sum(1))


def _reparam_by_numpy(mu, sigma):
    return mu + sigma * torch.from_numpy(np.random.standard_normal(tuple(mu.shape)))


def _by_counts(logits, n):
    counts = D.Multinomial(n, logits=logits).sample().long()
    return torch.arange(len(logits)).repeat_interleave(counts)[torch.randperm(n)]


def _by_plain_numbers(mu, sigma, x):
    def density(v, m, s):
        return -0.5 * ((v - m) / s) ** 2 - math.log(s) - 0.5 * math.log(2 * math.pi)

    return torch.tensor([sum(map(density, row, mu.tolist(), sigma.tolist())) for row in x.tolist()])


RIGHT = [
    {"log_prob": _log_prob_by_numpy, "reparam": _reparam_by_numpy},
    {"sample_actions": _one_hot, "reparam": _affine, "log_prob": _column_by_column},
    {
        "sample_actions": lambda logits, n: torch.multinomial(logits.softmax(-1), n, replacement=True),
        "log_prob": _by_formula,
        "reparam": lambda mu, sigma: mu + sigma * torch.randn_like(mu),
    },
    {
        "sample_actions": _by_gumbel,
        "log_prob": lambda mu, sigma, x: D.MultivariateNormal(mu, torch.diag(sigma**2)).log_prob(x),
        "reparam": lambda mu, sigma: D.Independent(D.Normal(mu, sigma), mu.dim()).rsample(),
    },
    {
        "sample_actions": _by_cdf,
        "log_prob": lambda mu, sigma, x: D.Normal(mu, sigma).log_prob(x).sum(dim=1),
        "reparam": lambda mu, sigma: torch.distributions.Normal(0.0, 1.0).sample(mu.shape) * sigma + mu,
    },
    {
        "sample_actions": lambda logits, n: D.Categorical(probs=logits.softmax(0)).sample(torch.Size([n])),
        "log_prob": _by_loss,
        "reparam": lambda mu, sigma: torch.addcmul(mu, sigma, torch.normal(torch.zeros_like(mu), 1.0).detach()),
    },
    {"sample_actions": _one_by_one, "log_prob": _row_by_row},
    {"log_prob": lambda mu, sigma, x: D.MultivariateNormal(mu, scale_tril=torch.diag(sigma)).log_prob(x)},
    {
        "sample_actions": _by_counts,
        "log_prob": _by_plain_numbers,
        "reparam": lambda mu, sigma: D.Normal(mu, sigma).icdf(torch.rand_like(mu).clamp(1e-6, 1 - 1e-6)),
    },
]


def _formula_without_log_sigma(mu, sigma, x):
    return (-0.5 * ((x - mu) / sigma) ** 2 - 0.5 * math.log(2 * math.pi)).sum(-1)


def _no_grad(mu, sigma):
    with torch.no_grad():
        return mu + sigma * torch.randn_like(mu)


def _leaf(mu, sigma):
    return torch.normal(mu.detach(), sigma.detach()).requires_grad_()


WRONG = [
    Mistake(
        "don't take the log of a product",
        caught_by="",
        log_prob=lambda mu, sigma, x: torch.stack(
            [D.Normal(mu, sigma).log_prob(row).exp().cumprod(0)[-1].log() for row in x]
        ),
    ),
    Mistake(
        "torch refused your probabilities",
        caught_by="",
        sample_actions=lambda logits, n: D.Categorical(logits.exp()).sample((n,)),
    ),
    Mistake(
        "two calls drew the same 4000 classes",
        caught_by="",
        sample_actions=lambda logits, n: torch.arange(len(logits)).repeat_interleave((logits.softmax(0) * n).long()),
    ),
    Mistake("no gradient reaches mu", caught_by="", reparam=_leaf),
    Mistake(
        "both rows got the same noise", caught_by="", reparam=lambda mu, sigma: mu + sigma * torch.randn_like(mu[:1])
    ),
    Mistake(
        "class 1 has odds of 3 to 1",
        caught_by="",
        sample_actions=lambda logits, n: D.Categorical(logits=logits.exp()).sample((n,)),
    ),
    Mistake(
        "always class 1, which has odds of 3 to 1 only",
        caught_by="",
        sample_actions=lambda logits, n: D.Categorical(probs=logits.clamp(min=0)).sample((n,)),
    ),
    Mistake(
        "torch refused your probabilities",
        caught_by="",
        sample_actions=lambda logits, n: torch.multinomial(logits, n, replacement=True),
    ),
    Mistake(
        "with replacement",
        caught_by="",
        sample_actions=lambda logits, n: torch.multinomial(logits.softmax(0), n),
    ),
    Mistake(
        "always class 1, which has odds of 3 to 1 only",
        caught_by="",
        sample_actions=lambda logits, n: torch.full((n,), int(logits.softmax(0).argmax())),
    ),
    Mistake(
        "a sigmoid per class or two softmaxes give",
        caught_by="",
        sample_actions=lambda logits, n: torch.multinomial(torch.sigmoid(logits), n, replacement=True),
    ),
    Mistake(
        "is (4000,), yours ()",
        caught_by="",
        sample_actions=lambda logits, n: torch.multinomial(logits.softmax(0), 1)[0],
    ),
    Mistake(
        "class 1 has odds of 3 to 1",
        caught_by="",
        sample_actions=lambda logits, n: torch.multinomial(logits.log_softmax(0).abs(), n, replacement=True),
    ),
    Mistake(
        "you took sigma for a variance",
        caught_by="",
        log_prob=lambda mu, sigma, x: D.MultivariateNormal(mu, torch.diag(sigma)).log_prob(x),
    ),
    Mistake("log density of Normal(0.5, 0.1) at 0.5 and 0.7", caught_by="", log_prob=_formula_without_log_sigma),
    Mistake(
        "add the log densities of a row up",
        caught_by="",
        log_prob=lambda mu, sigma, x: D.Normal(mu, sigma).log_prob(x).prod(-1),
    ),
    Mistake(
        "x has 2 rows, so log_prob is (2,)",
        caught_by="",
        log_prob=lambda mu, sigma, x: D.Independent(D.Normal(mu, sigma), 1).log_prob(x).unsqueeze(1),
    ),
    Mistake(
        "Categorical has sample, and no rsample",
        caught_by="",
        sample_actions=lambda logits, n: D.Categorical(logits=logits).rsample((n,)),
    ),
    Mistake(
        "you took sigma for a variance", caught_by="", reparam=lambda mu, sigma: D.Normal(mu, sigma**0.5).rsample()
    ),
    Mistake(
        "you put sigma ** 2 where the standard deviation belongs",
        caught_by="",
        reparam=lambda mu, sigma: D.Normal(mu, sigma**2).rsample(),
    ),
    Mistake("your draw has no graph", caught_by="", reparam=_no_grad),
    Mistake(
        "no gradient reaches mu",
        caught_by="",
        reparam=lambda mu, sigma: mu.detach() + sigma * torch.randn_like(sigma),
    ),
    Mistake(
        "sigma is the standard deviation of the draws",
        caught_by="",
        reparam=lambda mu, sigma: mu + (0.5 * sigma).exp() * torch.randn_like(mu),
    ),
]
