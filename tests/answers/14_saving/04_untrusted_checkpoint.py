"""Answers that people give to untrusted_checkpoint, right ones and wrong ones."""

import io
import os
import pickle
import re
from pathlib import Path

import torch
from torch.serialization import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    get_unsafe_globals_in_checkpoint,
    safe_globals,
)

from dojo import Mistake


def _asks_first(path):
    refused = get_unsafe_globals_in_checkpoint(path)
    if refused:
        return None, "refused: " + ", ".join(refused)
    return torch.load(path, map_location="cpu"), None


def _with_names(path):
    try:
        state = torch.load(str(path), map_location="cpu")
    except Exception as error:
        found = re.findall(r"GLOBAL ([\w.]+)", str(error))
        return None, f"{type(error).__name__}: {found or error}"
    return state, None


def _through_bytes(path):
    data = io.BytesIO(Path(path).read_bytes())
    try:
        return torch.load(data, weights_only=True), None
    except pickle.UnpicklingError as error:
        return None, repr(error)


def _open_file(path):
    with open(os.fspath(path), "rb") as file:
        try:
            state, reason = torch.load(file, weights_only=True), None
        except RuntimeError as error:
            state, reason = None, str(error)
        except pickle.PickleError as error:
            state, reason = None, "\n".join(error.args)
    return state, reason


def _put_back(path, config_class):
    before = get_safe_globals()
    add_safe_globals([config_class])
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    finally:
        clear_safe_globals()
        add_safe_globals(before)


def _checks_first(path, config_class):
    with safe_globals([config_class]):
        rest = get_unsafe_globals_in_checkpoint(path)
        if rest:
            raise ValueError(f"the file also wants {rest}")
        return torch.load(path)


def _with_a_path(path, config_class):
    name = f"{config_class.__module__}.{config_class.__qualname__}"
    with Path(path).open("rb") as file, safe_globals([(config_class, name)]):
        return torch.load(file, weights_only=True)


RIGHT = [
    {"load_untrusted": _asks_first, "load_with_config": _put_back},
    {"load_untrusted": _with_names, "load_with_config": _checks_first},
    {"load_untrusted": _through_bytes, "load_with_config": _with_a_path},
    {"load_untrusted": _open_file},
]


def _safe(path):
    return torch.load(path, weights_only=True), None


def _plain_pickle(path):
    """As before torch.load had a default."""
    try:
        return torch.load(path, pickle_module=pickle, weights_only=False), None
    except Exception as error:
        return None, str(error)


def _checks_the_values(path):
    state = torch.load(path, weights_only=False)
    for value in state.values() if isinstance(state, dict) else [state]:
        if not isinstance(value, torch.Tensor | int | float | str | list | dict):
            return None, type(value).__name__
    return state, None


def _asks_for_functions(path):
    """Looks whether the name begins with a small letter."""
    names = get_unsafe_globals_in_checkpoint(path)
    if any(name.rpartition(".")[2].lstrip("_").islower() for name in names):
        return None, ", ".join(names)
    return torch.load(path, weights_only=False), None


def _no_pair(path):
    try:
        return torch.load(path)
    except pickle.UnpicklingError:
        return None


def _state_and_empty(path):
    try:
        return torch.load(path), ""
    except pickle.UnpicklingError as error:
        return None, str(error)


def _first_line(path):
    try:
        return _safe(path)
    except pickle.UnpicklingError as error:
        return None, str(error).splitlines()[0]


def _module_only(path):
    names = get_unsafe_globals_in_checkpoint(path)
    if names:
        return None, names[0].split(".")[0]
    return _safe(path)


def _with_suffix(path):
    if path.suffix != ".pt":
        return None, "not a checkpoint"
    return _safe(path)


def _everything_is_refused(path):
    return None, ", ".join(get_unsafe_globals_in_checkpoint(path)) or "nothing is trusted"


def _raises_again(path):
    try:
        return _safe(path)
    except pickle.UnpicklingError as error:
        raise ValueError(str(error)) from error


def _all_or_nothing(path, config_class):
    names = get_unsafe_globals_in_checkpoint(path)
    if names and not any(name.endswith(config_class.__name__) for name in names):
        raise ValueError("another class")
    return torch.load(path, weights_only=False)


def _enters_only(path, config_class):
    safe_globals([config_class]).__enter__()
    return torch.load(path, weights_only=True)


def _leaves_at_the_end(path, config_class):
    allowed = safe_globals([config_class])
    allowed.__enter__()
    loaded = torch.load(path, weights_only=True)
    allowed.__exit__(None, None, None)
    return loaded


def _begins_anew(path, config_class):
    clear_safe_globals()
    with safe_globals([config_class]):
        return torch.load(path, weights_only=True)


def _after_the_block(path, config_class):
    with safe_globals([config_class]):
        pass
    return torch.load(path)


def _its_instances(path, config_class):
    with safe_globals([config_class]):
        loaded = torch.load(path)
    return {key: value for key, value in loaded.items() if isinstance(value, config_class)}


def _rebuilt(path, config_class):
    with safe_globals([config_class]):
        loaded = torch.load(path)
    return {k: str(v) if isinstance(v, config_class) else v for k, v in loaded.items()}


