"""Split first, transform later

Training images are augmented: cropped, flipped, made darker, at random. Validation images must not be, or the score is
that of other pictures. Both parts come from one folder, that is, from one dataset object, and that is the trap.

`torch.utils.data.random_split` does not copy. It returns two `Subset`s: a list of indices each, and `.dataset`, which
is the same object in both. So `val.dataset.transform = val_tf` changes the training data too, in silence. And
`val.transform = val_tf` changes nothing: a Subset never looks at an attribute of that name.

What helps is a small Dataset of your own for each part. It holds base, the indices of the part and its transform, and
when it is asked for sample i, it reads one sample of base and transforms it. (Don't inherit from Subset for this: it
has a `__getitems__`, by which a DataLoader asks for whole batches, past your `__getitem__`; newer versions of PyTorch
refuse a subclass that has only the latter.)

The indices must be shuffled: files are often sorted by class, and the last fifth of iris is one flower. Shuffle with a
generator of your own, `torch.Generator().manual_seed(seed)`, handed on as `generator=`. Without it, `torch.randperm`
and random_split use the global random numbers: the split depends on what ran before, and changes what comes after.
Don't sort val again afterwards: in such files, its first batches would hold one class only.

What is asked here: a split in two parts, each with a transform of its own.

About 25 minutes. Before it: dataset_map_style, own_your_randomness.

https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.random_split
"""

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from dojo import under_test
from dojo.kit import explain


def split(
    base: Dataset, val_fraction: float, seed: int, train_tf: Callable[[Any], Any], val_tf: Callable[[Any], Any]
) -> tuple[Dataset, Dataset]:
    """Split `base` at random in two parts, and return (train, val).

    `base` has a length, and `base[i]` is a pair (x, y). val gets n * val_fraction of its n samples (here always a whole
    number, and each part gets one at least), train all others. Which ones is random, and the samples of val come in
    random order, not sorted and not in that of the file. `seed` alone decides: the same seed gives the same split,
    another one another split. The global random numbers (of torch, numpy and `random`) stay as they were.

    Each part has a length, can be indexed from 0 on, and works in a DataLoader. A sample of it is (tf(x), y), with its
    own transform: `train_tf` or `val_tf`. Nothing is read from `base` before a sample is asked for; then that sample is
    read once, and transformed anew each time. `base` and its samples stay as they are; no transform works in place.
    """
    raise NotImplementedError("choose the indices of both parts, and give each part its transform")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_WHOLE_BATCHES = "A DataLoader asks for whole batches by __getitems__, where there is one, as in Subset"

_SIGNS = {
    "must also override __getitems__": _WHOLE_BATCHES,
    "Sum of input lengths": "the lengths given to random_split don't add up to len(base)",
    "has no len": "a part has no length: write __len__",
    "not subscriptable": "a part cannot be indexed: write __getitem__",
}


def _rows(n):
    """A dataset of n samples (a number i, the text "label i"), and the list of what was read from it so far."""
    reads = []

    class Rows(Dataset):
        def __len__(self):
            return n

        def __getitem__(self, i):
            i = range(n)[i]
            reads.append(i)
            return torch.tensor(float(i)), f"label {i}"

    return Rows(), reads


def _train_tf(x):
    return x + 1000


def _val_tf(x):
    return x + 2000


def _split(base, fraction, seed, train_tf=_train_tf, val_tf=_val_tf) -> Any:
    __tracebackhide__ = True
    with explain(f"split(base, {fraction}, {seed}, ...) raised", _SIGNS):
        parts = split(base, fraction, seed, train_tf, val_tf)
    assert isinstance(parts, tuple | list), f"split returns two datasets, here it returned {type(parts).__name__}"
    assert len(parts) == 2, f"split returns two datasets, here it returned {len(parts)} things"
    return parts


def _samples(part, name) -> list[Any]:
    """All samples of a part, each a pair."""
    __tracebackhide__ = True
    samples = []
    with explain(f"the samples of {name} were read by index, and it raised", _SIGNS):
        n = len(part)
        for i in range(n):
            samples.append(part[i])
    for sample in samples:
        pair = isinstance(sample, tuple | list) and len(sample) == 2
        assert pair, f"a sample of {name} is a pair (tf(x), y), here it is {sample!r}"
    return samples


