"""Look inside a network while it runs

What does the second layer say? You need not rewrite `forward` for that. A *forward hook* is a function that a module
calls after its own forward: `handle = module.register_forward_hook(hook)`, and then each call ends with
`hook(module, inputs, output)`, where inputs is a tuple. What the hook returns, if not None, takes the place of the
output. `handle.remove()` ends it; a hook that stays slows the model down and keeps tensors alive, so remove it in a
`finally`. Modules have names with dots, such as "enc.1": `model.named_modules()`, `model.get_submodule(name)`.

Hooks belong to the call. `model(x)` runs them, `model.forward(x)` goes past the hooks of the model, silently.

What a hook gets is the tensor itself, no photo of it. If the next layer is `nn.ReLU(inplace=True)`, it writes into this
very tensor, and the negative numbers that you kept are zeros. `detach()` does not help: it is the same memory.

Gradients have the same trap. `retain_grad()` on such an output gives the gradient of the tensor as the ReLU left it,
and `module.register_full_backward_hook` raises, because the ReLU edits a view. A hook on the tensor,
`output.register_hook(fn)`, set before the ReLU comes, is called in backward with the gradient of the tensor as it was.

What is asked here: what modules of a model give, and the gradient of what a module gave.

About 30 minutes. Before it: in_place_and_versions, registration.

https://docs.pytorch.org/docs/stable/notes/modules.html#module-hooks
"""

from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, raises, shares_memory, unchanged


