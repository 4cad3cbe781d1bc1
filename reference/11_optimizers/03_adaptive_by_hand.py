"""Adam, AdamW and RMSprop by hand: reference.

Hint: Each weight has its own state: t, m and v. When is it made, and who finds it again?
Hint: A dict from the weight to its state; `lerp_`, `mul_` and `addcmul_` update an average in place.
Hint: Divide m by 1 - beta1**t and v by 1 - beta2**t, take the root of the second, and only then add eps.

Why: Where m and v start at 0, the average of t gradients misses the share beta**t; dividing by 1 - beta**t repairs
that, so Adam's first step is lr in the direction of the sign. That also makes it blind to the gradient's scale: L2
decay inside the gradient is scaled away, which AdamW mends. eps decides what happens to weights whose gradients are
tiny; moving it in front of the correction makes it 30 times larger in the first steps.
"""

from collections.abc import Iterable
from typing import Any

import torch

from dojo import Mistake


def _adam_move(p: torch.Tensor, g: torch.Tensor, state: dict[str, Any], betas: tuple[float, float], eps: float) -> Any:
    """m̂ / (√v̂ + eps), after g has been taken in."""
    if not state:
        state.update(t=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
    state["t"] += 1
    state["m"].mul_(betas[0]).add_(g, alpha=1 - betas[0])
    state["v"].mul_(betas[1]).addcmul_(g, g, value=1 - betas[1])
    m_hat, v_hat = (state[name] / (1 - beta ** state["t"]) for name, beta in zip("mv", betas, strict=True))
    return m_hat / (v_hat.sqrt() + eps)


class Adam:
    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.state: dict[torch.Tensor, dict[str, Any]] = {p: {} for p in params}

    @torch.no_grad()
    def step(self) -> None:
        for p, state in self.state.items():
            if p.grad is not None:
                g = p.grad + self.weight_decay * p
                p -= self.lr * _adam_move(p, g, state, self.betas, self.eps)


class AdamW:
    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.state: dict[torch.Tensor, dict[str, Any]] = {p: {} for p in params}

    @torch.no_grad()
    def step(self) -> None:
        for p, state in self.state.items():
            if p.grad is not None:
                p *= 1 - self.lr * self.weight_decay
                p -= self.lr * _adam_move(p, p.grad, state, self.betas, self.eps)


class RMSprop:
    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
    ) -> None:
        self.lr, self.alpha, self.eps, self.momentum = lr, alpha, eps, momentum
        self.v = {p: torch.zeros_like(p) for p in params}
        self.buffers = {p: torch.zeros_like(p) for p in self.v}

    @torch.no_grad()
    def step(self) -> None:
        for p, v in self.v.items():
            if p.grad is not None:
                v.mul_(self.alpha).addcmul_(p.grad, p.grad, value=1 - self.alpha)
                self.buffers[p].mul_(self.momentum).add_(p.grad / (v.sqrt() + self.eps))
                p -= self.lr * self.buffers[p]


