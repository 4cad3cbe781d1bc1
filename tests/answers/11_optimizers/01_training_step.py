"""Answers that people give to training_step, right ones and wrong ones."""

import numpy as np
import torch

from dojo import Mistake


def _clear_late(model, opt, loss_fn, x, y):
    model.train()
    prediction = model(x)
    loss = loss_fn(prediction, y)
    opt.zero_grad(set_to_none=True)
    loss.backward()
    opt.step()
    return float(loss.detach())


def _clear_the_model(model, opt, loss_fn, x, y):
    model.train(True)
    model.zero_grad()
    loss = loss_fn(model(x), y)
    value = loss.item()
    loss.backward()
    opt.step()
    opt.zero_grad()
    return value


def _with_zeros(model, opt, loss_fn, x, y):
    model.train()
    opt.zero_grad(set_to_none=False)
    with torch.enable_grad():
        loss = loss_fn(model(x), y)
    torch.autograd.backward(loss)
    opt.step()
    return loss.detach().cpu().item()


def _with_a_closure(model, opt, loss_fn, x, y):
    model.train()

    def closure():
        opt.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        return loss

    return opt.step(closure).item()


@torch.no_grad()
def _decorated(model, loss_fn, batches):
    mode = model.training
    model.eval()
    total, n = torch.zeros(()), 0
    for x, y in batches:
        total = total + loss_fn(model(x), y) * x.shape[0]
        n += x.shape[0]
    model.train(mode)
    return (total / n).item()


def _weighted_lists(model, loss_fn, batches):
    before = model.training
    model.train(False)
    losses, sizes = [], []
    with torch.inference_mode():
        for batch in batches:
            losses.append(loss_fn(model(batch[0]), batch[1]).item())
            sizes.append(batch[1].size(0))
    if before:
        model.train()
    return sum(loss * n for loss, n in zip(losses, sizes)) / sum(sizes)


def _all_at_once(model, loss_fn, batches):
    mode = {m: m.training for m in model.modules()}
    model.eval()
    with torch.no_grad():
        pairs = [(model(x), y) for x, y in batches]
        loss = loss_fn(torch.cat([p for p, _ in pairs]), torch.cat([y for _, y in pairs]))
    for m, training in mode.items():
        m.training = training
    return loss.item()


def _no_grads_at_all(model, opt, loss_fn, x, y):
    """As it was before, the mode too."""
    mode = model.training
    model.train()
    for p in model.parameters():
        p.grad = None
    loss = loss_fn(model(x), y)
    loss.backward()
    opt.step()
    model.train(mode)
    return loss.item()


def _by_vectors(model, loss_fn, batches):
    mode, losses, rows = model.training, [], []
    model.eval()
    with torch.inference_mode():
        for x, y in batches:
            losses.append(loss_fn(model(x), y))
            rows.append(len(y))
    model.train(mode)
    return (torch.stack(losses) @ torch.tensor(rows, dtype=losses[0].dtype) / sum(rows)).item()


def _old_style(model, opt, loss_fn, x, y):
    model.train()
    for group in opt.param_groups:
        for p in group["params"]:
            if p.grad is not None:
                p.grad.data.zero_()
    loss = loss_fn(model(x), y)
    loss.backward()
    opt.step()
    return loss.data.tolist()


def _switched_by_hand(model, loss_fn, batches):
    mode = model.training
    model.eval()
    torch.set_grad_enabled(False)
    losses, rows = [], []
    for x, y in batches:
        losses.append(loss_fn(model(x), y).numpy())
        rows.append(len(x))
    torch.set_grad_enabled(True)
    model.train(mode)
    return float(np.average(losses, weights=rows))


RIGHT = [
    dict(train_step=_old_style, evaluate=_switched_by_hand),
    dict(train_step=_no_grads_at_all, evaluate=_by_vectors),
    dict(train_step=_clear_late, evaluate=_decorated),
    dict(train_step=_clear_the_model, evaluate=_weighted_lists),
    dict(train_step=_with_zeros, evaluate=_all_at_once),
    dict(train_step=_with_a_closure),
]


def _erased(model, opt, loss_fn, x, y):
    model.train()
    loss = loss_fn(model(x), y)
    loss.backward()
    model.zero_grad()
    opt.step()
    return float(loss)


def _no_clearing(model, opt, loss_fn, x, y):
    model.train()
    out = model(x)
    loss = loss_fn(out, y)
    loss.backward()
    opt.step()
    return loss.detach().item()


def _clears_last(model, opt, loss_fn, x, y):
    loss = _no_clearing(model, opt, loss_fn, x, y)
    model.zero_grad()
    return loss


def _no_mode(model, opt, loss_fn, x, y):
    opt.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()
    opt.step()
    return loss.item()


def _eval_mode(model, opt, loss_fn, x, y):
    model.eval()
    return _no_mode(model, opt, loss_fn, x, y)


