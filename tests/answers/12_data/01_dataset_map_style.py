"""Answers that people give to dataset_map_style, right ones and wrong ones."""

from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from dojo import Mistake


class _Eager(Dataset):
    """Two tensors, made once."""

    def __init__(self, rows):
        super().__init__()
        self.x = torch.tensor([[float(a), float(b)] for a, b, _ in rows])
        self.y = torch.tensor([0 if name == "setosa" else 1 for *_, name in rows])

    def __len__(self):
        return self.x.shape[0]

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class _NumPy(Dataset[tuple[torch.Tensor, int]]):
    def __init__(self, rows):
        self.table = np.array([row[:2] for row in rows], dtype=np.float32)
        self.y = [{"setosa": 0, "versicolor": 1}[row[-1]] for row in rows]

    def __len__(self):
        return len(self.table)

    def __getitem__(self, i):
        return torch.from_numpy(self.table[i]), self.y[i]


class _Checks(Dataset):
    """Lists, negative numbers refused, the end said out loud."""

    labels = {"setosa": 0, "versicolor": 1}

    def __init__(self, rows):
        self.data = list(rows)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(f"{index} of {len(self)}")
        *lengths, species = self.data[index]
        return [torch.FloatTensor([float(v) for v in lengths]), self.labels[species]]


class _Flower(NamedTuple):
    x: torch.Tensor
    label: torch.Tensor


class _Named(Dataset):
    def __init__(self, rows):
        self.samples = [
            _Flower(torch.as_tensor([float(a), float(b)], dtype=torch.float), torch.tensor(int(s == "versicolor")))
            for a, b, s in rows
        ]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        return self.samples[i]


class _Yields(_Checks):
    """A loop of its own, so nobody needs an IndexError."""

    def __iter__(self):
        for i in range(len(self)):
            yield self[i]


class _NumPyLabels(_NumPy):
    def __init__(self, rows):
        super().__init__(rows)
        self.y = np.array(self.y)  # np.int64 collates to int64


class _WholeBatches(_Eager):
    """The loader asks for all samples of a batch at once, where there is such a method."""

    def __getitems__(self, indices):
        return list(zip(self.x[indices], self.y[indices]))


class _OfTensors(TensorDataset):
    """torch's own dataset of tensors, which wants them ready."""

    def __init__(self, rows):
        table = torch.from_numpy(np.array([[float(a), float(b)] for a, b, _ in rows]))
        super().__init__(table.float(), torch.LongTensor([["setosa", "versicolor"].index(s) for _, _, s in rows]))


class _OldStyle(Dataset):
    def __init__(self, rows):
        self.x, self.y = [], []
        for i in range(len(rows)):
            self.x.append(np.array([rows[i][0], rows[i][1]]).astype("float32"))
            if rows[i][2] == "setosa":
                self.y.append(0)
            if rows[i][2] == "versicolor":
                self.y.append(1)

    def __getitem__(self, index):
        if index >= self.__len__():
            raise IndexError
        return torch.Tensor(self.x[index]), torch.tensor(self.y[index], dtype=torch.long)

    def __len__(self):
        return len(self.y)


RIGHT = [
    {"FlowerRows": cls}
    for cls in (_Eager, _NumPy, _Checks, _Named, _Yields, _NumPyLabels, _WholeBatches, _OfTensors, _OldStyle)
]


def _of(change):
    """A dataset whose samples are change(x, label)."""
    return type("_Changed", (_Checks,), {"__getitem__": lambda self, i: change(*_Checks.__getitem__(self, i))})


class _Float64(_NumPy):
    def __init__(self, rows):
        super().__init__(rows)
        self.table = self.table.astype(float)


class _Float64ThenDouble(_Checks):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x.double(), y


class _Circle(_Eager):
    def __getitem__(self, i):
        return super().__getitem__(i % len(self))


class _Clamped(_Eager):
    def __getitem__(self, i):
        return super().__getitem__(min(i, len(self) - 1))


class _Slices(_Eager):
    """A slice of a tensor past its end is empty, not an error."""

    def __getitem__(self, i):
        return self.x[i : i + 1].flatten(), self.y[i : i + 1].sum()


class _Codes(_Eager):
    def __init__(self, rows):
        super().__init__(rows)
        self.y = torch.from_numpy(np.unique([row[2] for row in rows], return_inverse=True)[1])


class _FirstIsZero(_Eager):
    def __init__(self, rows):
        super().__init__(rows)
        self.y = torch.tensor([int(row[2] != rows[0][2]) for row in rows])


class _Stream(IterableDataset):
    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        for a, b, species in self.rows:
            yield torch.tensor([float(a), float(b)]), int(species == "versicolor")


class _Global(_Checks):
    def __init__(self, rows):
        type(self).data = list(rows)


class _WithoutLen(Dataset):
    def __init__(self, rows):
        self.data = list(rows)

    def __getitem__(self, i):
        a, b, species = self.data[i]
        return torch.tensor([float(a), float(b)]), int(species == "versicolor")


