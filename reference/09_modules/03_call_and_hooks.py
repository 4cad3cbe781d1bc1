"""Look inside a network while it runs: reference.

Hint: A hook gets the live tensor. What must be done with it at once, before the next layer runs?
Hint: `model.get_submodule`, `register_forward_hook`, `Tensor.register_hook`, `handle.remove` in a `finally`.
Hint: Each hook needs its own name: a function that takes the name and returns the hook, or functools.partial. For the
gradient, the forward hook sets a hook on the output tensor, which keeps what backward brings.

Why: `module(x)` is `Module.__call__`: pre-hooks, forward, hooks. A hook that returns nothing leaves the run as it is.
In-place layers bump the tensor's version and put their own step at the end of its history, so everything that asks the
tensor later (its values, retain_grad) is told about the edited one; a tensor hook was registered with the step before.
For gradients there is another way: put a clone in place of the output and ask `torch.autograd.grad` about the original.
"""

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dojo import Mistake


def capture(model: nn.Module, names: list[str], x: torch.Tensor) -> dict[str, torch.Tensor]:
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            seen[name] = output.detach().clone()

        return hook

    handles = []
    try:
        for name in names:
            handles.append(model.get_submodule(name).register_forward_hook(keep(name)))
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def activation_grad(model: nn.Module, name: str, x: torch.Tensor) -> torch.Tensor:
    kept: list[torch.Tensor] = []

    def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        kept.append(output)
        return output.clone()  # what follows may edit the clone

    handle = model.get_submodule(name).register_forward_hook(hook)
    try:
        total = model(x).sum()
    finally:
        handle.remove()
    return torch.autograd.grad(total, kept)[0]


def _capturing(keep=lambda o: o.detach().clone(), run=lambda model, x: model(x), returns=lambda o: None):
    """The reference's capture, with one thing changed."""

    def wrong(model, names, x):
        seen = {}

        def hook_of(name):
            def hook(module, inputs, output):
                seen[name] = keep(output)
                return returns(seen[name])

            return hook

        handles = [model.get_submodule(name).register_forward_hook(hook_of(name)) for name in names]
        try:
            run(model, x)
        finally:
            for handle in handles:
                handle.remove()
        return seen

    return wrong


def _late_binding(model, names, x):
    seen = {}
    handles = []
    try:
        for name in names:
            hook = lambda m, i, o: seen.update({name: o.detach().clone()})  # noqa: B023, E731
            handles.append(model.get_submodule(name).register_forward_hook(hook))
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _getattr_only(model, names, x):
    for name in names:
        getattr(model, name)
    return capture(model, names, x)


def _children_only(model, names, x):
    children = dict(model.named_children())
    return capture(model, [name for name in names if children[name] is not None], x)


def _inputs(model, names, x):
    seen = {}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda m, inputs, o, name=name: seen.update({name: inputs[0].detach().clone()})
        )
        for name in names
    ]
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _every_module(model, names, x):
    return capture(model, [name for name, _ in model.named_modules() if name], x)


def _by_the_last_word(model, names, x):
    return capture(model, [name for name, _ in model.named_modules() if name in names or name[-1:] in names], x)


def _one_run_each(model, names, x):
    return {name: capture(model, [name], x)[name] for name in names}


def _no_remove(model, names, x):
    seen = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(
            lambda m, i, o, name=name: seen.update({name: o.detach().clone()})
        )
    model(x)
    return seen


def _no_finally(model, names, x):
    seen = {}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda m, i, o, name=name: seen.update({name: o.detach().clone()})
        )
        for name in names
    ]
    model(x)
    for handle in handles:
        handle.remove()
    return seen


def _only_the_last_handle(model, names, x):
    seen = {}
    try:
        for name in names:
            handle = model.get_submodule(name).register_forward_hook(
                lambda m, i, o, name=name: seen.update({name: o.detach().clone()})
            )
        model(x)
    finally:
        handle.remove()
    return seen