def _adam(
    *, decay=0.0, how="joined", correct="mv", t0=0, eps="after", root=True, own_t=True, cls=Adam, missing="skip"
) -> type:
    """Adam or AdamW, with something else than they do."""

    class Wrong(cls):
        def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay):
            super().__init__(params, lr, betas, eps, weight_decay)
            self.steps = t0

        @torch.no_grad()
        def step(self):
            self.steps += 1
            for p, s in self.state.items():
                if p.grad is None and missing == "stop":
                    return
                if p.grad is None and missing == "skip":
                    continue
                if how == "first":
                    p *= 1 - self.lr * self.weight_decay
                if how == "without lr":
                    p *= 1 - self.weight_decay
                if how == "grows":
                    p *= 1 + self.lr * self.weight_decay
                grad = torch.zeros_like(p) if p.grad is None else p.grad
                if how == "in grad":
                    grad += self.weight_decay * p
                share = {"joined": self.weight_decay, "minus": -self.weight_decay}.get(how, 0)
                p -= self.lr * self.move(p, grad + share * p, s)
                if how == "after":
                    p *= 1 - self.lr * self.weight_decay

        def move(self, p, g, s):
            s["t"] = s.get("t", t0) + 1 if own_t else self.steps
            b1, b2 = self.betas
            s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
            s["v"] = b2 * s.get("v", 0) + (1 - b2) * g * g
            c1 = 1 - b1 ** s["t"] if "m" in correct else 1
            c2 = 1 - b2 ** s["t"] if "v" in correct else 1
            m, v = s["m"] / c1, s["v"] / c2
            if eps == "before the root":
                return m / (v + self.eps).sqrt()
            if eps == "before the correction":
                return m / ((s["v"].sqrt() + self.eps) / c2**0.5)
            return m / ((v.sqrt() if root else v) + (self.eps if eps == "after" else 0))

    Wrong.__name__ = cls.__name__
    return Wrong


def _adamw(**other) -> type:
    return _adam(**{"decay": 0.01, "how": "first", "cls": AdamW, **other})


def _rms(quotient, buffer=lambda self, old, q: self.momentum * old + q, missing="skip") -> type:
    """RMSprop with another quotient(self, v, g) -> new v, quotient."""

    class Wrong(RMSprop):
        @torch.no_grad()
        def step(self):
            for p in self.v:
                if p.grad is None and missing == "skip":
                    continue
                grad = torch.zeros_like(p) if p.grad is None else p.grad
                self.v[p], q = quotient(self, self.v[p], grad)
                self.buffers[p] = buffer(self, self.buffers[p], q)
                p -= self.lr * self.buffers[p]

    Wrong.__name__ = "RMSprop"
    return Wrong


def _average(self, v, g):
    return self.alpha * v + (1 - self.alpha) * g * g


def _right_quotient(self, v, g):
    v = _average(self, v, g)
    return v, g / (v.sqrt() + self.eps)


def _rms_eps_inside(self, v, g):
    v = _average(self, v, g)
    return v, g / (v + self.eps).sqrt()


def _rms_no_eps(self, v, g):
    v = _average(self, v, g)
    return v, g / v.sqrt()


def _rms_no_root(self, v, g):
    v = _average(self, v, g)
    return v, g / (v + self.eps)


def _rms_adagrad(self, v, g):
    v = v + g * g
    return v, g / (v.sqrt() + self.eps)


def _rms_alpha_swapped(self, v, g):
    v = (1 - self.alpha) * v + self.alpha * g * g
    return v, g / (v.sqrt() + self.eps)


def _rms_old_v(self, v, g):
    return _average(self, v, g), g / (v.sqrt() + self.eps)


class _RMSpropCorrected(RMSprop):
    @torch.no_grad()
    def step(self):
        self.t = getattr(self, "t", 0) + 1
        for p in self.v:
            if p.grad is not None:
                self.v[p] = _average(self, self.v[p], p.grad)
                q = p.grad / ((self.v[p] / (1 - self.alpha**self.t)).sqrt() + self.eps)
                self.buffers[p] = self.momentum * self.buffers[p] + q
                p -= self.lr * self.buffers[p]


class _MaxEps(Adam):
    """eps as a floor."""

    @torch.no_grad()
    def step(self):
        for p, s in self.state.items():
            if p.grad is not None:
                _adam_move(p, p.grad + self.weight_decay * p, s, self.betas, self.eps)
                m, v = s["m"] / (1 - self.betas[0] ** s["t"]), s["v"] / (1 - self.betas[1] ** s["t"])
                p -= self.lr * m / v.sqrt().clamp(min=self.eps)


class _FixedBetas(Adam):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, lr, (0.9, 0.999), eps, weight_decay)


class _FixedEps(Adam):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, lr, betas, 1e-8, weight_decay)


