"""Answers that people give to sgd_by_hand, right ones and wrong ones."""

import torch

from dojo import Mistake


def _check(momentum, dampening, nesterov):
    if nesterov and not (momentum > 0 and dampening == 0):
        raise ValueError("nesterov wants momentum, and no dampening")


class _Subclass(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum, dampening, weight_decay, nesterov):
        _check(momentum, dampening, nesterov)
        hyper = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, {"lr": lr, **hyper})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                g = p.grad.add(p, alpha=group["weight_decay"])
                if group["momentum"]:
                    buf = self.state[p].get("buf")
                    if buf is None:
                        buf = self.state[p]["buf"] = torch.clone(g)
                    else:
                        buf.mul_(group["momentum"]).add_(g, alpha=1 - group["dampening"])
                    g = g.add(buf, alpha=group["momentum"]) if group["nesterov"] else buf
                p.add_(g, alpha=-group["lr"])


class _Lists:
    """Buffers in a list beside the weights, new ones in each step; .data in place of no_grad."""

    def __init__(self, params, lr, momentum, dampening, weight_decay, nesterov):
        _check(momentum, dampening, nesterov)
        self.params = list(params)
        self.bufs = [None] * len(self.params)
        self.param_groups = [dict(params=self.params, lr=lr)]
        self.mu, self.tau, self.wd, self.nesterov = momentum, dampening, weight_decay, nesterov

    def step(self):
        lr = self.param_groups[0]["lr"]
        for i, p in enumerate(self.params):
            if p.grad is None:
                continue
            g = p.grad.data + self.wd * p.data
            if self.bufs[i] is None:
                self.bufs[i] = g
            else:
                self.bufs[i] = self.mu * self.bufs[i] + (1 - self.tau) * g
            if self.mu == 0:
                d = g
            elif self.nesterov:
                d = g + self.mu * self.bufs[i]
            else:
                d = self.bufs[i]
            p.data = p.data - lr * d

    def zero_grad(self):
        for p in self.params:
            p.grad = None


class _Refuses(torch.optim.SGD):
    def __init__(self, params, lr, momentum, dampening, weight_decay, nesterov):
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov needs a momentum and zero dampening")
        super().__init__(params, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay)
        for group in self.param_groups:
            group["nesterov"] = nesterov


class _Ids(_Lists):
    def __init__(self, *args):
        super().__init__(*args)
        self.state = {}

    def step(self):
        for group in self.param_groups:
            with torch.no_grad():
                for p in group["params"]:
                    if p.grad is not None:
                        self._one(p, p.grad.detach().clone(), group["lr"])

    def _one(self, p, g, lr):
        g.add_(p, alpha=self.wd)
        if self.mu != 0:
            if id(p) not in self.state:
                self.state[id(p)] = g.clone()
            else:
                self.state[id(p)] = self.state[id(p)] * self.mu + g * (1 - self.tau)
            if self.nesterov:
                g.add_(self.state[id(p)], alpha=self.mu)
            else:
                g = self.state[id(p)]
        p.copy_(p - lr * g)


class _Data:
    """As old tutorials write it: .data everywhere, zeros_like, a flag for each weight."""

    def __init__(self, params, lr, momentum, dampening, weight_decay, nesterov):
        _check(momentum, dampening, nesterov)
        self.param_groups = [{"params": [p for p in params], "lr": lr}]
        self.hyper = momentum, dampening, weight_decay, nesterov
        self.velocity = [torch.zeros_like(p.data) for p in self.param_groups[0]["params"]]
        self.seen = [False for _ in self.velocity]

    def step(self):
        momentum, dampening, weight_decay, nesterov = self.hyper
        for i in range(len(self.velocity)):
            p = self.param_groups[0]["params"][i]
            if p.grad is None:
                continue
            d = p.grad.data.clone()
            if weight_decay != 0:
                d.add_(weight_decay * p.data)
            if momentum != 0:
                v = self.velocity[i]
                v.mul_(momentum).add_(d * (1 - dampening if self.seen[i] else 1))
                self.seen[i] = True
                d = d + momentum * v if nesterov else v
            p.data.sub_(self.param_groups[0]["lr"] * d)

    def zero_grad(self):
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                p.grad = None


RIGHT = [
    {"SGD": torch.optim.SGD},
    {"SGD": _Subclass},
    {"SGD": _Lists},
    {"SGD": _Refuses},
    {"SGD": _Ids},
    {"SGD": _Data},
]


