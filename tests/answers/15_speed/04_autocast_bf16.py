"""Answers that people give to autocast_bf16, right ones and wrong ones."""

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


def _logits_cast_by_hand(model, optimizer, x, y):
    """Only the model runs in autocast; the loss gets float32 logits."""
    model.zero_grad(set_to_none=False)
    with torch.amp.autocast(device_type="cpu", dtype=torch.bfloat16):
        logits = model(x)
    loss = F.cross_entropy(logits.float(), y)
    loss.backward()
    optimizer.step()
    return loss.data


def _decorated(model, optimizer, x, y):
    @torch.autocast(x.device.type, dtype=torch.bfloat16, cache_enabled=False)
    def forward():
        return nn.CrossEntropyLoss()(model(x), y)

    model.train()
    loss = forward()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return torch.tensor(loss.item(), dtype=torch.float32)


def _with_a_scaler(model, optimizer, x, y):
    """Not needed for bfloat16, but it does no harm."""
    scaler = torch.amp.GradScaler("cpu")
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    return loss.detach().clone()


def _autograd_grad(model, optimizer, x, y):
    with torch.enable_grad(), torch.autocast("cpu"):
        loss = F.cross_entropy(model(x), y)
    params = [p for p in model.parameters() if p.requires_grad]
    for p, g in zip(params, torch.autograd.grad(loss, params), strict=True):
        p.grad = g
    with torch.no_grad():
        optimizer.step()
    return loss.detach()


def _closure(model, optimizer, x, y):
    def closure():
        optimizer.zero_grad()
        with torch.autocast("cpu"):
            loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return optimizer.step(closure).detach()


def _by_logsumexp(model, optimizer, x, y):
    optimizer.zero_grad()
    with torch.autocast("cpu"):
        logits = model(x)
    logits = logits.to(torch.float32)
    loss = (logits.logsumexp(1) - logits.gather(1, y[:, None]).squeeze(1)).mean()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        return loss + 0


def _nll_of_float_logits(model, optimizer, x, y):
    for p in model.parameters():
        p.grad = None
    with torch.autocast(device_type="cpu"):
        loss = F.nll_loss(F.log_softmax(model(x).float(), dim=-1), y)
    loss.backward()
    optimizer.step()
    return loss.detach().requires_grad_(False)


def _switched_on_and_off(model, optimizer, x, y):
    optimizer.zero_grad()
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=True)
    autocast.__enter__()
    loss = torch.nn.CrossEntropyLoss(reduction="sum")(model(x), y) / len(y)
    autocast.__exit__(None, None, None)
    loss.backward()
    optimizer.step()
    return loss.detach()


RIGHT = [
    {"amp_step": f} for f in (_logits_cast_by_hand, _decorated, _with_a_scaler, _autograd_grad, _closure, _by_logsumexp)
] + [{"amp_step": f} for f in (_nll_of_float_logits, _switched_on_and_off)]


def _logsumexp_in_autocast(model, optimizer, x, y):
    optimizer.zero_grad()
    with torch.autocast("cpu"):
        logits = model(x)
        loss = (logits.logsumexp(1) - logits.gather(1, y[:, None])[:, 0]).float().mean()
    loss.backward()
    optimizer.step()
    return loss.detach()


def _step_with(context, inside=True, finish=lambda loss: loss.detach(), prepare=lambda x: x, loss_fn=F.cross_entropy):
    """The usual step, spoilt in one place."""

    def step(model, optimizer, x, y):
        optimizer.zero_grad()
        with context():
            logits = model(prepare(x))
            loss = loss_fn(logits, y) if inside else None
        if loss is None:
            loss = loss_fn(logits, y)
        loss.backward()
        optimizer.step()
        return finish(loss)

    return step


def _cpu():
    return torch.autocast("cpu")


def _bf16_parameters(model, optimizer, x, y):
    for p in model.parameters():
        p.data = p.data.bfloat16()
    return _step_with(_cpu)(model, optimizer, x, y)


