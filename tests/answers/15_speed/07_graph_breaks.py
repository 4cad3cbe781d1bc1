"""Answers that people give to graph_breaks, right ones and wrong ones."""

import torch
import torch.nn.functional as F

from dojo import Mistake


def _by_cond(x):
    return torch.cond(x.sum() > 0, lambda x: 2 * x, lambda x: 3 * x, (x,))


def _norm_cond(x):
    return torch.cond(x.norm() > 0, lambda x: x / x.norm(), lambda x: x.clone(), (x,))


def _norm_zeros(x):
    return torch.cond((x != 0).any(), lambda x: x / x.norm(), lambda x: torch.zeros_like(x), (x,))


def _arithmetic(x):
    positive = (x.sum() > 0).to(x.dtype)
    return x * (positive * 2 + (1 - positive) * 3)


def _safe_squares(x):
    squares = (x * x).sum()
    return x / torch.where(squares > 0, squares, torch.ones_like(squares)).sqrt()


def _safe_input(x):
    zero = (x == 0).all()
    y = torch.where(zero, torch.ones_like(x), x)
    return torch.where(zero, x, y / torch.sqrt(torch.sum(y**2)))


def _plus_one(x):
    length = torch.linalg.norm(x)
    return x / (length + (length == 0))


def _filled(x):
    length = x.norm(p=2)
    return x / length.masked_fill(length == 0, 1.0)


def _even_if_compiling(x):
    """A plain `if` in Python, where for the compiler."""
    if torch.compiler.is_compiling():
        return torch.where(x.mean() > 0, 2.0, 3.0) * x
    return 2 * x if x.sum() > 0 else 3 * x


def _python_max(x):
    return x / max(x.norm(), 1e-12)


def _largest_first(x):
    y = x / x.abs().max().clamp_min(1e-30)
    return y / y.norm().clamp_min(0.5)


RIGHT = [
    {"signed_scale": _by_cond, "normalize": _norm_cond},
    {"signed_scale": _arithmetic, "normalize": lambda x: F.normalize(x, dim=0)},
    {"signed_scale": lambda x: 3 * x - x * (x.sum() > 0), "normalize": lambda x: x / x.norm().clamp(min=1e-12)},
    {"signed_scale": lambda x: x * torch.where(x.sum() > 0, 2, 3), "normalize": _safe_squares},
    {
        "signed_scale": lambda x: torch.where(x.sum() > 0, torch.tensor(2.0), torch.tensor(3.0)) * x,
        "normalize": _safe_input,
    },
    {"signed_scale": _even_if_compiling, "normalize": _plus_one},
    {"signed_scale": lambda x: (x * 3).where(x.sum() <= 0, x * 2), "normalize": _filled},
    {"normalize": _norm_zeros},
    {"normalize": _python_max},
    {"normalize": lambda x: x / x.norm().clamp_min(torch.finfo(x.dtype).tiny)},
    {"normalize": lambda x: x / (x.norm() + 1e-8)},
    {"normalize": lambda x: x * ((x * x).sum() + 1e-24).rsqrt()},
    {"normalize": _largest_first},
]


def _bool(x):
    return 2 * x if bool((x.sum() > 0).all()) else 3 * x


def _float(x):
    return x * (2.0 if float(x.sum()) > 0 else 3.0)


def _numpy(x):
    return 2 * x if x.detach().numpy().sum() > 0 else 3 * x


def _f_string(x):
    total = x.sum()
    print(f"sum {total:.3f}")
    return torch.where(total > 0, 2 * x, 3 * x)


def _says_hello(x):
    print("hello")
    return 3 * x - x * (x.sum() > 0)


@torch.compiler.disable
def _factor(x):
    return 2.0 if x.sum() > 0 else 3.0


def _while(x):
    y = 3 * x
    while (y.sum() > 0) & (y.sum() == (3 * x).sum()):
        y = 2 * x
    return y


def _bare(x):
    return torch.where(x.norm() == 0, torch.zeros_like(x), x / x.norm())


def _nonzero(x):
    return x / x.norm() if torch.count_nonzero(x) else x * 1


def _no_grad_length(x):
    with torch.no_grad():
        length = x.norm().clamp_min(1e-12)
    return x / length


def _sqrt_dot(x):
    length = torch.sqrt(x.dot(x))
    return torch.where(length == 0, x, x / torch.where(length == 0, 1.0, length))


def _all_zero_if(x):
    if torch.equal(x, torch.zeros_like(x)):
        return x * 1.0
    return F.normalize(x, dim=0)


_DECIDES = "a value decides what Python does next"
_SAFE = "Make what goes into it safe first"

WRONG = [
    Mistake("graphs, expected 1: a value decides", caught_by="", signed_scale=_bool),
    Mistake(_DECIDES, caught_by="", signed_scale=_float),
    Mistake(_DECIDES, caught_by="", signed_scale=_numpy),
    Mistake(_DECIDES, caught_by="", signed_scale=_while),
    Mistake("graphs, expected 1: `print`", caught_by="", signed_scale=_f_string),
    Mistake("`print` is for Python to do", caught_by="", signed_scale=_says_hello),
    Mistake("everything still runs in Python", caught_by="", signed_scale=lambda x: _factor(x) * x),
    Mistake(
        "negative values too",
        caught_by="",
        signed_scale=lambda x: x * (3 - x.sign().clamp_min(0)),
    ),
    Mistake("0 is not above 0", caught_by="", signed_scale=lambda x: torch.where(x.sum() < 0, 3 * x, 2 * x)),
    Mistake("whatever the sum of their row", caught_by="", signed_scale=lambda x: x * (3 - (x.sum(0) > 0).float())),
    Mistake("the sum is 3, above 0", caught_by="", signed_scale=lambda x: 2 * x),
    Mistake("signed_scale changed its argument", caught_by="", signed_scale=lambda x: x.mul_(3 - 1 * (x.sum() > 0))),
    Mistake(
        "no gradient reaches x",
        caught_by="",
        signed_scale=lambda x: torch.where(x.sum() > 0, 2 * x.data, 3 * x.data),
    ),
    Mistake("0 is not above 0", caught_by="", signed_scale=lambda x: x * (2.5 - 0.5 * torch.sign(x.sum()))),
    Mistake(_SAFE, caught_by="", normalize=_bare),
    Mistake(_SAFE, caught_by="", normalize=_sqrt_dot),
    Mistake(_SAFE, caught_by="", normalize=lambda x: (x / x.norm()).nan_to_num(0.0)),
    Mistake(_DECIDES, caught_by="", normalize=_nonzero),
    Mistake(_DECIDES, caught_by="", normalize=_all_zero_if),
    Mistake("the gradient of normalize at", caught_by="", normalize=_no_grad_length),
    Mistake("zeros became NaN", caught_by="", normalize=lambda x: x / torch.sqrt(torch.sum(x * x))),
    Mistake("each value over the length", caught_by="", normalize=lambda x: F.softmax(x, dim=0) * (x != 0)),
    Mistake("each value over the length", caught_by="", normalize=lambda x: F.normalize(x, p=1.0, dim=0)),
    Mistake("each value over the length", caught_by="", normalize=lambda x: x / (1 + x.norm())),
    Mistake("zeros stay zeros", caught_by="", normalize=lambda x: F.normalize(x + 1e-6, dim=0)),
]
