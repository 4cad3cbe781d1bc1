"""A table of confusions, and the scores in it: reference.

Hint: Everything but the table itself is arithmetic on three vectors: the diagonal, the sums of rows, those of columns.
Hint: `argmax(1)`, `.cpu()`, `index_put_` with `accumulate=True`; `matrix.diagonal()`, `matrix.sum(0)`, `matrix.sum(1)`.
Hint: The diagonal as float64, over sums that are raised to 1 at least: where the sum is 0, so is the count above it.
    2 TP + FP + FN is the sum of the row plus the sum of the column.

Why: the table is small and keeps all that the scores need, so one can add up tables of batches, of ranks, of nights,
and divide at the very end. A mean of batch scores weighs a batch of one row as one of a thousand. Only predictions,
whole numbers, travel from the GPU to the CPU, not the scores. torchmetrics and scikit-learn give different macro means
for a class without labels unless told otherwise; a number without its rule cannot be compared with another.
"""

from collections.abc import Iterable

import torch

from dojo import Mistake


def confusion_matrix(batches: Iterable[tuple[torch.Tensor, torch.Tensor]], n_classes: int) -> torch.Tensor:
    matrix = torch.zeros(n_classes, n_classes, dtype=torch.int64)
    for scores, labels in batches:
        pairs = labels.cpu(), scores.argmax(1).cpu()
        matrix.index_put_(pairs, torch.ones(len(labels), dtype=torch.int64), accumulate=True)
    return matrix