def capture(model: nn.Module, names: list[str], x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the modules `names` of the model give while `model(x)` runs once: a dict, name -> output.

    The names are those of `model.named_modules()`, without the model itself; each of these modules runs once. Each
    output is a tensor as its module gave it, whatever the layers after it do, in memory of its own and without a graph.
    Of a module that runs several times, any of its outputs. The model runs in the mode it is in. Its errors come
    through, and afterwards, also after an error, there are as many hooks as before, and gradients are on or off as
    before. Model (also `.grad` of its parameters) and `x` stay as they are.
    """
    raise NotImplementedError("hook the modules, run the model, remove the hooks")


def activation_grad(model: nn.Module, name: str, x: torch.Tensor) -> torch.Tensor:
    """The gradient of `model(x).sum()` with respect to the output of the module `name`, as the module gave it.

    A tensor of the shape and dtype of that output, without a graph. The model runs in the mode it is in, and afterwards
    has as many hooks as before. The output requires a gradient, `x` does not and stays as it is; no mode, no option, no
    weight and no `requires_grad` of the model changes. Whether `.grad` of its parameters is written is open.
    """
    raise NotImplementedError("the gradient of what the module gave")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "BackwardHookFunction": "a full backward hook hands on a view of the output, and the in-place ReLU after it must "
    "not edit that: a hook on the tensor itself can do it",
    "deepcopy": "a result of an operation cannot be deep-copied: detach it, then clone it",
    r"has no attribute '\w+\.\w+|KeyError: '\w+\.\w+'$": "a name with a dot is a path: getattr does not walk it, "
    "model.get_submodule(name) does",
    "does not require grad": "there is no graph to walk back: the output was detached, gradients were off, or no "
    "weight requires one any more",
}


class _Net(nn.Module):
    def __init__(self, inplace=False):
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace), nn.Linear(4, 4), nn.ReLU(inplace))
        self.head = nn.Linear(4, 2)
        self.runs = 0
        for k, p in enumerate(self.parameters()):
            p.data = torch.sin(torch.arange(1.0, 1 + p.numel()) * (7.3 + k)).view_as(p)

    def forward(self, x):
        self.runs += 1
        return self.head(self.enc(x))


class _Broken(nn.Module):
    def forward(self, x):
        raise ValueError("this layer is broken")


def _x():
    return 2 * torch.sin(12.9 * torch.arange(15.0)).view(5, 3)


def _inside(model, x):
    """What each module of a _Net gives, computed by hand."""
    a = x @ model.enc[0].weight.T + model.enc[0].bias
    b = a * (a > 0)
    c = b @ model.enc[2].weight.T + model.enc[2].bias
    d = c * (c > 0)
    return {"enc.0": a, "enc.1": b, "enc.2": c, "enc.3": d, "head": d @ model.head.weight.T + model.head.bias}


def _hooks(model):
    """How many hooks each module has, of any kind."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {name or "the model": sum(len(getattr(m, kind)) for kind in kinds) for name, m in model.named_modules()}


def _captured(model, names, x) -> Any:
    """capture(model, names, x), where that is a dict of tensors with these names."""
    __tracebackhide__ = True
    on = torch.is_grad_enabled()
    with explain(f"capture raised for the names {names}", _SIGNS):
        got = capture(model, list(names), x)
    assert torch.is_grad_enabled() or not on, "capture left gradients switched off"
    assert on or not torch.is_grad_enabled(), "gradients were off at the call, and capture switched them on"
    assert isinstance(got, dict), f"expected a dict, name -> output, got {type(got).__name__}"
    only = len(names) > 1 and list(got) == names[-1:]
    assert not only, (
        f"only the last name, {names[-1]!r}, is filled: a hook made in a loop looks its loop variable up when it runs, "
        "after the loop"
    )
    assert set(got) == set(names), f"asked for {names}, got the keys {list(got)}"
    for name, value in got.items():
        assert isinstance(value, torch.Tensor), f"the output of {name!r} is a tensor, got {type(value).__name__}"
    return got


def _grad(model, name, x) -> Any:
    __tracebackhide__ = True
    with explain(f"activation_grad raised for {name!r}", _SIGNS):
        got = activation_grad(model, name, x)
    assert torch.is_grad_enabled(), "activation_grad left gradients switched off"
    return got


def test_a_forward_hook_sees_what_a_module_gives():
    model = _Net()
    for x in (_x(), _x()[:1].flip(1)):
        want = {name: value.detach() for name, value in _inside(model, x).items()}
        for names in (["enc.2", "head"], ["enc.1"], ["head", "enc.3", "enc.0"]):
            model.runs = 0
            got = _captured(model, names, x)
            assert model.runs <= 1, f"the model ran {model.runs} times, expected once"
            for name in names:
                assert not got[name].requires_grad, (
                    f"the output of {name!r} still hangs on its graph: as long as you keep it, all of that stays alive"
                )
                check_tensor(got[name], want[name], f"the output of {name!r}", rtol=1e-5, atol=1e-6)
    nested, x = nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Linear(4, 2)).double(), _x().double() / 3
    h = (x @ nested[0][0].weight.T + nested[0][0].bias).detach()
    want = {"0.0": h, "0": h.tanh(), "1": (h.tanh() @ nested[1].weight.T + nested[1].bias).detach()}
    for names in (["1", "0.0"], ["0"]):
        for name, value in _captured(nested, names, x).items():
            check_tensor(value, want[name], f"the output of {name!r} of a model in float64", rtol=1e-9, atol=1e-12)
    twice = nn.Tanh()
    deep = nn.Sequential(nn.Linear(3, 4), twice, nn.Sequential(nn.Linear(4, 4)), twice).double()
    h = (x @ deep[0].weight.T + deep[0].bias).detach()
    got = _captured(deep, ["0", "1"], x)
    check_tensor(got["0"], h, "the output of '0': there is also a '2.0', of another module", rtol=1e-9, atol=1e-12)
    last = (h.tanh() @ deep[2][0].weight.T + deep[2][0].bias).detach().tanh()
    either = [value for value in (h.tanh(), last) if torch.allclose(got["1"], value)]
    assert either, "'1' runs twice: its output is neither that of its first run nor that of its second"
    got = _captured(nn.Sequential(deep, nn.Linear(4, 1).double()), ["0.1", "0"], x)["0"]
    check_tensor(got, last, "what a model gives, while a module that runs twice in it is watched", rtol=1e-9)


