"""Answers that people give to left_padding, right ones and wrong ones."""

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from dojo import Mistake


def _by_rows(seqs, pad_id):
    T = max(len(s) for s in seqs)
    ids = torch.full((len(seqs), T), pad_id)
    keep = torch.zeros(len(seqs), T, dtype=torch.bool)
    for i, s in enumerate(seqs):
        ids[i, T - len(s) :] = s
        keep[i, T - len(s) :] = True
    return ids, keep


def _by_flipping(seqs, pad_id):
    ids = pad_sequence([s.flip(0) for s in seqs], batch_first=True, padding_value=pad_id).flip(1)
    lengths = torch.tensor([s.numel() for s in seqs])
    keep = torch.arange(ids.size(1)) >= ids.size(1) - lengths[:, None]
    return [ids, keep]


def _by_fpad(seqs, pad_id):
    T = max(map(len, seqs))
    ids = torch.stack([F.pad(s, (T - len(s), 0), value=pad_id) for s in seqs])
    keep = torch.stack([F.pad(torch.ones(len(s)), (T - len(s), 0)).bool() for s in seqs])
    return ids, keep


def _minus_padding(keep):
    T = keep.size(1)
    return (torch.arange(T) - (T - keep.sum(1, keepdim=True))).clamp_min(0)


def _as_transformers(keep):
    places = keep.long().cumsum(-1) - 1
    return places.masked_fill_(keep == 0, 1) if keep.size(1) > 1 else places


def _where(keep):
    return torch.where(keep, keep.int().cumsum(1) - 1, 0)


def _all_before(keep):
    """A padded query sees the padding before it."""
    T = keep.size(1)
    causal = torch.tril(torch.ones(T, T, dtype=torch.bool))
    same = keep[:, :, None] == keep[:, None, :]
    return (causal & same)[:, None]


def _by_columns(keep):
    i = torch.arange(keep.size(1))
    mask = (i[None, :] <= i[:, None])[None] & keep[:, None, :]
    mask = torch.where(mask.any(-1, keepdim=True), mask, torch.eye(keep.size(1)).bool())
    return mask.unsqueeze(1)


def _first_column(keep):
    """An empty row gets column 0."""
    mask = keep[:, None, None, :].expand(-1, 1, keep.size(1), -1).tril()
    mask = mask.clone()
    mask[..., 0] |= ~mask.any(-1)
    return mask


def _one_by_one(model, seqs, n, pad_id):
    out = torch.empty(len(seqs), n, dtype=torch.long)
    with torch.inference_mode():
        for b, text in enumerate(seqs):
            for i in range(n):
                T = len(text)
                mask = torch.ones(T, T).tril().bool()[None, None]
                text = torch.cat([text, model(text[None], torch.arange(T)[None], mask)[0, -1].argmax()[None]])
                out[b, i] = text[-1]
    return out


def _buffer(model, seqs, n, pad_id):
    """The place for all new tokens is there from the beginning, and is not looked at before it is written."""
    ids, keep = _by_rows(seqs, pad_id)
    B, T = ids.shape
    ids, keep = F.pad(ids, (0, n)), F.pad(keep, (0, n), value=True)
    with torch.no_grad():
        for i in range(T, T + n):
            ids[:, i] = model(ids, positions=_minus_padding(keep), mask=_all_before(keep))[:, i - 1].argmax(-1)
    return ids[:, T:]


@torch.inference_mode()
def _growing_texts(model, seqs, n, pad_id):
    model.eval()
    seqs, new = list(seqs), []
    for _ in range(n):
        ids, keep = _by_fpad(seqs, pad_id)
        _, token = model(ids, _where(keep), _by_columns(keep))[:, -1].max(-1)
        new.append(token)
        seqs = [torch.cat((s, t.view(1))) for s, t in zip(seqs, token, strict=True)]
    return torch.stack(new, 1) if new else torch.empty(len(seqs), 0, dtype=torch.long)


