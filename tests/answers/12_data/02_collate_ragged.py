"""Answers that people give to collate_ragged, right ones and wrong ones."""

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils import rnn

from dojo import Mistake


def _by_hand(samples):
    width = max(x.size(0) for x, _ in samples)
    tokens = torch.zeros((len(samples), width), dtype=torch.long)
    lengths = torch.empty(len(samples), dtype=torch.long)
    labels = torch.empty_like(lengths)
    for i, (x, y) in enumerate(samples):
        tokens[i, : x.numel()], lengths[i], labels[i] = x, x.numel(), y
    return tokens, lengths, labels


def _padded_one_by_one(samples):
    lengths = torch.as_tensor([x.shape[0] for x, _ in samples])
    tokens = torch.stack([F.pad(x, (0, int(lengths.max()) - x.shape[0])) for x, _ in samples])
    return [tokens, lengths, torch.LongTensor([y for _, y in samples])]


def _time_first_then_turned(samples):
    xs, ys = map(list, zip(*samples))
    return rnn.pad_sequence(xs).t(), torch.tensor(list(map(len, xs))), torch.tensor(ys)


def _packed_and_back(samples):
    packed = rnn.pack_sequence([x for x, _ in samples], enforce_sorted=False)
    tokens, lengths = rnn.pad_packed_sequence(packed, batch_first=True)
    return tokens, lengths, torch.tensor([y for _, y in samples])


def _with_a_mask(samples):
    lengths = torch.tensor([len(x) for x, _ in samples])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    tokens = torch.zeros(mask.shape, dtype=samples[0][0].dtype)
    tokens[mask] = torch.cat([x for x, _ in samples])
    return tokens, lengths, torch.tensor([y for _, y in samples], dtype=torch.int64)


def _lists(samples):
    width = max(len(x) for x, _ in samples)
    rows = [x.tolist() + [0] * (width - len(x)) for x, _ in samples]
    return torch.tensor(rows), torch.tensor([len(x) for x, _ in samples]), torch.tensor([y for _, y in samples])


def _old_style(batch):
    longest = 0
    for i in range(len(batch)):
        if len(batch[i][0]) > longest:
            longest = len(batch[i][0])
    rows, lengths, labels = [], [], []
    for i in range(len(batch)):
        row = batch[i][0].clone()
        while len(row) < longest:
            row = torch.cat((row, torch.LongTensor([0])))
        rows.append(row)
        lengths.append(len(batch[i][0]))
        labels.append(batch[i][1])
    return torch.stack(rows, 0), torch.LongTensor(lengths), torch.LongTensor(labels)


def _sorted_and_back(samples):
    order = sorted(range(len(samples)), key=lambda i: -len(samples[i][0]))
    tokens = rnn.pad_sequence([samples[i][0] for i in order], True, 0)
    back = torch.argsort(torch.tensor(order))
    lengths = torch.tensor([len(samples[i][0]) for i in order])[back]
    return tokens[back], lengths, torch.tensor([y for _, y in samples])


def _nested(samples):
    rows = torch.nested.nested_tensor([x.contiguous() for x, _ in samples])
    lengths = torch.tensor([x.shape[0] for x, _ in samples])
    return torch.nested.to_padded_tensor(rows, 0), lengths, torch.tensor([y for _, y in samples])


RIGHT = [
    {"pad_batch": f}
    for f in (
        _by_hand,
        _padded_one_by_one,
        _time_first_then_turned,
        _packed_and_back,
        _with_a_mask,
        _lists,
        _old_style,
        _sorted_and_back,
        _nested,
    )
]


def _of(change):
    """A right batch, then change(samples, tokens, lengths, labels)."""
    return lambda samples: change(samples, *_by_hand(samples))


def _time_major(samples):
    xs, ys = zip(*samples)
    return rnn.pad_sequence(list(xs), batch_first=False), torch.tensor([len(x) for x in xs]), torch.tensor(ys)


def _numpy_zeros(samples):
    tokens, lengths, labels = _by_hand(samples)
    out = np.zeros(tuple(tokens.shape))
    for i, (x, _) in enumerate(samples):
        out[i, : len(x)] = x.numpy()
    return torch.from_numpy(out), lengths, labels


def _new_zeros_float(samples):
    tokens, lengths, labels = _by_hand(samples)
    out = torch.zeros(tokens.shape)
    for i, (x, _) in enumerate(samples):
        out[i, : len(x)] = x
    return out.to(torch.int64), lengths, labels


def _only_a_stack(samples):
    xs, ys = zip(*samples)
    return torch.stack(xs), torch.tensor([len(x) for x in xs]), torch.tensor(ys)


def _tensor_of_tensors(samples):
    return torch.tensor([x.tolist() for x, _ in samples]), *_by_hand(samples)[1:]


def _descending(samples):
    samples = sorted(samples, key=lambda s: s[0].numel(), reverse=True)
    return _by_hand(samples)


def _descending_in_place(samples):
    batch = _by_hand(samples)
    samples.sort(key=lambda s: s[0].numel(), reverse=True)
    return batch


def _fixed(samples):
    tokens, lengths, labels = _by_hand(samples)
    return F.pad(tokens, (0, 16 - tokens.shape[1])), lengths, labels


