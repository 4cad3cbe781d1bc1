"""Answers that people give to confusion_and_scores, right ones and wrong ones."""

import numpy as np
import torch
from torch.nn import functional as F

from dojo import Mistake


def _bincount(batches, n_classes):
    matrix = torch.zeros(n_classes, n_classes, dtype=torch.int64)
    for scores, labels in batches:
        predicted = scores.max(dim=1).indices.cpu()
        matrix += torch.bincount(labels.cpu() * n_classes + predicted, minlength=n_classes**2).view(n_classes, -1)
    return matrix


def _loops(batches, n_classes):
    rows = [[0] * n_classes for _ in range(n_classes)]
    for scores, labels in batches:
        for label, predicted in zip(labels.tolist(), scores.argmax(-1).tolist(), strict=True):
            rows[label][predicted] += 1
    return torch.tensor(rows)


def _one_hot(batches, n_classes):
    total = torch.zeros(n_classes, n_classes, dtype=torch.long)
    for scores, labels in batches:
        labels = labels.to(scores.device)
        total += (F.one_hot(labels, n_classes).T @ F.one_hot(scores.argmax(1), n_classes)).cpu()
    return total


def _scattered(batches, n_classes):
    flat = torch.zeros(n_classes * n_classes, dtype=torch.int64)
    for scores, labels in batches:
        flat.scatter_add_(0, labels.cpu() * n_classes + scores.detach().cpu().argmax(1), torch.ones(len(labels)).long())
    return flat.reshape(n_classes, n_classes)


def _numpy(batches, n_classes):
    matrix = np.zeros((n_classes, n_classes), dtype=np.int64)
    for scores, labels in batches:
        np.add.at(matrix, (labels.cpu().numpy(), scores.argmax(1).cpu().numpy()), 1)
    return torch.from_numpy(matrix)


def _sparse(batches, n_classes):
    """A sparse tensor adds up what has the same place."""
    pairs = torch.cat([torch.stack([y.cpu(), torch.max(scores, 1).indices.cpu()]) for scores, y in batches], dim=1)
    ones = torch.ones(pairs.shape[1], dtype=torch.int64)
    return torch.sparse_coo_tensor(pairs, ones, (n_classes, n_classes)).to_dense()


def _sklearn(batches, n_classes):
    from sklearn.metrics import confusion_matrix

    labels, predicted = [], []
    for scores, y in batches:
        labels += y.tolist()
        predicted += scores.topk(1).indices.squeeze(1).tolist()
    return torch.as_tensor(confusion_matrix(labels, predicted, labels=range(n_classes)), dtype=torch.int64)


def _fp_fn(matrix):
    m = matrix.to(torch.float64)
    tp = m.diag()
    fp, fn = m.sum(0) - tp, m.sum(1) - tp
    zero = torch.zeros_like(tp)
    precision = torch.where(tp + fp > 0, tp / (tp + fp), zero)
    recall = torch.where(tp + fn > 0, tp / (tp + fn), zero)
    return precision, recall, torch.where(2 * tp + fp + fn > 0, 2 * tp / (2 * tp + fp + fn), zero)


def _nan_to_num(matrix):
    tp = torch.diagonal(matrix).double()
    precision = (tp / matrix.sum(dim=0)).nan_to_num(0.0)
    recall = torch.nan_to_num(tp / matrix.sum(dim=1))
    return precision, recall, torch.nan_to_num(2 * precision * recall / (precision + recall))


def _python(matrix):
    n = len(matrix)
    rows = matrix.tolist()
    out = ([], [], [])
    for k in range(n):
        tp, fn, fp = rows[k][k], sum(rows[k]) - rows[k][k], sum(row[k] for row in rows) - rows[k][k]
        out[0].append(tp / (tp + fp) if tp + fp else 0)
        out[1].append(tp / (tp + fn) if tp + fn else 0)
        out[2].append(2 * tp / (2 * tp + fp + fn) if 2 * tp + fp + fn else 0)
    return tuple(torch.tensor(values, dtype=torch.float64) for values in out)


def _macro_numbers(matrix):
    _, _, f1 = _fp_fn(matrix)
    values = [v for v, n in zip(f1.tolist(), matrix.sum(1).tolist(), strict=True) if n]
    return sum(values) / len(values)


def _macro_weights(matrix):
    there = (matrix.sum(1) > 0).double()
    return float((_nan_to_num(matrix)[2] * there).sum() / there.sum())


def _micro_long(matrix):
    tp = matrix.diagonal().sum().item()
    fp = (matrix.sum(0) - matrix.diagonal()).sum().item()
    fn = (matrix.sum(1) - matrix.diagonal()).sum().item()
    return 2 * tp / (2 * tp + fp + fn)


