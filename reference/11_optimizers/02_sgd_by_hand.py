"""SGD by hand: reference.

Hint: A weight's buffer is not there until its first gradient comes. Where can a tensor be kept for each weight?
Hint: A dict with the weights themselves as keys (a tensor is hashed by identity); `torch.no_grad()` for the step.
Hint: Give g a new value line by line: plus decay, then the buffer, then the direction; never write into `.grad`.

Why: torch keeps lr out of the buffer, so a scheduler acts at once on the whole step; with lr inside, old steps would
live on at their old size. It skips dampening for the first gradient: a quirk of many years that others copied, and
results depend on it. Skipping weights without gradients lets one optimizer serve a model of which each loss uses only
a part.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from dojo import Mistake


class SGD:
    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float,
        momentum: float,
        dampening: float,
        weight_decay: float,
        nesterov: bool,
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("nesterov needs a momentum above 0, and no dampening")
        self.param_groups: list[dict[str, Any]] = [{"params": list(params), "lr": lr}]
        self.momentum, self.dampening, self.weight_decay, self.nesterov = momentum, dampening, weight_decay, nesterov
        self.buffers: dict[torch.Tensor, torch.Tensor] = {}

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p -= group["lr"] * self._direction(p, p.grad)

    def _direction(self, p: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        if self.weight_decay:
            g = g + self.weight_decay * p
        if not self.momentum:
            return g
        if p in self.buffers:
            self.buffers[p].mul_(self.momentum).add_(g, alpha=1 - self.dampening)
        else:
            self.buffers[p] = g.clone()
        return g + self.momentum * self.buffers[p] if self.nesterov else self.buffers[p]

    def zero_grad(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None


def _moving(direction: Callable[..., Any]) -> type:
    """SGD with another direction(self, p, g, state)."""

    class Wrong(SGD):
        def _direction(self, p, g):
            return direction(self, p, g, self.__dict__.setdefault("kept", {}).setdefault(p, {}))

    return Wrong


def _as_average(self, p, g, s):
    s["buf"] = self.momentum * s.get("buf", 0) + (1 - self.momentum) * (g + self.weight_decay * p)
    return s["buf"] if self.momentum else g


def _as_average_begun_with_g(self, p, g, s):
    s["buf"] = self.momentum * s["buf"] + (1 - self.momentum) * g if "buf" in s else g.clone()
    return s["buf"] if self.momentum else g


def _from_zero(self, p, g, s):
    g = g + self.weight_decay * p
    s["buf"] = self.momentum * s.get("buf", torch.zeros_like(p)) + (1 - self.dampening) * g
    if not self.momentum:
        return g
    return g + self.momentum * s["buf"] if self.nesterov else s["buf"]


def _dampened_without_momentum(self, p, g, s):
    g = g + self.weight_decay * p
    s["buf"] = self.momentum * s["buf"] + (1 - self.dampening) * g if "buf" in s else g
    return g + self.momentum * s["buf"] if self.nesterov else s["buf"]


def _dampening_the_other_way(self, p, g, s):
    g = g + self.weight_decay * p
    share = self.dampening or 1
    s["buf"] = self.momentum * s["buf"] + share * g if "buf" in s else g
    return g + self.momentum * s["buf"] if self.nesterov else s["buf"] if self.momentum else g


def _undamped(self, p, g, s):
    g = g + self.weight_decay * p
    s["buf"] = self.momentum * s.get("buf", 0) + g
    return g + self.momentum * s["buf"] if self.nesterov else s["buf"]


def _unshrunk(self, p, g, s):
    g = g + self.weight_decay * p
    s["buf"] = s.get("buf", 0) + g
    return s["buf"] if self.momentum else g


def _no_nesterov(self, p, g, s):
    self.nesterov = False
    return SGD._direction(self, p, g)


def _buffer_only(self, p, g, s):
    nesterov, self.nesterov = self.nesterov, False
    buffer = SGD._direction(self, p, g)
    self.nesterov = nesterov
    return self.momentum * buffer if nesterov else buffer


def _whole_buffer(self, p, g, s):
    nesterov, self.nesterov = self.nesterov, False
    buffer = SGD._direction(self, p, g)
    self.nesterov = nesterov
    return g + self.weight_decay * p + buffer if nesterov else buffer


def _direction_kept(self, p, g, s):
    direction = SGD._direction(self, p, g)
    if self.nesterov:
        self.buffers[p] = direction.clone()
    return direction


def _nesterov_with_the_bare_gradient(self, p, g, s):
    nesterov, self.nesterov = self.nesterov, False
    buffer = SGD._direction(self, p, g)
    self.nesterov = nesterov
    return g + self.momentum * buffer if nesterov else buffer


def _decay_forgotten(self, p, g, s):
    self.weight_decay = 0.0
    return SGD._direction(self, p, g)


def _decay_with_the_wrong_sign(self, p, g, s):
    self.weight_decay = -abs(self.weight_decay)
    return SGD._direction(self, p, g)


def _decay_after_the_buffer(self, p, g, s):
    decay, self.weight_decay = self.weight_decay, 0.0
    direction = SGD._direction(self, p, g) + decay * p
    self.weight_decay = decay
    return direction


def _decay_into_grad(self, p, g, s):
    decay, self.weight_decay = self.weight_decay, 0.0
    direction = SGD._direction(self, p, g.add_(p, alpha=decay))
    self.weight_decay = decay
    return direction


def _grad_is_the_buffer(self, p, g, s):
    if self.momentum and not self.weight_decay and p not in self.buffers:
        self.buffers[p] = g
        return g + self.momentum * g if self.nesterov else g
    return SGD._direction(self, p, g)


def _nesterov_into_grad(self, p, g, s):
    if self.nesterov and not self.weight_decay:
        self.nesterov = False
        buffer = SGD._direction(self, p, g)
        self.nesterov = True
        return g.add_(buffer, alpha=self.momentum)
    return SGD._direction(self, p, g)


def _buffers_by_shape(self, p, g, s):
    for q in list(self.buffers):
        if q.shape == p.shape:
            self.buffers[p] = self.buffers[q]
    return SGD._direction(self, p, g)


def _an_empty_buffer_is_the_first(self, p, g, s):
    if p in self.buffers and not self.buffers[p].any():
        del self.buffers[p]
    return SGD._direction(self, p, g)


def _in_float32(self, p, g, s):
    return SGD._direction(self, p, g.float().to(g.dtype))


class _DecayBeside(SGD):
    @torch.no_grad()
    def step(self):
        decay, self.weight_decay = self.weight_decay, 0.0
        super().step()
        self.weight_decay = decay
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                p.mul_(1 - self.param_groups[0]["lr"] * decay)


class _LrInside(SGD):
    """The papers' form: v = momentum * v + lr * g, w = w - v."""

    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                g = self.param_groups[0]["lr"] * (p.grad + self.weight_decay * p)
                self.buffers[p] = self.momentum * self.buffers[p] + (1 - self.dampening) * g if p in self.buffers else g
                p -= g + self.momentum * self.buffers[p] if self.nesterov else self.buffers[p] if self.momentum else g


