"""Group sums: reference.

Hint: Start from zeros, n of them, and look for an operation that says what happens when an index comes twice: it adds.
Hint: `torch.bincount` has a `minlength`; `Tensor.index_add_` adds whole rows; the mean is a sum divided by counts.
Hint: zeros (n, D), then `index_add_` along dim 0 with g and x. Before you divide, let no count be less than one.

Why: `out[g] += x` is read, add, write: rows with the same index are added to the same old value, and one of the
results stays. `index_add_` adds each row in turn. A sum divided by a count that is at least 1 gives 0 for an empty
group; the count needs a dimension more, so that it divides rows. (On a GPU the order of such additions is not fixed:
the last bits may differ from run to run.)
"""

import torch

from dojo import Mistake


def counts(g: torch.Tensor, n: int) -> torch.Tensor:
    return torch.bincount(g, minlength=n)


def group_sum(x: torch.Tensor, g: torch.Tensor, n: int) -> torch.Tensor:
    return x.new_zeros(n, x.shape[1]).index_add_(0, g, x)


def group_mean(x: torch.Tensor, g: torch.Tensor, n: int) -> torch.Tensor:
    return group_sum(x, g, n) / counts(g, n).clamp(min=1)[:, None]


def _count_by_adding_one(g, n):
    out = torch.zeros(n, dtype=torch.int64)
    out[g] += 1
    return out


def _counts_of_a_sorted_list(g, n):
    g.copy_(g.sort().values)
    return torch.bincount(g, minlength=n)


def _sum_in_half_precision(x, g, n):
    return group_sum(x.half(), g, n).float()


def _sum_by_adding_to_an_index(x, g, n):
    out = torch.zeros(n, x.shape[1])
    out[g] += x
    return out


def _sum_by_scatter(x, g, n):
    return torch.zeros(n, x.shape[1]).scatter_(0, g[:, None].expand_as(x), x)


def _sum_of_one_column(x, g, n):
    return torch.zeros(n, x.shape[1]).scatter_add_(0, g[:, None], x)


def _sum_to_the_largest_index(x, g, n):
    return torch.zeros(int(g.max()) + 1, x.shape[1]).index_add_(0, g, x)


def _sum_of_groups_that_are_there(x, g, n):
    return torch.stack([x[g == k].sum(0) for k in g.unique()])


def _sum_from_any_memory(x, g, n):
    return torch.full((n, x.shape[1]), 1e-3).index_add_(0, g, x)


def _mean_with_the_initial_zero(x, g, n):
    return torch.zeros(n, x.shape[1]).scatter_reduce_(0, g[:, None].expand_as(x), x, "mean")


def _mean_of_slices(x, g, n):
    return torch.stack([x[g == k].mean(0) for k in range(n)])


def _mean_of_weighted_rows(x, g, n):
    x /= torch.bincount(g, minlength=n)[g][:, None]
    return group_sum(x, g, n)


def _sum_by_differences(x, g, n):
    ends = torch.bincount(g, minlength=n).cumsum(0)
    running = torch.cat([x.new_zeros(1, x.shape[1]), x[g.argsort(stable=True)].cumsum(0)])
    return running[ends].diff(dim=0, prepend=running[:1])


_kept: dict[tuple[int, int], torch.Tensor] = {}


def _sum_into_a_kept_tensor(x, g, n):
    return _kept.setdefault((n, x.shape[1]), torch.zeros(n, x.shape[1])).index_add_(0, g, x)


_COUNTS = "test_bincount_ends_at_the_largest_index"
_SUM = "test_only_an_add_adds_rows_with_the_same_index"
_EMPTY_SUM = "test_an_empty_group_has_a_sum_too"
_MEAN = "test_a_mean_counts_the_rows_and_nothing_else"
_EMPTY_MEAN = "test_the_mean_of_nothing_is_zero_by_zero"

MISTAKES = [
    Mistake("you end at the largest index in g", caught_by=_COUNTS, counts=lambda g, n: torch.bincount(g)),
    Mistake("0 stands once in g", caught_by=_COUNTS, counts=_count_by_adding_one),
    Mistake("counts are whole numbers", caught_by=_COUNTS, counts=lambda g, n: torch.bincount(g, minlength=n) / len(g)),
    Mistake("0 stands once in g", caught_by=_COUNTS, counts=lambda g, n: g.unique(return_counts=True)[1]),
    Mistake(
        "0 stands 300 times in g",
        caught_by=_COUNTS,
        counts=lambda g, n: (g[:, None] == torch.arange(n)).sum(0, dtype=torch.uint8),
    ),
    Mistake("counts must not change g", caught_by=_COUNTS, counts=_counts_of_a_sorted_list),
    Mistake(
        "each group holds the sum of its rows",
        caught_by=_SUM,
        group_sum=_sum_in_half_precision,
    ),
    Mistake("expected torch.float32", caught_by=_SUM, group_sum=lambda x, g, n: group_sum(x.double(), g, n)),
    Mistake("group_mean must not change x or g", caught_by=_MEAN, group_mean=_mean_of_weighted_rows),
    Mistake("of each group one row was kept", caught_by=_SUM, group_sum=_sum_by_adding_to_an_index),
    Mistake("of each group one row was kept", caught_by=_SUM, group_sum=_sum_by_scatter),
    Mistake("only column 0 is filled", caught_by=_SUM, group_sum=_sum_of_one_column),
    Mistake("each group holds the sum of its rows", caught_by=_SUM, group_sum=lambda x, g, n: x.index_add(0, g, x)[:n]),
    Mistake("takes no digit from another", caught_by=_SUM, group_sum=_sum_by_differences),
    Mistake(
        "takes no digit from another",
        caught_by=_MEAN,
        group_mean=lambda x, g, n: _sum_by_differences(x, g, n) / counts(g, n).clamp(min=1)[:, None],
    ),
    Mistake("does not begin where the first ended", caught_by=_SUM, group_sum=_sum_into_a_kept_tensor),
    Mistake("their sum is 0", caught_by=_EMPTY_SUM, group_sum=lambda x, g, n: x.new_zeros(n, 3).index_add_(0, g, x).T),
    Mistake("group_sum(x, g, 2) failed", caught_by=_SUM, group_sum=lambda x, g, n: torch.bincount(g, x, n)),
    Mistake("an empty group is missing", caught_by=_EMPTY_SUM, group_sum=_sum_to_the_largest_index),
    Mistake("an empty group is missing", caught_by=_EMPTY_SUM, group_sum=_sum_of_groups_that_are_there),
    Mistake("their sum is 0", caught_by=_EMPTY_SUM, group_sum=_sum_from_any_memory),
    Mistake("does the zero at the start count?", caught_by=_MEAN, group_mean=_mean_with_the_initial_zero),
    Mistake(
        "by the number of all rows",
        caught_by=_MEAN,
        group_mean=lambda x, g, n: group_sum(x, g, n) / len(x),
    ),
    Mistake(
        "group 0 has 1 row, group 1 has 4",
        caught_by=_MEAN,
        group_mean=lambda x, g, n: group_sum(x, g, n),
    ),
    Mistake(
        "group_mean(x, g, 2) failed",
        caught_by=_MEAN,
        group_mean=lambda x, g, n: group_sum(x, g, n) / counts(g, n).clamp(min=1),
    ),
    Mistake(
        "0/0 is NaN",
        caught_by=_EMPTY_MEAN,
        group_mean=lambda x, g, n: group_sum(x, g, n) / counts(g, n)[:, None],
    ),
    Mistake("0/0 is NaN", caught_by=_EMPTY_MEAN, group_mean=_mean_of_slices),
]
