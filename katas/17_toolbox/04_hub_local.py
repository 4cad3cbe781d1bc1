"""A folder that others can load

`torch.hub.load(repo, entry, ...)` fetches code and makes a model with it. Behind that is a simple agreement: the folder
has a file hubconf.py, a plain Python module. Its list `dependencies` names the packages that must be installed; its
functions are the entry points, and the arguments behind the entry's name go to them. A repository on GitHub is only one
place for such a folder. source="github" is the default, so a path is read as owner/name there; for a folder on your
disk say source="local", and nothing is asked of the network.

Who writes hubconf.py should know: **every** public callable in it is an entry point, what you import too. After
`from pathlib import Path`, users can load "Path". A leading underscore hides a name, and an imported module, as in
`import os`, is not callable. Files are looked for where Python was *started*, not where hubconf.py lies; the module's
own place is in `__file__`. And the file with the weights is a pickle: torch.load with its default, weights_only=True,
runs no code from it.

Who loads should know: the folder goes to `sys.path`, so that hubconf.py finds the modules beside it, and sys.path
understands text only: hand over a `pathlib.Path`, and they are not found. The model comes in train mode as a rule.

What is asked here: write the text of a hubconf.py, and load a model from any such folder.

About 25 minutes. Before it: state_dict_roundtrip, untrusted_checkpoint.

https://docs.pytorch.org/docs/stable/hub.html
"""

import contextlib
import importlib.util
import os
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import HostilePickle, check_tensor, explain, raises


def hubconf_source() -> str:
    """The text of a hubconf.py that depends on torch only, with one entry point and no other public callable.

    The entry is `tiny(pretrained: bool = False, width: int = 4)`. It returns a new `nn.Linear(width, 2)`: with random
    weights, or, if `pretrained`, with those in the file weights.pt in hubconf.py's own folder, which was written by
    `torch.save(linear.state_dict(), path)`; both kinds can be trained. Without `pretrained` that file need not be
    there. If there is code in that file, it is refused and does not run. sys.path and the working directory are left
    as they are.
    """
    raise NotImplementedError("return the text of a hubconf.py")


def load_model(folder: Path, entry: str, *args: Any, **kwargs: Any) -> nn.Module:
    """What `entry` of the hubconf.py in `folder` returns for these arguments, in eval mode, without the network.

    Its parameters can be trained afterwards, as those that the entry returns.

    hubconf.py may import modules that lie beside it, under names that no other folder has. A package that stands in its
    `dependencies` (and is not imported at its top), but is not installed, and an entry that it does not have, are a
    RuntimeError that names it, as torch.hub raises. sys.path and the working directory are afterwards what they were,
    also after an error, and also where `folder` stood in sys.path before.
    """
    raise NotImplementedError("load the model from the folder")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_BESIDE = "weights.pt lies beside hubconf.py; it was looked for elsewhere, relative to where Python was started"


def _folder(place: Path, text: Any, state: Any = None, name: str = "hubconf") -> Path:
    """A new folder with this module in it, and with weights, if given."""
    __tracebackhide__ = True
    assert isinstance(text, str), f"hubconf_source returns text, got {type(text).__name__}"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.py").write_text(text, encoding="utf-8")
    if state is not None:
        torch.save(state, place / "weights.pt")
    return place


def _source() -> str:
    __tracebackhide__ = True
    with explain("hubconf_source raised"):
        return hubconf_source()


def _tiny(folder: Path, *args: Any, **kwargs: Any) -> nn.Linear:
    """What somebody gets who loads the entry "tiny" from the folder."""
    __tracebackhide__ = True
    given = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
    here = (folder / "weights.pt").exists()
    missing = "FileNotFoundError.*weights.pt"
    signs = {missing: _BESIDE} if here else {missing: "weights.pt was opened, without need"}
    with explain(f"tiny({given}) raised, loaded by torch.hub from the folder", signs):
        model = torch.hub.load(str(folder), "tiny", *args, source="local", **kwargs)
    assert isinstance(model, nn.Linear), f"tiny({given}) is to be an nn.Linear, got {type(model).__name__}"
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert not frozen, f"tiny({given}) cannot be trained: requires_grad is False for its {' and '.join(frozen)}"
    return model


def _imported(folder: Path) -> Any:
    __tracebackhide__ = True
    spec = importlib.util.spec_from_file_location("hubconf", folder / "hubconf.py")
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    with explain("the text is not a Python module that can be imported"):
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def _state(width: int = 4) -> dict[str, torch.Tensor]:
    return {"weight": torch.randn(2, width), "bias": torch.randn(2)}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Whoever asks the network fails; the modules that were loaded beside a hubconf.py are forgotten at the end."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("load_model asked the network: the folder was taken for owner/name on GitHub")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    for place in ("torch.hub.urlopen", "torch.hub.download_url_to_file", "urllib.request.urlopen"):
        monkeypatch.setattr(place, refuse)
    yield
    for name in [name for name in sys.modules if name.startswith("beside_")]:
        del sys.modules[name]


