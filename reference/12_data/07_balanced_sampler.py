"""A weight for each sample, not for each class: reference.

Hint: How large must the weights of all samples of a class be in sum, for each class? So what is the weight of one?
Hint: `torch.bincount`, indexed by labels, then `torch.utils.data.WeightedRandomSampler` with all its arguments.
Hint: The weights are 1 / (count of the sample's label), n of them; the number of draws is n; generator= by keyword.

Why: The sampler normalizes its weights over all of them, so a class of 90 with weights 1/90 has in sum as much as a
class of 10 with weights 1/10. Indexing the counts by the labels spreads a table of classes over the samples, and a
class that never occurs is never looked up. What comes of it is oversampling: the ten rare pictures are seen often, so
augment them, and leave the validation set as it is. (Weights in the loss are the other way: there, they are per class.)
"""

import random
from collections.abc import Iterator

import torch
from torch.utils.data import Sampler, SubsetRandomSampler, WeightedRandomSampler

from dojo import Mistake


def balanced_sampler(labels: torch.Tensor, generator: torch.Generator) -> Sampler[int]:
    weights = 1.0 / labels.bincount()[labels]
    return WeightedRandomSampler(weights.tolist(), len(labels), replacement=True, generator=generator)


def _weighted(weights, num_samples=len, **options):
    """WeightedRandomSampler with what `weights(labels)` returns."""

    def wrong(labels, generator):
        chosen = {"replacement": True, "generator": generator} | options
        return WeightedRandomSampler(weights(labels), num_samples(labels), **chosen)

    return wrong


def _right(labels):
    return (1.0 / labels.bincount()[labels]).tolist()


def _per_class(labels):
    return 1.0 / labels.bincount()


def _per_class_share(labels):
    return len(labels) / labels.bincount().clamp(min=1)


def _no_weights(labels):
    return [1.0] * len(labels)


def _upside_down(labels):
    return labels.bincount()[labels].float()


def _the_others(labels):
    return (len(labels) - labels.bincount()[labels]).float() + 1e-9


