"""Temperature, top-k and top-p: reference.

Hint: For (.5, .3, .15, .05) and p = .6, write down for each token the sum of those *before* it. Which ones stay?
Hint: `torch.topk(min(k, V))`, `Tensor.masked_fill`; `softmax(-1).sort(descending=True)`, cumsum, scatter; multinomial.
Hint: Removed is each sorted token whose cumsum without itself has reached p, except the first; scatter that by indices.

Why: "keep while the sum before it is below p" is the same as "the smallest set that reaches p", and keeps the best one
by itself, unless p is 0. A threshold from topk is one number for each row, so it must keep its dim to broadcast. And
-inf is the only logit that means never: any finite one is somewhere the largest. Drawing needs one call for the whole
batch, and a generator that is handed on makes the text repeatable without touching anybody else's dropout.
"""

import torch

from dojo import Mistake


def filter_logits(logits: torch.Tensor, top_k: int = 0, top_p: float = 1.0) -> torch.Tensor:
    kept = logits.clone()
    if top_k > 0:
        worst = kept.topk(min(top_k, kept.shape[-1])).values[:, -1:]
        kept = kept.masked_fill(kept < worst, -torch.inf)
    if top_p < 1.0:
        p, order = kept.softmax(-1).sort(descending=True)
        late = p.cumsum(-1) - p >= top_p
        late[:, 0] = False
        kept = kept.masked_fill(late.scatter(1, order, late), -torch.inf)
    return kept