def _load(folder: Path, entry: str, *args: Any, **kwargs: Any) -> nn.Module:
    __tracebackhide__ = True
    signs = {
        "values to unpack|[Gg]it[Hh]ub|HTTP|Cannot find .* in repo": "the folder was taken for owner/name on GitHub",
        "No module named 'beside": "a module that lies beside hubconf.py was not found: is the folder in sys.path, and "
        "as text?",
    }
    with explain(f"load_model(folder, {entry!r}, ...) raised", signs):
        model = load_model(folder, entry, *args, **kwargs)
    assert isinstance(model, nn.Module), f"load_model returns the model, got {type(model).__name__}"
    return model


_HUBCONF = """
import torch
from {beside} import body as _body
dependencies = ["torch", "numpy"]

def net(width, depth=1, rate=0.5):
    return _body(width, depth, rate, {kind})

def fails(width):
    raise ValueError("this entry always fails")
"""
_BODY = """
from torch import nn

def body(width, depth, rate, kind):
    blocks = [nn.Sequential(nn.Linear(width, width), kind(width), nn.Dropout(rate)) for _ in range(depth)]
    return nn.Sequential(*blocks)
"""


def _package(place: Path, kind: str = "torch.nn.BatchNorm1d") -> Path:
    """A folder whose hubconf.py imports a module that lies beside it; its name occurs once in a process."""
    beside = f"beside_{uuid.uuid4().hex}"
    _folder(place, _BODY, name=beside)
    return _folder(place, _HUBCONF.format(beside=beside, kind=kind))


def test_the_arguments_go_to_the_entry(tmp_path):
    torch.manual_seed(0)
    bare = _folder(tmp_path / "bare", _source())
    saved = _state()
    with_weights = _folder(tmp_path / "with weights", _source(), saved)
    for folder in (bare, with_weights):
        for args, kwargs, width in (((), {}, 4), ((), {"width": 7}, 7), ((False, 3), {}, 3)):
            model = _tiny(folder, *args, **kwargs)
            sizes = (model.in_features, model.out_features)
            given = f"tiny of {args or kwargs or 'no arguments'}"
            assert sizes == (width, 2), f"{given} is to be a Linear({width}, 2), got Linear{sizes}"
    first, second = _tiny(with_weights), _tiny(with_weights)
    module = _imported(bare)
    with explain("tiny raised"):
        again = module.tiny(), module.tiny()
    assert again[0] is not again[1], "two calls of tiny() in one program gave one model: each makes a new one"
    for model in (first, second):
        loaded = torch.equal(model.weight, saved["weight"])
        assert not loaded, "tiny() has the weights of the file: only pretrained=True asks for them"
    same = torch.equal(first.weight, second.weight)
    assert not same, "two calls of tiny() gave the same weights: each makes a new model with random ones"


@pytest.mark.myth(
    says="A file beside the script is opened by its name.",
    today="A bare name is looked for where Python was started; Path(__file__).parent is the folder of the module.",
)
@pytest.mark.parametrize("decoy", [False, True], ids=["started elsewhere", "started beside another file of that name"])
def test_weights_are_found_beside_the_module(tmp_path, monkeypatch, decoy):
    torch.manual_seed(0)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = _state()
    if decoy:
        torch.save(other, elsewhere / "weights.pt")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    for name, width in (("first", 4), ("second", 4), ("third", 6)):
        want = _state(width)
        folder = _folder(tmp_path / name, _source(), want)
        kwargs = {"pretrained": True} if width == 4 else {"pretrained": True, "width": width}
        model = _tiny(folder, **kwargs)
        said = f"tiny(pretrained=True) of a folder named {name}: not the {{}} of the weights.pt in it"
        assert not torch.equal(model.weight, other["weight"]), _BESIDE
        for key, value in want.items():
            check_tensor(getattr(model, key).detach(), value, said.format(key))
        assert Path.cwd() == elsewhere, "tiny changed the working directory of the program that loads it"
        assert sys.path == before, f"hubconf.py changed sys.path, by {set(sys.path) ^ set(before)}"


@pytest.mark.myth(
    says="hubconf.py offers the functions that are defined in it.",
    today="It offers every public callable, also a class or function that it only imports.",
)
def test_every_public_callable_is_an_entry_point(tmp_path):
    folder = _folder(tmp_path / "mine", _source())
    module = _imported(folder)
    public = sorted(name for name, value in vars(module).items() if callable(value) and name[0] != "_")
    assert "tiny" in public, f"hubconf.py has no function tiny; its public callables are {public}"
    others = ", ".join(name for name in public if name != "tiny")
    assert not others, f"besides tiny, hubconf.py has the public {others}: torch.hub offers that as an entry point too"
    needed = getattr(module, "dependencies", None)
    assert needed == ["torch"], f'dependencies is to be the list ["torch"], got {needed!r}'
    other = _folder(tmp_path / "other", 'from torch.nn import Linear\ndependencies = ["torch"]\n')
    imported = torch.hub.load(str(other), "Linear", 3, 2, source="local")
    assert isinstance(imported, nn.Linear), "torch.hub did not offer a class that hubconf.py only imports"


