"""A weight for each sample, not for each class

Of 100 pictures, 10 show the rare thing. A model that never says "rare" is right in 90 % of them, and many trainings end
there. One remedy is to draw the rare ones more often, so that a batch holds about as many of each class.

`WeightedRandomSampler(weights, num_samples, generator=...)` from torch.utils.data draws indices, and index i comes up
in proportion to weights[i]. So it wants a weight for *each sample*: one divided by how many samples have its label.
With the two class weights, as for a loss, the sampler knows two indices, 0 and 1. It raises nothing, and the model sees
two pictures, again and again.

It draws with replacement, so one sample may come several times in a pass, and others not at all; they come in the next.
With replacement=False and as many draws as samples, everybody is drawn once, whatever the weights: 90 and 10 again.

`torch.bincount(labels)` counts the labels: entry c says how often label c occurs. `counts[labels]` has for each label
its count. In a DataLoader the sampler replaces the shuffle: `DataLoader(ds, batch_size=8, sampler=sampler)`; together
with shuffle=True it raises.

What is asked here: such a sampler, made from the labels.

About 20 minutes. Before it: own_your_randomness, group_sums, batches_and_leftovers.

https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.WeightedRandomSampler
"""

import itertools
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Sampler, TensorDataset

from dojo import under_test
from dojo.kit import explain, unchanged


def balanced_sampler(labels: torch.Tensor, generator: torch.Generator) -> Sampler[int]:
    """A sampler over n samples, that draws each class about equally often.

    `labels`: int64 (n,), n from 1 on, with the label of each sample, 0 or larger. They need not be all of 0, 1, ...:
    those that occur are the classes. They stay as they are.

    Each pass, `iter(sampler)`, gives n indices of samples, ints from 0 to n-1, at random: the classes come mixed, not
    one after the other. In one pass a sample may come several times or not at all, but none is left out for good, and
    each pass draws anew. `generator` alone decides: with the same seed in it the same draws come again, with another
    seed others, whatever other samplers with other generators do. If the sampler has a `len`, it is n.
    """
    raise NotImplementedError("weight the samples, and draw")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    r"out of bounds|out of range": "an index is too large. If it was a label: labels need not be 0, 1, 2, so a label "
    "is no place in a table of the classes that occur",
    "samples without replacement": "without replacement none is drawn twice, and there are fewer weights than draws",
    "invalid multinomial distribution": "weights are numbers above 0, and neither inf nor nan; a label that does not "
    "occur has the count 0, and 1/0 is inf",
    r"int\(\) argument|only one element": "a pass gives one int at a time",
    "valid indices|indices must be integers|not an integer": "an index is an int",
    "mutually exclusive": "a sampler decides the order, so shuffle= cannot go with it",
    "non-iterator": "__iter__ returns an iterator: yield the indices, or return iter(...) of them",
}


def _labels(*counts, step=37):
    """Labels of the classes 0, 1, ...: so many of each, in mixed order."""
    ordered = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return ordered[torch.arange(len(ordered)) * step % len(ordered)]


def _sampler(labels, seed=0) -> Any:
    __tracebackhide__ = True
    with unchanged("the labels are the caller's", labels=labels), explain("balanced_sampler raised", _SIGNS):
        sampler = balanced_sampler(labels, torch.Generator().manual_seed(seed))
    assert sampler is not None, "balanced_sampler returned None: is a `return` missing?"
    return sampler


def _draws(labels, passes, seed=0) -> list[list[int]]:
    """The indices of so many passes."""
    __tracebackhide__ = True
    before = labels.tolist()
    sampler, n, drawn = _sampler(labels, seed), len(labels), []
    for number in range(passes):
        with explain("a pass over the sampler raised", _SIGNS):
            indices = [int(i) for i in sampler]
        once = number > 0 and not indices
        assert not once, "the second pass over the sampler gave nothing: each iter(sampler) starts anew"
        assert len(indices) == n, f"{n} labels: a pass gives {n} indices, this one gave {len(indices)}"
        out = [i for i in indices if not 0 <= i < n]
        assert not out, f"{n} labels: an index is from 0 to {n - 1}, this pass gave {out[0]}"
        drawn.append(indices)
    assert labels.tolist() == before, "a pass over the sampler changed the labels, they are the caller's"
    return drawn