def per_class(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    right, labels, predicted = matrix.diagonal().double(), matrix.sum(1), matrix.sum(0)
    precision = right / predicted.clamp(min=1)
    recall = right / labels.clamp(min=1)
    f1 = 2 * right / (labels + predicted).clamp(min=1)
    return precision, recall, f1


def macro_f1(matrix: torch.Tensor) -> float:
    f1 = per_class(matrix)[2]
    return f1[matrix.sum(1) > 0].mean().item()


def micro_f1(matrix: torch.Tensor) -> float:
    return matrix.trace().item() / matrix.sum().item()


# ── known mistakes ──


def _table(
    predict=lambda scores: scores.argmax(1),
    labels_of=lambda labels: labels.cpu(),
    add=lambda m, i, j: m.index_put_((i, j), torch.ones_like(i), accumulate=True),
    dtype=torch.int64,
    keep=True,
):
    """Right, unless an argument says otherwise."""

    def confusion_matrix(batches, n_classes):
        matrix = torch.zeros(n_classes, n_classes, dtype=dtype)
        for scores, labels in batches:
            if not keep:
                matrix.zero_()
            add(matrix, labels_of(labels), predict(scores).cpu())
        return matrix

    return confusion_matrix


def _plus_equals(m, i, j):
    m[i, j] += 1


def _without_accumulate(m, i, j):
    m.index_put_((i, j), m[i, j] + 1)


def _bytes(m, i, j):
    counts = torch.zeros(len(m) ** 2, dtype=torch.uint8)
    counts.index_add_(0, i * len(m) + j, torch.ones(len(i), dtype=torch.uint8))
    m += counts.view_as(m)


def _no_minlength(batches, n_classes):
    total = 0
    for scores, labels in batches:
        total = total + torch.bincount(labels.cpu() * n_classes + scores.argmax(1).cpu())
    return total.reshape(n_classes, n_classes)


def _short_bincount(batches, n_classes):
    numbers = torch.cat([labels.cpu() * n_classes + scores.argmax(1).cpu() for scores, labels in batches])
    return torch.bincount(numbers).reshape(n_classes, n_classes)


def _sklearn(batches, n_classes):
    from sklearn.metrics import confusion_matrix

    pairs = [(labels.cpu(), scores.argmax(1).cpu()) for scores, labels in batches]
    labels, predicted = (torch.cat(part) for part in zip(*pairs, strict=True))
    return torch.from_numpy(confusion_matrix(labels.numpy(), predicted.numpy()))


def _two_walks(batches, n_classes):
    predicted = torch.cat([scores.argmax(1).cpu() for scores, _ in batches])
    labels = torch.cat([labels.cpu() for _, labels in batches])
    return torch.bincount(labels * n_classes + predicted, minlength=n_classes**2).view(n_classes, n_classes)


def _mean_of_tables(batches, n_classes):
    tables = [confusion_matrix([batch], n_classes).double() for batch in batches]
    return torch.stack(tables).mean(0)


def _not_moved(batches, n_classes):
    total = torch.zeros(n_classes**2, dtype=torch.int64)
    for scores, labels in batches:
        total += torch.bincount(labels * n_classes + scores.argmax(1), minlength=n_classes**2).cpu()
    return total.view(n_classes, n_classes)


def _stays_there(batches, n_classes):
    total = 0
    for scores, labels in batches:
        numbers = labels.to(scores.device) * n_classes + scores.argmax(1)
        total = total + torch.bincount(numbers, minlength=n_classes**2)
    return total.view(n_classes, n_classes)


def _scores_moved_only(batches, n_classes):
    total = torch.zeros(n_classes**2, dtype=torch.int64)
    for scores, labels in batches:
        total += torch.bincount(labels * n_classes + scores.cpu().argmax(1), minlength=n_classes**2)
    return total.view(n_classes, n_classes)


def _in_place(batches, n_classes):
    total = torch.zeros(n_classes**2, dtype=torch.int64)
    for scores, labels in batches:
        numbers = labels.mul_(n_classes).cpu() + scores.argmax(1).cpu()
        total += torch.bincount(numbers, minlength=n_classes**2)
    return total.view(n_classes, n_classes)


def _per_class(
    over_precision=lambda m: m.sum(0),
    over_recall=lambda m: m.sum(1),
    dtype=torch.float64,
    divide=lambda a, b: a / b.clamp(min=1),
    harmonic=False,
):
    """Right, unless an argument says otherwise."""

    def per_class(matrix):
        right = matrix.diagonal().to(dtype)
        precision, recall = divide(right, over_precision(matrix)), divide(right, over_recall(matrix))
        if harmonic:
            return precision, recall, 2 * precision * recall / (precision + recall)
        return precision, recall, divide(2 * right, matrix.sum(0) + matrix.sum(1))

    return per_class


def _zeroes_the_diagonal(matrix):
    right = matrix.diagonal().double().clone()
    wrong = matrix.fill_diagonal_(0)
    parts = wrong.sum(0) + right, wrong.sum(1) + right, wrong.sum(0) + wrong.sum(1) + 2 * right
    return right / parts[0].clamp(min=1), right / parts[1].clamp(min=1), 2 * right / parts[2].clamp(min=1)


def _rates(matrix):
    """The accuracy of each class against all others, as recall."""
    precision, _, f1 = per_class(matrix)
    total, right = matrix.sum(), matrix.diagonal()
    return precision, (total - matrix.sum(0) - matrix.sum(1) + 2 * right).double() / total, f1


def _half_f1(matrix):
    precision, recall, f1 = per_class(matrix)
    return precision, recall, (precision + recall) / 2


def _macro(over):
    return lambda matrix: per_class(matrix)[2][over(matrix)].mean().item()


def _f1_of_means(matrix):
    precision, recall, _ = per_class(matrix)
    there = matrix.sum(1) > 0
    p, r = precision[there].mean(), recall[there].mean()
    return (2 * p * r / (p + r)).nan_to_num().item()


def _macro_32(matrix):
    return per_class(matrix)[2].float()[matrix.sum(1) > 0].mean().item()


def _by_support(matrix):
    labels = matrix.sum(1)
    return ((per_class(matrix)[2] * labels).sum() / labels.sum()).item()


def _in_place_macro(matrix):
    result = macro_f1(matrix)
    matrix.fill_diagonal_(0)
    return result


def _harmonic_micro(matrix):
    p = r = matrix.trace().item() / matrix.sum().item()
    return 2 * p * r / (p + r)


def _of_labelled(matrix):
    there = matrix.sum(1) > 0
    right = matrix.trace().item()
    return 2 * right / (matrix.sum(0)[there].sum() + matrix.sum(1)[there].sum()).item()


def _forgets_a_two(matrix):
    right = matrix.trace().item()
    return 2 * right / (right + 2 * (matrix.sum().item() - right))


def _in_place_micro(matrix):
    right = matrix.trace().item()
    wrong = matrix.fill_diagonal_(0).sum().item()
    return right / (right + wrong)


_NUMBER = "returns a Python float"
_EXPECTED = "counts of all batches, as whole numbers"
_ONCE = "each pair was counted once"
_MINLENGTH = "bincount ends at the largest value that it has seen"
_SIZES = "sizes do not fit: argmax(1) gives a prediction for each row"
_TWO = "scores and labels were on two devices"
_TABLE = "test_a_row_is_a_label_and_a_column_is_a_prediction"
_OFTEN = "test_a_pair_that_occurs_often_counts_each_time"
_DEVICES = "test_scores_and_labels_meet_on_one_device"
_SCORES = "test_precision_is_a_matter_of_columns_and_recall_of_rows"
_MACRO = "test_a_macro_mean_is_over_the_classes_that_have_a_label"
_MICRO = "test_micro_f1_of_one_label_for_each_row_is_the_accuracy"


def _counts_the_batches_first(batches, n_classes):
    rows = sum(len(labels) for _, labels in batches)
    matrix = confusion_matrix(batches, n_classes)
    return matrix if rows else matrix * 0


def _takes_the_first_off(batches, n_classes):
    """As if batches were an iterator."""
    matrix = confusion_matrix([next(batches)], n_classes)
    return matrix + confusion_matrix(batches, n_classes)


def _in_float32(batches, n_classes):
    return confusion_matrix(((scores.float(), labels) for scores, labels in batches), n_classes)


MISTAKES = [
    Mistake(
        "float64 scores that only float64 tells apart",
        caught_by="test_a_row_is_a_label_and_a_column_is_a_prediction",
        confusion_matrix=_in_float32,
    ),
    Mistake(
        "nothing was counted",
        caught_by="test_a_row_is_a_label_and_a_column_is_a_prediction",
        confusion_matrix=_counts_the_batches_first,
    ),
    Mistake(
        "the highest of a row decides",
        caught_by="test_a_row_is_a_label_and_a_column_is_a_prediction",
        confusion_matrix=lambda batches, n: confusion_matrix(((s.sigmoid(), y) for s, y in batches), n),
    ),
    Mistake("rows and columns are exchanged", caught_by=_TABLE, confusion_matrix=lambda b, n: confusion_matrix(b, n).T),
    Mistake("only the last batch is in the table", caught_by=_TABLE, confusion_matrix=_table(keep=False)),
    Mistake(_EXPECTED, caught_by=_TABLE, confusion_matrix=_mean_of_tables),
    Mistake(_EXPECTED, caught_by=_TABLE, confusion_matrix=lambda b, n: confusion_matrix(b, n).double()),
    Mistake(_EXPECTED, caught_by=_TABLE, confusion_matrix=lambda b, n: confusion_matrix(b, n).int()),
    Mistake(_EXPECTED, caught_by=_TABLE, confusion_matrix=_table(predict=lambda s: s.argmin(1))),
    Mistake(_EXPECTED, caught_by=_TABLE, confusion_matrix=_table(predict=lambda s: (s[:, 1] > 0.5).long())),
    Mistake(_EXPECTED, caught_by=_TABLE, confusion_matrix=_table(predict=lambda s: s.abs().argmax(1))),
    Mistake(_EXPECTED, caught_by=_TABLE, confusion_matrix=_table(predict=lambda s: (s > 0.5).long().argmax(1))),
    Mistake(
        "the highest of a row decides, above 0.5 or not",
        caught_by=_TABLE,
        confusion_matrix=lambda b, n: _table(predict=lambda s: s.argmax(1) if n > 2 else (s[:, 1] > 0.5).long())(b, n),
    ),
    Mistake(_SIZES, caught_by=_TABLE, confusion_matrix=_no_minlength),
    Mistake(_SIZES, caught_by=_TABLE, confusion_matrix=_table(predict=lambda s: s.argmax(0))),
    Mistake(_SIZES, caught_by=_TABLE, confusion_matrix=_table(predict=lambda s: s.argmax())),
    Mistake(_EXPECTED, caught_by=_TABLE, confusion_matrix=_table(predict=lambda s: s.relu().argmax(1))),
    Mistake(
        "the highest of a row decides, above 0.5 or not",
        caught_by=_TABLE,
        confusion_matrix=_table(predict=lambda s: s.int().argmax(1)),
    ),
    Mistake(_MINLENGTH, caught_by=_TABLE, confusion_matrix=_short_bincount),
    Mistake("expected a table of shape (4, 4), all classes", caught_by=_TABLE, confusion_matrix=_sklearn),
    Mistake("a second walk over it sees nothing", caught_by=_TABLE, confusion_matrix=_two_walks),
    Mistake(
        "a second walk over it sees nothing",
        caught_by=_TABLE,
        confusion_matrix=lambda b, n: sum(confusion_matrix([b[i]], n) for i in range(len(b))),
    ),
    Mistake("confusion_matrix changed a batch", caught_by=_TABLE, confusion_matrix=_in_place),
    Mistake(
        "confusion_matrix returns a tensor",
        caught_by=_TABLE,
        confusion_matrix=lambda b, n: confusion_matrix(b, n).tolist(),
    ),
    Mistake("next() is for a generator", caught_by=_OFTEN, confusion_matrix=_takes_the_first_off),
    Mistake(_ONCE, caught_by=_OFTEN, confusion_matrix=_table(add=_plus_equals)),
    Mistake(_ONCE, caught_by=_OFTEN, confusion_matrix=_table(add=_without_accumulate)),
    Mistake("in 300 rows of one batch", caught_by=_OFTEN, confusion_matrix=_table(add=_bytes)),
    Mistake(_TWO, caught_by=_DEVICES, confusion_matrix=_not_moved),
    Mistake(_TWO, caught_by=_DEVICES, confusion_matrix=_scores_moved_only),
    Mistake("the table belongs on the cpu", caught_by=_DEVICES, confusion_matrix=_stays_there),
    Mistake("is NaN for the classes", caught_by=_SCORES, per_class=_per_class(divide=lambda a, b: a / b)),
    Mistake("is NaN for the classes", caught_by=_SCORES, per_class=_per_class(harmonic=True)),
    Mistake(
        "precision and recall",
        caught_by=_SCORES,
        per_class=_per_class(lambda m: m.sum(1), lambda m: m.sum(0)),
    ),
    Mistake("dtype: expected torch.float64", caught_by=_SCORES, per_class=_per_class(dtype=torch.float32)),
    Mistake("dtype: expected torch.float64", caught_by=_SCORES, per_class=_per_class(dtype=torch.int64)),
    Mistake(
        "values differ, worst at",
        caught_by=_SCORES,
        per_class=lambda m: tuple(x.double() for x in _per_class(dtype=torch.float32)(m)),
    ),
    Mistake("values differ, worst at", caught_by=_SCORES, per_class=_per_class(divide=lambda a, b: a / (b + 1e-8))),
    Mistake("values differ, worst at", caught_by=_SCORES, per_class=_per_class(divide=lambda a, b: a / (b + 1))),
    Mistake("values differ, worst at", caught_by=_SCORES, per_class=_per_class(over_precision=lambda m: m.sum())),
    Mistake("recall of", caught_by=_SCORES, per_class=_rates),
    Mistake("F1 of", caught_by=_SCORES, per_class=_half_f1),
    Mistake("per_class changed the matrix", caught_by=_SCORES, per_class=_zeroes_the_diagonal),
    Mistake("three tensors: precision, recall, F1", caught_by=_SCORES, per_class=lambda m: per_class(m)[:2]),
    Mistake("over all seven classes", caught_by=_MACRO, macro_f1=_macro(lambda m: slice(None))),
    Mistake(
        "that have a label or were predicted", caught_by=_MACRO, macro_f1=_macro(lambda m: m.sum(0) + m.sum(1) > 0)
    ),
    Mistake("over the classes that were predicted", caught_by=_MACRO, macro_f1=_macro(lambda m: m.sum(0) > 0)),
    Mistake("whose F1 is above 0", caught_by=_MACRO, macro_f1=_macro(lambda m: m.diagonal() > 0)),
    Mistake("weighted by the number of labels", caught_by=_MACRO, macro_f1=_by_support),
    Mistake("the share of rows that are right", caught_by=_MACRO, macro_f1=micro_f1),
    Mistake("the mean over classes 0, 1, 2, 5, 6", caught_by=_MACRO, macro_f1=_f1_of_means),
    Mistake("near, but not as exact as float64", caught_by=_MACRO, macro_f1=_macro_32),
    Mistake(_NUMBER, caught_by=_MACRO, macro_f1=lambda m: per_class(m)[2][m.sum(1) > 0].mean()),
    Mistake("macro_f1 changed the matrix", caught_by=_MACRO, macro_f1=_in_place_macro),
    Mistake("a mean of the classes' F1", caught_by=_MICRO, micro_f1=macro_f1),
    Mistake("12 of 31 rows are right", caught_by=_MICRO, micro_f1=_by_support),
    Mistake("12 of 31 rows are right", caught_by=_MICRO, micro_f1=_of_labelled),
    Mistake("12 of 31 rows are right", caught_by=_MICRO, micro_f1=_forgets_a_two),
    Mistake("near, but not as exact as float64", caught_by=_MICRO, micro_f1=lambda m: (m.trace() / m.sum()).item()),
    Mistake("raised on a table without a right row", caught_by=_MICRO, micro_f1=_harmonic_micro),
    Mistake(_NUMBER, caught_by=_MICRO, micro_f1=lambda m: m.trace() / m.sum()),
    Mistake("micro_f1 changed the matrix", caught_by=_MICRO, micro_f1=_in_place_micro),
]