@pytest.mark.myth(
    says="output.detach() keeps what a layer gave.",
    today="It is the same memory: an in-place layer after it overwrites what you kept. detach().clone() keeps it.",
)
def test_an_in_place_layer_overwrites_what_was_not_cloned():
    model = _Net(inplace=True)
    want = {name: value.detach() for name, value in _inside(model, _x()).items()}
    got = _captured(model, ["enc.0", "enc.2"], _x())
    inplace = [model.enc[1].inplace, model.enc[3].inplace]
    assert all(inplace), "capture changed an option of the model: its ReLUs work in place no more"
    for name, value in got.items():
        overwritten = value.shape == want[name].shape and torch.allclose(value, want[name].clamp(min=0), atol=1e-6)
        assert not overwritten, (
            f"the negative values of {name!r} became 0: the ReLU after it works in place, in the tensor that you kept"
        )
        check_tensor(value, want[name], f"the output of {name!r}, as the layer gave it", rtol=1e-5, atol=1e-6)
    x = _x()
    got = _captured(nn.Sequential(nn.Identity(), nn.Flatten(0), nn.Tanh()), ["0", "1"], x)
    for name, value in got.items():
        assert not shares_memory(value, x), f"the output of {name!r} is x itself, or a view of it: an edit changes both"
    first, second = got.values()
    assert not shares_memory(first, second), (
        "two captured outputs are the same memory: an edit of one changes the other"
    )


def test_hooks_are_gone_afterwards_even_if_the_model_raised():
    model = _Net()
    seen: list[str] = []
    model.enc[0].register_forward_hook(lambda *_: seen.append("ours"))
    before = _hooks(model)
    got = _captured(model, ["enc.0", "head"], _x())
    kept = {name: value.clone() for name, value in got.items()}
    left = {name: n for name, n in _hooks(model).items() if n > before[name]}
    assert not left, f"hooks stay on {', '.join(left)}: each handle has to be removed"
    assert _hooks(model) == before, "a hook that was there before is gone: remove your own handles only"
    assert seen, "a hook that was there before was not called"
    model(_x() + 1)
    other = _captured(model, ["enc.0", "head"], _x() - 1)
    for name, value in kept.items():
        check_tensor(got[name], value, f"the captured output of {name!r} changed in a later run of the model")
        assert other[name] is not got[name], "a second capture gives tensors of its own"
    before = _hooks(model)
    _grad(model, "enc.2", _x())
    assert _hooks(model) == before, f"activation_grad leaves other hooks: before {before}, after {_hooks(model)}"
    broken = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), _Broken())
    with raises(ValueError, "the model's own error must come through", match="this layer is broken"):
        capture(broken, ["0", "1"], _x())
    left = [name for name, n in _hooks(broken).items() if n]
    assert not left, f"the model raised, and hooks stay on {', '.join(left)}: remove them in a finally"
    assert torch.is_grad_enabled(), "the model raised, and capture left gradients switched off"
    replaced = [name for name, m in (*model.named_modules(), *broken.named_modules()) if "forward" in vars(m)]
    assert not replaced, f"the method forward is another one than before in {', '.join(replaced)}"


@pytest.mark.parametrize("name", ["enc.0", "enc.1", "enc.2", "enc.3", "head"])
def test_the_gradient_of_what_a_module_gave(name):
    model = _Net().double()
    for x in (_x().double(), _x().double()[:1].flip(1)):
        inside = _inside(model, x)
        want = torch.autograd.grad(inside["head"].sum(), inside[name])[0]
        for time in ("first", "second"):
            got = _grad(model, name, x)
            said = f"the {time} time, the gradient of model(x).sum() with respect to the output of {name!r}"
            check_tensor(got, want, said, rtol=1e-9, atol=1e-12, requires_grad=False)
    curved, x = nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Linear(4, 2)).double(), _x().double() / 3
    slope = 1 - torch.tanh(x @ curved[0][0].weight.T + curved[0][0].bias).detach() ** 2
    got = _grad(curved, "0.0", x)
    check_tensor(
        got, curved[1].weight.detach().sum(0) * slope, "the gradient in front of a tanh", rtol=1e-9, atol=1e-12
    )


