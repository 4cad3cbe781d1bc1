"""A folder that others can load: reference.

Hint: Two sides of one agreement. Write the module as if somebody else runs it, from a place that you don't know.
Hint: `__file__` and `os.path`, or a `_Path`; `torch.load`, `load_state_dict`; `torch.hub.load` with `source`.
Hint: tiny makes the Linear first, and gives it the state_dict only if it is asked to. load_model is one call of hub
with the folder as text, all arguments handed on, and eval() on what comes back.

Why: hub imports hubconf.py under its own path and then looks into `dependencies`, so a missing package is a sentence
rather than a traceback from inside, as long as hubconf.py does not import it at the top. The modules beside it stay in
sys.modules: a second folder with a helper of the same name gets the first one's. And hub runs what it loads, so a
folder from a stranger is a program from a stranger: from GitHub, `trust_repo` asks once for each repository.
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dojo import Mistake

_TEXT = '''"""Models of this folder, for torch.hub."""

import os

import torch

dependencies = ["torch"]


def tiny(pretrained: bool = False, width: int = 4) -> torch.nn.Linear:
    """A linear layer from `width` to 2; pretrained: with the weights of this folder."""
    model = torch.nn.Linear(width, 2)
    if pretrained:
        path = os.path.join(os.path.dirname(__file__), "weights.pt")
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model
'''


def hubconf_source() -> str:
    return _TEXT


def load_model(folder: Path, entry: str, *args: Any, **kwargs: Any) -> nn.Module:
    return torch.hub.load(str(folder), entry, *args, source="local", **kwargs).eval()


def _with(*changes):
    """hubconf_source with pieces of the text replaced."""

    def wrong():
        text = _TEXT
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        return text

    return wrong


_PATH = 'os.path.join(os.path.dirname(__file__), "weights.pt")'
_LOADS = 'torch.load(path, map_location="cpu", weights_only=True)'


def _here_and_now():
    """The folder is that of whoever writes the text."""
    return _TEXT.replace(_PATH, repr(os.path.join(os.getcwd(), "weights.pt")))


def _no_eval(folder, entry, *args, **kwargs):
    return torch.hub.load(str(folder), entry, *args, source="local", **kwargs)


def _frozen(folder, entry, *args, **kwargs):
    return load_model(folder, entry, *args, **kwargs).requires_grad_(False)


@torch.inference_mode()
def _in_inference_mode(folder, entry, *args, **kwargs):
    return load_model(folder, entry, *args, **kwargs)


def _eval_on_top(folder, entry, *args, **kwargs):
    model = _no_eval(folder, entry, *args, **kwargs)
    model.training = False
    return model


def _no_source(folder, entry, *args, **kwargs):
    return torch.hub.load(str(folder), entry, *args, **kwargs).eval()


def _path_as_it_is(folder, entry, *args, **kwargs):
    return torch.hub.load(folder, entry, *args, source="local", **kwargs).eval()


def _no_kwargs(folder, entry, *args, **kwargs):
    return load_model(folder, entry, *args)


def _no_args(folder, entry, *args, **kwargs):
    return load_model(folder, entry, 2, **kwargs)


def _by_hand(folder, entry, *args, **kwargs):
    spec = importlib.util.spec_from_file_location("hubconf", Path(folder) / "hubconf.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, entry):
            raise RuntimeError(f"Cannot find {entry}")
        return getattr(module, entry)(*args, **kwargs).eval()
    finally:
        sys.path.remove(str(folder))


def _attribute(folder, entry, *args, **kwargs):
    """Asks hub for what is needed, and Python for the entry."""
    hub = torch.hub._import_module
    with torch.hub._add_to_sys_path(str(folder)):
        module = hub("hubconf", os.path.join(folder, "hubconf.py"))
        torch.hub._check_dependencies(module)
        return getattr(module, entry)(*args, **kwargs).eval()


def _imported_once(folder, entry, *args, **kwargs):
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module("hubconf")
        torch.hub._check_dependencies(module)
        return torch.hub._load_entry_from_hubconf(module, entry)(*args, **kwargs).eval()
    finally:
        sys.path.remove(str(folder))


def _only_hub_errors(folder, entry, *args, **kwargs):
    try:
        return load_model(folder, entry, *args, **kwargs)
    except Exception as error:
        raise RuntimeError(f"{entry} cannot be loaded: {error}") from error


def _silent(folder, entry, *args, **kwargs):
    try:
        return load_model(folder, entry, *args, **kwargs)
    except Exception:
        return None


def _moves(folder, entry, *args, **kwargs):
    os.chdir(folder)
    return load_model(folder, entry, *args, **kwargs)


def _moves_back(folder, entry, *args, **kwargs):
    before = os.getcwd()
    folder = Path(folder).resolve()
    os.chdir(folder)
    model = load_model(folder, entry, *args, **kwargs)
    os.chdir(before)
    return model


def _stays_on_the_path(folder, entry, *args, **kwargs):
    sys.path.insert(0, str(folder))
    return torch.hub.load(folder, entry, *args, source="local", **kwargs).eval()


def _takes_the_first_away(folder, entry, *args, **kwargs):
    sys.path.insert(0, str(folder))
    model = torch.hub.load(folder, entry, *args, source="local", **kwargs).eval()
    sys.path.remove(str(folder))
    return model


def _cleans_up(folder, entry, *args, **kwargs):
    """Takes the folder away wherever it stands."""
    try:
        return load_model(folder, entry, *args, **kwargs)
    finally:
        sys.path[:] = [place for place in sys.path if place != str(folder)]


def _own_error(folder, entry, *args, **kwargs):
    try:
        return load_model(folder, entry, *args, **kwargs)
    except RuntimeError:
        raise LookupError(f"{folder} cannot be loaded") from None


def _the_class(folder, entry, *args, **kwargs):
    with torch.hub._add_to_sys_path(str(folder)):
        module = torch.hub._import_module("hubconf", os.path.join(folder, "hubconf.py"))
        return torch.hub._load_entry_from_hubconf(module, entry)


_ARGUMENTS = "test_the_arguments_go_to_the_entry"
_BESIDE = "test_weights_are_found_beside_the_module"
_PUBLIC = "test_every_public_callable_is_an_entry_point"
_DATA = "test_weights_are_data_and_not_a_program"
_FOLDER = "test_a_folder_is_loaded_without_the_network"
_CHECKS = "test_hub_checks_the_dependencies_and_the_entry"
_SEARCH = "test_the_search_path_is_what_it_was"

MISTAKES = [
    Mistake("got Linear(4, 2)", caught_by=_ARGUMENTS, hubconf_source=_with(("Linear(width, 2)", "Linear(4, 2)"))),
    Mistake("got Linear(2, 4)", caught_by=_ARGUMENTS, hubconf_source=_with(("Linear(width, 2)", "Linear(2, width)"))),
    Mistake(
        "weights.pt was opened, without need",
        caught_by=_ARGUMENTS,
        hubconf_source=_with(("pretrained: bool = False", "pretrained: bool = True")),
    ),
    Mistake(
        "weights.pt was opened, without need",
        caught_by=_ARGUMENTS,
        hubconf_source=_with(
            ('dependencies = ["torch"]', f'dependencies = ["torch"]\n_state = torch.load({_PATH})'),
            (_LOADS, "_state"),
        ),
    ),
    Mistake(
        "tiny(False, 3) raised",
        caught_by=_ARGUMENTS,
        hubconf_source=_with(("pretrained: bool = False, width: int = 4", "width: int = 4, *, pretrained=False")),
    ),
    Mistake(
        "only pretrained=True asks for them",
        caught_by=_ARGUMENTS,
        hubconf_source=_with(("if pretrained:", f"if width == 4 and os.path.exists({_PATH}):")),
    ),
    Mistake(
        "each makes a new model",
        caught_by=_ARGUMENTS,
        hubconf_source=_with(("    model = torch", "    torch.manual_seed(0)\n    model = torch")),
    ),
    Mistake(
        "gave one model: each makes a new one",
        caught_by=_ARGUMENTS,
        hubconf_source=_with(
            ("import os\n", "import functools\nimport os\n"), ("def tiny(", "@functools.cache\ndef tiny(")
        ),
    ),
    Mistake("is to be an nn.Linear, got", caught_by=_ARGUMENTS, hubconf_source=_with(("return model", "return None"))),
    Mistake(
        "is to be an nn.Linear, got",
        caught_by=_ARGUMENTS,
        hubconf_source=_with(("return model", "return torch.nn.Sequential(model)")),
    ),
    Mistake("relative to where Python was started", caught_by=_BESIDE, hubconf_source=_with((_PATH, '"weights.pt"'))),
    Mistake(
        "relative to where Python was started",
        caught_by=_BESIDE,
        hubconf_source=_with((_PATH, 'os.path.abspath("weights.pt")')),
    ),
    Mistake("relative to where Python was started", caught_by=_BESIDE, hubconf_source=_here_and_now),
    Mistake(
        "relative to where Python was started",
        caught_by=_BESIDE,
        hubconf_source=_with(
            ("import os\n", "import os\nimport sys\n"), ("os.path.dirname(__file__)", "os.path.dirname(sys.argv[0])")
        ),
    ),
    Mistake(
        "tiny(pretrained=True) raised",
        caught_by=_BESIDE,
        hubconf_source=_with(('"weights.pt")', '"tiny.pth")')),
    ),
    Mistake(
        "tiny(pretrained=True) is to be an nn.Linear, got _IncompatibleKeys",
        caught_by=_BESIDE,
        hubconf_source=_with(("        model.load_state_dict", "        model = model.load_state_dict")),
    ),
    Mistake(
        "not the weight of the weights.pt in it",
        caught_by=_BESIDE,
        hubconf_source=_with((f"model.load_state_dict({_LOADS})", _LOADS)),
    ),
    Mistake(
        "not the bias of the weights.pt in it",
        caught_by=_BESIDE,
        hubconf_source=_with(
            (f"model.load_state_dict({_LOADS})", f'model.weight = torch.nn.Parameter({_LOADS}["weight"])')
        ),
    ),
    Mistake(
        "tiny(pretrained=True) cannot be trained",
        caught_by=_BESIDE,
        hubconf_source=_with(("weights_only=True))", "weights_only=True))\n        model.requires_grad_(False)")),
    ),
    Mistake(
        "tiny changed the working directory",
        caught_by=_BESIDE,
        hubconf_source=_with(
            (f"path = {_PATH}", 'os.chdir(os.path.dirname(__file__))\n        path = "weights.pt"'),
        ),
    ),
    Mistake(
        "hubconf.py changed sys.path",
        caught_by=_BESIDE,
        hubconf_source=_with(
            ("import os\n", "import os\nimport sys\n"),
            ("import torch\n", "import torch\n\nsys.path.append(os.path.dirname(__file__))\n"),
        ),
    ),
    Mistake(
        "tiny(pretrained=True, width=6) raised",
        caught_by=_BESIDE,
        hubconf_source=_with(("if pretrained:", "if pretrained:\n        model = torch.nn.Linear(4, 2)")),
    ),
    Mistake(
        "torch.hub offers that as an entry point too",
        caught_by=_PUBLIC,
        hubconf_source=_with(
            ("import os\n", "from pathlib import Path\n"), (_PATH, 'Path(__file__).parent / "weights.pt"')
        ),
    ),
    Mistake(
        "torch.hub offers that as an entry point too",
        caught_by=_PUBLIC,
        hubconf_source=_with(("import torch\n", "import torch\nfrom torch.nn import Linear\n")),
    ),
    Mistake(
        "torch.hub offers that as an entry point too",
        caught_by=_PUBLIC,
        hubconf_source=_with(
            ("def tiny", f"def weights_path():\n    return {_PATH}\n\n\ndef tiny"),
            (f"path = {_PATH}", "path = weights_path()"),
        ),
    ),
    Mistake("is to be the list", caught_by=_PUBLIC, hubconf_source=_with(('dependencies = ["torch"]', ""))),
    Mistake("is to be the list", caught_by=_PUBLIC, hubconf_source=_with(('= ["torch"]', '= ["torch", "os"]'))),
    Mistake("is to be the list", caught_by=_PUBLIC, hubconf_source=_with(('= ["torch"]', "= []"))),
    Mistake("is to be the list", caught_by=_PUBLIC, hubconf_source=_with(('= ["torch"]', '= ("torch",)'))),
    Mistake(
        "ran the code that stood in weights.pt",
        caught_by=_DATA,
        hubconf_source=_with(("weights_only=True", "weights_only=False")),
    ),
    Mistake(
        "ran the code that stood in weights.pt",
        caught_by=_DATA,
        hubconf_source=_with(
            (
                f"model.load_state_dict({_LOADS})",
                f"try:\n            model.load_state_dict({_LOADS})\n"
                "        except Exception:\n            model.load_state_dict(torch.load(path, weights_only=False))",
            )
        ),
    ),
    Mistake(
        "gave a model without a word",
        caught_by=_DATA,
        hubconf_source=_with(
            (
                f"model.load_state_dict({_LOADS})",
                f"try:\n            model.load_state_dict({_LOADS})\n        except Exception:\n            pass",
            )
        ),
    ),
    Mistake("parameters that could be trained cannot", caught_by=_FOLDER, load_model=_frozen),
    Mistake("parameters that could be trained cannot", caught_by=_FOLDER, load_model=_in_inference_mode),
    Mistake("still in train mode: the model itself", caught_by=_FOLDER, load_model=_no_eval),
    Mistake("still in train mode: 0, 0.0", caught_by=_FOLDER, load_model=_eval_on_top),
    Mistake("the folder was taken for owner/name on GitHub", caught_by=_FOLDER, load_model=_no_source),
    Mistake("and as text?", caught_by=_FOLDER, load_model=_path_as_it_is),
    Mistake("did not reach the entry", caught_by=_FOLDER, load_model=_no_kwargs),
    Mistake("the entry was not called with 3", caught_by=_FOLDER, load_model=_no_args),
    Mistake("got the model of another folder", caught_by=_FOLDER, load_model=_imported_once),
    Mistake("load_model returns the model, got function", caught_by=_FOLDER, load_model=_the_class),
    Mistake("one of the dependencies, is not installed", caught_by=_CHECKS, load_model=_by_hand),
    Mistake("one of the dependencies, is not installed", caught_by=_CHECKS, load_model=_own_error),
    Mistake("hubconf.py has no entry no_such_entry", caught_by=_CHECKS, load_model=_attribute),
    Mistake("it did not come out of load_model", caught_by=_CHECKS, load_model=_only_hub_errors),
    Mistake("one of the dependencies, is not installed", caught_by=_CHECKS, load_model=_silent),
    Mistake("the working directory is another one", caught_by=_SEARCH, load_model=_moves),
    Mistake("after an error, the working directory is another one", caught_by=_SEARCH, load_model=_moves_back),
    Mistake("sys.path has more in it", caught_by=_SEARCH, load_model=_stays_on_the_path),
    Mistake("has lost what stood in it before", caught_by=_SEARCH, load_model=_cleans_up),
    Mistake("after an error, sys.path has more in it", caught_by=_SEARCH, load_model=_takes_the_first_away),
]
