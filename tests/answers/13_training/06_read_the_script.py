"""Answers that people give to read_the_script, right ones and wrong ones."""

import copy
import pickle

import torch
import torch.nn.functional as F

from dojo import Mistake


def _dicts(use_cuda, batch_size, test_batch_size):
    train = {"batch_size": batch_size, "shuffle": True}
    test = {"batch_size": test_batch_size}
    if use_cuda:
        common = {"num_workers": 1, "persistent_workers": True, "pin_memory": True}
        train.update(common)
        test.update(common)
    return train, test


def _many_workers(use_cuda, batch_size, test_batch_size):
    common = dict(num_workers=2, pin_memory=use_cuda, drop_last=False, prefetch_factor=4)
    return (
        {**common, "batch_size": batch_size, "shuffle": True, "generator": torch.Generator().manual_seed(1)},
        {**common, "batch_size": test_batch_size, "shuffle": False},
    )


def _like_the_script(model, loader):
    model.eval()
    test_loss = 0
    correct = 0
    device = next(model.parameters()).device
    with torch.no_grad():
        for data, target in loader:
            data, target = data.to(device), target.to(device)
            output = model(data)
            test_loss += F.nll_loss(output, target, reduction="sum").item()
            pred = output.argmax(dim=1, keepdim=True)
            correct += pred.eq(target.view_as(pred)).sum().item()
    test_loss /= len(loader.dataset)
    return test_loss, correct


@torch.inference_mode()
def _all_at_once(model, loader):
    was = model.training
    model.eval()
    outs, ys = zip(*((model(x), y) for x, y in loader), strict=True)
    model.train(was)
    out, y = torch.cat(outs), torch.cat(ys)
    return F.nll_loss(out, y).item(), int(out.max(1)[1].eq(y).sum())


def _by_cross_entropy(model, loader):
    """log_softmax of log-probabilities changes nothing."""
    model.eval()
    total, right, n = torch.zeros(()), 0, 0
    for x, y in loader:
        with torch.no_grad():
            out = model(x)
        total += F.cross_entropy(out, y) * y.size(0)
        right += sum(int(row.argmax()) == int(label) for row, label in zip(out, y, strict=True))
        n += y.size(0)
    return float(total / n), right


