"""Mixed precision in bfloat16: reference.

Hint: Which of the steps (clear, forward, loss, backward, update) should see bfloat16? Only these go into the block.
Hint: `torch.autocast` is a context manager and wants the type of the device; `.detach()` lets go of the graph.
Hint: Inside of the block are two calls, that of the model and cross_entropy; backward and the update stand behind it.

Why: autocast keeps one list of operations that are safe in few bits and one of those that need float32; all others take
what comes. Sums and small differences need digits: the loss, the gradients that are added up, the update of a weight.
The matrix products, which take nearly all of the time, do not. backward follows the graph, in which the casts are
recorded like any operation: so a gradient leaves the bfloat16 part as bfloat16, and the cast's own backward makes it
float32 before it is added to `.grad`.
"""

import copy

import torch
from torch import nn

from dojo import Mistake


def amp_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    optimizer.zero_grad()
    with torch.autocast("cpu"):
        loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.detach()


def _finish(optimizer, loss):
    loss.backward()
    optimizer.step()
    return loss.detach()


def _no_autocast(model, optimizer, x, y):
    optimizer.zero_grad()
    return _finish(optimizer, nn.functional.cross_entropy(model(x), y))


def _for_cuda(model, optimizer, x, y):
    optimizer.zero_grad()
    with torch.autocast("cuda"):
        loss = nn.functional.cross_entropy(model(x), y)
    return _finish(optimizer, loss)


def _in_float16(model, optimizer, x, y):
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.float16):
        loss = nn.functional.cross_entropy(model(x), y)
    return _finish(optimizer, loss)


def _only_the_loss(model, optimizer, x, y):
    optimizer.zero_grad()
    logits = model(x)
    with torch.autocast("cpu"):
        loss = nn.functional.cross_entropy(logits, y)
    return _finish(optimizer, loss)


def _model_cast(model, optimizer, x, y):
    model.to(torch.bfloat16)
    optimizer.zero_grad()
    return _finish(optimizer, nn.functional.cross_entropy(model(x.bfloat16()).float(), y))


def _model_cast_and_back(model, optimizer, x, y):
    loss = _model_cast(model, optimizer, x, y)
    model.float()
    return loss


def _weights_swapped_for_the_forward(model, optimizer, x, y):
    """The weights are float32 again at the update, their gradients are not."""
    optimizer.zero_grad()
    whole = [p.data for p in model.parameters()]
    for p in model.parameters():
        p.data = p.data.bfloat16()
    loss = nn.functional.cross_entropy(model(x.bfloat16()).float(), y)
    loss.backward()
    for p, w in zip(model.parameters(), whole, strict=True):
        p.data = w
    optimizer.step()
    return loss.detach()


def _loss_outside(model, optimizer, x, y):
    optimizer.zero_grad()
    with torch.autocast("cpu"):
        logits = model(x)
    return _finish(optimizer, nn.functional.cross_entropy(logits, y))


def _loss_outside_and_cast(model, optimizer, x, y):
    return _loss_outside(model, optimizer, x, y).float()


def _nll_of_log_softmax(model, optimizer, x, y):
    """Autocast leaves log_softmax in bfloat16; only the mean is taken in float32."""
    optimizer.zero_grad()
    with torch.autocast("cpu"):
        loss = nn.functional.nll_loss(model(x).log_softmax(1), y)
    return _finish(optimizer, loss)


def _smoothed(model, optimizer, x, y):
    optimizer.zero_grad()
    with torch.autocast("cpu"):
        loss = nn.functional.cross_entropy(model(x), y, label_smoothing=0.005)
    return _finish(optimizer, loss)


def _keeps_the_graph(model, optimizer, x, y):
    optimizer.zero_grad()
    with torch.autocast("cpu"):
        loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


def _a_number(model, optimizer, x, y):
    return amp_step(model, optimizer, x, y).item()


def _one_per_row(model, optimizer, x, y):
    optimizer.zero_grad()
    with torch.autocast("cpu"):
        losses = nn.functional.cross_entropy(model(x), y, reduction="none")
    losses.mean().backward()
    optimizer.step()
    return losses.detach()