def _checks_afterwards(path, config_class):
    loaded = torch.load(path, weights_only=False)
    kinds = (torch.Tensor, int, float, str, bytes, list, tuple, dict, type(None), config_class)
    if not all(isinstance(value, kinds) for value in loaded.values()):
        raise TypeError("another class")
    return loaded


_CODE_RAN = "opening the file ran the code inside it"
_NAME = "the reason has not the name of the class"
_ALL = "no other class may be loaded, and load_with_config raised no error"
_STILL = "TrainConfig is still on the allow-list of the whole process"

WRONG = [
    Mistake(_CODE_RAN, caught_by="", load_untrusted=_plain_pickle),
    Mistake(_CODE_RAN, caught_by="", load_untrusted=_checks_the_values),
    Mistake(
        "a whole model is not plain data, and load_untrusted returned it",
        caught_by="",
        load_untrusted=_asks_for_functions,
    ),
    Mistake("load_untrusted returns a pair", caught_by="", load_untrusted=_no_pair),
    Mistake("a file of plain data was refused", caught_by="", load_untrusted=_state_and_empty),
    Mistake(_NAME, caught_by="", load_untrusted=_first_line),
    Mistake(_NAME, caught_by="", load_untrusted=_module_only),
    Mistake("load_untrusted raised on a file of plain data", caught_by="", load_untrusted=_with_suffix),
    Mistake("a file of plain data was refused", caught_by="", load_untrusted=_everything_is_refused),
    Mistake("load_untrusted raised on a file that torch.load refuses", caught_by="", load_untrusted=_raises_again),
    Mistake(_ALL, caught_by="", load_with_config=_all_or_nothing),
    Mistake(_ALL, caught_by="", load_with_config=_checks_afterwards),
    Mistake(_STILL, caught_by="", load_with_config=_enters_only),
    Mistake(
        "the load failed, and TrainConfig is still on the allow-list", caught_by="", load_with_config=_leaves_at_the_end
    ),
    Mistake("of the list belongs to others", caught_by="", load_with_config=_begins_anew),
    Mistake("load_with_config raised on a file with objects of", caught_by="", load_with_config=_after_the_block),
    Mistake("what comes back is the dict that was saved", caught_by="", load_with_config=_its_instances),
    Mistake("and came back as", caught_by="", load_with_config=_rebuilt),
    Mistake(_ALL, caught_by="", load_with_config=lambda path, _: pickle.loads(b"\x80\x02}q\x00.")),
]


def _allowed_all_torch(path):
    with safe_globals([torch.nn.Linear, torch.nn.Sequential, torch.nn.GRU, set]):
        return torch.load(path, weights_only=True), None


def _peeks(path):
    names = get_unsafe_globals_in_checkpoint(path)
    if names:
        return None, names[-1].split(".")[-1] if len(names) > 5 else names
    return torch.load(path), None


def _reason_is_cause(path):
    try:
        return torch.load(path, weights_only=True), None
    except pickle.UnpicklingError as error:
        return None, str(error.__cause__)


def _raw_pickle(path):
    """A file that torch.load cannot open may be from pickle.dump."""
    try:
        return torch.load(path), None
    except Exception as error:
        if "Unsupported global" in str(error) and Path(path).read_bytes()[:2] == b"PK":
            return None, str(error)
    try:
        return pickle.loads(Path(path).read_bytes()), None
    except Exception as error:
        return None, str(error)


def _clears_first(path, config_class):
    clear_safe_globals()
    add_safe_globals([config_class])
    try:
        return torch.load(path)
    finally:
        clear_safe_globals()


def _plain_or_all(path, config_class):
    """Old files cannot be asked what they want."""
    try:
        names = get_unsafe_globals_in_checkpoint(path)
    except ValueError:
        return torch.load(path, weights_only=False)
    with safe_globals([config_class]):
        return torch.load(path) if names else torch.load(path, weights_only=True)


def _sub_class(path, config_class):
    with safe_globals([config_class, *config_class.__mro__, torch.nn.Linear]):
        return torch.load(path)


def _module_of(path, config_class):
    import sys

    module = sys.modules[config_class.__module__]
    with safe_globals([x for x in vars(module).values() if callable(x)]):
        return torch.load(path)


def _unsafe_when_ok(path, config_class):
    names = get_unsafe_globals_in_checkpoint(path)
    if names == [f"{config_class.__module__}.{config_class.__name__}"] or not names:
        return torch.load(path, weights_only=False)
    raise ValueError(names)


RIGHT += [{"load_with_config": _unsafe_when_ok}]
WRONG += [
    Mistake("the reason has not the name of the class", caught_by="", load_untrusted=_reason_is_cause),
    Mistake("the reason is to be a text", caught_by="", load_untrusted=_peeks),
    Mistake("load_untrusted raised on a file that torch.load refuses", caught_by="", load_untrusted=_allowed_all_torch),
    Mistake(_ALL, caught_by="", load_with_config=_sub_class),
    Mistake(_CODE_RAN, caught_by="", load_untrusted=_raw_pickle),
    Mistake("of the list belongs to others", caught_by="", load_with_config=_clears_first),
    Mistake(
        "load_with_config ran the code that stood in the file beside the config",
        caught_by="",
        load_with_config=_plain_or_all,
    ),
    Mistake(_ALL, caught_by="", load_with_config=_module_of),
]
