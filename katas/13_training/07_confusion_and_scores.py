"""A table of confusions, and the scores in it

95 of 100 photos show a cat. A model that says "cat" to each of them is right in 95 %, and has never found a dog.
Accuracy is one number; which class is taken for which is a table, the confusion matrix: row = the label, column = the
prediction, `matrix[i, j]` = how many rows with label i were predicted as j. What is right stands on the diagonal.

`matrix[labels, predicted] += 1` does not fill it. With tensors as index, each place that occurs is read, raised by one
and written: once, whether the pair occurs once or 300 times. These count each time: `matrix.index_put_((i, j), ones,
accumulate=True)`, or `torch.bincount(i * C + j, minlength=C * C)` of int64 tensors, which numbers the pairs (without
minlength it ends at the largest number that it has seen: a last class that does not occur is missing).

From the table come the scores of each class. Precision: of those that were predicted as it, how many are it (a column).
Recall: of those that are it, how many were found (a row). F1 = 2 TP / (2 TP + FP + FN) is high only if both are; TP are
the right ones of the class, FP the others in its column, FN the others in its row. For one number of all, macro F1 is
the plain mean over classes, so that a rare one counts as much as a frequent one; micro F1 takes the F1 of the counts
summed over all classes, and with one label for each row that is the accuracy again. A class without a label can't be
found, and would pull a macro mean down as a 0: libraries differ in what they do with it, so say it. Here it is left
out. Scores of batches are not averaged: count over all batches first. `a / b` of two int64 tensors is only float32.

About 35 minutes. Before it: group_sums, batches_and_leftovers, which_device, iris_logistic.

https://docs.pytorch.org/docs/stable/generated/torch.bincount.html
"""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import a_second_device, check_tensor, explain, unchanged


def confusion_matrix(batches: Iterable[tuple[torch.Tensor, torch.Tensor]], n_classes: int) -> torch.Tensor:
    """How often label i was predicted as j: int64 (C, C) on the CPU, row = label, column = prediction; C = `n_classes`.

    Each batch is a pair of scores (B, C), of any float dtype, and labels (B,), int64, from 0 to C - 1; B is 1 or more
    and may differ. The prediction is the class of the highest score, which may be any number. Scores may have a graph.

    `batches` may be a list, a loader, or a generator, which can be walked once only. Scores and labels may be on two
    devices, either way round. All stay as they are.
    """
    raise NotImplementedError("count the pairs of label and prediction")


def per_class(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Precision, recall and F1 of each class, each float64 (C,), from a confusion matrix, int64 (C, C), on the CPU.

    Where a score would divide by 0 it is 0. The counts may be above 2**24, which float32 cannot hold. `matrix` stays as
    it is.
    """
    raise NotImplementedError("right ones by column, by row, and by both")


def macro_f1(matrix: torch.Tensor) -> float:
    """The plain mean of F1 over the classes that occur among the labels (at least one does), a float.

    `matrix` is as in per_class, and stays as it is.
    """
    raise NotImplementedError("the mean over the classes that have a label")


def micro_f1(matrix: torch.Tensor) -> float:
    """The F1 of the counts TP, FP and FN, each summed over all classes, a float.

    `matrix` is as in per_class, with one count at least, and stays as it is.
    """
    raise NotImplementedError("sum the counts first, then one F1")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_SIGNS = {
    "is invalid for input of size": "the counts do not fill a table of C times C: bincount ends at the largest value "
    "that it has seen, unless minlength says more",
    "must match the size|broadcast|out of bounds": "sizes do not fit: argmax(1) gives a prediction for each row, and "
    "bincount with minlength counts for all pairs of classes",
    "has no len|expected a non-empty list|not subscriptable|need at least one array": "batches may be a generator: it "
    "has no length and no index, and a second walk over it sees nothing",
    "is not an iterator": "next() is for a generator: batches may be a list or a loader, which a for loop walks too",
    "same device|not on the expected device": "scores and labels were on two devices: bring both to one",
}


def _once(batches: list[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """A generator: it can be walked once."""
    yield from batches


def _matrix(batches: Iterable[tuple[torch.Tensor, torch.Tensor]], n_classes: int) -> torch.Tensor:
    __tracebackhide__ = True
    with explain("confusion_matrix raised", _SIGNS):
        got = confusion_matrix(batches, n_classes)
    assert isinstance(got, torch.Tensor), f"confusion_matrix returns a tensor, not {type(got).__name__}"
    return got


def _scores(predicted: list[int], n_classes: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Scores whose highest one is at the class that is to be predicted: -0.5 or 8.5; the others are from -5 to -1."""
    rows = torch.arange(len(predicted))
    others = -1.0 - torch.arange(len(rows) * n_classes).reshape(-1, n_classes) * 7 % 5
    highest = torch.where(rows % 2 == 0, -0.5, 8.5)[:, None]
    return others.scatter(1, torch.tensor(predicted)[:, None], highest).to(dtype)


# label and prediction of nine rows; classes 0, 1, 2 of four
_LABELS = ([0, 0, 1, 2, 2], [1, 2, 2], [0])
_PREDICTED = ([0, 1, 1, 0, 2], [0, 0, 2], [1])
_TABLE = [[1, 2, 0, 0], [1, 1, 0, 0], [2, 0, 2, 0], [0, 0, 0, 0]]


def _ragged(dtype: torch.dtype = torch.float32) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(_scores(p, 4, dtype), torch.tensor(y)) for p, y in zip(_PREDICTED, _LABELS, strict=True)]


