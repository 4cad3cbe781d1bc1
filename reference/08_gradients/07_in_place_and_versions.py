"""In-place edits and the version counter: reference.

Hint: For softmax_rows, ask at each line who still needs the numbers you are about to overwrite. For clamp_, which ways
    of editing does autograd count?
Hint: `/` makes a new tensor, `/=` overwrites; `sum` takes `dim` and `keepdim`. `torch.no_grad()` stops the recording,
    not the counting; `.data` stops both.
Hint: Name the exps, then divide them by their row sums (keepdim, so that they broadcast) in one new expression. For the
    weight: `clamp_` of the tensor itself, inside no_grad.

Why: The version counter belongs to the memory: views and `.detach()` share it, and so do edits under no_grad, but an
alias made by `.data` has its own. So after `w.data.clamp_()` the graph cannot see that its saved `w` is gone, and
2 * w is computed from the new values. "It worked in torch 1.4" is the same story: optimizers edited weights through
`.data`, and a backward after the step was wrong without an error; since 1.5 it raises.
"""

import torch

from dojo import Mistake


def softmax_rows(x: torch.Tensor) -> torch.Tensor:
    e = x.exp()
    return e / e.sum(dim=1, keepdim=True)


def clamp_(w: torch.Tensor, lo: float, hi: float) -> None:
    with torch.no_grad():
        w.clamp_(lo, hi)


def _divide_in_place(x):
    e = x.exp()
    e /= e.sum(dim=1, keepdim=True)
    return e


def _divide_data_in_place(x):
    e = x.exp()
    e.data /= e.data.sum(dim=1, keepdim=True)
    return e


def _detach_the_sum(x):
    e = x.exp()
    return e / e.sum(dim=1, keepdim=True).detach()


def _exp_in_place(x):
    e = x.exp_()
    return e / e.sum(dim=1, keepdim=True)


def _shift_in_place(x):
    with torch.no_grad():
        x -= x.max(dim=1, keepdim=True).values
    e = x.exp()
    return e / e.sum(dim=1, keepdim=True)


def _under_no_grad(x):
    with torch.no_grad():
        return softmax_rows(x)


def _from_a_copy(x):
    return softmax_rows(x.detach().clone().requires_grad_())


def _switch_grad_on(x):
    return softmax_rows(x.requires_grad_())


def _over_everything(x):
    e = x.exp()
    return e / e.sum()


def _down_the_columns(x):
    e = x.exp()
    return e / e.sum(dim=0, keepdim=True)


def _without_keepdim(x):
    e = x.exp()
    return e / e.sum(dim=1)


def _into_a_float32_buffer(x):
    out = torch.zeros(x.shape)
    for i, row in enumerate(x):
        out[i] = row.exp() / row.exp().sum()
    return out


def _clamp_while_recording(w, lo, hi):
    w.clamp_(lo, hi)


def _clamp_data(w, lo, hi):
    w.data.clamp_(lo, hi)


def _replace_data(w, lo, hi):
    w.data = w.data.clamp(lo, hi)


def _clamp_a_copy(w, lo, hi):
    with torch.no_grad():
        return w.clamp(lo, hi)


def _clamp_and_freeze(w, lo, hi):
    w.requires_grad_(False)
    w.clamp_(lo, hi)


def _other_memory(w, lo, hi):
    with torch.no_grad():
        w.set_(w.clamp(lo, hi))


def _clear_the_gradient(w, lo, hi):
    with torch.no_grad():
        w.clamp_(lo, hi)
    w.grad = None


def _only_from_above(w, lo, hi):
    with torch.no_grad():
        w.clamp_(max=hi)


def _through_float32(x):
    return torch.softmax(x.float(), dim=1).to(x.dtype)


def _with_an_eps(x):
    e = x.exp()
    return e / (e.sum(dim=1, keepdim=True) + 1e-8)


def _last_dimension_of_a_square(x):
    return torch.softmax(x, dim=0 if x.shape[0] > x.shape[1] else 1)


def _row_sums_written_over(x):
    e = x.exp()
    s = e.sum(dim=1, keepdim=True)
    y = e / s
    s.zero_()
    return y


def _bounds_in_float32(w, lo, hi):
    with torch.no_grad():
        w.copy_(torch.minimum(torch.maximum(w, torch.tensor(lo)), torch.tensor(hi)))


_VALUE = "test_softmax_makes_each_row_sum_to_one"
_GRAD = "test_backward_needs_the_result_of_exp"
_ALONE = "test_softmax_leaves_its_input_alone"
_LEAF = "test_a_leaf_can_be_edited_in_place_under_no_grad"
_STALE = "test_backward_refuses_a_graph_that_is_older_than_the_edit"

MISTAKES = [
    Mistake("over the sum of exp(x) in the same row", caught_by=_VALUE, softmax_rows=_through_float32),
    Mistake("over the sum of exp(x) in the same row", caught_by=_VALUE, softmax_rows=_with_an_eps),
    Mistake("over the sum of exp(x) in the same row", caught_by=_VALUE, softmax_rows=_last_dimension_of_a_square),
    Mistake("an operation saved a tensor for backward", caught_by=_GRAD, softmax_rows=_row_sums_written_over),
    Mistake("lo and hi as exact as that is", caught_by=_STALE, clamp_=_bounds_in_float32),
    Mistake("exp saved its result for backward and you overwrote it", caught_by=_GRAD, softmax_rows=_divide_in_place),
    Mistake("wrong gradient, and no error", caught_by=_GRAD, softmax_rows=_divide_data_in_place),
    Mistake("wrong gradient, and no error", caught_by=_GRAD, softmax_rows=_detach_the_sum),
    Mistake("the result does not require grad", caught_by=_GRAD, softmax_rows=_under_no_grad),
    Mistake("does not depend on x", caught_by=_GRAD, softmax_rows=_from_a_copy),
    Mistake("so nothing may be written into it", caught_by=_GRAD, softmax_rows=_exp_in_place),
    Mistake("an in-place operation wrote into the caller's tensor", caught_by=_ALONE, softmax_rows=_exp_in_place),
    Mistake("an in-place operation wrote into the caller's tensor", caught_by=_ALONE, softmax_rows=_shift_in_place),
    Mistake("that switch belongs to the caller", caught_by=_ALONE, softmax_rows=_switch_grad_on),
    Mistake("over the sum of exp(x) in the same row", caught_by=_VALUE, softmax_rows=_over_everything),
    Mistake("over the sum of exp(x) in the same row", caught_by=_VALUE, softmax_rows=_down_the_columns),
    Mistake("over the sum of exp(x) in the same row", caught_by=_VALUE, softmax_rows=_into_a_float32_buffer),
    Mistake("softmax_rows raised on a (2, 3) tensor", caught_by=_VALUE, softmax_rows=_without_keepdim),
    Mistake("can be edited only where autograd does not record", caught_by=_LEAF, clamp_=_clamp_while_recording),
    Mistake("every value of the layer's own weight", caught_by=_LEAF, clamp_=_clamp_a_copy),
    Mistake("every value of the layer's own weight", caught_by=_LEAF, clamp_=_only_from_above),
    Mistake("w was given other memory", caught_by=_LEAF, clamp_=_other_memory),
    Mistake("w.grad is not yours to change", caught_by=_LEAF, clamp_=_clear_the_gradient),
    Mistake("w no longer requires grad", caught_by=_LEAF, clamp_=_clamp_and_freeze),
    Mistake("autograd did not notice your edit", caught_by=_STALE, clamp_=_clamp_data),
    Mistake("autograd did not notice your edit", caught_by=_STALE, clamp_=_replace_data),
]
