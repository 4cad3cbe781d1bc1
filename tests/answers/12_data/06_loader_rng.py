"""Answers that people give to loader_rng, right ones and wrong ones."""

import random

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler, SequentialSampler, Subset

from dojo import Mistake


def _generator(seed):
    g = torch.Generator()
    g.manual_seed(seed)
    return g


def _two_seeds(train, val, batch_size, seed):
    train_loader = DataLoader(train, batch_size=batch_size, shuffle=True, drop_last=True, generator=_generator(seed))
    val_loader = DataLoader(val, batch_size=batch_size, shuffle=False, drop_last=False, generator=_generator(seed + 1))
    return train_loader, val_loader


def _unseeded_for_val(train, val, batch_size, seed):
    return [
        DataLoader(train, batch_size, True, generator=_generator(seed), drop_last=True),
        DataLoader(val, batch_size, generator=torch.Generator()),
    ]


def _own_sampler(train, val, batch_size, seed):
    sampler = RandomSampler(train, generator=_generator(seed))
    return (
        DataLoader(train, batch_size, sampler=sampler, drop_last=True, generator=_generator(seed + 1)),
        DataLoader(val, batch_size, sampler=SequentialSampler(val), generator=_generator(seed + 2)),
    )


def _own_batches(train, val, batch_size, seed):
    g = _generator(seed)
    batches = BatchSampler(RandomSampler(train, generator=g), batch_size, drop_last=True)
    return (
        DataLoader(train, batch_sampler=batches, generator=g),
        DataLoader(val, batch_sampler=BatchSampler(range(len(val)), batch_size, False), generator=_generator(seed)),
    )


class _ByEpoch(Sampler):
    """A seed for each epoch, as DistributedSampler does it."""

    def __init__(self, n, seed):
        self.n, self.seed, self.epoch = n, seed, 0

    def __len__(self):
        return self.n

    def __iter__(self):
        g = _generator(self.seed + 1000 * self.epoch)
        self.epoch += 1
        return iter(torch.randperm(self.n, generator=g).tolist())


def _by_epoch(train, val, batch_size, seed):
    return (
        DataLoader(train, batch_size, sampler=_ByEpoch(len(train), seed), drop_last=True, generator=torch.Generator()),
        DataLoader(val, batch_size, generator=torch.Generator()),
    )


class _ByRandom(Sampler):
    def __init__(self, n, seed):
        self.n, self.rng = n, random.Random(seed)

    def __len__(self):
        return self.n

    def __iter__(self):
        order = list(range(self.n))
        self.rng.shuffle(order)
        yield from order


def _by_random(train, val, batch_size, seed):
    return (
        DataLoader(train, batch_size, sampler=_ByRandom(len(train), seed), drop_last=True, generator=_generator(seed)),
        DataLoader(val, batch_size, generator=_generator(seed)),
    )


class _Quiet(DataLoader):
    """Puts the global state back that iter() moved."""

    def __iter__(self):
        with torch.random.fork_rng(devices=[]):
            return super().__iter__()


def _quiet(train, val, batch_size, seed):
    train_loader = DataLoader(train, batch_size, shuffle=True, drop_last=True, generator=_generator(seed))
    return train_loader, _Quiet(val, batch_size)


class _AListEachTime(Sampler):
    """In the style of 2017: the order of an epoch is a list, drawn by NumPy."""

    def __init__(self, data_source, seed):
        self.data_source, self.rng = data_source, np.random.RandomState(seed)

    def __len__(self):
        return len(self.data_source)

    def __iter__(self):
        return iter(self.rng.permutation(len(self.data_source)).tolist())


def _by_lists(train, val, batch_size, seed):
    """A whole number of batches is cut by the batch sampler, and validation has workers' options spelled out."""
    batches = BatchSampler(_AListEachTime(train, seed), batch_size=batch_size, drop_last=True)
    train_loader = DataLoader(train, batch_sampler=batches, num_workers=0, generator=_generator(seed + 100))
    val_loader = DataLoader(val, batch_size, False, None, None, 0, None, False, False, 0, None, generator=_generator(0))
    return train_loader, val_loader


_STYLES = (_by_lists, _two_seeds, _unseeded_for_val, _own_sampler, _own_batches, _by_epoch, _by_random, _quiet)
RIGHT = [{"make_loaders": style} for style in _STYLES]


def _nothing_for_val(train, val, batch_size, seed):
    return DataLoader(train, batch_size, True, drop_last=True, generator=_generator(seed)), DataLoader(val, batch_size)


def _shared(train, val, batch_size, seed):
    kwargs = {"batch_size": batch_size, "generator": _generator(seed)}
    return DataLoader(train, shuffle=True, drop_last=True, **kwargs), DataLoader(val, shuffle=False, **kwargs)


def _shared_by_the_batches(train, val, batch_size, seed):
    g = _generator(seed)
    batches = BatchSampler(RandomSampler(train, generator=g), batch_size, True)
    return DataLoader(train, batch_sampler=batches, generator=_generator(0)), DataLoader(val, batch_size, generator=g)


def _global(train, val, batch_size, seed):
    torch.manual_seed(seed)
    return DataLoader(train, batch_size, shuffle=True, drop_last=True), DataLoader(val, batch_size)


