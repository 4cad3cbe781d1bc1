"""Answers that people give to load_anywhere, right ones and wrong ones."""

import copy
import io
from collections import OrderedDict

import torch

from dojo import Mistake


def _save_through_numpy(model, file):
    torch.save({k: torch.from_numpy(v.detach().cpu().numpy().copy()) for k, v in model.state_dict().items()}, file)


def _save_in_a_loop(model, file):
    state = OrderedDict()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            out = torch.empty(value.shape, dtype=value.dtype, device="cpu")
            state[key] = out.copy_(value)
    with open(file, "wb") as stream:
        torch.save(state, stream)


def _save_only_what_is_too_big(model, file):
    state = model.state_dict()
    for key, value in state.items():
        value = value.to("cpu")
        if value.untyped_storage().nbytes() > value.numel() * value.element_size():
            value = value.clone()
        state[key] = value
    torch.save(state, file)


def _save_through_memory(model, file):
    stream = io.BytesIO()
    torch.save({k: v.detach().to("cpu", copy=True) for k, v in model.state_dict().items()}, stream)
    file.write_bytes(stream.getvalue())


def _load_through_memory(model, file):
    model.load_state_dict(torch.load(io.BytesIO(file.read_bytes()), map_location=lambda storage, _: storage))
    return model


def _load_by_hand(model, file):
    state = torch.load(file, map_location=torch.device("cpu"))
    own = model.state_dict()
    if own.keys() != state.keys():
        raise KeyError(f"{own.keys() ^ state.keys()}")
    with torch.no_grad():
        for key, value in own.items():
            value.copy_(state[key])


def _load_where_the_model_is(model, file):
    with open(file, "rb") as stream:
        state = torch.load(stream, map_location=next(model.parameters()).device)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ValueError(f"missing {missing}, unexpected {unexpected}")


def _load_data(model, file):
    state = torch.load(file, map_location=lambda storage, location: storage)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    tensors = {key: tensors[key] for key in model.state_dict()}
    assert tensors.keys() == state.keys()
    for key, value in tensors.items():
        value.data = state[key].to(value)


def _load_with_own_words(model, file):
    state = torch.load(file, map_location="cuda" if torch.cuda.is_available() else "cpu", mmap=True)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{file} is a checkpoint of another model") from error


def _save_a_copy_of_the_model(model, file):
    state = copy.deepcopy(model).cpu().state_dict()
    torch.save({key: value.clone() for key, value in state.items()}, file)


def _save_load_and_save(model, file):
    stream = io.BytesIO()
    torch.save(model.state_dict(), stream)
    stream.seek(0)
    torch.save({k: v.clone() for k, v in torch.load(stream, map_location="cpu").items()}, file)


RIGHT = [
    dict(save_weights=_save_load_and_save),
    dict(save_weights=_save_through_numpy, load_into=_load_by_hand),
    dict(save_weights=_save_in_a_loop, load_into=_load_where_the_model_is),
    dict(save_weights=_save_only_what_is_too_big, load_into=_load_data),
    dict(save_weights=_save_through_memory, load_into=_load_through_memory),
    dict(load_into=lambda m, f: m.load_state_dict(torch.load(f, map_location={f"cuda:{i}": "cpu" for i in range(8)}))),
    dict(load_into=_load_with_own_words, save_weights=_save_a_copy_of_the_model),
]


def _load_open(model, file):
    with open(file, "rb") as stream:
        state = torch.load(stream, weights_only=True)
    model.load_state_dict(state)


def _load_then_move(model, file):
    state = torch.load(file)
    model.load_state_dict({k: v.cpu() for k, v in state.items()})


def _intersection(model, file):
    state, own = torch.load(file, map_location="cpu"), model.state_dict()
    own.update({k: v for k, v in state.items() if k in own})
    model.load_state_dict(own)


def _assign_parameters(model, file):
    state = torch.load(file, map_location="cpu")
    model.load_state_dict(state)
    for key, value in state.items():
        *path, name = key.split(".")
        module = model.get_submodule(".".join(path))
        if name in module._parameters:
            module._parameters[name] = torch.nn.Parameter(value)


