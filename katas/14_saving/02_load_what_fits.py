"""Load what fits, and know what did not

You have the weights of a model with 1000 classes, and yours has 5: take the body, leave the head. The advice is
`model.load_state_dict(state, strict=False)`. It is not what it seems.

strict=False forgives *names*: a name that the model lacks is skipped, and so is one that the file lacks. It does not
forgive *shapes*: a head of another size raises "size mismatch" all the same, and by then the layers that fit have been
overwritten. And since names are forgiven, a file in which every name is different loads nothing at all, without a word:
the model trains on from random weights, and somebody wonders for days.

Such files are common. `DistributedDataParallel(model)` puts `module.` before each name, `torch.compile(model)` puts
`_orig_mod.`, and whoever saves a compiled DDP model has `_orig_mod.module.body.weight`. These prefixes stand at the
beginning; a layer of your own may have "module" further on in its name. `str.startswith` and `str.removeprefix` help.

So compare names and shapes with `model.state_dict()` yourself, load what agrees, and say what did not. (load_state_dict
copies values *into* the tensors of the model, so an optimizer that was made before still trains them; with
`assign=True` it would not.)

What is asked here: a function that loads what fits and reports the rest.

About 20 minutes. Before it: registration, state_dict_roundtrip.

https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.load_state_dict
"""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, raises, unchanged


def load_matching(model: nn.Module, state_dict: dict[str, torch.Tensor]) -> list[str]:
    """Copy into `model` each entry of `state_dict` that agrees with one of its own in name and shape.

    The names of the entries may begin with `module.` and `_orig_mod.`, any number of them, in any order, and not all
    alike: these are taken off (no name of `model` begins with one). Entries that the model lacks are ignored. What does
    not fit keeps its values. The dtype does not matter: half-precision numbers can be copied into a float32 model.

    Returns the names in the model's state_dict that were not loaded, in any order. If nothing was loaded at all: raises
    ValueError, RuntimeError or KeyError, and the model is as it was.

    Parameters stay the same objects. `state_dict` stays as it is, and shares no memory with the model.
    """
    raise NotImplementedError("find what agrees, load it, report the rest")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "size mismatch": "strict=False forgives names, not shapes: a size mismatch raises all the same",
    "must match the size|shape.*is invalid|doesn't match the broadcast": "an entry of another shape was written into "
    "the model: compare shapes first",
    "leaf Variable that requires grad": "a parameter was edited in place while gradients are recorded",
    "KeyError": "an entry that only one side has was looked up in the other",
}