def _forked_when_made(train, val, batch_size, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DataLoader(train, batch_size, shuffle=True, drop_last=True), DataLoader(val, batch_size)


def _seeds_all(train, val, batch_size, seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return _two_seeds(train, val, batch_size, seed)


def _shuffled_once(train, val, batch_size, seed):
    order = list(range(len(train)))
    random.Random(seed).shuffle(order)
    return _two_seeds(Subset(train, order), val, batch_size, seed)[0].__class__(
        Subset(train, order), batch_size, drop_last=True, generator=_generator(seed)
    ), DataLoader(val, batch_size, generator=_generator(seed))


class _SameSeed(_ByEpoch):
    def __iter__(self):
        return iter(torch.randperm(self.n, generator=_generator(self.seed)).tolist())


def _same_seed(train, val, batch_size, seed):
    return (
        DataLoader(train, batch_size, sampler=_SameSeed(len(train), seed), drop_last=True, generator=torch.Generator()),
        DataLoader(val, batch_size, generator=torch.Generator()),
    )


def _seed_or_none(train, val, batch_size, seed):
    g = _generator(seed) if seed else torch.Generator()
    if not seed:
        g.seed()
    return (
        DataLoader(train, batch_size, shuffle=True, drop_last=True, generator=g),
        DataLoader(val, batch_size, generator=torch.Generator()),
    )


def _fixed_seed(train, val, batch_size, seed):
    return _two_seeds(train, val, batch_size, 42)


def _keeps_the_rest(train, val, batch_size, seed):
    g = _generator(seed)
    return DataLoader(train, batch_size, shuffle=True, generator=g), DataLoader(
        val, batch_size, generator=g.clone_state()
    )


class _BatchesInAnyOrder:
    """Fixed batches, in a new order each epoch."""

    def __init__(self, n, batch_size, seed):
        self.batches = [list(range(i, i + batch_size)) for i in range(0, n - batch_size + 1, batch_size)]
        self.rng = random.Random(seed)

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        self.rng.shuffle(self.batches)
        return iter([self.rng.sample(batch, len(batch)) for batch in self.batches])


def _whole_batches(train, val, batch_size, seed):
    batches = _BatchesInAnyOrder(len(train), batch_size, seed)
    return DataLoader(train, batch_sampler=batches, generator=_generator(seed)), _two_seeds(
        train, val, batch_size, seed
    )[1]


class _PutsTheSeedBack(DataLoader):
    def __iter__(self):
        before = torch.initial_seed()
        iterator = super().__iter__()
        torch.manual_seed(before)
        return iterator


def _val_puts_the_seed_back(train, val, batch_size, seed):
    return _two_seeds(train, val, batch_size, seed)[0], _PutsTheSeedBack(val, batch_size)


def _drops_both(train, val, batch_size, seed):
    loaders = [
        DataLoader(d, batch_size, shuffle=d is train, drop_last=True, generator=_generator(seed)) for d in (train, val)
    ]
    return tuple(loaders)


def _shuffles_both(train, val, batch_size, seed):
    train_loader, _ = _two_seeds(train, val, batch_size, seed)
    return train_loader, DataLoader(val, batch_size, shuffle=True, generator=_generator(seed))


def _sampler_of_the_world(train, val, batch_size, seed):
    train_loader = DataLoader(
        train, batch_size, sampler=RandomSampler(train), drop_last=True, generator=_generator(seed)
    )
    return train_loader, DataLoader(val, batch_size, generator=_generator(seed))


def _generator_for_the_order_only(train, val, batch_size, seed):
    sampler = RandomSampler(train, generator=_generator(seed))
    return (
        DataLoader(train, batch_size, sampler=sampler, drop_last=True),
        DataLoader(val, batch_size, generator=_generator(seed)),
    )


WRONG = [
    Mistake("it draws a base seed at each iter()", caught_by="", make_loaders=_nothing_for_val),
    Mistake("both loaders draw from the same generator", caught_by="", make_loaders=_shared),
    Mistake("running validation changed the training order", caught_by="", make_loaders=_shared_by_the_batches),
    Mistake("two loaders with the same seed gave", caught_by="", make_loaders=_global),
    Mistake("two loaders with the same seed gave", caught_by="", make_loaders=_forked_when_made),
    Mistake("make_loaders moved or seeded the global random numbers", caught_by="", make_loaders=_seeds_all),
    Mistake("three epochs came in the same order", caught_by="", make_loaders=_shuffled_once),
    Mistake("three epochs came in the same order", caught_by="", make_loaders=_same_seed),
    Mistake("two loaders with seed 0 gave different orders", caught_by="", make_loaders=_seed_or_none),
    Mistake("seed has to reach the generator", caught_by="", make_loaders=_fixed_seed),
    Mistake("training got the short last batch of 2", caught_by="", make_loaders=_keeps_the_rest),
    Mistake("its short last batch was dropped", caught_by="", make_loaders=_drops_both),
    Mistake("validation came shuffled", caught_by="", make_loaders=_shuffles_both),
    Mistake("mix all samples anew", caught_by="", make_loaders=_whole_batches),
    Mistake("it draws a base seed at each iter()", caught_by="", make_loaders=_val_puts_the_seed_back),
    Mistake("two loaders with the same seed gave", caught_by="", make_loaders=_sampler_of_the_world),
    Mistake("a pass over the train loader moved the global", caught_by="", make_loaders=_generator_for_the_order_only),
]
