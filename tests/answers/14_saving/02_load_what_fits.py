"""Answers that people give to load_what_fits, right ones and wrong ones."""

import warnings
from collections import OrderedDict

import torch
from torch import nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from dojo import Mistake


def _strip(key):
    prefixes = ("module.", "_orig_mod.")
    changed = True
    while changed:
        changed = False
        for prefix in prefixes:
            if key.startswith(prefix):
                key = key[len(prefix) :]
                changed = True
    return key


def _loop(model, state_dict):
    target = model.state_dict()
    loaded = set()
    with torch.no_grad():
        for key, value in state_dict.items():
            name = _strip(key)
            if name in target and target[name].shape == value.shape:
                target[name].copy_(value)
                loaded.add(name)
    if not loaded:
        raise RuntimeError("no key fits")
    return sorted(set(target) - loaded)


def _merged(model, state_dict):
    """Fill a whole state_dict, then load it strictly."""
    full = OrderedDict(model.state_dict())
    missing = list(full)
    for key, value in state_dict.items():
        name = _strip(key)
        if name in full and full[name].size() == value.size():
            full[name] = value
            missing.remove(name)
    if len(missing) == len(full):
        raise KeyError("nothing to load")
    model.load_state_dict(full)
    return missing


def _consumed(model, state_dict):
    clean = dict(state_dict)
    before = None
    while before != list(clean):
        before = list(clean)
        for prefix in ("module.", "_orig_mod."):
            consume_prefix_in_state_dict_if_present(clean, prefix)
    own = model.state_dict()
    good = {k: v for k, v in clean.items() if k in own and v.shape == own[k].shape}
    if len(good) == 0:
        raise ValueError("nothing matched")
    missing, unexpected = model.load_state_dict(good, strict=False)
    assert not unexpected
    return missing


def _by_parts(key):
    parts = key.split(".")
    while parts and parts[0] in ("module", "_orig_mod"):
        parts.pop(0)
    return ".".join(parts)


def _tensors(model, state_dict):
    """Parameters and buffers, one by one."""
    bare = {_by_parts(key): value.detach().clone() for key, value in state_dict.items()}
    rest, count = [], 0
    for name, own in model.state_dict(keep_vars=True).items():
        value = bare.get(name)
        if value is None or list(value.shape) != list(own.shape):
            rest.append(name)
        else:
            own.data.copy_(value)
            count += 1
    if count == 0:
        raise ValueError("no entry fits")
    return tuple(rest)


def _as_a_set(model, state_dict):
    return set(_loop(model, state_dict))


def _data_of_clones(model, state_dict):
    """In an old style, which gives the model the dtype of the entry."""
    own = model.state_dict(keep_vars=True)
    rest = list(own)
    for key, value in state_dict.items():
        name = _by_parts(key)
        if name in rest and own[name].size() == value.size():
            own[name].data = value.clone()
            rest.remove(name)
    if rest == list(own):
        raise RuntimeError("nothing fits")
    return rest


def _words_of_a_beginner(model, state_dict):
    own = model.state_dict()
    keys = list(own.keys())
    done = []
    for key in state_dict:
        name = key
        while name[:7] == "module." or name[:10] == "_orig_mod.":
            name = name[7:] if name[:7] == "module." else name[10:]
        for k in keys:
            if k == name and tuple(own[k].shape) == tuple(state_dict[key].shape):
                own[k] = state_dict[key]
                done.append(k)
    if done == []:
        raise ValueError("nothing fits")
    model.load_state_dict(own)
    for k in done:
        keys.remove(k)
    return keys


_STYLES = (_loop, _merged, _consumed, _tensors, _as_a_set, _words_of_a_beginner, _data_of_clones)
RIGHT = [{"load_matching": f} for f in _STYLES]


def _filtered(clean, check=True, shapes=True):
    def load(model, state_dict):
        own = model.state_dict()
        good = {}
        for key, value in state_dict.items():
            name = clean(key)
            if name in own and (not shapes or own[name].shape == value.shape):
                good[name] = value
        if check and not good:
            raise ValueError("nothing to load")
        missing, _ = model.load_state_dict(good, strict=False)
        return missing

    return load


def _warns(model, state_dict):
    try:
        return _loop(model, state_dict)
    except RuntimeError:
        warnings.warn("nothing was loaded", stacklevel=2)
        return list(model.state_dict())


def _raises_exception(model, state_dict):
    rest = _filtered(_strip, check=False)(model, state_dict)
    if len(rest) == len(model.state_dict()):
        raise AssertionError("nothing was loaded")
    return rest


def _strict_false(model, state_dict):
    missing, _ = model.load_state_dict({_strip(k): v for k, v in state_dict.items()}, strict=False)
    if len(missing) == len(model.state_dict()):
        raise ValueError("nothing to load")
    return missing


def _replaced(model, state_dict):
    rest = _loop(model, state_dict)
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(p.detach().clone(), requires_grad=p.requires_grad))
    return rest