class _LenMinusOne(_Eager):
    def __len__(self):
        return max(len(self.x) - 1, 1)


class _Lists(_Checks):
    def __getitem__(self, i):
        a, b, species = self.data[i]
        return [float(a), float(b)], self.labels[species]


class _UsedUp(_Eager):
    def __init__(self, rows):
        super().__init__(rows)
        self.loop = iter(range(len(rows)))

    def __iter__(self):
        return (self[i] for i in self.loop)


class _Rewinds(_Eager):
    """Its own iterator, set back at the start of each loop: two loops at once share one place."""

    def __iter__(self):
        self.place = -1
        return self

    def __next__(self):
        self.place += 1
        if self.place == len(self):
            raise StopIteration
        return self[self.place]


class _KeysOfADict(_Checks):
    def __getitem__(self, i):
        a, b, species = {i: row for i, row in enumerate(self.data)}[i]
        return torch.tensor([float(a), float(b)]), self.labels[species]


class _AsTensor(_Checks):
    def __getitem__(self, i):
        return torch.as_tensor(self.data[i][:2]), self.labels[self.data[i][2]]


class _NoGetitem(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)


_X_OF = "x of dataset[0], from the row"
_ENDLESS = "__getitem__ must raise IndexError past the end"

WRONG = [
    Mistake("a Dataset has no __getitem__ of its own", caught_by="", FlowerRows=_NoGetitem),
    Mistake("a loop over the same 3 samples; it yielded", caught_by="", FlowerRows=_Rewinds),
    Mistake("only an IndexError ends a loop", caught_by="", FlowerRows=_KeysOfADict),
    Mistake("float() reads a number", caught_by="", FlowerRows=_AsTensor),
    Mistake("is one float32 tensor, got a list", caught_by="", FlowerRows=_Lists),
    Mistake("is one float32 tensor, got a ndarray", caught_by="", FlowerRows=_of(lambda x, y: (x.numpy(), y))),
    Mistake("is one float32 tensor, got a tuple", caught_by="", FlowerRows=_of(lambda x, y: (tuple(x.tolist()), y))),
    Mistake("dtype: expected torch.float32, got torch.float64", caught_by="", FlowerRows=_Float64),
    Mistake("dtype: expected torch.float32, got torch.float64", caught_by="", FlowerRows=_Float64ThenDouble),
    Mistake(_ENDLESS, caught_by="", FlowerRows=_Circle),
    Mistake(_ENDLESS, caught_by="", FlowerRows=_Clamped),
    Mistake(_ENDLESS, caught_by="", FlowerRows=_Slices),
    Mistake("versicolor is 1 also where no row is setosa", caught_by="", FlowerRows=_Codes),
    Mistake("(setosa 0, versicolor 1), got", caught_by="", FlowerRows=_FirstIsZero),
    Mistake("(setosa 0, versicolor 1), got", caught_by="", FlowerRows=_of(lambda x, y: (x, 1 - y))),
    Mistake("a Dataset has no __len__ of its own", caught_by="", FlowerRows=_Stream),
    Mistake("a Dataset has no __len__ of its own", caught_by="", FlowerRows=_WithoutLen),
    Mistake("each has rows of its own", caught_by="", FlowerRows=_Global),
    Mistake("three rows make three samples", caught_by="", FlowerRows=_LenMinusOne),
    Mistake(_X_OF, caught_by="", FlowerRows=_of(lambda x, y: (x.unsqueeze(0), y))),
    Mistake(_X_OF, caught_by="", FlowerRows=_of(lambda x, y: (x.round(), y))),
    Mistake(_X_OF, caught_by="", FlowerRows=_of(lambda x, y: ((x - x.mean()) / x.std(), y))),
    Mistake("the labels of batch 0", caught_by="", FlowerRows=_of(lambda x, y: (x, torch.tensor([y])))),
    Mistake("the labels of batch 0", caught_by="", FlowerRows=_of(lambda x, y: (x, torch.tensor(float(y))))),
    Mistake("the labels of batch 0", caught_by="", FlowerRows=_of(lambda x, y: (x, np.float32(y)))),
    Mistake("the labels of batch 0", caught_by="", FlowerRows=_of(lambda x, y: (x, str(y)))),
    Mistake("the labels of batch 0", caught_by="", FlowerRows=_of(lambda x, y: (x, [y]))),
    Mistake("is the pair (x, label), got a dict of 2", caught_by="", FlowerRows=_of(lambda x, y: {"x": x, "label": y})),
    Mistake("is the pair (x, label), got a tuple of 3", caught_by="", FlowerRows=_of(lambda x, y: (x[0], x[1], y))),
    Mistake(
        "is the pair (x, label), got a Tensor of 3", caught_by="", FlowerRows=_of(lambda x, y: torch.stack((*x, x[0])))
    ),
    Mistake("is None: is a `return` missing?", caught_by="", FlowerRows=_of(lambda x, y: print(x, y))),
    Mistake("the second loop over three samples yielded 0", caught_by="", FlowerRows=_UsedUp),
]
