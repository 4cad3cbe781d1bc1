"""Load what fits, and know what did not: reference.

Hint: Make the dict that load_state_dict would take without complaint, before you call it.
Hint: `model.state_dict()` has the model's names and shapes; `str.removeprefix`, `re.sub`; `strict=False`.
Hint: Collect under its bare name each entry whose bare name is the model's and has its shape there; none: raise.

Why: strict=False was made for names, so it reports missing and unexpected ones, but an entry of another shape is an
error for it, found after others were copied. Who filters first gets no such half-loaded model. And a report, and an
error where it would name everything, are what tell a fine-tuning from a training that began at random weights.
"""

import re

import torch
from torch import nn

from dojo import Mistake


def load_matching(model: nn.Module, state_dict: dict[str, torch.Tensor]) -> list[str]:
    own = model.state_dict()
    fitting = {}
    for key, value in state_dict.items():
        name = re.sub(r"^((module|_orig_mod)\.)+", "", key)
        if name in own and own[name].shape == value.shape:
            fitting[name] = value
    if not fitting:
        raise ValueError(f"nothing was loaded: no entry agrees in name and shape; the dict begins {[*state_dict][:3]}")
    model.load_state_dict(fitting, strict=False)
    return [name for name in own if name not in fitting]


def _bare(key):
    while key.startswith(("module.", "_orig_mod.")):
        key = key.split(".", 1)[1]
    return key


def _put(model, fitting, own):
    model.load_state_dict(fitting, strict=False)


def _refuse(fitting):
    if not fitting:
        raise ValueError("nothing was loaded")


def _report(own, fitting, state):
    return [name for name in own if name not in fitting]


def _same_shape(own, value):
    return own.shape == value.shape


def _loading(bare=_bare, fits=_same_shape, put=_put, refuse=_refuse, report=_report, names=lambda m: m.state_dict()):
    """load_matching, with one of its parts exchanged."""

    def wrong(model, state_dict):
        own, state = names(model), {bare(key): value for key, value in state_dict.items()}
        fitting = {name: value for name, value in state.items() if name in own and fits(own[name], value)}
        refuse(fitting)
        put(model, fitting, own)
        return report(own, fitting, state)

    return wrong


def _not_strict(model, state_dict):
    return list(model.load_state_dict(state_dict, strict=False).missing_keys)


def _first_strict(model, state_dict):
    try:
        model.load_state_dict(state_dict)
    except RuntimeError:
        return list(model.load_state_dict(state_dict, strict=False).missing_keys)
    return []


def _silent_on_mismatch(model, state_dict):
    state = {_bare(key): value for key, value in state_dict.items()}
    try:
        return list(model.load_state_dict(state, strict=False).missing_keys)
    except RuntimeError as error:
        return [name for name in model.state_dict() if f"for {name}:" in str(error)]


def _first_key_decides(model, state_dict):
    first = next(iter(state_dict), "")
    prefix = first[: len(first) - len(_bare(first))]
    return _loading(bare=lambda key: key.removeprefix(prefix))(model, state_dict)


def _any_character(key):
    return re.sub("^(module.|_orig_mod.)+", "", key)


def _two_of_each(key):
    return re.sub(r"^((_orig_mod\.)?(module\.)?){2}", "", key)


def _in_place_names(model, state_dict):
    for key in list(state_dict):
        state_dict[_bare(key)] = state_dict.pop(key)
    return load_matching(model, state_dict)


def _popped(model, state_dict):
    own = model.state_dict()
    for key in list(state_dict):
        if _bare(key) not in own or own[_bare(key)].shape != state_dict[key].shape:
            state_dict.pop(key)
    return load_matching(model, state_dict)


def _assign(model, fitting, own):
    model.load_state_dict(fitting, strict=False, assign=True)


def _new_parameters(model, fitting, own):
    for name, value in fitting.items():
        owner, _, last = name.rpartition(".")
        module = model.get_submodule(owner)
        if last in module._parameters:
            setattr(module, last, nn.Parameter(value.clone()))
        else:
            getattr(module, last).copy_(value)


def _data(model, fitting, own):
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    for name, value in fitting.items():
        tensors[name].data = value


@torch.no_grad()
def _copy(model, fitting, own):
    for name, value in fitting.items():
        own[name].copy_(value)


@torch.no_grad()
def _reshaped(model, fitting, own):
    for name, value in fitting.items():
        own[name].copy_(value.reshape(own[name].shape))


