"""What old names do today: reference.

Hint: What was each old line for? Say that in today's words, rather than repair the line.
Hint: `torch.no_grad()`, `torch.sigmoid`; `.pow(2)`, `.sum()`, `.item()`; `x.untyped_storage()`; `names.index(name)`.
Hint: The model has to run inside of the no_grad block too. index finds the number of a name and refuses an unknown one;
compare the number of names with x.dim(), and look for doubles with a set, before you sum.

Why: `.data` and `detach()` of a result come too late: the forward has built its graph by then, and has kept what each
layer saves for backward. A storage knows nothing of dtype or shape, so its size is in bytes, whatever views lie on it.
Where a name is only a warning today, your program works until the update that takes it away, so let the tests of your
own project run with warnings as errors, and read what PyTorch's release notes list as deprecated.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Variable

from dojo import Mistake


def predict(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.sigmoid(model(x))


def total_loss(prediction: torch.Tensor, target: torch.Tensor) -> float:
    return (prediction.detach() - target.detach()).pow(2).sum().item()


def memory_under(x: torch.Tensor) -> int:
    return x.untyped_storage().nbytes()


def sum_over(x: torch.Tensor, names: Sequence[str], name: str) -> tuple[torch.Tensor, tuple[str, ...]]:
    if len(names) != x.dim():
        raise ValueError(f"{len(names)} names for {x.dim()} dimensions")
    if len(set(names)) != len(names):
        raise ValueError(f"a name is there twice: {names}")
    dim = names.index(name)
    return x.sum(dim), tuple(n for n in names if n != name)


def _old_predict(model, x):
    return F.sigmoid(model(Variable(x, volatile=True)))


def _volatile_set(model, x):
    x = x.detach()
    x.volatile = True
    return torch.sigmoid(model(x)).detach()


def _freezes(model, x):
    for p in model.parameters():
        p.requires_grad_(False)
    return torch.sigmoid(model(x.detach()))


def _freezes_and_thaws(model, x):
    """All of them, those that were frozen before too."""
    for p in model.parameters():
        p.requires_grad_(False)
    y = torch.sigmoid(model(x.detach()))
    for p in model.parameters():
        p.requires_grad_(True)
    return y


def _evals(model, x):
    model.eval()
    return predict(model, x)


def _one_flag(model, x):
    was = model.training
    result = _evals(model, x)
    model.train(was)
    return result


def _switches_off(model, x):
    torch.set_grad_enabled(False)
    return torch.sigmoid(model(x))


def _no_grad_too_late(model, x):
    y = model(x)
    with torch.no_grad():
        return torch.sigmoid(y)


def _floats(model, x):
    with torch.no_grad():
        return torch.sigmoid(model(x).float())


def _logits(model, x):
    with torch.no_grad():
        return model(x)


def _softmax(model, x):
    with torch.no_grad():
        return model(x).softmax(1)


def _zeroes(model, x):
    model.zero_grad()
    x.requires_grad_(False)
    return predict(model, x)


def _switches_on_again(model, x):
    torch.set_grad_enabled(False)
    y = torch.sigmoid(model(x))
    torch.set_grad_enabled(True)
    return y


def _overwrites(model, x):
    with torch.no_grad():
        return model(x).sigmoid_()


def _scripted(model, x):
    with torch.no_grad():
        return torch.sigmoid(torch.jit.trace(model, x)(x))


def _overflows(model, x):
    with torch.no_grad():
        y = model(x).exp()
        return y / (1 + y)


def _never_certain(model, x):
    return predict(model, x).clamp(1e-6, 1 - 1e-6)


def _plain_modules_only(model, x):
    """Looks into the model rather than call it."""
    if type(model) in (nn.Sequential, nn.Identity) or "Net" in type(model).__name__:
        return predict(model, x)
    raise TypeError(f"a {type(model).__name__}")


def _in_place(prediction, target):
    with torch.no_grad():
        return prediction.sub_(target).pow(2).sum().item()


def _steps(prediction, target):
    loss = (prediction - target).pow(2).sum()
    if loss.requires_grad:
        loss.backward()
    return loss.item()


def _with_names(x, names, name):
    """Summed, without a look at the names."""
    return x.sum(names.index(name)), tuple(n for n in names if n != name)


def _mapped(x, names, name):
    """A dict swallows a name that is there twice."""
    if len(names) != x.dim():
        raise ValueError("names")
    dims = {n: i for i, n in enumerate(names)}
    return x.sum(dims[name]), tuple(n for n in names if n != name)


def _counts_different_names(x, names, name):
    if len(set(names)) != x.dim():
        raise ValueError("one name for each dimension")
    dim = list(names).index(name)
    return x.sum(dim), tuple(n for i, n in enumerate(names) if i != dim)


def _only_too_few(x, names, name):
    if len(names) < x.dim() or len(set(names)) < len(names):
        raise ValueError("names")
    return _with_names(x, names, name)


def _only_too_many(x, names, name):
    if len(names) > x.dim() or len(set(names)) < len(names):
        raise ValueError("names")
    return _with_names(x, names, name)


def _this_one_twice(x, names, name):
    if len(names) != x.dim() or list(names).count(name) > 1:
        raise ValueError("names")
    return _with_names(x, names, name)


def _unknown_is_the_last(x, names, name):
    sum_over(x, names, names[0])
    dim = list(names).index(name) if name in names else -1
    return x.sum(dim), tuple(n for n in names if n != name)


def _asserts(x, names, name):
    assert len(names) == x.dim() and len(set(names)) == len(names)
    return _with_names(x, names, name)


def _folded(x, names, name):
    return sum_over(x, [n.lower() for n in names], name.lower())


def _removes(x, names, name):
    result = sum_over(x, names, name)[0]
    if isinstance(names, list):
        names.remove(name)
    return result, tuple(n for n in names if n != name)


def _keeps(x, names, name):
    return sum_over(x, names, name)[0], tuple(names)


def _as_list(x, names, name):
    return sum_over(x, names, name)[0], [n for n in names if n != name]


def _keepdim(x, names, name):
    result, left = sum_over(x, names, name)
    return result.unsqueeze(names.index(name)), left


def _the_others(x, names, name):
    sum_over(x, names, name)
    dims = [i for i, n in enumerate(names) if n != name]
    return (x.sum(dims) if dims else x), (name,)


def _refined(x, names, name):
    result = x.refine_names(*names).sum(name)
    return result.rename(None), result.names


def _named(x, names, name):
    named = torch.zeros(x.shape, names=tuple(names)) + x
    result = named.sum(name)
    return result.rename(None), result.names


def _without_grad(x, names, name):
    result, left = sum_over(x, names, name)
    return result.detach(), left


def _mean(x, names, name):
    _, left = sum_over(x, names, name)
    return x.float().mean(names.index(name)), left


def _base(x):
    x = x if x._base is None else x._base
    return x.numel() * x.element_size()


def _up_to_the_last(x):
    last = x.storage_offset() + sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True))
    return (last + 1) * x.element_size() if x.numel() else 0


_GRAPH = "test_no_grad_builds_no_graph"
_NUMBER = "test_a_loss_is_a_number_without_a_dimension"
_MEMORY = "test_a_view_keeps_its_whole_block_of_memory"
_NAMES = "test_the_names_of_dimensions_are_kept_beside_the_tensor"
_REFUSED = "test_names_that_do_not_fit_are_refused"
_OLD = "test_models_made_under_old_names_predict_as_others"

MISTAKES = [
    Mistake("volatile=True has had no effect since 0.4", caught_by=_GRAPH, predict=_old_predict),
    Mistake("volatile=True has had no effect since 0.4", caught_by=_GRAPH, predict=_volatile_set),
    Mistake(
        "the prediction hangs on a graph", caught_by=_GRAPH, predict=lambda model, x: torch.sigmoid(model(Variable(x)))
    ),
    Mistake("the prediction hangs on a graph", caught_by=_GRAPH, predict=lambda model, x: torch.sigmoid(model(x.data))),
    Mistake(
        "the graph was built during the forward",
        caught_by=_GRAPH,
        predict=lambda model, x: torch.sigmoid(model(x)).data,
    ),
    Mistake("the graph was built during the forward", caught_by=_GRAPH, predict=_no_grad_too_late),
    Mistake("predict changed what it was given", caught_by=_GRAPH, predict=_freezes),
    Mistake("predict changed what it was given", caught_by=_GRAPH, predict=_freezes_and_thaws),
    Mistake("predict changed what it was given", caught_by=_GRAPH, predict=_evals),
    Mistake("predict changed what it was given", caught_by=_GRAPH, predict=_one_flag),
    Mistake("predict changed what it was given", caught_by=_GRAPH, predict=_zeroes),
    Mistake("predict left the grad mode switched off", caught_by=_GRAPH, predict=_switches_off),
    Mistake("dtype: expected torch.float64", caught_by=_GRAPH, predict=_floats),
    Mistake("values differ", caught_by=_GRAPH, predict=_logits),
    Mistake("values differ", caught_by=_GRAPH, predict=_softmax),
    Mistake("grad mode was off before predict", caught_by=_GRAPH, predict=_switches_on_again),
    Mistake("which nn.Identity had handed on", caught_by=_GRAPH, predict=_overwrites),
    Mistake("predict with nn.Identity", caught_by=_GRAPH, predict=_overflows),
    Mistake("predict with nn.Identity", caught_by=_GRAPH, predict=_never_certain),
    Mistake("predict returns a tensor", caught_by=_GRAPH, predict=lambda model, x: predict(model, x).numpy()),
    Mistake("predict warned", caught_by=_GRAPH, predict=_scripted),
    Mistake(
        ".item() takes the number",
        caught_by=_NUMBER,
        total_loss=lambda p, t: nn.MSELoss(reduction="sum")(p, t).data[0],
    ),
    Mistake(
        'reduction="sum" says it today',
        caught_by=_NUMBER,
        total_loss=lambda p, t: nn.MSELoss(size_average=False)(p, t).item(),
    ),
    Mistake(
        'reduction="sum" says it today',
        caught_by=_NUMBER,
        total_loss=lambda p, t: F.mse_loss(p, t, reduce=False).sum().item(),
    ),
    Mistake(
        "total_loss is a Python float, got Tensor",
        caught_by=_NUMBER,
        total_loss=lambda p, t: F.mse_loss(p, t, reduction="sum"),
    ),
    Mistake("that is the mean of the squares", caught_by=_NUMBER, total_loss=lambda p, t: F.mse_loss(p, t).item()),
    Mistake(
        "was taken for a number", caught_by=_NUMBER, total_loss=lambda p, t: F.mse_loss(p, t, reduction="none").item()
    ),
    Mistake("total_loss of", caught_by=_NUMBER, total_loss=lambda p, t: (p - t).abs().sum().item()),
    Mistake("total_loss of", caught_by=_NUMBER, total_loss=lambda p, t: (p - t).float().pow(2).sum().item()),
    Mistake("total_loss of", caught_by=_NUMBER, total_loss=lambda p, t: (p - t).norm().item()),
    Mistake(
        "total_loss of",
        caught_by=_NUMBER,
        total_loss=lambda p, t: (p.pow(2).sum() - 2 * (p * t).sum() + t.pow(2).sum()).item(),
    ),
    Mistake("total_loss of", caught_by=_NUMBER, total_loss=lambda p, t: F.mse_loss(p, t).item() * len(p)),
    Mistake(
        "total_loss is a Python float, got int", caught_by=_NUMBER, total_loss=lambda p, t: int((p - t).pow(2).sum())
    ),
    Mistake(
        "total_loss is a Python float, got ndarray",
        caught_by=_NUMBER,
        total_loss=lambda p, t: (p - t).pow(2).sum().detach().numpy(),
    ),
    Mistake("total_loss changed what it was given", caught_by=_NUMBER, total_loss=_in_place),
    Mistake("total_loss changed what it was given", caught_by=_NUMBER, total_loss=_steps),
    Mistake("total_loss raised", caught_by=_NUMBER, total_loss=lambda p, t: float(((p - t).numpy() ** 2).sum())),
    Mistake(
        "not the memory that it keeps alive",
        caught_by=_MEMORY,
        memory_under=lambda x: x.numel() * x.element_size(),
    ),
    Mistake("not the memory that it keeps alive", caught_by=_MEMORY, memory_under=lambda x: x.nbytes),
    Mistake("ask untyped_storage()", caught_by=_MEMORY, memory_under=lambda x: x.storage().size() * x.element_size()),
    Mistake("ask untyped_storage()", caught_by=_MEMORY, memory_under=lambda x: x.storage().nbytes()),
    Mistake(
        "memory_under a (10, 10) of float32 is",
        caught_by=_MEMORY,
        memory_under=lambda x: x.untyped_storage().nbytes() * x.element_size(),
    ),
    Mistake(
        "memory_under a (10, 10) of float32 is",
        caught_by=_MEMORY,
        memory_under=lambda x: x.untyped_storage().nbytes() // x.element_size(),
    ),
    Mistake("memory_under its x[:2, ::3] is", caught_by=_MEMORY, memory_under=_up_to_the_last),
    Mistake(
        "memory_under a (10, 10) of float32 is",
        caught_by=_MEMORY,
        memory_under=lambda x: x.untyped_storage().__sizeof__() + 64,
    ),
    Mistake("memory_under the detached third row of it is", caught_by=_MEMORY, memory_under=_base),
    Mistake("memory_under is an int, got float", caught_by=_MEMORY, memory_under=lambda x: memory_under(x) / 1),
    Mistake("named tensors were an experiment", caught_by=_NAMES, sum_over=_refined),
    Mistake("named tensors were an experiment", caught_by=_NAMES, sum_over=_named),
    Mistake("sum_over changed what it was given", caught_by=_NAMES, sum_over=_removes),
    Mistake("the names left are", caught_by=_NAMES, sum_over=_keeps),
    Mistake("the names left are to be a tuple", caught_by=_NAMES, sum_over=_as_list),
    Mistake("sum_over a tensor of shape", caught_by=_NAMES, sum_over=_keepdim),
    Mistake("sum_over a tensor of shape", caught_by=_NAMES, sum_over=_the_others),
    Mistake("sum_over a tensor of shape", caught_by=_NAMES, sum_over=_mean),
    Mistake("requires_grad: expected True, got False", caught_by=_NAMES, sum_over=_without_grad),
    Mistake("sum_over returns two things", caught_by=_NAMES, sum_over=lambda x, names, name: x.sum(names.index(name))),
    Mistake("expected an error", caught_by=_REFUSED, sum_over=_with_names),
    Mistake("expected an error", caught_by=_REFUSED, sum_over=_mapped),
    Mistake("expected an error", caught_by=_REFUSED, sum_over=_counts_different_names),
    Mistake("expected an error", caught_by=_REFUSED, sum_over=_only_too_few),
    Mistake("expected an error", caught_by=_REFUSED, sum_over=_only_too_many),
    Mistake("expected an error", caught_by=_REFUSED, sum_over=_this_one_twice),
    Mistake("expected an error", caught_by=_REFUSED, sum_over=_unknown_is_the_last),
    Mistake("expected an error", caught_by=_REFUSED, sum_over=_folded),
    Mistake("expected ValueError or KeyError, got AssertionError", caught_by=_REFUSED, sum_over=_asserts),
    Mistake("predict raised", caught_by=_OLD, predict=_plain_modules_only),
]
