"""Answers that people give to split_then_transform, right ones and wrong ones."""

import copy
import random

import numpy as np
import torch
from torch.utils.data import Dataset, Subset, TensorDataset, random_split

from dojo import Mistake


class _Transformed(Dataset):
    def __init__(self, dataset, transform):
        self.dataset = dataset
        self.transform = transform

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        x, y = self.dataset[index]
        if self.transform:
            x = self.transform(x)
        return x, y


def _by_random_split(base, val_fraction, seed, train_tf, val_tf):
    n_val = int(len(base) * val_fraction)
    generator = torch.Generator().manual_seed(seed)
    train, val = random_split(base, [len(base) - n_val, n_val], generator=generator)
    return _Transformed(train, train_tf), _Transformed(val, val_tf)


def _by_fractions(base, val_fraction, seed, train_tf, val_tf):
    g = torch.Generator()
    g.manual_seed(seed)
    val, train = random_split(base, [val_fraction, 1 - val_fraction], g)
    return [_Transformed(train, train_tf), _Transformed(val, val_tf)]


def _by_numpy(base, val_fraction, seed, train_tf, val_tf):
    """Index arrays, no Dataset as base class, samples as lists."""

    class Part:
        def __init__(self, indices, tf):
            self.indices, self.tf = indices, tf

        def __len__(self):
            return len(self.indices)

        def __getitem__(self, i):
            sample = base[self.indices[i]]
            return [self.tf(sample[0]), sample[1]]

    order = np.random.default_rng(seed).permutation(len(base))
    cut = len(base) - int(val_fraction * len(base))
    return Part(order[:cut], train_tf), Part(order[cut:], val_tf)


def _tensor_indices(base, val_fraction, seed, train_tf, val_tf):
    perm = torch.randperm(len(base), generator=torch.Generator().manual_seed(seed))
    k = int(len(base) * val_fraction)
    make = _make_class(base)
    return make(perm[k:], train_tf), make(perm[:k], val_tf)


def _make_class(base):
    class _Indexed(Dataset):
        def __init__(self, idx, tf):
            self.idx, self.tf = idx, tf

        def __len__(self):
            return self.idx.numel()

        def __getitem__(self, i):
            x, y = base[self.idx[i]]
            return self.tf(x), y

    return _Indexed


class _WholeSubset(Subset):
    def __init__(self, base, indices, tf):
        super().__init__(base, indices)
        self.tf = tf

    def __getitem__(self, i):
        x, y = self.dataset[self.indices[i]]
        return self.tf(x), y

    def __getitems__(self, indices):
        return [self[i] for i in indices]


def _by_random(base, val_fraction, seed, train_tf, val_tf):
    """Train stays in the order of the file: its loader shuffles."""
    val = random.Random(seed).sample(range(len(base)), round(len(base) * val_fraction))
    train = [i for i in range(len(base)) if i not in val]
    return _WholeSubset(base, train, train_tf), _WholeSubset(base, val, val_tf)


def _in_a_fork(base, val_fraction, seed, train_tf, val_tf):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        train, val = random_split(base, [1 - val_fraction, val_fraction])
    return _Transformed(train, train_tf), _Transformed(val, val_tf)


def _two_wrappers(base, val_fraction, seed, train_tf, val_tf):
    """The transforms first, then the split: two datasets over all of base."""
    wholes = [_Transformed(base, tf) for tf in (train_tf, val_tf)]
    n_val = round(len(base) * val_fraction)
    order = torch.randperm(len(base), generator=torch.Generator().manual_seed(seed)).tolist()
    return Subset(wholes[0], order[n_val:]), Subset(wholes[1], order[:n_val])


def _state_put_back(base, val_fraction, seed, train_tf, val_tf):
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    order = torch.randperm(len(base)).tolist()
    torch.set_rng_state(state)
    cut = len(base) - round(len(base) * val_fraction)
    return _WholeSubset(base, order[:cut], train_tf), _WholeSubset(base, order[cut:], val_tf)


def _by_sorting(base, val_fraction, seed, train_tf, val_tf):
    keys = torch.rand(len(base), generator=torch.Generator().manual_seed(seed))
    order = keys.argsort().tolist()
    k = round(val_fraction * len(base))
    return _Transformed(Subset(base, order[k:]), train_tf), _Transformed(Subset(base, order[:k]), val_tf)


