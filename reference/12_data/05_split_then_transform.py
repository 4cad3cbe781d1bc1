"""Split first, transform later: reference.

Hint: What differs between the two parts? Indices and transform. What do they share? Only base, which nobody edits.
Hint: A class with `__init__`, `__len__` and `__getitem__`; `torch.randperm(n, generator=...)`, cut in two by slices.
Hint: In `__getitem__`: read the pair at the index that stands at place i, transform its first half, return both.

Why: A Subset is a list of indices and a reference to the whole dataset, so an attribute set "on the validation part" is
set for everybody. With the transform outside of base, the same base serves both parts, and any number of splits. It
runs when a sample is asked for: nothing is loaded early, and each epoch draws new augmentations. And a split with a
generator of its own is the same tomorrow, after a restart or in another script: that makes scores comparable.
"""

import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Subset, random_split

from dojo import Mistake


class _Part(Dataset):
    def __init__(self, base: Any, indices: list[int], tf: Callable[[Any], Any]) -> None:
        self.base, self.indices, self.tf = base, indices, tf

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> Any:
        x, y = self.base[self.indices[i]]
        return self.tf(x), y


def split(
    base: Dataset, val_fraction: float, seed: int, train_tf: Callable[[Any], Any], val_tf: Callable[[Any], Any]
) -> tuple[Dataset, Dataset]:
    n = len(base)  # type: ignore[arg-type]
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    n_val = round(n * val_fraction)
    return _Part(base, order[n_val:], train_tf), _Part(base, order[:n_val], val_tf)


def _by(order, part=_Part, one_of=False):
    """A split that cuts what `order(n, n_val, seed)` returns: val first. `one_of`: as if the fraction were 1 / k."""

    def wrong(base, val_fraction, seed, train_tf, val_tf):
        n_val = len(base) // round(1 / val_fraction) if one_of else round(len(base) * val_fraction)
        indices = list(order(len(base), n_val, seed))
        return part(base, indices[n_val:], train_tf), part(base, indices[:n_val], val_tf)

    return wrong


def _shuffled(n, n_val, seed):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()


class _Wrapper(Dataset):
    def __init__(self, base):
        self.base, self.transform = base, None

    def __len__(self):
        return len(self.base)

    def __getitem__(self, i):
        x, y = self.base[i]
        return (self.transform(x) if self.transform else x), y


def _two(base, val_fraction, seed):
    g = torch.Generator().manual_seed(seed)
    return random_split(base, [1 - val_fraction, val_fraction], generator=g)


def _one_wrapper(base, val_fraction, seed, train_tf, val_tf):
    train, val = _two(_Wrapper(base), val_fraction, seed)
    train.dataset.transform = train_tf
    val.dataset.transform = val_tf
    return train, val


def _on_base(base, val_fraction, seed, train_tf, val_tf):
    train, val = _two(base, val_fraction, seed)
    train.dataset.transform = train_tf
    val.dataset.transform = val_tf
    return train, val


def _on_the_subset(base, val_fraction, seed, train_tf, val_tf):
    train, val = _two(base, val_fraction, seed)
    train.transform, val.transform = train_tf, val_tf
    return train, val


def _validation_is_raw(base, val_fraction, seed, train_tf, val_tf):
    return split(base, val_fraction, seed, train_tf, lambda x: x)


def _one_after_the_other(base, val_fraction, seed, train_tf, val_tf):
    return split(base, val_fraction, seed, train_tf, lambda x: val_tf(train_tf(x)))


def _mixed_up(base, val_fraction, seed, train_tf, val_tf):
    return split(base, val_fraction, seed, val_tf, train_tf)


def _val_first(base, val_fraction, seed, train_tf, val_tf):
    return split(base, val_fraction, seed, train_tf, val_tf)[::-1]


def _train_fraction(base, val_fraction, seed, train_tf, val_tf):
    return split(base, 1 - val_fraction, seed, train_tf, val_tf)


def _coin_for_each(base, val_fraction, seed, train_tf, val_tf):
    coins = torch.rand(len(base), generator=torch.Generator().manual_seed(seed)) < val_fraction
    train, val = (~coins).nonzero().flatten().tolist(), coins.nonzero().flatten().tolist()
    return _Part(base, train, train_tf), _Part(base, val, val_tf)


def _train_has_all(base, val_fraction, seed, train_tf, val_tf):
    _, val = split(base, val_fraction, seed, train_tf, val_tf)
    return _Part(base, list(range(len(base))), train_tf), val


def _two_shuffles(base, val_fraction, seed, train_tf, val_tf):
    n, n_val = len(base), round(len(base) * val_fraction)
    return (
        _Part(base, _shuffled(n, n_val, seed)[n_val:], train_tf),
        _Part(base, _shuffled(n, n_val, seed + 1)[:n_val], val_tf),
    )


