"""Sentences of different length in one batch

A tensor is a box: all its rows are equally long. Sentences are not. Where samples hold tensors of 3 and 2 tokens, the
loader stops with "stack expects each tensor to be equal size, but got [3] at entry 0 and [2] at entry 1" (from a worker
process the words are others): for tensors, `default_collate` only knows `torch.stack`. How a batch is made is your
decision; it goes to the loader as a function: `DataLoader(dataset, batch_size=2, collate_fn=pad_batch)`. It is called
with the list of samples of one batch.

The usual answer is *padding*: shorter rows are filled up, to the longest row of this batch and no further. Beside them
goes a tensor of the true lengths. Nobody can work it out later: if the filling is 0, and 0 is a token as well, then a
zero in the padded batch may be either. Masks, packed sequences and a mean over the tokens need these lengths.

`torch.nn.utils.rnn.pad_sequence(list_of_tensors)` pads, with 0 if you don't say otherwise. But its result is (Lmax, B),
time first, as recurrent networks want it by default. With `batch_first=True` it is (B, Lmax). If B happens to be Lmax,
the shape doesn't show which one you have. If you fill a box of zeros by hand, note that `torch.zeros(B, L)` is float32,
and that an embedding wants integers.

What is asked here: such a collate function.

About 20 minutes. Before it: dataset_map_style, cat_or_stack.

https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.rnn.pad_sequence.html
"""

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def pad_batch(samples: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One batch from B samples (tokens, label): returns (tokens, lengths, labels), samples in their order.

    The tokens of a sample are an int64 tensor (L_i,), with L_i from 1 on; any integer is a token, 0 too. In the batch
    they are int64, (B, Lmax), filled up with 0 at the end of each row; Lmax is the length of the longest of these
    samples. lengths holds each L_i, labels each label, both int64 of shape (B,). The samples stay as they are.
    """
    raise NotImplementedError("pad the tokens, and keep their lengths")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "stack expects each tensor to be equal size|equal size, but got": "the samples are of different length: neither "
    "stack nor default_collate takes them before they are padded",
    "expected sequence of length|each element in list of batch should be of equal size": "the rows are of different "
    "length: pad them first",
}


def _samples(*lines: tuple[list[int], int]) -> list[tuple[torch.Tensor, int]]:
    return [(torch.tensor(tokens), label) for tokens, label in lines]


def _parts(batch: Any) -> list[Any]:
    """The three parts of a batch."""
    __tracebackhide__ = True
    assert batch is not None, "pad_batch returned None: is a `return` missing?"
    shown = type(batch).__name__ + (f" of {len(batch)}" if hasattr(batch, "__len__") else "")
    three = isinstance(batch, tuple | list) and len(batch) == 3
    assert three, f"a batch has three parts, (tokens, lengths, labels); got a {shown}"
    for name, part in zip(("tokens", "lengths", "labels"), batch, strict=True):
        assert isinstance(part, torch.Tensor), f"{name} of a batch is a tensor, got a {type(part).__name__}"
    return list(batch)


def _batch(samples: list[tuple[torch.Tensor, int]]) -> list[Any]:
    __tracebackhide__ = True
    lengths = [len(tokens) for tokens, _ in samples]
    with explain(f"pad_batch raised, for samples of the lengths {lengths}", _SIGNS):
        batch = pad_batch(samples)
    return _parts(batch)


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        ([[4, 7, 9], [5], [6, 8]], [[4, 7, 9], [5, 0, 0], [6, 8, 0]]),
        ([[5], [6, 8], [1, 2, 3, 4]], [[5, 0, 0, 0], [6, 8, 0, 0], [1, 2, 3, 4]]),
        ([[3, 2], [9, 8]], [[3, 2], [9, 8]]),
        ([[7, -1, 5]], [[7, -1, 5]]),
        ([[7], [8], [9]], [[7], [8], [9]]),
    ],
    ids=["as many samples as tokens", "the longest one last", "equal lengths", "one sample", "one token each"],
)
def test_each_sample_is_a_row_filled_up_with_zeros_at_the_end(rows, want):
    tokens, _, _ = _batch(_samples(*((row, 1) for row in rows)))
    target = torch.tensor(want)
    swapped = tokens.shape == target.t().shape and torch.equal(tokens.long(), target.t())
    assert not swapped or torch.equal(target, target.t()), (
        f"the samples {rows} became {tokens.tolist()}: columns and rows are swapped; pad_sequence is time-major, "
        "unless batch_first=True"
    )
    check_tensor(tokens.long(), target, f"the samples {rows}, padded")


def test_tokens_stay_int64():
    large = 2**53 + 1  # float64 has no such number
    tokens, _, _ = _batch(_samples(([large, 3], 0), ([2**31 + 7], 1), ([-5, 2**24 + 1], 0)))
    embedding = ": an embedding takes no floats" if tokens.is_floating_point() else ", expected torch.int64"
    assert tokens.dtype == torch.int64, f"the tokens were int64 and came back as {tokens.dtype}{embedding}"
    want = torch.tensor([[large, 3], [2**31 + 7, 0], [-5, 2**24 + 1]])
    check_tensor(tokens, want, "large tokens, to the last digit: no float holds them all")
    every_second = torch.arange(1, 7)[::2]
    tokens, _, _ = _batch([(torch.tensor([8]), 0), (every_second, 0)])
    check_tensor(tokens, torch.tensor([[8, 0, 0], [1, 3, 5]]), "tokens that are a slice with a step")


def test_lengths_and_labels_are_one_int64_tensor_each():
    _, lengths, labels = _batch(_samples(([4, 7, 9], 2), ([5], -100), ([6, 8], 2**40)))
    check_tensor(lengths, torch.tensor([3, 1, 2]), "the lengths of three samples")
    check_tensor(labels, torch.tensor([2, -100, 2**40]), "the labels 2, -100 and 2**40")
    _, lengths, labels = _batch(_samples(([4, 7], 1)))
    check_tensor(lengths, torch.tensor([2]), "the length of a single sample, of shape (1,)")
    check_tensor(labels, torch.tensor([1]), "the label of a single sample, of shape (1,)")
    _, lengths, labels = _batch(_samples(([1, 2], 1), ([3, 4], 0)))
    check_tensor(lengths, torch.tensor([2, 2]), "the lengths of two equally long samples")
    check_tensor(labels, torch.tensor([1, 0]), "the labels 1 and 0")
    tokens, lengths, _ = _batch([(torch.tensor([7]), 1), (torch.arange(1, 1001), 0)])
    check_tensor(lengths, torch.tensor([1, 1000]), "the lengths of samples of 1 and of 1000 tokens")
    assert tokens.shape == (2, 1000), f"samples of 1 and of 1000 tokens: expected (2, 1000), got {tuple(tokens.shape)}"


def test_a_zero_may_be_a_token():
    samples = _samples(([7, 0], 1), ([0, 0, 0, 0], 2), ([0, 5, 0, 0], 3), ([0], 4), ([3, 1, 2], 5))
    tokens, lengths, labels = _batch(samples)
    want = torch.tensor([[7, 0, 0, 0], [0, 0, 0, 0], [0, 5, 0, 0], [0, 0, 0, 0], [3, 1, 2, 0]])
    check_tensor(tokens.long(), want, "samples that hold zeros of their own")
    true = torch.tensor([2, 4, 4, 1, 3])
    counted = lengths.shape == true.shape and torch.equal(lengths.long(), (want != 0).sum(1))
    assert not counted, (
        f"the lengths are {lengths.tolist()}, expected {true.tolist()}: the tokens that are not 0 were counted, but a "
        "real token may be 0; take the lengths before padding"
    )
    check_tensor(lengths.long(), true, "the lengths of samples that hold, and end with, zeros of their own")
    check_tensor(labels.long(), torch.tensor([1, 2, 3, 4, 5]), "the labels of samples that hold zeros")


def test_the_samples_are_as_they_were():
    samples = _samples(([4, 7], 1), ([5], 0), ([6, 8, 2], 3))
    with explain("pad_batch raised, for samples of the lengths [2, 1, 3]", _SIGNS):
        with unchanged("pad_batch changes nothing of the samples", samples=samples):
            pad_batch(samples)


def test_a_loader_pads_each_batch_to_its_own_longest():
    samples = _samples(([4, 7, 9], 1), ([5, 3], 0), ([6], 1), ([2, 8, 1, 4], 0), ([3, 1, 2], 0), ([7, 7], 2), ([9], 1))
    wants = [
        ([[4, 7, 9], [5, 3, 0]], [3, 2], [1, 0]),
        ([[6, 0, 0, 0], [2, 8, 1, 4]], [1, 4], [1, 0]),
        ([[3, 1, 2], [7, 7, 0]], [3, 2], [0, 2]),  # the lengths of the first batch again
        ([[9]], [1], [1]),
    ]
    for epoch in ("first", "second"):
        with explain(f"the loader raised in the {epoch} epoch", _SIGNS):
            batches = list(DataLoader(samples, batch_size=2, collate_fn=pad_batch))
        for number, (batch, want) in enumerate(zip(batches, wants, strict=True)):
            where = f"of batch {number} in the {epoch} epoch"
            for name, got, values in zip(("tokens", "lengths", "labels"), _parts(batch), want, strict=True):
                target = torch.tensor(values)
                width = "; a batch is as wide as its own longest sample" if name == "tokens" else ""
                assert got.shape == target.shape, (
                    f"{name} {where}: expected the shape {tuple(target.shape)}, got {tuple(got.shape)}{width}"
                )
                check_tensor(got.long(), target, f"{name} {where}")
