"""Dicts, boxes and tags: reference.

Hint: Which of the three parts becomes a tensor? Make it one in the sample; the other two only have to be collected.
Hint: `torch.tensor(..., dtype=torch.float32)`, `torch.stack`, and a list comprehension for each of the other keys.
Hint: A new dict with three entries: the stacked boxes, a list of the ids, a list of the lists of tags.

Why: default_collate is right where all samples have the same shape all the way down, and a collate_fn of your own is
called for where they don't: detection boxes, text, metadata. You may also mix: give default_collate the regular keys
and add the rest. A new dict for each sample, in place of a changed record, costs nothing and keeps the second epoch
like the first, for the dataset holds its records from the first epoch to the last.
"""

from typing import Any

import torch
from torch.utils.data import default_collate

from dojo import Mistake


def to_sample(record: dict[str, Any]) -> Any:
    return {**record, "box": torch.tensor(record["box"], dtype=torch.float32)}


def collate(samples: list[Any]) -> dict[str, Any]:
    return {
        "id": [sample["id"] for sample in samples],
        "box": torch.stack([sample["box"] for sample in samples]),
        "tags": [list(sample["tags"]) for sample in samples],
    }


def _batch(**change):
    """Right, but for the keys that are given: each a function of the samples."""

    def wrong(samples):
        return {**collate(samples), **{key: make(samples) for key, make in change.items()}}

    return wrong


def _sample(change):
    """A right sample, after change(sample)."""

    def wrong(record):
        sample = to_sample(record)
        change(sample)
        return sample

    return wrong


def _as_it_is(record):
    return record


def _box_in_place(record):
    record["box"] = torch.tensor(record["box"])
    return record


def _pops_the_box(record):
    return {"box": torch.tensor(record.pop("box")), **record}


def _sorts_the_tags(record):
    record["tags"].sort()
    return to_sample(record)


def _tags_off_the_sample(samples):
    tags = [sample.pop("tags") for sample in samples]
    return {**default_collate([{**s, "box": torch.as_tensor(s["box"])} for s in samples]), "tags": tags}


def _fills_up_the_tags(samples):
    width = max(len(sample["tags"]) for sample in samples)
    for sample in samples:
        sample["tags"] += [""] * (width - len(sample["tags"]))
    return collate(samples)


def _padded(samples):
    width = max(len(sample["tags"]) for sample in samples)
    return [sample["tags"] + [""] * (width - len(sample["tags"])) for sample in samples]


def _one_is_no_batch(samples):
    if len(samples) > 1:
        return collate(samples)
    (sample,) = samples
    return {"id": sample["id"], "box": sample["box"], "tags": sample["tags"]}


def _boxes(samples):
    return [sample["box"] for sample in samples]


def _default_for_equal_lengths(samples):
    if len({len(sample["tags"]) for sample in samples}) == 1:
        return default_collate(samples)
    return collate(samples)


def _numbers_for_names(record):
    sample = to_sample(record)
    return {**sample, "id": int(sample["id"]) if sample["id"].isdigit() else sample["id"]}


def _one_list_for_all(samples):
    tags = [[]] * len(samples)
    for mine, sample in zip(tags, samples):
        mine.extend(sample["tags"])
    return tags


_box = torch.zeros(4, 4)


def _same_memory(samples):
    batch = collate(samples)
    batch["box"] = _box[: len(samples)].copy_(batch["box"])
    return batch


_kept: list = []


def _accumulates(samples):
    _kept.extend(samples)
    return collate(_kept)


_BOX = "test_the_boxes_of_a_batch_are_one_tensor"
_WORDS = "test_names_and_tags_stay_lists_of_strings"
_LOADER = "test_a_loader_takes_collate_and_the_last_batch_may_hold_one_record"
_RECORDS = "test_the_records_are_as_they_were"

