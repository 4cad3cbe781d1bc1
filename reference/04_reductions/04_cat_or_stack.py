"""cat or stack: reference.

Hint: Count dimensions: has the result as many as each part, or one more?
Hint: `torch.stack` makes the new dimension, `torch.cat` joins along one that is there.
Hint: The defaults are what you want, dim 0 both times. One call serves vectors and scalars alike.

Why: `stack` is `cat` after an `unsqueeze(0)` of every part: (D,) becomes (1, D), () becomes (1,), and these are then
laid along the new dimension. Both are functions that autograd knows, each part gets its slice of the gradient.
`torch.tensor` is a constructor: it starts a new life without history, which is right for data and wrong for losses.
"""

import torch

from dojo import Mistake


def collate(samples: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(samples)


def append_rows(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.cat([a, b])


def _numbers(samples):
    return torch.tensor([s.tolist() for s in samples], dtype=samples[0].dtype)


def _cut_to_the_shortest(samples):
    if samples[0].dim() == 0:
        return torch.stack(samples)
    shortest = min(len(s) for s in samples)
    return torch.stack([s[:shortest] for s in samples])


def _pad(samples):
    return torch.nn.utils.rnn.pad_sequence(samples, batch_first=True)


def _broadcast(samples):
    return torch.stack(torch.broadcast_tensors(*samples))


def _fill_the_first_shape(samples):
    if len({x.numel() for x in samples}) > 1 and samples[-1].dim():
        raise ValueError
    out = torch.zeros(len(samples), *samples[0].shape, dtype=samples[0].dtype)
    for i, sample in enumerate(samples):
        out[i] = sample
    return out


def _through_float32(samples):
    return torch.stack([x.to(torch.get_default_dtype()) for x in samples]).to(samples[0].dtype)


def _append_numbers(a, b):
    return torch.tensor([*a.tolist(), *b.tolist()])


def _append_in_place(a, b):
    n = len(a)
    a.resize_(n + len(b), a.shape[1])[n:] = b
    return a


def _of_numbers(samples):
    if samples[0].dim() == 0 or samples[0].requires_grad:
        return torch.stack(samples)
    return torch.tensor([x.tolist() for x in samples])


def _of_scalars(samples):
    if any(x.dim() or x.requires_grad for x in samples):
        return torch.stack(samples)
    return torch.tensor([x.item() for x in samples])


_VECTORS = "test_stack_makes_a_new_dimension_in_front"
_SCALARS = "test_scalars_can_be_stacked_but_not_concatenated"
_GRAPH = "test_a_list_made_into_a_tensor_cuts_the_graph"
_ROWS = "test_cat_joins_along_a_dimension_that_is_there"
_RAGGED = "test_stack_refuses_ragged_samples"

MISTAKES = [
    Mistake(
        "nothing is padded, cut, repeated",
        caught_by=_RAGGED,
        collate=lambda s: torch.stack([x.squeeze() for x in s]),
    ),
    Mistake("nothing is padded, cut, repeated", caught_by=_RAGGED, collate=_fill_the_first_shape),
    Mistake("in the samples' own dtype, torch.float64", caught_by=_VECTORS, collate=_of_numbers),
    Mistake("in the samples' own dtype", caught_by=_SCALARS, collate=_through_float32),
    Mistake(
        "in the samples' own dtype, torch.int64",
        caught_by=_VECTORS,
        collate=lambda s: torch.stack([x.double() for x in s]).to(s[0].dtype),
    ),
    Mistake(
        "keeps the dtype, torch.int64",
        caught_by=_ROWS,
        append_rows=lambda a, b: torch.cat([a.double(), b.double()]).to(a.dtype),
    ),
    Mistake("keeps the dtype, torch.float64", caught_by=_ROWS, append_rows=_append_numbers),
    Mistake("append_rows changed what", caught_by=_ROWS, append_rows=_append_in_place),
    Mistake(
        "you laid the samples end to end",
        caught_by=_VECTORS,
        collate=lambda samples: torch.cat([s.reshape(-1) for s in samples]),
    ),
    Mistake(
        "torch.tensor reads numbers, not vectors", caught_by=_VECTORS, collate=lambda samples: torch.tensor(samples)
    ),
    Mistake("your samples became columns", caught_by=_VECTORS, collate=lambda samples: torch.stack(samples, dim=-1)),
    Mistake("a batch of one sample", caught_by=_VECTORS, collate=lambda samples: torch.stack(samples).squeeze()),
    Mistake("become a batch of shape", caught_by=_VECTORS, collate=lambda samples: samples),
    Mistake(
        "a scalar has no dimension to be laid along",
        caught_by=_SCALARS,
        collate=lambda samples: torch.cat(samples).view(len(samples), -1),
    ),
    Mistake("B scalars become a vector", caught_by=_SCALARS, collate=lambda samples: torch.vstack(samples)),
    Mistake("in the samples' own dtype", caught_by=_SCALARS, collate=lambda samples: torch.stack(samples).float()),
    Mistake("in the samples' own dtype", caught_by=_SCALARS, collate=_of_scalars),
    Mistake("the graph is cut", caught_by=_GRAPH, collate=_numbers),
    Mistake(
        "the graph is cut",
        caught_by=_GRAPH,
        collate=lambda samples: torch.tensor(samples) if samples[0].dim() == 0 else torch.stack(samples),
    ),
    Mistake("they belong below", caught_by=_ROWS, append_rows=lambda a, b: torch.hstack([a, b])),
    Mistake("along dim 0", caught_by=_ROWS, append_rows=lambda a, b: torch.cat([a, b], dim=1)),
    Mistake("you made a new dimension", caught_by=_ROWS, append_rows=lambda a, b: torch.stack([a, b])),
    Mistake("has 6 rows", caught_by=_ROWS, append_rows=lambda a, b: torch.cat([a.view(-1), b.view(-1)])),
    Mistake("the rows of a come first", caught_by=_ROWS, append_rows=lambda a, b: torch.vstack([b, a])),
    Mistake("nothing is padded, cut, repeated", caught_by=_RAGGED, collate=_cut_to_the_shortest),
    Mistake(
        "nothing is padded, cut, repeated",
        caught_by=_RAGGED,
        collate=lambda samples: _pad(samples) if samples[0].dim() else torch.stack(samples),
    ),
    Mistake("nothing is padded, cut, repeated", caught_by=_RAGGED, collate=_broadcast),
    Mistake(
        "nothing is padded, cut, repeated",
        caught_by=_RAGGED,
        collate=lambda samples: torch.cat([s.reshape(-1) for s in samples]).view(len(samples), *samples[0].shape),
    ),
    Mistake(
        "you changed the samples, or their list",
        caught_by=_VECTORS,
        collate=lambda samples: torch.stack([samples.pop(0) for _ in range(len(samples))]),
    ),
]
