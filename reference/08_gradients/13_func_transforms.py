"""Per-sample gradients with torch.func: reference.

Hint: Write the loss of one sample as a function of (params, x_i, y_i). What is differentiated must be an argument.
Hint: `torch.func` has `functional_call`, `grad`, `vmap` (with `in_dims`) and `jacrev`.
Hint: grad of that loss works for one sample; vmap maps it over x and y (dimension 0) and over the params not at all
    (None). For the Jacobian: vmap of jacrev, not jacrev of a batch.

Why: grad and vmap are functions of functions, so what you did not pass in is a constant for them: a loss that closes
over the module's own weights has the gradient 0 by its argument, a correct and useless answer. vmap runs all samples in
one call of each operation, which a loop of backward() cannot. jacrev of a batch spends N times the memory on zeros.
In torch 2.15 jacfwd and hessian emit a FutureWarning (torch.jit.script is deprecated); jacrev does not.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, jacrev, vmap

from dojo import Mistake

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def per_sample_grads(model: nn.Module, loss_fn: Loss, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    params = {name: p.detach() for name, p in model.named_parameters()}

    def loss_of_one(params: dict[str, torch.Tensor], x_i: torch.Tensor, y_i: torch.Tensor) -> torch.Tensor:
        return loss_fn(functional_call(model, params, (x_i,)), y_i)

    grads: dict[str, torch.Tensor] = vmap(grad(loss_of_one), in_dims=(None, 0, 0))(params, x, y)
    return grads


def batch_jacobian(f: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    jacobians: torch.Tensor = vmap(jacrev(f))(x)
    return jacobians


def _batch_gradient(model, loss_fn, x, y):
    return torch.autograd.grad(loss_fn(model(x), y), list(model.parameters()))


def _expanded(model, loss_fn, x, y):
    grads = _batch_gradient(model, loss_fn, x, y)
    return {n: g.expand(len(x), *g.shape) for (n, _), g in zip(model.named_parameters(), grads, strict=True)}


def _one_gradient(model, loss_fn, x, y):
    return dict(zip([n for n, _ in model.named_parameters()], _batch_gradient(model, loss_fn, x, y), strict=True))


def _closed_over(model, loss_fn, x, y):
    params = {name: p.detach() for name, p in model.named_parameters()}
    return vmap(grad(lambda params, x_i, y_i: loss_fn(model(x_i), y_i)), in_dims=(None, 0, 0))(params, x, y)


def _divided(model, loss_fn, x, y):
    return {name: g / len(x) for name, g in per_sample_grads(model, loss_fn, x, y).items()}


def _backward_each(model, loss_fn, x, y, clear, copy):
    rows = {name: [] for name, _ in model.named_parameters()}
    for x_i, y_i in zip(x, y, strict=True):
        clear(model)
        loss_fn(model(x_i[None]), y_i[None]).backward()
        for name, p in model.named_parameters():
            rows[name].append(copy(p.grad))
    grads = {name: torch.stack(r) for name, r in rows.items()}
    return grads


def _zero_in_place(model):
    model.zero_grad(set_to_none=False)


def _aliased(model, loss_fn, x, y):
    grads = _backward_each(model, loss_fn, x, y, _zero_in_place, lambda g: g)
    model.zero_grad()
    return grads


def _accumulated(model, loss_fn, x, y):
    grads = _backward_each(model, loss_fn, x, y, lambda model: None, torch.clone)
    model.zero_grad()
    return grads


def _left_in_grad(model, loss_fn, x, y):
    return _backward_each(model, loss_fn, x, y, nn.Module.zero_grad, torch.clone)


def _loss_of_one(model, loss_fn):
    return lambda params, x_i, y_i: loss_fn(functional_call(model, params, (x_i,)), y_i)


def _params_mapped_too(model, loss_fn, x, y):
    return vmap(grad(_loss_of_one(model, loss_fn)))(dict(model.named_parameters()), x, y)


def _grad_of_vmap(model, loss_fn, x, y):
    losses = vmap(_loss_of_one(model, loss_fn), in_dims=(None, 0, 0))
    return grad(losses)(dict(model.named_parameters()), x, y)


def _params_in_a_list(model, loss_fn, x, y):
    return vmap(grad(_loss_of_one(model, loss_fn)), in_dims=(None, 0, 0))(list(model.parameters()), x, y)


def _autograd_by_detached_params(model, loss_fn, x, y):
    params = {name: p.detach() for name, p in model.named_parameters()}
    losses = [_loss_of_one(model, loss_fn)(params, x_i, y_i) for x_i, y_i in zip(x, y, strict=True)]
    rows = [torch.autograd.grad(loss, list(params.values())) for loss in losses]
    return {name: torch.stack(r) for name, r in zip(params, zip(*rows, strict=True), strict=True)}


def _in_float32(model, loss_fn, x, y):
    return per_sample_grads(model, loss_fn, x.float(), y)


def _one_graph_for_all_outputs(f, x):
    x = x.detach().requires_grad_()
    y = f(x)
    return torch.stack([torch.autograd.grad(y[:, k].sum(), x)[0] for k in range(y.shape[1])], dim=1)


def _two_outputs(f, x):
    x = x.detach().requires_grad_()
    first, second = f(x).sum(dim=0)
    return torch.stack([torch.autograd.grad(out, x, retain_graph=True)[0] for out in (first, second)], dim=1)


def _jacobian_in_float32(f, x):
    return batch_jacobian(f, x.float())


def _x_requires_grad(model, loss_fn, x, y):
    return per_sample_grads(model, loss_fn, x.requires_grad_(x.is_floating_point()), y)


def _in_eval_mode(model, loss_fn, x, y):
    return per_sample_grads(model.eval(), loss_fn, x, y)


def _a_step_on_the_way(model, loss_fn, x, y):
    grads = per_sample_grads(model, loss_fn, x, y)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p -= 0.1 * grads[name].mean(dim=0)
    return grads


def _frozen(model, loss_fn, x, y):
    model.requires_grad_(False)
    return per_sample_grads(model, loss_fn, x, y)


def _own_loss(model, loss_fn, x, y):
    return per_sample_grads(model, F.cross_entropy if y.dtype == torch.long else F.l1_loss, x, y)


def _squeezed(model, loss_fn, x, y):
    return {name: g.squeeze(0) for name, g in per_sample_grads(model, loss_fn, x, y).items()}


def _by_number(model, loss_fn, x, y):
    return {f"param_{i}": g for i, g in enumerate(per_sample_grads(model, loss_fn, x, y).values())}


def _a_tuple(model, loss_fn, x, y):
    return tuple(per_sample_grads(model, loss_fn, x, y).values())


def _squeezed_jacobians(f, x):
    return batch_jacobian(f, x).squeeze(0)


def _one_row(f, x):
    return jacrev(f)(x[0]).expand(len(x), -1, -1)


def _outputs_added(f, x):
    return vmap(grad(lambda row: f(row).sum()))(x)


def _through_the_callers_x(f, x):
    rows = []
    for k in range(f(x).shape[1]):
        f(x.requires_grad_())[:, k].sum().backward()
        rows.append(x.grad.clone())
        x.grad.zero_()
    x.requires_grad_(False)
    return torch.stack(rows, dim=1)


def _callers_x(f, x):
    x.requires_grad_()
    y = f(x)
    columns = [torch.autograd.grad(y[:, j].sum(), x, retain_graph=True)[0] for j in range(y.shape[1])]
    return torch.stack(columns, dim=1)


_OWN = "test_each_sample_has_a_gradient_of_its_own"
_ROWS = "test_there_is_one_row_per_sample_and_one_entry_per_parameter"
_MEAN = "test_the_mean_over_the_samples_is_the_gradient_of_the_batch"
_ALONE = "test_torch_func_leaves_the_model_alone"
_JACOBIAN = "test_a_batch_of_jacobians_has_no_pairs_of_samples"


def _clears_too_late(model, loss_fn, x, y):
    rows = {name: [] for name, _ in model.named_parameters()}
    for i in range(len(x)):
        loss_fn(model(x[i : i + 1]), y[i : i + 1]).backward()
        for name, p in model.named_parameters():
            rows[name].append(p.grad.clone())
            p.grad = None
    return {name: torch.stack(r) for name, r in rows.items()}


def _switched_off_afterwards(f, x):
    y = f(x.requires_grad_())
    rows = [torch.autograd.grad(y[:, k].sum(), x, retain_graph=True)[0] for k in range(y.shape[1])]
    x.requires_grad_(False)
    return torch.stack(rows, dim=1)


MISTAKES = [
    Mistake(
        "leave the caller's x as it is",
        caught_by="test_a_batch_of_jacobians_has_no_pairs_of_samples",
        batch_jacobian=_switched_off_afterwards,
    ),
    Mistake(
        ".grad held 100 from an earlier backward",
        caught_by="test_each_sample_has_a_gradient_of_its_own",
        per_sample_grads=_clears_too_late,
    ),
    Mistake("all zeros, as when the loss does not use the params", caught_by=_OWN, per_sample_grads=_closed_over),
    Mistake("every sample got the batch's mean", caught_by=_OWN, per_sample_grads=_expanded),
    Mistake("row i should be the gradient of sample i alone", caught_by=_OWN, per_sample_grads=_one_gradient),
    Mistake("divided by N", caught_by=_OWN, per_sample_grads=_divided),
    Mistake("backward adds to .grad", caught_by=_OWN, per_sample_grads=_accumulated),
    Mistake("all rows show the last sample", caught_by=_OWN, per_sample_grads=_aliased),
    Mistake("params have no dimension of samples", caught_by=_OWN, per_sample_grads=_params_mapped_too),
    Mistake("one sample's loss is one", caught_by=_OWN, per_sample_grads=_grad_of_vmap),
    Mistake("params should be a dict of tensors by name", caught_by=_OWN, per_sample_grads=_params_in_a_list),
    Mistake("there is no graph to go back", caught_by=_OWN, per_sample_grads=_autograd_by_detached_params),
    Mistake("leave both in the dtype", caught_by=_MEAN, per_sample_grads=_in_float32),
    Mistake("one row per sample, got", caught_by=_ROWS, per_sample_grads=_squeezed),
    Mistake("the keys should be the names", caught_by=_ROWS, per_sample_grads=_by_number),
    Mistake("returns a dict of tensors by name", caught_by=_ROWS, per_sample_grads=_a_tuple),
    Mistake("the gradient of loss_fn's mean", caught_by=_MEAN, per_sample_grads=_own_loss),
    Mistake("you left gradients in the .grad", caught_by=_ALONE, per_sample_grads=_left_in_grad),
    Mistake("each module should keep its mode", caught_by=_ALONE, per_sample_grads=_in_eval_mode),
    Mistake("you changed the values of", caught_by=_ALONE, per_sample_grads=_a_step_on_the_way),
    Mistake("the model would not train any more", caught_by=_ALONE, per_sample_grads=_frozen),
    Mistake("every output by every input", caught_by=_JACOBIAN, batch_jacobian=lambda f, x: jacrev(f)(x)),
    Mistake("raised on an x of shape (1, 3)", caught_by=_JACOBIAN, batch_jacobian=_two_outputs),
    Mistake("leave both in the dtype", caught_by=_JACOBIAN, batch_jacobian=_jacobian_in_float32),
    Mistake("must not change x and y", caught_by=_OWN, per_sample_grads=_x_requires_grad),
    Mistake("the outputs were added up", caught_by=_JACOBIAN, batch_jacobian=_outputs_added),
    Mistake("transposed", caught_by=_JACOBIAN, batch_jacobian=lambda f, x: batch_jacobian(f, x).mT),
    Mistake("the Jacobian (out, in) of f at row i", caught_by=_JACOBIAN, batch_jacobian=_one_row),
    Mistake("the Jacobian (out, in) of f at row i", caught_by=_JACOBIAN, batch_jacobian=_squeezed_jacobians),
    Mistake("f(row) has several", caught_by=_JACOBIAN, batch_jacobian=lambda f, x: vmap(grad(f))(x)),
    Mistake("the first walk freed it", caught_by=_JACOBIAN, batch_jacobian=_one_graph_for_all_outputs),
    Mistake("leave the caller's x as it is", caught_by=_JACOBIAN, batch_jacobian=_through_the_callers_x),
    Mistake("x is not as it was: requires_grad", caught_by=_JACOBIAN, batch_jacobian=_callers_x),
]