def test_a_row_is_a_label_and_a_column_is_a_prediction():
    want = torch.tensor(_TABLE)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        batches = _ragged(dtype)
        batches[0][0].requires_grad_()
        with unchanged("confusion_matrix changed a batch", batches=batches):
            got = _matrix(_once(batches), 4)
        told = f"batches of 5, 3 and 1 rows, scores in {dtype}"
        assert got.shape == (4, 4), f"{told}: expected a table of shape (4, 4), all classes; got {tuple(got.shape)}"
        assert got.any(), f"{told}: nothing was counted; batches is a generator here, which can be walked once only"
        exchanged = torch.equal(got, want.T)
        assert not exchanged, f"{told}: rows and columns are exchanged, a row is a label"
        last = torch.tensor([[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
        assert not torch.equal(got, last), f"{told}: only the last batch is in the table"
        check_tensor(got, want, f"{told}: counts of all batches, as whole numbers")
    got = _matrix([(torch.tensor([[0.9, 0.8], [0.1, 0.2], [1000.0, 1001.0]]), torch.tensor([0, 1, 0]))], 2)
    told = "scores of 0.9 and 0.8, of 0.1 and 0.2, of 1000 and 1001: the highest of a row decides, above 0.5 or not"
    check_tensor(got, torch.tensor([[1, 1], [0, 1]]), told)
    close = torch.tensor([[1.0, 1.0 + 1e-12]], dtype=torch.float64)
    got = _matrix([(close, torch.tensor([1]))], 2)
    check_tensor(got, torch.tensor([[0, 0], [0, 1]]), "float64 scores that only float64 tells apart: 1 and 1 + 1e-12")


@pytest.mark.myth(
    says="matrix[labels, predicted] += 1 fills a confusion matrix.",
    today="With tensors as index each place is written once, however often it occurs: index_put_ with accumulate=True.",
)
def test_a_pair_that_occurs_often_counts_each_time():
    labels, predicted = [1] * 300 + [0, 2, 0], [2] * 300 + [0, 1, 0]
    got = _matrix([(_scores(predicted, 3), torch.tensor(labels))], 3)
    once = torch.tensor([[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert got.shape == (3, 3), f"expected a table of shape (3, 3), got {tuple(got.shape)}"
    written = torch.equal(got, once)
    assert not written, f"each pair was counted once, and label 1 was predicted as 2 in 300 rows: {got.tolist()}"
    want = torch.tensor([[2, 0, 0], [0, 0, 300], [0, 1, 0]])
    check_tensor(got, want, "label 1 was predicted as 2 in 300 rows of one batch")
    matrix = torch.zeros(3, 3, dtype=torch.int64)
    matrix[torch.tensor(labels), torch.tensor(predicted)] += 1
    assert torch.equal(matrix, once), "matrix[labels, predicted] += 1 counts each pair once"


@pytest.mark.parametrize("where", ["scores", "labels", "both"])
def test_scores_and_labels_meet_on_one_device(where):
    with a_second_device() as far:
        batches = [
            (x.to(far) if where in ("scores", "both") else x, y.to(far) if where in ("labels", "both") else y)
            for x, y in _ragged()
        ]
        got = _matrix(batches, 4)
    places = f"scores on {batches[0][0].device.type}, labels on {batches[0][1].device.type}"
    assert got.device.type == "cpu", f"{places}: the table belongs on the cpu, it is on {got.device.type}"
    check_tensor(got, torch.tensor(_TABLE), f"{places}: the same counts")


@pytest.mark.gpu
def test_scores_of_a_gpu_and_labels_of_a_loader_are_counted_too():
    for on_gpu in ("scores", "labels", "both"):
        batches = [
            (x.cuda() if on_gpu in ("scores", "both") else x, y.cuda() if on_gpu in ("labels", "both") else y)
            for x, y in _ragged()
        ]
        check_tensor(_matrix(batches, 4), torch.tensor(_TABLE), f"on the GPU: {on_gpu}")


# Class 2 and class 6 are never predicted, 3 is no label, 4 is neither, 5 is never right.
_SEVEN = [
    [5, 2, 0, 1, 0, 1, 0],
    [1, 7, 0, 0, 0, 4, 0],
    [3, 1, 0, 2, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0],
    [2, 0, 0, 1, 0, 0, 0],
    [0, 1, 0, 0, 0, 0, 0],
]
_MANY = [[2**24 + 1, 1, 0], [3, 2**24 + 3, 7], [0, 0, 5]]


def _rows(table: list[list[int]]) -> tuple[list[int], list[int]]:
    """The labels and predictions that a table counts."""
    pairs = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [i for i, _ in pairs], [j for _, j in pairs]


def _quotients(table: list[list[int]]) -> list[list[float]]:
    """Precision, recall and F1 in Python's own numbers."""
    classes = range(len(table))
    right, labels = [table[k][k] for k in classes], [sum(row) for row in table]
    predicted = [sum(row[k] for row in table) for k in classes]
    both = [2 * n for n in right], [a + b for a, b in zip(labels, predicted, strict=True)]
    parts = ((right, predicted), (right, labels), both)
    return [[a / b if b else 0.0 for a, b in zip(above, below, strict=True)] for above, below in parts]


def test_precision_is_a_matter_of_columns_and_recall_of_rows():
    from sklearn.metrics import precision_recall_fscore_support

    theirs = precision_recall_fscore_support(*_rows(_SEVEN), labels=list(range(7)), zero_division=0)[:3]
    assert [list(scores) for scores in theirs] == [pytest.approx(scores) for scores in _quotients(_SEVEN)]
    for table in (_SEVEN, _MANY):
        names, matrix = ("precision", "recall", "F1"), torch.tensor(table)
        wanted = [torch.tensor(values, dtype=torch.float64) for values in _quotients(table)]
        with explain("per_class raised"), unchanged("per_class changed the matrix", matrix=matrix):
            got = per_class(matrix)
        three = isinstance(got, tuple | list) and [type(x).__name__ for x in got] == ["Tensor"] * 3
        assert three, "per_class returns three tensors: precision, recall, F1"
        told = f"of {table}"
        for name, scores in zip(names, got, strict=True):
            nan = scores.isnan().nonzero().flatten().tolist() if scores.dim() else []
            assert not nan, f"{name} {told} is NaN for the classes {nan}: 0 / 0; there it is 0"
        swapped = got[0].shape == got[1].shape == wanted[0].shape and all(
            torch.allclose(a.double(), b, atol=1e-4) for a, b in ((got[0], wanted[1]), (got[1], wanted[0]))
        )
        assert not swapped, f"precision and recall {told} are exchanged: columns are predictions"
        for name, scores, want in zip(names, got, wanted, strict=True):
            check_tensor(scores, want, f"{name} {told}", rtol=1e-9)


def _number(got: Any, name: str) -> float:
    __tracebackhide__ = True
    assert isinstance(got, float), f"{name} returns a Python float, not {type(got).__name__}"
    return got


def _same(got: float, want: float, told: str) -> None:
    __tracebackhide__ = True
    right, near = (got == pytest.approx(want, rel=rel) for rel in (1e-11, 1e-5))
    assert right or not near, f"{told}: expected {want!r}, got {got!r}: near, but not as exact as float64"
    assert right, f"{told}: expected {want:.6f}, got {got:.6f}"


def test_a_macro_mean_is_over_the_classes_that_have_a_label():
    from sklearn.metrics import f1_score

    matrix, f1 = torch.tensor(_SEVEN), _quotients(_SEVEN)[2]
    labels, predicted = _rows(_SEVEN)
    want = sum(f1[k] for k in (0, 1, 2, 5, 6)) / 5
    theirs = f1_score(labels, predicted, labels=[0, 1, 2, 5, 6], average="macro", zero_division=0)
    assert theirs == pytest.approx(want), "scikit-learn says the same where it is given the classes that have a label"
    with explain("macro_f1 raised"), unchanged("macro_f1 changed the matrix", matrix=matrix):
        got = _number(macro_f1(matrix), "macro_f1")
    wrong = {
        "over all seven classes; two of them have no label": sum(f1) / 7,
        "over the classes that have a label or were predicted": sum(f1) / 6,
        "over the classes that were predicted": sum(f1) / 4,
        "over the classes whose F1 is above 0; one that is never found counts": sum(f1) / 2,
        "weighted by the number of labels; the mean is a plain one": (9 * f1[0] + 12 * f1[1]) / 31,
        "the share of rows that are right": 12 / 31,
    }
    for how, value in wrong.items():
        same = got == pytest.approx(value, rel=1e-6)
        assert not same, f"macro F1 of {_SEVEN}: expected {want:.4f}, got {got:.4f}, the mean {how}"
    _same(got, want, f"macro F1 of {_SEVEN}, the mean over classes 0, 1, 2, 5, 6")
    got = _number(macro_f1(torch.tensor(_MANY)), "macro_f1")
    _same(got, sum(_quotients(_MANY)[2]) / 3, f"macro F1 of {_MANY}")
    got = _number(macro_f1(torch.tensor([[0, 3], [2, 0]])), "macro_f1")
    assert got == 0, f"macro F1 of a table without a right row: expected 0.0, got {got}"


def test_micro_f1_of_one_label_for_each_row_is_the_accuracy():
    matrix = torch.tensor(_SEVEN)
    with explain("micro_f1 raised"), unchanged("micro_f1 changed the matrix", matrix=matrix):
        got = _number(micro_f1(matrix), "micro_f1")
    f1 = _quotients(_SEVEN)[2]
    macro = any(got == pytest.approx(sum(f1) / n, rel=1e-6) for n in (4, 5, 6, 7))
    assert not macro, f"micro F1 of {_SEVEN}: got {got:.4f}, a mean of the classes' F1; sum the counts first"
    _same(got, 12 / 31, f"micro F1 of {_SEVEN}, where 12 of 31 rows are right")
    got = _number(micro_f1(torch.tensor(_MANY)), "micro_f1")
    _same(got, (2**25 + 9) / (2**25 + 20), f"micro F1 of {_MANY}")
    with explain("micro_f1 raised on a table without a right row"):
        got = _number(micro_f1(torch.tensor([[0, 3], [2, 0]])), "micro_f1")
    assert got == 0, f"micro F1 of a table without a right row: expected 0.0, got {got}"