def _check_balance(labels, passes, low, high) -> None:
    """In all passes together, each class must come `low` to `high` times."""
    __tracebackhide__ = True
    drawn = _draws(labels, passes)
    flat = [i for indices in drawn for i in indices]
    was = {c: labels.tolist().count(c) for c in sorted(set(labels.tolist()))}
    all_once = all(sorted(indices) == list(range(len(labels))) for indices in drawn)
    assert not all_once, (
        f"{list(was.values())} of the classes again: every sample was drawn once, as it is without replacement"
    )
    counts = Counter(labels[flat].tolist())
    got = {c: counts[c] for c in was}
    fine = all(low <= count <= high for count in got.values())
    assert fine, (
        f"labels {was}, as class: count. In {passes} passes, {len(flat)} draws, the classes came {got}; expected "
        f"{low} to {high} of each"
    )
    for indices in drawn:
        rarest = min(Counter(labels[indices].tolist())[c] for c in was)
        fair = rarest >= len(labels) / len(was) / 5
        assert fair, f"in one pass of {len(labels)}, a class came {rarest} times: each pass has to be balanced"
        blocks = sum(a != b for a, b in itertools.pairwise(labels[indices].tolist())) < len(was)
        assert not blocks, "in one pass the classes came one after the other: a batch would hold one class, mix them"


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [((90, 10), 420, 580), ((10, 90), 420, 580), ((60, 30, 10), 250, 416)],
    ids=["ninety and ten", "ten and ninety", "three classes"],
)
def test_every_class_comes_equally_often(counts, low, high):
    for step in (1, 37):  # sorted by class, and mixed
        _check_balance(_labels(*counts, step=step), 10, low, high)
    for n in (1, 6):
        alone = [Counter(indices).total() for indices in _draws(torch.zeros(n, dtype=torch.int64), 2)]
        assert alone == [n, n], f"{n} labels of one class gave passes of {alone}"


@pytest.mark.myth(
    says="Give WeightedRandomSampler the class weights: one for each class.",
    today="It wants one for each sample. Two class weights make it draw the indices 0 and 1 only, in silence.",
)
def test_a_weight_belongs_to_a_sample():
    labels = _labels(90, 10)
    drawn = _draws(labels, 10)
    seen = {i for indices in drawn for i in indices}
    few = seen <= {0, 1}
    assert not few, f"only {len(seen)} of 100 samples can ever be drawn: weights are per sample, these are per class"
    again = all(indices == drawn[0] for indices in drawn)
    assert not again, "ten passes gave the same draws: each pass has to draw anew"
    assert len(seen) > 85, f"in 10 passes of 100 draws only {len(seen)} of the 100 samples turned up: none is left out"
    differ = len({tuple(indices) for indices in drawn})
    assert differ == 10, f"ten passes gave {differ} different sequences: each pass has to draw anew"


@pytest.mark.parametrize("second", [2, 7], ids=["two", "seven"])
def test_a_label_may_be_missing(second):
    labels = _labels(50, 10) * second  # 0 and `second`, nothing in between
    _check_balance(labels, 10, 235, 365)


def _draws_in(world, seed):
    """Three passes, with other global seeds before each."""
    __tracebackhide__ = True
    torch.manual_seed(world)
    sampler = _sampler(_labels(30, 10, step=7), seed)
    list(_sampler(_labels(3, 5), seed=9))  # another one, in between
    drawn = []
    for number in range(3):
        world = 10 * world + number
        torch.manual_seed(world), np.random.seed(world), random.seed(world)
        with explain("a pass over the sampler raised", _SIGNS):
            drawn.append([int(i) for i in sampler])
    return drawn


def test_the_generator_alone_decides():
    first, again = _draws_in(1, seed=5), _draws_in(2, seed=5)
    assert first == again, "the same seed in the generator gave other draws: draw from that generator, not a global one"
    other = _draws_in(1, seed=6)
    assert first != other, "the seeds 5 and 6 in the generator gave the same draws: they have to come from it"


def test_a_loader_takes_the_sampler():
    labels = _labels(40, 8, step=5)
    data = TensorDataset(torch.arange(48) * 10, labels)
    sampler = _sampler(labels)
    with explain("DataLoader(data, batch_size=10, sampler=sampler) raised", _SIGNS):
        loader = DataLoader(data, batch_size=10, sampler=sampler)
        passes = [list(loader) for _ in range(2)]
    for batches in passes:
        sizes = [len(x) for x, _ in batches]
        assert sizes == [10, 10, 10, 10, 8], f"48 samples in batches of 10 came as {sizes}"
        for x, y in batches:
            assert torch.equal(labels[x // 10], y), "the loader gave samples with labels of others"
        assert len({int(v) for _, y in batches for v in y}) == 2, "48 draws, and one of two classes never came"
    if hasattr(sampler, "__len__"):  # without it, len(loader) is not to be had, which nobody asked for
        steps = len(loader)
        assert steps == 5, f"len(loader) is {steps}, and it gave 5 batches: len(sampler) is n"