def _tensor(model, opt, loss_fn, x, y):
    model.train()
    opt.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()
    opt.step()
    return loss.detach()


def _loss_again(model, opt, loss_fn, x, y):
    model.train()
    _no_mode(model, opt, loss_fn, x, y)
    return loss_fn(model(x), y).item()


def _detached(model, opt, loss_fn, x, y):
    model.train()
    opt.zero_grad()
    loss = loss_fn(model(x).detach().requires_grad_(), y)
    loss.backward()
    opt.step()
    return loss.item()


def _step_step(model, opt, loss_fn, x, y):
    model.train()
    opt.step()
    opt.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()
    return loss.item()


def _swapped(model, opt, loss_fn, x, y):
    model.train()
    opt.zero_grad()
    loss = loss_fn(y, model(x))
    loss.backward()
    opt.step()
    return loss.item()


def _tutorial(model, loss_fn, batches):
    model.eval()
    total = 0.0
    n = 0
    with torch.no_grad():
        for x, y in batches:
            total += loss_fn(model(x), y).item()
            n += 1
    model.train()
    return total / n


def _never_back(model, loss_fn, batches):
    model.eval()
    total = n = 0
    with torch.no_grad():
        for x, y in batches:
            total += loss_fn(model(x), y).item() * len(x)
            n += len(x)
    return total / n


def _always_train(model, loss_fn, batches):
    loss = _never_back(model, loss_fn, batches)
    model.train()
    return loss


def _no_eval(model, loss_fn, batches):
    total = n = 0
    with torch.inference_mode():
        for x, y in batches:
            total += loss_fn(model(x), y).item() * len(x)
            n += len(x)
    return total / n


def _graphs(model, loss_fn, batches):
    mode = model.training
    model.eval()
    total = n = 0
    for x, y in batches:
        total = total + loss_fn(model(x), y) * len(x)
        n += len(x)
    model.train(mode)
    return total.item() / n


def _no_grad_around_the_loss(model, loss_fn, batches):
    mode = model.training
    model.eval()
    total = n = 0
    for x, y in batches:
        out = model(x)
        with torch.no_grad():
            total += loss_fn(out, y).item() * len(x)
        n += len(x)
    model.train(mode)
    return total / n


def _grad_mode_left(model, loss_fn, batches):
    torch.set_grad_enabled(False)
    mode = model.training
    loss = _never_back(model, loss_fn, batches)
    model.train(mode)
    return loss


def _returns_in_the_loop(model, loss_fn, batches):
    mode = model.training
    model.eval()
    with torch.no_grad():
        for x, y in batches:
            loss = loss_fn(model(x), y).item()
            model.train(mode)
            return loss


def _uses_the_list(model, loss_fn, batches):
    mode = model.training
    losses = _never_back(model, loss_fn, [batches[i] for i in range(len(batches))])
    model.train(mode)
    return losses


def _array(model, loss_fn, batches):
    mode = model.training
    loss = _never_back(model, loss_fn, batches)
    model.train(mode)
    return torch.tensor(loss).numpy()


WRONG = [
    Mistake("the weights are where they were", caught_by="", train_step=_erased),
    Mistake("the weights are where they were", caught_by="", train_step=_detached),
    Mistake("the weights are where they were", caught_by="", train_step=_step_step),
    Mistake("they were never cleared", caught_by="", train_step=_no_clearing),
    Mistake("a backward from before the step", caught_by="", train_step=_clears_last),
    Mistake("did not run in train mode", caught_by="", train_step=_no_mode),
    Mistake("did not run in train mode", caught_by="", train_step=_eval_mode),
    Mistake("returns a Python float, got Tensor", caught_by="", train_step=_tensor),
    Mistake("the loss after the update", caught_by="", train_step=_loss_again),
    Mistake("of SGD with momentum, as by hand", caught_by="", train_step=_swapped),
    Mistake("the single last row counts as much as four", caught_by="", evaluate=_tutorial),
    Mistake("evaluating should leave no trace", caught_by="", evaluate=_never_back),
    Mistake("evaluating should leave no trace", caught_by="", evaluate=_always_train),
    Mistake("was not evaluated in eval mode", caught_by="", evaluate=_no_eval),
    Mistake("a graph was built for nothing", caught_by="", evaluate=_graphs),
    Mistake("a graph was built for nothing", caught_by="", evaluate=_no_grad_around_the_loss),
    Mistake("evaluate left gradients switched off", caught_by="", evaluate=_grad_mode_left),
    Mistake("the loss of the first batch", caught_by="", evaluate=_returns_in_the_loop),
    Mistake("batches may be a generator", caught_by="", evaluate=_uses_the_list),
    Mistake("evaluate returns a Python float", caught_by="", evaluate=_array),
]