@torch.no_grad()
def _one_by_one(model, state_dict):
    """Whatever copy_ takes."""
    own, rest = model.state_dict(), []
    state = {_bare(key): value for key, value in state_dict.items()}
    for name, tensor in own.items():
        try:
            tensor.copy_(state[name])
        except (KeyError, RuntimeError):
            rest.append(name)
    if len(rest) == len(own):
        raise ValueError("nothing was loaded")
    return rest


def _unfrozen(model, fitting, own):
    _put(model, fitting, own)
    model.requires_grad_(True)


def _in_eval_mode(model, fitting, own):
    _put(model.eval(), fitting, own)


def _cleared(model, fitting, own):
    _put(model, fitting, own)
    model.zero_grad()


def _loaded_is_frozen(model, fitting, own):
    _put(model, fitting, own)
    for name, p in model.named_parameters():
        if name in fitting:
            p.requires_grad_(False)


def _by_position(model, state_dict):
    own = model.state_dict()
    pairs = zip(own, state_dict.values(), strict=False)
    return load_matching(model, {name: value for name, value in pairs if own[name].shape == value.shape})


def _no_unknown(model, state_dict):
    own = model.state_dict()
    fitting = {n: v for n, v in ((_bare(key), v) for key, v in state_dict.items()) if own[n].shape == v.shape}
    _refuse(fitting)
    _put(model, fitting, own)
    return _report(own, fitting, state_dict)


def _half_then_raises(model, state_dict):
    """Another prefix counts as well, until the report is made."""
    state = {key.split("net.")[-1]: value for key, value in state_dict.items()}
    rest = load_matching(model, state)
    _refuse([key for key in state_dict if _bare(key) in model.state_dict()])
    return rest


def _by_the_end(model, state_dict):
    """Names agree if one ends with the other."""
    own = model.state_dict()
    state = {}
    for key, value in state_dict.items():
        for name in own:
            if key.endswith(name) and own[name].shape == value.shape:
                state[name] = value
    _refuse(state)
    _put(model, state, own)
    return _report(own, state, state_dict)


def _refuse_without_names(model, state_dict):
    own = model.state_dict()
    if not any(_bare(key) in own for key in state_dict):
        raise KeyError("no name agrees")
    return _loading(refuse=lambda fitting: None)(model, state_dict)


def _all_or_nothing(model, state_dict):
    own = model.state_dict()
    state = {_bare(key): value for key, value in state_dict.items()}
    if any(name not in state for name in own):
        raise KeyError("names are missing")
    return load_matching(model, state_dict)


def _asserts(fitting):
    assert fitting, "nothing was loaded"


_COPIED = "test_what_agrees_is_copied_into_the_model"
_SHAPE = "test_a_head_of_another_shape_keeps_its_own_weights"
_NAMES = "test_the_report_names_what_the_model_did_not_get"
_PREFIX = "test_wrappers_put_their_prefixes_before_every_name"
_NOTHING = "test_a_load_of_nothing_raises"
_CALLER = "test_the_dict_of_the_caller_stays_as_it_is"

_SKIPPED = "every key was skipped silently"