class _Net(nn.Module):
    """A body with batch norm, layers with difficult names, and a head for some classes."""

    def __init__(self, classes: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Linear(3, 4)
        self.body = nn.ModuleDict({"module": nn.Linear(4, 4), "norm": nn.BatchNorm1d(4)})
        self.my_module = nn.Linear(4, 4, bias=False)
        self.module2 = nn.Linear(4, 3, bias=False)
        self.head = nn.Linear(4, classes)
        for name, buffer in self.body["norm"].named_buffers():
            buffer.copy_(torch.rand(4) + seed if "running" in name else torch.tensor(10 + seed))


def _load(model: nn.Module, state: dict[str, torch.Tensor], what: str) -> list[str]:
    """load_matching, and what it returned, sorted."""
    __tracebackhide__ = True
    with (
        explain(f"load_matching raised on {what}", _SIGNS),
        unchanged("the caller's dict is changed", state_dict=state),
    ):
        got: Any = load_matching(model, state)
    assert got is not None, "load_matching returned None, expected a list: the names that were not loaded"
    several = isinstance(got, list | tuple | set | frozenset) and all(isinstance(name, str) for name in got)
    assert several, f"load_matching returns a list of names, got {got!r}"
    return sorted(got)


def _check(model: nn.Module, want: dict[str, torch.Tensor], names: Any, said: str) -> None:
    """Do these entries of the model have these values?"""
    __tracebackhide__ = True
    state = model.state_dict()
    for name in names:
        check_tensor(state[name], want[name], f"{name} {said}")


def _clones(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


_HEAD = ["head.bias", "head.weight"]


def test_what_agrees_is_copied_into_the_model():
    for classes in (5, 2):
        model, source = _Net(classes, 1), _Net(classes, 2)
        model.body["module"].requires_grad_(False)
        model.body.eval()
        model.embed.weight.grad = torch.ones(4, 3)
        objects = dict(model.named_parameters())
        frozen = [name for name, p in objects.items() if not p.requires_grad]
        modes = [module.training for module in model.modules()]
        want, state = _clones(source), source.state_dict()
        converted = ["embed.bias", "head.weight"]
        state["embed.bias"], state["head.weight"] = want["embed.bias"].half(), want["head.weight"].double()
        want["embed.bias"] = want["embed.bias"].half().float()
        rest = _load(model, state, "a state_dict that fits in all")
        buffers = [name for name, _ in model.named_buffers()]
        _check(model, want, [name for name in objects if name not in converted], "is not what the file has")
        _check(model, want, buffers, "is not what the file has: a state_dict has buffers, too")
        refused = rest == converted
        assert not refused, f"reported as not loaded were {rest}: only their dtype differs, which does not matter"
        assert rest == [], f"all names and shapes agree, and reported as not loaded were {rest}"
        same = all(p is objects.get(name) for name, p in model.named_parameters())
        assert same, "a parameter was replaced by a new one: an optimizer that holds the old one trains it in vain"
        still = [name for name, p in model.named_parameters() if not p.requires_grad]
        assert still == frozen, f"frozen parameters before: {frozen}, after: {still}"
        assert [module.training for module in model.modules()] == modes, "load_matching changed the mode of the model"
        for name in converted:
            got = model.state_dict()[name].float()
            check_tensor(got, want[name], f"{name} has another dtype in the file, which does not matter")
        grad = model.embed.weight.grad
        check_tensor(grad, torch.ones(4, 3), "load_matching changed a gradient that was there")


@pytest.mark.myth(
    says="load_state_dict(strict=False) loads what fits and leaves out the rest.",
    today="It forgives names, not shapes: a head of another size raises, with the body already overwritten.",
)
def test_a_head_of_another_shape_keeps_its_own_weights():
    with raises(RuntimeError, "strict=False was expected to raise", match="size mismatch"):
        _Net(5, 1).load_state_dict(_Net(7, 2).state_dict(), strict=False)
    for classes, more, fewer in (
        (5, 7, "a head with more classes"),
        (5, 1, "a head of one class"),  # copy_ would broadcast it
        (1, 5, "a head with more classes"),
    ):
        model, source = _Net(classes, 1), _Net(more, 2)
        before, want, state = _clones(model), _clones(source), source.state_dict()
        rest = _load(model, state, fewer)
        _check(model, before, _HEAD, f"was changed, though the file has {fewer}")
        _check(model, want, [name for name in want if name not in _HEAD], "fits, and was not loaded")
        assert rest == _HEAD, f"the file has {fewer}: not loaded are {_HEAD}, reported was {rest}"
    model, state = _Net(2, 1), _clones(_Net(2, 2))
    before = _clones(model)
    state["head.weight"] = state["head.weight"].T.contiguous()
    state["head.bias"] = state["head.bias"][:, None]
    rest = _load(model, state, "entries of as many numbers in another shape")
    _check(model, before, _HEAD, "was changed by an entry with as many numbers, but of another shape")
    assert rest == _HEAD, f"two entries have another shape: not loaded are {_HEAD}, reported was {rest}"


def test_the_report_names_what_the_model_did_not_get():
    model, state = _Net(5, 1), _clones(_Net(7, 2))
    before, want = _clones(model), dict(state)
    lost = ["body.norm.running_var", "embed.bias", "my_module.weight"]
    for name in lost:
        del state[name]
    state = {"decoder.weight": torch.ones(4, 3), "fc.bias": torch.ones(4), **state, "bias": torch.ones(5)}
    rest, missing = _load(model, state, "a dict with names too few and too many"), sorted(lost + _HEAD)
    unknown = [name for name in rest if name in ("decoder.weight", "fc.bias", "bias")]
    assert not unknown, f"{unknown[0]} was reported, a name that the model lacks: the report is of the model's names"
    turned = rest == sorted(set(before) - set(missing))
    assert not turned, f"reported was what was loaded, {rest}; expected is what was not"
    assert rest == missing, f"reported was {rest}; not in the file are {lost}, and {_HEAD} have another shape there"
    _check(model, before, missing, "was changed, though the file has nothing that fits")
    _check(model, want, [name for name in before if name not in missing], "fits, and was not loaded")
    model = nn.Linear(2, 3)
    rest = _load(model, {"bias": torch.tensor([1.0, 2.0, 3.0])}, "a dict with one of two entries")
    assert rest == ["weight"], f"only bias is in the dict: not loaded is weight, reported was {rest!r}"


@pytest.mark.parametrize(
    "prefixes",
    [
        ["module."],
        ["_orig_mod."],
        ["_orig_mod.module."],
        ["module._orig_mod."],
        ["module.module."],
        ["_orig_mod.module._orig_mod."],
        ["module.", "", "_orig_mod.module.", "_orig_mod.", "module.module.module._orig_mod._orig_mod."],
    ],
    ids=["DDP", "compile", "compile of DDP", "DDP of compile", "DDP of DDP", "compile of DDP of compile", "mixed"],
)
def test_wrappers_put_their_prefixes_before_every_name(prefixes):
    model, source = _Net(5, 1), _Net(7, 2)
    before, want = _clones(model), _clones(source)
    keys = {name: prefixes[i % len(prefixes)] + name for i, name in enumerate(want)}
    state = {keys[name]: value for name, value in source.state_dict().items()}
    state[prefixes[0] + "decoder.weight"] = torch.ones(2)
    first = keys["embed.weight"]
    rest = _load(model, state, f"names such as {first}")
    skipped = all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not skipped, f"with names such as {first}, every key was skipped silently: nothing was loaded"
    for name in want:
        if name not in _HEAD:
            _check(model, want, [name], f"was not loaded from {keys[name]}")
    _check(model, before, _HEAD, "was changed, though its shape in the file is another")
    assert rest == _HEAD, f"reported was {rest}, expected the model's own names, {_HEAD}"


@pytest.mark.myth(
    says="If load_state_dict(strict=False) does not raise, the weights are loaded.",
    today="It skips every name that it does not know: with a prefix before each of them it loads nothing at all.",
)
def test_a_load_of_nothing_raises():
    good = _clones(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    missing = model.load_state_dict({f"net.{name}": value for name, value in good.items()}, strict=False).missing_keys
    assert missing == list(good), "strict=False was expected to load nothing, and not to raise"
    for what, state in (
        ("no name that agrees", {f"net.{name}": value for name, value in good.items()}),
        ("other names behind a known prefix", {f"module.net.{name}": value for name, value in good.items()}),
        ("names that agree and shapes that do not", {name: value[None, None] for name, value in good.items()}),
        ("no entry at all", {}),
    ):
        with (
            unchanged(f"a dict with {what}: load_matching raised, and the model is changed", model=model),
            raises((ValueError, RuntimeError, KeyError), f"a dict with {what} loads nothing: to go on would hide it"),
        ):
            load_matching(model, state)


def test_the_dict_of_the_caller_stays_as_it_is():
    for prefix in ("", "module."):
        source = _Net(5, 2)
        state = {prefix + name: value for name, value in _clones(source).items()}
        state = dict(reversed(state.items())) | {prefix + "other.weight": torch.ones(3)}
        kept, order = copy.deepcopy(state), list(state)
        model = _Net(5, 1)
        _load(model, state, f"names such as {prefix}embed.weight")
        assert list(state) == order, "the caller's dict has other names, or another order, than before"
        with torch.no_grad():
            for value in model.state_dict().values():
                value.zero_()
        for name, value in state.items():
            check_tensor(
                value, kept[name], f"the model was trained on, and {name} in the caller's dict changed with it"
            )