MISTAKES = [
    Mistake("lists of tags have no common length", caught_by=_BOX, collate=default_collate),
    Mistake("lists of tags have no common length", caught_by=_WORDS, to_sample=_as_it_is, collate=default_collate),
    Mistake(
        "is a list of 4 tensors",
        caught_by=_BOX,
        collate=_batch(box=lambda s: default_collate([b.tolist() for b in _boxes(s)])),
    ),
    Mistake("is a list of 2 tensors", caught_by=_BOX, collate=_batch(box=_boxes)),
    Mistake("torch.stack takes tensors", caught_by=_BOX, to_sample=_as_it_is),
    Mistake(
        "box of two records is transposed", caught_by=_BOX, collate=_batch(box=lambda s: torch.stack(_boxes(s), 1))
    ),
    Mistake(
        "box of four records is transposed",
        caught_by=_BOX,
        collate=_batch(box=lambda s: torch.stack(_boxes(s), 1 if len(s) == 4 else 0)),
    ),
    Mistake("expected the shape (2, 4), got (8,)", caught_by=_BOX, collate=_batch(box=lambda s: torch.cat(_boxes(s)))),
    Mistake(
        "expected the shape (1, 4), got (4,)",
        caught_by=_BOX,
        collate=_batch(box=lambda s: torch.stack(_boxes(s)).squeeze()),
    ),
    Mistake(
        "dtype: expected torch.float32, got torch.float64",
        caught_by=_BOX,
        collate=_batch(box=lambda s: torch.stack(_boxes(s)).double()),
    ),
    Mistake("box of two records", caught_by=_BOX, collate=_batch(box=lambda s: torch.stack(_boxes(s)).half().float())),
    Mistake("box of two records", caught_by=_BOX, collate=_batch(box=lambda s: torch.stack(_boxes(s)).round())),
    Mistake(
        "requires_grad: expected False, got True",
        caught_by=_BOX,
        to_sample=_sample(lambda sample: sample["box"].requires_grad_()),
    ),
    Mistake("tags of a batch is", caught_by=_WORDS, collate=_batch(tags=lambda s: None)),
    Mistake(
        "tags of a batch is", caught_by=_WORDS, collate=_batch(tags=lambda s: torch.tensor([len(x["tags"]) for x in s]))
    ),
    Mistake(
        "box of two records is one tensor, got a list",
        caught_by=_BOX,
        collate=_batch(box=lambda s: torch.stack(_boxes(s)).tolist()),
    ),
    Mistake(
        "box of the same record twice",
        caught_by=_BOX,
        collate=lambda s: collate(list({x["id"]: x for x in s}.values())),
    ),
    Mistake("a batch is a dict, got a list", caught_by=_BOX, collate=lambda s: s),
    Mistake("a batch is a dict, got a tuple", caught_by=_BOX, collate=lambda s: tuple(collate(s).values())),
    Mistake("collate returned None", caught_by=_BOX, collate=lambda s: None),
    Mistake("the batch has no 'box'", caught_by=_BOX, collate=lambda s: {"boxes": collate(s)["box"]}),
    Mistake("the batch has no 'tags'", caught_by=_WORDS, collate=lambda s: {k: collate(s)[k] for k in ("id", "box")}),
    Mistake(
        "text can't be put into a tensor",
        caught_by=_BOX,
        collate=_batch(id=lambda s: torch.tensor([x["id"] for x in s])),
    ),
    Mistake("id of a batch is", caught_by=_WORDS, collate=_batch(id=lambda s: tuple(x["id"] for x in s))),
    Mistake("id of a batch is", caught_by=_WORDS, collate=_batch(id=lambda s: s[0]["id"])),
    Mistake("id of a batch is", caught_by=_WORDS, collate=_batch(id=lambda s: sorted(x["id"] for x in s))),
    Mistake("id of a batch is", caught_by=_WORDS, collate=_batch(id=lambda s: list(range(len(s))))),
    Mistake("tags of a batch is", caught_by=_WORDS, collate=_batch(tags=lambda s: sum((x["tags"] for x in s), []))),
    Mistake("tags of a batch is", caught_by=_WORDS, collate=_batch(tags=_padded)),
    Mistake("tags of a batch is", caught_by=_WORDS, collate=_batch(tags=_one_list_for_all)),
    Mistake("tags of a batch is", caught_by=_WORDS, collate=_batch(tags=lambda s: [])),
    Mistake(
        "tags of a batch is",
        caught_by=_WORDS,
        collate=_batch(tags=lambda s: [[t.lower() for t in x["tags"]] for x in s]),
    ),
    Mistake("id of a batch is", caught_by=_WORDS, to_sample=_numbers_for_names),
    Mistake("box of batch 0 in the first epoch", caught_by=_LOADER, collate=_same_memory),
    Mistake("tags of a batch is", caught_by=_WORDS, collate=_batch(tags=lambda s: [",".join(x["tags"]) for x in s])),
    Mistake(
        "tags of a batch is",
        caught_by=_WORDS,
        collate=_batch(tags=lambda s: [",".join(x["tags"]).split(",") for x in s]),
    ),
    Mistake(
        "tags of a batch is",
        caught_by=_WORDS,
        collate=_batch(tags=lambda s: [list(dict.fromkeys(x["tags"])) for x in s]),
    ),
    Mistake(
        "tags of a batch is",
        caught_by=_WORDS,
        collate=_batch(tags=lambda s: [x["tags"][: min(len(y["tags"]) for y in s)] for x in s]),
    ),
    Mistake(
        "they are transposed",
        caught_by=_WORDS,
        collate=_batch(tags=lambda s: list(zip(*(x["tags"] for x in s)))),
    ),
    Mistake("they are transposed", caught_by=_WORDS, collate=_default_for_equal_lengths),
    Mistake("box of one record", caught_by=_BOX, collate=_one_is_no_batch),
    Mistake("in the first epoch", caught_by=_LOADER, collate=_accumulates),
    Mistake("to_sample changes nothing of a record", caught_by=_RECORDS, to_sample=_box_in_place),
    Mistake("to_sample changes nothing of a record", caught_by=_RECORDS, to_sample=_pops_the_box),
    Mistake("to_sample changes nothing of a record", caught_by=_RECORDS, to_sample=_sorts_the_tags),
    Mistake("collate changes nothing of a record", caught_by=_RECORDS, collate=_fills_up_the_tags),
    Mistake(
        "collate changes nothing of a record", caught_by=_RECORDS, to_sample=_as_it_is, collate=_tags_off_the_sample
    ),
]
