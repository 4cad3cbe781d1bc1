"""Padding and the causal mask at once: reference.

Hint: Write down keep for texts of 1 and 3 tokens. Which keys may each of the 6 queries see? Which query sees none?
Hint: `pad_sequence(..., padding_side="left")`; cumsum, clamp; `torch.ones(T, T).tril()`, `torch.eye`, & and |.
Hint: Pad a list of all-True tensors in the same way, with False. In the loop, each new token is True in keep.

Why: a left-padded row is the text, moved. Attention by itself knows no columns, so the move is undone by positions
that begin where the text does, and by hiding the columns before. A row of the mask without any True has no weights
that sum to 1: exp(-inf) / 0 is nan, and since nan * 0 is nan, no zero in a loss or mask further on gets rid of it. One
key for each padded query costs nothing. New tokens are text by birth, even if they equal pad_id.
"""

from collections.abc import Callable

import torch
from torch.nn.utils.rnn import pad_sequence

from dojo import Mistake


def pad_left(seqs: list[torch.Tensor], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = pad_sequence(seqs, batch_first=True, padding_value=pad_id, padding_side="left")
    real = [torch.ones_like(seq, dtype=torch.bool) for seq in seqs]
    return ids, pad_sequence(real, batch_first=True, padding_value=False, padding_side="left")


def positions(keep: torch.Tensor) -> torch.Tensor:
    return (keep.cumsum(1) - 1).clamp(min=0)


def padding_causal_mask(keep: torch.Tensor) -> torch.Tensor:
    T = keep.shape[1]
    causal = torch.ones(T, T, dtype=torch.bool, device=keep.device).tril()
    itself = torch.eye(T, dtype=torch.bool, device=keep.device)
    return causal & keep[:, None, None, :] | itself


@torch.no_grad()
def generate(model: Callable[..., torch.Tensor], seqs: list[torch.Tensor], n: int, pad_id: int) -> torch.Tensor:
    ids, keep = pad_left(seqs, pad_id)
    T = ids.shape[1]
    for _ in range(n):
        logits = model(ids, positions(keep), padding_causal_mask(keep))
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
        keep = torch.cat([keep, torch.ones_like(keep[:, :1])], dim=1)
    return ids[:, T:]


def _pad_right(seqs, pad_id):
    ids = pad_sequence(seqs, batch_first=True, padding_value=pad_id)
    return ids, pad_sequence([torch.ones_like(s) for s in seqs], batch_first=True) > 0


def _guessed(seqs, pad_id):
    ids, _ = pad_left(seqs, pad_id)
    return ids, ids != pad_id


def _first_other_token(seqs, pad_id):
    """Padding is what comes before the first other token."""
    ids, _ = pad_left(seqs, pad_id)
    return ids, (ids != pad_id).cumsum(1) > 0


def _as_ints(seqs, pad_id):
    ids, keep = pad_left(seqs, pad_id)
    return ids, keep.long()


def _through_floats(seqs, pad_id):
    ids, keep = pad_left([s.float() for s in seqs], pad_id)
    return ids.long(), keep


def _sorted_by_length(seqs, pad_id):
    return pad_left(sorted(seqs, key=len, reverse=True), pad_id)


def _sorted_in_place(seqs, pad_id):
    seqs.sort(key=len, reverse=True)
    return pad_left(seqs, pad_id)


def _padded_in_place(seqs, pad_id):
    T = max(map(len, seqs))
    keep = torch.stack([torch.arange(T) >= T - len(s) for s in seqs])
    for i, s in enumerate(seqs):
        seqs[i] = torch.cat([s.new_full((T - len(s),), pad_id), s])
    return torch.stack(seqs), keep


def _flipped(seqs, pad_id):
    """Reversed, padded, and not reversed again."""
    ids, keep = _pad_right([s.flip(0) for s in seqs], pad_id)
    return ids.roll(1, 0).roll(-1, 0), keep.flip(1)


def _flipped_tokens(seqs, pad_id):
    ids, keep = _pad_right(seqs, pad_id)
    return ids.flip(1), keep.flip(1)


def _cut_to_the_shortest(seqs, pad_id):
    T = min(map(len, seqs))
    return pad_left([s[-T:] for s in seqs], pad_id)


def _zeros(seqs, pad_id):
    return pad_left(seqs, 0)


def _blocked(seqs, pad_id):
    ids, keep = pad_left(seqs, pad_id)
    return ids, ~keep


def _ids_only(seqs, pad_id):
    return pad_left(seqs, pad_id)[0]


def _causal(keep):
    return torch.ones(keep.shape[1], keep.shape[1], dtype=torch.bool).tril()


def _float_mask(keep):
    return torch.zeros(keep.shape[0], 1, *_causal(keep).shape).masked_fill(~padding_causal_mask(keep), -torch.inf)


def _padded_rows_see_all(keep):
    mask = _causal(keep) & keep[:, None, None, :]
    return mask | ~mask.any(-1, keepdim=True)


def _first_key_open(keep):
    """So that no row is empty: everybody may look at column 0."""
    mask = (_causal(keep) & keep[:, None, None, :]).clone()
    mask[..., 0] = True
    return mask


def _steps(model, seqs, n, pad_id, *, again=None, place=None, see=None, pick=None, new=True):
    """The right loop; each mistake changes one thing of it."""
    ids, keep = pad_left(seqs, pad_id)
    T = ids.shape[1]
    with torch.no_grad():
        for _ in range(n):
            kept = again(ids, pad_id, keep) if again else keep
            logits = model(ids, (place or positions)(kept), (see or padding_causal_mask)(kept))
            token = pick(logits, seqs) if pick else logits[:, -1].argmax(-1)
            ids = torch.cat([ids, token[:, None]], 1)
            keep = torch.cat([keep, torch.full_like(keep[:, :1], new)], 1)
    return ids[:, T:]


def _generate(**changes):
    return lambda model, seqs, n, pad_id: _steps(model, seqs, n, pad_id, **changes)


def _with_prompt(model, seqs, n, pad_id):
    return torch.cat([pad_left(seqs, pad_id)[0], generate(model, seqs, n, pad_id)], 1)


def _with_graph(model, seqs, n, pad_id):
    with torch.enable_grad():
        ids, keep = pad_left(seqs, pad_id)
        T = ids.shape[1]
        for _ in range(n):
            logits = model(ids, positions(keep), padding_causal_mask(keep)).detach()
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
            keep = torch.cat([keep, keep[:, -1:]], 1)
    return ids[:, T:]


def _grad_mode_left_off(model, seqs, n, pad_id):
    torch.set_grad_enabled(False)
    return generate(model, seqs, n, pad_id)


def _grad_mode_left_on(model, seqs, n, pad_id):
    tokens = generate(model, seqs, n, pad_id)
    torch.set_grad_enabled(True)
    return tokens


def _stacked(model, seqs, n, pad_id):
    tokens = generate(model, seqs, n, pad_id)
    return torch.stack(list(tokens.unbind(1)), 1)


def _same_token(model, seqs, n, pad_id):
    return generate(model, seqs, min(n, 1), pad_id).expand(-1, n)


def _stops(model, seqs, n, pad_id):
    """What comes after the padding token is cut off, as after the end of a text."""
    tokens = generate(model, seqs, n, pad_id)
    return tokens.masked_fill((tokens == pad_id).cumsum(1) > 0, pad_id)


def _never_pads(model, seqs, n, pad_id):
    def pick(logits, seqs):
        logits = logits[:, -1].clone()
        logits[:, pad_id] = -torch.inf
        return logits.argmax(-1)

    return _steps(model, seqs, n, pad_id, pick=pick)


def _longer_texts(model, seqs, n, pad_id):
    """The new tokens are appended to the caller's list."""
    for _ in range(n):
        new = generate(model, seqs, 1, pad_id)
        for i in range(len(seqs)):
            seqs[i] = torch.cat([seqs[i], new[i]])
    return torch.stack([s[len(s) - n :] for s in seqs])


def _drawn(logits, seqs):
    return torch.multinomial(logits[:, -1].softmax(-1), 1)[:, 0]


def _behind_the_text(logits, seqs):
    """As with padding on the right."""
    return logits[range(len(seqs)), [len(s) - 1 for s in seqs]].argmax(-1)


_IDS = "test_the_lengths_and_not_the_ids_say_what_is_padding"
_ZERO = "test_a_text_begins_at_position_zero_wherever_its_column_is"
_REAL = "test_a_real_query_sees_the_real_keys_up_to_itself"
_NAN = "test_a_softmax_over_nothing_is_nan_and_spoils_every_gradient"
_LOGITS = "test_padding_changes_neither_logits_nor_gradients"
_ALONE = "test_each_text_of_a_batch_is_continued_as_if_it_were_alone"
_GRAPH = "test_writing_tokens_builds_no_graph"

MISTAKES = [
    Mistake("is text here: only the lengths know", caught_by=_IDS, pad_left=_guessed),
    Mistake("keep, of texts with 3, 5 and 1 tokens", caught_by=_IDS, pad_left=_first_other_token),
    Mistake("padded on the right", caught_by=_IDS, pad_left=_pad_right),
    Mistake("dtype: expected torch.bool, got torch.int64", caught_by=_IDS, pad_left=_as_ints),
    Mistake("with large numbers", caught_by=_IDS, pad_left=_through_floats),
    Mistake("the ids of three texts", caught_by=_IDS, pad_left=_sorted_by_length),
    Mistake("the texts are the caller's", caught_by=_IDS, pad_left=_sorted_in_place),
    Mistake("the texts are the caller's", caught_by=_IDS, pad_left=_padded_in_place),
    Mistake("the ids of three texts", caught_by=_IDS, pad_left=_flipped_tokens),
    Mistake("the ids of three texts", caught_by=_IDS, pad_left=_flipped),
    Mistake("the ids of three texts", caught_by=_IDS, pad_left=_cut_to_the_shortest),
    Mistake("the ids of three texts", caught_by=_IDS, pad_left=_zeros),
    Mistake("keep, of texts with 3, 5 and 1 tokens", caught_by=_IDS, pad_left=_blocked),
    Mistake("pad_left returns ids and keep", caught_by=_IDS, pad_left=_ids_only),
    Mistake(
        "positions are those of the columns",
        caught_by=_ZERO,
        positions=lambda keep: torch.arange(keep.shape[1]).expand(keep.shape),
    ),
    Mistake(
        "positions are those of the columns",
        caught_by=_ZERO,
        positions=lambda keep: torch.arange(keep.shape[1]) * keep,
    ),
    Mistake("the first real token is at 1", caught_by=_ZERO, positions=lambda keep: keep.cumsum(1)),
    Mistake("reads from the end of the table", caught_by=_ZERO, positions=lambda keep: keep.cumsum(1) - 1),
    Mistake(
        "dtype: expected torch.int64", caught_by=_ZERO, positions=lambda keep: (keep.float().cumsum(1) - 1).clamp(min=0)
    ),
    Mistake(
        "dtype: expected torch.int64", caught_by=_ZERO, positions=lambda keep: (keep.cumsum(1) - 1).clamp(min=0).int()
    ),
    Mistake(
        "and the last one is T - 1",
        caught_by=_ZERO,
        positions=lambda keep: (keep.bfloat16().cumsum(1) - 1).clamp(min=0).long(),
    ),
    Mistake("and the last one is T - 1", caught_by=_ZERO, positions=lambda keep: (keep.cumsum(1) - 1) % 1024),
    Mistake(
        "those of padding set to 0",
        caught_by=_ZERO,
        positions=lambda keep: (keep.cumsum(0) - 1).clamp(min=0),
    ),
    Mistake(
        "those of padding set to 0",
        caught_by=_ZERO,
        positions=lambda keep: (keep.flip(1).cumsum(1).flip(1) - 1).clamp(min=0),
    ),
    Mistake("positions raised", caught_by=_ZERO, positions=lambda keep: positions(keep) - (~keep)[-5]),
    Mistake(
        "softmax over nothing is nan",
        caught_by=_NAN,
        padding_causal_mask=lambda keep: _causal(keep) & keep[:, None, None, :],
    ),
    Mistake(
        "and there is padding among them",
        caught_by=_REAL,
        padding_causal_mask=lambda keep: _causal(keep) & keep[:, None, :, None] | torch.eye(keep.shape[1]).bool(),
    ),
    Mistake(
        "and there is padding among them",
        caught_by=_REAL,
        padding_causal_mask=lambda keep: _causal(keep).expand(len(keep), 1, -1, -1),
    ),
    Mistake("and there is padding among them", caught_by=_REAL, padding_causal_mask=_first_key_open),
    Mistake(
        "some are later than itself",
        caught_by=_REAL,
        padding_causal_mask=lambda keep: keep[:, None, None, :].expand(-1, 1, keep.shape[1], -1),
    ),
    Mistake(
        "some are later than itself",
        caught_by=_REAL,
        padding_causal_mask=lambda keep: _causal(keep).T & keep[:, None, None, :] | torch.eye(keep.shape[1]).bool(),
    ),
    Mistake("later than itself", caught_by=_NAN, padding_causal_mask=_padded_rows_see_all),
    Mistake(
        "True is where a query may look", caught_by=_REAL, padding_causal_mask=lambda keep: ~padding_causal_mask(keep)
    ),
    Mistake(
        "so that it fits all heads", caught_by=_REAL, padding_causal_mask=lambda keep: padding_causal_mask(keep)[:, 0]
    ),
    Mistake("the mask is bool", caught_by=_REAL, padding_causal_mask=_float_mask),
    Mistake(
        "sees the columns",
        caught_by=_REAL,
        padding_causal_mask=lambda keep: (
            _causal(keep).tril(-1) & keep[:, None, None, :]
            | ~keep[:, None, :, None] & torch.eye(keep.shape[1], dtype=torch.bool)
        ),
    ),
    Mistake("the last tokens were at the positions", caught_by=_ALONE, generate=_generate(new=False)),
    Mistake(
        "the last tokens were at the positions",
        caught_by=_ALONE,
        generate=_generate(place=lambda keep: torch.arange(keep.shape[1]).expand(keep.shape)),
    ),
    Mistake(
        "the last tokens were at the positions",
        caught_by=_ALONE,
        generate=_generate(place=lambda keep: keep.cumsum(1)),
    ),
    Mistake(
        "could look at the columns",
        caught_by=_ALONE,
        generate=_generate(see=lambda keep: _causal(keep).expand(len(keep), 1, -1, -1)),
    ),
    Mistake("was continued with", caught_by=_ALONE, generate=_generate(pick=_behind_the_text)),
    Mistake("was continued with", caught_by=_ALONE, generate=_generate(pick=_drawn)),
    Mistake("was continued with", caught_by=_ALONE, generate=_same_token),
    Mistake(
        "was continued with",
        caught_by=_ALONE,
        generate=lambda model, seqs, n, pad_id: generate(model, sorted(seqs, key=len), n, pad_id),
    ),
    Mistake("only the new tokens", caught_by=_ALONE, generate=_with_prompt),
    Mistake("generate returns a tensor", caught_by=_ALONE, generate=lambda *args: list(generate(*args))),
    Mistake("tokens are int64", caught_by=_ALONE, generate=lambda *args: generate(*args).float()),
    Mistake("texts and model are the caller's", caught_by=_ALONE, generate=_longer_texts),
    Mistake(
        "could look at the columns",
        caught_by=_ALONE,
        generate=_generate(again=lambda ids, pad_id, keep: ids != pad_id),
    ),
    Mistake("they are tokens like any others", caught_by=_ALONE, generate=_stops),
    Mistake("they are tokens like any others", caught_by=_ALONE, generate=_never_pads),
    Mistake("hung on a graph", caught_by=_GRAPH, generate=_with_graph),
    Mistake("before generate, and False after it", caught_by=_GRAPH, generate=_grad_mode_left_off),
    Mistake("before generate, and True after it", caught_by=_GRAPH, generate=_grad_mode_left_on),
    Mistake("generate raised", caught_by=_GRAPH, generate=_stacked),
]

KEEP = {
    _REAL: "the rule of the mask, entry by entry: what breaks it breaks the logits too, and nobody sees why",
    _LOGITS: "what the three functions are for: together they make a batch equal to its texts, also in training",
}