def _moved_one_by_one(base, val_fraction, seed, train_tf, val_tf):
    """A beginner's loop; each part is a class of its own, made here."""
    rng = np.random.RandomState(seed)
    rest, val_indices = list(range(len(base))), []
    while len(val_indices) < len(base) * val_fraction:
        val_indices.append(rest.pop(rng.randint(len(rest))))

    class Train:
        def __len__(self):
            return len(rest)

        def __getitem__(self, i):
            sample = base[rest[i]]
            return train_tf(sample[0]), sample[1]

    class Val:
        def __len__(self):
            return len(val_indices)

        def __getitem__(self, i):
            sample = base[val_indices[i]]
            return val_tf(sample[0]), sample[1]

    return Train(), Val()


_STYLES = (
    _moved_one_by_one,
    _by_random_split,
    _by_fractions,
    _by_numpy,
    _tensor_indices,
    _by_random,
    _in_a_fork,
    _two_wrappers,
    _state_put_back,
    _by_sorting,
)
RIGHT = [{"split": style} for style in _STYLES]


def _halves(base, val_fraction, seed):
    return random_split(base, [1 - val_fraction, val_fraction], generator=torch.Generator().manual_seed(seed))


def _copied_wrapper(base, val_fraction, seed, train_tf, val_tf):
    train, val = _halves(_Transformed(base, train_tf), val_fraction, seed)
    val = copy.copy(val)
    val.dataset.transform = val_tf
    return train, val


def _copied_base(base, val_fraction, seed, train_tf, val_tf):
    """Trusts that base looks at an attribute of that name."""
    train, val = _halves(base, val_fraction, seed)
    train.dataset, val.dataset = copy.copy(base), copy.copy(base)
    train.dataset.transform, val.dataset.transform = train_tf, val_tf
    return train, val


def _late_closure(base, val_fraction, seed, train_tf, val_tf):
    parts = []
    for subset, tf in zip(_halves(base, val_fraction, seed), (train_tf, val_tf), strict=True):

        class Part(Dataset):
            def __init__(self, subset):
                self.subset = subset

            def __len__(self):
                return len(self.subset)

            def __getitem__(self, i):
                x, y = self.subset[i]
                return tf(x), y  # noqa: B023  # that is the mistake

        parts.append(Part(subset))
    return tuple(parts)


def _lists(base, val_fraction, seed, train_tf, val_tf):
    train, val = _halves(base, val_fraction, seed)
    return [(train_tf(x), y) for x, y in train], [(val_tf(x), y) for x, y in val]


def _tensors(base, val_fraction, seed, train_tf, val_tf):
    train, val = _halves(base, val_fraction, seed)
    return tuple(
        TensorDataset(torch.stack([tf(x) for x, _ in part]), torch.arange(len(part)))
        for part, tf in ((train, train_tf), (val, val_tf))
    )


def _no_generator(base, val_fraction, seed, train_tf, val_tf):
    train, val = random_split(base, [1 - val_fraction, val_fraction])
    return _Transformed(train, train_tf), _Transformed(val, val_tf)


def _seeded_before(base, val_fraction, seed, train_tf, val_tf):
    torch.manual_seed(seed)
    return _no_generator(base, val_fraction, seed, train_tf, val_tf)


def _numpy_before(base, val_fraction, seed, train_tf, val_tf):
    np.random.seed(seed)
    order = np.random.permutation(len(base)).tolist()
    k = round(len(base) * val_fraction)
    return _Transformed(Subset(base, order[k:]), train_tf), _Transformed(Subset(base, order[:k]), val_tf)


def _random_before(base, val_fraction, seed, train_tf, val_tf):
    random.seed(seed)
    order = list(range(len(base)))
    random.shuffle(order)
    k = round(len(base) * val_fraction)
    return _Transformed(Subset(base, order[k:]), train_tf), _Transformed(Subset(base, order[:k]), val_tf)


def _the_tail(base, val_fraction, seed, train_tf, val_tf):
    cut = round(len(base) * (1 - val_fraction))
    n = len(base)
    return _Transformed(Subset(base, range(cut)), train_tf), _Transformed(Subset(base, range(cut, n)), val_tf)


def _strided(base, val_fraction, seed, train_tf, val_tf):
    k = round(1 / val_fraction)
    val = list(range(0, len(base), k))
    train = [i for i in range(len(base)) if i % k]
    return _Transformed(Subset(base, train), train_tf), _Transformed(Subset(base, val), val_tf)


def _a_set_of_indices(base, val_fraction, seed, train_tf, val_tf):
    """A set of small ints comes sorted."""
    val = set(random.Random(seed).sample(range(len(base)), round(len(base) * val_fraction)))
    train = set(range(len(base))) - val
    return _Transformed(Subset(base, list(train)), train_tf), _Transformed(Subset(base, list(val)), val_tf)


