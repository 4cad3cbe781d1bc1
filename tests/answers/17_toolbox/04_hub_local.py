"""Answers that people give to hub_local, right ones and wrong ones."""

import inspect
import os
import sys
import textwrap
from importlib import util
from pathlib import Path

import torch

from dojo import Mistake


def _with_pathlib():
    return textwrap.dedent(
        """\
        from pathlib import Path as _Path

        import torch
        from torch import nn

        dependencies = ["torch"]
        _WEIGHTS = _Path(__file__).resolve().parent / "weights.pt"


        def _load(path):
            return torch.load(path, weights_only=True)


        def tiny(pretrained=False, width=4):
            layer = nn.Linear(width, 2)
            if pretrained:
                layer.load_state_dict(_load(_WEIGHTS))
            return layer
        """
    )


def _joined():
    return "\n".join(
        [
            "dependencies = ['torch']",
            "def tiny(pretrained: bool = False, width: int = 4):",
            "    import os, torch",
            "    from torch.nn import Linear",
            "    m = Linear(width, 2)",
            "    if not pretrained:",
            "        return m",
            "    here = os.path.dirname(os.path.abspath(__file__))",
            "    with open(os.path.join(here, 'weights.pt'), 'rb') as f:",
            "        state = torch.load(f)",
            "    m.weight.data.copy_(state['weight'])",
            "    m.bias.data.copy_(state['bias'])",
            "    return m",
        ]
    )


def _a_class():
    return (
        "import torch, os.path\n"
        "dependencies = ['torch']\n"
        "class tiny(torch.nn.Linear):\n"
        "    def __init__(self, pretrained=False, width=4):\n"
        "        super().__init__(width, 2)\n"
        "        if pretrained:\n"
        "            self.load_state_dict(torch.load(os.path.dirname(__file__) + '/weights.pt', mmap=True))\n"
    )


def tiny(pretrained: bool = False, width: int = 4) -> torch.nn.Linear:
    import importlib.util  # noqa: F401
    from pathlib import Path

    model = torch.nn.Linear(in_features=width, out_features=2)
    if pretrained:
        model.load_state_dict(torch.load(Path(__file__).with_name("weights.pt")))
    return model


def _own_source():
    return f'import torch\n\ndependencies = ["torch"]\n\n\n{inspect.getsource(tiny)}'


def _resolved(folder, entry, *args, **kwargs):
    model = torch.hub.load(os.fspath(Path(folder).resolve()), entry, *args, source="local", trust_repo=True, **kwargs)
    model.eval()
    return model


def _local_helper(folder, entry, *args, **kwargs):
    return torch.hub._load_local(str(folder), entry, *args, **kwargs).train(False)


def _by_hand_and_careful(folder, entry, *args, **kwargs):
    path = str(folder)
    spec = util.spec_from_file_location("hubconf", os.path.join(path, "hubconf.py"))
    module = util.module_from_spec(spec)
    sys.path.insert(0, path)
    try:
        spec.loader.exec_module(module)
        missing = [name for name in getattr(module, "dependencies", []) if util.find_spec(name) is None]
        if missing:
            raise RuntimeError(f"not installed: {missing}")
        function = getattr(module, entry, None)
        if not callable(function):
            raise RuntimeError(f"no entry {entry!r} in {path}")
        model = function(*args, **kwargs)
    finally:
        sys.path.remove(path)
    for part in model.modules():
        part.training = False
    return model


def _saved_and_restored(folder, entry, *args, **kwargs):
    path, here = list(sys.path), os.getcwd()
    sys.path.insert(0, str(folder))
    try:
        model = torch.hub.load(folder, entry, source="local", *args, **kwargs)  # noqa: B026
    finally:
        sys.path[:] = path
        os.chdir(here)
    for part in model.modules():
        part.eval()
    return model


def _assigned():
    return (
        "import os as _os\nimport torch as _torch\n"
        "_HERE = _os.path.dirname(_os.path.realpath(__file__))\n"
        "dependencies = ['torch']\n"
        "def tiny(pretrained=False, width=4):\n"
        "    model = _torch.nn.Linear(width, 2)\n"
        "    if pretrained:\n"
        "        model.load_state_dict(_torch.load(f'{_HERE}/weights.pt', weights_only=True), assign=True)\n"
        "    return model\n"
    )


RIGHT = [
    {"hubconf_source": _assigned},
    {"load_model": _saved_and_restored},
    {"hubconf_source": _with_pathlib, "load_model": _resolved},
    {"hubconf_source": _joined, "load_model": _local_helper},
    {"hubconf_source": _a_class, "load_model": _by_hand_and_careful},
    {"hubconf_source": _own_source},
]


def _text(
    head="import os, torch",
    dependencies="dependencies = ['torch']",
    signature="pretrained=False, width=4",
    made="torch.nn.Linear(width, 2)",
    path="os.path.join(os.path.dirname(__file__), 'weights.pt')",
    load="torch.load(path)",
    loaded="m.load_state_dict(state)",
):
    def wrong():
        return (
            f"{head}\n{dependencies}\ndef tiny({signature}):\n    m = {made}\n    if pretrained:\n"
            f"        path = {path}\n        state = {load}\n        {loaded}\n    return m\n"
        )

    return wrong


def _module():
    """The text's own functions, and not the text."""
    return tiny


def _hub_and_eval(folder, entry, *args, **kwargs):
    model = torch.hub.load(str(folder), entry, source="local", *args, **kwargs)  # noqa: B026
    torch.nn.Module.eval(model[0])
    return model


