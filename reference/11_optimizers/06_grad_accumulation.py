"""Small batches with the gradient of a large one: reference.

Hint: Everything can be counted before the first forward: samples, or real tokens, of all micro-batches together.
Hint: `model.zero_grad()` once, before the loop; `loss.backward()` in it; `loss.item()` for the report.
Hint: For tokens take the cross entropy with reduction="sum" and divide by the number of all real tokens.

Why: The gradient is linear, so the gradient of a weighted sum of losses is the weighted sum of gradients, which is what
`.grad` collects. Only the weights must make one mean out of the parts, for the report as well. Each backward frees what
its graph has kept; that is the memory saved. When several machines train together, the count has to be the count over
all of them, for the same reason.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from dojo import Mistake

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def accumulate(
    model: nn.Module, loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], micro_batches: Batches
) -> float:
    model.zero_grad()
    samples, total = sum(len(x) for x, _ in micro_batches), 0.0
    for x, y in micro_batches:
        loss = loss_fn(model(x), y) * (len(x) / samples)
        loss.backward()
        total += loss.item()
    return total


def accumulate_tokens(model: nn.Module, micro_batches: Batches) -> float:
    model.zero_grad()
    tokens, total = sum(int((y != -100).sum()) for _, y in micro_batches), 0.0
    for x, y in micro_batches:
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten(), ignore_index=-100, reduction="sum") / tokens
        loss.backward()
        total += loss.item()
    return total


def _weighing(weight, report=None, clear="before", prepare=lambda model: None):
    """accumulate with weight(batches, i), and with another weight in the report."""

    def wrong(model, loss_fn, micro_batches):
        if clear == "before":
            model.zero_grad()
        prepare(model)
        total = 0.0
        for i, (x, y) in enumerate(micro_batches):
            if clear == "in the loop":
                model.zero_grad()
            loss = loss_fn(model(x), y)
            (loss * weight(micro_batches, i)).backward()
            total += loss.item() * (report or weight)(micro_batches, i)
        return total

    return wrong


def _share(batches, i):
    return len(batches[i][0]) / sum(len(x) for x, _ in batches)


def _one(batches, i):
    return 1.0


def _even(batches, i):
    return 1 / len(batches)


def _of_the_first(batches, i):
    return len(batches[0][0]) / sum(len(x) for x, _ in batches)


def _last_only(batches, i):
    return float(i == len(batches) - 1)


def _all_graphs(model, loss_fn, micro_batches):
    model.zero_grad()
    loss = sum(loss_fn(model(x), y) * _share(micro_batches, i) for i, (x, y) in enumerate(micro_batches))
    loss.backward()
    return loss.item()


def _one_large_batch(model, loss_fn, micro_batches):
    model.zero_grad()
    xs, ys = zip(*micro_batches, strict=True)
    loss = loss_fn(model(torch.cat(xs)), torch.cat(ys))
    loss.backward()
    return loss.item()


def _retained(model, loss_fn, micro_batches):
    model.zero_grad()
    losses = []
    for i, (x, y) in enumerate(micro_batches):
        losses.append(loss_fn(model(x), y) * _share(micro_batches, i))
        losses[-1].backward(retain_graph=True)
    return sum(losses).item()


def _as_tensor(model, loss_fn, micro_batches):
    return torch.tensor(accumulate(model, loss_fn, micro_batches))


def _with_a_step(model, loss_fn, micro_batches):
    loss = accumulate(model, loss_fn, micro_batches)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    return loss


def _zeroed_at_the_end(model, loss_fn, micro_batches):
    total = _weighing(_share, clear="never")(model, loss_fn, micro_batches)
    model.zero_grad()
    return total


def _clears_what_it_uses(model, loss_fn, micro_batches):
    """.grad of what no loss reaches stays."""
    grads = {}
    total = 0.0
    for i, (x, y) in enumerate(micro_batches):
        loss = loss_fn(model(x), y) * _share(micro_batches, i)
        found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        for p, g in zip(model.parameters(), found, strict=True):
            if g is not None:
                grads[p] = grads.get(p, 0) + g
        total += loss.item()
    for p, g in grads.items():
        p.grad = g
    return total


def _without_a_graph(model, loss_fn, micro_batches):
    model.zero_grad()
    total = 0.0
    for i, (x, y) in enumerate(micro_batches):
        loss = torch.tensor(loss_fn(model(x), y).item() * _share(micro_batches, i))
        loss.backward()
        total += loss.item()
    return total


def _by(weight, reduction="mean", clear=True):
    """accumulate_tokens with weight(y, all y)."""

    def wrong(model, micro_batches):
        if clear:
            model.zero_grad()
        total, ys = 0.0, [y for _, y in micro_batches]
        for x, y in micro_batches:
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction=reduction) * weight(y, ys)
            loss.backward()
            total += loss.item()
        return total

    return wrong


def _real(y):
    return int((y != -100).sum())


def _token_share(y, ys):
    return _real(y) / sum(map(_real, ys))


def _transposed_by_view(model, micro_batches):
    model.zero_grad()
    total, tokens = 0.0, sum(_real(y) for _, y in micro_batches)
    for x, y in micro_batches:
        scores = model(x)
        loss = F.cross_entropy(scores.reshape(len(x), 4, -1), y, reduction="sum") / tokens
        loss.backward()
        total += loss.item()
    return total


def _classes_last(model, micro_batches):
    model.zero_grad()
    total, tokens = 0.0, sum(_real(y) for _, y in micro_batches)
    for x, y in micro_batches:
        loss = F.cross_entropy(model(x), y, reduction="sum") / tokens
        loss.backward()
        total += loss.item()
    return total


def _padding_as_class_zero(model, micro_batches):
    return accumulate_tokens(model, [(x, y.clamp(min=0)) for x, y in micro_batches])


def _padding_written_over(model, micro_batches):
    loss = accumulate_tokens(model, micro_batches)
    for _, y in micro_batches:
        y[y == -100] = 0
    return loss


def _frozen_afterwards(model, micro_batches):
    loss = accumulate_tokens(model, micro_batches)
    model.requires_grad_(False)
    return loss


def _all_token_graphs(model, micro_batches):
    model.zero_grad()
    tokens = sum(_real(y) for _, y in micro_batches)
    loss = sum(F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum") for x, y in micro_batches) / tokens
    loss.backward()
    return loss.item()


def _loss_of_means(model, micro_batches):
    accumulate_tokens(model, micro_batches)
    with torch.no_grad():
        losses = [F.cross_entropy(model(x).flatten(0, 1), y.flatten()) for x, y in micro_batches]
    return sum(x.item() for x in losses if x == x) / len(losses)


def _ends_at_padding(model, micro_batches):
    real = []
    for x, y in micro_batches:
        if not _real(y):
            break
        real.append((x, y))
    return accumulate_tokens(model, real) if real else 0.0


def _nan_to_zero_by_means(model, micro_batches):
    """Padding alone counts as a micro-batch with a loss of 0."""
    model.zero_grad()
    total = 0.0
    for x, y in micro_batches:
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten()).nan_to_num() / len(micro_batches)
        loss.backward()
        total += loss.item()
    return total


_EVEN = "test_backward_adds_up_sums_not_means"
_UNEVEN = "test_a_smaller_micro_batch_weighs_less"


def _padding_behind_only(model, micro_batches):
    """Cuts the places off that no row uses, from the left."""
    model.zero_grad()
    tokens, total = sum(map(_real, (y for _, y in micro_batches))), 0.0
    for x, y in micro_batches:
        width = int((y != -100).sum(1).max())
        if width:
            scores = model(x[:, :width]).flatten(0, 1)
            loss = F.cross_entropy(scores, y[:, :width].flatten(), reduction="sum") / tokens
            loss.backward()
            total += loss.item()
    return total


def _next_token(model, micro_batches):
    """Each place is asked for the token after it, as language models are trained where y is x."""
    model.zero_grad()
    tokens, total = sum(map(_real, (y[:, 1:] for _, y in micro_batches))), 0.0
    for x, y in micro_batches:
        loss = F.cross_entropy(model(x)[:, :-1].flatten(0, 1), y[:, 1:].flatten(), reduction="sum") / tokens
        loss.backward()
        total += loss.item()
    return total


def _gradients_off(model, loss_fn, micro_batches):
    loss = accumulate(model, loss_fn, micro_batches)
    torch.set_grad_enabled(False)
    return loss


_STALE = "test_gradients_from_before_count_for_nothing"
_GRAPH = "test_one_graph_is_gone_before_the_next_is_made"
_TOKENS = "test_a_token_of_padding_weighs_nothing"
_PADDING = "test_a_micro_batch_of_padding_alone_changes_nothing"

MISTAKES = [
    Mistake("the sum of the 2 gradients", caught_by=_EVEN, accumulate=_weighing(_one)),
    Mistake(
        "the gradient of the last micro-batch alone", caught_by=_EVEN, accumulate=_weighing(_one, clear="in the loop")
    ),
    Mistake("the sum of the 2 values of the loss", caught_by=_EVEN, accumulate=_weighing(_share, report=_one)),
    Mistake("the loss of the last micro-batch alone", caught_by=_EVEN, accumulate=_weighing(_share, report=_last_only)),
    Mistake("expected the loss as a float, got Tensor", caught_by=_EVEN, accumulate=_as_tensor),
    Mistake("the step is somebody else's", caught_by=_EVEN, accumulate=_with_a_step),
    Mistake("left in eval mode", caught_by=_EVEN, accumulate=_weighing(_share, prepare=lambda model: model.eval())),
    Mistake(".grad is the gradient of the mean", caught_by=_EVEN, accumulate=_zeroed_at_the_end),
    Mistake("the loss was cut from the model", caught_by=_EVEN, accumulate=_without_a_graph),
    Mistake("the mean of the 3 gradients", caught_by=_UNEVEN, accumulate=_weighing(_even)),
    Mistake(".grad is the gradient of the mean", caught_by=_UNEVEN, accumulate=_weighing(_of_the_first)),
    Mistake("the mean of the 3 values of the loss", caught_by=_UNEVEN, accumulate=_weighing(_share, report=_even)),
    Mistake("what was in .grad before it counts", caught_by=_STALE, accumulate=_weighing(_share, clear="never")),
    Mistake("what was in .grad before it counts", caught_by=_STALE, accumulate=_clears_what_it_uses),
    Mistake(
        "what was in .grad before it counts",
        caught_by=_STALE,
        accumulate_tokens=_by(lambda y, ys: 1 / sum(map(_real, ys)), "sum", clear=False),
    ),
    Mistake("call backward for each micro-batch", caught_by=_GRAPH, accumulate=_all_graphs),
    Mistake("call backward for each micro-batch", caught_by=_GRAPH, accumulate=_retained),
    Mistake("call backward for each micro-batch", caught_by=_GRAPH, accumulate_tokens=_all_token_graphs),
    Mistake("the model was given 10 rows at once", caught_by=_GRAPH, accumulate=_one_large_batch),
    Mistake("the sum of the 2 gradients", caught_by=_TOKENS, accumulate_tokens=_by(lambda y, ys: 1.0)),
    Mistake("the mean of the 2 gradients", caught_by=_TOKENS, accumulate_tokens=_by(lambda y, ys: 1 / len(ys))),
    Mistake(
        "weighed by its rows, or places",
        caught_by=_TOKENS,
        accumulate_tokens=_by(lambda y, ys: y.numel() / sum(z.numel() for z in ys)),
    ),
    Mistake(
        ".grad is the gradient of the mean over real tokens",
        caught_by=_TOKENS,
        accumulate_tokens=_by(lambda y, ys: 1 / sum(z.numel() for z in ys), "sum"),
    ),
    Mistake("classes in dim 1", caught_by=_TOKENS, accumulate_tokens=_classes_last),
    Mistake("17 and 3 real tokens", caught_by=_TOKENS, accumulate_tokens=_transposed_by_view),
    Mistake("17 and 3 real tokens", caught_by=_TOKENS, accumulate_tokens=_padding_as_class_zero),
    Mistake("padding in front of the tokens", caught_by=_TOKENS, accumulate_tokens=_padding_behind_only),
    Mistake("17 and 3 real tokens", caught_by=_TOKENS, accumulate_tokens=_next_token),
    Mistake("gradients were left switched off", caught_by=_EVEN, accumulate=_gradients_off),
    Mistake("the micro-batches are only to be read", caught_by=_TOKENS, accumulate_tokens=_padding_written_over),
    Mistake("a weight was frozen", caught_by=_TOKENS, accumulate_tokens=_frozen_afterwards),
    Mistake("the mean of the 2 values of the loss", caught_by=_TOKENS, accumulate_tokens=_loss_of_means),
    Mistake("nan * 0 is nan", caught_by=_PADDING, accumulate_tokens=_by(_token_share)),
    Mistake("a micro-batch of padding alone comes", caught_by=_PADDING, accumulate_tokens=_ends_at_padding),
    Mistake("a micro-batch of padding alone comes", caught_by=_PADDING, accumulate_tokens=_nan_to_zero_by_means),
]
KEEP = {_EVEN: "it is the plain case: whatever goes wrong with it goes wrong with uneven sizes, too"}