def _restoring(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        pairs = [(model(x), y) for x, y in loader]
    for module, mode in modes.items():
        module.training = mode
    loss = sum(-out.gather(1, y[:, None]).sum().item() for out, y in pairs)
    return loss / len(loader.dataset), sum(int((out.argmax(-1) == y).sum()) for out, y in pairs)


def _on_a_copy(model, loader):
    twin = copy.deepcopy(model)
    for module in twin.modules():
        module.train(False)
    loss, right, n = 0.0, 0, 0
    for x, y in loader:
        with torch.no_grad():
            out = twin(x)
        for i in range(len(y)):
            label = int(y[i])
            loss -= float(out[i][label])
            right += int(out[i].max(0).indices) == label
            n += 1
    return loss / n, right


def _scheduler_before_callback(model, loader, optimizer, scheduler, epochs, after_epoch):
    lrs = []
    loss_fn = torch.nn.NLLLoss()
    for epoch in range(epochs):
        model.train()
        lrs.append(scheduler.get_last_lr()[0])
        for _, (data, target) in enumerate(loader):
            optimizer.zero_grad()
            output = model(data)
            loss = loss_fn(output, target)
            loss.backward()
            optimizer.step()
        scheduler.step()
        after_epoch(epoch + 1)
    return lrs


def _with_closure(model, loader, optimizer, scheduler, epochs, after_epoch):
    lrs = []
    for epoch in range(1, 1 + epochs):
        lrs += [float(group["lr"]) for group in optimizer.param_groups[:1]]
        for x, y in loader:
            model.train()

            def closure(x=x, y=y):
                optimizer.zero_grad(set_to_none=False)
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            optimizer.step(closure)
        after_epoch(epoch)
        scheduler.step()
    return lrs


def _grads_by_hand(model, loader, optimizer, scheduler, epochs, after_epoch):
    lrs = []
    for epoch in range(1, epochs + 1):
        model.train()
        device = next(model.parameters()).device
        for x, y in loader:
            lr = optimizer.param_groups[0]["lr"]
            model.zero_grad()
            out = model(x.to(device))
            (-out[range(len(y)), y].mean()).backward()
            optimizer.step()
        lrs.append(lr)
        after_epoch(epoch)
        if epoch < epochs:
            scheduler.step()
    return lrs


def _with_a_handle(model, path):
    with open(path, "wb") as file:
        torch.save(model.state_dict(), file)


def _copied(model, path):
    torch.save({name: t.detach().cpu().clone() for name, t in model.state_dict().items()}, str(path))


RIGHT = [
    {
        "loader_kwargs": _dicts,
        "score": _like_the_script,
        "fit": _scheduler_before_callback,
        "save_model": _with_a_handle,
    },
    {"loader_kwargs": _many_workers, "score": _all_at_once, "fit": _with_closure, "save_model": _copied},
    {"loader_kwargs": lambda c, a, b: [dict(batch_size=a, shuffle=1, pin_memory=c), dict(batch_size=b, pin_memory=c)]},
    {"score": _by_cross_entropy, "fit": _grads_by_hand},
    {"score": _restoring},
    {"score": _on_a_copy},
]

_COMMON = {"num_workers": 0}


def _shared(use_cuda, batch_size, test_batch_size):
    _COMMON.update(pin_memory=use_cuda)
    train = _COMMON
    train.update(batch_size=batch_size, shuffle=True)
    return train, train | {"batch_size": test_batch_size, "shuffle": False}


def _all_on_cuda(use_cuda, batch_size, test_batch_size):
    extra = {"pin_memory": True, "shuffle": True} if use_cuda else {}
    return {"batch_size": batch_size, **extra}, {"batch_size": test_batch_size, **extra}


def _one_again(use_cuda, batch_size, test_batch_size):
    train = {"batch_size": batch_size, "shuffle": True, "pin_memory": use_cuda}
    test = train
    test["batch_size"], test["shuffle"] = test_batch_size, False
    return train, test


def _mean_in_the_loop(model, loader):
    model.eval()
    losses, right = [], 0
    with torch.no_grad():
        for x, y in loader:
            out = model(x)
            losses.append(F.nll_loss(out, y).item())
            right += (out.argmax(1) == y).sum().item()
    return sum(losses) / len(losses), right


def _default_reduction(model, loader):
    model.eval()
    loss, right = 0.0, 0
    with torch.no_grad():
        for x, y in loader:
            out = model(x)
            loss += F.nll_loss(out, y).item()
            right += (out.argmax(1) == y).sum().item()
    return loss / len(loader.dataset), right


def _column(model, loader):
    loss, _ = _like_the_script(model, loader)
    right = 0
    with torch.no_grad():
        for x, y in loader:
            right += model(x).max(1, keepdim=True)[1].eq(y).sum().item()
    return loss, right


def _eval_only(model, loader):
    model.eval()
    loss, right = 0.0, 0
    for x, y in loader:
        out = model(x)
        loss += F.nll_loss(out, y, reduction="sum").item()
        right += (out.argmax(1) == y).sum().item()
    return loss / len(loader.dataset), right


@torch.no_grad()
def _no_eval(model, loader):
    loss, right = 0.0, 0
    for x, y in loader:
        out = model(x)
        loss += F.nll_loss(out, y, reduction="sum").item()
        right += (out.argmax(1) == y).sum().item()
    return loss / len(loader.dataset), right


def _train_once(model, loader, optimizer, scheduler, epochs, after_epoch):
    model.train()
    lrs = []
    for epoch in range(epochs):
        lrs.append(optimizer.param_groups[0]["lr"])
        for x, y in loader:
            optimizer.zero_grad()
            F.nll_loss(model(x), y).backward()
            optimizer.step()
        scheduler.step()
        after_epoch(epoch + 1)
    return lrs


def _scheduler_inside(model, loader, optimizer, scheduler, epochs, after_epoch):
    lrs = []
    for epoch in range(epochs):
        model.train()
        lrs.append(scheduler.get_last_lr()[0])
        for x, y in loader:
            optimizer.zero_grad()
            F.nll_loss(model(x), y).backward()
            optimizer.step()
            scheduler.step()
        after_epoch(epoch + 1)
    return lrs


def _last_lr_late(model, loader, optimizer, scheduler, epochs, after_epoch):
    lrs = []
    for epoch in range(epochs):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            F.nll_loss(model(x), y).backward()
            optimizer.step()
        scheduler.step()
        after_epoch(epoch + 1)
        lrs.append(scheduler.get_last_lr()[0])
    return lrs


def _from_zero(model, loader, optimizer, scheduler, epochs, after_epoch):
    return _scheduler_before_callback(model, loader, optimizer, scheduler, epochs, lambda e: after_epoch(e - 1))


def _cleared_after(model, loader, optimizer, scheduler, epochs, after_epoch):
    lrs = []
    for epoch in range(epochs):
        model.train()
        lrs.append(optimizer.param_groups[0]["lr"])
        for x, y in loader:
            F.nll_loss(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
        scheduler.step()
        after_epoch(epoch + 1)
    return lrs


def _pickled(model, path):
    with open(path, "wb") as file:
        pickle.dump(model, file)


def _kwargs(train, test):
    """Both dicts as they should be, then with these changes."""

    def wrong(use_cuda, batch_size, test_batch_size):
        right = _dicts(use_cuda, batch_size, test_batch_size)
        return right[0] | train, right[1] | test

    return wrong


def _first_batch(model, loader):
    model.eval()
    x, y = next(iter(loader))
    with torch.no_grad():
        out = model(x)
    return F.nll_loss(out, y).item(), int((out.argmax(1) == y).sum())


def _percent(model, loader):
    loss, right = _like_the_script(model, loader)
    return loss, 100.0 * right / len(loader.dataset)


def _flag(model, loader):
    model.training = False
    return _no_eval(model, loader)


@torch.no_grad()
def _train_in_the_loop(model, loader):
    model.eval()
    loss, right = 0.0, 0
    for x, y in loader:
        out = model(x)
        loss += F.nll_loss(out, y, reduction="sum").item()
        right += (out.argmax(1) == y).sum().item()
        model.train()
    return loss / len(loader.dataset), right


def _scheduler_first(model, loader, optimizer, scheduler, epochs, after_epoch):
    lrs = []
    for epoch in range(1, epochs + 1):
        model.train()
        scheduler.step()
        lrs.append(optimizer.param_groups[0]["lr"])
        for x, y in loader:
            optimizer.zero_grad()
            F.nll_loss(model(x), y).backward()
            optimizer.step()
        after_epoch(epoch)
    return lrs


def _callback_at_the_end(model, loader, optimizer, scheduler, epochs, after_epoch):
    lrs = _with_closure(model, loader, optimizer, scheduler, epochs, lambda epoch: None)
    after_epoch(epochs)
    return lrs


def _no_callback(model, loader, optimizer, scheduler, epochs, after_epoch):
    return _with_closure(model, loader, optimizer, scheduler, epochs, lambda epoch: None)


def _divided_again(model, loader, optimizer, scheduler, epochs, after_epoch):
    lrs = []
    for epoch in range(epochs):
        model.train()
        lrs.append(optimizer.param_groups[0]["lr"])
        for x, y in loader:
            optimizer.zero_grad()
            (F.nll_loss(model(x), y) / len(y)).backward()
            optimizer.step()
        scheduler.step()
        after_epoch(epoch + 1)
    return lrs


def _batches_listed(model, loader, optimizer, scheduler, epochs, after_epoch):
    batches = [(x, y) for x, y in loader]
    return _with_closure(model, batches, optimizer, scheduler, epochs, after_epoch)


def _train_if_needed(model, loader, optimizer, scheduler, epochs, after_epoch):
    lrs = []
    for epoch in range(epochs):
        if not model.training:
            model.train()
        lrs.append(optimizer.param_groups[0]["lr"])
        for x, y in loader:
            optimizer.zero_grad()
            F.nll_loss(model(x), y).backward()
            optimizer.step()
        scheduler.step()
        after_epoch(epoch + 1)
    return lrs


def _switches_parameters(model, loader):
    for p in model.parameters():
        p.requires_grad = False
    result = _restoring(model, loader)
    for p in model.parameters():
        p.requires_grad = True
    return result


WRONG = [
    Mistake("epoch 2 had the batches of epoch 1", caught_by="", fit=_batches_listed),
    Mistake("from epoch 3 on it trained in eval mode", caught_by="", fit=_train_if_needed),
    Mistake("requires_grad is the user's", caught_by="", score=_switches_parameters),
    Mistake("is still there at the next call", caught_by="", loader_kwargs=_shared),
    Mistake("without a GPU nothing shuffles it", caught_by="", loader_kwargs=_all_on_cuda),
    Mistake("the batches of training and test hold", caught_by="", loader_kwargs=_one_again),
    Mistake("a mean of batch means", caught_by="", score=_mean_in_the_loop),
    Mistake("too small by the batch size", caught_by="", score=_default_reduction),
    Mistake("(B, 1) compared with (B,) is (B, B)", caught_by="", score=_column),
    Mistake("outputs hang on a graph", caught_by="", score=_eval_only),
    Mistake("modules inside ran in train mode", caught_by="", score=_no_eval),
    Mistake("from epoch 2 on it trained in eval mode", caught_by="", fit=_train_once),
    Mistake("made a step after each batch", caught_by="", fit=_scheduler_inside),
    Mistake("read lr before scheduler.step()", caught_by="", fit=_last_lr_late),
    Mistake("epochs are counted 1, 2", caught_by="", fit=_from_zero),
    Mistake("at the call are in the first step", caught_by="", fit=_cleared_after),
    Mistake("torch.load refuses the file", caught_by="", save_model=_pickled),
    Mistake(
        "the file has no",
        caught_by="",
        save_model=lambda model, path: torch.save({"state_dict": model.state_dict(), "epoch": 3}, path),
    ),
    Mistake("without a GPU nothing shuffles it", caught_by="", loader_kwargs=_kwargs({"shuffle": False}, {})),
    Mistake("pin_memory is on without CUDA", caught_by="", loader_kwargs=_kwargs({}, {"pin_memory": True})),
    Mistake("the batches of training and test hold", caught_by="", loader_kwargs=lambda c, a, b: _dicts(c, b, a)),
    Mistake("an average loss of", caught_by="", score=_first_batch),
    Mistake("the number of right answers is a Python int", caught_by="", score=_percent),
    Mistake("the average loss is a Python float", caught_by="", score=lambda *args: _like_the_script(*args)[::-1]),
    Mistake("modules inside ran in train mode", caught_by="", score=_flag),
    Mistake("modules inside ran in train mode", caught_by="", score=_train_in_the_loop),
    Mistake("one for each epoch", caught_by="", fit=_scheduler_first),
    Mistake("it comes once an epoch", caught_by="", fit=_callback_at_the_end),
    Mistake("it comes once an epoch", caught_by="", fit=_no_callback),
    Mistake("SGD in float64", caught_by="", fit=_divided_again),
    Mistake(
        "the file has no",
        caught_by="",
        save_model=lambda model, path: torch.save(dict(model.named_parameters()), path),
    ),
]
