"""Own your randomness: reference.

Hint: Who else uses the generator that you draw from? Nobody else should use that of `noise` and `split`; the one that
`replay` needs is everybody's, so keep its state before the first run.
Hint: `torch.Generator().manual_seed(seed)` gives the generator; `torch.get_rng_state` and `torch.set_rng_state` keep
and put back the global state; numpy's global seed is `np.random.seed`.
Hint: In `replay`: keep the state, run, put it back, run again, and leave the state as the second run left it. In
`split`: one `torch.randperm` with `generator=`, cut in two.

Why: The global generator is a global variable: who seeds or uses it changes the numbers of everybody after. An own,
seeded Generator makes a function depend on its arguments only. To replay, restore a state rather than choose a seed:
the numbers then still follow the seed that the program's user chose. And each library, like each process and each
device, has a generator of its own: seeding one leaves the others alone.
"""

import functools
import random
from collections.abc import Callable

import numpy as np
import torch

from dojo import Mistake


def noise(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def replay(fn: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    state = torch.get_rng_state()
    first = fn()
    torch.set_rng_state(state)
    return first, fn()


def seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def split(n: int, frac: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    cut = round(n * frac)
    return shuffled[:cut], shuffled[cut:]


def _noise_seeds_the_world(shape, seed):
    torch.manual_seed(seed)
    return torch.randn(shape)


def _noise_seeds_numpy(shape, seed):
    np.random.seed(seed)
    return torch.from_numpy(np.random.randn(*shape)).float()


@functools.lru_cache
def _noise_from_a_cache(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _noise_takes_0_for_no_seed(shape, seed):
    g = torch.Generator()
    g.manual_seed(seed or random.randrange(2**31))
    return torch.randn(shape, generator=g)


def _noise_forgets_the_generator(shape, seed):
    torch.Generator().manual_seed(seed)
    return torch.randn(shape)


def _replay_a_fixed_seed(fn):
    torch.manual_seed(0)
    first = fn()
    torch.manual_seed(0)
    return first, fn()


def _replay_the_initial_seed(fn):
    torch.manual_seed(torch.initial_seed())
    first = fn()
    torch.manual_seed(torch.initial_seed())
    return first, fn()


def _replay_and_rewind(fn):
    state = torch.get_rng_state()
    first = fn()
    torch.set_rng_state(state)
    second = fn()
    torch.set_rng_state(state)
    return first, second


def _replay_too_late(fn):
    first = fn()
    state = torch.get_rng_state()
    second = fn()
    torch.set_rng_state(state)
    return first, second


def _replay_from_the_seed(fn):
    first = fn()
    torch.manual_seed(torch.initial_seed())
    return first, fn()


def _replay_by_copy(fn):
    first = fn()
    return first, first.clone()


def _seed_torch_and_numpy(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)


def _seed_new_generators(seed):
    torch.manual_seed(seed)
    np.random.default_rng(seed)
    random.seed(seed)


def _seed_with_a_constant(seed):
    seed_all(0)


def _split_globally(n, frac, seed):
    shuffled = torch.randperm(n)
    return shuffled[: int(n * frac)], shuffled[int(n * frac) :]


def _split_seeds_the_world(n, frac, seed):
    torch.manual_seed(seed)
    return _split_globally(n, frac, seed)


def _split_in_order(n, frac, seed):
    return torch.arange(int(n * frac)), torch.arange(int(n * frac), n)


def _split_then_shuffle(n, frac, seed):
    g = torch.Generator().manual_seed(seed)
    cut = int(n * frac)
    return torch.randperm(cut, generator=g), cut + torch.randperm(n - cut, generator=g)


def _split_two_shuffles(n, frac, seed):
    g = torch.Generator().manual_seed(seed)
    cut = int(n * frac)
    return torch.randperm(n, generator=g)[:cut], torch.randperm(n, generator=g)[cut:]


def _split_in_chunks_of_the_first(n, frac, seed):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).split(int(frac * n))


def _split_by_nonzero_of_masks(n, frac, seed):
    first = torch.randperm(n, generator=torch.Generator().manual_seed(seed)) < int(frac * n)
    return first.nonzero(), (~first).nonzero()


def _seed_by_assignment(seed):
    torch.manual_seed = seed
    np.random.seed(seed)
    random.seed(seed)


def _noise_puts_back_only_the_seed(shape, seed):
    before = torch.initial_seed()
    torch.manual_seed(seed)
    out = torch.randn(shape)
    torch.manual_seed(before)
    return out


def _split_by_coin(n, frac, seed):
    first = torch.rand(n, generator=torch.Generator().manual_seed(seed)) < frac
    return first.nonzero().flatten(), (~first).nonzero().flatten()


def _split_with_replacement(n, frac, seed):
    drawn = torch.randint(n, (int(n * frac),), generator=torch.Generator().manual_seed(seed))
    return drawn, torch.tensor([i for i in range(n) if i not in drawn.tolist()])


@functools.lru_cache
def _split_from_a_cache(n, frac, seed):
    return split(n, frac, seed)


def _split_in_lists(n, frac, seed):
    return tuple(part.tolist() for part in split(n, frac, seed))


def _split_never_empty(n, frac, seed):
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    cut = min(max(1, int(n * frac)), n - 1)
    return shuffled[:cut], shuffled[cut:]


_GLOBAL = "whoever draws next gets other numbers"
_NOT_BOUND = "your draw is not bound to the seed"
_ON = "draws other numbers: its global generator was not seeded"

MISTAKES = [
    Mistake(
        "both calls returned the same memory", caught_by="test_a_split_is_bound_to_its_seed", split=_split_from_a_cache
    ),
    Mistake(
        "each part of the split is a tensor", caught_by="test_a_split_holds_every_index_once", split=_split_in_lists
    ),
    Mistake(
        "is int64, as indices are",
        caught_by="test_a_split_holds_every_index_once",
        split=lambda n, frac, seed: [part.int() for part in split(n, frac, seed)],
    ),
    Mistake(
        "puts 5 indices into the first part", caught_by="test_a_split_holds_every_index_once", split=_split_never_empty
    ),
    Mistake(
        _GLOBAL, caught_by="test_a_generator_of_your_own_leaves_the_global_ones_alone", noise=_noise_seeds_the_world
    ),
    Mistake(_GLOBAL, caught_by="test_a_generator_of_your_own_leaves_the_global_ones_alone", noise=_noise_seeds_numpy),
    Mistake(
        _GLOBAL, caught_by="test_a_generator_of_your_own_leaves_the_global_ones_alone", split=_split_seeds_the_world
    ),
    Mistake(
        _NOT_BOUND, caught_by="test_the_same_seed_gives_the_same_noise", noise=lambda shape, seed: torch.randn(shape)
    ),
    Mistake(_NOT_BOUND, caught_by="test_the_same_seed_gives_the_same_noise", noise=_noise_forgets_the_generator),
    Mistake(
        "the seed never reached your generator",
        caught_by="test_the_same_seed_gives_the_same_noise",
        noise=lambda shape, seed: torch.randn(shape, generator=torch.Generator()),
    ),
    Mistake(
        "must draw a tensor of that shape",
        caught_by="test_the_same_seed_gives_the_same_noise",
        noise=lambda shape, seed: torch.randn(shape, generator=seed),
    ),
    Mistake("0 is a seed too", caught_by="test_the_same_seed_gives_the_same_noise", noise=_noise_takes_0_for_no_seed),
    Mistake(
        "both calls returned the same memory",
        caught_by="test_the_same_seed_gives_the_same_noise",
        noise=_noise_from_a_cache,
    ),
    Mistake(
        "noise draws each value on its own",
        caught_by="test_the_same_seed_gives_the_same_noise",
        noise=lambda shape, seed: torch.full(shape, float(seed)),
    ),
    Mistake(
        "it did not start from the state that the first run started from",
        caught_by="test_the_same_state_gives_the_same_draws",
        replay=lambda fn: (fn(), fn()),
    ),
    Mistake(
        "it did not start from the state that the first run started from",
        caught_by="test_the_same_state_gives_the_same_draws",
        replay=_replay_too_late,
    ),
    Mistake(
        "it did not start from the state that the first run started from",
        caught_by="test_the_same_state_gives_the_same_draws",
        replay=_replay_from_the_seed,
    ),
    Mistake("replay calls fn twice", caught_by="test_the_same_state_gives_the_same_draws", replay=_replay_by_copy),
    Mistake(
        "yours starts from a fixed seed", caught_by="test_a_replay_is_not_a_fixed_seed", replay=_replay_a_fixed_seed
    ),
    Mistake(
        "yours starts from a fixed seed", caught_by="test_a_replay_is_not_a_fixed_seed", replay=_replay_the_initial_seed
    ),
    Mistake(
        "you rewound the global generator after the last run too",
        caught_by="test_a_replay_is_not_a_fixed_seed",
        replay=_replay_and_rewind,
    ),
    Mistake(f"numpy {_ON}", caught_by="test_torch_numpy_and_random_are_seeded_one_by_one", seed_all=torch.manual_seed),
    Mistake(
        f"random {_ON}", caught_by="test_torch_numpy_and_random_are_seeded_one_by_one", seed_all=_seed_torch_and_numpy
    ),
    Mistake(
        f"numpy {_ON}", caught_by="test_torch_numpy_and_random_are_seeded_one_by_one", seed_all=_seed_new_generators
    ),
    Mistake(
        "seed is not used",
        caught_by="test_torch_numpy_and_random_are_seeded_one_by_one",
        seed_all=_seed_with_a_constant,
    ),
    Mistake(
        "you shuffled with a generator that others move on",
        caught_by="test_a_split_is_bound_to_its_seed",
        split=_split_globally,
    ),
    Mistake(
        "the seed never reached your shuffle", caught_by="test_a_split_is_bound_to_its_seed", split=_split_in_order
    ),
    Mistake("shuffle before you cut", caught_by="test_a_split_is_bound_to_its_seed", split=_split_then_shuffle),
    Mistake(
        "cut one shuffle in two",
        caught_by="test_a_split_holds_every_index_once",
        split=_split_two_shuffles,
    ),
    Mistake(
        "each of 0 to 19 comes once", caught_by="test_a_split_holds_every_index_once", split=_split_with_replacement
    ),
    Mistake(
        "puts 15 indices into the first part", caught_by="test_a_split_holds_every_index_once", split=_split_by_coin
    ),
    Mistake(
        "split returns two things", caught_by="test_a_split_holds_every_index_once", split=_split_in_chunks_of_the_first
    ),
    Mistake(
        "each part of the split is 1-D",
        caught_by="test_a_split_holds_every_index_once",
        split=_split_by_nonzero_of_masks,
    ),
    Mistake(
        "assigned a number to torch.manual_seed",
        caught_by="test_torch_numpy_and_random_are_seeded_one_by_one",
        seed_all=_seed_by_assignment,
    ),
    Mistake(
        _GLOBAL,
        caught_by="test_a_generator_of_your_own_leaves_the_global_ones_alone",
        noise=_noise_puts_back_only_the_seed,
    ),
]