class _LrOfTheStart(SGD):
    def __init__(self, params, lr, *hyper):
        super().__init__(params, lr, *hyper)
        self.lr = lr

    def step(self):
        groups = self.param_groups
        self.param_groups = [{**groups[0], "lr": self.lr}]
        super().step()
        self.param_groups = groups


class _NoGroups(SGD):
    def __init__(self, *args):
        super().__init__(*args)
        self._groups = self.__dict__.pop("param_groups")

    def step(self):
        self.__dict__["param_groups"] = self._groups
        super().step()
        del self.__dict__["param_groups"]


class _NoneAsZeros(SGD):
    def step(self):
        params = self.param_groups[0]["params"]
        missing = [p for p in params if p.grad is None]
        for p in missing:
            p.grad = torch.zeros_like(p)
        super().step()
        for p in missing:
            p.grad = None


class _StopsAtTheFirstNone(SGD):
    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            p -= self.param_groups[0]["lr"] * self._direction(p, p.grad)


class _BreaksAtNone(SGD):
    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            if p.grad is None:
                return
            p -= self.param_groups[0]["lr"] * self._direction(p, p.grad)


class _BufferShrinksMeanwhile(SGD):
    def step(self):
        super().step()
        for p, buffer in self.buffers.items():
            if p.grad is None:
                buffer.mul_(self.momentum)


class _ZerosSkipped(SGD):
    def step(self):
        params = self.param_groups[0]["params"]
        kept = [p.grad for p in params]
        for p in params:
            if p.grad is not None and not p.grad.any():
                p.grad = None
        super().step()
        for p, grad in zip(params, kept, strict=True):
            p.grad = grad


class _OneClock(SGD):
    """The first step of the optimizer, not the first gradient of the weight, begins the buffer."""

    def step(self):
        self.steps = getattr(self, "steps", 0) + 1
        for p in self.param_groups[0]["params"] if self.momentum else []:
            if self.steps > 1 and p not in self.buffers:
                self.buffers[p] = torch.zeros_like(p)
        super().step()