RIGHT = [
    {"pad_left": _by_rows, "positions": _minus_padding, "padding_causal_mask": _all_before, "generate": _one_by_one},
    {"pad_left": _by_flipping, "positions": _as_transformers, "padding_causal_mask": _by_columns},
    {"pad_left": _by_fpad, "positions": _where, "padding_causal_mask": _first_column, "generate": _growing_texts},
    {"generate": _buffer},
]


def _guess(seqs, pad_id):
    ids, _ = _by_rows(seqs, pad_id)
    return ids, ids.ne(pad_id)


def _nonzero(seqs, pad_id):
    ids, _ = _by_rows(seqs, 0)
    ids[ids == 0] = pad_id
    return ids, ids != pad_id


def _right(seqs, pad_id):
    ids = pad_sequence(seqs, batch_first=True, padding_value=pad_id)
    return ids, torch.arange(ids.size(1)) < torch.tensor([len(s) for s in seqs])[:, None]


def _uint(seqs, pad_id):
    ids, keep = _by_rows(seqs, pad_id)
    return ids, keep.to(torch.uint8)


def _resized(seqs, pad_id):
    """The texts themselves are filled up."""
    T = max(len(s) for s in seqs)
    keep = _by_rows(seqs, pad_id)[1]
    for i in range(len(seqs)):
        seqs[i] = F.pad(seqs[i], (T - len(seqs[i]), 0), value=pad_id)
    return torch.stack(seqs), keep


def _in_float(seqs, pad_id):
    T = max(len(s) for s in seqs)
    ids, keep = torch.full((len(seqs), T), float(pad_id)), _by_rows(seqs, pad_id)[1]
    for i, s in enumerate(seqs):
        ids[i, T - len(s) :] = s
    return ids.long(), keep


def _length_order(seqs, pad_id):
    return _by_rows(sorted(seqs, key=len), pad_id)


def _inverted(seqs, pad_id):
    ids, keep = _by_rows(seqs, pad_id)
    return ids, keep.logical_not()


def _no_keep(seqs, pad_id):
    return _by_rows(seqs, pad_id)[0]


def _tril(keep):
    return torch.ones(keep.size(1), keep.size(1)).tril().bool()


def _additive(keep):
    return (1.0 - _all_before(keep).float()) * -1e9


def _everything_for_padding(keep):
    mask = _tril(keep) & keep[:, None, None, :]
    return mask.masked_fill(~keep[:, None, :, None], True)


def _loop(place, see=_all_before, mark=True, guess=False, graph=False, last=-1):
    def wrong(model, seqs, n, pad_id):
        ids, keep = _by_rows(seqs, pad_id)
        new = []
        with torch.set_grad_enabled(graph):
            for _ in range(n):
                if guess:
                    keep = ids != pad_id
                new.append(model(ids, place(keep), see(keep))[:, last].argmax(-1, keepdim=True))
                ids = torch.cat([ids, new[-1]], 1)
                keep = F.pad(keep, (0, 1), value=mark)
        return torch.cat(new, 1) if new else ids[:, :0]

    return wrong


def _crashes_at_zero(model, seqs, n, pad_id):
    return torch.cat([_one_by_one(model, seqs, n, pad_id)[:, i : i + 1] for i in range(n)], 1)


def _one_too_many(model, seqs, n, pad_id):
    return _one_by_one(model, seqs, n + 1, pad_id)


def _until_the_end(model, seqs, n, pad_id):
    out = _one_by_one(model, seqs, n, pad_id)
    for row in out:
        ends = (row == pad_id).nonzero()
        if len(ends):
            row[int(ends[0]) :] = pad_id
    return out


def _list(model, seqs, n, pad_id):
    return _one_by_one(model, seqs, n, pad_id).tolist()