def _backward_inside(model, optimizer, x, y):
    optimizer.zero_grad()
    with torch.autocast("cpu"):
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
    optimizer.step()
    return loss.detach()


def _left_on(model, optimizer, x, y):
    optimizer.zero_grad()
    torch.set_autocast_enabled("cpu", True)
    loss = nn.functional.cross_entropy(model(x), y)
    return _finish(optimizer, loss)


def _forward_replaced(model, optimizer, x, y):
    optimizer.zero_grad()
    model.forward = torch.autocast("cpu")(model.forward)
    return _finish(optimizer, nn.functional.cross_entropy(model(x).float(), y))


def _never_clears(model, optimizer, x, y):
    with torch.autocast("cpu"):
        loss = nn.functional.cross_entropy(model(x), y)
    return _finish(optimizer, loss)


def _clears_at_the_end(model, optimizer, x, y):
    loss = _never_clears(model, optimizer, x, y)
    optimizer.zero_grad()
    return loss


def _clears_after_backward(model, optimizer, x, y):
    with torch.autocast("cpu"):
        loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss.detach()


def _no_step(model, optimizer, x, y):
    optimizer.zero_grad()
    with torch.autocast("cpu"):
        loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    return loss.detach()


def _in_eval(model, optimizer, x, y):
    model.eval()
    loss = amp_step(model, optimizer, x, y)
    model.train()
    return loss


def _left_in_eval(model, optimizer, x, y):
    loss = amp_step(model.train(), optimizer, x, y)
    model.eval()
    return loss


def _a_copy(model, optimizer, x, y):
    short = copy.deepcopy(model)
    short.zero_grad()
    return amp_step(short, torch.optim.SGD(short.parameters(), lr=0.1), x, y)


def _own_optimizer(model, optimizer, x, y):
    return amp_step(model, torch.optim.SGD(model.parameters(), lr=1.0), x, y)


def _loss_after(model, optimizer, x, y):
    amp_step(model, optimizer, x, y)
    with torch.no_grad(), torch.autocast("cpu"):
        return nn.functional.cross_entropy(model(x), y)


def _scaled_for_good(model, optimizer, x, y):
    scaler = torch.amp.GradScaler("cpu")
    optimizer.zero_grad()
    with torch.autocast("cpu"):
        loss = nn.functional.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    optimizer.step()
    return loss.detach()


def _softmax_twice(model, optimizer, x, y):
    optimizer.zero_grad()
    with torch.autocast("cpu"):
        loss = nn.functional.cross_entropy(model(x).softmax(1), y)
    return _finish(optimizer, loss)


def _a_sum(model, optimizer, x, y):
    optimizer.zero_grad()
    with torch.autocast("cpu"):
        loss = nn.functional.cross_entropy(model(x), y, reduction="sum")
    return _finish(optimizer, loss)


def _no_graph(model, optimizer, x, y):
    optimizer.zero_grad()
    with torch.no_grad(), torch.autocast("cpu"):
        loss = nn.functional.cross_entropy(model(x), y)
    return _finish(optimizer, loss)


def _only_x_is_cast(model, optimizer, x, y):
    optimizer.zero_grad()
    return _finish(optimizer, nn.functional.cross_entropy(model(x.bfloat16()), y))


def _reports_a_float32_forward(model, optimizer, x, y):
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        loss = nn.functional.cross_entropy(model.layers(x), y)
    amp_step(model, optimizer, x, y)
    return loss


def _memory_of_the_optimizer_cast(model, optimizer, x, y):
    loss = amp_step(model, optimizer, x, y)
    for state in optimizer.state.values():
        for name, value in state.items():
            state[name] = value.bfloat16()
    return loss


def _weights_rounded_afterwards(model, optimizer, x, y):
    loss = amp_step(model, optimizer, x, y)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.bfloat16())
    return loss


def _new_weights(model, optimizer, x, y):
    loss = amp_step(model, optimizer, x, y)
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(p.detach().clone()))
    return loss


_LAYERS = "test_autocast_on_the_cpu_runs_linear_and_conv_layers_in_bfloat16"
_FLOAT32 = "test_weights_and_gradients_stay_float32"
_SMALL = "test_float32_weights_do_not_lose_a_small_step"
_LOSS = "test_cross_entropy_is_computed_in_float32"
_BACKWARD = "test_backward_runs_outside_autocast"
_STEP = "test_a_step_follows_the_gradient_of_its_own_batch"

