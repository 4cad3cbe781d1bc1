"""Answers that people give to init, right ones and wrong ones."""

import math

import numpy as np
import torch
from torch import nn

from dojo import Mistake


def _applied(module):
    def start(m):
        if type(m) in (nn.Linear, nn.Conv2d):
            torch.nn.init.kaiming_normal_(m.weight, mode="fan_in", nonlinearity="relu")
            if m.bias is not None:
                m.bias.data.fill_(0)

    return module.apply(start)


def _uniform(module):
    for m in module.modules():
        if isinstance(m, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_uniform_(m.weight)
            if m.bias is not None:
                nn.init.constant_(m.bias, 0.0)


@torch.no_grad()
def _by_hand(module):
    for m in module.modules():
        if isinstance(m, nn.Linear):
            m.weight.normal_(0, (2 / m.in_features) ** 0.5)
        elif isinstance(m, nn.Conv2d):
            m.weight.normal_(0, (2 / (m.in_channels * m.kernel_size[0] * m.kernel_size[1])) ** 0.5)
        else:
            continue
        if m.bias is not None:
            m.bias.zero_()


def _data(module):
    for m in module.modules():
        if isinstance(m, nn.Conv2d | nn.Linear):
            bound = math.sqrt(6 / m.weight[0].numel())
            m.weight.data = (torch.rand_like(m.weight) * 2 - 1).detach() * bound
            if m.bias is not None:
                m.bias.data.zero_()


def _norms_too(module):
    for m in module.modules():
        if isinstance(m, (nn.Linear, nn.Conv2d)):
            with torch.no_grad():
                m.weight.copy_(torch.randn_like(m.weight).mul_(math.sqrt(2.0 / m.weight.flatten(1).shape[1])))
                if m.bias is not None:
                    m.bias.copy_(torch.zeros_like(m.bias))
        elif isinstance(m, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.ones_(m.weight)
            nn.init.zeros_(m.bias)


def _embeddings_too(module):
    _uniform(module)
    for m in module.modules():
        if isinstance(m, nn.Embedding):
            nn.init.normal_(m.weight, 0, 0.02)
            with torch.no_grad():
                m.weight[m.padding_idx].zero_()


def _recursive(module):
    if isinstance(module, nn.Linear | nn.Conv2d):
        fan, _ = nn.init._calculate_fan_in_and_fan_out(module.weight)
        nn.init.trunc_normal_(module.weight, std=nn.init.calculate_gain("relu") / fan**0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for child in module.children():
        _recursive(child)


def _numpy(module):
    """Numbers from numpy, copied in, and by names of layers."""
    for _, m in module.named_modules():
        if m.__class__.__name__ in ("Linear", "Conv2d"):
            shape = m.weight.shape
            fan_in = int(np.prod(shape[1:]))
            drawn = np.random.randn(*shape) * np.sqrt(2 / fan_in)
            m.weight.data.copy_(torch.from_numpy(drawn))
            if getattr(m, "bias", None) is not None:
                nn.init.zeros_(m.bias)


def _loaded(module):
    """A new layer is drawn, and its state loaded."""
    for m in module.modules():
        if isinstance(m, nn.Linear | nn.Conv2d):
            state = {"weight": nn.init.kaiming_uniform_(torch.empty_like(m.weight), nonlinearity="relu")}
            if m.bias is not None:
                state["bias"] = torch.zeros_like(m.bias)
            m.load_state_dict(state)


RIGHT = [
    dict(init_=_numpy),
    dict(init_=_loaded),
    dict(init_=_applied),
    dict(init_=_uniform),
    dict(init_=_by_hand),
    dict(init_=_data),
    dict(init_=_embeddings_too),
    dict(init_=_recursive),
]


def _layers(module):
    return [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def _zero_biases(module):
    for m in _layers(module):
        if m.bias is not None:
            nn.init.zeros_(m.bias)


def _only_biases(module):
    _zero_biases(module)


def _xavier(module):
    for m in _layers(module):
        nn.init.xavier_uniform_(m.weight, gain=1.0)
    _zero_biases(module)


def _out(module):
    for m in _layers(module):
        nn.init.normal_(m.weight, std=math.sqrt(2 / m.weight[:, 0].numel()))
    _zero_biases(module)


def _lecun(module):
    for m in _layers(module):
        nn.init.kaiming_normal_(m.weight, nonlinearity="linear")
    _zero_biases(module)


def _variance(module):
    for m in _layers(module):
        m.weight.data = torch.randn_like(m.weight.data) * (2 / m.weight[0].numel())
    _zero_biases(module)


def _bound(module):
    for m in _layers(module):
        s = math.sqrt(2 / m.weight[0].numel())
        m.weight.data.uniform_(-s, s)
    _zero_biases(module)


def _ones(module):
    for m in _layers(module):
        nn.init.ones_(m.weight)
    _zero_biases(module)


def _eye(module):
    for m in _layers(module):
        (nn.init.eye_ if m.weight.dim() == 2 else nn.init.dirac_)(m.weight)
    _zero_biases(module)


def _rows(module):
    for m in _layers(module):
        nn.init.kaiming_normal_(m.weight)
        m.weight.data[1:] = m.weight.data[:1]
    _zero_biases(module)


def _shifted(module):
    for m in _layers(module):
        s = math.sqrt(2 / m.weight[0].numel())
        m.weight.data.uniform_(0, s * math.sqrt(12))
    _zero_biases(module)


def _seed(module):
    with torch.random.fork_rng():
        torch.manual_seed(42)
        _applied(module)


def _no_no_grad(module):
    for m in _layers(module):
        m.weight.uniform_(-1, 1)


def _plain(module):
    for m in _layers(module):
        m.weight = torch.randn_like(m.weight)


def _channels(module):
    for m in _layers(module):
        fan = m.in_features if isinstance(m, nn.Linear) else m.in_channels
        nn.init.normal_(m.weight, 0, math.sqrt(2 / fan))
    _zero_biases(module)


def _convs_forgotten(module):
    for m in module.modules():
        if isinstance(m, nn.Linear):
            _applied(m)


def _bias_none(module):
    for m in _layers(module):
        nn.init.kaiming_normal_(m.weight)
        m.bias.data.zero_()


def _bias_kept(module):
    for m in _layers(module):
        nn.init.kaiming_normal_(m.weight)


def _new(module):
    for m in _layers(module):
        w = torch.empty_like(m.weight)
        nn.init.kaiming_normal_(w)
        m.weight = nn.Parameter(w.detach(), requires_grad=m.weight.requires_grad)
    _zero_biases(module)


def _new_through_dict(module):
    for m in _layers(module):
        m._parameters["weight"] = nn.Parameter(nn.init.kaiming_normal_(m.weight.detach().clone()))
    _zero_biases(module)


def _single(module):
    for m in _layers(module):
        m.weight.data = nn.init.kaiming_normal_(torch.empty(m.weight.shape))
    _zero_biases(module)


def _off(module):
    module.requires_grad_(False)
    _applied(module)


def _on(module):
    module.requires_grad_(True)
    _applied(module)


def _one_level(module):
    if isinstance(module, nn.Linear | nn.Conv2d):
        _applied(module)
    for child in module.children():
        if isinstance(child, nn.Linear | nn.Conv2d):
            _applied(child)


def _matrices(module):
    for p in module.parameters():
        nn.init.kaiming_normal_(p) if p.ndim >= 2 else p.data.zero_()


def _names(module):
    for name, p in module.named_parameters():
        if name.endswith("weight") and p.dim() >= 2:
            nn.init.kaiming_normal_(p)
        elif name.endswith("weight"):
            nn.init.normal_(p, 0, 1)
        else:
            nn.init.zeros_(p)


def _everything_with_two(module):
    for p in module.parameters():
        if p.dim() > 1:
            nn.init.kaiming_uniform_(p)
    _zero_biases(module)


def _statistics(module):
    for m in module.modules():
        if hasattr(m, "reset_running_stats"):
            m.reset_running_stats()
    _applied(module)


def _unit_spread_then_scaled(module):
    for m in _layers(module):
        w = m.weight.data
        m.weight.data = (w - w.mean()) / w.std() * math.sqrt(2 / w[0].numel())
    _zero_biases(module)


def _seed_of_the_shape(module):
    for m in _layers(module):
        torch.manual_seed(sum(m.weight.shape))
        nn.init.kaiming_normal_(m.weight)
    _zero_biases(module)


def _frozen_skipped(module):
    for m in _layers(module):
        for p in m.parameters():
            if p.requires_grad:
                nn.init.kaiming_normal_(p) if p.dim() > 1 else nn.init.zeros_(p)


def _trained(module):
    module.train()
    _applied(module)


WRONG = [
    Mistake("layer_norm.bias stays as it is", caught_by="", init_=_norms_too),
    Mistake("a second call gave the same numbers", caught_by="", init_=_unit_spread_then_scaled),
    Mistake("a second call gave the same numbers", caught_by="", init_=_seed_of_the_shape),
    Mistake("is as it was: nothing was initialised there", caught_by="", init_=_frozen_skipped),
    Mistake("the modes were train, eval, train", caught_by="", init_=_trained),
    Mistake("torch's own start", caught_by="", init_=_only_biases),
    Mistake("It is that of Xavier's", caught_by="", init_=_xavier),
    Mistake("fan_in counts what goes into one output", caught_by="", init_=_out),
    Mistake("without the 2", caught_by="", init_=_lecun),
    Mistake("that is the variance", caught_by="", init_=_variance),
    Mistake("whose standard deviation is s / sqrt(3)", caught_by="", init_=_bound),
    Mistake("two rows of the weights are equal", caught_by="", init_=_ones),
    Mistake("standard deviation 0.0", caught_by="", init_=_eye),
    Mistake("two rows of the weights are equal", caught_by="", init_=_rows),
    Mistake("they are to be around 0", caught_by="", init_=_shifted),
    Mistake("a second call gave the same numbers", caught_by="", init_=_seed),
    Mistake("it can be written to under no_grad only", caught_by="", init_=_no_no_grad),
    Mistake("a parameter's name cannot be given to a plain tensor", caught_by="", init_=_plain),
    Mistake("the area of the kernel is forgotten", caught_by="", init_=_channels),
    Mistake("torch's own start", caught_by="", init_=_convs_forgotten),
    Mistake("the bias of a layer with bias=False is None", caught_by="", init_=_bias_none),
    Mistake("starts at 0", caught_by="", init_=_bias_kept),
    Mistake("is another parameter now", caught_by="", init_=_new),
    Mistake("is another parameter now", caught_by="", init_=_new_through_dict),
    Mistake("was float64, and is", caught_by="", init_=_single),
    Mistake("requires_grad was True, and is False", caught_by="", init_=_off),
    Mistake("2.deep.0.weight.requires_grad was False, and is True", caught_by="", init_=_on),
    Mistake("the signal vanished in twenty layers", caught_by="", init_=_one_level),
    Mistake("starts at 1: a norm", caught_by="", init_=_matrices),
    Mistake("starts at 1: a norm", caught_by="", init_=_names),
    Mistake("is for padding, and 0", caught_by="", init_=_everything_with_two),
    Mistake("batch_norm.running_mean stays as it is", caught_by="", init_=_statistics),
]