def _parameters_only(model, state_dict):
    own, rest, n = dict(model.named_parameters()), [], 0
    clean = {_strip(k): v for k, v in state_dict.items()}
    with torch.no_grad():
        for name, p in own.items():
            if name in clean and clean[name].shape == p.shape:
                p.copy_(clean[name])
                n += 1
            else:
                rest.append(name)
    if not n:
        raise ValueError("nothing was loaded")
    return rest


def _both_lists(model, state_dict):
    missing = _loop(model, state_dict)
    return missing + [key for key in state_dict if _strip(key) not in model.state_dict()]


def _mismatched_only(model, state_dict):
    _loop(model, state_dict)
    own, clean = model.state_dict(), {_strip(k): v for k, v in state_dict.items()}
    return [name for name in own if name in clean and clean[name].shape != own[name].shape]


def _silently(model, state_dict):
    rest = _loop(model, state_dict)
    own = model.state_dict()
    return [name for name in rest if name not in {_strip(key) for key in state_dict} or name not in own]


def _loaded_names(model, state_dict):
    rest = _loop(model, state_dict)
    return [name for name in model.state_dict() if name not in rest]


def _consumes(model, state_dict):
    for _ in range(3):
        for prefix in ("module.", "_orig_mod."):
            consume_prefix_in_state_dict_if_present(state_dict, prefix)
    return _loop(model, state_dict)


def _updates(model, state_dict):
    rest = _loop(model, state_dict)
    for name in rest:
        state_dict.pop(name, None)
    return rest


def _swapped_in(model, state_dict):
    own = model.state_dict(keep_vars=True)
    rest = _loop(model, state_dict)
    for key, value in state_dict.items():
        name = _strip(key)
        if name in own and name not in rest:
            own[name].data = value
    return rest


def _counts(model, state_dict):
    return len(_loop(model, state_dict))


def _no_return(model, state_dict):
    _loop(model, state_dict)


def _thawed(model, state_dict):
    rest = _loop(model, state_dict)
    for name, p in model.named_parameters():
        p.requires_grad = name not in rest
    return rest


def _cut(key):
    return key.split("module.")[-1].split("_orig_mod.")[-1]


def _cut_as_the_first(model, state_dict):
    n = max((len(key) - len(_strip(key)) for key in list(state_dict)[:1]), default=0)
    return _filtered(lambda key: key[n:])(model, state_dict)


def _same_dtype(model, state_dict):
    own = model.state_dict()
    return _loop(model, {k: v for k, v in state_dict.items() if _strip(k) in own and v.dtype == own[_strip(k)].dtype})


def _without_dots(key):
    while key.startswith(("module", "_orig_mod")):
        key = key.partition(".")[2]
    return key


WRONG = [
    Mistake("was not loaded from", caught_by="", load_matching=_cut_as_the_first),
    Mistake("only their dtype differs", caught_by="", load_matching=_same_dtype),
    Mistake("module2.weight was not loaded", caught_by="", load_matching=_filtered(_without_dots)),
    Mistake("load_matching raised on names such as", caught_by="", load_matching=_filtered(lambda key: key)),
    Mistake(
        "load_matching raised on names such as",
        caught_by="",
        load_matching=_filtered(lambda key: key[len("module.") :] if key.startswith("module.") else key),
    ),
    Mistake(
        "load_matching raised on names such as",
        caught_by="",
        load_matching=_filtered(lambda key: key.removeprefix("_orig_mod.").removeprefix("module.")),
    ),
    Mistake("every key was skipped silently", caught_by="", load_matching=_filtered(str, check=False)),
    Mistake("was not loaded from", caught_by="", load_matching=_filtered(_cut)),
    Mistake("strict=False forgives names, not shapes", caught_by="", load_matching=_strict_false),
    Mistake("strict=False forgives names, not shapes", caught_by="", load_matching=_filtered(_strip, shapes=False)),
    Mistake("to go on would hide it", caught_by="", load_matching=_warns),
    Mistake("to go on would hide it", caught_by="", load_matching=_filtered(_strip, check=False)),
    Mistake("expected ValueError or RuntimeError or KeyError", caught_by="", load_matching=_raises_exception),
    Mistake("a parameter was replaced", caught_by="", load_matching=_replaced),
    Mistake("a state_dict has buffers, too", caught_by="", load_matching=_parameters_only),
    Mistake("a name that the model lacks", caught_by="", load_matching=_both_lists),
    Mistake("have another shape there", caught_by="", load_matching=_mismatched_only),
    Mistake("reported was []", caught_by="", load_matching=_silently),
    Mistake("reported was what was loaded", caught_by="", load_matching=_loaded_names),
    Mistake("the caller's dict is changed", caught_by="", load_matching=_consumes),
    Mistake("the caller's dict is changed", caught_by="", load_matching=_updates),
    Mistake("in the caller's dict changed with it", caught_by="", load_matching=_swapped_in),
    Mistake("returns a list of names", caught_by="", load_matching=_counts),
    Mistake("returned None", caught_by="", load_matching=_no_return),
    Mistake("frozen parameters before", caught_by="", load_matching=_thawed),
]