def _loop(direction, skip_none=True):
    """_Lists, where direction(opt, i, p, g) says where p goes."""

    class Wrong(_Lists):
        @torch.no_grad()
        def step(self):
            for i, p in enumerate(self.params):
                if p.grad is None and skip_none:
                    continue
                g = torch.zeros_like(p) if p.grad is None else p.grad
                p.sub_(direction(self, i, p, g), alpha=self.param_groups[0]["lr"])

    return Wrong


def _lerp(opt, i, p, g):
    if opt.mu == 0:
        return g
    opt.bufs[i] = torch.zeros_like(p) if opt.bufs[i] is None else opt.bufs[i]
    opt.bufs[i].lerp_(g + opt.wd * p, 1 - opt.mu)
    return opt.bufs[i]


def _zero_buffers(opt, i, p, g):
    g = g + opt.wd * p
    if opt.mu == 0:
        return g
    buf = torch.zeros_like(p) if opt.bufs[i] is None else opt.bufs[i]
    opt.bufs[i] = buf * opt.mu + g * (1 - opt.tau)
    return g + opt.mu * opt.bufs[i] if opt.nesterov else opt.bufs[i]


def _right(opt, i, p, g):
    g = g + opt.wd * p
    if opt.mu == 0:
        return g
    opt.bufs[i] = g if opt.bufs[i] is None else opt.bufs[i] * opt.mu + g * (1 - opt.tau)
    return g + opt.mu * opt.bufs[i] if opt.nesterov else opt.bufs[i]


def _no_dampening(opt, i, p, g):
    opt.tau = 0
    return _right(opt, i, p, g)


def _heavy_ball_only(opt, i, p, g):
    opt.nesterov = False
    return _right(opt, i, p, g)


def _decoupled(opt, i, p, g):
    p.mul_(1 - opt.param_groups[0]["lr"] * opt.wd)
    wd, opt.wd = opt.wd, 0
    d = _right(opt, i, p, g)
    opt.wd = wd
    return d


def _decay_in_grad(opt, i, p, g):
    p.grad += opt.wd * p
    wd, opt.wd = opt.wd, 0
    d = _right(opt, i, p, p.grad)
    opt.wd = wd
    return d


def _aliased(opt, i, p, g):
    g = g.add(p, alpha=opt.wd) if opt.wd else g
    if opt.mu == 0:
        return g
    if opt.bufs[i] is None:
        opt.bufs[i] = g
    else:
        opt.bufs[i].mul_(opt.mu).add_(g, alpha=1 - opt.tau)
    return g + opt.mu * opt.bufs[i] if opt.nesterov else opt.bufs[i]


def _whole_buffer_again(opt, i, p, g):
    d = _heavy_ball_only(opt, i, p, g) if not opt.nesterov else None
    if d is not None:
        return d
    opt.nesterov = False
    d = _right(opt, i, p, g)
    opt.nesterov = True
    return g + d


class _Sutskever(_Lists):
    def step(self):
        with torch.no_grad():
            for i, p in enumerate(self.params):
                if p.grad is not None:
                    v = 0 if self.bufs[i] is None else self.bufs[i]
                    self.bufs[i] = self.mu * v - self.param_groups[0]["lr"] * (p.grad + self.wd * p)
                    p += self.bufs[i]


class _FixedLr(_Lists):
    def __init__(self, params, lr, *hyper):
        super().__init__(params, lr, *hyper)
        self.lr = lr
        self.groups = self.param_groups

    @torch.no_grad()
    def step(self):
        for i, p in enumerate(self.params):
            if p.grad is not None:
                p.sub_(_right(self, i, p, p.grad), alpha=self.lr)


class _Zeroing(_Subclass):
    def zero_grad(self):
        super().zero_grad(set_to_none=False)


class _GlobalCount(_Lists):
    t = 0

    @torch.no_grad()
    def step(self):
        for i, p in enumerate(self.params):
            if p.grad is None:
                continue
            g = p.grad + self.wd * p
            if self.t == 0 or self.mu == 0:
                self.bufs[i] = g
            else:
                self.bufs[i] = self.mu * (0 if self.bufs[i] is None else self.bufs[i]) + (1 - self.tau) * g
            d = g + self.mu * self.bufs[i] if self.nesterov else self.bufs[i]
            p -= self.param_groups[0]["lr"] * d
        self.t += 1


class _NoGrad(_Lists):
    def step(self):
        for i, p in enumerate(self.params):
            if p.grad is not None:
                p -= self.param_groups[0]["lr"] * _right(self, i, p, p.grad)


class _Truthy(_Lists):
    @torch.no_grad()
    def step(self):
        for i, p in enumerate(self.params):
            if p.grad is not None and p.grad.norm() > 0:
                p -= self.param_groups[0]["lr"] * _right(self, i, p, p.grad)