RIGHT = [
    {"confusion_matrix": _bincount, "per_class": _fp_fn, "macro_f1": _macro_numbers, "micro_f1": _micro_long},
    {"confusion_matrix": _loops, "per_class": _nan_to_num, "macro_f1": _macro_weights},
    {"confusion_matrix": _one_hot, "per_class": _python},
    {"confusion_matrix": _scattered, "micro_f1": lambda m: (m.trace().double() / m.sum()).item()},
    {"confusion_matrix": _numpy, "micro_f1": lambda m: float(m.numpy().trace() / m.numpy().sum())},
    {"confusion_matrix": _sklearn},
    {"confusion_matrix": _sparse},
]


def _fancy(batches, n_classes):
    matrix = torch.zeros((n_classes, n_classes), dtype=torch.long)
    for scores, labels in batches:
        matrix[labels.cpu(), scores.cpu().argmax(dim=1)] += 1
    return matrix


def _numpy_fancy(batches, n_classes):
    matrix = np.zeros((n_classes, n_classes), dtype=np.int64)
    for scores, labels in batches:
        matrix[labels.cpu().numpy(), scores.argmax(1).cpu().numpy()] += 1
    return torch.from_numpy(matrix)


def _column_is_the_label(batches, n_classes):
    matrix = torch.zeros(n_classes, n_classes, dtype=torch.long)
    for scores, labels in batches:
        for p, t in zip(scores.argmax(1).tolist(), labels.tolist(), strict=True):
            matrix[p, t] += 1
    return matrix


def _seen_only(batches, n_classes):
    pairs = [(t, p) for scores, y in batches for t, p in zip(y.tolist(), scores.argmax(1).tolist(), strict=True)]
    n = max(max(pair) for pair in pairs) + 1
    matrix = torch.zeros(n, n, dtype=torch.long)
    for t, p in pairs:
        matrix[t, p] += 1
    return matrix


def _flat_bincount(batches, n_classes):
    out = 0
    for scores, labels in batches:
        out = out + torch.bincount(n_classes * labels.cpu() + scores.argmax(1).cpu()).view(n_classes, n_classes)
    return out


def _float_table(batches, n_classes):
    matrix = torch.zeros(n_classes, n_classes)
    for batch in batches:
        matrix += _bincount([batch], n_classes)
    return matrix


def _reset(batches, n_classes):
    for batch in batches:
        matrix = _bincount([batch], n_classes)
    return matrix


def _normalized(batches, n_classes):
    matrix = _bincount(batches, n_classes)
    return matrix / matrix.sum(1, keepdim=True).clamp(min=1)


def _threshold(batches, n_classes):
    return _bincount((((scores > 0.5).float(), y) for scores, y in batches), n_classes)


def _one_device(batches, n_classes):
    matrix = None
    for scores, labels in batches:
        k = torch.bincount(labels * n_classes + scores.argmax(1), minlength=n_classes**2)
        matrix = k if matrix is None else matrix + k
    return matrix.view(n_classes, n_classes).cpu()


def _on_the_device_of_the_scores(batches, n_classes):
    matrix = None
    for scores, labels in batches:
        k = torch.bincount(labels.to(scores.device) * n_classes + scores.argmax(1), minlength=n_classes**2)
        matrix = k if matrix is None else matrix + k
    return matrix.view(n_classes, n_classes)


def _rounded(batches, n_classes):
    return _bincount(((torch.sigmoid(scores).round(), y) for scores, y in batches), n_classes)


def _along_the_batch(batches, n_classes):
    return _bincount(((scores.T, y) for scores, y in batches), n_classes)


def _zip_twice(batches, n_classes):
    labels = torch.cat([y.cpu() for _, y in batches])
    predicted = torch.cat([s.argmax(1).cpu() for s, _ in batches])
    return _bincount([(F.one_hot(predicted, n_classes), labels)], n_classes)


def _nan(matrix):
    tp = matrix.diag().double()
    precision, recall = tp / matrix.sum(0), tp / matrix.sum(1)
    return precision, recall, 2 * precision * recall / (precision + recall)


def _nan_in_f1(matrix):
    precision, recall, _ = _fp_fn(matrix)
    return precision, recall, 2 * precision * recall / (precision + recall)


def _swapped(matrix):
    precision, recall, f1 = _fp_fn(matrix.T)
    return precision, recall, f1


def _float32(matrix):
    tp = matrix.diag()
    labels, predicted = matrix.sum(1).clamp(min=1), matrix.sum(0).clamp(min=1)
    return tp / predicted, tp / labels, 2 * tp / (matrix.sum(0) + matrix.sum(1)).clamp(min=1)


def _epsilon(matrix):
    tp = matrix.diag().double()
    p, r = tp / (matrix.sum(0) + 1e-7), tp / (matrix.sum(1) + 1e-7)
    return p, r, 2 * p * r / (p + r + 1e-7)