def _forward_replaced(model, names, x):
    seen = {}
    for name in names:
        module = model.get_submodule(name)

        def run(*args, name=name, forward=module.forward):
            out = forward(*args)
            seen[name] = out.detach().clone()
            return out

        module.forward = run
    model(x)
    return dict(seen)


def _clears_all(model, names, x):
    seen = _no_finally(model, names, x)
    for name in names:
        model.get_submodule(name)._forward_hooks.clear()
    return seen


def _swallows(model, names, x):
    try:
        return capture(model, names, x)
    except ValueError:
        return {}


_everything: dict = {}


def _one_dict_for_all(model, names, x):
    _everything.clear()
    _everything.update(capture(model, names, x))
    return _everything


def _in_eval(model, names, x):
    model.eval()
    return capture(model, names, x)


def _in_eval_and_back(model, names, x):
    modes = [m.training for m in model.modules()]
    model.eval()
    seen = capture(model, names, x)
    for m, mode in zip(model.modules(), modes, strict=True):
        m.training = mode
    return seen


def _switches_gradients_off(model, names, x):
    torch.set_grad_enabled(False)
    return capture(model, names, x)


def _grad_mode_by_hand(model, names, x):
    torch.set_grad_enabled(False)
    seen = capture(model, names, x)
    torch.set_grad_enabled(True)
    return seen


def _gradients_on_afterwards(model, names, x):
    try:
        return capture(model, names, x)
    finally:
        torch.set_grad_enabled(True)


def _clears_gradients(model, names, x):
    seen = capture(model, names, x)
    model.zero_grad()
    return seen


def _no_relu_in_place(model):
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return model


def _input_wants_gradient(model, names, x):
    return capture(model, names, x.requires_grad_())


def _full_backward_hook(model, name, x):
    kept = []
    handle = model.get_submodule(name).register_full_backward_hook(lambda m, gi, go: kept.append(go[0]))
    try:
        model(x).sum().backward()
    finally:
        handle.remove()
    return kept[0]


def _full_backward_hook_input(model, name, x):
    kept = []
    handle = model.get_submodule(name).register_full_backward_hook(lambda m, gi, go: kept.append(gi[0]))
    try:
        model(x.clone().requires_grad_()).sum().backward()
    finally:
        handle.remove()
    return kept[0]


def _asking(total=lambda out: out.sum(), run=lambda model, x: model(x), clone=True, retain=False):
    """The reference's activation_grad, with one thing changed."""

    def wrong(model, name, x):
        kept = []

        def hook(module, inputs, output):
            kept.append(output)
            if retain:
                output.retain_grad()
            return output.clone() if clone else None

        handle = model.get_submodule(name).register_forward_hook(hook)
        try:
            value = total(run(model, x))
        finally:
            handle.remove()
        if retain:
            value.backward()
            return kept[0].grad
        return torch.autograd.grad(value, kept)[0]

    return wrong


def _of_the_input(model, name, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).sum(), x)[0]


def _of_the_weight(model, name, x):
    weight = getattr(model.get_submodule(name), "weight", next(model.parameters()))
    return torch.autograd.grad(model(x).sum(), weight)[0]


def _the_activation(model, name, x):
    return capture(model, [name], x)[name]


def _stays_hooked(model, name, x):
    kept = []
    model.get_submodule(name).register_forward_hook(lambda m, i, o: o.register_hook(kept.append) and None)
    model(x).sum().backward()
    return kept[0]


def _grad_in_eval(model, name, x):
    model.eval()
    return activation_grad(model, name, x)


def _frozen_afterwards(model, name, x):
    grad = activation_grad(model, name, x)
    model.requires_grad_(False)
    return grad


def _gradient_of_captured(model, name, x):
    h = capture(model, [name], x)[name].requires_grad_()
    model(x).sum().backward()
    return h.grad


