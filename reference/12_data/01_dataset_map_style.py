"""A dataset is a length and an index: reference.

Hint: Three methods: one keeps the rows, one counts them, one turns row number i into a tensor and an integer.
Hint: `len()`; `float()` reads a number from text; `torch.tensor(..., dtype=...)`; a dict or a list knows the label.
Hint: A Python list raises IndexError by itself: read the row with self.rows[...] first, then convert its parts.

Why: the loader's whole contract is "len and index", so a list is a dataset too, and so is anything that reads a file
by number. Samples are made when they are asked for: a table larger than memory works the same way. default_collate
recurses into lists, tuples and dicts, and stacks only what it finds at the bottom: that is why a list of two numbers
comes back as two columns. To see what a loader will do, call default_collate([dataset[0], dataset[1]]) by hand.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from dojo import Mistake

_SPECIES = ("setosa", "versicolor")


class FlowerRows(Dataset):
    def __init__(self, rows: Sequence[tuple[str, str, str]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        a, b, species = self.rows[i]
        return torch.tensor([float(a), float(b)], dtype=torch.float32), _SPECIES.index(species)


class _Base(Dataset):
    """Right. The mistakes below change one thing of it."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def row(self, i):
        return self.rows[i]

    def x(self, a, b):
        return torch.tensor([float(a), float(b)])

    def label(self, species):
        return int(species == "versicolor")

    def __getitem__(self, i):
        a, b, species = self.row(i)
        return self.x(a, b), self.label(species)


def _x(make):
    return type("_X", (_Base,), {"x": lambda self, a, b: make(float(a), float(b))})


def _label(make):
    return type("_Label", (_Base,), {"label": lambda self, species: make(species)})


def _sample(make):
    """make(x, label, i) is what __getitem__ returns."""
    return type("_Sample", (_Base,), {"__getitem__": lambda self, i: make(*_Base.__getitem__(self, i), i)})


class _NoLen(Dataset):
    def __init__(self, rows):
        self.rows = rows

    __getitem__ = FlowerRows.__getitem__


class _NoGetitem(Dataset):
    __init__ = _Base.__init__

    def __len__(self):
        return len(self.rows)


class _SkipsAHeader(_Base):
    def __len__(self):
        return len(self.rows) - 1


class _CountsColumns(_Base):
    def __len__(self):
        return len(self.rows[0])


class _OnTheClass(_Base):
    def __init__(self, rows):
        _OnTheClass.rows = rows


class _SharedList(_Base):
    rows: list = []

    def __init__(self, rows):
        self.rows.extend(rows)


class _TakesRowsAway(_Base):
    def __init__(self, rows):
        self.rows = []
        while isinstance(rows, list) and rows:
            self.rows.append(rows.pop(0))
        self.rows = self.rows or rows


class _PopsWhenRead(_Base):
    def __getitem__(self, i):
        row = self.rows.pop(i) if isinstance(self.rows, list) else self.rows[i]
        return self.x(*row[:2]), self.label(row[2])


class _NextRow(_Base):
    n = -1

    def row(self, i):
        self.n = (self.n + 1) % len(self.rows)
        return self.rows[self.n]


class _ByAppearance(_Base):
    def __init__(self, rows):
        self.rows = rows
        self.names = list(dict.fromkeys(species for _, _, species in rows))

    def label(self, species):
        return self.names.index(species)


class _BySorting(_ByAppearance):
    def __init__(self, rows):
        self.rows = rows
        self.names = sorted({species for _, _, species in rows})


class _Wraps(_Base):
    def row(self, i):
        return self.rows[i % len(self.rows)]


class _LastAgain(_Base):
    def row(self, i):
        return self.rows[min(i, len(self.rows) - 1)]


class _NoneAtTheEnd(_Base):
    def __getitem__(self, i):
        return super().__getitem__(i) if i < len(self) else None


class _OneTooMany(_Base):
    def row(self, i):
        if i > len(self.rows):
            raise IndexError(i)
        return self.rows[i - len(self.rows)]


class _KeyErrorAtTheEnd(_Base):
    def row(self, i):
        return dict(enumerate(self.rows))[i]