def _indices(part, name) -> list[int]:
    """Which samples of base are in a part, whatever the transform added."""
    __tracebackhide__ = True
    return [int(x) % 1000 for x, _ in _samples(part, name)]


def _val(seed, n=20, fraction=0.25) -> list[int]:
    __tracebackhide__ = True
    base, _ = _rows(n)
    return _indices(_split(base, fraction, seed)[1], "val")


@pytest.mark.parametrize(
    ("n", "fraction", "sizes"),
    [(20, 0.25, (15, 5)), (10, 0.5, (5, 5)), (100, 0.25, (75, 25)), (20, 0.75, (5, 15)), (2, 0.5, (1, 1))],
    ids=["a quarter of twenty", "half of ten", "a quarter of a hundred", "more than half", "one and one"],
)
def test_every_sample_is_in_one_of_the_two_parts(n, fraction, sizes):
    for seed in (0, 7):
        base, _ = _rows(n)
        train, val = _split(base, fraction, seed)
        train, val = _samples(train, "train"), _samples(val, "val")
        got = len(train), len(val)
        assert got == sizes, f"{n} samples, val_fraction {fraction}: train and val hold {got}, expected {sizes}"
        for x, y in (*train, *val):
            said = f"y should come as it is in base: with x = {int(x) % 1000}, it was {y!r}"
            assert repr(y) == f"'label {int(x) % 1000}'", said
        first, second = ({y for _, y in part} for part in (train, val))
        assert not first & second, f"{len(first & second)} samples are in train and in val: cut one shuffle in two"
        both = first | second
        assert len(both) == n, f"train and val hold {len(both)} different samples of {n}: each comes once"


