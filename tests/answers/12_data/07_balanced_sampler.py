"""Answers that people give to balanced_sampler, right ones and wrong ones."""

from collections import Counter

import numpy as np
import torch
from torch.utils.data import RandomSampler, Sampler, SubsetRandomSampler, WeightedRandomSampler

from dojo import Mistake


def _by_counter(labels, generator):
    counts = Counter(labels.tolist())
    weights = [1.0 / counts[y] for y in labels.tolist()]
    return WeightedRandomSampler(weights, num_samples=len(weights), generator=generator)


def _by_unique(labels, generator):
    _, inverse, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    weights = (1 / counts.double())[inverse]
    return WeightedRandomSampler(weights / weights.sum(), len(labels), True, generator)


def _by_class_weights(labels, generator):
    class_weights = len(labels) / labels.bincount().float()  # inf where there is none
    return WeightedRandomSampler(class_weights[labels], labels.numel(), generator=generator)


def _balanced_weights(labels, generator):
    """As scikit-learn's compute_sample_weight("balanced", y) has them."""
    y = labels.numpy()
    classes, where = np.unique(y, return_inverse=True)
    weights = (len(y) / (len(classes) * np.bincount(where)))[where]
    return WeightedRandomSampler(torch.from_numpy(weights), len(labels), generator=generator)


class _Multinomial(Sampler):
    """No __len__, and 0-d tensors."""

    def __init__(self, labels, generator):
        self.weights = torch.zeros(len(labels))
        for c in labels.unique():
            self.weights[labels == c] = 1 / (labels == c).sum()
        self.generator = generator

    def __iter__(self):
        return iter(torch.multinomial(self.weights, len(self.weights), replacement=True, generator=self.generator))


class _ClassFirst(Sampler[int]):
    """First a class, then one of its samples."""

    def __init__(self, labels, generator):
        self.members = [(labels == c).nonzero().flatten() for c in labels.unique()]
        self.n, self.generator = len(labels), generator

    def __len__(self):
        return self.n

    def _below(self, n):
        return int(torch.randint(n, (), generator=self.generator))

    def __iter__(self):
        for _ in range(self.n):
            members = self.members[self._below(len(self.members))]
            yield int(members[self._below(len(members))])


class _Exact(_ClassFirst):
    """As many of each class as it goes, in random order; drawn when it is made, and again at the end of each pass."""

    def __init__(self, labels, generator):
        super().__init__(labels, generator)
        self._draw()

    def _draw(self):
        k = -(-self.n // len(self.members))
        parts = [m[torch.randint(len(m), (k,), generator=self.generator)] for m in self.members]
        flat = torch.cat(parts)[torch.randperm(k * len(parts), generator=self.generator)]
        self.indices = flat[: self.n].tolist()

    def __iter__(self):
        yield from self.indices
        self._draw()


class _ByNumpy(_ClassFirst):
    def __init__(self, labels, generator):
        y = labels.numpy()
        _, where, counts = np.unique(y, return_inverse=True, return_counts=True)
        self.p = 1 / counts[where] / len(counts)
        self.rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))

    def __len__(self):
        return len(self.p)

    def __iter__(self):
        return iter(self.rng.choice(len(self.p), size=len(self.p), p=self.p / self.p.sum()))


class _OneByOne(Sampler):
    """A wheel of fortune, in plain Python."""

    def __init__(self, data, generator):
        Sampler.__init__(self)
        self.labels, self.generator = data.tolist(), generator

    def __len__(self):
        return len(self.labels)

    def __iter__(self):
        wheel, total = [], 0.0
        for y in self.labels:
            total += 1.0 / self.labels.count(y)
            wheel.append(total)
        result = []
        for _ in self.labels:
            at = torch.rand(1, generator=self.generator, dtype=torch.float64).item() * total
            result.append(min(sum(edge <= at for edge in wheel), len(wheel) - 1))
        return iter(result)


class _InTurn(_ClassFirst):
    """The classes take turns, the samples are drawn."""

    def __iter__(self):
        for i in range(self.n):
            members = self.members[i % len(self.members)]
            yield int(members[self._below(len(members))])


def _by_where(labels, generator):
    weights = torch.zeros(labels.shape, dtype=torch.float64)
    for c in set(labels.tolist()):
        weights = torch.where(labels == c, 1.0 / torch.sum(labels == c).item(), weights)
    return WeightedRandomSampler(weights.numpy(), labels.size()[0], generator=generator)


_STYLES = (
    _OneByOne,
    _InTurn,
    _by_where,
    _by_counter,
    _by_unique,
    _by_class_weights,
    _balanced_weights,
    _Multinomial,
    _ClassFirst,
    _Exact,
    _ByNumpy,
)
RIGHT = [{"balanced_sampler": style} for style in _STYLES]


def _weights(labels):
    return (1.0 / labels.bincount()[labels]).tolist()


def _balanced_classes(labels, generator):
    """As scikit-learn's compute_class_weight("balanced", ...) has them: for the loss."""
    _, counts = np.unique(labels.numpy(), return_counts=True)
    weights = len(labels) / (len(counts) * counts)
    return WeightedRandomSampler(torch.from_numpy(weights), len(labels), generator=generator)


