"""Validation must not change training: reference.

Hint: From which generator does each of the two loaders draw, when a pass begins? Count the draws of an epoch.
Hint: `DataLoader` takes `generator=`, `shuffle=` and `drop_last=`; `torch.Generator().manual_seed(...)` returns one.
Hint: Make two generators, one for each loader; only the train loader also gets shuffle and drop_last.

Why: A DataLoader draws a base seed for its workers at each iter(), wanted or not; the maintainers call it intended.
With a generator of its own, the train loader's sequence of orders depends on seed alone, whatever else runs in the
program. That of the val loader decides nothing about its order: it is there so that the base seed comes from it, and
not from the numbers that feed dropout. Who wants to stop a training and go on later saves the state of the first one.
"""

import random
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Subset

from dojo import Mistake


def make_loaders(train: Dataset, val: Dataset, batch_size: int, seed: int) -> tuple[DataLoader, DataLoader]:
    for_train, for_val = (torch.Generator().manual_seed(seed) for _ in range(2))
    return (
        DataLoader(train, batch_size, shuffle=True, drop_last=True, generator=for_train),
        DataLoader(val, batch_size, generator=for_val),
    )


def _own(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _with(train: Any = None, val: Any = None) -> Any:
    """make_loaders with other options: for each loader, a function of seed that gives them."""

    def wrong(train_data, val_data, batch_size, seed):
        options = {"shuffle": True, "drop_last": True, "generator": _own(seed)} | (train(seed) if train else {})
        val_options = {"generator": _own(seed)} | (val(seed) if val else {})
        return DataLoader(train_data, batch_size, **options), DataLoader(val_data, batch_size, **val_options)

    return wrong


def _one_generator(train, val, batch_size, seed):
    g = _own(seed)
    return (
        DataLoader(train, batch_size, shuffle=True, drop_last=True, generator=g),
        DataLoader(val, batch_size, generator=g),
    )


def _shared_by_a_sampler(train, val, batch_size, seed):
    """The loaders hold different generators, but the sampler of one has that of the other."""
    g = _own(seed)
    sampler = RandomSampler(train, generator=g)
    return (
        DataLoader(train, batch_size, sampler=sampler, drop_last=True, generator=_own(seed)),
        DataLoader(val, batch_size, generator=g),
    )


def _seeds_the_world(train, val, batch_size, seed):
    torch.manual_seed(seed)
    return make_loaders(train, val, batch_size, seed)


def _seeds_numpy(train, val, batch_size, seed):
    np.random.seed(seed)
    random.seed(seed)
    return make_loaders(train, val, batch_size, seed)


def _default_generator(train, val, batch_size, seed):
    """torch.manual_seed returns the global generator."""
    g = torch.manual_seed(seed)
    return DataLoader(train, batch_size, shuffle=True, drop_last=True, generator=g), DataLoader(val, batch_size)


def _no_generator(train, val, batch_size, seed):
    return DataLoader(train, batch_size, shuffle=True, drop_last=True), DataLoader(val, batch_size)


def _fixed_permutation(train, val, batch_size, seed):
    train = Subset(train, torch.randperm(len(train), generator=_own(seed)).tolist())
    return (
        DataLoader(train, batch_size, drop_last=True, generator=_own(seed)),
        DataLoader(val, batch_size, generator=_own(seed)),
    )


class _Reseeds(DataLoader):
    """Seeds its generator before each epoch."""

    def __iter__(self):
        self.generator.manual_seed(self.generator.initial_seed())
        return super().__iter__()


def _reseeded(train, val, batch_size, seed):
    loader = _Reseeds(train, batch_size, shuffle=True, drop_last=True, generator=_own(seed))
    return loader, DataLoader(val, batch_size, generator=_own(seed))


def _lists(train, val, batch_size, seed):
    return tuple(list(loader) for loader in make_loaders(train, val, batch_size, seed))


def _with_replacement(train, val, batch_size, seed):
    sampler = RandomSampler(train, replacement=True, generator=_own(seed))
    loader = DataLoader(train, batch_size, sampler=sampler, drop_last=True, generator=_own(seed))
    return loader, DataLoader(val, batch_size, generator=_own(seed))


def _sampler_without(train, val, batch_size, seed):
    loader = DataLoader(train, batch_size, sampler=RandomSampler(train), drop_last=True, generator=_own(seed))
    return loader, DataLoader(val, batch_size, generator=_own(seed))


def _only_the_sampler(train, val, batch_size, seed):
    """The order has a generator, the base seed has none."""
    batches = BatchSampler(RandomSampler(train, generator=_own(seed)), batch_size, drop_last=True)
    return DataLoader(train, batch_sampler=batches), DataLoader(val, batch_size, generator=_own(seed))


def _both_options(train, val, batch_size, seed):
    sampler = RandomSampler(train, generator=_own(seed))
    loader = DataLoader(train, batch_size, shuffle=True, sampler=sampler, generator=_own(seed))
    return loader, DataLoader(val, batch_size, generator=_own(seed))


_BY_SEED: dict[int, torch.Generator] = {}


def _remembered(train, val, batch_size, seed):
    g = _BY_SEED.setdefault(seed, _own(seed))
    return (
        DataLoader(train, batch_size, shuffle=True, drop_last=True, generator=g),
        DataLoader(val, batch_size, generator=_own(seed)),
    )


_THE_ONE = torch.Generator()


def _of_the_module(train, val, batch_size, seed):
    g = _THE_ONE.manual_seed(seed)
    return (
        DataLoader(train, batch_size, shuffle=True, drop_last=True, generator=g),
        DataLoader(val, batch_size, generator=_own(seed)),
    )


def _cut_before(train, val, batch_size, seed):
    whole = len(train) // batch_size * batch_size
    return make_loaders(Subset(train, range(whole)), val, batch_size, seed)


def _swapped(train, val, batch_size, seed):
    return make_loaders(train, val, batch_size, seed)[::-1]


class _Rewinds(DataLoader):
    """What others draw during the pass, dropout say, is taken back at its end."""

    def __iter__(self):
        with torch.random.fork_rng(devices=[]):
            yield from super().__iter__()


def _rewound(train, val, batch_size, seed):
    return make_loaders(train, val, batch_size, seed)[0], _Rewinds(val, batch_size)


def _alternates(train, val, batch_size, seed):
    """Two orders, again and again."""

    class Two:
        turn = 0

        def __len__(self):
            return len(train)

        def __iter__(self):
            self.turn = 1 - self.turn
            return iter(torch.randperm(len(train), generator=_own(seed + self.turn)).tolist())

    loader = DataLoader(train, batch_size, sampler=Two(), drop_last=True, generator=_own(seed))
    return loader, DataLoader(val, batch_size, generator=_own(seed))


class _Order:
    """A sampler that asks `order(generator)` at each pass."""

    def __init__(self, n, seed, order):
        self.n, self.generator, self.order = n, _own(seed), order

    def __len__(self):
        return self.n

    def __iter__(self):
        return iter(self.order(self.generator))


def _by_order(order):
    def wrong(train, val, batch_size, seed):
        n = len(train)
        sampler = _Order(n, seed, lambda g: order(n, batch_size, g))
        loader = DataLoader(train, batch_size, sampler=sampler, drop_last=True, generator=_own(seed))
        return loader, DataLoader(val, batch_size, generator=_own(seed))

    return wrong


def _from_somewhere_on(n, batch_size, g):
    start = int(torch.randint(1, n, (), generator=g))
    return [*range(start, n), *range(start)]


def _batches_shuffled(n, batch_size, g):
    blocks = torch.arange(n).split(batch_size)
    return [i for b in torch.randperm(len(blocks), generator=g).tolist() for i in blocks[b].flip(0).tolist()]


def _inside_the_batches(n, batch_size, g):
    """A shuffle whose buffer is one batch."""
    blocks = torch.arange(n).split(batch_size)
    return [i for block in blocks for i in block[torch.randperm(len(block), generator=g)].tolist()]


def _seed_put_back(train, val, batch_size, seed):
    """The seed is put back, and not the state."""
    before = torch.initial_seed()
    torch.manual_seed(seed)
    loaders = make_loaders(train, val, batch_size, int(torch.randint(2**31, ())))
    torch.manual_seed(before)
    return loaders


_ORDER = "test_each_epoch_has_an_order_of_its_own"
_SEED = "test_the_seed_alone_decides_the_orders"
_PASS = "test_a_validation_pass_changes_no_training_order"
_GLOBAL = "test_no_loader_moves_the_global_random_numbers"
_CUT = "test_only_training_is_shuffled_and_cut"

MISTAKES = [
    Mistake("three epochs came in the same order", caught_by=_ORDER, make_loaders=_fixed_permutation),
    Mistake("three epochs came in the same order", caught_by=_ORDER, make_loaders=_reseeded),
    Mistake("three epochs came in the same order", caught_by=_ORDER, make_loaders=_lists),
    Mistake("three epochs came in 2 different orders", caught_by=_ORDER, make_loaders=_alternates),
    Mistake("in the order of the file", caught_by=_ORDER, make_loaders=_with(train=lambda seed: {"shuffle": False})),
    Mistake("the order of the file from", caught_by=_ORDER, make_loaders=_by_order(_from_somewhere_on)),
    Mistake("mix all samples anew", caught_by=_ORDER, make_loaders=_by_order(_batches_shuffled)),
    Mistake("mix all samples anew", caught_by=_ORDER, make_loaders=_by_order(_inside_the_batches)),
    Mistake("each comes once", caught_by=_ORDER, make_loaders=_with_replacement),
    Mistake("each comes once", caught_by=_ORDER, make_loaders=_swapped),
    Mistake("shuffle= (or batch_size, drop_last) cannot go with it", caught_by=_ORDER, make_loaders=_both_options),
    Mistake("not a number", caught_by=_ORDER, make_loaders=_with(train=lambda seed: {"generator": seed})),
    Mistake("two loaders with the same seed gave", caught_by=_SEED, make_loaders=_no_generator),
    Mistake("two loaders with the same seed gave", caught_by=_SEED, make_loaders=_sampler_without),
    Mistake("two loaders with the same seed gave", caught_by=_SEED, make_loaders=_remembered),
    Mistake("two loaders with the same seed gave", caught_by=_SEED, make_loaders=_of_the_module),
    Mistake(
        "seed has to reach the generator",
        caught_by=_SEED,
        make_loaders=_with(train=lambda seed: {"generator": torch.Generator()}),
    ),
    Mistake(
        "two loaders with seed 0 gave different orders",
        caught_by=_SEED,
        make_loaders=_with(
            train=lambda seed: {} if seed else {"generator": _own(random.SystemRandom().getrandbits(60))}
        ),
    ),
    Mistake("both loaders draw from the same generator", caught_by=_PASS, make_loaders=_one_generator),
    Mistake("running validation changed the training order", caught_by=_PASS, make_loaders=_shared_by_a_sampler),
    Mistake("make_loaders moved or seeded the global random numbers", caught_by=_GLOBAL, make_loaders=_seeds_the_world),
    Mistake("make_loaders moved or seeded the global random numbers", caught_by=_GLOBAL, make_loaders=_seeds_numpy),
    Mistake("make_loaders moved or seeded the global random numbers", caught_by=_GLOBAL, make_loaders=_seed_put_back),
    Mistake("make_loaders moved or seeded the global", caught_by=_GLOBAL, make_loaders=_default_generator),
    Mistake("a pass over the train loader moved the global", caught_by=_GLOBAL, make_loaders=_only_the_sampler),
    Mistake(
        "it draws a base seed at each iter()",
        caught_by=_GLOBAL,
        make_loaders=_with(val=lambda seed: {"generator": None}),
    ),
    Mistake("drawn between the batches of the val loader", caught_by=_GLOBAL, make_loaders=_rewound),
    Mistake(
        "its short last batch was dropped", caught_by=_CUT, make_loaders=_with(val=lambda seed: {"drop_last": True})
    ),
    Mistake("validation came shuffled", caught_by=_CUT, make_loaders=_with(val=lambda seed: {"shuffle": True})),
    Mistake(
        "training got the short last batch of 2",
        caught_by=_CUT,
        make_loaders=_with(train=lambda seed: {"drop_last": False}),
    ),
    Mistake("in 30 epochs training never saw [8, 9]", caught_by=_CUT, make_loaders=_cut_before),
]