def _with_replacement(n, n_val, seed):
    return torch.randint(n, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


class _LabelsToo(_Part):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x, y.upper() if isinstance(y, str) else y


class _OnlyX(_Part):
    def __getitem__(self, i):
        return super().__getitem__(i)[0]


class _LabelOfTheFile(_Part):
    """x by the shuffled index, y by the place."""

    def __getitem__(self, i):
        return super().__getitem__(i)[0], self.base[i][1]


class _ReadsTwice(_Part):
    def __getitem__(self, i):
        return self.tf(self.base[self.indices[i]][0]), self.base[self.indices[i]][1]


class _Eager(_Part):
    def __init__(self, base, indices, tf):
        super().__init__(base, indices, tf)
        self.samples = [(tf(x), y) for x, y in (base[i] for i in indices)]

    def __getitem__(self, i):
        return self.samples[i]


class _ReadsEarly(_Part):
    def __init__(self, base, indices, tf):
        super().__init__([base[i] for i in range(len(base))], indices, tf)


class _Remembers(_Part):
    @functools.cache  # noqa: B019  # that is the mistake
    def __getitem__(self, i):
        return super().__getitem__(i)


class _Inherits(Subset):
    """A DataLoader asks it by Subset's __getitems__."""

    def __init__(self, base, indices, tf):
        super().__init__(base, indices)
        self.tf = tf

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return self.tf(x), y


class _Delegates:
    """All it lacks, it borrows from the Subset: __getitems__ too."""

    def __init__(self, base, indices, tf):
        self.subset, self.tf = Subset(base, indices), tf

    def __len__(self):
        return len(self.subset)

    def __getitem__(self, i):
        x, y = self.subset[i]
        return self.tf(x), y

    def __getattr__(self, name):
        return getattr(self.subset, name)


class _NoLength:
    def __init__(self, base, indices, tf):
        self.part = _Part(base, indices, tf)

    def __getitem__(self, i):
        return self.part[i]


def _seeds_the_world(n, n_val, seed):
    torch.manual_seed(seed)
    return torch.randperm(n).tolist()


def _seed_put_back(n, n_val, seed):
    """The seed is put back, and not the state."""
    before = torch.initial_seed()
    torch.manual_seed(seed)
    order = torch.randperm(n).tolist()
    torch.manual_seed(before)
    return order


def _sorted_again(n, n_val, seed):
    order = _shuffled(n, n_val, seed)
    return sorted(order[:n_val]) + sorted(order[n_val:])


def _noted_on_base(base, val_fraction, seed, train_tf, val_tf):
    train, val = split(base, val_fraction, seed, train_tf, val_tf)
    if isinstance(base, Dataset):
        base.train_indices, base.val_indices = train.indices, val.indices
    return train, val


def _seeds_numpy(n, n_val, seed):
    np.random.seed(seed)
    return np.random.permutation(n).tolist()


def _seeds_random(n, n_val, seed):
    random.seed(seed)
    return random.sample(range(n), n)


def _from_the_world(n, n_val, seed):
    return torch.randperm(n).tolist()


def _a_seed_of_the_world(n, n_val, seed):
    """Zero counts as no seed."""
    g = torch.Generator()
    if seed:
        g.manual_seed(seed)
    else:
        g.seed()
    return torch.randperm(n, generator=g).tolist()


def _unseeded(n, n_val, seed):
    return torch.randperm(n, generator=torch.Generator()).tolist()


def _only_the_order(n, n_val, seed):
    """Which samples validate is always the same, only their order is shuffled."""
    g = torch.Generator().manual_seed(0)
    order = torch.randperm(n, generator=g).tolist()
    random.Random(seed).shuffle(val := order[:n_val])
    return val + order[n_val:]


def _last(n, n_val, seed):
    return [*range(n - n_val, n), *range(n - n_val)]


def _first(n, n_val, seed):
    return range(n)


def _every_kth(n, n_val, seed):
    k = n // n_val
    return sorted(range(n), key=lambda i: (i % k != seed % k, i))


def _a_block_somewhere(n, n_val, seed):
    start = random.Random(seed).randrange(n)
    return [(start + i) % n for i in range(n)]


def _spares_the_first(n, n_val, seed):
    return [i + 1 for i in _shuffled(n - 1, n_val, seed)] + [0]


_WHOLE = "test_every_sample_is_in_one_of_the_two_parts"
_OWN = "test_each_part_has_a_transform_of_its_own"
_RANDOM = "test_which_samples_validate_is_random"
_SEED = "test_the_seed_alone_decides_the_split"
_GLOBAL = "test_a_generator_of_its_own_leaves_the_global_state_alone"
_LAZY = "test_nothing_is_read_before_a_sample_is_asked_for"
_LOADER = "test_a_loader_sees_the_transforms"


class _CachesVal(_Part):
    def __init__(self, base, indices, tf):
        super().__init__(base, indices, tf)
        self.known = {}

    def __getitem__(self, i):
        if i not in self.known:
            self.known[i] = super().__getitem__(i)
        return self.known[i]


def _val_is_cached(base, val_fraction, seed, train_tf, val_tf):
    train, val = split(base, val_fraction, seed, train_tf, val_tf)
    return train, _CachesVal(val.base, val.indices, val_tf)


MISTAKES = [
    Mistake("train and val hold (5, 15)", caught_by=_WHOLE, split=_train_fraction),
    Mistake("train and val hold (5, 15)", caught_by=_WHOLE, split=_val_first),
    Mistake("20 samples, val_fraction 0.25: train and val hold", caught_by=_WHOLE, split=_coin_for_each),
    Mistake("20 samples, val_fraction 0.25: train and val hold", caught_by=_WHOLE, split=_train_has_all),
    Mistake("samples are in train and in val: cut one shuffle in two", caught_by=_WHOLE, split=_two_shuffles),
    Mistake("samples are in train and in val: cut one", caught_by=_WHOLE, split=_by(_with_replacement)),
    Mistake("y should come as it is in base", caught_by=_WHOLE, split=_by(_shuffled, _LabelsToo)),
    Mistake("y should come as it is in base", caught_by=_WHOLE, split=_by(_shuffled, _LabelOfTheFile)),
    Mistake("a sample of train is a pair", caught_by=_WHOLE, split=_by(_shuffled, _OnlyX)),
    Mistake("a part has no length", caught_by=_WHOLE, split=_by(_shuffled, _NoLength)),
    Mistake("train got the validation transform, and so did", caught_by=_OWN, split=_one_wrapper),
    Mistake("base.transform was changed", caught_by=_OWN, split=_on_base),
    Mistake("no transform ran on them", caught_by=_OWN, split=_on_the_subset),
    Mistake("no transform ran on them", caught_by=_OWN, split=_validation_is_raw),
    Mistake("each x of val should have been through its", caught_by=_OWN, split=_one_after_the_other),
    Mistake("train got the validation transform: the two are mixed up", caught_by=_OWN, split=_mixed_up),
    Mistake("one block of the file", caught_by=_RANDOM, split=_by(_last)),
    Mistake("one block of the file", caught_by=_RANDOM, split=_by(_first)),
    Mistake("one block of the file", caught_by=_RANDOM, split=_by(_a_block_somewhere)),
    Mistake("val holds every 4th sample", caught_by=_RANDOM, split=_by(_every_kth)),
    Mistake("val comes sorted", caught_by=_RANDOM, split=_by(_sorted_again)),
    Mistake("seed has to reach the shuffle", caught_by=_RANDOM, split=_by(_unseeded)),
    Mistake("20 samples, val_fraction 0.75: train and val hold", caught_by=_WHOLE, split=_by(_shuffled, one_of=True)),
    Mistake("[0] never came into val", caught_by=_RANDOM, split=_by(_spares_the_first)),
    Mistake("after other global seeds: bind the shuffle to seed", caught_by=_SEED, split=_by(_from_the_world)),
    Mistake("after other global seeds: bind the shuffle to seed", caught_by=_SEED, split=_by(_a_seed_of_the_world)),
    Mistake("gave 1 different splits, not 3", caught_by=_SEED, split=_by(_unseeded)),
    Mistake("gave 1 different splits, not 3", caught_by=_SEED, split=_by(_only_the_order)),
    Mistake("global random numbers of torch", caught_by=_GLOBAL, split=_by(_seeds_the_world)),
    Mistake("global random numbers of torch", caught_by=_GLOBAL, split=_by(_seed_put_back)),
    Mistake("base has the attributes ['train_indices', 'val_indices'] now", caught_by=_OWN, split=_noted_on_base),
    Mistake("global random numbers of numpy", caught_by=_GLOBAL, split=_by(_seeds_numpy)),
    Mistake("global random numbers of random", caught_by=_GLOBAL, split=_by(_seeds_random)),
    Mistake("split read 20 samples of base", caught_by=_LAZY, split=_by(_shuffled, _Eager)),
    Mistake("split read 40 samples of base", caught_by=_LAZY, split=_by(_shuffled, _ReadsEarly)),
    Mistake("train[3] read base 2 times", caught_by=_LAZY, split=_by(_shuffled, _ReadsTwice)),
    Mistake("and the transform ran 1 times", caught_by=_LAZY, split=_by(_shuffled, _Remembers)),
    Mistake("A DataLoader asks for whole batches", caught_by=_LOADER, split=_by(_shuffled, _Inherits)),
    Mistake("A DataLoader asks for whole batches", caught_by=_LOADER, split=_by(_shuffled, _Delegates)),
    Mistake("val's transform has to run anew each time too", caught_by=_LAZY, split=_val_is_cached),
]