class _SharedBuffers(SGD):
    shared: dict = {}

    def _direction(self, p, g):
        names = {q: (i, q.shape) for i, q in enumerate(self.param_groups[0]["params"])}
        self.buffers = {q: self.shared[names[q]] for q in names if names[q] in self.shared and self.momentum}
        direction = super()._direction(p, g)
        self.shared.update({names[q]: buffer for q, buffer in self.buffers.items()})
        return direction


class _FillsZeros(SGD):
    def zero_grad(self):
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                p.grad.zero_()


class _ClearsTheFirst(SGD):
    def zero_grad(self):
        self.param_groups[0]["params"][0].grad = None


class _KeepsTheGenerator(SGD):
    def __init__(self, params, lr, *hyper):
        super().__init__([], lr, *hyper)
        self.param_groups[0]["params"] = params


class _FirstOnly(SGD):
    def __init__(self, params, lr, *hyper):
        super().__init__([next(iter(params))], lr, *hyper)


class _Rebinds(SGD):
    def step(self):
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                p = p - self.param_groups[0]["lr"] * p.grad


class _Recorded(SGD):
    def step(self):
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                p -= self.param_groups[0]["lr"] * self._direction(p, p.grad)


class _GradOff(SGD):
    def step(self):
        torch.set_grad_enabled(False)
        SGD.step(self)
        torch.set_grad_enabled(False)


class _WideBuffers(SGD):
    """Buffers of float32, whatever the weights are; the weight is made anew in that dtype."""

    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                if self.momentum and p not in self.buffers and p.dtype == torch.bfloat16:
                    self.buffers[p] = p.grad.float()
                    p.data = p.data - self.param_groups[0]["lr"] * p.grad.float()
                else:
                    p.data = p.data - self.param_groups[0]["lr"] * self._direction(p, p.grad)


class _ClearsOnce(SGD):
    def zero_grad(self):
        if not hasattr(self, "cleared"):
            super().zero_grad()
        self.cleared = True


class _ClearsItself(SGD):
    def step(self):
        super().step()
        self.zero_grad()


class _ClearsTheBuffers(SGD):
    def zero_grad(self):
        super().zero_grad()
        self.buffers.clear()


class _Uphill(SGD):
    @torch.no_grad()
    def step(self):
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                p += self.param_groups[0]["lr"] * self._direction(p, p.grad)


class _Detaches(SGD):
    def step(self):
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                p.requires_grad_(False).sub_(self.param_groups[0]["lr"] * self._direction(p, p.grad))


class _NesterovAnyway(SGD):
    def __init__(self, params, lr, momentum, dampening, weight_decay, nesterov):
        super().__init__(params, lr, momentum, dampening, weight_decay, False)
        self.nesterov = nesterov


class _NesterovWithDampening(SGD):
    def __init__(self, params, lr, momentum, dampening, weight_decay, nesterov):
        super().__init__(params, lr, momentum, 0.0, weight_decay, nesterov)
        self.dampening = dampening


class _NesterovSwitchedOff(SGD):
    def __init__(self, params, lr, momentum, dampening, weight_decay, nesterov):
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov and momentum > 0 and dampening == 0)


_PLAIN = "test_plain_sgd_moves_a_weight_by_lr_times_its_gradient"
_MOMENTUM = "test_momentum_is_a_sum_of_gradients_not_their_average"
_LR = "test_lr_is_no_part_of_the_momentum"
_DAMPENING = "test_dampening_spares_the_first_gradient"
_NESTEROV = "test_nesterov_takes_the_gradient_and_the_new_buffer"
_DECAY = "test_weight_decay_joins_the_gradient_before_momentum"
_ABSENT = "test_a_weight_without_a_gradient_is_skipped_and_its_buffer_waits"

