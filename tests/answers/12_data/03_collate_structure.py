"""Answers that people give to collate_structure, right ones and wrong ones."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import default_collate

from dojo import Mistake


def _the_record(record):
    return record


def _in_collate(samples):
    return {
        "id": [s["id"] for s in samples],
        "box": torch.tensor([s["box"] for s in samples], dtype=torch.float32),
        "tags": [s["tags"] for s in samples],
    }


def _tuple(record):
    return record["id"], torch.FloatTensor(record["box"]), tuple(record["tags"])


def _of_tuples(samples):
    ids, boxes, tags = zip(*samples)
    return dict(id=list(ids), box=torch.vstack(boxes), tags=[list(t) for t in tags])


@dataclass
class _Photo:
    id: str
    box: np.ndarray
    tags: list


def _photo(record):
    return _Photo(record["id"], np.asarray(record["box"], dtype=np.float32), record["tags"].copy())


def _of_photos(samples):
    box = torch.from_numpy(np.stack([s.box for s in samples]))
    return {"id": [s.id for s in samples], "box": box, "tags": [s.tags for s in samples]}


def _copied(record):
    sample = copy.deepcopy(record)
    sample["box"] = torch.as_tensor(sample["box"]).float()
    return sample


def _default_and_more(samples):
    batch = default_collate([{k: v for k, v in s.items() if k != "tags"} for s in samples])
    batch["tags"] = [s["tags"] for s in samples]
    return batch


def _grown(samples):
    batch = {"id": [], "box": [], "tags": []}
    for s in samples:
        for key in batch:
            batch[key].append(s[key])
    batch["box"] = torch.cat([b.reshape(1, 4) for b in batch["box"]], dim=0)
    return batch


def _pair(record):
    return (record["id"], record["tags"]), torch.tensor(record["box"])


def _of_pairs(samples):
    words, boxes = zip(*samples)
    return {"id": [w[0] for w in words], "tags": [w[1] for w in words], "box": default_collate(boxes)}


class _Sample:
    def __init__(self, record):
        self.name = str(record["id"])
        self.left, self.top, self.right, self.bottom = record["box"]
        self.tags = [tag for tag in record["tags"]]


def _old_style(samples):
    box = torch.FloatTensor(len(samples), 4)
    names, tags = list(), list()
    for i in range(len(samples)):
        s = samples[i]
        box[i][0], box[i][1], box[i][2], box[i][3] = s.left, s.top, s.right, s.bottom
        names.append(s.name)
        tags.append(s.tags)
    out = dict()
    out["id"], out["box"], out["tags"] = names, box, tags
    return out


def _joined(record):
    return {"id": record["id"], "box": torch.tensor(record["box"]), "tags": "\n".join(record["tags"])}


def _split(samples):
    batch = default_collate(samples)
    return {**batch, "tags": [t.split("\n") if t else [] for t in batch["tags"]]}


def _pops_of_its_own(samples):
    tags = [s.pop("tags") for s in samples]
    return {**default_collate(samples), "tags": tags}


RIGHT = [
    {"to_sample": _Sample, "collate": _old_style},
    {"to_sample": _joined, "collate": _split},
    {"to_sample": _copied, "collate": _pops_of_its_own},
    {"to_sample": _pair, "collate": _of_pairs},
    {"to_sample": _the_record, "collate": _in_collate},
    {"to_sample": _tuple, "collate": _of_tuples},
    {"to_sample": _photo, "collate": _of_photos},
    {"to_sample": _copied, "collate": _default_and_more},
    {"to_sample": _copied, "collate": _grown},
    {"collate": _default_and_more},
]


def _of(change):
    """What change(batch, records) makes of a right batch; the samples are the records."""
    return {"to_sample": _the_record, "collate": lambda samples: change(_in_collate(samples), samples)}


def _set(**values):
    return _of(lambda batch, records: {**batch, **{key: make(batch, records) for key, make in values.items()}})


def _wrong(says, answer):
    return Mistake(says, caught_by="", **answer)


def _pop_sample(record):
    box = record.pop("box")
    return record["id"], torch.tensor(box), record["tags"]


def _update(record):
    record.update(box=torch.tensor(record["box"]).float())
    return record


def _pops_in_collate(samples):
    tags = [s.pop("tags") for s in samples]
    return {**_in_collate([{**s, "tags": []} for s in samples]), "tags": tags}


def _pads_in_place(samples):
    longest = max(len(s["tags"]) for s in samples)
    for s in samples:
        s["tags"].extend(["<pad>"] * (longest - len(s["tags"])))
    return _in_collate(samples)


def _numpy_box(batch, records):
    return torch.from_numpy(np.array([r["box"] for r in records]))


WRONG = [
    _wrong("lists of tags have no common length", {"to_sample": _the_record, "collate": default_collate}),
    _wrong("lists of tags have no common length", {"to_sample": _tuple, "collate": default_collate}),
    _wrong(
        "lists of tags have no common length",
        {"to_sample": _copied, "collate": lambda s: default_collate([{**x, "tags": list(x["tags"])} for x in s])},
    ),
    _wrong("is a list of 2 tensors", _set(box=lambda b, r: list(b["box"]))),
    _wrong("is a list of 4 tensors", _set(box=lambda b, r: list(b["box"].t()))),
    _wrong("is a list of 4 tensors", _set(box=lambda b, r: default_collate([x["box"] for x in r]))),
    _wrong("box of two records is one tensor, got a list", _set(box=lambda b, r: [x["box"] for x in r])),
    _wrong("box of two records is transposed", _set(box=lambda b, r: b["box"].T)),
    _wrong("box of two records is transposed", _set(box=lambda b, r: torch.tensor(list(zip(*(x["box"] for x in r)))))),
    _wrong("box of two records", _set(box=lambda b, r: b["box"].t().reshape(-1, 4))),
    _wrong("expected the shape (2, 4), got (8,)", _set(box=lambda b, r: b["box"].flatten())),
    _wrong("expected the shape (1, 4), got (4,)", _set(box=lambda b, r: b["box"].squeeze(0))),
    _wrong("box of two records", _set(box=lambda b, r: b["box"].unsqueeze(1))),
    _wrong("dtype: expected torch.float32, got torch.float64", _set(box=_numpy_box)),
    _wrong("box of two records", _set(box=lambda b, r: b["box"].int().float())),
    _wrong("box of two records", _set(box=lambda b, r: b["box"] / b["box"].max())),
    _wrong("torch.stack takes tensors", _set(box=lambda b, r: torch.stack([x["box"] for x in r]))),
    _wrong("id of a batch is", _set(id=lambda b, r: tuple(b["id"]))),
    _wrong("id of a batch is", _set(id=lambda b, r: list(dict.fromkeys(b["id"])))),
    _wrong("id of a batch is", _set(id=lambda b, r: torch.arange(len(r)).tolist())),
    _wrong("tags of a batch is", _set(tags=lambda b, r: [t for x in b["tags"] for t in x])),
    _wrong("tags of a batch is", _set(tags=lambda b, r: [" ".join(x).split(" ") for x in b["tags"]])),
    _wrong("tags of a batch is", _set(tags=lambda b, r: [sorted(set(x)) for x in b["tags"]])),
    _wrong("tags of a batch is", _set(tags=lambda b, r: [tuple(x) for x in b["tags"]])),
    _wrong("tags of a batch is", _set(tags=lambda b, r: [x for x in b["tags"] if x])),
    _wrong("tags of a batch is", _set(tags=lambda b, r: [x or [""] for x in b["tags"]])),
    _wrong("tags of a batch is", _set(tags=lambda b, r: [len(x) for x in b["tags"]])),
    _wrong("they are transposed", _set(tags=lambda b, r: [list(x) for x in zip(*b["tags"])])),
    _wrong("a batch is a dict, got a list", _of(lambda b, r: [b["id"], b["box"], b["tags"]])),
    _wrong("tags of a batch is", _set(tags=lambda b, r: [x["tags"] for x in r for _ in x["tags"]])),
    _wrong("tags of a batch is", _set(tags=lambda b, r: [x["tags"][0] if x["tags"] else "" for x in r])),
    _wrong("tags of a batch is", _set(tags=lambda b, r: [[t.strip().lower() for t in x["tags"]] for x in r])),
    _wrong("the batch has no 'box'", _of(lambda b, r: {x["id"]: x for x in r})),
    _wrong("to_sample changes nothing of a record", {"to_sample": _pop_sample, "collate": _of_tuples}),
    _wrong("to_sample changes nothing of a record", {"to_sample": _update, "collate": _grown}),
    _wrong("collate changes nothing of a record", {"to_sample": _the_record, "collate": _pops_in_collate}),
    _wrong("collate changes nothing of a record", {"to_sample": _the_record, "collate": _pads_in_place}),
]