class _ItsOwnIterator(_Base):
    at = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.at >= len(self.rows):
            raise StopIteration
        self.at += 1
        return self[self.at - 1]


class _OneLoopAtATime(_ItsOwnIterator):
    def __iter__(self):
        self.at = 0
        return self


class _TextInATensor(_Base):
    def __getitem__(self, i):
        a, b, species = self.rows[i]
        return torch.tensor((a, b)), self.label(species)


class _TableOnTheClass(_Base):
    def __init__(self, rows):
        self.n = len(rows)
        _TableOnTheClass.rows = rows

    def __len__(self):
        return self.n


class _SkipsTheFirst(_Base):
    def row(self, i):
        return self.rows[i + 1]


class _LoopSkipsTheFirst(_Base):
    def __iter__(self):
        return (self[i] for i in range(1, len(self)))


class _FetchesInOrder(_Base):
    """Whole batches at once, sorted: not the order that was asked for."""

    def __getitems__(self, indices):
        return [self[i] for i in sorted(indices)]


class _Weights(_Base):
    def __init__(self, rows):
        self.rows = rows
        self.table = torch.nn.Parameter(torch.tensor([[float(a), float(b)] for a, b, _ in rows]))

    def __getitem__(self, i):
        return self.table[i], self.label(self.rows[i][2])


_LEN = "test_len_is_the_number_of_samples"
_SAMPLE = "test_a_sample_is_a_float_tensor_and_an_integer_label"
_BATCH = "test_a_loader_stacks_samples_into_tensors"
_LOOP = "test_a_loop_over_a_dataset_ends_with_an_index_error"

_X_OF = "x of dataset[0], from the row"
_ENDLESS = "__getitem__ must raise IndexError past the end"

