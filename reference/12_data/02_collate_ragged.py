"""Sentences of different length in one batch: reference.

Hint: Take the list apart first: all tokens, all labels. Which number is lost as soon as the rows are filled up?
Hint: `zip(*samples)`; `torch.nn.utils.rnn.pad_sequence` and its batch_first; `len(tokens)`; `torch.tensor`.
Hint: Three tensors: the padded tokens (batch first), one made from the len of each row, one from the labels.

Why: a batch that is padded to its own longest costs less than one padded to the longest of the data set, and sorting
the data by length makes it cheaper still. The lengths travel along because 0 means two things in the padded tensor;
other codes, such as a padding number that is no token, move the problem and do not solve it. A collate_fn is an
ordinary function of a list: try it without any loader, pad_batch([dataset[0], dataset[1]]).
"""

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pack_sequence, pad_sequence
from torch.utils.data import default_collate

from dojo import Mistake


def pad_batch(samples: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens, labels = zip(*samples, strict=True)
    lengths = torch.tensor([len(row) for row in tokens])
    return pad_sequence(list(tokens), batch_first=True), lengths, torch.tensor(labels)


def _answer(tokens=None, lengths=None, labels=None):
    """Right, but for the parts that are given: each a function of the samples."""

    def wrong(samples):
        parts = pad_batch(samples)
        return tuple(
            part if make is None else make(samples) for part, make in zip(parts, (tokens, lengths, labels), strict=True)
        )

    return wrong


def _rows(samples):
    return [tokens for tokens, _ in samples]


def _padded(samples, **how):
    return pad_sequence(_rows(samples), batch_first=True, **how)


def _box(samples, dtype=torch.float32, length=None):
    out = torch.zeros(len(samples), length or max(len(row) for row in _rows(samples)), dtype=dtype)
    for i, row in enumerate(_rows(samples)):
        out[i, : len(row)] = row
    return out


def _left(samples):
    length = max(len(row) for row in _rows(samples))
    return torch.stack([F.pad(row, (length - len(row), 0)) for row in _rows(samples)])


def _shortest(samples):
    length = min(len(row) for row in _rows(samples))
    return torch.stack([row[:length] for row in _rows(samples)])


def _repeats_the_last(samples):
    length = max(len(row) for row in _rows(samples))
    return torch.stack([torch.cat([row, row[-1:].expand(length - len(row))]) for row in _rows(samples)])


def _sorted(samples):
    return pad_batch(sorted(samples, key=lambda s: -len(s[0])))


def _sorts_in_place(samples):
    order = [id(s) for s in samples]
    samples.sort(key=lambda s: len(s[0]), reverse=True)
    back = sorted(samples, key=lambda s: order.index(id(s)))
    return pad_batch(back)


_widest = [0]


def _never_narrower(samples):
    _widest[0] = max(_widest[0] if len(samples) < 3 else 0, *(len(row) for row in _rows(samples)))
    return _box(samples, torch.int64, _widest[0])


def _without_zeros(samples):
    return pad_batch([(row[row != 0], y) for row, y in samples])


def _last_non_zero(samples):
    return torch.tensor([max([i + 1 for i, t in enumerate(row.tolist()) if t], default=0) for row in _rows(samples)])


def _grows_the_samples(samples):
    length = max(len(row) for row in _rows(samples))
    lengths = torch.tensor([len(row) for row in _rows(samples)])
    for row in _rows(samples):
        n = len(row)
        row.resize_(length)
        row[n:] = 0
    return torch.stack(_rows(samples)), lengths, torch.tensor([y for _, y in samples])


def _replaces_the_samples(samples):
    batch = pad_batch(samples)
    for i, row in enumerate(batch[0]):
        samples[i] = (row, samples[i][1])
    return batch


def _stacks(samples):
    return (
        torch.stack(_rows(samples)),
        torch.tensor([len(row) for row in _rows(samples)]),
        default_collate([y for _, y in samples]),
    )


def _from_lists(samples):
    return torch.tensor([row.tolist() for row in _rows(samples)])


def _turned_by_its_shape(samples):
    padded = pad_sequence(_rows(samples))
    return padded if padded.shape[0] == len(samples) else padded.t()


def _cut_off(samples):
    return pad_batch([(row[:512], y) for row, y in samples])


_answers: dict = {}


def _kept_by_lengths(samples):
    return _answers.setdefault(tuple(len(row) for row in _rows(samples)), pad_batch(samples))


_boxes: dict = {}


def _same_memory(samples):
    tokens, lengths, labels = pad_batch(samples)
    box = _boxes.setdefault(tokens.shape, torch.zeros_like(tokens))
    return box.copy_(tokens), lengths, labels


def _squeezed(samples):
    return tuple(part.squeeze() for part in pad_batch(samples))


_ROW = "test_each_sample_is_a_row_filled_up_with_zeros_at_the_end"
_DTYPE = "test_tokens_stay_int64"
_LENGTHS = "test_lengths_and_labels_are_one_int64_tensor_each"
_ZERO = "test_a_zero_may_be_a_token"
_LOADER = "test_a_loader_pads_each_batch_to_its_own_longest"
_SAMPLES = "test_the_samples_are_as_they_were"

MISTAKES = [
    Mistake("columns and rows are swapped", caught_by=_ROW, pad_batch=_answer(lambda s: pad_sequence(_rows(s)))),
    Mistake("columns and rows are swapped", caught_by=_ROW, pad_batch=_answer(_turned_by_its_shape)),
    Mistake("neither stack nor default_collate takes them", caught_by=_ROW, pad_batch=_stacks),
    Mistake("neither stack nor default_collate takes them", caught_by=_ROW, pad_batch=default_collate),
    Mistake("different length: pad them first", caught_by=_ROW, pad_batch=_answer(_from_lists)),
    Mistake(", padded", caught_by=_ROW, pad_batch=_answer(_left)),
    Mistake(", padded", caught_by=_ROW, pad_batch=_answer(_shortest)),
    Mistake(", padded", caught_by=_ROW, pad_batch=_answer(_repeats_the_last)),
    Mistake(", padded", caught_by=_ROW, pad_batch=_answer(lambda s: _padded(s, padding_value=-1))),
    Mistake(", padded", caught_by=_ROW, pad_batch=_answer(lambda s: _box(s, torch.int64, 8))),
    Mistake(", padded", caught_by=_ROW, pad_batch=_sorted),
    Mistake(", padded", caught_by=_ROW, pad_batch=_answer(lambda s: pad_sequence(_rows(s)).reshape(len(s), -1))),
    Mistake(", padded", caught_by=_ROW, pad_batch=_squeezed),
    Mistake(
        "tokens of a batch is a tensor, got a PackedSequence",
        caught_by=_ROW,
        pad_batch=_answer(lambda s: pack_sequence(_rows(s), enforce_sorted=False)),
    ),
    Mistake("tokens of a batch is a tensor, got a list", caught_by=_ROW, pad_batch=_answer(_rows)),
    Mistake("a batch has three parts", caught_by=_ROW, pad_batch=lambda s: pad_batch(s)[::2]),
    Mistake("a batch has three parts", caught_by=_ROW, pad_batch=lambda s: dict(tokens=_padded(s))),
    Mistake("pad_batch returned None", caught_by=_ROW, pad_batch=lambda s: None),
    Mistake("and came back as torch.float32", caught_by=_DTYPE, pad_batch=_answer(_box)),
    Mistake("and came back as torch.int32", caught_by=_DTYPE, pad_batch=_answer(lambda s: _padded(s).int())),
    Mistake("no float holds them", caught_by=_DTYPE, pad_batch=_answer(lambda s: _box(s).long())),
    Mistake("no float holds them", caught_by=_DTYPE, pad_batch=_answer(lambda s: _box(s, torch.float64).long())),
    Mistake("no float holds them", caught_by=_DTYPE, pad_batch=_answer(lambda s: _padded(s).int().long())),
    Mistake(
        "lengths of a batch is a tensor, got a list",
        caught_by=_LENGTHS,
        pad_batch=_answer(lengths=lambda s: [len(row) for row in _rows(s)]),
    ),
    Mistake(
        "labels of a batch is a tensor, got a tuple",
        caught_by=_LENGTHS,
        pad_batch=_answer(labels=lambda s: tuple(y for _, y in s)),
    ),
    Mistake(
        "the lengths of three samples",
        caught_by=_LENGTHS,
        pad_batch=_answer(lengths=lambda s: torch.tensor([len(row) for row in _rows(s)], dtype=torch.int32)),
    ),
    Mistake(
        "the lengths of three samples",
        caught_by=_LENGTHS,
        pad_batch=_answer(lengths=lambda s: torch.Tensor([len(row) for row in _rows(s)])),
    ),
    Mistake(
        "the lengths of three samples",
        caught_by=_LENGTHS,
        pad_batch=_answer(lengths=lambda s: torch.tensor([_padded(s).shape[1]] * len(s))),
    ),
    Mistake(
        "the lengths of three samples",
        caught_by=_LENGTHS,
        pad_batch=_answer(lengths=lambda s: torch.tensor(max(len(row) for row in _rows(s)))),
    ),
    Mistake(
        "the labels 2, -100 and 2**40",
        caught_by=_LENGTHS,
        pad_batch=_answer(labels=lambda s: torch.tensor([float(y) for _, y in s])),
    ),
    Mistake(
        "the labels 2, -100 and 2**40",
        caught_by=_LENGTHS,
        pad_batch=_answer(labels=lambda s: torch.tensor([[y] for _, y in s])),
    ),
    Mistake("samples of 1 and of 1000 tokens", caught_by=_LENGTHS, pad_batch=_cut_off),
    Mistake("of batch 2 in the first epoch", caught_by=_LOADER, pad_batch=_kept_by_lengths),
    Mistake("of batch 0 in the first epoch", caught_by=_LOADER, pad_batch=_same_memory),
    Mistake("three parts, (tokens, lengths, labels)", caught_by=_LENGTHS, pad_batch=lambda s: zip(*s)),
    Mistake(
        "the lengths of three samples", caught_by=_LENGTHS, pad_batch=lambda s: [pad_batch(s)[i] for i in (0, 2, 1)]
    ),
    Mistake(
        "the tokens that are not 0 were counted",
        caught_by=_ZERO,
        pad_batch=_answer(lengths=lambda s: (_padded(s) != 0).sum(1)),
    ),
    Mistake(
        "the tokens that are not 0 were counted",
        caught_by=_ZERO,
        pad_batch=_answer(lengths=lambda s: torch.tensor([int(row.count_nonzero()) for row in _rows(s)])),
    ),
    Mistake("hold, and end with, zeros of their own", caught_by=_ZERO, pad_batch=_answer(lengths=_last_non_zero)),
    Mistake("samples that hold zeros of their own", caught_by=_ZERO, pad_batch=_without_zeros),
    Mistake("a batch is as wide as its own longest sample", caught_by=_LOADER, pad_batch=_answer(_never_narrower)),
    Mistake("pad_batch changes nothing of the samples", caught_by=_SAMPLES, pad_batch=_grows_the_samples),
    Mistake("pad_batch changes nothing of the samples", caught_by=_SAMPLES, pad_batch=_sorts_in_place),
    Mistake("pad_batch changes nothing of the samples", caught_by=_SAMPLES, pad_batch=_replaces_the_samples),
]