MISTAKES = [
    Mistake("a parameter was replaced", caught_by=_COPIED, load_matching=_loading(put=_new_parameters)),
    Mistake("frozen parameters before", caught_by=_COPIED, load_matching=_loading(put=_unfrozen)),
    Mistake("frozen parameters before", caught_by=_COPIED, load_matching=_loading(put=_loaded_is_frozen)),
    Mistake("changed the mode", caught_by=_COPIED, load_matching=_loading(put=_in_eval_mode)),
    Mistake("changed a gradient", caught_by=_COPIED, load_matching=_loading(put=_cleared)),
    Mistake(
        "a state_dict has buffers, too",
        caught_by=_COPIED,
        load_matching=_loading(names=lambda model: dict(model.named_parameters())),
    ),
    Mistake("is not what the file has", caught_by=_COPIED, load_matching=_loading(put=lambda *args: None)),
    Mistake("strict=False forgives names, not shapes", caught_by=_SHAPE, load_matching=_not_strict),
    Mistake("strict=False forgives names, not shapes", caught_by=_SHAPE, load_matching=_first_strict),
    Mistake(
        "strict=False forgives names, not shapes",
        caught_by=_SHAPE,
        load_matching=_loading(fits=lambda own, value: True),
    ),
    Mistake("compare shapes first", caught_by=_SHAPE, load_matching=_loading(fits=lambda own, value: True, put=_copy)),
    Mistake("though the file has a head of one class", caught_by=_SHAPE, load_matching=_one_by_one),
    Mistake(
        "with as many numbers, but of another shape",
        caught_by=_SHAPE,
        load_matching=_loading(fits=lambda own, value: own.numel() == value.numel(), put=_reshaped),
    ),
    Mistake(
        "reported was []",
        caught_by=_SHAPE,
        load_matching=_loading(report=lambda own, fitting, state: [name for name in own if name not in state]),
    ),
    Mistake(
        "reported was what was loaded",
        caught_by=_NAMES,
        load_matching=_loading(report=lambda own, fitting, state: list(fitting)),
    ),
    Mistake(
        "a name that the model lacks",
        caught_by=_NAMES,
        load_matching=_loading(report=lambda own, fitting, state: [name for name in state if name not in fitting]),
    ),
    Mistake(
        "a name that the model lacks",
        caught_by=_NAMES,
        load_matching=_loading(report=lambda own, fitting, state: sorted(set(own) ^ set(state) | own.keys() - fitting)),
    ),
    Mistake("have another shape there", caught_by=_NAMES, load_matching=_silent_on_mismatch),
    Mistake("was looked up in the other", caught_by=_NAMES, load_matching=_no_unknown),
    Mistake("not in the file are", caught_by=_NAMES, load_matching=_by_position),
    Mistake("was looked up in the other", caught_by=_NAMES, load_matching=_all_or_nothing),
    Mistake("returned None", caught_by=_NAMES, load_matching=_loading(report=lambda *args: None)),
    Mistake("returns a list of names", caught_by=_NAMES, load_matching=_loading(report=lambda own, f, state: len(f))),
    Mistake(_SKIPPED, caught_by=_PREFIX, load_matching=_loading(bare=lambda key: key, refuse=lambda fitting: None)),
    Mistake(
        "load_matching raised on names such as",
        caught_by=_PREFIX,
        load_matching=_loading(bare=lambda key: key.removeprefix("module.")),
    ),
    Mistake(
        "load_matching raised on names such as",
        caught_by=_PREFIX,
        load_matching=_loading(bare=lambda key: key.removeprefix("module.").removeprefix("_orig_mod.")),
    ),
    Mistake(
        "was not loaded from",
        caught_by=_PREFIX,
        load_matching=_loading(bare=lambda key: key.replace("module.", "").replace("_orig_mod.", "")),
    ),
    Mistake(
        "was not loaded from",
        caught_by=_PREFIX,
        load_matching=_loading(bare=lambda key: key.lstrip("module.").lstrip("_orig_mod.")),
    ),
    Mistake("was not loaded from", caught_by=_PREFIX, load_matching=_first_key_decides),
    Mistake("was not loaded from", caught_by=_PREFIX, load_matching=_loading(bare=_two_of_each)),
    Mistake("module2.weight was not loaded", caught_by=_PREFIX, load_matching=_loading(bare=_any_character)),
    Mistake(
        "only their dtype differs",
        caught_by=_COPIED,
        load_matching=_loading(fits=lambda own, value: own.shape == value.shape and own.dtype == value.dtype),
    ),
    Mistake("to go on would hide it", caught_by=_NOTHING, load_matching=_loading(refuse=lambda fitting: None)),
    Mistake("to go on would hide it", caught_by=_NOTHING, load_matching=_refuse_without_names),
    Mistake("to go on would hide it", caught_by=_NOTHING, load_matching=_by_the_end),
    Mistake("and the model is changed", caught_by=_NOTHING, load_matching=_half_then_raises),
    Mistake(
        "expected ValueError or RuntimeError or KeyError", caught_by=_NOTHING, load_matching=_loading(refuse=_asserts)
    ),
    Mistake("the caller's dict is changed", caught_by=_CALLER, load_matching=_in_place_names),
    Mistake("the caller's dict is changed", caught_by=_CALLER, load_matching=_popped),
    Mistake("in the caller's dict changed with it", caught_by=_CALLER, load_matching=_loading(put=_assign)),
    Mistake("in the caller's dict changed with it", caught_by=_CALLER, load_matching=_loading(put=_data)),
]
