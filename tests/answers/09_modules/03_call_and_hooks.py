"""Answers that people give to call_and_hooks, right ones and wrong ones."""

import functools
from contextlib import ExitStack

import torch

from dojo import Mistake


def _with_partial(model, names, x):
    seen = {}

    def hook(name, module, inputs, output):
        seen[name] = output.data.clone()

    modules = dict(model.named_modules())
    handles = [modules[name].register_forward_hook(functools.partial(hook, name)) for name in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _with_a_stack(model, names, x):
    seen = dict.fromkeys(names)
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name in names:

                def hook(m, i, o, name=name):
                    seen[name] = torch.clone(o).detach()

                stack.callback(module.register_forward_hook(hook).remove)
        model(x)
    return seen


def _handles_are_contexts(model, names, x):
    """By module, in inference mode."""
    seen, name_of = {}, {module: name for name, module in model.named_modules()}

    def hook(module, inputs, output):
        seen[name_of[module]] = output.clone()

    with ExitStack() as stack, torch.inference_mode():
        for name in names:
            stack.enter_context(model.get_submodule(name).register_forward_hook(hook))
        model(x)
    return seen


def _by_hand(model, names, x):
    """Wraps forward, without hooks."""
    seen = {}

    def wrapped(name, forward):
        def run(*args, **kwargs):
            out = forward(*args, **kwargs)
            seen[name] = out.detach().clone()
            return out

        return run

    modules = [model.get_submodule(name) for name in names]
    for name, module in zip(names, modules, strict=True):
        module.forward = wrapped(name, module.forward)
    try:
        model(x)
    finally:
        for module in modules:
            del module.forward
    return seen


def _tensor_hook(model, name, x):
    kept = {}

    def forward_hook(module, inputs, output):
        output.register_hook(lambda grad: kept.update(grad=grad.clone()))

    handle = model.get_submodule(name).register_forward_hook(forward_hook)
    model(x).sum().backward()
    handle.remove()
    return kept["grad"]


def _tensor_hook_without_leaving_gradients(model, name, x):
    kept = []
    with model.get_submodule(name).register_forward_hook(lambda m, i, o: o.register_hook(kept.append) and None):
        out = model(x)
    torch.autograd.grad(out.sum(), [p for p in model.parameters() if p.requires_grad], allow_unused=True)
    return kept[0]


def _added_zero(model, name, x):
    """The gradient of a zero that is added to the output."""
    zeros = []

    def hook(module, inputs, output):
        zeros.append(torch.zeros_like(output, requires_grad=True))
        return output + zeros[0]

    handle = dict(model.named_modules())[name].register_forward_hook(hook)
    try:
        out = model(x)
    finally:
        handle.remove()
    out.sum().backward()
    return zeros[0].grad


def _retain_grad_of_the_original(model, name, x):
    kept = []

    def hook(module, inputs, output):
        output.retain_grad()
        kept.append(output)
        return output.clone()

    handle = model.get_submodule(name).register_forward_hook(hook)
    try:
        model(x).sum().backward()
    finally:
        handle.remove()
    return kept[0].grad.clone()


def _each_with_a_grabber(model, names, x):
    class Grab:
        value = None

        def __call__(self, module, inputs, output):
            self.value = torch.tensor(output.detach().tolist(), dtype=output.dtype)

    grabs = {name: Grab() for name in names}
    handles = [dict(model.named_modules())[name].register_forward_hook(grab) for name, grab in grabs.items()]
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return {name: grab.value for name, grab in grabs.items()}


def _a_leaf_in_its_place(model, name, x):
    kept = {}

    def hook(module, inputs, output):
        kept["leaf"] = output.detach().clone().requires_grad_(True)
        return kept["leaf"].clone()

    handle = model.get_submodule(name).register_forward_hook(hook)
    model(x).sum().backward()
    handle.remove()
    return kept["leaf"].grad


RIGHT = [
    {"capture": _each_with_a_grabber, "activation_grad": _a_leaf_in_its_place},
    {"capture": _with_partial, "activation_grad": _tensor_hook},
    {"capture": _with_a_stack, "activation_grad": _added_zero},
    {"capture": _handles_are_contexts, "activation_grad": _retain_grad_of_the_original},
    {"capture": _by_hand, "activation_grad": _tensor_hook_without_leaving_gradients},
]


def _loop_variable(model, names, x):
    seen, handles = {}, []
    for name in names:

        def hook(module, inputs, output):
            seen[name] = output.clone().detach()  # noqa: B023

        handles.append(model.get_submodule(name).register_forward_hook(hook))
    try:
        model(x)
    finally:
        [handle.remove() for handle in handles]
    return seen


def _from_modules(model, names, x):
    return {name: _with_partial(model, [name], x)[name] for name in names if model._modules[name] is not None}


def _keeps_the_live_tensor(model, names, x):
    seen = {}
    with ExitStack() as stack, torch.no_grad():
        for name in names:
            stack.enter_context(
                model.get_submodule(name).register_forward_hook(lambda m, i, o, n=name: seen.__setitem__(n, o))
            )
        model(x)
    return seen


def _clones_too_late(model, names, x):
    return {name: out.clone() for name, out in _keeps_the_live_tensor(model, names, x).items()}


def _with_graph(model, names, x):
    seen = {}
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(
                model.get_submodule(name).register_forward_hook(lambda m, i, o, n=name: seen.update({n: o.clone()}))
            )
        model(x)
    return seen


def _removed_after_success(model, names, x):
    seen = {}
    handles = [
        model.get_submodule(n).register_forward_hook(lambda m, i, o, n=n: seen.update({n: o.detach().clone()}))
        for n in names
    ]
    model(x)
    while handles:
        handles.pop().remove()
    return seen


def _never_removed(model, names, x):
    seen = {}

    def hook(name, m, i, o):
        seen[name] = o.detach().clone()

    for name in names:
        model.get_submodule(name).register_forward_hook(functools.partial(hook, name))
    with torch.no_grad():
        model(x)
    return dict(seen)


def _forward_called(model, names, x):
    class Past:
        named_modules = model.named_modules
        get_submodule = model.get_submodule
        __call__ = staticmethod(model.forward)

    return _with_partial(Past(), names, x)


def _retained(model, name, x):
    kept = []

    def hook(m, i, o):
        o.retain_grad()
        kept.append(o)

    with model.get_submodule(name).register_forward_hook(hook):
        out = model(x)
    out.sum().backward()
    return kept[0].grad


def _backward_pre_hook(model, name, x):
    kept = []
    with model.get_submodule(name).register_full_backward_pre_hook(lambda m, grads: kept.append(grads[0])):
        model(x).sum().backward()
    return kept[0]


def _averaged(model, name, x):
    return _added_zero(model, name, x) / len(x)


def _grad_of_the_weights(model, name, x):
    model(x).sum().backward()
    return next(p.grad for p in model.get_submodule(name.split(".")[0]).parameters())


def _evaluates(model, name, x):
    model.train(False)
    return _added_zero(model, name, x)


def _leaves_the_hook(model, name, x):
    kept = []

    def hook(m, i, o):
        if o.requires_grad:
            o.register_hook(kept.append)

    model.get_submodule(name).register_forward_hook(hook)
    model(x).sum().backward()
    return kept[0]


def _evaluation(model, names, x):
    return _with_partial(model.eval(), names, x)


def _lost_error(model, names, x):
    seen = {}
    try:
        seen = _with_partial(model, names, x)
    finally:
        return seen  # noqa: B012


def _ends_alike(model, names, x):
    found = [full for full, _ in model.named_modules() if any(full.endswith(name[-1]) for name in names)]
    return _with_partial(model, found, x)


def _switches_by_hand(model, names, x):
    torch.set_grad_enabled(False)
    seen = _with_a_stack(model, names, x)
    torch.set_grad_enabled(True)
    return seen


def _copies_of_relu(model, name, x):
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return _retained(model, name, x)


def _create_graph(model, name, x):
    kept = []

    def hook(m, i, o):
        kept.append(o)
        return o * 1

    with model.get_submodule(name).register_forward_hook(hook):
        out = (model(x) ** 1).sum()
    first = next(p for p in model.parameters() if p.requires_grad)
    return torch.autograd.grad(out, kept[0], create_graph=True)[0] + 0 * first.sum()


def _evaluates_and_clears(model, names, x):
    seen = _with_partial(model, names, x)
    for p in model.parameters():
        p.grad = None
    return seen


def _by_suffix(model, names, x):
    seen = {}
    with ExitStack() as stack:
        for full, module in model.named_modules():
            for name in names:
                if full.endswith(name):

                    def hook(m, i, o, name=name):
                        seen[name] = o.detach().clone()

                    stack.callback(module.register_forward_hook(hook).remove)
        model(x)
    return seen


WRONG = [
    Mistake("there is also a '2.0', of another module", caught_by="", capture=_by_suffix),
    Mistake("the model raised, and capture left gradients", caught_by="", capture=_switches_by_hand),
    Mistake("activation_grad changed an option of the model", caught_by="", activation_grad=_copies_of_relu),
    Mistake("requires_grad: expected False, got True", caught_by="", activation_grad=_create_graph),
    Mistake("capture must leave the model and x as they are", caught_by="", capture=_evaluates_and_clears),
    Mistake("asked for ['1', '0.0'], got the keys", caught_by="", capture=_ends_alike),
    Mistake("only the last name, 'head', is filled", caught_by="", capture=_loop_variable),
    Mistake("a name with a dot is a path", caught_by="", capture=_from_modules),
    Mistake("became 0: the ReLU after it works in place", caught_by="", capture=_keeps_the_live_tensor),
    Mistake("became 0: the ReLU after it works in place", caught_by="", capture=_clones_too_late),
    Mistake("still hangs on its graph", caught_by="", capture=_with_graph),
    Mistake("the model raised, and hooks stay on 0, 1", caught_by="", capture=_removed_after_success),
    Mistake("hooks stay on enc.0, head", caught_by="", capture=_never_removed),
    Mistake("model.forward(x) goes past it", caught_by="", capture=_forward_called),
    Mistake("as the in-place ReLU left it", caught_by="", activation_grad=_retained),
    Mistake("edit that: a hook on the tensor itself", caught_by="", activation_grad=_backward_pre_hook),
    Mistake("the gradient of model(x).sum() with respect to the output of", caught_by="", activation_grad=_averaged),
    Mistake(
        "the gradient of model(x).sum() with respect to the output of",
        caught_by="",
        activation_grad=_grad_of_the_weights,
    ),
    Mistake("in its mode: training", caught_by="", activation_grad=_evaluates),
    Mistake("activation_grad leaves other hooks", caught_by="", activation_grad=_leaves_the_hook),
    Mistake("capture must leave the model and x as they are", caught_by="", capture=_evaluation),
    Mistake("the model's own error must come through", caught_by="", capture=_lost_error),
    Mistake(
        "the model ran 2 times",
        caught_by="",
        capture=lambda model, names, x: {k: v for n in names for k, v in _with_a_stack(model, [n], x).items()},
    ),
    Mistake("expected a dict", caught_by="", capture=lambda m, names, x: tuple(_with_partial(m, names, x).items())),
    Mistake(
        "of a model in float64",
        caught_by="",
        capture=lambda m, names, x: {k: v.to(torch.float32) for k, v in _with_partial(m, names, x).items()},
    ),
    Mistake(
        "a tensor, got list",
        caught_by="",
        capture=lambda m, names, x: {k: [v] for k, v in _with_partial(m, names, x).items()},
    ),
    Mistake(
        "asked for ['enc.2', 'head'], got the keys",
        caught_by="",
        capture=lambda m, names, x: {n.split(".")[-1]: v for n, v in _with_partial(m, names, x).items()},
    ),
]