def _sums_its_calls():
    total = {}

    def wrong(model, name, x):
        grad = activation_grad(model, name, x)
        key = (model, name, grad.shape)
        total[key] = total.get(key, 0) + grad
        return total[key]

    return wrong


def _input_in_float32(model, name, x):
    return activation_grad(model, name, x.float().to(x.dtype))


def _with_a_graph(model, name, x):
    return activation_grad(model, name, x) * next(p for p in model.parameters() if p.requires_grad).sum() ** 0


def _grad_in_float32(model, name, x):
    return activation_grad(model.float(), name, x.float())


def _ends_with(model, names, x):
    """The last module whose name ends so."""
    found = {}
    for name in names:
        found |= {n: name for n, _ in model.named_modules() if n.endswith(name)}
    return {found[name]: value for name, value in capture(model, list(found), x).items()}


def _first_output_again(model, names, x):
    seen, handles = {}, []
    for name in names:
        hook = functools.partial(lambda m, i, o, name: seen.setdefault(name, o.detach().clone()), name=name)
        handles.append(model.get_submodule(name).register_forward_hook(hook))
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return seen


_SEES = "test_a_forward_hook_sees_what_a_module_gives"
_INPLACE = "test_an_in_place_layer_overwrites_what_was_not_cloned"
_GONE = "test_hooks_are_gone_afterwards_even_if_the_model_raised"
_CALLED = "test_hooks_run_when_the_model_is_called"
_GRADIENT = "test_the_gradient_of_what_a_module_gave"
_HIDE = "test_an_in_place_layer_after_it_does_not_hide_the_gradient"
_LOOKING = "test_looking_changes_nothing"
_WRT = "the gradient of model(x).sum() with respect to the output of"

