"""Loading a file can run a program: reference.

Hint: The protection is there by default. The work is to say why something was refused, and to allow no more than asked.
Hint: `torch.load(path, weights_only=True)`, `pickle.UnpicklingError`, `torch.serialization.safe_globals`.
Hint: Try to load; where the unpickler complains, its own message names the class, so return None and that message. For
the config, load inside of a `with` block that allows a list of one class.

Why: the pickle decides which functions are called, so no check after loading can help, and neither can a list of
forbidden names: there are too many harmless-looking ones. weights_only=True turns it round, with a short list of what
may be built. The message of the error names the first thing that is not on it;
`torch.serialization.get_unsafe_globals_in_checkpoint(path)` names all of them, without building anything. A class on
the list is trusted with its attributes too, so put small classes on it, for the time of one load.
"""

import argparse
import contextlib
import importlib
import pickle
import zipfile
from pathlib import Path

import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_unsafe_globals_in_checkpoint, safe_globals

from dojo import Mistake


def load_untrusted(path: str | Path) -> tuple[dict, None] | tuple[None, str]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        return None, str(error)
    return state, None


def load_with_config(path: str | Path, config_class: type) -> dict:
    with safe_globals([config_class]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _trusts(path):
    try:
        return torch.load(path, weights_only=False), None
    except Exception as error:
        return None, str(error)


def _falls_back(path):
    try:
        return torch.load(path), None
    except pickle.UnpicklingError:
        return torch.load(path, weights_only=False), None


def _old_files(path):
    """The protection is there for zip files only."""
    if zipfile.is_zipfile(path):
        return load_untrusted(path)
    return _trusts(path)


def _looks_first(path):
    """What is refused is loaded, to see what it is."""
    state, reason = load_untrusted(path)
    if state is None:
        return None, type(torch.load(path, weights_only=False)).__name__ + reason
    return state, None


def _black_list(path):
    names = get_unsafe_globals_in_checkpoint(path)
    if any(word in name for name in names for word in ("os.", "posix", "exec", "eval", "subprocess", "_create")):
        return None, ", ".join(names)
    return torch.load(path, weights_only=False), None


def _only_state_dicts(path):
    """Decides after the load."""
    state = torch.load(path, weights_only=False)
    if isinstance(state, dict):
        return state, None
    return None, type(state).__name__


def _with_reason(reason):
    def wrong(path):
        try:
            return torch.load(path, weights_only=True), None
        except pickle.UnpicklingError as error:
            return None, reason(error, path)

    return wrong


def _half_the_answer(path):
    try:
        return torch.load(path, weights_only=True)
    except pickle.UnpicklingError as error:
        return str(error)


def _swapped(path):
    return load_untrusted(path)[::-1]


def _empty_state(path):
    state, reason = load_untrusted(path)
    return ({}, reason) if reason else (state, None)


def _empty_reason(path):
    state, reason = load_untrusted(path)
    return state, reason or ""


def _tensors_only(path):
    state, reason = load_untrusted(path)
    if isinstance(state, dict):
        state = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    return state, reason


def _falsy(path):
    state, reason = load_untrusted(path)
    return (state, None) if state else (None, reason or "nothing in it")


def _method_of_path(path):
    return load_untrusted(path.resolve())


def _text_only(path):
    if not path.endswith(".pt"):
        return None, "no checkpoint"
    return load_untrusted(path)


def _models_too(path):
    with safe_globals([torch.nn.Linear]):
        return load_untrusted(path)


def _adds(path, config_class):
    add_safe_globals([config_class])
    return torch.load(path, weights_only=True)


def _adds_and_clears(path, config_class):
    add_safe_globals([config_class])
    try:
        return torch.load(path, weights_only=True)
    finally:
        clear_safe_globals()


def _takes_back_after_success(path, config_class):
    before = torch.serialization.get_safe_globals()
    add_safe_globals([config_class])
    loaded = torch.load(path, weights_only=True)
    clear_safe_globals()
    add_safe_globals(before)
    return loaded


def _trusts_with_config(path, config_class):
    return torch.load(path, weights_only=False)


def _trusts_inside(path, config_class):
    with safe_globals([config_class]):
        return torch.load(path, weights_only=False)


def _falls_back_with_config(path, config_class):
    try:
        return load_with_config(path, config_class)
    except pickle.UnpicklingError:
        return torch.load(path, weights_only=False)


def _allows_what_it_wants(path, config_class):
    wanted = []
    for name in get_unsafe_globals_in_checkpoint(path):
        module, _, attribute = name.rpartition(".")
        wanted.append(getattr(importlib.import_module(module), attribute))
    with safe_globals([config_class, *wanted]):
        return torch.load(path, weights_only=True)


def _allows_classes(path, config_class):
    """Classes are fine, functions are not."""
    wanted = []
    for name in get_unsafe_globals_in_checkpoint(path):
        module, _, attribute = name.rpartition(".")
        found = getattr(importlib.import_module(module), attribute)
        wanted += [found] if isinstance(found, type) else []
    with safe_globals([config_class, *wanted]):
        return torch.load(path, weights_only=True)


def _looks_for_its_class(path, config_class):
    if any(config_class.__name__ in name for name in get_unsafe_globals_in_checkpoint(path)):
        return torch.load(path, weights_only=False)
    return torch.load(path)


def _does_not_allow(path, config_class):
    return torch.load(path, weights_only=True)


def _only_the_config(path, config_class):
    return next(x for x in load_with_config(path, config_class).values() if isinstance(x, config_class))


def _as_dict(path, config_class):
    loaded = load_with_config(path, config_class)
    return {key: vars(x) if isinstance(x, config_class) else x for key, x in loaded.items()}


def _says_nothing(path, config_class):
    with contextlib.suppress(pickle.UnpicklingError):
        return load_with_config(path, config_class)
    return {}


def _namespaces_too(path, config_class):
    with safe_globals([config_class, argparse.Namespace]):
        return torch.load(path, weights_only=True)


def _allows_the_name(path, config_class):
    with safe_globals([config_class.__name__]):
        return torch.load(path, weights_only=True)


_PLAIN = "test_plain_data_needs_no_trust"
_RUNS = "test_code_in_a_file_does_not_run"
_WHOLE = "test_a_whole_model_is_refused_by_its_name"
_ONE = "test_one_class_can_be_allowed"
_ONCE = "test_a_class_is_allowed_for_one_load_only"
_NO_OTHER = "test_allowing_one_class_allows_no_other"

_CODE_RAN = "opening the file ran the code inside it"
_RAN_BESIDE = "load_with_config ran the code that stood in the file beside the config"
_NAME = "the reason has not the name of the class"
_ALL = "no other class may be loaded, and load_with_config raised no error"
_STILL = "TrainConfig is still on the allow-list of the whole process"


def _its_whole_module(path, config_class):
    module = importlib.import_module(config_class.__module__)
    with safe_globals([x for x in vars(module).values() if isinstance(x, type)]):
        return torch.load(path)


MISTAKES = [
    Mistake(_CODE_RAN, caught_by=_RUNS, load_untrusted=_trusts),
    Mistake(_CODE_RAN, caught_by=_RUNS, load_untrusted=_falls_back),
    Mistake(_CODE_RAN, caught_by=_RUNS, load_untrusted=_looks_first),
    Mistake(_CODE_RAN, caught_by=_RUNS, load_untrusted=_old_files),
    Mistake(_CODE_RAN, caught_by=_RUNS, load_untrusted=_only_state_dicts),
    Mistake(
        "a whole model is not plain data, and load_untrusted returned it", caught_by=_WHOLE, load_untrusted=_black_list
    ),
    Mistake(
        "load_untrusted raised on a file that torch.load refuses",
        caught_by=_RUNS,
        load_untrusted=lambda path: (torch.load(path, weights_only=True), None),
    ),
    Mistake(_NAME, caught_by=_WHOLE, load_untrusted=_with_reason(lambda error, path: type(error).__name__)),
    Mistake(_NAME, caught_by=_WHOLE, load_untrusted=_with_reason(lambda error, path: "the file is not safe")),
    Mistake(_NAME, caught_by=_WHOLE, load_untrusted=_with_reason(lambda error, path: str(error).split(".")[0])),
    Mistake("the reason is to be a text", caught_by=_WHOLE, load_untrusted=_with_reason(lambda error, path: error)),
    Mistake("the reason is to be a text", caught_by=_RUNS, load_untrusted=_with_reason(lambda error, path: None)),
    Mistake(_ALL, caught_by=_NO_OTHER, load_with_config=_says_nothing),
    Mistake(
        "the reason is to be a text",
        caught_by=_WHOLE,
        load_untrusted=_with_reason(lambda error, path: get_unsafe_globals_in_checkpoint(path)),
    ),
    Mistake("the reason is empty", caught_by=_RUNS, load_untrusted=_with_reason(lambda error, path: "")),
    Mistake("load_untrusted returns a pair", caught_by=_PLAIN, load_untrusted=_half_the_answer),
    Mistake("a file of plain data was refused", caught_by=_PLAIN, load_untrusted=_swapped),
    Mistake("is not plain data, and load_untrusted returned it", caught_by=_RUNS, load_untrusted=_empty_state),
    Mistake("a file of plain data was refused", caught_by=_PLAIN, load_untrusted=_empty_reason),
    Mistake("what comes back is the dict that was saved", caught_by=_PLAIN, load_untrusted=_tensors_only),
    Mistake("an empty dict is plain data too", caught_by=_PLAIN, load_untrusted=_falsy),
    Mistake("load_untrusted raised on a file of plain data", caught_by=_PLAIN, load_untrusted=_method_of_path),
    Mistake("load_untrusted raised on a file of plain data", caught_by=_PLAIN, load_untrusted=_text_only),
    Mistake("a layer of torch is not plain data", caught_by=_WHOLE, load_untrusted=_models_too),
    Mistake(_STILL, caught_by=_ONCE, load_with_config=_adds),
    Mistake("of the list belongs to others", caught_by=_ONCE, load_with_config=_adds_and_clears),
    Mistake(
        "the load failed, and TrainConfig is still on the allow-list",
        caught_by=_ONCE,
        load_with_config=_takes_back_after_success,
    ),
    Mistake(_RAN_BESIDE, caught_by=_NO_OTHER, load_with_config=_trusts_with_config),
    Mistake(_RAN_BESIDE, caught_by=_NO_OTHER, load_with_config=_trusts_inside),
    Mistake(_RAN_BESIDE, caught_by=_NO_OTHER, load_with_config=_falls_back_with_config),
    Mistake(_RAN_BESIDE, caught_by=_NO_OTHER, load_with_config=_allows_what_it_wants),
    Mistake(_ALL, caught_by=_NO_OTHER, load_with_config=_allows_classes),
    Mistake(_RAN_BESIDE, caught_by=_NO_OTHER, load_with_config=_looks_for_its_class),
    Mistake(_ALL, caught_by=_NO_OTHER, load_with_config=_namespaces_too),
    Mistake("load_with_config raised on a file with objects of", caught_by=_ONE, load_with_config=_does_not_allow),
    Mistake("load_with_config raised on a file with objects of", caught_by=_ONE, load_with_config=_allows_the_name),
    Mistake("what comes back is the dict that was saved", caught_by=_ONE, load_with_config=_only_the_config),
    Mistake("and came back as", caught_by=_ONE, load_with_config=_as_dict),
    Mistake(
        "load_with_config raised on a file of plain data",
        caught_by=_PLAIN,
        load_with_config=lambda path, config_class: load_with_config(path.resolve(), config_class),
    ),
    Mistake(_ALL, caught_by=_NO_OTHER, load_with_config=_its_whole_module),
]