def _appends(folder, entry, *args, **kwargs):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return torch.hub.load(str(folder), entry, *args, source="local", **kwargs).eval()


def _name_of_the_folder(folder, entry, *args, **kwargs):
    return torch.hub.load("/".join(Path(folder).parts[-2:]), entry, *args, **kwargs).eval()


def _in_the_folder(folder, entry, *args, **kwargs):
    here = os.getcwd()
    os.chdir(folder)
    model = torch.hub.load(".", entry, *args, source="local", **kwargs)
    os.chdir(here)
    return model.eval()


def _executes(folder, entry, *args, **kwargs):
    namespace = {"__file__": str(Path(folder) / "hubconf.py")}
    sys.path.insert(0, str(folder))
    try:
        exec((Path(folder) / "hubconf.py").read_text(), namespace)
        return namespace[entry](*args, **kwargs).eval()
    finally:
        sys.path.remove(str(folder))


def _catches(folder, entry, *args, **kwargs):
    try:
        return torch.hub.load(str(folder), entry, *args, source="local", **kwargs).eval()
    except RuntimeError as error:
        print(error)


def _first_argument(folder, entry, *args, **kwargs):
    return torch.hub.load(str(folder), entry, *args[:1], source="local").eval()


def _as_a_tuple(folder, entry, *args, **kwargs):
    return torch.hub.load(str(folder), entry, args, source="local", **kwargs).eval()


def _removes_all(folder, entry, *args, **kwargs):
    model = _hub(folder, entry, *args, **kwargs)
    while str(folder) in sys.path:
        sys.path.remove(str(folder))
    return model


def _hub(folder, entry, *args, **kwargs):
    return torch.hub.load(str(folder), entry, *args, source="local", **kwargs).eval()


WRONG = [
    Mistake("has lost what stood in it before", caught_by="", load_model=_removes_all),
    Mistake("got Linear(4, 2)", caught_by="", hubconf_source=_text(made="torch.nn.Linear(4, 2)")),
    Mistake(
        "weights.pt was opened, without need", caught_by="", hubconf_source=_text(signature="pretrained=True, width=4")
    ),
    Mistake("tiny(False, 3) raised", caught_by="", hubconf_source=_text(signature="width=4, pretrained=False")),
    Mistake(
        "each makes a new model",
        caught_by="",
        hubconf_source=_text(head="import os, torch\ntorch.manual_seed(1)"),
    ),
    Mistake("relative to where Python was started", caught_by="", hubconf_source=_text(path="'./weights.pt'")),
    Mistake(
        "relative to where Python was started",
        caught_by="",
        hubconf_source=_text(path="os.path.join(os.getcwd(), 'weights.pt')"),
    ),
    Mistake(
        "relative to where Python was started",
        caught_by="",
        hubconf_source=_text(path=repr(str(Path(__file__).parent / "weights.pt"))),
    ),
    Mistake(
        "tiny changed the working directory",
        caught_by="",
        hubconf_source=_text(
            head="import os, torch\nos.chdir(os.path.dirname(os.path.abspath(__file__)))", path="'weights.pt'"
        ),
    ),
    Mistake(
        "tiny(pretrained=True) cannot be trained",
        caught_by="",
        hubconf_source=_text(loaded="m.weight, m.bias = (torch.nn.Parameter(v, False) for v in state.values())"),
    ),
    Mistake("not the weight of the weights.pt in it", caught_by="", hubconf_source=_text(loaded="pass")),
    Mistake(
        "tiny(pretrained=True, width=6) raised",
        caught_by="",
        hubconf_source=_text(loaded="m = torch.nn.Linear(4, 2); m.load_state_dict(state)"),
    ),
    Mistake(
        "torch.hub offers that as an entry point too",
        caught_by="",
        hubconf_source=_text(head="import os, torch\nfrom os.path import join"),
    ),
    Mistake(
        "torch.hub offers that as an entry point too",
        caught_by="",
        hubconf_source=_text(head="import os, torch\nfrom typing import Optional\nclass Net(torch.nn.Linear): pass"),
    ),
    Mistake("is to be the list", caught_by="", hubconf_source=_text(dependencies="dependencies = 'torch'")),
    Mistake(
        "is to be the list", caught_by="", hubconf_source=_text(dependencies="dependencies = ['torch', 'torchvision']")
    ),
    Mistake(
        "ran the code that stood in weights.pt",
        caught_by="",
        hubconf_source=_text(load="torch.load(path, None, None, weights_only=False)"),
    ),
    Mistake(
        "ran the code that stood in weights.pt",
        caught_by="",
        hubconf_source=_text(load="torch.hub.load_state_dict_from_url('file://' + path, os.path.dirname(__file__))"),
    ),
    Mistake("is to be an nn.Linear, got", caught_by="", hubconf_source=_text(made="torch.nn.LazyLinear(2)")),
    Mistake("is to be an nn.Linear, got", caught_by="", hubconf_source=_module),
    Mistake("still in train mode: 0, 0.0", caught_by="", load_model=_hub_and_eval),
    Mistake("sys.path has more in it", caught_by="", load_model=_appends),
    Mistake("the folder was taken for owner/name on GitHub", caught_by="", load_model=_name_of_the_folder),
    Mistake("after an error, the working directory is another one", caught_by="", load_model=_in_the_folder),
    Mistake("one of the dependencies, is not installed", caught_by="", load_model=_executes),
    Mistake("one of the dependencies, is not installed", caught_by="", load_model=_catches),
    Mistake("did not reach the entry", caught_by="", load_model=_first_argument),
    Mistake("the entry was not called with 3", caught_by="", load_model=_as_a_tuple),
]