MISTAKES = [
    Mistake("there is also a '2.0', of another module", caught_by=_SEES, capture=_ends_with),
    Mistake("while a module that runs twice in it is watched", caught_by=_SEES, capture=_first_output_again),
    Mistake("only the last name, 'head', is filled", caught_by=_SEES, capture=_late_binding),
    Mistake("a name with a dot is a path", caught_by=_SEES, capture=_getattr_only),
    Mistake("a name with a dot is a path", caught_by=_SEES, capture=_children_only),
    Mistake("the output of 'enc.2'", caught_by=_SEES, capture=_inputs),
    Mistake("asked for ['enc.2', 'head'], got the keys", caught_by=_SEES, capture=_every_module),
    Mistake("asked for ['1', '0.0'], got the keys", caught_by=_SEES, capture=_by_the_last_word),
    Mistake("the model ran 2 times", caught_by=_SEES, capture=_one_run_each),
    Mistake("still hangs on its graph", caught_by=_SEES, capture=_capturing(lambda o: o.clone())),
    Mistake("a result of an operation cannot be deep-copied", caught_by=_SEES, capture=_capturing(copy.deepcopy)),
    Mistake("a tensor, got list", caught_by=_SEES, capture=_capturing(lambda o: o.detach().tolist())),
    Mistake("of a model in float64", caught_by=_SEES, capture=_capturing(lambda o: o.detach().float().clone())),
    Mistake(
        "of a model in float64", caught_by=_SEES, capture=lambda m, names, x: capture(m, names, x.float().to(x.dtype))
    ),
    Mistake("expected a dict", caught_by=_SEES, capture=lambda m, names, x: list(capture(m, names, x).values())),
    Mistake("became 0: the ReLU after it works in place", caught_by=_INPLACE, capture=_capturing(lambda o: o.detach())),
    Mistake("became 0: the ReLU after it works in place", caught_by=_INPLACE, capture=_capturing(returns=lambda o: o)),
    Mistake(
        "is x itself, or a view of it",
        caught_by=_INPLACE,
        capture=_capturing(lambda o: o.detach().clone() if o.requires_grad else o),
    ),
    Mistake("hooks stay on enc.0, head", caught_by=_GONE, capture=_no_remove),
    Mistake("hooks stay on enc.0: each handle", caught_by=_GONE, capture=_only_the_last_handle),
    Mistake("the model raised, and hooks stay on 0, 1", caught_by=_GONE, capture=_no_finally),
    Mistake("the method forward is another one", caught_by=_GONE, capture=_forward_replaced),
    Mistake("a hook that was there before is gone", caught_by=_GONE, capture=_clears_all),
    Mistake("the model raised, and capture left gradients", caught_by=_GONE, capture=_grad_mode_by_hand),
    Mistake("the model's own error must come through", caught_by=_GONE, capture=_swallows),
    Mistake("changed in a later run of the model", caught_by=_GONE, capture=_one_dict_for_all),
    Mistake("activation_grad leaves other hooks", caught_by=_GONE, activation_grad=_stays_hooked),
    Mistake("model.forward(x) goes past it", caught_by=_CALLED, capture=_capturing(run=lambda m, x: m.forward(x))),
    Mistake("with the model's hook", caught_by=_CALLED, activation_grad=_asking(run=lambda m, x: m.forward(x))),
    Mistake("edit that: a hook on the tensor itself", caught_by=_HIDE, activation_grad=_full_backward_hook),
    Mistake("as the in-place ReLU left it", caught_by=_HIDE, activation_grad=_asking(clone=False, retain=True)),
    Mistake("as the in-place ReLU left it", caught_by=_HIDE, activation_grad=_asking(clone=False)),
    Mistake(_WRT, caught_by=_GRADIENT, activation_grad=_full_backward_hook_input),
    Mistake(_WRT, caught_by=_GRADIENT, activation_grad=_asking(lambda out: out.mean())),
    Mistake(_WRT, caught_by=_GRADIENT, activation_grad=_of_the_input),
    Mistake(_WRT, caught_by=_GRADIENT, activation_grad=_of_the_weight),
    Mistake(_WRT, caught_by=_GRADIENT, activation_grad=_the_activation),
    Mistake("is a `return` missing", caught_by=_GRADIENT, activation_grad=_gradient_of_captured),
    Mistake(_WRT, caught_by=_GRADIENT, activation_grad=_asking(lambda out: (out**2).sum())),
    Mistake("the gradient in front of a tanh", caught_by=_GRADIENT, activation_grad=_input_in_float32),
    Mistake("requires_grad: expected False, got True", caught_by=_GRADIENT, activation_grad=_with_a_graph),
    Mistake("the second time, the gradient", caught_by=_GRADIENT, activation_grad=_sums_its_calls()),
    Mistake(_WRT, caught_by=_GRADIENT, activation_grad=_grad_in_float32),
    Mistake("there is no graph to walk back", caught_by=_GRADIENT, activation_grad=torch.no_grad()(_asking())),
    Mistake("capture must leave the model and x as they are", caught_by=_LOOKING, capture=_in_eval),
    Mistake("the output of a dropout in its mode", caught_by=_LOOKING, capture=_in_eval_and_back),
    Mistake("and capture switched them on", caught_by=_LOOKING, capture=_gradients_on_afterwards),
    Mistake("capture must leave the model and x as they are", caught_by=_LOOKING, capture=_clears_gradients),
    Mistake(
        "capture changed an option of the model",
        caught_by=_INPLACE,
        capture=lambda model, names, x: capture(_no_relu_in_place(model), names, x),
    ),
    Mistake(
        "activation_grad changed an option of the model",
        caught_by=_HIDE,
        activation_grad=lambda model, name, x: activation_grad(_no_relu_in_place(model), name, x),
    ),
    Mistake("capture left gradients switched off", caught_by=_SEES, capture=_switches_gradients_off),
    Mistake("capture must leave the model and x as they are", caught_by=_LOOKING, capture=_input_wants_gradient),
    Mistake("in its mode: training", caught_by=_LOOKING, activation_grad=_grad_in_eval),
    Mistake("or what requires a gradient", caught_by=_LOOKING, activation_grad=_frozen_afterwards),
]
