"""Answers that people give to adaptive_by_hand, right ones and wrong ones."""

import math

import torch

from dojo import Mistake


class _Lists:
    """State in lists, new tensors in each step, .data in place of no_grad."""

    default_decay = 0.0
    skip = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=None):
        self.params = list(params)
        self.param_groups = [{"params": self.params, "lr": lr}]
        self.betas, self.eps = betas, eps
        self.wd = self.default_decay if weight_decay is None else weight_decay
        n = len(self.params)
        self.m, self.v, self.t = [0.0] * n, [0.0] * n, [0] * n

    def zero_grad(self):
        for p in self.params:
            p.grad = None

    def step(self):
        for i, p in enumerate(self.params):
            if p.grad is None and self.skip:
                continue
            g = torch.zeros_like(p.data) if p.grad is None else p.grad.data
            g = self.decayed(p, g)
            b1, b2 = self.betas
            self.t[i] += 1
            self.m[i] = b1 * self.m[i] + (1 - b1) * g
            self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
            p.data = p.data - self.param_groups[0]["lr"] * self.direction(self.m[i], self.v[i], self.t[i])

    def decayed(self, p, g):
        return g + self.wd * p.data

    def direction(self, m, v, t):
        """torch's own arrangement of the same arithmetic."""
        b1, b2 = self.betas
        return m / (1 - b1**t) / (v.sqrt() / math.sqrt(1 - b2**t) + self.eps)


class _ListsW(_Lists):
    default_decay = 0.01

    def decayed(self, p, g):
        p.data.mul_(1 - self.param_groups[0]["lr"] * self.wd)
        return g