@pytest.mark.myth(
    says="retain_grad() on a layer's output keeps the gradient of that output.",
    today="Where an in-place layer follows, it is the gradient of the edited tensor: use a hook on the tensor.",
)
def test_an_in_place_layer_after_it_does_not_hide_the_gradient():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[0].bias.zero_()
        model[2].weight.copy_(torch.tensor([[1.0, 2], [2, 4]]))
    x = torch.tensor([[-1.0, 2], [4, -3]])
    got = _grad(model, "0", x)
    of_the_edited = torch.tensor([[3.0, 6], [3, 6]])
    assert not (isinstance(got, torch.Tensor) and got.shape == (2, 2) and torch.equal(got, of_the_edited)), (
        "this is the gradient of the tensor as the in-place ReLU left it: where the layer gave a negative number, the "
        "gradient is 0"
    )
    check_tensor(got, torch.tensor([[0.0, 6], [3, 0]]), "(h > 0) * W.sum(0), for h before the ReLU", rtol=1e-6)
    deep = _Net(inplace=True)
    inside = _inside(deep, _x())
    for name in ("enc.0", "enc.2"):
        want = torch.autograd.grad(inside["head"].sum(), inside[name], retain_graph=True)[0]
        got = _grad(deep, name, _x())
        check_tensor(got, want, f"the gradient of {name!r}, with an in-place ReLU after it", rtol=1e-5, atol=1e-6)
    for name, module in (*model.named_modules(), *deep.named_modules()):
        assert getattr(module, "inplace", True), f"activation_grad changed an option of the model: {name}.inplace"


@pytest.mark.myth(
    says="model.forward(x) is the same as model(x).",
    today="It goes past the model's hooks, silently: call the model.",
)
def test_hooks_run_when_the_model_is_called():
    model = _Net()
    model.register_forward_pre_hook(lambda module, inputs: (-inputs[0],))
    inside = _inside(model, -_x())
    past = _inside(model, _x())
    got = _captured(model, ["enc.0", "head"], _x())
    for name, value in got.items():
        assert not torch.allclose(value, past[name]), (
            f"{name!r} did not see -x: a hook of the model itself turns x around, and model.forward(x) goes past it"
        )
        want = inside[name].detach()
        check_tensor(value, want, f"the output of {name!r}, with the model's hook", rtol=1e-5, atol=1e-6)
    want = torch.autograd.grad(inside["head"].sum(), inside["enc.2"])[0]
    check_tensor(_grad(model, "enc.2", _x()), want, "the gradient, with the model's hook", rtol=1e-5, atol=1e-6)


def test_looking_changes_nothing():
    x = _x()
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(1.0), nn.Linear(4, 2), nn.Dropout(1.0).eval())
    model[2].weight.requires_grad_(False)
    model[0].weight.grad = torch.ones(4, 3)  # of a step before
    for mode in ("training", "eval"):
        model[1].train(mode == "training")
        h = x @ model[0].weight.T + model[0].bias
        want = 0 * h if mode == "training" else h
        with unchanged("capture must leave the model and x as they are", model=model, x=x):
            got = _captured(model, ["1"], x)["1"]
            with torch.no_grad():
                _captured(model, ["1"], x)
        check_tensor(got, want.detach(), f"the output of a dropout in its mode: {mode}", rtol=1e-5, atol=1e-6)
        before = [(m.training, *[p.requires_grad for p in m.parameters()]) for m in model.modules()]
        values = [p.detach().clone() for p in model.parameters()]
        with unchanged("activation_grad must leave x as it is", x=x):
            got = _grad(model, "0", x)
        want = torch.zeros(5, 4) if mode == "training" else model[2].weight.detach().sum(0).expand(5, 4)
        check_tensor(
            got, want, f"the gradient where a dropout of all follows, in its mode: {mode}", rtol=1e-5, atol=1e-6
        )
        after = [(m.training, *[p.requires_grad for p in m.parameters()]) for m in model.modules()]
        assert after == before, "activation_grad changed a module's mode, or what requires a gradient"
        same = all(torch.equal(p, v) for p, v in zip(model.parameters(), values, strict=True))
        assert same, "activation_grad changed the weights"