def _floored(labels):
    return (len(labels) // labels.bincount()[labels]).float()


def _roots(labels):
    return labels.bincount()[labels].float().rsqrt()


def _labels_themselves(labels):
    return labels.float() + 1e-9


def _place_among_the_classes(labels):
    _, counts = labels.unique(return_counts=True)
    return 1.0 / counts[labels]


def _up_to_the_number_of_classes(labels):
    counts = torch.tensor([(labels == c).sum() for c in range(len(labels.unique()))])
    return 1.0 / counts[labels]


class _Fixed:
    """What was drawn once comes in each pass."""

    def __init__(self, labels, generator):
        self.indices = list(balanced_sampler(labels, generator))

    def __len__(self):
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


class _FixedPool(_Fixed):
    """Of each class, as many as the rarest has, chosen once; n draws from those."""

    def __init__(self, labels, generator):
        least = min(int((labels == c).sum()) for c in labels.unique())
        self.indices = [int(i) for c in labels.unique() for i in (labels == c).nonzero()[:least]]
        self.n, self.generator = len(labels), generator

    def __iter__(self):
        at = torch.randint(len(self.indices), (self.n,), generator=self.generator)
        return iter([self.indices[int(i)] for i in at])


class _ReshufflesThePool(_Fixed):
    """The same draws in each pass, in another order."""

    def __init__(self, labels, generator):
        super().__init__(labels, generator)
        self.generator = generator

    def __iter__(self):
        return iter([self.indices[int(i)] for i in torch.randperm(len(self.indices), generator=self.generator)])


class _OnePass(_Fixed):
    def __init__(self, labels, generator):
        super().__init__(labels, generator)
        self.once = iter(self.indices)

    def __iter__(self):
        return self.once


class _Floats(_Fixed):
    def __init__(self, labels, generator):
        self.sampler = balanced_sampler(labels, generator)

    def __len__(self):
        return len(self.sampler)

    def __iter__(self):
        return (float(i) for i in self.sampler)


class _WrongLength(_Floats):
    def __len__(self):
        return 2

    def __iter__(self):
        return iter(self.sampler)


class _FromOne(_WrongLength):
    def __iter__(self):
        return (i + 1 for i in self.sampler)


class _Labels(_WrongLength):
    """Labels where indices are asked for."""

    def __init__(self, labels, generator):
        super().__init__(labels, generator)
        self.labels = labels

    def __iter__(self):
        return iter([int(self.labels[i]) for i in self.sampler])


class _EqualParts(_WrongLength):
    """n // C of each class: a few too little."""

    def __init__(self, labels, generator):
        self.labels, self.generator = labels, generator

    def __iter__(self):
        classes = self.labels.unique()
        for c in classes:
            members = (self.labels == c).nonzero().flatten()
            at = torch.randint(len(members), (len(self.labels) // len(classes),), generator=self.generator)
            yield from members[at].tolist()


class _OneClassAPass(_EqualParts):
    turn = 0

    def __iter__(self):
        classes = self.labels.unique()
        members = (self.labels == classes[self.turn % len(classes)]).nonzero().flatten()
        self.turn += 1
        yield from members[torch.randint(len(members), (len(self.labels),), generator=self.generator)].tolist()


class _SeedsAnew(_EqualParts):
    """Each pass begins with the seed of the generator."""

    def __iter__(self):
        self.generator.manual_seed(self.generator.initial_seed())
        return iter(balanced_sampler(self.labels, self.generator))


def _by_class_and_place(labels, generator):
    """A Python list of lists: the sampler yields whole batches."""
    n = len(labels)

    class Batches(_Fixed):
        def __iter__(self):
            return iter([self.indices[i : i + 8] for i in range(0, n, 8)])

    return Batches(labels, generator)


class _BlockByBlock(_WrongLength):
    """As many of each class as it goes, one class after the other."""

    def __init__(self, labels, generator):
        self.labels, self.generator = labels, generator

    def __len__(self):
        return len(self.labels)

    def __iter__(self):
        classes = self.labels.unique().tolist()
        for k, c in enumerate(classes):
            members = (self.labels == c).nonzero().flatten()
            share = len(self.labels) // len(classes) + (k < len(self.labels) % len(classes))
            yield from members[torch.randint(len(members), (share,), generator=self.generator)].tolist()


class _OfTheClass(_EqualParts):
    """What belongs to each sampler stands on the class: the last one made decides."""

    def __init__(self, labels, generator):
        _OfTheClass.sampler = balanced_sampler(labels, generator)
        _OfTheClass.n = len(labels)

    def __iter__(self):
        return iter(self.sampler)

    def __len__(self):
        return self.n


class _Renumbers(_EqualParts):
    """When a pass begins, in the caller's labels."""

    def __iter__(self):
        for new, old in enumerate(self.labels.unique().tolist()):
            self.labels[self.labels == old] = new
        return iter(balanced_sampler(self.labels, self.generator))

    def __len__(self):
        return len(self.labels)


def _normalized(labels):
    weights = 1.0 / labels.bincount()
    return (weights / weights.sum())[labels].tolist()


def _undersampled(labels, generator):
    return SubsetRandomSampler(_FixedPool(labels, generator).indices, generator=generator)


def _own_seed(labels, generator):
    return balanced_sampler(labels, torch.Generator().manual_seed(42))


def _reseeded(labels, generator):
    return balanced_sampler(labels, generator.manual_seed(0))


class _PythonsRandom(_WrongLength):
    """Seeded by the generator when it is made; later draws are everybody's."""

    def __init__(self, labels, generator):
        random.seed(generator.initial_seed())
        self.weights = _right(labels)

    def __len__(self):
        return len(self.weights)

    def __iter__(self):
        return iter(random.choices(range(len(self.weights)), self.weights, k=len(self.weights)))


def _in_place(labels, generator):
    sampler = balanced_sampler(labels.clone(), generator)
    labels.sub_(labels.min()).clamp_(max=0)
    return sampler


def _nothing_returned(labels, generator):
    balanced_sampler(labels, generator)


_EQUAL = "test_every_class_comes_equally_often"
_SAMPLE = "test_a_weight_belongs_to_a_sample"
_MISSING = "test_a_label_may_be_missing"
_GENERATOR = "test_the_generator_alone_decides"
_LOADER = "test_a_loader_takes_the_sampler"

_COUNTS = "draws, the classes came"
_PER_CLASS = "samples can ever be drawn: weights are per sample"
_TABLE = "is no place in a table of the classes that occur"
_GLOBAL = "draw from that generator, not a global one"

MISTAKES = [
    Mistake("as it is without replacement", caught_by=_EQUAL, balanced_sampler=_weighted(_right, replacement=False)),
    Mistake(_COUNTS, caught_by=_EQUAL, balanced_sampler=_weighted(_no_weights)),
    Mistake(_COUNTS, caught_by=_EQUAL, balanced_sampler=_weighted(_upside_down)),
    Mistake(_COUNTS, caught_by=_EQUAL, balanced_sampler=_weighted(_the_others)),
    Mistake(_COUNTS, caught_by=_EQUAL, balanced_sampler=_weighted(_floored)),
    Mistake(_COUNTS, caught_by=_EQUAL, balanced_sampler=_weighted(_roots)),
    Mistake(_COUNTS, caught_by=_EQUAL, balanced_sampler=_weighted(_labels_themselves)),
    Mistake("a pass gives 100 indices, this one gave 20", caught_by=_EQUAL, balanced_sampler=_undersampled),
    Mistake("a pass gives 100 indices, this one gave 99", caught_by=_EQUAL, balanced_sampler=_EqualParts),
    Mistake(
        "a pass gives 100 indices, this one gave 2",
        caught_by=_EQUAL,
        balanced_sampler=_weighted(_right, num_samples=lambda labels: len(labels.unique())),
    ),
    Mistake("each pass has to be balanced", caught_by=_EQUAL, balanced_sampler=_OneClassAPass),
    Mistake("an index is from 0 to 99, this pass gave 100", caught_by=_EQUAL, balanced_sampler=_FromOne),
    Mistake("is a `return` missing?", caught_by=_EQUAL, balanced_sampler=_nothing_returned),
    Mistake("the labels are the caller's", caught_by=_EQUAL, balanced_sampler=_in_place),
    Mistake("a pass gives one int at a time", caught_by=_EQUAL, balanced_sampler=_by_class_and_place),
    Mistake("the classes came one after the other", caught_by=_EQUAL, balanced_sampler=_BlockByBlock),
    Mistake(_PER_CLASS, caught_by=_SAMPLE, balanced_sampler=_weighted(_per_class)),
    Mistake(_PER_CLASS, caught_by=_SAMPLE, balanced_sampler=_weighted(_per_class_share)),
    Mistake(_PER_CLASS, caught_by=_SAMPLE, balanced_sampler=_Labels),
    Mistake("ten passes gave the same draws", caught_by=_SAMPLE, balanced_sampler=_Fixed),
    Mistake("ten passes gave the same draws", caught_by=_SAMPLE, balanced_sampler=_SeedsAnew),
    Mistake("of the 100 samples turned up", caught_by=_SAMPLE, balanced_sampler=_ReshufflesThePool),
    Mistake("of the 100 samples turned up", caught_by=_SAMPLE, balanced_sampler=_FixedPool),
    Mistake("the second pass over the sampler gave nothing", caught_by=_SAMPLE, balanced_sampler=_OnePass),
    Mistake(_TABLE, caught_by=_MISSING, balanced_sampler=_weighted(_place_among_the_classes)),
    Mistake(_TABLE, caught_by=_MISSING, balanced_sampler=_weighted(_up_to_the_number_of_classes)),
    Mistake("a pass over the sampler changed the labels", caught_by=_MISSING, balanced_sampler=_Renumbers),
    Mistake("has the count 0, and 1/0 is inf", caught_by=_MISSING, balanced_sampler=_weighted(_normalized)),
    Mistake("they have to come from it", caught_by=_GENERATOR, balanced_sampler=_OfTheClass),
    Mistake(_GLOBAL, caught_by=_GENERATOR, balanced_sampler=_weighted(_right, generator=None)),
    Mistake(_GLOBAL, caught_by=_GENERATOR, balanced_sampler=_PythonsRandom),
    Mistake("they have to come from it", caught_by=_GENERATOR, balanced_sampler=_own_seed),
    Mistake("they have to come from it", caught_by=_GENERATOR, balanced_sampler=_reseeded),
    Mistake("an index is an int", caught_by=_LOADER, balanced_sampler=_Floats),
    Mistake("len(sampler) is n", caught_by=_LOADER, balanced_sampler=_WrongLength),
]
