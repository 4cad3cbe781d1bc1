"""A dataset is a length and an index

A training loop wants batches: tensors in which the first dimension counts the samples. Two objects make such a batch
out of a table of strings. A `torch.utils.data.Dataset` is a class of yours with two methods: `__len__()` says how many
samples there are, and `__getitem__(i)` makes sample number i, usually a pair (x, y). A `DataLoader(dataset,
batch_size=3)` asks for samples by number, and its `default_collate` puts them together. It calls `torch.stack` on
tensors; Python ints become an int64 tensor, and Python floats a **float64** one, which no float32 model accepts.

A list is not a tensor. If a sample holds `[5.1, 3.5]`, collate goes through that list place by place: a batch of three
is then two tensors of length 3, transposed, and nothing warns. So make the tensor in `__getitem__`.

The class `Dataset` itself has almost nothing. It has no `__len__`: without one, a shuffled loader can't even be made.
It has no `__iter__` either: in `for sample in dataset`, Python asks for 0, 1, 2, ... until an `IndexError` comes.
Nobody asks `__len__` there, so an index that wraps around makes a loop without an end.

What is asked here: rows of a table of flowers, as they come from a CSV file, become samples.

About 15 minutes. Before it: shape_words, tensor_not_Tensor.
Path: first_day

https://docs.pytorch.org/docs/stable/data.html#map-style-datasets
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


class FlowerRows(Dataset):
    """Samples from rows such as ("5.1", "3.5", "setosa"): two lengths as text, and "setosa" or "versicolor".

    A plain loop over the dataset ends after the last sample. It can be run again, also inside another such loop.
    """

    def __init__(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """`rows` is a list or a tuple, and stays as it is."""
        raise NotImplementedError("keep the rows")

    def __len__(self) -> int:
        """The number of samples: one for each row."""
        raise NotImplementedError("count the samples")

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        """Sample i, for i = 0, 1, ...: the pair (x, label).

        `x` is a float32 tensor of shape (2,), the two lengths in the order of the row. `label` is 0 for setosa and 1
        for versicolor: an int, or a tensor without dimensions, so that a batch of B labels is an int64 tensor (B,).
        """
        raise NotImplementedError("make the sample of row i")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "NotImplementedError": "a Dataset has no __getitem__ of its own: write one",
    "KeyError: 3": "past the last sample came a KeyError: only an IndexError ends a loop",
    "'str'": "the numbers of a row are text, and no tensor takes text: float() reads a number",
}
_ROWS = (("5.1", "3.5", "setosa"), ("7.0", "3.2", "versicolor"), ("4.9", "3.1", "setosa"))


def _flowers(rows: Any) -> Any:
    __tracebackhide__ = True
    with explain(f"FlowerRows(rows) raised, for a {type(rows).__name__} of {len(rows)} rows"):
        return FlowerRows(rows)


def _len(dataset: Any) -> int:
    __tracebackhide__ = True
    no_len = {"has no len": "a Dataset has no __len__ of its own: write one"}
    with explain("len(dataset) raised", no_len):
        return len(dataset)


def _pair(sample: Any, what: str) -> tuple[Any, Any]:
    """x and the label of a sample."""
    __tracebackhide__ = True
    assert sample is not None, f"{what} is None: is a `return` missing?"
    is_pair = isinstance(sample, tuple | list) and len(sample) == 2
    shown = type(sample).__name__ + (f" of {len(sample)}" if hasattr(sample, "__len__") else "")
    assert is_pair, f"{what} is the pair (x, label), got a {shown}"
    x, label = sample
    assert isinstance(x, torch.Tensor), f"x of {what} is one float32 tensor, got a {type(x).__name__}"
    return x, label


def _batches(dataset: Any, **how: Any) -> list[tuple[Any, Any]]:
    """All batches of a DataLoader over the dataset, each as x and labels."""
    __tracebackhide__ = True
    shown = ", ".join(f"{name}={value}" for name, value in how.items())
    signs = {
        "has no len": "a Dataset has no __len__ of its own, and the loader needs one",
        "stack expects each tensor to be equal size": "the samples of a batch differ in shape: no stack of them",
        "default_collate: batch must contain": "the loader stacks tensors and numbers; a sample holds something else",
    }
    with explain(f"DataLoader(dataset, {shown}) raised", signs):
        batches = list(DataLoader(dataset, **how))
    for batch in batches:
        assert isinstance(batch, list | tuple), f"a batch is a pair of x and labels, got a {type(batch).__name__}"
        assert len(batch) == 2, f"a batch is a pair of x and labels, got {len(batch)} parts"
        for name, part in zip(("x", "labels"), batch, strict=True):
            transposed = isinstance(part, list | tuple) and all(isinstance(p, torch.Tensor) for p in part)
            assert not transposed, (
                f"{name} of a batch is a list of {len(part)} tensors, each of shape {tuple(part[0].shape)}: the "
                "samples hold a list, and default_collate transposed it"
            )
            assert isinstance(part, torch.Tensor), (
                f"{name} of a batch is one tensor, got a {type(part).__name__}: {part!r}"
            )
    return [(x, labels) for x, labels in batches]


def test_len_is_the_number_of_samples():
    rows = list(_ROWS)
    with unchanged("the rows are the caller's", rows=rows):
        three = _flowers(rows)
        assert _len(three) == 3, f"three rows make three samples, len(dataset) is {_len(three)}"
    many = _flowers(_ROWS * 5)
    assert _len(many) == 15, f"fifteen rows in a tuple: len(dataset) is {_len(many)}"
    one = _flowers([("6.4", "2.9", "versicolor")])
    assert _len(one) == 1, f"one row is one sample, len(dataset) is {_len(one)}"
    seen = (_len(three), _len(many))
    assert seen == (3, 15), f"two more datasets were made, and len of the first two is {seen}: each has rows of its own"


def test_a_sample_is_a_float_tensor_and_an_integer_label():
    rows = [("6.3", "3.3", "versicolor"), ("5.1", "0.2", "setosa"), ("10", "6.7", "versicolor"), ("4.9", "3", "setosa")]
    wants = [([6.3, 3.3], 1), ([5.1, 0.2], 0), ([10.0, 6.7], 1), ([4.9, 3.0], 0)]
    dataset = _flowers(rows)
    for i in (0, 3, 1, 1, 2, 0):
        values, want = wants[i]
        what = f"dataset[{i}], from the row {rows[i]},"
        with unchanged("the rows are the caller's, also when samples are read", rows=rows):
            with explain(f"dataset[{i}] raised, for the row {rows[i]}", _SIGNS):
                sample = dataset[i]
        x, label = _pair(sample, what)
        check_tensor(x, torch.tensor(values, dtype=torch.float32), f"x of {what}", rtol=1e-6, requires_grad=False)
        assert not isinstance(label, str), f"the label of {what} is the text {label!r}: no loss takes text"
        with explain(f"the label of {what} is no integer, got {label!r}"):
            number = int(label)
        assert number == want, f"the label of {what} is {want} (setosa 0, versicolor 1), got {label!r}"
    only = _flowers([("6.0", "2.2", "versicolor")] * 2)
    with explain("dataset[1] raised, where all rows are versicolor"):
        _, label = _pair(only[1], "dataset[1]")
    assert label == 1, f"versicolor is 1 also where no row is setosa, got {label!r}"
    with explain("dataset[0] raised, after a second dataset was made"):
        x, label = _pair(dataset[0], "dataset[0], after a second dataset was made,")
    told = "dataset[0] is another sample since a second dataset was made: each has rows of its own"
    check_tensor(x, torch.tensor([6.3, 3.3], dtype=torch.float32), told, rtol=1e-6)


@pytest.mark.myth(
    says="Everything in a batch is float32: that is PyTorch's default.",
    today="Python floats are collated to float64, and a list in a sample to one tensor for each place in it.",
)
def test_a_loader_stacks_samples_into_tensors():
    floats = default_collate([5.1, 7.0, 4.9])
    assert floats.dtype == torch.float64, f"default_collate makes float64 of Python floats, here {floats.dtype}"
    x, y = torch.tensor([[5.1, 3.5], [7.0, 3.2], [4.9, 3.1]], dtype=torch.float32), torch.tensor([0, 1, 0])
    dataset = _flowers(list(_ROWS))
    for _ in ("first epoch", "second epoch"):
        for size in (3, 2):
            batches = _batches(dataset, batch_size=size)
            for number, (got_x, got_y) in enumerate(batches):
                part = slice(number * size, (number + 1) * size)
                check_tensor(got_x, x[part], f"x of batch {number}, with batch_size={size}", rtol=1e-6)
                check_tensor(got_y, y[part], f"the labels of batch {number}, with batch_size={size}")
            assert len(batches) == -(-3 // size), f"3 samples, batch_size={size}: got {len(batches)} batches"
    batches = _batches(dataset, batch_size=3, sampler=[2, 0, 1])
    assert len(batches) == 1, f"3 samples, batch_size=3: got {len(batches)} batches"
    check_tensor(batches[0][0], x[[2, 0, 1]], "x of a batch of the samples 2, 0 and 1, in this order", rtol=1e-6)
    check_tensor(batches[0][1], y[[2, 0, 1]], "the labels of a batch of the samples 2, 0 and 1")
    assert len(_batches(dataset, batch_size=2, shuffle=True)) == 2, "3 samples, shuffled, batch_size=2: two batches"


@pytest.mark.myth(
    says="A for loop over a dataset stops at len(dataset).",
    today="It goes on until __getitem__ raises IndexError: an index that wraps around, i % len, makes it endless.",
)
def test_a_loop_over_a_dataset_ends_with_an_index_error():
    dataset = _flowers(_ROWS)
    for number in ("first", "second"):
        with explain(f"the {number} loop over the dataset raised", _SIGNS):
            samples = list(islice(dataset, 10))
        assert len(samples) <= 3, (
            f"the loop yielded {'10 samples or more' if len(samples) == 10 else f'{len(samples)} samples'} of 3: "
            "__getitem__ must raise IndexError past the end, len() is not asked"
        )
        assert len(samples) == 3, f"the {number} loop over three samples yielded {len(samples)}"
        lengths = []
        for sample in samples:
            x, _ = _pair(sample, "each sample of a loop")
            lengths += [round(v, 3) for v in x.flatten()[:1].tolist()]
        assert lengths == [5.1, 7.0, 4.9], f"the {number} loop yields the rows in order: 5.1, 7.0, 4.9, got {lengths}"
    with explain("a loop inside a loop over the same dataset raised"):
        inner = [len(list(islice(dataset, 10))) for _ in islice(dataset, 10)]
    assert inner == [3, 3, 3], f"in each of 3 rounds of a loop, a loop over the same 3 samples; it yielded {inner}"
