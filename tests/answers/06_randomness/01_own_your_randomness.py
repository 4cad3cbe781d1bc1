"""Answers that people give to own_your_randomness, right ones and wrong ones."""

import random

import numpy as np
import torch

from dojo import Mistake


def _noise_in_a_fork(shape, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.randn(*shape)


def _noise_by_numpy(shape, seed):
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape))


def _noise_in_place(shape, seed):
    g = torch.Generator()
    g.manual_seed(seed)
    return torch.empty(shape).normal_(generator=g)


def _replay_in_a_fork(fn):
    with torch.random.fork_rng():
        first = fn()
    return first, fn()


def _replay_by_a_drawn_seed(fn):
    seed = int(torch.randint(2**31, ()))
    results = []
    for _ in range(2):
        torch.manual_seed(seed)
        results.append(fn())
    return results


def _replay_default_generator(fn):
    state = torch.default_generator.get_state()
    first = fn()
    torch.default_generator.set_state(state)
    second = fn()
    return first, second


def _replay_a_fresh_seed(fn):
    seed = torch.seed()
    first = fn()
    torch.manual_seed(seed)
    return first, fn()


def _seed_all_in_another_order(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.random.manual_seed(seed)


def _split_by_random(n, frac, seed):
    ids = list(range(n))
    random.Random(seed).shuffle(ids)
    cut = int(n * frac)
    return torch.LongTensor(ids[:cut]), torch.LongTensor(ids[cut:])


def _split_by_numpy(n, frac, seed):
    ids = torch.from_numpy(np.random.default_rng(seed).permutation(n))
    return torch.split(ids, [int(frac * n), n - int(frac * n)])


def _split_by_argsort(n, frac, seed):
    order = torch.rand(n, generator=torch.Generator().manual_seed(seed)).argsort()
    return order.tensor_split([int(n * frac)])


def _split_subsets(n, frac, seed):
    parts = torch.utils.data.random_split(range(n), [frac, 1 - frac], generator=torch.Generator().manual_seed(seed))
    return tuple(torch.tensor(list(part), dtype=torch.int64) for part in parts)


def _noise_puts_the_state_back(shape, seed):
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    out = torch.randn(shape)
    torch.set_rng_state(state)
    return out


def _replay_with_a_helper(fn):
    state = torch.random.get_rng_state()

    def again():
        torch.random.set_rng_state(state)
        return fn()

    return again(), again()


def _split_by_a_module_that_draws(n, frac, seed, imported=[]):  # noqa: B006
    if not imported:  # the first import of scikit-learn draws from Python's global generator
        imported.append(random.random())
    return _split_by_argsort(n, frac, seed)


RIGHT = [
    {"noise": _noise_puts_the_state_back, "replay": _replay_with_a_helper},
    {
        "noise": _noise_in_a_fork,
        "replay": _replay_in_a_fork,
        "seed_all": _seed_all_in_another_order,
        "split": _split_by_random,
    },
    {"noise": _noise_by_numpy, "replay": _replay_by_a_drawn_seed, "split": _split_by_numpy},
    {"noise": _noise_in_place, "replay": _replay_default_generator, "split": _split_by_argsort},
    {"replay": _replay_a_fresh_seed, "split": _split_subsets},
    {"split": _split_by_a_module_that_draws},
]


def _noise_globally_seeded_afterwards(shape, seed):
    out = torch.randn(shape)
    torch.manual_seed(seed)
    return out


def _noise_reseeds_torch(shape, seed):
    return torch.empty(shape).normal_(generator=torch.manual_seed(seed))


def _noise_draws_a_seed(shape, seed):
    g = torch.Generator()
    g.seed()
    return torch.randn(shape, generator=g)


def _replay_resets_to_start(fn):
    results = []
    for _ in range(2):
        torch.random.manual_seed(42)
        results.append(fn())
    return tuple(results)


def _replay_two_forks(fn):
    results = []
    for _ in range(2):
        with torch.random.fork_rng():
            results.append(fn())
    return results


def _replay_own_generator(fn):
    g = torch.Generator().manual_seed(0)
    first = fn()
    g.manual_seed(0)
    return first, fn()


def _seed_new_random(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.Random(seed)


def _seed_only_generators(seed):
    np.random.seed(seed)
    random.seed(seed)
    torch.Generator().manual_seed(seed)


def _split_default_generator(n, frac, seed):
    ids = torch.randperm(n, generator=torch.Generator())
    return ids[: int(n * frac)], ids[int(n * frac) :]


def _split_globally_by_numpy(n, frac, seed):
    np.random.seed(seed)
    ids = torch.from_numpy(np.random.permutation(n))
    return ids[: int(n * frac)], ids[int(n * frac) :]


def _split_drops_one(n, frac, seed):
    ids = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return ids[: int(n * frac)], ids[int(n * frac) + 1 :]


def _split_sampled_twice(n, frac, seed):
    r = random.Random(seed)
    return torch.tensor(r.sample(range(n), int(n * frac))), torch.tensor(r.sample(range(n), n - int(n * frac)))


def _split_part_by_part(n, frac, seed):
    rng = np.random.default_rng(seed)
    cut = int(n * frac)
    return torch.from_numpy(rng.permutation(cut)), torch.from_numpy(cut + rng.permutation(n - cut))


def _seed_if_any(seed):
    if seed:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


def _replay_numpy_only(fn):
    state = np.random.get_state()
    first = fn()
    np.random.set_state(state)
    return first, fn()


def _split_the_rest_first(n, frac, seed):
    ids = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return ids[: int(n * (1 - frac))], ids[int(n * (1 - frac)) :]


WRONG = [
    Mistake(
        "puts 15 indices into the first part",
        caught_by="",
        split=lambda n, frac, seed: _split_by_argsort(n, 1 - frac, seed),
    ),
    Mistake(
        "each part of the split is a tensor",
        caught_by="",
        split=lambda n, frac, seed: torch.utils.data.random_split(
            range(n), [frac, 1 - frac], generator=torch.Generator().manual_seed(seed)
        ),
    ),
    Mistake("shuffle before you cut", caught_by="", split=_split_part_by_part),
    Mistake("numpy draws other numbers: its global generator was not seeded", caught_by="", seed_all=_seed_if_any),
    Mistake("it did not start from the state that the first run started from", caught_by="", replay=_replay_numpy_only),
    Mistake("puts 15 indices into the first part", caught_by="", split=_split_the_rest_first),
    Mistake("your draw is not bound to the seed", caught_by="", noise=_noise_globally_seeded_afterwards),
    Mistake("your draw is not bound to the seed", caught_by="", noise=_noise_draws_a_seed),
    Mistake("whoever draws next gets other numbers", caught_by="", noise=_noise_reseeds_torch),
    Mistake("whoever draws next gets other numbers", caught_by="", split=_split_globally_by_numpy),
    Mistake("yours starts from a fixed seed", caught_by="", replay=_replay_resets_to_start),
    Mistake("you rewound the global generator after the last run too", caught_by="", replay=_replay_two_forks),
    Mistake(
        "it did not start from the state that the first run started from", caught_by="", replay=_replay_own_generator
    ),
    Mistake("random draws other numbers: its global generator was not seeded", caught_by="", seed_all=_seed_new_random),
    Mistake(
        "numpy draws other numbers: its global generator was not seeded", caught_by="", seed_all=_seed_only_generators
    ),
    Mistake("the seed never reached your shuffle", caught_by="", split=_split_default_generator),
    Mistake("each of 0 to 19 comes once", caught_by="", split=_split_drops_one),
    Mistake("cut one shuffle in two", caught_by="", split=_split_sampled_twice),
]
