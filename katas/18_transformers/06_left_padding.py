"""Padding and the causal mask at once

Texts of different lengths make one batch when the short ones are filled up with a padding token. Who writes on from
them pads on the *left*: then all texts end in the last column, and `logits[:, -1]` is what follows each of them.

Three things are easily wrong after that, and none of them raises an error. First, which tokens are real. `ids !=
pad_id` is only a guess: the padding id is often the end-of-text id, which stands in texts, too. The lengths know it.

Second, the positions. A text that begins in column 3 still begins at position 0, so one arange for the whole batch is
wrong for every padded row. `keep.cumsum(1)` counts the real tokens, from 1; minus 1 it is right for them, but the
padding gets -1. An nn.Embedding refuses that, and `table[-1]` is silently its last row.

Third, the mask. A query must see no padding and nothing after itself. With padding on the left, the first queries are
then left with no key at all, and a softmax over nothing is nan. Even if nobody uses these rows: in the next layer they
are values, with the weight 0, and 0 * nan is nan. So are all gradients. F.scaled_dot_product_attention hides this
today, and gives zeros. So let a padded query see a key, such as itself. That is harmless, since nobody looks at it.

What is asked here: the batch, its positions, its mask, and a generation which gives every text of a batch what it would
get alone. (`torch.nn.utils.rnn.pad_sequence` pads; `torch.Tensor.tril` keeps the lower triangle.)

About 35 minutes. Before it: attention_masks, causal_attention, cat_or_stack.
Path: transformer

https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.rnn.pad_sequence.html
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def pad_left(seqs: list[torch.Tensor], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The texts as one batch: `ids`, int64 (B, T), with `pad_id` in front of the short ones, and `keep`, bool (B, T).

    `seqs` are B 1-D int64 tensors of one token or more, T is the longest length. `keep` is True for the tokens of the
    texts, also for those equal to `pad_id`, and False for padding. `seqs` stays as it is.
    """
    raise NotImplementedError("fill up on the left, and mark what is real")


def positions(keep: torch.Tensor) -> torch.Tensor:
    """The position of each token in its own text, int64 (B, T): 0, 1, 2, ... for the real tokens of each row.

    `keep` is bool (B, T) as pad_left makes it, and stays as it is. Padding gets any position from 0 to T - 1.
    """
    raise NotImplementedError("count the real tokens of each row")


def padding_causal_mask(keep: torch.Tensor) -> torch.Tensor:
    """Who may look at whom: bool (B, 1, T, T), queries before keys, True where a query may look at a key.

    `keep` is bool (B, T) as pad_left makes it, and stays as it is. A real query sees the real keys up to itself, and no
    other. A query that is padding sees at least one key, and none later than itself.
    """
    raise NotImplementedError("put both masks together, and leave no row empty")


def generate(model: Callable[..., torch.Tensor], seqs: list[torch.Tensor], n: int, pad_id: int) -> torch.Tensor:
    """The next `n` tokens of each text, int64 (B, n), the most likely one at each step; `n` is 0 or more.

    `model(ids, positions, mask)`, a module in eval mode, gives logits (B, T, vocab), for any T, from tensors such as
    the three functions above make. Each text gets the tokens that it would get alone, whatever token `pad_id` is. No
    graph is built meanwhile; afterwards gradients are on or off as before, and `seqs` and `model` are as they were.
    """
    raise NotImplementedError("pad, then let the model write, token by token")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


class _Model(nn.Module):
    """Two layers of attention on a table of tokens and one of positions, in float64. Keeps what it was given."""

    def __init__(self, fused: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fused = fused
        self.tok, self.pos = nn.Embedding(11, 8), nn.Embedding(24, 8)
        self.qkv = nn.ModuleList(nn.Linear(8, 24) for _ in range(2))
        self.head = nn.Linear(8, 11, bias=False)
        self.double().eval()
        self.calls: list[tuple[torch.Tensor, ...]] = []
        self.graphs = 0

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        self.calls.append((ids, positions, mask))
        x = self.tok(ids) + self.pos(positions)
        for layer in self.qkv:
            q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in layer(x).chunk(3, -1))  # (B, 2, T, 4)
            x = x + self.attend(q, k, v, mask).transpose(1, 2).flatten(2)
        logits = self.head(x)
        self.graphs += logits.requires_grad
        return logits

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.fused:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        bias = mask if mask.is_floating_point() else torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
        return (q @ k.transpose(-2, -1) / 2 + bias).softmax(-1) @ v

    def alone(self, text: torch.Tensor) -> torch.Tensor:
        """The logits (T, vocab) of one text without any padding."""
        T = len(text)
        return self(text[None], torch.arange(T)[None], torch.ones(1, 1, T, T, dtype=torch.bool).tril())[0]

    def written(self, text: torch.Tensor, n: int) -> list[int]:
        """The n tokens that follow one text."""
        with torch.no_grad():
            for _ in range(n):
                text = torch.cat([text, self.alone(text)[-1].argmax().view(1)])
        self.calls.clear()
        return text[len(text) - n :].tolist()