def sample(
    logits: torch.Tensor,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    p = filter_logits(logits / temperature, top_k, top_p).softmax(-1)
    return torch.multinomial(p, 1, generator=generator).squeeze(1)


def _topk(logits, k, cut=lambda values: values[:, -1:], limit=True, fill=-torch.inf):
    if k <= 0:
        return logits
    k = min(k, logits.shape[-1]) if limit else k
    return logits.masked_fill(logits < cut(logits.topk(k).values), fill)


def _topp(logits, p, late=None, back=True, best=True, off=True, of=None, fill=-torch.inf, softmax=None):
    if p >= 1 and off:
        return logits
    share, order = (softmax or (lambda x: x.softmax(-1)))(logits if of is None else of).sort(descending=True)
    remove = (late or (lambda s, p: s.cumsum(-1) - s >= p))(share, p)
    if best:
        remove = remove & (torch.arange(remove.shape[-1]) > 0)
    return logits.masked_fill(remove.scatter(1, order, remove) if back else remove, fill)


def _filter(k=None, p=None):
    """The right filter; k and p change its two halves."""

    def wrong(logits, top_k=0, top_p=1.0):
        return _topp(_topk(logits, top_k, **(k or {})), top_p, **(p or {}))

    return wrong


def _no_off(logits, top_k=0, top_p=1.0):
    return _topp(
        logits.masked_fill(logits < logits.topk(min(top_k, logits.shape[-1])).values[:, -1:], -torch.inf), top_p
    )


def _keeps_none_for_zero(logits, top_k=0, top_p=1.0):
    ranks = logits.argsort(-1, descending=True).argsort(-1)
    return _topp(logits.masked_fill(ranks >= top_k, -torch.inf), top_p)


def _p_first(logits, top_k=0, top_p=1.0):
    return _topk(_topp(logits, top_p), top_k)


def _not_renormalised(logits, top_k=0, top_p=1.0):
    return _topp(_topk(logits, top_k), top_p, of=logits)


def _in_place(logits, top_k=0, top_p=1.0):
    return logits.copy_(filter_logits(logits, top_k, top_p))


def _over_the_batch(logits, top_k=0, top_p=1.0):
    k = min(top_k * len(logits), logits.numel())
    return _topp(logits.masked_fill(logits < logits.flatten().topk(k).values[-1], -torch.inf) if k else logits, top_p)


def _columns_only(logits, top_k=0, top_p=1.0):
    return _topp(logits.topk(min(top_k, logits.shape[-1])).values if top_k else logits, top_p)


def _sorted(logits, top_k=0, top_p=1.0):
    return filter_logits(logits, top_k, top_p).sort(descending=True).values


def _probabilities(logits, top_k=0, top_p=1.0):
    return filter_logits(logits, top_k, top_p).softmax(-1)


def _log_probabilities(logits, top_k=0, top_p=1.0):
    return filter_logits(logits, top_k, top_p).log_softmax(-1)


def _in_float32(logits, top_k=0, top_p=1.0):
    return filter_logits(logits.float(), top_k, top_p)


def _as_bool(logits, top_k=0, top_p=1.0):
    return filter_logits(logits, top_k, top_p) > -torch.inf


def _finite(logits, top_k=0, top_p=1.0):
    return filter_logits(logits, top_k, top_p) if top_k or top_p < 1 else logits.clamp(min=-1e4)


def _min_p(logits, top_k=0, top_p=1.0):
    share = _topk(logits, top_k).softmax(-1)
    cut = share < top_p * share.amax(-1, keepdim=True)
    return _topk(logits, top_k).masked_fill(cut & (top_p < 1), -torch.inf)


def _worst_first(logits, top_k=0, top_p=1.0):
    return -filter_logits(-logits, 0, top_p) if top_p < 1 and not top_k else filter_logits(logits, top_k, top_p)


def _multiplied(logits, top_k=0, top_p=1.0):
    return logits * (filter_logits(logits, top_k, top_p) > -torch.inf)


def _draw(divide=None, keep=None, share=None, pick=None, zero=True):
    """The right draw; each mistake changes one thing of it."""

    def wrong(logits, temperature=1.0, top_k=0, top_p=1.0, generator=None):
        if temperature == 0 and zero:
            return logits.argmax(-1)
        logits = (divide or (lambda x, t: x / t))(logits, temperature)
        logits = (keep or filter_logits)(logits, top_k=top_k, top_p=top_p)
        p = (share or (lambda x: x.softmax(-1)))(logits)
        return (pick or (lambda p, g: torch.multinomial(p, 1, generator=g)[:, 0]))(p, generator)

    return wrong


def _filtered_first(logits, temperature=1.0, top_k=0, top_p=1.0, generator=None):
    return sample(filter_logits(logits, top_k, top_p), temperature, generator=generator)


def _greedy(pick):
    def wrong(logits, temperature=1.0, top_k=0, top_p=1.0, generator=None):
        if temperature == 0:
            return pick(logits, generator)
        return sample(logits, temperature, top_k, top_p, generator)

    return wrong


def _greedy_when_cold(logits, temperature=1.0, top_k=0, top_p=1.0, generator=None):
    return sample(logits, 0.0 if temperature < 0.1 else temperature, top_k, top_p, generator)


def _reseeded(p, generator):
    generator = generator or torch.default_generator
    generator.manual_seed(0)
    return torch.multinomial(p, 1, generator=generator)[:, 0]


def _seeds_the_global_one(p, generator):
    if generator is not None:
        torch.manual_seed(generator.initial_seed())
    return torch.multinomial(p, 1)[:, 0]


def _set_back(p, generator):
    if generator is None:
        return torch.multinomial(p, 1)[:, 0]
    state = generator.get_state()
    tokens = torch.multinomial(p, 1, generator=generator)[:, 0]
    generator.set_state(state)
    return tokens


def _own_generator(p, generator):
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    return torch.multinomial(p, 1, generator=generator)[:, 0]


def _best_of_two(p, generator):
    two = torch.multinomial(p, 2, replacement=True, generator=generator)
    return two.amin(1)


def _places_of_the_sorted(p, generator):
    return torch.multinomial(p.sort(descending=True).values, 1, generator=generator)[:, 0]


_K = "test_top_k_is_counted_in_each_row"
_PP = "test_the_token_that_reaches_top_p_stays"
_BOTH = "test_top_p_is_a_share_of_what_top_k_left"
_OFF = "test_what_is_switched_off_removes_nothing"
_ZERO = "test_temperature_zero_takes_the_best_token_without_chance"
_DRAWS = "test_the_temperature_comes_first_and_draws_follow_the_probabilities"
_GENERATOR = "test_all_chance_comes_from_the_generator_that_is_given"

MISTAKES = [
    Mistake("top_k may be larger than the vocabulary", caught_by=_K, filter_logits=_filter(k={"limit": False})),
    Mistake(
        "the limit of row 0 cuts all",
        caught_by=_K,
        filter_logits=_filter(k={"cut": lambda values: values[0, -1]}),
    ),
    Mistake("nothing is left of row 0", caught_by=_K, filter_logits=_over_the_batch),
    Mistake(
        "too many",
        caught_by=_K,
        filter_logits=lambda logits, top_k=0, top_p=1.0: filter_logits(logits, top_k and top_k + 1, top_p),
    ),
    Mistake(
        "too few are kept",
        caught_by=_K,
        filter_logits=lambda logits, top_k=0, top_p=1.0: _topp(
            logits.masked_fill(logits <= logits.topk(min(top_k, 4)).values[:, -1:], -torch.inf) if top_k else logits,
            top_p,
        ),
    ),
    Mistake("nothing is left of row 0", caught_by=_K, filter_logits=_keeps_none_for_zero),
    Mistake("raised, for probabilities", caught_by=_K, filter_logits=_no_off),
    Mistake("it stays as it is, or it is -inf", caught_by=_K, filter_logits=_filter(k={"fill": -1e4})),
    Mistake("it stays as it is, or it is -inf", caught_by=_K, filter_logits=_filter(k={"fill": 0.0})),
    Mistake("it stays as it is, or it is -inf", caught_by=_K, filter_logits=_probabilities),
    Mistake("it stays as it is, or it is -inf", caught_by=_OFF, filter_logits=_log_probabilities),
    Mistake("it stays as it is, or it is -inf", caught_by=_K, filter_logits=_multiplied),
    Mistake("it stays as it is, or it is -inf", caught_by=_K, filter_logits=_sorted),
    Mistake("the result has a column for each token", caught_by=_K, filter_logits=_columns_only),
    Mistake("and so is the result", caught_by=_K, filter_logits=_in_float32),
    Mistake("and so is the result", caught_by=_K, filter_logits=_as_bool),
    Mistake("the logits are the caller's: put -inf into another tensor", caught_by=_K, filter_logits=_in_place),
    Mistake(
        "the token that reaches top_p stays",
        caught_by=_PP,
        filter_logits=_filter(p={"late": lambda s, p: s.cumsum(-1) > p}),
    ),
    Mistake(
        "the token that reaches top_p stays",
        caught_by=_PP,
        filter_logits=_filter(p={"late": lambda s, p: s.cumsum(-1) > p, "best": False}),
    ),
    Mistake("nothing is left of row 0", caught_by=_PP, filter_logits=_filter(p={"best": False})),
    Mistake(
        "which is the smallest set", caught_by=_PP, filter_logits=_filter(p={"late": lambda s, p: s.cumsum(-1) - s > p})
    ),
    Mistake("has to go back to its place", caught_by=_PP, filter_logits=_filter(p={"back": False})),
    Mistake("keeps the tokens", caught_by=_PP, filter_logits=_min_p),
    Mistake("keeps the tokens", caught_by=_PP, filter_logits=_filter(p={"late": lambda s, p: s < 1 - p})),
    Mistake("it stays as it is, or it is -inf", caught_by=_PP, filter_logits=_worst_first),
    Mistake("it stays as it is, or it is -inf", caught_by=_PP, filter_logits=_filter(p={"fill": -1e9})),
    Mistake(
        "row 0 keeps the tokens",
        caught_by=_PP,
        filter_logits=_filter(p={"softmax": lambda x: x.exp() / x.exp().sum(-1, keepdim=True)}),
    ),
    Mistake("keeps the tokens", caught_by=_PP, filter_logits=_filter(p={"softmax": lambda x: x.softmax(0)})),
    Mistake("that is top_p of all tokens", caught_by=_BOTH, filter_logits=_p_first),
    Mistake("that is top_p of all tokens", caught_by=_BOTH, filter_logits=_not_renormalised),
    Mistake("nothing is to be removed", caught_by=_OFF, filter_logits=_filter(p={"off": False})),
    Mistake("a token that had -inf came back", caught_by=_OFF, filter_logits=_finite),
    Mistake("probabilities with nan, inf", caught_by=_ZERO, sample=_draw(zero=False)),
    Mistake("used random numbers", caught_by=_ZERO, sample=_draw(divide=lambda x, t: x / max(t, 1e-6), zero=False)),
    Mistake(
        "used random numbers",
        caught_by=_ZERO,
        sample=_greedy(lambda logits, g: torch.multinomial((logits / 1e-5).softmax(-1), 1, generator=g)[:, 0]),
    ),
    Mistake(
        "the best tokens are",
        caught_by=_ZERO,
        sample=_greedy(lambda logits, g: logits[:1].argmax(-1).repeat(len(logits))),
    ),
    Mistake("one token for each row", caught_by=_ZERO, sample=_greedy(lambda logits, g: logits.argmax())),
    Mistake(
        "one token for each row", caught_by=_ZERO, sample=_greedy(lambda logits, g: logits.argmax(-1, keepdim=True))
    ),
    Mistake(
        "one token for each row", caught_by=_DRAWS, sample=_draw(pick=lambda p, g: torch.multinomial(p, 1, generator=g))
    ),
    Mistake(
        "one token for each row",
        caught_by=_DRAWS,
        sample=_draw(pick=lambda p, g: torch.multinomial(p, 1, generator=g).squeeze()),
    ),
    Mistake(
        "tokens are int64",
        caught_by=_DRAWS,
        sample=_draw(pick=lambda p, g: torch.multinomial(p, 1, generator=g)[:, 0].float()),
    ),
    Mistake("the logits are the caller's", caught_by=_DRAWS, sample=_draw(divide=lambda x, t: x.div_(t))),
    Mistake("divided by it, they are those logits again", caught_by=_DRAWS, sample=_greedy_when_cold),
    Mistake(
        "divided by it, they are those logits again",
        caught_by=_DRAWS,
        sample=_draw(divide=lambda x, t: x / max(t, 0.1)),
    ),
    Mistake("was drawn in", caught_by=_DRAWS, sample=_filtered_first),
    Mistake(
        "expected (0.6849", caught_by=_DRAWS, sample=_draw(divide=lambda x, t: x, share=lambda x: x.softmax(-1) / 0.5)
    ),
    Mistake("expected (0.6849", caught_by=_DRAWS, sample=_draw(divide=lambda x, t: x * t)),
    Mistake("was drawn in", caught_by=_DRAWS, sample=_draw(keep=lambda x, top_k, top_p: filter_logits(x, top_k))),
    Mistake("was drawn in", caught_by=_DRAWS, sample=_draw(keep=lambda x, top_k, top_p: filter_logits(x, 0, top_p))),
    Mistake("shares of", caught_by=_DRAWS, sample=_draw(share=lambda x: x.softmax(-1).masked_fill(x.isfinite(), 1.0))),
    Mistake("was drawn in", caught_by=_DRAWS, sample=_draw(share=lambda x: x.softmax(-1).softmax(-1))),
    Mistake("probabilities with nan, inf", caught_by=_DRAWS, sample=_draw(share=lambda x: x.exp())),
    Mistake("was drawn in", caught_by=_DRAWS, sample=_draw(pick=lambda p, g: p.argmax(-1))),
    Mistake(
        "was drawn in",
        caught_by=_DRAWS,
        sample=_draw(pick=lambda p, g: torch.multinomial(p[0], len(p), replacement=True, generator=g)),
    ),
    Mistake(
        "was drawn in",
        caught_by=_DRAWS,
        sample=_draw(pick=lambda p, g: (p.cumsum(-1) < torch.rand(1, generator=g)).sum(-1).clamp(max=3)),
    ),
    Mistake("shares of", caught_by=_DRAWS, sample=_draw(pick=_best_of_two)),
    Mistake("was drawn in", caught_by=_DRAWS, sample=_draw(pick=_places_of_the_sorted)),
    Mistake(
        "torch's global one moved",
        caught_by=_GENERATOR,
        sample=_draw(pick=lambda p, g: torch.multinomial(p, 1)[:, 0]),
    ),
    Mistake(
        "torch's global one moved",
        caught_by=_GENERATOR,
        sample=_draw(pick=lambda p, g: torch.distributions.Categorical(p, validate_args=False).sample()),
    ),
    Mistake("it was seeded anew", caught_by=_GENERATOR, sample=_draw(pick=_reseeded)),
    Mistake("torch's global one moved", caught_by=_GENERATOR, sample=_draw(pick=_seeds_the_global_one)),
    Mistake("or it was set back", caught_by=_GENERATOR, sample=_draw(pick=_set_back)),
    Mistake("torch's global one is as before", caught_by=_GENERATOR, sample=_draw(pick=_own_generator)),
]