def _load_a_copy(model, file):
    model = copy.deepcopy(model)
    model.load_state_dict(torch.load(file, map_location="cpu"))


def _load_in_order(model, file):
    state = torch.load(file, map_location="cpu")
    for mine, saved in zip(model.state_dict().values(), state.values()):  # noqa: B905
        mine.copy_(saved)


def _load_in_strict_order(model, file):
    state = torch.load(file, map_location="cpu")
    for mine, saved in zip(model.state_dict().values(), state.values(), strict=True):
        mine.copy_(saved)


def _detach_the_parameters(model, file):
    state = model.state_dict(keep_vars=True)
    torch.save({key: value.detach_().cpu().clone() for key, value in state.items()}, file)


def _save_arrays(model, file):
    torch.save({key: value.cpu().numpy() for key, value in model.state_dict().items()}, file)


WRONG = [
    Mistake(
        "in eval mode before save_weights",
        caught_by="",
        save_weights=lambda m, f: (
            torch.save({k: v.cpu().clone() for k, v in m.eval().state_dict().items()}, f) or m.train()
        ),
    ),
    Mistake(
        "in eval mode before load_into",
        caught_by="",
        load_into=lambda m, f: m.train().load_state_dict(torch.load(f, map_location="cpu")),
    ),
    Mistake(
        "tell torch.load where tensors go here",
        caught_by="",
        load_into=lambda m, f: m.load_state_dict(torch.load(f, map_location={"cuda:0": torch.device("cpu")})),
    ),
    Mistake(
        "moved or converted the model itself",
        caught_by="",
        save_weights=lambda m, f: torch.save({n: v.clone() for n, v in m.to("cpu").state_dict().items()}, f),
    ),
    Mistake("(one of another name)", caught_by="", load_into=_load_in_strict_order),
    Mistake("save_weights changed 0.weight", caught_by="", save_weights=_detach_the_parameters),
    Mistake("it takes a dict from names to tensors", caught_by="", save_weights=_save_arrays),
    Mistake(
        "what you saved is still there",
        caught_by="",
        save_weights=lambda m, f: torch.save({k: copy.deepcopy(v.clone()) for k, v in m.state_dict().items()}, f),
    ),
    Mistake("load_into brings the values in the file into the model", caught_by="", load_into=_load_a_copy),
    Mistake("and you loaded it without a word", caught_by="", load_into=_load_in_order),
    Mistake("tell torch.load where tensors go here", caught_by="", load_into=_load_open),
    Mistake("tell torch.load where tensors go here", caught_by="", load_into=_load_then_move),
    Mistake("an optimizer made before keeps the old one", caught_by="", load_into=_assign_parameters),
    Mistake("and you loaded it without a word", caught_by="", load_into=_intersection),
    Mistake(
        "load_into brings the values in the file into the model",
        caught_by="",
        load_into=lambda m, f: m.state_dict().update(torch.load(f, map_location="cpu")),
    ),
    Mistake(
        "it takes a dict from names to tensors",
        caught_by="",
        save_weights=lambda m, f: torch.save({"model": m, "state": m.state_dict()}, f),
    ),
    Mistake(
        "not a dict from names to tensors",
        caught_by="",
        save_weights=lambda m, f: torch.save(tuple(v.clone() for v in m.state_dict().values()), f),
    ),
    Mistake(
        "the names are those of the state_dict",
        caught_by="",
        save_weights=lambda m, f: torch.save(
            {k: v.detach().clone() for k, v in [*m.named_parameters(), *m.named_buffers()]}, f
        ),
    ),
    Mistake(
        "the file holds the model's values, and no graph",
        caught_by="",
        save_weights=lambda m, f: torch.save(m.state_dict(keep_vars=True), f),
    ),
    Mistake(
        "you saved the storage under the views",
        caught_by="",
        save_weights=lambda m, f: torch.save({k: v.detach().cpu() for k, v in m.state_dict().items()}, f),
    ),
]
