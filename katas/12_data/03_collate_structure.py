"""Dicts, boxes and tags

Samples are rarely two tensors. A record of a photo has a name, a box of four numbers, and some words about it. The
loader's `default_collate` goes into such a structure: of samples that are dicts it makes one dict, and collates key by
key. At the bottom it stacks tensors, makes a tensor of numbers, and leaves strings alone, in a list.

The trap is a list, for it goes into lists too, place by place. A box of four floats becomes four float64 tensors of
length B, the first with all left edges: of B samples with 4 numbers you get 4 tensors with B numbers. And tags, a list
of words that is longer for one photo than for another, end in "each element in list of batch should be of equal size";
if by chance all photos of a batch have two tags, there is no error, and the tags come out transposed.

So a structure needs two decisions. What does a sample hold: make a tensor of whatever is to become a tensor. And what
becomes of B samples: write a `collate_fn` that stacks some keys and keeps others as plain lists. `torch.stack` makes
(B, 4) of B tensors (4,). Nothing forces a batch to consist of tensors only; a model that doesn't read the tags doesn't
care.

What is asked here: a sample made from a record, and a batch made from samples. What a sample looks like is yours.

About 20 minutes. Before it: collate_ragged.

https://docs.pytorch.org/docs/stable/data.html#working-with-collate-fn
"""

import copy
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def to_sample(record: dict[str, Any]) -> Any:
    """The sample of one record, in a form of your own: only `collate` reads it.

    A record is {"id": str, "box": a list of 4 floats, "tags": a list of strings, which may be empty}. It stays as
    it is, and the same record may be asked for again.
    """
    raise NotImplementedError("make a sample of the record")


def collate(samples: list[Any]) -> dict[str, Any]:
    """One batch from a list of B samples that `to_sample` made, in their order; B is 1 or more.

    A dict: "id" is a list of B strings, "box" a float32 tensor (B, 4), and "tags" a list of B lists of strings, each as
    it was in its record.
    """
    raise NotImplementedError("make a dict of lists and of one tensor")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "each element in list of batch should be of equal size": "lists of tags have no common length, and default_collate "
    "wants one: keep them as lists",
    "stack expects each tensor to be equal size": "what differs in length from sample to sample can't be stacked",
    "too many dimensions 'str'|invalid data type 'str'": "text can't be put into a tensor: keep it in a list",
    "expected Tensor as element 0": "torch.stack takes tensors; the boxes of the records are lists of floats",
    "KeyError": "a key was missing, in a sample or in a record that is read a second time",
}
_HARBOUR = {"id": "harbour", "box": [0.1, 20.5, 300.25, 1e-3], "tags": ["sea", "dark brown", "sea"]}
_MEADOW = {"id": "meadow", "box": [-7.0, 16.3, 0.7, 1023.3], "tags": ["cow"]}
_ATTIC = {"id": "0042", "box": [5.5, 6.6, 7.7, 8.8], "tags": []}
_BRIDGE = {"id": "bridge", "box": [11.0, 0.0, 13.4, 2.2], "tags": ["steel, grey", "River"]}


def _records(*records: dict[str, Any]) -> list[dict[str, Any]]:
    return copy.deepcopy(list(records))


def _boxes(*records: dict[str, Any]) -> torch.Tensor:
    return torch.tensor([record["box"] for record in records], dtype=torch.float32)


def _part(batch: Any, key: str) -> Any:
    __tracebackhide__ = True
    assert batch is not None, "collate returned None: is a `return` missing?"
    assert isinstance(batch, dict), f"a batch is a dict, got a {type(batch).__name__}"
    assert key in batch, f"the batch has no {key!r}, its keys are {list(batch)}"
    return batch[key]


def _collated(records: list[dict[str, Any]]) -> Any:
    __tracebackhide__ = True
    with explain(f"to_sample or collate raised, for {len(records)} records", _SIGNS):
        return collate([to_sample(record) for record in records])