class _FixedEpsW(AdamW):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        super().__init__(params, lr, betas, 1e-8, weight_decay)


class _StateByShape(Adam):
    def __init__(self, params, *args, **kwargs):
        super().__init__(params, *args, **kwargs)
        by_shape: dict = {}
        self.state = {p: by_shape.setdefault(p.shape, {}) for p in self.state}


class _NanForZeros(RMSprop):
    """Without eps, where it seems to do nothing."""

    @torch.no_grad()
    def step(self):
        eps, self.eps = self.eps, 0 if self.eps == 1e-8 else self.eps
        super().step()
        self.eps = eps


class _AlphaOfKeras(RMSprop):
    def __init__(self, params, lr=0.01, alpha=0.9, eps=1e-8, momentum=0.0):
        super().__init__(params, lr, alpha, eps, momentum)


class _SharedState(Adam):
    shared: dict = {}

    def __init__(self, params, *args, **kwargs):
        super().__init__(params, *args, **kwargs)
        self.state = {p: self.shared.setdefault((i, p.shape, p.dtype), {}) for i, p in enumerate(self.state)}


class _Recorded(Adam):
    def step(self):
        for p, state in self.state.items():
            if p.grad is not None:
                p -= self.lr * _adam_move(p, p.grad + self.weight_decay * p, state, self.betas, self.eps)


class _KeepsTheGenerator(Adam):
    def __init__(self, params, *args, **kwargs):
        super().__init__([], *args, **kwargs)
        self.params = params

    def step(self):
        self.state = {p: self.state.get(p, {}) for p in self.params}
        super().step()


class _TorchAdamAsAdamW(torch.optim.Adam):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        super().__init__(params, lr, betas, eps, weight_decay)


class _InFloat32(Adam):
    @torch.no_grad()
    def step(self):
        for p, state in self.state.items():
            if p.grad is not None:
                g = (p.grad + self.weight_decay * p).float()
                p -= self.lr * _adam_move(p.float(), g, state, self.betas, self.eps)


_ADAM = "test_adam_corrects_both_averages_for_their_start_at_zero"
_EPS = "test_eps_is_added_after_the_root_and_after_the_correction"
_L2 = "test_weight_decay_of_adam_joins_the_gradient"
_OWN = "test_each_weight_counts_its_own_gradients"
_W = "test_weight_decay_of_adamw_shrinks_the_weight_by_lr_times_decay"
_RMS = "test_rmsprop_corrects_nothing_and_momentum_gathers_the_quotients"
_FIRST = "test_the_first_step_of_adam_is_lr_whatever_the_gradient"

