"""Initialise so that depth works: reference.

Hint: Walk over all modules, and ask each for its type; two of them concern you.
Hint: `module.modules()` goes through all, the first being module itself. `torch.nn.init` has functions that write.
Hint: `kaiming_normal_(weight, nonlinearity="relu")` counts fan_in, also of a convolution; `zeros_` for a bias.

Why: the variance behind a layer is fan_in * var(weight) * E[x**2], and ReLU keeps half of it: hence the 2. With it
twenty layers of 256 units still tell inputs apart; as torch makes them their answers differ by about 1e-8, and the
biases are all that is left. Batch norm hides this in most networks of today. `kaiming_normal_` without a nonlinearity
takes "leaky_relu" with a=0, which is the same factor; kaiming_uniform_ with a=sqrt(5) has a factor of sqrt(1/3).
"""

import copy
import math

import torch
from torch import nn

from dojo import Mistake


def init_(module: nn.Module) -> None:
    for m in module.modules():
        if isinstance(m, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            if m.bias is not None:
                nn.init.zeros_(m.bias)


def picture(solution):
    from dojo.kit import pictures

    depth, width = 20, 256
    torch.manual_seed(0)
    x = torch.randn(64, width, dtype=torch.float64)

    def started(own=False, times=1.0):
        torch.manual_seed(1)
        layers = [nn.Linear(width, width).double() for _ in range(depth)]
        if not own:
            solution.init_(nn.Sequential(*layers))
        with torch.no_grad():
            for layer in layers:
                layer.weight *= times
        return layers

    @torch.no_grad()
    def behind(layers):
        """What comes out of each layer and its ReLU, the input in front."""
        outputs = [x]
        for layer in layers:
            outputs.append(torch.relu(layer(outputs[-1])))
        return outputs

    outputs = {
        "init_, times 1.5": behind(started(times=1.5)),
        "init_": behind(started()),
        "init_, times 0.7": behind(started(times=0.7)),
        "torch's own start": behind(started(own=True)),
    }
    spread = {name: [y.std(0).mean().item() for y in ys] for name, ys in outputs.items()}

    figure = pictures.figure(6, 4.4)
    grid = figure.add_gridspec(2, 2, width_ratios=[1.5, 1])
    curves = figure.add_subplot(grid[:, 0])
    colours = (pictures.ORANGE, pictures.BLUE, pictures.PINK, pictures.BLACK)
    for (name, values), colour, marker in zip(spread.items(), colours, "^osv", strict=True):
        curves.plot(values, color=colour, marker=marker, markersize=4, label=name)
    curves.set(yscale="log", xticks=range(0, depth + 1, 5))
    pictures.tidy(curves, "layers", "standard deviation between 64 inputs")
    curves.legend(frameon=False, fontsize=8, loc="lower left")
    for row, name in enumerate(("init_", "torch's own start")):
        image = figure.add_subplot(grid[row, 1])
        image.imshow(outputs[name][-1][:16, :24].numpy(), cmap="gray")
        image.set(xlabel="24 units of layer 20", ylabel="16 inputs", xticks=[], yticks=[])
        image.set_title(name, fontsize=9)
    large, he, small, own = (f"{values[-1]:.3g}" for values in spread.values())
    return pictures.Picture(
        figure,
        f"Behind {depth} layers the outputs for different inputs have a standard deviation of {he} with init_, and of "
        f"{own} with torch's own start: all inputs look the same there. With init_'s weights times 0.7 it is {small}, "
        f"with those times 1.5 it is {large}.",
        {"spread": spread, "outputs": {name: ys[-1][:16, :24] for name, ys in outputs.items()}},
    )


def _with(write, bias=nn.init.zeros_, of=(nn.Linear, nn.Conv2d)):
    """As init_, with another way to write the weights."""

    def init(module):
        for m in module.modules():
            if isinstance(m, of):
                write(m.weight)
                if m.bias is not None:
                    bias(m.bias)

    return init


def _fan_in(w):
    return w[0].numel()


@torch.no_grad()
def _one_row_for_all(w):
    w.copy_(torch.randn_like(w[:1]) * math.sqrt(2 / _fan_in(w)))


@torch.no_grad()
def _around_one(w):
    nn.init.kaiming_normal_(w).add_(0.05)


def _positive(w):
    nn.init.kaiming_normal_(w).data.abs_().div_(0.6)


def _seeded(w):
    torch.manual_seed(0)
    nn.init.kaiming_normal_(w)


def _once_seeded(module):
    torch.manual_seed(0)
    init_(module)


def _own_generator(module):
    g = torch.Generator().manual_seed(1)
    _with(lambda w: nn.init.kaiming_normal_(w, generator=g))(module)


def _replaced(module):
    for m in module.modules():
        if isinstance(m, nn.Linear | nn.Conv2d):
            m.weight = nn.Parameter(torch.randn_like(m.weight) * math.sqrt(2 / _fan_in(m.weight)))
            if m.bias is not None:
                nn.init.zeros_(m.bias)


def _replaced_bias(module):
    for m in module.modules():
        if isinstance(m, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(m.weight)
            if m.bias is not None:
                m.bias = nn.Parameter(torch.zeros_like(m.bias))


def _assigned(module):
    for m in module.modules():
        if isinstance(m, nn.Linear | nn.Conv2d):
            m.weight = torch.randn(m.weight.shape) * math.sqrt(2 / _fan_in(m.weight))


def _float32(w):
    w.data = torch.randn(w.shape) * math.sqrt(2 / _fan_in(w))


def _all_trainable(module):
    init_(module)
    for p in module.parameters():
        p.requires_grad = True


def _all_frozen(module):
    for p in module.parameters():
        p.requires_grad_(False)
    init_(module)


def _gradients_off(module):
    torch.set_grad_enabled(False)
    init_(module)


def _off_and_on(module):
    torch.set_grad_enabled(False)
    init_(module)
    torch.set_grad_enabled(True)


def _bias_blindly(module):
    for m in module.modules():
        if isinstance(m, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(m.weight)
            nn.init.zeros_(m.bias)


def _bias_made(module):
    init_(module)
    for m in module.modules():
        if isinstance(m, nn.Linear) and m.bias is None:
            m.bias = nn.Parameter(torch.zeros(m.out_features))


def _children(module):
    for m in (module, *module.children()):
        if isinstance(m, nn.Linear | nn.Conv2d):
            init_(m)


def _without_itself(module):
    for m in module.children():
        init_(m)


def _on_a_copy(module):
    init_(copy.deepcopy(module))


def _by_dimension(module):
    for p in module.parameters():
        if p.dim() > 1:
            nn.init.kaiming_normal_(p)
        else:
            nn.init.zeros_(p)


def _by_dimension_without_norms(module):
    for p in module.parameters():
        if p.dim() > 1:
            nn.init.kaiming_normal_(p)
    for m in module.modules():
        if isinstance(m, nn.Linear | nn.Conv2d) and m.bias is not None:
            nn.init.zeros_(m.bias)


def _by_name(module):
    for name, p in module.named_parameters():
        if "weight" in name:
            nn.init.normal_(p, 0, math.sqrt(2 / _fan_in(p)) if p.dim() > 1 else 0.02)
        elif "bias" in name:
            nn.init.zeros_(p)


def _all_with_weight(module):
    for m in module.modules():
        if getattr(m, "weight", None) is not None and m.weight.dim() > 1:
            nn.init.kaiming_normal_(m.weight)
            if getattr(m, "bias", None) is not None:
                nn.init.zeros_(m.bias)


def _as_dcgan(module):
    init_(module)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.weight, 1.0, 0.02)


def _everything_reset(module):
    init_(module)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.reset_parameters()


def _zero_in_the_last(module):
    """The second of two layers of the same shape gets the numbers of the first."""
    done = {}
    for m in module.modules():
        if isinstance(m, nn.Linear | nn.Conv2d):
            init_(m)
            m.weight.data.copy_(done.setdefault(m.weight.shape, m.weight.data.clone()))


def _only_trainable(module):
    for m in module.modules():
        if isinstance(m, nn.Linear | nn.Conv2d) and m.weight.requires_grad:
            init_(m)


def _rescaled(w):
    """The old numbers, made larger."""
    with torch.no_grad():
        w.mul_(math.sqrt(2 / _fan_in(w)) / w.std())


def _into_sequentials(module):
    for m in (module, *module.children()):
        if isinstance(m, nn.Sequential) and m is not module:
            _into_sequentials(m)
        elif isinstance(m, nn.Linear | nn.Conv2d):
            init_(m)


def _left_in_eval(module):
    module.eval()
    init_(module)


def _trains_all(module):
    init_(module)
    module.train()


_LINEAR = "test_the_spread_of_linear_weights_depends_on_the_number_of_inputs"
_CONV = "test_the_inputs_of_a_convolution_are_channels_times_kernel_area"
_BIAS = "test_biases_start_at_zero"
_IN_PLACE = "test_parameters_are_written_to_and_not_replaced"
_DEEP = "test_a_signal_survives_twenty_layers"
_NORMS = "test_norms_and_padding_rows_keep_their_start"


def _every_bias(module):
    init_(module)
    for m in module.modules():
        if getattr(m, "bias", None) is not None:
            nn.init.zeros_(m.bias)


MISTAKES = [
    Mistake("layer_norm.bias stays as it is", caught_by=_NORMS, init_=_every_bias),
    Mistake("gradients were off when init_ was called", caught_by=_IN_PLACE, init_=_off_and_on),
    Mistake("torch's own start", caught_by=_LINEAR, init_=lambda module: None),
    Mistake("torch's own start", caught_by=_LINEAR, init_=lambda m: m.apply(lambda c: c.reset_parameters())),
    Mistake("torch's own start", caught_by=_LINEAR, init_=_with(lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)))),
    Mistake("torch's own start", caught_by=_LINEAR, init_=_without_itself),
    Mistake("torch's own start", caught_by=_LINEAR, init_=_on_a_copy),
    Mistake("It is that of Xavier's", caught_by=_LINEAR, init_=_with(nn.init.xavier_normal_)),
    Mistake("It is that of Xavier's", caught_by=_LINEAR, init_=_with(nn.init.xavier_uniform_)),
    Mistake(
        "fan_in counts what goes into one output",
        caught_by=_LINEAR,
        init_=_with(lambda w: nn.init.kaiming_normal_(w, mode="fan_out" if w.dim() == 2 else "fan_in")),
    ),
    Mistake(
        "fan_in counts what goes into one output",
        caught_by=_CONV,
        init_=_with(lambda w: nn.init.kaiming_normal_(w, mode="fan_out")),
    ),
    Mistake(
        "without the 2", caught_by=_LINEAR, init_=_with(lambda w: nn.init.normal_(w, 0, 1 / math.sqrt(_fan_in(w))))
    ),
    Mistake("that is the variance", caught_by=_LINEAR, init_=_with(lambda w: nn.init.normal_(w, 0, 2 / _fan_in(w)))),
    Mistake(
        "whose standard deviation is s / sqrt(3)",
        caught_by=_LINEAR,
        init_=_with(lambda w: nn.init.uniform_(w, -math.sqrt(2 / _fan_in(w)), math.sqrt(2 / _fan_in(w)))),
    ),
    Mistake("two rows of the weights are equal", caught_by=_LINEAR, init_=_with(nn.init.zeros_)),
    Mistake(
        "two rows of the weights are equal",
        caught_by=_LINEAR,
        init_=_with(lambda w: nn.init.constant_(w, 0.1)),
    ),
    Mistake("standard deviation 0.0", caught_by=_LINEAR, init_=_with(lambda w: nn.init.normal_(w, std=0.02))),
    Mistake("two rows of the weights are equal", caught_by=_LINEAR, init_=_with(_one_row_for_all)),
    Mistake("they are to be around 0", caught_by=_LINEAR, init_=_with(_positive)),
    Mistake("they are to be around 0", caught_by=_LINEAR, init_=_with(_around_one)),
    Mistake("a second call gave the same numbers", caught_by=_LINEAR, init_=_once_seeded),
    Mistake("a second call gave the same numbers", caught_by=_LINEAR, init_=_own_generator),
    Mistake("a second call gave the same numbers", caught_by=_LINEAR, init_=_with(_seeded)),
    Mistake("a second call gave the same numbers", caught_by=_LINEAR, init_=_with(_rescaled)),
    Mistake("is as it was: nothing was initialised there", caught_by=_IN_PLACE, init_=_into_sequentials),
    Mistake("the modes were train, eval, train", caught_by=_IN_PLACE, init_=_left_in_eval),
    Mistake("the modes were train, eval, train", caught_by=_IN_PLACE, init_=_trains_all),
    Mistake("it can be written to under no_grad only", caught_by=_LINEAR, init_=_with(lambda w: w.normal_())),
    Mistake("a parameter's name cannot be given to a plain tensor", caught_by=_LINEAR, init_=_assigned),
    Mistake(
        "the area of the kernel is forgotten",
        caught_by=_CONV,
        init_=_with(lambda w: nn.init.normal_(w, 0, math.sqrt(2 / w.shape[1]))),
    ),
    Mistake("torch's own start", caught_by=_CONV, init_=_with(nn.init.kaiming_normal_, of=nn.Linear)),
    Mistake("the bias of a layer with bias=False is None", caught_by=_BIAS, init_=_bias_blindly),
    Mistake("was made without bias has one now", caught_by=_BIAS, init_=_bias_made),
    Mistake("starts at 0", caught_by=_BIAS, init_=_with(nn.init.kaiming_normal_, bias=lambda b: None)),
    Mistake(
        "starts at 0", caught_by=_BIAS, init_=_with(nn.init.kaiming_normal_, bias=lambda b: nn.init.constant_(b, 0.01))
    ),
    Mistake("is another parameter now", caught_by=_IN_PLACE, init_=_replaced),
    Mistake("is another parameter now", caught_by=_IN_PLACE, init_=_replaced_bias),
    Mistake("was float64, and is", caught_by=_IN_PLACE, init_=_with(_float32)),
    Mistake("2.deep.0.weight.requires_grad was False, and is True", caught_by=_IN_PLACE, init_=_all_trainable),
    Mistake("requires_grad was True, and is False", caught_by=_IN_PLACE, init_=_all_frozen),
    Mistake("is as it was: nothing was initialised there", caught_by=_IN_PLACE, init_=_only_trainable),
    Mistake("init_ left gradients switched off", caught_by=_IN_PLACE, init_=_gradients_off),
    Mistake("the signal vanished in twenty layers", caught_by=_DEEP, init_=_children),
    Mistake("two layers of the same shape got the same numbers", caught_by=_DEEP, init_=_zero_in_the_last),
    Mistake("starts at 1: a norm", caught_by=_NORMS, init_=_by_dimension),
    Mistake("starts at 1: a norm", caught_by=_NORMS, init_=_by_name),
    Mistake("starts at 1: a norm", caught_by=_NORMS, init_=_as_dcgan),
    Mistake("is for padding, and 0", caught_by=_NORMS, init_=_by_dimension_without_norms),
    Mistake("is for padding, and 0", caught_by=_NORMS, init_=_all_with_weight),
    Mistake("batch_norm.running_mean stays as it is", caught_by=_NORMS, init_=_everything_reset),
]