def _keep(*lengths: int) -> torch.Tensor:
    T = max(lengths)
    return torch.tensor([[column >= T - length for column in range(T)] for length in lengths])


def _texts() -> list[torch.Tensor]:
    """Three texts of 3, 5 and 1 tokens. 0 and 10 stand at their beginnings, in the middle and at the end."""
    return [torch.tensor([0, 7, 0]), torch.tensor([10, 0, 3, 10, 2]), torch.tensor([10])]


_SHAPES = [(3, 5, 1), (4, 4), (1, 3, 2), (1, 2, 5), (2, 4), (1, 6), (2,), (1, 1)]
_SIGNS = {
    "index out of range": "the model was given a token or a position that its tables don't have (such as -1)",
    "must match|expanded size|broadcastable|shape|Sizes of tensors": "ids, positions and mask do not fit each other: "
    "each new token makes all three longer",
}


def _padded(seqs: list[torch.Tensor], pad_id: int) -> tuple[Any, Any]:
    __tracebackhide__ = True
    with explain(f"pad_left raised, for lengths {[len(s) for s in seqs]}"):
        with unchanged("the texts are the caller's", seqs=seqs):
            got = pad_left(seqs, pad_id)
    pair = isinstance(got, tuple | list) and len(got) == 2
    assert pair, f"pad_left returns ids and keep, got a {type(got).__name__}"
    return got[0], got[1]


def _positions(keep: torch.Tensor) -> Any:
    __tracebackhide__ = True
    with explain(f"positions raised, for keep {tuple(keep.shape)}"), unchanged("keep is the caller's", keep=keep):
        return positions(keep)


def _mask(keep: torch.Tensor) -> Any:
    __tracebackhide__ = True
    B, T = keep.shape
    with explain(f"padding_causal_mask raised, for keep ({B}, {T})"), unchanged("keep is the caller's", keep=keep):
        mask = padding_causal_mask(keep)
    assert isinstance(mask, torch.Tensor), f"the mask is a tensor, got {type(mask).__name__}"
    assert mask.dtype == torch.bool, f"the mask is bool, True where a query may look; got {mask.dtype}"
    want = (B, 1, T, T)
    assert mask.shape == want, f"the mask is (B, 1, T, T) = {want}, so that it fits all heads; got {tuple(mask.shape)}"
    return mask


def _generated(model: _Model, seqs: list[torch.Tensor], n: int, pad_id: int) -> Any:
    __tracebackhide__ = True
    model.calls.clear()
    model.graphs = 0
    with explain(f"generate raised, for lengths {[len(s) for s in seqs]} and n={n}", _SIGNS):
        with unchanged("texts and model are the caller's", seqs=seqs, model=model):
            got = generate(model, seqs, n, pad_id)
    assert isinstance(got, torch.Tensor), f"generate returns a tensor, got {type(got).__name__}"
    B = len(seqs)
    assert got.shape == (B, n), f"generate returns only the new tokens, (B, n) = ({B}, {n}); got {tuple(got.shape)}"
    assert got.dtype == torch.int64, f"tokens are int64, got {got.dtype}"
    return got