def _half_and_back(model, optimizer, x, y):
    model.bfloat16()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x.bfloat16()), y).float()
    loss.backward()
    model.float()
    optimizer.step()
    return loss.detach()


def _all_inside(model, optimizer, x, y):
    with torch.autocast("cpu"):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()


def _whole_function(model, optimizer, x, y):
    return torch.autocast("cpu")(_step_with(_cpu))(model, optimizer, x, y)


def _enters_by_hand(model, optimizer, x, y):
    optimizer.zero_grad()
    torch.autocast("cpu").__enter__()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.detach()


def _adds_up(model, optimizer, x, y):
    with _cpu():
        loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.detach()


def _forgets_the_step(model, optimizer, x, y):
    optimizer.zero_grad()
    with _cpu():
        loss = F.cross_entropy(model(x), y)
    loss.backward()
    return loss.detach()


def _evaluates(model, optimizer, x, y):
    model.eval()
    return _step_with(_cpu)(model, optimizer, x, y)


def _inference(model, optimizer, x, y):
    with torch.inference_mode():
        return _step_with(_cpu)(model, optimizer, x, y)


def _clipped_too(model, optimizer, x, y):
    optimizer.zero_grad()
    with _cpu():
        loss = F.cross_entropy(model(x), y)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
    return loss.detach()


_OFF = "no autocast for the CPU was on while the model ran"

WRONG = [
    Mistake(_OFF, caught_by="", amp_step=_step_with(lambda: torch.autocast("cpu", enabled=False))),
    Mistake(_OFF, caught_by="", amp_step=_step_with(lambda: torch.amp.autocast("cuda", dtype=torch.bfloat16))),
    Mistake(_OFF, caught_by="", amp_step=_step_with(lambda: torch.set_grad_enabled(True))),
    Mistake(
        "gave torch.float16; bfloat16 was expected",
        caught_by="",
        amp_step=_step_with(lambda: torch.autocast("cpu", dtype=torch.half)),
    ),
    Mistake("the weights were cast, and in bfloat16", caught_by="", amp_step=_bf16_parameters),
    Mistake("a step of 0.0001 was due for each weight", caught_by="", amp_step=_half_and_back),
    Mistake("outside it keeps the dtype of the logits", caught_by="", amp_step=_step_with(_cpu, inside=False)),
    Mistake(
        "it was rounded, and cast after",
        caught_by="",
        amp_step=_step_with(_cpu, inside=False, finish=lambda loss: loss.detach().float()),
    ),
    Mistake("the bfloat16 logits have the mean cross-entropy", caught_by="", amp_step=_logsumexp_in_autocast),
    Mistake("the loss still hangs on its graph", caught_by="", amp_step=_step_with(_cpu, finish=lambda loss: loss)),
    Mistake("the loss should come back as a tensor", caught_by="", amp_step=_step_with(_cpu, finish=float)),
    Mistake("the loss should come back as a tensor", caught_by="", amp_step=_step_with(_cpu, finish=lambda loss: None)),
    Mistake("autocast was on during backward", caught_by="", amp_step=_all_inside),
    Mistake("autocast was on during backward", caught_by="", amp_step=_whole_function),
    Mistake("autocast is still on after the step", caught_by="", amp_step=_enters_by_hand),
    Mistake("were added to its own: clear them before backward", caught_by="", amp_step=_adds_up),
    Mistake("no weight moved", caught_by="", amp_step=_forgets_the_step),
    Mistake("it was left in eval mode", caught_by="", amp_step=_evaluates),
    Mistake("the loss has no graph: backward needs one", caught_by="", amp_step=_inference),
    Mistake("bfloat16 explains 4 %", caught_by="", amp_step=_clipped_too),
    Mistake(
        "bfloat16 logits explain 0.02 at most",
        caught_by="",
        amp_step=_step_with(_cpu, loss_fn=lambda logits, y: F.nll_loss(logits, y)),
    ),
]