@pytest.mark.myth(
    says="After random_split, set val.dataset.transform: validation is not augmented then.",
    today="Both Subsets hold the same dataset object, so the training data changes too.",
)
def test_each_part_has_a_transform_of_its_own():
    base, _ = _rows(20)
    base.transform = str  # some datasets have such an attribute; it is theirs
    parts = _split(base, 0.25, 3)
    _split(base, 0.25, 3, lambda x: x + 5000, lambda x: x + 6000)  # another split of it changes nothing
    assert base.transform is str, "base.transform was changed: base is the caller's, and others may read it"
    added = sorted(vars(base).keys() - {"transform"})
    assert not added, f"base has the attributes {added} now: base is the caller's"
    for part, name, own, other in (
        (parts[0], "train", 1, 2),
        (parts[1], "val", 2, 1),
    ):
        found = {int(x) // 1000 for x, _ in _samples(part, name)}
        shared = found == {other} and {int(x) // 1000 for x, _ in _samples(parts[other - 1], "the other")} == {other}
        others = {1: "training", 2: "validation"}[other]
        assert not shared, (
            f"{name} got the {others} transform, and so did the other part: both share one dataset object"
        )
        assert found != {other}, f"{name} got the {others} transform: the two are mixed up"
        assert not found & {5, 6}, f"{name} has the transform of a split that was made later: both share one object"
        assert found != {0}, f"the samples of {name} are those of base: no transform ran on them"
        assert found == {own}, f"each x of {name} should have been through its transform once: {found}"
    words = [(word, word) for word in ("one", "two", "three", "four")]
    texts = [_samples(part, "a part") for part in _split(words, 0.5, 0, str.upper, len)]  # type: ignore[arg-type]
    for (x, y), want in [*((s, s[1].upper()) for s in texts[0]), *((s, len(s[1])) for s in texts[1])]:
        assert x == want, f"x can be anything, and tf(x) too: for the text {y!r} expected {want!r}, got {x!r}"


def test_which_samples_validate_is_random():
    for seed in (1, 2, 3):
        in_order = _val(seed, 100)
        val = sorted(in_order)
        steps = [b - a for a, b in itertools.pairwise([*val, val[0] + 100])]
        block = steps.count(1) >= 24  # from the end on, it may go on at the beginning
        assert not block, f"the samples {val} validate, one block of the file: in a sorted file, that is one class"
        assert len(set(steps)) > 1, f"val holds every {steps[0]}th sample of the file: choose at random"
        sorted_again = in_order in (val, val[::-1])
        assert not sorted_again, (
            f"val comes sorted, {in_order[:5]} first: leave its samples in the order of the shuffle"
        )
    splits = [frozenset(_val(seed, 10, 0.5)) for seed in range(40)]
    assert len(set(splits)) > 1, f"40 seeds, and always {sorted(splits[0])} validate: seed has to reach the shuffle"
    never = sorted(set(range(10)).difference(*splits))
    assert not never, f"in 40 splits of 10 samples into halves, {never} never came into val"


def test_the_seed_alone_decides_the_split():
    splits = []
    for world in (1, 2):
        torch.manual_seed(world), np.random.seed(world), random.seed(world)
        splits.append([_val(seed) for seed in (0, 1, 2)])
    assert splits[0] == splits[1], (
        "the same seed gave another split, after other global seeds: bind the shuffle to seed"
    )
    assert splits[0] == [_val(seed) for seed in (0, 1, 2)], "the same seed gave another split at the next call"
    sets = {tuple(sorted(val)) for val in splits[0]}
    assert len(sets) == 3, (
        f"the seeds 0, 1 and 2 gave {len(sets)} different splits, not 3: seed has to reach the generator"
    )


def _draws():
    return {"torch": torch.rand(3).tolist(), "numpy": np.random.rand(3).tolist(), "random": random.random()}


def _somewhere_in_the_middle():
    """Seed all, and draw some: now who sets the seed again has not set the state again."""
    torch.manual_seed(11), np.random.seed(11), random.seed(11)
    _draws()


def test_a_generator_of_its_own_leaves_the_global_state_alone():
    _val(5)  # whatever is imported for it, is imported here
    _somewhere_in_the_middle()
    want = _draws()
    _somewhere_in_the_middle()
    _val(5)
    for library, draws in _draws().items():
        said = f"split seeded or used the global random numbers of {library}: whoever draws next gets others"
        assert draws == want[library], said


def test_nothing_is_read_before_a_sample_is_asked_for():
    base, reads = _rows(20)
    calls: list[float] = []

    def tf(x):
        calls.append(float(x))
        return x + 1000 * len(calls)

    train, val = _split(base, 0.25, 4, tf, tf)
    with explain("len(part) raised", _SIGNS):
        len(train), len(val)
    assert not reads, f"split read {len(reads)} samples of base: with a folder of images, each is a file to open"
    with explain("a part was indexed, and it raised", _SIGNS):
        first = train[3]
    assert len(reads) == 1, f"train[3] read base {len(reads)} times: once is enough"
    with explain("a part was indexed, and it raised", _SIGNS):
        second = train[3]
    assert len(calls) == 2, f"train[3] was asked for twice, and the transform ran {len(calls)} times"
    fresh = float(first[0]) != float(second[0])
    assert fresh, "train[3] was the same twice: a random transform has to draw anew each time"
    reads.clear()
    again = [float(sample[0]) for _ in range(2) for sample in _samples(val, "val")[2:3]]
    assert again[0] != again[1], "val[2] was the same twice: val's transform has to run anew each time too"
    reads.clear()
    _samples(val, "val")
    assert len(reads) == 5, f"the 5 samples of val were asked for, and base was read {len(reads)} times"


def test_a_loader_sees_the_transforms():
    data = torch.arange(20.0)
    rows, _ = _rows(20)
    for base in (rows, TensorDataset(data, torch.arange(20))):
        for part, name in zip(_split(base, 0.25, 3), ("train", "val"), strict=True):
            direct = sorted(int(x) for x, _ in _samples(part, name))
            for shuffle in (False, True):
                with explain(f"DataLoader(..., batch_size=4, shuffle={shuffle}) of {name} raised", _SIGNS):
                    loader = DataLoader(part, batch_size=4, shuffle=shuffle)
                    loaded = sorted(int(x) for xs, _ in loader for x in xs)
                raw = loaded != direct and loaded == [x % 1000 for x in direct]
                assert not raw, f"{name}[i] is transformed, and in a DataLoader it is not. {_WHOLE_BATCHES}"
                assert loaded == direct, f"a DataLoader over {name} gave the samples {loaded}, read by index: {direct}"
    assert data.tolist() == list(range(20)), "the samples of base were changed"