@pytest.mark.myth(
    says="attention_mask = ids != pad_id says which tokens are real.",
    today="Padding often is the end-of-text token, which stands in texts, too: only the lengths tell them apart.",
)
def test_the_lengths_and_not_the_ids_say_what_is_padding():
    rows = torch.tensor([[1, 1, 0, 7, 0], [10, 0, 3, 10, 2], [1, 1, 1, 1, 10]])
    for pad_id in (0, 10, 1):
        keep = _keep(3, 5, 1)
        ids = rows.masked_fill(~keep, pad_id)
        got, kept = _padded(_texts(), pad_id)
        behind = [[*text.tolist(), *[pad_id] * (5 - len(text))] for text in _texts()]
        right = isinstance(got, torch.Tensor) and got.tolist() == behind
        assert not right, f"padded on the right, ids are {behind}: the padding goes in front of the text"
        check_tensor(got, ids, f"the ids of three texts, pad_id={pad_id}")
        guessed = (
            isinstance(kept, torch.Tensor) and not torch.equal(kept, keep) and torch.equal(kept != 0, ids != pad_id)
        )
        assert not guessed, (
            f"keep is ids != pad_id, but token {pad_id} is text here: only the lengths know what is real"
        )
        check_tensor(kept, keep, f"keep, of texts with 3, 5 and 1 tokens, pad_id={pad_id}")
    big = 2**40 + 1
    got, kept = _padded([torch.arange(12)[::3], torch.tensor([big, 2**24 + 1])], 4)
    check_tensor(got, torch.tensor([[0, 3, 6, 9], [4, 4, big, 2**24 + 1]]), "the ids of two texts, with large numbers")
    check_tensor(kept, _keep(4, 2), "keep, of texts with 4 and 2 tokens")
    for seqs in ([torch.tensor([5, 5]), torch.tensor([6, 5])], [torch.tensor([5])]):
        got, kept = _padded(seqs, 5)
        check_tensor(got, torch.stack(seqs), "texts of one length need no padding")
        check_tensor(kept, torch.ones_like(got, dtype=torch.bool), "where nothing is padded, keep is all True")


@pytest.mark.myth(
    says="position_ids is one arange for the whole batch.",
    today="A text padded on the left begins in a later column, and still at position 0: each row is counted by itself.",
)
def test_a_text_begins_at_position_zero_wherever_its_column_is():
    for lengths in [*_SHAPES, (300, 1)]:
        keep = _keep(*lengths)
        T = keep.shape[1]
        want = torch.tensor([[max(column - (T - length), 0) for column in range(T)] for length in lengths])
        got = _positions(keep)
        told = f"texts of {list(lengths)} tokens, padded on the left"
        if isinstance(got, torch.Tensor) and got.shape == keep.shape:
            seen, padded = got[keep], not keep.all()
            along = torch.arange(T).expand_as(keep)[keep]
            assert not (padded and torch.equal(seen, along)), f"{told}: positions are those of the columns, an arange"
            assert not torch.equal(seen, want[keep] + 1), f"{told}: the first real token is at 1, expected 0"
            lowest, highest = int(got.min()), int(got.max())
            assert lowest >= 0, f"{told}: padding is at {lowest}, and table[{lowest}] reads from the end of the table"
            assert highest < T, f"{told}: there is a position {highest}, and the last one is T - 1 = {T - 1}"
            got = got.masked_fill(~keep, 0)
        check_tensor(got, want, f"{told}: positions, those of padding set to 0")


def test_a_real_query_sees_the_real_keys_up_to_itself():
    for lengths in _SHAPES:
        keep = _keep(*lengths)
        B, T = keep.shape
        mask = _mask(keep)
        ones = torch.ones(T, T, dtype=torch.bool)
        told = f"texts of {list(lengths)} tokens, padded on the left"
        flipped = T > 1 and torch.equal((~mask)[0, 0, -1], keep[0])
        assert not flipped, f"{told}: the mask is turned round, True is where a query may look"
        for b in range(B):
            for i in range(T):
                if keep[b, i]:
                    want = [bool(keep[b, j]) and j <= i for j in range(T)]
                    row = mask[b, 0, i]
                    seen = row.nonzero().view(-1).tolist()
                    at = f"{told}: the query in column {i} of text {b} sees the columns {seen}"
                    assert not (row & ~keep[b]).any(), f"{at}, and there is padding among them"
                    assert not (row & ~ones.tril()[i]).any(), f"{at}, and some are later than itself"
                    assert row.tolist() == want, f"{at}, expected {torch.tensor(want).nonzero().view(-1).tolist()}"