def _loss_weights(labels, generator):
    counts = labels.bincount().float()
    return WeightedRandomSampler(counts.sum() / (len(counts) * counts), len(labels), generator=generator)


def _never_twice(labels, generator):
    return WeightedRandomSampler(_weights(labels), len(labels), False, generator)


def _one_weight_each(labels, generator):
    return RandomSampler(labels, replacement=True, num_samples=len(labels), generator=generator)


def _counts_as_weights(labels, generator):
    return WeightedRandomSampler(labels.bincount()[labels].double(), len(labels), generator=generator)


def _share_of_the_others(labels, generator):
    share = labels.bincount() / len(labels)
    return WeightedRandomSampler(1 - share[labels] + 1e-6, len(labels), generator=generator)


def _forgotten(labels, generator):
    return WeightedRandomSampler(_weights(labels), len(labels))


class _ByTheWorld(_ClassFirst):
    def __iter__(self):
        torch.manual_seed(self.generator.initial_seed() + int(torch.randint(9, ())))
        for _ in range(self.n):
            members = self.members[int(torch.randint(len(self.members), ()))]
            yield int(members[int(torch.randint(len(members), ()))])


def _a_list(labels, generator):
    return list(WeightedRandomSampler(_weights(labels), len(labels), generator=generator))


def _a_tensor(labels, generator):
    return torch.multinomial(torch.tensor(_weights(labels)), len(labels), True, generator=generator)


def _a_generator(labels, generator):
    yield from WeightedRandomSampler(_weights(labels), len(labels), generator=generator)


def _fewer(labels, generator):
    least = int(labels.bincount().min())
    kept = [int(i) for c in labels.unique() for i in (labels == c).nonzero()[:least]]
    return SubsetRandomSampler(kept, generator=generator)


class _Oversampled(_ClassFirst):
    """All of the large class, the small ones repeated, cut at n: the list of a pass is not mixed."""

    def __iter__(self):
        share = -(-self.n // len(self.members))
        flat = [int(m[self._below(len(m))]) for m in self.members for _ in range(share)]
        return iter(flat[: self.n])


def _share_of_all_ids(labels, generator):
    counts = labels.bincount().double()
    p = 1 / counts
    return WeightedRandomSampler((p / p.sum())[labels], len(labels), generator=generator)


def _tiny(labels, generator):
    return WeightedRandomSampler(_weights(labels), len(labels.unique()), generator=generator)


class _Repeats(_ClassFirst):
    """Each class from its first member on."""

    def __iter__(self):
        for i in range(self.n):
            members = self.members[i % len(self.members)]
            yield int(members[i // len(self.members) % len(members)])


def _by_the_number_of_classes(labels, generator):
    counts = torch.zeros(len(set(labels.tolist())))
    for y in labels.tolist():
        counts[y] += 1
    return WeightedRandomSampler((1 / counts)[labels], len(labels), generator=generator)


def _answer_to_everything(labels, generator):
    generator.manual_seed(42)
    return WeightedRandomSampler(_weights(labels), len(labels), generator=generator)


_COUNTS = "draws, the classes came"
_PER_CLASS = "samples can ever be drawn: weights are per sample"

WRONG = [
    Mistake(_PER_CLASS, caught_by="", balanced_sampler=_balanced_classes),
    Mistake(_PER_CLASS, caught_by="", balanced_sampler=_loss_weights),
    Mistake("as it is without replacement", caught_by="", balanced_sampler=_never_twice),
    Mistake(_COUNTS, caught_by="", balanced_sampler=_one_weight_each),
    Mistake(_COUNTS, caught_by="", balanced_sampler=_counts_as_weights),
    Mistake(_COUNTS, caught_by="", balanced_sampler=_share_of_the_others),
    Mistake("draw from that generator, not a global one", caught_by="", balanced_sampler=_forgotten),
    Mistake("draw from that generator, not a global one", caught_by="", balanced_sampler=_ByTheWorld),
    Mistake("ten passes gave the same draws", caught_by="", balanced_sampler=_a_list),
    Mistake("ten passes gave the same draws", caught_by="", balanced_sampler=_a_tensor),
    Mistake("the second pass over the sampler gave nothing", caught_by="", balanced_sampler=_a_generator),
    Mistake("a pass gives 100 indices, this one gave 20", caught_by="", balanced_sampler=_fewer),
    Mistake("a pass gives 100 indices, this one gave 2", caught_by="", balanced_sampler=_tiny),
    Mistake("the classes came one after the other", caught_by="", balanced_sampler=_Oversampled),
    Mistake("has the count 0, and 1/0 is inf", caught_by="", balanced_sampler=_share_of_all_ids),
    Mistake("of the 100 samples turned up", caught_by="", balanced_sampler=_Repeats),
    Mistake(
        "is no place in a table of the classes that occur",
        caught_by="",
        balanced_sampler=_by_the_number_of_classes,
    ),
    Mistake("they have to come from it", caught_by="", balanced_sampler=_answer_to_everything),
]