MISTAKES = [
    Mistake("that is an average of the gradients", caught_by=_MOMENTUM, SGD=_moving(_as_average)),
    Mistake("each step is the gradient alone", caught_by=_MOMENTUM, SGD=_moving(_as_average_begun_with_g)),
    Mistake("which momentum did not shrink", caught_by=_MOMENTUM, SGD=_moving(_unshrunk)),
    Mistake("step() changed w.grad: the buffer", caught_by=_MOMENTUM, SGD=_moving(_grad_is_the_buffer)),
    Mistake("two optimizers share a buffer", caught_by=_MOMENTUM, SGD=_SharedBuffers),
    Mistake("dampening applied to the first gradient", caught_by=_DAMPENING, SGD=_moving(_from_zero)),
    Mistake("dampening was forgotten", caught_by=_DAMPENING, SGD=_moving(_undamped)),
    Mistake("by 1 - dampening, not by dampening", caught_by=_DAMPENING, SGD=_moving(_dampening_the_other_way)),
    Mistake("nothing to dampen", caught_by=_DAMPENING, SGD=_moving(_dampened_without_momentum)),
    Mistake("that is plain momentum", caught_by=_NESTEROV, SGD=_moving(_no_nesterov)),
    Mistake("without the gradient", caught_by=_NESTEROV, SGD=_moving(_buffer_only)),
    Mistake("not to the whole buffer", caught_by=_NESTEROV, SGD=_moving(_whole_buffer)),
    Mistake("the direction itself was kept", caught_by=_NESTEROV, SGD=_moving(_direction_kept)),
    Mistake(
        "nesterov with momentum 0.7 and weight decay",
        caught_by=_NESTEROV,
        SGD=_moving(_nesterov_with_the_bare_gradient),
    ),
    Mistake("nesterov with no momentum has no meaning", caught_by=_NESTEROV, SGD=_NesterovAnyway),
    Mistake("nesterov with a dampening of 0.5 has no meaning", caught_by=_NESTEROV, SGD=_NesterovWithDampening),
    Mistake("nesterov with no momentum has no meaning", caught_by=_NESTEROV, SGD=_NesterovSwitchedOff),
    Mistake("weight decay was forgotten", caught_by=_DECAY, SGD=_moving(_decay_forgotten)),
    Mistake("so that w goes towards 0", caught_by=_DECAY, SGD=_moving(_decay_with_the_wrong_sign)),
    Mistake("that is AdamW's decoupling", caught_by=_DECAY, SGD=_moving(_decay_after_the_buffer)),
    Mistake("that is AdamW's decoupling, and after", caught_by=_DECAY, SGD=_DecayBeside),
    Mistake("step() changed w.grad: the decayed", caught_by=_DECAY, SGD=_moving(_decay_into_grad)),
    Mistake("lr went into the buffer", caught_by=_LR, SGD=_LrInside),
    Mistake("you still use the lr of the start", caught_by=_LR, SGD=_LrOfTheStart),
    Mistake("the optimizer has no param_groups", caught_by=_LR, SGD=_NoGroups),
    Mistake("by weight decay or by old momentum", caught_by=_ABSENT, SGD=_NoneAsZeros),
    Mistake("it is to be skipped", caught_by=_ABSENT, SGD=_StopsAtTheFirstNone),
    Mistake("the weight after it was not moved either", caught_by=_ABSENT, SGD=_BreaksAtNone),
    Mistake("absent in steps 3 and 4, with momentum", caught_by=_ABSENT, SGD=_BufferShrinksMeanwhile),
    Mistake("which is a gradient: momentum and decay go on", caught_by=_ABSENT, SGD=_ZerosSkipped),
    Mistake("absent in steps 0 and 1", caught_by=_ABSENT, SGD=_OneClock),
    Mistake("zeros are a gradient, too", caught_by=_PLAIN, SGD=_FillsZeros),
    Mistake("cleared the first weight only", caught_by=_PLAIN, SGD=_ClearsTheFirst),
    Mistake("walked only once", caught_by=_PLAIN, SGD=_KeepsTheGenerator),
    Mistake("it is to be cleared in each call", caught_by=_PLAIN, SGD=_ClearsOnce),
    Mistake("it is only to be read", caught_by=_NESTEROV, SGD=_moving(_nesterov_into_grad)),
    Mistake("step() dropped w.grad", caught_by=_MOMENTUM, SGD=_ClearsItself),
    Mistake("cleared the buffers too", caught_by=_MOMENTUM, SGD=_ClearsTheBuffers),
    Mistake("two weights of one shape", caught_by=_MOMENTUM, SGD=_moving(_buffers_by_shape)),
    Mistake("the one after it is dampened", caught_by=_DAMPENING, SGD=_moving(_an_empty_buffer_is_the_first)),
    Mistake("w was of torch.bfloat16, and is of", caught_by=_MOMENTUM, SGD=_WideBuffers),
    Mistake("w moves by -lr * grad", caught_by=_PLAIN, SGD=_Rebinds),
    Mistake("w moves by -lr * grad", caught_by=_PLAIN, SGD=_Uphill),
    Mistake("only where autograd does not record", caught_by=_PLAIN, SGD=_Recorded),
    Mistake("left gradients switched off", caught_by=_PLAIN, SGD=_GradOff),
    Mistake("w no longer requires a gradient", caught_by=_PLAIN, SGD=_Detaches),
    Mistake("the second weight moves too", caught_by=_PLAIN, SGD=_FirstOnly),
    Mistake("plain SGD, 8 steps in float64", caught_by=_PLAIN, SGD=_moving(_in_float32)),
]