def test_a_softmax_over_nothing_is_nan_and_spoils_every_gradient():
    for lengths in _SHAPES:
        keep = _keep(*lengths)
        mask = _mask(keep)
        told = f"texts of {list(lengths)} tokens, padded on the left"
        empty = (~mask.any(-1)).nonzero()
        assert not len(empty), (
            f"{told}: the query in column {empty[0, 2] if len(empty) else ''} may look at no key, and softmax over "
            "nothing is nan"
        )
        late = mask & ~torch.ones_like(mask).tril()
        at = late.nonzero()[0].tolist() if late.any() else [0] * 4
        assert not late.any(), f"{told}: the padded query in column {at[2]} sees column {at[3]}, later than itself"
    model = _Model(fused=False)
    keep = _keep(3, 5, 1)
    logits = model(torch.zeros(3, 5, dtype=torch.int64), torch.zeros(3, 5, dtype=torch.int64), _mask(keep))
    for (name, _), grad in zip(model.named_parameters(), _grads(model, logits[keep]), strict=True):
        assert grad.isfinite().all(), f"no padding enters the loss, and still the gradient of {name} is nan"


def _grads(model: _Model, logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
    c = torch.linspace(-1, 2, logits.numel(), dtype=torch.float64).view_as(logits)
    return torch.autograd.grad((logits * c).sum(), list(model.parameters()))


def test_padding_changes_neither_logits_nor_gradients():
    texts = _texts()
    for fused in (True, False):
        kind = "F.scaled_dot_product_attention" if fused else "a softmax written by hand"
        model = _Model(fused)
        want = torch.cat([model.alone(text) for text in texts])
        ids, keep = _padded(texts, 0)
        with explain(f"the model raised on your ids, positions and mask, with {kind}", _SIGNS):
            got = model(ids, _positions(keep), _mask(keep))[keep]
        check_tensor(got.detach(), want.detach(), f"the logits of the texts, with {kind}, as alone", atol=1e-9)
        pairs = zip(_grads(model, got), _grads(model, want), strict=True)
        for (name, _), (grad, true) in zip(model.named_parameters(), pairs, strict=True):
            check_tensor(grad, true, f"the gradient of {name}, with {kind}, as that of the texts alone", atol=1e-9)


def _cause(model: _Model, lengths: list[int]) -> str:
    """What the calls of the model show, where they are one for each new token, on the whole batch."""
    T = max(lengths)
    for step, (ids, places, mask) in enumerate(model.calls):
        if ids.shape != (len(lengths), T + step) or mask.dtype != torch.bool:
            break
        keep = _keep(*(length + step for length in lengths))
        at = f". In call {step} of the model, "
        seen = mask.expand(len(lengths), 1, T + step, T + step)[:, 0, -1]
        if not torch.equal(seen, keep):
            b = int((seen != keep).any(1).int().argmax())
            text = f"the last token of text {b} could look at the columns {seen[b].nonzero().view(-1).tolist()}"
            return f"{at}{text}, and real are {keep[b].nonzero().view(-1).tolist()}"
        if places.shape == keep.shape and places[:, -1].tolist() != [length + step - 1 for length in lengths]:
            return f"{at}the last tokens were at the positions {places[:, -1].tolist()}, of texts of {lengths} tokens"
    return ""


def test_each_text_of_a_batch_is_continued_as_if_it_were_alone():
    words = torch.arange(20).view(4, 5) * 7 % 11
    batches = [_texts(), *([words[i, :n] for i, n in enumerate(ns)] for ns in ([2, 2], [4], [1, 2, 3, 5]))]
    for fused in (True, False):
        model = _Model(fused)
        for seqs in batches:
            lengths = [len(seq) for seq in seqs]
            for n in (1, 6):
                want, right = [model.written(text, n) for text in seqs], []
                for pad_id in range(11):
                    got = _generated(model, seqs, n, pad_id).tolist()
                    b = next((i for i, row in enumerate(got) if row != want[i]), 0)
                    told = f"texts of {lengths} tokens, pad_id={pad_id}: {seqs[b].tolist()} was continued with {got[b]}"
                    only = f", and rightly with pad_id={right[0]}: they are tokens like any others" if right else ""
                    assert got == want, f"{told}, and alone with {want[b]}{_cause(model, lengths) or only}"
                    right.append(pad_id)


def test_writing_tokens_builds_no_graph():
    model, texts = _Model(), _texts()
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            _generated(model, texts, 2, 0)
            after = torch.is_grad_enabled()
        assert not model.graphs, f"{model.graphs} times the logits hung on a graph: it keeps all activations alive"
        assert after == enabled, f"torch.is_grad_enabled() was {enabled} before generate, and {after} after it"
    _generated(model, texts, 0, 0)
    _generated(model, texts[:1], 0, 0)