MISTAKES = [
    Mistake("without bias correction", caught_by=_ADAM, Adam=_adam(correct="")),
    Mistake("t begins at 2", caught_by=_ADAM, Adam=_adam(t0=1)),
    Mistake("1 - beta**t is 0 for t = 0", caught_by=_ADAM, Adam=_adam(t0=-1)),
    Mistake("only m was corrected", caught_by=_ADAM, Adam=_adam(correct="m")),
    Mistake("only v was corrected", caught_by=_ADAM, Adam=_adam(correct="v")),
    Mistake("the root of v is missing", caught_by=_ADAM, Adam=_adam(root=False)),
    Mistake("betas=(0.7, 0.8)", caught_by=_ADAM, Adam=_FixedBetas),
    Mistake("began with the state of the first", caught_by=_ADAM, Adam=_SharedState),
    Mistake("only where autograd does not record", caught_by=_ADAM, Adam=_Recorded),
    Mistake("which can be walked only once", caught_by=_ADAM, Adam=_KeepsTheGenerator),
    Mistake("8 steps in torch.float64", caught_by=_ADAM, Adam=_InFloat32),
    Mistake("as TensorFlow does", caught_by=_EPS, Adam=_adam(eps="before the correction")),
    Mistake("as TensorFlow does", caught_by=_EPS, AdamW=_adamw(eps="before the correction")),
    Mistake("eps was added before the root", caught_by=_EPS, Adam=_adam(eps="before the root")),
    Mistake("eps has no effect", caught_by=_EPS, AdamW=_adamw(eps="none")),
    Mistake("eps has no effect", caught_by=_EPS, Adam=_MaxEps),
    Mistake("eps has no effect", caught_by=_EPS, Adam=_FixedEps),
    Mistake("eps has no effect", caught_by=_EPS, AdamW=_FixedEpsW),
    Mistake("betas=(0.9, 0.999), eps=0", caught_by=_ADAM, Adam=_StateByShape),
    Mistake("the weight became nan", caught_by=_RMS, RMSprop=_NanForZeros),
    Mistake("RMSprop, 8 steps in torch.float64: with its defaults", caught_by=_RMS, RMSprop=_AlphaOfKeras),
    Mistake("that is AdamW's decay", caught_by=_L2, Adam=_adam(how="first")),
    Mistake("weight_decay has no effect", caught_by=_L2, Adam=_adam(how="none")),
    Mistake("the sign: decay leads towards 0", caught_by=_L2, Adam=_adam(how="minus")),
    Mistake("step() changed w.grad", caught_by=_L2, Adam=_adam(how="in grad")),
    Mistake("its own t, m and v", caught_by=_OWN, Adam=_adam(own_t=False)),
    Mistake("its own t, m and v", caught_by=_OWN, AdamW=_adamw(own_t=False)),
    Mistake("by decay or by old averages", caught_by=_OWN, Adam=_adam(missing="zeros")),
    Mistake("by decay or by old averages", caught_by=_OWN, AdamW=_adamw(missing="zeros")),
    Mistake("its own t, m and v", caught_by=_OWN, RMSprop=_rms(_right_quotient, missing="zeros")),
    Mistake("ended the whole step", caught_by=_OWN, Adam=_adam(missing="stop")),
    Mistake("that is Adam's decay", caught_by=_W, AdamW=_adamw(how="joined")),
    Mistake("that is Adam's decay", caught_by=_W, AdamW=_TorchAdamAsAdamW),
    Mistake("decay is multiplied by lr", caught_by=_W, AdamW=_adamw(how="without lr")),
    Mistake("the weight grew", caught_by=_W, AdamW=_adamw(how="grows")),
    Mistake("the weight shrank after the step", caught_by=_W, AdamW=_adamw(how="after")),
    Mistake("that is Adam's default, 0", caught_by=_W, AdamW=_adamw(decay=0.0)),
    Mistake("weight_decay has no effect", caught_by=_W, AdamW=_adamw(how="none")),
    Mistake("bias correction, which RMSprop does not do", caught_by=_RMS, RMSprop=_RMSpropCorrected),
    Mistake("eps was added before the root", caught_by=_RMS, RMSprop=_rms(_rms_eps_inside)),
    Mistake("eps has no effect", caught_by=_RMS, RMSprop=_rms(_rms_no_eps)),
    Mistake("the root of v is missing", caught_by=_RMS, RMSprop=_rms(_rms_no_root)),
    Mistake("that is Adagrad", caught_by=_RMS, RMSprop=_rms(_rms_adagrad)),
    Mistake("alpha is the share of the old average", caught_by=_RMS, RMSprop=_rms(_rms_alpha_swapped)),
    Mistake("the first step is ten times lr", caught_by=_RMS, RMSprop=_rms(_rms_old_v)),
    Mistake("momentum has no effect", caught_by=_RMS, RMSprop=_rms(_right_quotient, lambda self, old, q: q)),
    Mistake(
        "the buffer is an average",
        caught_by=_RMS,
        RMSprop=_rms(
            _right_quotient, lambda self, old, q: self.momentum * old + (1 - self.momentum) * q if self.momentum else q
        ),
    ),
]
KEEP = {_FIRST: "it is the fact that makes Adam what it is; whatever breaks it breaks the formula as well"}