WRONG = [
    Mistake("is text here: only the lengths know", caught_by="", pad_left=_guess),
    Mistake("the ids of three texts", caught_by="", pad_left=_nonzero),
    Mistake("padded on the right", caught_by="", pad_left=_right),
    Mistake("dtype: expected torch.bool, got torch.int64", caught_by="", pad_left=_uint),
    Mistake("the texts are the caller's", caught_by="", pad_left=_resized),
    Mistake("with large numbers", caught_by="", pad_left=_in_float),
    Mistake("the ids of three texts", caught_by="", pad_left=_length_order),
    Mistake("keep, of texts with 3, 5 and 1 tokens", caught_by="", pad_left=_inverted),
    Mistake("pad_left returns ids and keep", caught_by="", pad_left=_no_keep),
    Mistake(
        "positions are those of the columns",
        caught_by="",
        positions=lambda keep: torch.arange(keep.size(1)).repeat(len(keep), 1),
    ),
    Mistake("the first real token is at 1", caught_by="", positions=lambda keep: keep.long().cumsum(-1) * keep),
    Mistake(
        "reads from the end of the table",
        caught_by="",
        positions=lambda keep: torch.arange(keep.size(1)) - (~keep).sum(1, keepdim=True),
    ),
    Mistake(
        "dtype: expected torch.int64",
        caught_by="",
        positions=lambda keep: torch.where(keep, keep.cumsum(1) - 1, 0).to(torch.int32),
    ),
    Mistake(
        "those of padding set to 0",
        caught_by="",
        positions=lambda keep: (torch.arange(keep.size(1)) - (~keep).sum()).clamp(min=0).expand(keep.shape),
    ),
    Mistake(
        "softmax over nothing is nan",
        caught_by="",
        padding_causal_mask=lambda keep: keep[:, None, None, :].expand(-1, -1, keep.size(1), -1).tril(),
    ),
    Mistake(
        "softmax over nothing is nan",
        caught_by="",
        padding_causal_mask=lambda keep: _tril(keep) & (keep[:, None, :, None] & keep[:, None, None, :]),
    ),
    Mistake(
        "and there is padding among them",
        caught_by="",
        padding_causal_mask=lambda keep: _tril(keep) & keep[:, None, :, None] | ~keep[:, None, :, None] & _tril(keep),
    ),
    Mistake(
        "some are later than itself",
        caught_by="",
        padding_causal_mask=lambda keep: keep[:, None, None, :] & keep[:, None, :, None] | torch.eye(keep.size(1)) > 0,
    ),
    Mistake("later than itself", caught_by="", padding_causal_mask=_everything_for_padding),
    Mistake("the mask is bool", caught_by="", padding_causal_mask=_additive),
    Mistake("so that it fits all heads", caught_by="", padding_causal_mask=lambda keep: _all_before(keep).squeeze(1)),
    Mistake("True is where a query may look", caught_by="", padding_causal_mask=lambda keep: ~_by_columns(keep)),
    Mistake("could look at the columns", caught_by="", generate=_loop(_where, mark=False)),
    Mistake(
        "could look at the columns", caught_by="", generate=_loop(_where, see=lambda keep: _tril(keep)[None, None])
    ),
    Mistake(
        "the last tokens were at the positions",
        caught_by="",
        generate=_loop(lambda keep: torch.arange(keep.size(1)).repeat(len(keep), 1)),
    ),
    Mistake("they are tokens like any others", caught_by="", generate=_loop(_where, guess=True)),
    Mistake("they are tokens like any others", caught_by="", generate=_until_the_end),
    Mistake("hung on a graph", caught_by="", generate=_loop(_where, graph=True)),
    Mistake("was continued with", caught_by="", generate=_loop(_where, last=0)),
    Mistake("generate raised", caught_by="", generate=_crashes_at_zero),
    Mistake("only the new tokens", caught_by="", generate=_one_too_many),
    Mistake("generate returns a tensor", caught_by="", generate=_list),
]