_OFF = "no autocast for the CPU was on while the model ran"

MISTAKES = [
    Mistake(_OFF, caught_by=_LAYERS, amp_step=_no_autocast),
    Mistake(_OFF, caught_by=_LAYERS, amp_step=_for_cuda),
    Mistake(_OFF, caught_by=_LAYERS, amp_step=_only_the_loss),
    Mistake("gave torch.float16; bfloat16 was expected", caught_by=_LAYERS, amp_step=_in_float16),
    Mistake("ran in eval mode, without its dropout", caught_by=_LAYERS, amp_step=_in_eval),
    Mistake("it was left in eval mode", caught_by=_LAYERS, amp_step=_left_in_eval),
    Mistake("never called the model that it was given", caught_by=_LAYERS, amp_step=_a_copy),
    Mistake("called as usual, gives float32 no more", caught_by=_LAYERS, amp_step=_forward_replaced),
    Mistake("the weights were cast, and in bfloat16", caught_by=_FLOAT32, amp_step=_model_cast),
    Mistake("the gradient of layers.0.weight is", caught_by=_FLOAT32, amp_step=_weights_swapped_for_the_forward),
    Mistake("the optimizer still has the old one", caught_by=_FLOAT32, amp_step=_new_weights),
    Mistake("a step of 0.0001 was due for each weight", caught_by=_SMALL, amp_step=_model_cast_and_back),
    Mistake("a step of 0.0001 was due for each weight", caught_by=_SMALL, amp_step=_weights_rounded_afterwards),
    Mistake("of SGD is bfloat16", caught_by=_FLOAT32, amp_step=_memory_of_the_optimizer_cast),
    Mistake("no weight moved", caught_by=_SMALL, amp_step=_clears_after_backward),
    Mistake("no weight moved", caught_by=_SMALL, amp_step=_no_step),
    Mistake("outside it keeps the dtype of the logits", caught_by=_LOSS, amp_step=_loss_outside),
    Mistake("it was rounded, and cast after", caught_by=_LOSS, amp_step=_loss_outside_and_cast),
    Mistake("the bfloat16 logits have the mean cross-entropy", caught_by=_LOSS, amp_step=_nll_of_log_softmax),
    Mistake("the bfloat16 logits have the mean cross-entropy", caught_by=_LOSS, amp_step=_smoothed),
    Mistake("the loss still hangs on its graph", caught_by=_LOSS, amp_step=_keeps_the_graph),
    Mistake("the loss should come back as a tensor", caught_by=_LOSS, amp_step=_a_number),
    Mistake("the loss is a tensor of shape ()", caught_by=_LOSS, amp_step=_one_per_row),
    Mistake("which is the loss after the update", caught_by=_LOSS, amp_step=_loss_after),
    Mistake("bfloat16 logits explain 0.02 at most", caught_by=_LOSS, amp_step=_softmax_twice),
    Mistake("bfloat16 logits explain 0.02 at most", caught_by=_LOSS, amp_step=_a_sum),
    Mistake("not that of the bfloat16 logits", caught_by=_LOSS, amp_step=_reports_a_float32_forward),
    Mistake("autocast was on during backward", caught_by=_BACKWARD, amp_step=_backward_inside),
    Mistake("autocast is still on after the step", caught_by=_BACKWARD, amp_step=_left_on),
    Mistake("the loss has no graph: backward needs one", caught_by=_BACKWARD, amp_step=_no_graph),
    Mistake("in autocast nothing is to be cast by hand", caught_by=_LAYERS, amp_step=_only_x_is_cast),
    Mistake("were added to its own: clear them before backward", caught_by=_STEP, amp_step=_never_clears),
    Mistake("were added to its own: clear them before backward", caught_by=_STEP, amp_step=_clears_at_the_end),
    Mistake("bfloat16 explains 4 %", caught_by=_STEP, amp_step=_scaled_for_good),
    Mistake("bfloat16 explains 4 %", caught_by=_STEP, amp_step=_own_optimizer),
]