def _check_box(batch: Any, want: torch.Tensor, what: str) -> None:
    __tracebackhide__ = True
    box = _part(batch, "box")
    tensors = isinstance(box, list | tuple) and all(isinstance(part, torch.Tensor) for part in box)
    if tensors:
        rows = len(box) == len(want) and all(part.shape == (4,) for part in box)
        todo = "stack them" if rows else "lists are collated place by place, so make a tensor of each box"
        raise AssertionError(
            f"box of {what} is a list of {len(box)} tensors, expected one tensor {tuple(want.shape)}: {todo}"
        )
    assert isinstance(box, torch.Tensor), f"box of {what} is one tensor, got a {type(box).__name__}"
    transposed = box.shape == want.t().shape and torch.allclose(box.float(), want.t())
    assert not transposed, f"box of {what} is transposed: a row of it should be the box of one record"
    assert box.shape == want.shape, f"box of {what}: expected the shape {tuple(want.shape)}, got {tuple(box.shape)}"
    check_tensor(box, want, f"box of {what}", rtol=1e-6, requires_grad=False)


def _check_words(batch: Any, key: str, want: list[Any], what: str) -> None:
    __tracebackhide__ = True
    got = _part(batch, key)
    with explain(f"{key} of {what} is {got!r}, expected {want!r}"):
        same = bool(got == want)
    kind = "" if isinstance(got, list) else f" (a {type(got).__name__}, not a list)"
    assert same, f"{key} of {what} is {got!r}{kind}, expected {want!r}"


@pytest.mark.myth(
    says="default_collate makes one tensor of the numbers of a batch, however they are kept.",
    today="Of a list in each sample it makes one tensor for each place: four float64 tensors of length B for a box.",
)
def test_the_boxes_of_a_batch_are_one_tensor():
    columns = default_collate([{"box": record["box"]} for record in (_HARBOUR, _MEADOW)])["box"]
    assert [tuple(c.shape) for c in columns] == [(2,)] * 4, (
        "default_collate goes into lists: four columns, for two boxes"
    )
    for records, what in (
        ((_HARBOUR, _MEADOW), "two records"),
        ((_MEADOW, _HARBOUR, _ATTIC, _BRIDGE), "four records"),
        ((_BRIDGE, _BRIDGE), "the same record twice"),
        ((_ATTIC,), "one record"),
    ):
        _check_box(_collated(_records(*records)), _boxes(*records), what)


@pytest.mark.parametrize(
    "records",
    [
        (_HARBOUR, _MEADOW, _ATTIC, _BRIDGE),
        (_BRIDGE, {**_BRIDGE, "id": "aqueduct", "tags": ["roman", "river"]}),
        (_MEADOW, _MEADOW),
        (_HARBOUR,),
        (_ATTIC,),
    ],
    ids=["ragged tags", "two tags each", "the same record twice", "one record", "one record without tags"],
)
def test_names_and_tags_stay_lists_of_strings(records):
    batch = _collated(_records(*records))
    names, tags = [record["id"] for record in records], [record["tags"] for record in records]
    _check_words(batch, "id", names, "a batch")
    got = _part(batch, "tags")
    rows = isinstance(got, list | tuple) and all(isinstance(row, list | tuple) for row in got)
    turned = [list(row) for row in got] if rows else []
    columns = [list(column) for column in zip(*tags, strict=False)]
    assert not columns or turned != columns or turned == tags, (
        f"tags of a batch are {got!r}, expected {tags!r}: they are transposed, as default_collate does it with lists"
    )
    _check_words(batch, "tags", tags, "a batch")


class _Photos(Dataset):
    def __init__(self, records: list[dict[str, Any]]) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int) -> Any:
        return to_sample(self.records[i])


def test_a_loader_takes_collate_and_the_last_batch_may_hold_one_record():
    for records in ((_HARBOUR, _MEADOW, _BRIDGE), (_ATTIC, _BRIDGE, _HARBOUR, _MEADOW, _ATTIC)):
        dataset = _Photos(_records(*records))
        loader = DataLoader(dataset, batch_size=2, collate_fn=collate)
        for epoch in ("first", "second"):
            with explain(f"a DataLoader with collate_fn=collate raised in its {epoch} epoch", _SIGNS):
                batches = list(loader)
            for number, batch in enumerate(batches):
                part = records[2 * number : 2 * number + 2]
                what = f"batch {number} in the {epoch} epoch"
                _check_box(batch, _boxes(*part), what)
                _check_words(batch, "id", [record["id"] for record in part], what)
                _check_words(batch, "tags", [record["tags"] for record in part], what)


def test_the_records_are_as_they_were():
    records = _records(_HARBOUR, _MEADOW, _ATTIC)
    with explain("to_sample or collate raised, for 3 records", _SIGNS):
        with unchanged("to_sample changes nothing of a record", records=records):
            samples = [to_sample(record) for record in records]
        with unchanged("collate changes nothing of a record", records=records):
            collate(samples)