def _numpy_seed_put_back(base, val_fraction, seed, train_tf, val_tf):
    """Seeds again from the clock: not the state that was there."""
    parts = _numpy_before(base, val_fraction, seed, train_tf, val_tf)
    np.random.seed(None)
    return parts


def _masks(base, val_fraction, seed, train_tf, val_tf):
    """Members at random, and a mask has no order."""
    mask = torch.zeros(len(base), dtype=torch.bool)
    shuffled = torch.randperm(len(base), generator=torch.Generator().manual_seed(seed))
    mask[shuffled[: round(len(base) * val_fraction)]] = True
    train, val = ((mask == m).nonzero().flatten().tolist() for m in (False, True))
    return _Transformed(Subset(base, train), train_tf), _Transformed(Subset(base, val), val_tf)


def _fixed_seed(base, val_fraction, seed, train_tf, val_tf):
    return _by_random_split(base, val_fraction, 42, train_tf, val_tf)


class _Lossy(Subset):
    def __init__(self, subset, tf):
        super().__init__(subset.dataset, subset.indices)
        self.tf = tf

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return self.tf(x), y


def _inherited(base, val_fraction, seed, train_tf, val_tf):
    train, val = _halves(base, val_fraction, seed)
    return _Lossy(train, train_tf), _Lossy(val, val_tf)


class _Cached(_Transformed):
    def __init__(self, dataset, transform):
        super().__init__(dataset, transform)
        self.cache = {}

    def __getitem__(self, i):
        if i not in self.cache:
            self.cache[i] = super().__getitem__(i)
        return self.cache[i]


def _cached(base, val_fraction, seed, train_tf, val_tf):
    train, val = _halves(base, val_fraction, seed)
    return _Cached(train, train_tf), _Cached(val, val_tf)


def _val_of_the_augmented(base, val_fraction, seed, train_tf, val_tf):
    train, val = _halves(_Transformed(base, train_tf), val_fraction, seed)
    return train, _Transformed(val, val_tf)


def _overlapping(base, val_fraction, seed, train_tf, val_tf):
    rng = np.random.default_rng(seed)
    n, k = len(base), round(len(base) * val_fraction)
    val, train = (rng.choice(n, size, replace=False).tolist() for size in (k, n - k))
    return _Transformed(Subset(base, train), train_tf), _Transformed(Subset(base, val), val_tf)


def _train_on_all(base, val_fraction, seed, train_tf, val_tf):
    _, val = _halves(base, val_fraction, seed)
    return _Transformed(base, train_tf), _Transformed(val, val_tf)


def _swapped(base, val_fraction, seed, train_tf, val_tf):
    train, val = _halves(base, val_fraction, seed)
    return _Transformed(val, val_tf), _Transformed(train, train_tf)


WRONG = [
    Mistake("train got the validation transform, and so did", caught_by="", split=_copied_wrapper),
    Mistake("train got the validation transform, and so did", caught_by="", split=_late_closure),
    Mistake("no transform ran on them", caught_by="", split=_copied_base),
    Mistake("each x of val should have been through its", caught_by="", split=_val_of_the_augmented),
    Mistake("samples are in train and in val: cut one shuffle in two", caught_by="", split=_overlapping),
    Mistake("split read 20 samples of base", caught_by="", split=_lists),
    Mistake("split read 20 samples of base", caught_by="", split=_tensors),
    Mistake("after other global seeds: bind the shuffle to seed", caught_by="", split=_no_generator),
    Mistake("global random numbers of torch", caught_by="", split=_seeded_before),
    Mistake("global random numbers of numpy", caught_by="", split=_numpy_before),
    Mistake("global random numbers of random", caught_by="", split=_random_before),
    Mistake("one block of the file", caught_by="", split=_the_tail),
    Mistake("val holds every 4th sample", caught_by="", split=_strided),
    Mistake("gave 1 different splits, not 3", caught_by="", split=_fixed_seed),
    Mistake("val comes sorted", caught_by="", split=_a_set_of_indices),
    Mistake("val comes sorted", caught_by="", split=_masks),
    Mistake("global random numbers of numpy", caught_by="", split=_numpy_seed_put_back),
    Mistake("A DataLoader asks for whole batches", caught_by="", split=_inherited),
    Mistake("and the transform ran 1 times", caught_by="", split=_cached),
    Mistake("20 samples, val_fraction 0.25: train and val hold", caught_by="", split=_train_on_all),
    Mistake("train and val hold (5, 15)", caught_by="", split=_swapped),
]