MISTAKES = [
    Mistake("a Dataset has no __len__ of its own", caught_by=_LEN, FlowerRows=_NoLen),
    Mistake("three rows make three samples", caught_by=_LEN, FlowerRows=_SkipsAHeader),
    Mistake("fifteen rows in a tuple", caught_by=_LEN, FlowerRows=_CountsColumns),
    Mistake("each has rows of its own", caught_by=_LEN, FlowerRows=_OnTheClass),
    Mistake("fifteen rows in a tuple", caught_by=_LEN, FlowerRows=_SharedList),
    Mistake("the rows are the caller's", caught_by=_LEN, FlowerRows=_TakesRowsAway),
    Mistake("is one float32 tensor, got a list", caught_by=_SAMPLE, FlowerRows=_x(lambda a, b: [a, b])),
    Mistake("is one float32 tensor, got a tuple", caught_by=_SAMPLE, FlowerRows=_x(lambda a, b: (a, b))),
    Mistake(
        "is one float32 tensor, got a ndarray",
        caught_by=_SAMPLE,
        FlowerRows=_x(lambda a, b: np.array([a, b], np.float32)),
    ),
    Mistake(
        "default_collate transposed it",
        caught_by=_BATCH,
        FlowerRows=_x(lambda a, b: [torch.tensor(a), torch.tensor(b)]),
    ),
    Mistake(
        "dtype: expected torch.float32, got torch.float64",
        caught_by=_SAMPLE,
        FlowerRows=_x(lambda a, b: torch.from_numpy(np.array([a, b]))),
    ),
    Mistake(_X_OF, caught_by=_SAMPLE, FlowerRows=_x(lambda a, b: torch.tensor([a, b]).half().float())),
    Mistake(_X_OF, caught_by=_SAMPLE, FlowerRows=_x(lambda a, b: torch.tensor([int(a), int(b)]).float())),
    Mistake(_X_OF, caught_by=_SAMPLE, FlowerRows=_x(lambda a, b: torch.tensor([b, a]))),
    Mistake(_X_OF, caught_by=_SAMPLE, FlowerRows=_x(lambda a, b: torch.tensor([[a, b]]))),
    Mistake(_X_OF, caught_by=_SAMPLE, FlowerRows=_x(lambda a, b: torch.tensor([a]))),
    Mistake(_X_OF, caught_by=_SAMPLE, FlowerRows=_x(lambda a, b: torch.tensor([a, b], requires_grad=True))),
    Mistake("is the pair (x, label), got a tuple of 3", caught_by=_SAMPLE, FlowerRows=_sample(lambda x, y, i: (*x, y))),
    Mistake(
        "is the pair (x, label), got a dict of 2", caught_by=_SAMPLE, FlowerRows=_sample(lambda x, y, i: dict(x=x, y=y))
    ),
    Mistake(
        "is the pair (x, label), got a Tensor of 3",
        caught_by=_SAMPLE,
        FlowerRows=_sample(lambda x, y, i: torch.cat([x, torch.tensor([float(y)])])),
    ),
    Mistake("is None: is a `return` missing?", caught_by=_SAMPLE, FlowerRows=_sample(lambda x, y, i: None)),
    Mistake("no loss takes text", caught_by=_SAMPLE, FlowerRows=_label(lambda species: species)),
    Mistake(
        "is no integer, got tensor([1., 0.])",
        caught_by=_SAMPLE,
        FlowerRows=_label(lambda s: torch.tensor([1.0, 0.0] if s == "setosa" else [0.0, 1.0]).flip(0)),
    ),
    Mistake("(setosa 0, versicolor 1), got", caught_by=_SAMPLE, FlowerRows=_ByAppearance),
    Mistake("(setosa 0, versicolor 1), got", caught_by=_SAMPLE, FlowerRows=_label(lambda s: 1 + (s != "setosa"))),
    Mistake("versicolor is 1 also where no row is setosa", caught_by=_SAMPLE, FlowerRows=_BySorting),
    Mistake("the rows are the caller's, also when samples are read", caught_by=_SAMPLE, FlowerRows=_PopsWhenRead),
    Mistake(_X_OF, caught_by=_SAMPLE, FlowerRows=_SkipsTheFirst),
    Mistake("a Dataset has no __getitem__ of its own", caught_by=_SAMPLE, FlowerRows=_NoGetitem),
    Mistake("float() reads a number", caught_by=_SAMPLE, FlowerRows=_TextInATensor),
    Mistake("since a second dataset was made", caught_by=_SAMPLE, FlowerRows=_TableOnTheClass),
    Mistake("requires_grad: expected False, got True", caught_by=_SAMPLE, FlowerRows=_Weights),
    Mistake("of the samples 2, 0 and 1", caught_by=_BATCH, FlowerRows=_FetchesInOrder),
    Mistake("from the row", caught_by=_SAMPLE, FlowerRows=_NextRow),
    Mistake("the labels of batch 0", caught_by=_BATCH, FlowerRows=_label(lambda s: s == "versicolor")),
    Mistake("the labels of batch 0", caught_by=_BATCH, FlowerRows=_label(lambda s: float(s == "versicolor"))),
    Mistake(
        "the labels of batch 0", caught_by=_BATCH, FlowerRows=_label(lambda s: torch.tensor([s == "versicolor"]).long())
    ),
    Mistake("the labels of batch 0", caught_by=_BATCH, FlowerRows=_label(lambda s: torch.tensor(s != "setosa").int())),
    Mistake("the labels of batch 0", caught_by=_BATCH, FlowerRows=_label(lambda s: torch.tensor(float(s != "setosa")))),
    Mistake(_ENDLESS, caught_by=_LOOP, FlowerRows=_Wraps),
    Mistake(_ENDLESS, caught_by=_LOOP, FlowerRows=_LastAgain),
    Mistake(_ENDLESS, caught_by=_LOOP, FlowerRows=_NoneAtTheEnd),
    Mistake(_ENDLESS, caught_by=_LOOP, FlowerRows=_OneTooMany),
    Mistake("only an IndexError ends a loop", caught_by=_LOOP, FlowerRows=_KeyErrorAtTheEnd),
    Mistake("a loop over the same 3 samples; it yielded", caught_by=_LOOP, FlowerRows=_OneLoopAtATime),
    Mistake("the second loop over three samples yielded 0", caught_by=_LOOP, FlowerRows=_ItsOwnIterator),
    Mistake("the first loop over three samples yielded 2", caught_by=_LOOP, FlowerRows=_LoopSkipsTheFirst),
]