class _BuffersOfTheClass(_Lists):
    bufs_of_all: dict = {}

    def __init__(self, *args):
        super().__init__(*args)
        self.bufs = self.bufs_of_all
        self.bufs.update({i: self.bufs.get(i) for i in range(len(self.params))})

    @torch.no_grad()
    def step(self):
        for i, p in enumerate(self.params):
            if p.grad is not None:
                p -= self.param_groups[0]["lr"] * _right(self, i, p, p.grad)


class _AllOrNothing(_Lists):
    def step(self):
        if all(p.grad is not None for p in self.params):
            super().step()


def _one_buffer_for_equal_shapes(opt, i, p, g):
    if opt.mu == 0:
        return g + opt.wd * p
    if not isinstance(opt.bufs, dict):
        opt.bufs = {}
    key, g = tuple(p.shape), g + opt.wd * p
    opt.bufs[key] = opt.bufs[key] * opt.mu + g * (1 - opt.tau) if key in opt.bufs else g.clone()
    return g + opt.mu * opt.bufs[key] if opt.nesterov else opt.bufs[key]


def _nesterov_in_place(opt, i, p, g):
    if not opt.nesterov or opt.wd:
        return _right(opt, i, p, g)
    opt.bufs[i] = g.clone() if opt.bufs[i] is None else opt.bufs[i] * opt.mu + g
    return g.add_(opt.bufs[i], alpha=opt.mu)


def _first_while_zero(opt, i, p, g):
    g = g + opt.wd * p
    if opt.mu == 0:
        return g
    if opt.bufs[i] is None or torch.count_nonzero(opt.bufs[i]) == 0:
        opt.bufs[i] = g
    else:
        opt.bufs[i] = opt.bufs[i] * opt.mu + g * (1 - opt.tau)
    return g + opt.mu * opt.bufs[i] if opt.nesterov else opt.bufs[i]


class _ResetsAll(_Subclass):
    def zero_grad(self):
        super().zero_grad()
        self.state.clear()


class _AssertsNothing(_Data):
    def __init__(self, params, lr, momentum, dampening, weight_decay, nesterov):
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov and dampening == 0 and momentum > 0)


WRONG = [
    Mistake("nesterov with no momentum has no meaning", caught_by="", SGD=_AssertsNothing),
    Mistake("cleared the buffers too", caught_by="", SGD=_ResetsAll),
    Mistake("two weights of one shape", caught_by="", SGD=_loop(_one_buffer_for_equal_shapes)),
    Mistake("it is only to be read", caught_by="", SGD=_loop(_nesterov_in_place)),
    Mistake("the one after it is dampened", caught_by="", SGD=_loop(_first_while_zero)),
    Mistake("the weight after it was not moved either", caught_by="", SGD=_AllOrNothing),
    Mistake("that is an average of the gradients", caught_by="", SGD=_loop(_lerp)),
    Mistake("dampening applied to the first gradient", caught_by="", SGD=_loop(_zero_buffers)),
    Mistake("dampening was forgotten", caught_by="", SGD=_loop(_no_dampening)),
    Mistake("that is plain momentum", caught_by="", SGD=_loop(_heavy_ball_only)),
    Mistake("not to the whole buffer", caught_by="", SGD=_loop(_whole_buffer_again)),
    Mistake("that is AdamW's decoupling", caught_by="", SGD=_loop(_decoupled)),
    Mistake("that is AdamW's decoupling", caught_by="", SGD=torch.optim.AdamW),
    Mistake("step() changed w.grad: the decayed", caught_by="", SGD=_loop(_decay_in_grad)),
    Mistake("step() changed w.grad: the buffer", caught_by="", SGD=_loop(_aliased)),
    Mistake("lr went into the buffer", caught_by="", SGD=_Sutskever),
    Mistake("you still use the lr of the start", caught_by="", SGD=_FixedLr),
    Mistake("zeros are a gradient, too", caught_by="", SGD=_Zeroing),
    Mistake("absent in steps 0 and 1", caught_by="", SGD=_GlobalCount),
    Mistake("by weight decay or by old momentum", caught_by="", SGD=_loop(_right, skip_none=False)),
    Mistake("only where autograd does not record", caught_by="", SGD=_NoGrad),
    Mistake("which is a gradient: momentum and decay go on", caught_by="", SGD=_Truthy),
    Mistake("two optimizers share a buffer", caught_by="", SGD=_BuffersOfTheClass),
    Mistake("w moves by -lr * grad", caught_by="", SGD=lambda *args: torch.optim.SGD(args[0], lr=-args[1])),
]