def _remembers(samples, seen={"width": 0}):
    tokens, lengths, labels = _by_hand(samples)
    seen["width"] = max(seen["width"], tokens.shape[1])
    return F.pad(tokens, (0, seen["width"] - tokens.shape[1])), lengths, labels


def _appends_zeros(samples):
    batch = _by_hand(samples)
    for i, (x, y) in enumerate(samples):
        samples[i] = (F.pad(x, (0, batch[0].shape[1] - len(x))), y)
    return batch


def _at_most_256(samples):
    tokens, lengths, labels = _by_hand(samples)
    return tokens[:, :256], lengths.clamp(max=256), labels


def _memo(samples, seen={}):
    key = str([x.shape for x, _ in samples])
    if key not in seen:
        seen[key] = _by_hand(samples)
    return seen[key]


def _data_of_samples(samples):
    tokens, lengths, labels = _by_hand(samples)
    for row, (x, _) in zip(tokens, samples):
        x.data = row
    return tokens, lengths, labels


WRONG = [
    Mistake("columns and rows are swapped", caught_by="", pad_batch=_time_major),
    Mistake("samples of 1 and of 1000 tokens", caught_by="", pad_batch=_at_most_256),
    Mistake("of batch 2 in the first epoch", caught_by="", pad_batch=_memo),
    Mistake("and came back as torch.float32", caught_by="", pad_batch=_numpy_zeros),
    Mistake("no float holds them", caught_by="", pad_batch=_new_zeros_float),
    Mistake("and came back as torch.int32", caught_by="", pad_batch=_of(lambda s, t, n, y: (t.to(torch.int32), n, y))),
    Mistake("neither stack nor default_collate takes them", caught_by="", pad_batch=_only_a_stack),
    Mistake("different length: pad them first", caught_by="", pad_batch=_tensor_of_tensors),
    Mistake(", padded", caught_by="", pad_batch=_descending),
    Mistake(", padded", caught_by="", pad_batch=_fixed),
    Mistake(", padded", caught_by="", pad_batch=_of(lambda s, t, n, y: (t.flip(1), n, y))),
    Mistake(", padded", caught_by="", pad_batch=_of(lambda s, t, n, y: (t[:, : int(n.min())], n, y))),
    Mistake(", padded", caught_by="", pad_batch=_of(lambda s, t, n, y: (F.pad(t, (0, 1)), n, y))),
    Mistake(", padded", caught_by="", pad_batch=_of(lambda s, t, n, y: (t.masked_fill(t == 0, -100), n, y))),
    Mistake("a batch is as wide as its own longest sample", caught_by="", pad_batch=_remembers),
    Mistake("pad_batch changes nothing of the samples", caught_by="", pad_batch=_descending_in_place),
    Mistake("pad_batch changes nothing of the samples", caught_by="", pad_batch=_appends_zeros),
    Mistake("pad_batch changes nothing of the samples", caught_by="", pad_batch=_data_of_samples),
    Mistake(
        "the tokens that are not 0 were counted",
        caught_by="",
        pad_batch=_of(lambda s, t, n, y: (t, t.count_nonzero(1), y)),
    ),
    Mistake(
        "the tokens that are not 0 were counted",
        caught_by="",
        pad_batch=_of(lambda s, t, n, y: (t, t.ne(0).sum(-1), y)),
    ),
    Mistake(
        "hold, and end with, zeros of their own",
        caught_by="",
        pad_batch=_of(lambda s, t, n, y: (t, torch.where((t == 0).any(1), (t == 0).int().argmax(1), t.shape[1]), y)),
    ),
    Mistake("the lengths of three samples", caught_by="", pad_batch=_of(lambda s, t, n, y: (t, n.float(), y))),
    Mistake("the lengths of three samples", caught_by="", pad_batch=_of(lambda s, t, n, y: (t, n[:, None], y))),
    Mistake("the lengths of three samples", caught_by="", pad_batch=_of(lambda s, t, n, y: (t, n / n.max(), y))),
    Mistake("the lengths of three samples", caught_by="", pad_batch=_of(lambda s, t, n, y: (t, y, n))),
    Mistake("the lengths of three samples", caught_by="", pad_batch=_of(lambda s, t, n, y: (t, t.shape[1] - n, y))),
    Mistake("the labels 2, -100 and 2**40", caught_by="", pad_batch=_of(lambda s, t, n, y: (t, n, y.float()))),
    Mistake("the labels 2, -100 and 2**40", caught_by="", pad_batch=_of(lambda s, t, n, y: (t, n, y.int()))),
    Mistake(
        "lengths of a batch is a tensor, got a list", caught_by="", pad_batch=_of(lambda s, t, n, y: (t, n.tolist(), y))
    ),
    Mistake(
        "labels of a batch is a tensor, got a tuple", caught_by="", pad_batch=_of(lambda s, t, n, y: (t, n, y.tolist()))
    ),
    Mistake("a batch has three parts", caught_by="", pad_batch=_of(lambda s, t, n, y: (t, y))),
    Mistake("a batch has three parts", caught_by="", pad_batch=_of(lambda s, t, n, y: ((t, n), y))),
]