def _erases(matrix):
    out = _fp_fn(matrix)
    matrix[range(len(matrix)), range(len(matrix))] = 0
    return out


def _macro_all(matrix):
    return _fp_fn(matrix)[2].mean().item()


def _sklearn_macro(matrix):
    from sklearn.metrics import f1_score

    pairs = [(i, j) for i, row in enumerate(matrix.tolist()) for j, n in enumerate(row) for _ in range(min(n, 50))]
    return float(f1_score([i for i, _ in pairs], [j for _, j in pairs], average="macro", zero_division=0))


def _from_means(matrix):
    p, r, _ = _fp_fn(matrix)
    there = matrix.sum(1) > 0
    p, r = p[there].mean().item(), r[there].mean().item()
    return 2 * p * r / (p + r) if p + r else 0.0


def _weighted(matrix):
    return float((_fp_fn(matrix)[2] * matrix.sum(1)).sum() / matrix.sum())


def _micro_of_classes(matrix):
    return float(_fp_fn(matrix)[2].mean())


def _harmonic(matrix):
    tp = matrix.diag().sum().item()
    p, r = tp / matrix.sum(0).sum().item(), tp / matrix.sum(1).sum().item()
    return 2 * p * r / (p + r)


def _exp(batches, n_classes):
    return _bincount(((scores.exp() / scores.exp().sum(1, keepdim=True), y) for scores, y in batches), n_classes)


_EXPECTED = "counts of all batches, as whole numbers"
_ONCE = "each pair was counted once"
_SIZES = "sizes do not fit: argmax(1) gives a prediction for each row"
_MINLENGTH = "bincount ends at the largest value that it has seen"


def _in_float32(batches, n_classes):
    table = torch.zeros(n_classes, n_classes, dtype=torch.int64)
    for scores, labels in batches:
        for label, row in zip(labels.tolist(), scores.detach().cpu().float()):
            table[label, int(row.argmax())] += 1
    return table


WRONG = [
    Mistake("float64 scores that only float64 tells apart", caught_by="", confusion_matrix=_in_float32),
    Mistake("the highest of a row decides", caught_by="", confusion_matrix=_exp),
    Mistake(_ONCE, caught_by="", confusion_matrix=_fancy),
    Mistake(_ONCE, caught_by="", confusion_matrix=_numpy_fancy),
    Mistake("rows and columns are exchanged", caught_by="", confusion_matrix=_column_is_the_label),
    Mistake("expected a table of shape (4, 4), all classes", caught_by="", confusion_matrix=_seen_only),
    Mistake(_MINLENGTH, caught_by="", confusion_matrix=_flat_bincount),
    Mistake(_EXPECTED, caught_by="", confusion_matrix=_float_table),
    Mistake(_EXPECTED, caught_by="", confusion_matrix=_rounded),
    Mistake(_SIZES, caught_by="", confusion_matrix=_along_the_batch),
    Mistake("only the last batch is in the table", caught_by="", confusion_matrix=_reset),
    Mistake(_EXPECTED, caught_by="", confusion_matrix=_normalized),
    Mistake(_EXPECTED, caught_by="", confusion_matrix=_threshold),
    Mistake("scores and labels were on two devices", caught_by="", confusion_matrix=_one_device),
    Mistake("the table belongs on the cpu", caught_by="", confusion_matrix=_on_the_device_of_the_scores),
    Mistake("a second walk over it sees nothing", caught_by="", confusion_matrix=_zip_twice),
    Mistake("confusion_matrix returns a tensor", caught_by="", confusion_matrix=lambda b, n: _bincount(b, n).numpy()),
    Mistake("is NaN for the classes", caught_by="", per_class=_nan),
    Mistake("is NaN for the classes", caught_by="", per_class=_nan_in_f1),
    Mistake("precision and recall", caught_by="", per_class=_swapped),
    Mistake("dtype: expected torch.float64", caught_by="", per_class=_float32),
    Mistake("values differ, worst at", caught_by="", per_class=_epsilon),
    Mistake("per_class changed the matrix", caught_by="", per_class=_erases),
    Mistake("over all seven classes", caught_by="", macro_f1=_macro_all),
    Mistake("that have a label or were predicted", caught_by="", macro_f1=_sklearn_macro),
    Mistake("the mean over classes 0, 1, 2, 5, 6", caught_by="", macro_f1=_from_means),
    Mistake("weighted by the number of labels", caught_by="", macro_f1=_weighted),
    Mistake("returns a Python float", caught_by="", macro_f1=lambda m: _fp_fn(m)[2][m.sum(1) > 0].mean()),
    Mistake("a mean of the classes' F1", caught_by="", micro_f1=_micro_of_classes),
    Mistake("raised on a table without a right row", caught_by="", micro_f1=_harmonic),
    Mistake("near, but not as exact as float64", caught_by="", micro_f1=lambda m: float(m.diag().sum() / m.sum())),
]