@pytest.mark.myth(
    says="Pretrained weights come from torch.utils.model_zoo.load_url.",
    today="That is an old name of torch.hub.load_state_dict_from_url, where it still exists.",
)
def test_weights_are_data_and_not_a_program(tmp_path):
    marker = tmp_path / "the code ran"
    for what, content in (
        ("a program alone", HostilePickle(marker)),
        ("a program behind good weights", {**_state(), "more": HostilePickle(marker)}),
    ):
        folder = _folder(tmp_path / what, _source(), content)
        refused = True
        try:
            torch.hub.load(str(folder), "tiny", pretrained=True, source="local")
            refused = False
        except Exception:
            pass  # refused, by whatever error
        ran = marker.exists()
        marker.unlink(missing_ok=True)
        assert not ran, f"tiny(pretrained=True) ran the code that stood in weights.pt ({what})"
        assert refused, f"weights.pt holds {what}, and tiny(pretrained=True) gave a model without a word"
    if importlib.util.find_spec("torch.utils.model_zoo") is not None:
        from torch.utils import model_zoo

        same = model_zoo.load_url is torch.hub.load_state_dict_from_url
        assert same, "torch.utils.model_zoo.load_url is no longer another name of torch.hub.load_state_dict_from_url"


def test_a_folder_is_loaded_without_the_network(tmp_path, monkeypatch, offline):
    for name, kind in (("one", "torch.nn.BatchNorm1d"), ("two", "torch.nn.LayerNorm")):
        folder = _package(tmp_path / "owner" / name, kind)
        model = _load(folder, "net", 3, rate=0.25, depth=2)
        blocks = [child for child in model.children() if isinstance(child, nn.Sequential)]
        assert len(blocks) == 2, f"depth=2 did not reach the entry: the model has {len(blocks)} blocks"
        linear, norm, dropout = blocks[0]
        assert kind.endswith(type(norm).__name__), f"loaded from folder {name}, and got the model of another folder"
        assert linear.in_features == 3, f"the entry was not called with 3: it made a {linear}"
        assert dropout.p == 0.25, f"rate=0.25 did not reach the entry: it made a {dropout}"
        training = [path or "the model itself" for path, module in model.named_modules() if module.training]
        assert not training, f"still in train mode: {', '.join(training)}"
        frozen = [path for path, p in model.named_parameters() if not p.requires_grad or p.is_inference()]
        assert not frozen, f"after load_model, parameters that could be trained cannot: {', '.join(frozen)}"
    monkeypatch.chdir(tmp_path)
    model = _load(Path("owner") / "two", "net", 2)
    assert len(list(model.children())) == 1, f"net(2) has one block, got {model}"


def test_hub_checks_the_dependencies_and_the_entry(tmp_path, offline):
    text = (
        'import torch\ndependencies = ["torch", "no_such_package"]\ndef net(width): return torch.nn.Linear(width, 1)\n'
    )
    folder = _folder(tmp_path / "needs more", text)
    said = "no_such_package, one of the dependencies, is not installed: that is to be hub's RuntimeError"
    with raises(RuntimeError, said, match="no_such_package"):
        load_model(folder, "net", 3)
    folder = _package(tmp_path / "complete")
    said = "hubconf.py has no entry no_such_entry: that is to be hub's RuntimeError"
    with raises(RuntimeError, said, match="no_such_entry"):
        load_model(folder, "no_such_entry", 3)
    said = "an entry raised a ValueError, and it did not come out of load_model"
    with raises(ValueError, said, match="always fails"):
        load_model(folder, "fails", 3)


def test_the_search_path_is_what_it_was(tmp_path, monkeypatch, offline):
    monkeypatch.chdir(tmp_path)
    folder = _package(tmp_path / "package")
    start = list(sys.path)
    for entry in ("net", "fails", "no_such_entry", "net"):
        before, place = list(sys.path), os.getcwd()
        if entry == "net":
            _load(folder, entry, 3)
        else:
            with contextlib.suppress(RuntimeError, ValueError):
                load_model(folder, entry, 3)
        how = "" if entry == "net" else ", after an error,"
        now, path = os.getcwd(), list(sys.path)
        os.chdir(place)
        sys.path[:] = before
        assert now == place, f"after load_model{how} the working directory is another one: {now}"
        was, there = Counter(before), Counter(path)
        more, lost = list(there - was), list(was - there)
        assert not more, f"after load_model{how} sys.path has more in it: {more}"
        assert not lost, f"after load_model{how} sys.path has lost what stood in it before: {lost}"
        assert path == before, f"after load_model{how} sys.path is not what it was: {path}"
        monkeypatch.setattr(sys, "path", [*start, str(folder)])  # for the next one: the folder stands there before
