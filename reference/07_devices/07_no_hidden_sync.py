"""No hidden sync: reference.

Hint: Nothing here needs a Python number: means, comparisons, counts and choices can all be tensors.
Hint: `torch.stack` and `Tensor.detach`; `torch.clamp` for "at most" and "at least"; `==` gives a tensor that can be
summed.
Hint: The factor for clipping is the maximum over the norm, but never above 1: let the tensor be limited, not `if`.

Why: A sync is not slow by itself, it is slow because the queue runs dry: Python cannot enqueue the next step while it
waits. So collect tensors, and read them once per hundred steps. A result whose shape depends on values (`x[mask]`) is
a sync too, because Python must know the shape. `clamp(max / norm, max=1)` is also right for a norm of 0: the quotient
is inf, and inf is above 1.
"""

import torch

from dojo import Mistake


def mean_loss(losses: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([loss.detach() for loss in losses]).mean()


def clip_norm(g: torch.Tensor, max: float) -> torch.Tensor:
    return g * torch.clamp(max / g.norm(), max=1.0)


def n_correct(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (logits.argmax(dim=1) == y).sum()


def zero_negative(x: torch.Tensor) -> torch.Tensor:
    return x.clamp(min=0)


def _detach_in_place(losses):
    for loss in losses:
        loss.detach_()
    return torch.stack(losses).mean()


def _add_into_the_first(losses):
    total = losses[0].detach()
    for loss in losses[1:]:
        total += loss.detach()
    return total / len(losses)


def _use_up_the_list(losses):
    n = len(losses)
    return sum(losses.pop().detach() for _ in range(n)) / n


def _branch(g, max):
    norm = g.norm()
    return g * (max / norm) if norm > max else g.clone()


def _python_min(g, max):
    return g * min(1.0, max / (g.norm() + 1e-6))


def _in_place(g, max):
    return g.mul_(torch.clamp(max / (g.norm() + 1e-6), max=1.0))


def _count_row_by_row(logits, y):
    count = 0
    for i in range(len(y)):
        if logits[i].argmax() == y[i]:
            count += 1
    return torch.tensor(count)


def _zero_in_place(x):
    x[x < 0] = 0
    return x


def _rows(x):
    return torch.stack([torch.stack([v if v > 0 else v * 0 for v in row]) for row in x])


def _scatter_zeros(x):
    out = x.clone()
    out[torch.where(x < 0)] = 0
    return out


_VALUE = "your code asks for a value here"
_t1 = "test_a_mean_of_losses_is_a_tensor"
_t2 = "test_a_loss_for_the_log_keeps_no_graph"
_t3 = "test_a_mean_needs_no_value_in_python"
_t4 = "test_a_norm_is_clipped_by_a_factor_not_by_a_branch"
_t5 = "test_a_comparison_stays_on_the_device_until_if_asks_for_it"
_t6 = "test_a_count_needs_no_selection"
_t7 = "test_a_mask_needs_no_indexing"

MISTAKES = [
    Mistake("1e-20 is above 0", caught_by=_t6, n_correct=lambda logits, y: n_correct(logits.softmax(1), y)),
    Mistake(
        "uint8 and float16 do not hold",
        caught_by=_t6,
        n_correct=lambda logits, y: (logits.argmax(1) == y).sum(dtype=torch.uint8),
    ),
    Mistake(
        "2**53 + 1 is not rounded",
        caught_by=_t7,
        zero_negative=lambda x: x.clamp(min=0) if x.is_floating_point() else x.double().clamp(min=0).to(x.dtype),
    ),
    Mistake("-inf becomes 0", caught_by=_t7, zero_negative=lambda x: x * (x > 0)),
    Mistake("-inf becomes 0", caught_by=_t7, zero_negative=lambda x: (x + x.abs()) / 2),
    Mistake("NaN is not negative", caught_by=_t7, zero_negative=lambda x: torch.where(x > 0, x, 0)),
    Mistake("an int64 tensor stays one", caught_by=_t7, zero_negative=lambda x: torch.where(x < 0, 0.0, x)),
    Mistake("float64: -1 + 1e-12", caught_by=_t6, n_correct=lambda logits, y: (logits.float().argmax(1) == y).sum()),
    Mistake("n_correct changed what", caught_by=_t6, n_correct=lambda logits, y: (y.eq_(logits.argmax(1))).sum()),
    Mistake(
        "a float64 gradient stays one",
        caught_by=_t4,
        clip_norm=lambda g, max: clip_norm(g.float(), max),
    ),
    Mistake(
        "the mean of float64 losses",
        caught_by=_t1,
        mean_loss=lambda losses: mean_loss([x.float() for x in losses]),
    ),
    Mistake("you return a float", caught_by=_t1, mean_loss=lambda losses: sum(x.item() for x in losses) / len(losses)),
    Mistake("the mean of 1, 2.5", caught_by=_t1, mean_loss=lambda losses: sum(x.detach() for x in losses)),
    Mistake("the mean of 1, 2.5", caught_by=_t1, mean_loss=lambda losses: losses[-1].detach()),
    Mistake("the mean still has a graph", caught_by=_t2, mean_loss=lambda losses: torch.stack(losses).mean()),
    Mistake("you cut the losses themselves", caught_by=_t2, mean_loss=_detach_in_place),
    Mistake("mean_loss changed a loss itself", caught_by=_t2, mean_loss=_add_into_the_first),
    Mistake("mean_loss changed the list", caught_by=_t2, mean_loss=_use_up_the_list),
    Mistake(
        "mean_loss failed on a list of losses",
        caught_by=_t1,
        mean_loss=lambda losses: torch.stack(losses).mean().requires_grad_(False),
    ),
    Mistake(_VALUE, caught_by=_t3, mean_loss=lambda losses: torch.tensor([x.item() for x in losses]).mean()),
    Mistake(_VALUE, caught_by=_t3, mean_loss=lambda losses: torch.tensor([float(x.detach()) for x in losses]).mean()),
    Mistake(_VALUE, caught_by=_t3, mean_loss=lambda losses: torch.tensor([x.detach() for x in losses]).mean()),
    Mistake(
        "reads every tensor in its list",
        caught_by=_t3,
        mean_loss=lambda losses: torch.tensor([x.detach() for x in losses], device=losses[0].device).mean(),
    ),
    Mistake(_VALUE, caught_by=_t3, mean_loss=lambda losses: torch.stack([x.detach().cpu() for x in losses]).mean()),
    Mistake(
        "a tensor on the device of the losses",
        caught_by=_t3,
        mean_loss=lambda losses: (
            sum((x.detach() for x in losses), start=torch.zeros(())).div_(len(losses)) * 1
            if losses[0].device.type == "cpu"
            else torch.zeros(())
        ),
    ),
    Mistake(
        "over all values, is scaled down",
        caught_by=_t4,
        clip_norm=lambda g, max: g * torch.clamp(max / torch.linalg.norm(g, 2), max=1.0),
    ),
    Mistake(
        "over all values, is scaled down",
        caught_by=_t4,
        clip_norm=lambda g, max: g * torch.clamp(max / g.norm(dim=-1, keepdim=True), max=1.0),
    ),
    Mistake("over all values, is scaled down", caught_by=_t4, clip_norm=lambda g, max: g.clamp(-max, max)),
    Mistake("below the maximum of 10", caught_by=_t4, clip_norm=lambda g, max: g * max / g.norm()),
    Mistake(
        "a gradient of zeros stays zero",
        caught_by=_t4,
        clip_norm=lambda g, max: g / g.norm() * g.norm().clamp(max=max),
    ),
    Mistake(
        "a maximum below 1 is one too",
        caught_by=_t4,
        clip_norm=lambda g, max: g * torch.clamp(max / g.norm().clamp(min=1.0), max=1.0),
    ),
    Mistake("clip_norm changed its argument", caught_by=_t4, clip_norm=_in_place),
    Mistake(_VALUE, caught_by=_t5, clip_norm=_branch),
    Mistake(_VALUE, caught_by=_t5, clip_norm=_python_min),
    Mistake(
        "you return a number: to get it",
        caught_by=_t6,
        n_correct=lambda logits, y: (logits.argmax(1) == y).sum().item(),
    ),
    Mistake(
        _VALUE,
        caught_by=_t6,
        n_correct=lambda logits, y: torch.tensor(len(y[logits.argmax(1) == y])),
    ),
    Mistake(_VALUE, caught_by=_t6, n_correct=_count_row_by_row),
    Mistake(
        "along the classes",
        caught_by=_t6,
        n_correct=lambda logits, y: (logits.argmax(0) == y).sum(),
    ),
    Mistake("4 of the 5 rows", caught_by=_t6, n_correct=lambda logits, y: (logits.argmax() == y).sum()),
    Mistake("4 of the 5 rows", caught_by=_t6, n_correct=lambda logits, y: (logits.argmax(1) == y).float().mean()),
    Mistake("4 of the 5 rows", caught_by=_t6, n_correct=lambda logits, y: (logits.gather(1, y[:, None]) > 0.5).sum()),
    Mistake("one count for the batch", caught_by=_t6, n_correct=lambda logits, y: logits.argmax(1) == y),
    Mistake("zero_negative changed its argument", caught_by=_t7, zero_negative=_zero_in_place),
    Mistake(_VALUE, caught_by=_t7, zero_negative=_rows),
    Mistake(_VALUE, caught_by=_t7, zero_negative=_scatter_zeros),
    Mistake("the others stay", caught_by=_t7, zero_negative=lambda x: x.abs()),
    Mistake("the others stay", caught_by=_t7, zero_negative=lambda x: x[x >= 0]),
]