class _Optimizer(torch.optim.Optimizer):
    def __init__(self, params, lr=0.01, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0):
        super().__init__(params, dict(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                s = self.state[p]
                if len(s) == 0:
                    s["square_avg"] = torch.zeros_like(p)
                    s["buf"] = torch.zeros_like(p)
                grad = p.grad.add(p, alpha=group["weight_decay"]) if group["weight_decay"] else p.grad
                s["square_avg"].lerp_(grad * grad, 1 - group["alpha"])
                avg = s["square_avg"].sqrt().add_(group["eps"])
                if group["momentum"] > 0:
                    s["buf"].mul_(group["momentum"]).addcdiv_(grad, avg)
                    p.add_(s["buf"], alpha=-group["lr"])
                else:
                    p.addcdiv_(grad, avg, value=-group["lr"])


class _AdamOptimizer(torch.optim.Optimizer):
    decoupled = False

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state, g = self.state[p], p.grad
                if not state:
                    state["step"] = torch.tensor(0.0, dtype=torch.float64)
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
                state["step"] += 1
                if self.decoupled:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                elif group["weight_decay"] != 0:
                    g = g.add(p, alpha=group["weight_decay"])
                m, v = state["exp_avg"], state["exp_avg_sq"]
                m.lerp_(g, 1 - beta1)
                v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
                step_size = group["lr"] / (1 - beta1 ** state["step"].item())
                denom = (v / (1 - beta2 ** state["step"].item())).sqrt_().add_(group["eps"])
                p.addcdiv_(m, denom, value=-step_size)


class _AdamWOptimizer(_AdamOptimizer):
    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(params, lr, betas, eps, weight_decay)


def _adam_of_torch_decoupled(params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    return torch.optim.Adam(params, lr, betas, eps, weight_decay, decoupled_weight_decay=True)


class _Rms:
    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, momentum=0.0):
        self.params = list(params)
        self.lr, self.alpha, self.eps, self.momentum = lr, alpha, eps, momentum
        self.state = {id(p): [torch.zeros_like(p), torch.zeros_like(p)] for p in self.params}

    def step(self):
        with torch.no_grad():
            for p in filter(lambda p: p.grad is not None, self.params):
                v, buf = self.state[id(p)]
                v = self.state[id(p)][0] = self.alpha * v + (1 - self.alpha) * p.grad.square()
                move = self.quotient(p.grad, v)
                if self.momentum:
                    move = self.state[id(p)][1] = self.momentum * buf + move
                p.sub_(self.lr * move)

    def quotient(self, g, v):
        return g / (torch.sqrt(v) + self.eps)


class _Arrays:
    """The correction is drawn into the step size, lr stands in the buffer, state comes with the first gradient."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        self.params, self.hyper, self.state = [*params], (lr, betas, eps, weight_decay), {}

    def step(self):
        lr, (b1, b2), eps, weight_decay = self.hyper
        for p in self.params:
            if p.grad is None:
                continue
            g = p.grad.detach().clone()
            if weight_decay > 0:
                g += weight_decay * p.detach()
            t, m, v = self.state.get(id(p), (0, 0.0, 0.0))
            t, m, v = t + 1, b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g.pow(2)
            self.state[id(p)] = t, m, v
            root = math.sqrt(1 - b2**t)
            p.data.addcdiv_(m, v.sqrt() + eps * root, value=-lr * root / (1 - b1**t))


class _LrInTheBuffer(_Rms):
    def step(self):
        for p in self.params:
            if p.grad is not None:
                v, buf = self.state[id(p)]
                v.mul_(self.alpha).addcmul_(p.grad, p.grad, value=1 - self.alpha)
                buf.mul_(self.momentum).add_(self.lr * p.grad / v.sqrt().add_(self.eps))
                p.data -= buf


RIGHT = [
    {"Adam": _Arrays, "RMSprop": _LrInTheBuffer},
    {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW, "RMSprop": torch.optim.RMSprop},
    {"Adam": _Lists, "AdamW": _ListsW, "RMSprop": _Rms},
    {"Adam": _AdamOptimizer, "AdamW": _AdamWOptimizer, "RMSprop": _Optimizer},
    {"AdamW": _adam_of_torch_decoupled},
]


def _other(base, **methods):
    return type(base.__name__, (base,), methods)


def _plain_direction(self, m, v, t):
    return m / (v.sqrt() + self.eps)


def _late_t(self, m, v, t):
    return _Lists.direction(self, m, v, t + 1)


def _early_t(self, m, v, t):
    return _Lists.direction(self, m, v, t - 1)


def _tf(self, m, v, t):
    b1, b2 = self.betas
    return math.sqrt(1 - b2**t) / (1 - b1**t) * m / (v.sqrt() + self.eps)


def _inside(self, m, v, t):
    b1, b2 = self.betas
    return m / (1 - b1**t) * torch.rsqrt(v / (1 - b2**t) + self.eps)


def _half_corrected(self, m, v, t):
    return m / (1 - self.betas[0] ** t) / (v.sqrt() + self.eps)


def _square(self, m, v, t):
    b1, b2 = self.betas
    return m / (1 - b1**t) / (v / (1 - b2**t) + self.eps)


def _w_without_lr(self, p, g):
    p.data.mul_(1 - self.wd)
    return g


def _in_place_of_grad(self, p, g):
    return p.grad.data.add_(p.data, alpha=self.wd) if p.grad is not None else g


def _joined(self, p, g):
    return g + self.wd * p.data


class _GlobalT(_Lists):
    n = 0

    def step(self):
        self.n += 1
        self.t = [self.n - 1] * len(self.params)
        super().step()


class _StopEarly(_Lists):
    def step(self):
        if any(p.grad is None for p in self.params):
            return
        super().step()


class _NoDecayByDefault(_ListsW):
    default_decay = 0.0


class _RmsCorrected(_Rms):
    t = 0

    def step(self):
        self.t += 1
        super().step()

    def quotient(self, g, v):
        return g / (torch.sqrt(v / (1 - self.alpha**self.t)) + self.eps)


class _RmsAverage(_Rms):
    def step(self):
        scale, self.lr = self.lr, self.lr * (1 - self.momentum)
        super().step()
        self.lr = scale


def _keras_rms(params, lr=0.001, alpha=0.9, eps=1e-7, momentum=0.0):
    return torch.optim.RMSprop(params, lr, alpha, eps, momentum=momentum)


class _NoNoGrad(_Rms):
    def step(self):
        for p in self.params:
            if p.grad is not None:
                v = self.state[id(p)][0] = self.alpha * self.state[id(p)][0] + (1 - self.alpha) * p.grad**2
                p -= self.lr * self.quotient(p.grad, v)


class _OneStateAShape(_Lists):
    def step(self):
        places = {p.shape: i for i, p in reversed(list(enumerate(self.params)))}
        for i, p in enumerate(self.params):
            j = places[p.shape]
            self.m[i], self.v[i], self.t[i] = self.m[j], self.v[j], self.t[j]
            grads = [q.grad for q in self.params]
            for k, q in enumerate(self.params):
                q.grad = grads[k] if k == i else None
            super().step()
            for k, q in enumerate(self.params):
                q.grad = grads[k]
            self.m[j], self.v[j], self.t[j] = self.m[i], self.v[i], self.t[i]


WRONG = [
    Mistake("betas=(0.9, 0.999), eps=0", caught_by="", Adam=_OneStateAShape),
    Mistake("RMSprop, 8 steps in torch.float64: with its defaults", caught_by="", RMSprop=_keras_rms),
    Mistake("only where autograd does not record", caught_by="", RMSprop=_NoNoGrad),
    Mistake(
        "eps has no effect",
        caught_by="",
        Adam=lambda p, lr, betas=(0.9, 0.999), eps=0, weight_decay=0: torch.optim.Adam(
            p, lr, betas, weight_decay=weight_decay
        ),
    ),
    Mistake("without bias correction", caught_by="", Adam=_other(_Lists, direction=_plain_direction)),
    Mistake("t begins at 2", caught_by="", Adam=_other(_Lists, direction=_late_t)),
    Mistake("1 - beta**t is 0 for t = 0", caught_by="", Adam=_other(_Lists, direction=_early_t)),
    Mistake("as TensorFlow does", caught_by="", Adam=_other(_Lists, direction=_tf)),
    Mistake("as TensorFlow does", caught_by="", AdamW=_other(_ListsW, direction=_tf)),
    Mistake("eps was added before the root", caught_by="", AdamW=_other(_ListsW, direction=_inside)),
    Mistake("only m was corrected", caught_by="", Adam=_other(_Lists, direction=_half_corrected)),
    Mistake("the root of v is missing", caught_by="", Adam=_other(_Lists, direction=_square)),
    Mistake("decay is multiplied by lr", caught_by="", AdamW=_other(_ListsW, decayed=_w_without_lr)),
    Mistake("that is Adam's decay", caught_by="", AdamW=_other(_ListsW, decayed=_joined)),
    Mistake("that is AdamW's decay", caught_by="", Adam=torch.optim.AdamW),
    Mistake("that is AdamW's decay", caught_by="", Adam=_other(_Lists, decayed=_ListsW.decayed)),
    Mistake("step() changed w.grad", caught_by="", Adam=_other(_Lists, decayed=_in_place_of_grad)),
    Mistake("its own t, m and v", caught_by="", Adam=_GlobalT),
    Mistake("by decay or by old averages", caught_by="", AdamW=_other(_ListsW, skip=False)),
    Mistake("ended the whole step", caught_by="", Adam=_StopEarly),
    Mistake("that is Adam's default, 0", caught_by="", AdamW=_NoDecayByDefault),
    Mistake("bias correction, which RMSprop does not do", caught_by="", RMSprop=_RmsCorrected),
    Mistake(
        "eps was added before the root",
        caught_by="",
        RMSprop=_other(_Rms, quotient=lambda self, g, v: g * (v + self.eps) ** -0.5),
    ),
    Mistake("the buffer is an average", caught_by="", RMSprop=_RmsAverage),
    Mistake(
        "momentum has no effect",
        caught_by="",
        RMSprop=lambda params, lr, alpha=0.99, eps=1e-8, momentum=0: torch.optim.RMSprop(params, lr, alpha, eps),
    ),
]
